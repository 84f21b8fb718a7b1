-- compiled.lua - does the JIT compile a hot path?
--
-- Traces are given up now and then, and made later. What counts is a trace that
-- met something which is never compiled (NYI), or a function that was tried so
-- often that it is not tried again (blacklisted).

local assert = require "luassert"
local vmdef = require "jit.vmdef"

local _M = {}


local function reason(code, arg)
    local text = vmdef.traceerr[code] or tostring(code)
    if type(arg) == "number" then
        return text:format(arg)
    end
    return arg and text .. " " .. tostring(arg) or text
end


--- Run `body(i)` n times with an eager JIT.
---@param body fun(i: integer)
---@param n integer
---@return integer traces made
---@return string[] never what is left to the interpreter
function _M.run(body, n)
    local traces, never = 0, {}
    local function on_trace(what, _, _, _, code, arg)
        local text = what == "abort" and reason(code, arg) or ""
        if what == "stop" then
            traces = traces + 1
        elseif text:find("NYI") or text:find("blacklisted") then
            never[#never + 1] = text
        end
    end
    -- Loaded anew: a loop that was blacklisted would stay so for all specs.
    local loop = assert(load("local body, n = ...\n"
                             .. "for i = 1, n do body(i) end", "=loop"))
    jit.flush()
    jit.opt.start("hotloop=10")
    jit.attach(on_trace, "trace")
    local ok, err = pcall(loop, body, n)
    jit.attach(on_trace)
    jit.opt.start("hotloop=56")
    if not ok then
        error(err, 0)
    end
    return traces, never
end


--- Run `body(i)` n times: it must be compiled, and all of it.
---@param body fun(i: integer)
---@param n integer
function _M.check(body, n)
    local traces, never = _M.run(body, n)
    assert.same({}, never)
    assert.is_true(traces > 0, "no trace was made")
end


return _M
