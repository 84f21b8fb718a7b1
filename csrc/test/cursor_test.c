/*
 * Tests of named cursors: positions, names, dropping, limits, damage.
 */
#include "io/cursor.h"

#include "seckill.h"
#include "test/support/memfs.h"
#include "test/support/tap.h"

/* Lives: 1 .. 99 incarnation 5, 100 .. incarnation 6. */
static skl_identity_t identity(void)
{
    skl_identity_t id = {.uuid = {1, 2, 3}, .life_count = 2};

    id.lives[0].first_lsn = 1;
    id.lives[0].incarnation = 5;
    id.lives[1].first_lsn = 100;
    id.lives[1].incarnation = 6;
    return id;
}

static const char *set(memfs_t *m, const char *name, uint64_t lsn,
                       uint32_t incarnation, int create)
{
    const skl_identity_t id = identity();

    return seckill_errname(
        skl_cursor_set(&m->fs, &id, name, lsn, incarnation, create));
}

static const char *get(memfs_t *m, const char *name, skl_cursor_t *c)
{
    const skl_identity_t id = identity();

    memset(c, 0, sizeof(*c));
    return seckill_errname(skl_cursor_get(&m->fs, &id, name, c));
}

static uint64_t slowest(memfs_t *m)
{
    const skl_identity_t id = identity();
    char err[200];
    uint64_t lsn;

    CHECK_INT(SECKILL_OK,
              skl_cursor_slowest(&m->fs, &id, &lsn, err, sizeof(err)));
    return lsn;
}

TEST(cursor_keeps_a_position)
{
    memfs_t *m = memfs_new();
    skl_cursor_t c;

    CHECK_STR("not_found", get(m, "feed", &c));
    CHECK_STR("cursor_gone", set(m, "feed", 0, 0, 0));
    CHECK_STR("ok", set(m, "feed", 0, 0, 1));
    CHECK_STR("ok", set(m, "feed", 42, 5, 0));
    CHECK_STR("ok", get(m, "feed", &c));
    CHECK_INT(42, c.lsn);
    CHECK_INT(5, c.incarnation);
    CHECK_INT(0, c.dropped);
    CHECK_STR("ok", set(m, "feed", 41, 5, 0)); /* back: handed on again */
    CHECK(memfs_file(m, "cursor.feed") != NULL);
    CHECK_INT(64, memfs_file(m, "cursor.feed")->size);
    memfs_free(m);
}

TEST(cursor_takes_positions_of_this_log_only)
{
    memfs_t *m = memfs_new();

    CHECK_STR("ok", set(m, "a", 0, 77, 1)); /* the beginning is anybody's */
    CHECK_STR("ok", set(m, "a", 1, 5, 1));
    CHECK_STR("ok", set(m, "a", 99, 5, 1));
    CHECK_STR("bad_cursor", set(m, "a", 99, 6, 1));
    CHECK_STR("bad_cursor", set(m, "a", 100, 5, 1));
    CHECK_STR("ok", set(m, "a", 100, 6, 1));
    CHECK_STR("bad_cursor", set(m, "a", 100, 7, 1));
    CHECK_STR("bad_cursor", set(m, "a", 100, 0, 1));
    memfs_free(m);
}

TEST(cursor_names_are_checked)
{
    static const char *const bad[] = {"",
                                      "A",
                                      "a.b",
                                      "a/b",
                                      "../x",
                                      "a b",
                                      "123456789012345678901234567890123"};
    memfs_t *m = memfs_new();
    skl_cursor_t c;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_STR("bad_name", set(m, bad[i], 0, 0, 1));
        CHECK_STR("bad_name", get(m, bad[i], &c));
    }
    CHECK_STR("bad_name", set(m, NULL, 0, 0, 1));
    CHECK_STR("ok", set(m, "az09_-", 0, 0, 1));
    CHECK_STR("ok", set(m, "12345678901234567890123456789012", 0, 0, 1));
    memfs_free(m);
}

