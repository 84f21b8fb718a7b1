/*
 * A ring of HMAC-SHA256 keys.
 *
 * HMAC(K, m) = H(K ^ opad, H(K ^ ipad, m)). The first block of both hashes
 * depends on the key alone, so a ring keeps both hash states after it, and a
 * MAC starts from copies of them on the stack: no allocation, no locking, and
 * two compressions less for each MAC. Measured for 100 bytes with OpenSSL 3.0:
 * 127 ns, against 152 with copied EVP_MD_CTX (which allocate at each copy) and
 * 190 with EVP_MAC. That is why the low-level SHA256_* calls are used, although
 * OpenSSL 3 calls them deprecated; they are in every version since 0.9.8.
 *
 * Keys are only ever added. A ring that is complete may be used by any number
 * of threads; adding while others use it is not allowed.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "token/keyring.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define KEYS_MAX 16
#define KEY_ID_MAX 255
#define KEY_SIZE_MIN 16
#define KEY_SIZE_MAX 128
#define BLOCK 64

skl_static_assert(SKL_MAC_SIZE == SHA256_DIGEST_LENGTH, "SHA-256 digest");
skl_static_assert(BLOCK == SHA256_CBLOCK, "SHA-256 block");

typedef struct {
    SHA256_CTX inner; /* after K ^ ipad */
    SHA256_CTX outer; /* after K ^ opad */
    int id;
} hmac_key_t;

struct seckill_keyring {
    int count;
    hmac_key_t keys[KEYS_MAX]; /* in the order added: the last one signs */
};

int seckill_keyring_new(seckill_keyring_t **out)
{
    skl_assert(out != NULL);
    *out = calloc(1, sizeof(**out));
    return *out == NULL ? SECKILL_ENOMEM : SECKILL_OK;
}

void seckill_keyring_free(seckill_keyring_t *ring)
{
    if (ring != NULL) {
        OPENSSL_cleanse(ring, sizeof(*ring));
        free(ring);
    }
}

static const hmac_key_t *find_key(const seckill_keyring_t *ring, int key_id)
{
    for (int i = 0; i < ring->count; i++) {
        if (ring->keys[i].id == key_id) {
            return &ring->keys[i];
        }
    }
    return NULL;
}

static void start_state(SHA256_CTX *state, const uint8_t *key, uint8_t pad)
{
    uint8_t block[BLOCK];
    int ok;

    for (size_t i = 0; i < BLOCK; i++) {
        block[i] = key[i] ^ pad;
    }
    ok = SHA256_Init(state) && SHA256_Update(state, block, BLOCK);
    skl_assert(ok);
    OPENSSL_cleanse(block, sizeof(block));
}

static void set_key(hmac_key_t *slot, int id, const char *key, size_t len)
{
    uint8_t block[BLOCK] = {0};

    if (len > BLOCK) {
        SHA256((const uint8_t *)key, len, block);
    } else {
        memcpy(block, key, len);
    }
    start_state(&slot->inner, block, 0x36);
    start_state(&slot->outer, block, 0x5c);
    slot->id = id;
    OPENSSL_cleanse(block, sizeof(block));
}

int seckill_keyring_add(seckill_keyring_t *ring, uint32_t key_id,
                        const char *key, size_t key_len)
{
    skl_assert(ring != NULL);
    if (key == NULL || key_len < KEY_SIZE_MIN || key_len > KEY_SIZE_MAX ||
        key_id > KEY_ID_MAX) {
        return SECKILL_EBADKEY;
    }
    if (find_key(ring, (int)key_id) != NULL) {
        return SECKILL_ECONFLICT;
    }
    if (ring->count == KEYS_MAX) {
        return SECKILL_EFULL;
    }
    set_key(&ring->keys[ring->count], (int)key_id, key, key_len);
    ring->count++;
    return SECKILL_OK;
}

int skl_keyring_signer(const seckill_keyring_t *ring)
{
    skl_assert(ring->count >= 0 && ring->count <= KEYS_MAX);
    return ring->count == 0 ? -1 : ring->keys[ring->count - 1].id;
}

int skl_keyring_mac(const seckill_keyring_t *ring, int key_id, const void *data,
                    size_t len, uint8_t mac[SKL_MAC_SIZE])
{
    const hmac_key_t *key = find_key(ring, key_id);
    SHA256_CTX state;
    int ok;

    if (key == NULL) {
        return 0;
    }
    state = key->inner;
    ok = SHA256_Update(&state, data, len) && SHA256_Final(mac, &state);
    skl_assert(ok);
    state = key->outer;
    ok = SHA256_Update(&state, mac, SKL_MAC_SIZE) && SHA256_Final(mac, &state);
    skl_assert(ok);
    return 1;
}

int seckill_hmac(seckill_keyring_t *ring, int key_id, const char *data,
                 size_t len, unsigned char *out)
{
    skl_assert(ring != NULL && out != NULL);
    if (key_id == -1) {
        key_id = skl_keyring_signer(ring);
    }
    return skl_keyring_mac(ring, key_id, data, len, out) ? SECKILL_OK
                                                         : SECKILL_ENOTFOUND;
}

int seckill_equal(const char *a, const char *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}
