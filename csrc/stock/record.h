/*
 * The log record: what happened, as after-images.
 *
 * A record takes 1 to 4 units of 128 bytes: 128 bytes of fixed fields, then
 * the strings user, request id and item name, one after the other. A record of
 * an order of several lines (SKL_REC_ORDER..) takes up to 16 units: its legs,
 * one for each line, lie between the fixed fields and the strings, and there
 * is one item name for each leg. All words are little-endian. A record holds
 * the values that counters have after it and fixed slot numbers, never
 * differences, so that applying it twice is harmless; that is what crash
 * repair rests on.
 *
 *   offset  size  field
 *        0     4  crc     CRC-32C of bytes 4 .. bytes-1 with lsn and time
 *                         taken as 0, then of time and lsn (which are known
 *                         last, under the ring lock)
 *        4     2  bytes   of the record without padding:
 *                         128 + 80 * lines + strings
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
 *       64    64  body    order, lines or config
 *
 * In a record of an order `item` and `item_len` are those of its first line;
 * item_live, item_users, flags and the counters stand in the legs, here they
 * are 0. Its body:
 *
 *       64     4  row      of the first line: slot
 *       68     4  request  slot
 *       72     4  count    of lines, 1 .. 8
 *       76     2  request_shard
 *       78     2  0
 *       80     4  fifo_pos
 *       84     2  0
 *       86     1  state    SECKILL_STATE_* of all lines
 *       87     1  0
 *       88     8  row_lsn  LSN of the order (0 in the record that makes it)
 *       96     8  hold_ns  length of the hold; 0: none
 *      104     8  0
 *      112     8  deadline 0: none
 *      120     8  arg      fingerprint of the quantities, or of a refund
 *
 * A leg, at 128 + 80 * i:
 *
 *        0     4  item     slot; another one in each leg
 *        4     4  item_live
 *        8     4  item_users
 *       12     4  row      slot
 *       16     4  user     slot
 *       20     2  user_shard
 *       22     2  user_ids
 *       24     1  flags    SKL_FLAG_*
 *       25     1  hold_list
 *       26     1  item_len of its name
 *       27     5  0
 *       32     8  available
 *       40     8  reserved
 *       48     8  sold
 *       56     8  user_count
 *       64     8  qty
 *       72     8  0
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
    /* Orders of several lines: all lines at once. A line whose hold has ended
     * is ended by an EXPIRE of its own. */
    SKL_REC_ORDER,
    SKL_REC_ORDER_CONFIRM,
    SKL_REC_ORDER_CANCEL,
    SKL_REC_ORDER_REFUND,
    SKL_REC_ORDER_RETIRE,
    SKL_REC_TYPES
};

/* Lock domains of a record: each is applied under its own lock. Where a record
 * has legs, USER and ITEM stand for those of all legs; while it is pending
 * each leg has bits of its own. */
enum {
    SKL_PART_CATALOG = 1,
    SKL_PART_REQUEST = 2, /* shard of the request id */
    SKL_PART_USER = 4,    /* shard of (item, user) */
    SKL_PART_ITEM = 8,
    SKL_PART_ALL = 15
};
#define SKL_PART_USER_LEG(i) (1U << (8 + (i)))
#define SKL_PART_ITEM_LEG(i) (1U << (16 + (i)))

enum {
    SKL_FLAG_LISTED = 1, /* the reservation is or was in a hold list */
    SKL_FLAG_USER = 2,   /* the USER part makes (or frees) the user row */
    SKL_FLAG_ROW = 4,    /* RETIRE: the request row has a reservation row */
    SKL_FLAG_AGAIN = 8   /* CONFIRM: its hold had ended, units taken again */
};

#define SKL_NONE 0xffffffffU
enum { SKL_UNIT = 128, SKL_RECORD_MAX = 16 * SKL_UNIT, SKL_LINES_MAX = 8 };

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
    uint64_t arg;     /* fingerprint of refund and adjust; RESERVE: qty;
                         EXPIRE of a line: number << 32 | row of the first */
} skl_order_body_t;

