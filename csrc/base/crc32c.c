/* CRC-32C; see crc32c.h. */
#include "base/crc32c.h"

#include "base/assert.h"

#include <string.h>

uint32_t skl_crc32c_soft(uint32_t crc, const void *data, size_t len)
{
    const unsigned char *p = data;

    skl_assert(data != NULL || len == 0);
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0x82f63b78U & (0U - (crc & 1U)));
        }
    }
    return ~crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc_hard(
    uint32_t crc, const unsigned char *p, size_t len)
{
    uint64_t c = ~crc;

    for (; len >= 8; len -= 8, p += 8) {
        uint64_t word;

        memcpy(&word, p, sizeof(word));
        c = _mm_crc32_u64(c, word);
    }
    for (; len > 0; len--, p++) {
        c = _mm_crc32_u8((uint32_t)c, *p);
    }
    return ~(uint32_t)c;
}

uint32_t skl_crc32c(uint32_t crc, const void *data, size_t len)
{
    skl_assert(data != NULL || len == 0);
    if (__builtin_cpu_supports("sse4.2")) {
        return crc_hard(crc, data, len);
    }
    return skl_crc32c_soft(crc, data, len);
}

#else

uint32_t skl_crc32c(uint32_t crc, const void *data, size_t len)
{
    return skl_crc32c_soft(crc, data, len);
}

#endif
