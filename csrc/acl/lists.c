/* Slots, handles and lookup of the access lists; see lists.h. */
#include "acl/lists.h"

#include "base/assert.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 16 };

skl_static_assert(offsetof(skl_list_hit_t, parent) ==
                      offsetof(skl_index_hit_t, parent),
                  "one struct under two names");

/* ---- Section ------------------------------------------------------------- */

static uint64_t slots_end(uint32_t lists)
{
    uint64_t end =
        sizeof(skl_lists_shm_t) + (uint64_t)lists * sizeof(skl_list_slot_t);

    return (end + 63) & ~(uint64_t)63;
}

uint64_t skl_lists_bytes(uint32_t lists, uint32_t overlay)
{
    return slots_end(lists) + skl_overlay_bytes(lists, overlay);
}

uint64_t skl_lists_signature(void)
{
    const uint64_t parts[] = {
        sizeof(skl_lists_shm_t),
        sizeof(skl_list_slot_t),
        offsetof(skl_list_slot_t, name),
        offsetof(skl_list_slot_t, good),
        offsetof(skl_list_slot_t, bad),
        sizeof(skl_overlay_shm_t),
        sizeof(skl_overlay_slot_t),
        sizeof(skl_overlay_list_t),
        SKL_OVERLAY_RING,
        sizeof(skl_overlay_lengths_t),
        sizeof(skl_list_good_t),
        sizeof(skl_list_bad_t),
        SKL_INDEX_VERSION,
        SKL_NET_VERSION,
        SKL_OVERLAY_WINDOW,
        SKL_ROLE_COUNT,
    };
    uint64_t sum = 0;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        sum = skl_mix64(sum ^ parts[i]);
    }
    return sum;
}

void skl_lists_init(void *section, uint32_t lists, uint32_t overlay)
{
    skl_lists_shm_t *shm = section;

    skl_assert(lists > 0);
    for (int i = 0; i < SKL_ROLE_COUNT; i++) {
        skl_lock_init(&shm->roles[i]);
    }
    skl_lock_init(&shm->table_lock);
    shm->capacity = lists;
    shm->overlay_offset = slots_end(lists);
    for (uint32_t i = 0; i < lists; i++) {
        skl_lock_init(&shm->slots[i].load_lock);
    }
    skl_overlay_init((char *)section + shm->overlay_offset, lists, overlay);
}

void skl_lists_attach(skl_lists_t *l, void *section, const skl_hash_key_t *key,
                      skl_counters_t *counters)
{
    skl_assert((uintptr_t)section % 64 == 0 && counters != NULL);
    memset(l, 0, sizeof(*l));
    l->shm = section;
    l->key = *key;
    l->counters = counters;
    skl_overlay_attach(&l->overlay, (char *)section + l->shm->overlay_offset,
                       key);
}

/* ---- Threads of this process --------------------------------------------- */

/* Raised in every child: what was noted before the fork is of the parent. */
static _Atomic uint32_t fork_epoch = 1;

static void count_fork(void)
{
    atomic_fetch_add(&fork_epoch, 1);
}

static void watch_forks(void)
{
    int rc = pthread_atfork(NULL, NULL, count_fork);

    skl_assert(rc == 0);
}

int skl_lists_threaded(const skl_lists_t *l)
{
    return atomic_load_explicit(&l->threads, memory_order_relaxed) ==
           atomic_load_explicit(&fork_epoch, memory_order_relaxed);
}

void skl_lists_set_threaded(skl_lists_t *l, int on)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, watch_forks);
    atomic_store(&l->threads, on ? atomic_load(&fork_epoch) : 0);
}

uint32_t skl_lists_epoch(void)
{
    return atomic_load(&fork_epoch);
}

/* ---- Slots --------------------------------------------------------------- */

