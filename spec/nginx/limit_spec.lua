-- Limits in a real nginx: two workers at their limit under a flood of wrk, also
-- while they are reloaded and killed; what restarts, crashes and lost memory
-- leave of a limit; a client that does as Retry-After says.
--
-- The workers note each call with its times (admissions.lua), and the bound is
-- checked for every interval between two admissions, not only for the whole
-- run. A bucket that is full while nobody asks loses tokens, so the lower bound
-- needs a machine that asks often enough: whether it did follows from the same
-- records. Where it did not, the run is repeated, and in the end it fails.

local admissions = require "spec.nginx.admissions"
local harness = require "spec.nginx.harness"
local process = require "spec.nginx.process"
local seckill = require "resty.seckill"
local socket = require "socket"

local ffi = require "ffi"

local FULL = os.getenv("SECKILL_FULL") == "1"
local SECONDS = FULL and 6 or 3
local LEAKY_SECONDS = FULL and 6 or 1
local TRIES = FULL and 20 or 10
local WORKERS = 2
local CONNECTIONS = 64
local RATES = { 1000, 5000, 50000 }
-- Calls in a request: wrk shares the cores with the workers.
local ASKS = { [1000] = 1, [5000] = 1, [50000] = 4 }
local KILLS = FULL and 25 or 5
local RELOADS = FULL and 10 or 3
local PERMITS = 8
local CLIENTS = 40
local NAME = "spec_limit_" .. harness.free_port()
-- Arithmetic in doubles, of an hour of nanoseconds.
local EPSILON = 1e-3
-- Of the rate: what must be admitted, and what the machine must have asked for
-- before less is held against the limiter.
local LEAST, ASKED = 0.995, 0.9965

local INIT = [[
local seckill = require("resty.seckill")
local engine = assert(seckill.open { name = "${name}", user = "root",
                                     dir = ${dir} })
local admissions = require("spec.nginx.admissions")
local shop = { engine = engine, seckill = seckill, limiters = {} }
package.loaded.shop = shop
local runs = {}
local function limiter(name, opts)
    shop.limiters[name] = assert(engine:limiter(name, opts))
end
-- The records of this worker in a run.
function shop.log(run)
    local log = runs[run]
    if not log then
        log = admissions.log("${notes}", run)
        runs[run] = log
    end
    return log
end
function shop.say(...)
    local text = table.concat({ ... }, " ")
    ngx.header.content_length = #text
    ngx.print(text)
end
${limiters}
]]

local SERVER = [[
location = /take { content_by_lua_block {
    local shop, var = require("shop"), ngx.var
    local run, admitted = var.arg_run, false
    local limiter, log = shop.limiters[var.arg_limiter], shop.log(run)
    for _ = 1, tonumber(var.arg_asks) do
        local i = log:enter()
        local delay = limiter:incoming(run)
        log:leave(i, delay)
        admitted = admitted or delay
    end
    ngx.exit(admitted and 204 or 429)
} }
location = /ask { content_by_lua_block {
    local shop, var = require("shop"), ngx.var
    local delay, code, retry = shop.limiters[var.arg_limiter]
                                   :incoming(var.arg_key)
    if delay then
        return shop.say("admitted", code)
    end
    ngx.status = 429
    ngx.header["Retry-After"] = math.ceil(retry)
    shop.say(code, retry)
} }
]]


local function say(...)
    io.write("\n# ", string.format(...), "\n") -- behind the dots of busted
end


