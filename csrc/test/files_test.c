/*
 * Tests of the public functions that work on a data directory, alone and with
 * an engine that uses it.
 */
#include "seckill.h"

#include "seckill_internal.h"
#include "test/support/logdir.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#define MS 1000000LL

static char err[600];

/* A directory of its own for each test. */
static const char *new_dir(const char *name)
{
    const char *path = scratch_path(name);

    if (mkdir(path, 0700) != 0) {
        perror(path);
        exit(1);
    }
    return path;
}

static void open_log(logdir_t *d, skl_fs_t **fs, const char *dir)
{
    CHECK_INT(0, skl_fs_open_dir(dir, fs));
    logdir_open(d, *fs);
}

static void close_log(logdir_t *d, skl_fs_t *fs)
{
    logdir_close(d);
    skl_fs_close_dir(fs);
}

static seckill_reader_t *reader(seckill_t *sk, const char *dir, uint64_t from)
{
    seckill_reader_t *r = NULL;

    if (!CHECK_INT(SECKILL_OK,
                   seckill_reader_open(sk, dir, from, &r, err, sizeof(err)))) {
        printf("#   %s\n", err);
    }
    return r;
}

/* ---- Without an engine --------------------------------------------------- */

TEST(files_there_is_no_ledger_in_an_empty_directory)
{
    const char *dir = new_dir("empty");
    seckill_dir_stats_t stats;
    seckill_snapshot_t *s;
    seckill_reader_t *r;
    uint64_t lsn;

    CHECK_INT(SECKILL_ENOTFOUND,
              seckill_reader_open(NULL, dir, 0, &r, err, sizeof(err)));
    CHECK(strstr(err, "no ledger") != NULL);
    CHECK_INT(SECKILL_ENOTFOUND,
              seckill_reader_open(NULL, NULL, 0, &r, err, sizeof(err)));
    CHECK_INT(SECKILL_ENOTFOUND,
              seckill_dir_stats("/nowhere", &stats, err, sizeof(err)));
    CHECK_INT(SECKILL_ENOTFOUND, seckill_cursor_set(dir, "a", 0, 0, 1));
    CHECK_INT(SECKILL_ENOTFOUND,
              seckill_snapshot_begin(dir, &s, err, sizeof(err)));
    CHECK_INT(SECKILL_ENOTFOUND, seckill_repair(dir, &lsn, err, sizeof(err)));
    CHECK_INT(SECKILL_ENOTFOUND, seckill_verify(NULL, dir, err, sizeof(err)));
    CHECK_INT(0, scratch_entries(dir));
}

TEST(files_reader_leaves_out_what_consumers_do_not_need)
{
    const char *dir = new_dir("reader");
    uint64_t n = 0, last = 0;
    seckill_reader_t *r;
    seckill_record_t rec;
    skl_fs_t *fs;
    logdir_t d;

    open_log(&d, &fs, dir);
    d.segment_bytes = 64 << 10;
    logdir_work(&d, 2000, 1);
    r = reader(NULL, dir, 0);
    while (seckill_reader_next(r, &rec) == 1) {
        CHECK(rec.lsn > last || (rec.lsn == last && rec.line > 1));
        CHECK(rec.type >= SECKILL_REC_PUT && rec.type <= SECKILL_REC_ADJUST);
        CHECK(rec.item_len == 5 && memcmp(rec.item, "item", 4) == 0);
        CHECK_INT(d.id.lives[0].incarnation, rec.incarnation);
        CHECK((rec.id_len > 0) == (rec.type >= SECKILL_REC_RESERVE &&
                                   rec.type <= SECKILL_REC_REFUND));
        CHECK(rec.segment >= 1 && rec.offset % 4096 == 0 && rec.offset > 0);
        last = rec.lsn;
        n++;
    }
    CHECK(n > 1000);
    CHECK_INT(d.written + 1, seckill_reader_lsn(r));
    CHECK_INT(0, seckill_reader_torn(r));
    CHECK_STR("", seckill_reader_error(r));
    seckill_reader_close(r);
    CHECK_STR("reserve", seckill_record_name(SECKILL_REC_RESERVE));
    CHECK_STR("unknown", seckill_record_name(0));
    CHECK_STR("unknown", seckill_record_name(11));
    close_log(&d, fs);
}

