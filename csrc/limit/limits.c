/* The section, and the numbers of the limiters; see limits.h. */
#include "limit/limits.h"

#include "base/assert.h"
#include "limit/layout.h"

#include <stdlib.h>
#include <string.h>

#define UNITS_PER_SECOND 256e9L
#define RATE_MIN 1e-7
#define RATE_MAX 1e7
#define BURST_MAX 1e9

/* ---- Section ------------------------------------------------------------- */

static uint64_t group_count(uint32_t limit_keys)
{
    uint64_t slots = SKL_LIMIT_WAYS;

    while (slots < 2 * (uint64_t)limit_keys) {
        slots *= 2;
    }
    return slots / SKL_LIMIT_WAYS;
}

uint64_t skl_limits_bytes(uint32_t limit_keys, uint32_t limiters)
{
    return sizeof(skl_limits_shm_t) +
           limiters * (uint64_t)sizeof(skl_limit_record_t) +
           group_count(limit_keys) * sizeof(skl_limit_group_t);
}

uint64_t skl_limits_signature(void)
{
    const uint64_t parts[] = {
        sizeof(skl_limits_shm_t),
        offsetof(skl_limits_shm_t, stripes),
        sizeof(skl_limit_record_t),
        offsetof(skl_limit_record_t, version),
        offsetof(skl_limit_record_t, numbers),
        offsetof(skl_limit_record_t, undo_begun),
        offsetof(skl_limit_record_t, cells),
        sizeof(skl_limit_group_t),
        sizeof(skl_limit_slot_t),
        sizeof(skl_limit_numbers_t),
        SKL_LIMIT_SHIFT,
    };
    uint64_t mix = 1; /* format of the table */

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        mix = skl_mix64(mix ^ parts[i]) + i;
    }
    return mix;
}

void skl_limits_init(void *section, uint32_t limit_keys, uint32_t limiters)
{
    skl_limits_shm_t *shm = section;

    skl_assert((uintptr_t)section % 64 == 0);
    skl_assert(limiters >= 1 && limit_keys >= 1);
    shm->limiters = limiters;
    shm->groups = group_count(limit_keys);
    skl_lock_init(&shm->lock);
    for (int i = 0; i < SKL_LIMIT_STRIPES; i++) {
        skl_lock_init(&shm->stripes[i]);
    }
    atomic_init(&shm->count, 0);
}

