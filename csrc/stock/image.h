/*
 * The image of the tables: their bytes with locks and sequences as zeros.
 *
 * Locks and sequences are of the processes that use the tables, not of the
 * state; without them two ledgers that took the same records are the same,
 * byte by byte. Snapshots are images, and digests are taken of them.
 *
 * Threads: any, while nobody changes the tables.
 */
#ifndef SKL_STOCK_IMAGE_H
#define SKL_STOCK_IMAGE_H

#include "stock/tables.h"

#include <stddef.h>

static inline uint64_t skl_image_bytes(const skl_tables_t *t)
{
    return t->shm->bytes;
}

/* Copy n bytes of the image, beginning at `at`. */
void skl_image_copy(const skl_tables_t *t, uint64_t at, size_t n, void *out);
/* CRC-32C of the whole image, with bit 32 set: never 0. */
uint64_t skl_image_digest(const skl_tables_t *t);
/* Bytes in which two images of the same size differ, and the first of them. */
uint64_t skl_image_differing(const skl_tables_t *a, const skl_tables_t *b,
                             uint64_t *first);
/* Put an image back into tables that were initialised with the same numbers:
 * n bytes at `at`; in the end the locks are made anew. The numbers of the
 * tables stay as they are: 0 when those of the image are others. */
void skl_image_put(skl_tables_t *t, uint64_t at, size_t n, const void *from);
int skl_image_finish(skl_tables_t *t, const skl_tables_shm_t *numbers);

#endif
