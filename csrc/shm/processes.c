/* See processes.h. */
#include "shm/processes.h"

#include "base/assert.h"

#include <errno.h>
#include <string.h>

/* What a handle remembers: generation << 32 | epoch << 9 | CLAIMED | row. */
#define CLAIMED UINT64_C(256)
#define EPOCH_SHIFT 9
#define EPOCH_MASK ((UINT32_C(1) << 23) - 1)

/* How often this process is a child of the one that loaded the library: a word
 * of another epoch was written by an ancestor. */
static _Atomic uint32_t epoch;
static _Atomic int watching_forks;

static void begin_child(void)
{
    atomic_fetch_add(&epoch, 1);
}

static inline uint64_t this_thread(void)
{
    return (uint64_t)pthread_self();
}

static inline uint64_t word_of(uint32_t row, uint64_t generation)
{
    const uint64_t now = atomic_load_explicit(&epoch, memory_order_relaxed);

    return generation << 32 | (now & EPOCH_MASK) << EPOCH_SHIFT | CLAIMED | row;
}

void skl_processes_init(skl_processes_shm_t *shm)
{
    pthread_mutexattr_t attr;
    int rc = pthread_mutexattr_init(&attr);

    skl_assert((uintptr_t)shm % _Alignof(skl_processes_shm_t) == 0);
    rc |= pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    rc |= pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    for (int i = 0; i < SKL_PROCESSES; i++) {
        rc |= pthread_mutex_init(&shm->rows[i].mutex, &attr);
        atomic_init(&shm->rows[i].generation, 0);
        atomic_init(&shm->rows[i].claimed, 0);
    }
    skl_assert(rc == 0);
    atomic_init(&shm->used, 0);
    (void)pthread_mutexattr_destroy(&attr);
}

void skl_processes_attach(skl_processes_t *p, skl_processes_shm_t *shm)
{
    skl_assert((uintptr_t)shm % _Alignof(skl_processes_shm_t) == 0);
    if (atomic_exchange(&watching_forks, 1) == 0) {
        int rc = pthread_atfork(NULL, NULL, begin_child);

        skl_assert(rc == 0);
    }
    if (p->shm != shm) {
        atomic_store(&p->mine, 0);
    }
    p->shm = shm;
    p->watcher_count = 0;
}

void skl_processes_watch(skl_processes_t *p, skl_process_died_fn fn, void *ctx)
{
    skl_assert(p->watcher_count < SKL_PROCESSES_WATCHERS);
    p->watchers[p->watcher_count++] = (skl_process_watcher_t){fn, ctx};
}

/* ---- Rows ---------------------------------------------------------------- */

/* 1: the mutex is ours now; its owner, if it had one, is dead. */
static int take(skl_process_row_t *row)
{
    int rc = pthread_mutex_trylock(&row->mutex);

    if (rc == EOWNERDEAD) {
        rc = pthread_mutex_consistent(&row->mutex);
        skl_assert(rc == 0);
    }
    skl_assert(rc == 0 || rc == EBUSY);
    return rc == 0;
}

static void drop(skl_process_row_t *row)
{
    int rc = pthread_mutex_unlock(&row->mutex);

    skl_assert(rc == 0);
}

/* With its mutex held: nobody has it any more. */
static void free_row(skl_process_row_t *row)
{
    atomic_store(&row->claimed, 0);
    drop(row);
}

/* Those who look for dead rows stop at shm->used: raised before the claim. */
static void raise_used(skl_processes_shm_t *shm, uint32_t used)
{
    uint32_t now = atomic_load(&shm->used);

    while (now < used &&
           !atomic_compare_exchange_weak(&shm->used, &now, used)) {
    }
}

/* 1: the row is free, and claimed now. */
static int claim(skl_processes_shm_t *shm, uint32_t i)
{
    skl_process_row_t *row = &shm->rows[i];

    if (atomic_load(&row->claimed) || !take(row)) {
        return 0;
    }
    if (atomic_load(&row->claimed)) {
        drop(row); /* claimed meanwhile, and dead already: to be reaped */
        return 0;
    }
    raise_used(shm, i + 1);
    atomic_fetch_add(&row->generation, 1);
    atomic_store(&row->claimed, 1);
    return 1;
}

static int claim_any(skl_processes_t *p)
{
    for (uint32_t i = 0; i < SKL_PROCESSES; i++) {
        if (claim(p->shm, i)) {
            return (int)i;
        }
    }
    return -1;
}

/* ---- Mine ---------------------------------------------------------------- */

