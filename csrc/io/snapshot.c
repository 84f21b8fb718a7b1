/*
 * See snapshot.h. The first block of a file:
 *
 *   offset  size  field
 *        0     8  magic          "seckimg1"
 *        8     4  crc            CRC-32C of bytes 12 .. 255
 *       12     4  version        1
 *       16    16  uuid           of the ledger
 *       32     8  lsn            of the last record that is in it
 *       40     8  time           ledger time of that record
 *       48     4  incarnation    that wrote that record; 0: too long ago
 *       52     4  items
 *       56     4  reservations
 *       60     4  users
 *       64     4  requests
 *       68     4  pad
 *       72     8  bytes          of the image
 *       80     8  digest         of the image, as in headers of segments
 *       88   168  zero
 *      256  3840  zero
 *
 * The image follows at 4096. All words are little-endian.
 */
#include "io/snapshot.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "io/cursor.h"
#include "io/recover.h"
#include "io/wal.h"
#include "seckill.h"
#include "stock/check.h"
#include "stock/image.h"
#include "stock/stock.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x31676d696b636573ULL /* "seckimg1" */

enum { VERSION = 1, BLOCK = 4096, CHUNK = 1 << 20, LIST_MAX = 64, TEXT = 200 };

typedef struct {
    uint64_t magic;
    uint32_t crc;
    uint32_t version;
    uint8_t uuid[16];
    uint64_t lsn;
    int64_t time;
    uint32_t incarnation;
    uint32_t items, reservations, users, requests;
    uint32_t pad;
    uint64_t bytes;
    uint64_t digest;
    uint8_t zero[168];
} header_t;

_Static_assert(sizeof(header_t) == 256, "snapshot format");

uint64_t skl_tables_digest(const skl_tables_t *t)
{
    return skl_image_digest(t);
}

static uint32_t header_crc(const header_t *h)
{
    const size_t from = offsetof(header_t, version);

    return skl_crc32c(0, (const char *)h + from, sizeof(*h) - from);
}

static int header_ok(const header_t *h, const skl_identity_t *id, uint64_t lsn)
{
    return h->magic == MAGIC && h->version == VERSION &&
           h->crc == header_crc(h) && h->lsn == lsn && lsn >= 1 &&
           memcmp(h->uuid, id->uuid, sizeof(h->uuid)) == 0 &&
           h->items == id->items && h->reservations == id->reservations &&
           h->users == id->users && h->requests == id->requests &&
           h->bytes == skl_tables_bytes(id->items, id->reservations, id->users,
                                        id->requests) &&
           h->time >= 0;
}

static int io_error(const char *what, const char *name, int rc, char *err,
                    size_t err_size)
{
    (void)snprintf(err, err_size, "%s %s: %s", what, name, strerror(-rc));
    return rc == -ENOSPC || rc == -EDQUOT ? SECKILL_ENOSPACE : SECKILL_EIO;
}

/* ---- Which there are ----------------------------------------------------- */

typedef struct {
    uint64_t lsn[LIST_MAX]; /* descending */
    uint32_t count;
} found_t;

/* The newest ones, where there are too many. */
static void insert(found_t *f, uint64_t lsn)
{
    uint32_t at = f->count < LIST_MAX ? f->count++ : LIST_MAX - 1;

    if (at == LIST_MAX - 1 && f->lsn[at] > lsn) {
        return;
    }
    skl_assert(at < LIST_MAX && f->count <= LIST_MAX);
    for (; at > 0 && f->lsn[at - 1] < lsn; at--) {
        f->lsn[at] = f->lsn[at - 1];
    }
    f->lsn[at] = lsn;
}

static void see(void *arg, const char *name)
{
    uint64_t lsn;

    if (skl_wal_parse_name(name, "snap.", &lsn)) {
        insert(arg, lsn);
    }
}

static int find_all(skl_fs_t *fs, found_t *f, char *err, size_t err_size)
{
    int rc;

    memset(f, 0, sizeof(*f));
    rc = fs->list(fs, see, f);
    return rc < 0 ? io_error("list", "snapshots", rc, err, err_size)
                  : SECKILL_OK;
}

