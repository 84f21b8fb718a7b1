-- prepare.lua DIRECTORY USERS - writes what the demo needs before the sale:
--
--   users       line n: the bearer token (JWT, HS256) of user n
--   blacklist   every twentieth user, as the access list reads it
--   listen.conf a loopback port that is free, for nginx
--
-- Plain LuaJIT. The tokens are signed by the engine's own HMAC.

local bit = require("bit")
local ffi = require("ffi")
local keyring = require("resty.seckill.keyring")
local lib = require("resty.seckill.lib")


local DIRECTORY, USERS = arg[1], tonumber(arg[2])
local KEY = assert(os.getenv("DEMO_JWT_KEY"), "DEMO_JWT_KEY is not set")
local LIFE = 86400
local BLACK_EVERY, BLACK_AT = 20, 7
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                 .. "0123456789-_"

local chars = {}
for i = 1, #ALPHABET do
    chars[i - 1] = ALPHABET:sub(i, i)
end


local function base64url(text)
    local out = {}
    for at = 1, #text, 3 do
        local a, b, c = text:byte(at, at + 2)
        local word = a * 65536 + (b or 0) * 256 + (c or 0)
        out[#out + 1] = chars[bit.rshift(word, 18)]
        out[#out + 1] = chars[bit.band(bit.rshift(word, 12), 63)]
        out[#out + 1] = b and chars[bit.band(bit.rshift(word, 6), 63)]
        out[#out + 1] = c and chars[bit.band(word, 63)]
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


local function write(name, text)
    local file = assert(io.open(DIRECTORY .. "/" .. name, "wb"))
    assert(file:write(text))
    assert(file:close())
end


local function write_users()
    local tokens, black = {}, { "# may not buy" }
    for n = 1, USERS do
        local user = ("user-%06d"):format(n)
        tokens[n] = bearer(user)
        if n % BLACK_EVERY == BLACK_AT then
            black[#black + 1] = user
        end
    end
    write("users", table.concat(tokens, "\n") .. "\n")
    write("blacklist", table.concat(black, "\n") .. "\n")
end


ffi.cdef [[
typedef struct { uint16_t family, port; uint8_t ip[4], zero[8]; } demo_addr_t;
int socket(int domain, int type, int protocol);
int bind(int fd, const demo_addr_t *address, unsigned int size);
int getsockname(int fd, demo_addr_t *address, unsigned int *size);
int close(int fd);
]]


-- The kernel chooses where we bind to port 0.
local function free_port()
    local AF_INET, SOCK_STREAM = 2, 1
    local address = ffi.new("demo_addr_t", { family = AF_INET,
                                             ip = { 127, 0, 0, 1 } })
    local size = ffi.new("unsigned int[1]", ffi.sizeof(address))
    local fd = ffi.C.socket(AF_INET, SOCK_STREAM, 0)
    assert(fd >= 0 and ffi.C.bind(fd, address, size[0]) == 0
           and ffi.C.getsockname(fd, address, size) == 0, "no free port")
    ffi.C.close(fd)
    local port = address.port  -- in network byte order
    return ffi.abi("le") and bit.rshift(bit.bswap(port), 16) or port
end


write_users()
local port = free_port()
write("port", port .. "\n")
write("listen.conf", ("listen 127.0.0.1:%d reuseport;\n"):format(port))
