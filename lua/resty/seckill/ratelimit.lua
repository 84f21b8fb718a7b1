--- ratelimit.lua - header fields that tell a client its limits.
--
--     RateLimit-Policy: "user";q=30;w=60, "ip";q=1000;w=60
--     RateLimit: "user";r=12;t=41
--     X-RateLimit-Limit: 30    -Remaining: 12    -Reset: 41
--     Retry-After: 41                            of a refusal
--
-- RateLimit and RateLimit-Policy are structured fields after
-- draft-ietf-httpapi-ratelimit-headers-10: all limiters that were asked stand
-- in the policy, the tightest one in RateLimit. Seconds only, as the draft
-- wants: r is rounded down, t and Retry-After are rounded up, so that who
-- obeys Retry-After is admitted. t is the time until the whole quota is there
-- again, and of a refusal the time after which the request would pass.
--
-- A result is a table { name, quota, window, unit, remaining, reset,
-- retry_after }: quota and window make the policy, remaining and reset say how
-- it stands (nil: not asked), retry_after is there for a refusal. result()
-- fills one from the last answer of a limiter in this Lua VM.
--
-- Plain Lua but for reading the answer. Never yields; allocates the strings of
-- the fields and nothing else.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local lib = require("resty.seckill.lib")
local limiter = require("resty.seckill.limiter")


local C = lib.C
local ceil = math.ceil
local error = error
local floor = math.floor
local format = string.format
local gsub = string.gsub
local huge = math.huge
local max_of = math.max
local min_of = math.min
local pairs = pairs
local random = math.random
local setmetatable = setmetatable
local tonumber = tonumber
local type = type


---@class seckill.ratelimit
local _M = { _VERSION = "0.1.0" }

---@class seckill.ratelimit.writer
local Writer = {}
local writer_mt = { __index = Writer }

local NS = 1e9
-- The greatest integer of a structured field.
local INTEGER_MAX = 999999999999999

local OPTIONS = { standard = "boolean", legacy = "boolean",
                  retry_after = "boolean", jitter = "number" }
local WITH_NAMES = { standard = "boolean", legacy = "table",
                     retry_after = "boolean", jitter = "number" }
local NAMES = { limit = "string", remaining = "string", reset = "string" }
local DEFAULT_NAMES = { limit = "X-RateLimit-Limit",
                        remaining = "X-RateLimit-Remaining",
                        reset = "X-RateLimit-Reset" }


-- ---- Values of the fields ------------------------------------------------

-- NaN and what is below 0 is 0.
local function integer(value)
    return value > 0 and min_of(value, INTEGER_MAX) or 0
end


local function down(value)
    return integer(floor(value))
end


local function up(value)
    return integer(ceil(value))
end


-- An sf-string: printable ASCII, \ and " escaped. Other bytes become "?".
local function quoted(text)
    text = gsub(text, "[^\32-\126]", "?")
    return "\"" .. gsub(text, "[\"\\]", "\\%0") .. "\""
end


-- Names are few: their quoted form is kept. Bounded.
local quotes, quote_count = {}, 0
local QUOTES_MAX = 1024


local function quote(name)
    local text = quotes[name]
    if text then
        return text
    end
    if quote_count >= QUOTES_MAX then
        quotes, quote_count = {}, 0
    end
    text = quoted(name)
    quotes[name] = text
    quote_count = quote_count + 1
    return text
end


-- What a client has to know of a result that was asked: how long until more.
local function wait_of(result)
    return result.retry_after or result.reset
end


-- The text of a policy is made again when its numbers changed.
local function policy_of(result)
    local q = down(result.quota)
    local w = result.window and max_of(up(result.window), 1) or 0
    if result.policy and result.policy_q == q and result.policy_w == w
       and result.policy_name == result.name then
        return result.policy
    end
    local text = quote(result.name) .. format(";q=%d", q)
    if result.unit then
        text = text .. ";qu=" .. quote(result.unit)
    end
    if w > 0 then
        text = text .. format(";w=%d", w)
    end
    result.policy, result.policy_q, result.policy_w = text, q, w
    result.policy_name = result.name
    return text
end


local function remaining_of(result)
    return result.retry_after and 0 or down(result.remaining or 0)
end


