/* token/jwt.c and seckill_json.c: signatures, flat claims, the cache, orders as
 * JSON. What the Lua side makes of them: spec/jwt_spec.lua, http_spec.lua. */
#include "seckill.h"
#include "test/support/tap.h"
#include "token/base64url.h"

static const char key[] = "0123456789abcdef0123456789abcdef";

static seckill_keyring_t *ring_of(const char *secret)
{
    seckill_keyring_t *ring = NULL;

    CHECK_INT(SECKILL_OK, seckill_keyring_new(&ring));
    CHECK_INT(SECKILL_OK, seckill_keyring_add(ring, 0, secret, 32));
    return ring;
}

/* header.payload.signature; the offsets as seckill_jws_open wants them. */
static size_t sign(seckill_keyring_t *ring, const char *payload, char *out,
                   size_t *at, size_t *dot)
{
    static const char head[] = "{\"alg\":\"HS256\"}";
    uint8_t mac[32];
    size_t n = skl_base64url_encode((const uint8_t *)head, strlen(head), out);

    out[n++] = '.';
    *at = n;
    n += skl_base64url_encode((const uint8_t *)payload, strlen(payload),
                              out + n);
    *dot = n;
    CHECK_INT(SECKILL_OK, seckill_hmac(ring, -1, out, n, mac));
    out[n++] = '.';
    return n + skl_base64url_encode(mac, sizeof(mac), out + n);
}

TEST(a_signed_payload_comes_out)
{
    seckill_keyring_t *ring = ring_of(key);
    char text[512];
    unsigned char out[512];
    size_t at, dot, len = sign(ring, "{\"sub\":\"a\"}", text, &at, &dot);

    CHECK_INT(11, seckill_jws_open(ring, 0, text, len, at, dot, out, 512));
    CHECK_MEM("{\"sub\":\"a\"}", out, 11);
    CHECK_INT(SECKILL_EBADTOKEN,
              seckill_jws_open(ring, 0, text, len, at, dot, out, 10));
    seckill_keyring_free(ring);
}

TEST(any_other_byte_of_the_text_is_refused)
{
    seckill_keyring_t *ring = ring_of(key);
    char text[512];
    unsigned char out[512];
    size_t at, dot, len = sign(ring, "{\"sub\":\"a\"}", text, &at, &dot);

    for (size_t i = 0; i < len; i++) {
        char was = text[i];

        text[i] = was == 'A' ? 'B' : 'A';
        CHECK_INT(SECKILL_EBADTOKEN,
                  seckill_jws_open(ring, 0, text, len, at, dot, out, 512));
        text[i] = was;
    }
    for (size_t cut = 0; cut < len; cut++) {
        CHECK_INT(SECKILL_EBADTOKEN,
                  seckill_jws_open(ring, 0, text, cut, at, dot, out, 512));
    }
    seckill_keyring_free(ring);
}

TEST(another_key_is_refused)
{
    seckill_keyring_t *ring = ring_of(key);
    seckill_keyring_t *other = ring_of("another key of thirty-two bytes!");
    char text[512];
    unsigned char out[512];
    size_t at, dot, len = sign(other, "{\"sub\":\"a\"}", text, &at, &dot);

    CHECK_INT(SECKILL_EBADTOKEN,
              seckill_jws_open(ring, 0, text, len, at, dot, out, 512));
    CHECK_INT(SECKILL_EBADTOKEN,
              seckill_jws_open(other, 9, text, len, at, dot, out, 512));
    seckill_keyring_free(ring);
    seckill_keyring_free(other);
}

static int claims(const char *json, seckill_claims_t *out)
{
    return seckill_jwt_claims((const unsigned char *)json, strlen(json), "sub",
                              3, out);
}

