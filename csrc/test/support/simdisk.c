/* See simdisk.h. */
#include "test/support/simdisk.h"

#include "base/assert.h"
#include "base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 64, FDS = 64 };

typedef struct {
    unsigned char *bytes;
    uint64_t size, room;
} blob_t;

/* An unsynced change of a file: bytes, or (NULL) a new size. */
typedef struct {
    uint64_t at, n;
    unsigned char *bytes;
} write_t;

typedef struct {
    blob_t cache, disk;
    uint64_t allocated;
    write_t *writes;
    uint32_t write_count, write_room;
    int gone;
} file_t;

typedef struct {
    char name[NAME];
    uint32_t file;
} entry_t;

typedef struct {
    entry_t *list;
    uint32_t count, room;
} dir_t;

/* An unsynced change of names: from "": create; to "": unlink. */
typedef struct {
    char from[NAME], to[NAME];
    uint32_t file;
} change_t;

typedef struct {
    int used, writable;
    uint32_t file;
} fd_t;

struct simdisk {
    skl_fs_t fs;
    uint64_t random;
    file_t *files;
    uint32_t file_count, file_room;
    dir_t cache, disk;
    change_t *changes;
    uint32_t change_count, change_room;
    fd_t fds[FDS];
    unsigned char *trace;
    uint64_t calls, trace_room;
    uint64_t fault_at, fault_count, freeze_at, capacity;
    uint32_t noise;
    int fault, frozen;
};

static simdisk_t *disk_of(skl_fs_t *fs)
{
    return (simdisk_t *)(void *)fs;
}

/* ---- Memory -------------------------------------------------------------- */

/* Room for one more element. */
static void *more(void *list, uint32_t count, uint32_t *room, size_t size)
{
    if (count < *room) {
        return list;
    }
    *room = *room == 0 ? 16 : 2 * *room;
    list = realloc(list, *room * size);
    skl_assert(list != NULL);
    return list;
}

static uint64_t draw(simdisk_t *d)
{
    d->random += 0x9e3779b97f4a7c15ULL;
    return skl_mix64(d->random);
}

static int chance(simdisk_t *d, uint32_t percent)
{
    return draw(d) % 100 < percent;
}

static void resize(blob_t *b, uint64_t size)
{
    if (size > b->room) {
        b->room = size < 4096 ? 4096 : 2 * size;
        b->bytes = realloc(b->bytes, b->room);
        skl_assert(b->bytes != NULL);
    }
    if (size > b->size) {
        memset(b->bytes + b->size, 0, size - b->size);
    }
    b->size = size;
}

static void put(blob_t *b, uint64_t at, const void *from, uint64_t n)
{
    if (n > 0) {
        if (at + n > b->size) {
            resize(b, at + n);
        }
        memcpy(b->bytes + at, from, n);
    }
}

static void copy(blob_t *to, const blob_t *from)
{
    resize(to, 0);
    resize(to, from->size);
    if (from->size > 0) {
        memcpy(to->bytes, from->bytes, from->size);
    }
}

static void forget_writes(file_t *f)
{
    for (uint32_t i = 0; i < f->write_count; i++) {
        free(f->writes[i].bytes);
    }
    f->write_count = 0;
}

static void drop_file(file_t *f)
{
    forget_writes(f);
    free(f->writes);
    free(f->cache.bytes);
    free(f->disk.bytes);
    memset(f, 0, sizeof(*f));
    f->gone = 1;
}

/* ---- Names --------------------------------------------------------------- */

static entry_t *find(const dir_t *dir, const char *name)
{
    for (uint32_t i = 0; i < dir->count; i++) {
        if (strcmp(dir->list[i].name, name) == 0) {
            return &dir->list[i];
        }
    }
    return NULL;
}

static void set_name(char *to, const char *from)
{
    skl_assert(strlen(from) < NAME);
    (void)snprintf(to, NAME, "%s", from);
}

