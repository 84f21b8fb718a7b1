/*
 * Tests of snapshots: images, building from full segments, digests, damage at
 * every byte of the header, keeping two, recycling.
 */
#include "io/snapshot.h"

#include "io/cursor.h"
#include "io/recover.h"
#include "stock/check.h"
#include "stock/image.h"
#include "test/support/logdir.h"
#include "test/support/memfs.h"
#include "test/support/tap.h"

static char err[400];

static int load(logdir_t *d, skl_tables_t *t, uint64_t *lsn)
{
    int64_t time;

    err[0] = '\0';
    CHECK_INT(SECKILL_OK, skl_tables_new(&d->id, t));
    return skl_snapshot_load(d->fs, &d->id, t, lsn, &time, err, sizeof(err));
}

static int write_now(logdir_t *d)
{
    return skl_snapshot_write(d->fs, &d->id, &d->stock.tables, d->written,
                              d->now, err, sizeof(err));
}

/* Build one, in steps of `max`: the code; records that it took. */
static int build(logdir_t *d, uint32_t max, uint64_t *records)
{
    skl_snapshot_build_t *b;
    uint64_t done = 0, total = 0, before = 0;
    int rc;

    err[0] = '\0';
    rc = skl_snapshot_build_begin(d->fs, &b, err, sizeof(err));
    if (rc != SECKILL_OK) {
        return rc;
    }
    while ((rc = skl_snapshot_build_step(b, max, &done, &total)) == 1) {
        CHECK(done >= before && done <= total);
        before = done;
    }
    CHECK(rc != 0 || done == total);
    snprintf(err, sizeof(err), "%s", skl_snapshot_build_error(b));
    skl_snapshot_build_end(b);
    *records = total;
    return rc;
}

static uint32_t count_files(memfs_t *m, const char *prefix)
{
    uint32_t n = 0;

    for (int i = 0; i < MEMFS_FILES; i++) {
        n += strncmp(m->files[i].name, prefix, strlen(prefix)) == 0;
    }
    return n;
}

/* ---- Images -------------------------------------------------------------- */

TEST(image_is_without_locks_and_in_any_pieces)
{
    memfs_t *m = memfs_new();
    uint64_t bytes, before;
    char *whole, *pieces;
    logdir_t d;

    logdir_open(&d, &m->fs);
    logdir_work(&d, 300, 1);
    bytes = skl_image_bytes(&d.stock.tables);
    before = skl_tables_digest(&d.stock.tables);
    CHECK(before >> 32 == 1);
    whole = malloc(bytes);
    pieces = malloc(bytes);
    skl_image_copy(&d.stock.tables, 0, bytes, whole);
    for (size_t n = 1; n < 400; n += 37) {
        for (uint64_t at = 0; at < bytes; at += n) {
            const size_t part = bytes - at < n ? (size_t)(bytes - at) : n;

            skl_image_copy(&d.stock.tables, at, part, pieces + at);
        }
        CHECK_MEM(whole, pieces, bytes);
    }
    /* Locks and sequences do not count, anything else does. */
    atomic_fetch_add(&d.stock.tables.items[3].seq, 2);
    atomic_fetch_add(&d.stock.tables.shards[0].lock.intent, 5);
    CHECK(before == skl_tables_digest(&d.stock.tables));
    atomic_fetch_add(&d.stock.tables.items[3].available, 1);
    CHECK(before != skl_tables_digest(&d.stock.tables));
    free(whole);
    free(pieces);
    logdir_close(&d);
    memfs_free(m);
}

/* ---- Write and load ------------------------------------------------------ */

