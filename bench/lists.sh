# lists.sh: the part of bench/run about access lists, which reads it in.
#
# Ten million ids and 100,000 networks of each family in plain LuaJIT; a million
# ids in nginx: how long two workers take to see a renamed file, what that does
# to requests, and a shared dict with the same ids.
#
# Here nginx may use all cores, as it does by itself. What binds a worker to one
# binds the child that it builds an index in, too.

LIST_IDS=10000000
LIST_FIRST=100000000
LISTED_FIRST=1000000
LIST_RENAMES=3

# list_ask PATH
list_ask() {
    curl -sS --fail "http://127.0.0.1:$(cat "$BENCH_DIR/port.lists")$1" ||
        fail "lists: $1"
}

start_lists() {
    cores=0-$(($(nproc) - 1))
    start_server lists
    cores=
}

# write_ids FILE FIRST COUNT [ID]: complete when it has its name.
write_ids() {
    file=$1
    shift
    luajit http/list_turns.lua ids "$@" >"$file" || fail "cannot write $file"
}

list_loops() {
    write_ids "$BENCH_DIR/ids" "$LIST_FIRST" "$LIST_IDS"
    n=0
    while [ "$n" -lt "$ROUNDS" ]; do
        n=$((n + 1))
        echo "lists, loops, round $n of $ROUNDS ..." >&2
        (on_core "$SERVER_CORE" luajit list_bench.lua "$BENCH_NAME" \
            "$BENCH_DIR" "$LIST_IDS") || fail "list_bench failed"
    done
    rm "$BENCH_DIR/ids" "$BENCH_DIR/nets"
}

# list_visible N: a new list with a marker in it takes the old one's place.
list_visible() {
    write_ids "$BENCH_DIR/list.new" "$LISTED_FIRST" "$LISTED" "marker-$1"
    list_ask /quiet >/dev/null
    began=$(luajit http/list_turns.lua rename "$BENCH_DIR/list.new" \
        "$BENCH_DIR/list.fresh") || fail "cannot rename"
    list_ask "/seen?n=$1" >"$BENCH_DIR/seen"
    luajit http/list_turns.lua visible "$began" <"$BENCH_DIR/seen" ||
        fail "not all workers saw the new list"
}

visible_figures() {
    workers=2
    start_lists
    marker=0
    while [ "$marker" -lt $((ROUNDS * LIST_RENAMES)) ]; do
        marker=$((marker + 1))
        echo "lists, rename $marker of $((ROUNDS * LIST_RENAMES)) ..." >&2
        list_visible "$marker"
    done
    stop "$master_lists"
    workers=
}

# list_turn without|with: swaps of the list once a second, or none.
list_turn() {
    if [ "$1" = with ]; then
        (on_core "$CLIENT_CORE" luajit http/list_turns.lua swap \
            "$BENCH_DIR/list.ids" "$BENCH_DIR/list.other" "$SECONDS_EACH") &
        swapper=$!
    fi
    run_wrk lists wrk_limits "$SECONDS_EACH" /match "$LISTED"
    cat "$BENCH_DIR/result" >>"$BENCH_DIR/turns.$1"
    if [ "$1" = with ]; then
        wait "$swapper" || fail "cannot swap lists"
        swapper=
    fi
}

# The turns of a round, an order and its reverse. All swaps must have arrived.
swap_round() {
    start_lists
    run_wrk lists wrk_limits 1 /match "$LISTED"
    before=$(list_ask /quiet)
    for kind in without with with without; do
        list_turn "$kind"
        after=$(list_ask /quiet)
    done
    [ "$after" -gt "$before" ] || fail "no list was loaded under load"
    printf '{"name":"%s","value":%s,"unit":"%s"}\n' lists_loads \
        "$((after - before))" ""
    for kind in without with; do
        luajit http/list_turns.lua p99 "lists_$kind" \
            <"$BENCH_DIR/turns.$kind" ||
            fail "$kind swaps: did not measure what it says"
        rm "$BENCH_DIR/turns.$kind"
    done
    stop "$master_lists"
}

# In a worker that has done nothing else: what it compiled before matters.
dict_round() {
    start_lists
    list_ask /loops
    stop "$master_lists"
}

lists_figures() {
    nginx=$(nginx_binary)
    luajit http/prepare.lua "$BENCH_DIR" 0 0 || fail "cannot prepare"
    list_loops
    luajit -e "require('resty.seckill').destroy('$BENCH_NAME')"
    write_ids "$BENCH_DIR/list.ids" "$LISTED_FIRST" "$LISTED"
    write_ids "$BENCH_DIR/list.other" "$LISTED_FIRST" "$LISTED"
    write_ids "$BENCH_DIR/list.fresh" "$LISTED_FIRST" "$LISTED"
    visible_figures
    n=0
    while [ "$n" -lt "$ROUNDS" ]; do
        n=$((n + 1))
        echo "lists, round $n of $ROUNDS ..." >&2
        swap_round
        dict_round
    done
    rm "$BENCH_DIR"/list.*
}
