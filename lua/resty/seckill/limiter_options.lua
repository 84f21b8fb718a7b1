-- limiter_options.lua - the numbers of a limiter: from options to the C struct
-- and back, and what is wrong with them, in words.
--
-- Used when a limiter is made or changed, never on a request.

local bit = require("bit")
local ffi = require("ffi")
local args = require("resty.seckill.args")
local lib = require("resty.seckill.lib")


local C = lib.C
local band = bit.band
local concat = table.concat
local error = error
local format = string.format
local ipairs = ipairs
local pairs = pairs
local tonumber = tonumber


---@class seckill.limiter.options
---@field algorithm? "token_bucket"|"leaky_bucket"|"fixed_window"|
---  "sliding_window"|"sliding_log"|"concurrency" default token_bucket
---@field rate? number buckets: tokens per second, 1e-7 to 1e7
---@field burst? number token_bucket: 1 to 1e9, default max(1, rate / 100);
---  leaky_bucket: requests that may wait, 0 to 1e9, default 0
---@field nodelay? number leaky_bucket: how many of the burst need not wait
---@field max_delay? number leaky_bucket: seconds; who would wait longer is
---  refused
---@field limit? integer windows: admissions; sliding_log: at most 16;
---  concurrency: permits
---@field window? number windows: seconds, 0.001 to 31 days; never changes
---@field warm_up? number buckets: seconds of the rise of the rate; 0: none
---@field cold_factor? number how much lower it begins, default 3
---@field warm_up_at? number when the rise begins, seconds since the epoch;
---  absent or 0: whenever the limiter was idle for that long
---@field mode? "enforce"|"shadow"|"off" default enforce
local _M = { _VERSION = "0.1.0" }

local NS = 1e9
-- The longest time to fill an empty bucket: 2^62 units of 1/256 ns.
local FILL_MAX = 2^54 / NS
local DAY = 86400

_M.SET = {
    rate = "number", burst = "number", nodelay = "number",
    max_delay = "number", limit = "number", warm_up = "number",
    cold_factor = "number", warm_up_at = "number", mode = "string",
}
_M.OPEN = { algorithm = "string", window = "number" }
for name, kind in pairs(_M.SET) do
    _M.OPEN[name] = kind
end

-- As C numbers them.
local ALGORITHM_NAMES = { "token_bucket", "leaky_bucket", "fixed_window",
                          "sliding_window", "sliding_log", "concurrency" }
local ALGORITHMS = {}
for i, name in ipairs(ALGORITHM_NAMES) do
    ALGORITHMS[name] = i
end
local MODES = { enforce = 1, shadow = 2, off = 3 }
local MODE_NAMES = { "enforce", "shadow", "off" }

-- option -> field, and the bit of seckill_limit_t.zeros that says that 0 in it
-- is meant.
local ZERO = {
    burst = { "burst", C.SECKILL_ZERO_BURST },
    max_delay = { "max_delay_ns", C.SECKILL_ZERO_MAX_DELAY },
    nodelay = { "nodelay", C.SECKILL_ZERO_NODELAY },
    limit = { "limit", C.SECKILL_ZERO_LIMIT },
    warm_up = { "warm_up_ns", C.SECKILL_ZERO_WARM_UP },
    warm_up_at = { "warm_up_at_ns", C.SECKILL_ZERO_WARM_UP_AT },
}

local BUCKETS = { token_bucket = true, leaky_bucket = true }
local LEAKY = { leaky_bucket = true }
local WINDOWS = { fixed_window = true, sliding_window = true,
                  sliding_log = true }
local COUNTS = { fixed_window = true, sliding_window = true,
                 sliding_log = true, concurrency = true }

-- { option, min, max, algorithms that have it }, in this order, so that the
-- first mistake is named.
local RANGES = {
    { "rate", 1e-7, 1e7, BUCKETS }, { "burst", 0, 1e9, BUCKETS },
    { "nodelay", 0, 1e9, LEAKY }, { "max_delay", 0, 31 * DAY, LEAKY },
    { "limit", 0, 1e12, COUNTS }, { "window", 0.001, 31 * DAY, WINDOWS },
    { "warm_up", 0, 31 * DAY, BUCKETS }, { "cold_factor", 1, 1000, BUCKETS },
    { "warm_up_at", 0, 9e9, BUCKETS },
}


local function check_ranges(opts, level)
    for _, range in ipairs(RANGES) do
        local name, min, max = range[1], range[2], range[3]
        if opts[name] ~= nil then
            args.range(opts[name], name, min, max, level + 1)
        end
    end
    if opts.limit and opts.limit % 1 ~= 0 then
        error(format("option \"limit\": integer expected, got %g", opts.limit),
              level + 1)
    end
