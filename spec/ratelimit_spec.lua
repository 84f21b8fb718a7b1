-- The header fields: golden ones, bad numbers, and a client that obeys them.

local compiled = require "compiled"
local lib = require "resty.seckill.lib"
local limiter = require "resty.seckill.limiter"
local ratelimit = require "resty.seckill.ratelimit"
local seckill = require "resty.seckill"
local raised = require "raised"

local C = lib.C
local name = ("ratelimit_" .. tostring(C.seckill_mono_now()):gsub("%D", ""))
    :sub(1, 32)
local engine
local made = 0


local function new(opts)
    made = made + 1
    return assert(engine:limiter("l" .. made, opts))
end


setup(function()
    engine = assert(seckill.open { name = name,
                                   capacity = { limiters = 256 } })
end)

teardown(function()
    engine:close()
    seckill.destroy(name)
end)


describe("ratelimit", function()
    it("writes the fields of an admission", function()
        assert.same({
            ["RateLimit-Policy"] = '"user";q=30;w=60',
            ["RateLimit"] = '"user";r=12;t=41',
            ["X-RateLimit-Limit"] = "30",
            ["X-RateLimit-Remaining"] = "12",
            ["X-RateLimit-Reset"] = "41",
        }, ratelimit.fields { name = "user", quota = 30, window = 60,
                              remaining = 12.9, reset = 40.2 })
    end)

    it("writes the fields of a refusal", function()
        assert.same({
            ["RateLimit-Policy"] = '"user";q=30;w=60',
            ["RateLimit"] = '"user";r=0;t=3',
            ["X-RateLimit-Limit"] = "30",
            ["X-RateLimit-Remaining"] = "0",
            ["X-RateLimit-Reset"] = "3",
            ["Retry-After"] = "3",
        }, ratelimit.fields { name = "user", quota = 30, window = 60,
                              remaining = 4, reset = 40.2,
                              retry_after = 2.000001 })
    end)

    it("waits a second at least, and names no time where there is none",
    function()
        local fields = ratelimit.fields { name = "a", quota = 1, remaining = 0,
                                          reset = 0, retry_after = 0 }
        assert.equal("1", fields["Retry-After"])
        assert.equal('"a";q=1', fields["RateLimit-Policy"])
        fields = ratelimit.fields { name = "a", quota = 1, remaining = 0,
                                    reset = 0, retry_after = math.huge }
        assert.is_nil(fields["Retry-After"])
        assert.equal('"a";r=0', fields["RateLimit"])
        assert.is_nil(fields["X-RateLimit-Reset"])
        fields = ratelimit.fields { name = "a", quota = 1, remaining = 0 }
        assert.equal('"a";r=0', fields["RateLimit"])
    end)

    it("has all policies, and the state of the tightest", function()
        local list = {
            { name = "shop", quota = 1e5, window = 1, remaining = 9000,
              reset = 0.1 },
            { name = "user", quota = 5, window = 1, remaining = 3,
              reset = 0.5 },
            { name = "calls", quota = 8, unit = "concurrent-requests" },
            { name = "ip", quota = 1000, window = 60, remaining = 400,
              reset = 59 },
        }
        local fields = ratelimit.fields(list)
        assert.equal('"shop";q=100000;w=1, "user";q=5;w=1, '
                     .. '"calls";q=8;qu="concurrent-requests", '
                     .. '"ip";q=1000;w=60', fields["RateLimit-Policy"])
        assert.equal('"user";r=3;t=1', fields["RateLimit"])
        list[4].retry_after = 30
        list[1].retry_after = 0.2
        fields = ratelimit.fields(list)
        assert.equal('"ip";r=0;t=30', fields["RateLimit"])
        assert.equal("30", fields["Retry-After"])
        list.n = 1
        fields = ratelimit.fields(list)
        assert.equal('"shop";q=100000;w=1', fields["RateLimit-Policy"])
        assert.equal("1", fields["Retry-After"])
    end)

    it("writes nothing of nothing", function()
        assert.same({}, ratelimit.fields {})
        assert.same({}, ratelimit.fields { n = 0, { name = "a", quota = 1 } })
    end)

    it("never writes what is no integer of the draft", function()
        assert.equal('"a";r=0', ratelimit.fields {
            name = "a", quota = 1, remaining = 0 / 0,
            reset = 0 / 0 }["RateLimit"])
        for _, value in ipairs { -1, -math.huge, -0.0 } do
            assert.equal('"a";r=0;t=0', ratelimit.fields {
                name = "a", quota = 1, remaining = value,
                reset = value }["RateLimit"])
        end
        local fields = ratelimit.fields { name = "a", quota = 1e300,
                                          window = 0.001, remaining = 2 ^ 60,
                                          reset = 1e17 }
        assert.equal('"a";q=999999999999999;w=1', fields["RateLimit-Policy"])
        assert.equal('"a";r=999999999999999;t=999999999999999',
                     fields["RateLimit"])
    end)

    it("writes names as structured strings", function()
        for text, want in pairs {
            ["a b"] = '"a b"', ['say "hi"'] = '"say \\"hi\\""',
            ["back\\slash"] = '"back\\\\slash"',
            ["line\r\nSet-Cookie: x"] = '"line??Set-Cookie: x"',
            ["\0\127\195\169"] = '"????"', [""] = '""',
        } do
            assert.equal(want .. ";q=1", ratelimit.fields {
                name = text, quota = 1 }["RateLimit-Policy"])
        end
    end)

    it("has other names for the old fields, or none", function()
        local result = { name = "a", quota = 9, window = 1, remaining = 3,
                         reset = 2, retry_after = 2 }
        local writer = ratelimit.new { legacy = { limit = "RateLimit-Limit",
                                                  reset = "X-Reset" } }
        local headers = { Kept = "1" }
        assert.equal(2, writer:set(headers, result))
        assert.same({
            Kept = "1", ["RateLimit-Policy"] = '"a";q=9;w=1',
            RateLimit = '"a";r=0;t=2', ["RateLimit-Limit"] = "9",
            ["X-RateLimit-Remaining"] = "0", ["X-Reset"] = "2",
            ["Retry-After"] = "2",
        }, headers)
        writer = ratelimit.new { legacy = false, retry_after = false }
        assert.same({ ["RateLimit-Policy"] = '"a";q=9;w=1',
                      RateLimit = '"a";r=0;t=2' }, writer:fields(result))
        assert.same({ ["Retry-After"] = "2" }, ratelimit.new {
            standard = false, legacy = false }:fields(result))
    end)

    it("spreads those who come back, and only to later", function()
        local writer = ratelimit.new { jitter = 5 }
        local seen = {}
        for _ = 1, 500 do
            local fields = writer:fields { name = "a", quota = 1,
                                           remaining = 0, reset = 9.5,
                                           retry_after = 9.5 }
            assert.equal('"a";r=0;t=10', fields["RateLimit"])
            seen[tonumber(fields["Retry-After"])] = true
        end
        local all = {}
        for seconds in pairs(seen) do
            all[#all + 1] = seconds
        end
        table.sort(all)
        assert.same({ 10, 11, 12, 13, 14, 15 }, all)
    end)

    it("names the option that is wrong, at the caller", function()
        for pattern, opts in pairs {
            ["unknown option \"x\""] = { x = 1 },
            ["option \"standard\": boolean expected"] = { standard = 1 },
            ["option \"jitter\": integer of 0"] = { jitter = -1 },
            ["unknown option \"rest\""] = { legacy = { rest = "x" } },
            ["legacy.limit\": name of"] = { legacy = { limit = "a:b" } },
            ["legacy.reset\": string of 1"] = { legacy = { reset = "" } },
        } do
            local message = raised(function() ratelimit.new(opts) end)
            assert.matches("ratelimit_spec", message)
            assert.matches(pattern, message)
        end
        for _, call in ipairs {
            function() ratelimit.set({}, nil) end,
            function() ratelimit.set({}, 5) end,
            function() ratelimit.fields("x") end,
            function() ratelimit.new():set({}, true) end,
        } do
            assert.matches("ratelimit_spec.*result or list", raised(call))
        end
        for _, call in ipairs {
            function() return ratelimit.result({}), 1 end,
            function() return ratelimit.result("x"), 1 end,
            function() return ratelimit.results({ {} }), 1 end,
        } do
            assert.matches("ratelimit_spec.*limiter of the engine",
                           raised(call))
        end
    end)
end)


describe("ratelimit.result", function()
    local function policy(lim)
        lim:incoming("policy", true, 1, seckill.ticket())
        return ratelimit.fields(ratelimit.result(lim))["RateLimit-Policy"]
    end

    it("has the policy of every algorithm", function()
        local cases = {
            { "q=5;w=3", algorithm = "token_bucket", rate = 2, burst = 5 },
            { "q=100000;w=1", algorithm = "token_bucket", rate = 1e5 },
            { "q=1;w=604800", algorithm = "token_bucket", rate = 1 / 604800,
              burst = 1 },
            { "q=1;w=1", algorithm = "leaky_bucket", rate = 1 },
            { "q=21;w=11", algorithm = "leaky_bucket", rate = 2, burst = 20 },
            { "q=250;w=1", algorithm = "token_bucket", rate = 250 },
            { "q=2;w=3", algorithm = "token_bucket", rate = 1, burst = 2.5 },
            { "q=3;w=4", algorithm = "leaky_bucket", rate = 1, burst = 2.5 },
            { "q=7;w=60", algorithm = "fixed_window", limit = 7, window = 60 },
            { "q=7;w=1", algorithm = "sliding_window", limit = 7,
              window = 0.25 },
            { "q=3;w=3600", algorithm = "sliding_log", limit = 3,
              window = 3600 },
            { "q=9;qu=\"concurrent-requests\"", algorithm = "concurrency",
              limit = 9 },
        }
        for _, opts in ipairs(cases) do
            local want = table.remove(opts, 1)
            local lim = new(opts)
            assert.equal("\"" .. lim.name .. "\";" .. want, policy(lim))
        end
    end)

    it("follows a change of the numbers", function()
        local lim = new { algorithm = "fixed_window", limit = 5, window = 60 }
        local result = {}
        lim:incoming("k")
        ratelimit.result(lim, result)
        local fields = ratelimit.fields(result)
        assert.matches("q=5;w=60", fields["RateLimit-Policy"])
        assert.matches("r=4;t=%d+$", fields["RateLimit"])
        lim:set { limit = 8 }
        lim:incoming("k")
        fields = ratelimit.fields(ratelimit.result(lim, result))
        assert.matches("q=8;w=60", fields["RateLimit-Policy"])
        assert.matches("r=6;", fields["RateLimit"])
        assert.equal("8", fields["X-RateLimit-Limit"])
    end)

    it("has the quota that a key has for itself", function()
        local lim = new { algorithm = "fixed_window", limit = 5, window = 60 }
        assert(lim:override("vip", { limit = 50 }))
        lim:incoming("vip")
        local fields = ratelimit.fields(ratelimit.result(lim))
        assert.matches("q=50;w=60", fields["RateLimit-Policy"])
        assert.matches("r=49", fields["RateLimit"])
        lim:incoming("other")
        fields = ratelimit.fields(ratelimit.result(lim))
        assert.matches("q=5;w=60", fields["RateLimit-Policy"])
    end)

    it("keeps quiet about a limiter that refuses nobody", function()
        local lim = new { algorithm = "token_bucket", rate = 1, burst = 1,
                          mode = "shadow" }
        lim:incoming("k")
        lim:incoming("k")
        assert.same({}, ratelimit.fields(ratelimit.result(lim)))
    end)

    it("tells the refused when to come again", function()
        local lim = new { algorithm = "token_bucket", rate = 0.01, burst = 1 }
        lim:incoming("k")
        local _, _, retry_after = lim:incoming("k")
        local fields = ratelimit.fields(ratelimit.result(lim))
        assert.equal(tostring(math.ceil(retry_after)), fields["Retry-After"])
        assert.equal("\"" .. lim.name .. "\";r=0;t="
                     .. fields["Retry-After"], fields["RateLimit"])
        lim:incoming("k", true, 5) -- never
        fields = ratelimit.fields(ratelimit.result(lim))
        assert.is_nil(fields["Retry-After"])
        assert.equal("\"" .. lim.name .. "\";r=0", fields["RateLimit"])
    end)
end)


describe("ratelimit.results", function()
    it("has all rules of a combine and the tightest one's numbers", function()
        local wide = new { algorithm = "token_bucket", rate = 1000,
                           burst = 1000 }
        local tight = new { algorithm = "fixed_window", limit = 2,
                            window = 3600 }
        local lims, keys = { wide, tight }, { "k", "k" }
        local policies = ('"%s";q=1000;w=1, "%s";q=2;w=3600'):format(wide.name,
                                                                 tight.name)
        local list = {}
        for left = 1, 0, -1 do
            assert.equal(0, (seckill.combine(lims, keys)))
            local fields = ratelimit.fields(ratelimit.results(lims, list))
            assert.equal(policies, fields["RateLimit-Policy"])
            assert.matches('^"' .. tight.name .. '";r=' .. left .. ";t=%d+$",
                           fields["RateLimit"])
            assert.equal("2", fields["X-RateLimit-Limit"])
        end
        assert.is_nil((seckill.combine(lims, keys)))
        local fields = ratelimit.fields(ratelimit.results(lims, list))
        assert.equal(policies, fields["RateLimit-Policy"])
        assert.matches('^"' .. tight.name .. '";r=0;t=%d+$',
                       fields["RateLimit"])
        assert.is_true(tonumber(fields["Retry-After"]) > 3000)
        wide = new { algorithm = "token_bucket", rate = 1e-3, burst = 1 }
        tight = new { algorithm = "fixed_window", limit = 100, window = 60 }
        lims = { wide, tight }
        assert.equal(0, (seckill.combine(lims, keys)))
        assert.is_nil((seckill.combine(lims, keys)))
        fields = ratelimit.fields(ratelimit.results(lims, list))
        assert.matches('^"' .. wide.name .. '";r=0;', fields["RateLimit"])
    end)
end)


-- A client that waits for as long as Retry-After says, and one that comes a
-- second earlier than t, over hours of a clock that is given.
describe("a client that obeys", function()
    local algorithms = {
        { algorithm = "token_bucket", rate = 0.3, burst = 4 },
        { algorithm = "token_bucket", rate = 250, burst = 3 },
        { algorithm = "leaky_bucket", rate = 0.7, burst = 2 },
        { algorithm = "fixed_window", limit = 3, window = 7.3 },
        { algorithm = "sliding_window", limit = 5, window = 11 },
        { algorithm = "sliding_log", limit = 4, window = 9.1 },
    }
    local verdict = limiter.verdict
    local state = 20250801

    local function roll(n)
        state = state * 16807 % 2147483647
        return state % n
    end

    it("is admitted, whatever the algorithm", function()
        for _, opts in ipairs(algorithms) do
            local lim = new(opts)
            local now = C.seckill_mono_now()
            local refused, result = 0, {}
            for _ = 1, 5000 do
                local rc = C.seckill_limiter_take(lim.handle, "k", 1, 1, 1,
                                                  now, nil, verdict)
                ratelimit.result(lim, result)
                local fields = ratelimit.fields(result)
                if rc == lib.OK then
                    assert.is_nil(fields["Retry-After"])
                    now = now + roll(1000) * 1000000LL
                else
                    refused = refused + 1
                    local seconds = tonumber(fields["Retry-After"])
                    assert.equal('";r=0;t=' .. seconds,
                                 fields["RateLimit"]:match('";r=.*$'))
                    now = now + seconds * 1000000000LL
                    rc = C.seckill_limiter_take(lim.handle, "k", 1, 1, 1, now,
                                                nil, verdict)
                    assert.equal(lib.OK, rc, opts.algorithm)
                end
            end
            assert.is_true(refused > 0 or opts.rate == 250)
        end
    end)
end)


describe("the hot path of ratelimit", function()
    it("compiles", function()
        local a = new { algorithm = "token_bucket", rate = 1e6, burst = 100 }
        local b = new { algorithm = "fixed_window", limit = 1000,
                        window = 3600 }
        local result, headers = {}, {}
        compiled.check(function(i)
            local lim = i % 2 == 0 and a or b
            lim:incoming("k")
            ratelimit.set(headers, ratelimit.result(lim, result))
        end, 3000)
    end)

    it("compiles for a combine", function()
        local lims = {
            new { algorithm = "token_bucket", rate = 1e6, burst = 100 },
            new { algorithm = "fixed_window", limit = 1000, window = 3600 },
            new { algorithm = "sliding_log", limit = 16, window = 60 },
        }
        local keys, list, headers = { "k", "k", "k" }, {}, {}
        compiled.check(function()
            seckill.combine(lims, keys)
            ratelimit.set(headers, ratelimit.results(lims, list))
        end, 3000)
    end)

    it("gives the same fields compiled and not", function()
        local list = { { name = "a", quota = 10, window = 1, remaining = 3.7,
                         reset = 1.2 } }
        local want = ratelimit.fields(list)
        for _ = 1, 500 do
            assert.same(want, ratelimit.fields(list))
        end
    end)
end)
