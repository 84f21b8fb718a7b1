/* The threads of one process; see io.h. */
#include "io/io.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "io/cq.h"
#include "io/list_child.h"
#include "io/list_map.h"
#include "io/overlay_log.h"
#include "io/wake.h"
#include "io/watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#define TICK_NS (100 * SKL_NS_PER_MS)
#define BUSY_NS (20 * SKL_NS_PER_MS)
#define JOB_NS (10 * SKL_NS_PER_SEC)
/* An index that could not be mapped is tried again so often. */
#define MAP_NS SKL_NS_PER_SEC

enum {
    STACK_BYTES = 512 * 1024,
    SWEEP_MAX = 512,
    TRIM_MAX = 1024,
    LAST_FLUSHES = 256,
    SEGMENT_EVENTS = IN_ATTRIB | IN_MASK_ADD | IN_ONLYDIR
};

enum { FD_COMMAND, FD_INOTIFY, FD_LISTEN, FD_READER, FD_CHILD, FD_COUNT };

/* A reload that somebody waits for. */
typedef struct {
    struct seckill_list *list;
    uint64_t ticket;
    int64_t at; /* mono; of the next try */
    int64_t deadline;
    int tries;
    int pad;
} job_t;

struct skl_io {
    skl_io_config_t config;
    skl_list_env_t env;
    uint32_t epoch; /* skl_lists_epoch of the process it belongs to */
    uint32_t pad;
    _Atomic int running;
    _Atomic int stop;
    pthread_t io_thread, flush_thread;

    /* Given to the io thread. */
    int command_fd; /* eventfd */
    pthread_mutex_t jobs_lock;
    uint32_t job_count;
    job_t jobs[SKL_CQ_TICKETS];

    /* Of the io thread. */
    int inotify_fd; /* -1: by time alone */
    int segment_wd;
    int reader_fd;
    int has_role[SKL_ROLE_COUNT];
    int64_t tick_at, sweep_at, watch_at, map_at;
    skl_wake_t wake;
    skl_list_child_t child; /* that loads a list */
    skl_watcher_t watcher;
    skl_overlay_log_t *overlay_log; /* NULL: nothing is kept */
    int log_failed;                 /* and it was said */
    int pad2;

    int flush_fd; /* eventfd */
    skl_cq_t cq;
};

static int64_t min_ns(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void signal_fd(int fd)
{
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof(one));

    skl_assert(n == sizeof(one) || errno == EAGAIN || errno == EINTR);
}

static void drain_fd(int fd)
{
    uint64_t n;

    (void)!read(fd, &n, sizeof(n));
}

/* ---- Roles --------------------------------------------------------------- */

static void take_role(skl_io_t *io, int role)
{
    skl_lock_t *lock = &io->config.lists->shm->roles[role];

    skl_assert(role >= 0 && role < SKL_ROLE_COUNT);
    if (!io->has_role[role]) {
        io->has_role[role] = skl_lock_try(lock, NULL, NULL) == SECKILL_OK;
    }
}

static void leave_role(skl_io_t *io, int role)
{
    if (io->has_role[role]) {
        skl_lock_release(&io->config.lists->shm->roles[role]);
        io->has_role[role] = 0;
    }
}

/* ---- Sweeping ------------------------------------------------------------ */

static void sweep(skl_io_t *io, int64_t now)
{
    int n;

    if (!io->has_role[SKL_ROLE_SWEEPER] || io->config.sweep == NULL ||
        now < io->sweep_at) {
        return;
    }
    n = io->config.sweep(io->config.ctx, SWEEP_MAX);
    if (n >= SWEEP_MAX) {
        io->sweep_at = now + TICK_NS / 20; /* a backlog */
    } else {
        io->sweep_at = now + (n != 0 ? TICK_NS / 2 : TICK_NS);
    }
}

static void trim_overlay(skl_io_t *io)
{
    skl_overlay_t *o = &io->config.lists->overlay;

    if (io->has_role[SKL_ROLE_SWEEPER] && atomic_load(&o->shm->used) > 0) {
        skl_overlay_trim(o, TRIM_MAX, io->config.now(io->config.ctx));
    }
}

