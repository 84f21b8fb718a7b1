/*
 * Tests of the log's format and of reading it: names, headers, the end of a
 * log, damage at every byte, segments that come and go under a reader.
 */
/* runs: long */
#include "io/wal.h"

#include "io/wal_read.h"
#include "test/support/logdir.h"
#include "test/support/memfs.h"
#include "test/support/tap.h"

static char err[400];

/* A log in memory. */
typedef struct {
    memfs_t *m;
    logdir_t d;
} log_t;

static void log_open(log_t *l, uint32_t per_batch, uint64_t segment_bytes)
{
    l->m = memfs_new();
    logdir_open(&l->d, &l->m->fs);
    l->d.per_batch = per_batch;
    l->d.segment_bytes = segment_bytes;
}

static void log_close(log_t *l)
{
    logdir_close(&l->d);
    memfs_free(l->m);
}

static memfs_file_t *segment(log_t *l, uint64_t seq)
{
    char name[SKL_WAL_NAME];

    skl_wal_name(name, "wal.", seq);
    return memfs_file(l->m, name);
}

/* Read from `from` to the end: records, all in order and as they were in the
 * ring. *rc is how it ended. */
static uint64_t read_all(log_t *l, uint64_t from, int *rc, skl_wal_end_t *end)
{
    const skl_record_t *got;
    skl_wal_reader_t *r;
    uint64_t n = 0, next = from;
    skl_record_t want;

    memset(end, 0, sizeof(*end));
    err[0] = '\0';
    *rc = skl_wal_reader_open(&l->m->fs, l->d.id.uuid, from, &r, err,
                              sizeof(err));
    if (*rc != SECKILL_OK) {
        return 0;
    }
    while ((*rc = skl_wal_read(r, &got)) == 1) {
        next = next == 0 ? got->lsn : next;
        if (got->lsn != next++ ||
            !skl_ring_read(&l->d.stock.ring, got->lsn, &want) ||
            memcmp(&want, got, got->bytes) != 0) {
            CHECK(!"a record as it was written");
            break;
        }
        n++;
    }
    snprintf(err, sizeof(err), "%s", skl_wal_reader_error(r));
    skl_wal_reader_end(r, end);
    skl_wal_reader_close(r);
    return n;
}

/* ---- Names and headers --------------------------------------------------- */

TEST(wal_names_go_there_and_back)
{
    static const char *const bad[] = {
        "wal.",
        "wal.1",
        "wal.000000000000000g",
        "wal.000000000000000A",
        "wal.00000000000000011",
        "wal.0000000000000001.lost",
        "wal. 000000000000001",
        "wal.-000000000000001",
        "wal.0x00000000000001",
        "snap.0000000000000001",
    };
    char name[SKL_WAL_NAME];
    uint64_t n;

    skl_wal_name(name, "wal.", 0xabcdef);
    CHECK_STR("wal.0000000000abcdef", name);
    CHECK_INT(1, skl_wal_parse_name(name, "wal.", &n));
    CHECK_INT(0xabcdef, n);
    skl_wal_name(name, "snap.", UINT64_MAX);
    CHECK_INT(1, skl_wal_parse_name(name, "snap.", &n));
    CHECK(n == UINT64_MAX);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (!CHECK_INT(0, skl_wal_parse_name(bad[i], "wal.", &n))) {
            printf("#   %s\n", bad[i]);
        }
    }
}

TEST(wal_header_is_valid_as_written_only)
{
    skl_wal_header_t h = {.seq = 3, .first_lsn = 7, .incarnation = 9};
    const uint8_t other[16] = {1};

    skl_wal_header_seal(&h);
    CHECK_INT(1, skl_wal_header_valid(&h, NULL));
    CHECK_INT(1, skl_wal_header_valid(&h, h.uuid));
    CHECK_INT(0, skl_wal_header_valid(&h, other));
    for (size_t i = 0; i < sizeof(h); i++) {
        ((uint8_t *)&h)[i] ^= 0x10;
        CHECK_INT(0, skl_wal_header_valid(&h, NULL));
        ((uint8_t *)&h)[i] ^= 0x10;
    }
}

