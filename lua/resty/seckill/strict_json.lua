-- strict_json.lua - a JSON reader and writer for what comes from outside.
--
-- A private instance of lua-cjson, for its settings are shared by all users of
-- an instance: no NaN, Infinity or hexadecimal numbers, nesting at most 8.
-- It writes 14 digits: larger counts need a format of their own.

local ok, cjson = pcall(require, "cjson")

if not ok then
    error("lua-cjson is needed (Debian: lua-cjson; part of OpenResty): "
          .. cjson, 0)
end

local json = cjson.new()
json.decode_invalid_numbers(false)
json.decode_max_depth(8)
json.encode_invalid_numbers(false)


return {
    _VERSION = "0.1.0",
    decode = json.decode,
    encode = json.encode,
    null = json.null,
}
