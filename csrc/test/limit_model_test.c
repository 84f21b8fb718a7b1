/*
 * Every algorithm of the limiters against an oracle in integers.
 *
 * A trace asks one limiter about a few keys at random: takes and peeks of all
 * costs, undo of old and new tickets, live changes, overrides, on a clock that
 * stands still, runs, leaps, aims at the very nanosecond at which an answer
 * should turn, and steps back. The oracle of each algorithm is written from
 * what the algorithm promises, not from the code: rates are the exact values
 * of the doubles given, instants do not wrap.
 *
 * Where the promise leaves room (how much an undo that comes late gives back,
 * how far the end of a fixed window is rounded up, when a debt from before a
 * change is cut) the oracle keeps a span of states, lo (the most that could be
 * admitted) to hi, takes any answer that some state of the span would give,
 * and cuts the span down by what the answer tells. A span of one state, the
 * usual case, means that every field of every answer is exact.
 *
 * A refusal with a retry is followed up: a peek at now + retry must pass, one
 * a nanosecond before must not.
 *
 * Left out, as nobody promises it: years without a sweep; tickets of windows
 * that are older than 400 days; changes of numbers by a clock that is behind;
 * and an undo by such a clock is held to its own charge alone, not to what the
 * key would have had without the take.
 */
#include "test/support/limits.h"

#define SPENT (-((wide_t)1 << 100)) /* an instant before all others */
#define AWAY ((wide_t)1 << 100)

enum { KEYS_MAX = 40, LOG = 24, STAMPS = 64, COMPLAINTS = 3 };

typedef struct {
    wide_t lo, hi;
} span_t;

/* A rule as the oracle understands it: units of 1/256 ns. */
typedef struct {
    wide_t interval, burst, nodelay;
    wide_t max_delay; /* AWAY: none */
    int64_t limit;
} numbers_t;

/* What was done to a key and may be undone. */
typedef struct {
    int is_cut; /* a change of numbers: no debt above `charge` from then on */
    int undone;
    int64_t at; /* ns */
    wide_t charge;
    int64_t cost;
    wide_t window; /* its end, or its number */
    uint64_t serial;
    skl_limit_ticket_t ticket;
} entry_t;

typedef struct {
    int64_t at;
    uint64_t serial;
} stamp_t;

typedef struct {
    char name[16];
    int has_own; /* an override */
    numbers_t own;
    int64_t aim;    /* an instant at which something should change */
    int64_t newest; /* the latest instant that it was asked at */
    /* Buckets. */
    span_t tat;
    wide_t debt_until; /* a TAT up to here may stem from other numbers */
    int undid;         /* an undo came after the last take */
    int was_back;      /* undone, or cut, by a clock that was behind */
    entry_t log[LOG];
    int entries;
    wide_t base; /* TAT by all that has left the log */
    /* Windows. */
    wide_t id, end;
    int64_t count;
    span_t prev;
    stamp_t stamps[STAMPS];
    int n_stamps;
} model_key_t;

typedef struct {
    lim_world_t w;
    skl_limiter_t *lim;
    uint32_t algorithm;
    int64_t window; /* ns */
    int rate;       /* index of the rate in force */
    seckill_limit_t limit;
    numbers_t numbers;
    model_key_t keys[KEYS_MAX];
    int n_keys;
    uint64_t *seed;
    int64_t now, start, newest, changed;
    int changes, steps_back, churns;
    uint64_t serial, wrong, answers, exact;
} trace_t;

/* ---- Complaints ---------------------------------------------------------- */

static int complain(trace_t *t, const model_key_t *k, const skl_limit_ask_t *a,
                    int rc, const char *what)
{
    if (t->wrong++ < COMPLAINTS) {
        printf("# algorithm %u window %" PRId64 " rate %.9g burst %.9g limit "
               "%.9g key %s at %" PRId64 ": %s\n",
               t->algorithm, t->window, t->limit.rate, t->limit.burst,
               t->limit.limit, k->name, t->now, what);
        printf("#   cost %u commit %d at %" PRId64 ": rc %d remaining %" PRIu64
               " retry %" PRId64 " delay %" PRId64 " reset %" PRId64 "\n",
               a->cost, a->commit, a->now_ns, rc, a->remaining, a->retry_ns,
               a->delay_ns, a->reset_ns);
        printf(
            "#   debt %.17g .. %.17g ns, own numbers %d, may change %d, step "
            "back %d, churn %d\n",
            (double)(k->tat.lo - (wide_t)a->now_ns * NS_UNITS) / NS_UNITS,
            (double)(k->tat.hi - (wide_t)a->now_ns * NS_UNITS) / NS_UNITS,
            k->has_own, t->changes, t->steps_back, t->churns);
    }
    return 0;
}

static const numbers_t *numbers_of(const trace_t *t, const model_key_t *k)
{
    return k->has_own ? &k->own : &t->numbers;
}

/* ---- Spans --------------------------------------------------------------- */

/* Keep what lies within lo .. hi; 0: nothing does. */
static int cut(span_t *s, wide_t lo, wide_t hi)
{
    s->lo = wide_max(s->lo, lo);
    s->hi = wide_min(s->hi, hi);
    return s->lo <= s->hi;
}

/* x, of which ceil((x - from) / 256) is `ns`. */
static int cut_ns(span_t *s, wide_t from, int64_t ns)
{
    return cut(s, from + (wide_t)(ns - 1) * NS_UNITS + 1,
               from + (wide_t)ns * NS_UNITS);
}

