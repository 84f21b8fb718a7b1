/* stats and metrics: everything counted is shown, in a text that Prometheus
 * takes whatever the item names are. */
#include "seckill.h"
#include "seckill_internal.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <ctype.h>

static char text[1 << 18];
/* Handles live as long as the process, also after destroy. */
static seckill_t *kept[64];
static int kept_count;

static seckill_t *open_it(void)
{
    seckill_options_t o = {.struct_size = sizeof(o),
                           .name = "metrics",
                           .shm_dir = scratch_dir(),
                           .items = 16,
                           .reservations = 64,
                           .users = 64,
                           .requests = 64,
                           .limit_keys = 64,
                           .limiters = 4,
                           .lists = 2,
                           .list_overlay = 64,
                           .log_units = 256};
    seckill_t *sk = NULL;

    CHECK_INT(SECKILL_OK, seckill_open(&o, &sk, text, sizeof(text)));
    kept[kept_count++] = sk;
    return sk;
}

static void done(seckill_t *sk)
{
    seckill_close(sk);
    CHECK_INT(SECKILL_OK, seckill_destroy("metrics", scratch_dir()));
}

static void put(seckill_t *sk, const char *name, size_t len)
{
    seckill_item_t i = {.struct_size = sizeof(i), .total = 10, .version = 1};

    i.item_len = (uint32_t)len;
    memcpy(i.item, name, len);
    CHECK_INT(SECKILL_OK, seckill_put(sk, &i));
}

static const char *metrics(seckill_t *sk)
{
    size_t n = seckill_metrics(sk, text, sizeof(text));

    CHECK(n < sizeof(text));
    CHECK_INT(n, strlen(text));
    return text;
}

static int shows(seckill_t *sk, const char *line)
{
    const char *at = strstr(metrics(sk), line);

    if (at == NULL) {
        printf("# not there: %s", line);
    }
    return at != NULL && (at == text || at[-1] == '\n');
}

static uint64_t counter(seckill_t *sk, const char *want)
{
    const char *name;
    uint64_t value;

    for (int i = 0; seckill_counter_at(sk, i, &name, &value) == 0; i++) {
        if (strcmp(name, want) == 0) {
            return value;
        }
    }
    printf("# no counter %s\n", want);
    return UINT64_MAX;
}

static int reserve(seckill_t *sk, const char *request, int64_t qty)
{
    seckill_reservation_t r;

    return seckill_reserve(sk, "shoe", 4, "user", 4, qty, request,
                           strlen(request), &r);
}

TEST(answers_are_counted_by_operation_and_code)
{
    seckill_t *sk = open_it();

    put(sk, "shoe", 4);
    CHECK_INT(SECKILL_OK, reserve(sk, "r1", 3));
    CHECK_INT(SECKILL_OK, reserve(sk, "r1", 3));
    CHECK_INT(SECKILL_ECONFLICT, reserve(sk, "r1", 4));
    CHECK_INT(SECKILL_ESOLDOUT, reserve(sk, "r2", 8));
    CHECK_INT(SECKILL_EBADQTY, reserve(sk, "r3", 0));
    CHECK_INT(1, counter(sk, "put.ok"));
    CHECK_INT(2, counter(sk, "reserve.ok"));
    CHECK_INT(1, counter(sk, "reserve.conflict"));
    CHECK_INT(1, counter(sk, "reserve.sold_out"));
    CHECK_INT(1, counter(sk, "reserve.bad_qty"));
    CHECK_INT(0, counter(sk, "reserve.full"));
    CHECK_INT(1, counter(sk, "events.replays"));
    CHECK(shows(sk, "seckill_results_total{op=\"reserve\",code=\"ok\"} 2\n"));
    CHECK(shows(sk,
                "seckill_results_total{op=\"reserve\",code=\"sold_out\"} 1\n"));
    CHECK(shows(sk, "seckill_replays_total 1\n"));
    CHECK(shows(sk, "seckill_stock_units{item=\"shoe\",state=\"sold\"} 3\n"));
    CHECK(shows(sk,
                "seckill_stock_units{item=\"shoe\",state=\"available\"} 7\n"));
    done(sk);
}

