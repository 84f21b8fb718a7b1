-- keep.lua NAME URL DIRECTORY - prints what to try with the server left up.
--
-- The phone is sold out, so it puts another item first: any process of the
-- same user may open the engine by its name, here from outside nginx.

local seckill = require("resty.seckill")


local NAME, URL, DIRECTORY = arg[1], arg[2], arg[3]
local engine = assert(seckill.open { name = NAME })
assert(engine.stock:put { item = "poster", version = 1, total = 100,
                          per_user = 2, hold = 600 })
engine:close()

local users = assert(io.open(DIRECTORY .. "/users"))
local bearer = users:read("*l")
users:close()

local TEXT = [[

The server is still up; now it also sells 100 posters, hold 600 s. Try:

  A='Authorization: Bearer ${bearer}'
  curl ${url}/items
  curl -i -H "$A" --json '{"item":"phone","request_id":"a1"}' ${url}/reserve
  curl -i -H "$A" --json '{"item":"poster","request_id":"a2"}' ${url}/reserve
  curl -s -H "$A" "${url}/find?request_id=a2" |
      sed 's/.*\("token":"[^"]*"\).*/{\1}/' |
      curl -i -H "$A" --json @- ${url}/confirm
  curl ${url}/metrics

Stop it, and remove what it left:

  sh ${directory}/stop
]]

io.write((TEXT:gsub("%${(%w+)}", { bearer = bearer, url = URL,
                                   directory = DIRECTORY })))
