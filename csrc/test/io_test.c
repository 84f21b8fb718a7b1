/*
 * The threads of a process: start and stop, wake socket, roles that move when
 * their holder dies, reloads, and the ways a watched file is changed.
 */

/* runs: alone */
#include "seckill.h"
#include "seckill_internal.h"
#include "test/support/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DEADLINE_MS = 20000 };

/* Children of this program start threads: the sanitizer has to allow it. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

typedef struct {
    char dir[64];
    char file[128];
    seckill_t *sk;
} place_t;

static void pause_ms(long ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&ts, NULL);
}

static void open_engine(place_t *p)
{
    seckill_options_t o = {.struct_size = sizeof(o),
                           .name = "t",
                           .shm_dir = p->dir,
                           .items = 4,
                           .reservations = 16,
                           .users = 16,
                           .requests = 16,
                           .limit_keys = 16,
                           .limiters = 1,
                           .lists = 4,
                           .list_overlay = 64,
                           .log_units = 64};
    char err[256] = "";

    if (seckill_open(&o, &p->sk, err, sizeof(err)) != 0) {
        printf("# %s\n", err);
        abort();
    }
}

static void place_open(place_t *p)
{
    snprintf(p->dir, sizeof(p->dir), "%s", "/dev/shm/seckill-io-test.XXXXXX");
    if (mkdtemp(p->dir) == NULL) {
        abort();
    }
    snprintf(p->file, sizeof(p->file), "%s/list.txt", p->dir);
    open_engine(p);
}

static void remove_all(const char *dir)
{
    char path[512];
    struct dirent *e;
    DIR *d = opendir(dir);

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (unlink(path) != 0) {
            remove_all(path);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    (void)rmdir(dir);
}

/* Handles live as long as the process, for robust locks; here they stay in
 * reach, so that the leak checker is content with them only. */
static seckill_t *kept[64];
static size_t kept_count;

static void place_close(place_t *p)
{
    kept[kept_count++ % 64] = p->sk;
    seckill_close(p->sk);
    CHECK_INT(0, seckill_destroy("t", p->dir));
    remove_all(p->dir);
}

static int start(place_t *p)
{
    char err[256] = "";
    int rc = seckill_start(p->sk, err, sizeof(err));

    if (rc != 0) {
        printf("# %s\n", err);
    }
    return rc;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0) {
        abort();
    }
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* 1 when a byte (or the end: 0 bytes) came before the deadline. */
static ssize_t read_byte(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char c;

    return poll(&p, 1, DEADLINE_MS) == 1 ? read(fd, &c, 1) : -1;
}

static int count_entries(const char *dir, const char *suffix)
{
    struct dirent *e;
    int n = 0;
    DIR *d = opendir(dir);

    while (d != NULL && (e = readdir(d)) != NULL) {
        size_t len = strlen(e->d_name), s = strlen(suffix);

        n += len >= s && strcmp(e->d_name + len - s, suffix) == 0 &&
             e->d_name[0] != '.';
    }
    if (d != NULL) {
        closedir(d);
    }
    return n;
}

static int match(seckill_list_t *list, const char *value)
{
    const char *reason;
    size_t len;

    return seckill_list_match(list, value, strlen(value), 0, &reason, &len);
}

/* Ask until the answer is `want`. */
static int await(seckill_list_t *list, const char *value, int want)
{
    for (int i = 0; i < DEADLINE_MS; i++) {
        if (match(list, value) == want) {
            return 1;
        }
        pause_ms(1);
    }
    return 0;
}

static seckill_list_t *watched(place_t *p, const char *file)
{
    seckill_list_options_t o = {.struct_size = sizeof(o),
                                .kind = SECKILL_LIST_ID,
                                .file = file,
                                .settle_ms = 20};
    seckill_list_t *list = NULL;
    char err[256];

    CHECK_INT(0, seckill_list_open(p->sk, "l", &o, &list, err, sizeof(err)));
    return list;
}

/* ---- Start and stop ------------------------------------------------------ */