uint64_t skl_snapshot_last(skl_fs_t *fs)
{
    char err[TEXT];
    found_t f;

    return find_all(fs, &f, err, sizeof(err)) == SECKILL_OK && f.count > 0
               ? f.lsn[0]
               : 0;
}

/* ---- Reading ------------------------------------------------------------- */

/* Where the bytes of an image go; NULL: only its checksum is wanted. */
typedef struct {
    skl_tables_t *t;
    char *chunk;
    uint64_t digest;
} target_t;

/* OK, ECORRUPT: not whole; EIO. */
static int read_image(skl_fs_t *fs, int fd, const header_t *h, target_t *to)
{
    uint32_t crc = 0;

    skl_assert(to->t == NULL || h->bytes == skl_image_bytes(to->t));
    for (uint64_t at = 0; at < h->bytes; at += CHUNK) {
        const size_t n =
            h->bytes - at < CHUNK ? (size_t)(h->bytes - at) : (size_t)CHUNK;
        int rc = skl_fs_read_all(fs, fd, to->chunk, n, BLOCK + at);

        if (rc != 0) {
            return SECKILL_EIO;
        }
        crc = skl_crc32c(crc, to->chunk, n);
        if (to->t != NULL) {
            skl_image_put(to->t, at, n, to->chunk);
        }
    }
    to->digest = 1ULL << 32 | crc;
    return to->digest == h->digest ? SECKILL_OK : SECKILL_ECORRUPT;
}

static int read_open(skl_fs_t *fs, int fd, const skl_identity_t *id,
                     uint64_t lsn, header_t *h, target_t *to)
{
    const int64_t size = fs->size(fs, fd);
    int rc;

    skl_assert(to->chunk != NULL);
    if (size < 0) {
        return SECKILL_EIO;
    }
    if (size < BLOCK) {
        return SECKILL_ECORRUPT;
    }
    rc = skl_fs_read_all(fs, fd, h, sizeof(*h), 0);
    if (rc != 0) {
        return SECKILL_EIO;
    }
    if (!header_ok(h, id, lsn) || (uint64_t)size != BLOCK + h->bytes) {
        return SECKILL_ECORRUPT;
    }
    return read_image(fs, fd, h, to);
}

/* One snapshot by its file's name: OK, ECORRUPT: not whole, EIO, ENOMEM. */
static int read_one(skl_fs_t *fs, const char *name, const skl_identity_t *id,
                    uint64_t lsn, header_t *h, skl_tables_t *t)
{
    target_t to = {.t = t, .chunk = malloc(CHUNK)};
    int fd, rc = SECKILL_ENOMEM;

    if (to.chunk != NULL) {
        fd = fs->open(fs, name, SKL_FS_READ);
        rc = fd < 0 ? SECKILL_EIO : read_open(fs, fd, id, lsn, h, &to);
        if (fd >= 0) {
            (void)fs->close(fs, fd);
        }
    }
    free(to.chunk);
    return rc;
}

/* Load into tables and look whether they can be used. */
static int load_one(skl_fs_t *fs, const skl_identity_t *id, uint64_t lsn,
                    skl_tables_t *t, header_t *h, char *err, size_t err_size)
{
    const skl_tables_shm_t numbers = *t->shm;
    char name[SKL_WAL_NAME], text[TEXT] = "its checksum is wrong";
    int rc;

    skl_wal_name(name, "snap.", lsn);
    rc = read_one(fs, name, id, lsn, h, t);
    if (!skl_image_finish(t, &numbers) && rc == SECKILL_OK) {
        (void)snprintf(text, sizeof(text), "the numbers of its tables differ");
        rc = SECKILL_ECORRUPT;
    }
    if (rc == SECKILL_OK) {
        rc = skl_tables_check(t, text, sizeof(text));
        rc = rc > 0 ? SECKILL_ECORRUPT : rc;
    }
    if (rc != SECKILL_OK) {
        (void)snprintf(err, err_size, "snapshot %s: %s", name,
                       rc == SECKILL_ECORRUPT ? text : seckill_errtext(rc));
    }
    return rc;
}

