/* CRC-32C (Castagnoli, RFC 3720 B.4), by the CPU where it can. Any thread. */
#ifndef SKL_BASE_CRC32C_H
#define SKL_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue `crc` (0 to begin) over len bytes. */
uint32_t skl_crc32c(uint32_t crc, const void *data, size_t len);
/* The same bit by bit: the fallback, and the oracle of the test. */
uint32_t skl_crc32c_soft(uint32_t crc, const void *data, size_t len);

#endif
