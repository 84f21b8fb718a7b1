-- The program `seckill` as a shell sees it: output, exit status, and what it
-- does with command lines that are wrong in any way.

local cjson = require("cjson")
local cli = require("resty.seckill.cli")
local ffi = require("ffi")
local lib = require("resty.seckill.lib")
local output = require("resty.seckill.cli.output")
local args = require("resty.seckill.cli.args")
local seckill = require("resty.seckill")

local SMALL = { items = 8, reservations = 256, users = 256, requests = 512,
                limit_keys = 1, log_units = 2^12 }
local OK, REFUSED, USAGE, DAMAGED, NOT_FOUND = 0, 1, 2, 3, 4

local base, engine


local function shell(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read("*a")
    pipe:close()
    return text
end


local function slurp(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end


-- A status of os.execute is lost inside nginx, which reaps all children.
local function run(line, pipe)
    shell(("export SECKILL_LIB='%s'; { ./bin/seckill %s; echo $? >%s/status; }"
           .. " 2>%s/err %s >%s/out"):format(lib.path, line, base, base,
                                            pipe or "", base))
    return tonumber(slurp(base .. "/status")), slurp(base .. "/out"),
           slurp(base .. "/err")
end


local function expect(status, line)
    local got, out, err = run(line)
    assert.equal(status, got, line .. "\n" .. out .. err)
    if status == OK then
        assert.equal("", err, line)
    elseif status ~= REFUSED and status ~= DAMAGED then
        assert.equal("", out, line)
    end
    if status ~= OK then
        assert.is_nil(err:find("traceback", 1, true), err)
        assert.is_nil(err:find("%.lua:%d"), err)
    end
    return out, err
end


local function json(line)
    return cjson.decode((expect(OK, line .. " -o json")))
end


local function open(dir)
    engine = assert(seckill.open { name = "cli", shm_dir = base, dir = dir,
                                   capacity = SMALL })
    return engine.stock
end


local function close()
    if engine then
        engine:close()
        engine = nil
    end
    seckill.destroy("cli", base)
end


local ASYNC = { durability = "async" }


local function flush()
    local rc = lib.C.seckill_sync_wait(engine.handle,
        lib.C.seckill_lsn(engine.handle), 10000000000LL)
    assert.equal(0, rc)
end


-- put waits for the disk, which needs started threads inside nginx.
local function put(item, total)
    local i = ffi.new("seckill_item_t")
    i.struct_size = ffi.sizeof("seckill_item_t")
    i.item_len = #item
    ffi.copy(i.item, item, #item)
    i.total, i.hold_ns, i.version = total, 60000000000LL, 1
    assert.equal(0, lib.C.seckill_put(engine.handle, i))
end


local function before()
    base = shell("mktemp -d /dev/shm/seckill-spec.XXXXXX"):gsub("%s", "")
end


local function after()
    close()
    os.execute("rm -rf '" .. base .. "'")
end


describe("command line", function()
    before_each(before)
    after_each(after)

    it("has help for the program, each group and each command", function()
        local text = expect(OK, "--help")
        for group in ("stock ledger list"):gmatch("%S+") do
            assert.is_truthy(text:find("\n  " .. group .. " ", 1, true))
            local help = expect(OK, group .. " --help")
            local n = 0
            local list = help:match("Commands:\n(.-)\n\n")
            for command in list:gmatch("\n?  ([%l]+) [^\n]*") do
                n = n + 1
                local own = expect(OK, group .. " " .. command .. " --help")
                assert.is_truthy(own:find("Usage: seckill " .. group .. " "
                                          .. command, 1, true))
                assert.is_truthy(own:find("Exit status:", 1, true))
                assert.equal(own, (expect(OK, group .. " " .. command
                                          .. " -h --name x")))
                for row in own:gmatch("[^\n]+") do
                    assert.is_true(#row <= 80, row)
                end
            end
            assert.is_true(n >= 5)
        end
    end)

    it("has a version", function()
        assert.equal("seckill " .. seckill.version() .. "\n",
                     (expect(OK, "--version")))
        assert.equal(seckill.version(), cli._VERSION)
    end)

    it("names what is wrong and says where help is", function()
        for line, name in pairs {
            [""] = "no command",
            ["stock"] = "no command",
            ["nothing"] = "nothing",
            ["stok list"] = "stok",
            ["--nothing"] = "--nothing",
            ["stock nothing"] = "nothing",
            ["stock --nothing"] = "--nothing",
            ["stock list --nothing"] = "--nothing",
            ["stock list -x"] = "-x",
            ["stock list --nothing=1"] = "--nothing",
            ["stock list extra"] = "extra",
            ["stock list --name"] = "--name",
            ["stock list --name --output"] = "--name",
            ["stock list --name=A"] = "--name",
            ["stock list --name ''"] = "--name",
            ["stock list -o xml"] = "-o",
            ["stock list -oxml"] = "-o",
            ["stock list --name a --name b"] = "--name",
            ["stock list --help=1"] = "--help",
            ["stock list --shm-dir="] = "--shm-dir",
            ["stock show"] = "ITEM",
            ["stock show ''"] = "ITEM",
            ["stock show a b"] = "b",
            ["stock show " .. ("x"):rep(65)] = "ITEM",
            ["stock put x --total -1"] = "--total",
            ["stock put x --total 1.5"] = "--total",
            ["stock put x --total 1e3"] = "--total",
            ["stock put x --total 0x10"] = "--total",
            ["stock put x --total ''"] = "--total",
            ["stock put x --total=9007199254740992"] = "--total",
            ["stock put x --total " .. ("9"):rep(400)] = "--total",
            ["stock put x --total 1 --version 0"] = "--version",
            ["stock put x --total 1 --hold -1"] = "--hold",
            ["stock put x --total 1 --hold nan"] = "--hold",
            ["stock put x --total 1 --hold 1e300"] = "--hold",
            ["stock put x --total 1 --starts-at noon"] = "--starts-at",
            ["stock put x --total 1 --ends-at 2026-02-30T00:00:00Z"] =
                "--ends-at",
            ["stock adjust x"] = "DELTA",
            ["stock adjust x 0 --request-id a"] = "DELTA",
            ["stock adjust x 1.5 --request-id a"] = "DELTA",
            ["stock adjust x -y --request-id a"] = "-y",
            ["stock adjust x 5"] = "--request-id",
            ["stock show $(printf '\\377\\001') extra"] = "extra",
            ["stock $(printf '\\377\\033[2J')"] = "\\xff\\x1b",
        } do
            local _, err = expect(USAGE, line)
            assert.is_truthy(err:find(name, 1, true), line .. ": " .. err)
            assert.is_truthy(err:find("--help", 1, true), line .. ": " .. err)
            assert.is_nil(err:find("\27", 1, true))
        end
    end)

    it("takes options in any form and place", function()
        open()
        put("tee", 5)
        local at = "--shm-dir " .. base
        for _, line in ipairs {
            "stock show tee --name cli %s -o json",
            "stock show --name=cli %s -ojson tee",
            "stock show %s --output json --name cli -- tee",
            "stock show %s -o=json --name cli tee",
        } do
            local status, out = run(line:format(at))
            if line:find("-o=", 1, true) then
                assert.equal(USAGE, status)
            else
                assert.equal(5, cjson.decode(out).total)
            end
        end
    end)
end)


describe("stock", function()
    local at

    before_each(function()
        before()
        at = " --name cli --shm-dir " .. base
    end)
    after_each(after)

    it("says where no engine is running", function()
        local _, err = expect(NOT_FOUND, "stock list" .. at)
        assert.is_truthy(err:find("no engine \"cli\" is running", 1, true))
        assert.is_truthy(err:find("--dir", 1, true))
        -- and makes none
        expect(NOT_FOUND, "stock put x --total 1" .. at)
        expect(NOT_FOUND, "stock list --dir " .. base .. "/none" .. at)
        expect(NOT_FOUND, "stock list --shm-dir /none")
    end)

    it("puts, shows, lists and changes items", function()
        local stock = open()
        local tee = json("stock put tee --total 10 --per-user 2 --max-qty 1 "
            .. "--hold 90.5 --starts-at 2026-01-01T00:00:00Z "
            .. "--ends-at 4102444800" .. at)
        local own = assert(stock:get("tee"))
        assert.equal(1767225600, own.starts_at)
        assert.equal(90.5, own.hold)
        assert.same(own, tee)
        assert.same(own, json("stock show tee" .. at))
        expect(OK, "stock put mug --total 0" .. at)
        local list = json("stock list" .. at)
        assert.equal(2, #list)
        assert.equal("mug", list[1].item)
        assert.equal(13, json("stock adjust tee 3 --request-id a" .. at).total)
        assert.equal(13, json("stock adjust tee 3 --request-id a" .. at).total)
        assert.equal(11,
                     json("stock adjust tee -2 --request-id b" .. at).total)
        assert.equal("paused", json("stock pause tee" .. at).state)
        assert.equal("open", json("stock resume tee" .. at).state)
        local text = expect(OK, "stock show tee" .. at)
        assert.is_truthy(text:find("total      11\n", 1, true))
        assert.is_truthy(text:find("2100-01-01T00:00:00.000Z", 1, true))
        text = expect(OK, "stock list" .. at)
        local widths = {}
        for line in text:gmatch("[^\n]+") do
            widths[#widths + 1] = #line
        end
        assert.same({ widths[1], widths[1], widths[1] }, widths)
    end)

    it("says what was refused and what to do", function()
        open()
        local _, err = expect(REFUSED, "stock put tee" .. at)
        assert.is_truthy(err:find("bad_total", 1, true))
        assert.is_truthy(err:find("--total", 1, true))
        expect(OK, "stock put tee --total 5" .. at)
        _, err = expect(REFUSED, "stock put tee --total 6" .. at)
        assert.is_truthy(err:find("conflict", 1, true))
        assert.is_truthy(err:find("--version 2", 1, true))
        _, err = expect(REFUSED, "stock adjust tee -6 --request-id a" .. at)
        assert.is_truthy(err:find("below_sold", 1, true))
        for _, command in ipairs { "show", "pause", "resume" } do
            _, err = expect(NOT_FOUND, "stock " .. command .. " none" .. at)
            assert.is_truthy(err:find("unknown_item", 1, true))
        end
        expect(REFUSED, "stock put x --total 1 --hold 1000000" .. at)
        expect(REFUSED, "stock list --user no-such-user-here" .. at)
    end)

    it("prints an empty list as JSON too", function()
        open()
        assert.equal("[]\n", (expect(OK, "stock list -o json" .. at)))
    end)

    it("shows bytes that are no text", function()
        open()
        expect(OK, "stock put \"$(printf 'a\\377\\033[2J')\" --total 1" .. at)
        expect(OK, "stock put 'größe \"m\"' --total 1" .. at)
        local text = expect(OK, "stock list" .. at)
        assert.is_truthy(text:find("a\\xff\\x1b[2J", 1, true))
        assert.is_truthy(text:find("größe \"m\"", 1, true))
        assert.is_nil(text:find("\27", 1, true))
        local list = json("stock list" .. at)
        assert.equal("61ff1b5b324a", list[1].item_hex)
        assert.equal("a\239\191\189\27[2J", list[1].item)
        assert.equal("größe \"m\"", list[2].item)
        assert.is_nil(list[2].item_hex)
        assert.equal(1, json("stock show \"$(printf 'a\\377\\033[2J')\""
                             .. at).total)
    end)

end)


describe("ledger", function()
    local dir

    -- In a process of its own: a directory stays with the process that opened
    -- it. The segment stays, too.
    local function sell(more)
        local file = assert(io.open(base .. "/sell.lua", "wb"))
        file:write(([[
            package.path, package.cpath = %q, %q
            local engine = assert(require("resty.seckill").open {
                name = "cli", shm_dir = %q, dir = %q, capacity = { items = 8,
                reservations = 256, users = 256, requests = 512,
                limit_keys = 1, log_units = 2^12 } })
            local stock, ASYNC = engine.stock, { durability = "async" }
            assert(stock:put { item = "tee", total = 1000, hold = 60 })
            assert(stock:put { item = "m\255g", total = 1000, hold = 60 })
            for n = 1, 20 do
                local order = assert(stock:reserve("tee", "u" .. n, 1,
                                                   "r" .. n, ASYNC))
                if n %% 4 == 0 then
                    assert(stock:cancel(order.id, ASYNC))
                end
            end
            assert(stock:reserve("m\255g", "u\0x", 1, "last",
                                 { durability = "sync" }))
            %s
            print("sold")
        ]]):format(package.path, package.cpath, base, dir, more or ""))
        file:close()
        assert.equal("sold\n", shell("SECKILL_LIB='" .. lib.path
            .. "' luajit " .. base .. "/sell.lua 2>&1"))
    end

    before_each(function()
        before()
        dir = base .. "/log"
        sell()
    end)
    after_each(after)

    local function lines(text)
        local list = {}
        for line in text:gmatch("[^\n]+") do
            list[#list + 1] = line
        end
        return list
    end

    -- Both with the engine and with the files alone.
    local function both(fn)
        fn(" --name cli --shm-dir " .. base)
        close()
        fn(" --dir " .. dir)
    end

    it("wants a directory or an engine", function()
        for _, command in ipairs { "verify", "dump", "tail", "snapshot",
                                   "stats", "cursors", "repair --yes" } do
            expect(USAGE, "ledger " .. command)
            expect(USAGE, "ledger " .. command .. " --dir x --name y")
            expect(NOT_FOUND, "ledger " .. command .. " --dir " .. base
                   .. "/none")
            expect(NOT_FOUND, "ledger " .. command .. " --name none "
                   .. "--shm-dir " .. base)
        end
        close()
        open()
        local _, err = expect(NOT_FOUND, "ledger stats --name cli --shm-dir "
                              .. base)
        assert.is_truthy(err:find("no log", 1, true))
    end)

    it("dumps all records, or some", function()
        both(function(where)
            local all = lines((expect(OK, "ledger dump -o json" .. where)))
            assert.equal(28, #all)
            for i, line in ipairs(all) do
                all[i] = cjson.decode(line)
                assert.equal(i, all[i].lsn)
            end
            assert.equal("75078", all[28].user:gsub(".", function(c)
                return ("%x"):format(c:byte())
            end):sub(1, 5))
            assert.equal("6dff67", all[28].item_hex)
            local function count(options)
                return #lines((expect(OK, "ledger dump -o json " .. options
                                      .. where)))
            end
            assert.equal(26, count("--from 3"))
            assert.equal(3, count("--from 3 --to 5"))
            assert.equal(0, count("--from 5 --to 3"))
            assert.equal(5, count("--type cancel"))
            assert.equal(7, count("--type cancel,put"))
            assert.equal(2, count("--item \"$(printf 'm\\377g')\""))
            assert.equal(0, count("--item none"))
            local text = expect(OK, "ledger dump" .. where)
            assert.equal(29, #lines(text))
            assert.is_truthy(text:find("m\\xffg", 1, true))
            local _, err = expect(USAGE, "ledger dump --type cancel,sale"
                                  .. where)
            assert.is_truthy(err:find("\"sale\"", 1, true))
            assert.is_truthy(err:find("reserve", 1, true))
            expect(USAGE, "ledger dump --from -1" .. where)
            expect(USAGE, "ledger dump --type ''" .. where)
        end)
    end)

    it("shows the newest records", function()
        both(function(where)
            local list = lines((expect(OK, "ledger tail -o json" .. where)))
            assert.equal(10, #list)
            assert.equal(28, cjson.decode(list[10]).lsn)
            assert.equal(19, cjson.decode(list[1]).lsn)
            assert.equal(3, #lines((expect(OK, "ledger tail -n2" .. where))))
            assert.equal(28, #lines((expect(OK, "ledger tail -n 500 -o json"
                                            .. where))))
            expect(USAGE, "ledger tail -n 0" .. where)
        end)
    end)

    it("looks back over records that are not shown", function()
        sell([[
            engine:set_test_clock(engine:now() + 1e6)
            repeat until assert(stock:sweep(1000)) == 0
            assert(stock:pause("tee", { durability = "sync" }))
        ]])
        both(function(where)
            local all = lines((expect(OK, "ledger dump -o json" .. where)))
            local first = cjson.decode(all[1]).lsn
            assert.is_true(cjson.decode(all[#all]).lsn - first > #all + 10)
            for _, n in ipairs { 1, 2, 10, #all - 1, #all, #all + 1, 1e6 } do
                local list = lines((expect(OK, ("ledger tail -o json -n %d")
                                               :format(n) .. where)))
                assert.equal(math.min(n, #all), #list)
                assert.equal(all[#all], list[#list])
                assert.equal(all[#all - #list + 1], list[1])
            end
        end)
    end)

    it("follows", function()
        local pid = shell(("SECKILL_LIB='%s' ./bin/seckill ledger tail -f -n 1 "
            .. "-o json --name cli --shm-dir %s >%s/tail 2>&1 </dev/null & "
            .. "echo $!"):format(lib.path, base, base)):match("%d+")
        local function wait(lsn)
            for _ = 1, 200 do
                if slurp(base .. "/tail"):find('"lsn":' .. lsn .. ",") then
                    return true
                end
                output.sleep(0.02)
            end
        end
        local first = wait(28)
        assert(open(dir):reserve("tee", "late", 1, "late", ASYNC))
        flush()
        local second = wait(29)
        shell("kill " .. pid)
        assert.is_true(first)
        assert.is_true(second)
    end)

    it("ends quietly when nobody reads", function()
        for _, signal in ipairs { "", "trap '' PIPE; " } do
            shell(("%sSECKILL_LIB='%s' ./bin/seckill ledger dump --dir %s "
                .. "2>%s/err | true; : >%s/out"):format(signal, lib.path, dir,
                                                        base, base))
            assert.equal("", slurp(base .. "/err"))
        end
        -- Its status, when the reader has certainly left.
        shell(("export SECKILL_LIB='%s'; mkfifo %s/left; trap '' PIPE; "
            .. "{ echo >%s/left; read _ <%s/left; "
            .. "./bin/seckill ledger dump --dir %s; echo $? >%s/status; "
            .. "} 2>%s/err | { read _ <%s/left; exec <&-; echo >%s/left; }")
            :format(lib.path, base, base, base, dir, base, base, base, base))
        assert.equal("0\n", slurp(base .. "/status"))
        assert.equal("", slurp(base .. "/err"))
    end)

    -- `seckill line` with the output to `target`; its status and errors.
    local function write_to(target, line)
        shell(("export SECKILL_LIB='%s'; { ./bin/seckill %s >%s; "
            .. "echo $? >%s/status; } 2>%s/err"):format(lib.path, line, target,
                                                        base, base))
        return tonumber(slurp(base .. "/status")), slurp(base .. "/err")
    end

    it("says that its output cannot be written", function()
        for _, line in ipairs {
            "ledger dump --dir " .. dir, "ledger tail -o json --dir " .. dir,
            "ledger verify --dir " .. dir, "--help", "--version",
            "stock list --name cli --shm-dir " .. base,
            "ledger cursors --name cli --shm-dir " .. base,
        } do
            local status, err = write_to("/dev/full", line)
            assert.equal(REFUSED, status, line)
            assert.equal("seckill: standard output: "
                         .. "No space left on device\n", err)
        end
        local status, err = write_to("&-", "--help")
        assert.equal(REFUSED, status)
        assert.is_truthy(err:find("Bad file descriptor", 1, true))
    end)

    it("verifies", function()
        both(function(where)
            local found = json("ledger verify" .. where)
            assert.equal("ok", found.result)
            assert.equal(28, found.records)
            assert.equal(28, found.last_lsn)
            assert.equal(0, found.problem_count)
            assert.same({}, found.problems)
            local text = expect(OK, "ledger verify" .. where)
            assert.is_truthy(text:find("audit      ok", 1, true))
            local _, _, err = run("ledger verify --progress" .. where)
            assert.is_truthy(err:find("rebuilding", 1, true)
                             or err:find("reading", 1, true) or err == "")
        end)
        expect(USAGE, "ledger verify --live --dir " .. dir)
    end)

    it("compares a quiet engine with its log", function()
        local found = json("ledger verify --live --name cli --shm-dir " .. base)
        assert.equal("ok", found.result)
    end)

    it("finds damage, and cuts it off", function()
        close()
        -- Another life, so that something stands behind the damage.
        expect(OK, "stock put cap --total 1 --name cli --shm-dir " .. base
               .. " --dir " .. dir)
        close()
        -- The last batch of a life stands also where the next one begins.
        local spoiled = 0
        for path in shell("ls " .. dir .. "/wal.*"):gmatch("%S+") do
            local at = slurp(path):find("u7r7", 1, true)
            if at then
                local file = assert(io.open(path, "r+b"))
                file:seek("set", at - 1)
                file:write("XX")
                file:close()
                spoiled = spoiled + 1
            end
        end
        assert.is_true(spoiled > 0)
        local status, out = run("ledger verify -o json --dir " .. dir)
        local found = cjson.decode(out)
        assert.equal(DAMAGED, status, out)
        assert.equal("damaged", found.result)
        assert.equal("corrupt", found.damage.code)
        assert.equal(found.last_lsn, found.damage.after_lsn)
        assert.is_number(found.damage.segment, out)
        assert.is_number(found.damage.offset)
        local text = expect(DAMAGED, "ledger verify --dir " .. dir)
        assert.is_truthy(text:find("damage ", 1, true), text)
        local err
        text, err = expect(DAMAGED, "ledger dump --dir " .. dir)
        assert.equal(found.records + 1, #lines(text))
        assert.is_truthy(err:find("ledger repair", 1, true))
        expect(DAMAGED, "ledger tail --dir " .. dir)
        expect(DAMAGED, "stock list --name cli --shm-dir " .. base .. " --dir "
               .. dir)
        text, err = expect(USAGE, "ledger repair --dir " .. dir)
        assert.equal("", text)
        assert.is_truthy(err:find("--yes", 1, true))
        local repaired = json("ledger repair --yes --dir " .. dir)
        assert.is_true(repaired.cut)
        assert.equal(found.last_lsn, repaired.last_lsn)
        assert.equal("ok", json("ledger verify --dir " .. dir).result)
        assert.equal(found.records, #lines((expect(OK, "ledger dump -o json "
            .. "--dir " .. dir))))
    end)

    it("finds a damaged identity", function()
        close()
        local file = assert(io.open(dir .. "/ledger", "r+b"))
        file:seek("set", 40)
        file:write("XXXX")
        file:close()
        expect(DAMAGED, "ledger verify --dir " .. dir)
        expect(DAMAGED, "ledger stats --dir " .. dir)
        expect(DAMAGED, "ledger dump --dir " .. dir)
        expect(DAMAGED, "stock list --name cli --shm-dir " .. base .. " --dir "
               .. dir)
    end)

    it("is opened by stock where no engine is running", function()
        close()
        local at = " --name cli --shm-dir " .. base
        expect(NOT_FOUND, "stock show tee" .. at)
        local tee = json("stock show tee --dir " .. dir .. at)
        assert.equal(1000, tee.total)
        assert.equal(15, tee.reserved)
        assert.same(tee, json("stock show tee" .. at))
        assert.same(tee, json("stock show tee --dir " .. dir .. "/" .. at))
    end)

    it("repairs nothing that is sound", function()
        close()
        assert.is_false(json("ledger repair --yes --dir " .. dir).cut)
        assert.equal("nothing is damaged\n",
                     (expect(OK, "ledger repair --yes --dir " .. dir)))
    end)

    it("has numbers", function()
        both(function(where)
            local stats = json("ledger stats" .. where)
            assert.equal(dir, stats.dir)
            assert.equal(1, stats.first_lsn)
            assert.is_true(stats.incarnation > 0)
            assert.equal(8, stats.items)
            assert.equal(36, #stats.uuid)
            expect(OK, "ledger stats" .. where)
        end)
    end)

    it("builds snapshots", function()
        both(function(where)
            local answer = json("ledger snapshot" .. where)
            assert.is_number(answer.snapshot_lsn)
            expect(OK, "ledger snapshot --progress" .. where .. " 2>&1")
        end)
    end)

    it("makes, lists and drops cursors", function()
        both(function(where)
            expect(OK, "ledger cursors create crm" .. where)
            local list = json("ledger cursors" .. where)
            assert.equal(1, #list)
            assert.equal("crm", list[1].name)
            assert.equal(0, list[1].lsn)
            assert.is_false(list[1].dropped)
            expect(OK, "ledger cursors list" .. where)
            assert.is_true(json("ledger cursors drop crm" .. where)[1].dropped)
            expect(NOT_FOUND, "ledger cursors drop none" .. where)
            expect(USAGE, "ledger cursors drop" .. where)
            expect(USAGE, "ledger cursors list crm" .. where)
            expect(USAGE, "ledger cursors make crm" .. where)
            expect(USAGE, "ledger cursors create CRM" .. where)
        end)
    end)
end)


describe("values", function()
    it("are written as JSON that anybody can parse", function()
        local text
        local write = output.write
        output.write = function(part) text = part end
        finally(function() output.write = write end)
        for n = 1, 300 do
            local bytes = {}
            for i = 1, n % 17 do
                bytes[i] = string.char((n * 7919 + i * 104729) % 256)
            end
            local value = { a = table.concat(bytes), n = n / 7, list = {
                { x = 2^53 - 1 }, { x = -5 } }, t = true }
            output.json(value)
            local back = cjson.decode(text)
            assert.equal(2^53 - 1, back.list[1].x)
            assert.is_near(value.n, back.n, 1e-12)
            if back.a_hex then
                assert.equal(value.a, (back.a_hex:gsub("..", function(h)
                    return string.char(tonumber(h, 16))
                end)))
            else
                assert.equal(value.a, back.a)
            end
        end
    end)

    it("are shown without what a terminal obeys", function()
        assert.equal("a\\x1b\\x00\\x7f\\xc2\\x9b\\xff\\xc0\\x80é€𝄞",
                     output.plain("a\27\0\127\194\155\255\192\128é€𝄞"))
        assert.equal("-", output.plain(nil))
        assert.equal("9007199254740991", output.plain(2^53 - 1))
        assert.equal("0.5", output.plain(0.5))
    end)

    it("of times are checked", function()
        local command = { options = { { name = "t", kind = "time",
                                        value = "T", help = "" } } }
        for text, want in pairs {
            ["0"] = 0, ["1.5"] = 1.5, ["1970-01-01T00:00:00Z"] = 0,
            ["2000-02-29T12:00:01Z"] = 951825601,
            ["2026-11-11T00:00:00Z"] = 1794355200,
        } do
            assert.equal(want, args.parse(command, { "--t", text }, 1).t)
        end
        for _, text in ipairs { "", "-1", "x", "1e5", "2026-13-01T00:00:00Z",
            "2025-02-29T00:00:00Z", "2026-01-01", "2026-01-01T24:00:00Z",
            "2026-01-01 00:00:00", "99999999999", "inf", "nan" } do
            local values, why = args.parse(command, { "--t=" .. text }, 1)
            assert.is_nil(values)
            assert.is_truthy(why:find("option --t:", 1, true))
        end
    end)
end)
