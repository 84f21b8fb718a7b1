-- jwt.lua - bearer tokens: JSON Web Tokens signed with HMAC-SHA256 (HS256).
--
-- What is accepted: three parts of canonical base64url; a header whose alg is
-- exactly HS256 and that has no crit (RFC 7515 4.1.11: what is critical and
-- not understood is refused); a signature by a key of the ring; exp in the
-- future (required unless said otherwise); nbf, where present, in the past; a
-- user name of 1 to 64 bytes in the claim `sub` (or another).
--
-- The header chooses among the configured keys by `kid`, never the algorithm.
-- The signature is checked before the payload is parsed, in constant time.
--
-- Verified tokens are kept: a table keyed by the whole text, of two
-- generations. When the young one is full it becomes the old one, so the size
-- is bounded, what is used stays, and a flood of fresh tokens costs only
-- verification. Only verified tokens enter; their times are checked at every
-- use. A token of a removed key is valid until its worker ends or it leaves
-- the cache: rotate keys with a reload.
--
-- Time is an argument. Runs in any phase; per Lua VM state only.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local base64url = require("resty.seckill.base64url")
local jwt_claims = require("resty.seckill.jwt_claims")
local keyring = require("resty.seckill.keyring")
local lib = require("resty.seckill.lib")
local strict_json = require("resty.seckill.strict_json")


local C = lib.C
local cast = ffi.cast
local byte = string.byte
local decode_json = strict_json.decode
local error = error
local find = string.find
local floor = math.floor
local huge = math.huge
local lower = string.lower
local new_string = ffi.string
local pairs = pairs
local pcall = pcall
local setmetatable = setmetatable
local sub = string.sub
local type = type


---@class seckill.jwt
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local TOKEN_MAX = 4096
local USER_MAX = 64
local MAC_SIZE = 32
local MAC_CHARS = 43
local HEADERS_MAX = 64
local CACHE_DEFAULT = 8192
local ANY_KEY = -1
local SPACE = 32

local OPTIONS = {
    keys = "table", require_exp = "boolean", leeway = "number",
    claim = "string", cache = "number",
}

local decoded = ffi.new("uint8_t[?]", TOKEN_MAX)
local given_mac = ffi.new("uint8_t[?]", MAC_SIZE + 4)
local right_mac = ffi.new("uint8_t[?]", MAC_SIZE)
local chars_t = ffi.typeof("const char *")
local given_chars = ffi.cast("const char *", given_mac)
local right_chars = ffi.cast("const char *", right_mac)


-- kid -> number of the key in the ring; the numbers count from 0.
local function read_kids(keys)
    local kids, any = {}, false
    for i = 1, #keys do
        local entry = keys[i]
        local kid = type(entry) == "table" and entry.kid
        if kid then
            args.bytes(kid, "keys[" .. i .. "].kid", 1, 256, 3)
            if kids[kid] then
                error("option \"keys[" .. i .. "].kid\": used twice", 3)
            end
            kids[kid] = i - 1
            any = true
        end
    end
    return any and kids or nil
end


local function key_number(_, i)
    return i - 1
end


--- A verifier.
---@param opts { keys: { key: string, kid: string? }[], require_exp: boolean?,
---   leeway: number?, claim: string?, cache: integer? }
---@return seckill.jwt
function _M.new(opts)
    args.check(opts, OPTIONS, 2)
    local leeway = opts.leeway or 0
    if not (leeway >= 0 and leeway <= 3600) then
        error("option \"leeway\": 0 to 3600 seconds expected", 2)
    end
    args.integer(opts.cache, "cache", 2, 2 ^ 24, 2)
    local keys = opts.keys
    local self = {
        ring = keyring.new(keys, key_number, 2),
        key_count = #keys,
        kids = read_kids(keys),
        require_exp = opts.require_exp ~= false,
        leeway = leeway,
        claim = opts.claim or "sub",
        -- of one generation; the cache never holds more than twice this
        half = floor((opts.cache or CACHE_DEFAULT) / 2),
        young = {}, old = {}, young_count = 0,
        headers = {}, header_count = 0,
    }
    return setmetatable(self, mt)
end


local function decode_object(str, first, last)
    local n = base64url.decode(str, first, last, decoded)
    if not n then
        return nil
    end
    local ok, object = pcall(decode_json, new_string(decoded, n))
    if not ok or type(object) ~= "table" then
        return nil
    end
    return object
end


-- The number of the key, ANY_KEY, or nil where the header is refused.
local function judge_header(self, header)
    if header.alg ~= "HS256" or header.crit ~= nil then
        return nil
    end
    local kid = header.kid
    if not self.kids or kid == nil then
        return ANY_KEY
    end
    return type(kid) == "string" and self.kids[kid] or nil
end


