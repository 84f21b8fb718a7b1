--- stock.lua - the stock ledger: items and reservations.
--
-- A thin object over the C functions. Values that come from requests never
-- raise, whatever their type: they are answered with `nil, "bad_..."`. No
-- method allocates in C or makes a system call (a contended lock: one futex
-- wait of 5 ms at most, then `busy`).
--
-- In an engine with a `dir` a change is answered at a level (durability.lua):
-- reserve, cancel and order at the engine's, the others `sync`; the option
-- durability of a call overrides it. A sync call yields until its record is on
-- disk, `pending` if that takes over 5 s. Without a dir no method yields.

local ffi = require("ffi")
local args = require("resty.seckill.args")
local durability = require("resty.seckill.durability")
local feed = require("resty.seckill.feed")
local lib = require("resty.seckill.lib")


local C = lib.C
local OK = lib.OK
local error = error
local errname = lib.errname
local ffi_copy = ffi.copy
local ffi_string = ffi.string
local format = string.format
local pairs = pairs
local setmetatable = setmetatable
local tonumber = tonumber
local tostring = tostring
local type = type

local no_self = args.no_self("engine")


---@class seckill.stock
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local NS = 1e9
local COUNT_MAX = 2^53 - 1
local TIME_MAX = 9e9 -- seconds; int64 nanoseconds end in 2262
local AUDIT_SIZE = 65536

local RESERVATION_STATES = {
    "reserved", "confirmed", "cancelled", "expired", "refunded",
}
local ITEM_STATES = { "open", "paused", "quarantined" }

local LINES_MAX = 8

-- Scratch: filled and read without a yield in between.
local found = ffi.new("seckill_reservation_t")
local order_out = ffi.new("seckill_order_t")
local lines_in = ffi.new("seckill_line_t[?]", LINES_MAX)
local line_out = ffi.new("uint32_t[1]")
local item_out = ffi.new("seckill_item_t")
local cursor = ffi.new("uint32_t[1]")


--- For resty.seckill.engine only.
---@param handle ffi.cdata* seckill_t *
---@return seckill.stock
function _M.new(handle)
    return setmetatable({ handle = handle,
                          durability = durability.of(handle) }, mt)
end


local function is_id(value)
    return type(value) == "string" and #value >= 1 and #value <= 64
end


-- NaN fails the first comparison.
local function is_count(value, min)
    return type(value) == "number" and value >= min and value <= COUNT_MAX
           and value % 1 == 0
end


local must_wait = durability.must_wait
local wait = durability.wait


-- The level that a call asks for; `known` holds the other names.
local function check_opts(stock, opts, known)
    if type(opts) ~= "table" then
        error("opts: table expected, got " .. type(opts), 3)
    end
    for name in pairs(opts) do
        if name ~= "durability" and not (known and known[name]) then
            error(format("unknown option \"%s\"", tostring(name)), 3)
        end
    end
    durability.check(stock, opts.durability, 3)
    return opts.durability
end


-- true, or nil and a code; sync: once it is durable.
local function outcome(stock, rc, sync)
    if rc ~= OK then
        return nil, errname(rc)
    end
    if sync then
        return wait(stock)
    end
    return true
end


-- ---- Reservations --------------------------------------------------------

-- item and user are passed in where the caller has the strings already.
local function to_reservation(r, item, user)
    local expires_at = tonumber(r.expires_at)
    return {
        id = ffi_string(r.id, r.id_len),
        item = item,
        user = user,
        qty = tonumber(r.qty),
        state = RESERVATION_STATES[r.state],
        remaining = tonumber(r.remaining),
        expires_at = expires_at ~= 0 and expires_at / NS or nil,
        replayed = r.replayed ~= 0,
        lsn = tonumber(r.lsn),
    }
end


