/*
 * Tokens: HMAC against the vectors of RFC 4231, base64url, and every way a
 * token can be wrong. Single thread, except the last test.
 */
#include "seckill.h"

#include <pthread.h>

#include "test/support/tap.h"
#include "token/base64url.h"
#include "token/keyring.h"

#define KEY "0123456789abcdef0123456789abcdef"
#define NOW 1700000000000000000LL

static seckill_keyring_t *ring_with(uint32_t id, const char *key, size_t len)
{
    seckill_keyring_t *ring = NULL;

    CHECK_INT(SECKILL_OK, seckill_keyring_new(&ring));
    CHECK_INT(SECKILL_OK, seckill_keyring_add(ring, id, key, len));
    return ring;
}

static void set_field(char *to, uint8_t *len, const char *from)
{
    *len = (uint8_t)strlen(from);
    memcpy(to, from, *len);
}

static seckill_token_t fields(const char *item, const char *user,
                              const char *id)
{
    seckill_token_t t;

    memset(&t, 0, sizeof(t));
    t.expires_at = NOW + 1;
    set_field(t.item, &t.item_len, item);
    set_field(t.user, &t.user_len, user);
    set_field(t.id, &t.id_len, id);
    return t;
}

static void to_hex(const uint8_t *in, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++) {
        snprintf(out + 2 * i, 3, "%02x", in[i]);
    }
}

static void check_hmac(const char *key, size_t key_len, const char *data,
                       size_t len, const char *want)
{
    seckill_keyring_t *ring = ring_with(7, key, key_len);
    uint8_t mac[32];
    char hex[65];

    CHECK_INT(SECKILL_OK, seckill_hmac(ring, 7, data, len, mac));
    to_hex(mac, sizeof(mac), hex);
    CHECK_STR(want, hex);
    CHECK_INT(SECKILL_OK, seckill_hmac(ring, -1, data, len, mac));
    to_hex(mac, sizeof(mac), hex);
    CHECK_STR(want, hex);
    seckill_keyring_free(ring);
}

TEST(hmac_matches_rfc_4231)
{
    char key[131], data[152];

    memset(key, 0x0b, 20);
    check_hmac(key, 20, "Hi There", 8,
               "b0344c61d8db38535ca8afceaf0bf12b"
               "881dc200c9833da726e9376c2e32cff7");
    memset(key, 0xaa, 20);
    memset(data, 0xdd, 50);
    check_hmac(key, 20, data, 50,
               "773ea91e36800e46854db8ebd09181a7"
               "2959098b3ef8c122d9635514ced565fe");
    for (int i = 0; i < 25; i++) {
        key[i] = (char)(i + 1);
    }
    memset(data, 0xcd, 50);
    check_hmac(key, 25, data, 50,
               "82558a389a443c0ea4cc819899f2083a"
               "85f0faa3e578f8077a2e3ff46729665b");
}

/* Made with `openssl dgst -sha256 -hmac`: a key longer than a hash block. */
TEST(hmac_with_a_long_key)
{
    char key[100];

    memset(key, 'k', sizeof(key));
    check_hmac(key, sizeof(key), "data", 4,
               "09380ee4b802da2363bc96e8e0d133ba"
               "275458ea8ddbc564f986fc12b31f8cb1");
}

TEST(a_ring_refuses_bad_keys)
{
    seckill_keyring_t *ring = ring_with(1, KEY, 32);
    uint8_t mac[32];
    char key[129] = {0};

    CHECK_INT(SECKILL_EBADKEY, seckill_keyring_add(ring, 2, key, 15));
    CHECK_INT(SECKILL_EBADKEY, seckill_keyring_add(ring, 2, key, 129));
    CHECK_INT(SECKILL_EBADKEY, seckill_keyring_add(ring, 2, NULL, 32));
    CHECK_INT(SECKILL_EBADKEY, seckill_keyring_add(ring, 256, key, 16));
    CHECK_INT(SECKILL_ECONFLICT, seckill_keyring_add(ring, 1, key, 16));
    CHECK_INT(SECKILL_OK, seckill_keyring_add(ring, 255, key, 128));
    for (uint32_t id = 2; id < 16; id++) {
        CHECK_INT(SECKILL_OK, seckill_keyring_add(ring, id, key, 16));
    }
    CHECK_INT(SECKILL_EFULL, seckill_keyring_add(ring, 100, key, 16));
    CHECK_INT(SECKILL_ENOTFOUND, seckill_hmac(ring, 100, "", 0, mac));
    CHECK_INT(SECKILL_ENOTFOUND, seckill_hmac(ring, -2, "", 0, mac));
    seckill_keyring_free(ring);
    seckill_keyring_free(NULL);
}

