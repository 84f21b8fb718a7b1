/*
 * Fuzzer of the reader of network indexes (libFuzzer).
 *
 * A small good index is changed by the input, a list of (offset, byte) pairs,
 * and cut to a length that the input chooses. Once it is opened as it is: it
 * must be refused, or be unchanged. Once the checksums are set right again, as
 * an attacker could: then every lookup must stay inside the memory.
 */
#include "acl/net_index.h"
#include "acl/net_set.h"
#include "acl/text.h"
#include "base/assert.h"
#include "base/crc32c.h"
#include "seckill.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* With trees of two levels, blocks of both sizes, chains and reasons. */
static const char LIST[] =
    "10.0.0.0/8\t5\twhy\n!10.1.0.0/16\t9\n10.1.2.1-10.1.2.30\n10.9.9.9\n"
    "2001:db8::/32\t7\tlong reason\n2001:db8::1-2001:db8::fffe\n!::/0\t3\n"
    "2001:db8:1::/48\n2001:db8:3::/48\n2001:db8:5::/48\n2001:db8:7::1\n"
    "2001:db8:9::/48\n!2001:db8:9::/64\n";

static void put(void *set, const skl_index_entry_t *e)
{
    skl_net_t net;

    skl_assert(skl_net_parse_entry(e->value, e->value_len, &net) == NULL);
    skl_net_set_put(set, &net, e);
}

static void parse(skl_text_t *t, skl_text_entry_fn entry, void *ctx)
{
    skl_text_begin(t, entry, ctx, 1);
    skl_text_set_kind(t, SECKILL_LIST_IP);
    skl_text_feed(t, LIST, sizeof(LIST) - 1);
    skl_text_end(t);
    skl_assert(t->bad_lines == 0);
}

/* Made once. Its table of IPv4 /16s is 256 KiB of the same word. */
static char *build(uint64_t *bytes)
{
    static uint64_t made_bytes;
    static char *made;
    static skl_net_set_t set;
    skl_text_t t;
    void *memory;

    *bytes = made_bytes;
    if (made != NULL) {
        return made;
    }
    parse(&t, NULL, NULL);
    memory =
        malloc(skl_net_set_bytes(t.counts.entries, t.counts.reasons_bytes));
    skl_assert(memory != NULL);
    skl_net_set_begin(&set, memory, t.counts.entries, t.counts.reasons_bytes);
    parse(&t, put, &set);
    skl_assert(skl_net_set_end(&set, &made_bytes) == SECKILL_OK);
    made = calloc(1, made_bytes);
    skl_assert(made != NULL);
    skl_net_set_write(&set, made, SECKILL_LIST_IP, 1, 1);
    free(memory);
    *bytes = made_bytes;
    return made;
}

/* Parts that are mostly the same byte count once: the padding of the header is
 * left out, of the table of chunks there are those of 10.0.0.0 on. */
static uint64_t to_offset(uint32_t n, const char *base, uint64_t bytes)
{
    const skl_net_header_t *h = (const void *)base;
    skl_net_layout_t l;
    uint64_t head = sizeof(*h), middle, chunks = 4 * 16;
    int fits = skl_net_lay_out(h, &l);

    skl_assert(fits);
    middle = l.chunks - SKL_NET_HEADER;
    n %= (uint32_t)(head + middle + chunks + (bytes - l.ranges4));
    if (n < head) {
        return n;
    }
    n -= (uint32_t)head;
    if (n < middle) {
        return SKL_NET_HEADER + n;
    }
    n -= (uint32_t)middle;
    return n < chunks ? l.chunks + 4 * 0x0a00 + n : l.ranges4 + n - chunks;
}

static void set_checksums(char *base, uint64_t bytes)
{
    skl_net_header_t *h = (void *)base;

    if (bytes < SKL_NET_HEADER) {
        return;
    }
    h->body_crc = skl_crc32c(0, base + SKL_NET_HEADER, bytes - SKL_NET_HEADER);
    h->header_crc = skl_crc32c(0, base, offsetof(skl_net_header_t, header_crc));
}

static void look_up(const char *base, uint64_t bytes)
{
    static const char *const values[] = {
        "0.0.0.0",
        "10.0.0.1",
        "10.1.2.3",
        "10.9.9.9",
        "10.1.2.31",
        "255.255.255.255",
        "::",
        "2001:db8::",
        "2001:db8::80",
        "2001:db8::ffff",
        "2001:db8:7::",
        "2001:db8:7::1",
        "2001:db8:9::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
    skl_index_hit_t hit;
    skl_net_index_t index;
    skl_addr_t a;
    const char *why;

    if (skl_net_open(&index, base, bytes, &why) != SECKILL_OK) {
        return;
    }
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        why = skl_net_parse_address(values[i], strlen(values[i]), &a);
        skl_assert(why == NULL);
        if (!skl_net_find(&index, &a, &hit)) {
            continue;
        }
        skl_net_settle(&index, INT64_MAX - 1, &hit);
        if (hit.reason_len > 0) {
            volatile char last = hit.reason[hit.reason_len - 1];

            (void)last;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t bytes, cut;
    char *whole = build(&bytes), *copy;
    skl_net_index_t index;
    const char *why;

    cut = size > 0 && data[0] != 0 ? bytes - data[0] % bytes : bytes;
    copy = malloc(cut); /* exact: a read beyond it is seen */
    skl_assert(copy != NULL);
    memcpy(copy, whole, cut);
    for (size_t i = 1; i + 3 <= size; i += 3) {
        uint64_t at =
            to_offset((uint32_t)data[i] << 8 | data[i + 1], whole, bytes);

        if (at < cut) {
            copy[at] = (char)data[i + 2];
        }
    }
    if (skl_net_open(&index, copy, cut, &why) == SECKILL_OK) {
        skl_assert(cut == bytes);
        look_up(copy, cut);
    }
    set_checksums(copy, cut);
    look_up(copy, cut);
    free(copy);
    return 0;
}
