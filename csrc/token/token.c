/*
 * Purchase tokens: what a buyer shows to confirm or cancel a reservation.
 *
 * A token is base64url, without padding, of
 *
 *     offset  bytes
 *          0      1  version, 1
 *          1      1  id of the key
 *          2      8  expires_at, int64 nanoseconds since the epoch,
 *                    little-endian
 *         10      1  length of the item, 1 to 64
 *         11      1  length of the user, 1 to 64
 *         12      1  length of the reservation id, 1 to 64
 *         13      *  item, user, reservation id
 *          *     32  HMAC-SHA256 of everything before it
 *
 * at most 237 bytes, 316 characters. There is exactly one text for each set of
 * fields and key: other lengths, bytes after the end and non-canonical base64
 * are refused. The fields are signed, not hidden. The first byte is never a
 * printable character, so a key that is also used for JSON web tokens (whose
 * signed text is printable) cannot be made to sign one for the other.
 *
 * The expiry is looked at only after the signature: a forged token is always
 * EBADTOKEN. The signature is compared in constant time.
 * Threads: any, see keyring.c. No allocation.
 */
#include "seckill.h"

#include <string.h>

#include "base/assert.h"
#include "token/base64url.h"
#include "token/keyring.h"

#define VERSION 1
#define AT_KEY 1
#define AT_EXPIRES 2
#define AT_LENGTHS 10
#define AT_FIELDS 13
#define RAW_MIN (AT_FIELDS + 3 + SKL_MAC_SIZE)
#define RAW_MAX (AT_FIELDS + 3 * SECKILL_ID_MAX + SKL_MAC_SIZE)

skl_static_assert(SKL_BASE64URL_LEN(RAW_MAX) <= 512, "promise of seckill.h");

static void store_i64(uint8_t *at, int64_t value)
{
    uint64_t bits = (uint64_t)value;

    for (int i = 0; i < 8; i++) {
        at[i] = (uint8_t)(bits >> (8 * i));
    }
}

static int64_t load_i64(const uint8_t *at)
{
    uint64_t bits = 0;

    for (int i = 7; i >= 0; i--) {
        bits = (bits << 8) | at[i];
    }
    return (int64_t)bits;
}

static int length_ok(uint8_t len)
{
    return len >= 1 && len <= SECKILL_ID_MAX;
}

static int fields_ok(const seckill_token_t *t)
{
    return length_ok(t->item_len) && length_ok(t->user_len) &&
           length_ok(t->id_len) && t->expires_at > 0;
}

static uint8_t *put_bytes(uint8_t *at, const char *from, uint8_t len)
{
    memcpy(at, from, len);
    return at + len;
}

/* Everything before the MAC; returns its size. */
static size_t write_fields(const seckill_token_t *t, int key_id, uint8_t *raw)
{
    uint8_t *at = raw + AT_FIELDS;

    raw[0] = VERSION;
    raw[AT_KEY] = (uint8_t)key_id;
    store_i64(raw + AT_EXPIRES, t->expires_at);
    raw[AT_LENGTHS] = t->item_len;
    raw[AT_LENGTHS + 1] = t->user_len;
    raw[AT_LENGTHS + 2] = t->id_len;
    at = put_bytes(at, t->item, t->item_len);
    at = put_bytes(at, t->user, t->user_len);
    at = put_bytes(at, t->id, t->id_len);
    skl_assert(at <= raw + RAW_MAX - SKL_MAC_SIZE);
    return (size_t)(at - raw);
}

int seckill_token_make(seckill_keyring_t *ring, const seckill_token_t *fields,
                       char *out, size_t out_size)
{
    uint8_t raw[RAW_MAX];
    int key_id;
    size_t len;

    skl_assert(ring != NULL && fields != NULL && out != NULL);
    if (!fields_ok(fields)) {
        return SECKILL_EBADTOKEN;
    }
    key_id = skl_keyring_signer(ring);
    if (key_id < 0) {
        return SECKILL_EBADKEY;
    }
    len = write_fields(fields, key_id, raw);
    if (SKL_BASE64URL_LEN(len + SKL_MAC_SIZE) > out_size) {
        return SECKILL_ETOOLARGE;
    }
    skl_keyring_mac(ring, key_id, raw, len, raw + len);
    return (int)skl_base64url_encode(raw, len + SKL_MAC_SIZE, out);
}

/* The bytes are untrusted here: lengths first, then the exact total. */
static int shape_ok(const uint8_t *raw, size_t len)
{
    const uint8_t *lens = raw + AT_LENGTHS;

    if (len < RAW_MIN || raw[0] != VERSION) {
        return 0;
    }
    if (!length_ok(lens[0]) || !length_ok(lens[1]) || !length_ok(lens[2])) {
        return 0;
    }
    return len ==
           (size_t)AT_FIELDS + lens[0] + lens[1] + lens[2] + SKL_MAC_SIZE;
}

static const uint8_t *take_bytes(const uint8_t *at, char *to, uint8_t len)
{
    skl_assert(length_ok(len));
    memcpy(to, at, len);
    return at + len;
}

static void read_fields(const uint8_t *raw, seckill_token_t *out)
{
    const uint8_t *at = raw + AT_FIELDS;

    memset(out, 0, sizeof(*out));
    out->expires_at = load_i64(raw + AT_EXPIRES);
    out->item_len = raw[AT_LENGTHS];
    out->user_len = raw[AT_LENGTHS + 1];
    out->id_len = raw[AT_LENGTHS + 2];
    at = take_bytes(at, out->item, out->item_len);
    at = take_bytes(at, out->user, out->user_len);
    take_bytes(at, out->id, out->id_len);
}

static int signature_ok(const seckill_keyring_t *ring, const uint8_t *raw,
                        size_t len)
{
    size_t signed_len = len - SKL_MAC_SIZE;
    uint8_t mac[SKL_MAC_SIZE];

    if (!skl_keyring_mac(ring, raw[AT_KEY], raw, signed_len, mac)) {
        return 0;
    }
    return seckill_equal((const char *)mac, (const char *)raw + signed_len,
                         SKL_MAC_SIZE);
}

int seckill_token_open(seckill_keyring_t *ring, const char *token, size_t len,
                       int64_t now_ns, seckill_token_t *out)
{
    uint8_t raw[RAW_MAX];
    ptrdiff_t got;

    skl_assert(ring != NULL && out != NULL);
    skl_assert(token != NULL || len == 0);
    got = skl_base64url_decode(token, len, raw, sizeof(raw));
    if (got < 0 || !shape_ok(raw, (size_t)got) ||
        !signature_ok(ring, raw, (size_t)got)) {
        return SECKILL_EBADTOKEN;
    }
    if (now_ns >= load_i64(raw + AT_EXPIRES)) {
        return SECKILL_ETOKENEXPIRED;
    }
    read_fields(raw, out);
    return SECKILL_OK;
}
