/*
 * engine.h - small engines with a log in the scratch directory, for tests of
 * opening one again; header only. One item, "cup".
 */
#ifndef SKL_TEST_ENGINE_H
#define SKL_TEST_ENGINE_H

#include "base/clock.h"
#include "seckill_internal.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#define SEC 1000000000LL
#define HOUR (3600 * SEC)
#define HOLD (100 * SEC)
#define ENGINES 2048

static char engine_err[512];
static seckill_reservation_t engine_last; /* what the last call answered */
static seckill_t *engine_kept[ENGINES];   /* handles outlive their close */
static int engine_count;

/* Segment `name` on the log in `dir`: a code, and the engine or NULL. */
static inline int engine_try(const char *name, const char *dir, seckill_t **out)
{
    const seckill_options_t o = {.struct_size = sizeof(o),
                                 .name = name,
                                 .shm_dir = scratch_dir(),
                                 .dir = scratch_path(dir),
                                 .window_ns = HOUR,
                                 .log_segment_bytes = 2 << 20,
                                 .items = 8,
                                 .reservations = 512,
                                 .users = 512,
                                 .requests = 1024,
                                 .limit_keys = 64,
                                 .limiters = 1,
                                 .lists = 1,
                                 .list_overlay = 64,
                                 .breakers = 1,
                                 .shedders = 1,
                                 .permits = 64,
                                 .log_units = 4096};
    int rc = seckill_open(&o, out, engine_err, sizeof(engine_err));

    if (rc == SECKILL_OK && engine_count < ENGINES) {
        engine_kept[engine_count++] = *out;
    }
    return rc;
}

static inline seckill_t *engine_open_as(const char *name, const char *dir)
{
    seckill_t *sk = NULL;

    CHECK_INT(SECKILL_OK, engine_try(name, dir, &sk));
    CHECK_STR("", engine_err);
    return sk;
}

static inline seckill_t *engine_open(const char *name)
{
    return engine_open_as(name, name);
}

static inline int engine_put(seckill_t *sk, int64_t total)
{
    const seckill_item_t i = {.struct_size = sizeof(i),
                              .item_len = 3,
                              .item = "cup",
                              .total = total,
                              .hold_ns = HOLD,
                              .version = 1};

    return seckill_put(sk, &i);
}

static inline int engine_reserve(seckill_t *sk, const char *id)
{
    return seckill_reserve(sk, "cup", 3, id, strlen(id), 1, id, strlen(id),
                           &engine_last);
}

static inline int engine_find(seckill_t *sk, const char *id)
{
    return seckill_find(sk, id, strlen(id), &engine_last);
}

/* Also because a leap of the clock is a lag of the log. */
static inline void engine_flush(seckill_t *sk)
{
    CHECK_INT(SECKILL_OK, seckill_sync_wait(sk, seckill_lsn(sk), 10 * SEC));
}

static inline void engine_end(seckill_t *sk, const char *name)
{
    seckill_close(sk);
    CHECK_INT(SECKILL_OK, seckill_destroy(name, scratch_dir()));
}

/* All processes die, and their memory goes. */
static inline seckill_t *engine_again(seckill_t *sk, const char *name)
{
    engine_flush(sk);
    engine_end(sk, name);
    return engine_open(name);
}

/* What the snapshot process does in one run; how many snapshots. */
static inline int engine_snapshots(const char *dir)
{
    seckill_snapshot_t *s;
    uint64_t done, total;
    int n = 0, rc;

    while ((rc = seckill_snapshot_begin(scratch_path(dir), &s, engine_err,
                                        sizeof(engine_err))) == SECKILL_OK) {
        while ((rc = seckill_snapshot_step(s, 1000, &done, &total)) == 1) {
        }
        CHECK_STR("", seckill_snapshot_error(s));
        seckill_snapshot_end(s);
        if (rc != 0 || ++n == 100) {
            break;
        }
    }
    CHECK_INT(SECKILL_ENOTFOUND, rc);
    return n;
}

/* The log of a directory, checked whole. */
static inline void engine_verify(const char *dir)
{
    CHECK_INT(0, seckill_verify(NULL, scratch_path(dir), engine_err,
                                sizeof(engine_err)));
    CHECK_STR("", engine_err);
}

#endif
