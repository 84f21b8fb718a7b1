/*
 * The keyed hash, against a second implementation written from the paper:
 * byte by byte, for any number of rounds, so that it can itself be checked
 * with the published vectors of SipHash-2-4-128 before it judges 1-3.
 */
#include "base/hash.h"
#include "test/support/tap.h"

typedef struct {
    uint64_t v[4];
} state_t;

static uint64_t turn(uint64_t x, unsigned n)
{
    return (x << n) | (x >> (64 - n));
}

static void rounds(state_t *s, int n)
{
    uint64_t *v = s->v;

    while (n-- > 0) {
        v[0] += v[1], v[2] += v[3];
        v[1] = turn(v[1], 13), v[3] = turn(v[3], 16);
        v[1] ^= v[0], v[3] ^= v[2];
        v[0] = turn(v[0], 32);
        v[2] += v[1], v[0] += v[3];
        v[1] = turn(v[1], 17), v[3] = turn(v[3], 21);
        v[1] ^= v[2], v[3] ^= v[0];
        v[2] = turn(v[2], 32);
    }
}

static uint64_t word(const unsigned char *p)
{
    uint64_t x = 0;

    for (int i = 7; i >= 0; i--) {
        x = x << 8 | p[i];
    }
    return x;
}

static uint64_t fold(const state_t *s)
{
    return s->v[0] ^ s->v[1] ^ s->v[2] ^ s->v[3];
}

/* SipHash-c-d with 128 bits of output, of at most 1000 bytes. */
static skl_hash_t reference(int c, int d, const skl_hash_key_t *key,
                            const void *data, size_t len)
{
    static const char magic[] = "somepseudorandomlygeneratedbytes";
    unsigned char padded[1024] = {0};
    size_t words = len / 8 + 1;
    state_t s;
    skl_hash_t out;

    /* The constants are this text, read as big-endian words. */
    for (int i = 0; i < 4; i++) {
        s.v[i] = __builtin_bswap64(word((const unsigned char *)magic + 8 * i));
        s.v[i] ^= i % 2 == 0 ? key->k0 : key->k1;
    }
    s.v[1] ^= 0xee;
    if (len > 0) {
        memcpy(padded, data, len);
    }
    padded[8 * words - 1] = (unsigned char)(len & 0xff);
    for (size_t i = 0; i < words; i++) {
        s.v[3] ^= word(padded + 8 * i);
        rounds(&s, c);
        s.v[0] ^= word(padded + 8 * i);
    }
    s.v[2] ^= 0xee;
    rounds(&s, d);
    out.lo = fold(&s);
    s.v[1] ^= 0xdd;
    rounds(&s, d);
    out.hi = fold(&s);
    return out;
}

/* vectors_sip128 of the authors' reference code: key 00..0f, data 00, 01, .. */
static const unsigned char published[4][16] = {
    {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14,
     0xc7, 0x55, 0x02, 0x93},
    {0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11,
     0x9b, 0x22, 0xfc, 0x45},
    {0x81, 0x77, 0x22, 0x8d, 0xa4, 0xa4, 0x5d, 0xc7, 0xfc, 0xa3, 0x8b, 0xde,
     0xf6, 0x0a, 0xff, 0xe4},
    {0x9c, 0x70, 0xb6, 0x0c, 0x52, 0x67, 0xa9, 0x4e, 0x5f, 0x33, 0xb6, 0xb0,
     0x29, 0x85, 0xed, 0x51},
};

static const skl_hash_key_t usual_key = {0x0706050403020100ULL,
                                         0x0f0e0d0c0b0a0908ULL};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

TEST(the_reference_gives_the_published_vectors)
{
    const unsigned char data[4] = {0, 1, 2, 3};

    for (size_t len = 0; len < 4; len++) {
        skl_hash_t h = reference(2, 4, &usual_key, data, len);

        CHECK(h.lo == word(published[len]));
        CHECK(h.hi == word(published[len] + 8));
    }
}

TEST(the_hash_is_siphash_1_3_128_at_every_length_and_alignment)
{
    unsigned char data[300];

    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)(i * 7 + 1);
    }
    for (size_t len = 0; len < 280; len++) {
        for (size_t at = 0; at < 9; at++) {
            skl_hash_t a = skl_hash128(&usual_key, data + at, len);
            skl_hash_t b = reference(1, 3, &usual_key, data + at, len);

            CHECK(a.lo == b.lo && a.hi == b.hi);
        }
    }
}

