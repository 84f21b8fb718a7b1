/*
 * Access lists through the public API, with files, processes and failures:
 * loading, replacing while others read, a loader that is killed, files that
 * are torn, missing, too large, or that do not fit.
 */
#include "base/clock.h"
#include "base/os.h"
#include "io/list_file.h"
#include "seckill.h"
#include "seckill_internal.h"
#include "test/support/tap.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- A private place for each test --------------------------------------- */

typedef struct {
    char dir[64];  /* shm_dir */
    char file[80]; /* the list file */
    seckill_t *sk;
} place_t;

static void place_open(place_t *p)
{
    seckill_options_t o = {.struct_size = sizeof(o),
                           .name = "t",
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

    snprintf(p->dir, sizeof(p->dir), "%s", "/dev/shm/seckill-list-test.XXXXXX");
    if (mkdtemp(p->dir) == NULL) {
        abort();
    }
    snprintf(p->file, sizeof(p->file), "%s/list.txt", p->dir);
    o.shm_dir = p->dir;
    if (seckill_open(&o, &p->sk, err, sizeof(err)) != 0) {
        printf("# %s\n", err);
        abort();
    }
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

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0) {
        abort();
    }
}

/* Write beside and rename over. */
static void replace_file(const char *path, const char *text)
{
    char temp[128];

    snprintf(temp, sizeof(temp), "%s.new", path);
    write_file(temp, text);
    if (rename(temp, path) != 0) {
        abort();
    }
}

static int open_list(place_t *p, const char *name,
                     const seckill_list_options_t *o, seckill_list_t **out,
                     char err[256])
{
    return seckill_list_open(p->sk, name, o, out, err, 256);
}

static const seckill_list_options_t NO_FILE = {
    .struct_size = sizeof(seckill_list_options_t), .kind = SECKILL_LIST_ID};

static seckill_list_options_t with_file(const place_t *p)
{
    seckill_list_options_t o = NO_FILE;

    o.file = p->file;
    o.settle_ms = 5;
    return o;
}

static int match(seckill_list_t *list, const char *value)
{
    const char *reason;
    size_t len;

    return seckill_list_match(list, value, strlen(value), 0, &reason, &len);
}

static seckill_list_stats_t stats(seckill_list_t *list)
{
    seckill_list_stats_t s;

    seckill_list_stats(list, &s);
    return s;
}

/* Files "list.*" in the directory of the segment. */
static int index_files(const place_t *p)
{
    char dir[128];
    struct dirent *e;
    int n = 0;
    DIR *d;

    snprintf(dir, sizeof(dir), "%s/seckill.t.d", p->dir);
    d = opendir(dir);
    while (d != NULL && (e = readdir(d)) != NULL) {
        n += strncmp(e->d_name, "list.", 5) == 0;
    }
    if (d != NULL) {
        closedir(d);
    }
    return n;
}

/* ---- Opening and looking up ---------------------------------------------- */

TEST(loads_and_matches)
{
    const char *reason;
    seckill_list_t *list;
    seckill_list_options_t o;
    char err[256];
    place_t p;
    size_t len;

    place_open(&p);
    write_file(p.file, "bad\nworse\t\tfraud\n!good\nshort\t0.5\n");
    o = with_file(&p);
    CHECK_INT(0, open_list(&p, "black", &o, &list, err));
    CHECK_INT(1, match(list, "bad"));
    CHECK_INT(2, match(list, "good"));
    CHECK_INT(0, match(list, "other"));
    CHECK_INT(1, seckill_list_match(list, "worse", 5, 0, &reason, &len));
    CHECK(len == 5 && memcmp(reason, "fraud", 5) == 0);
    CHECK_INT(1, seckill_list_match(list, "short", 5, seckill_now(p.sk),
                                    &reason, &len));
    CHECK_INT(0,
              seckill_list_match(list, "short", 5,
                                 seckill_now(p.sk) + 600000000, &reason, &len));
    CHECK_INT(4, stats(list).entries);
    CHECK_INT(1, stats(list).generation);
    CHECK(stats(list).loaded_at > 0 && stats(list).file_mtime > 0);
    CHECK_STR("", stats(list).error);
    CHECK_INT(1, index_files(&p));
    place_close(&p);
}

