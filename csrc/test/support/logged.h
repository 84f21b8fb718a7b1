/*
 * logged.h - engines with a directory, and lives of them, for C tests; header
 * only.
 *
 * A place is a pair of fresh directories (segment and data) and a page that
 * its processes share. A life is a child process: it opens the engine by
 * itself, works, and ends as the test says, by SIGKILL mostly. What it was
 * told it notes in the page, so that the next life can compare. In a life
 * NEED() takes the place of CHECK(): it says what failed and ends the life.
 *
 * Threads: one of each process, unless a test starts others.
 */
#ifndef SKL_TEST_LOGGED_H
#define SKL_TEST_LOGGED_H

#include "base/os.h"
#include "seckill_internal.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <errno.h>
#include <stdatomic.h>

#define SEC 1000000000LL
#define MS 1000000LL
#define FOREVER (20 * SEC) /* of waits that end before */

enum { NOTES = 512, WORDS = 16 };

/* An order and the answer to it. */
typedef struct {
    char request[24];
    char id[SECKILL_ID_MAX];
    uint32_t id_len;
    int durable; /* it was waited for */
    int lost;    /* a life was told that it is not there */
    int confirmed;
    uint64_t lsn;
} note_t;

typedef struct {
    _Atomic uint32_t words[WORDS];
    int count;
    note_t notes[NOTES];
    uint32_t incarnation; /* of the life that looked last */
    int64_t number;       /* whatever a test wants to pass on */
} page_t;

typedef struct {
    char shm[128], dir[128];
    const char *name;
    page_t *page;
    seckill_options_t o;
    const char *how; /* for a life that can be told */
} place_t;

static char logged_err[512];
/* Handles live as long as the process. */
static seckill_t *logged_kept[64];
static int logged_kept_count;

