/*
 * memfs.h - a directory in memory behind skl_fs_t, for tests and fuzzers;
 * header only. Everything is durable at once. Files can be looked at and
 * changed directly; reads and writes may be made short, and one name may be
 * made to fail.
 *
 * Threads: one.
 */
#ifndef SKL_TEST_MEMFS_H
#define SKL_TEST_MEMFS_H

#include "io/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MEMFS_FILES = 128, MEMFS_NAME = 64 };

typedef struct {
    char name[MEMFS_NAME]; /* "": no such name any more */
    char *bytes;
    size_t size, room;
    int opened;
} memfs_file_t;

typedef struct {
    skl_fs_t fs;
    memfs_file_t files[MEMFS_FILES];
    size_t most;      /* bytes of one read or write; 0: all */
    const char *bad;  /* prefix of names whose reads fail with EIO */
    unsigned renames; /* so far */
} memfs_t;

static inline memfs_t *memfs_of(skl_fs_t *fs)
{
    return (memfs_t *)(void *)fs;
}

/* The file of a name, or NULL. */
static inline memfs_file_t *memfs_file(memfs_t *m, const char *name)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        if (m->files[i].name[0] != '\0' &&
            strcmp(m->files[i].name, name) == 0) {
            return &m->files[i];
        }
    }
    return NULL;
}

static inline void memfs_drop(memfs_file_t *f)
{
    if (f->name[0] == '\0' && f->opened == 0) {
        free(f->bytes);
        memset(f, 0, sizeof(*f));
    }
}

static inline int memfs_resize(memfs_file_t *f, size_t size)
{
    if (size > f->room) {
        size_t room = f->room == 0 ? 4096 : f->room;
        char *bytes;

        while (room < size) {
            room *= 2;
        }
        bytes = realloc(f->bytes, room);
        if (bytes == NULL) {
            return -ENOMEM;
        }
        f->bytes = bytes;
        f->room = room;
    }
    if (size > f->size) {
        memset(f->bytes + f->size, 0, size - f->size);
    }
    f->size = size;
    return 0;
}

static inline int memfs_make(memfs_t *m, const char *name)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        memfs_file_t *f = &m->files[i];

        if (f->name[0] == '\0' && f->opened == 0) {
            memcpy(f->name, name, strlen(name) + 1);
            return i;
        }
    }
    return -ENOSPC;
}

static inline int memfs_open(skl_fs_t *fs, const char *name, int mode)
{
    memfs_t *m = memfs_of(fs);
    memfs_file_t *f = memfs_file(m, name);
    int i;

    if (strlen(name) >= MEMFS_NAME || (mode == SKL_FS_CREATE && f != NULL)) {
        return f != NULL ? -EEXIST : -ENAMETOOLONG;
    }
    if (mode != SKL_FS_CREATE && f == NULL) {
        return -ENOENT;
    }
    i = f != NULL ? (int)(f - m->files) : memfs_make(m, name);
    if (i >= 0) {
        m->files[i].opened++;
    }
    return i;
}

static inline int memfs_close(skl_fs_t *fs, int fd)
{
    memfs_file_t *f = &memfs_of(fs)->files[fd];

    f->opened--;
    memfs_drop(f);
    return 0;
}

static inline size_t memfs_less(const memfs_t *m, size_t n)
{
    return m->most > 0 && n > m->most ? m->most : n;
}

static inline ssize_t memfs_pread(skl_fs_t *fs, int fd, void *out, size_t n,
                                  uint64_t at)
{
    memfs_t *m = memfs_of(fs);
    const memfs_file_t *f = &m->files[fd];

    if (m->bad != NULL && strncmp(f->name, m->bad, strlen(m->bad)) == 0) {
        return -EIO;
    }
    if (at >= f->size) {
        return 0;
    }
    n = n < f->size - at ? n : f->size - at;
    n = memfs_less(m, n);
    memcpy(out, f->bytes + at, n);
    return (ssize_t)n;
}

static inline ssize_t memfs_pwrite(skl_fs_t *fs, int fd, const void *from,
                                   size_t n, uint64_t at)
{
    memfs_t *m = memfs_of(fs);
    memfs_file_t *f = &m->files[fd];

    n = memfs_less(m, n);
    if (at + n > f->size && memfs_resize(f, at + n) != 0) {
        return -ENOSPC;
    }
    memcpy(f->bytes + at, from, n);
    return (ssize_t)n;
}

static inline int memfs_sync(skl_fs_t *fs, int fd)
{
    (void)fs;
    (void)fd;
    return 0;
}

static inline int memfs_allocate(skl_fs_t *fs, int fd, uint64_t at, uint64_t n)
{
    memfs_file_t *f = &memfs_of(fs)->files[fd];

    return at + n > f->size ? memfs_resize(f, at + n) : 0;
}

static inline int64_t memfs_size(skl_fs_t *fs, int fd)
{
    return (int64_t)memfs_of(fs)->files[fd].size;
}

static inline int memfs_truncate(skl_fs_t *fs, int fd, uint64_t size)
{
    return memfs_resize(&memfs_of(fs)->files[fd], size);
}

static inline int memfs_unlink(skl_fs_t *fs, const char *name)
{
    memfs_file_t *f = memfs_file(memfs_of(fs), name);

    if (f == NULL) {
        return -ENOENT;
    }
    f->name[0] = '\0';
    memfs_drop(f);
    return 0;
}

static inline int memfs_rename(skl_fs_t *fs, const char *from, const char *to)
{
    memfs_file_t *f = memfs_file(memfs_of(fs), from);

    if (f == NULL) {
        return -ENOENT;
    }
    (void)memfs_unlink(fs, to);
    memcpy(f->name, to, strlen(to) + 1);
    memfs_of(fs)->renames++;
    return 0;
}

static inline int memfs_list(skl_fs_t *fs, skl_fs_see_fn see, void *arg)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        if (memfs_of(fs)->files[i].name[0] != '\0') {
            see(arg, memfs_of(fs)->files[i].name);
        }
    }
    return 0;
}

static inline int memfs_sync_dir(skl_fs_t *fs)
{
    (void)fs;
    return 0;
}

static inline memfs_t *memfs_new(void)
{
    static const skl_fs_t calls = {.open = memfs_open,
                                   .close = memfs_close,
                                   .pread = memfs_pread,
                                   .pwrite = memfs_pwrite,
                                   .sync = memfs_sync,
                                   .allocate = memfs_allocate,
                                   .size = memfs_size,
                                   .truncate = memfs_truncate,
                                   .rename = memfs_rename,
                                   .unlink = memfs_unlink,
                                   .list = memfs_list,
                                   .sync_dir = memfs_sync_dir};
    memfs_t *m = calloc(1, sizeof(*m));

    if (m == NULL) {
        abort();
    }
    m->fs = calls;
    return m;
}

static inline void memfs_free(memfs_t *m)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        free(m->files[i].bytes);
    }
    free(m);
}

/* Put a file in place, or a copy of all files of another directory. */
static inline void memfs_put(memfs_t *m, const char *name, const void *bytes,
                             size_t n)
{
    int i;

    (void)memfs_unlink(&m->fs, name);
    i = memfs_make(m, name);
    if (i < 0 || memfs_resize(&m->files[i], n) != 0) {
        abort();
    }
    if (n > 0) {
        memcpy(m->files[i].bytes, bytes, n);
    }
}

static inline void memfs_copy(memfs_t *to, const memfs_t *from)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        if (from->files[i].name[0] != '\0') {
            memfs_put(to, from->files[i].name, from->files[i].bytes,
                      from->files[i].size);
        }
    }
}

#endif
