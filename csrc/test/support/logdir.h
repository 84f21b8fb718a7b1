/*
 * logdir.h - a ledger in private memory and its log in a directory; header
 * only, for tests, fuzzers and benchmarks.
 *
 * logdir_open() makes an identity, tables and a ring. Operations go through
 * skl_stock_*; logdir_flush() takes the new records out of the ring and writes
 * them as batches of `per_batch` records into segments of `segment_bytes`,
 * without any delay and without a thread. What it writes is what io/wal.h
 * says, so that readers are tested against the format, not against the writer.
 *
 * Threads: one.
 */
#ifndef SKL_TEST_LOGDIR_H
#define SKL_TEST_LOGDIR_H

#include "io/wal.h"
#include "io/wal_identity.h"
#include "shm/counters.h"
#include "stock/image.h"
#include "stock/stock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 2026-01-01, a time like any other. */
#define LOGDIR_T0 1767225600000000000LL
#define LOGDIR_SEC 1000000000LL

typedef struct {
    skl_fs_t *fs;
    skl_identity_t id;
    skl_stock_t stock;
    skl_counters_t counters;
    skl_counters_shm_t *counted;
    void *tables, *ring;
    int64_t now;
    /* How to write; may be changed at any time. */
    uint32_t per_batch;
    uint64_t segment_bytes;
    int digests; /* segments carry one */
    /* Where. */
    int fd;
    uint64_t seq, offset, salt, written, batches, ops;
    char *batch;
    seckill_reservation_t r; /* the last answer */
    seckill_reservation_t earlier;
} logdir_t;

static inline void logdir_must(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "logdir.h: %s\n", what);
        abort();
    }
}

static inline void *logdir_memory(uint64_t bytes)
{
    const uint64_t whole = (bytes + 4095) / 4096 * 4096;
    void *p = aligned_alloc(4096, whole);

    logdir_must(p != NULL, "out of memory");
    memset(p, 0, whole);
    return p;
}

/* Small tables: they fill up, and ids retire soon. */
static inline skl_identity_t logdir_identity(void)
{
    skl_identity_t id = {.window_ns = 60 * LOGDIR_SEC,
                         .request_ids = SECKILL_IDS_OPAQUE,
                         .items = 8,
                         .reservations = 64,
                         .users = 64,
                         .requests = 128};

    return id;
}

static inline void logdir_attach(logdir_t *d, uint32_t log_units)
{
    const skl_identity_t *id = &d->id;

    d->tables = logdir_memory(
        skl_tables_bytes(id->items, id->reservations, id->users, id->requests));
    d->ring = logdir_memory(skl_ring_bytes(log_units));
    d->counted = logdir_memory(sizeof(*d->counted));
    d->batch = logdir_memory(SKL_UNIT * (1 + SKL_BATCH_UNITS_MAX));
    skl_counters_init(d->counted);
    skl_counters_attach(&d->counters, d->counted);
    skl_tables_init(d->tables, id->items, id->reservations, id->users,
                    id->requests);
    skl_ring_init(d->ring, log_units);
    skl_stock_attach(&d->stock, d->tables, d->ring, &id->key, &d->counters);
    skl_ring_begin_life(&d->stock.ring, 1, id->lives[0].incarnation);
    d->stock.window_ns = id->window_ns;
    d->stock.request_ids = id->request_ids;
}

static inline void logdir_open_with(logdir_t *d, skl_fs_t *fs,
                                    skl_identity_t id, uint32_t log_units)
{
    char err[200];

    memset(d, 0, sizeof(*d));
    d->fs = fs;
    d->id = id;
    d->fd = -1;
    d->now = LOGDIR_T0;
    d->per_batch = 4;
    d->segment_bytes = 1 << 20;
    d->digests = 1;
    if (d->id.life_count == 0) {
        logdir_must(skl_identity_make(&d->id) == SECKILL_OK, "identity");
    }
    logdir_must(skl_identity_write(fs, &d->id, err, sizeof(err)) == SECKILL_OK,
                "identity");
    logdir_attach(d, log_units);
}

static inline void logdir_open(logdir_t *d, skl_fs_t *fs)
{
    logdir_open_with(d, fs, logdir_identity(), 1 << 14);
}

static inline void logdir_close(logdir_t *d)
{
    if (d->fd >= 0) {
        (void)d->fs->close(d->fs, d->fd);
    }
    free(d->tables);
    free(d->ring);
    free(d->counted);
    free(d->batch);
}

/* ---- Writing ------------------------------------------------------------- */

