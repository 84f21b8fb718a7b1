/* What a breaker does at each call; see breaker.h. */
#include "breaker/breaker.h"

#include "base/hash.h"
#include "breaker/numbers.h"

#define RETRY_MIN_NS 1000000LL

/* ---- Words --------------------------------------------------------------- */

/* A bucket: {stamp; errors, slow calls, calls}. One that is full is halved:
 * the ratios stay. */
enum { COUNT_BITS = 21 };
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)
#define CALL_ONE (UINT64_C(1) << (2 * COUNT_BITS))
#define SLOW_ONE (UINT64_C(1) << COUNT_BITS)
#define ERROR_ONE UINT64_C(1)

/* A probe: {status (2 bits), serial (12), generation (24); end of lease}. */
enum { PROBE_FREE, PROBE_OUT, PROBE_GOOD, PROBE_BAD };
#define SERIAL_MASK 0xfffU

/* Whom a permit was given to: the window counts them, probes decide, the rest
 * is in the statistics only. */
enum { PERMIT_NORMAL = 1, PERMIT_PROBE = 2, PERMIT_FREE = 3 };

typedef struct {
    int kind;
    uint32_t probe, serial;
    uint64_t generation;
} permit_t;

/* kind (2 bits), number of the probe (4), its serial (12), generation (24),
 * breaker (10): 52 bits. */
static uint64_t permit_of(const skl_breaker_t *b, int kind, uint64_t generation,
                          uint32_t probe, uint32_t serial)
{
    skl_assert(probe < SKL_BREAKER_PROBES && b->index < SKL_BREAKERS_MAX);
    skl_assert(serial <= SERIAL_MASK && generation <= SKL_GENERATION_MASK);
    return (uint64_t)kind | probe << 2 | (uint64_t)serial << 6 |
           generation << 18 | (uint64_t)b->index << 42;
}

static int read_permit(const skl_breaker_t *b, uint64_t permit, permit_t *out)
{
    out->kind = (int)(permit & 3);
    out->probe = permit >> 2 & 15;
    out->serial = permit >> 6 & SERIAL_MASK;
    out->generation = permit >> 18 & SKL_GENERATION_MASK;
    return out->kind != 0 && permit >> 42 == b->index;
}

static uint64_t probe_word(int status, uint32_t serial, uint64_t generation)
{
    skl_assert(status >= PROBE_FREE && status <= PROBE_BAD);
    skl_assert(generation <= SKL_GENERATION_MASK);
    return (uint64_t)status | (uint64_t)(serial & SERIAL_MASK) << 2 |
           generation << 14;
}

static int probe_status(uint64_t word)
{
    return (int)(word & 3);
}

static uint32_t probe_serial(uint64_t word)
{
    return word >> 2 & SERIAL_MASK;
}

static uint64_t probe_generation(uint64_t word)
{
    return word >> 14 & SKL_GENERATION_MASK;
}

static uint64_t with_status(uint64_t word, int status)
{
    skl_assert(probe_status(word) == PROBE_OUT);
    return (word & ~UINT64_C(3)) | (uint64_t)status;
}

static void count(skl_breaker_t *b, int what)
{
    const skl_counters_t *c = b->breakers->counters;
    const size_t stripe = (size_t)(c->mine - c->shm->stripes);

    skl_assert(stripe < SKL_STRIPES && what < SKL_BREAKER_COUNTS);
    atomic_fetch_add_explicit(&b->record->stripe[stripe].count[what], 1,
                              memory_order_relaxed);
}

static void note(skl_breaker_t *b, int event)
{
    skl_assert(event >= 0 && event < SKL_BREAKER_EVENTS);
    atomic_fetch_add_explicit(&b->record->event[event], 1,
                              memory_order_relaxed);
}

/* ---- Changes of state ---------------------------------------------------- */

/* How long an opening lasts: +- 10 %, the same for all who compute it. */
static int64_t period(const skl_breaker_t *b, const skl_breaker_numbers_t *n,
                      uint32_t doublings, uint64_t generation)
{
    const int64_t whole = n->open_ns << doublings;
    const int64_t dice = (int64_t)skl_mix64(b->record->seed ^ generation);

    skl_assert(doublings <= SKL_BREAKER_DOUBLINGS);
    skl_assert(whole > 0 && whole >> doublings == n->open_ns);
    return whole + (int64_t)((double)whole * 0.1 * ((double)dice / 0x1p63));
}

