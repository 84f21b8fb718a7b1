/* See rule.h. */
#include "limit/rule.h"

#include "base/assert.h"

#include <math.h>
#include <string.h>

#define UNITS_PER_SECOND 256e9L
#define NS_PER_DAY INT64_C(86400000000000)
#define RATE_MIN 1e-7
#define RATE_MAX 1e7
#define BURST_MAX 1e9
#define LIMIT_MAX 1e12
#define PERMITS_MAX 1048575.0 /* 2^20 - 1 */
#define WINDOW_MIN_NS INT64_C(1000000)
#define WINDOW_MAX_NS (31 * NS_PER_DAY)
#define COLD_MAX 1000.0
#define UNITS_MAX (UINT64_C(1) << 62)
/* A fixed window is at most 1/1024 longer than asked for. */
#define FIXED_SLACK_BITS 10

/* ---- Rates --------------------------------------------------------------- */

/* count * interval, rounded down; 0: more than fits. */
static int units_of(double count, uint64_t interval, uint64_t *out)
{
    uint64_t whole = (uint64_t)count;
    uint64_t part = (uint64_t)(((long double)count - (long double)whole) *
                               (long double)interval);

    return !__builtin_mul_overflow(whole, interval, out) &&
           !__builtin_add_overflow(*out, part, out) && *out <= UNITS_MAX;
}

static int in_range(double v, double min, double max)
{
    return v >= min && v <= max; /* NaN is not */
}

static int derive_warm_up(skl_limit_rule_t *r, int64_t offset_ns)
{
    if (r->warm_up_ns < 0 || r->warm_up_ns > WINDOW_MAX_NS ||
        r->warm_up_at < 0 || r->warm_up_at > SECKILL_TIME_MAX ||
        !(r->cold_factor > 1 && r->cold_factor <= COLD_MAX)) {
        return SECKILL_EBADOPTION;
    }
    r->warm = SKL_WARM_NONE;
    if (r->warm_up_ns > 0) {
        r->warm = r->warm_up_at > 0 ? SKL_WARM_SCHEDULE : SKL_WARM_COLD_START;
    }
    r->warm_span = (uint64_t)r->warm_up_ns << SKL_LIMIT_SHIFT;
    r->warm_end = r->warm_up_at - offset_ns + r->warm_up_ns;
    /* a burst at the low rate has to fit a word, too */
    return r->warm == SKL_WARM_NONE ||
                   (long double)r->window * (long double)r->cold_factor <=
                       (long double)UNITS_MAX
               ? SECKILL_OK
               : SECKILL_EBADOPTION;
}

static int derive_bucket(skl_limit_rule_t *r, int64_t offset_ns)
{
    const int leaky = r->algorithm == SECKILL_LEAKY_BUCKET;
    long double exact;

    if (!in_range(r->rate, RATE_MIN, RATE_MAX) ||
        !in_range(r->burst, leaky ? 0 : 1, BURST_MAX) ||
        !in_range(r->free, 0, BURST_MAX) || r->max_delay_ns < -1 ||
        r->max_delay_ns > WINDOW_MAX_NS) {
        return SECKILL_EBADOPTION;
    }
    exact = UNITS_PER_SECOND / (long double)r->rate;
    r->interval = (uint64_t)exact;
    r->interval += (long double)r->interval < exact ? 1 : 0;
    if (!units_of(r->burst + (leaky ? 1 : 0), r->interval, &r->window) ||
        !units_of(r->free, r->interval, &r->nodelay)) {
        return SECKILL_EBADOPTION;
    }
    r->limit = r->max_delay_ns < 0
                   ? UNITS_MAX
                   : (uint64_t)r->max_delay_ns << SKL_LIMIT_SHIFT;
    r->inverse = 1 / (double)r->interval;
    r->shift = (uint32_t)r->burst + (leaky ? 1 : 0);
    skl_assert(r->interval > 0 && r->window >= r->interval);
    return derive_warm_up(r, offset_ns);
}

/* ---- Windows ------------------------------------------------------------- */

static uint32_t log2_floor(uint64_t n)
{
    skl_assert(n > 0);
    return 63U - (uint32_t)__builtin_clzll(n);
}

