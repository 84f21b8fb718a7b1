-- Who owns the segment, in a real nginx: a root master whose workers run as
-- another user use the mapping they inherit; with the option `user` the files
-- are theirs; and somebody without root runs an nginx of his own.
--
-- The first two need root. Without it only the last one is run, as oneself.

local ffi = require "ffi"
local harness = require "spec.nginx.harness"

local C = ffi.C
local WORKERS = 2
local OTHER = "nobody"

ffi.cdef [[ int setenv(const char *name, const char *value, int overwrite);
            int unsetenv(const char *name); ]]

local INIT = [[
local ffi = require "ffi"
ffi.cdef "unsigned int geteuid(void);"
local seckill = require "resty.seckill"
local engine = assert(seckill.open { name = "${name}", ${options} })
assert(engine.stock:put { item = "shoe", total = 1000, version = 1 })
local list = assert(engine:access_list("black", { kind = "id",
    file = "${file}", settle = 0.02 }))
package.loaded.shop = { engine = engine, list = list, seckill = seckill }
]]

local SERVER = [[
location /uid { content_by_lua_block {
    ngx.print(require("ffi").C.geteuid())
} }
location /reserve { content_by_lua_block {
    local order, code = require("shop").engine.stock:reserve("shoe",
        ngx.var.arg_user, 1, ngx.var.arg_id)
    ngx.print(order and order.id or code)
} }
location /left { content_by_lua_block {
    ngx.print(require("shop").engine.stock:get("shoe").available)
} }
location /audit { content_by_lua_block {
    ngx.print(tostring(require("shop").engine.stock:audit().ok))
} }
location /ready { content_by_lua_block {
    ngx.print(tostring(require("shop").engine:ready()))
} }
location /reload { content_by_lua_block {
    local ok, code, detail = require("shop").list:reload()
    ngx.print(tostring(ok), " ", tostring(code), " ", tostring(detail))
} }
location /match { content_by_lua_block {
    ngx.print(tostring(require("shop").list:match(ngx.var.arg_v)))
} }
location /open { content_by_lua_block {
    local shop = require("shop")
    local engine, code = shop.seckill.open { name = ngx.var.arg_name,
                                             user = ngx.var.arg_user }
    ngx.print(engine and "same" or code)
} }
]]