local function state_of(result)
    local wait = wait_of(result)
    local text = quote(result.name) .. format(";r=%d", remaining_of(result))
    if wait and wait < huge then
        text = text .. format(";t=%d", up(wait))
    end
    return text
end


-- ---- Several results -----------------------------------------------------

-- Is a tighter than b? Who refuses for longer, then who has less left.
local function is_tighter(a, b)
    if a.retry_after or b.retry_after then
        return (a.retry_after or -1) > (b.retry_after or -1)
    end
    return a.remaining < b.remaining
end


local function tightest(results, n)
    local best
    for i = 1, n do
        local result = results[i]
        if result.quota and result.remaining
           and (not best or is_tighter(result, best)) then
            best = result
        end
    end
    return best
end


-- nil: none of them refuses anybody.
local function policies(results, n)
    local text
    for i = 1, n do
        local result = results[i]
        if result.quota then
            local policy = policy_of(result)
            text = text and text .. ", " .. policy or policy
        end
    end
    return text
end


-- ---- The answer of a limiter ---------------------------------------------

local verdict = limiter.verdict
local numbers = ffi.new("seckill_limit_t")


-- A bucket holds `capacity` and fills with the rate: what it gives in the time
-- it takes to fill, or in a second where that is shorter.
local function bucket_policy(out, capacity)
    local rate = numbers.rate
    out.own = floor(capacity)
    out.quota = max_of(capacity, rate)
    out.window = max_of(capacity / rate, 1)
end


local function limit_policy(out, window, unit)
    out.own, out.quota = numbers.limit, numbers.limit
    out.window, out.unit = window, unit
end


local function not_a_limiter()
    error("limiter of the engine expected", 4)
end


-- quota, window, unit; own is the quota as a verdict has it.
local function read_policy(lim, out)
    if type(lim) ~= "table" or not lim.handle then
        not_a_limiter()
    end
    C.seckill_limiter_get(lim.handle, numbers)
    local algorithm = numbers.algorithm
    out.name, out.unit = lim.name, nil
    if numbers.mode ~= C.SECKILL_LIMIT_ENFORCE then
        out.quota = nil
    elseif algorithm == C.SECKILL_TOKEN_BUCKET then
        bucket_policy(out, numbers.burst)
    elseif algorithm == C.SECKILL_LEAKY_BUCKET then
        bucket_policy(out, numbers.burst + 1)
    elseif algorithm == C.SECKILL_CONCURRENCY then
        limit_policy(out, nil, "concurrent-requests")
    else
        limit_policy(out, tonumber(numbers.window_ns) / NS)
    end
end


-- A key with a quota of its own: its window is known where all keys have one.
local function read_quota(out)
    if out.quota and verdict.quota ~= out.own then
        out.quota = verdict.quota
        if numbers.window_ns == 0 then
            out.window = nil
        end
    end
end


local function read_state(out)
    read_quota(out)
    out.remaining = verdict.remaining
    out.reset = tonumber(verdict.reset_ns) / NS
    if verdict.mask == 0 then
        out.retry_after = nil
        return
    end
    local retry = tonumber(verdict.retry_ns)
    out.retry_after = retry < 0 and huge or retry / NS
end


--- The last answer of this Lua VM, which was this limiter's, as a result. Call
--- it right after limiter:incoming(), before anything yields.
---
--- Phases: any. Allocates nothing when `out` is given.
---@param lim seckill.limiter
---@param out table? filled and returned
---@return table result
function _M.result(lim, out)
    out = out or {}
    read_policy(lim, out)
    read_state(out)
    return out
end


--- The last answer of this Lua VM, which was that of a combine of these
--- limiters, as a list of results: the tightest one has the numbers.
---
--- Phases: any. Allocates nothing when `out` is given and was used before.
---@param limiters seckill.limiter[]
---@param out table? filled and returned
---@return table results
function _M.results(limiters, out)
    out = out or {}
    local n = #limiters
    for i = 1, n do
        local result = out[i]
        if not result then
            result = {}
            out[i] = result
        end
        read_policy(limiters[i], result)
        result.remaining, result.reset, result.retry_after = nil, nil, nil
        if i == verdict.rule + 1 then
            read_state(result)
        end
    end
    out.n = n
    return out
end


-- ---- The writer ----------------------------------------------------------

