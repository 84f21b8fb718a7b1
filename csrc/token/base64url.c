/*
 * base64url, see the header. Whole groups (3 bytes, 4 characters) first, then
 * the tail, whose encoding has 4 or 2 unused bits; the decoder insists that
 * they are zero.
 */
#include "token/base64url.h"

#include "base/assert.h"

static const char ALPHABET[64] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

enum { FOREIGN = 64 }; /* no character of the alphabet */

/* ALPHABET the other way round, plus one: 0 is foreign. */
#define V(c, n) [c] = (n) + 1
static const uint8_t VALUE[256] = {
    V('A', 0),  V('B', 1),  V('C', 2),  V('D', 3),  V('E', 4),  V('F', 5),
    V('G', 6),  V('H', 7),  V('I', 8),  V('J', 9),  V('K', 10), V('L', 11),
    V('M', 12), V('N', 13), V('O', 14), V('P', 15), V('Q', 16), V('R', 17),
    V('S', 18), V('T', 19), V('U', 20), V('V', 21), V('W', 22), V('X', 23),
    V('Y', 24), V('Z', 25), V('a', 26), V('b', 27), V('c', 28), V('d', 29),
    V('e', 30), V('f', 31), V('g', 32), V('h', 33), V('i', 34), V('j', 35),
    V('k', 36), V('l', 37), V('m', 38), V('n', 39), V('o', 40), V('p', 41),
    V('q', 42), V('r', 43), V('s', 44), V('t', 45), V('u', 46), V('v', 47),
    V('w', 48), V('x', 49), V('y', 50), V('z', 51), V('0', 52), V('1', 53),
    V('2', 54), V('3', 55), V('4', 56), V('5', 57), V('6', 58), V('7', 59),
    V('8', 60), V('9', 61), V('-', 62), V('_', 63),
};
#undef V

size_t skl_base64url_encode(const uint8_t *in, size_t len, char *out)
{
    size_t n = 0, i = 0;

    for (; i + 3 <= len; i += 3) {
        const uint32_t bits =
            (uint32_t)in[i] << 16 | (uint32_t)in[i + 1] << 8 | in[i + 2];

        out[n++] = ALPHABET[bits >> 18];
        out[n++] = ALPHABET[bits >> 12 & 63];
        out[n++] = ALPHABET[bits >> 6 & 63];
        out[n++] = ALPHABET[bits & 63];
    }
    if (len - i == 1) {
        out[n++] = ALPHABET[in[i] >> 2];
        out[n++] = ALPHABET[in[i] << 4 & 63];
    } else if (len - i == 2) {
        out[n++] = ALPHABET[in[i] >> 2];
        out[n++] = ALPHABET[(in[i] << 4 | in[i + 1] >> 4) & 63];
        out[n++] = ALPHABET[in[i + 1] << 2 & 63];
    }
    skl_assert(n == SKL_BASE64URL_LEN(len));
    return n;
}

/* FOREIGN and more: a character that is none. */
static inline uint32_t value_of(char c)
{
    return (uint32_t)VALUE[(uint8_t)c] - 1U;
}

/* The 2 or 3 characters at the end: bytes written, or -1. */
static int decode_tail(const char *in, size_t rest, uint8_t *out)
{
    const uint32_t a = value_of(in[0]), b = value_of(in[1]);
    const uint32_t c = rest == 3 ? value_of(in[2]) : 0;

    if (a >= FOREIGN || b >= FOREIGN || c >= FOREIGN) {
        return -1;
    }
    out[0] = (uint8_t)(a << 2 | b >> 4);
    if (rest == 2) {
        return (b & 15) == 0 ? 1 : -1;
    }
    out[1] = (uint8_t)(b << 4 | c >> 2);
    return (c & 3) == 0 ? 2 : -1;
}

ptrdiff_t skl_base64url_decode(const char *in, size_t len, uint8_t *out,
                               size_t max)
{
    const size_t rest = len % 4;
    size_t n = 0;
    int tail;

    if (rest == 1 || len / 4 > max || len / 4 * 3 + rest * 3 / 4 > max) {
        return -1;
    }
    for (size_t i = 0; i + 4 <= len; i += 4) {
        const uint32_t a = value_of(in[i]), b = value_of(in[i + 1]);
        const uint32_t c = value_of(in[i + 2]), d = value_of(in[i + 3]);

        if ((a | b | c | d) >= FOREIGN) {
            return -1;
        }
        out[n++] = (uint8_t)(a << 2 | b >> 4);
        out[n++] = (uint8_t)(b << 4 | c >> 2);
        out[n++] = (uint8_t)(c << 6 | d);
    }
    tail = rest == 0 ? 0 : decode_tail(in + len - rest, rest, out + n);
    skl_assert(n + rest * 3 / 4 <= max);
    return tail < 0 ? -1 : (ptrdiff_t)n + tail;
}
