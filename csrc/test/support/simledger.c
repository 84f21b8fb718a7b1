/* See simledger.h. */
#include "test/support/simledger.h"

#include "base/assert.h"
#include "base/hash.h"
#include "io/cursor.h"
#include "stock/apply.h"
#include "stock/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_STEPS = 400, SELL_TRIES = 20, PROBLEMS = 512 };

simledger_config_t simledger_config(void)
{
    simledger_config_t c = {.items = 8,
                            .reservations = 256,
                            .users = 64,
                            .requests = 256,
                            .log_units = 256,
                            .segment_bytes = 16384,
                            .max_bytes = 64 * 16384,
                            .window_ns = 3600 * SIM_SEC,
                            .max_lag_ns = 3600 * SIM_SEC,
                            .seed = 1};

    return c;
}

/* ---- Clocks -------------------------------------------------------------- */

static int64_t ledger_now(void *ctx)
{
    return ((simledger_t *)ctx)->now;
}

static int64_t clock_offset(void *ctx)
{
    (void)ctx;
    return SIM_T0;
}

static int64_t mono_now(void *ctx)
{
    return ((simledger_t *)ctx)->mono;
}

/* ---- Open ---------------------------------------------------------------- */

static void *zeroed(uint64_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);

    skl_assert(p != NULL);
    memset(p, 0, bytes);
    return p;
}

static void make_identity(simledger_t *l)
{
    const simledger_config_t *c = &l->config;
    uint64_t *uuid = (void *)l->id.uuid;

    memset(&l->id, 0, sizeof(l->id));
    uuid[0] = skl_mix64(c->seed);
    uuid[1] = skl_mix64(uuid[0]);
    l->id.key.k0 = skl_mix64(uuid[1]);
    l->id.key.k1 = skl_mix64(l->id.key.k0);
    l->id.window_ns = c->window_ns;
    l->id.request_ids = SECKILL_IDS_OPAQUE;
    l->id.items = c->items;
    l->id.reservations = c->reservations;
    l->id.users = c->users;
    l->id.requests = c->requests;
    l->id.life_count = 1;
    l->id.lives[0].first_lsn = 1;
    l->id.lives[0].incarnation = 7;
}

static int find_identity(simledger_t *l)
{
    int rc = skl_identity_read(l->fs, &l->id, l->text, sizeof(l->text));

    if (rc != SECKILL_ENOTFOUND) {
        return rc;
    }
    make_identity(l);
    return skl_identity_write(l->fs, &l->id, l->text, sizeof(l->text));
}

static void make_sections(simledger_t *l)
{
    const simledger_config_t *c = &l->config;

    l->tables = zeroed(
        skl_tables_bytes(c->items, c->reservations, c->users, c->requests));
    l->ring = zeroed(skl_ring_bytes(c->log_units));
    l->wal = zeroed(sizeof(*l->wal));
    l->counters_shm = zeroed(sizeof(*l->counters_shm));
    skl_tables_init(l->tables, c->items, c->reservations, c->users,
                    c->requests);
    skl_ring_init(l->ring, c->log_units);
    skl_counters_init(l->counters_shm);
    skl_counters_attach(&l->counters, l->counters_shm);
    skl_stock_attach(&l->stock, l->tables, l->ring, &l->id.key, &l->counters);
    l->stock.window_ns = l->id.window_ns;
    l->stock.request_ids = l->id.request_ids;
    l->stock.ring.shm->max_lag_ns = c->max_lag_ns;
}

static int make_writer(simledger_t *l)
{
    if (skl_wal_writer_init(&l->writer, l->fs, l->wal, &l->stock.ring) != 0) {
        return SECKILL_ENOMEM;
    }
    l->writer.ctx = l;
    l->writer.ledger_now = ledger_now;
    l->writer.clock_offset = clock_offset;
    l->writer.mono_now = mono_now;
    return SECKILL_OK;
}

