# limits.sh: the part of bench/run about limits, which reads it in.
#
# CPU per request: one worker on one core, wrk on the other, and turns of a
# second, in which the handlers alternate; what a round's turns of one handler
# took is added up before the ratio to the handler without rules is taken.
# lua-resty-limit-traffic takes part where SECKILL_LIMIT_TRAFFIC names it.

LIMIT_USERS=500000
TURNS=4

limit_kinds() {
    echo seckill nginx ${SECKILL_LIMIT_TRAFFIC:+resty}
}

# limit_ask PATH
limit_ask() {
    curl -sS --fail "http://127.0.0.1:$(cat "$BENCH_DIR/port.limits")$1" ||
        fail "limits: $1"
}

# Each in a worker that has done nothing else: what it compiled before matters.
loop_figures() {
    for loop in bucket window permits combine drop_in drop_in_traffic \
        ${SECKILL_LIMIT_TRAFFIC:+req count conn traffic}; do
        start_server limits
        limit_ask "/loops?of=$loop"
        stop "$master_limits"
    done
}

# limit_turn KIND USERS FILE
limit_turn() {
    before=$(luajit http/limit_turns.lua cpu "$worker_limits")
    run_wrk limits wrk_limits 1 "/$1" "$2"
    after=$(luajit http/limit_turns.lua cpu "$worker_limits")
    echo "$((after - before)) $(cat "$BENCH_DIR/result")" >>"$BENCH_DIR/$3"
}

# limit_cpu NAME USERS: the figures of a round. Each order of the turns is
# followed by its reverse.
limit_cpu() {
    order="plain $(limit_kinds)"
    turn=0
    while [ "$turn" -lt "$TURNS" ]; do
        turn=$((turn + 1))
        reverse=
        for kind in $order; do
            limit_turn "$kind" "$2" "turns.$kind"
            reverse="$kind $reverse"
        done
        order=$reverse
    done
    for kind in plain $(limit_kinds); do
        luajit http/limit_turns.lua added "limits_${kind}_$1" \
            <"$BENCH_DIR/turns.$kind" ||
            fail "$kind did not measure what it says"
        rm "$BENCH_DIR/turns.$kind"
    done
}

# All keys are there before the first figure.
start_limits() {
    luajit -e "require('resty.seckill').destroy('$BENCH_NAME')"
    start_server limits
    for kind in $(limit_kinds); do
        case $kind in
        nginx) run_wrk limits wrk_limits 12 /nginx "$LIMIT_USERS" ;;
        *) limit_ask "/fill?kind=$kind" >/dev/null ;;
        esac
    done
}

# limit_flood RATE BURST: two workers and wrk on all cores.
limit_flood() {
    for kind in $(limit_kinds); do
        run_wrk saturated wrk_limits 1 "/$kind/$1/$2" 1
        luajit http/limit_turns.lua admitted "saturated_${kind}_$1_$2" "$1" \
            <"$BENCH_DIR/result" || fail "$kind failed"
    done
}

# For one handler after the other, in the end all the workers' cores.
flood_figures() {
    luajit -e "require('resty.seckill').destroy('$BENCH_NAME')"
    workers=2
    cores=0-$(($(nproc) - 1))
    start_server saturated
    n=0
    while [ "$n" -lt "$ROUNDS" ]; do
        n=$((n + 1))
        echo "limits, flood $n of $ROUNDS ..." >&2
        for rule in 1000/0 1000/10 5000/0 5000/50 50000/500; do
            limit_flood "${rule%/*}" "${rule#*/}"
        done
    done
    stop "$master_saturated"
    workers= cores=
}

limits_figures() {
    if [ -n "${SECKILL_LIMIT_TRAFFIC:-}" ] &&
        [ ! -e "$SECKILL_LIMIT_TRAFFIC/lib/resty/limit/req.lua" ]; then
        fail "no lua-resty-limit-traffic in $SECKILL_LIMIT_TRAFFIC"
    fi
    nginx=$(nginx_binary)
    luajit http/prepare.lua "$BENCH_DIR" 0 0 || fail "cannot prepare"
    luajit memory_bench.lua "$BENCH_NAME" limiter_key ||
        fail "memory_bench failed"
    n=0
    while [ "$n" -lt "$ROUNDS" ]; do
        n=$((n + 1))
        echo "limits, loops, round $n of $ROUNDS ..." >&2
        (on_core "$SERVER_CORE" luajit limiter_bench.lua "$BENCH_NAME") ||
            fail "limiter_bench failed"
        loop_figures
    done
    echo "limits, starting nginx ..." >&2
    start_limits
    n=0
    while [ "$n" -lt "$ROUNDS" ]; do
        n=$((n + 1))
        echo "limits, round $n of $ROUNDS ..." >&2
        limit_cpu hot 1
        limit_cpu many "$LIMIT_USERS"
    done
    stop "$master_limits"
    flood_figures
}
