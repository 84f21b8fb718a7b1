/*
 * Records of the overlay's log: changes of one list as bytes of a file, and
 * what a file of them, whole or not, says. No I/O, no allocation.
 *
 * A file is a row of records of 32 bytes, native byte order. Each has a CRC-32C
 * of its own; a record that fails it is skipped and counted, the next one
 * stands where it would. The first record is the head: it says for which list
 * of which ledger the hashes were made. A batch is one record with its revision
 * and the number of entries, then these; it counts as a whole or not at all,
 * whatever of it is missing. Bytes at the end that are no record are what a
 * writer that died has left.
 */
#ifndef SKL_ACL_OVERLAY_RECORD_H
#define SKL_ACL_OVERLAY_RECORD_H

#include "acl/overlay.h"

enum { SKL_OVERLAY_RECORD = 32, SKL_OVERLAY_FORMAT = 2 };

void skl_overlay_head(uint64_t owner, unsigned char *out);
void skl_overlay_encode(const skl_overlay_change_t *c, unsigned char *out);

/* Changes that count, in order. Not 0: stop. */
typedef int (*skl_overlay_take_fn)(void *ctx, const skl_overlay_change_t *c,
                                   int n);

/* A reading. */
typedef struct {
    uint64_t owner;
    skl_overlay_take_fn take;
    void *ctx;
    uint64_t records;  /* seen, with the head */
    uint64_t unusable; /* of them */
    int has_head;      /* and it is the right one */
    uint32_t held;     /* of a batch that is not whole yet; 0: none */
    skl_overlay_change_t batch[SKL_OVERLAY_BATCH + 1];
} skl_overlay_reader_t;

void skl_overlay_read_begin(skl_overlay_reader_t *r, uint64_t owner,
                            skl_overlay_take_fn take, void *ctx);
/* One record of SKL_OVERLAY_RECORD bytes. What `take` says, or 0. */
int skl_overlay_read_record(skl_overlay_reader_t *r,
                            const unsigned char *record);
/* A batch that is not whole at the end is what a dead writer has left. */
void skl_overlay_read_end(skl_overlay_reader_t *r);

#endif
