-- A sale in a real nginx whose workers are killed, stopped and reloaded under
-- a flood: each order gets one answer, whatever happens to the worker that
-- made it, and at the end exactly the stock is sold.
--
-- The flood is a fixed set of orders over a few connections at once, in
-- coroutines over one select(). An order without a whole answer is asked for
-- again with the same request id, as a real client does. What befalls the
-- workers is tied to the number of answers, not to time.

local harness = require "spec.nginx.harness"
local socket = require "socket"

local FULL = os.getenv("SECKILL_FULL") == "1"
local WORKERS = 3
local CONNECTIONS = 12
local ATTEMPTS = 1000
local PATIENCE = 10 -- seconds without any answer
local NAME = "spec_kill_" .. harness.free_port()

local INIT = [[
local engine = assert(require("resty.seckill").open {
    name = "${name}", user = "root" })
package.loaded.shop = engine
assert(engine.stock:put { item = "shoes", total = ${total}, per_user = 1 })
assert(engine.stock:put { item = "load", total = 1 })
function package.loaded.shop.answer(...)
    local text = table.concat({ ... }, " ")
    ngx.header.content_length = #text
    ngx.print(text)
end
]]

-- Workers that change the ledger all the time, so that a signal finds them in
-- the middle of it.
local INIT_WORKER = [[
local shop = require("shop")
assert(shop:start())
local function load_it(premature)
    if premature then
        return
    end
    while not ngx.worker.exiting() do
        for _ = 1, 300 do
            shop.stock:pause("load")
            shop.stock:resume("load")
        end
        ngx.sleep(0.001)
    end
end
assert(ngx.timer.at(0, load_it))
]]

local SERVER = [[
location = /buy { content_by_lua_block {
    local args = ngx.req.get_uri_args()
    local shop = require("shop")
    local order, code = shop.stock:reserve("shoes", args.user, 1, args.id)
    if not order then
        return shop.answer(code, "-", "-")
    end
    shop.answer("sold", order.id, order.replayed and "again" or "first")
} }
location = /state { content_by_lua_block {
    local shop = require("shop")
    local item = assert(shop.stock:get("shoes"))
    local report = assert(shop.stock:audit())
    local repairs = shop:metrics():match("lock_repairs[%w_]* (%d+)")
    shop.answer(item.total, item.available, item.reserved, item.sold, repairs,
                table.concat(report.problems, "; "))
} }
]]


local function say(...)
    io.write("\n# ", string.format(...), "\n") -- behind the dots of busted
end


local function seed_random()
    local seed = tonumber(os.getenv("SECKILL_SEED")) or 1
    math.randomseed(seed)
    return seed
end


-- ---- The flood -------------------------------------------------------------

local function add_orders(flood, count)
    local have = #flood.orders
    for i = have + 1, have + count do
        flood.orders[i] = { user = "user" .. i, id = "request-" .. i }
    end
end


local function new_flood(server, count)
    local flood = { server = server, orders = {}, answered = 0, failures = 0,
                    busy = 0, next = 1 }
    add_orders(flood, count)
    return flood
end


