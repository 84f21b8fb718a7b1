/* The log of the overlay; see overlay_log.h. */
#include "io/overlay_log.h"

#include "acl/overlay_record.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "io/fs.h"
#include "io/list_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_NS SKL_NS_PER_SEC
#define WRITEBACK_NS SKL_NS_PER_SEC
#define LOCK_PAUSE_NS SKL_NS_PER_MS

enum {
    CHUNK = 1024,     /* records moved at once */
    SLACK = 256,      /* a shorter file is never written anew for its size */
    LOCK_TRIES = 5000 /* of 1 ms */
};
enum { DIR_MAX = 256, NAME_BYTES = SECKILL_NAME_MAX + 16 };

typedef struct {
    int fd; /* -1: to be written anew first */
    int dirty;
    uint64_t records;
    uint64_t covered; /* changes below this are in it */
} file_t;

struct skl_overlay_log {
    skl_lists_t *lists;
    skl_fs_t *fs; /* NULL: not opened yet */
    uint64_t pos; /* of the changes */
    int began;
    int pad;
    int64_t retry_at, writeback_at; /* mono */
    char dir[DIR_MAX];
    file_t files[SKL_OVERLAY_LISTS];
    skl_overlay_change_t changes[CHUNK];
    unsigned char bytes[CHUNK * SKL_OVERLAY_RECORD];
};

static void file_name(const skl_list_slot_t *slot, char out[NAME_BYTES])
{
    (void)snprintf(out, NAME_BYTES, "%.32s.overlay", slot->name);
}

static int failed(int rc, const char *call, const char *name, char *err,
                  size_t size)
{
    (void)snprintf(err, size, "%s lists/%s: %s", call, name, strerror(-rc));
    return rc == -ENOMEM ? SECKILL_ENOMEM : SECKILL_EIO;
}

/* ---- Restoring ----------------------------------------------------------- */

typedef struct {
    struct seckill_list *list;
    int64_t now_ns;
    uint64_t lost;
    skl_overlay_reader_t reader;
    unsigned char bytes[CHUNK * SKL_OVERLAY_RECORD];
} restore_t;

/* The lock is held by others for microseconds. */
static int take_changes(void *ctx, const skl_overlay_change_t *changes, int n)
{
    restore_t *r = ctx;
    skl_overlay_t *o = &r->list->lists->overlay;
    int rc = SECKILL_EBUSY;

    if (!r->reader.has_head) {
        return 0;
    }
    for (int i = 0; rc == SECKILL_EBUSY && i < LOCK_TRIES; i++) {
        rc = skl_overlay_restore(o, r->list->number, changes, n, r->now_ns);
    }
    r->lost += rc > 0 ? (uint64_t)rc : 0;
    return rc < 0 ? rc : 0;
}

static int read_records(restore_t *r, skl_fs_t *fs, int fd)
{
    const int64_t size = fs->size(fs, fd);
    uint64_t left;
    uint64_t at = 0;
    int rc = 0;

    if (size < 0) {
        return (int)size;
    }
    left = (uint64_t)size / SKL_OVERLAY_RECORD;
    while (left > 0 && rc == 0) {
        const size_t n = left < CHUNK ? (size_t)left : CHUNK;

        rc = skl_fs_read_all(fs, fd, r->bytes, n * SKL_OVERLAY_RECORD, at);
        for (size_t i = 0; i < n && rc == 0; i++) {
            rc = skl_overlay_read_record(&r->reader,
                                         r->bytes + i * SKL_OVERLAY_RECORD);
        }
        at += n * SKL_OVERLAY_RECORD;
        left -= n;
    }
    skl_overlay_read_end(&r->reader);
    return rc;
}

