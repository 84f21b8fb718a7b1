/*
 * The identity of a ledger on disk: file `ledger` of its directory.
 *
 * Made once; written again, as a whole, when a life begins: each recovery
 * raises the incarnation, durably, before anybody gets an id that carries it.
 * The numbers of the tables are here because records name slots: they stay as
 * they are for the life of the directory.
 *
 * The file is this struct with a magic, a version and a CRC-32C in front,
 * little-endian; see wal_identity.c. Threads: one opener at a time writes.
 */
#ifndef SKL_IO_WAL_IDENTITY_H
#define SKL_IO_WAL_IDENTITY_H

#include "base/hash.h"
#include "io/fs.h"
#include "stock/ring.h"

typedef struct {
    uint8_t uuid[16];
    skl_hash_key_t key; /* of the tables: secret, as in the segment */
    int64_t window_ns;
    uint32_t request_ids;
    uint32_t items, reservations, users, requests;
    uint32_t life_count;
    skl_life_t lives[SKL_LIVES_MAX];
} skl_identity_t;

/* SECKILL_OK; ENOTFOUND: no such file; ECORRUPT, EIO, with a text. */
int skl_identity_read(skl_fs_t *fs, skl_identity_t *out, char *err,
                      size_t err_size);
/* A new uuid, key and first life around the numbers that are set. EIO. */
int skl_identity_make(skl_identity_t *id);
int skl_identity_write(skl_fs_t *fs, const skl_identity_t *id, char *err,
                       size_t err_size);
/* Does a life that begins with `first_lsn` push the oldest one out? */
int skl_identity_is_full(const skl_identity_t *id, uint64_t first_lsn);
/* Begin another life with `first_lsn`. */
void skl_identity_raise(skl_identity_t *id, uint64_t first_lsn);
/* The incarnation that wrote an LSN; 0: before the lives that are known. */
uint32_t skl_identity_incarnation(const skl_identity_t *id, uint64_t lsn);
/* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", 37 bytes. */
void skl_identity_text(const uint8_t *uuid, char *out);

#endif
