-- prepare.lua DIRECTORY USERS LISTED - writes what the HTTP rounds need:
--
--   users                line n: the bearer token (JWT, HS256) of user n
--   blacklist            LISTED ids, none of them a user
--   port.*, listen.*     free loopback ports, for the nginx of each handler
--                        and for Redis
--
-- Plain LuaJIT. The tokens are signed by the engine's own HMAC.

local bit = require("bit")
local ffi = require("ffi")
local keyring = require("resty.seckill.keyring")
local lib = require("resty.seckill.lib")


local DIRECTORY, USERS = arg[1], tonumber(arg[2])
local LISTED = tonumber(arg[3])
local KEY = assert(os.getenv("BENCH_JWT_KEY"), "BENCH_JWT_KEY is not set")
local LIFE = 86400
local SERVERS = { "reference", "seckill", "usual", "redis", "coroutines",
                  "limits", "saturated", "lists",
                  "redis_always", "redis_everysec" }
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                 .. "0123456789-_"


local function char(index)
    return ALPHABET:sub(index + 1, index + 1)
end


local function base64url(text)
    local out = {}
    for at = 1, #text, 3 do
        local a, b, c = text:byte(at, at + 2)
        local word = a * 65536 + (b or 0) * 256 + (c or 0)
        out[#out + 1] = char(bit.rshift(word, 18))
        out[#out + 1] = char(bit.band(bit.rshift(word, 12), 63))
        out[#out + 1] = b and char(bit.band(bit.rshift(word, 6), 63))
        out[#out + 1] = c and char(bit.band(word, 63))
    end
    return table.concat(out)
end


local ring = keyring.new({ { key = KEY } }, function() return 0 end, 1)
local mac = ffi.new("unsigned char[32]")
local header = base64url("{\"alg\":\"HS256\",\"typ\":\"JWT\"}")
local expiry = os.time() + LIFE


local function bearer(user)
    local claims = ("{\"sub\":\"%s\",\"exp\":%d}"):format(user, expiry)
    local signed = header .. "." .. base64url(claims)
    assert(lib.C.seckill_hmac(ring, -1, signed, #signed, mac) == lib.OK)
    return signed .. "." .. base64url(ffi.string(mac, 32))
end


local function write_lines(name, count, line)
    local file = assert(io.open(DIRECTORY .. "/" .. name, "wb"))
    for n = 1, count do
        assert(file:write(line(n), "\n"))
    end
    assert(file:close())
end


ffi.cdef [[
typedef struct { uint16_t family, port; uint8_t ip[4], zero[8]; } bench_addr_t;
int socket(int domain, int type, int protocol);
int bind(int fd, const bench_addr_t *address, unsigned int size);
int getsockname(int fd, bench_addr_t *address, unsigned int *size);
]]


-- The kernel chooses where we bind to port 0. The socket stays open until the
-- end of this program, so that the next port is another one.
local function free_port()
    local AF_INET, SOCK_STREAM = 2, 1
    local address = ffi.new("bench_addr_t", { family = AF_INET,
                                              ip = { 127, 0, 0, 1 } })
    local size = ffi.new("unsigned int[1]", ffi.sizeof(address))
    local fd = ffi.C.socket(AF_INET, SOCK_STREAM, 0)
    assert(fd >= 0 and ffi.C.bind(fd, address, size[0]) == 0
           and ffi.C.getsockname(fd, address, size) == 0, "no free port")
    local port = address.port -- in network byte order
    return ffi.abi("le") and bit.rshift(bit.bswap(port), 16) or port
end


write_lines("users", USERS, function(n)
    return bearer(("user-%06d"):format(n))
end)
write_lines("blacklist", LISTED, function(n)
    return ("black-%07d"):format(n)
end)
for _, server in ipairs(SERVERS) do
    local port = free_port()
    write_lines("port." .. server, 1, function() return port end)
    write_lines("listen." .. server, 1, function()
        return ("listen 127.0.0.1:%d;"):format(port)
    end)
end
