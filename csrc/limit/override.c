/* See override.h. */
#include "limit/override.h"

#include "base/assert.h"

uint64_t skl_overrides_cells(uint32_t overrides)
{
    uint64_t cells = 4;

    while (cells < 2 * (uint64_t)overrides) {
        cells *= 2;
    }
    return cells;
}

static inline uint64_t home(const skl_limits_t *l, uint64_t key)
{
    return skl_mix64(key) & (l->shm->exceptions - 1);
}

/* The cell of a key, or NULL; *gap: the first that can take it. */
static skl_limit_exception_t *find_cell(const skl_limits_t *l, uint64_t key,
                                        skl_limit_exception_t **gap)
{
    const uint64_t mask = l->shm->exceptions - 1;
    uint64_t at = home(l, key);

    skl_assert(key > SKL_LIMIT_GONE);
    *gap = NULL;
    for (uint64_t i = 0; i <= mask; i++, at = (at + 1) & mask) {
        skl_limit_exception_t *x = &l->exceptions[at];
        uint64_t found = atomic_load_explicit(&x->key, memory_order_acquire);

        if (found == key) {
            return x;
        }
        if (found <= SKL_LIMIT_GONE && *gap == NULL) {
            *gap = x;
        }
        if (found == 0) {
            break;
        }
    }
    return NULL;
}

int skl_override_find(const skl_limits_t *l, uint64_t key,
                      skl_limit_rule_t *out)
{
    skl_limit_exception_t *gap;
    skl_limit_exception_t *x = find_cell(l, key, &gap);

    while (x != NULL) {
        skl_limit_copy(&x->rule, out, SKL_LIMIT_WORDS);
        if (atomic_load_explicit(&x->key, memory_order_relaxed) == key) {
            return 1;
        }
        x = find_cell(l, key, &gap);
    }
    return 0;
}

/* ---- Changes, under the lock --------------------------------------------- */

/* Room for one more: EFULL. The count may be too high, after a death. */
static int claim(skl_limits_t *l)
{
    uint32_t used = 0;

    if (atomic_load(&l->shm->overridden) < l->shm->overrides) {
        atomic_fetch_add(&l->shm->overridden, 1);
        return SECKILL_OK;
    }
    for (uint64_t i = 0; i < l->shm->exceptions; i++) {
        used += atomic_load(&l->exceptions[i].key) > SKL_LIMIT_GONE;
    }
    atomic_store(&l->shm->overridden, used);
    if (used >= l->shm->overrides) {
        return SECKILL_EFULL;
    }
    atomic_fetch_add(&l->shm->overridden, 1);
    return SECKILL_OK;
}

/* Keys may still have debts of the rule that goes: see is_old_debt (take.c). */
static void note_debts(skl_limit_live_rule_t *live, int64_t until)
{
    skl_limit_rule_t r;

    skl_limit_copy(live, &r, SKL_LIMIT_WORDS);
    if (until > r.debt_until_ns) {
        r.debt_until_ns = until;
        skl_limit_publish(live, &r);
    }
}

static void remove_cell(skl_limits_t *l, skl_limit_exception_t *x)
{
    const uint64_t mask = l->shm->exceptions - 1;
    uint64_t at = (uint64_t)(x - l->exceptions);

    skl_assert(at <= mask);
    atomic_store(&x->key, SKL_LIMIT_GONE);
    if (atomic_load(&l->exceptions[(at + 1) & mask].key) != 0) {
        return;
    }
    /* Nobody goes on behind it: the marks before it are not needed. */
    while (atomic_load(&l->exceptions[at].key) == SKL_LIMIT_GONE) {
        atomic_store(&l->exceptions[at].key, 0);
        at = (at - 1) & mask;
    }
}

static int take_away(skl_limiter_t *lim, uint64_t key, int64_t now_ns)
{
    skl_limit_exception_t *gap;
    skl_limit_exception_t *x = find_cell(lim->limits, key, &gap);
    skl_limit_rule_t r;
    skl_limit_rule_t own;

    if (x == NULL) {
        return SECKILL_ENOTFOUND;
    }
    skl_limit_copy(&x->rule, &r, SKL_LIMIT_WORDS);
    skl_limit_copy(&lim->record->rule, &own, SKL_LIMIT_WORDS);
    skl_limit_note_cut(lim->record, &r, &own, now_ns);
    note_debts(&lim->record->rule, skl_limit_debt_until(&r, now_ns));
    remove_cell(lim->limits, x);
    atomic_fetch_sub(&lim->record->overrides, 1);
    atomic_fetch_sub(&lim->limits->shm->overridden, 1);
    return SECKILL_OK;
}

static int put_new(skl_limiter_t *lim, uint64_t key, skl_limit_exception_t *gap,
                   const skl_limit_rule_t *r)
{
    int rc = claim(lim->limits);

    if (rc != SECKILL_OK) {
        return rc;
    }
    skl_assert(gap != NULL);
    skl_limit_publish(&gap->rule, r);
    /* Counted first: who does not see the count does not look. */
    atomic_fetch_add(&lim->record->overrides, 1);
    atomic_store(&gap->key, key);
    return SECKILL_OK;
}

static int put(skl_limiter_t *lim, uint64_t key, const seckill_limit_t *limit,
               int64_t now_ns)
{
    skl_limits_t *l = lim->limits;
    skl_limit_exception_t *gap;
    skl_limit_exception_t *x = find_cell(l, key, &gap);
    skl_limit_live_rule_t *live = x == NULL ? &lim->record->rule : &x->rule;
    skl_limit_rule_t old;
    skl_limit_rule_t r;
    int64_t debts;
    int rc;

    if (limit->algorithm != 0 && limit->algorithm != lim->record->algorithm) {
        return SECKILL_ECONFLICT;
    }
    skl_limit_copy(live, &old, SKL_LIMIT_WORDS);
    r = old;
    debts = skl_limit_debt_until(&r, now_ns);
    rc = skl_limit_rule_merge(&r, limit, l->offset_ns, 0);
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (debts > r.debt_until_ns) {
        r.debt_until_ns = debts;
    }
    skl_limit_note_cut(lim->record, &old, &r, now_ns);
    if (x == NULL) {
        return put_new(lim, key, gap, &r);
    }
    skl_limit_publish(live, &r);
    return SECKILL_OK;
}

int skl_limiter_override(skl_limiter_t *lim, const skl_limit_place_t *place,
                         const seckill_limit_t *limit, int64_t now_ns)
{
    skl_lock_t *lock = &lim->limits->shm->lock;
    skl_wait_t wait = {0};
    int rc = skl_lock_acquire(lock, &wait, NULL, NULL);

    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = limit == NULL ? take_away(lim, place->key, now_ns)
                       : put(lim, place->key, limit, now_ns);
    skl_lock_release(lock);
    return rc;
}
