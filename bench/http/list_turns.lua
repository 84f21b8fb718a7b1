-- list_turns.lua ids FIRST COUNT [ID] >FILE - a list: COUNT times "user-N" from
--                                            FIRST on (both multiples of 1000),
--                                            and ID
-- list_turns.lua rename FROM TO            - prints when it began, in ns
-- list_turns.lua visible BEGAN <SEEN       - from there to the last of SEEN
-- list_turns.lua swap FILE OTHER SECONDS   - exchanges both once a second
-- list_turns.lua p99 FIGURE <TURNS         - of wrk_limits.lua's results
--
-- Times are those of the monotonic clock, which all processes share. p99 takes
-- the mean of the turns; it fails when a turn did not do what it should: all
-- requests answered, none refused.

local cjson = require("cjson")
local ffi = require("ffi")


ffi.cdef [[
typedef struct { long sec, nsec; } bench_time_t;
int clock_gettime(int clock, bench_time_t *time);
int rename(const char *from, const char *to);
int renameat2(int from_dir, const char *from, int to_dir, const char *to,
              unsigned int flags);
int poll(void *fds, unsigned long count, int timeout_ms);
]]
local C = ffi.C
local MONOTONIC, AT_FDCWD, RENAME_EXCHANGE = 1, -100, 2
local BLOCK = 1000


local function emit(name, value, unit)
    print(("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}")
          :format(name, value, unit))
end


local function die(text, ...)
    io.stderr:write(text:format(...), "\n")
    os.exit(1)
end


local function now_ns()
    local time = ffi.new("bench_time_t")
    C.clock_gettime(MONOTONIC, time)
    return tonumber(time.sec) * 1e9 + tonumber(time.nsec)
end


-- The last digits of a block are the same in all of them.
local function ids(first, count, id)
    local ends = {}
    for i = 1, BLOCK do
        ends[i] = ("%03d\n"):format(i - 1)
    end
    for block = first / BLOCK, (first + count) / BLOCK - 1 do
        local head = "user-" .. block
        assert(io.write(head, table.concat(ends, head)))
    end
    assert(io.write(id and id .. "\n" or ""))
    assert(io.stdout:flush())
end


local function rename(from, to)
    local began = now_ns()
    if C.rename(from, to) ~= 0 then
        die("cannot rename %s", from)
    end
    print(("%.0f"):format(began))
end


local function visible(began)
    local last, count = 0, 0
    for seen in io.lines() do
        last, count = math.max(last, tonumber(seen)), count + 1
    end
    if count == 0 or last < began then
        die("%d workers saw the list, the last one at %.0f", count, last)
    end
    emit("list_visible", (last - began) / 1e9, "s")
end


local function swap(file, other, seconds)
    local start = now_ns()
    for n = 1, seconds do
        if C.renameat2(AT_FDCWD, file, AT_FDCWD, other, RENAME_EXCHANGE) ~= 0
        then
            die("cannot exchange %s", file)
        end
        C.poll(nil, 0, math.max(0, start / 1e6 + n * 1000 - now_ns() / 1e6))
    end
end


local function p99(figure)
    local sums, turns = { p50 = 0, p99 = 0, rps = 0 }, 0
    for line in io.lines() do
        local result = cjson.decode(line)
        if result.requests == 0 or result.broken > 0 or result.refused > 0 then
            die("%s: %d requests, %d broken, %d refused", figure,
                result.requests, result.broken, result.refused)
        end
        turns = turns + 1
        sums.p50, sums.p99 = sums.p50 + result.p50, sums.p99 + result.p99
        sums.rps = sums.rps + result.requests / result.seconds
    end
    emit(figure .. "_p50", sums.p50 / turns, "us")
    emit(figure .. "_p99", sums.p99 / turns, "us")
    emit(figure .. "_rps", sums.rps / turns, "1/s")
end


local WHAT = {
    ids = function() ids(tonumber(arg[2]), tonumber(arg[3]), arg[4]) end,
    rename = function() rename(arg[2], arg[3]) end,
    visible = function() visible(tonumber(arg[2])) end,
    swap = function() swap(arg[2], arg[3], tonumber(arg[4])) end,
    p99 = function() p99(arg[2]) end,
}
assert(WHAT[arg[1]], "usage: see the top of this file")()
