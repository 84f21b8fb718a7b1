/*
 * The log of an engine: opening a directory with its segment. See
 * seckill_log.h.
 *
 * One process at a time (io/wal_dir.h). The segment is made from the log when
 * there is none; used as it is by everybody who finds others alive; and used by
 * the first one after all have died only if it is of this directory's newest
 * life: then its locks are repaired, the ring goes to disk, and the log must
 * reach as far as the segment believes. Else it is made anew.
 *
 * Threads: one at a time in a process.
 */
#include "seckill_log.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "io/recover.h"
#include "io/snapshot.h"
#include "seckill_internal.h"
#include "stock/rebuild.h"
#include "stock/shift.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

enum { REBUILD = 1 };

/* ---- Clocks of the writer ------------------------------------------------ */

static int64_t ledger_now(void *sk)
{
    return seckill_now(sk);
}

static int64_t clock_offset(void *ctx)
{
    const seckill_t *sk = ctx;

    return atomic_load(&sk->segment.header->clock_offset);
}

static int64_t mono_now(void *ctx)
{
    (void)ctx;
    return skl_clock_mono_ns();
}

static void read_boot_id(char *out)
{
    memset(out, 0, SKL_BOOT_ID);
    (void)skl_os_read_small(BOOT_ID, out, SKL_BOOT_ID);
    out[strcspn(out, "\n")] = '\0';
}

static int init_writer(seckill_t *sk)
{
    seckill_log_t *log = &sk->log;
    int rc;

    skl_wal_writer_free(&log->writer); /* of a segment that was stale */
    rc = skl_wal_writer_init(&log->writer, log->dir.fs,
                             skl_section(sk->segment.header, SKL_SECTION_LOG),
                             &sk->stock.ring);

    log->writer.ctx = sk;
    log->writer.ledger_now = ledger_now;
    log->writer.clock_offset = clock_offset;
    log->writer.mono_now = mono_now;
    return rc;
}

/* ---- Enter --------------------------------------------------------------- */

static int bad_option(char *err, size_t size, const char *text)
{
    (void)snprintf(err, size, "%s", text);
    return SECKILL_EBADOPTION;
}

static int check_options(const seckill_options_t *o, char *err, size_t size)
{
    const uint64_t segment =
        o->log_segment_bytes != 0 ? o->log_segment_bytes : 64ULL << 20;
    const size_t len = strlen(o->dir);

    if (o->dir[0] != '/' || len < 2 || len >= SKL_WAL_DIR ||
        o->dir[len - 1] == '/') {
        return bad_option(err, size,
                          "dir: an absolute path of at most 199 bytes without "
                          "a slash at the end expected");
    }
    if (o->durability > SECKILL_SYNC) {
        return bad_option(err, size, "durability: async or sync expected");
    }
    if (o->max_lag_ns != 0 && (o->max_lag_ns < SKL_NS_PER_MS ||
                               o->max_lag_ns > 3600 * SKL_NS_PER_SEC)) {
        return bad_option(err, size, "max_lag: must be 1 ms to 1 hour");
    }
    if (segment < (2U << 20) || segment > (1U << 30) || segment % 4096 != 0) {
        return bad_option(err, size,
                          "log_segment_bytes: must be 2 MiB to 1 GiB, a "
                          "multiple of 4096");
    }
    if (o->max_log_bytes != 0 && o->max_log_bytes < 4 * segment) {
        return bad_option(err, size,
                          "max_log_bytes: must be at least 4 segments");
    }
    return SECKILL_OK;
}

/* Numbers that the records depend on: as the directory has them. */
static int take_numbers(const skl_identity_t *id, skl_config_t *want, char *err,
                        size_t size)
{
#define TAKE(field, name)                                                      \
    if (want->field == 0) {                                                    \
        want->field = id->field;                                               \
    } else if (want->field != id->field) {                                     \
        (void)snprintf(err, size, "%s: dir was made with %lld, not %lld",      \
                       name, (long long)id->field, (long long)want->field);    \
        return SECKILL_EMISMATCH;                                              \
    }
    TAKE(window_ns, "window")
    TAKE(request_ids, "request_ids")
    TAKE(items, "capacity.items")
    TAKE(reservations, "capacity.reservations")
    TAKE(users, "capacity.users")
    TAKE(requests, "capacity.requests")
#undef TAKE
    return SECKILL_OK;
}

