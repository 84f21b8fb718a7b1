/*
 * Assertions. skl_assert is always on: an engine that sells stock stops rather
 * than go on from a state that cannot be. Bytes from outside (files, network,
 * callers) are checked with errors, never with assertions.
 */
#ifndef SKL_BASE_ASSERT_H
#define SKL_BASE_ASSERT_H

#include <assert.h>

/* Prints text and place on stderr, then aborts. */
_Noreturn void skl_assert_fail(const char *text, const char *file, int line);

#define skl_assert(cond)                                                       \
    do {                                                                       \
        if (__builtin_expect(!(cond), 0)) {                                    \
            skl_assert_fail(#cond, __FILE__, __LINE__);                        \
        }                                                                      \
    } while (0)

#define skl_static_assert(cond, text) _Static_assert(cond, text)

#endif
