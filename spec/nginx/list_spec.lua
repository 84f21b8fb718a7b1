-- Access lists in a real nginx of three workers: a file that changes in every
-- usual way is seen by all workers, reload() answers its coroutine, what is
-- added in one worker holds in all, and bad files keep the old list.

local harness = require "spec.nginx.harness"

local WORKERS = 3
local NAME = "spec_list_" .. harness.free_port()

local INIT = [[
local seckill = require "resty.seckill"
local engine = assert(seckill.open { name = "${name}" })
local list, code, detail = engine:access_list("black", {
    kind = "id", file = "${file}", settle = 0.02 })
assert(list, tostring(code) .. ": " .. tostring(detail))
package.loaded.shop = { engine = engine, list = list }
]]

local SERVER = [[
location /match { content_by_lua_block {
    local list = require("shop").list
    local denied, why = list:match(ngx.var.arg_v)
    ngx.say(ngx.worker.pid(), " ", tostring(denied), " ", tostring(why))
} }
location /add { content_by_lua_block {
    local list = require("shop").list
    ngx.say(tostring(list:add(ngx.var.arg_v, tonumber(ngx.var.arg_ttl))))
} }
location /remove { content_by_lua_block {
    ngx.say(tostring(require("shop").list:remove(ngx.var.arg_v)))
} }
location /reload { content_by_lua_block {
    local ok, code, detail = require("shop").list:reload()
    ngx.say(tostring(ok), " ", tostring(code), " ", tostring(detail))
} }
location /stats { content_by_lua_block {
    local s = require("shop").list:stats()
    ngx.say(s.generation, " ", s.entries, " ", s.error)
} }
location /phases { log_by_lua_block {
        local ok, code = require("shop").list:reload()
        ngx.log(ngx.NOTICE, "log phase: ", tostring(ok), " ", code)
    }
    header_filter_by_lua_block {
        local ok, code = require("shop").list:reload()
        ngx.header["X-Answer"] = tostring(ok) .. " " .. code
    }
    content_by_lua_block { ngx.say("ok") }
}
]]


local function write(path, text)
    local file = assert(io.open(path, "wb"))
    assert(file:write(text))
    file:close()
end


