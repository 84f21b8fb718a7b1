/* See text.h. */
#include "metrics/text.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>

static void put(skl_text_t *t, char c)
{
    if (t->used + 1 < t->size) {
        t->out[t->used] = c;
        t->out[t->used + 1] = '\0';
    }
    t->used++;
}

void skl_text_printf(skl_text_t *t, const char *format, ...)
{
    char line[512];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    skl_assert(n >= 0 && (size_t)n < sizeof(line));
    for (int i = 0; i < n; i++) {
        put(t, line[i]);
    }
}

void skl_text_family(skl_text_t *t, const char *name, const char *type,
                     const char *help)
{
    skl_text_printf(t, "# HELP %s %s.\n# TYPE %s %s\n", name, help, name, type);
}

/* Length of the UTF-8 sequence at s (RFC 3629), 0 where there is none. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    size_t n;

    skl_assert(left > 0);
    n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : 3;

    if (s[0] >= 0xf0) {
        n = s[0] < 0xf5 ? 4 : 0;
    }
    if (n == 0 || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) {
        return 0; /* overlong, surrogate, above U+10FFFF */
    }
    return n;
}

static void put_hex(skl_text_t *t, unsigned char c)
{
    skl_text_printf(t, "\\\\x%02x", c);
}

/* A backslash that would read as the begin of \xHH is written as one. */
static void put_ascii(skl_text_t *t, unsigned char c, unsigned char next)
{
    if (c == '\n') {
        skl_text_printf(t, "\\n");
    } else if (c < 0x20 || c == 0x7f || (c == '\\' && next == 'x')) {
        put_hex(t, c);
    } else if (c == '\\' || c == '"') {
        skl_text_printf(t, "\\%c", c);
    } else {
        put(t, (char)c);
    }
}

void skl_text_label(skl_text_t *t, const char *value, size_t len)
{
    const unsigned char *s = (const unsigned char *)value;

    skl_assert(value != NULL || len == 0);
    for (size_t i = 0; i < len;) {
        size_t n = utf8_length(s + i, len - i);

        if (n == 1) {
            put_ascii(t, s[i], i + 1 < len ? s[i + 1] : 0);
        } else if (n == 0) {
            put_hex(t, s[i]);
            n = 1;
        } else {
            for (size_t k = 0; k < n; k++) {
                put(t, value[i + k]);
            }
        }
        i += n;
    }
}
