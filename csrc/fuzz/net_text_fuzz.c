/*
 * Fuzzer of the parser of networks and the writer of their index (libFuzzer).
 *
 * The input is a list. What the parser says must not depend on the size of the
 * buffers; the index must have the size that was told, pass its own checks, and
 * answer for both ends of each entry, and beside them, as a scan of all entries
 * does. Each line is a value, too: that must neither crash nor be taken for
 * something else than as an entry.
 */
#include "acl/net_index.h"
#include "acl/net_set.h"
#include "acl/text.h"
#include "base/assert.h"
#include "seckill.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1000, KEPT = 64 };

/* The first entries of the list, for the scan. */
typedef struct {
    skl_net_set_t set;
    struct {
        skl_net_t net;
        int64_t until;
        int allow;
    } kept[KEPT];
    size_t count, all;
} list_t;

static void parse(skl_text_t *t, skl_text_entry_fn entry, void *ctx,
                  const uint8_t *data, size_t size, size_t step)
{
    skl_text_begin(t, entry, ctx, NOW);
    skl_text_set_kind(t, SECKILL_LIST_IP);
    for (size_t at = 0; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;

        skl_text_feed(t, (const char *)data + at, n);
    }
    skl_text_end(t);
}

static void put(void *ctx, const skl_index_entry_t *e)
{
    list_t *list = ctx;
    skl_addr_t value;
    skl_net_t net;

    skl_assert(skl_net_parse_entry(e->value, e->value_len, &net) == NULL);
    if (skl_net_parse_address(e->value, e->value_len, &value) == NULL) {
        skl_assert(memcmp(&value, &net.first, sizeof(value)) == 0);
        skl_assert(memcmp(&value, &net.last, sizeof(value)) == 0);
    }
    skl_net_set_put(&list->set, &net, e);
    if (list->count < KEPT) {
        list->kept[list->count].net = net;
        list->kept[list->count].until = e->until;
        list->kept[list->count].allow = e->allow;
        list->count++;
    }
    list->all++;
}

/* The piece of a network that has an address; -1: none. */
static int weight(const skl_net_t *net, const skl_addr_t *a)
{
    skl_net_t rest = *net;
    skl_prefix_t p;

    while (net->first.family == a->family && skl_net_cut(&rest, &p)) {
        skl_prefix_t of = skl_net_prefix(a, p.bits);

        if (of.hi == p.hi && of.lo == p.lo) {
            return (int)p.bits;
        }
    }
    return -1;
}

static int scan(const list_t *list, const skl_addr_t *a)
{
    int64_t deny[129] = {0}, allow[129] = {0};

    for (size_t i = 0; i < list->count; i++) {
        int bits = weight(&list->kept[i].net, a);

        if (bits >= 0) {
            (list->kept[i].allow ? allow : deny)[bits] = list->kept[i].until;
        }
    }
    for (int bits = 128; bits >= 0; bits--) {
        if (allow[bits] > NOW || deny[bits] > NOW) {
            return allow[bits] > NOW ? 2 : 1;
        }
    }
    return 0;
}

static void ask(const skl_net_index_t *index, const list_t *list, skl_addr_t a,
                int step)
{
    skl_index_hit_t hit;
    int got = 0;

    a.lo += (uint64_t)(int64_t)step;
    a.lo &= a.family == SKL_NET_V4 ? UINT32_MAX : UINT64_MAX;
    if (skl_net_find(index, &a, &hit)) {
        skl_net_settle(index, NOW, &hit);
        got = hit.allow_until > NOW ? 2 : hit.deny_until > NOW;
    }
    skl_assert(list->all != list->count || got == scan(list, &a));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static skl_text_t first, second;
    static list_t list;
    size_t step = size == 0 ? 1 : (size_t)data[0] + 1;
    skl_net_index_t index;
    const char *why;
    uint64_t bytes = 0;
    void *memory, *base;

    parse(&first, NULL, NULL, data, size, size + 1);
    if (first.counts.entries > 100000) {
        return 0;
    }
    memory = malloc(
        skl_net_set_bytes(first.counts.entries, first.counts.reasons_bytes));
    skl_assert(memory != NULL);
    list.count = list.all = 0;
    skl_net_set_begin(&list.set, memory, first.counts.entries,
                      first.counts.reasons_bytes);
    parse(&second, put, &list, data, size, step);
    skl_assert(memcmp(&first.counts, &second.counts, sizeof(first.counts)) ==
               0);
    skl_assert(strcmp(first.errors, second.errors) == 0);
    skl_assert(skl_net_set_end(&list.set, &bytes) == SECKILL_OK);
    base = calloc(1, bytes);
    skl_assert(base != NULL);
    skl_net_set_write(&list.set, base, SECKILL_LIST_IP, 1, 1);
    skl_assert(skl_net_open(&index, base, bytes, &why) == SECKILL_OK);
    for (size_t i = 0; i < list.count; i++) {
        for (int beside = -1; beside <= 1; beside++) {
            ask(&index, &list, list.kept[i].net.first, beside);
            ask(&index, &list, list.kept[i].net.last, beside);
        }
    }
    free(base);
    free(memory);
    return 0;
}
