--- cli/args.lua - the command line of a program, checked against a table.
--
-- A command is described by data: positional arguments, options, their kinds.
-- parse() gives the values or nil and one sentence that names the culprit; it
-- never raises, whatever the command line holds. help() is made from the same
-- table, so that it cannot differ.
--
--   option = { name = "total", kind = "count", value = "N", help = "..." ,
--              short = "n", required = true, default = 10, one_of = {...},
--              max = 2^40 }
--   positional = { name = "ITEM", kind = "id", optional = true }
--   the last one: rest = true, a list of all that is left

local format = string.format
local ipairs = ipairs
local concat = table.concat
local tonumber = tonumber


local _M = { _VERSION = "0.1.0" }

local COUNT_MAX = 2^53 - 1
local TIME_MAX = 9e9
local HELP_COLUMN = 24


-- ---- Kinds of values ------------------------------------------------------

local kinds = {}


function kinds.string(text)
    if text == "" then
        return nil, "is empty"
    end
    return text
end


-- Whatever it is; a command says what is wrong with it.
function kinds.any(text)
    return text
end


function kinds.id(text)
    if #text < 1 or #text > 64 then
        return nil, format("has %d bytes; 1 to 64 expected", #text)
    end
    return text
end


function kinds.name(text)
    if #text > 32 or not text:find("^[a-z0-9_-]+$") then
        return nil, "is not 1 to 32 of a-z 0-9 _ -"
    end
    return text
end


local function integer(text, min, pattern)
    local value = text:find(pattern) and #text <= 17 and tonumber(text)
    if not value or value > COUNT_MAX or value < min then
        return nil
    end
    return value
end


function kinds.count(text)
    local value = integer(text, 0, "^%d+$")
    if not value then
        return nil, "is not a whole number from 0 below 2^53"
    end
    return value
end


function kinds.positive(text)
    local value = integer(text, 1, "^%d+$")
    if not value then
        return nil, "is not a whole number from 1 below 2^53"
    end
    return value
end


function kinds.delta(text)
    local value = integer(text, -COUNT_MAX, "^[+-]?%d+$")
    if not value or value == 0 then
        return nil, "is not a whole number other than 0"
    end
    return value
end


function kinds.seconds(text)
    local value = text:find("^%d+%.?%d*$") and tonumber(text)
    if not value or value > TIME_MAX then
        return nil, "is not a number of seconds from 0"
    end
    return value
end


-- Days from 1970-01-01, proleptic Gregorian.
local function days(year, month, day)
    year = month <= 2 and year - 1 or year
    local era = math.floor(year / 400)
    local of_era = year - era * 400
    local shifted = month > 2 and month - 3 or month + 9
    local of_year = math.floor((153 * shifted + 2) / 5) + day - 1
    return era * 146097 + of_era * 365 + math.floor(of_era / 4)
           - math.floor(of_era / 100) + of_year - 719468
end


local MONTH = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }


local function is_date(year, month, day)
    local leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
    return MONTH[month] and day >= 1
           and day <= MONTH[month] + (leap and month == 2 and 1 or 0)
end


local function utc(text)
    local y, mo, d, h, mi, s =
        text:match("^(%d%d%d%d)-(%d%d)-(%d%d)T(%d%d):(%d%d):(%d%d)Z$")
    if not y then
        return nil
    end
    y, mo, d, h, mi, s = tonumber(y), tonumber(mo), tonumber(d), tonumber(h),
        tonumber(mi), tonumber(s)
    if y < 1970 or y > 2250 or not is_date(y, mo, d) or h > 23 or mi > 59
       or s > 59 then
        return nil
    end
    return days(y, mo, d) * 86400 + h * 3600 + mi * 60 + s
end


function kinds.time(text)
    local value = utc(text) or kinds.seconds(text)
    if not value then
        return nil, "is neither a time as 2026-11-11T00:00:00Z nor seconds "
            .. "since 1970"
    end
    return value
end


local function quote(text)
    local shown = #text > 40 and text:sub(1, 40) .. "..." or text
    return '"' .. shown:gsub("[%c\127-\255]", function(c)
        return format("\\x%02x", c:byte())
    end) .. '"'
end
_M.quote = quote


-- ---- Parsing --------------------------------------------------------------

local function convert(spec, label, text)
    if spec.one_of then
        for _, known in ipairs(spec.one_of) do
            if text == known then
                return text
            end
        end
        return nil, format("%s: %s is none of %s", label, quote(text),
                           concat(spec.one_of, ", "))
    end
    local value, why = kinds[spec.kind](text)
    if value == nil then
        return nil, format("%s: %s %s", label, quote(text), why)
    end
    if spec.max and value > spec.max then
        return nil, format("%s: %s is over %.0f", label, quote(text), spec.max)
    end
    return value
end


local function find(options, key, value)
    for _, spec in ipairs(options) do
        if spec[key] == value then
            return spec
        end
    end
end


