/*
 * stats() and metrics(): what the engine counted, as a walk over names and as
 * Prometheus text. Any thread; not for a hot path (it adds stripes up).
 */
#include "base/assert.h"
#include "base/clock.h"
#include "metrics/text.h"
#include "seckill_internal.h"
#include "seckill_metrics_breaker.h"
#include "stock/rebuild.h"

#include <stdio.h>

/* ---- Counts -------------------------------------------------------------- */

/* Limiters count for themselves (skl_limiter_counted). */
static uint64_t result_of(seckill_t *sk, int op, int rc)
{
    if (op == SKL_OP_limiter && rc == SECKILL_OK) {
        return skl_limits_counted(&sk->limits, SKL_LIMIT_ALLOWED);
    }
    if (op == SKL_OP_limiter && rc == SECKILL_EREJECTED) {
        return skl_limits_counted(&sk->limits, SKL_LIMIT_REJECTED);
    }
    return skl_counters_result(&sk->counters, op, rc);
}

static uint64_t event_of(seckill_t *sk, int event)
{
    switch (event) {
    case SKL_EV_limiter_overflow:
        return skl_limits_counted(&sk->limits, SKL_LIMIT_OVERFLOW);
    case SKL_EV_limiter_shadow:
        return skl_limits_counted(&sk->limits, SKL_LIMIT_SHADOWED);
    case SKL_EV_limiter_undone:
        return skl_limits_counted(&sk->limits, SKL_LIMIT_REFUNDED);
    default:
        return skl_counters_event(&sk->counters, event);
    }
}

/* ---- Walk ---------------------------------------------------------------- */

static int codes(void)
{
    int n = 0;

    while (seckill_errcode_at(n) != 0) {
        n++;
    }
    return n;
}

int seckill_counter_at(seckill_t *sk, int i, const char **name, uint64_t *value)
{
    static _Thread_local char text[96];
    const int per_op = codes() + 1; /* OK, then the table */
    const int results = SKL_OP_COUNT * per_op;

    if (i < 0 || i >= results + SKL_EV_COUNT) {
        return SECKILL_ENOTFOUND;
    }
    if (i < results) {
        int op = i / per_op;
        int rc =
            i % per_op == 0 ? SECKILL_OK : seckill_errcode_at(i % per_op - 1);

        (void)snprintf(text, sizeof(text), "%s.%s", skl_op_name(op),
                       seckill_errname(rc));
        *value = result_of(sk, op, rc);
    } else {
        (void)snprintf(text, sizeof(text), "events.%s",
                       skl_event_name(i - results));
        *value = event_of(sk, i - results);
    }
    *name = text;
    return SECKILL_OK;
}

/* ---- Prometheus text ----------------------------------------------------- */

static void write_results(seckill_t *sk, skl_text_t *t)
{
    skl_text_family(t, "seckill_results_total", "counter",
                    "Calls by operation and answer");
    for (int op = 0; op < SKL_OP_COUNT; op++) {
        for (int i = -1; i < codes(); i++) {
            int rc = i < 0 ? SECKILL_OK : seckill_errcode_at(i);
            uint64_t n = result_of(sk, op, rc);

            if (n == 0 && rc != SECKILL_OK) {
                continue;
            }
            skl_text_printf(
                t, "seckill_results_total{op=\"%s\",code=\"%s\"} %llu\n",
                skl_op_name(op), seckill_errname(rc), (unsigned long long)n);
        }
    }
}

static void write_events(seckill_t *sk, skl_text_t *t)
{
    for (int i = 0; i < SKL_EV_COUNT; i++) {
        char name[96];

        (void)snprintf(name, sizeof(name), "seckill_%s_total",
                       skl_event_name(i));
        skl_text_family(t, name, "counter", skl_event_help(i));
        skl_text_printf(t, "%s %llu\n", name,
                        (unsigned long long)event_of(sk, i));
    }
}

