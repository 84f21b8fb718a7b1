--- cli.lua - the program `seckill`: its commands as data, help, exit status.
--
-- What a command does is in resty.seckill.cli.stock, .ledger and .list; they
-- are loaded when a command runs, so that help needs no library.

local args = require("resty.seckill.cli.args")
local output = require("resty.seckill.cli.output")


local format = string.format
local ipairs = ipairs
local require = require


local _M = { _VERSION = "0.1.0" }

local FAILED, USAGE = 1, 2

local HELP = { name = "help", short = "h", help = "show this and exit" }
local OUTPUT = { name = "output", short = "o", value = "FORMAT",
                 one_of = { "table", "json" }, default = "table",
                 help = "table for people, json for programs" }
local ITEM = { name = "ITEM", kind = "id" }
local PROGRESS = { name = "progress",
                   help = "show progress, also where no terminal is" }

local ENGINE = {
    { name = "name", kind = "name", value = "NAME", default = "default",
      help = "the engine" },
    { name = "shm-dir", kind = "string", value = "DIR",
      help = "where its segment is; /dev/shm unless given" },
    { name = "user", kind = "string", value = "USER",
      help = "who owns the segment, when root runs this" },
    { name = "dir", kind = "string", value = "DIR",
      help = "directory of its log: where no engine is running,\n"
          .. "the ledger is opened from it" },
}

local DIRECTORY = {
    { name = "dir", kind = "string", value = "DIR",
      help = "directory of the log; the files alone are read" },
    { name = "name", kind = "name", value = "NAME",
      help = "or: of the running engine NAME" },
    { name = "shm-dir", kind = "string", value = "DIR",
      help = "where its segment is; /dev/shm unless given" },
    { name = "user", kind = "string", value = "USER",
      help = "who owns the segment, when root runs this" },
}


