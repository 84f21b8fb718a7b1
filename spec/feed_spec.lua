-- The feed and its named cursors: every durable record once and in order, from
-- any position, whatever is asked. That reading finds all records of a log is
-- proved in C (csrc/test); here, that Lua hands them on.

local ffi = require("ffi")
local lib = require("resty.seckill.lib")
local log = require("resty.seckill.log")
local seckill = require("resty.seckill")

local SMALL = { items = 8, reservations = 256, users = 256, requests = 512,
                limit_keys = 1, log_units = 2^12 }

local engine, stock, base


local function open(more)
    local options = { name = "feed", shm_dir = base, dir = base .. "/log",
                      capacity = SMALL }
    for name, value in pairs(more or {}) do
        options[name] = value
    end
    engine = assert(seckill.open(options))
    stock = engine.stock
end


-- A life of the ledger in a process of its own: a directory stays with the
-- process that opened it. Runs `body` and ends.
local function live_through(body)
    local path = base .. "/live.lua"
    local file = assert(io.open(path, "wb"))
    file:write(([[
        package.path, package.cpath = %q, %q
        local seckill = require("resty.seckill")
        local engine = assert(seckill.open { name = "feed", shm_dir = %q,
            dir = %q, capacity = { items = 8, reservations = 256, users = 256,
            requests = 512, limit_keys = 1, log_units = 2^12 } })
        local stock = engine.stock
        %s
        engine:close()
        seckill.destroy("feed", %q)
        print("lived")
    ]]):format(package.path, package.cpath, base, base .. "/log", body, base))
    file:close()
    local pipe = assert(io.popen("SECKILL_LIB='" .. lib.path .. "' luajit "
                                 .. path .. " 2>&1"))
    local text = pipe:read("*a")
    pipe:close()
    assert.equal("lived\n", text)
end


-- One that sells from..to.
local function live(from, to)
    live_through(([[
        assert(stock:put { item = "tee", total = 100000, hold = 60 })
        for n = %d, %d do
            assert(stock:reserve("tee", "user-" .. n, 1, "r" .. n,
                                 { durability = "async" }))
        end
        assert(stock:adjust("tee", 1, "flush-%d"))
    ]]):format(from, to, from))
end


-- Everything so far is durable; also where no thread flushes.
local function flush()
    local rc = lib.C.seckill_sync_wait(engine.handle,
        lib.C.seckill_lsn(engine.handle), 10000000000LL)
    assert.equal(0, rc)
end


local ASYNC = { durability = "async" }


