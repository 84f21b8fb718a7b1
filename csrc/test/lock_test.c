/* The robust lock: exclusion, bounded waiting, and recovery exactly once. */
#include "base/clock.h"
#include "seckill.h"
#include "shm/lock.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

enum { PROCESSES = 4, THREADS = 4, ROUNDS = 3000 };

typedef struct {
    skl_lock_t lock;
    long value, twin; /* equal whenever nobody holds the lock */
    _Atomic int repairs;
    _Atomic int ready;
    uint64_t intent_seen;
} shared_t;

static shared_t *fresh(void)
{
    shared_t *s = scratch_shared(sizeof(*s));

    skl_lock_init(&s->lock);
    return s;
}

static void repair(void *ctx, skl_lock_t *lock)
{
    shared_t *s = ctx;

    atomic_fetch_add(&s->repairs, 1);
    s->intent_seen = atomic_load(&lock->intent);
    s->twin = s->value;
}

static void repair_and_die(void *ctx, skl_lock_t *lock)
{
    repair(ctx, lock);
    (void)kill(getpid(), SIGKILL);
}

/* Take it however long that takes. */
static void take(shared_t *s)
{
    int rc;

    do {
        skl_wait_t wait = {0};

        rc = skl_lock_acquire(&s->lock, &wait, repair, s);
    } while (rc == SECKILL_EBUSY);
}

static int step_many(void *arg)
{
    shared_t *s = arg;
    int bad = 0;

    for (int i = 0; i < ROUNDS; i++) {
        take(s);
        bad += s->value != s->twin;
        s->value++;
        s->twin++;
        skl_lock_release(&s->lock);
    }
    return bad != 0;
}

static void *step_thread(void *arg)
{
    return step_many(arg) == 0 ? NULL : arg;
}

TEST(one_process_at_a_time)
{
    shared_t *s = fresh();
    pid_t pids[PROCESSES];

    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = scratch_fork(step_many, s);
    }
    for (int i = 0; i < PROCESSES; i++) {
        CHECK_INT(0, scratch_wait(pids[i]));
    }
    CHECK_INT(PROCESSES * ROUNDS, s->value);
    CHECK_INT(0, atomic_load(&s->repairs));
    CHECK_INT(0, atomic_load(&s->lock.repairs));
}

TEST(one_thread_at_a_time)
{
    shared_t *s = fresh();
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, step_thread, s) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *result;

        (void)pthread_join(threads[i], &result);
        CHECK(result == NULL);
    }
    CHECK_INT(THREADS * ROUNDS, s->value);
}

TEST(without_contention_there_is_no_deadline)
{
    shared_t *s = fresh();
    skl_wait_t wait = {0};

    CHECK_INT(SECKILL_OK, skl_lock_acquire(&s->lock, &wait, repair, s));
    skl_lock_release(&s->lock);
    CHECK_INT(SECKILL_OK, skl_lock_try(&s->lock, repair, s));
    skl_lock_release(&s->lock);
    CHECK_INT(0, wait.deadline_ns);
    CHECK_INT(0, atomic_load(&s->repairs));
}

static int hold_and_end(void *arg)
{
    shared_t *s = arg;

    take(s);
    atomic_store(&s->lock.intent, 42);
    s->value++; /* and twin is not done */
    return 7;
}

static int hold_and_be_killed(void *arg)
{
    (void)hold_and_end(arg);
    (void)kill(getpid(), SIGKILL);
    return 0;
}

static int die_in_repair(void *arg)
{
    shared_t *s = arg;
    skl_wait_t wait = {0};

    return skl_lock_acquire(&s->lock, &wait, repair_and_die, s);
}

static void check_repaired_once(shared_t *s, int before)
{
    skl_wait_t wait = {0};

    CHECK_INT(SECKILL_OK, skl_lock_acquire(&s->lock, &wait, repair, s));
    CHECK_INT(before + 1, atomic_load(&s->repairs));
    CHECK_INT(42, s->intent_seen);
    CHECK_INT(s->value, s->twin);
    skl_lock_release(&s->lock);
    CHECK_INT(SECKILL_OK, skl_lock_acquire(&s->lock, &wait, repair, s));
    CHECK_INT(before + 1, atomic_load(&s->repairs));
    skl_lock_release(&s->lock);
}

TEST(the_next_owner_repairs_once_after_an_exit)
{
    shared_t *s = fresh();

    CHECK_INT(7, scratch_run(hold_and_end, s));
    check_repaired_once(s, 0);
    CHECK_INT(1, atomic_load(&s->lock.repairs));
}

TEST(the_next_owner_repairs_once_after_a_kill)
{
    shared_t *s = fresh();

    for (int n = 0; n < 3; n++) {
        CHECK_INT(1000 + SIGKILL, scratch_run(hold_and_be_killed, s));
        check_repaired_once(s, n);
        CHECK_INT(n + 1, atomic_load(&s->lock.repairs));
    }
}

