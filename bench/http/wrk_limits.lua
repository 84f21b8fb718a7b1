-- wrk_limits.lua PATH USERS - GET of PATH by USERS users, one after the other,
-- each with a header for the user and one for the address.
--
-- One user is the hot key. Many come in an order that is no order of their
-- memory. The last line is the result as JSON.

local STEP = 199999 -- prime: all users come in turn
local FIRST = 1000000 -- all numbers have seven digits

local head, count, user


function init(args)
    head = "GET " .. args[1] .. " HTTP/1.1\r\nHost: shop.example\r\nX-User: "
           .. "user-"
    count, user = tonumber(args[2]), 0
end


function request()
    user = (user + STEP) % count
    local number = FIRST + user
    return head .. number .. "\r\nX-Address: 10." .. number .. "\r\n\r\n"
end


function done(summary, latency)
    local errors = summary.errors
    print(("result {\"requests\":%d,\"seconds\":%.6f,\"refused\":%d,"
           .. "\"broken\":%d,\"p50\":%d,\"p99\":%d}")
        :format(summary.requests, summary.duration / 1e6, errors.status,
                errors.connect + errors.read + errors.write + errors.timeout,
                latency:percentile(50), latency:percentile(99)))
end