/* Another state in place of `old`: a new generation. 0: somebody was first. */
static int enter(skl_breaker_t *b, skl_two_t old, int kind, uint32_t doublings,
                 int ramps, int64_t time)
{
    const uint64_t next = skl_state_generation(old.a) + 1;
    const skl_two_t new = {skl_state_word(kind, doublings, ramps, next),
                           (uint64_t)time};

    return skl_pair_swap(&b->record->state, old, new);
}

/* `doublings` of this opening; the next one, if it comes soon, has one more. */
static int enter_open(skl_breaker_t *b, skl_two_t old,
                      const skl_breaker_numbers_t *n, uint32_t doublings,
                      int64_t now)
{
    const uint64_t next =
        (skl_state_generation(old.a) + 1) & SKL_GENERATION_MASK;
    const uint32_t more =
        doublings < SKL_BREAKER_DOUBLINGS ? doublings + 1 : doublings;
    int done = enter(b, old, SECKILL_BREAKER_OPEN, more, 0,
                     now + period(b, n, doublings, next));

    if (done) {
        note(b, SKL_BREAKER_OPENED);
    }
    return done;
}

/* ---- The window ---------------------------------------------------------- */

static uint64_t stamp_at(const skl_breaker_numbers_t *n, uint64_t generation,
                         int64_t now)
{
    return skl_stamp(generation, n->scale,
                     (uint64_t)now / (uint64_t)n->bucket_ns);
}

static uint64_t halved(uint64_t counts)
{
    const uint64_t mask = COUNT_MASK >> 1;

    return counts >> 1 & (mask | mask << COUNT_BITS | mask << (2 * COUNT_BITS));
}

/* Is this generation the one of now? */
static int is_now(skl_breaker_t *b, uint64_t generation)
{
    return skl_state_generation(skl_pair_load(&b->record->state).a) ==
           generation;
}

/* Is what a bucket holds later than what we want to put there? When it is of
 * another window, then it is if that of our numbers is over. */
static int is_later(skl_breaker_t *b, uint64_t of, uint64_t stamp,
                    const skl_breaker_numbers_t *n, uint64_t generation)
{
    skl_breaker_numbers_t here;

    if (skl_stamp_is_same_window(of, stamp)) {
        return of > stamp;
    }
    skl_breaker_numbers(b, &here);
    return here.scale != n->scale || !is_now(b, generation);
}

static void add_to_window(skl_breaker_t *b, const skl_breaker_numbers_t *n,
                          uint64_t generation, uint64_t counts, int64_t now)
{
    const uint64_t stamp = stamp_at(n, generation, now);
    const uint64_t index = (uint64_t)now / (uint64_t)n->bucket_ns;
    skl_pair_t *bucket = &b->record->bucket[index % SKL_BREAKER_BUCKETS];
    skl_two_t old, new;

    skl_assert(counts >> (2 * COUNT_BITS) == 1);
    do {
        old = skl_pair_load(bucket);
        if (is_later(b, old.a, stamp, n, generation)) {
            return; /* the window has moved on meanwhile */
        }
        new.a = stamp;
        new.b = old.a == stamp ? old.b : 0;
        if (new.b >> (2 * COUNT_BITS) == COUNT_MASK) {
            new.b = halved(new.b);
        }
        new.b += counts;
#ifdef MUTANT_BREAKER_DROP_CAS_RETRY
        (void)skl_pair_swap(bucket, old, new);
        return;
#endif
    } while (!skl_pair_swap(bucket, old, new));
}

typedef struct {
    uint64_t calls, errors, slows;
} sums_t;

static int is_in_window(uint64_t of, uint64_t now)
{
#ifdef MUTANT_BREAKER_TUMBLING
    const uint64_t index = (UINT64_C(1) << SKL_STAMP_BITS) - 1;

    return of >> SKL_STAMP_BITS == now >> SKL_STAMP_BITS &&
           (of & index) / SKL_BREAKER_BUCKETS ==
               (now & index) / SKL_BREAKER_BUCKETS;
#else
    return skl_stamp_is_in(of, now, SKL_BREAKER_BUCKETS);
#endif
}

