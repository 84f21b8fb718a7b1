--- log.lua - the log of a ledger as records and cursors.
--
-- Thin functions over seckill_reader_* and seckill_cursor_* of a directory, for
-- the feed and for the program `seckill`. They read and write files: not for
-- the request path.

local ffi = require("ffi")
local lib = require("resty.seckill.lib")


local C = lib.C
local OK = lib.OK
local errname = lib.errname
local ffi_gc = ffi.gc
local ffi_string = ffi.string
local format = string.format
local setmetatable = setmetatable
local tonumber = tonumber
local type = type


local _M = { _VERSION = "0.1.0" }

local NS = 1e9
local ERR_SIZE = 512
local LSN_MAX = 2^53 - 1
local INCARNATION_MAX = 2^32 - 1

local STATES = { "reserved", "confirmed", "cancelled", "expired", "refunded" }

-- Names of record types, by number.
local types = {}


local function type_name(number)
    local name = types[number]
    if not name then
        name = ffi_string(C.seckill_record_name(number))
        types[number] = name
    end
    return name
end


-- ---- Cursors as text ------------------------------------------------------

--- "<incarnation>-<lsn>" in hexadecimal: everything up to lsn was taken.
---@param incarnation integer
---@param lsn integer
---@return string
function _M.cursor_text(incarnation, lsn)
    return format("%x-%x", incarnation, lsn)
end


--- The numbers of a cursor; nil when it is not one.
---@param text any
---@return integer? incarnation
---@return integer? lsn
function _M.parse_cursor(text)
    if type(text) ~= "string" or #text > 32 then
        return nil
    end
    local high, low = text:match("^(%x+)%-(%x+)$")
    if not high or #high > 8 or #low > 14 then
        return nil
    end
    local incarnation, lsn = tonumber(high, 16), tonumber(low, 16)
    if incarnation > INCARNATION_MAX or lsn > LSN_MAX then
        return nil
    end
    return incarnation, lsn
end


-- ---- Records --------------------------------------------------------------

---@class seckill.record
---@field lsn integer
---@field key string the dedup key
---@field time number seconds since the epoch
---@field type string put, remove, pause, resume, adjust, reserve, confirm, ...
---@field id string? of the order
---@field item string
---@field user string?
---@field qty integer
---@field request_id string?
---@field line integer? of an order of several lines
---@field state string? of the order
---@field available integer of the item, after it
---@field reserved integer
---@field sold integer
---@field expires_at number?

---@class seckill.cursor
---@field name string
---@field lsn integer everything up to it was handled
---@field incarnation integer
---@field dropped boolean


local function text(bytes, len)
    return len > 0 and ffi_string(bytes, len) or nil
end


--- A record as a table. `key` is the same at every reading of it, and no other
--- record of any ledger has it.
---@param r ffi.cdata* seckill_record_t
---@param uuid string of the ledger
---@return seckill.record
function _M.to_record(r, uuid)
    local lsn, line = tonumber(r.lsn), r.line
    local expires_at = tonumber(r.expires_at)
    local key = format("%s-%d-%d", uuid, r.incarnation, lsn)
    return {
        lsn = lsn,
        key = line > 0 and key .. "-" .. line or key,
        time = tonumber(r.time) / NS,
        type = type_name(r.type),
        id = text(r.id, r.id_len),
        item = text(r.item, r.item_len),
        user = text(r.user, r.user_len),
        qty = tonumber(r.qty),
        request_id = text(r.request, r.request_len),
        line = line > 0 and line or nil,
        state = STATES[r.state],
        available = tonumber(r.available),
        reserved = tonumber(r.reserved),
        sold = tonumber(r.sold),
        expires_at = expires_at ~= 0 and expires_at / NS or nil,
    }
end


--- The types a record can have, by name.
---@return table<string, integer>
function _M.record_types()
    local names = {}
    for number = 1, 255 do
        local name = type_name(number)
        if name ~= "unknown" then
            names[name] = number
        end
    end
    return names
end


-- ---- Reading --------------------------------------------------------------

---@class seckill.log.reader
local reader = {}
local reader_mt = { __index = reader }


--- Read the log of a directory.
---@param dir string
---@param from integer LSN; 0: the oldest record kept
---@param handle ffi.cdata*? seckill_t *: only what is durable in it
---@return seckill.log.reader? reader
---@return string? code not_found, cursor_gone, corrupt, io_error, no_memory
---@return string? detail
function _M.reader(dir, from, handle)
    local out, err = ffi.new("seckill_reader_t *[1]"),
        ffi.new("char[?]", ERR_SIZE)
    local rc = C.seckill_reader_open(handle, dir, from, out, err, ERR_SIZE)
    if rc ~= OK then
        return nil, errname(rc), ffi_string(err)
    end
    return setmetatable({
        raw = ffi_gc(out[0], C.seckill_reader_close),
        record = ffi.new("seckill_record_t"),
    }, reader_mt)
end