void skl_limits_attach(skl_limits_t *l, void *section,
                       const skl_hash_key_t *key, skl_counters_t *counters)
{
    char *base = section;

    memset(l, 0, sizeof(*l));
    l->shm = section;
    skl_assert(l->shm->limiters >= 1);
    skl_assert((l->shm->groups & (l->shm->groups - 1)) == 0);
    base += sizeof(skl_limits_shm_t);
    l->records = (skl_limit_record_t *)(void *)base;
    base += l->shm->limiters * sizeof(skl_limit_record_t);
    l->groups = (skl_limit_group_t *)(void *)base;
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

/* ---- Numbers ------------------------------------------------------------- */

/* Derive the fixed-point numbers from rate and burst, rounded so that never
 * more is admitted than they say. */
static int derive(skl_limit_numbers_t *n)
{
    long double exact;
    uint64_t whole;
    uint64_t part;

    if (!(n->rate >= RATE_MIN && n->rate <= RATE_MAX) ||
        !(n->burst >= 1 && n->burst <= BURST_MAX)) {
        return SECKILL_EBADOPTION;
    }
    exact = UNITS_PER_SECOND / (long double)n->rate;
    n->interval = (uint64_t)exact;
    n->interval += (long double)n->interval < exact ? 1 : 0;
    whole = (uint64_t)n->burst;
    part = (uint64_t)(((long double)n->burst - (long double)whole) *
                      (long double)n->interval);
    if (__builtin_mul_overflow(whole, n->interval, &n->window) ||
        __builtin_add_overflow(n->window, part, &n->window) ||
        n->window > SKL_LIMIT_WINDOW_MAX) {
        return SECKILL_EBADOPTION;
    }
    n->inverse = 1 / (double)n->interval;
    skl_assert(n->interval > 0 && n->window >= n->interval);
    return SECKILL_OK;
}

/* The numbers in force; for the holder of the lock. */
static void read_numbers(skl_limit_record_t *r, skl_limit_numbers_t *out)
{
    uint64_t words[SKL_LIMIT_WORDS];
    uint64_t version = atomic_load(&r->version);

    for (int i = 0; i < SKL_LIMIT_WORDS; i++) {
        words[i] = atomic_load(&r->numbers[version & 1].word[i]);
    }
    memcpy(out, words, sizeof(words));
}

static void publish(skl_limit_record_t *r, const skl_limit_numbers_t *numbers)
{
    uint64_t words[SKL_LIMIT_WORDS];
    uint64_t next = atomic_load(&r->version) + 1;

    memcpy(words, numbers, sizeof(words));
    for (int i = 0; i < SKL_LIMIT_WORDS; i++) {
        atomic_store(&r->numbers[next & 1].word[i], words[i]);
    }
    atomic_store(&r->version, next);
}

static int check_shape(const seckill_limit_t *limit)
{
    if (limit->struct_size < sizeof(*limit)) {
        return SECKILL_EBADOPTION;
    }
    if (limit->algorithm != 0 && limit->algorithm != SECKILL_TOKEN_BUCKET) {
        return SECKILL_EBADOPTION;
    }
    return limit->mode > SECKILL_LIMIT_SHADOW ? SECKILL_EBADOPTION : SECKILL_OK;
}

/* Put the fields that are given over those in force. NaN is given. */
static int merge(skl_limit_numbers_t *n, const seckill_limit_t *limit)
{
    if (limit->rate < 0 || limit->rate > 0 || limit->rate != limit->rate) {
        n->rate = limit->rate;
    }
    if (limit->burst < 0 || limit->burst > 0 || limit->burst != limit->burst) {
        n->burst = limit->burst;
    }
    if (limit->mode != 0) {
        n->mode = limit->mode;
    }
    return derive(n);
}

/* Change a record. Keys keep their TAT, the debt they have in time; a debt
 * that is deeper than the new burst counts as a used-up burst (bucket.c). */
static int change(skl_limit_record_t *r, const seckill_limit_t *limit,
                  uint64_t now)
{
    skl_limit_numbers_t old;
    skl_limit_numbers_t n;
    int rc;

    read_numbers(r, &old);
    n = old;
    if (limit->algorithm != 0 && limit->algorithm != r->algorithm) {
        return SECKILL_ECONFLICT;
    }
    rc = merge(&n, limit);
    if (rc != SECKILL_OK || memcmp(&n, &old, sizeof(n)) == 0) {
        return rc;
    }
    if ((int64_t)(now + old.window - n.debt_until) > 0) {
        n.debt_until = now + old.window;
    }
    publish(r, &n);
    return SECKILL_OK;
}

static int create(skl_limits_t *l, const char *name,
                  const seckill_limit_t *limit, uint64_t now)
{
    uint32_t index = skl_limits_count(l);
    skl_limit_record_t *r = &l->records[index];
    skl_limit_numbers_t n;
    int rc;

    memset(&n, 0, sizeof(n));
    n.mode = SECKILL_LIMIT_ENFORCE;
    n.burst = limit->rate > 100 ? limit->rate / 100 : 1;
    n.debt_until = now;
    rc = merge(&n, limit);
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (index == l->shm->limiters) {
        return SECKILL_EFULL;
    }
    memset(r->name, 0, sizeof(r->name));
    memcpy(r->name, name, strlen(name));
    r->algorithm = SECKILL_TOKEN_BUCKET;
    for (int i = 0; i < SKL_LIMIT_CELLS; i++) {
        atomic_store(&r->cells[i], now);
    }
    publish(r, &n);
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
                       const seckill_limit_t *limit, uint64_t now,
                       uint32_t *index)
{
    *index = find_name(l, name);
    if (*index < skl_limits_count(l)) {
        return change(&l->records[*index], limit, now);
    }
    return create(l, name, limit, now);
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
    rc = all == NULL ? SECKILL_ENOMEM : check_shape(limit);
    if (rc == SECKILL_OK) {
        rc = skl_lock_acquire(&l->shm->lock, &wait, NULL, NULL);
    }
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = open_locked(l, name, limit, skl_limit_units(now_ns), &index);
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
    int rc = check_shape(limit);

    if (rc == SECKILL_OK) {
        rc = skl_lock_acquire(lock, &wait, NULL, NULL);
    }
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = change(lim->record, limit, skl_limit_units(now_ns));
    skl_lock_release(lock);
    return rc;
}

void skl_limiter_get(skl_limiter_t *lim, seckill_limit_t *out)
{
    skl_limit_numbers_t n;

    skl_limit_numbers(lim->record, &n);
    memset(out, 0, sizeof(*out));
    out->struct_size = sizeof(*out);
    out->algorithm = lim->record->algorithm;
    out->rate = n.rate;
    out->burst = n.burst;
    out->mode = (uint32_t)n.mode;
}