--- As reserve, but the order stays in C: for seckill_order_json. It is valid
--- until the next call of this Lua state.
--- Phases: any. Never yields.
---@param item string
---@param user string
---@param qty integer
---@param request_id string
---@return ffi.cdata*? order seckill_reservation_t
---@return string? code as reserve
function _M:reserve_raw(item, user, qty, request_id)
    if not is_id(item) then
        return nil, "bad_item"
    end
    if not is_id(user) then
        return nil, "bad_user"
    end
    if not is_count(qty, 1) then
        return nil, "bad_qty"
    end
    if not is_id(request_id) then
        return nil, "bad_request_id"
    end
    local handle = self.handle or no_self()
    local rc = C.seckill_reserve(handle, item, #item, user, #user, qty,
                                 request_id, #request_id, found)
    if rc ~= OK then
        return nil, errname(rc)
    end
    return found
end


--- Reserve units for a user, once per request id.
---
--- Phases: any. Never yields.
---@param item string
---@param user string
---@param qty integer 1 .. 2^53 - 1
---@param request_id string of the engine's format
---@param opts { durability: string? }?
---@return seckill.reservation? reservation
---@return string? code in this order: bad_item, bad_user, bad_qty,
---  bad_request_id, conflict, too_old, unknown_item, not_started, ended,
---  paused, qty_limit, user_limit, sold_out, full, busy
function _M:reserve(item, user, qty, request_id, opts)
    local sync, code = must_wait(self,
        opts ~= nil and check_opts(self, opts) or nil, self.durability)
    if sync == nil then
        return nil, code
    end
    local order
    order, code = self:reserve_raw(item, user, qty, request_id)
    if not order then
        return nil, code
    end
    local reservation = to_reservation(order, item, user)
    if sync then
        local ok
        ok, code = wait(self)
        if not ok then
            return nil, code, reservation.id
        end
    end
    return reservation
end


local CONFIRM_OPTS = { qty = true, reacquire = true }


--- Sell a reservation or an order; again is true.
---
--- qty: sell so many, the rest comes back. reacquire: where the hold has ended,
--- take the units again if they are still there.
--- Phases: any. Never yields.
---@param id string
---@param opts { qty: integer?, reacquire: boolean?, durability: string? }?
---@return boolean? ok
---@return string? code bad_qty, unknown_reservation, expired, cancelled,
---  refunded, conflict, user_limit, sold_out, busy
function _M:confirm(id, opts)
    local handle = self.handle or no_self()
    local sync, code = must_wait(self,
        opts ~= nil and check_opts(self, opts, CONFIRM_OPTS) or nil, "sync")
    if sync == nil then
        return nil, code
    end
    local qty, reacquire = 0, false
    if opts ~= nil then
        reacquire = opts.reacquire
        if reacquire ~= nil and type(reacquire) ~= "boolean" then
            error("option \"reacquire\": boolean expected, got "
                  .. type(reacquire), 2)
        end
        qty = opts.qty
        if qty == nil then
            qty = 0
        elseif not is_count(qty, 1) then
            return nil, "bad_qty"
        end
    end
    if type(id) ~= "string" then
        return nil, "unknown_reservation"
    end
    return outcome(self, C.seckill_confirm_with(handle, id, #id, qty,
                                                reacquire and 1 or 0), sync)
end


--- Give a reservation or an order back; again is true.
--- Phases: any. Never yields.
---@param id string
---@param opts { durability: string? }?
---@return boolean? ok
---@return string? code unknown_reservation, expired, confirmed, refunded, busy
function _M:cancel(id, opts)
    local handle = self.handle or no_self()
    local sync, code = must_wait(self,
        opts ~= nil and check_opts(self, opts) or nil, self.durability)
    if sync == nil then
        return nil, code
    end
    if type(id) ~= "string" then
        return nil, "unknown_reservation"
    end
    return outcome(self, C.seckill_cancel(handle, id, #id), sync)
end


--- Take a confirmed reservation or order back; again is true.
--- Phases: any. Never yields.
---@param id string
---@param request_id string
---@param opts { durability: string? }?
---@return boolean? ok
---@return string? code bad_request_id, conflict, too_old,
---  unknown_reservation, reserved, expired, cancelled, full, busy
function _M:refund(id, request_id, opts)
    local handle = self.handle or no_self()
    local sync, code = must_wait(self,
        opts ~= nil and check_opts(self, opts) or nil, "sync")
    if sync == nil then
        return nil, code
    end
    if not is_id(request_id) then
        return nil, "bad_request_id"
    end
    if type(id) ~= "string" then
        return nil, "unknown_reservation"
    end
    return outcome(self, C.seckill_refund(handle, id, #id, request_id,
                                          #request_id), sync)
end


-- ---- Orders of several lines ----------------------------------------------

local ORDER_FIELDS = {
    user = true, request_id = true, lines = true, durability = true,
}


local function check_order(stock, order)
    if type(order) ~= "table" then
        error("order: table expected, got " .. type(order), 3)
    end
    for name in pairs(order) do
        if not ORDER_FIELDS[name] then
            error(format("unknown option \"%s\"", tostring(name)), 3)
        end
    end
    durability.check(stock, order.durability, 3)
end


-- The items of the lines into lines_in: how many; or nil, code, line.
local function fill_items(lines)
    if type(lines) ~= "table" then
        return nil, "bad_lines"
    end
    local n = #lines
    if n < 1 or n > LINES_MAX then
        return nil, "bad_lines"
    end
    for i = 1, n do
        local line = lines[i]
        if type(line) ~= "table" then
            return nil, "bad_lines", i
        end
        local item = line.item
        if not is_id(item) then
            return nil, "bad_item", i
        end
        for k = 1, i - 1 do
            if lines[k].item == item then
                return nil, "bad_lines", i
            end
        end
        local to = lines_in[i - 1]
        to.item_len = #item
        ffi_copy(to.item, item, #item)
    end
    return n
end


local function to_order(o)
    local expires_at = tonumber(o.expires_at)
    local lines = {}
    for i = 1, o.line_count do
        local line = o.lines[i - 1]
        lines[i] = {
            item = ffi_string(line.item, line.item_len),
            qty = tonumber(line.qty),
            remaining = tonumber(line.remaining),
        }
    end
    return {
        id = ffi_string(o.id, o.id_len),
        user = ffi_string(o.user, o.user_len),
        request_id = ffi_string(o.request, o.request_len),
        state = RESERVATION_STATES[o.state],
        expires_at = expires_at ~= 0 and expires_at / NS or nil,
        replayed = o.replayed ~= 0,
        lsn = tonumber(o.lsn),
        lines = lines,
    }
end


--- Reserve several items for a user: all lines or none, once per request id.
---
--- Phases: any. Never yields.
---@param order { user: string, request_id: string, lines: { item: string,
---  qty: integer }[], durability: string? } 1 to 8 lines of different items
---@return seckill.order? order { id, state, user, request_id, expires_at,
---  replayed, lsn, lines = { { item, qty, remaining }, ... } }
---@return string? code bad_lines, then as reserve
---@return integer? line the number of the line that refused
function _M:order(order)
    local handle = self.handle or no_self()
    check_order(self, order)
    local sync, code = must_wait(self, order.durability, self.durability)
    if sync == nil then
        return nil, code
    end
    local lines, user, request_id = order.lines, order.user, order.request_id
    local n, at
    n, code, at = fill_items(lines)
    if not n then
        return nil, code, at
    end
    if not is_id(user) then
        return nil, "bad_user"
    end
    for i = 1, n do
        local qty = lines[i].qty
        if not is_count(qty, 1) then
            return nil, "bad_qty", i
        end
        lines_in[i - 1].qty = qty
    end
    if not is_id(request_id) then
        return nil, "bad_request_id"
    end
    local rc = C.seckill_order(handle, user, #user, request_id,
                               #request_id, lines_in, n, order_out, line_out)
    if rc ~= OK then
        at = line_out[0]
        return nil, errname(rc), at ~= 0 and at or nil
    end
    local made = to_order(order_out)
    if sync then
        local ok
        ok, code = wait(self)
        if not ok then
            return nil, code, made.id
        end
    end
    return made
end


-- The shape of a reservation (of its first line) and all lines.
local function find_order(self, request_id)
    local handle = self.handle or no_self()
    local rc = C.seckill_find_order(handle, request_id, #request_id,
                                    order_out)
    if rc ~= OK then
        return nil, errname(rc)
    end
    local order = to_order(order_out)
    local first = order.lines[1]
    order.item, order.qty = first.item, first.qty
    order.remaining = first.remaining
    return order
end


--- As find, but the order stays in C; see reserve_raw. Of an order of several
--- lines it is the first one, with their number in `lines`, else 0.
--- Phases: any. Never yields.
---@param request_id string
---@return ffi.cdata*? order seckill_reservation_t
---@return string? code as find
function _M:find_raw(request_id)
    if not is_id(request_id) then
        return nil, "bad_request_id"
    end
    local handle = self.handle or no_self()
    local rc = C.seckill_find(handle, request_id, #request_id, found)
    if rc ~= OK then
        return nil, errname(rc)
    end
    return found
end


--- The reservation of a request id, with its state now. An order of several
--- lines has them in `lines`, and item, qty and remaining of the first one.
--- Phases: any. Never yields.
---@param request_id string
---@return seckill.reservation? reservation
---@return string? code bad_request_id, unknown_request, busy
function _M:find(request_id)
    local sync, code = must_wait(self, nil, self.durability)
    if sync == nil then
        return nil, code
    end
    local order, result
    order, code = self:find_raw(request_id)
    if not order then
        return nil, code
    end
    if order.lines ~= 0 then
        result = find_order(self, request_id)
    else
        result = to_reservation(order, ffi_string(order.item, order.item_len),
                                ffi_string(order.user, order.user_len))
    end
    if sync then
        local ok, why = wait(self)
        if not ok then
            return nil, why, result.id
        end
    end
    return result
end


-- ---- Items ----------------------------------------------------------------

-- field of put -> { field of the struct, code, scale }
local PUT_FIELDS = {
    total = { "total", "bad_total", 1 },
    per_user = { "per_user", "bad_qty", 1 },
    max_qty = { "max_qty", "bad_qty", 1 },
    version = { "version", "bad_version", 1 },
    hold = { "hold_ns", "bad_hold", NS },
    starts_at = { "starts_at", "bad_time", NS },
    ends_at = { "ends_at", "bad_time", NS },
}


-- A count is an integer, a time any number of seconds from 0.
local function put_value(value, field)
    if field[3] == 1 then
        return is_count(value, 0) and value or nil
    end
    if not (value >= 0 and value <= TIME_MAX) then
        return nil
    end
    return value * NS - (value * NS) % 1
end


local function check_put(config)
    if type(config) ~= "table" then
        error("put: table expected, got " .. type(config), 3)
    end
    for name, value in pairs(config) do
        if name ~= "item" then
            if not PUT_FIELDS[name] then
                error(format("unknown option \"%s\"", tostring(name)), 3)
            end
            if type(value) ~= "number" then
                error(format("option \"%s\": number expected, got %s", name,
                             type(value)), 3)
            end
        end
    end
end


local function fill_put(config)
    local i = ffi.new("seckill_item_t")
    i.struct_size = ffi.sizeof("seckill_item_t")
    i.item_len = #config.item
    ffi_copy(i.item, config.item, #config.item)
    i.total = -1
    i.version = 1
    for name, field in pairs(PUT_FIELDS) do
        if config[name] ~= nil then
            local value = put_value(config[name], field)
            if not value then
                return nil, field[2]
            end
            i[field[1]] = value
        end
    end
    return i
end


--- Create or change an item. Same version and fields: no-op. Higher version:
--- sets the fields, and total only if given.
---
--- Phases: any. Never yields.
---@param config seckill.item item is required, a new one needs total; per_user,
---  max_qty 0 or absent: unlimited; hold 0 or absent: sold at once; version
---  absent: 1
---@return boolean? ok
---@return string? code bad_item, bad_total, bad_qty, bad_hold, bad_time,
---  bad_version, conflict, stale, below_sold, full, busy
function _M:put(config)
    local handle = self.handle or no_self()
    check_put(config)
    if not is_id(config.item) then
        return nil, "bad_item"
    end
    local i, code = fill_put(config)
    if not i then
        return nil, code
    end
    local sync
    sync, code = must_wait(self, nil, "sync")
    if sync == nil then
        return nil, code
    end
    return outcome(self, C.seckill_put(handle, i), sync)
end


local function seconds(ns)
    local n = tonumber(ns)
    return n ~= 0 and n / NS or nil
end


local function to_item(i)
    return {
        item = ffi_string(i.item, i.item_len),
        total = tonumber(i.total),
        available = tonumber(i.available),
        reserved = tonumber(i.reserved),
        sold = tonumber(i.sold),
        version = tonumber(i.version),
        state = ITEM_STATES[i.state],
        per_user = tonumber(i.per_user),
        max_qty = tonumber(i.max_qty),
        hold = tonumber(i.hold_ns) / NS,
        starts_at = seconds(i.starts_at),
        ends_at = seconds(i.ends_at),
    }
end


--- A whole state of an item: available + reserved + sold = total.
--- Phases: any. Never yields.
---@param item string
---@return seckill.item? item
---@return string? code bad_item, unknown_item, busy
function _M:get(item)
    if not is_id(item) then
        return nil, "bad_item"
    end
    local handle = self.handle or no_self()
    local rc = C.seckill_get(handle, item, #item, item_out)
    if rc ~= OK then
        return nil, errname(rc)
    end
    return to_item(item_out)
end


--- All items, each as get() gives it.
--- Phases: any. Never yields.
---@return seckill.item[]? items
---@return string? code busy
function _M:items()
    local list, n = {}, 0
    cursor[0] = 0
    while true do
        local handle = self.handle or no_self()
        local rc = C.seckill_next_item(handle, cursor, item_out)
        if rc == lib.codes.not_found then
            return list
        end
        if rc ~= OK then
            return nil, errname(rc)
        end
        n = n + 1
        list[n] = to_item(item_out)
    end
end


local function by_item(fn)
    return function(self, item)
        if not is_id(item) then
            return nil, "bad_item"
        end
        local sync, code = must_wait(self, nil, "sync")
        if sync == nil then
            return nil, code
        end
        return outcome(self, C[fn](self.handle, item, #item), sync)
    end
end


--- Forget an item. Orders stay findable for the window.
--- Phases: any. Never yields.
---@type fun(self: seckill.stock, item: string): boolean?, string? codes:
---  bad_item, unknown_item, in_use, busy
_M.remove = by_item("seckill_remove")


--- Refuse new reservations; holds and confirms go on.
--- Phases: any. Never yields.
---@type fun(self: seckill.stock, item: string): boolean?, string?
_M.pause = by_item("seckill_pause")


--- Undo pause.
--- Phases: any. Never yields.
---@type fun(self: seckill.stock, item: string): boolean?, string?
_M.resume = by_item("seckill_resume")


--- Change total and available by delta, once per request id.
--- Phases: any. Never yields.
---@param item string
---@param delta integer not 0
---@param request_id string
---@return boolean? ok
---@return string? code bad_item, bad_qty, bad_request_id, conflict, too_old,
---  unknown_item, below_sold, full, busy
function _M:adjust(item, delta, request_id)
    local handle = self.handle or no_self()
    if not is_id(item) then
        return nil, "bad_item"
    end
    if not is_count(delta, -COUNT_MAX) or delta == 0 then
        return nil, "bad_qty"
    end
    if not is_id(request_id) then
        return nil, "bad_request_id"
    end
    local sync, code = must_wait(self, nil, "sync")
    if sync == nil then
        return nil, code
    end
    return outcome(self, C.seckill_adjust(handle, item, #item, delta,
                                          request_id, #request_id), sync)
end


-- ---- Housekeeping ---------------------------------------------------------

--- One step of housekeeping, for programs without engine:start().
--- Phases: any.
---@param max integer? records at most; 512 unless given
---@return integer? records
---@return string? code
function _M:sweep(max)
    local handle = self.handle or no_self()
    local n = C.seckill_sweep(handle, max or 512)
    if n < 0 then
        return nil, errname(n)
    end
    return n
end


--- Recount everything and compare it with the counters.
--- Phases: any; not for a hot path (an item is locked while it is counted).
---@return { ok: boolean, problems: string[] }? report
---@return string? code busy
function _M:audit()
    local buf = ffi.new("char[?]", AUDIT_SIZE)
    local handle = self.handle or no_self()
    local n = C.seckill_audit(handle, buf, AUDIT_SIZE)
    if n < 0 then
        return nil, errname(n)
    end
    local problems = {}
    for line in ffi_string(buf):gmatch("[^\n]+") do
        problems[#problems + 1] = line
    end
    return { ok = n == 0, problems = problems }
end


-- feed, cursor, ack, drop_cursor, cursors
for name, method in pairs(feed) do
    if type(method) == "function" then
        _M[name] = method
    end
end


return _M
