--- completion.lua - waiting for the threads of this process without blocking.
--
-- A C call that takes long gives a ticket; its answer comes as an event of the
-- completion queue. In nginx one light thread for each worker reads the wake
-- socket with a cosocket, takes events in bounded batches and posts the
-- semaphore of the coroutine that waits. In plain LuaJIT wait() takes events
-- itself and blocks on a condition variable in between.
--
-- Leaving. nginx does not end a worker while a cosocket is open. A timer that
-- is far away is called early (premature) when the worker begins to leave;
-- it stops the threads, C closes the socket, the light thread ends. While
-- requests that are still served wait for an answer the threads go on, or are
-- started again, until the last one has its answer.
--
-- A coroutine may be killed while it waits, and nothing tells. So the count of
-- those that wait belongs to the queues here, not to the coroutines: who is
-- taken out of a queue, by whomever, is not counted any more. A ticket always
-- gets its answer. An LSN may not come: at its deadline a waiter is dropped, by
-- a light thread that lives while somebody waits for the disk.

local ffi = require("ffi")
local lib = require("resty.seckill.lib")


local C = lib.C
local OK = lib.OK
local CLOSED = lib.codes.closed
local PENDING = lib.codes.pending
local error = error
local ffi_string = ffi.string
local max = math.max
local min = math.min
local pairs = pairs
local pcall = pcall
local tonumber = tonumber


local _M = { _VERSION = "0.1.0" }

local ngx = ngx
local BATCH = 32
local SYNC_WAITERS = 65536 -- calls of one process that wait for the disk
local ROUNDS = 8          -- batches taken for one wake-up
local MONTH_MS = 2^31 - 1 -- the longest timer of nginx
local DAY = 86400
local FAR = 7 * DAY
local BACKOFF_MIN, BACKOFF_MAX = 0.01, 1
local ERR_SIZE = 256
local TICK = 0.001        -- seconds; timers of nginx are not finer

local CAN_YIELD = { rewrite = true, access = true, content = true,
                    timer = true, server_rewrite = true, preread = true,
                    ssl_cert = true, ssl_session_fetch = true,
                    ssl_client_hello = true }
-- Where nothing is served, a call may block instead.
local MAY_BLOCK = { init = true, init_worker = true, exit_worker = true }

-- Semaphores that nobody waits on.
local POOL_MAX = 1024
local pool = {}

-- Scratch: filled and read without a yield in between.
local events = ffi.new("seckill_event_t[?]", BATCH)

-- Engines of this process by the address of their handle.
local states = {}


--- True inside nginx, also in init_by_lua*.
---@return boolean
function _M.in_nginx()
    return ngx ~= nil and ngx.get_phase ~= nil
end


--- May this call wait? Asked before anything is done.
---@return boolean? ok
---@return string? code cannot_yield
function _M.can_wait()
    if not _M.in_nginx() or CAN_YIELD[ngx.get_phase()] then
        return true
    end
    return nil, "cannot_yield"
end


local function state_of(handle)
    local key = tonumber(ffi.cast("uintptr_t", handle))
    local state = states[key]
    if not state then
        state = { handle = handle, waiters = {}, waiting = 0, leaving = false,
                  reading = false, sentinel = false, watching = false,
                  sync = { first = 1, last = 0 } }
        states[key] = state
    end
    return state
end


--- Do the threads of this process run?
---@param handle ffi.cdata* seckill_t *
---@return boolean
function _M.running(handle)
    return C.seckill_wake_path(handle)[0] ~= 0
end


local function mono_now()
    return tonumber(C.seckill_mono_now()) / 1e9
end


-- Not counted any more: answered, timed out, or dropped.
local function leave(state, waiter)
    if not waiter.left then
        waiter.left = true
        state.waiting = state.waiting - 1
    end
end


-- After somebody has left: a worker that leaves waits for nobody else.
local function stop_when_idle(state)
    if state.leaving and state.waiting == 0 then
        C.seckill_stop(state.handle)
        if state.watching then
            state.alarm:post(1)
        end
    end
end


-- A list that was loaded, or not, without anybody waiting for it.
local function report(event)
    local text = ffi_string(event.text)
    if event.type ~= C.SECKILL_EVENT_LIST or not ngx then
        return
    end
    if event.rc == OK then
        ngx.log(ngx.INFO, "seckill: list ", text, ": new generation in use")
    else
        ngx.log(ngx.WARN, "seckill: the old list stays, ",
                lib.errname(event.rc), ": ", text)
    end
end


local function finish(state, event)
    local ticket = tonumber(event.ticket)
    if ticket == 0 then
        return report(event)
    end
    local waiter = state.waiters[ticket]
    if waiter then -- else it gave up
        state.waiters[ticket] = nil
        leave(state, waiter)
        waiter.rc = event.rc
        waiter.text = ffi_string(event.text)
        if waiter.sem then
            waiter.sem:post(1)
        end
    end
end


