--- breaker.lua - circuit breakers that all workers share.
--
-- A thin object over the C functions (docs/api/breaker.md). allow, report and
-- cancel neither yield, allocate, lock nor make a system call; C reads the
-- clock. A permit is a number: pass it on as it is, to one report or cancel.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local guard = require("resty.seckill.guard")
local lib = require("resty.seckill.lib")


local C = lib.C
local OK = lib.OK
local OPEN = lib.codes.open
local error = error
local errname = lib.errname
local is_permit = guard.is_permit
local latency_ns = guard.latency_ns
local not_a_permit = guard.not_a_permit
local setmetatable = setmetatable
local tonumber = tonumber
local tostring = tostring
local type = type

local no_self = args.no_self("breaker")


---@class seckill.breaker
---@field name string
---@field handle ffi.cdata* seckill_breaker_t *
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local NS = 1e9
local DAY = 86400

-- As guard.lua has it.
local NUMBERS = {
    window = { "window_ns", 0.01, DAY, NS },
    min_calls = { "min_calls", 1, 1e6, 1, integer = true },
    probes = { "probes", 1, 16, 1, integer = true },
    error_ratio = { "error_ratio", 0, 1, 1, off = true },
    slow_ratio = { "slow_ratio", 0, 1, 1, off = true },
    slow = { "slow_ns", 1e-6, DAY, NS },
    cpu = { "cpu", 0, 1, 1, off = true },
    consecutive = { "consecutive", 1, 1e6, 1, integer = true, off = true },
    open = { "open_ns", 0.001, DAY, NS },
    ramp = { "ramp_ns", 0.001, DAY, NS, off = true },
    probe_timeout = { "probe_timeout_ns", 0.001, DAY, NS },
}
local TYPES = guard.types(NUMBERS)

local STATES = { "closed", "open", "half_open", "forced_open", "closed",
                 "disabled" }
local FORCED = { [4] = "open", [5] = "closed", [6] = "disabled" }
local FORCE = { open = 4, closed = 5, disabled = 6 }

-- Scratch: filled and read without a yield in between.
local permit_out = ffi.new("uint64_t[1]")
local retry = ffi.new("int64_t[1]")


-- The C struct of checked options; 0 stands for absent.
local function to_options(opts, level)
    local o = guard.to_struct("seckill_breaker_options_t", opts, NUMBERS,
                              TYPES, level + 1)
    return o
end


-- All single values are in range here: what is left is a slow_ratio without
-- the time that makes a call slow.
local function failed(rc, level)
    local code = errname(rc)
    if code == "bad_option" then
        error("option \"slow\": needed for \"slow_ratio\"", level + 1)
    end
    return nil, code
end


--- Create a breaker or attach to it. Other numbers than it has are set, for
--- all workers; what is not given stays as it is.
---
--- Phases: any; made for init_by_lua* and init_worker_by_lua*.
---@class seckill.breaker.options
---@field window? number seconds of the sliding window, 0.01 to 86400; 10
---@field min_calls? integer calls in it before it may trip, 1 to 1e6; 20
---@field error_ratio? number|false trips at this share of failures; 0.5
---@field slow_ratio? number|false trips at this share of slow calls; off
---@field slow? number seconds after which a call is slow
---@field consecutive? integer|false trips after so many failures in a row; off
---@field cpu? number|false trips at this share of the CPU; off
---@field open? number seconds of the first opening, 0.001 to 86400; 5
---@field probes? integer calls that must succeed to close it, 1 to 16; 3
---@field probe_timeout? number seconds after which a probe is lost; 10
---@field ramp? number|false seconds from 10 to 100 % after closing; off
---@field mode? "enforce"|"shadow" default enforce
---
---@param engine_handle ffi.cdata* seckill_t *
---@param name string [a-z0-9_-]{1,32}
---@param opts seckill.breaker.options?
---@return seckill.breaker? breaker
---@return string? code bad_name, full, busy, no_memory
function _M.open(engine_handle, name, opts)
    if type(name) ~= "string" then
        error("name: string expected, got " .. type(name), 2)
    end
    local options = to_options(opts == nil and {} or opts, 2)
    if name:find("%z") then
        return nil, "bad_name"
    end
    local out = ffi.new("seckill_breaker_t *[1]")
    local rc = C.seckill_breaker_open(engine_handle, name, options, out)
    if rc ~= OK then
        local _, code = failed(rc, 2) -- a frame that level counts
        return nil, code
    end
    return setmetatable({ name = name, handle = out[0] }, mt)
end


