--- cli/list_file.lua - a list file as the commands of `seckill list` see it:
--- its lines, what they say of a value, and a load of it in an engine of its
--- own.

local ffi = require("ffi")
local jit = require("jit")
local lib = require("resty.seckill.lib")
local output = require("resty.seckill.cli.output")
local source = require("resty.seckill.cli.source")
local seckill = require("resty.seckill")


local C = lib.C
local ffi_string = ffi.string
local format = string.format
local ipairs = ipairs
local pcall = pcall
local tonumber = tonumber
local type = type


local _M = { _VERSION = "0.1.0" }

local ERR_SIZE = 512
local NS = 1e9
local MB = 2^20
local NO_BAD_LINES = 2^32 - 1 -- 0 asks for the default
local KINDS = { id = 1, ip = 2 }
local FORMATS = { [1] = "text", [2] = "gzip" }
local PROOFS = { [0] = "none", [1] = "fits", [2] = "waived" }
local ADDRESSES = 4 * 8 + 4 -- of a line: first, last, family
local NOT_FOUND = 4
local NAME = "list"
local SMALL = { items = 1, reservations = 64, users = 64, requests = 64,
                limit_keys = 1, limiters = 1, lists = 1, list_overlay = 1,
                breakers = 1, shedders = 1, permits = 1, log_units = 4096 }

pcall(ffi.cdef, "char *mkdtemp(char *template);")
pcall(ffi.cdef, "int rmdir(const char *path);")


-- ---- Options --------------------------------------------------------------

-- The C struct of --kind, --max-bad-lines, ...
local function to_options(values)
    local o = ffi.new("seckill_list_options_t")
    o.struct_size = ffi.sizeof("seckill_list_options_t")
    o.kind = KINDS[values.kind or "id"]
    o.allow_empty = values["allow-empty"] and 1 or 0
    o.max_bytes = values["max-bytes"] or 0
    o.max_entries = values["max-entries"] or 0
    local bad = values["max-bad-lines"]
    o.max_bad_lines = bad == 0 and NO_BAD_LINES or bad or 0
    return o
end


-- ---- Reading --------------------------------------------------------------

local function to_summary(sum)
    return {
        file_bytes = tonumber(sum.file_bytes), bytes = tonumber(sum.bytes),
        lines = tonumber(sum.lines), entries = tonumber(sum.entries),
        allow = tonumber(sum.allows),
        deny = tonumber(sum.entries) - tonumber(sum.allows),
        with_ttl = tonumber(sum.timed), with_reason = tonumber(sum.reasons),
        bad_lines = tonumber(sum.bad_lines),
        networks = tonumber(sum.networks),
        index_bytes = tonumber(sum.index_bytes),
        format = FORMATS[sum.format], trailer = PROOFS[sum.has_trailer],
        sha256_file = PROOFS[sum.has_digest], digest = ffi_string(sum.digest),
    }
end


-- The library calls back: that must not be reached from compiled code, and an
-- error must not leave the callback.
local function call(path, values, each, sum, err)
    local failure
    local callback = ffi.cast("seckill_list_lines_fn",
        function(_, lines, count, so_far)
            if failure then
                return
            end
            local ok, why = pcall(each, lines, count, so_far)
            if not ok then
                failure = { why }
            end
        end)
    local rc = C.seckill_list_read(path, to_options(values), callback, nil,
                                   sum, err, ERR_SIZE)
    callback:free()
    if failure then
        error(failure[1], 0)
    end
    return rc
end
jit.off(call)


--- Read a file once. `each` gets its lines in batches, as C structs that are
--- gone when it returns.
---@param path string
---@param values table options of the command
---@param each fun(lines: ffi.cdata*, count: integer)
---@return table? summary
---@return string? code
---@return string? detail
---@return table summary of what was read, also of a bad file
function _M.read(path, values, each)
    local sum = ffi.new("seckill_list_read_t")
    local err = ffi.new("char[?]", ERR_SIZE)
    local progress = output.progress(values.progress, function()
        return tonumber(C.seckill_mono_now())
    end)
    local ok, rc = pcall(call, path, values, function(lines, count, so_far)
        progress:show("%s: %.0f MB, %.0f lines", output.plain(path),
                      tonumber(so_far.bytes) / MB, tonumber(so_far.lines))
        each(lines, count)
    end, sum, err)
    progress:done()
    if not ok then
        error(rc, 0)
    end
    local summary = to_summary(sum)
    if rc == lib.OK then
        return summary, nil, nil, summary
    end
    return nil, lib.errname(rc), ffi_string(err), summary
end


--- The value of a line as text.
---@param line ffi.cdata*
---@return string
function _M.value(line)
    return ffi_string(line.value, line.value_len)
end


--- What makes an entry the one it is: its value, or the addresses it is about,
--- however they are written.
---@param line ffi.cdata*
---@return string
function _M.key(line)
    if line.family ~= 0 then
        return ffi_string(ffi.cast("const char *", line.first), ADDRESSES)
    end
    return ffi_string(line.value, line.value_len)
end


--- A Lua table of a line.
---@param line ffi.cdata*
---@return table
function _M.entry(line)
    local reason = line.reason_len > 0
        and ffi_string(line.reason, line.reason_len) or nil
    return {
        line = tonumber(line.line), entry = _M.value(line),
        allow = line.allow == 1, reason = reason,
        ttl = line.ttl_ns ~= 0 and tonumber(line.ttl_ns) / NS or nil,
    }