local function join(...)
    local list = {}
    for _, part in ipairs { ... } do
        for _, option in ipairs(part) do
            list[#list + 1] = option
        end
    end
    list[#list + 1] = OUTPUT
    list[#list + 1] = HELP
    return list
end


local function stock_command(name, usage, help, positionals, options)
    return { name = name, usage = usage, help = help,
             positionals = positionals or {},
             options = join(options or {}, ENGINE) }
end


local function ledger_command(name, usage, help, options, positionals)
    return { name = name, usage = usage, help = help,
             positionals = positionals or {},
             options = join(DIRECTORY, options or {}) }
end


local function list_command(name, usage, help, positionals, ...)
    return { name = name, usage = usage, help = help,
             positionals = positionals, options = join(...) }
end


local FILE = { name = "FILE", kind = "string" }

local READING = {
    { name = "kind", value = "KIND", one_of = { "id", "ip" },
      help = "id (any strings) or ip (networks); id unless given" },
    { name = "max-bad-lines", kind = "count", value = "N", max = 2^31,
      help = "more of them refuse a file; 100 unless given" },
    { name = "max-bytes", kind = "positive", value = "N", max = 2^40,
      help = "of the file, and unpacked; 2^30 unless given" },
    { name = "max-entries", kind = "positive", value = "N", max = 2^31,
      help = "2^27 unless given" },
    { name = "allow-empty", help = "a file without entries is good" },
}

local ATTACH = {
    { name = "name", kind = "name", value = "NAME",
      help = "a running engine" },
    { name = "shm-dir", kind = "string", value = "DIR",
      help = "where its segment is; /dev/shm unless given" },
    { name = "user", kind = "string", value = "USER",
      help = "who owns the segment, when root runs this" },
}

local PUT = {
    { name = "total", kind = "count", value = "N",
      help = "units in all; a new item needs it" },
    { name = "per-user", kind = "count", value = "N",
      help = "units a user may hold; unlimited unless given" },
    { name = "max-qty", kind = "count", value = "N",
      help = "units of one order; unlimited unless given" },
    { name = "hold", kind = "seconds", value = "SECONDS",
      help = "life of an unpaid order; sold at once unless given" },
    { name = "starts-at", kind = "time", value = "TIME",
      help = "2026-11-11T00:00:00Z, or seconds since 1970" },
    { name = "ends-at", kind = "time", value = "TIME",
      help = "the same" },
    { name = "version", kind = "positive", value = "N",
      help = "1 unless given; a higher one than the item's\n"
          .. "changes it: all fields are set, the total if given" },
}

local STOCK = {
    stock_command("list", "", "all items"),
    stock_command("show", "ITEM", "one item", { ITEM }),
    stock_command("put", "ITEM --total N", "make or change an item", { ITEM },
                  PUT),
    stock_command("adjust", "ITEM DELTA --request-id ID",
                  "add units, or take unsold ones away (-5)",
                  { ITEM, { name = "DELTA", kind = "delta" } },
                  { { name = "request-id", kind = "id", value = "ID",
                      required = true,
                      help = "the same id again changes nothing" } }),
    stock_command("pause", "ITEM", "refuse new orders", { ITEM }),
    stock_command("resume", "ITEM", "undo pause", { ITEM }),
}

local LEDGER = {
    ledger_command("verify", "", "read everything and recount it",
                   { { name = "live", help = "with --name: compare with the "
                       .. "engine's tables too;\nnothing may use it "
                       .. "meanwhile" }, PROGRESS }),
    ledger_command("dump", "", "all records", {
        { name = "from", kind = "count", value = "LSN",
          help = "begin with this one; the oldest unless given" },
        { name = "to", kind = "count", value = "LSN",
          help = "end with this one" },
        { name = "item", kind = "id", value = "ITEM",
          help = "records of this item only" },
        { name = "type", kind = "string", value = "TYPE,...",
          help = "records of these types only" },
    }),
    ledger_command("tail", "", "the newest records", {
        { name = "lines", short = "n", kind = "positive", value = "N",
          default = 10, help = "how many" },
        { name = "follow", short = "f", help = "go on as they come" },
    }),
    ledger_command("snapshot", "", "build a snapshot, recycle old segments",
                   { PROGRESS }),
    ledger_command("repair", "--yes", "cut a damaged log off at its damage",
                   { { name = "yes", help = "do it" } }),
    ledger_command("stats", "", "numbers of the directory"),
    ledger_command("cursors", "[list | create NAME | drop NAME]",
                   "consumers of the feed, for whom the log is kept", nil,
                   { { name = "ACTION", kind = "string", optional = true,
                       one_of = { "list", "create", "drop" } },
                     { name = "NAME", kind = "name", optional = true } }),
}

local LIST = {
    list_command("check", "FILE", "say whether an engine would load the file",
                 { FILE }, READING, {
        { name = "lines", short = "n", kind = "count", value = "N",
          default = 20, help = "show so many bad lines" },
        PROGRESS }),
    list_command("build", "FILE",
                 "load the file for a trial, tell time and memory", { FILE },
                 READING, {
        { name = "shm-dir", kind = "string", value = "DIR",
          default = "/dev/shm", help = "where the index is built" } }),
    list_command("test", "FILE VALUE... | --list LIST VALUE...",
                 "say whether values are denied, and by what",
                 { { name = "VALUE", kind = "any", rest = true } }, READING,
                 ATTACH, {
        { name = "list", kind = "name", value = "LIST",
          help = "a list of the running engine; - as a value:\n"
              .. "one on each line of standard input" }, PROGRESS }),
    list_command("stats", "--name NAME [--list LIST]",
                 "numbers of the lists of a running engine", {}, ATTACH, {
        { name = "list", kind = "name", value = "LIST",
          help = "this one only" } }),
    list_command("diff", "OLD NEW", "entries that differ between two files",
                 { { name = "OLD", kind = "string" },
                   { name = "NEW", kind = "string" } }, READING, {
        { name = "lines", short = "n", kind = "count", value = "N",
          default = 10, help = "show so many of each sort" },
        { name = "at-once", kind = "positive", value = "N", default = 1000000,
          help = "entries in memory, about 200 bytes each; the\n"
              .. "files are read once for each so many" }, PROGRESS }),
}

local GROUPS = {
    { name = "stock", help = "items of a running engine", commands = STOCK,
      load = function() return require("resty.seckill.cli.stock") end },
    { name = "ledger", help = "log, snapshots and cursors of a directory",
      commands = LEDGER,
      load = function() return require("resty.seckill.cli.ledger") end },
    { name = "list", help = "files of access lists, lists of an engine",
      commands = LIST,
      load = function() return require("resty.seckill.cli.list") end },
}

local EXIT = [[
Exit status:
  0  ok
  1  refused, a problem was found, or the output could not be written
  2  wrong usage
  3  the ledger is damaged
  4  not found, or not running
]]


-- ---- Help -----------------------------------------------------------------

local function rows_of(list)
    local rows = {}
    for _, entry in ipairs(list) do
        rows[#rows + 1] = { entry.name, entry.help }
    end
    return rows
end


local function program_help()
    return "Usage: seckill GROUP COMMAND [OPTION]...\n"
        .. "Works on flash-sale engines and their ledgers.\n\nGroups:\n"
        .. args.columns(rows_of(GROUPS)) .. "\nOptions:\n"
        .. args.columns { { "-h, --help", "show this and exit" },
                          { "--version", "show the version and exit" } }
        .. "\n`seckill GROUP --help` lists its commands.\n\n" .. EXIT
end


local function group_help(group)
    return format("Usage: seckill %s COMMAND [OPTION]...\n%s.\n\nCommands:\n",
                  group.name, group.help:gsub("^%l", string.upper))
        .. args.columns(rows_of(group.commands))
        .. format("\n`seckill %s COMMAND --help` has its options.\n\n",
                  group.name) .. EXIT
end


local function command_help(group, command)
    local usage = command.usage == "" and "" or " " .. command.usage
    return format("Usage: seckill %s %s%s [OPTION]...\n%s.\n\nOptions:\n",
                  group.name, command.name, usage,
                  (command.help:gsub("^%l", string.upper)))
        .. args.columns(args.option_rows(command.options)) .. "\n" .. EXIT
end


-- ---- Running --------------------------------------------------------------

local function usage_error(where, why)
    output.note(why)
    output.note(format("  see `%s --help`", where))
    return USAGE
end


local function find(list, name)
    for _, entry in ipairs(list) do
        if entry.name == name then
            return entry
        end
    end
end


local function is_help(word)
    return word == "--help" or word == "-h"
end


local function print_help(text)
    output.write(text)
    output.flush()
    return 0
end


local function run(group, command, argv)
    local values, why = args.parse(command, argv, 3)
    if not values then
        return usage_error(format("seckill %s %s", group.name, command.name),
                           why)
    end
    if values.help then
        return print_help(command_help(group, command))
    end
    return group.load()[command.name](values)
end


local function in_group(group, argv)
    local where = "seckill " .. group.name
    local word = argv[2]
    if not word then
        return usage_error(where, "no command was given")
    end
    if is_help(word) then
        return print_help(group_help(group))
    end
    local command = find(group.commands, word)
    if not command then
        local kind = word:sub(1, 1) == "-" and "unknown option "
            or "unknown command "
        return usage_error(where, kind .. args.quote(word))
    end
    return run(group, command, argv)
end


local function dispatch(argv)
    local word = argv[1]
    if not word then
        return usage_error("seckill", "no command was given")
    end
    if is_help(word) then
        return print_help(program_help())
    end
    if word == "--version" then
        return print_help("seckill " .. _M._VERSION .. "\n")
    end
    local group = find(GROUPS, word)
    if not group then
        local kind = word:sub(1, 1) == "-" and "unknown option "
            or "unknown group "
        return usage_error("seckill", kind .. args.quote(word))
    end
    return in_group(group, argv)
end


--- Run the program.
---@param argv string[]
---@return integer status
function _M.main(argv)
    local ok, status = pcall(dispatch, argv)
    if not ok then
        output.note(output.plain(status))
        return FAILED
    end
    output.flush()
    return status
end


return _M
