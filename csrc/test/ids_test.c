/*
 * Ids: what the two timed formats accept and which time they read from them,
 * and that a reservation id has one text only. Pure functions, one thread.
 */
#include "stock/ids.h"

#include "seckill.h"
#include "test/support/tap.h"

#define OK_TIME(ms) ((ms)*1000000LL)

typedef struct {
    const char *id;
    int64_t ms; /* -1: refused */
} timed_t;

static void check_format(uint32_t format, const timed_t *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int64_t time = -1;
        int rc =
            skl_request_time(format, cases[i].id, strlen(cases[i].id), &time);
        int good = cases[i].ms < 0 ? CHECK_INT(SECKILL_EBADREQUEST, rc)
                                   : CHECK_INT(SECKILL_OK, rc) &&
                                         CHECK_INT(OK_TIME(cases[i].ms), time);

        if (!good) {
            printf("#   id \"%s\"\n", cases[i].id);
        }
    }
}

TEST(uuid_version_7)
{
    static const timed_t cases[] = {
        /* The example of RFC 9562, A.6. */
        {"017f22e2-79b0-7cc3-98c4-dc0c0c07398f", 0x017f22e279b0},
        {"017F22E2-79B0-7CC3-98C4-DC0C0C07398F", 0x017f22e279b0},
        {"00000000-0000-7000-8000-000000000000", 0},
        {"00000000-0001-7000-bfff-ffffffffffff", 1},
        {"07ffffff-ffff-7fff-bfff-ffffffffffff", 0x7ffffffffff},
        {"08000000-0000-7000-8000-000000000000", -1}, /* after 2248 */
        {"ffffffff-ffff-7fff-bfff-ffffffffffff", -1},
        {"017f22e2-79b0-4cc3-98c4-dc0c0c07398f", -1}, /* version 4 */
        {"017f22e2-79b0-8cc3-98c4-dc0c0c07398f", -1},
        {"017f22e2-79b0-7cc3-78c4-dc0c0c07398f", -1}, /* variants */
        {"017f22e2-79b0-7cc3-c8c4-dc0c0c07398f", -1},
        {"017f22e2-79b0-7cc3-g8c4-dc0c0c07398f", -1},
        {"017f22e2-79b0-7cc3--8c4-dc0c0c07398f", -1},
        {"017f22e279b07cc398c4dc0c0c07398f", -1}, /* without dashes */
        {"{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}", -1},
        {"017f22e2-79b0-7cc3-98c4-dc0c0c07398", -1},
        {"017f22e2-79b0-7cc3-98c4-dc0c0c07398f0", -1},
        {"017f22e2-79b0-7cc3-98c4-dc0c0c07398 ", -1},
        {"017f22e2-79b0-7cc3-98c4-dc0c0c0739g8", -1},
        {"017f22e2_79b0_7cc3_98c4_dc0c0c07398f", -1},
        {"017f22e-279b0-7cc3-98c4-dc0c0c07398f", -1},
        {"+17f22e2-79b0-7cc3-98c4-dc0c0c07398f", -1},
        {"0x7f22e2-79b0-7cc3-98c4-dc0c0c07398f", -1},
        {"r1", -1}};

    check_format(SECKILL_IDS_UUIDV7, cases, sizeof(cases) / sizeof(cases[0]));
}

TEST(ulid)
{
    static const timed_t cases[] = {
        /* The example of the ULID specification: 2016-07-30. */
        {"01ARYZ6S41TSV4RRFFQ69G5FAV", 1469918176385},
        {"01aryz6s41tsv4rrffq69g5fav", 1469918176385},
        {"00000000000000000000000000", 0},
        {"0000000001ZZZZZZZZZZZZZZZZ", 1},
        {"07ZZZZZZZZZZZZZZZZZZZZZZZZ", 0x7ffffffffff},
        {"0800000000ZZZZZZZZZZZZZZZZ", -1}, /* after 2248 */
        {"7ZZZZZZZZZZZZZZZZZZZZZZZZZ", -1},
        {"80000000000000000000000000", -1},
        {"01ARYZ6S41TSV4RRFFQ69G5FA", -1},
        {"01ARYZ6S41TSV4RRFFQ69G5FAVV", -1},
        {"01ARYZ6S41TSV4RRFFQ69G5FAI", -1}, /* not in the alphabet */
        {"01ARYZ6S41TSV4RRFFQ69G5FAL", -1},
        {"01ARYZ6S41TSV4RRFFQ69G5FAO", -1},
        {"01ARYZ6S41TSV4RRFFQ69G5FAU", -1},
        {"01ARYZ6S41TSV4RRFFQ69G5FAu", -1},
        {"01ARYZ6S41TSV4RRFFQ69G5FA-", -1},
        {"01ARYZ6S41TSV4RRFFQ69G5FA ", -1},
        {"\xb0"
         "1ARYZ6S41TSV4RRFFQ69G5FAV",
         -1}};

    check_format(SECKILL_IDS_ULID, cases, sizeof(cases) / sizeof(cases[0]));
}

