/* See window.h. */
#include "limit/window.h"

#include "base/assert.h"

__extension__ typedef unsigned __int128 u128_t;

/* A sliding window's word, taken apart, as of now. */
typedef struct {
    uint64_t id; /* of the window, shifted into place */
    uint64_t prev, count;
    uint64_t elapsed; /* ns of the window */
    uint64_t ahead;   /* ns until it begins, by a clock that is behind */
} parts_t;

static inline uint64_t low_bits(uint32_t n)
{
    return (UINT64_C(1) << n) - 1;
}

static inline int64_t to_ns(uint64_t units)
{
    return (int64_t)((units + low_bits(SKL_LIMIT_SHIFT)) >> SKL_LIMIT_SHIFT);
}

/* ---- Fixed --------------------------------------------------------------- */

static int judge_fixed(const skl_limit_rule_t *r, uint64_t word, uint64_t n,
                       uint64_t now, skl_window_t *out)
{
    const uint64_t below = low_bits(r->shift);
    uint64_t end = word & ~below;
    uint64_t count = word & below;

    if ((int64_t)(end - now) <= 0) {
        end = (now + r->interval + below) & ~below;
        count = 0;
    }
    out->reset_ns = count == 0 && n == 0 ? 0 : to_ns(end - now);
    if (n > r->limit || count > r->limit - n) {
        out->retry_ns = n > r->limit ? -1 : to_ns(end - now);
        return SECKILL_EREJECTED;
    }
    out->remaining = r->limit - count - n;
    out->next = end + count + n;
    return SECKILL_OK;
}

/* ---- Sliding ------------------------------------------------------------- */

/* 9 significant bits and an exponent, never less than n. */
static uint64_t encode(uint64_t n)
{
    uint64_t e = 0;

    while (n > 511) {
#ifdef MUTANT_LIMIT_PREV_DOWN
        n = n / 2;
#else
        n = (n + 1) / 2;
#endif
        e++;
    }
    return e << 9 | n;
}

static inline uint64_t decode(uint64_t code)
{
    return (code & 511) << (code >> 9);
}

/* The instant of a word of window k. */
static inline uint64_t id_of(const skl_limit_rule_t *r, uint64_t k)
{
    const uint64_t below = low_bits(r->shift);
    uint64_t over = ((k + 2) * r->window) << SKL_LIMIT_SHIFT;

    skl_assert(r->shift > skl_limit_prev_bits(r->shift) && r->shift < 64);
    return (over + below) & ~below;
}

static void split(const skl_limit_rule_t *r, uint64_t word, uint64_t now_ns,
                  parts_t *p)
{
    const uint32_t bits = r->shift - skl_limit_prev_bits(r->shift);
    const uint64_t k = now_ns / r->window;
    const uint64_t id = word & ~low_bits(r->shift);
    const uint64_t width = r->window << SKL_LIMIT_SHIFT;
    int64_t behind;

    skl_assert(r->window > 0);
    p->id = id_of(r, k);
    p->elapsed = now_ns - k * r->window;
    p->prev = 0;
    p->count = 0;
    p->ahead = 0;
    behind = (int64_t)(p->id - id);
    if (behind < 0) {
        uint64_t n = (uint64_t)-behind / width;

        n += id_of(r, k + n) != id; /* ids are off by less than a window */
        p->ahead = n * r->window - p->elapsed;
        p->elapsed = 0;
    }
    if (behind <= 0) {
        p->prev = decode((word & low_bits(r->shift)) >> bits);
        p->count = word & low_bits(bits);
        p->id = id;
    } else if (id == id_of(r, k - 1)) {
        p->prev = decode(encode(word & low_bits(bits)));
    }
}

static inline uint64_t join(const skl_limit_rule_t *r, const parts_t *p)
{
    const uint32_t bits = r->shift - skl_limit_prev_bits(r->shift);

    skl_assert(p->count <= low_bits(bits));
    return p->id + (encode(p->prev) << bits) + p->count;
}

/* prev * (W - e) <= room * W */
static inline int fits(const skl_limit_rule_t *r, uint64_t prev,
                       uint64_t elapsed, uint64_t room)
{
    return (u128_t)prev * (r->window - elapsed) <= (u128_t)room * r->window;
}

/* The least e with prev * (W - e) <= room * W. */
static uint64_t fits_from(const skl_limit_rule_t *r, uint64_t prev,
                          uint64_t room)
{
    if (prev <= room) {
        return 0;
    }
    return r->window - (uint64_t)((u128_t)room * r->window / prev);
}

/* How long until n more would pass. */
static int64_t sliding_retry(const skl_limit_rule_t *r, const parts_t *p,
                             uint64_t n)
{
    if (n > r->limit) {
        return -1;
    }
    if (p->count + n <= r->limit) {
        uint64_t from = fits_from(r, p->prev, r->limit - p->count - n);

        if (from < r->window) {
            return (int64_t)(from - p->elapsed);
        }
    }
    return (int64_t)(r->window - p->elapsed +
                     fits_from(r, decode(encode(p->count)), r->limit - n));
}