static int begin_writer(simledger_t *l)
{
    memcpy(l->wal->uuid, l->id.uuid, sizeof(l->wal->uuid));
    (void)snprintf(l->wal->dir, sizeof(l->wal->dir), "sim");
    l->wal->segment_bytes = l->config.segment_bytes;
    l->wal->max_bytes = l->config.max_bytes;
    l->wal->state = SECKILL_LOG_OK;
    return make_writer(l);
}

/* A life of its own, durable before anybody gets an id of it. */
static int begin_life(simledger_t *l, uint64_t last_lsn)
{
    int rc;

    skl_identity_raise(&l->id, last_lsn + 1);
    rc = skl_identity_write(l->fs, &l->id, l->text, sizeof(l->text));
    for (uint32_t i = 0; i < l->id.life_count; i++) {
        skl_ring_begin_life(&l->stock.ring, l->id.lives[i].first_lsn,
                            l->id.lives[i].incarnation);
    }
    l->wal->incarnation = l->id.lives[l->id.life_count - 1].incarnation;
    return rc;
}

static int recover(simledger_t *l)
{
    skl_recovered_t found;
    int rc = skl_recover(l->fs, &l->id, &l->stock.tables, &found, l->text,
                         sizeof(l->text));

    if (rc != SECKILL_OK) {
        return rc;
    }
    l->recovered = found.last_lsn;
    skl_ring_restart(&l->stock.ring, found.last_lsn, found.last_time);
    l->wal->incarnation = skl_identity_incarnation(&l->id, found.last_lsn);
    rc = skl_wal_repeat_tail(&l->writer, &found.end);
    rc = rc == SECKILL_OK ? begin_life(l, found.last_lsn) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = skl_wal_begin_life(&l->writer, skl_image_digest(&l->stock.tables));
    return rc == SECKILL_ENOSPACE ? SECKILL_OK : rc; /* open, and full */
}

int simledger_open(simledger_t *l, simdisk_t *disk, const simledger_config_t *c,
                   simledger_memory_t *memory, int64_t now)
{
    int rc;

    memset(l, 0, sizeof(*l));
    l->config = *c;
    l->fs = simdisk_fs(disk);
    l->memory = memory;
    l->now = now;
    l->mono = SIM_SEC;
    rc = find_identity(l);
    if (rc != SECKILL_OK) {
        return rc;
    }
    make_sections(l);
    l->is_open = 1;
    rc = begin_writer(l);
    rc = rc == SECKILL_OK ? recover(l) : rc;
    if (rc != SECKILL_OK) {
        simledger_die(l);
        return rc;
    }
    skl_assert(l->recovered <= memory->count);
    memory->count = l->recovered;
    return SECKILL_OK;
}

void simledger_die(simledger_t *l)
{
    if (!l->is_open) {
        return;
    }
    skl_snapshot_build_end(l->build);
    skl_wal_writer_free(&l->writer);
    free(l->tables);
    free(l->ring);
    free(l->wal);
    free(l->counters_shm);
    l->build = NULL;
    l->is_open = 0;
}

void simledger_take_over(simledger_t *l)
{
    int rc;

    skl_snapshot_build_end(l->build);
    l->build = NULL;
    skl_wal_writer_free(&l->writer);
    rc = make_writer(l);
    skl_assert(rc == SECKILL_OK);
}

/* ---- Memory -------------------------------------------------------------- */

void simledger_memory_free(simledger_memory_t *m)
{
    free(m->list);
    memset(m, 0, sizeof(*m));
}

void simledger_note(simledger_t *l)
{
    simledger_memory_t *m = l->memory;

    while (m->count < skl_ring_tail(&l->stock.ring)) {
        if (m->count == m->room) {
            m->room = m->room == 0 ? 256 : 2 * m->room;
            m->list = realloc(m->list, m->room * sizeof(skl_record_t));
            skl_assert(m->list != NULL);
        }
        skl_assert(skl_ring_read(&l->stock.ring, m->count + 1,
                                 &m->list[m->count]) == 1);
        m->count++;
    }
}

