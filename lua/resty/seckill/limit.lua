--- limit.lua - what the drop-in modules resty.seckill.limit.* share: the
--- engine they work on, its limiters by kind and name of the dict, the keys.
--
-- Where resty.limit.* names a lua_shared_dict, these modules use a limiter of
-- the engine: one for each kind and name (of `count`: and window). The numbers
-- are those of the object and go along with each call, so any number of
-- objects with numbers of their own work on one dict, as there. Objects are
-- often made for each request: handles and prepared rules are kept, a `new`
-- that was seen before makes one table and no call.

local bit = require("bit")
local ffi = require("ffi")
local lib = require("resty.seckill.lib")
local limiter = require("resty.seckill.limiter")
local seckill = require("resty.seckill")


local C = lib.C
local OK = lib.OK
local error = error
local errname = lib.errname
local ffi_copy = ffi.copy
local format = string.format
local tostring = tostring
local type = type


---@class seckill.limit
local _M = { _VERSION = "0.1.0" }

local NAME_MAX = 32
-- Of a lua_shared_dict, and of C for who brings a rule.
local KEY_MAX = 65535
-- Numbers that were made ready; more than this are made anew.
local RULES_MAX = 4096

local ticket_t = ffi.typeof("seckill_ticket_t")
local part_size = ffi.sizeof("seckill_ticket_part_t")
local limiters_t = ffi.typeof("seckill_limiter_t *[1]")

--- What take_as writes. Of all calls of this Lua VM: nothing yields between
--- filling and reading it.
local verdict = limiter.verdict
_M.verdict = verdict

-- A ticket for one call.
local scratch = ticket_t()
_M.ticket = scratch

--- A place to keep what one admission took.
_M.part_t = ffi.typeof("seckill_ticket_part_t")

local current           -- the engine in use
local handles = {}      -- kind -> window -> dict -> limiter


-- What is wrong with an engine: its handle is what counts here.
local function check_engine(engine)
    if type(engine) ~= "table" or engine.handle == nil then
        error("engine of resty.seckill.open expected, got " .. type(engine), 3)
    end
    if engine.closed then
        error("the engine is closed", 3)
    end
end


--- The engine for the objects that are made from now on. Not needed where the
--- program has one engine: that is taken.
--- Phases: any.
---@param engine seckill.engine
function _M.use(engine)
    check_engine(engine)
    current, handles = engine, {}
end


-- The engine: the one that use() named, else the first that this Lua VM has
-- open, else the default one, which is opened.
local function find_engine()
    if current and not current.closed then
        return current
    end
    local engine = seckill.first()
    if not engine then
        local code
        engine, code = seckill.open()
        if not engine then
            return nil, code
        end
    end
    current, handles = engine, {}
    return engine
end


-- FNV-1a, 64 bits, in hexadecimal.
local function digest(text)
    local hash = 0xcbf29ce484222325ULL
    for i = 1, #text do
        hash = bit.bxor(hash, text:byte(i) + 0ULL) * 0x100000001b3ULL
    end
    return bit.tohex(hash)
end


