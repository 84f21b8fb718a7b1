/*
 * Where a list comes from: text and gzip, whole, torn at every length and
 * corrupt, bombs, trailers, digests beside the file, and watching all of it.
 */
#include "test/support/lists.h"

#include <openssl/evp.h>
#include <zlib.h>

enum { PACKED_MAX = 1 << 20 };

typedef struct {
    size_t len;
    char bytes[PACKED_MAX];
} packed_t;

/* Append a member of gzip. */
static void pack(packed_t *out, const void *data, size_t n)
{
    z_stream z = {0};

    if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        abort();
    }
    z.next_in = (unsigned char *)(uintptr_t)data;
    z.avail_in = (unsigned)n;
    z.next_out = (unsigned char *)out->bytes + out->len;
    z.avail_out = (unsigned)(sizeof(out->bytes) - out->len);
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) {
        abort();
    }
    out->len = sizeof(out->bytes) - z.avail_out;
    deflateEnd(&z);
}

static packed_t packed; /* 1 MiB: not on a stack */

static void write_packed(const lists_t *p, const char *text)
{
    packed.len = 0;
    pack(&packed, text, strlen(text));
    lists_replace(p, packed.bytes, packed.len);
}

static void to_hex(const void *bytes, size_t n, char out[65])
{
    unsigned char digest[32];

    EVP_Digest(bytes, n, digest, NULL, EVP_sha256(), NULL);
    for (int i = 0; i < 32; i++) {
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
}

static void write_side(const lists_t *p, const char *text)
{
    char path[140];

    snprintf(path, sizeof(path), "%s.sha256", p->file);
    lists_write(path, text, strlen(text));
}

/* As `sha256sum list.txt >list.txt.sha256`. */
static void write_digest(const lists_t *p, const void *bytes, size_t n)
{
    char hex[65], line[100];

    to_hex(bytes, n, hex);
    snprintf(line, sizeof(line), "%s  list.txt\n", hex);
    write_side(p, line);
}

/* ---- Formats ------------------------------------------------------------- */

TEST(gzip_is_known_by_its_bytes)
{
    char hex[65];
    lists_t p;

    lists_begin(&p, 0, 16);
    write_packed(&p, "a\nb\t\twhy\n!c\n");
    CHECK_INT(0, lists_open(&p));
    CHECK_INT(1, lists_match(&p, "a"));
    CHECK_INT(1, lists_match(&p, "b"));
    CHECK_INT(2, lists_match(&p, "c"));
    CHECK_INT(3, lists_stats(&p).entries);
    CHECK_INT(SECKILL_FORMAT_GZIP, lists_stats(&p).format);
    to_hex(packed.bytes, packed.len, hex);
    CHECK_STR(hex, lists_stats(&p).digest);
    lists_text(&p, "d\n");
    CHECK_INT(0, lists_reload(&p));
    CHECK_INT(SECKILL_FORMAT_TEXT, lists_stats(&p).format);
    to_hex("d\n", 2, hex);
    CHECK_STR(hex, lists_stats(&p).digest);
    CHECK_INT(0, lists_match(&p, "a"));
    CHECK_INT(1, lists_match(&p, "d"));
    lists_lose(&p);
}

TEST(members_of_gzip_are_one_file)
{
    lists_t p;

    lists_begin(&p, 0, 16);
    packed.len = 0;
    pack(&packed, "one\ntw", 6); /* a line goes over two members */
    pack(&packed, "", 0);
    pack(&packed, "o\nthree", 7);
    lists_replace(&p, packed.bytes, packed.len);
    CHECK_INT(0, lists_open(&p));
    CHECK_INT(3, lists_stats(&p).entries);
    CHECK_INT(1, lists_match(&p, "two"));
    memset(packed.bytes + packed.len, 0, 1000); /* as tar and tapes leave it */
    lists_replace(&p, packed.bytes, packed.len + 1000);
    CHECK_INT(0, lists_reload(&p));
    packed.bytes[packed.len + 999] = 'x';
    lists_replace(&p, packed.bytes, packed.len + 1000);
    CHECK_INT(SECKILL_EBADFILE, lists_reload(&p));
    CHECK(strstr(p.err, "something follows the zeros") != NULL);
    memcpy(packed.bytes + packed.len, "junk", 4);
    lists_replace(&p, packed.bytes, packed.len + 4);
    CHECK_INT(SECKILL_EBADFILE, lists_reload(&p));
    CHECK(strstr(p.err, "gzip: incorrect header check") != NULL);
    CHECK_INT(1, lists_match(&p, "three"));
    CHECK_INT(2, lists_stats(&p).generation);
    lists_lose(&p);
}

TEST(many_members_and_large_ones_give_every_entry)
{
    static char text[400000];
    size_t used = 0;
    lists_t p;

    lists_begin(&p, 0, 16);
    packed.len = 0;
    for (int i = 0; i < 30000; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "id%d\n", i);
        if (i % 1000 == 0) {
            pack(&packed, text, used);
            used = 0;
        }
    }
    pack(&packed, text, used);
    lists_replace(&p, packed.bytes, packed.len);
    CHECK_INT(0, lists_open(&p));
    CHECK_INT(30000, lists_stats(&p).entries);
    CHECK_INT(1, lists_match(&p, "id29999"));
    lists_lose(&p);
}