TEST(flat_claims_are_read)
{
    seckill_claims_t c;

    CHECK_INT(SECKILL_OK,
              claims("{\"iss\":\"x\",\"sub\":\"alice\",\"exp\":1795233893,"
                     "\"nbf\":0,\"n\":1}",
                     &c));
    CHECK_INT(5, c.user_len);
    CHECK_MEM("alice", c.user, 5);
    CHECK(c.has_exp && c.exp == 1795233893.0);
    CHECK(c.has_nbf && c.nbf == 0.0);
    CHECK_INT(SECKILL_OK, claims("{\"sub\":\"a\",\"sub\":\"bob\"}", &c));
    CHECK_INT(3, c.user_len); /* the last one counts */
    CHECK(!c.has_exp && !c.has_nbf);
}

TEST(what_is_not_flat_is_left_to_the_parser)
{
    static const char *const cases[] = {
        "",
        "{",
        "{}",
        "[]",
        "{\"sub\"",
        "{\"sub\":",
        "{\"sub\":\"a\"",
        "{\"sub\":\"a\"} ",
        "{ \"sub\":\"a\"}",
        "{\"sub\":\"a\",}",
        "{\"sub\":\"\"}",
        "{\"sub\":\"a\\n\"}",
        "{\"sub\":\"\xc3\xa9\"}",
        "{\"sub\":1}",
        "{\"sub\":\"a\",\"exp\":\"1\"}",
        "{\"sub\":\"a\",\"exp\":1.5}",
        "{\"sub\":\"a\",\"exp\":-1}",
        "{\"sub\":\"a\",\"exp\":01}",
        "{\"sub\":\"a\",\"exp\":1234567890123456}",
        "{\"sub\":\"a\",\"x\":[]}",
        "{\"sub\":\"a\",\"x\":null}",
        "{\"sub\":\"a\"}{}",
    };
    seckill_claims_t c;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_INT(SECKILL_EBADVALUE, claims(cases[i], &c));
    }
}

TEST(a_user_of_65_bytes_is_left_to_the_parser)
{
    char json[128];
    seckill_claims_t c;

    (void)snprintf(json, sizeof(json), "{\"sub\":\"%064d\"}", 7);
    CHECK_INT(SECKILL_OK, claims(json, &c));
    CHECK_INT(64, c.user_len);
    (void)snprintf(json, sizeof(json), "{\"sub\":\"%065d\"}", 7);
    CHECK_INT(SECKILL_EBADVALUE, claims(json, &c));
}

TEST(the_cache_is_bounded_and_keeps_what_is_used)
{
    seckill_jwt_cache_t *cache = NULL;
    seckill_claims_t c = {.user_len = 1, .user = "u"}, got;
    char text[32];

    CHECK_INT(SECKILL_EBADOPTION, seckill_jwt_cache_new(1, &cache));
    CHECK_INT(SECKILL_EBADOPTION, seckill_jwt_cache_new(1U << 25, &cache));
    CHECK_INT(SECKILL_OK, seckill_jwt_cache_new(16, &cache));
    CHECK_INT(0, seckill_jwt_cache_get(cache, "busy", 4, &got));
    seckill_jwt_cache_put(cache, "busy", 4, &c);
    for (int i = 0; i < 1000; i++) {
        int len = snprintf(text, sizeof(text), "text-%d", i);

        c.exp = i;
        seckill_jwt_cache_put(cache, text, (size_t)len, &c);
        CHECK_INT(1, seckill_jwt_cache_get(cache, text, (size_t)len, &got));
        CHECK(got.exp == (double)i);
        CHECK_INT(1, seckill_jwt_cache_get(cache, "busy", 4, &got));
        CHECK(got.exp == 0.0);
        CHECK(seckill_jwt_cache_used(cache) <= 16);
    }
    CHECK(seckill_jwt_cache_used(cache) >= 12);
    seckill_jwt_cache_free(cache);
}

