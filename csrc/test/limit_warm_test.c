/*
 * Warm-up of the buckets against the curves in closed form.
 *
 * Schedule: the rate rises from N / c at t0 to N at t0 + P in a line; what is
 * admitted in any interval is at most burst + the integral of the rate.
 *
 * Cold start: a limiter that rested for P is cold. Of its store the upper part
 * of U = 2 P N / (1 + c) tokens costs more, c / N for the first, 1 / N for the
 * last. Under load the n-th token of a cold limiter comes at
 *
 *     t(n) = n / N + (c - 1) / (2 U N) * (U^2 - (U - n)^2)
 *
 * and t(U) = P. The lower part, Tw = P N / (c - 1), is at full price.
 *
 * One key is asked as often as it can possibly be admitted: at every retry.
 */
#include "test/support/limits.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* A rate, and a period in which some thousands come in. */
static const struct {
    double rate;
    int64_t period;
} RAMPS[] = {{0.5, 8000 * NS_SEC},
             {2, 2000 * NS_SEC},
             {2001, 2 * NS_SEC + 1},
             {1e6, NS_SEC / 200}};

static const double COLDS[] = {1.5, 3, 10};

typedef struct {
    lim_world_t w;
    skl_limiter_t *lim;
    double rate, cold;
    int64_t period, start; /* t0, or when the limiter was made */
    int64_t now;
} ramp_t;

static void ramp_open(ramp_t *r, uint32_t algorithm, int which, double cold,
                      double burst, int64_t from, int64_t at)
{
    seckill_limit_t l = {.struct_size = sizeof(l),
                         .algorithm = algorithm,
                         .rate = RAMPS[which].rate,
                         .burst = burst,
                         .warm_up_ns = RAMPS[which].period,
                         .warm_up_at_ns = at,
                         .cold_factor = cold};

    if (algorithm == SECKILL_LEAKY_BUCKET) {
        l.burst--;
        l.zeros = SECKILL_ZERO_BURST;
    }
    *r = (ramp_t){.rate = l.rate,
                  .cold = cold,
                  .period = l.warm_up_ns,
                  .start = at > 0 ? at : from,
                  .now = from};
    lim_world_new(&r->w, 16, 1);
    r->lim = lim_open(&r->w, "warm", &l, from);
}

static void ramp_close(ramp_t *r)
{
    lim_world_free(&r->w);
}

/* All that can be had by asking at every instant until `until`. */
static int64_t greedy(ramp_t *r, const char *key, int64_t until)
{
    int64_t got = 0;

    while (r->now <= until) {
        skl_limit_ask_t a = {.now_ns = r->now, .cost = 1, .commit = 1};

        if (lim_ask(r->lim, key, &a) == SECKILL_OK) {
            got++;
        } else if (CHECK(a.retry_ns > 0)) {
            r->now += a.retry_ns;
        } else {
            break;
        }
    }
    r->now = r->now > until ? until : r->now;
    return got;
}

/* To an instant, with the sweeps that the table needs on the way. */
static void rest_until(ramp_t *r, int64_t until)
{
    while (r->now < until) {
        r->now += until - r->now > 200 * NS_DAY ? 200 * NS_DAY : until - r->now;
        (void)skl_limits_sweep(&r->w.limits, r->now,
                               (uint32_t)skl_limits_groups(&r->w.limits));
    }
}

static int is_near(double want, double got, double more)
{
    if (fabs(want - got) <= 0.01 * want + more) {
        return 1;
    }
    printf("# wanted %.3f, got %.3f\n", want, got);
    return 0;
}

/* ---- Schedule ------------------------------------------------------------ */

/* Tokens that the rate gives from `from` to `to`, in s after t0. */
static double integral(const ramp_t *r, double from, double to)
{
    double p = (double)r->period / 1e9;
    double low = r->rate / r->cold;
    double a = fmax(0, fmin(p, from));
    double b = fmax(0, fmin(p, to));
    double sum = low * (fmin(to, 0) - fmin(from, 0));

    sum += low * (b - a) + (r->rate - low) * (b * b - a * a) / (2 * p);
    return sum + r->rate * (fmax(to, p) - fmax(from, p));
}

