-- The HTTP API in a real nginx of two workers: golden answers, every refusal,
-- and what clients send by mistake or on purpose.

local cjson = require "cjson"
local harness = require "spec.nginx.harness"
local socket = require "socket"
local token = require "resty.seckill.token"
local tokens = require "tokens"

local JWT_KEY = ("jwt-secret"):rep(4)
local TOKEN_KEY = ("token-secret"):rep(3)
local NAME = "spec_http_" .. harness.free_port()
local NOW = os.time()

local INIT = [[
local seckill = require "resty.seckill"
local http = require "resty.seckill.http"
local engine = assert(seckill.open { name = "${name}" })
local now = ngx.time()
local function put(item, t)
    t.item, t.version = item, 1
    t.total = t.total or 100
    assert(engine.stock:put(t))
end
put("phone", { hold = 60 })
put("plain", {})
put("single", { total = 1, hold = 60 })
put("limited", { hold = 60, max_qty = 2, per_user = 3 })
put("early", { starts_at = now + 1000 })
put("past", { ends_at = now - 1000 })
put("halted", {})
assert(engine.stock:pause("halted"))
put("short", { hold = 0.05 })
put("q\"\\/\n\195\169", { hold = 60 })
put("many", { total = 2 ^ 53 - 1 })

local list = assert(engine:access_list("deny", { kind = "id" }))
assert(list:add("mallory"))
local tight = assert(engine:limiter("tight", { algorithm = "token_bucket",
                                               rate = 0.01, burst = 1 }))
local told = assert(engine:limiter("told", { algorithm = "token_bucket",
                                             rate = 0.01, burst = 1 }))
local keys = { { id = 1, key = "${token_key}" } }
local jwt = { keys = { { key = "${jwt_key}" } } }
package.loaded.shop = {
    engine = engine,
    api = http.new { engine = engine, jwt = jwt, token_keys = keys,
                     list = list },
    tight = http.new { engine = engine, jwt = jwt, token_keys = keys,
                       limiter = tight, prefix = "/tight" },
    told = http.new { engine = engine, jwt = jwt, token_keys = keys,
                      limiter = told, prefix = "/told", list = list,
                      ratelimit = { legacy = false, jitter = 5 } },
    rule = http.new { engine = engine, token_keys = keys, max_body = 100,
                      prefix = "/rule", ready = function()
                          return nil, "warming up"
                      end,
                      identity = function(ngx)
                          return ngx.var.http_x_user, "unauthorized"
                      end },
}
]]

local SERVER = [[
client_max_body_size 64k;
location / { content_by_lua_block { require("shop").api:handle() } }
location /tight/ { content_by_lua_block { require("shop").tight:handle() } }
location /told/ { content_by_lua_block { require("shop").told:handle() } }
location /rule/ { content_by_lua_block { require("shop").rule:handle() } }
location = /own { content_by_lua_block { require("shop").api:reserve() } }
]]

local server
local minted = token.new { keys = { { id = 1, key = TOKEN_KEY } } }
local ids = 0
-- A user of its own for each test: one user may have 16 orders of an item.
local alice


local function fresh_id()
    ids = ids + 1
    return "request-" .. ids
end


local function bearer(user, changes)
    local claims = { sub = user, exp = NOW + 3600 }
    for name, value in pairs(changes or {}) do
        claims[name] = value
    end
    return { Authorization = "Bearer " .. tokens.jwt(claims, JWT_KEY),
             ["Content-Type"] = "application/json" }
end


