/* The bytes of a list file; see list_source.h. */
#include "io/list_source.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 256 * 1024, ARENA = 128 * 1024, SIDE_MAX = 1024 };
enum { SIDE_PATH = SKL_LIST_FILE_MAX + 8 };
enum { GZIP_WINDOW = 15 + 16 }; /* of inflateInit2: gzip only */

/* Where the unpacker stands. */
enum { AT_MEMBER, IN_MEMBER, IN_PADDING };

struct skl_source {
    const char *path;
    uint64_t limit;
    int fd; /* -1 */
    uint32_t format;
    int side, where;
    skl_file_id_t id;
    int64_t changed_ns;
    unsigned char expected[SKL_SOURCE_DIGEST]; /* of SKL_SIDE_DIGEST */
    unsigned char digest[SKL_SOURCE_DIGEST];
    EVP_MD_CTX *hash;
    z_stream z;
    uint64_t unpacked, members;
    size_t arena_used;
    char error[240];
    _Alignas(16) char arena[ARENA]; /* memory of zlib */
    char raw[CHUNK];
    char out[CHUNK];
};

__attribute__((format(printf, 3, 4))) static int fail(skl_source_t *s, int rc,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(s->error, sizeof(s->error), format, args);
    va_end(args);
    return rc;
}

static int fail_call(skl_source_t *s, int rc, const char *call)
{
    return fail(s, SECKILL_EIO, "%s %.180s: %s", call, s->path, strerror(-rc));
}

/* ---- Memory -------------------------------------------------------------- */

/* One stream needs 40 to 60 KB, and is never freed before the source. */
static void *arena_take(void *ctx, unsigned items, unsigned size)
{
    skl_source_t *s = ctx;
    const size_t n = ((size_t)items * size + 15) & ~(size_t)15;
    void *p = s->arena + s->arena_used;

    if (n > ARENA - s->arena_used) {
        return NULL;
    }
    s->arena_used += n;
    skl_assert(s->arena_used <= ARENA && (uintptr_t)p % 16 == 0);
    return p;
}

static void arena_leave(void *ctx, void *p)
{
    (void)ctx;
    (void)p;
}

skl_source_t *skl_source_new(const char *path, uint64_t limit)
{
    skl_source_t *s = calloc(1, sizeof(*s));

    skl_assert(strlen(path) < SKL_LIST_FILE_MAX);
    if (s == NULL) {
        return NULL;
    }
    s->path = path;
    s->limit = limit;
    s->fd = -1;
    s->z.zalloc = arena_take;
    s->z.zfree = arena_leave;
    s->z.opaque = s;
    s->hash = EVP_MD_CTX_new();
    if (s->hash == NULL ||
        EVP_DigestInit_ex(s->hash, EVP_sha256(), NULL) != 1 ||
        inflateInit2(&s->z, GZIP_WINDOW) != Z_OK) {
        skl_source_free(s);
        return NULL;
    }
    return s;
}

void skl_source_free(skl_source_t *s)
{
    if (s != NULL) {
        skl_assert(s->fd < 0);
        EVP_MD_CTX_free(s->hash);
        free(s);
    }
}

/* ---- Versions ------------------------------------------------------------ */

static int64_t ns_of(const struct timespec *t)
{
    return (int64_t)t->tv_sec * SKL_NS_PER_SEC + t->tv_nsec;
}

/* mtime is what somebody says, perhaps of the future. */
static int64_t changed_of(const struct stat *st)
{
    return ns_of(&st->st_ctim);
}

static void to_id(const struct stat *st, skl_file_id_t *out)
{
    out->dev = st->st_dev;
    out->ino = st->st_ino;
    out->size = (uint64_t)st->st_size;
    out->mtime_ns = ns_of(&st->st_mtim);
    out->ctime_ns = ns_of(&st->st_ctim);
}

void skl_source_side_path(const char *path, char *out, size_t size)
{
    (void)snprintf(out, size, "%s.sha256", path);
}

