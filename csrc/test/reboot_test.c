/*
 * The ledger's clock after a reboot: the wall clock may be right or wrong, and
 * the machine was off for an unknown time. No hold ends early, none never, and
 * no request id is forgotten.
 *
 * A reboot is made by hand: the segment is removed, and the batches of the log
 * get the id of another boot.
 */
#include "io/wal.h"
#include "test/support/engine.h"

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

static seckill_t *reboot(seckill_t *sk, const char *name)
{
    char path[512];

    engine_flush(sk);
    engine_end(sk, name);
    for (uint64_t seq = 1; seq < 8; seq++) {
        char file[SKL_WAL_NAME];

        skl_wal_name(file, "wal.", seq);
        snprintf(path, sizeof(path), "%s/%s/%s", scratch_dir(), name, file);
        spoil_segment(path);
    }
    return engine_open(name);
}

static void check_sells_out(seckill_t *sk)
{
    seckill_item_t i;
    char id[16];
    int sold = 0;

    engine_flush(sk);
    for (int n = 0; n < 20; n++) {
        snprintf(id, sizeof(id), "end%d", n);
        sold += engine_reserve(sk, id) == SECKILL_OK;
    }
    CHECK_INT(SECKILL_OK, seckill_get(sk, "cup", 3, &i));
    CHECK_INT(0, i.available);
    CHECK(sold > 0);
    CHECK_INT(0, seckill_audit(sk, engine_err, sizeof(engine_err)));
}

/* The machine was off for months, or the clock is ahead by them. */
TEST(a_hold_gets_back_the_time_that_nobody_knows)
{
    const int64_t t0 = seckill_wall_now() - 2000 * HOUR;
    seckill_t *sk = engine_open("off");

    seckill_set_test_clock(sk, t0);
    CHECK_INT(SECKILL_OK, engine_put(sk, 10));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    CHECK_INT(t0 + HOLD, engine_last.expires_at);
    engine_flush(sk);
    seckill_set_test_clock(sk, t0 + HOLD / 4);
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "b"));
    sk = reboot(sk, "off");
    CHECK(seckill_now(sk) > seckill_wall_now() - 10 * SEC);
    CHECK_INT(SECKILL_OK, engine_find(sk, "a"));
    /* What passed since the boot counts, no more. */
    if (skl_clock_boot_ns() < HOLD / 2) {
        CHECK_INT(SECKILL_STATE_RESERVED, engine_last.state);
    }
    CHECK(engine_last.expires_at == 0 ||
          engine_last.expires_at <= seckill_now(sk) + HOLD);
    CHECK_INT(SECKILL_OK,
              engine_reserve(sk, "a")); /* the id is not forgotten */
    CHECK_INT(1, engine_last.replayed);
    /* And it ends: nothing is held for ever. */
    seckill_set_test_clock(sk, seckill_now(sk) + 2 * HOLD);
    CHECK_INT(SECKILL_OK, engine_find(sk, "b"));
    CHECK_INT(SECKILL_STATE_EXPIRED, engine_last.state);
    check_sells_out(sk);
    engine_end(sk, "off");
}

/* The clock of the first boot was ahead, or that of the second is behind. */
TEST(time_does_not_go_back)
{
    const int64_t ahead = seckill_wall_now() + 5 * HOUR;
    seckill_t *sk = engine_open("ahead");

    seckill_set_test_clock(sk, ahead);
    CHECK_INT(SECKILL_OK, engine_put(sk, 10));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    sk = reboot(sk, "ahead");
    CHECK(seckill_now(sk) >= ahead);
    CHECK(seckill_now(sk) < ahead + HOLD / 2);
    CHECK_INT(SECKILL_OK, engine_find(sk, "a"));
    CHECK_INT(SECKILL_STATE_RESERVED, engine_last.state);
    CHECK_INT(ahead + HOLD, engine_last.expires_at);
    seckill_set_test_clock(sk, ahead + HOLD);
    CHECK_INT(SECKILL_OK, engine_find(sk, "a"));
    CHECK_INT(SECKILL_STATE_EXPIRED, engine_last.state);
    check_sells_out(sk);
    engine_end(sk, "ahead");
}

/* All processes died, the machine did not: the clock has never stopped. */
TEST(in_the_same_boot_downtime_counts_exactly)
{
    seckill_t *sk = engine_open("same");
    int64_t before, offset;

    CHECK_INT(SECKILL_OK, engine_put(sk, 10));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    before = engine_last.expires_at;
    offset = 1234567;
    atomic_fetch_add(&sk->segment.header->clock_offset, offset);
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "b"));
    offset = atomic_load(&sk->segment.header->clock_offset);
    sk = engine_again(sk, "same");
    CHECK_INT(offset, atomic_load(&sk->segment.header->clock_offset));
    CHECK_INT(SECKILL_OK, engine_find(sk, "a"));
    CHECK_INT(before, engine_last.expires_at);
    engine_end(sk, "same");
}

/* No record between them: what was given back once is not given back again,
 * and what comes after is still behind the holds before. */
