-- The helper that says whether a hot path compiles says no where it does not.

local compiled = require "compiled"
local raised = require "raised"


local function sum(i)
    return i + 1
end


describe("the check for hot paths", function()
    it("passes what compiles", function()
        compiled.check(sum, 500)
    end)

    it("fails for what is never compiled", function()
        local kept
        local function closure(i)
            kept = function() return i end
        end
        local _, never = compiled.run(closure, 500)
        assert.is_function(kept)
        assert.matches("NYI", never[1])
        raised(compiled.check, closure, 500)
        compiled.check(sum, 500) -- no harm to those that come after it
    end)

    it("fails where no trace is made", function()
        jit.off()
        local message = raised(compiled.check, sum, 500)
        jit.on()
        assert.matches("no trace", tostring(message))
    end)

    it("passes on what the body raises", function()
        assert.equal("stop", raised(compiled.check, function(i)
            if i == 300 then
                error("stop", 0)
            end
        end, 500))
        compiled.check(sum, 500)
    end)
end)
