-- lib.lua - finds, checks and holds the C library.
--
-- libseckill.so is taken from the environment variable SECKILL_LIB (a full
-- path), else from package.cpath, as a Lua C module would be. A library that
-- was built from another header is refused: the FFI cannot see a wrong
-- declaration, it would corrupt memory. All functions are looked up at load,
-- so that a missing one is an error here and not in a request.
--
-- The handle stays in this module for ever: the library runs threads, and must
-- not be unmapped under them.

local ffi = require("ffi")
local cdefs = require("resty.seckill.cdefs")


local concat = table.concat
local error = error
local getenv = os.getenv
local ipairs = ipairs
local pcall = pcall
local tonumber = tonumber


---@class seckill.lib
---@field C ffi.namespace* functions and enums of libseckill
---@field path string the file that was loaded
---@field OK integer
---@field codes table<string, integer> `sold_out` -> number
local _M = { _VERSION = "0.1.0", OK = 0 }

local NAME = "libseckill"


-- Where the library is; the error lists the places where it is not.
local function find()
    local path = getenv("SECKILL_LIB")
    if path and path ~= "" then
        return path
    end
    local found, tried = package.searchpath(NAME, package.cpath)
    if not found then
        error(NAME .. ".so was not found; tried:" .. tried
              .. "\nInstall it (`make install` or `luarocks make`), add its"
              .. " directory to lua_package_cpath as \"<directory>/?.so;;\","
              .. " or set SECKILL_LIB to its path", 0)
    end
    -- Without a slash the system linker would search its own directories.
    if not found:find("/", 1, true) then
        found = "./" .. found
    end
    return found
end


local function load(path)
    local ok, C = pcall(ffi.load, path)
    if not ok then
        error(path .. " cannot be loaded: " .. C, 0)
    end
    return C
end


local function refuse(path, why)
    error(path .. " does not fit this version of lua-resty-seckill (" .. why
          .. "): install the library and the Lua files of one version", 0)
end


local function symbol(C, name)
    return C[name]
end


local function check_abi(C, path)
    local ok, abi = pcall(symbol, C, "seckill_abi")
    if not ok then
        refuse(path, "no seckill_abi()")
    end
    if abi() ~= cdefs.ABI then
        refuse(path, concat { "ABI ", tostring(abi()), ", expected ",
                              tostring(cdefs.ABI) })
    end
end


local function check_functions(C, path)
    for _, name in ipairs(cdefs.functions) do
        if not pcall(symbol, C, name) then
            refuse(path, "no " .. name .. "()")
        end
    end
end


local function check_sizes(C, path)
    for _, entry in ipairs(cdefs.sizes) do
        local want = ffi.sizeof(entry[2])
        local got = tonumber(C.seckill_sizeof(entry[1]))
        if got ~= want then
            refuse(path, concat { "sizeof(", entry[2], ") is ",
                                  tostring(got), ", expected ",
                                  tostring(want) })
        end
    end
end


-- The error table of the library: name -> code and code -> name. The second
-- must have no array part (no key 0): LuaJIT does not compile a lookup past it.
local function read_codes(C)
    local codes, names = {}, {}
    local i = 0
    local code = C.seckill_errcode_at(i)
    while code ~= 0 do
        local name = ffi.string(C.seckill_errname(code))
        codes[name] = code
        names[code] = name
        i = i + 1
        code = C.seckill_errcode_at(i)
    end
    return codes, names
end


local path = find()
local C = load(path)

check_abi(C, path)
check_functions(C, path)
check_sizes(C, path)

local codes, names = read_codes(C)

_M.C = C
_M.path = path
_M.codes = codes


--- The stable name of a code: `sold_out` for SECKILL_ESOLDOUT.
---@param rc integer what a C function returned
---@return string
function _M.errname(rc)
    return names[rc] or rc == 0 and "ok" or "unknown"
end


return _M
