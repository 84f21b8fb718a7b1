/*
 * Lives of a ledger: one segment at a time uses a directory, each life is used
 * once, its ids are good for as long as they are remembered, and what one life
 * damaged in memory does not get into the log.
 */
#include "base/os.h"
#include "io/wal_identity.h"
#include "test/support/engine.h"

#include <sys/resource.h>

/* Another segment has recovered the directory since. */
TEST(two_segments_do_not_share_a_directory)
{
    seckill_t *a = engine_open_as("one", "shared"), *b, *none = NULL;

    CHECK_INT(SECKILL_OK, engine_put(a, 10));
    engine_flush(a);
    seckill_close(a);
    b = engine_open_as("two", "shared");
    CHECK_INT(SECKILL_ELOCKED, engine_try("one", "shared", &none));
    CHECK(none == NULL && strstr(engine_err, "in use") != NULL);
    CHECK_INT(SECKILL_OK, engine_reserve(b, "a"));
    engine_flush(b);
    engine_end(b, "two");
    /* Alone, it is made anew from what the other one has written. */
    a = engine_open_as("one", "shared");
    CHECK_INT(SECKILL_OK, engine_find(a, "a"));
    engine_end(a, "one");
}

static int use_it_and_die(void *arg)
{
    _Atomic int *is_open = arg;
    seckill_t *sk = engine_open_as("dying", "slow");

    (void)engine_put(sk, 10);
    engine_flush(sk);
    atomic_store(is_open, 1);
    skl_os_pause(SEC / 5);
    return kill(getpid(), SIGKILL);
}

/* A process that was killed is not gone at once: its threads may still wait for
 * the disk. */
TEST(who_is_about_to_go_is_waited_for)
{
    _Atomic int *is_open = scratch_shared(sizeof(*is_open));
    const pid_t child = scratch_fork(use_it_and_die, (void *)is_open);
    seckill_t *sk;

    while (!atomic_load(is_open)) {
        skl_os_pause(SEC / 1000);
    }
    sk = engine_open_as("next", "slow");
    CHECK_INT(1000 + SIGKILL, scratch_wait(child));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    engine_end(sk, "next");
    CHECK_INT(SECKILL_OK, seckill_destroy("dying", scratch_dir()));
}

/* Open with no room for a first segment: its records are in the ring only. */
static seckill_t *open_without_room(const char *name, const char *dir)
{
    struct rlimit was, small;
    seckill_t *sk;

    (void)signal(SIGXFSZ, SIG_IGN);
    CHECK_INT(0, getrlimit(RLIMIT_FSIZE, &was));
    small = was;
    small.rlim_cur = (2 << 20) - 1; /* less than a segment of the log */
    CHECK_INT(0, setrlimit(RLIMIT_FSIZE, &small));
    sk = engine_open_as(name, dir);
    CHECK_INT(0, setrlimit(RLIMIT_FSIZE, &was));
    CHECK_INT(SECKILL_LOG_FULL, (int)atomic_load(&sk->log.writer.shm->state));
    return sk;
}

TEST(a_life_that_wrote_nothing_is_not_used_again)
{
    seckill_t *a = open_without_room("first", "room"), *b;

    CHECK_INT(SECKILL_OK, engine_put(a, 10));
    seckill_close(a);
    b = engine_open_as("second", "room");
    CHECK_INT(SECKILL_OK, engine_put(b, 10));
    CHECK_INT(SECKILL_OK, engine_reserve(b, "a"));
    engine_flush(b);
    engine_end(b, "second");
    a = engine_open_as("first", "room");
    CHECK_INT(SECKILL_OK, engine_find(a, "a"));
    engine_flush(a);
    engine_end(a, "first");
    engine_verify("room");
}

static void copy_directory(const char *from, const char *to)
{
    char command[700];

    snprintf(command, sizeof(command), "rm -rf '%s' && cp -a '%s' '%s'",
             scratch_path(to), scratch_path(from), scratch_path(to));
    REQUIRE(system(command) == 0);
}

/* The backup goes on with the same number of its life. */
TEST(a_segment_does_not_go_on_with_the_history_of_a_backup)
{
    seckill_t *a = engine_open_as("was", "data"), *b, *none = NULL;

    CHECK_INT(SECKILL_OK, engine_put(a, 10));
    engine_flush(a);
    engine_end(a, "was");
    copy_directory("data", "backup");
    a = engine_open_as("was", "data");
    CHECK_INT(SECKILL_OK, engine_reserve(a, "lost"));
    engine_flush(a);
    seckill_close(a);
    copy_directory("backup", "data");
    b = engine_open_as("now", "data");
    CHECK_INT(SECKILL_OK, engine_reserve(b, "b"));
    CHECK_INT(SECKILL_OK, engine_reserve(b, "c"));
    engine_flush(b);
    engine_end(b, "now");
    CHECK_INT(SECKILL_ECORRUPT, engine_try("was", "data", &none));
    CHECK(none == NULL && strstr(engine_err, "restored") != NULL);
    CHECK_INT(SECKILL_OK, seckill_destroy("was", scratch_dir()));
    a = engine_open_as("was", "data");
    CHECK_INT(SECKILL_OK, engine_find(a, "c"));
    CHECK_INT(SECKILL_EUNKNOWNREQUEST, engine_find(a, "lost"));
    engine_end(a, "was");
}

