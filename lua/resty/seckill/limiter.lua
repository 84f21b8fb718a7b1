--- limiter.lua - limits for any number of keys, shared by all workers.
--
-- A thin object over the C functions (docs/api/limiter.md). incoming, uncommit
-- and leaving neither yield, allocate nor make a system call; C reads the
-- clock. What comes from requests (key, cost) never raises: it is answered
-- with `nil, "bad_..."`.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local lib = require("resty.seckill.lib")
local options = require("resty.seckill.limiter_options")


local C = lib.C
local OK = lib.OK
local BAD_OPTION = lib.codes.bad_option
local REJECTED = lib.codes.rejected
local error = error
local errname = lib.errname
local ffi_istype = ffi.istype
local huge = math.huge
local pcall = pcall
local setmetatable = setmetatable
local tonumber = tonumber
local type = type

local no_self = args.no_self("limiter")


---@class seckill.limiter
---@field name string
---@field algorithm string
---@field handle ffi.cdata* seckill_limiter_t *
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

---@class seckill.ticket : ffi.cdata*

local NS = 1e9
local COST_MAX = 2^32 - 1

local ticket_t = ffi.typeof("seckill_ticket_t")

-- The answer to the last call of this Lua VM: filled and read without a yield
-- in between.
local verdict = ffi.new("seckill_verdict_t")


--- Create a limiter or attach to it. Other numbers than it has are set, for
--- all workers; what is not given stays as it is.
---
--- Phases: any; made for init_by_lua* and init_worker_by_lua*.
---@param engine_handle ffi.cdata* seckill_t *
---@param name string [a-z0-9_-]{1,32}
---@param opts seckill.limiter.options?
---@return seckill.limiter? limiter
---@return string? code bad_name, conflict, full, busy, no_memory
function _M.open(engine_handle, name, opts)
    if type(name) ~= "string" then
        error("name: string expected, got " .. type(name), 2)
    end
    opts = opts or {}
    args.check(opts, options.OPEN, 2)
    local limit = options.to_limit(opts, 2)
    if name:find("%z") then
        return nil, "bad_name"
    end
    local out = ffi.new("seckill_limiter_t *[1]")
    local rc = C.seckill_limiter_open(engine_handle, name, limit, out)
    if rc ~= OK then
        local known = C.seckill_limiter_open(engine_handle, name, nil, out)
        local algorithm = known == OK and _M.get({ handle = out[0] }).algorithm
        options.explain(rc, opts, algorithm, not algorithm, 2)
        return nil, errname(rc)
    end
    local self = setmetatable({ name = name, handle = out[0] }, mt)
    self.algorithm = self:get().algorithm
    return self
end


--- An empty ticket. It can be used again and again; keep one for each
--- admission that is to be given back or left after a yield.
---@return seckill.ticket
function _M.ticket()
    return ticket_t()
end


local function not_a_ticket(t)
    error("ticket expected, got " .. type(t), 3)
end


local function is_cost(cost)
    return type(cost) == "number" and cost % 1 == 0 and cost >= 1
           and cost <= COST_MAX
end


-- nil, code; a permit that nothing could release is a mistake.
local function failed(rc, level)
    if rc == BAD_OPTION then
        error("concurrency: a ticket is needed, to release the permit by",
              level + 1)
    end
    return nil, errname(rc)
end


--- Ask for `cost` tokens of `key`.
---
--- Phases: any.
---@param key string 1 to 64 bytes
---@param commit boolean? false only looks; default true
---@param cost integer? default 1
---@param t seckill.ticket? filled by an admission, else emptied
---@return number? delay seconds to wait before going on (leaky_bucket), or nil
---@return number|string remaining what is left of the quota, or the code:
---  rejected, bad_key, bad_qty; full (concurrency: no permit in the segment)
---@return number? retry_after seconds, of `rejected`; math.huge: never
function _M:incoming(key, commit, cost, t)
    if t ~= nil and not ffi_istype(ticket_t, t) then
        not_a_ticket(t)
    end
    if type(key) ~= "string" then
        return nil, "bad_key"
    end
    if cost == nil then
        cost = 1
    elseif not is_cost(cost) then
        return nil, "bad_qty"
    end
    local handle = self.handle or no_self()
    local rc = C.seckill_limiter_take(handle, key, #key, cost,
                                      commit == false and 0 or 1, 0, t,
                                      verdict)
    if rc == OK then
        return tonumber(verdict.delay_ns) / NS, verdict.remaining
    end
    if rc ~= REJECTED then
        local _, code = failed(rc, 2) -- a frame that level counts
        return nil, code
    end
    local ns = tonumber(verdict.retry_ns)
    return nil, "rejected", ns < 0 and huge or ns / NS
