/* See record.h. Any thread. */
#include "stock/record.h"

#include "base/assert.h"
#include "base/crc32c.h"

#include <stddef.h>
#include <string.h>

void skl_rec_strings(skl_record_t *r, const char *user, uint32_t user_len,
                     const char *request, uint32_t request_len,
                     const char *item, uint32_t item_len)
{
    char *p = r->strings;

    const uint32_t len = user_len + request_len + item_len;

    skl_assert(user_len <= 64 && request_len <= 64 && item_len <= 64);
    memset(p + len / 8 * 8, 0, 8); /* it is copied in words of 8 bytes */
    memcpy(p, user, user_len);
    memcpy(p + user_len, request, request_len);
    memcpy(p + user_len + request_len, item, item_len);
    r->user_len = (uint8_t)user_len;
    r->request_len = (uint8_t)request_len;
    r->item_len = (uint8_t)item_len;
    r->bytes = (uint16_t)(SKL_UNIT + len);
}

uint32_t skl_rec_crc_body(const skl_record_t *r)
{
    const char *p = (const char *)r;
    const size_t after = offsetof(skl_record_t, item);
    uint32_t crc = skl_crc32c(0, p + 4, 4);

    return skl_crc32c(crc, p + after, r->bytes - after);
}

uint32_t skl_rec_crc(const skl_record_t *r, uint32_t body)
{
    uint64_t last[2] = {(uint64_t)r->time, r->lsn};

    return skl_crc32c(body, last, sizeof(last));
}

int skl_rec_valid(const skl_record_t *r, uint32_t max_bytes)
{
    if (max_bytes < SKL_UNIT || r->bytes < SKL_UNIT || r->bytes > max_bytes ||
        r->bytes > SKL_RECORD_MAX) {
        return 0;
    }
    if (r->type == 0 || r->type >= SKL_REC_TYPES ||
        r->bytes != SKL_UNIT + r->user_len + r->request_len + r->item_len) {
        return 0;
    }
    return r->crc == skl_rec_crc(r, skl_rec_crc_body(r));
}

const char *skl_rec_type_name(int type)
{
    static const char *const names[SKL_REC_TYPES] = {
        "",        "put",     "remove",      "pause",      "resume",
        "reserve", "confirm", "cancel",      "expire",     "refund",
        "adjust",  "retire",  "retire_user", "retire_item"};

    return type > 0 && type < SKL_REC_TYPES ? names[type] : "unknown";
}
