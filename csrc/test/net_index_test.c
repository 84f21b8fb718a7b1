/*
 * The index of networks: against a naive scan of all entries, with the cases
 * of which lists are known to be wrong, with files that are torn or changed;
 * and networks in the overlay.
 */
#include "acl/lists.h"
#include "acl/net_index.h"
#include "acl/net_set.h"
#include "acl/text.h"
#include "base/crc32c.h"
#include "test/support/tap.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEC 1000000000LL
#define NOW (1700000000 * SEC)

typedef unsigned __int128 wide_t;

static const skl_hash_key_t KEY = {1, 2};

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ULL;
    return skl_mix64(*state);
}

/* ---- From text to an index ----------------------------------------------- */

typedef struct {
    void *base;
    uint64_t bytes;
    skl_net_index_t index;
} built_t;

static void *get_memory(uint64_t bytes)
{
    void *memory = calloc(1, bytes + (bytes == 0));

    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* The index of what has been put; frees the memory of the set. */
static void finish(skl_net_set_t *set, void *memory, built_t *b)
{
    const char *why = NULL;

    CHECK_INT(0, skl_net_set_end(set, &b->bytes));
    b->base = get_memory(b->bytes);
    skl_net_set_write(set, b->base, SECKILL_LIST_IP, 7, 1);
    CHECK_INT(0, skl_net_open(&b->index, b->base, b->bytes, &why));
    free(memory);
}

static void put_entry(void *ctx, const skl_index_entry_t *e)
{
    skl_net_t net;

    CHECK(skl_net_parse_entry(e->value, e->value_len, &net) == NULL);
    skl_net_set_put(ctx, &net, e);
}

static void parse(skl_text_t *t, skl_text_entry_fn entry, void *ctx,
                  const char *text)
{
    skl_text_begin(t, entry, ctx, NOW);
    skl_text_set_kind(t, SECKILL_LIST_IP);
    skl_text_feed(t, text, strlen(text));
    skl_text_end(t);
}

static void build(const char *text, built_t *b)
{
    skl_net_set_t set;
    skl_text_t t;
    void *memory;

    parse(&t, NULL, NULL, text);
    CHECK_STR("", t.errors);
    memory =
        get_memory(skl_net_set_bytes(t.counts.entries, t.counts.reasons_bytes));
    skl_net_set_begin(&set, memory, t.counts.entries, t.counts.reasons_bytes);
    parse(&t, put_entry, &set, text);
    finish(&set, memory, b);
}

/* 0, 1 denied, 2 allowed, at a time. */
static int judge(const skl_net_index_t *index, const skl_addr_t *a, int64_t now,
                 skl_index_hit_t *hit)
{
    if (!skl_net_find(index, a, hit)) {
        return 0;
    }
    skl_net_settle(index, now, hit);
    return hit->allow_until > now ? 2 : hit->deny_until > now;
}

static int ask(const built_t *b, const char *value, int64_t now)
{
    skl_index_hit_t hit;
    skl_addr_t a;

    if (skl_net_parse_address(value, strlen(value), &a) != NULL) {
        return -1;
    }
    return judge(&b->index, &a, now, &hit);
}

/* ---- Known cases --------------------------------------------------------- */

typedef struct {
    const char *list, *value;
    int want;
    int64_t after; /* seconds */
} case_t;

#define NESTED                                                                 \
    "10.0.0.0/8\n!10.1.0.0/16\n10.1.2.0/24\n!10.1.2.3\n0.0.0.0/0\t100\n"
#define TIMED                                                                  \
    "!10.0.0.0/8\n10.1.0.0/16\t20\tslow\n!10.1.2.0/24\t10\n10.1.2.3\t5\n"      \
    "::/0\n!2001:db8::/32\t10\n"

static const case_t cases[] = {
    {"", "1.2.3.4", 0, 0},
    {"", "::1", 0, 0},
    {"1.2.3.4\n", "::", 0, 0},
    {"::\n", "0.0.0.0", 0, 0},
    /* everything does not hide what is in it, wherever it stands */
    {"0.0.0.0/0\n!10.0.0.0/8\n", "10.1.2.3", 2, 0},
    {"!10.0.0.0/8\n0.0.0.0/0\n", "10.1.2.3", 2, 0},
    {"0.0.0.0/0\n!10.0.0.0/8\n", "11.1.2.3", 1, 0},
    {"::/0\n!2001:db8::/32\n", "2001:db8::1", 2, 0},
    {"::/0\n!2001:db8::/32\n", "2001:db9::1", 1, 0},
    {"0.0.0.0/0\n", "0.0.0.0", 1, 0},
    {"0.0.0.0/0\n", "255.255.255.255", 1, 0},
    {"::/0\n", "::", 1, 0},
    {"::/0\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1, 0},
    /* one family does not contain the other */
    {"0.0.0.0/0\n", "::1", 0, 0},
    {"::/0\n", "1.2.3.4", 0, 0},
    {"::/0\n", "::ffff:1.2.3.4", 0, 0},
    /* a v4-mapped address is no way around */
    {"10.0.0.0/8\n", "::ffff:10.1.2.3", 1, 0},
    {"10.0.0.0/8\n", "::ffff:a01:203", 1, 0},
    {"10.0.0.0/8\n", "[::ffff:10.1.2.3]", 1, 0},
    {"::ffff:10.0.0.0/104\n", "10.1.2.3", 1, 0},
    {"::ffff:10.0.0.0/104\n", "11.1.2.3", 0, 0},
    {"10.0.0.0/8\n", "::10.1.2.3", 0, 0},
    {"fe80::/10\n", "fe80::1%eth0", 1, 0},
    /* ends */
    {"10.0.0.0/8\n", "9.255.255.255", 0, 0},
    {"10.0.0.0/8\n", "10.0.0.0", 1, 0},
    {"10.0.0.0/8\n", "10.255.255.255", 1, 0},
    {"10.0.0.0/8\n", "11.0.0.0", 0, 0},
    {"255.255.255.255\n", "255.255.255.255", 1, 0},
    {"255.255.255.255\n", "255.255.255.254", 0, 0},
    {"0.0.0.0\n", "0.0.0.0", 1, 0},
    {"0.0.0.0\n", "0.0.0.1", 0, 0},
    {"::\n", "::1", 0, 0},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n",
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1, 0},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n",
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 0, 0},
    {"ffff:ffff:ffff:ffff::/64\n", "ffff:ffff:ffff:fffe:ffff:ffff:ffff:ffff", 0,
     0},
    {"10.0.255.255-10.1.0.0\n", "10.0.255.254", 0, 0},
    {"10.0.255.255-10.1.0.0\n", "10.0.255.255", 1, 0},
    {"10.0.255.255-10.1.0.0\n", "10.1.0.0", 1, 0},
    {"10.0.255.255-10.1.0.0\n", "10.1.0.1", 0, 0},
    {"::ffff-1::\n", "::fffe", 0, 0},
    {"::ffff-1::\n", "::1:0", 1, 0},
    {"::ffff-1::\n", "1::", 1, 0},
    {"::ffff-1::\n", "1::1", 0, 0},
    /* nested, in both senses */
    {NESTED, "10.2.0.0", 1, 0},
    {NESTED, "10.1.0.1", 2, 0},
    {NESTED, "10.1.2.4", 1, 0},
    {NESTED, "10.1.2.3", 2, 0},
    {NESTED, "9.9.9.9", 1, 0},
    {NESTED, "9.9.9.9", 0, 100},
    {NESTED, "10.1.2.3", 2, 1000},
    /* a range is worth its networks: 10.0.0.0/24 and 10.0.1.0/25 */
    {"10.0.0.0-10.0.1.127\n!10.0.0.0/23\n", "10.0.1.5", 1, 0},
    {"10.0.0.0-10.0.1.127\n!10.0.1.0/26\n", "10.0.1.5", 2, 0},
    {"10.0.0.0-10.0.1.127\n!10.0.0.0/23\n", "10.0.1.200", 2, 0},
    /* the same network */
    {"10.0.0.0/8\n!10.0.0.0/8\n", "10.1.1.1", 2, 0},
    {"!10.0.0.0/8\n10.0.0.0/8\n", "10.1.1.1", 2, 0},
    {"!10.0.0.0/8\t5\n10.0.0.0/8\n", "10.1.1.1", 1, 5},
    {"!10.0.0.0/8\n10.0.0.0-10.255.255.255\n", "10.1.1.1", 2, 0},
    {"10.0.0.0/8\n10.0.0.0/8\t5\n", "10.1.1.1", 0, 5},
    {"10.0.0.0/8\t5\n10.0.0.0/8\n", "10.1.1.1", 1, 5},
    /* what is over is not there: the next one decides */
    {TIMED, "10.1.2.3", 1, 4},
    {TIMED, "10.1.2.3", 2, 5},
    {TIMED, "10.1.2.3", 1, 10},
    {TIMED, "10.1.2.3", 2, 20},
    {TIMED, "10.1.2.4", 2, 0},
    {TIMED, "10.1.2.4", 1, 10},
    {TIMED, "10.1.2.4", 2, 20},
    {TIMED, "10.2.2.2", 2, 99},
    {TIMED, "11.1.2.3", 0, 0},
    {TIMED, "2001:db8::1", 2, 9},
    {TIMED, "2001:db8::1", 1, 10},
    /* inside of one /64 */
    {"2001:db8::/64\n!2001:db8::8000:0:0:0/65\n2001:db8::ff\t5\n",
     "2001:db8::8000:0:0:1", 2, 0},
    {"2001:db8::/64\n!2001:db8::8000:0:0:0/65\n!2001:db8::ff\t5\n",
     "2001:db8::ff", 2, 4},
    {"2001:db8::/64\n!2001:db8::8000:0:0:0/65\n!2001:db8::ff\t5\n",
     "2001:db8::ff", 1, 5},
    {"2001:db8::ff\n", "2001:db8::fe", 0, 0},
    {"2001:db8::ff\n", "2001:db8:0:1::", 0, 0},
    {"2001:db8::ff\n2001:db8:0:1::/64\n", "2001:db8:0:1::", 1, 0},
};

