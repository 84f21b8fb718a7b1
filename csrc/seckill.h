/**
 * seckill.h - the public C API of libseckill, the flash-sale engine.
 *
 * What it is. One shared segment (a tmpfs file, /dev/shm/seckill.<name>) holds
 * a stock ledger, limiters and access lists. Every process that opens the same
 * name works on the same state; a process may be killed at any instruction
 * and the next one repairs what it left (docs/internals/ledger.md).
 *
 * Conventions.
 *  - Functions return SECKILL_OK (0) or a negative code of SECKILL_ERR_MAP;
 *    seckill_errname() gives its stable name. Nothing changed unless OK.
 *  - Bytes are pointer + length and may hold any byte. Ids are 1 to 64 bytes.
 *  - Times are int64 nanoseconds; an instant counts from the Unix epoch.
 *  - Counts are 0 .. 2^53 - 1 (SECKILL_COUNT_MAX).
 *  - "Threads: any" means any thread of any process, never blocking longer
 *    than one futex wait of 5 ms (then SECKILL_EBUSY), no allocation. Other
 *    rules are stated at the function.
 *  - Handles are opaque and valid in a child after fork().
 *
 * Caveats.
 *  - A segment stays until seckill_destroy(); seckill_close() only detaches.
 *    The mapping is never undone while the process lives: a robust lock that
 *    is unlocked while its page goes away can hang (glibc bug 14485).
 *  - Struct arguments carry struct_size, so that fields can be added.
 *
 * The Lua declarations (lua/resty/seckill/cdefs.lua) are generated from this
 * file: `make cdefs`.
 */
#ifndef SECKILL_H
#define SECKILL_H

