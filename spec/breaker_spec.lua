-- Circuit breakers through the facade: returns, codes, options, the JIT. The
-- clock is the real one: what is opened here is opened for ms, or for a day.

local lib = require "resty.seckill.lib"
local breaker = require "resty.seckill.breaker"
local seckill = require "resty.seckill"
local compiled = require "compiled"
local raised = require "raised"

local C = lib.C
local NAME = "breaker_spec"
local DAY = 86400


-- Until `seconds` have passed on the clock of the breakers.
local function wait(seconds)
    local until_ns = C.seckill_mono_now() + seconds * 1e9
    while C.seckill_mono_now() < until_ns do end
end


describe("breaker", function()
    local engine

    setup(function()
        seckill.destroy(NAME)
        engine = assert(seckill.open { name = NAME, capacity = {
            limit_keys = 64, breakers = 40, items = 4 } })
    end)

    teardown(function()
        engine:close()
        seckill.destroy(NAME)
    end)

    local count = 0
    local function new(opts)
        count = count + 1
        return assert(engine:breaker("b" .. count, opts))
    end

    local function call(brk, ok, latency)
        local permit = assert(brk:allow())
        return brk:report(permit, ok, latency)
    end

    it("opens at the ratio and says when to come again", function()
        local brk = new { min_calls = 4, error_ratio = 0.5, open = DAY }
        assert.equal("closed", brk:state())
        for i = 1, 4 do
            assert.is_true(call(brk, i % 2 == 0))
        end
        assert.equal("open", brk:state())
        local permit, code, retry_after = brk:allow()
        assert.is_nil(permit)
        assert.equal("open", code)
        assert.is_true(retry_after > 0.89 * DAY and retry_after <= 1.1 * DAY)
        local later = brk:stats().retry_after
        assert.is_true(later <= retry_after and later > retry_after - 60)
    end)

    it("probes, and closes when the probes are good", function()
        local brk = new { min_calls = 1, open = 0.005, probes = 2 }
        call(brk, false)
        assert.equal("open", brk:state())
        wait(0.006)
        local first, second = assert(brk:allow()), assert(brk:allow())
        assert.equal("half_open", brk:state())
        local none, code, retry_after = brk:allow()
        assert.is_nil(none)
        assert.equal("open", code)
        assert.is_true(retry_after > 9 and retry_after <= 10)
        assert.is_true(brk:report(first, true))
        assert.is_false(brk:report(first, true))
        assert.is_true(brk:report(second, true))
        assert.equal("closed", brk:state())
        assert.equal(1, brk:stats().closed)
    end)

    it("opens again when a probe fails, for longer", function()
        local brk = new { min_calls = 1, open = 0.005, probes = 2 }
        call(brk, false)
        wait(0.006)
        call(brk, false)
        assert.equal("open", brk:state())
        assert.equal(2, brk:stats().doublings)
        assert.equal(2, brk:stats().opened)
    end)

    it("counts a lost probe as failed", function()
        local brk = new { min_calls = 1, open = 0.005, probe_timeout = 0.005 }
        call(brk, false)
        wait(0.006)
        local lost = assert(brk:allow())
        wait(0.006)
        assert.equal("open", brk:state())
        assert.is_false(brk:report(lost, true))
        assert.equal(1, brk:stats().expired)
    end)

    it("takes a cancelled probe back", function()
        local brk = new { min_calls = 1, open = 0.005, probes = 1 }
        call(brk, false)
        wait(0.006)
        local probe = assert(brk:allow())
        assert.is_nil((brk:allow()))
        assert.is_true(brk:cancel(probe))
        assert.is_false(brk:cancel(probe))
        local again = assert(brk:allow())
        assert.not_equal(probe, again)
        assert.is_false(brk:report(probe, false))
        assert.is_true(brk:report(again, true))
        assert.equal("closed", brk:state())
    end)

    it("does not let old calls decide", function()
        local brk = new { min_calls = 1, open = 0.005, probes = 1 }
        local old = { assert(brk:allow()), assert(brk:allow()) }
        call(brk, false)
        wait(0.006)
        local probe = assert(brk:allow())
        assert.is_false(brk:report(old[1], true))
        assert.is_false(brk:report(old[2], false))
        assert.equal("half_open", brk:state())
        assert.equal(2, brk:stats().stale)
        assert.is_true(brk:report(probe, true))
    end)

    it("opens on slow calls and on failures in a row", function()
        local slow = new { min_calls = 2, slow_ratio = 0.5, slow = 0.1,
                           error_ratio = false }
        call(slow, true, 0.05)
        call(slow, true, 0.2)
        assert.equal("open", slow:state())
        local row = new { min_calls = 1000, consecutive = 3 }
        for _, ok in ipairs { false, false, true, false, false } do
            call(row, ok)
        end
        assert.equal("closed", row:state())
        call(row, false)
        assert.equal("open", row:state())
    end)

    it("can be switched by hand", function()
        local brk = new { min_calls = 1, open = 7 }
        assert.is_true(brk:force("open"))
        assert.equal("forced_open", brk:state())
        assert.same({ nil, "open", 7 }, { brk:allow() })
        assert.equal("open", brk:stats().forced)
        assert.is_true(brk:force("closed"))
        call(brk, false)
        assert.equal("closed", brk:state())
        assert.equal("closed", brk:stats().forced)
        assert.is_true(brk:force("disabled"))
        assert.is_false(call(brk, false))
        assert.equal("disabled", brk:state())
        assert.is_true(brk:force(nil))
        assert.is_nil(brk:stats().forced)
        assert.is_true(call(brk, true))
        for _, bad in ipairs { "half_open", "", 4, true, {} } do
            local message = raised(brk.force, brk, bad)
            assert.matches("state: \"open\"", message)
        end
    end)

    it("counts in shadow mode and refuses nothing", function()
        local brk = new { min_calls = 1, mode = "shadow", open = DAY }
        for _ = 1, 5 do
            call(brk, false)
        end
        assert.equal("open", brk:state())
        assert.equal(4, brk:stats().shadow)
        assert.equal(0, brk:stats().rejected)
        assert.equal(5, brk:stats().failed)
    end)

    it("changes for all who have it open", function()
        local a = new { min_calls = 100, open = DAY }
        local b = assert(engine:breaker(a.name))
        call(a, false)
        assert.is_true(b:set { min_calls = 2, ramp = 3, slow = 0.5 })
        assert.equal(2, a:get().min_calls)
        call(b, false)
        assert.equal("open", a:state())
        assert(engine:breaker(a.name, { error_ratio = false, ramp = 0,
                                        consecutive = 7 }))
        assert.same({ name = a.name, mode = "enforce", window = 10,
                      min_calls = 2, probes = 3, slow = 0.5, consecutive = 7,
                      open = DAY, probe_timeout = 10 }, b:get())
    end)

    it("names the option that is wrong, at the caller", function()
        local brk = new()
        local cases = {
            { { windo = 1 }, "unknown option \"windo\"" },
            { { window = "1" }, "option \"window\": number expected" },
            { { window = 0 }, "option \"window\": 0.01 to 86400" },
            { { window = -1 }, "option \"window\"" },
            { { window = 0 / 0 }, "option \"window\"" },
            { { window = math.huge }, "option \"window\"" },
            { { window = false }, "option \"window\": number expected" },
            { { min_calls = 0 }, "option \"min_calls\": integer of 1 to" },
            { { min_calls = 1.5 }, "option \"min_calls\"" },
            { { min_calls = 2 ^ 53 }, "option \"min_calls\"" },
            { { error_ratio = 1.1 }, "option \"error_ratio\": 0 to 1" },
            { { error_ratio = -1 }, "option \"error_ratio\"" },
            { { error_ratio = true }, "option \"error_ratio\"" },
            { { slow_ratio = 0.5 }, "option \"slow\": needed" },
            { { slow = 0 }, "option \"slow\"" },
            { { cpu = 80 }, "option \"cpu\": 0 to 1 expected, got 80" },
            { { consecutive = 0.5 }, "option \"consecutive\"" },
            { { consecutive = -1 }, "option \"consecutive\"" },
            { { open = 0 }, "option \"open\": 0.001 to 86400" },
            { { probes = 17 }, "option \"probes\": integer of 1 to 16" },
            { { ramp = -1 }, "option \"ramp\"" },
            { { probe_timeout = 1e9 }, "option \"probe_timeout\"" },
            { { mode = "off" }, "option \"mode\": \"enforce\" or" },
            { { mode = 1 }, "option \"mode\": string expected" },
        }
        local before = brk:get()
        for _, case in ipairs(cases) do
            for _, fn in ipairs {
                function() engine:breaker("never", case[1]) end,
                function() breaker.open(engine.handle, "never", case[1]) end,
                function() brk:set(case[1]) end,
            } do
                local message = raised(fn)
                assert.matches(case[2], message, 1, true)
            end
        end
        for _, case in ipairs(cases) do
            assert.matches("breaker_spec",
                           raised(function() brk:set(case[1]) end))
        end
        assert.same(before, brk:get())
        assert.matches("table expected", raised(brk.set, brk, 5))
        assert.matches("table expected",
                       raised(engine.breaker, engine, "x", 5))
        assert.matches("name: string expected",
                       raised(engine.breaker, engine, 5))
        assert.is_nil(engine:stats().breakers.never)
    end)

    it("answers wrong names", function()
        for _, bad in ipairs { "", "A", "a b", "a/b", "a\0b",
                               ("x"):rep(33) } do
            assert.same({ nil, "bad_name" }, { engine:breaker(bad) })
        end
    end)

    it("raises for what is not a permit of it", function()
        local a, b = new(), new()
        local permit = assert(b:allow())
        for _, bad in ipairs { 0, -1, 1.5, 0 / 0, math.huge, 2 ^ 53, 2 ^ 60,
                               "1", {}, true, permit, print } do
            assert.matches("permit of this breaker expected",
                           raised(a.report, a, bad, true))
            assert.matches("permit of this breaker expected",
                           raised(a.cancel, a, bad))
        end
        assert.matches("permit of this", raised(a.report, a, nil, true))
        assert.matches("latency: number expected, got string",
                       raised(b.report, b, permit, true, "1"))
        assert.equal(0, a:stats().calls)
        assert.is_true(b:report(permit, true))
    end)

    it("takes any number for a latency", function()
        local brk = new { slow = 1, error_ratio = false }
        for _, latency in ipairs { -1, 0, 0 / 0, math.huge, -math.huge, 1e300,
                                   0.5 } do
            assert.is_true(call(brk, true, latency))
        end
        assert.equal(2, brk:stats().slow)
    end)

    it("compiles", function()
        local brk = new { min_calls = 5, error_ratio = 0.3, open = 0.001,
                          probes = 1 }
        local function body(i)
            local permit = brk:allow()
            if permit and i % 7 == 0 then
                brk:cancel(permit)
            elseif permit then
                brk:report(permit, i % 3 ~= 0, i % 5 / 1000)
            end
            if brk:state() == "never" then
                error("never")
            end
        end
        compiled.check(body, 5000)
        assert.is_true(brk:stats().rejected > 0)
        assert.is_true(brk:stats().opened > 0)
    end)

    it("does not allocate for a call", function()
        local brk = new()
        local function run(n)
            for _ = 1, n do
                brk:report(brk:allow(), true, 0.001)
            end
        end
        run(1000)
        collectgarbage()
        collectgarbage("stop")
        local before = collectgarbage("count")
        run(100000)
        local grown = collectgarbage("count") - before
        collectgarbage("restart")
        assert.is_true(grown < 100, grown .. " KiB")
    end)

    it("is in stats and metrics, by name", function()
        local brk = new { min_calls = 1 }
        call(brk, false)
        brk:allow()
        local stats = engine:stats().breakers[brk.name]
        assert.equal("open", stats.state)
        assert.equal(1, stats.rejected)
        local text = engine:metrics()
        for _, line in ipairs { 'rejected_total{breaker="%s"} 1\n',
                                'failed_total{breaker="%s"} 1\n',
                                'state{breaker="%s"} 2\n' } do
            assert.matches("seckill_breaker_" .. line:format(brk.name), text,
                           1, true)
        end
    end)

    it("answers closed after close", function()
        local other = assert(seckill.open { name = NAME .. "2", capacity = {
            limit_keys = 64, items = 4, breakers = 1 } })
        other:close()
        assert.same({ nil, "closed" }, { other:breaker("a") })
        assert.same({ nil, "closed" }, { other:shedder("a") })
        seckill.destroy(NAME .. "2")
    end)

    -- Last: it uses up all breakers.
    it("is full at the capacity", function()
        local brk, code
        repeat
            count = count + 1
            brk, code = engine:breaker("b" .. count)
        until not brk
        assert.equal("full", code)
        assert.is_table(engine:breaker("b1"))
    end)
end)
