-- args.lua - checks of options: a programmer's mistake raises at the caller.
--
-- Plain Lua, used at construction only; on a request no more than a check
-- whether there is a self.

local error = error
local format = string.format
local pairs = pairs
local type = type


local _M = { _VERSION = "0.1.0" }


--- Raise unless `opts` is a table whose fields are all known and of their type.
---@param opts table
---@param spec table<string, string> option -> Lua type
---@param level integer as for error(), seen from the caller
function _M.check(opts, spec, level)
    level = (level or 1) + 1
    if type(opts) ~= "table" then
        error("options: table expected, got " .. type(opts), level)
    end
    for name, value in pairs(opts) do
        local want = spec[name]
        if not want then
            error(format("unknown option \"%s\"", tostring(name)), level)
        end
        if type(value) ~= want then
            error(format("option \"%s\": %s expected, got %s", name, want,
                         type(value)), level)
        end
    end
end


--- Raise unless `value`, a number, is within min..max (NaN is not).
---@param value number
---@param name string
---@param min number
---@param max number
---@param level integer
---@param whole boolean? an integer is wanted
function _M.range(value, name, min, max, level, whole)
    local good = value >= min and value <= max
    if not good or whole and value % 1 ~= 0 then
        error(format("option \"%s\": %s%g to %g expected, got %g", name,
                     whole and "integer of " or "", min, max, value),
              (level or 1) + 1)
    end
end


--- Raise unless `value` is nil or a key of `choices`.
---@param value string?
---@param name string
---@param choices table
---@param expected string the choices in words
---@param level integer
function _M.choice(value, name, choices, expected, level)
    if value ~= nil and not choices[value] then
        error(format("option \"%s\": %s expected, got \"%s\"", name, expected,
                     value), (level or 1) + 1)
    end
end


--- Raise unless `value` is nil or an integer within min..max.
---@param value integer?
---@param name string
---@param min integer
---@param max integer
---@param level integer
---@return integer?
function _M.integer(value, name, min, max, level)
    if value == nil then
        return nil
    end
    if type(value) ~= "number" or value % 1 ~= 0 or value < min
       or value > max then
        error(format("option \"%s\": integer of %d to %d expected", name, min,
                     max), (level or 1) + 1)
    end
    return value
end


--- Raise unless `value` is a string of min..max bytes.
---@param value string
---@param name string
---@param min integer
---@param max integer
---@param level integer
---@return string
function _M.bytes(value, name, min, max, level)
    if type(value) ~= "string" or #value < min or #value > max then
        error(format("option \"%s\": string of %d to %d bytes expected", name,
                     min, max), (level or 1) + 1)
    end
    return value
end


--- What a method calls that finds no handle in its self: called with a dot, or
--- on another table, it would hand C a null pointer. `self.handle or no_self()`
--- costs nothing in compiled code.
---@param what string
---@return fun() no_self raises at the caller of the method
function _M.no_self(what)
    local text = what .. " expected: call its methods with a colon"
    return function()
        error(text, 3)
    end
end


return _M
