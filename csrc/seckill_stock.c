/*
 * The stock of the public API: reads the clock, counts results. The work is in
 * stock/. Any thread.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "seckill_internal.h"

#include <stdio.h>
#include <string.h>

/* The ledger's clock follows the wall clock by at most 500 ppm. */
#define SLEW_PER_SECOND 2000 /* elapsed / 2000 = 500 ppm */

#define SLEW_MAX_NS (SKL_NS_PER_SEC / 2)

enum { LIMIT_GROUPS = 16 }; /* of the limiters' table, in one sweep */

static int counted(seckill_t *sk, int op, int rc)
{
    skl_count_result(&sk->counters, op, rc);
    seckill_log_nudge(sk);
    return rc;
}

static skl_bytes_t bytes(const char *ptr, size_t len)
{
    skl_bytes_t b = {ptr, len};

    return b;
}

int seckill_put(seckill_t *sk, const seckill_item_t *item)
{
    int rc = SECKILL_EBADOPTION;

    if (item->struct_size == sizeof(*item)) {
        rc = skl_stock_put(&sk->stock, item, seckill_now(sk));
    }
    return counted(sk, SKL_OP_put, rc);
}

int seckill_get(seckill_t *sk, const char *item, size_t item_len,
                seckill_item_t *out)
{
    return counted(sk, SKL_OP_get,
                   skl_stock_get(&sk->stock, bytes(item, item_len), out));
}

int seckill_next_item(seckill_t *sk, uint32_t *cursor, seckill_item_t *out)
{
    return skl_stock_next(&sk->stock, cursor, out);
}

int seckill_remove(seckill_t *sk, const char *item, size_t item_len)
{
    return counted(
        sk, SKL_OP_remove,
        skl_stock_remove(&sk->stock, bytes(item, item_len), seckill_now(sk)));
}

int seckill_adjust(seckill_t *sk, const char *item, size_t item_len,
                   int64_t delta, const char *request_id, size_t request_len)
{
    return counted(sk, SKL_OP_adjust,
                   skl_stock_adjust(&sk->stock, bytes(item, item_len), delta,
                                    bytes(request_id, request_len),
                                    seckill_now(sk)));
}

int seckill_pause(seckill_t *sk, const char *item, size_t item_len)
{
    return counted(
        sk, SKL_OP_pause,
        skl_stock_pause(&sk->stock, bytes(item, item_len), 1, seckill_now(sk)));
}

int seckill_resume(seckill_t *sk, const char *item, size_t item_len)
{
    return counted(
        sk, SKL_OP_resume,
        skl_stock_pause(&sk->stock, bytes(item, item_len), 0, seckill_now(sk)));
}

int seckill_reserve(seckill_t *sk, const char *item, size_t item_len,
                    const char *user, size_t user_len, int64_t qty,
                    const char *request_id, size_t request_len,
                    seckill_reservation_t *out)
{
    return counted(sk, SKL_OP_reserve,
                   skl_stock_reserve(&sk->stock, bytes(item, item_len),
                                     bytes(user, user_len), qty,
                                     bytes(request_id, request_len),
                                     seckill_now(sk), out));
}

int seckill_confirm(seckill_t *sk, const char *id, size_t id_len)
{
    return counted(
        sk, SKL_OP_confirm,
        skl_stock_confirm(&sk->stock, bytes(id, id_len), seckill_now(sk)));
}

int seckill_confirm_with(seckill_t *sk, const char *id, size_t id_len,
                         int64_t qty, uint32_t flags)
{
    int rc = SECKILL_EBADOPTION;

    if ((flags & ~(uint32_t)SECKILL_CONFIRM_REACQUIRE) == 0) {
        rc = skl_stock_confirm_with(&sk->stock, bytes(id, id_len), qty,
                                    (flags & SECKILL_CONFIRM_REACQUIRE) != 0,
                                    seckill_now(sk));
    }
    return counted(sk, SKL_OP_confirm, rc);
}

int seckill_order(seckill_t *sk, const char *user, size_t user_len,
                  const char *request_id, size_t request_len,
                  const seckill_line_t *lines, size_t count,
                  seckill_order_t *out, uint32_t *line)
{
    return counted(sk, SKL_OP_order,
                   skl_stock_order(&sk->stock, bytes(user, user_len),
                                   bytes(request_id, request_len), lines, count,
                                   seckill_now(sk), out, line));
}

