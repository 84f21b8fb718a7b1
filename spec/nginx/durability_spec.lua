-- Waiting for the disk in a real nginx: a sync engine in two workers, whose
-- log is written by a process of this spec, so that the disk can be stopped
-- (SIGSTOP) while requests wait; then workers are killed and reloaded, calls
-- are killed, engines are stopped; and a sale goes on after nginx was stopped.

local cjson = require "cjson"
local harness = require "spec.nginx.harness"
local process = require "spec.nginx.process"
local token = require "resty.seckill.token"

local WORKERS = 2
local WAITERS = 12
local TOKEN_KEY = ("token-secret"):rep(3)

local OPEN = [[
local seckill = require "resty.seckill"
local engine = assert(seckill.open { name = "${name}", dir = "${dir}",
    durability = "sync", max_lag = 3600, log_segment_bytes = 2^21,
    capacity = { items = 8, reservations = 4096, users = 4096,
                 requests = 8192, limit_keys = 64 } })
]]

local INIT = OPEN .. [[
for _, item in ipairs { "shoe", "coat" } do
    if not engine.stock:get(item) then -- a put would wait, also in a reload
        assert(engine.stock:put { item = item, total = 1000, hold = 600,
                                  version = 1 })
    end
end
package.loaded.shop = {
    engine = engine,
    api = require("resty.seckill.http").new {
        engine = engine, token_keys = { { id = 1, key = "${token_key}" } },
        identity = function(ngx) return ngx.var.http_x_user end },
}
]]

local INIT_WORKER = [[ assert(require("shop").engine:start()) ]]
local EXIT_WORKER = [[ require("shop").engine:close() ]]

local SERVER = [[
location / { content_by_lua_block { require("shop").api:handle() } }
location = /buy { content_by_lua_block {
    local engine = require("shop").engine
    local order, code = engine.stock:reserve("shoe", ngx.var.arg_id, 1,
                                             ngx.var.arg_id)
    local durable = engine:stats().log.durable
    ngx.say(order and order.lsn or code, " ", durable)
} }
location = /log { content_by_lua_block {
    local log = require("shop").engine:stats().log
    ngx.say(log.durable, " ", log.lag_records, " ", log.incarnation)
} }
location = /state { content_by_lua_block {
    local order, code = require("shop").engine.stock:find(ngx.var.arg_id)
    ngx.say(order and order.state or code)
} }
location = /filter {
    header_filter_by_lua_block {
        local stock = require("shop").engine.stock
        local _, reserve = stock:reserve("shoe", "f", 1, "of-filter")
        local _, confirm = stock:confirm("none")
        local _, cancel = stock:cancel("none")
        local _, order = stock:order { user = "f", request_id = "of-filter",
                                       lines = { { item = "shoe", qty = 1 } } }
        local async = stock:reserve("shoe", "f", 1, "async-of-filter",
                                    { durability = "async" })
        ngx.header.codes = table.concat({ reserve, confirm, cancel, order,
                                          async and "made" }, " ")
    }
    content_by_lua_block { ngx.say("content") }
}
location = /late {
    log_by_lua_block {
        local _, code = require("shop").engine.stock:reserve("shoe", "l", 1,
                                                             "of-log")
        ngx.shared.notes:set("late", code)
    }
    content_by_lua_block { ngx.say("content") }
}
location = /note { content_by_lua_block {
    ngx.say(ngx.shared.notes:get("late"))
} }
location = /kill { content_by_lua_block {
    local stock = require("shop").engine.stock
    local call = ngx.thread.spawn(stock.reserve, stock, "shoe", "u", 1,
                                  ngx.var.arg_id)
    ngx.say(require("resty.seckill.completion").waiting(), " ",
            tostring(ngx.thread.kill(call)))
} }
location = /abort {
    lua_check_client_abort on;
    log_by_lua_block { ngx.shared.notes:set("aborted", ngx.status) }
    content_by_lua_block {
        require("shop").engine.stock:reserve("shoe", "u", 1, ngx.var.arg_id)
    }
}
location = /aborted { content_by_lua_block {
    ngx.say(ngx.shared.notes:get("aborted"))
} }
location = /waiting { content_by_lua_block {
    ngx.say(ngx.worker.pid(), " ",
            require("resty.seckill.completion").waiting())
} }
location = /end { content_by_lua_block { -- the engine, by stop or close
    local engine = require("shop").engine
    local stock, first = engine.stock, nil
    local call = ngx.thread.spawn(function()
        first = { stock:reserve("shoe", "u", 1, ngx.var.arg_id) }
    end)
    local waiting = require("resty.seckill.completion").waiting
    local before = waiting()
    engine[ngx.var.arg_by](engine)
    local after, begun = waiting(), ngx.now()
    ngx.thread.wait(call)
    ngx.update_time()
    ngx.say(before, " ", after, " ", first[1] and "order" or first[2], " ",
            ngx.now() - begun < 1 and "at once" or "late")
} }
location = /audit { content_by_lua_block {
    local engine = require("shop").engine
    ngx.say(table.concat(assert(engine.stock:audit()).problems, "; "))
} }
]]

