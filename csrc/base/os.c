/* See os.h. */
#include "base/os.h"

#include "base/assert.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

skl_os_fault_fn skl_os_fault;

static int fault(const char *call)
{
    return skl_os_fault != NULL ? skl_os_fault(call) : 0;
}

#define FAULT(call)                                                            \
    do {                                                                       \
        int injected = fault(call);                                            \
        if (injected > 0) {                                                    \
            return -injected;                                                  \
        }                                                                      \
    } while (0)

static int result(int rc)
{
    return rc < 0 ? -errno : rc;
}

int skl_os_open(const char *path, int flags, mode_t mode)
{
    int fd;

    FAULT("open");
    do {
        fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    } while (fd < 0 && errno == EINTR);
    return result(fd);
}

int skl_os_close(int fd)
{
    skl_assert(fd >= 0);
    return result(close(fd)); /* never retried: the descriptor is gone */
}

int skl_os_mkdir(const char *path, mode_t mode)
{
    FAULT("mkdir");
    return result(mkdir(path, mode));
}

int skl_os_unlink(const char *path)
{
    FAULT("unlink");
    return result(unlink(path));
}

int skl_os_rmdir(const char *path)
{
    FAULT("rmdir");
    return result(rmdir(path));
}

int skl_os_rename(const char *from, const char *to)
{
    FAULT("rename");
    return result(rename(from, to));
}

int skl_os_fstat(int fd, struct stat *st)
{
    skl_assert(fd >= 0);
    FAULT("fstat");
    return result(fstat(fd, st));
}

int skl_os_lstat(const char *path, struct stat *st)
{
    FAULT("lstat");
    return result(lstat(path, st));
}

int skl_os_fchown(int fd, uid_t uid, gid_t gid)
{
    skl_assert(fd >= 0);
    FAULT("fchown");
    return result(fchown(fd, uid, gid));
}

int skl_os_allocate(int fd, uint64_t bytes)
{
    int rc;

    skl_assert(fd >= 0 && bytes > 0);
    FAULT("allocate");
    do {
        rc = posix_fallocate(fd, 0, (off_t)bytes);
    } while (rc == EINTR);
    return -rc;
}

int skl_os_map(int fd, uint64_t bytes, int writable, void **out)
{
    int prot = PROT_READ | (writable ? PROT_WRITE : 0);
    void *base;

    skl_assert(fd >= 0 && bytes > 0);
    FAULT("map");
    base = mmap(NULL, (size_t)bytes, prot, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        return -errno;
    }
    /* Both are wishes: a kernel that cannot grant them is fine. */
    (void)madvise(base, (size_t)bytes, MADV_DONTDUMP);
    (void)madvise(base, (size_t)bytes, MADV_HUGEPAGE);
    *out = base;
    return 0;
}

void skl_os_populate(void *base, uint64_t bytes)
{
#ifdef MADV_POPULATE_WRITE
    (void)madvise(base, (size_t)bytes, MADV_POPULATE_WRITE);
#else
    (void)base;
    (void)bytes;
#endif
}

int skl_os_map_private(uint64_t bytes, void **out)
{
    void *base;

    skl_assert(bytes > 0);
    FAULT("map_private");
    base = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return -errno;
    }
    (void)madvise(base, (size_t)bytes, MADV_HUGEPAGE); /* a wish */
    *out = base;
    return 0;
}

int skl_os_map_shared(uint64_t bytes, void **out)
{
    void *base;

    skl_assert(bytes > 0);
    FAULT("map_shared");
    base = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return -errno;
    }
    *out = base;
    return 0;
}

int skl_os_unmap(void *base, uint64_t bytes)
{
    skl_assert(base != NULL && bytes > 0);
    return result(munmap(base, (size_t)bytes));
}

int skl_os_lock_file(int fd)
{
    const struct timespec pause = {0, 10 * 1000 * 1000};
    int rc;

    skl_assert(fd >= 0);
    FAULT("lock_file");
    for (int tries = 0; tries < 500; tries++) {
        rc = flock(fd, LOCK_EX | LOCK_NB);
        if (rc == 0 || errno != EWOULDBLOCK) {
            return result(rc);
        }
        nanosleep(&pause, NULL);
    }
    return -EWOULDBLOCK;
}

int skl_os_random(void *out, size_t len)
{
    skl_assert(len <= 256); /* then getrandom gives all or nothing */
    FAULT("random");
    return getrandom(out, len, 0) == (ssize_t)len ? 0 : -EIO;
}

int skl_os_read_small(const char *path, char *out, size_t size)
{
    ssize_t n;
    int fd = skl_os_open(path, O_RDONLY, 0);

    skl_assert(size > 0);
    if (fd < 0) {
        return fd;
    }
    do {
        n = read(fd, out, size - 1);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        n = -errno;
    } else {
        out[n] = '\0';
    }
    (void)skl_os_close(fd);
    return (int)n;
}

int skl_os_free_bytes(int fd, uint64_t *out)
{
    struct statvfs vfs;

    skl_assert(fd >= 0);
    FAULT("statvfs");
    if (fstatvfs(fd, &vfs) != 0) {
        return -errno;
    }
    *out = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    return 0;
}

static int is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

