-- A private MariaDB server for a spec: its own directory and socket, no
-- network, stopped by its pid.
--
--   local server = mariadb.new(directory)   -- makes the data directory
--   server:start()                          -- waits until it answers
--   server:stop("TERM" | "KILL")
--   server.socket  server.user  server.database

local process = require "spec.nginx.process"

local _M = { user = "root", database = "orders" }
local mt = { __index = _M }

local START_SECONDS = 30


local function find(name)
    for _, folder in ipairs { "/usr/sbin/", "/usr/bin/", "/usr/local/bin/" } do
        local file = io.open(folder .. name, "rb")
        if file then
            file:close()
            return folder .. name
        end
    end
    error(name .. " is not installed: run make deps", 0)
end


-- The server refuses to run as root.
local function as_user()
    return process.is_root() and " --user=nobody" or ""
end


--- Make the tables of a new server in `directory`, which becomes its own.
---@param directory string
---@return table server
function _M.new(directory)
    local self = setmetatable({
        data = directory .. "/data", socket = directory .. "/sock",
        log = directory .. "/server.log",
    }, mt)
    if process.is_root() then
        os.execute("chown nobody '" .. directory .. "'")
    end
    local command = ("%s --no-defaults --datadir='%s'%s --skip-test-db "
        .. "--auth-root-authentication-method=normal >'%s' 2>&1"):format(
        find("mariadb-install-db"), self.data, as_user(), self.log)
    if os.execute(command) ~= 0 then
        error("mariadb-install-db failed:\n" .. process.slurp(self.log), 0)
    end
    return self
end


local function connect(self)
    local driver = require("luasql.mysql")
    local env = driver.mysql()
    local connection = env:connect("", self.user, "", nil, nil, self.socket)
    if connection then
        connection:execute("CREATE DATABASE IF NOT EXISTS " .. self.database)
        connection:close()
    end
    env:close()
    return connection ~= nil
end


--- Start it and wait until it answers.
function _M:start()
    local args = { find("mariadbd"), "--no-defaults",
        "--datadir=" .. self.data, "--socket=" .. self.socket,
        "--pid-file=" .. self.data .. "/pid", "--skip-networking",
        "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M",
        "--performance-schema=OFF" }
    if process.is_root() then
        args[#args + 1] = "--user=nobody"
    end
    self.pid = process.spawn(args, self.log)
    local up = process.wait(function()
        return process.ended(self.pid) and "gone" or connect(self)
    end, START_SECONDS)
    if up ~= true then
        error("MariaDB did not start:\n" .. process.slurp(self.log), 0)
    end
end


--- Stop it; again is a no-op.
---@param signal string
function _M:stop(signal)
    if not self.pid then
        return
    end
    process.kill(self.pid, signal)
    local ended = process.wait(function()
        return process.ended(self.pid)
    end, 20)
    if not ended then
        process.kill(self.pid, "KILL")
    end
    self.pid = nil
end


return _M
