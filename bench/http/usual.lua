-- usual.lua - the usual handler of a flash sale, for comparison: an access
-- list in a shared dict, a counter for each user in another, and a script in
-- Redis that checks the user's history and takes a unit, over a pool of
-- connections.
--
-- It verifies the bearer token as the full path does, with the same module and
-- cache, so that the comparison is about the sale.

local cjson = require("cjson")
local jwt = require("resty.seckill.jwt")
local redis = require("nginx.redis")


local blacklist = ngx.shared.blacklist
local counters = ngx.shared.counters
local decode = cjson.decode
local encode = cjson.encode
local now = ngx.now


local _M = {}

local REDIS_PORT = tonumber(os.getenv("BENCH_REDIS_PORT"))
local SCRIPT_SHA = os.getenv("BENCH_SCRIPT_SHA")
local RATE, WINDOW = 10000, 1
local PER_USER = 1000
local POOL, IDLE = 64, 60000

local verifier = jwt.new {
    keys = { { key = os.getenv("BENCH_JWT_KEY") } }, cache = 2 ^ 18,
}


--- Once, in init_by_lua*.
---@param dir string
function _M.load_blacklist(dir)
    for id in io.lines(dir .. "/blacklist") do
        assert(blacklist:safe_set(id, true))
    end
end


local function refuse(status, code)
    ngx.status = status
    ngx.say("{\"code\":\"" .. code .. "\"}")
end


local function over_rate(user)
    local count = counters:incr("rate:" .. user, 1, 0, WINDOW)
    return not count or count > RATE
end


-- What is left, or nil and why not.
local function deduct(user, order)
    local red = redis:new()
    red:set_timeout(1000)
    local ok, err = red:connect("127.0.0.1", REDIS_PORT)
    if not ok then
        return nil, err
    end
    local left
    left, err = red:evalsha(SCRIPT_SHA, 3, "stock:" .. order.item,
                            "history:" .. order.item,
                            "request:" .. order.request_id, user, order.qty,
                            PER_USER)
    red:set_keepalive(IDLE, POOL)
    return left, err
end


local function read_order()
    ngx.req.read_body()
    local ok, order = pcall(decode, ngx.req.get_body_data())
    if ok and order.item and order.qty and order.request_id then
        return order
    end
end


--- POST /reserve
function _M.reserve()
    local user = verifier:bearer(ngx.var.http_authorization, now())
    if not user then
        return refuse(401, "unauthorized")
    end
    local order = read_order()
    if not order then
        return refuse(400, "bad_json")
    end
    if blacklist:get(user) then
        return refuse(403, "blocked")
    end
    if over_rate(user) then
        return refuse(429, "rejected")
    end
    local left, err = deduct(user, order)
    if not left then
        ngx.log(ngx.ERR, "redis: ", err)
        return refuse(503, "busy")
    end
    if left < 0 then
        return refuse(409, left == -1 and "sold_out" or "user_limit")
    end
    ngx.status = 201
    ngx.say(encode {
        id = order.request_id, item = order.item, qty = order.qty,
        state = "reserved", remaining = left,
    })
end


return _M
