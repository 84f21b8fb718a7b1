/*
 * The engine: opening, closing, options, clock. See seckill.h for the API,
 * seckill_internal.h for the handle.
 *
 * Threads: open, close and destroy one at a time in a process; the rest any.
 */
#include "seckill.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "seckill_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Handles of this process. A child finds its parent's: nginx opens in the
 * master, and again in each worker, for the same handle. */
static seckill_t *registry;

/* Handles whose segment was destroyed: objects made from them may live on. */
static seckill_t *forgotten;

/* What adopting a segment may answer besides codes. */
enum { SEGMENT_STALE = 1 };

/* Two seconds for the users of a directory to be gone. */
#define LOCKED_PAUSE_NS (20 * SKL_NS_PER_MS)
enum { LOCKED_TRIES = 100 };

/* ---- Library ------------------------------------------------------------- */

int seckill_abi(void)
{
    return SECKILL_ABI;
}

const char *seckill_version(void)
{
    return SECKILL_VERSION;
}

size_t seckill_sizeof(int which)
{
    switch (which) {
    case SECKILL_SIZEOF_OPTIONS:
        return sizeof(seckill_options_t);
    case SECKILL_SIZEOF_ITEM:
        return sizeof(seckill_item_t);
    case SECKILL_SIZEOF_RESERVATION:
        return sizeof(seckill_reservation_t);
    case SECKILL_SIZEOF_LIMIT:
        return sizeof(seckill_limit_t);
    case SECKILL_SIZEOF_TICKET:
        return sizeof(seckill_ticket_t);
    case SECKILL_SIZEOF_LIST_OPTIONS:
        return sizeof(seckill_list_options_t);
    case SECKILL_SIZEOF_LIST_CHANGE:
        return sizeof(seckill_list_change_t);
    case SECKILL_SIZEOF_LIST_STATS:
        return sizeof(seckill_list_stats_t);
    case SECKILL_SIZEOF_EVENT:
        return sizeof(seckill_event_t);
    case SECKILL_SIZEOF_TOKEN:
        return sizeof(seckill_token_t);
    case SECKILL_SIZEOF_CLAIMS:
        return sizeof(seckill_claims_t);
    case SECKILL_SIZEOF_LOG_STATS:
        return sizeof(seckill_log_stats_t);
    case SECKILL_SIZEOF_RECORD:
        return sizeof(seckill_record_t);
    case SECKILL_SIZEOF_DIR_STATS:
        return sizeof(seckill_dir_stats_t);
    case SECKILL_SIZEOF_LINE:
        return sizeof(seckill_line_t);
    case SECKILL_SIZEOF_ORDER:
        return sizeof(seckill_order_t);
    case SECKILL_SIZEOF_VERDICT:
        return sizeof(seckill_verdict_t);
    case SECKILL_SIZEOF_RULE:
        return sizeof(seckill_rule_t);
    case SECKILL_SIZEOF_LIMITER_COUNTS:
        return sizeof(seckill_limiter_counts_t);
    case SECKILL_SIZEOF_HOT_KEY:
        return sizeof(seckill_hot_key_t);
    case SECKILL_SIZEOF_BREAKER_OPTIONS:
        return sizeof(seckill_breaker_options_t);
    case SECKILL_SIZEOF_BREAKER_STATS:
        return sizeof(seckill_breaker_stats_t);
    case SECKILL_SIZEOF_SHEDDER_OPTIONS:
        return sizeof(seckill_shedder_options_t);
    case SECKILL_SIZEOF_SHEDDER_STATS:
        return sizeof(seckill_shedder_stats_t);
    default:
        return 0;
    }
}

/* ---- Layout of the segment ----------------------------------------------- */

static skl_limits_size_t limits_size(const skl_config_t *c)
{
    return (skl_limits_size_t){.keys = c->limit_keys,
                               .limiters = c->limiters,
                               .overrides = c->limit_overrides};
}

static void section_sizes(const skl_config_t *c, uint64_t *sizes)
{
    const skl_limits_size_t limits = limits_size(c);

    sizes[SKL_SECTION_COUNTERS] = sizeof(skl_counters_shm_t);
    sizes[SKL_SECTION_STOCK] =
        skl_tables_bytes(c->items, c->reservations, c->users, c->requests);
    sizes[SKL_SECTION_RING] = skl_ring_bytes(c->log_units);
    sizes[SKL_SECTION_LIMITS] = skl_limits_bytes(&limits);
    sizes[SKL_SECTION_LISTS] = skl_lists_bytes(c->lists, c->list_overlay);
    sizes[SKL_SECTION_LOG] = sizeof(skl_wal_shm_t);
    sizes[SKL_SECTION_PROCESSES] = sizeof(skl_processes_shm_t);
    sizes[SKL_SECTION_PERMITS] = skl_permits_bytes(c->permits);
    sizes[SKL_SECTION_HOT] = skl_hot_bytes(c->limit_keys);
    sizes[SKL_SECTION_BREAKERS] = skl_breakers_bytes(c->breakers);
    sizes[SKL_SECTION_SHEDDERS] = skl_sheds_bytes(c->shedders);
}

