/* See permits.h. */
#include "limit/permits.h"

#include "base/assert.h"
#include "base/hash.h"
#include "seckill.h"
#include "shm/lock.h"

#include <stddef.h>
#include <string.h>

enum {
    WAYS = 4, /* slots in a group */
    STRIPES = 64,
    TRIES = 4,         /* when the row is lost to somebody who thinks us dead */
    SCAN_MAX = 1 << 14 /* permits looked at for a free one */
};

#define REAP_PAUSE_NS INT64_C(100000000)
#define FULL_PAUSE_NS INT64_C(1000000)

/* Phases of a permit. */
enum { FREE, PENDING, HELD, RELEASING };

/* A permit's word: seq 33 | doomed 1 | cost 20 | row 8 | phase 2. */
#define PHASE_MASK UINT64_C(3)
#define ROW_SHIFT 2
#define COST_SHIFT 10
#define COST_MASK UINT64_C(0xfffff)
#define DOOMED (UINT64_C(1) << 30)
#define SEQ_SHIFT 31
#define SEQ_STEP (UINT64_C(1) << SEQ_SHIFT)
#define SEQ_MASK (~UINT64_C(0) << SEQ_SHIFT)

/* A slot's state: kind 1 | seq 23 | permit 20 | count 20. */
#define COUNT_MASK UINT64_C(0xfffff)
#define LAST_SHIFT 20
#define LAST_SEQ_SHIFT 40
#define LAST_SEQ_MASK ((UINT64_C(1) << 23) - 1)
#define RELEASED (UINT64_C(1) << 63) /* the last operation was a release */

__extension__ typedef unsigned __int128 u128_t;

/* A slot, or a permit. */
union skl_permits_entry {
    _Alignas(16) struct {
        _Atomic uint64_t key; /* slot: 0: empty */
        _Atomic uint64_t word;
    } half;
    u128_t whole; /* of the compare-and-swap */
};

struct skl_permits_group {
    _Alignas(64) skl_permits_entry_t slots[WAYS];
};

struct skl_permits_shm {
    uint32_t permits;
    uint32_t reserved;
    uint64_t groups;             /* a power of two */
    _Atomic int64_t reaped_at;   /* by a take that was refused */
    _Atomic int64_t full_at;     /* when none was free; 0: one may be */
    skl_lock_t stripes[STRIPES]; /* of new keys */
};

skl_static_assert(sizeof(skl_permits_entry_t) == 16, "one compare-and-swap");
skl_static_assert(sizeof(struct skl_permits_group) == 64, "one cache line");
skl_static_assert(sizeof(struct skl_permits_shm) % 64 == 0, "whole lines");
skl_static_assert(SKL_PROCESSES == 256, "a row has 8 bits");

/* One acquire or release on its way. */
typedef struct {
    skl_permits_t *p;
    uint64_t key;
    uint64_t word; /* of its permit, PENDING or RELEASING */
    uint32_t index;
    uint32_t cost;
} op_t;

/* What became of an operation. */
enum { APPLIED, REFUSED, ABSENT, FULL, GONE, AGAIN };

/* ---- Section ------------------------------------------------------------- */

/* A key that is held has a permit: at most every second slot is in use. */
static uint64_t group_count(uint32_t permits)
{
    uint64_t slots = 2 * WAYS;

    while (slots < 2 * (uint64_t)permits) {
        slots *= 2;
    }
    return slots / WAYS;
}

uint64_t skl_permits_bytes(uint32_t permits)
{
    return sizeof(skl_permits_shm_t) +
           group_count(permits) * sizeof(skl_permits_group_t) +
           (uint64_t)permits * sizeof(skl_permits_entry_t);
}

uint64_t skl_permits_signature(void)
{
    const uint64_t parts[] = {
        sizeof(skl_permits_shm_t),
        offsetof(skl_permits_shm_t, stripes),
        sizeof(skl_permits_group_t),
        SEQ_SHIFT,
        LAST_SEQ_SHIFT,
        SKL_PROCESSES,
    };
    const uint64_t format = 2; /* of the tables */

    return skl_mix_parts(format, parts, sizeof(parts) / sizeof(parts[0]));
}

