/* See wal_write.h. */
#include "io/wal_write.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "seckill.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEAL_AFTER_NS (200 * SKL_NS_PER_MS)
#define FULL_RETRY_NS (100 * SKL_NS_PER_MS)
#define FAIL_RETRY_NS SKL_NS_PER_SEC
#define NEW_FILE "wal.new"

enum {
    BUFFER = SKL_UNIT * (1 + SKL_BATCH_UNITS_MAX) + SKL_RECORD_MAX,
    ZEROS = 64 * 1024,
    AHEAD = 4 * 1024 * 1024 /* zeros written ahead at once */
};

static const char zeros[ZEROS];

int skl_wal_writer_init(skl_wal_writer_t *w, skl_fs_t *fs, skl_wal_shm_t *shm,
                        skl_ring_t *ring)
{
    memset(w, 0, sizeof(*w));
    w->fs = fs;
    w->shm = shm;
    w->ring = ring;
    w->fd = -1;
    w->buffer = aligned_alloc(64, (BUFFER + 63) / 64 * 64);
    return w->buffer != NULL ? SECKILL_OK : SECKILL_ENOMEM;
}

/* Forgotten before it is closed: a child of a fork() in between must not close
 * what has the number by then. */
static void close_file(skl_wal_writer_t *w)
{
    const int fd = w->fd;

    w->fd = -1;
    w->fd_seq = 0;
    if (fd >= 0) {
        (void)w->fs->close(w->fs, fd);
    }
}

void skl_wal_writer_free(skl_wal_writer_t *w)
{
    if (w->fs != NULL) {
        close_file(w);
    }
    free(w->buffer);
    w->buffer = NULL;
}

void skl_wal_wake_flusher(skl_wal_shm_t *shm)
{
    atomic_fetch_add(&shm->flush_word, 1);
    if (atomic_load(&shm->idle)) {
        skl_os_futex_wake(&shm->flush_word);
    }
}

/* ---- Texts --------------------------------------------------------------- */

void skl_wal_text_get(const skl_wal_text_t *t, char *out)
{
    for (size_t i = 0; i < SKL_WAL_TEXT / 8; i++) {
        const uint64_t word = SKL_LD(t->words[i]);

        memcpy(out + 8 * i, &word, sizeof(word));
    }
    out[SKL_WAL_TEXT - 1] = '\0';
}

void skl_wal_text_set(skl_wal_text_t *t, const char *text)
{
    uint64_t words[SKL_WAL_TEXT / 8] = {0};

    (void)snprintf((char *)words, sizeof(words), "%s", text);
    for (size_t i = 0; i < SKL_WAL_TEXT / 8; i++) {
        SKL_ST(t->words[i], words[i]);
    }
}

/* ---- Failing ------------------------------------------------------------- */

/* The file may hold anything now: whatever comes next goes into a new one. */
static void give_up_file(skl_wal_writer_t *w)
{
    close_file(w);
    SKL_ST(w->shm->seq, 0);
}

static int fail(skl_wal_writer_t *w, const char *call, int rc)
{
    skl_wal_shm_t *shm = w->shm;
    const int full = rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG;
    const int again = atomic_exchange(&shm->failed_before, 1) != 0;
    char text[SKL_WAL_TEXT];

    skl_assert(rc < 0);
    (void)snprintf(text, sizeof(text), "%.60s: %.90s", call, strerror(-rc));
    skl_wal_text_set(&shm->error, text);
    atomic_fetch_add(&shm->failures, 1);
    SKL_ST(shm->state, full ? SECKILL_LOG_FULL : SECKILL_LOG_FAILING);
    /* The first failure may be of one file only: the next one is tried at
     * once. */
    if (full || again) {
        SKL_ST(w->ring->shm->refuse, 1);
        SKL_ST(shm->retry_at,
               w->mono_now(w->ctx) + (full ? FULL_RETRY_NS : FAIL_RETRY_NS));
    }
    return full ? SECKILL_ENOSPACE : SECKILL_EIO;
}

static void succeed(skl_wal_shm_t *shm)
{
    if (SKL_LD(shm->state) != SECKILL_LOG_OK) {
        skl_wal_text_set(&shm->error, "");
        SKL_ST(shm->state, SECKILL_LOG_OK);
    }
    SKL_ST(shm->failed_before, 0);
    SKL_ST(shm->retry_at, 0);
}

