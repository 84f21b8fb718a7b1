-- examples/orders/worker: whenever it is killed, and its database with it, the
-- tables end as the log says: no order lost, none written twice.

local database = require "examples.orders.database"
local harness = require "spec.nginx.harness"
local mariadb = require "spec.nginx.mariadb"
local process = require "spec.nginx.process"
local seckill = require "resty.seckill"
local socket = require "socket"

local FULL = os.getenv("SECKILL_FULL") == "1"
local SALE_SECONDS = FULL and 30 or 5
local KILLS = FULL and 200 or 30
local WORKER = harness.root .. "/examples/orders/worker"
local LUA = "/usr/bin/env"

local base, shm, pids


local function make_directory(parent)
    local pipe = assert(io.popen("mktemp -d " .. parent
                                 .. "/seckill-spec.XXXXXX"))
    local path = pipe:read("*l")
    pipe:close()
    return path
end


local function make_base()
    base, shm = make_directory("/tmp"), make_directory("/dev/shm")
    os.execute("chmod 711 '" .. base .. "' && mkdir -m 700 '" .. base
               .. "/db'")
    pids = {}
end


local function spawn(args, output)
    local pid = process.spawn(args, base .. "/" .. output)
    pids[pid] = true
    return pid
end


local function ended(pid)
    local over, status = process.ended(pid)
    if over then
        pids[pid] = nil
    end
    return over, status
end


local function kill(pid)
    process.kill(pid, "KILL")
    assert(process.wait(function() return ended(pid) end))
end


