/* Loading of list files; see list_file.h. */
#include "io/list_file.h"

#include "acl/text.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "io/list_build.h"
#include "io/list_map.h"
#include "io/list_source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file written this short before it was read may be written again within
 * the same tick of the clock, with the same times. */
#define RACY_NS (20 * SKL_NS_PER_MS)
#define LOAD_WAIT_NS (60 * SKL_NS_PER_SEC)
#define LOCK_PAUSE_NS (2 * SKL_NS_PER_MS)

struct skl_load {
    const skl_list_env_t *env;
    struct seckill_list *list;
    skl_list_slot_t *slot;
    skl_source_t *source;
    skl_list_merge_t *merge; /* NULL: none */
    skl_list_made_t *made;   /* to be filled */
    int flags;
    int pad;
    int64_t started_ns;
    uint64_t options; /* when it began */
    uint64_t word;    /* to publish */
    void *base;       /* of the index, writable; NULL */
    char dir[SKL_PATH_MAX + 16];
    char temp[SKL_LIST_PATH_MAX];
    skl_text_t text;
    skl_index_plan_t plan;
    skl_list_build_t build;
};

__attribute__((format(printf, 3, 4))) static int fail(skl_list_made_t *made,
                                                      int rc,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(made->text, sizeof(made->text), format, args);
    va_end(args);
    return rc;
}

static int fail_call(skl_list_made_t *made, int rc, const char *call,
                     const char *path)
{
    return fail(made, SECKILL_EIO, "%s %.180s: %s", call, path, strerror(-rc));
}

/* ---- Versions of the list file ------------------------------------------- */

