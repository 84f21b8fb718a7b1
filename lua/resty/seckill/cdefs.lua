-- generated from csrc/seckill.h by make cdefs; do not edit
--
-- Declares the C API to the FFI, once in a process, and tells the loader what
-- to check: the ABI number, the functions, and the structs with their number
-- for seckill_sizeof().

local ffi = require("ffi")


if not pcall(ffi.typeof, "seckill_options_t") then
    ffi.cdef([[
enum {
    SECKILL_OK = 0,
    SECKILL_EBADITEM = -2001,
    SECKILL_EBADUSER = -2002,
    SECKILL_EBADQTY = -2003,
    SECKILL_EBADREQUEST = -2004,
    SECKILL_EBADKEY = -2005,
    SECKILL_EBADVALUE = -2006,
    SECKILL_EBADTOTAL = -2007,
    SECKILL_EBADHOLD = -2008,
    SECKILL_EBADTIME = -2009,
    SECKILL_EBADVERSION = -2010,
    SECKILL_EBADNAME = -2011,
    SECKILL_EBADTOKEN = -2012,
    SECKILL_ETOKENEXPIRED = -2013,
    SECKILL_EBADOPTION = -2014,
    SECKILL_EBADCURSOR = -2016,
    SECKILL_EBADLINES = -2015,
    SECKILL_ECONFLICT = -2020,
    SECKILL_ETOOOLD = -2021,
    SECKILL_EUNKNOWNITEM = -2022,
    SECKILL_ENOTSTARTED = -2023,
    SECKILL_EENDED = -2024,
    SECKILL_EPAUSED = -2025,
    SECKILL_EQTYLIMIT = -2026,
    SECKILL_EUSERLIMIT = -2027,
    SECKILL_ESOLDOUT = -2028,
    SECKILL_EREJECTED = -2029,
    SECKILL_EBLOCKED = -2030,
    SECKILL_EOPEN = -2031,
    SECKILL_EOVERLOADED = -2032,
    SECKILL_EUNKNOWNRESERVATION = -2040,
    SECKILL_ERESERVED = -2041,
    SECKILL_EEXPIRED = -2042,
    SECKILL_ECANCELLED = -2043,
    SECKILL_ECONFIRMED = -2044,
    SECKILL_EREFUNDED = -2045,
    SECKILL_EPENDING = -2046,
    SECKILL_ESTALE = -2047,
    SECKILL_EBELOWSOLD = -2048,
    SECKILL_EINUSE = -2049,
    SECKILL_EUNKNOWNREQUEST = -2050,
    SECKILL_ECURSORGONE = -2051,
    SECKILL_EFULL = -2060,
    SECKILL_EBUSY = -2061,
    SECKILL_ENOSPACE = -2080,
    SECKILL_EMISMATCH = -2081,
    SECKILL_ELAYOUT = -2082,
    SECKILL_ENOTOWNER = -2083,
    SECKILL_EUNKNOWNUSER = -2084,
    SECKILL_EIO = -2085,
    SECKILL_ENOMEM = -2086,
    SECKILL_ECORRUPT = -2087,
    SECKILL_ENOTFOUND = -2088,
    SECKILL_ECLOSED = -2089,
    SECKILL_ELOCKED = -2090,
    SECKILL_EBADFILE = -2100,
    SECKILL_ETOOLARGE = -2101,
    SECKILL_ECANNOTYIELD = -2102,
    SECKILL_ETIMEDOUT = -2103,
    SECKILL_ENOTSTARTEDTHREADS = -2104,
};
typedef struct seckill seckill_t;
typedef struct seckill_limiter seckill_limiter_t;
typedef struct seckill_list seckill_list_t;
int seckill_abi(void);
const char *seckill_version(void);
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
    SECKILL_SIZEOF_LIST_READ,
};
size_t seckill_sizeof(int which);
const char *seckill_errname(int code);
const char *seckill_errtext(int code);
int seckill_errcode_at(int i);
enum {
    SECKILL_ASYNC = 1,
    SECKILL_SYNC = 2,
};
enum {
    SECKILL_IDS_OPAQUE = 1,
    SECKILL_IDS_UUIDV7 = 2,
    SECKILL_IDS_ULID = 3,
};
typedef struct {
    uint32_t struct_size;
    uint32_t request_ids;
    const char *name;
    const char *shm_dir;
    const char *user;
    int64_t window_ns;
    uint32_t items;
    uint32_t reservations;
    uint32_t users;
    uint32_t requests;
    uint32_t limit_keys;
    uint32_t limiters;
    uint32_t limit_overrides;
    uint32_t lists;
    uint32_t list_overlay;
    uint32_t breakers;
    uint32_t shedders;
    uint32_t log_units;
    uint32_t permits;
    uint32_t durability;
    const char *dir;
    int64_t max_lag_ns;
    uint64_t max_log_bytes;
    uint64_t log_segment_bytes;
} seckill_options_t;
int seckill_open(const seckill_options_t *options, seckill_t **out, char *err,
    size_t err_size);
void seckill_close(seckill_t *sk);
int seckill_destroy(const char *name, const char *shm_dir);
void seckill_get_options(seckill_t *sk, seckill_options_t *out);
uint64_t seckill_segment_bytes(seckill_t *sk);
int64_t seckill_now(seckill_t *sk);
int64_t seckill_clock_skew(seckill_t *sk);
int64_t seckill_mono_now(void);
int64_t seckill_wall_now(void);
void seckill_set_test_clock(seckill_t *sk, int64_t now_ns);
enum {
    SECKILL_ITEM_OPEN = 1,
    SECKILL_ITEM_PAUSED = 2,
    SECKILL_ITEM_QUARANTINED = 3,
};
typedef struct {
    uint32_t struct_size;
    uint32_t item_len;
    char item[64];
    int64_t total;
    int64_t per_user;
    int64_t max_qty;
    int64_t hold_ns;
    int64_t starts_at;
    int64_t ends_at;
    int64_t version;
    int64_t available;
    int64_t reserved;
    int64_t sold;
    uint64_t lsn;
    uint32_t state;
    uint32_t pad;
} seckill_item_t;
enum {
    SECKILL_STATE_RESERVED = 1,
    SECKILL_STATE_CONFIRMED = 2,
    SECKILL_STATE_CANCELLED = 3,
    SECKILL_STATE_EXPIRED = 4,
    SECKILL_STATE_REFUNDED = 5,
};
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
    SECKILL_REC_ADJUST = 10,
};
typedef struct {
    int64_t qty;
    int64_t remaining;
    int64_t expires_at;
    uint64_t lsn;
    uint32_t state;
    uint8_t replayed;
    uint8_t id_len;
    uint8_t item_len;
    uint8_t user_len;
    uint8_t request_len;
    uint8_t lines;
    uint8_t pad[6];
    char id[64];
    char item[64];
    char user[64];
    char request[64];
} seckill_reservation_t;
typedef struct {
    int64_t qty;
    int64_t remaining;
    uint32_t item_len;
    uint32_t pad;
    char item[64];
} seckill_line_t;
typedef struct {
    int64_t expires_at;
    uint64_t lsn;
    uint32_t state;
    uint32_t line_count;
    uint8_t replayed;
    uint8_t id_len;
    uint8_t user_len;
    uint8_t request_len;
    uint8_t pad[4];
    char id[64];
    char user[64];
    char request[64];
    seckill_line_t lines[8];
} seckill_order_t;
int seckill_put(seckill_t *sk, const seckill_item_t *item);
int seckill_get(seckill_t *sk, const char *item, size_t item_len,
    seckill_item_t *out);
int seckill_next_item(seckill_t *sk, uint32_t *cursor, seckill_item_t *out);
int seckill_remove(seckill_t *sk, const char *item, size_t item_len);
int seckill_adjust(seckill_t *sk, const char *item, size_t item_len,
    int64_t delta, const char *request_id, size_t request_len);
int seckill_pause(seckill_t *sk, const char *item, size_t item_len);
int seckill_resume(seckill_t *sk, const char *item, size_t item_len);
int seckill_reserve(seckill_t *sk, const char *item, size_t item_len,
    const char *user, size_t user_len, int64_t qty, const char *request_id,
    size_t request_len, seckill_reservation_t *out);
int seckill_confirm(seckill_t *sk, const char *id, size_t id_len);
enum {
    SECKILL_CONFIRM_REACQUIRE = 1,
};
int seckill_confirm_with(seckill_t *sk, const char *id, size_t id_len,
    int64_t qty, uint32_t flags);
int seckill_cancel(seckill_t *sk, const char *id, size_t id_len);
int seckill_refund(seckill_t *sk, const char *id, size_t id_len,
    const char *request_id, size_t request_len);
int seckill_find(seckill_t *sk, const char *request_id, size_t request_len,
    seckill_reservation_t *out);
int seckill_order(seckill_t *sk, const char *user, size_t user_len,
    const char *request_id, size_t request_len, const seckill_line_t *lines,
    size_t count, seckill_order_t *out, uint32_t *line);
int seckill_find_order(seckill_t *sk, const char *request_id,
    size_t request_len, seckill_order_t *out);
int seckill_sweep(seckill_t *sk, int max);
int seckill_audit(seckill_t *sk, char *text, size_t text_size);
uint64_t seckill_lsn(seckill_t *sk);
uint64_t seckill_answer_lsn(void);
uint64_t seckill_durable(seckill_t *sk);
int seckill_durability(seckill_t *sk);
int seckill_sync_ask(seckill_t *sk, uint64_t lsn);
int seckill_sync_wait(seckill_t *sk, uint64_t lsn, int64_t timeout_ns);
enum {
    SECKILL_LOG_NONE = 0,
    SECKILL_LOG_OK = 1,
    SECKILL_LOG_FULL = 2,
    SECKILL_LOG_FAILING = 3,
};
typedef struct {
    uint32_t state;
    uint32_t incarnation;
    uint64_t lsn, durable;
    int64_t lag_ns;
    uint64_t first_lsn;
    uint64_t snapshot_lsn;
    uint64_t bytes, max_bytes;
    uint32_t segments, free_segments;
    uint64_t batches, records;
    uint64_t sync_ns;
    uint64_t failures;
    uint64_t snapshots, snapshot_failures;
    char uuid[40];
    char dir[200];
    char error[160];
    char snapshot_error[160];
} seckill_log_stats_t;
int seckill_log_stats(seckill_t *sk, seckill_log_stats_t *out);
typedef struct seckill_reader seckill_reader_t;
typedef struct {
    uint64_t lsn;
    int64_t time;
    uint64_t segment, offset;
    uint32_t incarnation;
    uint16_t type;
    uint8_t line;
    uint8_t state;
    int64_t qty;
    int64_t available, reserved, sold;
    int64_t expires_at;
    int64_t version;
    uint8_t id_len, item_len, user_len, request_len;
    uint8_t pad[4];
    char id[64];
    char item[64];
    char user[64];
    char request[64];
} seckill_record_t;
int seckill_reader_open(seckill_t *sk, const char *dir, uint64_t from_lsn,
    seckill_reader_t **out, char *err, size_t err_size);
void seckill_reader_close(seckill_reader_t *r);
int seckill_reader_next(seckill_reader_t *r, seckill_record_t *out);
uint64_t seckill_reader_lsn(seckill_reader_t *r);
uint32_t seckill_reader_incarnation(seckill_reader_t *r, uint64_t lsn);
const char *seckill_reader_error(seckill_reader_t *r);
uint64_t seckill_reader_torn(seckill_reader_t *r);
const char *seckill_record_name(int type);
typedef struct {
    char uuid[40];
    uint32_t incarnation;
    uint32_t lives;
    uint64_t first_lsn;
    uint64_t snapshot_lsn;
    uint32_t snapshots, segments, free_segments, cursors;
    uint64_t bytes;
    int64_t window_ns;
    uint32_t request_ids, items, reservations, users, requests;
    uint32_t in_use;
} seckill_dir_stats_t;
int seckill_dir_stats(const char *dir, seckill_dir_stats_t *out, char *err,
    size_t err_size);
int seckill_cursor_set(const char *dir, const char *name, uint64_t lsn,
    uint32_t incarnation, int create);
int seckill_cursor_create(const char *dir, const char *name, uint64_t *lsn,
    uint32_t *incarnation);
int seckill_cursor_get(const char *dir, const char *name, uint64_t *lsn,
    uint32_t *incarnation);
int seckill_cursor_drop(const char *dir, const char *name);
int seckill_cursor_at(const char *dir, int i, char *name, uint64_t *lsn,
    uint32_t *incarnation, int *dropped);
typedef struct seckill_snapshot seckill_snapshot_t;
int seckill_snapshot_begin(const char *dir, seckill_snapshot_t **out, char *err,
    size_t err_size);
int seckill_snapshot_step(seckill_snapshot_t *s, uint32_t max_records,
    uint64_t *done, uint64_t *total);
const char *seckill_snapshot_error(seckill_snapshot_t *s);
void seckill_snapshot_end(seckill_snapshot_t *s);
int seckill_repair(const char *dir, uint64_t *lsn, char *err, size_t err_size);
int seckill_verify(seckill_t *sk, const char *dir, char *text,
    size_t text_size);
int seckill_sink_attach(seckill_t *sk);
int seckill_sink_drain(seckill_t *sk);
int seckill_sink_compare(seckill_t *sk, char *text, size_t text_size);
enum {
    SECKILL_TOKEN_BUCKET = 1,
    SECKILL_LEAKY_BUCKET = 2,
    SECKILL_FIXED_WINDOW = 3,
    SECKILL_SLIDING_WINDOW = 4,
    SECKILL_SLIDING_LOG = 5,
    SECKILL_CONCURRENCY = 6,
};
enum {
    SECKILL_LIMIT_ENFORCE = 1,
    SECKILL_LIMIT_SHADOW = 2,
    SECKILL_LIMIT_OFF = 3,
};
enum {
    SECKILL_ZERO_BURST = 1,
    SECKILL_ZERO_MAX_DELAY = 2,
    SECKILL_ZERO_NODELAY = 4,
    SECKILL_ZERO_LIMIT = 8,
    SECKILL_ZERO_WARM_UP = 16,
    SECKILL_ZERO_WARM_UP_AT = 32,
};
typedef struct {
    uint32_t struct_size;
    uint32_t algorithm;
    uint32_t mode;
    uint32_t zeros;
    double rate;
    double burst;
    double nodelay;
    double limit;
    int64_t window_ns;
    int64_t max_delay_ns;
    int64_t warm_up_ns;
    double cold_factor;
    int64_t warm_up_at_ns;
} seckill_limit_t;
typedef struct {
    int64_t delay_ns;
    int64_t retry_ns;
    int64_t reset_ns;
    double remaining;
    double quota;
    uint32_t in_use;
    uint32_t mask;
    uint32_t shadow;
    uint32_t rule;
} seckill_verdict_t;
typedef struct {
    void *limiter;
    uint64_t at, key, depth, charge;
} seckill_ticket_part_t;
typedef struct {
    uint32_t count;
    uint32_t pad;
    seckill_ticket_part_t parts[8];
} seckill_ticket_t;
typedef struct {
    uint64_t word[24];
} seckill_rule_t;
typedef struct {
    uint64_t allowed, rejected, delayed;
    uint64_t shadow;
    uint64_t overflow;
    uint64_t refunded;
} seckill_limiter_counts_t;
int seckill_limiter_open(seckill_t *sk, const char *name,
    const seckill_limit_t *limit, seckill_limiter_t **out);
int seckill_limiter_set(seckill_limiter_t *lim, const seckill_limit_t *limit);
void seckill_limiter_get(seckill_limiter_t *lim, seckill_limit_t *out);
int seckill_limiter_override(seckill_limiter_t *lim, const char *key,
    size_t key_len, const seckill_limit_t *limit);
int seckill_limiter_take(seckill_limiter_t *lim, const char *key,
    size_t key_len, uint32_t cost, int commit, int64_t now_ns,
    seckill_ticket_t *ticket, seckill_verdict_t *out);
int seckill_limit_prepare(const seckill_limit_t *limit, seckill_rule_t *out);
int seckill_limiter_take_as( seckill_limiter_t *lim, const seckill_rule_t *rule,
    const char *key, size_t key_len, uint32_t cost, int commit, int64_t now_ns,
    seckill_ticket_t *ticket, seckill_verdict_t *out);
int seckill_combine(uint32_t n, seckill_limiter_t *const *lims,
    const char *const *keys, const size_t *lens, uint32_t cost, int commit,
    int64_t now_ns, seckill_ticket_t *ticket, seckill_verdict_t *out);
int seckill_limiter_undo(seckill_limiter_t *lim, seckill_ticket_t *ticket,
    int64_t now_ns);
int seckill_limiter_leave(seckill_limiter_t *lim, seckill_ticket_t *ticket);
int seckill_ticket_undo(seckill_ticket_t *ticket, int64_t now_ns);
int seckill_ticket_leave(seckill_ticket_t *ticket);
int seckill_limiter_refund(seckill_limiter_t *lim, const seckill_rule_t *rule,
    const char *key, size_t key_len, uint32_t cost, int64_t now_ns);
int seckill_limiter_at(seckill_t *sk, uint32_t i, seckill_limiter_t **out);
const char *seckill_limiter_name(seckill_limiter_t *lim);
void seckill_limiter_counts(seckill_limiter_t *lim,
    seckill_limiter_counts_t *out);
typedef struct {
    char key[64];
    uint32_t key_len;
    uint32_t pad;
    const char *limiter;
    double rate;
    double share;
} seckill_hot_key_t;
int seckill_hot_keys(seckill_t *sk, seckill_hot_key_t *out, int max);
enum {
    SECKILL_BREAKER_CLOSED = 1,
    SECKILL_BREAKER_OPEN = 2,
    SECKILL_BREAKER_HALF_OPEN = 3,
    SECKILL_BREAKER_FORCED_OPEN = 4,
    SECKILL_BREAKER_FORCED_CLOSED = 5,
    SECKILL_BREAKER_DISABLED = 6,
};
typedef struct {
    uint32_t struct_size;
    uint32_t mode;
    int64_t window_ns;
    uint32_t min_calls;
    uint32_t probes;
    double error_ratio;
    double slow_ratio;
    double cpu;
    int64_t consecutive;
    int64_t slow_ns;
    int64_t open_ns;
    int64_t ramp_ns;
    int64_t probe_timeout_ns;
} seckill_breaker_options_t;
typedef struct {
    uint64_t allowed, rejected;
    uint64_t shadow;
    uint64_t succeeded, failed, slow;
    uint64_t stale;
    uint64_t cancelled;
    uint64_t opened, half_opened, closed;
    uint64_t expired;
    uint64_t calls, errors, slows;
    int64_t retry_ns;
    uint32_t state;
    uint32_t doublings;
} seckill_breaker_stats_t;
typedef struct seckill_breaker seckill_breaker_t;
int seckill_breaker_open(seckill_t *sk, const char *name,
    const seckill_breaker_options_t *options, seckill_breaker_t **out);
int seckill_breaker_set(seckill_breaker_t *brk,
    const seckill_breaker_options_t *options);
void seckill_breaker_get(seckill_breaker_t *brk,
    seckill_breaker_options_t *out);
int seckill_breaker_allow(seckill_breaker_t *brk, int64_t now_ns,
    uint64_t *permit, int64_t *retry_ns);
int seckill_breaker_report(seckill_breaker_t *brk, uint64_t permit, int ok,
    int64_t latency_ns, int64_t now_ns);
int seckill_breaker_cancel(seckill_breaker_t *brk, uint64_t permit,
    int64_t now_ns);
int seckill_breaker_state(seckill_breaker_t *brk, int64_t now_ns);
int seckill_breaker_force(seckill_breaker_t *brk, int state);
void seckill_breaker_stats(seckill_breaker_t *brk,
    seckill_breaker_stats_t *out);
int seckill_breaker_at(seckill_t *sk, uint32_t i, seckill_breaker_t **out);
const char *seckill_breaker_name(seckill_breaker_t *brk);
enum {
    SECKILL_PRIORITIES = 4,
    SECKILL_PRIORITY_NORMAL = 2,
};
typedef struct {
    uint32_t struct_size;
    uint32_t mode;
    double cpu_high;
    double cpu_low;
    int64_t cool_ns;
    int64_t window_ns;
    int64_t max_inflight;
    double reserve[SECKILL_PRIORITIES - 1];
} seckill_shedder_options_t;
typedef struct {
    uint64_t admitted[SECKILL_PRIORITIES], shed[SECKILL_PRIORITIES];
    uint64_t shadow;
    uint64_t succeeded, failed;
    uint64_t lost;
    uint64_t stale;
    uint64_t inflight[SECKILL_PRIORITIES];
    double cpu;
    int64_t cpu_age_ns;
    double limit;
    int64_t min_rt_ns;
    uint32_t shedding;
    uint32_t pad;
} seckill_shedder_stats_t;
typedef struct seckill_shedder seckill_shedder_t;
int seckill_shedder_open(seckill_t *sk, const char *name,
    const seckill_shedder_options_t *options, seckill_shedder_t **out);
int seckill_shedder_set(seckill_shedder_t *shed,
    const seckill_shedder_options_t *options);
void seckill_shedder_get(seckill_shedder_t *shed,
    seckill_shedder_options_t *out);
int seckill_shedder_admit(seckill_shedder_t *shed, uint32_t priority,
    int64_t now_ns, uint64_t *permit, int64_t *retry_ns);
int seckill_shedder_done(seckill_shedder_t *shed, uint64_t permit, int ok,
    int64_t latency_ns, int64_t now_ns);
int seckill_shedder_cancel(seckill_shedder_t *shed, uint64_t permit);
void seckill_shedder_stats(seckill_shedder_t *shed,
    seckill_shedder_stats_t *out);
int seckill_shedder_at(seckill_t *sk, uint32_t i, seckill_shedder_t **out);
const char *seckill_shedder_name(seckill_shedder_t *shed);
enum {
    SECKILL_LIST_ID = 1,
    SECKILL_LIST_IP = 2,
};
enum {
    SECKILL_FORMAT_TEXT = 1,
    SECKILL_FORMAT_GZIP = 2,
};
typedef struct {
    uint32_t struct_size;
    uint32_t kind;
    const char *file;
    uint32_t watch;
    uint32_t allow_empty;
    uint64_t max_bytes;
    uint64_t max_entries;
    uint32_t max_bad_lines;
    uint32_t settle_ms;
} seckill_list_options_t;
typedef struct {
    uint64_t entries, bytes, generation, reloads, failures, bad_lines, overlay;
    int64_t loaded_at;
    int64_t load_ns;
    int64_t file_mtime;
    char digest[65];
    char pad[3];
    uint32_t format;
    uint64_t revision;
    uint64_t overlay_unusable;
    uint64_t overlay_unsaved;
    char error[256];
} seckill_list_stats_t;
int seckill_list_open(seckill_t *sk, const char *name,
    const seckill_list_options_t *options, seckill_list_t **out, char *err,
    size_t err_size);
int seckill_list_match(seckill_list_t *list, const char *value,
    size_t value_len, int64_t now_ns, const char **reason, size_t *reason_len);
int seckill_list_check(uint32_t n, seckill_list_t *const *lists,
    const char *const *values, const size_t *lens, int64_t now_ns,
    uint32_t *which, const char **reason, size_t *reason_len);
int seckill_list_add(seckill_list_t *list, const char *value, size_t value_len,
    int64_t ttl_ns, int64_t now_ns);
int seckill_list_remove(seckill_list_t *list, const char *value,
    size_t value_len, int64_t now_ns);
enum {
    SECKILL_LIST_ADD = 1,
    SECKILL_LIST_REMOVE = 2,
};
enum {
    SECKILL_LIST_APPLY_MAX = 4000,
};
typedef struct {
    const char *value;
    uint32_t value_len;
    uint32_t op;
    int64_t ttl_ns;
} seckill_list_change_t;
int seckill_list_apply(seckill_list_t *list,
    const seckill_list_change_t *changes, uint32_t count, uint64_t revision,
    int64_t now_ns, uint32_t *position);
int seckill_list_reload(seckill_list_t *list, char *err, size_t err_size);
int seckill_list_reload_async(seckill_list_t *list, uint64_t *ticket);
void seckill_list_stats(seckill_list_t *list, seckill_list_stats_t *out);
int seckill_list_at(seckill_t *sk, uint32_t i, seckill_list_t **out);
const char *seckill_list_name(seckill_list_t *list);
uint32_t seckill_list_kind(seckill_list_t *list);
const char *seckill_list_path(seckill_list_t *list);
typedef struct {
    const char *value, *reason;
    const char *why;
    uint64_t line;
    int64_t ttl_ns;
    uint32_t value_len, reason_len;
    uint32_t allow;
    uint32_t networks;
    uint64_t first[2];
    uint64_t last[2];
    uint32_t family;
    uint32_t hash;
} seckill_list_line_t;
typedef struct {
    uint64_t file_bytes, bytes;
    uint64_t lines;
    uint64_t entries;
    uint64_t allows, timed, reasons, bad_lines;
    uint64_t networks;
    uint64_t index_bytes;
    uint32_t format;
    uint32_t has_trailer, has_digest;
    uint32_t pad;
    char digest[72];
} seckill_list_read_t;
typedef void (*seckill_list_lines_fn)(void *ctx,
    const seckill_list_line_t *lines, uint32_t count,
    const seckill_list_read_t *sum);
enum {
    SECKILL_LIST_LINES_MAX = 256,
};
int seckill_list_read(const char *file, const seckill_list_options_t *options,
    seckill_list_lines_fn fn, void *ctx, seckill_list_read_t *out, char *err,
    size_t err_size);
int seckill_list_line_covers(const seckill_list_line_t *line, const char *value,
    size_t value_len);
enum {
    SECKILL_EVENT_DONE = 1,
    SECKILL_EVENT_LIST = 2,
    SECKILL_EVENT_STOP = 3,
};
typedef struct {
    uint64_t ticket;
    int32_t type;
    int32_t rc;
    char text[240];
} seckill_event_t;
int seckill_start(seckill_t *sk, char *err, size_t err_size);
void seckill_stop(seckill_t *sk);
const char *seckill_wake_path(seckill_t *sk);
int seckill_cq_pop(seckill_t *sk, seckill_event_t *events, int max);
void seckill_cq_rearm(seckill_t *sk);
int seckill_cq_wait(seckill_t *sk, int timeout_ms);
typedef struct {
    int64_t expires_at;
    uint8_t item_len, user_len, id_len, pad[5];
    char item[64];
    char user[64];
    char id[64];
} seckill_token_t;
typedef struct seckill_keyring seckill_keyring_t;
int seckill_keyring_new(seckill_keyring_t **out);
void seckill_keyring_free(seckill_keyring_t *ring);
int seckill_keyring_add(seckill_keyring_t *ring, uint32_t key_id,
    const char *key, size_t key_len);
int seckill_hmac(seckill_keyring_t *ring, int key_id, const char *data,
    size_t len, unsigned char *out);
int seckill_equal(const char *a, const char *b, size_t len);
int seckill_token_make(seckill_keyring_t *ring, const seckill_token_t *fields,
    char *out, size_t out_size);
int seckill_token_open(seckill_keyring_t *ring, const char *token, size_t len,
    int64_t now_ns, seckill_token_t *out);
typedef struct {
    double exp, nbf;
    uint32_t has_exp, has_nbf;
    uint32_t user_len;
    uint32_t pad;
    char user[64];
} seckill_claims_t;
typedef struct seckill_jwt_cache seckill_jwt_cache_t;
int seckill_base64url_decode(const char *in, size_t len, unsigned char *out,
    size_t out_size);
int seckill_jws_open(seckill_keyring_t *ring, int key_id, const char *text,
    size_t len, size_t payload, size_t dot, unsigned char *out,
    size_t out_size);
int seckill_jwt_claims(const unsigned char *payload, size_t len,
    const char *claim, size_t claim_len, seckill_claims_t *out);
int seckill_jwt_cache_new(uint32_t entries, seckill_jwt_cache_t **out);
void seckill_jwt_cache_free(seckill_jwt_cache_t *cache);
int seckill_jwt_cache_get(seckill_jwt_cache_t *cache, const char *text,
    size_t len, seckill_claims_t *out);
void seckill_jwt_cache_put(seckill_jwt_cache_t *cache, const char *text,
    size_t len, const seckill_claims_t *claims);
void seckill_jwt_accept(seckill_jwt_cache_t *cache, const char *header,
    size_t len, int key_id);
int seckill_jwt_bearer(seckill_jwt_cache_t *cache, seckill_keyring_t *ring,
    const char *text, size_t len, const char *claim, size_t claim_len,
    seckill_claims_t *out);
uint32_t seckill_jwt_cache_used(const seckill_jwt_cache_t *cache);
int seckill_order_json(const seckill_reservation_t *order,
    seckill_keyring_t *keys, char *out, size_t out_size);
size_t seckill_metrics(seckill_t *sk, char *out, size_t out_size);
int seckill_table_at(seckill_t *sk, int i, const char **name, uint64_t *used,
    uint64_t *capacity);
int seckill_counter_at(seckill_t *sk, int i, const char **name,
    uint64_t *value);
]])
end


