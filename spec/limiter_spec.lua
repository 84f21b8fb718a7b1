-- Token buckets through the FFI: returns, codes, options, the JIT. Time is the
-- real clock here; rates are so low or waits so short that it does not matter.

local ffi = require "ffi"
local compiled = require "compiled"
local lib = require "resty.seckill.lib"
local limiter = require "resty.seckill.limiter"
local raised = require "raised"

local C = lib.C
local NAME = "limiter_spec"
local HOURLY = 1 / 3600


local function open_engine()
    local options = ffi.new("seckill_options_t")
    local out, err = ffi.new("seckill_t *[1]"), ffi.new("char[512]")
    local name = NAME .. "_" .. tostring(C.seckill_mono_now()):gsub("%D", "")
    name = name:sub(1, 32)
    options.struct_size = ffi.sizeof(options)
    options.name = name
    options.limiters = 32
    options.limit_keys = 1024
    local rc = C.seckill_open(options, out, err, 512)
    assert(rc == lib.OK, ffi.string(err))
    return out[0], name
end


-- What `fn` raises: the message, with where it blames.
describe("limiter", function()
    local engine, name

    setup(function()
        engine, name = open_engine()
    end)

    teardown(function()
        C.seckill_close(engine)
        C.seckill_destroy(name, nil)
    end)

    local count = 0
    local function new(opts)
        count = count + 1
        return assert(limiter.open(engine, "l" .. count, opts))
    end

    it("admits the burst, then says when to come again", function()
        local lim = new { rate = HOURLY, burst = 3 }
        for left = 2, 0, -1 do
            local delay, remaining = lim:incoming("alice")
            assert.equal(0, delay)
            assert.equal(left, remaining)
        end
        local delay, code, retry_after = lim:incoming("alice")
        assert.is_nil(delay)
        assert.equal("rejected", code)
        assert.is_true(retry_after > 3500 and retry_after <= 3600.001)
        assert.equal(0, (lim:incoming("bob")))
    end)

    it("refills", function()
        local lim = new { rate = 1000, burst = 1 }
        assert.equal(0, (lim:incoming("alice")))
        local until_ns = C.seckill_mono_now() + 2000000
        while C.seckill_mono_now() < until_ns do end
        assert.equal(0, (lim:incoming("alice")))
    end)

    it("takes a cost, and never more than the burst", function()
        local lim = new { rate = HOURLY, burst = 10 }
        local delay, code, retry_after = lim:incoming("alice", true, 11)
        assert.is_nil(delay)
        assert.equal("rejected", code)
        assert.equal(math.huge, retry_after)
        assert.equal(3, select(2, lim:incoming("alice", true, 7)))
        assert.equal("rejected", select(2, lim:incoming("alice", true, 4)))
        assert.equal(0, select(2, lim:incoming("alice", true, 3)))
    end)

    it("only looks without commit", function()
        local lim = new { rate = HOURLY, burst = 1 }
        for _ = 1, 10 do
            assert.same({ 0, 0 }, { lim:incoming("alice", false) })
        end
        assert.equal(0, (lim:incoming("alice", true)))
        assert.equal("rejected", select(2, lim:incoming("alice", false)))
    end)

    it("answers wrong keys and costs, whatever their type", function()
        local lim = new { rate = HOURLY, burst = 100 }
        local bad_keys = { "", ("x"):rep(65), 42, true, {}, print,
                           ffi.new("int[1]") }
        for _, key in ipairs(bad_keys) do
            assert.same({ nil, "bad_key" }, { lim:incoming(key) })
        end
        assert.same({ nil, "bad_key" }, { lim:incoming(nil) })
        for _, cost in ipairs { 0, -1, 1.5, 0 / 0, math.huge, 2 ^ 32, "1",
                                {}, true } do
            assert.same({ nil, "bad_qty" },
                        { lim:incoming("alice", true, cost) })
        end
        assert.equal(99, select(2, lim:incoming("alice")))
    end)

    it("takes any bytes as a key", function()
        local lim = new { rate = HOURLY, burst = 1 }
        for _, key in ipairs { "\0", "\0\0", "a\0b", "a\0c", "\255",
                               ("x"):rep(64), ("x"):rep(63) } do
            assert.equal(0, (lim:incoming(key)))
            assert.is_nil((lim:incoming(key)))
        end
    end)

    it("gives back by ticket, once", function()
        local lim = new { rate = HOURLY, burst = 2 }
        local t = limiter.ticket()
        lim:incoming("alice")
        assert.equal(0, select(2, lim:incoming("alice", true, 1, t)))
        assert.is_nil((lim:incoming("alice")))
        assert.is_true(lim:uncommit(t))
        assert.is_false(lim:uncommit(t))
        assert.equal(0, (lim:incoming("alice", true, 1, t)))
        -- A refusal empties the ticket: nothing of before is given back.
        assert.is_nil((lim:incoming("alice", true, 1, t)))
        assert.is_false(lim:uncommit(t))
        assert.is_nil((lim:incoming("alice")))
    end)

    it("gives nothing back for a new ticket, a look or a left one", function()
        local lim = new { rate = HOURLY, burst = 1 }
        local t = limiter.ticket()
        assert.is_false(lim:uncommit(t))
        lim:incoming("alice", false, 1, t)
        assert.is_false(lim:uncommit(t))
        lim:incoming("alice", true, 1, t)
        assert.is_true(lim:leaving(t))
        assert.is_false(lim:uncommit(t))
        assert.is_nil((lim:incoming("alice")))
    end)

    it("raises at the caller for what is not a ticket", function()
        local lim = new { rate = HOURLY }
        for _, call in ipairs {
            function() lim:uncommit(nil) end,
            function() lim:uncommit({}) end,
            function() lim:leaving("t") end,
            function() local _ = lim:incoming("a", true, 1, 5) end,
        } do
            local message = raised(call)
            assert.matches("limiter_spec", message)
            assert.matches("ticket expected", message)
        end
    end)

    it("counts in shadow mode and refuses nothing", function()
        local lim = new { rate = HOURLY, burst = 1, mode = "shadow" }
        for _ = 1, 5 do
            assert.same({ 0, 0 }, { lim:incoming("alice") })
        end
        assert.equal("shadow", lim:get().mode)
        assert.is_true(lim:set { mode = "enforce" })
        assert.equal("rejected", select(2, lim:incoming("alice")))
    end)

    it("changes for all who have it open", function()
        local a = new { rate = HOURLY, burst = 1 }
        local b = assert(limiter.open(engine, a.name))
        assert.equal(0, (a:incoming("alice")))
        assert.is_nil((b:incoming("alice")))
        assert.is_true(b:set { burst = 3 })
        assert.equal(3, a:get().burst)
        assert.equal(1, select(2, a:incoming("alice")))
        assert(limiter.open(engine, a.name, { rate = 5, mode = "shadow" }))
        assert.same({ name = a.name, algorithm = "token_bucket", rate = 5,
                      burst = 3, mode = "shadow" }, b:get())
    end)

    it("has defaults", function()
        assert.equal(1, new({ rate = 50 }):get().burst)
        local numbers = new({ rate = 5000 }):get()
        assert.equal(50, numbers.burst)
        assert.equal("enforce", numbers.mode)
    end)

    it("names the option that is wrong, at the caller", function()
        local lim = new { rate = HOURLY }
        local cases = {
            { { rat = 1 }, "unknown option \"rat\"" },
            { { rate = "1" }, "option \"rate\": number expected, got string" },
            { { rate = 0 }, "option \"rate\": 1e%-07 to 1e%+07 expected" },
            { { rate = 0 / 0 }, "option \"rate\"" },
            { { rate = 1, burst = 0 }, "option \"burst\"" },
            { { rate = 1, burst = 2e9 }, "option \"burst\"" },
            { { rate = 1e-7, burst = 2 }, "option \"burst\": more than 208" },
            { { rate = 1, mode = "on" }, "option \"mode\": \"enforce\"" },
            { { rate = 1, limit = 5 }, "option \"limit\": not of token" },
            { { rate = 1, nodelay = 1 }, "option \"nodelay\": not of" },
            { { rate = 1, warm_up = 5, cold_factor = 1 },
              "option \"cold_factor\": more than 1" },
            { { rate = 1 / 604800, burst = 20, warm_up = 5, cold_factor = 5 },
              "option \"burst\": more than 208" },
        }
        for _, case in ipairs(cases) do
            for _, call in ipairs {
                function() new(case[1]) end,
                function() lim:set(case[1]) end,
            } do
                local message = raised(call)
                assert.matches("limiter_spec", message)
                assert.matches(case[2], message)
            end
        end
        assert.matches("option \"rate\": needed", raised(new, {}))
        assert.matches("option \"algorithm\": one of token_bucket, leaky",
                       raised(new, { rate = 1, algorithm = "bucket" }))
        assert.matches("name: string expected",
                       raised(limiter.open, engine, 5, { rate = 1 }))
        assert.matches("table expected", raised(limiter.open, engine, "x", 5))
        assert.matches("unknown option", raised(lim.set, lim,
                                                { algorithm = "x" }))
    end)

    it("takes a time below a nanosecond for none", function()
        local lim = new { algorithm = "leaky_bucket", rate = HOURLY,
                          burst = 5, max_delay = 1e-10 }
        assert.equal(0, (lim:incoming("k")))
        assert.equal("rejected", select(2, lim:incoming("k")))
        lim:set { warm_up = 60 }
        assert.equal(60, lim:get().warm_up)
        lim:set { warm_up = 1e-10 }
        assert.is_nil(lim:get().warm_up)
    end)

    it("turns a schedule into a cold start", function()
        local lim = new { rate = 1, warm_up = 60, warm_up_at = 2e9 }
        assert.equal(2e9, lim:get().warm_up_at)
        assert.is_true(lim:set { warm_up_at = 0 })
        assert.is_nil(lim:get().warm_up_at)
        assert.equal(60, lim:get().warm_up)
    end)

    it("starts a schedule by the clock of now", function()
        local lim = new { rate = HOURLY, burst = 1 }
        local now = C.seckill_now(engine)
        -- as after a suspend of the machine
        C.seckill_set_test_clock(engine, now + 7200 * 1000000000LL)
        lim:set { rate = 1, warm_up = 3600, cold_factor = 1000,
                  warm_up_at = tonumber(now) / 1e9 + 1800 }
        C.seckill_set_test_clock(engine, 0)
        assert.equal(0, (lim:incoming("k")))
        -- the rise is over
        assert.is_true(select(3, lim:incoming("k")) <= 1)
    end)

    it("makes no rule of a schedule: it does not know the clock", function()
        local limit = ffi.new("seckill_limit_t")
        local rule = ffi.new("seckill_rule_t")
        limit.struct_size = ffi.sizeof(limit)
        limit.rate, limit.warm_up_ns = 1, 1000000000
        assert.equal(lib.OK, C.seckill_limit_prepare(limit, rule))
        limit.warm_up_at_ns = 1000000000
        assert.equal(lib.codes.bad_option,
                     C.seckill_limit_prepare(limit, rule))
    end)

    it("answers wrong names", function()
        for _, bad in ipairs { "", "A", "a b", "a/b", "a\0b",
                               ("x"):rep(33) } do
            assert.same({ nil, "bad_name" },
                        { limiter.open(engine, bad, { rate = 1 }) })
        end
    end)

    it("compiles", function()
        local lim = new { rate = HOURLY, burst = 1000 }
        local t = limiter.ticket()
        local keys = {}
        for i = 1, 50 do
            keys[i] = "user" .. i
        end
        local function body(i)
            local key = keys[i % 50 + 1]
            if lim:incoming(key, true, 1, t) and i % 3 == 0 then
                lim:uncommit(t)
            end
            lim:incoming(key, false)
            lim:incoming(key, true, 2000)
            lim:leaving(t)
        end
        compiled.check(body, 3000)
    end)

    -- Last: it uses up all limiters.
    it("is full at the capacity", function()
        local lim, code
        repeat
            count = count + 1
            lim, code = limiter.open(engine, "l" .. count, { rate = 1 })
        until not lim
        assert.equal("full", code)
        assert.is_true(count > 10)
        assert.is_table(limiter.open(engine, "l1"))
    end)
end)
