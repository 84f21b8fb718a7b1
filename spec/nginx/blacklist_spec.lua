-- examples/blacklist as it stands, but for what a test cannot use: port, user,
-- name of the segment. Its own generator makes the lists; a new file is renamed
-- over the old one while requests go on, and every worker takes it over.

local cjson = require "cjson"
local client = require "spec.nginx.client"
local harness = require "spec.nginx.harness"
local socket = require "socket"

local WORKERS = 3
local NAME = "blacklist-" .. harness.free_port()
-- Beside the example: which worker says what.
local WHICH = [[
location = /which { content_by_lua_block {
    local denied, why, list = require("shop").verdict()
    ngx.say(ngx.worker.pid(), " ", tostring(denied), " ", tostring(why), " ",
            tostring(list))
} }
]]

local server, dir


local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end


local function shell(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read("*a")
    pipe:close()
    return text
end


-- What stands between the braces of a directive.
local function block(conf, directive)
    local at = assert(conf:find(directive .. " {", 1, true), directive)
    return conf:match("%b{}", at):sub(2, -2)
end


local function generator(ids, networks, seed)
    return ("luajit '%s/examples/blacklist/generate.lua' '%s' %d %d %d"):format(
        harness.root, dir, ids, networks, seed)
end


local function get(path, user)
    return server:request("GET", path, nil, { ["X-User"] = user })
end


-- From another address of the loopback network.
local function get_from(address)
    local sock = assert(socket.tcp())
    sock:settimeout(10)
    assert(sock:bind(address, 0))
    assert(sock:connect("127.0.0.1", server.port))
    assert(sock:send("GET / HTTP/1.0\r\n\r\n"))
    local text = assert(sock:receive("*a"))
    sock:close()
    return tonumber(text:match("^HTTP/1%.1 (%d+)")), text:match("\r\n\r\n(.*)")
end


local function post(list, changes)
    return server:request("POST", "/lists", cjson.encode {
        list = list, changes = changes })
end


-- One answer of each worker. Every request is a connection of its own, the
-- kernel spreads them.
local function ask_all(user)
    local answers, count = {}, 0
    assert(harness.wait(function()
        local c = client.new(server.port)
        local res = assert(c:request("GET", "/which", nil,
                                     { ["X-User"] = user }))
        c:close()
        local pid, text = res.body:match("^(%d+) (.-)\n$")
        count = count + (answers[pid] and 0 or 1)
        answers[pid] = text
        return count == WORKERS
    end), "not every worker answered")
    return answers
end


local function all_say(user, want)
    for _, text in pairs(ask_all(user)) do
        if text ~= want then
            return false
        end
    end
    return true
end


-- A user of the file without a ttl or reason, by its place.
local function user_of(text, number)
    local n = 0
    for line in text:gmatch("[^\n]+") do
        if not line:find("[#\t]") then
            n = n + 1
            if n == number then
                return line
            end
        end
    end
end


local function start(expect_failure)
    local conf = read(harness.root .. "/examples/blacklist/nginx.conf")
    local name = expect_failure and NAME .. "-x" or NAME
    return harness.start {
        workers = WORKERS, listen = "reuseport",
        expect_failure = expect_failure,
        env = { LISTS_DIR = dir, SECKILL_LIB = os.getenv("SECKILL_LIB") },
        init = block(conf, "init_by_lua_block")
            :gsub('name = "shop"', 'name = "' .. name .. '"')
            :gsub('user = "www%-data",', ""),
        init_worker = block(conf, "init_worker_by_lua_block"),
        exit_worker = block(conf, "exit_worker_by_lua_block"),
        server = block(conf, "server"):gsub("listen [^;]*;", "") .. WHICH,
    }
end


describe("examples/blacklist/nginx.conf", function()
    setup(function()
        dir = shell("mktemp -d"):gsub("%s", "")
        assert.equal(3, select(2, shell(generator(100000, 5000, 1))
                               :gsub("entries", "")))
        server = start()
    end)

    teardown(function()
        assert(server:stop())
        server:assert_clean_log()
        server:cleanup()
        require("resty.seckill").destroy(NAME)
        os.execute("rm -rf '" .. dir .. "'")
    end)

    it("keeps out who is listed, and says why", function()
        local res = get("/", "mallory")
        assert.equal(403, res.status)
        assert.same({ code = "blocked", list = "users",
                      reason = "stolen card" }, cjson.decode(res.body))
        res = get("/", user_of(read(dir .. "/users.txt"), 70000))
        assert.equal(403, res.status)
        assert.same({ code = "blocked", list = "users" },
                    cjson.decode(res.body))
        for _, user in ipairs { "alice", "vip", "", ("x"):rep(65) } do
            assert.equal(200, get("/", user).status, user)
        end
        assert.equal(200, server:request("GET", "/").status)
        local numbers = cjson.decode(server:request("GET", "/lists").body)
        assert.is_true(numbers.users.entries > 99000)
        assert.is_true(numbers.networks.entries >= 5000)
        assert.equal("", numbers.networks.error)
    end)

    it("takes changes for all workers at once", function()
        local changes = { { op = "add", value = "eve" } }
        assert.equal(200, post("users", changes).status)
        assert.is_true(all_say("eve", "true nil users"))
        changes[1].op = "remove"
        assert.equal(200, post("users", changes).status)
        assert.is_true(all_say("eve", "false nil nil"))
        -- A network, and one inside it that is let in again.
        assert.equal(200, get_from("127.9.1.1"))
        assert.equal(200, post("networks", {
            { op = "add", value = "127.9.0.0/16" },
            { op = "remove", value = "127.9.2.0/24" } }).status)
        local status, body = get_from("127.9.1.1")
        assert.equal(403, status)
        assert.equal("networks", cjson.decode(body).list)
        assert.equal(200, get_from("127.9.2.1"))
        assert.equal(200, get_from("127.8.1.1"))
        assert.equal(200, get("/", "alice").status)
    end)

    it("refuses changes that are none", function()
        for _, bad in ipairs { "", "{", "5", "{}", '{"list":"none"}',
                               '{"list":"users"}',
                               '{"list":"users","changes":5}',
                               '{"list":5,"changes":[]}' } do
            assert.equal(400, server:request("POST", "/lists", bad).status,
                         bad)
        end
        local res = post("networks", { { op = "add", value = "127.9.0.0/24" },
                                       { op = "add", value = "10.0.0.1/8" } })
        assert.equal(400, res.status)
        assert.same({ code = "bad_value", position = 2 },
                    cjson.decode(res.body))
        assert.equal(200, get_from("127.9.2.1"))
    end)

    it("takes over a file that is renamed under load", function()
        local old = user_of(read(dir .. "/users.txt"), 50000)
        assert.is_true(all_say(old, "true nil users"))
        -- It runs beside the requests of the loop below.
        local pipe = assert(io.popen(generator(100000, 5000, 2)))
        local clients, requests = {}, 0
        for i = 1, 8 do
            clients[i] = server:client()
        end
        local function flood()
            for i, c in ipairs(clients) do
                -- Who is in both files, and who is in neither, sees nothing.
                for user, status in pairs { mallory = 403, vip = 200,
                                            alice = 200 } do
                    local res = assert(c:request("GET", "/", nil,
                                                 { ["X-User"] = user }))
                    assert.equal(status, res.status, user .. " " .. i)
                    requests = requests + 1
                end
            end
        end
        local at = 0
        assert(harness.wait(function()
            flood()
            at = at + 1
            return at % 20 == 0 and all_say(old, "false nil nil")
        end, 30), "the new file was not taken over by all workers")
        pipe:close()
        for _, c in ipairs(clients) do
            c:close()
        end
        assert.is_true(requests >= 480)
        local fresh = user_of(read(dir .. "/users.txt"), 50000)
        assert(harness.wait(function()
            return all_say(fresh, "true nil users")
        end))
        assert.is_true(all_say("mallory", "true stolen card users"))
        -- What was added stays.
        assert.equal(403, (get_from("127.9.1.1")))
    end)

    it("keeps the old file when the new one is torn", function()
        local path = dir .. "/users.txt"
        local text = read(path)
        local file = assert(io.open(path .. ".new", "wb"))
        file:write(text:sub(1, #text / 2))
        file:close()
        assert(os.rename(path .. ".new", path))
        assert(harness.wait(function()
            local all = cjson.decode(server:request("GET", "/lists").body)
            return all.users.error:find("no #end", 1, true) ~= nil
        end, 20))
        assert.is_true(all_say("mallory", "true stolen card users"))
        assert.is_true(all_say(user_of(text, 80000), "true nil users"))
    end)

    it("does not start without its files", function()
        local path = dir .. "/white.txt"
        assert(os.rename(path, path .. ".away"))
        local other, log = start(true)
        assert(os.rename(path .. ".away", path))
        require("resty.seckill").destroy(NAME .. "-x")
        assert.is_nil(other)
        assert.matches("white.txt: No such file", log, 1, true)
    end)

    it("is seen by the program", function()
        local out = shell(("SECKILL_LIB='%s' '%s/bin/seckill' list test "
            .. "--name %s --list users mallory alice -o json; echo $?"):format(
            require("resty.seckill.lib").path, harness.root, NAME))
        local rows, status = out:match("^(.-)\n(%d+)\n$")
        rows = cjson.decode(rows)
        assert.equal("1", status)
        assert.equal("denied", rows[1].answer)
        assert.equal("stolen card", rows[1].reason)
        assert.equal("not listed", rows[2].answer)
    end)
end)