static void see_log(void *arg, const char *name)
{
    int *found = arg;
    uint64_t number;

    *found |= skl_wal_parse_name(name, "wal.", &number) ||
              skl_wal_parse_name(name, "snap.", &number);
}

static int identity_gone(seckill_t *sk, char *err, size_t size)
{
    (void)snprintf(
        err, size,
        "dir: %s: the file ledger is gone; put it back from a backup",
        sk->log.path);
    return SECKILL_ECORRUPT;
}

/* Of a directory without a log. It is not written before everything else of
 * the opening has been right: it fixes numbers for ever. */
static int make_identity(seckill_t *sk, skl_config_t *want, char *err,
                         size_t size)
{
    skl_identity_t *id = &sk->log.identity;
    int found = 0;
    int rc = sk->log.dir.fs->list(sk->log.dir.fs, see_log, &found);

    if (rc != 0 || found) {
        return identity_gone(sk, err, size);
    }
    memset(id, 0, sizeof(*id));
    skl_config_defaults(want);
    id->window_ns = want->window_ns;
    id->request_ids = want->request_ids;
    id->items = want->items;
    id->reservations = want->reservations;
    id->users = want->users;
    id->requests = want->requests;
    sk->log.is_new = 1;
    return skl_identity_make(id);
}

static int read_identity(seckill_t *sk, skl_config_t *want, char *err,
                         size_t size)
{
    skl_identity_t *id = &sk->log.identity;
    char why[160] = "";
    int rc = skl_identity_read(sk->log.dir.fs, id, why, sizeof(why));

    if (rc == SECKILL_OK) {
        return take_numbers(id, want, err, size);
    }
    if (rc == SECKILL_ENOTFOUND && sk->log.dir.alone) {
        return make_identity(sk, want, err, size);
    }
    if (rc == SECKILL_ENOTFOUND) {
        return identity_gone(sk, err, size);
    }
    (void)snprintf(err, size, "dir: %s: %s", sk->log.path, why);
    return rc;
}

#define DEFAULT(field, value)                                                  \
    if (want->field == 0) {                                                    \
        want->field = value;                                                   \
    }

static void log_defaults(skl_config_t *want)
{
    DEFAULT(durability, SECKILL_ASYNC)
    DEFAULT(max_lag_ns, SKL_NS_PER_SEC)
    DEFAULT(max_log_bytes, 8ULL << 30)
    DEFAULT(log_segment_bytes, 64ULL << 20)
}

static int enter_path(seckill_t *sk, const char *path, const char *user,
                      char *err, size_t size)
{
    seckill_log_t *log = &sk->log;
    int rc = skl_wal_dir_enter(&log->dir, path, user, err, size);

    if (rc == SECKILL_OK) {
        (void)snprintf(log->path, sizeof(log->path), "%s", path);
        log->attached = 1;
    }
    return rc;
}

int seckill_log_enter(seckill_t *sk, const seckill_options_t *o,
                      skl_config_t *want, char *err, size_t err_size)
{
    int rc;

    if (o->dir == NULL) {
        return o->durability == 0 && o->max_lag_ns == 0 &&
                       o->max_log_bytes == 0 && o->log_segment_bytes == 0
                   ? SECKILL_OK
                   : bad_option(err, err_size,
                                "durability: durability, max_lag, "
                                "max_log_bytes and log_segment_bytes need the "
                                "option dir");
    }
    rc = check_options(o, err, err_size);
    rc = rc == SECKILL_OK ? enter_path(sk, o->dir, o->user, err, err_size) : rc;
    return rc == SECKILL_OK ? read_identity(sk, want, err, err_size) : rc;
}

static int is_this_boot(const char *boot_id)
{
    char now[SKL_BOOT_ID];

    read_boot_id(now);
    return memcmp(now, boot_id, sizeof(now)) == 0;
}

/* ---- Recovery into a new segment ----------------------------------------- */

/* Where the ledger's clock goes on. In the boot in which the log was written
 * it has never stopped. After another one the wall clock is all there is; the
 * ledger's time does not go back. Returns the time that nobody can vouch for
 * (stock/shift.h). */