local HOLDER = [[
package.path, package.cpath = "${path}", "${cpath}"
]] .. OPEN .. [[
assert(engine:start())
assert(engine.stock:put { item = "sign", total = 1, version = 1 })
io.open("${ready}", "wb"):close()
require("ffi").cdef "int pause(void);"
require("ffi").C.pause()
]]

local root
local count = 0
local minted = token.new { keys = { { id = 1, key = TOKEN_KEY } } }


local function fill(text, values)
    return (text:gsub("%${(%w[%w_]*)}", values))
end


local function new_place()
    count = count + 1
    return { name = ("spec_durable_%d_%d"):format(count, harness.free_port()),
             dir = root .. "/" .. count, token_key = TOKEN_KEY,
             ready = root .. "/ready" .. count, path = package.path,
             cpath = harness.build .. "/?.so;" .. package.cpath }
end


-- The process that writes the log, until it ends.
local function start_holder(place)
    local script = root .. "/holder" .. count .. ".lua"
    local file = assert(io.open(script, "wb"))
    file:write(fill(HOLDER, place))
    file:close()
    place.holder = process.spawn({ "/bin/sh", "-c", "exec luajit " .. script },
                                 script .. ".out")
    assert(process.wait(function() return process.slurp(place.ready) end),
           process.slurp(script .. ".out"))
end


local function stop_disk(place)
    process.kill(place.holder, "STOP")
    assert(process.wait(function()
        return process.slurp("/proc/" .. place.holder .. "/stat")
                      :find(") T ", 1, true)
    end))
end


local function end_holder(place)
    if place.holder then
        process.kill(place.holder, "KILL")
        assert(process.wait(function() return process.ended(place.holder) end))
        place.holder = nil
    end
end


local function start(place)
    return harness.start { workers = WORKERS, init = fill(INIT, place),
                           init_worker = INIT_WORKER, exit_worker = EXIT_WORKER,
                           http = "lua_shared_dict notes 64k;",
                           server = SERVER }
end


-- The server and its log's writer; ended by finish().
local function begin()
    local place = new_place()
    start_holder(place)
    place.server = start(place)
    return place, place.server
end


local function finish(place, allow)
    assert.equal("\n", place.server:request("GET", "/audit").body)
    end_holder(place)
    assert.is_true(place.server:stop())
    place.server:assert_clean_log(allow)
    place.server:cleanup()
    require("resty.seckill").destroy(place.name)
end


