/* Loads of list files in a child process; see list_child.h. */
#include "io/list_child.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIPE_FD = 3, NICE = 5, STOP_TRIES = 1000 };

/* One that does not end by its own alarm is killed after this, and left to
 * itself after twice this: it waits for a disk, and no signal reaches it. */
#define GRACE_NS (3 * SKL_NS_PER_SEC)

int64_t skl_list_child_limit_ns = 600 * SKL_NS_PER_SEC;
int64_t skl_list_merge_after_ns = 2 * SKL_NS_PER_SEC;

/* ---- In the child -------------------------------------------------------- */

static const char *child_temp;
static skl_list_made_t child_late; /* what to say when it takes too long */

/* nginx raises an alert for every child that a signal ends: this one ends
 * itself. Both handlers only make system calls. */
static void on_term(int signal)
{
    (void)signal;
    (void)unlink(child_temp);
    _exit(0);
}

static void on_alarm(int signal)
{
    (void)signal;
    (void)unlink(child_temp);
    _exit(write(PIPE_FD, &child_late, sizeof(child_late)) ==
                  (ssize_t)sizeof(child_late)
              ? 0
              : 1);
}

static void end_on_signals(void)
{
    struct sigaction term = {.sa_handler = on_term};
    struct sigaction late = {.sa_handler = on_alarm};
    const int64_t seconds = skl_list_child_limit_ns / SKL_NS_PER_SEC;
    sigset_t both;

    child_late.rc = SECKILL_EIO;
    (void)snprintf(child_late.text, sizeof(child_late.text),
                   "the child process that reads took over %d s", (int)seconds);
    (void)sigaction(SIGTERM, &term, NULL);
    (void)sigaction(SIGALRM, &late, NULL);
    (void)sigemptyset(&both);
    (void)sigaddset(&both, SIGTERM);
    (void)sigaddset(&both, SIGALRM);
    (void)sigprocmask(SIG_UNBLOCK, &both, NULL);
    (void)alarm((unsigned)seconds);
}

/* Only wishes. */
static void be_modest(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    (void)setpriority(PRIO_PROCESS, 0, NICE);
    if (fd >= 0) {
        (void)!write(fd, "1000", 4);
        (void)close(fd);
    }
}

_Noreturn static void run(skl_load_t *load, int fd, pid_t parent)
{
    skl_list_made_t made;

    if (fd != PIPE_FD && dup2(fd, PIPE_FD) < 0) {
        _exit(1);
    }
    if (close_range(PIPE_FD + 1, ~0U, 0) != 0) {
        _exit(1);
    }
    child_temp = skl_load_temp(load);
    end_on_signals();
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        _exit(0);
    }
    be_modest();
    skl_load_make(load, &made);
    if (made.rc != SECKILL_OK) {
        (void)unlink(child_temp);
    }
    _exit(write(PIPE_FD, &made, sizeof(made)) == (ssize_t)sizeof(made) ? 0 : 1);
}

/* ---- In the thread ------------------------------------------------------- */

static int start(skl_list_child_t *c, int64_t mono_now)
{
    const pid_t parent = getpid();
    int fds[2];
    pid_t pid;

    skl_assert(c->pid == 0 && c->load != NULL);
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return -errno;
    }
    pid = fork();
    if (pid == 0) {
        run(c->load, fds[1], parent);
    }
    if (pid < 0) {
        const int rc = -errno;

        (void)skl_os_close(fds[0]);
        (void)skl_os_close(fds[1]);
        return rc;
    }
    (void)skl_os_close(fds[1]);
    c->pid = pid;
    c->fd = fds[0];
    c->started_ns = mono_now;
    c->killed = 0;
    return 0;
}

/* 1 when it has been collected, by us or by nginx, which collects every child
 * that it is told of; *status is -1 then. */
static int collect(skl_list_child_t *c, int *status, int flags)
{
    pid_t rc;

    skl_assert(c->pid > 0);
    *status = -1;
    do {
        rc = waitpid(c->pid, status, flags);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        *status = -1;
    }
    return rc != 0;
}

static void forget(skl_list_child_t *c)
{
    (void)skl_os_close(c->fd);
    c->load = NULL;
    c->list = NULL;
    c->pid = 0;
    c->asker = 0;
}

static void say_died(skl_list_made_t *made, int status)
{
    memset(made, 0, sizeof(*made));
    made->rc = SECKILL_EIO;
    if (status != -1 && WIFSIGNALED(status)) {
        (void)snprintf(made->text, sizeof(made->text),
                       "the child process that reads was ended by signal %d",
                       WTERMSIG(status));
    } else {
        (void)snprintf(made->text, sizeof(made->text),
                       "the child process that reads died");
    }
}

