-- Does the JIT compile a body? Runs it n times with an eager JIT; answers the
-- traces that were made, and the list of what cannot be compiled.
--
-- Only "NYI" and "blacklisted" count: that a recording was given up for
-- another reason happens now and then and means nothing.

local vmdef = require "jit.vmdef"


local function reason(code, arg)
    local text = vmdef.traceerr[code] or tostring(code)
    if type(arg) == "number" then
        text = text:format(arg)
    end
    return text .. " " .. tostring(arg)
end


return function(body, n)
    local traces, bad = 0, {}
    local function on_trace(what, _, _, _, code, arg)
        if what == "stop" then
            traces = traces + 1
        elseif what == "abort" then
            local text = reason(code, arg)
            if text:find("NYI") or text:find("blacklisted") then
                bad[#bad + 1] = text
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
