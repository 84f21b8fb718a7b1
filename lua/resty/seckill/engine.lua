--- engine.lua - the engine object: its stock, limiters, lists, threads,
--- numbers.
--
-- A thin object over the C handle of this process. The handle outlives the
-- object, so that nothing made from it can dangle.

local ffi = require("ffi")
local access_list = require("resty.seckill.access_list")
local args = require("resty.seckill.args")
local breaker = require("resty.seckill.breaker")
local completion = require("resty.seckill.completion")
local lib = require("resty.seckill.lib")
local limiter = require("resty.seckill.limiter")
local shedder = require("resty.seckill.shedder")
local stock = require("resty.seckill.stock")


local C = lib.C
local ffi_string = ffi.string
local setmetatable = setmetatable
local tonumber = tonumber


---@class seckill.engine
---@field stock seckill.stock
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local NS = 1e9
local ERR_SIZE = 512
local HOT_KEYS_MAX = 64


-- What is left of an engine after close().
local function closed()
    return nil, "closed"
end

local closed_mt = { __index = function() return closed end }


--- For resty.seckill.open only.
---@param handle ffi.cdata* seckill_t *
---@return seckill.engine
function _M.new(handle)
    return setmetatable({
        handle = handle,
        stock = stock.new(handle),
        closed = false,
    }, mt)
end


--- Start the threads of this process (sweeper, list reload) and, in nginx, the
--- light thread that resumes waiting coroutines. Again is a no-op.
---
--- Phases: init_worker_by_lua*, or any LuaJIT program. Not init_by_lua*: the
--- threads would not survive the fork.
---@return boolean? ok
---@return string? code cannot_yield (init_by_lua*), closed, io_error
---@return string? detail
function _M:start()
    if ngx and ngx.get_phase and ngx.get_phase() == "init" then
        return nil, "cannot_yield", "call it in init_worker_by_lua*"
    end
    if self.closed then
        return closed()
    end
    local err = ffi.new("char[?]", ERR_SIZE)
    local rc = C.seckill_start(self.handle, err, ERR_SIZE)
    if rc ~= lib.OK then
        return nil, lib.errname(rc), ffi_string(err)
    end
    self.started = true
    return completion.start(self.handle, self)
end


--- Stop and join the threads of this process. Calls that wait are answered at
--- once: `pending` what is not on disk.
--- Phases: exit_worker_by_lua*, or any LuaJIT program.
---@return boolean ok
function _M:stop()
    self.started = false
    completion.stop(self.handle)
    return true
end


--- Detach: the threads stop, methods of the engine and of its stock answer
--- `closed` (limiters and lists go on: their memory stays). The segment stays.
--- Again is a no-op.
--- Phases: exit_worker_by_lua*, or any LuaJIT program.
---@return boolean ok
function _M:close()
    if self.closed then
        return true
    end
    self:stop()
    self.closed = true
    setmetatable(self.stock, closed_mt)
    C.seckill_close(self.handle)
    return true
end


--- May traffic come? Open, and the threads run.
--- Phases: any.
---@return boolean ok
---@return string? reason
function _M:ready()
    if self.closed then
        return false, "closed"
    end
    if ffi_string(C.seckill_wake_path(self.handle)) == "" then
        return false, "not_running"
    end
    return true
end


--- Time of the ledger in seconds since the epoch: it does not step.
--- Phases: any.
---@return number
function _M:now()
    return tonumber(C.seckill_now(self.handle)) / NS
end


--- For tests: let this process see another time; nil undoes it.
---@param now number? seconds since the epoch
function _M:set_test_clock(now)
    C.seckill_set_test_clock(self.handle, (now or 0) * NS)
end


--- Create a limiter or attach to it; see resty.seckill.limiter.
--- Phases: init_by_lua*, init_worker_by_lua*, any LuaJIT program.
---@param name string [a-z0-9_-]{1,32}
---@param opts seckill.limiter.options
---@return seckill.limiter? limiter
---@return string? code conflict, full, bad_name, closed
function _M:limiter(name, opts)
    if self.closed then
        return closed()
    end
    return limiter.open(self.handle, name, opts)
end


--- Create an access list or attach to it; see resty.seckill.access_list.
--- Phases: init_by_lua*, init_worker_by_lua*, any LuaJIT program.
---@param name string [a-z0-9_-]{1,32}
---@param opts seckill.access_list.options?
---@return seckill.access_list? list
---@return string? code
---@return string? detail
function _M:access_list(name, opts)
    if self.closed then
        return closed()
    end
    return access_list.open(self.handle, name, opts)
end


--- The keys that are asked for most, over all limiters and processes and the
--- last 10 to 20 seconds, hottest first. Estimates from samples.
--- Phases: any; not for a hot path.
---@param n integer? how many at most, 1 to 64; default 10
---@return { limiter: string, key: string, rate: number, share: number }[]?
---  keys rate: takes per second, admitted or not; share: of all takes, 0 to 1
---@return string? code closed
function _M:hot_keys(n)
    n = args.integer(n, "n", 1, HOT_KEYS_MAX, 2) or 10
    if self.closed then
        return closed()
    end
    local found = ffi.new("seckill_hot_key_t[?]", n)
    local keys = {}
    for i = 0, C.seckill_hot_keys(self.handle, found, n) - 1 do
        local key = found[i]
        keys[i + 1] = { limiter = ffi_string(key.limiter),
                        key = ffi_string(key.key, key.key_len),
                        rate = key.rate, share = key.share }
    end
    return keys
end


