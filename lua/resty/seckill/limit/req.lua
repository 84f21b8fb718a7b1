--- req.lua - drop-in for resty.limit.req: constructor, methods and returns.
--
-- A leaky bucket of the engine, exact over all workers (docs/api/drop_in.md
-- has what differs). Nothing yields or allocates after `new`.

local lib = require("resty.seckill.lib")
local limit = require("resty.seckill.limit")


local C = lib.C
local OK = lib.OK
local REJECTED = lib.codes.rejected
local errname = lib.errname
local floor = math.floor
local setmetatable = setmetatable
local tonumber = tonumber

local check = limit.check
local give_back = limit.give_back
local part_t = limit.part_t
local take = limit.take
local to_key = limit.key
local verdict = limit.verdict


---@class seckill.limit.req
---@field now_ns number for tests: the time of the calls, 0: the clock's
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local NS = 1e9


local function make_limit(rate, burst)
    local numbers = limit.numbers(C.SECKILL_LEAKY_BUCKET)
    numbers.rate, numbers.burst = rate, burst
    numbers.zeros = burst == 0 and C.SECKILL_ZERO_BURST or 0
    return numbers
end


local rule_of = limit.rules(function(rate, burst, level)
    check(rate, "rate", 1e-7, 1e7, level + 1)
    check(burst, "burst", 0, 1e9, level + 1)
    local rule = limit.prepare(make_limit(rate, burst),
        "burst: more than 208 days at this rate", level + 1)
    return rule
end)


--- As resty.limit.req.new.
---
--- Phases: any; the first object for a dict makes or opens its limiter.
---@param dict_name string
---@param rate number requests per second
---@param burst number requests that may wait
---@return seckill.limit.req? object
---@return string? err
function _M.new(dict_name, rate, burst)
    local rule = rule_of(rate, burst, 2)
    local handle, err = limit.find("req", dict_name, 0, make_limit, rate,
                                   burst)
    if not handle then
        return nil, err
    end
    return setmetatable({ handle = handle, rule = rule, rate = rate,
                          burst = burst, part = part_t(), key = nil,
                          now_ns = 0 }, mt)
end


--- As the original: delay and excess, both 0 below the rate.
---
--- Phases: any.
---@param key any
---@param commit boolean? nil and false only look
---@return number? delay seconds
---@return number|string excess requests over the rate, with this one
function _M:incoming(key, commit)
    local err
    key, err = to_key(key)
    if not key then
        return nil, err
    end
    local rc = take(self, key, commit)
    if rc == OK then
        local delay = tonumber(verdict.delay_ns) / NS
        -- In thousandths, as the original: a ns of rounding is no excess.
        return delay, floor(delay * self.rate * 1000 + 0.5) / 1000
    end
    if rc == REJECTED then
        return nil, "rejected"
    end
    return nil, errname(rc)
end


--- Give back a request of this key: the last one that this object admitted,
--- exactly; of another key, one of those that are still charged.
---
--- Phases: any.
---@param key any
---@return boolean? ok
---@return string? err "not found": nothing of the key is charged
function _M:uncommit(key)
    local err
    key, err = to_key(key)
    if not key then
        return nil, err
    end
    local rc = give_back(self, key)
    if rc == 1 then
        return true
    end
    return nil, rc == OK and "not found" or errname(rc)
end


--- Another rate for this object.
---@param rate number
function _M:set_rate(rate)
    self.rule = rule_of(rate, self.burst, 2)
    self.rate = rate
end


--- Another burst for this object.
---@param burst number
function _M:set_burst(burst)
    self.rule = rule_of(self.rate, burst, 2)
    self.burst = burst
end


return _M