-- Take events, bounded: rearming asks for the rest.
local function take(state)
    for _ = 1, ROUNDS do
        local n = C.seckill_cq_pop(state.handle, events, BATCH)
        for i = 0, n - 1 do
            finish(state, events[i])
        end
        if n < BATCH then
            break
        end
    end
    stop_when_idle(state)
end


-- Resume those whose LSN is durable, or of whom nobody will tell; drop those
-- whose time is over. They are in the order of their LSNs, or nearly so: then
-- one waits a little longer.
local function release(state)
    local queue, now = state.sync, mono_now()
    while queue.first <= queue.last do
        local waiter = queue[queue.first]
        if not waiter.left then
            local rc = C.seckill_sync_ask(state.handle, waiter.lsn)
            if rc == PENDING and now < waiter.deadline then
                break
            end
            leave(state, waiter)
            waiter.rc = rc
            waiter.sem:post(1)
        end
        queue[queue.first] = nil
        queue.first = queue.first + 1
    end
    stop_when_idle(state)
end


-- ---- nginx ------------------------------------------------------------------

-- Until the socket is closed, by C or by an error.
local function serve(state, sock)
    repeat
        take(state)
        release(state)
        C.seckill_cq_rearm(state.handle) -- more is queued: at once
        local data, err = sock:receiveany(256)
    until not data and err ~= "timeout"
    take(state)
end


local function connect(state)
    local path = ffi_string(C.seckill_wake_path(state.handle))
    if path == "" then
        return nil
    end
    local sock = ngx.socket.tcp()
    sock:settimeouts(1000, 1000, MONTH_MS)
    if not sock:connect("unix:" .. path) then
        return nil
    end
    return sock
end


local function read_until_stopped(state)
    local pause = BACKOFF_MIN
    while _M.running(state.handle) do
        local sock = connect(state)
        if sock then
            serve(state, sock)
            sock:close()
            pause = BACKOFF_MIN
        end
        if _M.running(state.handle) then
            ngx.sleep(pause)
            pause = min(pause * 2, BACKOFF_MAX)
        end
    end
    take(state)
end


local function read_events(_, state)
    local ok, err = pcall(read_until_stopped, state)
    state.reading = false
    if not ok then
        ngx.log(ngx.ERR, "seckill: the reader of completions failed: ", err)
    end
end


local function ensure_reader(state)
    if state.reading then
        return true
    end
    local ok, err = ngx.timer.at(0, read_events, state)
    if not ok then
        return nil, err
    end
    state.reading = true
    return true
end


-- Called early when the worker begins to leave; else it is set again.
local function on_sentinel(premature, state)
    if premature then
        state.leaving = true
        return stop_when_idle(state)
    end
    state.sentinel = ngx.timer.at(FAR, on_sentinel, state) and true or false
end


--- Read the completions of an engine whose threads were just started.
--- Phases: init_worker_by_lua*, and those where ngx.timer.at() works; any
--- LuaJIT program, where there is nothing to do.
---@param handle ffi.cdata* seckill_t *
---@return boolean? ok
---@return string? code io_error
---@return string? detail
function _M.start(handle)
    local state = state_of(handle)
    if not _M.in_nginx() then
        return true
    end
    local ok, err = ensure_reader(state)
    if ok and not state.sentinel then
        ok, err = ngx.timer.at(FAR, on_sentinel, state)
        state.sentinel = ok and true or false
    end
    if not ok then
        return nil, "io_error", err
    end
    return true
end


--- Stop the threads, and answer at once what waits for the disk: `pending`,
--- unless it is known to be durable. Tickets are answered by the reader.
---@param handle ffi.cdata* seckill_t *
function _M.stop(handle)
    C.seckill_stop(handle)
    release(state_of(handle))
end


-- A worker that leaves has stopped its threads: once more for this call.
local function start_again(state)
    local err = ffi.new("char[?]", ERR_SIZE)
    local rc = C.seckill_start(state.handle, err, ERR_SIZE)
    return rc == OK and ensure_reader(state) and true or false
end


--- Call a C function that submits work and returns a code.
---@param handle ffi.cdata* seckill_t *
---@param call fun(): integer
---@return integer rc
function _M.submit(handle, call)
    local state = state_of(handle)
    if state.leaving and not _M.running(handle) then
        start_again(state)
    end
    local rc = call()
    if rc ~= OK then
        stop_when_idle(state)
    end
    return rc
end


local function wait_yielding(state, waiter, timeout)
    ensure_reader(state)
    local ok, semaphore = pcall(require, "ngx.semaphore")
    if ok then
        waiter.sem = semaphore.new()
        waiter.sem:wait(timeout)
        return
    end
    -- Without lua-resty-core: look now and then.
    local deadline = ngx.now() + timeout
    while not waiter.rc and ngx.now() < deadline do
        ngx.sleep(0.005)
    end
end


-- ---- Waiting for the disk ------------------------------------------------

