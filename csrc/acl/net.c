/* Parsing and arithmetic of networks; see net.h. */
#include "acl/net.h"

#include "base/assert.h"

#include <string.h>

typedef unsigned __int128 wide_t;

/* A part of a text. */
typedef struct {
    const char *at;
    size_t len;
} span_t;

enum {
    V4_TEXT_MIN = 7,
    V4_TEXT_MAX = 15,
    GROUPS = 8,
    GROUP_DIGITS = 4,
    MAPPED_BITS = 96
};

/* ---- Arithmetic ---------------------------------------------------------- */

static wide_t widen(uint64_t hi, uint64_t lo)
{
    return (wide_t)hi << 64 | lo;
}

static skl_addr_t narrow(wide_t value, uint32_t family)
{
    return (skl_addr_t){(uint64_t)(value >> 64), (uint64_t)value, family, 0};
}

/* That many low bits. */
static wide_t low_bits(uint32_t count)
{
    return count == 0 ? 0 : ~(wide_t)0 >> (128 - count);
}

skl_prefix_t skl_net_prefix(const skl_addr_t *address, uint32_t bits)
{
    wide_t mask = low_bits(skl_net_width(address->family) - bits);
    wide_t value = widen(address->hi, address->lo) & ~mask;

    skl_assert(bits <= skl_net_width(address->family));
    return (skl_prefix_t){(uint64_t)(value >> 64), (uint64_t)value,
                          address->family, bits};
}

skl_addr_t skl_net_last(const skl_prefix_t *prefix)
{
    wide_t mask = low_bits(skl_net_width(prefix->family) - prefix->bits);

    skl_assert((widen(prefix->hi, prefix->lo) & mask) == 0);
    return narrow(widen(prefix->hi, prefix->lo) | mask, prefix->family);
}

/* Zeros at the low end, at most `width`. */
static uint32_t trailing(wide_t value, uint32_t width)
{
    uint32_t n = width;

    if ((uint64_t)value != 0) {
        n = (uint32_t)__builtin_ctzll((uint64_t)value);
    } else if (value != 0) {
        n = 64 + (uint32_t)__builtin_ctzll((uint64_t)(value >> 64));
    }
    return n < width ? n : width;
}

/* The largest n with 2^n - 1 <= value. */
static uint32_t fitting(wide_t value)
{
    wide_t next = value + 1;

    if (next == 0) {
        return 128;
    }
    return next >> 64 != 0
               ? 127 - (uint32_t)__builtin_clzll((uint64_t)(next >> 64))
               : 63 - (uint32_t)__builtin_clzll((uint64_t)next);
}

int skl_net_cut(skl_net_t *rest, skl_prefix_t *out)
{
    uint32_t width = skl_net_width(rest->first.family), size, fits;
    wide_t first = widen(rest->first.hi, rest->first.lo);
    wide_t last = widen(rest->last.hi, rest->last.lo);

    if (rest->first.family == 0) {
        return 0;
    }
    skl_assert(first <= last);
    size = trailing(first, width);
    fits = fitting(last - first);
    size = size < fits ? size : fits;
    *out = (skl_prefix_t){rest->first.hi, rest->first.lo, rest->first.family,
                          width - size};
    if ((first | low_bits(size)) == last) {
        rest->first.family = 0;
    } else {
        rest->first = narrow((first | low_bits(size)) + 1, out->family);
    }
    return 1;
}

uint32_t skl_net_pieces(const skl_net_t *net)
{
    skl_net_t rest = *net;
    skl_prefix_t piece;
    uint32_t n = 0;

    while (skl_net_cut(&rest, &piece)) {
        n++;
    }
    skl_assert(n >= 1 && n <= 254);
    return n;
}

int skl_net_single(const skl_net_t *net, skl_prefix_t *out)
{
    skl_net_t rest = *net;

    return skl_net_cut(&rest, out) && rest.first.family == 0;
}

/* ---- Addresses ----------------------------------------------------------- */

