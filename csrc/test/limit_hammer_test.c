/*
 * Two to eight processes hammer one key of one limiter.
 *
 * What was admitted must never be more than the bound, on any machine: every
 * take is made at an instant between the first and the last one, as measured
 * outside of all of them.
 *
 * What was admitted must be all there was, and no scheduler may make that
 * fail. So it is measured twice. Against a clock that the processes share and
 * each of them moves on when it asks: then the load is there by construction,
 * and 99.5 % of the rate must come in. And against the real clock: there each
 * process feeds its own takes to a bucket of its own as well, one that is
 * exact and nobody else takes from. More takes never admit fewer, so that all
 * together admit no less than the best of these, but for one thing: a process
 * may lose the CPU between its look at the clock and its take, and is refused
 * because others came later and were first. A refusal that its own bucket
 * would not have given costs at most what the rate gives in the time the call
 * took, and at most one; that is added up and allowed for.
 */
#include "base/clock.h"
#include "test/support/limits.h"

#include <sys/wait.h>
#include <unistd.h>

/* variants: rel asan */

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

enum { PROCESSES_MAX = 8, STAMPS_MAX = 1 << 16 };

/* What the processes tell the test. */
typedef struct {
    _Atomic int ready, go;
    _Atomic int64_t ticks;
    _Atomic uint64_t admitted[PROCESSES_MAX];
    _Atomic int64_t stamps[STAMPS_MAX]; /* instants of admissions */
    _Atomic uint32_t stamp_count;
    double alone[PROCESSES_MAX]; /* what its own bucket says, less its loss */
} report_t;

typedef struct hammer hammer_t;
typedef void (*body_fn)(hammer_t *h, int number);

struct hammer {
    lim_world_t w;
    skl_limiter_t *lim;
    report_t *report;
    double rate;
    int64_t burst;    /* what may be admitted at once */
    int64_t start;    /* virtual: the first instant; real: before all */
    int64_t tick;     /* virtual: ns of one take */
    int64_t ticks;    /* virtual: how many */
    int64_t duration; /* real */
    const int64_t *skews;
    int n_skews;
};

static void hammer_open(hammer_t *h, const seckill_limit_t *limit,
                        int64_t start)
{
    lim_world_new(&h->w, 16, 1);
    h->start = start;
    h->lim = lim_open(&h->w, "a", limit, start);
    h->report = lim_pages(sizeof(*h->report));
}

static void hammer_close(hammer_t *h)
{
    munmap(h->report, sizeof(*h->report));
    lim_world_free(&h->w);
}

static void stamp(hammer_t *h, int64_t now)
{
    uint32_t at = atomic_fetch_add(&h->report->stamp_count, 1);

    if (at < STAMPS_MAX) {
        atomic_store(&h->report->stamps[at], now);
    }
}

static pid_t spawn(hammer_t *h, int number, body_fn body)
{
    pid_t pid = fork();

    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    if (pid == 0) {
        skl_counters_attach(&h->w.counters, h->w.counters_shm);
        atomic_fetch_add(&h->report->ready, 1);
        while (!atomic_load(&h->report->go)) {
            usleep(100);
        }
        body(h, number);
        _exit(0);
    }
    return pid;
}

/* What all of them were admitted, and the first take, which brings the key
 * into the table: to get there it needs a lock, and who is not given the CPU
 * in time would be charged elsewhere. */
static uint64_t hammer_run(hammer_t *h, int processes, body_fn body)
{
    pid_t pids[PROCESSES_MAX];
    uint64_t admitted;

    for (int i = 0; i < processes; i++) {
        pids[i] = spawn(h, i, body);
    }
    while (atomic_load(&h->report->ready) < processes) {
        usleep(100);
    }
    h->start = h->tick > 0 ? h->start : skl_clock_mono_ns();
    admitted = (uint64_t)lim_take(h->lim, "k", 1, h->start);
    stamp(h, h->start);
    atomic_store(&h->report->go, 1);
    for (int i = 0; i < processes; i++) {
        int status = -1;

        CHECK_INT(pids[i], waitpid(pids[i], &status, 0));
        CHECK_INT(0, status);
        admitted += atomic_load(&h->report->admitted[i]);
    }
    CHECK_INT(0, lim_overflows(&h->w));
    return admitted;
}

