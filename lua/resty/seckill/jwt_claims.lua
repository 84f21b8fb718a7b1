-- jwt_claims.lua - reads the claims of a token's payload.
--
-- A payload as issuers write it is flat: strings without escapes and whole
-- numbers. Such a one is read in place; making a string and a table of it for
-- a JSON parser costs more than the signature does. Everything else, right or
-- wrong, goes to the JSON parser. The scanner takes nothing that the parser
-- would refuse or read in another way; where a name occurs twice both take
-- the last one.

local ffi = require("ffi")
local strict_json = require("resty.seckill.strict_json")


local decode_json = strict_json.decode
local new_string = ffi.string
local pcall = pcall
local type = type


local _M = { _VERSION = "0.1.0" }

-- Digits that fit in a number exactly.
local DIGITS_MAX = 15

local QUOTE, COMMA, COLON, OPEN, CLOSE = 34, 44, 58, 123, 125
local BACKSLASH, ZERO, NINE, SPACE, DEL = 92, 48, 57, 32, 127


-- The position of the quote that ends the string starting at `at`, or nil for
-- an escape, a control character or anything that is not ASCII.
local function string_end(buf, at, n)
    while at < n do
        local c = buf[at]
        if c == QUOTE then
            return at
        end
        if c == BACKSLASH or c < SPACE or c >= DEL then
            return nil
        end
        at = at + 1
    end
end


-- The whole number at `at` and the position after it, or nil.
local function read_number(buf, at, n)
    local value, first = 0, at
    while at < n and buf[at] >= ZERO and buf[at] <= NINE do
        value = value * 10 + (buf[at] - ZERO)
        at = at + 1
    end
    local digits = at - first
    if digits == 0 or digits > DIGITS_MAX
       or (digits > 1 and buf[first] == ZERO) then
        return nil
    end
    return value, at
end


local function is_name(buf, at, stop, name)
    if stop - at ~= #name then
        return false
    end
    for i = 1, #name do
        if buf[at + i - 1] ~= name:byte(i) then
            return false
        end
    end
    return true
end


local found = { user = false, exp = nil, nbf = nil }


-- One member; the position after it, or nil. User names are kept as places:
-- one string is made at the end.
local function read_member(buf, at, n, claim)
    if at >= n or buf[at] ~= QUOTE then
        return nil
    end
    local name = at + 1
    local stop = string_end(buf, name, n)
    if not stop or stop + 2 >= n or buf[stop + 1] ~= COLON then
        return nil
    end
    at = stop + 2
    if buf[at] == QUOTE then
        local last = string_end(buf, at + 1, n)
        if not last or is_name(buf, name, stop, "exp")
           or is_name(buf, name, stop, "nbf") then
            return nil
        end
        if is_name(buf, name, stop, claim) then
            found.first, found.last = at + 1, last
        end
        return last + 1
    end
    local value, after = read_number(buf, at, n)
    if not value or is_name(buf, name, stop, claim) then
        return nil
    end
    if is_name(buf, name, stop, "exp") then
        found.exp = value
    elseif is_name(buf, name, stop, "nbf") then
        found.nbf = value
    end
    return after
end


-- True when all of it was read; the claims are in `found`.
local function scan(buf, n, claim)
    found.first, found.last, found.exp, found.nbf = 0, 0, nil, nil
    if n < 2 or buf[0] ~= OPEN then
        return false
    end
    local at = 0
    repeat
        at = read_member(buf, at + 1, n, claim)
        if not at or at >= n then
            return false
        end
    until buf[at] ~= COMMA
    return buf[at] == CLOSE and at + 1 == n and found.last > found.first
end


--- The claims in n bytes of JSON: user, exp and nbf, of any type, as they are;
--- false when it is no JSON object.
---@param buf ffi.cdata* uint8_t[?]
---@param n integer
---@param claim string the name of the user's claim
---@return any user
---@return any exp
---@return any nbf
function _M.read(buf, n, claim)
    if claim ~= "exp" and claim ~= "nbf" and scan(buf, n, claim) then
        return new_string(buf + found.first, found.last - found.first),
               found.exp, found.nbf
    end
    local ok, claims = pcall(decode_json, new_string(buf, n))
    if not ok or type(claims) ~= "table" then
        return false
    end
    return claims[claim], claims.exp, claims.nbf
end


return _M
