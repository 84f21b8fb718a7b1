--- traffic.lua - drop-in for resty.limit.traffic: several limiters as one.
--
-- As there: all but the last limiter are only asked, the last one is charged,
-- then the others; when one of them refuses by then, what was charged is given
-- back. Our own objects give back exactly, by ticket, where nothing was
-- charged in between; any other object with `incoming` and `uncommit` will do
-- as well. For limiters of the engine itself there is seckill.combine, which
-- does the same in one call.
--
-- The passes are written out for each number of limiters and loaded once:
-- LuaJIT does not compile a function whose loop runs only a few times.

local lib = require("resty.seckill.lib")
local limiter = require("resty.seckill.limiter")
local unroll = require("resty.seckill.unroll")


local C = lib.C
local assert = assert
local concat = table.concat
local error = error
local fill = unroll.fill
local format = string.format
local getmetatable = getmetatable
local load = load
local math_max = math.max
local type = type


---@class seckill.limit.traffic
local _M = { _VERSION = "0.1.0" }

local LIMITERS_MAX = 64

local LOOK = [[
    delay, state = limiters[${i}]:incoming(keys[${i}], false)
    if not delay then
        return nil, state
    end
]]

local LAST = [[
    local most, last = limiters[${n}]:incoming(keys[${n}], true)
    if not most then
        return nil, last
    end
]]

local CHARGE = [[
    delay, s${i} = limiters[${i}]:incoming(keys[${i}], true)
    if not delay then
        ${undo}
        uncommit(limiters[${n}], keys[${n}])
        return nil, s${i}
    end
    most = max(most, delay)
]]

local UNDO = "uncommit(limiters[${i}], keys[${i}])\n"

local SOURCE = [[
local max, uncommit = ...
return function(limiters, keys, states)
    local delay, state
    ${look}
    ${last}
    ${names}
    ${charge}
    if states then
        ${states}
    end
    return most
end
]]


-- A limiter of the engine knows tickets; without one it is asked by key.
local function uncommit(lim, key)
    local mt = getmetatable(lim)
    if mt and mt.__index == limiter then
        C.seckill_limiter_refund(lim.handle, nil, key, #key, 1, 0)
    else
        lim:uncommit(key)
    end
end


local function compile(n)
    local look, charge, undo, names, states = {}, {}, {}, {}, {}
    for i = 1, n - 1 do
        look[i] = fill(LOOK, { i = i })
        charge[i] = fill(CHARGE, { i = i, n = n, undo = concat(undo) })
        table.insert(undo, 1, fill(UNDO, { i = i }))
        names[i] = "local s" .. i .. "\n"
        states[i] = format("states[%d] = s%d\n", i, i)
    end
    states[n] = format("states[%d] = last\n", n)
    local source = fill(SOURCE, {
        look = concat(look), last = fill(LAST, { n = n }),
        names = concat(names), charge = concat(charge),
        states = concat(states),
    })
    return assert(load(source, "=traffic", "t"))(math_max, uncommit)
end


-- By the number of limiters.
local passes = { [0] = function() return 0 end }


local function make_pass(n)
    if n > LIMITERS_MAX then
        error(format("at most %d limiters expected, got %d", LIMITERS_MAX, n),
              3)
    end
    passes[n] = compile(n)
    return passes[n]
end


--- As resty.limit.traffic.combine.
---
--- Phases: any.
---@param limiters table[]
---@param keys any[]
---@param states table? gets the second value of each limiter
---@return number? delay the longest
---@return string? err the first refusal
function _M.combine(limiters, keys, states)
    if type(limiters) ~= "table" or type(keys) ~= "table" then
        error("list of limiters and list of keys expected", 2)
    end
    local n = #limiters
    local pass = passes[n] or make_pass(n)
    return pass(limiters, keys, states)
end


return _M
