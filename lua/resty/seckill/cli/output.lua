--- cli/output.lua - what the program `seckill` prints: tables, JSON, progress.
--
-- Text is for people: bytes that a terminal would obey or that are no UTF-8 are
-- shown as \xNN. JSON is for programs: a string that is no UTF-8 has U+FFFD
-- instead, and a field <name>_hex beside it has all its bytes.
--
-- A reader of the pipe who leaves is no error: the program ends quietly. Output
-- that cannot be written for another reason, as on a full disk, is one.

local ffi = require("ffi")


local concat = table.concat
local format = string.format
local io_stderr = io.stderr
local io_stdout = io.stdout
local ipairs = ipairs
local os_exit = os.exit
local pairs = pairs
local tostring = tostring
local type = type


local _M = { _VERSION = "0.1.0" }

local PROGRESS_NS = 200e6
local EPIPE = 32
local FAILED = 1 -- exit status

pcall(ffi.cdef, "int isatty(int fd);")
pcall(ffi.cdef, "int poll(void *fds, unsigned long n, int timeout);")


-- ---- Bytes ----------------------------------------------------------------

-- Length of the UTF-8 sequence at `at`, nil where there is none.
local function sequence(text, at)
    local a, b = text:byte(at, at + 1)
    if a < 0x80 then
        return 1
    end
    local n = a >= 0xc2 and a < 0xe0 and 2 or a >= 0xe0 and a < 0xf0 and 3
        or a >= 0xf0 and a < 0xf5 and 4
    if not n or not text:find("^" .. ("[\128-\191]"):rep(n - 1), at + 1) then
        return nil
    end
    -- overlong, surrogates, beyond U+10FFFF
    if a == 0xe0 and b < 0xa0 or a == 0xed and b > 0x9f
       or a == 0xf0 and b < 0x90 or a == 0xf4 and b > 0x8f then
        return nil
    end
    return n
end


