/*
 * Loads of list files in a child process: how the io thread does them.
 *
 * The io thread forks a child that reads, checks and builds (skl_load_make of
 * io/list_file.h) and says in one message on a pipe how it went; the thread
 * goes on, and puts the index in force when the message is there. One child at
 * a time in a process; a child that dies, hangs or does not fit into memory is
 * a load that failed, nothing more.
 *
 * The child closes every descriptor that it inherited, lowers its priority,
 * asks to be the first that the kernel kills when memory is short, and ends
 * with the thread that forked it. What it leaves has a name of its own, which
 * the thread removes, or else the next load.
 *
 * Thread: io.
 */
#ifndef SKL_IO_LIST_CHILD_H
#define SKL_IO_LIST_CHILD_H

#include "io/list_file.h"

#include <sys/types.h>

/* How long a child may take, and after what time the processes of a host have
 * the index that was put in force; variables for the tests. */
extern int64_t skl_list_child_limit_ns;
extern int64_t skl_list_merge_after_ns;

enum { SKL_LIST_MERGES = 8 };

/* Entries of the overlay that are to go (io/list_merge.h). */
typedef struct {
    skl_list_merge_t *merge; /* NULL: free */
    uint64_t word;
    int64_t at; /* mono */
} skl_list_due_t;

/* Zero-initialised: none runs. */
typedef struct {
    skl_load_t *load;
    struct seckill_list *list;
    uint64_t asker;
    pid_t pid;
    int fd; /* the message comes here */
    int64_t started_ns;
    int killed;
    int pad;
    skl_list_due_t due[SKL_LIST_MERGES];
} skl_list_child_t;

/* Not yet: this asker's child runs; or one of another asker does. */
enum { SKL_LOAD_RUNS = 3, SKL_LOAD_WAITS = 4 };

/* Begin a load, or take what came of the one that this asker (any number) has
 * begun: SKL_LOAD_RUNS or SKL_LOAD_WAITS: ask again; SKL_LOAD_AGAIN (the
 * file changed meanwhile); or what skl_list_load returns, EBUSY when another
 * process is at it. */
int skl_list_child_load(skl_list_child_t *c, const skl_list_env_t *env,
                        struct seckill_list *list, int flags, uint64_t asker,
                        int64_t mono_now, char *err, size_t err_size);
/* Let entries of the overlay go that are due. */
void skl_list_child_tick(skl_list_child_t *c, const skl_list_env_t *env,
                         int64_t mono_now);
/* To be polled for input; -1: none runs. */
int skl_list_child_fd(const skl_list_child_t *c);
/* Give up what runs. */
void skl_list_child_stop(skl_list_child_t *c);

#endif