local function output_of(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read("*a")
    pipe:close()
    return (text:gsub("%s+$", ""))
end


local function remove_segment()
    os.execute("rm -rf /dev/shm/seckill." .. NAME .. " /dev/shm/seckill."
               .. NAME .. ".d*")
end


local function token_bucket(name, rate, burst)
    return ([[ limiter(%q, { algorithm = "token_bucket", rate = %.17g,
                             burst = %g }) ]]):format(name, rate, burst)
end


local function leaky_bucket(name, rate)
    return ([[ limiter(%q, { algorithm = "leaky_bucket", rate = %g }) ]])
        :format(name, rate)
end


local HOURLY = token_bucket("hourly", 1 / 3600, 1)

local PERMITS_LIMITER = ([[
limiter("permits", { algorithm = "concurrency", limit = %d })
]]):format(PERMITS)

-- /hold: a permit until the flag of this name is set. /free: takes what there
-- is, gives it back, and says how many it were. /work: a permit for a moment.
local PERMITS_SERVER = [[
location = /hold { content_by_lua_block {
    local shop, t = require("shop"), require("shop").seckill.ticket()
    local permits = shop.limiters.permits
    local delay, code = permits:incoming("job", true, 1, t)
    ngx.say(delay and "held" or code, " ", ngx.worker.pid())
    ngx.flush(true)
    while delay and not ngx.shared.flags:get(ngx.var.arg_flag) do
        ngx.sleep(0.005)
    end
    ngx.say(tostring(permits:leaving(t)))
} }
location = /free { content_by_lua_block {
    local shop, held = require("shop"), {}
    local permits = shop.limiters.permits
    local delay
    repeat
        held[#held + 1] = shop.seckill.ticket()
        delay = permits:incoming("job", true, 1, held[#held])
    until not delay
    for i = 1, #held - 1 do
        assert(permits:leaving(held[i]))
    end
    shop.say(#held - 1)
} }
location = /set { content_by_lua_block {
    assert(ngx.shared.flags:set(ngx.var.arg_flag, true))
    require("shop").say("ok")
} }
location = /work { content_by_lua_block {
    local shop, t = require("shop"), require("shop").seckill.ticket()
    local log, permits = shop.log(ngx.var.arg_run), shop.limiters.permits
    if not permits:incoming(ngx.var.arg_run, true, 1, t) then
        return ngx.exit(429)
    end
    local i = log:enter()
    ngx.sleep(0.001)
    log:leave(i, true)
    permits:leaving(t)
    ngx.exit(204)
} }
]]


-- Records as a worker would make them: { seconds, admitted }.
local function made_up(calls)
    local records = ffi.new("spec_admission_t[?]", #calls)
    for i, call in ipairs(calls) do
        records[i - 1].from_ns = 1e9 + call[1] * 1e9
        records[i - 1].took_ns = 1000
        records[i - 1].verdict = call[2] and admissions.ADMITTED
                                 or admissions.REFUSED
    end
    return admissions.tally { records = records, count = #calls }
end


describe("what is reckoned from calls", function()
    -- A call each ms for a second, at 100/s and a burst of 5.
    local function calls(admit)
        local list, level = {}, 5
        for ms = 0, 1000 do
            level = math.min(5, level + 0.1)
            list[#list + 1] = { ms / 1000, admit(ms, level) }
            level = list[#list][2] and level - 1 or level
        end
        return made_up(list)
    end

    local function exact(_, level)
        return level >= 1 - EPSILON
    end

    it("takes an exact limiter as one", function()
        local list = calls(exact)
        assert.equal(105, list.admitted)
        assert.equal(105, admissions.ideal(list, 100, 5))
        local excess = admissions.excess(list, 100)
        assert.is_true(excess > 4.8 and excess <= 5, tostring(excess))
    end)

    it("notices one admission too many in the middle", function()
        local list = calls(function(ms, level)
            return exact(ms, level) or ms == 501
        end)
        assert.is_true(admissions.excess(list, 100) > 5.8)
    end)

    it("notices a second burst after silence", function()
        local list = {}
        for i = 0, 9 do
            list[i + 1] = { (i < 5 and 0 or 0.02) + i * 1e-6, true }
        end
        local excess = admissions.excess(made_up(list), 100)
        assert.is_true(excess > 7.9, tostring(excess))
    end)

    it("tells a limiter that admits too little from a slow machine", function()
        local list = calls(function(ms, level)
            return exact(ms, level) and ms % 20 == 0
        end)
        assert.is_true(list.admitted < 60)
        assert.equal(105, admissions.ideal(list, 100, 5))
        local few = {}
        for i = 0, 10 do
            few[i + 1] = { i / 10, true }
        end
        assert.equal(11, admissions.ideal(made_up(few), 100, 5))
    end)

    it("counts what is open at one time", function()
        local records = ffi.new("spec_admission_t[4]", {
            { 1000, 500, 2 }, { 1100, 100, 2 }, { 1150, 10, 2 },
            { 1300, 0, 0 },
        })
        assert.equal(3, admissions.overlap { records = records, count = 4 })
    end)
end)


describe("limits in nginx", function()
    local server, notes, wrk
    local runs = 0

    before_each(function()
        notes = output_of("mktemp -d")
        runs = 0
    end)

    -- `limiters` is Lua for init_by_lua; more: { server, http, dir, listen }.
    local function start(limiters, more)
        more = more or {}
        local fill = {
            name = NAME, notes = notes, limiters = limiters,
            dir = more.dir and ("%q"):format(more.dir) or "nil",
        }
        server = harness.start {
            workers = WORKERS, log_level = "notice",
            env = { SECKILL_LIB = os.getenv("SECKILL_LIB") },
            init = INIT:gsub("%${(%w+)}", fill), http = more.http,
            init_worker = [[ assert(require("shop").engine:start()) ]],
            exit_worker = [[ require("shop").engine:close() ]],
            server = SERVER .. (more.server or ""), listen = more.listen,
        }
    end

    local function stop(allow)
        assert.is_true(server:stop())
        server:assert_clean_log(allow)
        assert.is_nil(server:error_log():find("[error]", 1, true))
        server:cleanup()
        server = nil
    end

    after_each(function()
        if wrk and not process.ended(wrk) then
            process.kill(wrk, "KILL")
            harness.wait(function() return process.ended(wrk) end)
        end
        wrk = nil
        if server then
            server:stop()
            server:cleanup()
        end
        server = nil
        os.execute("rm -rf '" .. notes .. "'")
        remove_segment()
    end)

    -- ---- The flood ---------------------------------------------------------

    -- A name for the run, which is also the key: each run has a full bucket.
    local function begin_run(limiter, seconds, asks, path)
        runs = runs + 1
        local run = limiter .. "-" .. runs
        wrk = process.spawn({
            output_of("command -v wrk"), "-t1", "-c" .. CONNECTIONS,
            "-d" .. seconds .. "s",
            ("http://127.0.0.1:%d%s?limiter=%s&run=%s&asks=%d")
                :format(server.port, path or "/take", limiter, run, asks),
        }, notes .. "/wrk.log")
        return run
    end

    local function end_run(run, seconds)
        local status
        assert(harness.wait(function()
            local ended
            ended, status = process.ended(wrk)
            return ended
        end, seconds + 20), "wrk does not end")
        wrk = nil
        assert.equal(0, status, process.slurp(notes .. "/wrk.log"))
        local list = admissions.read(notes, run)
        os.execute("rm -f '" .. notes .. "/" .. run .. "'.*")
        return list
    end

    -- No interval has more than its limit.
    local function assert_bound(list, rate, most)
        assert.is_true(list.admitted > 0)
        assert.is_true(list.admitted <= rate * list.seconds + most + EPSILON,
                       ("%d admitted in %.6f s"):format(list.admitted,
                                                        list.seconds))
        local excess = admissions.excess(list, rate)
        assert.is_true(excess <= most + EPSILON,
                       ("%.3f over the rate, %g are allowed")
                       :format(excess, most))
        return excess
    end

    -- What the calls as they came must get of an exact limiter. It decides a
    -- little later than it is asked, which matters where nothing is saved up.
    local function assert_not_less_than_ideal(list, rate, burst)
        local ideal = admissions.ideal(list, rate, burst)
        assert.is_true(list.admitted >= ideal * (burst > 1 and 0.9975 or 0.98)
                                        - 1,
                       ("%d admitted, an ideal limiter admits %d")
                       :format(list.admitted, ideal))
        return ideal
    end

    local function flood(limiter, seconds, asks)
        return end_run(begin_run(limiter, seconds, asks), seconds)
    end

    -- Repeat until the machine asked often enough all the time.
    local function saturated(limiter, rate, burst)
        local asked
        for try = 1, TRIES do
            local list = flood(limiter, SECONDS, ASKS[rate])
            local excess = assert_bound(list, rate, burst)
            local ideal = assert_not_less_than_ideal(list, rate, burst)
            asked = ideal / (rate * list.seconds)
            if asked >= ASKED and list.processes == WORKERS then
                return list, excess, try
            end
        end
        error(("the machine is too busy: in none of %d runs it asked for "
               .. "more than %.2f %% of the rate")
              :format(TRIES, 100 * asked))
    end

    for _, rate in ipairs(RATES) do
        local burst = rate / 100

        it("hold in two workers at their limit: " .. rate .. "/s", function()
            start(token_bucket("token", rate, burst))
            local list, excess, tries = saturated("token", rate, burst)
            local product = rate * list.seconds
            assert.is_true(list.admitted >= LEAST * product)
            say("token_bucket %d/s, burst %d: %d calls in %.3f s, %d "
                .. "admitted of %.1f to %.1f (%.4f of rate x time), at most "
                .. "%.2f over the rate in any interval, run %d", rate, burst,
                list.count, list.seconds, list.admitted, LEAST * product,
                product + burst, list.admitted / product, excess, tries)
            stop()
        end)
    end

    for _, rate in ipairs(RATES) do
        it("never exceed a rate without burst: " .. rate .. "/s", function()
            start(leaky_bucket("leaky", rate))
            local list = flood("leaky", LEAKY_SECONDS, 1)
            local excess = assert_bound(list, rate, 1)
            local ideal = assert_not_less_than_ideal(list, rate, 1)
            local product = rate * list.seconds
            say("leaky_bucket %d/s, burst 0: %d calls in %.3f s, %d admitted "
                .. "of %.1f, %.2f %% less (an ideal one: %.2f %% less), at "
                .. "most %.3f over the rate in any interval", rate,
                list.count, list.seconds, list.admitted, product + 1,
                100 - 100 * list.admitted / product,
                100 - 100 * ideal / product, excess)
            stop()
        end)
    end

    -- ---- While it runs -----------------------------------------------------

    -- Each time `step` more calls are noted, `fn` is done.
    local function meanwhile(run, times, step, fn)
        for i = 1, times do
            assert(harness.wait(function()
                return admissions.count(notes, run) >= i * step
                       and #server:workers() == WORKERS
            end, 20), "the flood has dried up")
            fn()
        end
    end

    it("hold while nginx is reloaded", function()
        local rate, seconds = 5000, 1 + RELOADS
        start(token_bucket("token", rate, rate / 100))
        local run = begin_run("token", seconds, 1)
        meanwhile(run, RELOADS, 10000, function()
            assert(server:kill(server.pid, "HUP"))
        end)
        local list = end_run(run, seconds)
        local excess = assert_bound(list, rate, rate / 100)
        assert_not_less_than_ideal(list, rate, rate / 100)
        assert.equal(0, list.by[admissions.UNKNOWN])
        assert.is_true(list.processes >= WORKERS * (RELOADS + 1) - 1)
        say("%d reloads: %d calls of %d workers, %d admitted in %.3f s, at "
            .. "most %.2f over the rate in any interval (burst %d)", RELOADS,
            list.count, list.processes, list.admitted, list.seconds, excess,
            rate / 100)
        stop()
    end)

    it("hold while workers are killed", function()
        local rate, seconds = 5000, 2 + math.ceil(KILLS / 4)
        local seed = tonumber(os.getenv("SECKILL_SEED")) or 1
        math.randomseed(seed)
        start(token_bucket("token", rate, rate / 100))
        local run = begin_run("token", seconds, 1)
        meanwhile(run, KILLS, 5000, function()
            local pids = server:workers()
            assert(server:kill(pids[math.random(#pids)], "KILL"))
        end)
        local list = end_run(run, seconds)
        server:wait_workers()
        local excess = assert_bound(list, rate, rate / 100)
        assert_not_less_than_ideal(list, rate, rate / 100)
        assert.is_true(list.by[admissions.UNKNOWN] <= KILLS)
        say("seed %d: %d workers killed, %d of them within a call: %d calls, "
            .. "%d admitted in %.3f s, at most %.2f over the rate in any "
            .. "interval (burst %d)", seed, KILLS,
            list.by[admissions.UNKNOWN], list.count, list.admitted,
            list.seconds, excess, rate / 100)
        stop { "exited on signal 9" }
    end)

    -- ---- What is kept ------------------------------------------------------

    -- On a connection of its own: no worker that died has it.
    local function get(path)
        local client = server:client()
        local res = assert(client:request("GET", path))
        client:close()
        return res
    end

    local function ask(limiter, key)
        local res = get(("/ask?limiter=%s&key=%s"):format(limiter, key))
        local word, rest = res.body:match("^(%S+) (%S+)$")
        return word, tonumber(rest), res.headers["retry-after"]
    end

    local function assert_denied_for_an_hour(key)
        local word, retry = ask("hourly", key)
        assert.equal("rejected", word)
        assert.is_true(retry > 3500 and retry <= 3600, tostring(retry))
    end

    it("keep a denial through reload, crash and restart", function()
        start(HOURLY)
        assert.equal("admitted", (ask("hourly", "alice")))
        assert_denied_for_an_hour("alice")
        server:reload()
        assert_denied_for_an_hour("alice")
        for _, pid in ipairs(server:workers()) do
            assert(server:kill(pid, "KILL"))
            assert(harness.wait(function() return not process.alive(pid) end))
        end
        server:wait_workers()
        assert_denied_for_an_hour("alice")
        for _ = 1, 3 do
            stop { "exited on signal 9" }
            start(HOURLY)
            assert_denied_for_an_hour("alice")
        end
        assert.equal("admitted", (ask("hourly", "bob")))
        stop()
    end)

    it("begin spent when the segment is rebuilt from the log", function()
        local dir = notes .. "/ledger"
        local limiters = HOURLY .. token_bucket("quick", 1000, 10)
        start(limiters, { dir = dir })
        assert.equal("admitted", (ask("hourly", "alice")))
        stop()
        start(limiters, { dir = dir })
        assert.equal("admitted", (ask("hourly", "bob")))
        stop()
        assert(seckill.destroy(NAME))
        start(limiters, { dir = dir })
        for _, key in ipairs { "alice", "bob", "carol" } do
            assert_denied_for_an_hour(key)
        end
        -- What refills soon is there soon, from nothing upwards.
        assert(harness.wait(function()
            return (ask("quick", "alice")) == "admitted"
        end))
        stop()
    end)

    -- ---- Retry-After -------------------------------------------------------

    it("admit who comes again when Retry-After says", function()
        start(token_bucket("paced", 1, 2))
        local wait, asked = 0, 0
        for i = 1, CLIENTS do
            assert.equal("admitted", (ask("paced", "client" .. i)))
            assert.equal("admitted", (ask("paced", "client" .. i)))
            local word, retry, header = ask("paced", "client" .. i)
            assert.equal("rejected", word)
            assert.is_true(tonumber(header) >= retry)
            wait = math.max(wait, tonumber(header))
        end
        for _ = 1, 2 do
            socket.sleep(wait)
            for i = 1, CLIENTS do
                assert.equal("admitted", (ask("paced", "client" .. i)))
                asked = asked + 1
            end
        end
        say("%d of %d clients that obeyed Retry-After were admitted", asked,
            asked)
        stop()
    end)

    -- ---- Permits -----------------------------------------------------------

    -- reuseport: both workers get connections, also when there are few.
    local function start_permits()
        start(PERMITS_LIMITER, { server = PERMITS_SERVER,
                                 http = "lua_shared_dict flags 64k;",
                                 listen = "reuseport" })
    end

    local function free()
        return tonumber(get("/free").body)
    end

    -- A request that holds a permit: its connection and its worker.
    local function hold(flag)
        local client = server:client()
        assert(client:send("GET /hold?flag=" .. flag
                           .. " HTTP/1.1\r\nHost: spec\r\n\r\n"))
        local pid
        repeat
            local line = assert(client.sock:receive("*l"))
            pid = line:match("^held (%d+)$")
            assert.is_nil(line:match("^rejected"))
        until pid
        return client, tonumber(pid)
    end

    -- The answer of a request whose flag is set.
    local function ends(client)
        local line
        repeat
            line = assert(client.sock:receive("*l"))
        until line == "true" or line == "false"
        client:close()
        return line == "true"
    end

    it("return the permits of a killed worker within 2 s", function()
        start_permits()
        assert.equal(PERMITS, free())
        local clients, by = {}, {}
        for i = 1, PERMITS do
            local client, pid = hold("late")
            clients[i] = { client = client, pid = pid }
            by[pid] = (by[pid] or 0) + 1
        end
        assert.equal(0, free())
        local victim = clients[1].pid
        for pid, count in pairs(by) do
            victim = count > by[victim] and pid or victim
        end
        local seconds = socket.gettime()
        assert(server:kill(victim, "KILL"))
        assert(harness.wait(function() return free() == by[victim] end, 2),
               "permits are missing")
        seconds = socket.gettime() - seconds
        server:wait_workers()
        assert.equal(by[victim], free())
        get("/set?flag=late")
        for _, held in ipairs(clients) do
            if held.pid ~= victim then
                assert.is_true(ends(held.client))
            end
        end
        assert.equal(PERMITS, free())
        say("%d permits of a killed worker were back after %.0f ms, %d of "
            .. "another one were kept", by[victim], 1000 * seconds,
            PERMITS - by[victim])
        stop { "exited on signal 9" }
    end)

    it("keep the permit of a long request through reloads", function()
        start_permits()
        local client, pid = hold("end")
        for _ = 1, 3 do
            local old = server:workers()
            assert(server:kill(server.pid, "HUP"))
            assert(harness.wait(function()
                local new = server:workers()
                return #new >= WORKERS and new[#new] ~= old[#old]
            end))
            assert.equal(PERMITS - 1, free())
        end
        assert.is_true(process.alive(pid))
        get("/set?flag=end")
        assert.is_true(ends(client))
        assert.equal(PERMITS, free())
        assert(harness.wait(function() return not process.alive(pid) end))
        assert.equal(PERMITS, free())
        stop()
    end)

    it("never have more permits out while workers are killed", function()
        local seconds = 2 + math.ceil(KILLS / 4)
        start_permits()
        local run = begin_run("permits", seconds, 1, "/work")
        meanwhile(run, KILLS, 200, function()
            local pids = server:workers()
            assert(server:kill(pids[math.random(#pids)], "KILL"))
        end)
        local list = end_run(run, seconds)
        server:wait_workers()
        local most = admissions.overlap(list)
        assert.is_true(most <= PERMITS)
        assert.equal(PERMITS, most)
        say("%d workers killed: %d permits given, %d of them lost with their "
            .. "worker, at most %d at one time (limit %d)", KILLS,
            list.count, list.by[admissions.UNKNOWN], most, PERMITS)
        stop { "exited on signal 9" }
    end)
end)
