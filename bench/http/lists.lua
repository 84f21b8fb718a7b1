--- lists.lua - access lists in workers of nginx, and the shared dict that is
-- used instead.
--
-- GET /match looks the user of the request's header up in a list of a million
-- ids, in which all users are. Another list, of as many, is the one whose
-- replacement is timed: where there is more than one worker, each of them looks
-- "marker-1" up every millisecond, until it is in there, then "marker-2" ...
-- GET /seen?n=N waits for all workers and answers with the times.
--
-- GET /loops answers with the time of single lookups in list and dict, in a
-- loop over keys in a table, net of the loop. Ask once in the life of a worker:
-- what was compiled before changes such figures.

local ffi = require("ffi")
local seckill = require("resty.seckill")


local C = ffi.C
local exit = ngx.exit
local say = ngx.say
local sleep = ngx.sleep
local tonumber = tonumber

ffi.cdef [[
typedef struct { long sec, nsec; } bench_time_t;
int clock_gettime(int clock, bench_time_t *time);
]]


local _M = {}

local MONOTONIC, THREAD_CPUTIME = 1, 3
local clock = ffi.new("bench_time_t")

local FIRST, LISTED = 1000000, 1000000 -- as in lists.sh
local PASSES = 2
local WAIT = 30 -- seconds
local STEP = 0.001
-- Nothing is loaded while the generations stay for so many seconds.
local QUIET = 1
local ANSWER = "{\"state\":\"listed\"}"

local ids, dict, seen = nil, ngx.shared.ids, ngx.shared.seen
local engine, fresh, path


local function read_clock(number)
    C.clock_gettime(number, clock)
    return tonumber(clock.sec) * 1e9 + tonumber(clock.nsec)
end


local function open_list(name, settle)
    local list, code, detail = engine:access_list(name, {
        kind = "id", file = path .. name, settle = settle,
    })
    return assert(list, detail or code)
end


--- Once, in init_by_lua*.
---@param name string
---@param dir string
function _M.open(name, dir)
    path = dir .. "/list."
    engine = assert(seckill.open { name = name })
    ids = open_list("ids")
    fresh = open_list("fresh", STEP)
end


local function look_for_markers(premature)
    local n, worker = 1, ngx.worker.id()
    while not premature and not ngx.worker.exiting() do
        if fresh:match("marker-" .. n) then
            assert(seen:set(n .. "-" .. worker, read_clock(MONOTONIC)))
            n = n + 1
        end
        sleep(STEP)
    end
end


function _M.start()
    assert(engine:start())
    if ngx.worker.count() > 1 then
        assert(ngx.timer.at(0, look_for_markers))
    end
end


function _M.close()
    engine:close()
end


-- ---- Handlers --------------------------------------------------------------

function _M.match()
    if not ids:match(ngx.var.http_x_user) then
        return exit(500)
    end
    say(ANSWER)
end


local function wait_for(key)
    for _ = 1, WAIT / STEP do
        local value = seen:get(key)
        if value then
            return value
        end
        sleep(STEP)
    end
    exit(504)
end


--- GET /seen?n=N: when the workers saw marker N, in ns, a line for each.
function _M.seen()
    for worker = 0, ngx.worker.count() - 1 do
        say(("%.0f"):format(wait_for(ngx.var.arg_n .. "-" .. worker)))
    end
end


local function generations()
    return fresh:stats().generation, ids:stats().generation
end


--- GET /quiet: waits until nothing is being loaded, and answers how often the
--- list of /match was.
function _M.quiet()
    local before, before_ids = generations()
    local since = ngx.now()
    while ngx.now() - since < QUIET do
        sleep(QUIET / 10)
        local now, now_ids = generations()
        if now ~= before or now_ids ~= before_ids then
            before, before_ids, since = now, now_ids, ngx.now()
        end
    end
    say(before_ids)
end


-- ---- Loops -----------------------------------------------------------------

local function emit(name, value, unit)
    say(("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}")
        :format(name, value, unit or "ns"))
end


-- As people do it at the start of nginx.
local function fill_dict()
    local start = read_clock(MONOTONIC)
    for id in io.lines(path .. "ids") do
        assert(dict:safe_set(id, true))
    end
    emit("lists_dict_load", (read_clock(MONOTONIC) - start) / 1e9, "s")
    emit("lists_dict_bytes", (dict:capacity() - dict:free_space()) / LISTED,
         "bytes")
end


-- Half of them are listed.
local function random_keys()
    local keys, listed = {}, 0
    math.randomseed(1)
    for i = 1, LISTED do
        local n = math.random(0, 2 * LISTED - 1)
        listed = listed + (n < LISTED and 1 or 0)
        keys[i] = "user-" .. FIRST + n
    end
    return keys, listed
end


-- A loop of its own for each, so that each is compiled for what it calls.
local LOOP_TEXT = [[
local keys, passes, now, of = ...
local found, start = 0, now(3)
for _ = 1, passes do
    for i = 1, #keys do
        %s
    end
end
return (now(3) - start) / (passes * #keys), found / passes
]]
local BODIES = {
    list = "if of:match(keys[i]) then found = found + 1 end",
    dict = "if of:get(keys[i]) then found = found + 1 end",
    empty = "found = found + #keys[i]",
}
assert(THREAD_CPUTIME == 3, "the clock of the loops")


local function time_loop(body, keys, of)
    local loop = assert(loadstring(LOOP_TEXT:format(BODIES[body])))
    loop(keys, 1, read_clock, of) -- compiles it
    return loop(keys, PASSES, read_clock, of)
end


local function loop_of(body, keys, of, listed)
    local whole, found = time_loop(body, keys, of)
    assert(found == listed, "wrong answers")
    emit("lists_" .. body, whole - time_loop("empty", keys))
end


--- GET /loops
function _M.loops()
    emit("lists_load", ids:stats().load_seconds, "s")
    fill_dict()
    local keys, listed = random_keys()
    collectgarbage()
    loop_of("list", keys, ids, listed)
    loop_of("dict", keys, dict, listed)
end


return _M