/* Pass everything; the LSN of the last record that was shown. */
static uint64_t pass(seckill_reader_t *r)
{
    uint64_t last = 0;
    seckill_record_t rec;

    while (seckill_reader_next(r, &rec) == 1) {
        CHECK_INT(rec.incarnation, seckill_reader_incarnation(r, rec.lsn));
        last = rec.lsn;
    }
    return last;
}

TEST(files_the_place_behind_hidden_records_is_a_cursor)
{
    const char *dir = new_dir("place");
    uint64_t shown, end, lsn;
    uint32_t incarnation;
    seckill_reader_t *r;
    skl_fs_t *fs;
    logdir_t d;

    open_log(&d, &fs, dir);
    CHECK_INT(SECKILL_OK, logdir_put(&d, "item", 10, 1));
    CHECK_INT(SECKILL_OK, logdir_reserve(&d, "item", "ann", "r1"));
    CHECK_INT(SECKILL_OK, skl_stock_cancel(&d.stock, logdir_id(&d), d.now));
    d.now += 1000 * LOGDIR_SEC;
    (void)skl_stock_sweep(&d.stock, 1 << 16, d.now);
    logdir_flush(&d);
    r = reader(NULL, dir, 0);
    CHECK_INT(d.id.lives[0].incarnation, seckill_reader_incarnation(r, 0));
    shown = pass(r);
    end = seckill_reader_lsn(r) - 1;
    CHECK_INT(3, shown);
    CHECK(end > shown);
    CHECK_INT(d.written, end);
    incarnation = seckill_reader_incarnation(r, end);
    CHECK_INT(d.id.lives[0].incarnation, incarnation);
    CHECK_INT(SECKILL_OK, seckill_cursor_set(dir, "a", end, incarnation, 1));
    seckill_reader_close(r);
    logdir_next_life(&d);
    CHECK_INT(SECKILL_OK, logdir_put(&d, "item", 10, 2));
    logdir_flush(&d);
    r = reader(NULL, dir, end + 1);
    CHECK_INT(incarnation, seckill_reader_incarnation(r, end));
    CHECK_INT(end + 1, pass(r));
    lsn = seckill_reader_lsn(r) - 1;
    CHECK_INT(end + 1, lsn);
    CHECK_INT(incarnation + 1, seckill_reader_incarnation(r, lsn));
    CHECK_INT(incarnation, seckill_reader_incarnation(r, end));
    seckill_reader_close(r);
    close_log(&d, fs);
}

TEST(files_stats_tell_what_is_there)
{
    const char *dir = new_dir("stats");
    seckill_dir_stats_t stats;
    skl_fs_t *fs;
    logdir_t d;

    open_log(&d, &fs, dir);
    logdir_work(&d, 100, 1);
    logdir_roll(&d);
    CHECK_INT(SECKILL_OK, seckill_cursor_set(dir, "feed", 0, 0, 1));
    CHECK_INT(SECKILL_OK, seckill_dir_stats(dir, &stats, err, sizeof(err)));
    CHECK_INT(36, strlen(stats.uuid));
    CHECK_INT(1, stats.lives);
    CHECK_INT(d.id.lives[0].incarnation, stats.incarnation);
    CHECK_INT(1, stats.first_lsn);
    CHECK_INT(2, stats.segments);
    CHECK_INT(0, stats.snapshots);
    CHECK_INT(0, stats.snapshot_lsn);
    CHECK_INT(1, stats.cursors);
    CHECK_INT(d.id.requests, stats.requests);
    CHECK_INT(0, stats.in_use);
    CHECK(stats.bytes > 8192);
    close_log(&d, fs);
}

