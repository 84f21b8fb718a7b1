--- resty.seckill - a flash-sale engine for OpenResty.
--
-- The facade: open an engine, destroy a segment, make a ticket. The engine
-- object is in resty.seckill.engine, its stock in resty.seckill.stock.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local check = require("resty.seckill.check")
local combine = require("resty.seckill.combine")
local engine = require("resty.seckill.engine")
local lib = require("resty.seckill.lib")
local limiter = require("resty.seckill.limiter")


local C = lib.C
local error = error
local ffi_string = ffi.string
local format = string.format
local pairs = pairs
local tostring = tostring
local type = type


local _M = { _VERSION = "0.1.0" }

local ERR_SIZE = 512
local NS = 1e9

local OPTIONS = {
    name = "string", shm_dir = "string", user = "string",
    window = "number", request_ids = "string", capacity = "table",
    dir = "string", durability = "string", max_lag = "number",
    max_log_bytes = "number", log_segment_bytes = "number",
}

-- capacity.<name> = { min, max }
local CAPACITY = {
    items = { 1, 2^20 }, reservations = { 1, 2^26 }, users = { 1, 2^26 },
    requests = { 1, 2^26 }, limit_keys = { 1, 2^26 }, limiters = { 1, 1024 },
    limit_overrides = { 1, 2^20 },
    lists = { 1, 256 }, list_overlay = { 1, 2^20 }, log_units = { 64, 2^24 },
    permits = { 1, 2^20 },
    breakers = { 1, 1024 }, shedders = { 1, 64 },
}

local DURABILITY = { async = 1, sync = 2 }
local REQUEST_IDS = { opaque = 1, uuidv7 = 2, ulid = 3 }

-- Engines of this Lua state by "<shm_dir>/<name>", and in their order.
local opened = {}
local in_order = {}


local function set_capacity(options, capacity, level)
    for name, value in pairs(capacity) do
        local range = CAPACITY[name]
        if not range then
            error(format("unknown option \"capacity.%s\"", tostring(name)),
                  level + 1)
        end
        options[name] = args.integer(value, "capacity." .. name, range[1],
                                     range[2], level + 1)
    end
end


local function set_window(options, window, level)
    if window == nil then
        return
    end
    if not (window >= 1 and window <= 30 * 86400) then
        error("option \"window\": 1 to 2592000 seconds expected", level + 1)
    end
    options.window_ns = window * NS
end


local function set_request_ids(options, kind, level)
    if kind == nil then
        return
    end
    if not REQUEST_IDS[kind] then
        error("option \"request_ids\": opaque, uuidv7 or ulid expected, got "
              .. kind, level + 1)
    end
    options.request_ids = REQUEST_IDS[kind]
end


local function set_durability(options, want, level)
    if want == nil then
        return
    end
    if not DURABILITY[want] then
        error("option \"durability\": async or sync expected, got " .. want,
              level + 1)
    end
    options.durability = DURABILITY[want]
end


local function set_log(options, opts, level)
    set_durability(options, opts.durability, level + 1)
    local lag = opts.max_lag
    if lag ~= nil then
        if not (lag >= 0.001 and lag <= 3600) then
            error("option \"max_lag\": 0.001 to 3600 seconds expected",
                  level + 1)
        end
        options.max_lag_ns = lag * NS
    end
    options.max_log_bytes = args.integer(opts.max_log_bytes, "max_log_bytes",
                                         2^23, 2^53 - 1, level + 1) or 0
    options.log_segment_bytes =
        args.integer(opts.log_segment_bytes, "log_segment_bytes", 2^21, 2^30,
                     level + 1) or 0
    options.dir = opts.dir
end


-- The strings of `opts` must outlive the call: they are anchored by it.
local function to_options(opts, level)
    local options = ffi.new("seckill_options_t")
    options.struct_size = ffi.sizeof("seckill_options_t")
    options.name = opts.name
    options.shm_dir = opts.shm_dir
    options.user = opts.user
    set_window(options, opts.window, level + 1)
    set_request_ids(options, opts.request_ids, level + 1)
    set_capacity(options, opts.capacity or {}, level + 1)
    set_log(options, opts, level + 1)
    return options
