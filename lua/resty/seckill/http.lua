-- http.lua - the sale as an HTTP API, for content_by_lua* of any location.
--
--     POST /reserve {item, qty, request_id}   201, a replay 200
--     POST /confirm {token}  POST /cancel {token}
--     GET  /find?request_id=                  also for lost answers
--     GET  /items  /metrics  /healthz  /readyz
--
-- An api object is made once (init_by_lua* or init_worker_by_lua*) and serves
-- all requests of its Lua VM. api:handle() routes by path; each endpoint is
-- also a method, for a location of its own. Who asks is told by a verified
-- JWT or by a function, never by the body. Codes and statuses: http_status.lua.
--
-- One context table and one purchase token table serve all requests: nothing
-- yields between filling and reading them. A wait for the disk yields after.

local ffi = require("ffi")
local ngx = require("ngx")
local admission = require("resty.seckill.admission")
local answer = require("resty.seckill.http_answer")
local args = require("resty.seckill.args")
local body = require("resty.seckill.http_body")
local http_items = require("resty.seckill.http_items")
local jwt = require("resty.seckill.jwt")
local lib = require("resty.seckill.lib")
local ratelimit = require("resty.seckill.ratelimit")
local token = require("resty.seckill.token")


local C = lib.C
local error = error
local ffi_string = ffi.string
local get_method = ngx.req.get_method
local get_uri_args = ngx.req.get_uri_args
local ipairs = ipairs
local json = answer.json
local refuse = answer.refuse
local pcall = pcall
local setmetatable = setmetatable
local text = answer.text
local tonumber = tonumber
local tostring = tostring
local type = type
local must_wait = require("resty.seckill.durability").must_wait
local var = require("resty.seckill.http_var").get


---@class seckill.http
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local OPTIONS = {
    engine = "table", jwt = "table", identity = "function",
    token_keys = "table", list = "table", limiter = "table", steps = "table",
    max_body = "number", prefix = "string", ready = "function",
    ratelimit = "table",
}
local RESERVE_FIELDS = { item = true, qty = true, request_id = true }
local TOKEN_FIELDS = { token = true }
local MAX_BODY = 4096
local USER_MAX = 64
local ANY_TIME = 0
local ARGS_MAX = 8


-- The stock step, last in the pipeline (so nothing undoes it): the order stays
-- in C, from where it is written as JSON.
local function raw_stock(stock)
    return {
        name = "stock",
        enter = function(_, ctx)
            local order, code = stock:reserve_raw(ctx.item, ctx.user, ctx.qty,
                                                  ctx.request_id)
            if order == nil then
                return nil, code
            end
            return order
        end,
    }
end