int skl_os_list(const char *dir, void (*see)(void *ctx, const char *name),
                void *ctx)
{
    const struct dirent *entry;
    DIR *d;

    FAULT("list");
    d = opendir(dir);
    if (d == NULL) {
        return -errno;
    }
    while ((entry = readdir(d)) != NULL) {
        if (is_entry(entry)) {
            see(ctx, entry->d_name);
        }
    }
    (void)closedir(d);
    return 0;
}

/* By descriptor: its owner may put a link in its place meanwhile. */
int skl_os_clear_dir(const char *dir)
{
    const struct dirent *entry;
    int before, removed = 0;
    int fd = skl_os_open(dir, O_RDONLY | O_DIRECTORY, 0);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

    if (d == NULL) {
        return fd >= 0 ? skl_os_close(fd), -ENOMEM : fd;
    }
    do {
        before = removed;
        rewinddir(d);
        while ((entry = readdir(d)) != NULL) {
            removed += is_entry(entry) && unlinkat(fd, entry->d_name, 0) == 0;
        }
    } while (removed > before);
    (void)closedir(d); /* and fd */
    return removed;
}

int skl_os_user(const char *name, uid_t *uid, gid_t *gid)
{
    struct passwd pw, *found = NULL;
    char buf[4096];
    int rc = getpwnam_r(name, &pw, buf, sizeof(buf), &found);

    if (rc != 0) {
        return -rc;
    }
    if (found == NULL) {
        return -ENOENT;
    }
    *uid = found->pw_uid;
    *gid = found->pw_gid;
    return 0;
}

int skl_os_open_source(const char *path)
{
    int fd;

    FAULT("open_source");
    do {
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    } while (fd < 0 && errno == EINTR);
    return result(fd);
}

int skl_os_stat(const char *path, struct stat *st)
{
    FAULT("stat");
    return result(stat(path, st));
}

ssize_t skl_os_read(int fd, void *out, size_t size)
{
    ssize_t n;

    skl_assert(fd >= 0 && size > 0);
    FAULT("read");
    do {
        n = read(fd, out, size);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

int skl_os_touch(const char *path)
{
    FAULT("touch");
    return result(utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW));
}

int skl_os_openat(int dir, const char *name, int flags, mode_t mode)
{
    int fd;

    FAULT("open");
    do {
        fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    } while (fd < 0 && errno == EINTR);
    return result(fd);
}

int skl_os_renameat(int dir, const char *from, const char *to)
{
    FAULT("rename");
    return result(renameat(dir, from, dir, to));
}

int skl_os_unlinkat(int dir, const char *name)
{
    FAULT("unlink");
    return result(unlinkat(dir, name, 0));
}

int skl_os_list_fd(int dir, void (*see)(void *ctx, const char *name), void *ctx)
{
    const struct dirent *entry;
    int fd = skl_os_openat(dir, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

    if (d == NULL) {
        return fd >= 0 ? skl_os_close(fd), -ENOMEM : fd;
    }
    while ((entry = readdir(d)) != NULL) {
        if (is_entry(entry)) {
            see(ctx, entry->d_name);
        }
    }
    (void)closedir(d);
    return 0;
}

ssize_t skl_os_pread(int fd, void *out, size_t n, uint64_t at)
{
    ssize_t got;

    skl_assert(fd >= 0);
    FAULT("pread");
    do {
        got = pread(fd, out, n, (off_t)at);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

ssize_t skl_os_pwrite(int fd, const void *from, size_t n, uint64_t at)
{
    ssize_t put;

    skl_assert(fd >= 0);
    FAULT("pwrite");
    do {
        put = pwrite(fd, from, n, (off_t)at);
    } while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

/* Never retried: after a failure the pages count as clean, and a second call
 * would say that all is well (Rebello et al., USENIX ATC 2020). */
int skl_os_fdatasync(int fd)
{
    skl_assert(fd >= 0);
    FAULT("fdatasync");
    return result(fdatasync(fd));
}

void skl_os_start_writeback(int fd)
{
    skl_assert(fd >= 0);
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

int skl_os_fsync(int fd)
{
    skl_assert(fd >= 0);
    FAULT("fsync");
    return result(fsync(fd));
}

int skl_os_truncate(int fd, uint64_t size)
{
    FAULT("truncate");
    return result(ftruncate(fd, (off_t)size));
}

int skl_os_allocate_range(int fd, uint64_t at, uint64_t n)
{
    int rc;

    skl_assert(fd >= 0 && n > 0);
    FAULT("allocate");
    do {
        rc = fallocate(fd, 0, (off_t)at, (off_t)n);
    } while (rc != 0 && errno == EINTR);
    return result(rc);
}

int skl_os_try_lock(int fd, int exclusive)
{
    skl_assert(fd >= 0);
    FAULT("try_lock");
    return result(flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB));
}

void skl_os_futex_wait(_Atomic uint32_t *word, uint32_t seen,
                       int64_t timeout_ns)
{
    const struct timespec ts = {timeout_ns / 1000000000,
                                timeout_ns % 1000000000};

    skl_assert(timeout_ns >= 0);
    (void)syscall(SYS_futex, word, FUTEX_WAIT, seen, &ts, NULL, 0);
}

void skl_os_futex_wake(_Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void skl_os_pause(int64_t ns)
{
    const struct timespec ts = {ns / 1000000000, ns % 1000000000};

    skl_assert(ns >= 0);
    (void)nanosleep(&ts, NULL);
}
