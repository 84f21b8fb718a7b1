/* CRC-32C: the vectors of RFC 3720 B.4, and the CPU against the fallback. */
#include "base/crc32c.h"
#include "test/support/tap.h"

static void both(uint32_t want, const void *data, size_t len)
{
    CHECK_INT(want, skl_crc32c(0, data, len));
    CHECK_INT(want, skl_crc32c_soft(0, data, len));
}

TEST(vectors_of_rfc_3720)
{
    unsigned char data[32];
    /* An iSCSI READ (10) command. */
    const unsigned char pdu[48] = {
        0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
        0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};

    memset(data, 0, sizeof(data));
    both(0x8a9136aa, data, sizeof(data));
    memset(data, 0xff, sizeof(data));
    both(0x62a8ab43, data, sizeof(data));
    for (unsigned i = 0; i < 32; i++) {
        data[i] = (unsigned char)i;
    }
    both(0x46dd794e, data, sizeof(data));
    for (unsigned i = 0; i < 32; i++) {
        data[i] = (unsigned char)(31 - i);
    }
    both(0x113fdb5c, data, sizeof(data));
    both(0xd9963a56, pdu, sizeof(pdu));
    both(0xe3069283, "123456789", 9);
    both(0, "", 0);
}

static void fill(unsigned char *data, size_t size)
{
    uint32_t x = 12345;

    for (size_t i = 0; i < size; i++) {
        x = x * 1103515245U + 12345U;
        data[i] = (unsigned char)(x >> 16);
    }
}

TEST(cpu_and_fallback_agree_at_every_length_and_alignment)
{
    static unsigned char data[600];

    fill(data, sizeof(data));
    for (size_t at = 0; at < 17; at++) {
        for (size_t len = 0; len <= 560; len++) {
            CHECK_INT(skl_crc32c_soft(0, data + at, len),
                      skl_crc32c(0, data + at, len));
        }
    }
}

TEST(parts_give_the_whole_wherever_it_is_cut)
{
    unsigned char data[130];
    uint32_t whole;

    fill(data, sizeof(data));
    whole = skl_crc32c(0, data, sizeof(data));
    for (size_t cut = 0; cut <= sizeof(data); cut++) {
        uint32_t hard = skl_crc32c(0, data, cut);
        uint32_t soft = skl_crc32c_soft(0, data, cut);

        hard = skl_crc32c(hard, data + cut, sizeof(data) - cut);
        soft = skl_crc32c_soft(soft, data + cut, sizeof(data) - cut);
        CHECK_INT(whole, hard);
        CHECK_INT(whole, soft);
    }
}

TEST(every_flipped_bit_shows)
{
    unsigned char data[512];
    uint32_t crc;

    fill(data, sizeof(data));
    crc = skl_crc32c(0, data, sizeof(data));
    for (size_t bit = 0; bit < 8 * sizeof(data); bit++) {
        data[bit / 8] ^= (unsigned char)(1U << (bit % 8));
        CHECK(skl_crc32c(0, data, sizeof(data)) != crc);
        data[bit / 8] ^= (unsigned char)(1U << (bit % 8));
    }
}

TAP_MAIN()
