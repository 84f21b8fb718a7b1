/*
 * Loads in a child process: killed at every call, hanging, stopped, without
 * memory, with a parent that dies; memory that comes back after each swap; and
 * readers in four processes meanwhile.
 */
#include "base/clock.h"
#include "io/list_child.h"
#include "test/support/lists.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

/* The hooks are set while the thread runs that calls them; the thread itself is
 * in io_test. */
/* variants: rel asan */

/* What happens in a child of the process `hook_parent`, at the n-th call of
 * that name. */
static pid_t hook_parent;
static const char *hook_call;
static int hook_after;
static int (*hook_do)(void);

static int hook(const char *call)
{
    if (getpid() == hook_parent || strcmp(call, hook_call) != 0 ||
        hook_after-- > 0) {
        return 0;
    }
    return hook_do();
}

static void in_child(const char *call, int after, int (*what)(void))
{
    hook_parent = getpid();
    hook_call = call;
    hook_after = after;
    hook_do = what;
    skl_os_fault = hook;
}

static int die(void)
{
    kill(getpid(), SIGKILL);
    return 0;
}

static int hang(void)
{
    while (pause() != 0) {
    }
    return 0;
}

static int stop_itself(void)
{
    kill(getpid(), SIGSTOP);
    return 0;
}

static int no_memory(void)
{
    return ENOMEM;
}

static int no_space(void)
{
    return ENOSPC;
}

/* What the list of `begin` has, and how the next values are written. */
typedef struct {
    uint32_t kind;
    int pad;
    const char *old, *form;
} sort_t;

static const sort_t ids = {SECKILL_LIST_ID, 0, "old", "v%d"};
static const sort_t nets = {SECKILL_LIST_IP, 0, "192.0.2.1", "2001:db8::%d"};

/* An engine whose list is watched by nobody, with threads. */
static void begin_as(lists_t *p, const sort_t *s)
{
    seckill_list_options_t o;

    lists_begin(p, 0, 16);
    p->kind = s->kind;
    lists_text(p, s->old);
    o = lists_options(p);
    o.watch = 2;
    CHECK_INT(0, lists_open_as(p, "l", &o));
    CHECK_INT(0, lists_start(p));
}

static void begin(lists_t *p)
{
    begin_as(p, &ids);
}

static void end(lists_t *p)
{
    skl_os_fault = NULL;
    lists_lose(p);
}

/* No child of this process is left. */
static int no_children(void)
{
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD;
}

/* The old list is in force, and the next load is a good one. */
static void check_old(lists_t *p, const char *next)
{
    const char *old = p->kind == SECKILL_LIST_IP ? nets.old : ids.old;
    char line[64];

    skl_os_fault = NULL;
    CHECK_INT(1, lists_match(p, old));
    CHECK_INT(1, lists_files(p));
    CHECK(no_children());
    snprintf(line, sizeof(line), "%s\n%s\n", old, next);
    lists_replace(p, line, strlen(line));
    CHECK_INT(0, lists_reload_async(p));
    CHECK_INT(1, lists_match(p, next));
    CHECK_STR("", lists_stats(p).error);
    CHECK_INT(1, lists_files(p));
}

/* ---- A child that does not do its work ----------------------------------- */

static int kill_child(const sort_t *s)
{
    const char *calls[] = {"open_source", "fstat",      "read",     "stat",
                           "pread",       "open",       "allocate", "map",
                           "random",      "map_private"}; /* of networks */
    const size_t n = s->kind == SECKILL_LIST_IP ? 10 : 9;
    int kills = 0;
    char next[32];
    lists_t p;

    begin_as(&p, s);
    for (size_t i = 0; i < n; i++) {
        for (int after = 0;; after++) {
            int rc;

            in_child(calls[i], after, die);
            rc = lists_reload_async(&p);
            skl_os_fault = NULL;
            if (rc == 0) {
                break;
            }
            CHECK_INT(SECKILL_EIO, rc);
            CHECK(strstr(p.err, "ended by signal 9") != NULL);
            CHECK_STR(p.err, lists_stats(&p).error);
            snprintf(next, sizeof(next), s->form, ++kills);
            check_old(&p, next);
        }
    }
    printf("# %d kills\n", kills);
    end(&p);
    return kills;
}

