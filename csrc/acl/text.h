/*
 * Parser of list files, fed with buffers of any size. No allocation, no I/O;
 * one thread at a time.
 *
 * A line is `[!]entry[TAB ttl[TAB reason]]`, ended by LF, CR LF or the end of
 * the file. Entries are 1 to 64 bytes of any value but TAB and LF; `!` in
 * column 1 makes an allow entry, `#` in column 1 a comment. Lines without
 * bytes are skipped. ttl is a decimal number of seconds over 0 (at most 9
 * digits before and after the point), empty for none; it counts from the time
 * of the load. A reason has at most 255 bytes and no TAB. A UTF-8 byte order
 * mark at the start is skipped. Any other line is bad: it is counted, its
 * number and what is wrong are noted, and it adds nothing.
 *
 * The comment `#end N` at the end of a file says that it is whole: N is the
 * number of its lines that are neither empty nor comments. `#end -` says that
 * this file, and the next, need no such line.
 *
 * In a list of networks an entry must be one that acl/net.h takes; it counts as
 * the CIDRs it consists of.
 */
#ifndef SKL_ACL_TEXT_H
#define SKL_ACL_TEXT_H

#include "acl/index.h"
#include "acl/net.h"

#include <stddef.h>
#include <stdint.h>

enum { SKL_TEXT_LINE_MAX = 512, SKL_TEXT_NOTED = 5 };

enum { SKL_TRAILER_NONE, SKL_TRAILER_COUNT, SKL_TRAILER_WAIVED };

typedef void (*skl_text_entry_fn)(void *ctx, const skl_index_entry_t *entry);

typedef struct {
    skl_text_entry_fn entry; /* NULL: only count */
    void *ctx;
    int64_t now_ns;
    int networks; /* 1: entries are networks */
    int pad;
    skl_net_t net; /* of the line that is read */
    uint64_t line; /* lines that are complete */
    uint64_t bad_lines;
    uint64_t good_lines;
    skl_index_plan_t counts; /* what was read: enough for skl_index_bytes */
    char errors[200];        /* "line 3: entry over 64 bytes; ..." */
    uint64_t trailer_lines;  /* what `#end` says */
    uint32_t trailer;        /* SKL_TRAILER_* */
    uint32_t after_trailer;  /* lines came after it */
    uint32_t carried;
    uint32_t too_long;                 /* the carried line does not fit */
    char carry[SKL_TEXT_LINE_MAX + 1]; /* one more: "longer than that" */
} skl_text_t;

void skl_text_begin(skl_text_t *t, skl_text_entry_fn entry, void *ctx,
                    int64_t now_ns);
/* After skl_text_begin: the list is one of this kind (SECKILL_LIST_*). */
void skl_text_set_kind(skl_text_t *t, uint32_t kind);
void skl_text_feed(skl_text_t *t, const char *data, size_t len);
/* The last line needs no line feed. */
void skl_text_end(skl_text_t *t);
/* After the end: 0 when a trailer is there and wrong; `why` says how. */
int skl_text_is_whole(const skl_text_t *t, char *why, size_t size);

#endif