/* ---- Room ---------------------------------------------------------------- */

typedef struct {
    uint64_t last_seq;
    uint32_t files, free_files;
} files_t;

static void see(void *arg, const char *name)
{
    files_t *f = arg;
    uint64_t seq;

    if (skl_wal_parse_name(name, "wal.", &seq)) {
        f->files++;
        f->last_seq = seq > f->last_seq ? seq : f->last_seq;
    } else if (skl_wal_parse_name(name, "free.", &seq)) {
        f->files++;
        f->free_files++;
    }
}

static int look(skl_wal_writer_t *w, files_t *f)
{
    memset(f, 0, sizeof(*f));
    return w->fs->list(w->fs, see, f);
}

/* The largest of the files that may be used again. */
typedef struct {
    skl_fs_t *fs;
    uint64_t bytes;
    char name[SKL_WAL_NAME]; /* "": there is none */
} largest_t;

static void see_free(void *arg, const char *name)
{
    largest_t *l = arg;
    uint64_t seq;
    int64_t size = 0;
    int fd;

    if (!skl_wal_parse_name(name, "free.", &seq)) {
        return;
    }
    fd = l->fs->open(l->fs, name, SKL_FS_READ);
    if (fd >= 0) {
        size = l->fs->size(l->fs, fd);
        (void)l->fs->close(l->fs, fd);
    }
    size = size > 0 ? size : 0;
    if (l->name[0] == '\0' || (uint64_t)size > l->bytes) {
        l->bytes = (uint64_t)size;
        (void)snprintf(l->name, sizeof(l->name), "%s", name);
    }
}

static int find_largest(skl_wal_writer_t *w, largest_t *l)
{
    memset(l, 0, sizeof(*l));
    l->fs = w->fs;
    return w->fs->list(w->fs, see_free, l);
}

static int has_room(const skl_wal_shm_t *shm, const files_t *f)
{
    return f->free_files > 0 ||
           (f->files + 1ULL) * shm->segment_bytes <= shm->max_bytes;
}

/* With half a segment left and no room for another one reserve is refused, so
 * that what was reserved can still be confirmed. */
static void check_room(skl_wal_writer_t *w)
{
    skl_wal_shm_t *shm = w->shm;
    files_t f;
    const uint64_t seq = SKL_LD(shm->seq);
    uint32_t refuse = 0;

    /* Only a new segment takes room away: once there was some, no new look. */
    if (seq == 0 ||
        (SKL_LD(shm->offset) > shm->segment_bytes / 2 && w->room_seq != seq)) {
        refuse = look(w, &f) == 0 && !has_room(shm, &f);
        w->room_seq = refuse ? 0 : seq;
    }
    SKL_ST(w->ring->shm->refuse, refuse);
}

/* ---- A new segment ------------------------------------------------------- */

static int write_zeros(skl_wal_writer_t *w, int fd, uint64_t from, uint64_t to)
{
    int rc = w->fs->allocate(w->fs, fd, from, to - from);

    while (rc == 0 && from < to) {
        const uint64_t n = to - from < ZEROS ? to - from : ZEROS;

        rc = skl_fs_write_all(w->fs, fd, zeros, (size_t)n, from);
        from += n;
    }
    return rc;
}

static uint64_t zeros_end(const skl_wal_shm_t *shm, uint64_t from)
{
    const uint64_t to = from + AHEAD;

    return to < shm->segment_bytes ? to : shm->segment_bytes;
}

/* A segment to come. */
typedef struct {
    uint64_t seq, salt, digest, first_lsn, zeroed;
    uint64_t batch; /* bytes of its first batch, in the buffer; 0: none yet */
    int always;     /* at the limit, too */
} plan_t;

static int write_header(skl_wal_writer_t *w, int fd, const plan_t *p)
{
    union {
        skl_wal_header_t h;
        char block[SKL_WAL_BLOCK];
    } u;

    memset(&u, 0, sizeof(u));
    memcpy(u.h.uuid, w->shm->uuid, sizeof(u.h.uuid));
    u.h.seq = p->seq;
    u.h.first_lsn = p->first_lsn;
    u.h.salt = p->salt;
    u.h.incarnation = w->shm->incarnation;
    u.h.created = w->ledger_now(w->ctx);
    u.h.digest = p->digest;
    skl_wal_header_seal(&u.h);
    return skl_fs_write_all(w->fs, fd, &u, sizeof(u), 0);
}