/* The greatest count that a word has room for. */
static uint64_t count_max(const skl_limit_rule_t *r)
{
    uint32_t prev = skl_limit_prev_bits(r->shift);
    uint64_t most;

    if (r->algorithm == SECKILL_FIXED_WINDOW) {
        return (UINT64_C(1) << r->shift) - 1;
    }
    skl_assert(r->shift > prev);
    most = (UINT64_C(1) << (r->shift - prev)) - 1;
    /* a mantissa of 9 bits, the rest is the exponent */
    return most < UINT64_C(511) << ((1 << (prev - 9)) - 1)
               ? most
               : UINT64_C(511) << ((1 << (prev - 9)) - 1);
}

static int derive_window(skl_limit_rule_t *r, double limit)
{
    uint64_t units;

    if ((int64_t)r->window < WINDOW_MIN_NS ||
        (int64_t)r->window > WINDOW_MAX_NS) {
        return SECKILL_EBADOPTION;
    }
    units = r->window << SKL_LIMIT_SHIFT;
    r->interval = units;
    r->shift = log2_floor(units);
    if (r->algorithm == SECKILL_FIXED_WINDOW) {
        r->shift -= FIXED_SLACK_BITS;
    }
    if (r->algorithm == SECKILL_SLIDING_LOG) {
        r->window = units; /* a bucket of one token for each stamp */
        r->shift = 0;
        return limit <= SKL_LIMIT_LOG_MAX ? SECKILL_OK : SECKILL_EBADOPTION;
    }
    return limit <= (double)count_max(r) ? SECKILL_OK : SECKILL_EBADOPTION;
}

static int derive_count(skl_limit_rule_t *r, double limit)
{
    const int permits = r->algorithm == SECKILL_CONCURRENCY;

    if (!in_range(limit, 0, permits ? PERMITS_MAX : LIMIT_MAX) ||
        floor(limit) < limit) {
        return SECKILL_EBADOPTION;
    }
    r->limit = (uint64_t)limit;
    return permits ? SECKILL_OK : derive_window(r, limit);
}

/* ---- Merge --------------------------------------------------------------- */

static int is_bucket(uint32_t algorithm)
{
    return algorithm == SECKILL_TOKEN_BUCKET ||
           algorithm == SECKILL_LEAKY_BUCKET;
}

static int given(double v)
{
    return v < 0 || v > 0 || v != v; /* NaN is given, and refused later */
}

/* A field that belongs to another algorithm is a mistake. */
static int check_shape(const skl_limit_rule_t *r, const seckill_limit_t *l)
{
    const int bucket = given(l->rate) || given(l->burst) ||
                       l->warm_up_ns != 0 || l->warm_up_at_ns != 0 ||
                       given(l->cold_factor) ||
                       (l->zeros & (SECKILL_ZERO_BURST | SECKILL_ZERO_WARM_UP |
                                    SECKILL_ZERO_WARM_UP_AT)) != 0;
    const int leaky =
        given(l->nodelay) || l->max_delay_ns != 0 ||
        (l->zeros & (SECKILL_ZERO_NODELAY | SECKILL_ZERO_MAX_DELAY)) != 0;
    const int count = given(l->limit) || (l->zeros & SECKILL_ZERO_LIMIT) != 0;

    if (l->struct_size < sizeof(*l) || l->mode > SECKILL_LIMIT_OFF ||
        l->algorithm > SECKILL_CONCURRENCY ||
        l->zeros >= 2 * SECKILL_ZERO_WARM_UP_AT) {
        return SECKILL_EBADOPTION;
    }
    if (bucket && !is_bucket(r->algorithm)) {
        return SECKILL_EBADOPTION;
    }
    if (leaky && r->algorithm != SECKILL_LEAKY_BUCKET) {
        return SECKILL_EBADOPTION;
    }
    if (count && is_bucket(r->algorithm)) {
        return SECKILL_EBADOPTION;
    }
    return l->window_ns != 0 && (is_bucket(r->algorithm) ||
                                 r->algorithm == SECKILL_CONCURRENCY)
               ? SECKILL_EBADOPTION
               : SECKILL_OK;
}

static void merge_bucket(skl_limit_rule_t *r, const seckill_limit_t *l)
{
#define MERGE(to, from, zero)                                                  \
    if (given(l->from) || (l->zeros & (zero)) != 0) {                          \
        r->to = l->from;                                                       \
    }
    MERGE(rate, rate, 0)
    MERGE(burst, burst, SECKILL_ZERO_BURST)
    MERGE(free, nodelay, SECKILL_ZERO_NODELAY)
    MERGE(cold_factor, cold_factor, 0)
#undef MERGE
    if (l->max_delay_ns != 0 || (l->zeros & SECKILL_ZERO_MAX_DELAY) != 0) {
        r->max_delay_ns = l->max_delay_ns < 0 ? -2 : l->max_delay_ns;
    }
    if (l->warm_up_ns != 0 || (l->zeros & SECKILL_ZERO_WARM_UP) != 0) {
        r->warm_up_ns = l->warm_up_ns;
    }
    if (l->warm_up_at_ns != 0 || (l->zeros & SECKILL_ZERO_WARM_UP_AT) != 0) {
        r->warm_up_at = l->warm_up_at_ns;
    }
}

