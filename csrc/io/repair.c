/* See repair.h. */
#include "io/repair.h"

#include "base/assert.h"
#include "base/os.h"
#include "io/recover.h"
#include "io/snapshot.h"
#include "io/wal_read.h"
#include "seckill.h"
#include "stock/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TEXT = 200, WHOLE = 0, CUT = 1, SECTOR = 512 };

typedef struct {
    skl_fs_t *fs;
    const skl_identity_t *id;
    uint64_t snapshot; /* LSN of the newest one that can be used; 0: none */
    int64_t time;
    uint64_t lsn;  /* of the last record kept */
    uint32_t lost; /* files put aside */
    uint64_t cut;  /* places cut off, and digests */
    char *err;
    size_t err_size;
    char first[TEXT]; /* what was wrong, at first */
} repair_t;

static void note(repair_t *r, const char *text)
{
    skl_assert(text != NULL);
    if (r->first[0] == '\0') {
        (void)snprintf(r->first, sizeof(r->first), "%s", text);
    }
}

static int io_error(repair_t *r, const char *what, int rc)
{
    (void)snprintf(r->err, r->err_size, "%s: %s", what, strerror(-rc));
    return SECKILL_EIO;
}

/* ---- Steps: CUT, or a code ----------------------------------------------- */

/* Put segments [from, to) aside, the newest first: never a hole, whenever it
 * is interrupted. */
static int lose_late(repair_t *r, const skl_wal_segments_t *s, uint32_t from,
                     uint32_t to)
{
    char name[SKL_WAL_NAME];

    skl_assert(from <= to && to <= s->count);
    for (uint32_t i = to; i > from; i--) {
        int rc;

        skl_wal_name(name, "wal.", s->list[i - 1].seq);
        rc = skl_fs_lose(r->fs, name);
        if (rc != 0) {
            return io_error(r, name, rc);
        }
        r->lost++;
    }
    return CUT;
}

/* The oldest ones, in their order. */
static int lose_early(repair_t *r, const skl_wal_segments_t *s, uint32_t to)
{
    int rc = CUT;

    skl_assert(to <= s->count);
    for (uint32_t i = 0; i < to && rc == CUT; i++) {
        rc = lose_late(r, s, i, i + 1);
    }
    return rc;
}

/* Cut a segment off at `offset`, after the later ones are gone. */
static int cut_at(repair_t *r, const skl_wal_segments_t *s, uint32_t i,
                  uint64_t offset)
{
    char name[SKL_WAL_NAME];
    int fd, rc = lose_late(r, s, i + 1, s->count);

    skl_assert(i < s->count);
    if (rc != CUT) {
        return rc;
    }
    skl_assert(offset >= SKL_WAL_BLOCK);
    skl_wal_name(name, "wal.", s->list[i].seq);
    fd = r->fs->open(r->fs, name, SKL_FS_WRITE);
    rc = fd < 0 ? fd : r->fs->truncate(r->fs, fd, offset);
    rc = rc == 0 ? r->fs->sync(r->fs, fd) : rc;
    if (fd >= 0) {
        (void)r->fs->close(r->fs, fd);
    }
    r->cut++;
    return rc == 0 ? CUT : io_error(r, name, rc);
}

/* An empty segment behind the snapshot. */
static int begin_again(repair_t *r, uint64_t seq)
{
    char block[SKL_WAL_BLOCK] = {0}, name[SKL_WAL_NAME];
    skl_wal_header_t h = {.seq = seq, .first_lsn = r->snapshot + 1};
    int rc = skl_os_random(&h.salt, sizeof(h.salt));

    skl_assert(seq >= 1 && r->id->life_count >= 1);
    memcpy(h.uuid, r->id->uuid, sizeof(h.uuid));
    h.incarnation = r->id->lives[r->id->life_count - 1].incarnation;
    h.created = r->time;
    skl_wal_header_seal(&h);
    memcpy(block, &h, sizeof(h));
    skl_wal_name(name, "wal.", seq);
    rc = rc == 0 ? skl_fs_replace(r->fs, name, block, sizeof(block)) : rc;
    return rc == 0 ? CUT : io_error(r, name, rc);
}

/* Nothing of the log follows the snapshot. The new segment is there before the
 * old ones go: a log without any is taken for lost. */