/* ---- Torn and corrupt ---------------------------------------------------- */

static const char TRAILED[] = "alpha\nbeta\t60\tx\n!gamma\n#end 3\n";

TEST(text_torn_at_every_length_is_never_half_a_list)
{
    const size_t whole = sizeof(TRAILED) - 1;
    lists_t p;

    lists_begin(&p, 0, 16);
    lists_text(&p, TRAILED);
    CHECK_INT(0, lists_open(&p));
    for (size_t n = 0; n < whole; n++) {
        const int complete = n >= whole - 1; /* but for the last line feed */

        lists_replace(&p, TRAILED, n);
        CHECK_INT(complete ? 0 : SECKILL_EBADFILE, lists_reload(&p));
        CHECK(complete || strstr(p.err, n == 0 ? "no #end" : "#end") != NULL);
        CHECK_INT(1, lists_match(&p, "beta"));
        CHECK_INT(2, lists_match(&p, "gamma"));
        CHECK_INT(1, lists_files(&p));
    }
    lists_lose(&p);
}

TEST(gzip_torn_at_every_length_is_never_half_a_list)
{
    size_t whole;
    lists_t p;

    lists_begin(&p, 0, 16);
    write_packed(&p, "alpha\nbeta\n!gamma\n");
    whole = packed.len;
    CHECK_INT(0, lists_open(&p));
    for (size_t n = 2; n < whole; n++) {
        lists_replace(&p, packed.bytes, n);
        CHECK_INT(SECKILL_EBADFILE, lists_reload(&p));
        CHECK(strstr(p.err, "gzip: it ends too early") != NULL);
        CHECK_INT(1, lists_match(&p, "beta"));
        CHECK_INT(2, lists_match(&p, "gamma"));
        CHECK_INT(1, lists_files(&p));
    }
    CHECK_INT(1, lists_stats(&p).generation);
    CHECK_INT(whole - 2, lists_stats(&p).failures);
    lists_lose(&p);
}

/* A flip of a header byte that says nothing (time, operating system) is none of
 * our business; what a flip lets through must be the same list. */
TEST(every_flipped_byte_of_gzip_is_refused_or_harmless)
{
    int refused = 0;
    lists_t p;

    lists_begin(&p, 0, 16);
    write_packed(&p, "alpha\nbeta\n!gamma\n");
    CHECK_INT(0, lists_open(&p));
    for (size_t i = 2; i < packed.len; i++) {
        packed.bytes[i] = (char)(packed.bytes[i] ^ 0x55);
        lists_replace(&p, packed.bytes, packed.len);
        refused += lists_reload(&p) == SECKILL_EBADFILE;
        packed.bytes[i] = (char)(packed.bytes[i] ^ 0x55);
        CHECK_INT(1, lists_match(&p, "beta"));
        CHECK_INT(2, lists_match(&p, "gamma"));
        CHECK_INT(3, lists_stats(&p).entries);
    }
    CHECK(refused >= (int)packed.len - 10);
    lists_lose(&p);
}

/* ---- Limits -------------------------------------------------------------- */

static int inflated; /* reads since */

static int count_reads(const char *call)
{
    inflated += strcmp(call, "read") == 0;
    return 0;
}

