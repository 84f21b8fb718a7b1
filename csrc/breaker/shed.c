/* What a shedder does at each request; see shed.h. */
#include "breaker/shed.h"

#include "breaker/shed_numbers.h"

#include <math.h>

/* A bucket: {stamp; passes (20 bits), sum of their times (44 bits, 64 ns)}. */
enum { TIME_BITS = 44, TIME_SHIFT = 6, PASS_MAX = (1 << 20) - 1 };
#define TIME_MASK ((UINT64_C(1) << TIME_BITS) - 1)
#define TIME_LONGEST (INT64_C(86400) * 1000000000)

/* shedder (6 bits), priority (2), row (9), time of admission (35 bits, us),
 * and one bit that is always set: 53 bits. */
enum { STAMP_BITS = 35 };
/* How much R may grow, and P shrink, in a second; how many times R says that
 * there is a queue. */
#define DRIFT 0.01
#define QUEUEING 1.5
/* The line: standard deviations of how many come at once. */
#define DEVIATIONS 3

#define STAMP_MASK ((UINT64_C(1) << STAMP_BITS) - 1)

typedef struct {
    uint64_t of[SECKILL_PRIORITIES];
    uint64_t all;
} inflight_t;

static void count(skl_shed_t *s, uint32_t what)
{
    const skl_counters_t *c = s->sheds->counters;
    const size_t stripe = (size_t)(c->mine - c->shm->stripes);

    skl_assert(stripe < SKL_STRIPES && what < SKL_SHED_COUNTS);
    atomic_fetch_add_explicit(&s->record->stripe[stripe].count[what], 1,
                              memory_order_relaxed);
}

/* ---- The window ---------------------------------------------------------- */

static uint64_t stamp_at(const skl_shed_numbers_t *n, int64_t now)
{
    return skl_stamp(0, n->scale, (uint64_t)now / (uint64_t)n->bucket_ns);
}

/* Another request in a bucket; one that is full stays as it is. */
static uint64_t with_pass(uint64_t value, uint64_t time)
{
    const uint64_t passes = value >> TIME_BITS;
    const uint64_t sum = (value & TIME_MASK) + time;

    skl_assert(passes <= PASS_MAX && time <= TIME_MASK);
    if (passes == PASS_MAX || sum > TIME_MASK) {
        return value;
    }
    return (passes + 1) << TIME_BITS | sum;
}

/* Passes and the sum of their times, in ns. */
typedef struct {
    double passes, time;
    int buckets; /* that were not empty */
} sum_t;

/* What a window says. */
typedef struct {
    double most; /* passes in the best bucket */
    sum_t all;
    sum_t group[SKL_SHED_GROUPS + 1];
} view_t;

static double mean_ns(const sum_t *s)
{
    double mean = s->time / s->passes;

    skl_assert(s->passes >= 1);
#ifdef MUTANT_SHED_MILLISECONDS
    mean = 1e6 * (double)((int64_t)(mean / 1e6) + 1);
#endif
    return mean > 1 ? mean : 1;
}

static void add_to(sum_t *s, uint64_t value)
{
    s->passes += (double)(value >> TIME_BITS);
    s->time += (double)((value & TIME_MASK) << TIME_SHIFT);
    s->buckets += value != 0;
}

/* Read the window that ends now. Group 0 is that of this moment. */
static void look(skl_shed_t *s, const skl_shed_numbers_t *n, int64_t now,
                 view_t *out)
{
    const uint64_t index = (uint64_t)now / (uint64_t)n->bucket_ns;
    const uint64_t stamp = stamp_at(n, now);

    memset(out, 0, sizeof(*out));
    for (uint64_t age = 0; age < SKL_SHED_BUCKETS && age <= index; age++) {
        const uint64_t at = index - age;
        skl_two_t two =
            skl_pair_load(&s->record->bucket[at % SKL_SHED_BUCKETS]);
        double passes = (double)(two.b >> TIME_BITS);

        if (two.a != stamp - age) {
            continue;
        }
        out->most = passes > out->most ? passes : out->most;
        add_to(&out->all, two.b);
        add_to(&out->group[index / SKL_SHED_GROUP - at / SKL_SHED_GROUP],
               two.b);
    }
}