TEST(random_keys_and_data_agree_with_the_reference)
{
    uint64_t seed = tap_seed(20261);
    uint64_t data[16];

    for (int i = 0; i < 2000; i++) {
        skl_hash_key_t key = {next_random(&seed), next_random(&seed)};
        size_t len = next_random(&seed) % (sizeof(data) + 1);
        skl_hash_t a, b;

        for (size_t k = 0; k < 16; k++) {
            data[k] = next_random(&seed);
        }
        a = skl_hash128(&key, data, len);
        b = reference(1, 3, &key, data, len);
        CHECK(a.lo == b.lo && a.hi == b.hi);
    }
}

/* Flip each input bit: each output bit must change about every second time. */
TEST(one_input_bit_changes_half_of_the_output)
{
    enum { SAMPLES = 100, BITS = 128 };
    static int changed[BITS];
    uint64_t seed = tap_seed(77);

    memset(changed, 0, sizeof(changed));
    for (int n = 0; n < SAMPLES; n++) {
        uint64_t data[2] = {next_random(&seed), next_random(&seed)};
        skl_hash_t a = skl_hash128(&usual_key, data, sizeof(data));

        for (int bit = 0; bit < BITS; bit++) {
            skl_hash_t b;

            data[bit / 64] ^= 1ULL << (bit % 64);
            b = skl_hash128(&usual_key, data, sizeof(data));
            data[bit / 64] ^= 1ULL << (bit % 64);
            for (int out = 0; out < 64; out++) {
                changed[out] += (int)((a.lo ^ b.lo) >> out & 1);
                changed[64 + out] += (int)((a.hi ^ b.hi) >> out & 1);
            }
        }
    }
    for (int out = 0; out < BITS; out++) {
        CHECK(changed[out] > SAMPLES * BITS * 45 / 100);
        CHECK(changed[out] < SAMPLES * BITS * 55 / 100);
    }
}

TEST(another_key_gives_another_hash)
{
    skl_hash_key_t key = usual_key;
    skl_hash_t a = skl_hash128(&key, "user-1", 6);

    for (int bit = 0; bit < 128; bit++) {
        skl_hash_t b;

        *(bit < 64 ? &key.k0 : &key.k1) ^= 1ULL << (bit % 64);
        b = skl_hash128(&key, "user-1", 6);
        *(bit < 64 ? &key.k0 : &key.k1) ^= 1ULL << (bit % 64);
        CHECK(a.lo != b.lo);
        CHECK(a.hi != b.hi);
    }
}

TEST(nul_bytes_and_length_count)
{
    skl_hash_t a = skl_hash128(&usual_key, "a", 1);
    skl_hash_t b = skl_hash128(&usual_key, "a\0", 2);
    skl_hash_t c = skl_hash128(&usual_key, "", 0);

    CHECK(a.lo != b.lo);
    CHECK(a.lo != c.lo);
}

TEST(range_stays_inside_and_reaches_both_ends)
{
    const uint32_t sizes[] = {1, 2, 3, 7, 64, 1000, 0xffffffffU};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        CHECK_INT(0, skl_hash_range(0, sizes[i]));
        CHECK_INT(sizes[i] - 1, skl_hash_range(UINT64_MAX, sizes[i]));
    }
}

TEST(range_spreads_evenly)
{
    enum { BUCKETS = 10, SAMPLES = 50000 };
    int count[BUCKETS] = {0};
    uint64_t seed = 5;

    for (int i = 0; i < SAMPLES; i++) {
        count[skl_hash_range(next_random(&seed), BUCKETS)]++;
    }
    for (int i = 0; i < BUCKETS; i++) {
        CHECK(count[i] > SAMPLES / BUCKETS * 9 / 10);
        CHECK(count[i] < SAMPLES / BUCKETS * 11 / 10);
    }
}

/* Undo the steps of the mixer: what can be undone is bijective. */
static uint64_t unmix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0x9cb4b2f8129337dbULL; /* the inverse modulo 2^64 */
    x ^= x >> 33;
    x *= 0x4f74430c22a54005ULL;
    x ^= x >> 33;
    return x;
}

TEST(the_mixer_is_bijective)
{
    uint64_t seed = tap_seed(3);

    CHECK(skl_mix64(0) == 0);
    CHECK(0xff51afd7ed558ccdULL * 0x4f74430c22a54005ULL == 1);
    CHECK(0xc4ceb9fe1a85ec53ULL * 0x9cb4b2f8129337dbULL == 1);
    for (int i = 0; i < 10000; i++) {
        uint64_t x = next_random(&seed);

        CHECK(unmix(skl_mix64(x)) == x);
    }
}

TAP_MAIN()