local function output_of(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read("*a")
    pipe:close()
    return (text:gsub("%s+$", ""))
end


local function write(path, text)
    local file = assert(io.open(path, "wb"))
    assert(file:write(text))
    file:close()
end


-- "uid:mode" of a file.
local function owner(path)
    return output_of("stat -c %u:%a '" .. path .. "' 2>&1")
end


local OTHER_UID = output_of("id -u " .. OTHER)
local OTHER_USER = OTHER .. " " .. output_of("id -gn " .. OTHER)


-- Output of a LuaJIT program that runs as the other user.
local function as_other(code, ...)
    local library = os.getenv("SECKILL_LIB")
        or harness.build .. "/libseckill.so"
    return output_of(([[
        cd / && SECKILL_LIB='%s' setpriv --reuid=%s --clear-groups luajit -e '
        package.path = "%s/lua/?.lua"
        local seckill = require "resty.seckill"
        %s' 2>&1]]):format(library, OTHER, harness.root, code:format(...)))
end


describe("nginx", function()
    local name, dir, server

    local function fill(text, options)
        return (text:gsub("%${(%w+)}", { name = name, options = options,
                                         file = dir .. "/black.txt" }))
    end

    local function start(user, options)
        name = "spec_users_" .. harness.free_port()
        dir = output_of("mktemp -d")
        os.execute("chmod 755 '" .. dir .. "'")
        write(dir .. "/black.txt", "villain\n")
        server = harness.start {
            workers = WORKERS, user = user, listen = "reuseport",
            env = { SECKILL_LIB = os.getenv("SECKILL_LIB") },
            init = fill(INIT, options), server = SERVER,
            init_worker = [[ assert(require("shop").engine:start()) ]],
            exit_worker = [[ require("shop").engine:stop() ]],
        }
    end

    local function get(path)
        local res = server:request("GET", path)
        assert.equal(200, res.status)
        return res.body
    end

    local function segment(suffix)
        return "/dev/shm/seckill." .. name .. (suffix or "")
    end

    -- What every one of them must be able to do.
    local function sells(uid, from)
        assert.equal(uid, get("/uid"))
        assert.equal("true", get("/ready"))
        for i = 1, 20 do
            local client = server:client()
            local path = ("/reserve?user=u%d&id=%d-%d"):format(i, from, i)
            assert.matches("^%x", client:request("GET", path).body)
            client:close()
        end
        local id = get("/reserve?user=u1&id=" .. from .. "-1")
        assert.equal(id, get("/reserve?user=u1&id=" .. from .. "-1"))
        assert.equal(tostring(from - 20), get("/left"))
        assert.equal("true", get("/audit"))
    end

    local function reloads_lists()
        assert.equal("true", get("/match?v=villain"))
        assert.equal("false", get("/match?v=rogue"))
        write(dir .. "/black.txt", "rogue\n")
        assert.equal("true nil nil", get("/reload"))
        assert.equal("false", get("/match?v=villain"))
        assert.equal("true", get("/match?v=rogue"))
    end

    local function survives_a_kill()
        local victim = server:workers()[1]
        assert(server:kill(victim, "KILL"))
        assert(harness.wait(function()
            local pids = server:workers()
            return #pids == WORKERS and pids[1] ~= victim
        end), "the worker did not come back")
        if server.connection then
            server.connection:close()
        end
    end

    local function finish()
        assert.is_true(server:stop())
        server:assert_clean_log { "exited on signal 9" } -- by this spec
        server:cleanup()
    end

    after_each(function()
        harness.stop_all()
        os.execute("rm -rf '" .. dir .. "' " .. segment() .. " "
                   .. segment(".d") .. " " .. segment(".d." .. OTHER_UID))
    end)

    if harness.is_root() then
        it("as root, workers of another user, inherited mapping", function()
            start(OTHER_USER, "")
            assert.equal("0:600", owner(segment()))
            assert.equal("0:700", owner(segment(".d")))
            sells(OTHER_UID, 1000)
            -- Sockets of the workers are in a directory of their own.
            assert.equal(OTHER_UID .. ":700",
                         owner(segment(".d." .. OTHER_UID)))
            reloads_lists()
            survives_a_kill()
            sells(OTHER_UID, 980)
            server:reload()
            sells(OTHER_UID, 960)
            assert.equal("true", get("/match?v=rogue"))
            -- Without the inherited handle there is no way in.
            assert.equal("same", get("/open?name=" .. name))
            assert.equal("not_owner", as_other(
                "print((select(2, seckill.open { name = [[%s]] })))", name))
            finish()
        end)

        it("as root, workers of another user, option user", function()
            start(OTHER_USER, "user = '" .. OTHER .. "'")
            assert.equal(OTHER_UID .. ":600", owner(segment()))
            assert.equal(OTHER_UID .. ":700", owner(segment(".d")))
            sells(OTHER_UID, 1000)
            assert.matches("No such file", owner(segment(".d." .. OTHER_UID)))
            reloads_lists()
            survives_a_kill()
            server:reload()
            sells(OTHER_UID, 980)
            -- Their own programs may attach.
            assert.equal("960", as_other(
                "print(seckill.open { name = [[%s]] }.stock:get([[shoe]])"
                .. ".available)", name))
            finish()
        end)
    else
        print("# not root: masters of root are tested as root only")
    end

    -- A shell script in the place of nginx gives root up before it starts.
    local function give_up_root()
        local script = os.tmpname()
        write(script, ([[#!/bin/sh
for last; do :; done
chown -R %s "${last%%/*}"
unset NGINX # means sockets to nginx
exec setpriv --reuid=%s --clear-groups --pdeathsig TERM /usr/sbin/nginx "$@"
]]):format(OTHER, OTHER))
        os.execute("chmod 755 " .. script)
        return script
    end

    it("of an ordinary user", function()
        local uid, script = output_of("id -u"), nil
        local nginx = os.getenv("NGINX")
        if harness.is_root() then
            uid, script = OTHER_UID, give_up_root()
            C.setenv("NGINX", script, 1)
        end
        local ok, err = pcall(start, nil, "")
        if script then
            os.remove(script)
            if nginx then
                C.setenv("NGINX", nginx, 1)
            else
                C.unsetenv("NGINX")
            end
        end
        assert(ok, err)
        assert.equal(uid .. ":600", owner(segment()))
        assert.equal(uid .. ":700", owner(segment(".d")))
        sells(uid, 1000)
        reloads_lists()
        survives_a_kill()
        server:reload()
        sells(uid, 980)
        assert.equal("not_owner", get("/open?name=other&user=root"))
        finish()
    end)
end)
