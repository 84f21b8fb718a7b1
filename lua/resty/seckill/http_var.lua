-- http_var.lua - reads nginx variables in a way that LuaJIT compiles.
--
-- `ngx.var.name` goes through a metamethod. When the getter of lua-resty-core
-- becomes hot before its callers do, LuaJIT tries to compile it by itself,
-- cannot return from there through the metamethod's frame, and after some
-- tries gives the getter up, and everything that calls it. Called as a plain
-- function it compiles.

local ngx = require("ngx")


local getmetatable = getmetatable
local type = type


local var = ngx.var
local meta = getmetatable(var)
local getter = type(meta) == "table" and meta.__index


local _M = { _VERSION = "0.1.0" }


if type(getter) == "function" then
    --- A variable of the running request.
    ---@param name string
    ---@return string?
    function _M.get(name)
        return getter(var, name)
    end

else
    function _M.get(name)
        return ngx.var[name]
    end
end


return _M
