/*
 * Files of the log that are used again, on a simulated disk: the name under
 * which a file was a segment must be gone, durably, before the file gets the
 * header of another one.
 */
/* variants: rel asan */
#include "test/support/simledger.h"
#include "test/support/tap.h"

enum { SEGMENTS = 6, DEATHS = 16 };

static simledger_t l;
static simledger_memory_t memory;

/* It may fail: a fault may be planned. */
static void build_snapshot(void)
{
    while (simledger_snapshot(&l, 100) == 1) {
    }
}

/* Segments with a record each, all but the last one full, and a snapshot of the
 * first ones: the next snapshot lets their files go. */
static void write_segments(simdisk_t *d)
{
    const simledger_config_t c = simledger_config();
    seckill_item_t cup = {.struct_size = sizeof(cup),
                          .item_len = 3,
                          .item = "cup",
                          .total = 10,
                          .version = 1};

    memset(&memory, 0, sizeof(memory));
    CHECK_INT(SECKILL_OK, simledger_open(&l, d, &c, &memory, SIM_T0));
    CHECK_INT(SECKILL_OK, skl_stock_put(&l.stock, &cup, SIM_T0));
    CHECK_INT(1, simledger_settle(&l));
    for (int i = 1; i < SEGMENTS; i++) {
        CHECK_INT(SECKILL_OK, skl_wal_begin_segment(&l.writer, 0));
        CHECK_INT(SECKILL_OK, skl_stock_pause(&l.stock, simledger_str("cup"),
                                              i % 2, SIM_T0));
        CHECK_INT(1, simledger_settle(&l));
        if (i == SEGMENTS / 2) {
            build_snapshot();
        }
    }
    simledger_note(&l);
}

/* Build a snapshot and recycle: the call that makes the first name durable, or
 * not, and then no other file is given free. */
static uint64_t recycle(simdisk_t *d)
{
    const uint64_t from = simdisk_calls(d);

    build_snapshot();
    for (uint64_t i = from + 2; i < simdisk_calls(d); i++) {
        if (simdisk_call_at(d, i - 2) == SIM_SYNC_DIR &&
            simdisk_call_at(d, i - 1) == SIM_RENAME &&
            simdisk_call_at(d, i) == SIM_SYNC_DIR) {
            return i;
        }
    }
    return 0;
}

static void end(simdisk_t *d)
{
    simledger_die(&l);
    simledger_memory_free(&memory);
    simdisk_free(d);
}

static uint64_t count_calls(void)
{
    simdisk_t *d = simdisk_new(1);
    uint64_t at;

    write_segments(d);
    at = recycle(d);
    CHECK(at > 0);
    end(d);
    return at;
}

/* The recycled name is not durable; the process dies `later` calls after the
 * file was taken, and the power goes. */
static void die_in_the_next_segment(uint64_t sync, uint64_t later)
{
    const simledger_config_t c = simledger_config();
    simdisk_t *d = simdisk_new(1);
    uint64_t durable;

    write_segments(d);
    simdisk_fault(d, sync, SIM_EIO, 1);
    (void)recycle(d);
    durable = simledger_durable(&l);
    simdisk_fault(d, simdisk_calls(d) + later, SIM_FREEZE, 1);
    (void)skl_wal_begin_segment(&l.writer, 0);
    simledger_die(&l);
    simdisk_heal(d);
    simdisk_power_loss(d, 0);
    CHECK_INT(SECKILL_OK, simledger_open(&l, d, &c, &memory, SIM_T0));
    CHECK_STR("", l.text);
    CHECK(l.recovered >= durable);
    end(d);
}

TEST(the_old_name_of_a_file_is_gone_before_it_is_used_again)
{
    const uint64_t sync = count_calls();

    for (uint64_t later = 0; later < DEATHS; later++) {
        die_in_the_next_segment(sync, later);
    }
}

TAP_MAIN()