static double after(const ramp_t *r, int64_t now)
{
    return (double)(now - r->start) / 1e9;
}

static void schedule_curve(uint32_t algorithm, int which, double cold)
{
    const int64_t at = 5000000 * NS_SEC;
    const int64_t p = RAMPS[which].period;
    ramp_t r;

    ramp_open(&r, algorithm, which, cold, 1, at - p, at);
    for (int i = -3; i <= 12; i++) {
        int64_t from = r.now;
        int64_t got = greedy(&r, "k", at + i * (p / 8));

        CHECK(is_near(integral(&r, after(&r, from), after(&r, r.now)),
                      (double)got, 1.5));
    }
    ramp_close(&r);
}

TEST(warm_schedule_follows_its_curve)
{
    for (int i = 0; i < COUNT(RAMPS); i++) {
        for (int j = 0; j < COUNT(COLDS); j++) {
            schedule_curve(SECKILL_TOKEN_BUCKET, i, COLDS[j]);
            schedule_curve(SECKILL_LEAKY_BUCKET, i, COLDS[j]);
        }
    }
}

/* Admissions so far, so that all intervals that end now can be judged by the
 * one that has most beyond its integral. */
typedef struct {
    double taken, least;
} bound_t;

/* n more at `now`: no interval may have more than burst + integral. */
static int bound_keeps(bound_t *b, const ramp_t *r, int64_t begin, int64_t now,
                       int64_t n, double burst)
{
    double earned = integral(r, after(r, begin), after(r, now));

    b->least = fmin(b->least, b->taken - earned);
    b->taken += (double)n;
    return b->taken - earned <= burst + b->least + 1e-6 * (1 + b->taken);
}

/* Random instants, costs, rests and steps back around and in the rise. */
static void schedule_bound(uint32_t algorithm, int which, uint64_t *seed)
{
    const int64_t at = 900 * NS_DAY;
    const int64_t p = RAMPS[which].period;
    const double burst = (double)(1 + lim_random_below(seed, 50));
    bound_t bound = {0, 1e300};
    int64_t begin = at - p / 4, newest = begin;
    ramp_t r;

    ramp_open(&r, algorithm, which, COLDS[lim_random(seed) % 3], burst, begin,
              at);
    for (int i = 0; i < 2000 && r.now < at + 2 * p; i++) {
        skl_limit_ask_t a = {.now_ns = r.now, .commit = 1};
        int rc;

        newest = r.now > newest ? r.now : newest;
        a.cost = (uint32_t)(1 + lim_random_below(seed, (int64_t)burst));
        rc = lim_ask(r.lim, "k", &a);
        if (rc == SECKILL_OK) {
            CHECK(bound_keeps(&bound, &r, begin, newest, a.cost, burst));
        } else if (lim_random(seed) % 4 != 0) {
            r.now += a.retry_ns;
            continue;
        }
        if (lim_random(seed) % 8 == 0) {
            r.now += lim_random_below(seed, p / 20);
        } else if (lim_random(seed) % 8 == 0) {
            r.now -= lim_random_below(seed, p / 10);
        } else {
            r.now = newest + lim_random_below(seed, p / 4000 + 2);
        }
    }
    CHECK(bound.taken > burst);
    ramp_close(&r);
}

TEST(warm_schedule_keeps_its_bound_in_every_interval)
{
    uint64_t seed = tap_seed(51);
    int rounds = tap_full() ? 1000 : 25;

    for (int i = 0; i < rounds; i++) {
        for (int j = 0; j < COUNT(RAMPS); j++) {
            schedule_bound(SECKILL_TOKEN_BUCKET, j, &seed);
            schedule_bound(SECKILL_LEAKY_BUCKET, j, &seed);
        }
    }
}

/* A refusal is right, whatever the rate does meanwhile: who comes then passes.
 * An instant of the slow clock may be half way between two ns, and words are
 * whole: that may cost 1 ns, never save it. */
