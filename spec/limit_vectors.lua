-- What lua-resty-limit-traffic 0.09 answers to the traces of
-- spec/limit_traces.lua. Written by spec/limit_record.lua, never by hand; with
-- SECKILL_LIMIT_TRAFFIC set to a checkout, spec/drop_in_spec.lua runs the
-- original again and compares.

local _M = { version = "0.09" }

_M.req1 = [[
0,0 0,0 0,0 0.5,1 1,2 1.5,3 R R R R 0.02,0.04 0,0 0.104,0.208 0,0 0.445,0.89
0.945,1.89 0.998,1.996 0.834,1.668 1.334,2.668 0.334,0.668 0.691,1.382
0.865,1.73 true 0,0 0,0 0,0 0.5,1 true 0,0 0,0 0.133,0.266 0.042,0.084
0.493,0.986 0,0 0.04,0.08 0,0 0.331,0.662 0.532,1.064 0.831,1.662 0,0
1.022,2.044 true 0.223,0.446 0.392,0.784 0,0 0,0 0.218,0.436 0,0 0,0 0,0
0.147,0.294 0.259,0.518 0,0 0.5,1 0,0 0.299,0.598 0.603,1.206 0.242,0.484
0,0 0.564,1.128 true 0.349,0.698 0.192,0.384 0.079,0.158 0.579,1.158 true
0.14,0.28 0,0 0.5,1 1,2 1.5,3 true 1.5,3 0.281,0.562 0,0 0,0 0,0 0.181,0.362
0.01,0.02 0,0 0,0 0.094,0.188 0.062,0.124 0.121,0.242 0.295,0.59 0.236,0.472
0,0 0.494,0.988 0.484,0.968 0.916,1.832 0.233,0.466 0.584,1.168 R R
0.643,1.286 R R 0.777,1.554 R 0.801,1.602 true 0.836,1.672 R 0.609,1.218 0,0
0.298,0.596 0,0 0,0 0.5,1 0.519,1.038 0.519,1.038 0,0 0.335,0.67 0.285,0.57
0.732,1.464 R 0,0 0.062,0.124 0,0 0,0 0,0
]]

_M.req2 = [[
0,0 0,0 0,0 0,0 0,0 0.005,0.2 0.013,0.52 0.013,0.52 0,0 0.02,0.8 0,0
0.037,1.48 true 0.037,1.48 0,0 0.014,0.56 0.03,1.2 true 0,0 0.028,1.12
0.053,2.12 true 0.016,0.64 0.033,1.32 0.015,0.6 0.04,1.6 0.04,1.6 0.036,1.44
0.049,1.96 true 0.026,1.04 0.051,2.04 0,0 0.008,0.32 0.008,0.32 0.02,0.8
0.046,1.84 0.018,0.72 0.038,1.52 0.066,2.64 0.05,2 0.024,0.96 0.049,1.96
0.047,1.88 0.075,3 0.064,2.56 0.063,2.52 true 0.074,2.96 0.046,1.84
0.099,3.96 0.044,1.76 0.095,3.8 0.069,2.76 0.067,2.68 0.067,2.68 0.094,3.76
0.119,4.76 true 0.12,4.8 true 0.092,3.68 0.117,4.68 0.118,4.72 0.143,5.72
0.14,5.6 true 0.14,5.6 0.112,4.48 0.137,5.48 0.14,5.6 true 0.139,5.56
0.149,5.96 0.174,6.96 0.127,5.08 true 0.126,5.04 0.132,5.28 0.147,5.88 true
0.084,3.36 0.114,4.56 0.065,2.6 0.137,5.48 0.139,5.56 true 0.065,2.6
0.162,6.48 0,0 0.025,1 0.05,2 0,0 0.065,2.6 0,0 0.073,2.92 0.097,3.88 0,0
0.019,0.76 0.018,0.72 0.044,1.76 0,0 0.025,1 0.066,2.64 0.084,3.36
0.089,3.56 true 0,0 0,0 0.023,0.92 0.068,2.72 0,0 0.014,0.56 0.007,0.28 0,0
0,0 0,0 0,0 0,0 0.025,1 true 0.025,1 0,0 0.025,1 0.025,1 0.01,0.4 0.02,0.8
0.015,0.6 0.04,1.6 0.015,0.6 0.015,0.6 0.04,1.6 true
]]

