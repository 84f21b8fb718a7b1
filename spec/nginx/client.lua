-- A small blocking HTTP/1.1 client for specs: one kept-alive connection, raw
-- enough to send malformed requests. LuaSocket, plain LuaJIT.
--
--   local c = client.new(port [, host])
--   local res, err = c:request("POST", "/reserve", body [, headers])
--       res = { status, reason, headers (lower-case names), body }
--   c:send(raw)          bytes as they are
--   c:receive([method])  one answer
--   c:close()
-- A connection that was closed by the server is opened again at the next
-- request(); an answer is never asked for twice.

local socket = require "socket"

local _M = {}
local mt = { __index = _M }

local TIMEOUT = 10


--- A client of 127.0.0.1:port; connects at the first request.
function _M.new(port, host)
    return setmetatable({ port = port, host = host or "127.0.0.1" }, mt)
end


function _M:connect()
    self:close()
    local sock, err = socket.connect(self.host, self.port)
    if not sock then
        return nil, err
    end
    sock:settimeout(TIMEOUT)
    sock:setoption("tcp-nodelay", true)
    self.sock = sock
    return true
end


function _M:close()
    if self.sock then
        self.sock:close()
        self.sock = nil
    end
end


function _M:send(raw)
    if not self.sock then
        local ok, err = self:connect()
        if not ok then
            return nil, err
        end
    end
    return self.sock:send(raw)
end


local function read_headers(sock)
    local headers = {}
    while true do
        local line, err = sock:receive("*l")
        if not line then
            return nil, err
        end
        if line == "" then
            return headers
        end
        local name, value = line:match("^([^:]+):%s*(.-)%s*$")
        if name then
            headers[name:lower()] = value
        end
    end
end


local function read_chunks(sock)
    local parts = {}
    while true do
        local size, err = sock:receive("*l")
        size = size and tonumber(size:match("^%x+"), 16)
        if not size then
            return nil, err or "bad chunk"
        end
        local data = sock:receive(size + 2)
        if not data then
            return nil, "closed"
        end
        if size == 0 then
            return table.concat(parts)
        end
        parts[#parts + 1] = data:sub(1, size)
    end
end


local function read_body(sock, method, status, headers)
    if method == "HEAD" or status == 204 or status == 304 then
        return ""
    end
    if headers["transfer-encoding"] == "chunked" then
        return read_chunks(sock)
    end
    local length = tonumber(headers["content-length"])
    if length then
        return length == 0 and "" or sock:receive(length)
    end
    return sock:receive("*a")
end


--- Read one answer.
function _M:receive(method)
    local sock = self.sock
    if not sock then
        return nil, "closed"
    end
    local line, err = sock:receive("*l")
    if not line then
        self:close()
        return nil, err
    end
    local status, reason = line:match("^HTTP/1%.%d (%d+) ?(.*)$")
    local headers
    headers, err = read_headers(sock)
    local body
    if headers and status then
        body, err = read_body(sock, method, tonumber(status), headers)
    end
    if not body then
        self:close()
        return nil, err or "bad answer"
    end
    if headers.connection == "close" then
        self:close()
    end
    return { status = tonumber(status), reason = reason, headers = headers,
             body = body }
end


local function format(self, method, path, body, headers)
    local out = { method .. " " .. path .. " HTTP/1.1" }
    local given = {}
    for name, value in pairs(headers or {}) do
        given[name:lower()] = true
        out[#out + 1] = name .. ": " .. value
    end
    if not given.host then
        out[#out + 1] = "Host: " .. self.host
    end
    if body and not given["content-length"] then
        out[#out + 1] = "Content-Length: " .. #body
    end
    out[#out + 1] = ""
    out[#out + 1] = body or ""
    return table.concat(out, "\r\n")
end


--- One request and its answer on the kept-alive connection.
---@param method string
---@param path string
---@param body string?
---@param headers table<string, string>?
---@return table? res
---@return string? err
function _M:request(method, path, body, headers)
    local ok, err = self:send(format(self, method, path, body, headers))
    if not ok then
        self:close()
        return nil, err
    end
    return self:receive(method)
end


return _M
