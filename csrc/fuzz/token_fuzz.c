/*
 * Fuzzer of the token reader (libFuzzer).
 *
 * The input is read twice. As text, the way a client sends it. And as the
 * bytes under the signature: it is signed and encoded here, so that the fuzzer
 * gets past the signature and reaches the fields. What is accepted must come
 * out of seckill_token_make again, byte for byte: there is one text for each
 * token.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc
 *         csrc/fuzz/token_fuzz.c csrc/token/?*.c csrc/base/assert.c -lcrypto
 */
#include "seckill.h"

#include <string.h>

#include "base/assert.h"
#include "token/base64url.h"
#include "token/keyring.h"

#define SIGNED_MAX 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static seckill_keyring_t *ring(void)
{
    static seckill_keyring_t *made;

    if (made == NULL) {
        skl_assert(seckill_keyring_new(&made) == SECKILL_OK);
        skl_assert(seckill_keyring_add(made, 1, "0123456789abcdef", 16) == 0);
    }
    return made;
}

static void try_text(const char *text, size_t len)
{
    seckill_token_t token;
    char again[512];
    int n;

    if (seckill_token_open(ring(), text, len, 0, &token) != SECKILL_OK) {
        return;
    }
    n = seckill_token_make(ring(), &token, again, sizeof(again));
    skl_assert(n > 0 && (size_t)n == len);
    skl_assert(memcmp(text, again, len) == 0);
}

static void try_signed(const uint8_t *data, size_t size)
{
    uint8_t raw[SIGNED_MAX + SKL_MAC_SIZE];
    char text[SKL_BASE64URL_LEN(SIGNED_MAX + SKL_MAC_SIZE)];

    if (size > SIGNED_MAX) {
        return;
    }
    memcpy(raw, data, size);
    seckill_hmac(ring(), -1, (char *)raw, size, raw + size);
    try_text(text, skl_base64url_encode(raw, size + SKL_MAC_SIZE, text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_text((const char *)data, size);
    try_signed(data, size);
    return 0;
}