/* burst + rate * elapsed, rounded down. */
static uint64_t bound_of(double rate, int64_t burst, int64_t elapsed_ns)
{
    int e;
    int64_t m = lim_mantissa(rate, &e);
    wide_t earned = (wide_t)m * elapsed_ns / NS_SEC >> -e;

    return (uint64_t)(burst + (int64_t)earned);
}

static const double RATES[] = {1, 100, 1000, 5000, 50000, 1e6};
static const int CROWDS[] = {2, 4, 8};

/* 20 ms of the rate, at least one. */
static int64_t burst_of(double rate)
{
    return rate < 100 ? 1 : (int64_t)(rate / 50);
}

/* A bucket that admits `burst` at once, by either algorithm. */
static seckill_limit_t bucket_limit(uint32_t algorithm, double rate,
                                    int64_t burst)
{
    seckill_limit_t l = {.struct_size = sizeof(l),
                         .algorithm = algorithm,
                         .rate = rate,
                         .burst = (double)burst};

    if (algorithm == SECKILL_LEAKY_BUCKET) {
        l.burst--;
        l.zeros = SECKILL_ZERO_BURST;
    }
    return l;
}

/* ---- A clock that all share ---------------------------------------------- */

static void follow_clock(hammer_t *h, int number)
{
    uint64_t admitted = 0;
    int64_t tick;

    while ((tick = atomic_fetch_add(&h->report->ticks, 1)) < h->ticks) {
        int64_t now = h->start + tick * h->tick;

        if (lim_take(h->lim, "k", 1, now)) {
            admitted++;
            stamp(h, now);
        }
    }
    atomic_store(&h->report->admitted[number], admitted);
}

/* Enough takes for 99.5 %: when there is no burst to make up for a take that
 * comes late, four hundred for each token. */
static void hammer_rate(uint32_t algorithm, double rate, int processes)
{
    int64_t burst = burst_of(rate);
    int64_t each = burst < 4 ? 400 : 4;
    hammer_t h = {.rate = rate, .burst = burst};
    seckill_limit_t l = bucket_limit(algorithm, rate, burst);
    uint64_t admitted, ideal;
    int64_t elapsed;

    hammer_open(&h, &l, 77 * NS_SEC);
    h.ticks = tap_full() ? 5000000 : 160000;
    h.tick = (int64_t)(1e9 / rate) / each;
    admitted = hammer_run(&h, processes, follow_clock);
    elapsed = (h.ticks - 1) * h.tick;
    ideal = bound_of(rate, 0, elapsed);
    CHECK(admitted <= bound_of(rate, burst, elapsed));
    if (!CHECK((double)admitted >= 0.995 * (double)ideal)) {
        printf("# rate %g, %d processes: %" PRIu64 " of %" PRIu64 "\n", rate,
               processes, admitted, ideal);
    }
    hammer_close(&h);
}

static void hammer_rates(uint32_t algorithm)
{
    for (int i = 0; i < COUNT(RATES); i++) {
        for (int j = 0; j < COUNT(CROWDS); j++) {
            hammer_rate(algorithm, RATES[i], CROWDS[j]);
        }
    }
}

TEST(limit_hammer_token_bucket_gives_its_rate)
{
    hammer_rates(SECKILL_TOKEN_BUCKET);
}

TEST(limit_hammer_leaky_bucket_gives_its_rate)
{
    hammer_rates(SECKILL_LEAKY_BUCKET);
}