--- The next record, in memory of the reader until the next call.
---@return ffi.cdata*|nil|false record nil: no more now; false: see code
---@return string? code corrupt, cursor_gone, io_error
---@return string? detail what, and where
function reader:next()
    local rc = C.seckill_reader_next(self.raw, self.record)
    if rc == 1 then
        return self.record
    end
    if rc == OK then
        return nil
    end
    return false, errname(rc), ffi_string(C.seckill_reader_error(self.raw))
end


--- LSN that the next record will have.
---@return integer
function reader:lsn()
    return tonumber(C.seckill_reader_lsn(self.raw))
end


--- Incarnation of the life that wrote an LSN in front of the next record.
---@param lsn integer 0: of the first life
---@return integer incarnation 0: not known
function reader:incarnation(lsn)
    return C.seckill_reader_incarnation(self.raw, lsn)
end


--- Bytes of an unfinished batch at the end.
---@return integer
function reader:torn()
    return tonumber(C.seckill_reader_torn(self.raw))
end


--- Again is a no-op.
function reader:close()
    if self.raw then
        C.seckill_reader_close(ffi_gc(self.raw, nil))
        self.raw = nil
    end
end


-- ---- Directory ------------------------------------------------------------

--- What is in a directory.
---@param dir string
---@return ffi.cdata*? stats seckill_dir_stats_t
---@return string? code not_found, corrupt, io_error
---@return string? detail
function _M.dir_stats(dir)
    local stats, err = ffi.new("seckill_dir_stats_t"),
        ffi.new("char[?]", ERR_SIZE)
    local rc = C.seckill_dir_stats(dir, stats, err, ERR_SIZE)
    if rc ~= OK then
        return nil, errname(rc), ffi_string(err)
    end
    return stats
end


-- ---- Named cursors --------------------------------------------------------

--- Is it [a-z0-9_-]{1,32}?
---@param name any
---@return boolean
function _M.is_name(name)
    return type(name) == "string" and #name <= 32
           and name:find("^[a-z0-9_-]+$") ~= nil
end


--- Where a named cursor stands.
---@param dir string
---@param name string
---@return integer? incarnation
---@return integer|string lsn or code: bad_name, not_found, cursor_gone
function _M.cursor_get(dir, name)
    if not _M.is_name(name) then
        return nil, "bad_name"
    end
    local lsn, incarnation = ffi.new("uint64_t[1]"), ffi.new("uint32_t[1]")
    local rc = C.seckill_cursor_get(dir, name, lsn, incarnation)
    if rc ~= OK then
        return nil, errname(rc)
    end
    return tonumber(incarnation[0]), tonumber(lsn[0])
end


--- Move a named cursor; durable on return.
---@param dir string
---@param name string
---@param incarnation integer
---@param lsn integer
---@param create boolean make it, also after a drop
---@return boolean? ok
---@return string? code bad_name, bad_cursor, cursor_gone, full, io_error
function _M.cursor_set(dir, name, incarnation, lsn, create)
    if not _M.is_name(name) then
        return nil, "bad_name"
    end
    local rc = C.seckill_cursor_set(dir, name, lsn, incarnation,
                                    create and 1 or 0)
    if rc ~= OK then
        return nil, errname(rc)
    end
    return true
end


--- Make a named cursor in front of the oldest record kept; also after a drop.
---@param dir string
---@param name string
---@return integer? incarnation
---@return integer|string lsn or code: bad_name, full, busy, io_error
function _M.cursor_create(dir, name)
    if not _M.is_name(name) then
        return nil, "bad_name"
    end
    local lsn, incarnation = ffi.new("uint64_t[1]"), ffi.new("uint32_t[1]")
    local rc = C.seckill_cursor_create(dir, name, lsn, incarnation)
    if rc ~= OK then
        return nil, errname(rc)
    end
    return tonumber(incarnation[0]), tonumber(lsn[0])
end


--- Forget a named cursor: its consumer gets cursor_gone.
---@param dir string
---@param name string
---@return boolean? ok
---@return string? code bad_name, not_found, io_error
function _M.cursor_drop(dir, name)
    if not _M.is_name(name) then
        return nil, "bad_name"
    end
    local rc = C.seckill_cursor_drop(dir, name)
    if rc ~= OK then
        return nil, errname(rc)
    end
    return true
end


--- All named cursors.
---@param dir string
---@return seckill.cursor[]? list
---@return string? code io_error, corrupt
function _M.cursors(dir)
    local name, dropped = ffi.new("char[33]"), ffi.new("int[1]")
    local lsn, incarnation = ffi.new("uint64_t[1]"), ffi.new("uint32_t[1]")
    local list = {}
    while true do
        local rc = C.seckill_cursor_at(dir, #list, name, lsn, incarnation,
                                       dropped)
        if rc == lib.codes.not_found then
            return list
        end
        if rc ~= OK then
            return nil, errname(rc)
        end
        list[#list + 1] = {
            name = ffi_string(name),
            lsn = tonumber(lsn[0]),
            incarnation = tonumber(incarnation[0]),
            dropped = dropped[0] ~= 0,
        }
    end
end


return _M