TEST(the_short_way_takes_known_headers_only)
{
    seckill_keyring_t *ring = ring_of(key);
    seckill_jwt_cache_t *cache = NULL;
    seckill_claims_t c;
    char text[512] = "Bearer ";
    size_t at, dot, len = sign(ring, "{\"sub\":\"bob\"}", text + 7, &at, &dot);

#define ASK(l) seckill_jwt_bearer(cache, ring, text, l, "sub", 3, &c)
    CHECK_INT(SECKILL_OK, seckill_jwt_cache_new(16, &cache));
    CHECK_INT(SECKILL_EBADVALUE, ASK(7 + len)); /* no header is known */
    seckill_jwt_accept(cache, text + 7, at - 1, 0);
    CHECK_INT(SECKILL_OK, ASK(7 + len));
    CHECK_MEM("bob", c.user, 3);
    for (size_t cut = 0; cut < 7 + len; cut++) {
        CHECK(ASK(cut) < 0);
    }
    text[7 + dot - 1] ^= 1;
    CHECK_INT(SECKILL_EBADTOKEN, ASK(7 + len));
    text[7 + dot - 1] ^= 1;
    text[0] = 'b';
    CHECK_INT(SECKILL_EBADVALUE, ASK(7 + len));
    text[0] = 'B';
    seckill_jwt_cache_put(cache, text, 7 + len, &c);
    CHECK_INT(1, ASK(7 + len));
#undef ASK
    seckill_jwt_cache_free(cache);
    seckill_keyring_free(ring);
}

static seckill_reservation_t order(const char *item)
{
    seckill_reservation_t r = {.qty = 2,
                               .remaining = 9007199254740991LL,
                               .expires_at = 1795233893075999999LL,
                               .state = SECKILL_STATE_RESERVED,
                               .id_len = 5,
                               .user_len = 5};

    r.item_len = (uint8_t)strlen(item);
    memcpy(r.item, item, r.item_len);
    memcpy(r.id, "1-2-3", 5);
    memcpy(r.user, "alice", 5);
    return r;
}

TEST(an_order_is_written_as_json)
{
    seckill_reservation_t r = order("a\"b\\c\n\x7f\xc3\xa9");
    char out[1536];
    int n = seckill_order_json(&r, NULL, out, sizeof(out));
    const char *want = "{\"id\":\"1-2-3\",\"item\":\"a\\\"b\\\\c\\u000a\\u007f"
                       "\xc3\xa9\",\"qty\":2,\"state\":\"reserved\","
                       "\"remaining\":9007199254740991,"
                       "\"expires_at\":1795233893.075}\n";

    CHECK_INT((int)strlen(want), n);
    CHECK_MEM(want, out, strlen(want));
    for (int size = 0; size < n; size++) {
        CHECK_INT(SECKILL_ETOOLARGE,
                  seckill_order_json(&r, NULL, out, (size_t)size));
    }
    r.state = 77;
    CHECK_INT(SECKILL_EBADVALUE,
              seckill_order_json(&r, NULL, out, sizeof(out)));
}

TEST(the_longest_order_fits_and_its_token_opens)
{
    seckill_keyring_t *ring = ring_of(key);
    seckill_reservation_t r = order("x");
    seckill_token_t t;
    char out[1536], *at;
    int n;

    r.item_len = r.user_len = r.id_len = 64;
    memset(r.item, 1, 64); /* each byte is six as JSON */
    memset(r.user, 'u', 64);
    memset(r.id, '1', 64);
    n = seckill_order_json(&r, ring, out, sizeof(out));
    REQUIRE(n > 0 && n < 1536);
    out[n] = '\0';
    at = strstr(out, "\"token\":\"");
    REQUIRE(at != NULL);
    at += 9;
    CHECK_INT(SECKILL_OK,
              seckill_token_open(ring, at, strcspn(at, "\""), 1, &t));
    CHECK_MEM(r.user, t.user, 64);
    CHECK(t.expires_at == r.expires_at);
    seckill_keyring_free(ring);
}

TAP_MAIN()
