--- shedder.lua - load shedding that all workers share.
--
-- A thin object over the C functions (docs/api/shedder.md). admit, done and
-- cancel neither yield, allocate nor lock; C reads the clock. A permit is a
-- number: pass it on as it is, to one done or cancel of the same worker.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local guard = require("resty.seckill.guard")
local lib = require("resty.seckill.lib")


local C = lib.C
local OK = lib.OK
local OVERLOADED = lib.codes.overloaded
local error = error
local errname = lib.errname
local is_permit = guard.is_permit
local latency_ns = guard.latency_ns
local not_a_permit = guard.not_a_permit
local pairs = pairs
local setmetatable = setmetatable
local tonumber = tonumber
local type = type

local no_self = args.no_self("shedder")


---@class seckill.shedder
---@field name string
---@field handle ffi.cdata* seckill_shedder_t *
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local NS = 1e9
local PRIORITIES = 4
local NORMAL = 2

-- As guard.lua has it.
local NUMBERS = {
    cpu_high = { "cpu_high", 0, 1, 1, off = true },
    cpu_low = { "cpu_low", 0, 1, 1, zero = 1e-9 },
    cool = { "cool_ns", 0.001, 3600, NS },
    window = { "window_ns", 0.05, 3600, NS },
    max_inflight = { "max_inflight", 1, 1e6, 1, integer = true, off = true },
}
local TYPES = guard.types(NUMBERS)
TYPES.reserve = "table"

-- Scratch: filled and read without a yield in between.
local permit_out = ffi.new("uint64_t[1]")
local retry = ffi.new("int64_t[1]")


-- Shares of priorities 0, 1, 2: reserve[0], [1], [2].
local function set_reserve(o, reserve, level)
    local sum = 0
    for priority, share in pairs(reserve) do
        if priority ~= 0 and priority ~= 1 and priority ~= 2
           or type(share) ~= "number" then
            error("option \"reserve\": shares of priorities 0, 1 and 2"
                  .. " expected", level + 1)
        end
        args.range(share, "reserve", 0, 1, level + 1)
        o.reserve[priority] = share == 0 and -1 or share
        sum = sum + share
    end
    if sum > 1 then
        error("option \"reserve\": the shares are more than 1", level + 1)
    end
end


-- The C struct of checked options; 0 stands for absent.
local function to_options(opts, level)
    local o = guard.to_struct("seckill_shedder_options_t", opts, NUMBERS,
                              TYPES, level + 1)
    if opts.reserve then
        set_reserve(o, opts.reserve, level + 1)
    end
    return o
end


-- All single values are in range here: what is left is what does not fit to
-- the numbers in force.
local function failed(rc, opts, level)
    local code = errname(rc)
    if code == "bad_option" and opts and opts.reserve then
        error("option \"reserve\": the shares are more than 1", level + 1)
    elseif code == "bad_option" then
        error("option \"cpu_low\": more than \"cpu_high\"", level + 1)
    end
    return nil, code
end


--- Create a shedder or attach to it. Other numbers than it has are set, for
--- all workers; what is not given stays as it is.
---
--- Phases: any; made for init_by_lua* and init_worker_by_lua*.
---@class seckill.shedder.options
---@field cpu_high? number|false share of the CPU at which it sheds; 0.8
---@field cpu_low? number down to which it goes on; 0.9 of cpu_high
---@field cool? number seconds after the last drop that it goes on; 1
---@field window? number seconds of the sliding window, 0.05 to 3600; 5
---@field max_inflight? integer|false hard limit, 1 to 1e6; off
---@field reserve? table<integer, number> shares of priorities 0, 1, 2; 0.1
---@field mode? "enforce"|"shadow" default enforce
---
---@param engine_handle ffi.cdata* seckill_t *
---@param name string [a-z0-9_-]{1,32}
---@param opts seckill.shedder.options?
---@return seckill.shedder? shedder
---@return string? code bad_name, full, busy, no_memory
function _M.open(engine_handle, name, opts)
    if type(name) ~= "string" then
        error("name: string expected, got " .. type(name), 2)
    end
    local options = to_options(opts == nil and {} or opts, 2)
    if name:find("%z") then
        return nil, "bad_name"
    end
    local out = ffi.new("seckill_shedder_t *[1]")
    local rc = C.seckill_shedder_open(engine_handle, name, options, out)
    if rc ~= OK then
        local _, code = failed(rc, opts, 2) -- a frame that level counts
        return nil, code
    end
    return setmetatable({ name = name, handle = out[0] }, mt)
end


