/*
 * Access lists: what all processes share of them, and the handle of one
 * process.
 *
 * The shared section holds the role locks of the threads, one slot for each
 * list (name, file, numbers of the last loads, the word `current` that says
 * which index file is in force) and the overlay of added and removed entries.
 * The entries themselves are in an index file (acl/index.h for ids,
 * acl/net_index.h for networks) that every process maps; `current` changes only
 * when a new file is whole, so that a reader has the old list or the new one.
 *
 * Here is the part without I/O: slots, lookup and overlay. Files are made and
 * mapped by io/list_file.c, io/list_map.c.
 *
 * Threads. A lookup: one thread of each process at a time. The thread that
 * maps new generations (io) leaves them in `pending`; the reader takes them
 * over at its next lookup and leaves the old one in `retired`, from where the
 * same thread unmaps it. Neither waits for the other. Everything else: any.
 */
#ifndef SKL_ACL_LISTS_H
#define SKL_ACL_LISTS_H

#include "acl/index.h"
#include "acl/net_index.h"
#include "acl/overlay.h"
#include "base/hash.h"
#include "seckill.h"
#include "shm/counters.h"
#include "shm/lock.h"

#include <stdatomic.h>
#include <stdint.h>

#define SKL_LIST_FILE_MAX 256

/* Roles of which one process of a host has each; held for its life. */
enum {
    SKL_ROLE_LOADER, /* loads watched files that changed */
    SKL_ROLE_SWEEPER,
    SKL_ROLE_FLUSHER,
    SKL_ROLE_COUNT
};

/* Which version of a file was read. */
typedef struct {
    uint64_t dev, ino, size;
    int64_t mtime_ns, ctime_ns;
    uint64_t side; /* version of its digest file, in one word; 0: none */
} skl_file_id_t;

/* About the load of the generation in force. */
typedef struct {
    skl_file_id_t file;
    uint64_t entries, bytes, reloads, bad_lines;
    int64_t loaded_at; /* ledger time */
    int64_t load_ns;
    int64_t file_mtime_ns;
    uint32_t format; /* SECKILL_FORMAT_* */
    uint32_t proofs; /* SKL_PROOF_* that the file came with */
    unsigned char digest[32];
} skl_list_good_t;

/* What shows that a file is whole: a file with one is not followed by a file
 * without. */
enum { SKL_PROOF_TRAILER = 1, SKL_PROOF_DIGEST = 2 };

/* About the last load that failed. */
typedef struct {
    skl_file_id_t file;
    uint64_t generation; /* that was in force then */
    uint64_t options;    /* that refused it, in one word */
    uint64_t failures, bad_lines;
    int64_t rc;
    char error[256];
} skl_list_bad_t;

#define SKL_WORDS(type) (sizeof(type) / sizeof(uint64_t))
_Static_assert(sizeof(skl_list_good_t) % 8 == 0, "copied in words");
_Static_assert(sizeof(skl_list_bad_t) % 8 == 0, "copied in words");

/* One list. `current` is uid << 32 | generation of the index file in force, 0
 * for none. The blocks are written under `load_lock`: `good` of a generation
 * before it is published, at [generation & 1]; `bad` at [bad_count + 1 & 1]
 * before bad_count is raised. A reader that finds them changed reads again. */
typedef struct {
    skl_lock_t load_lock;
    _Alignas(64) _Atomic uint64_t current;
    /* Generation whose index says what the overlay said before; who has an
     * older one maps it before it answers. */
    _Atomic uint64_t merged;
    _Atomic uint32_t state; /* 0 free, 1 in use */
    uint32_t kind;
    char name[SECKILL_NAME_MAX + 8];
    char file[SKL_LIST_FILE_MAX]; /* "": none; set once, under table_lock */
    _Atomic uint32_t has_file;
    _Atomic uint32_t watch, allow_empty, max_bad_lines, settle_ms;
    _Atomic uint64_t max_bytes, max_entries;
    _Atomic uint64_t bad_count;
    _Atomic uint64_t good[2][SKL_WORDS(skl_list_good_t)];
    _Atomic uint64_t bad[2][SKL_WORDS(skl_list_bad_t)];
} skl_list_slot_t;

/* The section. */
typedef struct {
    skl_lock_t roles[SKL_ROLE_COUNT];
    skl_lock_t table_lock; /* creation of slots */
    uint32_t capacity;
    uint32_t pad;
    uint64_t overlay_offset;      /* from the start of the section */
    _Atomic uint64_t checked_lsn; /* how far the flusher has come */
    _Alignas(64) skl_list_slot_t slots[];
} skl_lists_shm_t;

/* An index file mapped into this process. */
typedef struct skl_list_view {
    struct skl_list_view *next; /* in `retired` */
    uint64_t word;              /* value of `current` it belongs to */
    void *base;
    uint64_t bytes;
    union { /* by the kind of the list */
        skl_index_t index;
        skl_net_index_t nets;
    };
} skl_list_view_t;

