/*
 * Named cursors: how far each consumer of the log has got, so that the log is
 * kept behind the slowest one.
 *
 * File cursor.<name>, this struct (cursor.c has the offsets), put in place as
 * a whole. A position is an LSN and the incarnation that wrote it: after a
 * power loss the same LSN may be given to another record, in the next life,
 * and then the old position is no position of this log any more. A cursor that
 * was dropped leaves its file as a tombstone, so that its consumer, who may
 * come back much later, learns that records may be missing.
 *
 * Threads: each name one at a time; a tombstone goes when its place is needed.
 */
#ifndef SKL_IO_CURSOR_H
#define SKL_IO_CURSOR_H

#include "io/fs.h"
#include "io/wal_identity.h"

enum { SKL_CURSORS_MAX = 64, SKL_CURSOR_NAME = 33 };

typedef struct {
    uint64_t lsn;
    uint32_t incarnation;
    uint32_t dropped;
} skl_cursor_t;

/* See seckill_cursor_set() and the others. */
int skl_cursor_set(skl_fs_t *fs, const skl_identity_t *id, const char *name,
                   uint64_t lsn, uint32_t incarnation, int create);
/* OK (also one that was dropped), ENOTFOUND, EBADNAME, ECORRUPT, EIO. */
int skl_cursor_get(skl_fs_t *fs, const skl_identity_t *id, const char *name,
                   skl_cursor_t *out);
int skl_cursor_drop(skl_fs_t *fs, const skl_identity_t *id, const char *name);
/* The i-th by name; name[SKL_CURSOR_NAME]. OK, ENOTFOUND, ECORRUPT, EIO. */
int skl_cursor_at(skl_fs_t *fs, const skl_identity_t *id, uint32_t i,
                  char *name, skl_cursor_t *out);
/* The LSN of the slowest one; UINT64_MAX: there is none. A cursor that cannot
 * be read is an error: it may be any. */
int skl_cursor_slowest(skl_fs_t *fs, const skl_identity_t *id, uint64_t *lsn,
                       char *err, size_t err_size);
/* Those that were not dropped; or a code. */
int skl_cursor_count(skl_fs_t *fs, const skl_identity_t *id);

#endif