void skl_permits_init(void *section, uint32_t permits)
{
    skl_permits_shm_t *shm = section;

    skl_assert((uintptr_t)section % 64 == 0);
    skl_assert(permits >= 1 && permits <= SKL_PERMITS_MAX);
    shm->permits = permits;
    shm->groups = group_count(permits);
    for (int i = 0; i < STRIPES; i++) {
        skl_lock_init(&shm->stripes[i]);
    }
}

static int process_died(void *ctx, uint32_t row)
{
    return skl_permits_reap(ctx, row);
}

void skl_permits_attach(skl_permits_t *p, void *section,
                        skl_processes_t *processes, skl_counters_t *counters)
{
    char *base = section;

    memset(p, 0, sizeof(*p));
    p->shm = section;
    skl_assert(p->shm->permits >= 1 && p->shm->permits <= SKL_PERMITS_MAX);
    skl_assert((p->shm->groups & (p->shm->groups - 1)) == 0);
    base += sizeof(skl_permits_shm_t);
    p->groups = (skl_permits_group_t *)(void *)base;
    base += p->shm->groups * sizeof(skl_permits_group_t);
    p->permits = (skl_permits_entry_t *)(void *)base;
    p->processes = processes;
    p->counters = counters;
    skl_processes_watch(processes, process_died, p);
}

uint32_t skl_permits_capacity(const skl_permits_t *p)
{
    return p->shm->permits;
}

/* ---- Words --------------------------------------------------------------- */

static inline uint32_t phase_of(uint64_t word)
{
    return (uint32_t)(word & PHASE_MASK);
}

static inline uint32_t row_of(uint64_t word)
{
    return (uint32_t)(word >> ROW_SHIFT) & (SKL_PROCESSES - 1);
}

static inline uint32_t cost_of(uint64_t word)
{
    return (uint32_t)(word >> COST_SHIFT & COST_MASK);
}

/* The same permit and seq in another phase. */
static inline uint64_t in_phase(uint64_t word, uint64_t phase)
{
    return phase == FREE ? word & SEQ_MASK : (word & ~PHASE_MASK) | phase;
}

/* How slot.last names an operation. */
static inline uint64_t last_of(uint32_t index, uint64_t word, uint64_t kind)
{
    const uint64_t seq = word >> SEQ_SHIFT & LAST_SEQ_MASK;

    return kind | seq << LAST_SEQ_SHIFT | (uint64_t)index << LAST_SHIFT;
}

static inline uint64_t load(_Atomic uint64_t *word)
{
    return atomic_load(word);
}

static inline int swap_entry(skl_permits_entry_t *entry, uint64_t old_key,
                             uint64_t old_word, uint64_t key, uint64_t word)
{
    skl_permits_entry_t old;
    skl_permits_entry_t new;

    atomic_init(&old.half.key, old_key);
    atomic_init(&old.half.word, old_word);
    atomic_init(&new.half.key, key);
    atomic_init(&new.half.word, word);
    return __sync_bool_compare_and_swap(&entry->whole, old.whole, new.whole);
}

/* Key and word of one moment: a word is never the same again, see the header
 * for how long. */
static inline uint64_t read_entry(skl_permits_entry_t *entry, uint64_t *key)
{
    uint64_t word = load(&entry->half.word);
    uint64_t again;

    for (;;) {
        *key = load(&entry->half.key);
        again = load(&entry->half.word);
        if (again == word) {
            return word;
        }
        word = again;
    }
}

/* One arrow of a permit. Whoever makes it first: it has the same effect. */
static inline int move_permit(skl_permits_entry_t *permit, uint64_t word,
                              uint64_t phase)
{
    skl_assert(phase_of(word) != FREE && phase_of(word) != phase);
    return atomic_compare_exchange_strong(&permit->half.word, &word,
                                          in_phase(word, phase));
}

