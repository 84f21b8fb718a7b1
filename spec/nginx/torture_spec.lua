-- A sale with a log on disk, in a real nginx to which everything happens:
-- workers and the master are killed, stopped, reloaded and restarted, snapshot
-- processes are killed, the log runs full, the segment is removed. Clients log
-- each answer with its times and its LSN, a consumer takes the records from the
-- feed; in the end they must tell the same history (torture_history.lua), and
-- the sale sells out to the last unit.
--
-- The events follow from SECKILL_SEED, which lasts about 10 seconds;
-- SECKILL_FULL=1: 10 minutes.

local harness = require "spec.nginx.harness"
local history = require "spec.nginx.torture_history"
local lib = require "resty.seckill.lib"
local process = require "spec.nginx.process"
local seckill = require "resty.seckill"
local socket = require "socket"

local ffi = require "ffi"

local FULL = os.getenv("SECKILL_FULL") == "1"
local SECONDS = FULL and 600 or 10
local PAUSE = FULL and 0.012 or 0 -- of a client between orders
local EVENT_PAUSE = FULL and 1.5 or 0.35
local WINDOW = 180 -- in which ids are remembered
local FULL_SECONDS = 4 -- the longest wait for a full log
local WORKERS, CLIENTS, ATTEMPTS = 2, 12, 3000
local BACKOFF = 0.02
local NAME = "spec_torture_" .. harness.free_port()
local ITEMS = { "shoes", "hats", "bags", "rare" }

local INIT = [[
local seckill = require("resty.seckill")
local engine = assert(seckill.open {
    name = "${name}", user = "root", dir = "${dir}", window = ${window},
    max_log_bytes = 12 * 2^20, log_segment_bytes = 2 * 2^20,
    capacity = { items = 8, reservations = 2^17, users = 2^13,
                 requests = 2^18, limit_keys = 16, log_units = 2^14 } })
package.loaded.shop = engine
local life, begun = engine:stats().log.incarnation, engine:stats().lsn
function engine.life()
    engine.answer(life, begun)
end
for name, total in pairs { shoes = 5e6, hats = 5e6, bags = 5e6, rare = 400,
                           filler = 1 } do
    if not engine.stock:get(name) then
        assert(engine.stock:put { item = name, total = total, version = 1,
            hold = name == "bags" and 0 or 60 })
    end
end
function engine.answer(...)
    local text = table.concat({ ... }, " ")
    ngx.header.content_length = #text
    ngx.print(text)
end
-- Code, life, LSN and what else there is.
local C = require("resty.seckill.lib").C
function engine.lsn()
    return tonumber(C.seckill_answer_lsn())
end
function engine.tell(code, lsn, ...)
    engine.answer(code, life, lsn, ...)
end
]]

