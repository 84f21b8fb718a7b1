/*
 * seckill_audit: recounts the tables (stock/audit.c), and with a log compares
 * each item with what its records say.
 *
 * The tables are counted one lock at a time while the sale goes on, so each
 * item is seen as of a record of its own, its last one. Then the log is
 * replayed in private tables, and stopped at each of these records in turn:
 * there the item's numbers must be the same.
 *
 * Threads: any, for the time of a replay; not in an event loop.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "io/recover.h"
#include "seckill_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYNC_NS (5 * SKL_NS_PER_SEC)

static int by_lsn(const void *a, const void *b)
{
    const skl_audit_mark_t *x = a, *y = b;

    return x->lsn < y->lsn ? -1 : x->lsn > y->lsn;
}

static int differs(const skl_tables_t *t, const skl_audit_mark_t *m)
{
    const skl_item_row_t *item = &t->items[m->slot];

    return SKL_LD(item->lsn) != m->lsn ||
           SKL_LD(item->available) != m->available ||
           SKL_LD(item->reserved) != m->reserved ||
           SKL_LD(item->sold) != m->sold || SKL_LD(item->live) != m->live ||
           SKL_LD(item->users) != m->users;
}

/* What the log says, as one more line of the report. */
static void report(const skl_tables_t *t, const skl_audit_mark_t *m, char *text,
                   size_t size)
{
    const skl_item_row_t *item = &t->items[m->slot];
    const size_t used = size > 0 ? strlen(text) : 0;

    if (used + 1 < size) {
        (void)snprintf(text + used, size - used,
                       "item %u: available %lld, reserved %lld, sold %lld; the "
                       "log says %lld, %lld, %lld\n",
                       m->slot, (long long)m->available, (long long)m->reserved,
                       (long long)m->sold, (long long)SKL_LD(item->available),
                       (long long)SKL_LD(item->reserved),
                       (long long)SKL_LD(item->sold));
    }
}

/* Replay and compare: problems, or a code. */
static int compare(seckill_t *sk, skl_tables_t *t, skl_audit_mark_t *marks,
                   uint32_t count, char *text, size_t size)
{
    skl_replay_t *replay;
    char err[200];
    int problems = 0;
    int rc = skl_replay_begin(sk->log.dir.fs, &sk->log.identity, t, 0, &replay,
                              err, sizeof(err));

    if (rc != SECKILL_OK) {
        return rc;
    }
    for (uint32_t i = 0; rc >= 0 && i < count; i++) {
        skl_recovered_t at;

        do {
            rc = skl_replay_step(replay, marks[i].lsn, UINT64_MAX, err,
                                 sizeof(err));
        } while (rc == 1);
        skl_replay_state(replay, &at);
        /* An item may have been left alone since before the snapshot. */
        if (rc == 0 && at.snapshot_lsn <= marks[i].lsn &&
            differs(t, &marks[i])) {
            problems++;
            report(t, &marks[i], text, size);
            skl_quarantine(&sk->stock, marks[i].slot, marks[i].lsn);
        }
    }
    skl_replay_end(replay);
    return rc < 0 ? rc : problems;
}

static int audit_log(seckill_t *sk, skl_audit_mark_t *marks, uint32_t count,
                     char *text, size_t size)
{
    skl_tables_t t;
    int rc = seckill_sync_wait(sk, seckill_lsn(sk), SYNC_NS);

    rc = rc == SECKILL_OK ? skl_tables_new(&sk->log.identity, &t) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    qsort(marks, count, sizeof(*marks), by_lsn);
    rc = compare(sk, &t, marks, count, text, size);
    skl_tables_free(&t);
    return rc;
}

int seckill_audit(seckill_t *sk, char *text, size_t text_size)
{
    const uint32_t items = sk->stock.tables.shm->items;
    skl_audit_mark_t *marks = calloc(items, sizeof(*marks));
    uint32_t count = 0;
    int rc, more = 0;

    if (marks == NULL) {
        return SECKILL_ENOMEM;
    }
    rc = skl_stock_audit(&sk->stock, text, text_size, marks, &count);
    skl_assert(count <= items);
    if (rc >= 0 && skl_engine_dir(sk)[0] != '\0') {
        more = audit_log(sk, marks, count, text, text_size);
        rc = more < 0 ? more : rc + more;
    }
    free(marks);
    return rc;
}