TEST(the_most_specific_network_decides)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const case_t *c = &cases[i];
        built_t b;

        build(c->list, &b);
        if (!CHECK_INT(c->want, ask(&b, c->value, NOW + c->after * SEC))) {
            printf("# %s in\n# %s", c->value, c->list);
        }
        free(b.base);
    }
}

TEST(reasons_come_with_the_network_that_decides)
{
    skl_index_hit_t hit;
    skl_addr_t a;
    built_t b;

    build("10.0.0.0/8\t\twide\n10.1.0.0/16\t5\tnarrow\n!10.2.0.0/16\t5\n", &b);
    CHECK(skl_net_parse_address("10.1.2.3", 8, &a) == NULL);
    CHECK_INT(1, judge(&b.index, &a, NOW, &hit));
    CHECK(hit.reason_len == 6 && memcmp(hit.reason, "narrow", 6) == 0);
    CHECK_INT(1, judge(&b.index, &a, NOW + 5 * SEC, &hit));
    CHECK(hit.reason_len == 4 && memcmp(hit.reason, "wide", 4) == 0);
    CHECK(skl_net_parse_address("10.2.0.1", 8, &a) == NULL);
    CHECK_INT(2, judge(&b.index, &a, NOW, &hit));
    CHECK_INT(1, judge(&b.index, &a, NOW + 5 * SEC, &hit));
    CHECK(hit.reason_len == 4);
    CHECK_INT(3, b.index.header->entries);
    free(b.base);
}

