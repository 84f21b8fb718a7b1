/*
 * Reading of list files without an engine: what a load would say of a file,
 * and the lines themselves, in batches.
 *
 * A line lives in the parser's buffers no longer than its call, so a batch has
 * copies. One pass over the file in constant memory; any thread.
 */
#include "acl/net_set.h"
#include "acl/text.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/os.h"
#include "io/list_source.h"
#include "seckill.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((uint64_t)1 << 30)
#define MAX_ENTRIES ((uint64_t)1 << 27)

enum { MAX_BAD_LINES = 100, COPY_MAX = SKL_TEXT_LINE_MAX };

typedef struct {
    seckill_list_lines_fn fn;
    void *ctx;
    seckill_list_read_t *sum;
    skl_source_t *source;
    skl_text_t text;
    skl_hash_key_t key;
    uint64_t max_bad_lines, max_entries;
    uint32_t kind, allow_empty, count;
    uint32_t pad;
    seckill_list_line_t lines[SECKILL_LIST_LINES_MAX];
    char copies[SECKILL_LIST_LINES_MAX][COPY_MAX];
} reader_t;

static int fail(int rc, char *err, size_t size, const char *what,
                const char *why)
{
    if (size > 0) {
        (void)snprintf(err, size, "%.180s: %s", what, why);
    }
    return rc;
}

/* One key for all readings of a process: its hashes can be compared. */
static skl_hash_key_t shared_key;
static int key_rc;

static void make_key(void)
{
    key_rc = skl_os_random(&shared_key, sizeof(shared_key));
}

static int get_key(skl_hash_key_t *out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, make_key);
    *out = shared_key;
    return key_rc == 0 ? SECKILL_OK : SECKILL_EIO;
}

/* ---- Lines --------------------------------------------------------------- */

static void see_sum(reader_t *r)
{
    r->sum->lines = r->text.line;
    r->sum->entries = r->text.good_lines;
    r->sum->bad_lines = r->text.bad_lines;
    r->sum->networks = r->kind == SECKILL_LIST_IP ? r->text.counts.entries : 0;
}

static void give(reader_t *r)
{
    skl_assert(r->count <= SECKILL_LIST_LINES_MAX);
    see_sum(r);
    if (r->fn != NULL && r->count > 0) {
        r->fn(r->ctx, r->lines, r->count, r->sum);
    }
    r->count = 0;
}

static seckill_list_line_t *next_line(reader_t *r)
{
    seckill_list_line_t *line;

    if (r->count == SECKILL_LIST_LINES_MAX) {
        give(r);
    }
    line = &r->lines[r->count++];
    memset(line, 0, sizeof(*line));
    line->value = line->reason = "";
    line->line = r->text.line;
    return line;
}

static void see_bad(void *ctx, const char *why)
{
    next_line(ctx)->why = why;
}

static void to_addresses(reader_t *r, seckill_list_line_t *line)
{
    const skl_net_t *net = &r->text.net;
    const uint64_t all[5] = {net->first.hi, net->first.lo, net->last.hi,
                             net->last.lo, net->first.family};

    skl_assert(net->first.family == net->last.family);
    line->first[0] = net->first.hi;
    line->first[1] = net->first.lo;
    line->last[0] = net->last.hi;
    line->last[1] = net->last.lo;
    line->family = net->first.family;
    line->networks = skl_net_pieces(net);
    line->hash = (uint32_t)skl_hash128(&r->key, all, sizeof(all)).lo;
}

static void see_entry(void *ctx, const skl_index_entry_t *e)
{
    reader_t *r = ctx;
    seckill_list_line_t *line = next_line(r);
    char *copy = r->copies[r->count - 1];

    skl_assert(e->value_len + e->reason_len <= COPY_MAX);
    memcpy(copy, e->value, e->value_len);
    line->value = copy;
    line->value_len = (uint32_t)e->value_len;
    if (e->reason_len > 0) {
        memcpy(copy + e->value_len, e->reason, e->reason_len);
        line->reason = copy + e->value_len;
        line->reason_len = (uint32_t)e->reason_len;
    }
    line->ttl_ns = e->until == SKL_FOREVER ? 0 : e->until;
    line->allow = e->allow != 0;
    r->sum->allows += line->allow;
    r->sum->timed += line->ttl_ns != 0;
    r->sum->reasons += line->reason_len > 0;
    if (r->kind == SECKILL_LIST_IP) {
        to_addresses(r, line);
    } else {
        line->networks = 1;
        line->hash = (uint32_t)skl_hash128(&r->key, e->value, e->value_len).lo;
    }
}

static void feed(void *ctx, const char *data, size_t len)
{
    reader_t *r = ctx;

    r->sum->bytes += len;
    skl_text_feed(&r->text, data, len);
    give(r);
}

/* ---- A file -------------------------------------------------------------- */

static int set_up(reader_t *r, const char *file,
                  const seckill_list_options_t *o, char *err, size_t size)
{
    if (file == NULL || file[0] == '\0' || strlen(file) >= SKL_LIST_FILE_MAX) {
        return fail(SECKILL_EBADOPTION, err, size, "file",
                    "a path of 1 to 255 bytes expected");
    }
    if (o->struct_size != sizeof(*o) ||
        (o->kind != SECKILL_LIST_ID && o->kind != SECKILL_LIST_IP)) {
        return fail(SECKILL_EBADOPTION, err, size, "options",
                    "struct_size or kind");
    }
    if (get_key(&r->key) != SECKILL_OK) {
        return fail(SECKILL_EIO, err, size, file, "no random bytes");
    }
    r->kind = o->kind;
    r->allow_empty = o->allow_empty;
    r->max_entries = o->max_entries != 0 ? o->max_entries : MAX_ENTRIES;
    r->max_bad_lines = o->max_bad_lines == 0            ? MAX_BAD_LINES
                       : o->max_bad_lines == UINT32_MAX ? 0
                                                        : o->max_bad_lines;
    r->source =
        skl_source_new(file, o->max_bytes != 0 ? o->max_bytes : MAX_BYTES);
    return r->source != NULL
               ? SECKILL_OK
               : fail(SECKILL_ENOMEM, err, size, file, "no memory");
}

