-- admission.lua - the admission pipeline: a list of steps, run in order.
--
-- A step is a table with a method `enter(ctx)`, which answers true (or a
-- result) or nil, code, retry_after, and, where it takes something, a method
-- `undo(ctx)` that gives it back. When a step refuses or raises, the steps
-- before it are undone in reverse order; what was raised is raised again. So
-- a request that is refused at the stock costs its user no tokens.
--
-- ctx = { user, ip, item, qty, request_id, now } is the caller's table and may
-- be used again for the next request. Nothing here yields, and steps must not
-- yield: the tickets of limiter steps are one for each step and Lua VM.
-- Nothing is allocated for a request, no closure is made.

local args = require("resty.seckill.args")
local combine = require("resty.seckill.combine")
local ratelimit = require("resty.seckill.ratelimit")
local unroll = require("resty.seckill.unroll")


local assert = assert
local concat = table.concat
local error = error
local fill = unroll.fill
local format = string.format
local insert = table.insert
local ipairs = ipairs
local load = load
local pcall = pcall
local setmetatable = setmetatable
local type = type
local unpack = unpack


---@class seckill.admission
local _M = { _VERSION = "0.1.0" }
local mt = { __index = _M }

local STEPS_MAX = 32


local function check_step(step, i)
    if type(step) ~= "table" or type(step.enter) ~= "function" then
        error(format("step %d: table with a method enter expected", i), 3)
    end
    if step.undo ~= nil and type(step.undo) ~= "function" then
        error(format("step %d: undo is not a function", i), 3)
    end
end


-- The two passes over the steps are written out, step by step, as source and
-- loaded once: LuaJIT does not compile a function whose loop runs only a few
-- times, and leaves it to the interpreter. self.at is the step that runs:
-- after an error it says how far things went.
local ENTER = [[
    self.at = ${i}
    answer, code, retry_after, detail = s${i}:enter(ctx)
    if not answer then
        return nil, code, retry_after, detail
    end
    if answer ~= true then
        result = answer
    end
]]

-- An undo that raises does not keep the others from being called; the first
-- error is answered.
local UNDO = [[
    if at > ${i} then
        ok, err = pcall(s${i}.undo, s${i}, ctx)
        if not ok and not first_err then
            first_err = err
        end
    end
]]

local SOURCE = [[
local pcall, ${names} = ...

local function enter_all(self, ctx)
    local result = true
    local answer, code, retry_after, detail
    ${enter}
    return result
end

local function undo_before(at, ctx)
    local ok, err, first_err
    ${undo}
    return first_err
end

return enter_all, undo_before
]]


local function compile(steps)
    local names, enter, undo = {}, {}, {}
    for i, step in ipairs(steps) do
        names[i] = "s" .. i
        enter[i] = fill(ENTER, { i = i })
        if step.undo then
            insert(undo, 1, fill(UNDO, { i = i }))
        end
    end
    local source = fill(SOURCE, { names = concat(names, ", "),
                                  enter = concat(enter),
                                  undo = concat(undo) })
    return assert(load(source, "=admission", "t"))(pcall, unpack(steps))
end


--- A pipeline of the given steps.
---@param steps table[]
---@return seckill.admission
function _M.new(steps)
    if type(steps) ~= "table" or #steps < 1 or #steps > STEPS_MAX then
        error(format("list of 1 to %d steps expected", STEPS_MAX), 2)
    end
    local copy = {}
    for i, step in ipairs(steps) do
        check_step(step, i)
        copy[i] = step
    end
    local self = { steps = copy, at = 0, delays = false }
    for _, step in ipairs(copy) do
        self.delays = self.delays or step.delays or false
    end
    self.enter_all, self.undo_before = compile(copy)
    return setmetatable(self, mt)
end


--- Run the steps. On success: the result of the last step that gave one (the
--- stock step: the reservation), else true. On refusal: nil, the code, seconds
--- after which a retry makes sense (or nil), the name of the step, and what
--- the step said beyond that (the stock step: the id of a pending order).
---@param ctx table
---@return table|true|nil result
---@return string? code
---@return number? retry_after
---@return string? step
---@return any detail
function _M:run(ctx)
    if self.delays then
        ctx.delay = 0
    end
    local ok, result, code, retry_after, detail =
        pcall(self.enter_all, self, ctx)
    if ok and result then
        return result
    end
    local at = self.at
    local undo_err = self.undo_before(at, ctx)
    if not ok then
        error(result, 0)
    end
    if undo_err then
        error(undo_err, 0)
    end
    return nil, code, retry_after, self.steps[at].name, detail
end


--- True when a step reads this field of ctx (steps made by this module).
---@param field string
---@return boolean
function _M:reads(field)
    for _, step in ipairs(self.steps) do
        if step.field == field then
            return true
        end
    end
    return false
end


local List = {}
local list_mt = { __index = List }


function List:enter(ctx)
    local denied, reason = self.list:match(ctx[self.field])
    if denied then
        ctx.reason = reason
        return nil, "blocked"
    end
    if denied == nil then
        return nil, reason
    end
    return true
end


local function check_object(object, method, what)
    if type(object) ~= "table" or type(object[method]) ~= "function" then
        error(what .. " expected", 3)
    end
end


local function check_field(field, default)
    if field == nil then
        return default
    end
    args.bytes(field, "field", 1, 64, 3)
    return field