/* A file for the segment under a temporary name: one that was used before, or
 * a new one. Its descriptor, or -errno. */
static int take_file(skl_wal_writer_t *w, const files_t *f, uint64_t *zeroed)
{
    largest_t l = {0};
    int fd = -ENOENT;
    int rc = f->free_files > 0 ? find_largest(w, &l) : 0;

    if (rc != 0) {
        return rc;
    }
    (void)w->fs->unlink(w->fs, NEW_FILE); /* of a writer that died */
    if (l.name[0] != '\0' && w->fs->rename(w->fs, l.name, NEW_FILE) == 0) {
        fd = w->fs->open(w->fs, NEW_FILE, SKL_FS_WRITE);
    }
    if (fd >= 0) {
        *zeroed = l.bytes / SKL_WAL_BLOCK * SKL_WAL_BLOCK;
        return fd;
    }
    *zeroed = 0;
    return w->fs->open(w->fs, NEW_FILE, SKL_FS_CREATE);
}

/* Its first batch, where there is one: then it is whole from the beginning. */
static int write_first(skl_wal_writer_t *w, int fd, const plan_t *p)
{
    skl_batch_header_t *b = (void *)w->buffer;

    if (p->batch == 0) {
        return 0;
    }
    b->salt = p->salt;
    skl_batch_header_seal(b);
    return skl_fs_write_all(w->fs, fd, w->buffer, (size_t)p->batch,
                            SKL_WAL_BLOCK);
}

static int build_file(skl_wal_writer_t *w, int fd, plan_t *p)
{
    const uint64_t need = 2 * (uint64_t)SKL_WAL_BLOCK + p->batch;
    char name[SKL_WAL_NAME];
    int rc = 0;

#ifndef MUTANT_WAL_NAME_NOT_GONE
    /* Names of before that may not be durable yet, if a sync failed or a writer
     * died: the one of this file, whose header is overwritten now, and the one
     * of the segment before, because numbers must have no hole. */
    rc = w->fs->sync_dir(w->fs);
#endif
    if (rc == 0 && p->zeroed < need) {
        const uint64_t to = zeros_end(w->shm, need - SKL_WAL_BLOCK);

        rc = write_zeros(w, fd, 0, to);
        p->zeroed = to;
    }
    rc = rc == 0 ? write_header(w, fd, p) : rc;
    rc = rc == 0 ? write_first(w, fd, p) : rc;
    rc = rc == 0 ? w->fs->sync(w->fs, fd) : rc;
    skl_wal_name(name, "wal.", p->seq);
#ifdef MUTANT_WAL_NO_DIR_SYNC
    return rc == 0 ? w->fs->rename(w->fs, NEW_FILE, name) : rc;
#endif
    rc = rc == 0 ? w->fs->rename(w->fs, NEW_FILE, name) : rc;
    return rc == 0 ? w->fs->sync_dir(w->fs) : rc;
}

static void fill_header(skl_wal_writer_t *w, uint64_t first_lsn, uint32_t count,
                        uint32_t units)
{
    skl_batch_header_t *b = (void *)w->buffer;
    const uint64_t used = SKL_UNIT * (1ULL + units);

    memset(b, 0, sizeof(*b));
    b->salt = SKL_LD(w->shm->salt);
    b->first_lsn = first_lsn;
    b->durable = first_lsn - 1;
    b->count = count;
    b->units = units;
    b->time = w->ledger_now(w->ctx);
    b->clock_offset = w->clock_offset(w->ctx);
    memcpy(b->boot_id, w->shm->boot_id, sizeof(b->boot_id));
    skl_batch_header_seal(b);
    memset(w->buffer + used, 0, (size_t)(skl_batch_bytes(units) - used));
}

static void use_file(skl_wal_writer_t *w, int fd, const plan_t *p)
{
    skl_wal_shm_t *shm = w->shm;

    close_file(w);
    w->fd = fd;
    w->fd_seq = p->seq;
#ifdef MUTANT_FLUSH_SEQ_FIRST
    atomic_store(&shm->seq, p->seq);
#endif
    SKL_ST(shm->last_seq, p->seq);
    SKL_ST(shm->offset, SKL_WAL_BLOCK + p->batch);
    SKL_ST(shm->zeroed, p->zeroed);
    SKL_ST(shm->salt, p->salt);
    SKL_ST(shm->sealed, 1);
    SKL_ST(shm->syncing, 0);
    atomic_store(&shm->seq, p->seq);
}