_M.req3 = [[
0,0 0,0 0,0 0,0 R 0,0 0,0 R R R R 0,0 0,0 R 0,0 R R R R 0,0 R R R R R R 0,0
R 0.001,0.25 0,0 0.003,0.75 0.002,0.5 0.006,1.5 true 0.007,1.75 0.009,2.25
0,0 0.003,0.75 0,0 0,0 0.003,0.75 0.007,1.75 true 0,0 0.007,1.75 0.004,1
0.01,2.5 0.007,1.75 true 0.007,1.75 0,0 0,0 0,0 0.002,0.5 0.001,0.25
0.005,1.25 0.002,0.5 0,0 0.009,2.25 R R R R R R R 0,0 R 0,0 R 0,0 R R 0,0 R
R R R R R 0,0 0,0 0,0 R R R 0,0 R 0,0 0,0 R R R R R 0,0 R R 0,0 0,0 R R 0,0
R R R R R 0,0 0,0 0,0 R 0,0 0,0 R R R R R
]]

_M.req4 = [[
0,0 0,0 0,0 0,0 0,0 0,0 R 0,0 0,0 R 0,0 0,0 R R R R 0,0 0,0 0,0 0,0 0,0 0,0
0,0 R R 0,0 0,0 0,0 R 0,0 0,0 0,0 0.001,1 0,0 0,0 0,0 0,0 0,0 0.001,1 0,0
0,0 0.001,1 0.001,1 R 0,0 0,0 R 0,0 0.001,1 true 0.001,1 0.002,2 R 0,0 R
0.001,1 0,0 0.002,2 0,0 R R 0.001,1 0,0 0.001,1 0.002,2 0.002,2 0,0 0,0
0.002,2 0,0 0.001,1 0.003,3 0,0 0.001,1 0,0 0.001,1 0.002,2 0,0 0,0 0,0 0,0
0,0 0,0 0,0 0,0 0,0 0.001,1 0,0 0.001,1 true 0,0 0.001,1 0.001,1 0,0 0,0 0,0
0,0 0.001,1 0.001,1 true 0.001,1 0,0 0,0 0,0 0.001,1 0.002,2 0.002,2 0.001,1
R 0.002,2 0,0 0,0 0.001,1 true 0,0 0,0 0.001,1 0.001,1
]]

_M.count1 = [[
0,0 0,0 0,0 R R R R R R R R R R R R R R R R R R R R R R R R R R R 0,0 R 0,0
0,0 R R R R R R R R R R R R R R R R R R R R R R R R R R 0,0 0,0 R R 0,0 R R
R R R R R R R R R R R R R R R R R R R R R R R 0,0 0,0 R 0,0 R R R R R R R R
R R R R R R R R R R R R R R R R R R
]]

_M.count2 = [[
0,4 0,4 0,3 0,4 5 0,2 0,4 0,1 2 0,1 0,3 0,4 0,0 0,3 0,2 0,2 R 0,1 R 0,1 0,1
0,1 0,0 0,1 R R 0,1 2 R 0,1 2 R R R 0,4 0,4 0,3 4 0,4 0,3 0,3 0,3 0,3 0,2
0,2 3 0,3 0,1 0,1 2 0,2 0,1 0,1 0,0 R R 0,3 R 0,1 0,0 R R 0,2 R R R R 0,4
0,4 0,4 5 0,4 0,3 0,2 0,4 0,4 0,1 0,3 4 0,3 0,3 0,3 0,0 0,2 R R R 0,2 R R
0,1 0,1 2 0,1 0,0 0,0 0,0 1 R 0,0 1 R 0,4 0,4 5 0,4 0,4 0,3 0,2 0,3 0,3 4
0,2 0,3 0,2 0,2 0,1 0,2 0,2 0,1 0,0 0,1 0,1 0,0 0,0 R 0,0 R R R R R R R
]]

