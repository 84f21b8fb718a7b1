/* Rows of processes: who lives, who died, and what comes back then. */
#include "shm/processes.h"
#include "test/support/many_locks.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <fcntl.h>
#include <pthread.h>

enum { HANDLES = SKL_PROCESSES + 1 };

typedef struct {
    skl_processes_shm_t shm;
    skl_processes_t handle; /* of children: a copy of their own is made */
    _Atomic int row, died[SKL_PROCESSES], calls, step;
} world_t;

static int count_death(void *ctx, uint32_t row)
{
    world_t *w = ctx;

    atomic_fetch_add(&w->died[row], 1);
    atomic_fetch_add(&w->calls, 1);
    return 1;
}

static world_t *fresh(skl_processes_t *p)
{
    world_t *w = scratch_shared(sizeof(*w));

    memset(p, 0, sizeof(*p));
    skl_processes_init(&w->shm);
    skl_processes_attach(p, &w->shm);
    skl_processes_watch(p, count_death, w);
    w->handle = *p;
    atomic_store(&w->row, -2);
    return w;
}

static void await(_Atomic int *word, int value)
{
    while (atomic_load(word) != value) {
        usleep(100);
    }
}

/* ---- Children ------------------------------------------------------------ */

/* Claim with an own handle, say so, and stay. */
static int claim_and_stay(void *arg)
{
    world_t *w = arg;
    skl_processes_t p = w->handle;

    atomic_store(&w->row, skl_processes_mine(&p));
    for (;;) {
        pause();
    }
    return 0;
}

static pid_t start_holder(world_t *w, int *row)
{
    pid_t pid;

    atomic_store(&w->row, -2);
    pid = scratch_fork(claim_and_stay, w);
    while (atomic_load(&w->row) == -2) {
        usleep(100);
    }
    *row = atomic_load(&w->row);
    return pid;
}

static void end(pid_t pid)
{
    CHECK_INT(0, kill(pid, SIGKILL));
    CHECK_INT(1000 + SIGKILL, scratch_wait(pid));
}

/* ---- Claims -------------------------------------------------------------- */

TEST(processes_the_first_call_claims_and_the_next_ones_find_it)
{
    skl_processes_t p;
    world_t *w = fresh(&p);
    int row = skl_processes_mine(&p);

    CHECK(row >= 0);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(row, skl_processes_mine(&p));
    }
    CHECK_INT(1, skl_processes_is_live(&p, (uint32_t)row));
    CHECK_INT(0, skl_processes_is_live(&p, (uint32_t)row + 1));
    CHECK_INT(1, skl_processes_owns(&p, (uint32_t)row));
    CHECK_INT(0, skl_processes_owns(&p, (uint32_t)row + 1));
    CHECK_INT(0, skl_processes_reap(&p, NULL, NULL));
    CHECK_INT(0, atomic_load(&w->calls));
}

TEST(processes_all_rows_taken_is_an_answer)
{
    static skl_processes_t p[HANDLES];
    world_t *w = fresh(&p[0]);
    uint8_t seen[SKL_PROCESSES] = {0};
    int row;

    for (int i = 0; i < SKL_PROCESSES; i++) {
        p[i] = w->handle;
        row = skl_processes_mine(&p[i]);
        REQUIRE(row >= 0 && row < SKL_PROCESSES);
        CHECK_INT(0, seen[row]++);
    }
    p[SKL_PROCESSES] = w->handle;
    CHECK_INT(-1, skl_processes_mine(&p[SKL_PROCESSES]));
    CHECK_INT(-1, skl_processes_mine(&p[SKL_PROCESSES]));
    CHECK_INT(0, skl_processes_reap(&p[0], NULL, NULL));
    CHECK_INT(1, skl_processes_leave(&p[77]));
    CHECK(skl_processes_mine(&p[SKL_PROCESSES]) >= 0);
    CHECK_INT(-1, skl_processes_mine(&p[77]));
}

static int take_and_end(void *arg)
{
    world_t *w = arg;
    skl_processes_t p = w->handle;

    return skl_processes_mine(&p) >= 0 ? 0 : 1;
}

/* Without anybody who sweeps. */
TEST(processes_a_claim_takes_the_rows_of_the_dead)
{
    skl_processes_t p;
    world_t *w = fresh(&p);

    for (int i = 0; i < SKL_PROCESSES + 20; i++) {
        CHECK_INT(0, scratch_run(take_and_end, w));
    }
    CHECK_INT(SKL_PROCESSES, atomic_load(&w->calls));
}