TEST(networks_without_an_end_share_marks_and_ranges)
{
    built_t b;

    build("10.0.0.0/9\n10.128.0.0/9\n10.1.2.3\n11.0.0.0/8\n9.0.0.0/8\n"
          "2001:db8::/33\n2001:db8:8000::/33\n2001:db8::1\n",
          &b);
    CHECK_INT(SKL_NET_FIRST_MARK, b.index.header->marks);
    CHECK_INT(0, b.index.header->ranges4);
    CHECK_INT(3, b.index.header->keys6);
    CHECK_INT(0, b.index.header->inners);
    CHECK_INT(8, b.index.header->entries);
    free(b.base);
}

/* ---- Text ---------------------------------------------------------------- */

TEST(bad_lines_say_why)
{
    skl_text_t t;

    parse(&t, NULL, NULL,
          "10.0.0.0/33\n::1%eth0\n10.1/16\n1.2.3.4\n10.0.0.1/8\n");
    CHECK_INT(4, t.bad_lines);
    CHECK_INT(1, t.counts.entries);
    CHECK_STR("line 1: prefix length over 32; line 2: zone in an entry; "
              "line 3: IPv4 address without 4 numbers; "
              "line 5: bits set behind the prefix",
              t.errors);
    parse(&t, NULL, NULL, "!\n#x\n!!1.2.3.4\n0.0.0.1-0.0.0.6\t5\twhy\n");
    CHECK_STR("line 1: empty entry; line 3: not an address", t.errors);
    CHECK_INT(4, t.counts.entries);
    CHECK_INT(4, t.counts.reasons_bytes);
}

/* ---- Against a naive scan ------------------------------------------------ */

/* All entries in the order of the file. */
typedef struct {
    wide_t first, last;
    int64_t until;
    uint32_t family, bits; /* bits of a CIDR; RANGE */
    int allow, number;     /* the reason of number n is "n" */
} rule_t;

enum { RANGE = 999, RULES = 1200 };

typedef struct {
    rule_t rules[RULES];
    uint32_t count;
} model_t;

static wide_t mask(uint32_t family, uint32_t bits)
{
    uint32_t host = skl_net_width(family) - bits;

    return host == 0 ? 0 : ~(wide_t)0 >> (128 - host);
}