TEST(a_bomb_is_given_up_at_the_limit)
{
    static char zeros[1 << 20];
    seckill_list_options_t o;
    lists_t p;

    lists_begin(&p, 0, 16);
    memset(zeros, '#', sizeof(zeros));
    packed.len = 0;
    for (int i = 0; i < 600; i++) { /* 600 MB in 700 KB */
        pack(&packed, zeros, sizeof(zeros));
    }
    lists_replace(&p, packed.bytes, packed.len);
    o = lists_options(&p);
    o.max_bytes = packed.len;
    skl_os_fault = count_reads;
    CHECK_INT(SECKILL_ETOOLARGE, lists_open_as(&p, "l", &o));
    skl_os_fault = NULL;
    CHECK(strstr(p.err, "unpacks to more than max_bytes") != NULL);
    CHECK_INT(1, inflated); /* of three chunks */
    o.max_bytes = packed.len - 1;
    CHECK_INT(SECKILL_ETOOLARGE, lists_open_as(&p, "l", &o));
    CHECK(strstr(p.err, "bytes, max_bytes is") != NULL);
    lists_lose(&p);
}

TEST(what_unpacks_to_exactly_the_limit_is_taken)
{
    char text[2001];
    seckill_list_options_t o;
    lists_t p;

    lists_begin(&p, 0, 16);
    memset(text, '#', sizeof(text));
    memcpy(text, "a\n", 2);
    text[2000] = '\0';
    write_packed(&p, text);
    o = lists_options(&p);
    o.max_bytes = 1999;
    CHECK_INT(SECKILL_ETOOLARGE, lists_open_as(&p, "l", &o));
    o.max_bytes = 2000;
    CHECK_INT(0, lists_open_as(&p, "l", &o));
    CHECK_INT(1, lists_match(&p, "a"));
    lists_lose(&p);
}

TEST(more_entries_than_allowed_are_refused)
{
    seckill_list_options_t o;
    lists_t p;

    lists_begin(&p, 0, 16);
    lists_text(&p, "a\nb\nc\n");
    o = lists_options(&p);
    o.max_entries = 2;
    CHECK_INT(SECKILL_ETOOLARGE, lists_open_as(&p, "l", &o));
    CHECK(strstr(p.err, "3 entries, max_entries is 2") != NULL);
    o.max_entries = 3;
    CHECK_INT(0, lists_open_as(&p, "l", &o));
    lists_lose(&p);
}

/* A range counts as the networks it consists of. */
TEST(more_networks_than_allowed_are_refused)
{
    seckill_list_options_t o;
    lists_t p;

    lists_begin(&p, 0, 16);
    p.kind = SECKILL_LIST_IP;
    lists_text(&p, "10.0.0.1-10.0.0.6\n");
    o = lists_options(&p);
    o.max_entries = 3;
    CHECK_INT(SECKILL_ETOOLARGE, lists_open_as(&p, "l", &o));
    CHECK(strstr(p.err, "4 entries, max_entries is 3") != NULL);
    o.max_entries = 4;
    CHECK_INT(0, lists_open_as(&p, "l", &o));
    CHECK_INT(4, lists_stats(&p).entries);
    lists_lose(&p);
}

/* ---- Trailers ------------------------------------------------------------ */

typedef struct {
    const char *text;
    int rc;
    const char *says;
} trailer_case_t;

static const trailer_case_t trailer_cases[] = {
    {"a\n#end 1\n", 0, ""},
    {"a\n#end 1", 0, ""},
    {"a\r\n#end 1\r\n", 0, ""},
    {"a\n#end 01\n\n# more\n", 0, ""},
    {"a\n!\n#end 2\n", 0, ""}, /* a bad line is a line */
    {"a\n#end 2\n", SECKILL_EBADFILE, "#end says 2 lines, there are 1"},
    {"a\nb\n#end 1\n", SECKILL_EBADFILE, "#end says 1 lines, there are 2"},
    {"#end 1\na\n", SECKILL_EBADFILE, "lines after #end"},
    {"a\n#end 1\n!\n", SECKILL_EBADFILE, "lines after #end"},
    {"a\n#end\n", SECKILL_EBADFILE, "no #end, the file before had one"},
    {"a\n#end of it\n", SECKILL_EBADFILE, "no #end"},
    {"a\n #end 1\n", SECKILL_EBADFILE, "no #end"}, /* an entry */
    {"a\n#end 1234567890123\n", SECKILL_EBADFILE, "no #end"},
    {"a\n", SECKILL_EBADFILE, "no #end"},
    {"a\n#end -\n", 0, ""},
    {"a\nx\n", 0, ""}, /* after the waiver */
    {"a\n#end 0\n", SECKILL_EBADFILE, "#end says 0"},
};

