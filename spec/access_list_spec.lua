-- Access lists through the FFI: returns, codes, options, reload, completions,
-- the JIT. The same file runs in plain LuaJIT and inside nginx.

local ffi = require "ffi"
local access_list = require "resty.seckill.access_list"
local compiled = require "compiled"
local completion = require "resty.seckill.completion"
local lib = require "resty.seckill.lib"
local raised = require "raised"

local C = lib.C


local function open_engine()
    local options = ffi.new("seckill_options_t")
    local out, err = ffi.new("seckill_t *[1]"), ffi.new("char[512]")
    local name = "list_spec_" .. tostring(C.seckill_mono_now()):gsub("%D", "")
    name = name:sub(1, 32)
    options.struct_size = ffi.sizeof(options)
    options.name = name
    options.lists = 64
    options.list_overlay = 32
    local rc = C.seckill_open(options, out, err, 512)
    assert(rc == lib.OK, ffi.string(err))
    return out[0], name
end


local function write(path, text)
    local file = assert(io.open(path, "wb"))
    assert(file:write(text))
    file:close()
end


local function run(command)
    assert(os.execute(command) == 0, command)
end


describe("access list", function()
    local handle, name, path, number

    local function open(opts, list_name)
        number = number + 1
        return access_list.open(handle, list_name or "l" .. number, opts)
    end

    local function start()
        local err = ffi.new("char[256]")
        assert.equal(lib.OK, C.seckill_start(handle, err, 256))
        assert.is_true(completion.start(handle))
    end

    setup(function()
        handle, name = open_engine()
        path = os.tmpname()
        number = 0
        if completion.in_nginx() then
            start() -- in plain LuaJIT reload() reads the file itself
        end
    end)

    teardown(function()
        C.seckill_stop(handle)
        C.seckill_close(handle)
        C.seckill_destroy(name, nil)
        os.remove(path)
    end)

    it("denies, allows and gives reasons", function()
        write(path, "bad\nworse\t\tfraud ring\n!vip\nvip\nlater\t3600\tx\n")
        local list = assert(open { kind = "id", file = path })
        assert.same({ true }, { list:match("bad") })
        assert.same({ true, "fraud ring" }, { list:match("worse") })
        assert.same({ false, "allow" }, { list:match("vip") })
        assert.same({ false }, { list:match("nobody") })
        assert.same({ true, "x" }, { list:match("later") })
    end)

    it("takes any bytes", function()
        local value = ("\0\255\r "):rep(16)
        local list = assert(open {})
        assert.is_true(list:add(value))
        assert.is_true(list:match(value))
        assert.is_false(list:match(value:sub(1, 63)))
    end)

    it("never raises for values", function()
        local list = assert(open {})
        local bad = { "", ("a"):rep(65), 12, 1.5, true, {}, print, 0 / 0 }
        for i = 1, #bad + 1 do
            local denied, code = list:match(bad[i])
            assert.is_nil(denied)
            assert.equal("bad_value", code)
            assert.same("bad_value", select(2, list:add(bad[i])))
            assert.same("bad_value", select(2, list:remove(bad[i])))
        end
        for _, ttl in ipairs { 0, -1, 1 / 0, 0 / 0, "1", {}, 1e10 } do
            assert.same("bad_time", select(2, list:add("a", ttl)))
        end
    end)

    it("raises for what is no list", function()
        local list = assert(open {})
        for method, arguments in pairs { match = { "x" }, add = { "x" },
                                       remove = { "x" }, apply = { {} },
                                       reload = {}, stats = {} } do
            local message = raised(function()
                local ok = list[method]({}, unpack(arguments))
                return ok
            end)
            assert.truthy(message:find("access list expected", 1, true),
                          method)
            assert.truthy(message:find("access_list_spec", 1, true), message)
        end
    end)

    it("adds and removes, over reloads", function()
        write(path, "a\nb\n")
        local list = assert(open { file = path })
        assert.is_true(list:add("c"))
        assert.is_true(list:remove("a"))
        assert.is_true(list:add("d", 3600))
        for _ = 1, 2 do
            assert.is_false(list:match("a"))
            assert.is_true(list:match("b"))
            assert.is_true(list:match("c"))
            assert.is_true(list:match("d"))
            assert.is_true(list:reload())
        end
        assert.is_true(list:remove("c"))
        assert.is_true(list:add("a"))
        assert.is_false(list:match("c"))
        assert.is_true(list:match("a"))
        assert.equal(3, list:stats().overlay)
    end)

    it("refuses when the overlay is full", function()
        local list, code = assert(open {}), nil
        for i = 1, 33 do
            code = select(2, list:add("full" .. i, 0.001)) or code
        end
        assert.equal("full", code)
    end)

    it("says why a file is bad, and keeps the old list", function()
        local list, code, detail = open { file = path .. ".none" }
        assert.is_nil(list)
        assert.equal("bad_file", code)
        assert.truthy(detail:find("No such file", 1, true))
        write(path, "a\n")
        list = assert(open({ file = path, max_bad_lines = 0 }, "kept"))
        write(path, "b\n\tx\n")
        local _
        _, code, detail = list:reload()
        assert.equal("bad_file", code)
        assert.truthy(detail:find("line 2: empty entry", 1, true))
        assert.is_true(list:match("a"))
        assert.equal(detail, list:stats().error)
        assert.equal(1, list:stats().bad_lines)
        -- A restart with the bad file: the old list is good enough.
        assert.is_true(assert(open({ file = path }, "kept")):match("a"))
        write(path, "\tworse\n")
        local same
        same, code, detail = open({ file = path }, "kept")
        assert.is_true(same:match("a"))
        assert.equal("bad_file", code)
        assert.truthy(detail:find("line 1: empty entry", 1, true))
        write(path, "b\n")
        assert.is_true(list:reload())
        assert.is_true(list:match("b"))
        assert.equal("", list:stats().error)
    end)

    it("cannot reload without a file", function()
        local list = assert(open {})
        assert.equal("bad_file", select(2, list:reload()))
    end)

    it("has numbers", function()
        write(path, "a\nb\nb\n")
        local s = assert(open { file = path }):stats()
        assert.equal("text", s.format)
        assert.equal(64, #s.digest)
        assert.equal(0, s.revision)
        assert.equal(0, s.overlay_unsaved)
        assert.equal(0, s.overlay_unusable)
        assert.equal(2, s.entries)
        assert.equal(1, s.generation)
        assert.equal(1, s.reloads)
        assert.equal(0, s.failures)
        assert.is_true(s.bytes > 0 and s.load_seconds > 0)
        assert.is_true(math.abs(s.loaded_at - os.time()) < 100)
        assert.is_true(math.abs(s.file_mtime - os.time()) < 100)
    end)

    it("has none before the first load", function()
        local s = assert(open {}):stats()
        assert.is_nil(s.format)
        assert.equal("", s.digest)
    end)

    it("reads gzip", function()
        write(path, "packed\n!vip\n#end 2\n")
        run("gzip -f " .. path .. " && mv " .. path .. ".gz " .. path)
        local list = assert(open { file = path })
        assert.is_true(list:match("packed"))
        assert.same({ false, "allow" }, { list:match("vip") })
        local s = list:stats()
        assert.equal("gzip", s.format)
        local pipe = assert(io.popen("sha256sum <" .. path))
        assert.equal(pipe:read("*a"):sub(1, 64), s.digest)
        pipe:close()
        assert.equal("too_large",
                     select(2, open { file = path, max_bytes = 10 }))
    end)

    it("checks a digest beside the file", function()
        local side = path .. ".sha256"
        write(path, "a\n")
        run("sha256sum " .. path .. " >" .. side)
        local list = assert(open { file = path })
        write(path, "b\n")
        local _, code, detail = list:reload()
        assert.equal("bad_file", code)
        assert.truthy(detail:find("digest is not that of .sha256", 1, true))
        assert.is_true(list:match("a"))
        run("sha256sum " .. path .. " >" .. side)
        assert.is_true(list:reload())
        assert.is_true(list:match("b"))
        os.remove(side)
    end)

    it("refuses a file whose end does not count", function()
        write(path, "a\nb\n#end 3\n")
        local _, code, detail = open { file = path }
        assert.equal("bad_file", code)
        assert.truthy(detail:find("#end says 3 lines, there are 2", 1, true))
        write(path, "a\nb\n")
        assert.equal("too_large",
                     select(2, open { file = path, max_entries = 1 }))
    end)

    it("applies batches, all or nothing, once", function()
        local list = assert(open {})
        local batch = { { op = "add", value = "x" },
                        { op = "add", value = "y", ttl = 3600 },
                        { op = "remove", value = "x" } }
        assert.is_true(list:apply(batch, 7))
        assert.is_false(list:match("x"))
        assert.is_true(list:match("y"))
        assert.equal(7, list:stats().revision)
        assert.same({ nil, "stale" }, { list:apply(batch, 7) })
        assert.is_true(list:apply({ { op = "remove", value = "y" } }))
        assert.is_false(list:match("y"))
        assert.is_true(list:apply({}, 8))
        assert.equal(8, list:stats().revision)
    end)

    it("applies batches of networks, all or nothing", function()
        local list = assert(open { kind = "ip" })
        assert.same({ nil, "bad_value", 2 }, { list:apply({
            { op = "add", value = "10.0.0.0/8" },
            { op = "add", value = "10.0.0.1/8" } }, 5) })
        assert.is_false(list:match("10.1.2.3"))
        assert.equal(0, list:stats().revision)
        assert.is_true(list:apply({
            { op = "add", value = "10.0.0.0/8" },
            { op = "remove", value = "10.1.0.0/16" } }, 5))
        assert.is_true(list:match("10.2.3.4"))
        assert.is_false(list:match("10.1.2.3"))
        assert.equal(5, list:stats().revision)
    end)

    it("says which change of a batch is wrong", function()
        local list = assert(open {})
        for code, change in pairs {
            bad_value = { op = "add", value = "" },
            bad_option = { op = "set", value = "a" },
            bad_time = { op = "add", value = "a", ttl = -1 },
        } do
            local batch = { { op = "add", value = "ok" }, change }
            assert.same({ nil, code, 2 }, { list:apply(batch, 9) })
        end
        for _, bad in ipairs { 5, { 5 }, { {} }, { { op = "add", value = 5 } },
                               { { op = "add", value = ("a"):rep(65) } } } do
            assert.equal("bad_value", select(2, list:apply(bad)))
        end
        assert.same({ nil, "bad_time", 1 }, { list:apply {
            { op = "remove", value = "a", ttl = 1 } } })
        for _, revision in ipairs { 0, -1, 1.5, 2^53, 0 / 0, "1", {} } do
            assert.same({ nil, "bad_version" }, { list:apply({}, revision) })
        end
        local many = {}
        for i = 1, 4001 do
            many[i] = { op = "remove", value = "v" .. i }
        end
        assert.same({ nil, "too_large" }, { list:apply(many) })
        many[4001] = nil
        assert.is_true(list:apply(many))
        for i = 1, 40 do
            many[i].op = "add"
        end
        assert.same({ nil, "full" }, { list:apply(many, 9) })
        assert.is_false(list:match("ok"))
        assert.is_false(list:match("v1"))
        assert.equal(0, list:stats().revision)
    end)

    it("conflicts with another file, attaches without one", function()
        write(path, "a\n")
        assert(open({ file = path }, "mine"))
        assert.equal("conflict", select(2, open({ file = "/x" }, "mine")))
        assert.is_true(assert(open({}, "mine")):match("a"))
        assert.equal("bad_name", select(2, open({}, "No")))
        assert.equal("bad_name", select(2, open({}, "a\0b")))
    end)

    it("raises for options that are wrong", function()
        for text, opts in pairs {
            ['unknown option "fiel"'] = { fiel = "x" },
            ['option "file": string'] = { file = 1 },
            ['option "file": contains a NUL'] = { file = "a\0b" },
            ['option "kind": "id" or "ip" expected'] = { kind = "cidr" },
            ['option "settle"'] = { settle = 61 },
            ['option "max_bad_lines"'] = { max_bad_lines = 0.5 },
            ['option "max_bytes"'] = { max_bytes = 0 },
            ['option "max_entries"'] = { max_entries = 0.5 },
            ['option file'] = { file = "" },
        } do
            local message = raised(open, opts)
            assert.truthy(message:find(text, 1, true), message)
        end
        assert.truthy(raised(open, 5):find("table expected", 1, true))
    end)

    it("finds the most specific network", function()
        write(path, "10.0.0.0/8\t\tlab\n!10.1.0.0/16\n10.1.2.0/24\n"
              .. "!10.1.2.3\n192.0.2.1-192.0.2.9\n::/0\n!2001:db8::/32\n"
              .. "2001:db8::bad\t3600\tscraper\n")
        local list = assert(open { kind = "ip", file = path })
        for value, want in pairs {
            ["10.2.0.1"] = { true, "lab" },
            ["::ffff:10.2.0.1"] = { true, "lab" },
            ["[::ffff:a02:1]"] = { true, "lab" },
            ["10.1.0.1"] = { false, "allow" },
            ["10.1.2.4"] = { true },
            ["10.1.2.3"] = { false, "allow" },
            ["11.0.0.1"] = { false },
            ["192.0.2.0"] = { false },
            ["192.0.2.1"] = { true },
            ["192.0.2.9"] = { true },
            ["192.0.2.10"] = { false },
            ["::ffff:11.0.0.1"] = { false },
            ["::1"] = { true },
            ["fe80::1%eth0"] = { true },
            ["2001:DB8::1"] = { false, "allow" },
            ["[2001:db8::bad]"] = { true, "scraper" },
        } do
            assert.same(want, { list:match(value) }, value)
        end
        assert.equal(4 + 4 + 3, list:stats().entries) -- the range is 4 of them
    end)

    it("takes addresses only, in a list of networks", function()
        local list = assert(open { kind = "ip" })
        for _, value in ipairs {
            "", "a", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256",
            "10.0.0.0/8",
            "1.2.3.4:80", "[1.2.3.4]", "1.2.3.4%eth0", "1::2::3", "[::1]:80",
            "12345::", "1:2:3:4:5:6:7:8:9", "::1\0", " ::1", ("1"):rep(65),
            "fe80::1%", 16909060, true, {},
        } do
            assert.same({ n = 2, nil, "bad_value" },
                        { n = 2, list:match(value) })
        end
        for _, value in ipairs { "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/-1",
                                 "1.2.3.4-1.2.3.9", "::/129", "x", "" } do
            assert.same("bad_value", select(2, list:add(value)))
            assert.same("bad_value", select(2, list:remove(value)))
        end
        assert.equal(0, list:stats().overlay)
    end)

    it("says why a line is no network", function()
        write(path, "10.0.0.0/8\n10.0.0.0/33\n10.0.0.0/abc\n10.0.0.1/8\n"
              .. "1.2.3.04\n")
        local list, code, detail = open { kind = "ip", file = path,
                                          max_bad_lines = 0 }
        assert.is_nil(list)
        assert.equal("bad_file", code)
        assert.truthy(detail:find("4 bad lines: line 2: prefix length over 32; "
            .. "line 3: prefix length is not a number; "
            .. "line 4: bits set behind the prefix; "
            .. "line 5: leading zero in an IPv4 address", 1, true), detail)
        list = assert(open { kind = "ip", file = path })
        assert.is_true(list:match("10.9.9.9"))
        assert.equal(4, list:stats().bad_lines)
    end)

    it("lets the next network decide when one is over", function()
        write(path, "!10.0.0.0/8\n10.1.0.0/16\t100\n!10.1.2.3\t50\n")
        local list = assert(open { kind = "ip", file = path })
        local now, reason = C.seckill_now(handle), ffi.new("const char *[1]")
        local function at(value, seconds)
            return C.seckill_list_match(list.handle, value, #value,
                                        now + seconds * 1000000000LL, reason,
                                        ffi.new("size_t[1]"))
        end
        assert.equal(2, at("10.1.2.3", 0))
        assert.equal(1, at("10.1.2.3", 51))
        assert.equal(2, at("10.1.2.3", 101))
        assert.equal(1, at("10.1.2.4", 0))
        assert.equal(2, at("10.1.2.4", 101))
    end)

    it("adds and removes networks, over reloads", function()
        write(path, "10.0.0.0/8\n!10.9.0.0/16\n::/0\n")
        local list = assert(open { kind = "ip", file = path })
        assert.is_true(list:add("192.0.2.0/24"))
        assert.is_true(list:remove("192.0.2.7"))
        assert.is_true(list:add("192.0.2.128/25", 3600))
        assert.is_true(list:remove("10.1.0.0/16"))
        assert.is_true(list:add("::ffff:10.1.2.3"))
        assert.is_true(list:add("10.9.0.1"))
        assert.is_true(list:remove("2001:db8::/32"))
        for _ = 1, 2 do
            assert.is_true(list:match("192.0.2.6"))
            assert.is_false(list:match("192.0.2.7"))
            assert.is_true(list:match("192.0.2.200"))
            assert.is_true(list:match("10.0.0.1"))
            assert.same({ false }, { list:match("10.1.0.1") })
            assert.is_true(list:match("10.1.2.3"))
            -- An allow entry of the file still wins.
            assert.same({ false, "allow" }, { list:match("10.9.0.1") })
            assert.is_false(list:match("2001:db8::1"))
            assert.is_true(list:match("2001:db9::1"))
            assert.is_true(list:reload())
        end
        assert.equal(7, list:stats().overlay)
        assert.is_true(list:add("10.1.0.0/16"))
        assert.is_true(list:match("10.1.0.1"))
    end)

    it("removes what was added, where there is no file", function()
        local list = assert(open { kind = "ip" })
        assert.is_true(list:add("10.0.0.1"))
        assert.is_true(list:remove("10.0.0.1"))
        assert.equal(0, list:stats().overlay)
        assert.is_true(list:add("10.0.0.0/8"))
        assert.is_true(list:remove("10.0.0.1"))
        assert.is_false(list:match("10.0.0.1"))
        assert.is_true(list:match("10.0.0.2"))
        assert.equal(2, list:stats().overlay)
    end)

    it("is of one kind", function()
        write(path, "10.0.0.0/8\n")
        assert(open({ kind = "ip", file = path }, "kind"))
        assert.equal("conflict",
                     select(2, open({ kind = "id", file = path }, "kind")))
        assert.is_true(assert(open({ kind = "ip" }, "kind")):match("10.0.0.0"))
    end)

    it("compiles", function()
        write(path, "a\n")
        local list = assert(open { file = path })
        local hits = 0
        compiled.check(function()
            if list:match("a") then
                hits = hits + 1
            end
            if list:match("b") then
                hits = hits - 1
            end
        end, 500)
        assert.equal(500, hits)
    end)

    it("waits for the io thread", function()
        write(path, "a\n")
        local list = assert(open { file = path, settle = 0.01 })
        start()
        for i = 1, 20 do
            write(path, "a\nv" .. i .. "\n")
            assert.is_true(list:reload())
            assert.is_true(list:match("v" .. i))
            assert.is_false(list:match("v" .. i - 1))
        end
        os.remove(path)
        local ok, code, detail = list:reload()
        assert.is_nil(ok)
        assert.equal("bad_file", code)
        assert.truthy(detail:find("No such file", 1, true))
        assert.equal(0, completion.waiting())
        assert.same({ nil, "timeout" },
                    { completion.wait(handle, 12345, 0.02) })
        C.seckill_stop(handle)
        assert.is_false(completion.running(handle))
    end)
end)
