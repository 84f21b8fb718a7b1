/*
 * Index files of the access lists: where they are, and mapping them.
 *
 * The file of a generation is <directory of a user>/list.<name>.<generation>,
 * made by io/list_file.c. A process maps the one that the list's slot names
 * and keeps it mapped until its reader has gone over to the next; by then the
 * file has been unlinked long ago.
 *
 * skl_list_map: any thread, one at a time for each list (others get EBUSY at
 * once). Not for the request path, except in programs without threads.
 */
#ifndef SKL_IO_LIST_MAP_H
#define SKL_IO_LIST_MAP_H

#include "acl/lists.h"
#include "shm/segment.h"

#define SKL_LIST_PATH_MAX (SKL_PATH_MAX + 80)

void skl_list_path(const skl_segment_t *seg, const skl_list_slot_t *slot,
                   uint64_t word, char *out, size_t size);
/* What ties an index to a segment and a list. */
uint64_t skl_list_owner(const skl_lists_t *l, const skl_list_slot_t *slot);
/* Map the generation in force and leave it for the reader. 1: done, 0: it was
 * there already, or a code: EBUSY, EIO, ECORRUPT, ENOMEM. A file that could not
 * be mapped is tried again only where `again` is set. */
int skl_list_map(const skl_segment_t *seg, struct seckill_list *list,
                 int again);
#define SKL_LIST_UNMAPPED "the index in force could not be mapped"
/* Unmap what the reader has left. */
void skl_list_unmap_retired(struct seckill_list *list);
/* 1 when the index file of the generation in force can be opened. */
int skl_list_reachable(const skl_segment_t *seg, const skl_list_slot_t *slot);

#endif