static int64_t set_clock(skl_header_t *h, const skl_recovered_t *rec)
{
    const int64_t boot = skl_clock_boot_ns();
    const int64_t last =
        rec->end.time > rec->last_time ? rec->end.time : rec->last_time;
    const int same_boot = rec->end.time != 0 && is_this_boot(rec->end.boot_id);
    int64_t now;

    if (same_boot) {
        atomic_store(&h->clock_offset, rec->end.clock_offset);
    }
    now = skl_ledger_ns(h, boot);
    if (now < last) {
        atomic_fetch_add(&h->clock_offset, last - now);
    }
    /* This much has passed for sure: the machine has been up since. */
    return same_boot || last == 0 || now - last <= boot ? 0 : now - last - boot;
}

/* The tables with their time given back, durably: as a snapshot of the record
 * at which they stand. It has the time of now: the next recovery counts from
 * here, whether a record follows or not. 1: they were moved; 0; or a code. */
static int give_time_back(seckill_t *sk, const skl_recovered_t *rec, int64_t ns,
                          char *err, size_t size)
{
    char why[160] = "";
    int rc;

    if (ns < SKL_NS_PER_SEC || skl_tables_shift(&sk->stock.tables, ns) == 0) {
        return 0;
    }
    rc =
        skl_snapshot_write(sk->log.dir.fs, &sk->log.identity, &sk->stock.tables,
                           rec->last_lsn, ledger_now(sk), why, sizeof(why));
    if (rc != SECKILL_OK) {
        (void)snprintf(err, size, "dir: %s: snapshot: %s", sk->log.path, why);
    }
    return rc == SECKILL_OK ? 1 : rc;
}

static void fill_log(seckill_t *sk, skl_header_t *h)
{
    skl_wal_shm_t *shm = skl_section(h, SKL_SECTION_LOG);
    const skl_config_t *c = &h->config;
    const skl_identity_t *id = &sk->log.identity;

    (void)snprintf(shm->dir, sizeof(shm->dir), "%s", sk->log.path);
    memcpy(shm->uuid, id->uuid, sizeof(shm->uuid));
    shm->durability = c->durability;
    shm->segment_bytes = c->log_segment_bytes;
    shm->max_bytes = c->max_log_bytes;
    read_boot_id(shm->boot_id);
    atomic_store(&shm->state, SECKILL_LOG_OK);
}

static void fill_ring(seckill_t *sk, skl_header_t *h,
                      const skl_recovered_t *rec)
{
    skl_ring_t *ring = &sk->stock.ring;

    skl_ring_restart(ring, rec->last_lsn, rec->last_time);
    ring->shm->max_lag_ns = h->config.max_lag_ns;
}

static void fill_lives(seckill_t *sk)
{
    const skl_identity_t *id = &sk->log.identity;
    skl_ring_t *ring = &sk->stock.ring;

    ring->shm->life_count = 0;
    for (uint32_t i = 0; i < id->life_count; i++) {
        skl_ring_begin_life(ring, id->lives[i].first_lsn,
                            id->lives[i].incarnation);
    }
    sk->log.writer.shm->incarnation = id->lives[id->life_count - 1].incarnation;
    sk->log.writer.shm->nonce = id->lives[id->life_count - 1].nonce;
}

/* Does an order that is still known, or a record that is still kept, need the
 * oldest life for its name? */
static int needs_oldest_life(seckill_t *sk)
{
    const skl_identity_t *id = &sk->log.identity;
    const skl_tables_t *t = &sk->stock.tables;
    const uint64_t end = id->lives[1].first_lsn;
    const int64_t since = ledger_now(sk) - id->window_ns;
    skl_wal_segments_t s;
    char why[160];
    int needs = 0;

    skl_assert(id->life_count > 1);
    for (uint32_t i = 0; i < t->shm->shards * t->shm->rows && !needs; i++) {
        const uint64_t lsn = SKL_LD(t->rows[i].lsn);

        needs = lsn != 0 && lsn < end && t->rows[i].created > since;
    }
    if (skl_wal_scan(sk->log.dir.fs, id->uuid, &s, why, sizeof(why)) ==
        SECKILL_OK) {
        /* A cursor in front of the oldest record has the LSN before it. */
        needs |= s.count > 0 && s.list[0].first_lsn <= end;
        skl_wal_scan_free(&s);
    }
    return needs;
}

