-- Writes spec/limit_vectors.lua: what resty.limit.* of the checkout named by
-- SECKILL_LIMIT_TRAFFIC answers to the traces of spec/limit_traces.lua.
--
--   SECKILL_LIMIT_TRAFFIC=<checkout> luajit spec/limit_record.lua

local HEAD = [[
-- What lua-resty-limit-traffic ${version} answers to the traces of
-- spec/limit_traces.lua. Written by spec/limit_record.lua, never by hand; with
-- SECKILL_LIMIT_TRAFFIC set to a checkout, spec/drop_in_spec.lua runs the
-- original again and compares.

local _M = { version = "${version}" }
]]
local WIDTH = 76

package.path = "./spec/?.lua;" .. package.path

local directory = assert(os.getenv("SECKILL_LIMIT_TRAFFIC"),
                         "SECKILL_LIMIT_TRAFFIC: a checkout is needed")
local original = require("limit_original").load(directory)
local traces = require("limit_traces")


local function wrapped(tokens)
    local lines, line = {}, nil
    for _, token in ipairs(tokens) do
        if line and #line + #token + 1 <= WIDTH then
            line = line .. " " .. token
        else
            lines[#lines + 1] = line
            line = token
        end
    end
    lines[#lines + 1] = line
    return table.concat(lines, "\n")
end


local file = assert(io.open("spec/limit_vectors.lua", "wb"))
local version = original.req._VERSION
file:write((HEAD:gsub("%${version}", version)))
local answers = traces.of_original(original)
for _, name in ipairs(traces.names()) do
    file:write("\n_M.", name, " = [[\n", wrapped(answers[name]), "\n]]\n")
end
file:write("\n\nreturn _M\n")
file:close()