_M.count3 = [[
0,11 0,11 0,10 0,11 12 0,9 0,10 0,9 10 0,11 0,9 10 0,10 0,10 0,10 0,9 10
0,10 11 0,9 0,8 0,7 0,10 11 0,6 0,10 0,10 0,9 0,5 6 0,8 0,5 0,7 0,5 0,4 0,3
0,9 10 0,11 0,10 11 0,10 11 0,10 11 0,11 0,10 0,9 0,11 0,10 0,9 0,8 0,11 0,8
9 0,10 0,8 0,7 0,7 8 0,7 0,6 0,5 0,4 0,6 0,5 0,3 0,9 10 0,3 4 0,3 0,9 10 0,4
0,9 0,11 0,11 0,10 0,11 0,11 12 0,11 0,10 0,9 0,9 0,9 0,9 0,8 0,10 0,7 0,8
0,7 0,6 0,5 0,4 0,6 0,9 0,5 0,8 0,4 0,3 0,2 0,3 0,2 0,1 2 0,7 0,11 0,11 0,11
12 0,10 0,9 0,8 0,7 8 0,11 12 0,11 0,11 0,10 11 0,10 0,7 8 0,10 0,7 0,10
0,10 0,10 0,9 0,6 7 0,6 0,6 0,9 0,9 0,5 6 0,9 0,9 0,8 0,5 6 0,9
]]

_M.count4 = [[
0,2 0,2 0,2 3 0,2 3 0,2 0,2 0,2 3 0,1 2 0,1 0,0 0,2 0,1 2 0,1 0,1 2 R 0,1
0,0 1 0,0 R R R R R R R R R R R R 0,2 0,2 0,2 0,1 2 0,1 2 0,1 0,1 2 0,1 0,1
0,1 0,0 0,0 0,0 0,0 0,1 0,0 0,0 1 0,0 0,0 R R R R R R R R R R R 0,2 0,1 0,0
1 0,2 0,1 2 0,0 0,2 0,0 0,0 0,1 R 0,1 R 0,0 0,0 R R R R R R R R R R R R R R
R 0,2 0,2 3 0,2 3 0,2 3 0,2 0,1 0,2 0,2 0,1 0,1 0,0 0,0 0,0 R 0,0 R R R R R
R R R R R R R R R R
]]

_M.conn1 = [[
0,1 true 0,1 true 0.5,2 true R false 0,1 true 0 0.5,2 true 0,1 true 1 0.75,2
true R false 1 0 0.75,2 true R false R false 1 1 0,2 false 0 0 0,1 true 0
0,1 false 0,1 true 0,1 true 0 0,1 true 0,1 true 0 0 0,2 true 0,1 true 0,2
true 1 0 0.625,3 true 0,1 true 2 1 0 0.78125,2 true 0,1 true 0,1 false
1.5625,3 true R false 0,2 true 0.78125,3 false 0,1 true 0.78125,3 false R
false R false 0 R false 2 1 1 0,2 true 0 0,1 true 0,2 true 1 R false R false
0,2 false 0,1 true R false 1 0,2 false 0 0,1 false 0,2 true R false 0,2 true
0,3 true 0,3 true 0,1 true 0,4 true 0,4 true 0,5 false 3 0,2 true 0,3 true
0,4 true 3 2.075684,4 true R false 3 3 2.075684,4 true 2.075684,4 true R
false 3 2.075684,4 true 0.691895,5 true R false 0.691895,5 false 0.691895,5
false 4 1.345947,5 false 1.345947,4 true 1.345947,5 true R false R false R
false 4 R false R false R false R false R false R false 3 R false R false R
false R false R false R false 3 R false R false 3 R false R false 2 2 1 0,2
true 0,3 true
]]

