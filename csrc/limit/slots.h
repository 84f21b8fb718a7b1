/*
 * One slot of the key table, and finding it. Included by limit/ only. Any
 * thread; see limits.h.
 */
#ifndef SKL_LIMIT_SLOTS_H
#define SKL_LIMIT_SLOTS_H

#include "limit/layout.h"

/* Units from now until the instant; 0 when it is past. */
static inline uint64_t skl_limit_depth(uint64_t instant, uint64_t now)
{
    int64_t d = (int64_t)(instant - now);

#ifdef MUTANT_LIMIT_ABS
    return (uint64_t)(d < 0 ? -d : d);
#else
    return d > 0 ? (uint64_t)d : 0;
#endif
}

/* May the slot be given to another key? It is empty, or as good as new. */
static inline int skl_slot_is_reusable(uint64_t key, uint64_t tat, uint64_t now)
{
#ifdef MUTANT_LIMIT_EVICT_LIVE
    return (key | tat | now) != 0;
#else
    return key == 0 || skl_limit_depth(tat, now) == 0;
#endif
}

static inline int skl_slot_swap(skl_limit_slot_t *slot, uint64_t old_key,
                                uint64_t old_tat, uint64_t key, uint64_t tat)
{
    skl_limit_slot_t old;
    skl_limit_slot_t new;

    atomic_init(&old.half.key, old_key);
    atomic_init(&old.half.tat, old_tat);
    atomic_init(&new.half.key, key);
    atomic_init(&new.half.tat, tat);
#ifdef MUTANT_LIMIT_DROP_CAS_RETRY
    (void)__sync_bool_compare_and_swap(&slot->word, old.word, new.word);
    return 1;
#else
    return __sync_bool_compare_and_swap(&slot->word, old.word, new.word);
#endif
}

/*
 * The state of a slot while it has this key: 1, or 0 when it has another one.
 * The halves are loaded one by one. A new owner's state is always a later
 * instant than the old one's (which had to be spent), so equal states around
 * the load of the key belong to that key.
 */
static inline int skl_slot_read(skl_limit_slot_t *slot, uint64_t key,
                                uint64_t *tat)
{
    uint64_t again;

    do {
        *tat = atomic_load_explicit(&slot->half.tat, memory_order_acquire);
        if (atomic_load_explicit(&slot->half.key, memory_order_acquire) !=
            key) {
            return 0;
        }
        again = atomic_load_explicit(&slot->half.tat, memory_order_relaxed);
    } while (again != *tat);
    return 1;
}

static inline skl_limit_slot_t *skl_slot_find(const skl_limit_place_t *place)
{
    for (int g = 0; g < 2; g++) {
        skl_limit_slot_t *slots = place->group[g]->slots;

        for (int i = 0; i < SKL_LIMIT_WAYS; i++) {
            if (atomic_load_explicit(&slots[i].half.key,
                                     memory_order_relaxed) == place->key) {
                return &slots[i];
            }
        }
    }
    return NULL;
}

/* Both groups follow from the fingerprint alone: a ticket has no more. The
 * stamps of a sliding log have fingerprints in a row, and groups in a row. */
static inline void skl_slot_place(const skl_limits_t *l, uint64_t key,
                                  skl_limit_place_t *place)
{
    const uint64_t mask = l->shm->groups - 1;
    const uint64_t stamp = key % SKL_LIMIT_LOG_MAX;

    place->key = key;
    place->group[0] = &l->groups[((key >> 26) + stamp) & mask];
    place->group[1] = &l->groups[(skl_mix64(key - stamp) + stamp) & mask];
}

static inline uint32_t skl_slot_cell(uint64_t key)
{
    return (uint32_t)((key >> 20) + key % SKL_LIMIT_LOG_MAX) % SKL_LIMIT_CELLS;
}

#endif