-- The LSN of a call that waited may be of another one: 0, or the record's.
local SERVER = [[
location = /reserve { content_by_lua_block {
    local a, shop = ngx.req.get_uri_args(), require("shop")
    local order, code = shop.stock:reserve(a.item, a.user, tonumber(a.qty),
                                           a.id, { durability = a.level })
    if not order then
        return shop.tell(code, shop.lsn())
    end
    shop.tell("ok", order.lsn, order.id, order.item, order.user, order.qty,
              order.replayed and "again" or "first")
} }
location = /end { content_by_lua_block {
    local a, shop = ngx.req.get_uri_args(), require("shop")
    local ok, code = shop.stock[a.how](shop.stock, a.id,
                                       { durability = a.level })
    local known = not ok or a.level == "async"
    shop.tell(ok and "ok" or code, known and shop.lsn() or 0)
} }
location = /feed { content_by_lua_block {
    local a, stock = ngx.req.get_uri_args(), require("shop").stock
    local cursor = a.cursor
    if cursor then
        assert(stock:ack("torture", cursor))
    else
        cursor = assert(stock:cursor("torture", { create = true }))
    end
    local list, next_cursor, detail = stock:feed(cursor, 2000)
    assert(list, detail or next_cursor)
    local lines = { next_cursor }
    for i, r in ipairs(list) do
        lines[i + 1] = table.concat({ r.lsn, r.key:match("(%d+)%-%d+$"),
            ("%.3f"):format(r.time), r.type, r.id or "-", r.item or "-",
            r.user or "-", r.qty or 0,
            r.request_id or "-", r.available, r.reserved, r.sold,
            r.state or "-" }, " ")
    end
    require("shop").answer(table.concat(lines, "\n"))
} }
location = /fill { content_by_lua_block {
    local C, stock = require("resty.seckill.lib").C, require("shop").stock
    for n = 1, 4000 do
        local call = n % 2 == 0 and C.seckill_resume or C.seckill_pause
        if call(stock.handle, "filler", 6) < 0 then
            break
        end
    end
    require("shop").answer("done")
} }
location = /hold { content_by_lua_block {
    local stock = require("shop").stock
    if ngx.var.arg_on then
        assert(stock:cursor("hold", { create = true, again = true }))
    else
        stock:drop_cursor("hold")
    end
    require("shop").answer("done")
} }
location = /state { content_by_lua_block {
    local shop = require("shop")
    local item = assert(shop.stock:get(ngx.var.arg_item))
    shop.answer(item.total, item.available, item.reserved, item.sold,
                shop:stats().log.state)
} }
location = /life { content_by_lua_block { require("shop").life() } }
location = /late { content_by_lua_block {
    ngx.say("begun")
    ngx.flush(true)
    repeat ngx.sleep(0.01) until ngx.worker.exiting()
    ngx.sleep(0.2) -- its threads are stopped
    local stock = require("shop").stock
    assert(stock:reserve("hats", "late", 1, "late", { durability = "sync" }))
    -- As if it had become durable a moment after it was looked at.
    assert(require("resty.seckill.completion").wait_durable(stock.handle, 1,
                                                            5))
} }
]]


local function say(...)
    io.write("\n# ", string.format(...), "\n") -- behind the dots of busted
end


-- ---- Threads over one select() ---------------------------------------------

-- A thread yields a socket that it reads from, or a time to sleep until.
local function new_pool()
    return { waiting = {}, sleeping = {} }
end


local function resume(pool, thread)
    local ok, on = coroutine.resume(thread)
    assert(ok, on)
    if coroutine.status(thread) == "dead" then
        return
    end
    if type(on) == "number" then
        pool.sleeping[thread] = on
    else
        pool.waiting[on] = thread
    end
end


local function spawn(pool, fn, ...)
    local args = { ... }
    resume(pool, coroutine.create(function() fn(unpack(args)) end))
end


