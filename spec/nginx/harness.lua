-- Starts a real multi-worker nginx for a spec and drives it. Plain LuaJIT.
--
--   local harness = require "spec.nginx.harness"
--   local server = harness.start {
--       workers = 2,              -- default 1
--       init = [[ lua ]],         -- init_by_lua_block
--       init_worker = [[ lua ]], exit_worker = [[ lua ]],
--       server = [[ location /x { content_by_lua_block { } } ]],
--       http = "", main = "", events = "",    -- further directives, verbatim
--       listen = "",              -- parameters of listen: "reuseport"
--       user = "nobody",          -- root only; default root
--       env = { NAME = "value" }, -- `env` directives
--       lua_path = "", lua_cpath = "",        -- searched before the tree's
--       log_level = "notice",     -- of the error log; default "info"
--       expect_failure = true,    -- answer nil, log instead of raising
--   }
--   server.port .prefix .pid      -- loopback port, private directory, master
--   server:request(method, path, body?, headers?) -> res    (kept alive)
--       res = { status, headers, body }; raises where there is no answer
--   server:client() -> another connection (see spec/nginx/client.lua)
--   server:workers() -> pids of the workers, oldest first
--   server:reload(seconds?)       -- HUP, then waits for new workers and for
--                                 -- the old ones to be gone
--   server:kill(pid, "KILL")      -- one process, by pid
--   server:wait_workers(n?)       -- until n workers run (after a kill)
--   server:stop(seconds?) -> true | nil, "killed"   -- QUIT, at last KILL;
--                                 -- the error log can still be read
--   server:error_log() -> text
--   server:assert_clean_log(allow?) -- raises with the lines that are [emerg],
--                                 -- [alert], [crit] or tell of a signal;
--                                 -- allow: list of plain texts to let pass
--   server:cleanup()              -- removes the directory (stop() first)
--   harness.wait(test, seconds?)  -- poll until true, nil "timeout"
--   harness.free_port()  harness.root  harness.build  harness.is_root()
--
-- The library is searched in $SECKILL_BUILD, else in <tree>/build. nginx is
-- $NGINX, else the first of the usual absolute paths. A failed start raises
-- with the error log and leaves no process. Servers that a spec forgot are
-- ended by harness.stop_all(), and by the kernel when the spec's process ends.

local socket = require "socket"
local client = require "spec.nginx.client"
local process = require "spec.nginx.process"

local _M = { wait = process.wait, is_root = process.is_root }
local mt = { __index = _M }

local START_SECONDS = 15
local START_TRIES = 3
local BAD = { "[emerg]", "[alert]", "[crit]", "segfault",
              "exited on signal" }
local MODULES = { "ndk_http_module.so", "ngx_http_lua_module.so" }

local running = {}


local function exists(path)
    local file = io.open(path, "rb")
    if file then
        file:close()
    end
    return file ~= nil
end


