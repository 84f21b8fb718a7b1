/* Take: a decision and its charge, in the key table; see limits.h. */
#include "limit/take.h"

#include "base/assert.h"
#include "limit/override.h"
#include "limit/window.h"

#include <string.h>

/* Not a result code: the slot has another key by now, look again. */
enum { AGAIN = 1 };

/* ---- One bucket ---------------------------------------------------------- */

/* floor(units / interval) without a division: the product is off by one at
 * most, as the quotient is below 2^30. */
static inline uint64_t tokens_in(const skl_limit_rule_t *r, uint64_t units)
{
    uint64_t q = (uint64_t)((double)units * r->inverse);

    if (q * r->interval > units) {
        q--;
    } else if ((q + 1) * r->interval <= units) {
        q++;
    }
    return q;
}

/* Units of a bucket's time from now, as units of the clock. */
static inline uint64_t wait_of(const skl_limit_take_t *t, uint64_t units)
{
    return skl_limit_after(&t->rule, t->now, units) - t->now;
}

static inline int64_t wait_ns(const skl_limit_take_t *t, uint64_t units)
{
    return skl_limit_ns(wait_of(t, units));
}

static inline uint64_t bucket_remaining(const skl_limit_take_t *t,
                                        uint64_t units)
{
    if (t->rule.warm != SKL_WARM_COLD_START) {
        return tokens_in(&t->rule, units);
    }
    /* by the price of now */
    return (uint64_t)((double)units * t->ask->cost / (double)t->charge);
}

/* The verdict on a bucket in this state. */
static int judge_any_bucket(skl_limit_take_t *t, uint64_t tat, uint64_t *next)
{
    const skl_limit_rule_t *r = &t->rule;
    const uint64_t depth = skl_limit_span(r, t->now, tat);
    const uint64_t x = depth + t->charge;
    uint64_t excess = x > t->window ? wait_of(t, x - t->window) : 0;
    uint64_t delay = 0;

    if (r->algorithm == SECKILL_LEAKY_BUCKET && depth > r->nodelay) {
        delay = wait_of(t, depth - r->nodelay);
    }
    if (delay > r->limit && delay - r->limit > excess) {
        excess = delay - r->limit; /* would wait longer than max_delay */
    }
    if (excess > 0) {
        t->ask->reset_ns = wait_ns(t, depth);
        t->ask->retry_ns = skl_limit_ns(excess);
        return SECKILL_EREJECTED;
    }
    t->ask->remaining = bucket_remaining(t, t->window - x);
    t->ask->reset_ns = wait_ns(t, x);
    t->ask->delay_ns = skl_limit_ns(delay);
    *next = skl_limit_after(r, t->now, x);
    return SECKILL_OK;
}

/* The same where the clock of the bucket is the clock: most of all takes. */
static inline __attribute__((always_inline)) int judge_bucket(
    skl_limit_take_t *t, uint64_t tat, uint64_t *next)
{
    const skl_limit_rule_t *r = &t->rule;
    const uint64_t depth = skl_limit_depth(tat, t->now);
    const uint64_t x = depth + t->charge;

    if (__builtin_expect(r->warm != SKL_WARM_NONE || x > t->window ||
                             r->algorithm != SECKILL_TOKEN_BUCKET,
                         0)) {
        return judge_any_bucket(t, tat, next);
    }
    t->ask->remaining = tokens_in(r, t->window - x);
    t->ask->reset_ns = skl_limit_ns(x);
    *next = t->now + x;
    return SECKILL_OK;
}

static int judge_window(skl_limit_take_t *t, uint64_t word, uint64_t *next)
{
    skl_window_t w = {0};
    int rc = skl_window_judge(&t->rule, word, t->ask->cost, t->ask->now_ns, &w);

    t->ask->remaining = w.remaining;
    t->ask->retry_ns = w.retry_ns;
    t->ask->reset_ns = w.reset_ns;
    *next = w.next;
    return rc;
}

static inline __attribute__((always_inline)) int judge(skl_limit_take_t *t,
                                                       uint64_t word,
                                                       uint64_t *next)
{
    return skl_limit_is_window(t->rule.algorithm) ? judge_window(t, word, next)
                                                  : judge_bucket(t, word, next);
}