/* A life begins durably, before it can give out an id; also after one that has
 * written nothing: its segment may be there, with records in the ring. */
static int raise_life(seckill_t *sk, const skl_recovered_t *rec, char *err,
                      size_t size)
{
    skl_identity_t *id = &sk->log.identity;

    if (sk->log.is_new) {
        sk->log.is_new = 0;
        return skl_identity_write(sk->log.dir.fs, id, err, size);
    }
#ifdef MUTANT_FIRST_LIFE_TWICE
    if (rec->last_lsn == 0 && rec->end.seq == 0) {
        return SECKILL_OK;
    }
#endif
    if (skl_identity_is_full(id, rec->last_lsn + 1) && needs_oldest_life(sk)) {
        (void)snprintf(err, size,
                       "dir: %s was recovered %d times while orders of the "
                       "first time are remembered, or a cursor keeps their "
                       "records: find out what ends the processes; when the "
                       "window is over, build a snapshot and open again",
                       sk->log.path, SKL_LIVES_MAX);
        return SECKILL_EFULL;
    }
    skl_identity_raise(id, rec->last_lsn + 1);
    return skl_identity_write(sk->log.dir.fs, id, err, size);
}

static int log_failed(seckill_t *sk, int rc, char *err, size_t size)
{
    if (rc != SECKILL_OK) {
        char why[SKL_WAL_TEXT];

        skl_wal_text_get(&sk->log.writer.shm->error, why);
        (void)snprintf(err, size, "dir: %s: %s", sk->log.path, why);
    }
    return rc;
}

/* Where there is no room for a segment the engine is open all the same, and in
 * the state FULL: so that its threads can make room. Tables that are not what
 * the records give have no digest: those whose time was moved, and those with
 * an item that is still to be rebuilt. */
static int begin_log(seckill_t *sk, int moved, char *err, size_t size)
{
    uint32_t slot = 0;
    const int differ = moved || skl_next_quarantined(&sk->stock, &slot);
    const uint64_t digest = differ ? 0 : skl_tables_digest(&sk->stock.tables);
#ifdef MUTANT_LIFE_WITHOUT_CLOCK
    int rc = skl_wal_begin_segment(&sk->log.writer, digest);
#else
    int rc = skl_wal_begin_life(&sk->log.writer, digest);
#endif

    return rc == SECKILL_ENOSPACE ? SECKILL_OK : log_failed(sk, rc, err, size);
}

/* First what was recovered is made durable: the next life begins behind it.
 * Then the life, then a segment of it. */
static int go_on(seckill_t *sk, const skl_recovered_t *rec, int64_t unknown,
                 char *err, size_t size)
{
    skl_wal_writer_t *w = &sk->log.writer;
    int rc, moved;

    w->shm->incarnation =
        skl_identity_incarnation(&sk->log.identity, rec->last_lsn);
    rc = skl_wal_repeat_tail(w, &rec->end);
    if (rc != SECKILL_OK) {
        return log_failed(sk, rc, err, size);
    }
    moved = give_time_back(sk, rec, unknown, err, size);
    rc = moved >= 0 ? raise_life(sk, rec, err, size) : moved;
    if (rc != SECKILL_OK) {
        return rc;
    }
    fill_lives(sk);
    return begin_log(sk, moved, err, size);
}

static int locked(const seckill_t *sk, char *err, size_t size)
{
    (void)snprintf(err, size,
                   "dir: %s is in use by processes of another segment; stop "
                   "them first",
                   sk->log.path);
    return SECKILL_ELOCKED;
}

int seckill_log_fill(void *ctx, skl_header_t *h, char *err, size_t err_size)
{
    seckill_t *sk = ctx;
    skl_recovered_t rec;
    char why[200] = "";
    int64_t unknown;
    int rc;

    if (!sk->log.attached) {
        return SECKILL_OK;
    }
    if (!sk->log.dir.alone) {
        return locked(sk, err, err_size);
    }
    h->key = sk->log.identity.key;
    sk->segment.header = h;
    seckill_attach_sections(sk);
    rc = skl_recover(sk->log.dir.fs, &sk->log.identity, &sk->stock.tables, &rec,
                     why, sizeof(why));
    if (rc != SECKILL_OK) {
        (void)snprintf(err, err_size,
                       "dir: %s: %s; look at it with `seckill ledger verify`",
                       sk->log.path, why);
        return rc;
    }
    /* A directory that had a segment before, even one without a record. */
#ifndef MUTANT_REBUILT_IS_FULL
    if (!sk->log.is_new) {
        skl_limits_rebuilt(skl_section(h, SKL_SECTION_LIMITS),
                           skl_clock_mono_ns());
    }
#endif
    unknown = set_clock(h, &rec);
    log_defaults(&h->config);
    fill_log(sk, h);
    fill_ring(sk, h, &rec);
    rc = init_writer(sk);
    return rc == SECKILL_OK ? go_on(sk, &rec, unknown, err, err_size) : rc;
}