/* Ids of an earlier life of the segment must not be ids of this one. Without a
 * log that could count lives the number is random. */
static void begin_life(skl_header_t *h)
{
    skl_ring_t ring;
    uint32_t incarnation;

    memcpy(&incarnation, h->uuid, sizeof(incarnation));
    skl_ring_attach(&ring, skl_section(h, SKL_SECTION_RING));
    skl_ring_begin_life(&ring, 1, incarnation | 1);
}

static void init_sections(skl_header_t *h)
{
    const skl_config_t *c = &h->config;
    const skl_limits_size_t limits = limits_size(c);

    skl_counters_init(skl_section(h, SKL_SECTION_COUNTERS));
    skl_tables_init(skl_section(h, SKL_SECTION_STOCK), c->items,
                    c->reservations, c->users, c->requests);
    skl_ring_init(skl_section(h, SKL_SECTION_RING), c->log_units);
    begin_life(h);
    skl_limits_init(skl_section(h, SKL_SECTION_LIMITS), &limits);
    skl_lists_init(skl_section(h, SKL_SECTION_LISTS), c->lists,
                   c->list_overlay);
    skl_processes_init(skl_section(h, SKL_SECTION_PROCESSES));
    skl_permits_init(skl_section(h, SKL_SECTION_PERMITS), c->permits);
    skl_hot_init(skl_section(h, SKL_SECTION_HOT), c->limit_keys);
    skl_breakers_init(skl_section(h, SKL_SECTION_BREAKERS), c->breakers);
    skl_sheds_init(skl_section(h, SKL_SECTION_SHEDDERS), c->shedders);
}

static uint64_t signature(void)
{
    uint64_t sum = skl_stock_signature();

    sum = skl_mix64(sum + skl_limits_signature());
    sum = skl_mix64(sum + skl_lists_signature());
    sum = skl_mix64(sum + sizeof(skl_counters_shm_t));
    sum = skl_mix64(sum + sizeof(skl_wal_shm_t));
    sum = skl_mix64(sum + sizeof(skl_processes_shm_t));
    sum = skl_mix64(sum + skl_permits_signature());
    sum = skl_mix64(sum + skl_hot_signature());
    sum = skl_mix64(sum + skl_breakers_signature());
    sum = skl_mix64(sum + skl_sheds_signature());
    return skl_mix64(sum + sizeof(skl_header_t));
}

/* ---- Open ---------------------------------------------------------------- */

void seckill_attach_sections(seckill_t *sk)
{
    skl_header_t *h = sk->segment.header;
    const skl_hash_key_t *key = &h->key;

    skl_counters_attach(&sk->counters, skl_section(h, SKL_SECTION_COUNTERS));
    sk->counters_pid = getpid();
    skl_stock_attach(&sk->stock, skl_section(h, SKL_SECTION_STOCK),
                     skl_section(h, SKL_SECTION_RING), key, &sk->counters);
    sk->stock.window_ns = h->config.window_ns;
    sk->stock.request_ids = h->config.request_ids;
    skl_limits_attach(&sk->limits, skl_section(h, SKL_SECTION_LIMITS), key,
                      &sk->counters);
    skl_lists_attach(&sk->lists, skl_section(h, SKL_SECTION_LISTS), key,
                     &sk->counters);
    skl_processes_attach(&sk->processes, skl_section(h, SKL_SECTION_PROCESSES));
    sk->limits.permits = &sk->permits;
    skl_permits_attach(&sk->permits, skl_section(h, SKL_SECTION_PERMITS),
                       &sk->processes, &sk->counters);
    skl_hot_attach(&sk->hot, skl_section(h, SKL_SECTION_HOT), &sk->counters);
    sk->limits.hot = &sk->hot;
    seckill_attach_breakers(sk);
}

static skl_config_t config_of(const seckill_options_t *o)
{
    skl_config_t c = {.window_ns = o->window_ns,
                      .request_ids = o->request_ids,
                      .items = o->items,
                      .reservations = o->reservations,
                      .users = o->users,
                      .requests = o->requests,
                      .limit_keys = o->limit_keys,
                      .limiters = o->limiters,
                      .limit_overrides = o->limit_overrides,
                      .lists = o->lists,
                      .list_overlay = o->list_overlay,
                      .log_units = o->log_units,
                      .permits = o->permits,
                      .breakers = o->breakers,
                      .shedders = o->shedders,
                      .durability = o->durability,
                      .max_lag_ns = o->max_lag_ns,
                      .max_log_bytes = o->max_log_bytes,
                      .log_segment_bytes = o->log_segment_bytes};

    return c;
}

