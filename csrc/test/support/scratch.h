/*
 * scratch.h - private directories and child processes for the C tests; header
 * only. A directory lives on a tmpfs where there is one, and is removed at the
 * end of the program. Children report by their exit status alone.
 */
#ifndef SKL_TEST_SCRATCH_H
#define SKL_TEST_SCRATCH_H

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    char path[64];
    pid_t owner;
} scratch_t;

static scratch_t scratch_state;

static inline int scratch_remove_one(const char *path, const struct stat *st,
                                     int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

static inline void scratch_end(void)
{
    if (scratch_state.owner == getpid()) {
        (void)nftw(scratch_state.path, scratch_remove_one, 8,
                   FTW_DEPTH | FTW_PHYS);
    }
}

/* The private directory of this program: anybody may pass, nobody may look. */
static inline const char *scratch_dir(void)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    if (scratch_state.owner == 0) {
        (void)snprintf(scratch_state.path, sizeof(scratch_state.path),
                       "%s/seckill-test.XXXXXX", base);
        if (mkdtemp(scratch_state.path) == NULL ||
            chmod(scratch_state.path, 01777) != 0) {
            perror(scratch_state.path);
            exit(1);
        }
        scratch_state.owner = getpid();
        (void)atexit(scratch_end);
    }
    return scratch_state.path;
}

/* "<scratch>/<name>" in one of 4 buffers in turn. */
static inline const char *scratch_path(const char *name)
{
    static char paths[4][320];
    static int turn;
    char *path = paths[turn++ % 4];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s", scratch_dir(), name);
    return path;
}

/* Entries of a directory, "." and ".." left out; -1: no such directory. */
static inline int scratch_entries(const char *dir)
{
    DIR *d = opendir(dir);
    int n = -2;

    if (d == NULL) {
        return -1;
    }
    while (readdir(d) != NULL) {
        n++;
    }
    (void)closedir(d);
    return n;
}

/* Open descriptors of this process. */
static inline int scratch_fds(void)
{
    return scratch_entries("/proc/self/fd");
}

/* Zeroed memory that children share. */
static inline void *scratch_shared(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return p;
}

/* Run fn(arg) in a child that ends with its result. */
static inline pid_t scratch_fork(int (*fn)(void *), void *arg)
{
    pid_t pid;

    (void)fflush(stdout);
    pid = fork();
    if (pid == 0) {
        _exit(fn(arg));
    }
    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    return pid;
}

/* Exit status of a child; 1000 + signal when a signal ended it. */
static inline int scratch_wait(pid_t pid)
{
    int status = 0;

    if (waitpid(pid, &status, 0) != pid) {
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline int scratch_run(int (*fn)(void *), void *arg)
{
    return scratch_wait(scratch_fork(fn, arg));
}

#endif
