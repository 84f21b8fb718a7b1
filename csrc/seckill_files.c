/*
 * The public functions that work on a data directory, whether engines use it or
 * not: reading the log, cursors, snapshots, repair, verify. See seckill.h.
 *
 * Each opens the directory anew and keeps no state but its handle. Who changes
 * files that are in use by others takes a lock: snapshots `snap.lock`, repair
 * also `lock`, which every engine holds shared.
 *
 * Threads: a handle one at a time.
 */
#include "seckill.h"

#include "base/assert.h"
#include "base/os.h"
#include "io/cursor.h"
#include "io/recover.h"
#include "io/repair.h"
#include "io/snapshot.h"
#include "io/wal_read.h"
#include "seckill_internal.h"
#include "stock/check.h"
#include "stock/ids.h"
#include "stock/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOCK "lock"
#define OPEN_LOCK "open.lock"
#define SNAP_LOCK "snap.lock"

enum { PATH_BYTES = 512, TEXT = 400, CREATE_TRIES = 8 };

/* ---- Directories and their locks ----------------------------------------- */

/* The directory and its identity: OK, ENOTFOUND, ECORRUPT, EIO, ENOMEM. */
static int open_dir(const char *dir, skl_fs_t **fs, skl_identity_t *id,
                    char *err, size_t err_size)
{
    int rc;

    if (dir == NULL || dir[0] == '\0') {
        (void)snprintf(err, err_size, "there is no directory of a log");
        return SECKILL_ENOTFOUND;
    }
    rc = skl_fs_open_dir(dir, fs);
    if (rc != 0) {
        (void)snprintf(err, err_size, "%s: %s", dir, strerror(-rc));
        return rc == -ENOENT || rc == -ENOTDIR ? SECKILL_ENOTFOUND
               : rc == -ENOMEM                 ? SECKILL_ENOMEM
                                               : SECKILL_EIO;
    }
    rc = skl_identity_read(*fs, id, err, err_size);
    if (rc == SECKILL_ENOTFOUND) {
        (void)snprintf(err, err_size, "%s: no ledger is in it", dir);
    }
    if (rc != SECKILL_OK) {
        skl_fs_close_dir(*fs);
    }
    return rc;
}

/* Take a lock file exclusively: a descriptor, ELOCKED or EIO. With `make` it
 * is made where it does not exist; else ENOTFOUND. */