TEST(trailer_cases_hold)
{
    lists_t p;

    lists_begin(&p, 0, 16);
    lists_text(&p, "a\n#end 1\n");
    CHECK_INT(0, lists_open(&p));
    for (size_t i = 0; i < sizeof(trailer_cases) / sizeof(trailer_cases[0]);
         i++) {
        const trailer_case_t *c = &trailer_cases[i];

        lists_replace(&p, c->text, strlen(c->text));
        if (!CHECK_INT(c->rc, lists_reload(&p)) ||
            !CHECK(strstr(c->rc ? p.err : "", c->says) != NULL)) {
            printf("# case %zu: %s\n", i, p.err);
        }
        CHECK_INT(1, lists_match(&p, "a"));
    }
    lists_lose(&p);
}

/* The trailer counts lines, whatever a range is worth. */
TEST(a_trailer_counts_lines_of_networks)
{
    lists_t p;

    lists_begin(&p, 0, 16);
    p.kind = SECKILL_LIST_IP;
    lists_text(&p, "10.0.0.1-10.0.0.6\n10.1.0.0/16\n#end 2\n");
    CHECK_INT(0, lists_open(&p));
    lists_text(&p, "10.0.0.1-10.0.0.6\n#end 4\n");
    CHECK_INT(SECKILL_EBADFILE, lists_reload(&p));
    CHECK(strstr(p.err, "#end says 4 lines, there are 1") != NULL);
    CHECK_INT(1, lists_match(&p, "10.1.2.3"));
    lists_lose(&p);
}

/* ---- Digests beside the file --------------------------------------------- */

TEST(a_wrong_digest_is_a_bad_file)
{
    lists_t p;

    lists_begin(&p, 0, 16);
    lists_text(&p, "a\n");
    write_digest(&p, "a\n", 2);
    CHECK_INT(0, lists_open(&p));
    lists_text(&p, "b\n");
    CHECK_INT(SECKILL_EBADFILE, lists_reload(&p));
    CHECK(strstr(p.err, "its digest is not that of .sha256") != NULL);
    CHECK_INT(1, lists_match(&p, "a"));
    CHECK_INT(0, lists_match(&p, "b"));
    write_digest(&p, "b\n", 2);
    CHECK_INT(0, lists_reload(&p));
    CHECK_INT(1, lists_match(&p, "b"));
    lists_lose(&p);
}

TEST(a_digest_is_of_the_packed_bytes)
{
    lists_t p;

    lists_begin(&p, 0, 16);
    write_packed(&p, "a\n");
    write_digest(&p, "a\n", 2);
    CHECK_INT(SECKILL_EBADFILE, lists_open(&p));
    write_digest(&p, packed.bytes, packed.len);
    CHECK_INT(0, lists_reload(&p));
    CHECK_INT(1, lists_match(&p, "a"));
    lists_lose(&p);
}

static const char *const bad_sides[] = {
    "",
    "nothing",
    "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c",
    "--",
    "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7x",
    "g7428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7  f\n"};
static const char *const good_sides[] = {
    "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7",
    "87428FC522803D31065E7BCE3CF03FE475096631E5E07BBD7A0FDE60C4CF25C7 *x\n",
    "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7\r\n"};

TEST(the_digest_is_in_the_format_of_sha256sum)
{
    char path[160];
    lists_t p;

    lists_begin(&p, 0, 16);
    lists_text(&p, "a\n");
    for (size_t i = 0; i < sizeof(bad_sides) / sizeof(bad_sides[0]); i++) {
        write_side(&p, bad_sides[i]);
        CHECK_INT(SECKILL_EBADFILE, lists_open(&p));
        CHECK(strstr(p.err, "no SHA-256 digest in it") != NULL);
    }
    for (size_t i = 0; i < sizeof(good_sides) / sizeof(good_sides[0]); i++) {
        write_side(&p, good_sides[i]);
        CHECK_INT(0, lists_open(&p));
        CHECK_INT(0, lists_reload(&p));
    }
    snprintf(path, sizeof(path), "%s.sha256", p.file);
    CHECK_INT(0, unlink(path));
    CHECK_INT(SECKILL_EBADFILE, lists_reload(&p));
    CHECK(strstr(p.err, "no .sha256, the file before had one") != NULL);
    CHECK_INT(0, mkdir(path, 0700)); /* unreadable */
    CHECK_INT(SECKILL_EBADFILE, lists_reload(&p));
    CHECK(strstr(p.err, "not a regular file") != NULL);
    CHECK_INT(0, rmdir(path));
    write_side(&p, "-\n");
    CHECK_INT(0, lists_reload(&p));
    CHECK_INT(0, unlink(path));
    CHECK_INT(0, lists_reload(&p));
    CHECK_INT(1, lists_match(&p, "a"));
    lists_lose(&p);
}