static sums_t sum_window(skl_breaker_t *b, const skl_breaker_numbers_t *n,
                         uint64_t generation, int64_t now)
{
    const uint64_t stamp = stamp_at(n, generation, now);
    sums_t s = {0, 0, 0};

    for (int i = 0; i < SKL_BREAKER_BUCKETS; i++) {
        skl_two_t two = skl_pair_load(&b->record->bucket[i]);

        if (is_in_window(two.a, stamp)) {
            s.calls += two.b >> (2 * COUNT_BITS);
            s.slows += two.b >> COUNT_BITS & COUNT_MASK;
            s.errors += two.b & COUNT_MASK;
        }
    }
    return s;
}

/* Failures in a row, in the order of their reports. */
static uint64_t add_to_streak(skl_breaker_t *b, uint64_t generation, int ok)
{
    uint64_t old =
        atomic_load_explicit(&b->record->streak, memory_order_relaxed);
    uint64_t new;

    do {
        SKL_PAIR_STEP();
        new = generation << 32;
        if (!ok) {
            new += old >> 32 == generation ? (old & UINT32_MAX) + 1 : 1;
        }
    } while (old != new &&
             !atomic_compare_exchange_weak(&b->record->streak, &old, new));
    return new &UINT32_MAX;
}

static int is_at(uint64_t part, uint64_t whole, double ratio)
{
    skl_assert(whole > 0);
    return ratio > 0 && (double)part / (double)whole >= ratio;
}

static int must_trip(skl_breaker_t *b, const skl_breaker_numbers_t *n,
                     uint64_t generation, uint64_t streak, int64_t now)
{
    sums_t s;

    skl_assert(n->min_calls > 0 && n->bucket_ns > 0);
    if (n->consecutive > 0 && streak >= n->consecutive) {
        return 1;
    }
    s = sum_window(b, n, generation, now);
    if (s.calls < n->min_calls) {
        return 0;
    }
    return is_at(s.errors, s.calls, n->error_ratio) ||
           is_at(s.slows, s.calls, n->slow_ratio) ||
           (n->cpu > 0 &&
            skl_gauge_read(&b->breakers->shm->gauge, now) >= n->cpu);
}

/* Closed for a whole window and ramp: what was before is forgotten. */
static uint32_t doublings_now(skl_two_t two, const skl_breaker_numbers_t *n,
                              int64_t now)
{
    const int64_t healthy = n->bucket_ns * SKL_BREAKER_BUCKETS + n->ramp_ns;

    return now - (int64_t)two.b >= healthy ? 0 : skl_state_doublings(two.a);
}

static void trip(skl_breaker_t *b, const skl_breaker_numbers_t *n,
                 uint64_t generation, int64_t now)
{
    skl_two_t two;

    do {
        two = skl_pair_load(&b->record->state);
        if (skl_state_generation(two.a) != generation) {
            return; /* somebody was first */
        }
    } while (!enter_open(b, two, n, doublings_now(two, n, now), now));
}

/* ---- Probes -------------------------------------------------------------- */

/* Is this the probe that a permit of `generation` was given for? */
static int is_out(uint64_t word, uint64_t generation)
{
    return probe_generation(word) == generation &&
           probe_status(word) == PROBE_OUT;
}

/* The status of a probe; one whose lease is over has failed. */
static int look_at_probe(skl_breaker_t *b, uint32_t i, uint64_t generation,
                         int64_t now)
{
    skl_pair_t *probe = &b->record->probe[i];
    skl_two_t two = skl_pair_load(probe);

#ifdef MUTANT_BREAKER_NO_LEASE
    now = 0;
#endif
    while (is_out(two.a, generation) && now >= (int64_t)two.b) {
        skl_two_t bad = {with_status(two.a, PROBE_BAD), two.b};

        if (skl_pair_swap(probe, two, bad)) {
            note(b, SKL_BREAKER_EXPIRED);
        }
        two = skl_pair_load(probe);
    }
    return probe_generation(two.a) == generation ? probe_status(two.a)
                                                 : PROBE_FREE;
}

