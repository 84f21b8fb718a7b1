/*
 * Loading of list files: read, check, build the index, put it in force.
 *
 * A load holds the list's robust lock, so that one process of a host does it.
 *   1. open the file, note which version it is (device, inode, size, times)
 *   2. read it once: count entries, find bad lines, refuse what is not good
 *   3. make <dir>/list.<name>.tmp, as large as needed, at once
 *   4. read it again: put the entries into the index
 *   5. it must be the same version as before, and the counts must agree; else
 *      somebody wrote meanwhile: SKL_LOAD_AGAIN, and in the end EBADFILE
 *   6. checksum, rename to list.<name>.<generation>
 *   7. note the numbers of that generation, then publish it in one store
 *   8. unlink the files of earlier generations
 * Until 7 the old list is in force; a process that dies leaves at most files
 * that the next load removes. What failed is noted in the slot.
 *
 * Reads the file with read(), never by mapping: somebody may truncate it.
 */
#ifndef SKL_IO_LIST_FILE_H
#define SKL_IO_LIST_FILE_H

#include "acl/lists.h"
#include "shm/segment.h"

#include <stddef.h>

enum {
    SKL_LOAD_IF_CHANGED = 1, /* only if it is another version */
    SKL_LOAD_LAST_TRY = 2    /* a torn file is an error now */
};
/* The file changed while it was read: call again after settle_ms. */
enum { SKL_LOAD_AGAIN = 1, SKL_LOAD_TRIES = 3 };

typedef struct {
    const skl_segment_t *segment;
    skl_lists_t *lists;
    void *ctx;
    int64_t (*now)(void *ctx); /* ledger time */
    /* Called between buffers; not 0: give up (ECLOSED). NULL: never. */
    int (*pulse)(void *ctx);
} skl_list_env_t;

/* One try. OK, SKL_LOAD_AGAIN, EBUSY (somebody else is at it for longer than
 * wait_ns), ECLOSED, or EBADFILE, ETOOLARGE, ENOSPACE, ENOMEM, EIO with `err`
 * filled. */
int skl_list_load_once(const skl_list_env_t *env, struct seckill_list *list,
                       int flags, int64_t wait_ns, char *err, size_t err_size);
/* The same with all its waiting in this thread. */
int skl_list_load(const skl_list_env_t *env, struct seckill_list *list,
                  int flags, char *err, size_t err_size);
/* Which version the file is now; zero when it cannot be told. */
void skl_list_file_id(const skl_list_slot_t *slot, skl_file_id_t *out);
/* 1 when the last load, good or bad, was of this version. */
int skl_list_known(const skl_list_slot_t *slot, const skl_file_id_t *id);

#endif
