/* The reasons of an index; see reasons.h. */
#include "acl/reasons.h"

#include "base/assert.h"
#include "base/crc32c.h"

#include <string.h>

void skl_reasons_begin(skl_reasons_t *r, unsigned char *pool, uint64_t limit)
{
    skl_assert(limit <= UINT32_MAX);
    memset(r, 0, sizeof(*r));
    r->pool = pool;
    r->limit = limit;
}

static int same(const unsigned char *stored, const char *text, size_t len)
{
    return stored[0] == len && memcmp(stored + 1, text, len) == 0;
}

uint32_t skl_reasons_put(skl_reasons_t *r, const char *text, size_t len)
{
    uint32_t *recent = &r->recent[skl_crc32c(0, text, len) & 255];

    skl_assert(len > 0 && len <= SKL_REASON_MAX);
    if (*recent != 0 && same(r->pool + *recent - 1, text, len)) {
        return *recent;
    }
    if (r->used + 1 + len > r->limit) {
        r->full = 1;
        return 0;
    }
    r->pool[r->used] = (unsigned char)len;
    memcpy(r->pool + r->used + 1, text, len);
    *recent = (uint32_t)(r->used + 1);
    r->used += 1 + len;
    return *recent;
}

const char *skl_reasons_get(const unsigned char *pool, uint64_t size,
                            uint32_t reason, uint32_t *len)
{
    uint64_t at = (uint64_t)reason - 1;

    *len = 0;
    if (reason == 0 || at >= size || pool[at] >= size - at) {
        return NULL;
    }
    *len = pool[at];
    return (const char *)pool + at + 1;
}