static void forget(const char *name, const char *shm_dir);

/* The handle of a name, unless somebody has destroyed its segment since. */
static seckill_t *find_open(const char *name, const char *shm_dir)
{
    for (seckill_t *sk = registry; sk != NULL; sk = sk->next) {
        if (strcmp(sk->segment.name, name) == 0 &&
            strcmp(sk->segment.shm_dir, shm_dir) == 0) {
            if (skl_segment_is_current(&sk->segment)) {
                return sk;
            }
            forget(name, shm_dir);
            return NULL;
        }
    }
    return NULL;
}

/* Open once more in this process. Threads and stripes are per process: a
 * child begins with its own. */
static int reopen(seckill_t *sk, const seckill_options_t *o, char *err,
                  size_t err_size)
{
    const skl_config_t want = config_of(o);
    int rc =
        skl_config_compare(&want, &sk->segment.header->config, err, err_size);

    rc = rc == SECKILL_OK ? seckill_log_adopt(sk, o, err, err_size) : rc;
    if (rc == SECKILL_OK) {
        sk->references++;
        seckill_refresh_process(sk);
    } else if (sk->references == 0) {
        seckill_log_leave(sk);
    }
    return rc;
}

void seckill_refresh_process(seckill_t *sk)
{
    if (sk->counters_pid != getpid()) {
        skl_counters_attach(&sk->counters, sk->counters.shm);
        sk->counters_pid = getpid();
    }
}

/* Make the segment or attach to it, and see that it is the log's. */
static int open_segment(seckill_t *sk, const seckill_options_t *o,
                        const char *name, const char *shm_dir,
                        const skl_config_t *want, char *err, size_t err_size)
{
    const skl_layout_t layout = {.signature = signature(),
                                 .sizes = section_sizes,
                                 .init = init_sections,
                                 .fill = seckill_log_fill,
                                 .ctx = sk,
                                 .has_owner = o->dir != NULL,
                                 .uid = sk->log.dir.uid,
                                 .gid = sk->log.dir.gid};
    int rc = skl_segment_open(&sk->segment, name, shm_dir, o->user, want,
                              &layout, err, err_size);

    if (rc != SECKILL_OK) {
        return rc;
    }
    seckill_attach_sections(sk);
    return seckill_log_adopt(sk, o, err, err_size);
}

static int open_all(seckill_t *sk, const seckill_options_t *o, const char *name,
                    const char *shm_dir, char *err, size_t err_size)
{
    skl_config_t want = config_of(o);
    int rc = seckill_log_enter(sk, o, &want, err, err_size);

    rc = rc == SECKILL_OK
             ? open_segment(sk, o, name, shm_dir, &want, err, err_size)
             : rc;
    if (rc == SEGMENT_STALE) {
        /* Of an earlier life, and nobody uses it: the log is the truth. */
        rc = skl_segment_destroy(name, shm_dir);
        rc = rc == SECKILL_OK
                 ? open_segment(sk, o, name, shm_dir, &want, err, err_size)
                 : rc;
    }
    if (rc != SECKILL_OK) {
        seckill_log_leave(sk);
    }
    return rc;
}

static int try_new(const seckill_options_t *o, const char *name,
                   const char *shm_dir, seckill_t **out, char *err,
                   size_t err_size)
{
    seckill_t *sk = calloc(1, sizeof(*sk));
    int rc;

    if (sk == NULL) {
        return SECKILL_ENOMEM;
    }
    rc = open_all(sk, o, name, shm_dir, err, err_size);
    if (rc != SECKILL_OK) {
        free(sk);
        return rc;
    }
    sk->references = 1;
    sk->next = registry;
    registry = sk;
    *out = sk;
    return SECKILL_OK;
}

/* A process that was killed keeps its lock on the directory while one of its
 * threads still waits for the disk. */
static int open_new(const seckill_options_t *o, const char *name,
                    const char *shm_dir, seckill_t **out, char *err,
                    size_t err_size)
{
    int rc = try_new(o, name, shm_dir, out, err, err_size);

    for (int i = 0; i < LOCKED_TRIES && rc == SECKILL_ELOCKED; i++) {
        skl_os_pause(LOCKED_PAUSE_NS);
        if (err_size > 0) {
            err[0] = '\0';
        }
        rc = try_new(o, name, shm_dir, out, err, err_size);
    }
    return rc;
}

static const char *or_default(const char *s, const char *def)
{
    return s != NULL ? s : def;
}

