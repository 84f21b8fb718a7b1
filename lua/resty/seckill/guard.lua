-- guard.lua - what breakers and shedders share: options, permits, latencies.
--
-- A list of NUMBERS says how an option stands in the C struct:
--     option = { field, least, most, factor, flags... }
--     integer: a whole number is wanted
--     off: 0 or false turns it off, which is -1 in the struct
--     zero: what 0 is in the struct
-- In the struct 0 stands for an option that was not given. Besides numbers
-- there is `mode`.

local ffi = require("ffi")
local args = require("resty.seckill.args")


local error = error
local format = string.format
local pairs = pairs
local tonumber = tonumber
local type = type


local _M = { _VERSION = "0.1.0" }

local NS = 1e9
-- What a latency may be in C: 292 years.
local LATENCY_MAX = 9e9

local MODES = { enforce = 1, shadow = 2 }
local MODE_NAMES = { "enforce", "shadow" }


-- ---- Options -------------------------------------------------------------

--- The types of options, for args.check.
---@param numbers table<string, table> NUMBERS
---@return table<string, string> types
function _M.types(numbers)
    local types = { mode = "string" }
    for name in pairs(numbers) do
        types[name] = "number"
    end
    return types
end


-- `false` is 0: off.
local function without_false(opts, numbers)
    local copy = {}
    for name, value in pairs(opts) do
        local spec = numbers[name]
        copy[name] = value == false and spec and spec.off and 0 or value
    end
    return copy
end


local function set_number(o, name, value, spec, level)
    if spec.off and value == 0 then
        o[spec[1]] = -1
        return
    end
    args.range(value, name, spec[2], spec[3], level + 1, spec.integer)
    o[spec[1]] = value == 0 and spec.zero or value * spec[4]
end


--- The C struct of options. Raises for what is wrong; what is neither a number
--- nor the mode is checked by its type and left to the caller.
---@param struct string C type
---@param opts table
---@param numbers table<string, table> NUMBERS
---@param types table<string, string>
---@param level integer as for error(), seen from the caller
---@return ffi.cdata* options
function _M.to_struct(struct, opts, numbers, types, level)
    if type(opts) == "table" then
        opts = without_false(opts, numbers)
    end
    args.check(opts, types, level + 1)
    args.choice(opts.mode, "mode", MODES, "\"enforce\" or \"shadow\"",
                level + 1)
    local o = ffi.new(struct)
    o.struct_size = ffi.sizeof(o)
    o.mode = MODES[opts.mode] or 0
    for name, value in pairs(opts) do
        if numbers[name] then
            set_number(o, name, value, numbers[name], level + 1)
        end
    end
    return o
end


--- Options from the C struct: numbers and mode; what is off is nil.
---@param o ffi.cdata*
---@param numbers table<string, table> NUMBERS
---@return table options
function _M.from_struct(o, numbers)
    local opts = { mode = MODE_NAMES[o.mode] }
    for name, spec in pairs(numbers) do
        local value = tonumber(o[spec[1]])
        opts[name] = value > 0 and value / spec[4] or nil
    end
    return opts
end


-- ---- Permits and latencies: of each request ------------------------------

--- Can it be a permit? C knows whether it is one.
---@param permit any
---@return boolean
function _M.is_permit(permit)
    return type(permit) == "number" and permit >= 1 and permit < 2^53
        and permit % 1 == 0
end


--- Raise at the caller of the method that calls this.
---@param permit any
---@param what string whose permit it is not
function _M.not_a_permit(permit, what)
    error("permit of this " .. what .. " expected, got "
          .. (type(permit) == "number" and format("%.17g", permit)
              or type(permit)), 3)
end


--- A latency for C. Raises, for another type, at the caller of the method that
--- calls this.
---@param latency number seconds; any
---@return number ns of NaN and what is below 0: 0
function _M.latency_ns(latency)
    if type(latency) ~= "number" then
        error("latency: number expected, got " .. type(latency), 3)
    end
    local most = latency < LATENCY_MAX and latency or LATENCY_MAX
    return latency > 0 and most * NS or 0
end


return _M
