/* Take and undo: the key table and its buckets; see limits.h. */
#include "limit/limits.h"

#include "base/assert.h"
#include "limit/layout.h"

#include <string.h>

#define NS_ROUND ((UINT64_C(1) << SKL_LIMIT_SHIFT) - 1)
/* Undo trusts its count of nanoseconds up to here. */
#define UNDO_MAX (UINT64_C(1) << 62)
/* Tickets name cells by 1 .. CELL_MAX; fingerprints are greater. */
#define CELL_MAX (UINT64_C(1024) * SKL_LIMIT_CELLS)

/* Not a result code: the slot has another key by now, look again. */
enum { AGAIN = 1 };

/* One take on its way. */
typedef struct {
    skl_limiter_t *lim;
    const skl_limit_place_t *place;
    skl_limit_ask_t *ask;
    skl_limit_numbers_t numbers;
    uint64_t now;    /* units */
    uint64_t charge; /* units */
    uint64_t undone; /* record->undo_done, before the charge */
} take_t;

/* ---- One bucket ---------------------------------------------------------- */

/* Units until the bucket is full: max(TAT, now) - now. */
static inline uint64_t depth_of(uint64_t tat, uint64_t now)
{
    int64_t d = (int64_t)(tat - now);

#ifdef MUTANT_LIMIT_ABS
    return (uint64_t)(d < 0 ? -d : d);
#else
    return d > 0 ? (uint64_t)d : 0;
#endif
}

/* floor(units / interval) without a division: the product is off by one at
 * most, as the quotient is below 2^30. */
static inline uint64_t tokens_in(const skl_limit_numbers_t *n, uint64_t units)
{
    uint64_t q = (uint64_t)((double)units * n->inverse);

    if (q * n->interval > units) {
        q--;
    } else if ((q + 1) * n->interval <= units) {
        q++;
    }
    return q;
}

static inline int refuse(take_t *t, uint64_t excess)
{
    t->ask->retry_ns = (int64_t)((excess + NS_ROUND) >> SKL_LIMIT_SHIFT);
    return SECKILL_EREJECTED;
}

/* The verdict on a bucket of this depth. */
static inline int judge(take_t *t, uint64_t depth)
{
    uint64_t x = depth + t->charge;

    if (x > t->numbers.window) {
        return refuse(t, x - t->numbers.window);
    }
    t->ask->remaining = tokens_in(&t->numbers, t->numbers.window - x);
    return SECKILL_OK;
}

/* A debt deeper than the burst can only be one from numbers that were in force
 * before: it counts as a burst that is used up. */
static inline int is_old_debt(const take_t *t, uint64_t tat)
{
    return depth_of(tat, t->now) > t->numbers.window &&
           (int64_t)(t->numbers.debt_until - tat) >= 0;
}

static inline void fill_ticket(const take_t *t, uint64_t key, uint64_t tat)
{
    skl_limit_ticket_t *ticket = t->ask->ticket;

    if (ticket == NULL) {
        return;
    }
    ticket->at = t->now;
    ticket->key = key;
    ticket->depth = ((tat - t->now) >> SKL_LIMIT_SHIFT) + t->undone;
    ticket->charge = t->charge;
}

static inline void clear_ticket(const take_t *t)
{
    if (t->ask->ticket != NULL) {
        memset(t->ask->ticket, 0, sizeof(*t->ask->ticket));
    }
}

/* ---- Slots --------------------------------------------------------------- */

