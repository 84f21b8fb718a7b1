/*
 * Opening a directory: who may, what differs, and what the next life has when
 * all processes were killed, when the segment is gone, when the directory is
 * another one than it was. Waiting and failing disks: log_flush_test.c.
 */

/* runs: alone */
#include "test/support/logged.h"

#include <fcntl.h>
#include <stddef.h>

/* Lives start threads. The sanitizer is a library: it must see the symbol. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

enum { GO, DONE, READY };

/* ---- Files --------------------------------------------------------------- */

static int mode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (int)(st.st_mode & 07777) : -1;
}

static int owner_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (int)st.st_uid : -1;
}

/* Files of the directory that are not private, or not of `uid`. */
static int strange_files(const place_t *p, uid_t uid)
{
    const struct dirent *e;
    DIR *d = opendir(p->dir);
    int n = 0, files = 0;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.') {
            files++;
            n += mode_of(place_file(p, e->d_name)) != 0600 ||
                 owner_of(place_file(p, e->d_name)) != (int)uid;
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return files >= 4 ? n : -1; /* ledger, lock, open.lock, wal.1 */
}

TEST(a_directory_is_made_for_its_owner_alone)
{
    place_t p;
    seckill_t *sk;

    place_new(&p);
    (void)umask(0);
    sk = place_open(&p);
    REQUIRE(sk != NULL);
    CHECK_INT(0700, mode_of(p.dir));
    CHECK_INT(0600, mode_of(place_segment(&p)));
    CHECK_INT(0, strange_files(&p, geteuid()));
    CHECK_INT(SECKILL_ASYNC, seckill_durability(sk));
    CHECK_INT(0, seckill_durable(sk));
}

static int use_a_strangers_directory(void *arg)
{
    place_t *p = arg;
    seckill_t *sk = place_open(p);

    NEED(sk != NULL);
    NEED_RC(SECKILL_OK, log_put(sk, "shoe", 10));
    NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
    NEED_RC(SECKILL_OK, place_start(sk));
    NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
    seckill_close(sk);
    return log_problems(p, sk);
}

static int use_it_as_its_owner(void *arg)
{
    place_t *p = arg;
    seckill_t *sk;

    NEED(setgid(65534) == 0 && setuid(65534) == 0);
    sk = place_open(p);
    NEED(sk != NULL);
    NEED(log_has_notes(p, sk, 1) == 0);
    NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
    return log_problems(p, sk);
}

TEST(root_keeps_to_the_owner_of_the_directory)
{
    place_t p;

    if (geteuid() != 0) {
        printf("# not root: nothing to give away\n");
        return;
    }
    place_new(&p);
    REQUIRE(mkdir(p.dir, 0700) == 0 && chown(p.dir, 65534, 65534) == 0);
    CHECK(chmod(p.shm, 01777) == 0);
    CHECK_INT(0, scratch_run(use_a_strangers_directory, &p));
    CHECK_INT(65534, owner_of(place_segment(&p)));
    CHECK_INT(0600, mode_of(place_segment(&p)));
    CHECK_INT(0, strange_files(&p, 65534));
    CHECK_INT(0, scratch_run(use_it_as_its_owner, &p));
}

static int open_as_nobody(void *arg)
{
    const place_t *p = arg;
    const seckill_options_t o = place_options(p);
    seckill_t *sk;

    NEED(setgid(65534) == 0 && setuid(65534) == 0);
    NEED_RC(SECKILL_ENOTOWNER, place_try(&o, &sk));
    NEED(strncmp(logged_err, "dir:", 4) == 0);
    return 0;
}

