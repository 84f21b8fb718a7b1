/*
 * Writer of the Prometheus text format (version 0.0.4) into a bounded buffer.
 * It counts what it could not write, so that the caller learns the size.
 * Pure functions.
 */
#ifndef SKL_METRICS_TEXT_H
#define SKL_METRICS_TEXT_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *out;
    size_t size;
    size_t used; /* bytes needed so far, even where they did not fit */
} skl_text_t;

void skl_text_printf(skl_text_t *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* # HELP and # TYPE of a metric. */
void skl_text_family(skl_text_t *t, const char *name, const char *type,
                     const char *help);
/* A label value: backslash, quote and newline escaped; bytes that are not
 * UTF-8 as \xHH, so that two values never look the same. */
void skl_text_label(skl_text_t *t, const char *value, size_t len);

#endif
