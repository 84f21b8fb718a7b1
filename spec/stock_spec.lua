-- The Lua contract of the stock: names, returns, codes, and what each method
-- does with values of every type. What the ledger does is proved in C
-- (csrc/test/stock_test.c, model_test.c); here, that Lua hands it on.

local seckill = require("resty.seckill")

local T0 = 1767225600
local WINDOW = 60

local engine, stock, dir


-- Values that requests may bring instead of an id.
local NO_IDS = {
    { "nil", nil }, { "false", false }, { "a number", 12 },
    { "NaN", 0 / 0 }, { "a table", {} }, { "a function", print },
    { "cdata", 1LL }, { "an empty string", "" },
    { "65 bytes", ("x"):rep(65) }, { "a megabyte", ("x"):rep(2^20) },
}

local NO_COUNTS = {
    { "nil", nil }, { "false", false }, { "a string", "1" }, { "a table", {} },
    { "cdata", 1LL }, { "NaN", 0 / 0 }, { "infinity", math.huge },
    { "minus infinity", -math.huge }, { "a fraction", 1.5 },
    { "2^53", 2^53 }, { "2^63", 2^63 }, { "-2^53", -2^53 },
}


local function at(seconds)
    engine:set_test_clock(T0 + seconds)
end


local function each(cases, fn)
    for _, case in ipairs(cases) do
        local ok, code = fn(case[2])
        assert.is_nil(ok, case[1])
        assert.is_string(code, case[1])
    end
end


local function refused(want, cases, fn)
    for _, case in ipairs(cases) do
        local ok, code = fn(case[2])
        assert.is_nil(ok, case[1])
        assert.equal(want, code, case[1])
    end
end


local function open(options)
    local pipe = assert(io.popen("mktemp -d /dev/shm/seckill-spec.XXXXXX"))
    dir = pipe:read("*l")
    pipe:close()
    options = options or {}
    options.name, options.shm_dir = "spec", dir
    options.window = options.window or WINDOW
    options.capacity = options.capacity or {
        items = 8, reservations = 64, users = 64, requests = 128,
        limit_keys = 1, log_units = 1024,
    }
    engine = assert(seckill.open(options))
    stock = engine.stock
    at(0)
end


local function put(fields)
    local item = { item = "tee", total = 10, hold = 10, version = 1 }
    for name, value in pairs(fields or {}) do
        item[name] = value
    end
    return stock:put(item)
end


