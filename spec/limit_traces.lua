-- Random but repeatable traces of calls of resty.limit.*, and the answers to
-- them as text, one token for each value: "R" for a refusal, numbers with 6
-- digits after the point where they need them.
--
--   traces.run(subject) -> { name = answers }
--       subject.new(kind, dict, ...)  an object
--       subject.combine(...)          traffic.combine
--       subject.move(objects, ms)     it is `ms` after the start, never less
-- Two subjects are asked the same as long as they answer the same: what is
-- asked next may hang on an answer. The traces keep away from what the
-- original gets wrong (docs/api/drop_in.md): its clock goes forward here, in
-- steps of 1 ms, nobody uncommits what is not charged or of another window,
-- and nobody leaves who is not there.

local _M = {}


-- Park and Miller's generator: exact in doubles.
local function dice(seed)
    local state = seed * 7919 + 1
    return function(n)
        state = state * 16807 % 2147483647
        return state % n
    end
end


local function number(value)
    if type(value) ~= "number" then
        return tostring(value)
    end
    local text = ("%.6f"):format(value):gsub("0+$", ""):gsub("%.$", "")
    return text
end


local function note(answers, ...)
    if (...) == nil then
        local reason = select(2, ...)
        answers[#answers + 1] = reason == "rejected" and "R"
                                or tostring(reason)
        return ...
    end
    local tokens = {}
    for i = 1, select("#", ...) do
        tokens[i] = number((select(i, ...)))
    end
    answers[#answers + 1] = table.concat(tokens, ",")
    return ...
end


local KEYS = { "alice", "bob", ("/a/long/path"):rep(20) }


local function req(subject, seed)
    local roll, answers, ms = dice(seed), {}, 0
    local rate = ({ 2, 40, 250, 1000 })[seed]
    local burst = ({ 3, 20, 0, 6 })[seed]
    local lim = assert(subject.new("req", "req" .. seed, rate, burst))
    local pause = math.max(2, 900 / rate)
    for _ = 1, 120 do
        if roll(2) == 0 then
            ms = ms + roll(math.floor(roll(20) == 0 and 20 * pause or pause))
        end
        subject.move({ lim }, ms)
        local key = KEYS[roll(#KEYS) + 1]
        local what = roll(20)
        if what < 3 then
            note(answers, lim:incoming(key, what == 0 and false or nil))
        elseif what == 3 then
            lim:set_burst(roll(5))
        else
            local _, excess = note(answers, lim:incoming(key, true))
            -- Of an excess below 1 it gives back too little.
            if what < 7 and tonumber(excess) and excess >= 1 then
                note(answers, lim:uncommit(key))
            end
        end
    end
    return answers
end


-- A round is within one window of each key, and the next one begins when all
-- of them have ended.
local function count(subject, seed)
    local roll, answers = dice(seed), {}
    local limit = ({ 1, 5, 12, 3 })[seed]
    local window = ({ 60, 1, 3600, 0.5 })[seed]
    local lim = assert(subject.new("count", "count" .. seed, limit, window))
    for round = 0, 3 do
        local refused = {}
        for i = 1, 30 do
            subject.move({ lim }, window * 1000 * (2 * round + i / 40))
            local key = KEYS[roll(#KEYS) + 1]
            local what = roll(10)
            local delay = note(answers, lim:incoming(key, what > 1))
            refused[key] = refused[key] or not delay
            if what > 7 and not refused[key] then
                note(answers, lim:uncommit(key))
            end
        end
    end
    return answers
end


local function conn(subject, seed)
    local roll, answers = dice(seed), {}
    local max, burst = roll(4) + 1, roll(4)
    local lim = assert(subject.new("conn", "conn" .. seed, max, burst, 0.5))
    local inside = { 0, 0, 0 }
    for _ = 1, 150 do
        local k = roll(#KEYS) + 1
        local what = roll(20)
        if what < 10 then
            local delay = note(answers, lim:incoming(KEYS[k], true))
            inside[k] = inside[k] + (delay and 1 or 0)
            note(answers, lim:is_committed())
        elseif what < 13 then
            note(answers, lim:incoming(KEYS[k]))
            note(answers, lim:is_committed())
        elseif what == 13 then
            lim:set_conn(roll(5) + 1)
            lim:set_burst(roll(4))
        elseif inside[k] > 0 then
            inside[k] = inside[k] - 1
            local latency = what > 16 and roll(9) / 4 or nil
            if what == 14 then
                note(answers, lim:uncommit(KEYS[k]))
            else
                note(answers, lim:leaving(KEYS[k], latency))
            end
        end
    end
    return answers
end


local function traffic(subject, seed)
    local roll, answers, ms = dice(seed), {}, 0
    local lims = {
        assert(subject.new("req", "r" .. seed, 50, 20)),
        assert(subject.new("req", "r" .. seed, 20, 4)),
        assert(subject.new("conn", "c" .. seed, 3, 2, 0.5)),
        assert(subject.new("count", "n" .. seed, 40, 3600)),
    }
    local inside = { 0, 0 }
    for _ = 1, 120 do
        ms = ms + roll(40)
        subject.move(lims, ms)
        local k = roll(2) + 1
        local key, states = KEYS[k], {}
        local delay = note(answers, subject.combine(
            lims, { "shop", key, key, "shop" }, states))
        note(answers, lims[3]:is_committed())
        if delay then
            inside[k] = inside[k] + 1
            note(answers, unpack(states))
        end
        while inside[k] > 0 and roll(3) > 0 do
            inside[k] = inside[k] - 1
            note(answers, lims[3]:leaving(key, roll(4) / 4))
        end
    end
    return answers
end


--- All traces: the answers, by name.
function _M.run(subject)
    local all = {}
    for seed = 1, 4 do
        all["req" .. seed] = req(subject, seed)
        all["count" .. seed] = count(subject, seed)
        all["conn" .. seed] = conn(subject, seed)
        all["traffic" .. seed] = traffic(subject, seed)
    end
    return all
end


--- The traces in the order in which they are stored.
function _M.names()
    local names = {}
    for _, kind in ipairs { "req", "count", "conn", "traffic" } do
        for seed = 1, 4 do
            names[#names + 1] = kind .. seed
        end
    end
    return names
end


--- The answers of resty.limit.* itself, as spec/limit_vectors.lua keeps them.
function _M.of_original(original)
    return _M.run {
        new = function(kind, ...) return original[kind].new(...) end,
        combine = original.traffic.combine,
        move = function(_, ms) original.now = ms / 1000 end,
    }
end


return _M
