/* See recover.h. */
#include "io/recover.h"

#include "base/assert.h"
#include "base/os.h"
#include "io/snapshot.h"
#include "seckill.h"
#include "stock/check.h"
#include "stock/follows.h"
#include "stock/image.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Records that are prepared ahead; those whose neighbours are. */
enum { AHEAD = 16, NEAR = 6, TEXT = 200 };

/* So often it begins, while others take away what it reads. */
enum { LOOKS = 3 };

struct skl_replay {
    skl_tables_t *t;
    skl_wal_reader_t *reader; /* NULL: there is no log */
    uint64_t last_lsn, first_lsn, snapshot_lsn;
    int64_t last_time;
    uint64_t prepared, near;    /* up to these LSNs */
    skl_rec_keys_t keys[AHEAD]; /* by LSN */
    const skl_record_t *records[AHEAD];
    int digests;
    uint32_t segment;    /* the next one whose digest is to be compared */
    uint64_t bad_digest; /* the one whose digest was another; 0: none */
};

/* ---- Tables -------------------------------------------------------------- */

int skl_tables_new(const skl_identity_t *id, skl_tables_t *t)
{
    const uint64_t bytes =
        skl_tables_bytes(id->items, id->reservations, id->users, id->requests);
    void *section;

    if (skl_os_map_private(bytes, &section) != 0) {
        return SECKILL_ENOMEM;
    }
    skl_tables_init(section, id->items, id->reservations, id->users,
                    id->requests);
    skl_tables_attach(t, section, &id->key);
    return SECKILL_OK;
}

void skl_tables_free(skl_tables_t *t)
{
    if (t->shm != NULL) {
        (void)skl_os_unmap(t->shm, t->shm->bytes);
    }
    t->shm = NULL;
}

/* ---- Looking ahead: hints only, so slots are checked and no more --------- */

static void fetch(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i += 64) {
        __builtin_prefetch((const char *)p + i, 1);
    }
    /* To gcc a function that only prefetches has no effect: it would leave
     * out its calls. */
    __asm__ volatile("");
}

static void fetch_row(const skl_tables_t *t, uint32_t slot, size_t n)
{
    if (slot < t->shm->shards * t->shm->rows) {
        fetch(&t->rows[slot], n);
    }
}

static void fetch_request(const skl_tables_t *t, uint32_t slot)
{
    if (slot < t->shm->shards * t->shm->requests) {
        fetch(&t->requests[slot], sizeof(skl_request_row_t));
    }
}

static void fetch_user(const skl_tables_t *t, uint32_t slot)
{
    if (slot < t->shm->shards * t->shm->users) {
        fetch(&t->users[slot], sizeof(skl_user_row_t));
    }
}

static void fetch_item(const skl_tables_t *t, uint32_t slot)
{
    if (slot < t->shm->items) {
        fetch(&t->items[slot].seq, 192);
    }
}

/* Heads of the chains that a new id and a new user go into. */
static void fetch_heads(const skl_tables_t *t, const skl_record_t *r,
                        const skl_rec_keys_t *keys)
{
    skl_fetch_request(t, skl_shard_of(t, keys->request), keys->request);
    if ((r->flags & SKL_FLAG_USER) && r->item < t->shm->items) {
        const skl_hash_t key =
            skl_user_key(keys->user, SKL_LD(t->items[r->item].born));

        skl_fetch_user(t, skl_shard_of(t, key), key);
    }
}

static int has_row(const skl_record_t *r)
{
    return (r->type >= SKL_REC_RESERVE && r->type <= SKL_REC_ADJUST) ||
           r->type == SKL_REC_RETIRE;
}

static void prepare_lines(const skl_tables_t *t, const skl_record_t *r)
{
    const size_t n = r->type == SKL_REC_ORDER ? sizeof(skl_row_t) : 64;

    skl_assert(r->lines.count <= SKL_LINES_MAX);
    for (uint32_t i = 0; i < r->lines.count; i++) {
        fetch_item(t, r->legs[i].item);
        fetch_row(t, r->legs[i].row, n);
        fetch_user(t, r->legs[i].user);
    }
    if (r->parts & SKL_PART_REQUEST) {
        fetch_request(t, r->lines.request);
    }
}