static void write_limiters(seckill_t *sk, skl_text_t *t)
{
    static const char *const results[SKL_LIMIT_COUNTS] = {
        "allowed", "rejected", "delayed", "shadow", "overflow", "refunded"};
    const uint32_t count = skl_limits_count(&sk->limits);

    skl_text_family(t, "seckill_limiter_total", "counter",
                    "Takes of a limiter by what became of them");
    for (uint32_t i = 0; i < count; i++) {
        const skl_limiter_t *lim = skl_limits_at(&sk->limits, i);

        for (int r = 0; lim != NULL && r < SKL_LIMIT_COUNTS; r++) {
            skl_text_printf(
                t, "seckill_limiter_total{limiter=\"%s\",result=\"%s\"} %llu\n",
                skl_limiter_name(lim), results[r],
                (unsigned long long)skl_limiter_counted(lim, r));
        }
    }
}

static void write_units(skl_text_t *t, const seckill_item_t *i,
                        const char *state, int64_t n)
{
    skl_text_printf(t, "seckill_stock_units{item=\"");
    skl_text_label(t, i->item, i->item_len);
    skl_text_printf(t, "\",state=\"%s\"} %lld\n", state, (long long)n);
}

static void write_items(seckill_t *sk, skl_text_t *t)
{
    uint32_t cursor = 0;
    seckill_item_t i;

    skl_text_family(t, "seckill_stock_units", "gauge",
                    "Units of an item by state");
    while (skl_stock_next(&sk->stock, &cursor, &i) == SECKILL_OK) {
        write_units(t, &i, "available", i.available);
        write_units(t, &i, "reserved", i.reserved);
        write_units(t, &i, "sold", i.sold);
    }
}

int seckill_table_at(seckill_t *sk, int i, const char **name, uint64_t *used,
                     uint64_t *capacity)
{
    static const char *const names[] = {"items", "requests", "users",
                                        "reservations", "list_overlay"};
    const skl_config_t *c = &sk->segment.header->config;
    const uint64_t capacities[] = {c->items, c->requests, c->users,
                                   c->reservations, c->list_overlay};
    skl_usage_t u;

    if (i < 0 || i >= (int)(sizeof(names) / sizeof(names[0]))) {
        return SECKILL_ENOTFOUND;
    }
    skl_stock_usage(&sk->stock, &u);
    *name = names[i];
    *capacity = capacities[i];
    *used = (const uint64_t[]){u.items, u.requests, u.users, u.rows,
                               atomic_load(&sk->lists.overlay.shm->used)}[i];
    return SECKILL_OK;
}

static void write_table(skl_text_t *t, const char *name, uint64_t used,
                        uint64_t capacity)
{
    skl_text_printf(t, "seckill_table_rows{table=\"%s\",kind=\"used\"} %llu\n",
                    name, (unsigned long long)used);
    skl_text_printf(t,
                    "seckill_table_rows{table=\"%s\",kind=\"capacity\"} %llu\n",
                    name, (unsigned long long)capacity);
}

static void write_tables(seckill_t *sk, skl_text_t *t)
{
    const char *name;
    uint64_t used, capacity;

    skl_text_family(t, "seckill_table_rows", "gauge",
                    "Rows of the fixed tables");
    for (int i = 0;
         seckill_table_at(sk, i, &name, &used, &capacity) == SECKILL_OK; i++) {
        write_table(t, name, used, capacity);
    }
}

static void write_gauge(skl_text_t *t, const char *name, const char *help,
                        double value)
{
    skl_text_family(t, name, "gauge", help);
    skl_text_printf(t, "%s %.9g\n", name, value);
}

/* Also removed ones, which are in no list, but keep their ids. */
static void write_quarantine(seckill_t *sk, skl_text_t *t)
{
    uint32_t slot = 0, n = 0;

    for (; skl_next_quarantined(&sk->stock, &slot); slot++) {
        n++;
    }
    write_gauge(t, "seckill_quarantine_items", "Items under quarantine now", n);
}

