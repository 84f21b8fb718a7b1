-- The table of codes: complete, and as documented. Plain LuaJIT.

local cjson = require "cjson"
local lib = require "resty.seckill.lib"
local status = require "resty.seckill.http_status"


-- What the endpoints can be told by the engine.
local ENGINE_CODES = {
    "bad_item", "bad_user", "bad_qty", "bad_request_id", "bad_key",
    "bad_value", "bad_token", "conflict", "too_old",
    "unknown_item", "not_started", "ended", "paused", "qty_limit",
    "user_limit", "sold_out", "rejected", "blocked", "unknown_reservation",
    "reserved", "expired", "cancelled", "confirmed", "refunded", "pending",
    "unknown_request", "full", "busy", "closed", "open", "overloaded",
}


describe("http_status", function()
    it("has every code that the engine can answer a request with", function()
        for _, code in ipairs(ENGINE_CODES) do
            assert.is_number(lib.codes[code], code)
            -- A user that is none was refused with 401 before.
            if code ~= "bad_user" then
                assert.equal(code, status.of(code).code)
            end
        end
    end)

    it("has answers that are JSON and say the same", function()
        for code, entry in pairs(status.entries) do
            local body = cjson.decode(entry.body)
            assert.equal(code, body.code)
            assert.equal(entry.message, body.message)
            assert.is_true(#entry.message > 0, code)
            assert.equal(entry.field, body.field)
            assert.equal(entry.retry_after, body.retry_after)
            assert.same(entry.retry_after == nil and entry.head .. "}\n"
                        or entry.body, entry.body)
        end
    end)

    it("takes what it does not know for internal", function()
        assert.equal(500, status.of("no_such_code").status)
        assert.equal(500, status.of(nil).status)
    end)

    it("is documented, code by code", function()
        local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$")
        local file = assert(io.open(here .. "/../docs/api/http.md"))
        local documented = {}
        for line in file:lines() do
            local number, codes = line:match("^| (%d%d%d) | ([^|]*) |")
            for code in (codes or ""):gmatch("`([%w_]+)`") do
                documented[code] = tonumber(number)
            end
        end
        file:close()
        for code, entry in pairs(status.entries) do
            assert.equal(entry.status, documented[code], code)
        end
        for code in pairs(documented) do
            assert.is_table(status.entries[code], code)
        end
    end)
end)