static void prepare(skl_replay_t *p, const skl_record_t *r)
{
    skl_tables_t *t = p->t;
    skl_rec_keys_t *keys = &p->keys[r->lsn % AHEAD];

    p->records[r->lsn % AHEAD] = r;
    if (skl_record_has_keys(r)) {
        skl_record_keys(t, r, keys);
        fetch_heads(t, r, keys);
    }
    if (skl_rec_is_order(r)) {
        prepare_lines(t, r);
        return;
    }
    fetch_item(t, r->item);
    if (has_row(r)) {
        fetch_row(t, r->order.row,
                  r->type == SKL_REC_RESERVE ? sizeof(skl_row_t) : 64);
        fetch_user(t, r->order.user);
        if (r->parts & SKL_PART_REQUEST) {
            fetch_request(t, r->order.request);
        }
    }
}

/* The row is there by now: its neighbours among the holds, or the chain that
 * an id leaves. */
static void prepare_near(const skl_replay_t *p, const skl_record_t *r)
{
    const skl_tables_t *t = p->t;
    const uint32_t row = r->order.row;

    if ((r->flags & SKL_FLAG_LISTED) && r->type != SKL_REC_RESERVE &&
        has_row(r) && row < t->shm->shards * t->shm->rows) {
        fetch_row(t, t->rows[row].prev, 64);
        fetch_row(t, t->rows[row].next, 64);
    }
    if (r->type == SKL_REC_RETIRE &&
        r->order.request < t->shm->shards * t->shm->requests) {
        const skl_request_row_t *q = &t->requests[r->order.request];
        const skl_hash_t key = {SKL_LD(q->lo), SKL_LD(q->hi)};

        skl_fetch_request(t, skl_shard_of(t, key), key);
    }
}

static void look_ahead(skl_replay_t *p, const skl_record_t *r)
{
    const skl_record_t *next;

    skl_assert(p->prepared < r->lsn + AHEAD); /* no key is overwritten */
    if (p->prepared < r->lsn) {
        prepare(p, r);
        p->prepared = r->lsn;
    }
    while (p->prepared + 1 < r->lsn + AHEAD &&
           (next = skl_wal_peek(p->reader, (uint32_t)(p->prepared - r->lsn))) !=
               NULL) {
        prepare(p, next);
        p->prepared++;
    }
}

static void look_near(skl_replay_t *p, const skl_record_t *r)
{
    skl_assert(p->prepared >= r->lsn && p->near <= p->prepared);
    p->near = p->near < r->lsn ? r->lsn : p->near;
    while (p->near < p->prepared && p->near + 1 < r->lsn + NEAR) {
        p->near++;
        prepare_near(p, p->records[p->near % AHEAD]);
    }
}

/* ---- Records ------------------------------------------------------------- */

static int replay_with(skl_tables_t *t, const skl_record_t *r,
                       uint64_t last_lsn, const skl_rec_keys_t *keys)
{
    if (r->lsn != last_lsn + 1 || !skl_record_follows(t, r, keys)) {
        return SECKILL_ECORRUPT;
    }
    skl_apply(t, r, r->parts, skl_record_has_keys(r) ? keys : NULL);
    return SECKILL_OK;
}

int skl_replay_record(skl_tables_t *t, const skl_record_t *r, uint64_t last_lsn)
{
    skl_rec_keys_t keys;

    skl_assert(t->shm->items > 0);
    if (r->user_len > SECKILL_ID_MAX || r->request_len > SECKILL_ID_MAX ||
        skl_rec_legs(r) > SKL_LINES_MAX) {
        return SECKILL_ECORRUPT;
    }
    skl_record_keys(t, r, &keys);
    return replay_with(t, r, last_lsn, &keys);
}

/* ---- Digests ------------------------------------------------------------- */

/* Of several segments that begin with the next record only the last one counts:
 * between two of them nothing but time may have been moved (stock/shift.h). */
static void pass_older_digests(skl_replay_t *p)
{
    const skl_wal_segments_t *s = skl_wal_reader_segments(p->reader);

    skl_assert(p->digests);
    while (p->segment + 1 < s->count &&
           s->list[p->segment + 1].first_lsn <= p->last_lsn + 1) {
        p->segment++;
    }
}

/* Compare the digest of the segment that begins with the next record. */
static int compare_digests(skl_replay_t *p, char *err, size_t err_size)
{
    const skl_wal_segments_t *s = skl_wal_reader_segments(p->reader);
    const skl_wal_segment_t *segment;

    skl_assert(p->segment <= s->count);
    pass_older_digests(p);
    if (p->segment == s->count ||
        s->list[p->segment].first_lsn > p->last_lsn + 1) {
        return SECKILL_OK;
    }
    segment = &s->list[p->segment++];
    if (segment->digest == 0 || segment->first_lsn != p->last_lsn + 1 ||
        segment->digest == skl_image_digest(p->t)) {
        return SECKILL_OK;
    }
    p->bad_digest = segment->seq;
    (void)snprintf(err, err_size,
                   "segment wal.%016" PRIx64
                   ", offset 0: the digest of the tables before LSN %" PRIu64
                   " is another one",
                   segment->seq, segment->first_lsn);
    return SECKILL_ECORRUPT;
}