static int is_deeper(const skl_limit_take_t *t, uint64_t tat)
{
    const uint64_t depth = skl_limit_depth(tat, t->now);
    const int64_t ns = (int64_t)(depth >> SKL_LIMIT_SHIFT);

    return ns <= t->rule.debt_until_ns - t->ask->now_ns &&
           (t->rule.warm != SKL_WARM_COLD_START ||
            depth > skl_limit_deepest(&t->rule, t->ask->now_ns)) &&
           skl_limit_span(&t->rule, t->now, tat) > t->window &&
           atomic_load(&t->lim->record->seen_ns) <= t->ask->now_ns;
}

/* A debt deeper than the burst can only be one from numbers that were in force
 * before: it counts as a burst that is used up. Or the clock is behind that of
 * somebody who was admitted since: note_seen() tells. */
static inline int is_old_debt(const skl_limit_take_t *t, uint64_t tat)
{
    return !skl_limit_is_window(t->rule.algorithm) &&
           skl_limit_depth(tat, t->now) > t->window && is_deeper(t, tat);
}

/* Before a charge, while there may be old debts. */
static inline void note_seen(const skl_limit_take_t *t)
{
    if (__builtin_expect(t->ask->now_ns <= t->rule.debt_until_ns, 0) &&
        t->forgives) {
        skl_limit_raise(&t->lim->record->seen_ns, t->ask->now_ns);
    }
}

static inline void fill_ticket(const skl_limit_take_t *t, uint64_t key,
                               uint64_t next)
{
    skl_limit_ticket_t *ticket = t->ask->ticket;

    if (ticket == NULL) {
        return;
    }
    ticket->limiter = t->lim;
    ticket->key = key;
    if (skl_limit_is_window(t->rule.algorithm)) {
        ticket->at = skl_window_id(&t->rule, next);
        ticket->charge = t->ask->cost;
        ticket->depth = 0;
        return;
    }
    ticket->at = (uint64_t)t->ask->now_ns;
    ticket->depth =
        (skl_limit_span(&t->rule, t->now, next) >> SKL_LIMIT_SHIFT) + t->undone;
    ticket->charge = t->charge;
}

static inline void clear_ticket(const skl_limit_take_t *t)
{
    if (t->ask->ticket != NULL) {
        memset(t->ask->ticket, 0, sizeof(*t->ask->ticket));
    }
}

/* ---- A key of the table -------------------------------------------------- */

static int forgive(skl_limit_take_t *t, skl_limit_slot_t *slot, uint64_t tat)
{
    uint64_t full = skl_limit_after(&t->rule, t->now, t->window);
    uint64_t next;

    if (t->forgives) {
        (void)skl_slot_swap(slot, t->place->key, tat, t->place->key, full);
    }
    return judge_bucket(t, full, &next); /* by max_delay as well */
}

/* Decide and charge a key that is in the table. */
static inline __attribute__((always_inline)) int charge_slot(
    skl_limit_take_t *t, skl_limit_slot_t *slot)
{
    uint64_t key = t->place->key;
    uint64_t tat;
    uint64_t next = 0;
    int rc;

    while (skl_slot_read(slot, key, &tat)) {
        if (is_old_debt(t, tat)) {
            return forgive(t, slot, tat);
        }
        rc = judge(t, tat, &next);
        if (rc != SECKILL_OK) {
            return rc;
        }
        if (!t->ask->commit) {
            t->slot = slot;
            t->seen = tat;
            t->next = next;
            return rc;
        }
        if (skl_slot_swap(slot, key, tat, key, next)) {
            fill_ticket(t, key, next);
            return SECKILL_OK;
        }
    }
    return AGAIN;
}

/* ---- Overflow cells ------------------------------------------------------ */

static uint64_t spent_by_loss(const skl_limit_take_t *t, uint64_t state)
{
    const int64_t lost = t->lim->limits->shm->rebuilt_ns;
    uint64_t spent;

    if (t->ask->now_ns - lost > SKL_LIMIT_DEBT_NS) {
        return state; /* instants do not compare for ever */
    }
    spent = skl_limit_is_window(t->rule.algorithm)
                ? skl_window_spent(&t->rule, lost)
                : skl_limit_after(&t->rule, skl_limit_units(lost), t->window);
    return (int64_t)(spent - state) > 0 ? spent : state;
}

