/*
 * The shared segment: a tmpfs file of fixed size, mapped by every process of
 * the engine, created once and never remapped while anyone uses it.
 *
 * Files, all owned by one user, modes 0600 and 0700:
 *   <shm_dir>/seckill.<name>          the segment
 *   <shm_dir>/seckill.<name>.d/       its directory: lock, sockets, lists
 *   <shm_dir>/seckill.<name>.d.<uid>/ the same for processes that run as
 *                                     another user than the owner (workers of
 *                                     a root master, with the inherited
 *                                     mapping)
 * Creation is serialised by flock on .d/lock; the file is built under a
 * temporary name and renamed when it is whole, so nobody attaches to half of
 * one. The space is allocated at once: a full tmpfs is an error here, not a
 * SIGBUS later.
 *
 * Layout: header, then sections at 4 KiB boundaries. Offsets only, no
 * pointers. The header carries a signature of the layout of every shared
 * struct: a library with another layout refuses the segment.
 */
#ifndef SKL_SHM_SEGMENT_H
#define SKL_SHM_SEGMENT_H

#include "base/hash.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SKL_PATH_MAX 256
#define SKL_SHM_DIR "/dev/shm"

enum {
    SKL_SECTION_COUNTERS,
    SKL_SECTION_STOCK,
    SKL_SECTION_RING,
    SKL_SECTION_LIMITS,
    SKL_SECTION_LISTS,
    SKL_SECTION_LOG,
    SKL_SECTION_PROCESSES,
    SKL_SECTION_PERMITS,
    SKL_SECTION_HOT,
    SKL_SECTION_BREAKERS,
    SKL_SECTION_SHEDDERS,
    SKL_SECTION_COUNT
};

/* Everything an opener may ask for; 0: default at creation, any at attach. */
typedef struct {
    int64_t window_ns;
    uint32_t request_ids;
    uint32_t items, reservations, users, requests;
    uint32_t limit_keys, limiters, limit_overrides, permits;
    uint32_t lists, list_overlay, log_units, breakers, shedders;
    uint32_t durability; /* this and the next: 0 without a log on disk */
    int64_t max_lag_ns;
    uint64_t max_log_bytes, log_segment_bytes;
} skl_config_t;

typedef struct {
    uint64_t magic;
    uint64_t signature; /* of the layout of all shared structs */
    uint64_t bytes;     /* of the whole file */
    _Atomic uint32_t ready;
    uint32_t pad;
    uint8_t uuid[16];
    char boot_id[40];
    skl_hash_key_t key; /* of all tables */
    skl_config_t config;
    uint64_t offset[SKL_SECTION_COUNT];
    uint64_t size[SKL_SECTION_COUNT];
    _Alignas(64) _Atomic int64_t clock_offset; /* ledger time - boot time */
    _Atomic int64_t clock_slewed_at;           /* boot time of the last slew */
    _Atomic int64_t clock_skew; /* wall time - ledger time, at that slew */
} skl_header_t;

/* The handle of one process. */
typedef struct {
    skl_header_t *header;
    char name[33];
    char shm_dir[SKL_PATH_MAX];
    char path[SKL_PATH_MAX];
    uid_t owner;
    int created; /* 1: this process made it, just now */
} skl_segment_t;

/* What the opener knows of the sections: sizes from the config in force, and
 * how to fill a new one (zeroed memory). */
typedef struct {
    uint64_t signature;
    void (*sizes)(const skl_config_t *config, uint64_t *sizes);
    void (*init)(skl_header_t *header);
    /* Fill it further, before anybody else can find it; may fail. NULL: no. */
    int (*fill)(void *ctx, skl_header_t *header, char *err, size_t err_size);
    void *ctx;
    /* Who owns the files, instead of `user`. */
    int has_owner;
    uid_t uid;
    gid_t gid;
} skl_layout_t;

/* Fill zero fields of a config with the defaults. */
void skl_config_defaults(skl_config_t *config);
/* An attacher may leave fields 0; one that it gives must be the segment's:
 * SECKILL_OK, or EMISMATCH with the option's name in err. */
int skl_config_compare(const skl_config_t *want, const skl_config_t *have,
                       char *err, size_t err_size);
/* Create or attach; see seckill_open for the errors. `user` may be NULL. */
int skl_segment_open(skl_segment_t *seg, const char *name, const char *shm_dir,
                     const char *user, const skl_config_t *want,
                     const skl_layout_t *layout, char *err, size_t err_size);
int skl_segment_destroy(const char *name, const char *shm_dir);
/* 1 while its name still leads to this segment: nobody has destroyed it. */
int skl_segment_is_current(const skl_segment_t *seg);
/* The directory for files of the calling process; made if absent. */
int skl_segment_dir(const skl_segment_t *seg, char *out, size_t size);
/* The directory that processes of user `uid` use (not made). */
void skl_segment_dir_of(const skl_segment_t *seg, uid_t uid, char *out,
                        size_t size);

static inline void *skl_section(const skl_header_t *header, int section)
{
    return (char *)(uintptr_t)header + header->offset[section];
}

/* Time of the ledger from boot time. */
static inline int64_t skl_ledger_ns(const skl_header_t *header, int64_t boot_ns)
{
    return boot_ns +
           atomic_load_explicit(&header->clock_offset, memory_order_relaxed);
}

#endif
