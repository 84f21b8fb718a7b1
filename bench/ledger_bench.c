/*
 * Figures of the stock ledger through the C API: one process, one hot item,
 * every request id fresh.
 *
 * Prints one JSON line {"name", "value", "unit"} for each figure; bench/run
 * repeats the program and takes medians. A calibration loop (keyed hashes of
 * 16 bytes) runs beside, because absolute times mean little on a shared
 * machine.
 */
#include "base/hash.h"
#include "bench.h"

enum { RESERVES = 400000, REFUSALS = 2000000, CALIBRATION = 5000000 };
/* Rows of the tables; 0: the engine's defaults. */
enum { LARGE_ROWS = 1 << 19, SMALL_ROWS = 1024 };
enum { DEFAULT_SOLD = 20000, SMALL_SOLD = 500 };

/* Each buyer asks for one unit; calls per second. */
static double run(seckill_t *sk, uint32_t first, uint32_t count, int expected)
{
    int64_t start = skl_clock_mono_ns();

    for (uint32_t n = first; n < first + count; n++) {
        bench_must(bench_reserve(sk, n), expected, "reserve");
    }
    return 1e9 * count / (double)(skl_clock_mono_ns() - start);
}

static void bench_all_reserved(const char *name)
{
    seckill_t *sk = bench_open(name, LARGE_ROWS, NULL, 0);

    bench_put(sk, 1LL << 40);
    bench_emit("reserve", run(sk, 0, RESERVES, SECKILL_OK), "1/s");
    bench_close(sk, name);
}

static void bench_sold_out(const char *name, const char *figure, uint32_t rows,
                           uint32_t sold)
{
    seckill_t *sk = bench_open(name, rows, NULL, 0);

    bench_put(sk, sold);
    (void)run(sk, 0, sold, SECKILL_OK);
    bench_emit(figure, run(sk, sold, REFUSALS, SECKILL_ESOLDOUT), "1/s");
    bench_close(sk, name);
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
    bench_emit("calibration_c",
               (double)(skl_clock_mono_ns() - start) / CALIBRATION +
                   (sum == 0 ? 1e-9 : 0),
               "ns");
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "bench-ledger";

    calibrate();
    bench_all_reserved(name);
    bench_sold_out(name, "sold_out_default", 0, DEFAULT_SOLD);
    bench_sold_out(name, "sold_out_small", SMALL_ROWS, SMALL_SOLD);
    return 0;
}
