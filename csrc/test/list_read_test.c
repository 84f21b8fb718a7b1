/*
 * Reading a list file without an engine: the lines, the numbers, the verdict;
 * and which entries are about a value.
 */
#include "seckill.h"
#include "test/support/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEEN_MAX = 1000 };

typedef struct {
    uint32_t count, batches;
    seckill_list_line_t lines[SEEN_MAX];
    char values[SEEN_MAX][65];
    char reasons[SEEN_MAX][256];
} seen_t;

static seen_t seen;
static seckill_list_read_t sum;
static char path[64], err[300];

/* A name of its own for each process. */
static void choose_path(void)
{
    snprintf(path, sizeof(path), "/tmp/list_read_test.%d", (int)getpid());
}

static void see(void *ctx, const seckill_list_line_t *lines, uint32_t count,
                const seckill_list_read_t *so_far)
{
    seen_t *s = ctx;

    CHECK(count >= 1 && count <= SECKILL_LIST_LINES_MAX);
    CHECK(so_far->lines >= lines[count - 1].line);
    s->batches++;
    for (uint32_t i = 0; i < count && s->count < SEEN_MAX; i++) {
        const uint32_t n = s->count++;

        s->lines[n] = lines[i];
        memcpy(s->values[n], lines[i].value, lines[i].value_len);
        s->values[n][lines[i].value_len] = '\0';
        memcpy(s->reasons[n], lines[i].reason, lines[i].reason_len);
        s->reasons[n][lines[i].reason_len] = '\0';
    }
}

static void write_file(const char *text, size_t len)
{
    FILE *f;

    choose_path();
    f = fopen(path, "w");

    CHECK(f != NULL && fwrite(text, 1, len, f) == len);
    fclose(f);
}

static int read_with(const seckill_list_options_t *o)
{
    memset(&seen, 0, sizeof(seen));
    return seckill_list_read(path, o, see, &seen, &sum, err, sizeof(err));
}

static int read_text(uint32_t kind, const char *text)
{
    const seckill_list_options_t o = {.struct_size = sizeof(o), .kind = kind};

    write_file(text, strlen(text));
    return read_with(&o);
}

TEST(gives_the_lines)
{
    CHECK_INT(SECKILL_OK, read_text(SECKILL_LIST_ID,
                                    "# c\nmallory\n\ntrudy\t1.5\tstolen card\n"
                                    "!vip\n\t5\nx\tno\nlast"));
    CHECK_INT(6, seen.count);
    CHECK(strcmp(seen.values[0], "mallory") == 0 && seen.lines[0].line == 2 &&
          seen.lines[0].why == NULL && seen.lines[0].ttl_ns == 0);
    CHECK(strcmp(seen.values[1], "trudy") == 0 && seen.lines[1].line == 4 &&
          seen.lines[1].ttl_ns == 1500000000 &&
          strcmp(seen.reasons[1], "stolen card") == 0);
    CHECK(seen.lines[2].allow == 1 && strcmp(seen.values[2], "vip") == 0);
    CHECK(seen.lines[3].why != NULL && seen.lines[3].line == 6);
    CHECK(seen.lines[4].why != NULL && seen.lines[4].line == 7);
    CHECK(strcmp(seen.values[5], "last") == 0 && seen.lines[5].line == 8);
    CHECK_INT(8, sum.lines);
    CHECK_INT(4, sum.entries);
    CHECK_INT(1, sum.allows);
    CHECK_INT(1, sum.timed);
    CHECK_INT(1, sum.reasons);
    CHECK_INT(2, sum.bad_lines);
    CHECK(sum.index_bytes > 4096 && sum.networks == 0);
    CHECK_INT(64, (intmax_t)strlen(sum.digest));
    CHECK_INT(SECKILL_FORMAT_TEXT, sum.format);
    unlink(path);
}

/* Batches are full, and no line is lost where buffers meet. */
TEST(gives_all_lines_of_a_long_file)
{
    enum { LINES = 700, SIZE = LINES * 300 };
    const seckill_list_options_t o = {.struct_size = sizeof(o),
                                      .kind = SECKILL_LIST_ID};
    char *text = calloc(1, SIZE);
    size_t used = 0;

    for (int i = 0; i < LINES; i++) {
        used += (size_t)snprintf(text + used, SIZE - used,
                                 "user-%d\t\t%0250d\n", i, i);
    }
    write_file(text, used);
    free(text);
    CHECK_INT(SECKILL_OK, read_with(&o));
    CHECK_INT(LINES, seen.count);
    CHECK(seen.batches >= 3);
    for (int i = 0; i < LINES; i++) {
        char want[20];

        snprintf(want, sizeof(want), "user-%d", i);
        if (strcmp(want, seen.values[i]) != 0 ||
            strtoll(seen.reasons[i], NULL, 10) != i ||
            seen.lines[i].line != (uint64_t)i + 1) {
            CHECK(!"line differs");
        }
    }
    unlink(path);
}