-- Splits what follows argv[at]: spec, inline value, label. nil, why.
local function split(options, word)
    local name, inline = word:match("^%-%-([^=]+)=(.*)$")
    local spec
    if word:sub(1, 2) == "--" then
        name = name or word:sub(3)
        spec = find(options, "name", name)
        if not spec then
            return nil, "unknown option --" .. quote(name):sub(2, -2)
        end
        return spec, inline, "option --" .. spec.name
    end
    spec = find(options, "short", word:sub(2, 2))
    if not spec then
        return nil, "unknown option " .. quote(word):sub(2, -2)
    end
    inline = #word > 2 and word:sub(3) or nil
    return spec, inline, "option -" .. spec.short
end


-- Takes the option at argv[at]; answers the next index.
local function take_option(options, argv, at, values)
    local spec, inline, label = split(options, argv[at])
    if not spec then
        return nil, inline
    end
    if values[spec.name] ~= nil then
        return nil, label .. " was given twice"
    end
    if not spec.kind and not spec.one_of then
        if inline then
            return nil, label .. " takes no value"
        end
        values[spec.name] = true
        return at + 1
    end
    if not inline then
        at = at + 1
        inline = argv[at]
        if not inline or inline:find("^%-%-.") then
            return nil, format("%s needs a value: %s", label, spec.value)
        end
    end
    local value, why = convert(spec, label, inline)
    if value == nil then
        return nil, why
    end
    values[spec.name] = value
    return at + 1
end


local function is_option(word)
    return word:sub(1, 1) == "-" and #word > 1 and not word:find("^%-%d")
end


-- Options into `values`; the other words in order.
local function scan(options, argv, from, values)
    local words, at = {}, from
    while at <= #argv do
        local word = argv[at]
        if word == "--" then
            for i = at + 1, #argv do
                words[#words + 1] = argv[i]
            end
            return words
        end
        if is_option(word) then
            local why
            at, why = take_option(options, argv, at, values)
            if not at then
                return nil, why
            end
        else
            words[#words + 1] = word
            at = at + 1
        end
    end
    return words
end


-- All words from `from` on; nil, why.
local function convert_rest(spec, words, from)
    local list = {}
    for i = from, #words do
        local value, why = convert(spec, spec.name, words[i])
        if value == nil then
            return nil, why
        end
        list[#list + 1] = value
    end
    return list
end


local function assign(positionals, words, values)
    for i, spec in ipairs(positionals) do
        if spec.rest and (words[i] or spec.optional) then
            local why
            values[spec.name], why = convert_rest(spec, words, i)
            return values[spec.name] and true, why
        elseif words[i] then
            local value, why = convert(spec, spec.name, words[i])
            if value == nil then
                return nil, why
            end
            values[spec.name] = value
        elseif not spec.optional then
            return nil, spec.name .. " is missing"
        end
    end
    if #words > #positionals then
        return nil, "too many arguments: "
            .. quote(words[#positionals + 1])
    end
    return true
end


--- Parse argv[from ...] for a command.
---@param command { positionals: table[]?, options: table[] }
---@param argv string[]
---@param from integer
---@return table<string, any>? values by name; `help` alone when it was asked
---@return string? why not
function _M.parse(command, argv, from)
    local values = {}
    local words, why = scan(command.options, argv, from, values)
    if values.help then
        return values
    end
    if not words then
        return nil, why
    end
    local ok
    ok, why = assign(command.positionals or {}, words, values)
    if not ok then
        return nil, why
    end
    for _, spec in ipairs(command.options) do
        if values[spec.name] == nil then
            if spec.required then
                return nil, format("option --%s is missing: %s", spec.name,
                                   spec.help)
            end
            values[spec.name] = spec.default
        end
    end
    return values
end


-- ---- Help -----------------------------------------------------------------

local function option_label(spec)
    local short = spec.short and "-" .. spec.short .. ", " or ""
    local value = spec.value and " " .. spec.value or ""
    return short .. "--" .. spec.name .. value
end


--- Two columns; a long first one gets a line of its own.
---@param rows string[][] { left, right }
---@return string
function _M.columns(rows)
    local lines = {}
    for _, row in ipairs(rows) do
        local left = "  " .. row[1]
        if #left > HELP_COLUMN - 2 then
            lines[#lines + 1] = left
            left = ""
        end
        for line in (row[2] .. "\n"):gmatch("(.-)\n") do
            lines[#lines + 1] = left .. (" "):rep(HELP_COLUMN - #left) .. line
            left = ""
        end
    end
    return concat(lines, "\n") .. "\n"
end


--- The rows of columns() for the options of a command.
---@param options table[]
---@return string[][]
function _M.option_rows(options)
    local rows = {}
    for _, spec in ipairs(options) do
        local note = spec.default and format(" (%s)", spec.default) or ""
        rows[#rows + 1] = { option_label(spec), spec.help .. note }
    end
    return rows
end


return _M
