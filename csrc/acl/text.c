/* Parser of list files; see text.h. */
#include "acl/text.h"

#include "base/assert.h"
#include "seckill.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REASON_MAX = 255, DIGITS_MAX = 9, TRAILER_DIGITS = 12 };

static const char TRAILER[] = "#end ";

/* A field of a line. */
typedef struct {
    const char *at;
    size_t len;
} span_t;

void skl_text_begin(skl_text_t *t, skl_text_entry_fn entry, void *ctx,
                    int64_t now_ns)
{
    skl_assert(now_ns >= 0);
    memset(t, 0, sizeof(*t));
    t->entry = entry;
    t->ctx = ctx;
    t->now_ns = now_ns;
}

void skl_text_set_kind(skl_text_t *t, uint32_t kind)
{
    skl_assert(t->line == 0 && t->carried == 0);
    t->networks = kind == SECKILL_LIST_IP;
}

static void bad(skl_text_t *t, const char *why)
{
    size_t used = strlen(t->errors);

    t->bad_lines++;
    if (t->bad_lines <= SKL_TEXT_NOTED) {
        (void)snprintf(t->errors + used, sizeof(t->errors) - used,
                       "%sline %" PRIu64 ": %s", used > 0 ? "; " : "", t->line,
                       why);
    }
}

/* Digits of *s, moving past them; -1 when there are none or too many. */
static int64_t digits(span_t *s, size_t *count)
{
    int64_t n = 0;

    *count = 0;
    while (s->len > 0 && *s->at >= '0' && *s->at <= '9') {
        n = n * 10 + (*s->at - '0');
        s->at++;
        s->len--;
        if (++*count > DIGITS_MAX) {
            return -1;
        }
    }
    return *count > 0 ? n : -1;
}

/* Nanoseconds of "12" or "1.5"; 0 when it is not a number over 0. */
static int64_t parse_ttl(span_t s)
{
    size_t count;
    int64_t whole = digits(&s, &count), part = 0;

    if (whole < 0) {
        return 0;
    }
    if (s.len > 0) {
        if (*s.at != '.') {
            return 0;
        }
        s.at++;
        s.len--;
        part = digits(&s, &count);
        if (part < 0 || s.len > 0) {
            return 0;
        }
        for (; count < DIGITS_MAX; count++) {
            part *= 10;
        }
    }
    skl_assert(whole <= 999999999 && part < 1000000000);
    return whole * 1000000000LL + part;
}

/* Cut the part before the next TAB off *rest. */
static span_t cut(span_t *rest)
{
    const char *tab = memchr(rest->at, '\t', rest->len);
    span_t field = {rest->at, rest->len};

    if (tab == NULL) {
        rest->at += rest->len;
        rest->len = 0;
        return field;
    }
    field.len = (size_t)(tab - rest->at);
    rest->at = tab + 1;
    rest->len -= field.len + 1;
    return field;
}

static const char *parse_fields(skl_text_t *t, span_t rest,
                                skl_index_entry_t *e)
{
    span_t value = cut(&rest), ttl = cut(&rest);
    const char *why;

    if (value.len == 0) {
        return "empty entry";
    }
    if (value.len > SECKILL_ID_MAX) {
        return "entry over 64 bytes";
    }
    why =
        t->networks ? skl_net_parse_entry(value.at, value.len, &t->net) : NULL;
    if (why != NULL) {
        return why;
    }
    e->value = value.at;
    e->value_len = value.len;
    e->until = SKL_FOREVER;
    if (ttl.len > 0) {
        int64_t ns = parse_ttl(ttl);

        if (ns <= 0) {
            return "ttl is not a number of seconds over 0";
        }
        e->until = t->now_ns + ns;
    }
    if (rest.len > 0 && memchr(rest.at, '\t', rest.len) != NULL) {
        return "more than three fields";
    }
    if (rest.len > REASON_MAX) {
        return "reason over 255 bytes";
    }
    e->reason = rest.at;
    e->reason_len = rest.len;
    return NULL;
}

