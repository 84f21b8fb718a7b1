-- Hot keys: what limiters were asked for, as Lua and metrics show it.

local ffi = require "ffi"
local seckill = require "resty.seckill"

local names = {}


local function open()
    local name = ("hot_spec_%d_%d"):format(os.time() % 1e6, #names)
    names[#names + 1] = name
    return assert(seckill.open { name = name, capacity = {
        items = 8, reservations = 64, users = 64, requests = 64,
        limit_keys = 4096, limiters = 4, lists = 1, list_overlay = 64,
        log_units = 256 } })
end


local function take(lim, key, n, commit)
    for _ = 1, n do
        lim:incoming(key, commit)
    end
end


local function listed(keys, limiter, key)
    for i, k in ipairs(keys) do
        if k.limiter == limiter and k.key == key then
            return i, k
        end
    end
end


describe("hot keys", function()
    local engine, user, ip

    before_each(function()
        engine = open()
        user = assert(engine:limiter("per-user", { rate = 1, burst = 1 }))
        ip = assert(engine:limiter("per-ip", { rate = 1, burst = 1 }))
    end)
    after_each(function()
        engine:close()
        seckill.destroy(names[#names])
    end)

    it("are none before the first take", function()
        assert.same({}, engine:hot_keys())
    end)

    it("are listed hottest first, refused or not", function()
        take(user, "ann", 3000)
        take(ip, "10.0.0.1", 6000)
        take(user, "bob", 1000)
        local keys = engine:hot_keys()
        assert.equal(3, #keys)
        assert.same({ "per-ip", "10.0.0.1" }, { keys[1].limiter, keys[1].key })
        assert.same({ "per-user", "ann" }, { keys[2].limiter, keys[2].key })
        assert.equal("bob", keys[3].key)
        assert.near(0.6, keys[1].share, 0.2)
        assert.near(2, keys[1].rate / keys[2].rate, 0.9)
        assert.is_true(keys[3].rate > 0)
        assert.same({ keys[1].key }, { engine:hot_keys(1)[1].key })
        assert.equal(1, #engine:hot_keys(1))
    end)

    it("keep equal keys of two limiters apart", function()
        take(user, "same", 200)
        take(ip, "same", 100)
        local keys = engine:hot_keys()
        assert.equal(1, (listed(keys, "per-user", "same")))
        assert.equal(2, (listed(keys, "per-ip", "same")))
    end)

    it("are not what was only looked at, or refused as no key", function()
        take(user, "looked", 100, false)
        take(user, "", 100)
        take(user, ("x"):rep(65), 100)
        take(user, nil, 100)
        assert.same({}, engine:hot_keys())
    end)

    it("may be any bytes", function()
        local binary = ("\0\255\"\n\\"):rep(12) .. "\1\2\3\4"
        assert.equal(64, #binary)
        take(user, binary, 10)
        take(user, "\0", 5)
        local keys = engine:hot_keys()
        assert.equal(binary, keys[1].key)
        assert.equal("\0", keys[2].key)
    end)

    it("are found among many", function()
        for i = 1, 50000 do
            user:incoming(i % 10 == 0 and "hot" or "user-" .. i)
        end
        local keys = engine:hot_keys(64)
        assert.equal("hot", keys[1].key)
        assert.near(0.1, keys[1].share, 0.06)
        assert.is_true(#keys <= 64)
    end)

    it("are those of all processes", function()
        ffi.cdef "int fork(void); int waitpid(int, int *, int);"
        ffi.cdef "void _exit(int); int pipe(int *); int close(int);"
        ffi.cdef "ssize_t read(int, void *, size_t);"
        ffi.cdef "ssize_t write(int, const void *, size_t);"
        take(user, "parent", 100)
        local ends, byte = ffi.new("int[2]"), ffi.new("char[1]")
        assert.equal(0, ffi.C.pipe(ends))
        local pid = ffi.C.fork()
        if pid == 0 then
            take(user, "child", 300)
            ffi.C.write(ends[1], "+", 1)
            ffi.C._exit(0)
        end
        ffi.C.close(ends[1])
        local got
        repeat
            got = tonumber(ffi.C.read(ends[0], byte, 1))
        until got >= 0 -- else a signal came
        assert.equal(1, got)
        ffi.C.close(ends[0])
        ffi.C.waitpid(pid, nil, 0) -- unless nginx has done it
        local keys = engine:hot_keys()
        assert.same({ "child", "parent" }, { keys[1].key, keys[2].key })
    end)

    it("are a metric for each limiter, without the key", function()
        take(user, "secret-user", 1000)
        local text = assert(engine:metrics())
        local rate = text:match(
            'seckill_hot_key_rate{limiter="per%-user"} ([%d.e+]+)\n')
        assert.is_true(tonumber(rate) > 0)
        assert.matches('seckill_hot_key_rate{limiter="per-ip"} 0\n', text, 1,
                       true)
        assert.is_nil(text:find("secret-user", 1, true))
    end)

    it("take a number of 1 to 64", function()
        for _, n in ipairs { 0, -1, 65, 1.5, 0 / 0, math.huge, 2^53, "1" } do
            local ok, err = pcall(engine.hot_keys, engine, n)
            assert.is_false(ok)
            assert.matches('option "n": integer of 1 to 64', err, 1, true)
        end
        local _, err = pcall(function() engine:hot_keys(0) end)
        assert.matches("hot_keys_spec.lua", err, 1, true)
    end)

    it("are not given by a closed engine", function()
        local other = open()
        other:close()
        assert.same({ nil, "closed" }, { other:hot_keys() })
        seckill.destroy(names[#names])
        table.remove(names)
    end)
end)
