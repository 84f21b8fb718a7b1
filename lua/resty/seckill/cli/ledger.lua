--- cli/ledger.lua - `seckill ledger ...`: the log, snapshots and cursors of a
--- directory, whether an engine uses it or not.

local ffi = require("ffi")
local lib = require("resty.seckill.lib")
local log = require("resty.seckill.log")
local output = require("resty.seckill.cli.output")
local source = require("resty.seckill.cli.source")


local C = lib.C
local ffi_string = ffi.string
local format = string.format
local ipairs = ipairs
local tonumber = tonumber


local _M = { _VERSION = "0.1.0" }

local NS = 1e9
local ERR_SIZE = 512
local STEP = 20000
local SKIP_CHECKS = 1024 -- records between two looks at the clock
local FOLLOW_SECONDS = 0.2
local LOG_STATES = { [0] = "none", "ok", "full", "failing" }


local function progress_of(values)
    return output.progress(values.progress, function()
        return tonumber(C.seckill_mono_now())
    end)
end


-- Runs fn(ledger) and detaches from the engine.
local function with_ledger(values, fn, allow_damaged)
    local ledger, status = source.ledger(values, allow_damaged)
    if not ledger then
        return status
    end
    local ok, result = pcall(fn, ledger)
    if ledger.engine then
        ledger.engine:close()
    end
    if not ok then
        error(result, 0)
    end
    return result
end


-- ---- dump, tail -----------------------------------------------------------

local RECORD_FIELDS = { "lsn", "key", "time", "type", "id", "item", "user",
    "qty", "request_id", "line", "state", "available", "reserved", "sold",
    "expires_at" }
local ROW = "%9s  %-24s  %-7s  %6s  %-9s  %-16s  %-20s  %-16s  %s\n"


local function print_header(values)
    if values.output ~= "json" then
        output.write(ROW:format("LSN", "TIME", "TYPE", "QTY", "STATE", "ITEM",
                                "ID", "USER", "REQUEST"))
    end
end


local function print_record(record, values)
    if values.output == "json" then
        return output.json(record, RECORD_FIELDS)
    end
    local plain = output.plain
    local lsn = record.line and record.lsn .. "/" .. record.line or record.lsn
    output.write(ROW:format(plain(lsn), output.time(record.time), record.type,
                            plain(record.qty), plain(record.state),
                            plain(record.item), plain(record.id),
                            plain(record.user), plain(record.request_id)))
end