static void to_hex(const unsigned char *bytes, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < SKL_SOURCE_DIGEST; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
}

static int read_lines(reader_t *r, char *err, size_t size)
{
    int rc = skl_source_open(r->source);

    if (rc == SECKILL_OK) {
        r->sum->file_bytes = skl_source_id(r->source)->size;
        r->sum->format = skl_source_format(r->source);
        r->sum->has_digest = (uint32_t)skl_source_side(r->source);
        skl_text_begin(&r->text, see_entry, r, 0);
        skl_text_set_kind(&r->text, r->kind);
        skl_text_tell_bad(&r->text, see_bad);
        rc = skl_source_read(r->source, feed, r, 1);
        see_sum(r);
    }
    if (rc != SECKILL_OK) {
        (void)snprintf(err, size, "%s", skl_source_error(r->source));
        return rc == SKL_SOURCE_TORN ? SECKILL_EBADFILE : rc;
    }
    skl_text_end(&r->text);
#ifndef MUTANT_LIST_READ_LAST
    give(r);
#endif
    to_hex(skl_source_digest(r->source), r->sum->digest);
    return SECKILL_OK;
}

/* As a load does, but for what it compares with the load before. */
static int judge(reader_t *r, const char *file, char *err, size_t size)
{
    const uint64_t entries = r->text.counts.entries;
    char why[400];

    r->sum->has_trailer = r->text.trailer;
    r->sum->index_bytes = r->kind == SECKILL_LIST_ID && entries > 0
                              ? skl_index_bytes(&r->text.counts)
                              : 0;
#ifndef MUTANT_LIST_READ_HALF
    if (!skl_text_is_whole(&r->text, why, sizeof(why))) {
        return fail(SECKILL_EBADFILE, err, size, file, why);
    }
#endif
    if (r->text.bad_lines > r->max_bad_lines) {
        (void)snprintf(why, sizeof(why), "%" PRIu64 " bad lines: %s",
                       r->text.bad_lines, r->text.errors);
        return fail(SECKILL_EBADFILE, err, size, file, why);
    }
    if (entries == 0 && !r->allow_empty) {
        return fail(SECKILL_EBADFILE, err, size, file, "no entries");
    }
    if (entries > r->max_entries) {
        (void)snprintf(why, sizeof(why),
                       "%" PRIu64 " entries, max_entries is %" PRIu64, entries,
                       r->max_entries);
        return fail(SECKILL_ETOOLARGE, err, size, file, why);
    }
    if (r->kind == SECKILL_LIST_IP ? entries > SKL_NET_SET_MAX
                                   : skl_index_bytes(&r->text.counts) == 0) {
        return fail(SECKILL_ETOOLARGE, err, size, file, "too many entries");
    }
    return SECKILL_OK;
}

int seckill_list_read(const char *file, const seckill_list_options_t *options,
                      seckill_list_lines_fn fn, void *ctx,
                      seckill_list_read_t *out, char *err, size_t err_size)
{
    reader_t *r = calloc(1, sizeof(*r));
    int rc;

    memset(out, 0, sizeof(*out));
    if (err_size > 0) {
        err[0] = '\0';
    }
    if (r == NULL) {
        return fail(SECKILL_ENOMEM, err, err_size, "list", "no memory");
    }
    r->fn = fn;
    r->ctx = ctx;
    r->sum = out;
    rc = set_up(r, file, options, err, err_size);
    rc = rc == SECKILL_OK ? read_lines(r, err, err_size) : rc;
    rc = rc == SECKILL_OK ? judge(r, file, err, err_size) : rc;
    if (r->source != NULL) {
        skl_source_close(r->source);
        skl_source_free(r->source);
    }
    free(r);
    return rc;
}

/* ---- Values -------------------------------------------------------------- */

static int is_in(const skl_prefix_t *net, const skl_addr_t *address)
{
    const skl_prefix_t own = skl_net_prefix(address, net->bits);

    return own.hi == net->hi && own.lo == net->lo;
}

static int covers_address(const seckill_list_line_t *line,
                          const skl_addr_t *address)
{
    skl_net_t rest = {
        .first = {line->first[0], line->first[1], line->family, 0},
        .last = {line->last[0], line->last[1], line->family, 0}};
    skl_prefix_t piece;

    if (address->family != line->family) {
        return 0;
    }
#ifdef MUTANT_LIST_READ_FIRST_PIECE
    return skl_net_cut(&rest, &piece) && is_in(&piece, address)
               ? 1 + (int)piece.bits
               : 0;
#endif
    while (skl_net_cut(&rest, &piece)) {
        skl_assert(piece.bits <= skl_net_width(line->family));
        if (is_in(&piece, address)) {
            return 1 + (int)piece.bits;
        }
    }
    return 0;
}

int seckill_list_line_covers(const seckill_list_line_t *line, const char *value,
                             size_t value_len)
{
    skl_addr_t address;

    if (value == NULL || value_len == 0 || value_len > SECKILL_ID_MAX) {
        return SECKILL_EBADVALUE;
    }
    if (line->family == 0) {
        return line->why == NULL && line->value_len == value_len &&
               memcmp(line->value, value, value_len) == 0;
    }
    if (skl_net_parse_address(value, value_len, &address) != NULL) {
        return SECKILL_EBADVALUE;
    }
    return covers_address(line, &address);
}