local function make_steps(opts)
    local steps = {}
    for i, step in ipairs(opts.steps or {}) do
        steps[i] = step
    end
    if opts.list then
        steps[#steps + 1] = admission.access_list(opts.list, "user")
    end
    if opts.limiter then
        steps[#steps + 1] = admission.limiter(opts.limiter, "user")
    end
    steps[#steps + 1] = raw_stock(opts.engine.stock)
    return steps
end


local function make_routes(prefix)
    return {
        [prefix .. "/reserve"] = _M.reserve,
        [prefix .. "/confirm"] = _M.confirm,
        [prefix .. "/cancel"] = _M.cancel,
        [prefix .. "/find"] = _M.find,
        [prefix .. "/items"] = _M.items,
        [prefix .. "/metrics"] = _M.metrics,
        [prefix .. "/healthz"] = _M.healthz,
        [prefix .. "/readyz"] = _M.readyz,
    }
end


local function check_options(opts)
    args.check(opts, OPTIONS, 3)
    for _, name in ipairs { "engine", "token_keys" } do
        if opts[name] == nil then
            error("option \"" .. name .. "\" is needed", 3)
        end
    end
    if type(opts.engine.stock) ~= "table" or not opts.engine.now then
        error("option \"engine\": an engine of seckill.open expected", 3)
    end
    if (opts.jwt == nil) == (opts.identity == nil) then
        error("one of the options \"jwt\" and \"identity\" is needed", 3)
    end
    args.integer(opts.max_body, "max_body", 1, 2 ^ 20, 3)
    local prefix = opts.prefix or ""
    if prefix ~= "" and not prefix:find("^/.*[^/]$") then
        error("option \"prefix\": a path without a slash at the end expected",
              3)
    end
end


-- A verifier, or options of one.
local function make_jwt(opts)
    if not opts.jwt or type(opts.jwt.bearer) == "function" then
        return opts.jwt
    end
    return jwt.new(opts.jwt)
end


-- Make a part from an option; what is wrong with it is said at the caller of
-- http.new, with the option's name.
local function part(name, make, value)
    local ok, made = pcall(make, value)
    if not ok then
        made = tostring(made):gsub("^[^:]*:%d+: ", "")
        error("option \"" .. name .. "\": " .. made, 3)
    end
    return made
end


local function make_tokens(keys)
    return token.new { keys = keys }
end


-- A writer of header fields, or options of one.
local function make_ratelimit(options)
    if not options or type(options.set) == "function" then
        return options
    end
    return ratelimit.new(options)
end


local function make_pipeline(opts)
    return admission.new(make_steps(opts))
end


--- An API over an engine; docs/api/http.md has the options.
---@param opts table
---@return seckill.http
function _M.new(opts)
    check_options(opts)
    local self = {
        engine = opts.engine,
        stock = opts.engine.stock,
        jwt = part("jwt", make_jwt, opts),
        identity = opts.identity,
        tokens = part("token_keys", make_tokens, opts.token_keys),
        pipeline = part("list, limiter, steps", make_pipeline, opts),
        list = opts.list,
        ratelimit = part("ratelimit", make_ratelimit, opts.ratelimit),
        ready = opts.ready,
        max_body = opts.max_body or MAX_BODY,
        routes = make_routes(opts.prefix or ""),
        ctx = {}, token_fields = {},
    }
    self.wants_ip = self.pipeline:reads("ip") or opts.steps ~= nil
    self.ctx.limits = self.ratelimit and { n = 0 }
    return setmetatable(self, mt)
end


-- ngx.now() would do, but it is not compiled when it is hot by itself.
local function wall_now()
    return tonumber(C.seckill_wall_now()) / 1e9
end


-- The user who asks, or nil after 401 was sent.
local function identify(self)
    local user, code
    if self.jwt then
        user, code = self.jwt:bearer(var("http_authorization"), wall_now())
    else
        user, code = self.identity(ngx)
    end
    if type(user) == "string" and #user >= 1 and #user <= USER_MAX then
        return user
    end
    answer.refuse_user(code)
end


-- Send an order. A pending one brings the token that confirms it: also a
-- replay and find, for the first answer may have been lost.
local function send_order(self, status, order, sync)
    return answer.order(status, order, self.tokens.ring, sync and self.stock)
end


local function fill_context(self, user, object)
    local ctx = self.ctx
    ctx.user, ctx.item, ctx.request_id = user, object.item, object.request_id
    ctx.qty = object.qty == nil and 1 or object.qty
    ctx.now = wall_now()
    if self.wants_ip then
        ctx.ip = var("remote_addr")
    end
    if ctx.limits then
        ctx.limits.n = 0
    end
    return ctx
end


-- The header fields of the limiters that were asked. A refusal of theirs names
-- the time that they name, as the body does.
local function tell_limits(self, code, retry_after)
    local seconds = self.ratelimit:set(ngx.header, self.ctx.limits)
    return code == "rejected" and seconds or retry_after
end


local function refuse_order(code, retry_after, id)
    if code == "pending" and id then
        return answer.refuse_with(code, "id", id)
    end
    return refuse(code, retry_after)
end


--- POST /reserve
function _M:reserve()
    if get_method() ~= "POST" then
        return answer.refuse_method("POST")
    end
    local user = identify(self)
    local object = user and body.object(RESERVE_FIELDS, self.max_body)
    if not object then
        return
    end
    local stock = self.stock
    local sync, refusal = must_wait(stock, nil, stock.durability)
    if sync == nil then
        return refuse(refusal)
    end
    local order, code, retry_after, _, id =
        self.pipeline:run(fill_context(self, user, object))
    if self.ratelimit then
        retry_after = tell_limits(self, code, retry_after)
    end
    if not order then
        return refuse_order(code, retry_after, id)
    end
    return send_order(self, order.replayed ~= 0 and 200 or 201, order, sync)
end


-- The purchase token of the body, or nil after a refusal was sent.
local function open_token(self)
    local user = identify(self)
    local object = user and body.object(TOKEN_FIELDS, self.max_body)
    if not object then
        return
    end
    -- Whether it is too late is for the ledger to say: a confirm that was lost
    -- on its way back is repeated after the hold, and is still a sale.
    local fields, code = self.tokens:open(object.token, ANY_TIME,
                                          self.token_fields)
    if not fields then
        return refuse(code)
    end
    if fields.user ~= user then
        return refuse("foreign_token")
    end
    return fields
end


local function finish(self, method, state)
    if get_method() ~= "POST" then
        return answer.refuse_method("POST")
    end
    local fields = open_token(self)
    if not fields then
        return
    end
    -- The table is of all requests: others fill it while this one waits.
    local id, item = fields.id, fields.item
    local stock = self.stock
    local ok, code = stock[method](stock, id)
    if not ok then
        return refuse_order(code, nil, id)
    end
    return json(200, "{\"id\":\"" .. id .. "\",\"item\":"
                     .. text(item) .. ",\"state\":\"" .. state
                     .. "\"}\n")
end


--- POST /confirm
function _M:confirm()
    return finish(self, "confirm", "confirmed")
end


--- POST /cancel
function _M:cancel()
    return finish(self, "cancel", "cancelled")
end


-- True for GET and HEAD; else 405 was sent.
local function is_get()
    local method = get_method()
    if method == "GET" or method == "HEAD" then
        return true
    end
    answer.refuse_method("GET, HEAD")
end


--- GET /find?request_id=  An order of another user is not there.
function _M:find()
    local user = is_get() and identify(self)
    if not user then
        return
    end
    local stock = self.stock
    local sync, refusal = must_wait(stock, nil, stock.durability)
    if sync == nil then
        return refuse(refusal)
    end
    -- "truncated" is no error: the argument is among the first or missing.
    local order, code = stock:find_raw(get_uri_args(ARGS_MAX).request_id)
    if not order then
        return refuse_order(code)
    end
    if ffi_string(order.user, order.user_len) ~= user then
        return refuse("unknown_request")
    end
    ngx.header["Cache-Control"] = "no-store"
    return send_order(self, 200, order, sync)
end


--- GET /items
function _M:items()
    if is_get() then
        local items, code = self.stock:items()
        if not items then
            return refuse(code)
        end
        return json(200, http_items.encode(items))
    end
end


--- GET /metrics, Prometheus text. Belongs into an internal location.
function _M:metrics()
    if is_get() then
        local metrics, code = self.engine:metrics()
        if not metrics then
            return refuse(code)
        end
        ngx.header["Content-Type"] = "text/plain; version=0.0.4"
        ngx.header["Content-Length"] = #metrics
        ngx.print(metrics)
    end
end


--- GET /healthz: this worker answers.
function _M.healthz()
    if is_get() then
        json(200, "{\"status\":\"ok\"}\n")
    end
end


-- nil, or why this worker cannot sell.
local function why_not_ready(self)
    local ok, reason = self.engine:ready()
    if not ok then
        return reason
    end
    local stats = self.list and self.list:stats()
    if stats and stats.loaded_at == 0 and stats.error ~= "" then
        return "list: " .. stats.error
    end
    if self.ready then
        ok, reason = self.ready()
        if not ok then
            return reason or "not ready"
        end
    end
end


--- GET /readyz: the engine is open, its threads run, the list is loaded.
function _M:readyz()
    if is_get() then
        local reason = why_not_ready(self)
        if reason then
            return answer.refuse_with("not_ready", "reason", reason)
        end
        json(200, "{\"status\":\"ready\"}\n")
    end
end


--- Route by path: the one call for a location that has all endpoints.
function _M:handle()
    local handler = self.routes[var("uri")]
    if handler then
        return handler(self)
    end
    return refuse("not_found")
end


return _M
