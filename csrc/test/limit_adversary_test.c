/*
 * Attacks on the limiters: bursts at the worst instants, and floods of keys.
 *
 * The two-burst adversary of a window takes all it can just before an edge and
 * again just after. Nobody can place the edges of all algorithms, so the
 * attack runs over a grid of phases and gaps, in ns where it matters, and says
 * how much it got into one window at most. Buckets are attacked alike; their
 * bound burst + rate * L is checked for every pair of admissions, in integers.
 */

/* variants: rel */
#include "test/support/limits.h"
#include "test/support/stepper.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

enum { TAKEN_MAX = 4096, BURSTS = 7 };

typedef struct {
    int64_t at;
    int64_t n;
} taken_t;

/* What one key was given, in the order of time. */
typedef struct {
    taken_t list[TAKEN_MAX];
    int count;
} history_t;

static history_t history;

static void record(int64_t at, int64_t n)
{
    if (n > 0 && history.count < TAKEN_MAX) {
        history.list[history.count++] = (taken_t){at, n};
    }
}

/* The most in any interval [x, x + window). */
static int64_t worst_window(int64_t window)
{
    int64_t sum = 0, worst = 0;
    int from = 0;

    for (int i = 0; i < history.count; i++) {
        sum += history.list[i].n;
        while (history.list[i].at - history.list[from].at >= window) {
            sum -= history.list[from++].n;
        }
        worst = sum > worst ? sum : worst;
    }
    return worst;
}

/*
 * 1 when all pairs i <= j keep to n_i + .. + n_j <= burst + rate * (t_j - t_i).
 * With rate = m * 2^-e and D = 1e9 * 2^e that is S_j * D - m * t_j <= burst * D
 * + (S_(i-1) * D - m * t_i) for all i <= j: the smallest right side decides.
 */
static int keeps_rate(double rate, int64_t burst)
{
    int64_t start = history.count > 0 ? history.list[0].at : 0;
    wide_t least = (wide_t)1 << 126;
    wide_t taken = 0;
    wide_t unit;
    int64_t m;
    int e;

    m = lim_mantissa(rate, &e);
    while (m % 2 == 0 && e < 0) {
        m /= 2;
        e++;
    }
    unit = (wide_t)NS_SEC << -e;
    for (int i = 0; i < history.count; i++) {
        const taken_t *t = &history.list[i];
        wide_t earned = (wide_t)m * (t->at - start);

        least = wide_min(least, taken - earned);
        taken += t->n * unit;
        if (taken - earned > burst * unit + least) {
            return 0;
        }
    }
    return 1;
}

/* All that can be had at `now`: one by one, or in one take of as much. */
static int64_t grab(skl_limiter_t *lim, const char *key, int64_t now)
{
    skl_limit_ask_t a = {.now_ns = now, .cost = 1, .commit = 0};
    int64_t got = 0;

    while (lim_ask(lim, key, &a) == SECKILL_OK) {
        uint32_t all = (uint32_t)(a.remaining < 20 ? 1 : a.remaining + 1);

        if (!lim_take(lim, key, all, now)) {
            break;
        }
        got += all;
    }
    record(now, got);
    return got;
}

static seckill_limit_t window_limit(uint32_t algorithm, int64_t limit,
                                    int64_t window)
{
    return (seckill_limit_t){.struct_size = sizeof(seckill_limit_t),
                             .algorithm = algorithm,
                             .limit = (double)limit,
                             .window_ns = window};
}

static seckill_limit_t bucket_limit(uint32_t algorithm, double rate,
                                    double burst)
{
    return (seckill_limit_t){.struct_size = sizeof(seckill_limit_t),
                             .algorithm = algorithm,
                             .rate = rate,
                             .burst = burst,
                             .zeros = burst > 0 ? 0 : SECKILL_ZERO_BURST};
}

/* ---- Windows ------------------------------------------------------------- */

/* Gaps between bursts, and phases of the first, as 1/1024 of the window and
 * ns: the edges of all algorithms, and all around. */
