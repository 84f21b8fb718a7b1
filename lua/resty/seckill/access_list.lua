--- access_list.lua - black and white lists of ids or networks, shared by all
-- workers.
--
-- A thin object over the C functions (docs/api/access_list.md). A lookup
-- neither yields, allocates nor makes a system call. What comes from requests
-- (the value, a ttl) never raises: it is answered with `nil, "bad_..."`.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local completion = require("resty.seckill.completion")
local lib = require("resty.seckill.lib")


local C = lib.C
local OK = lib.OK
local error = error
local errname = lib.errname
local ffi_string = ffi.string
local format = string.format
local setmetatable = setmetatable
local tonumber = tonumber
local type = type

local no_self = args.no_self("access list")


---@class seckill.access_list
---@field name string
---@field handle ffi.cdata* seckill_list_t *
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local NS = 1e9
local ERR_SIZE = 256
local TTL_MAX = 1e9
local RELOAD_TIMEOUT = 60
local REVISION_MAX = 2^53 - 1
local APPLY_MAX = 4000
local NO_BAD_LINES = 2^32 - 1 -- 0 asks for the default

local OPTIONS = { kind = "string", file = "string", watch = "boolean",
                  allow_empty = "boolean", max_bad_lines = "number",
                  max_bytes = "number", max_entries = "number",
                  settle = "number" }
local KINDS = { id = 1, ip = 2 }
local OPS = { add = 1, remove = 2 }
local FORMATS = { [1] = "text", [2] = "gzip" }

-- Scratch: filled and read without a yield in between.
local reason = ffi.new("const char *[1]")
local reason_len = ffi.new("size_t[1]")


local function to_kind(kind, level)
    if not KINDS[kind or "id"] then
        error(format("option \"kind\": \"id\" or \"ip\" expected, got \"%s\"",
                     kind), level + 1)
    end
    return KINDS[kind or "id"]
end


local function to_settle(settle, level)
    if settle and not (settle >= 0.001 and settle <= 60) then
        error("option \"settle\": 0.001 to 60 seconds expected", level + 1)
    end
    return settle and settle * 1000 or 0
end


-- true: 1, false: 2, absent: 0 (as it is, else watched).
local function to_watch(watch)
    if watch == nil then
        return 0
    end
    return watch and 1 or 2
end


-- The C struct of the options; `opts` anchors the path.
local function to_options(opts, level)
    local o = ffi.new("seckill_list_options_t")
    if opts.file and opts.file:find("%z") then
        error("option \"file\": contains a NUL byte", level + 1)
    end
    local bad = args.integer(opts.max_bad_lines, "max_bad_lines", 0, 2^31,
                             level + 1)
    o.struct_size = ffi.sizeof("seckill_list_options_t")
    o.kind = to_kind(opts.kind, level + 1)
    o.file = opts.file
    o.watch = to_watch(opts.watch)
    o.allow_empty = opts.allow_empty and 1 or 0
    o.max_bytes = args.integer(opts.max_bytes, "max_bytes", 1, 2^40,
                               level + 1) or 0
    o.max_entries = args.integer(opts.max_entries, "max_entries", 1, 2^31,
                                 level + 1) or 0
    o.max_bad_lines = bad == 0 and NO_BAD_LINES or bad or 0
    o.settle_ms = to_settle(opts.settle, level + 1)
    return o
end


-- A load that failed leaves an older list in force, if there was one.
local function opened(self, rc, err)
    if rc == OK then
        return self
    end
    local code, detail = errname(rc), ffi_string(err)
    if code == "bad_option" then
        error("option " .. detail, 3)
    end
    if ngx and ngx.log then -- assert() would show the code alone
        ngx.log(ngx.ERR, "[seckill] access list: ", detail)
    end
    if self and self:stats().generation > 0 then
        return self, code, detail
    end
    return nil, code, detail
end


