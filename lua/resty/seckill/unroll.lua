-- unroll.lua - code that is written out for each number of arguments.
--
-- LuaJIT does not compile a function whose loop runs only a few times, and
-- leaves it to the interpreter. So what combine and check do for each of their
-- arguments is repeated as source and loaded once, for each length of list. The
-- sources of admission and limit.traffic are filled in here, too.

local concat = table.concat
local gsub = string.gsub
local load = load
local pairs = pairs
local assert = assert


local _M = { _VERSION = "0.1.0" }


local function repeated(text, n, glue)
    local parts = {}
    for i = 1, n do
        parts[i] = gsub(text, "%$([ij])", { i = i, j = i - 1 })
    end
    return concat(parts, glue)
end


--- Source of a template in which ${name} stands for values[name].
---@param template string
---@param values table<string, string|integer>
---@return string
function _M.fill(template, values)
    return (gsub(template, "%${(%w+)}", values))
end


--- Functions for lists of 1 to `max` elements. In `source` ${n} is the length,
--- ${name} stands for parts[name][1] repeated with parts[name][2] in between,
--- in which $i counts from 1 and $j from 0. The other arguments are what the
--- source gets as `...`; it returns the function.
---@param source string
---@param max integer
---@param name string of the chunk
---@param parts table<string, string[]>
---@return function[]
function _M.compile(source, max, name, parts, ...)
    local calls = {}
    for n = 1, max do
        local values = { n = n }
        for key, part in pairs(parts) do
            values[key] = repeated(part[1], n, part[2])
        end
        local text = _M.fill(source, values)
        calls[n] = assert(load(text, "=" .. name, "t"))(...)
    end
    return calls
end


return _M