/* ---- Death --------------------------------------------------------------- */

TEST(processes_a_killed_one_is_found_once)
{
    skl_processes_t p;
    world_t *w = fresh(&p);
    int mine = skl_processes_mine(&p);
    int rows[4];
    pid_t pids[4];

    for (int i = 0; i < 4; i++) {
        pids[i] = start_holder(w, &rows[i]);
        CHECK(rows[i] != mine);
    }
    for (int i = 0; i < 100; i++) {
        CHECK_INT(0, skl_processes_reap(&p, NULL, NULL));
    }
    CHECK_INT(1, skl_processes_is_live(&p, (uint32_t)rows[2]));
    end(pids[2]);
    CHECK_INT(0, skl_processes_is_live(&p, (uint32_t)rows[2]));
    CHECK_INT(0, skl_processes_is_live(&p, (uint32_t)rows[2]));
    CHECK_INT(1, skl_processes_reap(&p, NULL, NULL));
    CHECK_INT(1, atomic_load(&w->died[rows[2]]));
    CHECK_INT(0, skl_processes_reap(&p, NULL, NULL));
    CHECK_INT(1, atomic_load(&w->calls));
    end(pids[0]);
    end(pids[1]);
    end(pids[3]);
    CHECK_INT(3, skl_processes_reap(&p, count_death, w));
    CHECK_INT(1 + 2 * 3, atomic_load(&w->calls));
    CHECK_INT(mine, skl_processes_mine(&p));
    CHECK_INT(0, atomic_load(&w->died[mine]));
}

/* A function that is killed before it is done, and one after it. */
static int die_in_the_middle(void *ctx, uint32_t row)
{
    (void)ctx;
    (void)row;
    (void)kill(getpid(), SIGKILL);
    return 1;
}

/* A function that could not do all of it: the row is nobody's until it can. */
static int not_all(void *ctx, uint32_t row)
{
    (void)ctx;
    (void)row;
    return 0;
}

TEST(processes_a_row_stays_dead_until_all_is_given_back)
{
    skl_processes_t p;
    world_t *w = fresh(&p);
    int row;

    end(start_holder(w, &row));
    for (int i = 1; i <= 3; i++) {
        CHECK_INT(0, skl_processes_reap(&p, not_all, NULL));
        CHECK_INT(i, atomic_load(&w->died[row]));
        CHECK_INT(0, skl_processes_is_live(&p, (uint32_t)row));
        CHECK(skl_processes_mine(&p) != row);
    }
    CHECK_INT(1, skl_processes_reap(&p, NULL, NULL));
    CHECK_INT(0, skl_processes_reap(&p, NULL, NULL));
    CHECK_INT(1, skl_processes_leave(&p));
}

static int reap_and_die(void *arg)
{
    world_t *w = arg;
    skl_processes_t p = w->handle;

    return skl_processes_reap(&p, die_in_the_middle, NULL);
}

TEST(processes_a_reaper_that_dies_leaves_it_to_the_next)
{
    skl_processes_t p;
    world_t *w = fresh(&p);
    int row;
    pid_t pid = start_holder(w, &row);

    end(pid);
    for (int i = 1; i <= 5; i++) {
        CHECK_INT(1000 + SIGKILL, scratch_run(reap_and_die, w));
        CHECK_INT(i, atomic_load(&w->died[row]));
    }
    CHECK_INT(1, skl_processes_reap(&p, NULL, NULL));
    CHECK_INT(6, atomic_load(&w->died[row]));
    CHECK_INT(0, skl_processes_reap(&p, NULL, NULL));
}

static int exec_something(void *arg)
{
    world_t *w = arg;
    skl_processes_t p = w->handle;

    atomic_store(&w->row, skl_processes_mine(&p));
    (void)execl("/bin/cat", "cat", (char *)NULL);
    return 1;
}

/* It reads from a pipe that stays open: alive, but another program. */
TEST(processes_a_new_program_holds_nothing)
{
    skl_processes_t p;
    world_t *w = fresh(&p);
    int fds[2], saved = dup(0);
    pid_t pid;

    REQUIRE(saved >= 0 && pipe2(fds, O_CLOEXEC) == 0);
    REQUIRE(dup2(fds[0], 0) == 0);
    pid = scratch_fork(exec_something, w);
    while (skl_processes_reap(&p, NULL, NULL) == 0) {
        usleep(100);
    }
    CHECK_INT(1, atomic_load(&w->died[atomic_load(&w->row)]));
    REQUIRE(dup2(saved, 0) == 0);
    close(fds[0]);
    close(fds[1]);
    close(saved);
    CHECK_INT(0, scratch_wait(pid));
}