TEST(kill_9_of_the_child_keeps_the_old_list)
{
    CHECK(kill_child(&ids) >= 14);
}

TEST(kill_9_of_the_child_keeps_the_old_networks)
{
    CHECK(kill_child(&nets) >= 15); /* and while memory is mapped */
}

TEST(a_child_without_memory_for_networks_says_so)
{
    lists_t p;

    begin_as(&p, &nets);
    in_child("map_private", 0, no_memory);
    CHECK_INT(SECKILL_ENOMEM, lists_reload_async(&p));
    CHECK(strstr(p.err, "1 entries: ") != NULL);
    check_old(&p, "2001:db8::9");
    end(&p);
}

TEST(a_child_that_hangs_ends_itself)
{
    const int64_t usual = skl_list_child_limit_ns;
    lists_t p;

    skl_list_child_limit_ns = SKL_NS_PER_SEC;
    begin(&p);
    in_child("random", 0, hang); /* with the index half built */
    CHECK_INT(SECKILL_EIO, lists_reload_async(&p));
    CHECK_STR("the child process that reads took over 1 s", p.err);
    check_old(&p, "next");
    end(&p);
    skl_list_child_limit_ns = usual;
}

TEST(a_child_that_is_stopped_is_killed)
{
    const int64_t usual = skl_list_child_limit_ns;
    lists_t p;

    skl_list_child_limit_ns = SKL_NS_PER_SEC;
    begin(&p);
    in_child("random", 0, stop_itself);
    CHECK_INT(SECKILL_EIO, lists_reload_async(&p));
    CHECK_STR("the child process that reads was ended by signal 9", p.err);
    check_old(&p, "next");
    end(&p);
    skl_list_child_limit_ns = usual;
}

TEST(a_child_without_memory_or_space_says_so)
{
    lists_t p;

    begin(&p);
    in_child("map", 0, no_memory);
    CHECK_INT(SECKILL_EIO, lists_reload_async(&p));
    CHECK(strstr(p.err, "Cannot allocate memory") != NULL);
    check_old(&p, "next");
    in_child("allocate", 0, no_space);
    CHECK_INT(SECKILL_ENOSPACE, lists_reload_async(&p));
    CHECK(strstr(p.err, "are available") != NULL);
    CHECK_INT(1, lists_match(&p, "next"));
    CHECK_INT(1, lists_files(&p));
    end(&p);
}

/* Sleeps, and notes how low its priority is. */
static int show_modesty(void)
{
    char text[16] = "";
    FILE *f = fopen("/proc/self/oom_score_adj", "r");
    const int first = f != NULL && fgets(text, sizeof(text), f) != NULL &&
                      strcmp(text, "1000\n") == 0;

    if (f != NULL) {
        fclose(f);
    }
    return first && scratch_fds() <= 6 ? EDQUOT : EPERM;
}

TEST(a_child_holds_nothing_of_its_parent)
{
    lists_t p;

    begin(&p);
    in_child("random", 0, show_modesty);
    CHECK_INT(SECKILL_EIO, lists_reload_async(&p));
    CHECK(strstr(p.err, "Disk quota exceeded") != NULL);
    end(&p);
}

/* ---- A thread that cannot map what is in force --------------------------- */

static _Atomic int maps_to_fail;

static int fail_maps_here(const char *call)
{
    return getpid() == hook_parent && strcmp(call, "map") == 0 &&
                   atomic_fetch_sub(&maps_to_fail, 1) > 0
               ? ENOMEM
               : 0;
}