static const int64_t GAPS[][2] = {
    {0, 1},    {64, 0},    {256, 0},   {512, 0},   {512, -1}, {768, 0},
    {960, 0},  {1023, 0},  {1024, -2}, {1024, -1}, {1024, 0}, {1024, 1},
    {1025, 0}, {1025, -1}, {1152, 0},  {1536, 0},  {2047, 0}, {2048, -1}};

static int64_t gap_of(int i, int64_t window)
{
    return GAPS[i][0] * (window / 1024) + GAPS[i][0] * (window % 1024) / 1024 +
           GAPS[i][1];
}

/* Bursts from `at` on, by turns after one gap and after the other. With a
 * foot in the door first: one take alone begins the window of a key. */
static int64_t attack(skl_limiter_t *lim, int64_t at, int64_t gap1,
                      int64_t gap2, int64_t window, int foot)
{
    history.count = 0;
    if (foot) {
        record(at, lim_take(lim, "victim", 1, at));
        at += gap1;
    }
    for (int i = 0; i < BURSTS; i++) {
        grab(lim, "victim", at);
        at += i % 2 == 0 ? gap1 : gap2;
    }
    return worst_window(window);
}

typedef struct {
    lim_world_t w;
    skl_limiter_t *lim;
    seckill_limit_t limit;
    int64_t base; /* all before is past */
} arena_t;

/* Begins anew before time ends. */
static void arena_next(arena_t *a)
{
    const int64_t window = a->limit.window_ns;

    if (a->lim != NULL && a->base < INT64_MAX - 100 * window) {
        a->base += 20 * window;
        return;
    }
    if (a->lim != NULL) {
        lim_world_free(&a->w);
    }
    a->base = 1000 * window;
    lim_world_new(&a->w, 16, 1);
    a->lim = lim_open(&a->w, "a", &a->limit, a->base);
}

/* The whole grid against one limiter: the most that came into a window. */
static int64_t attack_grid(uint32_t algorithm, int64_t limit, int64_t window)
{
    arena_t a = {.limit = window_limit(algorithm, limit, window)};
    int step = tap_full() ? 1 : 6;
    int64_t worst = 0;

    for (int phase = 0; phase < COUNT(GAPS); phase += step) {
        for (int i = 0; i < COUNT(GAPS); i++) {
            for (int j = 0; j < COUNT(GAPS) * 2; j++) {
                int64_t got;

                arena_next(&a);
                got = attack(a.lim, a.base + gap_of(phase, window),
                             gap_of(i, window), gap_of(j / 2, window), window,
                             j % 2);
                worst = got > worst ? got : worst;
            }
        }
    }
    lim_world_free(&a.w);
    return worst;
}

static const int64_t ATTACKED[] = {1000000, 1234567, NS_SEC, 7 * NS_DAY};

TEST(limit_sliding_log_never_gives_more_than_its_limit)
{
    static const int64_t limits[] = {1, 2, 3, 7, 14, 16};

    for (int i = 0; i < COUNT(limits); i++) {
        for (int j = 0; j < COUNT(ATTACKED); j++) {
            CHECK_INT(limits[i],
                      attack_grid(SECKILL_SLIDING_LOG, limits[i], ATTACKED[j]));
        }
    }
}

/* Of one algorithm: never more than twice the limit; says how bad it gets. */
static void attack_twice(uint32_t algorithm, const char *name)
{
    static const int64_t limits[] = {1, 2, 5, 100, 511, 513, 10000};
    double worst = 0;

    for (int i = 0; i < COUNT(limits); i++) {
        for (int j = 0; j < COUNT(ATTACKED); j++) {
            int64_t got = attack_grid(algorithm, limits[i], ATTACKED[j]);

            CHECK(got <= 2 * limits[i]);
            CHECK(got >= limits[i]);
            worst = fmax(worst, (double)got / (double)limits[i]);
        }
    }
    /* The adversary is one that finds the worst case, or near. */
    CHECK(worst > 1.9);
    printf("# %s: at most %.4f times its limit in a window\n", name, worst);
}

TEST(limit_fixed_window_gives_twice_its_limit_at_worst)
{
    attack_twice(SECKILL_FIXED_WINDOW, "fixed_window");
}

