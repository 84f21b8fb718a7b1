-- turn.lua FIGURE TICKS - makes figures of one run of wrk.
--
-- Reads wrk_reserve.lua's result line; TICKS is the CPU time of the nginx
-- worker. Fails when the run did not do what the figure's name says: all
-- requests answered, and all of them reserved or all refused.

local cjson = require("cjson")
local ffi = require("ffi")


local FIGURE, TICKS = arg[1], tonumber(arg[2])
local SC_CLK_TCK = 2

ffi.cdef "long sysconf(int name);"


local function emit(name, value, unit)
    print(("{\"name\":\"http_%s_%s\",\"value\":%.6g,\"unit\":\"%s\"}")
          :format(FIGURE, name, value, unit))
end


local result = cjson.decode(io.read("*a"))
local refused = FIGURE:find("sold_out") and result.requests or 0
if result.requests == 0 or result.broken > 0 or result.refused ~= refused then
    io.stderr:write(("%s: %d requests, %d refused, %d broken\n")
        :format(FIGURE, result.requests, result.refused, result.broken))
    os.exit(1)
end

local cpu = TICKS / tonumber(ffi.C.sysconf(SC_CLK_TCK))
emit("rps", result.requests / result.seconds, "1/s")
emit("cpu_us", cpu * 1e6 / result.requests, "us")
emit("busy", 100 * cpu / result.seconds, "%")
emit("p99_us", result.p99, "us")