TEST(an_empty_ring_signs_nothing)
{
    seckill_keyring_t *ring = NULL;
    seckill_token_t t = fields("item", "user", "id");
    uint8_t mac[32];
    char out[512];

    REQUIRE(seckill_keyring_new(&ring) == SECKILL_OK);
    CHECK_INT(SECKILL_ENOTFOUND, seckill_hmac(ring, -1, "a", 1, mac));
    CHECK_INT(SECKILL_EBADKEY, seckill_token_make(ring, &t, out, sizeof(out)));
    seckill_keyring_free(ring);
}

TEST(equal_looks_at_every_byte)
{
    char a[32] = {0}, b[32] = {0};

    CHECK(seckill_equal(a, b, 32));
    CHECK(seckill_equal(a, b, 0));
    for (int i = 0; i < 32; i++) {
        b[i] = 1;
        CHECK(!seckill_equal(a, b, 32));
        b[i] = 0;
    }
}

TEST(base64url_has_one_text_for_each_value)
{
    uint8_t raw[64] = {0}, back[64];
    char text[SKL_BASE64URL_LEN(64)];

    for (size_t len = 0; len <= sizeof(raw); len++) {
        size_t n;

        for (size_t i = 0; i < len; i++) {
            raw[i] = (uint8_t)(len * 37 + i * 11);
        }
        n = skl_base64url_encode(raw, len, text);
        CHECK_INT((ptrdiff_t)len,
                  skl_base64url_decode(text, n, back, sizeof(back)));
        CHECK_MEM(raw, back, len);
        CHECK(len == 0 || skl_base64url_decode(text, n, back, len - 1) == -1);
    }
}

TEST(base64url_refuses_what_it_would_not_write)
{
    static const char *const bad[] = {
        "A", "AAAAA", "AB", "AAB", "AA==", "AA+A", "AA/A", "AA A", "AA\n"};
    uint8_t out[8];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_INT(-1, skl_base64url_decode(bad[i], strlen(bad[i]), out, 8));
    }
    CHECK_INT(-1, skl_base64url_decode("AA\0A", 4, out, 8));
    CHECK_INT(-1, skl_base64url_decode("AA\xffg", 4, out, 8));
    CHECK_INT(3, skl_base64url_decode("-_-_", 4, out, 8));
}

static void check_round_trip(const seckill_token_t *t)
{
    seckill_keyring_t *ring = ring_with(3, KEY, 32);
    seckill_token_t back;
    char out[512];
    int len = seckill_token_make(ring, t, out, sizeof(out));

    REQUIRE(len > 0 && len <= 512);
    memset(&back, 0xff, sizeof(back));
    CHECK_INT(SECKILL_OK,
              seckill_token_open(ring, out, (size_t)len, NOW, &back));
    CHECK_MEM(t, &back, sizeof(back));
    CHECK_INT(SECKILL_ETOOLARGE,
              seckill_token_make(ring, t, out, (size_t)len - 1));
    CHECK_INT(len, seckill_token_make(ring, t, out, (size_t)len));
    seckill_keyring_free(ring);
}

TEST(round_trip_at_the_smallest_and_largest)
{
    seckill_token_t t = fields("i", "u", "r");

    check_round_trip(&t);
    t.item_len = t.user_len = t.id_len = 64;
    memset(t.item, 0, 64);
    memset(t.user, 0xff, 64);
    memset(t.id, 'x', 64);
    t.expires_at = INT64_MAX;
    check_round_trip(&t);
}

TEST(make_refuses_bad_fields)
{
    seckill_keyring_t *ring = ring_with(3, KEY, 32);
    seckill_token_t good = fields("item", "user", "id");
    char out[512];

    for (int i = 0; i < 4; i++) {
        seckill_token_t t = good;
        uint8_t *lens[] = {&t.item_len, &t.user_len, &t.id_len};

        if (i < 3) {
            *lens[i] = 0;
            CHECK_INT(SECKILL_EBADTOKEN,
                      seckill_token_make(ring, &t, out, 512));
            *lens[i] = 65;
        } else {
            t.expires_at = 0;
        }
        CHECK_INT(SECKILL_EBADTOKEN, seckill_token_make(ring, &t, out, 512));
    }
    seckill_keyring_free(ring);
}

TEST(a_token_ends_at_its_expiry)
{
    seckill_keyring_t *ring = ring_with(3, KEY, 32);
    seckill_token_t t = fields("item", "user", "id"), back;
    char out[512];
    int len = seckill_token_make(ring, &t, out, sizeof(out));

    REQUIRE(len > 0);
    CHECK_INT(SECKILL_OK,
              seckill_token_open(ring, out, (size_t)len, NOW, &back));
    CHECK_INT(SECKILL_ETOKENEXPIRED,
              seckill_token_open(ring, out, (size_t)len, NOW + 1, &back));
    CHECK_INT(SECKILL_ETOKENEXPIRED,
              seckill_token_open(ring, out, (size_t)len, INT64_MAX, &back));
    seckill_keyring_free(ring);
}