/* ---- Buckets ------------------------------------------------------------- */

static wide_t depth_at(wide_t tat, int64_t now)
{
    return wide_max(tat - (wide_t)now * NS_UNITS, 0);
}

/* The deepest bucket that still admits a charge. */
static wide_t room_of(const trace_t *t, const numbers_t *n, wide_t charge)
{
    wide_t room = n->burst - charge;

    if (t->algorithm == SECKILL_LEAKY_BUCKET) {
        room = wide_min(room, n->nodelay + n->max_delay);
    }
    return room;
}

/* What an admission told of the depth before it. */
static int cut_by_admission(const trace_t *t, const numbers_t *n,
                            const skl_limit_ask_t *a, wide_t charge,
                            span_t *depth)
{
    wide_t left = n->burst - charge - (wide_t)a->remaining * n->interval;
    int good = cut(depth, 0, room_of(t, n, charge)) &&
               cut(depth, left - n->interval + 1, left) &&
               cut_ns(depth, -charge, a->reset_ns);

    if (!good || t->algorithm != SECKILL_LEAKY_BUCKET) {
        return good && a->delay_ns == 0;
    }
    if (a->delay_ns == 0) {
        return cut(depth, 0, n->nodelay);
    }
    return cut_ns(depth, n->nodelay, a->delay_ns);
}

static int cut_by_answer(const trace_t *t, const numbers_t *n,
                         const skl_limit_ask_t *a, int rc, wide_t charge,
                         span_t *depth)
{
    wide_t room = room_of(t, n, charge);

    if (rc == SECKILL_OK) {
        return cut_by_admission(t, n, a, charge, depth);
    }
    return rc == SECKILL_EREJECTED && cut(depth, room + 1, AWAY) &&
           cut_ns(depth, room, a->retry_ns) && cut_ns(depth, 0, a->reset_ns);
}

static void remember(trace_t *t, model_key_t *k, entry_t e)
{
    e.serial = ++t->serial;
    if (k->entries == LOG) {
        const entry_t *old = &k->log[0];

        if (old->is_cut) {
            k->base =
                wide_min(k->base, (wide_t)old->at * NS_UNITS + old->charge);
        } else if (!old->undone) {
            k->base =
                wide_max(k->base, (wide_t)old->at * NS_UNITS) + old->charge;
        }
        memmove(&k->log[0], &k->log[1], sizeof(k->log[0]) * (LOG - 1));
        k->entries--;
    }
    k->log[k->entries++] = e;
}

/* TAT of a bucket that never saw what was undone. */
static wide_t as_if_never(const model_key_t *k)
{
    wide_t tat = k->base;

    for (int i = 0; i < k->entries; i++) {
        const entry_t *e = &k->log[i];
        wide_t at = (wide_t)e->at * NS_UNITS;

        if (e->is_cut) {
            tat = wide_min(tat, at + e->charge);
        } else if (!e->undone) {
            tat = wide_max(tat, at) + e->charge;
        }
    }
    return tat;
}

static int bucket_answer(trace_t *t, model_key_t *k, skl_limit_ask_t *a, int rc)
{
    const numbers_t *n = numbers_of(t, k);
    wide_t charge = n->interval * a->cost;
    wide_t now = (wide_t)a->now_ns * NS_UNITS;
    span_t depth = {depth_at(k->tat.lo, a->now_ns),
                    depth_at(k->tat.hi, a->now_ns)};
    int is_deep = depth.hi > n->burst && k->tat.lo <= k->debt_until;
    span_t was;

    if (charge > n->burst) {
        return rc == SECKILL_EREJECTED && a->retry_ns == -1;
    }
    if (is_deep) { /* a debt from before: it may count as a used-up burst */
        depth.lo = wide_min(depth.lo, n->burst);
    }
    was = depth;
    if (!cut_by_answer(t, n, a, rc, charge, &depth)) {
        return 0;
    }
    t->answers++;
    t->exact += was.lo == was.hi;
    k->was_back |= is_deep && t->steps_back;
    k->undid |= is_deep;
    if (rc == SECKILL_OK && a->commit) {
        k->tat = (span_t){now + depth.lo + charge, now + depth.hi + charge};
        k->undid = 0;
    } else if (depth.lo > 0) {
        k->tat.lo = now + depth.lo;
    }
    if (!a->commit || rc != SECKILL_OK) {
        if (!is_deep || a->commit || depth.hi < n->burst ||
            depth.lo > n->burst) {
            k->tat.hi =
                depth.hi > 0 ? now + depth.hi : wide_min(k->tat.hi, now);
        }
    }
    if (rc == SECKILL_OK && a->commit) {
        remember(t, k,
                 (entry_t){.at = a->now_ns, .charge = charge, .cost = a->cost});
    }
    return 1;
}

/* A change of numbers: debts stay, but none counts for more than the burst. */
static void bucket_change(trace_t *t, model_key_t *k)
{
    const numbers_t *n = numbers_of(t, k);
    wide_t now = (wide_t)t->now * NS_UNITS;

    k->debt_until = AWAY;
    k->tat.lo = wide_min(k->tat.lo, now + n->burst);
    remember(t, k, (entry_t){.is_cut = 1, .at = t->now, .charge = n->burst});
}