static int read_file(restore_t *r, skl_fs_t *fs, const char *name, char *err,
                     size_t size)
{
    int fd = fs->open(fs, name, SKL_FS_READ);
    int rc;

    if (fd < 0) {
        return fd == -ENOENT ? SECKILL_OK : failed(fd, "open", name, err, size);
    }
    rc = read_records(r, fs, fd);
    (void)fs->close(fs, fd);
    if (rc == SECKILL_EBUSY) {
        return rc;
    }
    if (rc != 0) {
        return failed(rc, "read", name, err, size);
    }
    if (r->reader.records > 0 && !r->reader.has_head) {
        rc = skl_fs_lose(fs, name);
        if (rc != 0) {
            return failed(rc, "put aside", name, err, size);
        }
    }
    return SECKILL_OK;
}

static int restore_from(restore_t *r, const char *dir, char *err, size_t size)
{
    char path[DIR_MAX], name[NAME_BYTES];
    skl_overlay_t *o = &r->list->lists->overlay;
    skl_overlay_list_t *mine = &o->lists[r->list->number];
    skl_fs_t *fs;
    int rc;

    (void)snprintf(path, sizeof(path), "%s/lists", dir);
    rc = skl_fs_open_dir(path, &fs);
    if (rc != 0) {
        return rc == -ENOENT ? SECKILL_OK : failed(rc, "open", "", err, size);
    }
    file_name(r->list->slot, name);
    skl_overlay_read_begin(&r->reader,
                           skl_list_owner(r->list->lists, r->list->slot),
                           take_changes, r);
    rc = read_file(r, fs, name, err, size);
    skl_fs_close_dir(fs);
    atomic_store(&mine->unusable, r->reader.unusable + r->lost);
    return rc;
}

static int take_lock(skl_lock_t *lock)
{
    int rc = skl_lock_try(lock, NULL, NULL);

    for (int i = 0; rc == SECKILL_EBUSY && i < LOCK_TRIES; i++) {
        skl_os_pause(LOCK_PAUSE_NS);
        rc = skl_lock_try(lock, NULL, NULL);
    }
    return rc;
}

int skl_overlay_log_restore(const char *dir, struct seckill_list *list,
                            int64_t now_ns, char *err, size_t size)
{
    skl_overlay_list_t *mine = &list->lists->overlay.lists[list->number];
    restore_t *r;
    int rc;

    skl_assert(list->number < list->lists->overlay.shm->lists);
    if (dir[0] == '\0') {
        atomic_store(&mine->restored, 1);
    }
    if (atomic_load(&mine->restored)) {
        return SECKILL_OK;
    }
    r = calloc(1, sizeof(*r));
    rc = r == NULL ? SECKILL_ENOMEM : take_lock(&list->slot->load_lock);
    if (rc != SECKILL_OK) {
        free(r);
        return rc;
    }
    if (!atomic_load(&mine->restored)) {
        r->list = list;
        r->now_ns = now_ns;
        rc = restore_from(r, dir, err, size);
        if (rc == SECKILL_OK) {
            atomic_store(&mine->restored, 1);
        }
    }
    skl_lock_release(&list->slot->load_lock);
    free(r);
    return rc;
}

/* ---- Writing ------------------------------------------------------------- */

skl_overlay_log_t *skl_overlay_log_new(const char *dir, skl_lists_t *lists)
{
    skl_overlay_log_t *log = calloc(1, sizeof(*log));

    skl_assert(dir[0] == '/');
    if (log == NULL) {
        return NULL;
    }
    log->lists = lists;
    (void)snprintf(log->dir, sizeof(log->dir), "%.240s/lists", dir);
    for (int i = 0; i < SKL_OVERLAY_LISTS; i++) {
        log->files[i].fd = -1;
    }
    return log;
}

static void close_files(skl_overlay_log_t *log)
{
    for (int i = 0; i < SKL_OVERLAY_LISTS; i++) {
        if (log->files[i].fd >= 0) {
            (void)log->fs->close(log->fs, log->files[i].fd);
        }
        log->files[i] = (file_t){.fd = -1};
    }
}

