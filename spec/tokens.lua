-- Makes JSON web tokens for specs, right and wrong ones. The signature comes
-- from the engine's HMAC, which has its own vectors (csrc/test/token_test.c).

local ffi = require "ffi"
local cjson = require "cjson"
local mime = require "mime"
local keyring = require "resty.seckill.keyring"
local lib = require "resty.seckill.lib"

local _M = {}

local rings = {}


--- base64url without padding.
function _M.encode(text)
    local s = mime.b64(text) or ""
    return (s:gsub("[+/=\r\n]", { ["+"] = "-", ["/"] = "_", ["="] = "",
                                  ["\r"] = "", ["\n"] = "" }))
end


--- HMAC-SHA256, as bytes.
function _M.hmac(key, text)
    rings[key] = rings[key] or keyring.new({ { key = key } },
                                           function() return 1 end, 1)
    local mac = ffi.new("unsigned char[32]")
    assert(lib.C.seckill_hmac(rings[key], -1, text, #text, mac) == 0)
    return ffi.string(mac, 32)
end


--- A token of the given JSON texts, signed with `key`.
function _M.raw(header, payload, key)
    local signed = _M.encode(header) .. "." .. _M.encode(payload)
    return signed .. "." .. _M.encode(_M.hmac(key, signed))
end


--- A token of the given claims; `header` is a table, HS256 by default.
function _M.jwt(claims, key, header)
    header = header or { alg = "HS256", typ = "JWT" }
    return _M.raw(cjson.encode(header), cjson.encode(claims), key)
end


return _M