_M.conn2 = [[
0,1 false 0,1 true 0,1 true 0,2 true 1 0,2 true 0,1 true 0,2 false 0,2 true
0.5,3 true 0.5,3 true 0,2 true 0.5,4 false 1 0.5,4 true 0.5,4 false 2 0,2
true 0.5,3 true 0.5,4 true 0,5 false 0,5 true 0.5,6 true 0.5,7 false 0,3
true 0,4 false 0,4 false 3 0.625,7 false 0.625,7 false 2 5 0,4 false 0.625,6
false 0.625,6 true 0,3 true 5 R false R false 0,4 true R false 0,4 true 0,5
true R false R false 0,5 true R false R false 4 R false R false 3 R false R
false R false 4 R false R false R false R false R false 2 R false R false 3
4 R false R false 3 1 R false 2 0.609375,2 true R false 2 R false R false R
false R false 1 R false 0.609375,2 true R false 1 R false 0 0,1 false 0,1
false 0,1 false R false R false R false R false R false 0,3 true 0,3 true
0,1 true 0.679688,2 true 2 R false R false 2 R false R false 0.714844,3 true
0.714844,3 true R false R false R false R false 1 R false 0 R false R false
0,1 true R false 0,2 true R false 1 R false 0,2 true R false R false 0,3
false R false 0,3 false 0,3 true 2 R false R false R false 1 R false 2 2 0
]]

_M.conn3 = [[
0,1 false 0,1 true 0,1 true 0,2 true 0,1 false 0,3 true 0,2 true 0.5,4 true
0,1 true 0,2 false 0,2 false 0.5,5 true 0 1 4 0,2 false 0.65625,5 true 0,1
true 0 0.703125,6 true 0,1 false R false 0,1 false 5 4 0.703125,5 true 0,2
true 0.703125,6 true 5 0,1 true 0,2 false 4 1.113281,5 true 1 0,2 true 1
1.113281,6 true 0,2 true 0 0,1 true R false 0 0,1 true 0,2 true 1 0 R false
5 0,1 true 0 1.26416,6 false 0,3 true 3.79248,4 true 0,1 true R false R
false 3 0.88208,2 true 2.64624,4 true 1 R false 1.76416,5 true 0,2 true 0,3
true 2 4 4 0.88208,5 true 0.88208,5 true 4 1 0,2 true 3 R false 0.56604,4
false 1 1.28302,4 false 2 1.28302,3 true 1.28302,4 true 4 0,2 true 1
1.53302,5 true 1.53302,5 true 0,2 true 0.76651,3 true R false R false 4
0.633255,4 false 3 R false 0.566628,4 true 4 2 1.908314,5 false 3 1
1.227078,5 true 0.613539,4 true R false 1.227078,5 true R false 4 3 R false
0,2 true 0.613539,3 true R false R false R false 2 4 R false 0.43177,3 false
3 1 0,4 true 0,2 true 0.357942,5 true 4 1 0.357942,5 true 0.357942,6 true 0
0.303971,4 false 0,1 true 0 2 5 4 R false R false 1 R false R false R false
R false 0
]]

_M.conn4 = [[
0,1 false 0,1 true 0,1 false 0,1 true 0 0,1 true 0,1 true 0 0,2 true 0,3
false 0,1 true 0,3 true 2 0 0 0,1 false 0,1 false 0,1 true 0,2 true 1 0,1
true 0,3 false 0 0,3 true 0,4 true 0,1 true 0.953125,5 false 0,2 true 3 0,4
true 1.101563,5 true 0 0,3 false 1 0.925781,6 true 0,2 true R false R false
0,1 false 1 R false 5 1.212891,6 false 0,2 true 1.212891,6 true 5 1.212891,6
true 0,1 true R false 0,3 true R false 5 0 0,1 false 0,4 true 0,5 true
1.606445,6 true 5 0.803223,6 true 0.803223,7 true 6 5 0.825806,6 true 0,1
false 0,1 true 0.825806,7 true 6 1.287903,6 true 0,2 false 1.287903,7 false
1.287903,7 true 1.287903,8 false 1.287903,7 true 0,2 false 1.287903,8 true
1.287903,8 true R false 7 0,2 true 7 1.384476,8 true R false 0,3 false R
false R false R false R false R false R false R false 7 1 6 R false 5 0,2
true 1 0,2 true R false 6 R false R false R false 1 R false 4 0,2 true R
false 3 R false 0.91316,3 true R false R false R false 2 0.83158,3 true 2 R
false R false 2 0.83158,3 false R false R false 0.83158,3 false 1 0 5
0.54079,3 true 0,1 true R false 0,2 false R false R false
]]

