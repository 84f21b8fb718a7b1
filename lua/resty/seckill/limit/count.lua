--- count.lua - drop-in for resty.limit.count: constructor, methods, returns.
--
-- A window of the engine that begins with a key's first admission. A refusal
-- changes nothing; what is given back is given back in its own window only
-- (docs/api/drop_in.md). Nothing yields or allocates after `new`.

local lib = require("resty.seckill.lib")
local limit = require("resty.seckill.limit")


local C = lib.C
local OK = lib.OK
local REJECTED = lib.codes.rejected
local errname = lib.errname
local floor = math.floor
local setmetatable = setmetatable

local check = limit.check
local give_back = limit.give_back
local part_t = limit.part_t
local take = limit.take
local to_key = limit.key
local verdict = limit.verdict


---@class seckill.limit.count
---@field now_ns number for tests: the time of the calls, 0: the clock's
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local NS = 1e9
local DAY = 86400
local TINY = 2 ^ -1022


local function make_limit(count, window)
    local numbers = limit.numbers(C.SECKILL_FIXED_WINDOW)
    count = floor(count)
    numbers.limit = count
    numbers.zeros = count == 0 and C.SECKILL_ZERO_LIMIT or 0
    numbers.window_ns = window * NS
    return numbers
end


local rule_of = limit.rules(function(count, window, level)
    check(count, "count", TINY, 1e12, level + 1)
    check(window, "window", 0.001, 31 * DAY, level + 1)
    local rule = limit.prepare(make_limit(count, window),
                               "count, window: out of range", level + 1)
    return rule
end)


--- As resty.limit.count.new. Of a count with a fraction the whole part counts.
---
--- Phases: any; the first object for a dict makes or opens its limiter.
---@param dict_name string
---@param count number requests in a window
---@param window number seconds
---@return seckill.limit.count? object
---@return string? err
function _M.new(dict_name, count, window)
    local rule = rule_of(count, window, 2)
    local handle, err = limit.find("count", dict_name, window, make_limit,
                                   count, window)
    if not handle then
        return nil, err
    end
    return setmetatable({ handle = handle, rule = rule, part = part_t(),
                          key = nil, now_ns = 0 }, mt)
end


--- As the original: 0 and what is left of the window.
---
--- Phases: any.
---@param key any
---@param commit boolean? nil and false only look
---@return number? delay 0
---@return number|string remaining
function _M:incoming(key, commit)
    local err
    key, err = to_key(key)
    if not key then
        return nil, err
    end
    local rc = take(self, key, commit)
    if rc == OK then
        return 0, verdict.remaining
    end
    if rc == REJECTED then
        return nil, "rejected"
    end
    return nil, errname(rc)
end


-- What is left of the window of a key: a look says what would be left after
-- one more.
local function left(self, key)
    local rc = C.seckill_limiter_take_as(self.handle, self.rule, key, #key, 1,
                                         0, self.now_ns, nil, verdict)
    return rc == OK and verdict.remaining + 1 or 0
end


--- Give back a request of this key: the last one that this object admitted,
--- exactly and only in its own window; of another key, one that is counted in
--- the window of now.
---
--- Phases: any.
---@param key any
---@return number? remaining
---@return string? err
function _M:uncommit(key)
    local err
    key, err = to_key(key)
    if not key then
        return nil, err
    end
    local rc = give_back(self, key)
    if rc < 0 then
        return nil, errname(rc)
    end
    return left(self, key)
end


return _M
