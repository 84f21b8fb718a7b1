-- report.lua DIRECTORY NAME TOTAL USERS REQUESTS - the table and the proof.
--
-- Reads the log of all answers that wrk_flood.lua wrote and computes from it
-- what was sold to whom. The engine is asked last: its own counts and its audit
-- have to agree. Exits with 1 when a line of the proof fails.
--
-- An order is held from its first answer until its cancel is sent or its hold
-- ends, and for ever once it is confirmed. That is what the buyers can know,
-- and it is never more than what the engine has to account for: two orders of
-- one user, or more than TOTAL orders, that are held at the same moment are
-- wrong whatever the engine says.

local seckill = require("resty.seckill")


local DIRECTORY, NAME = arg[1], arg[2]
local TOTAL, USERS, REQUESTS = tonumber(arg[3]), tonumber(arg[4]),
                               tonumber(arg[5])
local KILL_MIN, KILL_MAX = TOTAL * 0.2, TOTAL * 0.8
local CLOCK_MARGIN = 0.02  -- seconds; expires_at is rounded to milliseconds
local FIELDS = { "seq", "op", "user", "id", "status", "code", "order",
                 "state", "remaining", "expires_at", "sent", "answered",
                 "worker", "token" }
-- A request with one of these was turned away before it reached the ledger.
local NO_ANSWER = { [401] = true, [403] = true, [429] = true, [503] = true }

local black = {}
local log = { answers = 0, users = {}, user_count = 0, codes = {}, ops = {},
              latencies = {}, first = math.huge, last = 0, lost = {},
              lost_count = 0 }
local requests = {}   -- request id -> what was answered to it
local orders = {}     -- order id -> what became of it
local sins = { oversold = 0, limit = 0, black = 0, different = 0,
               remaining = 0 }


