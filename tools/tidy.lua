-- tidy.lua - the rules of the code that no compiler checks.
--
-- usage: luajit tools/tidy.lua [ROOT]
--
-- Reads every file of the tree and prints findings as
-- `file:line: rule: what to do`, then one line for each rule: `ok  rule` or
-- `BAD rule: n findings`. Exit status 1 when there are findings. The rules are
-- the functions of the table `rules` below; CONTRIBUTING.md says why.

local root = arg[1] or "."

-- Layers of csrc/: a file includes its own folder or a lower layer.
local LAYER = {
    base = 1, shm = 2,
    limit = 3, acl = 3, breaker = 3, stock = 3, token = 3, queue = 3,
    metrics = 3,
    io = 4, etcd = 5, redis = 5,
    top = 6, test = 7, fuzz = 8,
}
local HEADER_LAYER = { ["seckill.h"] = 0 }

local LENGTH_MAX, MEDIAN_MAX, P90_MAX = 70, 15, 50
local COLUMNS = 80
local ASSERTS_PER_1000 = 20

-- Calls and where they may stand: a list of path prefixes under csrc/.
local TESTS = { "test/", "fuzz/" }
local OS = { "base/os", "shm/segment.c", "io/", "test/", "fuzz/" }
local BANNED = {
    { "strcpy strcat strncpy sprintf vsprintf gets strtok", {},
      "bounded functions (snprintf, memcpy) instead" },
    { "atoi atol atoll atof", {}, "strtoll with its errors instead" },
    { "rand srand random drand48", TESTS, "a seeded hash or getrandom" },
    { "alloca setjmp longjmp", {}, "do without" },
    { "printf fprintf vprintf puts putchar perror",
      { "base/assert.c", "base/log.c", "test/", "fuzz/" },
      "return an error; the library does not print" },
    { "clock_gettime gettimeofday time clock", { "base/clock.c", "test/" },
      "take the time as an argument; only base/clock.c reads clocks" },
    { "sleep usleep nanosleep", { "base/os", "test/" },
      "wait for an event instead" },
    { "open openat creat mmap munmap ftruncate fallocate posix_fallocate "
      .. "read write pread pwrite fsync fdatasync rename unlink unlinkat "
      .. "mkdir rmdir chmod fchmod chown fchown stat fstat lstat "
      .. "socket bind listen accept accept4 connect recv send sendmsg "
      .. "recvmsg poll epoll_create1 epoll_ctl epoll_wait inotify_init1 "
      .. "inotify_add_watch eventfd fork execve", OS,
      "system calls belong to base/os.c, shm/segment.c and io/" },
    { "pthread_mutex_lock pthread_mutex_timedlock pthread_mutex_trylock "
      .. "pthread_mutex_consistent",
      { "shm/lock.c", "shm/processes.c", "io/", "test/" },
      "take locks through shm/lock.h, which repairs after a dead owner" },
}

-- Written in halves, so that this file does not find itself.
local UNFINISHED = { "TO" .. "DO", "FIX" .. "ME", "XX" .. "X", "HA" .. "CK" }
local UNFINISHED_TEXT = { "not " .. "implemented", "%f[%a]stu" .. "b%f[%A]" }
local MACHINE = { "/wo" .. "rk/", "/ho" .. "me/%a", "/ro" .. "ot/%a" }

local findings = {}
local notes = {}


local function report(rule, path, line, text)
    findings[#findings + 1] = { rule = rule, path = path, line = line,
                                text = text }
end


