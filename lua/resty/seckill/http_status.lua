-- http_status.lua - the one table of codes: HTTP status, message, field.
--
-- docs/api/http.md is written from it. The message of a code that the engine
-- knows is the engine's own (seckill_errtext). The answers are made once, at
-- load: a refusal costs a table lookup.

local ffi = require("ffi")
local lib = require("resty.seckill.lib")
local strict_json = require("resty.seckill.strict_json")


local gsub = string.gsub
local pairs = pairs


---@class seckill.http_status
local _M = { _VERSION = "0.1.0" }

-- code -> status, or a table with: status, field of the request, seconds for
-- Retry-After where the engine names none, message where it has none.
local STATUS = {
    -- the request itself
    bad_item = { 400, field = "item" },
    bad_qty = { 400, field = "qty" },
    bad_request_id = { 400, field = "request_id" },
    bad_token = { 400, field = "token" },
    bad_key = 400,
    bad_value = 400,
    bad_json = { 400, message = "the body is not a JSON object" },
    missing_body = { 400, message = "a JSON object is expected as body" },
    unknown_field = { 400, message = "the body has a field that is not known" },
    unauthorized = { 401, message = "a bearer token is needed" },
    method_not_allowed = { 405, message = "this method is not allowed here" },
    body_too_large = { 413, message = "the body is too large" },

    -- who asks
    blocked = 403,
    foreign_token = { 403, field = "token",
        message = "the token belongs to another user" },
    rejected = { 429, retry_after = 1 },

    -- what is asked for
    not_found = { 404, message = "no such resource" },
    unknown_item = { 404, field = "item" },
    unknown_reservation = 404,
    unknown_request = { 404, field = "request_id" },

    -- the state of the sale
    not_started = 409,
    ended = 410,
    qty_limit = { 409, field = "qty" },
    user_limit = 409,
    sold_out = 409,
    conflict = { 409, field = "request_id" },
    too_old = { 409, field = "request_id" },

    -- the state of an order
    pending = 202,
    reserved = 409,
    expired = 409,
    cancelled = 409,
    confirmed = 409,
    refunded = 409,

    -- the server
    busy = { 503, retry_after = 1 },
    full = { 503, retry_after = 1 },
    paused = { 503, retry_after = 5 },
    open = { 503, retry_after = 1 },
    overloaded = { 503, retry_after = 1 },
    closed = { 503, retry_after = 5 },
    not_running = { 503, retry_after = 5 },
    not_ready = { 503, retry_after = 1,
        message = "the service is not ready" },
    internal = { 500, message = "the service failed" },
}

local entries = {}


local function message_of(code)
    local number = lib.codes[code]
    return number and ffi.string(lib.C.seckill_errtext(number))
end


local function pair(name, value)
    -- lua-cjson writes \/ for /, which JSON allows and people dislike.
    local text = gsub(strict_json.encode(value), "\\/", "/")
    return ",\"" .. name .. "\":" .. text
end


local function make_entry(code, spec)
    if type(spec) == "number" then
        spec = { spec }
    end
    local message = spec.message or message_of(code)
    local head = "{\"code\":\"" .. code .. "\"" .. pair("message", message)
    if spec.field then
        head = head .. pair("field", spec.field)
    end
    local tail = spec.retry_after and pair("retry_after", spec.retry_after)
    return { code = code, status = spec[1], message = message,
             field = spec.field, retry_after = spec.retry_after, head = head,
             body = head .. (tail or "") .. "}\n" }
end


for code, spec in pairs(STATUS) do
    entries[code] = make_entry(code, spec)
end


--- All codes: entries with code, status, message, field, retry_after, and the
--- answer: head is the open JSON object, body the closed one.
---@type table<string, table>
_M.entries = entries


--- The entry of a code; a code that is not in the table is `internal`.
---@param code string?
---@return table
function _M.of(code)
    return entries[code] or entries.internal
end


return _M
