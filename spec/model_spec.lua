-- Random operations on the stock through Lua, against a model in a few lines
-- of Lua; and that the way to reserve is compiled. The large model is in C
-- (csrc/test/model_test.c).

local compiled = require("compiled")
local seckill = require("resty.seckill")

local IDS_PER_USER = 16 -- live ids of an item; none retires in here
local T0 = 1767225600
local HOLD = 10
local STEPS = 2000
local FINAL = { confirmed = true, cancelled = true, expired = true }


local function open(capacity)
    local pipe = assert(io.popen("mktemp -d /dev/shm/seckill-spec.XXXXXX"))
    local dir = pipe:read("*l")
    pipe:close()
    local engine = assert(seckill.open {
        name = "model", shm_dir = dir, window = 3600, capacity = capacity,
    })
    engine:set_test_clock(T0)
    return engine, dir
end


local function close(engine, dir)
    engine:close()
    assert(seckill.destroy("model", dir))
    os.execute("rmdir " .. dir)
end


-- ---- The model: orders by request id, all on one item ----------------------

local model = {}
model.__index = model


local function new_model(total, per_user)
    return setmetatable({
        now = T0, available = total, total = total, sold = 0, reserved = 0,
        per_user = per_user, orders = {}, count = {}, ids = {},
    }, model)
end


function model:release(order, state)
    order.state = state
    self.reserved = self.reserved - order.qty
    self.available = self.available + order.qty
    self.count[order.user] = self.count[order.user] - order.qty
end


function model:tick(seconds)
    self.now = self.now + seconds
    for _, order in pairs(self.orders) do
        if order.state == "reserved" and order.deadline <= self.now then
            self:release(order, "expired")
        end
    end
end


function model:reserve(user, qty, id)
    local order = self.orders[id]
    if order then
        if order.user == user and order.qty == qty then
            return order
        end
        return nil, "conflict"
    end
    if (self.count[user] or 0) + qty > self.per_user
       or (self.ids[user] or 0) >= IDS_PER_USER then
        return nil, "user_limit"
    end
    if qty > self.available then
        return nil, "sold_out"
    end
    order = { user = user, qty = qty, state = "reserved",
              deadline = self.now + HOLD }
    self.orders[id] = order
    self.ids[user] = (self.ids[user] or 0) + 1
    self.count[user] = (self.count[user] or 0) + qty
    self.available = self.available - qty
    self.reserved = self.reserved + qty
    return order
end


function model:settle(order, state)
    if order.state == state then
        return true
    elseif FINAL[order.state] then
        return nil, order.state
    elseif state == "cancelled" then
        self:release(order, state)
    else
        order.state = state
        self.reserved = self.reserved - order.qty
        self.sold = self.sold + order.qty
    end
    return true
end


-- ---- Steps ------------------------------------------------------------------

local function try_reserve(m, stock, random)
    local user = "u" .. random(1, 40)
    local qty, id = random(1, 3), "r" .. random(1, 400)
    local known = m.orders[id]
    if known and random(1, 4) > 1 then
        user, qty = known.user, known.qty
    end
    local want, why = m:reserve(user, qty, id)
    local got, code = stock:reserve("tee", user, qty, id)
    assert.equal(why, code)
    if want then
        assert.equal(known ~= nil, got.replayed)
        assert.equal(want.state, got.state)
        assert.equal(want.qty, got.qty)
        assert.equal(m.available, got.remaining)
        want.id = want.id or got.id
        assert.equal(want.id, got.id)
    end
end


local function try_settle(m, stock, random)
    local order = m.orders["r" .. random(1, 400)]
    if not order then
        return
    end
    local confirm = random(1, 2) == 1
    local want, why = m:settle(order, confirm and "confirmed" or "cancelled")
    local got, code
    if confirm then
        got, code = stock:confirm(order.id)
    else
        got, code = stock:cancel(order.id)
    end
    assert.same({ want, why }, { got, code })
end


local function try_find(m, stock, random)
    local id = "r" .. random(1, 400)
    local order, found = m.orders[id], stock:find(id)
    assert.equal(order and order.state, found and found.state)
    assert.equal(order and order.id, found and found.id)