-- A set of type numbers; nil, status.
local function parse_types(text)
    if not text then
        return nil
    end
    local known, wanted = log.record_types(), {}
    for name in (text .. ","):gmatch("([^,]*),") do
        if not known[name] then
            local names = {}
            for each in pairs(known) do
                names[#names + 1] = each
            end
            table.sort(names)
            return nil, source.fail(2, format("--type: no record type \"%s\"; "
                .. "there are %s", name, table.concat(names, ", ")))
        end
        wanted[known[name]] = true
    end
    return wanted
end


-- Does the raw record pass the filters?
local function matches(record, values, types)
    if types and not types[record.type] then
        return false
    end
    local item = values.item
    return not item or record.item_len == #item
           and ffi_string(record.item, record.item_len) == item
end


local function read_failed(ledger, code, detail)
    if code == "corrupt" then
        return source.refused(ledger.dir, code, detail, "`seckill ledger "
            .. "verify` says more; `seckill ledger repair` cuts it off there")
    end
    local first = ledger.stats and tonumber(ledger.stats.first_lsn)
    return source.refused(ledger.dir, code, detail, code == "cursor_gone"
        and first and format("the oldest record kept is %d", first) or nil)
end


-- Calls fn(raw record) for each until it answers false. nil, or a status.
local function each(ledger, reader, fn)
    while true do
        local record, code, detail = reader:next()
        if record == false then
            return read_failed(ledger, code, detail)
        end
        if not record or fn(record) == false then
            return nil
        end
    end
end


--- seckill ledger dump
function _M.dump(values)
    local types, usage = parse_types(values.type)
    if usage then
        return usage
    end
    return with_ledger(values, function(ledger)
        local reader, code, detail = log.reader(ledger.dir, values.from or 0,
                                                ledger.handle)
        if not reader then
            return read_failed(ledger, code, detail)
        end
        print_header(values)
        local last = values.to or 2^53
        local status = each(ledger, reader, function(record)
            if tonumber(record.lsn) > last then
                return false
            end
            if matches(record, values, types) then
                print_record(log.to_record(record, ledger.uuid), values)
            end
        end)
        reader:close()
        output.flush()
        return status or 0
    end)
end


-- Reads on as records come; without an engine the reader has to be opened
-- again behind the last one.
local function follow(ledger, reader, fn)
    while true do
        local status = each(ledger, reader, fn)
        output.flush()
        if status then
            return status
        end
        output.sleep(FOLLOW_SECONDS)
        if not ledger.handle then
            local at = reader:lsn()
            reader:close()
            local code, detail
            reader, code, detail = log.reader(ledger.dir, at)
            if not reader then
                return read_failed(ledger, code, detail)
            end
        end
    end
end


-- The last n records that `reader` gives.
local function last_records(ledger, reader, n)
    local ring, count = {}, 0
    local status = each(ledger, reader, function(record)
        ring[count % n + 1] = log.to_record(record, ledger.uuid)
        count = count + 1
    end)
    local list = {}
    for i = math.max(0, count - n), count - 1 do
        list[#list + 1] = ring[i % n + 1]
    end
    return list, status
end


-- `distance` LSNs in front of the newest that is known; 0: the oldest.
local function tail_from(ledger, distance)
    local newest = ledger.handle and C.seckill_durable(ledger.handle)
        or ledger.stats.snapshot_lsn
    local from = tonumber(newest) - distance + 1
    return from > tonumber(ledger.stats.first_lsn) and from or 0
end


-- The newest n records and the reader behind them; nil, or a status. LSNs have
-- gaps where records are not shown: it looks back further and further.
local function newest_records(ledger, n)
    local distance = n
    while true do
        local from = tail_from(ledger, distance)
        distance = distance * 2
        local reader, code, detail = log.reader(ledger.dir, from,
                                                ledger.handle)
        if reader then
            local list, status = last_records(ledger, reader, n)
            if #list == n or from == 0 or status then
                return list, status, reader
            end
            reader:close()
        elseif code ~= "cursor_gone" or from == 0 then
            return nil, read_failed(ledger, code, detail)
        end
    end
end


--- seckill ledger tail
function _M.tail(values)
    return with_ledger(values, function(ledger)
        local list, status, reader = newest_records(ledger, values.lines)
        if not list then
            return status
        end
        print_header(values)
        for _, record in ipairs(list) do
            print_record(record, values)
        end
        output.flush()
        if values.follow and not status then
            status = follow(ledger, reader, function(record)
                print_record(log.to_record(record, ledger.uuid), values)
            end)
        end
        reader:close()
        return status or 0
    end)
end


-- ---- verify ---------------------------------------------------------------

-- Reads everything; what was found so far is in `found` also at an error.
local function count_records(ledger, progress, found)
    local reader, code, detail = log.reader(ledger.dir, 0, ledger.handle)
    if not reader then
        return nil, code, detail
    end
    local record
    repeat
        record, code, detail = reader:next()
        if record then
            local lsn = tonumber(record.lsn)
            found.records = found.records + 1
            found.first_lsn = found.first_lsn or lsn
            found.last_lsn = lsn
            found.segment = tonumber(record.segment)
            found.offset = tonumber(record.offset)
            if found.records % SKIP_CHECKS == 0 then
                progress:show("reading: %.0f records, LSN %.0f", found.records,
                              lsn)
            end
        end
    until not record
    found.torn_bytes = record == nil and not ledger.handle and reader:torn()
        or 0
    reader:close()
    return record == nil, code, detail
end


-- Rebuilds the tables and counts; problems as lines.
local function audit(ledger, values, found)
    local text = ffi.new("char[?]", 65536)
    local n = C.seckill_verify(values.live and ledger.handle or nil,
                               ledger.dir, text, 65536)
    found.problems = output.list {}
    for line in ffi_string(text):gmatch("[^\n]+") do
        found.problems[#found.problems + 1] = line
    end
    if n < 0 then
        return nil, lib.errname(n)
    end
    found.problem_count = n
    return true
end


-- Adds what a damage says: the code, the text, segment and offset from it.
local function damage(found, code, detail)
    local text = detail or ""
    found.damage = {
        code = code, text = text, after_lsn = found.last_lsn,
        segment = tonumber(text:match("wal%.(%x+)") or "", 16),
        offset = tonumber(text:match("offset (%d+)")),
    }
end


local function verdict(found)
    if found.damage then
        return "damaged"
    elseif (found.problem_count or 0) > 0 then
        return "problems"
    end
    return "ok"
end


local function report(found)
    local rows = {
        { "ledger", found.uuid }, { "records", found.records },
        { "first LSN", found.first_lsn }, { "last LSN", found.last_lsn },
        { "torn tail", found.torn_bytes > 0 and found.torn_bytes .. " bytes, "
          .. "which the next open cuts off" or "none" },
    }
    if found.damage then
        rows[#rows + 1] = { "damage", found.damage.code .. ": "
                            .. (found.damage.text or "") }
        rows[#rows + 1] = { "last good batch", found.segment and format(
            "segment wal.%016x, offset %.0f", found.segment, found.offset) }
    end
    if found.problem_count then
        rows[#rows + 1] = { "audit", found.problem_count == 0 and "ok"
                            or found.problem_count .. " problems" }
    end
    for _, line in ipairs(found.problems or {}) do
        rows[#rows + 1] = { "", line }
    end
    rows[#rows + 1] = { "result", found.result }
    output.pairs(rows)
end


local VERIFY_EXIT = { ok = 0, problems = 1, damaged = 3 }


--- seckill ledger verify
function _M.verify(values)
    if values.live and not values.name then
        return source.fail(2, "--live needs --name: it compares with the "
                           .. "tables of a running engine")
    end
    return with_ledger(values, function(ledger)
        local progress = progress_of(values)
        local found = { dir = ledger.dir, uuid = ledger.uuid, records = 0,
                        torn_bytes = 0 }
        local ok, code, detail = ledger.stats ~= nil, "corrupt", ledger.damage
        if ok then
            ok, code, detail = count_records(ledger, progress, found)
        end
        if ok then
            progress:show("rebuilding the tables from snapshot and log")
            ok, code = audit(ledger, values, found)
            detail = found.problems[1]
        end
        progress:done()
        if not ok and code ~= "corrupt" then
            return read_failed(ledger, code, detail)
        elseif not ok then
            damage(found, code, detail)
        end
        found.result = verdict(found)
        if values.output == "json" then
            output.json(found)
        else
            report(found)
        end
        return VERIFY_EXIT[found.result]
    end, true)
end


-- ---- snapshot, repair, stats ----------------------------------------------

-- Steps until it is done; nil or code, detail.
local function build(snapshot, progress)
    local done, total = ffi.new("uint64_t[1]"), ffi.new("uint64_t[1]")
    local rc
    repeat
        rc = C.seckill_snapshot_step(snapshot, STEP, done, total)
        progress:show("snapshot: %.0f of %.0f records", tonumber(done[0]),
                      tonumber(total[0]))
    until rc ~= 1
    if rc ~= lib.OK then
        return lib.errname(rc), ffi_string(C.seckill_snapshot_error(snapshot))
    end
end


local function snapshot_answer(ledger, values, built)
    local stats, code, detail = log.dir_stats(ledger.dir)
    if not stats then
        return source.refused(ledger.dir, code, detail)
    end
    local lsn = tonumber(stats.snapshot_lsn)
    if values.output == "json" then
        output.json { built = built, snapshot_lsn = lsn,
                      first_lsn = tonumber(stats.first_lsn) }
    else
        output.write(format(built and "snapshot at LSN %.0f\n"
            or "nothing new: the newest snapshot is at LSN %.0f\n", lsn))
    end
    return 0
end


--- seckill ledger snapshot
function _M.snapshot(values)
    return with_ledger(values, function(ledger)
        local out, err = ffi.new("seckill_snapshot_t *[1]"),
            ffi.new("char[?]", ERR_SIZE)
        local rc = C.seckill_snapshot_begin(ledger.dir, out, err, ERR_SIZE)
        if rc == lib.codes.not_found then
            return snapshot_answer(ledger, values, false)
        elseif rc ~= lib.OK then
            return source.refused("snapshot", lib.errname(rc),
                                  ffi_string(err))
        end
        local progress = progress_of(values)
        local code, detail = build(out[0], progress)
        progress:done()
        C.seckill_snapshot_end(out[0])
        if code then
            return source.refused("snapshot", code, detail)
        end
        return snapshot_answer(ledger, values, true)
    end)
end


--- seckill ledger repair
function _M.repair(values)
    if not values.yes then
        return source.fail(2, "repair cuts the log off at the first damaged "
            .. "place: what is behind it is lost to the ledger",
            "run `seckill ledger verify` first; then give --yes")
    end
    return with_ledger(values, function(ledger)
        local lsn, err = ffi.new("uint64_t[1]"), ffi.new("char[?]", ERR_SIZE)
        local rc = C.seckill_repair(ledger.dir, lsn, err, ERR_SIZE)
        local detail = ffi_string(err)
        local cut = rc == lib.OK
        if not cut and rc ~= lib.codes.not_found then
            return source.refused("repair", lib.errname(rc), detail,
                rc == lib.codes.locked and "stop the engine first" or nil)
        end
        if values.output == "json" then
            output.json { cut = cut, detail = detail,
                          last_lsn = cut and tonumber(lsn[0]) or nil }
        elseif cut then
            output.write(format("cut: LSN %.0f is the last record kept\n%s\n",
                                tonumber(lsn[0]), output.plain(detail)))
        else
            output.write("nothing is damaged\n")
        end
        return 0
    end, true)
end


local function stats_of(ledger)
    local s = ledger.stats
    local stats = {
        dir = ledger.dir, uuid = ledger.uuid, incarnation = s.incarnation,
        lives = s.lives, first_lsn = tonumber(s.first_lsn),
        snapshot_lsn = tonumber(s.snapshot_lsn), snapshots = s.snapshots,
        segments = s.segments, free_segments = s.free_segments,
        cursors = s.cursors, bytes = tonumber(s.bytes),
        window = tonumber(s.window_ns) / NS, items = s.items,
        reservations = s.reservations, users = s.users,
        requests = s.requests, in_use = s.in_use ~= 0,
    }
    local l = ledger.log
    if l then
        stats.state = LOG_STATES[l.state] or "unknown"
        stats.lsn, stats.durable = tonumber(l.lsn), tonumber(l.durable)
        stats.lag = tonumber(l.lag_ns) / NS
        stats.max_bytes = tonumber(l.max_bytes)
        stats.failures = tonumber(l.failures)
        stats.error = ffi_string(l.error)
    end
    return stats
end


local STATS_ORDER = { "dir", "uuid", "in_use", "incarnation", "lives",
    "first_lsn", "snapshot_lsn", "snapshots", "segments", "free_segments",
    "cursors", "bytes", "window", "items", "reservations", "users", "requests",
    "state", "lsn", "durable", "lag", "max_bytes", "failures", "error" }


--- seckill ledger stats
function _M.stats(values)
    return with_ledger(values, function(ledger)
        local stats = stats_of(ledger)
        if values.output == "json" then
            output.json(stats)
            return 0
        end
        local rows = {}
        for _, name in ipairs(STATS_ORDER) do
            if stats[name] ~= nil and stats[name] ~= "" then
                rows[#rows + 1] = { (name:gsub("_", " ")), stats[name] }
            end
        end
        output.pairs(rows)
        return 0
    end)
end


-- ---- cursors --------------------------------------------------------------

local CURSOR_COLUMNS = {
    { "NAME", "name" }, { "LSN", "lsn", right = true },
    { "INCARNATION", "incarnation", right = true }, { "STATE", "state" },
}


local function list_cursors(ledger, values)
    local list, code = log.cursors(ledger.dir)
    if not list then
        return source.refused(ledger.dir, code)
    end
    if values.output == "json" then
        output.json(output.list(list))
        return 0
    end
    for _, cursor in ipairs(list) do
        cursor.state = cursor.dropped and "dropped" or "kept"
    end
    output.table(CURSOR_COLUMNS, list)
    return 0
end


--- seckill ledger cursors [list | create NAME | drop NAME]
function _M.cursors(values)
    local action = values.ACTION or "list"
    if (values.NAME ~= nil) == (action == "list") then
        return source.fail(2, action == "list" and "cursors list takes no NAME"
                           or "cursors " .. action .. ": NAME is missing")
    end
    return with_ledger(values, function(ledger)
        if action == "list" then
            return list_cursors(ledger, values)
        end
        local ok, code
        if action == "create" then
            ok, code = log.cursor_get(ledger.dir, values.NAME)
            if not ok then
                ok, code = log.cursor_create(ledger.dir, values.NAME)
            end
        else
            ok, code = log.cursor_drop(ledger.dir, values.NAME)
        end
        if not ok then
            return source.refused("cursors " .. action, code)
        end
        return list_cursors(ledger, values)
    end)
end


return _M
