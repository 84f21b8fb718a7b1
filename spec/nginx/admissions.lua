-- What the workers of a real nginx asked a limiter, with the times, and what
-- must hold of it. Plain LuaJIT on both sides.
--
-- In a worker:
--   local log = admissions.log(dir, run)     -- one file for each process
--   local i = log:enter()                    -- before the call of the limiter
--   log:leave(i, admitted)                   -- after it
-- In the spec:
--   admissions.count(dir, run)   -- records of all processes so far
--   admissions.read(dir, run)    -- { count =, first =, last =, [0] = record }
--   admissions.excess(list, rate)        -- see below
--   admissions.ideal(list, rate, burst)
--   admissions.overlap(list)
--
-- A record says when a call began, how long it took (CLOCK_MONOTONIC, the same
-- in all processes) and how it ended; a call that its process did not survive
-- stays UNKNOWN. The limiter decided at some instant in between. What is
-- reckoned here takes, of these instants, the one that excuses the limiter:
-- a finding is a fault, whatever the scheduler did to the workers.
--
-- Records go to a file that is mapped: a killed process loses none.

local ffi = require "ffi"
local bit = require "bit"

local C = ffi.C

ffi.cdef [[
typedef struct {
    int64_t from_ns;
    uint32_t took_ns;
    uint32_t verdict;
} spec_admission_t;
typedef struct { int64_t sec, nsec; } spec_time_t;
int clock_gettime(int clock, spec_time_t *time);
int getpid(void);
int open(const char *path, int flags, ...);
int close(int fd);
int ftruncate(int fd, long length);
void *mmap(void *at, size_t length, int protection, int flags, int fd,
           long offset);
int munmap(void *at, size_t length);
]]

local MONOTONIC = 1
local O_RDWR_CREAT = 2 + 64
local PROT_READ_WRITE, MAP_SHARED = 1 + 2, 1
local RECORDS = 2 ^ 21 -- of one process in one run
local SIZE = ffi.sizeof("spec_admission_t")
local BYTES = RECORDS * SIZE
local TOOK_MAX = 2 ^ 32 - 1

local _M = { UNKNOWN = 0, REFUSED = 1, ADMITTED = 2 }
local mt = { __index = _M }

local clock = ffi.new("spec_time_t")


local function now_ns()
    C.clock_gettime(MONOTONIC, clock)
    return clock.sec * 1000000000LL + clock.nsec
end
_M.now_ns = now_ns


-- ---- In a worker -----------------------------------------------------------

--- The records of this process in `run`. Zeros stand for what is not there.
function _M.log(dir, run)
    local path = ("%s/%s.%d"):format(dir, run, C.getpid())
    local fd = C.open(path, O_RDWR_CREAT, ffi.cast("unsigned int", 384))
    assert(fd >= 0 and C.ftruncate(fd, BYTES) == 0, "cannot make " .. path)
    local at = C.mmap(nil, BYTES, PROT_READ_WRITE, MAP_SHARED, fd, 0)
    assert(ffi.cast("intptr_t", at) ~= -1, "cannot map " .. path)
    C.close(fd)
    return setmetatable({ next = 0,
                          records = ffi.cast("spec_admission_t *", at) }, mt)
end


--- Begin a record; answers its number.
function _M:enter()
    local i = self.next
    assert(i < RECORDS, "too many records")
    self.next = i + 1
    self.records[i].from_ns = now_ns()
    return i
end


--- End it.
function _M:leave(i, admitted)
    local record = self.records[i]
    local took = tonumber(now_ns() - record.from_ns)
    record.took_ns = took < TOOK_MAX and took or TOOK_MAX
    record.verdict = admitted and _M.ADMITTED or _M.REFUSED
end


-- ---- In the spec -----------------------------------------------------------

