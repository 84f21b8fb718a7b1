/*
 * Death of the flusher at any instruction, and of the rebuild of an item.
 *
 * How it works. For each step of the flusher below a child makes it one
 * instruction at a time (stepper.h), on a ring and a log section in shared
 * memory and segments of 16 KiB in a directory on a tmpfs. A page that the
 * child's file calls write to tells the parent when the files have changed and
 * what fdatasync and fsync have made durable; so the parent knows at any
 * instruction what a power loss would leave. At each instruction after which
 * shared bytes or files are others the child is dead for the parent: on a
 * copy of the bytes, and a simulated disk with the same files, another writer
 * goes on, flushes all and one record more, then reader and recovery look:
 *   - without power at that instruction no record up to `flushed` is missing;
 *   - the records of the ring are there, each once, in order, as they were;
 *   - so they are when the power fails after that, and also when the sync that
 *     the dead one was in had failed and the kernel has told nobody;
 *   - what recovery makes of them are the tables, byte by byte.
 * At sampled instructions the child is really killed, and the next writer goes
 * on in the same memory and the same files. Then that one dies, too, at each
 * of its instructions.
 *
 * Recovery, snapshots and cursors change nothing but by calls of io/fs.h: for
 * them death at any instruction is death between two calls. power_test.c does
 * that, at each call.
 *
 * SECKILL_FULL=1 samples far more. A stepped sanitizer proves nothing more:
 * variants: rel
 */
/* runs: long */
#include "io/recover.h"
#include "io/wal_write.h"
#include "stock/commit.h"
#include "stock/rebuild.h"
#include "test/support/crash.h"
#include "test/support/logdir.h"
#include "test/support/scratch.h"
#include "test/support/simdisk.h"
#include "test/support/stepper.h"
#include "test/support/tap.h"

#include <errno.h>
#include <fcntl.h>

enum {
    LOG_UNITS = 128,
    SEGMENT = 16384,
    FILES = 16,
    RECORDS = 128,
    CHANGES_MAX = 4096,
    PATIENCE = 12, /* steps until all is flushed */
    NOT_LOST = 0,
    LOST = 1
};

/* A file of the directory: its content for processes, and on the disk. */
typedef struct {
    ino_t ino;
    int seen;
    char name[SKL_WAL_NAME], durable[SKL_WAL_NAME];
    unsigned char *cache, *disk;
    uint64_t cache_size, disk_size;
} file_t;

/* Written by the child's file calls. */
typedef struct {
    _Atomic uint32_t changes, syncs, dir_syncs;
    _Atomic int synced; /* descriptor of the last sync */
} probe_t;

typedef struct run run_t;

typedef struct {
    void (*prepare)(run_t *);
    int calls;      /* of skl_wal_flush */
    int new_writer; /* of a process that takes over */
    int fails;      /* syncs that fail */
    int twice;      /* the next writer dies, too; SECKILL_FULL=1: always */
} case_t;

struct run {
    const case_t *c;
    char dir[128];
    skl_fs_t *fs;
    logdir_t d;
    unsigned char *base, *copy; /* log section, then ring */
    size_t bytes, ring_at;
    skl_wal_shm_t *wal;
    skl_wal_writer_t writer;
    int64_t mono;
    skl_record_t records[RECORDS]; /* [i] is of LSN i + 1 */
    uint64_t tail;                 /* of the ring */
    file_t files[FILES];
    int file_count;
    uint32_t changes, syncs, dir_syncs; /* of the probe, as noted */
    uint64_t random;
    long points, states, kills, second_deaths;
    long changed[CHANGES_MAX];
    size_t changed_count;
    char why[256];
};

/* Stepped, `rep stosb` is an instruction for each byte: have memset and memcpy
 * without it. They are chosen when a program starts. */
__attribute__((constructor)) static void start_again(int argc, char **argv)
{
    if (argc > 0 && getenv("GLIBC_TUNABLES") == NULL) {
        (void)setenv("GLIBC_TUNABLES",
                     "glibc.cpu.x86_rep_stosb_threshold=1073741824:"
                     "glibc.cpu.x86_rep_movsb_threshold=1073741824",
                     1);
        (void)execv("/proc/self/exe", argv);
    }
}

static probe_t *probe;
static skl_fs_t real; /* the calls that are watched */
static int fails;

static int no(run_t *t, const char *what)
{
    if (t->why[0] == '\0') {
        snprintf(t->why, sizeof(t->why), "%s", what);
    }
    return 0;
}