TEST(what_is_no_private_directory_is_refused)
{
    place_t p;
    seckill_options_t o;
    seckill_t *sk;
    int fd;

    place_new(&p);
    o = place_options(&p);
    REQUIRE(mkdir(p.dir, 0750) == 0 && chmod(p.dir, 0750) == 0);
    CHECK_INT(SECKILL_ENOTOWNER, place_try(&o, &sk));
    CHECK(strstr(logged_err, "0700") != NULL);
    CHECK_INT(0, scratch_entries(p.dir));
    CHECK(chmod(p.dir, 0700) == 0);
    if (geteuid() == 0) {
        CHECK(chmod(p.shm, 01777) == 0);
        CHECK_INT(0, scratch_run(open_as_nobody, &p));
    }
    CHECK(rmdir(p.dir) == 0);
    fd = open(p.dir, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
    CHECK_INT(SECKILL_ENOTOWNER, place_try(&o, &sk));
    CHECK(strstr(logged_err, p.dir) != NULL);
    CHECK(unlink(p.dir) == 0 && symlink("/tmp", p.dir) == 0);
    CHECK_INT(SECKILL_ENOTOWNER, place_try(&o, &sk));
    CHECK(unlink(p.dir) == 0);
    o.dir = place_file(&p, "deeper");
    CHECK_INT(SECKILL_EIO, place_try(&o, &sk)); /* not mkdir -p */
    CHECK_INT(0, scratch_entries(p.shm));
}

/* ---- Options ------------------------------------------------------------- */

static void check_bad_option(const seckill_options_t *o, const char *name)
{
    seckill_t *sk;

    CHECK_STR("bad_option", seckill_errname(place_try(o, &sk)));
    CHECK_INT(0, strncmp(logged_err, name, strlen(name)));
    CHECK(sk == NULL);
}

TEST(options_out_of_range_are_named)
{
    place_t p;
    seckill_options_t o;
    char longest[260];

    place_new(&p);
    memset(longest, 'x', sizeof(longest));
    longest[0] = '/';
    longest[200] = '\0';
#define BAD(field, value, name)                                                \
    o = place_options(&p);                                                     \
    o.field = value;                                                           \
    check_bad_option(&o, name ":")
    BAD(dir, "relative/dir", "dir");
    BAD(dir, "", "dir");
    BAD(dir, "/", "dir");
    BAD(dir, "/tmp/", "dir");
    BAD(dir, longest, "dir");
    BAD(durability, 3, "durability");
    BAD(max_lag_ns, 999999, "max_lag");
    BAD(max_lag_ns, -1, "max_lag");
    BAD(max_lag_ns, 3601 * SEC, "max_lag");
    BAD(log_segment_bytes, (2 << 20) - 4096, "log_segment_bytes");
    BAD(log_segment_bytes, (2 << 20) + 1, "log_segment_bytes");
    BAD(log_segment_bytes, (1ULL << 30) + 4096, "log_segment_bytes");
    BAD(max_log_bytes, (8 << 20) - 1, "max_log_bytes");
#undef BAD
    CHECK_INT(-1, scratch_entries(p.dir));
    CHECK_INT(0, scratch_entries(p.shm));
}

TEST(options_of_a_log_need_a_directory)
{
    place_t p;
    seckill_options_t o;

    place_new(&p);
#define BAD(field, value)                                                      \
    o = place_options(&p);                                                     \
    o.dir = NULL;                                                              \
    o.log_segment_bytes = o.max_log_bytes = 0;                                 \
    o.field = value;                                                           \
    check_bad_option(&o, "durability")
    BAD(durability, SECKILL_SYNC);
    BAD(max_lag_ns, SEC);
    BAD(max_log_bytes, 1 << 30);
    BAD(log_segment_bytes, 2 << 20);
#undef BAD
    CHECK_INT(0, scratch_entries(p.shm));
}

/* A first try that cannot be does not fix the numbers of the directory. */
TEST(a_failed_opening_leaves_no_identity)
{
    place_t p;
    seckill_options_t o;
    seckill_t *sk;

    place_new(&p);
    o = place_options(&p);
    o.window_ns = 5;
    check_bad_option(&o, "window:");
    o = place_options(&p);
    o.reservations = 8192;
    o.shm_dir = place_file(&p, "no-such-directory");
    CHECK_INT(SECKILL_EIO, place_try(&o, &sk));
    CHECK(place_open(&p) != NULL);
}

static int attach_with_others(void *arg)
{
    const place_t *p = arg;
    seckill_options_t o;
    seckill_t *sk;

    NEED(place_await(p, GO, 1));
#define DIFFERS(field, value, name)                                            \
    o = place_options(p);                                                      \
    o.field = value;                                                           \
    NEED_RC(SECKILL_EMISMATCH, place_try(&o, &sk));                            \
    NEED(strncmp(logged_err, name ":", strlen(name) + 1) == 0);
    DIFFERS(durability, SECKILL_ASYNC, "durability")
    DIFFERS(max_lag_ns, 2 * SEC, "max_lag")
    DIFFERS(max_log_bytes, 128 << 20, "max_log_bytes")
    DIFFERS(log_segment_bytes, 4 << 20, "log_segment_bytes")
    DIFFERS(window_ns, 100 * SEC, "window")
    DIFFERS(request_ids, SECKILL_IDS_ULID, "request_ids")
    DIFFERS(items, 9, "capacity.items")
    DIFFERS(reservations, 64, "capacity.reservations")
    DIFFERS(users, 64, "capacity.users")
    DIFFERS(requests, 64, "capacity.requests")
    DIFFERS(dir, place_file(p, "other"), "dir")
#undef DIFFERS
    o = place_options(p);
    o.durability = SECKILL_SYNC;
    o.max_lag_ns = 3 * SEC;
    NEED_RC(SECKILL_OK, place_try(&o, &sk));
    NEED_RC(SECKILL_OK, log_put(sk, "shoe", 7));
    NEED_RC(SECKILL_OK, seckill_sync_wait(sk, seckill_lsn(sk), FOREVER));
    return 0;
}

TEST(options_that_differ_are_named)
{
    place_t p;
    seckill_options_t o;
    seckill_t *sk, *again;
    pid_t child;

    place_new(&p);
    child = scratch_fork(attach_with_others, &p);
    p.o.durability = SECKILL_SYNC;
    p.o.max_lag_ns = 3 * SEC;
    sk = place_open(&p);
    REQUIRE(sk != NULL);
    CHECK_INT(SECKILL_SYNC, seckill_durability(sk));
    o = place_options(&p);
    o.max_lag_ns = SEC;
    CHECK_INT(SECKILL_EMISMATCH, place_try(&o, &again));
    CHECK_INT(0, strncmp(logged_err, "max_lag:", 8));
    o = place_options(&p);
    o.dir = "/tmp/elsewhere";
    CHECK_INT(SECKILL_EMISMATCH, place_try(&o, &again));
    CHECK_INT(0, strncmp(logged_err, "dir:", 4));
    place_tell(&p, GO, 1);
    CHECK_INT(0, scratch_wait(child));
    CHECK_INT(1, seckill_durable(sk));
    seckill_get_options(sk, &o);
    CHECK_STR(p.dir, o.dir);
    CHECK_INT(3 * SEC, o.max_lag_ns);
    CHECK_INT(64 << 20, o.max_log_bytes);
}

static int make_with_memory_only(void *arg)
{
    const place_t *p = arg;
    seckill_options_t o = place_options(p);
    seckill_t *sk;

    o.dir = NULL;
    o.log_segment_bytes = o.max_log_bytes = 0;
    NEED_RC(SECKILL_OK, place_try(&o, &sk));
    NEED(seckill_durability(sk) == 0);
    return 0;
}

TEST(a_segment_without_a_log_gets_none)
{
    place_t p;
    seckill_options_t o;
    seckill_t *sk;

    place_new(&p);
    CHECK_INT(0, scratch_run(make_with_memory_only, &p));
    o = place_options(&p);
    o.log_segment_bytes = o.max_log_bytes = 0;
    CHECK_INT(SECKILL_EMISMATCH, place_try(&o, &sk));
    CHECK_INT(0, strncmp(logged_err, "dir:", 4));
}

/* ---- Handles and processes ----------------------------------------------- */

TEST(the_same_name_is_the_same_handle)
{
    place_t p;
    seckill_options_t o;
    seckill_t *a, *b, *c;

    place_new(&p);
    a = place_open(&p);
    b = place_open(&p);
    CHECK(a != NULL && a == b);
    o = place_options(&p);
    o.dir = NULL;
    CHECK_INT(SECKILL_OK, place_try(&o, &c));
    CHECK(a == c);
    seckill_close(a);
    seckill_close(b);
    CHECK_INT(SECKILL_OK, log_put(c, "shoe", 3));
    CHECK_INT(SECKILL_OK, seckill_sync_wait(c, 1, FOREVER));
    seckill_close(c);
    CHECK(place_open(&p) == a);
    CHECK_INT(1, seckill_durable(a));
    CHECK_INT(1, seckill_lsn(a));
    seckill_close(a);
}

static int attach_and_reserve(void *arg)
{
    place_t *p = arg;
    seckill_options_t o = place_options(p);
    seckill_t *sk;

    NEED(place_await(p, GO, 1));
    if (p->how != NULL) { /* it names nothing but the segment */
        o = (seckill_options_t){
            .struct_size = sizeof(o), .name = p->name, .shm_dir = p->shm};
    }
    NEED_RC(SECKILL_OK, place_try(&o, &sk));
    seckill_get_options(sk, &o);
    NEED(o.dir != NULL && strcmp(o.dir, p->dir) == 0);
    NEED(seckill_durability(sk) == SECKILL_SYNC);
    NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
    return 0;
}

TEST(another_process_attaches_with_and_without_the_directory)
{
    place_t p;
    seckill_t *sk;
    pid_t with, without;

    place_new(&p);
    p.o.durability = SECKILL_SYNC;
    with = scratch_fork(attach_and_reserve, &p);
    p.how = "segment only";
    without = scratch_fork(attach_and_reserve, &p);
    sk = place_open(&p);
    REQUIRE(sk != NULL);
    CHECK_INT(SECKILL_OK, log_put(sk, "shoe", 10));
    place_tell(&p, GO, 1);
    CHECK_INT(0, scratch_wait(with));
    CHECK_INT(0, scratch_wait(without));
    CHECK(seckill_durable(sk) >= 2);
    CHECK_INT(0, log_problems(&p, sk));
}

static int use_inherited(void *arg)
{
    place_t *p = arg;
    seckill_t *sk = place_open(p);

    NEED(sk == logged_kept[0] || logged_kept_count > 1);
    NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
    NEED_RC(SECKILL_OK, place_start(sk));
    NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
    seckill_stop(sk);
    return 0;
}

TEST(a_child_flushes_with_the_handle_of_its_parent)
{
    place_t p;
    seckill_t *sk;

    place_new(&p);
    sk = place_open(&p);
    REQUIRE(sk != NULL);
    CHECK_INT(SECKILL_OK, log_put(sk, "shoe", 10));
    CHECK_INT(SECKILL_OK, note_reserve_durably(&p, sk)); /* a file is open */
    CHECK_INT(0, scratch_run(use_inherited, &p));
    CHECK_INT(SECKILL_OK, note_reserve_durably(&p, sk));
    CHECK_INT(4, p.page->count);
    CHECK_INT(0, log_has_notes(&p, sk, 1));
    CHECK_INT(0, log_problems(&p, sk));
}

/* The directory stays shared when a child ends; and a child that lives on
 * keeps it when its parent is gone. */
static int leave_a_child_behind(void *arg)
{
    place_t *p = arg;
    seckill_t *sk = place_open(p);

    NEED(sk != NULL);
    NEED_RC(SECKILL_OK, log_put(sk, "shoe", 10));
    NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
    if (fork() == 0) {
        place_tell(p, READY, 1);
        (void)place_await(p, GO, 1);
        place_tell(p, DONE, note_reserve_durably(p, sk) == SECKILL_OK ? 1 : 2);
        _exit(0);
    }
    NEED(place_await(p, READY, 1));
    return die();
}

static int open_beside_an_orphan(void *arg)
{
    place_t *p = arg;
    seckill_t *sk;

    seckill_options_t o = place_options(p);

    o.name = "other";
    NEED_RC(SECKILL_ELOCKED, place_try(&o, &sk));
    sk = place_open(p);
    NEED(sk != NULL);
    NEED(log_incarnation(sk) == p->page->incarnation || p->page->count == 1);
    NEED(log_segments_begun(sk) == 1); /* not revived: somebody uses it */
    place_tell(p, GO, 1);
    NEED(place_await(p, DONE, 1));
    NEED(atomic_load(&p->page->words[DONE]) == 1);
    NEED(log_has_notes(p, sk, 1) == 0);
    return log_problems(p, sk);
}

TEST(an_orphan_keeps_the_directory)
{
    place_t p;

    place_new(&p);
    CHECK_INT(KILLED, scratch_run(leave_a_child_behind, &p));
    CHECK_INT(0, scratch_run(open_beside_an_orphan, &p));
    CHECK_INT(2, p.page->count);
}

static int open_under_another_name(void *arg)
{
    const place_t *p = arg;
    seckill_options_t o = place_options(p);
    seckill_t *sk;

    NEED(place_await(p, GO, 1));
    o.name = "second";
    NEED_RC(SECKILL_ELOCKED, place_try(&o, &sk));
    NEED(strncmp(logged_err, "dir:", 4) == 0);
    NEED(strstr(logged_err, p->dir) != NULL);
    return 0;
}

TEST(two_names_cannot_share_a_directory)
{
    place_t p;
    pid_t child;

    place_new(&p);
    child = scratch_fork(open_under_another_name, &p);
    CHECK(place_open(&p) != NULL);
    place_tell(&p, GO, 1);
    CHECK_INT(0, scratch_wait(child));
    CHECK_INT(2, scratch_entries(p.shm)); /* segment and its directory */
}

static int open_after_destroy(void *arg)
{
    const place_t *p = arg;
    const seckill_options_t o = place_options(p);
    seckill_t *sk;

    NEED(place_await(p, GO, 1));
    NEED_RC(SECKILL_ELOCKED, place_try(&o, &sk));
    NEED(strstr(logged_err, "in use") != NULL);
    return 0;
}

TEST(a_destroyed_segment_in_use_locks_the_directory)
{
    place_t p;
    seckill_t *sk;
    pid_t child;

    place_new(&p);
    child = scratch_fork(open_after_destroy, &p);
    sk = place_open(&p);
    REQUIRE(sk != NULL);
    CHECK_INT(SECKILL_OK, seckill_destroy(p.name, p.shm));
    place_tell(&p, GO, 1);
    CHECK_INT(0, scratch_wait(child));
    /* Who has it open goes on. */
    CHECK_INT(SECKILL_OK, log_put(sk, "shoe", 10));
    CHECK_INT(SECKILL_OK, note_reserve_durably(&p, sk));
}

static int open_close_destroy(void *arg)
{
    place_t *p = arg;
    int fds = 0;

    for (int i = 0; i < 20; i++) {
        seckill_t *sk = place_open(p);

        NEED(sk != NULL);
        NEED_RC(SECKILL_OK, log_put(sk, "shoe", 100));
        NEED(log_has_notes(p, sk, 1) == 0);
        NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
        NEED_RC(SECKILL_OK, place_start(sk));
        NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
        seckill_close(sk);
        if (i % 2 == 1) {
            NEED_RC(SECKILL_OK, seckill_destroy(p->name, p->shm));
        }
        NEED(i < 2 || scratch_fds() <= fds);
        fds = scratch_fds();
    }
    return 0;
}

TEST(a_process_that_closed_its_engine_can_open_it_anew)
{
    place_t p;

    place_new(&p);
    CHECK_INT(0, scratch_run(open_close_destroy, &p));
    CHECK_INT(40, p.page->count);
}

static int cycle_without_leaks(void *arg)
{
    place_t *p = arg;
    int fds = 0;

    for (int i = 0; i < 20; i++) {
        seckill_t *sk = place_open(p);

        NEED(sk != NULL);
        NEED_RC(SECKILL_OK, place_start(sk));
        NEED_RC(SECKILL_OK, log_put_version(sk, "shoe", 100, i + 1));
        NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
        seckill_close(sk);
        fds = i == 0 ? scratch_fds() : fds;
        NEED(scratch_fds() == fds);
    }
    return 0;
}

TEST(cycles_of_open_and_close_leak_nothing)
{
    place_t p;

    place_new(&p);
    CHECK_INT(0, scratch_run(cycle_without_leaks, &p));
    CHECK_INT(20, p.page->count);
}

/* ---- The next life ------------------------------------------------------- */

/* 3 orders on disk, 4 in the segment only; no word of farewell. */
static int first_life(void *arg)
{
    place_t *p = arg;
    seckill_t *sk = place_open(p);

    NEED(sk != NULL);
    NEED_RC(SECKILL_OK, log_put(sk, "shoe", 100));
    for (int i = 0; i < 3; i++) {
        NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
    }
    for (int i = 0; i < 4; i++) {
        NEED_RC(SECKILL_OK, note_reserve(p, sk));
    }
    NEED(seckill_durable(sk) == 4 && seckill_lsn(sk) == 8);
    p->page->incarnation = log_incarnation(sk);
    return die();
}

/* Its segment is there: nothing is lost, ids go on to work. */
static int revived_life(void *arg)
{
    place_t *p = arg;
    seckill_t *sk = place_open(p);
    const int count = p->page->count;

    NEED(sk != NULL);
    NEED(log_incarnation(sk) == p->page->incarnation);
    NEED(seckill_durable(sk) == seckill_lsn(sk));
    NEED(log_has_notes(p, sk, 1) == 0);
    NEED(log_problems(p, sk) == 0);
    NEED_RC(SECKILL_OK, note_confirm(p, sk, count - 1));
    NEED_RC(SECKILL_OK, note_reserve(p, sk));
    return die();
}

TEST(all_were_killed_and_nothing_is_lost)
{
    place_t p;

    place_new(&p);
    CHECK_INT(KILLED, scratch_run(first_life, &p));
    for (int i = 0; i < 5; i++) {
        CHECK_INT(KILLED, scratch_run(revived_life, &p));
    }
    CHECK_INT(12, p.page->count);
}

/* The segment is gone: what was durable is there. */
static int rebuilt_life(void *arg)
{
    place_t *p = arg;
    const uint32_t before = p->page->incarnation;
    const int count = p->page->count;
    int lost = 0;
    seckill_t *sk = place_open(p);

    NEED(sk != NULL);
    NEED(log_incarnation(sk) == before + 1);
    p->page->incarnation = before + 1;
    NEED(log_has_notes(p, sk, 0) == 0);
    NEED(log_problems(p, sk) == 0);
    for (int i = 0; i < count; i++) {
        lost += p->page->notes[i].lost;
    }
    p->page->number = lost;
    NEED_RC(SECKILL_OK, note_confirm(p, sk, 0));
    /* The ids that are given out now were never given out. */
    for (int i = 0; i < 8; i++) {
        NEED_RC(SECKILL_OK, note_reserve_durably(p, sk));
        for (int k = 0; k < count + i; k++) {
            const note_t *a = &p->page->notes[k];
            const note_t *b = &p->page->notes[count + i];

            NEED(a->id_len != b->id_len || memcmp(a->id, b->id, a->id_len));
        }
    }
    NEED(log_has_notes(p, sk, 0) == 0);
    return die();
}

static void check_rebuilt(place_t *p)
{
    CHECK_INT(KILLED, scratch_run(rebuilt_life, p));
    CHECK_INT(4, p->page->number);
    CHECK_INT(SECKILL_OK, seckill_destroy(p->name, p->shm));
    CHECK_INT(KILLED, scratch_run(rebuilt_life, p)); /* and once more */
    CHECK_INT(4, p->page->number);
}

TEST(without_its_segment_the_ledger_is_rebuilt)
{
    place_t p;

    place_new(&p);
    REQUIRE(scratch_run(first_life, &p) == KILLED);
    CHECK_INT(SECKILL_OK, seckill_destroy(p.name, p.shm));
    check_rebuilt(&p);
}

TEST(a_segment_of_another_boot_is_thrown_away)
{
    const char other[] = "00000000-0000-4000-8000-000000000000";
    place_t p;
    int fd;

    place_new(&p);
    REQUIRE(scratch_run(first_life, &p) == KILLED);
    fd = open(place_segment(&p), O_RDWR);
    REQUIRE(fd >= 0);
    CHECK_INT(sizeof(other), pwrite(fd, other, sizeof(other),
                                    offsetof(skl_header_t, boot_id)));
    CHECK_INT(0, close(fd));
    check_rebuilt(&p);
}

static int life_under_another_name(void *arg)
{
    place_t *p = arg;

    p->o.name = p->name = "second";
    return rebuilt_life(p);
}

/* Somebody has worked on the directory under another name meanwhile: the
 * segment that is left is of a life that is over. */
TEST(a_segment_of_a_past_life_is_not_used)
{
    place_t p;

    place_new(&p);
    REQUIRE(scratch_run(first_life, &p) == KILLED);
    CHECK_INT(KILLED, scratch_run(life_under_another_name, &p));
    CHECK_INT(4, p.page->number);
    CHECK_INT(KILLED, scratch_run(rebuilt_life, &p));
    CHECK_INT(4, p.page->number);
}

/* ---- Directories that are not what they were ----------------------------- */

static int copy_dir(const char *from, const char *to)
{
    char command[600];

    (void)snprintf(command, sizeof(command), "rm -rf '%s' && cp -a '%s' '%s'",
                   to, from, to);
    return system(command);
}

static int is_refused(void *arg)
{
    place_t *p = arg;
    const seckill_options_t o = place_options(p);
    seckill_t *sk;

    NEED_RC(SECKILL_ECORRUPT, place_try(&o, &sk));
    NEED(strncmp(logged_err, "dir:", 4) == 0);
    NEED(strstr(logged_err, p->how) != NULL);
    return 0;
}

static void check_refused(place_t *p, const char *why)
{
    p->how = why;
    CHECK_INT(0, scratch_run(is_refused, p));
    CHECK_INT(0, scratch_run(is_refused, p)); /* it changed nothing */
}

TEST(a_directory_older_than_the_segment_is_refused)
{
    place_t p;
    char copy[160];

    place_new(&p);
    (void)snprintf(copy, sizeof(copy), "%s.copy", p.dir);
    REQUIRE(scratch_run(first_life, &p) == KILLED);
    REQUIRE(copy_dir(p.dir, copy) == 0);
    REQUIRE(scratch_run(revived_life, &p) == KILLED);
    REQUIRE(copy_dir(copy, p.dir) == 0);
    check_refused(&p, "backup");
    CHECK_INT(SECKILL_OK, seckill_destroy(p.name, p.shm));
    CHECK_INT(KILLED, scratch_run(rebuilt_life, &p));
}

TEST(a_directory_of_a_life_before_the_segments_is_refused)
{
    place_t p;
    char copy[160];

    place_new(&p);
    (void)snprintf(copy, sizeof(copy), "%s.copy", p.dir);
    REQUIRE(scratch_run(first_life, &p) == KILLED);
    REQUIRE(copy_dir(p.dir, copy) == 0);
    CHECK_INT(SECKILL_OK, seckill_destroy(p.name, p.shm));
    REQUIRE(scratch_run(rebuilt_life, &p) == KILLED);
    REQUIRE(copy_dir(copy, p.dir) == 0);
    check_refused(&p, "backup");
}

static void flip_byte(const char *path, off_t at)
{
    const int fd = open(path, O_RDWR);
    char c = 0;

    CHECK(fd >= 0 && pread(fd, &c, 1, at) == 1);
    c ^= 0x40;
    CHECK(pwrite(fd, &c, 1, at) == 1 && close(fd) == 0);
}

TEST(a_damaged_identity_is_refused_and_can_be_put_back)
{
    place_t p;

    place_new(&p);
    REQUIRE(scratch_run(first_life, &p) == KILLED);
    flip_byte(place_file(&p, "ledger"), 40);
    check_refused(&p, "ledger");
    CHECK_INT(SECKILL_OK, seckill_destroy(p.name, p.shm));
    check_refused(&p, "ledger");
    flip_byte(place_file(&p, "ledger"), 40);
    CHECK_INT(KILLED, scratch_run(rebuilt_life, &p));
}

/* The segment may be all that is left of the newest orders: it stays. */
TEST(a_removed_identity_is_refused_and_can_be_put_back)
{
    place_t p;

    place_new(&p);
    REQUIRE(scratch_run(first_life, &p) == KILLED);
    CHECK_INT(0, rename(place_file(&p, "ledger"), place_file(&p, "saved")));
    check_refused(&p, "ledger");
    CHECK_INT(0, access(place_segment(&p), F_OK));
    CHECK_INT(0, rename(place_file(&p, "saved"), place_file(&p, "ledger")));
    CHECK_INT(KILLED, scratch_run(revived_life, &p));
}

static int look_all_the_time(void *arg)
{
    const place_t *p = arg;
    seckill_dir_stats_t d;
    char text[200];

    place_tell(p, READY, 1);
    while (atomic_load(&p->page->words[DONE]) == 0) {
        (void)seckill_dir_stats(p->dir, &d, text, sizeof(text));
    }
    return 0;
}

static int open_and_leave(void *arg)
{
    return place_open(arg) != NULL ? die() : 1;
}

/* A monitor asks whether the directory is in use: openers must not take it for
 * a user, nor lose their lock to it. */
TEST(looking_at_a_directory_disturbs_no_opener)
{
    place_t p;
    pid_t monitor;
    int opened = 0;

    place_new(&p);
    p.o.max_log_bytes = 1 << 30;
    CHECK_INT(KILLED, scratch_run(open_and_leave, &p));
    monitor = scratch_fork(look_all_the_time, &p);
    CHECK(place_await(&p, READY, 1));
    for (int i = 0; i < 50; i++) {
        opened += scratch_run(open_and_leave, &p) == KILLED;
    }
    place_tell(&p, DONE, 1);
    CHECK_INT(0, scratch_wait(monitor));
    CHECK_INT(50, opened);
}

/* ---- Room for another segment -------------------------------------------- */

static int short_life(void *arg)
{
    place_t *p = arg;
    seckill_t *sk = place_open(p);

    NEED(sk != NULL);
    NEED(log_has_notes(p, sk, 1) == 0);
    (void)log_put(sk, "shoe", 100);
    (void)note_reserve(p, sk); /* busy, at the limit */
    return die();
}

/* Every opening begins a segment: at the limit it must still be possible. */
TEST(a_full_log_can_be_opened)
{
    place_t p;

    place_new(&p);
    p.o.max_log_bytes = 8 << 20;
    for (int i = 0; i < 8; i++) {
        CHECK_INT(KILLED, scratch_run(short_life, &p));
    }
    CHECK(p.page->count >= 2);
}

TAP_MAIN()