_M.traffic1 = [[
0 true 0,0,1,39 0 0 true 0,0,1,38 0.042 true 0.6,0.84,2,37 1 0.019 true
0.95,0.04,1,36 0.017 true 0.2,0.34,2,35 0.039 true 0,0.78,3,34 0.013 true
0.65,0.18,2,33 1 0.25 true 0.45,1.16,4,32 0.25 true 1,1.98,5,31 R false
0.019 true 0.95,0.1,2,30 1 0 R false 4 3 2 0.085 true 0,1.7,3,29 2 1 0 0.135
true 1,2.7,1,28 0.15 true 0.25,3,2,27 0.003 true 0.15,0,1,26 0 0.032 true
0.25,0.64,1,25 0 0.158 true 1.15,3.16,3,24 2 0.18 true 0.75,3.6,3,23 2 1 0
0.027 true 0.5,0.54,1,22 0.17 true 0,3.4,1,21 0 0.2 true 0,4,1,20 0 0 true
0,0,2,19 1 0 0.048 true 0.9,0.96,1,18 0 0.174 true 0.15,3.48,1,17 0 0.025
true 0,0.5,1,16 0.053 true 0,1.06,2,15 1 0 0.087 true 0.2,1.74,1,14 0 0.104
true 0,2.08,1,13 0 0.134 true 0,2.68,1,12 0.152 true 0,3.04,2,11 1 0 0.181
true 0,3.62,1,10 0.034 true 0.6,0.68,1,9 0.072 true 1,1.44,2,8 1 0 0.094
true 0.6,1.88,1,7 0.18 true 1.45,3.6,2,6 1 0.122 true 1.5,2.44,2,5 R true 0
0.194 true 1.65,3.88,1,4 0 R true 0.126 true 1.2,2.52,3,3 R true 0.345639
true 0.4,2.8,4,2 0.149 true 0,2.98,1,1 0.175 true 0,3.5,2,0 1 0 R true R
false R false R false R false R false R false R false R false R false R
false R false 3 2 R false 1 R false R false 0 R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false
]]

_M.traffic2 = [[
0 true 0,0,1,39 0.036 true 0.3,0.72,2,38 1 0 0.063 true 0.15,1.26,1,37 0.002
true 0.1,0,1,36 0.036 true 0.4,0.72,2,35 1 0.065 true 0.75,1.3,2,34 1 0
0.044 true 0.3,0.88,2,33 0.091 true 1.15,1.82,3,32 2 1 0 0.052 true
0.6,1.04,1,31 0 0.076 true 0,1.52,1,30 0 0.03 true 0,0.6,1,29 0.075 true
0.35,1.5,1,28 0 0.057 true 0.85,1.14,2,27 0.104 true 1.3,2.08,1,26 0 0.072
true 1.1,1.44,3,25 0.118 true 1.5,2.36,1,24 0 0.13 true 0.6,2.6,1,23 0 0.148
true 0,2.96,1,22 0.162 true 0,3.24,2,21 1 0 0.2281 true 0.1,0,4,20 0.18 true
0.4,3.6,1,19 0 R true 0.11405 true 0,0,5,18 R false 0.149 true 0,2.98,1,17 0
0.172 true 0,3.44,1,16 0 R false R false 4 3 2 1 0 0 true 0,0,1,15 0.037
true 0.35,0.74,2,14 1 0.069 true 0.45,1.38,2,13 1 0 0.117 true
0.15,2.34,1,12 0 0.061 true 0,1.22,1,11 0.082 true 0,1.64,2,10 0.127 true
0.75,2.54,3,9 0.685969 true 1.45,3.42,4,8 3 2 1 0 0.061 true 0.75,1.22,1,7
0.076 true 0,1.52,2,6 1 0.101 true 0,2.02,2,5 1 0 0.102 true 0,2.04,1,4
0.135 true 0.15,2.7,2,3 1 0.151 true 0,3.02,2,2 0.059 true 0.2,1.18,1,1
0.105 true 1,2.1,2,0 R false R false 1 R false R false 1 0 R false R false 0
R false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false
]]