#ifndef SECKILL_CDEF
#include <stddef.h>
#include <stdint.h>
#if defined(__GNUC__)
#define SECKILL_API __attribute__((visibility("default")))
#else
#define SECKILL_API
#endif
#ifdef __cplusplus
extern "C" {
#endif
#else
#define SECKILL_API
#endif

/* Raised whenever a declaration below changes incompatibly. */
#define SECKILL_ABI 3
#define SECKILL_VERSION "0.1.0"
#define SECKILL_ID_MAX 64
#define SECKILL_NAME_MAX 32
#define SECKILL_COUNT_MAX 9007199254740991LL
/** Times: in the year 2255. */
#define SECKILL_TIME_MAX 9000000000000000000LL
#define SECKILL_LINES_MAX 8
#define SECKILL_HOT_KEYS_MAX 64

/*
 * The one error table: X(name, code, text, meaning). The text is what Lua
 * callers get as the second return value; it never changes.
 *   -2001.. bad input   -2020.. refusals of a sale   -2040.. states of an order
 *   -2060.. capacity and contention   -2080.. opening
 *   -2100.. files and threads
 */
#define SECKILL_ERR_MAP(X)                                                     \
    X(EBADITEM, -2001, "bad_item", "item is not a string of 1 to 64 bytes")    \
    X(EBADUSER, -2002, "bad_user", "user is not a string of 1 to 64 bytes")    \
    X(EBADQTY, -2003, "bad_qty", "quantity is not an integer in range")        \
    X(EBADREQUEST, -2004, "bad_request_id",                                    \
      "request id is not a string of 1 to 64 bytes of the configured format")  \
    X(EBADKEY, -2005, "bad_key", "key is not a string of 1 to 64 bytes")       \
    X(EBADVALUE, -2006, "bad_value", "value is not a string of 1 to 64 bytes") \
    X(EBADTOTAL, -2007, "bad_total", "total is not an integer in range")       \
    X(EBADHOLD, -2008, "bad_hold",                                             \
      "hold is negative or more than half of the window")                      \
    X(EBADTIME, -2009, "bad_time", "a time or duration is out of range")       \
    X(EBADVERSION, -2010, "bad_version", "version is not an integer in range") \
    X(EBADNAME, -2011, "bad_name", "name is not [a-z0-9_-]{1,32}")             \
    X(EBADTOKEN, -2012, "bad_token",                                           \
      "token is malformed, or its signature is wrong")                         \
    X(ETOKENEXPIRED, -2013, "token_expired", "token is past its expiry")       \
    X(EBADOPTION, -2014, "bad_option", "an option is out of range")            \
    X(EBADCURSOR, -2016, "bad_cursor", "not a position of this ledger's feed") \
    X(EBADLINES, -2015, "bad_lines",                                           \
      "an order is not of 1 to 8 lines of different items")                    \
    X(ECONFLICT, -2020, "conflict",                                            \
      "the same id or version was used with other parameters")                 \
    X(ETOOOLD, -2021, "too_old", "the request id is older than the window")    \
    X(EUNKNOWNITEM, -2022, "unknown_item", "no such item")                     \
    X(ENOTSTARTED, -2023, "not_started", "the sale has not started")           \
    X(EENDED, -2024, "ended", "the sale has ended")                            \
    X(EPAUSED, -2025, "paused", "the item is paused")                          \
    X(EQTYLIMIT, -2026, "qty_limit", "more than max_qty in one order")         \
    X(EUSERLIMIT, -2027, "user_limit", "more than per_user for this user")     \
    X(ESOLDOUT, -2028, "sold_out", "fewer units are available")                \
    X(EREJECTED, -2029, "rejected", "over the limit")                          \
    X(EBLOCKED, -2030, "blocked", "on a deny list")                            \
    X(EOPEN, -2031, "open", "the circuit breaker is open")                     \
    X(EOVERLOADED, -2032, "overloaded", "load is being shed")                  \
    X(EUNKNOWNRESERVATION, -2040, "unknown_reservation",                       \
      "no such reservation, or its window has passed")                         \
    X(ERESERVED, -2041, "reserved", "the reservation is not confirmed yet")    \
    X(EEXPIRED, -2042, "expired", "the hold has ended")                        \
    X(ECANCELLED, -2043, "cancelled", "the reservation was cancelled")         \
    X(ECONFIRMED, -2044, "confirmed", "the reservation was confirmed")         \
    X(EREFUNDED, -2045, "refunded", "the reservation was refunded")            \
    X(EPENDING, -2046, "pending", "recorded, not yet durable: ask again")      \
    X(ESTALE, -2047, "stale", "a newer version is in place")                   \
    X(EBELOWSOLD, -2048, "below_sold", "total would be under reserved + sold") \
    X(EINUSE, -2049, "in_use", "reservations are still pending")               \
    X(EUNKNOWNREQUEST, -2050, "unknown_request", "no such request id")         \
    X(ECURSORGONE, -2051, "cursor_gone",                                       \
      "the cursor was dropped, or its records are not kept any more")          \
    X(EFULL, -2060, "full", "a table is full")                                 \
    X(EBUSY, -2061, "busy", "a lock was held too long; nothing happened")      \
    X(ENOSPACE, -2080, "no_space", "not enough space for the segment")         \
    X(EMISMATCH, -2081, "mismatch", "an option differs from the segment")      \
    X(ELAYOUT, -2082, "bad_layout", "the segment has another layout")          \
    X(ENOTOWNER, -2083, "not_owner", "the segment belongs to somebody else")   \
    X(EUNKNOWNUSER, -2084, "unknown_user", "no such operating system user")    \
    X(EIO, -2085, "io_error", "a system call failed")                          \
    X(ENOMEM, -2086, "no_memory", "out of memory")                             \
    X(ECORRUPT, -2087, "corrupt", "the segment fails its checks")              \
    X(ENOTFOUND, -2088, "not_found", "no such object")                         \
    X(ECLOSED, -2089, "closed", "the engine is closed")                        \
    X(ELOCKED, -2090, "locked", "the directory is in use")                     \
    X(EBADFILE, -2100, "bad_file", "the file cannot be used")                  \
    X(ETOOLARGE, -2101, "too_large", "over a size limit")                      \
    X(ECANNOTYIELD, -2102, "cannot_yield", "this phase cannot wait")           \
    X(ETIMEDOUT, -2103, "timeout", "not finished in time")                     \
    X(ENOTSTARTEDTHREADS, -2104, "not_running", "engine:start() was not called")

enum {
    SECKILL_OK = 0,
#define X(name, code, text, meaning) SECKILL_##name = code,
    SECKILL_ERR_MAP(X)
#undef X
};

typedef struct seckill seckill_t;
typedef struct seckill_limiter seckill_limiter_t;
typedef struct seckill_list seckill_list_t;

/* ---- Library ------------------------------------------------------------- */

/** SECKILL_ABI of the loaded library. Threads: any. */
SECKILL_API int seckill_abi(void);
/** SECKILL_VERSION of the loaded library. Threads: any. */
SECKILL_API const char *seckill_version(void);

enum {
    SECKILL_SIZEOF_OPTIONS,
    SECKILL_SIZEOF_ITEM,
    SECKILL_SIZEOF_RESERVATION,
    SECKILL_SIZEOF_LIMIT,
    SECKILL_SIZEOF_TICKET,
    SECKILL_SIZEOF_LIST_OPTIONS,
    SECKILL_SIZEOF_LIST_STATS,
    SECKILL_SIZEOF_EVENT,
    SECKILL_SIZEOF_TOKEN,
    SECKILL_SIZEOF_CLAIMS,
    SECKILL_SIZEOF_LOG_STATS,
    SECKILL_SIZEOF_RECORD,
    SECKILL_SIZEOF_DIR_STATS,
    SECKILL_SIZEOF_LINE,
    SECKILL_SIZEOF_ORDER,
    SECKILL_SIZEOF_VERDICT,
    SECKILL_SIZEOF_RULE,
    SECKILL_SIZEOF_LIMITER_COUNTS,
    SECKILL_SIZEOF_HOT_KEY,
    SECKILL_SIZEOF_BREAKER_OPTIONS,
    SECKILL_SIZEOF_BREAKER_STATS,
    SECKILL_SIZEOF_SHEDDER_OPTIONS,
    SECKILL_SIZEOF_SHEDDER_STATS,
    SECKILL_SIZEOF_LIST_CHANGE,
    SECKILL_SIZEOF_LIST_LINE,
    SECKILL_SIZEOF_LIST_READ
};
/** sizeof of a public struct, by SECKILL_SIZEOF_*; 0 for an unknown one. */
SECKILL_API size_t seckill_sizeof(int which);

/** Stable name of a code ("sold_out"); "unknown" for another number. */
SECKILL_API const char *seckill_errname(int code);
/** One sentence on a code. */
SECKILL_API const char *seckill_errtext(int code);
/** Walk the table: the i-th code, 0 past the end. */
SECKILL_API int seckill_errcode_at(int i);

/* ---- Engine -------------------------------------------------------------- */

/* Levels of durability. ASYNC: an answer is given once the record is in shared
 * memory; a power loss may take the newest of them (max_lag_ns at most). SYNC:
 * once it is on disk. */
enum { SECKILL_ASYNC = 1, SECKILL_SYNC = 2 };

enum { SECKILL_IDS_OPAQUE = 1, SECKILL_IDS_UUIDV7 = 2, SECKILL_IDS_ULID = 3 };

/** What to open. Zero everywhere means: the default when the segment is
 *  created, whatever the segment has when it exists. */
typedef struct {
    uint32_t struct_size;  /* sizeof(seckill_options_t) */
    uint32_t request_ids;  /* SECKILL_IDS_*; default opaque */
    const char *name;      /* [a-z0-9_-]{1,32}; default "default" */
    const char *shm_dir;   /* a tmpfs; default "/dev/shm" */
    const char *user;      /* owner of the files when root opens */
    int64_t window_ns;     /* life of a request id; default 1 h, 1 s .. 30 d */
    uint32_t items;        /* capacities: 1 .. 2^26 each; defaults 256, */
    uint32_t reservations; /*   2^15 live rows, */
    uint32_t users;        /*   2^16 (item, user) pairs, */
    uint32_t requests;     /*   2^16 live request ids, */
    uint32_t limit_keys;   /*   2^16 keys over all limiters, */
    uint32_t limiters;     /*   64 limiters, 1 .. 1024, */
    uint32_t limit_overrides; /* 512 keys with numbers of their own,
                                 1 .. 2^20, */
    uint32_t lists;           /*   16 access lists, 1 .. 256, */
    uint32_t list_overlay; /*   4096 added or removed entries over all lists, */
    uint32_t breakers;     /*   64 circuit breakers, 1 .. 1024, */
    uint32_t shedders;     /*   8 load shedders, 1 .. 64, */
    uint32_t log_units;    /*   2^15 log units of 128 bytes, 64 .. 2^24, pow2 */
    uint32_t permits;      /*   2^14 permits held at once, 1 .. 2^20 */
    uint32_t durability;   /* SECKILL_ASYNC (default) or SECKILL_SYNC: kept for
                              seckill_durability(): C functions do not wait */
    const char *dir;       /* of the log; NULL: memory only. Made if absent */
    int64_t max_lag_ns;    /* default 1 s, 1 ms .. 1 h: reserve is EBUSY while
                              the oldest record that is not durable is older */
    uint64_t max_log_bytes; /* default 8 GiB, at least 4 segments: reserve is
                              EBUSY at it */
    uint64_t log_segment_bytes; /* default 64 MiB, 2 MiB .. 1 GiB */
} seckill_options_t;

/**
 * Open the engine: create the segment, or attach to it. The same name in the
 * same process gives the same handle again (counted; also after fork).
 * On failure `err` holds one line that names the option, file, or bytes.
 * Errors: EBADNAME, EBADOPTION, EMISMATCH (err starts with the option's name
 * and ':'), ENOSPACE, ELAYOUT, ENOTOWNER, EUNKNOWNUSER, EIO, ENOMEM, ECORRUPT,
 * EBUSY (somebody else has been opening it for 5 s). *out is set on success.
 * Threads: one at a time. Makes system calls: not for the request path.
 */
SECKILL_API int seckill_open(const seckill_options_t *options, seckill_t **out,
                             char *err, size_t err_size);
/** Drop one reference; the last one stops the threads of this process. */
SECKILL_API void seckill_close(seckill_t *sk);
/** Unlink the segment `name` and its directory. Processes attached keep their
 *  mapping; the next open creates a new segment. EBADNAME, EBADOPTION,
 *  ENOTFOUND, ENOTOWNER, EBUSY (somebody has been opening it for 5 s), EIO. */
SECKILL_API int seckill_destroy(const char *name, const char *shm_dir);
/** The options in force, as seckill_open would take them. Strings are owned by
 *  the handle. */
SECKILL_API void seckill_get_options(seckill_t *sk, seckill_options_t *out);
/** Bytes of the segment. */
SECKILL_API uint64_t seckill_segment_bytes(seckill_t *sk);

/** Time of the ledger in ns since the epoch: boot time plus a slewed offset;
 *  a step of the wall clock does not move it. Threads: any. */
SECKILL_API int64_t seckill_now(seckill_t *sk);
/** Wall clock minus ledger time in ns, as of the last sweep. Threads: any. */
SECKILL_API int64_t seckill_clock_skew(seckill_t *sk);
/** CLOCK_MONOTONIC in ns, the time of the limiters. Threads: any. */
SECKILL_API int64_t seckill_mono_now(void);
/** CLOCK_REALTIME in ns: for what others have signed with their clock. */
SECKILL_API int64_t seckill_wall_now(void);
/** For tests: seckill_now() answers `now_ns` in this process; 0 undoes it. */
SECKILL_API void seckill_set_test_clock(seckill_t *sk, int64_t now_ns);

/* ---- Stock ledger -------------------------------------------------------- */

/* QUARANTINED: its counters do not add up; the sweeper rebuilds it from the
 * log or, without one, from its rows, as long as these agree. */
enum {
    SECKILL_ITEM_OPEN = 1,
    SECKILL_ITEM_PAUSED = 2,
    SECKILL_ITEM_QUARANTINED = 3
};

/** An item: input of seckill_put (the fields down to `version`), output of
 *  seckill_get (all). */
typedef struct {
    uint32_t struct_size;
    uint32_t item_len;
    char item[SECKILL_ID_MAX];
    int64_t total;     /* -1 in put: leave as it is */
    int64_t per_user;  /* units a user may hold; 0 unlimited */
    int64_t max_qty;   /* units of one order; 0 unlimited */
    int64_t hold_ns;   /* life of an unconfirmed reservation; 0: sold at once */
    int64_t starts_at; /* ns since the epoch, to SECKILL_TIME_MAX; 0: always */
    int64_t ends_at;   /* the same, exclusive; 0: never */
    int64_t version;   /* 1 .. 2^53 - 1 */
    int64_t available;
    int64_t reserved;
    int64_t sold;
    uint64_t lsn;   /* of the item's last change */
    uint32_t state; /* SECKILL_ITEM_* */
    uint32_t pad;
} seckill_item_t;

enum {
    SECKILL_STATE_RESERVED = 1,
    SECKILL_STATE_CONFIRMED = 2,
    SECKILL_STATE_CANCELLED = 3,
    SECKILL_STATE_EXPIRED = 4,
    SECKILL_STATE_REFUNDED = 5
};

/* Types of log records. */
enum {
    SECKILL_REC_PUT = 1,
    SECKILL_REC_REMOVE = 2,
    SECKILL_REC_PAUSE = 3,
    SECKILL_REC_RESUME = 4,
    SECKILL_REC_RESERVE = 5,
    SECKILL_REC_CONFIRM = 6,
    SECKILL_REC_CANCEL = 7,
    SECKILL_REC_EXPIRE = 8,
    SECKILL_REC_REFUND = 9,
    SECKILL_REC_ADJUST = 10
};

/** A reservation as reserve and find give it. */
typedef struct {
    int64_t qty;
    int64_t remaining;  /* units available after this answer */
    int64_t expires_at; /* ns since the epoch; 0: no hold */
    uint64_t lsn;       /* of the record that reserved it */
    uint32_t state;     /* SECKILL_STATE_* */
    uint8_t replayed;   /* 1: the recorded answer of an earlier call */
    uint8_t id_len;
    uint8_t item_len;
    uint8_t user_len;
    uint8_t request_len;
    uint8_t lines; /* 0; of find: n, the order has n lines, this is the first */
    uint8_t pad[6];
    char id[SECKILL_ID_MAX];
    char item[SECKILL_ID_MAX];
    char user[SECKILL_ID_MAX];
    char request[SECKILL_ID_MAX];
} seckill_reservation_t;

/** A line of an order: asked for, and answered. */
typedef struct {
    int64_t qty;
    int64_t remaining; /* of an answer: units available after it */
    uint32_t item_len;
    uint32_t pad;
    char item[SECKILL_ID_MAX];
} seckill_line_t;

/** An order of several lines, which have one state and one deadline. */
typedef struct {
    int64_t expires_at; /* ns since the epoch; 0: no hold */
    uint64_t lsn;       /* of the record that made it */
    uint32_t state;     /* SECKILL_STATE_* */
    uint32_t line_count;
    uint8_t replayed; /* 1: the recorded answer of an earlier call */
    uint8_t id_len;
    uint8_t user_len;
    uint8_t request_len;
    uint8_t pad[4];
    char id[SECKILL_ID_MAX];
    char user[SECKILL_ID_MAX];
    char request[SECKILL_ID_MAX];
    seckill_line_t lines[SECKILL_LINES_MAX];
} seckill_order_t;

/**
 * Create or change an item. Same version and fields: no-op. Same version, other
 * fields: ECONFLICT. Lower version: ESTALE. Higher: sets the fields, and total
 * only where it is not -1 (a new item needs one).
 * Errors: EBADITEM, EBADTOTAL, EBADQTY (per_user, max_qty), EBADHOLD, EBADTIME,
 * EBADVERSION, EBELOWSOLD, EFULL, EBUSY. Threads: any.
 */
SECKILL_API int seckill_put(seckill_t *sk, const seckill_item_t *item);
/** Read a whole state of an item. EBADITEM, EUNKNOWNITEM, EBUSY.
 *  Threads: any. */
SECKILL_API int seckill_get(seckill_t *sk, const char *item, size_t item_len,
                            seckill_item_t *out);
/** Walk the items: the first one at or after *cursor; *cursor moves past it.
 *  ENOTFOUND at the end. Threads: any. */
SECKILL_API int seckill_next_item(seckill_t *sk, uint32_t *cursor,
                                  seckill_item_t *out);
/** Forget an item. EUNKNOWNITEM; EINUSE while reservations are pending. Orders
 *  stay findable for the window. Threads: any. */
SECKILL_API int seckill_remove(seckill_t *sk, const char *item,
                               size_t item_len);
/** Change total and available by delta, once per request id. EBELOWSOLD when
 *  available would be negative; EBADQTY when total would leave the range. */
SECKILL_API int seckill_adjust(seckill_t *sk, const char *item, size_t item_len,
                               int64_t delta, const char *request_id,
                               size_t request_len);
/** Refuse new reservations (`paused`); holds and confirms go on. */
SECKILL_API int seckill_pause(seckill_t *sk, const char *item, size_t item_len);
SECKILL_API int seckill_resume(seckill_t *sk, const char *item,
                               size_t item_len);

/**
 * Reserve qty units for a user. Checks in this order: EBADITEM, EBADUSER,
 * EBADQTY, EBADREQUEST, replay (OK, replayed = 1) or ECONFLICT, ETOOOLD,
 * EUNKNOWNITEM, ENOTSTARTED, EENDED, EPAUSED, EQTYLIMIT, EUSERLIMIT, ESOLDOUT,
 * EFULL, EBUSY. A refusal is not recorded: the same id may succeed later.
 * At most 16 request ids per user, item and window (EUSERLIMIT).
 * Threads: any.
 */
SECKILL_API int seckill_reserve(seckill_t *sk, const char *item,
                                size_t item_len, const char *user,
                                size_t user_len, int64_t qty,
                                const char *request_id, size_t request_len,
                                seckill_reservation_t *out);
/** Sell a reservation. OK again when it is confirmed already.
 *  EUNKNOWNRESERVATION, EEXPIRED, ECANCELLED, EREFUNDED, EBUSY.
 *  Threads: any. */
SECKILL_API int seckill_confirm(seckill_t *sk, const char *id, size_t id_len);

enum { SECKILL_CONFIRM_REACQUIRE = 1 };

/**
 * Confirm with options. qty (1 .. what was reserved; 0: all of it): so many are
 * sold, the rest comes back, the reservation is of qty from then on. Again with
 * another qty: ECONFLICT. EBADQTY: out of range, or an order of several lines.
 * flags, SECKILL_CONFIRM_REACQUIRE: where the hold has ended, the units are
 * taken again and sold, if they are available and per_user allows it; else
 * EUSERLIMIT or ESOLDOUT (also of a removed item). The window of the sale,
 * `paused` and max_qty do not matter: the order was made in time.
 * EBADOPTION: another flag. Else as seckill_confirm. Threads: any.
 */
SECKILL_API int seckill_confirm_with(seckill_t *sk, const char *id,
                                     size_t id_len, int64_t qty,
                                     uint32_t flags);
/** Give a reservation back. OK again when it is cancelled already.
 *  EUNKNOWNRESERVATION, EEXPIRED, ECONFIRMED, EREFUNDED, EBUSY.
 *  Threads: any. */
SECKILL_API int seckill_cancel(seckill_t *sk, const char *id, size_t id_len);
/** Take a confirmed reservation back, once per request id. OK again when it is
 *  refunded already. EBADREQUEST, ECONFLICT, ETOOOLD, EUNKNOWNRESERVATION,
 *  ERESERVED, EEXPIRED, ECANCELLED, EFULL, EBUSY. Threads: any. */
SECKILL_API int seckill_refund(seckill_t *sk, const char *id, size_t id_len,
                               const char *request_id, size_t request_len);
/** The reservation of a request id. Of an order of several lines: its first
 *  line, and how many there are. EBADREQUEST, EUNKNOWNREQUEST, EBUSY. */
SECKILL_API int seckill_find(seckill_t *sk, const char *request_id,
                             size_t request_len, seckill_reservation_t *out);
/**
 * Reserve several items at once: all lines, or none. 1 to 8 lines of different
 * items, else EBADLINES; then the checks of seckill_reserve, line by line from
 * unknown_item to sold_out. *line is the number of the line that refused, from
 * 1, or 0. One request id stands for the whole order: again with the same lines
 * in the same order it is a replay. seckill_confirm, cancel and refund take the
 * order's id and end all lines at once. If no item has a hold the order is
 * sold at once; else all lines are pending for the shortest hold (EBUSY: eight
 * other lengths are pending in one of the items). Threads: any.
 */
SECKILL_API int seckill_order(seckill_t *sk, const char *user, size_t user_len,
                              const char *request_id, size_t request_len,
                              const seckill_line_t *lines, size_t count,
                              seckill_order_t *out, uint32_t *line);
/** The order of a request id with all its lines; a reservation is one of one
 *  line. EBADREQUEST, EUNKNOWNREQUEST, EBUSY. Threads: any. */
SECKILL_API int seckill_find_order(seckill_t *sk, const char *request_id,
                                   size_t request_len, seckill_order_t *out);
/**
 * One bounded step of housekeeping: ends holds that are due, retires rows whose
 * window has passed, slews the clock, repairs what dead processes left, and
 * without a log rebuilds damaged items from their rows. At most `max` records
 * are written. The io thread calls it; without threads call it yourself (then
 * it also writes the log to disk). Returns the number of records written, or a
 * negative code.
 */
SECKILL_API int seckill_sweep(seckill_t *sk, int max);
/**
 * Recount everything, holding one lock at a time where it can. Returns the
 * number of problems, 0 for a sound ledger, or a negative code; `text` gets one
 * line for each (as many as fit).
 */
SECKILL_API int seckill_audit(seckill_t *sk, char *text, size_t text_size);
/** Newest log sequence number. Threads: any. */
SECKILL_API uint64_t seckill_lsn(seckill_t *sk);

/* ---- Log on disk --------------------------------------------------------- */

/** LSN of the last answer given to this thread, refusals too: of the record it
 *  wrote, else of the newest record of which it could know. An answer is
 *  durable when this LSN is; replaying the records up to it gives the state
 *  from which it was given. Threads: any. */
SECKILL_API uint64_t seckill_answer_lsn(void);
/** The newest LSN that a power loss cannot take; without dir: seckill_lsn().
 *  Threads: any. */
SECKILL_API uint64_t seckill_durable(seckill_t *sk);
/** SECKILL_ASYNC or SECKILL_SYNC as the engine was opened; 0 without dir. */
SECKILL_API int seckill_durability(seckill_t *sk);
/** For event loops. OK: lsn is durable. EPENDING: the flusher was asked; a byte
 *  comes on the wake socket at the next step of seckill_durable(), then ask
 *  again. ENOTSTARTEDTHREADS: nobody would send it. ECLOSED: the engine was
 *  closed before lsn was durable. Threads: any; never blocks. */
SECKILL_API int seckill_sync_ask(seckill_t *sk, uint64_t lsn);
/** Wait until lsn is durable; where no process flushes, flush here. EPENDING
 *  after timeout_ns; ECLOSED as above. Threads: any, not in an event loop. */
SECKILL_API int seckill_sync_wait(seckill_t *sk, uint64_t lsn,
                                  int64_t timeout_ns);

enum {
    SECKILL_LOG_NONE = 0, /* no dir */
    SECKILL_LOG_OK = 1,
    SECKILL_LOG_FULL = 2,   /* no space, or max_log_bytes: writes again when
                               there is room */
    SECKILL_LOG_FAILING = 3 /* the disk fails: tries a new file every second */
};

typedef struct {
    uint32_t state; /* SECKILL_LOG_* */
    uint32_t incarnation;
    uint64_t lsn, durable;
    int64_t lag_ns;        /* age of the oldest record that is not durable */
    uint64_t first_lsn;    /* the oldest one in the log */
    uint64_t snapshot_lsn; /* of the newest snapshot; 0: none */
    uint64_t bytes, max_bytes;
    uint32_t segments, free_segments;
    uint64_t batches, records; /* written by all processes of this segment */
    uint64_t sync_ns;          /* time spent in fdatasync */
    uint64_t failures;         /* of calls on the log */
    uint64_t snapshots, snapshot_failures; /* built by this segment's users */
    char uuid[40];
    char dir[200];
    char error[160]; /* of the last failure; "" while the state is OK */
    char snapshot_error[160]; /* of the last one; "": it is in place */
} seckill_log_stats_t;

/** Numbers of the log. ENOTFOUND: there is no dir; EIO. Makes system calls. */
SECKILL_API int seckill_log_stats(seckill_t *sk, seckill_log_stats_t *out);

/* The functions below work on a directory, whether engines use it or not. */

typedef struct seckill_reader seckill_reader_t;

/** A record of the log. `type` is one of SECKILL_REC_*. An order of several
 *  lines gives one for each line, with the same lsn and line 1 .. n; only holds
 *  end line by line, each with an lsn of its own. */
typedef struct {
    uint64_t lsn;
    int64_t time;             /* ns since the epoch, ledger time */
    uint64_t segment, offset; /* of the batch in the log */
    uint32_t incarnation;
    uint16_t type;
    uint8_t line;  /* of an order of several lines; 0: not one */
    uint8_t state; /* SECKILL_STATE_* of the reservation; 0: no such */
    int64_t qty;   /* units of the reservation; delta of adjust */
    int64_t available, reserved, sold; /* of the item, after it */
    int64_t expires_at;                /* ns since the epoch; 0: no hold */
    int64_t version;                   /* of put */
    uint8_t id_len, item_len, user_len, request_len;
    uint8_t pad[4];
    char id[SECKILL_ID_MAX];
    char item[SECKILL_ID_MAX];
    char user[SECKILL_ID_MAX];
    char request[SECKILL_ID_MAX];
} seckill_record_t;

/** Read the log of `dir`, beginning with `from_lsn` (0: the oldest). With an
 *  engine (may be NULL) only what is durable in it, and more each time there
 *  is more. ENOTFOUND, ECURSORGONE, ECORRUPT, EIO, ENOMEM; err says what and
 *  where. Threads: one at a time. */
SECKILL_API int seckill_reader_open(seckill_t *sk, const char *dir,
                                    uint64_t from_lsn, seckill_reader_t **out,
                                    char *err, size_t err_size);
SECKILL_API void seckill_reader_close(seckill_reader_t *r);
/** 1 and a record; 0: no more; ECORRUPT, ECURSORGONE, EIO. */
SECKILL_API int seckill_reader_next(seckill_reader_t *r, seckill_record_t *out);
/** LSN that the next record will have. */
SECKILL_API uint64_t seckill_reader_lsn(seckill_reader_t *r);
/** Incarnation of the life that wrote an LSN in front of the next record; of
 *  LSN 0 that of the first life. 0: not known. After seckill_reader_next() has
 *  returned 0, seckill_reader_lsn() - 1 and its incarnation are a cursor behind
 *  everything so far: also behind records that readers do not show, and that
 *  the log would keep for a cursor in front of them. Not after a code. */
SECKILL_API uint32_t seckill_reader_incarnation(seckill_reader_t *r,
                                                uint64_t lsn);
/** Where and why, after a code. */
SECKILL_API const char *seckill_reader_error(seckill_reader_t *r);
/** After 0, without an engine: bytes of an unfinished batch at the end, which
 *  the next open cuts off; 0: none. */
SECKILL_API uint64_t seckill_reader_torn(seckill_reader_t *r);
/** Name of a record type ("reserve"); "unknown". */
SECKILL_API const char *seckill_record_name(int type);

typedef struct {
    char uuid[40];
    uint32_t incarnation; /* of the newest life */
    uint32_t lives;
    uint64_t first_lsn;    /* the oldest record kept */
    uint64_t snapshot_lsn; /* of the newest snapshot whose checksum is right */
    uint32_t snapshots, segments, free_segments, cursors;
    uint64_t bytes; /* of segments and snapshots */
    int64_t window_ns;
    uint32_t request_ids, items, reservations, users, requests;
    uint32_t in_use; /* 1: an engine has it open */
} seckill_dir_stats_t;

/** What is in a directory. ENOTFOUND, ECORRUPT, EIO. */
SECKILL_API int seckill_dir_stats(const char *dir, seckill_dir_stats_t *out,
                                  char *err, size_t err_size);

/** Named positions of consumers: the log is kept behind the slowest one.
 *  cursor_set: everything up to lsn was handed on; durable on return; makes
 *  the cursor when `create` is 1 (again after a drop), else ECURSORGONE.
 *  EBADNAME, EBADCURSOR (not of this ledger's log), EFULL (64), EIO. */
SECKILL_API int seckill_cursor_set(const char *dir, const char *name,
                                   uint64_t lsn, uint32_t incarnation,
                                   int create);
/** Make a cursor in front of the oldest record that is kept, also after a drop;
 *  durable on return. EBUSY: the log was recycled faster than that; and as
 *  above. */
SECKILL_API int seckill_cursor_create(const char *dir, const char *name,
                                      uint64_t *lsn, uint32_t *incarnation);
/** ENOTFOUND: never made; ECURSORGONE: dropped. */
SECKILL_API int seckill_cursor_get(const char *dir, const char *name,
                                   uint64_t *lsn, uint32_t *incarnation);
/** The consumer of that name gets ECURSORGONE; its records may be recycled. */
SECKILL_API int seckill_cursor_drop(const char *dir, const char *name);
/** Walk the cursors, `name` has 33 bytes: OK, ENOTFOUND past the end. */
SECKILL_API int seckill_cursor_at(const char *dir, int i, char *name,
                                  uint64_t *lsn, uint32_t *incarnation,
                                  int *dropped);

typedef struct seckill_snapshot seckill_snapshot_t;

/** Build a snapshot from the last one and the segments that are full, then let
 *  segments be used again that nobody needs. Step by step, for progress:
 *  begin, step until it returns 0, end. ELOCKED: another one is being built;
 *  ENOTFOUND: nothing new to put into one. Not in an event loop. */
SECKILL_API int seckill_snapshot_begin(const char *dir,
                                       seckill_snapshot_t **out, char *err,
                                       size_t err_size);
/** At most max_records: 1 more to do, 0 done and in place, or a code. done and
 *  total count records. */
SECKILL_API int seckill_snapshot_step(seckill_snapshot_t *s,
                                      uint32_t max_records, uint64_t *done,
                                      uint64_t *total);
SECKILL_API const char *seckill_snapshot_error(seckill_snapshot_t *s);
SECKILL_API void seckill_snapshot_end(seckill_snapshot_t *s);

/** Cut a log off at its first damaged place: the only way past one. What is
 *  behind it is moved to files *.lost. OK: cut, *lsn is the last record kept;
 *  ENOTFOUND: nothing is damaged; ELOCKED: an engine has it open; EIO. `err`
 *  says what was done, or why not. */
SECKILL_API int seckill_repair(const char *dir, uint64_t *lsn, char *err,
                               size_t err_size);

/** Rebuild the tables from snapshot and log in private memory, and count their
 *  problems as seckill_audit does; with an engine also compare them with its
 *  tables, byte by byte, while nothing else uses it. The number of problems
 *  and differing bytes, or a code. */
SECKILL_API int seckill_verify(seckill_t *sk, const char *dir, char *text,
                               size_t text_size);

/* ---- Memory sink: proves that the log alone rebuilds the ledger ---------- */

/** Keep a copy of every record from now on, in the memory of this process.
 *  Must be called on a segment without records. While a sink is attached the
 *  log is not overwritten before seckill_sink_drain() has read it (EBUSY). */
SECKILL_API int seckill_sink_attach(seckill_t *sk);
/** Copy new records; returns how many. One thread of one process. */
SECKILL_API int seckill_sink_drain(seckill_t *sk);
/** Drain, rebuild a segment from the records alone and compare it with the live
 *  one byte by byte. Call it while nothing else uses the segment.
 *  Returns the number of differing bytes; `text` says where the first is. */
SECKILL_API int seckill_sink_compare(seckill_t *sk, char *text,
                                     size_t text_size);

/* ---- Limiters ------------------------------------------------------------ */

/**
 * Algorithms. "Any interval" counts admissions of one key, over all processes.
 *  TOKEN_BUCKET    at most burst + rate * L in any interval of L seconds
 *  LEAKY_BUCKET    at most 1 + burst + rate * L; what is over the rate waits
 *                  (delay_ns), so that turns are 1 / rate apart
 *  FIXED_WINDOW    limit in a window that begins with a key's first admission
 *                  (as resty.limit.count); 2 * limit in any interval of its
 *                  length. The window is up to 1/1024 longer than asked for
 *  SLIDING_WINDOW  two windows on a grid, the older one weighted by what still
 *                  overlaps, rounded up; 2 * limit in the worst interval
 *  SLIDING_LOG     never more than limit in any interval of the window
 *  CONCURRENCY     limit permits held at once; those of a killed process come
 *                  back
 */
enum {
    SECKILL_TOKEN_BUCKET = 1,
    SECKILL_LEAKY_BUCKET = 2,
    SECKILL_FIXED_WINDOW = 3,
    SECKILL_SLIDING_WINDOW = 4,
    SECKILL_SLIDING_LOG = 5,
    SECKILL_CONCURRENCY = 6
};

/* SHADOW counts what it would refuse, and passes it. OFF passes everything and
 * touches nothing. */
enum {
    SECKILL_LIMIT_ENFORCE = 1,
    SECKILL_LIMIT_SHADOW = 2,
    SECKILL_LIMIT_OFF = 3
};

/* Bits of seckill_limit_t.zeros: the field is 0 and means it. */
enum {
    SECKILL_ZERO_BURST = 1,
    SECKILL_ZERO_MAX_DELAY = 2,
    SECKILL_ZERO_NODELAY = 4,
    SECKILL_ZERO_LIMIT = 8,
    SECKILL_ZERO_WARM_UP = 16,
    SECKILL_ZERO_WARM_UP_AT = 32
};

/** A limiter's numbers. A field of 0 is absent (default, or unchanged), unless
 *  its bit is set in `zeros`. */
typedef struct {
    uint32_t struct_size;
    uint32_t algorithm; /* default TOKEN_BUCKET */
    uint32_t mode;      /* SECKILL_LIMIT_*; default ENFORCE */
    uint32_t zeros;
    double rate;    /* buckets: tokens per second, 1e-7 .. 1e7 */
    double burst;   /* TOKEN_BUCKET: 1 .. 1e9, default max(1, rate / 100);
                       LEAKY_BUCKET: requests that may wait, 0 .. 1e9,
                       default 0. At most 208 days of the rate, of a warm-up
                       of rate / cold_factor */
    double nodelay; /* LEAKY_BUCKET: how many of them go at once; default 0 */
    double limit;   /* windows: admissions, 0 .. 1e12, and of a window of T s
                       at most 1.2e8 * T (FIXED_WINDOW) or 7.8e6 * T
                       (SLIDING_WINDOW); SLIDING_LOG: 0 .. 16;
                       CONCURRENCY: permits, 0 .. 2^20 - 1. An integer */
    int64_t window_ns;     /* windows: 1 ms .. 31 days; never changes */
    int64_t max_delay_ns;  /* LEAKY_BUCKET: who would wait longer is refused;
                              at most 31 days; default: whatever burst allows */
    int64_t warm_up_ns;    /* buckets: the rate rises for so long, from
                             rate / cold_factor; 0 (default): no warm-up;
                             at most 31 days */
    double cold_factor;    /* > 1 .. 1000; default 3 */
    int64_t warm_up_at_ns; /* ledger time at which the rise begins; 0: whenever
                              the limiter was idle for warm_up_ns */
} seckill_limit_t;

/** The answer of a take. */
typedef struct {
    int64_t delay_ns; /* of OK: to be waited before going on; 0: none */
    int64_t retry_ns; /* of EREJECTED: from then on it would pass; -1 never */
    int64_t reset_ns; /* until the whole quota is there again */
    double remaining; /* of OK: what is left of the quota, rounded down */
    double quota;     /* the whole of it */
    uint32_t in_use;  /* CONCURRENCY: permits held, with this one */
    uint32_t mask;   /* of EREJECTED: bit i: rule i refuses; a take is rule 0 */
    uint32_t shadow; /* bit i: rule i would refuse, and is in SHADOW mode */
    uint32_t rule;   /* of combine: the tightest rule. Of those that refuse it
                         refuses for longest, else it has the least remaining;
                         remaining, quota and reset_ns are its own */
} seckill_verdict_t;

#define SECKILL_COMBINE_MAX 8

/** What one admission took of one limiter. */
typedef struct {
    void *limiter;
    uint64_t at, key, depth, charge;
} seckill_ticket_part_t;

/** What one admission took, of all limiters that were asked. Plain memory of
 *  the caller; count = 0: nothing. Valid in the process that filled it. */
typedef struct {
    uint32_t count;
    uint32_t pad;
    seckill_ticket_part_t parts[SECKILL_COMBINE_MAX];
} seckill_ticket_t;

/** Numbers made ready for seckill_limiter_take_as(); opaque. */
typedef struct {
    uint64_t word[24];
} seckill_rule_t;

/** What a limiter counted, over all processes. */
typedef struct {
    uint64_t allowed, rejected, delayed;
    uint64_t shadow;   /* what it passed only as it is in shadow mode */
    uint64_t overflow; /* takes that fell to a shared bucket: table full */
    uint64_t refunded;
} seckill_limiter_counts_t;

/** Create the limiter or attach to it. Another algorithm or window: ECONFLICT;
 *  other numbers act as seckill_limiter_set. EBADNAME, EBADOPTION, EFULL. The
 *  handle lives as long as the engine's. Not for the request path. */
SECKILL_API int seckill_limiter_open(seckill_t *sk, const char *name,
                                     const seckill_limit_t *limit,
                                     seckill_limiter_t **out);
/** Change numbers for all workers; the keys keep what they used. EBADOPTION,
 *  ECONFLICT, EBUSY. Threads: any; takes a lock. */
SECKILL_API int seckill_limiter_set(seckill_limiter_t *lim,
                                    const seckill_limit_t *limit);
SECKILL_API void seckill_limiter_get(seckill_limiter_t *lim,
                                     seckill_limit_t *out);
/** Other numbers for one key: the fields that are given, over those it has (at
 *  first the limiter's); NULL: the limiter's again. EBADKEY, EBADOPTION,
 *  ECONFLICT, EFULL (capacity limit_overrides), EBUSY, ENOTFOUND. Threads: any;
 *  a lock. */
SECKILL_API int seckill_limiter_override(seckill_limiter_t *lim,
                                         const char *key, size_t key_len,
                                         const seckill_limit_t *limit);
/**
 * Ask for `cost` tokens of `key` at `now_ns` (seckill_mono_now; 0: read it).
 * OK: *ticket (may be NULL) says what was taken, when commit is 1. EREJECTED:
 * *out says when to come again. commit = 0 only looks. EBADKEY, EBADQTY
 * (cost 0); CONCURRENCY: EFULL (no permit left in the segment), EBADOPTION
 * (without a ticket nothing could release the permit); retry_ns is 0: nobody
 * knows when somebody leaves.
 * A full table falls to a shared conservative bucket, counted, never amnesty.
 * Threads: any; one compare-and-swap, no lock for a known key.
 */
SECKILL_API int seckill_limiter_take(seckill_limiter_t *lim, const char *key,
                                     size_t key_len, uint32_t cost, int commit,
                                     int64_t now_ns, seckill_ticket_t *ticket,
                                     seckill_verdict_t *out);
/** Check numbers and make them ready. EBADOPTION: also for warm_up_at_ns, a
 *  time of one segment. Threads: any. */
SECKILL_API int seckill_limit_prepare(const seckill_limit_t *limit,
                                      seckill_rule_t *out);
/** As seckill_limiter_take, by other numbers than the limiter's; the algorithm
 *  and the window must be the same: ECONFLICT. With a rule, also of refund, a
 *  key has up to 65535 bytes. */
SECKILL_API int seckill_limiter_take_as(
    seckill_limiter_t *lim, const seckill_rule_t *rule, const char *key,
    size_t key_len, uint32_t cost, int commit, int64_t now_ns,
    seckill_ticket_t *ticket, seckill_verdict_t *out);
/**
 * Ask n limiters (1 .. SECKILL_COMBINE_MAX) at one instant: all are charged or
 * none is. *out: the longest delay and retry, the numbers of the tightest
 * rule, all rules that refuse. Where one of them is a shadow or off
 * it passes. The order does not matter. As seckill_limiter_take; EBADQTY also
 * for another n. Threads: any.
 */
SECKILL_API int seckill_combine(uint32_t n, seckill_limiter_t *const *lims,
                                const char *const *keys, const size_t *lens,
                                uint32_t cost, int commit, int64_t now_ns,
                                seckill_ticket_t *ticket,
                                seckill_verdict_t *out);
/** Give back what the ticket took of this limiter, never more than is still
 *  charged (of windows: only in the same window). A used ticket is a no-op.
 *  Returns 1 when something was given back, else 0. Threads: any. */
SECKILL_API int seckill_limiter_undo(seckill_limiter_t *lim,
                                     seckill_ticket_t *ticket, int64_t now_ns);
/** The request is over: its permits of this limiter come back, what it took
 *  otherwise stays charged. Returns 1 when permits came back. Threads: any. */
SECKILL_API int seckill_limiter_leave(seckill_limiter_t *lim,
                                      seckill_ticket_t *ticket);
/** The same for all limiters of a ticket, which is empty then: how many. */
SECKILL_API int seckill_ticket_undo(seckill_ticket_t *ticket, int64_t now_ns);
SECKILL_API int seckill_ticket_leave(seckill_ticket_t *ticket);
/** Give `cost` back to a key, without a ticket: as much as is still charged,
 *  whoever took it. `rule`: as in seckill_limiter_take_as, or NULL. Returns 1,
 *  0 or a code (EBADKEY, EBADQTY, ECONFLICT: also for CONCURRENCY). */
SECKILL_API int seckill_limiter_refund(seckill_limiter_t *lim,
                                       const seckill_rule_t *rule,
                                       const char *key, size_t key_len,
                                       uint32_t cost, int64_t now_ns);
/** Walk the limiters: the i-th, ENOTFOUND past the end. Threads: any. */
SECKILL_API int seckill_limiter_at(seckill_t *sk, uint32_t i,
                                   seckill_limiter_t **out);
SECKILL_API const char *seckill_limiter_name(seckill_limiter_t *lim);
SECKILL_API void seckill_limiter_counts(seckill_limiter_t *lim,
                                        seckill_limiter_counts_t *out);

/** A key that is asked for much. */
typedef struct {
    char key[SECKILL_ID_MAX];
    uint32_t key_len;
    uint32_t pad;
    const char *limiter; /* its name; valid as long as the engine's handle */
    double rate;         /* takes per second, an estimate */
    double share;        /* of the takes of all keys, 0 .. 1 */
} seckill_hot_key_t;

/** The keys of all limiters that are asked for most, admitted or not, over all
 *  processes and the last 10 to 20 seconds, hottest first. Returns how many
 *  were written: at most `max` and SECKILL_HOT_KEYS_MAX. Takes are sampled and
 *  keys counted approximately; a key of less than 0.1 % of the takes may be
 *  missing. Threads: any; not for a hot path. */
SECKILL_API int seckill_hot_keys(seckill_t *sk, seckill_hot_key_t *out,
                                 int max);

/* ---- Circuit breakers ---------------------------------------------------- */

enum {
    SECKILL_BREAKER_CLOSED = 1,
    SECKILL_BREAKER_OPEN = 2,
    SECKILL_BREAKER_HALF_OPEN = 3,
    SECKILL_BREAKER_FORCED_OPEN = 4,
    SECKILL_BREAKER_FORCED_CLOSED = 5,
    SECKILL_BREAKER_DISABLED = 6
};

/** A breaker's numbers. 0: default at creation, else unchanged. -1 in the
 *  fields that say so: off. */
typedef struct {
    uint32_t struct_size;
    uint32_t mode;       /* SECKILL_LIMIT_ENFORCE (default) or _SHADOW */
    int64_t window_ns;   /* ten buckets; default 10 s, 10 ms .. 1 d */
    uint32_t min_calls;  /* default 20, 1 .. 10^6 */
    uint32_t probes;     /* calls of a half-open breaker; default 3, 1 .. 16 */
    double error_ratio;  /* default 0.5, over 0 .. 1; -1 */
    double slow_ratio;   /* default off, over 0 .. 1; needs slow_ns; -1 */
    double cpu;          /* share of the CPU; default off, over 0 .. 1; -1 */
    int64_t consecutive; /* failures in a row; default off, 1 .. 10^6; -1 */
    int64_t slow_ns;     /* a call that takes longer is slow; 1 us .. 1 d */
    int64_t open_ns;     /* first period; default 5 s, 1 ms .. 1 d */
    int64_t ramp_ns;     /* after closing; default off, 1 ms .. 1 d; -1 */
    int64_t probe_timeout_ns; /* lease of a probe; default 10 s, 1 ms .. 1 d */
} seckill_breaker_options_t;

/** What a breaker counted, and where it stands. */
typedef struct {
    uint64_t allowed, rejected;
    uint64_t shadow; /* shadow mode did not refuse them */
    uint64_t succeeded, failed, slow;
    uint64_t stale; /* reports that came after their generation */
    uint64_t cancelled;
    uint64_t opened, half_opened, closed;
    uint64_t expired;              /* probes that were not reported in time */
    uint64_t calls, errors, slows; /* of the window */
    int64_t retry_ns;              /* until an open one admits a probe */
    uint32_t state;                /* SECKILL_BREAKER_* */
    uint32_t doublings;            /* of the period of the next opening */
} seckill_breaker_stats_t;

typedef struct seckill_breaker seckill_breaker_t;

/** Create the breaker or attach to it; other numbers act as
 *  seckill_breaker_set. EBADNAME, EBADOPTION, EFULL, EBUSY, ENOMEM. The handle
 *  lives as long as the engine's. Not for the request path. */
SECKILL_API int seckill_breaker_open(seckill_t *sk, const char *name,
                                     const seckill_breaker_options_t *options,
                                     seckill_breaker_t **out);
/** Change numbers for all workers. EBADOPTION, EBUSY. */
SECKILL_API int seckill_breaker_set(seckill_breaker_t *brk,
                                    const seckill_breaker_options_t *options);
/** The numbers in force. */
SECKILL_API void seckill_breaker_get(seckill_breaker_t *brk,
                                     seckill_breaker_options_t *out);
/**
 * May a call go out at `now_ns` (seckill_mono_now; 0: read it)? OK: *permit, a
 * number of 1 .. 2^53 - 1, is for one seckill_breaker_report or _cancel. EOPEN:
 * *retry_ns is the time after which it is worth to ask again.
 * Threads: any; no lock.
 */
SECKILL_API int seckill_breaker_allow(seckill_breaker_t *brk, int64_t now_ns,
                                      uint64_t *permit, int64_t *retry_ns);
/** The call ended. 1: it counted; 0: too late, it is in the statistics only.
 *  EBADVALUE: not a permit of this breaker. Threads: any; no lock. */
SECKILL_API int seckill_breaker_report(seckill_breaker_t *brk, uint64_t permit,
                                       int ok, int64_t latency_ns,
                                       int64_t now_ns);
/** The call did not go out (refused by something else): the permit goes back.
 *  Returns as seckill_breaker_report. Threads: any; no lock. */
SECKILL_API int seckill_breaker_cancel(seckill_breaker_t *brk, uint64_t permit,
                                       int64_t now_ns);
/** SECKILL_BREAKER_*, now. Threads: any. */
SECKILL_API int seckill_breaker_state(seckill_breaker_t *brk, int64_t now_ns);
/** Take the switch: SECKILL_BREAKER_FORCED_OPEN, _FORCED_CLOSED, _DISABLED; 0
 *  gives it back. Overrides the mode. EBADOPTION. Threads: any; no lock. */
SECKILL_API int seckill_breaker_force(seckill_breaker_t *brk, int state);
SECKILL_API void seckill_breaker_stats(seckill_breaker_t *brk,
                                       seckill_breaker_stats_t *out);
/** Walk the breakers: the i-th, or ENOTFOUND past the end. */
SECKILL_API int seckill_breaker_at(seckill_t *sk, uint32_t i,
                                   seckill_breaker_t **out);
SECKILL_API const char *seckill_breaker_name(seckill_breaker_t *brk);

/* ---- Load shedding ------------------------------------------------------- */

/* Priorities of requests, 0 .. 3. */
enum { SECKILL_PRIORITIES = 4, SECKILL_PRIORITY_NORMAL = 2 };

/** A shedder's numbers. 0: default at creation, else unchanged. -1 in the
 *  fields that say so: off. */
typedef struct {
    uint32_t struct_size;
    uint32_t mode;        /* SECKILL_LIMIT_ENFORCE (default) or _SHADOW */
    double cpu_high;      /* default 0.8, over 0 .. 1; -1 */
    double cpu_low;       /* default 0.9 of cpu_high; at most cpu_high */
    int64_t cool_ns;      /* after a drop; default 1 s, 1 ms .. 1 h */
    int64_t window_ns;    /* 50 buckets; default 5 s, 50 ms .. 1 h */
    int64_t max_inflight; /* of all priorities; default off, 1 .. 10^6; -1 */
    double reserve[SECKILL_PRIORITIES - 1]; /* shares of priorities 0, 1, 2:
                           default 0.1 each, 0 .. 1, sum at most 1; -1: none */
} seckill_shedder_options_t;

typedef struct {
    uint64_t admitted[SECKILL_PRIORITIES], shed[SECKILL_PRIORITIES];
    uint64_t shadow;            /* shadow mode did not refuse them */
    uint64_t succeeded, failed; /* requests that were done */
    uint64_t lost;              /* in flight in processes that died */
    uint64_t stale; /* decisions without a CPU value that is fresh */
    uint64_t inflight[SECKILL_PRIORITIES];
    double cpu;         /* -1: nobody has sampled it */
    int64_t cpu_age_ns; /* -1: never */
    double limit;       /* M: what the window says keeps it busy */
    int64_t min_rt_ns;  /* of that; 0: nothing was done in the window */
    uint32_t shedding;  /* 1: the CPU says so, now */
    uint32_t pad;
} seckill_shedder_stats_t;

typedef struct seckill_shedder seckill_shedder_t;

/** As seckill_breaker_open, _set and _get. */
SECKILL_API int seckill_shedder_open(seckill_t *sk, const char *name,
                                     const seckill_shedder_options_t *options,
                                     seckill_shedder_t **out);
SECKILL_API int seckill_shedder_set(seckill_shedder_t *shed,
                                    const seckill_shedder_options_t *options);
SECKILL_API void seckill_shedder_get(seckill_shedder_t *shed,
                                     seckill_shedder_options_t *out);
/**
 * May a request of this priority come in? OK: *permit, a number of 1 .. 2^53 -
 * 1, is for one seckill_shedder_done in this process. EOVERLOADED: *retry_ns
 * is when to come again. EBADVALUE: priority. Threads: any; no lock.
 */
SECKILL_API int seckill_shedder_admit(seckill_shedder_t *shed,
                                      uint32_t priority, int64_t now_ns,
                                      uint64_t *permit, int64_t *retry_ns);
/** The request is done; `ok` is 0 for one that failed or timed out: it says
 *  nothing on what the host can do. latency_ns -1: not known. 1, or 0: it was
 *  not in flight. EBADVALUE: not a permit of this shedder.
 *  Threads: any; no lock. */
SECKILL_API int seckill_shedder_done(seckill_shedder_t *shed, uint64_t permit,
                                     int ok, int64_t latency_ns,
                                     int64_t now_ns);
/** The request was refused by something else: it leaves, and says nothing on
 *  what the host can do. Returns as seckill_shedder_done. */
SECKILL_API int seckill_shedder_cancel(seckill_shedder_t *shed,
                                       uint64_t permit);
SECKILL_API void seckill_shedder_stats(seckill_shedder_t *shed,
                                       seckill_shedder_stats_t *out);
/** Walk the shedders: the i-th, or ENOTFOUND past the end. */
SECKILL_API int seckill_shedder_at(seckill_t *sk, uint32_t i,
                                   seckill_shedder_t **out);
SECKILL_API const char *seckill_shedder_name(seckill_shedder_t *shed);

/* ---- Access lists -------------------------------------------------------- */

/* Kinds: any strings of 1 to 64 bytes; or networks, looked up by addresses. */
enum { SECKILL_LIST_ID = 1, SECKILL_LIST_IP = 2 };
enum { SECKILL_FORMAT_TEXT = 1, SECKILL_FORMAT_GZIP = 2 };

typedef struct {
    uint32_t struct_size;
    uint32_t kind;          /* SECKILL_LIST_* */
    const char *file;       /* path or NULL: only added entries */
    uint32_t watch;         /* 1: reload when the file changes; 2: do not */
    uint32_t allow_empty;   /* 1: a file without entries is accepted */
    uint64_t max_bytes;     /* default 1 GiB; of the file, and unpacked */
    uint64_t max_entries;   /* default 2^27; a longer file is refused */
    uint32_t max_bad_lines; /* 0: 100; more of them refuse the file;
                               UINT32_MAX: none are allowed */
    uint32_t settle_ms;     /* quiet time after a change; default 100 */
} seckill_list_options_t;

typedef struct {
    uint64_t entries, bytes, generation, reloads, failures, bad_lines, overlay;
    int64_t loaded_at;  /* ns since the epoch; 0 never */
    int64_t load_ns;    /* duration of the last good load */
    int64_t file_mtime; /* ns since the epoch, of the file in force */
    char digest[65];    /* SHA-256 of that file, in hex; "" before a load */
    char pad[3];
    uint32_t format;   /* SECKILL_FORMAT_* of that file; 0 before a load */
    uint64_t revision; /* of the last batch that had one */
    uint64_t
        overlay_unusable;     /* records of the overlay's log, at its reading */
    uint64_t overlay_unsaved; /* changes of all lists not in their log yet */
    char error[256];          /* of the last load; "" when it was good */
} seckill_list_stats_t;

/** Create the list or attach to it. A file that was never loaded is loaded at
 *  once (a bad file: the code, and `err` says why with line numbers; the list
 *  exists then, empty, and *out is set). An index of other processes that this
 *  one cannot map: EIO, ENOMEM, and *out is NULL. EBADNAME, EBADOPTION,
 *  ECONFLICT (other kind or file), EFULL, EBADFILE, ETOOLARGE, EIO. Makes
 *  system calls. */
SECKILL_API int seckill_list_open(seckill_t *sk, const char *name,
                                  const seckill_list_options_t *options,
                                  seckill_list_t **out, char *err,
                                  size_t err_size);
/**
 * Look a value up. 1: denied, 0: not listed, 2: allowed by an allow entry (it
 * wins over deny). now_ns: ledger time, or 0 to read the clock where an entry
 * with a ttl is met. `*reason` points to at most 255 bytes owned by the list,
 * valid until the next call of this thread, NULL for none. EBADVALUE. EIO: this
 * process could never map what others loaded.
 * In a list of networks the value is the text of an address, in brackets or
 * with a zone perhaps, and the most specific network that contains it decides.
 * Threads: one at a time in each process; never blocks.
 */
SECKILL_API int seckill_list_match(seckill_list_t *list, const char *value,
                                   size_t value_len, int64_t now_ns,
                                   const char **reason, size_t *reason_len);
#define SECKILL_CHECK_MAX 8
/** Look n values up, each in a list: an allow of any list wins over a deny of
 *  any; of several, that of the first list. As seckill_list_match; *which is
 *  the list that decided, unless the answer is 0. EBADVALUE also for another n
 *  than 1 .. SECKILL_CHECK_MAX: then *which is the value that is bad. */
SECKILL_API int seckill_list_check(uint32_t n, seckill_list_t *const *lists,
                                   const char *const *values,
                                   const size_t *lens, int64_t now_ns,
                                   uint32_t *which, const char **reason,
                                   size_t *reason_len);
/** Deny (add) or undo a deny (remove) for all workers at once; ttl_ns 0: until
 *  the opposite call. Outlives reloads. In a list of networks the value is an
 *  address or a CIDR. EBADVALUE, EBADTIME, EFULL, EBUSY. */
SECKILL_API int seckill_list_add(seckill_list_t *list, const char *value,
                                 size_t value_len, int64_t ttl_ns,
                                 int64_t now_ns);
SECKILL_API int seckill_list_remove(seckill_list_t *list, const char *value,
                                    size_t value_len, int64_t now_ns);
enum { SECKILL_LIST_ADD = 1, SECKILL_LIST_REMOVE = 2 };
enum { SECKILL_LIST_APPLY_MAX = 4000 };

typedef struct {
    const char *value;
    uint32_t value_len;
    uint32_t op;    /* SECKILL_LIST_ADD, SECKILL_LIST_REMOVE */
    int64_t ttl_ns; /* of an add; 0: until it is removed */
} seckill_list_change_t;

/**
 * Add and remove a batch, in its order: all of it or nothing. revision: of the
 * source, 1 .. 2^53 - 1; one that is not over the last one of the list is
 * ESTALE. 0: it has none. EBADVALUE, EBADTIME, EBADOPTION (op): *position is
 * the index of that change; ETOOLARGE (over SECKILL_LIST_APPLY_MAX changes),
 * EBADVERSION, EFULL, EBUSY. Readers may see its entries appear one by one.
 * Threads: any.
 */
SECKILL_API int seckill_list_apply(seckill_list_t *list,
                                   const seckill_list_change_t *changes,
                                   uint32_t count, uint64_t revision,
                                   int64_t now_ns, uint32_t *position);
/** Load the file again, in this thread: for programs without start(). */
SECKILL_API int seckill_list_reload(seckill_list_t *list, char *err,
                                    size_t err_size);
/** Ask the io thread for a reload; the answer comes as an event with *ticket.
 *  ENOTSTARTEDTHREADS, EFULL, EBADFILE (the list has no file). */
SECKILL_API int seckill_list_reload_async(seckill_list_t *list,
                                          uint64_t *ticket);
SECKILL_API void seckill_list_stats(seckill_list_t *list,
                                    seckill_list_stats_t *out);
/** Walk the lists: the i-th, or ENOTFOUND past the end. Creates none. */
SECKILL_API int seckill_list_at(seckill_t *sk, uint32_t i,
                                seckill_list_t **out);
SECKILL_API const char *seckill_list_name(seckill_list_t *list);
SECKILL_API uint32_t seckill_list_kind(seckill_list_t *list);
/** Its path; "" for a list without a file. */
SECKILL_API const char *seckill_list_path(seckill_list_t *list);

/** A line of a list file that is an entry, or bad. */
typedef struct {
    const char *value, *reason; /* not ended by NUL; "" for none */
    const char *why;            /* of a bad line; NULL for an entry */
    uint64_t line;              /* its number, from 1 */
    int64_t ttl_ns;             /* 0: none */
    uint32_t value_len, reason_len;
    uint32_t allow;    /* 1: an allow entry */
    uint32_t networks; /* CIDRs that the entry is worth; 1 for an id */
    uint64_t first[2]; /* addresses: high and low half; an IPv4 one is in the */
    uint64_t last[2];  /* low 32 bits of the latter */
    uint32_t family;   /* 4, 6; 0: an id */
    uint32_t hash;     /* of the value, or of the addresses */
} seckill_list_line_t;

/** What was read of a list file. */
typedef struct {
    uint64_t file_bytes, bytes;                 /* on disk; unpacked */
    uint64_t lines;                             /* all of them */
    uint64_t entries;                           /* lines that are good */
    uint64_t allows, timed, reasons, bad_lines; /* so many of them, or bad */
    uint64_t networks;    /* CIDRs that the entries are worth; 0 for ids */
    uint64_t index_bytes; /* of ids: what the index takes; 0 for networks */
    uint32_t format;      /* SECKILL_FORMAT_* */
    uint32_t has_trailer, has_digest; /* 1: a proof, 2: "-" */
    uint32_t pad;
    char digest[72]; /* SHA-256 of the file, in hex */
} seckill_list_read_t;

/** Lines of a file, in order, SECKILL_LIST_LINES_MAX at most; they are gone
 *  when it returns. `sum`: so far. */
typedef void (*seckill_list_lines_fn)(void *ctx,
                                      const seckill_list_line_t *lines,
                                      uint32_t count,
                                      const seckill_list_read_t *sum);
enum { SECKILL_LIST_LINES_MAX = 256 };

/**
 * Read a list file as a load would, once and without an engine: unpacked, with
 * its digest and its trailer, bad lines told, not only counted. Of the options
 * count kind, max_bytes, max_entries, max_bad_lines, allow_empty. OK, or
 * EBADFILE, ETOOLARGE, EIO, ENOMEM with `err` filled; *out has what was read
 * until then. A file that somebody writes meanwhile is EBADFILE. `fn` may be
 * NULL; what it was given of a file that turns out bad, is of that file.
 * EBADOPTION. Makes system calls; any thread.
 */
SECKILL_API int seckill_list_read(const char *file,
                                  const seckill_list_options_t *options,
                                  seckill_list_lines_fn fn, void *ctx,
                                  seckill_list_read_t *out, char *err,
                                  size_t err_size);
/** Does the entry of a line say something about the value? 0: no; else how
 *  close it is: 1 for an id, 1 + the length of the prefix for an address.
 *  EBADVALUE: the value is none of that kind. */
SECKILL_API int seckill_list_line_covers(const seckill_list_line_t *line,
                                         const char *value, size_t value_len);

/* ---- Threads and completions --------------------------------------------- */

enum { SECKILL_EVENT_DONE = 1, SECKILL_EVENT_LIST = 2, SECKILL_EVENT_STOP = 3 };

typedef struct {
    uint64_t ticket; /* of the call that waits; 0 for a notice */
    int32_t type;    /* SECKILL_EVENT_* */
    int32_t rc;      /* SECKILL_OK or a code */
    char text[240];  /* why, for a code */
} seckill_event_t;

/** Start the threads of this process (flush, io). Call it after fork, in each
 *  worker; again is a no-op. EIO. */
SECKILL_API int seckill_start(seckill_t *sk, char *err, size_t err_size);
/** Stop and join them; what waits gets ECLOSED. Called at exit of a worker. */
SECKILL_API void seckill_stop(seckill_t *sk);
/** Path of this process's wake socket, "" before seckill_start. A connected
 *  reader gets one byte whenever events are queued after a rearm. */
SECKILL_API const char *seckill_wake_path(seckill_t *sk);
/** Take up to max events. Never blocks. */
SECKILL_API int seckill_cq_pop(seckill_t *sk, seckill_event_t *events, int max);
/** Ask for a wake-up at the next event; at once when some are queued. */
SECKILL_API void seckill_cq_rearm(seckill_t *sk);
/** For programs without an event loop: wait for an event. 1 or 0. */
SECKILL_API int seckill_cq_wait(seckill_t *sk, int timeout_ms);

/* ---- Purchase tokens ----------------------------------------------------- */

typedef struct {
    int64_t expires_at; /* ns since the epoch */
    uint8_t item_len, user_len, id_len, pad[5];
    char item[SECKILL_ID_MAX];
    char user[SECKILL_ID_MAX];
    char id[SECKILL_ID_MAX];
} seckill_token_t;

typedef struct seckill_keyring seckill_keyring_t;

/** A ring of HMAC-SHA256 keys with reused contexts. ENOMEM.
 *  Threads: one at a time. */
SECKILL_API int seckill_keyring_new(seckill_keyring_t **out);
SECKILL_API void seckill_keyring_free(seckill_keyring_t *ring);
/** Add a key (16 to 128 bytes) under an id 0..255; the last added signs, all
 *  verify. EBADKEY, EFULL (16 keys), ECONFLICT (id in use). */
SECKILL_API int seckill_keyring_add(seckill_keyring_t *ring, uint32_t key_id,
                                    const char *key, size_t key_len);
/** HMAC-SHA256 with the key `key_id` (-1: the signing key) into out[32]. */
SECKILL_API int seckill_hmac(seckill_keyring_t *ring, int key_id,
                             const char *data, size_t len, unsigned char *out);
/** Compare in constant time: 1 equal, 0 not. */
SECKILL_API int seckill_equal(const char *a, const char *b, size_t len);
/** Write a token (base64url, at most 512 bytes) into out; returns its length
 *  or ETOOLARGE, EBADTOKEN (a field is empty or over 64 bytes). */
SECKILL_API int seckill_token_make(seckill_keyring_t *ring,
                                   const seckill_token_t *fields, char *out,
                                   size_t out_size);
/** Verify and read a token. EBADTOKEN, ETOKENEXPIRED (now >= expires_at). */
SECKILL_API int seckill_token_open(seckill_keyring_t *ring, const char *token,
                                   size_t len, int64_t now_ns,
                                   seckill_token_t *out);

/* ---- Bearer tokens (JWT, HS256) ------------------------------------------ */

/** What a token says; user is 1 to 64 bytes. */
typedef struct {
    double exp, nbf; /* seconds since the epoch, where has_ is 1 */
    uint32_t has_exp, has_nbf;
    uint32_t user_len;
    uint32_t pad;
    char user[SECKILL_ID_MAX];
} seckill_claims_t;

typedef struct seckill_jwt_cache seckill_jwt_cache_t;

/** Decode base64url without padding, canonical only. The number of bytes, or
 *  EBADVALUE. Threads: any. */
SECKILL_API int seckill_base64url_decode(const char *in, size_t len,
                                         unsigned char *out, size_t out_size);
/** Check the signature of a compact JWS and decode its payload into out.
 *  `payload` and `dot` are the offsets behind the first and of the second dot.
 *  The length of the payload, or EBADTOKEN. Threads: any. */
SECKILL_API int seckill_jws_open(seckill_keyring_t *ring, int key_id,
                                 const char *text, size_t len, size_t payload,
                                 size_t dot, unsigned char *out,
                                 size_t out_size);
/** Read exp, nbf and the user's claim of a flat payload. EBADVALUE: it is not
 *  flat, or has no such user; ask a JSON parser. Threads: any. */
SECKILL_API int seckill_jwt_claims(const unsigned char *payload, size_t len,
                                   const char *claim, size_t claim_len,
                                   seckill_claims_t *out);
/** A cache of verified tokens of at most `entries` (2 .. 2^24) texts, 120 bytes
 *  each. EBADOPTION, ENOMEM, EIO. Threads: one at a time. */
SECKILL_API int seckill_jwt_cache_new(uint32_t entries,
                                      seckill_jwt_cache_t **out);
SECKILL_API void seckill_jwt_cache_free(seckill_jwt_cache_t *cache);
/** 1 and the claims, or 0. The times are for the caller to check. */
SECKILL_API int seckill_jwt_cache_get(seckill_jwt_cache_t *cache,
                                      const char *text, size_t len,
                                      seckill_claims_t *out);
/** Keep what a verified text says; the oldest of its set goes. */
SECKILL_API void seckill_jwt_cache_put(seckill_jwt_cache_t *cache,
                                       const char *text, size_t len,
                                       const seckill_claims_t *claims);
/** Remember the header (its base64url text, up to 256 bytes) that was judged
 *  good last, and the key it names, for seckill_jwt_bearer. */
SECKILL_API void seckill_jwt_accept(seckill_jwt_cache_t *cache,
                                    const char *header, size_t len, int key_id);
/** The common case of "Bearer <token>" in one call. 1: from the cache; OK: the
 *  header is the accepted one, the signature is right, the claims are read; a
 *  code: anything else, right or wrong, to be looked at piece by piece. The
 *  times are for the caller to check. Threads: one at a time. */
SECKILL_API int seckill_jwt_bearer(seckill_jwt_cache_t *cache,
                                   seckill_keyring_t *ring, const char *text,
                                   size_t len, const char *claim,
                                   size_t claim_len, seckill_claims_t *out);
/** Entries in use. */
SECKILL_API uint32_t seckill_jwt_cache_used(const seckill_jwt_cache_t *cache);

/** Write an order as one JSON object and a newline: id, item, qty, state,
 *  remaining, and for a pending one expires_at and, with keys, its purchase
 *  token. Returns the length, ETOOLARGE (1536 bytes always do) or EBADVALUE.
 *  Threads: any (the key ring: one at a time). */
SECKILL_API int seckill_order_json(const seckill_reservation_t *order,
                                   seckill_keyring_t *keys, char *out,
                                   size_t out_size);

/* ---- Metrics ------------------------------------------------------------- */

/** Write all counters and gauges as Prometheus text. Returns the bytes needed
 *  (without the final NUL); written only where they fit. Not for a hot path. */
SECKILL_API size_t seckill_metrics(seckill_t *sk, char *out, size_t out_size);
/** Walk the fixed tables: name, rows in use, rows in all; ENOTFOUND past the
 *  end. Not for a hot path. */
SECKILL_API int seckill_table_at(seckill_t *sk, int i, const char **name,
                                 uint64_t *used, uint64_t *capacity);
/** Walk the counters: the i-th name and value; ENOTFOUND past the end. */
SECKILL_API int seckill_counter_at(seckill_t *sk, int i, const char **name,
                                   uint64_t *value);

#if !defined(SECKILL_CDEF) && defined(__cplusplus)
}
#endif
#endif
