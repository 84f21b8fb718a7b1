/* The section, the handles and the numbers of breakers; see breaker.h. */
#include "breaker/breaker.h"

#include "base/hash.h"
#include "breaker/merge.h"
#include "breaker/numbers.h"

#include <stdlib.h>

#define DAY (86400 * SKL_NS_PER_SEC)

enum { COUNT_MAX = 1000000 };

/* ---- Section ------------------------------------------------------------- */

uint64_t skl_breakers_bytes(uint32_t breakers)
{
    return sizeof(skl_breakers_shm_t) +
           breakers * (uint64_t)sizeof(skl_breaker_record_t);
}

uint64_t skl_breakers_signature(void)
{
    const uint64_t parts[] = {
        sizeof(skl_breakers_shm_t),
        offsetof(skl_breakers_shm_t, capacity),
        sizeof(skl_breaker_record_t),
        offsetof(skl_breaker_record_t, numbers),
        offsetof(skl_breaker_record_t, state),
        offsetof(skl_breaker_record_t, bucket),
        offsetof(skl_breaker_record_t, probe),
        offsetof(skl_breaker_record_t, stripe),
        sizeof(skl_breaker_numbers_t),
        SKL_STAMP_BITS,
        SKL_GENERATION_BITS,
    };
    const uint64_t format = 1; /* of the words */

    return skl_mix_parts(format, parts, sizeof(parts) / sizeof(parts[0]));
}

void skl_breakers_init(void *section, uint32_t breakers)
{
    skl_breakers_shm_t *shm = section;

    skl_assert((uintptr_t)section % 64 == 0);
    skl_assert(breakers >= 1 && breakers <= SKL_BREAKERS_MAX);
    shm->capacity = breakers;
    skl_lock_init(&shm->lock);
    atomic_init(&shm->count, 0);
}

void skl_breakers_attach(skl_breakers_t *l, void *section,
                         skl_counters_t *counters)
{
    memset(l, 0, sizeof(*l));
    l->shm = section;
    skl_assert(l->shm->capacity >= 1 && l->shm->capacity <= SKL_BREAKERS_MAX);
    l->records = (skl_breaker_record_t *)(void *)((char *)section +
                                                  sizeof(skl_breakers_shm_t));
    l->counters = counters;
}

void skl_breakers_detach(skl_breakers_t *l)
{
    free(atomic_exchange(&l->handles, NULL));
}

uint32_t skl_breakers_count(const skl_breakers_t *l)
{
    return atomic_load_explicit(&l->shm->count, memory_order_acquire);
}

/* ---- Handles ------------------------------------------------------------- */

/* All handles at once, so that they never move and threads can share them. */
static skl_breaker_t *handles(skl_breakers_t *l)
{
    skl_breaker_t *old = atomic_load(&l->handles);
    skl_breaker_t *made;

    if (old != NULL) {
        return old;
    }
    made = calloc(l->shm->capacity, sizeof(*made));
    if (made == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < l->shm->capacity; i++) {
        made[i].breakers = l;
        made[i].record = &l->records[i];
        made[i].index = i;
    }
    if (!atomic_compare_exchange_strong(&l->handles, &old, made)) {
        free(made);
        return old;
    }
    return made;
}

skl_breaker_t *skl_breakers_at(skl_breakers_t *l, uint32_t i)
{
    skl_breaker_t *all = i < skl_breakers_count(l) ? handles(l) : NULL;

    return all == NULL ? NULL : &all[i];
}

/* ---- Numbers ------------------------------------------------------------- */

static int merge(skl_breaker_numbers_t *n, const seckill_breaker_options_t *o)
{
    const int good =
        skl_merge_window(&n->scale, &n->bucket_ns, o->window_ns,
                         SKL_BREAKER_BUCKETS, DAY) &&
        skl_merge_count(&n->min_calls, o->min_calls, COUNT_MAX, 0) &&
        skl_merge_count(&n->probes, o->probes, SKL_BREAKER_PROBES, 0) &&
        skl_merge_count(&n->consecutive, o->consecutive, COUNT_MAX, 1) &&
        skl_merge_share(&n->error_ratio, o->error_ratio) &&
        skl_merge_share(&n->slow_ratio, o->slow_ratio) &&
        skl_merge_share(&n->cpu, o->cpu) &&
        skl_merge_ns(&n->slow_ns, o->slow_ns, 1000, DAY, 0) &&
        skl_merge_ns(&n->open_ns, o->open_ns, SKL_NS_PER_MS, DAY, 0) &&
        skl_merge_ns(&n->ramp_ns, o->ramp_ns, SKL_NS_PER_MS, DAY, 1) &&
        skl_merge_ns(&n->lease_ns, o->probe_timeout_ns, SKL_NS_PER_MS, DAY, 0);

    if (!good || o->mode > SECKILL_LIMIT_SHADOW ||
        (n->slow_ratio > 0 && n->slow_ns == 0)) {
        return SECKILL_EBADOPTION;
    }
    n->mode = o->mode != 0 ? o->mode : n->mode;
    return SECKILL_OK;
}

