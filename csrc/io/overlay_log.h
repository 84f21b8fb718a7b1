/*
 * The log of the overlay (acl/overlay.h) of an engine with a directory:
 * <dir>/lists/<name>.overlay, one file for each list that has changes.
 *
 * The io thread of the process that loads lists appends what the ring of
 * changes has, at each tick; nobody waits for it, nor for the disk: a change is
 * in the file within a tick, on the disk within seconds. The file is written
 * anew, from the table, when it is larger than twice what lives, and before the
 * first change that this process appends: so what a dead writer left behind
 * does no harm. Where anything fails all is written anew, a second later.
 *
 * A list whose segment was made anew is restored when it is opened, before
 * anybody can change it. Deadlines are ledger time: they go on while nothing
 * runs.
 *
 * Threads: restoring any, one process of a host at a time; the rest io.
 */
#ifndef SKL_IO_OVERLAY_LOG_H
#define SKL_IO_OVERLAY_LOG_H

#include "acl/lists.h"

#include <stddef.h>
#include <stdint.h>

typedef struct skl_overlay_log skl_overlay_log_t;

/* Read the log of a list that was not restored yet. `dir` "": there is none.
 * OK, EIO (it cannot be read: the list is not restored), EBUSY, ENOMEM. Records
 * that cannot be used are counted; a file that is another ledger's, or has no
 * head, is put aside as <name>.overlay.lost. */
int skl_overlay_log_restore(const char *dir, struct seckill_list *list,
                            int64_t now_ns, char *err, size_t size);

/* NULL: no memory. */
skl_overlay_log_t *skl_overlay_log_new(const char *dir, skl_lists_t *lists);
/* Write what is new. OK, or EIO, ENOMEM with `err`; then again in a second. */
int skl_overlay_log_step(skl_overlay_log_t *log, int64_t mono_now, char *err,
                         size_t size);
/* The role is another process's now; or the end. */
void skl_overlay_log_leave(skl_overlay_log_t *log);
void skl_overlay_log_free(skl_overlay_log_t *log);

#endif
