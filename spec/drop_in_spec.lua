-- resty.seckill.limit.*: the answers of resty.limit.* where it is right (the
-- recorded ones, and those of the original itself where
-- SECKILL_LIMIT_TRAFFIC names a checkout), and what is right where it is not.
-- Time is given: nothing sleeps.

local ffi = require "ffi"
local lib = require "resty.seckill.lib"
local limit = require "resty.seckill.limit"
local seckill = require "resty.seckill"
local req = require "resty.seckill.limit.req"
local count = require "resty.seckill.limit.count"
local conn = require "resty.seckill.limit.conn"
local traffic = require "resty.seckill.limit.traffic"
local compiled = require "compiled"
local traces = require "limit_traces"
local vectors = require "limit_vectors"
local raised = require "raised"

local C = lib.C
local MODULES = { req = req, count = count, conn = conn }
-- A clock that a test moves starts here: in an hour, in whole milliseconds,
-- so that doubles hold it.
local START = math.floor(tonumber(C.seckill_mono_now()) / 1e6 + 3.6e6) * 1e6

local name = ("dropin_" .. tostring(C.seckill_mono_now()):gsub("%D", ""))
    :sub(1, 32)
local engine
local dicts = 0


-- The name of a dict that nobody has used.
local function fresh(prefix)
    dicts = dicts + 1
    return (prefix or "dict") .. dicts
end


-- An object and its clock: at(seconds).
local function object(kind, ...)
    local lim = assert(MODULES[kind].new(...))
    local function at(seconds)
        lim.now_ns = START + seconds * 1e9
        return lim
    end
    return at(0), at
end


setup(function()
    engine = assert(seckill.open { name = name, capacity = {
        limiters = 256, limit_keys = 2 ^ 14 } })
    limit.use(engine)
end)

teardown(function()
    engine:close()
    seckill.destroy(name)
end)