--- Create a circuit breaker or attach to it; see resty.seckill.breaker.
--- Phases: init_by_lua*, init_worker_by_lua*, any LuaJIT program.
---@param name string [a-z0-9_-]{1,32}
---@param opts seckill.breaker.options?
---@return seckill.breaker? breaker
---@return string? code full, bad_name, busy, closed
function _M:breaker(name, opts)
    if self.closed then
        return closed()
    end
    return breaker.open(self.handle, name, opts)
end


--- Create a load shedder or attach to it; see resty.seckill.shedder.
--- Phases: init_by_lua*, init_worker_by_lua*, any LuaJIT program.
---@param name string [a-z0-9_-]{1,32}
---@param opts seckill.shedder.options?
---@return seckill.shedder? shedder
---@return string? code full, bad_name, busy, closed
function _M:shedder(name, opts)
    if self.closed then
        return closed()
    end
    return shedder.open(self.handle, name, opts)
end


-- Counters by operation and answer: results.reserve.sold_out, events.replays.
local function read_counters(handle)
    local results, name = { events = {} }, ffi.new("const char *[1]")
    local value = ffi.new("uint64_t[1]")
    local i = 0
    while C.seckill_counter_at(handle, i, name, value) == lib.OK do
        local op, code = ffi_string(name[0]):match("^([^.]+)%.(.+)$")
        results[op] = results[op] or {}
        results[op][code] = tonumber(value[0])
        i = i + 1
    end
    return results
end


-- tables.users = { used, capacity }
local function read_tables(handle)
    local tables, name = {}, ffi.new("const char *[1]")
    local n = ffi.new("uint64_t[2]")
    local i = 0
    while C.seckill_table_at(handle, i, name, n, n + 1) == lib.OK do
        tables[ffi_string(name[0])] = { used = tonumber(n[0]),
                                        capacity = tonumber(n[1]) }
        i = i + 1
    end
    return tables
end


-- limiters.<name> = { allowed, rejected, ... }
local function read_limiters(handle)
    local limiters, out = {}, ffi.new("seckill_limiter_t *[1]")
    local i = 0
    while C.seckill_limiter_at(handle, i, out) == lib.OK do
        local name = ffi_string(C.seckill_limiter_name(out[0]))
        limiters[name] = limiter.stats { handle = out[0] }
        i = i + 1
    end
    return limiters
end


local LOG_STATES = { "ok", "full", "failing" }


-- nil without a dir.
local function read_log(handle)
    local log = ffi.new("seckill_log_stats_t")
    local rc = C.seckill_log_stats(handle, log)
    if rc == lib.codes.not_found then
        return nil
    end
    return {
        dir = ffi_string(log.dir), uuid = ffi_string(log.uuid),
        state = LOG_STATES[log.state], error = ffi_string(log.error),
        durable = tonumber(log.durable), lag = tonumber(log.lag_ns) / NS,
        lag_records = tonumber(log.lsn) - tonumber(log.durable),
        incarnation = log.incarnation, first_lsn = tonumber(log.first_lsn),
        snapshot_lsn = tonumber(log.snapshot_lsn),
        bytes = tonumber(log.bytes), max_bytes = tonumber(log.max_bytes),
        segments = log.segments, free_segments = log.free_segments,
        batches = tonumber(log.batches), records = tonumber(log.records),
        sync_seconds = tonumber(log.sync_ns) / NS,
        failures = tonumber(log.failures),
        snapshots = tonumber(log.snapshots),
        snapshot_failures = tonumber(log.snapshot_failures),
        snapshot_error = ffi_string(log.snapshot_error),
    }
end


--- All numbers of the engine, over all processes.
--- Phases: any; not for a hot path.
---@return table? stats { version, name, bytes, lsn, now, clock_skew, window,
---  capacity, tables, items, results, events, breakers, shedders, log (nil
---  without dir) }
---@return string? code
function _M:stats()
    if self.closed then
        return closed()
    end
    local options = ffi.new("seckill_options_t")
    C.seckill_get_options(self.handle, options)
    local results = read_counters(self.handle)
    local events = results.events
    results.events = nil
    return {
        version = ffi_string(C.seckill_version()),
        name = ffi_string(options.name),
        bytes = tonumber(C.seckill_segment_bytes(self.handle)),
        lsn = tonumber(C.seckill_lsn(self.handle)),
        now = self:now(),
        clock_skew = tonumber(C.seckill_clock_skew(self.handle)) / NS,
        tables = read_tables(self.handle),
        limiters = read_limiters(self.handle),
        items = self.stock:items(),
        log = read_log(self.handle),
        window = tonumber(options.window_ns) / NS,
        capacity = {
            items = options.items, reservations = options.reservations,
            users = options.users, requests = options.requests,
            limit_keys = options.limit_keys, limiters = options.limiters,
            limit_overrides = options.limit_overrides,
            lists = options.lists, list_overlay = options.list_overlay,
            log_units = options.log_units, permits = options.permits,
            breakers = options.breakers, shedders = options.shedders,
        },
        breakers = breaker.all(self.handle),
        shedders = shedder.all(self.handle),
        results = results,
        events = events,
    }
end


--- The same as Prometheus text (format 0.0.4).
--- Phases: any; not for a hot path.
---@return string? text
---@return string? code
function _M:metrics()
    if self.closed then
        return closed()
    end
    local size = 16384
    for _ = 1, 8 do
        local buf = ffi.new("char[?]", size)
        local need = tonumber(C.seckill_metrics(self.handle, buf, size))
        if need < size then
            return ffi_string(buf, need)
        end
        size = need + 4096 -- counters grew meanwhile
    end
    return nil, "busy"
end


return _M
