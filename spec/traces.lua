-- traces.lua - does a loop compile? For specs of hot paths.

local _M = {}


local function describe(code, arg)
    local text = require("jit.vmdef").traceerr[code] or tostring(code)
    return type(arg) == "number" and text:format(arg) or text
end


--- Run `body` n times with an eager JIT: the traces made, and what made it
--- give up for good (a bare abort is normal).
function _M.compiled(body, n)
    local traces, bad = 0, {}
    local function on_trace(what, _, _, _, code, arg)
        local text = what == "abort" and describe(code, arg) or ""
        if what == "stop" then
            traces = traces + 1
        elseif text:find("NYI") or text:find("blacklisted") then
            bad[#bad + 1] = text .. " " .. tostring(arg)
        end
    end
    jit.flush()
    jit.opt.start("hotloop=10")
    jit.attach(on_trace, "trace")
    for i = 1, n do
        body(i)
    end
    jit.attach(on_trace)
    jit.opt.start("hotloop=56")
    return traces, bad
end


return _M