static void change(dir_t *dir, const change_t *c)
{
    entry_t *from = find(dir, c->from);

    if (from != NULL && from->file == c->file) {
        *from = dir->list[--dir->count];
    }
    if (c->to[0] != '\0') {
        entry_t *to = find(dir, c->to);

        if (to == NULL) {
            dir->list =
                more(dir->list, dir->count, &dir->room, sizeof(entry_t));
            to = &dir->list[dir->count++];
        }
        set_name(to->name, c->to);
        to->file = c->file;
    }
}

static void change_names(simdisk_t *d, uint32_t file, const char *from,
                         const char *to)
{
    change_t c = {.file = file};

    set_name(c.from, from);
    set_name(c.to, to);
    change(&d->cache, &c);
    d->changes =
        more(d->changes, d->change_count, &d->change_room, sizeof(change_t));
    d->changes[d->change_count++] = c;
}

static int is_named(const dir_t *dir, uint32_t file)
{
    for (uint32_t i = 0; i < dir->count; i++) {
        if (dir->list[i].file == file) {
            return 1;
        }
    }
    return 0;
}

static int is_open(const simdisk_t *d, uint32_t file)
{
    for (int i = 0; i < FDS; i++) {
        if (d->fds[i].used && d->fds[i].file == file) {
            return 1;
        }
    }
    return 0;
}

/* Files without a name, now and after a power loss. */
static void collect(simdisk_t *d)
{
    for (uint32_t i = 0; i < d->file_count; i++) {
        if (!d->files[i].gone && d->change_count == 0 &&
            !is_named(&d->cache, i) && !is_named(&d->disk, i) &&
            !is_open(d, i)) {
            drop_file(&d->files[i]);
        }
    }
}

uint64_t simdisk_used(const simdisk_t *d)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < d->file_count; i++) {
        const file_t *f = &d->files[i];

        if (!f->gone && (is_named(&d->cache, i) || is_open(d, i))) {
            sum += f->allocated > f->cache.size ? f->allocated : f->cache.size;
        }
    }
    return sum;
}

/* ---- Faults -------------------------------------------------------------- */

int simdisk_fits(int call, int fault)
{
    switch (fault) {
    case SIM_FREEZE:
        return 1;
    case SIM_EIO:
        return call != SIM_CLOSE && call != SIM_UNLINK && call != SIM_SIZE;
    case SIM_ENOSPC:
        return call == SIM_WRITE || call == SIM_ALLOCATE || call == SIM_OPEN;
    case SIM_SHORT:
        return call == SIM_WRITE || call == SIM_READ;
    default:
        return 0;
    }
}

static int random_fault(simdisk_t *d, int call)
{
    static const int faults[] = {SIM_EIO, SIM_ENOSPC, SIM_SHORT, SIM_EIO};
    const int fault = faults[draw(d) % 4];

    return draw(d) % 1000 < d->noise && simdisk_fits(call, fault) ? fault
                                                                  : SIM_NONE;
}

/* Count a call: the fault that hits it. */
static int enter(simdisk_t *d, int call)
{
    const uint64_t index = d->calls++;

    if (index >= d->trace_room) {
        d->trace_room = d->trace_room == 0 ? 4096 : 2 * d->trace_room;
        d->trace = realloc(d->trace, d->trace_room);
        skl_assert(d->trace != NULL);
    }
    d->trace[index] = (unsigned char)call;
    if (d->frozen) {
        return SIM_EIO;
    }
    if (index == d->freeze_at) {
        d->frozen = 1;
        return SIM_FREEZE;
    }
    if (d->fault != SIM_NONE && index >= d->fault_at &&
        index - d->fault_at < d->fault_count && simdisk_fits(call, d->fault)) {
        return d->fault;
    }
    return d->noise != 0 ? random_fault(d, call) : SIM_NONE;
}

/* Does the call have its effect, and what does it say? A frozen one has it by
 * chance, and nobody hears. */
