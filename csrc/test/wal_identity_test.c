/*
 * Tests of the identity of a ledger: reading back, damage, lives.
 */
#include "io/wal_identity.h"

#include "seckill.h"
#include "test/support/logdir.h"
#include "test/support/memfs.h"
#include "test/support/tap.h"

static char err[300];

static skl_identity_t made(void)
{
    skl_identity_t id = logdir_identity();

    CHECK_INT(SECKILL_OK, skl_identity_make(&id));
    return id;
}

TEST(identity_comes_back_as_written)
{
    const skl_identity_t id = made(), other = made();
    memfs_t *m = memfs_new();
    skl_identity_t back;
    char text[37];

    CHECK_INT(SECKILL_ENOTFOUND,
              skl_identity_read(&m->fs, &back, err, sizeof(err)));
    CHECK_INT(SECKILL_OK, skl_identity_write(&m->fs, &id, err, sizeof(err)));
    CHECK_INT(SECKILL_OK, skl_identity_read(&m->fs, &back, err, sizeof(err)));
    CHECK_MEM(&id, &back, sizeof(id));
    CHECK(memcmp(id.uuid, other.uuid, 16) != 0 && id.key.k0 != other.key.k0);
    skl_identity_text(id.uuid, text);
    CHECK_INT(36, strlen(text));
    CHECK_INT('-', text[8]);
    CHECK(memfs_file(m, "ledger.new") == NULL);
    memfs_free(m);
}

TEST(identity_damage_is_found_at_every_byte)
{
    const skl_identity_t id = made();
    memfs_t *m = memfs_new();
    skl_identity_t back;
    memfs_file_t *f;

    CHECK_INT(SECKILL_OK, skl_identity_write(&m->fs, &id, err, sizeof(err)));
    f = memfs_file(m, "ledger");
    for (size_t i = 0; i < f->size; i++) {
        f->bytes[i] ^= 32;
        CHECK_INT(SECKILL_ECORRUPT,
                  skl_identity_read(&m->fs, &back, err, sizeof(err)));
        f->bytes[i] ^= 32;
    }
    memfs_resize(f, f->size + 1);
    CHECK_INT(SECKILL_ECORRUPT,
              skl_identity_read(&m->fs, &back, err, sizeof(err)));
    f->size -= 2;
    CHECK_INT(SECKILL_ECORRUPT,
              skl_identity_read(&m->fs, &back, err, sizeof(err)));
    m->bad = "ledger";
    CHECK_INT(SECKILL_EIO, skl_identity_read(&m->fs, &back, err, sizeof(err)));
    memfs_free(m);
}

TEST(identity_lives_are_told_apart)
{
    skl_identity_t id = made();
    const uint32_t first = id.lives[0].incarnation;

    skl_identity_raise(&id, 1); /* nothing was written */
    CHECK_INT(1, id.life_count);
    CHECK_INT(first + 1, skl_identity_incarnation(&id, 1));
    skl_identity_raise(&id, 100);
    CHECK_INT(2, id.life_count);
    CHECK_INT(first + 1, skl_identity_incarnation(&id, 99));
    CHECK_INT(first + 2, skl_identity_incarnation(&id, 100));
    CHECK_INT(first + 2, skl_identity_incarnation(&id, UINT64_MAX));
    CHECK_INT(0, skl_identity_incarnation(&id, 0));
    /* The log was cut off at 50: that LSN gets a number of its own. */
    skl_identity_raise(&id, 50);
    CHECK_INT(2, id.life_count);
    CHECK_INT(first + 1, skl_identity_incarnation(&id, 49));
    CHECK_INT(first + 3, skl_identity_incarnation(&id, 50));
    CHECK_INT(first + 3, skl_identity_incarnation(&id, 100));
}

TEST(identity_keeps_the_newest_lives)
{
    skl_identity_t id = made(), back;
    const uint32_t first = id.lives[0].incarnation;
    memfs_t *m = memfs_new();

    for (uint32_t i = 1; i <= SKL_LIVES_MAX; i++) {
        CHECK_INT(i == SKL_LIVES_MAX, skl_identity_is_full(&id, 1 + 10ULL * i));
        CHECK_INT(0, skl_identity_is_full(&id, id.life_count));
        skl_identity_raise(&id, 1 + 10ULL * i);
    }
    CHECK_INT(SKL_LIVES_MAX, id.life_count);
    CHECK_INT(first + 100, skl_identity_incarnation(&id, 1001));
    CHECK_INT(first + 1, skl_identity_incarnation(&id, 11));
    CHECK_INT(0, skl_identity_incarnation(&id, 10)); /* too long ago */
    CHECK_INT(SECKILL_OK, skl_identity_write(&m->fs, &id, err, sizeof(err)));
    CHECK_INT(SECKILL_OK, skl_identity_read(&m->fs, &back, err, sizeof(err)));
    CHECK_MEM(&id, &back, sizeof(id));
    memfs_free(m);
}

TAP_MAIN()
