/*
 * Loading of list files: read, check, build the index, put it in force.
 *
 * A load holds the list's robust lock, so that one process of a host does it.
 * Where the process has threads, the part that reads and builds (2 to 6) runs
 * in a child process (io/list_child.h): its memory, its CPU time and its end
 * are not the worker's, and the thread goes on meanwhile.
 *   1. choose names, remove what earlier loads left
 *   2. open the file, note which version it is (io/list_source.h)
 *   3. read it once: count entries, find bad lines, refuse what is not good
 *   4. make <dir>/list.<name>.<unique>, as large as needed, at once
 *   5. read it again: put the entries into the index, checksum it
 *   6. it must be the same version as before, and the counts must agree; else
 *      somebody wrote meanwhile: SKL_LOAD_AGAIN, and in the end EBADFILE
 *   7. note the numbers of that generation, rename it to
 *      list.<name>.<generation>, then publish it in one store
 *   8. unlink the files of earlier generations
 * Until 7 the old list is in force; a process that dies leaves at most files
 * that the next load removes. What failed is noted in the slot.
 *
 * Threads: one for each load, from begin to end.
 */
#ifndef SKL_IO_LIST_FILE_H
#define SKL_IO_LIST_FILE_H

#include "acl/lists.h"
#include "io/list_merge.h"
#include "shm/segment.h"

#include <stddef.h>

enum {
    SKL_LOAD_IF_CHANGED = 1, /* only if it is another version */
    SKL_LOAD_LAST_TRY = 2,   /* a torn file is an error now */
    SKL_LOAD_MERGE = 4       /* see what the overlay and the file both say */
};
/* The file changed while it was read: call again after settle_ms. */
enum { SKL_LOAD_AGAIN = 1, SKL_LOAD_TRIES = 3 };

typedef struct {
    const skl_segment_t *segment;
    skl_lists_t *lists;
    void *ctx;
    int64_t (*now)(void *ctx); /* ledger time */
} skl_list_env_t;

/* One try of one load. */
typedef struct skl_load skl_load_t;

enum { SKL_LOAD_TEXT = 256 };

/* What reading and building gave: plain bytes, it may come from a child. */
typedef struct {
    int32_t rc; /* SECKILL_OK, SKL_LOAD_AGAIN, or a code */
    uint32_t format, proofs, pad;
    skl_file_id_t id;
    int64_t changed_ns; /* wall time */
    uint64_t entries, bytes, bad_lines;
    unsigned char digest[32];
    char text[SKL_LOAD_TEXT]; /* why not */
} skl_list_made_t;

/* Take the list's lock and prepare: OK, and *out, which skl_load_end frees;
 * SKL_LOAD_NOTHING: the version is known; or a code, `err` filled: EBUSY
 * (somebody else is at it for longer than wait_ns), ENOMEM, EIO, EFULL. */
enum { SKL_LOAD_NOTHING = 2 };
int skl_load_begin(const skl_list_env_t *env, struct seckill_list *list,
                   int flags, int64_t wait_ns, skl_load_t **out, char *err,
                   size_t err_size);
/* Read and build. Takes no locks, and no memory but by mapping it (networks
 * are gathered there): it may run in a child of a process with threads. */
void skl_load_make(skl_load_t *load, skl_list_made_t *made);
/* Put it in force, or note why not; let go of the lock. */
int skl_load_end(skl_load_t *load, const skl_list_made_t *made, char *err,
                 size_t err_size);
/* Before the end: with SKL_LOAD_MERGE, and the word that it is good for; the
 * caller frees it. NULL: there is none. */
skl_list_merge_t *skl_load_take_merge(skl_load_t *load, uint64_t *word);
/* Let go of it without a result. */
void skl_load_drop(skl_load_t *load);
/* The file that is being built. */
const char *skl_load_temp(const skl_load_t *load);

/* All of it, with its waiting, in this thread: OK, or EBUSY, EBADFILE,
 * ETOOLARGE, ENOSPACE, ENOMEM, EIO with `err` filled. */
int skl_list_load(const skl_list_env_t *env, struct seckill_list *list,
                  int flags, char *err, size_t err_size);
/* Which version the file is now; zero when it cannot be told. */
void skl_list_file_id(const skl_list_slot_t *slot, skl_file_id_t *out);
/* 1 when the last load, good or bad, was of this version; one that was refused
 * is known as long as the options are the same. */
int skl_list_known(const skl_list_slot_t *slot, const skl_file_id_t *id);

#endif