/* ---- Slots --------------------------------------------------------------- */

static inline skl_permits_group_t *group_of(const skl_permits_t *p,
                                            uint64_t key, int which)
{
    const uint64_t mask = p->shm->groups - 1;

    return &p->groups[(which == 0 ? key >> 26 : skl_mix64(key)) & mask];
}

void skl_permits_prefetch(const skl_permits_t *p, uint64_t key)
{
    __builtin_prefetch(group_of(p, key, 0), 1);
    __builtin_prefetch(group_of(p, key, 1), 1);
}

static inline skl_permits_entry_t *find(const skl_permits_t *p, uint64_t key)
{
    for (int g = 0; g < 2; g++) {
        skl_permits_entry_t *slots = group_of(p, key, g)->slots;

        for (int i = 0; i < WAYS; i++) {
            if (load(&slots[i].half.key) == key) {
                return &slots[i];
            }
        }
    }
    return NULL;
}

/*
 * Complete the last operation of a slot, which has this key and state. When
 * the slot changes meanwhile, so will fail what our caller is about to do.
 */
static void help(skl_permits_t *p, skl_permits_entry_t *slot, uint64_t key,
                 uint64_t state)
{
    const uint64_t index = state >> LAST_SHIFT & (SKL_PERMITS_MAX - 1);
    const uint64_t kind = state & RELEASED;
    uint64_t of_key;
    uint64_t word;

    if (key == 0 || index >= p->shm->permits) {
        return;
    }
#ifndef MUTANT_PERMIT_NO_HELP
    word = read_entry(&p->permits[index], &of_key);
    if (of_key != key || phase_of(word) != (kind ? RELEASING : PENDING) ||
        last_of((uint32_t)index, word, kind) != (state & ~COUNT_MASK) ||
        load(&slot->half.word) != state) {
        return;
    }
    (void)move_permit(&p->permits[index], word, kind ? FREE : HELD);
#else
    (void)of_key;
    (void)word;
    (void)slot;
    (void)kind;
#endif
}

/* Apply an operation to a slot that has this key and state. */
static int change_slot(const op_t *op, skl_permits_entry_t *slot, uint64_t key,
                       uint64_t state, uint64_t kind, uint64_t count)
{
    skl_assert(count <= COUNT_MASK);
    skl_assert(op->index < op->p->shm->permits);
    help(op->p, slot, key, state);
    return swap_entry(slot, key, state, op->key,
                      last_of(op->index, op->word, kind) | count);
}

/* ---- Operations ---------------------------------------------------------- */

/* One look at the slot of an operation. APPLIED: the operation is the last
 * one; GONE: its permit has moved on; AGAIN: neither, go on with `slot`. The
 * permit is looked at after the slot. */
static int look(const op_t *op, uint64_t kind, skl_permits_entry_t **slot,
                uint64_t *state)
{
    skl_permits_entry_t *permit = &op->p->permits[op->index];
    uint64_t key = 0;

    do {
        *slot = find(op->p, op->key);
        if (*slot == NULL) {
            return load(&permit->half.word) == op->word ? ABSENT : GONE;
        }
        *state = read_entry(*slot, &key);
    } while (key != op->key);
#ifndef MUTANT_PERMIT_APPLY_TWICE
    if ((*state & ~COUNT_MASK) == last_of(op->index, op->word, kind)) {
        return APPLIED;
    }
#endif
    return load(&permit->half.word) == op->word ? AGAIN : GONE;
}

/* Count + cost, unless that is more than the limit. */
static int apply_acquire(const op_t *op, uint32_t limit, uint32_t *in_use)
{
    skl_permits_entry_t *slot;
    uint64_t state;
    int rc;

    skl_assert(phase_of(op->word) == PENDING);
    while ((rc = look(op, 0, &slot, &state)) == AGAIN) {
        const uint64_t count = state & COUNT_MASK;

        *in_use = (uint32_t)count;
        if (count + op->cost > limit) {
            return REFUSED;
        }
        if (change_slot(op, slot, op->key, state, 0, count + op->cost)) {
            *in_use = (uint32_t)count + op->cost;
            return APPLIED;
        }
    }
    return rc;
}