-- The decoded answer, after what all JSON answers have in common.
local function decode(res)
    assert.equal("application/json", res.headers["content-type"])
    local length = res.headers["content-length"]
    assert.equal(#res.body, tonumber(length) or #res.body)
    assert.equal(length == nil,
                 res.headers["transfer-encoding"] == "chunked")
    assert.equal("\n", res.body:sub(-1))
    return cjson.decode(res.body)
end


local function post(path, body, headers)
    if type(body) == "table" then
        body = cjson.encode(body)
    end
    local res = server:request("POST", path, body,
                               headers or bearer(alice))
    return res, decode(res)
end


local function get(path, headers)
    return server:request("GET", path, nil, headers or bearer(alice))
end


local function reserve(item, user, qty, id)
    return post("/reserve", { item = item, qty = qty,
                              request_id = id or fresh_id() },
                bearer(user or alice))
end


local function assert_refused(status, code, field, res)
    local got = decode(res)
    local told = ("%s: %s"):format(res.status, res.body)
    assert.equal(status, res.status, told)
    assert.equal(code, got.code, told)
    assert.equal(field, got.field, told)
    assert.is_string(got.message)
    return got
end


setup(function()
    server = harness.start {
        workers = 2,
        init = INIT:gsub("%${([%w_]+)}", { name = NAME, jwt_key = JWT_KEY,
                                           token_key = TOKEN_KEY }),
        init_worker = [[ assert(require("shop").engine:start()) ]],
        exit_worker = [[ require("shop").engine:close() ]],
        server = SERVER,
    }
end)


before_each(function()
    alice = "alice-" .. ids
end)


teardown(function()
    if not server then
        return
    end
    local stopped = server:stop()
    require("resty.seckill").destroy(NAME)
    local clean, why = pcall(server.assert_clean_log, server)
    server:cleanup()
    assert(stopped, "nginx had to be killed")
    assert(clean, why)
end)


describe("POST /reserve", function()
    it("answers 201 with the order, and a token that opens", function()
        local id = fresh_id()
        local res, got = reserve("phone", alice, 2, id)
        assert.equal(201, res.status)
        assert.equal("phone", got.item)
        assert.equal(2, got.qty)
        assert.equal("reserved", got.state)
        assert.is_number(got.remaining)
        assert.is_true(got.expires_at > NOW + 50)
        assert.is_true(got.expires_at < NOW + 200)
        assert.matches("^[%w:_.-]+$", got.id)
        local fields = assert(minted:open(got.token, NOW))
        assert.equal(got.id, fields.id)
        assert.equal(alice, fields.user)
        assert.equal("phone", fields.item)
        assert.is_true(math.abs(fields.expires_at - got.expires_at) < 0.002)
    end)

    it("has exactly these members, in this order", function()
        local res, got = reserve("phone", alice, 1)
        assert.equal(('{"id":"%s","item":"phone","qty":1,"state":"reserved",'
                      .. '"remaining":%d,"expires_at":%.3f,"token":"%s"}\n')
                     :format(got.id, got.remaining, got.expires_at, got.token),
                     res.body)
        res, got = reserve("plain", alice, 1)
        assert.equal(('{"id":"%s","item":"plain","qty":1,"state":"confirmed",'
                      .. '"remaining":%d}\n'):format(got.id, got.remaining),
                     res.body)
    end)

    it("answers 200 with the same order to a retry", function()
        local id = fresh_id()
        local first, order = reserve("phone", alice, 1, id)
        local again, same = reserve("phone", alice, 1, id)
        assert.equal(201, first.status)
        assert.equal(200, again.status)
        assert.equal(order.id, same.id)
        assert.equal(order.token, same.token)
        assert.equal(order.expires_at, same.expires_at)
    end)

    it("takes one unit where qty is not said", function()
        local res, got = post("/reserve", { item = "phone",
                                            request_id = fresh_id() })
        assert.equal(201, res.status)
        assert.equal(1, got.qty)
    end)

    it("writes any item name as JSON", function()
        local name = "q\"\\/\n\195\169"
        local res, got = reserve(name)
        assert.equal(201, res.status)
        assert.equal(name, got.item)
    end)

    it("writes large numbers whole", function()
        local res = post("/reserve", ('{"item":"many","request_id":"%s",'
            .. '"qty":9007199254740991}'):format(fresh_id()))
        assert.equal(201, res.status)
        assert.matches('"qty":9007199254740991,', res.body, 1, true)
    end)

    it("works in a location of its own", function()
        local res = post("/own", { item = "phone", request_id = fresh_id() })
        assert.equal(201, res.status)
    end)

    it("takes JSON under any of its names", function()
        for _, name in ipairs { "application/json",
                                "Application/JSON; charset=UTF-8",
                                "application/json ; x=y",
                                "application/vnd.shop+json" } do
            local headers = bearer(alice)
            headers["Content-Type"] = name
            local res = post("/reserve", { item = "phone",
                                           request_id = fresh_id() }, headers)
            assert.equal(201, res.status, name)
        end
        local headers = bearer(alice)
        headers["Content-Type"] = nil
        local res = post("/reserve", { item = "phone",
                                       request_id = fresh_id() }, headers)
        assert.equal(201, res.status)
    end)

    it("reads a chunked body", function()
        local body = cjson.encode { item = "phone", request_id = fresh_id() }
        local headers = bearer(alice)
        headers["Transfer-Encoding"] = "chunked"
        headers["Content-Length"] = nil
        local c = server:client()
        c:send("POST /reserve HTTP/1.1\r\nHost: x\r\nAuthorization: "
               .. headers.Authorization .. "\r\nTransfer-Encoding: chunked"
               .. "\r\n\r\n" .. ("%x\r\n"):format(#body) .. body
               .. "\r\n0\r\n\r\n")
        assert.equal(201, c:receive("POST").status)
        c:close()
    end)
end)


describe("POST /reserve refuses", function()
    it("what the state of the sale does not allow", function()
        assert_refused(404, "unknown_item", "item", (reserve("nothing")))
        assert_refused(409, "not_started", nil, (reserve("early")))
        assert_refused(410, "ended", nil, (reserve("past")))
        local res = reserve("halted")
        assert.equal(5, assert_refused(503, "paused", nil, res).retry_after)
        assert.equal("5", res.headers["retry-after"])
        assert_refused(409, "qty_limit", "qty",
                       (reserve("limited", "bob", 3)))
        assert.equal(201, (reserve("limited", "bob", 2)).status)
        assert_refused(409, "user_limit", nil, (reserve("limited", "bob", 2)))
        assert.equal(201, (reserve("single")).status)
        assert_refused(409, "sold_out", nil, (reserve("single")))
    end)

    it("an id that was used with other parameters", function()
        local id = fresh_id()
        assert.equal(201, (reserve("phone", alice, 1, id)).status)
        for _, args in ipairs { { "phone", alice, 2 },
                                { "phone", "bob", 1 },
                                { "plain", alice, 1 } } do
            local res = reserve(args[1], args[2], args[3], id)
            assert_refused(409, "conflict", "request_id", res)
        end
    end)

    it("whom the list denies", function()
        local res = reserve("phone", "mallory")
        assert_refused(403, "blocked", nil, res)
        assert.is_nil(res.headers["retry-after"])
    end)

    it("who asks too often, and says when to come back", function()
        local function try(item)
            return post("/tight/reserve", { item = item,
                                            request_id = fresh_id() },
                        bearer("hasty"))
        end
        -- A refusal of the stock gives the token back.
        assert_refused(404, "unknown_item", "item", (try("nothing")))
        assert.equal(201, (try("phone")).status)
        local res = try("phone")
        local got = assert_refused(429, "rejected", nil, res)
        local whole = tonumber(res.headers["retry-after"])
        assert.is_true(got.retry_after > 90 and got.retry_after <= 100)
        assert.equal(math.ceil(got.retry_after), whole)
        assert.is_nil(res.headers["ratelimit"])
    end)

    it("and tells the limit to all who ask, where it is wanted", function()
        local function try(user)
            return post("/told/reserve", { item = "phone",
                                           request_id = fresh_id() },
                        bearer(user))
        end
        local res = try("calm")
        assert.equal(201, res.status)
        assert.equal('"told";q=1;w=100', res.headers["ratelimit-policy"])
        assert.equal('"told";r=0;t=100', res.headers["ratelimit"])
        assert.is_nil(res.headers["retry-after"])
        assert.is_nil(res.headers["x-ratelimit-limit"])
        res = try("calm")
        local got = assert_refused(429, "rejected", nil, res)
        assert.equal('"told";r=0;t=100', res.headers["ratelimit"])
        -- Later by the jitter, never earlier; header and body say the same.
        local seconds = tonumber(res.headers["retry-after"])
        assert.is_true(seconds >= 100 and seconds <= 105)
        assert.equal(seconds, got.retry_after)
        -- Nobody asked a limiter for her.
        res = try("mallory")
        assert_refused(403, "blocked", nil, res)
        assert.is_nil(res.headers["ratelimit"])
        assert.is_nil(res.headers["ratelimit-policy"])
    end)
end)


-- Values no id may have; the body is written by hand, for JSON has more of
-- them than Lua.
local NOT_IDS = {
    '""', '5', '-1', '1.5', 'true', 'false', 'null', '{}', '[]', '["a"]',
    '{"a":1}', '"' .. ("x"):rep(65) .. '"',
}
local NOT_COUNTS = {
    '0', '-1', '1.5', '0.1', '-0', '1e-3', '9007199254740992', '1e300',
    '-1e300', '1e999', '"1"', 'true', 'null', '{}', '[]', '""',
}
local NOT_JSON = {
    '', ' ', '{', '}', '{"item":}', '{item:"phone"}', "{'item':'phone'}",
    '{"item":"phone"', '{"item":"phone"}}', '{"item":"phone"} x', 'null',
    'true', '5', '"phone"', '["phone"]', '[{"item":"phone"}]', 'item=phone',
    '{"item":"a\0b"}', '\0', '\255\254{\0}\0', '{"qty":NaN}', '{"qty":nan}',
    '{"qty":Infinity}', '{"qty":-Infinity}', '{"qty":0x10}', '{"qty":1,}',
    '{"item":"\\x"}', '{"item":"\\ud800"}', '{"qty":1e}', '{"qty":--1}',
    '{"item":' .. ("["):rep(100) .. ("]"):rep(100) .. '}',
}


describe("bad input: POST /reserve", function()
    local function try(text)
        return server:request("POST", "/reserve", text, bearer(alice))
    end

    it("items", function()
        for _, value in ipairs(NOT_IDS) do
            assert_refused(400, "bad_item", "item", try(
                ('{"item":%s,"qty":1,"request_id":"r"}'):format(value)))
        end
        assert_refused(400, "bad_item", "item", try('{}'))
        assert_refused(400, "bad_item", "item", try('{"request_id":"r"}'))
    end)

    it("request ids", function()
        for _, value in ipairs(NOT_IDS) do
            assert_refused(400, "bad_request_id", "request_id", try(
                ('{"item":"phone","qty":1,"request_id":%s}'):format(value)))
        end
        assert_refused(400, "bad_request_id", "request_id",
                       try('{"item":"phone"}'))
    end)

    it("quantities", function()
        for _, value in ipairs(NOT_COUNTS) do
            local res = try(('{"item":"phone","qty":%s,"request_id":"r"}')
                            :format(value))
            assert_refused(400, "bad_qty", "qty", res)
        end
    end)

    it("bytes of any kind are ids, but of no item", function()
        for _, value in ipairs { '"a\\u0000b"', '"\\u0000"', '"\255\254"',
                                 '"\195\169"', '" "', '"../../etc/passwd"',
                                 '"\\"\\\\\\n"' } do
            assert_refused(404, "unknown_item", "item", try(
                ('{"item":%s,"qty":1,"request_id":%s}'):format(value, value)))
        end
    end)

    it("bodies that are not a JSON object", function()
        for _, text in ipairs(NOT_JSON) do
            local code = text == "" and "missing_body" or "bad_json"
            assert_refused(400, code, nil, try(text))
        end
        assert_refused(400, "missing_body", nil,
                       server:request("POST", "/reserve", nil,
                                      bearer(alice)))
    end)

    it("fields that are not known, the user's name among them", function()
        for _, name in ipairs { "user", "id", "price", "Item", "ITEM",
                                "item ", "token", "expires_at" } do
            local text = ('{"item":"phone","request_id":"r","%s":"x"}')
                         :format(name)
            assert_refused(400, "unknown_field", (name:gsub(" ", "?")),
                           try(text))
        end
        local res = try('{"\\"</script>\\u0000\255' .. ("x"):rep(200)
                        .. '":1}')
        local got = assert_refused(400, "unknown_field",
                                   cjson.decode(res.body).field, res)
        assert.matches("^[%w?_.-]+$", got.field)
        assert.equal(64, #got.field)
    end)

    it("bodies that are too large", function()
        local pad = ('{"item":"%s"}'):format(("x"):rep(5000))
        assert_refused(413, "body_too_large", nil, try(pad))
        pad = ('{"item":"%s"}'):format(("x"):rep(20000))
        assert_refused(413, "body_too_large", nil, try(pad))
        local c = server:client()
        for _, size in ipairs { 5000, 20000 } do
            c:send("POST /reserve HTTP/1.1\r\nHost: x\r\nAuthorization: "
                   .. bearer(alice).Authorization
                   .. "\r\nTransfer-Encoding: chunked\r\n\r\n"
                   .. ("%x\r\n"):format(size) .. ("x"):rep(size)
                   .. "\r\n0\r\n\r\n")
            assert_refused(413, "body_too_large", nil, c:receive("POST"))
        end
        c:close()
        local most = '{"item":"phone","request_id":"' .. fresh_id() .. '"}'
        most = most .. (" "):rep(4096 - #most)
        assert.equal(201, try(most).status)
        assert_refused(413, "body_too_large", nil, try(most .. " "))
    end)
end)


describe("bad input: who asks", function()
    local PATHS = { { "POST", "/reserve" }, { "POST", "/confirm" },
                    { "POST", "/cancel" },
                    { "GET", "/find?request_id=request-1" } }

    local function assert_unauthorized(authorization, invalid)
        for _, case in ipairs(PATHS) do
            local res = server:request(case[1], case[2],
                case[1] == "POST" and "{}" or nil,
                { Authorization = authorization })
            assert_refused(401, "unauthorized", nil, res)
            local challenge = res.headers["www-authenticate"]
            assert.matches('^Bearer realm="seckill"', challenge)
            assert.equal(invalid, challenge:find("invalid_token") ~= nil)
        end
    end

    it("nobody", function()
        assert_unauthorized(nil, false)
        assert_unauthorized("", false)
        assert_unauthorized("Basic YWxpY2U6eA==", false)
        assert_unauthorized("Bearer", false)
    end)

    it("with a forged, expired or strange token", function()
        local good = { sub = alice, exp = NOW + 3600 }
        local forged = tokens.jwt(good, ("forged-key"):rep(4))
        local none = tokens.raw('{"alg":"none"}', cjson.encode(good), JWT_KEY)
        for _, text in ipairs {
            forged, none, none:gsub("[^.]*$", ""),
            tokens.jwt({ sub = alice, exp = NOW - 1 }, JWT_KEY),
            tokens.jwt({ sub = alice, exp = NOW + 9, nbf = NOW + 5 },
                       JWT_KEY),
            tokens.jwt({ sub = alice }, JWT_KEY),
            tokens.jwt({ exp = NOW + 3600 }, JWT_KEY),
            tokens.jwt({ sub = ("x"):rep(65), exp = NOW + 3600 }, JWT_KEY),
            tokens.jwt({ sub = "", exp = NOW + 3600 }, JWT_KEY),
            tokens.jwt({ sub = 5, exp = NOW + 3600 }, JWT_KEY),
            "x", "a.b.c", "...", "\255", ("x"):rep(5000),
            minted:make { item = "phone", user = alice, id = "r",
                          expires_at = NOW + 60 },
        } do
            assert_unauthorized("Bearer " .. text, true)
        end
    end)

    it("is told by a rule where there is one", function()
        local body = '{"item":"phone","request_id":"%s"}'
        local function try(user)
            return server:request("POST", "/rule/reserve",
                                  body:format(fresh_id()),
                                  { ["X-User"] = user })
        end
        assert.equal(201, try("carol").status)
        assert_refused(401, "unauthorized", nil, try(nil))
        assert_refused(401, "unauthorized", nil, try(("x"):rep(65)))
        local res = server:request("POST", "/rule/reserve",
                                   ("x"):rep(101), { ["X-User"] = "carol" })
        assert_refused(413, "body_too_large", nil, res)
    end)
end)


describe("POST /confirm and /cancel", function()
    local function finish(path, text, user)
        return post(path, { token = text }, bearer(user or alice))
    end

    it("confirm, once and again", function()
        local _, order = reserve("phone")
        for _ = 1, 2 do
            local res = finish("/confirm", order.token)
            assert.equal(200, res.status)
            assert.equal(('{"id":"%s","item":"phone","state":"confirmed"}\n')
                         :format(order.id), res.body)
        end
        assert_refused(409, "confirmed", nil,
                       (finish("/cancel", order.token)))
    end)

    it("cancel, once and again", function()
        local _, order = reserve("phone")
        for _ = 1, 2 do
            local res = finish("/cancel", order.token)
            assert.equal(200, res.status)
            assert.equal(('{"id":"%s","item":"phone","state":"cancelled"}\n')
                         :format(order.id), res.body)
        end
        assert_refused(409, "cancelled", nil,
                       (finish("/confirm", order.token)))
    end)

    it("show the end in a replay, without a token", function()
        local id = fresh_id()
        local _, order = reserve("phone", alice, 1, id)
        finish("/confirm", order.token)
        local res, again = reserve("phone", alice, 1, id)
        assert.equal(200, res.status)
        assert.equal("confirmed", again.state)
        assert.is_nil(again.token)
    end)

    it("refuse another user's token", function()
        local _, order = reserve("phone")
        for _, path in ipairs { "/confirm", "/cancel" } do
            assert_refused(403, "foreign_token", "token",
                           (finish(path, order.token, "bob")))
        end
    end)

    it("refuse a token whose hold has ended", function()
        local _, order = reserve("short")
        local gone = harness.wait(function()
            local res = get("/find?request_id=request-" .. ids)
            return decode(res).state == "expired"
        end)
        assert.is_true(gone)
        for _, path in ipairs { "/confirm", "/cancel" } do
            assert_refused(409, "expired", nil, (finish(path, order.token)))
        end
    end)

    it("repeat their answer after the hold would have ended", function()
        local _, order = reserve("short")
        assert.equal(200, finish("/confirm", order.token).status)
        assert.is_true(harness.wait(function()
            return socket.gettime() > order.expires_at + 0.1
        end))
        assert.equal(200, finish("/confirm", order.token).status)
        assert_refused(409, "confirmed", nil,
                       (finish("/cancel", order.token)))
    end)

    it("refuse forged, cut and strange tokens", function()
        local _, order = reserve("phone")
        local other = token.new { keys = { { id = 1,
                                             key = ("forged"):rep(6) } } }
        local fields = { item = "phone", user = alice, id = order.id,
                         expires_at = NOW + 60 }
        for _, path in ipairs { "/confirm", "/cancel" } do
            for _, text in ipairs { other:make(fields), order.token .. "A",
                                    order.token:sub(1, -2), "x",
                                    order.token:reverse(), order.id } do
                assert_refused(400, "bad_token", "token",
                               (finish(path, text)))
            end
            for _, value in ipairs(NOT_IDS) do
                local res = server:request("POST", path,
                    ('{"token":%s}'):format(value), bearer(alice))
                assert_refused(400, "bad_token", "token", res)
            end
            assert_refused(400, "bad_token", "token", (post(path, "{}")))
        end
    end)

    it("do not know a well signed id that never was", function()
        local text = minted:make { item = "phone", user = alice, id = "x",
                                   expires_at = NOW + 60 }
        for _, path in ipairs { "/confirm", "/cancel" } do
            assert_refused(404, "unknown_reservation", nil,
                           (finish(path, text)))
        end
    end)

    it("refuse bodies as /reserve does", function()
        for _, path in ipairs { "/confirm", "/cancel" } do
            for _, text in ipairs(NOT_JSON) do
                local code = text == "" and "missing_body" or "bad_json"
                local res = server:request("POST", path, text,
                                           bearer(alice))
                assert_refused(400, code, nil, res)
            end
            for _, name in ipairs { "item", "user", "id" } do
                local res = post(path, { token = "x", [name] = "y" })
                assert_refused(400, "unknown_field", name, res)
            end
        end
    end)
end)


describe("GET /find", function()
    it("gives the order with a token that confirms it", function()
        local id = fresh_id()
        local _, order = reserve("phone", alice, 1, id)
        local res = get("/find?request_id=" .. id)
        local found = decode(res)
        assert.equal(200, res.status)
        assert.equal("no-store", res.headers["cache-control"])
        assert.equal(order.id, found.id)
        assert.equal(order.token, found.token)
        assert.equal("reserved", found.state)
        local done = post("/confirm", { token = found.token })
        assert.equal(200, done.status)
        found = decode(get("/find?request_id=" .. id))
        assert.equal("confirmed", found.state)
        assert.is_nil(found.token)
    end)

    it("takes any byte, escaped", function()
        local id = "a b&c=\0\195\169" .. ids
        reserve("phone", alice, 1, id)
        local path = "/find?request_id=" .. id:gsub("[^%w]", function(c)
            return ("%%%02x"):format(c:byte())
        end)
        assert.equal(200, get(path).status)
    end)

    it("does not show another user's order", function()
        local id = fresh_id()
        reserve("phone", alice, 1, id)
        local foreign = get("/find?request_id=" .. id, bearer("bob"))
        local missing = get("/find?request_id=never-was", bearer("bob"))
        assert_refused(404, "unknown_request", "request_id", foreign)
        assert.equal(missing.body, foreign.body)
        assert.equal(missing.status, foreign.status)
    end)

    it("refuses what is not a request id", function()
        for _, query in ipairs { "", "?", "?request_id", "?request_id=",
                                 "?request_id=a&request_id=b", "?x=y",
                                 "?request_id=" .. ("x"):rep(65),
                                 "?REQUEST_ID=x",
                                 "?a&b&c&d&e&f&g&h&i&request_id=x" } do
            assert_refused(400, "bad_request_id", "request_id",
                           get("/find" .. query))
        end
    end)
end)


describe("GET /items", function()
    it("lists the items without identity", function()
        local res = server:request("GET", "/items")
        assert.equal(200, res.status)
        local by_name = {}
        for _, item in ipairs(decode(res).items) do
            by_name[item.item] = item
        end
        local limited = by_name.limited
        assert.equal(100, limited.total)
        assert.equal(limited.total,
                     limited.available + limited.reserved + limited.sold)
        assert.equal(2, limited.max_qty)
        assert.equal(3, limited.per_user)
        assert.equal(60, limited.hold)
        assert.is_nil(limited.starts_at)
        assert.is_true(by_name.early.starts_at > NOW)
        assert.is_table(by_name["q\"\\/\n\195\169"])
        assert.matches('"total":9007199254740991', res.body, 1, true)
    end)
end)


describe("GET /metrics", function()
    it("is accepted by promtool", function()
        local res = server:request("GET", "/metrics")
        assert.equal(200, res.status)
        assert.matches("^text/plain", res.headers["content-type"])
        local path = server.prefix .. "/metrics"
        local file = assert(io.open(path, "wb"))
        file:write(res.body)
        file:close()
        local pipe = io.popen("promtool check metrics < " .. path
                              .. " 2>&1; echo exit $?")
        local told = pipe:read("*a")
        pipe:close()
        assert.equal("exit 0\n", told)
    end)
end)


describe("health", function()
    it("is ok, and ready", function()
        local res = server:request("GET", "/healthz")
        assert.equal(200, res.status)
        assert.equal('{"status":"ok"}\n', res.body)
        res = server:request("GET", "/readyz")
        assert.equal('{"status":"ready"}\n', res.body)
        assert.equal(200, res.status)
    end)

    it("is not ready while a check of the user's own says so", function()
        local res = server:request("GET", "/rule/readyz")
        local got = assert_refused(503, "not_ready", nil, res)
        assert.equal("warming up", got.reason)
        assert.equal(200, server:request("GET", "/rule/healthz").status)
    end)
end)


describe("methods and paths", function()
    it("405 names what is allowed", function()
        for path, allow in pairs {
            ["/reserve"] = "POST", ["/confirm"] = "POST",
            ["/cancel"] = "POST", ["/find"] = "GET, HEAD",
            ["/items"] = "GET, HEAD", ["/metrics"] = "GET, HEAD",
            ["/healthz"] = "GET, HEAD", ["/readyz"] = "GET, HEAD",
        } do
            for _, method in ipairs { "GET", "POST", "PUT", "DELETE", "PATCH",
                                      "OPTIONS" } do
                if not allow:find(method, 1, true) then
                    local res = server:request(method, path, nil,
                                               bearer(alice))
                    assert_refused(405, "method_not_allowed", nil, res)
                    assert.equal(allow, res.headers.allow)
                end
            end
        end
    end)

    it("HEAD gives the headers of GET", function()
        local res = server:request("HEAD", "/healthz")
        assert.equal(200, res.status)
        assert.equal("", res.body)
    end)

    it("404 for every other path", function()
        for _, path in ipairs { "/", "/reserve/", "/Reserve", "/reservex",
                                "/x/reserve", "/tight/", "/rule/x" } do
            assert_refused(404, "not_found", nil,
                           server:request("GET", path))
        end
    end)
end)


describe("a worker that saw all this", function()
    it("has the units of all items in balance", function()
        local items = decode(server:request("GET", "/items")).items
        assert.is_true(#items > 5)
        for _, item in ipairs(items) do
            assert.equal(item.total,
                         item.available + item.reserved + item.sold)
        end
    end)
end)
