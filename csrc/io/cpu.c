/* See cpu.h. */
#include "io/cpu.h"

#include "base/assert.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES = 4096, STAT_FIELDS = 8 };

/* Where cgroup v2 may be mounted; the second beside cgroup v1. */
static const char *const mounts[] = {"/sys/fs/cgroup",
                                     "/sys/fs/cgroup/unified"};

/* ---- Parsers ------------------------------------------------------------- */

/* A piece of text that is read from its front. */
typedef struct {
    const char *at, *end;
} scan_t;

static scan_t scan_of(const char *text, size_t len)
{
    return (scan_t){text, text + len};
}

/* Take a line off, without its end. 0: there is none. */
static int next_line(scan_t *s, scan_t *line)
{
    const size_t left = (size_t)(s->end - s->at);
    const char *end;

    skl_assert(s->at <= s->end);
    if (left == 0) {
        return 0;
    }
    end = memchr(s->at, '\n', left);
    line->at = s->at;
    line->end = end == NULL ? s->end : end;
    s->at = end == NULL ? s->end : end + 1;
    return 1;
}

static int skip_text(scan_t *s, const char *text)
{
    const size_t len = strlen(text);

    if ((size_t)(s->end - s->at) < len || memcmp(s->at, text, len) != 0) {
        return 0;
    }
    s->at += len;
    return 1;
}

static void skip_spaces(scan_t *s)
{
    while (s->at < s->end && *s->at == ' ') {
        s->at++;
    }
}

/* A decimal number below 2^63 that ends with the text or before a space. */
static int next_number(scan_t *s, uint64_t *out)
{
    const char *from;

    skip_spaces(s);
    from = s->at;
    skl_assert(from <= s->end);
    *out = 0;
    for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++) {
        if (*out > (uint64_t)(INT64_MAX - 9) / 10) {
            return 0;
        }
        *out = *out * 10 + (uint64_t)(*s->at - '0');
    }
    return s->at > from && (s->at == s->end || *s->at == ' ');
}

/* A path that stays below its root: absolute, and without "..". */
static int is_plain_path(const scan_t *s)
{
    const size_t len = (size_t)(s->end - s->at);

    if (len == 0 || s->at[0] != '/' || memchr(s->at, '\0', len) != NULL) {
        return 0;
    }
    for (const char *p = s->at; p + 2 < s->end; p++) {
        if (memcmp(p, "/..", 3) == 0 && (p + 3 == s->end || p[3] == '/')) {
            return 0;
        }
    }
    return 1;
}

int skl_cpu_parse_group(const char *text, size_t len, char *out, size_t size)
{
    scan_t s = scan_of(text, len), line;
    size_t n;

    skl_assert(size > 0);
    while (next_line(&s, &line)) {
        if (!skip_text(&line, "0::")) {
            continue;
        }
        n = (size_t)(line.end - line.at);
        if (!is_plain_path(&line) || n >= size) {
            return 0;
        }
        memcpy(out, line.at, n);
        out[n] = '\0';
        return 1;
    }
    return 0;
}

int skl_cpu_parse_max(const char *text, size_t len, skl_cpu_quota_t *out)
{
    scan_t s = scan_of(text, len), line;

    if (!next_line(&s, &line)) {
        return 0;
    }
    out->quota = 0;
    if (!skip_text(&line, "max") &&
        (!next_number(&line, &out->quota) || out->quota == 0)) {
        return 0;
    }
    return next_number(&line, &out->period) && out->period > 0;
}

int skl_cpu_parse_usage(const char *text, size_t len, uint64_t *usec)
{
    scan_t s = scan_of(text, len), line;

    while (next_line(&s, &line)) {
        if (skip_text(&line, "usage_usec ")) {
            return next_number(&line, usec);
        }
    }
    return 0;
}

/* user nice system idle iowait irq softirq steal; guest time is in user. */
int skl_cpu_parse_stat(const char *text, size_t len, uint64_t *used,
                       uint64_t *all)
{
    scan_t s = scan_of(text, len), line;
    uint64_t ticks;

    *used = *all = 0;
    if (!next_line(&s, &line) || !skip_text(&line, "cpu ")) {
        return 0;
    }
    for (int i = 0; i < STAT_FIELDS; i++) {
        if (!next_number(&line, &ticks) || ticks > INT64_MAX / 16) {
            return 0;
        }
        *all += ticks;
        *used += i == 3 || i == 4 ? 0 : ticks;
    }
    return 1;
}

