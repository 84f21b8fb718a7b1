/*
 * Death and loss of power in `seckill ledger repair`, at every call of the
 * disk: the next repair finishes, and the ledger opens as if the first one had.
 */
/* variants: rel asan */
#include "io/repair.h"
#include "test/support/simledger.h"
#include "test/support/tap.h"

enum { SEGMENTS = 4, CALLS_MAX = 2000 };

static char err[600];

static uint64_t write_log(simdisk_t *d)
{
    const simledger_config_t c = simledger_config();
    static simledger_t l;
    simledger_memory_t memory = {0};
    seckill_item_t cup = {.struct_size = sizeof(cup),
                          .item_len = 3,
                          .item = "cup",
                          .total = 10,
                          .version = 1};
    uint64_t lsn;

    CHECK_INT(SECKILL_OK, simledger_open(&l, d, &c, &memory, SIM_T0));
    CHECK_INT(SECKILL_OK, skl_stock_put(&l.stock, &cup, SIM_T0));
    CHECK_INT(1, simledger_settle(&l));
    for (int i = 1; i < SEGMENTS; i++) {
        CHECK_INT(SECKILL_OK, skl_wal_begin_segment(&l.writer, 0));
        for (int k = 0; k < 2; k++) {
            CHECK_INT(
                SECKILL_OK,
                skl_stock_pause(&l.stock, simledger_str("cup"), k, SIM_T0));
            CHECK_INT(1, simledger_settle(&l));
        }
    }
    simledger_note(&l);
    lsn = simledger_lsn(&l);
    simledger_die(&l);
    simledger_memory_free(&memory);
    return lsn;
}

/* A record that was promised is damaged, durably. The first segment begins with
 * a seal, which has none. */
static void damage(simdisk_t *d, uint64_t seq)
{
    const uint64_t batch = seq == 1 ? 2 * SKL_WAL_BLOCK : SKL_WAL_BLOCK;
    skl_fs_t *fs = simdisk_fs(d);
    char name[SKL_WAL_NAME];
    int fd;

    skl_wal_name(name, "wal.", seq);
    fd = fs->open(fs, name, SKL_FS_WRITE);
    REQUIRE(fd >= 0);
    CHECK_INT(0, skl_fs_write_all(fs, fd, "damage", 6, batch + 200));
    CHECK_INT(0, fs->sync(fs, fd));
    CHECK_INT(0, fs->close(fs, fd));
}

static int repair(simdisk_t *d, uint64_t *lsn)
{
    skl_identity_t id;
    skl_fs_t *fs = simdisk_fs(d);
    int rc = skl_identity_read(fs, &id, err, sizeof(err));

    return rc == SECKILL_OK ? skl_repair(fs, &id, lsn, err, sizeof(err)) : rc;
}

/* How far the ledger comes back, and it is sound. */
static uint64_t recovered(simdisk_t *d)
{
    skl_identity_t id;
    skl_recovered_t r = {0};
    skl_tables_t t;
    skl_fs_t *fs = simdisk_fs(d);

    CHECK_INT(SECKILL_OK, skl_identity_read(fs, &id, err, sizeof(err)));
    CHECK_INT(SECKILL_OK, skl_tables_new(&id, &t));
    CHECK_INT(SECKILL_OK, skl_recover(fs, &id, &t, &r, err, sizeof(err)));
    skl_tables_free(&t);
    return r.last_lsn;
}

/* 0: the repair was over before that call. */
static int die_in_call(const simdisk_t *damaged, uint64_t k, uint32_t percent,
                       uint64_t want)
{
    simdisk_t *d = simdisk_clone(damaged, k + 1);
    uint64_t lsn = 0;
    int died, rc;

    simdisk_fault(d, simdisk_calls(d) + k, SIM_FREEZE, 1);
    (void)repair(d, &lsn);
    died = simdisk_is_frozen(d);
    simdisk_process_crash(d);
    simdisk_heal(d);
    simdisk_power_loss(d, percent);
    rc = repair(d, &lsn);
    CHECK(rc == SECKILL_OK || rc == SECKILL_ENOTFOUND);
    CHECK_INT(want, recovered(d));
    simdisk_free(d);
    return died;
}

TEST(repair_that_dies_in_any_call_is_finished_by_the_next_one)
{
    for (uint64_t seq = 1; seq <= SEGMENTS; seq++) {
        simdisk_t *d = simdisk_new(seq), *whole;
        const uint64_t all = write_log(d);
        uint64_t lsn = 0, want, k = 0;

        damage(d, seq);
        whole = simdisk_clone(d, 99);
        CHECK_INT(SECKILL_OK, repair(whole, &lsn));
        want = recovered(whole);
        CHECK(want < all);
        while (k < CALLS_MAX && die_in_call(d, k, 0, want) &&
               die_in_call(d, k, 50, want)) {
            k++;
        }
        CHECK(k > 10 && k < CALLS_MAX);
        printf("# damage in segment %d: died in %d calls\n", (int)seq, (int)k);
        simdisk_free(whole);
        simdisk_free(d);
    }
}

TAP_MAIN()
