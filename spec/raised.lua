-- raised.lua - what a call raises; it must raise.

local assert = require "luassert"


return function(fn, ...)
    local ok, message = pcall(fn, ...)
    assert.is_false(ok)
    return message
end