TEST(threads_start_and_stop_many_times)
{
    int fds, threads, usual;
    place_t p;

    place_open(&p);
    CHECK_STR("", seckill_wake_path(p.sk));
    CHECK_INT(0, start(&p));
    seckill_stop(p.sk);
    fds = count_entries("/proc/self/fd", "");
    pause_ms(50); /* a joined thread may be listed a moment longer */
    usual = count_entries("/proc/self/task", "");
    threads = usual + 1;
    for (int i = 0; i < 50; i++) {
        CHECK_INT(0, start(&p));
        CHECK_INT(0, start(&p)); /* again: nothing */
        seckill_stop(p.sk);
        seckill_stop(p.sk);
    }
    CHECK_INT(fds, count_entries("/proc/self/fd", ""));
    for (int i = 0; i < DEADLINE_MS && threads > usual; i++) {
        pause_ms(1);
        threads = count_entries("/proc/self/task", "");
    }
    CHECK_INT(usual, threads);
    place_close(&p);
}

/* 1 when the thread is one of ours, with all its signals blocked. */
static int is_quiet_thread(const char *tid)
{
    char path[64], line[128];
    int ours = 0, quiet = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", tid);
    f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        ours |= strcmp(line, "Name:\tseckill-io\n") == 0 ||
                strcmp(line, "Name:\tseckill-flush\n") == 0;
        /* All but KILL and STOP, and the two of glibc. */
        quiet |= strncmp(line, "SigBlk:\tfffffffe7ffbfeff", 24) == 0 ||
                 strncmp(line, "SigBlk:\tfffffffc7ffbfeff", 24) == 0;
    }
    if (f != NULL) {
        fclose(f);
    }
    return ours && quiet;
}

TEST(threads_have_names_and_take_no_signals)
{
    int found = 0;
    struct dirent *e;
    place_t p;
    DIR *d;

    place_open(&p);
    CHECK_INT(0, start(&p));
    /* A sanitizer may change the mask while a thread begins. */
    for (int i = 0; i < DEADLINE_MS && found != 2; i++) {
        found = 0;
        d = opendir("/proc/self/task");
        while ((e = readdir(d)) != NULL) {
            found += is_quiet_thread(e->d_name);
        }
        closedir(d);
        pause_ms(1);
    }
    CHECK_INT(2, found);
    place_close(&p);
}

TEST(the_socket_is_private_and_removed)
{
    char path[128];
    struct stat st;
    place_t p;
    int fd;

    place_open(&p);
    CHECK_INT(0, start(&p));
    snprintf(path, sizeof(path), "%s", seckill_wake_path(p.sk));
    CHECK(stat(path, &st) == 0 && S_ISSOCK(st.st_mode));
    CHECK_INT(0600, st.st_mode & 0777);
    fd = connect_to(path);
    CHECK(fd >= 0);
    seckill_stop(p.sk);
    while (read_byte(fd) == 1) {
    }
    CHECK_INT(0, read_byte(fd)); /* the end: nobody hangs on it */
    CHECK_INT(-1, connect_to(path));
    CHECK(stat(path, &st) != 0 && errno == ENOENT);
    close(fd);
    place_close(&p);
}

TEST(sockets_of_dead_processes_are_removed)
{
    char dir[128];
    place_t p;
    pid_t pid;

    place_open(&p);
    snprintf(dir, sizeof(dir), "%s/seckill.t.d", p.dir);
    pid = fork();
    if (pid == 0) {
        _exit(start(&p) == 0 ? 7 : 1); /* leaves its socket behind */
    }
    waitpid(pid, NULL, 0);
    CHECK_INT(1, count_entries(dir, ".sock"));
    CHECK_INT(0, start(&p));
    CHECK_INT(1, count_entries(dir, ".sock"));
    seckill_stop(p.sk);
    CHECK_INT(0, count_entries(dir, ".sock"));
    place_close(&p);
}

TEST(a_path_too_long_for_a_socket_is_named)
{
    seckill_options_t o = {.struct_size = sizeof(o), .name = "t"};
    char dir[128], err[256] = "";
    seckill_t *sk;
    place_t p;

    place_open(&p);
    snprintf(dir, sizeof(dir), "%s/%s", p.dir,
             "a-directory-with-a-name-that-is-much-too-long-for-a-socket-path");
    REQUIRE(mkdir(dir, 0700) == 0);
    o.shm_dir = dir;
    o.items = o.reservations = o.users = o.requests = o.limit_keys = 16;
    o.log_units = 64;
    REQUIRE(seckill_open(&o, &sk, err, sizeof(err)) == 0);
    CHECK_INT(SECKILL_EIO, seckill_start(sk, err, sizeof(err)));
    CHECK(strstr(err, "socket path is over 107 bytes") != NULL);
    CHECK(strstr(err, dir) != NULL);
    kept[kept_count++ % 64] = sk;
    CHECK_INT(0, seckill_destroy("t", dir));
    place_close(&p);
}