--- The limiter that stands for a dict: `req-<dict>`, `conn-<dict>`,
--- `count-<dict>-<window>ms`. A name that would not be legal, or too long, is
--- cut and carries a hash: `req_<what is legal of it>-<hash>`.
---@param kind string
---@param dict string
---@param window number? seconds
---@return string
function _M.limiter_name(kind, dict, window)
    local ms = window and window * 1000
    local name = kind .. "-" .. dict
    if ms then
        name = name .. format("-%dms", ms)
    end
    if #name <= NAME_MAX and not name:find("[^a-z0-9_-]")
       and (not ms or ms % 1 == 0) then
        return name
    end
    local whole = window and format("%s\0%.17g", dict, window) or dict
    local tail = "-" .. digest(whole)
    local head = kind .. "_" .. dict:lower():gsub("[^a-z0-9_-]", "_")
    return head:sub(1, NAME_MAX - #tail) .. tail
end


--- Numbers of which all but the algorithm are absent.
---@param algorithm integer
---@return ffi.cdata* limit seckill_limit_t
function _M.numbers(algorithm)
    local numbers = ffi.new("seckill_limit_t")
    numbers.struct_size = ffi.sizeof("seckill_limit_t")
    numbers.algorithm = algorithm
    return numbers
end


-- Attach to the limiter; it is made with the given numbers where there is
-- none. Those of one that is there are left alone: they are not used.
local function open_limiter(name, limit)
    local engine, code = find_engine()
    if not engine then
        return nil, code
    end
    local out = limiters_t()
    local bare = _M.numbers(limit.algorithm)
    bare.window_ns = limit.window_ns
    local rc = C.seckill_limiter_open(engine.handle, name, bare, out)
    if rc == lib.codes.bad_option then
        rc = C.seckill_limiter_open(engine.handle, name, limit, out)
    end
    if rc ~= OK then
        return nil, errname(rc)
    end
    return out[0]
end


local function remember(kind, window, dict, handle)
    local windows = handles[kind] or {}
    handles[kind] = windows
    windows[window] = windows[window] or {}
    windows[window][dict] = handle
    return handle
end


-- Can it be the name of a dict?
local function is_name(dict)
    return type(dict) == "string" and #dict >= 1 and #dict <= KEY_MAX
end


local function attach(kind, dict, window, limit)
    if not is_name(dict) then
        return nil, "shared dict not found"
    end
    local name = _M.limiter_name(kind, dict, window ~= 0 and window or nil)
    local handle, code = open_limiter(name, limit)
    if not handle then
        return nil, code
    end
    return remember(kind, window, dict, handle)
end


-- The limiter for a dict where this VM has it already, else nil.
local function look_up(kind, dict, window)
    if not current or current.closed then
        return nil
    end
    local windows = handles[kind]
    local dicts = windows and windows[window]
    return dicts and dicts[dict]
end


--- The limiter for a dict; where there is none, it is made with the numbers of
--- `make(a, b)`.
---@param kind string
---@param dict string
---@param window number 0: none
---@param make fun(a: number, b: number): ffi.cdata* seckill_limit_t
---@param a number
---@param b number?
---@return ffi.cdata*? handle
---@return string? code
function _M.find(kind, dict, window, make, a, b)
    local handle, code = look_up(kind, dict, window), nil
    if not handle then
        handle, code = attach(kind, dict, window, make(a, b))
    end
    return handle, code
end


--- Rules by two numbers, made by `make(a, b)` when they are new: a function of
--- (a, b, level) that answers the rule. make raises for bad numbers.
---@param make fun(a: number, b: number, level: integer): ffi.cdata*
---@return fun(a: number, b: number, level: integer): ffi.cdata*
function _M.rules(make)
    local known, count = {}, 0
    return function(a, b, level)
        local by_b = a and known[a]
        local rule = by_b and b and by_b[b]
        if rule then
            return rule
        end
        rule = make(a, b, level + 1)
        if count >= RULES_MAX then
            known, count = {}, 0
        end
        known[a] = known[a] or {}
        known[a][b] = rule
        count = count + 1
        return rule
    end
end


--- Raise unless value is a number of min..max (NaN is none).
---@param value number
---@param name string
---@param min number
---@param max number
---@param level integer
function _M.check(value, name, min, max, level)
    if type(value) ~= "number" then
        error(format("%s: number expected, got %s", name, type(value)),
              level + 1)
    end
    if not (value >= min and value <= max) then
        error(format("%s: %g to %g expected, got %g", name, min, max, value),
              level + 1)
    end
end


--- Checked numbers, made ready. Raises with `what` for what C refuses.
---@param limit ffi.cdata* seckill_limit_t
---@param what string
---@param level integer
---@return ffi.cdata* rule
function _M.prepare(limit, what, level)
    local rule = ffi.new("seckill_rule_t")
    if C.seckill_limit_prepare(limit, rule) ~= OK then
        error(what, level + 1)
    end
    return rule
end


--- A key as a shared dict takes it: anything that has a text.
---@param key any
---@return string? key
---@return string? err
function _M.key(key)
    if key == nil then
        return nil, "nil key"
    end
    if type(key) ~= "string" then
        key = tostring(key)
    end
    if key == "" then
        return nil, "empty key"
    end
    if #key > KEY_MAX then
        return nil, "key too long"
    end
    return key
end


--- Keep what the scratch ticket holds.
---@param part ffi.cdata* seckill_ticket_part_t *
function _M.save(part)
    ffi_copy(part, scratch.parts, part_size)
end


--- The scratch ticket with what was kept.
---@param part ffi.cdata* seckill_ticket_part_t *
---@return ffi.cdata* ticket
function _M.load(part)
    scratch.count = 1
    ffi_copy(scratch.parts, part, part_size)
    return scratch
end


--- Ask the limiter of an object { handle, rule, now_ns, part, key }. What was
--- admitted last is kept in part and key, for give_back.
---@param object table
---@param key string
---@param commit boolean?
---@return integer rc
function _M.take(object, key, commit)
    local rc = C.seckill_limiter_take_as(object.handle, object.rule, key, #key,
                                         1, commit and 1 or 0, object.now_ns,
                                         scratch, verdict)
    if commit and rc == OK then
        object.key = key
        _M.save(object.part)
    end
    return rc
end


--- Give back a request of a key: the one that is kept, by its ticket; of
--- another key, any.
---@param object table
---@param key string
---@return integer rc 1 when something was given back
function _M.give_back(object, key)
    local rc
    if key == object.key then
        object.key = nil
        rc = C.seckill_limiter_undo(object.handle, _M.load(object.part),
                                    object.now_ns)
    else
        rc = C.seckill_limiter_refund(object.handle, object.rule, key, #key, 1,
                                      object.now_ns)
    end
    return rc
end


return _M
