/* See gauge.h. */
#include "breaker/gauge.h"

#include "base/assert.h"

#define KEEP 0.95 /* of the mean, each period */
#define ONE ((double)(1 << SHARE_BITS) / 2)

enum { SHARE_BITS = 20, MS = 1000000 };

skl_static_assert(sizeof(skl_gauge_t) == 64, "one cache line");

static double share_of(uint64_t word)
{
    return (double)(word & ((1U << SHARE_BITS) - 1)) / ONE;
}

/* KEEP to the power of age / period; between whole periods a straight line. */
static double keep_for(int64_t age_ns)
{
    double keep = 1;

    skl_assert(age_ns >= 0 && age_ns <= SKL_GAUGE_STALE_NS);
    for (; age_ns >= SKL_GAUGE_PERIOD_NS; age_ns -= SKL_GAUGE_PERIOD_NS) {
        keep *= KEEP;
    }
    return keep * (1 - (1 - KEEP) * (double)age_ns / SKL_GAUGE_PERIOD_NS);
}

static int64_t age_of(uint64_t word, int64_t now_ns)
{
    int64_t age = now_ns - (int64_t)(word >> SHARE_BITS) * MS;

    return age < 0 ? 0 : age;
}

void skl_gauge_feed(skl_gauge_t *g, double share, int64_t now_ns)
{
    uint64_t word = atomic_load(&g->word);
    int64_t age = age_of(word, now_ns);
    double keep;

    skl_assert(now_ns >= MS);
    share = share >= 0 ? share : 0; /* also NaN */
    share = share <= 1 ? share : 1;
    if (word != 0 && age <= SKL_GAUGE_STALE_NS) {
        keep = keep_for(age);
        share = keep * share_of(word) + (1 - keep) * share;
    }
    atomic_store(&g->word, (uint64_t)(now_ns / MS) << SHARE_BITS |
                               (uint64_t)(share * ONE + 0.999));
    atomic_fetch_add_explicit(&g->samples, 1, memory_order_relaxed);
}

double skl_gauge_read(skl_gauge_t *g, int64_t now_ns)
{
    uint64_t word = atomic_load_explicit(&g->word, memory_order_relaxed);

    if (word == 0 || age_of(word, now_ns) > SKL_GAUGE_STALE_NS) {
        atomic_fetch_add_explicit(&g->stale_reads, 1, memory_order_relaxed);
        return -1;
    }
    return share_of(word);
}

double skl_gauge_peek(const skl_gauge_t *g, int64_t now_ns, int64_t *age_ns)
{
    uint64_t word = atomic_load_explicit(&g->word, memory_order_relaxed);

    *age_ns = word == 0 ? -1 : age_of(word, now_ns);
    return word == 0 ? -1 : share_of(word);
}
