-- report.lua SAMPLES OUT - the table of all figures, and OUT as JSON lines.
--
-- SAMPLES has lines {"name", "value", "unit"}, one for each round; the n-th
-- line of a name is that of round n. Reported are the median and the spread.
-- A ratio is taken inside each round, then the median. Exit status 1 when a
-- figure misses its gate, unless BENCH_NO_GATE is set.

local cjson = require("cjson")


local SAMPLES, OUT = arg[1], arg[2]

-- { what the row says, name, scale, unit, gate: { "least" or "most", bound } }
-- or { title } for a heading. Rows without samples are left out.
local ROWS = {
    { "core (one process)" },
    { "reserve, one hot item, C", "reserve", 1e-6, "M/s", { "least", 1 } },
    { "sold out, fresh ids, default tables, C", "sold_out_default", 1e-6,
      "M/s", { "least", 3 } },
    { "sold out, fresh ids, small tables, C", "sold_out_small", 1e-6, "M/s",
      { "least", 8 } },
    { "  beside: keyed hash of 16 bytes, C", "calibration_c", 1, "ns" },

    { "limits through FFI" },
    { "token_bucket, one key, net of the loop", "limiter_one_key", 1, "ns",
      { "most", 60 } },
    { "  the loop included", "limiter_one_key_whole", 1, "ns" },
    { "token_bucket, 500 k keys, net of the loop", "limiter_many_keys", 1,
      "ns", { "most", 230 } },
    { "  the loop included", "limiter_many_keys_whole", 1, "ns" },
    { "combine of 3 and leaving, net of the loop", "limiter_combine", 1,
      "ns", { "most", 250 } },
    { "  the loop included", "limiter_combine_whole", 1, "ns" },
    { "two processes / one process, one key", "ratio_limiter_processes", 1,
      "", { "least", 0.6 } },
    { "  one process", "limiter_one_process", 1e-6, "M/s" },
    { "  two processes", "limiter_two_processes", 1e-6, "M/s" },
    { "a key", "memory_limiter_key", 1, "bytes", { "most", 32 } },
    { "  beside: multiply and modulo, LuaJIT", "calibration_lua", 1, "ns" },
    { "  beside: one reading of the clock", "calibration_clock", 1, "ns" },

    { "limits in a worker of nginx, and resty.limit.* in the same" },
    { "token_bucket, one key", "loop_bucket_one", 1, "ns" },
    { "token_bucket, 500 k keys", "loop_bucket_many", 1, "ns" },
    { "fixed_window, one key", "loop_window_one", 1, "ns" },
    { "fixed_window, 500 k keys", "loop_window_many", 1, "ns" },
    { "concurrency and leaving, one key", "loop_permits_one", 1, "ns" },
    { "combine of 3 and leaving, one key", "loop_combine_one", 1, "ns" },
    { "drop-in limit.req, one key", "loop_drop_in_one", 1, "ns" },
    { "drop-in limit.req, 500 k keys", "loop_drop_in_many", 1, "ns" },
    { "drop-in limit.traffic of 3 and leaving, one key",
      "loop_drop_in_traffic_one", 1, "ns" },
    { "limit.req / drop-in, one key", "times_drop_in_one", 1, "x" },
    { "limit.req / drop-in, 500 k keys", "times_drop_in_many", 1, "x" },
    { "limit.traffic of 3 / drop-in, one key", "times_drop_in_traffic", 1,
      "x" },
    { "limit.req / token_bucket, one key", "times_req_one", 1, "x" },
    { "limit.req / token_bucket, 500 k keys", "times_req_many", 1, "x" },
    { "limit.count / fixed_window, one key", "times_count_one", 1, "x" },
    { "limit.count / fixed_window, 500 k keys", "times_count_many", 1, "x" },
    { "limit.conn / concurrency, one key", "times_conn_one", 1, "x" },
    { "limit.traffic of 3 / combine of 3", "times_traffic_one", 1, "x" },

    { "limits, nginx CPU per request, over reading the same keys" },
    { "3 rules, hot keys", "added_seckill_hot", 1, "%", { "most", 10 } },
    { "3 rules, 500 k users and addresses", "added_seckill_many", 1, "%",
      { "most", 25 } },
    { "  3 x limit_req of nginx, hot keys", "added_nginx_hot", 1, "%" },
    { "  3 x limit_req of nginx, 500 k", "added_nginx_many", 1, "%" },
    { "  3 x resty.limit.req, hot keys", "added_resty_hot", 1, "%" },
    { "  3 x resty.limit.req, 500 k", "added_resty_many", 1, "%" },
    { "  reading the keys, hot", "limits_plain_hot_cpu_us", 1, "us" },
    { "  reading the keys, 500 k", "limits_plain_many_cpu_us", 1, "us" },
    { "  with 3 rules, hot", "limits_seckill_hot_cpu_us", 1, "us" },
    { "  with 3 rules, 500 k", "limits_seckill_many_cpu_us", 1, "us" },
    { "  reading the keys, hot: the worker's core in use",
      "limits_plain_hot_busy", 1, "%" },
    { "  with 3 rules, 500 k: the worker's core in use",
      "limits_seckill_many_busy", 1, "%" },

    { "limits, two workers under a flood: admitted / (rate x time)" },
    { "leaky_bucket, 1000/s, burst 0", "saturated_seckill_1000_0", 1,
      "x" },
    { "  nginx limit_req, 1000/s, burst 0", "saturated_nginx_1000_0", 1,
      "x" },
    { "  resty.limit.req, 1000/s, burst 0", "saturated_resty_1000_0", 1,
      "x" },
    { "token_bucket, 1000/s, burst 10", "saturated_seckill_1000_10", 1,
      "x" },
    { "  nginx limit_req, 1000/s, burst 10", "saturated_nginx_1000_10", 1,
      "x" },
    { "  resty.limit.req, 1000/s, burst 10", "saturated_resty_1000_10", 1,
      "x" },
    { "leaky_bucket, 5000/s, burst 0", "saturated_seckill_5000_0", 1,
      "x" },
    { "  nginx limit_req, 5000/s, burst 0", "saturated_nginx_5000_0", 1,
      "x" },
    { "  resty.limit.req, 5000/s, burst 0", "saturated_resty_5000_0", 1,
      "x" },
    { "token_bucket, 5000/s, burst 50", "saturated_seckill_5000_50", 1,
      "x" },
    { "  nginx limit_req, 5000/s, burst 50", "saturated_nginx_5000_50", 1,
      "x" },
    { "  resty.limit.req, 5000/s, burst 50", "saturated_resty_5000_50", 1,
      "x" },
    { "token_bucket, 50000/s, burst 500", "saturated_seckill_50000_500", 1,
      "x" },
    { "  nginx limit_req, 50000/s, burst 500", "saturated_nginx_50000_500", 1,
      "x" },
    { "  resty.limit.req, 50000/s, burst 500", "saturated_resty_50000_500", 1,
      "x" },

    { "access lists through FFI" },
    { "an id of 10 M, not listed, net of the loop", "list_id_miss", 1, "ns",
      { "most", 40 } },
    { "  the loop included", "list_id_miss_whole", 1, "ns" },
    { "  a thousand of them again and again", "list_id_miss_few", 1, "ns" },
    { "an id of 10 M, listed, net of the loop", "list_id_hit", 1, "ns",
      { "most", 90 } },
    { "  the loop included", "list_id_hit_whole", 1, "ns" },
    { "  a thousand of them again and again", "list_id_hit_few", 1, "ns" },
    { "IPv4 address, 100 k networks, net of the loop", "list_ip4", 1, "ns",
      { "most", 30 } },
    { "  the loop included", "list_ip4_whole", 1, "ns" },
    { "  a thousand of them again and again", "list_ip4_few", 1, "ns" },
    { "IPv6 address, 100 k networks, net of the loop", "list_ip6", 1, "ns",
      { "most", 80 } },
    { "  the loop included", "list_ip6_whole", 1, "ns" },
    { "  a thousand of them again and again", "list_ip6_few", 1, "ns" },
    { "an id", "list_id_bytes", 1, "bytes", { "most", 16 } },
    { "  a network", "list_net_bytes", 1, "bytes" },
    { "load of 10 M ids, 150 MB of text, one core", "list_load", 1, "s",
      { "most", 4 } },
    { "  beside: multiply and modulo, LuaJIT", "list_calibration", 1, "ns" },
    { "  beside: a read somewhere in 128 MiB, after another", "list_memory", 1,
      "ns" },

    { "access lists in nginx, 1 M ids" },
    { "from rename to seen by both workers", "list_visible", 1, "s",
      { "most", 0.5 } },
    { "p99 of requests with a swap a second / without", "times_list_p99", 1,
      "x", { "most", 1.2 } },
    { "  p50, with / without", "times_list_p50", 1, "x" },
    { "  p99 with", "lists_with_p99", 1e-3, "ms" },
    { "  p99 without", "lists_without_p99", 1e-3, "ms" },
    { "  requests/s with", "lists_with_rps", 1e-3, "k/s" },
    { "  requests/s without", "lists_without_rps", 1e-3, "k/s" },
    { "  loads in a round", "lists_loads", 1, "" },
    { "lookup in a shared dict / in the list", "times_dict", 1, "x",
      { "least", 20 } },
    { "  in the list", "lists_list", 1, "ns" },
    { "  in the shared dict", "lists_dict", 1, "ns" },
    { "  load of the list", "lists_load", 1, "s" },
    { "  load of the shared dict", "lists_dict_load", 1, "s" },
    { "  an id in the shared dict", "lists_dict_bytes", 1, "bytes" },

    { "log (one process, one hot item), reserve in C" },
    { "in memory, threads started", "log_none", 1e-6, "M/s",
      { "least", 1.5 } },
    { "async", "log_async", 1e-6, "M/s", { "least", 1 } },
    { "  beside: refused because of lag, tried again", "log_async_busy", 1,
      "" },
    { "sync, 4,000 calls outstanding", "log_sync_many", 1e-3, "k/s",
      { "least", 300 } },
    { "  sync, 50 calls outstanding", "log_sync_few", 1e-3, "k/s" },
    { "  beside: fdatasync of 4 KiB, p50", "fdatasync_p50", 1, "us" },
    { "  beside: fdatasync of 4 KiB, p99", "fdatasync_p99", 1, "us" },

    { "sync from coroutines (nginx, 1 worker)" },
    { "reserve, 4,000 light threads", "coroutines_many", 1e-3, "k/s",
      { "least", 80 } },
    { "  reserve, 1,000 light threads", "coroutines_few", 1e-3, "k/s" },
    { "sync over async, 64 waiters, p50, in fdatasyncs", "wait_p50", 1, "x",
      { "most", 2 } },
    { "sync over async, 64 waiters, p99, in fdatasyncs", "wait_p99", 1, "x",
      { "most", 5 } },
    { "  latency at sync, p50", "wait_sync_p50", 1, "us" },
    { "  latency at sync, p99", "wait_sync_p99", 1, "us" },
    { "  latency at async, in turns, p50", "wait_async_p50", 1, "us" },
    { "  latency at async, in turns, p99", "wait_async_p99", 1, "us" },
    { "  beside: fdatasync of 4 KiB, p50", "wait_disk_us", 1, "us" },

    { "several processes, one hot item, in memory" },
    { "two processes / one process, reserve", "ratio_processes", 1, "",
      { "least", 0.5 } },
    { "the slower one's share", "processes_share", 1, "",
      { "least", 0.3 } },
    { "  one process", "processes_one", 1e-6, "M/s" },
    { "  two processes", "processes_two", 1e-6, "M/s" },
    { "repair after a killed holder, p99", "repair_p99", 1, "ms",
      { "most", 1 } },
    { "  the same, p50", "repair_p50", 1, "ms" },
    { "  beside: kills that met a holder", "repairs", 1, "" },

    { "replay" },
    { "records of a log into tables", "replay", 1e-6, "M/s",
      { "least", 4 } },

    { "reserve against Redis (EVALSHA, 50 connections), inside a round" },
    { "sync with 4,000 outstanding / always", "times_redis_many", 1, "x",
      { "least", 5 } },
    { "async / everysec", "times_redis_async", 1, "x", { "least", 10 } },
    { "  sync with 50 outstanding / always", "times_redis_few", 1, "x" },
    { "  sync / always, both with 4,000 outstanding", "times_redis_both", 1,
      "x" },
    { "  Redis, everysec", "redis_everysec", 1e-3, "k/s" },
    { "  Redis, always", "redis_always", 1e-3, "k/s" },
    { "  Redis, always, 80 calls in each pipeline", "redis_always_many",
      1e-3, "k/s" },

    { "HTTP (1 worker), requests/s" },
    { "reference: reads the request, answers a constant",
      "http_reference_rps", 1e-3, "k/s" },
    { "full path, reserved, purchase token", "http_seckill_hold_rps", 1e-3,
      "k/s" },
    { "full path, sold at once", "http_seckill_once_rps", 1e-3, "k/s" },
    { "full path, sold out", "http_seckill_sold_out_rps", 1e-3, "k/s" },
    { "usual handler", "http_usual_rps", 1e-3, "k/s" },

    { "HTTP, nginx CPU per request" },
    { "reference", "http_reference_cpu_us", 1, "us" },
    { "full path, reserved, purchase token", "http_seckill_hold_cpu_us", 1,
      "us" },
    { "full path, sold at once", "http_seckill_once_cpu_us", 1, "us" },
    { "full path, sold out", "http_seckill_sold_out_cpu_us", 1, "us" },
    { "usual handler", "http_usual_cpu_us", 1, "us" },
    { "reference: the worker's core in use", "http_reference_busy", 1, "%" },

    { "HTTP, ratios inside a round" },
    { "full path / reference, requests/s, reserved", "ratio_hold_rps", 1, "",
      { "least", 0.70 } },
    { "full path / reference, requests/s, sold at once", "ratio_once_rps", 1,
      "", { "least", 0.70 } },
    { "full path / reference, requests/s, sold out", "ratio_sold_out_rps", 1,
      "", { "least", 0.70 } },
    { "full path / usual handler, requests/s, reserved", "times_hold_rps", 1,
      "x", { "least", 5 } },
    { "full path / usual handler, requests/s, sold at once",
      "times_once_rps", 1, "x", { "least", 5 } },
    { "full path / usual handler, requests/s, sold out",
      "times_sold_out_rps", 1, "x", { "least", 5 } },
    { "  reference / full path, CPU, reserved", "ratio_hold_cpu", 1, "" },
    { "  reference / full path, CPU, sold out", "ratio_sold_out_cpu", 1,
      "" },
    { "  reference / usual handler, requests/s: nothing can be more",
      "times_reference_rps", 1, "x" },
    { "  usual handler / reference, CPU: nothing can be more",
      "times_reference_cpu", 1, "x" },
    { "  usual handler / full path, CPU, reserved", "times_hold_cpu", 1,
      "x" },

    { "memory" },
    { "an item", "memory_item", 1, "bytes" },
    { "a user of an item", "memory_user", 1, "bytes",
      { "most", 48 } },
    { "a request id", "memory_request_id", 1, "bytes", { "most", 64 } },
    { "a reservation", "memory_reservation", 1, "bytes",
      { "most", 224 } },
    { "an access list entry", "memory_list_entry", 1, "bytes" },
    { "the segment with default tables", "memory_default_segment", 2 ^ -20,
      "MiB" },
}