/* Every single bit of the text is turned over, and every length is tried. */
TEST(any_change_is_refused)
{
    seckill_keyring_t *ring = ring_with(3, KEY, 32);
    seckill_token_t t = fields("phone", "alice", "r-1"), back;
    char out[512];
    int len = seckill_token_make(ring, &t, out, 511);

    REQUIRE(len > 0);
    for (int i = 0; i < len * 8; i++) {
        out[i / 8] = (char)(out[i / 8] ^ (1 << (i % 8)));
        CHECK_INT(SECKILL_EBADTOKEN,
                  seckill_token_open(ring, out, (size_t)len, NOW, &back));
        out[i / 8] = (char)(out[i / 8] ^ (1 << (i % 8)));
    }
    out[len] = 'A';
    for (size_t n = 0; n <= (size_t)len + 1; n++) {
        CHECK_INT(n == (size_t)len ? SECKILL_OK : SECKILL_EBADTOKEN,
                  seckill_token_open(ring, out, n, NOW, &back));
    }
    seckill_keyring_free(ring);
}

/* Well signed bytes with a wrong shape: what a bug elsewhere could sign. */
static void check_signed(seckill_keyring_t *ring, uint8_t *raw, size_t len,
                         int want)
{
    char text[512];
    seckill_token_t back;
    size_t n;

    seckill_hmac(ring, -1, (char *)raw, len, raw + len);
    n = skl_base64url_encode(raw, len + SKL_MAC_SIZE, text);
    CHECK_INT(want, seckill_token_open(ring, text, n, NOW, &back));
}

TEST(a_signature_does_not_excuse_a_wrong_shape)
{
    seckill_keyring_t *ring = ring_with(3, KEY, 32);
    static const uint8_t good[16] = {1,    3,    0xff, 0xff, 0xff, 0xff,
                                     0xff, 0xff, 0xff, 0x7f, 1,    1,
                                     1,    'i',  'u',  'r'};
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {{0, 0},  {0, 2},   {1, 4},  {10, 0},  {10, 2},
                   {11, 0}, {11, 65}, {12, 0}, {12, 255}};
    uint8_t raw[17 + SKL_MAC_SIZE] = {0};

    memcpy(raw, good, sizeof(good));
    check_signed(ring, raw, 16, SECKILL_OK);
    check_signed(ring, raw, 15, SECKILL_EBADTOKEN);
    check_signed(ring, raw, 17, SECKILL_EBADTOKEN);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        memcpy(raw, good, sizeof(good));
        raw[changes[i].at] = changes[i].value;
        check_signed(ring, raw, 16, SECKILL_EBADTOKEN);
    }
    memcpy(raw, good, sizeof(good));
    raw[9] = 0x80; /* a negative expiry has passed */
    check_signed(ring, raw, 16, SECKILL_ETOKENEXPIRED);
    seckill_keyring_free(ring);
}

TEST(keys_are_rotated)
{
    seckill_keyring_t *old = ring_with(1, KEY, 32);
    seckill_keyring_t *both = ring_with(1, KEY, 32);
    seckill_keyring_t *fresh = ring_with(2, "another key, long enough", 24);
    seckill_token_t t = fields("item", "user", "id"), back;
    char a[512], b[512];
    int a_len = seckill_token_make(old, &t, a, sizeof(a));
    int b_len;

    seckill_keyring_add(both, 2, "another key, long enough", 24);
    b_len = seckill_token_make(both, &t, b, sizeof(b));
    REQUIRE(a_len > 0 && b_len > 0);
    CHECK_INT(0, seckill_token_open(both, a, (size_t)a_len, NOW, &back));
    CHECK_INT(0, seckill_token_open(both, b, (size_t)b_len, NOW, &back));
    CHECK_INT(0, seckill_token_open(fresh, b, (size_t)b_len, NOW, &back));
    CHECK_INT(SECKILL_EBADTOKEN,
              seckill_token_open(fresh, a, (size_t)a_len, NOW, &back));
    CHECK_INT(SECKILL_EBADTOKEN,
              seckill_token_open(old, b, (size_t)b_len, NOW, &back));
    seckill_keyring_free(old);
    seckill_keyring_free(both);
    seckill_keyring_free(fresh);
}

static void *make_and_open(void *ring)
{
    seckill_token_t t = fields("item", "user", "id"), back;
    char out[512];
    intptr_t bad = 0;

    for (int i = 0; i < 2000; i++) {
        int len = seckill_token_make(ring, &t, out, sizeof(out));

        bad += len <= 0 || seckill_token_open(ring, out, (size_t)len, NOW,
                                              &back) != SECKILL_OK;
    }
    return (void *)bad;
}

TEST(threads_share_a_complete_ring)
{
    seckill_keyring_t *ring = ring_with(3, KEY, 32);
    pthread_t threads[4];

    for (int i = 0; i < 4; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, make_and_open, ring) == 0);
    }
    for (int i = 0; i < 4; i++) {
        void *bad = ring;

        pthread_join(threads[i], &bad);
        CHECK(bad == NULL);
    }
    seckill_keyring_free(ring);
}

TAP_MAIN()
