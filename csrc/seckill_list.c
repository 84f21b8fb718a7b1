/*
 * The access lists of the public API: checks what comes from callers, reads
 * the clock where an entry ends (now_ns 0), counts results. Lookup and overlay
 * are in acl/, files in io/.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "io/list_file.h"
#include "io/list_map.h"
#include "seckill.h"
#include "seckill_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TTL_MAX_NS 1000000000000000000LL

enum {
    MAP_TRIES = 2000, /* of 1 ms */
    REASON_MAX = 255
};

/* ---- Opening ------------------------------------------------------------- */

/* "what" or "what: which". */
static int fail(int rc, char *err, size_t size, const char *what,
                const char *which)
{
    if (size > 0) {
        (void)snprintf(err, size, "%s%s%.160s", what, which == NULL ? "" : ": ",
                       which == NULL ? "" : which);
    }
    return rc;
}

static int valid_name(const char *name)
{
    size_t len = name == NULL ? 0 : strlen(name);

    return len >= 1 && len <= SECKILL_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

/* The absolute form of a path; links in it stay, they may change. */
static int to_absolute(const char *file, char out[SKL_LIST_FILE_MAX], char *err,
                       size_t size)
{
    char cwd[SKL_LIST_FILE_MAX] = "";
    int n;

    if (file[0] == '\0') {
        return fail(SECKILL_EBADOPTION, err, size, "file", "empty");
    }
    if (file[0] != '/' && getcwd(cwd, sizeof(cwd)) == NULL) {
        return fail(SECKILL_EBADOPTION, err, size, "file",
                    "the working directory is not known");
    }
    n = snprintf(out, SKL_LIST_FILE_MAX, "%s%s%s", cwd,
                 file[0] == '/' ? "" : "/", file);
    if (n < 0 || n >= SKL_LIST_FILE_MAX) {
        return fail(SECKILL_EBADOPTION, err, size, "file: path over 255 bytes",
                    file);
    }
    return SECKILL_OK;
}

static int check_options(const char *name, const seckill_list_options_t *o,
                         char *err, size_t size)
{
    if (!valid_name(name)) {
        return fail(SECKILL_EBADNAME, err, size, "name", name);
    }
    if (o->struct_size != sizeof(*o)) {
        return fail(SECKILL_EBADOPTION, err, size, "struct_size", NULL);
    }
    if (o->kind != SECKILL_LIST_ID) {
        return fail(SECKILL_EBADOPTION, err, size, "kind", NULL);
    }
    if (o->watch > 2) {
        return fail(SECKILL_EBADOPTION, err, size, "watch", NULL);
    }
    if (o->settle_ms > 60000) {
        return fail(SECKILL_EBADOPTION, err, size, "settle", "over 60 seconds");
    }
    return SECKILL_OK;
}

static int64_t now_of(void *ctx)
{
    return seckill_now(ctx);
}

static int load(struct seckill_list *list, int flags, char *err, size_t size)
{
    seckill_t *sk = list->engine;
    const skl_list_env_t env = {
        .segment = &sk->segment, .lists = &sk->lists, .ctx = sk, .now = now_of};
    int rc = skl_list_load(&env, list, flags, err, size);

    skl_count_result(&sk->counters, SKL_OP_list_reload, rc);
    return rc;
}

/* This thread is the reader: what is in force is in use when it returns. */
static void take_over(struct seckill_list *list)
{
    int rc = SECKILL_EBUSY;

    /* The io thread may be mapping the same generation right now. */
    for (int i = 0; rc == SECKILL_EBUSY && i < MAP_TRIES; i++) {
        rc = skl_list_map(&list->engine->segment, list, 1);
        if (rc == SECKILL_EBUSY) {
            skl_os_pause(SKL_NS_PER_MS);
        }
    }
    skl_list_adopt(list);
    if (!skl_lists_threaded(list->lists)) {
        skl_list_unmap_retired(list);
    }
}

static int find_list(seckill_t *sk, const char *name,
                     const seckill_list_options_t *o, struct seckill_list **out,
                     char *err, size_t size)
{
    char path[SKL_LIST_FILE_MAX];
    uint32_t number;
    int rc = check_options(name, o, err, size);

    if (rc == SECKILL_OK && o->file != NULL) {
        rc = to_absolute(o->file, path, err, size);
    }
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = skl_lists_slot(&sk->lists, name, o->file != NULL ? path : NULL, o,
                        &number);
    if (rc != SECKILL_OK) {
        return fail(rc, err, size, seckill_errtext(rc), name);
    }
    rc = skl_lists_handle(&sk->lists, number, out);
    if (rc == SECKILL_OK) {
        (*out)->engine = sk;
    }
    return rc;
}

int seckill_list_open(seckill_t *sk, const char *name,
                      const seckill_list_options_t *options,
                      seckill_list_t **out, char *err, size_t err_size)
{
    struct seckill_list *list = NULL;
    int rc;

    if (err_size > 0) {
        err[0] = '\0';
    }
    seckill_refresh_process(sk);
    rc = find_list(sk, name, options, &list, err, err_size);
    if (rc != SECKILL_OK) {
        return rc;
    }
    *out = list;
    if (atomic_load(&list->slot->has_file)) {
        rc = load(list, SKL_LOAD_IF_CHANGED, err, err_size);
    }
    take_over(list);
    return rc;
}

int seckill_list_reload(seckill_list_t *list, char *err, size_t err_size)
{
    int rc;

    if (!atomic_load(&list->slot->has_file)) {
        return fail(SECKILL_EBADFILE, err, err_size, "the list has no file",
                    NULL);
    }
    rc = load(list, 0, err, err_size);
    take_over(list);
    return rc;
}

int seckill_list_reload_async(seckill_list_t *list, uint64_t *ticket)
{
    seckill_t *sk = list->engine;

    if (!atomic_load(&list->slot->has_file)) {
        return SECKILL_EBADFILE;
    }
    return skl_io_reload(sk->io, list, ticket);
}

/* ---- Lookup -------------------------------------------------------------- */

/* Without threads nobody else maps a new generation. */
static void follow(struct seckill_list *list)
{
    uint64_t word =
        atomic_load_explicit(&list->slot->current, memory_order_relaxed);

    if (word != atomic_load_explicit(&list->seen_word, memory_order_relaxed) &&
        word !=
            atomic_load_explicit(&list->failed_word, memory_order_relaxed)) {
        (void)skl_list_map(&list->engine->segment, list, 0);
        skl_list_adopt(list);
        skl_list_unmap_retired(list);
    }
}

static int answer(struct seckill_list *list, skl_list_hit_t *hit,
                  int64_t now_ns, const char **reason, size_t *reason_len)
{
    skl_counters_t *counters = list->lists->counters;
    int verdict;

    skl_assert(list->engine != NULL);
    if (now_ns == 0 && skl_list_timed(hit)) {
        now_ns = seckill_now(list->engine);
    }
    verdict = skl_list_judge(hit, now_ns);
    if (verdict == 1) {
        skl_count(counters, SKL_EV_list_denied, 1);
        *reason = hit->reason;
        *reason_len = hit->reason_len;
    } else if (verdict == 2) {
        skl_count(counters, SKL_EV_list_allowed, 1);
    }
    return verdict;
}

int seckill_list_match(seckill_list_t *list, const char *value,
                       size_t value_len, int64_t now_ns, const char **reason,
                       size_t *reason_len)
{
    skl_list_hit_t hit;

    if (value == NULL || value_len == 0 || value_len > SECKILL_ID_MAX) {
        return SECKILL_EBADVALUE;
    }
    *reason = NULL;
    *reason_len = 0;
    skl_list_adopt(list);
    if (!skl_lists_threaded(list->lists)) {
        follow(list);
    }
    if (!skl_list_find(list, value, value_len, &hit)) {
        return 0;
    }
    return answer(list, &hit, now_ns, reason, reason_len);
}

int seckill_list_check(uint32_t n, seckill_list_t *const *lists,
                       const char *const *values, const size_t *lens,
                       int64_t now_ns, uint32_t *which, const char **reason,
                       size_t *reason_len)
{
    /* a lookup further on may drop what an earlier one pointed to */
    static _Thread_local char kept[REASON_MAX];
    int verdict = 0;

    *which = 0;
    *reason = NULL;
    *reason_len = 0;
    if (n < 1 || n > SECKILL_CHECK_MAX) {
        return SECKILL_EBADVALUE;
    }
    for (uint32_t i = 0; i < n; i++) {
        const char *why;
        size_t why_len;
        int rc = seckill_list_match(lists[i], values[i], lens[i], now_ns, &why,
                                    &why_len);

        if (rc < 0 || rc == 2) {
            *which = i;
            *reason = NULL;
            *reason_len = 0;
            return rc;
        }
        if (rc == 1 && verdict == 0) {
            verdict = 1;
            *which = i;
            skl_assert(why_len <= sizeof(kept));
            if (why_len > 0) {
                memcpy(kept, why, why_len);
                *reason = kept;
            }
            *reason_len = why_len;
        }
    }
    return verdict;
}

/* ---- Overlay ------------------------------------------------------------- */

static int change(struct seckill_list *list, const char *value, size_t len,
                  uint32_t kind, int64_t ttl_ns, int64_t now_ns)
{
    int64_t until;

    if (value == NULL || len == 0 || len > SECKILL_ID_MAX) {
        return SECKILL_EBADVALUE;
    }
    if (ttl_ns < 0 || ttl_ns > TTL_MAX_NS) {
        return SECKILL_EBADTIME;
    }
    now_ns = now_ns == 0 ? seckill_now(list->engine) : now_ns;
    until = ttl_ns == 0 ? SKL_FOREVER : now_ns + ttl_ns;
    /* Without a file there is nothing that a removal must outlive: it ends at
     * once, and its place is free. */
    if (kind == SKL_OVERLAY_REMOVED && !atomic_load(&list->slot->has_file)) {
        until = now_ns;
    }
    return skl_list_change(list, value, len, kind, until, now_ns);
}

int seckill_list_add(seckill_list_t *list, const char *value, size_t value_len,
                     int64_t ttl_ns, int64_t now_ns)
{
    int rc = change(list, value, value_len, SKL_OVERLAY_DENY, ttl_ns, now_ns);

    skl_count_result(list->lists->counters, SKL_OP_list_update, rc);
    return rc;
}

int seckill_list_remove(seckill_list_t *list, const char *value,
                        size_t value_len, int64_t now_ns)
{
    int rc = change(list, value, value_len, SKL_OVERLAY_REMOVED, 0, now_ns);

    skl_count_result(list->lists->counters, SKL_OP_list_update, rc);
    return rc;
}

/* ---- Stats --------------------------------------------------------------- */

void seckill_list_stats(seckill_list_t *list, seckill_list_stats_t *out)
{
    uint64_t word = atomic_load(&list->slot->current);
    skl_list_good_t good;
    skl_list_bad_t bad;

    memset(out, 0, sizeof(*out));
    skl_list_good(list->slot, &good);
    skl_list_bad(list->slot, &bad);
    out->entries = good.entries;
    out->bytes = good.bytes;
    out->generation = skl_list_generation(word);
    out->reloads = good.reloads;
    out->failures = bad.failures;
    out->bad_lines = good.bad_lines;
    out->overlay = skl_overlay_live(&list->lists->overlay, list->number);
    out->loaded_at = good.loaded_at;
    out->load_ns = good.load_ns;
    out->file_mtime = good.file_mtime_ns;
    if (bad.failures > 0 && bad.generation == out->generation) {
        out->bad_lines = bad.bad_lines;
        memcpy(out->error, bad.error, sizeof(out->error));
        skl_assert(out->error[sizeof(out->error) - 1] == '\0');
    }
}
