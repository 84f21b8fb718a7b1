-- Breakers and shedders in a real nginx of two workers: what one worker sees
-- holds in both, through a reload; what a killed worker had in flight is back.

local harness = require "spec.nginx.harness"

local NAME = "spec_breaker_" .. harness.free_port()

local INIT = [[
local engine = assert(require("resty.seckill").open {
    name = "]] .. NAME .. [[", user = "root",
    capacity = { items = 1, limit_keys = 64 } })
package.loaded.shop = {
    engine = engine,
    payment = assert(engine:breaker("payment", {
        min_calls = 10, error_ratio = 0.5, open = 3600 })),
    shed = assert(engine:shedder("all", { max_inflight = 6 })),
}
]]

local INIT_WORKER = [[ assert(require("shop").engine:start()) ]]

local SERVER = [[
location = /call {
    access_by_lua_block {
        local permit, code, retry_after = require("shop").payment:allow()
        if not permit then
            ngx.header["Retry-After"] = math.ceil(retry_after)
            ngx.status = 503
            ngx.say(ngx.worker.pid(), " ", code)
            return ngx.exit(503)
        end
        ngx.ctx.permit = permit
    }
    content_by_lua_block {
        ngx.status = tonumber(ngx.var.arg_status)
        ngx.say(ngx.worker.pid(), " called")
    }
    log_by_lua_block {
        if ngx.ctx.permit then
            require("shop").payment:report(ngx.ctx.permit, ngx.status < 500,
                                           tonumber(ngx.var.request_time))
        end
    }
}
location = /hang { content_by_lua_block {
    local shed = require("shop").shed
    local permit, code = shed:admit()
    if not permit then
        ngx.status = 503
        return ngx.say(code)
    end
    ngx.sleep(3600)
} }
location = /state { content_by_lua_block {
    local shop = require("shop")
    local stats = shop.shed:stats()
    ngx.say(shop.payment:state(), " ", stats.inflight[2], " ", stats.lost, " ",
            stats.cpu and "sampled" or "not_sampled")
} }
location = /force { content_by_lua_block {
    local state = ngx.var.arg_state
    require("shop").payment:force(state ~= "" and state or nil)
    ngx.say("ok")
} }
]]


-- A request over a connection of its own: any worker may get it.
local function get(server, path)
    local client = server:client()
    local res = assert(client:request("GET", path))
    client:close()
    return res
end


local function state(server)
    local breaker, inflight, lost, cpu =
        get(server, "/state").body:match("(%S+) (%d+) (%d+) (%S+)")
    return { breaker = breaker, inflight = tonumber(inflight),
             lost = tonumber(lost), cpu = cpu }
end


-- The statuses of /call by worker, until both have answered.
local function ask_both(server, status)
    local seen, workers = {}, 0
    for _ = 1, 2000 do
        local res = get(server, "/call?status=" .. status)
        local pid = res.body:match("^%d+")
        if not seen[pid] then
            seen[pid] = res
            workers = workers + 1
        end
        if workers == 2 then
            return seen
        end
    end
    error("one worker never answered")
end


describe("breaker and shedder in nginx", function()
    local server

    setup(function()
        server = harness.start { workers = 2, init = INIT, server = SERVER,
                                 init_worker = INIT_WORKER }
    end)

    teardown(function()
        server:stop()
        server:assert_clean_log { "exited on signal 9" }
        server:cleanup()
        os.execute("rm -rf /dev/shm/seckill." .. NAME .. " /dev/shm/seckill."
                   .. NAME .. ".d*")
    end)

    it("opens for both workers, and stays open through a reload", function()
        for _ = 1, 10 do
            assert.equal(500, get(server, "/call?status=500").status)
        end
        -- The last report may still be on its way, behind its answer.
        assert.is_true(harness.wait(function()
            return state(server).breaker == "open"
        end))
        for _, res in pairs(ask_both(server, 200)) do
            assert.equal(503, res.status)
            assert.matches("open", res.body)
            local retry_after = tonumber(res.headers["retry-after"])
            assert.is_true(retry_after > 3000 and retry_after <= 3960)
        end
        server:reload()
        assert.equal("open", state(server).breaker)
        assert.equal(503, get(server, "/call?status=200").status)
    end)

    it("is switched in both workers at once", function()
        get(server, "/force?state=disabled")
        for _, res in pairs(ask_both(server, 200)) do
            assert.equal(200, res.status)
        end
        get(server, "/force?state=open")
        for _, res in pairs(ask_both(server, 200)) do
            assert.equal(503, res.status)
        end
        assert.equal("forced_open", state(server).breaker)
        get(server, "/force?state=")
        assert.equal("closed", state(server).breaker)
    end)

    it("gives back what a killed worker had in flight", function()
        local clients = {}
        for i = 1, 6 do
            clients[i] = server:client()
            assert(clients[i]:connect())
            assert(clients[i]:send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n"))
        end
        assert.is_true(harness.wait(function()
            return state(server).inflight == 6
        end))
        assert.equal(503, get(server, "/hang").status)
        for _, pid in ipairs(server:workers()) do
            server:kill(pid, "KILL")
        end
        server:wait_workers()
        assert.is_true(harness.wait(function()
            return state(server).inflight == 0
        end, 10))
        assert.equal(6, state(server).lost)
        for i = 1, 6 do
            clients[i]:close()
        end
    end)

    it("samples the CPU in one of the workers", function()
        assert.is_true(harness.wait(function()
            return state(server).cpu == "sampled"
        end, 10))
    end)
end)