static void write_engine(seckill_t *sk, skl_text_t *t)
{
    const skl_header_t *h = sk->segment.header;

    skl_text_family(t, "seckill_build_info", "gauge", "Version");
    skl_text_printf(t, "seckill_build_info{version=\"%s\"} 1\n",
                    SECKILL_VERSION);
    write_gauge(t, "seckill_segment_bytes", "Size of the shared segment",
                (double)h->bytes);
    write_gauge(t, "seckill_log_lsn", "Newest log sequence number",
                (double)seckill_lsn(sk));
    write_gauge(t, "seckill_clock_skew_seconds",
                "Wall clock minus the clock of the ledger",
                (double)seckill_clock_skew(sk) / (double)SKL_NS_PER_SEC);
}

static void write_count(skl_text_t *t, const char *name, const char *help,
                        uint64_t value)
{
    skl_text_family(t, name, "counter", help);
    skl_text_printf(t, "%s %llu\n", name, (unsigned long long)value);
}

/* What a log on disk adds. */
static void write_log(seckill_t *sk, skl_text_t *t)
{
    seckill_log_stats_t s;

    if (seckill_log_stats(sk, &s) == SECKILL_ENOTFOUND) {
        return;
    }
    write_gauge(t, "seckill_log_durable_lsn",
                "Newest record that a power loss cannot take",
                (double)s.durable);
    write_gauge(t, "seckill_log_lag_seconds",
                "Age of the oldest record that is not durable",
                (double)s.lag_ns / (double)SKL_NS_PER_SEC);
    write_gauge(t, "seckill_log_state",
                "1 the log is written, 2 it is full, 3 the disk fails",
                (double)s.state);
    write_gauge(t, "seckill_log_bytes", "Files of log and snapshots",
                (double)s.bytes);
    write_gauge(t, "seckill_log_max_bytes", "Limit of the log",
                (double)s.max_bytes);
    write_gauge(t, "seckill_log_snapshot_lsn", "Record of the newest snapshot",
                (double)s.snapshot_lsn);
    write_count(t, "seckill_log_batches_total", "Batches written and synced",
                s.batches);
    write_count(t, "seckill_log_records_total", "Records written", s.records);
    write_count(t, "seckill_log_failures_total", "Failed calls on the log",
                s.failures);
    write_count(t, "seckill_log_snapshots_total", "Snapshots built",
                s.snapshots);
    write_count(t, "seckill_log_snapshot_failures_total",
                "Snapshots that could not be built", s.snapshot_failures);
    skl_text_family(t, "seckill_log_sync_seconds_total", "counter",
                    "Time spent in fdatasync");
    skl_text_printf(t, "seckill_log_sync_seconds_total %.9g\n",
                    (double)s.sync_ns / (double)SKL_NS_PER_SEC);
}

/* Keys are no labels: they are users and addresses, which a monitoring system
 * must not keep, and each new one would be a series for ever. */
static void write_hot(seckill_t *sk, skl_text_t *t)
{
    skl_hot_key_t keys[SKL_HOT_KEYS];
    int n = skl_hot_top(&sk->hot, skl_clock_mono_ns(), keys, SKL_HOT_KEYS);

    skl_text_family(t, "seckill_hot_key_rate", "gauge",
                    "Takes per second of the hottest key of a limiter");
    for (uint32_t i = 0; i < skl_limits_count(&sk->limits); i++) {
        int at = 0;

        while (at < n && keys[at].limiter != i) {
            at++; /* the hottest are first */
        }
        skl_text_printf(t, "seckill_hot_key_rate{limiter=\"%s\"} %.9g\n",
                        skl_limits_name(&sk->limits, i),
                        at < n ? keys[at].rate : 0.0);
    }
}

size_t seckill_metrics(seckill_t *sk, char *out, size_t out_size)
{
    skl_text_t t = {.out = out, .size = out_size};

    if (out_size > 0) {
        out[0] = '\0';
    }
    write_engine(sk, &t);
    write_log(sk, &t);
    write_items(sk, &t);
    write_quarantine(sk, &t);
    write_tables(sk, &t);
    write_results(sk, &t);
    write_events(sk, &t);
    write_limiters(sk, &t);
    write_hot(sk, &t);
    seckill_write_breakers(sk, &t);
    seckill_write_sheds(sk, &t);
    return t.used;
}
