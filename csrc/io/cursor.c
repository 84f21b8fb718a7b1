/*
 * See cursor.h. A file of 64 bytes, little-endian:
 *
 *   offset  size  field
 *        0     8  magic          "seckcur1"
 *        8     4  crc            CRC-32C of bytes 12 .. 63
 *       12     4  version        1
 *       16    16  uuid           of the ledger
 *       32     8  lsn            everything up to it was handed on
 *       40     4  incarnation    that wrote this LSN
 *       44     4  dropped        1: a tombstone
 *       48    16  zero
 */
#include "io/cursor.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "seckill.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x317275636b636573ULL /* "seckcur1" */
#define PREFIX "cursor."

/* With tombstones that could not be cleared away. */
enum { VERSION = 1, FILES_MAX = 2 * SKL_CURSORS_MAX };

typedef struct {
    uint64_t magic;
    uint32_t crc;
    uint32_t version;
    uint8_t uuid[16];
    uint64_t lsn;
    uint32_t incarnation;
    uint32_t dropped;
    uint8_t zero[16];
} file_t;

_Static_assert(sizeof(file_t) == 64, "cursor format");

static int name_ok(const char *name)
{
    const size_t len = name != NULL ? strlen(name) : 0;

    return len >= 1 && len < SKL_CURSOR_NAME &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

static void file_name(const char *name, char *out, size_t size)
{
    skl_assert(size > sizeof(PREFIX) && strlen(name) < SKL_CURSOR_NAME);
    (void)snprintf(out, size, PREFIX "%s", name);
}

static uint32_t crc_of(const file_t *f)
{
    const size_t from = offsetof(file_t, version);

    return skl_crc32c(0, (const char *)f + from, sizeof(*f) - from);
}

/* ---- One ----------------------------------------------------------------- */

int skl_cursor_get(skl_fs_t *fs, const skl_identity_t *id, const char *name,
                   skl_cursor_t *out)
{
    char path[sizeof(PREFIX) + SKL_CURSOR_NAME];
    file_t f;
    ssize_t n;

    if (!name_ok(name)) {
        return SECKILL_EBADNAME;
    }
    file_name(name, path, sizeof(path));
    n = skl_fs_read_file(fs, path, &f, sizeof(f));
    if (n == -ENOENT) {
        return SECKILL_ENOTFOUND;
    }
    if (n < 0 && n != -EFBIG) {
        return SECKILL_EIO;
    }
    if (n != (ssize_t)sizeof(f) || f.magic != MAGIC || f.version != VERSION ||
        f.crc != crc_of(&f) || memcmp(f.uuid, id->uuid, sizeof(f.uuid)) != 0) {
        return SECKILL_ECORRUPT;
    }
    out->lsn = f.lsn;
    out->incarnation = f.incarnation;
    out->dropped = f.dropped;
    return SECKILL_OK;
}

static int put(skl_fs_t *fs, const skl_identity_t *id, const char *name,
               const skl_cursor_t *c)
{
    char path[sizeof(PREFIX) + SKL_CURSOR_NAME];
    file_t f = {.magic = MAGIC,
                .version = VERSION,
                .lsn = c->lsn,
                .incarnation = c->incarnation,
                .dropped = c->dropped};

    skl_assert(name_ok(name));
    memcpy(f.uuid, id->uuid, sizeof(f.uuid));
    f.crc = crc_of(&f);
    file_name(name, path, sizeof(path));
    return skl_fs_replace(fs, path, &f, sizeof(f)) == 0 ? SECKILL_OK
                                                        : SECKILL_EIO;
}

/* ---- All ----------------------------------------------------------------- */

typedef struct {
    char names[FILES_MAX][SKL_CURSOR_NAME];
    uint32_t count;
} names_t;

static void see(void *arg, const char *file)
{
    const size_t prefix = sizeof(PREFIX) - 1;
    names_t *all = arg;

    if (strncmp(file, PREFIX, prefix) == 0 && name_ok(file + prefix) &&
        all->count < FILES_MAX) {
        memcpy(all->names[all->count++], file + prefix,
               strlen(file + prefix) + 1);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int find_all(skl_fs_t *fs, names_t *all)
{
    int rc;

    all->count = 0;
    rc = fs->list(fs, see, all);
    if (rc < 0) {
        return SECKILL_EIO;
    }
    skl_assert(all->count <= FILES_MAX);
    if (all->count > 1) {
        qsort(all->names, all->count, SKL_CURSOR_NAME, by_name);
    }
    return SECKILL_OK;
}

int skl_cursor_at(skl_fs_t *fs, const skl_identity_t *id, uint32_t i,
                  char *name, skl_cursor_t *out)
{
    names_t all;
    int rc = find_all(fs, &all);

    if (rc == SECKILL_OK && i >= all.count) {
        return SECKILL_ENOTFOUND;
    }
    if (rc == SECKILL_OK) {
        memcpy(name, all.names[i], SKL_CURSOR_NAME);
        rc = skl_cursor_get(fs, id, name, out);
    }
    return rc;
}

int skl_cursor_slowest(skl_fs_t *fs, const skl_identity_t *id, uint64_t *lsn,
                       char *err, size_t err_size)
{
    names_t all;
    int rc = find_all(fs, &all);

    skl_assert(lsn != NULL);
    *lsn = UINT64_MAX;
    for (uint32_t i = 0; rc == SECKILL_OK && i < all.count; i++) {
        skl_cursor_t c;

        rc = skl_cursor_get(fs, id, all.names[i], &c);
        if (rc == SECKILL_OK && !c.dropped && c.lsn < *lsn) {
            *lsn = c.lsn;
        }
        if (rc != SECKILL_OK) {
            (void)snprintf(err, err_size,
                           "file cursor.%s cannot be read; drop or set that "
                           "cursor",
                           all.names[i]);
        }
    }
    return rc;
}

int skl_cursor_count(skl_fs_t *fs, const skl_identity_t *id)
{
    names_t all;
    int rc = find_all(fs, &all), live = 0;

    for (uint32_t i = 0; rc == SECKILL_OK && i < all.count; i++) {
        skl_cursor_t c = {.dropped = 0};

        /* One that cannot be read counts: nothing is recycled. */
        live += skl_cursor_get(fs, id, all.names[i], &c) != SECKILL_OK ||
                !c.dropped;
    }
    return rc == SECKILL_OK ? live : rc;
}

/* ---- Changes ------------------------------------------------------------- */

/* A place for one more: EFULL when there are 64 that were not dropped. A
 * tombstone goes when there are more than 64 files. */
static int make_room(skl_fs_t *fs, const skl_identity_t *id)
{
    char path[sizeof(PREFIX) + SKL_CURSOR_NAME];
    int live = skl_cursor_count(fs, id);
    skl_cursor_t c;
    names_t all;
    int rc = find_all(fs, &all);

    if (rc != SECKILL_OK || live < 0) {
        return SECKILL_EIO;
    }
    if (live >= SKL_CURSORS_MAX) {
        return SECKILL_EFULL;
    }
    for (uint32_t i = 0; all.count >= SKL_CURSORS_MAX && i < all.count; i++) {
        if (skl_cursor_get(fs, id, all.names[i], &c) == SECKILL_OK &&
            c.dropped) {
            file_name(all.names[i], path, sizeof(path));
            return fs->unlink(fs, path) == 0 ? SECKILL_OK : SECKILL_EIO;
        }
    }
    return SECKILL_OK;
}

static int position_ok(const skl_identity_t *id, uint64_t lsn,
                       uint32_t incarnation)
{
#ifdef MUTANT_CURSOR_ANY_LIFE
    return lsn == 0 || (incarnation != 0 && id->life_count > 0);
#endif
    return lsn == 0 || (incarnation != 0 &&
                        skl_identity_incarnation(id, lsn) == incarnation);
}

int skl_cursor_set(skl_fs_t *fs, const skl_identity_t *id, const char *name,
                   uint64_t lsn, uint32_t incarnation, int create)
{
    skl_cursor_t c = {.dropped = 0};
    int rc = skl_cursor_get(fs, id, name, &c);

    if (rc == SECKILL_EBADNAME || rc == SECKILL_EIO) {
        return rc;
    }
    if (!position_ok(id, lsn, incarnation)) {
        return SECKILL_EBADCURSOR;
    }
    /* A damaged file: whoever has the position puts it right. */
    if (!create && (rc == SECKILL_ENOTFOUND || c.dropped)) {
        return SECKILL_ECURSORGONE;
    }
    if (rc == SECKILL_ENOTFOUND || c.dropped) {
        rc = make_room(fs, id);
        if (rc != SECKILL_OK) {
            return rc;
        }
    }
    c.lsn = lsn;
    c.incarnation = incarnation;
    c.dropped = 0;
    return put(fs, id, name, &c);
}

int skl_cursor_drop(skl_fs_t *fs, const skl_identity_t *id, const char *name)
{
    skl_cursor_t c = {.lsn = 0};
    int rc = skl_cursor_get(fs, id, name, &c);

    if (rc != SECKILL_OK && rc != SECKILL_ECORRUPT) {
        return rc;
    }
    if (rc == SECKILL_OK && c.dropped) {
        return SECKILL_OK;
    }
    c.dropped = 1;
    return put(fs, id, name, &c);
}
