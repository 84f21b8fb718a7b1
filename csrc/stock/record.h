/*
 * The log record: what happened, as after-images.
 *
 * A record takes 1 to 4 units of 128 bytes: 128 bytes of fixed fields, then
 * the strings user, request id and item name, one after the other. All words
 * are little-endian. It holds the values that counters have after it and fixed
 * slot numbers, never differences, so that applying it twice is harmless; that
 * is what crash repair rests on.
 *
 *   offset  size  field
 *        0     4  crc     CRC-32C of bytes 4 .. bytes-1 with lsn and time
 *                         taken as 0, then of time and lsn (which are known
 *                         last, under the ring lock)
 *        4     2  bytes   of the record without padding: 128 + strings
 *        6     1  type    SKL_REC_*
 *        7     1  parts   SKL_PART_* : which lock domains it changes
 *        8     8  lsn     dense: each record has the next number
 *       16     8  time    ledger time in ns, never less than the one before
 *       24     4  item    slot
 *       28     4  item_live   live request ids of the item
 *       32     4  item_users  user rows of the item
 *       36     1  user_len
 *       37     1  request_len
 *       38     1  item_len
 *       39     1  flags   SKL_FLAG_*
 *       40     8  available
 *       48     8  reserved
 *       56     8  sold
 *       64    64  body    order or config
 */
#ifndef SKL_STOCK_RECORD_H
#define SKL_STOCK_RECORD_H

#include <stdint.h>

enum {
    SKL_REC_PUT = 1, /* item created (parts has CATALOG) or changed */
    SKL_REC_REMOVE,
    SKL_REC_PAUSE,
    SKL_REC_RESUME,
    SKL_REC_RESERVE,
    SKL_REC_CONFIRM,
    SKL_REC_CANCEL,
    SKL_REC_EXPIRE,
    SKL_REC_REFUND,
    SKL_REC_ADJUST,
    SKL_REC_RETIRE,      /* a request id whose window has passed */
    SKL_REC_RETIRE_USER, /* a user row of a removed item */
    SKL_REC_RETIRE_ITEM, /* the slot of a removed item */
    SKL_REC_TYPES
};

/* Lock domains of a record: each is applied under its own lock. */
enum {
    SKL_PART_CATALOG = 1,
    SKL_PART_REQUEST = 2, /* shard of the request id */
    SKL_PART_USER = 4,    /* shard of (item, user) */
    SKL_PART_ITEM = 8,
    SKL_PART_ALL = 15
};

enum {
    SKL_FLAG_LISTED = 1, /* the reservation is or was in a hold list */
    SKL_FLAG_USER = 2,   /* the USER part makes (or frees) the user row */
    SKL_FLAG_ROW = 4     /* RETIRE: the request row has a reservation row */
};

#define SKL_NONE 0xffffffffU
enum { SKL_UNIT = 128, SKL_RECORD_MAX = 4 * SKL_UNIT };

typedef struct {
    uint32_t row;     /* reservation slot */
    uint32_t request; /* request slot */
    uint32_t user;    /* user slot */
    uint16_t request_shard;
    uint16_t user_shard;
    uint32_t fifo_pos;
    uint16_t user_ids; /* live request ids of the user */
    uint8_t state;     /* SECKILL_STATE_* */
    uint8_t hold_list;
    uint64_t row_lsn; /* LSN of the reservation: its identity */
    int64_t qty;
    int64_t user_count;
    int64_t deadline; /* 0: none */
    uint64_t arg;     /* fingerprint of refund and adjust */
} skl_order_body_t;

typedef struct {
    int64_t per_user, max_qty, hold_ns, starts_at, ends_at, version;
    int64_t put_total; /* as given, -1: not given */
    uint32_t hold_list;
    uint32_t state; /* SECKILL_ITEM_* */
} skl_config_body_t;

typedef struct {
    uint32_t crc;
    uint16_t bytes;
    uint8_t type;
    uint8_t parts;
    uint64_t lsn;
    int64_t time;
    uint32_t item;
    uint32_t item_live;
    uint32_t item_users;
    uint8_t user_len;
    uint8_t request_len;
    uint8_t item_len;
    uint8_t flags;
    int64_t available;
    int64_t reserved;
    int64_t sold;
    union {
        skl_order_body_t order;
        skl_config_body_t config;
    };
    char strings[SKL_RECORD_MAX - SKL_UNIT];
} skl_record_t;

_Static_assert(sizeof(skl_order_body_t) == 64, "record format");
_Static_assert(sizeof(skl_config_body_t) == 64, "record format");
_Static_assert(sizeof(skl_record_t) == SKL_RECORD_MAX, "record format");

static inline const char *skl_rec_user(const skl_record_t *r)
{
    return r->strings;
}

static inline const char *skl_rec_request(const skl_record_t *r)
{
    return r->strings + r->user_len;
}

static inline const char *skl_rec_item(const skl_record_t *r)
{
    return r->strings + r->user_len + r->request_len;
}

static inline uint32_t skl_rec_units(const skl_record_t *r)
{
    return (r->bytes + SKL_UNIT - 1U) / SKL_UNIT;
}

/* Append the strings; sets the lengths and `bytes`. */
void skl_rec_strings(skl_record_t *r, const char *user, uint32_t user_len,
                     const char *request, uint32_t request_len,
                     const char *item, uint32_t item_len);
/* CRC over everything but crc, lsn and time; then with these two. */
uint32_t skl_rec_crc_body(const skl_record_t *r);
uint32_t skl_rec_crc(const skl_record_t *r, uint32_t body);
/* Is this a whole, sane record? Checks sizes first, then the CRC. */
int skl_rec_valid(const skl_record_t *r, uint32_t max_bytes);
const char *skl_rec_type_name(int type);

#endif
