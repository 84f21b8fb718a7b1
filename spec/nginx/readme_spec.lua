-- The nginx.conf of the README and of examples/, run as they stand but for
-- what a test cannot use: port, user, paths of the system, name of the
-- segment. Then the requests that the README shows.

local harness = require "spec.nginx.harness"
local tokens = require "spec.tokens"

local JWT_KEY = "the-key-of-the-bearer-tokens-of-the-readme"
local TOKEN_KEY = "the-key-of-the-purchase-tokens"


local function read(path)
    local file = assert(io.open(harness.root .. "/" .. path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end


-- The block of a directive with its braces: what stands inside of them.
local function block(conf, directive)
    local at = assert(conf:find(directive .. " {", 1, true), directive)
    local inside = conf:match("%b{}", at)
    return inside:sub(2, -2)
end


local function adapt(text, name, list)
    return (text:gsub('name = "shop"', 'name = "' .. name .. '"')
                :gsub("/etc/nginx/blacklist", list)
                :gsub("/var/lib/seckill", list .. ".d")
                :gsub('user = "www%-data",', ""))
end


local function start(conf, name)
    local list = os.tmpname()
    local file = assert(io.open(list, "wb"))
    file:write("mallory\n")
    file:close()
    local server = block(conf, "server"):gsub("listen [^;]*;", "")
    return harness.start {
        workers = 2,
        env = { SHOP_JWT_KEY = JWT_KEY, SHOP_TOKEN_KEY = TOKEN_KEY },
        init = adapt(block(conf, "init_by_lua_block"), name, list),
        init_worker = block(conf, "init_worker_by_lua_block"),
        exit_worker = block(conf, "exit_worker_by_lua_block"),
        server = server,
    }, list
end


local function bearer(user)
    return { ["Authorization"] = "Bearer " .. tokens.jwt(
                 { sub = user, exp = os.time() + 600 }, JWT_KEY),
             ["Content-Type"] = "application/json" }
end


local function buy_one(server, prefix, item)
    local body = '{"item":"' .. item .. '","qty":1,"request_id":"5f0c2d1e"}'
    local res = server:request("POST", prefix .. "/reserve", body,
                               bearer("alice"))
    assert.equal(201, res.status, res.body)
    assert.matches('"state":"reserved"', res.body)
    assert.matches('"remaining":999', res.body)
    local token = res.body:match('"token":"([^"]+)"')
    assert.equal(200, server:request("POST", prefix .. "/confirm",
        '{"token":"' .. token .. '"}', bearer("alice")).status)
    assert.equal(403, server:request("POST", prefix .. "/reserve", body,
                                     bearer("mallory")).status)
    assert.equal(200, server:request("GET", prefix .. "/readyz").status)
end


local function finish(server, name, list)
    assert(server:stop())
    server:assert_clean_log()
    server:cleanup()
    os.remove(list)
        os.execute("rm -rf " .. list .. ".d")
    assert(require("resty.seckill").destroy(name))
end


describe("the configuration of", function()
    local pid = require("ffi").C

    lazy_setup(function()
        require("ffi").cdef("int getpid(void);")
    end)

    it("the README sells", function()
        local name = "readme-" .. pid.getpid()
        local conf = read("README.md"):match("```nginx\n(worker.-)```")
        local server, list = start(conf, name)
        buy_one(server, "/sale", "ticket")
        assert.equal(403, server:request("GET", "/sale/metrics").status)
        finish(server, name, list)
    end)

    it("examples/nginx.conf sells", function()
        local name = "example-" .. pid.getpid()
        local server, list = start(read("examples/nginx.conf"), name)
        buy_one(server, "", "phone")
        assert.equal("999 of 1000 are left\n",
                     server:request("GET", "/stock").body)
        assert.equal(200, server:request("GET", "/metrics").status)
        finish(server, name, list)
    end)
end)