TEST(try_repairs_as_well)
{
    shared_t *s = fresh();

    CHECK_INT(1000 + SIGKILL, scratch_run(hold_and_be_killed, s));
    CHECK_INT(SECKILL_OK, skl_lock_try(&s->lock, repair, s));
    CHECK_INT(1, atomic_load(&s->repairs));
    CHECK_INT(1, atomic_load(&s->lock.repairs));
    skl_lock_release(&s->lock);
}

TEST(a_lock_with_nothing_to_repair_goes_on)
{
    shared_t *s = fresh();
    skl_wait_t wait = {0};

    CHECK_INT(1000 + SIGKILL, scratch_run(hold_and_be_killed, s));
    CHECK_INT(SECKILL_OK, skl_lock_acquire(&s->lock, &wait, NULL, NULL));
    CHECK_INT(1, atomic_load(&s->lock.repairs));
    skl_lock_release(&s->lock);
}

TEST(death_in_the_repair_is_repaired_again)
{
    shared_t *s = fresh();

    CHECK_INT(1000 + SIGKILL, scratch_run(hold_and_be_killed, s));
    for (int n = 1; n <= 3; n++) {
        CHECK_INT(1000 + SIGKILL, scratch_run(die_in_repair, s));
        CHECK_INT(n, atomic_load(&s->repairs));
        CHECK_INT(0, atomic_load(&s->lock.repairs)); /* none was finished */
    }
    check_repaired_once(s, 3);
    CHECK_INT(1, atomic_load(&s->lock.repairs));
}

static int hold_and_stop(void *arg)
{
    shared_t *s = arg;

    take(s);
    s->value++;
    atomic_store(&s->lock.intent, 42);
    (void)kill(getpid(), SIGSTOP);
    s->twin++;
    skl_lock_release(&s->lock);
    return 0;
}

TEST(a_stopped_holder_makes_others_busy_not_stuck)
{
    shared_t *s = fresh();
    pid_t pid = scratch_fork(hold_and_stop, s);
    skl_wait_t wait = {0};
    int64_t begin, deadline;
    int status;

    REQUIRE(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    begin = skl_clock_mono_ns();
    CHECK_INT(SECKILL_EBUSY, skl_lock_acquire(&s->lock, &wait, repair, s));
    deadline = wait.deadline_ns;
    CHECK(deadline >= begin + SKL_LOCK_WAIT_NS);
    CHECK(skl_clock_mono_ns() >= deadline);
    /* The budget of the operation is spent: no other wait. */
    CHECK_INT(SECKILL_EBUSY, skl_lock_acquire(&s->lock, &wait, repair, s));
    CHECK_INT(deadline, wait.deadline_ns);
    CHECK_INT(SECKILL_EBUSY, skl_lock_try(&s->lock, repair, s));
    CHECK_INT(0, atomic_load(&s->repairs));
    (void)kill(pid, SIGCONT);
    CHECK_INT(0, scratch_wait(pid));
    CHECK_INT(SECKILL_OK, skl_lock_try(&s->lock, repair, s));
    CHECK_INT(0, atomic_load(&s->repairs));
    CHECK_INT(s->value, s->twin);
    skl_lock_release(&s->lock);
}

TEST(a_stopped_holder_that_is_killed_is_repaired)
{
    shared_t *s = fresh();
    pid_t pid = scratch_fork(hold_and_stop, s);
    int status;

    REQUIRE(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    CHECK_INT(SECKILL_EBUSY, skl_lock_try(&s->lock, repair, s));
    (void)kill(pid, SIGKILL);
    CHECK_INT(1000 + SIGKILL, scratch_wait(pid));
    check_repaired_once(s, 0);
}

static int wait_for_it(void *arg)
{
    shared_t *s = arg;

    atomic_fetch_add(&s->ready, 1);
    take(s);
    s->value++;
    s->twin++;
    skl_lock_release(&s->lock);
    return 0;
}

/* Whoever waits when the holder dies gets the lock, and one of them repairs. */
TEST(of_many_that_wait_one_repairs)
{
    shared_t *s = fresh();
    pid_t holder = scratch_fork(hold_and_stop, s);
    pid_t pids[PROCESSES];
    int status;

    REQUIRE(waitpid(holder, &status, WUNTRACED) == holder);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = scratch_fork(wait_for_it, s);
    }
    while (atomic_load(&s->ready) < PROCESSES) {
        (void)usleep(100);
    }
    (void)kill(holder, SIGKILL);
    CHECK_INT(1000 + SIGKILL, scratch_wait(holder));
    for (int i = 0; i < PROCESSES; i++) {
        CHECK_INT(0, scratch_wait(pids[i]));
    }
    CHECK_INT(1, atomic_load(&s->repairs));
    CHECK_INT(PROCESSES + 1, s->value);
    CHECK_INT(s->value, s->twin);
}

#if !defined(__SANITIZE_THREAD__) /* which ends the process by itself */
static int release_unheld(void *arg)
{
    shared_t *s = arg;

    (void)freopen("/dev/null", "w", stderr);
    skl_lock_release(&s->lock);
    return 0;
}

TEST(releasing_what_is_not_held_stops_the_process)
{
    CHECK_INT(1000 + SIGABRT, scratch_run(release_unheld, fresh()));
}
#endif

TAP_MAIN()
