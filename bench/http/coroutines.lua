--- coroutines.lua - light threads of one worker that reserve in a loop on an
-- engine whose answers wait for the disk.
--
-- GET /turn?figure=F&threads=N&seconds=S&tag=T answers with the figure F, calls
-- per second. GET /latency?threads=N&seconds=S&tag=T answers with what sync
-- adds to the latency of a call, in times of one fdatasync of 4 KiB, which is
-- measured before and after. Added to what it is at async among as many light
-- threads that yield after each call. TAG makes the ids of a request new.

local ffi = require("ffi")
local lib = require("resty.seckill.lib")
local seckill = require("resty.seckill")
local semaphore = require("ngx.semaphore")


local C = lib.C
local tonumber = tonumber

ffi.cdef [[
int open(const char *path, int flags, int mode);
long pwrite(int fd, const void *bytes, unsigned long n, long at);
int fdatasync(int fd);
int close(int fd);
]]


local _M = {}

local O_RDWR, O_CREAT = 2, 64
local BLOCK, BLOCKS, SYNCS = 4096, 1024, 200
local ASYNC = { durability = "async" }
local TURN = 60 -- seconds; never reached

local engine, dir


--- Once, in init_by_lua*.
---@param name string
---@param path string of a directory on a disk
function _M.open(name, path)
    dir = path
    engine = assert(seckill.open {
        name = name, dir = path .. "/ledger", durability = "sync",
        capacity = { reservations = 2 ^ 20, requests = 2 ^ 20,
                     users = 2 ^ 20 },
    })
    assert(engine.stock:put { item = "ticket", total = 2 ^ 40, per_user = 1,
                              hold = 600 })
end


function _M.start()
    assert(engine:start())
end


function _M.close()
    engine:close()
end


local function now()
    return tonumber(C.seckill_mono_now())
end


local function emit(name, value, unit)
    ngx.say(("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}")
            :format(name, value, unit))
end


local function quantile(values, q)
    table.sort(values)
    return values[math.floor(q * (#values - 1)) + 1]
end


-- fdatasync of 4 KiB that overwrite zeros, in ns, into `out`.
local function time_disk(out)
    local block = ffi.new("char[?]", BLOCK)
    local fd = ffi.C.open(dir .. "/disk", O_RDWR + O_CREAT, 384)
    assert(fd >= 0, "cannot open a file")
    for i = 0, BLOCKS - 1 do
        assert(ffi.C.pwrite(fd, block, BLOCK, i * BLOCK) == BLOCK)
    end
    assert(ffi.C.fdatasync(fd) == 0)
    for i = 1, SYNCS do
        ffi.fill(block, BLOCK, i)
        assert(ffi.C.pwrite(fd, block, BLOCK, i * BLOCK) == BLOCK)
        local begin = now()
        assert(ffi.C.fdatasync(fd) == 0)
        out[#out + 1] = now() - begin
    end
    ffi.C.close(fd)
    os.remove(dir .. "/disk")
end


-- Again where the log lags.
local function reserve(stock, id, opts)
    local order, code = stock:reserve("ticket", id, 1, id, opts)
    while not order do
        assert(code == "busy", code)
        ngx.sleep(0.001)
        order, code = stock:reserve("ticket", id, 1, id, opts)
    end
end


-- One light thread. Times of the calls into `times`, where it is given. At
-- async a call does not yield: with `turns`, semaphores in a ring, the others
-- have their turn before the next one.
local function reserve_until(stop, prefix, times, turns, i)
    local stock, n = engine.stock, 0
    local own, other = turns and turns[i], turns and turns[i % #turns + 1]
    local opts = turns and ASYNC or nil
    if turns then
        own:wait(TURN)
    end
    while true do
        local begin = now()
        if begin >= stop then
            if turns then
                other:post(1)
            end
            return n
        end
        n = n + 1
        local id = prefix .. n
        reserve(stock, id, opts)
        if turns then
            other:post(1)
            own:wait(TURN)
        end
        if times then
            times[#times + 1] = now() - begin
        end
    end
end


-- Calls and seconds of `threads` light threads.
local function run(threads, seconds, tag, times, turns)
    local begin = now()
    local stop, all, calls = begin + seconds * 1e9, {}, 0
    for i = 1, threads do
        all[i] = assert(ngx.thread.spawn(reserve_until, stop,
                                         tag .. "-" .. i .. "-", times, turns,
                                         i))
    end
    if turns then
        turns[1]:post(1)
    end
    for i = 1, threads do
        local ok, n = ngx.thread.wait(all[i])
        assert(ok, n)
        calls = calls + n
    end
    return calls, (now() - begin) / 1e9
end


function _M.turn()
    local args = ngx.req.get_uri_args()
    local calls, seconds = run(tonumber(args.threads), tonumber(args.seconds),
                               args.tag)
    emit(args.figure, calls / seconds, "1/s")
end


function _M.latency()
    local args = ngx.req.get_uri_args()
    local threads, seconds = tonumber(args.threads), tonumber(args.seconds)
    local disk, async, sync, turns = {}, {}, {}, {}
    for i = 1, threads do
        turns[i] = semaphore.new()
    end
    time_disk(disk)
    run(threads, seconds / 4, args.tag .. "-async", async, turns)
    ngx.sleep(0.2) -- let the log come to rest
    run(threads, seconds, args.tag, sync)
    time_disk(disk)
    local unit = quantile(disk, 0.5)
    emit("wait_disk_us", unit / 1e3, "us")
    for _, q in ipairs { 50, 99 } do
        local of_sync, of_async = quantile(sync, q / 100),
                                  quantile(async, q / 100)
        emit("wait_sync_p" .. q, of_sync / 1e3, "us")
        emit("wait_async_p" .. q, of_async / 1e3, "us")
        emit("wait_p" .. q, (of_sync - of_async) / unit, "x")
    end
end


return _M