--- May a call go out?
---
--- Phases: any.
---@return integer? permit for one report or cancel
---@return string? code open
---@return number? retry_after seconds after which to ask again
function _M:allow()
    local handle = self.handle or no_self()
    local rc = C.seckill_breaker_allow(handle, 0, permit_out, retry)
    if rc == OK then
        return tonumber(permit_out[0])
    end
    if rc == OPEN then
        return nil, "open", tonumber(retry[0]) / NS
    end
    return nil, errname(rc)
end


--- The call has ended.
---
--- Phases: any.
---@param permit integer
---@param ok boolean did it succeed?
---@param latency number? seconds it took
---@return boolean counted false: too late, it is in the statistics only
function _M:report(permit, ok, latency)
    if not is_permit(permit) then
        not_a_permit(permit, "breaker")
    end
    local ns = latency == nil and 0 or latency_ns(latency)
    local handle = self.handle or no_self()
    local rc = C.seckill_breaker_report(handle, permit, ok and 1 or 0,
                                        ns, 0)
    if rc < 0 then
        not_a_permit(permit, "breaker")
    end
    return rc == 1
end


--- The call did not go out, because something else refused it.
---
--- Phases: any.
---@param permit integer
---@return boolean counted
function _M:cancel(permit)
    if not is_permit(permit) then
        not_a_permit(permit, "breaker")
    end
    local handle = self.handle or no_self()
    local rc = C.seckill_breaker_cancel(handle, permit, 0)
    if rc < 0 then
        not_a_permit(permit, "breaker")
    end
    return rc == 1
end


--- Where it stands: closed, open, half_open, forced_open or disabled.
---
--- Phases: any.
---@return string state
function _M:state()
    local handle = self.handle or no_self()
    return STATES[C.seckill_breaker_state(handle, 0)]
end


--- Take it over by hand, for all workers: "open" refuses everything (the
--- switch), "closed" never trips, "disabled" does not even count; nil gives it
--- back.
---
--- Phases: any.
---@param state "open"|"closed"|"disabled"|nil
---@return boolean ok
function _M:force(state)
    local number = 0
    if state ~= nil then
        number = FORCE[state]
        if not number then
            error("state: \"open\", \"closed\", \"disabled\" or nil expected,"
                  .. " got " .. tostring(state), 2)
        end
    end
    local handle = self.handle or no_self()
    return C.seckill_breaker_force(handle, number) == OK
end


--- Change numbers for all workers, at once.
---
--- Phases: any; takes a lock.
---@param opts seckill.breaker.options
---@return boolean? ok
---@return string? code busy
function _M:set(opts)
    local options = to_options(opts, 2)
    local handle = self.handle or no_self()
    local rc = C.seckill_breaker_set(handle, options)
    if rc ~= OK then
        local _, code = failed(rc, 2)
        return nil, code
    end
    return true
end


--- The numbers in force; what is off is nil.
---
--- Phases: any.
---@return table numbers as the options, and name
function _M:get()
    local o = ffi.new("seckill_breaker_options_t")
    local handle = self.handle or no_self()
    C.seckill_breaker_get(handle, o)
    local numbers = guard.from_struct(o, NUMBERS)
    numbers.name = self.name
    return numbers
end


local COUNTS = { "allowed", "rejected", "shadow", "succeeded", "failed",
                 "slow", "stale", "cancelled", "opened", "half_opened",
                 "closed", "expired", "calls", "errors", "slows" }


local function read_stats(handle)
    local s = ffi.new("seckill_breaker_stats_t")
    C.seckill_breaker_stats(handle, s)
    local stats = { state = STATES[s.state], forced = FORCED[s.state],
                    retry_after = tonumber(s.retry_ns) / NS,
                    doublings = s.doublings }
    for i = 1, #COUNTS do
        stats[COUNTS[i]] = tonumber(s[COUNTS[i]])
    end
    return stats
end


--- What it counted, over all workers.
---
--- Phases: any; not for a hot path.
---@return table stats state, forced, retry_after, doublings; allowed, rejected,
---  shadow, succeeded, failed, slow, stale, cancelled, opened, half_opened,
---  closed, expired; of the window: calls, errors, slows
function _M:stats()
    return read_stats(self.handle or no_self())
end


--- The stats of all breakers by name; for engine:stats().
---@param engine_handle ffi.cdata* seckill_t *
---@return table<string, table>
function _M.all(engine_handle)
    local all, out, i = {}, ffi.new("seckill_breaker_t *[1]"), 0
    while C.seckill_breaker_at(engine_handle, i, out) == OK do
        all[ffi.string(C.seckill_breaker_name(out[0]))] = read_stats(out[0])
        i = i + 1
    end
    return all
end


return _M
