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

void skl_rec_order_strings(skl_record_t *r, const char *user, uint32_t user_len,
                           const char *request, uint32_t request_len,
                           const char (*names)[64], const uint32_t *lens)
{
    const uint32_t n = r->lines.count;
    uint32_t at = n * (uint32_t)sizeof(skl_leg_t);

    skl_assert(n >= 1 && n <= SKL_LINES_MAX);
    skl_assert(user_len <= 64 && request_len <= 64);
    memcpy(r->strings + at, user, user_len);
    at += user_len;
    memcpy(r->strings + at, request, request_len);
    at += request_len;
    for (uint32_t i = 0; i < n; i++) {
        skl_assert(lens[i] >= 1 && lens[i] <= 64);
        memcpy(r->strings + at, names[i], lens[i]);
        at += lens[i];
        r->legs[i].item_len = (uint8_t)lens[i];
    }
    memset(r->strings + at, 0, 8); /* it is copied in words of 8 bytes */
    r->user_len = (uint8_t)user_len;
    r->request_len = (uint8_t)request_len;
    r->item_len = (uint8_t)lens[0];
    r->bytes = (uint16_t)(SKL_UNIT + at);
}

uint32_t skl_rec_leg_parts(const skl_record_t *r, uint32_t parts)
{
    uint32_t bits = parts & r->parts & SKL_PART_REQUEST;

    skl_assert(r->lines.count >= 1 && r->lines.count <= SKL_LINES_MAX);
    for (uint32_t i = 0; i < r->lines.count; i++) {
        if ((r->legs[i].flags & SKL_FLAG_USER) &&
            (parts & (SKL_PART_USER | SKL_PART_USER_LEG(i)))) {
            bits |= SKL_PART_USER_LEG(i);
        }
        if (parts & (SKL_PART_ITEM | SKL_PART_ITEM_LEG(i))) {
            bits |= SKL_PART_ITEM_LEG(i);
        }
    }
    return bits;
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

/* Bytes of the strings as the lengths say; 0: the lengths are no lengths. The
 * legs are looked at only where `bytes` covers them. */
static uint32_t shape_bytes(const skl_record_t *r)
{
    uint32_t sum = SKL_UNIT + (uint32_t)r->user_len + r->request_len;

    if (r->user_len > 64 || r->request_len > 64 || r->item_len > 64) {
        return 0;
    }
    if (!skl_rec_is_order(r)) {
        return sum + r->item_len;
    }
    if (r->lines.count < 1 || r->lines.count > SKL_LINES_MAX) {
        return 0;
    }
    sum += r->lines.count * (uint32_t)sizeof(skl_leg_t);
    if (r->bytes < sum || r->legs[0].item_len != r->item_len) {
        return 0;
    }
    for (uint32_t i = 0; i < r->lines.count; i++) {
        if (r->legs[i].item_len < 1 || r->legs[i].item_len > 64) {
            return 0;
        }
        sum += r->legs[i].item_len;
    }
    return sum;
}

int skl_rec_valid(const skl_record_t *r, uint32_t max_bytes)
{
    if (max_bytes < SKL_UNIT || r->bytes < SKL_UNIT || r->bytes > max_bytes ||
        r->bytes > SKL_RECORD_MAX) {
        return 0;
    }
    if (r->type == 0 || r->type >= SKL_REC_TYPES ||
        r->bytes != shape_bytes(r)) {
        return 0;
    }
    return r->crc == skl_rec_crc(r, skl_rec_crc_body(r));
}

const char *skl_rec_type_name(int type)
{
    static const char *const names[SKL_REC_TYPES] = {"",
                                                     "put",
                                                     "remove",
                                                     "pause",
                                                     "resume",
                                                     "reserve",
                                                     "confirm",
                                                     "cancel",
                                                     "expire",
                                                     "refund",
                                                     "adjust",
                                                     "retire",
                                                     "retire_user",
                                                     "retire_item",
                                                     "order",
                                                     "order_confirm",
                                                     "order_cancel",
                                                     "order_refund",
                                                     "order_retire"};

    return type > 0 && type < SKL_REC_TYPES ? names[type] : "unknown";
}
