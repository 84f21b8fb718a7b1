--- cli/list.lua - `seckill list ...`: files of access lists, and the lists of a
--- running engine.

local access_list = require("resty.seckill.access_list")
local list_diff = require("resty.seckill.cli.list_diff")
local list_file = require("resty.seckill.cli.list_file")
local output = require("resty.seckill.cli.output")
local source = require("resty.seckill.cli.source")


local error = error
local ffi_string = require("ffi").string
local format = string.format
local io_stdin = io.stdin
local ipairs = ipairs
local pcall = pcall
local tonumber = tonumber
local type = type


local _M = { _VERSION = "0.1.0" }

local REFUSED, USAGE, NOT_FOUND = 1, 2, 4


-- ---- check ----------------------------------------------------------------

local function plural(n, one)
    return format("%.0f %s", n, n == 1 and one or one .. "s")
end


local function check_rows(s, path, networks, verdict)
    local rows = {
        { "file", path }, { "format", s.format }, { "bytes", s.file_bytes },
        { "unpacked", s.bytes }, { "digest", s.digest ~= "" and s.digest
                                   or nil },
        { ".sha256", s.sha256_file }, { "#end", s.trailer },
        { "lines", s.lines }, { "entries", s.entries }, { "deny", s.deny },
        { "allow", s.allow }, { "with ttl", s.with_ttl },
        { "with reason", s.with_reason },
    }
    if networks then
        rows[#rows + 1] = { "networks", s.networks }
    else
        rows[#rows + 1] = { "index bytes", s.index_bytes }
    end
    rows[#rows + 1] = { "bad lines", s.bad_lines }
    rows[#rows + 1] = { "result", verdict }
    return rows
end


local function print_check(values, summary, bad, code, detail)
    if values.output == "json" then
        summary.file, summary.bad = values.FILE, output.list(bad)
        summary.ok, summary.code, summary.detail = code == nil, code, detail
        return output.json(summary)
    end
    for _, line in ipairs(bad) do
        output.write(format("line %.0f: %s\n", line.line, line.why))
    end
    if summary.bad_lines > #bad and #bad > 0 then
        output.write(format("... %s more\n",
                            plural(summary.bad_lines - #bad, "bad line")))
    end
    output.pairs(check_rows(summary, values.FILE, values.kind == "ip",
                            code or "ok"))
end


--- seckill list check FILE
function _M.check(values)
    local bad, keep = {}, values.lines
    local ok, code, detail, summary = list_file.read(values.FILE, values,
        function(lines, count)
            for i = 0, #bad < keep and count - 1 or -1 do
                if lines[i].why ~= nil and #bad < keep then
                    bad[#bad + 1] = { line = tonumber(lines[i].line),
                                      why = ffi_string(lines[i].why) }
                end
            end
        end)
    if not ok and summary.format == nil then
        return list_file.refused(values.FILE, code, detail)
    end
    print_check(values, summary, bad, code, detail)
    return ok and 0 or list_file.refused("list check", code, detail)
end


-- ---- build ----------------------------------------------------------------

--- seckill list build FILE
function _M.build(values)
    local summary, code, detail = list_file.read(values.FILE, values,
                                                 function() end)
    if not summary then
        return list_file.refused("list build", code, detail)
    end
    local stats
    stats, code, detail = list_file.load(values.FILE, values)
    if not stats then
        return list_file.refused("list build", code, detail)
    end
    local lines = values.kind == "ip" and summary.networks or summary.entries
    local made = {
        file = values.FILE, entries = stats.entries, bytes = stats.bytes,
        duplicates = lines - stats.entries, bad_lines = stats.bad_lines,
        load_seconds = stats.load_seconds, digest = stats.digest,
    }
    if values.output == "json" then
        output.json(made)
        return 0
    end
    output.pairs {
        { "file", made.file }, { "digest", made.digest },
        { "entries", made.entries }, { "duplicates", made.duplicates },
        { "bad lines", made.bad_lines }, { "index bytes", made.bytes },
        { "bytes each", made.entries > 0
          and format("%.1f", made.bytes / made.entries) or nil },
        { "seconds", format("%.3f", made.load_seconds) },
    }
    return 0
end


-- ---- The lists of an engine -----------------------------------------------

-- Runs fn(list of lists) on the engine --name, of which --list may name one.
local function with_lists(values, fn)
    local engine, status = source.engine(values)
    if not engine then
        return status
    end
    local lists = {}
    for _, list in ipairs(access_list.all(engine.handle)) do
        if not values.list or values.list == list.name then
            lists[#lists + 1] = list
        end
    end
    local ok, result
    if values.list and #lists == 0 then
        ok, result = true, source.fail(NOT_FOUND, format(
            "the engine \"%s\" has no list \"%s\"", values.name, values.list),
            "see `seckill list stats --name " .. values.name .. "`")
    else
        ok, result = pcall(fn, lists)
    end
    engine:close()
    if not ok then
        error(result, 0)
    end
    return result
end


local COLUMNS = {
    { "LIST", "list" }, { "KIND", "kind" },
    { "ENTRIES", "entries", right = true },
    { "ADDED", "overlay", right = true }, { "BYTES", "bytes", right = true },
    { "GENERATION", "generation", right = true },
    { "FAILURES", "failures", right = true }, { "ERROR", "error" },
}


local function stats_of(list)
    local row = list:stats()
    row.list, row.kind, row.file = list.name, list.kind, list.file
    return row
end


local function shown(value)
    return value ~= "" and value or nil
end


local function print_table(rows)
    for _, row in ipairs(rows) do
        row.error = shown(row.error)
    end
    output.table(COLUMNS, rows)
end


local function print_stats(row)
    output.pairs {
        { "list", row.list }, { "kind", row.kind }, { "file", row.file },
        { "entries", row.entries }, { "added", row.overlay },
        { "index bytes", row.bytes }, { "generation", row.generation },
        { "loads", row.reloads }, { "failures", row.failures },
        { "bad lines", row.bad_lines },
        { "loaded at", row.generation > 0 and output.time(row.loaded_at)
          or nil },
        { "seconds", format("%.3f", row.load_seconds) },
        { "file time", row.generation > 0 and output.time(row.file_mtime)
          or nil },
        { "format", row.format }, { "digest", shown(row.digest) },
        { "revision", row.revision }, { "unsaved", row.overlay_unsaved },
        { "unusable", row.overlay_unusable }, { "error", shown(row.error) },
    }
end


--- seckill list stats --name NAME
function _M.stats(values)
    if not values.name then
        return source.fail(USAGE, "give --name NAME (a running engine)",
                           "see `seckill list stats --help`")
    end
    return with_lists(values, function(lists)
        local rows = {}
        for i, list in ipairs(lists) do
            rows[i] = stats_of(list)
        end
        if values.output == "json" then
            output.json(values.list and rows[1] or output.list(rows))
        elseif values.list then
            print_stats(rows[1])
        else
            print_table(rows)
        end
        return 0
    end)
end


-- ---- test -----------------------------------------------------------------

local TEST_COLUMNS = {
    { "VALUE", "value" }, { "ANSWER", "answer" },
    { "LINE", "line", right = true }, { "ENTRY", "entry" },
    { "PREFIX", "prefix", right = true }, { "TTL", "ttl", right = true },
    { "REASON", "reason" }, { "WHY", "why" },
}


-- `-` stands for the lines of standard input.
local function expand(words)
    local texts = {}
    for _, word in ipairs(words) do
        if word == "-" then
            for line in io_stdin:lines() do
                line = line:gsub("\r$", "")
                texts[#texts + 1] = line ~= "" and line or nil
            end
        else
            texts[#texts + 1] = word
        end
    end
    return texts
end


local function answer_of(entry)
    if not entry then
        return "not listed"
    end
    return entry.allow and "allowed" or "denied"
end


local function why_of(entry, kind)
    if not entry then
        return "no entry is about it"
    elseif kind == "ip" then
        return (entry.allow and "an allow" or "a deny")
            .. " is the most specific entry"
    end
    return entry.allow and "an allow wins over any deny" or "a deny"
end


-- A row of a value, from what a file says.
local function file_row(value, entry, kind)
    local row = { value = value, answer = answer_of(entry),
                  why = why_of(entry, kind) }
    if entry then
        row.line, row.ttl, row.reason = entry.line, entry.ttl, entry.reason
        row.entry = (entry.allow and "!" or "") .. entry.entry
        row.prefix = kind == "ip" and entry.close - 1 or nil
    end
    return row
end


local function bad_row(value, kind)
    return { value = value, answer = "bad value", why = kind == "ip"
             and "not an address" or "not 1 to 64 bytes" }
end


-- The engine's answer; what the file says is told where it fits.
local function engine_row(list, value, found)
    local denied, why = list:match(value)
    if denied == nil then
        return why == "bad_value" and bad_row(value, list.kind)
            or { value = value, answer = why }
    end
    local row = found and file_row(value, found[value], list.kind)
        or { value = value, why = "its file is not at hand" }
    local answer = denied and "denied" or why == "allow" and "allowed"
        or "not listed"
    if row.answer and row.answer ~= answer then
        row = { value = value, why = denied and "added to the running list"
                or "removed from the running list, or a ttl is over" }
    end
    row.answer, row.reason = answer, denied and why or nil
    return row
end


-- What the file of a list says, if it is the one in force.
local function explain_list(list, values, texts)
    if not list.file then
        return {}
    end
    values.kind = list.kind
    values["max-bad-lines"] = 2^31
    local found, _, _, summary = list_file.explain(list.file, values, texts)
    return found and summary.digest == list:stats().digest and found or nil
end


local function print_test(rows, values)
    local status = 0
    for _, row in ipairs(rows) do
        if row.answer ~= "allowed" and row.answer ~= "not listed" then
            status = REFUSED
        end
    end
    if values.output == "json" then
        output.json(output.list(rows))
    else
        output.table(TEST_COLUMNS, rows)
    end
    return status
end


local function valid_of(texts, kind)
    local valid = {}
    for _, text in ipairs(texts) do
        valid[#valid + 1] = list_file.is_value(kind, text) and text or nil
    end
    return valid
end


local function test_engine(values, texts)
    if not (values.name and values.list) then
        return source.fail(USAGE, "--name and --list go together",
                           "see `seckill list test --help`")
    end
    return with_lists(values, function(lists)
        local list, rows = lists[1], {}
        local found = explain_list(list, values, valid_of(texts, list.kind))
        for i, text in ipairs(texts) do
            rows[i] = engine_row(list, text, found)
        end
        return print_test(rows, values)
    end)
end


local function test_file(path, values, texts)
    local kind = values.kind
    local found, code, detail = list_file.explain(path, values,
                                                  valid_of(texts, kind))
    if not found then
        return list_file.refused("list test", code, detail)
    end
    local rows = {}
    for i, text in ipairs(texts) do
        rows[i] = list_file.is_value(kind, text)
            and file_row(text, found[text], kind) or bad_row(text, kind)
    end
    return print_test(rows, values)
end


--- seckill list test FILE VALUE...
function _M.test(values)
    local words = values.VALUE
    local of_engine = values.name or values.list
    local path = not of_engine and table.remove(words, 1) or nil
    if #words == 0 or path == "" then
        return source.fail(USAGE, of_engine and "VALUE is missing"
                           or "FILE or VALUE is missing",
                           "see `seckill list test --help`")
    end
    local texts = expand(words)
    if of_engine then
        return test_engine(values, texts)
    end
    return test_file(path, values, texts)
end


-- ---- diff -----------------------------------------------------------------

local SORTS = { { "removed", "-" }, { "added", "+" }, { "changed", "~" } }


local function print_diff(found)
    output.pairs { { "removed", found.removed.count },
                   { "added", found.added.count },
                   { "changed", found.changed.count } }
    for _, sort in ipairs(SORTS) do
        local list = found[sort[1]]
        for _, entry in ipairs(list) do
            output.write(format("%s %s%s  line %.0f\n", sort[2],
                                entry.allow and "!" or "",
                                output.plain(entry.entry), entry.line))
        end
        if #list > 0 and list.count > #list then
            output.write(format("%s ... %.0f more\n", sort[2],
                                list.count - #list))
        end
    end
end


--- seckill list diff OLD NEW
function _M.diff(values)
    local ok, found, old, new = pcall(list_diff.compare, values.OLD,
                                      values.NEW, values)
    if not ok then
        if type(found) ~= "table" then
            error(found, 0)
        end
        return list_file.refused("list diff", found.code, found.detail)
    end
    local differs = found.added.count + found.removed.count
        + found.changed.count > 0
    if values.output == "json" then
        local answer = { old = old, new = new }
        for _, sort in ipairs(SORTS) do
            local list = found[sort[1]]
            answer[sort[1]] = list.count
            list.count = nil
            answer[sort[1] .. "_entries"] = output.list(list)
        end
        output.json(answer)
    else
        print_diff(found)
    end
    return differs and REFUSED or 0
end


return _M