/* R of a window: the least mean of a group that is whole; 0: there is none,
 * for it has just begun, or requests are few. */
static double least_of(const view_t *v)
{
    double least = 0;

    for (int g = 1; g < SKL_SHED_GROUPS; g++) {
        if (v->group[g].buckets == SKL_SHED_GROUP &&
            (least <= 0 || mean_ns(&v->group[g]) < least)) {
            least = mean_ns(&v->group[g]);
        }
    }
    return least;
}

/* P and R that are remembered, as one word: P as passes in a second, so that it
 * stays true when the length of a bucket changes. */
typedef struct {
    float most, least;
} known_t;

skl_static_assert(sizeof(known_t) == 8, "one word");

static known_t known_in(skl_two_t two)
{
    known_t k;

    memcpy(&k, &two.b, sizeof(k));
    return k;
}

/* Is the host far from its limits? */
static int is_calm(skl_shed_t *s, const skl_shed_numbers_t *n, int64_t now)
{
    const int64_t last =
        atomic_load_explicit(&s->record->last_drop, memory_order_relaxed);
    int64_t age;
    double cpu = skl_gauge_peek(s->sheds->gauge, now, &age);

    return (last == 0 || now - last > n->bucket_ns * SKL_SHED_BUCKETS) &&
           (n->cpu_high <= 0 || cpu < n->cpu_low || age > SKL_GAUGE_STALE_NS);
}

/* A longer R is believed in calm times only: else it is the queue. */
static double next_least(const known_t *k, double here, double drift, int calm)
{
    double least = calm ? (double)k->least * (1 + drift) : (double)k->least;

    return k->least > 0 && least < here ? least : here;
}

/* A lower P is believed in calm times, too, or if what is done takes longer
 * than R: else it is we who keep the rest out. */
static double next_most(const known_t *k, const view_t *v, double least,
                        double drift, int calm)
{
    double most = calm ? (double)k->most * (1 - drift) : (double)k->most;

    if (v->all.passes < 1 || mean_ns(&v->all) > QUEUEING * least) {
        return v->most;
    }
    return most > v->most ? most : v->most;
}

/* Once in each bucket: remember P and R. */
static void remember(skl_shed_t *s, const skl_shed_numbers_t *n, int64_t now)
{
    const skl_two_t old = skl_pair_load(&s->record->known);
    const double passed = (double)(now - (int64_t)old.a) / 1e9;
    const double drift = passed < 100 ? passed * DRIFT : 1;
    const int calm = is_calm(s, n, now);
    known_t k = known_in(old);
    skl_two_t new = {(uint64_t)now, 0};
    double here;
    view_t v;

    skl_assert(n->bucket_ns > 0 && now > 0);
    look(s, n, now, &v);
    here = least_of(&v);
    if (here <= 0 || passed <= 0) {
        return;
    }
    here = next_least(&k, here, drift, calm);
    k.most *= (float)n->bucket_ns / 1e9F;
    k.most = (float)next_most(&k, &v, here, drift, calm);
    k.most /= (float)n->bucket_ns / 1e9F;
    k.least = (float)here;
    memcpy(&new.b, &k, sizeof(k));
    /* Lost when somebody else was first: he has seen the same. */
    (void)skl_pair_swap(&s->record->known, old, new);
}

/* Is what a bucket holds later than what we want to put there? When it is of
 * another window, then it is if that of our numbers is over. */
static int is_later(skl_shed_t *s, uint64_t of, uint64_t stamp,
                    const skl_shed_numbers_t *n)
{
    skl_shed_numbers_t here;

    if (skl_stamp_is_same_window(of, stamp)) {
        return of > stamp;
    }
    skl_shed_numbers(s, &here);
    return here.scale != n->scale;
}

