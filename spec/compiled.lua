-- compiled.lua - does the JIT compile a hot path?

-- Run `body` n times with an eager JIT; traces made, and traces given up for
-- what cannot be compiled.
return function(body, n)
    local vmdef = require "jit.vmdef"
    local traces, bad = 0, {}
    local function on_trace(what, _, _, _, code, arg)
        if what == "stop" then
            traces = traces + 1
        elseif what == "abort" then
            local text = vmdef.traceerr[code] or tostring(code)
            text = type(arg) == "number" and text:format(arg) or text
            if text:find("NYI") or text:find("blacklisted") then
                bad[#bad + 1] = text .. " " .. tostring(arg)
            end
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