TEST(a_zero_byte_ends_no_id)
{
    int64_t time;

    CHECK_INT(SECKILL_EBADREQUEST,
              skl_request_time(SECKILL_IDS_ULID, "01ARYZ6S41TSV4RRFFQ69G5FA\0",
                               26, &time));
    CHECK_INT(SECKILL_OK,
              skl_request_time(SECKILL_IDS_OPAQUE, "a\0b", 3, &time));
    CHECK_INT(INT64_MAX, time);
}

TEST(opaque_ids_are_1_to_64_bytes)
{
    char bytes[65];
    int64_t time;

    memset(bytes, 0xff, sizeof(bytes));
    CHECK_INT(SECKILL_EBADREQUEST,
              skl_request_time(SECKILL_IDS_OPAQUE, NULL, 1, &time));
    CHECK_INT(SECKILL_EBADREQUEST,
              skl_request_time(SECKILL_IDS_OPAQUE, bytes, 0, &time));
    CHECK_INT(SECKILL_OK,
              skl_request_time(SECKILL_IDS_OPAQUE, bytes, 1, &time));
    CHECK_INT(SECKILL_OK,
              skl_request_time(SECKILL_IDS_OPAQUE, bytes, 64, &time));
    CHECK_INT(SECKILL_EBADREQUEST,
              skl_request_time(SECKILL_IDS_OPAQUE, bytes, 65, &time));
}

TEST(a_reservation_id_is_read_back)
{
    static const struct {
        uint32_t incarnation, slot;
        uint64_t lsn;
        const char *text;
    } cases[] = {{0, 0, 0, "0-0-0"},
                 {1, 2, 3, "1-2-3"},
                 {0x10, 0xabc, 0x100, "10-abc-100"},
                 {UINT32_MAX, UINT32_MAX, UINT64_MAX,
                  "ffffffff-ffffffff-ffffffffffffffff"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[SECKILL_ID_MAX + 1];
        uint32_t incarnation = 7, slot = 7;
        uint64_t lsn = 7;
        uint8_t len = skl_row_id_format(text, cases[i].incarnation,
                                        cases[i].slot, cases[i].lsn);

        text[len] = '\0';
        CHECK_STR(cases[i].text, text);
        CHECK_INT(1, skl_row_id_parse(text, len, &incarnation, &slot, &lsn));
        CHECK_INT(cases[i].incarnation, incarnation);
        CHECK_INT(cases[i].slot, slot);
        CHECK(cases[i].lsn == lsn);
    }
}

TEST(other_bytes_are_no_reservation_id)
{
    static const char *const cases[] = {
        "",
        "-",
        "--",
        "1",
        "1-2",
        "1-2-",
        "-2-3",
        "1--3",
        "1-2-3-",
        "1-2-3-4",
        " 1-2-3",
        "1-2-3 ",
        "1-2-3\n",
        "01-2-3",
        "1-02-3",
        "1-2-03",
        "00-0-0",
        "1-2-0x3",
        "A-2-3",
        "1-B-3",
        "1-2-C",
        "g-2-3",
        "1-2-g",
        "+1-2-3",
        "1_2_3",
        "1-2- 3",
        "1.0-2-3",
        "1-2-3\x80",
        "100000000-2-3",                       /* nine digits */
        "1-100000000-3",                       /* nine digits */
        "1-2-10000000000000000",               /* seventeen digits */
        "ffffffff-ffffffff-fffffffffffffffff", /* 35 bytes */
        "ffffffffffffffffffffffffffffffffffff"};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t incarnation, slot;
        uint64_t lsn;

        if (!CHECK_INT(0, skl_row_id_parse(cases[i], strlen(cases[i]),
                                           &incarnation, &slot, &lsn))) {
            printf("#   id \"%s\"\n", cases[i]);
        }
    }
}

TEST(a_missing_reservation_id_is_none)
{
    uint32_t incarnation, slot;
    uint64_t lsn;

    CHECK_INT(0, skl_row_id_parse(NULL, 0, &incarnation, &slot, &lsn));
    CHECK_INT(0, skl_row_id_parse(NULL, 5, &incarnation, &slot, &lsn));
    CHECK_INT(0, skl_row_id_parse("1-2-\0", 5, &incarnation, &slot, &lsn));
    CHECK_INT(0, skl_row_id_parse("1-2-3", 4, &incarnation, &slot, &lsn));
}

TAP_MAIN()