TEST(refuses_bad_values_and_options)
{
    seckill_list_options_t o = NO_FILE;
    seckill_list_t *list, *same;
    char err[256], big[65];
    place_t p;

    place_open(&p);
    memset(big, 'a', sizeof(big));
    CHECK_INT(SECKILL_EBADNAME, open_list(&p, "No", &o, &list, err));
    CHECK_INT(SECKILL_EBADNAME, open_list(&p, "", &o, &list, err));
    o.kind = 9;
    CHECK_INT(SECKILL_EBADOPTION, open_list(&p, "l", &o, &list, err));
    CHECK_STR("kind", err);
    o = NO_FILE;
    o.struct_size = 1;
    CHECK_INT(SECKILL_EBADOPTION, open_list(&p, "l", &o, &list, err));
    CHECK_INT(0, open_list(&p, "l", &NO_FILE, &list, err));
    CHECK_INT(SECKILL_EBADVALUE, match(list, ""));
    CHECK_INT(SECKILL_EBADVALUE,
              seckill_list_match(list, big, 65, 0, &(const char *){NULL},
                                 &(size_t){0}));
    CHECK_INT(SECKILL_EBADVALUE, seckill_list_add(list, big, 65, 0, 0));
    CHECK_INT(SECKILL_EBADVALUE, seckill_list_remove(list, NULL, 3, 0));
    CHECK_INT(SECKILL_EBADTIME, seckill_list_add(list, "a", 1, -1, 0));
    CHECK_INT(SECKILL_EBADFILE, seckill_list_reload(list, err, sizeof(err)));
    CHECK_INT(0, open_list(&p, "l", &NO_FILE, &same, err));
    CHECK(list == same);
    place_close(&p);
}

TEST(another_file_is_a_conflict_and_slots_end)
{
    seckill_list_options_t o;
    seckill_list_t *list;
    char err[256], name[8];
    place_t p;

    place_open(&p);
    write_file(p.file, "a\n");
    o = with_file(&p);
    CHECK_INT(0, open_list(&p, "l0", &o, &list, err));
    o.file = "/tmp/other";
    CHECK_INT(SECKILL_ECONFLICT, open_list(&p, "l0", &o, &list, err));
    for (int i = 1; i < 4; i++) {
        snprintf(name, sizeof(name), "l%d", i);
        CHECK_INT(0, open_list(&p, name, &NO_FILE, &list, err));
    }
    CHECK_INT(SECKILL_EFULL, open_list(&p, "l4", &NO_FILE, &list, err));
    place_close(&p);
}

/* ---- Files that cannot be used ------------------------------------------- */

typedef struct {
    const char *text; /* NULL: the file is missing */
    uint64_t max_bytes;
    uint32_t max_bad_lines;
    uint32_t allow_empty;
    int rc;
    const char *says;
} bad_case_t;

static const bad_case_t bad_cases[] = {
    {NULL, 0, 0, 0, SECKILL_EBADFILE, "No such file"},
    {"", 0, 0, 0, SECKILL_EBADFILE, "no entries"},
    {"# only\n", 0, 0, 0, SECKILL_EBADFILE, "no entries"},
    {"!\n", 0, 0, 0, SECKILL_EBADFILE, "line 1: empty entry"},
    {"a\n!\n\t\n", 0, 1, 0, SECKILL_EBADFILE,
     "2 bad lines: line 2: empty entry; line 3: empty entry"},
    {"aaaaaaaaaa\n", 10, 0, 0, SECKILL_ETOOLARGE, "11 bytes, max_bytes is 10"},
    {"", 0, 0, 1, 0, ""},
    {"a\n!\n", 0, 1, 0, 0, ""},
};

TEST(bad_files_keep_the_old_list)
{
    seckill_list_options_t o;
    seckill_list_t *list;
    char err[256];
    place_t p;

    for (size_t i = 0; i < sizeof(bad_cases) / sizeof(bad_cases[0]); i++) {
        const bad_case_t *c = &bad_cases[i];

        place_open(&p);
        write_file(p.file, "old\n");
        o = with_file(&p);
        CHECK_INT(0, open_list(&p, "l", &o, &list, err));
        unlink(p.file);
        if (c->text != NULL) {
            write_file(p.file, c->text);
        }
        o.max_bytes = c->max_bytes;
        o.max_bad_lines = c->max_bad_lines;
        o.allow_empty = c->allow_empty;
        CHECK_INT(c->rc, open_list(&p, "l", &o, &list, err));
        CHECK(strstr(err, c->says) != NULL);
        CHECK_INT(c->rc != 0, match(list, "old"));
        CHECK_STR(err, stats(list).error);
        CHECK_INT(c->rc != 0, stats(list).failures);
        CHECK_INT(1, index_files(&p));
        place_close(&p);
    }
}

