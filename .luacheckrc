std = "ngx_lua"
max_line_length = 80
cache = false
exclude_files = { "build/**" }

files["spec"] = { std = "ngx_lua+busted" }
-- Programs of plain LuaJIT.
files["tools"] = { std = "luajit", globals = {} }
files[".busted"] = { std = "luajit" }
-- wrk calls these by name.
files["**/wrk*.lua"] = {
    std = "luajit",
    read_globals = { "wrk" },
    globals = { "wrk", "setup", "init", "request", "response", "done" },
}