void skl_overlay_log_leave(skl_overlay_log_t *log)
{
    close_files(log);
    skl_fs_close_dir(log->fs);
    log->fs = NULL;
    log->began = 0;
}

void skl_overlay_log_free(skl_overlay_log_t *log)
{
    if (log != NULL) {
        skl_overlay_log_leave(log);
        free(log);
    }
}

/* Root makes it for the owner of the directory above. */
static int make_dir(const skl_overlay_log_t *log)
{
    char above[DIR_MAX];
    struct stat st;
    int fd, rc = skl_os_mkdir(log->dir, 0700);

    if (rc != 0) {
        return rc == -EEXIST ? 0 : rc;
    }
    (void)snprintf(above, sizeof(above), "%.*s",
                   (int)(strlen(log->dir) - strlen("/lists")), log->dir);
    rc = skl_os_stat(above, &st);
    if (rc != 0 || st.st_uid == geteuid()) {
        return rc;
    }
    fd = skl_os_open(log->dir, O_RDONLY | O_DIRECTORY, 0);
    rc = fd < 0 ? fd : skl_os_fchown(fd, st.st_uid, st.st_gid);
    if (fd >= 0) {
        (void)skl_os_close(fd);
    }
    return rc;
}

static int open_dir(skl_overlay_log_t *log, char *err, size_t size)
{
    int rc = 0;

    if (log->fs == NULL) {
        rc = make_dir(log);
        rc = rc == 0 ? skl_fs_open_dir(log->dir, &log->fs) : rc;
    }
    return rc == 0 ? SECKILL_OK : failed(rc, "make", "", err, size);
}

/* The scan may have seen half of a batch that is on its way into the table. The
 * changes since *covered behind it make that whole: what is in the table is
 * certain. -1: too many came, or more than the ring has. */
static int add_changes(skl_overlay_log_t *log, uint32_t number, size_t room,
                       unsigned char *out, size_t *records, uint64_t *covered)
{
    const skl_overlay_t *o = &log->lists->overlay;
    int got;

    while ((got = skl_overlay_certain(o, covered, log->changes, CHUNK)) > 0) {
        for (int i = 0; i < got; i++) {
            if (log->changes[i].list != number) {
                continue;
            }
            if (*records == room) {
                return -1;
            }
            skl_overlay_encode(&log->changes[i],
                               out + (*records)++ * SKL_OVERLAY_RECORD);
        }
    }
    return got;
}

/* Head, revision and all entries of a list, in memory of *n bytes that the
 * caller frees; *covered: changes below it are in there. NULL: no memory. */
static unsigned char *image_of(skl_overlay_log_t *log, uint32_t number,
                               size_t *n, uint64_t *covered)
{
    const skl_overlay_t *o = &log->lists->overlay;
    const skl_overlay_change_t revision = {
        .fp = atomic_load(&o->lists[number].revision),
        .type = SKL_CHANGE_BATCH};
    const size_t room = (size_t)o->shm->capacity + SKL_OVERLAY_RING;
    unsigned char *out = malloc(room * SKL_OVERLAY_RECORD);
    const uint64_t start = *covered;
    size_t records = 0, scanned;
    uint64_t at = 0;
    int got;

    if (out == NULL) {
        return NULL;
    }
    skl_overlay_head(
        skl_list_owner(log->lists, &log->lists->shm->slots[number]), out);
    records++;
    if (revision.fp != 0) {
        skl_overlay_encode(&revision, out + records++ * SKL_OVERLAY_RECORD);
    }
    while (records < room &&
           (got = skl_overlay_scan(
                o, number, &at, log->changes,
                (int)(room - records < CHUNK ? room - records : CHUNK))) > 0) {
        for (int i = 0; i < got; i++) {
            skl_overlay_encode(&log->changes[i],
                               out + records++ * SKL_OVERLAY_RECORD);
        }
    }
    if (records == room) { /* more came and went than can be: look again */
        free(out);
        return NULL;
    }
    scanned = records;
    if (add_changes(log, number, room, out, &records, covered) < 0) {
        /* Not with the revision of a batch of which it has half. */
        records = scanned;
        *covered = start;
    }
    *n = records * SKL_OVERLAY_RECORD;
    return out;
}