/* One that the disk cannot read is as good as damaged: there is another one. */
static int is_no_use(int rc)
{
    return rc == SECKILL_ECORRUPT || rc == SECKILL_EIO;
}

int skl_snapshot_load(skl_fs_t *fs, const skl_identity_t *id, skl_tables_t *t,
                      uint64_t *lsn, int64_t *time, char *err, size_t err_size)
{
    found_t f;
    header_t h;
    int unread = 0, rc = find_all(fs, &f, err, err_size);

    *lsn = 0;
    *time = 0;
    for (uint32_t i = 0; rc == SECKILL_OK && i < f.count; i++) {
        rc = load_one(fs, id, f.lsn[i], t, &h, err, err_size);
        if (rc == SECKILL_OK) {
            *lsn = h.lsn;
            *time = h.time;
            return unread;
        }
        unread |= rc == SECKILL_EIO;
        /* The older one, and more of the log. */
        if (is_no_use(rc) && i + 1 < f.count) {
            rc = SECKILL_OK;
        }
    }
    return rc;
}

/* ---- Writing ------------------------------------------------------------- */

static void fill_header(header_t *h, const skl_identity_t *id,
                        const skl_tables_t *t, uint64_t lsn, int64_t time)
{
    skl_assert(id->life_count >= 1);
    memset(h, 0, sizeof(*h));
    h->magic = MAGIC;
    h->version = VERSION;
    memcpy(h->uuid, id->uuid, sizeof(h->uuid));
    h->lsn = lsn;
    h->time = time;
    h->incarnation = skl_identity_incarnation(id, lsn);
    h->items = id->items;
    h->reservations = id->reservations;
    h->users = id->users;
    h->requests = id->requests;
    h->bytes = skl_image_bytes(t);
    h->digest = skl_image_digest(t);
    h->crc = header_crc(h);
}

static int write_image(skl_fs_t *fs, int fd, const skl_tables_t *t, char *chunk)
{
    const uint64_t bytes = skl_image_bytes(t);
    int rc = 0;

    for (uint64_t at = 0; rc == 0 && at < bytes; at += CHUNK) {
        const size_t n =
            bytes - at < CHUNK ? (size_t)(bytes - at) : (size_t)CHUNK;

        skl_image_copy(t, at, n, chunk);
        rc = skl_fs_write_all(fs, fd, chunk, n, BLOCK + at);
    }
    return rc;
}

static int write_file(skl_fs_t *fs, const char *name, const header_t *h,
                      const skl_tables_t *t)
{
    char *chunk = calloc(1, CHUNK);
    int fd, rc;

    if (chunk == NULL) {
        return -ENOMEM;
    }
    (void)fs->unlink(fs, name); /* of a builder that died */
    fd = fs->open(fs, name, SKL_FS_CREATE);
    rc = fd < 0 ? fd : 0;
    if (rc == 0) {
        memcpy(chunk, h, sizeof(*h));
        rc = skl_fs_write_all(fs, fd, chunk, BLOCK, 0);
        rc = rc == 0 ? write_image(fs, fd, t, chunk) : rc;
        rc = rc == 0 ? fs->sync(fs, fd) : rc;
        (void)fs->close(fs, fd);
    }
    free(chunk);
    return rc;
}

