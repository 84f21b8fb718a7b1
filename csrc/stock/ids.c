/* See ids.h. Pure functions. */
#include "stock/ids.h"

#include "seckill.h"

#define NS_PER_MS 1000000LL

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Value of a character of Crockford's alphabet (no I, L, O, U), or -1. */
static int base32_digit(char c)
{
    static const char letters[] = "ABCDEFGHJKMNPQRSTVWXYZ";

    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'z') {
        c = (char)(c - 0x20);
    }
    for (int i = 0; letters[i] != '\0'; i++) {
        if (letters[i] == c) {
            return i + 10;
        }
    }
    return -1;
}

/* xxxxxxxx-xxxx-7xxx-[89ab]xxx-xxxxxxxxxxxx */
static int uuid_time(const char *id, size_t len, int64_t *time_ns)
{
    uint64_t ms = 0;
    int digits = 0;

    if (len != 36 || id[14] != '7' || (hex_digit(id[19]) & 12) != 8) {
        return SECKILL_EBADREQUEST;
    }
    for (size_t i = 0; i < len; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (id[i] != '-') {
                return SECKILL_EBADREQUEST;
            }
        } else if (hex_digit(id[i]) < 0) {
            return SECKILL_EBADREQUEST;
        } else if (digits++ < 12) {
            ms = ms << 4 | (uint64_t)hex_digit(id[i]);
        }
    }
    *time_ns = (int64_t)(ms & 0x7ffffffffffULL) * NS_PER_MS;
    return (ms >> 43) == 0 ? SECKILL_OK : SECKILL_EBADREQUEST;
}

static int ulid_time(const char *id, size_t len, int64_t *time_ns)
{
    uint64_t ms = 0;

    if (len != 26) {
        return SECKILL_EBADREQUEST;
    }
    for (size_t i = 0; i < len; i++) {
        int digit = base32_digit(id[i]);

        if (digit < 0) {
            return SECKILL_EBADREQUEST;
        }
        if (i < 10) {
            ms = ms << 5 | (uint64_t)digit;
        }
    }
    /* 2^43 ms is the year 2248; more does not fit into int64 nanoseconds. */
    *time_ns = (int64_t)(ms & 0x7ffffffffffULL) * NS_PER_MS;
    return (ms >> 43) == 0 ? SECKILL_OK : SECKILL_EBADREQUEST;
}

int skl_request_time(uint32_t format, const char *id, size_t len,
                     int64_t *time_ns)
{
    if (id == NULL || len < 1 || len > SECKILL_ID_MAX) {
        return SECKILL_EBADREQUEST;
    }
    if (format == SECKILL_IDS_UUIDV7) {
        return uuid_time(id, len, time_ns);
    }
    if (format == SECKILL_IDS_ULID) {
        return ulid_time(id, len, time_ns);
    }
    *time_ns = INT64_MAX;
    return SECKILL_OK;
}

static char *put_hex(char *out, uint64_t n)
{
    static const char digits[] = "0123456789abcdef";
    int shift = n == 0 ? 0 : (63 - __builtin_clzll(n)) & ~3;

    for (; shift >= 0; shift -= 4) {
        *out++ = digits[(n >> shift) & 15];
    }
    return out;
}

uint8_t skl_row_id_format(char *out, uint32_t incarnation, uint32_t slot,
                          uint64_t lsn)
{
    char *p = put_hex(out, incarnation);

    *p++ = '-';
    p = put_hex(p, slot);
    *p++ = '-';
    p = put_hex(p, lsn);
    return (uint8_t)(p - out);
}

/* Canonical only: lower case, no leading zero, so that an id has one text. */
static int get_hex(const char **p, const char *end, int max_digits,
                   uint64_t *out)
{
    const char *first = *p;
    uint64_t n = 0;

    while (*p < end && *p - first < max_digits) {
        int digit = hex_digit(**p);

        if (digit < 0 || (**p >= 'A' && **p <= 'F')) {
            break;
        }
        n = n << 4 | (uint64_t)digit;
        (*p)++;
    }
    *out = n;
    return *p > first && (*first != '0' || *p - first == 1);
}

int skl_row_id_parse(const char *id, size_t len, uint32_t *incarnation,
                     uint32_t *slot, uint64_t *lsn)
{
    const char *p = id, *end = id + len;
    uint64_t a, b;

    if (id == NULL || len < 5 || len > 34) {
        return 0;
    }
    if (!get_hex(&p, end, 8, &a) || p == end || *p++ != '-' ||
        !get_hex(&p, end, 8, &b) || p == end || *p++ != '-' ||
        !get_hex(&p, end, 16, lsn) || p != end) {
        return 0;
    }
    *incarnation = (uint32_t)a;
    *slot = (uint32_t)b;
    return 1;
}
