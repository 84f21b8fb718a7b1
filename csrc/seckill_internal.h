/*
 * The engine handle: what the files at the top (seckill*.c) share. Each of
 * them wires one part of the public API to its module; nothing below this
 * layer includes this file.
 *
 * One handle per segment and process, found again by name (open counts
 * references); valid in children after fork, which share the mapping.
 */
#ifndef SECKILL_INTERNAL_H
#define SECKILL_INTERNAL_H

#include "acl/lists.h"
#include "breaker/breaker.h"
#include "breaker/shed.h"
#include "io/cpu.h"
#include "io/io.h"
#include "limit/hot.h"
#include "limit/limits.h"
#include "limit/permits.h"
#include "seckill.h"
#include "seckill_log.h"
#include "shm/counters.h"
#include "shm/processes.h"
#include "shm/segment.h"
#include "stock/sink.h"
#include "stock/commit.h"
#include "stock/stock.h"

struct seckill {
    struct seckill *next; /* registry of this process */
    uint32_t references;
    int32_t counters_pid; /* process whose stripe counters.mine is */
    skl_segment_t segment;
    skl_counters_t counters;
    skl_stock_t stock;
    skl_limits_t limits;
    skl_hot_t hot;
    skl_lists_t lists;
    skl_processes_t processes;
    skl_permits_t permits;
    skl_breakers_t breakers;
    skl_sheds_t sheds;
    skl_cpu_t cpu; /* of the io thread */
    skl_io_t *io;  /* threads of this process; NULL before seckill_start */
    skl_sink_t *sink;
    seckill_log_t log;
    _Atomic int64_t test_clock_ns;
};

/* Is there a log on disk? */
static inline int seckill_has_log(const seckill_t *sk)
{
    return sk->log.writer.shm != NULL;
}

/* A child of fork() counts on a stripe of its own. */
void seckill_refresh_process(seckill_t *sk);
/* Set the pointers of the handle into its segment. */
void seckill_attach_sections(seckill_t *sk);
/* The same for breakers and shedders; the gauge of the CPU, at a tick. */
void seckill_attach_breakers(seckill_t *sk);
void seckill_sample_cpu(seckill_t *sk, int64_t mono_now);
/* The directory of its log; "": none. */
const char *skl_engine_dir(seckill_t *sk);

#endif