static int outcome(simdisk_t *d, int fault, int *effect)
{
    const int dies = fault == SIM_FREEZE;

    *effect =
        fault == SIM_NONE || fault == SIM_SHORT || (dies && chance(d, 50));
    if (fault == SIM_ENOSPC) {
        return -ENOSPC;
    }
    return fault == SIM_EIO || dies ? -EIO : 0;
}

/* ---- The calls ----------------------------------------------------------- */

static uint32_t new_file(simdisk_t *d)
{
    d->files = more(d->files, d->file_count, &d->file_room, sizeof(file_t));
    memset(&d->files[d->file_count], 0, sizeof(file_t));
    return d->file_count++;
}

static int new_fd(simdisk_t *d, uint32_t file, int writable)
{
    for (int i = 0; i < FDS; i++) {
        if (!d->fds[i].used) {
            d->fds[i] = (fd_t){1, writable, file};
            return i;
        }
    }
    return -EMFILE;
}

static file_t *file_of(simdisk_t *d, int fd)
{
    skl_assert(fd >= 0 && fd < FDS && d->fds[fd].used);
    return &d->files[d->fds[fd].file];
}

static int sim_open(skl_fs_t *fs, const char *name, int mode)
{
    simdisk_t *d = disk_of(fs);
    int effect, rc = outcome(d, enter(d, SIM_OPEN), &effect);
    entry_t *e = find(&d->cache, name);
    uint32_t file;

    if (rc == -ENOSPC && mode != SKL_FS_CREATE) {
        rc = 0;
    }
    if (rc != 0 && (mode != SKL_FS_CREATE || e != NULL || !effect)) {
        return rc;
    }
    if (mode != SKL_FS_CREATE) {
        return e == NULL ? -ENOENT : new_fd(d, e->file, mode == SKL_FS_WRITE);
    }
    if (e != NULL) {
        return -EEXIST;
    }
    file = new_file(d);
    change_names(d, file, "", name);
    return rc != 0 ? rc : new_fd(d, file, 1);
}

static int sim_close(skl_fs_t *fs, int fd)
{
    simdisk_t *d = disk_of(fs);

    (void)enter(d, SIM_CLOSE);
    (void)file_of(d, fd);
    d->fds[fd].used = 0;
    return 0;
}

static ssize_t sim_pread(skl_fs_t *fs, int fd, void *out, size_t n, uint64_t at)
{
    simdisk_t *d = disk_of(fs);
    const int fault = enter(d, SIM_READ);
    const file_t *f = file_of(d, fd);

    if (fault == SIM_EIO || fault == SIM_FREEZE) {
        return -EIO;
    }
    if (at >= f->cache.size || n == 0) {
        return 0;
    }
    n = n < f->cache.size - at ? n : (size_t)(f->cache.size - at);
    if (fault == SIM_SHORT) {
        n = 1 + (size_t)(draw(d) % n);
    }
    memcpy(out, f->cache.bytes + at, n);
    return (ssize_t)n;
}

static void note_write(file_t *f, uint64_t at, const void *from, uint64_t n)
{
    write_t *w;

    f->writes =
        more(f->writes, f->write_count, &f->write_room, sizeof(write_t));
    w = &f->writes[f->write_count++];
    *w = (write_t){.at = at, .n = n};
    if (from != NULL) {
        w->bytes = malloc(n);
        skl_assert(w->bytes != NULL);
        memcpy(w->bytes, from, n);
    }
}

/* How many bytes fit on the disk. */
static size_t fitting(simdisk_t *d, const file_t *f, size_t n, uint64_t at)
{
    const uint64_t has =
        f->allocated > f->cache.size ? f->allocated : f->cache.size;
    uint64_t left, used;

    if (d->capacity == 0 || at + n <= has) {
        return n;
    }
    used = simdisk_used(d);
    left = used < d->capacity ? d->capacity - used : 0;
    return at + n <= has + left ? n
           : at < has + left    ? (size_t)(has + left - at)
                                : 0;
}

