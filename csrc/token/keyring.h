/*
 * The keys of the tokens, pre-keyed for HMAC-SHA256; see keyring.c.
 */
#ifndef SKL_TOKEN_KEYRING_H
#define SKL_TOKEN_KEYRING_H

#include <stddef.h>
#include <stdint.h>

#include "seckill.h"

#define SKL_MAC_SIZE 32

/** Id of the signing key, -1 for an empty ring. */
int skl_keyring_signer(const seckill_keyring_t *ring);

/** MAC of `len` bytes under key `key_id`; 0 when the ring has no such key. */
int skl_keyring_mac(const seckill_keyring_t *ring, int key_id, const void *data,
                    size_t len, uint8_t mac[SKL_MAC_SIZE]);

#endif