/* One word for the version of the digest's file; 0: there is none. */
static uint64_t side_word(int rc, const struct stat *st)
{
    uint64_t word = 1;

    if (rc == -ENOENT || rc == -ENOTDIR) {
        return 0;
    }
    if (rc != 0) {
        return (uint64_t)-rc;
    }
    word = skl_mix64(word ^ st->st_dev);
    word = skl_mix64(word ^ st->st_ino);
    word = skl_mix64(word ^ (uint64_t)st->st_size);
    word = skl_mix64(word ^ (uint64_t)ns_of(&st->st_mtim));
    return skl_mix64(word ^ (uint64_t)ns_of(&st->st_ctim)) | 1;
}

void skl_source_version(const char *path, skl_file_id_t *out)
{
    char side[SIDE_PATH];
    struct stat st;

    memset(out, 0, sizeof(*out));
    if (skl_os_stat(path, &st) == 0) {
        to_id(&st, out);
    }
    skl_source_side_path(path, side, sizeof(side));
    out->side = side_word(skl_os_stat(side, &st), &st);
}

int skl_source_unchanged(const skl_source_t *s)
{
    skl_file_id_t now;

    skl_assert(s->fd >= 0);
#ifdef MUTANT_LIST_TORN
    return 1;
#endif
    /* Our descriptor keeps the inode's number from being used again. */
    skl_source_version(s->path, &now);
    return memcmp(&now, &s->id, sizeof(now)) == 0;
}

static int torn(skl_source_t *s)
{
    return fail(s, SKL_SOURCE_TORN, "%.180s: changed while it was read",
                s->path);
}

/* ---- The digest beside it ------------------------------------------------ */

static int hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 64 digits, then the end, or a space and anything. */
static int parse_side(skl_source_t *s, const char *text, size_t len)
{
    size_t digits = 2 * SKL_SOURCE_DIGEST;

    if (len >= 1 && text[0] == '-' && (len == 1 || text[1] == '\n')) {
        return SKL_SIDE_WAIVED;
    }
    if (len < digits ||
        (len > digits && strchr(" \t\r\n", text[digits]) == NULL)) {
        return SKL_SIDE_NONE;
    }
    for (size_t i = 0; i < digits; i += 2) {
        const int high = hex(text[i]), low = hex(text[i + 1]);

        if (high < 0 || low < 0) {
            return SKL_SIDE_NONE;
        }
        s->expected[i / 2] = (unsigned char)(high << 4 | low);
    }
    return SKL_SIDE_DIGEST;
}

static int read_side_fd(skl_source_t *s, int fd, const char *path)
{
    char text[SIDE_MAX];
    struct stat st;
    ssize_t n;
    int rc = skl_os_fstat(fd, &st);

    if (rc != 0 || !S_ISREG(st.st_mode)) {
        return fail(s, SECKILL_EBADFILE, "%.180s: not a regular file", path);
    }
    s->id.side = side_word(0, &st);
    if (changed_of(&st) > s->changed_ns) {
        s->changed_ns = changed_of(&st);
    }
    n = skl_os_read(fd, text, sizeof(text));
    if (n < 0) {
        return fail(s, SECKILL_EBADFILE, "read %.180s: %s", path,
                    strerror((int)-n));
    }
    s->side = parse_side(s, text, (size_t)n);
    if (s->side == SKL_SIDE_NONE) {
        return fail(s, SECKILL_EBADFILE, "%.180s: no SHA-256 digest in it",
                    path);
    }
    return SECKILL_OK;
}

static int read_side(skl_source_t *s)
{
    char path[SIDE_PATH];
    int fd, rc;

    skl_source_side_path(s->path, path, sizeof(path));
    fd = skl_os_open_source(path);
    s->side = SKL_SIDE_NONE;
    s->id.side = side_word(fd < 0 ? fd : 0, &(struct stat){0});
    if (fd == -ENOENT || fd == -ENOTDIR) {
        return SECKILL_OK;
    }
    if (fd < 0) {
        return fail(s, SECKILL_EBADFILE, "open %.180s: %s", path,
                    strerror(-fd));
    }
    rc = read_side_fd(s, fd, path);
    (void)skl_os_close(fd);
    return rc;
}

/* ---- Opening ------------------------------------------------------------- */

static int too_large(skl_source_t *s, uint64_t bytes)
{
    return fail(s, SECKILL_ETOOLARGE,
                "%.120s: %" PRIu64 " bytes, max_bytes is %" PRIu64, s->path,
                bytes, s->limit);
}