static int bucket_undo(trace_t *t, model_key_t *k, entry_t *e, int given)
{
    int at_once = e == &k->log[k->entries - 1] && e->at == t->now &&
                  k->newest == t->now && !k->undid && t->changed < t->now;
    wide_t before = k->tat.lo;

    k->undid = 1;
    if (at_once) {
        k->tat.lo -= e->charge;
        k->tat.hi -= e->charge;
        e->undone = 1;
        return given == 1;
    }
    e->undone = 1;
    if (given == 0) {
        return 1;
    }
    k->tat.lo = before - e->charge;
    k->was_back |= t->now < k->newest;
    if (!k->was_back) {
        k->tat.lo = wide_max(k->tat.lo, as_if_never(k));
    }
    k->tat.lo = wide_min(k->tat.lo, k->tat.hi);
    return 1;
}

/* ---- Fixed window -------------------------------------------------------- */

static int fixed_active(const model_key_t *k, int64_t now)
{
    return now < k->end;
}

/* A window that begins now: its end is what the limiter says, if that is not
 * before the window is over, nor 1/1024 of it later. */
static int fixed_begin(const trace_t *t, model_key_t *k,
                       const skl_limit_ask_t *a)
{
    wide_t end = (wide_t)a->now_ns + a->reset_ns;
    wide_t least = (wide_t)a->now_ns + t->window;

    if (a->commit) {
        k->end = end;
    }
    return end >= least && end <= least + t->window / 1024 + 1;
}

static int fixed_answer(trace_t *t, model_key_t *k, skl_limit_ask_t *a, int rc)
{
    const numbers_t *n = numbers_of(t, k);
    int active = fixed_active(k, a->now_ns);
    int64_t count = active ? k->count : 0;
    int good = 1;

    t->answers++;
    t->exact++;
    if (a->cost > n->limit) {
        return rc == SECKILL_EREJECTED && a->retry_ns == -1;
    }
    if (count + a->cost > n->limit) {
        return rc == SECKILL_EREJECTED && a->retry_ns == k->end - a->now_ns &&
               a->reset_ns == k->end - a->now_ns;
    }
    if (rc != SECKILL_OK || a->delay_ns != 0 ||
        a->remaining != (uint64_t)(n->limit - count - a->cost)) {
        return 0;
    }
    /* All of a window undone: whether it began is open. */
    if (count > 0 || (active && a->reset_ns == k->end - a->now_ns)) {
        good = a->reset_ns == k->end - a->now_ns;
    } else {
        good = fixed_begin(t, k, a);
    }
    if (a->commit) {
        k->count = count + a->cost;
        remember(t, k,
                 (entry_t){.at = a->now_ns, .cost = a->cost, .window = k->end});
    }
    return good;
}

/* Whether a window that is over, and not followed by another yet, is still
 * lowered makes no difference; one that was followed must not be. */
static int fixed_undo(trace_t *t, model_key_t *k, entry_t *e, int given)
{
    int same = e->window == k->end;

    e->undone = 1;
    k->count -= given && same ? e->cost : 0;
    return given == (same && fixed_active(k, t->now));
}

/* ---- Sliding window ------------------------------------------------------ */

/* The count of a window that is past: 9 significant bits, rounded up. */
static span_t as_before(int64_t count)
{
    int64_t up = count;
    int bits = 0;

    while (up >= 512) {
        up = (up + 1) / 2;
        bits++;
    }
    return (span_t){count, (wide_t)up << bits};
}

/* A key's state at `now`, which is not before its window. */
static void sliding_roll(const trace_t *t, model_key_t *k, int64_t now)
{
    wide_t id = now / t->window;

    if (id <= k->id) {
        return;
    }
    k->prev = id == k->id + 1 ? as_before(k->count) : (span_t){0, 0};
    k->count = 0;
    k->id = id;
}

/* ns into the window after which `prev` leaves room for this much. */
static wide_t sliding_wait(const trace_t *t, wide_t prev, wide_t room)
{
    if (room < 0) {
        return AWAY;
    }
    return prev <= room ? 0 : t->window - room * t->window / prev;
}

static wide_t sliding_retry(const trace_t *t, const model_key_t *k,
                            const numbers_t *n, wide_t prev, wide_t next_prev,
                            const skl_limit_ask_t *a)
{
    wide_t start = k->id * t->window;
    wide_t wait = sliding_wait(t, prev, n->limit - k->count - a->cost);

    if (wait >= t->window) {
        wait = t->window + sliding_wait(t, next_prev, n->limit - a->cost);
    }
    return start + wait - a->now_ns;
}

/* Units of prev that still count, rounded up. */
static wide_t sliding_weight(const trace_t *t, wide_t prev, wide_t gone)
{
    return wide_div_up(prev * (t->window - gone), t->window);
}

static int sliding_answer(trace_t *t, model_key_t *k, skl_limit_ask_t *a,
                          int rc)
{
    const numbers_t *n = numbers_of(t, k);
    model_key_t s = *k;
    span_t next;
    wide_t gone, room, least, most;

    sliding_roll(t, &s, a->now_ns);
    gone = wide_max((wide_t)a->now_ns - s.id * t->window, 0);
    next = as_before(s.count);
    t->answers++;
    t->exact += s.prev.lo == s.prev.hi;
    if (a->cost > n->limit) {
        return rc == SECKILL_EREJECTED && a->retry_ns == -1;
    }
    room = n->limit - s.count - a->cost;
    most = room - sliding_weight(t, s.prev.lo, gone);
    least = room - sliding_weight(t, s.prev.hi, gone);
    if (rc == SECKILL_EREJECTED) {
        return least < 0 && a->reset_ns >= 0 &&
               a->retry_ns >= sliding_retry(t, &s, n, s.prev.lo, next.lo, a) &&
               a->retry_ns <= sliding_retry(t, &s, n, s.prev.hi, next.hi, a);
    }
    if (a->commit) {
        s.count += a->cost;
        *k = s;
        remember(t, k,
                 (entry_t){.at = a->now_ns, .cost = a->cost, .window = s.id});
    }
    return rc == SECKILL_OK && most >= 0 && a->delay_ns == 0 &&
           a->remaining >= (uint64_t)wide_max(least, 0) &&
           a->remaining <= (uint64_t)most && a->reset_ns >= 0;
}

