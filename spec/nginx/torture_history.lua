-- What a tormented sale must look like: answers that clients got, against the
-- records of the log. For torture_spec.
--
-- records are taken one after another, as the feed hands them on; answers are
-- noted as they come. problems() compares them, in O(n):
--   - LSNs ascend, and are missing only where the feed leaves records out: two
--     at most (the id, and the user) for each order older than the window; no
--     item is oversold at any LSN; after each record the item is what it was,
--     changed by that record;
--   - a request id has one reservation, at most one end of each kind;
--   - each answer is in the log: same id, item, user, qty. One may be missing
--     if it was async and its life was lost with the memory, and only behind
--     the LSN at which the next life began, which the server tells: the first
--     records of a life may be of those that the feed leaves out;
--   - what was answered before a request began has no later LSN (in one life).
--
-- A life is an incarnation of the ledger.

local _M = {}
local mt = { __index = _M }

local PROBLEMS = 10
-- What becomes of available, reserved and sold, for each unit of the record.
local MOVES = {
    hold = { -1, 1, 0 }, sale = { -1, 0, 1 }, confirm = { 0, -1, 1 },
    cancel = { 1, -1, 0 }, expire = { 1, -1, 0 }, refund = { 1, 0, -1 },
}
local ENDS = { confirm = true, cancel = true }
local RETIRES = 2 -- records without a consumer at the end of an order


--- window: seconds after which the id of an order may retire.
function _M.new(window)
    return setmetatable({
        lsn = 0, records = 0, lives = {}, items = {}, orders = {}, by_id = {},
        answers = {}, found = {}, found_count = 0, lost = 0, window = window,
        made = {}, old = 0, left_out = 0, begun = {},
    }, mt)
end


