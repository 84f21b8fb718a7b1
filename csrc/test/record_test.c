/* The log record: sizes, strings, and a checksum that misses no bit. */
#include "base/crc32c.h"
#include "stock/record.h"
#include "test/support/tap.h"

#include <stddef.h>

static void make(skl_record_t *r, uint32_t user, uint32_t request,
                 uint32_t item)
{
    char text[64];

    memset(r, 0, sizeof(*r));
    memset(text, 'x', sizeof(text));
    r->type = SKL_REC_RESERVE;
    r->parts = SKL_PART_REQUEST | SKL_PART_USER | SKL_PART_ITEM;
    r->lsn = 77;
    r->time = 123456789;
    r->available = 10;
    r->order.qty = 2;
    r->order.row_lsn = 77;
    skl_rec_strings(r, text, user, text, request, text, item);
    r->crc = skl_rec_crc(r, skl_rec_crc_body(r));
}

TEST(the_format_is_fixed)
{
    CHECK_INT(4, offsetof(skl_record_t, bytes));
    CHECK_INT(6, offsetof(skl_record_t, type));
    CHECK_INT(7, offsetof(skl_record_t, parts));
    CHECK_INT(8, offsetof(skl_record_t, lsn));
    CHECK_INT(16, offsetof(skl_record_t, time));
    CHECK_INT(24, offsetof(skl_record_t, item));
    CHECK_INT(28, offsetof(skl_record_t, item_live));
    CHECK_INT(32, offsetof(skl_record_t, item_users));
    CHECK_INT(36, offsetof(skl_record_t, user_len));
    CHECK_INT(39, offsetof(skl_record_t, flags));
    CHECK_INT(40, offsetof(skl_record_t, available));
    CHECK_INT(56, offsetof(skl_record_t, sold));
    CHECK_INT(64, offsetof(skl_record_t, order));
    CHECK_INT(128, offsetof(skl_record_t, strings));
}

TEST(the_format_of_orders_is_fixed)
{
    CHECK_INT(2048, sizeof(skl_record_t));
    CHECK_INT(80, sizeof(skl_leg_t));
    CHECK_INT(128, offsetof(skl_record_t, legs));
    CHECK_INT(64, offsetof(skl_record_t, lines.row));
    CHECK_INT(72, offsetof(skl_record_t, lines.count));
    CHECK_INT(96, offsetof(skl_record_t, lines.hold_ns));
    CHECK_INT(24, offsetof(skl_leg_t, flags));
    CHECK_INT(26, offsetof(skl_leg_t, item_len));
    CHECK_INT(32, offsetof(skl_leg_t, available));
    CHECK_INT(56, offsetof(skl_leg_t, user_count));
    CHECK_INT(64, offsetof(skl_leg_t, qty));
    /* what both bodies have is at one place */
#define SAME_PLACE(field)                                                      \
    CHECK_INT(offsetof(skl_record_t, order.field),                             \
              offsetof(skl_record_t, lines.field))
    SAME_PLACE(row);
    SAME_PLACE(request);
    SAME_PLACE(request_shard);
    SAME_PLACE(fifo_pos);
    SAME_PLACE(state);
    SAME_PLACE(row_lsn);
    SAME_PLACE(deadline);
    SAME_PLACE(arg);
#undef SAME_PLACE
}

static void seal(skl_record_t *r)
{
    r->crc = skl_rec_crc(r, skl_rec_crc_body(r));
}

/* An order of n lines; item names of i + 1 letters. */
static void make_order(skl_record_t *r, uint32_t n, uint32_t user,
                       uint32_t request, uint32_t first_name)
{
    char names[SKL_LINES_MAX][64], text[64];
    uint32_t lens[SKL_LINES_MAX];

    memset(r, 0x5a, sizeof(*r));
    memset(r, 0, SKL_UNIT + n * sizeof(skl_leg_t));
    memset(text, 'x', sizeof(text));
    memset(names, 'n', sizeof(names));
    r->type = SKL_REC_ORDER;
    r->parts = SKL_PART_REQUEST | SKL_PART_USER | SKL_PART_ITEM;
    r->lsn = 78;
    r->time = 123456789;
    r->lines.count = n;
    for (uint32_t i = 0; i < n; i++) {
        lens[i] = i == 0 ? first_name : i + 1;
        names[i][0] = (char)('a' + i);
        r->legs[i].flags = i % 2 == 0 ? SKL_FLAG_USER : 0;
    }
    skl_rec_order_strings(r, text, user, text, request,
                          (const char(*)[64])names, lens);
    seal(r);
}