static ssize_t sim_pwrite(skl_fs_t *fs, int fd, const void *from, size_t n,
                          uint64_t at)
{
    simdisk_t *d = disk_of(fs);
    const int fault = enter(d, SIM_WRITE);
    file_t *f = file_of(d, fd);
    size_t done = fitting(d, f, n, at);

    skl_assert(d->fds[fd].writable && n > 0);
    if (d->frozen && fault == SIM_EIO) {
        return -EIO; /* dead before */
    }
    if (fault == SIM_SHORT) {
        done = done > 1 ? 1 + (size_t)(draw(d) % done) : done;
    } else if (fault != SIM_NONE) {
        done = (size_t)(draw(d) % (done + 1));
    }
    if (done > 0) {
        put(&f->cache, at, from, done);
        note_write(f, at, from, done);
    }
    if (fault == SIM_EIO || fault == SIM_FREEZE) {
        return -EIO;
    }
    return fault == SIM_ENOSPC || done == 0 ? -ENOSPC : (ssize_t)done;
}

/* Bring unsynced writes to the disk, each sector of each with a probability. */
static void write_back(simdisk_t *d, file_t *f, uint32_t percent)
{
    for (uint32_t i = 0; i < f->write_count; i++) {
        const write_t *w = &f->writes[i];

        if (w->bytes == NULL && chance(d, percent)) {
            resize(&f->disk, w->n);
        }
        for (uint64_t at = w->at; w->bytes != NULL && at < w->at + w->n;) {
            const uint64_t next = (at / SIM_SECTOR + 1) * SIM_SECTOR;
            const uint64_t end = next < w->at + w->n ? next : w->at + w->n;

            if (chance(d, percent)) {
                put(&f->disk, at, w->bytes + (at - w->at), end - at);
            }
            at = end;
        }
    }
    forget_writes(f);
}

static int sim_sync(skl_fs_t *fs, int fd)
{
    simdisk_t *d = disk_of(fs);
    const int fault = enter(d, SIM_SYNC);
    file_t *f = file_of(d, fd);

    if (d->frozen) {
        if (fault == SIM_FREEZE && chance(d, 50)) {
            write_back(d, f, 100);
        }
        return -EIO;
    }
    if (fault == SIM_EIO) {
        write_back(d, f, (uint32_t)(draw(d) % 101));
        if (chance(d, 50)) { /* the pages leave the cache */
            copy(&f->cache, &f->disk);
        }
        return -EIO;
    }
    write_back(d, f, 100);
    return 0;
}

static int sim_allocate(skl_fs_t *fs, int fd, uint64_t at, uint64_t n)
{
    simdisk_t *d = disk_of(fs);
    int effect, rc = outcome(d, enter(d, SIM_ALLOCATE), &effect);
    file_t *f = file_of(d, fd);

    if (effect && fitting(d, f, (size_t)n, at) < n) {
        return rc != 0 ? rc : -ENOSPC;
    }
    if (effect && f->allocated < at + n) {
        f->allocated = at + n;
    }
    if (effect && f->cache.size < at + n) { /* as fallocate() does */
        resize(&f->cache, at + n);
        note_write(f, 0, NULL, at + n);
    }
    return rc;
}

static int64_t sim_size(skl_fs_t *fs, int fd)
{
    simdisk_t *d = disk_of(fs);

    return enter(d, SIM_SIZE) != SIM_NONE ? -EIO
                                          : (int64_t)file_of(d, fd)->cache.size;
}

static int sim_truncate(skl_fs_t *fs, int fd, uint64_t size)
{
    simdisk_t *d = disk_of(fs);
    int effect, rc = outcome(d, enter(d, SIM_TRUNCATE), &effect);
    file_t *f = file_of(d, fd);

    if (effect) {
        resize(&f->cache, size);
        f->allocated = f->allocated < size ? f->allocated : size;
        note_write(f, 0, NULL, size);
    }
    return rc;
}

