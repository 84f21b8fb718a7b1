/*
 * Tests of the repair: what is cut off, what is kept, and that a log can be
 * opened afterwards, whatever was damaged.
 */
/* runs: long */
#include "io/repair.h"

#include "io/recover.h"
#include "io/snapshot.h"
#include "stock/image.h"
#include "test/support/logdir.h"
#include "test/support/memfs.h"
#include "test/support/tap.h"

static char err[600];

static const char *repair(memfs_t *m, const skl_identity_t *id, uint64_t *lsn)
{
    err[0] = '\0';
    return seckill_errname(skl_repair(&m->fs, id, lsn, err, sizeof(err)));
}

static int recover(memfs_t *m, const skl_identity_t *id, uint64_t *lsn)
{
    skl_recovered_t r;
    skl_tables_t t;
    int rc;

    CHECK_INT(SECKILL_OK, skl_tables_new(id, &t));
    rc = skl_recover(&m->fs, id, &t, &r, err, sizeof(err));
    skl_tables_free(&t);
    *lsn = r.last_lsn;
    return rc;
}

static memfs_file_t *file(memfs_t *m, const char *prefix, uint64_t number)
{
    char name[SKL_WAL_NAME];

    skl_wal_name(name, prefix, number);
    return memfs_file(m, name);
}

/* Repaired, it opens with the LSN that the repair said; once is enough. */
static int is_repaired(memfs_t *m, const skl_identity_t *id, uint64_t want)
{
    uint64_t lsn, again;

    return CHECK_STR("ok", repair(m, id, &lsn)) && CHECK_INT(want, lsn) &&
           CHECK_INT(SECKILL_OK, recover(m, id, &again)) &&
           CHECK_INT(lsn, again) &&
           CHECK_STR("not_found", repair(m, id, &again)) &&
           CHECK_INT(lsn, again);
}

/* A log of three segments; where each begins. */
static void three(logdir_t *d, memfs_t *m, uint64_t first[4])
{
    logdir_open(d, &m->fs);
    for (uint64_t i = 0; i < 3; i++) {
        if (i > 0) {
            logdir_roll(d);
        }
        first[i] = d->written + 1;
        logdir_work(d, 60, i + 1);
    }
    first[3] = d->written + 1;
}

TEST(repair_finds_nothing_in_a_good_log)
{
    memfs_t *m = memfs_new();
    uint64_t first[4], lsn;
    logdir_t d;

    logdir_open(&d, &m->fs);
    CHECK_STR("not_found", repair(m, &d.id, &lsn));
    logdir_close(&d);
    memfs_free(m);
    m = memfs_new();
    three(&d, m, first);
    CHECK_STR("not_found", repair(m, &d.id, &lsn));
    CHECK_INT(d.written, lsn);
    logdir_close(&d);
    memfs_free(m);
}