TEST(wal_scan_lists_segments_in_order)
{
    skl_wal_segments_t s;
    log_t l;

    log_open(&l, 4, 32 << 10);
    logdir_work(&l.d, 300, 1);
    memfs_put(l.m, "free.0000000000000000", "x", 1);
    memfs_put(l.m, "wal.0000000000000001.lost", "x", 1);
    CHECK_INT(SECKILL_OK,
              skl_wal_scan(&l.m->fs, l.d.id.uuid, &s, err, sizeof(err)));
    CHECK_INT(l.d.seq, s.count);
    CHECK_INT(1, s.free_count);
    for (uint32_t i = 0; i < s.count; i++) {
        CHECK_INT(i + 1, s.list[i].seq);
        CHECK(i == 0 || s.list[i].first_lsn > s.list[i - 1].first_lsn);
    }
    skl_wal_scan_free(&s);
    log_close(&l);
}

static int scan(log_t *l)
{
    skl_wal_segments_t s;
    int rc = skl_wal_scan(&l->m->fs, l->d.id.uuid, &s, err, sizeof(err));

    if (rc == SECKILL_OK) {
        skl_wal_scan_free(&s);
    }
    return rc;
}

TEST(wal_scan_names_what_is_wrong)
{
    log_t l;

    log_open(&l, 4, 32 << 10);
    logdir_work(&l.d, 300, 1);
    REQUIRE(l.d.seq > 4);
    segment(&l, 3)->bytes[40] ^= 1;
    CHECK_INT(SECKILL_ECORRUPT, scan(&l));
    CHECK(strstr(err, "wal.0000000000000003, offset 0") != NULL);
    segment(&l, 3)->bytes[40] ^= 1;
    CHECK_INT(SECKILL_OK, scan(&l));
    memfs_resize(segment(&l, 2), 100);
    CHECK_INT(SECKILL_ECORRUPT, scan(&l));
    memfs_unlink(&l.m->fs, "wal.0000000000000002");
    CHECK_INT(SECKILL_ECORRUPT, scan(&l));
    CHECK(strstr(err, "wal.0000000000000002 is missing") != NULL);
    l.m->bad = "wal.";
    CHECK_INT(SECKILL_EIO, scan(&l));
    log_close(&l);
}

/* ---- Reading ------------------------------------------------------------- */

TEST(wal_read_gives_every_record)
{
    const uint32_t per_batch[] = {1, 2, 30, 1000};
    skl_wal_end_t end;
    log_t l;
    int rc;

    for (size_t i = 0; i < 4; i++) {
        log_open(&l, per_batch[i], 200 << 10);
        logdir_work(&l.d, 1500, 1);
        CHECK_INT(l.d.written, read_all(&l, 0, &rc, &end));
        CHECK_INT(0, rc);
        CHECK_INT(l.d.written, end.last_lsn);
        CHECK_INT(l.d.seq, end.seq);
        CHECK_INT(l.d.offset, end.offset);
        CHECK_INT(0, end.torn_bytes);
        CHECK_INT(l.d.written - 499, read_all(&l, 500, &rc, &end));
        CHECK_INT(1, read_all(&l, l.d.written, &rc, &end));
        CHECK_INT(0, read_all(&l, l.d.written + 1, &rc, &end));
        CHECK_INT(0, rc);
        log_close(&l);
    }
}

TEST(wal_read_takes_short_reads)
{
    skl_wal_end_t end;
    log_t l;
    int rc;

    log_open(&l, 300, 1 << 20);
    logdir_work(&l.d, 400, 1);
    l.m->most = 1000;
    CHECK_INT(l.d.written, read_all(&l, 0, &rc, &end));
    CHECK_INT(0, rc);
    l.m->bad = "wal.";
    CHECK_INT(0, read_all(&l, 0, &rc, &end));
    CHECK_INT(SECKILL_EIO, rc);
    log_close(&l);
}

TEST(wal_peek_looks_ahead_in_the_batch)
{
    const skl_record_t *got;
    skl_wal_reader_t *r;
    log_t l;

    log_open(&l, 10, 1 << 20);
    logdir_work(&l.d, 100, 1);
    CHECK_INT(SECKILL_OK, skl_wal_reader_open(&l.m->fs, l.d.id.uuid, 0, &r, err,
                                              sizeof(err)));
    CHECK(skl_wal_peek(r, 0) == NULL);
    for (uint64_t lsn = 1; lsn <= 20; lsn++) {
        const uint32_t left = (uint32_t)((20 - lsn) % 10);

        CHECK_INT(1, skl_wal_read(r, &got));
        for (uint32_t i = 0; i < left; i++) {
            CHECK_INT(lsn + 1 + i, skl_wal_peek(r, i)->lsn);
        }
        CHECK(skl_wal_peek(r, left) == NULL);
        if (left > 1) {
            CHECK_INT(lsn + 1, skl_wal_peek(r, 0)->lsn);
        }
    }
    skl_wal_reader_close(r);
    log_close(&l);
}