int seckill_open(const seckill_options_t *options, seckill_t **out, char *err,
                 size_t err_size)
{
    const char *name, *shm_dir;
    seckill_t *sk;
    int rc;

    if (err_size > 0) {
        err[0] = '\0';
    }
    if (options->struct_size != sizeof(*options)) {
        (void)snprintf(err, err_size, "struct_size: %u, expected %zu",
                       options->struct_size, sizeof(*options));
        return SECKILL_EBADOPTION;
    }
    name = or_default(options->name, "default");
    shm_dir = or_default(options->shm_dir, SKL_SHM_DIR);
    if (shm_dir[0] != '/' || shm_dir[1] == '\0' ||
        shm_dir[strlen(shm_dir) - 1] == '/') {
        (void)snprintf(err, err_size,
                       "shm_dir: an absolute path without a slash at the end "
                       "expected");
        return SECKILL_EBADOPTION;
    }
    sk = find_open(name, shm_dir);
    if (sk == NULL) {
        return open_new(options, name, shm_dir, out, err, err_size);
    }
    rc = reopen(sk, options, err, err_size);
    if (rc == SEGMENT_STALE) {
        forget(name, shm_dir);
        return open_new(options, name, shm_dir, out, err, err_size);
    }
    *out = rc == SECKILL_OK ? sk : NULL;
    return rc;
}

void seckill_close(seckill_t *sk)
{
    skl_assert(sk->references > 0);
    sk->references--;
    if (sk->references == 0) {
        /* The handle and the mapping stay: objects made from it may live on,
         * and a robust lock must not lose its page. */
        seckill_stop(sk);
        (void)skl_processes_leave(&sk->processes);
        seckill_log_leave(sk);
    }
}

/* An unlinked segment must not be found again by its name. */
static void forget(const char *name, const char *shm_dir)
{
    seckill_t **link = &registry;

    while (*link != NULL) {
        seckill_t *sk = *link;

        if (strcmp(sk->segment.name, name) == 0 &&
            strcmp(sk->segment.shm_dir, shm_dir) == 0) {
            *link = sk->next;
            sk->next = forgotten;
            forgotten = sk;
        } else {
            link = &sk->next;
        }
    }
}

int seckill_destroy(const char *name, const char *shm_dir)
{
    int rc;

    shm_dir = or_default(shm_dir, SKL_SHM_DIR);
    rc = skl_segment_destroy(name, shm_dir);
    if (rc == SECKILL_OK) {
        forget(name, shm_dir);
    }
    return rc;
}

static int has_dir(seckill_t *sk)
{
    return skl_engine_dir(sk)[0] != '\0';
}

void seckill_get_options(seckill_t *sk, seckill_options_t *out)
{
    const skl_config_t *c = &sk->segment.header->config;

    memset(out, 0, sizeof(*out));
    out->struct_size = sizeof(*out);
    out->request_ids = c->request_ids;
    out->name = sk->segment.name;
    out->shm_dir = sk->segment.shm_dir;
    out->window_ns = c->window_ns;
    out->items = c->items;
    out->reservations = c->reservations;
    out->users = c->users;
    out->requests = c->requests;
    out->limit_keys = c->limit_keys;
    out->limiters = c->limiters;
    out->limit_overrides = c->limit_overrides;
    out->lists = c->lists;
    out->list_overlay = c->list_overlay;
    out->breakers = c->breakers;
    out->shedders = c->shedders;
    out->log_units = c->log_units;
    out->permits = c->permits;
    out->durability = c->durability;
    out->max_lag_ns = c->max_lag_ns;
    out->max_log_bytes = c->max_log_bytes;
    out->log_segment_bytes = c->log_segment_bytes;
    out->dir = has_dir(sk) ? skl_engine_dir(sk) : NULL;
}

uint64_t seckill_segment_bytes(seckill_t *sk)
{
    return sk->segment.header->bytes;
}

/* ---- Clock --------------------------------------------------------------- */

int64_t seckill_now(seckill_t *sk)
{
    int64_t test =
        atomic_load_explicit(&sk->test_clock_ns, memory_order_relaxed);

    return test != 0 ? test
                     : skl_ledger_ns(sk->segment.header, skl_clock_boot_ns());
}

int64_t seckill_clock_skew(seckill_t *sk)
{
    return atomic_load(&sk->segment.header->clock_skew);
}

int64_t seckill_mono_now(void)
{
    return skl_clock_mono_ns();
}

int64_t seckill_wall_now(void)
{
    return skl_clock_wall_ns();
}

void seckill_set_test_clock(seckill_t *sk, int64_t now_ns)
{
    atomic_store(&sk->test_clock_ns, now_ns);
}
