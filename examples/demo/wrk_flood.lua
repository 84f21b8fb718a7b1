-- wrk_flood.lua - the buyers of the demo, as a script of wrk (one thread).
--
-- Phases:
--   paced   a full flood, but only so many new buyers each second, so that
--           the sale lasts long enough to kill a worker in the middle of it
--   burst   few enough units are left: every connection gets a new buyer, and
--           with all these requests in flight one worker gets SIGKILL
--   flood   everybody at once, until all units are confirmed
--   again   every winner's request id once more, then GET /find for what never
--           got an answer
-- The flood of other requests goes on through all of them: black-listed users,
-- repeats of a request id, winners who want a second unit, winners who hammer.
--
-- Every answer becomes a line of the log, from which report.lua computes the
-- proof: this script decides nothing about right and wrong. What nginx answers
-- carries the number of the request (X-Demo-Seq), so that an answer is never
-- taken for that of another request.

local ffi = require("ffi")


local DIRECTORY = os.getenv("DEMO_DIR")
local MASTER = tonumber(os.getenv("DEMO_MASTER"))
local USERS = tonumber(os.getenv("DEMO_USERS"))
local TOTAL = tonumber(os.getenv("DEMO_TOTAL"))
local REQUESTS = tonumber(os.getenv("DEMO_REQUESTS"))
local SECONDS = tonumber(os.getenv("DEMO_SECONDS"))
local CONNECTIONS = tonumber(os.getenv("DEMO_CONNECTIONS"))

local BUYERS_PER_SECOND = 400
local KILL_AT = 0.6          -- of the units are left
local SETTLE = 0.5           -- seconds after which no answer means lost
local RETRY = 0.2            -- seconds; what the limiter takes for a token
local TRIES_MAX = 100
local LOG_MAX = 3000000
local RECENT = 2048
local HAMMERS = 20
local SIGINT, SIGKILL = 2, 9
local NEVER, CANCEL = 3, 7   -- last digit of a winner's number

ffi.cdef [[
typedef struct { long sec, nsec; } demo_time_t;
int clock_gettime(int clock, demo_time_t *time);
int kill(int pid, int signal);
int getpid(void);
]]

local C = ffi.C
local clock = ffi.new("demo_time_t")
local concat = table.concat
local format = string.format
local match = string.match
local random = math.random

local phase = "paced"
local tokens, black = {}, {}
local log, log_lines = nil, 0
local pending, seq = {}, 0
local queue, queue_head, queue_tail = {}, 1, 0
local recent, recent_count = {}, 0
local winners, by_id = {}, {}
local confirmed, confirmed_count = {}, 0
local answers, buyer, ids = 0, 0, 0
local burst_left, next_buyer_at, started_at = CONNECTIONS, 0, 0
local again_left, finds_left = 0, 0
local killed, recovered, last_worker


-- Seconds since the epoch, as the engine's expires_at.
local function now()
    C.clock_gettime(0, clock)
    return tonumber(clock.sec) + tonumber(clock.nsec) * 1e-9
end


local function note(...)
    log_lines = log_lines + 1
    assert(log_lines <= LOG_MAX, "the log is longer than it may get")
    log:write(concat({ ... }, "\t"), "\n")
end


local function user_name(n)
    return format("user-%06d", n)
end


local function later(job)
    queue_tail = queue_tail + 1
    queue[queue_tail] = job
end


-- The next job that is due; one that is not goes to the end.
local function from_queue(time)
    if queue_head > queue_tail then
        return nil
    end
    local job = queue[queue_head]
    queue[queue_head] = nil
    queue_head = queue_head + 1
    if not job.due or job.due <= time then
        return job
    end
    later(job)
end


-- ---- what to send ---------------------------------------------------------

local function reserve(user)
    ids = ids + 1
    return { op = "reserve", user = user, id = format("r%07d", ids) }
end


local function new_buyer()
    buyer = buyer % USERS + 1
    return reserve(buyer)
end