static int sliding_undo(trace_t *t, model_key_t *k, entry_t *e, int given)
{
    int same = e->window == k->id;

    e->undone = 1;
    k->count -= given && same ? e->cost : 0;
    return given == (same && t->now / t->window <= k->id);
}

/* ---- Sliding log --------------------------------------------------------- */

/* Stamps that count at `now`: for certain, and at most. */
static span_t log_live(const trace_t *t, const model_key_t *k, int64_t now)
{
    span_t live = {0, 0};

    for (int i = 0; i < k->n_stamps; i++) {
        if ((wide_t)k->stamps[i].at + t->window > now) {
            live.hi++;
            live.lo += (wide_t)k->stamps[i].at + t->window > t->newest;
        }
    }
    /* Before the limiter was made nobody knows who was not there. */
    live.hi += now < t->start ? 16 : 0;
    return live;
}

/* When at most `keep` of the stamps count, in ns from now. */
static wide_t log_wait(const trace_t *t, const model_key_t *k, int64_t keep,
                       int64_t now)
{
    int64_t ends[STAMPS];
    int n = 0;

    for (int i = 0; i < k->n_stamps; i++) {
        int at = n++;

        while (at > 0 && ends[at - 1] < k->stamps[i].at) {
            ends[at] = ends[at - 1];
            at--;
        }
        ends[at] = k->stamps[i].at;
    }
    return (wide_t)ends[keep] + t->window - now;
}

static void log_add(trace_t *t, model_key_t *k, const skl_limit_ask_t *a)
{
    remember(t, k, (entry_t){.at = a->now_ns, .cost = a->cost});
    for (uint32_t i = 0; i < a->cost; i++) {
        if (k->n_stamps == STAMPS) {
            memmove(&k->stamps[0], &k->stamps[1],
                    sizeof(k->stamps[0]) * (STAMPS - 1));
            k->n_stamps--;
        }
        k->stamps[k->n_stamps++] =
            (stamp_t){.at = a->now_ns, .serial = t->serial};
    }
}

static int log_answer(trace_t *t, model_key_t *k, skl_limit_ask_t *a, int rc)
{
    const numbers_t *n = numbers_of(t, k);
    span_t live = log_live(t, k, a->now_ns);

    t->answers++;
    t->exact += live.lo == live.hi;
    if (a->cost > n->limit) {
        return rc == SECKILL_EREJECTED && a->retry_ns == -1;
    }
    if (rc == SECKILL_EREJECTED) {
        return live.hi + a->cost > n->limit &&
               (live.lo < live.hi ||
                a->retry_ns == log_wait(t, k, n->limit - a->cost, a->now_ns)) &&
               (live.lo < live.hi ||
                a->reset_ns == log_wait(t, k, 0, a->now_ns));
    }
    if (rc != SECKILL_OK || live.lo + a->cost > n->limit || a->delay_ns != 0) {
        return 0;
    }
    if (a->commit) {
        log_add(t, k, a);
    }
    return a->remaining <= (uint64_t)(n->limit - live.lo - a->cost) &&
           (wide_t)a->remaining >= n->limit - live.hi - a->cost;
}

static int log_undo(trace_t *t, model_key_t *k, entry_t *e, int given)
{
    int live = (wide_t)e->at + t->window > t->now;

    e->undone = 1;
    if (given < live && t->now >= k->newest) {
        return 0;
    }
    /* By a clock that is behind it may still count until it was made. */
    for (int i = 0; i < k->n_stamps && given; i++) {
        if (k->stamps[i].serial == e->serial) {
            k->stamps[i].at -= t->window;
        }
    }
    return 1;
}

/* ---- All of them --------------------------------------------------------- */

typedef struct {
    int (*answer)(trace_t *t, model_key_t *k, skl_limit_ask_t *a, int rc);
    int (*undo)(trace_t *t, model_key_t *k, entry_t *e, int given);
} oracle_t;

static const oracle_t ORACLES[] = {
    [SECKILL_TOKEN_BUCKET] = {bucket_answer, bucket_undo},
    [SECKILL_LEAKY_BUCKET] = {bucket_answer, bucket_undo},
    [SECKILL_FIXED_WINDOW] = {fixed_answer, fixed_undo},
    [SECKILL_SLIDING_WINDOW] = {sliding_answer, sliding_undo},
    [SECKILL_SLIDING_LOG] = {log_answer, log_undo},
};

static int is_bucket(uint32_t algorithm)
{
    return algorithm == SECKILL_TOKEN_BUCKET ||
           algorithm == SECKILL_LEAKY_BUCKET;
}

/* Ask, and hold the answer against the oracle. */
static int question(trace_t *t, model_key_t *k, skl_limit_ask_t *a)
{
    const oracle_t *o = &ORACLES[t->algorithm];
    int rc = lim_ask(t->lim, k->name, a);

    if (!o->answer(t, k, a, rc)) {
        (void)complain(t, k, a, rc, "not what the oracle says");
    }
    if (a->now_ns > k->newest) {
        k->newest = a->now_ns;
    }
    return rc;
}

