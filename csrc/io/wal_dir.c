/* See wal_dir.h. */
#include "io/wal_dir.h"

#include "base/assert.h"
#include "base/os.h"
#include "seckill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOCK_ROUNDS = 12 /* of 5 s each */ };

static int say(char *err, size_t size, int rc, const char *call,
               const char *path, const char *why)
{
    (void)snprintf(err, size, "dir: %s %.200s: %s", call, path, why);
    return rc;
}

static int find_user(skl_wal_dir_t *d, const char *user, char *err, size_t size)
{
    d->uid = geteuid();
    d->gid = getegid();
    if (user == NULL || user[0] == '\0') {
        return SECKILL_OK;
    }
    if (skl_os_user(user, &d->uid, &d->gid) != 0) {
        (void)snprintf(err, size, "user: no such user: %.64s", user);
        return SECKILL_EUNKNOWNUSER;
    }
    if (geteuid() != 0 && d->uid != geteuid()) {
        (void)snprintf(err, size,
                       "user: only root can open for another user (%.64s)",
                       user);
        return SECKILL_ENOTOWNER;
    }
    return SECKILL_OK;
}

/* A new directory gets its owner; an existing one says who that is. */
static int check_owner(skl_wal_dir_t *d, int fd, int made, const char *path,
                       char *err, size_t size)
{
    struct stat st;
    int rc = made ? skl_os_fchown(fd, d->uid, d->gid) : 0;

    rc = rc == 0 ? skl_os_fstat(fd, &st) : rc;
    if (rc != 0) {
        return say(err, size, SECKILL_EIO, "stat", path, strerror(-rc));
    }
    if (st.st_uid != geteuid() && geteuid() != 0) {
        return say(err, size, SECKILL_ENOTOWNER, "open", path,
                   "belongs to somebody else");
    }
    if ((st.st_mode & 077) != 0) {
        return say(err, size, SECKILL_ENOTOWNER, "open", path,
                   "others have access to it; chmod 0700");
    }
    d->uid = st.st_uid;
    d->gid = st.st_gid;
    return SECKILL_OK;
}

/* A new directory is in its parent when the power is gone only if that was
 * synced. One that may be written to but not read cannot be. */
static int sync_parent(int fd)
{
    const int parent = skl_os_openat(fd, "..", O_RDONLY | O_DIRECTORY, 0);
    int rc;

    skl_assert(fd >= 0);
    if (parent < 0) {
        return parent == -EACCES ? 0 : parent;
    }
    rc = skl_os_fsync(parent);
    (void)skl_os_close(parent);
    return rc;
}

/* It may not survive: the next opener is to make it again. */
static int keep_dir(int fd, const char *path, char *err, size_t size)
{
    const int rc = sync_parent(fd);

    if (rc != 0) {
        (void)skl_os_rmdir(path);
        return say(err, size, SECKILL_EIO, "sync the parent of", path,
                   strerror(-rc));
    }
    return SECKILL_OK;
}

static int make_dir(skl_wal_dir_t *d, const char *path, char *err, size_t size)
{
    const int made = skl_os_mkdir(path, 0700);
    int fd, rc;

    if (made != 0 && made != -EEXIST) {
        return say(err, size, SECKILL_EIO, "mkdir", path, strerror(-made));
    }
    fd = skl_os_open(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd == -ENOTDIR || fd == -ELOOP || fd == -EACCES) {
        return say(err, size, SECKILL_ENOTOWNER, "open", path,
                   "not a directory of this user");
    }
    if (fd < 0) {
        return say(err, size, SECKILL_EIO, "open", path, strerror(-fd));
    }
    rc = check_owner(d, fd, made == 0, path, err, size);
    if (rc == SECKILL_OK && made == 0) {
        rc = keep_dir(fd, path, err, size);
    }
    (void)skl_os_close(fd);
    return rc;
}

static int open_lock(skl_wal_dir_t *d, const char *name)
{
    int fd = d->fs->open(d->fs, name, SKL_FS_CREATE);

    return fd == -EEXIST ? d->fs->open(d->fs, name, SKL_FS_WRITE) : fd;
}

static int take_locks(skl_wal_dir_t *d)
{
    int rc = -EWOULDBLOCK;

    d->open_lock_fd = open_lock(d, "open.lock");
    if (d->open_lock_fd < 0) {
        return d->open_lock_fd;
    }
    for (int i = 0; rc == -EWOULDBLOCK && i < LOCK_ROUNDS; i++) {
        rc = skl_os_lock_file(d->open_lock_fd);
    }
    if (rc != 0) {
        return rc;
    }
    d->lock_fd = open_lock(d, "lock");
    if (d->lock_fd < 0) {
        return d->lock_fd;
    }
    rc = skl_os_try_lock(d->lock_fd, 1);
    d->alone = rc == 0;
    return rc == -EWOULDBLOCK ? skl_os_try_lock(d->lock_fd, 0) : rc;
}

int skl_wal_dir_enter(skl_wal_dir_t *d, const char *path, const char *user,
                      char *err, size_t err_size)
{
    int rc;

    memset(d, 0, sizeof(*d));
    d->lock_fd = d->open_lock_fd = -1;
    rc = find_user(d, user, err, err_size);
    rc = rc == SECKILL_OK ? make_dir(d, path, err, err_size) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = skl_fs_open_dir(path, &d->fs);
    if (rc == 0) {
        rc = take_locks(d);
    }
    if (rc != 0) {
        (void)say(err, err_size, rc, "lock", path,
                  rc == -EWOULDBLOCK ? "somebody has been opening it for a "
                                       "minute"
                                     : strerror(-rc));
        skl_wal_dir_leave(d);
        return rc == -EWOULDBLOCK ? SECKILL_EBUSY : SECKILL_EIO;
    }
    return SECKILL_OK;
}

void skl_wal_dir_settle(skl_wal_dir_t *d)
{
    int rc;

    skl_assert(d->lock_fd >= 0);
    if (d->alone) {
        rc = skl_os_try_lock(d->lock_fd, 0);
        skl_assert(rc == 0); /* openers wait for open.lock */
        d->alone = 0;
    }
    if (d->open_lock_fd >= 0) {
        (void)skl_os_close(d->open_lock_fd);
        d->open_lock_fd = -1;
    }
}

void skl_wal_dir_leave(skl_wal_dir_t *d)
{
    if (d->lock_fd >= 0) {
        (void)skl_os_close(d->lock_fd);
    }
    if (d->open_lock_fd >= 0) {
        (void)skl_os_close(d->open_lock_fd);
    }
    skl_fs_close_dir(d->fs);
    d->fs = NULL;
    d->lock_fd = d->open_lock_fd = -1;
    d->alone = 0;
}