-- Calls bad(byte) for what is no UTF-8; the text with its answers, and whether
-- there was any.
local function repair(text, bad)
    if not text:find("[\128-\255]") then
        return text, false
    end
    local out, at, found = {}, 1, false
    while at <= #text do
        local n = sequence(text, at)
        out[#out + 1] = n and text:sub(at, at + n - 1) or bad(text:byte(at))
        found = found or not n
        at = at + (n or 1)
    end
    return concat(out), found
end


local function escape(byte)
    return format("\\x%02x", byte)
end


--- A value as a person may see it.
---@param value any
---@return string
function _M.plain(value)
    if value == nil then
        return "-"
    end
    if type(value) == "number" then
        return value % 1 == 0 and format("%.0f", value)
            or (format("%.6f", value):gsub("0+$", ""))
    end
    local text = repair(tostring(value), escape)
    -- C1 control characters are UTF-8, but terminals obey them too.
    text = text:gsub("[%z\1-\31\127]", function(c) return escape(c:byte()) end)
    return (text:gsub("\194[\128-\159]", function(c)
        return escape(c:byte(1)) .. escape(c:byte(2))
    end))
end


--- Time as UTC with milliseconds.
---@param seconds number?
---@return string
function _M.time(seconds)
    if not seconds then
        return "-"
    end
    local whole = seconds - seconds % 1
    return os.date("!%Y-%m-%dT%H:%M:%S", whole)
        .. format(".%03dZ", (seconds - whole) * 1000)
end


-- ---- Writing --------------------------------------------------------------

-- Ends the program, quietly where nobody reads it; else what came out is not
-- all there is.
local function check_written(ok, why, errno)
    if ok then
        return
    end
    if errno ~= EPIPE then
        _M.note("standard output: " .. why)
    end
    os_exit(errno == EPIPE and 0 or FAILED)
end


--- Write to standard output; ends the program where that fails.
---@param text string
function _M.write(text)
    check_written(io_stdout:write(text))
end


--- What was written goes out now.
function _M.flush()
    check_written(io_stdout:flush())
end


--- A table whose columns are as wide as their longest cell.
---@param columns { [1]: string, [2]: string?, right: boolean? }[] title, field
---@param rows table[]
function _M.table(columns, rows)
    local cells, widths = { {} }, {}
    for c, column in ipairs(columns) do
        cells[1][c] = column[1]
        for r, row in ipairs(rows) do
            cells[r + 1] = cells[r + 1] or {}
            cells[r + 1][c] = _M.plain(row[column[2]])
        end
    end
    local function length(text)
        local _, count = text:gsub("[^\128-\191]", "")
        return count
    end
    for _, line in ipairs(cells) do
        for c, cell in ipairs(line) do
            widths[c] = math.max(widths[c] or 0, length(cell))
        end
    end
    for _, line in ipairs(cells) do
        for c, cell in ipairs(line) do
            local pad = (" "):rep(widths[c] - length(cell))
            line[c] = columns[c].right and pad .. cell or cell .. pad
        end
        _M.write(concat(line, "  "):gsub("%s+$", "") .. "\n")
    end
end


--- Lines of "name  value".
---@param rows { [1]: string, [2]: any }[]
function _M.pairs(rows)
    local width = 0
    for _, row in ipairs(rows) do
        width = math.max(width, #row[1])
    end
    for _, row in ipairs(rows) do
        _M.write(format("%-" .. width .. "s  %s\n", row[1],
                        _M.plain(row[2])))
    end
end


-- ---- JSON -----------------------------------------------------------------

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n",
                  ["\r"] = "\\r", ["\t"] = "\\t" }


local function json_string(text)
    if not text:find('[%z\1-\31"\\\127]') then
        return '"' .. text .. '"'
    end
    return '"' .. text:gsub('[%z\1-\31"\\\127]', function(c)
        return ESCAPES[c] or format("\\u%04x", c:byte())
    end) .. '"'
end


local function hex(text)
    return (text:gsub(".", function(c) return format("%02x", c:byte()) end))
end


local function json_number(value)
    if value ~= value or value == math.huge or value == -math.huge then
        return "null"
    end
    return value % 1 == 0 and format("%.0f", value) or format("%.16g", value)
end


local encode


local function sorted_keys(value)
    local keys = {}
    for key in pairs(value) do
        keys[#keys + 1] = key
    end
    table.sort(keys)
    return keys
end


local function json_object(value, order)
    local parts = {}
    for _, key in ipairs(order or sorted_keys(value)) do
        local field = value[key]
        if type(field) == "string" then
            local text, found = repair(field, function()
                return "\239\191\189"
            end)
            if found then
                parts[#parts + 1] = '"' .. key .. '_hex":"' .. hex(field)
                    .. '"'
            end
            field = text
        end
        if field ~= nil then
            parts[#parts + 1] = '"' .. key .. '":' .. encode(field)
        end
    end
    return "{" .. concat(parts, ",") .. "}"
end


-- A table with [1], or marked by _M.list, is an array.
function encode(value, order)
    local kind = type(value)
    if kind == "number" then
        return json_number(value)
    elseif kind == "string" then
        return json_string((repair(value, function()
            return "\239\191\189"
        end)))
    elseif kind ~= "table" then
        return value == nil and "null" or tostring(value)
    elseif value[1] == nil and getmetatable(value) ~= _M.array then
        return json_object(value, order)
    end
    local parts = {}
    for i, field in ipairs(value) do
        parts[i] = encode(field)
    end
    return "[" .. concat(parts, ",") .. "]"
end


--- The mark of a table that is an array, though it may be empty.
_M.array = {}


--- An array, though it may be empty.
---@param value table
---@return table
function _M.list(value)
    return setmetatable(value, _M.array)
end


--- One JSON value and a newline. Keys are names without anything to escape.
---@param value any
---@param order string[]? fields of an object, instead of all, sorted
function _M.json(value, order)
    _M.write(encode(value, order) .. "\n")
end


-- ---- Messages -------------------------------------------------------------

--- A line on standard error.
---@param text string
function _M.note(text)
    io_stderr:write("seckill: ", text, "\n")
end


--- Is standard error a terminal?
---@return boolean
function _M.is_terminal()
    return ffi.C.isatty(2) == 1
end


--- Wait without using the processor.
---@param seconds number
function _M.sleep(seconds)
    ffi.C.poll(nil, 0, seconds * 1000)
end


---@class seckill.cli.progress
local progress = {}
local progress_mt = { __index = progress }


--- Progress on standard error: of a terminal, or where it was asked for.
---@param asked boolean?
---@param clock fun(): number nanoseconds
---@return seckill.cli.progress
function _M.progress(asked, clock)
    local terminal = _M.is_terminal()
    return setmetatable({
        on = asked or terminal, terminal = terminal, clock = clock,
        next_ns = 0,
    }, progress_mt)
end


--- Show a line, if the last one was shown 0.2 s ago or earlier. `fmt` and its
--- arguments are put together only then.
---@param fmt string
function progress:show(fmt, ...)
    if not self.on then
        return
    end
    local now = self.clock()
    if now < self.next_ns then
        return
    end
    self.next_ns = now + PROGRESS_NS
    local text = "seckill: " .. format(fmt, ...)
    if self.terminal then
        io_stderr:write("\r\27[K", text)
        self.shown = true
    else
        io_stderr:write(text, "\n")
    end
    io_stderr:flush()
end


--- Clears the line on the terminal.
function progress:done()
    if self.shown then
        io_stderr:write("\r\27[K")
        io_stderr:flush()
        self.shown = false
    end
end


return _M
