/*
 * Keyed 128-bit hash for the tables: SipHash-1-3 with 128-bit output
 * (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012; the 1-3
 * rounds as in the Linux kernel's and Rust's tables). The key is random for
 * each segment and secret, so nobody outside can aim for one bucket, and two
 * different ids are taken for the same with probability 2^-128.
 * Any thread.
 */
#ifndef SKL_BASE_HASH_H
#define SKL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t lo, hi;
} skl_hash_t;

typedef struct {
    uint64_t k0, k1;
} skl_hash_key_t;

skl_hash_t skl_hash128(const skl_hash_key_t *key, const void *data, size_t len);

/* Store a hash that a function returned. For an assignment of the struct gcc
 * writes two words to the stack and loads them as one. That load cannot be
 * served from the store buffer: it waits until all stores before it have left
 * that, and some of them are to cold rows. */
static inline void skl_hash_store(skl_hash_t *to, skl_hash_t from)
{
    __asm__("" : "+r"(from.lo), "+r"(from.hi)); /* two words, not a struct */
    to->lo = from.lo;
    to->hi = from.hi;
}

/* Map a hash word to [0, n) without a division (Lemire, 2016). */
static inline uint32_t skl_hash_range(uint64_t h, uint32_t n)
{
    return (uint32_t)(((h >> 32) * n) >> 32);
}

/* A bijective mixer (the finalizer of MurmurHash3). */
static inline uint64_t skl_mix64(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    x ^= x >> 33;
    return x;
}

/* A number for a layout in shared memory: the sizes and offsets in it, and a
 * format for what they do not tell. */
static inline uint64_t skl_mix_parts(uint64_t format, const uint64_t *parts,
                                     size_t n)
{
    uint64_t mix = format;

    for (size_t i = 0; i < n; i++) {
        mix = skl_mix64(mix ^ parts[i]) + i;
    }
    return mix;
}

#endif
