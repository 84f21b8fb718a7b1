/*
 * How fast a log is replayed: one thread, files in the page cache.
 *
 * Writes a log of about two million records, reserves and the confirms of
 * three quarters of them, 4 items, every request id fresh, into a temporary
 * directory; replays it five times into fresh tables and prints a JSON line
 * {"name", "value", "unit"} each time.
 *
 * usage: replay_bench [RECORDS [DIRECTORY]]
 */
#include "bench.h"
#include "io/recover.h"
#include "test/support/logdir.h"

#include <dirent.h>
#include <unistd.h>

enum { RECORDS = 2000000, RUNS = 5, ROWS = 1 << 21, PER_BATCH = 2000 };

static void must(int rc, const char *what, const char *err)
{
    if (rc != SECKILL_OK) {
        fprintf(stderr, "replay_bench: %s: %s: %s\n", what, seckill_errname(rc),
                err);
        exit(1);
    }
}

/* A buyer's order; every fourth one is not paid. Confirms come some orders
 * later, as they do in a sale. */
static void sell(logdir_t *d, uint64_t n, char (*ids)[64], uint8_t *lens)
{
    enum { LATER = 256 };
    const uint64_t at = n % LATER;
    char item[8], user[24], request[40];

    if (n >= LATER && (n - LATER) % 4 != 3) {
        const skl_bytes_t id = {ids[at], lens[at]};

        must(skl_stock_confirm(&d->stock, id, d->now), "confirm", "");
    }
    snprintf(item, sizeof(item), "item%d", (int)(n % 4));
    snprintf(user, sizeof(user), "user-%08llx", (unsigned long long)n);
    snprintf(request, sizeof(request), "request-%08llx-%08llx",
             (unsigned long long)n * 2654435761U % 0xffffffffU,
             (unsigned long long)n);
    must(logdir_reserve(d, item, user, request), "reserve", "");
    memcpy(ids[at], d->r.id, d->r.id_len);
    lens[at] = d->r.id_len;
}

static void write_log(logdir_t *d, uint64_t records)
{
    static char ids[256][64];
    static uint8_t lens[256];

    for (int i = 0; i < 4; i++) {
        char item[8];

        snprintf(item, sizeof(item), "item%d", i);
        must(logdir_put(d, item, 1LL << 40, 1), "put", "");
    }
    for (uint64_t n = 0; skl_ring_tail(&d->stock.ring) < records; n++) {
        sell(d, n, ids, lens);
        if (n % 1024 == 0) {
            logdir_flush(d);
        }
    }
    logdir_flush(d);
}

static double replay(skl_fs_t *fs, const skl_identity_t *id, uint64_t expected)
{
    skl_recovered_t r;
    skl_replay_t *p;
    skl_tables_t t;
    char err[300] = "";
    int64_t start;
    double rate;
    int rc;

    must(skl_tables_new(id, &t), "tables", err);
    start = skl_clock_mono_ns();
    must(skl_replay_begin(fs, id, &t, 0, &p, err, sizeof(err)), "open", err);
    do {
        rc = skl_replay_step(p, UINT64_MAX, 1 << 20, err, sizeof(err));
    } while (rc == 1);
    must(rc, "replay", err);
    rate = 1e9 / (double)(skl_clock_mono_ns() - start);
    skl_replay_state(p, &r);
    must(r.last_lsn == expected ? SECKILL_OK : SECKILL_ECORRUPT, "end", "");
    skl_replay_end(p);
    skl_tables_free(&t);
    return rate * (double)r.records;
}

static void remove_dir(const char *path)
{
    const struct dirent *entry;
    char name[640];
    DIR *dir = opendir(path);

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        (void)unlink(name);
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    (void)rmdir(path);
}

int main(int argc, char **argv)
{
    const uint64_t records =
        argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)RECORDS;
    skl_identity_t id = logdir_identity();
    char path[320];
    skl_fs_t *fs;
    logdir_t d;

    (void)snprintf(path, sizeof(path), "%.250s/seckill-replay.XXXXXX",
                   argc > 2 ? argv[2] : "/tmp");
    if (mkdtemp(path) == NULL || skl_fs_open_dir(path, &fs) != 0) {
        perror(path);
        return 1;
    }
    id.requests = id.reservations = id.users = ROWS;
    id.window_ns = 3600 * LOGDIR_SEC;
    logdir_open_with(&d, fs, id, 1 << 16);
    d.digests = 0;
    d.per_batch = PER_BATCH;
    d.segment_bytes = 64 << 20;
    write_log(&d, records);
    for (int i = 0; i < RUNS; i++) {
        bench_emit("replay", replay(fs, &d.id, d.written), "1/s");
    }
    logdir_close(&d);
    skl_fs_close_dir(fs);
    remove_dir(path);
    return 0;
}