TEST(wal_read_passes_seals_and_lives)
{
    skl_wal_end_t end;
    log_t l;
    int rc;

    log_open(&l, 4, 1 << 20);
    logdir_work(&l.d, 100, 1);
    logdir_seal(&l.d);
    logdir_work(&l.d, 100, 2);
    logdir_seal(&l.d);
    logdir_next_life(&l.d);
    logdir_next_life(&l.d);
    logdir_work(&l.d, 100, 3);
    logdir_seal(&l.d);
    CHECK_INT(l.d.written, read_all(&l, 0, &rc, &end));
    CHECK_INT(0, rc);
    CHECK_INT(l.d.offset, end.offset);
    log_close(&l);
}

TEST(wal_read_says_when_a_record_is_not_kept)
{
    skl_wal_end_t end;
    log_t l;
    int rc;

    log_open(&l, 4, 32 << 10);
    logdir_work(&l.d, 300, 1);
    memfs_unlink(&l.m->fs, "wal.0000000000000001");
    CHECK_INT(0, read_all(&l, 1, &rc, &end));
    CHECK_INT(SECKILL_ECURSORGONE, rc);
    CHECK(strstr(err, "not kept") != NULL);
    CHECK(read_all(&l, 0, &rc, &end) > 0);
    CHECK_INT(0, rc);
    log_close(&l);
}

/* ---- The end ------------------------------------------------------------- */

/* The last batch was cut at any byte: nothing is lost but its records. */
TEST(wal_torn_tail_is_cut_at_every_length)
{
    skl_wal_end_t end;
    memfs_file_t *f;
    uint64_t kept, from, to, used;
    char *whole;
    log_t l;
    int rc;

    log_open(&l, 1000, 1 << 20);
    logdir_work(&l.d, 40, 1);
    kept = l.d.written;
    from = l.d.offset;
    logdir_work(&l.d, 30, 2);
    to = l.d.offset;
    f = segment(&l, 1);
    REQUIRE(to > from + 4096 && f->size == to);
    whole = malloc(to);
    memcpy(whole, f->bytes, to);
    for (used = to; whole[used - 1] == 0; used--) {
    }
    for (uint64_t cut = from; cut < used; cut++) {
        /* As a hole in a file that was written ahead, and as its end. */
        memcpy(f->bytes, whole, cut);
        memset(f->bytes + cut, 0, to - cut);
        for (int i = 0; i < 2; i++) {
            f->size = i == 0 ? to : cut;
            if (!CHECK_INT(kept, read_all(&l, 0, &rc, &end)) ||
                !CHECK_INT(0, rc) || !CHECK_INT(from, end.offset) ||
                !CHECK(end.torn_bytes <= cut - from) ||
                !CHECK((end.torn_bytes > 0) == (cut > from))) {
                printf("#   at %d: %s\n", (int)(cut - from), err);
                cut = used;
                break;
            }
        }
    }
    free(whole);
    log_close(&l);
}

/* What the reader must do when the batch at `at` cannot be used. */
static int is_right(log_t *l, const skl_batch_header_t *b, int is_last,
                    uint64_t seq, uint64_t at)
{
    char place[80];
    skl_wal_end_t end;
    int rc;
    uint64_t n = read_all(l, 0, &rc, &end);

    if (n == l->d.written && rc == 0) {
        return 1; /* padding */
    }
    if (!CHECK_INT(b->first_lsn - 1, n)) {
        return 0;
    }
    if (is_last) {
        return CHECK_INT(0, rc) && CHECK_INT(at, end.offset) &&
               CHECK(end.torn_bytes > 0);
    }
    snprintf(place, sizeof(place), "segment wal.%016llx, offset %llu",
             (unsigned long long)seq, (unsigned long long)at);
    return CHECK_INT(SECKILL_ECORRUPT, rc) && CHECK(strstr(err, place) != NULL);
}

