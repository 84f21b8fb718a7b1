-- items.lua - what is on sale: for each round one item that is sold with a
-- hold, one that is sold at once, and one that is sold out.
--
-- A user may have 16 request ids of one item in the window, so a round gets
-- items of its own.

local tostring = tostring


local _M = {}

local ROUNDS, STOCK = 9, 2 ^ 40
local HOLD = 1200 -- longer than the run: no hold ends in it


--- Put the items of all rounds; round 0 is the warm-up.
---@param stock table engine.stock
function _M.put(stock)
    for round = 0, ROUNDS do
        local n = tostring(round)
        assert(stock:put { item = "hold-" .. n, total = STOCK, hold = HOLD,
                           per_user = 1000 })
        assert(stock:put { item = "once-" .. n, total = STOCK,
                           per_user = 1000 })
        assert(stock:put { item = "gone-" .. n, total = 1, per_user = 1000,
                           hold = HOLD })
        assert(stock:reserve("gone-" .. n, "nobody", 1, "sells-out-" .. n))
    end
end


return _M