static int begin_planned(skl_wal_writer_t *w, plan_t *p)
{
    files_t f;
    int fd, rc = look(w, &f);

    give_up_file(w);
    rc = rc == 0 ? skl_os_random(&p->salt, sizeof(p->salt)) : rc;
    if (rc != 0) {
        return fail(w, "list", rc);
    }
    SKL_ST(w->shm->last_seq, f.last_seq);
    if (!p->always && !has_room(w->shm, &f)) {
        return fail(w, "max_log_bytes", -ENOSPC);
    }
    fd = take_file(w, &f, &p->zeroed);
    if (fd < 0) {
        return fail(w, "create " NEW_FILE, fd);
    }
    p->seq = f.last_seq + 1;
    rc = build_file(w, fd, p);
    if (rc != 0) {
        (void)w->fs->close(w->fs, fd);
        return fail(w, "begin a segment", rc);
    }
    use_file(w, fd, p);
    return SECKILL_OK;
}

int skl_wal_begin_segment(skl_wal_writer_t *w, uint64_t digest)
{
    plan_t p = {.digest = digest, .first_lsn = skl_wal_durable(w->ring) + 1};

    return begin_planned(w, &p);
}

int skl_wal_begin_life(skl_wal_writer_t *w, uint64_t digest)
{
    plan_t p = {.digest = digest,
                .first_lsn = skl_wal_durable(w->ring) + 1,
                .batch = skl_batch_bytes(0)};

    fill_header(w, p.first_lsn, 0, 0);
    return begin_planned(w, &p);
}

/* Bring a batch into the buffer: 0, or -errno. */
static int read_batch(skl_wal_writer_t *w, uint64_t seq, uint64_t offset)
{
    const skl_batch_header_t *b = (const void *)w->buffer;
    char name[SKL_WAL_NAME];
    int fd, rc;

    skl_wal_name(name, "wal.", seq);
    fd = w->fs->open(w->fs, name, SKL_FS_READ);
    if (fd < 0) {
        return fd;
    }
    rc = skl_fs_read_all(w->fs, fd, w->buffer, SKL_UNIT, offset);
    if (rc == 0 && !skl_batch_header_valid(b, b->salt)) {
        rc = -EIO;
    }
    if (rc == 0) {
        rc = skl_fs_read_all(w->fs, fd, w->buffer + SKL_UNIT,
                             (size_t)b->units * SKL_UNIT, offset + SKL_UNIT);
    }
    (void)w->fs->close(w->fs, fd);
    return rc == 0 && !skl_batch_records_valid(b, w->buffer + SKL_UNIT) ? -EIO
                                                                        : rc;
}

int skl_wal_repeat_tail(skl_wal_writer_t *w, const skl_wal_end_t *end)
{
    const skl_batch_header_t *b = (const void *)w->buffer;
    plan_t p = {.always = 1}; /* nothing opens without it */
    uint64_t used;
    int rc;

    skl_assert(end->durable <= end->last_lsn);
    if (end->durable == end->last_lsn) {
        return SECKILL_OK;
    }
#ifdef MUTANT_WAL_TAIL_NOT_REPEATED
    return SECKILL_OK;
#endif
    rc = read_batch(w, end->batch_seq, end->batch_offset);
    if (rc != 0) {
        return fail(w, "read the last batch", rc);
    }
    skl_assert(b->first_lsn + b->count - 1 == end->last_lsn);
    used = SKL_UNIT * (1ULL + b->units);
    p.first_lsn = b->first_lsn;
    p.batch = skl_batch_bytes(b->units);
    memset(w->buffer + used, 0, (size_t)(p.batch - used));
    return begin_planned(w, &p);
}

/* ---- A batch ------------------------------------------------------------- */

/* The segment where the next batch goes, open for writing. */
static int ready(skl_wal_writer_t *w)
{
    const uint64_t seq = SKL_LD(w->shm->seq);
    char name[SKL_WAL_NAME];

#ifdef MUTANT_LOG_TAKEOVER_SAME_FILE
    atomic_store(&w->shm->syncing, 0);
#endif
    if (seq == 0 || atomic_load(&w->shm->syncing)) {
        return skl_wal_begin_segment(w, 0);
    }
    if (w->fd_seq != seq) {
        close_file(w);
        skl_wal_name(name, "wal.", seq);
        w->fd = w->fs->open(w->fs, name, SKL_FS_WRITE);
        if (w->fd < 0) {
            int rc = w->fd;

            give_up_file(w);
            return fail(w, "open a segment", rc);
        }
        w->fd_seq = seq;
    }
    return SECKILL_OK;
}