TEST(two_reboots_give_each_stretch_back_once)
{
    const int64_t t0 = seckill_wall_now() - 2000 * HOUR;
    seckill_t *sk = engine_open("twice");

    seckill_set_test_clock(sk, t0);
    CHECK_INT(SECKILL_OK, engine_put(sk, 10));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    sk = reboot(sk, "twice");
    sk = engine_again(sk, "twice");
    sk = reboot(sk, "twice");
    CHECK_INT(SECKILL_OK, engine_find(sk, "a"));
    CHECK(engine_last.expires_at <= seckill_now(sk) + HOLD);
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "b"));
    CHECK_INT(SECKILL_OK,
              seckill_confirm(sk, engine_last.id, engine_last.id_len));
    sk = engine_again(sk, "twice");
    CHECK_INT(SECKILL_OK, engine_find(sk, "b"));
    engine_end(sk, "twice");
}

/* The segment of the restart begins with the same LSN as that of the reboot,
 * with a digest of tables whose time had not been moved. */
TEST(a_restart_before_a_reboot_leaves_a_log_that_can_be_checked)
{
    const int64_t t0 = seckill_wall_now() - 2000 * HOUR;
    seckill_t *sk = engine_open("digest");

    seckill_set_test_clock(sk, t0);
    CHECK_INT(SECKILL_OK, engine_put(sk, 10));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    engine_flush(sk);
    seckill_close(sk);
    sk = engine_open("digest");
    sk = reboot(sk, "digest");
    engine_verify("digest");
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "b"));
    sk = engine_again(sk, "digest");
    engine_verify("digest");
    CHECK(engine_snapshots("digest") >= 1);
    engine_end(sk, "digest");
}

/* Then recovery reads no record, and the segment has none. */
TEST(the_clock_goes_on_behind_a_snapshot_of_everything)
{
    seckill_t *sk = engine_open("all");
    int64_t offset;

    /* The wall clock was set forward by half an hour since. */
    atomic_fetch_sub(&sk->segment.header->clock_offset, HOUR / 2);
    offset = atomic_load(&sk->segment.header->clock_offset);
    CHECK_INT(SECKILL_OK, engine_put(sk, 10));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    sk = engine_again(sk, "all");
    CHECK_INT(1, engine_snapshots("all"));
    sk = engine_again(sk, "all");
    CHECK_INT(offset, atomic_load(&sk->segment.header->clock_offset));
    CHECK_INT(SECKILL_OK, engine_find(sk, "a"));
    CHECK_INT(SECKILL_STATE_RESERVED, engine_last.state);
    engine_end(sk, "all");
}

static void put_two(seckill_t *sk)
{
    static const char *names[] = {"cup", "tee"};

    for (int i = 0; i < 2; i++) {
        seckill_item_t item = {.struct_size = sizeof(item),
                               .item_len = 3,
                               .total = 1,
                               .hold_ns = HOLD,
                               .version = 1};

        memcpy(item.item, names[i], 3);
        CHECK_INT(SECKILL_OK, seckill_put(sk, &item));
    }
}

/* The power goes when one line of an order has ended and the other has not. */
TEST(a_reboot_between_the_ends_of_two_lines)
{
    const int64_t t0 = seckill_wall_now() - 2000 * HOUR;
    seckill_t *sk = engine_open("lines");
    seckill_line_t lines[2] = {{.item = "cup", .item_len = 3, .qty = 1},
                               {.item = "tee", .item_len = 3, .qty = 1}};
    seckill_order_t order;
    uint32_t line;

    seckill_set_test_clock(sk, t0);
    put_two(sk);
    CHECK_INT(SECKILL_OK,
              seckill_order(sk, "ann", 3, "o1", 2, lines, 2, &order, &line));
    engine_flush(sk);
    seckill_set_test_clock(sk, t0 + HOLD);
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "bob")); /* takes the cup */
    sk = reboot(sk, "lines");
    CHECK_INT(0, seckill_audit(sk, engine_err, sizeof(engine_err)));
    CHECK_INT(SECKILL_EEXPIRED, seckill_confirm(sk, order.id, order.id_len));
    engine_verify("lines");
    sk = engine_again(sk, "lines");
    CHECK_INT(SECKILL_OK, engine_find(sk, "bob"));
    CHECK_INT(0, seckill_audit(sk, engine_err, sizeof(engine_err)));
    engine_end(sk, "lines");
}

/* What put accepts can be read back. */
TEST(times_far_ahead_come_back)
{
    seckill_t *sk = engine_open("far");
    seckill_item_t i = {.struct_size = sizeof(i),
                        .item_len = 3,
                        .item = "cup",
                        .total = 1,
                        .starts_at = 1,
                        .ends_at = SECKILL_TIME_MAX + 1,
                        .version = 1};

    CHECK_INT(SECKILL_EBADTIME, seckill_put(sk, &i));
    i.ends_at = SECKILL_TIME_MAX;
    CHECK_INT(SECKILL_OK, seckill_put(sk, &i));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    sk = engine_again(sk, "far");
    CHECK_INT(SECKILL_OK, engine_find(sk, "a"));
    engine_verify("far");
    engine_end(sk, "far");
}

/* A clock that is decades ahead when the ledger is made. */
TEST(a_clock_far_ahead_is_no_damage)
{
    seckill_t *sk = engine_open("clock");

    seckill_set_test_clock(sk, 5000000000LL * SEC); /* 2128 */
    CHECK_INT(SECKILL_OK, engine_put(sk, 10));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    sk = engine_again(sk, "clock");
    CHECK_INT(SECKILL_OK, engine_find(sk, "a"));
    CHECK_INT(SECKILL_STATE_RESERVED, engine_last.state);
    engine_end(sk, "clock");
}

TAP_MAIN()