static const lists_t *swapped;
static int swaps;

/* Somebody replaces the file, then its digest, while we read. */
static int swap_both(const char *call)
{
    if (strcmp(call, "read") == 0 && swaps > 0) {
        swaps--;
        lists_replace(swapped, "new\n", 4);
        write_digest(swapped, "new\n", 4);
    }
    return 0;
}

TEST(a_swap_of_both_files_is_read_again)
{
    lists_t p;

    lists_begin(&p, 0, 16);
    lists_text(&p, "old\n");
    write_digest(&p, "old\n", 4);
    CHECK_INT(0, lists_open(&p));
    swapped = &p;
    swaps = 1;
    skl_os_fault = swap_both;
    CHECK_INT(0, lists_reload(&p));
    skl_os_fault = NULL;
    CHECK_INT(1, lists_match(&p, "new"));
    CHECK_INT(0, lists_match(&p, "old"));
    CHECK_INT(0, lists_stats(&p).failures);
    lists_lose(&p);
}

/* ---- Watching ------------------------------------------------------------ */

static void by_writing(const lists_t *p, const char *text)
{
    packed.len = 0;
    pack(&packed, text, strlen(text));
    lists_write(p->file, packed.bytes, packed.len);
    write_digest(p, packed.bytes, packed.len);
}

static void by_renaming(const lists_t *p, const char *text)
{
    write_packed(p, text);
    write_digest(p, packed.bytes, packed.len);
}

static void by_recreating(const lists_t *p, const char *text)
{
    CHECK_INT(0, unlink(p->file));
    lists_pause();
    by_writing(p, text);
}

/* The digest comes when the file was refused already. */
static void by_late_digest(const lists_t *p, const char *text)
{
    const uint64_t failures = lists_stats((lists_t *)(uintptr_t)p).failures;

    write_packed(p, text);
    for (int i = 0; i < LISTS_DEADLINE_MS; i++) {
        if (lists_stats((lists_t *)(uintptr_t)p).failures > failures) {
            break;
        }
        lists_pause();
    }
    write_digest(p, packed.bytes, packed.len);
}

/* As Kubernetes does: both are links through ..data, which is swapped. */
static void by_link(const lists_t *p, const char *text)
{
    static int number;
    char name[32], path[200], to[200];
    lists_t real;

    snprintf(name, sizeof(name), "..version%d", ++number);
    snprintf(path, sizeof(path), "%s/%s", p->dir, name);
    CHECK_INT(0, mkdir(path, 0700));
    snprintf(real.file, sizeof(real.file), "%.70s/%.31s/list.txt", p->dir,
             name);
    by_writing(&real, text);
    snprintf(path, sizeof(path), "%s/..data_new", p->dir);
    snprintf(to, sizeof(to), "%s/..data", p->dir);
    CHECK_INT(0, symlink(name, path));
    CHECK_INT(0, rename(path, to));
    snprintf(to, sizeof(to), "%s.sha256", p->file);
    if (number == 1) {
        CHECK_INT(0, unlink(p->file));
        CHECK_INT(0, unlink(to));
        CHECK_INT(0, symlink("..data/list.txt", p->file));
        CHECK_INT(0, symlink("..data/list.txt.sha256", to));
    }
}

static void follow(void (*change)(const lists_t *, const char *))
{
    char text[32];
    lists_t p;

    lists_begin(&p, 0, 16);
    by_renaming(&p, "v0\n");
    CHECK_INT(0, lists_open(&p));
    CHECK_INT(0, lists_start(&p));
    for (int i = 1; i <= 4; i++) {
        snprintf(text, sizeof(text), "v%d\n", i);
        change(&p, text);
        text[strlen(text) - 1] = '\0';
        CHECK(lists_await(&p, text, 1));
        snprintf(text, sizeof(text), "v%d", i - 1);
        CHECK_INT(0, lists_match(&p, text));
    }
    CHECK_STR("", lists_stats(&p).error);
    lists_lose(&p);
}

TEST(follows_gzip_and_digest_written_in_place)
{
    follow(by_writing);
}

TEST(follows_gzip_and_digest_renamed_over)
{
    follow(by_renaming);
}

TEST(follows_gzip_and_digest_made_again)
{
    follow(by_recreating);
}

TEST(follows_a_digest_that_comes_later)
{
    follow(by_late_digest);
}

TEST(follows_gzip_and_digest_behind_a_swapped_link)
{
    follow(by_link);
}

TAP_MAIN()
