/*
 * Reading the log: all its records in LSN order, from any LSN that is kept.
 *
 * One reader for recovery, snapshots, the feed and the tools. It takes one
 * batch at a time into a buffer of 1 MiB and checks all of it before it hands
 * out the first record (io/wal.h says what is valid, and what the end of the
 * log is). Records are handed out in place: they live until the next call.
 *
 * The log may be written and segments may be recycled meanwhile, by other
 * processes. A reader of a log in use gets a limit, the LSN that is durable,
 * and does not look further; when a segment is taken away under it, it says
 * SECKILL_ECURSORGONE.
 *
 * Threads: each reader one at a time.
 */
#ifndef SKL_IO_WAL_READ_H
#define SKL_IO_WAL_READ_H

#include "io/wal.h"

typedef struct skl_wal_reader skl_wal_reader_t;

/* Where a record stands. */
typedef struct {
    uint64_t seq, offset; /* segment, and offset of its batch */
    uint32_t incarnation;
    uint32_t pad;
} skl_wal_place_t;

/* How the log ends. */
typedef struct {
    uint64_t last_lsn;   /* of the last record read */
    uint64_t seq;        /* segment in which it ends */
    uint64_t offset;     /* of the first byte behind the last valid batch */
    uint64_t torn_bytes; /* of an unfinished batch behind it; 0: none */
    int64_t time;        /* of the last batch read; 0: none was */
    int64_t clock_offset;
    char boot_id[SKL_BOOT_ID];
    uint64_t durable;   /* LSN of which the log itself says that it is */
    uint64_t batch_seq; /* where the last batch with records stands; 0: none */
    uint64_t batch_offset;
} skl_wal_end_t;

/* Begin with `from_lsn` (0: the oldest record kept). SECKILL_OK; ECURSORGONE:
 * it is not kept any more; ECORRUPT, EIO, ENOMEM, with a text. */
int skl_wal_reader_open(skl_fs_t *fs, const uint8_t *uuid, uint64_t from_lsn,
                        skl_wal_reader_t **out, char *err, size_t err_size);
void skl_wal_reader_close(skl_wal_reader_t *r);
/* Read no record beyond `lsn` from now on; UINT64_MAX: to the end. */
void skl_wal_reader_limit(skl_wal_reader_t *r, uint64_t lsn);
/* The next record: 1; 0: the limit or the end; ECORRUPT, ECURSORGONE or EIO
 * (skl_wal_reader_error says where). */
int skl_wal_read(skl_wal_reader_t *r, const skl_record_t **out);
/* A record further ahead in the same batch (0: the next one), or NULL: a hint.
 * Looking further and further ahead is cheap. */
const skl_record_t *skl_wal_peek(skl_wal_reader_t *r, uint32_t ahead);
const char *skl_wal_reader_error(const skl_wal_reader_t *r);
/* Of the record read last. */
void skl_wal_reader_place(const skl_wal_reader_t *r, skl_wal_place_t *out);
/* Where reading stopped: after ECORRUPT the first byte that is damaged. */
void skl_wal_reader_stop(const skl_wal_reader_t *r, skl_wal_place_t *out);
/* After skl_wal_read returned 0 without a limit. */
void skl_wal_reader_end(const skl_wal_reader_t *r, skl_wal_end_t *out);
/* LSN that the next call will return, if there is one. */
uint64_t skl_wal_reader_next(const skl_wal_reader_t *r);
/* The segments as they were when the reader was opened. */
const skl_wal_segments_t *skl_wal_reader_segments(const skl_wal_reader_t *r);

#endif
