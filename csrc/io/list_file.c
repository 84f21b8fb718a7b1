/* Loading of list files; see list_file.h. */
#include "io/list_file.h"

#include "acl/text.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "io/list_build.h"
#include "io/list_map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

/* A file written this short before it was read may be written again within
 * the same tick of the clock, with the same times. */
#define RACY_NS (20 * SKL_NS_PER_MS)
#define LOAD_WAIT_NS (60 * SKL_NS_PER_SEC)
#define LOCK_PAUSE_NS (2 * SKL_NS_PER_MS)

/* One try of one load. */
typedef struct {
    const skl_list_env_t *env;
    struct seckill_list *list;
    skl_list_slot_t *slot;
    char *err;
    size_t err_size;
    int flags;
    int fd; /* of the list file; -1 */
    int64_t started_ns;
    skl_file_id_t id;
    uint64_t word; /* to publish */
    void *base;    /* of the index, writable; NULL */
    uint64_t bytes;
    char dir[SKL_PATH_MAX + 16];
    char temp[SKL_LIST_PATH_MAX];
    skl_text_t text;
    skl_index_plan_t plan;
    skl_list_build_t build;
    char chunk[CHUNK];
} load_t;

__attribute__((format(printf, 3, 4))) static int fail(load_t *ld, int rc,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (ld->err_size > 0) {
        (void)vsnprintf(ld->err, ld->err_size, format, args);
    }
    va_end(args);
    return rc;
}

static int fail_call(load_t *ld, int rc, const char *call, const char *path)
{
    return fail(ld, SECKILL_EIO, "%s %.180s: %s", call, path, strerror(-rc));
}

/* ---- Versions of the list file ------------------------------------------- */

static void to_id(const struct stat *st, skl_file_id_t *out)
{
    out->dev = st->st_dev;
    out->ino = st->st_ino;
    out->size = (uint64_t)st->st_size;
    out->mtime_ns =
        (int64_t)st->st_mtim.tv_sec * SKL_NS_PER_SEC + st->st_mtim.tv_nsec;
    out->ctime_ns =
        (int64_t)st->st_ctim.tv_sec * SKL_NS_PER_SEC + st->st_ctim.tv_nsec;
}