static int by_instant(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* The most admissions in any interval [x, x + window). */
static int64_t worst_window(report_t *r, int64_t window)
{
    static int64_t at[STAMPS_MAX];
    int n = (int)atomic_load(&r->stamp_count);
    int from = 0, worst = 0;

    n = n < STAMPS_MAX ? n : STAMPS_MAX;
    for (int i = 0; i < n; i++) {
        at[i] = atomic_load(&r->stamps[i]);
    }
    qsort(at, (size_t)n, sizeof(at[0]), by_instant);
    for (int i = 0; i < n; i++) {
        while (at[i] - at[from] >= window) {
            from++;
        }
        worst = i - from + 1 > worst ? i - from + 1 : worst;
    }
    return worst;
}

/* Windows under a hammer: the worst interval, and that a window that is over
 * makes room: at least `limit` in each `period`. */
static void hammer_window(uint32_t algorithm, int64_t limit, int64_t times,
                          int64_t period_in_1024, int processes)
{
    const int64_t window = NS_SEC;
    seckill_limit_t l = {.struct_size = sizeof(l),
                         .algorithm = algorithm,
                         .limit = (double)limit,
                         .window_ns = window};
    hammer_t h = {.ticks = 60000};
    uint64_t admitted;
    int64_t periods;

    hammer_open(&h, &l, 77 * NS_SEC);
    h.tick = window / (limit * 50);
    admitted = hammer_run(&h, processes, follow_clock);
    CHECK(worst_window(h.report, window) <= times * limit);
    periods = h.ticks * h.tick / (window / 1024 * period_in_1024 + 5 * h.tick);
    if (!CHECK((int64_t)admitted >= periods * limit * 99 / 100)) {
        printf("# algorithm %u limit %" PRId64 ": %" PRIu64 " in %" PRId64 "\n",
               algorithm, limit, admitted, periods);
    }
    hammer_close(&h);
}

TEST(limit_hammer_windows_keep_their_bounds)
{
    static const int64_t limits[] = {1, 3, 16};

    for (int i = 0; i < COUNT(limits); i++) {
        for (int j = 0; j < COUNT(CROWDS); j++) {
            int64_t n = limits[i];

            hammer_window(SECKILL_SLIDING_LOG, n, 1, 1024, CROWDS[j]);
            hammer_window(SECKILL_FIXED_WINDOW, n, 2, 1025, CROWDS[j]);
            hammer_window(SECKILL_SLIDING_WINDOW, n, 2, 2048, CROWDS[j]);
        }
    }
}

/* ---- The real clock ------------------------------------------------------ */

/* The bucket of one process alone. */
typedef struct {
    wide_t interval, burst, tat;
    uint64_t admitted;
    double lost;
} alone_t;

static void ask_alone(alone_t *b, int64_t now, int64_t after, int admitted)
{
    wide_t at = (wide_t)now * NS_UNITS;
    wide_t next = wide_max(b->tat, at) + b->interval;

    if (next - at > b->burst) {
        return;
    }
    b->tat = next;
    b->admitted++;
    if (!admitted) {
        double ns = (double)(after - now);

        b->lost += fmin(1, ns * NS_UNITS / (double)b->interval);
    }
}

static void follow_real_clock(hammer_t *h, int number)
{
    alone_t b = {.interval = lim_interval(h->rate), .tat = 0};
    int64_t begin = skl_clock_mono_ns();
    int64_t now = begin;
    uint64_t admitted = 0;

    b.burst = b.interval * h->burst;
    while (now < begin + h->duration) {
        int good = lim_take(h->lim, "k", 1, now);
        int64_t after = skl_clock_mono_ns();

        admitted += (uint64_t)good;
        ask_alone(&b, now, after, good);
        now = after;
    }
    atomic_store(&h->report->admitted[number], admitted);
    h->report->alone[number] = (double)b.admitted - b.lost;
}

static void hammer_real_rate(uint32_t algorithm, double rate, int processes)
{
    int64_t burst = burst_of(rate);
    hammer_t h = {.rate = rate, .burst = burst};
    seckill_limit_t l = bucket_limit(algorithm, rate, burst);
    double best = 0;
    uint64_t admitted;
    int64_t elapsed;

    hammer_open(&h, &l, skl_clock_mono_ns());
    h.duration = tap_full() ? 6 * NS_SEC : NS_SEC / 20;
    admitted = hammer_run(&h, processes, follow_real_clock);
    elapsed = skl_clock_mono_ns() - h.start;
    for (int i = 0; i < processes; i++) {
        best = fmax(best, h.report->alone[i]);
    }
    CHECK(admitted <= bound_of(rate, burst, elapsed));
    if (!CHECK((double)admitted >= floor(best) - 1)) {
        printf("# rate %g: %" PRIu64 " of %g\n", rate, admitted, best);
    }
    if (tap_full()) {
        printf("# rate %g, %d processes: %.3f %% of the bound in %.1f s\n",
               rate, processes,
               100 * (double)admitted / (double)bound_of(rate, burst, elapsed),
               (double)elapsed / 1e9);
    }
    hammer_close(&h);
}

TEST(limit_hammer_real_clock_gives_its_rate)
{
    for (int i = 0; i < COUNT(RATES); i++) {
        for (int j = 0; j < COUNT(CROWDS); j++) {
            hammer_real_rate(SECKILL_TOKEN_BUCKET, RATES[i], CROWDS[j]);
        }
        hammer_real_rate(SECKILL_LEAKY_BUCKET, RATES[i], 2);
    }
}

/* ---- Clocks that are wrong ----------------------------------------------- */

static void follow_skewed_clock(hammer_t *h, int number)
{
    int64_t begin = skl_clock_mono_ns();
    int64_t now = begin;
    uint64_t admitted = 0;

    for (int i = number; now < begin + h->duration; i++) {
        int64_t skew =
            h->skews[h->n_skews < 0 ? number % -h->n_skews : i % h->n_skews];

        admitted += (uint64_t)lim_take(h->lim, "k", 1, now + skew);
        now = skl_clock_mono_ns();
    }
    atomic_store(&h->report->admitted[number], admitted);
}

static uint64_t run_skewed(hammer_t *h, const seckill_limit_t *l,
                           int64_t *elapsed)
{
    uint64_t admitted;

    hammer_open(h, l, skl_clock_mono_ns());
    h->duration = tap_full() ? NS_SEC : NS_SEC / 25;
    admitted = hammer_run(h, 4, follow_skewed_clock);
    *elapsed = skl_clock_mono_ns() - h->start;
    hammer_close(h);
    return admitted;
}

/*
 * Clocks an hour apart. A bucket only moves forward: each admission leaves its
 * TAT at least at now + T of the clock that it was made by. Once somebody an
 * hour ahead has been admitted, all who are behind see a debt of an hour and
 * are refused. So each clock has its own stretch of the time, one after the
 * other from the slowest to the fastest, and in each stretch the bound holds:
 * together burst + rate * L, and one more burst for each further clock.
 */
static const int64_t HOURS[] = {-NS_HOUR, 0, NS_HOUR};
/* Clocks that jump to and fro by 5 ms: within 10 ms of each other, so all
 * instants are those of an interval that is 10 ms longer. */
static const int64_t JITTER[] = {0,       -5000000, 5000000, 1000,
                                 -999999, 2500000,  -1};

static void skew_bucket(uint32_t algorithm, double rate)
{
    int64_t burst = burst_of(rate);
    seckill_limit_t l = bucket_limit(algorithm, rate, burst);
    hammer_t hours = {.skews = HOURS, .n_skews = -COUNT(HOURS)};
    hammer_t jitter = {.skews = JITTER, .n_skews = COUNT(JITTER)};
    uint64_t admitted;
    int64_t elapsed;

    admitted = run_skewed(&hours, &l, &elapsed);
    CHECK(admitted <= bound_of(rate, COUNT(HOURS) * burst, elapsed));
    CHECK(admitted > 0);
    admitted = run_skewed(&jitter, &l, &elapsed);
    CHECK(admitted <= bound_of(rate, burst, elapsed + 10000000));
    CHECK(admitted > 0);
}

TEST(limit_hammer_wrong_clocks_keep_the_bound_of_buckets)
{
    for (int i = 0; i < COUNT(RATES); i++) {
        skew_bucket(SECKILL_TOKEN_BUCKET, RATES[i]);
        skew_bucket(SECKILL_LEAKY_BUCKET, RATES[i]);
    }
}

/* Windows: whoever is behind finds the window of those ahead, which has not
 * begun for him and so is not over either. A clock may bring one limit; with
 * jitter, all is over in less than a window. */
static void skew_window(uint32_t algorithm, uint64_t limit)
{
    seckill_limit_t l = {.struct_size = sizeof(l),
                         .algorithm = algorithm,
                         .limit = (double)limit,
                         .window_ns = 60 * NS_SEC};
    hammer_t hours = {.skews = HOURS, .n_skews = -COUNT(HOURS)};
    hammer_t jitter = {.skews = JITTER, .n_skews = COUNT(JITTER)};
    /* Within a minute; one may end while the test runs, but in a log. */
    uint64_t windows = algorithm == SECKILL_SLIDING_LOG ? 1 : 2;
    uint64_t admitted;
    int64_t elapsed;

    admitted = run_skewed(&hours, &l, &elapsed);
    CHECK(elapsed > 60 * NS_SEC || admitted <= COUNT(HOURS) * windows * limit);
    CHECK(admitted > 0);
    admitted = run_skewed(&jitter, &l, &elapsed);
    CHECK(elapsed > 60 * NS_SEC || admitted <= windows * limit);
    CHECK(admitted > 0);
}

TEST(limit_hammer_wrong_clocks_keep_the_bound_of_windows)
{
    skew_window(SECKILL_FIXED_WINDOW, 1000);
    skew_window(SECKILL_SLIDING_WINDOW, 1000);
    skew_window(SECKILL_SLIDING_LOG, 16);
}

TAP_MAIN()
