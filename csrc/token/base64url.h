/*
 * base64url (RFC 4648 section 5) without padding, for tokens. Decoding accepts
 * exactly what encoding produces: one text for each value, so that a token
 * cannot be altered and still be the same token.
 * Threads: any; no state.
 */
#ifndef SKL_TOKEN_BASE64URL_H
#define SKL_TOKEN_BASE64URL_H

#include <stddef.h>
#include <stdint.h>

/** Characters of `len` encoded bytes. */
#define SKL_BASE64URL_LEN(len) (((len)*4 + 2) / 3)

/** Write SKL_BASE64URL_LEN(len) characters, no NUL; returns their number. */
size_t skl_base64url_encode(const uint8_t *in, size_t len, char *out);

/** Decode into at most `max` bytes. The number of bytes, or -1 for a foreign
 *  character, a length that cannot be, bits that are not zero at the end, or
 *  more than `max` bytes. */
ptrdiff_t skl_base64url_decode(const char *in, size_t len, uint8_t *out,
                               size_t max);

#endif
