/* SipHash-1-3, 128-bit output; see hash.h. */
#include "base/hash.h"

#include "base/assert.h"

#include <string.h>

/* The segment and the log are read as they lie in memory. */
skl_static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "byte order");

typedef struct {
    uint64_t v0, v1, v2, v3;
} sip_t;

static inline uint64_t rotl(uint64_t x, int b)
{
    return (x << b) | (x >> (64 - b));
}

static inline void sip_round(sip_t *s)
{
    s->v0 += s->v1;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v2 = rotl(s->v2, 32);
}

static inline uint64_t load_le64(const unsigned char *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof(x));
    return x;
}

/* The last `left` bytes, up to 7, of `len`; of long data with one load. */
static inline uint64_t load_tail(const unsigned char *p, size_t left,
                                 size_t len)
{
    uint64_t x = 0;

    skl_assert(left < 8 && left <= len);
    if (len >= 8) {
        return left == 0 ? 0 : load_le64(p + left - 8) >> (64 - 8 * left);
    }
    for (size_t i = 0; i < left; i++) {
        x |= (uint64_t)p[i] << (8 * i);
    }
    return x;
}

static inline uint64_t sip_finish(sip_t *s, uint64_t mark)
{
    if (mark == 0xee) {
        s->v2 ^= mark;
    } else {
        s->v1 ^= mark;
    }
    sip_round(s);
    sip_round(s);
    sip_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

skl_hash_t skl_hash128(const skl_hash_key_t *key, const void *data, size_t len)
{
    const unsigned char *p = data;
    sip_t s = {
        key->k0 ^ 0x736f6d6570736575ULL, key->k1 ^ 0x646f72616e646f6dULL ^ 0xee,
        key->k0 ^ 0x6c7967656e657261ULL, key->k1 ^ 0x7465646279746573ULL};
    uint64_t m;
    size_t left = len;
    skl_hash_t out;

    skl_assert(data != NULL || len == 0);
    for (; left >= 8; left -= 8, p += 8) {
        m = load_le64(p);
        s.v3 ^= m;
        sip_round(&s);
        s.v0 ^= m;
    }
    m = ((uint64_t)len << 56) | load_tail(p, left, len);
    s.v3 ^= m;
    sip_round(&s);
    s.v0 ^= m;
    out.lo = sip_finish(&s, 0xee);
    out.hi = sip_finish(&s, 0xdd);
    return out;
}