static void flip_batches(log_t *l, uint64_t seq, uint64_t *flips)
{
    memfs_file_t *f = segment(l, seq);
    uint64_t at = SKL_WAL_BLOCK;

    while (at < f->size) {
        const skl_batch_header_t b =
            *(const skl_batch_header_t *)(const void *)(f->bytes + at);
        const uint64_t bytes = skl_batch_bytes(b.units);
        const int is_last = seq == l->d.seq && at + bytes == f->size;

        for (uint64_t i = 0; i < SKL_UNIT * (1ULL + b.units); i++) {
            f->bytes[at + i] ^= (char)(1 << i % 8);
            ++*flips;
            if (!is_right(l, &b, is_last, seq, at)) {
                printf("#   segment %d, batch %d, byte %d: %s\n", (int)seq,
                       (int)at, (int)i, err);
                return;
            }
            f->bytes[at + i] ^= (char)(1 << i % 8);
        }
        at += bytes;
    }
}

TEST(wal_every_flipped_byte_is_found)
{
    uint64_t flips = 0;
    log_t l;

    log_open(&l, 5, 16 << 10);
    logdir_work(&l.d, 100, 1);
    REQUIRE(l.d.seq >= 2);
    for (uint64_t seq = 1; seq <= l.d.seq; seq++) {
        flip_batches(&l, seq, &flips);
    }
    CHECK(flips > 8000);
    log_close(&l);
}

TEST(wal_seal_makes_damage_of_the_last_records_known)
{
    skl_wal_end_t end;
    uint64_t at;
    log_t l;
    int rc;

    log_open(&l, 1000, 1 << 20);
    logdir_work(&l.d, 20, 1);
    at = l.d.offset;
    logdir_work(&l.d, 20, 2);
    segment(&l, 1)->bytes[at + 200] ^= 1;
    (void)read_all(&l, 0, &rc, &end);
    CHECK_INT(0, rc);
    logdir_seal(&l.d);
    (void)read_all(&l, 0, &rc, &end);
    CHECK_INT(SECKILL_ECORRUPT, rc);
    CHECK(strstr(err, "was durable") != NULL);
    log_close(&l);
}

/* ---- Segments ------------------------------------------------------------ */

/* A file is used again: what stands behind the new batches has another salt. */
TEST(wal_batches_of_an_earlier_use_are_no_tail)
{
    skl_wal_end_t end;
    memfs_file_t *f;
    char *old;
    size_t bytes;
    log_t l;
    int rc;

    log_open(&l, 3, 1 << 20);
    logdir_work(&l.d, 200, 1);
    f = segment(&l, 1);
    bytes = f->size;
    old = malloc(bytes);
    memcpy(old, f->bytes, bytes);
    logdir_roll(&l.d);
    logdir_work(&l.d, 10, 2);
    f = segment(&l, 2);
    REQUIRE(f->size < bytes);
    {
        const size_t from = f->size;

        memfs_resize(f, bytes);
        memcpy(f->bytes + from, old + from, bytes - from);
    }
    CHECK_INT(l.d.written, read_all(&l, 0, &rc, &end));
    CHECK_INT(0, rc);
    CHECK_INT(0, end.torn_bytes);
    free(old);
    log_close(&l);
}

/* The same LSNs, the right checksums, but the salt of another use. */
TEST(wal_batches_of_another_salt_do_not_count)
{
    skl_wal_end_t end;
    skl_batch_header_t *b;
    uint64_t kept, at;
    log_t l;
    int rc;

    log_open(&l, 1000, 1 << 20);
    logdir_work(&l.d, 20, 1);
    kept = l.d.written;
    at = l.d.offset;
    logdir_work(&l.d, 20, 2);
    b = (void *)(segment(&l, 1)->bytes + at);
    b->salt ^= 2;
    skl_batch_header_seal(b);
    CHECK_INT(kept, read_all(&l, 0, &rc, &end));
    CHECK_INT(0, rc);
    CHECK_INT(0, end.torn_bytes);
    log_close(&l);
}

/* A writer died between write and sync: its batch is void, the next segment
 * has other records with the same LSNs. */