/* ---- The overlay's log --------------------------------------------------- */

static void keep_overlay(skl_io_t *io, int64_t now)
{
    char err[160] = "";
    int rc;

    if (io->overlay_log == NULL || !io->has_role[SKL_ROLE_LOADER]) {
        return;
    }
    rc = skl_overlay_log_step(io->overlay_log, now, err, sizeof(err));
    if (rc != SECKILL_OK && !io->log_failed) {
        skl_cq_notice(&io->cq, SECKILL_EVENT_LIST, rc, err);
    }
    io->log_failed = rc != SECKILL_OK;
}

/* The last process to go writes what is left, also one without the role. */
static void end_overlay_log(skl_io_t *io)
{
    if (io->overlay_log != NULL) {
        take_role(io, SKL_ROLE_LOADER);
    }
    keep_overlay(io, skl_clock_mono_ns());
    skl_overlay_log_free(io->overlay_log);
    io->overlay_log = NULL;
}

static int begin_overlay_log(skl_io_t *io)
{
    const char *dir = io->config.dir;

    if (dir == NULL || dir[0] == '\0') {
        return SECKILL_OK;
    }
    io->overlay_log = skl_overlay_log_new(dir, io->config.lists);
    return io->overlay_log != NULL ? SECKILL_OK : SECKILL_ENOMEM;
}

/* ---- Lists --------------------------------------------------------------- */

static int64_t env_now(void *ctx)
{
    skl_io_t *io = ctx;

    return io->config.now(io->config.ctx);
}

static int map_list(skl_io_t *io, struct seckill_list *list, int again)
{
    int rc = skl_list_map(io->config.segment, list, again);

    if (rc == 1) {
        skl_cq_notice(&io->cq, SECKILL_EVENT_LIST, SECKILL_OK,
                      list->slot->name);
    }
    skl_list_unmap_retired(list);
    return rc;
}

static void map_lists(skl_io_t *io, int64_t now)
{
    struct seckill_list *list = atomic_load(&io->config.lists->first);
    const int again = now >= io->map_at;

    for (; list != NULL; list = list->next) {
        (void)map_list(io, list, again);
    }
    if (again) {
        io->map_at = now + MAP_NS;
    }
}

static void watch_done(void *ctx, struct seckill_list *list, int rc,
                       const char *text)
{
    skl_io_t *io = ctx;
    char line[240];

    skl_count_result(io->config.counters, SKL_OP_list_reload, rc);
    if (rc != SECKILL_OK) {
        (void)snprintf(line, sizeof(line), "%.32s: %.200s", list->slot->name,
                       text);
        skl_cq_notice(&io->cq, SECKILL_EVENT_LIST, rc, line);
    }
    (void)map_list(io, list, 1);
}

/* One try of a job; 1 when it is over. */
static int run_job(skl_io_t *io, job_t *job, int64_t now)
{
    int last = job->tries + 1 >= SKL_LOAD_TRIES ? SKL_LOAD_LAST_TRY : 0;
    char err[240] = "";
    int rc = skl_list_child_load(&io->child, &io->env, job->list, last,
                                 job->ticket, now, err, sizeof(err));
    int mapped;

    if (rc == SKL_LOAD_RUNS || rc == SKL_LOAD_WAITS ||
        (rc == SECKILL_EBUSY && now < job->deadline)) {
        job->at = now + BUSY_NS;
        return 0;
    }
    if (rc == SKL_LOAD_AGAIN) {
        job->tries++;
        job->at =
            now + atomic_load(&job->list->slot->settle_ms) * SKL_NS_PER_MS;
        return 0;
    }
    skl_count_result(io->config.counters, SKL_OP_list_reload, rc);
    mapped = map_list(io, job->list, 1);
    /* EBUSY: the program's thread is at it. */
    if (rc == SECKILL_OK && mapped < 0 && mapped != SECKILL_EBUSY) {
        rc = mapped;
        (void)snprintf(err, sizeof(err), SKL_LIST_UNMAPPED);
    }
    skl_cq_done(&io->cq, job->ticket, rc, err);
    return 1;
}