static void apply_release(const op_t *op)
{
    skl_permits_entry_t *slot;
    uint64_t state;
    int rc;

    while ((rc = look(op, RELEASED, &slot, &state)) == AGAIN) {
        const uint64_t count = state & COUNT_MASK;

        skl_assert(count >= op->cost);
        if (change_slot(op, slot, op->key, state, RELEASED, count - op->cost)) {
            return;
        }
    }
    skl_assert(rc != ABSENT); /* what is held keeps its slot */
}

/* RELEASING -> FREE, with the slot in between. */
static void finish_release(const op_t *op)
{
    skl_assert(phase_of(op->word) == RELEASING && op->cost >= 1);
    apply_release(op);
    (void)move_permit(&op->p->permits[op->index], op->word, FREE);
}

/* ---- New keys ------------------------------------------------------------ */

/* A slot that may be reused. */
typedef struct {
    skl_permits_entry_t *slot;
    uint64_t key, state;
} victim_t;

static int scan_group(skl_permits_group_t *group, victim_t *v)
{
    int reusable = 0;
    int empty = 0;

    for (int i = 0; i < WAYS; i++) {
        skl_permits_entry_t *slot = &group->slots[i];
        uint64_t key;
        const uint64_t state = read_entry(slot, &key);

#ifndef MUTANT_PERMIT_EVICT_LIVE
        if ((state & COUNT_MASK) != 0) {
            continue;
        }
#endif
        /* Keys that come back find their slot: take an empty one first. */
        if (reusable++ == 0 || (key == 0 && !empty)) {
            *v = (victim_t){slot, key, state};
            empty = key == 0;
        }
    }
    return reusable;
}

/* A slot of the emptier group, or none. */
static int find_victim(const op_t *op, victim_t *v)
{
    victim_t other;
    const int first = scan_group(group_of(op->p, op->key, 0), v);
    const int second = scan_group(group_of(op->p, op->key, 1), &other);

    if (second > first) {
        *v = other;
    }
    return first + second > 0;
}

/* With the lock of the key held: nobody else gives it a slot. */
static int insert(const op_t *op, uint32_t limit, uint32_t *in_use)
{
    victim_t v;

    if (find(op->p, op->key) != NULL) {
        return AGAIN;
    }
    *in_use = 0;
    if (op->cost > limit) {
        return REFUSED;
    }
    do {
        if (load(&op->p->permits[op->index].half.word) != op->word) {
            return GONE;
        }
        if (!find_victim(op, &v)) {
            return FULL;
        }
    } while (!change_slot(op, v.slot, v.key, v.state, 0, op->cost));
    *in_use = op->cost;
    return APPLIED;
}

static int insert_locked(const op_t *op, uint32_t limit, uint32_t *in_use)
{
    skl_lock_t *stripe = &op->p->shm->stripes[op->key % STRIPES];
    skl_wait_t wait = {0};
    int rc;

    /* The lock protects nothing that could be left half written. */
    if (skl_lock_acquire(stripe, &wait, NULL, NULL) != SECKILL_OK) {
        return FULL;
    }
    rc = insert(op, limit, in_use);
    skl_lock_release(stripe);
    return rc;
}

/* ---- Take ---------------------------------------------------------------- */

/* FREE -> PENDING, of this permit. */
static int claim(op_t *op, uint32_t index, uint32_t row)
{
    skl_permits_entry_t *permit = &op->p->permits[index];
    uint64_t key;
    const uint64_t word = read_entry(permit, &key);

    if (phase_of(word) != FREE) {
        return 0;
    }
    skl_assert(index < op->p->shm->permits && row < SKL_PROCESSES);
    op->index = index;
    op->word = (word + SEQ_STEP) | (uint64_t)op->cost << COST_SHIFT |
               row << ROW_SHIFT | PENDING;
    return swap_entry(permit, key, word, op->key, op->word);
}

