/*
 * Damage in memory: an item whose counters do not add up is put under
 * quarantine, the rest sells on, and the log brings it back.
 */
#include "seckill_internal.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#define SEC 1000000000LL

static char err[512], text[2048];
static seckill_reservation_t last;
static seckill_t *kept[16]; /* handles outlive their close */
static int kept_count;

static seckill_t *open_it(const char *name, int with_log)
{
    seckill_options_t o = {.struct_size = sizeof(o),
                           .name = name,
                           .shm_dir = scratch_dir(),
                           .dir = with_log ? scratch_path(name) : NULL,
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

static int put(seckill_t *sk, const char *name, int64_t total)
{
    seckill_item_t i = {.struct_size = sizeof(i),
                        .total = total,
                        .hold_ns = 10 * SEC,
                        .version = 1};

    i.item_len = (uint32_t)strlen(name);
    memcpy(i.item, name, i.item_len);
    return seckill_put(sk, &i);
}

static int reserve(seckill_t *sk, const char *item, const char *id)
{
    return seckill_reserve(sk, item, strlen(item), id, strlen(id), 1, id,
                           strlen(id), &last);
}

static seckill_item_t get(seckill_t *sk, const char *item)
{
    seckill_item_t i;

    memset(&i, 0, sizeof(i));
    CHECK_INT(SECKILL_OK, seckill_get(sk, item, strlen(item), &i));
    return i;
}

static skl_item_row_t *row_of(seckill_t *sk, const char *item)
{
    const skl_hash_t key =
        skl_key_of(&sk->stock.tables, item, (uint32_t)strlen(item));
    const uint32_t slot = skl_find_item(&sk->stock.tables, key);

    return &sk->stock.tables.items[slot];
}

/* Two items, some orders of each. */
static seckill_t *sale(const char *name, int with_log)
{
    seckill_t *sk = open_it(name, with_log);
    char id[16];

    CHECK_INT(SECKILL_OK, put(sk, "cup", 100));
    CHECK_INT(SECKILL_OK, put(sk, "tee", 100));
    for (int i = 0; i < 10; i++) {
        snprintf(id, sizeof(id), "c%d", i);
        CHECK_INT(SECKILL_OK, reserve(sk, "cup", id));
        if (i % 2 == 0) {
            CHECK_INT(SECKILL_OK, seckill_confirm(sk, last.id, last.id_len));
        }
        snprintf(id, sizeof(id), "t%d", i);
        CHECK_INT(SECKILL_OK, reserve(sk, "tee", id));
    }
    CHECK_INT(0, seckill_audit(sk, text, sizeof(text)));
    return sk;
}

static void end(seckill_t *sk, const char *name)
{
    seckill_close(sk);
    CHECK_INT(SECKILL_OK, seckill_destroy(name, scratch_dir()));
}

static void check_cup(seckill_t *sk, int64_t available)
{
    const seckill_item_t cup = get(sk, "cup");

    CHECK_INT(available, cup.available);
    CHECK_INT(100, cup.available + cup.reserved + cup.sold);
    CHECK_INT(5, cup.sold);
    CHECK_INT(SECKILL_ITEM_OPEN, cup.state);
}

TEST(a_wrong_sum_stops_the_item_and_no_other)
{
    seckill_t *sk = sale("sum", 1);
    skl_item_row_t *cup = row_of(sk, "cup");

    atomic_fetch_add(&cup->available, 7);
    CHECK_INT(SECKILL_EBUSY, reserve(sk, "cup", "x1"));
    CHECK_INT(SECKILL_ITEM_QUARANTINED, get(sk, "cup").state);
    CHECK_INT(SECKILL_EBUSY, reserve(sk, "cup", "x1"));
    CHECK_INT(SECKILL_OK, reserve(sk, "tee", "x2"));
    CHECK_INT(1, seckill_log_rebuild(sk));
    check_cup(sk, 90);
    CHECK_INT(SECKILL_OK, reserve(sk, "cup", "x1"));
    check_cup(sk, 89);
    CHECK_INT(0, seckill_log_rebuild(sk));
    CHECK_INT(0, seckill_audit(sk, text, sizeof(text)));
    end(sk, "sum");
}

TEST(negative_and_huge_numbers_stop_it_too)
{
    static const int64_t values[] = {-1, INT64_MIN, INT64_MAX, 1LL << 62};
    seckill_t *sk = sale("huge", 1);

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        atomic_store(&row_of(sk, "cup")->available, values[i]);
        CHECK_INT(SECKILL_EBUSY, reserve(sk, "cup", "new"));
        CHECK_INT(1, seckill_log_rebuild(sk));
        check_cup(sk, 90);
    }
    end(sk, "huge");
}

/* 0 units, and a sum that is wrong: the crowd must not be told sold_out. */
TEST(a_wrong_sum_is_not_sold_out)
{
    seckill_t *sk = sale("none", 1);

    atomic_store(&row_of(sk, "cup")->available, 0);
    CHECK_INT(SECKILL_EBUSY, reserve(sk, "cup", "new"));
    CHECK_INT(1, seckill_log_rebuild(sk));
    CHECK_INT(SECKILL_OK, reserve(sk, "cup", "new"));
    end(sk, "none");
}

static skl_user_row_t *a_user_of(seckill_t *sk, const char *item)
{
    const skl_tables_t *t = &sk->stock.tables;
    const uint32_t slot = (uint32_t)(row_of(sk, item) - t->items);
    const uint32_t count = t->shm->shards * t->shm->users;

    for (uint32_t i = 0; i < count; i++) {
        if (atomic_load(&t->users[i].item) == slot) {
            return &t->users[i];
        }
    }
    return NULL;
}

TEST(audit_finds_what_the_sum_does_not_show)
{
    seckill_t *sk = sale("audit", 1);
    skl_user_row_t *user = a_user_of(sk, "cup");

    CHECK(user != NULL);
    atomic_store(&user->count, 3);
    CHECK(seckill_audit(sk, text, sizeof(text)) > 0);
    CHECK(strstr(text, "users have") != NULL);
    CHECK_INT(SECKILL_ITEM_QUARANTINED, get(sk, "cup").state);
    CHECK_INT(SECKILL_ITEM_OPEN, get(sk, "tee").state);
    CHECK_INT(1, seckill_log_rebuild(sk));
    CHECK_INT(1, atomic_load(&user->count));
    CHECK_INT(0, seckill_audit(sk, text, sizeof(text)));
    end(sk, "audit");
}

/* Units that moved from one counter to another: only the log knows better. */
TEST(audit_compares_with_the_log)
{
    seckill_t *sk = sale("log", 1);
    skl_item_row_t *cup = row_of(sk, "cup");

    atomic_fetch_add(&cup->total, 10);
    atomic_fetch_add(&cup->available, 10);
    CHECK(seckill_audit(sk, text, sizeof(text)) > 0);
    CHECK(strstr(text, "the log says 90") != NULL);
    CHECK_INT(1, seckill_log_rebuild(sk));
    check_cup(sk, 90);
    CHECK_INT(0, seckill_audit(sk, text, sizeof(text)));
    end(sk, "log");
}

TEST(without_a_log_it_stays_under_quarantine)
{
    seckill_t *sk = sale("memory", 0);

    atomic_fetch_add(&row_of(sk, "cup")->sold, 1);
    CHECK_INT(SECKILL_EBUSY, reserve(sk, "cup", "new"));
    CHECK_INT(0, seckill_log_rebuild(sk));
    CHECK_INT(SECKILL_ITEM_QUARANTINED, get(sk, "cup").state);
    CHECK_INT(SECKILL_OK, reserve(sk, "tee", "new"));
    end(sk, "memory");
}

TAP_MAIN()
