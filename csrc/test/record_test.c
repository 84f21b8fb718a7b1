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