local function repeat_recent()
    local job = recent[random(#recent)]
    return { op = "reserve", user = job.user, id = job.id }
end


local function second_unit()
    return reserve(winners[random(#winners)].user)
end


local function hammer()
    local winner = winners[random(math.min(#winners, HAMMERS))]
    return { op = "reserve", user = winner.user, id = winner.id }
end


local function black_listed()
    return reserve(black[random(#black)])
end


-- A request of the flood that is no new buyer. While every winner is asked
-- again, nobody uses up what the limiter grants them.
local function other()
    local dice = random(100)
    if dice <= 25 or #winners == 0 then
        return black_listed()
    elseif dice <= 50 or phase == "again" then
        return second_unit()
    elseif dice <= 75 then
        return repeat_recent()
    end
    return hammer()
end


local function buyer_is_due(time)
    if phase ~= "paced" then
        return phase == "burst" or random(100) <= 60
    end
    if time < next_buyer_at then
        return false
    end
    next_buyer_at = math.max(next_buyer_at, time - 0.01)
                    + 1 / BUYERS_PER_SECOND
    return true
end


local function choose(time)
    local job = from_queue(time)
    if job then
        return job
    end
    return buyer_is_due(time) and new_buyer() or other()
end


local function http_text(job)
    local head = " HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Demo-Seq: " .. job.seq
                 .. "\r\nAuthorization: Bearer " .. tokens[job.user] .. "\r\n"
    if job.op == "find" then
        return "GET /find?request_id=" .. job.id .. head .. "\r\n"
    end
    local path = "/reserve"
    local body = "{\"item\":\"phone\",\"qty\":1,\"request_id\":\"" .. job.id
                 .. "\"}"
    if job.op == "confirm" or job.op == "cancel" then
        path = "/" .. job.op
        body = "{\"token\":\"" .. job.token .. "\"}"
    end
    return "POST " .. path .. head .. "Content-Type: application/json\r\n"
           .. "Content-Length: " .. #body .. "\r\n\r\n" .. body
end


-- ---- the kill ---------------------------------------------------------------

-- Only a child of our own nginx master is killed.
local function is_worker(pid)
    local file = pid and io.open("/proc/" .. pid .. "/stat")
    local stat = file and file:read("*a") or ""
    if file then
        file:close()
    end
    return tonumber(stat:match("%) %a (%d+)")) == MASTER
end


local function kill_worker(time)
    assert(is_worker(last_worker), "this is no worker of the demo's nginx")
    C.kill(last_worker, SIGKILL)
    killed.pid, killed.at = last_worker, time
    note("#kill", killed.pid, killed.available, format("%.6f", time))
    phase = "flood"
end


local function see_available(available, worker)
    if phase == "paced" and available <= TOTAL * KILL_AT then
        phase, killed = "burst", {}
    end
    if phase == "burst" then
        killed.available = available
    elseif killed and killed.pid and not killed.after
        and worker ~= killed.pid then
        killed.after = available
        note("#after", killed.pid, available)
    end
end


-- What was sent before `time` and never answered was lost. A buyer asks by
-- request id what became of it.
local function find_lost(time)
    for number, job in pairs(pending) do
        if job.sent < time then
            pending[number] = nil
            note("#lost", number, job.op, user_name(job.user), job.id,
                 format("%.6f", job.sent))
            finds_left = finds_left + 1
            later { op = "find", user = job.user, id = job.id,
                    lost = phase == "flood" and job.op or nil }
        end
    end
end


-- ---- the end ----------------------------------------------------------------

local function finish(why)
    phase = "done"
    note("#end", why)
    assert(log:close())
    C.kill(C.getpid(), SIGINT)  -- wrk stops and prints its numbers
end


local function ask_again()
    phase = "again"
    for _, winner in ipairs(winners) do
        later { op = "again", user = winner.user, id = winner.id }
    end
    again_left = #winners
end


local function step(time)
    if phase == "flood" then
        if not recovered and time > killed.at + SETTLE then
            recovered = true
            find_lost(killed.at + 0.05)
        end
        if confirmed_count == TOTAL and answers >= REQUESTS and recovered
            and finds_left == 0 and ids >= USERS then
            ask_again()
        end
    elseif phase == "again" and again_left == 0 then
        phase = "find"
        find_lost(time - SETTLE)
    elseif phase == "find" and finds_left == 0 then
        finish("complete")
    end
    if time > started_at + SECONDS and phase ~= "done" then
        finish("timeout")
    end
end


-- ---- what came back ---------------------------------------------------------

-- A tenth of the winners never confirms, a tenth cancels; every fourth sends
-- its request again at once.
local function add_winner(job, token)
    local n = #winners + 1
    winners[n] = { user = job.user, id = job.id }
    by_id[job.id] = true
    if n % 4 == 0 then
        later { op = "reserve", user = job.user, id = job.id }
    end
    if n % 10 ~= NEVER and token then
        later { op = n % 10 == CANCEL and "cancel" or "confirm",
                user = job.user, id = job.id, token = token }
    end
end


local function see_order(job, order)
    if not by_id[job.id] then
        add_winner(job, order.token)
    end
    if order.state == "confirmed" and not confirmed[job.id] then
        confirmed[job.id] = true
        confirmed_count = confirmed_count + 1
    end
end


local function remember(job)
    recent_count = recent_count + 1
    recent[(recent_count - 1) % RECENT + 1] = job
end


-- These must get a real answer: over a limit or busy is none.
local function try_again(job, status, time)
    if job.op == "reserve" or (status ~= 429 and status ~= 503) then
        return false
    end
    job.tries = (job.tries or 0) + 1
    if job.tries > TRIES_MAX then
        return false
    end
    later { op = job.op, user = job.user, id = job.id, token = job.token,
            lost = job.lost, tries = job.tries, due = time + RETRY }
    return true
end


-- As a buyer does who got no answer: what did not happen is sent again.
local function after_find(job, status, order)
    if job.lost == "reserve" and status == 404 then
        later { op = "reserve", user = job.user, id = job.id }
    elseif (job.lost == "confirm" or job.lost == "cancel") and order.token then
        later { op = job.lost, user = job.user, id = job.id,
                token = order.token }
    end
end


local function settle(job, status, order)
    if job.op == "again" then
        again_left = again_left - 1
    elseif job.op == "find" then
        finds_left = finds_left - 1
        after_find(job, status, order)
    elseif job.op == "reserve" then
        remember(job)
    end
end


local function read_order(status, body)
    if status >= 400 then
        return { code = match(body, "^{\"code\":\"([^\"]+)\"") }
    end
    return {
        id = match(body, "\"id\":\"([^\"]+)\""),
        state = match(body, "\"state\":\"([^\"]+)\""),
        remaining = tonumber(match(body, "\"remaining\":(%-?%d+)")),
        expires_at = match(body, "\"expires_at\":([%d.]+)"),
        token = match(body, "\"token\":\"([^\"]+)\""),
    }
end


local function log_answer(job, status, order, worker, time)
    note(job.seq, job.op, user_name(job.user), job.id, status,
         order.code or "-", order.id or "-", order.state or "-",
         order.remaining or "-", order.expires_at or "-",
         format("%.6f", job.sent), format("%.6f", time), worker or "-",
         order.token or "-")
end


-- A connection that broke in the middle of an answer leaves its half before
-- the next one. No answer here has an object inside its object.
local function own_part(body)
    return match(body, "{[^{]*$") or ""
end


function response(status, headers, body)
    local number = tonumber(headers["X-Demo-Seq"])
    local job = pending[number]
    if not job or phase == "done" then
        return
    end
    pending[number] = nil
    local time = now()
    local order = read_order(status, own_part(body))
    answers = answers + 1
    last_worker = tonumber(headers["X-Demo-Worker"])
    log_answer(job, status, order, last_worker, time)
    if status == 201 and order.remaining then
        see_available(order.remaining, last_worker)
    end
    if order.id and order.state then
        see_order(job, order)
    end
    if not try_again(job, status, time) then
        settle(job, status, order)
    end
    step(time)
end


function request()
    local time = now()
    if phase == "done" then
        return "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    end
    if phase == "burst" then
        burst_left = burst_left - 1
        if burst_left <= 0 then
            kill_worker(time)
        end
    end
    local job = choose(time)
    seq = seq + 1
    job.seq, job.sent = seq, time
    pending[seq] = job
    return http_text(job)
end


local function read_users()
    for line in io.lines(DIRECTORY .. "/users") do
        tokens[#tokens + 1] = line
    end
    for line in io.lines(DIRECTORY .. "/blacklist") do
        black[#black + 1] = tonumber(line:match("^user%-(%d+)"))
    end
    assert(#tokens == USERS and #black > 0)
end


function init()
    math.randomseed(tonumber(os.getenv("DEMO_SEED")))
    read_users()
    log = assert(io.open(DIRECTORY .. "/answers", "wb"))
    log:setvbuf("full", 2 ^ 20)
    started_at = now()
    next_buyer_at = started_at
end
