/*
 * How much of its CPU this host, or this container, uses: sampled by the io
 * thread of the process that sweeps.
 *
 * In a cgroup (v2) with a quota, its own or that of a group above it, the
 * share is usage / quota of that group: the tightest one. A quota of more CPUs
 * than the machine has is none. Else it is what /proc/stat says of the whole
 * machine, where stolen time counts as used.
 *
 * The parsers take bytes of a file and believe nothing: they are pure, and
 * fuzzed (csrc/fuzz/cpu_fuzz.c). One thread for each skl_cpu_t.
 */
#ifndef SKL_IO_CPU_H
#define SKL_IO_CPU_H

#include <stddef.h>
#include <stdint.h>

#define SKL_CPU_PERIOD_NS 250000000LL

enum { SKL_CPU_PATH = 512, SKL_CPU_LEVELS = 32 };

enum { SKL_CPU_NONE, SKL_CPU_CGROUP, SKL_CPU_STAT };

/* Of one process; zero-initialised. */
typedef struct {
    int source;         /* of `used` and `all`: SKL_CPU_* */
    int cpus;           /* of the machine; 0: ask it at the first sample */
    uint64_t used, all; /* at the last sample; units of the source */
    int64_t sampled_at; /* mono; 0: never */
    char group[SKL_CPU_PATH]; /* whose quota counts, as of that sample */
} skl_cpu_t;

/* A quota of a cgroup: us of CPU in each period of us; quota 0: none. */
typedef struct {
    uint64_t quota, period;
} skl_cpu_quota_t;

/* The path of the process's cgroup (v2): the line `0::/path` of
 * /proc/<pid>/cgroup. 1, or 0: there is none that can be used. */
int skl_cpu_parse_group(const char *text, size_t len, char *out, size_t size);
/* cpu.max: `max 100000` or `50000 100000`. 1 or 0. */
int skl_cpu_parse_max(const char *text, size_t len, skl_cpu_quota_t *out);
/* usage_usec of cpu.stat. 1 or 0. */
int skl_cpu_parse_usage(const char *text, size_t len, uint64_t *usec);
/* The first line of /proc/stat: ticks used, and ticks in all. 1 or 0. */
int skl_cpu_parse_stat(const char *text, size_t len, uint64_t *used,
                       uint64_t *all);

/* The share (0 .. 1) used since the last sample, at most each 250 ms: 1, or 0:
 * there is none yet. `root` is put before the paths ("" but in tests). */
int skl_cpu_sample(skl_cpu_t *c, const char *root, int64_t mono_now,
                   double *share);

#endif