/* Of an order of several lines; the named fields that skl_order_body_t has,
 * too, are at the same place in both. */
typedef struct {
    uint32_t row;
    uint32_t request;
    uint32_t count;
    uint16_t request_shard;
    uint16_t pad0;
    uint32_t fifo_pos;
    uint16_t pad1;
    uint8_t state;
    uint8_t pad2;
    uint64_t row_lsn;
    int64_t hold_ns;
    int64_t pad3;
    int64_t deadline;
    uint64_t arg;
} skl_lines_body_t;

typedef struct {
    uint32_t item;
    uint32_t item_live;
    uint32_t item_users;
    uint32_t row;
    uint32_t user;
    uint16_t user_shard;
    uint16_t user_ids;
    uint8_t flags;
    uint8_t hold_list;
    uint8_t item_len;
    uint8_t pad[5];
    int64_t available;
    int64_t reserved;
    int64_t sold;
    int64_t user_count;
    int64_t qty;
    int64_t pad2;
} skl_leg_t;

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
        skl_lines_body_t lines;
        skl_config_body_t config;
    };
    union {
        char strings[SKL_RECORD_MAX - SKL_UNIT];
        skl_leg_t legs[SKL_LINES_MAX];
    };
} skl_record_t;

_Static_assert(sizeof(skl_order_body_t) == 64, "record format");
_Static_assert(sizeof(skl_config_body_t) == 64, "record format");
_Static_assert(sizeof(skl_lines_body_t) == 64, "record format");
_Static_assert(sizeof(skl_leg_t) == 80, "record format");
_Static_assert(sizeof(skl_record_t) == SKL_RECORD_MAX, "record format");

/* Does it have legs? */
static inline int skl_rec_is_order(const skl_record_t *r)
{
    return r->type >= SKL_REC_ORDER && r->type <= SKL_REC_ORDER_RETIRE;
}

static inline uint32_t skl_rec_legs(const skl_record_t *r)
{
    return skl_rec_is_order(r) ? r->lines.count : 0;
}

static inline const char *skl_rec_user(const skl_record_t *r)
{
    return r->strings + skl_rec_legs(r) * sizeof(skl_leg_t);
}

static inline const char *skl_rec_request(const skl_record_t *r)
{
    return skl_rec_user(r) + r->user_len;
}

/* Of an order: the name of the first line's item, the others behind it. */
static inline const char *skl_rec_item(const skl_record_t *r)
{
    return skl_rec_request(r) + r->request_len;
}

static inline uint32_t skl_rec_units(const skl_record_t *r)
{
    return (r->bytes + SKL_UNIT - 1U) / SKL_UNIT;
}

/* Append the strings; sets the lengths and `bytes`. */
void skl_rec_strings(skl_record_t *r, const char *user, uint32_t user_len,
                     const char *request, uint32_t request_len,
                     const char *item, uint32_t item_len);
/* The same for an order: the legs are filled but for item_len. Each item name
 * is a string of names[] with its length in lens[]. */
void skl_rec_order_strings(skl_record_t *r, const char *user, uint32_t user_len,
                           const char *request, uint32_t request_len,
                           const char (*names)[64], const uint32_t *lens);
/* SKL_PART_* of a record with legs as bits of its legs. */
uint32_t skl_rec_leg_parts(const skl_record_t *r, uint32_t parts);

/* The bits that a record has while nothing of it is applied. */
static inline uint32_t skl_rec_pending(const skl_record_t *r)
{
    return skl_rec_is_order(r) ? skl_rec_leg_parts(r, r->parts) : r->parts;
}

/* CRC over everything but crc, lsn and time; then with these two. */
uint32_t skl_rec_crc_body(const skl_record_t *r);
uint32_t skl_rec_crc(const skl_record_t *r, uint32_t body);
/* Is this a whole, sane record? Checks sizes first, then the CRC. */
int skl_rec_valid(const skl_record_t *r, uint32_t max_bytes);
const char *skl_rec_type_name(int type);

#endif
