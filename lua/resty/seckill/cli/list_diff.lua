--- cli/list_diff.lua - what differs between two list files, exactly and in
--- bounded memory.
--
-- Entries are told apart by their bytes (of networks: by their addresses), and
-- spread over so many parts, by a hash, that one part of both files fits into
-- memory. Each part takes one reading of both. The first lines that differ are
-- kept by number; a last reading fetches them.

local list_file = require("resty.seckill.cli.list_file")


local ceil = math.ceil
local error = error
local ffi_string = require("ffi").string
local insert = table.insert
local ipairs = ipairs
local max = math.max
local next = next
local pairs = pairs
local tonumber = tonumber


local _M = { _VERSION = "0.1.0" }

local WORD = 2^32


-- A failed reading ends all of it.
local function read(path, values, each)
    local summary, code, detail = list_file.read(path, values, each)
    if not summary then
        error({ path = path, code = code, detail = detail }, 0)
    end
    return summary
end


local function is_same(path, before, now)
    if before.digest ~= now.digest then
        error({ path = path, code = "bad_file",
                detail = path .. ": it changed meanwhile" }, 0)
    end
end


-- What an entry says beside what it is about.
local function rest_of(line)
    if line.ttl_ns == 0 and line.reason_len == 0 then
        return ""
    end
    return tonumber(line.ttl_ns) .. "\t"
        .. ffi_string(line.reason, line.reason_len)
end


-- Of the same entry twice, the later line counts, as in a load.
local function read_part(file, values, part, parts)
    local rests, lines = {}, {}
    local from, to = part / parts * WORD, (part + 1) / parts * WORD
    local summary = read(file.path, values, function(batch, count)
        for i = 0, count - 1 do
            local line = batch[i]
            if line.hash >= from and line.hash < to and line.why == nil then
                local key = (line.allow == 1 and "!" or "-")
                    .. list_file.key(line)
                rests[key] = rest_of(line)
                lines[key] = tonumber(line.line)
            end
        end
    end)
    is_same(file.path, file.summary, summary)
    return rests, lines
end


-- The `keep` smallest line numbers, in order.
local function keep_line(list, line, keep)
    list.count = list.count + 1
    if #list >= keep and (keep == 0 or line > list[keep]) then
        return
    end
    local at = #list + 1
    while at > 1 and list[at - 1] > line do
        at = at - 1
    end
    insert(list, at, line)
    list[keep + 1] = nil
end


local function compare(old, old_lines, new, new_lines, found, keep)
    for key, rest in pairs(old) do
        if new[key] == nil then
            keep_line(found.removed, old_lines[key], keep)
        elseif new[key] ~= rest then
            keep_line(found.changed, new_lines[key], keep)
        end
    end
    for key in pairs(new) do
        if old[key] == nil then
            keep_line(found.added, new_lines[key], keep)
        end
    end
end


-- Line numbers become entries.
local function fetch(file, values, lists)
    local wanted = {}
    for _, list in ipairs(lists) do
        for at, number in ipairs(list) do
            wanted[number] = { list = list, at = at }
        end
    end
    if next(wanted) == nil then
        return
    end
    local summary = read(file.path, values, function(batch, count)
        for i = 0, count - 1 do
            local place = wanted[tonumber(batch[i].line)]
            if place then
                place.list[place.at] = list_file.entry(batch[i])
            end
        end
    end)
    is_same(file.path, file.summary, summary)
end


local function ignore()
end


--- Compare. Raises { path, code, detail } for a file that cannot be used.
---@param old_path string
---@param new_path string
---@param values table options of the command
---@return table found added, removed, changed: { count, entries... }
---@return table old summary
---@return table new summary
function _M.compare(old_path, new_path, values)
    local old = { path = old_path, summary = read(old_path, values, ignore) }
    local new = { path = new_path, summary = read(new_path, values, ignore) }
    local found = { added = { count = 0 }, removed = { count = 0 },
                    changed = { count = 0 } }
    local parts = max(1, ceil(max(old.summary.entries, new.summary.entries)
                              / values["at-once"]))
    for part = 0, parts - 1 do
        local old_rests, old_lines = read_part(old, values, part, parts)
        local new_rests, new_lines = read_part(new, values, part, parts)
        compare(old_rests, old_lines, new_rests, new_lines, found,
                values.lines)
    end
    fetch(old, values, { found.removed })
    fetch(new, values, { found.added, found.changed })
    return found, old.summary, new.summary
end


return _M