static inline int swap_slot(skl_limit_slot_t *slot, uint64_t old_key,
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
 * The TAT of a slot while it has this key: 1, or 0 when it has another one.
 * The halves are loaded one by one. A new owner's TAT is always greater than
 * the old one's (which had to be spent), so equal TATs around the load of the
 * key belong to that key.
 */
static inline int read_slot(skl_limit_slot_t *slot, uint64_t key, uint64_t *tat)
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

static inline skl_limit_slot_t *find(const skl_limit_place_t *place,
                                     uint64_t key)
{
    for (int g = 0; g < 2; g++) {
        skl_limit_slot_t *slots = place->group[g]->slots;

        for (int i = 0; i < SKL_LIMIT_WAYS; i++) {
            if (atomic_load_explicit(&slots[i].half.key,
                                     memory_order_relaxed) == key) {
                return &slots[i];
            }
        }
    }
    return NULL;
}

static int forgive(take_t *t, skl_limit_slot_t *slot, uint64_t tat)
{
    uint64_t full = t->now + t->numbers.window;

    if (t->ask->commit) {
        (void)swap_slot(slot, t->place->key, tat, t->place->key, full);
    }
    return refuse(t, t->charge);
}

/* Decide and charge a key that is in the table. */
static inline int charge_slot(take_t *t, skl_limit_slot_t *slot)
{
    uint64_t key = t->place->key;
    uint64_t tat;
    uint64_t next;
    int rc;

    while (read_slot(slot, key, &tat)) {
        if (is_old_debt(t, tat)) {
            return forgive(t, slot, tat);
        }
        rc = judge(t, depth_of(tat, t->now));
        if (rc != SECKILL_OK || !t->ask->commit) {
            return rc;
        }
        next = t->now + depth_of(tat, t->now) + t->charge;
        if (swap_slot(slot, key, tat, key, next)) {
            fill_ticket(t, key, next);
            return SECKILL_OK;
        }
    }
    return AGAIN;
}

/* ---- Overflow cells ------------------------------------------------------ */

static inline uint32_t cell_number(uint64_t key)
{
    return (uint32_t)(key >> 20) % SKL_LIMIT_CELLS;
}

static _Atomic uint64_t *cell_of(const take_t *t)
{
    return &t->lim->record->cells[cell_number(t->place->key)];
}

static uint64_t cell_ticket(const take_t *t)
{
    return 1 + (uint64_t)t->lim->index * SKL_LIMIT_CELLS +
           cell_number(t->place->key);
}

static int charge_cell(take_t *t)
{
    _Atomic uint64_t *cell = cell_of(t);
    uint64_t tat = atomic_load(cell);
    uint64_t next;
    int rc;

    if (!t->ask->commit) {
        return judge(t, depth_of(tat, t->now));
    }
    skl_count(t->lim->limits->counters, SKL_EV_limiter_overflow, 1);
    do {
        rc = judge(t, depth_of(tat, t->now));
        if (rc != SECKILL_OK) {
            return rc;
        }
        next = t->now + depth_of(tat, t->now) + t->charge;
    } while (!atomic_compare_exchange_weak(cell, &tat, next));
    fill_ticket(t, cell_ticket(t), next);
    return SECKILL_OK;
}

/*
 * The lock was not to be had: charge the cell. The holder of the lock may put
 * the same key in at the same time. It looks at the cell again after that, we
 * look at the table again after this: one of us, at least, sees the other.
 */
static int charge_without_lock(take_t *t)
{
    int rc = charge_cell(t);
    skl_limit_slot_t *slot;

    if (rc != SECKILL_OK || !t->ask->commit) {
        return rc;
    }
    atomic_thread_fence(memory_order_seq_cst);
    slot = find(t->place, t->place->key);
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

static inline int is_reusable(uint64_t key, uint64_t tat, uint64_t now)
{
#ifdef MUTANT_LIMIT_EVICT_LIVE
    return (key | tat | now) != 0;
#else
    return key == 0 || depth_of(tat, now) == 0;
#endif
}

static int scan_group(const take_t *t, skl_limit_group_t *group, victim_t *v)
{
    int free_slots = 0;

    for (int i = 0; i < SKL_LIMIT_WAYS; i++) {
        skl_limit_slot_t *slot = &group->slots[i];
        uint64_t key = atomic_load(&slot->half.key);
        uint64_t tat = atomic_load(&slot->half.tat);

        if (is_reusable(key, tat, t->now) && free_slots++ == 0) {
            *v = (victim_t){slot, key, tat};
        }
    }
    return free_slots;
}

/* The first reusable slot of the emptier group, or none. */
static int find_victim(const take_t *t, victim_t *v)
{
    victim_t other;
    int first = scan_group(t, t->place->group[0], v);
    int second = scan_group(t, t->place->group[1], &other);

    if (second > first) {
        *v = other;
    }
    return first + second > 0;
}

/* Add to a key's TAT, whatever it is meanwhile. */
static void shift_slot(skl_limit_slot_t *slot, uint64_t key, uint64_t delta)
{
    uint64_t tat;

    while (read_slot(slot, key, &tat)) {
        if (swap_slot(slot, key, tat, key, tat + delta)) {
            return;
        }
    }
}

/* Somebody without the lock charged our cell after we had looked at it: that
 * debt, too, may be this key's. */
static int settle(take_t *t, skl_limit_slot_t *slot, uint64_t before,
                  uint64_t after)
{
    uint64_t raise = depth_of(after, t->now) - depth_of(before, t->now);
    int rc = judge(t, depth_of(after, t->now));

    if (rc != SECKILL_OK) {
        raise -= t->charge;
        clear_ticket(t);
    }
    shift_slot(slot, t->place->key, raise);
    return rc;
}

/* Put a key in, with the debt of its cell and this charge. */
static int insert(take_t *t, const victim_t *v)
{
    uint64_t debt = atomic_load(cell_of(t));
    uint64_t next = t->now + depth_of(debt, t->now) + t->charge;
    uint64_t after;
    int rc = judge(t, depth_of(debt, t->now));

    if (rc != SECKILL_OK || !t->ask->commit) {
        return rc;
    }
    if (!swap_slot(v->slot, v->key, v->tat, t->place->key, next)) {
        return AGAIN;
    }
    fill_ticket(t, t->place->key, next);
    atomic_thread_fence(memory_order_seq_cst);
    after = atomic_load(cell_of(t));
    if (depth_of(after, t->now) > depth_of(debt, t->now)) {
        return settle(t, v->slot, debt, after);
    }
    return SECKILL_OK;
}

static int insert_or_overflow(take_t *t)
{
    victim_t v;
    int rc;

    if (t->ask->commit && find(t->place, t->place->key) != NULL) {
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

static int take_new(take_t *t)
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

/* ---- Take ---------------------------------------------------------------- */

/* Both groups follow from the fingerprint alone: a ticket has no more. */
static inline void find_groups(const skl_limits_t *l, skl_limit_place_t *place)
{
    uint64_t mask = l->shm->groups - 1;

    place->group[0] = &l->groups[(place->key >> 26) & mask];
    place->group[1] = &l->groups[skl_mix64(place->key) & mask];
}

void skl_limiter_locate(const skl_limiter_t *lim, const char *key,
                        size_t key_len, skl_limit_place_t *place)
{
    skl_hash_t h = skl_hash128(&lim->key, key, key_len);

    skl_assert(key_len >= 1 && key_len <= SECKILL_ID_MAX);
    place->key = h.lo <= CELL_MAX ? h.lo + CELL_MAX + 1 : h.lo;
    find_groups(lim->limits, place);
    __builtin_prefetch(place->group[0], 1);
    __builtin_prefetch(place->group[1], 1);
}

static int take_any(take_t *t)
{
    skl_limit_slot_t *slot;
    int rc;

    do {
        slot = find(t->place, t->place->key);
        rc = slot != NULL ? charge_slot(t, slot) : take_new(t);
    } while (rc == AGAIN);
    return rc;
}

static int pass_in_shadow(take_t *t)
{
    if (t->numbers.mode != SECKILL_LIMIT_SHADOW) {
        return SECKILL_EREJECTED;
    }
    if (t->ask->commit) {
        skl_count(t->lim->limits->counters, SKL_EV_limiter_shadow, 1);
    }
    t->ask->remaining = 0;
    return SECKILL_OK;
}

int skl_limiter_take(skl_limiter_t *lim, const skl_limit_place_t *place,
                     skl_limit_ask_t *ask)
{
    take_t t;
    int rc;

    skl_assert(ask->cost >= 1);
    t.lim = lim;
    t.place = place;
    t.ask = ask;
    t.now = skl_limit_units(ask->now_ns);
    t.undone = 0;
    skl_limit_numbers(lim->record, &t.numbers);
    if (ask->ticket != NULL) {
        clear_ticket(&t);
        t.undone = atomic_load(&lim->record->undo_done);
    }
    if (__builtin_mul_overflow(t.numbers.interval, ask->cost, &t.charge) ||
        t.charge > t.numbers.window) {
        ask->retry_ns = -1;
        return pass_in_shadow(&t);
    }
    rc = take_any(&t);
    return rc == SECKILL_EREJECTED ? pass_in_shadow(&t) : rc;
}

/* ---- Undo ---------------------------------------------------------------- */

/*
 * How much of a charge may be given back: as much as surely still lies between
 * the bucket and the state it would have without that charge. Time passing
 * over an idle bucket eats a charge; being behind other charges protects it.
 *  - What is left when only time counts: charge - elapsed.
 *  - What is left of the TAT the take had left behind: depth - elapsed, where
 *    everything that was given back since is subtracted from the depth, as it
 *    may have been in front of this charge.
 * Both are safe, so the greater one holds.
 */
static uint64_t credit_of(const skl_limit_ticket_t *ticket, uint64_t now,
                          uint64_t undone)
{
    int64_t passed = (int64_t)(now - ticket->at);
    uint64_t elapsed = passed > 0 ? (uint64_t)passed : 0;
    int64_t ns = (int64_t)(ticket->depth - undone);
    uint64_t left = ticket->charge;

    if (undone < UNDO_MAX && ns > (int64_t)(left >> SKL_LIMIT_SHIFT)) {
        left = (uint64_t)ns << SKL_LIMIT_SHIFT;
    }
    left = left > elapsed ? left - elapsed : 0;
    return left < ticket->charge ? left : ticket->charge;
}

/* Announce a credit: later ones must count it. Its size, or 0. */
static uint64_t begin_undo(skl_limit_record_t *r,
                           const skl_limit_ticket_t *ticket, uint64_t now)
{
    uint64_t undone = atomic_load(&r->undo_begun);
    uint64_t credit;
    uint64_t ns;

    do {
        credit = credit_of(ticket, now, undone);
        ns = undone < UNDO_MAX ? (credit + NS_ROUND) >> SKL_LIMIT_SHIFT : 0;
    } while (
        !atomic_compare_exchange_weak(&r->undo_begun, &undone, undone + ns));
    return credit;
}

static uint64_t lower_slot(skl_limit_slot_t *slot, uint64_t key, uint64_t now,
                           uint64_t credit)
{
    uint64_t tat;
    uint64_t give = 0;

    while (read_slot(slot, key, &tat)) {
        give = depth_of(tat, now);
        give = give < credit ? give : credit;
        if (give == 0 || swap_slot(slot, key, tat, key, tat - give)) {
            return give;
        }
    }
    return 0;
}

static uint64_t lower_cell(_Atomic uint64_t *cell, uint64_t now,
                           uint64_t credit)
{
    uint64_t tat = atomic_load(cell);
    uint64_t give;

    do {
        give = depth_of(tat, now);
        give = give < credit ? give : credit;
    } while (give > 0 && !atomic_compare_exchange_weak(cell, &tat, tat - give));
    return give;
}

static uint64_t give_back(skl_limiter_t *lim, uint64_t key, uint64_t now,
                          uint64_t credit)
{
    skl_limit_place_t place = {.key = key};
    uint64_t cell = (key - 1) % SKL_LIMIT_CELLS;
    skl_limit_slot_t *slot;

    if (key <= CELL_MAX) {
        if ((key - 1) / SKL_LIMIT_CELLS != lim->index) {
            return 0; /* a ticket of another limiter */
        }
        return lower_cell(&lim->record->cells[cell], now, credit);
    }
    find_groups(lim->limits, &place);
    slot = find(&place, key);
    return slot == NULL ? 0 : lower_slot(slot, key, now, credit);
}

int skl_limiter_undo(skl_limiter_t *lim, skl_limit_ticket_t *ticket,
                     int64_t now_ns)
{
    const skl_limit_ticket_t used = *ticket;
    uint64_t now = skl_limit_units(now_ns);
    uint64_t credit;
    uint64_t given;

    memset(ticket, 0, sizeof(*ticket));
    if (used.charge == 0 || used.key == 0) {
        return 0;
    }
    credit = begin_undo(lim->record, &used, now);
    given = credit == 0 ? 0 : give_back(lim, used.key, now, credit);
    atomic_fetch_add(&lim->record->undo_done,
                     (credit + NS_ROUND) >> SKL_LIMIT_SHIFT);
    if (given > 0) {
        skl_count(lim->limits->counters, SKL_EV_limiter_undone, 1);
    }
    return given > 0;
}

/* ---- Sweep --------------------------------------------------------------- */

static uint32_t sweep_group(skl_limit_group_t *group, uint64_t now)
{
    uint32_t emptied = 0;

    for (int i = 0; i < SKL_LIMIT_WAYS; i++) {
        skl_limit_slot_t *slot = &group->slots[i];
        uint64_t key = atomic_load(&slot->half.key);
        uint64_t tat = atomic_load(&slot->half.tat);

        if (key != 0 && is_reusable(key, tat, now) &&
            swap_slot(slot, key, tat, 0, tat)) {
            emptied++;
        }
    }
    return emptied;
}

static void sweep_cells(skl_limit_record_t *r, uint64_t now)
{
    for (int i = 0; i < SKL_LIMIT_CELLS; i++) {
        uint64_t tat = atomic_load(&r->cells[i]);

        if (depth_of(tat, now) == 0) {
            (void)atomic_compare_exchange_strong(&r->cells[i], &tat, now);
        }
    }
}

uint32_t skl_limits_sweep(skl_limits_t *l, int64_t now_ns, uint32_t max)
{
    uint64_t now = skl_limit_units(now_ns);
    uint64_t mask = l->shm->groups - 1;
    uint64_t from = atomic_fetch_add(&l->swept, max);
    uint32_t count = skl_limits_count(l);
    uint32_t emptied = 0;

    for (uint32_t i = 0; i < max; i++) {
        emptied += sweep_group(&l->groups[(from + i) & mask], now);
    }
    /* One limiter's cells each time: their number is small. */
    if (count > 0 && max > 0) {
        sweep_cells(&l->records[from / max % count], now);
    }
    return emptied;
}
