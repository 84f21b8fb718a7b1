/*
 * What the benchmarks in C have in common: buyers, an engine with one hot item,
 * figures as JSON lines.
 *
 * The ids of a buyer are made by writing eight hexadecimal digits into a
 * template, a few nanoseconds, and that is part of the figures: nothing is
 * subtracted.
 */
#ifndef SKL_BENCH_H
#define SKL_BENCH_H

#include "base/clock.h"
#include "seckill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a request brings. */
typedef struct {
    char user[16], request[32];
} buyer_t;

enum { USER_LEN = 13, REQUEST_LEN = 25, ITEM_LEN = 6 };

static inline void bench_hex(char *out, uint32_t n)
{
    for (int i = 7; i >= 0; i--, n >>= 4) {
        out[i] = "0123456789abcdef"[n & 15];
    }
}

static inline buyer_t bench_buyer(uint32_t n)
{
    buyer_t b = {"user-00000000", "request-00000000-00000000"};

    bench_hex(b.user + 5, n);
    bench_hex(b.request + 8, n * 2654435761U);
    return b;
}

static inline void bench_emit(const char *name, double value, const char *unit)
{
    printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}\n", name, value,
           unit);
    (void)fflush(stdout);
}

static inline void bench_must(int rc, int expected, const char *what)
{
    if (rc != expected) {
        fprintf(stderr, "bench: %s: %s\n", what, seckill_errname(rc));
        exit(1);
    }
}

/* A new segment; rows 0: the engine's defaults; dir NULL: memory only. */
static inline seckill_t *bench_open(const char *name, uint32_t rows,
                                    const char *dir, uint32_t durability)
{
    seckill_options_t o = {.struct_size = sizeof(o), .name = name};
    char err[256];
    seckill_t *sk;

    (void)seckill_destroy(name, NULL);
    o.reservations = o.users = o.requests = rows;
    o.dir = dir;
    o.durability = durability;
    if (seckill_open(&o, &sk, err, sizeof(err)) != SECKILL_OK) {
        fprintf(stderr, "bench: open: %s\n", err);
        exit(1);
    }
    return sk;
}

static inline void bench_close(seckill_t *sk, const char *name)
{
    seckill_close(sk);
    (void)seckill_destroy(name, NULL);
}

static inline void bench_put(seckill_t *sk, int64_t total)
{
    seckill_item_t i = {.struct_size = sizeof(i), .item_len = ITEM_LEN};

    memcpy(i.item, "ticket", ITEM_LEN);
    i.total = total;
    i.per_user = 1;
    i.hold_ns = 60 * SKL_NS_PER_SEC;
    i.version = 1;
    bench_must(seckill_put(sk, &i), SECKILL_OK, "put");
}

/* The n-th buyer asks for one unit. */
static inline int bench_reserve(seckill_t *sk, uint32_t n)
{
    const buyer_t b = bench_buyer(n);
    seckill_reservation_t r;

    return seckill_reserve(sk, "ticket", ITEM_LEN, b.user, USER_LEN, 1,
                           b.request, REQUEST_LEN, &r);
}

static inline int bench_by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* A quantile of values, which are sorted for that. */
static inline double bench_quantile(double *values, int count, double q)
{
    qsort(values, (size_t)count, sizeof(*values), bench_by_size);
    return values[(int)(q * (count - 1))];
}

#endif