static int find_slot(const skl_lists_t *l, const char *name, uint32_t *number)
{
    for (uint32_t i = 0; i < l->shm->capacity; i++) {
        const skl_list_slot_t *slot = &l->shm->slots[i];

        if (atomic_load(&slot->state) == 0) {
            *number = i;
            return 0;
        }
        if (strcmp(slot->name, name) == 0) {
            *number = i;
            return 1;
        }
    }
    *number = l->shm->capacity;
    return 0;
}

static void set_number(_Atomic uint32_t *field, uint32_t value, uint32_t usual)
{
    if (value != 0) {
        atomic_store(field, value);
    } else if (atomic_load(field) == 0) {
        atomic_store(field, usual);
    }
}

static void set_options(skl_list_slot_t *slot, const seckill_list_options_t *o)
{
    set_number(&slot->watch, o->watch, 1);
    set_number(&slot->max_bad_lines, o->max_bad_lines, 100);
    set_number(&slot->settle_ms, o->settle_ms, 100);
    if (o->max_bytes != 0 || atomic_load(&slot->max_bytes) == 0) {
        atomic_store(&slot->max_bytes,
                     o->max_bytes != 0 ? o->max_bytes : (uint64_t)1 << 30);
    }
    if (o->max_entries != 0 || atomic_load(&slot->max_entries) == 0) {
        atomic_store(&slot->max_entries,
                     o->max_entries != 0 ? o->max_entries : (uint64_t)1 << 27);
    }
    if (o->file != NULL) {
        atomic_store(&slot->allow_empty, o->allow_empty);
    }
}

static int set_file(skl_list_slot_t *slot, const char *path)
{
    if (path == NULL) {
        return SECKILL_OK;
    }
    if (atomic_load(&slot->has_file)) {
        if (strcmp(slot->file, path) == 0) {
            return SECKILL_OK;
        }
        /* A path that never worked was a mistake: it may be put right. */
        if (atomic_load(&slot->current) != 0) {
            return SECKILL_ECONFLICT;
        }
        atomic_store(&slot->has_file, 0);
    }
    memset(slot->file, 0, sizeof(slot->file));
    memcpy(slot->file, path, strlen(path));
    atomic_store(&slot->has_file, 1);
    return SECKILL_OK;
}

static int use_slot(skl_lists_t *l, const char *name, const char *path,
                    const seckill_list_options_t *o, uint32_t *number)
{
    int known = find_slot(l, name, number);
    skl_list_slot_t *slot;
    int rc;

    if (*number == l->shm->capacity) {
        return SECKILL_EFULL;
    }
    slot = &l->shm->slots[*number];
    if (!known) {
        /* What a dead creator may have left here is written over. */
        atomic_store(&slot->has_file, 0);
        memset(slot->name, 0, sizeof(slot->name));
        memcpy(slot->name, name, strlen(name));
        slot->kind = o->kind;
        skl_overlay_name(&l->overlay, *number,
                         skl_hash128(&l->key, name, strlen(name)).lo);
    } else if (o->kind != 0 && slot->kind != o->kind) {
        return SECKILL_ECONFLICT;
    }
    rc = set_file(slot, path);
    if (rc == SECKILL_OK) {
        set_options(slot, o);
        atomic_store(&slot->state, 1);
    }
    return rc;
}

int skl_lists_slot(skl_lists_t *l, const char *name, const char *path,
                   const seckill_list_options_t *options, uint32_t *number)
{
    skl_wait_t wait = {0};
    int rc;

    skl_assert(strlen(name) <= SECKILL_NAME_MAX);
    skl_assert(path == NULL || strlen(path) < SKL_LIST_FILE_MAX);
    rc = skl_lock_acquire(&l->shm->table_lock, &wait, NULL, NULL);
    if (rc == SECKILL_OK) {
        rc = use_slot(l, name, path, options, number);
        skl_lock_release(&l->shm->table_lock);
    }
    return rc;
}

static struct seckill_list *find_handle(skl_lists_t *l, uint32_t number)
{
    struct seckill_list *list = atomic_load(&l->first);

    while (list != NULL && list->number != number) {
        list = list->next;
    }
    return list;
}