TEST(the_thread_maps_later_what_it_could_not_map)
{
    lists_t p;

    begin(&p);
    lists_replace(&p, "new\n", 4);
    hook_parent = getpid();
    atomic_store(&maps_to_fail, 2);
    skl_os_fault = fail_maps_here;
    CHECK_INT(SECKILL_EIO, lists_reload_async(&p));
    CHECK_INT(1, lists_await(&p, "new", 1));
    CHECK_INT(0, lists_match(&p, "old"));
    CHECK_INT(2, lists_stats(&p).generation);
    end(&p);
}

/* ---- The thread goes on -------------------------------------------------- */

static int wait_for_file(void)
{
    while (access(scratch_path("go"), F_OK) != 0) {
        lists_pause();
    }
    return 0;
}

TEST(the_thread_maps_and_sweeps_while_the_child_builds)
{
    seckill_list_options_t o;
    seckill_list_t *slow;
    seckill_event_t e;
    uint64_t ticket;
    int done = 0;
    lists_t p;

    begin(&p);
    slow = p.list;
    o = lists_options(&p);
    o.watch = 2;
    CHECK_INT(0, lists_open_as(&p, "other", &o));
    in_child("random", 0, wait_for_file);
    CHECK_INT(0, seckill_list_reload_async(slow, &ticket));
    for (int i = 0; i < 20; i++) { /* another process loads the other list */
        char line[16], word[16];
        pid_t pid;

        snprintf(word, sizeof(word), "w%d", i);
        snprintf(line, sizeof(line), "w%d\n", i);
        lists_replace(&p, line, strlen(line));
        pid = fork();
        if (pid == 0) {
            skl_os_fault = NULL;
            _exit(lists_reload(&p) != 0);
        }
        CHECK_INT(0, scratch_wait(pid));
        CHECK(lists_await(&p, word, 1));
    }
    CHECK_INT(0, seckill_cq_pop(p.sk, &e, 1) && e.ticket == ticket);
    skl_os_fault = NULL;
    lists_write(scratch_path("go"), "", 0);
    while (!done && seckill_cq_wait(p.sk, LISTS_DEADLINE_MS)) {
        while (seckill_cq_pop(p.sk, &e, 1) == 1) {
            done |= e.ticket == ticket && e.rc == 0;
        }
    }
    CHECK(done);
    CHECK_INT(0, unlink(scratch_path("go")));
    end(&p);
}

TEST(a_stop_ends_the_child)
{
    uint64_t ticket;
    lists_t p;

    begin(&p);
    in_child("random", 0, hang);
    CHECK_INT(0, seckill_list_reload_async(p.list, &ticket));
    while (lists_files(&p) < 2) {
        lists_pause();
    }
    seckill_stop(p.sk);
    CHECK(no_children());
    CHECK_INT(0, lists_start(&p));
    check_old(&p, "next");
    end(&p);
}

/* ---- The parent dies ----------------------------------------------------- */

static lists_t dying;

static int load_and_hang(void *arg)
{
    uint64_t ticket;

    (void)arg;
    if (lists_start(&dying) != 0) {
        return 1;
    }
    in_child("random", 0, hang);
    (void)seckill_list_reload_async(dying.list, &ticket);
    for (;;) {
        pause();
    }
}