local function read(path)
    local file = assert(io.open(root .. "/" .. path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end


local function split(text)
    local lines = {}
    for line in (text:gsub("\n$", "") .. "\n"):gmatch("(.-)\n") do
        lines[#lines + 1] = line
    end
    return lines
end


local function kind_of(path, text)
    local ext = path:match("%.(%w+)$")
    if ext == "c" or ext == "h" then
        return "c"
    end
    local first = text:match("^[^\n]*")
    if ext == "lua" or first:find("^#!.*luajit") or path == ".busted" then
        return "lua"
    end
    return first:find("^#!.*sh$") and "sh" or "other"
end


-- Blanks out comments and strings, so that only code is left; same lines.
local function blank(text)
    return (text:gsub("[^\n]", " "))
end


local function strip_c(text)
    local out, at = {}, 1
    while at <= #text do
        local from = text:find("[/\"']", at)
        if not from then
            break
        end
        out[#out + 1] = text:sub(at, from - 1)
        local two, to = text:sub(from, from + 1), from
        if two == "/*" then
            to = select(2, text:find("*/", from + 2, true)) or #text
        elseif two == "//" then
            to = (text:find("\n", from, true) or #text + 1) - 1
        elseif text:sub(from, from) ~= "/" then
            to = from + 1
            local quote = text:sub(from, from)
            while to < #text and text:sub(to, to) ~= quote do
                to = to + (text:sub(to, to) == "\\" and 2 or 1)
            end
        end
        local piece = text:sub(from, to)
        out[#out + 1] = piece == "/" and piece or blank(piece)
        at = to + 1
    end
    out[#out + 1] = text:sub(at)
    return table.concat(out)
end


-- End of a Lua comment, string or long bracket that begins at `from`.
local function lua_token_end(text, from)
    local comment = text:sub(from, from + 1) == "--"
    local open = comment and from + 2 or from
    local level = text:match("^%[(=*)%[", open)
    if level then
        local _, to = text:find("]" .. level .. "]", open, true)
        return to or #text
    end
    if comment then
        return (text:find("\n", from, true) or #text + 1) - 1
    end
    local quote = text:sub(from, from)
    if quote == "[" or quote == "-" then
        return nil
    end
    local to = from + 1
    while to < #text and text:sub(to, to) ~= quote do
        to = to + (text:sub(to, to) == "\\" and 2 or 1)
    end
    return to
end


local function strip_lua(text)
    local out, at = {}, 1
    while true do
        local from = text:find("[%-\"'%[]", at)
        if not from then
            break
        end
        local to = lua_token_end(text, from)
        out[#out + 1] = text:sub(at, from - 1)
        local piece = text:sub(from, to or from)
        out[#out + 1] = to and blank(piece) or piece
        at = (to or from) + 1
    end
    out[#out + 1] = text:sub(at)
    return table.concat(out)
end


local function load_tree()
    local command = "cd '" .. root .. "' && find . -type f"
        .. " -not -path './.git/*' -not -path './build/*' | sort"
    local files, pipe = {}, assert(io.popen(command))
    for name in pipe:lines() do
        local path = name:sub(3)
        local text = read(path)
        local kind = not text:find("%z") and kind_of(path, text)
        if kind then
            local file = { path = path, text = text, kind = kind,
                           lines = split(text) }
            local strip = kind == "c" and strip_c
                or kind == "lua" and strip_lua
            file.code = strip and split(strip(text)) or file.lines
            files[#files + 1] = file
        end
    end
    pipe:close()
    return files
end


-- The folder of a file in csrc/, "top" for csrc/*.c.
local function folder_of(path)
    if path:find("^csrc/") then
        return path:match("^csrc/([%w_]+)/") or "top"
    end
end


local function is_engine(file)
    local folder = file.kind == "c" and folder_of(file.path)
    return folder and folder ~= "test" and folder ~= "fuzz"
        and file.path ~= "csrc/seckill.h"
end


-- Functions: { name, line, length } ------------------------------------------

-- The formatter puts the braces of a function, and of nothing else with a
-- parameter list, into column one.
local function c_functions(file)
    local list, open = {}, nil
    local code = file.code
    for i, line in ipairs(code) do
        if line:find("^{") then
            open = i - 1
            while open > 1 and code[open]:find("^%s") do
                open = open - 1
            end
        elseif open and line:find("^}") then
            local head = table.concat(code, " ", open, i)
            local name = head:match("([%a_][%w_]*)%s*%(")
            if name then
                list[#list + 1] = { name = name, line = open,
                                    length = i - open + 1 }
            end
            open = nil
        end
    end
    return list
end


local OPENS = { ["function"] = true, ["if"] = true, ["do"] = true,
                ["repeat"] = true }
local CLOSES = { ["end"] = true, ["until"] = true }


local function lua_functions(file)
    local list, stack = {}, {}
    for i, line in ipairs(file.code) do
        for word in line:gmatch("[%a_][%w_]*") do
            if OPENS[word] then
                stack[#stack + 1] = { word = word, line = i }
            elseif CLOSES[word] and #stack > 0 then
                local block = table.remove(stack)
                if block.word == "function" then
                    local text = file.lines[block.line]
                    list[#list + 1] = { name = text:match("^%s*(.-)%s*$"),
                        line = block.line, length = i - block.line + 1 }
                end
            end
        end
    end
    return list
end


local function is_suite(fn)
    return fn.name:find("describe(", 1, true)
        or fn.name:find("insulate(", 1, true)
        or fn.name:find("context(", 1, true)
end


local function percentile(lengths, share)
    table.sort(lengths)
    return lengths[math.max(1, math.ceil(#lengths * share))] or 0
end


-- Rules --------------------------------------------------------------------

local rules = {}


function rules.layers(files)
    for _, file in ipairs(files) do
        local folder = file.kind == "c" and folder_of(file.path)
        local own = folder and LAYER[folder]
        if folder and not own then
            report("layers", file.path, 1, "unknown folder: give " .. folder
                   .. " a layer in tools/tidy.lua")
        end
        for i, line in ipairs(own and file.lines or {}) do
            local name = line:match('^%s*#%s*include%s+"([^"]+)"')
            local target = name and (name:match("^([%w_]+)/") or "top")
            local layer = name and (HEADER_LAYER[name] or LAYER[target] or 99)
            if layer and (layer > own
                          or layer == own and target ~= folder) then
                report("layers", file.path, i, folder .. "/ may not include "
                       .. name .. ": include lower layers only, or pass a "
                       .. "function or a value from above")
            end
        end
    end
end


function rules.length(files)
    local lengths = { c = {}, lua = {} }
    for _, file in ipairs(files) do
        local find = file.kind == "c" and c_functions
            or file.kind == "lua" and lua_functions
        for _, fn in ipairs(find and find(file) or {}) do
            if is_engine(file) or file.path:find("^lua/") then
                table.insert(lengths[file.kind], fn.length)
            end
            if fn.length > LENGTH_MAX and not is_suite(fn) then
                report("length", file.path, fn.line, fn.name .. " has "
                       .. fn.length .. " lines: split it (" .. LENGTH_MAX
                       .. " at most)")
            end
        end
    end
    for kind, list in pairs(lengths) do
        local median, p90 = percentile(list, 0.5), percentile(list, 0.9)
        notes[#notes + 1] = ("%s functions: %d, median %d, p90 %d lines")
            :format(kind, #list, median, p90)
        if kind == "c" and (median > MEDIAN_MAX or p90 > P90_MAX) then
            report("length", "csrc", 0, "median " .. median .. ", p90 " .. p90
                   .. ": shorten functions (" .. MEDIAN_MAX .. ", "
                   .. P90_MAX .. " at most)")
        end
    end
end


local function width(line)
    return #line:gsub("[\128-\191]", "")
end


function rules.columns(files)
    for _, file in ipairs(files) do
        for i, line in ipairs(file.kind ~= "other" and file.lines or {}) do
            if width(line) > COLUMNS then
                report("columns", file.path, i, width(line)
                       .. " columns: break the line at " .. COLUMNS)
            end
        end
    end
end


function rules.whitespace(files)
    for _, file in ipairs(files) do
        local tabs_ok = file.path == "Makefile" or file.path == ".gitmodules"
            or file.path:find("corpus/") or file.path:find("%.tsv$")
        for i, line in ipairs(file.path:find("corpus/") and {}
                              or file.lines) do
            if line:find("[ \t\r]$") then
                report("whitespace", file.path, i, "remove trailing space")
            end
            if line:find("\t") and not tabs_ok then
                report("whitespace", file.path, i, "use spaces, not tabs")
            end
        end
        if file.text:find("[^\n]$") and not file.path:find("corpus/") then
            report("whitespace", file.path, #file.lines, "end with a newline")
        end
    end
end


local function allowed_in(path, prefixes)
    for _, prefix in ipairs(prefixes) do
        if path:sub(1, 5 + #prefix) == "csrc/" .. prefix then
            return true
        end
    end
end


local function banned_names(path)
    local names = {}
    for _, entry in ipairs(BANNED) do
        if not allowed_in(path, entry[2]) then
            for name in entry[1]:gmatch("%S+") do
                names[name] = entry[3]
            end
        end
    end
    return names
end


function rules.calls(files)
    for _, file in ipairs(files) do
        if file.kind == "c" and folder_of(file.path) then
            local names = banned_names(file.path)
            for i, line in ipairs(file.code) do
                for before, name in line:gmatch("(.?)%f[%w_]([%a_][%w_]*)%(")
                do
                    if names[name] and not before:find("[.>*]") then
                        report("calls", file.path, i, name .. "(): "
                               .. names[name])
                    end
                end
            end
        end
    end
end


function rules.unfinished(files)
    for _, file in ipairs(files) do
        for i, line in ipairs(file.lines) do
            for _, word in ipairs(UNFINISHED) do
                if line:find("%f[%w_]" .. word .. "%f[^%w_]") then
                    report("unfinished", file.path, i, "finish it: " .. word)
                end
            end
            for _, text in ipairs(UNFINISHED_TEXT) do
                if file.kind ~= "other" and line:lower():find(text) then
                    report("unfinished", file.path, i, "finish it, or say "
                           .. "what is meant in other words")
                end
            end
            if file.path:find("^spec/") and line:find("%f[%w]pending%(") then
                report("unfinished", file.path, i, "a pending test: run it")
            end
        end
    end
end


function rules.machine(files)
    for _, file in ipairs(files) do
        for i, line in ipairs(file.lines) do
            for _, pattern in ipairs(MACHINE) do
                if line:find(pattern) then
                    report("machine", file.path, i, "a path of one machine: "
                           .. "make it relative or a variable")
                end
            end
        end
    end
end


function rules.asserts(files)
    local lines, asserts = 0, 0
    for _, file in ipairs(files) do
        for _, line in ipairs(is_engine(file) and file.code or {}) do
            if line:find("%S") then
                lines = lines + 1
            end
            if line:find("skl_d?assert%s*%(") and not line:find("^#")
               or line:find("_Static_assert") then
                asserts = asserts + 1
            end
        end
    end
    local rate = lines == 0 and ASSERTS_PER_1000 or asserts * 1000 / lines
    notes[#notes + 1] = ("C engine: %d code lines, %d asserts, %.1f per 1000")
        :format(lines, asserts, rate)
    if rate < ASSERTS_PER_1000 then
        report("asserts", "csrc", 0, ("%.1f per 1000 lines: assert what the "
               .. "code relies on (%d at least)"):format(rate,
               ASSERTS_PER_1000))
    end
end


-- Text of all files whose path matches, joined: to look for mentions.
local function corpus(files, pattern)
    local parts = {}
    for _, file in ipairs(files) do
        if file.path:find(pattern) then
            parts[#parts + 1] = file.text
        end
    end
    return table.concat(parts, "\n")
end


local function has(text, plain)
    return text:find(plain, 1, true) ~= nil
end


-- A C module is proven by its own test, or by one that includes its header.
local function c_is_tested(path, present, tests)
    local folder, base = folder_of(path), path:match("([%w_]+)%.c$")
    local named = folder .. "_" .. base
    for _, name in ipairs { base, folder, named, base:gsub("^seckill_", "") } do
        if present["csrc/test/" .. name .. "_test.c"] then
            return true
        end
    end
    return has(tests, '"' .. folder .. "/" .. base .. '.h"')
        or folder == "top" and has(tests, '"seckill.h"')
end


local function dead_c(file, present, texts)
    local path = file.path
    local folder = folder_of(path)
    if path:find("%.h$") and path ~= "csrc/seckill.h" then
        if not has(texts.c, '"' .. path:sub(6) .. '"') then
            report("dead", path, 1, "nobody includes it: remove it")
        end
    elseif folder == "test" then
        if path:find("^csrc/test/[^/]+%.c$")
           and not path:find("_test%.c$") then
            report("dead", path, 1, "not built: call it <module>_test.c, "
                   .. "or move it to csrc/test/support/")
        end
    elseif path:find("%.c$") and folder ~= "fuzz" then
        if folder ~= "top" and not texts.makefile:find(
               "\nLAYERS :=[^\n]*%f[%w]" .. folder .. "%f[%W]") then
            report("dead", path, 1, "not built: add its folder to LAYERS")
        end
        if not c_is_tested(path, present, texts.c_tests) then
            report("dead", path, 1, "no test: write csrc/test/"
                   .. path:match("([%w_]+)%.c$") .. "_test.c")
        end
    end
end


local function module_of(path)
    local module = path:match("^lua/(.-)%.lua$")
    return module and module:gsub("/init$", ""):gsub("/", ".")
end


local function requires(text, module)
    return text:find('["\']' .. module:gsub("%p", "%%%0") .. '["\']') ~= nil
end


-- Modules that a spec requires, and those that these require.
local function tested_modules(files, spec)
    local tested, texts, more = {}, {}, true
    for _, file in ipairs(files) do
        local module = module_of(file.path)
        texts[module or ""] = module and file.text
    end
    while more do
        more = false
        for module in pairs(texts) do
            if not tested[module] and requires(spec, module) then
                tested[module], more = true, true
                spec = spec .. texts[module]
            end
        end
    end
    return tested
end


local function dead_lua(file, texts)
    local module = module_of(file.path)
    if module then
        if not texts.tested[module] then
            report("dead", file.path, 1, "no spec requires " .. module)
        end
        return
    end
    local helper = file.path:match("^spec/(.-)%.lua$")
    if helper and not helper:find("_spec$") then
        local name = helper:match("[^/]+$")
        if not texts.spec:find("[\"'./]" .. name:gsub("%p", "%%%0")
                               .. "[\"'.]") then
            report("dead", file.path, 1, "no spec uses it: remove it")
        end
    end
end


local function dead_tool(file, texts)
    local name = file.path:match("^tools/(.+)$")
    if name and not has(texts.tools, "tools/" .. name) then
        report("dead", file.path, 1, "neither the Makefile nor another tool "
               .. "runs it: remove it")
    end
end


function rules.dead(files)
    local present = {}
    for _, file in ipairs(files) do
        present[file.path] = true
    end
    local texts = {
        c = corpus(files, "%.[ch]$"),
        c_tests = corpus(files, "^csrc/test/"),
        spec = corpus(files, "^spec/"),
        tested = tested_modules(files, corpus(files, "^spec/")),
        makefile = "\n" .. corpus(files, "^Makefile$"),
        tools = corpus(files, "^Makefile$") .. corpus(files, "^tools/")
            .. corpus(files, "^%.ci/") .. corpus(files, "%.md$"),
    }
    for _, file in ipairs(files) do
        if file.kind == "c" and folder_of(file.path) then
            dead_c(file, present, texts)
        elseif file.kind == "lua" and not file.path:find("^tools/") then
            dead_lua(file, texts)
        end
        dead_tool(file, texts)
    end
end


-- Run ----------------------------------------------------------------------

local ORDER = { "layers", "length", "columns", "whitespace", "calls",
                "unfinished", "machine", "asserts", "dead" }


local function run(files)
    for _, name in ipairs(ORDER) do
        local before = #findings
        rules[name](files)
        local count = #findings - before
        for i = before + 1, #findings do
            local found = findings[i]
            print(("%s:%d: %s: %s"):format(found.path, found.line, found.rule,
                                           found.text))
        end
        print(count == 0 and "ok  " .. name
              or ("BAD %s: %d findings"):format(name, count))
    end
    for _, note in ipairs(notes) do
        print("    " .. note)
    end
end


run(load_tree())
os.exit(#findings == 0 and 0 or 1)