static void add_pass(skl_shed_t *s, int64_t latency_ns, int64_t now)
{
    skl_shed_numbers_t n;
    skl_pair_t *bucket;
    skl_two_t old, new;

    skl_shed_numbers(s, &n);
    latency_ns = latency_ns < TIME_LONGEST ? latency_ns : TIME_LONGEST;
    new.a = stamp_at(&n, now);
    bucket =
        &s->record
             ->bucket[(uint64_t)now / (uint64_t)n.bucket_ns % SKL_SHED_BUCKETS];
    do {
        old = skl_pair_load(bucket);
        if (is_later(s, old.a, new.a, &n)) {
            return; /* the window has moved on meanwhile */
        }
        new.b = with_pass(old.a == new.a ? old.b : 0,
                          (uint64_t)latency_ns >> TIME_SHIFT);
    } while (!skl_pair_swap(bucket, old, new));
    if (old.a != new.a) {
        remember(s, &n, now);
    }
}

static double limit_of(skl_shed_t *s, const skl_shed_numbers_t *n, int64_t now,
                       double *least)
{
    const known_t k = known_in(skl_pair_load(&s->record->known));
    const double known = (double)k.most * (double)n->bucket_ns / 1e9;
    double most;
    view_t v;

    look(s, n, now, &v);
    most = v.most;
    *least = least_of(&v);
    if (*least <= 0 && v.all.passes > 0) {
        *least = mean_ns(&v.all);
    }
    if (v.all.passes > 0 && k.least > 0) {
        *least = (double)k.least < *least ? (double)k.least : *least;
        most = known > most ? known : most;
    }
    return most * *least / (double)n->bucket_ns;
}

double skl_shed_limit(skl_shed_t *s, int64_t now_ns, int64_t *min_rt_ns)
{
    skl_shed_numbers_t n;
    double least, limit;

    skl_shed_numbers(s, &n);
    limit = limit_of(s, &n, now_ns, &least);
    *min_rt_ns = (int64_t)least;
    return limit;
}

/* ---- In flight ----------------------------------------------------------- */

static void sum_row(const skl_shed_row_t *row, inflight_t *q)
{
    for (int p = 0; p < SECKILL_PRIORITIES; p++) {
        uint32_t here;

        SKL_PAIR_STEP();
        here = atomic_load(&row->inflight[p]);
        q->of[p] += here;
        q->all += here;
    }
}

static inflight_t sum_rows(const skl_shed_t *s)
{
    const uint32_t top = atomic_load(&s->sheds->shm->top);
    inflight_t q = {{0}, 0};

    skl_assert(top <= SKL_SHED_ROWS);
    for (uint32_t i = 0; i < top; i++) {
        sum_row(&s->record->row[i], &q);
    }
    sum_row(&s->record->row[SKL_SHED_SHARED], &q);
    return q;
}

/* Whoever sums up from now on sees this row. */
static void show_row(skl_sheds_t *l, uint32_t row)
{
    uint32_t top = atomic_load_explicit(&l->shm->top, memory_order_acquire);

    while (row != SKL_SHED_SHARED && top <= row &&
           !atomic_compare_exchange_weak(&l->shm->top, &top, row + 1)) {
    }
}

/* 1, or 0: there was none. */
static int leave(skl_shed_row_t *row, uint32_t priority)
{
    uint32_t here = atomic_load(&row->inflight[priority]);

    skl_assert(priority < SECKILL_PRIORITIES);
    while (here > 0 && !atomic_compare_exchange_weak(&row->inflight[priority],
                                                     &here, here - 1)) {
    }
    return here > 0;
}

void skl_sheds_reap(skl_sheds_t *l, uint32_t row)
{
    skl_assert(row < SKL_SHED_ROWS);
    for (uint32_t i = 0; i < skl_sheds_count(l); i++) {
        skl_shed_record_t *r = &l->records[i];

        for (int p = 0; p < SECKILL_PRIORITIES; p++) {
            atomic_fetch_add(&r->lost,
                             atomic_exchange(&r->row[row].inflight[p], 0));
        }
    }
}

/* ---- The verdict --------------------------------------------------------- */

