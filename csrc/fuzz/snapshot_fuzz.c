/*
 * Fuzzer of snapshots (libFuzzer).
 *
 * The input changes a good snapshot, in (offset, byte) groups. Mode 0: as it
 * is: the checksum is wrong, it must be refused. Mode 1: checksums are put
 * right: what passes the checks must be such that every operation works on it,
 * so a mix of them is run, then the tables are checked and audited again.
 */
#include "base/assert.h"
#include "base/crc32c.h"
#include "io/recover.h"
#include "io/snapshot.h"
#include "stock/check.h"
#include "test/support/logdir.h"
#include "test/support/memfs.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { GROUP = 4, BLOCK = 4096, CRC_AT = 8, DIGEST_AT = 80 };

static memfs_t *whole;
static logdir_t base; /* identity, ring and counters */
static char name[SKL_WAL_NAME];

static void make_whole(void)
{
    skl_identity_t fixed = logdir_identity();
    char err[200];

    fixed.uuid[0] = 1;
    fixed.key.k0 = 1;
    fixed.life_count = 1;
    fixed.lives[0].first_lsn = 1;
    fixed.lives[0].incarnation = 7;
    whole = memfs_new();
    logdir_open_with(&base, &whole->fs, fixed, 1 << 14);
    base.per_batch = 100;
    logdir_work(&base, 400, 1);
    skl_assert(skl_snapshot_write(&whole->fs, &base.id, &base.stock.tables,
                                  base.written, base.now, err,
                                  sizeof(err)) == SECKILL_OK);
    skl_wal_name(name, "snap.", base.written);
}

static void put_checksums(memfs_file_t *f)
{
    const uint64_t digest =
        1ULL << 32 | skl_crc32c(0, f->bytes + BLOCK, f->size - BLOCK);
    uint32_t crc;

    memcpy(f->bytes + DIGEST_AT, &digest, sizeof(digest));
    crc = skl_crc32c(0, f->bytes + 12, 256 - 12);
    memcpy(f->bytes + CRC_AT, &crc, sizeof(crc));
}

/* The operations, on the tables that were loaded. */
static void use(skl_tables_t *t)
{
    memfs_t *m = memfs_new();
    logdir_t d = base;
    char text[300];
    int rc;

    d.fs = &m->fs;
    d.fd = -1;
    d.stock.tables = *t;
    d.ops = 1000000;
    d.r.id_len = d.earlier.id_len = 0;
    logdir_work(&d, 150, 3);
    d.now += 3600 * LOGDIR_SEC;
    (void)skl_stock_sweep(&d.stock, 1 << 16, d.now);
    d.written = skl_ring_tail(&d.stock.ring);
    (void)d.fs->close(d.fs, d.fd);
    rc = skl_tables_check(t, text, sizeof(text));
    if (rc != 0) {
        fprintf(stderr, "after use: %s\n", text);
    }
    skl_assert(rc == 0);
    skl_assert(skl_tables_audit(t, text, sizeof(text)) == 0);
    base.written = d.written;
    memfs_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char err[600] = "";
    uint64_t lsn;
    int64_t time;
    skl_tables_t t;
    memfs_file_t *f;
    memfs_t *m;
    int rc, changed;

    if (whole == NULL) {
        make_whole();
    }
    if (size < 1) {
        return 0;
    }
    m = memfs_new();
    f = memfs_file(whole, name);
    memfs_put(m, name, f->bytes, f->size);
    f = memfs_file(m, name);
    for (size_t i = 1; i + GROUP <= size; i += GROUP) {
        const size_t n =
            (size_t)data[i] << 16 | (size_t)data[i + 1] << 8 | data[i + 2];
        /* The first block is mostly zeros: count without them. */
        const size_t at = n % (f->size - BLOCK + 256);

        f->bytes[at < 256 ? at : at - 256 + BLOCK] = (char)data[i + 3];
    }
    changed = memcmp(f->bytes, memfs_file(whole, name)->bytes, f->size) != 0;
    if (data[0] & 1) {
        put_checksums(f);
    }
    skl_assert(skl_tables_new(&base.id, &t) == SECKILL_OK);
    rc = skl_snapshot_load(&m->fs, &base.id, &t, &lsn, &time, err, sizeof(err));
    skl_assert(rc == SECKILL_OK || (rc == SECKILL_ECORRUPT && err[0] != '\0'));
    skl_assert((data[0] & 1) || !changed || rc == SECKILL_ECORRUPT);
    if (rc == SECKILL_OK) {
        use(&t);
    }
    skl_tables_free(&t);
    memfs_free(m);
    return 0;
}
