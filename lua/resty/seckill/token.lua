-- token.lua - purchase tokens: what a buyer shows to confirm or to cancel.
--
-- A token carries item, user, reservation id and expiry under an HMAC-SHA256
-- (csrc/token/token.c has the layout). It is signed, not encrypted. Time is an
-- argument. Scratch memory is shared by all objects of a Lua VM: nothing
-- yields between filling and reading it.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local keyring = require("resty.seckill.keyring")
local lib = require("resty.seckill.lib")


local C = lib.C
local copy = ffi.copy
local floor = math.floor
local new_string = ffi.string
local setmetatable = setmetatable
local tonumber = tonumber
local type = type


---@class seckill.token
---@field ring ffi.cdata*
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local ID_MAX = 64
local TOKEN_MAX = 512
-- Seconds that fit in 63 bits of nanoseconds.
local TIME_MAX = 9.2e9

local fields = ffi.new("seckill_token_t")
local buf = ffi.new("char[?]", TOKEN_MAX)


local function key_id(entry, i, level)
    local id = entry.id
    if id == nil then
        id = i
    end
    args.integer(id, "keys[" .. i .. "].id", 0, 255, level)
    return id
end


--- A maker and reader of tokens.
---@param opts { keys: { id: integer?, key: string }[] } the last key signs
---@return seckill.token
function _M.new(opts)
    args.check(opts, { keys = "table" }, 2)
    local ring = keyring.new(opts.keys, key_id, 2)
    return setmetatable({ ring = ring }, mt)
end


local function is_id(value)
    return type(value) == "string" and #value >= 1 and #value <= ID_MAX
end


-- NaN fails both comparisons.
local function is_time(value)
    return type(value) == "number" and value > 0 and value < TIME_MAX
end


--- A token for a reservation (reserve's result has these fields).
---@param t { item: string, user: string, id: string, expires_at: number }
---@return string? token
---@return string? code bad_token: a field is not fit for a token
function _M:make(t)
    local item, user, id = t.item, t.user, t.id
    if not (is_id(item) and is_id(user) and is_id(id)
            and is_time(t.expires_at)) then
        return nil, "bad_token"
    end
    fields.item_len, fields.user_len, fields.id_len = #item, #user, #id
    copy(fields.item, item, #item)
    copy(fields.user, user, #user)
    copy(fields.id, id, #id)
    fields.expires_at = t.expires_at * 1e9
    local n = C.seckill_token_make(self.ring, fields, buf, TOKEN_MAX)
    if n < 0 then
        return nil, lib.errname(n)
    end
    return new_string(buf, n)
end


--- Verify and read a token.
---@param token any a value from a request
---@param now number seconds since the epoch
---@param into table? filled and answered instead of a new table
---@return { item: string, user: string, id: string, expires_at: number }?
---@return string? code bad_token | token_expired
function _M:open(token, now, into)
    if type(token) ~= "string" or #token > TOKEN_MAX then
        return nil, "bad_token"
    end
    local rc = C.seckill_token_open(self.ring, token, #token,
                                    floor(now * 1e9), fields)
    if rc ~= lib.OK then
        return nil, lib.errname(rc)
    end
    local t = into or {}
    t.item = new_string(fields.item, fields.item_len)
    t.user = new_string(fields.user, fields.user_len)
    t.id = new_string(fields.id, fields.id_len)
    t.expires_at = tonumber(fields.expires_at) / 1e9
    return t
end


return _M