static int same_id(const skl_file_id_t *a, const skl_file_id_t *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

void skl_list_file_id(const skl_list_slot_t *slot, skl_file_id_t *out)
{
    struct stat st;

    memset(out, 0, sizeof(*out));
    if (atomic_load(&slot->has_file) && skl_os_stat(slot->file, &st) == 0) {
        to_id(&st, out);
    }
}

int skl_list_known(const skl_list_slot_t *slot, const skl_file_id_t *id)
{
    uint64_t word = atomic_load(&slot->current);
    skl_list_good_t good;
    skl_list_bad_t bad;

    skl_list_good(slot, &good);
    if (word != 0 && same_id(&good.file, id)) {
        return 1;
    }
    skl_list_bad(slot, &bad);
    return bad.failures > 0 && bad.generation == skl_list_generation(word) &&
           same_id(&bad.file, id);
}

/* ---- Reading ------------------------------------------------------------- */

static int open_source(load_t *ld)
{
    uint64_t limit = atomic_load(&ld->slot->max_bytes);
    struct stat st;
    int rc;

    ld->fd = skl_os_open_source(ld->slot->file);
    if (ld->fd < 0) {
        return fail(ld, SECKILL_EBADFILE, "open %.180s: %s", ld->slot->file,
                    strerror(-ld->fd));
    }
    rc = skl_os_fstat(ld->fd, &st);
    if (rc != 0) {
        return fail_call(ld, rc, "stat", ld->slot->file);
    }
    to_id(&st, &ld->id);
    if (!S_ISREG(st.st_mode)) {
        return fail(ld, SECKILL_EBADFILE, "%.180s: not a regular file",
                    ld->slot->file);
    }
    if (ld->id.size > limit) {
        return fail(ld, SECKILL_ETOOLARGE,
                    "%.120s: %" PRIu64 " bytes, max_bytes is %" PRIu64,
                    ld->slot->file, ld->id.size, limit);
    }
    return SECKILL_OK;
}

/* 1 when the open file, and the path, are still the version of `id`. */
static int unchanged(load_t *ld)
{
    skl_file_id_t now;
    struct stat st;

#ifdef MUTANT_LIST_TORN
    return 1;
#endif
    if (skl_os_fstat(ld->fd, &st) != 0) {
        return 0;
    }
    to_id(&st, &now);
    if (!same_id(&now, &ld->id)) {
        return 0;
    }
    skl_list_file_id(ld->slot, &now);
    return now.ino == ld->id.ino && now.dev == ld->id.dev;
}

static int torn(load_t *ld)
{
    skl_assert(ld->fd >= 0);
    fail(ld, 0, "%.180s: changed while it was read", ld->slot->file);
    return ld->flags & SKL_LOAD_LAST_TRY ? SECKILL_EBADFILE : SKL_LOAD_AGAIN;
}

/* Feed the whole file to the parser. */
static int read_all(load_t *ld)
{
    const skl_list_env_t *env = ld->env;
    uint64_t total = 0;

    skl_assert(ld->fd >= 0);
    if (lseek(ld->fd, 0, SEEK_SET) != 0) {
        return fail_call(ld, -errno, "seek", ld->slot->file);
    }
    for (;;) {
        ssize_t n = skl_os_read(ld->fd, ld->chunk, sizeof(ld->chunk));

        if (n < 0) {
            return fail_call(ld, (int)n, "read", ld->slot->file);
        }
        total += (uint64_t)n;
        if (total > ld->id.size) {
            return torn(ld); /* it grows; and never ends, perhaps */
        }
        if (n == 0) {
            break;
        }
        skl_text_feed(&ld->text, ld->chunk, (size_t)n);
        if (env->pulse != NULL && env->pulse(env->ctx) != 0) {
            return fail(ld, SECKILL_ECLOSED, "stopped");
        }
    }
    skl_text_end(&ld->text);
    return total == ld->id.size ? SECKILL_OK : torn(ld);
}

/* First reading: is it good, and how large will the index be? */
static int survey(load_t *ld)
{
    uint32_t limit = atomic_load(&ld->slot->max_bad_lines);
    int rc;

    limit = limit == UINT32_MAX ? 0 : limit; /* 0 asks for the default */
    skl_text_begin(&ld->text, NULL, NULL, 0);
    skl_text_set_kind(&ld->text, ld->slot->kind);
    rc = read_all(ld);
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (!unchanged(ld)) {
        return torn(ld);
    }
    if (ld->text.bad_lines > limit) {
        return fail(ld, SECKILL_EBADFILE, "%" PRIu64 " bad lines: %s",
                    ld->text.bad_lines, ld->text.errors);
    }
    if (ld->text.counts.entries == 0 && !atomic_load(&ld->slot->allow_empty)) {
        return fail(ld, SECKILL_EBADFILE, "%.120s: no entries%s%s",
                    ld->slot->file, ld->text.bad_lines > 0 ? "; " : "",
                    ld->text.errors);
    }
    ld->plan = ld->text.counts;
    rc = skl_list_build_plan(&ld->build, ld->slot->kind, &ld->plan);
    return rc == SECKILL_OK
               ? rc
               : fail(ld, rc, "%.180s: too many entries", ld->slot->file);
}

/* ---- The index file ------------------------------------------------------ */

/* Root makes files for the segment's owner. */
static int choose_dir(load_t *ld)
{
    const skl_segment_t *seg = ld->env->segment;
    uint64_t old = skl_list_generation(atomic_load(&ld->slot->current));
    uid_t uid = geteuid() == 0 ? seg->owner : geteuid();
    int rc = SECKILL_OK;

    if (old >= UINT32_MAX) {
        return fail(ld, SECKILL_EFULL, "out of generations");
    }
    ld->word = (uint64_t)uid << 32 | (old + 1);
    if (uid == geteuid()) {
        rc = skl_segment_dir(seg, ld->dir, sizeof(ld->dir));
    } else {
        skl_segment_dir_of(seg, uid, ld->dir, sizeof(ld->dir));
    }
    if (rc != SECKILL_OK) {
        return fail(ld, rc, "directory %.180s: %s", ld->dir,
                    seckill_errname(rc));
    }
    (void)snprintf(ld->temp, sizeof(ld->temp), "%.271s/list.%s.tmp", ld->dir,
                   ld->slot->name);
    return rc;
}

/* 1 for a file of this list that is not the one called `keep`. */
static int is_stale(const load_t *ld, const char *name, const char *keep)
{
    size_t len = strlen(ld->slot->name);

    return strncmp(name, "list.", 5) == 0 &&
           strncmp(name + 5, ld->slot->name, len) == 0 &&
           name[5 + len] == '.' && strcmp(name, keep) != 0;
}

/* Remove what earlier loads left in our directory; all but this word's. */
static void remove_stale(const load_t *ld, uint64_t word)
{
    char keep[SKL_LIST_PATH_MAX], path[SKL_LIST_PATH_MAX + 256];
    const struct dirent *entry;
    DIR *d = opendir(ld->dir);

    if (d == NULL) {
        return; /* they cost space, nothing else */
    }
    (void)snprintf(keep, sizeof(keep), "list.%s.%" PRIu64, ld->slot->name,
                   skl_list_generation(word));
    while ((entry = readdir(d)) != NULL) {
        if (is_stale(ld, entry->d_name, keep)) {
            (void)snprintf(path, sizeof(path), "%.271s/%s", ld->dir,
                           entry->d_name);
            (void)skl_os_unlink(path);
        }
    }
    (void)closedir(d);
}

static int no_space(load_t *ld, int fd)
{
    uint64_t room = 0;

    (void)skl_os_free_bytes(fd, &room);
    return fail(ld, SECKILL_ENOSPACE,
                "%.150s: needs %" PRIu64 " bytes, %" PRIu64 " are available",
                ld->dir, ld->bytes, room);
}

/* Create, own, fill with zeros, map. The space is taken here. */
static int make_temp(load_t *ld)
{
    int fd, rc;

    skl_assert(ld->base == NULL);
    rc = skl_list_build_bytes(&ld->build, &ld->bytes);
    if (rc != SECKILL_OK) {
        return fail(ld, SECKILL_ETOOLARGE, "%.180s: too many entries",
                    ld->slot->file);
    }
    fd = skl_os_open(ld->temp, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        return fail_call(ld, fd, "create", ld->temp);
    }
    rc = skl_list_uid(ld->word) != geteuid()
             ? skl_os_fchown(fd, skl_list_uid(ld->word), (gid_t)-1)
             : 0;
    rc = rc == 0 ? skl_os_allocate(fd, ld->bytes) : rc;
    if (rc == -ENOSPC) {
        rc = no_space(ld, fd);
    } else if (rc == 0) {
        rc = skl_os_map(fd, ld->bytes, 1, &ld->base);
        rc = rc == 0 ? SECKILL_OK : fail_call(ld, rc, "map", ld->temp);
    } else {
        rc = fail_call(ld, rc, "make", ld->temp);
    }
    (void)skl_os_close(fd);
    return rc;
}

/* Second reading: all entries go to the builder. */
static int read_entries(load_t *ld)
{
    const skl_list_env_t *env = ld->env;
    int rc;

    skl_text_begin(&ld->text, skl_list_build_put, &ld->build,
                   env->now(env->ctx));
    skl_text_set_kind(&ld->text, ld->slot->kind);
    rc = read_all(ld);
    if (rc == SECKILL_OK &&
        (!unchanged(ld) ||
         memcmp(&ld->plan, &ld->text.counts, sizeof(ld->plan)) != 0)) {
        return torn(ld);
    }
    return rc;
}

/* Fill the index. */
static int build(load_t *ld)
{
    skl_hash_key_t key;
    int rc = skl_os_random(&key, sizeof(key));

    skl_assert(ld->base != NULL);
    if (rc != 0) {
        return fail_call(ld, rc, "random", "key");
    }
    skl_list_build_begin(&ld->build, ld->base, &key);
    rc = skl_list_build_gathers(&ld->build) ? SECKILL_OK : read_entries(ld);
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc =
        skl_list_build_end(&ld->build, skl_list_owner(ld->env->lists, ld->slot),
                           skl_list_generation(ld->word));
    return rc == SECKILL_OK ? rc : torn(ld);
}

static void drop_temp(load_t *ld)
{
    if (ld->base != NULL) {
        (void)skl_os_unmap(ld->base, ld->bytes);
        ld->base = NULL;
    }
    (void)skl_os_unlink(ld->temp);
}

/* ---- Putting it in force ------------------------------------------------- */

static void note_good(load_t *ld)
{
    skl_list_good_t good, old;
    int64_t changed =
        ld->id.ctime_ns > ld->id.mtime_ns ? ld->id.ctime_ns : ld->id.mtime_ns;

    skl_list_good(ld->slot, &old);
    memset(&good, 0, sizeof(good));
    good.file = ld->id;
    good.file_mtime_ns = ld->id.mtime_ns;
    if (changed > skl_clock_wall_ns() - RACY_NS -
                      (skl_clock_mono_ns() - ld->started_ns)) {
        good.file.mtime_ns = -1; /* matches no version: looked at again */
    }
    good.entries = ld->build.entries;
    good.bytes = ld->bytes;
    good.reloads = old.reloads + 1;
    good.bad_lines = ld->text.bad_lines;
    good.loaded_at = ld->env->now(ld->env->ctx);
    good.load_ns = skl_clock_mono_ns() - ld->started_ns;
    skl_list_set_good(ld->slot, skl_list_generation(ld->word), &good);
}

static int put_in_force(load_t *ld)
{
    const skl_segment_t *seg = ld->env->segment;
    char path[SKL_LIST_PATH_MAX], old_path[SKL_LIST_PATH_MAX];
    uint64_t old = atomic_load(&ld->slot->current);
    int rc;

    skl_assert(ld->base != NULL);
    skl_assert(skl_list_generation(ld->word) == skl_list_generation(old) + 1);
    note_good(ld);
    (void)skl_os_unmap(ld->base, ld->bytes);
    ld->base = NULL;
    skl_list_path(seg, ld->slot, ld->word, path, sizeof(path));
    rc = skl_os_rename(ld->temp, path);
    if (rc != 0) {
        return fail_call(ld, rc, "rename", ld->temp);
    }
    skl_list_publish(ld->slot, skl_list_uid(ld->word),
                     skl_list_generation(ld->word));
    (void)skl_os_touch(path); /* those who watch the directory look now */
    if (old != 0 && skl_list_uid(old) != skl_list_uid(ld->word)) {
        skl_list_path(seg, ld->slot, old, old_path, sizeof(old_path));
        (void)skl_os_unlink(old_path);
    }
    remove_stale(ld, ld->word);
    return SECKILL_OK;
}

static void note_bad(load_t *ld, int rc)
{
    skl_list_bad_t bad, old;

    skl_assert(rc < 0);
    skl_list_bad(ld->slot, &old);
    memset(&bad, 0, sizeof(bad));
    bad.file = ld->id;
    if (rc != SECKILL_EBADFILE && rc != SECKILL_ETOOLARGE) {
        bad.file.mtime_ns = -1; /* not the file's fault: try it again */
    }
    bad.generation = skl_list_generation(atomic_load(&ld->slot->current));
    bad.failures = old.failures + 1;
    bad.bad_lines = ld->text.bad_lines;
    bad.rc = rc;
    (void)snprintf(bad.error, sizeof(bad.error), "%s", ld->err);
    skl_list_set_bad(ld->slot, &bad);
}

/* ---- One load ------------------------------------------------------------ */

static int make_index(load_t *ld)
{
    int rc = choose_dir(ld);

    if (rc != SECKILL_OK) {
        return rc;
    }
    remove_stale(ld, atomic_load(&ld->slot->current));
    rc = skl_list_build_gathers(&ld->build) ? read_entries(ld) : SECKILL_OK;
    rc = rc == SECKILL_OK ? make_temp(ld) : rc;
#ifdef MUTANT_LIST_SWAP_EARLY
    if (rc == SECKILL_OK) {
        char path[SKL_LIST_PATH_MAX];

        skl_list_path(ld->env->segment, ld->slot, ld->word, path, sizeof(path));
        (void)link(ld->temp, path);
        skl_list_publish(ld->slot, skl_list_uid(ld->word),
                         skl_list_generation(ld->word));
    }
#endif
    rc = rc == SECKILL_OK ? build(ld) : rc;
#ifndef MUTANT_LIST_SWAP_EARLY
    rc = rc == SECKILL_OK ? put_in_force(ld) : rc;
#endif
    if (rc != SECKILL_OK) {
        drop_temp(ld);
    }
    return rc;
}

static int load_locked(load_t *ld)
{
    int rc;

    if (ld->flags & SKL_LOAD_IF_CHANGED) {
        skl_list_file_id(ld->slot, &ld->id);
        if (skl_list_known(ld->slot, &ld->id) &&
            skl_list_reachable(ld->env->segment, ld->slot)) {
            return SECKILL_OK;
        }
    }
    memset(&ld->id, 0, sizeof(ld->id));
    rc = open_source(ld);
    rc = rc == SECKILL_OK ? survey(ld) : rc;
    rc = rc == SECKILL_OK ? make_index(ld) : rc;
    skl_list_build_free(&ld->build);
    if (ld->fd >= 0) {
        (void)skl_os_close(ld->fd);
    }
    if (rc < 0 && rc != SECKILL_ECLOSED) {
        note_bad(ld, rc);
    }
    return rc;
}

/* Loads are long: not the short waiting of the request path. */
static int take_load_lock(skl_list_slot_t *slot, int64_t wait_ns)
{
    int64_t deadline = skl_clock_mono_ns() + wait_ns;
    int rc = skl_lock_try(&slot->load_lock, NULL, NULL);

    while (rc == SECKILL_EBUSY && skl_clock_mono_ns() < deadline) {
        skl_os_pause(LOCK_PAUSE_NS);
        rc = skl_lock_try(&slot->load_lock, NULL, NULL);
    }
    return rc;
}

int skl_list_load_once(const skl_list_env_t *env, struct seckill_list *list,
                       int flags, int64_t wait_ns, char *err, size_t err_size)
{
    load_t *ld = calloc(1, sizeof(*ld));
    char local[SKL_LIST_PATH_MAX] = "";
    int rc;

    skl_assert(env->segment != NULL && env->now != NULL);
    skl_assert(atomic_load(&list->slot->has_file));
    if (ld == NULL) {
        return SECKILL_ENOMEM;
    }
    ld->env = env;
    ld->list = list;
    ld->slot = list->slot;
    ld->err = local;
    ld->err_size = sizeof(local);
    ld->flags = flags;
    ld->fd = -1;
    ld->started_ns = skl_clock_mono_ns();
    rc = take_load_lock(ld->slot, wait_ns);
    if (rc == SECKILL_OK) {
        rc = load_locked(ld);
        skl_lock_release(&ld->slot->load_lock);
    }
    if (rc != SECKILL_OK && err_size > 0) {
        (void)snprintf(err, err_size, "%s", local);
    }
    free(ld);
    return rc;
}

int skl_list_load(const skl_list_env_t *env, struct seckill_list *list,
                  int flags, char *err, size_t err_size)
{
    int64_t settle_ns = atomic_load(&list->slot->settle_ms) * SKL_NS_PER_MS;
    int rc;

    for (int i = 1;; i++) {
        int last = i == SKL_LOAD_TRIES ? SKL_LOAD_LAST_TRY : 0;

        rc = skl_list_load_once(env, list, flags | last, LOAD_WAIT_NS, err,
                                err_size);
        if (rc != SKL_LOAD_AGAIN) {
            return rc;
        }
        skl_os_pause(settle_ns);
    }
}