TEST(an_order_has_a_leg_and_a_name_for_each_line)
{
    for (uint32_t n = 1; n <= SKL_LINES_MAX; n++) {
        skl_record_t r;
        uint32_t names = 7;

        make_order(&r, n, 5, 6, 7);
        for (uint32_t i = 1; i < n; i++) {
            names += i + 1;
        }
        CHECK_INT(128 + 80 * n + 5 + 6 + names, r.bytes);
        CHECK_INT(7, r.item_len);
        CHECK_INT(n, skl_rec_legs(&r));
        CHECK_MEM("xxxxx", skl_rec_user(&r), 5);
        CHECK_MEM("xxxxxx", skl_rec_request(&r), 6);
        CHECK_MEM("annnnnn", skl_rec_item(&r), 7);
        if (n > 1) {
            CHECK_MEM("bn", skl_rec_item(&r) + 7, 2);
        }
        CHECK(skl_rec_valid(&r, r.bytes));
        CHECK(skl_rec_valid(&r, SKL_RECORD_MAX));
        for (uint32_t max = 0; max < r.bytes; max++) {
            CHECK(!skl_rec_valid(&r, max));
        }
        for (uint32_t i = r.bytes; i % 8 != 0; i++) {
            CHECK_INT(0, ((unsigned char *)&r)[i]); /* copied in words */
        }
    }
}

TEST(the_largest_order_fits)
{
    skl_record_t r;
    char names[SKL_LINES_MAX][64];
    uint32_t lens[SKL_LINES_MAX];

    make_order(&r, SKL_LINES_MAX, 64, 64, 64);
    memset(names, 'n', sizeof(names));
    for (int i = 0; i < SKL_LINES_MAX; i++) {
        lens[i] = 64;
    }
    skl_rec_order_strings(&r, names[0], 64, names[0], 64,
                          (const char(*)[64])names, lens);
    seal(&r);
    CHECK_INT(128 + 8 * 80 + 128 + 512, r.bytes);
    CHECK_INT(11, skl_rec_units(&r));
    CHECK(skl_rec_valid(&r, r.bytes));
}

TEST(parts_of_an_order_have_a_bit_for_each_leg)
{
    skl_record_t r;

    make_order(&r, 3, 1, 1, 1);
    CHECK_INT(SKL_PART_REQUEST | SKL_PART_USER_LEG(0) | SKL_PART_USER_LEG(2) |
                  SKL_PART_ITEM_LEG(0) | SKL_PART_ITEM_LEG(1) |
                  SKL_PART_ITEM_LEG(2),
              skl_rec_pending(&r));
    CHECK_INT(SKL_PART_USER_LEG(0) | SKL_PART_USER_LEG(2),
              skl_rec_leg_parts(&r, SKL_PART_USER));
    CHECK_INT(SKL_PART_ITEM_LEG(1),
              skl_rec_leg_parts(&r, SKL_PART_ITEM_LEG(1)));
    CHECK_INT(0, skl_rec_leg_parts(&r, SKL_PART_USER_LEG(1)));
    r.parts = SKL_PART_ITEM;
    CHECK_INT(0, skl_rec_leg_parts(&r, SKL_PART_REQUEST));
    make(&r, 1, 1, 1);
    CHECK_INT(r.parts, skl_rec_pending(&r));
}