TEST(a_bad_file_at_first_gives_an_empty_list)
{
    seckill_list_options_t o;
    seckill_list_t *list = NULL;
    char err[256];
    place_t p;

    place_open(&p);
    o = with_file(&p);
    CHECK_INT(SECKILL_EBADFILE, open_list(&p, "l", &o, &list, err));
    REQUIRE(list != NULL);
    CHECK_INT(0, match(list, "a"));
    CHECK_INT(0, stats(list).generation);
    write_file(p.file, "a\n");
    CHECK_INT(0, seckill_list_reload(list, err, sizeof(err)));
    CHECK_INT(1, match(list, "a"));
    CHECK_STR("", stats(list).error);
    place_close(&p);
}

TEST(a_directory_or_fifo_is_not_a_list)
{
    seckill_list_options_t o;
    seckill_list_t *list;
    char err[256];
    place_t p;

    place_open(&p);
    o = with_file(&p);
    REQUIRE(mkfifo(p.file, 0600) == 0);
    CHECK_INT(SECKILL_EBADFILE, open_list(&p, "l", &o, &list, err));
    CHECK(strstr(err, "not a regular file") != NULL);
    unlink(p.file);
    o.file = p.dir;
    CHECK_INT(SECKILL_EBADFILE, open_list(&p, "m", &o, &list, err));
    place_close(&p);
}

/* ---- Calls that fail ----------------------------------------------------- */

static const char *fault_call;
static int fault_errno, fault_after;

static int inject(const char *call)
{
    if (strcmp(call, fault_call) != 0 || fault_after-- > 0) {
        return 0;
    }
    return fault_errno;
}

typedef struct {
    const char *call;
    int number;
    int rc;
    const char *says;
} fault_case_t;

static const fault_case_t fault_cases[] = {
    {"allocate", ENOSPC, SECKILL_ENOSPACE, "bytes, "},
    {"open_source", EACCES, SECKILL_EBADFILE, "Permission denied"},
    {"read", EIO, SECKILL_EIO, "read"},
    {"map", ENOMEM, SECKILL_EIO, "map"},
    {"rename", EDQUOT, SECKILL_EIO, "rename"},
    {"random", EIO, SECKILL_EIO, "random"},
    {"open", EMFILE, SECKILL_EIO, ""},
};

TEST(failing_calls_keep_the_old_list)
{
    seckill_list_options_t o;
    seckill_list_t *list;
    char err[256];
    place_t p;

    place_open(&p);
    write_file(p.file, "old\n");
    o = with_file(&p);
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    for (size_t i = 0; i < sizeof(fault_cases) / sizeof(fault_cases[0]); i++) {
        const fault_case_t *c = &fault_cases[i];

        replace_file(p.file, "new\n");
        fault_call = c->call;
        fault_errno = c->number;
        fault_after = strcmp(c->call, "open") == 0;
        skl_os_fault = inject;
        CHECK_INT(c->rc, seckill_list_reload(list, err, sizeof(err)));
        skl_os_fault = NULL;
        CHECK(strstr(err, c->says) != NULL);
        CHECK_INT(1, match(list, "old"));
        CHECK_INT(0, match(list, "new"));
        CHECK_INT(1, index_files(&p));
        CHECK_INT(i + 1, stats(list).failures);
    }
    CHECK_INT(0, seckill_list_reload(list, err, sizeof(err)));
    CHECK_INT(1, match(list, "new"));
    CHECK_STR("", stats(list).error);
    place_close(&p);
}

/* Files written before are not new any more: see "Versions of a file". */
static void pass_a_tick(void)
{
    const struct timespec ts = {0, 30000000};

    nanosleep(&ts, NULL);
}

/* ---- An index that cannot be mapped -------------------------------------- */

/* Another process loaded the file; here the index does not fit. */
static void load_elsewhere(const place_t *p)
{
    seckill_list_options_t o = with_file(p);
    seckill_list_t *list;
    char err[256];
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(seckill_list_open(p->sk, "l", &o, &list, err, 256) != 0);
    }
    CHECK_INT(pid, waitpid(pid, &status, 0));
    CHECK_INT(0, status);
}