TEST(the_walk_gives_each_counter_once_and_ends)
{
    seckill_t *sk = open_it();
    const char *name = NULL;
    uint64_t value;
    int n = 0, codes = 1;

    while (seckill_errcode_at(codes - 1) != 0) {
        codes++;
    }
    while (seckill_counter_at(sk, n, &name, &value) == SECKILL_OK) {
        CHECK(strchr(name, '.') != NULL);
        n++;
    }
    CHECK_INT(SKL_OP_COUNT * codes + SKL_EV_COUNT, n);
    CHECK_INT(SECKILL_ENOTFOUND, seckill_counter_at(sk, n, &name, &value));
    CHECK_INT(SECKILL_ENOTFOUND, seckill_counter_at(sk, -1, &name, &value));
    CHECK_INT(SECKILL_ENOTFOUND,
              seckill_counter_at(sk, INT32_MAX, &name, &value));
    done(sk);
}

TEST(a_buffer_of_any_size_is_never_overrun)
{
    seckill_t *sk = open_it();
    static char out[sizeof(text)];
    size_t need;

    put(sk, "shoe", 4);
    need = seckill_metrics(sk, NULL, 0);
    CHECK(need > 500);
    for (size_t size = 0; size <= need + 2; size += 61) {
        memset(out, '#', need + 8);
        CHECK_INT(need, seckill_metrics(sk, out, size));
        CHECK(out[size] == '#');
        CHECK(size == 0 || strlen(out) == (size > need ? need : size - 1));
    }
    done(sk);
}

/* Lines are comments, or name{label="..."} value; HELP and TYPE come first. */
static void check_line(const char *line, size_t len)
{
    const char *space = memchr(line, ' ', len);
    const char *brace = memchr(line, '{', len);

    REQUIRE(len > 0 && space != NULL);
    if (line[0] == '#') {
        CHECK(strncmp(line, "# HELP seckill_", 15) == 0 ||
              strncmp(line, "# TYPE seckill_", 15) == 0);
        return;
    }
    CHECK(strncmp(line, "seckill_", 8) == 0);
    if (brace == NULL) {
        CHECK(isdigit((unsigned char)space[1]) || space[1] == '-');
    }
}

TEST(each_line_is_a_comment_or_a_sample)
{
    seckill_t *sk = open_it();
    const char *at = metrics(sk);

    while (*at != '\0') {
        const char *end = strchr(at, '\n');

        REQUIRE(end != NULL);
        check_line(at, (size_t)(end - at));
        at = end + 1;
    }
    done(sk);
}

static int has_promtool(void)
{
    int found = system("command -v promtool >/dev/null 2>&1") == 0;

    if (!found) {
        printf("# no promtool: the text was only checked line by line\n");
    }
    return found;
}

TEST(promtool_accepts_the_text_with_nasty_item_names)
{
    seckill_t *sk = open_it();
    char command[400];
    FILE *f;

    put(sk, "shoe", 4);
    put(sk, "a\"b\\c\nd{}", 9);
    put(sk, "\0\x01\x7f", 3);
    put(sk, "\\x01", 4);
    put(sk, "\x01", 1);
    put(sk, "\xff\xc3", 2);
    put(sk, "\xc3\xa9", 2);
    CHECK_INT(SECKILL_OK, reserve(sk, "r1", 3));
    if (has_promtool()) {
        f = fopen(scratch_path("metrics.txt"), "w");
        REQUIRE(f != NULL);
        (void)fputs(metrics(sk), f);
        (void)fclose(f);
        (void)snprintf(command, sizeof(command),
                       "promtool check metrics <%s 2>&1 | sed 's/^/# /'; "
                       "promtool check metrics <%s >/dev/null 2>&1",
                       scratch_path("metrics.txt"),
                       scratch_path("metrics.txt"));
        CHECK_INT(0, system(command));
        (void)unlink(scratch_path("metrics.txt"));
    }
    done(sk);
}

TEST(table_use_and_capacity_are_gauges)
{
    seckill_t *sk = open_it();

    put(sk, "shoe", 4);
    CHECK_INT(SECKILL_OK, reserve(sk, "r1", 1));
    CHECK(shows(sk, "seckill_table_rows{table=\"items\",kind=\"used\"} 1\n"));
    CHECK(shows(sk,
                "seckill_table_rows{table=\"items\",kind=\"capacity\"} 16\n"));
    CHECK(shows(sk, "seckill_build_info{version=\"" SECKILL_VERSION "\"} 1\n"));
    CHECK(shows(sk, "seckill_log_lsn 2\n"));
    done(sk);
}

TAP_MAIN()
