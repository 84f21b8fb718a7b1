/*
 * Figures of the stock ledger through the C API: one process, one hot item,
 * every request id fresh.
 *
 * Prints one JSON line {"name", "value", "unit"} for each figure; bench/run
 * repeats the program and takes medians. A calibration loop (keyed hashes of
 * 16 bytes) runs beside, because absolute times mean little on a shared
 * machine. The ids are made by writing eight hexadecimal digits into a
 * template, a few nanoseconds, and that is part of the figures: nothing is
 * subtracted.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "seckill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESERVES = 400000, REFUSALS = 2000000, CALIBRATION = 5000000 };
/* Rows of the tables; 0: the engine's defaults. */
enum { LARGE_ROWS = 1 << 19, SMALL_ROWS = 1024 };
enum { DEFAULT_SOLD = 20000, SMALL_SOLD = 500 };

/* What a request brings; `digits` point into it. */
typedef struct {
    char user[16], request[32];
} ids_t;

static const ids_t TEMPLATE = {"user-00000000", "request-00000000-00000000"};
enum { USER_LEN = 13, REQUEST_LEN = 25, USER_AT = 5, REQUEST_AT = 8 };

static void put_hex(char *out, uint32_t n)
{
    for (int i = 7; i >= 0; i--, n >>= 4) {
        out[i] = "0123456789abcdef"[n & 15];
    }
}

static void emit(const char *name, double value, const char *unit)
{
    printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}\n", name, value,
           unit);
}

static void must(int rc, int expected, const char *what)
{
    if (rc != expected) {
        fprintf(stderr, "ledger_bench: %s: %s\n", what, seckill_errname(rc));
        exit(1);
    }
}

static seckill_t *open_engine(const char *name, uint32_t rows)
{
    seckill_options_t o = {.struct_size = sizeof(o), .name = name};
    char err[256];
    seckill_t *sk;

    (void)seckill_destroy(name, NULL);
    o.reservations = o.users = o.requests = rows;
    if (seckill_open(&o, &sk, err, sizeof(err)) != SECKILL_OK) {
        fprintf(stderr, "ledger_bench: open: %s\n", err);
        exit(1);
    }
    return sk;
}

static void close_engine(seckill_t *sk, const char *name)
{
    seckill_close(sk);
    (void)seckill_destroy(name, NULL);
}

static void put_item(seckill_t *sk, int64_t total)
{
    seckill_item_t i = {.struct_size = sizeof(i), .item_len = 6};

    memcpy(i.item, "ticket", 6);
    i.total = total;
    i.per_user = 1;
    i.hold_ns = 60 * SKL_NS_PER_SEC;
    i.version = 1;
    must(seckill_put(sk, &i), SECKILL_OK, "put");
}

/* The n-th buyer asks for one unit; calls per second. */
static double run(seckill_t *sk, int first, int count, int expected)
{
    int64_t start = skl_clock_mono_ns();
    seckill_reservation_t r;
    ids_t ids = TEMPLATE;

    for (int n = first; n < first + count; n++) {
        put_hex(ids.user + USER_AT, (uint32_t)n);
        put_hex(ids.request + REQUEST_AT, (uint32_t)n * 2654435761U);
        must(seckill_reserve(sk, "ticket", 6, ids.user, USER_LEN, 1,
                             ids.request, REQUEST_LEN, &r),
             expected, "reserve");
    }
    return 1e9 * count / (double)(skl_clock_mono_ns() - start);
}

static void bench_reserve(const char *name)
{
    seckill_t *sk = open_engine(name, LARGE_ROWS);

    put_item(sk, 1LL << 40);
    emit("reserve", run(sk, 0, RESERVES, SECKILL_OK), "1/s");
    close_engine(sk, name);
}

static void bench_sold_out(const char *name, const char *figure, uint32_t rows,
                           int sold)
{
    seckill_t *sk = open_engine(name, rows);

    put_item(sk, sold);
    (void)run(sk, 0, sold, SECKILL_OK);
    emit(figure, run(sk, sold, REFUSALS, SECKILL_ESOLDOUT), "1/s");
    close_engine(sk, name);
}

static void calibrate(void)
{
    const skl_hash_key_t key = {1, 2};
    char data[16] = "0123456789abcde";
    uint64_t sum = 0;
    int64_t start = skl_clock_mono_ns();

    for (int n = 0; n < CALIBRATION; n++) {
        memcpy(data, &n, sizeof(n));
        sum += skl_hash128(&key, data, sizeof(data)).lo;
    }
    emit("calibration_c",
         (double)(skl_clock_mono_ns() - start) / CALIBRATION +
             (sum == 0 ? 1e-9 : 0),
         "ns");
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "bench-ledger";

    calibrate();
    bench_reserve(name);
    bench_sold_out(name, "sold_out_default", 0, DEFAULT_SOLD);
    bench_sold_out(name, "sold_out_small", SMALL_ROWS, SMALL_SOLD);
    return 0;
}
