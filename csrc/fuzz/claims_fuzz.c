/*
 * Fuzzer of the scanner of flat claims and of the JWS reader (libFuzzer): what
 * the scanner accepts keeps within its limits; no input is taken for signed.
 */
#include "base/assert.h"
#include "seckill.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_claims(const uint8_t *data, size_t size)
{
    seckill_claims_t c;

    if (seckill_jwt_claims(data, size, "sub", 3, &c) == SECKILL_OK) {
        skl_assert(c.user_len >= 1 && c.user_len <= SECKILL_ID_MAX);
        skl_assert(memchr(c.user, '"', c.user_len) == NULL);
        skl_assert(data[0] == '{' && data[size - 1] == '}');
        skl_assert(!c.has_exp || (c.exp >= 0 && c.exp < 1e15));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static seckill_keyring_t *ring;
    unsigned char out[256];
    size_t dot;

    if (ring == NULL) {
        skl_assert(seckill_keyring_new(&ring) == SECKILL_OK);
        skl_assert(seckill_keyring_add(ring, 0, "0123456789abcdef", 16) == 0);
    }
    try_claims(data, size);
    if (size >= 2) {
        dot = data[0] * size / 256;
        skl_assert(seckill_jws_open(ring, 0, (const char *)data, size,
                                    data[1] * dot / 256, dot, out,
                                    sizeof(out)) < 0);
    }
    return 0;
}