TEST(snapshot_comes_back_as_it_was)
{
    memfs_t *m = memfs_new();
    uint64_t lsn, first;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    logdir_work(&d, 500, 1);
    m->most = 5000;
    CHECK_INT(SECKILL_OK, load(&d, &t, &lsn));
    CHECK_INT(0, lsn);
    skl_tables_free(&t);
    CHECK_INT(SECKILL_OK, write_now(&d));
    CHECK_INT(0, count_files(m, "snap.0000000000000000"));
    CHECK_INT(SECKILL_OK, load(&d, &t, &lsn));
    CHECK_INT(d.written, lsn);
    CHECK_INT(0, skl_image_differing(&d.stock.tables, &t, &first));
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

TEST(snapshot_that_is_damaged_gives_way_to_the_older_one)
{
    memfs_t *m = memfs_new();
    memfs_file_t *f;
    char name[SKL_WAL_NAME];
    uint64_t older, newer, lsn;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    logdir_work(&d, 200, 1);
    CHECK_INT(SECKILL_OK, write_now(&d));
    older = d.written;
    logdir_work(&d, 200, 2);
    CHECK_INT(SECKILL_OK, write_now(&d));
    newer = d.written;
    skl_wal_name(name, "snap.", newer);
    f = memfs_file(m, name);
    for (size_t at = 0; at < f->size; at += at < 256 ? 1 : 997) {
        f->bytes[at] ^= 1;
        CHECK_INT(SECKILL_OK, load(&d, &t, &lsn));
        if (!CHECK_INT(at >= 256 && at < 4096 ? newer : older, lsn)) {
            printf("#   byte %d\n", (int)at);
        }
        skl_tables_free(&t);
        f->bytes[at] ^= 1;
    }
    f->size--;
    CHECK_INT(SECKILL_OK, load(&d, &t, &lsn));
    CHECK_INT(older, lsn);
    skl_tables_free(&t);
    skl_wal_name(name, "snap.", older);
    memfs_file(m, name)->size = 10;
    CHECK_INT(SECKILL_ECORRUPT, load(&d, &t, &lsn));
    CHECK(strstr(err, name) != NULL);
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

TEST(snapshot_of_broken_tables_is_refused)
{
    memfs_t *m = memfs_new();
    uint64_t lsn;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    logdir_work(&d, 200, 1);
    SKL_ST(d.stock.tables.shards[0].request_free, 1000000);
    CHECK_INT(SECKILL_OK, write_now(&d));
    CHECK_INT(SECKILL_ECORRUPT, load(&d, &t, &lsn));
    CHECK(strstr(err, "free ids") != NULL);
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

TEST(snapshot_of_another_ledger_is_refused)
{
    memfs_t *m = memfs_new();
    uint64_t lsn;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    logdir_work(&d, 200, 1);
    CHECK_INT(SECKILL_OK, write_now(&d));
    d.id.uuid[3] ^= 1;
    CHECK_INT(SECKILL_ECORRUPT, load(&d, &t, &lsn));
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

/* ---- Building ------------------------------------------------------------ */

TEST(snapshot_is_built_from_the_segments_that_are_full)
{
    memfs_t *m = memfs_new();
    uint64_t records, lsn, target;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    CHECK_INT(SECKILL_ENOTFOUND, build(&d, 100, &records));
    logdir_work(&d, 100, 1);
    CHECK_INT(SECKILL_ENOTFOUND, build(&d, 100, &records));
    target = d.written;
    logdir_roll(&d);
    logdir_work(&d, 100, 2);
    CHECK_INT(0, build(&d, 7, &records));
    CHECK_INT(target, records);
    CHECK_INT(SECKILL_OK, load(&d, &t, &lsn));
    CHECK_INT(target, lsn);
    skl_tables_free(&t);
    CHECK_INT(SECKILL_ENOTFOUND, build(&d, 100, &records));
    target = d.written - target;
    logdir_roll(&d);
    CHECK_INT(0, build(&d, 100000, &records));
    CHECK_INT(target, records);
    logdir_close(&d);
    memfs_free(m);
}

TEST(snapshot_build_compares_the_digests)
{
    memfs_t *m = memfs_new();
    skl_wal_header_t *h;
    uint64_t records;
    logdir_t d;

    logdir_open(&d, &m->fs);
    logdir_work(&d, 100, 1);
    logdir_roll(&d);
    logdir_work(&d, 100, 2);
    logdir_roll(&d);
    for (int seq = 3; seq >= 2; seq--) {
        char name[SKL_WAL_NAME];

        skl_wal_name(name, "wal.", (uint64_t)seq);
        h = (void *)memfs_file(m, name)->bytes;
        CHECK(h->digest >> 32 == 1);
        h->digest ^= 1;
        skl_wal_header_seal(h);
        CHECK_INT(SECKILL_ECORRUPT, build(&d, 50, &records));
        CHECK(strstr(err, name) != NULL && strstr(err, "digest") != NULL);
        h->digest ^= 1;
        skl_wal_header_seal(h);
    }
    CHECK_INT(0, count_files(m, "snap."));
    CHECK_INT(0, build(&d, 50, &records));
    CHECK_INT(1, count_files(m, "snap."));
    logdir_close(&d);
    memfs_free(m);
}

/* ---- Recycling ----------------------------------------------------------- */

/* Four full segments, a snapshot after each. */
static uint64_t four_snapshots(logdir_t *d)
{
    uint64_t records;

    for (uint64_t i = 0; i < 4; i++) {
        logdir_work(d, 60, i);
        logdir_roll(d);
        CHECK_INT(0, build(d, 1000, &records));
    }
    return d->written;
}

TEST(snapshot_recycles_what_is_behind_the_older_one)
{
    memfs_t *m = memfs_new();
    skl_recovered_t r;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    four_snapshots(&d);
    CHECK_INT(2, count_files(m, "snap."));
    CHECK_INT(3, count_files(m, "free."));
    CHECK_INT(2, count_files(m, "wal."));
    /* The older one is enough. */
    for (int i = 0; i < MEMFS_FILES; i++) {
        char name[SKL_WAL_NAME];

        skl_wal_name(name, "snap.", d.written);
        if (strcmp(m->files[i].name, name) == 0) {
            m->files[i].bytes[5000] ^= 1;
        }
    }
    CHECK_INT(SECKILL_OK, skl_tables_new(&d.id, &t));
    CHECK_INT(SECKILL_OK, skl_recover(&m->fs, &d.id, &t, &r, err, sizeof(err)));
    CHECK_INT(d.written, r.last_lsn);
    CHECK(r.snapshot_lsn < d.written && r.snapshot_lsn > 0);
    CHECK(skl_image_digest(&t) == skl_image_digest(&d.stock.tables));
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

/* Damage the newest snapshot, and recover: the LSN of the one that was used. */
static uint64_t recover_without_newest(memfs_t *m, logdir_t *d)
{
    uint64_t lsn, bytes;
    uint32_t count;
    char name[SKL_WAL_NAME];
    skl_recovered_t r;
    skl_tables_t t;
    int rc;

    CHECK_INT(SECKILL_OK,
              skl_snapshot_newest(&m->fs, &d->id, &lsn, &count, &bytes));
    skl_wal_name(name, "snap.", lsn);
    memfs_file(m, name)->bytes[5000] ^= 1;
    CHECK_INT(SECKILL_OK, skl_tables_new(&d->id, &t));
    rc = skl_recover(&m->fs, &d->id, &t, &r, err, sizeof(err));
    if (!CHECK_INT(SECKILL_OK, rc)) {
        printf("#   %s\n", err);
    }
    CHECK_INT(d->written, r.last_lsn);
    CHECK(skl_image_digest(&t) == skl_image_digest(&d->stock.tables));
    skl_tables_free(&t);
    memfs_file(m, name)->bytes[5000] ^= 1;
    return r.snapshot_lsn;
}

/* Who builds goes on until nothing is left, and then looks again. */
TEST(snapshot_run_keeps_the_log_behind_the_older_one)
{
    memfs_t *m = memfs_new();
    uint64_t records, older = 0;
    logdir_t d;

    logdir_open(&d, &m->fs);
    for (uint64_t i = 0; i < 4; i++) {
        older = d.written;
        logdir_work(&d, 60, i);
        logdir_roll(&d);
        CHECK_INT(0, build(&d, 1000, &records));
        CHECK_INT(SECKILL_ENOTFOUND, build(&d, 1000, &records));
        CHECK_INT(0, skl_snapshot_recycle(&m->fs, &d.id, 0, err, sizeof(err)));
        if (i > 0) {
            CHECK_INT(older, recover_without_newest(m, &d));
        }
    }
    CHECK_INT(3, count_files(m, "free."));
    /* Full, but there are files to be used again. */
    CHECK_INT(0, skl_snapshot_recycle(&m->fs, &d.id, 1, err, sizeof(err)));
    CHECK_INT(older, recover_without_newest(m, &d));
    logdir_close(&d);
    memfs_free(m);
}

TEST(snapshot_that_is_the_newest_is_enough_for_a_full_log)
{
    memfs_t *m = memfs_new();
    uint64_t records;
    skl_recovered_t r;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    for (uint64_t i = 0; i < 3; i++) {
        logdir_work(&d, 60, i);
        logdir_roll(&d);
    }
    CHECK_INT(0, build(&d, 1000, &records));
    CHECK_INT(SECKILL_ENOTFOUND, build(&d, 1000, &records));
    CHECK_INT(0, count_files(m, "free."));
    CHECK_INT(SECKILL_OK, skl_cursor_set(&m->fs, &d.id, "feed", 0, 0, 1));
    CHECK_INT(0, skl_snapshot_recycle(&m->fs, &d.id, 1, err, sizeof(err)));
    CHECK_INT(SECKILL_OK, skl_cursor_drop(&m->fs, &d.id, "feed"));
    CHECK_INT(3, skl_snapshot_recycle(&m->fs, &d.id, 1, err, sizeof(err)));
    CHECK_INT(1, count_files(m, "wal."));
    CHECK_INT(SECKILL_OK, skl_tables_new(&d.id, &t));
    CHECK_INT(SECKILL_OK, skl_recover(&m->fs, &d.id, &t, &r, err, sizeof(err)));
    CHECK_INT(d.written, r.last_lsn);
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

TEST(snapshot_recycles_nothing_that_a_cursor_needs)
{
    memfs_t *m = memfs_new();
    logdir_t d;

    logdir_open(&d, &m->fs);
    CHECK_INT(SECKILL_OK, skl_cursor_set(&m->fs, &d.id, "feed", 0, 0, 1));
    four_snapshots(&d);
    CHECK_INT(0, count_files(m, "free."));
    CHECK_INT(SECKILL_OK, skl_cursor_set(&m->fs, &d.id, "feed", 1,
                                         d.id.lives[0].incarnation, 0));
    CHECK_INT(0, skl_snapshot_recycle(&m->fs, &d.id, 0, err, sizeof(err)));
    CHECK_INT(SECKILL_OK, skl_cursor_drop(&m->fs, &d.id, "feed"));
    CHECK_INT(3, skl_snapshot_recycle(&m->fs, &d.id, 0, err, sizeof(err)));
    CHECK_INT(0, skl_snapshot_recycle(&m->fs, &d.id, 0, err, sizeof(err)));
    logdir_close(&d);
    memfs_free(m);
}

TEST(snapshot_recycles_nothing_while_a_cursor_cannot_be_read)
{
    memfs_t *m = memfs_new();
    logdir_t d;

    logdir_open(&d, &m->fs);
    CHECK_INT(SECKILL_OK, skl_cursor_set(&m->fs, &d.id, "feed", 0, 0, 1));
    four_snapshots(&d);
    memfs_file(m, "cursor.feed")->bytes[33] ^= 1;
    CHECK_INT(SECKILL_ECORRUPT,
              skl_snapshot_recycle(&m->fs, &d.id, 0, err, sizeof(err)));
    CHECK_INT(0, count_files(m, "free."));
    logdir_close(&d);
    memfs_free(m);
}

/* A bad sector: the others do, and what is behind them is recycled again. */
TEST(snapshot_that_cannot_be_read_is_passed_over)
{
    memfs_t *m = memfs_new();
    char name[SKL_WAL_NAME];
    uint64_t lsn, older = 0, records;
    skl_recovered_t r;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    for (uint64_t i = 0; i < 2; i++) {
        older = d.written;
        logdir_work(&d, 60, i);
        logdir_roll(&d);
        CHECK_INT(0, build(&d, 1000, &records));
    }
    skl_wal_name(name, "snap.", d.written);
    m->bad = name;
    CHECK_INT(1, load(&d, &t, &lsn));
    CHECK_INT(older, lsn);
    skl_tables_free(&t);
    CHECK_INT(SECKILL_OK, skl_tables_new(&d.id, &t));
    CHECK_INT(SECKILL_OK, skl_recover(&m->fs, &d.id, &t, &r, err, sizeof(err)));
    CHECK_INT(d.written, r.last_lsn);
    skl_tables_free(&t);
    for (uint64_t i = 2; i < 4; i++) {
        CHECK(memfs_file(m, name) != NULL);
        logdir_work(&d, 60, i);
        logdir_roll(&d);
        CHECK_INT(0, build(&d, 1000, &records));
    }
    CHECK(memfs_file(m, name) == NULL);
    CHECK_INT(2, count_files(m, "snap."));
    CHECK_INT(3, count_files(m, "free."));
    m->bad = "snap.";
    CHECK_INT(SECKILL_EIO, load(&d, &t, &lsn));
    skl_tables_free(&t);
    CHECK_INT(2, skl_snapshot_lose(&m->fs, &d.id, err, sizeof(err)));
    logdir_close(&d);
    memfs_free(m);
}

static int recover(const logdir_t *d, memfs_t *m, uint64_t *lsn)
{
    skl_recovered_t r = {0};
    skl_tables_t t;
    int rc = skl_tables_new(&d->id, &t);

    CHECK_INT(SECKILL_OK, rc);
    rc = skl_recover(&m->fs, &d->id, &t, &r, err, sizeof(err));
    skl_tables_free(&t);
    *lsn = r.last_lsn;
    return rc;
}

/* A disk that fails for a moment is no damage, also where the log is kept
 * behind the newest one only. */
TEST(snapshot_that_cannot_be_read_is_not_damaged)
{
    memfs_t *m = memfs_new();
    char name[SKL_WAL_NAME];
    uint64_t records, lsn;
    logdir_t d;

    logdir_open(&d, &m->fs);
    for (uint64_t i = 0; i < 2; i++) {
        logdir_work(&d, 60, i);
        logdir_roll(&d);
        CHECK_INT(0, build(&d, 1000, &records));
    }
    CHECK(skl_snapshot_recycle(&m->fs, &d.id, 1, err, sizeof(err)) >= 0);
    skl_wal_name(name, "wal.", 2);
    (void)m->fs.unlink(&m->fs, name);
    skl_wal_name(name, "snap.", d.written);
    m->bad = name;
    CHECK_INT(SECKILL_EIO, recover(&d, m, &lsn));
    CHECK(strstr(err, name) != NULL);
    m->bad = NULL;
    CHECK_INT(SECKILL_OK, recover(&d, m, &lsn));
    CHECK_INT(d.written, lsn);
    logdir_close(&d);
    memfs_free(m);
}

/* Damaged ones do not count among the two that are kept. */
TEST(snapshot_recycle_counts_whole_ones)
{
    memfs_t *m = memfs_new();
    char name[SKL_WAL_NAME];
    logdir_t d;

    logdir_open(&d, &m->fs);
    for (uint64_t i = 0; i < 3; i++) {
        logdir_work(&d, 60, i);
        logdir_roll(&d);
        CHECK_INT(SECKILL_OK, write_now(&d));
        if (i == 1) {
            skl_wal_name(name, "snap.", d.written);
        }
    }
    memfs_file(m, name)->bytes[6000] ^= 1;
    CHECK_INT(1, skl_snapshot_recycle(&m->fs, &d.id, 0, err, sizeof(err)));
    CHECK_INT(3, count_files(m, "snap."));
    CHECK_INT(1, skl_snapshot_lose(&m->fs, &d.id, err, sizeof(err)));
    CHECK_INT(1, count_files(m, name) > 0);
    CHECK(memfs_file(m, name) == NULL);
    logdir_close(&d);
    memfs_free(m);
}

TAP_MAIN()
