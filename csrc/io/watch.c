/* The loader's watch over list files; see watch.h. */
#include "io/watch.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "io/list_map.h"
#include "io/list_source.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define POLL_NS (5 * SKL_NS_PER_SEC)
/* Looks at a file whose directory is busy are this far apart. */
#define LOOK_NS (20 * SKL_NS_PER_MS)

enum { LINKS = 4 };

enum {
    EVENTS = IN_CLOSE_WRITE | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_TO |
             IN_MOVED_FROM | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF |
             IN_ONLYDIR | IN_MASK_ADD
};

void skl_watcher_init(skl_watcher_t *w, const skl_list_env_t *env,
                      skl_list_child_t *child, int inotify, int segment_wd,
                      skl_watch_done_fn done, void *ctx)
{
    skl_assert(env != NULL && done != NULL);
    memset(w, 0, sizeof(*w));
    w->env = env;
    w->child = child;
    w->inotify = inotify;
    w->segment_wd = segment_wd;
    w->done = done;
    w->ctx = ctx;
}

/* ---- Directories --------------------------------------------------------- */

typedef struct {
    int count;
    int wd[SKL_WATCH_DIRS];
} dirs_t;

static int has(const int *wds, int count, int wd)
{
    for (int i = 0; i < count; i++) {
        if (wds[i] == wd) {
            return 1;
        }
    }
    return 0;
}

/* Watch the directory that the last component of `path` is in. */
static void add_parent(skl_watcher_t *w, const char *path, dirs_t *dirs)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    int wd;

    if (slash == NULL || len >= sizeof(dir) || dirs->count == SKL_WATCH_DIRS) {
        return;
    }
    memcpy(dir, path, len);
    dir[len] = '\0';
    wd = inotify_add_watch(w->inotify, len == 0 ? "/" : dir, EVENTS);
    if (wd >= 0 && !has(dirs->wd, dirs->count, wd)) {
        dirs->wd[dirs->count++] = wd;
    }
}

/* Watch where a symbolic link among the directories of `path` is. */
static void add_links(skl_watcher_t *w, const char *path, dirs_t *dirs)
{
    char prefix[PATH_MAX];
    struct stat st;

    for (size_t i = 1; path[i] != '\0' && i < sizeof(prefix); i++) {
        if (path[i] != '/') {
            continue;
        }
        memcpy(prefix, path, i);
        prefix[i] = '\0';
        if (skl_os_lstat(prefix, &st) == 0 && S_ISLNK(st.st_mode)) {
            add_parent(w, prefix, dirs);
        }
    }
}

static int used_elsewhere(const skl_watcher_t *w, const skl_watch_t *self,
                          int wd)
{
    if (wd == w->segment_wd) {
        return 1;
    }
    for (uint32_t i = 0; i < w->count; i++) {
        const skl_watch_t *other = &w->watches[i];

        if (other != self && has(other->wd, other->dirs, wd)) {
            return 1;
        }
    }
    return 0;
}

static void set_dirs(skl_watcher_t *w, skl_watch_t *watch, const dirs_t *dirs)
{
    skl_assert(dirs->count >= 0 && dirs->count <= SKL_WATCH_DIRS);
    for (int i = 0; i < watch->dirs; i++) {
        int wd = watch->wd[i];

        if (!has(dirs->wd, dirs->count, wd) && !used_elsewhere(w, watch, wd)) {
            (void)inotify_rm_watch(w->inotify, wd);
        }
    }
    watch->dirs = dirs->count;
    memcpy(watch->wd, dirs->wd, sizeof(watch->wd));
}

/* Where the link `path` leads to, in its place; 0 when it is none. */
static int follow(char path[PATH_MAX])
{
    char target[PATH_MAX];
    char *slash = strrchr(path, '/');
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    size_t dir = slash == NULL ? 0 : (size_t)(slash - path) + 1;

    if (n <= 0) {
        return 0;
    }
    target[n] = '\0';
    dir = target[0] == '/' ? 0 : dir;
    skl_assert((size_t)n < sizeof(target));
    if (dir + (size_t)n >= PATH_MAX) {
        return 0;
    }
    memcpy(path + dir, target, (size_t)n + 1);
    return 1;
}

/* The directories that can change what `path` leads to. */
static void add_path(skl_watcher_t *w, char path[PATH_MAX], dirs_t *dirs)
{
    for (int i = 0; i < LINKS; i++) {
        add_parent(w, path, dirs);
        add_links(w, path, dirs);
        if (!follow(path)) {
            break;
        }
    }
}

/* Again and again: directories come and go, links change. */
static void refresh_dirs(skl_watcher_t *w, skl_watch_t *watch)
{
    const char *file = watch->list->slot->file;
    char path[PATH_MAX];
    dirs_t dirs = {0};

    if (w->inotify < 0) {
        return;
    }
    (void)snprintf(path, sizeof(path), "%s", file);
    add_path(w, path, &dirs);
    skl_source_side_path(file, path, sizeof(path));
    add_path(w, path, &dirs);
    set_dirs(w, watch, &dirs);
}

/* ---- Looking and loading ------------------------------------------------- */