TEST(a_child_has_no_threads_until_it_starts_its_own)
{
    char path[128];
    int status = -1;
    place_t p;
    pid_t pid;

    place_open(&p);
    CHECK_INT(0, start(&p));
    snprintf(path, sizeof(path), "%s", seckill_wake_path(p.sk));
    pid = fork();
    if (pid == 0) {
        int bad = seckill_wake_path(p.sk)[0] != '\0';

        alarm(20);
        seckill_stop(p.sk); /* not its threads: must not join them */
#ifndef __SANITIZE_THREAD__ /* it cannot follow threads over a fork */
        bad |= start(&p) != 0;
        bad |= strcmp(seckill_wake_path(p.sk), path) == 0;
        seckill_stop(p.sk);
#endif
        _exit(bad);
    }
    waitpid(pid, &status, 0);
    CHECK_INT(0, status);
    CHECK_STR(path, seckill_wake_path(p.sk));
    CHECK(connect_to(path) >= 0);
    place_close(&p);
}

/* ---- Completions --------------------------------------------------------- */

/* Take events until the one with this ticket. */
static int take(place_t *p, uint64_t ticket, seckill_event_t *e)
{
    while (seckill_cq_wait(p->sk, DEADLINE_MS)) {
        while (seckill_cq_pop(p->sk, e, 1) == 1) {
            if (e->ticket == ticket) {
                return 1;
            }
        }
    }
    return 0;
}

TEST(a_reload_completes_and_is_in_force)
{
    seckill_event_t e;
    seckill_list_t *list;
    uint64_t ticket;
    place_t p;

    place_open(&p);
    write_file(p.file, "a\n");
    list = watched(&p, p.file);
    CHECK_INT(SECKILL_ENOTSTARTEDTHREADS,
              seckill_list_reload_async(list, &ticket));
    CHECK_INT(0, start(&p));
    write_file(p.file, "b\n");
    CHECK_INT(0, seckill_list_reload_async(list, &ticket));
    CHECK(take(&p, ticket, &e));
    CHECK_INT(0, e.rc);
    CHECK_INT(1, match(list, "b"));
    CHECK_INT(0, match(list, "a"));
    unlink(p.file);
    CHECK_INT(0, seckill_list_reload_async(list, &ticket));
    CHECK(take(&p, ticket, &e));
    CHECK_INT(SECKILL_EBADFILE, e.rc);
    CHECK(strstr(e.text, "No such file") != NULL);
    CHECK_INT(1, match(list, "b"));
    place_close(&p);
}

TEST(a_list_without_a_file_is_not_reloaded)
{
    const seckill_list_options_t o = {.struct_size = sizeof(o),
                                      .kind = SECKILL_LIST_ID};
    seckill_list_t *list;
    uint64_t ticket;
    char err[256];
    place_t p;

    place_open(&p);
    CHECK_INT(0, seckill_list_open(p.sk, "l", &o, &list, err, sizeof(err)));
    CHECK_INT(0, start(&p));
    CHECK_INT(SECKILL_EBADFILE, seckill_list_reload_async(list, &ticket));
    place_close(&p);
}

TEST(a_completion_wakes_the_reader)
{
    seckill_event_t e;
    seckill_list_t *list;
    uint64_t ticket;
    place_t p;
    int fd;

    place_open(&p);
    write_file(p.file, "a\n");
    list = watched(&p, p.file);
    CHECK_INT(0, start(&p));
    fd = connect_to(seckill_wake_path(p.sk));
    REQUIRE(fd >= 0);
    for (int i = 0; i < 20; i++) {
        int done = 0;

        CHECK_INT(0, seckill_list_reload_async(list, &ticket));
        while (!done) {
            seckill_cq_rearm(p.sk);
            CHECK_INT(1, read_byte(fd));
            while (seckill_cq_pop(p.sk, &e, 1) == 1) {
                done |= e.ticket == ticket;
            }
        }
    }
    close(fd);
    place_close(&p);
}

TEST(what_waits_at_stop_gets_closed)
{
    seckill_event_t e;
    seckill_list_t *list;
    uint64_t ticket = 0;
    place_t p;

    place_open(&p);
    write_file(p.file, "a\n");
    list = watched(&p, p.file);
    CHECK_INT(0, start(&p));
    /* Somebody else holds the list's lock: the job waits. */
    CHECK_INT(0, skl_lock_try(&list->slot->load_lock, NULL, NULL));
    CHECK_INT(0, seckill_list_reload_async(list, &ticket));
    seckill_stop(p.sk);
    skl_lock_release(&list->slot->load_lock);
    CHECK(take(&p, ticket, &e));
    CHECK_INT(SECKILL_ECLOSED, e.rc);
    place_close(&p);
}