local function turn(pool)
    local list = {}
    for sock in pairs(pool.waiting) do
        list[#list + 1] = sock
    end
    for _, sock in ipairs((socket.select(list, nil, 0.005))) do
        local thread = pool.waiting[sock]
        pool.waiting[sock] = nil
        resume(pool, thread)
    end
    local now, due = socket.gettime(), {}
    for thread, at in pairs(pool.sleeping) do
        if at <= now then
            due[#due + 1] = thread
        end
    end
    for _, thread in ipairs(due) do
        pool.sleeping[thread] = nil
        resume(pool, thread)
    end
    return next(pool.waiting) ~= nil or next(pool.sleeping) ~= nil
end


local function sleep(seconds)
    coroutine.yield(socket.gettime() + seconds)
end


-- ---- Requests ---------------------------------------------------------------

local function receive_all(sock)
    local parts = {}
    while true do
        coroutine.yield(sock)
        local data, err, part = sock:receive("*a")
        parts[#parts + 1] = data or part
        if data or err ~= "timeout" then
            return table.concat(parts)
        end
    end
end


-- The body of a whole answer, else nil: the server died, or is not there.
local function get(sale, path)
    local sock = socket.connect("127.0.0.1", sale.server.port)
    if not sock then
        return nil
    end
    sock:settimeout(0)
    sock:send("GET " .. path .. " HTTP/1.0\r\nHost: shop\r\n\r\n")
    local text = receive_all(sock)
    sock:close()
    local status, headers, body =
        text:match("^HTTP/1%.1 (%d+)[^\r]*\r\n(.-)\r\n\r\n(.*)$")
    local length = headers
                   and headers:lower():match("content%-length: (%d+)")
    return status == "200" and tonumber(length) == #body and body or nil
end


-- busy and pending are no answers: it is asked again, with the same id.
local NO_ANSWER = { busy = true, pending = true, not_running = true }


local function ask(sale, path, answer)
    for _ = 1, ATTEMPTS do
        answer.from = socket.gettime()
        local body = get(sale, path)
        answer.to = socket.gettime()
        local code, life, lsn, rest =
            (body or ""):match("^(%S+) (%d+) (%d+) ?(.*)$")
        if code and not NO_ANSWER[code] then
            answer.code, answer.life = code, tonumber(life)
            answer.lsn = tonumber(lsn)
            return rest
        end
        local count = code or "no answer"
        sale.counts[count] = (sale.counts[count] or 0) + 1
        sleep(BACKOFF)
    end
    error(("no answer in %d attempts: %s\n%s"):format(ATTEMPTS, path,
          sale.server:error_log():sub(-2000)))
end


local function reserve(sale, order)
    local a = { kind = "reserve", request = order.request,
                sync = order.level == "sync" }
    local rest = ask(sale, ("/reserve?item=%s&user=%s&qty=%d&id=%s&level=%s")
                           :format(order.item, order.user, order.qty,
                                   order.request, order.level), a)
    a.first = true
    if a.code == "ok" then
        local id, item, user, qty, which =
            rest:match("^(%S+) (%S+) (%S+) (%d+) (%S+)$")
        a.id, a.item, a.user, a.qty = id, item, user, tonumber(qty)
        a.first = which == "first"
    end
    sale.history:answer(a)
    sale.answers = sale.answers + 1
    return a.code == "ok" and a.id or nil, a.code
end


local function finish_order(sale, how, id, level)
    local a = { kind = how, request = id, id = id, first = true,
                sync = level == "sync" }
    ask(sale, ("/end?how=%s&id=%s&level=%s"):format(how, id, level), a)
    sale.history:answer(a)
    sale.answers = sale.answers + 1
end


local function new_order(sale)
    sale.last = sale.last + 1
    return {
        request = "request-" .. sale.last,
        user = "user" .. math.random(500),
        item = ITEMS[math.random(#ITEMS)], qty = math.random(3),
        level = sale.last % 2 == 0 and "sync" or "async",
    }
end


local function client(sale)
    while not sale.over do
        local order = new_order(sale)
        local id = reserve(sale, order)
        local dice = math.random(10)
        if id and dice <= 4 then
            finish_order(sale, "confirm", id, order.level)
        elseif id and dice <= 6 then
            finish_order(sale, "cancel", id, order.level)
        elseif dice <= 7 then
            reserve(sale, order)
        end
        if PAUSE > 0 then
            sleep(PAUSE)
        end
    end
end


-- ---- The consumer -----------------------------------------------------------

local function take_line(sale, line)
    local f = {}
    for word in line:gmatch("%S+") do
        f[#f + 1] = word
    end
    sale.history:record {
        lsn = tonumber(f[1]), life = tonumber(f[2]), time = tonumber(f[3]),
        type = f[4], id = f[5], item = f[6], user = f[7], qty = tonumber(f[8]),
        request_id = f[9], available = tonumber(f[10]),
        reserved = tonumber(f[11]), sold = tonumber(f[12]), state = f[13],
    }
end


-- How many it got; nil without an answer.
local function take_feed(sale)
    local path = "/feed" .. (sale.cursor and "?cursor=" .. sale.cursor or "")
    local body = get(sale, path)
    if not body then
        return nil
    end
    local first = true
    local before = sale.history.records
    for line in body:gmatch("[^\n]+") do
        if first then
            sale.cursor, first = line, false
        else
            take_line(sale, line)
        end
    end
    return sale.history.records - before
end


local function consumer(sale)
    while not sale.over do
        if (take_feed(sale) or 0) == 0 then
            sleep(BACKOFF)
        end
    end
end


-- ---- What befalls the server ------------------------------------------------

local function start(sale)
    sale.server = harness.start {
        workers = WORKERS, log_level = "notice",
        env = { SECKILL_LIB = os.getenv("SECKILL_LIB") },
        init = INIT:gsub("%${(%w+)}", { name = NAME, dir = sale.dir,
                                       window = WINDOW }),
        init_worker = [[ assert(require("shop"):start()) ]],
        exit_worker = [[ require("shop"):close() ]],
        server = SERVER,
    }
    local body = sale.server:request("GET", "/life").body
    local life, lsn = body:match("^(%d+) (%d+)$")
    sale.history:life(tonumber(life), tonumber(lsn))
end


local function retire(server)
    server:assert_clean_log { "exited on signal 9" }
    local errors = server:error_log():match("[^\n]*%[error%][^\n]*")
    assert(not errors, errors)
    server:cleanup()
end


local function go_on(sale)
    local pid = sale.stopped
    sale.stopped = nil
    if pid and process.alive(pid) then
        process.kill(pid, "CONT")
    end
end


local function quit(sale)
    go_on(sale)
    assert(sale.server:stop(30))
    retire(sale.server)
end


-- Also those that its threads began.
local function children_of(pid)
    local pipe = assert(io.popen("cat /proc/" .. pid
                                 .. "/task/*/children 2>/dev/null"))
    local pids = {}
    for child in pipe:read("*a"):gmatch("%d+") do
        pids[#pids + 1] = tonumber(child)
    end
    pipe:close()
    return pids
end


-- Stopped, with all its threads, or gone.
local function is_stopped(pid)
    local stat = process.slurp("/proc/" .. pid .. "/stat")
    return not stat or stat:find("%) [TZX] ") ~= nil
end


local function all_gone(pids)
    return function()
        for _, pid in ipairs(pids) do
            if process.alive(pid) then
                return false
            end
        end
        return true
    end
end


-- Each is stopped before its children are listed: no new ones then.
local function kill_all(sale)
    local pids, i = { sale.server.pid }, 1
    while pids[i] do
        process.kill(pids[i], "STOP")
        assert(process.wait(function() return is_stopped(pids[i]) end))
        for _, child in ipairs(children_of(pids[i])) do
            pids[#pids + 1] = child
        end
        i = i + 1
    end
    for _, pid in ipairs(pids) do
        process.kill(pid, "KILL")
    end
    assert(process.wait(all_gone(pids)), "not all are gone")
    assert(process.wait(function() return process.ended(sale.server.pid) end))
    assert(sale.server:stop())
    retire(sale.server)
end


local function some_worker(sale)
    local pids = sale.server:workers()
    return pids[math.random(#pids)]
end


local EVENTS = {}


function EVENTS.kill_worker(sale)
    local pid = some_worker(sale)
    if pid then
        sale.server:kill(pid, "KILL")
    end
end


function EVENTS.kill_all(sale)
    kill_all(sale)
    start(sale)
end


function EVENTS.stop_worker(sale)
    local server, pid = sale.server, some_worker(sale)
    if not pid then
        return
    end
    server:kill(pid, "STOP")
    sale.stopped = pid
    spawn(sale.pool, function()
        sleep(math.random(100, 400) / 1000)
        go_on(sale)
    end)
end


function EVENTS.reload(sale)
    sale.server:kill(sale.server.pid, "HUP")
end


function EVENTS.restart(sale)
    quit(sale)
    start(sale)
end


function EVENTS.lose_memory(sale)
    if math.random(2) == 1 then
        quit(sale)
    else
        kill_all(sale)
    end
    assert(seckill.destroy(NAME))
    sale.removals = sale.removals + 1
    start(sale)
end


-- A cursor holds the log back, and an item of which nobody buys is paused and
-- resumed, until the log is full, or for a while.
function EVENTS.fill_log(sale)
    spawn(sale.pool, function()
        local until_time = socket.gettime() + FULL_SECONDS
        local busy = sale.counts.busy or 0
        get(sale, "/hold?on=1")
        repeat
            if not get(sale, "/fill") then
                sleep(BACKOFF)
            end
        until (sale.counts.busy or 0) > busy + CLIENTS
              or socket.gettime() > until_time
        sale.filled = sale.filled
                      + ((sale.counts.busy or 0) > busy + CLIENTS and 1 or 0)
        repeat
            sleep(BACKOFF)
        until get(sale, "/hold")
    end)
end


local function kill_children(sale)
    local killed = 0
    for _, pid in ipairs(sale.server:workers()) do
        for _, child in ipairs(children_of(pid)) do
            process.kill(child, "KILL")
            killed = killed + 1
        end
    end
    return killed
end


-- The next one that is begun.
function EVENTS.kill_snapshot(sale)
    spawn(sale.pool, function()
        local until_time, killed = socket.gettime() + FULL_SECONDS, 0
        while killed == 0 and socket.gettime() < until_time do
            sleep(BACKOFF)
            killed = kill_children(sale)
        end
        sale.snapshots = sale.snapshots + killed
    end)
end


local function shuffled_events()
    local names = {}
    for name in pairs(EVENTS) do
        names[#names + 1] = name
    end
    table.sort(names)
    for i = #names, 2, -1 do
        local k = math.random(i)
        names[i], names[k] = names[k], names[i]
    end
    return names
end


-- ---- The sale ---------------------------------------------------------------

local function torment(sale)
    local finish = socket.gettime() + SECONDS
    local at, names = socket.gettime() + EVENT_PAUSE, {}
    while socket.gettime() < finish or #names > 0 do
        turn(sale.pool)
        if socket.gettime() >= at then
            if #names == 0 then
                names = shuffled_events()
            end
            local name = table.remove(names)
            sale.events[name] = (sale.events[name] or 0) + 1
            EVENTS[name](sale)
            at = socket.gettime() + EVENT_PAUSE * (0.5 + math.random())
        end
    end
    sale.over = true
    while turn(sale.pool) do end
end


-- Run in a thread of the pool, to the end.
local function within(sale, fn)
    local result
    spawn(sale.pool, function() result = fn() end)
    while turn(sale.pool) do end
    return result
end


-- Workers may still come and go.
local function must_get(sale, path)
    for _ = 1, ATTEMPTS do
        local body = get(sale, path)
        if body then
            return body
        end
        sleep(BACKOFF)
    end
    error("no answer: " .. path)
end


local function sell_out(sale, item)
    for _ = 1, 100 do
        local body = must_get(sale, "/state?item=" .. item)
        local left = tonumber(body:match("^%d+ (%d+)"))
        local order = new_order(sale)
        order.item, order.level = item, "sync"
        order.user = "last-" .. sale.last -- who has no ids of it yet
        order.qty = left > 3 and left - 3 or 1
        local id, code = reserve(sale, order)
        if not id then
            assert.equal("sold_out", code)
            assert.equal(0, left)
            return true
        end
    end
    return false
end


local function read_to_the_end(sale)
    for _ = 1, 5000 do
        if take_feed(sale) == 0 then
            return true
        end
    end
    return false
end


-- After nginx: nobody ends holds meanwhile.
local function check_tables(sale)
    local text = ffi.new("char[512]")
    local rc = lib.C.seckill_verify(nil, sale.dir, text, 512)
    assert.equal(0, rc, ffi.string(text))
    local engine = assert(seckill.open { name = NAME, dir = sale.dir })
    assert.same({}, assert(engine.stock:audit()).problems)
    rc = lib.C.seckill_verify(engine.stock.handle, sale.dir, text, 512)
    assert.equal(0, rc, ffi.string(text))
    engine:close()
end


local function report(sale)
    local parts = {}
    for name, n in pairs(sale.events) do
        parts[#parts + 1] = n .. " " .. name
    end
    table.sort(parts)
    say("torture in nginx: %s; the log was full %d times, %d snapshots killed",
        table.concat(parts, ", "), sale.filled, sale.snapshots)
    say("torture in nginx: %d answers, %d records, %d lives; %d without an "
        .. "answer, %d busy, %d answers lost with the memory", sale.answers,
        sale.history.records, sale.history:life_count(),
        sale.counts["no answer"] or 0, sale.counts.busy or 0,
        sale.history.lost)
end


describe("a sale with a log in nginx", function()
    local sale

    before_each(function()
        local pipe = assert(io.popen("mktemp -d /tmp/seckill-spec.XXXXXX"))
        sale = {
            dir = pipe:read("*l") .. "/data", pool = new_pool(),
            history = history.new(WINDOW), counts = {}, events = {},
            answers = 0, last = 0, removals = 0, filled = 0, snapshots = 0,
        }
        pipe:close()
    end)

    after_each(function()
        harness.stop_all()
        seckill.destroy(NAME)
        os.execute("rm -rf '" .. sale.dir:gsub("/data$", "") .. "'")
    end)

    -- A check that cannot fail proves nothing.
    describe("is told otherwise", function()
        local h

        local function record(lsn, kind, n, available, sold)
            h:record { lsn = lsn, life = 1, time = lsn, type = kind,
                       id = "id" .. n, item = "shoes", user = "u", qty = 1,
                       request_id = "r" .. n, available = available,
                       reserved = 0, sold = sold, state = "confirmed" }
        end

        local function answer(n, lsn, from, to)
            h:answer { kind = "reserve", code = "ok", life = 1, lsn = lsn,
                       sync = true, first = true, from = from, to = to,
                       request = "r" .. n, id = "id" .. n, item = "shoes",
                       user = "u", qty = 1 }
        end

        before_each(function()
            h = history.new(3)
            record(1, "put", 0, 2, 0)
            record(2, "reserve", 1, 1, 1)
            record(3, "reserve", 2, 0, 2)
        end)

        local function notices(what)
            local text = h:problems()
            assert.is_truthy(text:find(what, 1, true), text)
        end

        it("but is right", function()
            answer(1, 2, 1, 2)
            answer(2, 3, 2, 3)
            assert.equal("", h:problems())
        end)

        it("when a unit too many is sold", function()
            record(4, "reserve", 3, -1, 3)
            notices("LSN 4: sale of 1 shoes: -1 + 0 + 3")
        end)

        it("when a request is executed twice", function()
            record(4, "cancel", 1, 1, 1)
            record(5, "reserve", 1, 0, 2)
            notices("r1 is executed again")
        end)

        it("when a record is missing", function()
            record(5, "refund", 1, 1, 1) -- an id is old enough to be retired
            assert.equal("", h:problems())
            record(20, "refund", 2, 2, 0)
            notices("LSN 20 comes after 5")
        end)

        it("when a record is missing that nothing but its units tells of",
           function()
            record(5, "reserve", 4, 0, 2)
            notices("LSN 5: sale of 1 shoes: 0 + 0 + 2")
        end)

        it("when a durable answer is lost", function()
            h:life(2, 3)
            h:record { lsn = 4, life = 2, time = 4, type = "pause", id = "-" }
            answer(3, 4, 1, 2)
            notices("r3 was answered durably at LSN 4, and is lost")
        end)

        -- The ids of two orders retire first in a life: no consumer is told.
        it("but not when an answer is lost that may be", function()
            h:life(2, 3)
            h:life(2, 7) -- a restart
            h:record { lsn = 6, life = 2, time = 9, type = "pause", id = "-" }
            answer(3, 4, 1, 2)
            h.answers[1].sync = false
            assert.equal("", h:problems())
            assert.equal(1, h.lost)
            answer(4, 3, 1, 2)
            notices("r4 was answered at LSN 3 of life 1, and is not in the log")
        end)

        it("when an answer is not in the log, or another", function()
            answer(9, 2, 1, 2)
            notices("r9 was answered at LSN 2 of life 1, and is not in")
            h.answers[1].request = "r1"
            notices("r1 was answered otherwise")
        end)

        it("when a later request has an earlier LSN", function()
            answer(2, 3, 1, 2)
            answer(1, 2, 3, 4)
            notices("r1: LSN 2, though 3 was answered before it began")
        end)
    end)

    -- It starts its threads again for such a request, and must stop them.
    it("lets a worker leave that waits for the disk once more", function()
        start(sale)
        local late = sale.server:client()
        assert(late:send("GET /late HTTP/1.1\r\nHost: shop\r\n\r\n"))
        assert(late.sock:receive("*l"))
        sale.server:reload(10)
        late:close()
        quit(sale)
    end)

    it("tells one history, whatever happens", function()
        local seed = tonumber(os.getenv("SECKILL_SEED")) or 1
        math.randomseed(seed)
        start(sale)
        for _ = 1, CLIENTS do
            spawn(sale.pool, client, sale)
        end
        spawn(sale.pool, consumer, sale)
        torment(sale)
        -- A log that is full of what the consumer has not read sells nothing.
        assert.is_true(within(sale, function()
            return read_to_the_end(sale)
        end))
        for _, item in ipairs(ITEMS) do
            assert.is_true(within(sale, function()
                return sell_out(sale, item)
            end))
        end
        assert.is_true(within(sale, function()
            return read_to_the_end(sale)
        end))
        quit(sale)
        check_tables(sale)
        assert.equal("", sale.history:problems())
        assert.equal(sale.removals + 1, sale.history:life_count())
        report(sale)
    end)
end)