TEST(files_cursors_live_and_die)
{
    const char *dir = new_dir("cursors");
    uint64_t lsn;
    uint32_t incarnation;
    char name[33];
    int dropped;
    skl_fs_t *fs;
    logdir_t d;

    open_log(&d, &fs, dir);
    logdir_work(&d, 50, 1);
    incarnation = d.id.lives[0].incarnation;
    CHECK_INT(SECKILL_ENOTFOUND,
              seckill_cursor_get(dir, "feed", &lsn, &incarnation));
    incarnation = d.id.lives[0].incarnation;
    CHECK_INT(SECKILL_ECURSORGONE,
              seckill_cursor_set(dir, "feed", 7, incarnation, 0));
    CHECK_INT(SECKILL_EBADCURSOR,
              seckill_cursor_set(dir, "feed", 7, incarnation + 1, 1));
    CHECK_INT(SECKILL_EBADNAME,
              seckill_cursor_set(dir, "FEED", 7, incarnation, 1));
    CHECK_INT(SECKILL_OK, seckill_cursor_set(dir, "feed", 7, incarnation, 1));
    CHECK_INT(SECKILL_OK, seckill_cursor_get(dir, "feed", &lsn, &incarnation));
    CHECK_INT(7, lsn);
    CHECK_INT(d.id.lives[0].incarnation, incarnation);
    CHECK_INT(SECKILL_OK,
              seckill_cursor_at(dir, 0, name, &lsn, &incarnation, &dropped));
    CHECK_STR("feed", name);
    CHECK_INT(0, dropped);
    CHECK_INT(SECKILL_ENOTFOUND,
              seckill_cursor_at(dir, 1, name, &lsn, &incarnation, &dropped));
    CHECK_INT(SECKILL_OK, seckill_cursor_drop(dir, "feed"));
    CHECK_INT(SECKILL_ECURSORGONE,
              seckill_cursor_get(dir, "feed", &lsn, &incarnation));
    CHECK_INT(SECKILL_OK,
              seckill_cursor_at(dir, 0, name, &lsn, &incarnation, &dropped));
    CHECK_INT(1, dropped);
    /* In front of the oldest record; of no life yet. */
    CHECK_INT(SECKILL_OK,
              seckill_cursor_create(dir, "feed", &lsn, &incarnation));
    CHECK_INT(0, lsn);
    CHECK_INT(d.id.lives[0].incarnation, incarnation);
    CHECK_INT(SECKILL_OK, seckill_cursor_get(dir, "feed", &lsn, &incarnation));
    CHECK_INT(SECKILL_EBADNAME,
              seckill_cursor_create(dir, "FEED", &lsn, &incarnation));
    close_log(&d, fs);
}

TEST(files_one_snapshot_is_built_at_a_time)
{
    const char *dir = new_dir("snapshots");
    seckill_snapshot_t *s, *second;
    seckill_dir_stats_t stats;
    uint64_t done, total;
    skl_fs_t *fs;
    logdir_t d;

    open_log(&d, &fs, dir);
    logdir_work(&d, 200, 1);
    CHECK_INT(SECKILL_ENOTFOUND,
              seckill_snapshot_begin(dir, &s, err, sizeof(err)));
    CHECK(strstr(err, "no segment is full") != NULL);
    logdir_roll(&d);
    CHECK_INT(SECKILL_OK, seckill_snapshot_begin(dir, &s, err, sizeof(err)));
    CHECK_INT(SECKILL_ELOCKED,
              seckill_snapshot_begin(dir, &second, err, sizeof(err)));
    while (seckill_snapshot_step(s, 50, &done, &total) == 1) {
    }
    CHECK_STR("", seckill_snapshot_error(s));
    CHECK_INT(d.written, done);
    CHECK_INT(d.written, total);
    seckill_snapshot_end(s);
    CHECK_INT(SECKILL_ENOTFOUND,
              seckill_snapshot_begin(dir, &s, err, sizeof(err)));
    CHECK_INT(SECKILL_OK, seckill_dir_stats(dir, &stats, err, sizeof(err)));
    CHECK_INT(1, stats.snapshots);
    CHECK_INT(d.written, stats.snapshot_lsn);
    CHECK_INT(0, seckill_verify(NULL, dir, err, sizeof(err)));
    close_log(&d, fs);
}

/* Change one byte of a segment. */
static void spoil(skl_fs_t *fs, const char *name, uint64_t at)
{
    int fd = fs->open(fs, name, SKL_FS_WRITE);
    char byte;

    CHECK_INT(0, skl_fs_read_all(fs, fd, &byte, 1, at));
    byte = (char)(byte ^ 1);
    CHECK_INT(0, skl_fs_write_all(fs, fd, &byte, 1, at));
    fs->close(fs, fd);
}

