/*
 * Three calls at once, in every order of their steps: a step is a load or a
 * change of shared memory (SKL_PAIR_STEP). The calls are coroutines; before
 * each step one of them is chosen to go on. All schedules with a few forced
 * changes are tried, each from the same state. What comes out, answers and
 * state, must come out as well when the calls run one after the other, in one
 * of their six orders.
 *
 * Built around the source, with its steps made visible. Threads: one.
 */
static void pair_step(void);
#define SKL_PAIR_STEP() pair_step()

#include "breaker/breaker.c"
#include "test/support/breaker_world.h"

#include <ucontext.h>

/* variants: rel */

enum { CALLS = 3, STACK = 64 * 1024, STEPS_MAX = 4096, RESULTS = 6 };

typedef struct {
    char what; /* a: allow; g, b: report good, bad; c: cancel */
    uint64_t permit;
    int64_t now;
} call_t;

/* What a call answered. */
typedef struct {
    int rc, kind;
} answer_t;

/* What can be seen afterwards. */
typedef struct {
    answer_t answer[CALLS];
    uint64_t state;
    sums_t sums;
    uint64_t streak, event[SKL_BREAKER_EVENTS];
    int probes[4]; /* how many of each status */
} result_t;

static struct {
    breaker_world_t w;
    skl_breaker_t *b;
    call_t call[CALLS];
    answer_t answer[CALLS];
    ucontext_t main, of[CALLS];
    char stack[CALLS][STACK];
    int done[CALLS], running, inside;
    /* The schedule: at step switch_at[i], let switch_to[i] go on. */
    int switches, switch_at[4], switch_to[4];
    int steps;
    uint64_t generation;     /* at the beginning */
    void (*interrupt)(void); /* once, when `steps` are made */
    uint64_t permit;         /* what it got */
} test;

/* ---- Coroutines ---------------------------------------------------------- */

static int next_ready(int from)
{
    for (int i = 0; i < CALLS; i++) {
        int k = (from + i) % CALLS;

        if (!test.done[k]) {
            return k;
        }
    }
    return -1;
}

static void pair_step(void)
{
    const int me = test.running;

    if (test.interrupt != NULL && --test.steps == 0) {
        void (*fn)(void) = test.interrupt;

        test.interrupt = NULL;
        fn();
    }
    if (!test.inside) {
        return;
    }
    test.steps++;
    for (int i = 0; i < test.switches; i++) {
        int to = test.switch_to[i];

        if (test.switch_at[i] == test.steps && to != me && !test.done[to]) {
            test.running = to;
            swapcontext(&test.of[me], &test.of[to]);
            return;
        }
    }
}

static answer_t make_call(const call_t *c)
{
    uint64_t permit = 0;
    int64_t retry = 0;
    answer_t a = {0, 0};

    switch (c->what) {
    case 'a':
        a.rc = skl_breaker_allow(test.b, c->now, &permit, &retry);
        a.kind = (int)(permit & 3);
        break;
    case 'c':
        a.rc = skl_breaker_cancel(test.b, c->permit, c->now);
        break;
    default:
        a.rc = skl_breaker_report(test.b, c->permit, c->what == 'g', 0, c->now);
        break;
    }
    return a;
}

static void body(int i)
{
    int next;

    test.answer[i] = make_call(&test.call[i]);
    test.done[i] = 1;
    next = next_ready(i);
    if (next >= 0) {
        test.running = next;
        setcontext(&test.of[next]);
    }
    setcontext(&test.main);
}

static void prepare(int i)
{
    getcontext(&test.of[i]);
    test.of[i].uc_stack.ss_sp = test.stack[i];
    test.of[i].uc_stack.ss_size = STACK;
    test.of[i].uc_link = NULL;
    makecontext(&test.of[i], (void (*)(void))body, 1, i);
    test.done[i] = 0;
}

static void run_together(int first)
{
    for (int i = 0; i < CALLS; i++) {
        prepare(i);
    }
    test.steps = 0;
    test.inside = 1;
    test.running = first;
    swapcontext(&test.main, &test.of[first]);
    test.inside = 0;
}