return {
    ABI = 3,
    ID_MAX = 64,
    NAME_MAX = 32,
    VERSION = "0.1.0",
    sizes = {
        { 0, "seckill_options_t" },
        { 1, "seckill_item_t" },
        { 2, "seckill_reservation_t" },
        { 3, "seckill_limit_t" },
        { 4, "seckill_ticket_t" },
        { 5, "seckill_list_options_t" },
        { 6, "seckill_list_stats_t" },
        { 7, "seckill_event_t" },
        { 8, "seckill_token_t" },
        { 9, "seckill_claims_t" },
        { 10, "seckill_log_stats_t" },
        { 11, "seckill_record_t" },
        { 12, "seckill_dir_stats_t" },
        { 13, "seckill_line_t" },
        { 14, "seckill_order_t" },
        { 15, "seckill_verdict_t" },
        { 16, "seckill_rule_t" },
        { 17, "seckill_limiter_counts_t" },
        { 18, "seckill_hot_key_t" },
        { 19, "seckill_breaker_options_t" },
        { 20, "seckill_breaker_stats_t" },
        { 21, "seckill_shedder_options_t" },
        { 22, "seckill_shedder_stats_t" },
        { 23, "seckill_list_change_t" },
        { 24, "seckill_list_line_t" },
        { 25, "seckill_list_read_t" },
    },
    functions = {
        "seckill_abi",
        "seckill_version",
        "seckill_sizeof",
        "seckill_errname",
        "seckill_errtext",
        "seckill_errcode_at",
        "seckill_open",
        "seckill_close",
        "seckill_destroy",
        "seckill_get_options",
        "seckill_segment_bytes",
        "seckill_now",
        "seckill_clock_skew",
        "seckill_mono_now",
        "seckill_wall_now",
        "seckill_set_test_clock",
        "seckill_put",
        "seckill_get",
        "seckill_next_item",
        "seckill_remove",
        "seckill_adjust",
        "seckill_pause",
        "seckill_resume",
        "seckill_reserve",
        "seckill_confirm",
        "seckill_confirm_with",
        "seckill_cancel",
        "seckill_refund",
        "seckill_find",
        "seckill_order",
        "seckill_find_order",
        "seckill_sweep",
        "seckill_audit",
        "seckill_lsn",
        "seckill_answer_lsn",
        "seckill_durable",
        "seckill_durability",
        "seckill_sync_ask",
        "seckill_sync_wait",
        "seckill_log_stats",
        "seckill_reader_open",
        "seckill_reader_close",
        "seckill_reader_next",
        "seckill_reader_lsn",
        "seckill_reader_incarnation",
        "seckill_reader_error",
        "seckill_reader_torn",
        "seckill_record_name",
        "seckill_dir_stats",
        "seckill_cursor_set",
        "seckill_cursor_create",
        "seckill_cursor_get",
        "seckill_cursor_drop",
        "seckill_cursor_at",
        "seckill_snapshot_begin",
        "seckill_snapshot_step",
        "seckill_snapshot_error",
        "seckill_snapshot_end",
        "seckill_repair",
        "seckill_verify",
        "seckill_sink_attach",
        "seckill_sink_drain",
        "seckill_sink_compare",
        "seckill_limiter_open",
        "seckill_limiter_set",
        "seckill_limiter_get",
        "seckill_limiter_override",
        "seckill_limiter_take",
        "seckill_limit_prepare",
        "seckill_limiter_take_as",
        "seckill_combine",
        "seckill_limiter_undo",
        "seckill_limiter_leave",
        "seckill_ticket_undo",
        "seckill_ticket_leave",
        "seckill_limiter_refund",
        "seckill_limiter_at",
        "seckill_limiter_name",
        "seckill_limiter_counts",
        "seckill_hot_keys",
        "seckill_breaker_open",
        "seckill_breaker_set",
        "seckill_breaker_get",
        "seckill_breaker_allow",
        "seckill_breaker_report",
        "seckill_breaker_cancel",
        "seckill_breaker_state",
        "seckill_breaker_force",
        "seckill_breaker_stats",
        "seckill_breaker_at",
        "seckill_breaker_name",
        "seckill_shedder_open",
        "seckill_shedder_set",
        "seckill_shedder_get",
        "seckill_shedder_admit",
        "seckill_shedder_done",
        "seckill_shedder_cancel",
        "seckill_shedder_stats",
        "seckill_shedder_at",
        "seckill_shedder_name",
        "seckill_list_open",
        "seckill_list_match",
        "seckill_list_check",
        "seckill_list_add",
        "seckill_list_remove",
        "seckill_list_apply",
        "seckill_list_reload",
        "seckill_list_reload_async",
        "seckill_list_stats",
        "seckill_list_at",
        "seckill_list_name",
        "seckill_list_kind",
        "seckill_list_path",
        "seckill_list_read",
        "seckill_list_line_covers",
        "seckill_start",
        "seckill_stop",
        "seckill_wake_path",
        "seckill_cq_pop",
        "seckill_cq_rearm",
        "seckill_cq_wait",
        "seckill_keyring_new",
        "seckill_keyring_free",
        "seckill_keyring_add",
        "seckill_hmac",
        "seckill_equal",
        "seckill_token_make",
        "seckill_token_open",
        "seckill_base64url_decode",
        "seckill_jws_open",
        "seckill_jwt_claims",
        "seckill_jwt_cache_new",
        "seckill_jwt_cache_free",
        "seckill_jwt_cache_get",
        "seckill_jwt_cache_put",
        "seckill_jwt_accept",
        "seckill_jwt_bearer",
        "seckill_jwt_cache_used",
        "seckill_order_json",
        "seckill_metrics",
        "seckill_table_at",
        "seckill_counter_at",
    },
}