function _M:problem(...)
    self.found_count = self.found_count + 1
    if self.found_count <= PROBLEMS then
        self.found[#self.found + 1] = string.format(...)
    end
end


-- ---- The log --------------------------------------------------------------

local function move_item(self, r)
    local item = self.items[r.item]
    if r.type == "put" then
        self.items[r.item] = { available = r.available, reserved = r.reserved,
                               sold = r.sold }
        return
    end
    local kind = r.type == "reserve"
                 and (r.state == "confirmed" and "sale" or "hold") or r.type
    local move = MOVES[kind]
    if not item or not move then
        return
    end
    if r.available ~= item.available + move[1] * r.qty
       or r.reserved ~= item.reserved + move[2] * r.qty
       or r.sold ~= item.sold + move[3] * r.qty
       or math.min(r.available, r.reserved, r.sold) < 0 then
        self:problem("LSN %d: %s of %d %s: %d + %d + %d", r.lsn, kind, r.qty,
                     r.item, r.available, r.reserved, r.sold)
    end
    item.available, item.reserved, item.sold = r.available, r.reserved, r.sold
end


-- LSNs between this record and the one before it.
local function leave_out(self, r)
    while self.made[self.old + 1]
          and self.made[self.old + 1] <= r.time - self.window do
        self.old = self.old + 1
    end
    self.left_out = self.left_out + r.lsn - self.lsn - 1
    if self.left_out > RETIRES * self.old then
        self:problem("LSN %d comes after %d", r.lsn, self.lsn)
        self.left_out = RETIRES * self.old
    end
end


local function take_order(self, r)
    if self.orders[r.request_id] then
        self:problem("LSN %d: %s is executed again", r.lsn, r.request_id)
    end
    local order = { id = r.id, item = r.item, user = r.user, qty = r.qty,
                    lsn = r.lsn,
                    ended = r.state == "confirmed" and "confirm" or nil }
    self.orders[r.request_id], self.by_id[r.id] = order, order
    self.made[#self.made + 1] = r.time
end


local function take_end(self, r)
    local order = self.by_id[r.id]
    if not order then
        self:problem("LSN %d: %s of an unknown order", r.lsn, r.type)
    elseif order.ended then
        self:problem("LSN %d: %s after %s", r.lsn, r.type, order.ended)
    else
        order.ended = r.type
    end
end


--- A life goes on from this LSN; the first word on it counts.
function _M:life(life, lsn)
    self.begun[life] = self.begun[life] or lsn
end


--- How many lives there were, also those that left no record.
---@return integer
function _M:life_count()
    local n = 0
    for _ in pairs(self.begun) do
        n = n + 1
    end
    return n
end


--- The next record: lsn, life, time, type, id, item, user, qty, request_id,
--- available, reserved, sold, state. One that was handed on before is passed
--- over.
function _M:record(r)
    if r.lsn <= self.lsn then
        return
    end
    leave_out(self, r)
    local last = self.lives[#self.lives]
    if not last or last.life ~= r.life then
        if last and last.life > r.life then
            self:problem("LSN %d: life %d after %d", r.lsn, r.life, last.life)
        end
        self.lives[#self.lives + 1] = { life = r.life }
    end
    self.lsn, self.records = r.lsn, self.records + 1
    move_item(self, r)
    if r.type == "reserve" then
        take_order(self, r)
    elseif ENDS[r.type] or r.type == "expire" then
        take_end(self, r)
    end
end


-- ---- Answers --------------------------------------------------------------

--- An answer: kind (reserve, confirm, cancel), code ("ok" or a refusal), life,
--- lsn (0: not known), sync, first (not a replay), from, to (times), request,
--- id, item, user, qty.
function _M:answer(a)
    self.answers[#self.answers + 1] = a
end


-- The last LSN that was kept of a life and those before it.
local function end_of(self, life)
    local last = math.huge
    for other, lsn in pairs(self.begun) do
        if other > life then
            last = math.min(last, lsn)
        end
    end
    return last
end


local function same(order, a)
    return order.id == a.id and order.item == a.item and order.user == a.user
           and order.qty == a.qty and order.lsn == a.lsn
end


-- Is it gone with the memory, as it may be?
local function is_lost(self, a)
    if a.lsn <= end_of(self, a.life) then
        return false
    end
    if a.sync then
        self:problem("%s was answered durably at LSN %d, and is lost",
                     a.request, a.lsn)
    end
    self.lost = self.lost + 1
    return true
end


local function check_reserve(self, a)
    if is_lost(self, a) then
        return
    end
    local order = self.orders[a.request]
    if not order then
        self:problem("%s was answered at LSN %d of life %d, and is not in the "
                     .. "log", a.request, a.lsn, a.life)
    elseif not same(order, a) then
        self:problem("%s was answered otherwise: %s at %d, not %s at %d",
                     a.request, a.id, a.lsn, order.id, order.lsn)
    end
end


-- Where its LSN is not known it was durable.
local function check_end(self, a)
    local order = self.by_id[a.id]
    if a.lsn > 0 and is_lost(self, a) then
        return
    end
    if not order or order.ended ~= a.kind then
        self:problem("%s of %s was answered, the log says %s", a.kind, a.id,
                     order and order.ended or "nothing")
    end
end


-- Answers with a known LSN, by life: a replay tells the LSN of the first one.
local function by_life(self)
    local lives = {}
    for _, a in ipairs(self.answers) do
        if a.lsn > 0 and a.first then
            lives[a.life] = lives[a.life] or {}
            table.insert(lives[a.life], a)
        end
    end
    return lives
end


-- `ended` is in the order of the ends, as they were noted.
local function check_order(self, ended)
    local begun, newest, i = {}, 0, 1
    for k, a in ipairs(ended) do
        begun[k] = a
    end
    table.sort(begun, function(a, b) return a.from < b.from end)
    for _, a in ipairs(begun) do
        while ended[i] and ended[i].to < a.from do
            newest = math.max(newest, ended[i].lsn)
            i = i + 1
        end
        if a.lsn < newest then
            self:problem("%s: LSN %d, though %d was answered before it began",
                         a.request, a.lsn, newest)
        end
    end
end


--- Compare everything: a text of what is wrong, "" when nothing is.
function _M:problems()
    for _, a in ipairs(self.answers) do
        if a.code == "ok" then
            (a.kind == "reserve" and check_reserve or check_end)(self, a)
        end
    end
    for _, answers in pairs(by_life(self)) do
        check_order(self, answers)
    end
    if self.found_count > PROBLEMS then
        self.found[#self.found + 1] = "... " .. self.found_count
    end
    return table.concat(self.found, "\n")
end


return _M