/* In which state a key begins, by the state of its cell: after a loss of the
 * segment its own numbers are spent, too, which may be greater. */
static inline uint64_t first_of(const skl_limit_take_t *t, uint64_t cell)
{
    return __builtin_expect(t->lim->limits->shm->rebuilt_ns != 0, 0)
               ? spent_by_loss(t, cell)
               : cell;
}

static _Atomic uint64_t *cell_of(const skl_limit_take_t *t)
{
    return &t->lim->record->cells[skl_slot_cell(t->place->key)];
}

static uint64_t cell_ticket(const skl_limit_take_t *t)
{
    return 1 + (uint64_t)t->lim->index * SKL_LIMIT_CELLS +
           skl_slot_cell(t->place->key);
}

static int charge_cell(skl_limit_take_t *t)
{
    _Atomic uint64_t *cell = cell_of(t);
    uint64_t tat = atomic_load(cell);
    uint64_t next = 0;
    int rc;

    if (!t->ask->commit) {
        return judge(t, first_of(t, tat), &next);
    }
    skl_limit_tally(t->lim, SKL_LIMIT_OVERFLOW);
    do {
        rc = judge(t, first_of(t, tat), &next);
        if (rc != SECKILL_OK) {
            return rc;
        }
    } while (!atomic_compare_exchange_weak(cell, &tat, next));
    fill_ticket(t, cell_ticket(t), next);
    return SECKILL_OK;
}

/*
 * The lock was not to be had: charge the cell. The holder of the lock may put
 * the same key in at the same time. It looks at the cell again after that, we
 * look at the table again after this: one of us, at least, sees the other.
 */
static int charge_without_lock(skl_limit_take_t *t)
{
    int rc = charge_cell(t);
    skl_limit_slot_t *slot;

    if (rc != SECKILL_OK || !t->ask->commit) {
        return rc;
    }
    atomic_thread_fence(memory_order_seq_cst);
    slot = skl_slot_find(t->place);
    if (slot == NULL) {
        return rc;
    }
    rc = charge_slot(t, slot);
    if (rc == SECKILL_EREJECTED) {
        clear_ticket(t);
    }
    return rc == AGAIN ? SECKILL_OK : rc;
}

/* ---- New keys ------------------------------------------------------------ */

/* A slot that may be reused. */
typedef struct {
    skl_limit_slot_t *slot;
    uint64_t key, tat;
} victim_t;

static int scan_group(const skl_limit_take_t *t, skl_limit_group_t *group,
                      victim_t *v)
{
    int free_slots = 0;

    for (int i = 0; i < SKL_LIMIT_WAYS; i++) {
        skl_limit_slot_t *slot = &group->slots[i];
        uint64_t key = atomic_load(&slot->half.key);
        uint64_t tat = atomic_load(&slot->half.tat);

        if (skl_slot_is_reusable(key, tat, t->now) && free_slots++ == 0) {
            *v = (victim_t){slot, key, tat};
        }
    }
    return free_slots;
}

/* The first reusable slot of the emptier group, or none. */
static int find_victim(const skl_limit_take_t *t, victim_t *v)
{
    victim_t other;
    int first = scan_group(t, t->place->group[0], v);
    int second = scan_group(t, t->place->group[1], &other);

    if (second > first) {
        *v = other;
    }
    return first + second > 0;
}

/* The state of a key that also owes what came to its cell between `before` and
 * `after`, less this charge when that is refused. */
static uint64_t with_debt(const skl_limit_take_t *t, uint64_t tat,
                          uint64_t before, uint64_t after, int refused)
{
    uint64_t more;

    if (skl_limit_is_window(t->rule.algorithm)) {
        tat = skl_window_join(&t->rule, tat, before, after);
        return refused ? tat - t->ask->cost : tat;
    }
    more = skl_limit_span(&t->rule, t->now, after) -
           skl_limit_span(&t->rule, t->now, before);
    return skl_limit_after(&t->rule, t->now,
                           skl_limit_span(&t->rule, t->now, tat) + more -
                               (refused ? t->charge : 0));
}

