# rounds.sh: the HTTP part of bench/run, which reads it in; log.sh, limits.sh
# and lists.sh use its functions, too.
#
# Each handler has an nginx of its own (one worker, one core), wrk and Redis
# share the other core. The handlers take turns within a round, so that what
# disturbs the machine disturbs all of them, and ratios are taken inside a
# round. The engine gets a new segment in each round: one sale, not the sum of
# all rounds, is in its tables.

nginx_binary() {
    for file in "${NGINX:-nginx}" openresty /usr/sbin/nginx \
        /usr/local/openresty/nginx/sbin/nginx; do
        command -v "$file" && return
    done
    fail "nginx is not installed: run make deps"
}

# Debian's nginx loads its Lua module, OpenResty has it inside.
local_conf() {
    echo "worker_processes ${workers:-1};"
    "$nginx" -V 2>&1 | grep -q 'lua-nginx-module\|ngx_lua' ||
        for module in ndk_http_module ngx_http_lua_module; do
            file=/usr/lib/nginx/modules/$module.so
            [ ! -e "$file" ] || echo "load_module $file;"
        done
    [ "$(id -u)" -ne 0 ] || echo "user root;"
}

# await WHAT PID COMMAND...: until the command succeeds, 30 s at most.
await() {
    what=$1 pid=$2 tries=0
    shift 2
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        kill -0 "$pid" 2>/dev/null || fail "$what did not start"
        [ "$tries" -le 300 ] || fail "$what does not answer"
        sleep 0.1
    done
}

# start_redis NAME OPTION...: its port and the script's name go to
# BENCH_REDIS_PORT and BENCH_SCRIPT_SHA.
start_redis() {
    name=$1
    shift
    port=$(cat "$BENCH_DIR/port.$name")
    mkdir "$BENCH_DIR/$name"
    (on_core "$CLIENT_CORE" redis-server --port "$port" --bind 127.0.0.1 \
        --save "" --dir "$BENCH_DIR/$name" "$@") >"$BENCH_DIR/$name/log" 2>&1 &
    started="$started $!"
    await redis-server "$!" redis-cli -p "$port" ping
    BENCH_REDIS_PORT=$port
    BENCH_SCRIPT_SHA=$(redis-cli -p "$port" -x script load <http/deduct.lua)
    export BENCH_REDIS_PORT BENCH_SCRIPT_SHA
}

put_stock() {
    for n in 0 1 2 3 4 5 6 7 8 9; do
        redis-cli -p "$BENCH_REDIS_PORT" set "stock:once-$n" 1000000000
    done >/dev/null
}

# start_server NAME: leaves the worker's pid in worker_NAME. $workers (1) and
# $cores (one) say how many there are and where they run.
start_server() {
    prefix=$BENCH_DIR/$1
    mkdir -p "$prefix/tmp"
    ln -sfn "$ROOT/lua" "$prefix/lua"
    ln -sfn "$BUILD" "$prefix/lib"
    cp http/main.conf http/http.conf http/items.lua http/usual.lua \
        http/coroutines.lua http/limits.lua http/lists.lua "$prefix"
    ln -sfn "${SECKILL_LIMIT_TRAFFIC:-none}" "$prefix/limit-traffic"
    cp "http/$1.conf" "$prefix/nginx.conf"
    cp "$BENCH_DIR/listen.$1" "$prefix/listen.conf"
    local_conf >"$prefix/local.conf"
    (on_core "${cores:-$SERVER_CORE}" "$nginx" -p "$prefix/" -e error.log \
        -c nginx.conf) >"$prefix/output" 2>&1 &
    started="$started $!"
    eval "master_$1=$!"
    await "nginx ($1)" "$!" \
        curl -s "http://127.0.0.1:$(cat "$BENCH_DIR/port.$1")/"
    eval "worker_$1=\$(tr -d ' ' <\"/proc/$!/task/$!/children\")"
}

# Ticks of user and system time of a process, all threads.
cpu_ticks() {
    awk '{ print $14 + $15 }' "/proc/$1/stat"
}

# run_wrk SERVER SCRIPT SECONDS ARGUMENT...: the result line goes to
# $BENCH_DIR/result.
run_wrk() {
    server=$1 script=$2 seconds=$3
    shift 3
    (on_core "${cores:-$CLIENT_CORE}" wrk -t1 -c"$CONNECTIONS" \
        -d"${seconds}s" --timeout 30s -s "http/$script.lua" \
        "http://127.0.0.1:$(cat "$BENCH_DIR/port.$server")" -- "$@") \
        >"$BENCH_DIR/wrk" 2>&1 &
    wrk=$!
    wait "$wrk" || {
        cat "$BENCH_DIR/wrk" >&2
        fail "wrk failed"
    }
    wrk=
    sed -n 's/^result //p' "$BENCH_DIR/wrk" >"$BENCH_DIR/result"
}

# load SERVER ITEM TAG SECONDS: one run of wrk.
load() {
    run_wrk "$1" wrk_reserve "$4" "$2" "$3"
}

# measure FIGURE SERVER ITEM TAG: one turn of a handler.
measure() {
    eval "pid=\$worker_$2"
    before=$(cpu_ticks "$pid")
    load "$2" "$3" "$4" "$SECONDS_EACH"
    after=$(cpu_ticks "$pid")
    luajit http/turn.lua "$1" "$((after - before))" <"$BENCH_DIR/result" ||
        fail "$1 did not measure what it says"
}

# Tokens enter the caches, traces are compiled.
warm_up() {
    echo "http, warming up ..." >&2
    load reference once-0 warm 1
    load usual once-0 warm 5
}

# A new sale. Its warm-up takes 100,000 users' tokens into the cache.
restart_seckill() {
    if [ -n "${master_seckill:-}" ]; then
        stop "$master_seckill"
    fi
    luajit -e "require('resty.seckill').destroy('$BENCH_NAME')"
    start_server seckill
    load seckill hold-0 warm-hold 2
    load seckill gone-0 warm-gone 1
}

http_figures() {
    nginx=$(nginx_binary)
    luajit http/prepare.lua "$BENCH_DIR" "$USERS" "$LISTED" ||
        fail "cannot prepare"
    start_redis redis --appendonly no
    put_stock
    for server in reference usual; do
        echo "http, starting $server ..." >&2
        start_server "$server"
    done
    warm_up
    n=0
    while [ "$n" -lt "$ROUNDS" ]; do
        n=$((n + 1))
        echo "http, round $n of $ROUNDS ..." >&2
        restart_seckill
        measure reference reference "once-$n" "round-$n"
        measure seckill_hold seckill "hold-$n" "round-$n-hold"
        measure seckill_once seckill "once-$n" "round-$n-once"
        measure seckill_sold_out seckill "gone-$n" "round-$n-gone"
        measure usual usual "once-$n" "round-$n"
    done
}
