--- conn.lua - drop-in for resty.limit.conn: constructor, methods, returns.
--
-- Permits of the engine: those of a process that died come back, and a count
-- is never negative (docs/api/drop_in.md). The original knows its requests by
-- key alone; the permits that this Lua VM holds are kept here by key, newest
-- first, and leaving(key) releases one of them.
--
-- The store of a dict is a list of parts with a chain for each key and one of
-- free places. It grows by doubling, up to HELD_MAX; beyond that a request is
-- refused with `full`. Nothing yields, and nothing but growth allocates after
-- `new`.

local ffi = require("ffi")
local lib = require("resty.seckill.lib")
local limit = require("resty.seckill.limit")


local C = lib.C
local OK = lib.OK
local REJECTED = lib.codes.rejected
local errname = lib.errname
local ffi_copy = ffi.copy
local floor = math.floor
local max_of = math.max
local setmetatable = setmetatable
local tonumber = tonumber

local check = limit.check
local part_t = limit.part_t
local ticket = limit.ticket
local to_key = limit.key
local verdict = limit.verdict


---@class seckill.limit.conn
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local CONN_MAX = 2 ^ 20 - 1
local HELD_MIN = 64
local HELD_MAX = 2 ^ 17
local TINY = 2 ^ -1022

local parts_t = ffi.typeof("seckill_ticket_part_t[?]")
local links_t = ffi.typeof("int32_t[?]")
local part_size = ffi.sizeof(part_t)

-- By the address of the limiter.
local stores = {}


-- ---- Permits of this VM --------------------------------------------------

-- Places are 1 .. size; 0 ends a chain.
local function grow(store, size)
    local parts, links = parts_t(size + 1), links_t(size + 1)
    if store.size > 0 then
        ffi_copy(parts, store.parts, (store.size + 1) * part_size)
        ffi_copy(links, store.links, (store.size + 1) * 4)
    end
    for i = store.size + 1, size do
        links[i] = i < size and i + 1 or 0
    end
    store.free = store.size + 1
    store.parts, store.links, store.size = parts, links, size
end


local function store_of(handle)
    local address = tonumber(ffi.cast("uintptr_t", handle))
    local store = stores[address]
    if not store then
        store = { size = 0, free = 0, newest = {} }
        grow(store, HELD_MIN)
        stores[address] = store
    end
    return store
end


-- Is there a place for one more?
local function has_room(store)
    if store.free == 0 and store.size < HELD_MAX then
        grow(store, store.size * 2)
    end
    return store.free ~= 0
end


-- Keep the permit of the scratch ticket.
local function push(store, key)
    local i = store.free
    local newest = store.newest
    store.free = store.links[i]
    limit.save(store.parts + i)
    store.links[i] = newest[key] or 0
    newest[key] = i
end


-- The newest permit of a key, as a ticket; nil: none.
local function pop(store, key)
    local newest = store.newest
    local i = newest[key]
    if not i then
        return nil
    end
    local before = store.links[i]
    newest[key] = before ~= 0 and before or nil
    store.links[i] = store.free
    store.free = i
    return limit.load(store.parts + i)
end


-- ---- The object ----------------------------------------------------------

local function make_limit(permits)
    local numbers = limit.numbers(C.SECKILL_CONCURRENCY)
    permits = floor(permits)
    numbers.limit = permits
    numbers.zeros = permits == 0 and C.SECKILL_ZERO_LIMIT or 0
    return numbers
end


local rule_of = limit.rules(function(max, burst, level)
    check(max, "max", TINY, CONN_MAX, level + 1)
    check(burst, "burst", 0, CONN_MAX, level + 1)
    check(max + burst, "max + burst", TINY, CONN_MAX, level + 1)
    local rule = limit.prepare(make_limit(max + burst),
                               "max, burst: out of range", level + 1)
    return rule
end)

-- For looking only: nobody is refused by it.
local any = limit.prepare(make_limit(CONN_MAX), "", 1)


