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
#include "io/overlay_log.h"
#include "seckill.h"
#include "seckill_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TTL_MAX_NS 1000000000000000000LL

#define REVISION_MAX ((1ULL << 53) - 1)

enum {
    MAP_TRIES = 2000, /* of 1 ms */
    MAP_AGAIN = 4096, /* lookups */
    REASON_MAX = 255
};

skl_static_assert((int)SECKILL_LIST_APPLY_MAX <= (int)SKL_OVERLAY_BATCH,
                  "fits the ring");

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
    if (o->kind != SECKILL_LIST_ID && o->kind != SECKILL_LIST_IP) {
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

/* This thread is the reader: what is in force is in use when it returns OK. */
static int take_over(struct seckill_list *list)
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
    return rc < 0 ? rc : SECKILL_OK;
}

/* After a load: what came of it, or that this process cannot map it. */
static int after_load(int rc, int mapped, char *err, size_t size)
{
    return rc == SECKILL_OK && mapped != SECKILL_OK
               ? fail(mapped, err, size, SKL_LIST_UNMAPPED, NULL)
               : rc;
}

/* There are entries, and this process could not map them: to say that a value
 * is in no list would let in who is denied. */
static int lacks_index(const struct seckill_list *list)
{
    const uint64_t word = atomic_load(&list->slot->current);

    return word != 0 && word == atomic_load(&list->failed_word);
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
    int rc, mapped;

    if (err_size > 0) {
        err[0] = '\0';
    }
    seckill_refresh_process(sk);
    rc = find_list(sk, name, options, &list, err, err_size);
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = skl_overlay_log_restore(skl_engine_dir(sk), list, seckill_now(sk), err,
                                 err_size);
    if (rc != SECKILL_OK) {
        return rc; /* without its log it would let in what was denied */
    }
    if (atomic_load(&list->slot->has_file)) {
        rc = load(list, SKL_LOAD_IF_CHANGED, err, err_size);
    }
    mapped = take_over(list);
    *out = mapped != SECKILL_OK && list->view == NULL ? NULL : list;
    return after_load(rc, mapped, err, err_size);
}