TEST(limit_sliding_window_gives_twice_its_limit_at_worst)
{
    attack_twice(SECKILL_SLIDING_WINDOW, "sliding_window");
}

/* A window of the grid, [k * W, (k + 1) * W), has no more than its limit. */
TEST(limit_sliding_window_keeps_its_own_windows)
{
    const int64_t window = NS_SEC;
    uint64_t seed = tap_seed(21);
    seckill_limit_t l = window_limit(SECKILL_SLIDING_WINDOW, 100, window);
    int64_t now = 7 * window, id = 7, sum = 0;
    skl_limiter_t *lim;
    lim_world_t w;

    lim_world_new(&w, 16, 1);
    lim = lim_open(&w, "a", &l, now);
    for (int i = 0; i < 20000; i++) {
        now += lim_random_below(&seed, window / 10);
        if (now / window != id) {
            id = now / window;
            sum = 0;
        }
        history.count = 0;
        sum += grab(lim, "k", now);
        CHECK(sum <= 100);
    }
    lim_world_free(&w);
}

/* Random bursts, far longer than the grid's, of changing costs. */
TEST(limit_sliding_log_withstands_random_attacks)
{
    uint64_t seed = tap_seed(22);
    int rounds = tap_full() ? 2000 : 60;

    for (int i = 0; i < rounds; i++) {
        int64_t limit = 1 + lim_random_below(&seed, 16);
        int64_t window = ATTACKED[lim_random_below(&seed, COUNT(ATTACKED))];
        seckill_limit_t l = window_limit(SECKILL_SLIDING_LOG, limit, window);
        int64_t now = lim_random_below(&seed, INT64_MAX / 2);
        skl_limiter_t *lim;
        lim_world_t w;

        lim_world_new(&w, 16, 1);
        lim = lim_open(&w, "a", &l, now);
        history.count = 0;
        for (int j = 0; j < 1000; j++) {
            uint32_t cost = (uint32_t)(1 + lim_random_below(&seed, limit));

            now += lim_random(&seed) % 4 == 0
                       ? window + lim_random_below(&seed, 3) - 1
                       : lim_random_below(&seed, window / limit + 1);
            record(now, lim_take(lim, "k", cost, now) ? cost : 0);
        }
        CHECK(worst_window(window) <= limit);
        CHECK(history.count > 5);
        lim_world_free(&w);
    }
}

/* ---- Buckets ------------------------------------------------------------- */

static const double RATES[] = {1.0 / 604800, 1.0 / 3601, 0.3, 1,       7,
                               100.0 / 60,   999.5,      1e5, 9999991, 1e7};

/* One bucket under bursts at random and at its own edges. `more`: what it
 * admits beyond `burst` at once. */
static void attack_bucket(uint32_t algorithm, double rate, int64_t burst,
                          int64_t more, uint64_t *seed)
{
    seckill_limit_t l = bucket_limit(algorithm, rate, (double)burst);
    int64_t token = (int64_t)(1e9 / rate) + 1;
    int64_t now = lim_random_below(seed, INT64_C(1) << 58);
    skl_limiter_t *lim;
    lim_world_t w;

    lim_world_new(&w, 16, 1);
    lim = lim_open(&w, "a", &l, now);
    history.count = 0;
    for (int i = 0; i < 1500; i++) {
        skl_limit_ask_t a = {.now_ns = now, .cost = 1};

        grab(lim, "k", now);
        (void)lim_ask(lim, "k", &a);
        switch (lim_random(seed) % 8) {
        case 0:
            now += token * (burst + more);
            break;
        case 1:
            now += lim_random_below(seed, token * (burst + more) + 1);
            break;
        case 2:
            now += lim_random_below(seed, 2 * token);
            break;
        default: /* the first instant at which the next one may come */
            now += a.retry_ns > 0 ? a.retry_ns : 1;
            break;
        }
    }
    if (!CHECK(keeps_rate(rate, burst + more))) {
        printf("# algorithm %u rate %.9g burst %" PRId64 "\n", algorithm, rate,
               burst);
    }
    /* ... and not one less: the bound is reached. */
    CHECK(!keeps_rate(rate, burst + more - 1));
    lim_world_free(&w);
}