/* Copy records behind `lsn` out of the ring while they fit: how many, or
 * ECORRUPT. */
static int gather(skl_wal_writer_t *w, uint64_t lsn, uint32_t room,
                  uint32_t *units)
{
    const uint64_t tail = skl_ring_tail(w->ring);
    uint32_t at = 0;
    int count = 0;

    for (; lsn < tail; lsn++, count++) {
        char *to = w->buffer + (size_t)SKL_UNIT * (1 + at);
        skl_record_t *r = (void *)to;
        uint32_t n;

        if (!skl_ring_read(w->ring, lsn + 1, r) ||
            !skl_rec_valid(r, SKL_RECORD_MAX)) {
            return SECKILL_ECORRUPT;
        }
        n = skl_rec_units(r);
        if (at + n > room) {
            break;
        }
        memset(to + r->bytes, 0, (size_t)n * SKL_UNIT - r->bytes);
        at += n;
    }
    *units = at;
    return count;
}

static uint32_t room_units(const skl_wal_shm_t *shm)
{
    const uint64_t offset = SKL_LD(shm->offset);
    const uint64_t left =
        shm->segment_bytes > offset ? shm->segment_bytes - offset : 0;
    const uint64_t units = left / SKL_UNIT;

    if (units < 2) {
        return 0;
    }
    return units - 1 < SKL_BATCH_UNITS_MAX ? (uint32_t)(units - 1)
                                           : SKL_BATCH_UNITS_MAX;
}

/* The disk is full. A file that may be used again has its blocks: where one is
 * large enough for the batch, the next step goes there, at once: it takes that
 * file away and writes the batch, so this does not go round. Else the current
 * file is kept until the disk has room. */
static int no_space(skl_wal_writer_t *w, uint64_t bytes, int rc)
{
    largest_t l;
    const int found = find_largest(w, &l) == 0 && l.name[0] != '\0';
    const int code = fail(w, "write zeros", rc);

    skl_assert(code == SECKILL_ENOSPACE);
    if (found && l.bytes >= SKL_WAL_BLOCK + bytes) {
        give_up_file(w);
        SKL_ST(w->shm->retry_at, 0);
    }
    return code;
}

/* Zeros ahead of a batch at the offset. They can fail without harm. */
static int make_space(skl_wal_writer_t *w, uint64_t offset, uint64_t bytes)
{
    skl_wal_shm_t *shm = w->shm;
    const uint64_t zeroed = SKL_LD(shm->zeroed), end = offset + bytes;
    int rc;

    if (end <= zeroed) {
        return SECKILL_OK;
    }
    skl_assert(end <= shm->segment_bytes);
    rc = write_zeros(w, w->fd, zeroed, zeros_end(shm, end));
    if (rc == -ENOSPC || rc == -EDQUOT) {
        return no_space(w, bytes, rc);
    }
    if (rc != 0) {
        give_up_file(w);
        return fail(w, "write zeros", rc);
    }
    SKL_ST(shm->zeroed, zeros_end(shm, end));
    return SECKILL_OK;
}

/* Write what is in the buffer, and sync it. */
static int put_batch(skl_wal_writer_t *w, uint32_t units)
{
    skl_wal_shm_t *shm = w->shm;
    const uint64_t offset = SKL_LD(shm->offset);
    const uint64_t bytes = skl_batch_bytes(units);
    int64_t begin;
    int rc = make_space(w, offset, bytes);

    if (rc != SECKILL_OK) {
        return rc;
    }
    atomic_store(&shm->syncing, 1);
    rc = skl_fs_write_all(w->fs, w->fd, w->buffer, (size_t)bytes, offset);
    begin = w->mono_now(w->ctx);
#ifdef MUTANT_FLUSH_FLAG_EARLY
    atomic_store(&shm->syncing, 0);
#endif
    rc = rc == 0 ? w->fs->sync(w->fs, w->fd) : rc;
#ifdef MUTANT_WAL_RESYNC_AFTER_ERROR
    rc = rc != 0 ? w->fs->sync(w->fs, w->fd) : rc;
#endif
    if (rc != 0) {
        give_up_file(w);
        return fail(w, "write a batch", rc);
    }
    atomic_fetch_add_explicit(&shm->sync_ns,
                              (uint64_t)(w->mono_now(w->ctx) - begin),
                              memory_order_relaxed);
    SKL_ST(shm->offset, offset + bytes);
    return SECKILL_OK;
}