/* ---- fork ---------------------------------------------------------------- */

typedef struct {
    world_t *w;
    skl_processes_t *p;
    int parent;
} family_t;

/* A grandchild, too, has a row of its own: bits of what was wrong. */
static int child(void *arg)
{
    family_t f = *(family_t *)arg;
    int wrong = skl_processes_owns(f.p, (uint32_t)f.parent) ? 1 : 0;
    int row = skl_processes_mine(f.p);

    wrong |= row < 0 || row == f.parent ? 2 : 0;
    wrong |= skl_processes_is_live(f.p, (uint32_t)f.parent) ? 0 : 4;
    wrong |= skl_processes_reap(f.p, NULL, NULL) != 0 ? 8 : 0;
    wrong |= skl_processes_mine(f.p) != row ? 16 : 0;
    f.parent = row;
    if (wrong == 0 && atomic_fetch_add(&f.w->step, 1) < 3) {
        wrong = scratch_run(child, &f);
        wrong |= skl_processes_reap(f.p, NULL, NULL) != 1 ? 32 : 0;
    }
    return wrong;
}

TEST(processes_a_child_claims_a_row_of_its_own)
{
    skl_processes_t p;
    world_t *w = fresh(&p);
    family_t f = {w, &p, skl_processes_mine(&p)};

    CHECK(f.parent >= 0);
    CHECK_INT(0, scratch_run(child, &f));
    CHECK_INT(1, skl_processes_reap(&p, NULL, NULL));
    CHECK_INT(f.parent, skl_processes_mine(&p));
    CHECK_INT(4, atomic_load(&w->calls));
}

/* The middle one dies, its child lives on with a handle it inherited. */
static int outlive(void *arg)
{
    family_t *f = arg;

    await(&f->w->step, 1);
    return skl_processes_mine(f->p) == f->parent;
}

static int leave_an_orphan(void *arg)
{
    family_t *f = arg;

    f->parent = skl_processes_mine(f->p);
    atomic_store(&f->w->row, f->parent);
    (void)scratch_fork(outlive, f);
    (void)kill(getpid(), SIGKILL);
    return 0;
}

TEST(processes_the_child_of_a_dead_one_does_not_keep_its_row)
{
    skl_processes_t p;
    world_t *w = fresh(&p);
    family_t f = {w, &p, 0};

    CHECK_INT(1000 + SIGKILL, scratch_run(leave_an_orphan, &f));
    CHECK_INT(1, skl_processes_reap(&p, NULL, NULL));
    CHECK_INT(1, atomic_load(&w->died[atomic_load(&w->row)]));
    atomic_store(&w->step, 1);
}

/* ---- Threads ------------------------------------------------------------- */

static void *claim_in_thread(void *arg)
{
    skl_processes_t *p = arg;

    return (void *)(intptr_t)skl_processes_mine(p);
}

static int in_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    void *result = NULL;

    if (pthread_create(&thread, NULL, fn, arg) != 0) {
        return -2;
    }
    (void)pthread_join(thread, &result);
    return (int)(intptr_t)result;
}

TEST(processes_threads_share_the_row)
{
    skl_processes_t p;
    world_t *w = fresh(&p);
    int row = skl_processes_mine(&p);

    for (int i = 0; i < 10; i++) {
        CHECK_INT(row, in_thread(claim_in_thread, &p));
    }
    CHECK_INT(0, skl_processes_reap(&p, NULL, NULL));
    CHECK_INT(0, atomic_load(&w->calls));
}

typedef struct {
    skl_processes_t *p;
    _Atomic int *go;
    int row;
} racer_t;

static void *race(void *arg)
{
    racer_t *r = arg;

    while (!atomic_load(r->go)) {
    }
    r->row = skl_processes_mine(r->p);
    /* The holder must outlive the others' looking. */
    atomic_fetch_add(r->go, 1);
    while (atomic_load(r->go) < 5) {
        usleep(10);
    }
    return NULL;
}

