/*
 * Rebuilding the tables: newest valid snapshot, then the log behind it, through
 * the same apply() that made them. Used at open, by the snapshotter and by
 * verify. Nothing is written.
 *
 * Files are input. A snapshot is checked as a whole (stock/check.h) before a
 * record is applied to it, each record must follow from the tables before it
 * (stock/follows.h), and the result is checked again: the tables are right, or
 * there is an error.
 *
 * Others may build snapshots and recycle meanwhile: what is missing is looked
 * for again where a newer snapshot came, a few times.
 *
 * A replay looks ahead in the batch: hashes are computed and rows, heads of
 * chains and neighbours in hold lists are fetched some records before they are
 * needed.
 *
 * Threads: one; the caller has the tables to himself (private memory, or a
 * segment that nobody else knows yet).
 */
#ifndef SKL_IO_RECOVER_H
#define SKL_IO_RECOVER_H

#include "io/wal_identity.h"
#include "io/wal_read.h"
#include "stock/tables.h"

typedef struct {
    uint64_t last_lsn; /* of the last record applied; 0: none */
    int64_t last_time; /* its ledger time, or that of the snapshot */
    uint64_t snapshot_lsn;
    uint64_t records; /* applied from the log */
    skl_wal_end_t end;
} skl_recovered_t;

/* `t` are initialised tables of the identity's sizes, attached with its key.
 * OK; ECORRUPT (names segment and offset, or the snapshot), EIO, ENOMEM. */
int skl_recover(skl_fs_t *fs, const skl_identity_t *id, skl_tables_t *t,
                skl_recovered_t *out, char *err, size_t err_size);
/* Apply one record from a file: OK, or ECORRUPT when it does not fit the
 * tables or does not follow last_lsn. */
int skl_replay_record(skl_tables_t *t, const skl_record_t *r,
                      uint64_t last_lsn);

/* ---- In steps ------------------------------------------------------------ */

typedef struct skl_replay skl_replay_t;

/* Load the newest snapshot that is whole and open the log behind it. With
 * `digests` those in headers of segments are compared with the tables. */
int skl_replay_begin(skl_fs_t *fs, const skl_identity_t *id, skl_tables_t *t,
                     int digests, skl_replay_t **out, char *err,
                     size_t err_size);
/* Apply at most `max` records, none beyond `limit`: 1: there may be more; 0:
 * all are applied; or a code with `err`. */
int skl_replay_step(skl_replay_t *p, uint64_t limit, uint64_t max, char *err,
                    size_t err_size);
/* So far. */
void skl_replay_state(const skl_replay_t *p, skl_recovered_t *out);
/* Of the record read last: where one that does not follow stands. */
void skl_replay_place(const skl_replay_t *p, skl_wal_place_t *out);
/* After ECORRUPT: the segment whose digest is another one than that of the
 * tables before it; 0: it was something else. */
uint64_t skl_replay_bad_digest(const skl_replay_t *p);
/* Segments of the log; NULL: there is none. */
const skl_wal_segments_t *skl_replay_segments(const skl_replay_t *p);
void skl_replay_end(skl_replay_t *p);

/* Tables of an identity's sizes in private memory: freed by skl_tables_free.
 * ENOMEM. */
int skl_tables_new(const skl_identity_t *id, skl_tables_t *t);
void skl_tables_free(skl_tables_t *t);

#endif