-- name -> { dividend, divisor }; added: what is more than 1, in percent
local RATIOS = {
    ratio_limiter_processes = { "limiter_two_processes",
                                "limiter_one_process" },
    times_req_one = { "loop_req_one", "loop_bucket_one" },
    times_req_many = { "loop_req_many", "loop_bucket_many" },
    times_drop_in_one = { "loop_req_one", "loop_drop_in_one" },
    times_drop_in_many = { "loop_req_many", "loop_drop_in_many" },
    times_drop_in_traffic = { "loop_traffic_one",
                              "loop_drop_in_traffic_one" },
    times_count_one = { "loop_count_one", "loop_window_one" },
    times_count_many = { "loop_count_many", "loop_window_many" },
    times_conn_one = { "loop_conn_one", "loop_permits_one" },
    times_traffic_one = { "loop_traffic_one", "loop_combine_one" },
    times_list_p50 = { "lists_with_p50", "lists_without_p50" },
    times_list_p99 = { "lists_with_p99", "lists_without_p99" },
    times_dict = { "lists_dict", "lists_list" },
    times_reference_rps = { "http_reference_rps", "http_usual_rps" },
    times_reference_cpu = { "http_usual_cpu_us", "http_reference_cpu_us" },
    ratio_processes = { "processes_two", "processes_one" },
    times_redis_many = { "log_sync_many", "redis_always" },
    times_redis_few = { "log_sync_few", "redis_always" },
    times_redis_both = { "log_sync_many", "redis_always_many" },
    times_redis_async = { "log_async", "redis_everysec" },
}
for _, kind in ipairs { "hold", "once", "sold_out" } do
    local full = "http_seckill_" .. kind
    RATIOS["ratio_" .. kind .. "_rps"] =
        { full .. "_rps", "http_reference_rps" }
    RATIOS["times_" .. kind .. "_rps"] = { full .. "_rps", "http_usual_rps" }
    RATIOS["ratio_" .. kind .. "_cpu"] =
        { "http_reference_cpu_us", full .. "_cpu_us" }
    RATIOS["times_" .. kind .. "_cpu"] =
        { "http_usual_cpu_us", full .. "_cpu_us" }
