/*
 * lists.h - an engine with access lists in a directory of its own, for tests;
 * header only. With `log` it has a directory on disk, too.
 */
#ifndef SKL_TEST_LISTS_H
#define SKL_TEST_LISTS_H

#include "base/os.h"
#include "seckill.h"
#include "seckill_internal.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

enum { LISTS_DEADLINE_MS = 20000, LISTS_KEPT = 4096 };

typedef struct {
    char dir[100]; /* shm_dir */
    char log[120]; /* "": none */
    char file[120];
    uint32_t overlay;
    uint32_t kind; /* of lists to be opened; 0: ids */
    seckill_t *sk;
    seckill_list_t *list;
    char err[256];
} lists_t;

/* Handles live as long as the process, for robust locks; here they stay in
 * reach, so that the leak checker is content with them only. */
static seckill_t *lists_kept[LISTS_KEPT];
static size_t lists_kept_count;

static inline void lists_pause(void)
{
    const struct timespec ts = {0, 1000000};

    nanosleep(&ts, NULL);
}

/* Open the engine, again after lists_lose. */
static inline int lists_engine(lists_t *p)
{
    const seckill_options_t o = {.struct_size = sizeof(o),
                                 .name = "t",
                                 .shm_dir = p->dir,
                                 .dir = p->log[0] != '\0' ? p->log : NULL,
                                 .log_segment_bytes =
                                     p->log[0] != '\0' ? 2 << 20 : 0,
                                 .items = 4,
                                 .reservations = 16,
                                 .users = 16,
                                 .requests = 16,
                                 .limit_keys = 16,
                                 .limiters = 1,
                                 .lists = 4,
                                 .list_overlay = p->overlay,
                                 .log_units = 64};
    const int rc = seckill_open(&o, &p->sk, p->err, sizeof(p->err));

    if (rc == 0) {
        lists_kept[lists_kept_count++ % LISTS_KEPT] = p->sk;
    } else {
        printf("# %s\n", p->err);
    }
    return rc;
}

static inline void lists_begin(lists_t *p, int with_log, uint32_t overlay)
{
    static int number;
    char name[32];

    memset(p, 0, sizeof(*p));
    snprintf(name, sizeof(name), "%d", ++number);
    snprintf(p->dir, sizeof(p->dir), "%s", scratch_path(name));
    snprintf(p->file, sizeof(p->file), "%s/list.txt", p->dir);
    if (mkdir(p->dir, 0700) != 0) {
        abort();
    }
    if (with_log) {
        snprintf(p->log, sizeof(p->log), "%s/log", p->dir);
    }
    p->overlay = overlay;
    if (lists_engine(p) != 0) {
        abort();
    }
}

/* The memory goes, and with it all that is not on disk. */
static inline void lists_lose(lists_t *p)
{
    seckill_close(p->sk);
    CHECK_INT(0, seckill_destroy("t", p->dir));
    p->sk = NULL;
    p->list = NULL;
}

static inline void lists_again(lists_t *p)
{
    lists_lose(p);
    CHECK_INT(0, lists_engine(p));
}

static inline int lists_start(lists_t *p)
{
    return seckill_start(p->sk, p->err, sizeof(p->err));
}

static inline void lists_write(const char *path, const void *bytes, size_t n)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n || close(fd) != 0) {
        perror(path);
        abort();
    }
}

static inline void lists_text(const lists_t *p, const char *text)
{
    lists_write(p->file, text, strlen(text));
}

/* Write beside and rename over. */
static inline void lists_replace(const lists_t *p, const void *bytes, size_t n)
{
    char temp[140];

    snprintf(temp, sizeof(temp), "%s.new", p->file);
    lists_write(temp, bytes, n);
    if (rename(temp, p->file) != 0) {
        abort();
    }
}

static inline seckill_list_options_t lists_options(const lists_t *p)
{
    const seckill_list_options_t o = {.struct_size = sizeof(o),
                                      .kind = p->kind != 0 ? p->kind
                                                           : SECKILL_LIST_ID,
                                      .file = p->file,
                                      .settle_ms = 5};

    return o;
}

static inline int lists_open_as(lists_t *p, const char *name,
                                const seckill_list_options_t *o)
{
    return seckill_list_open(p->sk, name, o, &p->list, p->err, sizeof(p->err));
}

/* The list "l" of the file. */
static inline int lists_open(lists_t *p)
{
    const seckill_list_options_t o = lists_options(p);

    return lists_open_as(p, "l", &o);
}

/* The list "l" without a file. */
static inline int lists_open_bare(lists_t *p)
{
    seckill_list_options_t o = lists_options(p);

    o.file = NULL;
    return lists_open_as(p, "l", &o);
}

static inline int lists_reload(lists_t *p)
{
    return seckill_list_reload(p->list, p->err, sizeof(p->err));
}

/* By the io thread: the code of its answer. */
static inline int lists_reload_async(lists_t *p)
{
    seckill_event_t e;
    uint64_t ticket;
    int rc = seckill_list_reload_async(p->list, &ticket);

    while (rc == 0 && seckill_cq_wait(p->sk, LISTS_DEADLINE_MS)) {
        while (seckill_cq_pop(p->sk, &e, 1) == 1) {
            if (e.ticket == ticket) {
                snprintf(p->err, sizeof(p->err), "%.239s", e.text);
                return e.rc;
            }
        }
    }
    return rc != 0 ? rc : SECKILL_ETIMEDOUT;
}

static inline int lists_match(lists_t *p, const char *value)
{
    const char *reason;
    size_t len;

    return seckill_list_match(p->list, value, strlen(value), 0, &reason, &len);
}

static inline int lists_add(lists_t *p, const char *value, int64_t ttl_ns)
{
    return seckill_list_add(p->list, value, strlen(value), ttl_ns, 0);
}

static inline int lists_remove(lists_t *p, const char *value)
{
    return seckill_list_remove(p->list, value, strlen(value), 0);
}

static inline seckill_list_stats_t lists_stats(lists_t *p)
{
    seckill_list_stats_t s;

    seckill_list_stats(p->list, &s);
    return s;
}

/* Ask until the answer is `want`. */
static inline int lists_await(lists_t *p, const char *value, int want)
{
    for (int i = 0; i < LISTS_DEADLINE_MS; i++) {
        if (lists_match(p, value) == want) {
            return 1;
        }
        lists_pause();
    }
    return 0;
}

/* Until every change is in the log. */
static inline int lists_saved(lists_t *p)
{
    for (int i = 0; i < LISTS_DEADLINE_MS; i++) {
        if (lists_stats(p).overlay_unsaved == 0) {
            return 1;
        }
        lists_pause();
    }
    return 0;
}

/* Files "list.*" in the directory of the segment. */
static inline int lists_files(const lists_t *p)
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

#endif
