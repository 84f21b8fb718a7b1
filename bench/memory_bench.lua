-- memory_bench.lua NAME FIGURE... - what a row of each table takes, in bytes.
--
-- Figures: item, user, request_id, reservation, limiter_key, list_entry,
-- default_segment.
--
-- Nothing is written down here: an engine is opened with some capacity and
-- with twice as much, and the difference of the segments' sizes is divided by
-- the rows in between. A table has spare room beyond its capacity (hashing),
-- which is in the figure. The access list is loaded and asked for its size.

local seckill = require("resty.seckill")


local NAME = assert(arg[1], "usage: memory_bench.lua NAME FIGURE...")
local ROWS = 2 ^ 16
local LIST = 200000

local TABLES = {
    item = "items", user = "users", request_id = "requests",
    reservation = "reservations", limiter_key = "limit_keys",
}


local function emit(name, value)
    print(("{\"name\":\"memory_%s\",\"value\":%.6g,\"unit\":\"bytes\"}")
          :format(name, value))
end


local function segment_bytes(capacity)
    seckill.destroy(NAME)
    local engine = assert(seckill.open { name = NAME, capacity = capacity })
    local bytes = engine:stats().bytes
    engine:close()
    seckill.destroy(NAME)
    return bytes
end


local function row_bytes(capacity_name)
    local less = segment_bytes { [capacity_name] = ROWS }
    local more = segment_bytes { [capacity_name] = 2 * ROWS }
    return (more - less) / ROWS
end


local function list_entry_bytes()
    local path = assert(os.tmpname())
    local file = assert(io.open(path, "w"))
    for i = 1, LIST do
        file:write("black-", i, "\n")
    end
    assert(file:close())
    seckill.destroy(NAME)
    local engine = assert(seckill.open { name = NAME })
    local list, code, detail = engine:access_list("black", {
        kind = "id", file = path, watch = false,
    })
    os.remove(path)
    local stats = assert(list, detail or code):stats()
    engine:close()
    seckill.destroy(NAME)
    assert(stats.entries == LIST, "the list is not whole")
    return stats.bytes / LIST
end


for i = 2, #arg do
    local figure = arg[i]
    if TABLES[figure] then
        emit(figure, row_bytes(TABLES[figure]))
    elseif figure == "list_entry" then
        emit(figure, list_entry_bytes())
    else
        assert(figure == "default_segment", "no such figure")
        emit(figure, segment_bytes {})
    end
end