/* The tables in use were damaged in a way that nobody noticed. */
TEST(repair_removes_a_digest_that_is_not_of_the_records)
{
    memfs_t *m = memfs_new();
    uint64_t first[4], lsn;
    skl_wal_header_t *h;
    skl_replay_t *p;
    skl_tables_t t;
    logdir_t d;

    three(&d, m, first);
    h = (void *)file(m, "wal.", 2)->bytes;
    h->digest ^= 1;
    skl_wal_header_seal(h);
    CHECK(is_repaired(m, &d.id, d.written));
    CHECK_INT(SECKILL_OK, recover(m, &d.id, &lsn));
    CHECK_INT(d.written, lsn);
    CHECK_INT(0,
              ((skl_wal_header_t *)(void *)file(m, "wal.", 2)->bytes)->digest);
    CHECK(((skl_wal_header_t *)(void *)file(m, "wal.", 3)->bytes)->digest != 0);
    /* A snapshot can be built again: the digests that are left agree. */
    CHECK_INT(SECKILL_OK, skl_tables_new(&d.id, &t));
    CHECK_INT(SECKILL_OK,
              skl_replay_begin(&m->fs, &d.id, &t, 1, &p, err, sizeof(err)));
    CHECK_INT(0, skl_replay_step(p, UINT64_MAX, UINT64_MAX, err, sizeof(err)));
    skl_replay_end(p);
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

TEST(repair_cuts_at_the_damaged_batch)
{
    memfs_t *m = memfs_new();
    const skl_batch_header_t *b;
    uint64_t first[4], lsn;
    memfs_file_t *f;
    logdir_t d;

    three(&d, m, first);
    f = file(m, "wal.", 2);
    b = (const void *)(f->bytes + 3 * SKL_WAL_BLOCK);
    lsn = b->first_lsn - 1;
    f->bytes[3 * SKL_WAL_BLOCK + 150] ^= 1;
    CHECK_INT(SECKILL_ECORRUPT, recover(m, &d.id, &first[3]));
    CHECK(is_repaired(m, &d.id, lsn));
    CHECK_INT(3 * SKL_WAL_BLOCK, file(m, "wal.", 2)->size);
    CHECK(file(m, "wal.", 3) == NULL);
    CHECK(memfs_file(m, "wal.0000000000000003.lost") != NULL);
    logdir_close(&d);
    memfs_free(m);
}

TEST(repair_cuts_at_a_damaged_header)
{
    memfs_t *m = memfs_new();
    uint64_t first[4];
    logdir_t d;

    three(&d, m, first);
    file(m, "wal.", 2)->bytes[20] ^= 1;
    CHECK(is_repaired(m, &d.id, first[1] - 1));
    CHECK(strstr(err, "nothing is damaged") != NULL);
    CHECK(memfs_file(m, "wal.0000000000000002.lost") != NULL);
    logdir_close(&d);
    memfs_free(m);
}

TEST(repair_cuts_at_a_missing_segment)
{
    memfs_t *m = memfs_new();
    uint64_t first[4];
    logdir_t d;

    three(&d, m, first);
    (void)memfs_unlink(&m->fs, "wal.0000000000000002");
    CHECK(is_repaired(m, &d.id, first[1] - 1));
    logdir_close(&d);
    memfs_free(m);
}

TEST(repair_of_history_keeps_what_recovery_needs)
{
    memfs_t *m = memfs_new();
    uint64_t first[4];
    logdir_t d;

    three(&d, m, first);
    CHECK_INT(SECKILL_OK,
              skl_snapshot_write(&m->fs, &d.id, &d.stock.tables, d.written,
                                 d.now, err, sizeof(err)));
    logdir_roll(&d);
    logdir_work(&d, 30, 9);
    file(m, "wal.", 2)->bytes[SKL_WAL_BLOCK + 9] ^= 1;
    CHECK(is_repaired(m, &d.id, d.written));
    CHECK(file(m, "wal.", 1) == NULL && file(m, "wal.", 2) == NULL);
    CHECK(file(m, "wal.", 3) != NULL);
    file(m, "wal.", 3)->bytes[40] ^= 1;
    CHECK(is_repaired(m, &d.id, d.written));
    CHECK(file(m, "wal.", 3) == NULL && file(m, "wal.", 4) != NULL);
    logdir_close(&d);
    memfs_free(m);
}

/* The segment of the snapshot's last record is damaged before it. */
TEST(repair_begins_again_behind_the_snapshot)
{
    memfs_t *m = memfs_new();
    uint64_t first[4], lsn;
    logdir_t d;

    three(&d, m, first);
    lsn = d.written;
    CHECK_INT(SECKILL_OK, skl_snapshot_write(&m->fs, &d.id, &d.stock.tables,
                                             lsn, d.now, err, sizeof(err)));
    logdir_work(&d, 30, 9);
    file(m, "wal.", 3)->bytes[SKL_WAL_BLOCK + 9] ^= 1;
    CHECK(is_repaired(m, &d.id, lsn));
    CHECK(file(m, "wal.", 1) == NULL && file(m, "wal.", 3) == NULL);
    CHECK(file(m, "wal.", 4) != NULL);
    logdir_close(&d);
    memfs_free(m);
}

TEST(repair_puts_a_damaged_snapshot_aside)
{
    memfs_t *m = memfs_new();
    uint64_t first[4];
    logdir_t d;

    three(&d, m, first);
    CHECK_INT(SECKILL_OK,
              skl_snapshot_write(&m->fs, &d.id, &d.stock.tables, d.written,
                                 d.now, err, sizeof(err)));
    file(m, "snap.", d.written)->bytes[5000] ^= 1;
    CHECK_INT(SECKILL_ECORRUPT, recover(m, &d.id, &first[3]));
    CHECK(is_repaired(m, &d.id, d.written));
    CHECK(file(m, "snap.", d.written) == NULL);
    logdir_close(&d);
    memfs_free(m);
}

TEST(repair_cuts_before_a_record_that_does_not_follow)
{
    memfs_t *m = memfs_new();
    skl_batch_header_t *b;
    memfs_file_t *f;
    skl_record_t *r;
    uint64_t first[4], at = SKL_WAL_BLOCK;
    logdir_t d;

    three(&d, m, first);
    f = file(m, "wal.", 2);
    for (;; at += SKL_WAL_BLOCK) {
        b = (void *)(f->bytes + at);
        r = (void *)(f->bytes + at + SKL_UNIT);
        if (r->type == SKL_REC_RESERVE) {
            break;
        }
    }
    r->available++;
    r->crc = skl_rec_crc(r, skl_rec_crc_body(r));
    CHECK(is_repaired(m, &d.id, b->first_lsn - 1));
    logdir_close(&d);
    memfs_free(m);
}

TEST(repair_says_when_nothing_can_be_done)
{
    memfs_t *m = memfs_new();
    uint64_t first[4], lsn;
    logdir_t d;

    three(&d, m, first);
    (void)memfs_unlink(&m->fs, "wal.0000000000000001");
    CHECK_STR("corrupt", repair(m, &d.id, &lsn));
    CHECK(strstr(err, "no snapshot reaches the log") != NULL);
    logdir_close(&d);
    memfs_free(m);
}

/* A life that begins after the cut takes the place of those behind it. */
TEST(repair_is_followed_by_a_new_life)
{
    memfs_t *m = memfs_new();
    uint64_t first[4], lsn;
    uint32_t last;
    logdir_t d;

    three(&d, m, first);
    logdir_next_life(&d);
    logdir_work(&d, 30, 9);
    logdir_next_life(&d);
    logdir_work(&d, 30, 10);
    last = d.id.lives[d.id.life_count - 1].incarnation;
    file(m, "wal.", 2)->bytes[20] ^= 1;
    CHECK_STR("ok", repair(m, &d.id, &lsn));
    skl_identity_raise(&d.id, lsn + 1);
    CHECK_INT(2, d.id.life_count);
    CHECK_INT(last + 1, skl_identity_incarnation(&d.id, lsn + 1));
    CHECK_INT(d.id.lives[0].incarnation, skl_identity_incarnation(&d.id, lsn));
    logdir_close(&d);
    memfs_free(m);
}

/* ---- Any damage ---------------------------------------------------------- */

static void damage(memfs_t *m, uint64_t dice)
{
    memfs_file_t *f;

    do {
        f = &m->files[logdir_random(&dice) % MEMFS_FILES];
    } while (f->name[0] == '\0' || strcmp(f->name, "ledger") == 0 ||
             f->size == 0);
    switch (dice % 6) {
    case 0:
        f->size -= f->size < 9000 ? f->size / 2 : dice % 9000;
        break;
    case 1:
        memset(f->bytes + dice / 7 % f->size, 0, f->size - dice / 7 % f->size);
        break;
    case 2:
        if (dice % 5 == 0) {
            (void)memfs_unlink(&m->fs, f->name);
        }
        break;
    default:
        f->bytes[dice / 7 % f->size] ^= 1;
    }
}

TEST(repair_makes_any_log_open)
{
    const int rounds = tap_full() ? 20000 : 1500;
    uint64_t seed = tap_seed(77), first[4], lsn, again;
    memfs_t *whole = memfs_new();
    int opened = 0;
    logdir_t d;

    three(&d, whole, first);
    CHECK_INT(SECKILL_OK,
              skl_snapshot_write(&whole->fs, &d.id, &d.stock.tables, d.written,
                                 d.now, err, sizeof(err)));
    logdir_roll(&d);
    logdir_work(&d, 40, 5);
    CHECK_INT(SECKILL_OK,
              skl_snapshot_write(&whole->fs, &d.id, &d.stock.tables, d.written,
                                 d.now, err, sizeof(err)));
    logdir_work(&d, 40, 6);
    for (int i = 0; i < rounds; i++) {
        memfs_t *m = memfs_new();
        int rc;

        memfs_copy(m, whole);
        for (uint64_t n = logdir_random(&seed) % 3; n < 3; n++) {
            damage(m, logdir_random(&seed));
        }
        rc = skl_repair(&m->fs, &d.id, &lsn, err, sizeof(err));
        CHECK(rc == SECKILL_OK || rc == SECKILL_ENOTFOUND ||
              rc == SECKILL_ECORRUPT);
        if (rc != SECKILL_ECORRUPT) {
            opened++;
            if (!CHECK_INT(SECKILL_OK, recover(m, &d.id, &again)) ||
                !CHECK_INT(lsn, again)) {
                printf("#   round %d: %s\n", i, err);
            }
        }
        memfs_free(m);
    }
    CHECK(opened > rounds / 2);
    logdir_close(&d);
    memfs_free(whole);
}

TAP_MAIN()