/* Somebody without the lock charged our cell after we had looked at it: that
 * debt, too, may be this key's. */
static int settle(skl_limit_take_t *t, skl_limit_slot_t *slot, uint64_t before,
                  uint64_t after)
{
    uint64_t next = 0;
    uint64_t tat;
    int rc = judge(t, first_of(t, after), &next);

    if (rc != SECKILL_OK) {
        clear_ticket(t);
    }
    while (skl_slot_read(slot, t->place->key, &tat)) {
        if (skl_slot_swap(slot, t->place->key, tat, t->place->key,
                          with_debt(t, tat, before, after, rc != SECKILL_OK))) {
            break;
        }
    }
    return rc;
}

/* Put a key in, with the debt of its cell and this charge. */
static int insert(skl_limit_take_t *t, const victim_t *v)
{
    uint64_t debt = atomic_load(cell_of(t));
    uint64_t next = 0;
    uint64_t after;
    int rc = judge(t, first_of(t, debt), &next);

    if (rc != SECKILL_OK || !t->ask->commit) {
        return rc;
    }
    if (!skl_slot_swap(v->slot, v->key, v->tat, t->place->key, next)) {
        return AGAIN;
    }
    fill_ticket(t, t->place->key, next);
    atomic_thread_fence(memory_order_seq_cst);
    after = atomic_load(cell_of(t));
    if (after != debt && skl_limit_depth(after, t->now) > 0) {
        return settle(t, v->slot, debt, after);
    }
    return SECKILL_OK;
}

static int insert_or_overflow(skl_limit_take_t *t)
{
    victim_t v;
    int rc;

    if (t->ask->commit && skl_slot_find(t->place) != NULL) {
        return AGAIN;
    }
    do {
        if (!find_victim(t, &v)) {
            return charge_cell(t);
        }
        rc = insert(t, &v);
    } while (rc == AGAIN);
    return rc;
}

static __attribute__((noinline)) int take_new(skl_limit_take_t *t)
{
    skl_limits_shm_t *shm = t->lim->limits->shm;
    skl_lock_t *stripe = &shm->stripes[t->place->key % SKL_LIMIT_STRIPES];
    skl_wait_t wait = {0};
    int rc;

    if (!t->ask->commit) {
        return insert_or_overflow(t);
    }
    if (skl_lock_acquire(stripe, &wait, NULL, NULL) != SECKILL_OK) {
        return charge_without_lock(t);
    }
    rc = insert_or_overflow(t);
    skl_lock_release(stripe);
    return rc;
}

static inline __attribute__((always_inline)) int take_key(skl_limit_take_t *t)
{
    skl_limit_slot_t *slot;
    int rc;

    do {
        slot = skl_slot_find(t->place);
        rc = __builtin_expect(slot != NULL, 1) ? charge_slot(t, slot)
                                               : take_new(t);
    } while (rc == AGAIN);
    return rc;
}

int skl_take_key(skl_limit_take_t *t)
{
    return take_key(t);
}

uint64_t skl_take_look(const skl_limits_t *l, const skl_limit_record_t *r,
                       const skl_limit_place_t *place)
{
    skl_limit_slot_t *slot = skl_slot_find(place);
    uint64_t tat;

    skl_assert(place->group[0] >= l->groups);
    if (slot != NULL && skl_slot_read(slot, place->key, &tat)) {
        return tat;
    }
    return atomic_load(&r->cells[skl_slot_cell(place->key)]);
}

/* ---- Rules --------------------------------------------------------------- */

static int copy_own(const skl_limiter_t *lim, const skl_limit_rule_t *own,
                    skl_limit_rule_t *out)
{
    *out = *own;
    if (own->algorithm != lim->record->algorithm) {
        return SECKILL_ECONFLICT;
    }
    if (own->algorithm >= SECKILL_FIXED_WINDOW &&
        own->algorithm <= SECKILL_SLIDING_LOG) {
        skl_limit_rule_t r;

        skl_limit_copy(&lim->record->rule, &r, SKL_LIMIT_HOT_WORDS);
        return r.window == own->window ? SECKILL_OK : SECKILL_ECONFLICT;
    }
    return SECKILL_OK;
}