/* Is its state known but for nothing: may the retry be held to its word? */
static int is_certain(const trace_t *t, const model_key_t *k, int64_t now)
{
    if (is_bucket(t->algorithm)) {
        return depth_at(k->tat.hi, now) <= numbers_of(t, k)->burst;
    }
    return t->algorithm != SECKILL_SLIDING_LOG || !t->steps_back;
}

/* A peek on the side, of which the oracle learns nothing. */
static void follow_up(trace_t *t, model_key_t *k, const skl_limit_ask_t *a)
{
    skl_limit_ask_t later = {.cost = a->cost, .commit = 0};
    int rc;

    if (a->retry_ns < 1) {
        (void)complain(t, k, a, SECKILL_EREJECTED, "no such retry");
        return;
    }
    if (a->retry_ns > INT64_MAX - a->now_ns) {
        return; /* the end of time */
    }
    later.now_ns = a->now_ns + a->retry_ns;
    rc = lim_ask(t->lim, k->name, &later);
    if (rc != SECKILL_OK) {
        (void)complain(t, k, a, rc, "refused after its retry");
    }
    later.now_ns--;
    rc = lim_ask(t->lim, k->name, &later);
    if (rc != SECKILL_EREJECTED || later.retry_ns != 1) {
        (void)complain(t, k, a, rc, "admitted before its retry");
    }
}

static uint32_t pick_cost(trace_t *t, const model_key_t *k)
{
    const numbers_t *n = numbers_of(t, k);
    wide_t most = is_bucket(t->algorithm) ? n->burst / n->interval : n->limit;
    int64_t whole = (int64_t)wide_min(wide_max(most, 1), UINT32_MAX - 1);

    switch (lim_random(t->seed) % 16) {
    case 0:
        return (uint32_t)whole;
    case 1:
        return (uint32_t)whole + 1;
    case 2:
        return (uint32_t)(1 + lim_random_below(t->seed, whole));
    case 3:
        return (uint32_t)(1 + lim_random_below(t->seed, (whole + 9) / 10));
    case 4:
        return lim_random(t->seed) % 8 == 0 ? UINT32_MAX : 2;
    case 5:
        return 2;
    case 6:
        return 3;
    default:
        return 1;
    }
}

static void do_take(trace_t *t, model_key_t *k, uint32_t cost, int commit)
{
    skl_limit_ticket_t ticket = {0};
    skl_limit_ask_t a = {.now_ns = t->now,
                         .cost = cost,
                         .commit = commit,
                         .ticket = commit ? &ticket : NULL};
    int rc = question(t, k, &a);

    if (rc == SECKILL_OK) {
        if (commit && k->entries > 0) {
            k->log[k->entries - 1].ticket = ticket;
        }
        return;
    }
    if (a.retry_ns == -1) {
        return;
    }
    if (a.retry_ns < INT64_MAX - t->now) {
        k->aim = t->now + a.retry_ns;
    }
    if (lim_random(t->seed) % 2 == 0 && is_certain(t, k, t->now)) {
        follow_up(t, k, &a);
    }
}

/* ---- Undo and changes ---------------------------------------------------- */

static void do_undo(trace_t *t, model_key_t *k)
{
    const oracle_t *o = &ORACLES[t->algorithm];
    int back = lim_random(t->seed) % 4 == 0 ? LOG : 2;
    skl_limit_ask_t a = {.now_ns = t->now};
    int at, given;
    entry_t *e;

    if (k->entries == 0) {
        return;
    }
    at = k->entries - 1 - (int)lim_random_below(t->seed, back);
    e = &k->log[at < 0 ? 0 : at];
    /* The number of a window comes again after 2.28 years. */
    if (e->is_cut ||
        (!is_bucket(t->algorithm) && t->now - e->at > 400 * NS_DAY)) {
        return;
    }
    given = skl_limiter_undo(t->lim, &e->ticket, t->now);
    if (e->undone) {
        if (given != 0) {
            (void)complain(t, k, &a, given, "undone twice");
        }
        return;
    }
    if (!o->undo(t, k, e, given)) {
        (void)complain(t, k, &a, given, "undo");
    }
    if (e->ticket.key != 0 || e->ticket.charge != 0) {
        (void)complain(t, k, &a, given, "the ticket is not used up");
    }
    /* What is left is known by the next answer. */
    a = (skl_limit_ask_t){.now_ns = t->now, .cost = 1};
    (void)question(t, k, &a);
}

static const double RATES[] = {
    1e-7,       1.0 / 604800, 1.0 / 86400, 1.0 / 3601, 0.3,     1,  7,
    100.0 / 60, 999.5,        5000,        1e6,        9999991, 1e7};
static const double BURSTS[] = {0, 0.5, 1, 1.25, 2, 3, 10, 100.75, 5000, 1e9};
static const double LIMITS[] = {1,   2,   3,    5,     16,  100, 511,
                                512, 513, 1000, 16000, 1e6, 1e9};
static const int64_t WINDOWS[] = {1000000,    1000003,     NS_SEC,
                                  1234567891, 60 * NS_SEC, NS_HOUR,
                                  NS_DAY,     7 * NS_DAY,  31 * NS_DAY};

#define COUNT(a) ((int64_t)(sizeof(a) / sizeof((a)[0])))

