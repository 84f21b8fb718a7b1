/*
 * The ledger's clock after a reboot: the wall clock may be right or wrong, and
 * the machine was off for an unknown time. No hold ends early, none never, and
 * no request id is forgotten.
 *
 * A reboot is made by hand: the segment is removed, and the batches of the log
 * get the id of another boot.
 */
#include "base/clock.h"
#include "io/wal.h"
#include "seckill_internal.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#define SEC 1000000000LL
#define HOUR (3600 * SEC)
#define HOLD (100 * SEC)

static char err[512];
static seckill_reservation_t last;
static seckill_t *kept[32];
static int kept_count;

static seckill_t *open_it(const char *name)
{
    seckill_options_t o = {.struct_size = sizeof(o),
                           .name = name,
                           .shm_dir = scratch_dir(),
                           .dir = scratch_path(name),
                           .window_ns = HOUR,
                           .items = 8,
                           .reservations = 64,
                           .users = 64,
                           .requests = 128,
                           .limit_keys = 64,
                           .limiters = 1,
                           .lists = 1,
                           .list_overlay = 64,
                           .log_units = 4096};
    seckill_t *sk = NULL;

    CHECK_INT(SECKILL_OK, seckill_open(&o, &sk, err, sizeof(err)));
    CHECK_STR("", err);
    kept[kept_count++] = sk;
    return sk;
}

static int put(seckill_t *sk)
{
    seckill_item_t i = {.struct_size = sizeof(i),
                        .item_len = 3,
                        .item = "cup",
                        .total = 10,
                        .hold_ns = HOLD,
                        .version = 1};

    return seckill_put(sk, &i);
}

static int reserve(seckill_t *sk, const char *id)
{
    return seckill_reserve(sk, "cup", 3, id, strlen(id), 1, id, strlen(id),
                           &last);
}

static int find(seckill_t *sk, const char *id)
{
    return seckill_find(sk, id, strlen(id), &last);
}

/* Another boot wrote this batch. */
static void spoil(FILE *f, long at)
{
    skl_batch_header_t b;

    if (fseek(f, at, SEEK_SET) != 0 || fread(&b, sizeof(b), 1, f) != 1 ||
        b.magic != SKL_BATCH_MAGIC) {
        return;
    }
    memset(b.boot_id, 'x', sizeof(b.boot_id) - 1);
    skl_batch_header_seal(&b);
    CHECK_INT(0, fseek(f, at, SEEK_SET));
    CHECK_INT(1, fwrite(&b, sizeof(b), 1, f));
}

static void spoil_segment(const char *path)
{
    FILE *f = fopen(path, "r+b");
    long end;

    if (f == NULL) {
        return;
    }
    CHECK_INT(0, fseek(f, 0, SEEK_END));
    end = ftell(f);
    for (long at = SKL_WAL_BLOCK; at + SKL_WAL_BLOCK <= end;
         at += SKL_WAL_BLOCK) {
        spoil(f, at);
    }
    (void)fclose(f);
}

/* Else a leap of the clock is a lag of the log. */
static void flush(seckill_t *sk)
{
    CHECK_INT(SECKILL_OK, seckill_sync_wait(sk, seckill_lsn(sk), SEC));
}

static seckill_t *reboot(seckill_t *sk, const char *name, int other_boot)
{
    char path[512];

    flush(sk);
    seckill_close(sk);
    CHECK_INT(SECKILL_OK, seckill_destroy(name, scratch_dir()));
    for (uint64_t seq = 1; other_boot && seq < 8; seq++) {
        char file[SKL_WAL_NAME];

        skl_wal_name(file, "wal.", seq);
        snprintf(path, sizeof(path), "%s/%s/%s", scratch_dir(), name, file);
        spoil_segment(path);
    }
    return open_it(name);
}

static void check_sells_out(seckill_t *sk)
{
    seckill_item_t i;
    char id[16];
    int sold = 0;

    flush(sk);
    for (int n = 0; n < 20; n++) {
        snprintf(id, sizeof(id), "end%d", n);
        sold += reserve(sk, id) == SECKILL_OK;
    }
    CHECK_INT(SECKILL_OK, seckill_get(sk, "cup", 3, &i));
    CHECK_INT(0, i.available);
    CHECK(sold > 0);
    CHECK_INT(0, seckill_audit(sk, err, sizeof(err)));
}