static void attack_buckets(uint32_t algorithm, int64_t least, int64_t more)
{
    static const int64_t bursts[] = {0, 1, 2, 3, 10, 100, 5000};
    uint64_t seed = tap_seed(23);
    int rounds = tap_full() ? 100 : 2;

    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < COUNT(RATES); i++) {
            for (int j = 0; j < COUNT(bursts); j++) {
                double most = 1.7e7 * RATES[i] - (double)more;

                if (bursts[j] >= least && (double)bursts[j] <= most) {
                    attack_bucket(algorithm, RATES[i], bursts[j], more, &seed);
                }
            }
        }
    }
}

TEST(limit_token_bucket_keeps_its_bound_in_every_interval)
{
    attack_buckets(SECKILL_TOKEN_BUCKET, 1, 0);
}

TEST(limit_leaky_bucket_keeps_its_bound_in_every_interval)
{
    attack_buckets(SECKILL_LEAKY_BUCKET, 0, 1);
}

/* One by one behind a leaky bucket: turns, not earlier than 1 / rate after
 * the one before; delays are whole ns, so a turn may seem 1 ns early. */
static void check_turns(double rate, double burst, uint64_t *seed)
{
    seckill_limit_t l = bucket_limit(SECKILL_LEAKY_BUCKET, rate, burst);
    wide_t interval = lim_interval(rate);
    int64_t token = (int64_t)(interval / NS_UNITS) + 1;
    int64_t now = lim_random_below(seed, INT64_C(1) << 58);
    wide_t first = -1, turn;
    int n = 0;
    skl_limiter_t *lim;
    lim_world_t w;

    lim_world_new(&w, 16, 1);
    lim = lim_open(&w, "a", &l, now);
    for (int i = 0; i < 2000; i++) {
        skl_limit_ask_t a = {.now_ns = now, .cost = 1, .commit = 1};

        if (lim_ask(lim, "k", &a) == SECKILL_OK) {
            turn = ((wide_t)now + a.delay_ns) * NS_UNITS;
            CHECK(a.delay_ns >= 0);
            CHECK(a.delay_ns <= (int64_t)(burst * 1e9 / rate) + 2);
            if (n == 0 || a.delay_ns == 0) {
                /* it found the bucket empty: the series begins anew, behind
                 * the turn before */
                CHECK(first < 0 || turn >= first + n * interval - NS_UNITS);
                first = turn;
                n = 0;
            }
            CHECK(turn >= first + n * interval - NS_UNITS);
            n++;
        }
        now += lim_random(seed) % 16 == 0 ? 20 * token
                                          : lim_random_below(seed, 2 * token);
    }
    lim_world_free(&w);
}

TEST(limit_leaky_bucket_hands_out_turns)
{
    uint64_t seed = tap_seed(24);

    for (int i = 0; i < COUNT(RATES); i++) {
        if (RATES[i] > 1e-4) {
            check_turns(RATES[i], 0, &seed);
            check_turns(RATES[i], 1, &seed);
            check_turns(RATES[i], 50, &seed);
        }
    }
}

/* ---- Floods of keys ------------------------------------------------------ */

enum { CAPACITY = 1024, VICTIMS = 12, FLOODED = 5 };

/* One limiter of each algorithm, of about an hour; three for each key. */
static void open_all(lim_world_t *w, skl_limiter_t **lims, int64_t now)
{
    for (uint32_t i = 0; i < FLOODED; i++) {
        uint32_t algorithm = SECKILL_TOKEN_BUCKET + i;
        char name[8] = {(char)('a' + i)};
        seckill_limit_t l = window_limit(algorithm, 3, NS_HOUR);

        if (algorithm == SECKILL_TOKEN_BUCKET) {
            l = bucket_limit(algorithm, 1.0 / 3600, 3);
        } else if (algorithm == SECKILL_LEAKY_BUCKET) {
            l = bucket_limit(algorithm, 1.0 / 3600, 2);
        }
        lims[i] = lim_open(w, name, &l, now);
    }
}

