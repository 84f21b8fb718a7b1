/*
 * ledger.h - a private stock ledger for a C test; header only.
 *
 * ledger_open() makes a segment of its own in a fresh tmpfs directory, with
 * small tables unless the test says otherwise, stops its clock at LEDGER_T0
 * and attaches the memory sink. ledger_close() audits it, compares it with a
 * ledger rebuilt from its records, and removes it: a test that ends with it
 * has proved that its state is sound and that the log says all of it.
 *
 * Threads: one, unless a test passes l->sk around itself.
 */
#ifndef SKL_TEST_LEDGER_H
#define SKL_TEST_LEDGER_H

#include "seckill_internal.h"
#include "test/support/tap.h"

#include <unistd.h>

#define SEC 1000000000LL
#define MS 1000000LL
/* 2026-01-01, a time like any other. */
#define LEDGER_T0 (1767225600LL * SEC)
#define LEDGER_WINDOW (60 * SEC)

typedef struct {
    seckill_t *sk;
    char dir[64];
    int64_t now;
    seckill_reservation_t r; /* the last answer */
} ledger_t;

/* Handles outlive their close (seckill.c): the leak check must see them. */
static seckill_t *ledger_kept[TAP_TESTS_MAX * 8];
static size_t ledger_kept_count;

static inline seckill_options_t ledger_options(void)
{
    seckill_options_t o = {.struct_size = sizeof(o),
                           .name = "test",
                           .window_ns = LEDGER_WINDOW,
                           .items = 8,
                           .reservations = 64,
                           .users = 64,
                           .requests = 128,
                           .limit_keys = 1,
                           .limiters = 1,
                           .lists = 1,
                           .list_overlay = 1,
                           .log_units = 4096};

    return o;
}

/* The clock of the ledger; it may also be set back. */
static inline void ledger_at(ledger_t *l, int64_t now)
{
    l->now = now;
    seckill_set_test_clock(l->sk, now);
}

static inline void ledger_pass(ledger_t *l, int64_t ns)
{
    ledger_at(l, l->now + ns);
}

static inline int ledger_open_with(ledger_t *l, seckill_options_t o)
{
    char err[256] = "";
    int rc;

    memset(l, 0, sizeof(*l));
    snprintf(l->dir, sizeof(l->dir), "/dev/shm/seckill-ledger.%d.XXXXXX",
             (int)getpid());
    if (!CHECK(mkdtemp(l->dir) != NULL)) {
        return 0;
    }
    o.shm_dir = l->dir;
    rc = seckill_open(&o, &l->sk, err, sizeof(err));
    if (!CHECK_INT(SECKILL_OK, rc)) {
        printf("#   %s\n", err);
        return 0;
    }
    ledger_at(l, LEDGER_T0);
    return CHECK_INT(SECKILL_OK, seckill_sink_attach(l->sk));
}

static inline int ledger_open(ledger_t *l)
{
    return ledger_open_with(l, ledger_options());
}

/* The state is sound, and the records alone make it. */
static inline int ledger_sound(ledger_t *l)
{
    char text[512] = "";
    int good = CHECK_INT(0, seckill_audit(l->sk, text, sizeof(text)));

    if (!good) {
        printf("#   %s\n", text);
    }
    text[0] = '\0';
    if (!CHECK_INT(0, seckill_sink_compare(l->sk, text, sizeof(text)))) {
        printf("#   %s\n", text);
        good = 0;
    }
    return good;
}

/* Remove the ledger without a look at it. */
static inline void ledger_drop(ledger_t *l)
{
    seckill_close(l->sk);
    CHECK_INT(SECKILL_OK, seckill_destroy("test", l->dir));
    CHECK_INT(0, rmdir(l->dir));
    skl_memory_sink_free(l->sk->sink);
    l->sk->sink = NULL;
    ledger_kept[ledger_kept_count++ % (TAP_TESTS_MAX * 8)] = l->sk;
}

static inline void ledger_close(ledger_t *l)
{
    ledger_sound(l);
    ledger_drop(l);
}

/* ---- The API with C strings ---------------------------------------------- */

static inline seckill_item_t ledger_item(const char *name, int64_t total)
{
    seckill_item_t i = {.struct_size = sizeof(i),
                        .item_len = (uint32_t)strlen(name),
                        .total = total,
                        .hold_ns = 10 * SEC,
                        .version = 1};

    memcpy(i.item, name, strlen(name));
    return i;
}

static inline int ledger_put(ledger_t *l, const char *name, int64_t total)
{
    seckill_item_t i = ledger_item(name, total);

    return seckill_put(l->sk, &i);
}

static inline int ledger_reserve(ledger_t *l, const char *item,
                                 const char *user, int64_t qty,
                                 const char *request)
{
    return seckill_reserve(l->sk, item, strlen(item), user, strlen(user), qty,
                           request, strlen(request), &l->r);
}

static inline int ledger_confirm(ledger_t *l, const char *id)
{
    return seckill_confirm(l->sk, id, strlen(id));
}

static inline int ledger_cancel(ledger_t *l, const char *id)
{
    return seckill_cancel(l->sk, id, strlen(id));
}

static inline int ledger_refund(ledger_t *l, const char *id,
                                const char *request)
{
    return seckill_refund(l->sk, id, strlen(id), request, strlen(request));
}

static inline int ledger_adjust(ledger_t *l, const char *item, int64_t delta,
                                const char *request)
{
    return seckill_adjust(l->sk, item, strlen(item), delta, request,
                          strlen(request));
}

static inline int ledger_find(ledger_t *l, const char *request)
{
    return seckill_find(l->sk, request, strlen(request), &l->r);
}

static inline int ledger_remove(ledger_t *l, const char *item)
{
    return seckill_remove(l->sk, item, strlen(item));
}

static inline int ledger_sweep(ledger_t *l)
{
    return seckill_sweep(l->sk, 1 << 20);
}

/* The item; one of zeros when there is none. */
static inline seckill_item_t ledger_get(ledger_t *l, const char *item)
{
    seckill_item_t i;

    if (seckill_get(l->sk, item, strlen(item), &i) != SECKILL_OK) {
        memset(&i, 0, sizeof(i));
    }
    return i;
}

/* The id of the last answer, as a string of its own. */
static inline const char *ledger_id(const ledger_t *l, char *buf)
{
    memcpy(buf, l->r.id, l->r.id_len);
    buf[l->r.id_len] = '\0';
    return buf;
}

#define CHECK_RC(want, got)                                                    \
    CHECK_STR(seckill_errname(want), seckill_errname(got))
#define CHECK_COUNTS(l, name, want_available, want_reserved, want_sold)        \
    do {                                                                       \
        seckill_item_t seen_ = ledger_get((l), (name));                        \
        CHECK_INT((want_available), seen_.available);                          \
        CHECK_INT((want_reserved), seen_.reserved);                            \
        CHECK_INT((want_sold), seen_.sold);                                    \
    } while (0)

#endif