static uint64_t next_random(run_t *t)
{
    return logdir_random(&t->random);
}

/* ---- File calls, watched ------------------------------------------------- */

static int seen_open(skl_fs_t *fs, const char *name, int mode)
{
    const int fd = real.open(fs, name, mode);

    atomic_fetch_add(&probe->changes, mode == SKL_FS_CREATE);
    return fd;
}

static ssize_t seen_pwrite(skl_fs_t *fs, int fd, const void *from, size_t n,
                           uint64_t at)
{
    const ssize_t done = real.pwrite(fs, fd, from, n, at);

    atomic_fetch_add(&probe->changes, 1);
    return done;
}

static int seen_sync(skl_fs_t *fs, int fd)
{
    int rc;

    if (fails > 0) {
        fails--;
        return -EIO;
    }
    rc = real.sync(fs, fd);
    atomic_store(&probe->synced, fd);
    atomic_fetch_add(&probe->syncs, rc == 0);
    return rc;
}

static int seen_allocate(skl_fs_t *fs, int fd, uint64_t at, uint64_t n)
{
    const int rc = real.allocate(fs, fd, at, n);

    atomic_fetch_add(&probe->changes, 1);
    return rc;
}

static int seen_rename(skl_fs_t *fs, const char *from, const char *to)
{
    const int rc = real.rename(fs, from, to);

    atomic_fetch_add(&probe->changes, 1);
    return rc;
}

static int seen_unlink(skl_fs_t *fs, const char *name)
{
    const int rc = real.unlink(fs, name);

    atomic_fetch_add(&probe->changes, rc == 0);
    return rc;
}

static int seen_sync_dir(skl_fs_t *fs)
{
    const int rc = real.sync_dir(fs);

    atomic_fetch_add(&probe->dir_syncs, rc == 0);
    return rc;
}

static void watch(skl_fs_t *fs)
{
    real = *fs;
    fs->open = seen_open;
    fs->pwrite = seen_pwrite;
    fs->sync = seen_sync;
    fs->allocate = seen_allocate;
    fs->rename = seen_rename;
    fs->unlink = seen_unlink;
    fs->sync_dir = seen_sync_dir;
}

/* ---- What is in the directory -------------------------------------------- */

static uint64_t slurp(const char *path, unsigned char **out)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    ssize_t n;

    logdir_must(fd >= 0 && fstat(fd, &st) == 0, path);
    *out = realloc(*out, (size_t)st.st_size + 1);
    n = read(fd, *out, (size_t)st.st_size);
    logdir_must(n == st.st_size, path);
    (void)close(fd);
    return (uint64_t)n;
}

static file_t *file_of(run_t *t, ino_t ino)
{
    for (int i = 0; i < t->file_count; i++) {
        if (t->files[i].ino == ino) {
            return &t->files[i];
        }
    }
    logdir_must(t->file_count < FILES, "too many files");
    memset(&t->files[t->file_count], 0, sizeof(file_t));
    t->files[t->file_count].ino = ino;
    return &t->files[t->file_count++];
}

static void see_name(void *arg, const char *name)
{
    run_t *t = arg;
    char path[200];
    struct stat st;
    file_t *f;

    if (strncmp(name, "wal.", 4) != 0 && strncmp(name, "free.", 5) != 0) {
        return;
    }
    snprintf(path, sizeof(path), "%s/%s", t->dir, name);
    logdir_must(stat(path, &st) == 0, path);
    f = file_of(t, st.st_ino);
    f->seen = 1;
    snprintf(f->name, sizeof(f->name), "%s", name);
    f->cache_size = slurp(path, &f->cache);
}

static void look(run_t *t)
{
    for (int i = 0; i < t->file_count; i++) {
        t->files[i].seen = 0;
    }
    logdir_must(real.list(t->fs, see_name, t) == 0, "list");
    for (int i = 0; i < t->file_count; i++) {
        if (!t->files[i].seen) {
            t->files[i].name[0] = '\0';
        }
    }
}

/* The descriptor is of this process. */
static void note_sync(run_t *t, pid_t pid, int fd)
{
    char path[64];
    struct stat st;
    file_t *f;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
    logdir_must(stat(path, &st) == 0, path);
    f = file_of(t, st.st_ino);
    f->disk_size = slurp(path, &f->disk);
}

static void note_dir_sync(run_t *t)
{
    for (int i = 0; i < t->file_count; i++) {
        memcpy(t->files[i].durable, t->files[i].name, SKL_WAL_NAME);
    }
}

