/* See wal.h. Pure functions, and a look at a directory. Any thread. */
#include "io/wal.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "seckill.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCAN_AGAIN = 1, SCAN_TRIES = 16, SCAN_SURE = 3 };

/* ---- Headers ------------------------------------------------------------- */

static uint32_t header_crc(const skl_wal_header_t *h)
{
    const char *p = (const char *)h;
    const size_t from = offsetof(skl_wal_header_t, version);

    return skl_crc32c(0, p + from, sizeof(*h) - from);
}

void skl_wal_header_seal(skl_wal_header_t *h)
{
    skl_assert(h->first_lsn >= 1 && h->incarnation != 0);
    h->magic = SKL_WAL_MAGIC;
    h->version = SKL_WAL_VERSION;
    h->crc = header_crc(h);
}

int skl_wal_header_valid(const skl_wal_header_t *h, const uint8_t *uuid)
{
    if (h->magic != SKL_WAL_MAGIC || h->version != SKL_WAL_VERSION ||
        h->crc != header_crc(h)) {
        return 0;
    }
    return h->first_lsn >= 1 && h->incarnation != 0 &&
           (uuid == NULL || memcmp(uuid, h->uuid, sizeof(h->uuid)) == 0);
}

static uint32_t batch_crc(const skl_batch_header_t *b)
{
    const char *p = (const char *)b;
    const size_t from = offsetof(skl_batch_header_t, salt);

    return skl_crc32c(0, p + from, sizeof(*b) - from);
}

void skl_batch_header_seal(skl_batch_header_t *b)
{
    skl_assert(b->first_lsn >= 1 && b->units <= SKL_BATCH_UNITS_MAX);
    skl_assert(b->count <= b->units);
    b->magic = SKL_BATCH_MAGIC;
    b->crc = batch_crc(b);
}

int skl_batch_header_valid(const skl_batch_header_t *b, uint64_t salt)
{
    return b->magic == SKL_BATCH_MAGIC && b->salt == salt &&
           b->crc == batch_crc(b) && b->first_lsn >= 1 &&
           b->units <= SKL_BATCH_UNITS_MAX && b->count <= b->units &&
           (b->count == 0) == (b->units == 0) && b->durable < b->first_lsn;
}

int skl_batch_records_valid(const skl_batch_header_t *b, const void *units)
{
    const char *p = units;
    uint32_t at = 0;

    skl_assert(b->units <= SKL_BATCH_UNITS_MAX);
    for (uint32_t i = 0; i < b->count; i++) {
        const skl_record_t *r = (const void *)(p + (size_t)at * SKL_UNIT);

        if (at >= b->units ||
            !skl_rec_valid(r, (b->units - at) * (uint32_t)SKL_UNIT) ||
            r->lsn != b->first_lsn + i) {
            return 0;
        }
        at += skl_rec_units(r);
    }
    return at == b->units;
}

/* ---- Names --------------------------------------------------------------- */

void skl_wal_name(char *out, const char *prefix, uint64_t number)
{
    (void)snprintf(out, SKL_WAL_NAME, "%s%016llx", prefix,
                   (unsigned long long)number);
}

int skl_wal_parse_name(const char *name, const char *prefix, uint64_t *number)
{
    const size_t len = strlen(prefix);
    char again[SKL_WAL_NAME];

    if (strncmp(name, prefix, len) != 0 || strlen(name) != len + 16) {
        return 0;
    }
    *number = strtoull(name + len, NULL, 16);
    skl_wal_name(again, prefix, *number);
    return strcmp(again, name) == 0;
}

/* ---- Scan ---------------------------------------------------------------- */

typedef struct {
    skl_wal_segments_t *out;
    uint32_t capacity;
    int failed;
} scan_t;

static int grow(scan_t *s)
{
    const uint32_t capacity = s->capacity == 0 ? 64 : 2 * s->capacity;
    void *list;

    if (s->out->count < s->capacity) {
        return 1;
    }
    if (capacity > SKL_WAL_SEGMENTS_MAX) {
        return 0;
    }
    list = realloc(s->out->list, capacity * sizeof(skl_wal_segment_t));
    if (list == NULL) {
        return 0;
    }
    s->out->list = list;
    s->capacity = capacity;
    return 1;
}

static void see(void *arg, const char *name)
{
    scan_t *s = arg;
    uint64_t seq;

    skl_assert(s->out->count <= s->capacity || s->capacity == 0);
    if (skl_wal_parse_name(name, "free.", &seq)) {
        s->out->free_count++;
    }
    if (!skl_wal_parse_name(name, "wal.", &seq)) {
        return;
    }
    if (!grow(s)) {
        s->failed = 1;
        return;
    }
    memset(&s->out->list[s->out->count], 0, sizeof(skl_wal_segment_t));
    s->out->list[s->out->count++].seq = seq;
}

