/* See wal_read.h. */
#include "io/wal_read.h"

#include "base/assert.h"
#include "seckill.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER = SKL_UNIT * (1 + SKL_BATCH_UNITS_MAX), TEXT = 240 };

#define NO_END 0 /* batch() results besides codes: there is none, or one */
#define BATCH 1

struct skl_wal_reader {
    skl_fs_t *fs;
    uint8_t uuid[16];
    skl_wal_segments_t segments;
    uint32_t at;           /* segment being read */
    int fd;                /* of it; -1: none */
    uint64_t offset;       /* of the next batch */
    uint64_t batch_offset; /* of the batch in the buffer */
    uint64_t next_lsn;     /* of the next record to hand out */
    uint64_t want_lsn;     /* records before it are passed over */
    uint64_t limit;
    uint64_t end_lsn; /* the segment ends before it */
    char *buffer;
    const skl_batch_header_t *batch; /* in the buffer; NULL: none */
    uint32_t index;                  /* of the next record in it */
    uint32_t unit;                   /* where that begins */
    uint32_t peek_index, peek_unit;  /* the record looked at ahead */
    skl_wal_end_t end;
    int failed; /* a code, for ever */
    char text[TEXT];
};

/* ---- Failing ------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static int fail(skl_wal_reader_t *r,
                                                      int rc,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(r->text, sizeof(r->text), format, args);
    va_end(args);
    r->failed = rc;
    return rc;
}

static uint64_t seq_of(const skl_wal_reader_t *r)
{
    return r->segments.list[r->at].seq;
}

static int corrupt(skl_wal_reader_t *r, const char *why)
{
    return fail(r, SECKILL_ECORRUPT, "segment wal.%016llx, offset %llu: %s",
                (unsigned long long)seq_of(r), (unsigned long long)r->offset,
                why);
}

static int io_failed(skl_wal_reader_t *r, int rc)
{
    return fail(r, SECKILL_EIO, "read wal.%016llx: %s",
                (unsigned long long)seq_of(r), strerror(-rc));
}

/* ---- Segments ------------------------------------------------------------ */

static void close_segment(skl_wal_reader_t *r)
{
    if (r->fd >= 0) {
        (void)r->fs->close(r->fs, r->fd);
    }
    r->fd = -1;
    r->batch = NULL;
}

static int gone(skl_wal_reader_t *r)
{
    return fail(r, SECKILL_ECURSORGONE,
                "LSN %llu: its segment was recycled while it was read",
                (unsigned long long)r->next_lsn);
}

/* Is the open file still what it was? Its blocks may have been given to a new
 * segment: ECURSORGONE. */
static int check_file(skl_wal_reader_t *r)
{
    skl_wal_header_t h;
    int rc = skl_fs_read_all(r->fs, r->fd, &h, sizeof(h), 0);

    if (rc != 0) {
        return io_failed(r, rc);
    }
    return skl_wal_header_valid(&h, r->uuid) &&
                   h.salt == r->segments.list[r->at].salt
               ? SECKILL_OK
               : gone(r);
}

/* Something in the log says that this LSN was durable before. */
static void was_durable(skl_wal_reader_t *r, uint64_t lsn)
{
    r->end.durable = r->end.durable > lsn ? r->end.durable : lsn;
}

static int open_segment(skl_wal_reader_t *r, uint32_t i)
{
    char name[SKL_WAL_NAME];

    skl_assert(i < r->segments.count);
    close_segment(r);
    r->at = i;
    r->offset = SKL_WAL_BLOCK;
    r->next_lsn = r->segments.list[i].first_lsn;
    was_durable(r, r->next_lsn - 1);
    r->end_lsn = i + 1 < r->segments.count ? r->segments.list[i + 1].first_lsn
                                           : UINT64_MAX;
    skl_wal_name(name, "wal.", seq_of(r));
    r->fd = r->fs->open(r->fs, name, SKL_FS_READ);
    if (r->fd == -ENOENT) {
        return gone(r);
    }
    if (r->fd < 0) {
        return io_failed(r, r->fd);
    }
    return check_file(r);
}

/* The segment that was read to its end is not kept any more. What comes next
 * may be, behind it. */
static int pass_over(skl_wal_reader_t *r)
{
    const uint64_t lsn = skl_wal_reader_next(r);
    uint32_t i = r->segments.count;

    r->at = 0;
    while (i > 0 && r->segments.list[i - 1].first_lsn > lsn) {
        i--;
    }
    if (i == 0) {
        return gone(r);
    }
    r->want_lsn = lsn;
    return open_segment(r, i - 1) == SECKILL_OK ? BATCH : r->failed;
}