/* Write a list's file anew, and leave it open. */
static int rewrite(skl_overlay_log_t *log, uint32_t number, char *err,
                   size_t size)
{
    uint64_t covered = atomic_load(&log->lists->overlay.shm->applied);
    file_t *f = &log->files[number];
    char name[NAME_BYTES];
    unsigned char *image;
    size_t n = 0;
    int rc;

    skl_assert(log->fs != NULL && number < log->lists->overlay.shm->lists);
    if (f->fd >= 0) {
        (void)log->fs->close(log->fs, f->fd);
        f->fd = -1;
    }
    image = image_of(log, number, &n, &covered);
    if (image == NULL) {
        return failed(-ENOMEM, "write", "", err, size);
    }
    file_name(&log->lists->shm->slots[number], name);
    rc = skl_fs_replace(log->fs, name, image, n);
    free(image);
    f->fd = rc == 0 ? log->fs->open(log->fs, name, SKL_FS_WRITE) : rc;
    if (f->fd < 0) {
        rc = f->fd;
        f->fd = -1;
        return failed(rc, "write", name, err, size);
    }
    f->records = n / SKL_OVERLAY_RECORD;
    f->covered = covered;
    f->dirty = 0;
    return SECKILL_OK;
}

static int append(skl_overlay_log_t *log, uint32_t number, size_t records,
                  char *err, size_t size)
{
    file_t *f = &log->files[number];
    char name[NAME_BYTES];
    int rc;

    if (records == 0) {
        return SECKILL_OK;
    }
    skl_assert(f->fd >= 0 && records <= CHUNK);
    rc = skl_fs_write_all(log->fs, f->fd, log->bytes,
                          records * SKL_OVERLAY_RECORD,
                          f->records * SKL_OVERLAY_RECORD);
    if (rc != 0) {
        file_name(&log->lists->shm->slots[number], name);
        return failed(rc, "write", name, err, size);
    }
    f->records += records;
    f->dirty = 1;
    return SECKILL_OK;
}

/* Changes `from` to `to` of the chunk are of one list; `first` is the number of
 * the first. */
static int write_run(skl_overlay_log_t *log, int from, int to, uint64_t first,
                     char *err, size_t size)
{
    const uint32_t number = log->changes[from].list;
    skl_overlay_change_t *copy = log->changes;
    file_t *f;
    size_t n = 0;

    skl_assert(number < log->lists->overlay.shm->lists);
    f = &log->files[number];
    for (int i = from; i < to; i++) {
        if (first + (uint64_t)(i - from) >= f->covered) {
            skl_overlay_encode(&copy[i], log->bytes + n++ * SKL_OVERLAY_RECORD);
        }
    }
    return append(log, number, n, err, size);
}

/* Whatever of the chunk's lists has no file in hand gets one. */
static int open_files(skl_overlay_log_t *log, int n, char *err, size_t size)
{
    uint8_t wanted[SKL_OVERLAY_LISTS] = {0};
    int rc = SECKILL_OK;

    for (int i = 0; i < n; i++) {
        wanted[log->changes[i].list % SKL_OVERLAY_LISTS] = 1;
    }
    for (uint32_t l = 0; l < SKL_OVERLAY_LISTS && rc == SECKILL_OK; l++) {
        if (wanted[l] && log->files[l].fd < 0) {
            rc = rewrite(log, l, err, size);
        }
    }
    return rc;
}