describe("access list in nginx", function()
    local dir, file, server

    local function fill(text)
        return (text:gsub("%${(%w+)}", { name = NAME, file = file }))
    end

    -- One answer of each worker: pid -> "denied why". Every request is a
    -- connection of its own, the kernel spreads them.
    local function ask_all(value)
        local answers, count = {}, 0
        local done = harness.wait(function()
            local client = server:client()
            local res = assert(client:request("GET", "/match?v=" .. value))
            client:close()
            local pid, text = res.body:match("^(%d+) (.-)\n$")
            if not answers[pid] then
                count = count + 1
            end
            answers[pid] = text
            return count == WORKERS
        end)
        assert(done, "not every worker answered")
        return answers
    end

    local function all_say(value, want)
        for _, text in pairs(ask_all(value)) do
            if text ~= want then
                return false
            end
        end
        return true
    end

    local function await_all(value, want)
        return assert(harness.wait(function()
            return all_say(value, want)
        end, 20), "not all workers see " .. value)
    end

    local function get(path)
        return (server:request("GET", path).body:gsub("\n$", ""))
    end

    setup(function()
        local pipe = assert(io.popen("mktemp -d"))
        dir = pipe:read("*l")
        pipe:close()
        file = dir .. "/black.txt"
        write(file, "first\n!vip\nvip\n")
        server = harness.start {
            workers = WORKERS, listen = "reuseport", log_level = "info",
            env = { SECKILL_LIB = os.getenv("SECKILL_LIB") },
            init = fill(INIT), server = SERVER,
            init_worker = [[ assert(require("shop").engine:start()) ]],
            exit_worker = [[ require("shop").engine:stop() ]],
        }
    end)

    teardown(function()
        assert.is_true(server:stop())
        server:assert_clean_log { "exited on signal 9" } -- by this spec
        server:cleanup()
        os.execute("rm -rf '" .. dir .. "' '/dev/shm/seckill." .. NAME
                   .. "' '/dev/shm/seckill." .. NAME .. ".d'")
    end)

    it("is loaded at start", function()
        assert.is_true(all_say("first", "true nil"))
        assert.is_true(all_say("vip", "false allow"))
        assert.is_true(all_say("nobody", "false nil"))
    end)

    it("follows a file written in place", function()
        write(file, "inplace\t\twhy\n")
        await_all("inplace", "true why")
        assert.is_true(all_say("first", "false nil"))
    end)

    it("follows a file renamed over", function()
        write(file .. ".new", "renamed\n")
        assert(os.rename(file .. ".new", file))
        await_all("renamed", "true nil")
        assert.is_true(all_say("inplace", "false nil"))
    end)

    it("follows a symbolic link that is swapped", function()
        for i = 1, 3 do
            local version = ("%s/..v%d"):format(dir, i)
            assert.equal(0, os.execute("mkdir " .. version))
            write(version .. "/black.txt", "swapped" .. i .. "\n")
            assert.equal(0, os.execute(([[
                cd '%s' && ln -sfn ..v%d ..data_tmp && mv -T ..data_tmp ..data
                [ -L black.txt ] || ln -sf ..data/black.txt black.txt
            ]]):format(dir, i)))
            await_all("swapped" .. i, "true nil")
            assert.is_true(all_say("swapped" .. i - 1, "false nil"))
        end
        assert(os.remove(file))
    end)

    it("keeps the old list when the file is bad, and says why", function()
        write(file, "good\n")
        await_all("good", "true nil")
        write(file, ("\tbad\n"):rep(200))
        assert(harness.wait(function()
            return get("/stats"):find("200 bad lines: line 1: empty entry", 1,
                                      true)
        end, 20))
        assert.is_true(all_say("good", "true nil"))
        assert.truthy(server:error_log():find("the old list stays, bad_file",
                                              1, true))
    end)

    it("reloads when asked, and answers the coroutine", function()
        write(file, "asked\n")
        assert.equal("true nil nil", get("/reload"))
        await_all("asked", "true nil")
        assert(os.remove(file))
        assert.truthy(get("/reload"):find("^nil bad_file open .*No such file"))
        write(file, "again\n")
        for _ = 1, 50 do
            assert.equal("true nil nil", get("/reload"))
        end
        await_all("again", "true nil")
    end)

    it("answers cannot_yield where it cannot wait", function()
        local res = server:request("GET", "/phases")
        assert.equal("nil cannot_yield", res.headers["x-answer"])
        assert(harness.wait(function()
            return server:error_log():find("log phase: nil cannot_yield", 1,
                                           true)
        end))
    end)

    it("shares what is added and removed at once", function()
        assert.equal("true", get("/add?v=fresh"))
        assert.is_true(all_say("fresh", "true nil"))
        assert.equal("true", get("/remove?v=again"))
        assert.is_true(all_say("again", "false nil"))
        assert.equal("true nil nil", get("/reload"))
        assert.is_true(all_say("fresh", "true nil"))
        assert.is_true(all_say("again", "false nil"))
        assert.equal("true", get("/remove?v=fresh"))
        assert.is_true(all_say("fresh", "false nil"))
        assert.equal("true", get("/add?v=short&ttl=0.05"))
        await_all("short", "false nil")
    end)

    it("goes on when the loader's worker is killed", function()
        for i = 1, 3 do
            local pid = server:workers()[1]
            server:kill(pid, "KILL")
            server:wait_workers()
            write(file, "after" .. i .. "\n")
            await_all("after" .. i, "true nil")
        end
    end)
end)


-- Only root has this case: an ordinary user's workers are the user's own.
if harness.is_root() then
    describe("access list of a root master, workers of nobody", function()
        it("is inherited, followed and reloaded", function()
            local file = os.tmpname()
            write(file, "first\n")
            assert.equal(0, os.execute("chmod 644 " .. file))
            local pipe = assert(io.popen("id -gn nobody"))
            local group = pipe:read("*l")
            pipe:close()
            local server = harness.start {
                workers = 2, user = "nobody " .. group, server = SERVER,
                env = { SECKILL_LIB = os.getenv("SECKILL_LIB") },
                init = INIT:gsub("%${(%w+)}", { name = NAME, file = file }),
                init_worker = [[ assert(require("shop").engine:start()) ]],
                exit_worker = [[ require("shop").engine:stop() ]],
            }
            local function denied(value)
                return server:request("GET", "/match?v=" .. value).body
                    :find(" true ", 1, true) ~= nil
            end
            assert.is_true(denied("first"))
            for i = 1, 3 do
                write(file, "v" .. i .. "\n")
                assert(harness.wait(function() return denied("v" .. i) end))
                assert.is_false(denied("first"))
                assert.equal("true nil nil\n",
                             server:request("GET", "/reload").body)
                server:reload()
                assert.is_true(denied("v" .. i))
            end
            assert.is_true(server:stop())
            server:assert_clean_log()
            server:cleanup()
            os.remove(file)
            os.execute("rm -rf /dev/shm/seckill." .. NAME .. "*")
        end)
    end)
end