/* Does the CPU ask for less? */
static int is_shedding(skl_shed_t *s, const skl_shed_numbers_t *n, int64_t now)
{
    const int64_t last =
        atomic_load_explicit(&s->record->last_drop, memory_order_relaxed);
    double cpu;

    if (n->cpu_high <= 0) {
        return 0;
    }
    cpu = skl_gauge_read(s->sheds->gauge, now);
    if (cpu < 0) {
        count(s, SKL_SHED_STALE);
        return 0;
    }
    return cpu >= n->cpu_high ||
           (cpu >= n->cpu_low && last != 0 && now - last < n->cool_ns);
}

/* Are too many in flight for one more of this priority, who is in `q` already
 * (unless its row was cleared meanwhile), but does not count? Its own share is
 * always its; of the rest it has what the higher leave. */
static int is_over(const inflight_t *q, uint32_t priority, double limit,
                   const skl_shed_numbers_t *n)
{
    double kept = 0;

    skl_assert(priority < SECKILL_PRIORITIES - 1);
    skl_assert(q->all >= q->of[priority]);
    limit = limit > 1 ? limit : 1;
    if ((double)q->of[priority] <= n->reserve[priority] * limit) {
        return 0;
    }
    for (uint32_t p = priority + 1; p < SECKILL_PRIORITIES - 1; p++) {
        double unused = n->reserve[p] * limit - (double)q->of[p];

        kept += unused > 0 ? unused : 0;
    }
    return (double)q->all - 1 + kept > limit;
}

/* M in flight keep the host busy if they come evenly. They do not: without a
 * line, the servers are idle after each gap. */
static double with_line(double limit)
{
    skl_assert(limit >= 0);
#ifdef MUTANT_SHED_NO_LINE
    return limit;
#else
    return limit + DEVIATIONS * sqrt(limit);
#endif
}

static int must_drop(skl_shed_t *s, const skl_shed_numbers_t *n,
                     uint32_t priority, int64_t now)
{
    const int shedding = is_shedding(s, n, now);
    const int sheddable = priority < SECKILL_PRIORITIES - 1;
    inflight_t q;
    double least;

    if (!shedding && n->max_inflight == 0) {
        return 0;
    }
    q = sum_rows(s);
    if (n->max_inflight > 0 &&
        (q.all > n->max_inflight ||
         (sheddable && is_over(&q, priority, (double)n->max_inflight, n)))) {
        return 1;
    }
    return shedding && sheddable &&
           is_over(&q, priority, with_line(limit_of(s, n, now, &least)), n);
}

static void note_drop(skl_shed_t *s, int64_t now)
{
    int64_t last =
        atomic_load_explicit(&s->record->last_drop, memory_order_relaxed);

#ifdef MUTANT_SHED_LAST_DROP
    if (last != 0) {
        return;
    }
#endif
    while (last < now &&
           !atomic_compare_exchange_weak(&s->record->last_drop, &last, now)) {
    }
}

static uint64_t permit_of(const skl_shed_t *s, uint32_t row, uint32_t priority,
                          int64_t now)
{
    const uint64_t us = ((uint64_t)now / 1000) & STAMP_MASK;

    skl_assert(s->index < SKL_SHEDS_MAX && row <= SKL_SHED_SHARED);
    return s->index | priority << 6 | row << 8 | us << 17 | UINT64_C(1) << 52;
}