end


--- More of the last answer in this Lua VM, of incoming or combine (read it
--- before the next call).
---
--- Phases: any.
---@return number quota the whole of it, of the tightest rule
---@return number remaining of the quota
---@return number reset seconds until the whole quota is there again
---@return integer shadow bit i: rule i would have refused in enforce mode
---@return integer in_use concurrency: permits held
function _M.last()
    return verdict.quota, verdict.remaining, tonumber(verdict.reset_ns) / NS,
           verdict.shadow, verdict.in_use
end


--- Give back what the ticket took of this limiter: tokens, a count of a window
--- that still runs, permits. Nothing left in the ticket is a no-op.
---
--- Phases: any.
---@param t seckill.ticket
---@return boolean given false: there was nothing left to give back
function _M:uncommit(t)
    if not ffi_istype(ticket_t, t) then
        not_a_ticket(t)
    end
    local handle = self.handle or no_self()
    return C.seckill_limiter_undo(handle, t, 0) == 1
end


--- The request is over: its permits of this limiter are released. What it took
--- otherwise stays taken, and a late uncommit gives nothing back.
---
--- Phases: any.
---@param t seckill.ticket
---@return boolean ok
function _M:leaving(t)
    if not ffi_istype(ticket_t, t) then
        not_a_ticket(t)
    end
    local handle = self.handle or no_self()
    C.seckill_limiter_leave(handle, t)
    return true
end


--- Wait as long as a delay says; yields this request alone.
---
--- Phases: those in which ngx.sleep may be called.
---@param delay number seconds
---@return boolean? ok
---@return string? code cannot_yield
function _M.sleep(_, delay)
    if delay <= 0 then
        return true
    end
    local ngx = ngx
    if not ngx or not pcall(ngx.sleep, delay) then
        return nil, "cannot_yield"
    end
    return true
end


--- Change numbers for all workers, at once. Keys keep what they used.
---
--- Phases: any; takes a lock.
---@param opts seckill.limiter.options but algorithm and window
---@return boolean? ok
---@return string? code busy
function _M:set(opts)
    args.check(opts, options.SET, 2)
    local limit = options.to_limit(opts, 2)
    local handle = self.handle or no_self()
    local rc = C.seckill_limiter_set(handle, limit)
    if rc ~= OK then
        options.explain(rc, opts, self.algorithm, false, 2)
        return nil, errname(rc)
    end
    return true
end


--- Other numbers for one key, for all workers: those that are given, the rest
--- as the limiter has them now. nil: the limiter's numbers again.
---
--- Phases: any; takes a lock.
---@param key string 1 to 64 bytes
---@param opts seckill.limiter.options? but algorithm and window
---@return boolean? ok
---@return string? code bad_key, full (capacity.limit_overrides), not_found,
---  busy
function _M:override(key, opts)
    local limit
    if opts ~= nil then
        args.check(opts, options.SET, 2)
        limit = options.to_limit(opts, 2)
    end
    if type(key) ~= "string" then
        return nil, "bad_key"
    end
    local handle = self.handle or no_self()
    local rc = C.seckill_limiter_override(handle, key, #key, limit)
    if rc ~= OK then
        options.explain(rc, opts, self.algorithm, false, 2)
        return nil, errname(rc)
    end
    return true
end


--- The numbers in force.
---
--- Phases: any.
---@return seckill.limiter.options numbers and the limiter's `name`
function _M:get()
    local limit = ffi.new("seckill_limit_t")
    local handle = self.handle or no_self()
    C.seckill_limiter_get(handle, limit)
    local numbers = options.from_limit(limit)
    numbers.name = self.name
    return numbers
end


local counts_t = ffi.typeof("seckill_limiter_counts_t")


--- What it counted, over all processes.
---
--- Phases: any; not for a hot path.
---@return { allowed: integer, rejected: integer, delayed: integer,
---  shadow: integer, overflow: integer, refunded: integer }
function _M:stats()
    local counts = counts_t()
    local handle = self.handle or no_self()
    C.seckill_limiter_counts(handle, counts)
    return {
        allowed = tonumber(counts.allowed),
        rejected = tonumber(counts.rejected),
        delayed = tonumber(counts.delayed),
        shadow = tonumber(counts.shadow),
        overflow = tonumber(counts.overflow),
        refunded = tonumber(counts.refunded),
    }
end


-- For resty.seckill.combine and the drop-ins.
_M.failed = failed
_M.verdict = verdict
_M.ticket_t = ticket_t


return _M