/* The program and the io thread may both make one: the first stays. */
int skl_lists_handle(skl_lists_t *l, uint32_t number, struct seckill_list **out)
{
    struct seckill_list *made = NULL;

    skl_assert(number < l->shm->capacity);
    for (;;) {
        struct seckill_list *first = atomic_load(&l->first);

        *out = find_handle(l, number);
        if (*out != NULL) {
            free(made);
            return SECKILL_OK;
        }
        if (made == NULL) {
            made = calloc(1, sizeof(*made));
            if (made == NULL) {
                return SECKILL_ENOMEM;
            }
            made->lists = l;
            made->slot = &l->shm->slots[number];
            made->number = number;
            made->kind = made->slot->kind;
            skl_assert(atomic_load(&made->slot->state) != 0);
        }
        made->next = first;
        if (atomic_compare_exchange_strong(&l->first, &first, made)) {
            *out = made;
            return SECKILL_OK;
        }
    }
}

/* ---- Lookup -------------------------------------------------------------- */

static int find_address(struct seckill_list *list, const char *text, size_t len,
                        skl_list_hit_t *hit)
{
    const skl_overlay_t *o = &list->lists->overlay;
    skl_overlay_hit_t added;
    skl_addr_t address;
    int known = 0;

    if (skl_net_parse_address(text, len, &address) != NULL) {
        return SECKILL_EBADVALUE;
    }
    if (list->view != NULL) {
        hit->nets = &list->view->nets;
        known = skl_net_find(hit->nets, &address, &hit->file);
    }
    if (skl_overlay_live(o, list->number) != 0) {
        skl_overlay_find_net(o, list->number, &address, &added);
        hit->overlay = added.kind;
        hit->overlay_until = added.until_ns;
        hit->closer_until = added.closer_until;
        known |= added.kind != SKL_OVERLAY_NONE || added.closer_until > 0;
    }
    return known;
}

int skl_list_find(struct seckill_list *list, const char *value, size_t len,
                  skl_list_hit_t *hit)
{
    const skl_overlay_t *o = &list->lists->overlay;
    int known = 0;

    skl_assert(len >= 1 && len <= SECKILL_ID_MAX);
    memset(hit, 0, sizeof(*hit));
    if (list->kind == SECKILL_LIST_IP) {
        return find_address(list, value, len, hit);
    }
    if (list->view != NULL) {
        known = skl_index_find(&list->view->index, value, len, &hit->file);
    }
    if (skl_overlay_live(o, list->number) != 0) {
        hit->overlay =
            skl_overlay_find(o, list->number, value, len, &hit->overlay_until);
        known |= hit->overlay != SKL_OVERLAY_NONE;
    }
    return known;
}

int skl_list_is_behind(const struct seckill_list *list)
{
    const uint64_t mine =
        list->view != NULL ? skl_list_generation(list->view->word) : 0;

#ifdef MUTANT_MERGE_BEHIND
    return 0;
#endif
    return atomic_load_explicit(&list->slot->merged, memory_order_acquire) >
           mine;
}

static int ends(int64_t until)
{
    return until != 0 && until != SKL_FOREVER;
}

int skl_list_timed(const skl_list_hit_t *hit)
{
    return ends(hit->allow_until) || ends(hit->deny_until) ||
           ends(hit->overlay_until) || hit->closer_until != 0;
}

static int denied(const skl_list_hit_t *hit, int64_t now_ns)
{
    if (hit->closer_until > now_ns) {
        return 1;
    }
    if (hit->overlay == SKL_OVERLAY_REMOVED) {
        return 0;
    }
    return hit->deny_until > now_ns ||
           (hit->overlay == SKL_OVERLAY_DENY && hit->overlay_until > now_ns);
}