describe("stock", function()
    before_each(function()
        open()
    end)

    after_each(function()
        if not engine.closed then
            local report = assert(stock:audit())
            assert.same({ ok = true, problems = {} }, report)
        end
        engine:close()
        assert(seckill.destroy("spec", dir))
        os.execute("rmdir " .. dir)
    end)

    describe("reserve", function()
        it("answers an order", function()
            assert(put())
            local r = assert(stock:reserve("tee", "ann", 2, "r1"))
            assert.is_string(r.id)
            assert.equal("tee", r.item)
            assert.equal("ann", r.user)
            assert.equal(2, r.qty)
            assert.equal("reserved", r.state)
            assert.equal(8, r.remaining)
            assert.equal(T0 + 10, r.expires_at)
            assert.is_false(r.replayed)
            assert.is_number(r.lsn)
            for name in pairs(r) do
                assert.is_truthy(({
                    id = 1, item = 1, user = 1, qty = 1, state = 1,
                    remaining = 1, expires_at = 1, replayed = 1, lsn = 1,
                })[name], name)
            end
        end)

        it("answers a retry with the recorded order", function()
            assert(put())
            local first = assert(stock:reserve("tee", "ann", 2, "r1"))
            local again = assert(stock:reserve("tee", "ann", 2, "r1"))
            assert.is_true(again.replayed)
            again.replayed = false
            assert.same(first, again)
            assert.equal(8, stock:get("tee").available)
        end)

        it("sells at once without a hold", function()
            assert(put { hold = 0 })
            local r = assert(stock:reserve("tee", "ann", 2, "r1"))
            assert.equal("confirmed", r.state)
            assert.is_nil(r.expires_at)
        end)

        it("refuses bad values of every type, in order", function()
            assert(put())
            refused("bad_item", NO_IDS, function(v)
                return stock:reserve(v, nil, nil, nil)
            end)
            refused("bad_user", NO_IDS, function(v)
                return stock:reserve("tee", v, nil, nil)
            end)
            refused("bad_qty", NO_COUNTS, function(v)
                return stock:reserve("tee", "ann", v, nil)
            end)
            refused("bad_qty", { { "0", 0 }, { "-1", -1 } }, function(v)
                return stock:reserve("tee", "ann", v, nil)
            end)
            refused("bad_request_id", NO_IDS, function(v)
                return stock:reserve("tee", "ann", 1, v)
            end)
            assert.equal(10, stock:get("tee").available)
        end)

        it("takes ids of any bytes", function()
            local item, user = "\0\255t", ("\0"):rep(64)
            assert(put { item = item })
            local r = assert(stock:reserve(item, user, 1, "\0"))
            assert.equal(item, r.item)
            assert.equal(user, r.user)
            assert.equal(user, stock:find("\0").user)
            assert.same({ nil, "unknown_request" }, { stock:find("\0\0") })
            assert.same({ nil, "unknown_item" },
                        { stock:reserve("\0\255", user, 1, "r") })
        end)

        it("takes the largest count", function()
            local most = 2^53 - 1
            assert(put { total = most, per_user = most, max_qty = most })
            local r = assert(stock:reserve("tee", "ann", most, "r1"))
            assert.equal(most, r.qty)
            assert.equal(0, r.remaining)
            assert.equal(most, stock:get("tee").reserved)
        end)

        it("says why not", function()
            local function says(code, qty, id, user)
                assert.same({ nil, code }, {
                    stock:reserve("tee", user or "ann", qty or 1, id or "r9"),
                })
            end
            says("unknown_item")
            assert(put { starts_at = T0 + 1, ends_at = T0 + 5, per_user = 4,
                         max_qty = 3 })
            says("not_started")
            at(1)
            assert(stock:reserve("tee", "ann", 3, "r1"))
            says("conflict", 2, "r1")
            says("qty_limit", 4)
            says("user_limit", 2)
            assert(stock:adjust("tee", -7, "a1"))
            says("sold_out", 1, "r2", "bob")
            assert(stock:pause("tee"))
            says("paused")
            at(5)
            says("ended")
        end)

        it("knows its options", function()
            assert(put())
            assert.is_truthy(stock:reserve("tee", "ann", 1, "r1", {}))
            for _, fn in ipairs {
                -- Not as tail calls: they leave no place to blame.
                function(o) local _ = stock:reserve("t", "a", 1, "r", o) end,
                function(o) local _ = stock:confirm("x", o) end,
                function(o) local _ = stock:cancel("x", o) end,
                function(o) local _ = stock:refund("x", "f", o) end,
            } do
                local ok, err = pcall(fn, { durable = true })
                assert.is_false(ok)
                assert.matches("stock_spec.lua:%d+: .*durable", err)
                ok, err = pcall(fn, "sync")
                assert.is_false(ok)
                assert.matches("stock_spec.lua:%d+: .*opts", err)
                -- a level is a promise that an engine without dir cannot keep
                for _, value in ipairs { "now", true, 1, "async", "sync" } do
                    ok, err = pcall(fn, { durability = value })
                    assert.is_false(ok)
                    assert.matches("stock_spec.lua:%d+: .*durability", err)
                end
                assert.is_true(pcall(fn, {}))
            end
            for _, fn in ipairs {
                function() local _ = stock:cancel("x", { qty = 1 }) end,
                function() local _ = stock:reserve("t", "a", 1, "r",
                                                   { reacquire = true }) end,
                function() local _ = stock:confirm("x", { reacquire = 1 }) end,
            } do
                local ok, err = pcall(fn)
                assert.is_false(ok)
                assert.matches("stock_spec.lua:%d+: .*option", err)
            end
        end)
    end)

    describe("order", function()
        local function order(lines, fields)
            local t = { user = "ann", request_id = "r1", lines = lines }
            for name, value in pairs(fields or {}) do
                t[name] = value
            end
            return stock:order(t)
        end

        before_each(function()
            assert(put())
            assert(put { item = "cup", hold = 5 })
        end)

        it("answers all lines", function()
            local o = assert(order { { item = "cup", qty = 2 },
                                     { item = "tee", qty = 3 } })
            assert.is_string(o.id)
            assert.is_number(o.lsn)
            local id = o.id
            o.id, o.lsn = nil, nil
            assert.same({
                state = "reserved", user = "ann", request_id = "r1",
                expires_at = T0 + 5, replayed = false,
                lines = { { item = "cup", qty = 2, remaining = 8 },
                          { item = "tee", qty = 3, remaining = 7 } },
            }, o)
            assert.is_true(stock:confirm(id))
            local found = assert(stock:find("r1"))
            assert.equal("confirmed", found.state)
            assert.is_nil(found.expires_at)
            assert.equal("cup", found.item)
            assert.equal(2, found.qty)
            assert.equal(8, found.remaining)
            assert.same(o.lines, found.lines)
            assert.is_true(stock:refund(id, "f1", {}))
            assert.equal(10, stock:get("tee").available)
        end)

        it("answers a retry, and a conflict", function()
            local lines = { { item = "cup", qty = 2 },
                            { item = "tee", qty = 3 } }
            local first = assert(order(lines))
            local again = assert(order(lines))
            assert.is_true(again.replayed)
            assert.equal(first.id, again.id)
            assert.same({ nil, "conflict" }, { order { lines[2], lines[1] } })
            assert.same({ nil, "conflict" }, { order { lines[1] } })
            assert.same({ nil, "conflict" },
                        { stock:reserve("cup", "ann", 2, "r1") })
        end)

        it("names the line that refused", function()
            assert.same({ nil, "sold_out", 2 },
                        { order { { item = "tee", qty = 1 },
                                  { item = "cup", qty = 11 } } })
            assert.same({ nil, "unknown_item", 1 },
                        { order { { item = "no", qty = 1 } } })
            assert.equal(10, stock:get("tee").available)
        end)

        it("answers bad values", function()
            local one = { item = "tee", qty = 1 }
            refused("bad_lines", {
                { "nil", nil }, { "a string", "tee" }, { "empty", {} },
                { "a number", 1 }, { "no array", { item = "tee", qty = 1 } },
                { "nine", { one, one, one, one, one, one, one, one, one } },
                { "no table", { one, "cup" } }, { "twice", { one, one } },
            }, order)
            assert.same({ nil, "bad_lines", 2 }, { order { one, one } })
            for _, case in ipairs(NO_IDS) do
                assert.same({ nil, "bad_item", 2 },
                            { order { one, { item = case[2], qty = 1 } } })
                assert.same({ nil, "bad_user" }, { stock:order {
                    user = case[2], request_id = "r", lines = { one } } })
                assert.same({ nil, "bad_request_id" }, { stock:order {
                    user = "ann", request_id = case[2], lines = { one } } })
            end
            for _, case in ipairs(NO_COUNTS) do
                assert.same({ nil, "bad_qty", 2 },
                            { order { one, { item = "cup", qty = case[2] } } })
            end
            assert.equal(10, stock:get("tee").available)
        end)

        it("raises for what no request brings", function()
            local function call(t)
                local _ = stock:order(t)
            end
            local ok, err = pcall(call, nil)
            assert.is_false(ok)
            assert.matches("stock_spec.lua:%d+: order", err)
            ok, err = pcall(call, { user = "a", items = {} })
            assert.is_false(ok)
            assert.matches("stock_spec.lua:%d+: .*items", err)
            ok, err = pcall(call, { user = "a", durability = "always" })
            assert.is_false(ok)
            assert.matches("stock_spec.lua:%d+: .*durability", err)
        end)
    end)

    describe("confirm with options", function()
        it("sells a part", function()
            assert(put())
            local r = assert(stock:reserve("tee", "ann", 5, "r1"))
            refused("bad_qty", NO_COUNTS, function(v)
                if v == nil then
                    return nil, "bad_qty"
                end
                return stock:confirm(r.id, { qty = v })
            end)
            assert.same({ nil, "bad_qty" }, { stock:confirm(r.id,
                                                            { qty = 0 }) })
            assert.same({ nil, "bad_qty" }, { stock:confirm(r.id,
                                                            { qty = 6 }) })
            assert.is_true(stock:confirm(r.id, { qty = 2 }))
            assert.is_true(stock:confirm(r.id, { qty = 2 }))
            assert.is_true(stock:confirm(r.id))
            assert.same({ nil, "conflict" }, { stock:confirm(r.id,
                                                             { qty = 5 }) })
            assert.equal(2, stock:find("r1").qty)
            assert.equal(8, stock:get("tee").available)
        end)

        it("takes the units of an expired one again", function()
            assert(put { per_user = 5 })
            local r = assert(stock:reserve("tee", "ann", 5, "r1"))
            at(10)
            assert.same({ nil, "expired" }, { stock:confirm(r.id) })
            assert.same({ nil, "expired" },
                        { stock:confirm(r.id, { reacquire = false }) })
            local other = assert(stock:reserve("tee", "ann", 1, "r2"))
            assert.same({ nil, "user_limit" },
                        { stock:confirm(r.id, { reacquire = true }) })
            assert(stock:cancel(other.id))
            assert(stock:reserve("tee", "bob", 5, "r3"))
            other = assert(stock:reserve("tee", "cyd", 5, "r4"))
            assert.same({ nil, "sold_out" },
                        { stock:confirm(r.id, { reacquire = true }) })
            assert(stock:cancel(other.id))
            assert.is_true(stock:confirm(r.id, { reacquire = true }))
            assert.equal(5, stock:get("tee").sold)
        end)
    end)

    describe("put of a higher version", function()
        it("changes window and limits while the sale runs", function()
            assert(put())
            assert(stock:reserve("tee", "ann", 3, "r1"))
            assert(stock:put { item = "tee", version = 2, max_qty = 1,
                               per_user = 4, hold = 2, starts_at = T0 + 1,
                               ends_at = T0 + 3 })
            assert.same({ nil, "not_started" },
                        { stock:reserve("tee", "ann", 1, "r2") })
            at(1)
            assert.same({ nil, "qty_limit" },
                        { stock:reserve("tee", "ann", 2, "r2") })
            local r = assert(stock:reserve("tee", "ann", 1, "r2"))
            assert.equal(T0 + 3, r.expires_at)
            assert.same({ nil, "user_limit" },
                        { stock:reserve("tee", "ann", 1, "r3") })
            at(3)
            assert.same({ nil, "ended" },
                        { stock:reserve("tee", "bob", 1, "r4") })
            assert(stock:put { item = "tee", version = 3 })
            r = assert(stock:reserve("tee", "bob", 7, "r4"))
            assert.equal("confirmed", r.state)
            assert.equal(10, stock:get("tee").total)
        end)
    end)

    describe("confirm, cancel and refund", function()
        it("end an order, and again is true", function()
            assert(put())
            local r = assert(stock:reserve("tee", "ann", 2, "r1"))
            assert.same({ nil, "reserved" }, { stock:refund(r.id, "f1") })
            assert.is_true(stock:confirm(r.id))
            assert.is_true(stock:confirm(r.id))
            assert.same({ nil, "confirmed" }, { stock:cancel(r.id) })
            assert.is_true(stock:refund(r.id, "f1"))
            assert.is_true(stock:refund(r.id, "f1"))
            assert.is_true(stock:refund(r.id, "f2"))
            assert.same({ nil, "refunded" }, { stock:confirm(r.id) })
            assert.same({ nil, "refunded" }, { stock:cancel(r.id) })
            assert.equal("refunded", stock:find("r1").state)
            r = assert(stock:reserve("tee", "ann", 2, "r2"))
            assert.is_true(stock:cancel(r.id))
            assert.is_true(stock:cancel(r.id))
            assert.same({ nil, "cancelled" }, { stock:confirm(r.id) })
            assert.same({ nil, "cancelled" }, { stock:refund(r.id, "f3") })
            assert.same({ nil, "conflict" }, { stock:refund(r.id, "f1") })
            assert.equal(10, stock:get("tee").available)
        end)

        it("come too late at the deadline", function()
            assert(put())
            local r = assert(stock:reserve("tee", "ann", 2, "r1"))
            at(10)
            assert.same({ nil, "expired" }, { stock:confirm(r.id) })
            assert.same({ nil, "expired" }, { stock:cancel(r.id) })
            assert.same({ nil, "expired" }, { stock:refund(r.id, "f") })
            local found = assert(stock:find("r1"))
            assert.equal("expired", found.state)
            assert.is_nil(found.expires_at)
        end)

        it("know only ids that were given out", function()
            local strange = { { "a word", "x" }, { "like one", "1-2-3" },
                              { "NUL", "1-0-2\0" } }
            for _, cases in ipairs { NO_IDS, strange } do
                refused("unknown_reservation", cases, function(v)
                    return stock:confirm(v)
                end)
                refused("unknown_reservation", cases, function(v)
                    return stock:cancel(v)
                end)
                refused("unknown_reservation", cases, function(v)
                    return stock:refund(v, "f1")
                end)
            end
            refused("bad_request_id", NO_IDS, function(v)
                return stock:refund("1-2-3", v)
            end)
        end)
    end)

    describe("find", function()
        it("gives the order as it stands", function()
            assert(put())
            local r = assert(stock:reserve("tee", "ann", 2, "r1"))
            r.replayed = true
            assert.same(r, stock:find("r1"))
            assert.is_true(stock:confirm(r.id))
            assert.equal("confirmed", stock:find("r1").state)
            assert.same({ nil, "unknown_request" }, { stock:find("r2") })
            refused("bad_request_id", NO_IDS, function(v)
                return stock:find(v)
            end)
        end)

        it("forgets after the window", function()
            assert(put())
            local r = assert(stock:reserve("tee", "ann", 1, "r1"))
            at(WINDOW + 0.001)
            assert.equal(2, stock:sweep() + stock:sweep())
            assert.same({ nil, "unknown_request" }, { stock:find("r1") })
            assert.same({ nil, "unknown_reservation" },
                        { stock:confirm(r.id) })
        end)
    end)

    describe("put", function()
        it("is given back by get", function()
            assert.is_true(put {
                per_user = 3, max_qty = 2, hold = 1.5, starts_at = T0,
                ends_at = T0 + 60, version = 7,
            })
            assert.same({
                item = "tee", total = 10, available = 10, reserved = 0,
                sold = 0, version = 7, state = "open", per_user = 3,
                max_qty = 2, hold = 1.5, starts_at = T0, ends_at = T0 + 60,
            }, stock:get("tee"))
        end)

        it("has defaults", function()
            assert.is_true(stock:put { item = "cup", total = 0 })
            assert.same({
                item = "cup", total = 0, available = 0, reserved = 0,
                sold = 0, version = 1, state = "open", per_user = 0,
                max_qty = 0, hold = 0,
            }, stock:get("cup"))
        end)

        it("follows versions", function()
            assert.same({ nil, "bad_total" }, { stock:put { item = "tee" } })
            assert.is_true(put { version = 5 })
            assert.is_true(put { version = 5 })
            assert.same({ nil, "conflict" }, { put { version = 5, hold = 3 } })
            assert.same({ nil, "stale" }, { put { version = 4 } })
            assert.is_true(put { version = 6, total = 12 })
            assert.equal(12, stock:get("tee").total)
            assert(stock:reserve("tee", "ann", 5, "r1"))
            assert.same({ nil, "below_sold" }, { put { version = 7,
                                                       total = 4 } })
            assert.is_true(stock:put { item = "tee", version = 7 })
            assert.equal(7, stock:get("tee").available)
        end)

        it("refuses numbers out of range", function()
            local wrong = {
                total = "bad_total", per_user = "bad_qty",
                max_qty = "bad_qty", version = "bad_version",
                hold = "bad_hold", starts_at = "bad_time",
                ends_at = "bad_time",
            }
            for name, code in pairs(wrong) do
                for _, value in ipairs {
                    -1, 0 / 0, math.huge, -math.huge, 2^63,
                } do
                    local ok, got = put { [name] = value }
                    assert.is_nil(ok, name)
                    assert.equal(code, got, name .. " " .. value)
                end
            end
            for name in pairs { total = 1, per_user = 1, max_qty = 1,
                                version = 1 } do
                assert.same({ nil, wrong[name] }, { put { [name] = 1.5 } })
                assert.same({ nil, wrong[name] }, { put { [name] = 2^53 } })
            end
            assert.same({ nil, "bad_version" }, { put { version = 0 } })
            assert.same({ nil, "bad_hold" }, { put { hold = WINDOW / 2 + 1 } })
            assert.same({ nil, "bad_time" },
                        { put { starts_at = T0, ends_at = T0 } })
            assert.same({ nil, "unknown_item" }, { stock:get("tee") })
        end)

        it("refuses an item that is no id", function()
            refused("bad_item", NO_IDS, function(v)
                return stock:put { item = v, total = 1 }
            end)
        end)

        it("raises for a programmer's mistake, at the caller", function()
            local ok, err = pcall(function() return put { totl = 1 } end)
            assert.is_false(ok)
            assert.matches("totl", err)
            ok, err = pcall(function()
                local r = stock:put { item = "tee", total = "10" }
                return r
            end)
            assert.is_false(ok)
            assert.matches("stock_spec.lua:%d+: .*total", err)
            ok, err = pcall(function()
                local r = stock:put("tee")
                return r
            end)
            assert.is_false(ok)
            assert.matches("stock_spec.lua:%d+: ", err)
        end)
    end)

    describe("items", function()
        it("lists them", function()
            assert.same({}, stock:items())
            assert(put { item = "a" })
            assert(put { item = "b" })
            assert(put { item = "c" })
            assert.is_true(stock:remove("b"))
            local names = {}
            for _, item in ipairs(stock:items()) do
                names[#names + 1] = item.item
                assert.same(item, stock:get(item.item))
            end
            table.sort(names)
            assert.same({ "a", "c" }, names)
        end)

        it("pause, resume and go", function()
            assert(put())
            assert.is_true(stock:pause("tee"))
            assert.equal("paused", stock:get("tee").state)
            assert.is_true(stock:pause("tee"))
            assert.is_true(stock:resume("tee"))
            assert.equal("open", stock:get("tee").state)
            local r = assert(stock:reserve("tee", "ann", 1, "r1"))
            assert.same({ nil, "in_use" }, { stock:remove("tee") })
            assert.is_true(stock:confirm(r.id))
            assert.is_true(stock:remove("tee"))
            assert.equal("confirmed", stock:find("r1").state)
            for _, name in ipairs { "get", "remove", "pause", "resume" } do
                assert.same({ nil, "unknown_item" },
                            { stock[name](stock, "tee") })
                refused("bad_item", NO_IDS, function(v)
                    return stock[name](stock, v)
                end)
            end
        end)

        it("adjusts once per id", function()
            assert(put())
            assert.is_true(stock:adjust("tee", 5, "a1"))
            assert.is_true(stock:adjust("tee", 5, "a1"))
            assert.equal(15, stock:get("tee").total)
            assert.same({ nil, "conflict" }, { stock:adjust("tee", 4, "a1") })
            assert.same({ nil, "below_sold" },
                        { stock:adjust("tee", -16, "a2") })
            assert.is_true(stock:adjust("tee", -15, "a2"))
            assert.same({ nil, "unknown_item" },
                        { stock:adjust("cup", 1, "a3") })
            refused("bad_item", NO_IDS, function(v)
                return stock:adjust(v, 1, "a3")
            end)
            refused("bad_qty", NO_COUNTS, function(v)
                return stock:adjust("tee", v, "a3")
            end)
            refused("bad_qty", { { "0", 0 } }, function(v)
                return stock:adjust("tee", v, "a3")
            end)
            refused("bad_request_id", NO_IDS, function(v)
                return stock:adjust("tee", 1, v)
            end)
        end)
    end)

    it("says full", function()
        engine:close()
        assert(seckill.destroy("spec", dir))
        os.execute("rmdir " .. dir)
        open { capacity = { items = 1, reservations = 1, users = 1,
                            requests = 1, limit_keys = 1 } }
        assert(put())
        assert.same({ nil, "full" }, { put { item = "cup" } })
        assert(stock:reserve("tee", "ann", 1, "r1"))
        assert.same({ nil, "full" }, { stock:reserve("tee", "bob", 1, "r2") })
        assert.same({ nil, "full" }, { stock:adjust("tee", 1, "a1") })
    end)

    it("says too_old", function()
        engine:close()
        assert(seckill.destroy("spec", dir))
        os.execute("rmdir " .. dir)
        open { request_ids = "uuidv7" }
        assert(put())
        local id = "%08x-%04x-7000-8000-000000000000"
        local ms = (T0 - WINDOW) * 1000 - 1
        local old = id:format(math.floor(ms / 65536), ms % 65536)
        assert.same({ nil, "too_old" }, { stock:reserve("tee", "a", 1, old) })
        assert.same({ nil, "bad_request_id" },
                    { stock:reserve("tee", "a", 1, "r1") })
        ms = ms + 1
        assert.is_truthy(stock:reserve("tee", "a", 1, id:format(
            math.floor(ms / 65536), ms % 65536)))
    end)

    it("answers closed after close", function()
        assert(put())
        assert.is_true(engine:close())
        each({ { "" } }, function() return stock:get("tee") end)
        assert.same({ nil, "closed" },
                    { stock:reserve("tee", "ann", 1, "r1") })
        assert.same({ nil, "closed" }, { stock:audit() })
    end)
end)