/* The writer of a log in use has moved on to a segment that we do not know. */
static int find_successor(skl_wal_reader_t *r)
{
    const uint64_t seq = seq_of(r);
    skl_wal_segments_t fresh;
    int rc = skl_wal_scan(r->fs, r->uuid, &fresh, r->text, sizeof(r->text));

    if (rc != SECKILL_OK) {
        r->failed = rc;
        return rc;
    }
    skl_wal_scan_free(&r->segments);
    r->segments = fresh;
    for (uint32_t i = 0; i < fresh.count; i++) {
        if (fresh.list[i].seq == seq) {
            r->at = i;
            if (i + 1 == fresh.count) {
                return corrupt(r, "records that are durable are missing");
            }
            r->end_lsn = fresh.list[i + 1].first_lsn;
            return BATCH;
        }
    }
    return pass_over(r);
}

/* ---- Batches ------------------------------------------------------------- */

/* Read up to n bytes: how many are there, or -errno. */
static ssize_t read_some(skl_wal_reader_t *r, void *out, size_t n, uint64_t at)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got =
            r->fs->pread(r->fs, r->fd, (char *)out + done, n - done, at + done);

        if (got < 0) {
            return got;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* Take the batch at the offset into the buffer: BATCH; NO_END: there is no
 * valid one; EIO. */
static int load_batch(skl_wal_reader_t *r)
{
    skl_batch_header_t *b = (void *)r->buffer;
    const uint64_t salt = r->segments.list[r->at].salt;
    ssize_t n = read_some(r, r->buffer, SKL_WAL_BLOCK, r->offset);
    uint64_t bytes;

    if (n < 0) {
        return io_failed(r, (int)n);
    }
    if (n < SKL_UNIT || !skl_batch_header_valid(b, salt)) {
#ifdef MUTANT_WAL_ANY_SALT
        if (n < SKL_UNIT || !skl_batch_header_valid(b, b->salt))
#endif
            return NO_END;
    }
    /* The rest of a larger batch. */
    bytes = SKL_UNIT * (1ULL + b->units);
    if (bytes > SKL_WAL_BLOCK) {
        n = read_some(r, r->buffer + SKL_WAL_BLOCK,
                      (size_t)bytes - SKL_WAL_BLOCK, r->offset + SKL_WAL_BLOCK);
        if (n < 0) {
            return io_failed(r, (int)n);
        }
        n += SKL_WAL_BLOCK;
    }
    if ((uint64_t)n < bytes ||
        !skl_batch_records_valid(b, r->buffer + SKL_UNIT)) {
        return NO_END;
    }
    return BATCH;
}

static void use_batch(skl_wal_reader_t *r)
{
    const skl_batch_header_t *b = (const void *)r->buffer;

    skl_assert(b->first_lsn == r->next_lsn);
    r->batch = b;
    r->index = r->unit = 0;
    r->peek_index = r->peek_unit = 0;
    r->batch_offset = r->offset;
    r->offset += skl_batch_bytes(b->units);
    was_durable(r, b->durable);
    if (b->count > 0) {
        r->end.batch_seq = seq_of(r);
        r->end.batch_offset = r->batch_offset;
    }
    r->end.time = b->time;
    r->end.clock_offset = b->clock_offset;
    memcpy(r->end.boot_id, b->boot_id, sizeof(r->end.boot_id));
    r->end.seq = seq_of(r);
    r->end.offset = r->offset;
}

/* The batch follows what was read, and does not reach into the next segment
 * (what a writer that died had left there). */
static int belongs(const skl_wal_reader_t *r)
{
    const skl_batch_header_t *b = (const void *)r->buffer;

    return b->first_lsn == r->next_lsn &&
           (b->count == 0 || r->next_lsn < r->end_lsn);
}

/* Bytes of a block up to the last one that is not zero. */
static size_t used_bytes(const char *block, size_t n)
{
    while (n >= 8 && memcmp(block + n - 8, "\0\0\0\0\0\0\0", 8) == 0) {
        n -= 8;
    }
    while (n > 0 && block[n - 1] == 0) {
        n--;
    }
    return n;
}

/* Does a batch behind the offset say that the next LSN was durable? Also how
 * many bytes there are up to the last one that is not zero. */
static int look_behind(skl_wal_reader_t *r, int *durable, uint64_t *torn)
{
    const uint64_t salt = r->segments.list[r->at].salt;
    uint64_t at = r->offset;
    ssize_t n;

    *durable = 0;
    *torn = 0;
    while ((n = read_some(r, r->buffer, BUFFER, at)) > 0) {
        const size_t used = used_bytes(r->buffer, (size_t)n);

        if (used > 0) {
            *torn = at + used - r->offset;
        }
        for (size_t i = 0; i < used && i + SKL_UNIT <= (size_t)n;
             i += SKL_WAL_BLOCK) {
            const skl_batch_header_t *b = (const void *)(r->buffer + i);

            *durable |=
                skl_batch_header_valid(b, salt) && b->durable >= r->next_lsn;
        }
        at += (uint64_t)n;
    }
    return n < 0 ? io_failed(r, (int)n) : SECKILL_OK;
}

/* How much of what stands there is of an unfinished batch: nothing, when it is
 * a batch of an earlier use of the file. */
static uint64_t unfinished(skl_wal_reader_t *r, uint64_t used)
{
    const uint64_t salt = r->segments.list[r->at].salt;
    const skl_batch_header_t *b = (const void *)r->buffer;
    ssize_t n = read_some(r, r->buffer, SKL_UNIT, r->offset);

    skl_assert(used > 0);
    if (n < SKL_UNIT) {
        return used;
    }
    if (skl_batch_header_valid(b, salt)) {
        return used < skl_batch_bytes(b->units) ? used
                                                : skl_batch_bytes(b->units);
    }
    return skl_batch_header_valid(b, b->salt) ? 0 : used;
}

/* No valid batch at the offset of the newest segment. */
static int at_the_end(skl_wal_reader_t *r)
{
    int durable;
    uint64_t used;
    int rc = look_behind(r, &durable, &used);

#ifdef MUTANT_WAL_TORN_RULE_OFF
    durable = 0;
#endif
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (durable) {
        /* It may have been written between the two looks. */
        rc = load_batch(r);
        if (rc == BATCH && belongs(r)) {
            use_batch(r);
            return BATCH;
        }
        return rc < 0 ? rc : corrupt(r, "a batch that was durable is damaged");
    }
    r->end.seq = seq_of(r);
    r->end.offset = r->offset;
    r->end.torn_bytes = used > 0 ? unfinished(r, used) : 0;
    return NO_END;
}

/* No (further) batch of this segment counts: BATCH after moving on. */
static int next_segment(skl_wal_reader_t *r)
{
    skl_assert(r->fd >= 0 && r->at < r->segments.count);
    if (r->end_lsn == UINT64_MAX) {
        return r->limit == UINT64_MAX ? at_the_end(r) : find_successor(r);
    }
    if (r->next_lsn > r->end_lsn) {
        /* A tail that turned out to be void, read while this was the newest
         * segment: the next one repeats it. */
        r->want_lsn = r->next_lsn;
    } else if (r->next_lsn != r->end_lsn) {
        int rc = check_file(r);

        return rc != SECKILL_OK
                   ? rc
                   : corrupt(r, "records are missing before the next segment");
    }
    return open_segment(r, r->at + 1) == SECKILL_OK ? BATCH : r->failed;
}

/* One step: BATCH: something was read, look again; NO_END; or a code. */
static int advance(skl_wal_reader_t *r)
{
    int rc;

    if (r->fd < 0) {
        rc = open_segment(r, r->at);
        return rc == SECKILL_OK ? BATCH : rc;
    }
    if (r->next_lsn >= r->end_lsn) {
        return next_segment(r);
    }
    rc = load_batch(r);
    if (rc == BATCH && belongs(r)) {
        use_batch(r);
        return BATCH;
    }
    return rc < 0 ? rc : next_segment(r);
}

/* ---- Records ------------------------------------------------------------- */

static const skl_record_t *record_at(const skl_wal_reader_t *r, uint32_t unit)
{
    return (const void *)(r->buffer + (size_t)SKL_UNIT * (1 + unit));
}

/* The next record of the batch in the buffer, or NULL. */
static const skl_record_t *take(skl_wal_reader_t *r)
{
    const skl_record_t *rec;

    if (r->batch == NULL || r->index == r->batch->count ||
        r->next_lsn >= r->end_lsn) {
        r->batch = NULL;
        return NULL;
    }
    rec = record_at(r, r->unit);
    skl_assert(rec->lsn == r->next_lsn);
    r->index++;
    r->unit += skl_rec_units(rec);
    r->next_lsn++;
    r->end.last_lsn = rec->lsn;
    return rec;
}

const skl_record_t *skl_wal_peek(skl_wal_reader_t *r, uint32_t ahead)
{
    const uint32_t index = r->index + ahead;

    skl_assert(ahead <= SKL_BATCH_UNITS_MAX);
    if (r->batch == NULL || index >= r->batch->count) {
        return NULL;
    }
    if (index < r->peek_index) {
        r->peek_index = r->index;
        r->peek_unit = r->unit;
    }
    while (r->peek_index < index) {
        r->peek_unit += skl_rec_units(record_at(r, r->peek_unit));
        r->peek_index++;
    }
    return record_at(r, r->peek_unit);
}

int skl_wal_read(skl_wal_reader_t *r, const skl_record_t **out)
{
    while (r->failed == 0 && r->next_lsn <= r->limit) {
        const skl_record_t *rec = take(r);
        int rc;

        if (rec != NULL && rec->lsn >= r->want_lsn) {
            *out = rec;
            return 1;
        }
        rc = rec != NULL ? BATCH : advance(r);
        if (rc == NO_END) {
            return 0;
        }
    }
    return r->failed;
}

/* ---- Opening ------------------------------------------------------------- */

/* The last segment that begins at or before an LSN. */
static int seek(skl_wal_reader_t *r, uint64_t lsn)
{
    const skl_wal_segments_t *s = &r->segments;
    uint32_t i = 0;

    if (s->count == 0) {
        return fail(r, lsn <= 1 ? SECKILL_ENOTFOUND : SECKILL_ECURSORGONE,
                    "there is no log segment");
    }
    if (lsn == 0) {
        lsn = s->list[0].first_lsn;
    }
    if (lsn < s->list[0].first_lsn) {
        return fail(r, SECKILL_ECURSORGONE,
                    "LSN %llu is not kept any more: the log begins with %llu",
                    (unsigned long long)lsn,
                    (unsigned long long)s->list[0].first_lsn);
    }
    while (i + 1 < s->count && s->list[i + 1].first_lsn <= lsn) {
        i++;
    }
    r->at = i;
    r->want_lsn = lsn;
    r->next_lsn = s->list[i].first_lsn;
    r->end.seq = s->list[i].seq;
    r->end.offset = SKL_WAL_BLOCK;
    r->end.last_lsn = r->next_lsn - 1;
    return SECKILL_OK;
}

int skl_wal_reader_open(skl_fs_t *fs, const uint8_t *uuid, uint64_t from_lsn,
                        skl_wal_reader_t **out, char *err, size_t err_size)
{
    skl_wal_reader_t *r = calloc(1, sizeof(*r));
    int rc;

    if (r == NULL) {
        return SECKILL_ENOMEM;
    }
    r->fs = fs;
    r->fd = -1;
    r->limit = UINT64_MAX;
    memcpy(r->uuid, uuid, sizeof(r->uuid));
    r->buffer = aligned_alloc(64, BUFFER);
    rc = r->buffer == NULL
             ? SECKILL_ENOMEM
             : skl_wal_scan(fs, uuid, &r->segments, r->text, sizeof(r->text));
    rc = rc == SECKILL_OK ? seek(r, from_lsn) : rc;
    if (rc != SECKILL_OK) {
        (void)snprintf(err, err_size, "%s", r->text);
        skl_wal_reader_close(r);
        return rc;
    }
    *out = r;
    return SECKILL_OK;
}

void skl_wal_reader_close(skl_wal_reader_t *r)
{
    if (r != NULL) {
        close_segment(r);
        skl_wal_scan_free(&r->segments);
        free(r->buffer);
        free(r);
    }
}

void skl_wal_reader_limit(skl_wal_reader_t *r, uint64_t lsn)
{
#ifdef MUTANT_FEED_BEFORE_DURABLE
    lsn = UINT64_MAX;
#endif
    r->limit = lsn;
}

const char *skl_wal_reader_error(const skl_wal_reader_t *r)
{
    return r->text;
}

void skl_wal_reader_place(const skl_wal_reader_t *r, skl_wal_place_t *out)
{
    skl_assert(r->at < r->segments.count);
    out->seq = seq_of(r);
    out->offset = r->batch_offset;
    out->incarnation = r->segments.list[r->at].incarnation;
    out->pad = 0;
}

void skl_wal_reader_stop(const skl_wal_reader_t *r, skl_wal_place_t *out)
{
    skl_wal_reader_place(r, out);
    out->offset = r->offset;
}

void skl_wal_reader_end(const skl_wal_reader_t *r, skl_wal_end_t *out)
{
    *out = r->end;
}

uint64_t skl_wal_reader_next(const skl_wal_reader_t *r)
{
    return r->next_lsn < r->want_lsn ? r->want_lsn : r->next_lsn;
}

const skl_wal_segments_t *skl_wal_reader_segments(const skl_wal_reader_t *r)
{
    return &r->segments;
}
