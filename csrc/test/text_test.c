/* The writer of the Prometheus text format: escaping and bounded output. */
#include "metrics/text.h"
#include "test/support/tap.h"

static char buffer[4096];

static const char *label(const char *value, size_t len)
{
    skl_text_t t = {.out = buffer, .size = sizeof(buffer)};

    buffer[0] = '\0';
    skl_text_label(&t, value, len);
    CHECK_INT(strlen(buffer), t.used);
    return buffer;
}

#define LABEL(text) label(text, sizeof(text) - 1)

TEST(plain_text_stays)
{
    CHECK_STR("", LABEL(""));
    CHECK_STR("shoe-42 {a=b}, 'c'", LABEL("shoe-42 {a=b}, 'c'"));
    CHECK_STR("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
              LABEL("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"));
}

TEST(quote_backslash_and_newline_are_escaped)
{
    CHECK_STR("a\\\"b", LABEL("a\"b"));
    CHECK_STR("a\\\\b", LABEL("a\\b"));
    CHECK_STR("a\\nb", LABEL("a\nb"));
}

TEST(control_bytes_become_hex)
{
    CHECK_STR("\\\\x00", LABEL("\0"));
    CHECK_STR("a\\\\x01\\\\x1f\\\\x7f", LABEL("a\x01\x1f\x7f"));
    CHECK_STR("\\\\x0d\\n", LABEL("\r\n"));
}

TEST(bytes_that_are_not_utf8_become_hex)
{
    CHECK_STR("\\\\xff", LABEL("\xff"));
    CHECK_STR("\\\\x80a", LABEL("\x80"
                                "a"));
    CHECK_STR("\\\\xc0\\\\xaf", LABEL("\xc0\xaf")); /* overlong */
    CHECK_STR("\\\\xe0\\\\x80\\\\xaf", LABEL("\xe0\x80\xaf"));
    CHECK_STR("\\\\xed\\\\xa0\\\\x80", LABEL("\xed\xa0\x80")); /* surrogate */
    CHECK_STR("\\\\xf4\\\\x90\\\\x80\\\\x80", LABEL("\xf4\x90\x80\x80"));
    CHECK_STR("\\\\xf5\\\\x80\\\\x80\\\\x80", LABEL("\xf5\x80\x80\x80"));
    CHECK_STR("\\\\xc3", LABEL("\xc3")); /* cut off at the end */
    CHECK_STR("\\\\xe2\\\\x82", LABEL("\xe2\x82"));
    CHECK_STR("\\\\xf0\\\\x9f\\\\x98", LABEL("\xf0\x9f\x98"));
    CHECK_STR("\\\\xc3\\\"", LABEL("\xc3\"")); /* the quote is not swallowed */
}

/* A byte as hex and the same hex given as text must differ. */
TEST(two_values_never_look_the_same)
{
    char byte[64];

    (void)snprintf(byte, sizeof(byte), "%s", LABEL("\x01"));
    CHECK(strcmp(byte, LABEL("\\x01")) != 0);
    (void)snprintf(byte, sizeof(byte), "%s", LABEL("\\"));
    CHECK(strcmp(byte, LABEL("\\x5c")) != 0);
    (void)snprintf(byte, sizeof(byte), "%s", LABEL("\n"));
    CHECK(strcmp(byte, LABEL("\\n")) != 0);
    (void)snprintf(byte, sizeof(byte), "%s", LABEL("\\x01"));
    CHECK(strcmp(byte, LABEL("\\x5cx01")) != 0);
}

/* All strings of up to 4 characters of an alphabet of nasty ones. */
TEST(labels_of_short_strings_are_all_different)
{
    static const char nasty[] = "\\x5c\n";
    enum { ALL = 6 * 6 * 6 * 6 };
    static char seen[ALL][40];

    for (int n = 0; n < ALL; n++) {
        char value[8];
        size_t len = 0;

        for (int rest = n; rest > 0; rest /= 6) {
            value[len++] = nasty[rest % 6 == 0 ? 5 : rest % 6 - 1];
        }
        (void)snprintf(seen[n], sizeof(seen[n]), "%s", label(value, len));
    }
    for (int n = 0; n < ALL; n++) {
        for (int k = 0; k < n; k++) {
            CHECK(strcmp(seen[n], seen[k]) != 0);
        }
    }
}

static void write_sample(skl_text_t *t)
{
    skl_text_family(t, "seckill_x_total", "counter", "What it is");
    skl_text_printf(t, "seckill_x_total{item=\"");
    skl_text_label(t, "a\"b\xff", 4);
    skl_text_printf(t, "\"} %d\n", 12);
}

static const char sample[] = "# HELP seckill_x_total What it is.\n"
                             "# TYPE seckill_x_total counter\n"
                             "seckill_x_total{item=\"a\\\"b\\\\xff\"} 12\n";

TEST(a_family_and_a_value)
{
    skl_text_t t = {.out = buffer, .size = sizeof(buffer)};

    write_sample(&t);
    CHECK_STR(sample, buffer);
    CHECK_INT(sizeof(sample) - 1, t.used);
}

TEST(a_buffer_of_any_size_is_never_overrun_and_the_need_is_told)
{
    for (size_t size = 0; size <= sizeof(sample) + 1; size++) {
        char out[sizeof(sample) + 8];
        skl_text_t t = {.out = out, .size = size};

        memset(out, '#', sizeof(out));
        write_sample(&t);
        CHECK_INT(sizeof(sample) - 1, t.used);
        for (size_t i = size; i < sizeof(out); i++) {
            CHECK(out[i] == '#');
        }
        if (size > 1) {
            size_t fits = size > sizeof(sample) ? sizeof(sample) : size;

            CHECK_INT(fits - 1, strlen(out));
            CHECK_MEM(sample, out, fits - 1);
        }
    }
}

TEST(without_a_buffer_only_the_need_is_told)
{
    skl_text_t t = {.out = NULL, .size = 0};

    write_sample(&t);
    CHECK_INT(sizeof(sample) - 1, t.used);
}

TAP_MAIN()