static int find_rule(skl_limiter_t *lim, uint64_t key, const void *own,
                     skl_limit_rule_t *out)
{
    if (own != NULL) {
        return copy_own(lim, own, out);
    }
    if (!skl_override_find(lim->limits, key, out)) {
        skl_limit_copy(&lim->record->rule, out, SKL_LIMIT_WORDS);
    }
    return SECKILL_OK;
}

/* Most rules are the limiter's and do not warm up: then the first line is all
 * that is read. */
static inline __attribute__((always_inline)) int rule_of(skl_limiter_t *lim,
                                                         uint64_t key,
                                                         const void *own,
                                                         skl_limit_rule_t *out)
{
    skl_limit_record_t *r = lim->record;

    if (__builtin_expect(
            own == NULL &&
                atomic_load_explicit(&r->overrides, memory_order_relaxed) == 0,
            1)) {
        skl_limit_copy(&r->rule, out, SKL_LIMIT_HOT_WORDS);
        if (__builtin_expect(out->warm == SKL_WARM_NONE, 1)) {
            return SECKILL_OK;
        }
    }
    return find_rule(lim, key, own, out);
}

int skl_take_rule(skl_limiter_t *lim, uint64_t key, const void *own,
                  skl_limit_rule_t *out)
{
    return rule_of(lim, key, own, out);
}

/* ---- Take ---------------------------------------------------------------- */

void skl_limiter_locate(const skl_limiter_t *lim, const char *key,
                        size_t key_len, skl_limit_place_t *place)
{
    skl_hash_t h = skl_hash128(&lim->key, key, key_len);
    uint64_t print =
        h.lo <= SKL_LIMIT_CELL_MAX ? h.lo + SKL_LIMIT_CELL_MAX + 1 : h.lo;

    skl_assert(key_len >= 1 && key_len <= SKL_LIMIT_KEY_MAX);
    if (lim->record->algorithm == SECKILL_SLIDING_LOG) {
        print |= SKL_LIMIT_LOG_MAX; /* stays greater than the cells */
        print -= print % SKL_LIMIT_LOG_MAX;
    }
    skl_slot_place(lim->limits, print, place);
    __builtin_prefetch(place->group[0], 1);
    __builtin_prefetch(place->group[1], 1);
}

static int pass_in_shadow(skl_limit_take_t *t, int rc)
{
    if (t->rule.mode != SECKILL_LIMIT_SHADOW) {
        return rc;
    }
    t->ask->shadowed = 1;
    t->ask->remaining = 0;
    t->ask->delay_ns = 0;
    return SECKILL_OK;
}

static inline __attribute__((always_inline)) int take_bucket(
    skl_limit_take_t *t)
{
    int rc;

    if (__builtin_mul_overflow(t->rule.interval, t->ask->cost, &t->charge) ||
        t->charge > t->rule.window) {
        t->ask->retry_ns = -1;
        return SECKILL_EREJECTED;
    }
    t->window = t->rule.window;
    if (t->rule.warm == SKL_WARM_COLD_START) {
        skl_cold_price(t);
    }
    note_seen(t);
    rc = take_key(t);
    if (rc == SECKILL_OK && t->ask->commit &&
        t->rule.warm == SKL_WARM_COLD_START) {
        skl_cold_draw(t);
    }
    return rc;
}

static void fill_permit(const skl_limit_take_t *t, const skl_permit_t *permit)
{
    skl_limit_ticket_t *ticket = t->ask->ticket;

    ticket->limiter = t->lim;
    ticket->at = permit->number;
    ticket->key = permit->key;
    ticket->depth = permit->seq;
    ticket->charge = permit->cost;
}

static int take_permit(skl_limit_take_t *t)
{
    skl_limit_ask_t *ask = t->ask;
    const uint32_t limit = (uint32_t)t->rule.limit;
    skl_permit_t permit;
    int rc;

    if (t->lim->limits->permits == NULL) {
        return SECKILL_EFULL;
    }
    if (ask->commit && ask->ticket == NULL) {
        return SECKILL_EBADOPTION;
    }
    rc = skl_permits_take(t->lim->limits->permits, t->place->key, ask->cost,
                          limit, ask->commit, ask->now_ns, &permit,
                          &ask->in_use);
    /* Nobody knows when somebody leaves: at once, or never. */
    ask->retry_ns = ask->cost > limit ? -1 : 0;
    ask->reset_ns = 0;
    if (rc == SECKILL_OK) {
        ask->remaining = limit - ask->in_use;
    }
    if (rc == SECKILL_OK && ask->commit) {
        fill_permit(t, &permit);
    }
    return rc;
}

