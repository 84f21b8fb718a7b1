/*
 * Several limiters asked together: all are charged or none.
 *
 * In one process: random questions in every order of the rules, in worlds of
 * their own that must stay alike, held against what each rule says alone.
 *
 * In two: both calls go an instruction at a time (stepper.h). The first is
 * stopped somewhere, the second runs up to somewhere, then both end, in either
 * order: whatever they saw of each other, in the end every rule has been
 * charged for what was admitted, and for nothing else. Then four processes at
 * full speed.
 *
 * Two processes take at one instant, four within some ms in which no window
 * ends and no bucket is empty: then undo is exact, and what a rule has left,
 * seen from the first instant, says how much it was charged.
 */
#include "test/support/limits.h"
#include "test/support/stepper.h"

#include <sys/wait.h>
#include <unistd.h>

/* variants: rel asan */

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

enum { RULES = 3, KINDS = 6 };

typedef struct {
    lim_world_t w;
    skl_limiter_t *lims[RULES];
} combined_t;

/* What a call answers. */
typedef struct {
    int rc;
    uint32_t mask;
    skl_limit_ask_t asks[RULES];
    skl_limit_ticket_t tickets[RULES];
} answer_t;

/* Rules of every algorithm, each of `quota` at an instant. */
static seckill_limit_t kind_of(int kind, double quota)
{
    seckill_limit_t l = {.struct_size = sizeof(l),
                         .mode = SECKILL_LIMIT_ENFORCE};

    l.algorithm = (uint32_t)(SECKILL_TOKEN_BUCKET + kind % 5);
    if (l.algorithm == SECKILL_TOKEN_BUCKET) {
        l.rate = 3;
        l.burst = quota;
    } else if (l.algorithm == SECKILL_LEAKY_BUCKET) {
        l.rate = 5;
        l.burst = quota - 1;
        l.zeros = SECKILL_ZERO_BURST;
    } else {
        l.window_ns = (kind + 1) * NS_SEC;
        l.limit = quota;
    }
    return l;
}

static void combined_open(combined_t *c, const seckill_limit_t *limits,
                          int64_t now)
{
    lim_world_new(&c->w, 1024, RULES);
    for (int i = 0; i < RULES; i++) {
        char name[8] = {(char)('a' + i)};

        c->lims[i] = lim_open(&c->w, name, &limits[i], now);
    }
}

/* A call made ready: only the limiters' own part is left. */
typedef struct {
    int n;
    const int *order;
    skl_limiter_t *lims[RULES];
    skl_limit_place_t places[RULES];
    skl_limit_ask_t asks[RULES];
    skl_limit_ticket_t tickets[RULES];
    uint32_t mask;
    int rc;
} call_t;

static void call_prepare(call_t *call, combined_t *c, const int *order, int n,
                         const char *const *keys, uint32_t cost, int commit,
                         int64_t now)
{
    memset(call, 0, sizeof(*call));
    call->n = n;
    call->order = order;
    for (int i = 0; i < n; i++) {
        const char *key = keys[order[i]];

        call->lims[i] = c->lims[order[i]];
        skl_limiter_locate(call->lims[i], key, strlen(key), &call->places[i]);
        call->asks[i] =
            (skl_limit_ask_t){.now_ns = now,
                              .cost = cost,
                              .commit = commit,
                              .ticket = commit ? &call->tickets[i] : NULL};
    }
}

static void call_make(call_t *call)
{
    call->rc = skl_limiter_combine((uint32_t)call->n, call->lims, call->places,
                                   call->asks, &call->mask);
}

/* Rules order[0], order[1] ...: answers stand where the rules do. */
static void combine(combined_t *c, const int *order, int n,
                    const char *const *keys, uint32_t cost, int commit,
                    int64_t now, answer_t *out)
{
    call_t call;

    call_prepare(&call, c, order, n, keys, cost, commit, now);
    call_make(&call);
    memset(out, 0, sizeof(*out));
    out->rc = call.rc;
    for (int i = 0; i < n; i++) {
        out->asks[order[i]] = call.asks[i];
        out->asks[order[i]].ticket = NULL;
        out->tickets[order[i]] = call.tickets[i];
        out->mask |= (call.mask >> i & 1) << order[i];
    }
}