static int sim_rename(skl_fs_t *fs, const char *from, const char *to)
{
    simdisk_t *d = disk_of(fs);
    int effect, rc = outcome(d, enter(d, SIM_RENAME), &effect);
    const entry_t *e = find(&d->cache, from);

    if (rc == 0 && e == NULL) {
        return -ENOENT;
    }
    if (effect && e != NULL) {
        change_names(d, e->file, from, to);
    }
    return rc;
}

static int sim_unlink(skl_fs_t *fs, const char *name)
{
    simdisk_t *d = disk_of(fs);
    int effect, rc = outcome(d, enter(d, SIM_UNLINK), &effect);
    const entry_t *e = find(&d->cache, name);

    if (rc == 0 && e == NULL) {
        return -ENOENT;
    }
    if (effect && e != NULL) {
        change_names(d, e->file, name, "");
    }
    return rc;
}

static int sim_list(skl_fs_t *fs, skl_fs_see_fn see, void *arg)
{
    simdisk_t *d = disk_of(fs);
    int effect, rc = outcome(d, enter(d, SIM_LIST), &effect);

    for (uint32_t i = 0; rc == 0 && i < d->cache.count; i++) {
        see(arg, d->cache.list[i].name);
    }
    return rc;
}

static int sim_sync_dir(skl_fs_t *fs)
{
    simdisk_t *d = disk_of(fs);
    int effect, rc = outcome(d, enter(d, SIM_SYNC_DIR), &effect);

    for (uint32_t i = 0; effect && i < d->change_count; i++) {
        change(&d->disk, &d->changes[i]);
    }
    if (effect) {
        d->change_count = 0;
        collect(d);
    }
    return rc;
}

/* ---- The disk ------------------------------------------------------------ */

simdisk_t *simdisk_new(uint64_t seed)
{
    static const skl_fs_t calls = {
        .open = sim_open,
        .close = sim_close,
        .pread = sim_pread,
        .pwrite = sim_pwrite,
        .sync = sim_sync,
        .allocate = sim_allocate,
        .size = sim_size,
        .truncate = sim_truncate,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .list = sim_list,
        .sync_dir = sim_sync_dir,
    };
    simdisk_t *d = calloc(1, sizeof(*d));

    skl_assert(d != NULL);
    d->fs = calls;
    d->random = seed;
    d->freeze_at = UINT64_MAX;
    return d;
}

void simdisk_free(simdisk_t *d)
{
    if (d == NULL) {
        return;
    }
    for (uint32_t i = 0; i < d->file_count; i++) {
        drop_file(&d->files[i]);
    }
    free(d->files);
    free(d->cache.list);
    free(d->disk.list);
    free(d->changes);
    free(d->trace);
    free(d);
}

static void *copy_of(const void *list, size_t bytes)
{
    void *out = bytes > 0 ? malloc(bytes) : NULL;

    skl_assert(out != NULL || bytes == 0);
    if (bytes > 0) {
        memcpy(out, list, bytes);
    }
    return out;
}

static void clone_dir(dir_t *to, const dir_t *from)
{
    *to = *from;
    to->list = copy_of(from->list, from->room * sizeof(entry_t));
}

simdisk_t *simdisk_clone(const simdisk_t *d, uint64_t seed)
{
    simdisk_t *c = simdisk_new(seed);

    c->capacity = d->capacity;
    for (uint32_t i = 0; i < d->file_count; i++) {
        const file_t *from = &d->files[i];
        const uint32_t slot = new_file(c);
        file_t *to = &c->files[slot];

        to->gone = from->gone;
        to->allocated = from->allocated;
        copy(&to->cache, &from->cache);
        copy(&to->disk, &from->disk);
        for (uint32_t k = 0; k < from->write_count; k++) {
            const write_t *w = &from->writes[k];

            note_write(to, w->at, w->bytes, w->n);
        }
    }
    clone_dir(&c->cache, &d->cache);
    clone_dir(&c->disk, &d->disk);
    c->change_count = d->change_count;
    c->change_room = d->change_room;
    c->changes = copy_of(d->changes, d->change_room * sizeof(change_t));
    return c;
}

