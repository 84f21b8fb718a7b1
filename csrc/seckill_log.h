/*
 * The log of an engine: how opening, the threads and the public functions of
 * seckill.h's section "Log on disk" reach io/. One per handle.
 */
#ifndef SECKILL_LOG_H
#define SECKILL_LOG_H

#include "io/snapshot_child.h"
#include "io/wal_dir.h"
#include "io/wal_identity.h"
#include "io/wal_write.h"
#include "seckill.h"
#include "shm/segment.h"

typedef struct {
    skl_wal_dir_t dir;
    skl_identity_t identity;
    skl_wal_writer_t writer; /* shm NULL: there is no log */
    char path[SKL_WAL_DIR];
    uint32_t flush_seen, durable_seen; /* words before the last step */
    uint64_t notified; /* durable LSN that the event loop was last told of */
    _Atomic int asked; /* the event loop waits for a step */
    int attached;
    int is_new; /* the identity is not written yet */
    /* Of the sweeper's thread. */
    skl_snapshot_child_t child;
    uint64_t child_seq; /* newest full segment when it was started */
    int64_t rebuild_at; /* mono */
    int64_t child_at;   /* mono; no other one before it */
    int64_t recycle_at; /* nor one that has nothing new */
} seckill_log_t;

/* Opening, in this order. The functions return codes of seckill_open. */
/* 1. Enter the directory, read or make its identity, fill `want` from it. */
int seckill_log_enter(seckill_t *sk, const seckill_options_t *o,
                      skl_config_t *want, char *err, size_t err_size);
/* 2. As skl_layout_t.fill: recover into a segment that is being made. */
int seckill_log_fill(void *sk, skl_header_t *h, char *err, size_t err_size);
/* 3. The segment is attached. 1: it is not the log's: make it anew. */
int seckill_log_adopt(seckill_t *sk, const seckill_options_t *o, char *err,
                      size_t err_size);
/* Undo all of it; also at the last close. */
void seckill_log_leave(seckill_t *sk);

/* Write what waits, in a program whose threads do not run. */
void seckill_log_flush_here(seckill_t *sk);
/* May this process write the log? A worker of a root master may not. EIO. */
int seckill_log_writable(seckill_t *sk, char *err, size_t err_size);
/* For the flush thread. */
int seckill_log_step(seckill_t *sk, int has_role);
void seckill_log_wait(seckill_t *sk, int has_role);
void seckill_log_wake(seckill_t *sk);
/* Rebuild what is under quarantine: how many items, or a code. */
int seckill_log_rebuild(seckill_t *sk);
/* For the sweeper: snapshots, and the above. */
void seckill_log_tick(seckill_t *sk, int64_t mono_now);
void seckill_log_leave_role(seckill_t *sk);
/* After a change: many records wait while the flusher sleeps. */
void seckill_log_nudge(seckill_t *sk);

#endif