static double pick(uint64_t *seed, const double *of, int64_t n)
{
    return of[lim_random_below(seed, n)];
}

/* A burst that rate and algorithm allow: at most 208 days, or 2^62 units. */
static double pick_burst(trace_t *t, double rate)
{
    int leaky = t->algorithm == SECKILL_LEAKY_BUCKET;
    double most = floor(1.8e7 * rate) - (leaky ? 1 : 0);
    double burst = pick(t->seed, BURSTS, COUNT(BURSTS));

    burst = burst > most ? most : burst;
    if (!leaky) {
        return burst < 1 ? 1 : burst;
    }
    return burst < 0 ? 0 : burst;
}

static void pick_bucket(trace_t *t, seckill_limit_t *l)
{
    l->rate = RATES[t->rate];
    l->burst = pick_burst(t, l->rate);
    if (t->algorithm != SECKILL_LEAKY_BUCKET) {
        return;
    }
    l->nodelay = lim_random(t->seed) % 2 == 0 ? 0 : floor(l->burst / 2);
    switch (lim_random(t->seed) % 4) {
    case 0:
        l->zeros = SECKILL_ZERO_MAX_DELAY;
        break;
    case 1:
        l->max_delay_ns = 31 * NS_DAY;
        break;
    default:
        l->max_delay_ns = (int64_t)fmin(floor(l->burst) * 5e8 / l->rate + 7,
                                        (double)(31 * NS_DAY));
        break;
    }
    l->zeros |= SECKILL_ZERO_BURST | SECKILL_ZERO_NODELAY;
}

static void pick_numbers(trace_t *t, seckill_limit_t *l)
{
    *l = (seckill_limit_t){.struct_size = sizeof(*l)};
    if (is_bucket(t->algorithm)) {
        pick_bucket(t, l);
        return;
    }
    l->zeros = SECKILL_ZERO_LIMIT;
    l->limit = pick(t->seed, LIMITS, COUNT(LIMITS));
    if (t->algorithm == SECKILL_SLIDING_LOG) {
        l->limit = (double)lim_random_below(t->seed, 17);
    }
    if (t->algorithm == SECKILL_FIXED_WINDOW) {
        l->limit = fmin(l->limit, floor((double)t->window / 8) - 1);
    }
    if (t->algorithm == SECKILL_SLIDING_WINDOW) {
        l->limit = fmin(l->limit, floor((double)t->window * 7.8e-3));
    }
    if (lim_random(t->seed) % 32 == 0) {
        l->limit = 0;
    }
}

static numbers_t numbers_from(const trace_t *t, const seckill_limit_t *l)
{
    numbers_t n = {.limit = (int64_t)l->limit};

    if (is_bucket(t->algorithm)) {
        int leaky = t->algorithm == SECKILL_LEAKY_BUCKET;

        n.interval = lim_interval(l->rate);
        n.burst = lim_units(l->burst, n.interval) + (leaky ? n.interval : 0);
        n.nodelay = lim_units(l->nodelay, n.interval);
        n.max_delay = leaky ? (wide_t)l->max_delay_ns * NS_UNITS : AWAY;
    }
    return n;
}

static void do_set(trace_t *t)
{
    int64_t rate = t->rate + lim_random_below(t->seed, 3) - 1;
    seckill_limit_t l;

    t->rate = (int)(rate < 0 || rate >= COUNT(RATES) ? t->rate : rate);
    pick_numbers(t, &l);
    if (skl_limiter_set(t->lim, &l, t->now) != SECKILL_OK) {
        skl_limit_ask_t a = {.now_ns = t->now};

        (void)complain(t, &t->keys[0], &a, 0, "set failed");
        return;
    }
    t->changed = t->now;
    t->limit = l;
    t->numbers = numbers_from(t, &l);
    for (int i = 0; i < t->n_keys && is_bucket(t->algorithm); i++) {
        if (!t->keys[i].has_own) {
            bucket_change(t, &t->keys[i]);
        }
    }
}

static void do_override(trace_t *t, model_key_t *k)
{
    seckill_limit_t l;
    int rc;

    t->changed = t->now;
    pick_numbers(t, &l);
    if (k->has_own && lim_random(t->seed) % 2 == 0) {
        rc = lim_override(t->lim, k->name, NULL, t->now);
        k->has_own = 0;
    } else {
        rc = lim_override(t->lim, k->name, &l, t->now);
        k->has_own = 1;
        k->own = numbers_from(t, &l);
    }
    if (rc != SECKILL_OK) {
        skl_limit_ask_t a = {.now_ns = t->now};

        (void)complain(t, k, &a, rc, "override failed");
    }
    if (is_bucket(t->algorithm)) {
        bucket_change(t, k);
        for (int i = 0; i < t->n_keys; i++) {
            t->keys[i].debt_until = AWAY;
        }
    }
}

/* ---- The clock ----------------------------------------------------------- */

/* A time in which something changes in this limiter. */
static int64_t period(const trace_t *t)
{
    wide_t ns = is_bucket(t->algorithm) ? t->numbers.interval / NS_UNITS + 1
                                        : t->window;

    return (int64_t)ns;
}