/* ---- Results ------------------------------------------------------------- */

static void look_at_probes(uint64_t generation, uint64_t probes, result_t *out)
{
    for (uint64_t i = 0; i < probes; i++) {
        uint64_t probe = skl_pair_load(&test.b->record->probe[i]).a;

        if (probe_generation(probe) == generation) {
            out->probes[probe_status(probe)]++;
        }
    }
}

/* When the state has changed, what was of the old one is of no account: two
 * bad probes that end at once both count, one after the other the second is
 * too late. */
static void leave_out_the_past(result_t *out)
{
    for (int i = 0; i < CALLS; i++) {
        if (test.call[i].what != 'a') {
            out->answer[i].rc = 0;
        }
    }
    out->streak = 0;
    out->event[SKL_BREAKER_EXPIRED] = 0;
}

static result_t look(void)
{
    skl_breaker_record_t *r = test.b->record;
    const uint64_t word = skl_pair_load(&r->state).a;
    const uint64_t generation = skl_state_generation(word);
    skl_breaker_numbers_t n;
    result_t out;

    memset(&out, 0, sizeof(out));
    memcpy(out.answer, test.answer, sizeof(out.answer));
    skl_breaker_numbers(test.b, &n);
    out.state = word;
    out.sums = sum_window(test.b, &n, generation, test.w.now);
    out.streak = atomic_load(&r->streak);
    for (int i = 0; i < SKL_BREAKER_EVENTS; i++) {
        out.event[i] = atomic_load(&r->event[i]);
    }
    look_at_probes(generation, n.probes, &out);
    if (generation != test.generation) {
        leave_out_the_past(&out);
    }
    return out;
}

