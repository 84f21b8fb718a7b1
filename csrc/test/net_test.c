/*
 * Parsing of addresses and networks: what is taken, what is refused and why,
 * and that ranges are cut into the CIDRs they consist of.
 */
#include "acl/net.h"
#include "base/hash.h"
#include "test/support/tap.h"

#include <arpa/inet.h>

/* ---- Helpers ------------------------------------------------------------- */

static const char *show(const skl_addr_t *a, char out[INET6_ADDRSTRLEN])
{
    unsigned char bytes[16];

    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(a->hi >> (56 - 8 * i));
        bytes[8 + i] = (unsigned char)(a->lo >> (56 - 8 * i));
    }
    if (a->family == SKL_NET_V4) {
        return inet_ntop(AF_INET, bytes + 12, out, INET6_ADDRSTRLEN);
    }
    return inet_ntop(AF_INET6, bytes, out, INET6_ADDRSTRLEN);
}

/* A copy without a byte more, so that ASan sees a read beyond it. */
static char *exact(const char *text, size_t len)
{
    char *copy = malloc(len + (len == 0));

    if (copy == NULL) {
        abort();
    }
    memcpy(copy, text, len);
    return copy;
}

/* The value in its canonical form, or what is wrong with it. */
static void check_address(const char *text, size_t len, const char *want)
{
    char *copy = exact(text, len), out[INET6_ADDRSTRLEN];
    skl_addr_t a;
    const char *why = skl_net_parse_address(copy, len, &a);

    if (!CHECK_STR(want, why == NULL ? show(&a, out) : why)) {
        printf("#   value \"%s\"\n", text);
    }
    free(copy);
}

/* "first-last", or what is wrong. */
static void check_entry(const char *text, size_t len, const char *want)
{
    char *copy = exact(text, len), first[INET6_ADDRSTRLEN],
         last[INET6_ADDRSTRLEN], all[2 * INET6_ADDRSTRLEN];
    skl_net_t net;
    const char *why = skl_net_parse_entry(copy, len, &net);

    if (why == NULL) {
        snprintf(all, sizeof(all), "%s-%s", show(&net.first, first),
                 show(&net.last, last));
    }
    if (!CHECK_STR(want, why == NULL ? all : why)) {
        printf("#   entry \"%s\"\n", text);
    }
    free(copy);
}

/* ---- Values -------------------------------------------------------------- */

#define ZERO "leading zero in an IPv4 address"
#define FOUR "IPv4 address without 4 numbers"
#define OVER "number over 255 in an IPv4 address"
#define NONE "not an address"
#define DIGITS "IPv6 group without 1 to 4 digits"
#define LESS "IPv6 address of less than 8 groups"
#define MORE "IPv6 address over 8 groups"
#define TWICE "IPv6 address with more than one ::"
#define COLON "IPv6 address ends in a colon"
#define FULL "IPv6 address with 8 groups and ::"
#define BARE "brackets without an IPv6 address"

