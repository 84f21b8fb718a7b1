-- The loader: where it looks, what it says, what it refuses. Broken libraries
-- are built here with the C compiler.

local ffi = require("ffi")

local MODULE = "resty.seckill.lib"


if not pcall(function() return ffi.C.setenv end) then
    ffi.cdef([[
        int setenv(const char *name, const char *value, int overwrite);
        int unsetenv(const char *name);
    ]])
end


local function set_library(path)
    if path then
        ffi.C.setenv("SECKILL_LIB", path, 1)
    else
        ffi.C.unsetenv("SECKILL_LIB")
    end
end


-- A fresh copy of the module, with another cpath and SECKILL_LIB.
local function load_with(cpath, library)
    local kept = package.loaded[MODULE]
    local kept_cpath, kept_library = package.cpath, os.getenv("SECKILL_LIB")
    package.loaded[MODULE] = nil
    package.cpath = cpath or kept_cpath
    set_library(library)
    local ok, result = pcall(require, MODULE)
    set_library(kept_library)
    package.cpath = kept_cpath
    package.loaded[MODULE] = kept
    return ok and result, not ok and tostring(result) or nil
end


local function write(path, text)
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
end


describe("lib", function()
    local cdefs = require("resty.seckill.cdefs")
    local dir

    -- A library in which every function returns 0, but for `values`.
    local function build(name, values, missing)
        local lines = {}
        for _, fn in ipairs(cdefs.functions) do
            if fn ~= missing then
                lines[#lines + 1] = ("long %s(void) { return %d; }"):format(
                    fn, values[fn] or 0)
            end
        end
        local base = dir .. "/" .. name
        write(base .. ".c", table.concat(lines, "\n") .. "\n")
        local rc = os.execute(("cc -w -shared -fPIC -o %s.so %s.c"):format(
            base, base))
        assert.equal(0, rc)
        return base .. ".so"
    end

    setup(function()
        dir = os.tmpname()
        os.remove(dir)
        assert.equal(0, os.execute("mkdir " .. dir))
    end)

    teardown(function()
        os.execute("rm -rf " .. dir)
    end)

    it("is found through package.cpath", function()
        local lib, err = load_with()
        assert.is_nil(err)
        assert.matches("libseckill%.so$", lib.path)
        assert.equal(cdefs.ABI, lib.C.seckill_abi())
    end)

    it("is the version of the header", function()
        local lib = assert(load_with())
        assert.equal(cdefs.VERSION, ffi.string(lib.C.seckill_version()))
        assert.equal(cdefs.VERSION, lib._VERSION)
    end)

    it("prefers SECKILL_LIB", function()
        local path = assert(load_with()).path
        if path:sub(1, 1) ~= "/" then
            path = (os.getenv("PWD") .. "/" .. path):gsub("/%./", "/")
        end
        assert.equal(path, assert(load_with("/nowhere/?.so", path)).path)
    end)

    it("takes a cpath entry without a slash as a file here", function()
        local lib, err = load_with("no-such-?.so")
        assert.is_falsy(lib)
        assert.matches("no%-such%-libseckill%.so", err)
        -- A file in the current directory, named without a slash.
        local name = "libseckill-" .. dir:match("[^/]+$")
        local abi = { seckill_abi = 999 }
        local built = build("here", abi)
        assert.equal(0, os.execute("cp " .. built .. " ./" .. name))
        lib, err = load_with(name .. ";?.so")
        os.remove(name)
        assert.is_falsy(lib)
        assert.matches("^%./" .. name:gsub("%p", "%%%0") .. " does not fit",
                       err)
    end)

    it("lists the places where it is not", function()
        local lib, err = load_with("/one/?.so;/two/lib/?.so")
        assert.is_falsy(lib)
        assert.matches("/one/libseckill%.so", err)
        assert.matches("/two/lib/libseckill%.so", err)
        assert.matches("lua_package_cpath", err)
        assert.matches("SECKILL_LIB", err)
    end)

    it("says why a file cannot be loaded", function()
        local path = dir .. "/text.so"
        write(path, "not a library")
        local lib, err = load_with(nil, path)
        assert.is_falsy(lib)
        assert.matches("text%.so cannot be loaded: ", err)
    end)

    it("refuses another ABI", function()
        local path = build("abi", { seckill_abi = cdefs.ABI + 1 })
        local lib, err = load_with(nil, path)
        assert.is_falsy(lib)
        assert.matches("abi%.so does not fit", err)
        assert.matches("ABI " .. cdefs.ABI + 1 .. ", expected " .. cdefs.ABI,
                       err)
    end)

    it("refuses a library that is not seckill at all", function()
        local path = dir .. "/other.so"
        assert.equal(0, os.execute(
            "echo 'int x;' | cc -shared -fPIC -x c -o " .. path .. " -"))
        local lib, err = load_with(nil, path)
        assert.is_falsy(lib)
        assert.matches("no seckill_abi%(%)", err)
    end)

    it("refuses a library that lacks a function", function()
        local path = build("lacks", { seckill_abi = cdefs.ABI },
                           "seckill_reserve")
        local lib, err = load_with(nil, path)
        assert.is_falsy(lib)
        assert.matches("no seckill_reserve%(%)", err)
    end)

    it("refuses a struct of another size", function()
        local path = build("size", { seckill_abi = cdefs.ABI,
                                     seckill_sizeof = 1 })
        local lib, err = load_with(nil, path)
        assert.is_falsy(lib)
        assert.matches("sizeof%(seckill_options_t%) is 1, expected %d+", err)
    end)

    it("has the size of every struct argument in the check", function()
        local lib = assert(load_with())
        assert.is_true(#cdefs.sizes >= 9)
        for _, entry in ipairs(cdefs.sizes) do
            assert.equal(ffi.sizeof(entry[2]),
                         tonumber(lib.C.seckill_sizeof(entry[1])))
        end
        assert.equal(0, tonumber(lib.C.seckill_sizeof(#cdefs.sizes)))
    end)

    it("has the same names as the header for every code", function()
        local lib = assert(load_with())
        local C = lib.C
        assert.equal("sold_out", lib.errname(C.SECKILL_ESOLDOUT))
        assert.equal(tonumber(C.SECKILL_EBUSY), lib.codes.busy)
        assert.equal("ok", lib.errname(lib.OK))
        assert.equal("unknown", lib.errname(-1))
        local count = 0
        for name, code in pairs(lib.codes) do
            count = count + 1
            assert.equal(name, lib.errname(code))
            assert.is_true(#ffi.string(C.seckill_errtext(code)) > 5)
        end
        assert.is_true(count > 40)
    end)
end)