skl_fs_t *simdisk_fs(simdisk_t *d)
{
    return &d->fs;
}

void simdisk_load(simdisk_t *d, const simdisk_file_t *file)
{
    const uint32_t slot = new_file(d);
    file_t *f = &d->files[slot];

    put(&f->cache, 0, file->cache, file->cache_size);
    put(&f->disk, 0, file->disk, file->disk_size);
    if (!file->lost && file->cache_size > 0) {
        note_write(f, 0, file->cache, file->cache_size);
    }
    if (file->durable_name[0] != '\0') {
        change_names(d, slot, "", file->durable_name);
        change(&d->disk, &d->changes[--d->change_count]);
    }
    if (strcmp(file->durable_name, file->name) != 0) {
        change_names(d, slot, file->durable_name, file->name);
    }
}

uint64_t simdisk_calls(const simdisk_t *d)
{
    return d->calls;
}

int simdisk_call_at(const simdisk_t *d, uint64_t index)
{
    skl_assert(index < d->calls);
    return d->trace[index];
}

void simdisk_fault(simdisk_t *d, uint64_t index, int fault, uint64_t count)
{
    if (fault == SIM_FREEZE) {
        d->freeze_at = index;
        return;
    }
    d->fault_at = index;
    d->fault = fault;
    d->fault_count = count;
}

void simdisk_noise(simdisk_t *d, uint32_t permille)
{
    d->noise = permille;
}

void simdisk_capacity(simdisk_t *d, uint64_t bytes)
{
    d->capacity = bytes;
}

int simdisk_is_frozen(const simdisk_t *d)
{
    return d->frozen;
}

void simdisk_heal(simdisk_t *d)
{
    d->fault = SIM_NONE;
    d->freeze_at = UINT64_MAX;
    d->noise = 0;
    d->capacity = 0;
}

uint64_t simdisk_pending(const simdisk_t *d)
{
    uint64_t n = d->change_count;

    for (uint32_t i = 0; i < d->file_count; i++) {
        n += d->files[i].write_count;
    }
    return n;
}

void simdisk_process_crash(simdisk_t *d)
{
    memset(d->fds, 0, sizeof(d->fds));
    d->frozen = 0;
    d->freeze_at = UINT64_MAX;
    d->fault = SIM_NONE;
    d->noise = 0;
}

/* Changes of one file stay in their order: once one is lost, so are those
 * after it. */
static void keep_changes(simdisk_t *d, uint32_t percent)
{
    char *lost = calloc(d->file_count + 1, 1);

    skl_assert(lost != NULL);
    for (uint32_t i = 0; i < d->change_count; i++) {
        const change_t *c = &d->changes[i];

        if (lost[c->file] || !chance(d, percent)) {
            lost[c->file] = 1;
        } else {
            change(&d->disk, c);
        }
    }
    d->change_count = 0;
    free(lost);
}

void simdisk_power_loss(simdisk_t *d, uint32_t percent)
{
    simdisk_process_crash(d);
    for (uint32_t i = 0; i < d->file_count; i++) {
        file_t *f = &d->files[i];

        if (!f->gone) {
            write_back(d, f, percent);
            copy(&f->cache, &f->disk);
            f->allocated = f->disk.size;
        }
    }
    keep_changes(d, percent);
    d->cache.count = 0;
    for (uint32_t i = 0; i < d->disk.count; i++) {
        change_t c = {.file = d->disk.list[i].file};

        set_name(c.to, d->disk.list[i].name);
        change(&d->cache, &c);
    }
    collect(d);
}