/* Take out a job that is due, or 0; *next: when one will be. */
static int take_job(skl_io_t *io, int64_t now, job_t *job, int64_t *next)
{
    int found = 0;

    (void)pthread_mutex_lock(&io->jobs_lock);
    for (uint32_t i = 0; i < io->job_count && !found; i++) {
        found = io->jobs[i].at <= now;
        if (found) {
            *job = io->jobs[i];
            io->jobs[i] = io->jobs[--io->job_count];
        } else {
            *next = min_ns(*next, io->jobs[i].at);
        }
    }
    (void)pthread_mutex_unlock(&io->jobs_lock);
    return found;
}

static void put_job(skl_io_t *io, const job_t *job)
{
    (void)pthread_mutex_lock(&io->jobs_lock);
    skl_assert(io->job_count < SKL_CQ_TICKETS);
    io->jobs[io->job_count++] = *job;
    (void)pthread_mutex_unlock(&io->jobs_lock);
}

/* The child has ended: whoever asked for it is due. */
static void hurry(skl_io_t *io, int64_t now)
{
    (void)pthread_mutex_lock(&io->jobs_lock);
    for (uint32_t i = 0; i < io->job_count; i++) {
        if (io->jobs[i].ticket == io->child.asker) {
            io->jobs[i].at = now;
        }
    }
    (void)pthread_mutex_unlock(&io->jobs_lock);
    skl_watcher_hurry(&io->watcher, now);
    io->watch_at = now;
}

static int64_t run_jobs(skl_io_t *io, int64_t now)
{
    int64_t next = INT64_MAX;
    job_t job;

    while (!atomic_load(&io->stop) && take_job(io, now, &job, &next)) {
        if (!run_job(io, &job, now)) {
            skl_assert(job.at > now);
            put_job(io, &job);
            next = min_ns(next, job.at);
        }
    }
    return next;
}

/* ---- Events -------------------------------------------------------------- */

static void set_reader(skl_io_t *io, int fd)
{
    int old = skl_cq_set_reader(&io->cq, fd);

    skl_assert(fd < 0 || fd != old);
    skl_assert(old == io->reader_fd);
    if (old >= 0) {
        (void)skl_os_close(old);
    }
    io->reader_fd = fd;
}

static void read_inotify(skl_io_t *io, int64_t now)
{
    _Alignas(struct inotify_event) char buf[4096];
    ssize_t n = read(io->inotify_fd, buf, sizeof(buf));

    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *e = (const void *)(buf + at);

        if (io->has_role[SKL_ROLE_LOADER]) {
            skl_watcher_event(&io->watcher, e->wd, now);
            io->watch_at = now;
        }
        at += (ssize_t)(sizeof(*e) + e->len);
    }
}

static void handle(skl_io_t *io, const struct pollfd *fds)
{
    if (fds[FD_COMMAND].revents) {
        drain_fd(io->command_fd);
    }
    if (fds[FD_INOTIFY].revents) {
        read_inotify(io, skl_clock_mono_ns());
    }
    if (fds[FD_READER].revents && !skl_wake_drain(io->reader_fd)) {
        set_reader(io, -1);
    }
    if (fds[FD_CHILD].revents) {
        hurry(io, skl_clock_mono_ns());
    }
    if (fds[FD_LISTEN].revents) {
        int fd = skl_wake_accept(&io->wake);

        if (fd >= 0) {
            set_reader(io, fd);
        }
    }
}

/* The one place where the io thread waits. */
static int wait_fds(struct pollfd *fds, nfds_t count, int64_t timeout_ns)
{
    int64_t ms = (timeout_ns + SKL_NS_PER_MS - 1) / SKL_NS_PER_MS;

    return poll(fds, count, ms < 0 ? 0 : (int)ms);
}

static void wait_events(skl_io_t *io, int64_t until)
{
    struct pollfd fds[FD_COUNT] = {
        [FD_COMMAND] = {.fd = io->command_fd, .events = POLLIN},
        [FD_INOTIFY] = {.fd = io->inotify_fd, .events = POLLIN},
        [FD_LISTEN] = {.fd = io->wake.fd, .events = POLLIN},
        [FD_READER] = {.fd = io->reader_fd, .events = POLLIN},
        [FD_CHILD] = {.fd = skl_list_child_fd(&io->child), .events = POLLIN},
    };

    if (wait_fds(fds, FD_COUNT, until - skl_clock_mono_ns()) > 0) {
        handle(io, fds);
    }
}

