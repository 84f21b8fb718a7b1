-- list_bench.lua NAME DIRECTORY IDS - figures of access lists through FFI,
-- plain LuaJIT.
--
-- DIRECTORY/ids is a list of "user-N", IDS numbers from FIRST on. A list of
-- networks, half of them IPv4, is written beside it. Both are loaded by this
-- process, which says how long that took, so run it on one core.
--
-- A loop calls list:match(key) with keys that stand in a Lua table, in an order
-- that is none of the index: ids that are listed, ids that are not, addresses
-- half of which are in one of the networks. Reported are the whole loop and the
-- loop less an empty one that reads the same keys. It is CPU time of the
-- thread: others may have the core in between.
-- bench/run repeats the program and takes medians.

local ffi = require("ffi")
local seckill = require("resty.seckill")


local NAME, DIRECTORY, IDS = arg[1], arg[2], tonumber(arg[3])
local FIRST = 100000000 -- as in lists.sh: all numbers have nine digits
local KEYS, PASSES = 2 ^ 21, 2
local NETWORKS, ADDRESSES, ADDRESS_PASSES = 100000, 2 ^ 20, 4
local FEW, FEW_PASSES = 1000, 4000
local READS = 2 ^ 25

-- Networks as lists have them: most of a few lengths. IPv6 ones are crowded
-- under few /32, as those of hosters are.
local LENGTHS = {
    ip4 = { 24, 24, 24, 24, 24, 24, 32, 32, 32, 32, 32, 32, 16, 18, 19, 20, 21,
            22, 23, 25, 26, 27, 28, 29 },
    ip6 = { 36, 40, 44, 48, 48, 48, 48, 52, 56, 56, 64, 64, 64, 64, 128, 128 },
}
local HOSTERS, HOSTER_LENGTH = 4096, 32

ffi.cdef [[
typedef struct { long sec, nsec; } bench_time_t;
int clock_gettime(int clock, bench_time_t *time);
]]
local THREAD_CPUTIME = 3
local time = ffi.new("bench_time_t")
local random = math.random


local function cpu_ns()
    ffi.C.clock_gettime(THREAD_CPUTIME, time)
    return tonumber(time.sec) * 1e9 + tonumber(time.nsec)
end


local function emit(name, value, unit)
    print(("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}")
          :format(name, value, unit or "ns"))
end


-- ---- Loops -----------------------------------------------------------------