local function paths(dir, run)
    local pipe = assert(io.popen("ls '" .. dir .. "'"))
    local list = {}
    for name in pipe:lines() do
        if name:match("^(.*)%.%d+$") == run then
            list[#list + 1] = dir .. "/" .. name
        end
    end
    pipe:close()
    return list
end


-- How many records a mapped file has: they have no gaps.
local function used(records)
    local low, high = 0, RECORDS
    while low < high do
        local middle = bit.rshift(low + high, 1)
        if records[middle].from_ns ~= 0 then
            low = middle + 1
        else
            high = middle
        end
    end
    return low
end


local function map(path)
    local fd = C.open(path, O_RDWR_CREAT, ffi.cast("unsigned int", 384))
    assert(fd >= 0, "cannot open " .. path)
    local at = C.mmap(nil, BYTES, PROT_READ_WRITE, MAP_SHARED, fd, 0)
    assert(ffi.cast("intptr_t", at) ~= -1, "cannot map " .. path)
    C.close(fd)
    return ffi.cast("spec_admission_t *", at)
end


local function each_file(dir, run, fn)
    for _, path in ipairs(paths(dir, run)) do
        local records = map(path)
        fn(records, used(records))
        C.munmap(records, BYTES)
    end
end


--- Records so far, of all processes.
function _M.count(dir, run)
    local total = 0
    each_file(dir, run, function(_, count) total = total + count end)
    return total
end


-- Two lists in the order of their beginnings into one.
local function merge(a, a_count, b, b_count)
    local out = ffi.new("spec_admission_t[?]", a_count + b_count + 1)
    local i, j = 0, 0
    for k = 0, a_count + b_count - 1 do
        if j == b_count or i < a_count and a[i].from_ns <= b[j].from_ns then
            out[k] = a[i]
            i = i + 1
        else
            out[k] = b[j]
            j = j + 1
        end
    end
    return out
end


--- Sums of a list of records.
function _M.tally(list)
    list.by = { [_M.UNKNOWN] = 0, [_M.REFUSED] = 0, [_M.ADMITTED] = 0 }
    local first, last
    for i = 0, list.count - 1 do
        local r = list.records[i]
        list.by[r.verdict] = list.by[r.verdict] + 1
        if r.verdict == _M.ADMITTED then
            local from = r.from_ns
            local till = from + r.took_ns
            first = first or from
            last = (not last or till > last) and till or last
        end
    end
    list.admitted = list.by[_M.ADMITTED]
    list.first = first
    -- From the first to the last admission, no shorter than it really was.
    list.seconds = first and tonumber(last - first) / 1e9 or 0
    return list
end


--- All records of a run in the order in which the calls began:
--- { records, count, processes, admitted, by, first, seconds }.
function _M.read(dir, run)
    local all, total, processes = nil, 0, 0
    each_file(dir, run, function(records, count)
        all = merge(all, total, records, count)
        total, processes = total + count, processes + 1
    end)
    return _M.tally { records = all, count = total, processes = processes }
end


--- The most by which the admissions of any interval exceed what the rate
--- allows in it: max over all intervals of (admissions - rate * length).
---
--- Of the calls i to j, all admitted ones fall into the interval from the
--- beginning of i to the last end of any call up to j.
function _M.excess(list, rate)
    local best, most, till, n = -math.huge, 0, 0, 0
    for i = 0, list.count - 1 do
        local r = list.records[i]
        local from = tonumber(r.from_ns - list.records[0].from_ns) / 1e9
        till = math.max(till, from + r.took_ns / 1e9)
        if r.verdict == _M.ADMITTED then
            best = math.max(best, rate * from - n)
            n = n + 1
            most = math.max(most, n - rate * till + best)
        end
    end
    return most
end


--- What an ideal bucket admits when the calls come as they came. It is full at
--- the first one. Less than the rate allows, and the machine asked too seldom.
function _M.ideal(list, rate, burst)
    local level, before, n = burst, 0, 0
    for i = 0, list.count - 1 do
        local r = list.records[i]
        local at = tonumber(r.from_ns - list.records[0].from_ns) / 1e9
        level = math.min(burst, level + rate * (at - before))
        before = at
        if level >= 1 then
            level, n = level - 1, n + 1
        end
    end
    return n
end


--- The most records that were open at one time; one that was never ended was
--- open at its beginning only.
function _M.overlap(list)
    local ends, open, most = {}, 0, 0
    local at = 1
    for i = 0, list.count - 1 do
        local r = list.records[i]
        ends[i + 1] = tonumber(r.from_ns - list.records[0].from_ns)
                      + r.took_ns
    end
    table.sort(ends)
    for i = 0, list.count - 1 do
        local from = tonumber(list.records[i].from_ns
                              - list.records[0].from_ns)
        while ends[at] < from do
            at, open = at + 1, open - 1
        end
        open = open + 1
        most = math.max(most, open)
    end
    return most
end


return _M
