/* See wal_identity.h. */
#include "io/wal_identity.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/os.h"
#include "seckill.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define MAGIC 0x3164696b636573ULL /* "seckid1" */
#define FILE_NAME "ledger"

enum { VERSION = 1, CAPACITY_MAX = 1 << 26 };

typedef struct {
    uint64_t magic;
    uint32_t version;
    uint32_t crc; /* CRC-32C of what follows */
    skl_identity_t id;
} file_t;

/* The bytes are the format: no padding, fields where they are. */
skl_static_assert(sizeof(skl_identity_t) == 64 + 16 * SKL_LIVES_MAX,
                  "identity format");
skl_static_assert(sizeof(file_t) == 16 + sizeof(skl_identity_t),
                  "identity format");

static uint32_t crc_of(const file_t *f)
{
    return skl_crc32c(0, &f->id, sizeof(f->id));
}

static int capacity_ok(uint32_t n)
{
    return n >= 1 && n <= CAPACITY_MAX;
}

static int is_sane(const skl_identity_t *id)
{
    if (id->life_count < 1 || id->life_count > SKL_LIVES_MAX) {
        return 0;
    }
    for (uint32_t i = 0; i < id->life_count; i++) {
        if (id->lives[i].incarnation == 0 ||
            (i > 0 &&
             (id->lives[i].first_lsn <= id->lives[i - 1].first_lsn ||
              id->lives[i].incarnation <= id->lives[i - 1].incarnation))) {
            return 0;
        }
    }
    return capacity_ok(id->items) && capacity_ok(id->reservations) &&
           capacity_ok(id->users) && capacity_ok(id->requests) &&
           id->window_ns > 0;
}

int skl_identity_read(skl_fs_t *fs, skl_identity_t *out, char *err,
                      size_t err_size)
{
    file_t f;
    ssize_t n = skl_fs_read_file(fs, FILE_NAME, &f, sizeof(f));

    if (n == -ENOENT) {
        return SECKILL_ENOTFOUND;
    }
    if (n < 0 && n != -EFBIG) {
        (void)snprintf(err, err_size, "read %s: %s", FILE_NAME,
                       strerror((int)-n));
        return SECKILL_EIO;
    }
    if (n != (ssize_t)sizeof(f) || f.magic != MAGIC || f.version != VERSION ||
        f.crc != crc_of(&f) || !is_sane(&f.id)) {
        (void)snprintf(err, err_size,
                       "file %s is damaged or of another version; restore it "
                       "from a backup of the directory",
                       FILE_NAME);
        return SECKILL_ECORRUPT;
    }
    *out = f.id;
    return SECKILL_OK;
}

/* 0 where there is no randomness: then only the number tells lives apart. */
static uint32_t nonce(void)
{
    uint32_t n;

    return skl_os_random(&n, sizeof(n)) == 0 ? n : 0;
}

int skl_identity_make(skl_identity_t *id)
{
    uint32_t first;
    int rc = skl_os_random(id->uuid, sizeof(id->uuid));

    rc = rc == 0 ? skl_os_random(&id->key, sizeof(id->key)) : rc;
    rc = rc == 0 ? skl_os_random(&first, sizeof(first)) : rc;
    if (rc != 0) {
        return SECKILL_EIO;
    }
    /* Ids of a directory that was removed must not be ids of this one. */
    id->life_count = 1;
    id->lives[0].first_lsn = 1;
    id->lives[0].incarnation = (first & 0x7fffffffU) | 1;
    id->lives[0].nonce = nonce();
    return SECKILL_OK;
}

int skl_identity_write(skl_fs_t *fs, const skl_identity_t *id, char *err,
                       size_t err_size)
{
    file_t f = {.magic = MAGIC, .version = VERSION, .id = *id};
    int rc;

    skl_assert(is_sane(id));
    f.crc = crc_of(&f);
    rc = skl_fs_replace(fs, FILE_NAME, &f, sizeof(f));
    if (rc != 0) {
        (void)snprintf(err, err_size, "write %s: %s", FILE_NAME, strerror(-rc));
        return SECKILL_EIO;
    }
    return SECKILL_OK;
}

/* Lives that wrote nothing that was kept: a log that was cut off. */
static uint32_t lives_before(const skl_identity_t *id, uint64_t first_lsn)
{
    uint32_t n = id->life_count;

    while (n > 0 && id->lives[n - 1].first_lsn >= first_lsn) {
        n--;
    }
    return n;
}

int skl_identity_is_full(const skl_identity_t *id, uint64_t first_lsn)
{
    skl_assert(id->life_count >= 1 && first_lsn >= 1);
    return lives_before(id, first_lsn) == SKL_LIVES_MAX;
}

void skl_identity_raise(skl_identity_t *id, uint64_t first_lsn)
{
#ifdef MUTANT_INCARNATION_NOT_RAISED
    const uint32_t next = id->lives[id->life_count - 1].incarnation;
#else
    const uint32_t next = id->lives[id->life_count - 1].incarnation + 1;
#endif

    skl_assert(id->life_count >= 1 && first_lsn >= 1);
    id->life_count = lives_before(id, first_lsn);
    if (id->life_count == SKL_LIVES_MAX) {
        memmove(&id->lives[0], &id->lives[1],
                (SKL_LIVES_MAX - 1) * sizeof(id->lives[0]));
        id->life_count--;
    }
    id->lives[id->life_count].first_lsn = first_lsn;
    id->lives[id->life_count].incarnation = next;
    id->lives[id->life_count].nonce = nonce();
    id->life_count++;
}

uint32_t skl_identity_incarnation(const skl_identity_t *id, uint64_t lsn)
{
    skl_assert(id->life_count <= SKL_LIVES_MAX);
    for (uint32_t i = id->life_count; i > 0; i--) {
        if (id->lives[i - 1].first_lsn <= lsn) {
            return id->lives[i - 1].incarnation;
        }
    }
    return 0;
}

void skl_identity_text(const uint8_t *uuid, char *out)
{
    char *p = out;

    for (int i = 0; i < 16; i++) {
        p +=
            snprintf(p, 4, "%s%02x",
                     i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
    }
}