/* What the probes of a half-open breaker say so far. */
static int judge_probes(skl_breaker_t *b, uint64_t generation,
                        const skl_breaker_numbers_t *n, int64_t now)
{
    uint32_t good = 0;

    skl_assert(n->probes >= 1 && n->probes <= SKL_BREAKER_PROBES);
    for (uint32_t i = 0; i < n->probes; i++) {
        int status = look_at_probe(b, i, generation, now);

        if (status == PROBE_BAD) {
            return PROBE_BAD;
        }
        good += status == PROBE_GOOD;
    }
    return good == n->probes ? PROBE_GOOD : PROBE_OUT;
}

/* Draw the conclusion from the probes. 1: the state has changed. */
static int settle(skl_breaker_t *b, skl_two_t two,
                  const skl_breaker_numbers_t *n, int64_t now)
{
    const int verdict = judge_probes(b, skl_state_generation(two.a), n, now);

    skl_assert(skl_state_kind(two.a) == SECKILL_BREAKER_HALF_OPEN);
    if (verdict == PROBE_BAD) {
        (void)enter_open(b, two, n, skl_state_doublings(two.a), now);
    } else if (verdict == PROBE_GOOD) {
        if (enter(b, two, SECKILL_BREAKER_CLOSED, skl_state_doublings(two.a),
                  n->ramp_ns > 0, now)) {
            note(b, SKL_BREAKER_CLOSED);
        }
    }
    return verdict != PROBE_OUT;
}

/* Can this probe be had? What is there of another generation is of an earlier
 * one, unless ours is over. */
static int is_free(skl_breaker_t *b, uint64_t word, uint64_t generation)
{
#ifndef MUTANT_BREAKER_STEAL_PROBE
    if (probe_generation(word) != generation) {
        return is_now(b, generation);
    }
#endif
    return probe_generation(word) != generation ||
           probe_status(word) == PROBE_FREE;
}

/* Take a probe that is free: its number, or -1, and then *wait is the time to
 * the end of the first lease. */
static int take_probe(skl_breaker_t *b, uint64_t generation,
                      const skl_breaker_numbers_t *n, int64_t now,
                      uint64_t *word, int64_t *wait)
{
    for (uint32_t i = 0; i < n->probes; i++) {
        skl_pair_t *probe = &b->record->probe[i];
        skl_two_t old = skl_pair_load(probe);

        while (is_free(b, old.a, generation)) {
            skl_two_t new = {
                probe_word(PROBE_OUT, probe_serial(old.a) + 1, generation),
                (uint64_t)(now + n->lease_ns)};

            if (skl_pair_swap(probe, old, new)) {
                *word = new.a;
                return (int)i;
            }
            old = skl_pair_load(probe);
        }
        if (probe_status(old.a) == PROBE_OUT && (int64_t)old.b - now < *wait) {
            *wait = (int64_t)old.b - now;
        }
    }
    return -1;
}

/* ---- Allow --------------------------------------------------------------- */

typedef struct {
    skl_breaker_t *b;
    int64_t now;
    uint64_t *permit;
    int64_t *retry_ns;
} ask_t;

/* What an ask may answer besides codes: the state has changed meanwhile. */
enum { AGAIN = 1 };

static int admit(const ask_t *a, int kind, uint64_t generation)
{
    count(a->b, SKL_BREAKER_ALLOWED);
    *a->permit = permit_of(a->b, kind, generation, 0, 0);
    return SECKILL_OK;
}

static int refuse(const ask_t *a, int64_t retry_ns)
{
    count(a->b, SKL_BREAKER_REJECTED);
    *a->permit = 0;
    *a->retry_ns = retry_ns > RETRY_MIN_NS ? retry_ns : RETRY_MIN_NS;
    return SECKILL_EOPEN;
}

/* Refuse, but not in shadow mode. */
static int refuse_or_count(const ask_t *a, const skl_breaker_numbers_t *n,
                           uint64_t generation, int64_t retry_ns)
{
    if (n->mode != SECKILL_LIMIT_SHADOW) {
        return refuse(a, retry_ns);
    }
    count(a->b, SKL_BREAKER_SHADOWED);
    return admit(a, PERMIT_FREE, generation);
}

/* Of the calls during a ramp every n-th passes, as even as it can be: the
 * golden ratio spreads the turns. */
static int is_my_turn(skl_breaker_t *b, double share)
{
    const uint64_t turn =
        atomic_fetch_add_explicit(&b->record->turn, 1, memory_order_relaxed);
    const uint64_t spread = turn * UINT64_C(0x9e3779b97f4a7c15);

    return (double)(spread >> 11) * 0x1p-53 < share;
}