end


--- Say why a file cannot be used; the exit status.
---@param path string
---@param code string
---@param detail string
---@return integer status
function _M.refused(path, code, detail)
    if detail:find("No such file", 1, true) then
        return source.fail(NOT_FOUND, detail)
    end
    return source.refused(path, code, detail)
end


-- ---- What a file says -----------------------------------------------------

-- Is `new` closer to the value than what was found? The same network, or id:
-- an allow wins, of two of a sort the later line.
local function is_closer(old, close, allow)
    if not old or close ~= old.close then
        return not old or close > old.close
    end
    return allow or not old.allow
end


local function note(found, value, line, close)
    local allow = line.allow == 1
    if is_closer(found[value], close, allow) then
        local entry = _M.entry(line)
        entry.close = close
        found[value] = entry
    end
end


local function each_id(values, found)
    local wanted = {}
    for _, value in ipairs(values) do
        wanted[value] = true
    end
    return function(lines, count)
        for i = 0, count - 1 do
            local line = lines[i]
            local value = ffi_string(line.value, line.value_len)
            if line.why == nil and wanted[value] then
                note(found, value, line, 1)
            end
        end
    end
end


-- An IPv4 address as a number; nil for what is written in another way.
local function number_of(value)
    local a, b, c, d = value:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    return a and ((a * 256 + b) * 256 + c) * 256 + d
end


-- IPv4 values in order, and all others.
local function sort_values(values)
    local numbers, others = {}, {}
    for _, value in ipairs(values) do
        local number = number_of(value)
        if number then
            numbers[#numbers + 1] = { number, value }
        else
            others[#others + 1] = value
        end
    end
    table.sort(numbers, function(a, b) return a[1] < b[1] end)
    return numbers, others
end


-- The first of the sorted numbers that is not below `least`.
local function search(numbers, least)
    local from, to = 1, #numbers + 1
    while from < to do
        local middle = (from + to - (from + to) % 2) / 2
        if numbers[middle][1] < least then
            from = middle + 1
        else
            to = middle
        end
    end
    return from
end


local function each_address(values, found)
    local numbers, others = sort_values(values)
    local function try(line, value)
        local close = C.seckill_list_line_covers(line, value, #value)
        if close > 0 then
            note(found, value, line, close)
        end
    end
    return function(lines, count)
        for i = 0, count - 1 do
            local line = lines[i]
            if line.family == 4 then
                local last = tonumber(line.last[1])
                local at = search(numbers, tonumber(line.first[1]))
                while numbers[at] and numbers[at][1] <= last do
                    try(line, numbers[at][2])
                    at = at + 1
                end
            end
            for v = 1, line.family ~= 0 and #others or 0 do
                try(line, others[v])
            end
        end
    end
end


--- The entry that decides about each value, as a load of the file would.
---@param path string
---@param values table options of the command
---@param texts string[]
---@return table<string, table>? found by value: of entry(), and `close`
---@return string? code
---@return string? detail
---@return table summary
function _M.explain(path, values, texts)
    local found = {}
    local each = values.kind == "ip" and each_address or each_id
    local summary, code, detail, so_far =
        _M.read(path, values, each(texts, found))
    if not summary then
        return nil, code, detail, so_far
    end
    return found, nil, nil, summary
end


--- Can the value be looked up in a list of this kind?
---@param kind "id"|"ip"
---@param value string
---@return boolean
function _M.is_value(kind, value)
    if kind ~= "ip" then
        return #value >= 1 and #value <= 64
    end
    local line = ffi.new("seckill_list_line_t")
    line.family = 4
    return C.seckill_list_line_covers(line, value, #value) >= 0
end


-- ---- A load ---------------------------------------------------------------

local function make_directory(base)
    local path = base .. "/seckill-list.XXXXXX"
    local buffer = ffi.new("char[?]", #path + 1, path)
    if ffi.C.mkdtemp(buffer) == nil then
        return nil
    end
    return ffi_string(buffer)
end


local function load_in(dir, path, values)
    local engine, code, detail, more = seckill.open {
        name = NAME, shm_dir = dir, capacity = SMALL }
    if not engine then
        return nil, code, more or detail
    end
    local list
    list, code, detail = engine:access_list(NAME, {
        kind = values.kind, file = path, watch = false,
        allow_empty = values["allow-empty"], max_bytes = values["max-bytes"],
        max_entries = values["max-entries"],
        max_bad_lines = values["max-bad-lines"],
    })
    local stats = list and list:stats()
    engine:close()
    return stats, code, detail
end


--- Load a file into an engine of its own, which is removed again.
---@param path string
---@param values table options of the command
---@return table? stats of the list
---@return string? code
---@return string? detail
function _M.load(path, values)
    local dir = make_directory(values["shm-dir"])
    if not dir then
        return nil, "io_error", "cannot make a directory in "
            .. values["shm-dir"]
    end
    local ok, stats, code, detail = pcall(load_in, dir, path, values)
    seckill.destroy(NAME, dir)
    ffi.C.rmdir(dir)
    if not ok then
        error(stats, 0)
    end
    if type(stats) ~= "table" then
        return nil, code, detail or format("%s: %s", path, code)
    end
    return stats
end


return _M