typedef struct {
    skl_lists_shm_t *shm;
    skl_overlay_t overlay;
    skl_hash_key_t key; /* of the segment */
    skl_counters_t *counters;
    _Atomic(struct seckill_list *) first; /* all handles of this process */
    _Atomic uint32_t threads; /* fork epoch in which an io thread maps; or 0 */
} skl_lists_t;

/* A list in this process; lives as long as the engine's handle. */
struct seckill_list {
    struct seckill_list *next;
    struct seckill *engine; /* for the files above this layer */
    skl_lists_t *lists;
    skl_list_slot_t *slot;
    uint32_t number;              /* of the slot */
    uint32_t kind;                /* the same for its life */
    uint32_t lookups;             /* since its index could not be mapped */
    _Atomic uint32_t mapping;     /* epoch in which a thread maps; 0: none */
    skl_list_view_t *view;        /* reader's; NULL: no entries */
    _Atomic uint64_t failed_word; /* could not be mapped */
    _Atomic uint64_t seen_word; /* of the newest view, pending or taken over */
    _Atomic(skl_list_view_t *) pending;
    _Atomic(skl_list_view_t *) retired;
};

/* What is known of a value; skl_list_judge makes an answer of it. */
typedef struct {
    union {
        skl_index_hit_t file;    /* filled in place: it is not copied */
        struct {                 /* the same */
            int64_t deny_until;  /* by the file */
            int64_t allow_until; /* 0: no; INT64_MAX: for ever */
            const char *reason;
            uint32_t reason_len;
            uint32_t parent; /* the next less specific network; 0: none */
        };
    };
    int64_t overlay_until;
    int64_t closer_until; /* denied till then, whatever the overlay says then */
    const skl_net_index_t *nets; /* where less specific networks are */
    uint32_t overlay;            /* SKL_OVERLAY_* */
    uint32_t pad;
} skl_list_hit_t;

uint64_t skl_lists_bytes(uint32_t lists, uint32_t overlay);
uint64_t skl_lists_signature(void);
void skl_lists_init(void *section, uint32_t lists, uint32_t overlay);
void skl_lists_attach(skl_lists_t *l, void *section, const skl_hash_key_t *key,
                      skl_counters_t *counters);

/* Find or create the slot; EFULL, ECONFLICT, EBUSY, EBADOPTION. `path` is the
 * absolute file name or NULL. */
int skl_lists_slot(skl_lists_t *l, const char *name, const char *path,
                   const seckill_list_options_t *options, uint32_t *number);
/* The handle of a slot in this process; made at the first call. ENOMEM. */
int skl_lists_handle(skl_lists_t *l, uint32_t number,
                     struct seckill_list **out);

/* Look a value of 1..64 bytes up. 1 when anything is known of it; EBADVALUE:
 * in a list of networks it must be an address. */
int skl_list_find(struct seckill_list *list, const char *value, size_t len,
                  skl_list_hit_t *hit);
/* After skl_list_find: 1 when what it found may be of the past. */
int skl_list_is_behind(const struct seckill_list *list);
/* 1 when the answer depends on the time. */
int skl_list_timed(const skl_list_hit_t *hit);
/* 0, 1 denied, 2 allowed. Clears the reason where it does not apply. */
int skl_list_judge(skl_list_hit_t *hit, int64_t now_ns);
/* Reader: take over what the mapper left; the old view goes to `retired`. */
static inline void skl_list_adopt(struct seckill_list *list);
/* Mapper: leave a view for the reader; NULL or a view nobody took over. */
skl_list_view_t *skl_list_offer(struct seckill_list *list,
                                skl_list_view_t *view);
/* Mapper: all views the reader has left, linked by `next`. */
skl_list_view_t *skl_list_retired(struct seckill_list *list);
void skl_list_adopt_slow(struct seckill_list *list);

static inline void skl_list_adopt(struct seckill_list *list)
{
    if (atomic_load_explicit(&list->pending, memory_order_relaxed) != NULL) {
        skl_list_adopt_slow(list);
    }
}

/* Numbers of the last loads. */
void skl_list_good(const skl_list_slot_t *slot, skl_list_good_t *out);
void skl_list_bad(const skl_list_slot_t *slot, skl_list_bad_t *out);
/* Under load_lock: write the block of the next generation; publish it; note a
 * failure. */
void skl_list_set_good(skl_list_slot_t *slot, uint64_t generation,
                       const skl_list_good_t *good);
void skl_list_publish(skl_list_slot_t *slot, uint32_t uid, uint64_t generation);
void skl_list_set_bad(skl_list_slot_t *slot, const skl_list_bad_t *bad);

static inline uint64_t skl_list_generation(uint64_t word)
{
    return word & 0xffffffff;
}

static inline uint32_t skl_list_uid(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

/* 1 while a thread of this very process maps new generations. */
int skl_lists_threaded(const skl_lists_t *l);
/* Called when such a thread starts (1) and ends (0). */
void skl_lists_set_threaded(skl_lists_t *l, int on);
/* Differs from its value in the parent after every fork. */
uint32_t skl_lists_epoch(void);

#endif