/* The records are on disk: say so to everybody. */
static void publish(skl_wal_writer_t *w, uint64_t lsn, uint32_t count)
{
    skl_wal_shm_t *shm = w->shm;

    atomic_store_explicit(&w->ring->shm->flushed, lsn, memory_order_release);
    atomic_store(&shm->syncing, 0);
    atomic_fetch_add_explicit(&shm->batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&shm->records, count, memory_order_relaxed);
    atomic_fetch_add(&shm->durable_word, 1);
    if (atomic_load(&shm->waiting)) {
        atomic_store(&shm->waiting, 0);
        skl_os_futex_wake(&shm->durable_word);
    }
}

static int flush_records(skl_wal_writer_t *w)
{
    const uint64_t durable = skl_wal_durable(w->ring);
    uint32_t units = 0;
    int count, rc = ready(w);

    if (rc != SECKILL_OK) {
        return rc;
    }
    count = gather(w, durable, room_units(w->shm), &units);
    if (count == 0) { /* the segment is full */
        rc = skl_wal_begin_segment(w, 0);
        if (rc != SECKILL_OK) {
            return rc;
        }
        count = gather(w, durable, room_units(w->shm), &units);
    }
    if (count < 0) {
        return fail(w, "a record is damaged in memory", -EIO);
    }
    skl_assert(count > 0 && units > 0);
    fill_header(w, durable + 1, (uint32_t)count, units);
#ifdef MUTANT_WAL_ACK_BEFORE_SYNC
    publish(w, durable + (uint64_t)count, (uint32_t)count);
#endif
    rc = put_batch(w, units);
    if (rc != SECKILL_OK) {
        return rc;
    }
    SKL_ST(w->shm->sealed, 0);
    succeed(w->shm);
    publish(w, durable + (uint64_t)count, (uint32_t)count);
    SKL_ST(w->shm->quiet_since, w->mono_now(w->ctx));
    check_room(w);
    return count;
}

/* Nothing waits to be written, and the last try failed. */
static int heal(skl_wal_writer_t *w)
{
    int rc;

    skl_assert(skl_ring_tail(w->ring) >= skl_wal_durable(w->ring));
    rc = skl_wal_begin_segment(w, 0);
    if (rc == SECKILL_OK) {
        succeed(w->shm);
        check_room(w);
    }
    return rc;
}

/* After a while without records: a batch that says that all was durable, so
 * that damage to the last one is not taken for a torn tail. */
static int rest(skl_wal_writer_t *w, int64_t now)
{
    skl_wal_shm_t *shm = w->shm;
    int rc;

    if (SKL_LD(shm->state) != SECKILL_LOG_OK) {
        return heal(w);
    }
    if (SKL_LD(w->ring->shm->refuse)) {
        check_room(w);
    }
    if (SKL_LD(shm->sealed) || now - SKL_LD(shm->quiet_since) < SEAL_AFTER_NS ||
        room_units(shm) < 1 + SKL_WAL_BLOCK / SKL_UNIT || ready(w) != 0) {
        return 0;
    }
    if (SKL_LD(shm->sealed)) { /* ready() began a segment */
        return 0;
    }
    fill_header(w, skl_wal_durable(w->ring) + 1, 0, 0);
    rc = put_batch(w, 0);
    if (rc != SECKILL_OK) {
        return rc;
    }
    atomic_store(&shm->syncing, 0);
    SKL_ST(shm->sealed, 1);
    return 0;
}

int skl_wal_flush(skl_wal_writer_t *w)
{
    const int64_t retry_at = SKL_LD(w->shm->retry_at);
    const int64_t now = w->mono_now(w->ctx);

    skl_assert(w->buffer != NULL && w->shm->segment_bytes > 0);
    if (retry_at != 0 && now < retry_at) {
        return 0;
    }
    return skl_ring_tail(w->ring) > skl_wal_durable(w->ring) ? flush_records(w)
                                                             : rest(w, now);
}