int seckill_list_reload(seckill_list_t *list, char *err, size_t err_size)
{
    int rc;

    if (!atomic_load(&list->slot->has_file)) {
        return fail(SECKILL_EBADFILE, err, err_size, "the list has no file",
                    NULL);
    }
    rc = load(list, 0, err, err_size);
    return after_load(rc, take_over(list), err, err_size);
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

/* Without threads nobody else maps a new generation. What could not be mapped
 * is tried again now and then. */
static void follow(struct seckill_list *list)
{
    uint64_t word =
        atomic_load_explicit(&list->slot->current, memory_order_relaxed);

    if (word != atomic_load_explicit(&list->seen_word, memory_order_relaxed) &&
        (word !=
             atomic_load_explicit(&list->failed_word, memory_order_relaxed) ||
         ++list->lookups % MAP_AGAIN == 0)) {
        (void)skl_list_map(&list->engine->segment, list, 1);
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
    int known;

    if (value == NULL || value_len == 0 || value_len > SECKILL_ID_MAX) {
        return SECKILL_EBADVALUE;
    }
    *reason = NULL;
    *reason_len = 0;
    skl_list_adopt(list);
    if (!skl_lists_threaded(list->lists)) {
        follow(list);
    }
    if (list->view == NULL && lacks_index(list)) {
        return SECKILL_EIO;
    }
    known = skl_list_find(list, value, value_len, &hit);
    if (skl_list_is_behind(list) &&
        atomic_load(&list->failed_word) != atomic_load(&list->slot->current)) {
        /* Entries of the overlay went over into an index that this process has
         * not mapped within seconds: before anything is let in, it does. */
        (void)take_over(list);
        known = skl_list_find(list, value, value_len, &hit);
    }
    return known <= 0 ? known : answer(list, &hit, now_ns, reason, reason_len);
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

/* The CIDR that a value is: an address in any form, or a network. */
static int parse_net(const char *text, size_t len, skl_prefix_t *out)
{
    skl_addr_t address;
    skl_net_t net;

    if (skl_net_parse_address(text, len, &address) == NULL) {
        *out = skl_net_prefix(&address, skl_net_width(address.family));
        return 1;
    }
    return memchr(text, '-', len) == NULL &&
           skl_net_parse_entry(text, len, &net) == NULL &&
           skl_net_single(&net, out);
}

/* What comes from a caller: OK, or what is wrong with it. */
static int check_change(const struct seckill_list *list,
                        const seckill_list_change_t *c)
{
    skl_prefix_t net;

    if (c->op != SECKILL_LIST_ADD && c->op != SECKILL_LIST_REMOVE) {
        return SECKILL_EBADOPTION;
    }
    if (c->value == NULL || c->value_len == 0 ||
        c->value_len > SECKILL_ID_MAX) {
        return SECKILL_EBADVALUE;
    }
    if (c->ttl_ns < 0 || c->ttl_ns > TTL_MAX_NS ||
        (c->op == SECKILL_LIST_REMOVE && c->ttl_ns != 0)) {
        return SECKILL_EBADTIME;
    }
    if (list->kind == SECKILL_LIST_IP &&
        !parse_net(c->value, c->value_len, &net)) {
        return SECKILL_EBADVALUE;
    }
    return SECKILL_OK;
}

typedef struct {
    struct seckill_list *list;
    const seckill_list_change_t *changes;
    int64_t now_ns;
    skl_prefix_t net; /* of the change at hand */
} batch_t;

/* Without a file there is nothing that a removal must outlive, but for a
 * network that was added: it ends at once, and its place is free. */
static int outlives(const struct seckill_list *list, const skl_prefix_t *net)
{
    return atomic_load(&list->slot->has_file) ||
           (net != NULL &&
            skl_overlay_has_wider(&list->lists->overlay, list->number, net));
}

/* A change as the overlay takes it. */
static void to_item(void *ctx, uint32_t i, skl_overlay_item_t *out)
{
    batch_t *b = ctx;
    const seckill_list_change_t *c = &b->changes[i];
    const int is_net = b->list->kind == SECKILL_LIST_IP;

    out->value = c->value;
    out->len = c->value_len;
    out->kind =
        c->op == SECKILL_LIST_ADD ? SKL_OVERLAY_DENY : SKL_OVERLAY_REMOVED;
    out->until_ns = c->ttl_ns == 0 ? SKL_FOREVER : b->now_ns + c->ttl_ns;
    if (is_net) {
        const int good = parse_net(c->value, c->value_len, &b->net);

        skl_assert(good);
        skl_overlay_item_net(out, &b->net);
    }
    if (c->op == SECKILL_LIST_REMOVE &&
        !outlives(b->list, is_net ? &b->net : NULL)) {
        out->until_ns = b->now_ns;
    }
}

/* A list that was found before its log was read: what the log says would come
 * over any change, and the log would be written without it. */
static int is_restored(const struct seckill_list *list)
{
    return atomic_load(&list->lists->overlay.lists[list->number].restored) != 0;
}

static int change(struct seckill_list *list, uint32_t op, const char *value,
                  size_t len, int64_t ttl_ns, int64_t now_ns)
{
    const seckill_list_change_t c = {
        .value = value,
        .value_len = len > SECKILL_ID_MAX ? 0 : (uint32_t)len,
        .op = op,
        .ttl_ns = ttl_ns};
    batch_t b = {.list = list,
                 .changes = &c,
                 .now_ns = now_ns != 0 ? now_ns : seckill_now(list->engine)};
    skl_overlay_item_t item = {0};
    int rc = check_change(list, &c);

    rc = rc == SECKILL_OK && !is_restored(list) ? SECKILL_EBUSY : rc;
    if (rc == SECKILL_OK) {
        to_item(&b, 0, &item);
        rc = skl_overlay_set_item(&list->lists->overlay, list->number, &item,
                                  b.now_ns);
    }
    skl_count_result(list->lists->counters, SKL_OP_list_update, rc);
    return rc;
}

int seckill_list_add(seckill_list_t *list, const char *value, size_t value_len,
                     int64_t ttl_ns, int64_t now_ns)
{
    return change(list, SECKILL_LIST_ADD, value, value_len, ttl_ns, now_ns);
}

int seckill_list_remove(seckill_list_t *list, const char *value,
                        size_t value_len, int64_t now_ns)
{
    return change(list, SECKILL_LIST_REMOVE, value, value_len, 0, now_ns);
}

static int check_batch(const struct seckill_list *list,
                       const seckill_list_change_t *changes, uint32_t count,
                       uint64_t revision, uint32_t *position)
{
    *position = 0;
    if (revision > REVISION_MAX) {
        return SECKILL_EBADVERSION;
    }
    if (count > SECKILL_LIST_APPLY_MAX) {
        return SECKILL_ETOOLARGE;
    }
    for (uint32_t i = 0; i < count; i++) {
        const int rc = check_change(list, &changes[i]);

        if (rc != SECKILL_OK) {
            *position = i;
            return rc;
        }
    }
    return SECKILL_OK;
}

int seckill_list_apply(seckill_list_t *list,
                       const seckill_list_change_t *changes, uint32_t count,
                       uint64_t revision, int64_t now_ns, uint32_t *position)
{
    batch_t b = {.list = list,
                 .changes = changes,
                 .now_ns = now_ns != 0 ? now_ns : seckill_now(list->engine)};
    int rc = check_batch(list, changes, count, revision, position);

    rc = rc == SECKILL_OK && !is_restored(list) ? SECKILL_EBUSY : rc;
    if (rc == SECKILL_OK) {
        rc = skl_overlay_apply(&list->lists->overlay, list->number, to_item, &b,
                               count, revision, b.now_ns);
    }
    skl_count_result(list->lists->counters, SKL_OP_list_update, rc);
    return rc;
}

/* ---- Stats --------------------------------------------------------------- */

static void to_hex(const unsigned char *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

void seckill_list_stats(seckill_list_t *list, seckill_list_stats_t *out)
{
    uint64_t word = atomic_load(&list->slot->current);
    const skl_overlay_t *o = &list->lists->overlay;
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
    out->overlay = skl_overlay_live(o, list->number);
    out->revision = atomic_load(&o->lists[list->number].revision);
    out->overlay_unusable = atomic_load(&o->lists[list->number].unusable);
    if (skl_engine_dir(list->engine)[0] != '\0') {
        out->overlay_unsaved =
            atomic_load(&o->shm->head) - atomic_load(&o->shm->saved);
    }
    out->loaded_at = good.loaded_at;
    out->load_ns = good.load_ns;
    out->file_mtime = good.file_mtime_ns;
    out->format = good.format;
    if (good.format != 0) {
        to_hex(good.digest, sizeof(good.digest), out->digest);
    }
    if (bad.failures > 0 && bad.generation == out->generation) {
        out->bad_lines = bad.bad_lines;
        memcpy(out->error, bad.error, sizeof(out->error));
        skl_assert(out->error[sizeof(out->error) - 1] == '\0');
    }
}

/* ---- All of them --------------------------------------------------------- */

int seckill_list_at(seckill_t *sk, uint32_t i, seckill_list_t **out)
{
    struct seckill_list *list = NULL;
    int rc;

    if (i >= sk->lists.shm->capacity ||
        atomic_load(&sk->lists.shm->slots[i].state) == 0) {
        return SECKILL_ENOTFOUND;
    }
    rc = skl_lists_handle(&sk->lists, i, &list);
    if (rc == SECKILL_OK) {
        list->engine = sk;
        *out = list;
    }
    return rc;
}

const char *seckill_list_name(seckill_list_t *list)
{
    return list->slot->name;
}

uint32_t seckill_list_kind(seckill_list_t *list)
{
    return list->slot->kind;
}

const char *seckill_list_path(seckill_list_t *list)
{
    return atomic_load(&list->slot->has_file) ? list->slot->file : "";
}
