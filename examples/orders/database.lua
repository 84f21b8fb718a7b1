-- database.lua - where the orders go: SQLite or MariaDB, through LuaSQL.
--
-- The two differ in how a connection is made, in the words for "insert, or
-- update what is there", and in how bytes are written; all of that is here.
-- Functions answer nil and a text where the database refuses or is away.

local concat = table.concat
local format = string.format
local ipairs = ipairs
local tonumber = tonumber


local _M = {}
local mt = { __index = _M }

local BUSY_MS = 10000

local ORDER_COLUMNS = "ledger, id, line, item, user_id, qty, state, "
    .. "request_id, expires_at, created_at, updated_at, lsn"
local EVENT_COLUMNS = "event_key, ledger, lsn, line, time, type, id, item, "
    .. "user_id, qty, state, request_id"


-- ---- Values ---------------------------------------------------------------

-- Bytes as a literal. Only letters that mean nothing to SQL are written as they
-- are, anything else in hexadecimal: nothing has to be escaped.
local function bytes(db, text)
    if not text:find("[^%w%-_.:@+/= ]") then
        return "'" .. text .. "'"
    end
    local hex = text:gsub(".", function(c) return format("%02X", c:byte()) end)
    hex = "X'" .. hex .. "'"
    return db.kind == "sqlite" and "CAST(" .. hex .. " AS TEXT)" or hex
end


local function integer(value)
    return format("%.0f", value)
end


-- Microseconds, rounded; os.date knows no fractions.
local function timestamp(seconds)
    if not seconds then
        return "NULL"
    end
    local micro = math.floor(seconds * 1e6 + 0.5)
    local whole = math.floor(micro / 1e6)
    return os.date("!'%Y-%m-%d %H:%M:%S", whole)
        .. format(".%06d'", micro - whole * 1e6)
end


local function event_row(db, ledger, r)
    return "(" .. concat({
        bytes(db, r.key), bytes(db, ledger), integer(r.lsn),
        integer(r.line or 0), timestamp(r.time), bytes(db, r.type),
        bytes(db, r.id), bytes(db, r.item or ""), bytes(db, r.user or ""),
        integer(r.qty), bytes(db, r.state), bytes(db, r.request_id or ""),
    }, ", ") .. ")"
end


local function order_row(db, ledger, r)
    return "(" .. concat({
        bytes(db, ledger), bytes(db, r.id), integer(r.line or 0),
        bytes(db, r.item or ""), bytes(db, r.user or ""), integer(r.qty),
        bytes(db, r.state), bytes(db, r.request_id or ""),
        timestamp(r.expires_at), timestamp(r.time), timestamp(r.time),
        integer(r.lsn),
    }, ", ") .. ")"
end


-- A later record changes an order, an earlier one does not; what the order was
-- made with stays.
local ON_CONFLICT = {
    sqlite = {
        event = " ON CONFLICT (event_key) DO NOTHING",
        order = " ON CONFLICT (ledger, id, line) DO UPDATE SET "
            .. "qty = excluded.qty, state = excluded.state, "
            .. "updated_at = excluded.updated_at, lsn = excluded.lsn "
            .. "WHERE excluded.lsn > orders.lsn",
    },
    mariadb = {
        event = " ON DUPLICATE KEY UPDATE event_key = event_key",
        -- Left to right: lsn comes last, the others compare with the old one.
        order = " ON DUPLICATE KEY UPDATE "
            .. "qty = IF(VALUES(lsn) > lsn, VALUES(qty), qty), "
            .. "state = IF(VALUES(lsn) > lsn, VALUES(state), state), "
            .. "updated_at = IF(VALUES(lsn) > lsn, VALUES(updated_at), "
            .. "updated_at), lsn = GREATEST(lsn, VALUES(lsn))",
    },
}


-- ---- Connections ----------------------------------------------------------

local function driver(name, package_name)
    local ok, module = pcall(require, "luasql." .. name)
    if not ok then
        return nil, format("LuaSQL for %s is missing: apt-get install %s",
                           name, package_name)
    end
    return module[name]()
end


local function open_sqlite(options)
    local env, err = driver("sqlite3", "lua-sql-sqlite3")
    if not env then
        return nil, err
    end
    local connection
    connection, err = env:connect(options.sqlite)
    if not connection then
        return nil, options.sqlite .. ": " .. err
    end
    return connection, env
end


local function open_mariadb(options)
    local env, err = driver("mysql", "lua-sql-mysql")
    if not env then
        return nil, err
    end
    local connection
    connection, err = env:connect(options.database, options["db-user"],
        options.password, options.host, options.port, options.socket)
    if not connection then
        return nil, err
    end
    return connection, env
end


