-- generate.lua DIR [IDS [NETWORKS [SEED]]]: lists as they are in a shop, to try
-- and to measure. Plain LuaJIT.
--
-- Writes users.txt, networks.txt and white.txt into DIR. The same numbers give
-- the same files. Each file is written beside the old one and renamed over it,
-- and ends with `#end N`: a running nginx takes it over, whole.

local dir = arg[1]
local ids, networks = tonumber(arg[2] or 100000), tonumber(arg[3] or 10000)
local seed = tonumber(arg[4] or 1)

if not (dir and ids and networks and seed) or #arg > 4 or ids < 1
   or networks < 1 then
    io.stderr:write("usage: luajit generate.lua DIR [IDS [NETWORKS [SEED]]]\n")
    os.exit(2)
end


local band, bnot, rshift = bit.band, bit.bnot, bit.rshift
local format = string.format
local random = math.random

local REASONS = { "stolen card", "bot farm", "chargeback", "resale",
                  "password guessing", "many accounts on one device" }
local PREFIXES = { "user-%d", "u%08x", "device:%x", "open-id/%d",
                   "+49151%08d", "user-%d@example.com" }

-- Lengths as in published lists of networks: half of them single addresses,
-- then the /24 of a provider, a few large ones.
local LENGTHS4 = { 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 24, 24, 24, 24, 24,
                   23, 22, 21, 20, 18, 16 }
local LENGTHS6 = { 128, 64, 64, 64, 56, 48, 48, 44, 32 }

math.randomseed(seed)


local function pick(list)
    return list[random(#list)]
end


-- Writes lines as write(put) gives them.
local function save(name, write)
    local path = dir .. "/" .. name
    local file = assert(io.open(path .. ".new", "wb"))
    local count = 0
    file:write("# made by generate.lua, seed ", seed, "\n")
    write(function(...)
        count = count + 1
        file:write(...)
        file:write("\n")
    end)
    file:write("#end ", count, "\n")
    assert(file:close())
    assert(os.rename(path .. ".new", path))
    io.write(format("%-12s %9d entries\n", name, count))
end


-- An entry of ten has an end, one of twenty a reason.
local function tail()
    local ttl = random() < 0.1 and random(1, 30) * 86400 or ""
    local reason = random() < 0.05 and pick(REASONS) or nil
    if reason then
        return "\t" .. ttl .. "\t" .. reason
    end
    return ttl ~= "" and "\t" .. ttl or ""
end


-- 10, 127, 172.16, 192.168 and what is above 223 are not on the Internet.
local function public()
    while true do
        local a, b = random(1, 223), random(0, 255)
        if a ~= 10 and a ~= 127 and not (a == 172 and b >= 16 and b < 32)
           and not (a == 192 and b == 168) then
            return a * 2 ^ 24 + b * 65536 + random(0, 65535)
        end
    end
end


local function dotted(word)
    return format("%d.%d.%d.%d", rshift(word, 24), band(rshift(word, 16), 255),
                  band(rshift(word, 8), 255), band(word, 255))
end


local function network4(word, length)
    local hosts = length == 32 and 0 or rshift(-1, length)
    return dotted(band(word, bnot(hosts)))
        .. (length == 32 and "" or "/" .. length)
end


-- Groups of 16 bits, those behind the prefix zero.
local function network6()
    local length, groups = pick(LENGTHS6), {}
    for i = 1, 8 do
        local left = length - 16 * (i - 1)
        local group = i == 1 and 0x2001 + random(0, 255) or random(0, 65535)
        if left <= 0 then
            group = 0
        elseif left < 16 then
            group = group - group % 2 ^ (16 - left)
        end
        groups[i] = format("%x", group)
    end
    return table.concat(groups, ":") .. "/" .. length
end


save("users.txt", function(put)
    put("mallory\t\tstolen card")
    for _ = 2, ids do
        put(format(pick(PREFIXES), random(1, 99999999)), tail())
    end
end)

save("networks.txt", function(put)
    local count = 2
    put("203.0.113.0/24\t\tbot farm")
    put("!203.0.113.7") -- our own probe
    while count < networks do
        local word, length = public(), pick(LENGTHS4)
        if random() < 0.2 then
            put(network6(), tail())
        elseif random() < 0.01 then
            put(dotted(band(word, bnot(255))) .. "-"
                .. dotted(band(word, bnot(255)) + random(1, 255)), tail())
        else
            put(network4(word, length), tail())
            -- A customer in a network that is denied.
            if length <= 20 and random() < 0.3 and count + 1 < networks then
                put("!", network4(word, 28))
                count = count + 1
            end
        end
        count = count + 1
    end
end)

save("white.txt", function(put)
    put("!vip")
    for _ = 1, math.ceil(ids / 1000) do
        put("!", format(pick(PREFIXES), random(1, 99999999)))
    end
end)