static int check_retry(ramp_t *r, const char *key, uint32_t cost)
{
    skl_limit_ask_t a = {.now_ns = r->now, .cost = cost, .commit = 0};

    if (lim_ask(r->lim, key, &a) == SECKILL_OK) {
        return 0;
    }
    if (CHECK(a.retry_ns > 0)) {
        if (!CHECK_INT(1, lim_peek(r->lim, key, cost, r->now + a.retry_ns)) ||
            !CHECK_INT(0,
                       lim_peek(r->lim, key, cost, r->now + a.retry_ns - 2))) {
            printf("# rate %g cold %g at %.6f s, retry %" PRId64 "\n", r->rate,
                   r->cold, after(r, r->now), a.retry_ns);
        }
    }
    return 1;
}

/* Takes and rests at random over the rise; how many refusals were checked. */
static int walk(ramp_t *r, int64_t until, uint64_t *seed)
{
    int checked = 0;

    while (r->now < until) {
        uint32_t cost = (uint32_t)(1 + lim_random_below(seed, 3));

        checked += check_retry(r, "k", cost);
        (void)lim_take(r->lim, "k", cost, r->now);
        r->now += lim_random_below(seed, r->period / 2000 + 1);
    }
    return checked;
}

TEST(warm_retry_is_exact_during_the_rise)
{
    const int64_t at = 40 * NS_DAY;
    uint64_t seed = tap_seed(52);

    for (int i = 0; i < COUNT(RAMPS); i++) {
        for (int j = 0; j < COUNT(COLDS); j++) {
            int64_t p = RAMPS[i].period;
            ramp_t r;

            ramp_open(&r, SECKILL_TOKEN_BUCKET, i, COLDS[j], 3, at - p / 8, at);
            CHECK(walk(&r, at + 3 * p / 2, &seed) > 20);
            ramp_close(&r);
            ramp_open(&r, SECKILL_TOKEN_BUCKET, i, COLDS[j], 3, at, 0);
            CHECK(walk(&r, at + 3 * p / 2, &seed) > 20);
            ramp_close(&r);
        }
    }
}

/* A year before the sale, and long after it: uptimes of years. */
TEST(warm_schedule_holds_for_years)
{
    static const int64_t days[] = {1, 300, 400, 420, 600, 900, 2000, 5000};
    const int64_t at = 6000 * NS_DAY;
    const int64_t minute = 60 * NS_SEC;

    for (int i = 0; i < COUNT(days); i++) {
        int64_t away = days[i] * NS_DAY;
        ramp_t r;

        if (days[i] <= 400) { /* 2 / 3 a second before */
            ramp_open(&r, SECKILL_TOKEN_BUCKET, 1, 3, 1, at - away, at);
            CHECK(is_near(40, (double)greedy(&r, "k", at - away + minute), 1));
            ramp_close(&r);
        }
        ramp_open(&r, SECKILL_TOKEN_BUCKET, 1, 3, 1, at, at);
        rest_until(&r, at + away);
        if (!CHECK(is_near(120, (double)greedy(&r, "k", r.now + minute), 1))) {
            printf("# %" PRId64 " days after the rise\n", days[i]);
        }
        ramp_close(&r);
    }
}

/* Words are whole units of the real clock: what was given back may be short of
 * that by a few of the slow one, which is nothing after as many ns. */
TEST(warm_schedule_undo_at_once_is_exact)
{
    const int64_t at = 40 * NS_DAY;
    uint64_t seed = tap_seed(53);

    for (int i = 0; i < COUNT(RAMPS); i++) {
        int64_t p = RAMPS[i].period;
        ramp_t r;

        ramp_open(&r, SECKILL_TOKEN_BUCKET, i, 3, 5, at - p / 8, at);
        while (r.now < at + 3 * p / 2) {
            skl_limit_ticket_t ticket = {0};
            skl_limit_ask_t before = {.now_ns = r.now, .cost = 1};
            skl_limit_ask_t a = {
                .now_ns = r.now, .cost = 2, .commit = 1, .ticket = &ticket};
            skl_limit_ask_t then = before;
            int rc = lim_ask(r.lim, "k", &before);

            if (lim_ask(r.lim, "k", &a) == SECKILL_OK) {
                CHECK_INT(1, skl_limiter_undo(r.lim, &ticket, r.now));
            }
            CHECK_INT(rc, lim_ask(r.lim, "k", &then));
            CHECK(then.reset_ns >= before.reset_ns - 1);
            CHECK(then.reset_ns <= before.reset_ns + 4);
            CHECK(then.remaining <= before.remaining);
            then.now_ns += 4;
            CHECK_INT(rc, lim_ask(r.lim, "k", &then));
            CHECK(then.remaining >= before.remaining);
            (void)lim_take(r.lim, "k", 1, r.now);
            r.now += lim_random_below(&seed, r.period / 200 + 1);
        }
        ramp_close(&r);
    }
}

