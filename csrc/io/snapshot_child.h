/*
 * A child process that builds snapshots (io/snapshot.h) of a directory until
 * nothing is left that could be in one, or it has built some, and lets segments
 * be used again.
 *
 * The io thread of a worker forks it, so that neither the memory nor the CPU
 * time of a rebuild is a worker's. The child closes every descriptor that it
 * inherited (listening sockets and file locks among them), opens the directory
 * anew, lowers its priority, and says how it went in one message on a pipe. It
 * may be killed at any time: what is not whole has a temporary name.
 *
 * Threads: one of the parent.
 */
#ifndef SKL_IO_SNAPSHOT_CHILD_H
#define SKL_IO_SNAPSHOT_CHILD_H

#include <stdint.h>
#include <sys/types.h>

typedef struct {
    pid_t pid; /* 0: none runs */
    int fd;    /* its message comes here */
    int64_t started_ns;
} skl_snapshot_child_t;

/* `full`: the log is at its limit; see skl_snapshot_recycle. SECKILL_OK or EIO.
 */
int skl_snapshot_child_start(skl_snapshot_child_t *c, const char *dir, int full,
                             int64_t mono_now);
/* 1: it has ended, *rc is its code (EIO: it died) and `text` why; 0: it runs,
 * or there is none. One that takes longer than ten minutes is killed. */
int skl_snapshot_child_poll(skl_snapshot_child_t *c, int64_t mono_now, int *rc,
                            char *text, size_t size);
void skl_snapshot_child_kill(skl_snapshot_child_t *c);

#endif