--- As resty.limit.conn.new.
---
--- Phases: any; the first object for a dict makes or opens its limiter.
---@param dict_name string
---@param max number requests at once
---@param burst number requests beyond that, which wait
---@param default_conn_delay number seconds, the unit of the wait
---@return seckill.limit.conn? object
---@return string? err
function _M.new(dict_name, max, burst, default_conn_delay)
    local rule = rule_of(max, burst, 2)
    check(default_conn_delay, "default_conn_delay", TINY, 1e9, 2)
    local handle, err = limit.find("conn", dict_name, 0, make_limit,
                                   max + burst)
    if not handle then
        return nil, err
    end
    return setmetatable({ handle = handle, store = store_of(handle),
                          rule = rule, max = max, burst = burst,
                          unit_delay = default_conn_delay,
                          committed = false }, mt)
end


-- Take a permit and keep it. The place is there before the permit is.
local function take(self, key)
    if not has_room(self.store) then
        return lib.codes.full
    end
    local rc = C.seckill_limiter_take_as(self.handle, self.rule, key, #key, 1,
                                         1, 0, ticket, verdict)
    if rc == OK then
        push(self.store, key)
        self.committed = true
    end
    return rc
end


--- As the original: the delay, and the requests at once with this one.
---
--- Phases: any.
---@param key any
---@param commit boolean? nil and false only look
---@return number? delay seconds
---@return number|string conn
function _M:incoming(key, commit)
    local rc, err
    self.committed = false
    key, err = to_key(key)
    if not key then
        return nil, err
    end
    if commit then
        rc = take(self, key)
    else
        rc = C.seckill_limiter_take_as(self.handle, self.rule, key, #key, 1,
                                       0, 0, nil, verdict)
    end
    if rc == REJECTED then
        return nil, "rejected"
    elseif rc ~= OK then
        return nil, errname(rc)
    end
    local conn, max = verdict.in_use, self.max
    if conn > max then
        return self.unit_delay * floor((conn - 1) / max), conn
    end
    return 0, conn
end


--- Did the last incoming() of this object take a permit? Ask before anything
--- yields: an object that requests share tells of the last of them.
---@return boolean
function _M:is_committed()
    return self.committed
end


-- Requests of a key at once: a look counts the one that asks.
local function level_of(self, key)
    local rc = C.seckill_limiter_take_as(self.handle, any, key, #key, 1, 0, 0,
                                         nil, verdict)
    return rc == OK and verdict.in_use - 1 or 0
end


-- Release the newest permit that this VM has for the key.
local function release(self, key)
    local err
    key, err = to_key(key)
    if not key then
        return nil, err
    end
    local t = pop(self.store, key)
    if not t then
        return nil, "not found"
    end
    C.seckill_limiter_leave(self.handle, t)
    return level_of(self, key)
end


--- The request is over: release one permit of the key.
---
--- Phases: any.
---@param key any
---@param req_latency number? seconds; moves the unit of the wait half way
---@return number? conn requests at once that are left
---@return string? err "not found": this worker holds no permit of the key
function _M:leaving(key, req_latency)
    local conn, err = release(self, key)
    if not conn then
        return nil, err
    end
    local latency = tonumber(req_latency)
    if latency and latency < 1e9 then
        self.unit_delay = (max_of(latency, 0) + self.unit_delay) / 2
    end
    return conn
end


--- Give the permit of the key back, as if it had not been asked for.
---
--- Phases: any.
---@param key any
---@return number? conn
---@return string? err
function _M:uncommit(key)
    return release(self, key)
end


--- Another number of requests at once for this object.
---@param max number
function _M:set_conn(max)
    self.rule = rule_of(max, self.burst, 2)
    self.max = max
end


--- Another burst for this object.
---@param burst number
function _M:set_burst(burst)
    self.rule = rule_of(self.max, burst, 2)
    self.burst = burst
end


return _M