static void fail_maps(void)
{
    fault_call = "map";
    fault_errno = ENOMEM;
    fault_after = 0;
    skl_os_fault = inject;
}

TEST(an_index_that_cannot_be_mapped_admits_nobody)
{
    seckill_list_options_t o;
    seckill_list_t *list = NULL, *same = NULL;
    char err[256];
    place_t p;

    place_open(&p);
    write_file(p.file, "bad\n");
    pass_a_tick();
    load_elsewhere(&p);
    o = with_file(&p);
    fail_maps();
    CHECK_INT(SECKILL_EIO, open_list(&p, "l", &o, &list, err));
    skl_os_fault = NULL;
    CHECK(list == NULL && strstr(err, "index") != NULL);
    CHECK_INT(0, seckill_list_at(p.sk, 0, &same));
    CHECK_INT(SECKILL_EIO, match(same, "bad"));
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    CHECK(list == same);
    CHECK_INT(1, match(list, "bad"));
    place_close(&p);
}

TEST(a_reload_that_cannot_be_mapped_is_no_success)
{
    seckill_list_options_t o;
    seckill_list_t *list;
    char err[256];
    place_t p;

    place_open(&p);
    write_file(p.file, "old\n");
    o = with_file(&p);
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    replace_file(p.file, "new\n");
    fail_maps();
    fault_after = 1; /* the loader's own mapping */
    CHECK_INT(SECKILL_EIO, seckill_list_reload(list, err, sizeof(err)));
    skl_os_fault = NULL;
    CHECK_INT(1, match(list, "old"));
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    CHECK_INT(1, match(list, "new"));
    place_close(&p);
}

/* Without threads a lookup maps what others loaded: not every one tries. */
TEST(lookups_map_later_what_they_could_not_map)
{
    seckill_list_options_t o;
    seckill_list_t *list;
    char err[256];
    place_t p;
    int found = 0;

    place_open(&p);
    write_file(p.file, "old\n");
    pass_a_tick();
    o = with_file(&p);
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    replace_file(p.file, "new\n");
    load_elsewhere(&p);
    fail_maps();
    CHECK_INT(0, match(list, "new"));
    CHECK_INT(1, match(list, "old"));
    skl_os_fault = NULL;
    for (int i = 0; i < 10000 && !found; i++) {
        found = match(list, "new");
    }
    CHECK_INT(1, found);
    CHECK_INT(0, match(list, "old"));
    place_close(&p);
}

/* ---- Versions ------------------------------------------------------------ */

TEST(a_file_from_the_future_is_loaded_once)
{
    const struct timespec times[2] = {{4102444800, 0}, {4102444800, 0}};
    seckill_list_options_t o;
    seckill_list_t *list;
    char err[256];
    place_t p;

    place_open(&p);
    write_file(p.file, "a\t3600\n");
    CHECK_INT(0, utimensat(AT_FDCWD, p.file, times, 0));
    pass_a_tick();
    o = with_file(&p);
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    CHECK_INT(1, stats(list).generation);
    place_close(&p);
}

static int64_t now_of(void *ctx)
{
    return seckill_now(ctx);
}

/* 1 when a file that changed so long after now is known once it is loaded. */
static int is_known_when_changed(int64_t ahead_ns)
{
    seckill_list_options_t o;
    seckill_list_t *list;
    skl_list_made_t made;
    skl_list_env_t env;
    skl_file_id_t id;
    skl_load_t *load;
    char err[256];
    place_t p;
    int known;

    place_open(&p);
    write_file(p.file, "a\n");
    o = with_file(&p);
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    env = (skl_list_env_t){&p.sk->segment, &p.sk->lists, p.sk, now_of};
    CHECK_INT(0, skl_load_begin(&env, list, 0, 0, &load, err, sizeof(err)));
    skl_load_make(load, &made);
    made.changed_ns = skl_clock_wall_ns() + ahead_ns;
    CHECK_INT(0, skl_load_end(load, &made, err, sizeof(err)));
    skl_list_file_id(list->slot, &id);
    known = skl_list_known(list->slot, &id);
    place_close(&p);
    return known;
}

