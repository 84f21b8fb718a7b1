/* See snapshot_child.h. */
#include "io/snapshot_child.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "io/snapshot.h"
#include "seckill.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
/* Its allocator may be locked by another thread at the fork, and then is so in
 * the child for ever; that of glibc is not. */
#define LONGEST_NS (2 * SKL_NS_PER_SEC)
#else
#define LONGEST_NS (600 * SKL_NS_PER_SEC)
#endif

enum { STEP_RECORDS = 65536, PIPE_FD = 3, NICE = 10 };

/* Under load there is always another full segment: it ends all the same, so
 * that the parent learns how it went, and does not kill it for its age. */
enum { SNAPSHOTS_MAX = 16 };

typedef struct {
    int32_t rc;
    char text[160];
} message_t;

/* One snapshot: OK, ENOTFOUND (there is nothing new), or a code. */
static int build_one(skl_fs_t *fs, message_t *m)
{
    skl_snapshot_build_t *b;
    uint64_t done, total;
    int rc = skl_snapshot_build_begin(fs, &b, m->text, sizeof(m->text));

    if (rc != SECKILL_OK) {
        return rc;
    }
    skl_snapshot_build_half(b);
    do {
        rc = skl_snapshot_build_step(b, STEP_RECORDS, &done, &total);
    } while (rc == 1);
    if (rc < 0) {
        (void)snprintf(m->text, sizeof(m->text), "%.159s",
                       skl_snapshot_build_error(b));
    }
    skl_snapshot_build_end(b);
    return rc;
}

/* Nothing is left that could be in a snapshot: a log that is full has to do
 * with those there are. */
static int recycle(skl_fs_t *fs, int full, message_t *m)
{
    skl_identity_t id;
    int rc = skl_identity_read(fs, &id, m->text, sizeof(m->text));

    rc = rc == SECKILL_OK
             ? skl_snapshot_recycle(fs, &id, full, m->text, sizeof(m->text))
             : rc;
    return rc > 0 ? SECKILL_OK : rc;
}

/* Its descriptor stays open until the child ends. */
static int lock(skl_fs_t *fs, message_t *m)
{
    int fd = fs->open(fs, "snap.lock", SKL_FS_CREATE);
    int rc;

    fd = fd == -EEXIST ? fs->open(fs, "snap.lock", SKL_FS_WRITE) : fd;
    rc = fd < 0 ? fd : skl_os_try_lock(fd, 1);
    if (rc != 0) {
        (void)snprintf(m->text, sizeof(m->text), "snap.lock: %.100s",
                       strerror(-rc));
        return rc == -EWOULDBLOCK ? SECKILL_ELOCKED : SECKILL_EIO;
    }
    return SECKILL_OK;
}

static void build(const char *dir, int full, message_t *m)
{
    skl_fs_t *fs;
    int built = 0; /* snapshots */

    m->rc = skl_fs_open_dir(dir, &fs) == 0 ? lock(fs, m) : SECKILL_EIO;
    if (m->rc != SECKILL_OK) {
        return;
    }
    while (built < SNAPSHOTS_MAX && (m->rc = build_one(fs, m)) == SECKILL_OK) {
        built++;
    }
    if (m->rc == SECKILL_ENOTFOUND) {
        const int rc = recycle(fs, full, m);

        m->rc = rc != SECKILL_OK || built > 0 ? rc : m->rc;
    }
}

static void on_term(int signal)
{
    (void)signal;
    _exit(0);
}

static void on_alarm(int signal)
{
    (void)signal;
    _exit(1);
}

/* nginx raises an alert for every child that a signal ends: one that is not
 * wanted any more ends itself. So does one that takes too long: its parent may
 * be dead, and nobody else can build a snapshot before it is gone. The other
 * signals stay blocked. */
static void end_on_signals(void)
{
    struct sigaction term = {.sa_handler = on_term};
    struct sigaction late = {.sa_handler = on_alarm};
    sigset_t both;

    (void)sigaction(SIGTERM, &term, NULL);
    (void)sigaction(SIGALRM, &late, NULL);
    (void)sigemptyset(&both);
    (void)sigaddset(&both, SIGTERM);
    (void)sigaddset(&both, SIGALRM);
    (void)sigprocmask(SIG_UNBLOCK, &both, NULL);
    (void)alarm((unsigned)(LONGEST_NS / SKL_NS_PER_SEC) + 1);
}

/* Nothing of the parent's may be held open by a child that outlives it. */
_Noreturn static void run(const char *dir, int full, int fd)
{
    message_t m = {0};
    char path[256];

    (void)snprintf(path, sizeof(path), "%s", dir);
    if (fd != PIPE_FD && dup2(fd, PIPE_FD) < 0) {
        _exit(1);
    }
    if (close_range(PIPE_FD + 1, ~0U, 0) != 0) {
        _exit(1);
    }
    end_on_signals();
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    build(path, full, &m);
    _exit(write(PIPE_FD, &m, sizeof(m)) == (ssize_t)sizeof(m) ? 0 : 1);
}

int skl_snapshot_child_start(skl_snapshot_child_t *c, const char *dir, int full,
                             int64_t mono_now)
{
    int fds[2];
    pid_t pid;

    skl_assert(c->pid == 0);
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return SECKILL_EIO;
    }
    pid = fork();
    if (pid == 0) {
        run(dir, full, fds[1]);
    }
    (void)skl_os_close(fds[1]);
    if (pid < 0) {
        (void)skl_os_close(fds[0]);
        return SECKILL_EIO;
    }
    c->pid = pid;
    c->fd = fds[0];
    c->started_ns = mono_now;
    return SECKILL_OK;
}

/* nginx collects every child it is told of: then there is none left here. */
static void collect(skl_snapshot_child_t *c)
{
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    (void)skl_os_close(c->fd);
    c->pid = 0;
    c->fd = -1;
}

int skl_snapshot_child_poll(skl_snapshot_child_t *c, int64_t mono_now, int *rc,
                            char *text, size_t size)
{
    struct pollfd fd = {.fd = c->fd, .events = POLLIN};
    message_t m = {.rc = SECKILL_EIO, .text = "the child process died"};
    message_t got;

    if (c->pid == 0) {
        return 0;
    }
    if (mono_now - c->started_ns > LONGEST_NS) {
        (void)kill(c->pid, SIGKILL);
    }
    if (poll(&fd, 1, 0) <= 0) {
        return 0;
    }
    if (read(c->fd, &got, sizeof(got)) == (ssize_t)sizeof(got)) {
        got.text[sizeof(got.text) - 1] = '\0';
        m = got;
    }
    collect(c);
    *rc = m.rc;
    (void)snprintf(text, size, "%s", m.text);
    return 1;
}

void skl_snapshot_child_kill(skl_snapshot_child_t *c)
{
    if (c->pid != 0) {
        (void)kill(c->pid, SIGTERM);
        collect(c);
    }
}