static const int orders[RESULTS][CALLS] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                           {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

static void find_results(const skl_breaker_record_t *before, result_t *out)
{
    for (int o = 0; o < RESULTS; o++) {
        memcpy((void *)test.b->record, before, sizeof(*before));
        for (int i = 0; i < CALLS; i++) {
            int k = orders[o][i];

            test.answer[k] = make_call(&test.call[k]);
        }
        out[o] = look();
    }
}

static int is_one_of(const result_t *r, const result_t *results)
{
    for (int o = 0; o < RESULTS; o++) {
        if (memcmp(r, &results[o], sizeof(*r)) == 0) {
            return 1;
        }
    }
    return 0;
}

/* ---- Schedules ----------------------------------------------------------- */

static uint64_t schedules;

static void try_schedule(const skl_breaker_record_t *before,
                         const result_t *results, int first)
{
    result_t r;

    memcpy((void *)test.b->record, before, sizeof(*before));
    run_together(first);
    r = look();
    schedules++;
    if (!CHECK(is_one_of(&r, results))) {
        printf("#   calls %c%c%c, first %d", test.call[0].what,
               test.call[1].what, test.call[2].what, first);
        for (int i = 0; i < test.switches; i++) {
            printf(", at %d to %d", test.switch_at[i], test.switch_to[i]);
        }
        printf(": rc %d %d %d, state %llx\n", r.answer[0].rc, r.answer[1].rc,
               r.answer[2].rc, (unsigned long long)r.state);
    }
}

/* All schedules with up to `left` more forced changes, after step `from`. */
static void explore(const skl_breaker_record_t *before, const result_t *results,
                    int first, int from, int left)
{
    int steps;

    try_schedule(before, results, first);
    steps = test.steps;
    if (left == 0 || atomic_load(&tap_state.bad) > 3) {
        return;
    }
    for (int at = from; at <= steps; at++) {
        for (int to = 0; to < CALLS; to++) {
            test.switch_at[test.switches] = at;
            test.switch_to[test.switches] = to;
            test.switches++;
            explore(before, results, first, at + 1, left - 1);
            test.switches--;
        }
    }
}

static void explore_calls(const skl_breaker_record_t *before)
{
    result_t results[RESULTS];

    find_results(before, results);
    for (int first = 0; first < CALLS; first++) {
        explore(before, results, first, 1, tap_full() ? 3 : 2);
    }
}

/* Every choice of what the three do; a permit is for each that reports. */
static void explore_all(const char *choices, const uint64_t *permits)
{
    const skl_breaker_record_t before = *test.b->record;
    const uint64_t n = strlen(choices);

    test.generation =
        skl_state_generation(skl_pair_load(&test.b->record->state).a);
    for (uint64_t code = 0; code < n * n * n; code++) {
        test.call[0].what = choices[code % n];
        test.call[1].what = choices[code / n % n];
        test.call[2].what = choices[code / n / n];
        for (int i = 0; i < CALLS; i++) {
            test.call[i].now = test.w.now;
            test.call[i].permit = permits[i];
        }
        explore_calls(&before);
    }
}

static void begin(seckill_breaker_options_t o)
{
    memset(&test, 0, sizeof(test));
    schedules = 0;
    test.b = one_breaker(&test.w, o);
}

static void end(void)
{
    printf("# %llu schedules\n", (unsigned long long)schedules);
    CHECK(schedules > 1000);
    world_free(&test.w);
}

static void take(uint64_t *permits, int n)
{
    for (int i = 0; i < n; i++) {
        permits[i] = allow(&test.w, test.b);
        CHECK(permits[i] != 0);
    }
}

TEST(breaker_steps_while_it_trips)
{
    seckill_breaker_options_t o = small_options();
    uint64_t permits[CALLS];

    o.min_calls = 3;
    o.error_ratio = 0.6;
    o.consecutive = 2;
    begin(o);
    take(permits, CALLS);
    explore_all("agbc", permits);
    end();
}

TEST(breaker_steps_when_an_opening_ends)
{
    uint64_t permits[CALLS];

    begin(small_options());
    take(permits, CALLS); /* of before: stale ones */
    trip_and_pass(&test.w, test.b);
    explore_all("agb", permits);
    end();
}

TEST(breaker_steps_of_two_probes)
{
    uint64_t permits[CALLS];

    begin(small_options());
    take(&permits[2], 1);
    trip_and_pass(&test.w, test.b);
    take(permits, 2);
    explore_all("agbc", permits);
    end();
}

TEST(breaker_steps_when_a_lease_ends)
{
    uint64_t permits[CALLS];

    begin(small_options());
    take(&permits[2], 1);
    trip_and_pass(&test.w, test.b);
    take(permits, 2);
    test.w.now += 300 * MS;
    explore_all("agbc", permits);
    end();
}

TEST(breaker_steps_of_one_probe_ended_twice)
{
    uint64_t permits[CALLS];

    begin(small_options());
    trip_and_pass(&test.w, test.b);
    take(permits, 1);
    permits[1] = permits[2] = permits[0];
    explore_all("gbc", permits);
    end();
}

/* ---- A call that is stopped for long ------------------------------------- */

/* The breaker opens, and half-opens again; one of its two probes is out. */
static void begin_next_probes(void)
{
    test.w.now += 300 * MS; /* the lease of what was out */
    CHECK_INT(0, allow(&test.w, test.b));
    pass_open(&test.w, test.b);
    test.permit = allow(&test.w, test.b);
    CHECK(test.permit != 0);
}

/* Whoever goes on with what he knew of the generation before must not take, or
 * take away, a probe of this one. */
TEST(breaker_probe_is_not_taken_from_a_later_generation)
{
    int late = 0;

    for (int at = 1; at < 40; at++) {
        uint64_t out, got;
        int64_t retry, was;

        begin(small_options());
        trip_and_pass(&test.w, test.b);
        out = allow(&test.w, test.b);
        CHECK(out != 0);
        was = test.w.now;
        test.steps = at;
        test.interrupt = begin_next_probes;
        got = 0;
        (void)skl_breaker_allow(test.b, was, &got, &retry);
        if (test.interrupt == NULL) {
            late++;
            CHECK_INT(1, report(&test.w, test.b, test.permit, 0));
            CHECK_INT(SECKILL_BREAKER_OPEN, state(&test.w, test.b));
        }
        test.interrupt = NULL;
        world_free(&test.w);
    }
    CHECK(late >= 5);
}

TAP_MAIN()