-- Send a request on a connection of its own; the answer is read later.
local function send(server, method, path, body, user)
    local connection = server:client()
    assert(connection:connect())
    local text = body and cjson.encode(body) or ""
    assert(connection:send(table.concat({
        method .. " " .. path .. " HTTP/1.1", "Host: localhost",
        "Content-Type: application/json", "X-User: " .. (user or "nobody"),
        "Content-Length: " .. #text, "", text }, "\r\n")))
    return { connection = connection, method = method }
end


local function answer(sent)
    local res, err = sent.connection:receive(sent.method)
    sent.connection:close()
    return res, err
end


local function send_orders(server, prefix, n)
    local sent = {}
    for i = 1, n do
        sent[i] = send(server, "GET", "/buy?id=" .. prefix .. i)
    end
    return sent
end


-- durable, lag_records, incarnation
local function log_of(server)
    local res = server:request("GET", "/log")
    local durable, lag, incarnation = res.body:match("(%d+) (%d+) (%d+)")
    return tonumber(durable), tonumber(lag), tonumber(incarnation)
end


-- So many records wait for the disk.
local function await_lag(server, n)
    assert(process.wait(function()
        local _, lag = log_of(server)
        return lag >= n
    end), "the orders were not made")
end


-- So many calls wait in all workers; each look on a connection of its own.
local function await_waiting(server, n)
    assert(process.wait(function()
        local of, sum, workers = {}, 0, 0
        for _ = 1, 20 * WORKERS do
            local client = server:client()
            local body = assert(client:request("GET", "/waiting")).body
            local pid, waiting = body:match("(%d+) (%d+)")
            client:close()
            of[pid] = tonumber(waiting)
        end
        for _, waiting in pairs(of) do
            sum, workers = sum + waiting, workers + 1
        end
        return workers == WORKERS and sum == n
    end, 12), "another number waits")
end


local function assert_durable(res)
    local lsn, durable = res.body:match("^(%d+) (%d+)")
    assert(lsn, res.body)
    assert.is_true(tonumber(lsn) <= tonumber(durable))
end


describe("an engine of durability = sync in nginx", function()
    setup(function()
        local pipe = assert(io.popen("mktemp -d /dev/shm/seckill-spec.XXXXXX"))
        root = pipe:read("*l")
        pipe:close()
    end)

    teardown(function()
        harness.stop_all()
        assert(root:find("seckill-spec.", 1, true))
        os.execute("rm -rf '" .. root .. "'")
    end)

    it("answers when the order is durable, and not before", function()
        local place, server = begin()
        assert_durable(server:request("GET", "/buy?id=first"))
        local before = log_of(server)
        stop_disk(place)
        local sent = send_orders(server, "w", WAITERS)
        await_lag(server, WAITERS)
        for _, one in ipairs(sent) do
            one.connection.sock:settimeout(0)
            local _, err = one.connection.sock:receive(1)
            assert.equal("timeout", err)
            one.connection.sock:settimeout(20)
        end
        assert.equal(before, (log_of(server)))
        process.kill(place.holder, "CONT")
        for _, one in ipairs(sent) do
            assert_durable(assert(answer(one)))
        end
        finish(place)
    end)

    it("confirms each order by its own token", function()
        local place, server = begin()
        local orders = {}
        for i = 1, WAITERS do
            local user = "user" .. i
            local res = server:request("POST", "/reserve", cjson.encode {
                item = i % 2 == 0 and "shoe" or "coat", qty = 1,
                request_id = "c" .. i }, { ["X-User"] = user,
                                           ["Content-Type"] =
                                               "application/json" })
            assert.equal(201, res.status)
            orders[i] = cjson.decode(res.body)
            orders[i].user = user
            assert.equal(user, assert(minted:open(orders[i].token,
                                                  os.time())).user)
        end
        stop_disk(place)
        local sent = {}
        for i, order in ipairs(orders) do
            sent[i] = send(server, "POST", i % 3 == 0 and "/cancel"
                           or "/confirm", { token = order.token }, order.user)
        end
        await_lag(server, WAITERS)
        process.kill(place.holder, "CONT")
        for i, one in ipairs(sent) do
            local res = assert(answer(one))
            assert.equal(200, res.status)
            assert.same({ id = orders[i].id, item = orders[i].item,
                          state = i % 3 == 0 and "cancelled" or "confirmed" },
                        cjson.decode(res.body))
        end
        finish(place)
    end)

    it("does nothing in a phase that cannot wait", function()
        local place, server = begin()
        local res = server:request("GET", "/filter")
        assert.equal("cannot_yield cannot_yield cannot_yield cannot_yield made",
                     res.headers.codes)
        assert.equal("unknown_request\n",
                     server:request("GET", "/state?id=of-filter").body)
        server:request("GET", "/late")
        assert(process.wait(function()
            return server:request("GET", "/note").body == "cannot_yield\n"
        end))
        assert.equal("unknown_request\n",
                     server:request("GET", "/state?id=of-log").body)
        finish(place)
    end)

    it("goes on when the writer of the log is killed", function()
        local place, server = begin()
        stop_disk(place)
        local sent = send_orders(server, "k", WAITERS)
        await_lag(server, WAITERS)
        end_holder(place)
        for _, one in ipairs(sent) do
            assert_durable(assert(answer(one)))
        end
        finish(place)
    end)

    it("goes on in one worker when the other one is killed", function()
        local place = new_place()
        local server = start(place)
        place.server = server
        for round, pid in ipairs(server:workers()) do
            process.kill(pid, "STOP")
            local sent = send_orders(server, "x" .. round .. "-", WAITERS)
            process.kill(pid, "KILL")
            local answers = 0
            for _, one in ipairs(sent) do
                local res = answer(one)
                if res then -- else that worker had it
                    assert_durable(res)
                    answers = answers + 1
                end
            end
            assert.is_true(answers > 0)
            server:wait_workers(WORKERS)
            server.connection = nil
        end
        assert_durable(server:request("GET", "/buy?id=last"))
        finish(place, { "exited on signal 9" })
    end)

    it("is reloaded while requests wait", function()
        local place, server = begin()
        local old = {}
        for _, pid in ipairs(server:workers()) do
            old[pid] = true
        end
        stop_disk(place)
        local sent = send_orders(server, "h", WAITERS)
        await_lag(server, WAITERS)
        server.connection:close()
        server.connection = nil
        harness.kill(server, server.pid, "HUP")
        assert(process.wait(function()
            local new = 0
            for _, pid in ipairs(server:workers()) do
                new = new + (old[pid] and 0 or 1)
            end
            return new == WORKERS
        end))
        process.kill(place.holder, "CONT")
        for _, one in ipairs(sent) do
            assert_durable(assert(answer(one)))
        end
        assert(process.wait(function()
            for _, pid in ipairs(server:workers()) do
                if old[pid] then
                    return false
                end
            end
            return true
        end, 20), "an old worker stays")
        assert_durable(server:request("GET", "/buy?id=after"))
        finish(place)
    end)

    it("lets a worker go whose waiting call was killed", function()
        local place, server = begin()
        stop_disk(place)
        assert.equal("1 1\n", server:request("GET", "/kill?id=killed").body)
        await_waiting(server, 1)
        process.kill(place.holder, "CONT") -- its order gets durable
        await_waiting(server, 0)
        server:reload(10)
        finish(place)
    end)

    it("lets a worker go where the disk does not come back", function()
        local place, server = begin()
        stop_disk(place)
        for i = 1, WAITERS do
            assert.equal(i .. " 1\n",
                         server:request("GET", "/kill?id=none" .. i).body)
        end
        server:reload(10) -- after the time of a call
        process.kill(place.holder, "CONT")
        finish(place)
    end)

    it("forgets a killed call at its time", function()
        local place, server = begin()
        stop_disk(place)
        server:request("GET", "/kill?id=forgotten")
        await_waiting(server, 1)
        await_waiting(server, 0)
        process.kill(place.holder, "CONT")
        server:reload(4)
        finish(place)
    end)

    it("lets a worker go whose client has left", function()
        local place, server = begin()
        stop_disk(place)
        local sent = send(server, "GET", "/abort?id=aborted")
        await_lag(server, 1)
        await_waiting(server, 1)
        sent.connection:close()
        assert(process.wait(function()
            return server:request("GET", "/aborted").body == "499\n"
        end))
        process.kill(place.holder, "CONT")
        await_waiting(server, 0)
        server:reload(10)
        assert.equal("reserved\n",
                     server:request("GET", "/state?id=aborted").body)
        finish(place)
    end)

    for _, by in ipairs { "stop", "close" } do
        it("answers pending when the engine is ended by " .. by, function()
            local place, server = begin()
            stop_disk(place)
            local res = server:request("GET", "/end?id=ended&by=" .. by)
            assert.equal("1 0 pending at once\n", res.body)
            process.kill(place.holder, "CONT")
            server:reload(10)
            assert.equal("reserved\n",
                         server:request("GET", "/state?id=ended").body)
            finish(place)
        end)
    end

    it("keeps the sale over stops, also without the segment", function()
        local place = new_place()
        local lives = {}
        for life = 1, 4 do
            local server = start(place)
            for i = 1, life - 1 do
                assert.equal("reserved\n", server:request(
                    "GET", "/state?id=life" .. i).body)
            end
            assert_durable(server:request("GET", "/buy?id=life" .. life))
            lives[life] = select(3, log_of(server))
            assert.equal("\n", server:request("GET", "/audit").body)
            assert.is_true(server:stop())
            server:assert_clean_log()
            server:cleanup()
            if life % 2 == 0 then
                assert(require("resty.seckill").destroy(place.name))
            end
        end
        assert.equal(lives[1], lives[2])
        assert.equal(lives[1] + 1, lives[3])
        assert.equal(lives[3], lives[4])
    end)
end)
