-- luacheck: read_globals redis KEYS ARGV
-- deduct.lua - runs in Redis: takes a unit when the user may have it.
--
-- KEYS: stock, history of the users, this request. ARGV: user, quantity,
-- units for each user. Answers what is left, -1 sold out, -2 over the limit;
-- a repeated request the answer of the first one.

local call = redis.call
local done = call("GET", KEYS[3])
if done then
    return tonumber(done)
end
local qty = tonumber(ARGV[2])
local had = tonumber(call("HGET", KEYS[2], ARGV[1]) or "0")
if had + qty > tonumber(ARGV[3]) then
    return -2
end
local left = tonumber(call("GET", KEYS[1]) or "0")
if left < qty then
    return -1
end
call("HINCRBY", KEYS[2], ARGV[1], qty)
left = call("DECRBY", KEYS[1], qty)
call("SET", KEYS[3], left, "EX", 3600)
return left