TEST(a_parent_that_dies_takes_its_child_along)
{
    seckill_list_options_t o;
    pid_t pid;

    lists_begin(&dying, 0, 16);
    lists_text(&dying, "old\n");
    o = lists_options(&dying);
    o.watch = 2;
    CHECK_INT(0, lists_open_as(&dying, "l", &o));
    CHECK_INT(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
    for (int i = 0; i < 5; i++) {
        pid = scratch_fork(load_and_hang, NULL);
        while (lists_files(&dying) < 2) {
            lists_pause();
        }
        kill(pid, SIGKILL);
        CHECK_INT(1000 + SIGKILL, scratch_wait(pid));
        CHECK_INT(0, scratch_wait(-1) > 0); /* the child, by itself */
        CHECK_INT(1, lists_files(&dying));
        CHECK_INT(1, lists_match(&dying, "old"));
        CHECK_INT(0, lists_reload(&dying));
    }
    CHECK_INT(0, prctl(PR_SET_CHILD_SUBREAPER, 0));
    lists_lose(&dying);
}

static const char *loader_call;
static int loader_after;

static int die_in_loader(const char *call)
{
    if (getpid() == hook_parent && strcmp(call, loader_call) == 0 &&
        loader_after-- == 0) {
        kill(getpid(), SIGKILL);
    }
    return 0;
}

static int load_and_die(void *arg)
{
    (void)arg;
    if (lists_start(&dying) != 0) {
        return 1;
    }
    hook_parent = getpid();
    skl_os_fault = die_in_loader;
    return lists_reload_async(&dying) == 0 ? 0 : 2;
}

TEST(kill_9_of_the_loader_at_every_call_keeps_a_whole_list)
{
    const char *calls[] = {"unlink", "rename", "touch", "open", "fstat", "map"};
    seckill_list_options_t o;
    int kills = 0, number = 0;
    char line[32], word[16], before[16];

    lists_begin(&dying, 0, 16);
    lists_text(&dying, "v0\n");
    o = lists_options(&dying);
    o.watch = 2;
    CHECK_INT(0, lists_open_as(&dying, "l", &o));
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        for (int after = 0, died = 1; died && after < 40; after++) {
            snprintf(before, sizeof(before), "v%d", number);
            snprintf(word, sizeof(word), "v%d", ++number);
            snprintf(line, sizeof(line), "v%d\n", number);
            lists_replace(&dying, line, strlen(line));
            loader_call = calls[i];
            loader_after = after;
            died = scratch_run(load_and_die, NULL) == 1000 + SIGKILL;
            kills += died;
            CHECK_INT(1,
                      lists_match(&dying, before) + lists_match(&dying, word));
            CHECK_INT(0, lists_reload(&dying));
            CHECK_INT(1, lists_match(&dying, word));
            CHECK_INT(0, lists_match(&dying, before));
            CHECK_INT(1, lists_files(&dying));
        }
    }
    printf("# %d kills\n", kills);
    CHECK(kills >= 6); /* when some calls are made is chance */
    lists_lose(&dying);
}

/* ---- Memory comes back --------------------------------------------------- */

static long rss_kb(void)
{
    char line[128];
    long kb = -1;
    FILE *f = fopen("/proc/self/status", "r");

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            kb = strtol(line + 6, NULL, 10);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return kb;
}

static uint64_t tmpfs_used(const char *dir)
{
    struct statvfs st;

    if (statvfs(dir, &st) != 0) {
        return 0;
    }
    return (uint64_t)(st.f_blocks - st.f_bfree) * st.f_bsize;
}

/* Index files that this process has mapped, removed ones included: with the
 * names that are left all that a list has on the file system. */
static int mapped_indexes(const lists_t *p)
{
    char line[512], part[128];
    int n = 0;
    FILE *f = fopen("/proc/self/maps", "r");

    snprintf(part, sizeof(part), "%s/seckill.t.d/list.", p->dir);
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        n += strstr(line, part) != NULL;
    }
    if (f != NULL) {
        fclose(f);
    }
    return n;
}

enum { SWAP_IDS = 100000 }; /* an index of 1.4 MB */

static void write_many(const lists_t *p, int number)
{
    static char text[SWAP_IDS * 16];
    size_t used = 0;

    for (int i = 0; i < SWAP_IDS; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%d\n",
                                 number + i);
    }
    lists_replace(p, text, used);
}