TEST(refuses_what_a_load_refuses)
{
    seckill_list_options_t o = {.struct_size = sizeof(o),
                                .kind = SECKILL_LIST_ID};

    CHECK_INT(SECKILL_EBADFILE, read_text(SECKILL_LIST_ID, "a\nb\n#end 3\n"));
    CHECK(strstr(err, "#end says 3 lines") != NULL);
    CHECK_INT(SECKILL_OK, read_text(SECKILL_LIST_ID, "a\nb\n#end 2\n"));
    CHECK_INT(1, sum.has_trailer);
    CHECK_INT(SECKILL_EBADFILE, read_text(SECKILL_LIST_ID, "# nothing\n"));
    o.allow_empty = 1;
    CHECK_INT(SECKILL_OK, read_with(&o));
    write_file("a\n\tb\n", 5);
    o.max_bad_lines = UINT32_MAX;
    CHECK_INT(SECKILL_EBADFILE, read_with(&o));
    CHECK(strstr(err, "line 2: empty entry") != NULL);
    CHECK_INT(1, sum.entries);
    o.max_bad_lines = 1;
    CHECK_INT(SECKILL_OK, read_with(&o));
    o.max_entries = 1;
    write_file("a\nb\n", 4);
    CHECK_INT(SECKILL_ETOOLARGE, read_with(&o));
    o.max_bytes = 3;
    CHECK_INT(SECKILL_ETOOLARGE, read_with(&o));
    write_file("\x1f\x8b\x08", 3);
    CHECK_INT(SECKILL_EBADFILE, read_with(&o));
    unlink(path);
    CHECK_INT(SECKILL_EBADFILE, read_with(&o));
    CHECK(strstr(err, "No such file") != NULL);
    o.kind = 3;
    CHECK_INT(SECKILL_EBADOPTION, read_with(&o));
    o.kind = SECKILL_LIST_ID;
    o.struct_size = 1;
    CHECK_INT(SECKILL_EBADOPTION, read_with(&o));
    o.struct_size = sizeof(o);
    CHECK_INT(SECKILL_EBADOPTION,
              seckill_list_read("", &o, NULL, NULL, &sum, err, sizeof(err)));
}

static int covers(uint32_t i, const char *value)
{
    const seckill_list_line_t *line = &seen.lines[i];

    return seckill_list_line_covers(line, value, strlen(value));
}

TEST(knows_which_network_is_closest)
{
    CHECK_INT(SECKILL_OK,
              read_text(SECKILL_LIST_IP,
                        "10.0.0.0/8\n10.1.2.3-10.1.2.8\n"
                        "2001:DB8::/32\n2001:db8::/32\n10.0.0.1/8\n"));
    CHECK_INT(5, seen.count);
    CHECK(seen.lines[4].why != NULL);
    CHECK_INT(1 + 1 + 3 + 1, sum.networks);
    CHECK_INT(3, seen.lines[1].networks);
    CHECK_INT(9, covers(0, "10.255.0.1"));
    CHECK_INT(0, covers(0, "11.0.0.0"));
    CHECK_INT(0, covers(0, "::1"));
    CHECK_INT(9, covers(0, "::ffff:10.0.0.1"));
    CHECK_INT(33, covers(1, "10.1.2.3"));
    CHECK_INT(31, covers(1, "10.1.2.6"));
    CHECK_INT(33, covers(1, "10.1.2.8"));
    CHECK_INT(0, covers(1, "10.1.2.9"));
    CHECK_INT(33, covers(2, "[2001:db8::7]"));
    CHECK(seen.lines[2].hash == seen.lines[3].hash &&
          memcmp(seen.lines[2].first, seen.lines[3].first, 32) == 0);
    CHECK_INT(SECKILL_EBADVALUE, covers(0, "10.0.0.01"));
    CHECK_INT(SECKILL_EBADVALUE, covers(0, ""));
    CHECK_INT(SECKILL_EBADVALUE,
              seckill_list_line_covers(&seen.lines[0], NULL, 3));
    unlink(path);
}

TAP_MAIN()