static const char *key_of(const char *kind, int i)
{
    static char key[32];

    snprintf(key, sizeof(key), "%s%d", kind, i);
    return key;
}

/* Spend every victim of every limiter out; when it may come again. */
static void spend_victims(skl_limiter_t **lims, int64_t now,
                          int64_t due[FLOODED][VICTIMS])
{
    for (int i = 0; i < FLOODED; i++) {
        for (int v = 0; v < VICTIMS; v++) {
            skl_limit_ask_t a = {.now_ns = now, .cost = 1, .commit = 1};

            history.count = 0;
            CHECK_INT(3, grab(lims[i], key_of("victim", v), now));
            CHECK_INT(SECKILL_EREJECTED,
                      lim_ask(lims[i], key_of("victim", v), &a));
            CHECK(a.retry_ns >= NS_HOUR / 3);
            due[i][v] = now + a.retry_ns;
        }
    }
}

static int is_any_victim_back(skl_limiter_t **lims, int64_t now,
                              int64_t due[FLOODED][VICTIMS])
{
    int back = 0;

    for (int i = 0; i < FLOODED; i++) {
        for (int v = 0; v < VICTIMS; v++) {
            int64_t at = now < due[i][v] ? now : due[i][v] - 1;

            back += lim_peek(lims[i], key_of("victim", v), 1, at);
            back += lim_take(lims[i], key_of("victim", v), 1, at);
        }
    }
    return back;
}

/* Ten times the capacity, for each algorithm. No victim comes back early, and
 * each one comes back when it is told. */
TEST(limit_flood_brings_no_victim_of_any_algorithm_back)
{
    const int64_t start = 999 * NS_HOUR + 17;
    int64_t due[FLOODED][VICTIMS];
    skl_limiter_t *lims[FLOODED];
    lim_world_t w;

    lim_world_new(&w, CAPACITY, FLOODED);
    open_all(&w, lims, start);
    spend_victims(lims, start, due);
    for (int k = 0; k < 10 * CAPACITY; k++) {
        int64_t now = start + k * (NS_HOUR / 4 / (10 * CAPACITY));

        for (int i = 0; i < FLOODED; i++) {
            (void)lim_take(lims[i], key_of("flood", k), 1 + (uint32_t)k % 3,
                           now);
        }
        if (k % 1024 == 0) {
            CHECK_INT(0, is_any_victim_back(lims, now, due));
        }
    }
    CHECK(lim_overflows(&w) > 0);
    CHECK_INT(0, is_any_victim_back(lims, start + 10 * NS_HOUR, due));
    for (int i = 0; i < FLOODED; i++) {
        for (int v = 0; v < VICTIMS; v++) {
            CHECK_INT(1, lim_take(lims[i], key_of("victim", v), 1, due[i][v]));
        }
    }
    lim_world_free(&w);
}

/* Keys that come and go, so that slots change hands all the time, beside
 * victims that stay. */
TEST(limit_churn_brings_no_victim_of_any_algorithm_back)
{
    const int64_t start = 999 * NS_HOUR + 17;
    seckill_limit_t l = bucket_limit(SECKILL_TOKEN_BUCKET, 1e6, 1);
    seckill_limit_t s = window_limit(SECKILL_SLIDING_LOG, 4, 1000000);
    int64_t due[FLOODED][VICTIMS];
    skl_limiter_t *lims[FLOODED];
    skl_limiter_t *quick[2];
    lim_world_t w;

    lim_world_new(&w, 256, FLOODED + 2);
    open_all(&w, lims, start);
    quick[0] = lim_open(&w, "quick", &l, start);
    quick[1] = lim_open(&w, "log", &s, start);
    spend_victims(lims, start, due);
    for (int k = 0; k < 20 * CAPACITY; k++) {
        int64_t now = start + k * 10000;

        (void)lim_take(quick[k % 2], key_of("flood", k), 1, now);
        if (k % 64 == 0) {
            (void)skl_limits_sweep(&w.limits, now, 16);
        }
        if (k % 1024 == 0) {
            CHECK_INT(0, is_any_victim_back(lims, now, due));
        }
    }
    CHECK_INT(0, is_any_victim_back(lims, start + 10 * NS_HOUR, due));
    lim_world_free(&w);
}

