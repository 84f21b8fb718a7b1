/*
 * The loader's watch over list files, one process of a host.
 *
 * inotify watches directories, not files: that of the path, and that of each
 * symbolic link on the way (a Kubernetes config map swaps `..data`). Any event
 * there only says "look soon": the file's version (device, inode, size, times)
 * is compared with the one seen before. A new version must stay the same for
 * settle_ms; then it is loaded, if it is not the one of the last load. Without
 * events (network file systems) the same happens every 5 s. The file of the
 * digest beside it (<file>.sha256) is watched likewise, as a part of it.
 *
 * Thread: io.
 */
#ifndef SKL_IO_WATCH_H
#define SKL_IO_WATCH_H

#include "io/list_child.h"

enum { SKL_WATCH_DIRS = 12 };

/* One list file. */
typedef struct {
    struct seckill_list *list;
    skl_file_id_t seen;
    int64_t settle_at; /* mono; 0: nothing new was seen */
    int64_t look_at;   /* mono; of the next look */
    int tries;
    int loading; /* our child is at it */
    int dirs;
    int pad;
    int wd[SKL_WATCH_DIRS];
} skl_watch_t;

/* What was done about a list. */
typedef void (*skl_watch_done_fn)(void *ctx, struct seckill_list *list, int rc,
                                  const char *text);

typedef struct {
    const skl_list_env_t *env;
    skl_list_child_t *child;
    int inotify;    /* -1: by time alone */
    int segment_wd; /* not ours: never removed here */
    skl_watch_done_fn done;
    void *ctx;
    uint32_t count;
    uint32_t room;
    skl_watch_t *watches;
} skl_watcher_t;

void skl_watcher_init(skl_watcher_t *w, const skl_list_env_t *env,
                      skl_list_child_t *child, int inotify, int segment_wd,
                      skl_watch_done_fn done, void *ctx);
/* Stop watching. */
void skl_watcher_clear(skl_watcher_t *w);
/* An event of this watch descriptor came; -1: any may have been lost. */
void skl_watcher_event(skl_watcher_t *w, int wd, int64_t now);
/* What is being loaded is due: the child has ended. */
void skl_watcher_hurry(skl_watcher_t *w, int64_t now);
/* Do what is due; returns when the next thing is. */
int64_t skl_watcher_step(skl_watcher_t *w, int64_t now);

#endif
