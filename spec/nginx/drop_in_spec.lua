-- A configuration as people have it for resty.limit.*, with other requires and
-- nothing else changed, in an nginx of two workers: objects made for each
-- request, leaving in the log phase, a worker that is killed.

local client = require "spec.nginx.client"
local harness = require "spec.nginx.harness"

local NAME = "dropin-" .. harness.free_port()

local INIT = [[
    require("resty.seckill").open { name = "${name}" }
]]

local SERVER = [[
location = /combined {
    access_by_lua_block {
        local limit_conn = require "resty.seckill.limit.conn"
        local limit_req = require "resty.seckill.limit.req"
        local limit_count = require "resty.seckill.limit.count"
        local limit_traffic = require "resty.seckill.limit.traffic"

        local lim1 = assert(limit_req.new("my_req_store", 300, 200))
        local lim2 = assert(limit_req.new("my_req_store", 200, 100))
        local lim3 = assert(limit_conn.new("my_conn_store", 4, 4, 0.01))
        local lim4 = assert(limit_count.new("my_count_store",
            tonumber(ngx.var.arg_count) or 20, 3600))

        local client = ngx.var.arg_client
        local limiters = { lim1, lim2, lim3, lim4 }
        local keys = { ngx.var.host, client, client, client }
        local states = {}

        local delay, err = limit_traffic.combine(limiters, keys, states)
        if not delay then
            if err == "rejected" then
                return ngx.exit(503)
            end
            ngx.log(ngx.ERR, "failed to limit traffic: ", err)
            return ngx.exit(500)
        end
        if lim3:is_committed() then
            local ctx = ngx.ctx
            ctx.limit_conn, ctx.limit_conn_key = lim3, client
        end
        ngx.header["X-States"] = table.concat(states, " ", 3)
        if delay >= 0.001 then
            ngx.sleep(delay)
        end
    }
    content_by_lua_block {
        ngx.sleep(tonumber(ngx.var.arg_sleep) or 0)
        ngx.say(ngx.worker.pid())
    }
    log_by_lua_block {
        local lim = ngx.ctx.limit_conn
        if lim then
            local latency = tonumber(ngx.var.request_time)
            local conn, err = lim:leaving(ngx.ctx.limit_conn_key, latency)
            if not conn then
                ngx.log(ngx.ERR, "failed to leave: ", err)
            end
        end
    }
}
]]

local server


local function ask(who, query)
    return server:request("GET", "/combined?client=" .. who .. (query or ""))
end


-- The requests of `who` that are inside, with the one that asks; nil: it was
-- refused, or there is no worker to answer.
local function inside(who)
    local ok, res = pcall(ask, who, "&count=1e9")
    return ok and tonumber((res.headers["x-states"] or ""):match("^%d+"))
end


local function await(test)
    assert(harness.wait(test, 20))
end


-- Requests that stay inside for so many seconds, or until their worker dies:
-- as many as there may be.
local function fill(who, seconds)
    local held = {}
    await(function()
        local own = client.new(server.port)
        own:send("GET /combined?client=" .. who .. "&count=1e9&sleep="
                 .. seconds .. " HTTP/1.1\r\nHost: localhost\r\n\r\n")
        held[#held + 1] = own
        return not inside(who)
    end)
    return held
end


describe("resty.limit.* with other requires", function()
    setup(function()
        server = harness.start {
            workers = 2, init = INIT:gsub("%${name}", NAME), server = SERVER,
        }
    end)

    teardown(function()
        assert(server:stop())
        server:assert_clean_log { "exited on signal 9" }
        server:cleanup()
        require("resty.seckill").destroy(NAME)
    end)

    it("admits, counts down and refuses, over both workers", function()
        for i = 1, 20 do
            local own = client.new(server.port)
            local res = assert(own:request("GET", "/combined?client=alice"))
            own:close()
            assert.equal(200, res.status)
            -- The one before may still have to leave, in the other worker.
            local conn, left = res.headers["x-states"]:match("^(%d) (%d+)$")
            assert.equal(20 - i, tonumber(left))
            assert.is_true(tonumber(conn) >= 1)
        end
        assert.equal(503, ask("alice").status)
        assert.equal(200, ask("bob").status)
        assert.is_nil(server:error_log():find("[error]", 1, true))
    end)

    it("knows who is inside, and who has left", function()
        local held = fill("carol", 0.5)
        assert.is_true(#held >= 8)
        assert.equal(1, inside("dave"))
        await(function() return inside("carol") == 1 end)
        assert.is_nil(server:error_log():find("failed to", 1, true))
    end)

    it("gets back what a killed worker held", function()
        local held = fill("erin", 60)
        assert.is_true(#held >= 8)
        for _, pid in ipairs(server:workers()) do
            server:kill(pid, "KILL")
        end
        server:wait_workers(2)
        await(function() return inside("erin") == 1 end)
        assert.is_nil(server:error_log():find("failed to", 1, true))
    end)
end)