/* ---- A segment that is there --------------------------------------------- */

static int mismatch(char *err, size_t size, const char *have, const char *want)
{
    (void)snprintf(err, size, "dir: the segment has %.80s, asked for %.80s",
                   have[0] != '\0' ? have : "none", want);
    return SECKILL_EMISMATCH;
}

/* Take over every lock of the dead: all that is published gets applied. */
static int repair_all(seckill_t *sk)
{
    skl_stock_t *s = &sk->stock;
    const uint32_t items = atomic_load(&s->tables.shm->high_water);
    skl_held_t h = {.s = s};
    int rc = skl_hold_catalog(&h);

    skl_release(&h);
    for (uint32_t i = 0; rc == SECKILL_OK && i < s->tables.shm->shards; i++) {
        rc = skl_hold_shard(&h, i);
        skl_release(&h);
    }
    for (uint32_t i = 0; rc == SECKILL_OK && i < items; i++) {
        rc = skl_hold_item_any(&h, i);
        skl_release(&h);
    }
    return rc;
}

/* The log must reach as far as the segment believes: a directory that was put
 * back from a backup does not. */
static int check_log_end(seckill_t *sk, char *err, size_t size)
{
    const uint64_t durable = skl_wal_durable(&sk->stock.ring);
    skl_wal_reader_t *r;
    const skl_record_t *rec;
    char why[200] = "";
    int rc;

    if (durable == 0) {
        return SECKILL_OK;
    }
    rc = skl_wal_reader_open(sk->log.dir.fs, sk->log.identity.uuid, durable, &r,
                             why, sizeof(why));
    if (rc == SECKILL_OK) {
        rc = skl_wal_read(r, &rec);
        (void)snprintf(why, sizeof(why), "%s", skl_wal_reader_error(r));
        skl_wal_reader_close(r);
        if (rc == 1) {
            return SECKILL_OK;
        }
    } else if (rc == SECKILL_ECURSORGONE) {
        return SECKILL_OK; /* all of it is in a snapshot */
    }
    (void)snprintf(err, size,
                   "dir: %s ends before LSN %llu, which the segment knows to "
                   "be durable (%s); if the directory was restored from a "
                   "backup, destroy the segment '%s' first",
                   sk->log.path, (unsigned long long)durable, why,
                   sk->segment.name);
    return SECKILL_ECORRUPT;
}

/* Is the segment of this history, and of which life? <0: an earlier one; 0: the
 * newest; 1: a later one, or one that a restored backup does not know. */
static int compare_life(const seckill_t *sk)
{
    const skl_identity_t *id = &sk->log.identity;
    const skl_wal_shm_t *shm = sk->log.writer.shm;
    const skl_life_t *newest = &id->lives[id->life_count - 1];

    skl_assert(id->life_count > 0);
    if (shm->incarnation != newest->incarnation) {
        return shm->incarnation < newest->incarnation ? -1 : 1;
    }
    return shm->nonce == newest->nonce ? 0 : 1;
}

/* Can the log go on where the segment stands? OK, REBUILD, or a code: it is
 * newer than the directory. */
static int check_life(seckill_t *sk, char *err, size_t size)
{
    const skl_identity_t *id = &sk->log.identity;
    const skl_wal_shm_t *shm = sk->log.writer.shm;
    const int same = memcmp(shm->uuid, id->uuid, sizeof(shm->uuid)) == 0;
    const int life = compare_life(sk);

    skl_assert(sk->log.dir.alone);
    if (!same || life > 0) {
        (void)snprintf(err, size,
                       "dir: %s has not the log of the segment '%s', which is "
                       "of %s; if the directory was emptied, or restored from "
                       "a backup, destroy the segment first",
                       sk->log.path, sk->segment.name,
                       same ? "another life" : "another ledger");
        return SECKILL_ECORRUPT;
    }
    return life == 0 &&
                   memcmp(&sk->segment.header->key, &id->key,
                          sizeof(id->key)) == 0 &&
                   skl_ring_head(&sk->stock.ring) <=
                       skl_wal_durable(&sk->stock.ring) + 1
               ? SECKILL_OK
               : REBUILD;
}