/* Most that one key of a flooded limiter may have within half an hour. */
static int most_of(int i)
{
    switch (SECKILL_TOKEN_BUCKET + i) {
    case SECKILL_FIXED_WINDOW:
    case SECKILL_SLIDING_WINDOW:
        return 6;
    default:
        return 3;
    }
}

/* In a table that is far too small every key still keeps to its limit, in the
 * shared cells and on the way from there into the table. */
TEST(limit_flooded_keys_keep_to_their_limits)
{
    enum { KEYS = 400, ASKS = 40000 };
    const int64_t start = 999 * NS_HOUR + 17;
    static int got[FLOODED][KEYS];
    uint64_t seed = tap_seed(25);
    skl_limiter_t *lims[FLOODED];
    lim_world_t w;

    memset(got, 0, sizeof(got));
    lim_world_new(&w, 64, FLOODED);
    open_all(&w, lims, start);
    for (int n = 0; n < ASKS; n++) {
        int64_t now = start + n * (NS_HOUR / 2 / ASKS);
        int k = (int)lim_random_below(&seed, KEYS);
        int i = n % FLOODED;

        got[i][k] += lim_take(lims[i], key_of("k", k), 1, now);
    }
    CHECK(lim_overflows(&w) > 0);
    for (int i = 0; i < FLOODED; i++) {
        int all = 0;

        for (int k = 0; k < KEYS; k++) {
            CHECK(got[i][k] <= most_of(i));
            all += got[i][k];
        }
        CHECK(all > 0);
    }
    lim_world_free(&w);
}

/* ---- A log whose limit changed, an instruction at a time ----------------- */

typedef struct {
    skl_limiter_t *lim;
    int64_t now;
} log_call_t;

static void log_take(void *arg)
{
    const log_call_t *c = arg;

    (void)lim_take(c->lim, "k", 1, c->now);
}

/* One is stopped after `steps`, with an instant that the other has passed by
 * then. 0: it had ended before. */
static int log_pair(long steps, int64_t window)
{
    const seckill_limit_t l = {.struct_size = sizeof(l),
                               .algorithm = SECKILL_SLIDING_LOG,
                               .limit = 2,
                               .window_ns = window};
    const seckill_limit_t less = {.struct_size = sizeof(less), .limit = 1};
    const int64_t now = 1000 * NS_SEC, later = now + NS_SEC / 100;
    log_call_t call = {.now = now};
    const char *why = "";
    lim_world_t w;
    stepper_t st;
    int alive, got;

    lim_world_new(&w, 16, 1);
    call.lim = lim_open(&w, "log", &l, now - 3 * window);
    CHECK(lim_take(call.lim, "k", 1, now - 2 * window));
    CHECK_INT(SECKILL_OK, skl_limiter_set(call.lim, &less, later));
    if (!CHECK(stepper_start(&st, log_take, &call, &why))) {
        printf("# %s\n", why);
        return 0;
    }
    alive = stepper_run(&st, steps) == 1;
    got = lim_take(call.lim, "k", 1, later);
    CHECK(!alive || stepper_finish(&st) == 0);
    stepper_kill(&st);
    if (got) {
        CHECK(!lim_take(call.lim, "k", 1, later + window - 1));
        CHECK(lim_take(call.lim, "k", 1, later + window));
    }
    lim_world_free(&w);
    return alive;
}

/* A stop at every instruction means as many instructions squared. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STOPS_EACH = 61 };
#else
enum { STOPS_EACH = 1 };
#endif

TEST(limit_log_stamp_is_in_use_for_a_window)
{
    long steps = 0;

    while (log_pair(steps, NS_SEC)) {
        steps += tap_full() ? STOPS_EACH : 61;
    }
    CHECK(steps > 100);
    printf("# stopped at %ld instructions\n", steps);
}

TAP_MAIN()