TEST(too_many_waiting_calls_are_refused)
{
    seckill_list_t *list;
    seckill_event_t e;
    uint64_t ticket;
    int got = 0;
    place_t p;

    place_open(&p);
    write_file(p.file, "a\n");
    list = watched(&p, p.file);
    CHECK_INT(0, start(&p));
    CHECK_INT(0, skl_lock_try(&list->slot->load_lock, NULL, NULL));
    for (int i = 0; i < 256; i++) {
        CHECK_INT(0, seckill_list_reload_async(list, &ticket));
    }
    CHECK_INT(SECKILL_EFULL, seckill_list_reload_async(list, &ticket));
    skl_lock_release(&list->slot->load_lock);
    while (got < 256 && seckill_cq_wait(p.sk, DEADLINE_MS)) {
        while (seckill_cq_pop(p.sk, &e, 1) == 1) {
            got += e.type == SECKILL_EVENT_DONE && e.rc == 0;
        }
    }
    CHECK_INT(256, got);
    place_close(&p);
}

/* ---- Roles --------------------------------------------------------------- */

TEST(roles_move_when_their_holder_is_killed)
{
    seckill_list_t *list;
    int ready[2];
    char c;
    place_t p;
    pid_t pid;

    place_open(&p);
    write_file(p.file, "a\n");
    list = watched(&p, p.file);
    REQUIRE(pipe(ready) == 0);
    pid = fork();
    if (pid == 0) {
        alarm(30);
        if (start(&p) != 0) {
            _exit(1);
        }
        write_file(p.file, "b\n");
        c = await(list, "b", 1) ? 'y' : 'n'; /* then it is the loader */
        (void)!write(ready[1], &c, 1);
        pause();
    }
    CHECK(read(ready[0], &c, 1) == 1 && c == 'y');
    CHECK_INT(0, start(&p));
    CHECK(skl_lock_try(&p.sk->lists.shm->roles[SKL_ROLE_SWEEPER], NULL, NULL) ==
          SECKILL_EBUSY);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    write_file(p.file, "c\n");
    CHECK(await(list, "c", 1));
    close(ready[0]);
    close(ready[1]);
    place_close(&p);
}

/* ---- Ways to change a file ----------------------------------------------- */

static void change_in_place(const place_t *p, const char *text)
{
    write_file(p->file, text);
}

static void change_by_rename(const place_t *p, const char *text)
{
    char temp[160];

    snprintf(temp, sizeof(temp), "%s.new", p->file);
    write_file(temp, text);
    CHECK_INT(0, rename(temp, p->file));
}

static void change_by_recreation(const place_t *p, const char *text)
{
    CHECK_INT(0, unlink(p->file));
    pause_ms(5);
    write_file(p->file, text);
}

/* Written in pieces for longer than the settle time. */
static void change_slowly(const place_t *p, const char *text)
{
    FILE *f = fopen(p->file, "w");

    for (int i = 0; i < 10; i++) {
        fprintf(f, "filler%d\n", i);
        fflush(f);
        pause_ms(7);
    }
    fputs(text, f);
    fclose(f);
}

/* As Kubernetes does: list.txt -> ..data/list.txt, ..data -> ..<number>. */
static void change_by_link_swap(const place_t *p, const char *text)
{
    static int number;
    char path[200], name[32];

    snprintf(name, sizeof(name), "..version%d", ++number);
    snprintf(path, sizeof(path), "%s/%s", p->dir, name);
    CHECK_INT(0, mkdir(path, 0700));
    snprintf(path, sizeof(path), "%s/%s/list.txt", p->dir, name);
    write_file(path, text);
    snprintf(path, sizeof(path), "%s/..data_tmp", p->dir);
    CHECK_INT(0, symlink(name, path));
    {
        char to[200];

        snprintf(to, sizeof(to), "%s/..data", p->dir);
        CHECK_INT(0, rename(path, to));
    }
    if (number == 1) {
        (void)unlink(p->file);
        CHECK_INT(0, symlink("..data/list.txt", p->file));
    }
}

