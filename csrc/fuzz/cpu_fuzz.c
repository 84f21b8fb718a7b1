/*
 * Fuzzer of the parsers of CPU files (libFuzzer): what they accept keeps
 * within its limits.
 */
#include "base/assert.h"
#include "io/cpu.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    char path[64];
    skl_cpu_quota_t q;
    uint64_t used, all;

    if (skl_cpu_parse_group(text, size, path, sizeof(path))) {
        skl_assert(path[0] == '/' && strlen(path) < sizeof(path));
        skl_assert(strstr(path, "/../") == NULL);
    }
    if (skl_cpu_parse_max(text, size, &q)) {
        skl_assert(q.period > 0);
    }
    if (skl_cpu_parse_usage(text, size, &used)) {
        skl_assert(used <= INT64_MAX);
    }
    if (skl_cpu_parse_stat(text, size, &used, &all)) {
        skl_assert(used <= all);
    }
    return 0;
}