--- Connect and prepare the connection.
---@param options table sqlite = file; or mariadb = true, host, port, socket,
---  database, db-user, password
---@return table? db
---@return string? err
function _M.open(options)
    local kind = options.mariadb and "mariadb" or "sqlite"
    local connection, env = (options.mariadb and open_mariadb
                             or open_sqlite)(options)
    if not connection then
        return nil, env
    end
    local self = setmetatable({ kind = kind, connection = connection,
                                env = env }, mt)
    local ok, err
    if kind == "sqlite" then
        -- A commit must be on disk before the cursor is moved; with a rollback
        -- journal that is only when its directory is, too.
        ok, err = self:run("PRAGMA busy_timeout = " .. BUSY_MS)
        ok, err = ok and self:run("PRAGMA synchronous = EXTRA"), err
    else
        ok, err = self:run("SET SESSION time_zone = '+00:00', "
                           .. "sql_mode = 'STRICT_ALL_TABLES'")
    end
    if not ok then
        self:close()
        return nil, err
    end
    return self
end


--- Run a statement; rows are not looked at.
---@param sql string
---@return integer? affected
---@return string? err
function _M:run(sql)
    local result, err = self.connection:execute(sql)
    if not result then
        return nil, err
    end
    if type(result) ~= "number" then
        result:close()
        return 0
    end
    return result
end


--- The first column of the first row; false when there is none.
---@param sql string
---@return string|false|nil value
---@return string? err
function _M:value(sql)
    local rows, err = self.connection:execute(sql)
    if not rows then
        return nil, err
    end
    local value = rows:fetch()
    rows:close()
    return value or false
end


--- Run a file of statements, each ended by ";" at the end of a line.
---@param path string
---@return boolean? ok
---@return string? err
function _M:script(path)
    local file, why = io.open(path, "rb")
    if not file then
        return nil, why
    end
    local text = file:read("*a"):gsub("%-%-[^\n]*", "")
    file:close()
    for statement in text:gmatch("(.-);%s*\n") do
        local ok, err = self:run(statement)
        if not ok then
            return nil, err
        end
    end
    return true
end


function _M:close()
    self.connection:close()
    self.env:close()
end


-- ---- The position ---------------------------------------------------------

--- The cursor up to which the database has everything; "" when the worker has
--- not begun, false when it does not know the name.
function _M:position(name)
    return self:value("SELECT position FROM order_position WHERE name = "
                      .. bytes(self, name))
end


--- Note a name.
function _M:add_position(name, position)
    return self:run(format(
        "INSERT INTO order_position (name, position) VALUES (%s, %s)",
        bytes(self, name), bytes(self, position)))
end


-- ---- Records --------------------------------------------------------------

local function insert(self, ledger, records)
    local events, orders = {}, {}
    for i, record in ipairs(records) do
        events[i] = event_row(self, ledger, record)
        orders[i] = order_row(self, ledger, record)
    end
    if #events == 0 then
        return true
    end
    local on = ON_CONFLICT[self.kind]
    local ok, err = self:run("INSERT INTO order_events (" .. EVENT_COLUMNS
        .. ") VALUES " .. concat(events, ",\n") .. on.event)
    if not ok then
        return nil, err
    end
    return self:run("INSERT INTO orders (" .. ORDER_COLUMNS .. ") VALUES "
        .. concat(orders, ",\n") .. on.order)
end


-- Moves the position from where this worker left it; another one under the same
-- name would have moved it meanwhile.
local function move(self, name, from, to)
    if from == to then
        return true
    end
    local moved, err = self:run(format("UPDATE order_position SET "
        .. "position = %s WHERE name = %s AND position = %s",
        bytes(self, to), bytes(self, name), bytes(self, from)))
    if not moved then
        return nil, err
    end
    if tonumber(moved) ~= 1 then
        return nil, "another worker runs under the cursor " .. name, true
    end
    return true
end


--- Write the records of one batch and the position behind them: all, or none.
---@param name string of the cursor
---@param ledger string uuid
---@param records table[] of reservations
---@param from string position before
---@param to string position after
---@return boolean? ok
---@return string? err
---@return boolean? final trying again is of no use
function _M:write(name, ledger, records, from, to)
    local begin = self.kind == "sqlite" and "BEGIN IMMEDIATE"
        or "START TRANSACTION"
    local ok, err = self:run(begin)
    if not ok then
        return nil, err
    end
    local final
    ok, err = insert(self, ledger, records)
    if ok then
        ok, err, final = move(self, name, from, to)
    end
    if ok then
        ok, err = self:run("COMMIT")
    end
    if not ok then
        self:run("ROLLBACK")
        return nil, err, final
    end
    return true
end


return _M