/* All who used the segment are dead. OK, REBUILD or a code. */
static int revive(seckill_t *sk, char *err, size_t size)
{
    skl_wal_shm_t *shm = sk->log.writer.shm;
    int rc = check_life(sk, err, size);

    rc = rc == SECKILL_OK ? check_log_end(sk, err, size) : rc;
    rc = rc == SECKILL_OK ? repair_all(sk) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    atomic_store(&shm->retry_at, 0);
    atomic_store(&shm->seq, 0);
    do {
        rc = skl_wal_flush(&sk->log.writer);
    } while (rc > 0);
    if (rc == SECKILL_ENOSPACE) {
        return SECKILL_OK; /* as in begin_log() */
    }
    return rc == 0 ? begin_log(sk, 0, err, size)
                   : log_failed(sk, rc, err, size);
}

/* Others use the directory: with this segment, or with another one that has
 * begun a life since. */
static int join(const seckill_t *sk, char *err, size_t size)
{
    const skl_identity_t *id = &sk->log.identity;
    const skl_wal_shm_t *shm = sk->log.writer.shm;

    skl_assert(!sk->log.dir.alone);
#ifdef MUTANT_JOIN_ANY_LIFE
    return SECKILL_OK;
#endif
    return memcmp(shm->uuid, id->uuid, sizeof(shm->uuid)) == 0 &&
                   compare_life(sk) == 0
               ? SECKILL_OK
               : locked(sk, err, size);
}

/* An attacher that did not name the directory uses the segment's. */
static int enter_late(seckill_t *sk, const skl_wal_shm_t *shm, char *err,
                      size_t size)
{
    skl_config_t have = sk->segment.header->config;
    int rc = enter_path(sk, shm->dir, NULL, err, size);

    return rc == SECKILL_OK ? read_identity(sk, &have, err, size) : rc;
}

int seckill_log_adopt(seckill_t *sk, const seckill_options_t *o, char *err,
                      size_t err_size)
{
    skl_wal_shm_t *shm = skl_section(sk->segment.header, SKL_SECTION_LOG);
    int rc = SECKILL_OK;

    if (o->dir != NULL && strcmp(o->dir, shm->dir) != 0) {
        return mismatch(err, err_size, shm->dir, o->dir);
    }
    if (shm->dir[0] == '\0') {
        return SECKILL_OK;
    }
    if (!sk->log.attached) {
        rc = enter_late(sk, shm, err, err_size);
    }
    if (rc == SECKILL_OK && sk->log.writer.shm == NULL) {
        rc = init_writer(sk);
    }
    if (rc == SECKILL_OK && !sk->segment.created) {
        rc = sk->log.dir.alone ? revive(sk, err, err_size)
                               : join(sk, err, err_size);
    }
    if (rc == SECKILL_OK) {
        sk->segment.created = 0; /* when it is opened again: as any other */
        skl_wal_dir_settle(&sk->log.dir); /* again: a no-op */
    }
    return rc;
}

void seckill_log_leave(seckill_t *sk)
{
    skl_wal_writer_free(&sk->log.writer);
    if (sk->log.attached) {
        skl_wal_dir_leave(&sk->log.dir);
    }
    memset(&sk->log, 0, sizeof(sk->log));
}

int seckill_log_writable(seckill_t *sk, char *err, size_t err_size)
{
    skl_fs_t *fs = sk->log.dir.fs;
    const int fd = fs->open(fs, "lock", SKL_FS_WRITE);

    skl_assert(err != NULL);
    if (fd < 0) {
        (void)snprintf(err, err_size,
                       "dir: %s cannot be written by uid %u (%s); give its "
                       "owner as the option user when root makes it",
                       sk->log.path, geteuid(), strerror(-fd));
        return SECKILL_EIO;
    }
    (void)fs->close(fs, fd);
    return SECKILL_OK;
}
