/*
 * The bytes of a list file: which version it is, is it whole, and what it
 * unpacks to.
 *
 * A file is read twice (io/list_file.h), each time from its start with read(),
 * never by mapping: somebody may truncate it. A file that begins with the magic
 * bytes of gzip is unpacked; its members may be concatenated, zeros may follow
 * the last one. `limit` holds for the file and for what it unpacks to: a bomb
 * is given up as soon as it is over.
 *
 * `<file>.sha256`, where there is one, has the digest of the file as it is on
 * disk, in the format of sha256sum (the name in it is not looked at). It
 * belongs to the version of the file: a change of either is a new version. `-`
 * in it says that this file, and the next, need no digest.
 *
 * skl_source_new allocates all that a reading needs, so that it may go on in a
 * child of a process with threads. One thread at a time.
 */
#ifndef SKL_IO_LIST_SOURCE_H
#define SKL_IO_LIST_SOURCE_H

#include "acl/lists.h"

#include <stddef.h>
#include <stdint.h>

enum { SKL_SOURCE_DIGEST = 32 };
/* Of the digest beside a file. */
enum { SKL_SIDE_NONE, SKL_SIDE_DIGEST, SKL_SIDE_WAIVED };

typedef struct skl_source skl_source_t;

/* Parts of a file, in order. */
typedef void (*skl_source_sink_fn)(void *ctx, const char *data, size_t len);

/* NULL: no memory. `path` must outlive it. */
skl_source_t *skl_source_new(const char *path, uint64_t limit);
void skl_source_free(skl_source_t *s);

/* The file and its digest. OK, or EBADFILE, ETOOLARGE, EIO. */
int skl_source_open(skl_source_t *s);
/* Feed all of it to `sink`. OK, ETOOLARGE, EBADFILE, EIO, or SKL_SOURCE_TORN:
 * it changed while it was read, or does not fit its digest, which may come
 * later. `digest`: compute it, and compare it where there is one beside. */
enum { SKL_SOURCE_TORN = 1 };
int skl_source_read(skl_source_t *s, skl_source_sink_fn sink, void *ctx,
                    int digest);
/* 1 when the path still leads to the version that was opened. */
int skl_source_unchanged(const skl_source_t *s);
void skl_source_close(skl_source_t *s);
/* What was wrong. */
const char *skl_source_error(const skl_source_t *s);

const skl_file_id_t *skl_source_id(const skl_source_t *s);
/* When it, or its digest, was written last: wall time. */
int64_t skl_source_changed_ns(const skl_source_t *s);
uint32_t skl_source_format(const skl_source_t *s); /* SECKILL_FORMAT_* */
int skl_source_side(const skl_source_t *s);        /* SKL_SIDE_* */
/* Of the last reading with `digest`. */
const unsigned char *skl_source_digest(const skl_source_t *s);

/* Which version a path leads to now; zero when it cannot be told. */
void skl_source_version(const char *path, skl_file_id_t *out);
/* "<path>.sha256". */
void skl_source_side_path(const char *path, char *out, size_t size);

#endif