/* Begin a segment with the record after `written`. */
static inline void logdir_roll(logdir_t *d)
{
    char block[SKL_WAL_BLOCK] = {0}, name[SKL_WAL_NAME];
    skl_wal_header_t h = {.first_lsn = d->written + 1};

    if (d->fd >= 0) {
        (void)d->fs->close(d->fs, d->fd);
    }
    memcpy(h.uuid, d->id.uuid, sizeof(h.uuid));
    h.seq = ++d->seq;
    d->salt = skl_mix64(d->seq + d->id.key.k0) | 1;
    h.salt = d->salt;
    h.incarnation = d->id.lives[d->id.life_count - 1].incarnation;
    h.created = d->now;
    h.digest = d->digests && d->written == skl_ring_tail(&d->stock.ring)
                   ? skl_image_digest(&d->stock.tables)
                   : 0;
    skl_wal_header_seal(&h);
    memcpy(block, &h, sizeof(h));
    skl_wal_name(name, "wal.", d->seq);
    d->fd = d->fs->open(d->fs, name, SKL_FS_CREATE);
    logdir_must(d->fd >= 0, "create a segment");
    logdir_must(skl_fs_write_all(d->fs, d->fd, block, sizeof(block), 0) == 0,
                "write");
    d->offset = SKL_WAL_BLOCK;
}

/* Write the batch of `count` records, of `units`, that is in d->batch. */
static inline void logdir_write(logdir_t *d, uint32_t count, uint32_t units)
{
    skl_batch_header_t *b = (void *)d->batch;
    const uint64_t bytes = skl_batch_bytes(units);

    memset(b, 0, sizeof(*b));
    b->salt = d->salt;
    b->first_lsn = d->written + 1;
    b->durable = d->written;
    b->count = count;
    b->units = units;
    b->time = d->now;
    memcpy(b->boot_id, "boot", 4);
    skl_batch_header_seal(b);
    memset(d->batch + SKL_UNIT * (1 + units), 0,
           bytes - SKL_UNIT * (1ULL + units));
    logdir_must(skl_fs_write_all(d->fs, d->fd, d->batch, bytes, d->offset) == 0,
                "write");
    d->offset += bytes;
    d->written += count;
    d->batches++;
}

/* A batch without records: everything before it is durable. */
static inline void logdir_seal(logdir_t *d)
{
    logdir_write(d, 0, 0);
}

/* Put record `lsn` into the batch behind `units`; its units, or 0: it does not
 * fit. */
static inline uint32_t logdir_add(logdir_t *d, uint64_t lsn, uint32_t units)
{
    skl_record_t r;
    uint32_t n;

    memset(&r, 0, sizeof(r));
    logdir_must(skl_ring_read(&d->stock.ring, lsn, &r),
                "a record left the ring: flush more often");
    n = skl_rec_units(&r);
    if (units + n > SKL_BATCH_UNITS_MAX) {
        return 0;
    }
    memset((char *)&r + r.bytes, 0, n * (size_t)SKL_UNIT - r.bytes);
    memcpy(d->batch + SKL_UNIT * (1 + units), &r, n * (size_t)SKL_UNIT);
    return n;
}

/* Write the new records. */
static inline void logdir_flush(logdir_t *d)
{
    const uint64_t tail = skl_ring_tail(&d->stock.ring);

    while (d->written < tail || d->fd < 0) {
        uint32_t count = 0, units = 0, n = 1;

        if (d->fd < 0 || d->offset >= d->segment_bytes) {
            logdir_roll(d);
        }
        while (count < d->per_batch && d->written + count < tail && n > 0) {
            n = logdir_add(d, d->written + 1 + count, units);
            units += n;
            count += n > 0;
        }
        if (count > 0) {
            logdir_write(d, count, units);
        }
    }
}

/* Begin another life: what was not flushed never was. */
static inline void logdir_next_life(logdir_t *d)
{
    char err[200];

    logdir_must(d->written == skl_ring_tail(&d->stock.ring), "flush first");
    skl_identity_raise(&d->id, d->written + 1);
    logdir_must(skl_identity_write(d->fs, &d->id, err, sizeof(err)) ==
                    SECKILL_OK,
                "identity");
    skl_ring_begin_life(&d->stock.ring, d->written + 1,
                        d->id.lives[d->id.life_count - 1].incarnation);
    logdir_roll(d);
}

/* ---- Operations ---------------------------------------------------------- */

static inline skl_bytes_t logdir_bytes(const char *s)
{
    skl_bytes_t b = {s, strlen(s)};

    return b;
}

static inline int logdir_put(logdir_t *d, const char *name, int64_t total,
                             int64_t version)
{
    seckill_item_t i = {.struct_size = sizeof(i),
                        .item_len = (uint32_t)strlen(name),
                        .total = total,
                        .hold_ns = (1 + version % 3) * 5 * LOGDIR_SEC,
                        .version = version};

    memcpy(i.item, name, strlen(name));
    return skl_stock_put(&d->stock, &i, d->now);
}

static inline int logdir_several(logdir_t *d, const char *item,
                                 const char *user, const char *request,
                                 int64_t qty)
{
    return skl_stock_reserve(&d->stock, logdir_bytes(item), logdir_bytes(user),
                             qty, logdir_bytes(request), d->now, &d->r);
}