TEST(a_right_checksum_does_not_excuse_wrong_legs)
{
    skl_record_t r;

    for (uint32_t count = 0; count < 300; count++) {
        make_order(&r, 3, 5, 6, 7);
        r.lines.count = count == 299 ? UINT32_MAX : count;
        seal(&r);
        CHECK_INT(count == 3, skl_rec_valid(&r, SKL_RECORD_MAX));
    }
    for (uint32_t len = 0; len < 256; len++) {
        make_order(&r, 3, 5, 6, 7);
        r.legs[1].item_len = (uint8_t)len;
        seal(&r);
        CHECK_INT(len == 2, skl_rec_valid(&r, SKL_RECORD_MAX));
        make_order(&r, 3, 5, 6, 7);
        r.item_len = (uint8_t)len;
        seal(&r);
        CHECK_INT(len == 7, skl_rec_valid(&r, SKL_RECORD_MAX));
        make_order(&r, 3, 5, 6, 7);
        r.user_len = (uint8_t)len;
        seal(&r);
        CHECK_INT(len == 5, skl_rec_valid(&r, SKL_RECORD_MAX));
    }
    for (uint32_t bytes = 128; bytes <= SKL_RECORD_MAX; bytes++) {
        make_order(&r, 3, 5, 6, 7);
        r.bytes = (uint16_t)bytes;
        seal(&r);
        CHECK_INT(bytes == 128 + 240 + 11 + 12,
                  skl_rec_valid(&r, SKL_RECORD_MAX));
    }
    make_order(&r, 3, 5, 6, 7);
    r.type = SKL_REC_RESERVE;
    seal(&r);
    CHECK(!skl_rec_valid(&r, SKL_RECORD_MAX));
}

TEST(strings_lie_one_after_the_other)
{
    skl_record_t r = {.type = SKL_REC_RESERVE};

    memset(r.strings, 0x5a, sizeof(r.strings));
    skl_rec_strings(&r, "u\0x", 3, "request", 7, "it", 2);
    CHECK_MEM("u\0x", skl_rec_user(&r), 3);
    CHECK_MEM("request", skl_rec_request(&r), 7);
    CHECK_MEM("it", skl_rec_item(&r), 2);
    CHECK_INT(128 + 12, r.bytes);
    CHECK_INT(3, r.user_len);
    CHECK_INT(7, r.request_len);
    CHECK_INT(2, r.item_len);
}

/* A record is copied in words: what lies behind the strings must be known. */
TEST(the_last_word_is_padded_with_zeros)
{
    for (uint32_t len = 0; len <= 64; len++) {
        skl_record_t r;
        char text[64];
        uint32_t end = (3 * len + 7) / 8 * 8;

        memset(&r, 0x5a, sizeof(r));
        memset(text, 'x', sizeof(text));
        skl_rec_strings(&r, text, len, text, len, text, len);
        for (uint32_t i = 0; i < end; i++) {
            CHECK_INT(i < 3 * len ? 'x' : 0, r.strings[i]);
        }
    }
}

TEST(units_hold_the_bytes_exactly)
{
    for (uint32_t len = 0; len <= 192; len++) {
        skl_record_t r;
        uint32_t rest = len > 128 ? len - 128 : 0;

        make(&r, len < 64 ? len : 64, len <= 64 ? 0 : len - rest - 64, rest);
        CHECK_INT(128 + len, r.bytes);
        CHECK_INT(1 + (len + 127) / 128, skl_rec_units(&r));
        CHECK(skl_rec_valid(&r, r.bytes));
        CHECK(skl_rec_valid(&r, SKL_RECORD_MAX));
        CHECK(!skl_rec_valid(&r, r.bytes - 1U));
    }
}

static void flip_every_bit(uint32_t user, uint32_t request, uint32_t item)
{
    skl_record_t r;
    unsigned char *p = (unsigned char *)&r;

    make(&r, user, request, item);
    for (uint32_t bit = 0; bit < 8U * r.bytes; bit++) {
        uint32_t bytes = r.bytes;

        p[bit / 8] ^= (unsigned char)(1U << (bit % 8));
        CHECK(!skl_rec_valid(&r, SKL_RECORD_MAX));
        p[bit / 8] ^= (unsigned char)(1U << (bit % 8));
        CHECK_INT(bytes, r.bytes);
    }
    CHECK(skl_rec_valid(&r, SKL_RECORD_MAX));
}

TEST(every_flipped_bit_of_an_order_shows)
{
    skl_record_t r;
    unsigned char *p = (unsigned char *)&r;

    make_order(&r, 8, 5, 36, 7);
    for (uint32_t bit = 0; bit < 8U * r.bytes; bit++) {
        p[bit / 8] ^= (unsigned char)(1U << (bit % 8));
        CHECK(!skl_rec_valid(&r, SKL_RECORD_MAX));
        p[bit / 8] ^= (unsigned char)(1U << (bit % 8));
    }
    CHECK(skl_rec_valid(&r, SKL_RECORD_MAX));
}