-- A loop of its own for each figure, so that each is compiled for what it
-- meets.
local LOOP_TEXT = [[
local keys, passes, cpu_ns, list = ...
local found, start = 0, cpu_ns()
for _ = 1, passes do
    for i = 1, #keys do
        %s
    end
end
return (cpu_ns() - start) / (passes * #keys), found / passes
]]
local BODIES = {
    match = "if list:match(keys[i]) then found = found + 1 end",
    empty = "found = found + #keys[i]",
}


-- Nanoseconds for each key, and how many were denied.
local function time_loop(body, keys, passes, list)
    local loop = assert(loadstring(LOOP_TEXT:format(BODIES[body])))
    loop(keys, 1, cpu_ns, list) -- compiles it
    return loop(keys, passes, cpu_ns, list)
end


-- All keys in turn, then a few of them again and again: those the processor
-- has in its cache, and it knows their ways.
local function bench(figure, list, passes, keys, denied)
    collectgarbage()
    local whole, found = time_loop("match", keys, passes, list)
    assert(found == denied, "wrong answers")
    emit(figure .. "_whole", whole)
    emit(figure, whole - time_loop("empty", keys, passes))
    local few = {}
    for i = 1, FEW do
        few[i] = keys[i]
    end
    whole = time_loop("match", few, FEW_PASSES, list)
    emit(figure .. "_few", whole - time_loop("empty", few, FEW_PASSES))
end


-- ---- Ids -------------------------------------------------------------------

local function random_ids(first)
    local keys = {}
    for i = 1, KEYS do
        keys[i] = "user-" .. first + random(0, IDS - 1)
    end
    return keys
end


local function open_list(engine, name, kind)
    local list, code, detail = engine:access_list(name, {
        kind = kind, file = DIRECTORY .. "/" .. name, watch = false,
    })
    return assert(list, detail or code)
end


local function bench_ids(engine)
    local list = open_list(engine, "ids", "id")
    local stats = list:stats()
    assert(stats.entries == IDS, "the list is not whole")
    emit("list_load", stats.load_seconds, "s")
    emit("list_id_bytes", stats.bytes / stats.entries, "bytes")
    bench("list_id_miss", list, PASSES, random_ids(FIRST + IDS), 0)
    bench("list_id_hit", list, PASSES, random_ids(FIRST), KEYS)
end


-- ---- Networks --------------------------------------------------------------

-- An address is its groups of 16 bits: two of IPv4, eight of IPv6. `from` is
-- kept in its first `length` bits, the rest is random.
local function random_in(from, length)
    local groups = {}
    for i = 1, #from do
        local free = 2 ^ (16 - math.min(math.max(length - 16 * (i - 1), 0), 16))
        groups[i] = from[i] - from[i] % free + random(0, free - 1)
    end
    return groups
end


local function clear_behind(groups, length)
    for i = 1, #groups do
        local free = 2 ^ (16 - math.min(math.max(length - 16 * (i - 1), 0), 16))
        groups[i] = groups[i] - groups[i] % free
    end
end


local function to_text(groups)
    if #groups == 2 then
        return ("%d.%d.%d.%d"):format(groups[1] / 256, groups[1] % 256,
                                      groups[2] / 256, groups[2] % 256)
    end
    return ("%x:%x:%x:%x:%x:%x:%x:%x"):format(unpack(groups))
end


local function make_hosters()
    local list = {}
    for i = 1, HOSTERS do
        list[i] = random_in({ 0x2000, 0, 0, 0, 0, 0, 0, 0 }, 3)
    end
    return list
end


-- NETWORKS different ones: { groups, length }, and their lines.
local function make_networks(family, hosters)
    local lengths, all, lines, known = LENGTHS[family], {}, {}, {}
    while #all < NETWORKS do
        local length = lengths[random(#lengths)]
        local groups = family == "ip4" and random_in({ 0, 0 }, 0)
            or random_in(hosters[random(#hosters)], HOSTER_LENGTH)
        clear_behind(groups, length)
        local line = to_text(groups) .. "/" .. length
        if not known[line] then
            known[line] = true
            all[#all + 1] = { groups, length }
            lines[#lines + 1] = line
        end
    end
    return all, table.concat(lines, "\n")
end


-- Any IPv4 address; one of a hoster that has listed networks.
local function random_outside(list, from)
    local text
    repeat
        text = to_text(random_in(from, #from == 2 and 0 or HOSTER_LENGTH))
    until not list:match(text)
    return text
end


-- Addresses, and how many of them are listed.
local function random_addresses(list, networks)
    local keys, inside = {}, 0
    for i = 1, ADDRESSES do
        local network = networks[random(#networks)]
        if random(2) == 1 then
            keys[i] = to_text(random_in(network[1], network[2]))
            inside = inside + 1
        else
            keys[i] = random_outside(list, network[1])
        end
    end
    return keys, inside
end


local function bench_networks(engine)
    local four, text_four = make_networks("ip4")
    local six, text_six = make_networks("ip6", make_hosters())
    local file = assert(io.open(DIRECTORY .. "/nets", "wb"))
    assert(file:write(text_four, "\n", text_six, "\n"))
    assert(file:close())
    local list = open_list(engine, "nets", "ip")
    local stats = list:stats()
    assert(stats.entries == 2 * NETWORKS, "the list is not whole")
    emit("list_net_bytes", stats.bytes / stats.entries, "bytes")
    bench("list_ip4", list, ADDRESS_PASSES, random_addresses(list, four))
    bench("list_ip6", list, ADDRESS_PASSES, random_addresses(list, six))
end


-- ---- The machine -----------------------------------------------------------

local function calibrate()
    local x, start = 1, cpu_ns()
    for _ = 1, 2e7 do
        x = (x * 16807) % 2147483647
    end
    assert(x > 0)
    emit("list_calibration", (cpu_ns() - start) / 2e7)
end


-- Reads that wait for each other, of memory as large as the index of the ids.
local function calibrate_memory()
    local next_of, at = ffi.new("uint32_t[?]", READS), 0
    for i = 0, READS - 1 do
        next_of[i] = (i * 1664525 + 1013904223) % READS -- one cycle
    end
    local start = cpu_ns()
    for _ = 1, READS / 8 do
        at = next_of[at]
    end
    assert(at < READS)
    emit("list_memory", (cpu_ns() - start) / (READS / 8))
end


math.randomseed(1)
seckill.destroy(NAME)
calibrate()
calibrate_memory()
local engine = assert(seckill.open { name = NAME })
bench_ids(engine)
bench_networks(engine)
engine:close()
seckill.destroy(NAME)