local function start_worker(mode, target)
    local args = { LUA, "luajit", WORKER, "--name", "orders", "--shm-dir",
                   shm, mode }
    for _, arg in ipairs(target) do
        args[#args + 1] = arg
    end
    return spawn(args, "worker.log")
end


-- Runs until it has read everything; its exit status.
local function finish(target)
    local pid = start_worker("--once", target)
    local status
    assert(process.wait(function()
        local over
        over, status = ended(pid)
        return over
    end, 60), "the worker did not end")
    return status / 256
end


-- Kills the worker again and again while the sale runs. `disturb(i)` may do
-- more to it.
local function torment(sale, target, disturb)
    local kills = 0
    local worker = start_worker("--follow", target)
    local pause = SALE_SECONDS / KILLS
    while not ended(sale) do
        socket.sleep(pause * (0.3 + math.random()))
        if not ended(worker) then
            kill(worker)
        end
        kills = kills + 1
        if disturb then
            disturb(kills)
        end
        worker = start_worker("--follow", target)
    end
    kill(worker)
    return kills
end


-- ---- What the log says ----------------------------------------------------

local function from_log(stock)
    local orders, events, order_count = {}, {}, 0
    local cursor
    while true do
        local list, next_cursor = assert(stock:feed(cursor, 1000))
        if #list == 0 then
            return orders, events, order_count
        end
        for _, r in ipairs(list) do
            if r.id then
                local key = r.id .. "/" .. (r.line or 0)
                if not orders[key] then
                    order_count = order_count + 1
                    orders[key] = { item = r.item, user = r.user,
                                    request = r.request_id }
                end
                orders[key].state, orders[key].qty = r.state, r.qty
                events[r.key] = r.type
            end
        end
        cursor = next_cursor
    end
end


local function each_row(db, sql, fn)
    local rows = assert(db.connection:execute(sql))
    local row = rows:fetch({}, "a")
    while row do
        fn(row)
        row = rows:fetch(row, "a")
    end
    rows:close()
end


-- hex() is one word in both, and brings bytes through that end C strings.
local function compare(db, stock)
    local orders, events, expected = from_log(stock)
    local sums, rows = {}, 0
    each_row(db, "SELECT id, line, hex(item) AS item, hex(user_id) AS user_id,"
             .. " qty, state, hex(request_id) AS request FROM orders",
    function(row)
        rows = rows + 1
        local want = orders[row.id .. "/" .. row.line]
        assert(want, "no such order: " .. row.id)
        local function hex(text)
            return (text:gsub(".", function(c)
                return ("%02X"):format(c:byte())
            end))
        end
        assert.equal(want.state, row.state)
        assert.equal(want.qty, tonumber(row.qty))
        assert.equal(hex(want.item), row.item)
        assert.equal(hex(want.user), row.user_id)
        assert.equal(hex(want.request), row.request)
        if row.state == "reserved" or row.state == "confirmed" then
            local key = want.item .. "/" .. row.state
            sums[key] = (sums[key] or 0) + tonumber(row.qty)
        end
    end)
    assert.equal(expected, rows)
    local seen = 0
    each_row(db, "SELECT event_key, type FROM order_events", function(row)
        seen = seen + 1
        assert.equal(events[row.event_key], row.type)
        events[row.event_key] = nil
    end)
    assert.is_nil(next(events))
    for _, item in ipairs(assert(stock:items())) do
        assert.equal(item.sold, sums[item.item .. "/confirmed"] or 0)
        assert.equal(item.reserved, sums[item.item .. "/reserved"] or 0)
    end
    return rows, seen
end


-- ---- Tests ----------------------------------------------------------------

-- The engine is opened in this process while the segment is still there.
local function attach()
    return assert(seckill.open { name = "orders", shm_dir = shm,
                                 dir = base .. "/log" })
end


local function start_sale()
    return spawn({ LUA, "LUA_PATH=" .. harness.root .. "/lua/?.lua;;",
                   "LUA_CPATH=" .. harness.build .. "/?.so;;", "luajit",
                   harness.root .. "/spec/nginx/orders_sale.lua",
                   shm, base .. "/log", tostring(SALE_SECONDS) }, "sale.log")
end


local function await_segment()
    local path = shm .. "/seckill.orders"
    assert(process.wait(function()
        local file = io.open(path, "rb")
        return file and file:close()
    end), "the sale did not start")
end


local function log_of(name)
    return process.slurp(base .. "/" .. name) or ""
end


describe("the orders worker", function()
    local engine, server

    before_each(function()
        make_base()
        engine, server = nil, nil
    end)

    after_each(function()
        for pid in pairs(pids) do
            kill(pid)
        end
        if engine then
            engine:close()
        end
        if server then
            server:stop("KILL")
        end
        seckill.destroy("orders", shm)
        os.execute(("rm -rf '%s' '%s'"):format(base, shm))
    end)

    -- Sells, torments, and compares; `options` open the database.
    local function sale(target, options, disturb)
        local seller = start_sale()
        await_segment()
        local kills = torment(seller, target, disturb)
        assert.equal("sold\n", log_of("sale.log"))
        local status = finish(target)
        assert.equal(0, status, log_of("worker.log"))
        engine = attach()
        local db = assert(database.open(options))
        local rows, events = compare(db, engine.stock)
        assert.is_true(rows > 1000)
        assert.is_true(events > rows)
        assert.equal(0, finish(target)) -- again: nothing is left to do
        assert.same({ rows, events }, { compare(db, engine.stock) })
        db:close()
        assert.is_true(kills >= 5, "killed only " .. kills .. " times")
        return kills
    end

    it("loses and doubles nothing in SQLite", function()
        local file = base .. "/db/orders.db"
        sale({ "--sqlite", file }, { sqlite = file })
        -- Its log may go now; another database finds the records taken.
        local other = { "--sqlite", base .. "/db/other.db" }
        assert.equal(1, finish(other))
        assert.is_truthy(log_of("worker.log"):find("another database", 1,
                                                   true))
        assert.equal(0, finish { "--sqlite", base .. "/db/other.db",
                                 "--cursor", "second" })
    end)

    it("loses and doubles nothing in MariaDB", function()
        server = mariadb.new(base .. "/db")
        server:start()
        local target = { "--mariadb", "--socket", server.socket, "--db-user",
                         server.user, "--database", server.database }
        local options = { mariadb = true, socket = server.socket,
                          ["db-user"] = server.user,
                          database = server.database }
        local signals = { [3] = "TERM", [8] = "KILL" }
        local stopped = 0
        sale(target, options, function(kills)
            local signal = signals[kills]
            if not signal then
                return
            end
            -- A worker notices that it is gone, and waits until it is back.
            local worker = start_worker("--follow", target)
            socket.sleep(0.2)
            server:stop(signal)
            socket.sleep(0.2)
            assert.is_false((ended(worker)))
            server:start()
            socket.sleep(0.3)
            assert.is_false((ended(worker)))
            kill(worker)
            stopped = stopped + 1
        end)
        assert.equal(2, stopped)
    end)

    it("lets the log go where there is nothing for it", function()
        local ASYNC = { durability = "async" }
        engine = assert(seckill.open { name = "orders", shm_dir = shm,
            dir = base .. "/log", window = 10, capacity = { items = 8,
            reservations = 256, users = 256, requests = 512, limit_keys = 1,
            log_units = 2^12 } })
        local stock = engine.stock
        assert(stock:put { item = "tee", total = 10, hold = 5 })
        local order = assert(stock:reserve("tee", "ann", 1, "r1", ASYNC))
        assert(stock:cancel(order.id, { durability = "sync" }))
        local file = base .. "/db/orders.db"
        local target = { "--sqlite", file }
        local function check(lsn)
            assert.equal(0, finish(target), log_of("worker.log"))
            assert.equal(lsn, assert(stock:cursors())[1].lsn)
            local db = assert(database.open { sqlite = file })
            assert.equal(stock:cursor("orders"), db:position("orders"))
            db:close()
        end
        check(3)
        -- The ids are forgotten, which is nothing for a consumer.
        engine:set_test_clock(engine:now() + 1e6)
        repeat until assert(stock:sweep(1000)) == 0
        engine:set_test_clock()
        assert(process.wait(function()
            local stats = engine:stats()
            return stats.lsn > 3 and stats.log.durable == stats.lsn
        end))
        check(engine:stats().lsn)
    end)

    it("commits to SQLite so that a power loss takes nothing", function()
        local db = assert(database.open { sqlite = base .. "/db/orders.db" })
        assert.equal("delete", db:value("PRAGMA journal_mode"))
        assert.equal("3", tostring(db:value("PRAGMA synchronous"))) -- EXTRA
        db:close()
    end)

    it("gives up after a while without a database", function()
        local seller = start_sale()
        await_segment()
        local target = { "--mariadb", "--socket", base .. "/none", "--retry",
                         "0.3" }
        assert.equal(1, finish(target))
        assert.is_truthy(log_of("worker.log"):find("trying again", 1, true))
        kill(seller)
    end)

    it("leaves when the engine is destroyed", function()
        local seller = start_sale()
        await_segment()
        local worker = start_worker("--follow", { "--sqlite",
                                                  base .. "/db/orders.db" })
        assert(process.wait(function()
            return log_of("db/orders.db") ~= ""
        end))
        kill(seller)
        assert(seckill.destroy("orders", shm))
        local status
        assert(process.wait(function()
            local over
            over, status = ended(worker)
            return over
        end, 20))
        assert.equal(4, status / 256)
        assert.is_truthy(log_of("worker.log"):find("was destroyed", 1, true))
    end)

    it("says what is wrong with a command line", function()
        for _, args in ipairs {
            { "--nothing" }, { "--once", "--follow" }, { "--name", "A" },
            { "--mariadb", "--sqlite", "x" }, { "--port", "0" }, { "extra" },
        } do
            assert.equal(2, finish(args), table.concat(args, " "))
        end
        assert.equal(4, finish {}) -- no such engine
        assert.equal(0, finish { "--help" })
        assert.is_truthy(log_of("worker.log"):find("--mariadb", 1, true))
    end)
end)