/* 0: it runs. */
static int poll_child(skl_list_child_t *c, int64_t mono_now,
                      skl_list_made_t *made)
{
    const int64_t late = mono_now - c->started_ns - skl_list_child_limit_ns;
    struct pollfd fd = {.fd = c->fd, .events = POLLIN};
    int status;

    skl_assert(c->load != NULL && c->fd >= 0);
    if (poll(&fd, 1, 0) > 0) {
        const ssize_t n = read(c->fd, made, sizeof(*made));

        (void)collect(c, &status, 0);
        if (n != (ssize_t)sizeof(*made)) {
            say_died(made, status);
        }
        return 1;
    }
    if (late > GRACE_NS && !c->killed) {
        (void)kill(c->pid, SIGKILL);
        c->killed = 1;
    }
    if (late > 2 * GRACE_NS) {
        (void)collect(c, &status, WNOHANG);
        say_died(made, -1);
        return 1;
    }
    return 0;
}

/* For later; where there is no place another load will see to it. */
static void keep_merge(skl_list_child_t *c, skl_list_merge_t *merge,
                       uint64_t word, int64_t at)
{
    for (int i = 0; i < SKL_LIST_MERGES && merge != NULL; i++) {
        if (c->due[i].merge == NULL) {
            c->due[i] = (skl_list_due_t){merge, word, at};
            return;
        }
    }
    skl_list_merge_free(merge);
}

void skl_list_child_tick(skl_list_child_t *c, const skl_list_env_t *env,
                         int64_t mono_now)
{
    for (int i = 0; i < SKL_LIST_MERGES; i++) {
        skl_list_due_t *due = &c->due[i];

        if (due->merge == NULL || mono_now < due->at) {
            continue;
        }
        if (skl_list_merge_apply(due->merge, due->word, env->now(env->ctx)) !=
            SECKILL_EBUSY) {
            skl_list_merge_free(due->merge);
            due->merge = NULL;
        }
    }
}

static int finish(skl_list_child_t *c, int64_t mono_now,
                  const skl_list_made_t *made, char *err, size_t err_size)
{
    skl_load_t *load = c->load;
    skl_list_merge_t *merge;
    uint64_t word;
    int rc;

    skl_assert(load != NULL);
    forget(c);
    merge = skl_load_take_merge(load, &word);
    rc = skl_load_end(load, made, err, err_size);
    if (rc == SECKILL_OK) {
        keep_merge(c, merge, word, mono_now + skl_list_merge_after_ns);
    } else {
        skl_list_merge_free(merge);
    }
    return rc;
}

static int begin(skl_list_child_t *c, const skl_list_env_t *env,
                 struct seckill_list *list, int flags, uint64_t asker,
                 int64_t mono_now, char *err, size_t err_size)
{
    skl_list_made_t made = {.rc = SECKILL_EIO};
    int rc;

    skl_assert(c->load == NULL);
    rc = skl_load_begin(env, list, flags | SKL_LOAD_MERGE, 0, &c->load, err,
                        err_size);
    if (rc == SKL_LOAD_NOTHING) {
        return SECKILL_OK;
    }
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = start(c, mono_now);
    if (rc != 0) {
        skl_load_t *load = c->load;

        (void)snprintf(made.text, sizeof(made.text), "fork: %s", strerror(-rc));
        c->load = NULL;
        return skl_load_end(load, &made, err, err_size);
    }
    c->list = list;
    c->asker = asker;
    return SKL_LOAD_RUNS;
}

int skl_list_child_load(skl_list_child_t *c, const skl_list_env_t *env,
                        struct seckill_list *list, int flags, uint64_t asker,
                        int64_t mono_now, char *err, size_t err_size)
{
    skl_list_made_t made;

    if (c->pid == 0) {
        return begin(c, env, list, flags, asker, mono_now, err, err_size);
    }
    if (c->list != list || c->asker != asker) {
        return SKL_LOAD_WAITS;
    }
    if (!poll_child(c, mono_now, &made)) {
        return SKL_LOAD_RUNS;
    }
    return finish(c, mono_now, &made, err, err_size);
}

int skl_list_child_fd(const skl_list_child_t *c)
{
    return c->pid != 0 ? c->fd : -1;
}

void skl_list_child_stop(skl_list_child_t *c)
{
    skl_load_t *load = c->load;
    int status;

    for (int i = 0; i < SKL_LIST_MERGES; i++) {
        skl_list_merge_free(c->due[i].merge);
        c->due[i].merge = NULL;
    }
    if (c->pid == 0) {
        return;
    }
    (void)kill(c->pid, SIGTERM);
    for (int i = 0; !collect(c, &status, WNOHANG); i++) {
        if (i == STOP_TRIES) {
            (void)kill(c->pid, SIGKILL); /* it is stopped */
        } else if (i == 2 * STOP_TRIES) {
            break; /* it waits for a disk */
        }
        skl_os_pause(SKL_NS_PER_MS);
    }
    forget(c);
    skl_load_drop(load);
}
