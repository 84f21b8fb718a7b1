-- keyring.lua - a ring of HMAC-SHA256 keys of the C library, for the tokens.
--
-- Built once from a list of keys; the last key signs, all verify. The ring is
-- freed when the object is collected.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local lib = require("resty.seckill.lib")


local C = lib.C
local error = error
local format = string.format
local ipairs = ipairs
local type = type


local _M = { _VERSION = "0.1.0" }

local KEYS_MAX = 16
local KEY_MIN = 16
local KEY_MAX = 128


local function add(ring, i, id, key, level)
    args.bytes(key, format("keys[%d].key", i), KEY_MIN, KEY_MAX, level + 1)
    local rc = C.seckill_keyring_add(ring, id, key, #key)
    if rc ~= lib.OK then
        error(format("option \"keys[%d]\": %s", i, lib.errname(rc)),
              level + 1)
    end
end


--- Make a ring. `id_of(entry, i)` gives the number of a key, 0 to 255.
---@param keys table[] each with a field `key`
---@param id_of fun(entry: table, i: integer, level: integer): integer
---@param level integer as for error(), seen from the caller
---@return ffi.cdata* ring
function _M.new(keys, id_of, level)
    level = level + 1
    if type(keys) ~= "table" or #keys < 1 or #keys > KEYS_MAX then
        error(format("option \"keys\": list of 1 to %d keys expected",
                     KEYS_MAX), level)
    end
    local out = ffi.new("seckill_keyring_t *[1]")
    if C.seckill_keyring_new(out) ~= lib.OK then
        error("no memory for the keys", level)
    end
    local ring = ffi.gc(out[0], C.seckill_keyring_free)
    for i, entry in ipairs(keys) do
        if type(entry) ~= "table" then
            error(format("option \"keys[%d]\": table expected", i), level)
        end
        add(ring, i, id_of(entry, i, level + 1), entry.key, level)
    end
    return ring
end


return _M