TEST(wal_what_stands_behind_the_next_segment_is_void)
{
    skl_wal_end_t end;
    memfs_file_t *f;
    uint64_t at;
    log_t l;
    int rc;

    log_open(&l, 4, 1 << 20);
    logdir_work(&l.d, 50, 1);
    at = l.d.offset;
    logdir_roll(&l.d);
    logdir_work(&l.d, 50, 2);
    f = segment(&l, 1);
    REQUIRE(f->size == at);
    /* Batches of the second segment, under the salt of the first. */
    for (int i = 0; i < 3; i++) {
        const memfs_file_t *next = segment(&l, 2);
        const uint64_t from = SKL_WAL_BLOCK * (1 + (uint64_t)i);
        skl_batch_header_t *b;

        memfs_resize(f, at + SKL_WAL_BLOCK);
        memcpy(f->bytes + at, next->bytes + from, SKL_WAL_BLOCK);
        b = (void *)(f->bytes + at);
        b->salt = ((const skl_wal_header_t *)(const void *)f->bytes)->salt;
        skl_batch_header_seal(b);
        CHECK_INT(l.d.written, read_all(&l, 0, &rc, &end));
        CHECK_INT(0, rc);
    }
    memset(f->bytes + at, 0x5a, SKL_WAL_BLOCK);
    CHECK_INT(l.d.written, read_all(&l, 0, &rc, &end));
    CHECK_INT(0, rc);
    log_close(&l);
}

TEST(wal_a_hole_before_the_next_segment_is_corrupt)
{
    skl_wal_end_t end;
    log_t l;
    int rc;

    log_open(&l, 4, 32 << 10);
    logdir_work(&l.d, 300, 1);
    memfs_resize(segment(&l, 2), segment(&l, 2)->size - SKL_WAL_BLOCK);
    (void)read_all(&l, 0, &rc, &end);
    CHECK_INT(SECKILL_ECORRUPT, rc);
    CHECK(strstr(err, "segment wal.0000000000000002, offset ") != NULL);
    CHECK(strstr(err, "missing before the next segment") != NULL);
    log_close(&l);
}

/* ---- A log in use -------------------------------------------------------- */

TEST(wal_reader_follows_a_log_in_use)
{
    const skl_record_t *got;
    skl_wal_reader_t *r;
    uint64_t n = 0, durable;
    log_t l;

    log_open(&l, 3, 64 << 10);
    logdir_flush(&l.d);
    CHECK_INT(SECKILL_OK, skl_wal_reader_open(&l.m->fs, l.d.id.uuid, 1, &r, err,
                                              sizeof(err)));
    for (uint64_t i = 0; i < 60; i++) {
        logdir_work(&l.d, 10, i);
        durable = l.d.written - l.d.written % 3;
        skl_wal_reader_limit(r, durable);
        while (skl_wal_read(r, &got) == 1) {
            CHECK_INT(++n, got->lsn);
        }
        CHECK_INT(durable, n);
        CHECK_INT(n + 1, skl_wal_reader_next(r));
    }
    CHECK(l.d.seq > 3);
    CHECK_STR("", skl_wal_reader_error(r));
    skl_wal_reader_close(r);
    log_close(&l);
}

/* A segment is given to a later one while it is read: no wrong record. */
TEST(wal_reader_notices_that_its_segment_was_recycled)
{
    const skl_record_t *got;
    skl_wal_reader_t *r;
    int rc;
    log_t l;

    log_open(&l, 2, 1 << 20);
    logdir_work(&l.d, 40, 1);
    logdir_roll(&l.d);
    logdir_work(&l.d, 40, 2);
    CHECK_INT(SECKILL_OK, skl_wal_reader_open(&l.m->fs, l.d.id.uuid, 1, &r, err,
                                              sizeof(err)));
    skl_wal_reader_limit(r, l.d.written);
    CHECK_INT(1, skl_wal_read(r, &got));
    CHECK_INT(0, memfs_rename(&l.m->fs, "wal.0000000000000001",
                              "wal.0000000000000003"));
    memcpy(segment(&l, 3)->bytes, segment(&l, 2)->bytes, 16 << 10);
    while ((rc = skl_wal_read(r, &got)) == 1) {
    }
    CHECK_INT(SECKILL_ECURSORGONE, rc);
    CHECK_INT(SECKILL_ECURSORGONE, skl_wal_read(r, &got));
    skl_wal_reader_close(r);
    log_close(&l);
}