TEST(files_damage_is_found_and_cut_off)
{
    const char *dir = new_dir("repair");
    seckill_reader_t *r;
    seckill_record_t rec;
    uint64_t lsn;
    skl_fs_t *fs;
    logdir_t d;
    int rc;

    open_log(&d, &fs, dir);
    d.per_batch = 1;
    logdir_work(&d, 100, 1);
    CHECK_INT(SECKILL_ENOTFOUND, seckill_repair(dir, &lsn, err, sizeof(err)));
    CHECK_INT(d.written, lsn);
    spoil(fs, "wal.0000000000000001", 4096 * 21 + 130);
    r = reader(NULL, dir, 0);
    while ((rc = seckill_reader_next(r, &rec)) == 1) {
    }
    CHECK_INT(SECKILL_ECORRUPT, rc);
    CHECK(strstr(seckill_reader_error(r), "offset 86016") != NULL);
    seckill_reader_close(r);
    CHECK_INT(SECKILL_ECORRUPT, seckill_verify(NULL, dir, err, sizeof(err)));
    CHECK(strstr(err, "offset 86016") != NULL);
    CHECK_INT(SECKILL_OK, seckill_repair(dir, &lsn, err, sizeof(err)));
    CHECK_INT(20, lsn);
    CHECK(strstr(err, "offset 86016") != NULL);
    CHECK_INT(SECKILL_ENOTFOUND, seckill_repair(dir, &lsn, err, sizeof(err)));
    CHECK_INT(0, seckill_verify(NULL, dir, err, sizeof(err)));
    close_log(&d, fs);
}

TEST(files_a_torn_tail_is_told)
{
    const char *dir = new_dir("torn");
    seckill_reader_t *r;
    seckill_record_t rec;
    skl_fs_t *fs;
    uint64_t kept;
    logdir_t d;

    open_log(&d, &fs, dir);
    logdir_work(&d, 100, 1);
    kept = d.written;
    d.per_batch = 1000;
    logdir_work(&d, 20, 2);
    spoil(fs, "wal.0000000000000001", d.offset - 4096 + 1);
    spoil(fs, "wal.0000000000000001", d.offset - 4096 + 300);
    r = reader(NULL, dir, 0);
    while (seckill_reader_next(r, &rec) == 1) {
    }
    CHECK(seckill_reader_torn(r) > 0);
    CHECK(seckill_reader_lsn(r) >= kept);
    seckill_reader_close(r);
    close_log(&d, fs);
}

/* ---- With an engine ------------------------------------------------------ */

static seckill_t *open_engine(const char *shm, const char *dir)
{
    seckill_options_t o = {.struct_size = sizeof(o),
                           .name = "files",
                           .shm_dir = shm,
                           .dir = dir,
                           .durability = SECKILL_ASYNC,
                           .items = 8,
                           .reservations = 64,
                           .users = 64,
                           .requests = 128,
                           .log_units = 4096,
                           .log_segment_bytes = 2 << 20};
    seckill_t *sk = NULL;

    if (!CHECK_INT(SECKILL_OK, seckill_open(&o, &sk, err, sizeof(err)))) {
        printf("#   %s\n", err);
    }
    return sk;
}

static void put(seckill_t *sk, const char *name)
{
    seckill_item_t i = {.struct_size = sizeof(i),
                        .item_len = (uint32_t)strlen(name),
                        .total = 100,
                        .hold_ns = 1000 * MS,
                        .version = 1};

    memcpy(i.item, name, strlen(name));
    CHECK_INT(SECKILL_OK, seckill_put(sk, &i));
}

static int next_is(seckill_reader_t *r, int type, const char *item,
                   seckill_record_t *rec)
{
    return CHECK_INT(1, seckill_reader_next(r, rec)) &&
           CHECK_STR(seckill_record_name(type),
                     seckill_record_name(rec->type)) &&
           CHECK_INT(strlen(item), rec->item_len) &&
           CHECK_MEM(item, rec->item, strlen(item));
}

