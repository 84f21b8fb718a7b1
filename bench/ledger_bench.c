/*
 * Figures of the stock ledger through the C API, one process, one hot item.
 *
 * Prints JSON lines {"name", "value", "unit"}; bench/run repeats it, takes
 * medians and prints the table. Each figure stands beside a calibration loop
 * (keyed hashes of 16 bytes) of the same run, because absolute times mean
 * little on a shared machine.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "seckill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RESERVES = 400000, REFUSALS = 2000000, CALIBRATION = 5000000 };

static void emit(const char *name, double value, const char *unit)
{
    printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}\n", name, value,
           unit);
}

static void must(int rc, const char *what)
{
    if (rc != SECKILL_OK) {
        fprintf(stderr, "%s: %s\n", what, seckill_errname(rc));
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
        fprintf(stderr, "open: %s\n", err);
        exit(1);
    }
    return sk;
}

static void put_item(seckill_t *sk, int64_t total)
{
    seckill_item_t i = {.struct_size = sizeof(i), .item_len = 6};

    memcpy(i.item, "ticket", 6);
    i.total = total;
    i.per_user = 1;
    i.hold_ns = 60 * SKL_NS_PER_SEC;
    i.version = 1;
    must(seckill_put(sk, &i), "put");
}

static int reserve(seckill_t *sk, int n, seckill_reservation_t *out)
{
    char user[24], request[40];
    int user_len = snprintf(user, sizeof(user), "user-%08d", n);
    int request_len =
        snprintf(request, sizeof(request), "request-%08d-%08x", n, n * 7);

    return seckill_reserve(sk, "ticket", 6, user, (size_t)user_len, 1, request,
                           (size_t)request_len, out);
}

/* What formatting the two strings costs, to be taken off. */
static double format_ns(int count)
{
    int64_t start = skl_clock_mono_ns();
    volatile int sink = 0;

    for (int n = 0; n < count; n++) {
        char user[24], request[40];

        sink += snprintf(user, sizeof(user), "user-%08d", n);
        sink += snprintf(request, sizeof(request), "request-%08d-%08x", n,
                         n * 7);
    }
    return (double)(skl_clock_mono_ns() - start) / count;
}

static double rate(int count, int64_t ns, double overhead)
{
    return 1e9 / ((double)ns / count - overhead);
}

static void bench_reserve(double overhead)
{
    seckill_t *sk = open_engine("bench-reserve", 1U << 19);
    seckill_reservation_t r;
    int64_t start;

    put_item(sk, 1LL << 40);
    start = skl_clock_mono_ns();
    for (int n = 0; n < RESERVES; n++) {
        must(reserve(sk, n, &r), "reserve");
    }
    emit("reserve_per_s", rate(RESERVES, skl_clock_mono_ns() - start, overhead),
         "1/s");
    seckill_close(sk);
    (void)seckill_destroy("bench-reserve", NULL);
}

static void bench_sold_out(const char *name, uint32_t rows, int sold,
                           double overhead)
{
    seckill_t *sk = open_engine(name, rows);
    seckill_reservation_t r;
    int64_t start;

    put_item(sk, sold);
    for (int n = 0; n < sold; n++) {
        must(reserve(sk, n, &r), "reserve");
    }
    start = skl_clock_mono_ns();
    for (int n = 0; n < REFUSALS; n++) {
        if (reserve(sk, sold + n, &r) != SECKILL_ESOLDOUT) {
            fprintf(stderr, "expected sold_out\n");
            exit(1);
        }
    }
    emit(rows > 4096 ? "sold_out_default_per_s" : "sold_out_small_per_s",
         rate(REFUSALS, skl_clock_mono_ns() - start, overhead), "1/s");
    seckill_close(sk);
    (void)seckill_destroy(name, NULL);
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
    emit("calibration_ns",
         (double)(skl_clock_mono_ns() - start) / CALIBRATION +
             (sum == 0 ? 1e-9 : 0),
         "ns");
}

int main(void)
{
    double overhead = format_ns(1000000);

    calibrate();
    bench_reserve(overhead);
    bench_sold_out("bench-default", 1U << 16, 1000, overhead);
    bench_sold_out("bench-small", 1024, 500, overhead);
    return 0;
}
