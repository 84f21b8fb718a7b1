-- examples/limits/nginx.conf as it stands, but for what a test cannot use:
-- port, user, name of the segment. Each tier refuses on its own, and a refusal
-- takes nothing from the others.

local cjson = require "cjson"
local harness = require "spec.nginx.harness"
local client = require "spec.nginx.client"

local NAME = "limits-" .. harness.free_port()
local WIDE = { rateLimit = { middle = 1e6, low = 1e6 },
               user = { second = 16, minute = 1e6 },
               ip = { second = 1e6, minute = 1e6 } }

local server
local ids = 0
local users = 0


local function read(path)
    local file = assert(io.open(harness.root .. "/" .. path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end


-- What stands between the braces of a directive.
local function block(conf, directive)
    local at = assert(conf:find(directive .. " {", 1, true), directive)
    return conf:match("%b{}", at):sub(2, -2)
end


local function put(config)
    local res = server:request("PUT", "/limits", cjson.encode(config))
    assert.equal(200, res.status, res.body)
    return cjson.decode(res.body)
end


local function fresh_user()
    users = users + 1
    return "user-" .. users
end


local function reserve(user)
    ids = ids + 1
    return server:request("POST", "/reserve", cjson.encode {
        item = "phone", qty = 1, request_id = "request-" .. ids },
        { ["X-User"] = user, ["Content-Type"] = "application/json" })
end


-- Every field of a refusal by the tier `name`.
local function assert_refused(name, res)
    assert.equal(429, res.status, res.body)
    local body = cjson.decode(res.body)
    assert.equal("rejected", body.code)
    local wait = assert(tonumber(res.headers["retry-after"]))
    local told, t = res.headers["ratelimit"]:match('^"(.*)";r=0;t=(%d+)$')
    assert.equal(name, told, res.headers["ratelimit"])
    assert.is_true(wait >= tonumber(t))
    assert.is_true(wait >= body.retry_after)
    assert.equal("0", res.headers["x-ratelimit-remaining"])
    assert.equal(t, res.headers["x-ratelimit-reset"])
    assert.matches('"' .. name .. '";q=', res.headers["ratelimit-policy"],
                   1, true)
end


describe("examples/limits/nginx.conf", function()
    setup(function()
        local conf = read("examples/limits/nginx.conf")
        server = harness.start {
            workers = 2,
            env = { SHOP_TOKEN_KEY = "the-key-of-the-purchase-tokens" },
            init = block(conf, "init_by_lua_block")
                :gsub('name = "shop"', 'name = "' .. NAME .. '"')
                :gsub('user = "www%-data",', ""),
            init_worker = block(conf, "init_worker_by_lua_block"),
            exit_worker = block(conf, "exit_worker_by_lua_block"),
            server = block(conf, "server"):gsub("listen [^;]*;", ""),
        }
    end)

    teardown(function()
        assert(server:stop())
        server:assert_clean_log()
        server:cleanup()
        require("resty.seckill").destroy(NAME)
    end)

    before_each(function()
        put(WIDE)
    end)

    it("has the numbers of the systems it stands for", function()
        local text = read("examples/limits/nginx.conf")
        assert.matches("\"middle\".-rate = 100000,", text)
        assert.matches("\"low\".-rate = 10000,", text)
        local numbers = cjson.decode(server:request("GET", "/limits").body)
        assert.same(WIDE, numbers)
        assert.equal(7, put({ ip = { minute = 7.9 } }).ip.minute)
        -- What is no number changes nothing.
        assert.equal(7, put({ ip = { minute = "x" }, user = 5 }).ip.minute)
        for _, bad in ipairs { "", "{", "5" } do
            assert.equal(400, server:request("PUT", "/limits", bad).status)
        end
    end)

    it("sells, and tells who is let in how it stands", function()
        local res = reserve(fresh_user())
        assert.equal(201, res.status, res.body)
        local policy = res.headers["ratelimit-policy"]
        for _, name in ipairs { "middle", "low", "user-second", "user-minute",
                                "ip-second", "ip-minute" } do
            assert.matches('"' .. name .. '";q=', policy, 1, true)
        end
        assert.equal('"user-second";r=15;t=1', res.headers["ratelimit"])
        assert.equal("16", res.headers["x-ratelimit-limit"])
        assert.is_nil(res.headers["retry-after"])
        res = server:request("GET", "/items")
        assert.equal(200, res.status)
        assert.is_nil(res.headers["ratelimit-policy"]:find("user"))
    end)

    -- Each tier at 3 (a bucket: at 1 in a second), asked by a user of its own
    -- for each request where it is not about the user.
    local TIERS = {
        { "middle", { rateLimit = { middle = 1 } } },
        { "low", { rateLimit = { low = 1 } } },
        { "user-second", { user = { second = 3 } }, "same user" },
        { "user-minute", { user = { minute = 3 } }, "same user" },
        { "ip-second", { ip = { second = 3 } } },
        { "ip-minute", { ip = { minute = 3 } } },
    }

    for _, tier in ipairs(TIERS) do
        local name, numbers, same = unpack(tier)

        it("refuses by " .. name, function()
            put(numbers)
            local user = fresh_user()
            local refused, passed = nil, 0
            for _ = 1, 40 do
                local res = reserve(same and user or fresh_user())
                if res.status == 429 then
                    refused = res
                    break
                end
                assert.equal(201, res.status, res.body)
                passed = passed + 1
            end
            assert.is_true(not same or passed >= 3)
            assert_refused(name, assert(refused, "never refused"))
            -- For everybody at once. A bucket that was small counts as used
            -- up: the next token comes within microseconds.
            put(WIDE)
            local status
            for _ = 1, 3 do
                status = reserve(user).status
                if status == 201 then
                    break
                end
            end
            assert.equal(201, status)
        end)
    end

    it("lets the shop go on where only the purchase path is over", function()
        put { rateLimit = { low = 1 } }
        repeat
            local res = reserve(fresh_user())
        until res.status == 429
        assert.equal(200, server:request("GET", "/items").status)
        assert.equal(429, reserve(fresh_user()).status)
    end)

    it("counts what a user was let in, by both workers, and no refusal",
    function()
        put { user = { minute = 5 } }
        local user = fresh_user()
        for _ = 1, 3 do
            assert.equal(201, reserve(user).status)
        end
        -- 20 that the address may not ask: on other connections, so that both
        -- workers refuse.
        put { ip = { minute = 1 } }
        for _ = 1, 20 do
            local other = client.new(server.port)
            local res = assert(other:request("POST", "/reserve", "{}",
                { ["X-User"] = user, ["Content-Type"] = "application/json" }))
            other:close()
            assert_refused("ip-minute", res)
        end
        put { ip = { minute = 1e6 } }
        assert.equal(201, reserve(user).status)
        assert.equal(201, reserve(user).status)
        assert_refused("user-minute", reserve(user))
    end)

    it("counts each tier", function()
        local metrics = server:request("GET", "/metrics").body
        for _, name in ipairs { "middle", "low", "user-second", "user-minute",
                                "ip-second", "ip-minute" } do
            assert.matches(name, metrics, 1, true)
        end
    end)
end)
