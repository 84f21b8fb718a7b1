/*
 * Bearer tokens: signature, claims and the cache of verified ones.
 *
 * A token is a compact JWS (RFC 7515, 7.1): header.payload.signature, each in
 * base64url. What the header says is judged by the caller; here the signature
 * (HS256) is checked over the text and the payload decoded.
 *
 * A payload as issuers write it is flat: strings without escapes and whole
 * numbers. Such a one is read in place. Everything else, right or wrong, is
 * left to a JSON parser (EBADVALUE): the scanner takes nothing that a parser
 * would refuse or read in another way; where a name occurs twice the last one
 * counts, as there.
 *
 * The cache is a fixed table in sets of two, indexed by a keyed hash of the
 * whole text (128 bits, so nobody can make another text hit). A new entry
 * replaces the older one of its set. It lives outside of the Lua heap: tables
 * and strings of thousands of users would cost more in garbage collection
 * than the signatures they save.
 *
 * Threads: one at a time for each cache; the rest any.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/os.h"
#include "seckill.h"
#include "token/base64url.h"
#include "token/keyring.h"

#include <stdlib.h>
#include <string.h>

enum {
    DIGITS_MAX = 15, /* a double holds them exactly */
    HEADER_MAX = 256,
    PAYLOAD_MAX = 1024
};

static const char scheme[] = "Bearer ";

/* ---- Signature ----------------------------------------------------------- */

int seckill_base64url_decode(const char *in, size_t len, unsigned char *out,
                             size_t out_size)
{
    ptrdiff_t n = skl_base64url_decode(in, len, out, out_size);

    return n < 0 ? SECKILL_EBADVALUE : (int)n;
}

int seckill_jws_open(seckill_keyring_t *ring, int key_id, const char *text,
                     size_t len, size_t payload, size_t dot, unsigned char *out,
                     size_t out_size)
{
    uint8_t given[SKL_MAC_SIZE], right[SKL_MAC_SIZE];
    ptrdiff_t n;

    if (payload < 1 || payload > dot || dot >= len ||
        text[payload - 1] != '.' || text[dot] != '.') {
        return SECKILL_EBADTOKEN;
    }
    n = skl_base64url_decode(text + dot + 1, len - dot - 1, given,
                             sizeof(given));
    if (n != SKL_MAC_SIZE ||
        seckill_hmac(ring, key_id, text, dot, right) != SECKILL_OK ||
        !seckill_equal((char *)given, (char *)right, SKL_MAC_SIZE)) {
        return SECKILL_EBADTOKEN;
    }
    n = skl_base64url_decode(text + payload, dot - payload, out, out_size);
    return n < 0 ? SECKILL_EBADTOKEN : (int)n;
}

/* ---- Claims -------------------------------------------------------------- */

typedef struct {
    const unsigned char *at, *end;
    const char *claim;
    size_t claim_len;
    seckill_claims_t *out;
} scan_t;

/* A string from `at`, without escapes and ASCII only: its end, or NULL. */
static const unsigned char *string_end(const unsigned char *at,
                                       const unsigned char *end)
{
    for (; at < end; at++) {
        if (*at == '"') {
            return at;
        }
        if (*at == '\\' || *at < 0x20 || *at >= 0x7f) {
            return NULL;
        }
    }
    return NULL;
}

static int is_name(const unsigned char *name, size_t len, const char *want,
                   size_t want_len)
{
    return len == want_len && memcmp(name, want, len) == 0;
}

static int read_number(scan_t *s, double *out)
{
    const unsigned char *first = s->at;
    int64_t value = 0;

    while (s->at < s->end && *s->at >= '0' && *s->at <= '9' &&
           s->at - first <= DIGITS_MAX) {
        value = value * 10 + (*s->at++ - '0');
    }
    *out = (double)value;
    return s->at > first && s->at - first <= DIGITS_MAX &&
           (*first != '0' || s->at - first == 1);
}

static int read_text_member(scan_t *s, const unsigned char *name, size_t len)
{
    const unsigned char *first = ++s->at;
    const unsigned char *last = string_end(first, s->end);

    if (last == NULL || is_name(name, len, "exp", 3) ||
        is_name(name, len, "nbf", 3)) {
        return 0;
    }
    s->at = last + 1;
    if (is_name(name, len, s->claim, s->claim_len)) {
        if (last == first || last - first > SECKILL_ID_MAX) {
            return 0;
        }
        s->out->user_len = (uint32_t)(last - first);
        memcpy(s->out->user, first, s->out->user_len);
    }
    return 1;
}

static int read_number_member(scan_t *s, const unsigned char *name, size_t len)
{
    double value;

    if (!read_number(s, &value) || is_name(name, len, s->claim, s->claim_len)) {
        return 0;
    }
    if (is_name(name, len, "exp", 3)) {
        s->out->exp = value;
        s->out->has_exp = 1;
    } else if (is_name(name, len, "nbf", 3)) {
        s->out->nbf = value;
        s->out->has_nbf = 1;
    }
    return 1;
}

/* "name":value */
static int read_member(scan_t *s)
{
    const unsigned char *name, *last;

    if (s->at >= s->end || *s->at != '"') {
        return 0;
    }
    name = s->at + 1;
    last = string_end(name, s->end);
    if (last == NULL || s->end - last < 3 || last[1] != ':') {
        return 0;
    }
    s->at = last + 2;
    return *s->at == '"' ? read_text_member(s, name, (size_t)(last - name))
                         : read_number_member(s, name, (size_t)(last - name));
}