/* ---- Files --------------------------------------------------------------- */

/* How many bytes of a small file, or -1. */
static int read_file(const char *root, const char *dir, const char *group,
                     const char *name, char *out)
{
    char path[SKL_CPU_PATH * 2];
    int n = snprintf(path, sizeof(path), "%s%s%s%s", root, dir, group, name);

    if (n < 0 || (size_t)n >= sizeof(path)) {
        return -1;
    }
    n = skl_os_read_small(path, out, FILE_BYTES);
    return n < 0 ? -1 : (int)strlen(out);
}

/* The group above, "" for the root; 0: there is none. */
static int step_up(char *group)
{
    char *slash = strrchr(group, '/');

    if (slash == NULL) {
        return 0;
    }
    *slash = '\0';
    return 1;
}

static double ratio_of(const skl_cpu_quota_t *q)
{
    skl_assert(q->period > 0);
    return (double)q->quota / (double)q->period;
}

/* The group with the tightest quota, from the process's own upwards. */
static int find_quota(const char *root, const char *mount, int cpus,
                      char *group, skl_cpu_quota_t *best)
{
    char here[SKL_CPU_PATH];
    char text[FILE_BYTES];
    skl_cpu_quota_t q;
    int n, found = 0;

    (void)snprintf(here, sizeof(here), "%s", strcmp(group, "/") ? group : "");
    for (int i = 0; i < SKL_CPU_LEVELS; i++) {
        n = read_file(root, mount, here, "/cpu.max", text);
        if (n >= 0 && skl_cpu_parse_max(text, (size_t)n, &q) && q.quota > 0 &&
            ratio_of(&q) <= cpus && (!found || ratio_of(&q) < ratio_of(best))) {
            *best = q;
            memcpy(group, here, sizeof(here));
            found = 1;
        }
        if (!step_up(here)) {
            break;
        }
    }
    return found;
}

/* What is read at one moment. */
typedef struct {
    int source;
    uint64_t used, all;
    double share; /* of `all` that may be used */
    char group[SKL_CPU_PATH];
} reading_t;

/* CPU time of the group in us, of the time that has passed. */
static int read_group(const char *root, int cpus, int64_t now, reading_t *r)
{
    char text[FILE_BYTES];
    skl_cpu_quota_t q = {0, 1};
    int n = read_file(root, "/proc/self", "", "/cgroup", text);
    char own[SKL_CPU_PATH];

    if (n < 0 || !skl_cpu_parse_group(text, (size_t)n, own, sizeof(own))) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
        memcpy(r->group, own, sizeof(own));
        if (!find_quota(root, mounts[i], cpus, r->group, &q)) {
            continue;
        }
        n = read_file(root, mounts[i], r->group, "/cpu.stat", text);
        if (n < 0 || !skl_cpu_parse_usage(text, (size_t)n, &r->used)) {
            continue;
        }
        r->all = (uint64_t)now / 1000;
        r->share = ratio_of(&q);
        r->source = SKL_CPU_CGROUP;
        return 1;
    }
    return 0;
}

static int read_host(const char *root, reading_t *r)
{
    char text[FILE_BYTES];
    int n = read_file(root, "/proc", "", "/stat", text);

    r->source = SKL_CPU_STAT;
    r->share = 1;
    r->group[0] = '\0';
    return n >= 0 && skl_cpu_parse_stat(text, (size_t)n, &r->used, &r->all);
}

int skl_cpu_sample(skl_cpu_t *c, const char *root, int64_t mono_now,
                   double *share)
{
    reading_t r = {0};
    int good;

    if (c->sampled_at != 0 && mono_now - c->sampled_at < SKL_CPU_PERIOD_NS) {
        return 0;
    }
    if (c->cpus <= 0) {
        c->cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    }
    if (!read_group(root, c->cpus, mono_now, &r) && !read_host(root, &r)) {
        c->source = SKL_CPU_NONE;
        return 0;
    }
    /* Only differences of one source say something. */
    good = r.source == c->source && strcmp(r.group, c->group) == 0 &&
           r.all > c->all && r.used >= c->used;
    if (good) {
        skl_assert(r.share > 0);
        *share =
            (double)(r.used - c->used) / (double)(r.all - c->all) / r.share;
        *share = *share < 1 ? *share : 1;
    }
    c->source = r.source;
    c->used = r.used;
    c->all = r.all;
    c->sampled_at = mono_now;
    memcpy(c->group, r.group, sizeof(c->group));
    return good;
}