#define NEED(cond)                                                             \
    do {                                                                       \
        if (!(cond)) {                                                         \
            printf("# %s:%d: failed in a child: %s\n", __FILE__, __LINE__,     \
                   #cond);                                                     \
            (void)fflush(stdout);                                              \
            return 1;                                                          \
        }                                                                      \
    } while (0)
/* The same for two codes. */
#define NEED_RC(want, got)                                                     \
    do {                                                                       \
        const int got_ = (got);                                                \
        if ((want) != got_) {                                                  \
            printf("# %s:%d: failed in a child: %s: %s %s\n", __FILE__,        \
                   __LINE__, #got, seckill_errname(got_), logged_err);         \
            (void)fflush(stdout);                                              \
            return 1;                                                          \
        }                                                                      \
    } while (0)

/* ---- Places -------------------------------------------------------------- */

static inline void place_new(place_t *p)
{
    static int number;

    memset(p, 0, sizeof(*p));
    number++;
    (void)snprintf(p->shm, sizeof(p->shm), "%s/shm%d", scratch_dir(), number);
    (void)snprintf(p->dir, sizeof(p->dir), "%s/dir%d", scratch_dir(), number);
    if (mkdir(p->shm, 0755) != 0) {
        perror(p->shm);
        exit(1);
    }
    p->name = "shop";
    p->page = scratch_shared(sizeof(*p->page));
    p->o = (seckill_options_t){.struct_size = sizeof(p->o),
                               .name = p->name,
                               .items = 8,
                               .reservations = 4096,
                               .users = 4096,
                               .requests = 8192,
                               .limit_keys = 16,
                               .limiters = 1,
                               .lists = 1,
                               .list_overlay = 16,
                               .log_units = 4096,
                               .log_segment_bytes = 2 << 20,
                               .max_log_bytes = 64 << 20};
}

static inline seckill_options_t place_options(const place_t *p)
{
    seckill_options_t o = p->o;

    o.shm_dir = p->shm;
    o.dir = p->dir;
    return o;
}

/* Path of a file of the data directory, in one of 4 buffers. */
static inline const char *place_file(const place_t *p, const char *name)
{
    static char paths[4][400];
    static int turn;
    char *path = paths[turn++ % 4];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s", p->dir, name);
    return path;
}

static inline const char *place_segment(const place_t *p)
{
    static char path[200];

    (void)snprintf(path, sizeof(path), "%s/seckill.%s", p->shm, p->name);
    return path;
}

/* ---- Words between processes --------------------------------------------- */

static inline void place_tell(const place_t *p, int word, uint32_t value)
{
    atomic_store(&p->page->words[word], value);
    skl_os_futex_wake(&p->page->words[word]);
}

/* 1 when the word has reached the value, 0 after a long time. */
static inline int place_await(const place_t *p, int word, uint32_t value)
{
    const int64_t end = seckill_mono_now() + FOREVER;
    uint32_t seen;

    while ((seen = atomic_load(&p->page->words[word])) < value) {
        if (seckill_mono_now() > end) {
            return 0;
        }
        skl_os_futex_wait(&p->page->words[word], seen, SEC);
    }
    return 1;
}

/* ---- Opening ------------------------------------------------------------- */

static inline int place_try(const seckill_options_t *o, seckill_t **sk)
{
    *sk = NULL;
    return seckill_open(o, sk, logged_err, sizeof(logged_err));
}

static inline seckill_t *place_open(const place_t *p)
{
    const seckill_options_t o = place_options(p);
    seckill_t *sk;
    int rc = place_try(&o, &sk);

    if (rc != SECKILL_OK) {
        printf("# open: %s: %s\n", seckill_errname(rc), logged_err);
        (void)fflush(stdout);
    } else {
        logged_kept[logged_kept_count++ % 64] = sk;
    }
    return sk;
}

static inline int place_start(seckill_t *sk)
{
    return seckill_start(sk, logged_err, sizeof(logged_err));
}

/* ---- What lives do ------------------------------------------------------- */

static inline int log_put_version(seckill_t *sk, const char *name,
                                  int64_t total, int64_t version)
{
    seckill_item_t i = {.struct_size = sizeof(i),
                        .item_len = (uint32_t)strlen(name),
                        .total = total,
                        .hold_ns = 600 * SEC,
                        .version = version};

    memcpy(i.item, name, strlen(name));
    return seckill_put(sk, &i);
}

static inline int log_put(seckill_t *sk, const char *name, int64_t total)
{
    return log_put_version(sk, name, total, 1);
}

static inline int log_reserve(seckill_t *sk, const char *request,
                              seckill_reservation_t *r)
{
    return seckill_reserve(sk, "shoe", 4, request, strlen(request), 1, request,
                           strlen(request), r);
}

/* Reserve and note the answer. */
static inline int note_reserve(place_t *p, seckill_t *sk)
{
    seckill_reservation_t r;
    note_t *n = &p->page->notes[p->page->count];
    int rc;

    if (p->page->count == NOTES) {
        return SECKILL_EFULL;
    }
    (void)snprintf(n->request, sizeof(n->request), "r%d", p->page->count);
    rc = log_reserve(sk, n->request, &r);
    if (rc == SECKILL_OK) {
        memcpy(n->id, r.id, r.id_len);
        n->id_len = r.id_len;
        n->lsn = seckill_answer_lsn();
        p->page->count++;
    }
    return rc;
}

static inline int note_reserve_durably(place_t *p, seckill_t *sk)
{
    int rc = note_reserve(p, sk);

    if (rc == SECKILL_OK) {
        note_t *n = &p->page->notes[p->page->count - 1];

        rc = seckill_sync_wait(sk, n->lsn, FOREVER);
        n->durable = rc == SECKILL_OK;
    }
    return rc;
}

static inline int note_confirm(const place_t *p, seckill_t *sk, int i)
{
    note_t *n = &p->page->notes[i];
    int rc = seckill_confirm(sk, n->id, n->id_len);

    n->confirmed |= rc == SECKILL_OK;
    return rc;
}

static inline uint32_t log_incarnation(seckill_t *sk)
{
    return sk->log.writer.shm->incarnation;
}

static inline uint64_t log_segments_begun(const seckill_t *sk)
{
    return atomic_load(&sk->log.writer.shm->last_seq);
}

/* Everything is in the file, so that it can be compared; 0, or the problems. */
static inline int log_problems(const place_t *p, seckill_t *sk)
{
    char text[512] = "";
    int rc = seckill_sync_wait(sk, seckill_lsn(sk), FOREVER);

    rc = rc == SECKILL_OK ? seckill_audit(sk, text, sizeof(text)) : rc;
    rc = rc == SECKILL_OK ? seckill_verify(sk, p->dir, text, sizeof(text)) : rc;
    if (rc != 0) {
        printf("# %d: %s %s\n", rc, rc < 0 ? seckill_errname(rc) : "problems",
               text);
        (void)fflush(stdout);
    }
    return rc;
}

/* The ledger has every order that it must have, as it was told; the others are
 * marked as lost, and their ids are unknown. */
static inline int log_has_notes(const place_t *p, seckill_t *sk, int all)
{
    for (int i = 0; i < p->page->count; i++) {
        note_t *n = &p->page->notes[i];
        seckill_reservation_t r;
        int rc = seckill_find(sk, n->request, strlen(n->request), &r);

        if (rc == SECKILL_EUNKNOWNREQUEST && !all && !n->durable) {
            NEED_RC(SECKILL_EUNKNOWNRESERVATION,
                    seckill_confirm(sk, n->id, n->id_len));
            n->lost = 1;
            continue;
        }
        NEED_RC(SECKILL_OK, rc);
        NEED(!n->lost);
        NEED(r.id_len == n->id_len && memcmp(r.id, n->id, r.id_len) == 0);
        NEED(r.state == (uint32_t)(n->confirmed ? SECKILL_STATE_CONFIRMED
                                                : SECKILL_STATE_RESERVED));
    }
    return 0;
}

/* Run a life that ends by itself, and one that is to be killed by its own
 * hand. */
static inline int life_ends(int (*life)(void *), place_t *p)
{
    return scratch_run(life, p);
}

enum { KILLED = 1000 + SIGKILL };

static inline int die(void)
{
    (void)fflush(stdout);
    (void)raise(SIGKILL);
    return 0;
}

#endif
