# log.sh: the part of bench/run about the log, which reads it in: ledgers with
# a directory, several processes, and the same sale in Redis.
#
# Everything that is compared takes turns within a round. Redis and nginx are
# started here, on loopback ports that were free, and stopped by bench/run.

THREADS=4000
THREADS_FEW=1000
WAITERS=64
REDIS_CONNECTIONS=50
REDIS_CALLS=100000
REPLAYED=2000000

check_disk() {
    case $(stat -f -c %T "$BENCH_DIR") in
    tmpfs | ramfs | overlayfs)
        fail "$DISK is on no disk: set BENCH_DIR" ;;
    esac
}

# ask PATH: a figure that the nginx worker takes.
ask() {
    curl -sS --fail "http://127.0.0.1:$(cat "$BENCH_DIR/port.coroutines")$1" ||
        fail "coroutines: $1"
}

# A new ledger for each round.
coroutine_figures() {
    luajit -e "require('resty.seckill').destroy('$BENCH_NAME')"
    rm -rf "$BENCH_DIR/coroutines"
    start_server coroutines
    ask "/turn?figure=warm&threads=100&seconds=0.5&tag=warm" >/dev/null
    ask "/latency?threads=$WAITERS&seconds=1&tag=latency"
    ask "/turn?figure=coroutines_few&threads=$THREADS_FEW&seconds=1.5&tag=few"
    ask "/turn?figure=coroutines_many&threads=$THREADS&seconds=1.5&tag=many"
    stop "$master_coroutines"
}

# redis_turn FIGURE SERVER PIPELINE TAG
redis_turn() {
    eval "port=\$port_$2"
    (on_core "$SERVER_CORE" "$BUILD/rel/bench/redis_bench" "$1" "$port" \
        "$BENCH_SCRIPT_SHA" "$REDIS_CONNECTIONS" "$3" "$REDIS_CALLS" "$4") ||
        fail "redis_bench failed"
    redis-cli -p "$port" flushall async >/dev/null
}

log_round() {
    mkdir "$BENCH_DIR/log"
    "$BUILD/rel/bench/log_bench" "$BENCH_NAME" "$BENCH_DIR/log" ||
        fail "log_bench failed"
    rm -rf "$BENCH_DIR/log"
    redis_turn redis_everysec redis_everysec 1 "$1-e"
    redis_turn redis_always redis_always 1 "$1-a"
    redis_turn redis_always_many redis_always \
        $((THREADS / REDIS_CONNECTIONS)) "$1-m"
    "$BUILD/rel/bench/two_bench" "$BENCH_NAME" || fail "two_bench failed"
    coroutine_figures
}

log_figures() {
    check_disk
    nginx=$(nginx_binary)
    luajit http/prepare.lua "$BENCH_DIR" 0 0 || fail "cannot prepare"
    for policy in everysec always; do
        start_redis "redis_$policy" --appendonly yes --appendfsync "$policy"
        eval "port_redis_$policy=$BENCH_REDIS_PORT"
    done
    n=0
    while [ "$n" -lt "$ROUNDS" ]; do
        n=$((n + 1))
        echo "log, round $n of $ROUNDS ..." >&2
        log_round "$n"
    done
    # shellcheck disable=SC2086
    stop $started
    started=
    echo "log, replay ..." >&2
    "$BUILD/rel/bench/replay_bench" "$REPLAYED" "$BENCH_DIR" ||
        fail "replay_bench failed"
}
