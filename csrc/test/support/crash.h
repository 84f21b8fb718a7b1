/*
 * crash.h - a tiny ledger whose bytes a test can copy, put back and compare,
 * to try what follows the death of a process from one and the same state.
 *
 * The segment is a real one, in a fresh tmpfs directory, with a fixed hash key
 * and a stopped clock. An image is a copy of its stock and log sections (some
 * 30 KiB) and of the cursors of this process. Putting an image back is allowed
 * while no living process is within a call, or while it is stopped there and
 * the image is of that very moment.
 *
 * crash_owner_died() does to the bytes what the kernel does to the robust
 * locks of a process that dies.
 *
 * Threads: one.
 */
#ifndef SKL_TEST_CRASH_H
#define SKL_TEST_CRASH_H

#include "seckill_internal.h"

#include <sys/types.h>

enum { CRASH_LOCKS = 16, CRASH_RECORDS = 512 };

/* 2026-01-01; one instruction-stepped world has one time unless it says so. */
#define CRASH_T0 1767225600000000000LL
#define CRASH_SEC 1000000000LL
#define CRASH_WINDOW (60 * CRASH_SEC)

typedef struct {
    unsigned char *bytes;
    skl_stock_t stock;
    uint64_t known;
    int64_t now;
} crash_image_t;

typedef struct {
    seckill_t *sk;
    char dir[64];
    unsigned char *base;
    size_t bytes;
    int64_t now;
    skl_lock_t *locks[CRASH_LOCKS];
    int lock_count;
    uint64_t known; /* records[i] is of LSN i + 1 */
    skl_record_t *records;
    unsigned char *scratch[2];
} crash_world_t;

/* requests above 4096 make two shards. 1, or 0 with a text. */
int crash_open(crash_world_t *w, uint32_t requests, uint64_t key, char *why,
               size_t size);
int crash_close(crash_world_t *w);
void crash_at(crash_world_t *w, int64_t now);

void crash_image_new(const crash_world_t *w, crash_image_t *image);
void crash_image_free(crash_image_t *image);
void crash_save(const crash_world_t *w, crash_image_t *image);
void crash_restore(crash_world_t *w, const crash_image_t *image);

/* Remember the records that are new in the log. 1, or 0: one is missing. */
int crash_note(crash_world_t *w);
/* How many locks are held by pid, or by somebody dead when pid is 0. */
int crash_held(const crash_world_t *w, pid_t pid);
void crash_owner_died(crash_world_t *w, pid_t pid);
/* Take and release every lock, so that all of them are repaired. */
int crash_touch(crash_world_t *w);
/* Any record with parts to apply, or a domain in the middle of a change? */
int crash_unfinished(const crash_world_t *w);

/* The ledger has the state of the image, whoever holds its locks: NULL, or
 * what differs. With `exact` also sequences, lock words and intents. */
const char *crash_differs(crash_world_t *w, const crash_image_t *image,
                          int exact);
/* Audit, and rebuild from the records alone. 1, or 0 with a text. */
int crash_sound(crash_world_t *w, char *why, size_t size);

#endif
