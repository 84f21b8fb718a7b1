-- A sale for orders_spec, in a process of its own: orders_sale.lua SHM DIR
-- SECONDS sells in the engine "orders" whose segment is in SHM and whose log is
-- in DIR, in every way an order can go. Ends when all of it is durable.

local seckill = require("resty.seckill")

local shm, dir, seconds = arg[1], arg[2], tonumber(arg[3])
local ASYNC = { durability = "async" }

local engine = assert(seckill.open {
    name = "orders", shm_dir = shm, dir = dir, window = 60,
    capacity = { items = 8, reservations = 2^15, users = 2^15,
                 requests = 2^16, limit_keys = 1, log_units = 2^14 },
})
assert(engine:start())
local stock = engine.stock
local socket = require("socket")

-- Names that a careless program would not survive.
local ITEMS = { "tee", "m'ug", "c\\ap\255\0" }
for _, item in ipairs(ITEMS) do
    assert(stock:put { item = item, total = 1e6, hold = 1 })
end

math.randomseed(tonumber(os.getenv("SECKILL_SEED")) or os.time())
local finish = socket.gettime() + seconds
local n = 0


local function make(request_id, user)
    if n % 5 > 0 then
        return stock:reserve(ITEMS[n % 3 + 1], user, n % 4 + 1, request_id,
                             ASYNC)
    end
    return stock:order { user = user, request_id = request_id,
        durability = "async", lines = {
            { item = ITEMS[1], qty = 1 }, { item = ITEMS[3], qty = 2 },
        } }
end


local function go_on(order)
    local dice = math.random()
    if dice < 0.4 then
        assert(stock:confirm(order.id, ASYNC))
        if dice < 0.1 then
            assert(stock:refund(order.id, "refund-" .. n, ASYNC))
        end
    elseif dice < 0.6 then
        assert(stock:cancel(order.id, ASYNC))
    end
end


while socket.gettime() < finish do
    for _ = 1, 10 do
        n = n + 1
        local order, code = make("r'" .. n, "user\"" .. n)
        if order then
            go_on(order)
        else
            assert(code == "busy" or code == "full", code)
        end
    end
    socket.sleep(0.01)
end
-- Most holds end, the last ones are left open. A sale that was full may have to
-- wait until a window has passed.
socket.sleep(1.1)
local last, code
repeat
    last, code = make("last'1", "last")
    if not last then
        socket.sleep(0.1)
    end
until last or code ~= "full" and code ~= "busy"
      or socket.gettime() > finish + 90
assert(last, code)
assert(stock:adjust(ITEMS[1], 1, "durable"))
engine:close()
print("sold")