/* A clock that was put back is not a file that changes all the time. */
TEST(a_clock_that_was_put_back_makes_no_new_version)
{
    CHECK_INT(1, is_known_when_changed(3600 * SKL_NS_PER_SEC));
    CHECK_INT(0, is_known_when_changed(0));
    CHECK_INT(1, is_known_when_changed(-3600 * SKL_NS_PER_SEC));
}

/* Options that refused a file may be changed with the next start of nginx. */
TEST(a_refused_file_is_tried_again_with_other_options)
{
    seckill_list_options_t o;
    seckill_list_t *list;
    char err[256];
    place_t p;

    place_open(&p);
    write_file(p.file, "old\n");
    o = with_file(&p);
    o.max_bytes = 10;
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    replace_file(p.file, "new\nnewer\nnewest\n");
    pass_a_tick();
    CHECK_INT(SECKILL_ETOOLARGE, open_list(&p, "l", &o, &list, err));
    CHECK_INT(SECKILL_ETOOLARGE, open_list(&p, "l", &o, &list, err));
    CHECK(strstr(err, "max_bytes is 10") != NULL);
    CHECK_INT(1, stats(list).failures);
    CHECK_INT(1, match(list, "old"));
    o.max_bytes = 100;
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    CHECK_INT(1, match(list, "newest"));
    CHECK_INT(2, stats(list).generation);
    place_close(&p);
}

/* It may have been changed again without a trace in its times. */
TEST(a_bad_file_that_was_just_written_is_read_again)
{
    seckill_list_options_t o;
    uint64_t failures;
    int64_t start;
    seckill_list_t *list;
    char err[256];
    place_t p;

    place_open(&p);
    write_file(p.file, "old\n");
    o = with_file(&p);
    o.max_bytes = 10;
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    do { /* as soon as it was written */
        start = skl_clock_mono_ns();
        write_file(p.file, "longer than 10\n");
        CHECK_INT(SECKILL_ETOOLARGE,
                  seckill_list_reload(list, err, sizeof(err)));
    } while (skl_clock_mono_ns() - start > 8000000);
    failures = stats(list).failures;
    pass_a_tick();
    CHECK_INT(SECKILL_ETOOLARGE, open_list(&p, "l", &o, &list, err));
    CHECK_INT(failures + 1, stats(list).failures);
    CHECK_INT(SECKILL_ETOOLARGE, open_list(&p, "l", &o, &list, err));
    CHECK_INT(failures + 1, stats(list).failures);
    place_close(&p);
}

/* ---- Torn files ---------------------------------------------------------- */

static const char *torn_path;
static const char *torn_mode; /* of fopen: "a" it grows, "r+" it changes */
static int torn_reads;

/* Somebody writes while we read, the first torn_reads times. */
static int disturb(const char *call)
{
    if (strcmp(call, "read") == 0 && torn_reads > 0) {
        FILE *f = fopen(torn_path, torn_mode);

        torn_reads--;
        fputs("new\n", f);
        fclose(f);
    }
    return 0;
}

static void disturb_loads(const char *mode)
{
    seckill_list_options_t o;
    seckill_list_t *list;
    char err[256];
    place_t p;

    place_open(&p);
    write_file(p.file, "old\n");
    o = with_file(&p);
    o.settle_ms = 25; /* longer than a tick of file times */
    torn_path = p.file;
    torn_mode = mode;
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    torn_reads = 1;
    skl_os_fault = disturb;
    CHECK_INT(0, seckill_list_reload(list, err, sizeof(err)));
    CHECK_INT(1, match(list, "new"));
    torn_reads = 1000;
    CHECK_INT(SECKILL_EBADFILE, seckill_list_reload(list, err, sizeof(err)));
    skl_os_fault = NULL;
    CHECK(strstr(err, "changed while it was read") != NULL);
    CHECK_INT(1, match(list, "new"));
    CHECK_INT(2, stats(list).generation);
    place_close(&p);
}

TEST(a_file_that_grows_is_read_again_then_refused)
{
    disturb_loads("a");
}

TEST(a_file_that_changes_is_read_again_then_refused)
{
    disturb_loads("r+");
}

/* ---- A loader that is killed --------------------------------------------- */

static int die(const char *call)
{
    if (strcmp(call, fault_call) == 0 && fault_after-- == 0) {
        kill(getpid(), SIGKILL);
    }
    return 0;
}

