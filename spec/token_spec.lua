-- Purchase tokens: round trip, refusals, options. Plain LuaJIT.

local token = require "resty.seckill.token"

local KEY = ("k"):rep(32)
local NOW = 1700000000


local function fields(changes)
    local t = { item = "phone", user = "alice", id = "r-1",
                expires_at = NOW + 2 }
    for name, value in pairs(changes or {}) do
        t[name] = value
    end
    return t
end


describe("token", function()
    local tokens = token.new { keys = { { id = 1, key = KEY } } }

    it("comes back as it was made", function()
        local text = tokens:make(fields())
        assert.matches("^[%w_-]+$", text)
        assert.same(fields(), tokens:open(text, NOW))
    end)

    it("carries any bytes, 1 to 64 of them", function()
        for _, value in ipairs { "\0", "\255\254", ("x"):rep(64), "a.b c\n" } do
            local t = fields { item = value, user = value, id = value }
            local text = assert(tokens:make(t))
            assert.is_true(#text <= 512)
            assert.same(t, tokens:open(text, NOW))
        end
    end)

    it("fills a table that is given", function()
        local into = {}
        local text = tokens:make(fields())
        assert.equal(into, tokens:open(text, NOW, into))
        assert.equal("alice", into.user)
    end)

    it("expires at its second", function()
        local text = tokens:make(fields())
        assert.is_table(tokens:open(text, NOW + 1.999))
        assert.same({ nil, "token_expired" },
                    { tokens:open(text, NOW + 2) })
    end)

    local bad = { 0, -1, 65, 1.5, true, false, {}, print, "", ("x"):rep(65),
                  0 / 0, 1 / 0 }

    it("is not made of values that are not ids", function()
        for _, name in ipairs { "item", "user", "id" } do
            for _, value in ipairs(bad) do
                local t = fields { [name] = value }
                assert.same({ nil, "bad_token" }, { tokens:make(t) })
            end
            local t = fields()
            t[name] = nil
            assert.same({ nil, "bad_token" }, { tokens:make(t) })
        end
    end)

    it("is not made of a time that is none", function()
        for _, value in ipairs { 0, -1, 0 / 0, 1 / 0, -1 / 0, 1e10, "1", true,
                                 {} } do
            local t = fields { expires_at = value }
            assert.same({ nil, "bad_token" }, { tokens:make(t) })
        end
    end)

    it("never raises on what a client sends", function()
        local good = tokens:make(fields())
        local values = { good:sub(1, -2), good .. "A", good .. "=", " " .. good,
                         good:upper(), "a.b.c", ("A"):rep(1e6), "\0",
                         good:gsub("^A", "B") }
        for _, value in ipairs(bad) do
            values[#values + 1] = value
        end
        for _, value in ipairs(values) do
            assert.same({ nil, "bad_token" }, { tokens:open(value, NOW) })
        end
        assert.same({ nil, "bad_token" }, { tokens:open(nil, NOW) })
    end)

    it("of another key is refused", function()
        local other = token.new { keys = { { id = 1, key = KEY .. "x" } } }
        local text = other:make(fields())
        assert.same({ nil, "bad_token" }, { tokens:open(text, NOW) })
    end)

    it("outlives a change of keys", function()
        local old = tokens:make(fields())
        local ring = token.new { keys = { { id = 1, key = KEY },
                                          { id = 2, key = KEY .. "new" } } }
        assert.is_table(ring:open(old, NOW))
        assert.same({ nil, "bad_token" },
                    { tokens:open(ring:make(fields()), NOW) })
    end)
end)


describe("token.new", function()
    local cases = {
        { "keys", {} },
        { "keys", { keys = {} } },
        { "keys", { keys = "secret" } },
        { "keys%[1%]", { keys = { "secret" } } },
        { "keys%[1%].key", { keys = { {} } } },
        { "keys%[1%].key", { keys = { { key = 5 } } } },
        { "keys%[1%].key", { keys = { { key = "short" } } } },
        { "keys%[1%].key", { keys = { { key = ("x"):rep(129) } } } },
        { "keys%[1%].id", { keys = { { id = -1, key = KEY } } } },
        { "keys%[1%].id", { keys = { { id = 256, key = KEY } } } },
        { "keys%[1%].id", { keys = { { id = 1.5, key = KEY } } } },
        { "keys%[1%].id", { keys = { { id = "1", key = KEY } } } },
        { "keys%[2%].*conflict", { keys = { { id = 1, key = KEY },
                                            { id = 1, key = KEY } } } },
        { "secret", { keys = { { key = KEY } }, secret = 1 } },
        { "options", "text" },
    }

    it("names the wrong option, at the caller", function()
        for _, case in ipairs(cases) do
            local ok, err = pcall(function() return token.new(case[2]), 1 end)
            assert.is_false(ok)
            assert.matches(case[1], err)
            assert.matches("token_spec.lua:", err, 1, true)
        end
    end)

    it("refuses no options at all", function()
        assert.is_false(pcall(token.new))
    end)

    it("numbers the keys when they have no id", function()
        local tokens = token.new { keys = { { key = KEY },
                                            { key = KEY .. "2" } } }
        local second = token.new { keys = { { id = 2, key = KEY .. "2" } } }
        assert.is_table(second:open(tokens:make(fields()), NOW))
    end)
end)