static int see_format(skl_source_t *s)
{
    unsigned char magic[2] = {0};
    ssize_t n = skl_os_pread(s->fd, magic, sizeof(magic), 0);

    if (n < 0) {
        return fail_call(s, (int)n, "read");
    }
    s->format = n == 2 && magic[0] == 0x1f && magic[1] == 0x8b
                    ? SECKILL_FORMAT_GZIP
                    : SECKILL_FORMAT_TEXT;
    return SECKILL_OK;
}

int skl_source_open(skl_source_t *s)
{
    struct stat st;
    int rc;

    skl_assert(s->fd < 0);
    s->fd = skl_os_open_source(s->path);
    if (s->fd < 0) {
        return fail(s, SECKILL_EBADFILE, "open %.180s: %s", s->path,
                    strerror(-s->fd));
    }
    rc = skl_os_fstat(s->fd, &st);
    if (rc != 0) {
        return fail_call(s, rc, "stat");
    }
    to_id(&st, &s->id);
    s->changed_ns = changed_of(&st);
    if (!S_ISREG(st.st_mode)) {
        return fail(s, SECKILL_EBADFILE, "%.180s: not a regular file", s->path);
    }
    rc = read_side(s);
    if (rc != SECKILL_OK) {
        return rc;
    }
    return s->id.size > s->limit ? too_large(s, s->id.size) : see_format(s);
}

void skl_source_close(skl_source_t *s)
{
    if (s->fd >= 0) {
        (void)skl_os_close(s->fd);
        s->fd = -1;
    }
}

/* ---- Unpacking ----------------------------------------------------------- */

static int bad_gzip(skl_source_t *s, const char *why)
{
    return fail(s, SECKILL_EBADFILE, "%.150s: gzip: %s (member %" PRIu64 ")",
                s->path, why, s->members + (s->where == AT_MEMBER ? 0 : 1));
}

static int give_out(skl_source_t *s, skl_source_sink_fn sink, void *ctx)
{
    const size_t n = sizeof(s->out) - s->z.avail_out;

    skl_assert(n <= sizeof(s->out));
    s->unpacked += n;
    if (s->unpacked > s->limit) {
        return fail(s, SECKILL_ETOOLARGE,
                    "%.120s: unpacks to more than max_bytes, %" PRIu64, s->path,
                    s->limit);
    }
    if (n > 0) {
        sink(ctx, s->out, n);
    }
    return SECKILL_OK;
}

/* Between two members: zeros to the end, or the next one. */
static int begin_member(skl_source_t *s)
{
    skl_assert(s->z.avail_in > 0);
    if (s->members > 0 && *s->z.next_in == 0) {
        s->where = IN_PADDING;
        return SECKILL_OK;
    }
    if (inflateReset(&s->z) != Z_OK) {
        return bad_gzip(s, "cannot begin");
    }
    s->where = IN_MEMBER;
    return SECKILL_OK;
}

static int skip_padding(skl_source_t *s)
{
    for (; s->z.avail_in > 0; s->z.next_in++, s->z.avail_in--) {
        if (*s->z.next_in != 0) {
            return bad_gzip(s, "something follows the zeros at its end");
        }
    }
    return SECKILL_OK;
}

static int inflate_some(skl_source_t *s, skl_source_sink_fn sink, void *ctx)
{
    int rc;

    s->z.next_out = (unsigned char *)s->out;
    s->z.avail_out = sizeof(s->out);
    rc = inflate(&s->z, Z_NO_FLUSH);
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
        return bad_gzip(s, s->z.msg != NULL ? s->z.msg : "corrupt");
    }
    if (rc == Z_STREAM_END) {
        s->members++;
        s->where = AT_MEMBER;
    }
    return give_out(s, sink, ctx);
}

static int unpack(skl_source_t *s, size_t n, skl_source_sink_fn sink, void *ctx)
{
    int rc = SECKILL_OK;

    s->z.next_in = (unsigned char *)s->raw;
    s->z.avail_in = (unsigned)n;
    /* A full buffer may mean that more is to come out of nothing more in. */
    for (int full = 0; rc == SECKILL_OK && (s->z.avail_in > 0 || full);) {
        if (s->where == AT_MEMBER) {
            rc = begin_member(s);
        } else if (s->where == IN_PADDING) {
            rc = skip_padding(s);
        } else {
            rc = inflate_some(s, sink, ctx);
        }
        full = s->where == IN_MEMBER && s->z.avail_out == 0;
    }
    return rc;
}

