--- limits.lua - limits of this engine and, where there is a checkout, of
-- lua-resty-limit-traffic, in the same worker.
--
-- Handlers that read a user and an address from the request's headers: one that
-- does nothing with them, and one for each kind that asks three rules: user,
-- address, all. GET /fill?kind=K has the rules see each key once. Handlers of
-- one rule, for two workers under a flood.
--
-- GET /loops?of=WHAT answers with the time of single calls in a loop over keys
-- in a table, net of the loop; all of them are admitted. Ask for one WHAT in
-- the life of a worker: what was compiled, and the strings there are, decide
-- over a factor of two in the shared-dict modules.

local ffi = require("ffi")
local seckill = require("resty.seckill")


local C = ffi.C
local combine = seckill.combine
local exit = ngx.exit
local say = ngx.say
local tonumber = tonumber

ffi.cdef [[
typedef struct { long sec, nsec; } bench_time_t;
int clock_gettime(int clock, bench_time_t *time);
]]


local _M = {}

local THREAD_CPUTIME = 3
local clock = ffi.new("bench_time_t")

local USERS = 500000
local FIRST = 1000000 -- as in wrk_limits.lua
local LOOP = 1000000
-- Never used up, and so slow that a key stays in use for the whole run.
local RATE, BURST = 100, 1e9
local RATE_ALL = 1e7
local ANSWER = "{\"state\":\"reserved\"}"
local RATES = { 1000, 5000, 50000 }

local peer = os.getenv("SECKILL_LIMIT_TRAFFIC")
local traffic = peer and require("resty.limit.traffic")
local engine, ours, theirs
local flooded = { seckill = {}, resty = {} }
local three, states = {}, {}


local function new_limiter(name, opts)
    return assert(engine:limiter(name, opts))
end


local function new_peer(kind, ...)
    return assert(require("resty.limit." .. kind).new(...))
end


local function new_drop_in(kind, ...)
    return assert(require("resty.seckill.limit." .. kind).new(...))
end


-- One key has a dict of its own: a tree of half a million others would slow it
-- down.
local function open_peers()
    local function req(dict, rate)
        return new_peer("req", dict, rate, BURST)
    end
    theirs = {
        rules = { req("users", RATE), req("addresses", RATE),
                  req("all", RATE_ALL) },
        req_one = req("one_req", RATE),
        req_many = req("users", RATE),
        count_one = new_peer("count", "one_count", 1e9, 3600),
        count_many = new_peer("count", "counts", 1e9, 3600),
        conn = new_peer("conn", "one_conn", 100, 100, 0.01),
    }
end


local function open_flooded(rate, burst)
    local name = rate .. "/" .. burst
    flooded.seckill[name] = new_limiter("flood-" .. rate .. "-" .. burst, {
        algorithm = burst > 0 and "token_bucket" or "leaky_bucket",
        rate = rate, burst = burst,
    })
    if peer then
        flooded.resty[name] = new_peer("req", "all", rate, burst)
    end
end


--- Once, in init_by_lua*.
---@param name string
function _M.open(name)
    engine = assert(seckill.open { name = name,
                                   capacity = { limit_keys = 2 ^ 21 } })
    local function bucket(rule, rate)
        return new_limiter(rule, { algorithm = "token_bucket", rate = rate,
                                   burst = BURST })
    end
    ours = {
        rules = { bucket("user", RATE), bucket("address", RATE),
                  bucket("all", RATE_ALL) },
        bucket = bucket("bucket", RATE),
        window = new_limiter("window", { algorithm = "fixed_window",
                                         limit = 1e9, window = 3600 }),
        permits = new_limiter("permits", { algorithm = "concurrency",
                                           limit = 100 }),
    }
    if peer then
        open_peers()
    end
    for _, rate in ipairs(RATES) do
        open_flooded(rate, 0)
        open_flooded(rate, rate / 100)
    end
end


function _M.start()
    assert(engine:start())
end


function _M.close()
    engine:close()
end


-- ---- Handlers --------------------------------------------------------------

local function read_keys()
    local var = ngx.var
    local user, address = var.http_x_user, var.http_x_address
    if not user or not address then
        return exit(400)
    end
    return user, address
end


function _M.plain()
    read_keys()
    say(ANSWER)
end


function _M.seckill()
    three[1], three[2] = read_keys()
    three[3] = "all"
    if not combine(ours.rules, three) then
        return exit(429)
    end
    say(ANSWER)
end


function _M.resty()
    three[1], three[2] = read_keys()
    three[3] = "all"
    if not traffic.combine(theirs.rules, three, states) then
        return exit(429)
    end
    say(ANSWER)
end


--- One rule for everybody.
function _M.flood(kind, rate, burst)
    local rule = rate .. "/" .. burst
    exit(flooded[kind][rule]:incoming(rule, true) and 204 or 429)
end


