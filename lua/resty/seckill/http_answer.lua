-- http_answer.lua - writes answers: JSON, refusals, headers.
--
-- Refusals are ready-made, orders are handed over in pieces. Runs in
-- content_by_lua* of a request; never yields.

local ngx = require("ngx")
local status = require("resty.seckill.http_status")
local strict_json = require("resty.seckill.strict_json")


local ceil = math.ceil
local encode = strict_json.encode
local find = string.find
local floor = math.floor
local format = string.format
local gsub = string.gsub
local print = ngx.print
local sub = string.sub


---@class seckill.http_answer
local _M = { _VERSION = "0.1.0" }

local JSON = "application/json"
local FIELD_MAX = 64
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


--- A count as JSON: LuaJIT writes no more than 14 digits by itself.
---@param n number
---@return string|number
function _M.count(n)
    return n < 1e14 and n or format("%.0f", n)
end


-- "000" .. "999": the milliseconds of an instant, without a new string.
local MILLIS = {}
for ms = 0, 999 do
    MILLIS[ms] = format(".%03d", ms)
end


-- The parts of an order's answer, in place: every new string of a request is
-- looked up in LuaJIT's table of strings, most often in cold memory, so the
-- answer is handed to nginx in pieces.
local HELD = { "{\"id\":\"", "", "\",\"item\":", "", ",\"qty\":", 0,
               ",\"state\":\"", "", "\",\"remaining\":", 0,
               ",\"expires_at\":", 0, "", "", "", "}\n" }
local NO_HOLD = { HELD[1], "", HELD[3], "", HELD[5], 0, HELD[7], "", HELD[9],
                  0, "}\n" }


local function fill(parts, order)
    parts[2] = order.id
    parts[4] = _M.text(order.item)
    parts[6] = _M.count(order.qty)
    parts[8] = order.state
    parts[10] = _M.count(order.remaining)
end


local function fill_hold(parts, expires_at, token)
    -- Rounded down: a hold never seems longer than it is.
    local ms = floor(expires_at * 1000)
    parts[12] = floor(ms / 1000)
    parts[13] = MILLIS[ms % 1000]
    parts[14] = token and ",\"token\":\"" or ""
    parts[15] = token or ""
    parts[16] = token and "\"}\n" or "}\n"
end


--- Send an order, with its purchase token where it has one.
---@param code integer HTTP status
---@param order table as reserve gives it
---@param token string?
function _M.order(code, order, token)
    local parts = NO_HOLD
    local expires_at = order.expires_at
    if expires_at and expires_at > 0 then
        parts = HELD
        fill_hold(parts, expires_at, token)
    end
    fill(parts, order)
    ngx.status = code
    ngx.header["Content-Type"] = JSON
    print(parts)
end


return _M