_M.traffic3 = [[
0 true 0,0,1,39 0.038 true 0.4,0.76,2,38 1 0 0.068 true 0.4,1.36,1,37 0
0.019 true 0.95,0,1,36 0.039 true 1.4,0.78,2,35 0.069 true 1.4,1.38,3,34 2 1
0 0.059 true 1.45,1.18,1,33 0 0.077 true 0.85,1.54,1,32 0 0.04 true
0.45,0.8,1,31 0 0.094 true 1.2,1.88,1,30 0 0.083 true 2.1,1.66,1,29 0 0.13
true 2.5,2.6,1,28 0 0.169 true 2.95,3.38,1,27 0 0.095 true 3.2,1.9,1,26
0.125 true 3.2,2.5,2,25 1 0 0.146 true 2.3,2.92,1,24 0 0.125 true
2.7,2.5,1,23 0 0.159 true 2.9,3.18,1,22 0.154 true 3.2,3.08,1,21 0 0.188
true 3.4,3.76,1,20 0 R true 0.174 true 1.2,3.48,1,19 0.112 true
2.05,2.24,2,18 1 0.183 true 1.15,3.66,2,17 1 0.106 true 1.25,2.12,2,16 0.181
true 0.55,3.62,2,15 1 0 0.2 true 0,4,1,14 0 R true 0.195 true 0,3.9,1,13 0
0.012 true 0,0.24,3,12 0.188 true 0,3.76,1,11 0 R true R true 0.579774 true
0,0,4,10 0.152 true 0,3.04,1,9 0 0.289887 true 0.95,0.32,5,8 0.193 true
1.55,3.86,1,7 0 R true R true R false R false 4 3 2 1 0 0.164 true
0,3.28,1,6 0 0 true 0,0,1,5 0.032 true 0.1,0.64,2,4 0.166 true 0.85,3.32,1,3
0 0.05 true 0.5,1,3,2 2 1 0 0.165 true 0.3,3.3,1,1 0 0.044 true 0,0.88,1,0 R
false 0 R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false
]]

_M.traffic4 = [[
0 true 0,0,1,39 0 0.012 true 0,0.24,1,38 0 0.057 true 0.75,1.14,1,37 0 0.077
true 0.25,1.54,1,36 0 0.019 true 0.95,0,1,35 0 0.118 true 1.8,2.36,1,34
0.038 true 1.9,0.58,1,33 0 0.142 true 2.5,2.84,2,32 1 0.038 true
1.85,0.76,1,31 0.157 true 2.75,3.14,2,30 1 0 0.05 true 1.95,1,2,29 1 0 0.061
true 1,1.22,1,28 0.074 true 0.15,1.48,2,27 1 0 0.064 true 0,1.28,1,26 0.068
true 0,1.36,1,25 0.083 true 0,1.66,2,24 1 0.115 true 0.1,2.3,2,23 1 0.02
true 0.3,0.4,2,22 1 0 0.118 true 0,2.36,2,21 1 0 0.031 true 0.6,0.62,1,20 0
0.047 true 0,0.94,1,19 0.096 true 0,1.92,1,18 0 0.031 true 0,0.62,2,17 1
0.044 true 0,0.88,2,16 1 0.063 true 0.5,1.26,1,15 0.098 true 0.75,1.96,2,14
1 0 0.045 true 0.55,0.9,2,13 1 0 0.089 true 1.25,1.78,1,12 0 0.1 true
1.35,2,1,11 0.133 true 1.5,2.66,2,10 1 0.084 true 1.5,1.68,1,9 0 0.109 true
1.25,2.18,1,8 0.136 true 2.15,2.72,2,7 0.13 true 1.8,2.6,2,6 1 0 0.146 true
2.15,2.92,3,5 2 1 0 0.165 true 3.05,3.3,1,4 0 R true 0.156 true
2.15,3.12,1,3 0 0.196 true 2.65,3.92,1,2 0 R true 0.092 true 0,1.84,1,1 0
0.133 true 0,2.66,1,0 R false 0 R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false R
false R false R false R false R false R false R false R false R false
]]


return _M