static void count(skl_text_t *t, const skl_index_entry_t *e)
{
    skl_assert(e->value_len >= 1 && e->value_len <= SECKILL_ID_MAX);
    skl_assert(e->until > t->now_ns);
    t->good_lines++;
    t->counts.entries += t->networks ? skl_net_pieces(&t->net) : 1;
    if (e->allow || e->until != SKL_FOREVER || e->reason_len > 0) {
        t->counts.marks++;
    }
    if (!e->allow && e->reason_len > 0) {
        t->counts.reasons_bytes += 1 + e->reason_len;
    }
}

/* Any comment; one that is not exactly a trailer is just that. */
static void see_comment(skl_text_t *t, const char *at, size_t len)
{
    const size_t head = sizeof(TRAILER) - 1;
    uint64_t lines = 0;

    if (len <= head || len > head + TRAILER_DIGITS ||
        memcmp(at, TRAILER, head) != 0) {
        return;
    }
    if (len == head + 1 && at[head] == '-') {
        t->trailer = SKL_TRAILER_WAIVED;
        return;
    }
    for (size_t i = head; i < len; i++) {
        if (at[i] < '0' || at[i] > '9') {
            return;
        }
        lines = lines * 10 + (uint64_t)(at[i] - '0');
    }
    t->trailer = SKL_TRAILER_COUNT;
    t->trailer_lines = lines;
}

int skl_text_is_whole(const skl_text_t *t, char *why, size_t size)
{
    const uint64_t lines = t->good_lines + t->bad_lines;

    skl_assert(t->carried == 0);
    if (t->trailer == SKL_TRAILER_NONE) {
        return 1;
    }
    if (t->after_trailer) {
        (void)snprintf(why, size, "there are lines after #end");
        return 0;
    }
    if (t->trailer == SKL_TRAILER_COUNT && t->trailer_lines != lines) {
        (void)snprintf(why, size,
                       "#end says %" PRIu64 " lines, there are %" PRIu64,
                       t->trailer_lines, lines);
        return 0;
    }
    return 1;
}

static void parse_line(skl_text_t *t, const char *at, size_t len)
{
    skl_index_entry_t e = {0};
    const char *why;

    t->line++;
    if (len > SKL_TEXT_LINE_MAX && *at != '#') {
        t->after_trailer = t->trailer != SKL_TRAILER_NONE;
        bad(t, "line too long");
        return;
    }
    if (len > 0 && at[len - 1] == '\r') {
        len--;
    }
    if (t->line == 1 && len >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) {
        at += 3;
        len -= 3;
    }
    if (len == 0) {
        return;
    }
    if (*at == '#') {
        see_comment(t, at, len);
        return;
    }
    t->after_trailer = t->trailer != SKL_TRAILER_NONE;
    e.allow = *at == '!';
    why = parse_fields(t, (span_t){at + e.allow, len - (size_t)e.allow}, &e);
    if (why != NULL) {
        bad(t, why);
        return;
    }
    count(t, &e);
    if (t->entry != NULL) {
        t->entry(t->ctx, &e);
    }
}

/* Keep the start of a line for the next buffer. A comment may be of any
 * length: its start is enough. */
static void carry(skl_text_t *t, const char *data, size_t len)
{
    size_t room = SKL_TEXT_LINE_MAX - t->carried;

    if (len > room) {
        t->too_long = 1;
        len = room;
    }
    memcpy(t->carry + t->carried, data, len);
    t->carried += (uint32_t)len;
    skl_assert(t->carried <= SKL_TEXT_LINE_MAX);
}

static void end_carried(skl_text_t *t)
{
    /* Of a line that is too long, more than the start makes no difference. */
    parse_line(t, t->carry, t->carried + t->too_long);
    t->carried = 0;
    t->too_long = 0;
}

void skl_text_feed(skl_text_t *t, const char *data, size_t len)
{
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t n = end != NULL ? (size_t)(end - data) : len;

        if (end == NULL || t->carried > 0) {
            carry(t, data, n);
            if (end != NULL) {
                end_carried(t);
            }
        } else {
            parse_line(t, data, n);
        }
        n += end != NULL;
        data += n;
        len -= n;
    }
}

void skl_text_end(skl_text_t *t)
{
    if (t->carried > 0) {
        end_carried(t);
    }
}