/* ---- The io thread ------------------------------------------------------- */

static void tick(skl_io_t *io, int64_t now)
{
    if (now < io->tick_at) {
        return;
    }
    io->tick_at = now + TICK_NS;
    take_role(io, SKL_ROLE_LOADER);
    take_role(io, SKL_ROLE_SWEEPER);
    trim_overlay(io);
    skl_list_child_tick(&io->child, &io->env, now);
    keep_overlay(io, now);
    if (io->has_role[SKL_ROLE_SWEEPER] && io->config.tick != NULL) {
        io->config.tick(io->config.ctx, now);
    }
    if (io->has_role[SKL_ROLE_LOADER]) {
        io->watch_at = now;
    }
}

/* Do what is due; returns when the next thing is. */
static int64_t step(skl_io_t *io)
{
    int64_t now = skl_clock_mono_ns(), next;

    tick(io, now);
    sweep(io, now);
    next = run_jobs(io, now);
    if (io->has_role[SKL_ROLE_LOADER] && now >= io->watch_at) {
        io->watch_at = skl_watcher_step(&io->watcher, now);
    }
    map_lists(io, now);
    next = min_ns(next, io->tick_at);
    if (io->has_role[SKL_ROLE_LOADER]) {
        next = min_ns(next, io->watch_at);
    }
    if (io->has_role[SKL_ROLE_SWEEPER] && io->config.sweep != NULL) {
        next = min_ns(next, io->sweep_at);
    }
    return next;
}

static void *io_main(void *arg)
{
    skl_io_t *io = arg;

    while (!atomic_load(&io->stop)) {
        wait_events(io, step(io));
    }
    skl_list_child_stop(&io->child);
    end_overlay_log(io);
    skl_watcher_clear(&io->watcher);
    if (io->config.leave != NULL) {
        io->config.leave(io->config.ctx);
    }
    leave_role(io, SKL_ROLE_LOADER);
    leave_role(io, SKL_ROLE_SWEEPER);
    return NULL;
}

/* ---- The flush thread ---------------------------------------------------- */

static int flush_once(skl_io_t *io)
{
    return io->config.flush != NULL
               ? io->config.flush(io->config.ctx,
                                  io->has_role[SKL_ROLE_FLUSHER])
               : 0;
}

static void flush_wait(skl_io_t *io)
{
    struct pollfd fd = {.fd = io->flush_fd, .events = POLLIN};

    if (io->config.flush_wait != NULL) {
        io->config.flush_wait(io->config.ctx, io->has_role[SKL_ROLE_FLUSHER]);
    } else if (wait_fds(&fd, 1, TICK_NS) > 0) {
        drain_fd(io->flush_fd);
    }
}

static void *flush_main(void *arg)
{
    skl_io_t *io = arg;

    while (!atomic_load(&io->stop)) {
        take_role(io, SKL_ROLE_FLUSHER);
        if (flush_once(io) <= 0) {
            flush_wait(io);
        }
    }
    /* What was answered goes to disk before this process lets go of the role;
     * what comes after that, and what fails, is for the next one. */
    for (int i = 0; i < LAST_FLUSHES && io->has_role[SKL_ROLE_FLUSHER]; i++) {
        if (flush_once(io) <= 0) {
            break;
        }
    }
    leave_role(io, SKL_ROLE_FLUSHER);
    return NULL;
}

void skl_io_poke(skl_io_t *io)
{
    if (skl_io_running(io)) {
        skl_cq_poke(&io->cq);
    }
}

/* ---- Start and stop ------------------------------------------------------ */

static int fail(char *err, size_t size, const char *what)
{
    (void)snprintf(err, size, "%s: %s", what, strerror(errno));
    return SECKILL_EIO;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)skl_os_close(*fd);
    }
    *fd = -1;
}

/* Where the index files appear: root makes them for the segment's owner.
 * inotify may be used up on this host: then by time alone. */