static int by_seq(const void *a, const void *b)
{
    const skl_wal_segment_t *x = a, *y = b;

    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* 1: read; 0: damaged; or -errno. */
static int read_header(skl_fs_t *fs, const uint8_t *uuid, skl_wal_segment_t *s)
{
    skl_wal_header_t h;
    char name[SKL_WAL_NAME];
    int64_t size;
    int fd, rc;

    skl_wal_name(name, "wal.", s->seq);
    fd = fs->open(fs, name, SKL_FS_READ);
    if (fd < 0) {
        return fd;
    }
    size = fs->size(fs, fd);
    rc = size < 0 ? (int)size : 0;
    if (rc == 0 && size < SKL_WAL_BLOCK) {
        (void)fs->close(fs, fd);
        return 0;
    }
    rc = rc == 0 ? skl_fs_read_all(fs, fd, &h, sizeof(h), 0) : rc;
    (void)fs->close(fs, fd);
    if (rc != 0) {
        return rc;
    }
    if (!skl_wal_header_valid(&h, uuid) || h.seq != s->seq) {
        return 0;
    }
    s->first_lsn = h.first_lsn;
    s->salt = h.salt;
    s->digest = h.digest;
    s->created = h.created;
    s->incarnation = h.incarnation;
    s->bytes = (uint64_t)size;
    return 1;
}

static int check_order(const skl_wal_segments_t *s, uint32_t i, char *err,
                       size_t err_size)
{
    const skl_wal_segment_t *a = &s->list[i - 1], *b = &s->list[i];

    skl_assert(i >= 1 && i < s->count);
    if (b->seq != a->seq + 1) {
        (void)snprintf(
            err, err_size, "segment wal.%016llx is missing before wal.%016llx",
            (unsigned long long)(a->seq + 1), (unsigned long long)b->seq);
        return SECKILL_ECORRUPT;
    }
    if (b->first_lsn < a->first_lsn) {
        (void)snprintf(err, err_size,
                       "segment wal.%016llx begins with LSN %llu, before its "
                       "predecessor",
                       (unsigned long long)b->seq,
                       (unsigned long long)b->first_lsn);
        return SECKILL_ECORRUPT;
    }
    return SECKILL_OK;
}

/* SCAN_AGAIN: a segment was recycled since it was listed. */
static int read_headers(skl_fs_t *fs, const uint8_t *uuid,
                        skl_wal_segments_t *out, char *err, size_t err_size)
{
    for (uint32_t i = 0; i < out->count; i++) {
        int rc = read_header(fs, uuid, &out->list[i]);

        if (rc == 0) {
            (void)snprintf(err, err_size,
                           "segment wal.%016llx, offset 0: the header is "
                           "damaged or of another ledger",
                           (unsigned long long)out->list[i].seq);
            return SECKILL_ECORRUPT;
        }
        if (rc < 0) {
            (void)snprintf(err, err_size, "read wal.%016llx: %s",
                           (unsigned long long)out->list[i].seq, strerror(-rc));
            return rc == -ENOENT ? SCAN_AGAIN : SECKILL_EIO;
        }
        out->bytes += out->list[i].bytes;
        rc = i > 0 ? check_order(out, i, err, err_size) : SECKILL_OK;
        if (rc != SECKILL_OK) {
            return rc;
        }
    }
    return SECKILL_OK;
}

static int list_all(skl_fs_t *fs, skl_wal_segments_t *out, char *err,
                    size_t err_size)
{
    scan_t s = {.out = out};
    int rc;

    memset(out, 0, sizeof(*out));
    rc = fs->list(fs, see, &s);
    if (rc < 0 || s.failed) {
        (void)snprintf(err, err_size, "list: %s",
                       rc < 0 ? strerror(-rc) : "too many segments");
        skl_wal_scan_free(out);
        return rc < 0 ? SECKILL_EIO : SECKILL_ENOMEM;
    }
    if (out->count > 1) {
        qsort(out->list, out->count, sizeof(out->list[0]), by_seq);
    }
    return SECKILL_OK;
}

static int scan_once(skl_fs_t *fs, const uint8_t *uuid, skl_wal_segments_t *out,
                     char *err, size_t err_size)
{
    int rc = list_all(fs, out, err, err_size);

    if (rc == SECKILL_OK) {
        rc = read_headers(fs, uuid, out, err, err_size);
    }
    if (rc != SECKILL_OK) {
        skl_wal_scan_free(out);
    }
    return rc;
}

int skl_wal_scan_damaged(skl_fs_t *fs, const uint8_t *uuid,
                         skl_wal_segments_t *out, uint32_t *good, char *err,
                         size_t err_size)
{
    int rc = list_all(fs, out, err, err_size);
    int in_order = 1;

    *good = 0;
    for (uint32_t i = 0; rc == SECKILL_OK && i < out->count; i++) {
        const int read = read_header(fs, uuid, &out->list[i]);

        if (read < 0) {
            (void)snprintf(err, err_size, "read wal.%016llx: %s",
                           (unsigned long long)out->list[i].seq,
                           strerror(-read));
            skl_wal_scan_free(out);
            return SECKILL_EIO;
        }
        in_order = in_order && read == 1 &&
                   (i == 0 || check_order(out, i, err, err_size) == SECKILL_OK);
        *good += (uint32_t)in_order;
    }
    return rc;
}

int skl_wal_scan(skl_fs_t *fs, const uint8_t *uuid, skl_wal_segments_t *out,
                 char *err, size_t err_size)
{
    int rc = SCAN_AGAIN;

    /* A file may become another segment between its opening and the reading of
     * its header. Damage is still there when one looks again. */
    for (int i = 0; (i < SCAN_TRIES && rc == SCAN_AGAIN) ||
                    (i < SCAN_SURE && rc == SECKILL_ECORRUPT);
         i++) {
        rc = scan_once(fs, uuid, out, err, err_size);
    }
    return rc == SCAN_AGAIN ? SECKILL_EIO : rc;
}

void skl_wal_scan_free(skl_wal_segments_t *s)
{
    free(s->list);
    memset(s, 0, sizeof(*s));
}