/* Byte by byte: says what is wrong. */
static const char *parse_v4_slowly(span_t s, uint32_t *out)
{
    uint32_t value = 0, number = 0, digits = 0, dots = 0;

    if (s.len > V4_TEXT_MAX) {
        return "not an address";
    }
    for (size_t i = 0; i < s.len; i++) {
        uint32_t digit = (uint32_t)(unsigned char)s.at[i] - '0';

        if (digit <= 9) {
            if (digits > 0 && number == 0) {
                return "leading zero in an IPv4 address";
            }
            number = number * 10 + digit;
            digits++;
            if (number > 255) {
                return "number over 255 in an IPv4 address";
            }
        } else if (s.at[i] == '.') {
            if (digits == 0 || dots == 3) {
                return "IPv4 address without 4 numbers";
            }
            value = value << 8 | number;
            number = digits = 0;
            dots++;
        } else {
            return "not an address";
        }
    }
    if (dots != 3 || digits == 0) {
        return dots == 0 ? "not an address" : "IPv4 address without 4 numbers";
    }
    *out = value << 8 | number;
    return NULL;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static uint32_t load4(const char *at)
{
    uint32_t x;

    memcpy(&x, at, sizeof(x));
    return x;
}

/* Of 8 bytes, a bit for each that is no digit. */
static uint32_t others(uint64_t bytes)
{
    uint64_t t = bytes ^ 0x3030303030303030ULL; /* digits: 0..9 */
    uint64_t other = ((t + 0x7676767676767676ULL) | t) & 0x8080808080808080ULL;

    return (uint32_t)((other >> 7) * 0x0102040810204080ULL >> 56);
}

/* The number in bytes 0..2 of x, of which the last `len` count. */
static uint32_t octet(uint32_t x, uint32_t len, uint32_t *bad)
{
    static const uint32_t keep[4] = {0, 0xff0000, 0xffff00, 0xffffff};
    static const uint32_t least[4] = {UINT32_MAX, 0, 0x000100, 0x010000};
    uint32_t digits = (x ^ 0x303030) & keep[len & 3];
    uint32_t text =
        __builtin_bswap32(digits) >> 8; /* as it is read: 0x020505 */

    *bad |= (len > 3) | (text > 0x020505) | (text < least[len & 3]);
    return (digits * (100 << 16 | 10 << 8 | 1)) >> 16 & 255;
}

/* Where the dots are nobody can foretell: no branch on it. 1 if good; else it
 * may be an address that another function takes. */
static int parse_v4_fast(span_t s, uint32_t *out)
{
    uint32_t marks, a, b, c, bad = 0;
    uint64_t head, tail;

    if (s.len < V4_TEXT_MIN || s.len > V4_TEXT_MAX) {
        return 0;
    }
    if (s.len == V4_TEXT_MIN) {
        head = load4(s.at) | (uint64_t)load4(s.at + 3) << 24;
        tail = 0;
    } else {
        memcpy(&head, s.at, sizeof(head));
        memcpy(&tail, s.at + s.len - 8, sizeof(tail));
        tail = tail >> 8 * (15 - s.len) >> 8; /* bytes 8 on, then zeros */
    }
    marks = others(head) | others(tail) << 8;
    a = (uint32_t)__builtin_ctz(marks | 1u << 31);
    marks &= marks - 1;
    b = (uint32_t)__builtin_ctz(marks | 1u << 31);
    marks &= marks - 1;
    c = (uint32_t)__builtin_ctz(marks | 1u << 31);
    marks &= marks - 1;
    if (c >= s.len || (marks & ((1u << s.len) - 1)) != 0 || a > 3 || b < 3) {
        return 0;
    }
    bad |= s.at[a] != '.' || s.at[b] != '.' || s.at[c] != '.';
    *out = octet((uint32_t)head << 8 * (3 - a), a, &bad) << 24 |
           octet(load4(s.at + b - 3), b - a - 1, &bad) << 16 |
           octet(load4(s.at + c - 3), c - b - 1, &bad) << 8 |
           octet(load4(s.at + s.len - 4) >> 8, (uint32_t)s.len - c - 1, &bad);
    return bad == 0;
}
#else
static int parse_v4_fast(span_t s, uint32_t *out)
{
    return parse_v4_slowly(s, out) == NULL;
}
#endif

static const char *parse_v4(span_t s, uint32_t *out)
{
    return parse_v4_fast(s, out) ? NULL : parse_v4_slowly(s, out);
}

/* The groups read so far; `gap` is where `::` is, -1 for none. */
typedef struct {
    uint16_t group[GROUPS];
    uint32_t count;
    int gap;
} groups_t;

/* A hexadecimal digit: its number + 16; else 0. */
static const uint8_t HEX[256] = {
    ['0'] = 16, ['1'] = 17, ['2'] = 18, ['3'] = 19, ['4'] = 20, ['5'] = 21,
    ['6'] = 22, ['7'] = 23, ['8'] = 24, ['9'] = 25, ['a'] = 26, ['b'] = 27,
    ['c'] = 28, ['d'] = 29, ['e'] = 30, ['f'] = 31, ['A'] = 26, ['B'] = 27,
    ['C'] = 28, ['D'] = 29, ['E'] = 30, ['F'] = 31};

static inline uint32_t hex(const char *at)
{
    return HEX[(unsigned char)*at];
}

/* Four digits at once, as most groups are; 0 when they are not. */
static inline int parse_four(const char *at, uint32_t *out)
{
    uint32_t a = hex(at), b = hex(at + 1), c = hex(at + 2), d = hex(at + 3);

    *out = (a << 12) + (b << 8) + (c << 4) + d - 16 * 0x1111;
    return (a & b & c & d & 16) != 0;
}

static const char *add_group(groups_t *g, uint32_t value)
{
    if (g->count == GROUPS) {
        return "IPv6 address over 8 groups";
    }
    g->group[g->count++] = (uint16_t)value;
    return NULL;
}

/* An IPv4 address in place of the last two groups. */
static const char *parse_tail(groups_t *g, span_t s)
{
    uint32_t value = 0;
    const char *why = parse_v4(s, &value);

    why = why == NULL ? add_group(g, value >> 16) : why;
    return why == NULL ? add_group(g, value & 0xffff) : why;
}

/* A group, or the rest if that is an IPv4 address. */
static const char *parse_group(groups_t *g, span_t *s)
{
    const char *at = s->at, *end = s->at + s->len;
    uint32_t value = 0, digit;

    if (end - at >= GROUP_DIGITS && parse_four(at, &value)) {
        at += GROUP_DIGITS;
    } else {
        value = 0;
    }
    while (at < end && (digit = hex(at)) != 0) {
        value = value << 4 | (digit & 15);
        at++;
        if (at - s->at > GROUP_DIGITS) {
            return "IPv6 group without 1 to 4 digits";
        }
    }
    if (at < end && *at != ':') {
        span_t rest = *s;

        s->len = 0;
        return *at == '.' ? parse_tail(g, rest) : "not an address";
    }
    if (at == s->at) {
        return "IPv6 group without 1 to 4 digits";
    }
    s->len = (size_t)(end - at);
    s->at = at;
    return add_group(g, value);
}

/* Move past the colons behind a group. */
static const char *parse_colons(groups_t *g, span_t *s)
{
    skl_assert(s->len > 0 && *s->at == ':');
    s->at++;
    s->len--;
    if (s->len == 0) {
        return "IPv6 address ends in a colon";
    }
    if (*s->at == ':') {
        if (g->gap >= 0) {
            return "IPv6 address with more than one ::";
        }
        g->gap = (int)g->count;
        s->at++;
        s->len--;
    }
    return NULL;
}

static const char *parse_groups(groups_t *g, span_t s)
{
    const char *why = NULL;

    if (s.len >= 2 && s.at[0] == ':' && s.at[1] == ':') {
        g->gap = 0;
        s.at += 2;
        s.len -= 2;
    }
    while (why == NULL && s.len > 0) {
        why = parse_group(g, &s);
        if (why == NULL && s.len > 0) {
            why = parse_colons(g, &s);
        }
    }
    return why;
}

/* Not yet unified with IPv4. */
static const char *parse_v6(span_t s, skl_addr_t *out)
{
    groups_t g = {.gap = -1};
    const char *why = parse_groups(&g, s);
    wide_t value = 0;

    if (why != NULL) {
        return why;
    }
    if (g.gap < 0 ? g.count != GROUPS : g.count == GROUPS) {
        return g.gap < 0 ? "IPv6 address of less than 8 groups"
                         : "IPv6 address with 8 groups and ::";
    }
    for (uint32_t i = 0; i < g.count; i++) {
        if ((int)i == g.gap) {
            value <<= 16 * (GROUPS - g.count);
        }
        value = value << 16 | g.group[i];
    }
    if (g.gap == (int)g.count && g.count > 0) {
        value <<= 16 * (GROUPS - g.count);
    }
    *out = narrow(value, SKL_NET_V6);
    return NULL;
}

/* The one form of a v4-mapped address is IPv4. */
static void unify(skl_addr_t *a)
{
#ifndef MUTANT_NET_MAPPED
    if (a->family == SKL_NET_V6 && a->hi == 0 && a->lo >> 32 == 0xffff) {
        a->lo &= 0xffffffff;
        a->family = SKL_NET_V4;
    }
#else
    (void)a;
#endif
}

static const char *parse_raw(span_t s, skl_addr_t *out)
{
    uint32_t v4 = 0;
    const char *why;

    if (s.len == 0) {
        return "empty address";
    }
    if (memchr(s.at, ':', s.len) != NULL) {
        return parse_v6(s, out);
    }
    why = parse_v4(s, &v4);
    *out = narrow(v4, SKL_NET_V4);
    return why;
}

/* ---- Values -------------------------------------------------------------- */

/* Cut `%zone` off; 0 when it is not one. */
static int cut_zone(span_t *s)
{
    const char *percent = memchr(s->at, '%', s->len);
    size_t head = percent == NULL ? s->len : (size_t)(percent - s->at);

    if (percent == NULL) {
        return 1;
    }
    for (size_t i = head + 1; i < s->len; i++) {
        if (s->at[i] <= ' ' || s->at[i] > '~' || s->at[i] == ']') {
            return 0;
        }
    }
    if (s->len == head + 1 || memchr(s->at, ':', head) == NULL) {
        return 0;
    }
    s->len = head;
    return 1;
}

static const char *parse_decorated(span_t s, skl_addr_t *out)
{
    const char *why;

    if (s.len >= 2 && s.at[0] == '[' && s.at[s.len - 1] == ']') {
        s.at++;
        s.len -= 2;
        if (s.len == 0 || memchr(s.at, ':', s.len) == NULL) {
            return "brackets without an IPv6 address";
        }
    }
    if (s.len == 0 || !cut_zone(&s)) {
        return "not an address";
    }
    why = parse_raw(s, out);
    if (why == NULL) {
        unify(out);
    }
    return why;
}

const char *skl_net_parse_address(const char *text, size_t len, skl_addr_t *out)
{
    uint32_t v4 = 0;

    skl_assert(text != NULL);
    if (parse_v4_fast((span_t){text, len}, &v4)) {
        *out = (skl_addr_t){0, v4, SKL_NET_V4, 0};
        return NULL;
    }
    if (parse_v6((span_t){text, len}, out) == NULL) {
        unify(out);
        return NULL;
    }
    return parse_decorated((span_t){text, len}, out);
}

/* ---- Entries ------------------------------------------------------------- */

static const char *parse_plain(span_t s, skl_addr_t *out)
{
    if (s.len > 0 && (*s.at == '[' || s.at[s.len - 1] == ']')) {
        return "brackets in an entry";
    }
    if (memchr(s.at, '%', s.len) != NULL) {
        return "zone in an entry";
    }
    return parse_raw(s, out);
}

/* A prefix length; -1 when it is none. */
static int parse_bits(span_t s)
{
    int n = 0;

    if (s.len == 0 || s.len > 3 || (s.len > 1 && *s.at == '0')) {
        return -1;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9') {
            return -1;
        }
        n = n * 10 + (s.at[i] - '0');
    }
    return n;
}