int skl_snapshot_write(skl_fs_t *fs, const skl_identity_t *id,
                       const skl_tables_t *t, uint64_t lsn, int64_t time,
                       char *err, size_t err_size)
{
    char name[SKL_WAL_NAME], temp[SKL_WAL_NAME + 8];
    header_t h, again;
    int rc;

    skl_assert(lsn >= 1);
    skl_wal_name(name, "snap.", lsn);
    (void)snprintf(temp, sizeof(temp), "%s.new", name);
    fill_header(&h, id, t, lsn, time);
    rc = write_file(fs, temp, &h, t);
    if (rc != 0) {
        (void)fs->unlink(fs, temp);
        return rc == -ENOMEM ? SECKILL_ENOMEM
                             : io_error("write", temp, rc, err, err_size);
    }
    rc = read_one(fs, temp, id, lsn, &again, NULL);
    if (rc != SECKILL_OK) {
        (void)fs->unlink(fs, temp);
        (void)snprintf(err, err_size, "%s was not read back as written", temp);
        return rc == SECKILL_ENOMEM ? rc : SECKILL_EIO;
    }
    rc = fs->rename(fs, temp, name);
    rc = rc == 0 ? fs->sync_dir(fs) : rc;
    return rc == 0 ? SECKILL_OK : io_error("rename", temp, rc, err, err_size);
}

static uint64_t size_of(skl_fs_t *fs, const char *name)
{
    const int fd = fs->open(fs, name, SKL_FS_READ);
    int64_t size = fd;

    if (fd >= 0) {
        size = fs->size(fs, fd);
        (void)fs->close(fs, fd);
    }
    return size > 0 ? (uint64_t)size : 0;
}

int skl_snapshot_newest(skl_fs_t *fs, const skl_identity_t *id, uint64_t *lsn,
                        uint32_t *count, uint64_t *bytes)
{
    char name[SKL_WAL_NAME], err[TEXT];
    found_t f;
    header_t h;
    int rc = find_all(fs, &f, err, sizeof(err));

    *lsn = 0;
    *bytes = 0;
    *count = rc == SECKILL_OK ? f.count : 0;
    for (uint32_t i = 0; rc == SECKILL_OK && i < f.count; i++) {
        skl_wal_name(name, "snap.", f.lsn[i]);
        *bytes += size_of(fs, name);
        if (*lsn == 0 &&
            read_one(fs, name, id, f.lsn[i], &h, NULL) == SECKILL_OK) {
            *lsn = f.lsn[i];
        }
    }
    return rc;
}

int skl_snapshot_lose(skl_fs_t *fs, const skl_identity_t *id, char *err,
                      size_t err_size)
{
    char name[SKL_WAL_NAME];
    skl_tables_t t;
    found_t f;
    header_t h;
    int rc = find_all(fs, &f, err, err_size), lost = 0;

    rc = rc == SECKILL_OK ? skl_tables_new(id, &t) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    for (uint32_t i = 0; rc == SECKILL_OK && i < f.count; i++) {
        rc = load_one(fs, id, f.lsn[i], &t, &h, err, err_size);
        if (is_no_use(rc)) {
            skl_wal_name(name, "snap.", f.lsn[i]);
            rc = skl_fs_lose(fs, name) == 0 ? SECKILL_OK : SECKILL_EIO;
            lost++;
        }
    }
    skl_tables_free(&t);
    return rc == SECKILL_OK ? lost : rc;
}

/* ---- Recycling ----------------------------------------------------------- */

/* The two newest that are whole (0: there is none); the others are removed. */
static int keep_two(skl_fs_t *fs, const skl_identity_t *id, uint64_t *newest,
                    uint64_t *older, char *err, size_t err_size)
{
    char name[SKL_WAL_NAME];
    uint32_t whole = 0;
    found_t f;
    header_t h;
    int rc = find_all(fs, &f, err, err_size);

    *newest = *older = 0;
    for (uint32_t i = 0; rc == SECKILL_OK && i < f.count; i++) {
        skl_wal_name(name, "snap.", f.lsn[i]);
        if (whole == 2) {
            (void)fs->unlink(fs, name);
            continue;
        }
        rc = read_one(fs, name, id, f.lsn[i], &h, NULL);
        if (rc == SECKILL_OK) {
            *(++whole == 1 ? newest : older) = f.lsn[i];
        }
        /* One that is damaged stays, for those who want to look at it, until
         * there are two newer ones. */
        rc = is_no_use(rc) ? SECKILL_OK : rc;
    }
    return rc;
}

