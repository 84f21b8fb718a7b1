-- All algorithms and combinations of them through the FFI: returns, tickets,
-- overrides, shadows, counts, the JIT. The arithmetic is proven in C tests.

local lib = require "resty.seckill.lib"
local limiter = require "resty.seckill.limiter"
local seckill = require "resty.seckill"
local compiled = require "compiled"
local raised = require "raised"

local HOURLY = 1 / 3600
local WEEK = 7 * 86400


describe("limits", function()
    local engine, name
    local count = 0

    setup(function()
        name = "combine-" .. tostring(seckill.version()):gsub("%D", "")
               .. "-" .. tostring({}):gsub("%W", ""):sub(-8)
        engine = assert(seckill.open {
            name = name, capacity = { limiters = 256, limit_overrides = 2,
                                      permits = 64 },
        })
    end)

    teardown(function()
        engine:close()
        seckill.destroy(name)
    end)

    local function new(opts)
        count = count + 1
        return assert(engine:limiter("l" .. count, opts))
    end

    -- How many of n asks pass.
    local function admitted(lim, key, n, ...)
        local passed = 0
        for _ = 1, n do
            passed = passed + (lim:incoming(key, true, ...) and 1 or 0)
        end
        return passed
    end

    describe("of each algorithm", function()
        it("leaky_bucket lets wait what is over the rate", function()
            local lim = new { algorithm = "leaky_bucket", rate = 1 / WEEK,
                              burst = 2 }
            assert.equal(0, (lim:incoming("a")))
            local delay, remaining = lim:incoming("a")
            assert.is_true(delay > WEEK - 5 and delay <= WEEK)
            assert.equal(1, remaining)
            assert.is_true(lim:incoming("a") > 2 * WEEK - 5)
            assert.equal("rejected", select(2, lim:incoming("a")))
            assert.equal(2, lim:stats().delayed)
        end)

        it("leaky_bucket has a nodelay part and a longest wait", function()
            local lim = new { algorithm = "leaky_bucket", rate = HOURLY,
                              burst = 5, nodelay = 2, max_delay = 3600 }
            for _ = 1, 3 do
                assert.equal(0, (lim:incoming("a")))
            end
            local delay = lim:incoming("a")
            assert.is_true(delay > 3595 and delay <= 3600)
            local none, code, retry_after = lim:incoming("a")
            assert.is_nil(none)
            assert.equal("rejected", code)
            assert.is_true(retry_after > 3590 and retry_after <= 3600)
            assert.same({ name = lim.name, algorithm = "leaky_bucket",
                          mode = "enforce", rate = HOURLY, burst = 5,
                          nodelay = 2, max_delay = 3600 }, lim:get())
            assert.is_true(lim:set { burst = 0, nodelay = 0, max_delay = 0 })
            assert.equal(0, lim:get().burst)
            assert.equal(0, lim:get().max_delay)
            assert.equal(1, admitted(lim, "b", 5))
        end)

        it("windows and logs admit their limit", function()
            for _, algorithm in ipairs { "fixed_window", "sliding_window",
                                         "sliding_log" } do
                local lim = new { algorithm = algorithm, limit = 5,
                                  window = 3600 }
                assert.equal(5, admitted(lim, "a", 20))
                local _, code, retry_after = lim:incoming("a")
                assert.equal("rejected", code)
                -- of a sliding window: when the next one is half over
                assert.is_true(retry_after > 0 and retry_after < 7210)
                assert.equal(math.huge, select(3, lim:incoming("b", true, 6)))
                assert.equal(1, select(2, lim:incoming("b", true, 4)))
                assert.is_nil((lim:incoming("b", true, 2)))
                assert.equal(5, (lim.last()))
                assert.is_true(lim:set { limit = 7 })
                assert.equal(2, admitted(lim, "a", 20))
                assert.is_true(lim:set { limit = 3 })
                assert.equal(0, admitted(lim, "a", 20))
                assert.equal(3, admitted(lim, "c", 20))
                assert.equal(3600, lim:get().window)
                assert.is_true(lim:set { limit = 0 })
                assert.equal(0, lim:get().limit)
                assert.equal(0, admitted(lim, "d", 2))
            end
        end)

        it("concurrency admits who releases", function()
            local lim = new { algorithm = "concurrency", limit = 2 }
            local a, b, c = seckill.ticket(), seckill.ticket(),
                            seckill.ticket()
            assert.equal(1, select(2, lim:incoming("k", true, 1, a)))
            assert.equal(0, select(2, lim:incoming("k", true, 1, b)))
            assert.same({ nil, "rejected", 0 },
                        { lim:incoming("k", true, 1, c) })
            assert.equal(2, (select(5, lim.last())))
            assert.is_true(lim:leaving(a))
            assert.is_true(lim:leaving(a))
            assert.equal(0, (lim:incoming("k", true, 1, c)))
            assert.is_true(lim:uncommit(b))
            assert.is_false(lim:uncommit(b))
            assert.is_true(lim:leaving(c))
            assert.equal(1, (select(2, lim:incoming("k", false))))
            assert.matches("ticket is needed", raised(lim.incoming, lim, "k"))
        end)

        it("concurrency is full when the segment has no permit", function()
            local lim = new { algorithm = "concurrency", limit = 1000 }
            local held, code = {}, nil
            for i = 1, 65 do
                held[i] = seckill.ticket()
                code = select(2, lim:incoming("k", true, 1, held[i]))
            end
            assert.equal("full", code)
            for i = 1, 65 do
                lim:leaving(held[i])
            end
            assert.equal(0, (lim:incoming("k", true, 1, held[1])))
            lim:leaving(held[1])
        end)

        it("off passes everything and counts nothing", function()
            local lim = new { rate = HOURLY, burst = 1, mode = "off" }
            assert.equal(10, admitted(lim, "a", 10))
            assert.equal(0, lim:stats().allowed)
        end)

        it("gives back, in the same window, once", function()
            for _, opts in ipairs {
                { algorithm = "leaky_bucket", rate = HOURLY, burst = 1 },
                { algorithm = "fixed_window", limit = 2, window = WEEK },
                { algorithm = "sliding_window", limit = 2, window = WEEK },
                { algorithm = "sliding_log", limit = 2, window = WEEK },
            } do
                local lim, t = new(opts), seckill.ticket()
                assert(lim:incoming("a"))
                assert(lim:incoming("a", true, 1, t))
                assert.is_nil((lim:incoming("a")))
                assert.is_true(lim:uncommit(t))
                assert.is_false(lim:uncommit(t))
                assert(lim:incoming("a", true, 1, t))
                assert.is_true(lim:leaving(t))
                assert.is_false(lim:uncommit(t))
                assert.is_nil((lim:incoming("a")))
                assert.equal(1, lim:stats().refunded)
            end
        end)

        it("refuses numbers that belong to others", function()
            local cases = {
                { { algorithm = "fixed_window", limit = 1 }, "\"window\": n" },
                { { algorithm = "fixed_window", window = 1 }, "\"limit\": n" },
                { { algorithm = "leaky_bucket" }, "\"rate\": needed" },
                { { algorithm = "sliding_log", limit = 17, window = 1 },
                  "17 is too much for sliding_log" },
                { { algorithm = "sliding_window", limit = 1e9, window = 1 },
                  "too much for sliding_window in 1 seconds" },
                { { algorithm = "concurrency", limit = 2^20 }, "too much" },
                { { algorithm = "fixed_window", limit = 1.5, window = 1 },
                  "integer expected" },
                { { algorithm = "fixed_window", limit = 1, window = 1,
                    rate = 1 }, "\"rate\": not of fixed_window" },
                { { algorithm = "concurrency", limit = 1, window = 1 },
                  "\"window\": not of concurrency" },
                { { algorithm = "token_bucket", rate = 1, max_delay = 1 },
                  "\"max_delay\": not of token_bucket" },
                { { algorithm = "fixed_window", limit = -1, window = 1 },
                  "0 to 1e%+12 expected" },
                { { algorithm = "fixed_window", limit = 0 / 0, window = 1 },
                  "\"limit\"" },
                { { algorithm = "fixed_window", limit = 1, window = 0 },
                  "\"window\": 0.001 to" },
                { { algorithm = "fixed_window", limit = 1, window = 1e9 },
                  "\"window\": 0.001 to" },
            }
            for _, case in ipairs(cases) do
                local message = raised(new, case[1])
                assert.matches(case[2], message)
                assert.matches("combine_spec", message)
            end
        end)

        it("never changes algorithm or window", function()
            local lim = new { algorithm = "fixed_window", limit = 1,
                              window = 60 }
            assert.same({ nil, "conflict" }, { engine:limiter(lim.name, {
                algorithm = "token_bucket", rate = 1 }) })
            assert.matches("\"rate\": not of fixed_window",
                           raised(engine.limiter, engine, lim.name,
                                  { rate = 1 }))
            assert.same({ nil, "conflict" },
                        { engine:limiter(lim.name, {
                            algorithm = "fixed_window", limit = 1,
                            window = 61 }) })
            assert.equal("fixed_window", engine:limiter(lim.name):get()
                         .algorithm)
        end)
    end)

    describe("of one key", function()
        it("has numbers of its own", function()
            local lim = new { rate = HOURLY, burst = 1 }
            assert.equal(1, admitted(lim, "vip", 5))
            assert.is_true(lim:override("vip", { burst = 4 }))
            assert.equal(3, admitted(lim, "vip", 5))
            assert.equal(1, admitted(lim, "bob", 5))
            assert.is_true(lim:override("vip", { burst = 6 }))
            assert.equal(2, admitted(lim, "vip", 5))
            assert.is_true(lim:override("vip"))
            assert.same({ nil, "not_found" }, { lim:override("vip") })
            assert.equal(0, admitted(lim, "vip", 5))
            assert.is_true(lim:override("blocked", { mode = "off" }))
            assert.equal(9, admitted(lim, "blocked", 9))
            assert.is_true(lim:override("blocked", nil))
        end)

        it("is full at the capacity, and has room again", function()
            local lim = new { algorithm = "sliding_log", limit = 1,
                              window = WEEK }
            assert.is_true(lim:override("a", { limit = 2 }))
            assert.is_true(lim:override("b", { limit = 0 }))
            assert.same({ nil, "full" }, { lim:override("c", { limit = 3 }) })
            assert.equal(2, admitted(lim, "a", 5))
            assert.equal(0, admitted(lim, "b", 5))
            assert.equal(1, admitted(lim, "c", 5))
            assert.is_true(lim:override("a"))
            assert.is_true(lim:override("c", { limit = 3 }))
            assert.equal(2, admitted(lim, "c", 5))
            assert.is_true(lim:override("b"))
            assert.is_true(lim:override("c"))
        end)

        it("answers and raises as set does", function()
            local lim = new { rate = 1 }
            assert.same({ nil, "bad_key" }, { lim:override("", { rate = 2 }) })
            assert.same({ nil, "bad_key" }, { lim:override(5, { rate = 2 }) })
            assert.matches("unknown option", raised(lim.override, lim, "a",
                                                    { window = 1 }))
            assert.matches("\"limit\": not of", raised(lim.override, lim, "a",
                                                       { limit = 1 }))
        end)
    end)

    describe("combined", function()
        local a, b, c

        before_each(function()
            a = new { rate = HOURLY, burst = 3 }
            b = new { algorithm = "fixed_window", limit = 2, window = WEEK }
            c = new { algorithm = "sliding_log", limit = 5, window = WEEK }
        end)

        it("charge all or none, in any order", function()
            local t = seckill.ticket()
            assert.equal(0, (seckill.combine({ a, b, c }, { "x", "y", "z" })))
            assert.equal(0, (seckill.combine({ c, a, b }, { "z", "x", "y" },
                                             t)))
            for _ = 1, 3 do
                local none, code, retry_after, mask =
                    seckill.combine({ b, a, c }, { "y", "x", "z" }, t)
                assert.is_nil(none)
                assert.equal("rejected", code)
                assert.is_true(retry_after > WEEK - 5)
                assert.equal(1, mask)
                assert.is_false(seckill.uncommit(t))
            end
            assert.equal(1, admitted(a, "x", 5))
            assert.equal(3, admitted(c, "z", 9))
            assert.equal(4, select(4, seckill.combine({ c, a, b },
                                                      { "0", "1", "y" })))
            assert.equal(7, select(4, seckill.combine({ c, a, b },
                                                      { "z", "x", "y" })))
            assert.equal(4, b:stats().rejected + b:stats().refunded - 1)
        end)

        -- A look writes off what older numbers charged beyond the burst, or
        -- it would be in the way for as long as they said.
        it("admit soon after a rate was raised", function()
            local lim = new { rate = HOURLY, burst = 1 }
            assert.equal(0, (seckill.combine({ lim, c }, { "x", "z" })))
            assert.is_nil((seckill.combine({ lim, c }, { "x", "z" })))
            lim:set { rate = 1000, burst = 5 }
            local _, _, retry_after = seckill.combine({ lim, c }, { "x", "z" })
            assert.is_true(retry_after <= 0.002)
            local deadline = lib.C.seckill_mono_now() + 2000000000LL
            local delay
            repeat
                delay = seckill.combine({ lim, c }, { "x", "z" })
            until delay or lib.C.seckill_mono_now() > deadline
            assert.equal(0, delay)
        end)

        it("tell the numbers of the tightest rule", function()
            local off = new { rate = HOURLY, burst = 1, mode = "off" }
            local shadow = new { rate = HOURLY, burst = 1, mode = "shadow" }
            local lims = { off, shadow, c, b, a }
            local keys = { "o", "s", "z", "y", "x" }
            local verdict = limiter.verdict
            assert(seckill.combine(lims, keys))
            assert.same({ 3, 1, 2 }, { verdict.rule, verdict.remaining,
                                       verdict.quota })
            assert(seckill.combine(lims, keys))
            assert.same({ 3, 0 }, { verdict.rule, verdict.remaining })
            -- b refuses for a week, a for less.
            assert.is_nil((seckill.combine(lims, keys)))
            assert.same({ 3, 0, 2 }, { verdict.rule, verdict.remaining,
                                       verdict.quota })
            assert.is_true(verdict.reset_ns > (WEEK - 5) * 1e9)
            a:incoming("x")
            assert.is_nil((seckill.combine({ a, b }, { "x", "y" })))
            assert.equal(1, verdict.rule)
            assert.is_nil((seckill.combine({ b, a }, { "y", "x" })))
            assert.equal(0, verdict.rule)
            assert.is_nil((seckill.combine({ a, c }, { "x", "z" })))
            assert.equal(0, verdict.rule)
            assert(seckill.combine({ off, shadow }, { "o", "s" }))
            assert.equal(0, verdict.rule)
            lims[5]:incoming("k", true, 9)
            assert.equal(0, verdict.rule)
        end)

        it("give back all, or one", function()
            local t = seckill.ticket()
            assert(seckill.combine({ a, b, c }, { "x", "y", "z" }, t))
            assert.is_true(b:uncommit(t))
            assert.is_false(b:uncommit(t))
            assert.equal(2, admitted(b, "y", 9))
            assert.is_true(seckill.uncommit(t))
            assert.is_false(seckill.uncommit(t))
            assert.equal(3, admitted(a, "x", 9))
            assert.equal(5, admitted(c, "z", 9))
        end)

        it("hold permits until the request leaves", function()
            local t, u = seckill.ticket(), seckill.ticket()
            local d = new { algorithm = "concurrency", limit = 1 }
            assert.equal(0, (seckill.combine({ a, d }, { "x", "k" }, t)))
            local none, code, retry_after, mask =
                seckill.combine({ a, d }, { "x", "k" }, u)
            assert.same({ nil, "rejected", 0, 2 },
                        { none, code, retry_after, mask })
            assert.is_true(seckill.leaving(t))
            assert.equal(0, (seckill.combine({ d, a }, { "k", "x" }, t)))
            assert.is_true(seckill.uncommit(t))
            assert.equal(2, admitted(a, "x", 9))
            assert.matches("ticket is needed",
                           raised(seckill.combine, { a, d }, { "x", "k" }))
        end)

        it("pass shadows, and say so", function()
            a:set { mode = "shadow" }
            for _ = 1, 2 do
                assert.equal(0, (seckill.combine({ a, b }, { "x", "y" })))
            end
            admitted(a, "x", 5)
            b:set { limit = 3 }
            assert.equal(0, (seckill.combine({ b, a }, { "y", "x" })))
            assert.equal(2, (select(4, a.last())))
            assert.equal("rejected", select(2, seckill.combine(
                { b, a }, { "y", "x" })))
        end)

        it("only look when asked to", function()
            for _ = 1, 5 do
                assert.equal(0, (seckill.peek({ a, b, c },
                                              { "x", "y", "z" })))
            end
            assert.equal(2, admitted(b, "y", 9))
            assert.equal(2, select(4, seckill.peek({ a, b },
                                                   { "x", "y" })))
            assert.equal(0, a:stats().rejected)
        end)

        it("wait for the longest delay", function()
            local d = new { algorithm = "leaky_bucket", rate = HOURLY,
                            burst = 5 }
            assert.equal(0, (seckill.combine({ d, a }, { "x", "x" })))
            local delay = seckill.combine({ a, d }, { "x", "x" })
            assert.is_true(delay > 3595 and delay <= 3600)
        end)

        it("answer wrong keys, raise for wrong calls", function()
            for _, keys in ipairs { { "x" }, { "x", "" }, { "x", 5 },
                                    { false, "y" }, { ("x"):rep(65), "y" } } do
                assert.same({ nil, "bad_key" },
                            { seckill.combine({ a, b }, keys) })
            end
            assert.equal(3, admitted(a, "x", 9))
            for _, call in ipairs {
                function() local _ = seckill.combine({}, {}) end,
                function() local _ = seckill.combine(a, { "x" }) end,
                function() local _ = seckill.combine({ a }, "x") end,
                function() local _ = seckill.combine({ a, {} },
                                                     { "x", "x" }) end,
                function() local _ = seckill.peek({ {} }, { "x" }) end,
                function() local _ = seckill.combine({ a }, { "x" }, 5) end,
                function() local _ = seckill.combine({ a, a, a, a, a, a, a, a,
                                                       a }, {}) end,
                function() seckill.uncommit(5) end,
                function() seckill.leaving(nil) end,
            } do
                assert.matches("combine_spec.*expected", raised(call))
            end
        end)
    end)

    it("in shadow mode pass when no permit is left", function()
        local all = new { algorithm = "concurrency", limit = 1000 }
        local shadow = new { algorithm = "concurrency", limit = 1000,
                             mode = "shadow" }
        local tickets, t = {}, seckill.ticket()
        local delay, code
        repeat
            local u = seckill.ticket()
            delay, code = all:incoming("k", true, 1, u)
            tickets[#tickets + 1] = delay and u
        until not delay or #tickets > 64
        assert.equal("full", code)
        assert.equal(0, (shadow:incoming("k", true, 1, t)))
        assert.equal(1, shadow:stats().shadow)
        assert.is_false(shadow:uncommit(t))
        local user = new { rate = HOURLY, burst = 1 }
        assert.equal(0, (seckill.combine({ shadow, user }, { "k", "k" }, t)))
        assert.is_true(seckill.leaving(t))
        for _, u in ipairs(tickets) do
            all:leaving(u)
        end
    end)

    it("warm up on schedule", function()
        local lim = new { rate = 100, burst = 100, warm_up = 3600,
                          warm_up_at = engine:now() + 3600 }
        assert.equal(100, admitted(lim, "a", 150))
        local _, _, retry_after = lim:incoming("a")
        assert.is_true(retry_after > 0.015 and retry_after <= 0.030001)
        local numbers = lim:get()
        assert.equal(3600, numbers.warm_up)
        assert.equal(3, numbers.cold_factor)
        assert.is_true(math.abs(numbers.warm_up_at - engine:now() - 3600) < 5)
        assert.is_true(lim:set { warm_up = 0 })
        assert.is_nil(lim:get().warm_up)
        assert.equal("rejected", select(2, lim:incoming("a", true, 100)))
        assert.is_true(select(3, lim:incoming("a", true, 100)) <= 3.01)
    end)

    it("are in stats and metrics by name", function()
        local lim = new { rate = HOURLY, burst = 2 }
        admitted(lim, "a", 5)
        local stats = engine:stats()
        assert.same({ allowed = 2, rejected = 3, delayed = 0, shadow = 0,
                      overflow = 0, refunded = 0 }, stats.limiters[lim.name])
        local sum = 0
        for _, counts in pairs(stats.limiters) do
            sum = sum + counts.rejected
        end
        assert.equal(sum, stats.results.limiter.rejected)
        assert.matches("seckill_limiter_total{limiter=\"" .. lim.name
                       .. "\",result=\"rejected\"} 3\n", engine:metrics())
    end)

    it("cannot sleep here", function()
        local lim = new { rate = 1 }
        assert.is_true(lim:sleep(0))
        if not ngx then
            assert.same({ nil, "cannot_yield" }, { lim:sleep(1) })
        end
    end)

    it("compile", function()
        local rules = {
            new { rate = 1000, burst = 1000 },
            new { algorithm = "fixed_window", limit = 1000, window = 1 },
            new { algorithm = "concurrency", limit = 3 },
        }
        local log = new { algorithm = "sliding_log", limit = 3, window = 60 }
        local t, keys, names = seckill.ticket(), {}, {}
        for i = 1, 50 do
            names[i] = "user" .. i
        end
        local function body(i)
            keys[1], keys[2], keys[3] = names[i % 50 + 1], names[i % 7 + 1],
                                        names[1]
            if seckill.combine(rules, keys, t) then
                if i % 3 == 0 then
                    seckill.uncommit(t)
                else
                    seckill.leaving(t)
                end
            end
            log:incoming(keys[1])
            log.last()
        end
        compiled.check(body, 3000)
    end)
end)