TEST(memory_is_returned_after_each_swap)
{
    const int swaps = tap_full() ? 200 : 20;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    const long slack_kb = 1024; /* below one index */
#endif
    uint64_t used_before = 0;
    long before = 0;
    char word[16];
    lists_t p;

    begin(&p);
    for (int i = 0; i < swaps; i++) {
        write_many(&p, i);
        CHECK_INT(0, lists_reload_async(&p));
        snprintf(word, sizeof(word), "%d", SWAP_IDS + i - 1);
        CHECK_INT(1, lists_match(&p, word)); /* takes over, lets go */
        CHECK_INT(1, lists_files(&p));
        if (i == 4) { /* allocators have what they need */
            before = rss_kb();
            used_before = tmpfs_used(p.dir);
        }
    }
    for (int i = 0; i < LISTS_DEADLINE_MS && mapped_indexes(&p) > 1; i++) {
        lists_pause(); /* the io thread unmaps at its next tick */
    }
    printf("# RSS %ld kB before, %ld kB after; tmpfs %" PRIu64 ", %" PRIu64
           " bytes\n",
           before, rss_kb(), used_before, tmpfs_used(p.dir));
    CHECK_INT(1, mapped_indexes(&p));
    CHECK(lists_stats(&p).bytes > 1400000);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    CHECK(rss_kb() <= before + slack_kb);
#endif
    end(&p);
}

/* ---- Readers ------------------------------------------------------------- */

enum { READERS = 4, WIDTH = 200 };

/* Generation g denies the numbers of its parity, with the reason "g". */
static void write_generation(const lists_t *p, int g)
{
    char text[WIDTH * 32];
    size_t used = 0;

    for (int i = 0; i < WIDTH; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%d\t\t%d\n",
                                 i * 2 + g % 2, g);
    }
    lists_replace(p, text, used);
}

typedef struct {
    lists_t *place;
    int last;
} reader_t;

/* Every answer is of one whole generation, and they never go back: of a pair of
 * numbers that is asked for within one of them exactly one is denied. */
static int read_until(void *arg)
{
    const reader_t *r = arg;
    lists_t *p = r->place;
    uint64_t pairs = 0;
    int newest = 0;

    alarm(600);
    if (lists_start(p) != 0) {
        return 1;
    }
    while (newest < r->last) {
        for (int i = 0; i < WIDTH; i++) {
            const uint64_t word = p->list->view->word;
            int denied = 0, seen = 0;

            for (int odd = 0; odd < 2; odd++) {
                const char *reason;
                char value[16];
                size_t len;
                int n = snprintf(value, sizeof(value), "%d", i * 2 + odd);

                if (seckill_list_match(p->list, value, (size_t)n, 0, &reason,
                                       &len) == 1) {
                    const int g = (int)strtol(reason, NULL, 10);

                    if (g < newest || g % 2 != odd || len == 0) {
                        return 2;
                    }
                    denied++;
                    seen = g;
                }
            }
            if (word == p->list->view->word) {
                pairs++;
                if (denied != 1) {
                    return 3;
                }
            }
            newest = seen > newest ? seen : newest;
        }
    }
    return pairs > 0 ? 0 : 4;
}

TEST(four_readers_see_whole_generations)
{
    const int last = tap_full() ? 1000 : 100;
    pid_t pids[READERS];
    reader_t r;
    lists_t p;

    lists_begin(&p, 0, 16);
    write_generation(&p, 1);
    CHECK_INT(0, lists_open(&p));
    r.place = &p;
    r.last = last;
    for (int i = 0; i < READERS; i++) {
        pids[i] = scratch_fork(read_until, &r);
    }
    CHECK_INT(0, lists_start(&p));
    for (int g = 2; g <= last; g++) {
        write_generation(&p, g);
        CHECK_INT(0, lists_reload_async(&p));
    }
    for (int i = 0; i < READERS; i++) {
        CHECK_INT(0, scratch_wait(pids[i]));
    }
    CHECK(lists_stats(&p).generation >= (uint64_t)last);
    /* A reader may have ended in the middle of a load of its own. */
    seckill_stop(p.sk);
    CHECK_INT(0, lists_reload(&p));
    CHECK_INT(1, lists_files(&p));
    lists_lose(&p);
}

TAP_MAIN()
