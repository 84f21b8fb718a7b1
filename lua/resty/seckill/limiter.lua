--- limiter.lua - token buckets for any number of keys, shared by all workers.
--
-- A thin object over the C functions (docs/api/limiter.md). A method neither
-- yields, allocates nor makes a system call; C reads the clock. What comes
-- from requests (key, cost) never raises: it is answered with `nil, "bad_..."`.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local lib = require("resty.seckill.lib")


local C = lib.C
local OK = lib.OK
local REJECTED = lib.codes.rejected
local error = error
local errname = lib.errname
local ffi_fill = ffi.fill
local ffi_istype = ffi.istype
local format = string.format
local huge = math.huge
local setmetatable = setmetatable
local tonumber = tonumber
local type = type


---@class seckill.limiter
---@field name string
---@field handle ffi.cdata* seckill_limiter_t *
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

---@class seckill.ticket : ffi.cdata*

local NS = 1e9
local COST_MAX = 2^32 - 1
-- The longest time to fill an empty bucket: 2^62 units of 1/256 ns.
local FILL_MAX = 2^54 / NS

local OPEN_OPTIONS = { algorithm = "string", rate = "number",
                       burst = "number", mode = "string" }
local SET_OPTIONS = { rate = "number", burst = "number", mode = "string" }
local ALGORITHMS = { token_bucket = 1 }
local MODES = { enforce = 1, shadow = 2 }
local MODE_NAMES = { "enforce", "shadow" }

local ticket_t = ffi.typeof("seckill_ticket_t")
local ticket_size = ffi.sizeof(ticket_t)

-- Scratch: filled and read without a yield in between.
local remaining = ffi.new("double[1]")
local retry = ffi.new("int64_t[1]")


-- NaN fails the comparison.
local function check_range(value, name, min, max, level)
    if value ~= nil and not (value >= min and value <= max) then
        error(format("option \"%s\": %g to %g expected, got %g", name, min,
                     max, value), level + 1)
    end
end


local function check_choice(value, name, choices, expected, level)
    if value ~= nil and not choices[value] then
        error(format("option \"%s\": %s expected, got \"%s\"", name, expected,
                     value), level + 1)
    end
end


-- The C struct of checked options; 0 stands for absent.
local function to_limit(opts, level)
    check_choice(opts.algorithm, "algorithm", ALGORITHMS, "\"token_bucket\"",
                 level + 1)
    check_choice(opts.mode, "mode", MODES, "\"enforce\" or \"shadow\"",
                 level + 1)
    check_range(opts.rate, "rate", 1e-7, 1e7, level + 1)
    check_range(opts.burst, "burst", 1, 1e9, level + 1)
    local limit = ffi.new("seckill_limit_t")
    limit.struct_size = ffi.sizeof("seckill_limit_t")
    limit.algorithm = ALGORITHMS[opts.algorithm or "token_bucket"]
    limit.rate = opts.rate or 0
    limit.burst = opts.burst or 0
    limit.mode = MODES[opts.mode] or 0
    return limit
end


-- All single values are in range here: what is left is a limiter without a
-- rate, or a burst that would take too long to fill.
local function failed(rc, rate, level)
    local code = errname(rc)
    if code == "bad_option" and not rate then
        error("option \"rate\": needed to create a limiter", level + 1)
    elseif code == "bad_option" then
        error(format("option \"burst\": more than %d days at this rate",
                     FILL_MAX / 86400), level + 1)
    end
    return nil, code
end


--- Create a limiter or attach to it. Other numbers than it has are set, for
--- all workers; what is not given stays as it is.
---
--- Phases: any; made for init_by_lua* and init_worker_by_lua*.
---@class seckill.limiter.options
---@field algorithm? "token_bucket"
---@field rate? number tokens per second, 1e-7 to 1e7; needed at creation
---@field burst? number tokens, 1 to 1e9; default max(1, rate / 100)
---@field mode? "enforce"|"shadow" default enforce
---
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
    args.check(opts, OPEN_OPTIONS, 2)
    local limit = to_limit(opts, 2)
    if name:find("%z") then
        return nil, "bad_name"
    end
    local out = ffi.new("seckill_limiter_t *[1]")
    local rc = C.seckill_limiter_open(engine_handle, name, limit, out)
    if rc ~= OK then
        local _, code = failed(rc, opts.rate, 2) -- a frame that level counts
        return nil, code
    end
    return setmetatable({ name = name, handle = out[0] }, mt)
end


--- An empty ticket. It can be used again and again; keep one for each limiter
--- that is asked before a yield.
---@return seckill.ticket
function _M.ticket()
    return ticket_t()
end


local function not_a_ticket(t)
    error("ticket expected, got " .. type(t), 3)
end


--- Ask for `cost` tokens of `key`.
---
--- Phases: any.
---@param key string 1 to 64 bytes
---@param commit boolean? false only looks; default true
---@param cost integer? default 1
---@param t seckill.ticket? filled by an admission, else emptied
---@return number? delay 0, or nil
---@return number|string remaining tokens left, or the code: rejected,
---  bad_key, bad_qty
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
    elseif type(cost) ~= "number" or cost % 1 ~= 0 or cost < 1
       or cost > COST_MAX then
        return nil, "bad_qty"
    end
    local rc = C.seckill_limiter_take(self.handle, key, #key, cost,
                                      commit == false and 0 or 1, 0, t,
                                      remaining, retry)
    if rc == OK then
        return 0, remaining[0]
    end
    if rc ~= REJECTED then
        return nil, errname(rc)
    end
    local ns = tonumber(retry[0])
    return nil, "rejected", ns < 0 and huge or ns / NS
end


--- Give back what the ticket took, and empty it. An empty ticket is a no-op.
---
--- Phases: any.
---@param t seckill.ticket
---@return boolean given false: there was nothing left to give back
function _M:uncommit(t)
    if not ffi_istype(ticket_t, t) then
        not_a_ticket(t)
    end
    return C.seckill_limiter_undo(self.handle, t, 0) == 1
end


--- The request is over. A token bucket has nothing to release; the ticket is
--- emptied, so that a late uncommit gives nothing back.
---
--- Phases: any.
---@param t seckill.ticket
---@return boolean ok
function _M.leaving(_, t)
    if not ffi_istype(ticket_t, t) then
        not_a_ticket(t)
    end
    ffi_fill(t, ticket_size)
    return true
end


--- Change numbers for all workers, at once. Keys keep what they used.
---
--- Phases: any; takes a lock.
---@param opts { rate: number?, burst: number?, mode: string? }
---@return boolean? ok
---@return string? code busy
function _M:set(opts)
    args.check(opts, SET_OPTIONS, 2)
    local limit = to_limit(opts, 2)
    local rc = C.seckill_limiter_set(self.handle, limit)
    if rc ~= OK then
        local _, code = failed(rc, true, 2)
        return nil, code
    end
    return true
end


--- The numbers in force.
---
--- Phases: any.
---@return { name: string, algorithm: string, rate: number, burst: number,
---  mode: string }
function _M:get()
    local limit = ffi.new("seckill_limit_t")
    C.seckill_limiter_get(self.handle, limit)
    return {
        name = self.name,
        algorithm = "token_bucket",
        rate = limit.rate,
        burst = limit.burst,
        mode = MODE_NAMES[limit.mode],
    }
end


return _M
