--- cli/source.lua - what a command of `seckill` works on: a running engine, or
--- a directory; and how its failures end the program.

local ffi = require("ffi")
local lib = require("resty.seckill.lib")
local log = require("resty.seckill.log")
local output = require("resty.seckill.cli.output")
local seckill = require("resty.seckill")


local C = lib.C
local ffi_string = ffi.string
local format = string.format


local _M = { _VERSION = "0.1.0" }

local PATH_MAX = 4096
local USAGE, DAMAGED, NOT_FOUND = 2, 3, 4

pcall(ffi.cdef, "char *realpath(const char *path, char *resolved);")

local EXIT = { corrupt = DAMAGED, not_found = NOT_FOUND, closed = NOT_FOUND,
               unknown_item = NOT_FOUND, cursor_gone = NOT_FOUND }


--- Say what failed and what to do; the exit status.
---@param status integer
---@param text string
---@param advice string?
---@return integer status
function _M.fail(status, text, advice)
    output.note(output.plain(text))
    if advice then
        output.note("  " .. output.plain(advice))
    end
    return status
end


--- The same for a code of the library.
---@param what string
---@param code string
---@param detail string?
---@param advice string?
---@return integer status
function _M.refused(what, code, detail, advice)
    if not detail or detail == "" then
        detail = ffi_string(C.seckill_errtext(lib.codes[code] or 0))
    end
    return _M.fail(EXIT[code] or 1, format("%s: %s: %s", what, code, detail),
                   advice)
end


-- The library wants absolute paths without a slash at the end.
local function absolute(path)
    local resolved = ffi.new("char[?]", PATH_MAX)
    if path and ffi.C.realpath(path, resolved) ~= nil then
        return ffi_string(resolved)
    end
    return path
end


-- ---- A running engine -----------------------------------------------------

local OPEN_ADVICE = {
    not_owner = "run it as the user who owns the engine, or as root with "
        .. "--user NAME",
    corrupt = "see `seckill ledger verify --dir DIR`",
    locked = "another process is using the directory",
}


local function exists(path)
    local file, why = io.open(path, "rb")
    if file then
        file:close()
    end
    return file ~= nil or not why:find("No such file", 1, true)
end


-- Without a segment there must be a ledger to make it from: a mistyped name or
-- directory must not become a new one.
local function check_there(values)
    local segment = (values["shm-dir"] or "/dev/shm") .. "/seckill."
        .. values.name
    if exists(segment) then
        return true
    end
    if not values.dir then
        return nil, _M.fail(NOT_FOUND, format(
            "no engine \"%s\" is running: there is no %s", values.name,
            segment), "start it, name another one with --name, or give the "
            .. "directory of its log with --dir")
    end
    local stats, code, detail = log.dir_stats(values.dir)
    if not stats and code ~= "corrupt" then
        return nil, _M.refused("--dir", code, detail)
    end
    return true
end


--- Attach to the engine --name, or open --dir where none is running.
---@param values table
---@return seckill.engine? engine
---@return integer? status
function _M.engine(values)
    local there, status = check_there(values)
    if not there then
        return nil, status
    end
    local engine, code, detail, more = seckill.open {
        name = values.name, shm_dir = absolute(values["shm-dir"]),
        user = values.user, dir = absolute(values.dir),
    }
    if not engine then
        return nil, _M.refused("open", code, more or detail,
                               OPEN_ADVICE[code])
    end
    return engine
end


-- ---- A directory ----------------------------------------------------------

---@class seckill.cli.ledger
---@field dir string
---@field uuid string
---@field stats ffi.cdata*? seckill_dir_stats_t, nil when it is damaged
---@field engine seckill.engine?
---@field handle ffi.cdata*?

local function of_engine(values)
    local engine, status = _M.engine(values)
    if not engine then
        return nil, status
    end
    local stats = ffi.new("seckill_log_stats_t")
    local rc = C.seckill_log_stats(engine.handle, stats)
    if rc ~= lib.OK then
        return nil, _M.fail(NOT_FOUND, format(
            "the engine \"%s\" has no log on disk", values.name),
            "it was opened without dir")
    end
    return { dir = ffi_string(stats.dir), engine = engine,
             handle = engine.handle, log = stats }
end


--- The ledger of --dir or of the engine --name.
---@param values table
---@param allow_damaged boolean? answer it even when its identity is damaged
---@return seckill.cli.ledger? ledger
---@return integer? status
function _M.ledger(values, allow_damaged)
    if (values.dir ~= nil) == (values.name ~= nil) then
        return nil, _M.fail(USAGE, values.dir
            and "--dir and --name exclude each other"
            or "give --dir DIR (a directory) or --name NAME (an engine)")
    end
    local ledger = { dir = values.dir }
    if values.name then
        local status
        ledger, status = of_engine(values)
        if not ledger then
            return nil, status
        end
    end
    local stats, code, detail = log.dir_stats(ledger.dir)
    if not stats and not (allow_damaged and code == "corrupt") then
        return nil, _M.refused(ledger.dir, code, detail, code == "not_found"
            and "give the directory that was `dir` of the engine" or nil)
    end
    ledger.stats = stats
    ledger.uuid = stats and ffi_string(stats.uuid) or ""
    ledger.damage = detail
    return ledger
end


return _M
