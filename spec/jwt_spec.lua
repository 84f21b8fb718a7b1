-- Bearer tokens: what is accepted, what is refused, the cache. Plain LuaJIT.

local jwt = require "resty.seckill.jwt"
local tokens = require "tokens"

local KEY = ("secret"):rep(6)
local NOW = 1700000000


local function claims(changes)
    local t = { sub = "alice", exp = NOW + 60 }
    for name, value in pairs(changes or {}) do
        t[name] = value
    end
    return t
end


local function verifier(changes)
    local opts = { keys = { { key = KEY } } }
    for name, value in pairs(changes or {}) do
        opts[name] = value
    end
    return jwt.new(opts)
end


local function verify(v, ...)
    return { v:verify(tokens.jwt(...), NOW) }
end


describe("jwt", function()
    it("accepts the example of RFC 7515, A.1", function()
        local key = require("mime").unb64(
            "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ+EstJQLr/T+1qS0gZH75aKtMN3Yj0i"
            .. "PS4hcgUuTwjAzZr1Z9CAow==")
        local v = jwt.new { keys = { { key = key } }, claim = "iss" }
        local text = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
            .. ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly"
            .. "9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
            .. ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        assert.same({ "joe", 1300819380 }, { v:verify(text, 1300819379) })
        assert.same({ nil, "token_expired" }, { v:verify(text, 1300819380) })
    end)

    it("gives the user and the expiry", function()
        assert.same({ "alice", NOW + 60 }, verify(verifier(), claims(), KEY))
    end)

    local headers = {
        '{"alg":"none"}', '{"alg":"RS256"}', '{"alg":"HS384"}',
        '{"alg":"hs256"}', '{"alg":null}', '{"typ":"JWT"}', '{}', '[]',
        '["HS256"]', '"HS256"', 'null', '', '{', '{"alg":["HS256"]}',
        '{"alg":"HS256","crit":["b64"]}', '{"alg":"HS256","crit":[]}',
        '{"alg":"HS256","crit":null}', '{"alg":"HS256"} x', '{"alg":NaN}',
    }

    it("refuses every other header", function()
        local v = verifier()
        for _, header in ipairs(headers) do
            local text = tokens.raw(header, '{"sub":"alice","exp":1900000000}',
                                    KEY)
            assert.same({ nil, "bad_token" }, { v:verify(text, NOW) }, header)
        end
    end)

    local payloads = {
        { "bad_token", '' }, { "bad_token", '{' }, { "bad_token", 'null' },
        { "bad_token", '"alice"' }, { "bad_token", '\0' },
        { "bad_token", '{"sub":"alice"}' },
        { "bad_token", '{"sub":"alice","exp":"1900000000"}' },
        { "bad_token", '{"sub":"alice","exp":null}' },
        { "bad_token", '{"sub":"alice","exp":true}' },
        { "bad_token", '{"sub":"alice","exp":NaN}' },
        { "bad_token", '{"sub":"alice","exp":Infinity}' },
        { "bad_token", '{"sub":"alice","exp":1900000000,"nbf":"1"}' },
        { "bad_token", '{"a":' .. ("["):rep(99) .. ("]"):rep(99) .. '}' },
        { "token_expired", '{"sub":"alice","exp":-1}' },
        { "token_expired", '{"sub":"alice","exp":1700000000}' },
        { "token_not_active",
          '{"sub":"alice","exp":1900000000,"nbf":1700000000.5}' },
        { "bad_user", '{"exp":1900000000}' }, { "bad_user", '[]' },
        { "bad_user", '{"sub":5,"exp":1900000000}' },
        { "bad_user", '{"sub":"","exp":1900000000}' },
        { "bad_user", '{"sub":null,"exp":1900000000}' },
        { "bad_user", '{"sub":["a"],"exp":1900000000}' },
        { "bad_user", '{"sub":"' .. ("x"):rep(65) .. '","exp":1900000000}' },
    }

    it("refuses every other payload", function()
        local v = verifier()
        for _, case in ipairs(payloads) do
            local text = tokens.raw('{"alg":"HS256"}', case[2], KEY)
            assert.same({ nil, case[1] }, { v:verify(text, NOW) }, case[2])
        end
        assert.equal(0, v:cached_count())
    end)

    it("refuses any change of a character", function()
        local v = verifier()
        local text = tokens.jwt(claims(), KEY)
        for i = 1, #text do
            local old = text:sub(i, i)
            local new = old == "A" and "B" or "A"
            local changed = text:sub(1, i - 1) .. new .. text:sub(i + 1)
            assert.same({ nil, "bad_token" }, { v:verify(changed, NOW) })
        end
        assert.equal("alice", (v:verify(text, NOW)))
    end)

    it("never raises on what a client sends", function()
        local v = verifier()
        local text = tokens.jwt(claims(), KEY)
        for _, value in ipairs { "", ".", "..", "...", "a.b.c", "\0.\0.\0",
                                 text .. "=", text .. ".", "." .. text,
                                 text:sub(1, -2), text .. "A", " " .. text,
                                 text:gsub("%.[^.]*$", "."),
                                 ("A"):rep(1e6), 5, true, false, {}, print,
                                 0 / 0 } do
            assert.same({ nil, "bad_token" }, { v:verify(value, NOW) })
        end
        assert.same({ nil, "bad_token" }, { v:verify(nil, NOW) })
    end)

    it("refuses tokens over 4096 bytes, well signed or not", function()
        local v = verifier()
        local fits = claims { pad = ("x"):rep(2900) }
        local over = claims { pad = ("x"):rep(3100) }
        assert.is_true(#tokens.jwt(fits, KEY) <= 4096)
        assert.is_true(#tokens.jwt(over, KEY) > 4096)
        assert.equal("alice", verify(v, fits, KEY)[1])
        assert.same({ nil, "bad_token" }, verify(v, over, KEY))
    end)

    it("does without exp where that is wanted", function()
        local v = verifier { require_exp = false }
        assert.equal("alice", verify(v, { sub = "alice" }, KEY)[1])
        assert.same({ nil, "token_expired" },
                    verify(v, { sub = "alice", exp = NOW }, KEY))
    end)

    it("grants the leeway at both ends", function()
        local v = verifier { leeway = 10 }
        assert.equal("alice", verify(v, claims { exp = NOW - 9 }, KEY)[1])
        assert.equal("alice", verify(v, claims { nbf = NOW + 10 }, KEY)[1])
        assert.same({ nil, "token_expired" },
                    verify(v, claims { exp = NOW - 10 }, KEY))
        assert.same({ nil, "token_not_active" },
                    verify(v, claims { nbf = NOW + 11 }, KEY))
    end)

    it("takes the user from the claim it is told", function()
        local v = verifier { claim = "uid" }
        assert.equal("bob", verify(v, claims { uid = "bob" }, KEY)[1])
        assert.same({ nil, "bad_user" }, verify(v, claims(), KEY))
    end)
end)


describe("jwt keys", function()
    local OTHER = ("other!"):rep(6)

    it("are tried in turn when they have no kid", function()
        local v = verifier { keys = { { key = KEY }, { key = OTHER } } }
        for _, key in ipairs { KEY, OTHER } do
            assert.equal("alice", verify(v, claims(), key)[1])
        end
        assert.same({ nil, "bad_token" },
                    verify(v, claims(), ("third!"):rep(6)))
    end)

    it("are chosen by kid", function()
        local v = verifier { keys = { { kid = "a", key = KEY },
                                      { kid = "b", key = OTHER } } }
        local function with(kid, key)
            return verify(v, claims(), key, { alg = "HS256", kid = kid })
        end
        assert.equal("alice", with("a", KEY)[1])
        assert.equal("alice", with("b", OTHER)[1])
        assert.same({ nil, "bad_token" }, with("b", KEY))
        assert.same({ nil, "bad_token" }, with("c", KEY))
        assert.same({ nil, "bad_token" }, with(5, KEY))
        assert.equal("alice", with(nil, OTHER)[1])
    end)

    it("without kid do not care about a token's", function()
        local header = { alg = "HS256", kid = "x" }
        assert.equal("alice", verify(verifier(), claims(), KEY, header)[1])
    end)
end)


describe("jwt cache", function()
    it("checks the times of a known token", function()
        local v = verifier()
        local text = tokens.jwt(claims { nbf = NOW - 5 }, KEY)
        assert.equal("alice", (v:verify(text, NOW)))
        assert.equal(1, v:cached_count())
        assert.same({ nil, "token_expired" }, { v:verify(text, NOW + 60) })
        assert.same({ nil, "token_not_active" }, { v:verify(text, NOW - 6) })
        assert.equal("alice", (v:verify(text, NOW + 59)))
    end)

    it("never holds more than its size", function()
        local v = verifier { cache = 10 }
        for i = 1, 100 do
            local user = "user" .. i
            assert.equal(user, verify(v, claims { sub = user }, KEY)[1])
            assert.is_true(v:cached_count() <= 10)
        end
        assert.is_true(v:cached_count() >= 5)
    end)

    it("keeps what is used", function()
        local v = verifier { cache = 10 }
        local used = tokens.jwt(claims { sub = "busy" }, KEY)
        for i = 1, 100 do
            assert.equal("busy", (v:verify(used, NOW)))
            verify(v, claims { sub = "user" .. i }, KEY)
        end
        local claims_t = require("ffi").new("seckill_claims_t")
        assert.equal(1, require("resty.seckill.lib").C.seckill_jwt_cache_get(
            v.cache, used, #used, claims_t))
    end)

    it("is not filled by forged tokens or strange headers", function()
        local v = verifier { cache = 10 }
        for i = 1, 200 do
            local header = { alg = "HS256", n = i }
            verify(v, claims(), ("forger"):rep(6), header)
        end
        assert.equal(0, v:cached_count())
        assert.is_true(v.header_count <= 64)
    end)
end)


describe("jwt:bearer", function()
    local text = tokens.jwt(claims(), KEY)

    it("reads an Authorization header, and knows it again", function()
        local v = verifier()
        for _, header in ipairs { "Bearer " .. text, "bearer " .. text,
                                  "BEARER   " .. text } do
            for _ = 1, 2 do
                assert.equal("alice", (v:bearer(header, NOW)))
            end
        end
        assert.same({ nil, "token_expired" },
                    { v:bearer("Bearer " .. text, NOW + 60) })
    end)

    it("refuses everything else", function()
        local v = verifier()
        for _, header in ipairs { "", "Bearer", "Bearer ", "Bearer    ", text,
                                  "Basic " .. text, "Bearer\t" .. text,
                                  "Bearer" .. text, 5, true } do
            assert.same({ nil, "unauthorized" }, { v:bearer(header, NOW) })
        end
        assert.same({ nil, "unauthorized" }, { v:bearer(nil, NOW) })
        for _, header in ipairs { "Bearer x", "Bearer " .. text .. " ",
                                  "Bearer " .. text .. "," .. text,
                                  "Bearer " .. ("x"):rep(1e6) } do
            assert.same({ nil, "bad_token" }, { v:bearer(header, NOW) })
        end
    end)
end)


describe("jwt.new", function()
    local cases = {
        { "keys", {} },
        { "keys%[1%].key", { keys = { { key = "short" } } } },
        { "keys%[1%].kid", { keys = { { key = KEY, kid = 5 } } } },
        { "used twice", { keys = { { key = KEY, kid = "a" },
                                   { key = KEY, kid = "a" } } } },
        { "keys%[2%]", { keys = { { key = KEY }, 5 } } },
        { "leeway", { keys = { { key = KEY } }, leeway = -1 } },
        { "leeway", { keys = { { key = KEY } }, leeway = 0 / 0 } },
        { "leeway", { keys = { { key = KEY } }, leeway = "1" } },
        { "cache", { keys = { { key = KEY } }, cache = 0 } },
        { "cache", { keys = { { key = KEY } }, cache = 2.5 } },
        { "claim", { keys = { { key = KEY } }, claim = 5 } },
        { "require_exp", { keys = { { key = KEY } }, require_exp = 1 } },
        { "alg", { keys = { { key = KEY } }, alg = "none" } },
    }

    it("names the wrong option, at the caller", function()
        for _, case in ipairs(cases) do
            local ok, err = pcall(function() return jwt.new(case[2]), 1 end)
            assert.is_false(ok)
            assert.matches(case[1], err)
            assert.matches("jwt_spec.lua:", err, 1, true)
        end
    end)
end)