local function output_of(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read("*a")
    pipe:close()
    return (text:gsub("%s+$", ""))
end


local function tree_root()
    local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
    return output_of("cd '" .. here .. "/../..' && pwd -P")
end

_M.root = tree_root()
_M.build = os.getenv("SECKILL_BUILD") or _M.root .. "/build"


local function nginx_binary()
    local given = os.getenv("NGINX")
    if given then
        return given
    end
    for _, path in ipairs { "/usr/sbin/nginx",
                            "/usr/local/openresty/nginx/sbin/nginx",
                            "/usr/local/sbin/nginx" } do
        if exists(path) then
            return path
        end
    end
    error("nginx is not installed", 0)
end


--- A loopback port that was free a moment ago.
function _M.free_port()
    local sock = assert(socket.bind("127.0.0.1", 0))
    local _, port = sock:getsockname()
    sock:close()
    return tonumber(port)
end


-- Debian's nginx needs the module loaded, OpenResty has it inside.
local function load_modules()
    local lines = {}
    for _, name in ipairs(MODULES) do
        local path = "/usr/lib/nginx/modules/" .. name
        if exists(path) then
            lines[#lines + 1] = "load_module " .. path .. ";"
        end
    end
    return table.concat(lines, "\n")
end


local function block(name, code)
    return code and name .. " {\n" .. code .. "\n}" or ""
end


local function env_lines(env)
    local lines = {}
    for name, value in pairs(env or {}) do
        lines[#lines + 1] = ("env '%s=%s';"):format(name, value)
    end
    return table.concat(lines, "\n")
end


local TEMPLATE = [[
${modules}
${user}
worker_processes ${workers};
daemon off;
pid ${prefix}/nginx.pid;
error_log ${prefix}/error.log ${log_level};
${env}
${main}
events { worker_connections 1024; ${events} }
http {
    access_log off;
    default_type text/plain;
    keepalive_requests 10000000;
    client_body_buffer_size 8k;
    client_body_temp_path ${prefix}/body;
    proxy_temp_path ${prefix}/proxy;
    fastcgi_temp_path ${prefix}/fastcgi;
    uwsgi_temp_path ${prefix}/uwsgi;
    scgi_temp_path ${prefix}/scgi;
    lua_package_path "${lua_path}${root}/lua/?.lua;${root}/?.lua;;";
    lua_package_cpath "${lua_cpath}${build}/?.so;;";
    ${init}
    ${init_worker}
    ${exit_worker}
    ${http}
    server {
        listen 127.0.0.1:${port} ${listen};
        ${server}
    }
}
]]


local function user_line(opts)
    if not process.is_root() then
        return ""
    end
    return "user " .. (opts.user or "root") .. ";"
end


local function search_path(text)
    if not text or text == "" then
        return ""
    end
    return (text:gsub(";*$", ";"))
end


local function config(opts, prefix, port)
    local values = {
        modules = load_modules(), user = user_line(opts),
        workers = opts.workers or 1, prefix = prefix,
        log_level = opts.log_level or "info", env = env_lines(opts.env),
        main = opts.main or "", events = opts.events or "",
        lua_path = search_path(opts.lua_path),
        lua_cpath = search_path(opts.lua_cpath),
        root = _M.root, build = _M.build,
        init = block("init_by_lua_block", opts.init),
        init_worker = block("init_worker_by_lua_block", opts.init_worker),
        exit_worker = block("exit_worker_by_lua_block", opts.exit_worker),
        http = opts.http or "", port = port, listen = opts.listen or "",
        server = opts.server or "",
    }
    return (TEMPLATE:gsub("%${([%w_]+)}", function(name)
        return tostring(values[name])
    end))
end


local function write_file(path, text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
end


local function answers(self)
    local sock = socket.connect("127.0.0.1", self.port)
    if sock then
        sock:close()
    end
    return sock ~= nil
end


-- "up", "gone" (the master ended) or "late".
local function await_start(self)
    local state = process.wait(function()
        if process.ended(self.pid) then
            return "gone"
        end
        local up = #process.children(self.pid) >= self.worker_count
        return up and answers(self) and "up"
    end, START_SECONDS)
    return state or "late"
end


local function launch(self)
    self.port = _M.free_port()
    write_file(self.prefix .. "/nginx.conf",
               config(self.opts, self.prefix, self.port))
    self.pid = process.spawn({ nginx_binary(), "-p", self.prefix .. "/",
                               "-e", self.prefix .. "/error.log",
                               "-c", self.prefix .. "/nginx.conf" },
                             self.prefix .. "/output.log")
    self.worker_count = self.opts.workers or 1
    running[self.pid] = self
    return await_start(self)
end


local function make_prefix()
    local base = os.getenv("TMPDIR") or "/tmp"
    local prefix = output_of("mktemp -d '" .. base .. "/seckill-spec.XXXXXX'")
    assert(prefix:find("seckill-spec.", 1, true), "mktemp failed")
    -- Workers of another user must be able to pass.
    os.execute("chmod 755 '" .. prefix .. "'")
    return prefix
end


local function failed(self, state)
    self:stop(1)
    local log = self:error_log()
    local output = process.slurp(self.prefix .. "/output.log") or ""
    self:cleanup()
    if self.opts.expect_failure then
        return nil, log .. output
    end
    error("nginx did not start (" .. state .. "):\n" .. log .. output, 0)
end


--- Start nginx; see the top of this file.
---@param opts table
---@return table? server
---@return string? log
function _M.start(opts)
    local self = setmetatable({ opts = opts, prefix = make_prefix() }, mt)
    local state
    for _ = 1, START_TRIES do
        state = launch(self)
        if state == "up" then
            return self
        end
        local taken = self:error_log():find("Address already in use", 1, true)
        if state ~= "gone" or not taken then
            break
        end
        running[self.pid] = nil
    end
    return failed(self, state)
end


--- Another kept-alive connection to this server.
function _M:client()
    return client.new(self.port)
end


--- One request on the server's own connection; raises without an answer.
function _M:request(method, path, body, headers)
    self.connection = self.connection or self:client()
    local res, err = self.connection:request(method, path, body, headers)
    if not res then
        error(("%s %s: no answer: %s"):format(method, path, err), 2)
    end
    return res
end


--- Pids of the workers, oldest first.
---@return integer[]
function _M:workers()
    return process.children(self.pid)
end


--- Send a signal to one process.
function _M.kill(_, pid, sig)
    return process.kill(pid, sig)
end


--- Wait until exactly n workers run.
function _M:wait_workers(n)
    n = n or self.worker_count
    local ok = process.wait(function() return #self:workers() == n end)
    assert(ok, "workers did not come back")
    return self:workers()
end


local function any_left(self, old)
    for _, pid in ipairs(self:workers()) do
        if old[pid] then
            return true
        end
    end
    return false
end


--- HUP; answers the new pids when the old workers are gone.
function _M:reload(seconds)
    local old = {}
    for _, pid in ipairs(self:workers()) do
        old[pid] = true
    end
    if self.connection then
        self.connection:close()
    end
    process.kill(self.pid, "HUP")
    local done = process.wait(function()
        return #self:workers() == self.worker_count
               and not any_left(self, old)
    end, seconds or 20)
    if not done then
        error("reload did not finish:\n" .. self:error_log(), 2)
    end
    return self:workers()
end


-- KILL takes the workers first: a killed master leaves them as orphans.
local function kill_all(self)
    for _, pid in ipairs(self:workers()) do
        process.kill(pid, "KILL")
    end
    process.kill(self.pid, "KILL")
    process.wait(function() return process.ended(self.pid) end, 5)
end


--- End the server; nil, "killed" when it did not end by itself.
function _M:stop(seconds)
    if self.connection then
        self.connection:close()
    end
    if not running[self.pid] then
        return true
    end
    running[self.pid] = nil
    if process.ended(self.pid) then
        return true
    end
    process.kill(self.pid, "QUIT")
    local done = process.wait(function()
        return process.ended(self.pid)
    end, seconds or 15)
    if done then
        return true
    end
    kill_all(self)
    return nil, "killed"
end


--- Text of the error log so far.
function _M:error_log()
    return process.slurp(self.prefix .. "/error.log") or ""
end


local function is_bad(line, allow)
    for _, text in ipairs(allow) do
        if line:find(text, 1, true) then
            return false
        end
    end
    for _, text in ipairs(BAD) do
        if line:find(text, 1, true) then
            return true
        end
    end
    return false
end


--- Raise with the lines of the log that must not be there.
function _M:assert_clean_log(allow)
    local bad = {}
    for line in self:error_log():gmatch("[^\n]+") do
        if is_bad(line, allow or {}) then
            bad[#bad + 1] = line
        end
    end
    if #bad > 0 then
        error("error log is not clean:\n" .. table.concat(bad, "\n"), 2)
    end
    return true
end


--- Remove the private directory.
function _M:cleanup()
    assert(not running[self.pid], "stop the server first")
    assert(self.prefix:find("/seckill-spec.", 1, true))
    os.execute("rm -rf '" .. self.prefix .. "'")
end


--- End every server that still runs, for teardown blocks.
function _M.stop_all()
    for _, server in pairs(running) do
        kill_all(server)
        running[server.pid] = nil
        server:cleanup()
    end
end


return _M
