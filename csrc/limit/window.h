/*
 * Windows in the one word of a slot. Pure; any thread.
 *
 * Whatever the algorithm, a word read as an instant must be past when the slot
 * is as good as new: only then the table reuses it, and the table does not
 * know whose slot it is. So a window's word is the instant at which it is
 * over, in its upper bits, and counts below:
 *
 *   fixed    | end of the window          | count                     |
 *   sliding  | end of the window after it | count before | count      |
 *              64 - shift bits              shift bits
 *
 * The lower bits of the instant that give way are fewer than the window is
 * long (fixed: by 2^10; it ends later by that), so words of different windows
 * differ, and are compared modulo 2^64 as everywhere.
 *
 * Sliding: windows are [k * W, (k + 1) * W) of the limiters' clock. A take of
 * n in window k, with e of it gone, passes iff
 *
 *     prev * (W - e) / W + count + n <= limit
 *
 * compared exactly, in 128 bits; prev is the count of window k - 1 with 9
 * significant bits, rounded up. A process whose clock is behind judges as at
 * the beginning of the window that the word has.
 */
#ifndef SKL_LIMIT_WINDOW_H
#define SKL_LIMIT_WINDOW_H

#include "limit/rule.h"

#include <stdint.h>

/* A question to a word, and what a window answers. */
typedef struct {
    uint64_t next; /* the word after an admission */
    uint64_t remaining;
    int64_t retry_ns; /* -1: never */
    int64_t reset_ns;
} skl_window_t;

/* SECKILL_OK or EREJECTED, for n more at now_ns. */
int skl_window_judge(const skl_limit_rule_t *r, uint64_t word, uint64_t n,
                     int64_t now_ns, skl_window_t *out);
/* The word of a window that is used up, at now_ns. */
uint64_t skl_window_spent(const skl_limit_rule_t *r, int64_t now_ns);
/* The counts of `more`, which came to `from` since it was read, in `word`
 * as well. */
uint64_t skl_window_join(const skl_limit_rule_t *r, uint64_t word,
                         uint64_t from, uint64_t more);
/* n less, where the word is still the window of `id`, and current; else 0. */
int skl_window_take_back(const skl_limit_rule_t *r, uint64_t word, uint64_t id,
                         uint64_t n, int64_t now_ns, uint64_t *out);
/* n less, or all that is left of its current window; 0: nothing is. */
int skl_window_give(const skl_limit_rule_t *r, uint64_t word, uint64_t n,
                    int64_t now_ns, uint64_t *out);

static inline uint64_t skl_window_id(const skl_limit_rule_t *r, uint64_t word)
{
    return word >> r->shift;
}

#endif