static void load_and_die(seckill_list_t *list, const char *call, int after)
{
    char err[256];

    fault_call = call;
    fault_after = after;
    skl_os_fault = die;
    (void)seckill_list_reload(list, err, sizeof(err));
    _exit(0);
}

/* 1 when the child was killed, 0 when it ended by itself. */
static int killed(pid_t pid)
{
    int status = 0;

    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* The list has one value, of that form, which has a number. */
static void kill_loader(uint32_t kind, const char *form)
{
    const char *calls[] = {"open_source", "fstat",    "read",  "stat",
                           "open",        "allocate", "map",   "random",
                           "rename",      "touch",    "unlink"};
    seckill_list_options_t o;
    seckill_list_t *list;
    char err[256], text[32], before[32];
    int kills = 0, number = 0;
    place_t p;

    place_open(&p);
    snprintf(text, sizeof(text), form, number);
    write_file(p.file, text);
    o = with_file(&p);
    o.kind = kind;
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        for (int after = 0, was_killed = 1; was_killed; after++) {
            pid_t pid;

            memcpy(before, text, sizeof(before));
            snprintf(text, sizeof(text), form, ++number);
            replace_file(p.file, text);
            pid = fork();
            if (pid == 0) {
                load_and_die(list, calls[i], after);
            }
            was_killed = killed(pid);
            kills += was_killed;
            /* The old list or the new one, whole. */
            CHECK_INT(1, match(list, before) + match(list, text));
            CHECK_INT(0, seckill_list_reload(list, err, sizeof(err)));
            CHECK_INT(0, match(list, before));
            CHECK_INT(1, match(list, text));
            CHECK_INT(1, index_files(&p));
        }
    }
    printf("# %d kills\n", kills);
    CHECK(kills >= (int)(sizeof(calls) / sizeof(calls[0])));
    place_close(&p);
}

TEST(kill_9_of_the_loader_keeps_a_whole_list)
{
    kill_loader(SECKILL_LIST_ID, "v%d");
}

TEST(kill_9_of_the_loader_keeps_a_whole_list_of_networks)
{
    kill_loader(SECKILL_LIST_IP, "2001:db8::%d");
}

/* ---- Readers while the list is replaced ---------------------------------- */

enum { READERS = 3, WIDTH = 500 };

/* Generation g denies the numbers of its parity, with the reason "g". The
 * reason of a hit says which generation answered; a value of the other parity
 * must then be absent. */
static void write_generation(const char *path, int g)
{
    static char text[WIDTH * 32];
    size_t used = 0;

    for (int i = 0; i < WIDTH; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%d\t\t%d\n",
                                 i * 2 + g % 2, g);
    }
    replace_file(path, text);
}

/* One pass over all values: each answer is of one whole generation, and they
 * never go back. 1 when all is well; *newest is the generation of the last. */
static int check_pass(seckill_list_t *list, int *newest)
{
    for (int i = 0; i < WIDTH * 2; i++) {
        const char *reason;
        char value[16];
        size_t len;
        int g, rc;

        snprintf(value, sizeof(value), "%d", i);
        rc = seckill_list_match(list, value, strlen(value), 0, &reason, &len);
        if (rc == 0) {
            continue;
        }
        g = len > 0 ? (int)strtol(reason, NULL, 10) : -1;
        if (rc != 1 || g < *newest || g % 2 != i % 2) {
            return 0;
        }
        *newest = g;
    }
    return 1;
}

/* The other parity is absent in the same generation: both values of a pair
 * are asked until two answers in a row name the same generation's word. */
static int check_pairs(seckill_list_t *list, uint64_t *pairs)
{
    for (int i = 0; i < WIDTH; i++) {
        uint64_t before = list->view->word, after;
        char even[16], odd[16];
        int a, b;

        snprintf(even, sizeof(even), "%d", i * 2);
        snprintf(odd, sizeof(odd), "%d", i * 2 + 1);
        a = match(list, even);
        b = match(list, odd);
        after = list->view->word;
        if (before == after) {
            ++*pairs;
            if (a + b != 1) {
                return 0;
            }
        }
    }
    return 1;
}

static void read_until(seckill_list_t *list, int last)
{
    uint64_t pairs = 0;
    int newest = 0;

    while (newest < last) {
        if (!check_pass(list, &newest)) {
            _exit(1);
        }
        if (!check_pairs(list, &pairs)) {
            _exit(2);
        }
    }
    _exit(pairs > 0 ? 0 : 3);
}

