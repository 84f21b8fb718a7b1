-- The proof of the demo must be able to fail: examples/demo/report.lua is given
-- logs of a small sale, one of them true, the others with one lie each.

local harness = require "spec.nginx.harness"
local seckill = require "resty.seckill"

local NAME = "spec_report_" .. harness.free_port()
local TOTAL, USERS = 10, 12
local START = 1000

local directory, engine


local function write(name, text)
    local file = assert(io.open(directory .. "/" .. name, "wb"))
    file:write(text)
    file:close()
end


-- A line of the log, as wrk_flood.lua writes it.
local function row(t)
    return table.concat({ t.seq, t.op, t.user, t.id, t.status, t.code or "-",
                          t.order or "-", t.state or "-", t.remaining or "-",
                          t.expires_at or "-", t.sent, t.sent + 0.1, 7,
                          t.token or "-" }, "\t")
end


local function user(n)
    return ("user-%06d"):format(n)
end


-- Ten users buy and confirm, two come too late, everyone asks again.
local function true_log()
    local log = {}
    local function add(t)
        t.seq, t.sent = #log + 1, t.sent or START + #log
        log[#log + 1] = t
    end
    for n = 1, TOTAL do
        local order = { user = user(n), id = "r" .. n, order = "o" .. n }
        local function answer(op, status, state, token)
            add { op = op, user = order.user, id = order.id, state = state,
                  order = order.order, status = status, token = token,
                  remaining = op == "reserve" and TOTAL - n or nil,
                  expires_at = START + 1000 }
        end
        answer("reserve", 201, "reserved", "t" .. n)
        answer("confirm", 200, "confirmed")
    end
    for n = TOTAL + 1, USERS do
        add { op = "reserve", user = user(n), id = "r" .. n, status = 409,
              code = "sold_out" }
    end
    for n = 1, TOTAL do
        add { op = "again", user = user(n), id = "r" .. n, order = "o" .. n,
              status = 200, state = "confirmed" }
    end
    add { op = "find", user = user(11), id = "r11", status = 404,
          code = "unknown_request" }
    return log
end


local function report(log, notes)
    local lines = {}
    for i, t in ipairs(log) do
        lines[i] = row(t)
    end
    for _, note in ipairs(notes or { "#kill\t7\t6\t1005", "#after\t7\t5",
                                     "#lost\t99\treserve\tu\tr11\t1003",
                                     "#end\tcomplete" }) do
        lines[#lines + 1] = note
    end
    write("answers", table.concat(lines, "\n") .. "\n")
    local command = ("cd '%s' && LUA_PATH='lua/?.lua;;' LUA_CPATH='%s/?.so;;' "
                     .. "luajit examples/demo/report.lua '%s' %s %d %d %d 2>&1"
                     .. "; echo exit $?"):format(harness.root, harness.build,
                     directory, NAME, TOTAL, USERS, #log)
    local pipe = assert(io.popen(command))
    local text = pipe:read("*a")
    pipe:close()
    return text
end


local function assert_fails(line, log, notes)
    local text = report(log, notes)
    assert.truthy(text:find(line .. " +[^\n]*FAILED\n"), text)
    assert.truthy(text:find("exit 1\n", 1, true), text)
end


setup(function()
    local pipe = assert(io.popen("mktemp -d"))
    directory = pipe:read("*l")
    pipe:close()
    write("blacklist", "# none of them\nuser-000099\n")
    write("error.log", "[alert] 1#1: worker process 7 exited on signal 9\n")
    engine = assert(seckill.open { name = NAME })
    assert(engine.stock:put { item = "phone", version = 1, total = TOTAL })
    assert(engine.stock:reserve("phone", "all", TOTAL, "all"))
end)


teardown(function()
    engine:close()
    seckill.destroy(NAME)
    for _, name in ipairs { "blacklist", "error.log", "answers" } do
        os.remove(directory .. "/" .. name)
    end
    os.remove(directory)
end)


describe("the proof of the demo", function()
    it("holds for a true log", function()
        local text = report(true_log())
        assert.truthy(text:find("exit 0\n", 1, true), text)
        assert.falsy(text:find("FAILED", 1, true), text)
    end)

    it("fails for a sale that is not complete", function()
        local log = true_log()
        for _, t in ipairs(log) do
            if t.id == "r3" then
                t.state = "reserved"
            end
        end
        assert_fails("confirmed", log)
    end)

    it("fails for one order too many", function()
        local log = true_log()
        log[#log + 1] = { seq = 90, op = "reserve", user = user(11),
                          id = "more", order = "o11", status = 201,
                          state = "reserved", expires_at = START + 1000,
                          sent = START + 90 }
        assert_fails("oversold", log)
    end)

    it("fails for a negative stock", function()
        local log = true_log()
        log[1].remaining = -1
        assert_fails("oversold", log)
    end)

    it("fails for two orders of one user at a time, not for one after the "
       .. "other", function()
        local log = true_log()
        local extra = { seq = 90, op = "reserve", user = user(1), id = "two",
                        order = "o90", status = 201, state = "reserved",
                        expires_at = START - 50, sent = START - 90 }
        table.insert(log, extra)
        local text = report(log)
        assert.falsy(text:find("over limit[^\n]*FAILED"), text)
        extra.expires_at = START + 50
        assert_fails("users over limit", log)
    end)

    it("fails for a blocked user who was served", function()
        local log = true_log()
        for _, t in ipairs(log) do
            if t.user == user(4) then
                t.user = "user-000099"
            end
        end
        assert_fails("blocked users served", log)
    end)

    it("fails for another order of the same request id", function()
        local log = true_log()
        log[25].order = "o99"
        assert_fails("ids answered differently", log)
    end)

    it("fails for another token, and for a second 201", function()
        for _, name in ipairs { "token", "status" } do
            local log = true_log()
            log[25].token = name == "token" and "t99" or nil
            log[25].status = name == "status" and 201 or 200
            assert_fails("ids answered differently", log)
        end
    end)

    it("fails for a refusal after the answer", function()
        local log = true_log()
        local t = log[25]
        t.order, t.state, t.status, t.code = nil, nil, 409, "sold_out"
        assert_fails("ids answered differently", log)
        assert_fails("winners asked again", log)
    end)

    it("fails for a lost answer that nobody resolved", function()
        local log = true_log()
        log[#log] = nil
        assert_fails("lost answers unresolved", log)
    end)

    it("fails for a kill too early, too late, or none", function()
        for _, kill in ipairs { "#kill\t7\t9\t1\n#after\t7\t5",
                                "#kill\t7\t3\t1\n#after\t7\t1",
                                "#end\tcomplete" } do
            assert_fails("available at the kill", true_log(),
                         { kill, "#end\tcomplete" })
        end
    end)

    it("fails for a flood that timed out", function()
        assert_fails("the sale came to its end", true_log(),
                     { "#end\ttimeout" })
    end)

    it("fails for an error in nginx's log", function()
        write("error.log", "[error] 7#7: lua entry thread aborted\n")
        assert_fails("errors in nginx's log", true_log())
        write("error.log", "")
    end)

    it("fails when the engine says something else", function()
        assert(engine.stock:adjust("phone", 1, "adjust"))
        assert_fails("engine: available %+ reserved", true_log())
    end)
end)
