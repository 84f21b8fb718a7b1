/*
 * One directory of files, behind a table of functions: what the log, the
 * snapshots and the cursors do with a disk, and nothing else. The real one is
 * below; the tests put a disk in its place that loses power, tears writes,
 * runs full and fails (csrc/test/support/simdisk.h).
 *
 * Names are file names within the directory. Calls return 0 or a value >= 0,
 * or -errno. Nothing is durable before sync() of the file; a new or renamed
 * name not before sync_dir(). Threads: any, but a file one at a time.
 */
#ifndef SKL_IO_FS_H
#define SKL_IO_FS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    SKL_FS_READ,
    SKL_FS_WRITE, /* read and write an existing file */
    SKL_FS_CREATE /* read and write a new one; -EEXIST */
};

typedef struct skl_fs skl_fs_t;

typedef void (*skl_fs_see_fn)(void *arg, const char *name);

struct skl_fs {
    int (*open)(skl_fs_t *fs, const char *name, int mode);
    int (*close)(skl_fs_t *fs, int fd);
    /* Both may do less than asked. */
    ssize_t (*pread)(skl_fs_t *fs, int fd, void *out, size_t n, uint64_t at);
    ssize_t (*pwrite)(skl_fs_t *fs, int fd, const void *from, size_t n,
                      uint64_t at);
    int (*sync)(skl_fs_t *fs, int fd);
    /* Reserve blocks, so that writing there cannot run out of space. */
    int (*allocate)(skl_fs_t *fs, int fd, uint64_t at, uint64_t n);
    int64_t (*size)(skl_fs_t *fs, int fd);
    int (*truncate)(skl_fs_t *fs, int fd, uint64_t size);
    int (*rename)(skl_fs_t *fs, const char *from, const char *to);
    int (*unlink)(skl_fs_t *fs, const char *name);
    int (*list)(skl_fs_t *fs, skl_fs_see_fn see, void *arg);
    int (*sync_dir)(skl_fs_t *fs);
};

/* The directory `path` of the operating system. *out is freed by
 * skl_fs_close. -errno. */
int skl_fs_open_dir(const char *path, skl_fs_t **out);
void skl_fs_close_dir(skl_fs_t *fs);

/* Whole transfers: 0; -EIO: the file ends before; -errno. */
int skl_fs_read_all(skl_fs_t *fs, int fd, void *out, size_t n, uint64_t at);
int skl_fs_write_all(skl_fs_t *fs, int fd, const void *from, size_t n,
                     uint64_t at);
/* Put a small file in place as a whole, durably: written under a temporary
 * name, synced, renamed. */
int skl_fs_replace(skl_fs_t *fs, const char *name, const void *bytes, size_t n);
/* Put a file aside, durably: its name gets ".lost" behind it, or ".lost2" ..
 * where there is one from before. */
int skl_fs_lose(skl_fs_t *fs, const char *name);
/* Read a small file: its size, at most n; -EFBIG: larger. */
ssize_t skl_fs_read_file(skl_fs_t *fs, const char *name, void *out, size_t n);

#endif
