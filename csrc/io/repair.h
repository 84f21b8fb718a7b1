/*
 * Cutting a damaged log off, so that it can be opened again.
 *
 * Damaged snapshots are put aside. Then, until nothing is damaged:
 *   - damage before the segment where recovery begins (that of the record
 *     behind the newest snapshot): the segments up to it are put aside; only
 *     history is lost
 *   - damage behind the snapshot: its segment is cut off there, durably, and
 *     the later ones are put aside
 *   - damage in the segment where recovery begins, but before the snapshot's
 *     record, or a log that ends before it: all segments are put aside, and an
 *     empty one begins behind the snapshot
 * A record that does not follow from the ones before it is damage, too: the
 * log is cut off before its batch. Put aside: <name>.lost. A digest that is not
 * that of the records (the tables in use were damaged in memory) is removed,
 * and no record is lost.
 *
 * Threads: one, and no engine has the directory open.
 */
#ifndef SKL_IO_REPAIR_H
#define SKL_IO_REPAIR_H

#include "io/wal_identity.h"

/* OK: something was cut, *lsn is the last record that is kept; ENOTFOUND:
 * nothing is damaged; ECORRUPT: no snapshot reaches the log; EIO, ENOMEM. */
int skl_repair(skl_fs_t *fs, const skl_identity_t *id, uint64_t *lsn, char *err,
               size_t err_size);

#endif