/* How specific a rule is at an address; -1 when it does not contain it. */
static int weight(const rule_t *r, uint32_t family, wide_t address)
{
    if (family != r->family || address < r->first || address > r->last) {
        return -1;
    }
    for (uint32_t bits = 0; r->bits == RANGE; bits++) {
        wide_t m = mask(family, bits);

        if ((address & ~m) >= r->first && (address | m) <= r->last) {
            return (int)bits;
        }
    }
    return (int)r->bits;
}

/* 0, 1, 2; *number of the deny that decides. */
static int scan(const model_t *model, uint32_t family, wide_t address,
                int64_t now, int *number)
{
    const rule_t *deny[129] = {NULL}, *allow[129] = {NULL};

    for (uint32_t i = 0; i < model->count; i++) {
        const rule_t *r = &model->rules[i];
        int bits = weight(r, family, address);

        if (bits >= 0) {
            (r->allow ? allow : deny)[bits] = r;
        }
    }
    for (int bits = 128; bits >= 0; bits--) {
        if (allow[bits] != NULL && allow[bits]->until > now) {
            return 2;
        }
        if (deny[bits] != NULL && deny[bits]->until > now) {
            *number = deny[bits]->number;
            return 1;
        }
    }
    return 0;
}

/* What lists look like. */
typedef struct {
    const char *name;
    uint32_t rules;
    uint32_t v6;          /* of 100 */
    uint32_t least, most; /* bits */
    uint32_t near;        /* of 100: in or beside an earlier one */
    uint32_t timed, ranged, allowed, reasons; /* of 100 */
} shape_t;

static const shape_t shapes[] = {
    {"sparse", 1000, 50, 0, 128, 0, 0, 10, 20, 0},
    {"nested", 1000, 50, 0, 128, 90, 30, 20, 50, 50},
    {"one chunk", 1000, 0, 17, 32, 95, 20, 10, 30, 10},
    {"one /64", 1000, 100, 65, 128, 99, 20, 10, 30, 10},
    {"hosts", 1000, 50, 128, 128, 60, 0, 0, 0, 0},
    {"wide", 60, 50, 0, 12, 50, 50, 30, 50, 50},
    {"short-lived", 300, 50, 0, 128, 95, 100, 20, 50, 90},
    {"few", 3, 50, 0, 128, 80, 30, 30, 50, 50},
};

static int chance(uint64_t *seed, uint32_t of_100)
{
    return next_random(seed) % 100 < of_100;
}

static wide_t random_wide(uint64_t *seed)
{
    return (wide_t)next_random(seed) << 64 | next_random(seed);
}

/* An address in or beside an earlier rule, or anywhere. */
static wide_t pick_address(const model_t *m, uint32_t near, uint32_t family,
                           uint64_t *seed)
{
    wide_t all = mask(family, 0), address = random_wide(seed) & all;
    const rule_t *r;

    if (m->count == 0 || !chance(seed, near)) {
        return address;
    }
    r = &m->rules[next_random(seed) % m->count];
    if (r->family != family) {
        return address;
    }
    switch (next_random(seed) % 6) {
    case 0:
        return (r->first - 1) & all;
    case 1:
        return (r->last + 1) & all;
    case 2:
        return r->first;
    case 3:
        return r->last;
    case 4:
        return r->first ^ (wide_t)1
                              << next_random(seed) % skl_net_width(family);
    default:
        return r->first + (address & (r->last - r->first));
    }
}

static void add_rule(model_t *m, const shape_t *s, uint64_t *seed)
{
    rule_t *r = &m->rules[m->count];
    uint32_t width;
    wide_t a;

    r->family = chance(seed, s->v6) ? SKL_NET_V6 : SKL_NET_V4;
    width = skl_net_width(r->family);
    a = pick_address(m, s->near, r->family, seed);
    r->number = (int)m->count;
    r->allow = chance(seed, s->allowed);
    r->until = chance(seed, s->timed)
                   ? NOW + (int64_t)(next_random(seed) % 6) * SEC + 1
                   : SKL_FOREVER;
    r->bits =
        s->least + (uint32_t)(next_random(seed) % (s->most + 1 - s->least));
    r->bits = r->bits <= width ? r->bits : width;
    r->first = a & ~mask(r->family, r->bits);
    r->last = a | mask(r->family, r->bits);
    if (chance(seed, s->ranged)) {
        r->bits = RANGE;
        a = pick_address(m, s->near, r->family, seed);
        a = a < r->first || chance(seed, 50) ? r->last : a;
        r->last = a;
    }
    m->count++;
}

static skl_addr_t to_addr(uint32_t family, wide_t a)
{
    return (skl_addr_t){(uint64_t)(a >> 64), (uint64_t)a, family, 0};
}