/* ---- Steps --------------------------------------------------------------- */

/* The log must reach back to the snapshot, or to the beginning. */
static int open_log(skl_fs_t *fs, const skl_identity_t *id, skl_replay_t *p,
                    char *err, size_t err_size)
{
    char text[TEXT] = "";
    int rc = skl_wal_reader_open(fs, id->uuid, p->last_lsn + 1, &p->reader,
                                 text, sizeof(text));

    if (rc == SECKILL_ENOTFOUND && p->last_lsn == 0) {
        return SECKILL_OK; /* a directory that was never written to */
    }
    if (rc == SECKILL_ECURSORGONE || rc == SECKILL_ENOTFOUND) {
        (void)snprintf(err, err_size,
                       "no snapshot reaches the log (the newest whole one has "
                       "LSN %" PRIu64 "): %.140s",
                       p->last_lsn, text);
        return SECKILL_ECORRUPT;
    }
    if (rc != SECKILL_OK) {
        (void)snprintf(err, err_size, "%s", text);
    }
    return rc;
}

static int begin(skl_fs_t *fs, const skl_identity_t *id, skl_replay_t *p,
                 char *err, size_t err_size)
{
    char text[TEXT] = "";
    int unread = skl_snapshot_load(fs, id, p->t, &p->last_lsn, &p->last_time,
                                   text, sizeof(text));
    int rc = unread < 0 ? unread : SECKILL_OK;

    skl_assert(p->reader == NULL && p->prepared == 0);
    p->snapshot_lsn = p->first_lsn = p->last_lsn;
    rc = rc == SECKILL_OK ? open_log(fs, id, p, err, err_size) : rc;
    /* What could not be read may be there the next time. */
    if (unread < 0 || (unread > 0 && rc == SECKILL_ECORRUPT)) {
        (void)snprintf(err, err_size, "%s", text);
        rc = unread < 0 ? rc : SECKILL_EIO;
    }
    return rc;
}

int skl_replay_begin(skl_fs_t *fs, const skl_identity_t *id, skl_tables_t *t,
                     int digests, skl_replay_t **out, char *err,
                     size_t err_size)
{
    skl_replay_t *p = calloc(1, sizeof(*p));
    int looks = 0, rc = SECKILL_ENOMEM;
    uint64_t newest = 0;

    if (p == NULL) {
        return rc;
    }
    /* A child whose parent died may still build snapshots and recycle; so does
     * an engine in use. What is missing is then in a newer snapshot. */
    do {
        skl_wal_reader_close(p->reader);
        *p = (skl_replay_t){.t = t, .digests = digests};
        newest = skl_snapshot_last(fs);
        rc = begin(fs, id, p, err, err_size);
    } while (rc != SECKILL_OK && ++looks < LOOKS &&
             skl_snapshot_last(fs) > newest);
    if (rc != SECKILL_OK) {
        skl_replay_end(p);
        return rc;
    }
    *out = p;
    return SECKILL_OK;
}

static int misfit(const skl_replay_t *p, const skl_record_t *r, char *err,
                  size_t err_size)
{
    skl_wal_place_t place;

    skl_wal_reader_place(p->reader, &place);
    (void)snprintf(err, err_size,
                   "segment wal.%016" PRIx64 ", offset %" PRIu64
                   ": record %" PRIu64
                   " (%s) does not follow from the records before it",
                   place.seq, place.offset, r->lsn, skl_rec_type_name(r->type));
    return SECKILL_ECORRUPT;
}

static int one_record(skl_replay_t *p, const skl_record_t *r, char *err,
                      size_t err_size)
{
    int rc;

    look_ahead(p, r);
    look_near(p, r);
    rc = replay_with(p->t, r, p->last_lsn, &p->keys[r->lsn % AHEAD]);
    if (rc != SECKILL_OK) {
        return misfit(p, r, err, err_size);
    }
    p->last_lsn = r->lsn;
    p->last_time = r->time;
    return SECKILL_OK;
}