-- Issuers write the same header into every token: judged once. Bounded, and
-- only headers that were accepted enter.
local function key_of_header(self, text, first, last)
    local part = sub(text, first, last)
    local key = self.headers[part]
    if key then
        return key
    end
    local header = decode_object(text, first, last)
    key = header and judge_header(self, header)
    if key then
        if self.header_count >= HEADERS_MAX then
            self.headers, self.header_count = {}, 0
        end
        self.headers[part] = key
        self.header_count = self.header_count + 1
    end
    return key
end


local function mac_fits(self, key, signed, len)
    C.seckill_hmac(self.ring, key, signed, len, right_mac)
    return C.seckill_equal(given_chars, right_chars, MAC_SIZE) == 1
end


-- Signed is what stands before the second dot, at `dot`.
local function signature_fits(self, key, text, first, dot)
    if #text - dot ~= MAC_CHARS
       or not base64url.decode(text, dot + 1, #text, given_mac) then
        return false
    end
    local signed, len = cast(chars_t, text) + (first - 1), dot - first
    if key ~= ANY_KEY then
        return mac_fits(self, key, signed, len)
    end
    for i = self.key_count - 1, 0, -1 do
        if mac_fits(self, i, signed, len) then
            return true
        end
    end
    return false
end


local function read_claims(self, text, first, last)
    local n = base64url.decode(text, first, last, decoded)
    if not n then
        return nil, "bad_token"
    end
    local user, exp, nbf = jwt_claims.read(decoded, n, self.claim)
    if user == false then
        return nil, "bad_token"
    end
    if type(user) ~= "string" or #user < 1 or #user > USER_MAX then
        return nil, "bad_user"
    end
    if exp == nil and not self.require_exp then
        exp = huge
    end
    if nbf == nil then
        nbf = -huge
    end
    if type(exp) ~= "number" or type(nbf) ~= "number" then
        return nil, "bad_token"
    end
    return { user = user, exp = exp, nbf = nbf }
end


-- The token stands in `text` from `first` to the end: no string is made of it.
local function verify_text(self, text, first)
    local first_dot = find(text, ".", first, true)
    local dot = first_dot and find(text, ".", first_dot + 1, true)
    if not dot or #text - first >= TOKEN_MAX then
        return nil, "bad_token"
    end
    local key = key_of_header(self, text, first, first_dot - 1)
    if not key or not signature_fits(self, key, text, first, dot) then
        return nil, "bad_token"
    end
    return read_claims(self, text, first_dot + 1, dot - 1)
end


local function check_times(self, entry, now)
    if now >= entry.exp + self.leeway then
        return nil, "token_expired"
    end
    if now < entry.nbf - self.leeway then
        return nil, "token_not_active"
    end
    return entry.user, entry.exp
end


local function keep(self, text, entry)
    if self.young_count >= self.half then
        self.old, self.young, self.young_count = self.young, {}, 0
    end
    self.young[text] = entry
    self.young_count = self.young_count + 1
end


local function cached(self, text)
    local entry = self.young[text]
    if entry then
        return entry
    end
    entry = self.old[text]
    if entry then
        keep(self, text, entry)
    end
    return entry
end


-- The cache is keyed by `text`: a token or a whole header value. What is over
-- its time is not kept: it would only push out others.
local function verify(self, text, first, now)
    local entry, code = verify_text(self, text, first)
    if not entry then
        return nil, code
    end
    local user, exp = check_times(self, entry, now)
    if user then
        keep(self, text, entry)
    end
    return user, exp
end


--- The user of a token.
---@param token any a value from a request
---@param now number seconds since the epoch
---@return string? user
---@return number|string exp_or_code bad_token | token_expired |
---   token_not_active | bad_user
function _M:verify(token, now)
    if type(token) ~= "string" then
        return nil, "bad_token"
    end
    local entry = cached(self, token)
    if entry then
        return check_times(self, entry, now)
    end
    return verify(self, token, 1, now)
end


-- Where the token starts. The scheme is case-insensitive; one or more spaces
-- follow (RFC 7235).
local function skip_scheme(header)
    if lower(sub(header, 1, 6)) ~= "bearer" or byte(header, 7) ~= SPACE then
        return nil
    end
    local at = 8
    while byte(header, at) == SPACE do
        at = at + 1
    end
    return at <= #header and at or nil
end


--- The user of an Authorization header. Keeps the whole value, so that a
--- known one costs one lookup.
---@param header string? "Bearer <token>"
---@param now number seconds since the epoch
---@return string? user
---@return number|string exp_or_code as verify, and unauthorized: no bearer
---   token
function _M:bearer(header, now)
    if type(header) ~= "string" then
        return nil, "unauthorized"
    end
    local entry = cached(self, header)
    if entry then
        return check_times(self, entry, now)
    end
    if #header > TOKEN_MAX + 16 then
        return nil, "bad_token"
    end
    local first = skip_scheme(header)
    if not first then
        return nil, "unauthorized"
    end
    return verify(self, header, first, now)
end


--- Entries in the cache of this worker.
---@return integer
function _M:cached_count()
    local n = self.young_count
    for text in pairs(self.old) do
        if not self.young[text] then
            n = n + 1
        end
    end
    return n
end


return _M