static int take_other(skl_limit_take_t *t)
{
    switch (t->rule.algorithm) {
    case SECKILL_SLIDING_LOG:
        return skl_take_log(t);
    case SECKILL_CONCURRENCY:
        return take_permit(t);
    default:
        return skl_take_key(t);
    }
}

static inline __attribute__((always_inline)) int decide(skl_limit_take_t *t)
{
    int rc;

    /* it may be the second time */
    t->ask->delay_ns = 0;
    t->ask->shadowed = 0;
    if (t->rule.mode == SECKILL_LIMIT_OFF) {
        t->ask->remaining = t->ask->quota;
        t->ask->reset_ns = 0;
        return SECKILL_OK;
    }
    rc = t->rule.algorithm <= SECKILL_LEAKY_BUCKET ? take_bucket(t)
                                                   : take_other(t);
    return rc == SECKILL_EREJECTED || rc == SECKILL_EFULL
               ? pass_in_shadow(t, rc)
               : rc;
}

int skl_take_decide(skl_limit_take_t *t)
{
    return decide(t);
}

/* What was looked at is still so, mostly: then one swap is all. */
int skl_take_charge(skl_limit_take_t *t)
{
    if (t->slot != NULL && t->rule.warm != SKL_WARM_COLD_START &&
        skl_slot_swap(t->slot, t->place->key, t->seen, t->place->key,
                      t->next)) {
        fill_ticket(t, t->place->key, t->next);
        return SECKILL_OK;
    }
    return skl_take_decide(t);
}

static inline __attribute__((always_inline)) void tally(skl_limit_take_t *t,
                                                        int rc)
{
    if (t->rule.mode == SECKILL_LIMIT_OFF) {
        return;
    }
    if (t->ask->shadowed) {
        skl_limit_tally(t->lim, SKL_LIMIT_SHADOWED);
    }
    if (rc == SECKILL_OK && t->ask->delay_ns > 0) {
        skl_limit_tally(t->lim, SKL_LIMIT_DELAYED);
    }
    skl_limit_tally(t->lim,
                    rc == SECKILL_OK ? SKL_LIMIT_ALLOWED : SKL_LIMIT_REJECTED);
}

void skl_take_tally(skl_limit_take_t *t, int rc)
{
    tally(t, rc);
}

static inline __attribute__((always_inline)) int prepare(
    skl_limit_take_t *t, skl_limiter_t *lim, const skl_limit_place_t *place,
    skl_limit_ask_t *ask)
{
    int rc;

    skl_assert(ask->cost >= 1);
    t->lim = lim;
    t->place = place;
    t->ask = ask;
    t->now = skl_limit_units(ask->now_ns);
    t->slot = NULL;
#ifdef MUTANT_COMBINE_KEEPS_DEBT
    t->forgives = 0;
#else
    t->forgives = ask->commit;
#endif
    ask->delay_ns = 0;
    ask->in_use = 0;
    ask->shadowed = 0;
    if (ask->ticket != NULL) {
        clear_ticket(t);
        t->undone = atomic_load(&lim->record->undo_done);
    }
    rc = rule_of(lim, place->key, ask->rule, &t->rule);
    skl_limit_rule_at(&t->rule, ask->now_ns);
    ask->quota = skl_limit_quota(&t->rule);
    ask->mode = t->rule.mode;
    return rc;
}

int skl_take_prepare(skl_limit_take_t *t, skl_limiter_t *lim,
                     const skl_limit_place_t *place, skl_limit_ask_t *ask)
{
    return prepare(t, lim, place, ask);
}

int skl_limiter_take(skl_limiter_t *lim, const skl_limit_place_t *place,
                     skl_limit_ask_t *ask)
{
    skl_limit_take_t t;
    int rc = prepare(&t, lim, place, ask);

    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = decide(&t);
    if (ask->commit) {
        tally(&t, rc);
    }
    return rc;
}