static int take_lock(const char *dir, const char *file, int make)
{
    char path[PATH_BYTES];
    struct stat st;
    int fd, rc;

    skl_assert(dir != NULL && file[0] != '\0');
    (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
    fd = skl_os_open(path, make ? O_RDWR | O_CREAT : O_RDONLY, 0600);
    if (fd < 0) {
        return fd == -ENOENT ? SECKILL_ENOTFOUND : SECKILL_EIO;
    }
    rc = skl_os_try_lock(fd, 1);
    if (rc == 0 && make) {
        /* Root works for the owner of the directory. */
        rc = skl_os_stat(dir, &st);
        rc = rc == 0 && st.st_uid != geteuid()
                 ? skl_os_fchown(fd, st.st_uid, st.st_gid)
                 : rc;
    }
    if (rc != 0) {
        (void)skl_os_close(fd);
        return rc == -EWOULDBLOCK ? SECKILL_ELOCKED : SECKILL_EIO;
    }
    return fd;
}

static void give_lock(int fd)
{
    if (fd >= 0) {
        (void)skl_os_close(fd);
    }
}

/* `lock` is taken under `open.lock`, as openers do: they wait for us, instead
 * of taking us for a user of the directory or losing `lock` to us. *open_lock
 * is to be given back, too. */
static int take_dir(const char *dir, int make, int *open_lock)
{
    *open_lock = take_lock(dir, OPEN_LOCK, make);
    if (*open_lock < 0 && *open_lock != SECKILL_ENOTFOUND) {
        return *open_lock;
    }
    return take_lock(dir, LOCK, make);
}

static const char *dir_of(seckill_t *sk, const char *dir)
{
    return dir == NULL && sk != NULL ? skl_engine_dir(sk) : dir;
}

static void no_error(char *err, size_t err_size)
{
    if (err_size > 0) {
        err[0] = '\0';
    }
}

/* ---- Reader -------------------------------------------------------------- */

struct seckill_reader {
    seckill_t *sk; /* NULL: a directory alone */
    skl_fs_t *fs;
    skl_identity_t id;
    skl_wal_reader_t *reader;
    /* An order gives one record for each of its lines. */
    const skl_record_t *order; /* NULL: none is under way */
    uint32_t line;
    int at_end;
    int failed;
    char text[TEXT];
};

/* What a consumer may see: nothing that a power loss could take. */
static uint64_t limit_of(const seckill_reader_t *r)
{
    return r->sk != NULL ? seckill_durable(r->sk) : UINT64_MAX;
}

int seckill_reader_open(seckill_t *sk, const char *dir, uint64_t from_lsn,
                        seckill_reader_t **out, char *err, size_t err_size)
{
    seckill_reader_t *r = calloc(1, sizeof(*r));
    int rc;

    no_error(err, err_size);
    if (r == NULL) {
        return SECKILL_ENOMEM;
    }
    r->sk = sk;
    rc = open_dir(dir_of(sk, dir), &r->fs, &r->id, err, err_size);
    if (rc != SECKILL_OK) {
        free(r);
        return rc;
    }
    rc = skl_wal_reader_open(r->fs, r->id.uuid, from_lsn, &r->reader, err,
                             err_size);
    if (rc != SECKILL_OK) {
        seckill_reader_close(r);
        return rc;
    }
    *out = r;
    return SECKILL_OK;
}

void seckill_reader_close(seckill_reader_t *r)
{
    if (r != NULL) {
        skl_assert(r->fs != NULL);
        skl_wal_reader_close(r->reader);
        skl_fs_close_dir(r->fs);
        free(r);
    }
}

/* A life that began after the directory was opened. */
static uint32_t incarnation_of(seckill_reader_t *r, uint64_t lsn)
{
    skl_wal_place_t place;
    skl_identity_t fresh;
    char err[TEXT];

    skl_assert(r->id.life_count >= 1);
    skl_wal_reader_place(r->reader, &place);
    if (place.incarnation > r->id.lives[r->id.life_count - 1].incarnation &&
        skl_identity_read(r->fs, &fresh, err, sizeof(err)) == SECKILL_OK) {
        r->id = fresh;
    }
    return skl_identity_incarnation(&r->id, lsn);
}

static int is_for_consumers(const skl_record_t *r)
{
    return r->type != SKL_REC_RETIRE && r->type != SKL_REC_RETIRE_USER &&
           r->type != SKL_REC_RETIRE_ITEM && r->type != SKL_REC_ORDER_RETIRE;
}

static uint8_t copy_string(char *out, const char *from, uint32_t len)
{
    const uint32_t n = len < SECKILL_ID_MAX ? len : SECKILL_ID_MAX;

    memcpy(out, from, n);
    return (uint8_t)n;
}

static void copy_counters(const skl_record_t *rec, seckill_record_t *out)
{
    out->available = rec->available;
    out->reserved = rec->reserved;
    out->sold = rec->sold;
}

static void copy_strings(const skl_record_t *rec, seckill_record_t *out)
{
    out->user_len = copy_string(out->user, skl_rec_user(rec), rec->user_len);
    out->request_len =
        copy_string(out->request, skl_rec_request(rec), rec->request_len);
    out->item_len = copy_string(out->item, skl_rec_item(rec), rec->item_len);
}

/* The reservation of a record: `row` names it for its whole life. */
static void copy_order(seckill_reader_t *r, const skl_record_t *rec,
                       uint32_t row, seckill_record_t *out)
{
    const int makes =
        rec->type == SKL_REC_RESERVE || rec->type == SKL_REC_ORDER;
    const uint64_t lsn = makes ? rec->lsn : rec->order.row_lsn;

    skl_assert(rec->lsn >= 1);
    out->state = rec->order.state;
    out->qty = rec->order.qty;
    out->id_len = skl_row_id_format(out->id, incarnation_of(r, lsn), row, lsn);
    if (out->state == SECKILL_STATE_RESERVED) {
        out->expires_at = rec->order.deadline;
    }
}

static void copy_single(seckill_reader_t *r, const skl_record_t *rec,
                        seckill_record_t *out)
{
    out->type = rec->type;
    copy_counters(rec, out);
    copy_strings(rec, out);
    if (rec->type == SKL_REC_PUT) {
        out->version = rec->config.version;
    } else if (rec->type == SKL_REC_ADJUST) {
        out->qty = rec->order.qty;
    } else if (rec->type == SKL_REC_EXPIRE && rec->order.arg != 0) {
        /* A line ends on its own; the order has the name of its first line. */
        copy_order(r, rec, (uint32_t)rec->order.arg, out);
        out->line = (uint8_t)(rec->order.arg >> 32);
    } else if (rec->type >= SKL_REC_RESERVE && rec->type <= SKL_REC_REFUND) {
        copy_order(r, rec, rec->order.row, out);
    }
}

/* Line `i` of an order: its own item, quantity and counters; the id is that of
 * the order, whose name is the row of the first line. */
static void copy_line(seckill_reader_t *r, const skl_record_t *rec, uint32_t i,
                      seckill_record_t *out)
{
    static const uint16_t types[] = {SECKILL_REC_RESERVE, SECKILL_REC_CONFIRM,
                                     SECKILL_REC_CANCEL, SECKILL_REC_REFUND};
    const char *name = skl_rec_item(rec);
    const skl_leg_t *leg = &rec->legs[i];

    skl_assert(i < rec->lines.count && rec->type < SKL_REC_ORDER_RETIRE);
    for (uint32_t k = 0; k < i; k++) {
        name += rec->legs[k].item_len;
    }
    copy_strings(rec, out);
    copy_order(r, rec, rec->lines.row, out);
    out->type = types[rec->type - SKL_REC_ORDER];
    out->line = (uint8_t)(i + 1);
    out->qty = leg->qty;
    out->available = leg->available;
    out->reserved = leg->reserved;
    out->sold = leg->sold;
    out->item_len = copy_string(out->item, name, leg->item_len);
}

/* A record as a consumer sees it; of an order the next line. */
static void expand(seckill_reader_t *r, const skl_record_t *rec,
                   seckill_record_t *out)
{
    skl_wal_place_t place;

    skl_assert(is_for_consumers(rec));
    memset(out, 0, sizeof(*out));
    out->lsn = rec->lsn;
    out->time = rec->time;
    skl_wal_reader_place(r->reader, &place);
    out->segment = place.seq;
    out->offset = place.offset;
    out->incarnation = incarnation_of(r, rec->lsn);
    if (!skl_rec_is_order(rec)) {
        copy_single(r, rec, out);
        return;
    }
    copy_line(r, rec, r->line, out);
    r->line++;
    r->order = r->line < rec->lines.count ? rec : NULL;
}

int seckill_reader_next(seckill_reader_t *r, seckill_record_t *out)
{
    const skl_record_t *rec = r->order;
    int rc = 1;

    if (rec == NULL) {
        r->line = 0;
        skl_wal_reader_limit(r->reader, limit_of(r));
        do {
            rc = skl_wal_read(r->reader, &rec);
        } while (rc == 1 && !is_for_consumers(rec));
    }
    r->at_end = rc == 0;
    if (rc == 1) {
        expand(r, rec, out);
    } else if (rc < 0) {
        (void)snprintf(r->text, sizeof(r->text), "%s",
                       skl_wal_reader_error(r->reader));
    }
    return rc;
}

uint64_t seckill_reader_lsn(seckill_reader_t *r)
{
    return r->order != NULL ? r->order->lsn : skl_wal_reader_next(r->reader);
}

uint32_t seckill_reader_incarnation(seckill_reader_t *r, uint64_t lsn)
{
    skl_assert(lsn < seckill_reader_lsn(r));
    return incarnation_of(r, lsn > 0 ? lsn : 1);
}

const char *seckill_reader_error(seckill_reader_t *r)
{
    return r->text;
}

uint64_t seckill_reader_torn(seckill_reader_t *r)
{
    skl_wal_end_t end;

    skl_assert(r->reader != NULL);
    skl_wal_reader_end(r->reader, &end);
    return r->at_end && r->sk == NULL ? end.torn_bytes : 0;
}

const char *seckill_record_name(int type)
{
    return type >= SECKILL_REC_PUT && type <= SECKILL_REC_ADJUST
               ? skl_rec_type_name(type)
               : "unknown";
}

/* ---- What is in a directory ---------------------------------------------- */

static void copy_identity(const skl_identity_t *id, seckill_dir_stats_t *out)
{
    skl_identity_text(id->uuid, out->uuid);
    skl_assert(id->life_count >= 1 && id->life_count <= SKL_LIVES_MAX);
    out->incarnation = id->lives[id->life_count - 1].incarnation;
    out->lives = id->life_count;
    out->window_ns = id->window_ns;
    out->request_ids = id->request_ids;
    out->items = id->items;
    out->reservations = id->reservations;
    out->users = id->users;
    out->requests = id->requests;
}

static int fill_stats(skl_fs_t *fs, const skl_identity_t *id,
                      seckill_dir_stats_t *out, char *err, size_t err_size)
{
    skl_wal_segments_t s;
    int rc = skl_wal_scan(fs, id->uuid, &s, err, err_size);

    if (rc != SECKILL_OK) {
        return rc;
    }
    out->first_lsn = s.count > 0 ? s.list[0].first_lsn : 0;
    out->segments = s.count;
    out->free_segments = s.free_count;
    rc = skl_snapshot_newest(fs, id, &out->snapshot_lsn, &out->snapshots,
                             &out->bytes);
    out->bytes += s.bytes;
    skl_wal_scan_free(&s);
    if (rc == SECKILL_OK) {
        rc = skl_cursor_count(fs, id);
        out->cursors = rc > 0 ? (uint32_t)rc : 0;
    }
    return rc > 0 ? SECKILL_OK : rc;
}

int seckill_dir_stats(const char *dir, seckill_dir_stats_t *out, char *err,
                      size_t err_size)
{
    skl_identity_t id;
    skl_fs_t *fs;
    int fd, open_lock, rc;

    no_error(err, err_size);
    memset(out, 0, sizeof(*out));
    rc = open_dir(dir, &fs, &id, err, err_size);
    if (rc != SECKILL_OK) {
        return rc;
    }
    copy_identity(&id, out);
    rc = fill_stats(fs, &id, out, err, err_size);
    fd = take_dir(dir, 0, &open_lock);
    out->in_use = fd == SECKILL_ELOCKED;
    give_lock(fd);
    give_lock(open_lock);
    skl_fs_close_dir(fs);
    return rc;
}

/* ---- Cursors ------------------------------------------------------------- */

int seckill_cursor_set(const char *dir, const char *name, uint64_t lsn,
                       uint32_t incarnation, int create)
{
    char err[TEXT];
    skl_identity_t id;
    skl_fs_t *fs;
    int rc = open_dir(dir, &fs, &id, err, sizeof(err));

    if (rc == SECKILL_OK) {
        rc = skl_cursor_set(fs, &id, name, lsn, incarnation, create);
        skl_fs_close_dir(fs);
    }
    return rc;
}

/* LSN in front of the oldest record that is kept. */
static int oldest_place(skl_fs_t *fs, const skl_identity_t *id, uint64_t *lsn)
{
    skl_wal_segments_t s;
    char err[TEXT];
    int rc = skl_wal_scan(fs, id->uuid, &s, err, sizeof(err));

    if (rc == SECKILL_OK) {
        skl_assert(s.count == 0 || s.list[0].first_lsn > 0);
        *lsn = s.count > 0 ? s.list[0].first_lsn - 1 : 0;
        skl_wal_scan_free(&s);
    }
    return rc;
}

/* The segment behind the place may be recycled before the cursor is there to
 * keep it: then once more, a place further on. */
static int create_cursor(skl_fs_t *fs, const skl_identity_t *id,
                         const char *name, skl_cursor_t *c)
{
    uint64_t lsn = 0;
    int rc = oldest_place(fs, id, &lsn);

    for (int i = 0; i < CREATE_TRIES && rc == SECKILL_OK; i++) {
        c->lsn = lsn;
        c->incarnation = skl_identity_incarnation(id, lsn > 0 ? lsn : 1);
        rc = skl_cursor_set(fs, id, name, c->lsn, c->incarnation, 1);
        rc = rc == SECKILL_OK ? oldest_place(fs, id, &lsn) : rc;
        if (rc == SECKILL_OK && lsn <= c->lsn) {
            return SECKILL_OK;
        }
    }
    return rc == SECKILL_OK ? SECKILL_EBUSY : rc;
}

int seckill_cursor_create(const char *dir, const char *name, uint64_t *lsn,
                          uint32_t *incarnation)
{
    char err[TEXT];
    skl_cursor_t c = {.lsn = 0};
    skl_identity_t id;
    skl_fs_t *fs;
    int rc = open_dir(dir, &fs, &id, err, sizeof(err));

    if (rc == SECKILL_OK) {
        rc = create_cursor(fs, &id, name, &c);
        skl_fs_close_dir(fs);
    }
    *lsn = c.lsn;
    *incarnation = c.incarnation;
    return rc;
}

int seckill_cursor_get(const char *dir, const char *name, uint64_t *lsn,
                       uint32_t *incarnation)
{
    char err[TEXT];
    skl_cursor_t c = {.lsn = 0};
    skl_identity_t id;
    skl_fs_t *fs;
    int rc = open_dir(dir, &fs, &id, err, sizeof(err));

    if (rc == SECKILL_OK) {
        rc = skl_cursor_get(fs, &id, name, &c);
        skl_fs_close_dir(fs);
    }
    *lsn = c.lsn;
    *incarnation = c.incarnation;
    return rc == SECKILL_OK && c.dropped ? SECKILL_ECURSORGONE : rc;
}

int seckill_cursor_drop(const char *dir, const char *name)
{
    char err[TEXT];
    skl_identity_t id;
    skl_fs_t *fs;
    int rc = open_dir(dir, &fs, &id, err, sizeof(err));

    if (rc == SECKILL_OK) {
        rc = skl_cursor_drop(fs, &id, name);
        skl_fs_close_dir(fs);
    }
    return rc;
}

int seckill_cursor_at(const char *dir, int i, char *name, uint64_t *lsn,
                      uint32_t *incarnation, int *dropped)
{
    char err[TEXT];
    skl_cursor_t c = {.lsn = 0};
    skl_identity_t id;
    skl_fs_t *fs;
    int rc =
        i < 0 ? SECKILL_ENOTFOUND : open_dir(dir, &fs, &id, err, sizeof(err));

    if (rc == SECKILL_OK) {
        rc = skl_cursor_at(fs, &id, (uint32_t)i, name, &c);
        skl_fs_close_dir(fs);
    }
    *lsn = c.lsn;
    *incarnation = c.incarnation;
    *dropped = (int)c.dropped;
    return rc;
}

/* ---- Snapshots ----------------------------------------------------------- */

struct seckill_snapshot {
    skl_fs_t *fs;
    skl_snapshot_build_t *build;
    int lock;
};

static int begin_build(seckill_snapshot_t *s, const char *dir, char *err,
                       size_t err_size)
{
    skl_identity_t id;
    int rc = open_dir(dir, &s->fs, &id, err, err_size);

    if (rc != SECKILL_OK) {
        s->fs = NULL;
        return rc;
    }
    s->lock = take_lock(dir, SNAP_LOCK, 1);
    if (s->lock < 0) {
        (void)snprintf(err, err_size, "%s/%s: %s", dir, SNAP_LOCK,
                       s->lock == SECKILL_ELOCKED
                           ? "another snapshot is being built"
                           : "cannot be opened");
        return s->lock;
    }
    return skl_snapshot_build_begin(s->fs, &s->build, err, err_size);
}

int seckill_snapshot_begin(const char *dir, seckill_snapshot_t **out, char *err,
                           size_t err_size)
{
    seckill_snapshot_t *s = calloc(1, sizeof(*s));
    int rc;

    no_error(err, err_size);
    if (s == NULL) {
        return SECKILL_ENOMEM;
    }
    s->lock = -1;
    rc = begin_build(s, dir, err, err_size);
    if (rc != SECKILL_OK) {
        seckill_snapshot_end(s);
        return rc;
    }
    *out = s;
    return SECKILL_OK;
}

int seckill_snapshot_step(seckill_snapshot_t *s, uint32_t max_records,
                          uint64_t *done, uint64_t *total)
{
    skl_assert(s->build != NULL);
    return skl_snapshot_build_step(s->build, max_records, done, total);
}

const char *seckill_snapshot_error(seckill_snapshot_t *s)
{
    return skl_snapshot_build_error(s->build);
}

void seckill_snapshot_end(seckill_snapshot_t *s)
{
    if (s != NULL) {
        skl_snapshot_build_end(s->build);
        skl_fs_close_dir(s->fs);
        give_lock(s->lock);
        free(s);
    }
}

/* ---- Repair -------------------------------------------------------------- */

static int repair_locked(const char *dir, skl_fs_t *fs,
                         const skl_identity_t *id, uint64_t *lsn, char *err,
                         size_t err_size)
{
    int open_lock;
    const int lock = take_dir(dir, 1, &open_lock);
    const int snap = lock < 0 ? lock : take_lock(dir, SNAP_LOCK, 1);
    int rc = snap;

    if (snap >= 0) {
        rc = skl_repair(fs, id, lsn, err, err_size);
    } else {
        (void)snprintf(err, err_size, "%s: %s", dir,
                       lock == SECKILL_ELOCKED ? "an engine has it open"
                       : snap == SECKILL_ELOCKED
                           ? "a snapshot is being built"
                           : "its lock file cannot be opened");
    }
    give_lock(snap);
    give_lock(lock);
    give_lock(open_lock);
    return rc;
}

int seckill_repair(const char *dir, uint64_t *lsn, char *err, size_t err_size)
{
    skl_identity_t id;
    skl_fs_t *fs;
    int rc;

    no_error(err, err_size);
    *lsn = 0;
    rc = open_dir(dir, &fs, &id, err, err_size);
    if (rc == SECKILL_OK) {
        rc = repair_locked(dir, fs, &id, lsn, err, err_size);
        skl_fs_close_dir(fs);
    }
    return rc;
}

/* ---- Verify -------------------------------------------------------------- */

/* Rebuild, comparing the digests on the way. */
static int rebuild(skl_fs_t *fs, const skl_identity_t *id, skl_tables_t *t,
                   uint64_t *lsn, char *text, size_t size)
{
    skl_replay_t *p = NULL;
    skl_recovered_t now;
    int rc = skl_replay_begin(fs, id, t, 1, &p, text, size);

    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = skl_replay_step(p, UINT64_MAX, UINT64_MAX, text, size);
    skl_replay_state(p, &now);
    *lsn = now.last_lsn;
    skl_replay_end(p);
    return rc;
}

/* Differing bytes, bounded. */
static int compare(seckill_t *sk, const skl_tables_t *t, uint64_t lsn,
                   char *text, size_t size)
{
    uint64_t first = 0, n;

    skl_assert(t->shm != NULL && sk != NULL);
    if (skl_image_bytes(&sk->stock.tables) != skl_image_bytes(t)) {
        (void)snprintf(text, size, "the engine has tables of another size");
        return 1;
    }
    n = skl_image_differing(&sk->stock.tables, t, &first);
    if (n > 0) {
        (void)snprintf(text, size,
                       "engine at LSN %llu, log at %llu: %llu bytes differ, "
                       "the first at %llu",
                       (unsigned long long)seckill_lsn(sk),
                       (unsigned long long)lsn, (unsigned long long)n,
                       (unsigned long long)first);
    }
    return n < INT32_MAX ? (int)n : INT32_MAX;
}

static int verify(seckill_t *sk, skl_fs_t *fs, const skl_identity_t *id,
                  char *text, size_t size)
{
    uint64_t lsn = 0;
    skl_tables_t t;
    int rc = skl_tables_new(id, &t);

    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = rebuild(fs, id, &t, &lsn, text, size);
    rc = rc == SECKILL_OK ? skl_tables_check(&t, text, size) : rc;
    rc = rc == SECKILL_OK ? skl_tables_audit(&t, text, size) : rc;
    if (rc == 0 && sk != NULL) {
        rc = compare(sk, &t, lsn, text, size);
    }
    skl_tables_free(&t);
    return rc;
}

int seckill_verify(seckill_t *sk, const char *dir, char *text, size_t text_size)
{
    skl_identity_t id;
    skl_fs_t *fs;
    int rc;

    no_error(text, text_size);
    rc = open_dir(dir_of(sk, dir), &fs, &id, text, text_size);
    if (rc == SECKILL_OK) {
        rc = verify(sk, fs, &id, text, text_size);
        skl_fs_close_dir(fs);
    }
    return rc;
}
