/* The error table: names are stable, unique and complete. */
#include "seckill.h"
#include "test/support/tap.h"

#include <limits.h>

static int count(void)
{
    int n = 0;

    while (seckill_errcode_at(n) != 0) {
        n++;
    }
    return n;
}

TEST(the_walk_gives_every_code_once)
{
    int expected = 0;

#define X(name, code, text, meaning)                                           \
    CHECK_INT(SECKILL_##name, seckill_errcode_at(expected));                   \
    CHECK_INT(code, SECKILL_##name);                                           \
    CHECK_STR(text, seckill_errname(SECKILL_##name));                          \
    CHECK_STR(meaning, seckill_errtext(SECKILL_##name));                       \
    expected++;
    SECKILL_ERR_MAP(X)
#undef X
    CHECK_INT(expected, count());
    CHECK_INT(0, seckill_errcode_at(-1));
    CHECK_INT(0, seckill_errcode_at(expected));
    CHECK_INT(0, seckill_errcode_at(INT_MAX));
    CHECK_INT(0, seckill_errcode_at(INT_MIN));
}

TEST(names_are_unique_words)
{
    int n = count();

    for (int i = 0; i < n; i++) {
        const char *name = seckill_errname(seckill_errcode_at(i));

        CHECK(strlen(name) > 0);
        CHECK(strspn(name, "abcdefghijklmnopqrstuvwxyz_") == strlen(name));
        CHECK(strlen(seckill_errtext(seckill_errcode_at(i))) > 0);
        for (int k = 0; k < i; k++) {
            CHECK(seckill_errcode_at(i) != seckill_errcode_at(k));
            CHECK(strcmp(name, seckill_errname(seckill_errcode_at(k))) != 0);
        }
    }
}

TEST(success_and_foreign_codes_have_a_name_too)
{
    CHECK_STR("ok", seckill_errname(SECKILL_OK));
    CHECK_STR("unknown", seckill_errname(1));
    CHECK_STR("unknown", seckill_errname(-1));
    CHECK_STR("unknown", seckill_errname(INT_MIN));
    CHECK_STR("not a code of this library", seckill_errtext(-2000));
}

TEST(library_says_what_it_is)
{
    CHECK_INT(SECKILL_ABI, seckill_abi());
    CHECK_STR(SECKILL_VERSION, seckill_version());
    CHECK_INT(sizeof(seckill_options_t),
              seckill_sizeof(SECKILL_SIZEOF_OPTIONS));
    CHECK_INT(sizeof(seckill_item_t), seckill_sizeof(SECKILL_SIZEOF_ITEM));
    CHECK_INT(sizeof(seckill_reservation_t),
              seckill_sizeof(SECKILL_SIZEOF_RESERVATION));
    CHECK_INT(sizeof(seckill_limit_t), seckill_sizeof(SECKILL_SIZEOF_LIMIT));
    CHECK_INT(sizeof(seckill_ticket_t), seckill_sizeof(SECKILL_SIZEOF_TICKET));
    CHECK_INT(sizeof(seckill_list_options_t),
              seckill_sizeof(SECKILL_SIZEOF_LIST_OPTIONS));
    CHECK_INT(sizeof(seckill_list_stats_t),
              seckill_sizeof(SECKILL_SIZEOF_LIST_STATS));
    CHECK_INT(sizeof(seckill_event_t), seckill_sizeof(SECKILL_SIZEOF_EVENT));
    CHECK_INT(sizeof(seckill_token_t), seckill_sizeof(SECKILL_SIZEOF_TOKEN));
    CHECK_INT(0, seckill_sizeof(-1));
    CHECK_INT(0, seckill_sizeof(1000));
}

TAP_MAIN()
