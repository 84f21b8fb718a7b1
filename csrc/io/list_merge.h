/*
 * Entries of the overlay that a new file says, too: they may go, so that the
 * overlay does not fill up.
 *
 * That is an added deny without an end of a value that the file denies without
 * an end, and a removal of a value that the file does not deny. Neither changes
 * an answer for whoever has the index of that file. So the entries that are
 * there before a load are noted, the builder (a child process: the notes are in
 * memory it shares) marks what it meets, and some time after the index was put
 * in force, when the processes have it, the entries that are still as they were
 * go. The slot then says from which generation on they are not needed; a
 * process that is behind maps that index before it answers.
 *
 * Of a list of networks none go: an entry is a hash, and what the file says of
 * a network depends on those around it.
 *
 * Threads: one, but skl_list_merge_see, which is the builder's.
 */
#ifndef SKL_IO_LIST_MERGE_H
#define SKL_IO_LIST_MERGE_H

#include "acl/lists.h"

typedef struct skl_list_merge skl_list_merge_t;

/* Note what is there. NULL: nothing, or no memory: no entry will go. */
skl_list_merge_t *skl_list_merge_new(struct seckill_list *list);
void skl_list_merge_free(skl_list_merge_t *m);
/* A line of the file. */
void skl_list_merge_see(skl_list_merge_t *m, const skl_index_entry_t *e);
/* Let them go, where the generation `word` is still in force: how many, or
 * EBUSY. */
int skl_list_merge_apply(skl_list_merge_t *m, uint64_t word, int64_t now_ns);

#endif