local function split(line)
    local row, i = {}, 0
    for field in line:gmatch("[^\t]+") do
        i = i + 1
        row[FIELDS[i]] = field ~= "-" and field or nil
    end
    assert(i == #FIELDS, "a line of the log is not whole: " .. line)
    row.status = tonumber(row.status)
    row.sent, row.answered = tonumber(row.sent), tonumber(row.answered)
    return row
end


local function count_row(row)
    log.answers = log.answers + 1
    log.first = math.min(log.first, row.sent)
    log.last = math.max(log.last, row.answered)
    log.latencies[log.answers] = row.answered - row.sent
    if not log.users[row.user] then
        log.users[row.user] = true
        log.user_count = log.user_count + 1
    end
    local op = row.op == "again" and "reserve" or row.op
    local replayed = op == "reserve" and row.status == 200
    local key = ("%-8s %d  %s%s"):format(op, row.status,
                                         replayed and "replayed, " or "",
                                         row.code or row.state)
    log.codes[key] = (log.codes[key] or 0) + 1
end


local function request_of(id)
    requests[id] = requests[id] or { created = 0, refusals = {} }
    return requests[id]
end


local function order_of(row)
    local order = orders[row.order]
    if not order then
        order = { user = row.user, id = row.id, from = row.answered,
                  till = math.huge }
        orders[row.order] = order
    end
    order.from = math.min(order.from, row.answered)
    order.expires_at = order.expires_at or tonumber(row.expires_at)
    if row.state == "confirmed" then
        order.confirmed = true
    end
    return order
end


-- One request id: one order, created once, with one token.
local function see_identity(row)
    local seen = request_of(row.id)
    if row.status == 201 then
        seen.created = seen.created + 1
    end
    seen.order = seen.order or row.order
    seen.token = seen.token or row.token
    seen.since = math.min(seen.since or math.huge, row.answered)
    if seen.order ~= row.order or (row.token and row.token ~= seen.token) then
        seen.different = true
    end
    if row.op == "again" then
        seen.again = true
    end
end


local function see_row(row)
    count_row(row)
    if row.order and row.state then
        if black[row.user] then
            sins.black = sins.black + 1
        end
        see_identity(row)
        order_of(row)
        if row.remaining and tonumber(row.remaining) < 0 then
            sins.remaining = sins.remaining + 1
        end
    elseif row.op == "find" then
        request_of(row.id).unknown = true
    elseif (row.op == "reserve" or row.op == "again")
        and not NO_ANSWER[row.status] then
        local refusals = request_of(row.id).refusals
        refusals[#refusals + 1] = row.sent
    end
    if row.op == "cancel" then
        request_of(row.id).cancel_sent = row.sent
    end
end


local NOTES = {
    ["#kill"] = function(pid, available)
        log.pid, log.available = pid, tonumber(available)
    end,
    ["#after"] = function(_, available)
        log.after = tonumber(available)
    end,
    ["#lost"] = function(_, op, _, id, at)
        log.lost_count = log.lost_count + 1
        log.lost[log.lost_count] = { op = op, id = id, at = at }
    end,
    ["#end"] = function(why)
        log.finish = why
    end,
}


local function read_log()
    for line in io.lines(DIRECTORY .. "/blacklist") do
        black[line] = true
    end
    for line in io.lines(DIRECTORY .. "/answers") do
        local name, rest = line:match("^(#%a+)\t(.*)$")
        if name then
            local values = {}
            for value in rest:gmatch("[^\t]+") do
                values[#values + 1] = value
            end
            NOTES[name](unpack(values))
        else
            see_row(split(line))
        end
    end
end


-- A cancel that got no answer may have arrived, too.
local function end_orders()
    for _, lost in ipairs(log.lost) do
        if lost.op == "cancel" then
            request_of(lost.id).cancel_sent = tonumber(lost.at)
        end
    end
    for _, order in pairs(orders) do
        local cancelled = requests[order.id].cancel_sent
        if not order.confirmed then
            order.till = math.min(cancelled or math.huge,
                                  (order.expires_at or math.huge)
                                  - CLOCK_MARGIN)
        end
    end
end


-- Orders held at the same moment: the most, given a list of them.
local function peak(list)
    local events = {}
    for _, order in ipairs(list) do
        if order.till > order.from then
            events[#events + 1] = { order.from, 1 }
            events[#events + 1] = { order.till, -1 }
        end
    end
    table.sort(events, function(a, b)
        return a[1] < b[1] or a[1] == b[1] and a[2] < b[2]
    end)
    local held, most = 0, 0
    for _, event in ipairs(events) do
        held = held + event[2]
        most = math.max(most, held)
    end
    return most
end


local function judge_orders()
    local all, by_user = {}, {}
    log.confirmed, log.winners = 0, 0
    for _, order in pairs(orders) do
        all[#all + 1] = order
        by_user[order.user] = by_user[order.user] or {}
        table.insert(by_user[order.user], order)
        log.confirmed = log.confirmed + (order.confirmed and 1 or 0)
    end
    log.winners = #all
    log.most = peak(all)
    sins.oversold = math.max(0, log.confirmed - TOTAL, log.most - TOTAL)
                    + sins.remaining
    for _, list in pairs(by_user) do
        if peak(list) > 1 then
            sins.limit = sins.limit + 1
        end
    end
end


-- After its order was answered, a request id must not be refused.
local function refused_later(seen)
    for _, sent in ipairs(seen.refusals) do
        if seen.since and sent > seen.since then
            return true
        end
    end
    return false
end


local function judge_requests()
    log.again = 0
    for _, seen in pairs(requests) do
        if seen.different or seen.created > 1 or refused_later(seen) then
            sins.different = sins.different + 1
        end
        if seen.again then
            log.again = log.again + 1
        end
    end
    log.found, log.nothing, log.unresolved = 0, 0, 0
    for _, lost in ipairs(log.lost) do
        local seen = request_of(lost.id)
        local kind = seen.order and "found" or seen.unknown and "nothing"
                     or "unresolved"
        log[kind] = log[kind] + 1
    end
end


-- Lines of the error log that a sale must not write. The kill is one.
local function read_error_log()
    local bad, first = 0, nil
    for line in io.lines(DIRECTORY .. "/error.log") do
        local ours = line:find("exited on signal 9", 1, true)
                     and line:find(" " .. tostring(log.pid) .. " ", 1, true)
        if line:find("%[error%]") or line:find("%[crit%]")
            or line:find("%[alert%]") or line:find("%[emerg%]") then
            if not ours then
                bad, first = bad + 1, first or line
            end
        end
    end
    return bad, first
end


local function thousands(n)
    local text = ("%d"):format(n):reverse():gsub("(%d%d%d)", "%1,"):reverse()
    return (text:gsub("^,", ""))
end


local function say(text, ...)
    io.write(text:format(...), "\n")
end


local function print_speed()
    table.sort(log.latencies)
    local function percentile(p)
        return log.latencies[math.ceil(log.answers * p)] * 1000
    end
    local seconds = log.last - log.first
    say("\n%s answers in %.1f s: %s requests/s, p50 %.2f ms, p99 %.2f ms",
        thousands(log.answers), seconds, thousands(log.answers / seconds),
        percentile(0.5), percentile(0.99))
end


local function print_codes()
    local keys = {}
    for key in pairs(log.codes) do
        keys[#keys + 1] = key
    end
    table.sort(keys)
    say("\nANSWERS")
    for _, key in ipairs(keys) do
        say("  %-36s %9s", key, thousands(log.codes[key]))
    end
end


local function print_kill()
    say("\nworker %s got SIGKILL; available: %d by the answer before, %s by "
        .. "the next", log.pid, log.available, log.after or "?")
    say("%d answers were lost with it: %d with an order, %d where nothing "
        .. "happened", log.lost_count, log.found, log.nothing)
    say("%s orders were made for the %s units; at most %s were out at once",
        thousands(log.winners), thousands(TOTAL), thousands(log.most))
end


local failed = false


local function prove(what, expected, measured, ok)
    if ok == nil then
        ok = expected == measured
    end
    failed = failed or not ok
    local function text(value)
        return type(value) == "number" and thousands(value)
               or tostring(value)
    end
    say("  %-36s %12s %12s   %s", what, text(expected), text(measured),
        ok and "ok" or "FAILED")
end


local function prove_engine()
    local engine = assert(seckill.open { name = NAME })
    local item = assert(engine.stock:get("phone"))
    prove("engine: sold", TOTAL, item.sold)
    prove("engine: available + reserved", 0, item.available + item.reserved)
    local audit = assert(engine.stock:audit())
    prove("audit", "ok", audit.ok and "ok" or "not ok")
    for _, problem in ipairs(audit.problems) do
        say("    %s", problem)
    end
    engine:close()
end


local function in_window(available)
    return available ~= nil and available >= KILL_MIN and available <= KILL_MAX
end


local function print_proof()
    say("\n%-38s %12s %12s", ("PROOF from %s logged answers"):format(
        thousands(log.answers)), "expected", "measured")
    prove("confirmed", TOTAL, log.confirmed)
    prove("oversold", 0, sins.oversold)
    prove("users over limit", 0, sins.limit)
    prove("blocked users served", 0, sins.black)
    prove("ids answered differently", 0, sins.different)
    prove("winners asked again", log.winners, log.again)
    prove("lost answers unresolved", 0, log.unresolved)
    prove("available at the kill", ("%d..%d"):format(KILL_MIN, KILL_MAX),
          log.available or "-", in_window(log.available)
          and in_window(log.after))
    prove("answers", ">= " .. thousands(REQUESTS), log.answers,
          log.answers >= REQUESTS)
    prove("users", USERS, log.user_count)
    prove("the sale came to its end", "complete", log.finish or "no")
    local bad, first = read_error_log()
    prove("errors in nginx's log", 0, bad)
    if first then
        say("    %s", first)
    end
    prove_engine()
end


read_log()
assert(log.answers > 0, "the log has no answers")
end_orders()
judge_orders()
judge_requests()
print_speed()
print_codes()
if log.pid then
    print_kill()
end
print_proof()
say("\n%s\n", failed and "FAILED: a line of the proof does not hold."
    or "All of it holds.")
os.exit(failed and 1 or 0)