int skl_list_judge(skl_list_hit_t *hit, int64_t now_ns)
{
    int answer;

    if (hit->parent != 0) {
        skl_net_settle(hit->nets, now_ns, &hit->file);
    }
    answer = denied(hit, now_ns);

#ifndef MUTANT_LIST_DENY_FIRST
    if (hit->allow_until > now_ns) {
        answer = 2;
    }
#else
    answer = answer ? 1 : hit->allow_until > now_ns ? 2 : 0;
#endif
    if (answer != 1 || hit->deny_until <= now_ns) {
        hit->reason = NULL;
        hit->reason_len = 0;
    }
    return answer;
}

/* ---- From the mapper to the reader --------------------------------------- */

void skl_list_adopt_slow(struct seckill_list *list)
{
    skl_list_view_t *view = atomic_exchange(&list->pending, NULL);
    skl_list_view_t *old = list->view;

    if (view == NULL) {
        return;
    }
    list->view = view;
    if (old == NULL) {
        return;
    }
    skl_assert(old != view);
    old->next = atomic_load(&list->retired);
    while (!atomic_compare_exchange_weak(&list->retired, &old->next, old)) {
    }
}

skl_list_view_t *skl_list_offer(struct seckill_list *list,
                                skl_list_view_t *view)
{
    const uint64_t word = view->word;
    skl_list_view_t *old = atomic_exchange(&list->pending, view);

    /* Last: a child forked in between maps it once more, and not never. */
    atomic_store(&list->seen_word, word);
    return old;
}

skl_list_view_t *skl_list_retired(struct seckill_list *list)
{
    return atomic_exchange(&list->retired, NULL);
}

/* ---- Numbers of the loads ------------------------------------------------ */

static void load_words(uint64_t *out, const _Atomic uint64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = atomic_load_explicit(&from[i], memory_order_acquire);
    }
}

static void store_words(_Atomic uint64_t *to, const uint64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        atomic_store_explicit(&to[i], from[i], memory_order_release);
    }
}

void skl_list_good(const skl_list_slot_t *slot, skl_list_good_t *out)
{
    uint64_t words[SKL_WORDS(skl_list_good_t)] = {0};

    for (int i = 0; i < TRIES; i++) {
        uint64_t word = atomic_load(&slot->current);

        if (word == 0) {
            break;
        }
        load_words(words, slot->good[word & 1], SKL_WORDS(skl_list_good_t));
        if (atomic_load(&slot->current) == word) {
            break;
        }
    }
    memcpy(out, words, sizeof(*out));
}

void skl_list_bad(const skl_list_slot_t *slot, skl_list_bad_t *out)
{
    uint64_t words[SKL_WORDS(skl_list_bad_t)] = {0};

    for (int i = 0; i < TRIES; i++) {
        uint64_t count = atomic_load(&slot->bad_count);

        if (count == 0) {
            break;
        }
        load_words(words, slot->bad[count & 1], SKL_WORDS(skl_list_bad_t));
        if (atomic_load(&slot->bad_count) == count) {
            break;
        }
    }
    memcpy(out, words, sizeof(*out));
    out->error[sizeof(out->error) - 1] = '\0';
}

void skl_list_set_good(skl_list_slot_t *slot, uint64_t generation,
                       const skl_list_good_t *good)
{
    uint64_t words[SKL_WORDS(skl_list_good_t)];

    skl_assert(generation != skl_list_generation(atomic_load(&slot->current)));
    memcpy(words, good, sizeof(words));
    store_words(slot->good[generation & 1], words, SKL_WORDS(skl_list_good_t));
}

void skl_list_publish(skl_list_slot_t *slot, uint32_t uid, uint64_t generation)
{
    skl_assert(generation > 0 && generation <= UINT32_MAX);
    atomic_store(&slot->current, (uint64_t)uid << 32 | generation);
}

void skl_list_set_bad(skl_list_slot_t *slot, const skl_list_bad_t *bad)
{
    uint64_t words[SKL_WORDS(skl_list_bad_t)];
    uint64_t count = atomic_load(&slot->bad_count) + 1;

    memcpy(words, bad, sizeof(words));
    store_words(slot->bad[count & 1], words, SKL_WORDS(skl_list_bad_t));
    atomic_store(&slot->bad_count, count);
}
