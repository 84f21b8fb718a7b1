/* The section, and the numbers of the limiters; see limits.h. */
#include "limit/limits.h"

#include "base/assert.h"
#include "limit/layout.h"
#include "limit/override.h"
#include "limit/window.h"

#include <stdlib.h>
#include <string.h>

/* ---- Section ------------------------------------------------------------- */

static uint64_t group_count(uint32_t limit_keys)
{
    uint64_t slots = SKL_LIMIT_WAYS;

    while (slots < 2 * (uint64_t)limit_keys) {
        slots *= 2;
    }
    return slots / SKL_LIMIT_WAYS;
}

uint64_t skl_limits_bytes(const skl_limits_size_t *size)
{
    return sizeof(skl_limits_shm_t) +
           size->limiters * (uint64_t)sizeof(skl_limit_record_t) +
           skl_overrides_cells(size->overrides) *
               sizeof(skl_limit_exception_t) +
           group_count(size->keys) * sizeof(skl_limit_group_t);
}

uint64_t skl_limits_signature(void)
{
    const uint64_t parts[] = {
        sizeof(skl_limits_shm_t),
        offsetof(skl_limits_shm_t, stripes),
        sizeof(skl_limit_record_t),
        offsetof(skl_limit_record_t, rule),
        offsetof(skl_limit_record_t, undo_begun),
        offsetof(skl_limit_record_t, store),
        offsetof(skl_limit_record_t, cells),
        offsetof(skl_limit_record_t, stripes),
        sizeof(skl_limit_exception_t),
        sizeof(skl_limit_group_t),
        sizeof(skl_limit_slot_t),
        sizeof(skl_limit_rule_t),
        SKL_LIMIT_SHIFT,
        SKL_LIMIT_COUNTS,
    };
    const uint64_t format = 3; /* of the table */

    return skl_mix_parts(format, parts, sizeof(parts) / sizeof(parts[0]));
}

void skl_limits_init(void *section, const skl_limits_size_t *size)
{
    skl_limits_shm_t *shm = section;

    skl_assert((uintptr_t)section % 64 == 0);
    skl_assert(size->limiters >= 1 && size->keys >= 1);
    shm->limiters = size->limiters;
    shm->overrides = size->overrides;
    shm->exceptions = skl_overrides_cells(size->overrides);
    shm->groups = group_count(size->keys);
    shm->rebuilt_ns = 0;
    skl_lock_init(&shm->lock);
    for (int i = 0; i < SKL_LIMIT_STRIPES; i++) {
        skl_lock_init(&shm->stripes[i]);
    }
    atomic_init(&shm->count, 0);
}

void skl_limits_rebuilt(void *section, int64_t now_ns)
{
    skl_limits_shm_t *shm = section;

    skl_assert(atomic_load(&shm->count) == 0);
    shm->rebuilt_ns = now_ns;
}

void skl_limits_attach(skl_limits_t *l, void *section,
                       const skl_hash_key_t *key, skl_counters_t *counters)
{
    char *at = section;

    memset(l, 0, sizeof(*l));
    l->shm = section;
    skl_assert(l->shm->limiters >= 1);
    skl_assert((l->shm->groups & (l->shm->groups - 1)) == 0);
    at += sizeof(skl_limits_shm_t);
    l->records = (skl_limit_record_t *)(void *)at;
    at += l->shm->limiters * sizeof(skl_limit_record_t);
    l->exceptions = (skl_limit_exception_t *)(void *)at;
    at += l->shm->exceptions * sizeof(skl_limit_exception_t);
    l->groups = (skl_limit_group_t *)(void *)at;
    l->key = *key;
    l->counters = counters;
}

void skl_limits_detach(skl_limits_t *l)
{
    free(atomic_exchange(&l->handles, NULL));
}

uint32_t skl_limits_count(const skl_limits_t *l)
{
    return atomic_load_explicit(&l->shm->count, memory_order_acquire);
}

const char *skl_limits_name(const skl_limits_t *l, uint32_t index)
{
    return index < skl_limits_count(l) ? l->records[index].name : NULL;
}