TEST(every_flipped_bit_of_every_byte_shows)
{
    flip_every_bit(0, 0, 0);
    flip_every_bit(1, 1, 1);
    flip_every_bit(5, 36, 7);
    flip_every_bit(64, 64, 64);
}

TEST(two_flipped_bits_show_too)
{
    skl_record_t r;
    unsigned char *p = (unsigned char *)&r;

    make(&r, 3, 4, 5);
    for (uint32_t a = 0; a < 8U * 140; a += 3) {
        for (uint32_t b = a + 1; b < 8U * 140; b += 37) {
            p[a / 8] ^= (unsigned char)(1U << (a % 8));
            p[b / 8] ^= (unsigned char)(1U << (b % 8));
            CHECK(!skl_rec_valid(&r, SKL_RECORD_MAX));
            p[a / 8] ^= (unsigned char)(1U << (a % 8));
            p[b / 8] ^= (unsigned char)(1U << (b % 8));
        }
    }
}

TEST(zeros_and_cut_records_are_not_records)
{
    skl_record_t r;

    memset(&r, 0, sizeof(r));
    CHECK(!skl_rec_valid(&r, SKL_RECORD_MAX));
    memset(&r, 0xff, sizeof(r));
    CHECK(!skl_rec_valid(&r, SKL_RECORD_MAX));
    make(&r, 64, 64, 64);
    for (uint32_t max = 0; max < r.bytes; max++) {
        CHECK(!skl_rec_valid(&r, max));
    }
}

/* The CRC covers the words in the order in which they become known. */
TEST(lsn_and_time_come_last_in_the_checksum)
{
    skl_record_t r;
    uint32_t body;

    make(&r, 5, 6, 7);
    body = skl_rec_crc_body(&r);
    for (int i = 1; i < 100; i++) {
        r.lsn += 3;
        r.time += 1000;
        CHECK(!skl_rec_valid(&r, SKL_RECORD_MAX));
        CHECK_INT(body, skl_rec_crc_body(&r));
        r.crc = skl_rec_crc(&r, body);
        CHECK(skl_rec_valid(&r, SKL_RECORD_MAX));
    }
}

TEST(a_right_checksum_does_not_excuse_a_wrong_shape)
{
    skl_record_t r;

    make(&r, 5, 6, 7);
    r.type = 0;
    r.crc = skl_rec_crc(&r, skl_rec_crc_body(&r));
    CHECK(!skl_rec_valid(&r, SKL_RECORD_MAX));
    r.type = SKL_REC_TYPES;
    r.crc = skl_rec_crc(&r, skl_rec_crc_body(&r));
    CHECK(!skl_rec_valid(&r, SKL_RECORD_MAX));
    make(&r, 5, 6, 7);
    r.user_len = 6;
    r.crc = skl_rec_crc(&r, skl_rec_crc_body(&r));
    CHECK(!skl_rec_valid(&r, SKL_RECORD_MAX));
    make(&r, 5, 6, 7);
    r.user_len = 255;
    r.request_len = 1;
    r.item_len = (uint8_t)(r.bytes - 128 - 255 - 1);
    r.crc = skl_rec_crc(&r, skl_rec_crc_body(&r));
    CHECK(!skl_rec_valid(&r, SKL_RECORD_MAX));
}

TEST(every_type_has_a_name)
{
    for (int a = 1; a < SKL_REC_TYPES; a++) {
        CHECK(strlen(skl_rec_type_name(a)) > 0);
        CHECK(strcmp("unknown", skl_rec_type_name(a)) != 0);
        for (int b = 1; b < a; b++) {
            CHECK(strcmp(skl_rec_type_name(a), skl_rec_type_name(b)) != 0);
        }
    }
    CHECK_STR("unknown", skl_rec_type_name(0));
    CHECK_STR("unknown", skl_rec_type_name(-1));
    CHECK_STR("unknown", skl_rec_type_name(SKL_REC_TYPES));
}

TAP_MAIN()
