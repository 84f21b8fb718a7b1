/*
 * Fuzzer of the log's reader and of the replay (libFuzzer).
 *
 * A good log of three segments, with a snapshot in some inputs, is changed by
 * the input: the first byte chooses the mode, then (segment, offset, byte)
 * groups are put into it. Mode 0: as it is; a log whose checksums are wrong
 * must be refused or cut. Mode 1: checksums of batches, records and headers
 * are put right, as an attacker could: every value reaches the replay, which
 * must end with tables that are in order, or with an error. Some are repaired;
 * after that they must open.
 */
#include "base/assert.h"
#include "io/recover.h"
#include "io/repair.h"
#include "io/snapshot.h"
#include "stock/check.h"
#include "test/support/logdir.h"
#include "test/support/memfs.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEGMENTS = 3, GROUP = 5 };

static memfs_t *whole;
static skl_identity_t id;

static void make_whole(void)
{
    skl_identity_t fixed = logdir_identity();
    char err[200];
    logdir_t d;

    fixed.uuid[0] = 1;
    fixed.key.k0 = 1;
    fixed.life_count = 1;
    fixed.lives[0].first_lsn = 1;
    fixed.lives[0].incarnation = 7;
    whole = memfs_new();
    logdir_open_with(&d, &whole->fs, fixed, 1 << 14);
    d.per_batch = 6;
    for (uint64_t i = 0; i < SEGMENTS; i++) {
        if (i > 0) {
            logdir_roll(&d);
        }
        logdir_work(&d, 100, i);
        if (i == 1) {
            skl_assert(skl_snapshot_write(&whole->fs, &d.id, &d.stock.tables,
                                          d.written, d.now, err,
                                          sizeof(err)) == SECKILL_OK);
        }
    }
    id = d.id;
    logdir_close(&d);
}

static memfs_file_t *segment(memfs_t *m, uint64_t seq)
{
    char name[SKL_WAL_NAME];

    skl_wal_name(name, "wal.", seq);
    return memfs_file(m, name);
}

static void without_snapshot(memfs_t *m)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        if (strncmp(m->files[i].name, "snap.", 5) == 0) {
            (void)memfs_unlink(&m->fs, m->files[i].name);
        }
    }
}

/* Offsets count records without the padding of blocks as far as they can: of
 * 4096 bytes the first half is meant twice as often. */
static void change(memfs_t *m, const uint8_t *g)
{
    memfs_file_t *f = segment(m, 1 + g[0] % SEGMENTS);
    const size_t at = ((size_t)g[1] << 16 | (size_t)g[2] << 8 | g[3]) % f->size;

    f->bytes[at] = (char)g[4];
}

static void seal_records(skl_batch_header_t *b, char *units, size_t room)
{
    size_t at = 0;

    for (uint32_t i = 0; i < b->count && at + SKL_UNIT <= room; i++) {
        skl_record_t *r = (void *)(units + at);

        if (r->bytes < SKL_UNIT || r->bytes > SKL_RECORD_MAX ||
            at + r->bytes > room) {
            return;
        }
        r->crc = skl_rec_crc(r, skl_rec_crc_body(r));
        at += (size_t)skl_rec_units(r) * SKL_UNIT;
    }
}

static void seal_all(memfs_file_t *f)
{
    skl_wal_header_t *h = (void *)f->bytes;

    if (h->first_lsn == 0 || h->incarnation == 0) {
        return;
    }
    skl_wal_header_seal(h);
    for (size_t at = SKL_WAL_BLOCK; at + SKL_WAL_BLOCK <= f->size;
         at += SKL_WAL_BLOCK) {
        skl_batch_header_t *b = (void *)(f->bytes + at);
        const size_t room = f->size - at - SKL_UNIT;

        if (b->magic == SKL_BATCH_MAGIC && b->first_lsn >= 1 &&
            b->units <= SKL_BATCH_UNITS_MAX && b->count <= b->units) {
            seal_records(b, f->bytes + at + SKL_UNIT,
                         room < SKL_UNIT * (size_t)b->units
                             ? room
                             : SKL_UNIT * (size_t)b->units);
            skl_batch_header_seal(b);
        }
    }
}

static int recover(memfs_t *m)
{
    char err[600] = "";
    skl_recovered_t r;
    skl_tables_t t;
    int rc;

    skl_assert(skl_tables_new(&id, &t) == SECKILL_OK);
    rc = skl_recover(&m->fs, &id, &t, &r, err, sizeof(err));
    skl_assert(rc == SECKILL_OK || (rc == SECKILL_ECORRUPT && err[0] != '\0'));
    skl_assert(rc != SECKILL_OK || skl_tables_audit(&t, err, sizeof(err)) == 0);
    skl_tables_free(&t);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char err[600];
    uint64_t lsn;
    memfs_t *m;
    int rc;

    if (whole == NULL) {
        make_whole();
    }
    if (size < 1) {
        return 0;
    }
    m = memfs_new();
    memfs_copy(m, whole);
    if (data[0] & 2) {
        without_snapshot(m);
    }
    for (size_t i = 1; i + GROUP <= size; i += GROUP) {
        change(m, data + i);
    }
    if (data[0] & 4) {
        memfs_file_t *f = segment(m, 1 + data[0] / 8 % SEGMENTS);

        f->size = f->size * (data[0] / 32U) / 8;
    }
    for (uint64_t i = 1; (data[0] & 1) && i <= SEGMENTS; i++) {
        if (segment(m, i)->size >= SKL_WAL_BLOCK) {
            seal_all(segment(m, i));
        }
    }
    (void)recover(m);
    if (data[0] & 16) {
        rc = skl_repair(&m->fs, &id, &lsn, err, sizeof(err));
        skl_assert(rc == SECKILL_ECORRUPT || recover(m) == SECKILL_OK);
    }
    memfs_free(m);
    return 0;
}
