/* The wake socket; see wake.h. */
#include "io/wake.h"

#include "base/assert.h"
#include "base/os.h"
#include "seckill.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { NAME_MAX_LEN = 48, BACKLOG = 8 };

static int fail(char *err, size_t size, const char *what, const char *path)
{
    (void)snprintf(err, size, "%s %.180s: %s", what, path, strerror(errno));
    return SECKILL_EIO;
}

static int to_address(const char *path, struct sockaddr_un *out)
{
    memset(out, 0, sizeof(*out));
    out->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(out->sun_path)) {
        return -1;
    }
    memcpy(out->sun_path, path, strlen(path));
    return 0;
}

/* 1 when nobody listens there: the pid is gone, and so is the listener (a pid
 * of another pid namespace may only look gone). */
static int is_dead(const char *path, pid_t pid)
{
    struct sockaddr_un addr;
    int fd, refused;

    if (pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH ||
        to_address(path, &addr) != 0) {
        return 0;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return 0;
    }
    refused = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 &&
              errno == ECONNREFUSED;
    (void)skl_os_close(fd);
    return refused;
}

/* The pid of "<pid>.<sequence>.sock", else 0. */
static pid_t pid_of(const char *name)
{
    size_t len = strlen(name);
    char *end;
    long pid = strtol(name, &end, 10);

    if (len < 5 || strcmp(name + len - 5, ".sock") != 0 || *end != '.' ||
        pid <= 0 || pid > 0x7fffffff) {
        return 0;
    }
    return (pid_t)pid;
}

static void remove_dead(const char *dir)
{
    const struct dirent *entry;
    char path[SKL_WAKE_PATH_MAX + sizeof(entry->d_name)];
    DIR *d = opendir(dir);

    if (d == NULL) {
        return;
    }
    while ((entry = readdir(d)) != NULL) {
        pid_t pid = pid_of(entry->d_name);
        int n = snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);

        if (pid != 0 && n > 0 && (size_t)n < sizeof(path) &&
            is_dead(path, pid)) {
            (void)skl_os_unlink(path);
        }
    }
    (void)closedir(d);
}

static int set_path(skl_wake_t *wake, const char *dir, char *err, size_t size)
{
    static _Atomic unsigned sequence;
    char path[512];

    (void)snprintf(path, sizeof(path), "%.400s/%d.%u.sock", dir, (int)getpid(),
                   atomic_fetch_add(&sequence, 1));
    if (strlen(path) >= sizeof(wake->path)) {
        (void)snprintf(err, size,
                       "socket path is over %d bytes, use a shorter shm_dir or "
                       "name: %.120s",
                       SKL_WAKE_PATH_MAX - 1, path);
        return SECKILL_EIO;
    }
    memcpy(wake->path, path, strlen(path) + 1);
    return SECKILL_OK;
}

int skl_wake_open(skl_wake_t *wake, const char *dir, char *err, size_t size)
{
    struct sockaddr_un addr;
    int rc;

    wake->fd = -1;
    wake->path[0] = '\0';
    remove_dead(dir);
    rc = set_path(wake, dir, err, size);
    if (rc != SECKILL_OK) {
        return rc;
    }
    wake->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (wake->fd < 0) {
        return fail(err, size, "socket", wake->path);
    }
    rc = to_address(wake->path, &addr);
    skl_assert(rc == 0);
    (void)skl_os_unlink(wake->path); /* of an earlier process with our pid */
    if (fchmod(wake->fd, 0600) != 0 ||
        bind(wake->fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        rc = fail(err, size, "bind", wake->path);
        goto fail_bind;
    }
    if (chmod(wake->path, 0600) != 0 || listen(wake->fd, BACKLOG) != 0) {
        rc = fail(err, size, "listen", wake->path);
        goto fail_listen;
    }
    return SECKILL_OK;

fail_listen:
    (void)skl_os_unlink(wake->path);
fail_bind:
    (void)skl_os_close(wake->fd);
    wake->fd = -1;
    wake->path[0] = '\0';
    return rc;
}

void skl_wake_close(skl_wake_t *wake)
{
    if (wake->fd >= 0) {
        (void)skl_os_unlink(wake->path);
        for (int fd = skl_wake_accept(wake); fd >= 0;
             fd = skl_wake_accept(wake)) {
            (void)skl_os_close(fd); /* else it is reset: an error over there */
        }
        (void)skl_os_close(wake->fd);
    }
    wake->fd = -1;
    wake->path[0] = '\0';
}

int skl_wake_accept(skl_wake_t *wake)
{
    skl_assert(wake->fd >= 0);
    return accept4(wake->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

int skl_wake_drain(int fd)
{
    char buf[256];
    ssize_t n;

    skl_assert(fd >= 0);
    do {
        n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    } while (n > 0 || (n < 0 && errno == EINTR));
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}
