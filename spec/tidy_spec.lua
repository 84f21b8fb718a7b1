-- tools/tidy.lua: each rule finds what it is there for, at the right line, and
-- a clean tree has no findings.

local MAKEFILE = "\nLAYERS := base shm limit stock\n"


local function write(root, path, text)
    local dir = path:match("^(.*)/") or "."
    assert.equal(0, os.execute("mkdir -p " .. root .. "/" .. dir))
    local file = assert(io.open(root .. "/" .. path, "w"))
    file:write(text)
    file:close()
end


-- Findings of a tree that has these files, and nothing else.
local function tidy(files)
    local root = os.tmpname()
    os.remove(root)
    write(root, "Makefile", MAKEFILE)
    for path, text in pairs(files) do
        write(root, path, text)
    end
    local pipe = assert(io.popen("luajit tools/tidy.lua " .. root .. " 2>&1"))
    local text = pipe:read("*a")
    pipe:close()
    os.execute("rm -rf " .. root)
    return text
end


local function body(count)
    return "int f(void)\n{\n" .. ("    g();\n"):rep(count - 3) .. "}\n"
end


local TEST = "csrc/test/stock_test.c"
local ASSERT = "    skl_assert(a);\n"


local CASES = {
    { "an include of a higher layer", "csrc/base/clock.h",
      '\n#include "shm/lock.h"\n', ":2: layers: base/ may not include" },
    { "an include of a sibling", "csrc/limit/gcra.c",
      '#include "stock/stock.h"\n', ":1: layers: limit/ may not include" },
    { "an include of the top", "csrc/stock/a.c",
      '#include "seckill_internal.h"\n', ":1: layers: stock/" },
    { "a folder without a layer", "csrc/misc/a.c", "int a;\n",
      ":1: layers: unknown folder" },
    { "a long C function", "csrc/stock/a.c", "\n" .. body(71),
      ":2: length: f has 71 lines" },
    { "a long Lua function", "lua/a.lua",
      "local function f()\n" .. ("    g()\n"):rep(69) .. "end\n",
      ":1: length: local function f() has 71 lines" },
    { "a long line", "spec/a_spec.lua", "-- " .. ("x"):rep(78) .. "\n",
      ":1: columns: 81 columns" },
    { "trailing space", "a.md", "a\nb \n", ":2: whitespace: remove" },
    { "a tab", "csrc/stock/a.c", "\tint a;\n", ":1: whitespace: use spaces" },
    { "a missing newline", "a.md", "a", ":1: whitespace: end with" },
    { "an unbounded copy", "csrc/io/a.c", "int a = strcpy(b, c);\n",
      ":1: calls: strcpy" },
    { "a clock read", "csrc/stock/a.c", "\nint a = clock_gettime(b, c);\n",
      ":2: calls: clock_gettime" },
    { "a system call", "csrc/limit/a.c", "int a = open(b, c);\n",
      ":1: calls: open" },
    { "a bare lock", "csrc/stock/a.c", "int a = pthread_mutex_lock(b);\n",
      ":1: calls: pthread_mutex_lock" },
    { "unfinished work", "lua/a.lua", "-- TO" .. "DO: this\n",
      ":1: unfinished: finish it" },
    { "a pending test", "spec/a_spec.lua", "pend" .. "ing('x')\n",
      ":1: unfinished: a pending test" },
    { "a machine path", "a.md", "see /ho" .. "me/somebody\n",
      ":1: machine: a path of one machine" },
    { "a C file without test", "csrc/shm/lock.c", "int a;\n",
      ":1: dead: no test: write csrc/test/lock_test.c" },
    { "a folder that is not built", "csrc/queue/a.c", "int a;\n",
      ":1: dead: not built: add its folder to LAYERS" },
    { "a test that is not built", "csrc/test/other.c", "int a;\n",
      ":1: dead: not built" },
    { "a header that nobody includes", "csrc/stock/a.h", "int a;\n",
      ":1: dead: nobody includes it" },
    { "a Lua module without spec", "lua/resty/seckill/a.lua", "return 1\n",
      ":1: dead: no spec requires resty.seckill.a" },
    { "a spec helper that nobody uses", "spec/helper.lua", "return 1\n",
      ":1: dead: no spec uses it" },
    { "a tool that nobody runs", "tools/old", "x\n", ":1: dead: neither" },
}


describe("tidy", function()
    for _, case in ipairs(CASES) do
        it("finds " .. case[1], function()
            local text = tidy { [case[2]] = case[3], [TEST] = "int t;\n" }
            assert.is_truthy(text:find(case[2] .. case[4], 1, true), text)
        end)
    end

    it("finds a lack of asserts", function()
        local text = tidy { ["csrc/stock/a.c"] = ("int a;\n"):rep(100) }
        assert.matches("csrc:0: asserts: 0.0 per 1000 lines", text)
    end)

    it("finds functions that are long in the median", function()
        local text = tidy { ["csrc/stock/a.c"] = body(16) }
        assert.matches("csrc:0: length: median 16", text)
    end)

    it("has nothing to say about a clean tree", function()
        local text = tidy {
            [TEST] = '#include "stock/stock.h"\nint t = rand();\n',
            ["csrc/stock/stock.h"] = "int f(void);\n",
            ["csrc/stock/stock.c"] = '#include "stock/stock.h"\n'
                .. '#include "base/os.h"\n#include "seckill.h"\n'
                .. '/* open() is for base/os.c */\nint f(void)\n{\n' .. ASSERT
                .. '    a->open(b);\n    skl_os_open("strcpy(");\n}\n',
            ["csrc/base/os.h"] = "int skl_os_open(void);\n",
            ["csrc/base/os.c"] = "int b = open(c);\n" .. ASSERT,
            ["csrc/test/os_test.c"] = "int t;\n",
            ["lua/resty/seckill/a.lua"] = "local s = 'end end'\n"
                .. "-- function\nlocal function f()\n    return [[if]]\nend\n"
                .. "return f\n",
            ["spec/a_spec.lua"] = 'require("resty.seckill.a")\n',
        }
        assert.not_matches("%f[%w]BAD%f[%W]", text)
        assert.matches("lua functions: 1, median 3", text)
    end)
end)
