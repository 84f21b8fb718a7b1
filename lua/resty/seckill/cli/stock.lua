--- cli/stock.lua - `seckill stock ...`: the items of a running engine.

local output = require("resty.seckill.cli.output")
local source = require("resty.seckill.cli.source")


local format = string.format
local ipairs = ipairs
local tostring = tostring


local _M = { _VERSION = "0.1.0" }

local COLUMNS = {
    { "ITEM", "item" }, { "STATE", "state" },
    { "TOTAL", "total", right = true },
    { "AVAILABLE", "available", right = true },
    { "RESERVED", "reserved", right = true },
    { "SOLD", "sold", right = true },
    { "PER USER", "per_user", right = true },
    { "HOLD", "hold", right = true },
    { "VERSION", "version", right = true },
}


-- Runs fn(stock) on the engine and detaches, also after an error.
local function with_stock(values, fn)
    local engine, status = source.engine(values)
    if not engine then
        return status
    end
    local ok, result = pcall(fn, engine.stock)
    engine:close()
    if not ok then
        error(result, 0)
    end
    return result
end


local function limit(value)
    return value == 0 and "unlimited" or value
end


local function show(item, values)
    if values.output == "json" then
        output.json(item)
        return 0
    end
    output.pairs {
        { "item", item.item }, { "state", item.state },
        { "total", item.total }, { "available", item.available },
        { "reserved", item.reserved }, { "sold", item.sold },
        { "per user", limit(item.per_user) },
        { "max qty", limit(item.max_qty) },
        { "hold", item.hold == 0 and "none" or item.hold .. " s" },
        { "starts at", output.time(item.starts_at) },
        { "ends at", output.time(item.ends_at) },
        { "version", item.version },
    }
    return 0
end


-- What became of the item, after a change.
local function answer(stock, what, values, ok, code, advice)
    if not ok then
        return source.refused(what, code, nil, advice)
    end
    local item
    item, code = stock:get(values.ITEM)
    if not item then
        return source.refused(what, code)
    end
    return show(item, values)
end


--- seckill stock list
function _M.list(values)
    return with_stock(values, function(stock)
        local items, code = stock:items()
        if not items then
            return source.refused("stock list", code)
        end
        table.sort(items, function(a, b) return a.item < b.item end)
        if values.output == "json" then
            output.json(output.list(items))
        else
            output.table(COLUMNS, items)
        end
        return 0
    end)
end


--- seckill stock show ITEM
function _M.show(values)
    return with_stock(values, function(stock)
        return answer(stock, "stock show", values, true)
    end)
end


local FIELDS = {
    total = "total", ["per-user"] = "per_user", ["max-qty"] = "max_qty",
    hold = "hold", ["starts-at"] = "starts_at", ["ends-at"] = "ends_at",
    version = "version",
}


local function put_advice(stock, values, code)
    local item = stock:get(values.ITEM)
    if item and (code == "conflict" or code == "stale") then
        return format("it has version %d: give --version %d or higher to "
                      .. "change it", item.version, item.version + 1)
    elseif not item and code == "bad_total" then
        return "a new item needs --total N"
    end
end


--- seckill stock put ITEM ...
function _M.put(values)
    local config = { item = values.ITEM }
    for option, field in pairs(FIELDS) do
        config[field] = values[option]
    end
    return with_stock(values, function(stock)
        local ok, code = stock:put(config)
        return answer(stock, "stock put", values, ok, code,
                      not ok and put_advice(stock, values, code) or nil)
    end)
end


--- seckill stock adjust ITEM DELTA --request-id ID
function _M.adjust(values)
    return with_stock(values, function(stock)
        local ok, code = stock:adjust(values.ITEM, values.DELTA,
                                      values["request-id"])
        return answer(stock, "stock adjust", values, ok, code)
    end)
end


for _, name in ipairs { "pause", "resume" } do
    --- seckill stock pause ITEM, seckill stock resume ITEM
    _M[name] = function(values)
        return with_stock(values, function(stock)
            local ok, code = stock[name](stock, values.ITEM)
            return answer(stock, "stock " .. tostring(name), values, ok, code)
        end)
    end
end


return _M
