/*
 * Tests of the replay: log and snapshot make the tables that were in use, byte
 * by byte; records that do not follow are refused.
 */
/* runs: long */
#include "io/recover.h"

#include "io/snapshot.h"
#include "stock/check.h"
#include "stock/follows.h"
#include "test/support/logdir.h"
#include "test/support/memfs.h"
#include "test/support/tap.h"

static char err[400];

/* Recover into private tables: the code; `out` may be NULL. */
static int recover(skl_fs_t *fs, const skl_identity_t *id, skl_tables_t *t,
                   skl_recovered_t *out)
{
    skl_recovered_t unused;

    err[0] = '\0';
    CHECK_INT(SECKILL_OK, skl_tables_new(id, t));
    return skl_recover(fs, id, t, out != NULL ? out : &unused, err,
                       sizeof(err));
}

/* What was recovered is what is in use. */
static int same_as_live(logdir_t *d, uint64_t snapshot_lsn)
{
    skl_recovered_t r;
    uint64_t first = 0;
    skl_tables_t t;
    int good =
        CHECK_STR("", recover(d->fs, &d->id, &t, &r) == SECKILL_OK ? "" : err);

    good = good && CHECK_INT(d->written, r.last_lsn) &&
           CHECK_INT(snapshot_lsn, r.snapshot_lsn) &&
           CHECK_INT(0, skl_image_differing(&d->stock.tables, &t, &first));
    skl_tables_free(&t);
    return good;
}