static void order(seckill_t *sk, seckill_order_t *out)
{
    seckill_line_t lines[2] = {{.qty = 2, .item_len = 1, .item = "a"},
                               {.qty = 3, .item_len = 1, .item = "b"}};
    skl_bytes_t user = {"bob", 3}, request = {"r2", 2};
    uint32_t line;

    CHECK_INT(SECKILL_OK, skl_stock_order(&sk->stock, user, request, lines, 2,
                                          seckill_now(sk), out, &line));
}

TEST(files_feed_of_an_engine_is_what_is_durable)
{
    const char *shm = new_dir("feed-shm"), *dir = new_dir("feed");
    seckill_t *sk = open_engine(shm, dir);
    seckill_reservation_t a;
    seckill_dir_stats_t stats;
    seckill_record_t rec;
    seckill_reader_t *r;
    seckill_order_t o;
    uint64_t lsn;

    REQUIRE(sk != NULL);
    put(sk, "a");
    put(sk, "b");
    CHECK_INT(SECKILL_OK,
              seckill_reserve(sk, "a", 1, "ann", 3, 2, "r1", 2, &a));
    r = reader(sk, NULL, 1);
    REQUIRE(r != NULL);
    if (seckill_durable(sk) == 0) {
        CHECK_INT(0, seckill_reader_next(r, &rec));
    }
    CHECK_INT(SECKILL_OK, seckill_sync_wait(sk, seckill_lsn(sk), 5000 * MS));
    CHECK(next_is(r, SECKILL_REC_PUT, "a", &rec));
    CHECK_INT(1, rec.version);
    CHECK_INT(100, rec.available);
    CHECK(next_is(r, SECKILL_REC_PUT, "b", &rec));
    CHECK(next_is(r, SECKILL_REC_RESERVE, "a", &rec));
    CHECK_INT(a.id_len, rec.id_len);
    CHECK_MEM(a.id, rec.id, a.id_len);
    CHECK_INT(a.expires_at, rec.expires_at);
    CHECK_INT(2, rec.qty);
    CHECK_INT(98, rec.available);
    CHECK_INT(2, rec.reserved);
    CHECK_INT(0, rec.line);
    CHECK_INT(0, seckill_reader_next(r, &rec));
    CHECK_INT(SECKILL_OK, seckill_confirm(sk, a.id, a.id_len));
    order(sk, &o);
    CHECK_INT(SECKILL_OK, seckill_sync_wait(sk, seckill_lsn(sk), 5000 * MS));
    CHECK(next_is(r, SECKILL_REC_CONFIRM, "a", &rec));
    CHECK_MEM(a.id, rec.id, a.id_len);
    CHECK_INT(0, rec.expires_at);
    CHECK_INT(SECKILL_STATE_CONFIRMED, rec.state);
    for (int i = 1; i <= 2; i++) {
        CHECK(next_is(r, SECKILL_REC_RESERVE, i == 1 ? "a" : "b", &rec));
        CHECK_INT(i, rec.line);
        CHECK_INT(i + 1, rec.qty);
        CHECK_INT(o.lsn, rec.lsn);
        CHECK_INT(o.lsn + (i == 2), seckill_reader_lsn(r));
        CHECK_INT(o.id_len, rec.id_len);
        CHECK_MEM(o.id, rec.id, o.id_len);
        CHECK_INT(i == 1 ? 96 : 97, rec.available);
    }
    CHECK_INT(0, seckill_reader_next(r, &rec));
    CHECK_INT(0, seckill_reader_torn(r));
    seckill_reader_close(r);
    CHECK_INT(SECKILL_OK, seckill_dir_stats(dir, &stats, err, sizeof(err)));
    CHECK_INT(1, stats.in_use);
    CHECK_INT(SECKILL_ELOCKED, seckill_repair(dir, &lsn, err, sizeof(err)));
    if (!CHECK_INT(0, seckill_verify(sk, NULL, err, sizeof(err)))) {
        printf("#   %s\n", err);
    }
    seckill_close(sk);
    CHECK_INT(SECKILL_OK, seckill_destroy("files", shm));
}

TAP_MAIN()
