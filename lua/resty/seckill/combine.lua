-- combine.lua - several limiters asked at one instant, charged all or none.
--
-- C looks at all of them first and charges then (csrc/limit/combine.c). Here
-- the arguments are laid out for it. Never yields, allocates nothing.

local ffi = require("ffi")
local lib = require("resty.seckill.lib")
local limiter = require("resty.seckill.limiter")
local unroll = require("resty.seckill.unroll")


local C = lib.C
local error = error
local ffi_istype = ffi.istype
local format = string.format
local type = type


local _M = { _VERSION = "0.1.0" }

local RULES_MAX = 8
_M.RULES_MAX = RULES_MAX
_M.ticket = limiter.ticket

local ticket_t = limiter.ticket_t

local SOURCE = [[
local C, OK, REJECTED, failed, verdict, handles, keys, lens, huge,
      error, type, tonumber = ...

return function(limiters, names, commit, t)
    ${locals}
    if not (${objects}) then
        error("list of limiters of the engine expected", 3)
    end
    if ${wrong} then
        return nil, "bad_key"
    end
    ${fill}
    local rc = C.seckill_combine(${n}, handles, keys, lens, 1, commit, 0, t,
                                 verdict)
    if rc == OK then
        return tonumber(verdict.delay_ns) / 1e9
    end
    if rc ~= REJECTED then
        local _, code = failed(rc, 3) -- a frame that level counts
        return nil, code
    end
    local ns = tonumber(verdict.retry_ns)
    return nil, "rejected", ns < 0 and huge or ns / 1e9, verdict.mask
end
]]


local handles = ffi.new("seckill_limiter_t *[?]", RULES_MAX)
local keys = ffi.new("const char *[?]", RULES_MAX)
local lens = ffi.new("size_t[?]", RULES_MAX)


local calls = unroll.compile(SOURCE, RULES_MAX, "combine", {
    locals = { "local h$i, k$i = limiters[$i].handle, names[$i]\n", "" },
    objects = { "h$i", " and " },
    wrong = { "type(k$i) ~= \"string\"", " or " },
    fill = { "handles[$j], keys[$j], lens[$j] = h$i, k$i, #k$i\n", "" },
}, C, lib.OK, lib.codes.rejected, limiter.failed, limiter.verdict, handles,
   keys, lens, math.huge, error, type, tonumber)


local function check(limiters, names, t)
    if type(limiters) ~= "table" or not calls[#limiters] then
        error(format("list of 1 to %d limiters expected", RULES_MAX), 3)
    end
    if type(names) ~= "table" then
        error("list of keys expected, got " .. type(names), 3)
    end
    if t ~= nil and not ffi_istype(ticket_t, t) then
        error("ticket expected, got " .. type(t), 3)
    end
end


-- No tail calls in these two: the level of an error counts their frames.

--- Ask several limiters at one instant: all are charged or none is. What one
--- refuses changes nothing in the others, whatever their order.
---
--- Phases: any.
---@param limiters seckill.limiter[] 1 to 8, of one engine
---@param names string[] a key for each
---@param t seckill.ticket? what was taken of all of them
---@return number? delay seconds to wait before going on, or nil
---@return string? code rejected, bad_key, full
---@return number? retry_after seconds, of `rejected`; math.huge: never
---@return integer? mask bit i: limiters[i + 1] refuses
function _M.combine(limiters, names, t)
    check(limiters, names, t)
    local delay, code, retry_after, mask =
        calls[#limiters](limiters, names, 1, t)
    return delay, code, retry_after, mask
end


--- The same, without charging anything.
--- Phases: any.
---@param limiters seckill.limiter[]
---@param names string[]
---@return number? delay
---@return string? code
---@return number? retry_after
---@return integer? mask
function _M.peek(limiters, names)
    check(limiters, names, nil)
    local delay, code, retry_after, mask =
        calls[#limiters](limiters, names, 0, nil)
    return delay, code, retry_after, mask
end


--- Give back what a ticket took, of all limiters; empties it.
--- Phases: any.
---@param t seckill.ticket
---@return boolean given
function _M.uncommit(t)
    if not ffi_istype(ticket_t, t) then
        error("ticket expected, got " .. type(t), 2)
    end
    return C.seckill_ticket_undo(t, 0) > 0
end


--- The request is over: the permits of a ticket are released, the rest stays
--- charged; empties it.
--- Phases: any.
---@param t seckill.ticket
---@return boolean ok
function _M.leaving(t)
    if not ffi_istype(ticket_t, t) then
        error("ticket expected, got " .. type(t), 2)
    end
    C.seckill_ticket_leave(t)
    return true
end


return _M
