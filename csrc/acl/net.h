/*
 * Addresses and networks of the access lists: strict parsing from bytes, and
 * one canonical form. No allocation; any thread.
 *
 * An entry of a list is an address, a network `a.b.c.d/n` or `x::/n`, or a
 * range `a-b` of one family, its ends included. A value that is looked up is
 * an address; there, brackets around an IPv6 address (as in a Host header) and
 * a zone behind one (`fe80::1%eth0`) are cut off.
 *
 * IPv4: four decimal numbers without leading zeros (some programs read 010 as
 * 8). IPv6: RFC 4291 2.2, that is groups of 1 to 4 hexadecimal digits, at most
 * one `::`, perhaps an IPv4 address in place of the last two groups. A network
 * with bits set behind its prefix is refused: it is mostly a slip.
 *
 * A v4-mapped address (`::ffff:a.b.c.d`) is the IPv4 address, in entries and
 * in values, in whatever way it is written. So an IPv6 network, even `::/0`,
 * contains no IPv4 address.
 *
 * A network is kept as its first and its last address. A range is worth the
 * CIDRs it consists of, at most 62 (IPv4) or 254 of them: skl_net_cut.
 */
#ifndef SKL_ACL_NET_H
#define SKL_ACL_NET_H

#include <stddef.h>
#include <stdint.h>

enum { SKL_NET_V4 = 4, SKL_NET_V6 = 6 };

/* An IPv4 address is in the low 32 bits of lo. */
typedef struct {
    uint64_t hi, lo;
    uint32_t family; /* SKL_NET_V4, SKL_NET_V6 */
    uint32_t pad;
} skl_addr_t;

typedef struct {
    skl_addr_t first, last; /* of one family */
} skl_net_t;

/* A CIDR: the first address, and the length of the prefix (0..32, 0..128). */
typedef struct {
    uint64_t hi, lo;
    uint32_t family;
    uint32_t bits;
} skl_prefix_t;

/* Both say what is wrong, or NULL. */
const char *skl_net_parse_entry(const char *text, size_t len, skl_net_t *out);
const char *skl_net_parse_address(const char *text, size_t len,
                                  skl_addr_t *out);

/* Cut the first CIDR off a network; 0 when nothing is left of it. */
int skl_net_cut(skl_net_t *rest, skl_prefix_t *out);
uint32_t skl_net_pieces(const skl_net_t *net);
/* 1 and the CIDR, when the network is a single one. */
int skl_net_single(const skl_net_t *net, skl_prefix_t *out);

/* The network of `bits` that an address is in. */
skl_prefix_t skl_net_prefix(const skl_addr_t *address, uint32_t bits);
/* The last address of a CIDR. */
skl_addr_t skl_net_last(const skl_prefix_t *prefix);

static inline uint32_t skl_net_width(uint32_t family)
{
    return family == SKL_NET_V4 ? 32 : 128;
}

#endif