static int ask_ramp(const ask_t *a, skl_two_t two)
{
    const uint64_t generation = skl_state_generation(two.a);
    const int64_t passed = a->now - (int64_t)two.b;
    skl_breaker_numbers_t n;

    skl_breaker_numbers(a->b, &n);
    skl_assert(skl_state_kind(two.a) == SECKILL_BREAKER_CLOSED);
    if (passed >= n.ramp_ns) {
        skl_two_t over = {two.a & ~(UINT64_C(1) << 6), two.b};

        (void)skl_pair_swap(&a->b->record->state, two, over);
        return AGAIN;
    }
    if (!is_my_turn(a->b, 0.1 + 0.9 * (double)(passed > 0 ? passed : 0) /
                                    (double)n.ramp_ns)) {
        return refuse_or_count(a, &n, generation, n.ramp_ns - passed);
    }
    return admit(a, PERMIT_NORMAL, generation);
}

static int ask_closed(const ask_t *a, skl_two_t two)
{
    if (skl_state_ramps(two.a)) {
        return ask_ramp(a, two);
    }
    return admit(a, PERMIT_NORMAL, skl_state_generation(two.a));
}

static int ask_open(const ask_t *a, skl_two_t two)
{
    skl_breaker_numbers_t n;

    skl_breaker_numbers(a->b, &n);
    if (a->now < (int64_t)two.b) {
        return refuse_or_count(a, &n, skl_state_generation(two.a),
                               (int64_t)two.b - a->now);
    }
    if (enter(a->b, two, SECKILL_BREAKER_HALF_OPEN, skl_state_doublings(two.a),
              0, a->now)) {
        note(a->b, SKL_BREAKER_PROBED);
    }
    return AGAIN;
}

static int ask_half_open(const ask_t *a, skl_two_t two)
{
    const uint64_t generation = skl_state_generation(two.a);
    skl_breaker_numbers_t n;
    int64_t wait;
    uint64_t word;
    int i;

    skl_assert(skl_state_kind(two.a) == SECKILL_BREAKER_HALF_OPEN);
    skl_breaker_numbers(a->b, &n);
    if (settle(a->b, two, &n, a->now)) {
        return AGAIN;
    }
    wait = n.lease_ns;
    i = take_probe(a->b, generation, &n, a->now, &word, &wait);
    if (!is_now(a->b, generation)) {
        return AGAIN; /* a probe of a generation that is over: nobody's */
    }
    if (i < 0) {
        return refuse_or_count(a, &n, generation, wait);
    }
    *a->permit = permit_of(a->b, PERMIT_PROBE, generation, (uint32_t)i,
                           probe_serial(word));
    count(a->b, SKL_BREAKER_ALLOWED);
    return SECKILL_OK;
}

static int ask_forced_open(const ask_t *a)
{
    skl_breaker_numbers_t n;

    skl_breaker_numbers(a->b, &n);
    return refuse(a, n.open_ns);
}

static int ask(const ask_t *a)
{
    const skl_two_t two = skl_pair_load(&a->b->record->state);

    switch (skl_state_kind(two.a)) {
    case SECKILL_BREAKER_OPEN:
        return ask_open(a, two);
    case SECKILL_BREAKER_HALF_OPEN:
        return ask_half_open(a, two);
    case SECKILL_BREAKER_FORCED_OPEN:
        return ask_forced_open(a);
    case SECKILL_BREAKER_DISABLED:
        return admit(a, PERMIT_FREE, skl_state_generation(two.a));
    default:
        return ask_closed(a, two);
    }
}

int skl_breaker_allow(skl_breaker_t *b, int64_t now_ns, uint64_t *permit,
                      int64_t *retry_ns)
{
    const ask_t a = {b, now_ns, permit, retry_ns};
    int rc;

    skl_assert(now_ns > 0);
    do {
        rc = ask(&a); /* again only when the state has moved on */
    } while (rc == AGAIN);
    return rc;
}

/* ---- Report -------------------------------------------------------------- */