uint64_t skl_limits_groups(const skl_limits_t *l)
{
    return l->shm->groups;
}

/* ---- Handles ------------------------------------------------------------- */

static void fill_handle(skl_limits_t *l, skl_limiter_t *lim, uint32_t index)
{
    lim->limits = l;
    lim->record = &l->records[index];
    lim->index = index;
    lim->key = l->key;
    /* The hash key carries the limiter: equal keys of two limiters differ. */
    lim->key.k0 ^= skl_mix64(index + UINT64_C(0x9e3779b97f4a7c15));
}

/* All handles at once, so that they never move and threads can share them. */
static skl_limiter_t *handles(skl_limits_t *l)
{
    skl_limiter_t *old = atomic_load(&l->handles);
    skl_limiter_t *made;

    if (old != NULL) {
        return old;
    }
    made = calloc(l->shm->limiters, sizeof(*made));
    if (made == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < l->shm->limiters; i++) {
        fill_handle(l, &made[i], i);
    }
    if (!atomic_compare_exchange_strong(&l->handles, &old, made)) {
        free(made);
        return old;
    }
    return made;
}

skl_limiter_t *skl_limits_at(skl_limits_t *l, uint32_t i)
{
    skl_limiter_t *all = i < skl_limits_count(l) ? handles(l) : NULL;

    return all == NULL ? NULL : &all[i];
}

const char *skl_limiter_name(const skl_limiter_t *lim)
{
    return lim->record->name;
}

int skl_limiter_holds(const skl_limiter_t *lim)
{
    return lim->record->algorithm == SECKILL_CONCURRENCY;
}

/* ---- Counts -------------------------------------------------------------- */

uint64_t skl_limiter_counted(const skl_limiter_t *lim, int which)
{
    uint64_t sum = 0;

    skl_assert(which >= 0 && which < SKL_LIMIT_COUNTS);
    for (int i = 0; i < SKL_STRIPES; i++) {
        sum += atomic_load_explicit(&lim->record->stripes[i].count[which],
                                    memory_order_relaxed);
    }
    return sum;
}

uint64_t skl_limits_counted(const skl_limits_t *l, int which)
{
    uint32_t count = skl_limits_count(l);
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++) {
        const skl_limiter_t lim = {.record = &l->records[i]};

        sum += skl_limiter_counted(&lim, which);
    }
    return sum;
}

/* ---- Numbers ------------------------------------------------------------- */