--- Create a list or attach to it. A file that was never loaded, or changed
--- since, is loaded at once. When it cannot be used and an earlier list is in
--- force, the list is returned with the code and the detail; without an
--- earlier one, nil with both. In either case a watched file is tried again
--- when it changes.
---
--- Phases: init_by_lua*, init_worker_by_lua*, any LuaJIT program; it reads
--- files.
---@class seckill.access_list.options
---@field kind? "id"|"ip" any strings of 1 to 64 bytes (default); networks
---@field file? string path; without one there are added entries only
---@field watch? boolean load the file again when it changes; default true
---@field allow_empty? boolean a file without entries is good; default false
---@field max_bad_lines? integer more of them refuse the file; default 100
---@field max_bytes? integer a larger file is refused, packed or unpacked;
---  default 2^30
---@field max_entries? integer a longer file is refused; default 2^27
---@field settle? number quiet seconds after a change; default 0.1
---
---@param engine_handle ffi.cdata* seckill_t *
---@param name string [a-z0-9_-]{1,32}
---@param opts seckill.access_list.options?
---@return seckill.access_list? list
---@return string? code bad_name, conflict, full, busy, bad_file, too_large,
---  no_space, io_error, no_memory
---@return string? detail with line numbers
function _M.open(engine_handle, name, opts)
    if type(name) ~= "string" then
        error("name: string expected, got " .. type(name), 2)
    end
    opts = opts or {}
    args.check(opts, OPTIONS, 2)
    local options = to_options(opts, 2)
    if name:find("%z") then
        return nil, "bad_name"
    end
    local out = ffi.new("seckill_list_t *[1]")
    local err = ffi.new("char[?]", ERR_SIZE)
    local rc = C.seckill_list_open(engine_handle, name, options, out, err,
                                   ERR_SIZE)
    local self = out[0] ~= nil
        and setmetatable({ name = name, handle = out[0],
                           engine_handle = engine_handle }, mt) or nil
    return opened(self, rc, err)
end


--- Is the value denied? `true, reason` (reason only where the file gives one),
--- `false`, or `false, "allow"` when an allow entry won. A value that is not a
--- string of 1 to 64 bytes is `nil, "bad_value"`; so is one that is no address,
--- in a list of networks. There the most specific network decides.
---
--- Phases: any. Does not yield.
---@param value string
---@return boolean? denied
---@return string? reason_or_code
function _M:match(value)
    if type(value) ~= "string" then
        return nil, "bad_value"
    end
    local rc = C.seckill_list_match(self.handle or no_self(), value, #value, 0,
                                    reason, reason_len)
    if rc == 0 then
        return false
    end
    if rc == 2 then
        return false, "allow"
    end
    if rc ~= 1 then
        return nil, errname(rc)
    end
    local n = tonumber(reason_len[0])
    if n == 0 then
        return true
    end
    return true, ffi_string(reason[0], n)
end


local function result(rc)
    if rc == OK then
        return true
    end
    return nil, errname(rc)
end


--- Deny a value for all workers at once, for `ttl` seconds or until remove().
--- Outlives reloads of the file. An allow entry of the file still wins. In a
--- list of networks the value is an address or a CIDR.
---
--- Phases: any. Does not yield.
---@param value string
---@param ttl number? seconds over 0, at most 1e9
---@return boolean? ok
---@return string? code bad_value, bad_time, full, busy
function _M:add(value, ttl)
    if type(value) ~= "string" then
        return nil, "bad_value"
    end
    local ns = 0
    if ttl ~= nil then
        if type(ttl) ~= "number" or not (ttl >= 1e-9 and ttl <= TTL_MAX) then
            return nil, "bad_time"
        end
        ns = ttl * NS
    end
    return result(C.seckill_list_add(self.handle or no_self(), value, #value,
                                     ns, 0))
end


--- Undo a deny, of add() or of the file, for all workers at once, until add()
--- of the same value. Outlives reloads of the file.
---
--- Phases: any. Does not yield.
---@param value string
---@return boolean? ok
---@return string? code bad_value, full, busy
function _M:remove(value)
    if type(value) ~= "string" then
        return nil, "bad_value"
    end
    return result(C.seckill_list_remove(self.handle or no_self(), value, #value,
                                        0))
end


-- Scratch of apply(); grown once it is needed.
local change_size = 0
local changes
local position = ffi.new("uint32_t[1]")

-- nil, or the code. The strings live as long as the caller's table.
local function to_change(out, change)
    if type(change) ~= "table" then
        return "bad_value"
    end
    local op, value, ttl = OPS[change.op], change.value, change.ttl
    if type(value) ~= "string" or #value == 0 or #value > 64 then
        return "bad_value"
    end
    if not op then
        return "bad_option"
    end
    local ns = 0
    if ttl ~= nil then
        if type(ttl) ~= "number" or op ~= OPS.add
            or not (ttl >= 1e-9 and ttl <= TTL_MAX)
        then
            return "bad_time"
        end
        ns = ttl * NS
    end
    out.value, out.value_len, out.op, out.ttl_ns = value, #value, op, ns
end