int skl_shed_admit(skl_shed_t *s, int row, uint32_t priority, int64_t now_ns,
                   uint64_t *permit, int64_t *retry_ns)
{
    const uint32_t at = row < 0 ? SKL_SHED_SHARED : (uint32_t)row;
    skl_shed_numbers_t n;
    int rc;

    skl_assert(row < SKL_SHED_ROWS && now_ns > 0);
    if (priority >= SECKILL_PRIORITIES) {
        return SECKILL_EBADVALUE;
    }
    skl_shed_numbers(s, &n);
    show_row(s->sheds, at);
#ifdef MUTANT_SHED_COUNT_LATE
    rc = must_drop(s, &n, priority, now_ns);
    atomic_fetch_add(&s->record->row[at].inflight[priority], 1);
#else
    SKL_PAIR_STEP();
    atomic_fetch_add(&s->record->row[at].inflight[priority], 1);
    rc = must_drop(s, &n, priority, now_ns);
#endif
    if (rc != 0) {
        note_drop(s, now_ns);
        if (n.mode != SECKILL_LIMIT_SHADOW) {
            (void)leave(&s->record->row[at], priority);
            count(s, SKL_SHED_DROPPED + priority);
            *permit = 0;
            *retry_ns = n.cool_ns;
            return SECKILL_EOVERLOADED;
        }
        count(s, SKL_SHED_SHADOWED);
    }
    count(s, SKL_SHED_ADMITTED + priority);
    *permit = permit_of(s, at, priority, now_ns);
    return SECKILL_OK;
}

/* The one who had this permit leaves: 1, 0 or EBADVALUE. */
static int leave_by(skl_shed_t *s, uint64_t permit)
{
    const uint32_t priority = permit >> 6 & 3, row = permit >> 8 & 511;

    if (permit >> 52 != 1 || (permit & 63) != s->index ||
        row > SKL_SHED_SHARED) {
        return SECKILL_EBADVALUE;
    }
    return leave(&s->record->row[row], priority);
}

int skl_shed_cancel(skl_shed_t *s, uint64_t permit)
{
    return leave_by(s, permit);
}

int skl_shed_done(skl_shed_t *s, uint64_t permit, int ok, int64_t latency_ns,
                  int64_t now_ns)
{
    const uint64_t us = ((uint64_t)now_ns / 1000 - (permit >> 17)) & STAMP_MASK;
    const int rc = leave_by(s, permit);

    if (rc != 1) {
        return rc;
    }
    count(s, ok ? SKL_SHED_SUCCEEDED : SKL_SHED_FAILED);
    if (ok) {
        add_pass(s, latency_ns < 0 ? (int64_t)us * 1000 : latency_ns, now_ns);
    }
    return 1;
}

/* ---- Statistics ---------------------------------------------------------- */

static uint64_t counted(const skl_shed_t *s, int what)
{
    uint64_t sum = 0;

    for (int i = 0; i < SKL_STRIPES; i++) {
        sum += atomic_load_explicit(&s->record->stripe[i].count[what],
                                    memory_order_relaxed);
    }
    return sum;
}

static int would_shed(skl_shed_t *s, double cpu, int64_t age, int64_t now)
{
    const int64_t last = atomic_load(&s->record->last_drop);
    skl_shed_numbers_t n;

    skl_shed_numbers(s, &n);
    return n.cpu_high > 0 && age >= 0 && age <= SKL_GAUGE_STALE_NS &&
           (cpu >= n.cpu_high ||
            (cpu >= n.cpu_low && last != 0 && now - last < n.cool_ns));
}

void skl_shed_stats(skl_shed_t *s, int64_t now_ns, seckill_shedder_stats_t *out)
{
    const inflight_t q = sum_rows(s);

    memset(out, 0, sizeof(*out));
    for (int p = 0; p < SECKILL_PRIORITIES; p++) {
        out->admitted[p] = counted(s, SKL_SHED_ADMITTED + p);
        out->shed[p] = counted(s, SKL_SHED_DROPPED + p);
        out->inflight[p] = q.of[p];
    }
    out->shadow = counted(s, SKL_SHED_SHADOWED);
    out->succeeded = counted(s, SKL_SHED_SUCCEEDED);
    out->failed = counted(s, SKL_SHED_FAILED);
    out->stale = counted(s, SKL_SHED_STALE);
    out->lost = atomic_load(&s->record->lost);
    out->cpu = skl_gauge_peek(s->sheds->gauge, now_ns, &out->cpu_age_ns);
    out->limit = skl_shed_limit(s, now_ns, &out->min_rt_ns);
    out->shedding = (uint32_t)would_shed(s, out->cpu, out->cpu_age_ns, now_ns);
}
