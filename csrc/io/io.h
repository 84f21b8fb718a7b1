/*
 * The threads of one process, and how they reach the event loop.
 *
 * skl_io_start makes two threads (all signals blocked, small stacks):
 *   seckill-io     one poll() loop: wake socket, inotify, list files, sweeping
 *   seckill-flush  calls flush(), and tells it whether it has the role of the
 *                  flusher
 * What a host needs once is a role: a robust lock in the segment that one
 * thread of one process holds for its life. The others try it at every tick
 * (100 ms); when the holder dies the kernel gives it to one of them.
 *
 * Events go to the program through a bounded queue (io/cq.h); a byte on a unix
 * socket, or a condition variable, says that there are some.
 *
 * Calls come from one thread of the program, unless said otherwise. After
 * fork() the child starts threads of its own: skl_io_start again; a child's
 * skl_io_stop leaves the parent's threads and files alone.
 */
#ifndef SKL_IO_IO_H
#define SKL_IO_IO_H

#include "acl/lists.h"
#include "seckill.h"
#include "shm/counters.h"
#include "shm/segment.h"

#include <stddef.h>
#include <stdint.h>

typedef struct skl_io skl_io_t;

typedef struct {
    const skl_segment_t *segment;
    skl_lists_t *lists;
    skl_counters_t *counters;
    void *ctx;
    /* One bounded step of housekeeping: how many records, or < 0. Called by
     * the io thread of the process that has the role. NULL: none. */
    int (*sweep)(void *ctx, int max);
    /* At every tick (100 ms) of the sweeper; when it lets go. NULL: none. */
    void (*tick)(void *ctx, int64_t mono_now);
    void (*leave)(void *ctx);
    /* One bounded step of the log, by the flush thread: > 0: go on at once.
     * has_role: this process is the one that writes. NULL: none. */
    int (*flush)(void *ctx, int has_role);
    /* Wait for more to do, 100 ms at most; and end that wait. NULL: the thread
     * just waits. */
    void (*flush_wait)(void *ctx, int has_role);
    void (*flush_wake)(void *ctx);
    /* Where the logs of the lists' overlays are kept; "" or NULL: nowhere. */
    const char *dir;
    /* Ledger time: list entries count their ttl from it. */
    int64_t (*now)(void *ctx);
} skl_io_config_t;

/* Start the threads; *io NULL: a new handle. A running one: no-op. EIO, ENOMEM;
 * `err` then names the path or call. */
int skl_io_start(skl_io_t **io, const skl_io_config_t *config, char *err,
                 size_t err_size);
/* Stop and join the threads; calls that wait get ECLOSED. The handle stays, so
 * that its events can still be taken, and may be started again. */
void skl_io_stop(skl_io_t *io);
/* Free a stopped handle. */
void skl_io_free(skl_io_t *io);
/* 1 when the threads run in this process. Any thread. */
int skl_io_running(const skl_io_t *io);
/* "" when the threads do not run. */
const char *skl_io_wake_path(const skl_io_t *io);
/* Queue a reload; ENOTSTARTEDTHREADS, EFULL. */
int skl_io_reload(skl_io_t *io, struct seckill_list *list, uint64_t *ticket);
/* Wake the program's event loop without an event. Any thread. */
void skl_io_poke(skl_io_t *io);

int skl_io_pop(skl_io_t *io, seckill_event_t *events, int max);
void skl_io_rearm(skl_io_t *io);
int skl_io_wait(skl_io_t *io, int timeout_ms);

#endif
