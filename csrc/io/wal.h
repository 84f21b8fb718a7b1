/*
 * The write-ahead log: format of its files, and the names in a data directory.
 *
 *   ledger            identity of the ledger (io/wal_identity.h)
 *   wal.<seq>         segments of the log; seq in 16 hex digits, without holes
 *   free.<seq>        segments whose records are not needed any more: the next
 *                     segment is written into one of them
 *   snap.<lsn>        snapshots: the tables after record <lsn> (io/snapshot.h)
 *   cursor.<name>     how far a consumer has read (io/cursor.h)
 *   lock, open.lock   held by everybody who uses the directory; by the opener
 *   <file>.new        not whole yet; removed by the next who writes it
 *
 * All words are little-endian. A segment is a header block of 4096 bytes, then
 * batches, each beginning at a multiple of 4096.
 *
 * Segment header
 *   offset  size  field
 *        0     8  magic          "seckwal1"
 *        8     4  crc            CRC-32C of bytes 12 .. 255
 *       12     4  version        1
 *       16    16  uuid           of the ledger
 *       32     8  seq
 *       40     8  first_lsn      of the first record that may stand here
 *       48     8  salt           random: tells this use of the file from others
 *       56     4  incarnation    of the life that writes it
 *       60     4  pad
 *       64     8  created        ledger time in ns
 *       72     8  digest         of the tables before first_lsn; 0: not taken
 *       80   176  zero
 *
 * Batch header: one unit of 128 bytes, followed by `units` units of records
 * (stock/record.h), each record at the beginning of a unit, then zeros to the
 * next multiple of 4096.
 *        0     4  magic          "bat1"
 *        4     4  crc            CRC-32C of bytes 8 .. 127
 *        8     8  salt           of the segment
 *       16     8  first_lsn      of its first record
 *       24     8  durable        LSN that was durable when it was written
 *       32     4  count          of records; 0: a seal, which only says durable
 *       36     4  units
 *       40     8  time           ledger time in ns
 *       48     8  clock_offset   ledger time minus boot time
 *       56    40  boot_id        of the boot in which clock_offset holds
 *       96    32  zero
 *
 * A batch is valid if and only if its header has the magic, a right checksum
 * and the salt of its segment, and holds `count` records that fill `units`
 * units, each with a right checksum, with the LSNs first_lsn, first_lsn + 1 ...
 *
 * Writing. One process of the host writes (the holder of the flusher role): a
 * batch, fdatasync, and only then the next one. Space is written with zeros
 * ahead of the batches, so that syncing one changes no metadata. After a failed
 * fdatasync, or when a writer died during one, nothing more is written to the
 * file: the next segment repeats everything from the first record that is not
 * durable. So a segment ends where the next one begins (its first_lsn);
 * whatever stands behind that is void.
 *
 * Reading stops at the first batch that is not valid, in the segment where it
 * stands:
 *   - the next segment begins with just this LSN     go on there
 *   - the next segment begins later                  a hole: corrupt
 *   - none, and a later batch of the same salt says
 *     that this LSN was durable                      corrupt
 *   - none                                           the end; a torn tail
 * A crash can leave one unfinished batch, the last one, none of whose records
 * were durable: that is the torn tail, and it is cut. Opening a ledger always
 * begins a new segment.
 */
#ifndef SKL_IO_WAL_H
#define SKL_IO_WAL_H

#include "io/fs.h"
#include "stock/record.h"

#include <stdint.h>

#define SKL_WAL_MAGIC 0x316c61776b636573ULL /* "seckwal1" */
#define SKL_BATCH_MAGIC 0x31746162U         /* "bat1" */

enum {
    SKL_WAL_VERSION = 1,
    SKL_WAL_BLOCK = 4096,
    SKL_BOOT_ID = 40,
    SKL_WAL_NAME = 40,
    SKL_WAL_SEGMENTS_MAX = 65536,
    /* Records of one batch, in units; with its header 1 MiB. */
    SKL_BATCH_UNITS_MAX = 8191
};

typedef struct {
    uint64_t magic;
    uint32_t crc;
    uint32_t version;
    uint8_t uuid[16];
    uint64_t seq;
    uint64_t first_lsn;
    uint64_t salt;
    uint32_t incarnation;
    uint32_t pad;
    int64_t created;
    uint64_t digest;
    uint8_t zero[176];
} skl_wal_header_t;

typedef struct {
    uint32_t magic;
    uint32_t crc;
    uint64_t salt;
    uint64_t first_lsn;
    uint64_t durable;
    uint32_t count;
    uint32_t units;
    int64_t time;
    int64_t clock_offset;
    char boot_id[SKL_BOOT_ID];
    uint8_t zero[32];
} skl_batch_header_t;

_Static_assert(sizeof(skl_wal_header_t) == 256, "segment format");
_Static_assert(sizeof(skl_batch_header_t) == SKL_UNIT, "batch format");

/* Bytes of a batch on disk. */
static inline uint64_t skl_batch_bytes(uint32_t units)
{
    const uint64_t n = SKL_UNIT * (1ULL + units);

    return (n + SKL_WAL_BLOCK - 1) / SKL_WAL_BLOCK * SKL_WAL_BLOCK;
}

void skl_wal_header_seal(skl_wal_header_t *h);
/* 1, or 0: no header of a log of this ledger (uuid NULL: of any). */
int skl_wal_header_valid(const skl_wal_header_t *h, const uint8_t *uuid);
void skl_batch_header_seal(skl_batch_header_t *b);
int skl_batch_header_valid(const skl_batch_header_t *b, uint64_t salt);
/* Are the records behind a valid header all right? */
int skl_batch_records_valid(const skl_batch_header_t *b, const void *units);

/* "<prefix><16 hex digits>" into out[SKL_WAL_NAME], and back: 1 or 0. */
void skl_wal_name(char *out, const char *prefix, uint64_t number);
int skl_wal_parse_name(const char *name, const char *prefix, uint64_t *number);

/* A segment as its header says. */
typedef struct {
    uint64_t seq, first_lsn, salt, digest;
    int64_t created;
    uint64_t bytes; /* size of the file */
    uint32_t incarnation;
    uint32_t pad;
} skl_wal_segment_t;

/* The segments of a directory, oldest first. */
typedef struct {
    skl_wal_segment_t *list;
    uint32_t count;
    uint32_t free_count; /* files to be used again */
    uint64_t bytes;      /* of both */
} skl_wal_segments_t;

/* Look at all segments. SECKILL_OK; ECORRUPT (a header is damaged, a number is
 * missing), EIO, ENOMEM, with a text. */
int skl_wal_scan(skl_fs_t *fs, const uint8_t *uuid, skl_wal_segments_t *out,
                 char *err, size_t err_size);
/* The same for a log that may be damaged: all segments, `first_lsn` 0 where a
 * header is; *good: how many from the oldest on are in order. OK, EIO, ENOMEM.
 */
int skl_wal_scan_damaged(skl_fs_t *fs, const uint8_t *uuid,
                         skl_wal_segments_t *out, uint32_t *good, char *err,
                         size_t err_size);
void skl_wal_scan_free(skl_wal_segments_t *s);

#endif
