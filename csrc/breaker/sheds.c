/* The section, the handles and the numbers of shedders; see shed.h. */
#include "breaker/shed.h"

#include "base/hash.h"
#include "breaker/merge.h"
#include "breaker/shed_numbers.h"

#include <stdlib.h>

#define HOUR (3600 * SKL_NS_PER_SEC)

enum { INFLIGHT_MAX = 1000000 };

/* ---- Section ------------------------------------------------------------- */

uint64_t skl_sheds_bytes(uint32_t shedders)
{
    return sizeof(skl_sheds_shm_t) +
           shedders * (uint64_t)sizeof(skl_shed_record_t);
}

uint64_t skl_sheds_signature(void)
{
    const uint64_t parts[] = {
        sizeof(skl_sheds_shm_t),
        offsetof(skl_sheds_shm_t, capacity),
        sizeof(skl_shed_record_t),
        offsetof(skl_shed_record_t, numbers),
        offsetof(skl_shed_record_t, last_drop),
        offsetof(skl_shed_record_t, bucket),
        offsetof(skl_shed_record_t, row),
        offsetof(skl_shed_record_t, stripe),
        sizeof(skl_shed_numbers_t),
        sizeof(skl_shed_row_t),
        SKL_STAMP_BITS,
    };
    const uint64_t format = 1; /* of the words */

    return skl_mix_parts(format, parts, sizeof(parts) / sizeof(parts[0]));
}

void skl_sheds_init(void *section, uint32_t shedders)
{
    skl_sheds_shm_t *shm = section;

    skl_assert((uintptr_t)section % 64 == 0);
    skl_assert(shedders >= 1 && shedders <= SKL_SHEDS_MAX);
    shm->capacity = shedders;
    skl_lock_init(&shm->lock);
    atomic_init(&shm->count, 0);
    atomic_init(&shm->top, 0);
}

void skl_sheds_attach(skl_sheds_t *l, void *section, skl_gauge_t *gauge,
                      skl_counters_t *counters)
{
    memset(l, 0, sizeof(*l));
    l->shm = section;
    skl_assert(l->shm->capacity >= 1 && l->shm->capacity <= SKL_SHEDS_MAX);
    l->records = (skl_shed_record_t *)(void *)((char *)section +
                                               sizeof(skl_sheds_shm_t));
    l->gauge = gauge;
    l->counters = counters;
}

void skl_sheds_detach(skl_sheds_t *l)
{
    free(atomic_exchange(&l->handles, NULL));
}

uint32_t skl_sheds_count(const skl_sheds_t *l)
{
    return atomic_load_explicit(&l->shm->count, memory_order_acquire);
}

/* ---- Handles ------------------------------------------------------------- */

/* All handles at once, so that they never move and threads can share them. */
static skl_shed_t *handles(skl_sheds_t *l)
{
    skl_shed_t *old = atomic_load(&l->handles);
    skl_shed_t *made;

    if (old != NULL) {
        return old;
    }
    made = calloc(l->shm->capacity, sizeof(*made));
    if (made == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < l->shm->capacity; i++) {
        made[i].sheds = l;
        made[i].record = &l->records[i];
        made[i].index = i;
    }
    if (!atomic_compare_exchange_strong(&l->handles, &old, made)) {
        free(made);
        return old;
    }
    return made;
}

skl_shed_t *skl_sheds_at(skl_sheds_t *l, uint32_t i)
{
    skl_shed_t *all = i < skl_sheds_count(l) ? handles(l) : NULL;

    return all == NULL ? NULL : &all[i];
}

/* ---- Numbers ------------------------------------------------------------- */

static int merge_cpu(skl_shed_numbers_t *n, const seckill_shedder_options_t *o)
{
    if (!skl_merge_share(&n->cpu_high, o->cpu_high) ||
        !(o->cpu_low >= 0 && o->cpu_low <= 1)) {
        return 0;
    }
    if (o->cpu_low > 0) {
        n->low_given = o->cpu_low;
    }
    n->cpu_low = n->low_given > 0 ? n->low_given : 0.9 * n->cpu_high;
    return n->cpu_high <= 0 || n->cpu_low <= n->cpu_high;
}

static int merge_reserve(skl_shed_numbers_t *n,
                         const seckill_shedder_options_t *o)
{
    double sum = 0;

    for (int p = 0; p < SECKILL_PRIORITIES - 1; p++) {
        if (!skl_merge_share(&n->reserve[p], o->reserve[p])) {
            return 0;
        }
        sum += n->reserve[p];
    }
    return sum <= 1 + 1e-9;
}

