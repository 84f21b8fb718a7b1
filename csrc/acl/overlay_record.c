/* Records of the overlay's log; see overlay_record.h. */
#include "acl/overlay_record.h"

#include "base/assert.h"
#include "base/crc32c.h"

#include <string.h>

enum { HEAD = 4 }; /* besides SKL_CHANGE_* */

static const uint64_t MAGIC = 0x59414c5245564f53; /* "SOVERLAY" */

typedef struct {
    uint32_t crc;  /* of the bytes after it */
    uint32_t info; /* length << 24 | left << 8 | type */
    uint64_t fp, hi, state;
} record_t;

skl_static_assert(sizeof(record_t) == SKL_OVERLAY_RECORD, "no gaps");

static void seal(record_t *r, unsigned char *out)
{
    memcpy(out, r, sizeof(*r));
    r->crc = skl_crc32c(0, out + 4, sizeof(*r) - 4);
    memcpy(out, r, sizeof(*r));
}

void skl_overlay_head(uint64_t owner, unsigned char *out)
{
    record_t r = {
        .info = HEAD, .fp = owner, .hi = MAGIC, .state = SKL_OVERLAY_FORMAT};

    seal(&r, out);
}

void skl_overlay_encode(const skl_overlay_change_t *c, unsigned char *out)
{
    record_t r = {.info = (uint32_t)c->length << 24 | (uint32_t)c->left << 8 |
                          c->type,
                  .fp = c->fp,
                  .hi = c->hi,
                  .state = c->state};

    skl_assert(c->left <= SKL_OVERLAY_BATCH);
    skl_assert(c->length <= SKL_OVERLAY_LENGTHS);
    skl_assert(c->type >= SKL_CHANGE_ENTRY && c->type <= SKL_CHANGE_MEMBER);
    seal(&r, out);
}

void skl_overlay_read_begin(skl_overlay_reader_t *r, uint64_t owner,
                            skl_overlay_take_fn take, void *ctx)
{
    memset(r, 0, sizeof(*r));
    skl_assert(take != NULL);
    r->owner = owner;
    r->take = take;
    r->ctx = ctx;
}

/* What can have been written: a state is 0, or its kind is one of an entry and
 * the bits of the hash in it are those of the hash. */
static int is_sane(const record_t *r, skl_overlay_change_t *out)
{
    const uint32_t kind = skl_overlay_kind(r->state);
    const uint32_t type = r->info & 0xff, left = r->info >> 8 & 0xffff,
                   length = r->info >> 24;

    memset(out, 0, sizeof(*out));
    out->fp = r->fp;
    out->hi = r->hi;
    out->state = r->state;
    out->type = (uint16_t)type;
    out->left = (uint16_t)left;
    out->length = (uint16_t)length;
    if (left > SKL_OVERLAY_BATCH || length > SKL_OVERLAY_LENGTHS) {
        return 0;
    }
    if (type == SKL_CHANGE_BATCH) {
        return r->hi == 0 && r->state == 0 && length == 0;
    }
    if ((type != SKL_CHANGE_MEMBER && (type != SKL_CHANGE_ENTRY || left > 0)) ||
        r->fp == 0) {
        return 0;
    }
    return r->state == 0 ||
           ((kind == SKL_OVERLAY_DENY || kind == SKL_OVERLAY_REMOVED) &&
            ((r->state >> 2) & 0x3fff) == r->hi >> 50);
}

static int read_head(skl_overlay_reader_t *r, const record_t *rec, int good)
{
    skl_assert(r->records == 1);
    r->has_head = good && rec->info == HEAD && rec->hi == MAGIC &&
                  rec->state == SKL_OVERLAY_FORMAT && rec->fp == r->owner;
    r->unusable += !r->has_head;
    return 0;
}

static void drop_batch(skl_overlay_reader_t *r)
{
    skl_assert(r->held <= SKL_OVERLAY_BATCH);
    r->unusable += r->held;
    r->held = 0;
}

/* The next of the batch that is held, or what ends it. */
static int hold(skl_overlay_reader_t *r, const skl_overlay_change_t *c)
{
    const uint32_t n = r->held;
    int whole;

    skl_assert(n <= SKL_OVERLAY_BATCH);
    r->batch[r->held++] = *c;
    whole = c->left == 0;
    if (!whole) {
        return 0;
    }
    r->held = 0;
    return r->take(r->ctx, r->batch, (int)n + 1);
}

int skl_overlay_read_record(skl_overlay_reader_t *r, const unsigned char *bytes)
{
    skl_overlay_change_t c;
    record_t rec;
    int good;

    memcpy(&rec, bytes, sizeof(rec));
    good = rec.crc == skl_crc32c(0, bytes + 4, sizeof(rec) - 4);
#ifdef MUTANT_OVERLAY_LOG_NO_CRC
    good = 1;
#endif
    if (r->records++ == 0) {
        return read_head(r, &rec, good);
    }
    if (!good || !is_sane(&rec, &c)) {
        drop_batch(r);
        r->unusable++;
        return 0;
    }
    if (r->held > 0) {
        const skl_overlay_change_t *last = &r->batch[r->held - 1];

        if (c.type == SKL_CHANGE_MEMBER && c.left + 1 == last->left) {
            return hold(r, &c);
        }
        drop_batch(r);
    }
    if (c.type == SKL_CHANGE_BATCH) {
        return hold(r, &c);
    }
    if (c.type == SKL_CHANGE_MEMBER) {
        r->unusable++; /* of a batch whose beginning is gone */
        return 0;
    }
    return r->take(r->ctx, &c, 1);
}

void skl_overlay_read_end(skl_overlay_reader_t *r)
{
    drop_batch(r);
}
