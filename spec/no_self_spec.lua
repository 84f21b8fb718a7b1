-- Methods that are called with a dot, or on a table that is nothing of the
-- engine: they raise at the caller, and never hand C a null pointer.

local seckill = require "resty.seckill"
local raised = require "raised"

local ticket = seckill.ticket()
local METHODS = {
    limiter = {
        incoming = { "k" }, uncommit = { ticket }, leaving = { ticket },
        set = { { rate = 5 } }, get = {}, override = { "k", { rate = 5 } },
        stats = {},
    },
    breaker = {
        allow = {}, report = { 1, true }, cancel = { 1 }, state = {},
        force = { "open" }, set = { {} }, get = {}, stats = {},
    },
    shedder = {
        admit = {}, done = { 1 }, cancel = { 1 }, set = { {} }, get = {},
        stats = {},
    },
    access_list = {
        match = { "x" }, add = { "x" }, remove = { "x" },
        apply = { { { op = "add", value = "x" } } }, stats = {},
    },
    stock = {
        reserve_raw = { "tee", "ann", 1, "r1" }, confirm = { "id" },
        cancel = { "id" }, refund = { "id", "r2" }, get = { "tee" },
        find_raw = { "r1" }, sweep = {}, audit = {},
    },
}


describe("methods without a self", function()
    for module, methods in pairs(METHODS) do
        local functions = require("resty.seckill." .. module)
        for name, arguments in pairs(methods) do
            it("raise: " .. module .. "." .. name, function()
                assert.is_function(functions[name])
                local message = raised(function()
                    functions[name]({}, unpack(arguments))
                end)
                assert.matches("no_self_spec.lua:%d+: .* expected: call its "
                               .. "methods with a colon", message)
            end)
        end
    end
end)
