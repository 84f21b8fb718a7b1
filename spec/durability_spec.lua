-- Levels of durability of calls and engines, `pending`, the numbers of the log.
-- How the log is written: csrc/test/log_flush_test.c; waiting in nginx:
-- spec/nginx/durability_spec.lua.

local process = require "spec.nginx.process"
local seckill = require "resty.seckill"
local raised = require "raised"

local SMALL = { items = 8, reservations = 64, users = 64, requests = 256,
                limit_keys = 64, limiters = 4, lists = 2, list_overlay = 64,
                log_units = 1024 }

local count = 0
local names = {}
local root


local function new_place()
    count = count + 1
    local name = ("durable_%d_%s"):format(count,
                                          tostring(names):match("%x+$"):sub(-6))
    names[#names + 1] = name
    return { name = name, dir = root .. "/" .. name }
end


local function options(place, more)
    local opts = { name = place.name, dir = place.dir, capacity = SMALL,
                   log_segment_bytes = 2^21, max_log_bytes = 2^25 }
    for key, value in pairs(more or {}) do
        opts[key] = value
    end
    return opts
end


local function open(place, more)
    local engine = assert(seckill.open(options(place, more)))
    if ngx then -- there a wait needs the threads
        assert(engine:start())
        -- Timers begin at the time that nginx last looked at, which is before
        -- all specs that did not yield: a wait of 5 s would be over at once.
        ngx.update_time()
    end
    return engine
end


local function open_with_shoes(place, more)
    local engine = open(place, more)
    assert(engine.stock:put { item = "shoe", total = 100, hold = 60 })
    return engine
end


local function durable(engine)
    return engine:stats().log.durable
end


-- No other process, no thread: only a sync call makes anything durable.
local function undurable(engine)
    return engine:stats().log.lag_records
end


local function make_root()
    local pipe = assert(io.popen("mktemp -d /dev/shm/seckill-spec.XXXXXX"))
    root = pipe:read("*l")
    pipe:close()
end


local function remove_all()
    for _, name in ipairs(names) do
        seckill.destroy(name)
    end
    assert(root:find("seckill-spec.", 1, true))
    os.execute("rm -rf '" .. root .. "'")
end


setup(make_root)
teardown(remove_all)


describe("an option of a log", function()
    it("raises at the caller and names the option when it is wrong", function()
        local bad = {
            { durability = "never" }, { durability = 1 }, { durability = true },
            { max_lag = 0 }, { max_lag = 3601 }, { max_lag = "1" },
            { max_lag = 0 / 0 }, { max_log_bytes = 1.5 }, { max_log_bytes = 0 },
            { max_log_bytes = 2^22 }, { log_segment_bytes = 2^20 },
            { log_segment_bytes = 2^31 }, { log_segment_bytes = 2^21 + 1 },
            { dir = "relative" }, { dir = "/" }, { dir = "/tmp/" },
            { dir = 5 }, { dir = "/a\0b" }, { dir = "/" .. ("x"):rep(250) },
        }
        local place = new_place()
        for _, more in ipairs(bad) do
            local message = raised(function()
                local engine = seckill.open(options(place, more))
                return engine -- no tail call: the caller is here
            end)
            assert.matches("durability_spec", message)
            assert.matches(next(more), message, 1, true)
        end
    end)

    it("needs a dir", function()
        for name, value in pairs { durability = "sync", max_lag = 1,
                                   max_log_bytes = 2^30,
                                   log_segment_bytes = 2^21 } do
            local message = raised(function()
                return seckill.open { name = "no_dir", [name] = value }
            end)
            assert.matches("dir", message)
        end
        assert.same({ nil, "not_found" }, { seckill.destroy("no_dir") })
    end)

    it("is not checked against what an attacher leaves out", function()
        local place = new_place()
        local engine = open(place, { durability = "sync", max_lag = 2 })
        assert.equal(engine, assert(seckill.open { name = place.name }))
        local _, code, option = seckill.open(options(place, { max_lag = 3 }))
        assert.same({ "mismatch", "max_lag" }, { code, option })
        _, code, option =
            seckill.open { name = place.name, dir = root .. "/other" }
        assert.same({ "mismatch", "dir" }, { code, option })
    end)
end)


describe("a call", function()
    it("without a dir has no level", function()
        local name = new_place().name
        local engine = assert(seckill.open { name = name, capacity = SMALL })
        assert.is_nil(engine:stats().log)
        assert.is_nil(engine:metrics():find("seckill_log_durable_lsn"))
        assert(engine.stock:put { item = "shoe", total = 1 })
        for _, level in ipairs { "sync", "async" } do
            assert.matches("durability", raised(function()
                return engine.stock:reserve("shoe", "u", 1, "r",
                                            { durability = level })
            end))
        end
        assert(engine.stock:reserve("shoe", "u", 1, "r"))
    end)

    it("raises on another level, at the caller", function()
        local stock = open_with_shoes(new_place()).stock
        local calls = {
            function(o) return (stock:reserve("shoe", "u", 1, "r", o)) end,
            function(o) return (stock:confirm("id", o)) end,
            function(o) return (stock:cancel("id", o)) end,
            function(o) return (stock:refund("id", "r", o)) end,
            function(o)
                return (stock:order {
                    user = "u", request_id = "r", durability = o.durability,
                    lines = { { item = "shoe", qty = 1 } } })
            end,
        }
        for _, call in ipairs(calls) do
            for _, level in ipairs { "never", 1, true } do
                local message = raised(call, { durability = level })
                assert.matches("durability_spec", message)
                assert.matches("durability", message:gsub("^.-:%d+:", ""))
            end
        end
        assert.same({ nil, "unknown_request" }, { stock:find("r") })
    end)

    it("of an async engine is async, except what ends an order", function()
        if ngx then return end
        local engine = open_with_shoes(new_place())
        local stock = engine.stock
        assert.equal(0, undurable(engine)) -- put
        local a = assert(stock:reserve("shoe", "a", 1, "r1"))
        local b = assert(stock:reserve("shoe", "b", 1, "r2"))
        local c = assert(stock:reserve("shoe", "c", 1, "r3"))
        assert.equal(3, undurable(engine))
        assert(stock:cancel(a.id))
        assert.equal(4, undurable(engine))
        assert(stock:find("r1"))
        assert.equal(4, undurable(engine))
        assert(stock:confirm(b.id))
        assert.equal(0, undurable(engine))
        assert(stock:confirm(c.id, { durability = "async" }))
        assert.equal(1, undurable(engine))
        assert(stock:refund(b.id, "r4"))
        assert.equal(0, undurable(engine))
        assert(stock:reserve("shoe", "d", 1, "r5", { durability = "sync" }))
        assert.equal(0, undurable(engine))
        assert(stock:reserve("shoe", "e", 1, "r6"))
        assert(stock:adjust("shoe", 5, "r7"))
        assert.equal(0, undurable(engine))
        assert(stock:order { user = "f", request_id = "r8",
                             lines = { { item = "shoe", qty = 1 } } })
        assert.equal(1, undurable(engine))
        assert(stock:order { user = "g", request_id = "r9", durability = "sync",
                             lines = { { item = "shoe", qty = 1 } } })
        assert.equal(0, undurable(engine))
    end)

    it("of a sync engine is sync, also a replay, unless it says", function()
        if ngx then return end
        local engine = open_with_shoes(new_place(), { durability = "sync" })
        local stock = engine.stock
        local a = assert(stock:reserve("shoe", "a", 1, "r1"))
        assert.equal(0, undurable(engine))
        assert.equal(a.lsn, durable(engine))
        assert(stock:reserve("shoe", "b", 1, "r2", { durability = "async" }))
        assert.equal(1, undurable(engine))
        assert.is_true(assert(stock:reserve("shoe", "b", 1, "r2")).replayed)
        assert.equal(0, undurable(engine))
        assert(stock:reserve("shoe", "c", 1, "r3", { durability = "async" }))
        assert(stock:find("r3"))
        assert.equal(0, undurable(engine))
        assert(stock:cancel(a.id))
        assert.equal(0, undurable(engine))
    end)

    it("that is refused is refused at any level", function()
        local stock =
            open_with_shoes(new_place(), { durability = "sync" }).stock
        assert.same({ nil, "sold_out" },
                    { stock:reserve("shoe", "u", 101, "r") })
        assert.same({ nil, "unknown_reservation" }, { stock:confirm("none") })
        assert.same({ nil, "bad_user" }, { stock:reserve("shoe", "", 1, "r") })
    end)
end)


-- A process that has the role of the flusher, and can be stopped.
local HOLDER = [[
package.path, package.cpath = %q, %q
local seckill = require "resty.seckill"
local engine = assert(seckill.open { name = %q, dir = %q })
assert(engine:start())
assert(engine.stock:put { item = "sign", total = 1, hold = 1 })
io.open(%q, "wb"):close()
io.read("*a")
require("ffi").cdef "int pause(void);"
require("ffi").C.pause()
]]


local function start_holder(place)
    local ready, path = root .. "/ready", root .. "/holder.lua"
    local file = assert(io.open(path, "wb"))
    file:write(HOLDER:format(package.path, package.cpath, place.name,
                             place.dir, ready))
    file:close()
    local pid = process.spawn({ "/bin/sh", "-c", "exec luajit " .. path },
                              root .. "/holder.out")
    assert(process.wait(function() return process.slurp(ready) end),
           process.slurp(root .. "/holder.out"))
    return pid
end


local function is_stopped(pid)
    return process.slurp("/proc/" .. pid .. "/stat"):find(") T ", 1, true)
end


describe("a disk that does not answer", function()
    it("makes calls pending, with their id; asked again they are true",
       function()
        if ngx then return end
        local place = new_place()
        local engine = open_with_shoes(place)
        local stock = engine.stock
        local order = assert(stock:reserve("shoe", "a", 1, "r1"))
        local pid = start_holder(place)
        process.kill(pid, "STOP")
        assert(process.wait(function() return is_stopped(pid) end))

        local none, code, id =
            stock:reserve("shoe", "b", 1, "r2", { durability = "sync" })
        assert.same({ "pending", "string" }, { code, type(id) })
        assert.is_nil(none)
        assert.equal(1, engine:stats().log.lag_records)
        assert.is_true(engine:stats().log.lag > 1)
        -- It is recorded; nothing more is promised meanwhile.
        assert.equal(id, assert(stock:find("r2")).id)
        assert.same({ nil, "busy" }, { stock:reserve("shoe", "c", 1, "r3") })
        assert.is_true(stock:confirm(order.id, { durability = "async" }))
        assert.same({ nil, "pending" }, { stock:confirm(order.id) })

        process.kill(pid, "CONT")
        assert.is_true(stock:confirm(order.id))
        assert.is_true(assert(stock:reserve("shoe", "b", 1, "r2")).replayed)
        assert.is_true(stock:confirm(id))
        assert.equal(0, engine:stats().log.lag_records)
        process.kill(pid, "KILL")
        assert(process.wait(function() return process.ended(pid) end))
        assert(stock:reserve("shoe", "c", 1, "r3", { durability = "sync" }))
        assert.same({}, assert(stock:audit()).problems)
    end)
end)


describe("the numbers of the log", function()
    it("say where it is and how far", function()
        local place = new_place()
        local engine = open_with_shoes(place)
        local order = assert(engine.stock:reserve("shoe", "a", 1, "r1",
                                                  { durability = "sync" }))
        local log = engine:stats().log
        assert.equal(place.dir, log.dir)
        assert.matches("^%x+%-%x+%-%x+%-%x+%-%x+$", log.uuid)
        assert.equal("ok", log.state)
        assert.equal("", log.error)
        assert.equal(order.lsn, log.durable)
        assert.equal(engine:stats().lsn, log.durable)
        assert.same({ 0, 0 }, { log.lag, log.lag_records })
        assert.same({ 1, 0 }, { log.first_lsn, log.snapshot_lsn })
        assert.same({ 2^25, 1, 0 },
                    { log.max_bytes, log.segments, log.free_segments })
        assert.is_true(log.bytes >= 4096 and log.bytes <= 2^25)
        assert.is_true(log.incarnation > 0)
        assert.is_true(log.batches >= 1 and log.records == 2)
        assert.is_true(log.sync_seconds >= 0)
        assert.equal(0, log.failures)
    end)

    it("are metrics, too", function()
        local engine = open_with_shoes(new_place())
        local text = engine:metrics()
        local log = engine:stats().log
        for name, value in pairs {
            durable_lsn = log.durable, lag_seconds = 0, state = 1,
            bytes = log.bytes, max_bytes = log.max_bytes, snapshot_lsn = 0,
            batches_total = log.batches, records_total = log.records,
            failures_total = 0,
        } do
            local got = text:match("\nseckill_log_" .. name .. " (%S+)")
            assert.equal(value, tonumber(got), name)
        end
        assert.matches("\nseckill_log_sync_seconds_total %d", text)
    end)
end)


describe("an engine that was closed", function()
    it("is opened again with all of it, also without its segment", function()
        local place = new_place()
        local engine = open_with_shoes(place)
        local order = assert(engine.stock:reserve("shoe", "a", 1, "r1"))
        assert(engine:close())
        assert.same({ nil, "closed" }, { engine.stock:confirm(order.id) })
        engine = open(place)
        assert.is_true(engine.stock:confirm(order.id))
        local incarnation = engine:stats().log.incarnation
        assert(engine:close())
        assert(seckill.destroy(place.name))
        engine = open(place)
        assert.equal(incarnation + 1, engine:stats().log.incarnation)
        assert.equal("confirmed", assert(engine.stock:find("r1")).state)
        assert.is_true(engine.stock:confirm(order.id))
        assert.equal(99, assert(engine.stock:get("shoe")).available)
    end)
end)