TEST(processes_threads_that_claim_at_once_agree)
{
    for (int round = 0; round < (tap_full() ? 2000 : 40); round++) {
        skl_processes_t p;
        world_t *w = fresh(&p);
        pthread_t threads[4];
        racer_t racers[4];
        _Atomic int go = 0;
        int live = 0;

        for (int i = 0; i < 4; i++) {
            racers[i] = (racer_t){&p, &go, -2};
            REQUIRE(pthread_create(&threads[i], NULL, race, &racers[i]) == 0);
        }
        atomic_store(&go, 1);
        for (int i = 0; i < 4; i++) {
            (void)pthread_join(threads[i], NULL);
            CHECK(racers[i].row >= 0);
            CHECK_INT(racers[0].row, racers[i].row);
        }
        for (int i = 0; i < SKL_PROCESSES; i++) {
            live += (int)atomic_load(&w->shm.rows[i].claimed);
        }
        CHECK_INT(1, live);
        munmap(w, sizeof(*w));
    }
}

/* The process lives: its own sweep keeps the row. */
TEST(processes_a_sweep_takes_over_from_a_thread_that_ended)
{
    skl_processes_t p, other;
    world_t *w = fresh(&p);
    int row = in_thread(claim_in_thread, &p);

    CHECK_INT(0, skl_processes_reap(&p, NULL, NULL));
    CHECK_INT(0, atomic_load(&w->calls));
    CHECK_INT(row, skl_processes_mine(&p));
    other = w->handle;
    CHECK_INT(0, skl_processes_reap(&other, NULL, NULL));
    CHECK_INT(1, skl_processes_is_live(&other, (uint32_t)row));
    CHECK_INT(1, skl_processes_leave(&p));
}

/* Somebody else was faster: the old row must not be used any more. */
TEST(processes_a_row_that_was_lost_is_not_used_again)
{
    skl_processes_t p, other;
    world_t *w = fresh(&p);
    int row = in_thread(claim_in_thread, &p);

    other = w->handle;
    CHECK_INT(1, skl_processes_owns(&p, (uint32_t)row));
    CHECK_INT(1, skl_processes_reap(&other, NULL, NULL));
    CHECK_INT(0, skl_processes_owns(&p, (uint32_t)row));
    CHECK_INT(row, skl_processes_mine(&other));
    CHECK(skl_processes_mine(&p) != row);
    CHECK(skl_processes_mine(&p) >= 0);
    CHECK_INT(0, skl_processes_reap(&p, NULL, NULL));
}

/* ---- Leaving ------------------------------------------------------------- */

static void *leave_in_thread(void *arg)
{
    return (void *)(intptr_t)skl_processes_leave(arg);
}

TEST(processes_leaving_gives_back_at_once)
{
    skl_processes_t p;
    world_t *w = fresh(&p);
    int row = skl_processes_mine(&p);

    CHECK_INT(0, in_thread(leave_in_thread, &p));
    CHECK_INT(0, atomic_load(&w->calls));
    CHECK_INT(row, skl_processes_mine(&p));
    CHECK_INT(1, skl_processes_leave(&p));
    CHECK_INT(1, atomic_load(&w->died[row]));
    CHECK_INT(0, skl_processes_is_live(&p, (uint32_t)row));
    CHECK_INT(0, skl_processes_leave(&p));
    CHECK_INT(1, atomic_load(&w->calls));
    CHECK(skl_processes_mine(&p) >= 0);
}

/* ---- Random kills -------------------------------------------------------- */

static int live_and_leave(void *arg)
{
    world_t *w = arg;

    for (;;) {
        skl_processes_t p = w->handle;

        if (skl_processes_mine(&p) < 0) {
            return 1;
        }
        (void)skl_processes_reap(&p, NULL, NULL);
        if (skl_processes_leave(&p) == 0) {
            return 2;
        }
    }
    return 0;
}

TEST(processes_no_row_is_lost_by_kills)
{
    skl_processes_t p;
    world_t *w = fresh(&p);
    pid_t pids[4];

    for (int round = 0; round < (tap_full() ? 3000 : 50); round++) {
        for (int i = 0; i < 4; i++) {
            pids[i] = scratch_fork(live_and_leave, w);
        }
        usleep((useconds_t)(round * 37 % 2000));
        for (int i = 0; i < 4; i++) {
            end(pids[i]);
        }
        (void)skl_processes_reap(&p, NULL, NULL);
        for (int i = 0; i < SKL_PROCESSES; i++) {
            CHECK_INT(0, atomic_load(&w->shm.rows[i].claimed));
        }
    }
    CHECK(skl_processes_mine(&p) >= 0);
}

TAP_MAIN()