/* ---- Cold start ---------------------------------------------------------- */

/* Tokens of the store that cost more than 1 / rate. */
static double dear(const ramp_t *r)
{
    return 2 * (double)r->period / 1e9 * r->rate / (1 + r->cold);
}

/* n with t(n) = t, when `left` of the dear ones are in the store. */
static double admitted_by(const ramp_t *r, double left, double t)
{
    double a = (r->cold - 1) / (2 * dear(r) * r->rate);
    double b = 1 / r->rate + 2 * a * left;
    double all = left / r->rate + a * left * left; /* when it is warm */

    if (t >= all) {
        return left + (t - all) * r->rate;
    }
    return (b - sqrt(b * b - 4 * a * t)) / (2 * a);
}

/* The curve from now on, while the store has `left` dear tokens. */
static void cold_curve(ramp_t *r, double left, double burst)
{
    int64_t begin = r->now;
    int64_t got = 0;

    for (int i = 1; i <= 16; i++) {
        int64_t until = begin + i * (r->period / 8);
        double want = admitted_by(r, left, (double)(until - begin) / 1e9);

        got += greedy(r, "k", until);
        CHECK(is_near(want, (double)got, burst + 0.5));
    }
}

TEST(warm_cold_start_follows_its_curve)
{
    for (int i = 0; i < COUNT(RAMPS); i++) {
        for (int j = 0; j < COUNT(COLDS); j++) {
            ramp_t r;

            ramp_open(&r, SECKILL_TOKEN_BUCKET, i, COLDS[j], 1, 40 * NS_DAY, 0);
            cold_curve(&r, dear(&r), 1);
            ramp_close(&r);
            ramp_open(&r, SECKILL_LEAKY_BUCKET, i, COLDS[j], 1, 40 * NS_DAY, 0);
            cold_curve(&r, dear(&r), 1);
            ramp_close(&r);
        }
    }
}

/* Make it warm, and the store empty. */
static void warm_up(ramp_t *r)
{
    double p = (double)r->period;

    (void)greedy(r, "k", r->now + (int64_t)(p + p / (r->cold - 1) * 1.02));
}

/* Idle for the period: cold as on the first day, also where the rate is so low
 * that hardly a token comes in it; twice, for the store must not drift. */
TEST(warm_cold_again_after_the_period)
{
    for (int i = 0; i < COUNT(RAMPS); i++) {
        for (int j = 0; j < COUNT(COLDS); j++) {
            ramp_t r;

            ramp_open(&r, SECKILL_TOKEN_BUCKET, i, COLDS[j], 1, 40 * NS_DAY, 0);
            for (int k = 0; k < 2; k++) {
                warm_up(&r);
                r.now += r.period + r.period / 100;
                cold_curve(&r, dear(&r), 1);
            }
            ramp_close(&r);
        }
    }
}

/* Idle for a part: as cold as the store has become full, all of it in P. */
TEST(warm_is_partly_cold_after_a_part_of_the_period)
{
    for (int i = 0; i < COUNT(RAMPS); i++) {
        for (int part = 0; part <= 8; part++) {
            ramp_t r;
            double left;

            ramp_open(&r, SECKILL_TOKEN_BUCKET, i, 3, 1, 40 * NS_DAY, 0);
            warm_up(&r);
            r.now += r.period / 8 * part;
            /* c = 3: one half of the store is dear, the upper one */
            left = fmax(0, (double)part / 8 - 0.5) * 2 * dear(&r);
            cold_curve(&r, left, 0.02 * dear(&r));
            ramp_close(&r);
        }
    }
}

