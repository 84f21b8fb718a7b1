/* Hot keys of the public API: names for what limit/hot.c found. */
#include "base/assert.h"
#include "base/clock.h"
#include "seckill.h"
#include "seckill_internal.h"

#include <string.h>

/* An index of shared memory is not believed. */
static int fill(const skl_limits_t *l, const skl_hot_key_t *from,
                seckill_hot_key_t *out)
{
    const char *name = skl_limits_name(l, from->limiter);

    if (name == NULL) {
        return 0;
    }
    memset(out, 0, sizeof(*out));
    memcpy(out->key, from->key, sizeof(out->key));
    out->key_len = from->key_len;
    out->limiter = name;
    out->rate = from->rate;
    out->share = from->share;
    return 1;
}

int seckill_hot_keys(seckill_t *sk, seckill_hot_key_t *out, int max)
{
    skl_hot_key_t keys[SKL_HOT_KEYS];
    int found = skl_hot_top(&sk->hot, skl_clock_mono_ns(), keys, max);
    int n = 0;

    skl_assert(found <= SKL_HOT_KEYS);
    for (int i = 0; i < found; i++) {
        n += fill(&sk->limits, &keys[i], &out[n]);
    }
    return n;
}
