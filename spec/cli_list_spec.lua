-- `seckill list` as a shell sees it: every command on good files and on bad
-- ones of every kind, and what it says of values beside what an engine says.

local cjson = require("cjson")
local lib = require("resty.seckill.lib")
local seckill = require("resty.seckill")

local SMALL = { items = 8, reservations = 256, users = 256, requests = 512,
                limit_keys = 1, log_units = 2^12 }
local OK, REFUSED, USAGE, NOT_FOUND = 0, 1, 2, 4

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


-- A file of the test's directory; its path.
local function write(name, text)
    local file = assert(io.open(base .. "/" .. name, "wb"))
    file:write(text)
    file:close()
    return base .. "/" .. name
end


-- A status of os.execute is lost inside nginx, which reaps all children.
local function run(line, input)
    write("stdin", input or "")
    shell(("export SECKILL_LIB='%s'; { ./bin/seckill list %s; "
           .. "echo $? >%s/status; } <%s/stdin 2>%s/err >%s/out")
          :format(lib.path, line, base, base, base, base))
    return tonumber(slurp(base .. "/status")), slurp(base .. "/out"),
           slurp(base .. "/err")
end


local function expect(status, line, input)
    local got, out, err = run(line, input)
    assert.equal(status, got, line .. "\n" .. out .. err)
    if status == OK then
        assert.equal("", err, line)
    elseif status ~= REFUSED then
        assert.equal("", out, line)
    end
    assert.is_nil(err:find("traceback", 1, true), err)
    assert.is_nil(err:find("%.lua:%d"), err)
    return out, err
end


local function json(status, line, input)
    return cjson.decode((expect(status, line .. " -o json", input)))
end


local function has(text, part)
    assert.is_truthy(text:find(part, 1, true), part .. " is not in\n" .. text)
end


local function open()
    engine = assert(seckill.open { name = "cli", shm_dir = base,
                                   capacity = SMALL })
    return engine
end


local function before()
    base = shell("mktemp -d /dev/shm/seckill-spec.XXXXXX"):gsub("%s", "")
end


local function after()
    if engine then
        engine:close()
        engine = nil
    end
    seckill.destroy("cli", base)
    os.execute("rm -rf '" .. base .. "'")
end


local GOOD = "# anti-fraud\nmallory\ntrudy\t3600\tstolen card\n!vip\nvip\n"
    .. "caf\233\n"
local NETS = "10.0.0.0/8\n!10.1.0.0/16\n10.1.2.0-10.1.2.7\t60\tbots\n"
    .. "2001:DB8::/32\n"


