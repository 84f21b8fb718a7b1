/*
 * Snapshots: the tables of the ledger after some record, in a file.
 *
 * File snap.<lsn>: one block of 4096 bytes (magic "seckimg1", crc, version,
 * uuid, lsn, ledger time, incarnation, numbers of the tables, bytes, digest),
 * then the tables' image: their bytes with locks and sequences as zeros. The
 * digest is the CRC-32C of the image, with bit 32 set so that it is not 0.
 * snapshot.c has the offsets.
 *
 * A snapshot is built by a process of its own or by the tools, from the one
 * before and the segments that are full (all but the newest), never from the
 * live tables: so each one is a test of the replay. Where a segment's header
 * carries a digest (the opener took it from the tables in use), it must agree.
 * It is written under a temporary name, synced, read back, then renamed. Two
 * snapshots are kept; a segment whose records are all in the older one, and
 * behind every cursor, is renamed to free.<seq> to be used again: when the
 * newer snapshot is damaged, the older one and its log are the whole ledger.
 * Only where the log is full, no file is free and nothing new can be put into a
 * snapshot, the newer one is enough: else it could never be written again.
 *
 * Threads: one builder at a time (flock on snap.lock); readers any.
 */
#ifndef SKL_IO_SNAPSHOT_H
#define SKL_IO_SNAPSHOT_H

#include "io/wal_identity.h"
#include "stock/tables.h"

/* Digest of live or private tables; locks and sequences do not count. Nobody
 * changes them meanwhile. */
uint64_t skl_tables_digest(const skl_tables_t *t);
/* Load the newest snapshot that can be read and is whole into initialised
 * tables. *lsn 0: there is none. OK; 1: there is a newer one that the disk
 * could not read; ECORRUPT or EIO (there are some, none will do), ENOMEM. `err`
 * says what is wrong with the oldest of those that will not do. */
int skl_snapshot_load(skl_fs_t *fs, const skl_identity_t *id, skl_tables_t *t,
                      uint64_t *lsn, int64_t *time, char *err, size_t err_size);
/* LSN of the newest one by its name, whole or not; 0: there is none, or no
 * telling. */
uint64_t skl_snapshot_last(skl_fs_t *fs);
/* Write one, durably: snap.<lsn>. OK, EIO, ENOMEM, ENOSPACE. */
int skl_snapshot_write(skl_fs_t *fs, const skl_identity_t *id,
                       const skl_tables_t *t, uint64_t lsn, int64_t time,
                       char *err, size_t err_size);
/* The newest one whose checksum is right (0: none), how many there are, and
 * their bytes. OK or EIO. */
int skl_snapshot_newest(skl_fs_t *fs, const skl_identity_t *id, uint64_t *lsn,
                        uint32_t *count, uint64_t *bytes);
/* Rename the snapshots that are damaged or cannot be read to snap.<lsn>.lost:
 * how many, or EIO, ENOMEM. */
int skl_snapshot_lose(skl_fs_t *fs, const skl_identity_t *id, char *err,
                      size_t err_size);
/* Remove all but the two newest snapshots; rename the segments nobody needs to
 * free.<seq>: how many, or a code. `full`: the log is at its limit and nothing
 * new can be put into a snapshot; if that gives no room, what only the older
 * snapshot needs goes, too. */
int skl_snapshot_recycle(skl_fs_t *fs, const skl_identity_t *id, int full,
                         char *err, size_t err_size);

typedef struct skl_snapshot_build skl_snapshot_build_t;

/* The whole of a build in steps; see seckill_snapshot_begin. `fs` stays the
 * caller's. */
int skl_snapshot_build_begin(skl_fs_t *fs, skl_snapshot_build_t **out,
                             char *err, size_t err_size);
/* Where there is no snapshot yet: only up to the middle of what could be in it.
 * Segments are used again behind the older of two snapshots; with one of all
 * of a log that has no room for more there would never be a second. */
void skl_snapshot_build_half(skl_snapshot_build_t *b);
int skl_snapshot_build_step(skl_snapshot_build_t *b, uint32_t max_records,
                            uint64_t *done, uint64_t *total);
const char *skl_snapshot_build_error(const skl_snapshot_build_t *b);
void skl_snapshot_build_end(skl_snapshot_build_t *b);

#endif