static const struct {
    const char *text, *want;
} values[] = {
    {"0.0.0.0", "0.0.0.0"},
    {"255.255.255.255", "255.255.255.255"},
    {"10.1.2.3", "10.1.2.3"},
    {"::", "::"},
    {"::1", "::1"},
    {"1::", "1::"},
    {"2001:DB8::aBcD", "2001:db8::abcd"},
    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
    {"0001:0002:0003:0004:0005:0006:0007:0008", "1:2:3:4:5:6:7:8"},
    {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
    {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
    {"1:2:3:4:5:6:9.8.7.6", "1:2:3:4:5:6:908:706"},
    {"64:ff9b::1.2.3.4", "64:ff9b::102:304"},
    /* IPv4, however it is written */
    {"::ffff:10.1.2.3", "10.1.2.3"},
    {"::FFFF:10.1.2.3", "10.1.2.3"},
    {"::ffff:a01:203", "10.1.2.3"},
    {"0:0:0:0:0:ffff:10.1.2.3", "10.1.2.3"},
    {"0000:0000:0000:0000:0000:ffff:0a01:0203", "10.1.2.3"},
    {"[::ffff:10.1.2.3]", "10.1.2.3"},
    {"::ffff:10.1.2.3%eth0", "10.1.2.3"},
    /* not IPv4: another prefix */
    {"::1.2.3.4", "::1.2.3.4"},
    {"::fffe:10.1.2.3", "::fffe:a01:203"},
    {"::ffff:0:10.1.2.3", "::ffff:0:a01:203"},
    {"1::ffff:10.1.2.3", "1::ffff:a01:203"},
    /* brackets and zones */
    {"[::1]", "::1"},
    {"[2001:db8::1]", "2001:db8::1"},
    {"fe80::1%eth0", "fe80::1"},
    {"[fe80::1%25eth0]", "fe80::1"},
    {"fe80::1%br-1.2:3", "fe80::1"},
    {"fe80::1%", NONE},
    {"fe80::1%a b", NONE},
    {"fe80::1%\x80", NONE},
    {"fe80::1%e]", NONE},
    {"%eth0", NONE},
    {"10.1.2.3%eth0", NONE},
    {"[10.1.2.3]", BARE},
    {"[]", BARE},
    {"[", NONE},
    {"]", NONE},
    {"[::1", NONE},
    {"::1]", NONE},
    {"[[::1]]", NONE},
    {"[::1]:80", NONE},
    {"10.1.2.3:80", NONE},
    {"", NONE},
    {" ", NONE},
    {"a", NONE},
    {"localhost", NONE},
    {" 1.2.3.4", NONE},
    {"1.2.3.4 ", NONE},
    {"1.2.3.4\n", NONE},
    {"+1.2.3.4", NONE},
    {"-1.2.3.4", NONE},
    {"1.2.3.4/32", NONE},
    {"1.2.3", FOUR},
    {"1.2.3.", FOUR},
    {".1.2.3", FOUR},
    {"1..2.3", FOUR},
    {"1.2.3.4.", FOUR},
    {"1.2.3.4.5", FOUR},
    {"....", FOUR},
    {"1", NONE},
    {"16909060", OVER},
    {"0x1.2.3.4", NONE},
    {"256.1.1.1", OVER},
    {"1.1.1.999", OVER},
    {"1.1.1.1000000", OVER},
    {"01.2.3.4", ZERO},
    {"1.2.3.04", ZERO},
    {"010.0.0.1", ZERO},
    {"1.2.3.00", ZERO},
    {"1111.2222.3333.4", NONE},
    {"1.2.3.4.5.6.7.8.9", NONE},
    {":", DIGITS},
    {":1", DIGITS},
    {"1:", COLON},
    {":::", DIGITS},
    {"1::2::3", TWICE},
    {"::1::", TWICE},
    {"1:::2", DIGITS},
    {"1:2:3:4:5:6:7", LESS},
    {"1:2:3:4:5:6:7:", COLON},
    {"1:2:3:4:5:6:7:8:9", MORE},
    {"1:2:3:4:5:6:7:8::", FULL},
    {"::1:2:3:4:5:6:7:8", FULL},
    {"1:2:3:4::5:6:7:8", FULL},
    {"12345::", DIGITS},
    {"::12345", DIGITS},
    {"00001::", DIGITS},
    {"g::", NONE},
    {"::-1", NONE},
    {"::1.2.3", FOUR},
    {"::01.2.3.4", ZERO},
    {"::1.2.3.256", OVER},
    {"::ffff:010.1.2.3", ZERO},
    {"1.2.3.4::", NONE},
    {"::1.2.3.4:5", NONE},
    {"1:2:3:4:5:6:7:1.2.3.4", MORE},
    {"::1.2.3.4.5", FOUR},
};

TEST(values_have_one_form_or_none)
{
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        check_address(values[i].text, strlen(values[i].text), values[i].want);
    }
}

TEST(values_with_nul_bytes_are_refused)
{
    check_address("1.2.3.4\0", 8, NONE);
    check_address("1.2.3\0.4", 8, NONE);
    check_address("\0", 1, NONE);
    check_address("::1\0", 4, NONE);
    check_address("::\0", 3, NONE);
    check_address("fe80::1%\0", 9, NONE);
    check_address("[::1\0]", 6, NONE);
    check_entry("1.2.3.4\0/8", 10, NONE);
    check_entry("10.0.0.0/8\0", 11, "prefix length is not a number");
    check_entry("10.0.0.0\0-10.0.0.1", 18, NONE);
}

/* ---- Entries ------------------------------------------------------------- */

#define NUMBER "prefix length is not a number"
#define BEHIND "bits set behind the prefix"

static const struct {
    const char *text, *want;
} entries[] = {
    {"10.1.2.3", "10.1.2.3-10.1.2.3"},
    {"10.0.0.0/8", "10.0.0.0-10.255.255.255"},
    {"0.0.0.0/0", "0.0.0.0-255.255.255.255"},
    {"10.1.2.3/32", "10.1.2.3-10.1.2.3"},
    {"255.255.255.254/31", "255.255.255.254-255.255.255.255"},
    {"::/0", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    {"2001:DB8::/32", "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},
    {"2001:db8::/64", "2001:db8::-2001:db8::ffff:ffff:ffff:ffff"},
    {"2001:db8::/65", "2001:db8::-2001:db8::7fff:ffff:ffff:ffff"},
    {"2001:db8::1/128", "2001:db8::1-2001:db8::1"},
    {"::ffff:10.0.0.0/104", "10.0.0.0-10.255.255.255"},
    {"::ffff:10.1.2.3/128", "10.1.2.3-10.1.2.3"},
    {"::ffff:0:0/96", "0.0.0.0-255.255.255.255"},
    {"::ffff:a00:0/104", "10.0.0.0-10.255.255.255"},
    {"::fffe:0:0/95", "::fffe:0:0-::ffff:255.255.255.255"},
    {"10.0.0.1-10.0.0.9", "10.0.0.1-10.0.0.9"},
    {"10.0.0.1-10.0.0.1", "10.0.0.1-10.0.0.1"},
    {"::1-::ff", "::1-::ff"},
    {"::ffff:10.0.0.1-10.0.0.9", "10.0.0.1-10.0.0.9"},
    {"::ffff:10.0.0.1-::ffff:10.0.0.9", "10.0.0.1-10.0.0.9"},
    {"", "empty entry"},
    {"/", "empty address"},
    {"/8", "empty address"},
    {"-", "empty address"},
    {"10.0.0.0/", NUMBER},
    {"10.0.0.0/33", "prefix length over 32"},
    {"10.0.0.0/999", "prefix length over 32"},
    {"10.0.0.0/4294967304", NUMBER},
    {"10.0.0.0/abc", NUMBER},
    {"10.0.0.0/8a", NUMBER},
    {"10.0.0.0/+8", NUMBER},
    {"10.0.0.0/ 8", NUMBER},
    {"10.0.0.0/08", NUMBER},
    {"10.0.0.0/8.0", NUMBER},
    {"10.0.0.0/8/8", NUMBER},
    {"10.0.0.0/255.0.0.0", NUMBER},
    {"10.0.0.0/-1", NONE}, /* a range, from 10.0.0.0/ to 1 */
    {"::/129", "prefix length over 128"},
    {"::/-1", NONE},
    {"10.0.0.1/8", BEHIND},
    {"10.1.0.0/15", BEHIND},
    {"0.0.0.1/0", BEHIND},
    {"2001:db8::1/64", BEHIND},
    {"2001:db8:0:1::/63", BEHIND},
    {"::ffff:10.0.0.1/104", BEHIND},
    {"::ffff:0:0/95", BEHIND},
    {"::ffff:10.0.0.0/8", BEHIND},
    {"10.0.0.9-10.0.0.1", "range that ends before it begins"},
    {"::2-::1", "range that ends before it begins"},
    {"1::-0:ffff::", "range that ends before it begins"},
    {"10.0.0.1-::1", "range from one family to the other"},
    {"::-::ffff:10.0.0.1", "range from one family to the other"},
    {"10.0.0.1-", "empty address"},
    {"-10.0.0.1", "empty address"},
    {"10.0.0.1-9", NONE},
    {"10.0.0.1 - 10.0.0.9", NONE},
    {"10.0.0.0/8-10.0.0.9", NONE},
    {"10.0.0.1-10.0.0.2-10.0.0.3", NONE},
    {"[::1]", "brackets in an entry"},
    {"[::]/64", "brackets in an entry"},
    {"fe80::1%eth0", "zone in an entry"},
    {"fe80::1%eth0/64", "zone in an entry"},
    {"010.0.0.0/8", ZERO},
    {"10/8", NONE},
    {"10.0/16", FOUR},
    {"1.2.3", FOUR},
    {"example.com", NONE},
    {"10.0.0.0/8 ", NUMBER},
    {" 10.0.0.0/8", NONE},
    {"1::2::3/64", TWICE},
};

TEST(entries_are_networks_or_a_reason_why_not)
{
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        check_entry(entries[i].text, strlen(entries[i].text), entries[i].want);
    }
}

/* ---- Against inet_pton --------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ULL;
    return skl_mix64(*state);
}

/* Texts of the characters that addresses have, mostly nearly right. */
static size_t scramble(char out[48], uint64_t *seed)
{
    static const char *const good[] = {
        "1:2:3:4:5:6:7:8", "::",         "2001:db8::1:0",
        "::ffff:1.2.3.4",  "10.20.30.4", "1:2:3:4:5:6:255.1.0.9",
        "0.0.0.0",         "1::",        "abcd:EF01:2345:6789::"};
    static const char set[] = "0123456789abcdefABCDEF:::...g";
    uint64_t r = next_random(seed);
    const char *from = good[r % (sizeof(good) / sizeof(good[0]))];
    size_t len = strlen(from);

    memcpy(out, from, len);
    for (uint64_t n = r >> 8 & 3; n > 0 && len > 0; n--) {
        uint64_t x = next_random(seed);
        size_t at = (size_t)(x >> 8) % len;

        if ((x & 3) == 0) {
            memmove(out + at, out + at + 1, len - at - 1);
            len--;
        } else if ((x & 3) == 1 && len < 46) {
            memmove(out + at + 1, out + at, len - at);
            out[at] = set[(x >> 40) % (sizeof(set) - 1)];
            len++;
        } else {
            out[at] = set[(x >> 40) % (sizeof(set) - 1)];
        }
    }
    out[len] = '\0';
    return len;
}

TEST(values_agree_with_inet_pton)
{
    const int rounds = tap_full() ? 10000000 : 100000;
    uint64_t seed = tap_seed(4), wrong = 0, good = 0;

    for (int i = 0; i < rounds; i++) {
        unsigned char want[16] = {0};
        char text[48], out[INET6_ADDRSTRLEN], again[INET6_ADDRSTRLEN];
        size_t len = scramble(text, &seed);
        int v6 = memchr(text, ':', len) != NULL, taken;
        skl_addr_t a;

        taken = inet_pton(v6 ? AF_INET6 : AF_INET, text, want) == 1;
        if ((skl_net_parse_address(text, len, &a) == NULL) != taken) {
            printf("# \"%s\"\n", text);
            wrong++;
            continue;
        }
        if (!taken) {
            continue;
        }
        good++;
        inet_ntop(v6 ? AF_INET6 : AF_INET, want, out, sizeof(out));
        if (v6 && strncmp(out, "::ffff:", 7) == 0 && strchr(out, '.') != NULL) {
            memmove(out, out + 7, strlen(out + 7) + 1);
        }
        wrong += strcmp(out, show(&a, again)) != 0;
    }
    printf("# %d texts, %" PRIu64 " of them addresses\n", rounds, good);
    CHECK_INT(0, wrong);
    CHECK(good > 0 && good < (uint64_t)rounds);
}

/* ---- Pieces -------------------------------------------------------------- */

static const struct {
    const char *entry;
    uint32_t pieces;
} cuts[] = {
    {"10.0.0.0/8", 1},
    {"0.0.0.0/0", 1},
    {"0.0.0.0-255.255.255.255", 1},
    {"0.0.0.1-255.255.255.254", 62},
    {"10.0.0.0-10.255.255.255", 1},
    {"10.0.0.1-10.0.0.1", 1},
    {"10.0.0.1-10.0.0.2", 2},
    {"::/0", 1},
    {"::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1},
    {"::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 254},
    {"::-::ffff:ffff:ffff:ffff", 1},
    {"::-0:0:0:1::", 2},
};

static int follows(const skl_addr_t *a, const skl_prefix_t *b)
{
    uint64_t lo = a->lo + 1;

    return b->lo == lo && b->hi == a->hi + (lo == 0);
}

TEST(ranges_are_cut_into_networks)
{
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        skl_net_t net, rest;
        skl_prefix_t p;
        skl_addr_t end = {0};
        uint32_t n = 0;

        REQUIRE(skl_net_parse_entry(cuts[i].entry, strlen(cuts[i].entry),
                                    &net) == NULL);
        CHECK_INT(cuts[i].pieces, skl_net_pieces(&net));
        CHECK_INT(cuts[i].pieces == 1, skl_net_single(&net, &p));
        for (rest = net; skl_net_cut(&rest, &p); n++) {
            CHECK(n == 0 ? p.hi == net.first.hi && p.lo == net.first.lo
                         : follows(&end, &p));
            end = skl_net_last(&p);
        }
        CHECK(end.hi == net.last.hi && end.lo == net.last.lo);
        CHECK_INT(cuts[i].pieces, n);
    }
}

TEST(prefixes_clear_what_is_behind_them)
{
    skl_addr_t a, last;
    skl_prefix_t p;

    REQUIRE(skl_net_parse_address("255.255.255.255", 15, &a) == NULL);
    for (uint32_t bits = 0; bits <= 32; bits++) {
        p = skl_net_prefix(&a, bits);
        last = skl_net_last(&p);
        CHECK(p.lo == (0xffffffff00000000ULL >> bits & 0xffffffff));
        CHECK(last.lo == 0xffffffff && last.hi == 0);
    }
    a = (skl_addr_t){UINT64_MAX, UINT64_MAX, SKL_NET_V6, 0};
    for (uint32_t bits = 0; bits <= 128; bits++) {
        p = skl_net_prefix(&a, bits);
        last = skl_net_last(&p);
        CHECK(bits > 63 || p.lo == 0);
        CHECK(bits < 64 || p.hi == UINT64_MAX);
        CHECK(last.hi == UINT64_MAX && last.lo == UINT64_MAX);
    }
}

TAP_MAIN()
