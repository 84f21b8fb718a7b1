/*
 * base64url, see the header. The tail of an encoding has 4 or 2 unused bits;
 * the decoder insists that they are zero.
 */
#include "token/base64url.h"

#include "base/assert.h"

static const char ALPHABET[64] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t skl_base64url_encode(const uint8_t *in, size_t len, char *out)
{
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        bits = (bits << 8) | in[i];
        for (have += 8; have >= 6; have -= 6) {
            out[n++] = ALPHABET[(bits >> (have - 6)) & 63];
        }
    }
    if (have > 0) {
        out[n++] = ALPHABET[(bits << (6 - have)) & 63];
    }
    skl_assert(n == SKL_BASE64URL_LEN(len));
    return n;
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '-') {
        return 62;
    }
    return c == '_' ? 63 : -1;
}

ptrdiff_t skl_base64url_decode(const char *in, size_t len, uint8_t *out,
                               size_t max)
{
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;

    if (len % 4 == 1 || len / 4 > max || len * 3 / 4 > max) {
        return -1;
    }
    for (size_t i = 0; i < len; i++) {
        int value = value_of(in[i]);

        if (value < 0) {
            return -1;
        }
        bits = (bits << 6) | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (uint8_t)(bits >> have);
        }
    }
    if ((bits & ((1u << have) - 1)) != 0) {
        return -1;
    }
    skl_assert(n <= max);
    return (ptrdiff_t)n;
}