static int end_normal(skl_breaker_t *b, const permit_t *p, uint64_t counts,
                      const skl_breaker_numbers_t *n, int64_t now)
{
    const uint64_t word = skl_pair_load(&b->record->state).a;
    const int ok = (counts & COUNT_MASK) == 0;
    uint64_t streak = 0;

    skl_assert(p->kind == PERMIT_NORMAL && now > 0);
    if (skl_state_generation(word) != p->generation) {
        return 0;
    }
    add_to_window(b, n, p->generation, counts, now);
    if (n->consecutive > 0) {
        streak = add_to_streak(b, p->generation, ok);
    }
    if (skl_state_kind(word) == SECKILL_BREAKER_CLOSED &&
        must_trip(b, n, p->generation, streak, now)) {
        trip(b, n, p->generation, now);
    }
    return 1;
}

/* Is the probe that is out still the one of this permit? */
static int is_of(uint64_t word, const permit_t *p)
{
#ifdef MUTANT_BREAKER_STALE_PROBE
    (void)p;
    return probe_status(word) == PROBE_OUT;
#else
    return is_out(word, p->generation) && probe_serial(word) == p->serial;
#endif
}

/* The end of a probe, unless it is over already: 1, or 0. */
static int end_probe(skl_breaker_t *b, const permit_t *p, int status,
                     int64_t now)
{
    skl_pair_t *probe = &b->record->probe[p->probe];
    skl_two_t old, new;

    skl_assert(p->kind == PERMIT_PROBE && p->probe < SKL_BREAKER_PROBES);
    do {
        old = skl_pair_load(probe);
        if (!is_of(old.a, p)) {
            return 0;
        }
        new.a = with_status(old.a, now < (int64_t)old.b ? status : PROBE_BAD);
        new.b = old.b;
    } while (!skl_pair_swap(probe, old, new));
    if (now >= (int64_t) new.b) {
        note(b, SKL_BREAKER_EXPIRED);
    }
    return 1;
}

/* What a probe left is looked at. */
static void settle_now(skl_breaker_t *b, const skl_breaker_numbers_t *n,
                       int64_t now)
{
    const skl_two_t two = skl_pair_load(&b->record->state);

    if (skl_state_kind(two.a) == SECKILL_BREAKER_HALF_OPEN) {
        (void)settle(b, two, n, now);
    }
}

static int is_current(skl_breaker_t *b, const permit_t *p)
{
#ifdef MUTANT_BREAKER_STALE_PROBE
    (void)p;
    return skl_state_kind(skl_pair_load(&b->record->state).a) ==
           SECKILL_BREAKER_HALF_OPEN;
#else
    return is_now(b, p->generation);
#endif
}

static int report_probe(skl_breaker_t *b, const permit_t *p, int status,
                        const skl_breaker_numbers_t *n, int64_t now)
{
    if (!is_current(b, p) || !end_probe(b, p, status, now)) {
        return 0;
    }
    settle_now(b, n, now);
    return 1;
}

int skl_breaker_report(skl_breaker_t *b, uint64_t permit, int ok,
                       int64_t latency_ns, int64_t now_ns)
{
    skl_breaker_numbers_t n;
    permit_t p;
    int slow, counted;

    if (!read_permit(b, permit, &p)) {
        return SECKILL_EBADVALUE;
    }
    skl_breaker_numbers(b, &n);
    slow = n.slow_ns > 0 && latency_ns > n.slow_ns;
    count(b, ok ? SKL_BREAKER_SUCCEEDED : SKL_BREAKER_FAILED);
    if (slow) {
        count(b, SKL_BREAKER_SLOW);
    }
    if (p.kind == PERMIT_FREE) {
        return 0;
    }
    if (p.kind == PERMIT_PROBE) {
        const int good = ok && !(slow && n.slow_ratio > 0);

        counted =
            report_probe(b, &p, good ? PROBE_GOOD : PROBE_BAD, &n, now_ns);
    } else {
        counted = end_normal(
            b, &p, CALL_ONE + (slow ? SLOW_ONE : 0) + (ok ? 0 : ERROR_ONE), &n,
            now_ns);
    }
    if (!counted) {
        count(b, SKL_BREAKER_STALE);
    }
    return counted;
}

