-- http_body.lua - reads the JSON body of a request.
--
-- The body must fit in memory and in max_body, be one JSON object (numbers as
-- in RFC 8259, nesting at most 8), and have no fields but the known ones. The
-- values are not looked at: the engine does that. Where a name occurs twice
-- the last one counts. Runs in content_by_lua*; reading yields.

local ngx = require("ngx")
local answer = require("resty.seckill.http_answer")
local strict_json = require("resty.seckill.strict_json")


local decode = strict_json.decode
local get_body_data = ngx.req.get_body_data
local get_body_file = ngx.req.get_body_file
local next = next
local pcall = pcall
local read_body = ngx.req.read_body
local type = type


local _M = { _VERSION = "0.1.0" }

-- The raw body, or nil and a code.
local function read(max)
    read_body()
    local data = get_body_data()
    if not data then
        -- nginx has put what is over client_body_buffer_size into a file.
        return nil, get_body_file() and "body_too_large" or "missing_body"
    end
    if #data > max then
        return nil, "body_too_large"
    end
    return data
end


-- The name of a field that is not known, or nil. Arrays have numbers. There
-- are three known names at most, so that the fourth is not: no loop, for
-- LuaJIT would not compile one that runs so few times.
local function unknown_name(object, known)
    local name = next(object)
    if name == nil or not known[name] then
        return name
    end
    name = next(object, name)
    if name == nil or not known[name] then
        return name
    end
    name = next(object, name)
    if name == nil or not known[name] then
        return name
    end
    return (next(object, name))
end


--- The object in the body, or nil after the refusal was sent.
---@param known table<string, true> names of fields, three at most
---@param max integer bytes
---@return table?
function _M.object(known, max)
    local data, code = read(max)
    if not data then
        return answer.refuse(code)
    end
    local ok, object = pcall(decode, data)
    if not ok or type(object) ~= "table" then
        return answer.refuse("bad_json")
    end
    local name = unknown_name(object, known)
    if name == nil then
        return object
    end
    if type(name) ~= "string" then
        return answer.refuse("bad_json")
    end
    return answer.refuse_field(name)
end


return _M