/* Permits are claimed in turn. Where there are too many to look at all, go on
 * somewhere else after each 64: the held ones lie in long rows. */
static uint32_t next_index(const skl_permits_t *p, uint32_t index, uint32_t n)
{
    if (p->shm->permits > SCAN_MAX && n % 64 == 0) {
        return (uint32_t)(skl_mix64((uint64_t)index << 32 | n) %
                          p->shm->permits);
    }
    return index + 1 < p->shm->permits ? index + 1 : 0;
}

static int claim_any(op_t *op, uint32_t row)
{
    skl_permits_t *p = op->p;
    const uint32_t capacity = p->shm->permits;
    const uint32_t most = capacity < SCAN_MAX ? capacity : SCAN_MAX;
    const uint32_t cursor =
        atomic_load_explicit(&p->cursor, memory_order_relaxed);
    /* Processes begin at different places. */
    const uint32_t first = (cursor + row * 64) % capacity;
    uint32_t index = first;
    uint32_t tried = 0;
    int found = 0;

    while (!found && tried++ < most) {
        found = claim(op, index, row);
        index = next_index(p, index, tried);
    }
    atomic_store_explicit(&p->cursor, cursor + index - first,
                          memory_order_relaxed);
    return found;
}

/* To look all permits over takes a while, and they come in a flood when there
 * is none: not again for a millisecond, unless one was given back. */
static int is_full(const skl_permits_t *p, int64_t now_ns)
{
    const int64_t full_at =
        atomic_load_explicit(&p->shm->full_at, memory_order_relaxed);

    return full_at != 0 && now_ns >= full_at &&
           now_ns - full_at < FULL_PAUSE_NS;
}

static void is_not_full(skl_permits_t *p)
{
    if (atomic_load_explicit(&p->shm->full_at, memory_order_relaxed) != 0) {
        atomic_store(&p->shm->full_at, 0);
    }
}

static int claim_now(op_t *op, uint32_t row, int64_t now_ns)
{
    if (is_full(op->p, now_ns)) {
        return 0;
    }
    if (claim_any(op, row)) {
        return 1;
    }
    atomic_store(&op->p->shm->full_at, now_ns);
    return 0;
}

static int settle_step(const op_t *op);

/* We are taken for dead. Whoever found that may be waiting for us to leave the
 * lock of the key: bring our permit to its end, as he would. */
static void settle_own(op_t *op)
{
    skl_permits_entry_t *permit = &op->p->permits[op->index];
    const uint64_t seq = op->word & SEQ_MASK;

    do {
        op->word = load(&permit->half.word);
    } while ((op->word & SEQ_MASK) == seq && (op->word & DOOMED) != 0 &&
             phase_of(op->word) != FREE && settle_step(op));
}

/* PENDING -> HELD, with the slot in between; or back to FREE. */
static int acquire(op_t *op, uint32_t row, uint32_t limit, uint32_t *in_use)
{
    skl_permits_entry_t *permit = &op->p->permits[op->index];
    const uint64_t held = in_phase(op->word, HELD);
    int rc;

    do {
        rc = apply_acquire(op, limit, in_use);
        rc = rc == ABSENT ? insert_locked(op, limit, in_use) : rc;
    } while (rc == AGAIN);
    if (rc == REFUSED || rc == FULL) {
        if (!move_permit(permit, op->word, FREE)) {
            settle_own(op);
        }
        return rc;
    }
    (void)move_permit(permit, op->word, HELD);
    if (load(&permit->half.word) != held) {
        settle_own(op); /* it was given back, or will be */
        return GONE;
    }
#ifdef MUTANT_PERMIT_LOST_ROW
    return APPLIED;
#endif
    if (skl_processes_owns(op->p->processes, row)) {
        return APPLIED;
    }
    if (move_permit(permit, held, RELEASING)) {
        op->word = in_phase(held, RELEASING);
        finish_release(op);
    }
    return GONE;
}