static int64_t min_ns(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int same(const skl_file_id_t *a, const skl_file_id_t *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static int is_known(const skl_watcher_t *w, const skl_watch_t *watch,
                    const skl_file_id_t *id)
{
    const struct seckill_list *list = watch->list;
    uint64_t word = atomic_load(&list->slot->current);

    if (word != 0 && word == atomic_load(&list->failed_word) &&
        !skl_list_reachable(w->env->segment, list->slot)) {
        return 0; /* another user's, or lost: make our own */
    }
    return skl_list_known(list->slot, id);
}

static void load(skl_watcher_t *w, skl_watch_t *watch, int64_t now)
{
    char err[256] = "";
    int flags = SKL_LOAD_IF_CHANGED;
    int rc;

    flags |= watch->tries + 1 >= SKL_LOAD_TRIES ? SKL_LOAD_LAST_TRY : 0;
    rc = skl_list_child_load(w->child, w->env, watch->list, flags, 0, now, err,
                             sizeof(err));
    watch->loading = rc == SKL_LOAD_RUNS;
    if (rc == SKL_LOAD_RUNS || rc == SKL_LOAD_WAITS) {
        watch->settle_at = now + LOOK_NS;
        return;
    }
    if (rc == SKL_LOAD_AGAIN || rc == SECKILL_EBUSY) {
        watch->tries += rc == SKL_LOAD_AGAIN;
        watch->settle_at =
            now + atomic_load(&watch->list->slot->settle_ms) * SKL_NS_PER_MS;
        return;
    }
    watch->tries = 0;
    watch->settle_at = 0;
    w->done(w->ctx, watch->list, rc, err);
}

/* What is there now, and what follows. */
static void look(skl_watcher_t *w, skl_watch_t *watch, int64_t now)
{
    const skl_list_slot_t *slot = watch->list->slot;
    int64_t settle_ns = atomic_load(&slot->settle_ms) * SKL_NS_PER_MS;
    skl_file_id_t id;

    skl_assert(atomic_load(&slot->has_file));
    skl_list_file_id(slot, &id);
    if (is_known(w, watch, &id)) {
        watch->settle_at = 0;
    } else if (watch->settle_at == 0 || !same(&id, &watch->seen)) {
        watch->settle_at = now + settle_ns;
        refresh_dirs(w, watch);
    } else if (now >= watch->settle_at) {
        load(w, watch, now);
        refresh_dirs(w, watch);
    }
    watch->seen = id;
}

static int is_watched(const skl_watcher_t *w, uint32_t number)
{
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->watches[i].list->number == number) {
            return 1;
        }
    }
    return 0;
}

static void add_watch(skl_watcher_t *w, uint32_t number, int64_t now)
{
    struct seckill_list *list;
    skl_watch_t *watch;

    skl_assert(w->count <= w->room);
    if (w->count == w->room) {
        uint32_t room = w->room == 0 ? 4 : w->room * 2;
        void *more = realloc(w->watches, room * sizeof(*w->watches));

        if (more == NULL) {
            return;
        }
        w->watches = more;
        w->room = room;
    }
    if (skl_lists_handle(w->env->lists, number, &list) != SECKILL_OK) {
        return;
    }
    watch = &w->watches[w->count++];
    memset(watch, 0, sizeof(*watch));
    watch->list = list;
    watch->look_at = now;
    refresh_dirs(w, watch);
}

/* Lists that were made, and that are to be watched, since the last time. */
static void find_lists(skl_watcher_t *w, int64_t now)
{
    const skl_lists_shm_t *shm = w->env->lists->shm;

    for (uint32_t i = 0; i < shm->capacity; i++) {
        const skl_list_slot_t *slot = &shm->slots[i];

        if (atomic_load(&slot->state) == 0) {
            break;
        }
        /* Who opens it first needs its lock for a moment. */
        if (atomic_load(&slot->has_file) && atomic_load(&slot->watch) == 1 &&
            atomic_load(&w->env->lists->overlay.lists[i].restored) &&
            !is_watched(w, i)) {
            add_watch(w, i, now);
        }
    }
}

int64_t skl_watcher_step(skl_watcher_t *w, int64_t now)
{
    int64_t next = now + POLL_NS;

    find_lists(w, now);
    for (uint32_t i = 0; i < w->count; i++) {
        skl_watch_t *watch = &w->watches[i];
        int settled = watch->settle_at != 0 && now >= watch->settle_at;

        if (watch->loading) {
            load(w, watch, now);
            next = watch->loading ? min_ns(next, watch->settle_at) : now;
            continue;
        }
        if (atomic_load(&watch->list->slot->watch) != 1) {
            continue;
        }
        if (now >= watch->look_at || settled) {
            if (now >= watch->look_at) {
                refresh_dirs(w, watch);
            }
            look(w, watch, now);
            watch->look_at = now + POLL_NS;
        }
        next = min_ns(next, watch->look_at);
        if (watch->settle_at != 0) {
            next = min_ns(next, watch->settle_at);
        }
    }
    return next;
}

void skl_watcher_event(skl_watcher_t *w, int wd, int64_t now)
{
    for (uint32_t i = 0; i < w->count; i++) {
        skl_watch_t *watch = &w->watches[i];

        if (wd < 0 || has(watch->wd, watch->dirs, wd)) {
            watch->look_at = min_ns(watch->look_at, now + LOOK_NS);
        }
    }
}

void skl_watcher_hurry(skl_watcher_t *w, int64_t now)
{
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->watches[i].loading) {
            w->watches[i].settle_at = now;
        }
    }
}

void skl_watcher_clear(skl_watcher_t *w)
{
    const dirs_t none = {0};

    while (w->count > 0) {
        set_dirs(w, &w->watches[w->count - 1], &none);
        w->count--;
    }
    free(w->watches);
    w->watches = NULL;
    w->room = 0;
}