end


local function no_nul(opts, level)
    for _, name in ipairs { "name", "shm_dir", "user", "dir" } do
        if opts[name] and opts[name]:find("%z") then
            error(format("option \"%s\": contains a NUL byte", name),
                  level + 1)
        end
    end
end


-- People write assert(seckill.open { ... }), which shows the code alone: what
-- to do goes into nginx's error log.
local function log_detail(detail)
    if ngx and ngx.log then
        ngx.log(ngx.ERR, "[seckill] open: ", detail)
    end
end


-- nil, code, detail; for a mismatch the name of the option, then the detail.
local function open_error(rc, err)
    local code, detail = lib.errname(rc), ffi_string(err)
    if code == "bad_option" then
        error("option " .. detail, 2) -- a tail call: this is open's caller
    end
    log_detail(detail)
    if code == "mismatch" then
        return nil, code, detail:match("^([^:]+):"), detail
    end
    return nil, code, detail
end


--- Open the engine: create its segment, or attach to it. The same name again
--- gives the same engine.
---
--- Phases: init_by_lua* (before the workers are forked), or any LuaJIT
--- program; also init_worker_by_lua* for an engine opened in init_by_lua*.
---@param opts seckill.options? all optional
---@return seckill.engine? engine
---@return string? code bad_name, mismatch, no_space, bad_layout, not_owner,
---  unknown_user, io_error, no_memory, corrupt, locked, busy
---@return string? detail what to do; for `mismatch` the option's name
function _M.open(opts)
    opts = opts or {}
    args.check(opts, OPTIONS, 2)
    no_nul(opts, 2)
    local options = to_options(opts, 2)
    local out, err = ffi.new("seckill_t *[1]"), ffi.new("char[?]", ERR_SIZE)
    local rc = C.seckill_open(options, out, err, ERR_SIZE)
    if rc ~= lib.OK then
        return open_error(rc, err)
    end
    local key = (opts.shm_dir or "/dev/shm") .. "/" .. (opts.name or "default")
    local known = opened[key]
    if known and known.handle == out[0] and not known.closed then
        C.seckill_close(out[0]) -- the reference of this second open
        return known
    end
    opened[key] = engine.new(out[0])
    in_order[#in_order + 1] = opened[key]
    return opened[key]
end


--- The engine that this Lua VM opened first, of those that are still open.
---
--- Phases: any.
---@return seckill.engine?
function _M.first()
    while in_order[1] and in_order[1].closed do
        table.remove(in_order, 1)
    end
    return in_order[1]
end


--- Unlink the segment of an engine and its directory. Processes that have it
--- open go on with what they have; the next open makes a new one.
---
--- Phases: any; makes system calls.
---@param name string?
---@param shm_dir string?
---@return boolean? ok
---@return string? code bad_name, not_found, not_owner, io_error
function _M.destroy(name, shm_dir)
    name = name or "default"
    if type(name) ~= "string" then
        error("name: string expected, got " .. type(name), 2)
    end
    if shm_dir ~= nil and type(shm_dir) ~= "string" then
        error("shm_dir: string expected, got " .. type(shm_dir), 2)
    end
    local rc = C.seckill_destroy(name, shm_dir)
    if rc ~= lib.OK then
        return nil, lib.errname(rc)
    end
    opened[(shm_dir or "/dev/shm") .. "/" .. name] = nil
    return true
end


--- A reusable ticket for limiter:incoming and combine.
--- Phases: any.
---@return seckill.ticket
_M.ticket = limiter.ticket

-- See resty.seckill.combine.
_M.combine = combine.combine
_M.peek = combine.peek
_M.uncommit = combine.uncommit
_M.leaving = combine.leaving

-- See resty.seckill.check.
_M.check = check.check


--- Version of the C library.
---@return string
function _M.version()
    return ffi_string(C.seckill_version())
end


return _M
