-- limiter_bench.lua [NAME] - figures of the limiters through FFI, plain LuaJIT.
--
-- The loop calls engine:limiter(...):incoming(key, true) with keys that stand
-- in a Lua table, as they would in a program; all calls are admitted, which is
-- the dearer answer (it writes). Reported are the whole loop and, as `net`,
-- the loop less an empty one that reads the same keys from the same table.
-- The same for seckill.combine() of three limiters, and leaving(). It is CPU
-- time of the process: others may have the core in between.
--
-- Then one and two processes, each on a core of its own where there are two,
-- take from one key for a quarter of a second, in turns.
-- bench/run repeats the program and takes medians.

local ffi = require("ffi")
local seckill = require("resty.seckill")


local NAME = arg[1] or "bench-limiter"
local KEYS, CALLS_ONE, PASSES = 500000, 4000000, 4
local PROCESSES, TURNS, TURN, BATCH = 2, 2, 0.25, 64
-- Filled in 100 s, more than any run takes out.
local RATE, BURST = 1e7, 1e9

ffi.cdef [[
typedef struct { long sec, nsec; } bench_time_t;
int clock_gettime(int clock, bench_time_t *time);
int fork(void);
int waitpid(int pid, int *status, int options);
int sched_setaffinity(int pid, unsigned long size, const uint64_t *cores);
void *mmap(void *at, unsigned long size, int protection, int flags, int fd,
           long offset);
void _exit(int status);
]]
local MONOTONIC, THREAD_CPUTIME = 1, 3
local PROT_READ_WRITE, MAP_SHARED_ANONYMOUS = 1 + 2, 1 + 32
local time = ffi.new("bench_time_t")


local function read_clock(clock)
    ffi.C.clock_gettime(clock, time)
    return tonumber(time.sec) * 1e9 + tonumber(time.nsec)
end


local function cpu_ns()
    return read_clock(THREAD_CPUTIME)
end


local function now_ns()
    return read_clock(MONOTONIC)
end


local function emit(name, value, unit)
    print(("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}")
          :format(name, value, unit or "ns"))
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
    local length, start = 0, cpu_ns()
    for _ = 1, passes do
        for i = 1, #keys do
            length = length + #keys[i]
        end
    end
    assert(length > 0)
    return (cpu_ns() - start) / (passes * #keys)
end


local function full_loop(limiter, keys, passes)
    local admitted, start = 0, cpu_ns()
    for _ = 1, passes do
        for i = 1, #keys do
            if limiter:incoming(keys[i], true) then
                admitted = admitted + 1
            end
        end
    end
    local ns = (cpu_ns() - start) / (passes * #keys)
    assert(admitted == passes * #keys, "not all calls were admitted")
    return ns
end


-- Three rules on one key, and the end of the request.
local function combined_loop(limiters, keys, passes)
    local ticket, three = seckill.ticket(), {}
    local admitted, start = 0, cpu_ns()
    for _ = 1, passes do
        for i = 1, #keys do
            local key = keys[i]
            three[1], three[2], three[3] = key, key, key
            if seckill.combine(limiters, three, ticket) then
                admitted = admitted + 1
                seckill.leaving(ticket)
            end
        end
    end
    local ns = (cpu_ns() - start) / (passes * #keys)
    assert(admitted == passes * #keys, "not all calls were admitted")
    return ns
end


local function bench(figure, loop, limiter, keys, passes)
    loop(limiter, keys, 1) -- the keys enter the table, the loop compiles
    empty_loop(keys, 1)
    local whole, empty = loop(limiter, keys, passes), empty_loop(keys, passes)
    emit(figure .. "_whole", whole)
    emit(figure, whole - empty)
end


-- ---- Several processes -----------------------------------------------------

local counts = ffi.cast("uint64_t *",
                        ffi.C.mmap(nil, 4096, PROT_READ_WRITE,
                                   MAP_SHARED_ANONYMOUS, -1, 0))


-- In a child: its calls from `start` to `stop`.
local function take_until(limiter, key, start, stop)
    local n = 0
    for _ = 1, 1000 do
        limiter:incoming(key)
    end
    while now_ns() < start do end
    repeat
        for _ = 1, BATCH do
            if limiter:incoming(key) then
                n = n + 1
            end
        end
    until now_ns() >= stop
    return n
end


-- A core for each; where there is only one, the call fails and they share it.
local function to_core(n)
    local cores = ffi.new("uint64_t[16]")
    cores[0] = 2 ^ n
    ffi.C.sched_setaffinity(0, ffi.sizeof(cores), cores)
end


-- Admissions per second of `processes` on one key.
local function take_together(limiter, key, processes)
    local start = now_ns() + 5e7 -- all of them are there by then
    local pids, status, total = {}, ffi.new("int[1]"), 0
    for i = 1, processes do
        pids[i] = ffi.C.fork()
        assert(pids[i] >= 0, "fork failed")
        if pids[i] == 0 then
            to_core(i - 1)
            counts[i] = take_until(limiter, key, start, start + TURN * 1e9)
            ffi.C._exit(0)
        end
    end
    for i = 1, processes do
        assert(ffi.C.waitpid(pids[i], status, 0) == pids[i]
               and status[0] == 0, "a process failed")
        total = total + tonumber(counts[i])
    end
    return total / TURN
end


local function bench_processes(limiter)
    local one, many = 0, 0
    for turn = 1, TURNS do
        one = one + take_together(limiter, "one-" .. turn, 1)
        many = many + take_together(limiter, "two-" .. turn, PROCESSES)
    end
    emit("limiter_one_process", one / TURNS, "1/s")
    emit("limiter_two_processes", many / TURNS, "1/s")
end


-- How fast the machine is now, in plain arithmetic and in reading the clock,
-- which is the largest part of a take.
local function calibrate()
    local x, start = 1, cpu_ns()
    for _ = 1, 2e7 do
        x = (x * 16807) % 2147483647
    end
    assert(x > 0)
    emit("calibration_lua", (cpu_ns() - start) / 2e7)
    start = cpu_ns()
    for _ = 1, CALLS_ONE do
        ffi.C.clock_gettime(MONOTONIC, time)
    end
    emit("calibration_clock", (cpu_ns() - start) / CALLS_ONE)
end


seckill.destroy(NAME)
local engine = assert(seckill.open {
    name = NAME, capacity = { limit_keys = 2 ^ 20 },
})
local limiter = assert(engine:limiter("bench", {
    algorithm = "token_bucket", rate = RATE, burst = BURST,
}))
local three = {
    assert(engine:limiter("bench-rate", {
        algorithm = "token_bucket", rate = RATE, burst = BURST,
    })),
    assert(engine:limiter("bench-window", {
        algorithm = "fixed_window", limit = 1e9, window = 3600,
    })),
    assert(engine:limiter("bench-permits", {
        algorithm = "concurrency", limit = 100,
    })),
}
local one, many = {}, make_keys(KEYS)
for i = 1, 1000 do
    one[i] = "user-0000000"
end

calibrate()
bench("limiter_one_key", full_loop, limiter, one, CALLS_ONE / #one)
bench("limiter_many_keys", full_loop, limiter, many, PASSES)
bench("limiter_combine", combined_loop, three, one, CALLS_ONE / #one)
bench_processes(limiter)
engine:close()
seckill.destroy(NAME)