uint64_t simledger_lsn(const simledger_t *l)
{
    return skl_ring_tail(&l->stock.ring);
}

uint64_t simledger_durable(const simledger_t *l)
{
    return skl_wal_durable(&l->stock.ring);
}

/* ---- Steps --------------------------------------------------------------- */

int simledger_flush(simledger_t *l)
{
    return skl_wal_flush(&l->writer);
}

int simledger_settle(simledger_t *l)
{
    char why[SKL_WAL_TEXT];

    for (int i = 0; i < SETTLE_STEPS; i++) {
        if (simledger_durable(l) == simledger_lsn(l)) {
            return 1;
        }
        if (simledger_flush(l) <= 0) {
            l->mono += 100 * SIM_MS;
        }
    }
    skl_wal_text_get(&l->wal->error, why);
    (void)snprintf(l->text, sizeof(l->text), "LSN %llu of %llu is durable: %s",
                   (unsigned long long)simledger_durable(l),
                   (unsigned long long)simledger_lsn(l), why);
    return 0;
}

/* As the child process does: where nothing is new, a log that is full has to do
 * with the snapshots there are. */
static int begin_snapshot(simledger_t *l)
{
    int rc =
        skl_snapshot_build_begin(l->fs, &l->build, l->text, sizeof(l->text));

    if (rc == SECKILL_ENOTFOUND && SKL_LD(l->stock.ring.shm->refuse)) {
        rc = skl_snapshot_recycle(l->fs, &l->id, 1, l->text, sizeof(l->text));
        return rc > 0 ? 0 : rc;
    }
    return rc == SECKILL_OK ? 1 : rc == SECKILL_ENOTFOUND ? 0 : rc;
}

int simledger_snapshot(simledger_t *l, uint32_t records)
{
    uint64_t done, total;
    int rc;

    if (l->build == NULL) {
        return begin_snapshot(l);
    }
    rc = skl_snapshot_build_step(l->build, records, &done, &total);
    if (rc == 1) {
        return 1;
    }
    if (rc < 0) {
        (void)snprintf(l->text, sizeof(l->text), "%s",
                       skl_snapshot_build_error(l->build));
    }
    skl_snapshot_build_end(l->build);
    l->build = NULL;
    return rc;
}

/* ---- What must hold ------------------------------------------------------ */

static int rebuilt_is_same(simledger_t *l)
{
    const simledger_config_t *c = &l->config;
    void *section = zeroed(
        skl_tables_bytes(c->items, c->reservations, c->users, c->requests));
    uint64_t differing, first = 0;
    skl_tables_t t;

    skl_tables_init(section, c->items, c->reservations, c->users, c->requests);
    skl_tables_attach(&t, section, &l->id.key);
    for (uint64_t i = 0; i < l->memory->count; i++) {
        const skl_record_t *r = &l->memory->list[i];

        skl_assert(r->lsn == i + 1);
        skl_apply(&t, r, r->parts, NULL);
    }
    differing = skl_image_differing(&t, &l->stock.tables, &first);
    free(section);
    if (differing != 0) {
        (void)snprintf(l->text, sizeof(l->text),
                       "the tables are not those after LSN %llu: byte %llu",
                       (unsigned long long)l->memory->count,
                       (unsigned long long)first);
    }
    return differing == 0;
}

int simledger_agrees(simledger_t *l)
{
    char problems[PROBLEMS] = "";

    simledger_note(l);
    if (skl_stock_audit(&l->stock, problems, sizeof(problems), NULL, NULL) !=
        0) {
        (void)snprintf(l->text, sizeof(l->text), "audit: %.200s", problems);
        return 0;
    }
    return rebuilt_is_same(l);
}

