-- wrk_reserve.lua ITEM TAG - POST /reserve of 100,000 users, one request after
-- the other, each with a request id that was never used before. The same
-- requests go to all handlers.
--
-- wrk's own work must stay far below a server's: a request is two strings, one
-- made at the start for each user, and the number. The users come in an order
-- that is no order of their memory. The last line is the result as JSON.

local USERS_STEP = 7919 -- prime: all users come in turn
local FIRST_ID = 1000000000

local HEAD = table.concat({
    "POST /reserve HTTP/1.1",
    "Host: shop.example",
    "Authorization: Bearer %s",
    "Content-Type: application/json",
    "Content-Length: %d",
    "",
    "%s",
}, "\r\n")

local heads, count, user, id = {}, 0, 0, FIRST_ID


local function read_heads(item, tag)
    local body = ("{\"item\":\"%s\",\"qty\":1,\"request_id\":\"%s-")
        :format(item, tag)
    local length = #body + #tostring(FIRST_ID) + #"\"}"
    for token in io.lines(os.getenv("BENCH_DIR") .. "/users") do
        heads[count] = HEAD:format(token, length, body)
        count = count + 1
    end
end


function init(args)
    read_heads(args[1], args[2])
end


function request()
    user = (user + USERS_STEP) % count
    id = id + 1
    return heads[user] .. id .. "\"}"
end


function done(summary, latency)
    local errors = summary.errors
    print(("result {\"requests\":%d,\"seconds\":%.6f,\"refused\":%d,"
           .. "\"broken\":%d,\"p50\":%d,\"p99\":%d}")
        :format(summary.requests, summary.duration / 1e6, errors.status,
                errors.connect + errors.read + errors.write + errors.timeout,
                latency:percentile(50), latency:percentile(99)))
end