static int merge(skl_shed_numbers_t *n, const seckill_shedder_options_t *o)
{
    const int good =
        skl_merge_window(&n->scale, &n->bucket_ns, o->window_ns,
                         SKL_SHED_BUCKETS, HOUR) &&
        skl_merge_ns(&n->cool_ns, o->cool_ns, SKL_NS_PER_MS, HOUR, 0) &&
        skl_merge_count(&n->max_inflight, o->max_inflight, INFLIGHT_MAX, 1) &&
        merge_cpu(n, o) && merge_reserve(n, o);

    if (!good || o->mode > SECKILL_LIMIT_SHADOW) {
        return SECKILL_EBADOPTION;
    }
    n->mode = o->mode != 0 ? o->mode : n->mode;
    return SECKILL_OK;
}

static const skl_shed_numbers_t defaults = {
    .bucket_ns = 100 * SKL_NS_PER_MS,
    .mode = SECKILL_LIMIT_ENFORCE,
    .cpu_high = 0.8,
    .cpu_low = 0.9 * 0.8,
    .cool_ns = SKL_NS_PER_SEC,
    .reserve = {0.1, 0.1, 0.1},
};

static int change(skl_shed_record_t *r, const seckill_shedder_options_t *o)
{
    skl_shed_numbers_t n;
    skl_shed_numbers_t old;
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

static int create(skl_sheds_t *l, const char *name,
                  const seckill_shedder_options_t *o)
{
    const uint32_t index = skl_sheds_count(l);
    skl_shed_record_t *r = &l->records[index];
    skl_shed_numbers_t n = defaults;
    int rc = merge(&n, o);

    if (rc != SECKILL_OK) {
        return rc;
    }
    if (index == l->shm->capacity) {
        return SECKILL_EFULL;
    }
    skl_assert(index < l->shm->capacity);
    memset(r->name, 0, sizeof(r->name));
    memcpy(r->name, name, strlen(name));
    skl_numbers_publish(&r->numbers, &n, sizeof(n));
    atomic_store_explicit(&l->shm->count, index + 1, memory_order_release);
    return SECKILL_OK;
}

static int open_locked(skl_sheds_t *l, const char *name,
                       const seckill_shedder_options_t *o, uint32_t *index)
{
    const uint32_t count = skl_sheds_count(l);

    for (*index = 0; *index < count; (*index)++) {
        if (strcmp(l->records[*index].name, name) == 0) {
            return change(&l->records[*index], o);
        }
    }
    return create(l, name, o);
}

int skl_sheds_open(skl_sheds_t *l, const char *name,
                   const seckill_shedder_options_t *options, skl_shed_t **out)
{
    const seckill_shedder_options_t none = {.struct_size = sizeof(none)};
    skl_shed_t *all = handles(l);
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
    rc = open_locked(l, name, options, &index);
    skl_lock_release(&l->shm->lock);
    if (rc == SECKILL_OK) {
        *out = &all[index];
    }
    return rc;
}

int skl_shed_set(skl_shed_t *s, const seckill_shedder_options_t *options)
{
    skl_lock_t *lock = &s->sheds->shm->lock;
    skl_wait_t wait = {0};
    int rc;

    if (options->struct_size < sizeof(*options)) {
        return SECKILL_EBADOPTION;
    }
    rc = skl_lock_acquire(lock, &wait, NULL, NULL);
    if (rc == SECKILL_OK) {
        rc = change(s->record, options);
        skl_lock_release(lock);
    }
    return rc;
}

void skl_shed_get(skl_shed_t *s, seckill_shedder_options_t *out)
{
    skl_shed_numbers_t n;

    skl_shed_numbers(s, &n);
    memset(out, 0, sizeof(*out));
    out->struct_size = sizeof(*out);
    out->mode = (uint32_t)n.mode;
    out->cpu_high = skl_share_or_off(n.cpu_high);
    out->cpu_low = n.cpu_low;
    out->cool_ns = n.cool_ns;
    out->window_ns = n.bucket_ns * SKL_SHED_BUCKETS;
    out->max_inflight = n.max_inflight > 0 ? (int64_t)n.max_inflight : -1;
    for (int p = 0; p < SECKILL_PRIORITIES - 1; p++) {
        out->reserve[p] = skl_share_or_off(n.reserve[p]);
    }
}