static void index_model(const model_t *m, const shape_t *s, built_t *b)
{
    uint64_t pieces = 0, n = m->count;
    skl_net_set_t set;
    void *memory;

    for (uint32_t i = 0; i < n; i++) {
        const rule_t *r = &m->rules[i];
        skl_net_t net = {to_addr(r->family, r->first),
                         to_addr(r->family, r->last)};

        pieces += skl_net_pieces(&net);
    }
    memory = get_memory(skl_net_set_bytes(pieces, n * 8));
    skl_net_set_begin(&set, memory, pieces, n * 8);
    for (uint32_t i = 0; i < n; i++) {
        const rule_t *r = &m->rules[i];
        skl_net_t net = {to_addr(r->family, r->first),
                         to_addr(r->family, r->last)};
        char reason[16];
        skl_index_entry_t e = {
            .until = r->until, .allow = r->allow, .reason = reason};

        if (s->reasons > 0) {
            e.reason_len = (size_t)snprintf(reason, sizeof(reason), "%d", i);
        }
        skl_net_set_put(&set, &net, &e);
    }
    finish(&set, memory, b);
}

static uint64_t probe(const model_t *m, const shape_t *s, const built_t *b,
                      uint64_t count, uint64_t *seed)
{
    uint64_t wrong = 0;

    for (uint64_t i = 0; i < count; i++) {
        uint32_t family = chance(seed, s->v6) ? SKL_NET_V6 : SKL_NET_V4;
        wide_t address = pick_address(m, 80, family, seed);
        skl_addr_t a = to_addr(family, address);
        int64_t now = NOW + (int64_t)(next_random(seed) % 7) * SEC;
        int number = -1, want = scan(m, family, address, now, &number);
        skl_index_hit_t hit = {0};
        int got = judge(&b->index, &a, now, &hit);

        wrong += got != want;
        if (want == 1 && got == 1 && s->reasons > 0) {
            char text[16];
            int len = snprintf(text, sizeof(text), "%d", number);

            wrong += hit.reason_len != (uint32_t)len ||
                     memcmp(hit.reason, text, (size_t)len) != 0;
        }
    }
    return wrong;
}

TEST(index_differs_from_a_naive_scan_nowhere)
{
    const size_t kinds = sizeof(shapes) / sizeof(shapes[0]);
    const uint64_t total = tap_full() ? 10000000 : 100000;
    const uint64_t lists = tap_full() ? 400 : 40;
    uint64_t seed = tap_seed(5), probes = 0, wrong = 0, rules = 0;
    static model_t model;

    for (uint64_t i = 0; i < lists; i++) {
        const shape_t *s = &shapes[i % kinds];
        built_t b;

        model.count = 0;
        while (model.count < s->rules) {
            add_rule(&model, s, &seed);
        }
        index_model(&model, s, &b);
        wrong += probe(&model, s, &b, total / lists, &seed);
        if (!CHECK_INT(0, wrong)) {
            printf("# list %d: %s\n", (int)i, s->name);
            i = lists;
        }
        probes += total / lists;
        rules += model.count;
        free(b.base);
    }
    printf("# %" PRIu64 " probes of %" PRIu64 " lists, %" PRIu64
           " entries: %" PRIu64 " differ\n",
           probes, lists, rules, wrong);
}

TEST(the_order_of_lines_makes_no_difference)
{
    built_t a, b;

    build("10.0.0.0/8\n!10.1.0.0/16\n::/0\t5\n2001:db8::1\n1.2.3.4\n", &a);
    build("1.2.3.4\n2001:db8::1\n::/0\t5\n!10.1.0.0/16\n10.0.0.0/8\n", &b);
    CHECK(a.bytes == b.bytes && memcmp(a.base, b.base, a.bytes) == 0);
    free(a.base);
    free(b.base);
}

/* ---- Bounds -------------------------------------------------------------- */

TEST(more_than_was_planned_is_refused)
{
    skl_index_entry_t e = {.until = SKL_FOREVER};
    skl_index_entry_t reason = {
        .until = SKL_FOREVER, .reason = "why", .reason_len = 3};
    skl_net_set_t set;
    skl_net_t net;
    uint64_t bytes;
    void *memory = get_memory(skl_net_set_bytes(2, 3));

    CHECK(skl_net_parse_entry("0.0.0.1-0.0.0.6", 15, &net) == NULL);
    skl_net_set_begin(&set, memory, 2, 3);
    skl_net_set_put(&set, &net, &e);
    CHECK_INT(SECKILL_EFULL, skl_net_set_end(&set, &bytes));
    CHECK(skl_net_parse_entry("0.0.0.1", 7, &net) == NULL);
    skl_net_set_begin(&set, memory, 2, 3);
    skl_net_set_put(&set, &net, &reason);
    CHECK_INT(SECKILL_EFULL, skl_net_set_end(&set, &bytes));
    skl_net_set_begin(&set, memory, 2, 3);
    skl_net_set_put(&set, &net, &e);
    CHECK_INT(0, skl_net_set_end(&set, &bytes));
    free(memory);
}

