-- Loads resty.limit.* of a checkout of lua-resty-limit-traffic into plain
-- LuaJIT: with shared dicts made of tables and a clock that the caller moves.
--
--   local original = require("limit_original").load(directory)
--   original.now = 1.5                 -- seconds; never backwards here
--   original.req .count .conn .traffic -- the modules
-- Each name of a dict is there, and empty at first.

local _M = {}


local function new_dict(clock)
    local values, ends = {}, {}
    local dict = {}

    local function drop_expired(key)
        if ends[key] and clock.now >= ends[key] then
            values[key], ends[key] = nil, nil
        end
    end

    function dict.get(_, key)
        drop_expired(key)
        return values[key]
    end

    function dict.set(_, key, value)
        values[key], ends[key] = value, nil
        return true
    end

    function dict.incr(_, key, by, init, ttl)
        drop_expired(key)
        if values[key] == nil then
            if not init then
                return nil, "not found"
            end
            values[key] = init
            ends[key] = ttl and clock.now + ttl
        end
        values[key] = values[key] + by
        return values[key]
    end

    return dict
end


function _M.load(directory)
    local clock = { now = 0 }
    local shared = setmetatable({}, { __index = function(t, name)
        t[name] = new_dict(clock)
        return t[name]
    end })
    local env = setmetatable({ ngx = {
        shared = shared, config = { ngx_lua_version = 10023 },
        now = function() return clock.now end,
    } }, { __index = _G })
    for _, name in ipairs { "req", "count", "conn", "traffic" } do
        local path = directory .. "/lib/resty/limit/" .. name .. ".lua"
        local chunk = assert(loadfile(path))
        clock[name] = setfenv(chunk, env)()
    end
    return clock
end


return _M