/* All that is there is durable. */
static void note_all(run_t *t)
{
    look(t);
    note_dir_sync(t);
    for (int i = 0; i < t->file_count; i++) {
        file_t *f = &t->files[i];

        f->disk = realloc(f->disk, f->cache_size + 1);
        memcpy(f->disk, f->cache, f->cache_size);
        f->disk_size = f->cache_size;
    }
}

/* What has process `pid` done to the files since the last look? 1: something.
 */
static int note_changes(run_t *t, pid_t pid)
{
    const uint32_t changes = atomic_load(&probe->changes);
    const uint32_t syncs = atomic_load(&probe->syncs);
    const uint32_t dir_syncs = atomic_load(&probe->dir_syncs);
    const int any =
        changes != t->changes || syncs != t->syncs || dir_syncs != t->dir_syncs;

    if (changes != t->changes) {
        look(t);
    }
    if (syncs != t->syncs) {
        note_sync(t, pid, atomic_load(&probe->synced));
    }
    if (dir_syncs != t->dir_syncs) {
        note_dir_sync(t);
    }
    t->changes = changes;
    t->syncs = syncs;
    t->dir_syncs = dir_syncs;
    return any;
}

/* A disk with these files; lost: what was not synced never will be. */
static simdisk_t *disk_of(run_t *t, int lost)
{
    simdisk_t *d = simdisk_new(next_random(t));

    for (int i = 0; i < t->file_count; i++) {
        const file_t *f = &t->files[i];
        const simdisk_file_t file = {f->name, f->durable,    f->cache,
                                     f->disk, f->cache_size, f->disk_size,
                                     lost};

        if (f->name[0] != '\0' || f->durable[0] != '\0') {
            simdisk_load(d, &file);
        }
    }
    return d;
}

/* ---- A ledger with its log ----------------------------------------------- */

static int64_t ledger_now(void *ctx)
{
    return ((run_t *)ctx)->d.now;
}

static int64_t clock_offset(void *ctx)
{
    (void)ctx;
    return LOGDIR_T0;
}

static int64_t mono_now(void *ctx)
{
    return ((run_t *)ctx)->mono;
}

static void new_writer(run_t *t, skl_wal_writer_t *w, skl_fs_t *fs,
                       skl_wal_shm_t *wal, skl_ring_t *ring)
{
    logdir_must(skl_wal_writer_init(w, fs, wal, ring) == SECKILL_OK, "writer");
    w->ctx = t;
    w->ledger_now = ledger_now;
    w->clock_offset = clock_offset;
    w->mono_now = mono_now;
}

static void take_over(run_t *t)
{
    skl_wal_writer_free(&t->writer);
    new_writer(t, &t->writer, t->fs, t->wal, &t->d.stock.ring);
}

/* Remember the new records. */
static void note_records(run_t *t)
{
    t->tail = skl_ring_tail(&t->d.stock.ring);
    logdir_must(t->tail < RECORDS, "raise RECORDS");
    for (uint64_t lsn = 1; lsn <= t->tail; lsn++) {
        skl_record_t *r = &t->records[lsn - 1];

        if (r->lsn == 0) {
            logdir_must(skl_ring_read(&t->d.stock.ring, lsn, r), "a record");
        }
    }
}

static void orders(run_t *t, int count)
{
    char user[16], request[24];

    for (int i = 0; i < count; i++) {
        const unsigned long long n = ++t->d.ops;

        snprintf(user, sizeof(user), "user%llu", n % 7);
        snprintf(request, sizeof(request), "request-%llu", n);
        (void)logdir_reserve(&t->d, n % 2 == 0 ? "shoes" : "hats", user,
                             request);
        (void)skl_stock_confirm(&t->d.stock, logdir_id(&t->d), t->d.now);
    }
    note_records(t);
}

static void flush(run_t *t)
{
    logdir_must(skl_wal_flush(&t->writer) > 0, "flush");
}

/* The record that comes after the death. The tables are those with it, the
 * ring has it not. */
static void make_next_record(run_t *t)
{
    memcpy(t->copy, t->base, t->bytes);
    logdir_must(skl_stock_pause(&t->d.stock, logdir_bytes("hats"), 1,
                                t->d.now) == SECKILL_OK,
                "pause");
    note_records(t);
    t->tail--;
    memcpy(t->base, t->copy, t->bytes);
}

