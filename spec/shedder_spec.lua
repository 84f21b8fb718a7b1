-- Load shedding through the facade: returns, codes, options, the JIT. What
-- depends on the CPU is proven in C (csrc/test/shed_test.c).

local ffi = require "ffi"
local lib = require "resty.seckill.lib"
local seckill = require "resty.seckill"
local compiled = require "compiled"
local raised = require "raised"

local C = lib.C
local NAME = "shedder_spec"


describe("shedder", function()
    local engine

    setup(function()
        seckill.destroy(NAME)
        engine = assert(seckill.open { name = NAME, capacity = {
            limit_keys = 64, shedders = 20, items = 4 } })
    end)

    teardown(function()
        engine:close()
        seckill.destroy(NAME)
    end)

    local count = 0
    local function new(opts)
        count = count + 1
        return assert(engine:shedder("s" .. count, opts))
    end

    it("keeps to max_inflight", function()
        local shed = new { max_inflight = 2, cool = 3 }
        local first = assert(shed:admit())
        assert(shed:admit(3))
        assert.same({ nil, "overloaded", 3 }, { shed:admit(3) })
        assert.same({ nil, "overloaded", 3 }, { shed:admit() })
        assert.is_true(shed:done(first))
        assert(shed:admit(0))
        local stats = shed:stats()
        assert.same({ [0] = 1, 0, 1, 1 }, stats.admitted)
        assert.same({ [0] = 0, 0, 1, 1 }, stats.shed)
        assert.same({ [0] = 1, 0, 0, 1 }, stats.inflight)
        assert.equal(1, stats.succeeded)
    end)

    it("measures the latency, or takes it", function()
        local shed = new()
        local permit = assert(shed:admit())
        local until_ns = C.seckill_mono_now() + 2000000
        while C.seckill_mono_now() < until_ns do end
        shed:done(permit)
        assert.is_true(shed:stats().min_rt >= 0.0019)
        local other = new()
        other:done(assert(other:admit()), true, 0.25)
        assert.is_true(math.abs(other:stats().min_rt - 0.25) < 0.001)
        other:done(assert(other:admit()), false, 0.01)
        assert.is_true(math.abs(other:stats().min_rt - 0.25) < 0.001)
        assert.equal(1, other:stats().failed)
        other:cancel(assert(other:admit()))
        assert.equal(0, other:stats().inflight[2])
        assert.equal(1, other:stats().succeeded)
    end)

    it("ends a request once", function()
        local shed = new { max_inflight = 1 }
        local permit = assert(shed:admit())
        assert.is_true(shed:cancel(permit))
        assert.is_false(shed:done(permit))
        assert.is_false(shed:cancel(permit))
    end)

    it("counts in shadow mode and refuses nothing", function()
        local shed = new { max_inflight = 1, mode = "shadow" }
        for _ = 1, 5 do
            assert(shed:admit())
        end
        assert.equal(4, shed:stats().shadow)
        assert.equal(5, shed:stats().inflight[2])
    end)

    it("sees the CPU when the engine runs", function()
        local shed = new()
        assert.is_nil(shed:stats().cpu)
        assert(shed:admit())
        assert.is_true(shed:stats().stale > 0)
        assert(engine:start())
        local until_ns = C.seckill_mono_now() + 20 * 1000000000ULL
        local event = ffi.new("seckill_event_t[1]")
        while not shed:stats().cpu and C.seckill_mono_now() < until_ns do
            C.seckill_cq_wait(engine.handle, 20)
            C.seckill_cq_pop(engine.handle, event, 1)
        end
        local stats = shed:stats()
        assert.is_true(stats.cpu >= 0 and stats.cpu <= 1)
        assert.is_true(stats.cpu_age >= 0 and stats.cpu_age < 2)
        assert.matches("seckill_cpu_share ", engine:metrics(), 1, true)
        engine:stop()
    end)

    it("changes for all who have it open", function()
        local a = new { max_inflight = 5 }
        local b = assert(engine:shedder(a.name))
        assert.is_true(b:set { cpu_high = 0.5, reserve = { [0] = 0.2 } })
        assert(engine:shedder(a.name, { max_inflight = false, window = 10 }))
        local numbers = a:get()
        assert.is_true(math.abs(numbers.cpu_low - 0.45) < 1e-9)
        numbers.cpu_low = nil
        assert.same({ name = a.name, mode = "enforce", cpu_high = 0.5,
                      cool = 1, window = 10,
                      reserve = { [0] = 0.2, 0.1, 0.1 } }, numbers)
        assert.is_true(b:set { cpu_high = false })
        assert.is_nil(a:get().cpu_high)
    end)

    it("keeps a cpu_low that was given, also 0", function()
        local shed = new { cpu_low = 0 }
        assert.is_true(shed:get().cpu_low < 1e-6)
        assert.is_true(shed:set { cpu_low = 0.5 })
        assert.is_true(shed:set { cpu_high = 0.9 })
        assert.equal(0.5, shed:get().cpu_low)
    end)

    it("names the option that is wrong, at the caller", function()
        local shed = new()
        local cases = {
            { { cpu = 0.5 }, "unknown option \"cpu\"" },
            { { cpu_high = 80 }, "option \"cpu_high\": 0 to 1 expected" },
            { { cpu_high = 0 / 0 }, "option \"cpu_high\"" },
            { { cpu_high = "1" }, "option \"cpu_high\": number expected" },
            { { cpu_high = 0.5, cpu_low = 0.6 }, "option \"cpu_low\": more" },
            { { cpu_low = -1 }, "option \"cpu_low\"" },
            { { cool = 0 }, "option \"cool\": 0.001 to 3600" },
            { { window = 0.01 }, "option \"window\": 0.05 to 3600" },
            { { window = math.huge }, "option \"window\"" },
            { { max_inflight = 1.5 }, "option \"max_inflight\": integer of" },
            { { max_inflight = -1 }, "option \"max_inflight\"" },
            { { max_inflight = 2 ^ 53 }, "option \"max_inflight\"" },
            { { reserve = 1 }, "option \"reserve\": table expected" },
            { { reserve = { [3] = 0.1 } }, "option \"reserve\": shares of" },
            { { reserve = { "x" } }, "option \"reserve\": shares of" },
            { { reserve = { 1.5 } }, "option \"reserve\": 0 to 1" },
            { { reserve = { 0.6, 0.6 } }, "option \"reserve\": the shares" },
            { { reserve = { 0.95 } }, "option \"reserve\": the shares" },
            { { mode = "off" }, "option \"mode\": \"enforce\" or" },
        }
        local before = shed:get()
        for _, case in ipairs(cases) do
            for _, fn in ipairs {
                function() engine:shedder("never", case[1]) end,
                function() shed:set(case[1]) end,
            } do
                assert.matches(case[2], raised(fn), 1, true)
            end
            assert.matches("shedder_spec",
                           raised(function() shed:set(case[1]) end))
        end
        assert.same(before, shed:get())
        assert.is_nil(engine:stats().shedders.never)
        assert.matches("name: string expected",
                       raised(engine.shedder, engine, {}))
        assert.same({ nil, "bad_name" }, { engine:shedder("A") })
        assert.same({ nil, "bad_name" }, { engine:shedder("a\0b") })
    end)

    it("answers wrong priorities, and raises for wrong permits", function()
        local a, b = new(), new()
        for _, bad in ipairs { -1, 4, 0.5, 0 / 0, math.huge, "1", {}, true } do
            assert.same({ nil, "bad_value" }, { a:admit(bad) })
        end
        local permit = assert(b:admit())
        for _, bad in ipairs { 0, 1, -1, 1.5, 0 / 0, math.huge, 2 ^ 53, "1",
                               {}, true, permit } do
            assert.matches("permit of this shedder expected",
                           raised(a.done, a, bad))
            assert.matches("permit of this shedder expected",
                           raised(a.cancel, a, bad))
        end
        assert.matches("latency: number expected",
                       raised(b.done, b, permit, true, "1"))
        for _, latency in ipairs { -1, 0 / 0, math.huge, 1e300 } do
            assert.is_true(b:done(assert(b:admit()), true, latency))
        end
    end)

    it("compiles", function()
        local shed = new { max_inflight = 3 }
        local permits, at = { 0, 0, 0, 0 }, 0
        local function body(i)
            local permit = shed:admit(i % 4)
            if permit then
                at = at + 1
                permits[at] = permit
            end
            if not permit or i % 3 == 0 then
                shed:done(permits[at], i % 5 ~= 0, i % 7 / 1000)
                at = at - 1
            elseif i % 3 == 1 then
                shed:cancel(permits[at])
                at = at - 1
            end
        end
        compiled.check(body, 5000)
    end)

    it("is in stats and metrics, by name", function()
        local shed = new { max_inflight = 1 }
        shed:admit(1)
        shed:admit(1)
        assert.equal(1, engine:stats().shedders[shed.name].shed[1])
        local text = engine:metrics()
        local label = '{shedder="' .. shed.name .. '",priority="1"} 1\n'
        assert.matches("seckill_shedder_shed_total" .. label, text, 1, true)
        assert.matches("seckill_shedder_inflight" .. label, text, 1, true)
    end)

    -- Last: it uses up all shedders.
    it("is full at the capacity", function()
        local shed, code
        repeat
            count = count + 1
            shed, code = engine:shedder("s" .. count)
        until not shed
        assert.equal("full", code)
        assert.is_table(engine:shedder("s1"))
    end)
end)