static void follow_changes(void (*change)(const place_t *, const char *))
{
    seckill_list_t *list;
    char text[16];
    place_t p;

    place_open(&p);
    write_file(p.file, "v0\n");
    list = watched(&p, p.file);
    CHECK_INT(0, start(&p));
    for (int i = 1; i <= 5; i++) {
        snprintf(text, sizeof(text), "v%d\n", i);
        change(&p, text);
        text[strlen(text) - 1] = '\0';
        CHECK(await(list, text, 1));
        snprintf(text, sizeof(text), "v%d", i - 1);
        CHECK_INT(0, match(list, text));
    }
    place_close(&p);
}

TEST(follows_a_file_written_in_place)
{
    follow_changes(change_in_place);
}

TEST(follows_a_file_renamed_over)
{
    follow_changes(change_by_rename);
}

TEST(follows_a_file_made_again)
{
    follow_changes(change_by_recreation);
}

TEST(follows_a_file_written_slowly)
{
    follow_changes(change_slowly);
}

TEST(follows_a_swapped_link)
{
    follow_changes(change_by_link_swap);
}

TEST(a_file_that_vanishes_keeps_the_list_and_says_so)
{
    seckill_list_stats_t s = {0};
    seckill_list_t *list;
    place_t p;

    place_open(&p);
    write_file(p.file, "a\n");
    list = watched(&p, p.file);
    CHECK_INT(0, start(&p));
    unlink(p.file);
    for (int i = 0; i < DEADLINE_MS && s.failures == 0; i++) {
        pause_ms(1);
        seckill_list_stats(list, &s);
    }
    CHECK(strstr(s.error, "No such file") != NULL);
    CHECK_INT(1, match(list, "a"));
    write_file(p.file, "b\n");
    CHECK(await(list, "b", 1));
    seckill_list_stats(list, &s);
    CHECK_STR("", s.error);
    place_close(&p);
}

TEST(a_list_opened_later_is_followed)
{
    seckill_list_t *list;
    place_t p;

    place_open(&p);
    CHECK_INT(0, start(&p));
    write_file(p.file, "a\n");
    list = watched(&p, p.file);
    CHECK_INT(1, match(list, "a")); /* at once */
    write_file(p.file, "b\n");
    CHECK(await(list, "b", 1));
    place_close(&p);
}

TEST(watch_2_does_not_follow)
{
    seckill_list_options_t o = {
        .struct_size = sizeof(o), .kind = SECKILL_LIST_ID, .watch = 2};
    seckill_list_stats_t s;
    seckill_event_t e;
    seckill_list_t *list;
    uint64_t ticket;
    char err[256];
    place_t p;

    place_open(&p);
    write_file(p.file, "a\n");
    o.file = p.file;
    CHECK_INT(0, seckill_list_open(p.sk, "l", &o, &list, err, sizeof(err)));
    CHECK_INT(0, start(&p));
    write_file(p.file, "b\n");
    pause_ms(300);
    CHECK_INT(1, match(list, "a"));
    CHECK_INT(0, seckill_list_reload_async(list, &ticket));
    CHECK(take(&p, ticket, &e));
    CHECK_INT(1, match(list, "b"));
    seckill_list_stats(list, &s);
    CHECK_INT(2, s.generation);
    place_close(&p);
}

/* ---- Two threads of one process, for the thread sanitizer ---------------- */

TEST(lookups_go_on_while_the_io_thread_swaps)
{
    const int rounds = tap_full() ? 300 : 60;
    seckill_list_t *list;
    uint64_t wrong = 0;
    char text[32];
    place_t p;

    place_open(&p);
    write_file(p.file, "always\n0\n");
    list = watched(&p, p.file);
    CHECK_INT(0, start(&p));
    for (int i = 1; i <= rounds; i++) {
        uint64_t ticket = 0;
        seckill_event_t e = {0};

        snprintf(text, sizeof(text), "always\n%d\n", i);
        write_file(p.file, text);
        CHECK_INT(0, seckill_list_reload_async(list, &ticket));
        while (e.ticket != ticket) {
            wrong += match(list, "always") != 1;
            wrong += match(list, "never") != 0;
            (void)seckill_cq_pop(p.sk, &e, 1);
        }
        CHECK_INT(0, e.rc);
        snprintf(text, sizeof(text), "%d", i);
        CHECK_INT(1, match(list, text));
        (void)seckill_list_add(list, text, strlen(text), 1000000, 0);
    }
    CHECK_INT(0, wrong);
    place_close(&p);
}

TAP_MAIN()