--- May a request come in?
---
--- Phases: any.
---@param priority integer? 0 (shed first) to 3 (shed by max_inflight alone); 2
---@return integer? permit for one done or cancel
---@return string? code overloaded, or bad_value (priority)
---@return number? retry_after seconds
function _M:admit(priority)
    if priority == nil then
        priority = NORMAL
    elseif type(priority) ~= "number" or priority % 1 ~= 0 or priority < 0
       or priority >= PRIORITIES then
        return nil, "bad_value"
    end
    local handle = self.handle or no_self()
    local rc = C.seckill_shedder_admit(handle, priority, 0, permit_out,
                                       retry)
    if rc == OK then
        return tonumber(permit_out[0])
    end
    if rc == OVERLOADED then
        return nil, "overloaded", tonumber(retry[0]) / NS
    end
    return nil, errname(rc)
end


--- The request is done. `ok = false` (it failed, or timed out) says nothing on
--- what the host can do.
---
--- Phases: any.
---@param permit integer
---@param ok boolean? default true
---@param latency number? seconds; default: since admit
---@return boolean was_in_flight
function _M:done(permit, ok, latency)
    if not is_permit(permit) then
        not_a_permit(permit, "shedder")
    end
    local ns = latency == nil and -1 or latency_ns(latency) -- -1: C knows
    local handle = self.handle or no_self()
    local rc = C.seckill_shedder_done(handle, permit,
                                      ok == false and 0 or 1, ns, 0)
    if rc < 0 then
        not_a_permit(permit, "shedder")
    end
    return rc == 1
end


--- The request was refused by something else: it leaves without a word.
---
--- Phases: any.
---@param permit integer
---@return boolean was_in_flight
function _M:cancel(permit)
    if not is_permit(permit) then
        not_a_permit(permit, "shedder")
    end
    local handle = self.handle or no_self()
    local rc = C.seckill_shedder_cancel(handle, permit)
    if rc < 0 then
        not_a_permit(permit, "shedder")
    end
    return rc == 1
end


--- Change numbers for all workers, at once.
---
--- Phases: any; takes a lock.
---@param opts seckill.shedder.options
---@return boolean? ok
---@return string? code busy
function _M:set(opts)
    local options = to_options(opts, 2)
    local handle = self.handle or no_self()
    local rc = C.seckill_shedder_set(handle, options)
    if rc ~= OK then
        local _, code = failed(rc, opts, 2)
        return nil, code
    end
    return true
end


--- The numbers in force; what is off is nil.
---
--- Phases: any.
---@return table numbers as the options, and name
function _M:get()
    local o = ffi.new("seckill_shedder_options_t")
    local handle = self.handle or no_self()
    C.seckill_shedder_get(handle, o)
    local numbers = guard.from_struct(o, NUMBERS)
    numbers.name = self.name
    numbers.cpu_low = numbers.cpu_high and numbers.cpu_low
    numbers.reserve = {}
    for priority = 0, PRIORITIES - 2 do
        local share = o.reserve[priority]
        numbers.reserve[priority] = share > 0 and share or 0
    end
    return numbers
end


local function read_priorities(array)
    local t = {}
    for priority = 0, PRIORITIES - 1 do
        t[priority] = tonumber(array[priority])
    end
    return t
end


local function read_stats(handle)
    local s = ffi.new("seckill_shedder_stats_t")
    C.seckill_shedder_stats(handle, s)
    local sampled = s.cpu_age_ns >= 0
    return {
        admitted = read_priorities(s.admitted), shed = read_priorities(s.shed),
        inflight = read_priorities(s.inflight),
        shadow = tonumber(s.shadow), succeeded = tonumber(s.succeeded),
        failed = tonumber(s.failed), lost = tonumber(s.lost),
        stale = tonumber(s.stale), shedding = s.shedding == 1,
        cpu = sampled and s.cpu or nil,
        cpu_age = sampled and tonumber(s.cpu_age_ns) / NS or nil,
        limit = s.limit, min_rt = tonumber(s.min_rt_ns) / NS,
    }
end


--- What it counted, over all workers.
---
--- Phases: any; not for a hot path.
---@return table stats by priority (0 to 3): admitted, shed, inflight; shadow,
---  succeeded, failed, lost, stale, shedding, cpu, cpu_age, limit, min_rt
function _M:stats()
    return read_stats(self.handle or no_self())
end


--- The stats of all shedders by name; for engine:stats().
---@param engine_handle ffi.cdata* seckill_t *
---@return table<string, table>
function _M.all(engine_handle)
    local all, out, i = {}, ffi.new("seckill_shedder_t *[1]"), 0
    while C.seckill_shedder_at(engine_handle, i, out) == OK do
        all[ffi.string(C.seckill_shedder_name(out[0]))] = read_stats(out[0])
        i = i + 1
    end
    return all
end


return _M
