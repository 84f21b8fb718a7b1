/*
 * simdisk.h - a disk in memory behind the table of io/fs.h, for tests.
 *
 * It is a directory of files behind a page cache. A write goes to the cache.
 * sync() makes the content and the size of one file durable, sync_dir() the
 * names. simdisk_power_loss() keeps what is durable and a random part of the
 * rest: each unsynced write in pieces of 512 bytes, each name change (changes
 * of one file in their order). simdisk_process_crash() only closes the files:
 * the cache survives, and is as unsynced as it was.
 *
 * Every call has an index. A fault is planned for one of them:
 *   SIM_FREEZE   the process dies in this call, which may have had its effect;
 *                all later calls fail
 *   SIM_EIO      the call fails. A failed sync is Linux's: the pages count as
 *                clean, each may or may not be on disk, the next sync says 0
 *   SIM_ENOSPC   write, allocate and create find no space
 *   SIM_SHORT    write and read do less than asked
 * simdisk_noise() lets calls fail at random, simdisk_capacity() makes the disk
 * a small one. All of it follows from the seed.
 *
 * Threads: one.
 */
#ifndef SKL_TEST_SIMDISK_H
#define SKL_TEST_SIMDISK_H

#include "io/fs.h"

enum { SIM_SECTOR = 512 };

enum {
    SIM_OPEN,
    SIM_CLOSE,
    SIM_READ,
    SIM_WRITE,
    SIM_SYNC,
    SIM_ALLOCATE,
    SIM_SIZE,
    SIM_TRUNCATE,
    SIM_RENAME,
    SIM_UNLINK,
    SIM_LIST,
    SIM_SYNC_DIR,
    SIM_CALLS
};

enum { SIM_NONE, SIM_FREEZE, SIM_EIO, SIM_ENOSPC, SIM_SHORT };

typedef struct simdisk simdisk_t;

simdisk_t *simdisk_new(uint64_t seed);
void simdisk_free(simdisk_t *d);
/* Another disk in the same state, without open files. */
simdisk_t *simdisk_clone(const simdisk_t *d, uint64_t seed);
skl_fs_t *simdisk_fs(simdisk_t *d);
/* One file as somebody else's disk left it; of a name "" there is none. */
typedef struct {
    const char *name, *durable_name;
    const void *cache, *disk; /* content for processes, and without power */
    uint64_t cache_size, disk_size;
    /* What differs has failed to be written: the next sync will not, either. */
    int lost;
} simdisk_file_t;
void simdisk_load(simdisk_t *d, const simdisk_file_t *file);

/* Calls made so far: the index of the next one. */
uint64_t simdisk_calls(const simdisk_t *d);
/* Which call an index was (SIM_OPEN ...), and whether a fault can hit it. */
int simdisk_call_at(const simdisk_t *d, uint64_t index);
int simdisk_fits(int call, int fault);
/* Plan a fault for `count` calls from an index on (those that it fits). One
 * freeze and one other fault may be planned at a time. */
void simdisk_fault(simdisk_t *d, uint64_t index, int fault, uint64_t count);
/* Calls that fail at random from now on: `permille` of them. */
void simdisk_noise(simdisk_t *d, uint32_t permille);
/* Bytes of all files; 0: no limit. */
void simdisk_capacity(simdisk_t *d, uint64_t bytes);
uint64_t simdisk_used(const simdisk_t *d);
int simdisk_is_frozen(const simdisk_t *d);
/* No more faults. */
void simdisk_heal(simdisk_t *d);

/* The process is gone. */
void simdisk_process_crash(simdisk_t *d);
/* The power is gone, too; of what is not durable each part stays with
 * probability percent/100. */
void simdisk_power_loss(simdisk_t *d, uint32_t percent);
/* Unsynced writes and name changes. */
uint64_t simdisk_pending(const simdisk_t *d);

#endif