end


--- A step that refuses (`blocked`) whom the list denies. The reason is left in
--- ctx.reason, for the log.
---@param list table an access list of the engine
---@param field string? of ctx; default "user"
---@return table step
function _M.access_list(list, field)
    check_object(list, "match", "access list")
    return setmetatable({ name = "access_list", list = list,
                          field = check_field(field, "user") }, list_mt)
end


local Limiter = { delays = true }
local limiter_mt = { __index = Limiter }


-- Add the answer to ctx.limits, for the header fields.
local function note_limit(self, limits)
    local n = limits.n + 1
    limits[n] = ratelimit.result(self.limiter, self.result)
    limits.n = n
end


function Limiter:enter(ctx)
    local delay, rest, retry_after =
        self.limiter:incoming(ctx[self.field], true, self.cost, self.ticket)
    local limits = ctx.limits
    if limits and self.result and (delay or rest == "rejected") then
        note_limit(self, limits)
    end
    if not delay then
        return nil, rest, retry_after
    end
    if delay > ctx.delay then
        ctx.delay = delay
    end
    return true
end


function Limiter:undo()
    self.limiter:uncommit(self.ticket)
end


local LIMITER_OPTIONS = { cost = "number", name = "string" }


-- The ticket of a step is used again by the next request: a permit that is held
-- until a request ends would be lost.
local function check_limiter(limiter, level)
    if type(limiter) ~= "table" or type(limiter.incoming) ~= "function" then
        error("limiter expected", level + 1)
    end
    if limiter.algorithm == "concurrency" then
        error("a step cannot hold a permit of a concurrency limiter: call"
              .. " incoming and leaving yourself", level + 1)
    end
end


--- A step that asks a limiter, and gives back what it took when a later step
--- refuses. The longest delay of all limiters is left in ctx.delay. Where
--- ctx.limits is a list with a length `n`, the answer is added to it for
--- resty.seckill.ratelimit.
---@param limiter table a limiter of the engine
---@param field string? of ctx, the key; default "user"
---@param opts { cost: integer?, name: string? }?
---@return table step
function _M.limiter(limiter, field, opts)
    check_limiter(limiter, 2)
    opts = opts or {}
    args.check(opts, LIMITER_OPTIONS, 2)
    local cost = args.integer(opts.cost, "cost", 1, 2 ^ 31 - 1, 2) or 1
    return setmetatable({ name = opts.name or "limiter", limiter = limiter,
                          field = check_field(field, "user"), cost = cost,
                          result = limiter.handle and {},
                          ticket = combine.ticket() }, limiter_mt)
end


local Combine = { delays = true }
local combine_mt = { __index = Combine }


function Combine:enter(ctx)
    local keys, fields = self.keys, self.fields
    for i = 1, #fields do
        keys[i] = ctx[fields[i]]
    end
    local delay, code, retry_after, mask =
        combine.combine(self.limiters, keys, self.ticket)
    if not delay then
        ctx.mask = mask
        return nil, code, retry_after
    end
    if delay > ctx.delay then
        ctx.delay = delay
    end
    return true
end


function Combine:undo()
    combine.uncommit(self.ticket)
end


local COMBINE_OPTIONS = { name = "string" }


--- A step that asks several limiters at one instant: all are charged or none
--- is. ctx.mask says which refused (bit i: limiters[i + 1]).
---@param limiters table[] 1 to 8 limiters of the engine
---@param fields string[] of ctx, the key for each
---@param opts { name: string? }?
---@return table step
function _M.combine(limiters, fields, opts)
    if type(limiters) ~= "table" or #limiters < 1
       or #limiters > combine.RULES_MAX then
        error(format("list of 1 to %d limiters expected", combine.RULES_MAX),
              2)
    end
    if type(fields) ~= "table" or #fields ~= #limiters then
        error("list of a field for each limiter expected", 2)
    end
    opts = opts or {}
    args.check(opts, COMBINE_OPTIONS, 2)
    local rules, names = {}, {}
    for i, limiter in ipairs(limiters) do
        check_limiter(limiter, 2)
        if not limiter.handle then
            error("limiter of the engine expected", 2)
        end
        rules[i] = limiter
        names[i] = check_field(fields[i], nil)
    end
    return setmetatable({ name = opts.name or "combine", limiters = rules,
                          fields = names, keys = {},
                          ticket = combine.ticket() }, combine_mt)
end


local Stock = {}
local stock_mt = { __index = Stock }


-- `pending` brings the id of the order where other codes have nothing.
function Stock:enter(ctx)
    local order, code, id = self.stock:reserve(ctx.item, ctx.user, ctx.qty,
                                               ctx.request_id)
    ctx.order = order
    if order then
        return order
    end
    return nil, code, nil, id
end


function Stock:undo(ctx)
    local order = ctx.order
    ctx.order = nil
    if order and not order.replayed then
        self.stock:cancel(order.id)
    end
end


--- The step that reserves. It belongs at the end: when a later step refuses,
--- the reservation is cancelled, which only an item with a hold allows, and
--- the request id is used up.
---@param stock table engine.stock
---@return table step
function _M.stock(stock)
    check_object(stock, "reserve", "engine.stock")
    return setmetatable({ name = "stock", stock = stock }, stock_mt)
end


return _M