TEST(a_restart_under_quarantine_does_not_spoil_the_log)
{
    seckill_t *sk = engine_open("hurt");
    skl_item_row_t *cup;

    CHECK_INT(SECKILL_OK, engine_put(sk, 10));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    cup = &sk->stock.tables.items[0];
    atomic_fetch_add(&cup->available, 7);
    CHECK_INT(SECKILL_EBUSY, engine_reserve(sk, "b"));
    CHECK_INT(1, (int)atomic_load(&cup->fault));
    engine_flush(sk);
    seckill_close(sk);
    sk = engine_open("hurt");
    CHECK_INT(1, seckill_log_rebuild(sk));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "b"));
    sk = engine_again(sk, "hurt");
    engine_verify("hurt");
    CHECK(engine_snapshots("hurt") >= 1);
    engine_end(sk, "hurt");
}

TEST(ids_are_the_same_after_many_lives)
{
    enum { LIVES = 70 };
    seckill_t *sk = engine_open("many");
    seckill_reservation_t first;
    char id[16];

    CHECK_INT(SECKILL_OK, engine_put(sk, 100));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "first"));
    first = engine_last;
    CHECK_INT(SECKILL_OK, seckill_confirm(sk, first.id, first.id_len));
    for (int i = 0; i < LIVES; i++) {
        sk = engine_again(sk, "many");
        snprintf(id, sizeof(id), "i%d", i);
        CHECK_INT(SECKILL_OK, engine_reserve(sk, id));
    }
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "first"));
    CHECK_INT(1, engine_last.replayed);
    CHECK_MEM(first.id, engine_last.id, first.id_len);
    CHECK_INT(SECKILL_OK,
              seckill_refund(sk, first.id, first.id_len, "back", 4));
    engine_end(sk, "many");
}

/* As if each record from the third on had been the first one of a life. */
static void make_lives(const char *dir)
{
    skl_identity_t id;
    skl_fs_t *fs;

    REQUIRE(skl_fs_open_dir(scratch_path(dir), &fs) == 0);
    CHECK_INT(SECKILL_OK,
              skl_identity_read(fs, &id, engine_err, sizeof(engine_err)));
    for (uint64_t lsn = 3; id.life_count < SKL_LIVES_MAX; lsn++) {
        skl_identity_raise(&id, lsn);
    }
    CHECK_INT(SECKILL_OK,
              skl_identity_write(fs, &id, engine_err, sizeof(engine_err)));
    skl_fs_close_dir(fs);
}

static int pause_or_resume(seckill_t *sk, int pause)
{
    return pause ? seckill_pause(sk, "cup", 3) : seckill_resume(sk, "cup", 3);
}

/* An order of the first life, then many records. */
static seckill_t *long_history(const char *name, int64_t t0)
{
    seckill_t *sk = engine_open(name);

    seckill_set_test_clock(sk, t0);
    CHECK_INT(SECKILL_OK, engine_put(sk, 10));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    for (int i = 0; i <= SKL_LIVES_MAX; i++) {
        CHECK_INT(SECKILL_OK, pause_or_resume(sk, i % 2 == 0));
    }
    return sk;
}

TEST(more_lives_than_can_be_told_apart_are_refused)
{
    seckill_t *sk = long_history("crowd", seckill_wall_now()), *none = NULL;

    engine_flush(sk);
    engine_end(sk, "crowd");
    make_lives("crowd");
    CHECK_INT(SECKILL_EFULL, engine_try("crowd", "crowd", &none));
    CHECK(none == NULL && strstr(engine_err, "1024 times") != NULL);
    engine_verify("crowd"); /* nothing has changed */
}

/* The window is over, and the records of the first life are in a snapshot. */
TEST(the_oldest_life_goes_when_nothing_needs_it)
{
    const int64_t t0 = seckill_wall_now() - 2 * HOUR;
    seckill_t *sk = long_history("old", t0);

    engine_flush(sk);
    seckill_set_test_clock(sk, t0 + 2 * HOUR);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(SECKILL_OK, pause_or_resume(sk, i));
        sk = engine_again(sk, "old");
        CHECK_INT(1, engine_snapshots("old"));
    }
    engine_flush(sk);
    engine_end(sk, "old");
    make_lives("old");
    sk = engine_open("old");
    CHECK_INT(SKL_LIVES_MAX, sk->log.identity.life_count);
    engine_end(sk, "old");
}

TAP_MAIN()