static int same_id(const skl_file_id_t *a, const skl_file_id_t *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

void skl_list_file_id(const skl_list_slot_t *slot, skl_file_id_t *out)
{
    memset(out, 0, sizeof(*out));
    if (atomic_load(&slot->has_file)) {
        skl_source_version(slot->file, out);
    }
}

/* A file that was refused may be good with other options. */
static uint64_t options_word(const skl_list_slot_t *slot)
{
    uint64_t word = skl_mix64(atomic_load(&slot->max_bytes));

    word = skl_mix64(word ^ atomic_load(&slot->max_entries));
    word = skl_mix64(word ^ atomic_load(&slot->max_bad_lines));
    return skl_mix64(word ^ atomic_load(&slot->allow_empty));
}

static int is_in_force(const skl_list_slot_t *slot, const skl_file_id_t *id)
{
    skl_list_good_t good;

    skl_list_good(slot, &good);
    return atomic_load(&slot->current) != 0 && same_id(&good.file, id);
}

static int was_refused(const skl_list_slot_t *slot, const skl_file_id_t *id,
                       skl_list_bad_t *bad)
{
    const uint64_t word = atomic_load(&slot->current);

    skl_list_bad(slot, bad);
    return bad->failures > 0 && bad->generation == skl_list_generation(word) &&
           bad->options == options_word(slot) && same_id(&bad->file, id);
}

int skl_list_known(const skl_list_slot_t *slot, const skl_file_id_t *id)
{
    skl_list_bad_t bad;

    return is_in_force(slot, id) || was_refused(slot, id, &bad);
}

/* ---- Reading ------------------------------------------------------------- */

static void feed_text(void *ctx, const char *data, size_t len)
{
    skl_text_feed(ctx, data, len);
}

/* The whole file through the parser. */
static int read_all(skl_load_t *ld, int digest)
{
    int rc = skl_source_read(ld->source, feed_text, &ld->text, digest);

    if (rc == SKL_SOURCE_TORN) {
        rc = ld->flags & SKL_LOAD_LAST_TRY ? SECKILL_EBADFILE : SKL_LOAD_AGAIN;
    }
    if (rc != SECKILL_OK) {
        return fail(ld->made, rc, "%s", skl_source_error(ld->source));
    }
    skl_text_end(&ld->text);
    return SECKILL_OK;
}

/* A file that lost what showed that the one before was whole is a torn one. */
static int check_proofs(skl_load_t *ld)
{
    const int side = skl_source_side(ld->source);
    const uint32_t trailer = ld->text.trailer;
    skl_list_good_t good;
    char why[100];

    if (!skl_text_is_whole(&ld->text, why, sizeof(why))) {
        return fail(ld->made, SECKILL_EBADFILE, "%.120s: %s", ld->slot->file,
                    why);
    }
    skl_list_good(ld->slot, &good);
    if ((good.proofs & SKL_PROOF_TRAILER) && trailer == SKL_TRAILER_NONE) {
        return fail(ld->made, SECKILL_EBADFILE,
                    "%.120s: no #end, the file before had one", ld->slot->file);
    }
    if ((good.proofs & SKL_PROOF_DIGEST) && side == SKL_SIDE_NONE) {
        return fail(ld->made, SECKILL_EBADFILE,
                    "%.120s: no .sha256, the file before had one",
                    ld->slot->file);
    }
    ld->made->proofs = trailer == SKL_TRAILER_COUNT ? SKL_PROOF_TRAILER : 0;
    ld->made->proofs |= side == SKL_SIDE_DIGEST ? SKL_PROOF_DIGEST : 0;
    return SECKILL_OK;
}

static int check_entries(skl_load_t *ld)
{
    const uint64_t max = atomic_load(&ld->slot->max_entries);
    const uint64_t entries = ld->text.counts.entries;
    uint32_t limit = atomic_load(&ld->slot->max_bad_lines);
    int rc;

    limit = limit == UINT32_MAX ? 0 : limit; /* 0 asks for the default */
    if (ld->text.bad_lines > limit) {
        return fail(ld->made, SECKILL_EBADFILE, "%" PRIu64 " bad lines: %s",
                    ld->text.bad_lines, ld->text.errors);
    }
    if (entries == 0 && !atomic_load(&ld->slot->allow_empty)) {
        return fail(ld->made, SECKILL_EBADFILE, "%.120s: no entries%s%s",
                    ld->slot->file, ld->text.bad_lines > 0 ? "; " : "",
                    ld->text.errors);
    }
    if (entries > max) {
        return fail(ld->made, SECKILL_ETOOLARGE,
                    "%.120s: %" PRIu64 " entries, max_entries is %" PRIu64,
                    ld->slot->file, entries, max);
    }
    ld->plan = ld->text.counts;
    rc = skl_list_build_plan(&ld->build, ld->slot->kind, &ld->plan);
    return rc == SECKILL_OK
               ? rc
               : fail(ld->made, rc, "%.120s: %" PRIu64 " entries: %s",
                      ld->slot->file, entries, seckill_errname(rc));
}

/* First reading: is it good, and how large will the index be? */
static int survey(skl_load_t *ld)
{
    int rc;

    skl_text_begin(&ld->text, NULL, NULL, 0);
    skl_text_set_kind(&ld->text, ld->slot->kind);
    rc = read_all(ld, skl_source_side(ld->source) == SKL_SIDE_DIGEST);
    if (rc != SECKILL_OK) {
        return rc;
    }
    ld->made->bad_lines = ld->text.bad_lines;
    rc = check_proofs(ld);
    return rc == SECKILL_OK ? check_entries(ld) : rc;
}

static void put_entry(void *ctx, const skl_index_entry_t *entry)
{
    skl_load_t *ld = ctx;

    skl_list_build_put(&ld->build, entry);
    if (ld->merge != NULL) {
        skl_list_merge_see(ld->merge, entry);
    }
}

static int differs(skl_load_t *ld)
{
    return fail(ld->made, SECKILL_EBADFILE,
                "%.180s: two readings gave different entries", ld->slot->file);
}

/* Second reading: all entries go to the builder. */
static int read_entries(skl_load_t *ld)
{
    int rc;

    skl_text_begin(&ld->text, put_entry, ld, ld->env->now(ld->env->ctx));
    skl_text_set_kind(&ld->text, ld->slot->kind);
    rc = read_all(ld, 1);
    if (rc == SECKILL_OK &&
        memcmp(&ld->plan, &ld->text.counts, sizeof(ld->plan)) != 0) {
        return differs(ld);
    }
    return rc;
}

/* ---- The index file ------------------------------------------------------ */

/* Root makes files for the segment's owner. */
static int choose_dir(skl_load_t *ld, skl_list_made_t *made)
{
    const skl_segment_t *seg = ld->env->segment;
    uint64_t old = skl_list_generation(atomic_load(&ld->slot->current));
    uid_t uid = geteuid() == 0 ? seg->owner : geteuid();
    int rc = SECKILL_OK;

    if (old >= UINT32_MAX) {
        return fail(made, SECKILL_EFULL, "out of generations");
    }
    ld->word = (uint64_t)uid << 32 | (old + 1);
    if (uid == geteuid()) {
        rc = skl_segment_dir(seg, ld->dir, sizeof(ld->dir));
    } else {
        skl_segment_dir_of(seg, uid, ld->dir, sizeof(ld->dir));
    }
    if (rc != SECKILL_OK) {
        return fail(made, rc, "directory %.180s: %s", ld->dir,
                    seckill_errname(rc));
    }
    /* A builder whose parent is gone may still be at its own for a moment. */
    (void)snprintf(ld->temp, sizeof(ld->temp), "%.271s/list.%s.t%" PRIx64,
                   ld->dir, ld->slot->name, (uint64_t)ld->started_ns);
    return rc;
}

/* 1 for a file of this list that is not the one called `keep`. */
static int is_stale(const skl_load_t *ld, const char *name, const char *keep)
{
    size_t len = strlen(ld->slot->name);

    return strncmp(name, "list.", 5) == 0 &&
           strncmp(name + 5, ld->slot->name, len) == 0 &&
           name[5 + len] == '.' && strcmp(name, keep) != 0;
}

/* Remove what earlier loads left in our directory; all but this word's. */
static void remove_stale(const skl_load_t *ld, uint64_t word)
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

static int no_space(skl_load_t *ld, int fd)
{
    uint64_t room = 0;

    (void)skl_os_free_bytes(fd, &room);
    return fail(ld->made, SECKILL_ENOSPACE,
                "%.150s: needs %" PRIu64 " bytes, %" PRIu64 " are available",
                ld->dir, ld->made->bytes, room);
}

/* Create, own, fill with zeros, map. The space is taken here. */
static int make_temp(skl_load_t *ld)
{
    uint64_t bytes;
    int fd, rc;

    skl_assert(ld->base == NULL);
    if (skl_list_build_bytes(&ld->build, &bytes) != SECKILL_OK) {
        return differs(ld);
    }
    skl_assert(bytes >= SKL_INDEX_HEADER);
    ld->made->bytes = bytes;
    fd = skl_os_open(ld->temp, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        return fail_call(ld->made, fd, "create", ld->temp);
    }
    rc = skl_list_uid(ld->word) != geteuid()
             ? skl_os_fchown(fd, skl_list_uid(ld->word), (gid_t)-1)
             : 0;
    rc = rc == 0 ? skl_os_allocate(fd, bytes) : rc;
    if (rc == -ENOSPC) {
        rc = no_space(ld, fd);
    } else if (rc == 0) {
        rc = skl_os_map(fd, bytes, 1, &ld->base);
        rc = rc == 0 ? SECKILL_OK : fail_call(ld->made, rc, "map", ld->temp);
    } else {
        rc = fail_call(ld->made, rc, "make", ld->temp);
    }
    (void)skl_os_close(fd);
    return rc;
}

/* Fill the index. */
static int build(skl_load_t *ld)
{
    skl_hash_key_t key;
    int rc = skl_os_random(&key, sizeof(key));

    skl_assert(ld->base != NULL);
    if (rc != 0) {
        return fail_call(ld->made, rc, "random", "key");
    }
    skl_list_build_begin(&ld->build, ld->base, &key);
    rc = skl_list_build_gathers(&ld->build) ? SECKILL_OK : read_entries(ld);
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc =
        skl_list_build_end(&ld->build, skl_list_owner(ld->env->lists, ld->slot),
                           skl_list_generation(ld->word));
    ld->made->entries = ld->build.entries;
    return rc == SECKILL_OK ? rc : differs(ld);
}

/* ---- Putting it in force ------------------------------------------------- */

/* A change that seems to be still to come was made before the clock was put
 * back, or by the clock of another host: the next one has another time. */
static int is_racy(const skl_load_t *ld, const skl_list_made_t *made)
{
    const int64_t now = skl_clock_wall_ns();
    const int64_t took = skl_clock_mono_ns() - ld->started_ns;

    return made->changed_ns > now - RACY_NS - took &&
           made->changed_ns < now + RACY_NS;
}

static void note_good(const skl_load_t *ld, const skl_list_made_t *made)
{
    skl_list_good_t good, old;

    skl_list_good(ld->slot, &old);
    memset(&good, 0, sizeof(good));
    good.file = made->id;
    good.file_mtime_ns = made->id.mtime_ns;
    if (is_racy(ld, made)) {
        good.file.mtime_ns = -1; /* matches no version: looked at again */
    }
    good.entries = made->entries;
    good.bytes = made->bytes;
    good.reloads = old.reloads + 1;
    good.bad_lines = made->bad_lines;
    good.loaded_at = ld->env->now(ld->env->ctx);
    good.load_ns = skl_clock_mono_ns() - ld->started_ns;
    good.format = made->format;
    good.proofs = made->proofs;
    memcpy(good.digest, made->digest, sizeof(good.digest));
    skl_list_set_good(ld->slot, skl_list_generation(ld->word), &good);
}

static int put_in_force(skl_load_t *ld, skl_list_made_t *made)
{
    const skl_segment_t *seg = ld->env->segment;
    char path[SKL_LIST_PATH_MAX], old_path[SKL_LIST_PATH_MAX];
    uint64_t old = atomic_load(&ld->slot->current);
    int rc;

    skl_assert(skl_list_generation(ld->word) == skl_list_generation(old) + 1);
    note_good(ld, made);
    skl_list_path(seg, ld->slot, ld->word, path, sizeof(path));
    rc = skl_os_rename(ld->temp, path);
    if (rc != 0) {
        return fail_call(made, rc, "rename", ld->temp);
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

static void note_bad(const skl_load_t *ld, const skl_list_made_t *made)
{
    skl_list_bad_t bad, old;

    skl_assert(made->rc < 0);
    skl_list_bad(ld->slot, &old);
    memset(&bad, 0, sizeof(bad));
    bad.file = made->id;
    if ((made->rc != SECKILL_EBADFILE && made->rc != SECKILL_ETOOLARGE) ||
        is_racy(ld, made)) {
        bad.file.mtime_ns = -1; /* not the file's fault, or not all of it */
    }
    bad.options = ld->options;
    bad.generation = skl_list_generation(atomic_load(&ld->slot->current));
    bad.failures = old.failures + 1;
    bad.bad_lines = made->bad_lines;
    bad.rc = made->rc;
    (void)snprintf(bad.error, sizeof(bad.error), "%s", made->text);
    skl_list_set_bad(ld->slot, &bad);
}

/* ---- One load ------------------------------------------------------------ */

static int make_index(skl_load_t *ld)
{
    int rc = SECKILL_OK;

    if (skl_list_build_gathers(&ld->build)) {
        rc = read_entries(ld);
    }
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
    if (ld->base != NULL) {
        (void)skl_os_unmap(ld->base, ld->made->bytes);
        ld->base = NULL;
    }
    return rc;
}

void skl_load_make(skl_load_t *ld, skl_list_made_t *made)
{
    int rc;

    skl_assert(ld->base == NULL);
    memset(made, 0, sizeof(*made));
    ld->made = made;
    rc = skl_source_open(ld->source);
    if (rc != SECKILL_OK) {
        fail(made, rc, "%s", skl_source_error(ld->source));
    }
    made->id = *skl_source_id(ld->source);
    rc = rc == SECKILL_OK ? survey(ld) : rc;
    rc = rc == SECKILL_OK ? make_index(ld) : rc;
    skl_list_build_free(&ld->build);
    skl_source_close(ld->source);
    made->format = skl_source_format(ld->source);
    made->changed_ns = skl_source_changed_ns(ld->source);
    memcpy(made->digest, skl_source_digest(ld->source), sizeof(made->digest));
    made->rc = rc;
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

static void free_load(skl_load_t *ld)
{
    skl_source_free(ld->source);
    skl_list_merge_free(ld->merge);
    free(ld);
}

static skl_load_t *new_load(const skl_list_env_t *env,
                            struct seckill_list *list, int flags)
{
    skl_load_t *ld = calloc(1, sizeof(*ld));

    if (ld == NULL) {
        return NULL;
    }
    ld->env = env;
    ld->list = list;
    ld->slot = list->slot;
    ld->flags = flags;
    ld->started_ns = skl_clock_mono_ns();
    ld->options = options_word(ld->slot);
    ld->source =
        skl_source_new(list->slot->file, atomic_load(&list->slot->max_bytes));
    if (ld->source == NULL) {
        free_load(ld);
        return NULL;
    }
    return ld;
}

/* Nothing to do where the file is in force, or was refused before: why. */
static int see_known(const skl_load_t *ld, char *err, size_t err_size)
{
    skl_file_id_t id;
    skl_list_bad_t bad;

    skl_list_file_id(ld->slot, &id);
    if (!skl_list_reachable(ld->env->segment, ld->slot)) {
        return SECKILL_OK;
    }
    if (is_in_force(ld->slot, &id)) {
        return SKL_LOAD_NOTHING;
    }
    if (was_refused(ld->slot, &id, &bad)) {
        (void)snprintf(err, err_size, "%s", bad.error);
        return (int)bad.rc;
    }
    return SECKILL_OK;
}

static int prepare(skl_load_t *ld, char *err, size_t err_size)
{
    skl_list_made_t made = {0};

    if (ld->flags & SKL_LOAD_IF_CHANGED) {
        const int rc = see_known(ld, err, err_size);

        if (rc != SECKILL_OK) {
            return rc;
        }
    }
    made.rc = choose_dir(ld, &made);
    if (made.rc != SECKILL_OK) {
        note_bad(ld, &made);
        (void)snprintf(err, err_size, "%s", made.text);
        return made.rc;
    }
    remove_stale(ld, atomic_load(&ld->slot->current));
    if (ld->flags & SKL_LOAD_MERGE) {
        ld->merge = skl_list_merge_new(ld->list);
    }
    return SECKILL_OK;
}

skl_list_merge_t *skl_load_take_merge(skl_load_t *ld, uint64_t *word)
{
    skl_list_merge_t *m = ld->merge;

    ld->merge = NULL;
    *word = ld->word;
    return m;
}

int skl_load_begin(const skl_list_env_t *env, struct seckill_list *list,
                   int flags, int64_t wait_ns, skl_load_t **out, char *err,
                   size_t err_size)
{
    skl_load_t *ld = new_load(env, list, flags);
    int rc;

    skl_assert(env->segment != NULL && env->now != NULL);
    skl_assert(atomic_load(&list->slot->has_file));
    if (ld == NULL) {
        return SECKILL_ENOMEM;
    }
    rc = take_load_lock(ld->slot, wait_ns);
    if (rc != SECKILL_OK) {
        free_load(ld);
        return rc;
    }
    rc = prepare(ld, err, err_size);
    if (rc != SECKILL_OK) {
        skl_lock_release(&ld->slot->load_lock);
        free_load(ld);
        return rc;
    }
    *out = ld;
    return SECKILL_OK;
}

void skl_load_drop(skl_load_t *ld)
{
    skl_assert(ld->temp[0] != '\0' && ld->base == NULL);
    (void)skl_os_unlink(ld->temp);
    skl_lock_release(&ld->slot->load_lock);
    free_load(ld);
}

int skl_load_end(skl_load_t *ld, const skl_list_made_t *made, char *err,
                 size_t err_size)
{
    skl_list_made_t m = *made;

    skl_assert(made->rc <= SKL_LOAD_AGAIN);
    m.text[sizeof(m.text) - 1] = '\0';
#ifndef MUTANT_LIST_SWAP_EARLY
    m.rc = m.rc == SECKILL_OK ? put_in_force(ld, &m) : m.rc;
#endif
    if (m.rc < 0) {
        note_bad(ld, &m);
    }
    if (m.rc != SECKILL_OK && err_size > 0) {
        (void)snprintf(err, err_size, "%s", m.text);
    }
    skl_load_drop(ld);
    return m.rc;
}

const char *skl_load_temp(const skl_load_t *ld)
{
    return ld->temp;
}

int skl_list_load(const skl_list_env_t *env, struct seckill_list *list,
                  int flags, char *err, size_t err_size)
{
    int64_t settle_ns = atomic_load(&list->slot->settle_ms) * SKL_NS_PER_MS;
    skl_list_made_t made;
    skl_load_t *ld;
    int rc;

    for (int i = 1;; i++) {
        int last = i == SKL_LOAD_TRIES ? SKL_LOAD_LAST_TRY : 0;

        rc = skl_load_begin(env, list, flags | last, LOAD_WAIT_NS, &ld, err,
                            err_size);
        if (rc != SECKILL_OK) {
            return rc == SKL_LOAD_NOTHING ? SECKILL_OK : rc;
        }
        skl_load_make(ld, &made);
        rc = skl_load_end(ld, &made, err, err_size);
        if (rc != SKL_LOAD_AGAIN) {
            return rc;
        }
        skl_os_pause(settle_ns);
    }
}