static void world_begin(run_t *t)
{
    static int number;

    snprintf(t->dir, sizeof(t->dir), "%s/log%d", scratch_dir(), number++);
    logdir_must(mkdir(t->dir, 0700) == 0, t->dir);
    logdir_must(skl_fs_open_dir(t->dir, &t->fs) == 0, t->dir);
    logdir_open_with(&t->d, t->fs, logdir_identity(), LOG_UNITS);
    watch(t->fs);
    t->ring_at = (sizeof(skl_wal_shm_t) + 127) / 128 * 128;
    t->bytes = t->ring_at + skl_ring_bytes(LOG_UNITS);
    t->base = scratch_shared(t->bytes);
    t->copy = logdir_memory(t->bytes);
    memcpy(t->base + t->ring_at, t->d.ring, skl_ring_bytes(LOG_UNITS));
    skl_ring_attach(&t->d.stock.ring, t->base + t->ring_at);
    skl_ring_restart(&t->d.stock.ring, 0, 0);
    t->wal = (void *)t->base;
    memcpy(t->wal->uuid, t->d.id.uuid, sizeof(t->wal->uuid));
    t->wal->incarnation = t->d.id.lives[0].incarnation;
    t->wal->segment_bytes = SEGMENT;
    t->wal->max_bytes = 64ULL * SEGMENT;
    t->wal->state = SECKILL_LOG_OK;
    t->mono = LOGDIR_SEC;
    new_writer(t, &t->writer, t->fs, t->wal, &t->d.stock.ring);
}

