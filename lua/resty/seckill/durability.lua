--- durability.lua - the level at which a call of engine.stock answers.
--
-- async: when its record is in shared memory; sync: when it is on disk. A call
-- that may have to wait is checked before it does anything; after it, wait()
-- looks at the LSN of the answer, which the C library keeps for each thread, so
-- nothing else may be called in between.

local lib = require("resty.seckill.lib")
local completion = require("resty.seckill.completion")


local C = lib.C
local error = error
local tonumber = tonumber


local _M = { _VERSION = "0.1.0" }

local LEVELS = { [0] = "none", "async", "sync" }
local KNOWN = { async = true, sync = true }
local TIMEOUT = 5 -- seconds; then `pending`


--- The level of an engine: none (no dir), async or sync.
---@param handle ffi.cdata* seckill_t *
---@return string
function _M.of(handle)
    return LEVELS[C.seckill_durability(handle)]
end


--- Check a level that the program asks for.
---@param stock seckill.stock
---@param want string?
---@param level integer as for error()
function _M.check(stock, want, level)
    if want == nil then
        return
    end
    if not KNOWN[want] then
        error("option \"durability\": \"async\" or \"sync\" expected",
              level + 1)
    end
    if stock.durability == "none" then
        error("option \"durability\": the engine has no dir", level + 1)
    end
end


--- Must the call wait? Asked before it acts.
---@param stock seckill.stock
---@param want string? what this call asks for
---@param default string the level of this kind of call
---@return boolean? sync
---@return string? code cannot_yield, not_running: nothing may be done
function _M.must_wait(stock, want, default)
    if stock.durability == "none" or (want or default) ~= "sync" then
        return false
    end
    local ok, code = completion.can_wait_durable(stock.handle)
    if not ok then
        return nil, code
    end
    return true
end


--- Wait until the answer just given is durable.
---@param stock seckill.stock
---@return boolean? ok
---@return string? code pending
function _M.wait(stock)
    local lsn = tonumber(C.seckill_answer_lsn())
    if tonumber(C.seckill_durable(stock.handle)) >= lsn then
        return true
    end
    return completion.wait_durable(stock.handle, lsn, TIMEOUT)
end


return _M