/* One network of each length around one address: the longest chain. */
TEST(chains_of_every_length_end)
{
    enum { TEXT = 129 * 64 };
    char *text = get_memory(TEXT);
    size_t used = 0;
    built_t b;

    for (int bits = 0; bits <= 128; bits++) {
        used += (size_t)snprintf(text + used, TEXT - used, "%s::/%d\t%d\n",
                                 bits % 2 == 0 ? "" : "!", bits, bits + 1);
    }
    build(text, &b);
    CHECK_INT(129, b.index.header->entries);
    for (int t = 0; t <= 128; t++) {
        /* Those of up to t bits are over; the longest still counts. */
        CHECK_INT(1, ask(&b, "::", NOW + t * SEC));
        CHECK_INT(t < 128 ? 2 : 0, ask(&b, "::1", NOW + t * SEC));
    }
    CHECK_INT(0, ask(&b, "::", NOW + 129 * SEC));
    free(b.base);
    free(text);
}

/* ---- Files that are not what was written --------------------------------- */

#define SMALL                                                                  \
    "10.0.0.0/8\t5\twhy\n!10.1.0.0/16\n10.1.2.3\n2001:db8::/32\n"              \
    "2001:db8::1-2001:db8::ff\t9\n!::/0\t7\n"

TEST(torn_at_every_length_is_refused)
{
    skl_net_index_t index;
    const char *why;
    built_t b;

    build("2001:db8::/32\n2001:db8::1-2001:db8::ff\t9\tr\n!::/0\t7\n", &b);
    for (uint64_t len = 0; len < b.bytes; len++) {
        char *copy = malloc(len + (len == 0)); /* exact: ASan sees more */

        if (copy == NULL) {
            abort();
        }
        memcpy(copy, b.base, len);
        CHECK_INT(SECKILL_ECORRUPT, skl_net_open(&index, copy, len, &why));
        free(copy);
    }
    free(b.base);
}

static void look_around(const skl_net_index_t *index)
{
    static const char *const values[] = {
        "0.0.0.0",
        "10.0.0.1",
        "10.1.2.3",
        "255.255.255.255",
        "::",
        "2001:db8::",
        "::1",
        "2001:db8::80",
        "2001:db8::ff:1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
    volatile char last;
    skl_index_hit_t hit;
    skl_addr_t a;

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        CHECK(skl_net_parse_address(values[i], strlen(values[i]), &a) == NULL);
        (void)judge(index, &a, NOW + 6 * SEC, &hit);
        if (hit.reason_len > 0) {
            last = hit.reason[hit.reason_len - 1];
            (void)last;
        }
    }
}

/* As an attacker could who sets the checksums right again. */
static void open_resealed(const built_t *b)
{
    skl_net_header_t *h = b->base;
    uint32_t body = h->body_crc, header = h->header_crc;
    skl_net_index_t index;
    const char *why;

    h->body_crc = skl_crc32c(0, (char *)b->base + SKL_NET_HEADER,
                             b->bytes - SKL_NET_HEADER);
    h->header_crc = skl_crc32c(0, h, offsetof(skl_net_header_t, header_crc));
    if (skl_net_open(&index, b->base, b->bytes, &why) == SECKILL_OK) {
        look_around(&index);
    }
    h->body_crc = body;
    h->header_crc = header;
}

TEST(a_changed_byte_is_refused_and_harmless)
{
    const int deep = tap_full();
    skl_net_index_t index;
    const char *why;
    uint64_t accepted = 0, tried = 0;
    built_t b;

    build(SMALL, &b);
    for (uint64_t at = 0; at < b.bytes; at++) {
        unsigned char *byte = (unsigned char *)b.base + at;
        unsigned char flips[] = {0x01, 0x80, 0xff};
        uint64_t chunks =
            (uint64_t)((const char *)b.index.chunks - (const char *)b.base);

        /* The rest of the header block is padding; chunks are all alike. */
        if ((at >= sizeof(skl_net_header_t) && at < SKL_NET_HEADER) ||
            (!deep && at >= chunks && at < chunks + 4 * SKL_NET_CHUNKS &&
             (at - chunks) / 4 != 0x0a01 && (at - chunks) % 4099 != 0)) {
            continue;
        }
        for (size_t i = 0; i < sizeof(flips); i++) {
            *byte ^= flips[i];
            accepted +=
                i == 0 && skl_net_open(&index, b.base, b.bytes, &why) == 0;
            open_resealed(&b);
            *byte ^= flips[i];
            tried++;
        }
    }
    CHECK_INT(0, accepted);
    CHECK_INT(0, skl_net_open(&index, b.base, b.bytes, &why));
    printf("# %" PRIu64 " changes\n", tried);
    free(b.base);
}