/* Oldest first, each one durably: there is never a hole. */
static int free_segments(skl_fs_t *fs, const skl_wal_segments_t *s,
                         uint64_t limit, char *err, size_t err_size)
{
    char from[SKL_WAL_NAME], to[SKL_WAL_NAME];
    int done = 0;

    /* One renamed before may not be so durably, if that sync failed. */
    if (s->count > 1 && s->list[1].first_lsn <= limit + 1) {
        int rc = fs->sync_dir(fs);

        if (rc != 0) {
            return io_error("sync", "directory", rc, err, err_size);
        }
    }
    for (uint32_t i = 0;
         i + 1 < s->count && s->list[i + 1].first_lsn <= limit + 1; i++) {
        int rc;

        skl_wal_name(from, "wal.", s->list[i].seq);
        skl_wal_name(to, "free.", s->list[i].seq);
        rc = fs->rename(fs, from, to);
        rc = rc == 0 ? fs->sync_dir(fs) : rc;
        if (rc != 0) {
            return io_error("rename", from, rc, err, err_size);
        }
        done++;
    }
    return done;
}

/* Behind a snapshot (0: only segments without a record go) and the cursors. */
static int free_behind(skl_fs_t *fs, const skl_wal_segments_t *s,
                       uint64_t snapshot, uint64_t cursor, char *err,
                       size_t err_size)
{
#ifdef MUTANT_SNAPSHOT_STALE
    snapshot = INT64_MAX;
#endif
    return free_segments(fs, s, snapshot < cursor ? snapshot : cursor, err,
                         err_size);
}

int skl_snapshot_recycle(skl_fs_t *fs, const skl_identity_t *id, int full,
                         char *err, size_t err_size)
{
    skl_wal_segments_t s;
    uint64_t newest, older, cursor;
    int rc = keep_two(fs, id, &newest, &older, err, err_size);

    skl_assert(rc != SECKILL_OK || older <= newest);
    rc = rc == SECKILL_OK ? skl_cursor_slowest(fs, id, &cursor, err, err_size)
                          : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
#ifdef MUTANT_RECYCLE_IGNORES_CURSORS
    cursor = UINT64_MAX;
#endif
    rc = skl_wal_scan(fs, id->uuid, &s, err, err_size);
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = free_behind(fs, &s, older, cursor, err, err_size);
    if (rc == 0 && full && s.free_count == 0) {
        rc = free_behind(fs, &s, newest, cursor, err, err_size);
    }
    skl_wal_scan_free(&s);
    return rc;
}

/* ---- Building ------------------------------------------------------------ */

struct skl_snapshot_build {
    skl_fs_t *fs;
    skl_identity_t id;
    skl_tables_t t;
    skl_replay_t *replay;
    uint64_t first, target; /* LSNs */
    int failed;
    char text[TEXT + 56];
};

/* The last record of the segments that are full. */
static int find_target(skl_snapshot_build_t *b)
{
    const skl_wal_segments_t *s = skl_replay_segments(b->replay);
    skl_recovered_t now;

    skl_assert(b->replay != NULL);
    skl_replay_state(b->replay, &now);
    b->first = now.last_lsn;
    if (s == NULL || s->count < 2 ||
        s->list[s->count - 1].first_lsn - 1 <= b->first) {
        (void)snprintf(b->text, sizeof(b->text),
                       "no segment is full since the last snapshot");
        return SECKILL_ENOTFOUND;
    }
    b->target = s->list[s->count - 1].first_lsn - 1;
    return SECKILL_OK;
}

static int begin(skl_snapshot_build_t *b)
{
    int rc = skl_identity_read(b->fs, &b->id, b->text, sizeof(b->text));

    rc = rc == SECKILL_OK ? skl_tables_new(&b->id, &b->t) : rc;
    rc = rc == SECKILL_OK
             ? skl_replay_begin(b->fs, &b->id, &b->t, 1, &b->replay, b->text,
                                sizeof(b->text))
             : rc;
    rc = rc == SECKILL_OK ? find_target(b) : rc;
    if (rc == SECKILL_ENOTFOUND) {
        /* Cursors may have moved since the last one. */
        int n =
            skl_snapshot_recycle(b->fs, &b->id, 0, b->text, sizeof(b->text));

        rc = n < 0 ? n : rc;
    }
    return rc;
}

