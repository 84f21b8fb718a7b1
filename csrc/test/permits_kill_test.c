/*
 * Death of a process at any instruction of taking, giving back and cleaning up
 * permits.
 *
 * How it works. For each case below a child makes itself ready, stops, and
 * then makes one call an instruction at a time (stepper.h). Between any two
 * instructions the parent does to the locks what the kernel does when the child
 * dies there, cleans up, checks, and puts the bytes back for the next one. At
 * sampled instructions, and wherever the child has changed something, it is
 * really killed. What is checked:
 *   - readers see the count of before or of after the call, no other;
 *   - one reap later everything the dead one had is back, and what others hold
 *     is still counted: exactly, to the limit;
 *   - a child that is taken for dead at such an instruction, but goes on (the
 *     thread that claimed its row has ended), holds nothing but what it was
 *     told that it holds, and what it holds comes back when it dies.
 * Where the child has changed something the reaper then dies, too, at each of
 * its instructions, and the next one finishes.
 *
 * The memory is copied before and put back after: nobody else is within a call
 * then, and the locks that this process holds are in the copy.
 *
 * SECKILL_FULL=1 samples every instruction of the call, and many more of the
 * reaper's. A stepped sanitizer proves nothing more:
 * variants: rel
 */
#include "test/support/permits.h"
#include "test/support/stepper.h"

#include "base/assert.h"
#include "base/hash.h"
#include "shm/lock.h"

#include <linux/futex.h>
#include <pthread.h>

enum {
    KEY = 77,
    BASE = 4, /* what this process holds of KEY, in two permits */
    LIMIT = 20,
    CAPACITY = 8,
    STEPS_MAX = 100000,
    STRIPES = 64,
    STRIDE = 97, /* of the sample */
    ROWS = 8     /* of processes, at most, in these tests */
};

typedef struct run run_t;

typedef struct {
    void (*world)(run_t *); /* in this process, before */
    void (*ready)(run_t *); /* in the child, not stepped */
    void (*call)(run_t *);
    int new_key; /* nobody holds KEY */
} case_t;

/* What a child tells. */
typedef struct {
    skl_permit_t held[4];
    _Atomic uint32_t count; /* held[] that it was given and not taken back */
} told_t;

/* An instruction of the call, and whether the memory is new there. */
typedef struct {
    long step;
    int is_new;
} point_t;

struct run {
    const case_t *c;
    permits_world_t w;
    told_t *told;
    skl_permit_t mine[2];
    uint64_t key; /* of the calls */
    unsigned char
        *copies[4]; /* before, when the child died, scratch, scratch */
    size_t bytes;
    uint32_t base; /* count of KEY without the child */
    uint32_t before, after;
    int in_thread; /* the child makes itself ready in a thread that ends */
    long steps;
    long deaths, kills, reaper_deaths, reaper_kills, states, raced;
    int bad;
};

/* ---- The memory ---------------------------------------------------------- */

static void save(const run_t *t, int copy)
{
    memcpy(t->copies[copy], t->w.section, t->w.bytes);
    memcpy(t->copies[copy] + t->w.bytes, t->w.processes_shm,
           sizeof(*t->w.processes_shm));
}

static void restore(const run_t *t, int copy)
{
    memcpy(t->w.section, t->copies[copy], t->w.bytes);
    memcpy(t->w.processes_shm, t->copies[copy] + t->w.bytes,
           sizeof(*t->w.processes_shm));
}

static int changed(const run_t *t, int copy)
{
    return memcmp(t->w.section, t->copies[copy], t->w.bytes) != 0 ||
           memcmp(t->w.processes_shm, t->copies[copy] + t->w.bytes,
                  offsetof(skl_processes_shm_t, rows[ROWS])) != 0;
}

static void fault(run_t *t, const char *what, long step, long reaper_step)
{
    if (t->bad++ < 10) {
        printf("# step %ld, reaper's %ld: %s\n", step, reaper_step, what);
    }
}