static int64_t window_ns(const skl_limit_rule_t *r)
{
    return (int64_t)(r->algorithm == SECKILL_SLIDING_LOG
                         ? r->window >> SKL_LIMIT_SHIFT
                         : r->window);
}

static int merge_count(skl_limit_rule_t *r, const seckill_limit_t *l, int fresh)
{
    double limit = (double)r->limit;

    if (l->window_ns < 0) {
        return SECKILL_EBADOPTION;
    }
    if (l->window_ns != 0 && !fresh && l->window_ns != window_ns(r)) {
        return SECKILL_ECONFLICT;
    }
    r->window = (uint64_t)(fresh ? l->window_ns : window_ns(r));
    if (given(l->limit) || (l->zeros & SECKILL_ZERO_LIMIT) != 0) {
        limit = l->limit;
    } else if (fresh) {
        return SECKILL_EBADOPTION;
    }
    return derive_count(r, limit);
}

void skl_limit_rule_init(skl_limit_rule_t *r, uint32_t algorithm)
{
    memset(r, 0, sizeof(*r));
    r->algorithm = algorithm;
    r->mode = SECKILL_LIMIT_ENFORCE;
    r->max_delay_ns = -1;
    r->cold_factor = 3;
}

int skl_limit_rule_merge(skl_limit_rule_t *r, const seckill_limit_t *limit,
                         int64_t offset_ns, int fresh)
{
    int rc = check_shape(r, limit);

    if (rc != SECKILL_OK) {
        return rc;
    }
    if (limit->mode != 0) {
        r->mode = limit->mode;
    }
    if (!is_bucket(r->algorithm)) {
        return merge_count(r, limit, fresh);
    }
    if (fresh && r->algorithm == SECKILL_TOKEN_BUCKET) {
        r->burst = limit->rate > 100 ? limit->rate / 100 : 1;
    }
    merge_bucket(r, limit);
    return derive_bucket(r, offset_ns);
}

int skl_limit_rule_make(skl_limit_rule_t *r, const seckill_limit_t *limit,
                        int64_t offset_ns)
{
    uint32_t algorithm =
        limit->algorithm == 0 ? SECKILL_TOKEN_BUCKET : limit->algorithm;

    if (algorithm > SECKILL_CONCURRENCY) {
        return SECKILL_EBADOPTION;
    }
    skl_limit_rule_init(r, algorithm);
    skl_assert(r->algorithm >= SECKILL_TOKEN_BUCKET);
    return skl_limit_rule_merge(r, limit, offset_ns, 1);
}

static void get_bucket(const skl_limit_rule_t *r, seckill_limit_t *out)
{
    out->rate = r->rate;
    out->burst = r->burst;
    out->nodelay = r->free;
    out->max_delay_ns = r->max_delay_ns < 0 ? 0 : r->max_delay_ns;
    out->warm_up_ns = r->warm_up_ns;
    out->warm_up_at_ns = r->warm_up_at;
    out->cold_factor = r->cold_factor;
    if (r->algorithm == SECKILL_LEAKY_BUCKET) {
        out->zeros |= r->burst > 0 ? 0 : SECKILL_ZERO_BURST;
        out->zeros |= r->max_delay_ns == 0 ? SECKILL_ZERO_MAX_DELAY : 0;
    }
}

void skl_limit_rule_get(const skl_limit_rule_t *r, seckill_limit_t *out)
{
    memset(out, 0, sizeof(*out));
    skl_assert(r->algorithm >= SECKILL_TOKEN_BUCKET &&
               r->algorithm <= SECKILL_CONCURRENCY);
    out->struct_size = sizeof(*out);
    out->algorithm = r->algorithm;
    out->mode = r->mode;
    if (is_bucket(r->algorithm)) {
        get_bucket(r, out);
        return;
    }
    out->limit = (double)r->limit;
    out->zeros = r->limit == 0 ? SECKILL_ZERO_LIMIT : 0;
    out->window_ns = r->algorithm == SECKILL_CONCURRENCY ? 0 : window_ns(r);
}
