-- Installing as users do: `luarocks make` into an empty tree and `make install`
-- into an empty root, from a copy of the sources; then the rock is required in
-- luajit and in nginx, and a C program is built against the header. The tree
-- that is under test is not on any search path here.

local harness = require "spec.nginx.harness"


local function run(command)
    local pipe = assert(io.popen("{ " .. command .. "; } 2>&1; echo \"=$?\""))
    local text = pipe:read("*a")
    pipe:close()
    local body, status = text:match("^(.*)=(%d+)%s*$")
    return tonumber(status), body
end


local function must(command)
    local status, text = run(command)
    assert(status == 0, command .. "\n" .. text)
    return text
end


local function exists(path)
    local file = io.open(path, "rb")
    if file then
        file:close()
    end
    return file ~= nil
end


describe("an installation", function()
    local scratch, source

    lazy_setup(function()
        scratch = must("mktemp -d"):gsub("%s+$", "")
        must("chmod 755 " .. scratch)
        source = scratch .. "/source"
        must("mkdir " .. source .. " && cd " .. harness.root
             .. " && tar cf - --exclude=./build --exclude=./.git . "
             .. "| tar xf - -C "
             .. source)
    end)

    lazy_teardown(function()
        must("rm -rf " .. scratch)
    end)

    -- The program finds what was installed with it, also through a link.
    local function check_program(root)
        must("ln -sf " .. root .. "/bin/seckill " .. scratch .. "/link")
        for _, path in ipairs { root .. "/bin/seckill", scratch .. "/link" } do
            local status, text = run("cd / && env -u LUA_PATH -u LUA_CPATH "
                .. path .. " stock list --name seckill-spec-none")
            assert.equal(4, status, text)
            assert.matches("no engine", text)
        end
    end

    it("by luarocks make works in luajit and in nginx", function()
        local tree = scratch .. "/tree"
        must("cd " .. source .. " && luarocks make --tree " .. tree)
        local lua_path = tree .. "/share/lua/5.1/?.lua"
        local lua_cpath = tree .. "/lib/lua/5.1/?.so"

        assert.equal(tree .. "/lib/lua/5.1/libseckill.so", must(
            "cd / && LUA_PATH='" .. lua_path .. "' LUA_CPATH='" .. lua_cpath
            .. ";;' luajit -e 'io.write(require(\"resty.seckill.lib\").path)'"))

        check_program(tree)
        local server = harness.start {
            lua_path = lua_path, lua_cpath = lua_cpath,
            init = "require 'resty.seckill'",
            server = [[ location / { content_by_lua_block {
                local lib = require "resty.seckill.lib"
                ngx.print(lib.path, " ", require "resty.seckill".version())
            } } ]],
        }
        local res = server:request("GET", "/")
        server:stop()
        server:cleanup()
        assert.equal(tree .. "/lib/lua/5.1/libseckill.so 0.1.0", res.body)

        must("cd " .. source .. " && luarocks remove --tree " .. tree
             .. " lua-resty-seckill")
        assert.is_false(exists(tree .. "/lib/lua/5.1/libseckill.so"))
    end)

    it("by make install serves a C program, and uninstall removes it",
       function()
        local root = scratch .. "/root"
        must("make -s -C " .. source .. " install PREFIX=" .. root)
        assert.is_true(exists(root .. "/include/seckill.h"))
        local page = assert(io.open(harness.root .. "/docs/embedding.md"))
        local program = page:read("*a"):match("```c\n(.-)```")
        page:close()
        local file = assert(io.open(scratch .. "/sale.c", "wb"))
        file:write(program)
        file:close()
        must("cd " .. scratch .. " && cc sale.c $(PKG_CONFIG_PATH=" .. root
             .. "/lib/pkgconfig pkg-config --cflags --libs libseckill) -o sale")
        assert.matches("^%x+%-%x+%-%x+: 9 left\n$", must(scratch .. "/sale"))
        check_program(root)
        must("make -s -C " .. source .. " uninstall PREFIX=" .. root)
        assert.is_false(exists(root .. "/bin/seckill"))
        assert.is_false(exists(root .. "/include/seckill.h"))
        assert.is_false(exists(root .. "/lib/lua/5.1/libseckill.so"))
    end)
end)