static int is_same(const skl_limit_rule_t *a, const skl_limit_rule_t *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* Change a record. Keys keep their TAT, the debt they have in time; a debt
 * that is deeper than the new burst counts as a used-up burst (take.c). */
static int change(skl_limits_t *l, skl_limit_record_t *r,
                  const seckill_limit_t *limit, int64_t now_ns)
{
    skl_limit_rule_t old;
    skl_limit_rule_t n;
    int64_t debts;
    int rc;

    skl_limit_copy(&r->rule, &old, SKL_LIMIT_WORDS);
    n = old;
    debts = skl_limit_debt_until(&old, now_ns);
    if (limit->algorithm != 0 && limit->algorithm != r->algorithm) {
        return limit->algorithm > SECKILL_CONCURRENCY ? SECKILL_EBADOPTION
                                                      : SECKILL_ECONFLICT;
    }
    rc = skl_limit_rule_merge(&n, limit, l->offset_ns, 0);
    if (rc != SECKILL_OK || is_same(&n, &old)) {
        return rc;
    }
    if (debts > n.debt_until_ns) {
        n.debt_until_ns = debts;
    }
    skl_limit_note_cut(r, &old, &n, now_ns);
    skl_limit_publish(&r->rule, &n);
    return SECKILL_OK;
}

/* The state in which keys begin: that of their cell. After the loss of the
 * segment before this one it is spent, as of that instant: whatever they had
 * taken is paid off by then. */
static uint64_t first_state(const skl_limits_shm_t *shm,
                            const skl_limit_rule_t *r, uint64_t now)
{
    const uint64_t lost = skl_limit_units(shm->rebuilt_ns);

    if (shm->rebuilt_ns == 0 || r->algorithm == SECKILL_CONCURRENCY) {
        return now;
    }
    if (r->algorithm == SECKILL_FIXED_WINDOW ||
        r->algorithm == SECKILL_SLIDING_WINDOW) {
        return skl_window_spent(r, shm->rebuilt_ns);
    }
    return r->warm == SKL_WARM_SCHEDULE ? skl_warm_word(r, r->window, lost)
                                        : lost + r->window;
}

static int create(skl_limits_t *l, const char *name,
                  const seckill_limit_t *limit, uint64_t now)
{
    uint32_t index = skl_limits_count(l);
    skl_limit_record_t *r = &l->records[index];
    skl_limit_rule_t n;
    int rc = skl_limit_rule_make(&n, limit, l->offset_ns);

    if (rc != SECKILL_OK) {
        return rc;
    }
    if (index == l->shm->limiters) {
        return SECKILL_EFULL;
    }
    n.debt_until_ns = 0;
    atomic_store(&r->cut_ns, INT64_MIN);
    atomic_store(&r->seen_ns, INT64_MIN);
    memset(r->name, 0, sizeof(r->name));
    memcpy(r->name, name, strlen(name));
    r->algorithm = n.algorithm;
    for (int i = 0; i < SKL_LIMIT_CELLS; i++) {
        atomic_store(&r->cells[i], first_state(l->shm, &n, now));
    }
    skl_limit_publish(&r->rule, &n);
    atomic_store_explicit(&l->shm->count, index + 1, memory_order_release);
    return SECKILL_OK;
}

static int valid_name(const char *name)
{
    size_t len = name == NULL ? 0 : strnlen(name, SECKILL_NAME_MAX + 1);

    if (len == 0 || len > SECKILL_NAME_MAX) {
        return 0;
    }
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

static uint32_t find_name(const skl_limits_t *l, const char *name)
{
    uint32_t count = skl_limits_count(l);
    uint32_t i = 0;

    while (i < count && strcmp(l->records[i].name, name) != 0) {
        i++;
    }
    return i;
}

static int open_locked(skl_limits_t *l, const char *name,
                       const seckill_limit_t *limit, int64_t now_ns,
                       uint32_t *index)
{
    *index = find_name(l, name);
    if (*index < skl_limits_count(l)) {
        return change(l, &l->records[*index], limit, now_ns);
    }
    return create(l, name, limit, skl_limit_units(now_ns));
}

int skl_limits_open(skl_limits_t *l, const char *name,
                    const seckill_limit_t *limit, int64_t now_ns,
                    skl_limiter_t **out)
{
    const seckill_limit_t none = {.struct_size = sizeof(none)};
    skl_limiter_t *all = handles(l);
    skl_wait_t wait = {0};
    uint32_t index;
    int rc;

    limit = limit == NULL ? &none : limit;
    if (!valid_name(name)) {
        return SECKILL_EBADNAME;
    }
    if (all == NULL) {
        return SECKILL_ENOMEM;
    }
    rc = skl_lock_acquire(&l->shm->lock, &wait, NULL, NULL);
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = open_locked(l, name, limit, now_ns, &index);
    skl_lock_release(&l->shm->lock);
    if (rc == SECKILL_OK) {
        *out = &all[index];
    }
    return rc;
}

int skl_limiter_set(skl_limiter_t *lim, const seckill_limit_t *limit,
                    int64_t now_ns)
{
    skl_lock_t *lock = &lim->limits->shm->lock;
    skl_wait_t wait = {0};
    int rc = skl_lock_acquire(lock, &wait, NULL, NULL);

    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = change(lim->limits, lim->record, limit, now_ns);
    skl_lock_release(lock);
    return rc;
}

void skl_limiter_get(skl_limiter_t *lim, seckill_limit_t *out)
{
    skl_limit_rule_t r;

    skl_limit_copy(&lim->record->rule, &r, SKL_LIMIT_WORDS);
    skl_limit_rule_get(&r, out);
}