/* A sale a year, or some years, after the last one. */
TEST(warm_cold_again_after_years)
{
    static const int64_t days[] = {300, 420, 500, 700, 840, 2000};

    for (int i = 0; i < COUNT(days); i++) {
        ramp_t r;

        ramp_open(&r, SECKILL_TOKEN_BUCKET, 1, 3, 1, 40 * NS_DAY, 0);
        warm_up(&r);
        rest_until(&r, r.now + days[i] * NS_DAY);
        cold_curve(&r, dear(&r), 1);
        ramp_close(&r);
    }
}

/* What is protected gets warm as a whole: all keys draw on one store. */
TEST(warm_store_is_that_of_the_limiter)
{
    for (int i = 0; i < COUNT(RAMPS); i++) {
        const double n = RAMPS[i].rate;
        int64_t while_ns = RAMPS[i].period / 4;
        double cold, warm;
        ramp_t r;

        ramp_open(&r, SECKILL_TOKEN_BUCKET, i, 3, 1, 40 * NS_DAY, 0);
        cold = (double)greedy(&r, "first", r.now + while_ns);
        CHECK(is_near(admitted_by(&r, dear(&r), (double)while_ns / 1e9), cold,
                      1.5));
        (void)greedy(&r, "first", r.now + 2 * r.period);
        warm = (double)greedy(&r, "second", r.now + while_ns);
        CHECK(is_near((double)while_ns / 1e9 * n, warm, 1.5));
        ramp_close(&r);
    }
}

/* No interval ever has more than burst + rate * L, and what comes after a cold
 * start never more than the curve and the burst. */
static void cold_bound(int which, uint64_t *seed)
{
    const int64_t burst = 1 + lim_random_below(seed, 20);
    bound_t bound = {0, 1e300};
    int64_t begin, n = 0;
    ramp_t r;

    ramp_open(&r, SECKILL_TOKEN_BUCKET, which, COLDS[lim_random(seed) % 3],
              (double)burst, 40 * NS_DAY, 0);
    begin = r.now;
    r.start = begin - 2 * r.period; /* for integral(): the full rate */
    while (r.now < begin + 2 * r.period) {
        uint32_t cost = (uint32_t)(1 + lim_random_below(seed, burst));
        skl_limit_ask_t a = {.now_ns = r.now, .cost = cost, .commit = 1};

        if (lim_ask(r.lim, "k", &a) == SECKILL_OK) {
            double t = (double)(r.now - begin) / 1e9;

            n += cost;
            CHECK(bound_keeps(&bound, &r, begin, r.now, cost, (double)burst));
            CHECK((double)n <=
                  1.01 * admitted_by(&r, dear(&r), t) + (double)burst + 0.5);
        }
        r.now += lim_random(seed) % 8 == 0
                     ? lim_random_below(seed, r.period / 50)
                     : lim_random_below(seed, r.period / 3000 + 2);
    }
    CHECK(n > burst);
    ramp_close(&r);
}

TEST(warm_cold_start_keeps_its_bound)
{
    uint64_t seed = tap_seed(54);
    int rounds = tap_full() ? 500 : 10;

    for (int i = 0; i < rounds; i++) {
        for (int j = 0; j < COUNT(RAMPS); j++) {
            cold_bound(j, &seed);
        }
    }
}

/* A cold limiter admits its burst at once, and a clock that steps back warms
 * nothing and cools nothing. */
TEST(warm_cold_start_and_a_clock_that_steps_back)
{
    for (int i = 0; i < COUNT(RAMPS); i++) {
        const int64_t p = RAMPS[i].period;
        int64_t got = 0, begin;
        ramp_t r;

        ramp_open(&r, SECKILL_TOKEN_BUCKET, i, 3, 1, 40 * NS_DAY, 0);
        begin = r.now;
        for (int j = 1; j <= 100; j++) {
            got += greedy(&r, "k", begin + j * (p / 100));
            got += lim_take(r.lim, "k", 1, r.now - p / 2);
            got += lim_take(r.lim, "k", 1, r.now - NS_HOUR);
        }
        CHECK(is_near(admitted_by(&r, dear(&r), (double)p / 1e9), (double)got,
                      1.5));
        ramp_close(&r);
    }
}

