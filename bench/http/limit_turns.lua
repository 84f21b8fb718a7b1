-- limit_turns.lua cpu PID                  - CPU time of a process, in ns
-- limit_turns.lua added FIGURE <TURNS      - CPU per request
-- limit_turns.lua admitted FIGURE RATE <TURN - admitted / (rate x time)
--
-- TURNS are lines of nanoseconds and wrk_limits.lua's result, which are added
-- up. Fails when a turn did not do what it should: all requests answered, and
-- for CPU none refused.

local cjson = require("cjson")
local ffi = require("ffi")


ffi.cdef [[
typedef struct { long sec, nsec; } bench_time_t;
int clock_gettime(int clock, bench_time_t *time);
]]


local function emit(name, value, unit)
    print(("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}")
          :format(name, value, unit))
end


local function die(text, ...)
    io.stderr:write(text:format(...), "\n")
    os.exit(1)
end


-- All threads, user and system: the clock of another process, by Linux's way
-- to number it.
local function cpu(pid)
    local time = ffi.new("bench_time_t")
    local clock = bit.bor(bit.lshift(bit.bnot(pid), 3), 2)
    if ffi.C.clock_gettime(clock, time) ~= 0 then
        die("no CPU time of process %d", pid)
    end
    print(("%.0f"):format(tonumber(time.sec) * 1e9 + tonumber(time.nsec)))
end


local function check(figure, result)
    if result.requests == 0 or result.broken > 0 then
        die("%s: %d requests, %d broken", figure, result.requests,
            result.broken)
    end
    return result
end


local function added(figure)
    local ns, requests, seconds = 0, 0, 0
    for line in io.lines() do
        local time, text = line:match("^(%d+) (.*)$")
        local result = check(figure, cjson.decode(text))
        if result.refused > 0 then
            die("%s: %d refused", figure, result.refused)
        end
        ns, requests = ns + tonumber(time), requests + result.requests
        seconds = seconds + result.seconds
    end
    emit(figure .. "_cpu_us", ns / 1e3 / requests, "us")
    emit(figure .. "_busy", ns / 1e7 / seconds, "%")
end


local function admitted(figure, rate)
    local result = check(figure, cjson.decode(io.read("*a")))
    emit(figure, (result.requests - result.refused) / rate / result.seconds,
         "x")
end


local WHAT = { cpu = function() cpu(tonumber(arg[2])) end,
               added = function() added(arg[2]) end,
               admitted = function() admitted(arg[2], tonumber(arg[3])) end }
assert(WHAT[arg[1]], "usage: see the top of this file")()
