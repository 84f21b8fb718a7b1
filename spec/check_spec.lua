-- Black and white lists asked together.

local seckill = require "resty.seckill"
local compiled = require "compiled"
local raised = require "raised"


describe("several access lists", function()
    local engine, name, path, users, addresses

    setup(function()
        name = "check-" .. tostring({}):gsub("%W", ""):sub(-8)
        engine = assert(seckill.open { name = name })
        path = os.tmpname()
        local file = assert(io.open(path, "w"))
        file:write("mallory\t\tstolen card\ntrudy\n!vip\n")
        file:close()
        users = assert(engine:access_list("users", { file = path }))
        addresses = assert(engine:access_list("addresses"))
        assert(addresses:add("10.0.0.1"))
    end)

    teardown(function()
        engine:close()
        seckill.destroy(name)
        os.remove(path)
    end)

    local function check(user, address)
        return seckill.check({ users, addresses }, { user, address })
    end

    it("deny by the first that does, with reason and name", function()
        assert.same({ true, "stolen card", "users" },
                    { check("mallory", "10.0.0.1") })
        assert.same({ true, nil, "users" }, { check("trudy", "10.0.0.2") })
        assert.same({ true, nil, "addresses" }, { check("bob", "10.0.0.1") })
        assert.same({ false }, { check("bob", "10.0.0.2") })
    end)

    it("allow before all that deny, in any order", function()
        assert.same({ false, "allow", "users" }, { check("vip", "10.0.0.1") })
        assert.same({ false, "allow", "users" },
                    { seckill.check({ addresses, users },
                                    { "10.0.0.1", "vip" }) })
    end)

    it("take ids and networks together", function()
        local nets = assert(engine:access_list("nets", { kind = "ip" }))
        local function ask(user, address)
            return seckill.check({ users, nets }, { user, address })
        end
        assert(nets:add("192.0.2.0/24"))
        assert.same({ true, nil, "nets" }, { ask("bob", "192.0.2.7") })
        assert.same({ true, "stolen card", "users" },
                    { ask("mallory", "192.0.2.7") })
        assert.same({ false, "allow", "users" }, { ask("vip", "192.0.2.7") })
        assert.same({ false }, { ask("bob", "192.0.3.7") })
        assert.same({ nil, "bad_value" }, { ask("bob", "bob") })
    end)

    it("answer wrong values, raise for wrong calls", function()
        for _, values in ipairs { { "bob" }, { "bob", "" }, { 5, "x" },
                                  { ("x"):rep(65), "x" } } do
            assert.same({ nil, "bad_value" },
                        { seckill.check({ users, addresses }, values) })
        end
        for _, call in ipairs {
            function() return seckill.check({}, {}), 1 end,
            function() return seckill.check(users, {}), 1 end,
            function() return seckill.check({ users }, "bob"), 1 end,
            function() return seckill.check({ users, {} }, { "bob", "x" }), 1
            end,
        } do
            assert.matches("check_spec.*expected", raised(call))
        end
    end)

    it("compile", function()
        local lists, values = { users, addresses }, { "", "10.0.0.2" }
        local denied = 0
        compiled.check(function(i)
            values[1] = i % 3 == 0 and "mallory" or "bob"
            if seckill.check(lists, values) then
                denied = denied + 1
            end
        end, 3000)
        assert.equal(1000, denied)
    end)
end)
