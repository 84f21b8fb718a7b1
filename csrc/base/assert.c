/* The end of a failed assertion; see assert.h. Any thread. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void skl_assert_fail(const char *text, const char *file, int line)
{
    fprintf(stderr, "[seckill] assertion failed: %s (%s:%d)\n", text, file,
            line);
    abort();
}