static int64_t sliding_reset(const skl_limit_rule_t *r, const parts_t *p,
                             uint64_t n)
{
    if (p->count + n > 0) {
        return (int64_t)(2 * r->window - p->elapsed);
    }
    return p->prev > 0 ? (int64_t)(r->window - p->elapsed) : 0;
}

static uint64_t sliding_remaining(const skl_limit_rule_t *r, const parts_t *p,
                                  uint64_t room)
{
    uint64_t w = p->prev == 0
                     ? 0
                     : (uint64_t)(((u128_t)p->prev * (r->window - p->elapsed) +
                                   r->window - 1) /
                                  r->window);

    return room > w ? room - w : 0;
}

static int judge_sliding(const skl_limit_rule_t *r, uint64_t word, uint64_t n,
                         uint64_t now_ns, skl_window_t *out)
{
    parts_t p;

    split(r, word, now_ns, &p);
    if (n > r->limit || p.count > r->limit - n ||
        !fits(r, p.prev, p.elapsed, r->limit - p.count - n)) {
        out->retry_ns = sliding_retry(r, &p, n);
        out->retry_ns += out->retry_ns < 0 ? 0 : (int64_t)p.ahead;
        out->reset_ns = sliding_reset(r, &p, 0) + (int64_t)p.ahead;
        return SECKILL_EREJECTED;
    }
    out->remaining = sliding_remaining(r, &p, r->limit - p.count - n);
    out->reset_ns = sliding_reset(r, &p, n) + (int64_t)p.ahead;
    p.count += n;
    out->next = join(r, &p);
    return SECKILL_OK;
}

/* ---- Both ---------------------------------------------------------------- */

static inline int is_sliding(const skl_limit_rule_t *r)
{
    return r->algorithm == SECKILL_SLIDING_WINDOW;
}

int skl_window_judge(const skl_limit_rule_t *r, uint64_t word, uint64_t n,
                     int64_t now_ns, skl_window_t *out)
{
    skl_assert(r->window > 0 && r->shift > 0);
    return is_sliding(r)
               ? judge_sliding(r, word, n, (uint64_t)now_ns, out)
               : judge_fixed(r, word, n, (uint64_t)now_ns << SKL_LIMIT_SHIFT,
                             out);
}

uint64_t skl_window_spent(const skl_limit_rule_t *r, int64_t now_ns)
{
    skl_window_t w = {0};
    parts_t p;

    if (!is_sliding(r)) {
        (void)judge_fixed(r, (uint64_t)now_ns << SKL_LIMIT_SHIFT, 0,
                          (uint64_t)now_ns << SKL_LIMIT_SHIFT, &w);
        return w.next + r->limit;
    }
    split(r, (uint64_t)now_ns << SKL_LIMIT_SHIFT, (uint64_t)now_ns, &p);
    p.count = r->limit;
    return join(r, &p);
}

/* Bits of the current count. */
static inline uint64_t count_mask(const skl_limit_rule_t *r)
{
    return low_bits(is_sliding(r) ? r->shift - skl_limit_prev_bits(r->shift)
                                  : r->shift);
}

uint64_t skl_window_join(const skl_limit_rule_t *r, uint64_t word,
                         uint64_t from, uint64_t more)
{
    const uint64_t mask = count_mask(r);
    uint64_t add = more & mask;

    if (skl_window_id(r, from) == skl_window_id(r, more)) {
        add -= from & mask;
    }
    if ((word & mask) + add > mask) {
        return word | mask;
    }
    return word + add;
}

/* Is the window of a word still the current one? */
static int is_current(const skl_limit_rule_t *r, uint64_t word, int64_t now_ns)
{
    const uint64_t end = word & ~low_bits(r->shift);

    if (is_sliding(r)) {
        return (int64_t)(end - id_of(r, (uint64_t)now_ns / r->window)) >= 0;
    }
    return (int64_t)(end - ((uint64_t)now_ns << SKL_LIMIT_SHIFT)) > 0;
}

int skl_window_take_back(const skl_limit_rule_t *r, uint64_t word, uint64_t id,
                         uint64_t n, int64_t now_ns, uint64_t *out)
{
    *out = word - n;
    return skl_window_id(r, word) == id && (word & count_mask(r)) >= n &&
           is_current(r, word, now_ns);
}

int skl_window_give(const skl_limit_rule_t *r, uint64_t word, uint64_t n,
                    int64_t now_ns, uint64_t *out)
{
    const uint64_t count = word & count_mask(r);

    if (count == 0 || !is_current(r, word, now_ns)) {
        return 0;
    }
    *out = word - (n < count ? n : count);
    return 1;
}
