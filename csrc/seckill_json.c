/*
 * An order as JSON, written in one piece: on the path of every sale a table
 * and its strings would cost more than the reservation itself. Any thread.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "seckill.h"

#include <string.h>

typedef struct {
    char *at, *end;
    int fits;
} writer_t;

static void put(writer_t *w, const char *s, size_t len)
{
    if ((size_t)(w->end - w->at) < len) {
        w->fits = 0;
        return;
    }
    memcpy(w->at, s, len);
    w->at += len;
}

#define PUT(w, literal) put(w, literal, sizeof(literal) - 1)

static void put_count(writer_t *w, int64_t n, int min_digits)
{
    char digits[24];
    int at = sizeof(digits);

    skl_assert(n >= 0 && min_digits < (int)sizeof(digits));
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
        min_digits--;
    } while (n > 0 || min_digits > 0);
    put(w, digits + at, sizeof(digits) - (size_t)at);
}

static void put_escaped(writer_t *w, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

    if (c == '"' || c == '\\') {
        text[1] = (char)c;
        put(w, text, 2);
    } else {
        put(w, text, 6);
    }
}

/* Bytes from 0x80 pass as they are: ids are bytes, mostly UTF-8. */
static void put_string(writer_t *w, const char *s, size_t len)
{
    PUT(w, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
            put_escaped(w, c);
        } else {
            put(w, s + i, 1);
        }
    }
    PUT(w, "\"");
}

static void put_state(writer_t *w, uint32_t state)
{
    static const char *const names[] = {"",          "reserved", "confirmed",
                                        "cancelled", "expired",  "refunded"};

    put(w, names[state], strlen(names[state]));
}

/* Seconds, milliseconds rounded down: a hold never seems longer than it is. */
static void put_seconds(writer_t *w, int64_t ns)
{
    put_count(w, ns / SKL_NS_PER_SEC, 1);
    PUT(w, ".");
    put_count(w, ns % SKL_NS_PER_SEC / SKL_NS_PER_MS, 3);
}

static void put_token(writer_t *w, const seckill_reservation_t *r,
                      seckill_keyring_t *keys)
{
    seckill_token_t t = {.expires_at = r->expires_at,
                         .item_len = r->item_len,
                         .user_len = r->user_len,
                         .id_len = r->id_len};
    int len;

    memcpy(t.item, r->item, r->item_len);
    memcpy(t.user, r->user, r->user_len);
    memcpy(t.id, r->id, r->id_len);
    PUT(w, ",\"token\":\"");
    len = seckill_token_make(keys, &t, w->at, (size_t)(w->end - w->at));
    if (len < 0) {
        w->fits = 0;
        return;
    }
    w->at += len;
    PUT(w, "\"");
}

int seckill_order_json(const seckill_reservation_t *r, seckill_keyring_t *keys,
                       char *out, size_t out_size)
{
    writer_t w = {out, out + out_size, 1};

    if (r->state < SECKILL_STATE_RESERVED ||
        r->state > SECKILL_STATE_REFUNDED) {
        return SECKILL_EBADVALUE;
    }
    PUT(&w, "{\"id\":\"");
    put(&w, r->id, r->id_len);
    PUT(&w, "\",\"item\":");
    put_string(&w, r->item, r->item_len);
    PUT(&w, ",\"qty\":");
    put_count(&w, r->qty, 1);
    PUT(&w, ",\"state\":\"");
    put_state(&w, r->state);
    PUT(&w, "\",\"remaining\":");
    put_count(&w, r->remaining, 1);
    if (r->expires_at != 0) {
        PUT(&w, ",\"expires_at\":");
        put_seconds(&w, r->expires_at);
        if (keys != NULL) {
            put_token(&w, r, keys);
        }
    }
    PUT(&w, "}\n");
    return w.fits ? (int)(w.at - out) : SECKILL_ETOOLARGE;
}