static void end(seckill_t *sk, const char *name)
{
    seckill_close(sk);
    CHECK_INT(SECKILL_OK, seckill_destroy(name, scratch_dir()));
}

/* The machine was off for months, or the clock is ahead by them. */
TEST(a_hold_gets_back_the_time_that_nobody_knows)
{
    const int64_t t0 = seckill_wall_now() - 2000 * HOUR;
    seckill_t *sk = open_it("off");

    seckill_set_test_clock(sk, t0);
    CHECK_INT(SECKILL_OK, put(sk));
    CHECK_INT(SECKILL_OK, reserve(sk, "a"));
    CHECK_INT(t0 + HOLD, last.expires_at);
    flush(sk);
    seckill_set_test_clock(sk, t0 + HOLD / 4);
    CHECK_INT(SECKILL_OK, reserve(sk, "b"));
    sk = reboot(sk, "off", 1);
    CHECK(seckill_now(sk) > seckill_wall_now() - 10 * SEC);
    CHECK_INT(SECKILL_OK, find(sk, "a"));
    /* What passed since the boot counts, no more. */
    if (skl_clock_boot_ns() < HOLD / 2) {
        CHECK_INT(SECKILL_STATE_RESERVED, last.state);
    }
    CHECK(last.expires_at == 0 || last.expires_at <= seckill_now(sk) + HOLD);
    CHECK_INT(SECKILL_OK, reserve(sk, "a")); /* the id is not forgotten */
    CHECK_INT(1, last.replayed);
    /* And it ends: nothing is held for ever. */
    seckill_set_test_clock(sk, seckill_now(sk) + 2 * HOLD);
    CHECK_INT(SECKILL_OK, find(sk, "b"));
    CHECK_INT(SECKILL_STATE_EXPIRED, last.state);
    check_sells_out(sk);
    end(sk, "off");
}

/* The clock of the first boot was ahead, or that of the second is behind. */
TEST(time_does_not_go_back)
{
    const int64_t ahead = seckill_wall_now() + 5 * HOUR;
    seckill_t *sk = open_it("ahead");

    seckill_set_test_clock(sk, ahead);
    CHECK_INT(SECKILL_OK, put(sk));
    CHECK_INT(SECKILL_OK, reserve(sk, "a"));
    sk = reboot(sk, "ahead", 1);
    CHECK(seckill_now(sk) >= ahead);
    CHECK(seckill_now(sk) < ahead + HOLD / 2);
    CHECK_INT(SECKILL_OK, find(sk, "a"));
    CHECK_INT(SECKILL_STATE_RESERVED, last.state);
    CHECK_INT(ahead + HOLD, last.expires_at);
    seckill_set_test_clock(sk, ahead + HOLD);
    CHECK_INT(SECKILL_OK, find(sk, "a"));
    CHECK_INT(SECKILL_STATE_EXPIRED, last.state);
    check_sells_out(sk);
    end(sk, "ahead");
}

/* All processes died, the machine did not: the clock has never stopped. */
TEST(in_the_same_boot_downtime_counts_exactly)
{
    seckill_t *sk = open_it("same");
    int64_t before, offset;

    CHECK_INT(SECKILL_OK, put(sk));
    CHECK_INT(SECKILL_OK, reserve(sk, "a"));
    before = last.expires_at;
    offset = 1234567;
    atomic_fetch_add(&sk->segment.header->clock_offset, offset);
    CHECK_INT(SECKILL_OK, reserve(sk, "b"));
    offset = atomic_load(&sk->segment.header->clock_offset);
    sk = reboot(sk, "same", 0);
    CHECK_INT(offset, atomic_load(&sk->segment.header->clock_offset));
    CHECK_INT(SECKILL_OK, find(sk, "a"));
    CHECK_INT(before, last.expires_at);
    end(sk, "same");
}

TAP_MAIN()