static int lose_all(repair_t *r, const skl_wal_segments_t *s)
{
    int rc;

    skl_assert(s->count > 0);
    rc = begin_again(r, s->list[s->count - 1].seq + 1);

    return rc == CUT ? lose_early(r, s, s->count) : rc;
}

/* ---- Damage -------------------------------------------------------------- */

/* Does recovery begin with segment i or a later one? */
static int is_history(const repair_t *r, const skl_wal_segments_t *s,
                      uint32_t i)
{
    for (; i < s->count; i++) {
        if (s->list[i].first_lsn != 0 &&
            s->list[i].first_lsn <= r->snapshot + 1) {
            return 1;
        }
    }
    return 0;
}

/* Segment `good` has a damaged header, or does not follow the one before. */
static int bad_header(repair_t *r, const skl_wal_segments_t *s, uint32_t good)
{
    const int damaged = s->list[good].first_lsn == 0;
    char text[TEXT];

    skl_assert(good < s->count);
    (void)snprintf(text, sizeof(text),
                   "segment wal.%016" PRIx64 ", offset 0: %s",
                   s->list[good].seq,
                   damaged ? "the header is damaged"
                           : "it does not follow the one before");
    note(r, text);
    if (is_history(r, s, good + (uint32_t)damaged)) {
        return lose_early(r, s, good + (uint32_t)damaged);
    }
    return lose_late(r, s, good, s->count);
}

static uint32_t index_of(const skl_wal_segments_t *s, uint64_t seq)
{
    uint32_t i = 0;

    skl_assert(s->count > 0);
    while (i + 1 < s->count && s->list[i].seq != seq) {
        i++;
    }
    return i;
}

/* Batches from segment i, `offset` on cannot be read; `lsn` would be next. */
static int bad_batch(repair_t *r, const skl_wal_segments_t *s, uint32_t i,
                     uint64_t offset, uint64_t lsn)
{
    if (is_history(r, s, i + 1)) {
        return lose_early(r, s, i + 1);
    }
    return lsn <= r->snapshot ? lose_all(r, s) : cut_at(r, s, i, offset);
}

/* Read the whole log: WHOLE, CUT or a code. */
static int look_at_batches(repair_t *r, const skl_wal_segments_t *s)
{
    const skl_record_t *record;
    skl_wal_reader_t *reader;
    skl_wal_place_t place;
    skl_wal_end_t end;
    int rc = skl_wal_reader_open(r->fs, r->id->uuid, 0, &reader, r->err,
                                 r->err_size);

    if (rc != SECKILL_OK) {
        return rc;
    }
    while ((rc = skl_wal_read(reader, &record)) == 1) {
    }
    skl_wal_reader_stop(reader, &place);
    skl_wal_reader_end(reader, &end);
    if (rc == SECKILL_ECORRUPT) {
        note(r, skl_wal_reader_error(reader));
        rc = bad_batch(r, s, index_of(s, place.seq), place.offset,
                       skl_wal_reader_next(reader));
    } else if (rc == 0 && end.last_lsn < r->snapshot) {
        note(r, "the log ends before the snapshot");
        rc = lose_all(r, s);
    } else if (rc < 0) {
        (void)snprintf(r->err, r->err_size, "%s", skl_wal_reader_error(reader));
    }
    r->lsn = end.last_lsn;
    skl_wal_reader_close(reader);
    return rc;
}

/* The tables in use were not what the records give: they were damaged in
 * memory. The records count, so the digest goes. It is in the first sector of
 * the file, which is written as a whole. */
static int forget_digest(repair_t *r, uint64_t seq)
{
    char name[SKL_WAL_NAME], sector[SECTOR];
    skl_wal_header_t *h = (void *)sector;
    int fd, rc;

    skl_wal_name(name, "wal.", seq);
    fd = r->fs->open(r->fs, name, SKL_FS_WRITE);
    rc = fd < 0 ? fd : skl_fs_read_all(r->fs, fd, sector, SECTOR, 0);
    if (rc == 0) {
        skl_assert(skl_wal_header_valid(h, r->id->uuid) && h->digest != 0);
        h->digest = 0;
        skl_wal_header_seal(h);
        rc = skl_fs_write_all(r->fs, fd, sector, SECTOR, 0);
    }
    rc = rc == 0 ? r->fs->sync(r->fs, fd) : rc;
    if (fd >= 0) {
        (void)r->fs->close(r->fs, fd);
    }
    r->cut++;
    return rc == 0 ? CUT : io_error(r, name, rc);
}