TEST(recover_of_an_empty_directory_gives_empty_tables)
{
    memfs_t *m = memfs_new();
    skl_recovered_t r;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    CHECK_INT(SECKILL_OK, recover(&m->fs, &d.id, &t, &r));
    CHECK_INT(0, r.last_lsn);
    CHECK_INT(0, r.records);
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

/* Less usual ends of a reservation. */
typedef struct {
    int parts, again, order_parts, order_again;
} ends_t;

/* A confirm leaves more than there was only where some units came back. */
static void look_at_end(const skl_record_t *r, int64_t available, ends_t *seen)
{
    if (r->type == SKL_REC_CONFIRM) {
        seen->again += (r->flags & SKL_FLAG_AGAIN) != 0;
        seen->parts += r->available > available;
    }
    if (r->type == SKL_REC_ORDER_CONFIRM) {
        seen->order_again += (r->legs[0].flags & SKL_FLAG_AGAIN) != 0;
        seen->order_parts += r->legs[0].available > available;
    }
}

static int64_t available_after(const skl_record_t *r, uint32_t i)
{
    return skl_rec_is_order(r) ? r->legs[i].available : r->available;
}

/* The newest 16384 records have some of each type. */
static int has_all_types(logdir_t *d)
{
    int seen[SKL_REC_TYPES] = {1};
    int64_t available[8] = {0};
    ends_t ends = {0};
    skl_record_t r;

    for (uint64_t lsn = 1; lsn <= d->written; lsn++) {
        if (!skl_ring_read(&d->stock.ring, lsn, &r)) {
            continue;
        }
        seen[r.type] = 1;
        look_at_end(&r, available[r.item], &ends);
        available[r.item] = available_after(&r, 0);
        for (uint32_t i = 0; i < skl_rec_legs(&r); i++) {
            available[r.legs[i].item] = available_after(&r, i);
        }
    }
    if (!CHECK(ends.parts && ends.again && ends.order_parts &&
               ends.order_again)) {
        printf("#   confirmed in part %d and %d times, again %d and %d\n",
               ends.parts, ends.order_parts, ends.again, ends.order_again);
    }
    for (int type = 1; type < SKL_REC_TYPES; type++) {
        if (!seen[type]) {
            printf("#   no %s\n", skl_rec_type_name(type));
            return 0;
        }
    }
    return 1;
}

TEST(recover_gives_the_tables_byte_by_byte)
{
    const uint32_t per_batch[] = {1, 3, 17, 400};

    for (int i = 0; i < 4; i++) {
        memfs_t *m = memfs_new();
        logdir_t d;

        logdir_open(&d, &m->fs);
        d.per_batch = per_batch[i];
        d.segment_bytes = i == 0 ? 256 << 10 : 64 << 10;
        logdir_work(&d, 4000, 7 + (uint64_t)i);
        CHECK(d.written > 3000 && d.seq > 3);
        CHECK(has_all_types(&d));
        CHECK(same_as_live(&d, 0));
        logdir_close(&d);
        memfs_free(m);
    }
}

TEST(recover_with_many_shards_gives_the_tables)
{
    skl_identity_t id = logdir_identity();
    memfs_t *m = memfs_new();
    logdir_t d;

    id.requests = 40000;
    id.reservations = id.users = 5000;
    logdir_open_with(&d, &m->fs, id, 1 << 14);
    d.per_batch = 50;
    logdir_work(&d, 4000, 3);
    CHECK(d.stock.tables.shm->shards > 1);
    CHECK(same_as_live(&d, 0));
    logdir_close(&d);
    memfs_free(m);
}

TEST(recover_begins_with_the_snapshot)
{
    memfs_t *m = memfs_new();
    logdir_t d;
    uint64_t lsn;

    logdir_open(&d, &m->fs);
    logdir_work(&d, 800, 1);
    lsn = d.written;
    CHECK_INT(SECKILL_OK, skl_snapshot_write(&m->fs, &d.id, &d.stock.tables,
                                             lsn, d.now, err, sizeof(err)));
    CHECK(same_as_live(&d, lsn));
    logdir_work(&d, 800, 2);
    logdir_next_life(&d);
    logdir_work(&d, 100, 3);
    CHECK(same_as_live(&d, lsn));
    logdir_close(&d);
    memfs_free(m);
}

TEST(recover_says_when_the_log_does_not_reach_the_snapshot)
{
    memfs_t *m = memfs_new();
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    d.segment_bytes = 16 << 10;
    logdir_work(&d, 500, 1);
    CHECK(d.seq > 2);
    memfs_unlink(&m->fs, "wal.0000000000000001");
    CHECK_INT(SECKILL_ECORRUPT, recover(&m->fs, &d.id, &t, NULL));
    CHECK(strstr(err, "no snapshot reaches the log") != NULL);
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

TEST(recover_refuses_a_log_that_ends_before_its_snapshot)
{
    memfs_t *m = memfs_new();
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    logdir_work(&d, 100, 1);
    CHECK_INT(SECKILL_OK,
              skl_snapshot_write(&m->fs, &d.id, &d.stock.tables, d.written + 5,
                                 d.now, err, sizeof(err)));
    CHECK_INT(SECKILL_ECORRUPT, recover(&m->fs, &d.id, &t, NULL));
    CHECK(strstr(err, "before the snapshot") != NULL);
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

/* ---- While others recycle ------------------------------------------------ */

/* A child whose parent died goes on with snapshots: in the midst of a call it
 * makes two and takes away the log behind the older one. */
static struct {
    logdir_t *d;
    const char *opened,
        *closed; /* in a call with a file whose name begins so */
    int times, busy;
} orphan;

static void write_snapshot(logdir_t *d)
{
    logdir_work(d, 40, d->written);
    logdir_roll(d);
    CHECK_INT(SECKILL_OK,
              skl_snapshot_write(d->fs, &d->id, &d->stock.tables, d->written,
                                 d->now, err, sizeof(err)));
    CHECK(skl_snapshot_recycle(d->fs, &d->id, 0, err, sizeof(err)) >= 0);
}

static void meanwhile(const char *name, const char *prefix)
{
    if (prefix == NULL || strncmp(name, prefix, strlen(prefix)) != 0 ||
        orphan.busy || orphan.times == 0) {
        return;
    }
    orphan.busy = 1;
    orphan.times--;
    write_snapshot(orphan.d);
    write_snapshot(orphan.d);
    orphan.busy = 0;
}

static int orphan_open(skl_fs_t *fs, const char *name, int mode)
{
    meanwhile(name, orphan.opened);
    return memfs_open(fs, name, mode);
}

static int orphan_close(skl_fs_t *fs, int fd)
{
    char name[MEMFS_NAME];
    int rc;

    memcpy(name, memfs_of(fs)->files[fd].name, sizeof(name));
    rc = memfs_close(fs, fd);
    meanwhile(name, orphan.closed);
    return rc;
}

static memfs_t *begin_orphan(logdir_t *d)
{
    memfs_t *m = memfs_new();

    logdir_open(d, &m->fs);
    write_snapshot(d);
    logdir_work(d, 40, 7);
    logdir_roll(d);
    memset(&orphan, 0, sizeof(orphan));
    orphan.d = d;
    m->fs.open = orphan_open;
    m->fs.close = orphan_close;
    return m;
}

static void end_orphan(memfs_t *m, logdir_t *d)
{
    orphan.times = 0;
    logdir_close(d);
    memfs_free(m);
}

/* It happens once, twice in a row, and too often. */
static void look_again(const char *opened, const char *closed)
{
    skl_recovered_t r;
    skl_tables_t t;
    logdir_t d;
    memfs_t *m = begin_orphan(&d);

    orphan.opened = opened;
    orphan.closed = closed;
    for (int times = 1; times <= 2; times++) {
        orphan.times = times;
        CHECK_STR("", recover(&m->fs, &d.id, &t, &r) == SECKILL_OK ? "" : err);
        CHECK_INT(0, orphan.times);
        CHECK_INT(d.written, r.last_lsn);
        CHECK(skl_image_digest(&d.stock.tables) == skl_image_digest(&t));
        skl_tables_free(&t);
    }
    orphan.times = 6;
    CHECK(recover(&m->fs, &d.id, &t, &r) < 0);
    skl_tables_free(&t);
    end_orphan(m, &d);
}

TEST(recover_looks_again_when_the_log_behind_its_snapshot_went)
{
    look_again(NULL, "snap.");
}

TEST(recover_looks_again_when_its_snapshot_went)
{
    look_again("snap.", NULL);
}

TEST(recover_looks_again_when_a_segment_went_that_it_reads)
{
    skl_tables_t t;
    skl_recovered_t r;
    char name[SKL_WAL_NAME];
    logdir_t d;
    memfs_t *m = begin_orphan(&d);

    skl_wal_name(name, "wal.", d.seq);
    orphan.closed = name; /* the last of those that are listed */
    orphan.times = 1;
    CHECK_STR("", recover(&m->fs, &d.id, &t, &r) == SECKILL_OK ? "" : err);
    CHECK_INT(0, orphan.times);
    CHECK_INT(d.written, r.last_lsn);
    CHECK(skl_image_digest(&d.stock.tables) == skl_image_digest(&t));
    skl_tables_free(&t);
    end_orphan(m, &d);
}

/* ---- Single records ------------------------------------------------------ */

/* The first record of a type, with some lines or more; the tables are those
 * before it. */
static int before_record(logdir_t *d, int type, uint32_t lines, skl_tables_t *t,
                         skl_record_t *r)
{
    if (!CHECK_INT(SECKILL_OK, skl_tables_new(&d->id, t))) {
        return 0;
    }
    for (uint64_t lsn = 1; lsn <= d->written; lsn++) {
        memset(r, 0, sizeof(*r));
        if (!skl_ring_read(&d->stock.ring, lsn, r)) {
            return 0;
        }
        if (r->type == type && skl_rec_legs(r) >= lines) {
            return 1;
        }
        if (skl_replay_record(t, r, lsn - 1) != SECKILL_OK) {
            return 0;
        }
    }
    return 0;
}

/* What follows is refused, too, or fits. */
static void go_on(logdir_t *d, skl_tables_t *t, uint64_t lsn)
{
    skl_record_t r;

    for (uint64_t i = 1; i <= 20 && lsn + i <= d->written; i++) {
        memset(&r, 0, sizeof(r));
        CHECK(skl_ring_read(&d->stock.ring, lsn + i, &r));
        (void)skl_replay_record(t, &r, lsn + i - 1);
    }
    if (!CHECK_INT(0, skl_tables_check(t, err, sizeof(err)))) {
        printf("#   %s\n", err);
    }
}

/* Each byte of a record gets other values, under a right checksum: it is
 * refused, or the tables stay in order and take the records that follow. */
static void damage_record(logdir_t *d, int type, uint32_t lines)
{
    static const uint8_t with[] = {1, 2, 4, 8, 64, 128, 255};
    skl_tables_t t, again;
    skl_record_t r, changed;
    uint64_t refused = 0;

    if (!CHECK(before_record(d, type, lines, &t, &r))) {
        printf("#   no %s of %u lines\n", skl_rec_type_name(type), lines);
        return;
    }
    CHECK_INT(SECKILL_OK, skl_tables_new(&d->id, &again));
    for (uint32_t at = 6; at < r.bytes; at++) {
        for (size_t i = 0; i < sizeof(with); i++) {
            int rc;

            changed = r;
            ((uint8_t *)&changed)[at] ^= with[i];
            changed.crc = skl_rec_crc(&changed, skl_rec_crc_body(&changed));
            if (!skl_rec_valid(&changed, SKL_RECORD_MAX)) {
                continue;
            }
            memcpy(again.shm, t.shm, t.shm->bytes);
            rc = skl_replay_record(&again, &changed, r.lsn - 1);
            refused += rc == SECKILL_ECORRUPT;
            if (rc != SECKILL_ECORRUPT) {
                CHECK_INT(SECKILL_OK, rc);
                go_on(d, &again, r.lsn);
            }
        }
    }
    CHECK(refused > 100);
    skl_tables_free(&t);
    skl_tables_free(&again);
}

TEST(records_with_silly_values_are_refused_or_harmless)
{
    memfs_t *m = memfs_new();
    logdir_t d;

    logdir_open_with(&d, &m->fs, logdir_identity(), 1 << 16);
    logdir_work(&d, 6000, 11);
    for (int type = 1; type < SKL_REC_TYPES; type++) {
        const skl_record_t of = {.type = (uint8_t)type};

        damage_record(&d, type, 0);
        if (skl_rec_is_order(&of)) {
            damage_record(&d, type, 3);
        }
    }
    logdir_close(&d);
    memfs_free(m);
}

TEST(a_record_out_of_turn_is_refused)
{
    memfs_t *m = memfs_new();
    skl_record_t r;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    logdir_work(&d, 50, 1);
    CHECK(before_record(&d, SKL_REC_RESERVE, 0, &t, &r));
    CHECK_INT(SECKILL_ECORRUPT, skl_replay_record(&t, &r, r.lsn));
    CHECK_INT(SECKILL_ECORRUPT, skl_replay_record(&t, &r, r.lsn - 2));
    CHECK_INT(SECKILL_OK, skl_replay_record(&t, &r, r.lsn - 1));
    CHECK_INT(SECKILL_ECORRUPT, skl_replay_record(&t, &r, r.lsn - 1));
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

TEST(a_misfit_in_the_log_names_segment_and_offset)
{
    memfs_t *m = memfs_new();
    skl_batch_header_t *b;
    memfs_file_t *f;
    skl_record_t *r;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    d.per_batch = 1;
    logdir_work(&d, 50, 1);
    f = memfs_file(m, "wal.0000000000000001");
    for (uint64_t at = SKL_WAL_BLOCK;; at += SKL_WAL_BLOCK) {
        b = (void *)(f->bytes + at);
        r = (void *)(f->bytes + at + SKL_UNIT);
        if (r->type == SKL_REC_RESERVE) {
            r->available++;
            r->crc = skl_rec_crc(r, skl_rec_crc_body(r));
            break;
        }
    }
    CHECK(b->count == 1);
    CHECK_INT(SECKILL_ECORRUPT, recover(&m->fs, &d.id, &t, NULL));
    CHECK(strstr(err, "segment wal.0000000000000001, offset ") != NULL);
    CHECK(strstr(err, "does not follow") != NULL);
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

/* ---- The check of whole tables ------------------------------------------- */

TEST(tables_in_use_are_in_order)
{
    memfs_t *m = memfs_new();
    logdir_t d;

    logdir_open(&d, &m->fs);
    for (uint64_t i = 0; i < 200; i++) {
        logdir_work(&d, 20, i);
        if (!CHECK_INT(0,
                       skl_tables_check(&d.stock.tables, err, sizeof(err)))) {
            printf("#   round %d: %s\n", (int)i, err);
            break;
        }
        if (!CHECK_INT(0,
                       skl_tables_audit(&d.stock.tables, err, sizeof(err)))) {
            printf("#   round %d: %s\n", (int)i, err);
            break;
        }
    }
    logdir_close(&d);
    memfs_free(m);
}

/* Any byte may be any: the check ends, and says so for what matters. */
TEST(a_check_of_broken_tables_ends)
{
    memfs_t *m = memfs_new();
    uint64_t seed = tap_seed(5), seen = 0;
    const int rounds = tap_full() ? 200000 : 8000;
    skl_tables_t t;
    logdir_t d;

    logdir_open(&d, &m->fs);
    logdir_work(&d, 1000, 1);
    CHECK_INT(SECKILL_OK, skl_tables_new(&d.id, &t));
    for (int i = 0; i < rounds; i++) {
        const uint64_t from = t.shm->off_shards;
        const uint64_t bytes = t.shm->bytes - from;

        memcpy(t.shm, d.tables, t.shm->bytes);
        for (uint64_t n = logdir_random(&seed) % 4; n < 4; n++) {
            const uint64_t dice = logdir_random(&seed);

            ((uint8_t *)t.shm)[from + dice % bytes] = (uint8_t)(dice >> 48);
        }
        seen += skl_tables_check(&t, err, sizeof(err)) > 0;
    }
    CHECK(seen > (uint64_t)rounds / 8);
    skl_tables_free(&t);
    logdir_close(&d);
    memfs_free(m);
}

TAP_MAIN()