static inline int logdir_reserve(logdir_t *d, const char *item,
                                 const char *user, const char *request)
{
    return logdir_several(d, item, user, request, 1);
}

static inline skl_bytes_t logdir_id(const logdir_t *d)
{
    skl_bytes_t b = {d->r.id, d->r.id_len};

    return b;
}

static inline uint64_t logdir_random(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15ULL;
    return skl_mix64(*seed);
}

/* Orders of up to four lines; what follows applies to them, too. */
static inline int logdir_lines(logdir_t *d, const char *user,
                               const char *request, uint64_t dice)
{
    seckill_line_t lines[4];
    seckill_order_t o;
    uint32_t refused;
    int rc;

    memset(lines, 0, sizeof(lines));
    for (uint32_t i = 0; i < 4; i++) {
        lines[i].qty = 2 - (int64_t)i % 2; /* the first one: in part */
        lines[i].item_len = 5;
        snprintf(lines[i].item, sizeof(lines[i].item), "item%u",
                 (unsigned)(dice + i) % 5);
    }
    rc = skl_stock_order(&d->stock, logdir_bytes(user), logdir_bytes(request),
                         lines, 1 + dice / 8 % 4, d->now, &o, &refused);
    if (rc == SECKILL_OK) {
        memcpy(d->r.id, o.id, o.id_len);
        d->r.id_len = o.id_len;
    }
    return rc;
}

/* The id of an earlier order: it may have expired, or be gone. */
static inline void logdir_late(logdir_t *d, uint64_t dice)
{
    const seckill_reservation_t now = d->r;

    if (d->earlier.id_len > 0) {
        d->r = d->earlier;
        (void)skl_stock_confirm_with(&d->stock, logdir_id(d), 0, dice % 2 == 0,
                                     d->now);
    }
    d->earlier = now;
    d->r = now;
}

/* One order and what becomes of it. */
static inline void logdir_order(logdir_t *d, uint64_t n, uint64_t dice)
{
    char item[16], user[16], request[24];

    snprintf(item, sizeof(item), "item%u", (unsigned)(dice % 5));
    snprintf(user, sizeof(user), "user%u", (unsigned)(dice / 8 % 40));
    snprintf(request, sizeof(request), "request-%llu", (unsigned long long)n);
    if ((dice / 65536 % 4 == 0
             ? logdir_lines(d, user, request, dice / 262144)
             : logdir_several(d, item, user, request,
                              1 + (int64_t)(dice % 3))) != SECKILL_OK) {
        return;
    }
    if (dice / 512 % 4 < 2) {
        (void)skl_stock_confirm_with(&d->stock, logdir_id(d),
                                     (int64_t)(dice / 512 % 2), 0, d->now);
    } else if (dice / 512 % 4 == 2) {
        (void)skl_stock_cancel(&d->stock, logdir_id(d), d->now);
    }
    if (dice / 2048 % 16 == 3) {
        logdir_late(d, dice / 16384);
    }
    if (dice / 4096 % 5 == 0) {
        snprintf(request, sizeof(request), "refund-%llu",
                 (unsigned long long)n);
        (void)skl_stock_refund(&d->stock, logdir_id(d), logdir_bytes(request),
                               d->now);
    }
}

static inline void logdir_care(logdir_t *d, uint64_t n, uint64_t dice)
{
    char item[16], request[24];

    snprintf(item, sizeof(item), "item%u", (unsigned)(dice % 5));
    snprintf(request, sizeof(request), "adjust-%llu", (unsigned long long)n);
    switch (dice / 8 % 8) {
    case 0:
        (void)skl_stock_pause(&d->stock, logdir_bytes(item), 1, d->now);
        (void)skl_stock_pause(&d->stock, logdir_bytes(item), 0, d->now);
        break;
    case 1:
        (void)skl_stock_adjust(&d->stock, logdir_bytes(item), 3,
                               logdir_bytes(request), d->now);
        break;
    case 2:
        if (dice / 64 % 8 == 0) {
            (void)skl_stock_remove(&d->stock, logdir_bytes(item), d->now);
        }
        break;
    case 3:
        d->now += (int64_t)(dice / 64 % 20) * LOGDIR_SEC;
        break;
    case 4:
        (void)skl_stock_sweep(&d->stock, 1 << 16, d->now);
        break;
    default:
        (void)logdir_put(d, item, 1000 + (int64_t)(dice / 64 % 50),
                         (int64_t)n + 1);
    }
}

/* A mix of everything, `count` times; flushed. */
static inline void logdir_work(logdir_t *d, uint32_t count, uint64_t seed)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t dice = logdir_random(&seed);

        d->now += 1000000;
        if (dice % 4 == 0) {
            logdir_care(d, ++d->ops, dice / 4);
        } else {
            logdir_order(d, ++d->ops, dice / 4);
        }
        if (i % 64 == 63) {
            logdir_flush(d);
        }
    }
    logdir_flush(d);
}

#endif
