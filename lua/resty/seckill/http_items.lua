-- http_items.lua - the list of items as JSON.
--
-- What buyers may see: what is left, the limits and the times. Instants that
-- are not set are left out.

local strict_json = require("resty.seckill.strict_json")


local concat = table.concat
local encode = strict_json.encode
local format = string.format
local ipairs = ipairs


local _M = { _VERSION = "0.1.0" }

local COUNTS = { "total", "available", "reserved", "sold", "per_user",
                 "max_qty", "version" }
local TIMES = { "hold", "starts_at", "ends_at" }


-- A count as JSON: LuaJIT writes no more than 14 digits by itself.
local function count(n)
    return n < 1e14 and n or format("%.0f", n)
end


local function pair(name, value)
    return "\"" .. name .. "\":" .. encode(value)
end


local function encode_item(item)
    local parts = { pair("item", item.item), pair("state", item.state) }
    for _, name in ipairs(COUNTS) do
        parts[#parts + 1] = "\"" .. name .. "\":" .. count(item[name] or 0)
    end
    for _, name in ipairs(TIMES) do
        local value = item[name]
        if value and value ~= 0 then
            parts[#parts + 1] = pair(name, value)
        end
    end
    return "{" .. concat(parts, ",") .. "}"
end


--- The answer of GET /items.
---@param items table[] as engine.stock:items() gives them
---@return string
function _M.encode(items)
    local parts = {}
    for i, item in ipairs(items) do
        parts[i] = encode_item(item)
    end
    return "{\"items\":[" .. concat(parts, ",") .. "]}\n"
end


return _M