local function check_names(names, level)
    args.check(names, NAMES, level + 1)
    local copy = {}
    for name, default in pairs(DEFAULT_NAMES) do
        local field = "legacy." .. name
        copy[name] = args.bytes(names[name] or default, field, 1, 128,
                                level + 1)
        if copy[name]:find("[^%w!#$%&'*+.^_`|~-]") then
            error("option \"" .. field .. "\": name of a field expected",
                  level + 1)
        end
    end
    return copy
end


local function legacy_names(legacy, level)
    if legacy == false then
        return nil
    end
    local names = check_names(type(legacy) == "table" and legacy or {},
                              level + 1)
    return names
end


--- A writer of header fields.
---@class seckill.ratelimit.options
---@field standard? boolean RateLimit and RateLimit-Policy; default true
---@field legacy? boolean|{ limit: string?, remaining: string?, reset: string? }
---  X-RateLimit-*, or their names; default true
---@field retry_after? boolean default true
---@field jitter? integer seconds that Retry-After may be later, at random, so
---  that not all come back in the second in which a window ends; default 0
---
---@param opts seckill.ratelimit.options?
---@return seckill.ratelimit.writer
function _M.new(opts)
    opts = opts or {}
    local with_names = type(opts) == "table" and type(opts.legacy) == "table"
    args.check(opts, with_names and WITH_NAMES or OPTIONS, 2)
    local jitter = args.integer(opts.jitter, "jitter", 0, 86400, 2) or 0
    return setmetatable({
        standard = opts.standard ~= false,
        legacy = legacy_names(opts.legacy, 2),
        retry_after = opts.retry_after ~= false,
        jitter = jitter,
    }, writer_mt)
end


-- Whole seconds, at least 1; never before the time at which it would pass.
local function retry_seconds(self, result)
    local retry = result.retry_after
    if not retry or retry == huge then
        return nil
    end
    local seconds = max_of(up(retry), 1)
    if self.jitter > 0 then
        seconds = seconds + random(0, self.jitter)
    end
    return seconds
end


local function set_legacy(names, headers, result)
    local wait = wait_of(result)
    headers[names.limit] = format("%d", down(result.quota))
    headers[names.remaining] = format("%d", remaining_of(result))
    if wait and wait < huge then
        headers[names.reset] = format("%d", up(wait))
    end
end


local function set_standard(headers, results, n, result)
    local policy = policies(results, n)
    if policy then
        headers["RateLimit-Policy"] = policy
    end
    if result then
        headers["RateLimit"] = state_of(result)
    end
end


local function set_all(self, headers, results, n)
    local result = tightest(results, n)
    if self.standard then
        set_standard(headers, results, n, result)
    end
    if not result then
        return nil
    end
    if self.legacy then
        set_legacy(self.legacy, headers, result)
    end
    local seconds = retry_seconds(self, result)
    if seconds and self.retry_after then
        headers["Retry-After"] = format("%d", seconds)
    end
    return seconds
end


-- A single result as a list.
local one = {}


local function write(self, headers, results)
    if type(results) ~= "table" then
        error("result or list of results expected, got " .. type(results), 3)
    end
    if results.name == nil then
        return set_all(self, headers, results, results.n or #results)
    end
    one[1] = results
    return set_all(self, headers, one, 1)
end


--- Set the fields of an answer.
---
--- Phases: those in which `headers` (ngx.header) may be written. Never yields.
---@param headers table
---@param results table a result, or a list of them (the first `n`, if set)
---@return integer? retry_after seconds of Retry-After; nil: not refused, or it
---  would never pass
function Writer:set(headers, results)
    local seconds = write(self, headers, results)
    return seconds
end


--- The same fields as a table of their own.
--- Phases: any.
---@param results table
---@return table<string, string>
function Writer:fields(results)
    local headers = {}
    local _ = write(self, headers, results)
    return headers
end


local default = _M.new()


--- Writer:set of a writer with the defaults.
---@param headers table
---@param results table
---@return integer? retry_after
function _M.set(headers, results)
    local seconds = write(default, headers, results)
    return seconds
end


--- Writer:fields of a writer with the defaults.
---@param results table
---@return table<string, string>
function _M.fields(results)
    local headers = {}
    local _ = write(default, headers, results)
    return headers
end


return _M