static void open_inotify(skl_io_t *io, const char *own_dir)
{
    const skl_segment_t *seg = io->config.segment;
    char dir[SKL_PATH_MAX + 16];

    (void)snprintf(dir, sizeof(dir), "%s", own_dir);
    if (geteuid() == 0) {
        skl_segment_dir_of(seg, seg->owner, dir, sizeof(dir));
    }
    io->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    io->segment_wd = -1;
    if (io->inotify_fd >= 0) {
        io->segment_wd = inotify_add_watch(io->inotify_fd, dir, SEGMENT_EVENTS);
    }
}

static void close_files(skl_io_t *io)
{
    close_fd(&io->command_fd);
    close_fd(&io->flush_fd);
    close_fd(&io->inotify_fd);
    close_fd(&io->reader_fd);
}

static int open_files(skl_io_t *io, char *err, size_t size)
{
    char dir[SKL_PATH_MAX + 16] = "";
    int rc = skl_segment_dir(io->config.segment, dir, sizeof(dir));

    if (rc != SECKILL_OK) {
        (void)snprintf(err, size, "directory %s: %s", dir, seckill_errname(rc));
        return SECKILL_EIO;
    }
    io->command_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    io->flush_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (io->command_fd < 0 || io->flush_fd < 0) {
        return fail(err, size, "eventfd");
    }
    open_inotify(io, dir);
    return skl_wake_open(&io->wake, dir, err, size);
}

static int make_thread(pthread_t *out, void *(*run)(void *), skl_io_t *io,
                       const char *name)
{
    pthread_attr_t attr;
    sigset_t all, old;
    int rc = pthread_attr_init(&attr);

    skl_assert(rc == 0);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(out, &attr, run, io);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
    if (rc == 0) {
        (void)pthread_setname_np(*out, name);
    }
    return rc;
}

static int start_threads(skl_io_t *io, char *err, size_t size)
{
    int rc;

    skl_assert(io->command_fd >= 0 && io->wake.fd >= 0);
    skl_assert(io->job_count == 0);
    atomic_store(&io->stop, 0);
    io->tick_at = io->sweep_at = io->watch_at = io->map_at = 0;
    skl_watcher_init(&io->watcher, &io->env, &io->child, io->inotify_fd,
                     io->segment_wd, watch_done, io);
    rc = make_thread(&io->io_thread, io_main, io, "seckill-io");
    if (rc != 0) {
        errno = rc;
        return fail(err, size, "thread seckill-io");
    }
    rc = make_thread(&io->flush_thread, flush_main, io, "seckill-flush");
    if (rc != 0) {
        atomic_store(&io->stop, 1);
        signal_fd(io->command_fd);
        (void)pthread_join(io->io_thread, NULL);
        errno = rc;
        return fail(err, size, "thread seckill-flush");
    }
    return SECKILL_OK;
}

static skl_io_t *new_io(const skl_io_config_t *config)
{
    skl_io_t *io = calloc(1, sizeof(*io));

    if (io == NULL) {
        return NULL;
    }
    io->config = *config;
    io->env.segment = config->segment;
    io->env.lists = config->lists;
    io->env.ctx = io;
    io->env.now = env_now;
    skl_lists_set_threaded(config->lists, 0); /* from now on forks count */
    io->epoch = skl_lists_epoch();
    io->command_fd = io->flush_fd = io->inotify_fd = io->reader_fd = -1;
    io->wake.fd = -1;
    (void)pthread_mutex_init(&io->jobs_lock, NULL);
    skl_cq_init(&io->cq, config->counters);
    return io;
}

/* 0 for a handle that came from the parent through fork(). */
static int is_ours(const skl_io_t *io)
{
    return io != NULL && io->epoch == skl_lists_epoch();
}

int skl_io_running(const skl_io_t *io)
{
    return is_ours(io) && atomic_load(&io->running);
}

/* A child has the parent's handle: it lets go of the files, no more. */
static void leave_to_parent(skl_io_t *io)
{
    skl_assert(!is_ours(io));
    close_files(io);
    close_fd(&io->wake.fd);
    if (skl_list_child_fd(&io->child) >= 0) {
        (void)skl_os_close(io->child.fd);
    }
    free(io);
}