end


--- The C struct of options whose names and types are checked.
---@param opts seckill.limiter.options
---@param level integer as for error(), seen from the caller
---@return ffi.cdata* limit
function _M.to_limit(opts, level)
    args.choice(opts.algorithm, "algorithm", ALGORITHMS,
                "one of " .. concat(ALGORITHM_NAMES, ", "), level + 1)
    args.choice(opts.mode, "mode", MODES,
                "\"enforce\", \"shadow\" or \"off\"", level + 1)
    check_ranges(opts, level + 1)
    local limit = ffi.new("seckill_limit_t")
    limit.struct_size = ffi.sizeof("seckill_limit_t")
    limit.algorithm = ALGORITHMS[opts.algorithm] or 0
    limit.mode = MODES[opts.mode] or 0
    limit.rate = opts.rate or 0
    limit.burst = opts.burst or 0
    limit.nodelay = opts.nodelay or 0
    limit.limit = opts.limit or 0
    limit.window_ns = (opts.window or 0) * NS
    limit.max_delay_ns = (opts.max_delay or 0) * NS
    limit.warm_up_ns = (opts.warm_up or 0) * NS
    limit.cold_factor = opts.cold_factor or 0
    limit.warm_up_at_ns = (opts.warm_up_at or 0) * NS
    for name, zero in pairs(ZERO) do
        if opts[name] and limit[zero[1]] == 0 then
            limit.zeros = limit.zeros + zero[2]
        end
    end
    return limit
end


local function misplaced(algorithm, opts)
    for _, range in ipairs(RANGES) do
        local name, algorithms = range[1], range[4]
        if opts[name] ~= nil and not algorithms[algorithm] then
            return name
        end
    end
end


local function missing(algorithm, opts)
    return BUCKETS[algorithm] and not opts.rate and "rate"
           or COUNTS[algorithm] and not opts.limit and "limit"
           or WINDOWS[algorithm] and not opts.window and "window"
end


local function out_of_range(algorithm, opts)
    if algorithm == "token_bucket" and (opts.burst or 1) < 1 then
        return "option \"burst\": at least 1 expected"
    end
    if opts.limit then
        return format("option \"limit\": %g is too much for %s%s", opts.limit,
                      algorithm, opts.window
                      and format(" in %g seconds", opts.window) or "")
    end
    if opts.cold_factor and opts.cold_factor <= 1 then
        return "option \"cold_factor\": more than 1 expected"
    end
    return format("option \"burst\": more than %d days at this rate%s",
                  FILL_MAX / DAY, (opts.warm_up or opts.cold_factor)
                                  and " / cold_factor" or "")
end


--- Raise for what only the limiter as a whole shows to be wrong.
---@param rc integer what C answered
---@param opts seckill.limiter.options?
---@param algorithm string? of the limiter; nil: as in opts
---@param is_new boolean
---@param level integer
function _M.explain(rc, opts, algorithm, is_new, level)
    if rc ~= lib.codes.bad_option then
        return
    end
    opts = opts or {}
    algorithm = algorithm or opts.algorithm or "token_bucket"
    local name = misplaced(algorithm, opts)
    if name then
        error(format("option \"%s\": not of %s", name, algorithm), level + 1)
    end
    name = is_new and missing(algorithm, opts)
    if name then
        error(format("option \"%s\": needed to create a limiter", name),
              level + 1)
    end
    error(out_of_range(algorithm, opts), level + 1)
end


--- Options from the C struct; only those that the algorithm has.
---@param limit ffi.cdata*
---@return seckill.limiter.options
function _M.from_limit(limit)
    local algorithm = ALGORITHM_NAMES[limit.algorithm]
    local numbers = { algorithm = algorithm, mode = MODE_NAMES[limit.mode] }
    if BUCKETS[algorithm] then
        numbers.rate, numbers.burst = limit.rate, limit.burst
        if limit.warm_up_ns > 0 then
            numbers.warm_up = tonumber(limit.warm_up_ns) / NS
            numbers.cold_factor = limit.cold_factor
            numbers.warm_up_at = limit.warm_up_at_ns > 0
                                 and tonumber(limit.warm_up_at_ns) / NS or nil
        end
        if algorithm == "leaky_bucket" then
            numbers.nodelay = limit.nodelay
            if limit.max_delay_ns > 0
               or band(limit.zeros, C.SECKILL_ZERO_MAX_DELAY) ~= 0 then
                numbers.max_delay = tonumber(limit.max_delay_ns) / NS
            end
        end
        return numbers
    end
    numbers.limit = limit.limit
    if WINDOWS[algorithm] then
        numbers.window = tonumber(limit.window_ns) / NS
    end
    return numbers
end


return _M
