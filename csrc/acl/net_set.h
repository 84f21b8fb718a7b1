/*
 * The networks of a list on their way into an index (acl/net_index.h).
 *
 * First the size: skl_net_set_bytes of memory hold that many networks (CIDRs; a
 * range counts as those it consists of). Then they are put, in any order and as
 * often as they come. skl_net_set_end sorts them (a merge sort: of what is
 * equal, the order stays) and goes through them once to count what the index
 * needs; skl_net_set_write goes through them again and fills it. Both do the
 * same, so that the index has exactly the size that was told.
 *
 * Going through: networks either contain each other or are apart. In the order
 * of their first addresses, the wider one first, a stack has those that contain
 * the current address; its top decides. Where that changes, a range begins. Of
 * the same network, an allow and a deny are kept side by side; of two of the
 * same sort the later counts.
 *
 * Time O(n log n). Memory: 64 bytes for each network, and the reasons. No
 * allocation, no I/O; one thread.
 */
#ifndef SKL_ACL_NET_SET_H
#define SKL_ACL_NET_SET_H

#include "acl/net.h"
#include "acl/net_index.h"
#include "acl/reasons.h"

#include <stdint.h>

/* Networks of one list, so that memory ends somewhere: 1 GiB of it. */
#define SKL_NET_SET_MAX ((uint64_t)1 << 24)

typedef struct {
    uint64_t hi, lo;
    int64_t until;
    uint32_t reason;
    uint8_t family, bits, allow, pad;
} skl_net_item_t;

typedef struct {
    skl_net_item_t *items, *spare; /* `limit` + 1 of each */
    uint64_t count, limit;
    skl_reasons_t reasons;
    skl_net_header_t header; /* the counts, after skl_net_set_end */
    int full;                /* 1: more was put than planned */
    int pad;
} skl_net_set_t;

/* Memory for so many networks and bytes of reasons (each with its length). */
uint64_t skl_net_set_bytes(uint64_t networks, uint64_t reasons_bytes);
/* Begin in `memory`: aligned to 8 bytes. */
void skl_net_set_begin(skl_net_set_t *set, void *memory, uint64_t networks,
                       uint64_t reasons_bytes);
void skl_net_set_put(skl_net_set_t *set, const skl_net_t *net,
                     const skl_index_entry_t *entry);
/* All are there: *bytes of the index. EFULL when more was put than planned. */
int skl_net_set_end(skl_net_set_t *set, uint64_t *bytes);
/* Write the index into that many zeroed bytes. */
void skl_net_set_write(skl_net_set_t *set, void *base, uint32_t kind,
                       uint64_t owner, uint64_t generation);

#endif