/* ---- In every order ------------------------------------------------------ */

static const int ORDERS[][RULES] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                    {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* All that a rule says of a key now, for one and for many. */
typedef struct {
    int rc[2];
    uint64_t remaining[2];
    int64_t retry_ns[2];
} state_t;

static state_t state_of(combined_t *c, int rule, const char *key, int64_t now)
{
    state_t s;

    memset(&s, 0, sizeof(s));
    for (int i = 0; i < 2; i++) {
        skl_limit_ask_t a = {
            .now_ns = now, .cost = i == 0 ? 1 : 4, .commit = 0};

        s.rc[i] = lim_ask(c->lims[rule], key, &a);
        s.remaining[i] = s.rc[i] == SECKILL_OK ? a.remaining : 0;
        s.retry_ns[i] = s.rc[i] == SECKILL_OK ? 0 : a.retry_ns;
    }
    return s;
}

static int same_state(const state_t *a, const state_t *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

typedef struct {
    combined_t worlds[COUNT(ORDERS)];
    seckill_limit_t limits[RULES];
    int64_t now;
    uint64_t *seed;
    int refused, admitted, both;
} orders_t;

/* Would this rule refuse, asked alone? */
static uint32_t refusals(orders_t *o, const char *const *keys, uint32_t cost)
{
    uint32_t mask = 0;

    for (int i = 0; i < RULES; i++) {
        skl_limit_ask_t a = {.now_ns = o->now, .cost = cost, .commit = 0};

        if (lim_ask(o->worlds[0].lims[i], keys[i], &a) != SECKILL_OK) {
            mask |= 1U << i;
        }
    }
    return mask;
}

static int64_t longest_retry(const answer_t *a)
{
    int64_t retry = 0;

    for (int i = 0; i < RULES; i++) {
        if (a->mask >> i & 1) {
            if (a->asks[i].retry_ns < 0) {
                return -1;
            }
            retry = retry > a->asks[i].retry_ns ? retry : a->asks[i].retry_ns;
        }
    }
    return retry;
}

/* A refusal took nothing, and who comes again when told so passes. */
static void check_refusal(orders_t *o, int world, const answer_t *a,
                          const state_t *before, const char *const *keys,
                          uint32_t cost)
{
    combined_t *c = &o->worlds[world];
    int64_t retry = longest_retry(a);
    answer_t again;

    for (int i = 0; i < RULES; i++) {
        state_t s = state_of(c, i, keys[i], o->now);

        CHECK(same_state(&before[i], &s));
        CHECK_INT(0, a->tickets[i].key);
    }
    if (retry >= 0) {
        combine(c, ORDERS[world], RULES, keys, cost, 0, o->now + retry, &again);
        CHECK_INT(SECKILL_OK, again.rc);
        combine(c, ORDERS[world], RULES, keys, cost, 0, o->now + retry - 1,
                &again);
        CHECK_INT(SECKILL_EREJECTED, again.rc);
    }
}

/* All worlds are asked the same, each in its order. */
static void ask_all(orders_t *o, const char *const *keys, uint32_t cost,
                    int commit)
{
    uint32_t want = refusals(o, keys, cost);
    state_t before[RULES];
    answer_t first, a;

    for (int w = 0; w < COUNT(ORDERS); w++) {
        for (int i = 0; i < RULES; i++) {
            before[i] = state_of(&o->worlds[w], i, keys[i], o->now);
        }
        combine(&o->worlds[w], ORDERS[w], RULES, keys, cost, commit, o->now,
                &a);
        CHECK_INT(want == 0 ? SECKILL_OK : SECKILL_EREJECTED, a.rc);
        CHECK_INT(want, a.mask);
        if (a.rc != SECKILL_OK) {
            check_refusal(o, w, &a, before, keys, cost);
        }
        if (w == 0) {
            first = a;
        }
        for (int i = 0; i < RULES; i++) {
            CHECK_INT(first.asks[i].delay_ns, a.asks[i].delay_ns);
            CHECK(a.rc != SECKILL_OK ||
                  first.asks[i].remaining == a.asks[i].remaining);
        }
    }
    o->admitted += want == 0;
    o->refused += want != 0;
    o->both += (want & (want - 1)) != 0;
}

static void check_alike(orders_t *o, const char *const *keys)
{
    for (int i = 0; i < RULES; i++) {
        state_t first = state_of(&o->worlds[0], i, keys[i], o->now);

        for (int w = 1; w < COUNT(ORDERS); w++) {
            state_t s = state_of(&o->worlds[w], i, keys[i], o->now);

            CHECK(same_state(&first, &s));
        }
    }
}

/* Users of a key each, addresses that some share, and one key for all. */
static void orders_trace(uint64_t *seed)
{
    static orders_t o;

    memset(&o, 0, sizeof(o));
    o.seed = seed;
    o.now = 1000 * NS_SEC + lim_random_below(seed, NS_SEC);
    for (int i = 0; i < RULES; i++) {
        o.limits[i] = kind_of((int)lim_random_below(seed, KINDS),
                              (double)(3 + lim_random_below(seed, 12)));
    }
    for (int w = 0; w < COUNT(ORDERS); w++) {
        combined_open(&o.worlds[w], o.limits, o.now);
    }
    for (int i = 0; i < 150; i++) {
        static char user[16], ip[16];
        const char *keys[RULES] = {user, ip, "all"};
        int who = (int)lim_random_below(seed, 4);

        snprintf(user, sizeof(user), "u%d", who);
        snprintf(ip, sizeof(ip), "ip%d", who / 2);
        o.now +=
            lim_random(seed) % 2 == 0 ? lim_random_below(seed, NS_SEC / 4) : 0;
        ask_all(&o, keys, (uint32_t)(1 + lim_random_below(seed, 4)),
                lim_random(seed) % 8 != 0);
        check_alike(&o, keys);
    }
    CHECK(o.refused > 0 && o.admitted > 0);
    for (int w = 0; w < COUNT(ORDERS); w++) {
        CHECK_INT(0, lim_overflows(&o.worlds[w].w));
        lim_world_free(&o.worlds[w].w);
    }
}

TEST(limit_combine_order_of_the_rules_does_not_matter)
{
    uint64_t seed = tap_seed(41);
    int rounds = tap_full() ? 1000 : 25;

    for (int i = 0; i < rounds; i++) {
        orders_trace(&seed);
    }
}

/* The same rule and key twice: charged twice, or not at all. */
TEST(limit_combine_of_a_rule_with_itself)
{
    const int order[RULES] = {0, 1, 0};
    const char *const keys[RULES] = {"k", "other", "k"};

    for (int kind = 0; kind < KINDS; kind++) {
        const int64_t now = 1000 * NS_SEC;
        seckill_limit_t limits[RULES] = {kind_of(kind, 5), kind_of(kind, 9),
                                         kind_of(kind, 9)};
        state_t before, after;
        combined_t c;
        answer_t a;

        combined_open(&c, limits, now);
        for (int i = 0; i < 2; i++) {
            combine(&c, order, RULES, keys, 1, 1, now, &a);
            CHECK_INT(SECKILL_OK, a.rc);
        }
        before = state_of(&c, 0, "k", now);
        CHECK_INT(SECKILL_OK, before.rc[0]); /* one of five is left */
        CHECK_INT(0, before.remaining[0]);
        combine(&c, order, RULES, keys, 1, 1, now, &a);
        CHECK_INT(SECKILL_EREJECTED, a.rc);
        CHECK(a.mask != 0);
        after = state_of(&c, 0, "k", now);
        CHECK(same_state(&before, &after));
        after = state_of(&c, 1, "other", now);
        CHECK_INT(6, after.remaining[0]);
        lim_world_free(&c.w);
    }
}

/* A rule in shadow mode takes what it may, and stands in nobody's way. */
static void shadow_trace(uint64_t *seed)
{
    int64_t now = 1000 * NS_SEC;
    seckill_limit_t limits[RULES];
    uint32_t real = 0;
    combined_t c;

    for (int i = 0; i < RULES; i++) {
        limits[i] = kind_of((int)lim_random_below(seed, KINDS),
                            (double)(2 + lim_random_below(seed, 9)));
        limits[i].mode = SECKILL_LIMIT_ENFORCE + (uint32_t)i;
        real |= limits[i].mode == SECKILL_LIMIT_ENFORCE ? 1U << i : 0;
    }
    combined_open(&c, limits, now);
    for (int i = 0; i < 100; i++) {
        const char *const keys[RULES] = {"k", "k", "k"};
        skl_limit_ask_t alone = {.cost = 1 + (uint32_t)i % 3, .commit = 0};
        state_t before[RULES];
        answer_t a;

        now += lim_random(seed) % 2 == 0 ? lim_random_below(seed, NS_SEC) : 0;
        alone.now_ns = now;
        for (int j = 0; j < RULES; j++) {
            before[j] = state_of(&c, j, keys[j], now);
        }
        combine(&c, ORDERS[i % 6], RULES, keys, alone.cost, 1, now, &a);
        CHECK_INT(SECKILL_OK, lim_ask(c.lims[1], "k", &alone));
        CHECK((a.mask & ~real) == 0);
        CHECK_INT(a.mask == 0 ? SECKILL_OK : SECKILL_EREJECTED, a.rc);
        for (int j = 0; j < RULES && a.rc != SECKILL_OK; j++) {
            state_t s = state_of(&c, j, keys[j], now);

            CHECK(same_state(&before[j], &s));
        }
    }
    lim_world_free(&c.w);
}

TEST(limit_combine_shadow_rules_refuse_nobody)
{
    uint64_t seed = tap_seed(42);

    for (int i = 0; i < 40; i++) {
        shadow_trace(&seed);
    }
}

/* A refused combine costs a shadow rule nothing either. */
TEST(limit_combine_refused_charges_no_shadow_rule)
{
    const int64_t now = 1000 * NS_SEC;
    const char *const keys[RULES] = {"k", "k", "k"};

    for (int kind = 0; kind < KINDS; kind++) {
        seckill_limit_t limits[RULES] = {kind_of(kind, 2), kind_of(kind, 5),
                                         kind_of(kind, 5)};
        seckill_limit_t enforce = {.struct_size = sizeof(enforce),
                                   .mode = SECKILL_LIMIT_ENFORCE};
        combined_t c;
        answer_t a;

        limits[1].mode = SECKILL_LIMIT_SHADOW;
        combined_open(&c, limits, now);
        for (int i = 0; i < 4; i++) {
            combine(&c, ORDERS[i], RULES, keys, 1, 1, now, &a);
            CHECK_INT(i < 2 ? SECKILL_OK : SECKILL_EREJECTED, a.rc);
            CHECK_INT(i < 2 ? 0 : 1, a.mask);
        }
        CHECK_INT(SECKILL_OK, skl_limiter_set(c.lims[1], &enforce, now));
        CHECK_INT(2, state_of(&c, 1, "k", now).remaining[0]);
        CHECK_INT(2, state_of(&c, 2, "k", now).remaining[0]);
        lim_world_free(&c.w);
    }
}

/* ---- Two processes, an instruction at a time ----------------------------- */

static void run_call(void *arg)
{
    call_make(arg);
}

/* What a rule of `quota` was charged so far, all at this instant. */
static int64_t charged(combined_t *c, int rule, int64_t quota)
{
    static const char *const keys[RULES] = {"user", "ip", "all"};
    skl_limit_ask_t a = {.now_ns = 1000 * NS_SEC, .cost = 1, .commit = 0};

    if (lim_ask(c->lims[rule], keys[rule], &a) != SECKILL_OK) {
        return quota;
    }
    return quota - 1 - (int64_t)a.remaining;
}

typedef struct {
    call_t *calls; /* two, in shared memory: with the answers */
    int64_t quotas[RULES];
    int used; /* taken of each rule before */
    combined_t c;
    int kinds[RULES];
} pair_t;

static void pair_open(pair_t *p, uint64_t *seed)
{
    seckill_limit_t limits[RULES];
    answer_t a;
    static const char *const keys[RULES] = {"user", "ip", "all"};

    for (int i = 0; i < RULES; i++) {
        p->kinds[i] = (int)lim_random_below(seed, KINDS);
        p->quotas[i] = 2 + lim_random_below(seed, 4);
        limits[i] = kind_of(p->kinds[i], (double)p->quotas[i]);
    }
    combined_open(&p->c, limits, 1000 * NS_SEC);
    /* Sometimes the keys are there before, sometimes both come to make them. */
    p->used = (int)lim_random_below(seed, 3) % 2;
    for (int i = 0; i < p->used; i++) {
        combine(&p->c, ORDERS[0], RULES, keys, 1, 1, 1000 * NS_SEC, &a);
        CHECK_INT(SECKILL_OK, a.rc);
    }
    for (int i = 0; i < 2; i++) {
        const int *order = ORDERS[lim_random_below(seed, COUNT(ORDERS))];

        call_prepare(&p->calls[i], &p->c, order, RULES, keys,
                     1 + (uint32_t)lim_random_below(seed, 2), 1, 1000 * NS_SEC);
        p->calls[i].rc = 99;
    }
}

/* Whatever happened between the two: no rule has more than its quota, and
 * each was charged what was admitted. Who waits for a lock of somebody who is
 * stopped is charged in a shared cell: that may count for the key as well. */
static void pair_check(pair_t *p, long k1, long k2)
{
    int in_cells = lim_overflows(&p->c.w) > 0;
    int64_t final = p->used;

    for (int i = 0; i < 2; i++) {
        CHECK(p->calls[i].rc == SECKILL_OK ||
              p->calls[i].rc == SECKILL_EREJECTED);
        final += p->calls[i].rc == SECKILL_OK ? p->calls[i].asks[0].cost : 0;
    }
    for (int i = 0; i < RULES; i++) {
        CHECK(final <= p->quotas[i]);
        int64_t all = charged(&p->c, i, p->quotas[i]);

        if (!CHECK(all == final || (in_cells && all > final))) {
            printf("# rule %d algorithm %d after %ld and %ld steps\n", i,
                   p->kinds[i] % 5 + 1, k1, k2);
        }
    }
}

/* n steps, unless it has ended; n < 0: at full speed to its end. 0: it died. */
static int go_on(stepper_t *st, int *ended, long n)
{
    int rc;

    if (*ended) {
        return 1;
    }
    rc = n < 0 ? stepper_finish(st) : stepper_run(st, n);
    *ended = rc != 1;
    return rc >= 0;
}

/* The first goes k1 steps, the second k2, then both to the end. */
static int pair_steps(stepper_t *st, long k1, long k2, int last)
{
    int ended[2] = {0, 0};

    return go_on(&st[0], &ended[0], k1) && go_on(&st[1], &ended[1], k2) &&
           go_on(&st[!last], &ended[!last], -1) &&
           go_on(&st[last], &ended[last], -1);
}

static int pair_run(pair_t *p, long k1, long k2, int last)
{
    const char *why = "";
    stepper_t st[2];
    int good;

    for (int i = 0; i < 2; i++) {
        if (!stepper_start(&st[i], run_call, &p->calls[i], &why)) {
            printf("# %s\n", why);
            return CHECK(0);
        }
    }
    good = pair_steps(st, k1, k2, last);
    stepper_kill(&st[0]);
    stepper_kill(&st[1]);
    return CHECK(good);
}

/* Instructions of one call that nobody disturbs. */
static long count_steps(pair_t *p, uint64_t *seed)
{
    const char *why = "";
    stepper_t st;

    pair_open(p, seed);
    if (!stepper_start(&st, run_call, &p->calls[0], &why)) {
        printf("# %s\n", why);
        return 0;
    }
    CHECK_INT(0, stepper_run(&st, 1000000));
    stepper_kill(&st);
    lim_world_free(&p->c.w);
    return st.steps;
}

TEST(limit_combine_two_processes_step_by_step)
{
    static pair_t p;
    uint64_t seed = tap_seed(43);
    int rounds = tap_full() ? 3000 : 60;
    long steps;

    p.calls = lim_pages(4096);
    steps = count_steps(&p, &seed);
    REQUIRE(steps > 0);
    for (int i = 0; i < rounds; i++) {
        /* every second time the other one runs whole in between */
        long k1 = lim_random_below(&seed, steps);
        long k2 = i % 2 == 0 ? -1 : lim_random_below(&seed, steps);

        pair_open(&p, &seed);
        if (!pair_run(&p, k1, k2, (int)(lim_random(&seed) % 2))) {
            break;
        }
        pair_check(&p, k1, k2);
        lim_world_free(&p.c.w);
    }
    printf("# %d interleavings of two calls of about %ld steps\n", rounds,
           steps);
    munmap(p.calls, 4096);
}

/* ---- Four processes ------------------------------------------------------ */

typedef struct {
    _Atomic int ready, go;
    _Atomic uint64_t admitted[4], all;
} counts_t;

static void hammer_once(combined_t *c, counts_t *counts, int number, int i)
{
    const char *keys[RULES] = {number < 2 ? "u0" : "u1",
                               number % 2 == 0 ? "ip0" : "ip1", "all"};
    answer_t a;

    combine(c, ORDERS[(i + number) % COUNT(ORDERS)], RULES, keys, 1, 1,
            1000 * NS_SEC + i * 1000, &a);
    if (a.rc == SECKILL_OK) {
        atomic_fetch_add(&counts->admitted[number], 1);
        atomic_fetch_add(&counts->all, 1);
    }
}

static void hammer(combined_t *c, counts_t *counts, int number)
{
    atomic_fetch_add(&counts->ready, 1);
    while (!atomic_load(&counts->go)) {
        usleep(100);
    }
    for (int i = 0; i < 3000; i++) {
        hammer_once(c, counts, number, i);
    }
}

/* Left of a key, of `quota`. */
static int64_t used_of(combined_t *c, int rule, const char *key, int64_t quota)
{
    skl_limit_ask_t a = {.now_ns = 1000 * NS_SEC, .cost = 1, .commit = 0};

    if (lim_ask(c->lims[rule], key, &a) != SECKILL_OK) {
        return quota;
    }
    return quota - 1 - (int64_t)a.remaining;
}

static void hammer_kinds(counts_t *counts, const int *kinds,
                         const int64_t *quotas)
{
    seckill_limit_t limits[RULES];
    uint64_t got[4];
    pid_t pids[4];
    combined_t c;

    memset(counts, 0, sizeof(*counts));
    for (int i = 0; i < RULES; i++) {
        limits[i] = kind_of(kinds[i], (double)quotas[i]);
    }
    combined_open(&c, limits, 1000 * NS_SEC);
    /* The keys are there before: coming into the table needs a lock. */
    hammer_once(&c, counts, 0, 0);
    hammer_once(&c, counts, 3, 0);
    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            skl_counters_attach(&c.w.counters, c.w.counters_shm);
            hammer(&c, counts, i);
            _exit(0);
        }
    }
    while (atomic_load(&counts->ready) < 4) {
        usleep(100);
    }
    atomic_store(&counts->go, 1);
    for (int i = 0; i < 4; i++) {
        int status = -1;

        CHECK_INT(pids[i], waitpid(pids[i], &status, 0));
        CHECK_INT(0, status);
        got[i] = atomic_load(&counts->admitted[i]);
    }
    CHECK_INT(got[0] + got[1], used_of(&c, 0, "u0", quotas[0]));
    CHECK_INT(got[2] + got[3], used_of(&c, 0, "u1", quotas[0]));
    CHECK_INT(got[0] + got[2], used_of(&c, 1, "ip0", quotas[1]));
    CHECK_INT(got[1] + got[3], used_of(&c, 1, "ip1", quotas[1]));
    CHECK_INT(atomic_load(&counts->all), used_of(&c, 2, "all", quotas[2]));
    CHECK_INT(0, lim_overflows(&c.w));
    lim_world_free(&c.w);
}

TEST(limit_combine_processes_charge_what_they_admit)
{
    static const int64_t quotas[][RULES] = {
        {1000, 900, 1500}, {500, 1000, 2000}, {3000, 3000, 100}};
    counts_t *counts = lim_pages(sizeof(*counts));

    for (int kind = 0; kind < KINDS; kind++) {
        for (int i = 0; i < COUNT(quotas); i++) {
            /* a log holds 16 at most: the other four take its place */
            const int kinds[RULES] = {kind % 4, (kind + i) % 4, (kind + 1) % 4};

            hammer_kinds(counts, kinds, quotas[i]);
        }
    }
    hammer_kinds(counts, (const int[]){4, 0, 4}, (const int64_t[]){16, 40, 16});
    hammer_kinds(counts, (const int[]){4, 4, 4}, (const int64_t[]){9, 16, 12});
    munmap(counts, sizeof(*counts));
}

TAP_MAIN()
