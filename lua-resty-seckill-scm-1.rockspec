rockspec_format = "3.0"
package = "lua-resty-seckill"
version = "scm-1"
source = { url = "git+https://github.com/lua-resty-seckill/lua-resty-seckill" }
description = {
    summary = "Flash-sale engine for OpenResty: a C core behind LuaJIT FFI",
    detailed = [[
Stock ledger, rate limits and access lists in memory shared by all nginx
workers: never oversold, also when a worker is killed.]],
    license = "BSD-2-Clause",
}
supported_platforms = { "linux" }
-- LuaJIT is needed, but luarocks itself may run under another Lua; lua-cjson
-- comes with OpenResty or Debian, where luarocks cannot see it.
dependencies = { "lua == 5.1" }
external_dependencies = { OPENSSL = { header = "openssl/evp.h" } }
build = {
    type = "make",
    build_target = "all",
    install_target = "install-lua",
    build_variables = {
        CC = "$(CC)",
        CFLAGS = "$(CFLAGS) -I$(OPENSSL_INCDIR)",
        LIBFLAG = "$(LIBFLAG)",
        WERROR = "",
    },
    install_variables = {
        CC = "$(CC)",
        CFLAGS = "$(CFLAGS) -I$(OPENSSL_INCDIR)",
        LIBFLAG = "$(LIBFLAG)",
        WERROR = "",
        PREFIX = "$(PREFIX)",
        INST_LUADIR = "$(LUADIR)",
        INST_LIBDIR = "$(LIBDIR)",
        BINDIR = "$(BINDIR)",
    },
}
-- The programs in bin/ need LuaJIT, not the Lua of luarocks.
deploy = { wrap_bin_scripts = false }
test = { type = "command", command = "make test-lua" }