static void replace_and_read(int threads)
{
    const int last = tap_full() ? 1000 : 200;
    seckill_list_options_t o;
    seckill_list_t *list;
    pid_t pids[READERS];
    char err[256];
    place_t p;

    place_open(&p);
    write_generation(p.file, 1);
    o = with_file(&p);
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    for (int i = 0; i < READERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            alarm(120);
            if (threads && seckill_start(p.sk, err, sizeof(err)) != 0) {
                _exit(4);
            }
            read_until(list, last);
        }
    }
    for (int g = 2; g <= last; g++) {
        write_generation(p.file, g);
        CHECK_INT(0, seckill_list_reload(list, err, sizeof(err)));
    }
    for (int i = 0; i < READERS; i++) {
        int status = -1;

        waitpid(pids[i], &status, 0);
        CHECK_INT(0, status);
    }
    CHECK(stats(list).generation >= (uint64_t)last); /* children load, too */
    CHECK_INT(1, index_files(&p));
    place_close(&p);
}

TEST(readers_see_whole_generations)
{
    replace_and_read(0);
}

TEST(readers_with_threads_see_whole_generations)
{
    replace_and_read(1);
}

/* ---- Overlay across processes -------------------------------------------- */

TEST(overlay_is_seen_by_all_and_outlives_reloads)
{
    seckill_list_options_t o;
    seckill_list_t *list;
    char err[256];
    place_t p;
    pid_t pid;

    place_open(&p);
    write_file(p.file, "a\n!vip\n");
    o = with_file(&p);
    CHECK_INT(0, open_list(&p, "l", &o, &list, err));
    pid = fork();
    if (pid == 0) {
        _exit(seckill_list_add(list, "b", 1, 0, 0) != 0 ||
              seckill_list_add(list, "vip", 3, 0, 0) != 0 ||
              seckill_list_remove(list, "a", 1, 0) != 0);
    }
    CHECK_INT(0, killed(pid));
    CHECK_INT(1, match(list, "b"));
    CHECK_INT(0, match(list, "a"));
    CHECK_INT(2, match(list, "vip")); /* allow wins over a deny by hand */
    replace_file(p.file, "a\nc\n");
    CHECK_INT(0, seckill_list_reload(list, err, sizeof(err)));
    CHECK_INT(1, match(list, "b"));
    CHECK_INT(0, match(list, "a"));
    CHECK_INT(1, match(list, "c"));
    CHECK_INT(1, match(list, "vip"));
    CHECK_INT(0, seckill_list_add(list, "a", 1, 0, 0));
    CHECK_INT(1, match(list, "a"));
    CHECK_INT(0, seckill_list_remove(list, "b", 1, 0));
    CHECK_INT(0, match(list, "b"));
    CHECK_INT(3, stats(list).overlay);
    place_close(&p);
}

TEST(overlay_entries_end)
{
    int64_t now;
    const char *reason;
    seckill_list_t *list;
    char err[256];
    place_t p;
    size_t len;

    place_open(&p);
    now = seckill_now(p.sk);
    CHECK_INT(0, open_list(&p, "l", &NO_FILE, &list, err));
    CHECK_INT(0, seckill_list_add(list, "a", 1, 1000000000, now));
    CHECK_INT(1,
              seckill_list_match(list, "a", 1, now + 999000000, &reason, &len));
    CHECK_INT(
        0, seckill_list_match(list, "a", 1, now + 1001000000, &reason, &len));
    place_close(&p);
}

TEST(a_full_overlay_is_refused_and_counted)
{
    seckill_list_t *list;
    char err[256], v[8];
    place_t p;

    place_open(&p);
    CHECK_INT(0, open_list(&p, "l", &NO_FILE, &list, err));
    for (int i = 0; i < 64; i++) {
        snprintf(v, sizeof(v), "%d", i);
        CHECK_INT(0, seckill_list_add(list, v, strlen(v), 0, 0));
    }
    CHECK_INT(SECKILL_EFULL, seckill_list_add(list, "x", 1, 0, 0));
    CHECK_INT(1, skl_counters_result(&p.sk->counters, SKL_OP_list_update,
                                     SECKILL_EFULL));
    place_close(&p);
}

TAP_MAIN()