TEST(warm_up_can_be_turned_off)
{
    for (int mode = 0; mode < 2; mode++) {
        const int64_t at = 40 * NS_DAY;
        seckill_limit_t off = {.struct_size = sizeof(off),
                               .zeros = SECKILL_ZERO_WARM_UP};
        ramp_t r;

        ramp_open(&r, SECKILL_TOKEN_BUCKET, 1, 3, 1, at, mode * at);
        CHECK(is_near(40, (double)greedy(&r, "k", at + 60 * NS_SEC), 4));
        CHECK_INT(SECKILL_OK, skl_limiter_set(r.lim, &off, r.now));
        CHECK(is_near(120, (double)greedy(&r, "k", at + 120 * NS_SEC), 2));
        ramp_close(&r);
    }
}

/* max_delay is time of the clock, also while the rate is low: who would wait
 * longer is refused, and is admitted after the retry. */
TEST(warm_max_delay_is_what_a_request_really_waits)
{
    const int64_t now = 40 * NS_DAY;
    const seckill_limit_t l = {.struct_size = sizeof(l),
                               .algorithm = SECKILL_LEAKY_BUCKET,
                               .rate = 10,
                               .burst = 100,
                               .nodelay = 2,
                               .max_delay_ns = NS_SEC,
                               .warm_up_ns = 100 * NS_SEC,
                               .warm_up_at_ns = now + NS_HOUR};
    skl_limit_ask_t a = {.now_ns = now, .cost = 1, .commit = 1};
    lim_world_t w;
    skl_limiter_t *lim;
    int got = 0;

    lim_world_new(&w, 16, 1);
    lim = lim_open(&w, "warm", &l, now);
    while (lim_ask(lim, "k", &a) == SECKILL_OK && got < 1000) {
        CHECK(a.delay_ns <= NS_SEC);
        got++;
    }
    CHECK_INT(1 + 2 + 3, got); /* 0.3 s apart */
    CHECK(a.retry_ns > 0);
    a.now_ns += a.retry_ns - 1;
    CHECK_INT(SECKILL_EREJECTED, lim_ask(lim, "k", &a));
    a.now_ns++;
    CHECK_INT(SECKILL_OK, lim_ask(lim, "k", &a));
    CHECK(a.delay_ns <= NS_SEC && a.delay_ns > NS_SEC - 1000);
    lim_world_free(&w);
}

/* What a burst comes to at the low rate must be an instant that can be told
 * from a past one. */
TEST(warm_burst_of_the_low_rate_fits_a_word)
{
    const int64_t now = 40 * NS_DAY;
    seckill_limit_t l = {.struct_size = sizeof(l),
                         .rate = 1.0 / (7 * 86400),
                         .burst = 20,
                         .warm_up_ns = NS_DAY,
                         .cold_factor = 5,
                         .warm_up_at_ns = now + NS_DAY};
    skl_limiter_t *lim;
    lim_world_t w;

    lim_world_new(&w, 16, 2);
    CHECK_INT(SECKILL_EBADOPTION,
              skl_limits_open(&w.limits, "a", &l, now, &lim));
    l.warm_up_at_ns = 0;
    CHECK_INT(SECKILL_EBADOPTION,
              skl_limits_open(&w.limits, "a", &l, now, &lim));
    l.burst = 5;
    CHECK_INT(SECKILL_OK, skl_limits_open(&w.limits, "a", &l, now, &lim));
    l.cold_factor = 1000;
    CHECK_INT(SECKILL_EBADOPTION, skl_limiter_set(lim, &l, now));
    l.warm_up_at_ns = now + NS_DAY;
    l.cold_factor = 5;
    lim = lim_open(&w, "b", &l, now);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(i < 5, lim_take(lim, "k", 1, now));
    }
    lim_world_free(&w);
}

