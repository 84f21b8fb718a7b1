-- base64url.lua - strict decoding of base64url without padding (RFC 4648, 5).
--
-- Exactly one text for each value: other characters, impossible lengths and
-- bits left over at the end are refused. Compiled loops over FFI memory; the
-- caller gives the buffer.

local bit = require("bit")
local ffi = require("ffi")


local band = bit.band
local bor = bit.bor
local cast = ffi.cast
local lshift = bit.lshift
local rshift = bit.rshift


local _M = { _VERSION = "0.1.0" }

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                 .. "0123456789-_"
local BAD = 255

local values = ffi.new("uint8_t[256]")
ffi.fill(values, 256, BAD)
for i = 1, #ALPHABET do
    values[ALPHABET:byte(i)] = i - 1
end


-- The last 2 or 3 characters, at text[at]; the number of bytes or nil.
local function decode_tail(text, at, rest, out, n)
    local a, b = values[text[at]], values[text[at + 1]]
    if a == BAD or b == BAD then
        return nil
    end
    out[n] = bor(lshift(a, 2), rshift(b, 4))
    if rest == 2 then
        return band(b, 15) == 0 and n + 1 or nil
    end
    local c = values[text[at + 2]]
    if c == BAD or band(c, 3) ~= 0 then
        return nil
    end
    out[n + 1] = bor(lshift(band(b, 15), 4), rshift(c, 2))
    return n + 2
end


--- Decode the characters first..last (1-based) of `str` into `out`, which has
--- room for 3 bytes for each 4 characters.
---@param str string
---@param first integer
---@param last integer
---@param out ffi.cdata* uint8_t[?]
---@return integer? bytes nil where it is not canonical base64url
function _M.decode(str, first, last, out)
    local text = cast("const uint8_t *", str)
    local len = last - first + 1
    local rest = len % 4
    if rest == 1 or len < 0 then
        return nil
    end
    local n = 0
    for at = first - 1, last - rest - 1, 4 do
        local a, b = values[text[at]], values[text[at + 1]]
        local c, d = values[text[at + 2]], values[text[at + 3]]
        -- BAD has the bits 6 and 7, no value has them.
        if bor(a, b, c, d) > 63 then
            return nil
        end
        out[n] = bor(lshift(a, 2), rshift(b, 4))
        out[n + 1] = bor(lshift(band(b, 15), 4), rshift(c, 2))
        out[n + 2] = bor(lshift(band(c, 3), 6), d)
        n = n + 3
    end
    if rest == 0 then
        return n
    end
    return decode_tail(text, last - rest, rest, out, n)
end


return _M