--- Add and remove a batch, in its order, for all workers: all of it or
--- nothing. With a revision, the batches of a source that come late or twice
--- are `stale` and change nothing. Other workers may see its entries appear one
--- by one.
---
--- Phases: any. Does not yield.
---@param list_of_changes table[] at most 4000 of { op = "add" | "remove",
---  value = string, ttl = seconds? }
---@param revision integer? of the source: 1 to 2^53 - 1
---@return boolean? ok
---@return string? code bad_value, bad_time, bad_option (an op), bad_version,
---  too_large, stale, full, busy
---@return integer? position of the change that is wrong
function _M:apply(list_of_changes, revision)
    if type(list_of_changes) ~= "table" then
        return nil, "bad_value"
    end
    if revision ~= nil
        and (type(revision) ~= "number" or revision < 1
             or revision > REVISION_MAX or revision % 1 ~= 0)
    then
        return nil, "bad_version"
    end
    local n = #list_of_changes
    if n > APPLY_MAX then
        return nil, "too_large"
    end
    if n > change_size then
        change_size = n
        changes = ffi.new("seckill_list_change_t[?]", n)
    end
    for i = 1, n do
        local code = to_change(changes[i - 1], list_of_changes[i])
        if code then
            return nil, code, i
        end
    end
    local rc = C.seckill_list_apply(self.handle or no_self(), changes, n,
                                    revision or 0, 0, position)
    if rc == OK then
        return true
    end
    local code = errname(rc)
    if code == "bad_value" then -- not a network
        return nil, code, position[0] + 1
    end
    return nil, code
end


local function reload_here(self)
    local err = ffi.new("char[?]", ERR_SIZE)
    local rc = C.seckill_list_reload(self.handle, err, ERR_SIZE)
    if rc ~= OK then
        return nil, errname(rc), ffi_string(err)
    end
    return true
end


--- Load the file again now. In nginx the io thread of this worker does it and
--- the coroutine yields; a LuaJIT program without engine:start() reads the
--- file in this call.
---
--- Phases: those that can yield (rewrite, access, content, timers), and any
--- LuaJIT program; in others it answers `cannot_yield` and does nothing.
---@return boolean? ok
---@return string? code cannot_yield, not_running, bad_file, too_large,
---  no_space, io_error, no_memory, full, busy, closed, timeout
---@return string? detail
function _M:reload()
    local handle = self.handle or no_self()
    local can, why = completion.can_wait()
    if not can then
        return nil, why
    end
    if not completion.in_nginx() and not completion.running(self.engine_handle)
    then
        return reload_here(self)
    end
    local ticket = ffi.new("uint64_t[1]")
    local rc = completion.submit(self.engine_handle, function()
        return C.seckill_list_reload_async(handle, ticket)
    end)
    if rc ~= OK then
        return nil, errname(rc)
    end
    local answer, text = completion.wait(self.engine_handle,
                                         tonumber(ticket[0]), RELOAD_TIMEOUT)
    if answer == OK then
        return true
    end
    if not answer then
        return nil, text
    end
    return nil, errname(answer), text
end


--- Numbers of the list, over all processes. `error` is that of the last load,
--- "" when it was good; bad_lines counts those of that load.
---
--- Phases: any. Not for a hot path.
---@return table stats { entries, bytes, generation, reloads, failures,
---  bad_lines, overlay, revision, overlay_unsaved, overlay_unusable,
---  loaded_at, load_seconds, file_mtime, format, digest, error }
function _M:stats()
    local s = ffi.new("seckill_list_stats_t")
    C.seckill_list_stats(self.handle or no_self(), s)
    return {
        entries = tonumber(s.entries),
        bytes = tonumber(s.bytes),
        generation = tonumber(s.generation),
        reloads = tonumber(s.reloads),
        failures = tonumber(s.failures),
        bad_lines = tonumber(s.bad_lines),
        overlay = tonumber(s.overlay),
        revision = tonumber(s.revision),
        overlay_unsaved = tonumber(s.overlay_unsaved),
        overlay_unusable = tonumber(s.overlay_unusable),
        loaded_at = tonumber(s.loaded_at) / NS,
        load_seconds = tonumber(s.load_ns) / NS,
        file_mtime = tonumber(s.file_mtime) / NS,
        format = FORMATS[s.format],
        digest = ffi_string(s.digest),
        error = ffi_string(s.error),
    }
end


--- The lists that exist, also those that other processes made, with two fields
--- more: `kind`, and `file` where there is one. Makes none.
---
--- Phases: any. Not for a hot path.
---@param engine_handle ffi.cdata* seckill_t *
---@return seckill.access_list[]
function _M.all(engine_handle)
    local all, out = {}, ffi.new("seckill_list_t *[1]")
    while C.seckill_list_at(engine_handle, #all, out) == OK do
        local handle = out[0]
        local file = ffi_string(C.seckill_list_path(handle))
        all[#all + 1] = setmetatable({
            name = ffi_string(C.seckill_list_name(handle)), handle = handle,
            engine_handle = engine_handle,
            kind = C.seckill_list_kind(handle) == KINDS.ip and "ip" or "id",
            file = file ~= "" and file or nil,
        }, mt)
    end
    return all
end


return _M
