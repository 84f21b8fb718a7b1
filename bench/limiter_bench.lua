-- limiter_bench.lua [NAME] - figures of the limiter through FFI, plain LuaJIT.
--
-- The loop calls engine:limiter(...):incoming(key, true) with keys that stand
-- in a Lua table, as they would in a program; all calls are admitted, which is
-- the dearer answer (it writes). Reported are the whole loop and, as `net`,
-- the loop less an empty one that reads the same keys from the same table.
-- bench/run repeats the program and takes medians.

local ffi = require("ffi")
local seckill = require("resty.seckill")


local NAME = arg[1] or "bench-limiter"
local KEYS, CALLS_ONE, PASSES = 500000, 4000000, 4
-- Filled in 100 s, more than any run takes out.
local RATE, BURST = 1e7, 1e9

ffi.cdef [[
typedef struct { long sec, nsec; } bench_time_t;
int clock_gettime(int clock, bench_time_t *time);
]]
local MONOTONIC = 1
local time = ffi.new("bench_time_t")


local function now_ns()
    ffi.C.clock_gettime(MONOTONIC, time)
    return tonumber(time.sec) * 1e9 + tonumber(time.nsec)
end


local function emit(name, value)
    print(("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"ns\"}")
          :format(name, value))
end


local function make_keys(count)
    local keys = {}
    for i = 1, count do
        keys[i] = ("user-%07d"):format(i)
    end
    return keys
end


-- Nanoseconds for each step of a loop that only reads its keys.
local function empty_loop(keys, passes)
    local length, start = 0, now_ns()
    for _ = 1, passes do
        for i = 1, #keys do
            length = length + #keys[i]
        end
    end
    assert(length > 0)
    return (now_ns() - start) / (passes * #keys)
end


local function full_loop(limiter, keys, passes)
    local admitted, start = 0, now_ns()
    for _ = 1, passes do
        for i = 1, #keys do
            if limiter:incoming(keys[i], true) then
                admitted = admitted + 1
            end
        end
    end
    local ns = (now_ns() - start) / (passes * #keys)
    assert(admitted == passes * #keys, "not all calls were admitted")
    return ns
end


local function bench(figure, limiter, keys, passes)
    full_loop(limiter, keys, 1) -- the keys enter the table, the loop compiles
    empty_loop(keys, 1)
    local whole, empty = full_loop(limiter, keys, passes),
                         empty_loop(keys, passes)
    emit(figure .. "_whole", whole)
    emit(figure, whole - empty)
end


local function calibrate()
    local x, start = 1, now_ns()
    for _ = 1, 2e7 do
        x = (x * 16807) % 2147483647
    end
    assert(x > 0)
    emit("calibration_lua", (now_ns() - start) / 2e7)
end


seckill.destroy(NAME)
local engine = assert(seckill.open {
    name = NAME, capacity = { limit_keys = 2 ^ 20 },
})
local limiter = assert(engine:limiter("bench", {
    algorithm = "token_bucket", rate = RATE, burst = BURST,
}))
local one = {}
for i = 1, 1000 do
    one[i] = "user-0000000"
end

calibrate()
bench("limiter_one_key", limiter, one, CALLS_ONE / #one)
bench("limiter_many_keys", limiter, make_keys(KEYS), PASSES)
engine:close()
seckill.destroy(NAME)