/* Without writing anything. */
static int would_refuse(const skl_permits_t *p, uint64_t key, uint32_t cost,
                        uint32_t limit, uint32_t *in_use)
{
    *in_use = skl_permits_in_use(p, key);
    return *in_use + (uint64_t)cost > limit;
}

static int take(skl_permits_t *p, uint64_t key, uint32_t cost, uint32_t limit,
                int64_t now_ns, skl_permit_t *out, uint32_t *in_use)
{
    op_t op = {.p = p, .key = key, .cost = cost};
    int rc = GONE;

    for (int i = 0; i < TRIES && rc == GONE; i++) {
        const int row = skl_processes_mine(p->processes);

        if (row < 0 || !claim_now(&op, (uint32_t)row, now_ns)) {
            return SECKILL_EFULL;
        }
        rc = acquire(&op, (uint32_t)row, limit, in_use);
    }
    if (rc != APPLIED) {
        return rc == REFUSED ? SECKILL_EREJECTED : SECKILL_EFULL;
    }
    *out =
        (skl_permit_t){op.index + UINT64_C(1), key, op.word >> SEQ_SHIFT, cost};
    return SECKILL_OK;
}

/* A refused take looks for the dead, if nobody has in the last 100 ms. 1: some
 * were found. */
static int reap_now_and_then(skl_permits_t *p, int64_t now_ns)
{
    int64_t before =
        atomic_load_explicit(&p->shm->reaped_at, memory_order_relaxed);

    if ((now_ns >= before && now_ns - before < REAP_PAUSE_NS) ||
        !atomic_compare_exchange_strong(&p->shm->reaped_at, &before, now_ns)) {
        return 0;
    }
    return skl_processes_reap(p->processes, NULL, NULL) > 0;
}

static int take_or_look(skl_permits_t *p, uint64_t key, uint32_t cost,
                        uint32_t limit, int commit, int64_t now_ns,
                        skl_permit_t *out, uint32_t *in_use)
{
    if (would_refuse(p, key, cost, limit, in_use)) {
        return SECKILL_EREJECTED;
    }
    if (!commit) {
        *in_use += cost;
        return SECKILL_OK;
    }
    return take(p, key, cost, limit, now_ns, out, in_use);
}

int skl_permits_take(skl_permits_t *p, uint64_t key, uint32_t cost,
                     uint32_t limit, int commit, int64_t now_ns,
                     skl_permit_t *out, uint32_t *in_use)
{
    int rc;

    skl_assert(key != 0 && cost >= 1);
    skl_assert(limit <= SKL_PERMITS_LIMIT_MAX);
    if (out != NULL) {
        memset(out, 0, sizeof(*out));
    }
    skl_assert(out != NULL || !commit);
    rc = take_or_look(p, key, cost, limit, commit, now_ns, out, in_use);
    if (rc != SECKILL_OK && cost <= limit && reap_now_and_then(p, now_ns)) {
        rc = take_or_look(p, key, cost, limit, commit, now_ns, out, in_use);
    }
    if (rc == SECKILL_EFULL) {
        skl_count(p->counters, SKL_EV_permits_full, 1);
    }
    return rc;
}

/* ---- Release ------------------------------------------------------------- */

int skl_permits_release(skl_permits_t *p, skl_permit_t *permit)
{
    const skl_permit_t used = *permit;
    op_t op = {.p = p, .key = used.key};
    skl_permits_entry_t *entry;
    uint64_t key;
    uint64_t word;

    memset(permit, 0, sizeof(*permit));
    if (used.number == 0 || used.number > p->shm->permits) {
        return 0;
    }
    op.index = (uint32_t)(used.number - 1);
    entry = &p->permits[op.index];
    word = read_entry(entry, &key);
    op.cost = cost_of(word);
    if (phase_of(word) != HELD || key != used.key || op.cost != used.cost) {
        return 0;
    }
#ifndef MUTANT_PERMIT_ANY_SEQ
    if (word >> SEQ_SHIFT != used.seq) {
        return 0;
    }
#endif
    if (!move_permit(entry, word, RELEASING)) {
        return 0;
    }
    op.word = in_phase(word, RELEASING);
    finish_release(&op);
    is_not_full(p);
    return 1;
}

