-- Child processes for specs: start, signal, wait, list children. Plain LuaJIT
-- on Linux; everything is addressed by pid. A child dies with its parent
-- (PR_SET_PDEATHSIG), so that an aborted spec run leaves nothing behind.

local ffi = require "ffi"
local socket = require "socket"

local C = ffi.C

ffi.cdef [[
int fork(void);
int execv(const char *path, char *const argv[]);
int kill(int pid, int sig);
int waitpid(int pid, int *status, int options);
int prctl(int option, ...);
int open(const char *path, int flags, ...);
int dup2(int from, int to);
int close(int fd);
void _exit(int status);
unsigned int geteuid(void);
]]

local WNOHANG = 1
local PR_SET_PDEATHSIG = 1
local O_WRONLY_CREAT_APPEND = 1 + 64 + 1024
local FD_MAX = 1024

local SIGNALS = { HUP = 1, QUIT = 3, KILL = 9, USR1 = 10, USR2 = 12,
                  TERM = 15, CONT = 18, STOP = 19, WINCH = 28 }

local _M = {}


local function to_argv(args)
    local argv = ffi.new("const char *[?]", #args + 1)
    for i, arg in ipairs(args) do
        argv[i - 1] = arg
    end
    argv[#args] = nil
    return argv
end


-- Runs in the child only: what LuaSocket opened is not close-on-exec, and a
-- server that inherits a client's socket would keep it open.
local function become(argv, output)
    C.prctl(PR_SET_PDEATHSIG, ffi.cast("unsigned long", SIGNALS.TERM))
    local fd = C.open(output, O_WRONLY_CREAT_APPEND,
                      ffi.cast("unsigned int", 384))
    C.dup2(fd, 1)
    C.dup2(fd, 2)
    for i = 3, FD_MAX do
        C.close(i)
    end
    C.execv(argv[0], ffi.cast("char *const *", argv))
    C._exit(127)
end


--- Start a program; its output is appended to the file `output`.
---@param args string[] absolute path, then arguments
---@param output string
---@return integer pid
function _M.spawn(args, output)
    local argv = to_argv(args)
    local pid = C.fork()
    assert(pid >= 0, "fork failed")
    if pid == 0 then
        become(argv, output)
    end
    assert(#args > 0)  -- keeps the strings alive until here
    return pid
end


--- Send a signal by name ("QUIT") or number.
function _M.kill(pid, sig)
    assert(type(pid) == "number" and pid > 1, "bad pid")
    return C.kill(pid, SIGNALS[sig] or sig) == 0
end


--- True when the child `pid` has ended (and is reaped). Only for own children.
function _M.ended(pid)
    local status = ffi.new("int[1]")
    local got = C.waitpid(pid, status, WNOHANG)
    if got == 0 then
        return false
    end
    return true, got == pid and status[0] or nil
end


local function slurp(path)
    local file = io.open(path, "rb")
    if not file then
        return nil
    end
    local text = file:read("*a")
    file:close()
    return text
end
_M.slurp = slurp


--- True while any process (also a foreign one) has this pid and runs.
function _M.alive(pid)
    local stat = slurp("/proc/" .. pid .. "/stat")
    return stat ~= nil and not stat:find(") Z ", 1, true)
end


--- Pids of the running children of `pid`, oldest first.
---@return integer[]
function _M.children(pid)
    local text = slurp(("/proc/%d/task/%d/children"):format(pid, pid)) or ""
    local pids = {}
    for child in text:gmatch("%d+") do
        if _M.alive(child) then
            pids[#pids + 1] = tonumber(child)
        end
    end
    return pids
end


--- Poll until `test` answers a true value; nil, "timeout" past the deadline.
function _M.wait(test, seconds)
    local deadline = socket.gettime() + (seconds or 10)
    repeat
        local value = test()
        if value then
            return value
        end
        socket.sleep(0.005)
    until socket.gettime() > deadline
    return nil, "timeout"
end


--- True when this process runs as root.
function _M.is_root()
    return C.geteuid() == 0
end


return _M
