/* See fs.h. */
#include "io/fs.h"

#include "base/assert.h"
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 64 };

typedef struct {
    skl_fs_t fs;
    int dir;
    uid_t uid; /* of the directory: new files get it */
    gid_t gid;
} real_fs_t;

static int dir_of(skl_fs_t *fs)
{
    return ((real_fs_t *)(void *)fs)->dir;
}

static int real_open(skl_fs_t *fs, const char *name, int mode)
{
    static const int flags[] = {O_RDONLY, O_RDWR, O_RDWR | O_CREAT | O_EXCL};

    const real_fs_t *real = (const void *)fs;
    int fd, rc;

    skl_assert(mode >= SKL_FS_READ && mode <= SKL_FS_CREATE);
    fd = skl_os_openat(real->dir, name, flags[mode], 0600);
    if (fd < 0 || mode != SKL_FS_CREATE || real->uid == geteuid()) {
        return fd;
    }
    rc = skl_os_fchown(fd, real->uid, real->gid); /* root, for the workers */
    if (rc != 0) {
        (void)skl_os_close(fd);
        return rc;
    }
    return fd;
}

static int real_close(skl_fs_t *fs, int fd)
{
    (void)fs;
    return skl_os_close(fd);
}

static ssize_t real_pread(skl_fs_t *fs, int fd, void *out, size_t n,
                          uint64_t at)
{
    (void)fs;
    return skl_os_pread(fd, out, n, at);
}

static ssize_t real_pwrite(skl_fs_t *fs, int fd, const void *from, size_t n,
                           uint64_t at)
{
    (void)fs;
    return skl_os_pwrite(fd, from, n, at);
}

static int real_sync(skl_fs_t *fs, int fd)
{
    (void)fs;
    return skl_os_fdatasync(fd);
}

static int real_allocate(skl_fs_t *fs, int fd, uint64_t at, uint64_t n)
{
    int rc = skl_os_allocate_range(fd, at, n);

    (void)fs;
    return rc == -EOPNOTSUPP || rc == -EINVAL ? 0 : rc;
}

static int64_t real_size(skl_fs_t *fs, int fd)
{
    struct stat st;
    int rc = skl_os_fstat(fd, &st);

    (void)fs;
    return rc == 0 ? (int64_t)st.st_size : rc;
}

static int real_truncate(skl_fs_t *fs, int fd, uint64_t size)
{
    (void)fs;
    return skl_os_truncate(fd, size);
}

static int real_rename(skl_fs_t *fs, const char *from, const char *to)
{
    return skl_os_renameat(dir_of(fs), from, to);
}

static int real_unlink(skl_fs_t *fs, const char *name)
{
    return skl_os_unlinkat(dir_of(fs), name);
}

static int real_list(skl_fs_t *fs, skl_fs_see_fn see, void *arg)
{
    return skl_os_list_fd(dir_of(fs), see, arg);
}

static int real_sync_dir(skl_fs_t *fs)
{
    return skl_os_fsync(dir_of(fs));
}

int skl_fs_open_dir(const char *path, skl_fs_t **out)
{
    static const skl_fs_t calls = {
        .open = real_open,
        .close = real_close,
        .pread = real_pread,
        .pwrite = real_pwrite,
        .sync = real_sync,
        .allocate = real_allocate,
        .size = real_size,
        .truncate = real_truncate,
        .rename = real_rename,
        .unlink = real_unlink,
        .list = real_list,
        .sync_dir = real_sync_dir,
    };
    real_fs_t *real = calloc(1, sizeof(*real));
    struct stat st;
    int rc;

    if (real == NULL) {
        return -ENOMEM;
    }
    real->fs = calls;
    real->dir = skl_os_open(path, O_RDONLY | O_DIRECTORY, 0);
    rc = real->dir < 0 ? real->dir : skl_os_fstat(real->dir, &st);
    if (rc != 0) {
        if (real->dir >= 0) {
            (void)skl_os_close(real->dir);
        }
        free(real);
        return rc;
    }
    real->uid = st.st_uid;
    real->gid = st.st_gid;
    *out = &real->fs;
    return 0;
}

void skl_fs_close_dir(skl_fs_t *fs)
{
    if (fs != NULL) {
        (void)skl_os_close(dir_of(fs));
        free(fs);
    }
}

/* ---- Whole transfers ----------------------------------------------------- */

int skl_fs_read_all(skl_fs_t *fs, int fd, void *out, size_t n, uint64_t at)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got =
            fs->pread(fs, fd, (char *)out + done, n - done, at + done);

        if (got <= 0) {
            return got == 0 ? -EIO : (int)got;
        }
        done += (size_t)got;
    }
    return 0;
}

int skl_fs_write_all(skl_fs_t *fs, int fd, const void *from, size_t n,
                     uint64_t at)
{
    size_t done = 0;

    while (done < n) {
        ssize_t put =
            fs->pwrite(fs, fd, (const char *)from + done, n - done, at + done);

        if (put <= 0) {
            return put == 0 ? -ENOSPC : (int)put;
        }
        done += (size_t)put;
    }
    return 0;
}

static int write_new(skl_fs_t *fs, const char *name, const void *bytes,
                     size_t n)
{
    int fd = fs->open(fs, name, SKL_FS_CREATE);
    int rc;

    if (fd < 0) {
        return fd;
    }
    rc = skl_fs_write_all(fs, fd, bytes, n, 0);
    rc = rc == 0 ? fs->sync(fs, fd) : rc;
    (void)fs->close(fs, fd);
    return rc;
}

int skl_fs_replace(skl_fs_t *fs, const char *name, const void *bytes, size_t n)
{
    char temp[NAME_MAX_BYTES + 8];
    int rc;

    skl_assert(n > 0);
    skl_assert(strlen(name) < NAME_MAX_BYTES);
    (void)snprintf(temp, sizeof(temp), "%s.new", name);
    (void)fs->unlink(fs, temp); /* of a process that died */
    rc = write_new(fs, temp, bytes, n);
    rc = rc == 0 ? fs->rename(fs, temp, name) : rc;
    if (rc != 0) {
        (void)fs->unlink(fs, temp);
        return rc;
    }
    return fs->sync_dir(fs);
}

static int is_there(skl_fs_t *fs, const char *name)
{
    const int fd = fs->open(fs, name, SKL_FS_READ);

    if (fd >= 0) {
        (void)fs->close(fs, fd);
    }
    return fd != -ENOENT;
}

int skl_fs_lose(skl_fs_t *fs, const char *name)
{
    char to[NAME_MAX_BYTES + 16];
    int rc;

    skl_assert(strlen(name) < NAME_MAX_BYTES);
    (void)snprintf(to, sizeof(to), "%s.lost", name);
    for (int i = 2; is_there(fs, to) && i < 1000; i++) {
        (void)snprintf(to, sizeof(to), "%s.lost%d", name, i);
    }
    rc = fs->rename(fs, name, to);
    return rc == 0 ? fs->sync_dir(fs) : rc;
}

ssize_t skl_fs_read_file(skl_fs_t *fs, const char *name, void *out, size_t n)
{
    int fd = fs->open(fs, name, SKL_FS_READ);
    int64_t size;
    int rc;

    if (fd < 0) {
        return fd;
    }
    size = fs->size(fs, fd);
    if (size > (int64_t)n) {
        size = -EFBIG;
    }
    rc = size > 0 ? skl_fs_read_all(fs, fd, out, (size_t)size, 0) : 0;
    (void)fs->close(fs, fd);
    return rc == 0 ? (ssize_t)size : rc;
}
