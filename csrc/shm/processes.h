/*
 * Who is alive: a row for each process of the segment that holds something
 * which has to come back when it is killed.
 *
 * A row is a robust process-shared mutex that its owner locks when it claims
 * the row and keeps locked for its life. The kernel opens it when the owner
 * dies, by whatever signal, at whatever instruction, in whatever pid
 * namespace: a row that is claimed but whose mutex can be had is a dead one.
 * No heartbeat, no time-out, no pid to be mistaken for another's.
 *
 * The process that finds a dead row holds its mutex while it calls the
 * registered functions, which give back what the dead process held, and only
 * then frees the row. If it dies in there the mutex opens again and the next
 * one begins anew: the functions must be harmless when repeated.
 *
 * The kernel opens a mutex when the THREAD that took it ends. The thread that
 * claims should be one that lives as long as its process (seckill_start claims
 * in the thread that calls it). When it ends earlier, a sweep in the same
 * process takes the row over; when another process is faster, the row is dead
 * for good and skl_processes_mine() claims another one. So who writes a row's
 * number into shared memory looks afterwards, with skl_processes_owns(),
 * whether it is still his: the number of the row's generation is raised before
 * the registered functions run, so one of both sees the other.
 *
 * fork: a child has its parent's handle but none of its locks. A handler of
 * pthread_atfork() raises a number in the child, which the handle compares.
 *
 * Threads: any; no system call but in the first call of a process.
 */
#ifndef SKL_SHM_PROCESSES_H
#define SKL_SHM_PROCESSES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum { SKL_PROCESSES = 256, SKL_PROCESSES_WATCHERS = 8 };

typedef struct {
    _Alignas(64) pthread_mutex_t mutex;
    _Atomic uint64_t generation; /* raised by each claim and each death */
    _Atomic uint32_t claimed;
} skl_process_row_t;

/* The section in the segment. */
typedef struct {
    _Alignas(64) _Atomic uint32_t used; /* rows from here on were never taken */
    skl_process_row_t rows[SKL_PROCESSES];
} skl_processes_shm_t;

_Static_assert(sizeof(skl_process_row_t) == 64, "a row fills one cache line");

/* Give back what the dead process of this row held: all of it, and harmless
 * when done again. Nobody else is doing it for this row at the same time. 1;
 * 0: not all of it could be had now, the row stays dead until the next reap. */
typedef int (*skl_process_died_fn)(void *ctx, uint32_t row);

typedef struct {
    skl_process_died_fn fn;
    void *ctx;
} skl_process_watcher_t;

/* The handle of one process. */
typedef struct {
    skl_processes_shm_t *shm;
    _Atomic uint64_t mine;   /* generation, epoch, row; 0: none */
    _Atomic uint64_t holder; /* thread that holds its lock */
    skl_process_watcher_t watchers[SKL_PROCESSES_WATCHERS];
    uint32_t watcher_count;
} skl_processes_t;

void skl_processes_init(skl_processes_shm_t *shm);
void skl_processes_attach(skl_processes_t *p, skl_processes_shm_t *shm);
/* Every reap of this handle calls fn. Before others use the handle. */
void skl_processes_watch(skl_processes_t *p, skl_process_died_fn fn, void *ctx);

/* The row of this process; the first call claims one. -1: all are taken, also
 * after a reap. */
int skl_processes_mine(skl_processes_t *p);
/* 1 while the row is this process's; see above. */
int skl_processes_owns(skl_processes_t *p, uint32_t row);
/* Give the row back before the end: as if the process had died. Only by the
 * thread that claimed it, else it stays. 1: done. */
int skl_processes_leave(skl_processes_t *p);

/* For each dead row the registered functions, then fn (or NULL), then free it.
 * How many were freed. Cheap when nobody died. */
int skl_processes_reap(skl_processes_t *p, skl_process_died_fn fn, void *ctx);
/* 1: claimed by a process that lives, or that is being reaped. */
int skl_processes_is_live(skl_processes_t *p, uint32_t row);

#endif