TEST(cursor_that_was_dropped_says_so)
{
    const skl_identity_t id = identity();
    memfs_t *m = memfs_new();
    skl_cursor_t c;

    CHECK_STR("ok", set(m, "feed", 42, 5, 1));
    CHECK_INT(42, slowest(m));
    CHECK_INT(SECKILL_ENOTFOUND, skl_cursor_drop(&m->fs, &id, "other"));
    CHECK_INT(SECKILL_OK, skl_cursor_drop(&m->fs, &id, "feed"));
    CHECK_INT(SECKILL_OK, skl_cursor_drop(&m->fs, &id, "feed"));
    CHECK_STR("ok", get(m, "feed", &c));
    CHECK_INT(1, c.dropped);
    CHECK(slowest(m) == UINT64_MAX);
    CHECK_STR("cursor_gone", set(m, "feed", 43, 5, 0));
    CHECK_STR("ok", set(m, "feed", 43, 5, 1));
    CHECK_INT(43, slowest(m));
    memfs_free(m);
}

TEST(cursor_walk_is_by_name)
{
    const skl_identity_t id = identity();
    char name[SKL_CURSOR_NAME];
    memfs_t *m = memfs_new();
    skl_cursor_t c;

    set(m, "b", 7, 5, 1);
    set(m, "c", 3, 5, 1);
    set(m, "a", 9, 5, 1);
    (void)skl_cursor_drop(&m->fs, &id, "c");
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_INT(SECKILL_OK, skl_cursor_at(&m->fs, &id, i, name, &c));
        CHECK_INT('a' + (int)i, name[0]);
        CHECK_INT(i == 2, c.dropped);
    }
    CHECK_INT(SECKILL_ENOTFOUND, skl_cursor_at(&m->fs, &id, 3, name, &c));
    CHECK_INT(2, skl_cursor_count(&m->fs, &id));
    CHECK_INT(7, slowest(m));
    memfs_free(m);
}

TEST(cursor_count_is_limited_and_tombstones_give_way)
{
    const skl_identity_t id = identity();
    memfs_t *m = memfs_new();
    char name[SKL_CURSOR_NAME];
    skl_cursor_t c;

    for (int i = 0; i < SKL_CURSORS_MAX; i++) {
        snprintf(name, sizeof(name), "c%02d", i);
        CHECK_STR("ok", set(m, name, 1, 5, 1));
    }
    CHECK_STR("full", set(m, "more", 1, 5, 1));
    CHECK_STR("ok", set(m, "c07", 2, 5, 1));
    CHECK_INT(SECKILL_OK, skl_cursor_drop(&m->fs, &id, "c07"));
    CHECK_STR("ok", set(m, "more", 1, 5, 1));
    CHECK_STR("not_found", get(m, "c07", &c));
    CHECK_STR("cursor_gone", set(m, "c07", 2, 5, 0));
    CHECK_STR("full", set(m, "c07", 2, 5, 1));
    memfs_free(m);
}

/* What cannot be read might be any cursor: nothing may be recycled. */
TEST(cursor_damage_is_found_at_every_byte)
{
    const skl_identity_t id = identity();
    memfs_t *m = memfs_new();
    memfs_file_t *f;
    char err[200] = "";
    skl_cursor_t c;
    uint64_t lsn;

    set(m, "feed", 42, 5, 1);
    f = memfs_file(m, "cursor.feed");
    for (size_t i = 0; i < 64; i++) {
        f->bytes[i] ^= 4;
        CHECK_STR("corrupt", get(m, "feed", &c));
        f->bytes[i] ^= 4;
    }
    f->size = 63;
    CHECK_STR("corrupt", get(m, "feed", &c));
    CHECK_INT(SECKILL_ECORRUPT,
              skl_cursor_slowest(&m->fs, &id, &lsn, err, sizeof(err)));
    CHECK(strstr(err, "cursor.feed") != NULL);
    CHECK_STR("ok", set(m, "feed", 42, 5, 0));
    CHECK_INT(42, slowest(m));
    memfs_free(m);
}

TAP_MAIN()
