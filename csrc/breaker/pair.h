/*
 * Small parts of breakers and shedders: a pair of words that changes by one
 * 16-byte compare-and-swap, the stamp of a bucket of a sliding window, and
 * numbers that exist twice. All of it is whole at any instruction: a process
 * that is killed has written a new state, or nothing.
 *
 * A pair is loaded word by word. That gives a whole pair because its first
 * word never returns to an earlier value while somebody looks: it carries a
 * generation, a serial or a time.
 *
 * Any thread of any process.
 */
#ifndef SKL_BREAKER_PAIR_H
#define SKL_BREAKER_PAIR_H

#include "base/assert.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A test puts every order of the steps of several calls here. */
#ifndef SKL_PAIR_STEP
#define SKL_PAIR_STEP()
#endif

__extension__ typedef unsigned __int128 skl_pair_word_t;

typedef union {
    _Alignas(16) struct {
        _Atomic uint64_t a, b;
    } half;
    skl_pair_word_t word;
} skl_pair_t;

/* A copy of one. */
typedef struct {
    uint64_t a, b;
} skl_two_t;

skl_static_assert(sizeof(skl_pair_t) == 16, "one compare-and-swap");

static inline skl_two_t skl_pair_load(skl_pair_t *p)
{
    skl_two_t two;

    do {
        SKL_PAIR_STEP();
        two.a = atomic_load_explicit(&p->half.a, memory_order_acquire);
        /* acquire: the check below stays behind this load */
        two.b = atomic_load_explicit(&p->half.b, memory_order_acquire);
    } while (atomic_load_explicit(&p->half.a, memory_order_relaxed) != two.a);
    return two;
}

/* 1, or 0: it is not `old` any more. */
static inline int skl_pair_swap(skl_pair_t *p, skl_two_t old, skl_two_t new)
{
    skl_pair_t from, to;

    SKL_PAIR_STEP();
    atomic_init(&from.half.a, old.a);
    atomic_init(&from.half.b, old.b);
    atomic_init(&to.half.a, new.a);
    atomic_init(&to.half.b, new.b);
    return __sync_bool_compare_and_swap(&p->word, from.word, to.word);
}

/* ---- Stamps of buckets --------------------------------------------------- */

/*
 * Which bucket of which window: generation (16 bits), scale (8 bits, changed
 * with the length of a bucket), number of the bucket (40 bits). A bucket that
 * has another stamp counts as empty, so that a new window costs nothing.
 */
enum { SKL_STAMP_BITS = 40 };

static inline uint64_t skl_stamp(uint64_t generation, uint64_t scale,
                                 uint64_t index)
{
    return (generation & 0xffff) << 48 | (scale & 0xff) << SKL_STAMP_BITS |
           (index & ((UINT64_C(1) << SKL_STAMP_BITS) - 1));
}

/* Are both of one window? If not, the later is the one whose generation and
 * scale are in force: their few bits here may have gone round. */
static inline int skl_stamp_is_same_window(uint64_t a, uint64_t b)
{
    return a >> SKL_STAMP_BITS == b >> SKL_STAMP_BITS;
}

/* Is a bucket with the stamp `of` in the window of `buckets` that ends with the
 * bucket `now`? Also one that is ahead: another process has a later time. */
static inline int skl_stamp_is_in(uint64_t of, uint64_t now, uint32_t buckets)
{
    return skl_stamp_is_same_window(of, now) &&
           (int64_t)(now - of) < (int64_t)buckets;
}

/* ---- Numbers ------------------------------------------------------------- */

enum { SKL_NUMBER_WORDS = 16 };

typedef struct {
    _Alignas(64) _Atomic uint64_t version; /* copy version & 1 is in force */
    _Alignas(64) _Atomic uint64_t word[2][SKL_NUMBER_WORDS];
} skl_numbers_t;

/* Copy the numbers in force, whole. Goes round again only when a writer has
 * published meanwhile; one that died has not. */
static inline void skl_numbers_read(skl_numbers_t *n, void *out, size_t size)
{
    uint64_t words[SKL_NUMBER_WORDS];
    uint64_t version;

    skl_assert(size % 8 == 0 && size <= sizeof(words));
    do {
        version = atomic_load_explicit(&n->version, memory_order_acquire);
        for (size_t i = 0; i < size / 8; i++) {
            words[i] = atomic_load_explicit(&n->word[version & 1][i],
                                            memory_order_acquire);
        }
    } while (atomic_load_explicit(&n->version, memory_order_relaxed) !=
             version);
    memcpy(out, words, size);
}

/* For the holder of the lock of changes. */
static inline void skl_numbers_publish(skl_numbers_t *n, const void *from,
                                       size_t size)
{
    uint64_t words[SKL_NUMBER_WORDS];
    uint64_t next = atomic_load(&n->version) + 1;

    skl_assert(size % 8 == 0 && size <= sizeof(words));
    memcpy(words, from, size);
    for (size_t i = 0; i < size / 8; i++) {
        atomic_store(&n->word[next & 1][i], words[i]);
    }
    atomic_store(&n->version, next);
}

/* A name of [a-z0-9_-]{1,max}. */
static inline int skl_name_is_valid(const char *name, size_t max)
{
    size_t len = name == NULL ? 0 : strnlen(name, max + 1);

    return len > 0 && len <= max &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

#endif
