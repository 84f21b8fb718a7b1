/*
 * Building an index of either kind, for io/list_file.c.
 *
 *   skl_list_build_plan     after the first reading: what was counted
 *   skl_list_build_put      an entry of the second reading
 *   skl_list_build_bytes    how large the index is
 *   skl_list_build_begin    here is zeroed memory of that size
 *   skl_list_build_end      finish it
 *
 * Of ids the size is known from the counts: begin, then put. Networks are
 * collected in memory, at most 64 bytes for each and 1 GiB in all, before their
 * size is known: put, then begin (skl_list_build_gathers tells the two apart).
 * That memory is mapped, not allocated: all of this may go on in a child of a
 * process with threads. One thread.
 */
#ifndef SKL_IO_LIST_BUILD_H
#define SKL_IO_LIST_BUILD_H

#include "acl/index.h"
#include "acl/net_set.h"

typedef struct {
    uint32_t kind; /* SECKILL_LIST_* */
    uint32_t pad;
    uint64_t entries; /* in the index, after skl_list_build_end */
    skl_index_plan_t plan;
    skl_index_writer_t ids;
    skl_net_set_t nets;
    void *memory; /* of nets; NULL */
    uint64_t memory_bytes;
    void *base;
} skl_list_build_t;

/* OK, ETOOLARGE, ENOMEM. skl_list_build_free must follow. */
int skl_list_build_plan(skl_list_build_t *b, uint32_t kind,
                        const skl_index_plan_t *plan);
int skl_list_build_gathers(const skl_list_build_t *b);
/* A skl_text_entry_fn. */
void skl_list_build_put(void *build, const skl_index_entry_t *entry);
/* EFULL when more was put than planned. */
int skl_list_build_bytes(skl_list_build_t *b, uint64_t *bytes);
void skl_list_build_begin(skl_list_build_t *b, void *base,
                          const skl_hash_key_t *key);
int skl_list_build_end(skl_list_build_t *b, uint64_t owner,
                       uint64_t generation);
void skl_list_build_free(skl_list_build_t *b);

#endif