static int start(skl_io_t *io, char *err, size_t size)
{
    struct seckill_list *list = atomic_load(&io->config.lists->first);
    int rc = open_files(io, err, size);

    rc = rc == SECKILL_OK ? begin_overlay_log(io) : rc;
    /* What is in force now, before the first lookup. */
    for (; rc == SECKILL_OK && list != NULL; list = list->next) {
        (void)skl_list_map(io->config.segment, list, 0);
        skl_list_adopt(list);
    }
    rc = rc == SECKILL_OK ? start_threads(io, err, size) : rc;
    if (rc != SECKILL_OK) {
        skl_overlay_log_free(io->overlay_log);
        io->overlay_log = NULL;
        skl_wake_close(&io->wake);
        close_files(io);
        return rc;
    }
    skl_cq_open(&io->cq);
    skl_lists_set_threaded(io->config.lists, 1);
    atomic_store(&io->running, 1);
    return SECKILL_OK;
}

int skl_io_start(skl_io_t **io, const skl_io_config_t *config, char *err,
                 size_t err_size)
{
    skl_assert(config->segment != NULL && config->lists != NULL);
    skl_assert(config->counters != NULL && config->now != NULL);
    if (skl_io_running(*io)) {
        return SECKILL_OK;
    }
    if (*io != NULL && !is_ours(*io)) {
        leave_to_parent(*io);
        *io = NULL;
    }
    if (*io == NULL) {
        *io = new_io(config);
    }
    if (*io == NULL) {
        (void)snprintf(err, err_size, "out of memory");
        return SECKILL_ENOMEM;
    }
    return start(*io, err, err_size);
}

void skl_io_stop(skl_io_t *io)
{
    if (!skl_io_running(io)) {
        return;
    }
    atomic_store(&io->stop, 1);
    signal_fd(io->command_fd);
    signal_fd(io->flush_fd);
    if (io->config.flush_wake != NULL) {
        io->config.flush_wake(io->config.ctx);
    }
    (void)pthread_join(io->io_thread, NULL);
    (void)pthread_join(io->flush_thread, NULL);
    atomic_store(&io->running, 0);
    skl_lists_set_threaded(io->config.lists, 0);
    io->job_count = 0;
    skl_cq_close(&io->cq);
    set_reader(io, -1);
    skl_wake_close(&io->wake);
    close_files(io);
}

void skl_io_free(skl_io_t *io)
{
    if (io == NULL) {
        return;
    }
    skl_assert(!skl_io_running(io));
    if (!is_ours(io)) {
        leave_to_parent(io);
        return;
    }
    skl_cq_free(&io->cq);
    (void)pthread_mutex_destroy(&io->jobs_lock);
    free(io);
}

/* ---- For the program ----------------------------------------------------- */

const char *skl_io_wake_path(const skl_io_t *io)
{
    return skl_io_running(io) ? io->wake.path : "";
}

int skl_io_reload(skl_io_t *io, struct seckill_list *list, uint64_t *ticket)
{
    job_t job = {.list = list};
    int rc;

    if (!skl_io_running(io)) {
        return SECKILL_ENOTSTARTEDTHREADS;
    }
    skl_assert(atomic_load(&list->slot->state) != 0);
    rc = skl_cq_ticket(&io->cq, ticket);
    if (rc != SECKILL_OK) {
        return rc;
    }
    job.ticket = *ticket;
    job.deadline = skl_clock_mono_ns() + JOB_NS;
    put_job(io, &job);
    signal_fd(io->command_fd);
    return SECKILL_OK;
}

int skl_io_pop(skl_io_t *io, seckill_event_t *events, int max)
{
    return is_ours(io) ? skl_cq_pop(&io->cq, events, max) : 0;
}

void skl_io_rearm(skl_io_t *io)
{
    if (is_ours(io)) {
        skl_cq_rearm(&io->cq);
    }
}

int skl_io_wait(skl_io_t *io, int timeout_ms)
{
    if (!is_ours(io)) {
        return 0;
    }
    /* Without threads nothing comes any more; what is there is there. */
    return skl_cq_wait(&io->cq, skl_io_running(io) ? timeout_ms : 0);
}
