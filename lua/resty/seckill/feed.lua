--- feed.lua - the records of the ledger, handed on at least once.
--
-- Methods of engine.stock. The feed gives what is durable, in the order of the
-- LSN, from the files of the log (in practice from the page cache). A consumer
-- handles records first and acknowledges them then, so that it may see some of
-- them twice and misses none; `key` tells it what it has seen. The log also has
-- records that are not for consumers; a cursor moves over them without any.
--
-- A stock object keeps one open reader and goes on with it while the cursor
-- continues where it stands. It has read one record too many: only the next
-- LSN shows that all lines of an order were there.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local lib = require("resty.seckill.lib")
local log = require("resty.seckill.log")


local C = lib.C
local error = error
local ffi_string = ffi.string
local tonumber = tonumber
local type = type


local _M = { _VERSION = "0.1.0" }

local MAX, MAX_MAX = 256, 10000
local CURSOR_OPTIONS = { create = "boolean", again = "boolean" }

local log_stats = ffi.new("seckill_log_stats_t")


-- Directory and uuid do not change while the engine is open.
local function source(stock)
    local feed = stock.feed_source
    if feed then
        return feed
    end
    local rc = C.seckill_log_stats(stock.handle, log_stats)
    if rc ~= lib.OK then
        return nil, lib.errname(rc)
    end
    feed = {
        dir = ffi_string(log_stats.dir),
        uuid = ffi_string(log_stats.uuid),
    }
    stock.feed_source = feed
    return feed
end


-- ---- The reader -----------------------------------------------------------

-- Reads one record ahead. nil: no more now; false: with a code.
local function advance(feed)
    local record, code, detail = feed.reader:next()
    feed.ahead = record or nil
    if record == false then
        return false, code, detail
    end
    return record
end


local function stop(feed)
    if feed.reader then
        feed.reader:close()
        feed.reader, feed.ahead = nil, nil
    end
end


-- Goes to the reader's place behind what was handed on: also over records that
-- are not for consumers, for which the log would be kept. Never into the lines
-- of an order: `ahead` is the first one, and without it there is none.
local function settle(feed)
    local lsn = (feed.ahead and tonumber(feed.ahead.lsn)
                 or feed.reader:lsn()) - 1
    if lsn ~= feed.lsn then
        feed.lsn, feed.incarnation = lsn, feed.reader:incarnation(lsn)
    end
end


-- Another life may have given the same LSN to another record: it must be the
-- one that wrote it. The record may be hidden, or gone.
local function open(stock, feed, incarnation, lsn)
    stop(feed)
    if lsn > tonumber(C.seckill_durable(stock.handle)) then
        return nil, "bad_cursor"
    end
    local reader, code, detail = log.reader(feed.dir, lsn + 1, stock.handle)
    if not reader then
        return nil, code, detail
    end
    if lsn > 0 and reader:incarnation(lsn) ~= incarnation then
        reader:close()
        return nil, "bad_cursor"
    end
    feed.reader, feed.lsn, feed.incarnation = reader, lsn, incarnation
    return true
end


-- Begins at the oldest record; the place in front of it is the cursor.
local function open_oldest(stock, feed)
    stop(feed)
    local reader, code, detail = log.reader(feed.dir, 0, stock.handle)
    if not reader then
        return nil, code, detail
    end
    local lsn = reader:lsn() - 1
    feed.reader, feed.lsn, feed.incarnation = reader, lsn,
        reader:incarnation(lsn)
    return true
end


local function seek(stock, feed, cursor)
    if cursor == nil then
        return open_oldest(stock, feed)
    end
    local incarnation, lsn = log.parse_cursor(cursor)
    if not incarnation then
        return nil, "bad_cursor"
    end
    if feed.reader and feed.lsn == lsn and feed.incarnation == incarnation then
        return true
    end
    return open(stock, feed, incarnation, lsn)
end


-- Fills the list; stops at `max` records, but not within an order.
local function take(feed, max)
    local list, n = {}, 0
    while true do
        local record, code, detail = feed.ahead, nil, nil
        if not record then
            record, code, detail = advance(feed)
        end
        if record == false then
            return list, code, detail
        end
        local lsn = record and tonumber(record.lsn)
        if not record or n >= max and lsn ~= feed.lsn then
            settle(feed)
            return list
        end
        n = n + 1
        list[n] = log.to_record(record, feed.uuid)
        feed.lsn, feed.incarnation = lsn, record.incarnation
        feed.ahead = nil
    end
