-- seckill.open, destroy, stats, metrics: what an engine is made with, found
-- again by, and refused for. The stock is in stock_spec, the files in the C
-- tests.

local seckill = require "resty.seckill"
local raised = require "raised"

local count = 0
local names = {}


local function new_name()
    count = count + 1
    local name = ("open_%d_%d"):format(os.time() % 1000000, count)
    name = name .. "_" .. tostring(names):match("%x+$"):sub(-6)
    names[#names + 1] = name
    return name
end


local SMALL = { items = 4, reservations = 64, users = 64, requests = 64,
                limit_keys = 64, limiters = 4, lists = 2, list_overlay = 64,
                log_units = 256 }


local function open(name, more)
    local opts = { name = name, capacity = SMALL }
    for key, value in pairs(more or {}) do
        opts[key] = value
    end
    return seckill.open(opts)
end


-- Run a LuaJIT program with the same paths; its output.
local function other_process(code)
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(("package.path, package.cpath = %q, %q\n")
               :format(package.path, package.cpath), code)
    file:close()
    local library = os.getenv("SECKILL_LIB")
    local env = library and "SECKILL_LIB='" .. library .. "' " or ""
    local pipe = assert(io.popen(env .. "luajit " .. path .. " 2>&1"))
    local text = pipe:read("*a")
    pipe:close()
    os.remove(path)
    return text
end


local function exists(path)
    local file = io.open(path, "rb")
    if file then
        file:close()
    end
    return file ~= nil
end


local function remove_all()
    for _, name in ipairs(names) do
        seckill.destroy(name)
    end
end


describe("seckill.open", function()
    teardown(remove_all)

    it("creates a segment, once", function()
        local name = new_name()
        local engine = assert(open(name))
        assert.is_true(exists("/dev/shm/seckill." .. name))
        assert.equal(engine, assert(open(name)))
        assert.equal(engine, assert(seckill.open { name = name }))
        assert.equal(name, engine:stats().name)
    end)

    it("refuses bad names", function()
        for _, name in ipairs { "A", "a b", "a/b", "..", "a.b", "\195\169",
                                ("x"):rep(33) } do
            local engine, code, detail = open(name)
            assert.is_nil(engine)
            assert.equal("bad_name", code)
            assert.matches("name", detail)
        end
        local longest = ("x"):rep(32)
        names[#names + 1] = longest
        assert(open(longest))
    end)

    it("raises on unknown options and wrong types, at the caller", function()
        local bad = {
            { { nmae = "a" }, "nmae" },
            { { name = 1 }, "name" },
            { { name = true }, "name" },
            { { shm_dir = 1 }, "shm_dir" },
            { { user = {} }, "user" },
            { { window = "1" }, "window" },
            { { window = 0.5 }, "window" },
            { { window = 0 / 0 }, "window" },
            { { window = 1 / 0 }, "window" },
            { { window = -1 }, "window" },
            { { window = 31 * 86400 }, "window" },
            { { request_ids = 7 }, "request_ids" },
            { { request_ids = "uuidv4" }, "request_ids" },
            { { capacity = 5 }, "capacity" },
            { { capacity = { itmes = 5 } }, "capacity.itmes" },
            { { capacity = { items = 0 } }, "capacity.items" },
            { { capacity = { items = -1 } }, "capacity.items" },
            { { capacity = { items = 1.5 } }, "capacity.items" },
            { { capacity = { items = 0 / 0 } }, "capacity.items" },
            { { capacity = { items = 1 / 0 } }, "capacity.items" },
            { { capacity = { items = 2^20 + 1 } }, "capacity.items" },
            { { capacity = { users = 2^53 } }, "capacity.users" },
            { { capacity = { users = "9" } }, "capacity.users" },
            { { capacity = { log_units = 100 } }, "capacity.log_units" },
            { { capacity = { limiters = 2000 } }, "capacity.limiters" },
            { { capacity = { permits = 2^20 + 1 } }, "capacity.permits" },
            { { capacity = { breakers = 1025 } }, "capacity.breakers" },
            { { capacity = { shedders = 65 } }, "capacity.shedders" },
            { { name = "a\0b" }, "name" },
            { { shm_dir = "/a\0b" }, "shm_dir" },
            { { dir = 1 }, "dir" },
            { { dir = "relative" }, "dir" },
            { { dir = "/tmp/" }, "dir" },
            { { durability = "sync" }, "durability" },
            { { durability = "disk", dir = "/tmp/x" }, "durability" },
            { { max_lag = 0, dir = "/tmp/x" }, "max_lag" },
            { { max_lag = 0/0, dir = "/tmp/x" }, "max_lag" },
            { { max_log_bytes = 1, dir = "/tmp/x" }, "max_log_bytes" },
            { { log_segment_bytes = 2^21 + 1, dir = "/tmp/x" },
              "log_segment_bytes" },
        }
        for i, case in ipairs(bad) do
            local ok, message = pcall(function() seckill.open(case[1]) end)
            assert.is_false(ok, "case " .. i .. ": " .. case[2])
            assert.matches(case[2], message, 1, true)
            assert.matches("open_spec.lua:%d+: ", message, nil, false, i)
        end
        assert.matches("table expected", raised(seckill.open, "shop"))
        assert.matches("table expected", raised(seckill.open, 1))
    end)

    it("names the option that differs from the segment", function()
        local name = new_name()
        assert(open(name, { window = 60 }))
        for option, value in pairs(SMALL) do
            local engine, code, what, detail = seckill.open {
                name = name, capacity = { [option] = 2 * value } }
            assert.is_nil(engine)
            assert.equal("mismatch", code)
            assert.equal("capacity." .. option, what)
            assert.matches(tostring(value), detail)
        end
        assert.same({ nil, "mismatch", "window" },
                    { (function(a, b, c) return a, b, c end)(
                          seckill.open { name = name, window = 61 }) })
        assert.equal("request_ids", (select(3, seckill.open {
            name = name, request_ids = "ulid" })))
        assert(seckill.open { name = name, window = 60 })
    end)

    it("says why a directory or a user cannot be", function()
        local _, code, detail = open(new_name(), { shm_dir = "/nowhere" })
        assert.equal("io_error", code)
        assert.matches("/nowhere", detail)
        _, code, detail = open(new_name(), { user = "no-such-user-x" })
        assert.equal("unknown_user", code)
        assert.matches("no%-such%-user%-x", detail)
    end)

    it("shares a segment with another process", function()
        local name = new_name()
        local engine = assert(open(name))
        assert(engine.stock:put { item = "shoe", total = 5, version = 1 })
        local text = other_process(([[
            local seckill = require "resty.seckill"
            local engine = assert(seckill.open { name = "%s" })
            local order = assert(engine.stock:reserve("shoe", "u", 2, "r1"))
            io.write(order.state, " ", order.remaining)
            local _, code = seckill.open { name = "%s", window = 7 }
            io.write(" ", code)
        ]]):format(name, name))
        assert.equal("confirmed 3 mismatch", text)
        assert.equal(3, engine.stock:get("shoe").available)
        local again = assert(engine.stock:reserve("shoe", "u", 2, "r1"))
        assert.is_true(again.replayed)
    end)

    it("begins anew after destroy", function()
        local name = new_name()
        local old = assert(open(name))
        assert(old.stock:put { item = "shoe", total = 5, version = 1 })
        local order = assert(old.stock:reserve("shoe", "u", 1, "r1"))
        assert.is_true(seckill.destroy(name))
        assert.is_false(exists("/dev/shm/seckill." .. name))
        assert.is_false(exists("/dev/shm/seckill." .. name .. ".d/lock"))
        assert.same({ nil, "not_found" }, { seckill.destroy(name) })
        local young = assert(open(name))
        assert.not_equal(old, young)
        assert.same({ nil, "unknown_item" }, { young.stock:get("shoe") })
        assert.equal(4, old.stock:get("shoe").available)
        -- An id of the old life is no id of the new one.
        assert(young.stock:put { item = "shoe", total = 5, version = 1 })
        local other = assert(young.stock:reserve("shoe", "u", 1, "r1"))
        assert.not_equal(order.id, other.id)
        assert.same({ nil, "unknown_reservation" },
                    { young.stock:confirm(order.id) })
    end)

    it("gives a closed engine back as a new object", function()
        local name = new_name()
        local engine = assert(open(name))
        assert(engine.stock:put { item = "shoe", total = 5, version = 1 })
        assert.is_true(engine:close())
        assert.is_true(engine:close())
        assert.same({ nil, "closed" }, { engine.stock:get("shoe") })
        assert.same({ nil, "closed" }, { engine:stats() })
        assert.same({ nil, "closed" }, { engine:metrics() })
        local again = assert(open(name))
        assert.not_equal(engine, again)
        assert.equal(5, again.stock:get("shoe").available)
        assert.same({ nil, "closed" }, { engine.stock:get("shoe") })
    end)

    it("refuses bad arguments of destroy", function()
        assert.matches("name", raised(seckill.destroy, 5))
        assert.matches("shm_dir", raised(seckill.destroy, "a", {}))
        assert.same({ nil, "bad_name" }, { seckill.destroy("A") })
    end)

    it("has defaults that fit in 40 MiB", function()
        local name = new_name()
        local engine = assert(seckill.open { name = name })
        local stats = engine:stats()
        assert.is_true(stats.bytes <= 40 * 2^20)
        assert.equal(3600, stats.window)
        assert.same({ items = 256, reservations = 2^15, users = 2^16,
                      requests = 2^16, limit_keys = 2^16, limiters = 64,
                      limit_overrides = 512, permits = 2^14,
                      lists = 16, list_overlay = 4096, log_units = 2^15,
                      breakers = 64, shedders = 8 },
                    stats.capacity)
    end)
end)


describe("stats and metrics", function()
    local engine

    setup(function()
        engine = assert(open(new_name()))
        assert(engine.stock:put { item = "sh\"oe", total = 5, version = 1 })
    end)
    teardown(remove_all)

    it("count answers by operation and code", function()
        assert(engine.stock:reserve("sh\"oe", "u", 1, "r1"))
        engine.stock:reserve("sh\"oe", "u", 9, "r2")
        local stats = engine:stats()
        assert.equal(1, stats.results.reserve.ok)
        assert.equal(1, stats.results.reserve.sold_out)
        assert.equal("number", type(stats.events.replays))
        assert.equal(seckill.version(), stats.version)
        assert.is_true(stats.lsn >= 2)
        assert.is_true(math.abs(stats.now - os.time()) < 60)
    end)

    it("are the same numbers as text", function()
        local text = assert(engine:metrics())
        assert.matches('seckill_stock_units{item="sh\\"oe",state="sold"} 1\n',
                       text, 1, true)
        assert.matches('seckill_results_total{op="reserve",code="sold_out"} 1',
                       text, 1, true)
        assert.matches("\n$", text)
    end)
end)


describe("what an operator does next", function()
    after_each(function()
        for _, name in ipairs(names) do
            seckill.destroy(name)
        end
    end)

    it("open again after another process destroyed the segment", function()
        local name = new_name()
        local old = assert(open(name))
        assert(old.stock:put { item = "a", total = 1 })
        assert.matches("true", other_process(
            ("print(require('resty.seckill').destroy(%q))"):format(name)))
        local new = assert(open(name, { window = 60 }))
        assert.not_equal(old, new)
        assert.same({ nil, "unknown_item" }, { new.stock:get("a") })
        assert.equal(1, old.stock:get("a").total)
        new:close()
    end)

    it("put a wrong path of a list right", function()
        local engine = assert(open(new_name()))
        local path = os.tmpname()
        local file = assert(io.open(path, "wb"))
        file:write("mallory\n")
        file:close()
        local list, code = engine:access_list("deny", { file = path .. "x" })
        assert.same({ nil, "bad_file" }, { list, code })
        list = assert(engine:access_list("deny", { file = path }))
        assert.is_true((list:match("mallory")))
        list, code = engine:access_list("deny", { file = path .. "x" })
        assert.same({ nil, "conflict" }, { list, code })
        os.remove(path)
        engine:close()
    end)

    it("add and remove more values than the overlay holds", function()
        local engine = assert(open(new_name()))
        local list = assert(engine:access_list("deny", { kind = "id" }))
        for i = 1, 10 * SMALL.list_overlay do
            assert(list:add("user-" .. i))
            assert.is_true((list:match("user-" .. i)))
            assert(list:remove("user-" .. i))
            assert.is_false((list:match("user-" .. i)))
        end
        engine:close()
    end)

    it("not start what is closed", function()
        local engine = assert(open(new_name()))
        engine:close()
        assert.same({ nil, "closed" }, { engine:start() })
    end)

    it("see the same in stats() as in metrics()", function()
        local engine = assert(open(new_name()))
        assert(engine.stock:put { item = "a", total = 3 })
        assert(engine.stock:reserve("a", "u", 1, "r"))
        local stats = engine:stats()
        assert.same({ used = 1, capacity = 64 }, stats.tables.requests)
        assert.equal(1, stats.items[1].sold)
        assert.equal(1, stats.results.reserve.ok)
        assert.is_number(stats.clock_skew)
        assert.matches('seckill_stock_units{item="a",state="sold"} 1',
                       engine:metrics(), 1, true)
        engine:close()
    end)

    it("give a path that is one", function()
        for _, dir in ipairs { "", "shm", "/", "/dev/shm/" } do
            local ok, err = pcall(seckill.open, { name = "x", shm_dir = dir })
            assert.is_false(ok)
            assert.matches("shm_dir", err)
        end
    end)
end)