static int64_t leap(trace_t *t, const model_key_t *k)
{
    int64_t p = period(t);

    switch (lim_random(t->seed) % 16) {
    case 0:
        return lim_random_below(t->seed, 1000);
    case 1:
    case 2:
        return lim_random_below(t->seed, p);
    case 3:
        return lim_random_below(t->seed, 2 * p);
    case 4:
        return lim_random_below(t->seed, p / 100 + 1);
    case 5:
        return p;
    case 6:
    case 7:
    case 8:
        return k->aim - t->now + lim_random_below(t->seed, 3) - 1;
    case 9: /* the beginning of a window of the grid */
        return p - t->now % p - lim_random_below(t->seed, 2);
    case 10:
        return lim_random(t->seed) % 8 == 0 ? 100 * p : 0;
    default:
        return 0;
    }
}

/* On by this much. What is spent out must be swept out of the table once in a
 * year, or it would look charged after 2^63 units. */
static void go_on(trace_t *t, int64_t by)
{
    const int64_t most = 300 * NS_DAY;

    if (t->steps_back) {
        t->now += by < most ? by : 0;
        return;
    }
    while (by > 0) {
        int64_t step = by < most ? by : most;

        t->now += step;
        by -= step;
        if (step > NS_DAY) {
            (void)skl_limits_sweep(&t->w.limits, t->now,
                                   (uint32_t)skl_limits_groups(&t->w.limits));
        }
    }
}

static void move_clock(trace_t *t, const model_key_t *k)
{
    int64_t by = leap(t, k);

    if (t->steps_back && lim_random(t->seed) % 8 == 0) {
        by = 3 * period(t) < 100 * NS_DAY ? 3 * period(t) : 100 * NS_DAY;
        by = lim_random_below(t->seed, lim_random(t->seed) % 2 ? by : NS_HOUR);
        t->now -= by < t->now ? by : 0;
        return;
    }
    if (t->now < t->newest && lim_random(t->seed) % 2 == 0) {
        by = t->newest - t->now;
    }
    if (by > 0 && by < INT64_MAX - t->now - 4 * NS_DAY) {
        go_on(t, by);
    }
    if (t->now > t->newest) {
        t->newest = t->now;
    }
}

/* ---- Traces -------------------------------------------------------------- */

/* Uptimes: nothing, days, around 2^63 and 2^64 units, years, the end. */
static int64_t pick_start(uint64_t *seed)
{
    static const int64_t wrap = INT64_C(1) << 56;
    const int64_t starts[] = {0,        1,
                              NS_DAY,   wrap / 2 - NS_SEC,
                              wrap - 1, wrap - NS_HOUR,
                              wrap,     3 * wrap - NS_SEC / 100};

    if (lim_random(seed) % 2 == 0) {
        return starts[lim_random_below(seed, COUNT(starts))];
    }
    return (int64_t)(lim_random(seed) >> (1 + lim_random(seed) % 20));
}

static void trace_begin(trace_t *t, uint32_t algorithm, uint64_t *seed)
{
    memset(t, 0, sizeof(*t));
    t->seed = seed;
    t->algorithm = algorithm;
    t->window = WINDOWS[lim_random_below(seed, COUNT(WINDOWS))];
    t->rate = (int)lim_random_below(seed, COUNT(RATES));
    t->now = pick_start(seed);
    t->start = t->now;
    t->changed = -1;
    t->newest = t->now;
    t->changes = lim_random(seed) % 2 == 0;
    t->churns = lim_random(seed) % 4 == 0;
    t->steps_back = !t->churns && lim_random(seed) % 2 == 0;
    t->n_keys = t->churns ? KEYS_MAX : 3;
    pick_numbers(t, &t->limit);
    t->numbers = numbers_from(t, &t->limit);
    if (algorithm == SECKILL_LEAKY_BUCKET && lim_random(seed) % 2 == 0) {
        t->limit.max_delay_ns = 0; /* not given: as long as it takes */
        t->limit.zeros &= ~(uint32_t)SECKILL_ZERO_MAX_DELAY;
        t->numbers.max_delay = AWAY;
    }
    if (t->steps_back && !is_bucket(algorithm) && t->limit.limit < 1) {
        t->limit.limit = 1; /* that the first take of a key is admitted */
        t->numbers.limit = 1;
    }
    lim_world_new(&t->w, 4096, 2);
}

static void trace_open(trace_t *t)
{
    seckill_limit_t l = t->limit;

    l.algorithm = t->algorithm;
    l.window_ns = is_bucket(t->algorithm) ? 0 : t->window;
    t->lim = lim_open(&t->w, "model", &l, t->now);
    for (int i = 0; i < t->n_keys; i++) {
        model_key_t *k = &t->keys[i];

        snprintf(k->name, sizeof(k->name), "k%d", i);
        k->tat = (span_t){SPENT, SPENT};
        k->base = SPENT;
        k->debt_until = (wide_t)t->now * NS_UNITS;
        k->end = SPENT;
        k->id = -2;
        k->newest = t->now;
        /* Every key enters the table while the others are live: no slot is
         * taken over later, so that a step back finds all as it was. */
        if (!t->churns) {
            do_take(t, k, 1, 1);
        }
    }
}

static void trace_step(trace_t *t)
{
    model_key_t *k = &t->keys[lim_random_below(t->seed, t->n_keys)];
    uint64_t what = lim_random(t->seed) % 64;

    move_clock(t, k);
    if (what < 40) {
        do_take(t, k, pick_cost(t, k), 1);
    } else if (what < 50) {
        do_take(t, k, pick_cost(t, k), 0);
    } else if (what < 60) {
        do_undo(t, k);
    } else if (what == 60 && t->changes && t->now == t->newest) {
        do_set(t);
    } else if (what == 61 && t->changes && t->now == t->newest) {
        do_override(t, k);
    } else if (what >= 62 && t->churns) {
        (void)skl_limits_sweep(&t->w.limits, t->now, 64);
    }
}