int seckill_find_order(seckill_t *sk, const char *request_id,
                       size_t request_len, seckill_order_t *out)
{
    return counted(sk, SKL_OP_find,
                   skl_stock_find_order(&sk->stock,
                                        bytes(request_id, request_len),
                                        seckill_now(sk), out));
}

int seckill_cancel(seckill_t *sk, const char *id, size_t id_len)
{
    return counted(
        sk, SKL_OP_cancel,
        skl_stock_cancel(&sk->stock, bytes(id, id_len), seckill_now(sk)));
}

int seckill_refund(seckill_t *sk, const char *id, size_t id_len,
                   const char *request_id, size_t request_len)
{
    return counted(sk, SKL_OP_refund,
                   skl_stock_refund(&sk->stock, bytes(id, id_len),
                                    bytes(request_id, request_len),
                                    seckill_now(sk)));
}

int seckill_find(seckill_t *sk, const char *request_id, size_t request_len,
                 seckill_reservation_t *out)
{
    return counted(sk, SKL_OP_find,
                   skl_stock_find(&sk->stock, bytes(request_id, request_len),
                                  seckill_now(sk), out));
}

uint64_t seckill_lsn(seckill_t *sk)
{
    return skl_ring_tail(&sk->stock.ring);
}

/* ---- Housekeeping -------------------------------------------------------- */

/* Turn the ledger's clock towards the wall clock, slowly: a step of the wall
 * clock neither ends holds nor freezes them. */
static void slew_clock(skl_header_t *h)
{
    const int64_t boot = skl_clock_boot_ns();
    int64_t before = atomic_load(&h->clock_slewed_at);
    int64_t most = (boot - before) / SLEW_PER_SECOND;
    const int64_t skew = skl_clock_wall_ns() - skl_ledger_ns(h, boot);
    int64_t step = skew;

    /* A program that sweeps rarely must not step further than the margin that
     * retiring ids allows for (stock/retire.c). */
    most = most < SLEW_MAX_NS ? most : SLEW_MAX_NS;
#ifdef MUTANT_CLOCK_STEPS
    most = INT64_MAX;
#endif
    if (boot - before < SKL_NS_PER_SEC ||
        !atomic_compare_exchange_strong(&h->clock_slewed_at, &before, boot)) {
        return; /* too soon, or another process does it */
    }
    step = step > most ? most : step;
    step = step < -most ? -most : step;
    atomic_fetch_add(&h->clock_offset, step);
    atomic_store(&h->clock_skew, skew - step);
}

int seckill_sweep(seckill_t *sk, int max)
{
    if (max < 1) {
        return SECKILL_EBADOPTION;
    }
    slew_clock(sk->segment.header);
    seckill_log_flush_here(sk);
    (void)skl_processes_reap(&sk->processes, NULL, NULL);
    (void)skl_limits_sweep(&sk->limits, skl_clock_mono_ns(), LIMIT_GROUPS);
    return skl_stock_sweep(&sk->stock, max, seckill_now(sk));
}

/* ---- Memory sink --------------------------------------------------------- */

int seckill_sink_attach(seckill_t *sk)
{
    if (sk->sink != NULL || seckill_lsn(sk) != 0) {
        return SECKILL_EINUSE;
    }
    sk->sink = skl_memory_sink_new();
    if (sk->sink == NULL) {
        return SECKILL_ENOMEM;
    }
    skl_sink_enable(&sk->stock);
    return SECKILL_OK;
}

int seckill_sink_drain(seckill_t *sk)
{
    if (sk->sink == NULL) {
        return SECKILL_ENOTFOUND;
    }
    return skl_sink_read(&sk->stock, skl_memory_sink_write, sk->sink,
                         INT32_MAX);
}

int seckill_sink_compare(seckill_t *sk, char *text, size_t text_size)
{
    const skl_config_t *c = &sk->segment.header->config;
    const uint32_t capacity[4] = {c->items, c->reservations, c->users,
                                  c->requests};
    int rc = seckill_sink_drain(sk);

    if (rc < 0) {
        (void)snprintf(text, text_size, "drain: %s", seckill_errname(rc));
        return rc;
    }
    return skl_memory_sink_compare(sk->sink, &sk->stock, capacity, text,
                                   text_size);
}