/* 1: this word of the handle names a row that is still this process's. */
static inline int is_valid(const skl_processes_t *p, uint64_t word)
{
    const uint32_t row = word & 255;

    if ((word & CLAIMED) == 0) {
        return 0;
    }
#ifdef MUTANT_PROCESSES_NO_EPOCH
    return word >> 32 == (uint32_t)atomic_load(&p->shm->rows[row].generation);
#else
    return word == word_of(row, atomic_load(&p->shm->rows[row].generation));
#endif
}

/* A row, or -1: none is free. */
static int find_row(skl_processes_t *p)
{
    const int row = claim_any(p);

    if (row >= 0) {
        return row;
    }
    (void)skl_processes_reap(p, NULL, NULL);
    return claim_any(p);
}

static int claim_mine(skl_processes_t *p)
{
    uint64_t seen = atomic_load(&p->mine);
    uint64_t generation;

    while (!is_valid(p, seen)) {
        const int row = find_row(p);

        if (row < 0) {
            return -1;
        }
        generation = atomic_load(&p->shm->rows[row].generation);
        if (atomic_compare_exchange_strong(
                &p->mine, &seen, word_of((uint32_t)row, generation))) {
            atomic_store(&p->holder, this_thread());
            return row;
        }
        free_row(&p->shm->rows[row]); /* another thread was faster */
    }
    return (int)(seen & 255);
}

int skl_processes_mine(skl_processes_t *p)
{
    const uint64_t word = atomic_load_explicit(&p->mine, memory_order_acquire);

    return is_valid(p, word) ? (int)(word & 255) : claim_mine(p);
}

int skl_processes_owns(skl_processes_t *p, uint32_t row)
{
    const uint64_t word = atomic_load(&p->mine);

    skl_assert(row < SKL_PROCESSES);
    return is_valid(p, word) && (word & 255) == row;
}

/* ---- Death --------------------------------------------------------------- */

/* The mutex is held: give back what the owner of the row held, free it. 0: not
 * all of it, so it stays dead. */
static int bury(skl_processes_t *p, uint32_t i, skl_process_died_fn fn,
                void *ctx)
{
    skl_process_row_t *row = &p->shm->rows[i];
    int done = 1;

    skl_assert(atomic_load(&row->claimed) && p->shm->used > i);
    /* First: whoever writes this row's number from now on sees that it has
     * changed, see skl_processes_owns(). */
    atomic_fetch_add(&row->generation, 1);
    for (uint32_t w = 0; w < p->watcher_count; w++) {
        done &= p->watchers[w].fn(p->watchers[w].ctx, i);
    }
    if (fn != NULL) {
        done &= fn(ctx, i);
    }
    if (done) {
        free_row(row);
    } else {
        drop(row);
    }
    return done;
}

static int reap_row(skl_processes_t *p, uint32_t i, skl_process_died_fn fn,
                    void *ctx)
{
    skl_process_row_t *row = &p->shm->rows[i];

    if (!atomic_load(&row->claimed) || !take(row)) {
        return 0;
    }
    if (!atomic_load(&row->claimed)) {
        drop(row);
        return 0;
    }
    if (skl_processes_owns(p, i)) {
        /* The thread that claimed it has ended: we go on holding. */
        atomic_store(&p->holder, this_thread());
        return 0;
    }
    return bury(p, i, fn, ctx);
}

int skl_processes_reap(skl_processes_t *p, skl_process_died_fn fn, void *ctx)
{
    const uint32_t used = atomic_load(&p->shm->used);
    int dead = 0;

    skl_assert(used <= SKL_PROCESSES);
    for (uint32_t i = 0; i < used; i++) {
        dead += reap_row(p, i, fn, ctx);
    }
    return dead;
}

int skl_processes_leave(skl_processes_t *p)
{
    uint64_t word = atomic_load(&p->mine);
    const uint32_t row = word & 255;
    int rc;

    if (!is_valid(p, word) || atomic_load(&p->holder) != this_thread() ||
        !atomic_compare_exchange_strong(&p->mine, &word, 0)) {
        return 0;
    }
    /* EPERM: the holder has ended, this is another thread of its name. */
    rc = pthread_mutex_unlock(&p->shm->rows[row].mutex);
    skl_assert(rc == 0 || rc == EPERM);
    (void)reap_row(p, row, NULL, NULL); /* unless somebody was faster */
    return 1;
}

int skl_processes_is_live(skl_processes_t *p, uint32_t row)
{
    skl_process_row_t *r = &p->shm->rows[row];

    skl_assert(row < SKL_PROCESSES);
    if (!atomic_load(&r->claimed)) {
        return 0;
    }
    if (!take(r)) {
        return 1;
    }
    drop(r);
    return 0;
}