/* All of it was read, and given up by the consumer: what follows is kept. */
TEST(wal_reader_goes_on_behind_a_segment_that_was_recycled)
{
    const skl_record_t *got;
    skl_wal_reader_t *r;
    uint64_t lsn = 0;
    log_t l;

    log_open(&l, 2, 1 << 20);
    logdir_work(&l.d, 40, 1);
    CHECK_INT(SECKILL_OK, skl_wal_reader_open(&l.m->fs, l.d.id.uuid, 1, &r, err,
                                              sizeof(err)));
    skl_wal_reader_limit(r, l.d.written);
    while (skl_wal_read(r, &got) == 1) {
        lsn = got->lsn;
    }
    CHECK_INT(l.d.written, lsn);
    logdir_roll(&l.d);
    logdir_work(&l.d, 40, 2);
    CHECK_INT(0, memfs_rename(&l.m->fs, "wal.0000000000000001",
                              "free.0000000000000001"));
    skl_wal_reader_limit(r, l.d.written);
    CHECK_INT(1, skl_wal_read(r, &got));
    CHECK_INT(lsn + 1, got->lsn);
    while (skl_wal_read(r, &got) == 1) {
        lsn = got->lsn;
    }
    CHECK_INT(l.d.written, lsn);
    skl_wal_reader_close(r);
    log_close(&l);
}

/* The last batch was read, then its writer died: the next segment has it. */
TEST(wal_reader_passes_over_a_tail_that_became_void)
{
    const skl_record_t *got;
    skl_wal_reader_t *r;
    uint64_t lsn = 0, durable;
    int rc;
    log_t l;

    log_open(&l, 2, 1 << 20);
    logdir_work(&l.d, 40, 1);
    durable = l.d.written;
    logdir_work(&l.d, 10, 2);
    CHECK(l.d.written > durable);
    CHECK_INT(SECKILL_OK, skl_wal_reader_open(&l.m->fs, l.d.id.uuid, 1, &r, err,
                                              sizeof(err)));
    skl_wal_reader_limit(r, l.d.written);
    while (skl_wal_read(r, &got) == 1) {
        lsn = got->lsn;
    }
    CHECK_INT(l.d.written, lsn);
    l.d.written = durable;
    logdir_roll(&l.d);
    logdir_work(&l.d, 40, 3);
    skl_wal_reader_limit(r, l.d.written);
    while ((rc = skl_wal_read(r, &got)) == 1) {
        CHECK_INT(lsn + 1, got->lsn); /* none twice, none left out */
        lsn = got->lsn;
    }
    CHECK_INT(0, rc);
    CHECK_INT(l.d.written, lsn);
    skl_wal_reader_close(r);
    log_close(&l);
}

static ssize_t (*plain_pread)(skl_fs_t *, int, void *, size_t, uint64_t);
static int recycles; /* at the next read */

/* The file that was just opened becomes the next segment. */
static ssize_t pread_of_another(skl_fs_t *fs, int fd, void *out, size_t n,
                                uint64_t at)
{
    static const char from[] = "wal.0000000000000001";
    memfs_t *m = memfs_of(fs);

    if (recycles) {
        skl_wal_header_t *h = (void *)memfs_file(m, from)->bytes;

        recycles = 0;
        h->seq = 3;
        h->first_lsn = 1000;
        skl_wal_header_seal(h);
        (void)memfs_rename(fs, from, "wal.0000000000000003");
    }
    return plain_pread(fs, fd, out, n, at);
}

TEST(wal_scan_is_not_misled_by_a_file_that_is_used_again)
{
    skl_wal_segments_t s;
    log_t l;

    log_open(&l, 2, 1 << 20);
    logdir_work(&l.d, 40, 1);
    logdir_roll(&l.d);
    logdir_work(&l.d, 40, 2);
    plain_pread = l.m->fs.pread;
    l.m->fs.pread = pread_of_another;
    recycles = 1;
    CHECK_INT(SECKILL_OK,
              skl_wal_scan(&l.m->fs, l.d.id.uuid, &s, err, sizeof(err)));
    CHECK_INT(0, recycles);
    CHECK_INT(2, s.count);
    CHECK_INT(2, s.list[0].seq);
    CHECK_INT(3, s.list[1].seq);
    skl_wal_scan_free(&s);
    log_close(&l);
}

TAP_MAIN()