function _M.fill()
    local rules, ask = ours.rules, combine
    if ngx.var.arg_kind == "resty" then
        rules, ask = theirs.rules, traffic.combine
    end
    for n = FIRST, FIRST + USERS - 1 do
        three[1], three[2], three[3] = "user-" .. n, "10." .. n, "all"
        assert(ask(rules, three))
    end
    say("filled")
end


-- ---- Loops -----------------------------------------------------------------

-- CPU time of this thread: others may have the core in between.
local function now()
    C.clock_gettime(THREAD_CPUTIME, clock)
    return tonumber(clock.sec) * 1e9 + tonumber(clock.nsec)
end


local function emit(name, ns)
    say(("{\"name\":\"loop_%s\",\"value\":%.6g,\"unit\":\"ns\"}")
        :format(name, ns))
end


-- Nanoseconds for each call of a method; a loop of its own for each, so that
-- each is compiled for what it calls.
local LOOP_TEXT = [[
local keys, passes, now, limiter, ticket, combine, leaving, three = ...
local count = #keys
local begin = now()
for _ = 1, passes do
    for i = 1, count do
        local key = keys[i]
        %s
    end
end
return (now() - begin) / (passes * count)
]]
local BODIES = {
    empty = "assert(#key > 0)",
    incoming = "assert(limiter:incoming(key, true))",
    ticket = [[
        assert(limiter:incoming(key, true, 1, ticket))
        limiter:leaving(ticket)
    ]],
    key = [[
        assert(limiter:incoming(key, true))
        limiter:leaving(key)
    ]],
    combine = [[
        three[1], three[2], three[3] = key, key, key
        assert(combine(limiter, three, ticket))
        leaving(ticket)
    ]],
    traffic = [[
        three[1], three[2], three[3] = key, key, key
        assert(combine(limiter, three, ticket))
        limiter[3]:leaving(key)
    ]],
}


local function time_loop(body, keys, passes, limiter, ticket, ask, leaving)
    local loop = assert(loadstring(LOOP_TEXT:format(BODIES[body])))
    loop(keys, 1, now, limiter, ticket, ask, leaving, three)
    return loop(keys, passes, now, limiter, ticket, ask, leaving, three)
end


-- Net of the loop.
local function loop_of(name, body, keys, limiter, ...)
    local passes = math.ceil(LOOP / #keys)
    emit(name, time_loop(body, keys, passes, limiter, ...)
               - time_loop("empty", keys, passes))
end


local function one_key()
    local keys = {}
    for i = 1, 1000 do
        keys[i] = "user-0000000"
    end
    return keys
end


-- Only when they are needed: strings in the VM slow down what makes strings.
local function many_keys()
    local keys = {}
    for i = 1, USERS do
        keys[i] = "user-" .. FIRST + i - 1
    end
    return keys
end


local LOOPS = {}


function LOOPS.bucket()
    loop_of("bucket_one", "incoming", one_key(), ours.bucket)
    loop_of("bucket_many", "incoming", many_keys(), ours.bucket)
end


function LOOPS.window()
    loop_of("window_one", "incoming", one_key(), ours.window)
    loop_of("window_many", "incoming", many_keys(), ours.window)
end


function LOOPS.permits()
    loop_of("permits_one", "ticket", one_key(), ours.permits, seckill.ticket())
end


function LOOPS.combine()
    loop_of("combine_one", "combine", one_key(),
            { ours.bucket, ours.window, ours.permits }, seckill.ticket(),
            combine, seckill.leaving)
end


function LOOPS.drop_in()
    local limiter = new_drop_in("req", "users", RATE, BURST)
    loop_of("drop_in_one", "incoming", one_key(), limiter)
    loop_of("drop_in_many", "incoming", many_keys(), limiter)
end


function LOOPS.drop_in_traffic()
    loop_of("drop_in_traffic_one", "traffic", one_key(), {
        new_drop_in("req", "one_req", RATE, BURST),
        new_drop_in("count", "one_count", 1e9, 3600),
        new_drop_in("conn", "one_conn", 100, 100, 0.01),
    }, states, require("resty.seckill.limit.traffic").combine)
end


function LOOPS.req()
    loop_of("req_one", "incoming", one_key(), theirs.req_one)
    loop_of("req_many", "incoming", many_keys(), theirs.req_many)
end


function LOOPS.count()
    loop_of("count_one", "incoming", one_key(), theirs.count_one)
    loop_of("count_many", "incoming", many_keys(), theirs.count_many)
end


function LOOPS.conn()
    loop_of("conn_one", "key", one_key(), theirs.conn)
end


function LOOPS.traffic()
    loop_of("traffic_one", "traffic", one_key(),
            { theirs.req_one, theirs.count_one, theirs.conn }, states,
            traffic.combine)
end


--- GET /loops?of=WHAT
function _M.loops()
    LOOPS[ngx.var.arg_of]()
end


return _M