end


local function check(m, stock)
    stock:sweep()
    local item = assert(stock:get("tee"))
    assert.equal(m.total, item.total)
    assert.equal(m.available, item.available)
    assert.equal(m.reserved, item.reserved)
    assert.equal(m.sold, item.sold)
end


local function run(seed)
    local engine, dir = open { items = 2, reservations = 512, users = 64,
                               requests = 512, limit_keys = 1 }
    local stock = engine.stock
    local m = new_model(150, 8)
    math.randomseed(seed)
    assert(stock:put { item = "tee", total = 150, per_user = 8, hold = HOLD })
    for _ = 1, STEPS do
        local dice = math.random(1, 20)
        if dice <= 9 then
            try_reserve(m, stock, math.random)
        elseif dice <= 14 then
            try_settle(m, stock, math.random)
        elseif dice <= 17 then
            try_find(m, stock, math.random)
        else
            m:tick(math.random(0, 2))
            engine:set_test_clock(m.now)
        end
        check(m, stock)
    end
    assert.same({ ok = true, problems = {} }, stock:audit())
    assert.is_true(m.sold > 0)
    close(engine, dir)
end


describe("the stock, against a model", function()
    it("answers as the model does", function()
        local seed = tonumber(os.getenv("SECKILL_SEED")) or 11
        for i = 0, 2 do
            run(seed + i)
        end
    end)
end)


describe("the hot path", function()
    local engine, dir, stock

    before_each(function()
        engine, dir = open { items = 2, reservations = 4096, users = 4096,
                             requests = 4096, limit_keys = 1 }
        stock = engine.stock
        assert(stock:put { item = "tee", total = 1000, hold = HOLD })
    end)

    after_each(function()
        close(engine, dir)
    end)

    local function compiles(fn)
        compiled.check(fn, 500)
    end

    it("compiles when it sells", function()
        local ids = {}
        for i = 1, 500 do
            ids[i] = "r" .. i
        end
        compiles(function(i)
            if not stock:reserve("tee", ids[i], 1, ids[i]) then
                error("not sold")
            end
        end)
        assert.equal(500, stock:get("tee").available)
    end)

    it("compiles when it refuses", function()
        assert(stock:adjust("tee", -1000, "a"))
        compiles(function()
            if stock:reserve("tee", "ann", 1, "r") then
                error("sold")
            end
        end)
    end)

    it("compiles for a confirm, in part and late", function()
        local ids = {}
        for i = 1, 500 do
            ids[i] = stock:reserve("tee", "u" .. i, 2, "r" .. i).id
        end
        compiles(function(i)
            local opts = i % 2 == 0 and { qty = 1 } or nil
            if not stock:confirm(ids[i], opts) then
                error("not sold")
            end
        end)
        compiles(function(i)
            if not stock:confirm(ids[i], { reacquire = true }) then
                error("not sold")
            end
        end)
        assert.equal(750, stock:get("tee").sold)
    end)

    it("compiles for orders of several lines", function()
        assert(stock:put { item = "cup", total = 5000, hold = HOLD })
        local orders = {}
        for i = 1, 500 do
            orders[i] = {
                user = "u" .. i, request_id = "r" .. i,
                lines = { { item = "tee", qty = 1 },
                          { item = "cup", qty = 3 } },
            }
        end
        compiles(function(i)
            if not stock:order(orders[i]) then
                error("not sold")
            end
        end)
        assert.equal(500, stock:get("tee").available)
        assert.equal(3500, stock:get("cup").available)
        compiles(function(i)
            if not stock:order(orders[i]).replayed then
                error("sold twice")
            end
        end)
        orders[1].request_id, orders[1].lines[2].qty = "r", 3501
        compiles(function()
            local order, code, line = stock:order(orders[1])
            if order or code ~= "sold_out" or line ~= 2 then
                error("sold")
            end
        end)
    end)

    it("compiles for a retry", function()
        assert(stock:reserve("tee", "ann", 1, "r"))
        compiles(function()
            if not stock:reserve("tee", "ann", 1, "r").replayed then
                error("sold twice")
            end
        end)
    end)
end)