/* What the kernel does to the locks of a process that dies. */
static void owner_died(pthread_mutex_t *mutex, pid_t pid)
{
    const uint32_t word = (uint32_t)mutex->__data.__lock;

    if ((word & FUTEX_TID_MASK) == (uint32_t)pid) {
        mutex->__data.__lock = (int)((word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
    }
}

/* The section begins with one line, then come the locks of new keys. */
static void all_died(const run_t *t, pid_t pid)
{
    char *base = t->w.section;

    for (int i = 0; i < ROWS; i++) {
        owner_died(&t->w.processes_shm->rows[i].mutex, pid);
    }
    for (int i = 0; i < STRIPES; i++) {
        owner_died(&((skl_lock_t *)(void *)(base + 64))[i].mutex, pid);
    }
}

/* ---- Children ------------------------------------------------------------ */

static void *ready_thread(void *arg)
{
    run_t *t = arg;

    t->c->ready(t);
    return NULL;
}

static void child(void *arg)
{
    run_t *t = arg;
    pthread_t thread;

    if (!t->in_thread) {
        t->c->ready(t);
    } else if (pthread_create(&thread, NULL, ready_thread, t) == 0) {
        (void)pthread_join(thread, NULL);
    }
    (void)raise(SIGSTOP);
    t->c->call(t);
}

static void reaper(void *arg)
{
    run_t *t = arg;

    (void)skl_processes_reap(&t->w.processes, NULL, NULL);
}

/* A child that is about to make the call, which begins when it stops itself. */
static int start(run_t *t, stepper_t *st)
{
    const char *why = "";

    memset(t->told, 0, sizeof(*t->told));
    if (!stepper_start(st, child, t, &why) || stepper_finish(st) != 0) {
        fault(t, why, -1, -1);
        return 0;
    }
    t->before = permits_count(&t->w, KEY);
    return 1;
}

/* The same, but the thread that made it ready has ended: to whoever looks it is
 * dead. */
static int start_in_thread(run_t *t, stepper_t *st)
{
    int good;

    t->in_thread = 1;
    good = start(t, st);
    t->in_thread = 0;
    return good;
}

/* Step until the count of the key changes. 0: it does not. */
static int step_to_change(run_t *t, stepper_t *st, uint64_t key)
{
    const uint32_t before = permits_count(&t->w, key);

    while (permits_count(&t->w, key) == before && stepper_step(st) == 1) {
    }
    return permits_count(&t->w, key) != before;
}

/* ---- Checks -------------------------------------------------------------- */

/* After the last reap: everything is as if the child had never been. */
static void check_whole(run_t *t, long step, long reaper_step)
{
    skl_permit_t more[LIMIT];
    uint32_t n = 0;

    if (permits_count(&t->w, KEY) != t->base) {
        fault(t, "the count is not what the others hold", step, reaper_step);
    }
    if (skl_permits_held(&t->w.permits) != 2) {
        fault(t, "permits are lost", step, reaper_step);
    }
    for (uint32_t i = 1; i < SKL_PROCESSES; i++) {
        if (atomic_load(&t->w.processes_shm->rows[i].claimed)) {
            fault(t, "a row is lost", step, reaper_step);
        }
    }
    while (n < LIMIT && permits_take(&t->w, KEY, 1, t->base + 3) == 0) {
        more[n++] = t->w.last;
    }
    if (n != 3) {
        fault(t, "others are admitted too many, or too few", step, reaper_step);
    }
    while (n > 0) {
        n--;
        if (permits_release(&t->w, more[n]) != 1) {
            fault(t, "others cannot give back", step, reaper_step);
        }
    }
    for (int i = 0; i < 2; i++) {
        if (permits_release(&t->w, t->mine[i]) != 1) {
            fault(t, "what was held before is gone", step, reaper_step);
        }
    }
    if (permits_count(&t->w, KEY) != 0) {
        fault(t, "the count does not end at 0", step, reaper_step);
    }
}

static void check_seen(run_t *t, long step)
{
    const uint32_t count = permits_count(&t->w, KEY);

    if (count != t->before && count != t->after) {
        fault(t, "a count of neither before nor after", step, -1);
    }
}

/* Dead for those who look, between two instructions of a stopped process. The
 * memory then is as it was. */
static void die_here(run_t *t, const stepper_t *st, long step, long reaper_step)
{
    save(t, 3);
    all_died(t, st->pid);
    (void)skl_processes_reap(&t->w.processes, NULL, NULL);
    check_whole(t, step, reaper_step);
    restore(t, 3);
}

/* The child has died at this step, and the memory is in copy 1: so does who
 * cleans up, m instructions later. */
static void kill_reaper(run_t *t, long step, long m)
{
    const char *why = "";
    stepper_t st;

    restore(t, 1);
    if (!stepper_start(&st, reaper, t, &why)) {
        fault(t, why, step, m);
        return;
    }
    (void)stepper_run(&st, m);
    stepper_kill(&st);
    t->reaper_kills++;
    (void)skl_processes_reap(&t->w.processes, NULL, NULL);
    check_whole(t, step, m);
}

/* ... at each of its instructions; really where it changes something. */
static void kill_reapers(run_t *t, long step)
{
    static long points[STEPS_MAX];
    const char *why = "";
    stepper_t st;
    long n = 0;

    restore(t, 1);
    save(t, 2);
    if (!stepper_start(&st, reaper, t, &why)) {
        fault(t, why, step, -1);
        return;
    }
    do {
        if (n < STEPS_MAX &&
            (changed(t, 2) || (tap_full() && st.steps % 31 == 0))) {
            points[n++] = st.steps;
            save(t, 2);
        }
        die_here(t, &st, step, st.steps);
        t->reaper_deaths++;
    } while (stepper_step(&st) == 1);
    stepper_kill(&st);
    for (long i = 0; i < n; i += tap_full() ? 1 : 7) {
        kill_reaper(t, step, points[i]);
    }
}

/* What it was told that it holds, given back by us. */
static void give_back_all(run_t *t)
{
    for (uint32_t i = 0; i < atomic_load(&t->told->count); i++) {
        (void)skl_permits_release(&t->w.permits, &t->told->held[i]);
    }
}

/* ---- A case -------------------------------------------------------------- */

static void kill_at(run_t *t, long n)
{
    stepper_t st;

    restore(t, 0);
    if (!start(t, &st)) {
        return;
    }
    (void)stepper_run(&st, n);
    stepper_kill(&st);
    t->kills++;
    check_seen(t, n);
    save(t, 1);
    (void)skl_processes_reap(&t->w.processes, NULL, NULL);
    check_whole(t, n, -1);
}

/* Taken for dead while it lives, it loses its row and goes on. What it holds
 * then it either gives back or dies with. */
static void race_at(run_t *t, long n, int gives_back)
{
    stepper_t st;
    int going;

    restore(t, 0);
    going = start_in_thread(t, &st) && stepper_run(&st, n) == 1;
    (void)skl_processes_reap(&t->w.processes, NULL, NULL);
    if (going && stepper_finish(&st) != 0) {
        fault(t, "it does not end", n, -1);
    }
    t->raced++;
    if (gives_back) {
        give_back_all(t);
        if (permits_count(&t->w, KEY) != t->base) {
            fault(t, "it holds what it does not know of", n, -1);
        }
    }
    stepper_kill(&st);
    (void)skl_processes_reap(&t->w.processes, NULL, NULL);
    check_whole(t, n, -2);
}

/* One undisturbed run, for the count that it leaves. */
static void run_through(run_t *t)
{
    stepper_t st;

    restore(t, 0);
    if (start(t, &st)) {
        CHECK_INT(0, stepper_finish(&st));
        t->after = permits_count(&t->w, KEY);
        stepper_kill(&st);
    }
}

/* Die between any two instructions. What is to be sampled: how many. */
static long walk(run_t *t, point_t *points)
{
    stepper_t st;
    long n = 0;

    restore(t, 0);
    if (!start(t, &st)) {
        return 0;
    }
    do {
        const int is_new = t->deaths == 0 || changed(t, 2);

        save(t, 2);
        if (n < STEPS_MAX && (is_new || tap_full() || st.steps % STRIDE == 0)) {
            points[n++] = (point_t){st.steps, is_new};
            t->states += is_new;
        }
        check_seen(t, st.steps);
        die_here(t, &st, st.steps, -1);
        t->deaths++;
    } while (stepper_step(&st) == 1);
    stepper_kill(&st);
    return n;
}

/* What this process holds, of KEY or of another key. */
static void hold_some(run_t *t)
{
    const uint64_t key = t->c->new_key ? KEY + 1 : KEY;

    CHECK_INT(SECKILL_OK, permits_take(&t->w, key, 1, LIMIT));
    t->mine[0] = t->w.last;
    CHECK_INT(SECKILL_OK, permits_take(&t->w, key, BASE - 1, LIMIT));
    t->mine[1] = t->w.last;
    t->base = t->c->new_key ? 0 : BASE;
}

static void open_run(run_t *t, const case_t *c)
{
    memset(t, 0, sizeof(*t));
    t->c = c;
    t->key = KEY;
    permits_new(&t->w, CAPACITY);
    t->told = scratch_shared(sizeof(*t->told));
    t->bytes = t->w.bytes + sizeof(*t->w.processes_shm);
    for (int i = 0; i < 4; i++) {
        t->copies[i] = malloc(t->bytes);
        skl_assert(t->copies[i] != NULL);
    }
    c->world(t);
    save(t, 0);
}

static void close_run(run_t *t)
{
    for (int i = 0; i < 4; i++) {
        free(t->copies[i]);
    }
    (void)munmap(t->told, sizeof(*t->told));
    permits_free(&t->w);
}

static void run_case(const case_t *c)
{
    static point_t points[STEPS_MAX];
    run_t t;
    long n;

    open_run(&t, c);
    run_through(&t);
    n = walk(&t, points);
    CHECK(t.states >= 3);
    for (long i = 0; i < n; i++) {
        race_at(&t, points[i].step, 0);
        race_at(&t, points[i].step, 1);
        kill_at(&t, points[i].step);
        if (points[i].is_new) {
            kill_reapers(&t, points[i].step);
        }
    }
    printf("# died at %ld instructions in %ld states, %ld times by kill -9; "
           "reapers at %ld, %ld times by kill -9; %ld times taken for dead\n",
           t.deaths, t.states, t.kills, t.reaper_deaths, t.reaper_kills,
           t.raced);
    CHECK_INT(0, t.bad);
    restore(&t, 0);
    close_run(&t);
}

/* ---- Calls --------------------------------------------------------------- */

static void nothing(run_t *t)
{
    (void)t;
}

static void claim_row(run_t *t)
{
    (void)skl_processes_mine(&t->w.processes);
}

static void take(run_t *t)
{
    const uint32_t n = atomic_load(&t->told->count);

    if (permits_take(&t->w, t->key, 2, LIMIT) == SECKILL_OK) {
        t->told->held[n] = t->w.last;
        atomic_store(&t->told->count, n + 1);
    }
}

static void take_two(run_t *t)
{
    take(t);
    take(t);
}

static void give_back(run_t *t, uint32_t which)
{
    skl_permit_t copy = t->told->held[which];

    (void)skl_permits_release(&t->w.permits, &copy);
}

static void give_first(run_t *t)
{
    give_back(t, 0);
}

static void give_second(run_t *t)
{
    give_back(t, 1);
}

/* ---- Worlds -------------------------------------------------------------- */

/* Somebody else is killed when he has changed the slot of a key: his permit is
 * still PENDING or RELEASING. */
static void kill_in(run_t *t, const case_t *other, uint64_t key)
{
    const case_t *c = t->c;
    stepper_t st;

    t->c = other;
    t->key = key;
    if (start(t, &st)) {
        CHECK(step_to_change(t, &st, key));
        stepper_kill(&st);
    }
    t->c = c;
    t->key = KEY;
}

static void died_in_acquire(run_t *t)
{
    const case_t other = {nothing, claim_row, take, 0};

    hold_some(t);
    kill_in(t, &other, KEY);
}

static void died_in_release(run_t *t)
{
    const case_t other = {nothing, take_two, give_first, 0};

    hold_some(t);
    kill_in(t, &other, KEY);
}

/* Does this key have a slot? Behind the locks lie the slots, then the permits,
 * of 16 bytes each. */
static int has_slot(const run_t *t, uint64_t key)
{
    const unsigned char *base = t->w.section;
    uint64_t at;

    for (size_t i = 64 + STRIPES * sizeof(skl_lock_t);
         i < t->w.bytes - CAPACITY * 16; i += 16) {
        memcpy(&at, base + i, sizeof(at));
        if (at == key) {
            return 1;
        }
    }
    return 0;
}

static void use_once(run_t *t, uint64_t key)
{
    CHECK_INT(SECKILL_OK, permits_take(&t->w, key, 1, 1));
    CHECK_INT(1, permits_release(&t->w, t->w.last));
}

/* Every slot has had a key. The one that KEY gets is of a key whose last
 * release was not completed. */
static void died_in_release_of_another_key(run_t *t)
{
    const case_t other = {nothing, take, give_first, 1};
    uint64_t key = 0;
    int found = 0;

    for (uint64_t i = 1; i <= 300; i++) {
        use_once(t, skl_mix64(i));
    }
    hold_some(t);
    for (uint64_t i = 1; !found && i <= 300; i++) {
        key = skl_mix64(i);
        use_once(t, key);
        save(t, 3);
        use_once(t, KEY);
        found = !has_slot(t, key);
        restore(t, 3);
    }
    CHECK(found && has_slot(t, key));
    kill_in(t, &other, key);
}

/* ---- Cases --------------------------------------------------------------- */

TEST(killed_in_an_acquire)
{
    const case_t c = {hold_some, claim_row, take, 0};

    run_case(&c);
}

TEST(killed_in_the_first_acquire_of_a_process)
{
    const case_t c = {hold_some, nothing, take, 0};

    run_case(&c);
}

TEST(killed_in_the_acquire_of_a_new_key)
{
    const case_t c = {hold_some, claim_row, take, 1};

    run_case(&c);
}

TEST(killed_in_a_release_of_the_last_acquire)
{
    const case_t c = {hold_some, take_two, give_second, 0};

    run_case(&c);
}

TEST(killed_in_a_release)
{
    const case_t c = {hold_some, take_two, give_first, 0};

    run_case(&c);
}

TEST(killed_in_the_release_that_ends_at_0)
{
    const case_t c = {hold_some, take, give_first, 1};

    run_case(&c);
}

TEST(killed_in_an_acquire_after_one_that_died)
{
    const case_t c = {died_in_acquire, claim_row, take, 0};

    run_case(&c);
}

TEST(killed_in_an_acquire_after_a_release_that_died)
{
    const case_t c = {died_in_release, claim_row, take, 0};

    run_case(&c);
}

TEST(killed_in_a_release_after_an_acquire_that_died)
{
    const case_t c = {died_in_acquire, take_two, give_first, 0};

    run_case(&c);
}

TEST(killed_in_the_reuse_of_a_slot_after_a_release_that_died)
{
    const case_t c = {died_in_release_of_another_key, claim_row, take, 1};

    run_case(&c);
}

/* ---- Refused while taken for dead ---------------------------------------- */

/* Clean up until a count has changed, then let the other one go on. */
static void reap_around(run_t *t, stepper_t *other, long m)
{
    const char *why = "";
    stepper_t st;

    if (!stepper_start(&st, reaper, t, &why)) {
        fault(t, why, m, -3);
        return;
    }
    t->states += step_to_change(t, &st, KEY);
    if (stepper_finish(other) != 0) {
        fault(t, "it does not end", m, -3);
    }
    stepper_kill(&st);
}

/* The child is in the middle of taking, somebody else takes what was left, and
 * m instructions later it is taken for dead: it must not take its permit back
 * while whoever cleans up carries it through. */
static int refuse_at(run_t *t, long m)
{
    skl_permit_t rest;
    stepper_t st;
    int going;

    restore(t, 0);
    going = start_in_thread(t, &st);
    while (going && skl_permits_held(&t->w.permits) == 2) {
        going = stepper_step(&st) == 1;
    }
    if (!CHECK(going) ||
        !CHECK_INT(SECKILL_OK, permits_take(&t->w, KEY, LIMIT - BASE, LIMIT))) {
        stepper_kill(&st);
        return 0;
    }
    rest = t->w.last;
    going = stepper_run(&st, m) == 1;
    if (going) {
        reap_around(t, &st, m);
    }
    t->raced++;
    CHECK_INT(0, atomic_load(&t->told->count));
    stepper_kill(&st);
    (void)skl_processes_reap(&t->w.processes, NULL, NULL);
    CHECK_INT(1, permits_release(&t->w, rest));
    check_whole(t, m, -3);
    return going;
}

TEST(taken_for_dead_in_an_acquire_that_is_refused)
{
    const case_t c = {hold_some, claim_row, take, 0};
    run_t t;
    long m = 0;

    open_run(&t, &c);
    while (m < STEPS_MAX && refuse_at(&t, m)) {
        m += tap_full() ? 1 : 7;
    }
    printf("# %ld times taken for dead, %ld times carried through\n", t.raced,
           t.states);
    CHECK(t.states >= 5);
    CHECK_INT(0, t.bad);
    restore(&t, 0);
    close_run(&t);
}

TAP_MAIN()