--- May this call wait until a record is durable? Asked before it acts.
---@param handle ffi.cdata* seckill_t *
---@return boolean? ok
---@return string? code cannot_yield, not_running (engine:start() is missing)
function _M.can_wait_durable(handle)
    if not _M.in_nginx() then
        return true
    end
    local phase = ngx.get_phase()
    if MAY_BLOCK[phase] then
        return true
    end
    if not CAN_YIELD[phase] then
        return nil, "cannot_yield"
    end
    if _M.running(handle) or state_of(handle).leaving then
        return true
    end
    return nil, "not_running"
end


local function new_semaphore()
    local n = #pool
    if n > 0 then
        local sem = pool[n]
        pool[n] = nil
        return sem
    end
    return require("ngx.semaphore").new()
end


local function drop_in_time(state)
    local queue = state.sync
    while queue.first <= queue.last
          and not (state.leaving and state.waiting == 0) do
        local left = queue[queue.first].deadline - mono_now()
        local ok, err = state.alarm:wait(max(left, TICK))
        if not ok and err ~= "timeout" then
            error(err)
        end
        release(state)
    end
end


local function watch(_, state)
    local ok, err = pcall(drop_in_time, state)
    state.watching = false
    if not ok then
        ngx.log(ngx.ERR, "seckill: waiting calls are not watched: ", err)
    end
end


-- Where there is no timer left the next call tries again.
local function ensure_watch(state)
    if not state.watching then
        state.alarm = state.alarm or new_semaphore()
        state.watching = ngx.timer.at(0, watch, state) and true or false
    end
end


local function queue_up(state, lsn, timeout)
    local queue = state.sync
    if queue.last - queue.first >= SYNC_WAITERS then
        return nil
    end
    local waiter = { lsn = lsn, sem = new_semaphore(), left = false,
                     deadline = mono_now() + timeout }
    queue.last = queue.last + 1
    queue[queue.last] = waiter
    state.waiting = state.waiting + 1
    ensure_watch(state)
    return waiter
end


-- A code of seckill_sync_ask(); PENDING: somebody will tell.
local function ask_durable(state, lsn)
    local rc = C.seckill_sync_ask(state.handle, lsn)
    if rc == OK or rc == CLOSED then
        return rc
    end
    if state.leaving and not _M.running(state.handle) then
        start_again(state)
    end
    ensure_reader(state)
    return C.seckill_sync_ask(state.handle, lsn)
end


local function wait_yielding_durable(state, lsn, timeout)
    local rc, posted = ask_durable(state, lsn), false
    local waiter = rc == PENDING and queue_up(state, lsn, timeout)
    if waiter then
        posted = waiter.sem:wait(timeout)
        rc = waiter.rc
        leave(state, waiter)
    end
    -- Threads that were started again for this call are stopped after it, too.
    stop_when_idle(state)
    if rc ~= OK then
        return nil, "pending"
    end
    -- One that was posted too late would end the next wait at once.
    if posted and #pool < POOL_MAX then
        pool[#pool + 1] = waiter.sem
    end
    return true
end


--- Wait until an LSN is durable, where can_wait_durable() is true.
---@param handle ffi.cdata* seckill_t *
---@param lsn integer
---@param timeout number seconds
---@return boolean? ok
---@return string? code pending
function _M.wait_durable(handle, lsn, timeout)
    if _M.in_nginx() and not MAY_BLOCK[ngx.get_phase()] then
        return wait_yielding_durable(state_of(handle), lsn, timeout)
    end
    if C.seckill_sync_wait(handle, lsn, timeout * 1e9) == OK then
        return true
    end
    return nil, "pending"
end


-- ---- Plain LuaJIT -----------------------------------------------------------

local function wait_blocking(state, waiter, timeout)
    local deadline = mono_now() + timeout
    local left = timeout
    repeat
        take(state)
        if waiter.rc then
            return
        end
        C.seckill_cq_wait(state.handle, max(left * 1000, 1))
        left = deadline - mono_now()
    until left <= 0
    take(state)
end


--- Wait for the answer to a ticket; to be called without a yield after the
--- call that gave it, in a phase where can_wait() is true.
---@param handle ffi.cdata* seckill_t *
---@param ticket integer
---@param timeout number seconds
---@return integer? rc
---@return string text why; or "timeout"
function _M.wait(handle, ticket, timeout)
    local state = state_of(handle)
    local waiter = { left = false }
    state.waiters[ticket] = waiter
    state.waiting = state.waiting + 1
    if _M.in_nginx() then
        wait_yielding(state, waiter, timeout)
    else
        wait_blocking(state, waiter, timeout)
    end
    state.waiters[ticket] = nil
    leave(state, waiter)
    stop_when_idle(state)
    if waiter.rc then
        return waiter.rc, waiter.text
    end
    return nil, "timeout"
end


--- Calls that wait in this process; one that was killed counts until its
--- answer comes, or its time is over.
---@return integer
function _M.waiting()
    local n = 0
    for _, state in pairs(states) do
        n = n + state.waiting
    end
    return n
end


return _M