/* ---- Reading ------------------------------------------------------------- */

static int begin(skl_source_t *s, int digest)
{
    if (lseek(s->fd, 0, SEEK_SET) != 0) {
        return fail_call(s, -errno, "seek");
    }
    s->where = AT_MEMBER;
    s->unpacked = s->members = 0;
    s->z.avail_out = 1;
    if (digest && EVP_DigestInit_ex(s->hash, NULL, NULL) != 1) {
        return fail(s, SECKILL_EIO, "sha256 failed");
    }
    return SECKILL_OK;
}

static int take(skl_source_t *s, size_t n, skl_source_sink_fn sink, void *ctx,
                int digest)
{
    skl_assert(n > 0 && n <= sizeof(s->raw));
    if (digest && EVP_DigestUpdate(s->hash, s->raw, n) != 1) {
        return fail(s, SECKILL_EIO, "sha256 failed");
    }
    if (s->format == SECKILL_FORMAT_GZIP) {
        return unpack(s, n, sink, ctx);
    }
    sink(ctx, s->raw, n);
    return SECKILL_OK;
}

static int read_bytes(skl_source_t *s, skl_source_sink_fn sink, void *ctx,
                      int digest)
{
    uint64_t total = 0;
    int rc = begin(s, digest);

    while (rc == SECKILL_OK) {
        ssize_t n = skl_os_read(s->fd, s->raw, sizeof(s->raw));

        if (n < 0) {
            return fail_call(s, (int)n, "read");
        }
        total += (uint64_t)n;
        if (total > s->id.size) {
            return torn(s); /* it grows; and never ends, perhaps */
        }
        if (n == 0) {
            break;
        }
        rc = take(s, (size_t)n, sink, ctx, digest);
    }
    if (rc == SECKILL_OK && total != s->id.size) {
        return torn(s);
    }
    if (rc == SECKILL_OK && s->format == SECKILL_FORMAT_GZIP &&
        s->where == IN_MEMBER) {
        return bad_gzip(s, "it ends too early");
    }
    return rc;
}

static int check_digest(skl_source_t *s)
{
    unsigned int len = 0;

    skl_assert(s->side == SKL_SIDE_NONE || s->id.side != 0);
    if (EVP_DigestFinal_ex(s->hash, s->digest, &len) != 1 ||
        len != sizeof(s->digest)) {
        return fail(s, SECKILL_EIO, "sha256 failed");
    }
#ifdef MUTANT_LIST_IGNORE_DIGEST
    return SECKILL_OK;
#endif
    if (s->side == SKL_SIDE_DIGEST &&
        memcmp(s->digest, s->expected, sizeof(s->digest)) != 0) {
        return fail(s, SKL_SOURCE_TORN,
                    "%.180s: its digest is not that of .sha256", s->path);
    }
    return SECKILL_OK;
}

int skl_source_read(skl_source_t *s, skl_source_sink_fn sink, void *ctx,
                    int digest)
{
    int rc;

    skl_assert(s->fd >= 0 && sink != NULL);
    rc = read_bytes(s, sink, ctx, digest);
    if (rc == SECKILL_EIO) {
        return rc;
    }
    /* Half of a file may be bad in any way: first of all it is a half. */
    if (!skl_source_unchanged(s)) {
        return torn(s);
    }
    return rc == SECKILL_OK && digest ? check_digest(s) : rc;
}

/* ---- What was found ------------------------------------------------------ */

const char *skl_source_error(const skl_source_t *s)
{
    return s->error;
}

const skl_file_id_t *skl_source_id(const skl_source_t *s)
{
    return &s->id;
}

int64_t skl_source_changed_ns(const skl_source_t *s)
{
    return s->changed_ns;
}

uint32_t skl_source_format(const skl_source_t *s)
{
    return s->format;
}

int skl_source_side(const skl_source_t *s)
{
    return s->side;
}

const unsigned char *skl_source_digest(const skl_source_t *s)
{
    return s->digest;
}