int skl_snapshot_build_begin(skl_fs_t *fs, skl_snapshot_build_t **out,
                             char *err, size_t err_size)
{
    skl_snapshot_build_t *b = calloc(1, sizeof(*b));
    int rc;

    if (b == NULL) {
        return SECKILL_ENOMEM;
    }
    b->fs = fs;
    rc = begin(b);
    if (rc != SECKILL_OK) {
        (void)snprintf(err, err_size, "%s", b->text);
        skl_snapshot_build_end(b);
        return rc;
    }
    *out = b;
    return SECKILL_OK;
}

void skl_snapshot_build_half(skl_snapshot_build_t *b)
{
    const skl_wal_segments_t *s = skl_replay_segments(b->replay);

    skl_assert(s != NULL && s->count >= 2);
    if (b->first == 0 && s->list[s->count / 2].first_lsn > 1) {
        b->target = s->list[s->count / 2].first_lsn - 1;
    }
}

static int fail(skl_snapshot_build_t *b, int rc)
{
    skl_assert(rc < 0);
    b->failed = rc;
    return rc;
}

/* A snapshot that is not sound would be worse than none. */
static int audit(skl_snapshot_build_t *b)
{
    char text[TEXT];
    int rc = skl_tables_check(&b->t, text, sizeof(text));

    rc = rc == 0 ? skl_tables_audit(&b->t, text, sizeof(text)) : rc;
    if (rc > 0) {
        (void)snprintf(b->text, sizeof(b->text), "after LSN %" PRIu64 ": %s",
                       b->target, text);
        return SECKILL_ECORRUPT;
    }
    return rc;
}

static int finish(skl_snapshot_build_t *b)
{
    skl_recovered_t now;
    int rc = audit(b);

#ifdef MUTANT_SNAPSHOT_STALE
    (void)skl_snapshot_recycle(b->fs, &b->id, 0, b->text, sizeof(b->text));
#endif

    skl_replay_state(b->replay, &now);
    if (rc == SECKILL_OK && now.last_lsn != b->target) {
        (void)snprintf(b->text, sizeof(b->text),
                       "the log ends with LSN %" PRIu64 ", before %" PRIu64,
                       now.last_lsn, b->target);
        rc = SECKILL_ECORRUPT;
    }
    rc = rc == SECKILL_OK
             ? skl_snapshot_write(b->fs, &b->id, &b->t, b->target,
                                  now.last_time, b->text, sizeof(b->text))
             : rc;
    if (rc == SECKILL_OK) {
        rc = skl_snapshot_recycle(b->fs, &b->id, 0, b->text, sizeof(b->text));
        rc = rc > 0 ? SECKILL_OK : rc;
    }
    return rc;
}

int skl_snapshot_build_step(skl_snapshot_build_t *b, uint32_t max_records,
                            uint64_t *done, uint64_t *total)
{
    skl_recovered_t now;
    int rc;

    skl_assert(b->target > b->first);
    if (b->failed != 0) {
        return b->failed;
    }
    rc =
        skl_replay_step(b->replay, b->target, max_records > 0 ? max_records : 1,
                        b->text, sizeof(b->text));
    skl_replay_state(b->replay, &now);
    *done = now.last_lsn - b->first;
    *total = b->target - b->first;
    if (rc == 1 && now.last_lsn < b->target) {
        return 1;
    }
    rc = rc >= 0 ? finish(b) : rc;
    return rc == SECKILL_OK ? 0 : fail(b, rc);
}

const char *skl_snapshot_build_error(const skl_snapshot_build_t *b)
{
    return b->text;
}

void skl_snapshot_build_end(skl_snapshot_build_t *b)
{
    if (b != NULL) {
        skl_replay_end(b->replay);
        skl_tables_free(&b->t);
        free(b);
    }
}