describe("list", function()
    before_each(before)
    after_each(after)

    it("names what is wrong with a command line", function()
        local file = write("a", GOOD)
        for line, name in pairs {
            ["check"] = "FILE",
            ["check ''"] = "FILE",
            ["check a b"] = "b",
            ["check --kind x a"] = "--kind",
            ["check --max-bad-lines -1 a"] = "--max-bad-lines",
            ["check --max-bytes 0 a"] = "--max-bytes",
            ["check --max-entries 1e3 a"] = "--max-entries",
            ["check --lines x a"] = "--lines",
            ["build"] = "FILE",
            ["build a --shm-dir ''"] = "--shm-dir",
            ["diff"] = "OLD",
            ["diff a"] = "NEW",
            ["diff a b c"] = "c",
            ["diff a b --at-once 0"] = "--at-once",
            ["test"] = "VALUE",
            ["test " .. file] = "VALUE",
            ["test '' x"] = "FILE",
            ["test --name cli x"] = "--list",
            ["test --list black x"] = "--name",
            ["test --name cli --list black"] = "VALUE",
            ["test --list B x"] = "--list",
            ["stats"] = "--name",
            ["stats --name 'A B'"] = "--name",
            ["stats x --name cli"] = "x",
        } do
            local _, err = expect(USAGE, line)
            has(err, name)
            has(err, "--help")
        end
    end)

    describe("check", function()
        it("counts what is in a file", function()
            local path = write("a", GOOD .. "#end 5\n")
            local got = json(OK, "check " .. path)
            assert.equal(0, #got.bad)
            got.bad = nil
            assert.same({
                file = path, ok = true, format = "text", file_bytes = 65,
                bytes = 65, lines = 7, entries = 5, deny = 4, allow = 1,
                with_ttl = 1, with_reason = 1, bad_lines = 0, networks = 0,
                index_bytes = got.index_bytes, trailer = "fits",
                sha256_file = "none",
                digest = shell("sha256sum " .. path):match("^%x+"),
            }, got)
            local build = json(OK, "build " .. path)
            assert.equal(build.bytes, got.index_bytes)
            has(expect(OK, "check " .. path), "with reason  1\n")
        end)

        it("shows bad lines with their numbers", function()
            local path = write("a", "ok\n\t5\nx\tabc\n" .. ("y"):rep(65)
                               .. "\nz\t1\tr\t\n" .. ("w"):rep(600) .. "\n")
            local out = expect(OK, "check " .. path)
            has(out, "line 2: empty entry\n")
            has(out, "line 3: ttl is not a number of seconds over 0\n")
            has(out, "line 4: entry over 64 bytes\n")
            has(out, "line 5: more than three fields\n")
            has(out, "line 6: line too long\n")
            has(out, "bad lines    5\n")
            out = expect(OK, "check -n 2 " .. path)
            has(out, "... 3 bad lines more\n")
            assert.is_nil(out:find("line 4", 1, true))
            assert.equal(0, #json(OK, "check -n 0 " .. path).bad)
            local err
            out, err = expect(REFUSED, "check --max-bad-lines 4 " .. path)
            has(out, "result       bad_file\n")
            has(err, "5 bad lines: line 2: empty entry")
            assert.is_false(json(REFUSED, "check --max-bad-lines 0 "
                                 .. path).ok)
            expect(OK, "check --max-bad-lines 5 " .. path)
        end)

        it("reads networks", function()
            local path = write("n", NETS .. "10.0.0.1/8\n1.2.3.04\n")
            local got = json(OK, "check --kind ip " .. path)
            assert.equal(4, got.entries)
            assert.equal(4, got.networks)
            assert.same({ 5, 6 }, { got.bad[1].line, got.bad[2].line })
            assert.equal("bits set behind the prefix", got.bad[1].why)
        end)

        it("unpacks, and checks what is beside", function()
            local path = write("a", GOOD)
            shell("gzip -k " .. path .. " && cd " .. base
                  .. " && sha256sum a.gz >a.gz.sha256")
            local got = json(OK, "check " .. path .. ".gz")
            assert.equal("gzip", got.format)
            assert.equal("fits", got.sha256_file)
            assert.equal(5, got.entries)
            assert.equal(#GOOD, got.bytes)
            shell("truncate -s -3 " .. path .. ".gz")
            local _, err = expect(REFUSED, "check " .. path .. ".gz")
            has(err, "gzip: it ends too early")
            os.remove(path .. ".gz.sha256")
            expect(REFUSED, "check " .. path .. ".gz")
            write("a.sha256", ("0"):rep(64) .. "  a\n")
            _, err = expect(REFUSED, "check " .. path)
            has(err, "digest is not that of .sha256")
            write("a.sha256", "-\n")
            assert.equal("waived", json(OK, "check " .. path).sha256_file)
        end)

        it("refuses what an engine refuses", function()
            local _, err = expect(NOT_FOUND, "check " .. base .. "/none")
            has(err, "No such file")
            _, err = expect(REFUSED, "check " .. base)
            has(err, "not a regular file")
            _, err = expect(REFUSED, "check " .. write("a", "x\n#end 2\n"))
            has(err, "#end says 2 lines, there are 1")
            _, err = expect(REFUSED, "check " .. write("a", ""))
            has(err, "no entries")
            expect(OK, "check --allow-empty " .. base .. "/a")
            _, err = expect(REFUSED, "check --max-entries 1 "
                            .. write("a", "x\ny\n"))
            has(err, "max_entries is 1")
            _, err = expect(REFUSED, "check --max-bytes 3 " .. base .. "/a")
            has(err, "max_bytes is 3")
            _, err = expect(REFUSED, "check /" .. ("x"):rep(300))
            has(err, "bad_option")
            local name = base .. "/$(printf 'caf\\351\\033')"
            _, err = expect(NOT_FOUND, "check \"" .. name .. "\"")
            has(err, "caf\\xe9\\x1b")
        end)

        it("shows progress where it is asked for", function()
            local status, _, err = run("check --progress " .. write("a", GOOD))
            assert.equal(OK, status)
            has(err, "lines")
        end)
    end)

    describe("build", function()
        it("loads a file and leaves nothing", function()
            local path = write("a", GOOD .. "mallory\n")
            local got = json(OK, "build --shm-dir " .. base .. " " .. path)
            assert.equal(4, got.entries)
            assert.equal(2, got.duplicates)
            assert.is_true(got.bytes > 4096 and got.load_seconds > 0)
            got = json(OK, "build --kind ip " .. write("n", NETS .. NETS)
                       .. " --shm-dir " .. base)
            assert.equal(4, got.entries)
            assert.equal(4, got.duplicates)
            has(expect(OK, "build " .. path), "index bytes")
            assert.equal("", shell("ls -d " .. base .. "/seckill-list* "
                                   .. "2>/dev/null"))
        end)

        it("refuses limits that are out of range", function()
            local path = write("a", "x\n\ty\n")
            for _, command in ipairs { "check", "build", "test" } do
                for option, value in pairs {
                    ["max-bad-lines"] = 4294967295, ["max-bytes"] = 2^41,
                    ["max-entries"] = 2^32 } do
                    local _, _, err = run(("%s --%s %.0f %s%s"):format(
                        command, option, value, path,
                        command == "test" and " x" or ""))
                    has(err, "option --" .. option .. ": ")
                    assert.is_nil(err:find(".lua:", 1, true), err)
                    assert.equal("2\n", slurp(base .. "/status"))
                end
            end
            expect(OK, "build --max-bad-lines 2147483648 --max-entries "
                   .. "2147483648 --max-bytes 1099511627776 " .. path)
        end)

        it("fails as a load does", function()
            local path = write("a", "x\n\ty\n")
            local _, err = expect(REFUSED, "build --max-bad-lines 0 " .. path)
            has(err, "line 2: empty entry")
            expect(NOT_FOUND, "build " .. base .. "/none")
            _, err = expect(REFUSED, "build --shm-dir /none " .. path)
            has(err, "cannot make a directory in /none")
            assert.equal("", shell("ls -d " .. base .. "/seckill-list* "
                                   .. "2>/dev/null"))
        end)
    end)

    describe("test", function()
        it("says what a file says of ids", function()
            local path = write("a", GOOD .. "trudy\t60\tagain\n")
            local got = json(REFUSED, "test " .. path .. " mallory trudy vip "
                             .. "zoe ''")
            assert.same({
                { value = "mallory", answer = "denied", line = 2,
                  entry = "mallory", why = "a deny" },
                { value = "trudy", answer = "denied", line = 7, ttl = 60,
                  entry = "trudy", reason = "again", why = "a deny" },
                { value = "vip", answer = "allowed", line = 4,
                  entry = "!vip", why = "an allow wins over any deny" },
                { value = "zoe", answer = "not listed",
                  why = "no entry is about it" },
                { value = "", answer = "bad value",
                  why = "not 1 to 64 bytes" },
            }, got)
            expect(OK, "test " .. path .. " vip zoe")
            has(expect(REFUSED, "test " .. path
                       .. " \"$(printf 'caf\\351')\""), "caf\\xe9  denied")
            expect(REFUSED, "test " .. path .. " " .. ("x"):rep(65))
        end)

        it("says which network is the closest", function()
            local path = write("n", NETS .. "!2001:db8::/32\n")
            local got = json(REFUSED, "test --kind ip " .. path
                             .. " 10.2.3.4 10.1.9.9 10.1.2.3 "
                             .. "::ffff:10.1.2.3 '[2001:db8::1]' 11.1.1.1 "
                             .. "10.0.0.256")
            local short = {}
            for i, row in ipairs(got) do
                short[i] = ("%s %s %s"):format(row.answer,
                                               row.line or "-",
                                               row.prefix or "-")
            end
            assert.same({ "denied 1 8", "allowed 2 16", "denied 3 29",
                          "denied 3 29", "allowed 5 32", "not listed - -",
                          "bad value - -" }, short)
            assert.equal("bots", got[3].reason)
            assert.equal(60, got[3].ttl)
        end)

        it("knows an IPv6 address that ends as an IPv4 one", function()
            local path = write("n", "64:ff9b::/96\n!::/64\n10.0.0.0/8\n")
            local got = json(REFUSED, "test --kind ip " .. path
                             .. " 64:ff9b::192.0.2.1 ::1.2.3.4 '[::9.9.9.9]' "
                             .. "::ffff:10.0.0.1 ::ffff:11.0.0.1%eth0")
            local lines = {}
            for i, row in ipairs(got) do
                lines[i] = row.line or "-"
            end
            assert.same({ 1, 2, 2, 3, "-" }, lines)
        end)

        it("reads values from standard input", function()
            local path = write("a", GOOD)
            local got = json(REFUSED, "test " .. path .. " - vip",
                             "mallory\r\n\nzoe\n")
            assert.equal(3, #got)
            assert.same({ "denied", "not listed", "allowed" },
                        { got[1].answer, got[2].answer, got[3].answer })
            assert.equal("[]\n", (expect(OK, "test -o json " .. path
                                         .. " -", "")))
            expect(NOT_FOUND, "test " .. base .. "/none x")
        end)

        it("asks a running engine, and tells what its file says", function()
            local path = write("a", GOOD)
            local list = assert(open():access_list("black", { file = path }))
            assert(list:add("eve"))
            assert(list:remove("mallory"))
            local at = " --name cli --list black --shm-dir " .. base
            local got = json(REFUSED, "test trudy vip eve mallory zoe" .. at)
            assert.same({ "denied", "allowed", "denied", "not listed",
                          "not listed" },
                        { got[1].answer, got[2].answer, got[3].answer,
                          got[4].answer, got[5].answer })
            assert.equal("stolen card", got[1].reason)
            assert.equal(3, got[1].line)
            has(got[3].why, "added")
            has(got[4].why, "removed")
            has(got[5].why, "no entry")
            write("a", "other\n")
            got = json(REFUSED, "test trudy" .. at)
            assert.equal("stolen card", got[1].reason)
            assert.is_nil(got[1].line)
            has(got[1].why, "not at hand")
        end)

        it("makes no list and no engine", function()
            local at = " --name cli --shm-dir " .. base
            local _, err = expect(NOT_FOUND, "test x --list black" .. at)
            has(err, "no engine")
            open()
            _, err = expect(NOT_FOUND, "test x --list black" .. at)
            has(err, "no list \"black\"")
            assert.equal("[]\n", (expect(OK, "stats -o json" .. at)))
        end)

        -- The program reads the text, the engine its index.
        it("says the same as an engine", function()
            math.randomseed(11)
            local random = math.random
            local lines, values = {}, {}
            for i = 1, 2000 do
                local a, b = random(0, 3), random(0, 255)
                local bits = random(8, 32)
                local word = bit.lshift(10, 24) + a * 65536 + b * 256
                    + random(0, 255)
                local first = bit.band(word, bit.bnot(
                    bits == 32 and 0 or bit.rshift(-1, bits)))
                local text = ("%d.%d.%d.%d"):format(
                    bit.rshift(first, 24), bit.band(bit.rshift(first, 16), 255),
                    bit.band(bit.rshift(first, 8), 255), bit.band(first, 255))
                lines[i] = (random() < 0.3 and "!" or "") .. text .. "/" .. bits
                    .. (random() < 0.5 and "\t\treason " .. i or "")
            end
            lines[#lines + 1] = "2001:db8::/32"
            for i = 1, 300 do
                values[i] = (i % 9 == 0 and "::ffff:%d.%d.%d.%d"
                             or i % 10 == 0 and "[::ffff:%02x%02x:%02x%02x]"
                             or i % 11 == 0 and "2001:db%d:%x:%x::%x"
                             or "%d.%d.%d.%d")
                    :format(i % 11 == 0 and i % 10 ~= 0 and i % 9 ~= 0 and 8
                            or 10, random(0, 4), random(0, 255),
                            random(0, 255))
            end
            local path = write("n", table.concat(lines, "\n"))
            local got = json(REFUSED, "test --kind ip " .. path .. " -",
                             table.concat(values, "\n"))
            local list = assert(open():access_list("nets", {
                kind = "ip", file = path }))
            local seen = {}
            for i, value in ipairs(values) do
                local denied, why = list:match(value)
                local answer = denied and "denied" or why == "allow"
                    and "allowed" or "not listed"
                seen[answer] = true
                assert.equal(answer, got[i].answer, value)
                assert.equal(denied and why or nil, denied and got[i].reason
                             or nil, value)
            end
            assert.is_true(seen.denied and seen.allowed)
        end)
    end)

    describe("stats", function()
        it("shows the lists of an engine", function()
            local path = write("a", GOOD)
            local at = " --name cli --shm-dir " .. base
            local list = assert(open():access_list("black", { file = path }))
            assert(engine:access_list("nets", { kind = "ip" }))
            assert(list:add("eve"))
            local got = json(OK, "stats" .. at)
            assert.equal(2, #got)
            assert.same({ "black", "id", path, 4, 1 },
                        { got[1].list, got[1].kind, got[1].file,
                          got[1].entries, got[1].overlay })
            assert.same({ "nets", "ip", 0 },
                        { got[2].list, got[2].kind, got[2].generation })
            assert.equal(list:stats().digest, got[1].digest)
            has(expect(OK, "stats" .. at), "black  id          4      1 ")
            has(expect(OK, "stats --list nets" .. at), "kind         ip\n")
            write("a", "#end 3\n")
            -- list:reload() needs threads inside nginx.
            assert.equal(lib.codes.bad_file,
                         lib.C.seckill_list_reload(list.handle, nil, 0))
            has(json(OK, "stats --list black" .. at).error, "#end says 3")
            expect(NOT_FOUND, "stats --list none" .. at)
            expect(NOT_FOUND, "stats --name other --shm-dir " .. base)
        end)
    end)

    describe("diff", function()
        it("is quiet about what is the same", function()
            local a = write("a", GOOD)
            local b = write("b", "# another\nvip\ncaf\233\nmallory\n"
                            .. "mallory\ntrudy\t3600.0\tstolen card\n!vip\n")
            assert.equal("removed  0\nadded    0\nchanged  0\n",
                         (expect(OK, "diff " .. a .. " " .. b)))
            expect(OK, "diff " .. a .. " " .. a)
            shell("gzip -k " .. b)
            expect(OK, "diff " .. a .. " " .. b .. ".gz")
            a = write("a", "2001:DB8::/32\n10.0.0.0-10.0.0.255\n")
            b = write("b", "10.0.0.0/24\n2001:db8:0::/32\n")
            expect(OK, "diff --kind ip " .. a .. " " .. b)
            expect(REFUSED, "diff " .. a .. " " .. b)
        end)

        it("shows what is not", function()
            local a = write("a", GOOD)
            local b = write("b", "mallory\ntrudy\t3600\tlost card\nvip\n"
                            .. "!eve\nf\27\n")
            local out = expect(REFUSED, "diff " .. a .. " " .. b)
            assert.equal("removed  2\nadded    2\nchanged  1\n"
                         .. "- !vip  line 4\n- caf\\xe9  line 6\n"
                         .. "+ !eve  line 4\n+ f\\x1b  line 5\n"
                         .. "~ trudy  line 2\n", out)
            local got = json(REFUSED, "diff " .. a .. " " .. b)
            assert.equal("636166e9", got.removed_entries[2].entry_hex)
            assert.equal("lost card", got.changed_entries[1].reason)
            assert.equal(5, got.old.entries)
        end)

        it("finds the same in any number of parts", function()
            local one, two = {}, {}
            for i = 1, 1000 do
                one[i] = "user-" .. i
                two[i] = "user-" .. (i + 30)
            end
            local a = write("a", table.concat(one, "\n"))
            local b = write("b", table.concat(two, "\n"))
            local want
            for _, at_once in ipairs { 5000, 1000, 999, 100, 37 } do
                local got = json(REFUSED, ("diff -n 5 --at-once %d %s %s")
                                 :format(at_once, a, b))
                want = want or got
                assert.same(want, got)
            end
            assert.same({ 30, 30, 0 },
                        { want.added, want.removed, want.changed })
            assert.equal("user-1", want.removed_entries[1].entry)
            assert.equal("user-1001", want.added_entries[1].entry)
            assert.equal(5, #want.added_entries)
            has(expect(REFUSED, "diff -n 1 " .. a .. " " .. b),
                "- ... 29 more\n")
            has(expect(REFUSED, "diff -n 0 " .. a .. " " .. b),
                "changed  0\n")
        end)

        it("notices a file that changes meanwhile", function()
            local list_diff = require("resty.seckill.cli.list_diff")
            local list_file = require("resty.seckill.cli.list_file")
            local a, b = write("a", "x\ny\n"), write("b", "x\nz\n")
            local read, times = list_file.read, 0
            list_file.read = function(...)
                times = times + 1
                if times == 4 then
                    write("b", "x\nu\n")
                end
                return read(...)
            end
            local good, why = pcall(list_diff.compare, a, b,
                                    { lines = 5, ["at-once"] = 10 })
            list_file.read = read
            assert.is_false(good)
            assert.equal("bad_file", why.code)
            has(why.detail, "/b: it changed meanwhile")
        end)

        it("lets no error through the library", function()
            local list_file = require("resty.seckill.cli.list_file")
            local path = write("a", GOOD)
            for _ = 1, 3 do
                local good, why = pcall(list_file.read, path, {}, function()
                    error("stop", 0)
                end)
                assert.is_false(good)
                assert.equal("stop", why)
            end
            assert.equal(5, list_file.read(path, {}, function() end).entries)
        end)

        it("needs two good files", function()
            local a = write("a", GOOD)
            expect(NOT_FOUND, "diff " .. a .. " " .. base .. "/none")
            expect(NOT_FOUND, "diff " .. base .. "/none " .. a)
            local out, err = expect(REFUSED, "diff " .. a .. " "
                                    .. write("b", "x\n#end 9\n"))
            assert.equal("", out)
            has(err, "#end says 9 lines")
        end)
    end)
end)