/* Replay it: does every record follow? */
static int look_at_records(repair_t *r, const skl_wal_segments_t *s,
                           skl_tables_t *t)
{
    skl_replay_t *p = NULL;
    skl_wal_place_t place;
    skl_recovered_t now;
    int rc = skl_replay_begin(r->fs, r->id, t, 1, &p, r->err, r->err_size);

    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = skl_replay_step(p, UINT64_MAX, UINT64_MAX, r->err, r->err_size);
    skl_replay_state(p, &now);
    r->lsn = now.last_lsn;
    if (rc == SECKILL_ECORRUPT && skl_replay_bad_digest(p) != 0) {
        note(r, r->err);
        rc = forget_digest(r, skl_replay_bad_digest(p));
    } else if (rc == SECKILL_ECORRUPT && s->count > 0) {
        note(r, r->err);
        skl_replay_place(p, &place);
        rc = bad_batch(r, s, index_of(s, place.seq), place.offset,
                       now.last_lsn + 1);
    }
    skl_replay_end(p);
    return rc;
}

static int replay_all(repair_t *r, const skl_wal_segments_t *s)
{
    char text[TEXT] = "";
    skl_tables_t t;
    int rc = skl_tables_new(r->id, &t);

    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = look_at_records(r, s, &t);
    if (rc == WHOLE && skl_tables_check(&t, text, sizeof(text)) != 0) {
        (void)snprintf(r->err, r->err_size,
                       "no record is damaged, but the tables are not in order: "
                       "%s",
                       text);
        rc = SECKILL_ECORRUPT;
    }
    skl_tables_free(&t);
    return rc;
}

/* One round: WHOLE, CUT: look again, or a code. */
static int look(repair_t *r)
{
    skl_wal_segments_t s;
    uint32_t good;
    int rc = skl_wal_scan_damaged(r->fs, r->id->uuid, &s, &good, r->err,
                                  r->err_size);

    if (rc != SECKILL_OK) {
        return rc;
    }
    if (good < s.count) {
        rc = bad_header(r, &s, good);
    } else if (s.count == 0 && r->snapshot > 0) {
        note(r, "there is no log segment");
        rc = begin_again(r, 1);
        r->cut++;
    } else {
        rc = s.count > 0 ? look_at_batches(r, &s) : WHOLE;
        rc = rc == WHOLE ? replay_all(r, &s) : rc;
    }
    skl_wal_scan_free(&s);
    return rc;
}

/* The newest snapshot that is left. */
static int find_base(repair_t *r)
{
    skl_tables_t t;
    int rc = skl_tables_new(r->id, &t);

    if (rc == SECKILL_OK) {
        rc = skl_snapshot_load(r->fs, r->id, &t, &r->snapshot, &r->time, r->err,
                               r->err_size);
        skl_tables_free(&t);
    }
    return rc > 0 ? SECKILL_OK : rc;
}

static int repair(repair_t *r)
{
    int rc = skl_snapshot_lose(r->fs, r->id, r->err, r->err_size);

    if (rc < 0) {
        return rc;
    }
    if (rc > 0) {
        r->lost += (uint32_t)rc;
        note(r, r->err);
    }
    rc = find_base(r);
    if (rc != SECKILL_OK) {
        return rc;
    }
    do {
        rc = look(r);
    } while (rc == CUT);
    return rc;
}

int skl_repair(skl_fs_t *fs, const skl_identity_t *id, uint64_t *lsn, char *err,
               size_t err_size)
{
    repair_t r = {.fs = fs, .id = id, .err = err, .err_size = err_size};
    int rc = repair(&r);

    *lsn = r.lsn;
    if (rc != WHOLE) {
        return rc;
    }
    if (r.lost == 0 && r.cut == 0) {
        (void)snprintf(err, err_size, "nothing is damaged");
        return SECKILL_ENOTFOUND;
    }
    (void)snprintf(err, err_size,
                   "%s; kept up to LSN %" PRIu64 ", %u files put aside as "
                   "*.lost",
                   r.first, r.lsn, r.lost);
    return SECKILL_OK;
}