local function put(item)
    local i = ffi.new("seckill_item_t")
    i.struct_size = ffi.sizeof("seckill_item_t")
    i.item_len = #item
    ffi.copy(i.item, item, #item)
    i.total, i.hold_ns, i.version = 100000, 60000000000LL, 1
    assert.equal(0, lib.C.seckill_put(engine.handle, i))
end


local function sell(from, to)
    for n = from, to do
        local order = assert(stock:reserve("tee", "user-" .. n, 1, "r" .. n,
                                           ASYNC))
        if n % 2 == 0 then
            assert(stock:cancel(order.id, ASYNC))
        end
    end
end


-- All records from a cursor on, `max` at a time; and the last cursor.
local function read_all(cursor, max)
    local all = {}
    while true do
        local list, next_cursor = assert(stock:feed(cursor, max))
        if #list == 0 then
            return all, next_cursor
        end
        for _, record in ipairs(list) do
            all[#all + 1] = record
        end
        cursor = next_cursor
    end
end


local function keys(records)
    local list = {}
    for i, record in ipairs(records) do
        list[i] = record.key
    end
    return list
end


-- A snapshot of what is in full segments; lets go what the one before it has.
local function snapshot()
    local out, err = ffi.new("seckill_snapshot_t *[1]"), ffi.new("char[512]")
    local rc = lib.C.seckill_snapshot_begin(base .. "/log", out, err, 512)
    assert.equal(0, rc, ffi.string(err))
    local n = ffi.new("uint64_t[2]")
    repeat
        rc = lib.C.seckill_snapshot_step(out[0], 1e6, n, n + 1)
    until rc ~= 1
    assert.equal(0, rc)
    lib.C.seckill_snapshot_end(out[0])
end


local function destroy()
    engine:close()
    seckill.destroy("feed", base)
end


describe("feed", function()
    before_each(function()
        local pipe = assert(io.popen("mktemp -d /dev/shm/seckill-spec.XXXXXX"))
        base = pipe:read("*l")
        pipe:close()
    end)

    after_each(function()
        destroy()
        os.execute("rm -rf '" .. base .. "'")
    end)

    it("is not there without dir", function()
        engine = assert(seckill.open { name = "feed", shm_dir = base,
                                       capacity = SMALL })
        stock = engine.stock
        for _, call in ipairs {
            function() return stock:feed() end,
            function() return stock:cursor("a") end,
            function() return stock:cursor("a", { create = true }) end,
            function() return stock:ack("a", "1-1") end,
            function() return stock:drop_cursor("a") end,
            function() return stock:cursors() end,
        } do
            local ok, code = call()
            assert.is_nil(ok)
            assert.equal("not_found", code)
        end
    end)

    it("gives the records with what they say", function()
        open()
        put("tee")
        local order = assert(stock:reserve("tee", "ann", 3, "r1", ASYNC))
        assert(stock:cancel(order.id, ASYNC))
        flush()
        local all = read_all()
        assert.equal(3, #all)
        local r = all[2]
        assert.equal("put", all[1].type)
        assert.is_nil(all[1].id)
        assert.equal("reserve", r.type)
        assert.equal(order.id, r.id)
        assert.equal("tee", r.item)
        assert.equal("ann", r.user)
        assert.equal(3, r.qty)
        assert.equal("r1", r.request_id)
        assert.equal("reserved", r.state)
        assert.equal(99997, r.available)
        assert.equal(3, r.reserved)
        assert.equal(0, r.sold)
        assert.is_near(order.expires_at, r.expires_at, 1e-6)
        assert.is_near(engine:now(), r.time, 5)
        assert.is_nil(r.line)
        assert.equal(order.lsn, r.lsn)
        assert.is_truthy(r.key:find("^%x+%-%x+%-%x+%-%x+%-%x+%-%d+%-2$"))
        assert.equal("cancel", all[3].type)
        assert.equal("cancelled", all[3].state)
        assert.equal(100000, all[3].available)
    end)

    it("gives each record once and in order, however it is cut", function()
        open()
        put("tee")
        sell(1, 100)
        flush()
        local all = read_all(nil, 10000)
        assert.equal(151, #all)
        for i, record in ipairs(all) do
            assert.equal(i, record.lsn)
        end
        for _, max in ipairs { 1, 2, 7, 150, 151, 152 } do
            assert.same(keys(all), keys(read_all(nil, max)))
        end
    end)

    it("goes on where the cursor stands, in any order of calls", function()
        open()
        put("tee")
        sell(1, 50)
        flush()
        local all = read_all()
        local cursors = {}
        local cursor
        for i = 1, #all do
            local list
            list, cursor = assert(stock:feed(cursor, 1))
            assert.equal(1, #list)
            cursors[i] = cursor
        end
        for _, i in ipairs { 1, 40, 3, 3, 70, 69, 75, 2 } do
            local list = assert(stock:feed(cursors[i], 2))
            assert.equal(all[i + 1] and all[i + 1].key,
                         list[1] and list[1].key)
        end
    end)

    it("hands on nothing that is not durable", function()
        open()
        put("tee")
        flush()
        local all, cursor = read_all()
        assert.equal(1, #all)
        sell(1, 10)
        local list, same = assert(stock:feed(cursor))
        assert.same({}, list)
        assert.equal(cursor, same)
        flush()
        assert.equal(15, #read_all(cursor))
    end)

    it("begins with nothing in an empty ledger", function()
        open()
        local list, cursor = assert(stock:feed())
        assert.same({}, list)
        put("tee")
        flush()
        assert.equal(1, #read_all(cursor))
    end)

    it("never splits the lines of an order", function()
        open()
        put("tee")
        put("mug")
        put("cap")
        for n = 1, 10 do
            assert(stock:order { user = "u" .. n, request_id = "r" .. n,
                durability = "async", lines = {
                { item = "tee", qty = 1 }, { item = "mug", qty = 2 },
                { item = "cap", qty = 3 } } })
        end
        flush()
        for _, max in ipairs { 1, 2, 3, 4, 5 } do
            local cursor, orders, seen = nil, 0, {}
            repeat
                local list
                list, cursor = assert(stock:feed(cursor, max))
                for i, record in ipairs(list) do
                    assert.is_nil(seen[record.key])
                    seen[record.key] = true
                    if record.line == 1 then
                        orders = orders + 1
                        assert.equal(2, list[i + 1].line)
                        assert.equal(3, list[i + 2].line)
                        assert.equal(record.key:sub(1, -3) .. "-3",
                                     list[i + 2].key)
                        assert.equal("cap", list[i + 2].item)
                        assert.equal(3, list[i + 2].qty)
                        assert.equal(record.lsn, list[i + 2].lsn)
                    end
                end
            until #list == 0
            assert.equal(10, orders)
        end
    end)

    it("names the order and the line where a hold ends", function()
        open()
        engine:set_test_clock(1800000000)
        finally(function() engine:set_test_clock() end)
        put("tee")
        put("mug")
        local order = assert(stock:order { user = "ann", request_id = "r1",
            durability = "async", lines = {
            { item = "tee", qty = 1 }, { item = "mug", qty = 2 } } })
        local single = assert(stock:reserve("mug", "bob", 1, "r2", ASYNC))
        engine:set_test_clock(1800000100)
        assert.equal(3, assert(stock:sweep()))
        flush()
        local ended = {}
        for _, r in ipairs(read_all()) do
            if r.type == "expire" then
                assert.equal("expired", r.state)
                ended[#ended + 1] = { r.id, r.line or 0, r.item, r.qty }
            end
        end
        table.sort(ended, function(a, b)
            return a[1] .. a[2] < b[1] .. b[2]
        end)
        local want = { { order.id, 1, "tee", 1 }, { order.id, 2, "mug", 2 },
                       { single.id, 0, "mug", 1 } }
        table.sort(want, function(a, b) return a[1] .. a[2] < b[1] .. b[2] end)
        assert.same(want, ended)
    end)

    it("goes on over lives of the ledger", function()
        live(1, 10)
        live(11, 20)
        open()
        flush()
        local all = read_all(nil, 3)
        assert.equal(1 + 10 + 1 + 10 + 1, #all)
        local first, last = all[12].key, all[13].key
        local life = tonumber(first:match("%-(%d+)%-%d+$"))
        assert.equal(life + 1, tonumber(last:match("%-(%d+)%-%d+$")))
        local function cursor(incarnation, record)
            return ("%x-%x"):format(incarnation, record.lsn)
        end
        assert.equal(last, assert(stock:feed(cursor(life, all[12])))[1].key)
        assert.equal(all[14].key,
                     assert(stock:feed(cursor(life + 1, all[13])))[1].key)
        -- The same LSN of another life is another position.
        for i, incarnation in pairs { [12] = life + 1, [13] = life,
                                      [14] = life + 2 } do
            local list, code = stock:feed(cursor(incarnation, all[i]))
            assert.is_nil(list)
            assert.equal("bad_cursor", code)
        end
    end)

    it("begins with the life in front of the oldest record", function()
        live_through [[
            assert(stock:put { item = "tee", total = 10, hold = 60 })
            local order = assert(stock:reserve("tee", "ann", 1, "r1"))
            assert(stock:cancel(order.id, { durability = "sync" }))
        ]]
        -- Only what is not for consumers: all is forgotten.
        live_through [[
            engine:set_test_clock(engine:now() + 1e6)
            stock:sweep(1000)
            local rc = require("resty.seckill.lib").C.seckill_sync_wait(
                engine.handle, engine:stats().lsn, 10000000000LL)
            assert(rc == 0 and engine:stats().lsn > 3)
        ]]
        snapshot()
        open()
        snapshot()
        assert.is_true(engine:stats().log.first_lsn > 3)
        local list, cursor = assert(stock:feed())
        assert.same({}, list)
        assert(stock:cursor("crm", { create = true }))
        assert.is_true(stock:ack("crm", cursor))
    end)

    -- Ids that are forgotten leave records in the log that are not for
    -- consumers, after what these have seen; how many.
    local function forget()
        local before = engine:stats().lsn
        engine:set_test_clock(engine:now() + 1e6)
        finally(function() engine:set_test_clock() end)
        repeat until assert(stock:sweep(1000)) == 0
        flush()
        return engine:stats().lsn - before
    end

    local function lsn_of(cursor)
        return tonumber(cursor:match("%-(%x+)$"), 16)
    end

    it("moves its cursor over what is not for consumers", function()
        open()
        put("tee")
        local order = assert(stock:reserve("tee", "ann", 1, "r1", ASYNC))
        assert(stock:cancel(order.id, ASYNC))
        flush()
        local named = assert(stock:cursor("crm", { create = true }))
        local list, behind = assert(stock:feed(named))
        assert.equal(3, #list)
        assert.equal(3, lsn_of(behind))
        assert.is_true(forget() > 0)
        local durable, cursor = engine:stats().log.durable
        list, cursor = assert(stock:feed(behind))
        assert.same({}, list)
        assert.equal(durable, lsn_of(cursor))
        assert.is_true(stock:ack("crm", cursor))
        -- The place is one, though the record there is hidden.
        assert(stock:feed())
        list, behind = assert(stock:feed(cursor))
        assert.same({}, list)
        assert.equal(cursor, behind)
        -- Also when there is something behind them, which does not fit.
        sell(1, 2)
        flush()
        assert(stock:feed())
        list, cursor = assert(stock:feed(named, 3))
        assert.equal(3, #list)
        assert.equal(durable, lsn_of(cursor))
        list = assert(stock:feed(cursor, 1))
        assert.equal("reserve", list[1].type)
        assert.equal("user-1", list[1].user)
        -- Of another life it is none.
        local other = ("%x-%x"):format(tonumber(cursor:match("^%x+"), 16) + 1,
                                       durable)
        for _, text in ipairs { other, (other:gsub("^%x+", "0")) } do
            local none, code = stock:feed(text)
            assert.is_nil(none)
            assert.equal("bad_cursor", code)
        end
    end)

    it("never has a cursor within an order", function()
        open()
        put("tee")
        put("mug")
        assert(stock:reserve("tee", "bob", 1, "r0", ASYNC))
        forget()
        local order = assert(stock:order { user = "ann", request_id = "r1",
            durability = "async", lines = {
            { item = "tee", qty = 1 }, { item = "mug", qty = 2 } } })
        flush()
        local cursor
        for _ = 1, 20 do
            local list
            list, cursor = assert(stock:feed(cursor, 1))
            if #list == 2 then
                assert.equal(order.lsn, list[2].lsn)
                assert.equal(order.lsn, lsn_of(cursor))
                return
            end
            assert.is_true(lsn_of(cursor) < order.lsn)
        end
        error("the order did not come")
    end)

    it("opens no file while nothing happens", function()
        open()
        put("tee")
        flush()
        local _, cursor = read_all()
        local opened, real = 0, log.reader
        log.reader = function(...)
            opened = opened + 1
            return real(...)
        end
        finally(function() log.reader = real end)
        for i = 1, 20 do
            if i % 5 == 0 then
                assert(stock:reserve("tee", "u" .. i, 1, "r" .. i, ASYNC))
                forget()
            end
            _, cursor = assert(stock:feed(cursor))
        end
        assert.equal(0, opened)
        assert.equal(engine:stats().log.durable, lsn_of(cursor))
    end)

    it("refuses what is no cursor of this ledger", function()
        open()
        put("tee")
        flush()
        for _, cursor in ipairs {
            "", "-", "1", "1-", "-1", "1-1-1", "g-1", "1-g", " 1-1", "1-1 ",
            "1-1\n", "0x1-1", "1-" .. ("f"):rep(20), ("f"):rep(9) .. "-1",
            "1-20000000000000", ("1"):rep(1e5) .. "-1", "\255\0-1", "1-ffff",
            12, true, {}, print, 1LL,
        } do
            local list, code = stock:feed(cursor)
            assert.is_nil(list)
            assert.equal("bad_cursor", code)
        end
        local list, code = stock:feed(false)
        assert.is_nil(list)
        assert.equal("bad_cursor", code)
        assert.equal(1, #assert(stock:feed("1-0")))
        assert.equal(1, #assert(stock:feed("ffffffff-0")))
    end)

    it("raises for a max that is none", function()
        open()
        for _, max in ipairs { 0, -1, 10001, 1.5, 0 / 0, "1", {}, true } do
            assert.has_error(function() stock:feed(nil, max) end,
                "option \"max\": integer of 1 to 10000 expected")
        end
    end)

    it("answers closed after close", function()
        open()
        put("tee")
        flush()
        assert.equal(1, #assert(stock:feed()))
        engine:close()
        local list, code = stock:feed()
        assert.is_nil(list)
        assert.equal("closed", code)
    end)
end)


describe("named cursors", function()
    before_each(function()
        local pipe = assert(io.popen("mktemp -d /dev/shm/seckill-spec.XXXXXX"))
        base = pipe:read("*l")
        pipe:close()
    end)

    after_each(function()
        destroy()
        os.execute("rm -rf '" .. base .. "'")
    end)

    it("are made at the oldest record, moved, listed and dropped", function()
        open()
        put("tee")
        sell(1, 10)
        flush()
        local none, code = stock:cursor("crm")
        assert.is_nil(none)
        assert.equal("not_found", code)
        assert.same({}, assert(stock:cursors()))
        local start = assert(stock:cursor("crm", { create = true }))
        assert.equal(start, assert(stock:cursor("crm")))
        local list, next_cursor = assert(stock:feed(start, 4))
        assert.equal(1, list[1].lsn)
        assert.is_true(stock:ack("crm", next_cursor))
        assert.is_true(stock:ack("crm", next_cursor))
        assert.equal(next_cursor, assert(stock:cursor("crm")))
        assert.equal(next_cursor,
                     assert(stock:cursor("crm", { create = true })))
        local incarnation = tonumber(next_cursor:match("^%x+"), 16)
        assert.same({ { name = "crm", lsn = 4, incarnation = incarnation,
                        dropped = false } }, assert(stock:cursors()))
        assert.is_true(stock:drop_cursor("crm"))
        none, code = stock:cursor("crm")
        assert.is_nil(none)
        assert.equal("cursor_gone", code)
        none, code = stock:cursor("crm", { create = true })
        assert.is_nil(none)
        assert.equal("cursor_gone", code)
        none, code = stock:ack("crm", next_cursor)
        assert.is_nil(none)
        assert.equal("cursor_gone", code)
        assert.is_true(assert(stock:cursors())[1].dropped)
        assert.equal(start, assert(stock:cursor("crm", { again = true })))
    end)

    it("outlive the ledger's lives", function()
        live(1, 10)
        open()
        local start = assert(stock:cursor("crm", { create = true }))
        local _, cursor = assert(stock:feed(start, 5))
        assert(stock:ack("crm", cursor))
        destroy()
        local other = assert(io.popen("SECKILL_LIB='" .. lib.path
            .. "' ./bin/seckill ledger cursors -o json --dir " .. base
            .. "/log"))
        local text = other:read("*a")
        other:close()
        assert.is_truthy(text:find('"lsn":5,"name":"crm"', 1, true))
    end)

    it("keep the log; without one old records go", function()
        open { log_segment_bytes = 2^21, max_log_bytes = 2^26,
               capacity = { items = 8, reservations = 2^16, users = 2^16,
                            requests = 2^17, limit_keys = 1,
                            log_units = 2^14 } }
        put("tee")
        local kept = assert(stock:cursor("crm", { create = true }))
        for n = 1, 20 do
            sell(n * 2000, n * 2000 + 1999)
            flush()
        end
        snapshot()
        assert.equal(1, assert(stock:feed(kept, 1))[1].lsn)
        assert(stock:drop_cursor("crm"))
        for n = 21, 30 do
            sell(n * 2000, n * 2000 + 1999)
            flush()
        end
        snapshot()
        local list, code = stock:feed(kept)
        assert.is_nil(list)
        assert.equal("cursor_gone", code)
        assert.is_true(assert(stock:feed())[1].lsn > 1)
    end)

    it("refuse names and positions that are none", function()
        open()
        for _, name in ipairs { "", "A", "a b", "../x", ("a"):rep(33), "ä",
                                "a\0b", "a/b", "." } do
            for _, call in ipairs {
                function() return stock:cursor(name, { create = true }) end,
                function() return stock:ack(name, "1-0") end,
                function() return stock:drop_cursor(name) end,
            } do
                local ok, code = call()
                assert.is_nil(ok)
                assert.equal("bad_name", code)
            end
        end
        local ok, code = stock:drop_cursor("crm")
        assert.is_nil(ok)
        assert.equal("not_found", code)
        ok, code = stock:ack("crm", "1-0")
        assert.is_nil(ok)
        assert.equal("cursor_gone", code)
        assert(stock:cursor("crm", { create = true }))
        for _, cursor in ipairs { "", "x", "1-1", "1-ffffff", 5, {} } do
            ok, code = stock:ack("crm", cursor)
            assert.is_nil(ok)
            assert.equal("bad_cursor", code)
        end
        assert.has_error(function() stock:cursor(12) end,
                         "name: string expected, got number")
        assert.has_error(function() stock:ack(nil, "1-0") end,
                         "name: string expected, got nil")
        assert.has_error(function() stock:cursor("a", { make = true }) end,
                         "unknown option \"make\"")
        assert.has_error(function() stock:cursor("a", true) end,
                         "options: table expected, got boolean")
    end)
end)