/* Nothing is swept where the clock may step back: there a year is all. */
static int is_over(const trace_t *t)
{
    return t->wrong >= COMPLAINTS ||
           (t->steps_back && t->newest - t->start > 100 * NS_DAY);
}

/* Answers of this algorithm in `traces` traces. */
static void run_traces(uint32_t algorithm, uint64_t usual_seed)
{
    enum { STEPS = 1000 };
    static trace_t t;
    int traces = tap_full() ? 2700 : 32;
    uint64_t seed = tap_seed(usual_seed);
    uint64_t wrong = 0, answers = 0, exact = 0;

    for (int i = 0; i < traces && wrong < 10; i++) {
        trace_begin(&t, algorithm, &seed);
        trace_open(&t);
        for (int j = 0; j < STEPS && !is_over(&t); j++) {
            trace_step(&t);
        }
        CHECK_INT(0, lim_overflows(&t.w));
        CHECK_INT(0, t.wrong);
        wrong += t.wrong;
        answers += t.answers;
        exact += t.exact;
        lim_world_free(&t.w);
    }
    printf("# %" PRIu64 " answers, %" PRIu64 " of a known state\n", answers,
           exact);
    CHECK(exact >= answers / 2);
}

TEST(limit_model_token_bucket)
{
    run_traces(SECKILL_TOKEN_BUCKET, 11);
}

TEST(limit_model_leaky_bucket)
{
    run_traces(SECKILL_LEAKY_BUCKET, 12);
}

TEST(limit_model_fixed_window)
{
    run_traces(SECKILL_FIXED_WINDOW, 13);
}

TEST(limit_model_sliding_window)
{
    run_traces(SECKILL_SLIDING_WINDOW, 14);
}

TEST(limit_model_sliding_log)
{
    run_traces(SECKILL_SLIDING_LOG, 15);
}

/* ---- Undo across changes ------------------------------------------------- */

static seckill_limit_t numbers(double rate, double burst)
{
    return (seckill_limit_t){
        .struct_size = sizeof(seckill_limit_t), .rate = rate, .burst = burst};
}

/* A take, then other numbers by which the debt is cut, then the key is used
 * up by others: the take's undo, much later, must not pay for them. */
static void check_undo_across(int by_override, double rate, double burst)
{
    const int64_t start = 77 * NS_DAY;
    seckill_limit_t old = numbers(1.0 / 60, 1000);
    seckill_limit_t new = numbers(rate, burst);
    int64_t now = start + NS_SEC;
    skl_limit_ticket_t ticket = {0};
    skl_limit_ask_t a = {.now_ns = start, .commit = 1, .ticket = &ticket};
    skl_limiter_t *lim;
    lim_world_t w;

    lim_world_new(&w, 16, 1);
    old.algorithm = SECKILL_TOKEN_BUCKET;
    lim = lim_open(&w, "a", &old, start);
    a.cost = 1000;
    CHECK_INT(SECKILL_OK, lim_ask(lim, "k", &a));
    CHECK_INT(SECKILL_OK, by_override ? lim_override(lim, "k", &new, now)
                                      : skl_limiter_set(lim, &new, now));
    CHECK_INT(0, lim_take(lim, "k", 1, now)); /* the debt is cut */
    now += (int64_t)(burst / rate * 1e9) + 1;
    CHECK_INT(1, lim_take(lim, "k", (uint32_t)burst, now));
    (void)skl_limiter_undo(lim, &ticket, now);
    CHECK_INT(0, lim_peek(lim, "k", 1, now));
    lim_world_free(&w);
}

TEST(limit_undo_across_a_change_gives_no_more_than_as_if_never)
{
    for (int i = 0; i < 2; i++) {
        check_undo_across(i, 1000, 1000);  /* a faster rate */
        check_undo_across(i, 1.0 / 60, 3); /* a smaller burst */
        check_undo_across(i, 7, 5);
    }
}

/* A ticket that somebody kept for years: all of it has long been paid. */
TEST(limit_undo_of_a_very_old_ticket_gives_nothing)
{
    static const int64_t days[] = {1, 100, 208, 417, 500, 833, 1000, 3000};
    seckill_limit_t l = numbers(1, 10);

    l.algorithm = SECKILL_TOKEN_BUCKET;
    for (int i = 0; i < COUNT(days); i++) {
        int64_t now = 77 * NS_DAY;
        skl_limit_ticket_t ticket = {0};
        skl_limit_ask_t a = {
            .now_ns = now, .cost = 10, .commit = 1, .ticket = &ticket};
        skl_limiter_t *lim;
        lim_world_t w;

        lim_world_new(&w, 16, 1);
        lim = lim_open(&w, "a", &l, now);
        CHECK_INT(SECKILL_OK, lim_ask(lim, "k", &a));
        for (int64_t d = 0; d < days[i]; d++) {
            now += NS_DAY;
            (void)skl_limits_sweep(&w.limits, now,
                                   (uint32_t)skl_limits_groups(&w.limits));
        }
        CHECK_INT(1, lim_take(lim, "k", 10, now));
        CHECK_INT(0, skl_limiter_undo(lim, &ticket, now));
        CHECK_INT(0, lim_peek(lim, "k", 1, now));
        lim_world_free(&w);
    }
}

TAP_MAIN()
