/* Building an index of either kind; see list_build.h. */
#include "io/list_build.h"

#include "base/assert.h"
#include "base/os.h"
#include "seckill.h"

#include <string.h>

static int plan_nets(skl_list_build_t *b)
{
    uint64_t n = b->plan.entries, reasons = b->plan.reasons_bytes;

    if (n > SKL_NET_SET_MAX || reasons > UINT32_MAX) {
        return SECKILL_ETOOLARGE;
    }
    b->memory_bytes = skl_net_set_bytes(n, reasons);
    if (skl_os_map_private(b->memory_bytes, &b->memory) != 0) {
        b->memory = NULL;
        return SECKILL_ENOMEM;
    }
    skl_net_set_begin(&b->nets, b->memory, n, reasons);
    return SECKILL_OK;
}

int skl_list_build_plan(skl_list_build_t *b, uint32_t kind,
                        const skl_index_plan_t *plan)
{
    skl_assert(kind == SECKILL_LIST_ID || kind == SECKILL_LIST_IP);
    memset(b, 0, sizeof(*b));
    b->kind = kind;
    b->plan = *plan;
    if (kind == SECKILL_LIST_IP) {
        return plan_nets(b);
    }
    return skl_index_bytes(plan) == 0 ? SECKILL_ETOOLARGE : SECKILL_OK;
}

int skl_list_build_gathers(const skl_list_build_t *b)
{
    return b->kind == SECKILL_LIST_IP;
}

void skl_list_build_put(void *build, const skl_index_entry_t *entry)
{
    skl_list_build_t *b = build;

    if (b->kind == SECKILL_LIST_IP) {
        skl_net_t net;
        const char *why =
            skl_net_parse_entry(entry->value, entry->value_len, &net);

        skl_assert(b->memory != NULL && b->base == NULL);
        skl_assert(why == NULL); /* the parser of the file let it pass */
        skl_net_set_put(&b->nets, &net, entry);
    } else {
        skl_assert(b->base != NULL);
        skl_index_put(&b->ids, entry);
    }
}

int skl_list_build_bytes(skl_list_build_t *b, uint64_t *bytes)
{
    skl_assert(b->base == NULL);
    if (b->kind == SECKILL_LIST_IP) {
        return skl_net_set_end(&b->nets, bytes);
    }
    *bytes = skl_index_bytes(&b->plan);
    return SECKILL_OK;
}

void skl_list_build_begin(skl_list_build_t *b, void *base,
                          const skl_hash_key_t *key)
{
    skl_assert(b->base == NULL);
    b->base = base;
    if (b->kind == SECKILL_LIST_ID) {
        skl_index_begin(&b->ids, base, &b->plan, key);
    }
}

int skl_list_build_end(skl_list_build_t *b, uint64_t owner, uint64_t generation)
{
    int rc = SECKILL_OK;

    skl_assert(b->base != NULL);
    if (b->kind == SECKILL_LIST_IP) {
        skl_net_set_write(&b->nets, b->base, b->kind, owner, generation);
        b->entries = b->nets.header.entries;
    } else {
        rc = skl_index_end(&b->ids, b->kind, owner, generation);
        b->entries = b->ids.header->entries;
    }
    return rc;
}

void skl_list_build_free(skl_list_build_t *b)
{
    if (b->memory != NULL) {
        int rc = skl_os_unmap(b->memory, b->memory_bytes);

        skl_assert(rc == 0);
        b->memory = NULL;
    }
}