/* A debt of the low rate is cut to a burst of the rate that takes its place. */
TEST(warm_debts_are_cut_when_it_ends)
{
    for (int mode = 0; mode < 2; mode++) {
        const int64_t at = 40 * NS_DAY;
        const seckill_limit_t l = {.struct_size = sizeof(l),
                                   .rate = 1,
                                   .burst = 10,
                                   .warm_up_ns = NS_HOUR,
                                   .warm_up_at_ns = mode * (at + NS_HOUR)};
        const seckill_limit_t off = {.struct_size = sizeof(off),
                                     .zeros = SECKILL_ZERO_WARM_UP};
        skl_limit_ticket_t t = {0};
        skl_limit_ask_t a = {
            .now_ns = at, .cost = 1, .commit = 1, .ticket = &t};
        lim_world_t w;
        skl_limiter_t *lim;

        lim_world_new(&w, 16, 1);
        lim = lim_open(&w, "warm", &l, at);
        for (int i = 0; i < 8 + 2 * mode; i++) {
            CHECK_INT(SECKILL_OK, lim_ask(lim, "k", &a));
        }
        CHECK_INT(SECKILL_OK, skl_limiter_set(lim, &off, at + 1000));
        CHECK(!lim_take(lim, "k", 1, at + 1000));
        CHECK(!lim_take(lim, "k", 1, at + NS_SEC / 2));
        CHECK(lim_take(lim, "k", 1, at + NS_SEC + 1000));
        /* in which debt that charge is nobody knows */
        CHECK_INT(0, skl_limiter_undo(lim, &t, at + NS_SEC + 1000));
        CHECK(!lim_take(lim, "k", 1, at + NS_SEC + 1000));
        lim_world_free(&w);
    }
}

/* Charges from before a warm-up are worth less while it lasts. */
TEST(warm_undo_gives_no_more_than_was_taken)
{
    const int64_t at = 40 * NS_DAY;
    const seckill_limit_t l = {
        .struct_size = sizeof(l), .rate = 1, .burst = 10};
    const seckill_limit_t on = {.struct_size = sizeof(on),
                                .warm_up_ns = NS_HOUR,
                                .warm_up_at_ns = at + NS_HOUR};
    skl_limit_ticket_t t[9] = {0};
    skl_limit_ask_t look = {.now_ns = at + 1, .cost = 1};
    lim_world_t w;
    skl_limiter_t *lim;
    uint64_t left;

    lim_world_new(&w, 16, 1);
    lim = lim_open(&w, "warm", &l, at);
    for (int i = 0; i < 9; i++) {
        skl_limit_ask_t a = {
            .now_ns = at, .cost = 1, .commit = 1, .ticket = &t[i]};

        CHECK_INT(SECKILL_OK, lim_ask(lim, "k", &a));
    }
    CHECK_INT(SECKILL_OK, skl_limiter_set(lim, &on, at + 1));
    CHECK_INT(SECKILL_OK, lim_ask(lim, "k", &look));
    left = look.remaining;
    for (int i = 0; i < 3; i++) {
        (void)skl_limiter_undo(lim, &t[i], at + 1);
    }
    CHECK_INT(SECKILL_OK, lim_ask(lim, "k", &look));
    /* a third of the three that are missing */
    CHECK(look.remaining - left <= 1 && left >= 5);
    lim_world_free(&w);
}

/* A sale that begins in years: the rate is low until then. */
TEST(warm_up_may_begin_in_years)
{
    for (int years = 1; years < 12; years++) {
        const int64_t at = 40 * NS_DAY;
        const seckill_limit_t l = {.struct_size = sizeof(l),
                                   .rate = 1,
                                   .burst = 1,
                                   .warm_up_ns = NS_HOUR,
                                   .warm_up_at_ns = at + years * 365 * NS_DAY};
        int got = 0;
        lim_world_t w;
        skl_limiter_t *lim;

        lim_world_new(&w, 16, 1);
        lim = lim_open(&w, "warm", &l, at);
        for (int i = 0; i < 30; i++) {
            got += lim_take(lim, "k", 1, at + i * NS_SEC);
        }
        CHECK_INT(10, got);
        lim_world_free(&w);
    }
}

TAP_MAIN()