static const skl_breaker_numbers_t defaults = {
    .bucket_ns = SKL_NS_PER_SEC,
    .min_calls = 20,
    .probes = 3,
    .mode = SECKILL_LIMIT_ENFORCE,
    .error_ratio = 0.5,
    .open_ns = 5 * SKL_NS_PER_SEC,
    .lease_ns = 10 * SKL_NS_PER_SEC,
};

static int change(skl_breaker_record_t *r, const seckill_breaker_options_t *o)
{
    skl_breaker_numbers_t n;
    skl_breaker_numbers_t old;
    int rc;

    skl_assert(r->name[0] != '\0');
    skl_numbers_read(&r->numbers, &n, sizeof(n));
    old = n;
    rc = merge(&n, o);
    if (rc == SECKILL_OK && memcmp(&n, &old, sizeof(n)) != 0) {
        skl_numbers_publish(&r->numbers, &n, sizeof(n));
    }
    return rc;
}

static int create(skl_breakers_t *l, const char *name,
                  const seckill_breaker_options_t *o, int64_t now)
{
    const uint32_t index = skl_breakers_count(l);
    skl_breaker_record_t *r = &l->records[index];
    skl_breaker_numbers_t n = defaults;
    int rc = merge(&n, o);

    if (rc != SECKILL_OK) {
        return rc;
    }
    if (index == l->shm->capacity) {
        return SECKILL_EFULL;
    }
    skl_assert(index < l->shm->capacity && now > 0);
    memset(r->name, 0, sizeof(r->name));
    memcpy(r->name, name, strlen(name));
    r->seed = skl_mix64((uint64_t)now + index);
    skl_numbers_publish(&r->numbers, &n, sizeof(n));
    atomic_store(&r->state.half.a,
                 skl_state_word(SECKILL_BREAKER_CLOSED, 0, 0, 1));
    atomic_store(&r->state.half.b, (uint64_t)now);
    atomic_store_explicit(&l->shm->count, index + 1, memory_order_release);
    return SECKILL_OK;
}

static int open_locked(skl_breakers_t *l, const char *name,
                       const seckill_breaker_options_t *o, int64_t now,
                       uint32_t *index)
{
    const uint32_t count = skl_breakers_count(l);

    for (*index = 0; *index < count; (*index)++) {
        if (strcmp(l->records[*index].name, name) == 0) {
            return change(&l->records[*index], o);
        }
    }
    return create(l, name, o, now);
}

int skl_breakers_open(skl_breakers_t *l, const char *name,
                      const seckill_breaker_options_t *options, int64_t now_ns,
                      skl_breaker_t **out)
{
    const seckill_breaker_options_t none = {.struct_size = sizeof(none)};
    skl_breaker_t *all = handles(l);
    skl_wait_t wait = {0};
    uint32_t index;
    int rc;

    options = options == NULL ? &none : options;
    if (!skl_name_is_valid(name, SECKILL_NAME_MAX)) {
        return SECKILL_EBADNAME;
    }
    if (options->struct_size < sizeof(*options)) {
        return SECKILL_EBADOPTION;
    }
    rc = all == NULL ? SECKILL_ENOMEM
                     : skl_lock_acquire(&l->shm->lock, &wait, NULL, NULL);
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = open_locked(l, name, options, now_ns, &index);
    skl_lock_release(&l->shm->lock);
    if (rc == SECKILL_OK) {
        *out = &all[index];
    }
    return rc;
}

int skl_breaker_set(skl_breaker_t *b, const seckill_breaker_options_t *options)
{
    skl_lock_t *lock = &b->breakers->shm->lock;
    skl_wait_t wait = {0};
    int rc;

    if (options->struct_size < sizeof(*options)) {
        return SECKILL_EBADOPTION;
    }
    rc = skl_lock_acquire(lock, &wait, NULL, NULL);
    if (rc == SECKILL_OK) {
        rc = change(b->record, options);
        skl_lock_release(lock);
    }
    return rc;
}

void skl_breaker_get(skl_breaker_t *b, seckill_breaker_options_t *out)
{
    skl_breaker_numbers_t n;

    skl_breaker_numbers(b, &n);
    memset(out, 0, sizeof(*out));
    out->struct_size = sizeof(*out);
    out->mode = (uint32_t)n.mode;
    out->window_ns = n.bucket_ns * SKL_BREAKER_BUCKETS;
    out->min_calls = (uint32_t)n.min_calls;
    out->probes = (uint32_t)n.probes;
    out->error_ratio = skl_share_or_off(n.error_ratio);
    out->slow_ratio = skl_share_or_off(n.slow_ratio);
    out->cpu = skl_share_or_off(n.cpu);
    out->consecutive = n.consecutive > 0 ? (int64_t)n.consecutive : -1;
    out->slow_ns = n.slow_ns;
    out->open_ns = n.open_ns;
    out->ramp_ns = n.ramp_ns > 0 ? n.ramp_ns : -1;
    out->probe_timeout_ns = n.lease_ns;
}