/* The last buyer: no terms in the way, then all that is there. */
static int sell_once(simledger_t *l, const seckill_item_t *item)
{
    const skl_bytes_t name = {item->item, item->item_len};
    seckill_reservation_t r;
    seckill_item_t put = *item;
    char text[SECKILL_ID_MAX];
    int rc;

    put.total = -1;
    put.per_user = put.max_qty = put.hold_ns = put.starts_at = put.ends_at = 0;
    put.version = item->version + 1;
    rc = skl_stock_put(&l->stock, &put, l->now);
    rc = rc == SECKILL_OK ? skl_stock_pause(&l->stock, name, 0, l->now) : rc;
    rc = rc == SECKILL_OK ? skl_stock_get(&l->stock, name, &put) : rc;
    if (rc != SECKILL_OK || put.available == 0) {
        return rc;
    }
    (void)snprintf(text, sizeof(text), "last-%.40s", item->item);
    return skl_stock_reserve(&l->stock, name, simledger_str(text),
                             put.available, simledger_str(text), l->now, &r);
}

static int sell_item(simledger_t *l, const seckill_item_t *item,
                     void (*make_room)(void))
{
    const skl_bytes_t name = {item->item, item->item_len};
    seckill_item_t after;
    int rc = SECKILL_EBUSY;

    for (int i = 0; i < SELL_TRIES && rc == SECKILL_EBUSY; i++) {
        rc = sell_once(l, item);
        simledger_note(l);
        if (make_room != NULL) {
            make_room();
        } else if (!simledger_settle(l)) {
            return 0;
        }
    }
    if (rc != SECKILL_OK ||
        skl_stock_get(&l->stock, name, &after) != SECKILL_OK) {
        (void)snprintf(l->text, sizeof(l->text), "%.*s: %s",
                       (int)item->item_len, item->item, seckill_errname(rc));
        return 0;
    }
    (void)snprintf(l->text, sizeof(l->text), "%.*s: %lld of %lld sold",
                   (int)item->item_len, item->item, (long long)after.sold,
                   (long long)after.total);
    return after.sold == after.total && after.available == 0 &&
           after.reserved == 0;
}

/* Every hold has ended by then. */
int simledger_sells_out(simledger_t *l, void (*make_room)(void))
{
    seckill_item_t item;
    uint32_t cursor = 0;

    l->now += l->config.window_ns / 2;
    while (skl_stock_next(&l->stock, &cursor, &item) == SECKILL_OK) {
        if (!sell_item(l, &item, make_room)) {
            return 0;
        }
    }
    return simledger_agrees(l);
}

/* ---- Consumers ----------------------------------------------------------- */

int simledger_feed(simledger_t *l, uint64_t lsn, simledger_handed_t *out,
                   int max)
{
    const skl_record_t *rec;
    skl_wal_reader_t *r;
    skl_wal_place_t place;
    int n = 0, rc;

    if (lsn >= simledger_durable(l)) {
        return 0;
    }
    rc = skl_wal_reader_open(l->fs, l->id.uuid, lsn + 1, &r, l->text,
                             sizeof(l->text));
    if (rc != SECKILL_OK) {
        return rc;
    }
    skl_wal_reader_limit(r, simledger_durable(l));
    for (; n < max && (rc = skl_wal_read(r, &rec)) == 1; n++) {
        skl_wal_reader_place(r, &place);
        out[n] = (simledger_handed_t){rec->lsn, place.incarnation, rec->crc};
    }
    if (rc < 0) {
        (void)snprintf(l->text, sizeof(l->text), "%s", skl_wal_reader_error(r));
    }
    skl_wal_reader_close(r);
    return rc < 0 ? rc : n;
}

int simledger_ack(simledger_t *l, const char *name, uint64_t lsn,
                  uint32_t incarnation)
{
    return skl_cursor_set(l->fs, &l->id, name, lsn, incarnation, 1);
}

int simledger_acked(simledger_t *l, const char *name, uint64_t *lsn,
                    uint32_t *incarnation)
{
    skl_cursor_t c;
    int rc = skl_cursor_get(l->fs, &l->id, name, &c);

    if (rc == SECKILL_OK) {
        *lsn = c.lsn;
        *incarnation = c.incarnation;
        rc = c.dropped ? SECKILL_ECURSORGONE : SECKILL_OK;
    }
    return rc;
}