-- All bytes until the server closes; nil when the connection breaks.
local function receive_all(sock)
    local parts = {}
    while true do
        coroutine.yield(sock)
        local data, err, part = sock:receive("*a")
        parts[#parts + 1] = data or part
        if data or err == "closed" then
            return table.concat(parts)
        end
        if err ~= "timeout" then
            return nil
        end
    end
end


-- The body of a whole answer, else nil.
local function whole_body(text)
    local status, headers, body =
        text:match("^HTTP/1%.1 (%d+)[^\r]*\r\n(.-)\r\n\r\n(.*)$")
    if status ~= "200" then
        return nil
    end
    local length = tonumber(headers:lower():match("content%-length: (%d+)"))
    return length == #body and body or nil
end


-- A connection of its own for each attempt, so that a reload has no idle ones
-- to close under us.
local function attempt(flood, order)
    local sock = socket.connect("127.0.0.1", flood.server.port)
    if not sock then
        return nil
    end
    sock:settimeout(0)
    sock:send(("GET /buy?user=%s&id=%s HTTP/1.1\r\nHost: shop\r\n"
               .. "Connection: close\r\n\r\n"):format(order.user, order.id))
    local text = receive_all(sock)
    sock:close()
    return text and whole_body(text)
end


-- busy is no answer of an order: nothing happened.
local function ask(flood, order)
    for _ = 1, ATTEMPTS do
        local body = attempt(flood, order)
        local code, id, which = (body or ""):match("^(%S+) (%S+) (%S+)$")
        if code and code ~= "busy" then
            return code, id, which
        end
        flood.busy = flood.busy + (code and 1 or 0)
        flood.failures = flood.failures + (code and 0 or 1)
    end
    error("no answer in " .. ATTEMPTS .. " attempts")
end


local function buyer(flood)
    while flood.orders[flood.next] do
        local order = flood.orders[flood.next]
        flood.next = flood.next + 1
        order.code, order.reservation, order.which = ask(flood, order)
        flood.answered = flood.answered + 1
    end
end


local function resume(waiting, thread)
    local ok, sock = coroutine.resume(thread)
    assert(ok, sock)
    if coroutine.status(thread) ~= "dead" then
        waiting[sock] = thread
    end
end


local function sockets_of(waiting)
    local list = {}
    for sock in pairs(waiting) do
        list[#list + 1] = sock
    end
    return list
end


-- Until every order is answered; on_answers() is called after each round.
local function run(flood, on_answers)
    local waiting = {}
    for _ = 1, CONNECTIONS do
        resume(waiting, coroutine.create(function() buyer(flood) end))
    end
    while next(waiting) do
        local ready = socket.select(sockets_of(waiting), nil, PATIENCE)
        assert(#ready > 0, "no answer in " .. PATIENCE .. " seconds")
        for _, sock in ipairs(ready) do
            local thread = waiting[sock]
            waiting[sock] = nil
            resume(waiting, thread)
        end
        if on_answers then
            on_answers(flood)
        end
    end
    assert.equal(#flood.orders, flood.answered)
end


-- ---- What must be true ------------------------------------------------------

local function state(server)
    local res = server:request("GET", "/state")
    local total, available, reserved, sold, repairs, problems =
        res.body:match("^(%d+) (%d+) (%d+) (%d+) (%d+) (.*)$")
    assert(total, res.body)
    return tonumber(repairs), {
        total = tonumber(total), available = tonumber(available),
        reserved = tonumber(reserved), sold = tonumber(sold),
        problems = problems }
end


-- Exactly `total` orders are sold, all different, the others sold out.
local function assert_exact(flood, total)
    local seen, sold = {}, 0
    for _, order in ipairs(flood.orders) do
        if order.code == "sold" then
            assert.is_nil(seen[order.reservation], "one id for two orders")
            seen[order.reservation] = true
            sold = sold + 1
        else
            assert.equal("sold_out", order.code)
        end
    end
    assert.equal(math.min(total, #flood.orders), sold)
    local repairs, got = state(flood.server)
    assert.same({ total = total, available = total - sold, reserved = 0,
                  sold = sold, problems = "" }, got)
    return repairs
end


-- Everybody asks again: the same answers.
local function assert_same_again(flood)
    local again = new_flood(flood.server, #flood.orders)
    run(again)
    for i, order in ipairs(flood.orders) do
        local got = again.orders[i]
        assert.equal(order.code, got.code)
        assert.equal(order.reservation, got.reservation)
        assert.equal(order.code == "sold" and "again" or "-", got.which)
    end
end


-- ---- What befalls the workers -----------------------------------------------

-- Kill a random worker at each `step`-th answer, once all of them are back.
local function killer(kills, step)
    local done = 0
    return function(flood)
        if done == kills or flood.answered < (done + 1) * step then
            return
        end
        local pids = flood.server:workers()
        if #pids == WORKERS then
            assert(flood.server:kill(pids[math.random(#pids)], "KILL"))
            done = done + 1
        end
    end, function() return done end
end


describe("a sale in nginx", function()
    local server

    local function start(total)
        server = harness.start {
            workers = WORKERS,
            env = { SECKILL_LIB = os.getenv("SECKILL_LIB") },
            init = INIT:gsub("%${(%w+)}", { name = NAME, total = total }),
            init_worker = INIT_WORKER,
            exit_worker = [[ require("shop"):close() ]],
            server = SERVER,
        }
        return server
    end

    local function finish(allow)
        assert.is_true(server:stop())
        server:assert_clean_log(allow)
        assert.is_nil(server:error_log():find("[error]", 1, true))
    end

    after_each(function()
        if server then
            server:stop()
            server:cleanup()
        end
        server = nil
        os.execute("rm -rf /dev/shm/seckill." .. NAME .. " /dev/shm/seckill."
                   .. NAME .. ".d*")
    end)

    it("sells exactly its stock while workers are killed", function()
        local kills = FULL and 50 or 5
        local orders = kills * 200
        local seed = seed_random()
        local flood = new_flood(start(orders / 2), orders)
        local on_answers, killed = killer(kills, 150)
        run(flood, on_answers)
        assert.equal(kills, killed())
        server:wait_workers()
        local repairs = assert_exact(flood, orders / 2)
        assert_same_again(flood)
        finish { "exited on signal 9" }
        say("seed %d: %d workers killed, %d requests lost their worker, %d "
            .. "locks repaired", seed, kills, flood.failures, repairs)
    end)

    it("goes on while a worker is stopped", function()
        local flood = new_flood(start(400), 1200)
        local pid, go_on
        run(flood, function()
            if not pid and flood.answered >= 200 then
                pid = server:workers()[1]
                assert(server:kill(pid, "STOP"))
            elseif pid and not go_on
                   and (flood.answered >= 1000 or flood.busy >= 100) then
                go_on = server:kill(pid, "CONT")
            end
        end)
        assert.is_true(go_on)
        assert_exact(flood, 400)
        assert_same_again(flood)
        finish()
    end)

    it("fails no request and loses no stock in reloads", function()
        local reloads, wanted = 0, FULL and 20 or 3
        local flood = new_flood(start(50000), 600)
        run(flood, function()
            if reloads < wanted and flood.answered >= reloads * 300
               and #server:workers() == WORKERS then
                assert(server:kill(server.pid, "HUP"))
                reloads = reloads + 1
            end
            if reloads < wanted and #flood.orders - flood.next < 100
               and #flood.orders < 40000 then
                add_orders(flood, 200)
            end
        end)
        assert.equal(wanted, reloads)
        assert.equal(0, flood.failures)
        assert_exact(flood, 50000)
        server:reload()
        assert_same_again(flood)
        finish()
    end)
end)
