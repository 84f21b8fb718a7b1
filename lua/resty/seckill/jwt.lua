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
-- Verified tokens are kept in a cache of fixed size in C (csrc/token/jwt.c),
-- keyed by the whole text. Only verified tokens enter; their times are checked
-- at every use. A token of a removed key is valid until its worker ends or it
-- leaves the cache: rotate keys with a reload.
--
-- Time is an argument. Runs in any phase; per Lua VM state only.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local keyring = require("resty.seckill.keyring")
local lib = require("resty.seckill.lib")
local strict_json = require("resty.seckill.strict_json")


local C = lib.C
local cast = ffi.cast
local byte = string.byte
local decode_json = strict_json.decode
local error = error
local find = string.find
local huge = math.huge
local lower = string.lower
local new_string = ffi.string
local pcall = pcall
local setmetatable = setmetatable
local sub = string.sub
local type = type


---@class seckill.jwt
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local TOKEN_MAX = 4096
local USER_MAX = 64
local HEADERS_MAX = 64
local CACHE_DEFAULT = 2048
local ANY_KEY = -1
local SPACE = 32

local OPTIONS = {
    keys = "table", require_exp = "boolean", leeway = "number",
    claim = "string", cache = "number",
}

local decoded = ffi.new("uint8_t[?]", TOKEN_MAX)
local chars_t = ffi.typeof("const char *")
local found = ffi.new("seckill_claims_t")


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


local function new_cache(entries)
    local out = ffi.new("seckill_jwt_cache_t *[1]")
    local rc = C.seckill_jwt_cache_new(entries, out)
    if rc ~= lib.OK then
        error("cache: " .. lib.errname(rc), 3)
    end
    return ffi.gc(out[0], C.seckill_jwt_cache_free)
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
        -- the scanner in C does not read the user from a time
        fast_claim = (opts.claim == "exp" or opts.claim == "nbf") and ""
                     or opts.claim or "sub",
        cache = new_cache(opts.cache or CACHE_DEFAULT),
        headers = {}, header_count = 0,
    }
    return setmetatable(self, mt)
end


local function decode_object(str, first, last)
    local n = C.seckill_base64url_decode(cast(chars_t, str) + (first - 1),
                                         last - first + 1, decoded, TOKEN_MAX)
    if n < 0 then
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


-- Check the signature; the length of the payload, which is in `decoded`.
local function open_payload(self, key, text, first, first_dot, dot)
    local start, len = cast(chars_t, text) + (first - 1), #text - first + 1
    local payload, stop = first_dot - first + 1, dot - first
    if key ~= ANY_KEY then
        return C.seckill_jws_open(self.ring, key, start, len, payload, stop,
                                  decoded, TOKEN_MAX)
    end
    local n
    for i = self.key_count - 1, 0, -1 do
        n = C.seckill_jws_open(self.ring, i, start, len, payload, stop,
                               decoded, TOKEN_MAX)
        if n >= 0 then
            break
        end
    end
    return n
end


local function is_time(value)
    return value == nil or type(value) == "number"
end


-- A payload that is not flat: by the JSON parser.
local function parse_claims(self, n)
    local ok, claims = pcall(decode_json, new_string(decoded, n))
    if not ok or type(claims) ~= "table" then
        return "bad_token"
    end
    local user, exp, nbf = claims[self.claim], claims.exp, claims.nbf
    if type(user) ~= "string" or #user < 1 or #user > USER_MAX then
        return "bad_user"
    end
    if not is_time(exp) or not is_time(nbf) then
        return "bad_token"
    end
    found.user_len = #user
    ffi.copy(found.user, user, #user)
    found.has_exp, found.exp = exp and 1 or 0, exp or 0
    found.has_nbf, found.nbf = nbf and 1 or 0, nbf or 0
end


-- Fill `found` with what the payload says; else a code.
local function read_claims(self, n)
    local claim = self.claim
    if claim == "exp" or claim == "nbf"
       or C.seckill_jwt_claims(decoded, n, claim, #claim, found) ~= lib.OK then
        local code = parse_claims(self, n)
        if code then
            return code
        end
    end
    if found.has_exp == 0 and self.require_exp then
        return "bad_token"
    end
end


-- The signature was right: tokens with this header take the short way in C.
local function accept(self, header, key)
    if key == ANY_KEY and self.key_count == 1 then
        key = 0
    end
    if key ~= ANY_KEY and header ~= self.accepted then
        C.seckill_jwt_accept(self.cache, header, #header, key)
        self.accepted = header
    end
end


-- The token stands in `text` from `first` to the end: no string is made of it.
-- nil and `found` filled, or a code.
local function verify_text(self, text, first)
    local first_dot = find(text, ".", first, true)
    local dot = first_dot and find(text, ".", first_dot + 1, true)
    if not dot or #text - first >= TOKEN_MAX then
        return "bad_token"
    end
    local key = key_of_header(self, text, first, first_dot - 1)
    local n = key and open_payload(self, key, text, first, first_dot, dot)
    if not n or n < 0 then
        return "bad_token"
    end
    accept(self, sub(text, first, first_dot - 1), key)
    return read_claims(self, n)
end


-- The user of `found`, whose times are checked at every use.
local function check_times(self, now)
    local exp = found.has_exp == 1 and found.exp or huge
    if now >= exp + self.leeway then
        return nil, "token_expired"
    end
    if found.has_nbf == 1 and now < found.nbf - self.leeway then
        return nil, "token_not_active"
    end
    return new_string(found.user, found.user_len), exp
end


-- The cache is keyed by `text`: a token or a whole header value. What is over
-- its time is not kept: it would only push out others.
local function keep(self, text, now)
    local user, exp = check_times(self, now)
    if user then
        C.seckill_jwt_cache_put(self.cache, text, #text, found)
    end
    return user, exp
end


local function verify(self, text, first, now)
    local code = verify_text(self, text, first)
    if code then
        return nil, code
    end
    return keep(self, text, now)
end


local function cached(self, text)
    return C.seckill_jwt_cache_get(self.cache, text, #text, found) == 1
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
    if cached(self, token) then
        return check_times(self, now)
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
    if #header > TOKEN_MAX + 16 then
        return nil, "bad_token"
    end
    local rc = C.seckill_jwt_bearer(self.cache, self.ring, header, #header,
                                    self.fast_claim, #self.fast_claim, found)
    if rc == 1 then
        return check_times(self, now)
    end
    if rc == lib.OK and (found.has_exp == 1 or not self.require_exp) then
        return keep(self, header, now)
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
    return C.seckill_jwt_cache_used(self.cache)
end


return _M