/* One chunk from the ring: how many, or a code. */
static int write_chunk(skl_overlay_log_t *log, char *err, size_t size)
{
    const skl_overlay_t *o = &log->lists->overlay;
    uint64_t first = log->pos, pos = log->pos;
    int n = skl_overlay_changes(o, &pos, log->changes, CHUNK);
    int rc, from = 0;

    if (n <= 0) {
        return n < 0 ? SECKILL_EFULL : 0;
    }
    skl_assert(pos == first + (uint64_t)n);
    rc = open_files(log, n, err, size);
    /* Writing anew has used the chunk's memory. */
    pos = first;
    if (rc == SECKILL_OK &&
        skl_overlay_changes(o, &pos, log->changes, n) != n) {
        return SECKILL_EFULL;
    }
    for (int i = 1; i <= n && rc == SECKILL_OK; i++) {
        if (i == n || log->changes[i].list != log->changes[from].list) {
            rc = write_run(log, from, i, first + (uint64_t)from, err, size);
            from = i;
        }
    }
    log->pos = rc == SECKILL_OK ? pos : log->pos;
    return rc == SECKILL_OK ? n : rc;
}

/* The ring was too short: every list anew. */
static int rewrite_all(skl_overlay_log_t *log, char *err, size_t size)
{
    const skl_overlay_t *o = &log->lists->overlay;
    const uint64_t pos = atomic_load(&o->shm->applied);
    int rc = SECKILL_OK;

    for (uint32_t l = 0; l < o->shm->lists && rc == SECKILL_OK; l++) {
        if (atomic_load(&o->lists[l].restored)) {
            rc = rewrite(log, l, err, size);
        }
    }
    log->pos = pos;
    return rc;
}

/* Files that are mostly of the past. */
static int trim_files(skl_overlay_log_t *log, char *err, size_t size)
{
    const skl_overlay_t *o = &log->lists->overlay;
    int rc = SECKILL_OK;

    for (uint32_t l = 0; l < o->shm->lists && rc == SECKILL_OK; l++) {
        const file_t *f = &log->files[l];

        if (f->fd >= 0 &&
            f->records > 2 * (uint64_t)skl_overlay_live(o, l) + SLACK) {
            rc = rewrite(log, l, err, size);
        }
    }
    return rc;
}

static void start_writeback(skl_overlay_log_t *log, int64_t mono_now)
{
    if (mono_now < log->writeback_at) {
        return;
    }
    for (uint32_t l = 0; l < log->lists->overlay.shm->lists; l++) {
        file_t *f = &log->files[l];

        if (f->fd >= 0 && f->dirty) {
            skl_os_start_writeback(f->fd);
            f->dirty = 0;
            log->writeback_at = mono_now + WRITEBACK_NS;
        }
    }
}

static int write_new(skl_overlay_log_t *log, char *err, size_t size)
{
    skl_overlay_shm_t *shm = log->lists->overlay.shm;
    int rc = open_dir(log, err, size);

    if (rc != SECKILL_OK) {
        return rc;
    }
    do {
        rc = write_chunk(log, err, size);
    } while (rc > 0);
    rc = rc == SECKILL_EFULL ? rewrite_all(log, err, size) : rc;
    rc = rc == SECKILL_OK ? trim_files(log, err, size) : rc;
    if (rc == SECKILL_OK) {
        atomic_store(&shm->saved, log->pos);
    }
    return rc;
}

int skl_overlay_log_step(skl_overlay_log_t *log, int64_t mono_now, char *err,
                         size_t size)
{
    skl_overlay_shm_t *shm = log->lists->overlay.shm;
    int rc = SECKILL_OK;

    skl_assert(mono_now >= 0);
    if (mono_now < log->retry_at) {
        return SECKILL_OK;
    }
    if (!log->began) {
        log->pos = atomic_load(&shm->saved);
        log->began = 1;
    }
    if (log->pos != atomic_load(&shm->applied)) {
        rc = write_new(log, err, size);
    }
    if (rc != SECKILL_OK) {
        skl_overlay_log_leave(log);
        log->retry_at = mono_now + RETRY_NS;
        return rc;
    }
    start_writeback(log, mono_now);
    return SECKILL_OK;
}