describe("a drop-in answers as the original", function()
    local ours = {
        new = function(kind, dict, ...)
            return MODULES[kind].new("trace-" .. dict, ...)
        end,
        combine = traffic.combine,
        move = function(lims, ms)
            for _, lim in ipairs(lims) do
                lim.now_ns = START + ms * 1e6
            end
        end,
    }

    local function recorded(trace)
        local tokens = {}
        for token in vectors[trace]:gmatch("%S+") do
            tokens[#tokens + 1] = token
        end
        return tokens
    end

    -- The first difference says more than two long lists.
    local function compare(trace, want, got)
        for i = 1, math.max(#want, #got) do
            if want[i] ~= got[i] then
                error(("%s, answer %d: %s expected, got %s"):format(
                      trace, i, tostring(want[i]), tostring(got[i])))
            end
        end
        assert.is_true(#want > 100)
    end

    it("to the recorded traces", function()
        local answers = traces.run(ours)
        for _, trace in ipairs(traces.names()) do
            compare(trace, recorded(trace), answers[trace])
        end
    end)

    local checkout = os.getenv("SECKILL_LIMIT_TRAFFIC")
    if checkout then
        it("which answers now what it did when they were recorded", function()
            local original = require("limit_original").load(checkout)
            local answers = traces.of_original(original)
            for _, trace in ipairs(traces.names()) do
                compare(trace, answers[trace], recorded(trace))
            end
        end)
    end
end)


describe("limit.req", function()
    it("delays what is over the rate and refuses what is over the burst",
    function()
        local lim, at = object("req", fresh(), 2, 1)
        assert.same({ 0, 0 }, { lim:incoming("k", true) })
        assert.same({ 0.5, 1 }, { lim:incoming("k", true) })
        assert.same({ nil, "rejected" }, { lim:incoming("k", true) })
        assert.same({ 0.5, 1 }, { at(0.5):incoming("k", true) })
        assert.same({ 0, 0 }, { lim:incoming("other", true) })
    end)

    it("only looks without commit, whatever says so", function()
        local lim = object("req", fresh(), 2, 0)
        for _, commit in ipairs { false, "nil" } do
            commit = commit ~= "nil" and commit or nil
            assert.same({ 0, 0 }, { lim:incoming("k", commit) })
        end
        assert.same({ 0, 0 }, { lim:incoming("k", 1) })
        assert.same({ nil, "rejected" }, { lim:incoming("k") })
    end)

    -- The original credits the time that a clock went back.
    it("admits nothing for a clock that steps back", function()
        local lim, at = object("req", fresh(), 10, 0)
        assert.equal(0, (lim:incoming("k", true)))
        for i = 1, 100 do
            local back = i % 2 == 0 and -3600 or -0.01
            assert.same({ nil, "rejected" }, { at(back):incoming("k", true) })
        end
        assert.equal(0, (at(0.1):incoming("k", true)))
    end)

    -- A clock of milliseconds admits 1000 of them.
    it("knows rates above 1000/s", function()
        local lim, at = object("req", fresh(), 5000, 0)
        local admitted = 0
        for i = 0, 99999 do
            if at(i * 1e-5) and lim:incoming("k", true) then
                admitted = admitted + 1
            end
        end
        assert.equal(5000, admitted)
    end)

    -- The original leaves the time of the request behind.
    it("gives back as if it had not been asked", function()
        local lim, at = object("req", fresh(), 10, 0)
        assert.equal(0, (lim:incoming("k", true)))
        assert.is_true(lim:uncommit("k"))
        assert.same({ 0, 0 }, { lim:incoming("k", true) })
        assert.is_nil((lim:incoming("k", true)))
        assert.is_true(lim:uncommit("k"))
        assert.same({ nil, "not found" }, { lim:uncommit("k") })
        assert.same({ nil, "not found" }, { lim:uncommit("never seen") })
        assert.equal(0, (at(1):incoming("k", true)))
    end)

    it("gives back keys that are not its last one", function()
        local lim = object("req", fresh(), 1, 1)
        assert.equal(0, (lim:incoming("a", true)))
        assert.equal(1, (lim:incoming("a", true)))
        assert.equal(0, (lim:incoming("b", true)))
        assert.is_true(lim:uncommit("a"))
        assert.equal(1, (lim:incoming("a", true)))
        assert.is_nil((lim:incoming("a", true)))
    end)

    it("changes rate and burst for the object only", function()
        local dict = fresh()
        local lim = object("req", dict, 2, 0)
        local other = object("req", dict, 2, 0)
        assert.equal(0, (lim:incoming("k", true)))
        assert.is_nil((lim:incoming("k", true)))
        lim:set_burst(2)
        assert.equal(0.5, (lim:incoming("k", true)))
        assert.is_nil((other:incoming("k", true)))
        lim:set_rate(4)
        assert.equal(0, (lim:incoming("l", true)))
        assert.equal(0.25, (lim:incoming("l", true)))
    end)

    -- The original keeps the 4 requests that it is over.
    it("keeps the time of a debt when the rate changes", function()
        local lim = object("req", fresh(), 2, 20)
        for _ = 1, 5 do
            lim:incoming("k", true)
        end
        assert.same({ 2.5, 5 }, { lim:incoming("k") })
        lim:set_rate(4)
        assert.same({ 2.5, 10 }, { lim:incoming("k") })
    end)

    it("has objects with numbers of their own on one dict", function()
        local dict = fresh()
        local host = object("req", dict, 100, 50)
        local client = object("req", dict, 1, 0)
        for i = 1, 51 do
            assert.same({ i, "number" },
                        { i, type((host:incoming("host", true))) })
        end
        assert.is_nil((host:incoming("host", true)))
        assert.equal(0, (client:incoming("client", true)))
        assert.is_nil((client:incoming("client", true)))
    end)
end)


describe("limit.count", function()
    it("counts down, then refuses until the window ends", function()
        local lim, at = object("count", fresh(), 3, 10)
        for left = 2, 0, -1 do
            assert.same({ 0, left }, { lim:incoming("k", true) })
        end
        assert.same({ nil, "rejected" }, { lim:incoming("k", true) })
        assert.same({ nil, "rejected" }, { at(9.99):incoming("k", true) })
        assert.same({ 0, 2 }, { at(10.01):incoming("k", true) })
    end)

    -- The original stores how many it refused: -995 after 1000.
    it("counts no refusal", function()
        local dict = fresh()
        local lim = object("count", dict, 5, 60)
        for _ = 1, 1000 do
            lim:incoming("k", true)
        end
        local more = object("count", dict, 8, 60)
        assert.same({ 0, 2 }, { more:incoming("k", true) })
        assert.equal(3, more:uncommit("k"))
    end)

    -- The original admits 10 of 5.
    it("gives back in its own window only", function()
        local lim, at = object("count", fresh(), 5, 10)
        for _ = 1, 5 do
            assert.equal(0, (lim:incoming("k", true)))
        end
        at(11)
        for _ = 1, 5 do
            assert.equal(5, lim:uncommit("k"))
        end
        for _ = 1, 5 do
            assert.equal(0, (lim:incoming("k", true)))
        end
        assert.is_nil((lim:incoming("k", true)))
    end)

    it("gives back never more than was counted", function()
        local lim = object("count", fresh(), 2, 10)
        assert.equal(2, lim:uncommit("k"))
        assert.same({ 0, 1 }, { lim:incoming("k", true) })
        for _ = 1, 3 do
            assert.equal(2, lim:uncommit("k"))
        end
        assert.same({ 0, 1 }, { lim:incoming("k", true) })
        assert.same({ 0, 0 }, { lim:incoming("k", true) })
        assert.is_nil((lim:incoming("k", true)))
    end)

    it("has windows of their own on one dict", function()
        local dict = fresh()
        local second = object("count", dict, 1, 1)
        local hour = object("count", dict, 2, 3600)
        assert.same({ 0, 0 }, { second:incoming("k", true) })
        assert.same({ 0, 1 }, { hour:incoming("k", true) })
        assert.is_nil((second:incoming("k", true)))
        assert.same({ 0, 0 }, { hour:incoming("k", true) })
    end)

    it("counts the whole part of a fraction", function()
        local lim = object("count", fresh(), 1.5, 60)
        assert.same({ 0, 0 }, { lim:incoming("k", true) })
        assert.is_nil((lim:incoming("k", true)))
        lim = object("count", fresh(), 0.5, 60)
        assert.same({ nil, "rejected" }, { lim:incoming("k", true) })
    end)
end)


describe("limit.conn", function()
    it("delays by the requests at once", function()
        local lim = object("conn", fresh(), 2, 2, 1)
        local want = { { 0, 1 }, { 0, 2 }, { 1, 3 }, { 1, 4 } }
        for _, answer in ipairs(want) do
            assert.same(answer, { lim:incoming("k", true) })
            assert.is_true(lim:is_committed())
        end
        assert.same({ nil, "rejected" }, { lim:incoming("k", true) })
        assert.is_false(lim:is_committed())
        assert.equal(3, lim:leaving("k"))
        assert.same({ 1, 4 }, { lim:incoming("k") })
        assert.is_false(lim:is_committed())
        assert.equal(2, lim:leaving("k", 3))
        assert.same({ 2, 3 }, { lim:incoming("k", true) })
    end)

    -- The original goes below 0, and admits more from then on.
    it("releases what it holds, and nothing else", function()
        local lim = object("conn", fresh(), 2, 0, 1)
        assert.same({ nil, "not found" }, { lim:leaving("k") })
        assert.equal(0, (lim:incoming("k", true)))
        assert.equal(0, lim:leaving("k"))
        for _ = 1, 5 do
            assert.same({ nil, "not found" }, { lim:leaving("k") })
            assert.same({ nil, "not found" }, { lim:uncommit("k") })
        end
        assert.equal(0, (lim:incoming("k", true)))
        assert.equal(0, (lim:incoming("k", true)))
        assert.is_nil((lim:incoming("k", true)))
    end)

    it("shares its permits with all objects of the dict", function()
        local dict = fresh()
        local a = object("conn", dict, 2, 0, 1)
        local b = object("conn", dict, 5, 0, 1)
        assert.equal(0, (a:incoming("k", true)))
        assert.same({ 0, 2 }, { b:incoming("k", true) })
        assert.is_nil((a:incoming("k", true)))
        assert.equal(1, a:leaving("k"))
        assert.equal(0, b:leaving("k"))
    end)

    it("holds many permits", function()
        local lim = object("conn", fresh(), 3000, 0, 1)
        for i = 1, 3000 do
            assert.same({ 0, i }, { lim:incoming("k", true) })
        end
        assert.is_nil((lim:incoming("k", true)))
        for i = 2999, 0, -1 do
            assert.equal(i, lim:leaving("k"))
        end
    end)

    it("takes no latency that is none", function()
        local lim = object("conn", fresh(), 1, 9, 1)
        for _, latency in ipairs { 0 / 0, math.huge, 1e300 } do
            lim:incoming("k", true)
            lim:leaving("k", latency)
            assert.equal(1, lim.unit_delay)
        end
        lim:incoming("k", true)
        lim:leaving("k", -5)
        assert.equal(0.5, lim.unit_delay)
        lim:incoming("k", true)
        lim:leaving("k", "0.5")
        assert.equal(0.5, lim.unit_delay)
    end)

    ffi.cdef [[
        int fork(void);
        int kill(int, int);
        int waitpid(int, int *, int);
        int pause(void);
        int pipe(int *);
        int close(int);
        long read(int, void *, size_t);
        long write(int, const void *, size_t);
        void _exit(int);
    ]]

    -- The child: takes 8 permits, says so, waits for its end.
    local function hold_for_ever(dict, fd)
        pcall(function()
            local lim = conn.new(dict, 8, 0, 1)
            for _ = 1, 8 do
                assert(lim:incoming("k", true))
            end
            ffi.C.write(fd, "x", 1)
            ffi.C.pause()
        end)
        ffi.C._exit(1)
    end

    it("gets back the permits of a process that was killed", function()
        local dict = fresh()
        local ends = ffi.new("int[2]")
        assert(ffi.C.pipe(ends) == 0)
        local pid = ffi.C.fork()
        if pid == 0 then
            hold_for_ever(dict, ends[1])
        end
        ffi.C.close(ends[1])
        assert(ffi.C.read(ends[0], ffi.new("char[1]"), 1) == 1)
        ffi.C.close(ends[0])
        local lim = object("conn", dict, 8, 0, 1)
        assert.is_nil((lim:incoming("k", true)))
        ffi.C.kill(pid, 9)
        ffi.C.waitpid(pid, nil, 0)
        -- Within 2 s by whoever looks; the look is what is repeated here.
        local deadline = C.seckill_mono_now() + 2000000000LL
        local delay
        repeat
            delay = lim:incoming("k", true)
        until delay or C.seckill_mono_now() > deadline
        assert.equal(0, delay)
        assert.equal(0, lim:leaving("k"))
    end)
end)


describe("limit.traffic", function()
    local function limiters(counts)
        return {
            (object("req", fresh(), 3, 2)), (object("req", fresh(), 2, 3)),
            (object("conn", fresh(), 4, 1, 2)),
            (object("count", fresh(), counts, 100)),
        }
    end
    local keys = { "foo", "bar", "foo", "bar" }

    it("answers the longest delay and the states", function()
        local lims, states = limiters(10), {}
        assert.equal(0, (traffic.combine(lims, keys, states)))
        assert.same({ 0, 0, 1, 9 }, states)
        assert.equal(0.5, (traffic.combine(lims, keys, states)))
        assert.same({ 1, 1, 2, 8 }, states)
        assert.equal(1, (traffic.combine(lims, keys)))
        assert.is_true(lims[3]:is_committed())
        assert.same({ nil, "rejected" }, { traffic.combine(lims, keys) })
    end)

    it("charges nothing when one refuses, whichever it is", function()
        for refusing = 1, 4 do
            local lims = limiters(10)
            local tight = object("req", fresh(), 1e-6, 0)
            tight:incoming("k", true)
            local used = { unpack(keys) }
            lims[refusing], used[refusing] = tight, "k"
            for _ = 1, 20 do
                assert.same({ nil, "rejected" },
                            { traffic.combine(lims, used) })
            end
            local want = { { 0, 0 }, { 0, 0 }, { 0, 1 }, { 0, 9 } }
            for i = 1, 4 do
                if i ~= refusing then
                    assert.same(want[i], { lims[i]:incoming(keys[i]) })
                end
            end
        end
    end)

    -- A limiter that passes a look and refuses to be charged.
    local Mock = {}
    Mock.__index = Mock

    function Mock:incoming(key, commit)
        local n = (self.counts[key] or 0) + 1
        if commit then
            self.counts[key] = n
            if self.refuses then
                return nil, "refused by mock"
            end
        end
        return n
    end

    function Mock:uncommit(key)
        self.counts[key] = self.counts[key] - 1
    end

    local function mock(refuses)
        return setmetatable({ counts = {}, refuses = refuses }, Mock)
    end

    it("takes any object, and gives back what was charged", function()
        for refusing = 1, 4 do
            local lims = { mock(), mock(), mock(), mock() }
            lims[refusing] = mock(true)
            lims[5] = object("count", fresh(), 10, 100)
            assert.same({ nil, "refused by mock" },
                { traffic.combine(lims, { "a", "b", "c", "d", "e" }) })
            for i, key in ipairs { "a", "b", "c", "d" } do
                local want = i == refusing and 2 or 1
                assert.equal(want, (lims[i]:incoming(key)))
            end
            assert.same({ 0, 9 }, { lims[5]:incoming("e") })
        end
    end)

    it("takes limiters of the engine, and gives back what was charged",
       function()
        local a = assert(engine:limiter(fresh("own"), { rate = 1e-6,
                                                        burst = 5 }))
        local b = assert(engine:limiter(fresh("own"), { rate = 1e-6,
                                                        burst = 5 }))
        assert.same({ nil, "refused by mock" },
                    { traffic.combine({ a, mock(true), b },
                                      { "k", "m", "k" }) })
        assert.equal(4, (select(2, a:incoming("k", false))))
        assert.equal(4, (select(2, b:incoming("k", false))))
        -- twice in one list: the second charge is refused
        local c = assert(engine:limiter(fresh("own"), { rate = 1e-6,
                                                        burst = 1 }))
        assert.same({ nil, "rejected" },
                    { traffic.combine({ c, c }, { "k", "k" }) })
        assert.equal(0, (select(2, c:incoming("k", false))))
    end)

    it("takes one, many and none", function()
        assert.equal(0, (traffic.combine({}, {})))
        local lim = object("count", fresh(), 100, 60)
        assert.equal(0, (traffic.combine({ lim }, { "k" })))
        local lims, many = {}, {}
        for i = 1, 64 do
            lims[i], many[i] = lim, "key" .. i
        end
        local states = {}
        assert.equal(0, (traffic.combine(lims, many, states)))
        assert.equal(64, #states)
        lims[65] = lim
        assert.matches("drop_in_spec.*at most 64",
                       raised(function() traffic.combine(lims, many) end))
        for _, call in ipairs {
            function() traffic.combine(lims, 5) end,
            function() traffic.combine({ lim }, 5) end,
            function() traffic.combine(nil, { "k" }) end,
        } do
            assert.matches("drop_in_spec.*list of limiters", raised(call))
        end
    end)
end)


describe("a drop-in", function()
    it("takes keys as a shared dict does", function()
        for _, lim in ipairs {
            (object("req", fresh(), 1, 0)), (object("count", fresh(), 1, 60)),
            (object("conn", fresh(), 1, 0, 1)),
        } do
            assert.same({ nil, "nil key" }, { lim:incoming(nil, true) })
            assert.same({ nil, "empty key" }, { lim:incoming("", true) })
            assert.same({ nil, "key too long" },
                        { lim:incoming(("x"):rep(65536), true) })
            for _, key in ipairs { "\0", ("x"):rep(64), ("x"):rep(65),
                                   ("x"):rep(65535), true } do
                assert.equal(0, (lim:incoming(key, true)))
                assert.same({ nil, "rejected" }, { lim:incoming(key, true) })
                assert.is_truthy((lim:uncommit(key)))
                assert.equal(0, (lim:incoming(key, true)))
            end
            assert.equal(0, (lim:incoming(7, true)))
            assert.is_nil((lim:incoming("7", true)))
            assert.same({ nil, "nil key" }, { lim:uncommit(nil) })
            assert.same({ nil, "empty key" }, { lim:uncommit("") })
        end
    end)

    it("names what is wrong, at the caller", function()
        local lim = object("req", fresh(), 1, 0)
        local con = object("conn", fresh(), 1, 0, 1)
        local inf, nan = math.huge, 0 / 0
        for pattern, calls in pairs {
            ["rate: 1e%-07 to"] = {
                function() req.new("d", 0, 1) end,
                function() req.new("d", -1, 1) end,
                function() req.new("d", nan, 1) end,
                function() req.new("d", inf, 1) end,
                function() req.new("d", 2 ^ 53, 1) end,
                function() lim:set_rate(0) end,
            },
            ["rate: number expected"] = {
                function() req.new("d", "1", 1) end,
                function() req.new("d", nil, 1) end,
                function() lim:set_rate({}) end,
            },
            ["burst: 0 to"] = {
                function() req.new("d", 1, -1) end,
                function() req.new("d", 1, nan) end,
                function() lim:set_burst(-1) end,
                function() conn.new("d", 1, -1, 1) end,
                function() con:set_burst(-1) end,
            },
            ["burst: more than 208 days"] = {
                function() req.new("d", 1e-7, 1e9) end,
            },
            ["count: .* expected"] = {
                function() count.new("d", 0, 1) end,
                function() count.new("d", nan, 1) end,
                function() count.new("d", nil, 1) end,
            },
            ["window: .* expected"] = {
                function() count.new("d", 1, 0) end,
                function() count.new("d", 1, 1e9) end,
                function() count.new("d", 1, "60") end,
            },
            ["max: .* expected"] = {
                function() conn.new("d", 0, 1, 1) end,
                function() conn.new("d", inf, 1, 1) end,
                function() con:set_conn(0) end,
            },
            ["default_conn_delay: .* expected"] = {
                function() conn.new("d", 1, 1, 0) end,
                function() conn.new("d", 1, 1, nil) end,
            },
        } do
            for _, call in ipairs(calls) do
                local message = raised(call)
                assert.matches("drop_in_spec", message)
                assert.matches(pattern, message)
            end
        end
        assert.equal(0, (lim:incoming("k", true)))
    end)

    it("says what a dict cannot be", function()
        for _, bad in ipairs { "", 5, true, {} } do
            assert.same({ nil, "shared dict not found" },
                        { req.new(bad, 1, 1) })
        end
        assert.same({ nil, "shared dict not found" }, { count.new(nil, 1, 1) })
    end)

    it("takes any name of a dict", function()
        local names = { "my_limit_req_store", "My_Limit_Store", "a.b",
                        ("x"):rep(40), ("x"):rep(41), "a b", "\195\169" }
        local seen = {}
        for _, dict in ipairs(names) do
            for _, made in ipairs {
                limit.limiter_name("req", dict),
                limit.limiter_name("count", dict, 60),
                limit.limiter_name("count", dict, 0.0015),
            } do
                assert.matches("^[a-z0-9_-]+$", made)
                assert.is_true(#made <= 32)
                assert.is_nil(seen[made], made)
                seen[made] = dict
            end
            assert.is_table(req.new(dict, 1, 1))
        end
        assert.equal("req-my_limit_req_store",
                     limit.limiter_name("req", "my_limit_req_store"))
        assert.equal("count-store-60000ms",
                     limit.limiter_name("count", "store", 60))
    end)

    it("keeps apart what is of another kind", function()
        local dict = fresh()
        assert.equal(0, (object("req", dict, 1, 0):incoming("k", true)))
        assert.same({ 0, 1 },
                    { object("conn", dict, 5, 0, 1):incoming("k", true) })
        assert.same({ 0, 4 },
                    { object("count", dict, 5, 9):incoming("k", true) })
    end)

    it("is full when there are no more limiters", function()
        local made, lim, code = 0
        repeat
            made = made + 1
            lim, code = req.new(fresh("full"), 1, 1)
        until not lim or made > 1000
        assert.equal("full", code)
    end)

    it("uses the engine that it is told to, and none that is closed",
    function()
        local second = assert(seckill.open { name = name .. "2" })
        limit.use(second)
        local lim = object("req", "dict", 1, 0)
        assert.equal(0, (lim:incoming("k", true)))
        assert.is_nil((lim:incoming("k", true)))
        second:close()
        -- Back to the first that is open.
        lim = object("count", "trace-count1", 5, 60)
        assert.is_table(lim)
        assert.matches("drop_in_spec.*closed",
                       raised(function() limit.use(second) end))
        assert.matches("drop_in_spec.*engine of",
                       raised(function() limit.use({}) end))
        limit.use(engine)
        seckill.destroy(name .. "2")
    end)

    it("opens the default engine where there is none", function()
        local other = assert(seckill.open { name = name .. "3" })
        local gone = assert(seckill.open { name = name .. "4" })
        local open, first = seckill.open, seckill.first
        local calls = 0
        finally(function()
            seckill.open, seckill.first = open, first
            limit.use(engine)
            other:close()
            seckill.destroy(name .. "3")
            seckill.destroy(name .. "4")
        end)
        limit.use(gone)
        gone:close()
        function seckill.first() end
        function seckill.open(options)
            calls = calls + 1
            assert.is_nil(options)
            if calls == 1 then
                return nil, "no_space"
            end
            return other
        end
        assert.same({ nil, "no_space" }, { req.new("d", 1, 0) })
        for _ = 1, 3 do
            assert.is_table(req.new("d", 1, 0))
        end
        assert.equal(2, calls)
    end)
end)


describe("the hot path of the drop-ins", function()
    local keys = {}
    for i = 1, 50 do
        keys[i] = "user" .. i
    end

    it("compiles", function()
        local a = object("req", "trace-req1", 1000, 50)
        local b = object("count", "trace-count1", 1e6, 60)
        local c = object("conn", "trace-conn1", 100, 10, 0.5)
        compiled.check(function(i)
            local key = keys[i % 50 + 1]
            local new = req.new("trace-req1", 1000, 50)
            new:incoming(key, true)
            a:incoming(key, false)
            if a:incoming(key, true) and i % 3 == 0 then
                a:uncommit(key)
            end
            b:incoming(key, true)
            b:uncommit(key)
            if c:incoming(key, true) and c:is_committed() then
                c:leaving(key, 0.01)
            end
        end, 3000)
    end)

    it("compiles in a combine", function()
        local lims = {
            (object("req", "trace-req1", 1e6, 50)),
            (object("req", "trace-req2", 1e6, 50)),
            (object("conn", "trace-conn1", 100, 10, 0.5)),
        }
        local used, states = {}, {}
        compiled.check(function(i)
            local key = keys[i % 50 + 1]
            used[1], used[2], used[3] = "shop", key, key
            if traffic.combine(lims, used, states) then
                lims[3]:leaving(key)
            end
        end, 3000)
    end)
end)