int skl_breaker_cancel(skl_breaker_t *b, uint64_t permit, int64_t now_ns)
{
    skl_breaker_numbers_t n;
    permit_t p;

    if (!read_permit(b, permit, &p)) {
        return SECKILL_EBADVALUE;
    }
    count(b, SKL_BREAKER_CANCELLED);
    if (p.kind != PERMIT_PROBE) {
        return 1; /* nothing is counted before the end of a call */
    }
    skl_breaker_numbers(b, &n);
    return report_probe(b, &p, PROBE_FREE, &n, now_ns);
}

/* ---- State --------------------------------------------------------------- */

int skl_breaker_state(skl_breaker_t *b, int64_t now_ns)
{
    skl_breaker_numbers_t n;
    skl_two_t two = skl_pair_load(&b->record->state);

    if (skl_state_kind(two.a) == SECKILL_BREAKER_HALF_OPEN) {
        skl_breaker_numbers(b, &n);
        settle_now(b, &n, now_ns);
        two = skl_pair_load(&b->record->state);
    }
    return skl_state_kind(two.a);
}

static int is_forced(int kind)
{
    return kind >= SECKILL_BREAKER_FORCED_OPEN &&
           kind <= SECKILL_BREAKER_DISABLED;
}

int skl_breaker_force(skl_breaker_t *b, int kind, int64_t now_ns)
{
    skl_breaker_numbers_t n;
    skl_two_t two;
    int to, ramps;

    if (kind != 0 && !is_forced(kind)) {
        return SECKILL_EBADOPTION;
    }
    do {
        two = skl_pair_load(&b->record->state);
        if (skl_state_kind(two.a) == kind ||
            (kind == 0 && !is_forced(skl_state_kind(two.a)))) {
            return SECKILL_OK;
        }
        skl_breaker_numbers(b, &n);
        to = kind != 0 ? kind : SECKILL_BREAKER_CLOSED;
        ramps = kind == 0 && n.ramp_ns > 0 &&
                skl_state_kind(two.a) == SECKILL_BREAKER_FORCED_OPEN;
    } while (!enter(b, two, to, 0, ramps, now_ns));
    return SECKILL_OK;
}

static uint64_t counted(const skl_breaker_t *b, int what)
{
    uint64_t sum = 0;

    for (int i = 0; i < SKL_STRIPES; i++) {
        sum += atomic_load_explicit(&b->record->stripe[i].count[what],
                                    memory_order_relaxed);
    }
    return sum;
}

static uint64_t noted(const skl_breaker_t *b, int event)
{
    return atomic_load_explicit(&b->record->event[event], memory_order_relaxed);
}

static void fill_counts(const skl_breaker_t *b, seckill_breaker_stats_t *out)
{
    out->allowed = counted(b, SKL_BREAKER_ALLOWED);
    out->rejected = counted(b, SKL_BREAKER_REJECTED);
    out->shadow = counted(b, SKL_BREAKER_SHADOWED);
    out->succeeded = counted(b, SKL_BREAKER_SUCCEEDED);
    out->failed = counted(b, SKL_BREAKER_FAILED);
    out->slow = counted(b, SKL_BREAKER_SLOW);
    out->stale = counted(b, SKL_BREAKER_STALE);
    out->cancelled = counted(b, SKL_BREAKER_CANCELLED);
    out->opened = noted(b, SKL_BREAKER_OPENED);
    out->half_opened = noted(b, SKL_BREAKER_PROBED);
    out->closed = noted(b, SKL_BREAKER_CLOSED);
    out->expired = noted(b, SKL_BREAKER_EXPIRED);
}

void skl_breaker_stats(skl_breaker_t *b, int64_t now_ns,
                       seckill_breaker_stats_t *out)
{
    skl_breaker_numbers_t n;
    skl_two_t two;
    sums_t s;

    memset(out, 0, sizeof(*out));
    out->state = (uint32_t)skl_breaker_state(b, now_ns);
    fill_counts(b, out);
    skl_breaker_numbers(b, &n);
    two = skl_pair_load(&b->record->state);
    s = sum_window(b, &n, skl_state_generation(two.a), now_ns);
    out->calls = s.calls;
    out->errors = s.errors;
    out->slows = s.slows;
    out->doublings = skl_state_doublings(two.a);
    if (out->state == SECKILL_BREAKER_OPEN && now_ns < (int64_t)two.b) {
        out->retry_ns = (int64_t)two.b - now_ns;
    }
}
