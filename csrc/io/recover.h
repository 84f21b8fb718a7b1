/*
 * Rebuilding the tables: newest valid snapshot, then the log behind it, through
 * the same apply() that made them. Used at open, by the snapshotter and by
 * verify. Nothing is written. Threads: one; the caller has the tables to
 * himself (private memory, or a segment that nobody else knows yet).
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

#endif
