/*
 * Fuzzer of the way from the bytes of a file to entries (libFuzzer): gzip by
 * its magic bytes, members, padding, limits, trailers.
 *
 * The first byte chooses the limit. Two readings must agree in everything, no
 * more than the limit comes out, and zlib alone must unpack what was taken.
 */
#include "acl/text.h"
#include "base/assert.h"
#include "io/list_source.h"
#include "seckill.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    skl_text_t text;
    uint64_t bytes;
    uint32_t sum;
} taken_t;

static void take(void *ctx, const char *data, size_t len)
{
    taken_t *t = ctx;

    t->bytes += len;
    t->sum =
        (uint32_t)crc32(t->sum, (const unsigned char *)data, (unsigned)len);
    skl_text_feed(&t->text, data, len);
}

static int read_once(skl_source_t *s, taken_t *t, uint64_t limit)
{
    int rc;

    memset(t, 0, sizeof(*t));
    skl_text_begin(&t->text, NULL, NULL, 0);
    rc = skl_source_read(s, take, t, 1);
    skl_assert(t->bytes <= limit);
    skl_assert(rc == SECKILL_OK || skl_source_error(s)[0] != '\0');
    skl_text_end(&t->text);
    return rc;
}

static void check_trailer(const skl_text_t *t)
{
    char why[100] = "";
    const int whole = skl_text_is_whole(t, why, sizeof(why));

    skl_assert(whole == (why[0] == '\0'));
    skl_assert(whole || t->trailer != SKL_TRAILER_NONE);
    skl_assert(!whole || t->trailer != SKL_TRAILER_COUNT ||
               t->trailer_lines == t->counts.entries + t->bad_lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[64];
    static int fd = -1;
    static taken_t first, second;
    const uint64_t limit = size > 0 ? 64ULL << (data[0] % 12) : 64;
    skl_source_t *s;
    int rc;

    if (fd < 0) {
        fd = memfd_create("list", 0);
        skl_assert(fd >= 0);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    size = size > 0 ? size - 1 : 0;
    skl_assert(ftruncate(fd, 0) == 0);
    skl_assert(size == 0 || pwrite(fd, data + 1, size, 0) == (ssize_t)size);
    s = skl_source_new(path, limit);
    skl_assert(s != NULL);
    rc = skl_source_open(s);
    if (rc == SECKILL_OK) {
        rc = read_once(s, &first, limit);
        skl_assert(rc != SKL_SOURCE_TORN);
        skl_assert(read_once(s, &second, limit) == rc);
        skl_assert(first.bytes == second.bytes && first.sum == second.sum);
        skl_assert(first.text.line == second.text.line);
        check_trailer(&first.text);
    } else {
        skl_assert(rc == SECKILL_ETOOLARGE && size > limit);
    }
    skl_source_close(s);
    skl_source_free(s);
    return 0;
}
