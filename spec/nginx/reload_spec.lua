-- 100 reloads (HUP) of a real nginx with threads, sockets and a list: no
-- crash, no leak of descriptors, sockets, threads or index files, no worker
-- that stays, and answers for requests that are still served.

local harness = require "spec.nginx.harness"
local process = require "spec.nginx.process"

local WORKERS = 2
local RELOADS = 100
local NAME = "spec_reload_" .. harness.free_port()
local DIR = "/dev/shm/seckill." .. NAME .. ".d"

local INIT = [[
local seckill = require "resty.seckill"
local engine = assert(seckill.open { name = "${name}" })
local list = assert(engine:access_list("black", {
    kind = "id", file = "${file}", settle = 0.01 }))
package.loaded.shop = { engine = engine, list = list }
]]

local SERVER = [[
location /match { content_by_lua_block {
    local denied = require("shop").list:match(ngx.var.arg_v)
    ngx.say(tostring(denied))
} }
location /reload { content_by_lua_block {
    local ok, code = require("shop").list:reload()
    ngx.say(tostring(ok), " ", tostring(code))
} }
location /kill { content_by_lua_block {
    local list = require("shop").list
    local call = ngx.thread.spawn(list.reload, list)
    ngx.say(require("resty.seckill.completion").waiting(), " ",
            tostring(ngx.thread.kill(call)))
} }
location /late { content_by_lua_block {
    ngx.say(ngx.worker.pid())
    ngx.log(ngx.NOTICE, "late request begins")
    while not ngx.worker.exiting() do
        ngx.sleep(0.005)
    end
    ngx.sleep(0.05)
    for _ = 1, 3 do
        local ok, code = require("shop").list:reload()
        ngx.say(tostring(ok), " ", tostring(code))
    end
} }
]]


local function count_output(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read("*a")
    pipe:close()
    return tonumber(text)
end


local function fds(pid)
    return count_output("ls /proc/" .. pid .. "/fd | wc -l")
end


local function threads(pid)
    return count_output("ls /proc/" .. pid .. "/task | wc -l")
end


local function files(pattern)
    return count_output("ls '" .. DIR .. "' | grep -c '" .. pattern
                        .. "' || true")
end


local function write(path, text)
    local file = assert(io.open(path, "wb"))
    assert(file:write(text))
    file:close()
end


local function start(file, exit_worker)
    local fill = { name = NAME, file = file }
    return harness.start {
        workers = WORKERS, log_level = "info",
        env = { SECKILL_LIB = os.getenv("SECKILL_LIB") },
        init = INIT:gsub("%${(%w+)}", fill), server = SERVER,
        init_worker = [[ assert(require("shop").engine:start()) ]],
        exit_worker = exit_worker,
    }
end


describe("reload of nginx", function()
    local file, server

    before_each(function()
        file = os.tmpname()
        write(file, "a\n")
    end)

    after_each(function()
        assert.is_true(server:stop())
        assert.equal(0, files("sock$"))
        server:assert_clean_log()
        assert.is_nil(server:error_log():find("%[error%]"))
        server:cleanup()
        os.remove(file)
        os.execute("rm -rf '/dev/shm/seckill." .. NAME .. "' '" .. DIR .. "'")
    end)

    local function settled(n)
        return assert(harness.wait(function()
            for _, pid in ipairs(server:workers()) do
                if threads(pid) ~= 3 then
                    return false
                end
            end
            return files("sock$") == n
        end), "threads or sockets do not fit")
    end

    local function most_fds()
        local n = 0
        for _, pid in ipairs(server:workers()) do
            n = math.max(n, fds(pid))
        end
        return n
    end

    it("leaves nothing behind, 100 times", function()
        server = start(file, [[ require("shop").engine:stop() ]])
        server:reload() -- the first one settles what is kept for good
        settled(WORKERS)
        local master, worker = fds(server.pid), most_fds()
        for i = 1, RELOADS do
            write(file, "a\nv" .. i .. "\n")
            server:reload()
            assert.equal("true\n",
                         server:request("GET", "/match?v=a").body)
            if i % 10 == 0 then
                assert.equal("true nil\n",
                             server:request("GET", "/reload").body)
                assert.equal("true\n",
                             server:request("GET", "/match?v=v" .. i).body)
            end
        end
        settled(WORKERS)
        assert.equal(master, fds(server.pid))
        -- Two more for connections of this spec that are just being closed.
        assert.is_true(most_fds() <= worker + 2)
        assert.equal(1, files("^list"))
    end)

    it("needs no exit_worker_by_lua", function()
        server = start(file, nil)
        for _ = 1, 10 do
            server:reload()
        end
        settled(WORKERS)
    end)

    it("lets a worker go whose waiting call was killed", function()
        server = start(file, nil)
        for _ = 1, 3 do
            assert.equal("1 1\n", server:request("GET", "/kill").body)
            server:reload(10)
        end
        settled(WORKERS)
    end)

    it("still answers in a worker that leaves", function()
        server = start(file, [[ require("shop").engine:stop() ]])
        local old = {}
        for _, pid in ipairs(server:workers()) do
            old[pid] = true
        end
        local client = server:client()
        assert(client:send("GET /late HTTP/1.1\r\nHost: spec\r\n\r\n"))
        assert(harness.wait(function()
            return server:error_log():find("late request begins", 1, true)
        end))
        process.kill(server.pid, "HUP")
        local res = assert(client:receive())
        local pid, rest = res.body:match("^(%d+)\n(.*)$")
        assert.is_true(old[tonumber(pid)])
        assert.equal(("true nil\n"):rep(3), rest)
        client:close()
        assert(harness.wait(function()
            return not process.alive(pid)
        end, 10), "the old worker stays")
        settled(WORKERS)
    end)
end)