/* ---- Death --------------------------------------------------------------- */

/*
 * The key has no slot, so nothing was applied. Under its lock: an owner who
 * lives after all looks at his permit there before he gives the key a slot. 0:
 * somebody who lives has the lock, for which a request must not wait here; the
 * next reap tries again.
 */
static int abandon_new(const op_t *op)
{
    skl_lock_t *stripe = &op->p->shm->stripes[op->key % STRIPES];

    if (skl_lock_try(stripe, NULL, NULL) != SECKILL_OK) {
        return 0;
    }
    if (find(op->p, op->key) == NULL) {
        (void)move_permit(&op->p->permits[op->index], op->word, FREE);
    }
    skl_lock_release(stripe);
    return 1;
}

/* Carry it through, whatever the limit: it is given back at once. Doomed first:
 * the owner, if he lives, must not be refused and free it meanwhile. */
static int settle_pending(const op_t *op)
{
    skl_permits_entry_t *permit = &op->p->permits[op->index];
    uint64_t word = op->word;
    uint32_t in_use;
    int rc;

#ifndef MUTANT_PERMIT_NOT_DOOMED
    if ((word & DOOMED) == 0) {
        (void)atomic_compare_exchange_strong(&permit->half.word, &word,
                                             word | DOOMED);
        return 1; /* one step */
    }
#else
    (void)word;
#endif
    rc = apply_acquire(op, SKL_PERMITS_LIMIT_MAX, &in_use);
    if (rc == ABSENT) {
        return abandon_new(op);
    }
    (void)move_permit(permit, op->word, rc == REFUSED ? FREE : HELD);
    return 1;
}

/* One step of a permit of a dead process towards FREE. 0: not now. */
static int settle_step(const op_t *op)
{
    skl_permits_entry_t *permit = &op->p->permits[op->index];

    switch (phase_of(op->word)) {
    case PENDING:
        return settle_pending(op);
    case HELD:
        (void)move_permit(permit, op->word, RELEASING);
        return 1;
    default:
        finish_release(op);
        return 1;
    }
}

/* 1: it is not the row's, or not any more; 0: not now. */
static int settle(skl_permits_t *p, uint32_t index, uint32_t row)
{
    skl_permits_entry_t *permit = &p->permits[index];
    op_t op = {.p = p, .index = index};

    do {
        op.word = read_entry(permit, &op.key);
        op.cost = cost_of(op.word);
        if (phase_of(op.word) == FREE || row_of(op.word) != row) {
            return 1;
        }
    } while (settle_step(&op));
    return 0;
}

int skl_permits_reap(skl_permits_t *p, uint32_t row)
{
    uint32_t returned = 0, left = 0;

    skl_assert(row < SKL_PROCESSES);
    for (uint32_t i = 0; i < p->shm->permits; i++) {
        const uint64_t word = load(&p->permits[i].half.word);

        if (phase_of(word) != FREE && row_of(word) == row) {
            const int done = settle(p, i, row);

            returned += (uint32_t)done;
            left += (uint32_t)!done;
        }
    }
    if (returned > 0) {
        skl_count(p->counters, SKL_EV_permits_returned, returned);
        is_not_full(p);
    }
    return left == 0;
}

/* ---- Looking ------------------------------------------------------------- */

uint32_t skl_permits_in_use(const skl_permits_t *p, uint64_t key)
{
    skl_permits_entry_t *slot = find(p, key);
    uint64_t of_key;
    uint64_t state;

    if (slot == NULL) {
        return 0;
    }
    state = read_entry(slot, &of_key);
    return of_key == key ? (uint32_t)(state & COUNT_MASK) : 0;
}

uint32_t skl_permits_held(const skl_permits_t *p)
{
    uint32_t held = 0;

    for (uint32_t i = 0; i < p->shm->permits; i++) {
        held += phase_of(load(&p->permits[i].half.word)) != FREE;
    }
    return held;
}
