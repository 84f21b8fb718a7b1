-- check.lua - black and white lists asked together.
--
-- An allow of any list wins over a deny of any. Here the arguments are laid out
-- for C. Never yields.

local ffi = require("ffi")
local lib = require("resty.seckill.lib")
local unroll = require("resty.seckill.unroll")


local error = error
local format = string.format
local type = type


local _M = { _VERSION = "0.1.0" }

local LISTS_MAX = 8

local SOURCE = [[
local C, errname, handles, values, lens, which, reason, reason_len,
      ffi_string, error, type, tonumber = ...

return function(lists, names)
    ${locals}
    if not (${objects}) then
        error("list of access lists of the engine expected", 3)
    end
    if ${wrong} then
        return nil, "bad_value"
    end
    ${fill}
    local rc = C.seckill_list_check(${n}, handles, values, lens, 0, which,
                                    reason, reason_len)
    if rc == 0 then
        return false
    end
    if rc < 0 then
        return nil, errname(rc)
    end
    local name = lists[which[0] + 1].name
    if rc == 2 then
        return false, "allow", name
    end
    local size = tonumber(reason_len[0])
    return true, size > 0 and ffi_string(reason[0], size) or nil, name
end
]]

local handles = ffi.new("seckill_list_t *[?]", LISTS_MAX)
local values = ffi.new("const char *[?]", LISTS_MAX)
local lens = ffi.new("size_t[?]", LISTS_MAX)
local which = ffi.new("uint32_t[1]")
local reason = ffi.new("const char *[1]")
local reason_len = ffi.new("size_t[1]")


local calls = unroll.compile(SOURCE, LISTS_MAX, "check", {
    locals = { "local h$i, v$i = lists[$i].handle, names[$i]\n", "" },
    objects = { "h$i", " and " },
    wrong = { "type(v$i) ~= \"string\"", " or " },
    fill = { "handles[$j], values[$j], lens[$j] = h$i, v$i, #v$i\n", "" },
}, lib.C, lib.errname, handles, values, lens, which, reason, reason_len,
   ffi.string, error, type, tonumber)


--- Look values up, each in a list, and answer once: an allow of any list wins
--- over a deny of any; of several, that of the first list counts.
---
--- Phases: any.
---@param lists seckill.access_list[] 1 to 8
---@param names string[] a value for each
---@return boolean? denied
---@return string? reason of the deny, "allow", or the code bad_value
---@return string? list the name of the list that decided
function _M.check(lists, names)
    if type(lists) ~= "table" or not calls[#lists] then
        error(format("list of 1 to %d access lists expected", LISTS_MAX), 2)
    end
    if type(names) ~= "table" then
        error("list of values expected, got " .. type(names), 2)
    end
    local denied, why, name = calls[#lists](lists, names)
    return denied, why, name
end


return _M