end
for _, kind in ipairs { "seckill", "nginx", "resty" } do
    for _, keys in ipairs { "hot", "many" } do
        RATIOS["added_" .. kind .. "_" .. keys] = {
            "limits_" .. kind .. "_" .. keys .. "_cpu_us",
            "limits_plain_" .. keys .. "_cpu_us", added = true,
        }
    end
end


local function read_samples()
    local samples = {}
    for line in io.lines(SAMPLES) do
        local sample = cjson.decode(line)
        local list = samples[sample.name] or {}
        samples[sample.name] = list
        list[#list + 1] = sample.value
    end
    return samples
end


local function add_ratios(samples)
    for name, pair in pairs(RATIOS) do
        local over, under = samples[pair[1]], samples[pair[2]]
        local list = over and under and {}
        for i = 1, list and math.min(#over, #under) or 0 do
            list[i] = over[i] / under[i]
            if pair.added then
                list[i] = 100 * (list[i] - 1)
            end
        end
        samples[name] = list
    end
end


local function median(list)
    table.sort(list)
    local middle = math.floor((#list + 1) / 2)
    return #list % 2 == 1 and list[middle]
        or (list[middle] + list[middle + 1]) / 2
end


local function judge(gate, value)
    if not gate then
        return nil
    end
    if gate[1] == "least" then
        return value >= gate[2]
    end
    return value <= gate[2]
end


local function make_figure(row, list)
    local scale = row[3]
    local value = median(list) * scale
    return { what = row[1]:gsub("^ +", ""), name = row[2], unit = row[4],
             median = value, min = list[1] * scale,
             max = list[#list] * scale, samples = #list,
             gate = row[5] and row[5][2], bound = row[5] and row[5][1],
             pass = judge(row[5], value) }
end


local function show(value)
    if value >= 1000 then
        return ("%.0f"):format(value)
    end
    return ("%.3g"):format(value)
end


local function print_figure(row, figure)
    local spread = figure.samples > 1
        and show(figure.min) .. " .. " .. show(figure.max) or ""
    local gate = figure.gate
        and (figure.bound == "least" and ">= " or "<= ") .. figure.gate or ""
    local verdict = figure.pass == nil and ""
        or figure.pass and "pass" or "FAIL"
    print((("%-60s %8s %-5s %-18s %-7s %s")
        :format(row[1], show(figure.median), figure.unit, spread, gate,
                verdict):gsub(" +$", "")))
end


local function print_heading(row, pending)
    if pending then
        print("")
    end
    print(("%-60s %8s %-5s %-18s %s"):format(row[1], "median", "",
                                            "min .. max", "gate"))
end


local function main()
    local samples = read_samples()
    add_ratios(samples)
    local out = assert(io.open(OUT, "w"))
    local failed, shown, heading = 0, false, nil
    for _, row in ipairs(ROWS) do
        local list = samples[row[2]]
        if not row[2] then
            heading = row
        elseif list then
            if heading then
                print_heading(heading, shown)
                heading, shown = nil, true
            end
            local figure = make_figure(row, list)
            print_figure(row, figure)
            assert(out:write(cjson.encode(figure), "\n"))
            failed = failed + (figure.pass == false and 1 or 0)
        end
    end
    assert(out:close())
    print(("\n%d of the gates failed"):format(failed))
    return failed == 0 or os.getenv("BENCH_NO_GATE") ~= nil
end


os.exit(main() and 0 or 1)
