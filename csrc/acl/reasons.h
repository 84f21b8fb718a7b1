/*
 * The reasons of an index: one byte of length, then that many bytes, one after
 * the other. A reason is known by its offset + 1, 0 is none. No allocation; a
 * writer belongs to one thread.
 */
#ifndef SKL_ACL_REASONS_H
#define SKL_ACL_REASONS_H

#include <stddef.h>
#include <stdint.h>

enum { SKL_REASON_MAX = 255 };

typedef struct {
    unsigned char *pool;
    uint64_t used, limit;
    uint32_t recent[256]; /* reasons seen lately, by hash: offset + 1 */
    int full;             /* 1: more was put than fits */
    int pad;
} skl_reasons_t;

void skl_reasons_begin(skl_reasons_t *r, unsigned char *pool, uint64_t limit);
/* The same reason is mostly stored once. 0 when it does not fit. */
uint32_t skl_reasons_put(skl_reasons_t *r, const char *text, size_t len);
/* The reason in a pool of `size` bytes, whatever they are; NULL for none. */
const char *skl_reasons_get(const unsigned char *pool, uint64_t size,
                            uint32_t reason, uint32_t *len);

#endif