end


--- The records behind a cursor: those that a power loss cannot take, in the
--- order of their LSN. Lines of one order are never split over two calls: the
--- list may be longer than max by the lines of its last order.
---
--- Phases: timers, init_worker_by_lua*, any LuaJIT program. Reads files.
---@param cursor string? from an earlier call; nil: the oldest record kept
---@param max integer? 1 .. 10000; 256 unless given
---@return seckill.record[]? records empty: none yet, ask again later
---@return string next cursor: everything in front of it was handed on. It may
---  move without records: acknowledge it all the same. Or the code: not_found
---  (the engine has no dir), bad_cursor, cursor_gone, corrupt, io_error
---@return string? detail
function _M:feed(cursor, max)
    args.integer(max, "max", 1, MAX_MAX, 2)
    local feed, code = source(self)
    if not feed then
        return nil, code
    end
    local ok, list, detail
    ok, code, detail = seek(self, feed, cursor)
    if not ok then
        return nil, code, detail
    end
    list, code, detail = take(feed, max or MAX)
    if code then
        stop(feed) -- what came before it is good; the next call says it again
        if #list == 0 then
            return nil, code, detail
        end
    end
    return list, log.cursor_text(feed.incarnation, feed.lsn)
end


-- ---- Named cursors --------------------------------------------------------

local function check_name(name)
    if type(name) ~= "string" then
        error("name: string expected, got " .. type(name), 3)
    end
end


local function cursor_or_nil(incarnation, lsn)
    if not incarnation then
        return nil, lsn
    end
    return log.cursor_text(incarnation, lsn)
end


--- Where a named cursor stands. The log is kept behind the slowest one.
---
--- Phases: as feed.
---@param name string [a-z0-9_-]{1,32}
---@param opts { create: boolean?, again: boolean? }? create: make it, at the
---  oldest record kept, when there was none; again: also after a drop
---@return string? cursor for feed()
---@return string? code not_found, cursor_gone (it was dropped), bad_name, full,
---  io_error
function _M:cursor(name, opts)
    check_name(name)
    opts = opts or {}
    args.check(opts, CURSOR_OPTIONS, 2)
    local feed, code = source(self)
    if not feed then
        return nil, code
    end
    local incarnation, lsn = log.cursor_get(feed.dir, name)
    if incarnation then
        return log.cursor_text(incarnation, lsn)
    end
    if lsn == "not_found" and opts.create
       or lsn == "cursor_gone" and opts.again then
        return cursor_or_nil(log.cursor_create(feed.dir, name))
    end
    return nil, lsn
end


--- Everything in front of `cursor` was handled: durable on return.
---
--- Phases: as feed.
---@param name string
---@param cursor string
---@return boolean? ok
---@return string? code bad_cursor, cursor_gone (no such cursor), bad_name,
---  not_found (the engine has no dir), io_error
function _M:ack(name, cursor)
    check_name(name)
    local feed, code = source(self)
    if not feed then
        return nil, code
    end
    local incarnation, lsn = log.parse_cursor(cursor)
    if not incarnation then
        return nil, "bad_cursor"
    end
    return log.cursor_set(feed.dir, name, incarnation, lsn, false)
end


--- Forget a named cursor: its consumer gets cursor_gone.
--- Phases: as feed.
---@param name string
---@return boolean? ok
---@return string? code not_found, bad_name, io_error
function _M:drop_cursor(name)
    check_name(name)
    local feed, code = source(self)
    if not feed then
        return nil, code
    end
    return log.cursor_drop(feed.dir, name)
end


--- All named cursors: { name, lsn, incarnation, dropped }.
--- Phases: as feed.
---@return seckill.cursor[]? cursors
---@return string? code not_found (the engine has no dir), io_error
function _M:cursors()
    local feed, code = source(self)
    if not feed then
        return nil, code
    end
    return log.cursors(feed.dir)
end


return _M