static void world_end(run_t *t)
{
    skl_wal_writer_free(&t->writer);
    logdir_close(&t->d);
    skl_fs_close_dir(t->fs);
    (void)munmap(t->base, t->bytes);
    free(t->copy);
    for (int i = 0; i < t->file_count; i++) {
        free(t->files[i].cache);
        free(t->files[i].disk);
    }
    t->file_count = 0;
    memset(t->records, 0, sizeof(t->records));
    (void)nftw(t->dir, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void prepare(run_t *t)
{
    fails = 0;
    world_begin(t);
    (void)logdir_put(&t->d, "shoes", 100, 1);
    (void)logdir_put(&t->d, "hats", 100, 1);
    orders(t, 2);
    t->changes = t->syncs = t->dir_syncs = 0;
    t->c->prepare(t);
    make_next_record(t);
    if (t->c->new_writer) {
        take_over(t);
    }
    if (t->file_count == 0) {
        note_all(t);
    }
    t->changes = atomic_load(&probe->changes);
    t->syncs = atomic_load(&probe->syncs);
    t->dir_syncs = atomic_load(&probe->dir_syncs);
    fails = t->c->fails;
}

/* ---- The steps that are died in ------------------------------------------ */

static void nothing_yet(run_t *t)
{
    (void)t;
}

static void running(run_t *t)
{
    flush(t);
    orders(t, 2);
}

/* The writer before has died between write and sync. */
static void died_in_sync(run_t *t)
{
    running(t);
    note_all(t);
    memcpy(t->copy, t->base, t->bytes);
    flush(t);
    look(t);
    memcpy(t->base, t->copy, t->bytes);
    atomic_store(&t->wal->syncing, 1);
}

static void full_segment(run_t *t)
{
    flush(t);
    orders(t, 1);
    flush(t);
    orders(t, 1);
    flush(t);
    orders(t, 2);
}

static void full_segment_and_a_free_one(run_t *t)
{
    unsigned char *bytes = NULL;
    char path[200];
    uint64_t n;
    int fd;

    full_segment(t);
    snprintf(path, sizeof(path), "%s/wal.%016x", t->dir, 1);
    n = slurp(path, &bytes);
    fd = real.open(t->fs, "free.0000000000000000", SKL_FS_CREATE);
    logdir_must(skl_fs_write_all(t->fs, fd, bytes, n, 0) == 0, "free");
    (void)real.close(t->fs, fd);
    free(bytes);
}

static void quiet(run_t *t)
{
    flush(t);
    t->mono += LOGDIR_SEC;
}

/* ---- Checks -------------------------------------------------------------- */

/* The log holds records 1 .. some LSN from `least` to `most`, as they were. */
static int reads(run_t *t, skl_fs_t *fs, uint64_t least, uint64_t most)
{
    const skl_record_t *got;
    skl_wal_reader_t *r;
    uint64_t lsn = 0;
    char err[200];
    int rc = skl_wal_reader_open(fs, t->d.id.uuid, 1, &r, err, sizeof(err));

    if (rc != SECKILL_OK) {
        return least == 0 || no(t, err);
    }
    while ((rc = skl_wal_read(r, &got)) == 1) {
        if (++lsn > most || got->lsn != lsn ||
            memcmp(got, &t->records[lsn - 1], got->bytes) != 0) {
            rc = no(t, "the log has another record") - 1;
            break;
        }
    }
    if (rc < 0) {
        (void)no(t, skl_wal_reader_error(r));
    }
    skl_wal_reader_close(r);
    if (rc == 0 && lsn < least) {
        snprintf(t->why, sizeof(t->why), "LSN %llu is missing",
                 (unsigned long long)lsn + 1);
    }
    return rc == 0 && lsn >= least;
}

static int recovers(run_t *t, skl_fs_t *fs, uint64_t least, uint64_t most)
{
    skl_recovered_t rec;
    skl_tables_t tables;
    uint64_t first;
    char err[200];
    int good;

    logdir_must(skl_tables_new(&t->d.id, &tables) == SECKILL_OK, "tables");
    good = skl_recover(fs, &t->d.id, &tables, &rec, err, sizeof(err)) ==
           SECKILL_OK;
    if (!good) {
        (void)no(t, err);
    } else if (rec.last_lsn < least || rec.last_lsn > most) {
        good = no(t, "recovery ends elsewhere");
    } else if (rec.last_lsn == t->tail + 1) {
        good = skl_image_differing(&t->d.stock.tables, &tables, &first) == 0 ||
               no(t, "recovery makes other tables");
    }
    skl_tables_free(&tables);
    return good && reads(t, fs, least, most);
}

/* Another writer goes on: all that is in the ring, and one record more. */
static int goes_on(run_t *t, skl_fs_t *fs, unsigned char *base)
{
    skl_wal_writer_t w;
    skl_lock_t lock, *locks[] = {&lock};
    skl_wait_t wait = {0};
    skl_ring_t ring;
    skl_record_t next = t->records[t->tail];

    memset(&lock, 0, sizeof(lock));
    skl_ring_attach(&ring, base + t->ring_at);
    new_writer(t, &w, fs, (void *)base, &ring);
    for (int i = 0; i < PATIENCE && skl_wal_durable(&ring) < t->tail + 1; i++) {
        t->mono += LOGDIR_SEC;
        if (skl_wal_flush(&w) >= 0 && skl_wal_durable(&ring) == t->tail &&
            skl_ring_tail(&ring) == t->tail) {
            logdir_must(skl_ring_publish(&ring, &next, locks, 1, &wait) ==
                            SECKILL_OK,
                        "publish");
            skl_ring_applied(&ring, t->tail + 1);
        }
    }
    skl_wal_writer_free(&w);
    return skl_wal_durable(&ring) == t->tail + 1 ||
           no(t, "the next writer does not get on");
}

static int holds_without_power(run_t *t, uint32_t percent)
{
    const uint64_t flushed = skl_wal_durable(&t->d.stock.ring);
    simdisk_t *d = disk_of(t, NOT_LOST);
    int good;

    simdisk_power_loss(d, percent);
    good =
        recovers(t, simdisk_fs(d), flushed, t->tail) || no(t, "without power");
    simdisk_free(d);
    return good;
}

static int holds_after_takeover(run_t *t, int lost)
{
    const int64_t mono = t->mono;
    const uint64_t all = t->tail + 1;
    simdisk_t *d = disk_of(t, lost);
    int good;

    memcpy(t->copy, t->base, t->bytes);
    good = goes_on(t, simdisk_fs(d), t->copy) &&
           (lost || recovers(t, simdisk_fs(d), all, all));
    t->mono = mono;
    simdisk_power_loss(d, 0);
    good = good && recovers(t, simdisk_fs(d), all, all);
    simdisk_free(d);
    return good;
}

static int holds(run_t *t)
{
    return holds_without_power(t, 0) && holds_without_power(t, 50) &&
           holds_after_takeover(t, NOT_LOST) && holds_after_takeover(t, LOST);
}

/* ---- Stepping ------------------------------------------------------------ */

static void run_calls(void *ctx)
{
    run_t *t = ctx;

    for (int i = 0; i < t->c->calls; i++) {
        (void)skl_wal_flush(&t->writer);
    }
}

/* What the next writer does, too: until all is flushed. */
static void run_takeover(void *ctx)
{
    run_t *t = ctx;

    for (int i = 0; i < PATIENCE; i++) {
        t->mono += LOGDIR_SEC;
        (void)skl_wal_flush(&t->writer);
        if (skl_wal_durable(&t->d.stock.ring) == t->tail) {
            break;
        }
    }
}

static void where(run_t *t, long k, long j)
{
    const size_t used = strlen(t->why);

    snprintf(t->why + used, sizeof(t->why) - used,
             " (after instruction %ld, then %ld)", k, j);
}

/* Step to the end, or to instruction `until`; check = 1: at each other state
 * let it be dead. */
static int step_through(run_t *t, void (*run)(void *), long until, int check)
{
    unsigned char *last = logdir_memory(t->bytes);
    const char *why = "";
    stepper_t st;
    int rc = 1, good = 1;

    if (!stepper_start(&st, run, t, &why)) {
        free(last);
        return no(t, why);
    }
    while (rc == 1 && good && st.steps != until) {
        const int changed = note_changes(t, st.pid) || st.steps == 0 ||
                            memcmp(last, t->base, t->bytes) != 0;

        t->points += check;
        if (changed && check) {
            memcpy(last, t->base, t->bytes);
            t->states++;
            if (t->changed_count < CHANGES_MAX && run == run_calls) {
                t->changed[t->changed_count++] = st.steps;
            }
            good = holds(t);
        }
        if (!good) {
            where(t, st.steps, 0);
        }
        rc = stepper_step(&st);
    }
    (void)note_changes(t, st.pid);
    stepper_kill(&st);
    free(last);
    return good && (rc >= 0 || no(t, "the stepped step died by itself"));
}

static int die_everywhere(run_t *t)
{
    int good;

    prepare(t);
    good = step_through(t, run_calls, -1, 1);
    world_end(t);
    return good;
}

/* Really, and the next one has the same memory and the same files. */
static int die_really(run_t *t, long k)
{
    const uint64_t all = t->tail + 1;
    const char *why = "";
    stepper_t st;
    int good;

    prepare(t);
    good = stepper_start(&st, run_calls, t, &why);
    if (good) {
        (void)stepper_run(&st, k);
        stepper_kill(&st);
        t->kills++;
    }
    good = good && goes_on(t, t->fs, t->base) && recovers(t, t->fs, all, all);
    world_end(t);
    return good || no(t, why);
}

/* ... and the next one dies, too, at any instruction. */
static int die_twice(run_t *t, long k)
{
    const long points = t->points;
    int good;

    prepare(t);
    good = step_through(t, run_calls, k, 0);
    take_over(t);
    fails = 0;
    good = good && step_through(t, run_takeover, -1, 1);
    world_end(t);
    t->second_deaths += t->points - points;
    return good;
}

static int sample(run_t *t, int (*die)(run_t *, long), int count)
{
    for (int i = 0; i < count; i++) {
        const long k = t->changed[next_random(t) % t->changed_count];

        if (!die(t, k)) {
            where(t, k, -1);
            return 0;
        }
    }
    return 1;
}

static void kill_everywhere(const case_t *c)
{
    static run_t run;
    run_t *t = &run;

    memset(t, 0, sizeof(*t));
    if (probe == NULL) {
        probe = scratch_shared(sizeof(*probe));
    }
    t->c = c;
    t->random = tap_seed(1);
    if (!CHECK(die_everywhere(t) &&
               sample(t, die_really, tap_full() ? 50 : 6) &&
               sample(t, die_twice, tap_full() ? 20 : c->twice))) {
        printf("# %s\n", t->why);
        return;
    }
    printf("# flusher: died at %ld instructions, then at %ld of the next one: "
           "%ld different states; %ld by kill -9\n",
           t->points - t->second_deaths, t->second_deaths, t->states, t->kills);
}

#define KILL(name, ...)                                                        \
    TEST(killed_in_##name)                                                     \
    {                                                                          \
        static const case_t c = {__VA_ARGS__};                                 \
                                                                               \
        kill_everywhere(&c);                                                   \
    }

KILL(the_first_batch_of_all, nothing_yet, 1, 0, 0, 0)
KILL(a_batch, running, 1, 0, 0, 1)
KILL(the_first_batch_of_a_new_writer, running, 1, 1, 0, 0)
KILL(the_first_batch_after_a_death_in_sync, died_in_sync, 1, 1, 0, 0)
KILL(a_batch_into_a_new_segment, full_segment, 1, 0, 0, 1)
KILL(a_batch_into_a_recycled_file, full_segment_and_a_free_one, 1, 1, 0, 0)
KILL(a_seal, quiet, 1, 0, 0, 0)
KILL(a_failing_sync_and_the_next_step, running, 2, 0, 1, 1)
KILL(a_failing_seal_and_the_next_step, quiet, 2, 0, 1, 0)

/* ---- The rebuild of an item ---------------------------------------------- */

typedef struct {
    crash_world_t w;
    crash_image_t good, before, here;
    skl_tables_t truth;
    seckill_item_t shoes;
    uint32_t slot;
    int way; /* FROM_* */
    long points, states;
    char why[256];
} rebuild_t;

/* From the log; from the rows with the item's last record, or without it. */
enum { FROM_LOG, FROM_ROWS, FROM_ROWS_ALONE };

static int must_rebuild(rebuild_t *b)
{
    return b->way == FROM_LOG
               ? skl_rebuild_item(&b->w.sk->stock, b->slot, &b->truth)
               : skl_rebuild_from_rows(&b->w.sk->stock, b->slot);
}

static void run_rebuild(void *ctx)
{
    (void)must_rebuild(ctx);
}

static int not_rebuilt(rebuild_t *b, const char *what)
{
    if (b->why[0] == '\0') {
        snprintf(b->why, sizeof(b->why), "%s", what);
    }
    return 0;
}

static void sell(rebuild_t *b, const char *item, const char *user, int end)
{
    seckill_reservation_t r;
    char request[24];

    snprintf(request, sizeof(request), "%s-%.5s", user, item);
    logdir_must(seckill_reserve(b->w.sk, item, strlen(item), user, strlen(user),
                                1, request, strlen(request), &r) == SECKILL_OK,
                "reserve");
    if (end == 1) {
        (void)seckill_confirm(b->w.sk, r.id, r.id_len);
    } else if (end == 2) {
        (void)seckill_cancel(b->w.sk, r.id, r.id_len);
    }
}

static void put_item(rebuild_t *b, const char *name)
{
    seckill_item_t i = {.struct_size = sizeof(i),
                        .item_len = (uint32_t)strlen(name),
                        .total = 10,
                        .hold_ns = 10 * CRASH_SEC,
                        .version = 1};

    memcpy(i.item, name, strlen(name));
    logdir_must(seckill_put(b->w.sk, &i) == SECKILL_OK, "put");
}

/* Neither total nor what was put says what is available: as long as one of its
 * neighbours is wrong, the total is to be believed. */
static void damage_counters(skl_item_row_t *item)
{
    atomic_fetch_sub(&item->available, 3);
    atomic_fetch_add(&item->reserved, 1LL << 40);
    atomic_store(&item->sold, -1);
    atomic_store(&item->earliest, 1);
    atomic_store(&item->fault, 1);
}

/* Everything of an item that its lock covers is wrong. */
static void damage(rebuild_t *b)
{
    skl_tables_t *t = &b->w.sk->stock.tables;
    skl_item_row_t *item = &t->items[b->slot];

    if (b->way != FROM_LOG) {
        damage_counters(item);
        return;
    }
    atomic_fetch_add(&item->available, 7);
    atomic_fetch_add(&item->total, 3);
    atomic_store(&item->live, 77);
    for (uint32_t i = 0; i < t->shm->shards * t->shm->users; i++) {
        if (SKL_LD(t->users[i].item) == b->slot) {
            atomic_store(&t->users[i].count, 9);
        }
    }
    for (uint32_t i = 0; i < t->shm->shards * t->shm->rows; i++) {
        if (SKL_LD(t->rows[i].lsn) != 0 && SKL_LD(t->rows[i].item) == b->slot) {
            SKL_ST(t->rows[i].lsn, SKL_LD(t->rows[i].lsn) + 1);
        }
    }
    SKL_ST(item->fault, 1);
}

/* The records about the shoes leave the ring. */
static void write_on(rebuild_t *b)
{
    const uint64_t lsn = seckill_lsn(b->w.sk);

    for (int i = 0; skl_ring_head(&b->w.sk->stock.ring) <= lsn; i++) {
        logdir_must((i % 2 == 0
                         ? seckill_pause(b->w.sk, "hats", 4)
                         : seckill_resume(b->w.sk, "hats", 4)) == SECKILL_OK,
                    "pause");
        (void)crash_note(&b->w);
    }
}

static int rebuild_begin(rebuild_t *b)
{
    static const char *const users[] = {"anne", "bert", "cleo", "dora"};
    skl_tables_t *t;

    if (!crash_open(&b->w, 16, 1, b->why, sizeof(b->why))) {
        return 0;
    }
    put_item(b, "shoes");
    put_item(b, "hats");
    for (int i = 0; i < 4; i++) {
        sell(b, "shoes", users[i], i % 3);
    }
    sell(b, "hats", "anne", 1);
    logdir_must(seckill_adjust(b->w.sk, "shoes", 5, 2, "more", 4) == SECKILL_OK,
                "adjust");
    (void)crash_note(&b->w);
    if (b->way == FROM_ROWS_ALONE) {
        write_on(b);
    }
    crash_image_new(&b->w, &b->good);
    crash_image_new(&b->w, &b->before);
    crash_image_new(&b->w, &b->here);
    (void)crash_note(&b->w);
    crash_save(&b->w, &b->good);
    t = &b->w.sk->stock.tables;
    skl_tables_attach(&b->truth, b->good.bytes, &t->key);
    b->slot = skl_find_item(t, skl_key_of(t, "shoes", 5));
    (void)seckill_get(b->w.sk, "shoes", 5, &b->shoes);
    damage(b);
    crash_save(&b->w, &b->before);
    return 1;
}

/* A reader sees that the item is out of order, or what is right. */
static int sees_no_damage(rebuild_t *b)
{
    seckill_item_t got = {0}; /* what is not written is compared, too */
    const int rc = seckill_get(b->w.sk, "shoes", 5, &got);

    return rc == SECKILL_EBUSY ||
           (rc == SECKILL_OK && (got.state == SECKILL_ITEM_QUARANTINED ||
                                 memcmp(&got, &b->shoes, sizeof(got)) == 0)) ||
           not_rebuilt(b, "a reader sees damage");
}

static int comes_back(rebuild_t *b, int way)
{
    const char *differs;
    char text[200];

    if (way == 1) {
        (void)crash_touch(&b->w); /* the item is busy, or in order */
    }
    if (!sees_no_damage(b)) {
        return 0;
    }
    if (must_rebuild(b) != SECKILL_OK || !crash_touch(&b->w)) {
        return not_rebuilt(b, "it cannot be rebuilt again");
    }
    differs = crash_differs(&b->w, &b->good, 0);
    if (differs != NULL) {
        return not_rebuilt(b, differs);
    }
    return crash_sound(&b->w, text, sizeof(text)) || not_rebuilt(b, text);
}

static int die_in_rebuild(rebuild_t *b, const stepper_t *st)
{
    int good = 1;

    b->points++;
    if (st->steps > 0 && memcmp(b->here.bytes, b->w.base, b->w.bytes) == 0) {
        return 1;
    }
    b->states++;
    crash_save(&b->w, &b->here);
    for (int way = 0; way < 2 && good; way++) {
        crash_owner_died(&b->w, st->pid);
        good = comes_back(b, way);
        crash_restore(&b->w, &b->here);
    }
    return good;
}

static int rebuild_everywhere(rebuild_t *b)
{
    const char *why = "";
    stepper_t st;
    int rc = 1, good = 1;

    if (!stepper_start(&st, run_rebuild, b, &why)) {
        return not_rebuilt(b, why);
    }
    while (rc == 1 && good) {
        good = die_in_rebuild(b, &st);
        rc = stepper_step(&st);
    }
    if (!good) {
        const size_t used = strlen(b->why);

        snprintf(b->why + used, sizeof(b->why) - used,
                 " (after instruction %ld)", st.steps);
    }
    stepper_kill(&st);
    return good && rc == 0 && comes_back(b, 0);
}

static void killed_in_rebuild(int way)
{
    static const char *const names[] = {"an item", "an item from its rows",
                                        "an item from its rows alone"};
    rebuild_t b = {.way = way};

    REQUIRE(rebuild_begin(&b));
    if (!CHECK(rebuild_everywhere(&b))) {
        printf("# %s\n", b.why);
    } else {
        printf("# rebuild of %s: died at %ld instructions, %ld different "
               "states\n",
               names[way], b.points, b.states);
    }
    crash_image_free(&b.good);
    crash_image_free(&b.before);
    crash_image_free(&b.here);
    CHECK(crash_close(&b.w));
}

TEST(killed_in_the_rebuild_of_an_item)
{
    killed_in_rebuild(FROM_LOG);
}

TEST(killed_in_the_rebuild_of_an_item_from_its_rows)
{
    killed_in_rebuild(FROM_ROWS);
}

TEST(killed_in_the_rebuild_of_an_item_from_its_rows_alone)
{
    killed_in_rebuild(FROM_ROWS_ALONE);
}

TAP_MAIN()