static const char *parse_cidr(span_t address, span_t length, skl_net_t *out)
{
    skl_addr_t a = {0};
    const char *why = parse_plain(address, &a);
    int bits = parse_bits(length);
    uint32_t width = skl_net_width(a.family);
    wide_t mask;

    if (why != NULL) {
        return why;
    }
    if (bits < 0) {
        return "prefix length is not a number";
    }
    if ((uint32_t)bits > width) {
        return width == 32 ? "prefix length over 32" : "prefix length over 128";
    }
    mask = low_bits(width - (uint32_t)bits);
    if ((widen(a.hi, a.lo) & mask) != 0) {
        return "bits set behind the prefix";
    }
    out->first = a;
    out->last = narrow(widen(a.hi, a.lo) | mask, a.family);
    if (bits >= MAPPED_BITS) { /* a wider one is of IPv6 */
        unify(&out->first);
        unify(&out->last);
    }
    skl_assert(out->first.family == out->last.family);
    return NULL;
}

static const char *parse_range(span_t from, span_t to, skl_net_t *out)
{
    const char *why = parse_plain(from, &out->first);

    why = why == NULL ? parse_plain(to, &out->last) : why;
    if (why != NULL) {
        return why;
    }
    unify(&out->first);
    unify(&out->last);
    if (out->first.family != out->last.family) {
        return "range from one family to the other";
    }
    if (widen(out->first.hi, out->first.lo) >
        widen(out->last.hi, out->last.lo)) {
        return "range that ends before it begins";
    }
    return NULL;
}

const char *skl_net_parse_entry(const char *text, size_t len, skl_net_t *out)
{
    span_t s = {text, len}, rest;
    const char *sign, *why;

    skl_assert(text != NULL);
    if (len == 0) {
        return "empty entry";
    }
    sign = memchr(text, '-', len);
    sign = sign == NULL ? memchr(text, '/', len) : sign;
    if (sign == NULL) {
        why = parse_plain(s, &out->first);
        if (why == NULL) {
            unify(&out->first);
            out->last = out->first;
        }
        return why;
    }
    s.len = (size_t)(sign - text);
    rest = (span_t){sign + 1, len - s.len - 1};
    return *sign == '-' ? parse_range(s, rest, out) : parse_cidr(s, rest, out);
}
