/*
 * simledger.h - a whole ledger on a simulated disk: tables, ring, writer of
 * the log, snapshots and cursors, without engine, segment or threads.
 *
 * simledger_open() does what the opener of a data directory does, in its
 * order; simledger_die() is the death of every process. All that was ever
 * recorded is remembered by LSN, outside of the disk, so that what comes back
 * can be compared with it: simledger_open() cuts the memory to what it
 * recovered, and simledger_agrees() compares the tables with it byte by byte.
 *
 * Time is the caller's. Threads: one.
 */
#ifndef SKL_TEST_SIMLEDGER_H
#define SKL_TEST_SIMLEDGER_H

#include "io/recover.h"
#include "io/snapshot.h"
#include "io/wal_write.h"
#include "stock/stock.h"
#include "test/support/simdisk.h"

#define SIM_SEC 1000000000LL
#define SIM_MS 1000000LL
/* 2026-01-01 */
#define SIM_T0 (1767225600LL * SIM_SEC)

typedef struct {
    uint32_t items, reservations, users, requests, log_units;
    uint64_t segment_bytes, max_bytes;
    int64_t window_ns, max_lag_ns;
    uint64_t seed; /* of uuid and hash key */
} simledger_config_t;

/* What happened in all lives. */
typedef struct {
    skl_record_t *list; /* list[i] has LSN i + 1 */
    uint64_t count, room;
} simledger_memory_t;

typedef struct {
    simledger_config_t config;
    skl_fs_t *fs;
    skl_identity_t id;
    void *tables, *ring;
    skl_counters_shm_t *counters_shm;
    skl_counters_t counters;
    skl_wal_shm_t *wal;
    skl_wal_writer_t writer;
    skl_stock_t stock;
    skl_snapshot_build_t *build;
    int64_t now, mono;
    uint64_t recovered; /* last LSN that the last open found */
    simledger_memory_t *memory;
    int is_open;
    char text[256]; /* of the last failure */
} simledger_t;

simledger_config_t simledger_config(void);
/* Open what is on the disk, or make it. OK, or a code: nothing is open. */
int simledger_open(simledger_t *l, simdisk_t *disk, const simledger_config_t *c,
                   simledger_memory_t *memory, int64_t now);
/* Every process is dead. */
void simledger_die(simledger_t *l);
/* Only the process that wrote the log is dead: another one takes over, with
 * the tables and the ring as they are. */
void simledger_take_over(simledger_t *l);
void simledger_memory_free(simledger_memory_t *m);

/* Remember new records. */
void simledger_note(simledger_t *l);
uint64_t simledger_lsn(const simledger_t *l);
uint64_t simledger_durable(const simledger_t *l);
/* One step of the flusher. */
int simledger_flush(simledger_t *l);
/* Until all is durable, letting time pass: 1, or 0 when it does not get there.
 */
int simledger_settle(simledger_t *l);
/* One step of building a snapshot, the first one begins it: 1 more to do; 0
 * done, or there is nothing to do; or a code. The last one recycles. */
int simledger_snapshot(simledger_t *l, uint32_t records);

/* The tables are what the remembered records make, and sound: 1 or 0. */
int simledger_agrees(simledger_t *l);
/* Sell what is left of every item, to the last unit: 1 or 0. Where the ledger
 * is busy, `make_room` (may be NULL) is called. */
int simledger_sells_out(simledger_t *l, void (*make_room)(void));

/* What a consumer is handed: the key of a record, and its content. */
typedef struct {
    uint64_t lsn;
    uint32_t incarnation;
    uint32_t crc;
} simledger_handed_t;

/* Hand on what is durable behind `lsn`, at most `max` records: how many, or a
 * code. */
int simledger_feed(simledger_t *l, uint64_t lsn, simledger_handed_t *out,
                   int max);
/* Where a consumer stands, durably. */
int simledger_ack(simledger_t *l, const char *name, uint64_t lsn,
                  uint32_t incarnation);
int simledger_acked(simledger_t *l, const char *name, uint64_t *lsn,
                    uint32_t *incarnation);

/* Strings for the calls of the stock. */
static inline skl_bytes_t simledger_str(const char *text)
{
    skl_bytes_t b = {text, __builtin_strlen(text)};

    return b;
}

#endif