/* What the log says at its end must be there, too. */
static int at_end(skl_replay_t *p, char *err, size_t err_size)
{
    skl_wal_end_t end;

    skl_assert(p->reader != NULL);
    skl_wal_reader_end(p->reader, &end);
    if (end.last_lsn < p->snapshot_lsn) {
        (void)snprintf(err, err_size,
                       "the log ends with LSN %" PRIu64
                       ", before the snapshot of LSN %" PRIu64,
                       end.last_lsn, p->snapshot_lsn);
        return SECKILL_ECORRUPT;
    }
    return SECKILL_OK;
}

static int next_record(skl_replay_t *p, char *err, size_t err_size)
{
    const skl_record_t *r;
    int rc = skl_wal_read(p->reader, &r);

    if (rc < 0) {
        (void)snprintf(err, err_size, "%s", skl_wal_reader_error(p->reader));
    }
    if (rc <= 0) {
        return rc;
    }
    rc = one_record(p, r, err, err_size);
    if (rc == SECKILL_OK && p->digests) {
        rc = compare_digests(p, err, err_size);
    }
    return rc == SECKILL_OK ? 1 : rc;
}

static int do_steps(skl_replay_t *p, uint64_t max, char *err, size_t err_size)
{
    int rc = p->digests ? compare_digests(p, err, err_size) : SECKILL_OK;

    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = 1;
    for (uint64_t n = 0; n < max && rc == 1; n++) {
        rc = next_record(p, err, err_size);
    }
    return rc;
}

int skl_replay_step(skl_replay_t *p, uint64_t limit, uint64_t max, char *err,
                    size_t err_size)
{
    int rc;

    skl_assert(max > 0);
    if (p->reader == NULL || p->last_lsn >= limit) {
        return 0;
    }
    skl_wal_reader_limit(p->reader, limit);
    rc = do_steps(p, max, err, err_size);
    return rc == 0 && limit == UINT64_MAX ? at_end(p, err, err_size) : rc;
}

void skl_replay_state(const skl_replay_t *p, skl_recovered_t *out)
{
    skl_assert(p->last_lsn >= p->first_lsn);
    memset(out, 0, sizeof(*out));
    out->last_lsn = p->last_lsn;
    out->last_time = p->last_time;
    out->snapshot_lsn = p->snapshot_lsn;
    out->records = p->last_lsn - p->first_lsn;
    if (p->reader != NULL) {
        skl_wal_reader_end(p->reader, &out->end);
    }
}

void skl_replay_place(const skl_replay_t *p, skl_wal_place_t *out)
{
    skl_assert(p->reader != NULL);
    skl_wal_reader_place(p->reader, out);
}

uint64_t skl_replay_bad_digest(const skl_replay_t *p)
{
    return p->bad_digest;
}

const skl_wal_segments_t *skl_replay_segments(const skl_replay_t *p)
{
    return p->reader != NULL ? skl_wal_reader_segments(p->reader) : NULL;
}

void skl_replay_end(skl_replay_t *p)
{
    if (p != NULL) {
        skl_wal_reader_close(p->reader);
        free(p);
    }
}

/* ---- All at once --------------------------------------------------------- */

static int check_result(const skl_tables_t *t, uint64_t lsn, char *err,
                        size_t err_size)
{
    char text[TEXT];
    int rc = skl_tables_check(t, text, sizeof(text));

    if (rc > 0) {
        (void)snprintf(err, err_size,
                       "the tables after record %" PRIu64
                       " are not in order: %s",
                       lsn, text);
        return SECKILL_ECORRUPT;
    }
    return rc;
}

static int recover(skl_fs_t *fs, const skl_identity_t *id, skl_tables_t *t,
                   skl_recovered_t *out, char *err, size_t err_size)
{
    skl_replay_t *p = NULL;
    int rc = skl_replay_begin(fs, id, t, 0, &p, err, err_size);

    memset(out, 0, sizeof(*out));
    if (rc != SECKILL_OK) {
        return rc;
    }
    while ((rc = skl_replay_step(p, UINT64_MAX, UINT64_MAX, err, err_size)) ==
           1) {
    }
    if (rc == SECKILL_OK) {
        skl_replay_state(p, out);
        rc = check_result(t, out->last_lsn, err, err_size);
    }
    skl_replay_end(p);
    return rc;
}

int skl_recover(skl_fs_t *fs, const skl_identity_t *id, skl_tables_t *t,
                skl_recovered_t *out, char *err, size_t err_size)
{
    int looks = 0, rc;

    do { /* recycled while it was read: a newer snapshot has it */
        rc = recover(fs, id, t, out, err, err_size);
    } while (rc == SECKILL_ECURSORGONE && ++looks < LOOKS);
    return rc;
}