int seckill_jwt_claims(const unsigned char *payload, size_t len,
                       const char *claim, size_t claim_len,
                       seckill_claims_t *out)
{
    scan_t s = {payload, payload + len, claim, claim_len, out};

    memset(out, 0, sizeof(*out));
    if (len < 2 || *s.at != '{') {
        return SECKILL_EBADVALUE;
    }
    do {
        s.at++;
        if (!read_member(&s) || s.at >= s.end) {
            return SECKILL_EBADVALUE;
        }
    } while (*s.at == ',');
    return *s.at == '}' && s.at + 1 == s.end && out->user_len > 0
               ? SECKILL_OK
               : SECKILL_EBADVALUE;
}

/* ---- Cache --------------------------------------------------------------- */

typedef struct {
    skl_hash_t key; /* both 0: free */
    seckill_claims_t claims;
} slot_t;

struct seckill_jwt_cache {
    skl_hash_key_t hash_key;
    uint32_t sets;
    uint32_t used;
    int key_id; /* of the header below */
    uint32_t header_len;
    char header[HEADER_MAX]; /* accepted last; issuers write one header */
    slot_t slots[];          /* two for each set: younger, older */
};

int seckill_jwt_cache_new(uint32_t entries, seckill_jwt_cache_t **out)
{
    const uint32_t sets = entries / 2;
    seckill_jwt_cache_t *c;

    if (sets == 0 || entries > (1U << 24)) {
        return SECKILL_EBADOPTION;
    }
    c = calloc(1, sizeof(*c) + 2ULL * sets * sizeof(slot_t));
    if (c == NULL) {
        return SECKILL_ENOMEM;
    }
    if (skl_os_random(&c->hash_key, sizeof(c->hash_key)) != 0) {
        free(c);
        return SECKILL_EIO;
    }
    c->sets = sets;
    *out = c;
    return SECKILL_OK;
}

void seckill_jwt_cache_free(seckill_jwt_cache_t *cache)
{
    free(cache);
}

static slot_t *set_of(seckill_jwt_cache_t *c, skl_hash_t key)
{
    skl_assert(c->sets > 0);
    return &c->slots[2ULL * skl_hash_range(key.lo, c->sets)];
}

static int same(const slot_t *slot, skl_hash_t key)
{
    return slot->key.lo == key.lo && slot->key.hi == key.hi;
}

int seckill_jwt_cache_get(seckill_jwt_cache_t *cache, const char *text,
                          size_t len, seckill_claims_t *out)
{
    const skl_hash_t key = skl_hash128(&cache->hash_key, text, len);
    slot_t *set = set_of(cache, key);

    if (same(&set[1], key)) { /* what is used stays */
        const slot_t older = set[0];

        set[0] = set[1];
        set[1] = older;
    }
    if (!same(&set[0], key)) {
        return 0;
    }
    *out = set[0].claims;
    return 1;
}

void seckill_jwt_cache_put(seckill_jwt_cache_t *cache, const char *text,
                           size_t len, const seckill_claims_t *claims)
{
    const skl_hash_t key = skl_hash128(&cache->hash_key, text, len);
    slot_t *set = set_of(cache, key);
    const skl_hash_t none = {0, 0};

    skl_assert(claims->user_len >= 1 && claims->user_len <= SECKILL_ID_MAX);
    if (!same(&set[0], key)) {
        /* What falls out of the set was in use; else one more is now. */
        cache->used += same(&set[1], none) ? 1 : 0;
        set[1] = set[0];
    }
    set[0].key = key;
    set[0].claims = *claims;
}

void seckill_jwt_accept(seckill_jwt_cache_t *cache, const char *header,
                        size_t len, int key_id)
{
    if (len > 0 && len <= HEADER_MAX) {
        memcpy(cache->header, header, len);
        cache->header_len = (uint32_t)len;
        cache->key_id = key_id;
    }
}

/* Offsets behind the first and of the second dot of "Bearer <token>": 1, or 0
 * for another scheme or header than the accepted one. */
static int find_parts(const seckill_jwt_cache_t *c, const char *text,
                      size_t len, size_t *payload, size_t *dot)
{
    const size_t head = sizeof(scheme) - 1 + c->header_len;
    const char *second;

    if (c->header_len == 0 || len <= head + 1 ||
        memcmp(text, scheme, sizeof(scheme) - 1) != 0 ||
        memcmp(text + sizeof(scheme) - 1, c->header, c->header_len) != 0 ||
        text[head] != '.') {
        return 0;
    }
    second = memchr(text + head + 1, '.', len - head - 1);
    if (second == NULL) {
        return 0;
    }
    *payload = head + 1 - (sizeof(scheme) - 1);
    *dot = (size_t)(second - text) - (sizeof(scheme) - 1);
    return 1;
}

int seckill_jwt_bearer(seckill_jwt_cache_t *cache, seckill_keyring_t *ring,
                       const char *text, size_t len, const char *claim,
                       size_t claim_len, seckill_claims_t *out)
{
    unsigned char json[PAYLOAD_MAX];
    size_t payload, dot;
    int n;

    if (seckill_jwt_cache_get(cache, text, len, out)) {
        return 1;
    }
    if (!find_parts(cache, text, len, &payload, &dot)) {
        return SECKILL_EBADVALUE;
    }
    text += sizeof(scheme) - 1;
    len -= sizeof(scheme) - 1;
    n = seckill_jws_open(ring, cache->key_id, text, len, payload, dot, json,
                         sizeof(json));
    return n < 0 ? n
                 : seckill_jwt_claims(json, (size_t)n, claim, claim_len, out);
}

uint32_t seckill_jwt_cache_used(const seckill_jwt_cache_t *cache)
{
    return cache->used;
}
