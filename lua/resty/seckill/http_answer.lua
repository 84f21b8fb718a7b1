-- http_answer.lua - writes answers: JSON, refusals, headers.
--
-- Refusals are ready-made, orders are written by C. Runs in
-- content_by_lua* of a request; never yields.

local ffi = require("ffi")
local ngx = require("ngx")
local durability = require("resty.seckill.durability")
local lib = require("resty.seckill.lib")
local status = require("resty.seckill.http_status")
local strict_json = require("resty.seckill.strict_json")


local C = lib.C
local ceil = math.ceil
local encode = strict_json.encode
local ffi_string = ffi.string
local find = string.find
local format = string.format
local gsub = string.gsub
local print = ngx.print
local sub = string.sub


---@class seckill.http_answer
local _M = { _VERSION = "0.1.0" }

local JSON = "application/json"
local FIELD_MAX = 64
local ORDER_MAX = 1536 -- every order fits, see seckill.h
-- A longer wait is not worth a number ("never" is infinite or negative).
local RETRY_MAX = 86400 * 30


--- Send a body of JSON.
---@param code integer HTTP status
---@param body string
function _M.json(code, body)
    local header = ngx.header
    ngx.status = code
    header["Content-Type"] = JSON
    header["Content-Length"] = #body
    print(body)
end

local json = _M.json


-- Whole seconds, at least 1: RFC 9110 knows no fractions.
local function set_retry_after(seconds)
    local whole = ceil(seconds)
    ngx.header["Retry-After"] = whole < 1 and 1 or whole
end


local function is_wait(seconds)
    return seconds and seconds >= 0 and seconds <= RETRY_MAX
end


--- Send the refusal of a code.
---@param code string?
---@param retry_after number? seconds; else the table's
function _M.refuse(code, retry_after)
    local entry = status.of(code)
    local body = entry.body
    if is_wait(retry_after) then
        body = entry.head .. format(",\"retry_after\":%.3f}\n",
                                    ceil(retry_after * 1000) / 1000)
        set_retry_after(retry_after)
    elseif retry_after then
        -- It would never succeed: no time to name.
        body = entry.head .. "}\n"
    elseif entry.retry_after then
        set_retry_after(entry.retry_after)
    end
    json(entry.status, body)
end


--- Send a refusal with one more member.
---@param code string
---@param name string
---@param value string
function _M.refuse_with(code, name, value)
    local entry = status.of(code)
    json(entry.status, entry.head .. ",\"" .. name .. "\":"
                       .. encode(value) .. "}\n")
end


--- Send unknown_field. The name comes from the client: cut, and printable.
---@param name string
function _M.refuse_field(name)
    name = gsub(sub(name, 1, FIELD_MAX), "[^%w_.-]", "?")
    _M.refuse_with("unknown_field", "field", name)
end


--- Send 405 with Allow.
---@param allow string
function _M.refuse_method(allow)
    ngx.header["Allow"] = allow
    _M.refuse("method_not_allowed")
end


-- RFC 6750, 3: no error code where no token was sent at all.
local CHALLENGES = {
    unauthorized = "Bearer realm=\"seckill\"",
}
local REASONS = {
    bad_token = "the bearer token is malformed or its signature is wrong",
    token_expired = "the bearer token has expired",
    token_not_active = "the bearer token is not valid yet",
    bad_user = "the bearer token names no user",
}
local UNAUTHORIZED = { unauthorized = status.of("unauthorized").body }

for code, reason in pairs(REASONS) do
    CHALLENGES[code] = format("%s, error=\"invalid_token\", "
                              .. "error_description=\"%s\"",
                              CHALLENGES.unauthorized, reason)
    UNAUTHORIZED[code] = format("{\"code\":\"unauthorized\","
                                .. "\"message\":\"%s\"}\n", reason)
end


--- Send 401 with WWW-Authenticate.
---@param reason string? a code of jwt:bearer
function _M.refuse_user(reason)
    if not UNAUTHORIZED[reason] then
        reason = "unauthorized"
    end
    ngx.header["WWW-Authenticate"] = CHALLENGES[reason]
    json(401, UNAUTHORIZED[reason])
end


-- Texts seen before, in JSON: item names are few. Bounded.
local texts, text_count = {}, 0
local TEXTS_MAX = 1024


--- A string as JSON.
---@param text string
---@return string
function _M.text(text)
    local known = texts[text]
    if known then
        return known
    end
    known = find(text, "^[%w _.:-]*$") and "\"" .. text .. "\""
            or encode(text)
    if text_count >= TEXTS_MAX then
        texts, text_count = {}, 0
    end
    texts[text] = known
    text_count = text_count + 1
    return known
end


local order_buf = ffi.new("char[?]", ORDER_MAX)


--- Send an order, with its purchase token where it is pending.
---@param code integer HTTP status
---@param order ffi.cdata* seckill_reservation_t
---@param ring ffi.cdata*? keys of purchase tokens
---@param stock seckill.stock? wait until the answer is durable
function _M.order(code, order, ring, stock)
    local n = C.seckill_order_json(order, ring, order_buf, ORDER_MAX)
    if n < 0 then
        return _M.refuse("internal")
    end
    if not stock then
        return json(code, ffi_string(order_buf, n))
    end
    -- The order is scratch of all requests: not to be used after the wait.
    local text = ffi_string(order_buf, n)
    local id = ffi_string(order.id, order.id_len)
    local ok, why = durability.wait(stock)
    if not ok then
        return _M.refuse_with(why, "id", id)
    end
    json(code, text)
end


return _M