/* ---- Overlay ------------------------------------------------------------- */

enum { LISTS = 2, CAPACITY = 100 };

static void *new_overlay(skl_overlay_t *o)
{
    void *base =
        mmap(NULL, skl_overlay_bytes(LISTS, CAPACITY), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (base == MAP_FAILED) {
        abort();
    }
    skl_overlay_init(base, LISTS, CAPACITY);
    skl_overlay_attach(o, base, &KEY);
    return base;
}

static void free_overlay(void *base)
{
    munmap(base, skl_overlay_bytes(LISTS, CAPACITY));
}

static skl_prefix_t to_prefix(const char *entry)
{
    skl_prefix_t p = {0};
    skl_net_t net;

    CHECK(skl_net_parse_entry(entry, strlen(entry), &net) == NULL);
    CHECK(skl_net_single(&net, &p));
    return p;
}

static int set(skl_overlay_t *o, const char *entry, uint32_t kind,
               int64_t until, int64_t now)
{
    skl_prefix_t p = to_prefix(entry);

    return skl_overlay_set_net(o, 0, &p, kind, until, now);
}

/* SKL_OVERLAY_*, at a time. */
static uint32_t state(const skl_overlay_t *o, const char *value, int64_t now)
{
    skl_overlay_hit_t hit;
    skl_addr_t a;

    CHECK(skl_net_parse_address(value, strlen(value), &a) == NULL);
    skl_overlay_find_net(o, 0, &a, &hit);
    return hit.closer_until > now ? SKL_OVERLAY_DENY : hit.kind;
}

TEST(overlay_finds_the_most_specific_network)
{
    skl_overlay_t o;
    void *base = new_overlay(&o);

    CHECK_INT(0, state(&o, "10.1.2.3", NOW));
    CHECK_INT(0, set(&o, "10.0.0.0/8", SKL_OVERLAY_DENY, SKL_FOREVER, NOW));
    CHECK_INT(0, set(&o, "10.1.0.0/16", SKL_OVERLAY_REMOVED, SKL_FOREVER, NOW));
    CHECK_INT(0, set(&o, "10.1.2.3", SKL_OVERLAY_DENY, NOW + 5 * SEC, NOW));
    CHECK_INT(0, set(&o, "::/0", SKL_OVERLAY_DENY, SKL_FOREVER, NOW));
    CHECK_INT(0, set(&o, "::1", SKL_OVERLAY_REMOVED, SKL_FOREVER, NOW));
    CHECK_INT(0,
              set(&o, "2001:db8::/64", SKL_OVERLAY_REMOVED, SKL_FOREVER, NOW));
    CHECK_INT(SKL_OVERLAY_DENY, state(&o, "10.2.0.0", NOW));
    CHECK_INT(SKL_OVERLAY_REMOVED, state(&o, "10.1.2.4", NOW));
    CHECK_INT(SKL_OVERLAY_DENY, state(&o, "10.1.2.3", NOW));
    CHECK_INT(SKL_OVERLAY_DENY, state(&o, "::ffff:10.1.2.3", NOW));
    CHECK_INT(SKL_OVERLAY_REMOVED, state(&o, "10.1.2.3", NOW + 5 * SEC));
    CHECK_INT(SKL_OVERLAY_NONE, state(&o, "11.0.0.0", NOW));
    CHECK_INT(SKL_OVERLAY_REMOVED, state(&o, "::1", NOW));
    CHECK_INT(SKL_OVERLAY_REMOVED, state(&o, "2001:db8::ffff", NOW));
    CHECK_INT(SKL_OVERLAY_DENY, state(&o, "2001:db8:0:1::", NOW));
    CHECK_INT(6, skl_overlay_live(&o, 0));
    free_overlay(base);
}

static int lengths(const skl_overlay_t *o)
{
    int n = 0;

    for (int i = 0; i < 3; i++) {
        n += __builtin_popcountll(atomic_load(&o->lengths[0].used[i]));
    }
    return n;
}

TEST(overlay_forgets_lengths_that_nothing_has)
{
    skl_overlay_t o;
    void *base = new_overlay(&o);
    skl_prefix_t p = to_prefix("10.1.0.0/16");

    CHECK_INT(0, lengths(&o));
    CHECK_INT(0, set(&o, "10.0.0.0/8", SKL_OVERLAY_DENY, NOW + SEC, NOW));
    CHECK_INT(0, set(&o, "11.0.0.0/8", SKL_OVERLAY_DENY, NOW + 2 * SEC, NOW));
    CHECK_INT(0, set(&o, "::/8", SKL_OVERLAY_DENY, NOW + 2 * SEC, NOW));
    CHECK_INT(2, lengths(&o));
    CHECK(skl_overlay_has_wider(&o, 0, &p));
    CHECK(!skl_overlay_has_wider(&o, 1, &p));
    p = to_prefix("8.0.0.0/8");
    CHECK(!skl_overlay_has_wider(&o, 0, &p));
    skl_overlay_trim(&o, 1 << 20, NOW + SEC);
    CHECK_INT(2, lengths(&o));
    skl_overlay_trim(&o, 1 << 20, NOW + 2 * SEC);
    CHECK_INT(0, lengths(&o));
    CHECK_INT(0, set(&o, "10.0.0.0/8", SKL_OVERLAY_DENY, NOW + 3 * SEC, NOW));
    CHECK_INT(0, set(&o, "10.0.0.0/8", SKL_OVERLAY_REMOVED, NOW, NOW));
    CHECK_INT(0, lengths(&o));
    free_overlay(base);
}

static skl_prefix_t random_net(uint64_t *seed)
{
    uint64_t r = next_random(seed);
    skl_addr_t a = {0, 0x0a000000 | (r >> 32 & 3), SKL_NET_V4, 0};

    if (r & 1) {
        a = (skl_addr_t){0, r >> 32 & 3, SKL_NET_V6, 0};
    }
    return skl_net_prefix(&a,
                          (uint32_t)(r >> 8) % (skl_net_width(a.family) + 1));
}

static void write_for_ever(skl_overlay_t *o)
{
    uint64_t seed = (uint64_t)getpid();

    for (int64_t now = NOW;; now += 1000000) {
        skl_prefix_t p = random_net(&seed);

        (void)skl_overlay_set_net(o, 0, &p,
                                  1 + (uint32_t)(next_random(&seed) % 2),
                                  now + 20000000, now);
    }
}

/* 1 when each length that a slot has is a bit. */
static int lengths_cover(const skl_overlay_t *o)
{
    for (uint64_t i = 0; i < o->shm->slots; i++) {
        uint32_t n = atomic_load(&o->table[i].length) - 1;

        if ((atomic_load(&o->table[i].state) & 3) != 0 &&
            !(atomic_load(&o->lengths[0].used[n / 64]) >> n % 64 & 1)) {
            return 0;
        }
    }
    return 1;
}

static int lengths_exact(const skl_overlay_t *o)
{
    uint32_t count[SKL_OVERLAY_LENGTHS] = {0};
    int same = 1;

    for (uint64_t i = 0; i < o->shm->slots; i++) {
        if ((atomic_load(&o->table[i].state) & 3) != 0) {
            count[atomic_load(&o->table[i].length) - 1]++;
        }
    }
    for (uint32_t n = 0; n < SKL_OVERLAY_LENGTHS; n++) {
        int used = atomic_load(&o->lengths[0].used[n / 64]) >> n % 64 & 1;

        same &= count[n] == atomic_load(&o->lengths[0].count[n]);
        same &= used == (count[n] > 0);
    }
    return same;
}

TEST(overlay_keeps_lengths_when_writers_are_killed)
{
    const int kills = tap_full() ? 500 : 40;
    uint64_t seed = tap_seed(6), repairs;
    skl_overlay_t o;
    void *base = new_overlay(&o);

    for (int i = 0; i < kills; i++) {
        struct timespec ts = {0, 200000 + (long)(next_random(&seed) % 2000000)};
        pid_t pid = fork();

        if (pid == 0) {
            write_for_ever(&o);
        }
        REQUIRE(pid > 0);
        nanosleep(&ts, NULL);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        CHECK(lengths_cover(&o)); /* never too few */
        CHECK_INT(
            0, set(&o, "1.2.3.4/30", SKL_OVERLAY_DENY, SKL_FOREVER, NOW * 2));
        CHECK_INT(SKL_OVERLAY_DENY, state(&o, "1.2.3.5", NOW * 2));
        CHECK(lengths_exact(&o));
        CHECK_INT(0, set(&o, "1.2.3.4/30", SKL_OVERLAY_DENY, NOW, NOW * 2));
    }
    repairs = atomic_load(&o.shm->lock.repairs);
    printf("# %d kills, %d under the lock\n", kills, (int)repairs);
    CHECK(repairs > 0);
    free_overlay(base);
}

TAP_MAIN()
