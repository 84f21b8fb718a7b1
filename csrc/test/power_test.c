/*
 * Power loss and faults of the disk at every call.
 *
 * A scripted sale (puts, reservations, orders of two lines and their ends,
 * adjusts, segments that roll, snapshots, recycling, a consumer with a cursor)
 * runs once on a simulated disk to count its calls. Then it runs again for
 * every call and every fault that fits the call. What comes back is held
 * against the promises:
 *
 *   sync      every answer whose LSN was durable at the crash is there, and a
 *             retry gets it again
 *   async     what is lost is a suffix: the tables are those after some LSN,
 *             byte by byte
 *   hand-off  what the consumer got is in the log, under the same key
 *   ids       an id that was given out for a lost record is never valid again
 *   nothing is stranded: the rest sells out to the last unit
 *
 * SECKILL_FULL=1 takes every call, else a share of them. One thread.
 */
/* runs: long */
/* variants: rel asan */
#include "test/support/simledger.h"
#include "test/support/tap.h"

enum { ANSWERS = 512, HANDED = 1024, ROUNDS = 9, NAME = 24, SHARE = 7 };

#define CONSUMER "shop"

enum { RESERVE, CONFIRM, CANCEL, REFUND, ADJUST, OTHER };

/* An order has the kind of a reservation: one id finds it and ends it. */

typedef struct {
    int kind, rc;
    uint64_t lsn;  /* of the answer */
    uint64_t made; /* of the reservation that it tells of */
    char request[NAME];
    char id[SECKILL_ID_MAX + 1];
} answer_t;

typedef struct {
    simdisk_t *disk;
    simledger_t l;
    simledger_memory_t memory;
    answer_t answers[ANSWERS];
    int answer_count;
    int left[ROUNDS + 1]; /* answers whose holds are left to end */
    simledger_handed_t handed[HANDED];
    int handed_count;
    uint64_t acked, acking; /* durably; at least tried */
    uint64_t durable;       /* the newest ever seen */
    uint32_t busy;
    uint32_t late; /* orders confirmed after the end of their holds */
    int dead;      /* no ledger could be opened */
} run_t;

static char what[96]; /* of the run, for messages */
static run_t run;
static uint64_t images, runs;

/* ---- The sale ------------------------------------------------------------ */

static int alive(void)
{
    return !run.dead && !simdisk_is_frozen(run.disk);
}

static answer_t *answer(int kind, int rc, const char *request)
{
    answer_t *a = &run.answers[run.answer_count++];

    memset(a, 0, sizeof(*a));
    a->kind = kind;
    a->rc = rc;
    a->lsn = skl_answer_lsn();
    snprintf(a->request, NAME, "%s", request);
    run.busy += rc == SECKILL_EBUSY;
    simledger_note(&run.l);
    return a;
}

static void put(const char *name, int64_t total, int64_t version)
{
    seckill_item_t i = {.struct_size = sizeof(i),
                        .item_len = (uint32_t)strlen(name),
                        .total = total,
                        .hold_ns = 10 * SIM_SEC,
                        .version = version};

    memcpy(i.item, name, strlen(name));
    answer(OTHER, skl_stock_put(&run.l.stock, &i, run.l.now), "");
}

static answer_t *reserve(const char *item, int user, int64_t qty, int request)
{
    char u[NAME], r[NAME];
    seckill_reservation_t out = {0};
    answer_t *a;
    int rc;

    snprintf(u, NAME, "user-%d", user);
    snprintf(r, NAME, "request-%d", request);
    rc = skl_stock_reserve(&run.l.stock, simledger_str(item), simledger_str(u),
                           qty, simledger_str(r), run.l.now, &out);
    a = answer(RESERVE, rc, r);
    memcpy(a->id, out.id, out.id_len);
    a->made = out.lsn;
    return a;
}

/* One lamp and two chairs. */
static answer_t *order(int user, int request)
{
    seckill_line_t lines[2] = {{.qty = 1, .item_len = 4, .item = "lamp"},
                               {.qty = 2, .item_len = 5, .item = "chair"}};
    char u[NAME], r[NAME];
    seckill_order_t out = {0};
    uint32_t line;
    answer_t *a;
    int rc;

    snprintf(u, NAME, "user-%d", user);
    snprintf(r, NAME, "request-%d", request);
    rc = skl_stock_order(&run.l.stock, simledger_str(u), simledger_str(r),
                         lines, 2, run.l.now, &out, &line);
    a = answer(RESERVE, rc, r);
    memcpy(a->id, out.id, out.id_len);
    a->made = out.lsn;
    return a;
}

/* qty: 0, or a part. With `again` the hold may have ended. */
static int confirm(const answer_t *of, int64_t qty, int again)
{
    int rc = of->rc;

    if (rc == SECKILL_OK) {
        rc = skl_stock_confirm_with(&run.l.stock, simledger_str(of->id), qty,
                                    again, run.l.now);
        memcpy(answer(CONFIRM, rc, "")->id, of->id, sizeof(of->id));
    }
    return rc;
}

static void settle(int kind, const answer_t *of, int request)
{
    const skl_bytes_t id = simledger_str(of->id);
    skl_stock_t *s = &run.l.stock;
    char r[NAME];
    int rc;

    if (of->rc != SECKILL_OK) {
        return;
    }
    snprintf(r, NAME, "request-%d", request);
    rc = kind == CONFIRM ? skl_stock_confirm(s, id, run.l.now)
         : kind == CANCEL
             ? skl_stock_cancel(s, id, run.l.now)
             : skl_stock_refund(s, id, simledger_str(r), run.l.now);
    memcpy(answer(kind, rc, r)->id, of->id, sizeof(of->id));
}

static void flush(void)
{
    for (int i = 0; i < 3 && alive(); i++) {
        if (simledger_flush(&run.l) >= 0) {
            break;
        }
        run.l.mono += SIM_SEC;
    }
    CHECK(simledger_durable(&run.l) >= run.durable);
    run.durable = simledger_durable(&run.l);
}

/* A fault of the disk is no damage, and takes nothing away. */
static void reads_on(int rc)
{
    if (!CHECK(rc != SECKILL_ECORRUPT && rc != SECKILL_ECURSORGONE)) {
        printf("#   %s: %s: %s\n", what, seckill_errname(rc), run.l.text);
    }
}

static void feed(void)
{
    const uint64_t from =
        run.handed_count > 0 ? run.handed[run.handed_count - 1].lsn : 0;
    int n = alive()
                ? simledger_feed(&run.l, from, run.handed + run.handed_count, 7)
                : 0;

    run.handed_count += n > 0 ? n : 0;
    reads_on(n);
}

static void ack(void)
{
    const simledger_handed_t *last = run.handed;

    if (run.handed_count == 0 || !alive()) {
        return;
    }
    last += run.handed_count - 1;
    run.acking = last->lsn;
    if (simledger_ack(&run.l, CONSUMER, last->lsn, last->incarnation) ==
        SECKILL_OK) {
        run.acked = last->lsn;
    }
}

static void snapshot(void)
{
    int rc;

    do {
        rc = alive() ? simledger_snapshot(&run.l, 16) : 0;
    } while (rc == 1);
    reads_on(rc);
}

/* What becomes of an order: sold, cancelled, or left to the end of its holds
 * and sold after all, three rounds later. */
static void orders_round(int round)
{
    const answer_t *a = order(round, 10 * round + 6);

    flush();
    if (round % 3 == 0) {
        settle(CONFIRM, a, 0);
    } else if (round % 3 == 1) {
        settle(CANCEL, a, 0);
    } else {
        run.left[round] = (int)(a - run.answers) + 1;
    }
    order(round, 10 * round + 6); /* a retry */
    if (round % 2 == 0) {
        settle(REFUND, a, 10 * round + 7);
    }
    if (round >= 3 && run.left[round - 3] != 0) {
        run.late +=
            confirm(&run.answers[run.left[round - 3] - 1], 0, 1) == SECKILL_OK;
    }
    flush();
}

static void sale_round(int round)
{
    const char *item = round % 2 == 0 ? "lamp" : "chair";
    const int base = 10 * round;
    const answer_t *a = reserve(item, round, 1, base);
    const answer_t *b = reserve(item, round + 1, 2, base + 1);
    const answer_t *c = reserve(item, round + 2, 1, base + 2);
    char r[NAME];

    flush();
    settle(CONFIRM, a, 0);
    if (round % 2 == 0) {
        settle(CANCEL, b, 0);
    } else {
        confirm(b, 1, 0);
    }
    flush();
    orders_round(round);
    snprintf(r, NAME, "request-%d", base + 3);
    answer(ADJUST,
           skl_stock_adjust(&run.l.stock, simledger_str(item), round % 3 - 4,
                            simledger_str(r), run.l.now),
           r);
    feed();
    reserve(item, round, 1, base); /* a retry */
    reserve("none", round, 1, base + 4);
    flush();
    ack();
    if (round % 3 == 1) {
        settle(REFUND, a, base + 5);
    }
    run.l.now += 4 * SIM_SEC;
    run.l.mono += 4 * SIM_SEC;
    flush();
    settle(CONFIRM, c, 0);
    (void)skl_stock_sweep(&run.l.stock, 100, run.l.now);
    simledger_note(&run.l);
    if (round % 2 == 1) {
        snapshot();
    }
    feed();
}

static void open_ledger(void)
{
    const simledger_config_t c = simledger_config();

    run.dead = 1;
    for (int i = 0; i < 3 && run.dead && !simdisk_is_frozen(run.disk); i++) {
        run.dead = simledger_open(&run.l, run.disk, &c, &run.memory, SIM_T0) !=
                   SECKILL_OK;
    }
}

static void sale(void)
{
    runs++;
    open_ledger();
    for (int round = 0; round < ROUNDS && alive(); round++) {
        if (round == 0) {
            put("lamp", 60, 1);
            put("chair", 80, 1);
        }
        if (round == 5) {
            put("lamp", -1, 2);
        }
        sale_round(round);
    }
    if (alive()) {
        reserve("lamp", 90, 1, 900);
        reserve("lamp", 91, 1, 901);
    }
}

static void begin(uint64_t seed)
{
    memset(&run, 0, sizeof(run));
    run.disk = simdisk_new(seed);
}

static void end(void)
{
    simledger_die(&run.l);
    simdisk_free(run.disk);
    simledger_memory_free(&run.memory);
}

/* ---- What comes back ----------------------------------------------------- */

static int bad(const simledger_t *l, const char *why)
{
    CHECK(!"a promise is broken");
    printf("#   %s: %s: %s\n", what, why, l->text);
    return 0;
}

static void copy_memory(simledger_memory_t *to)
{
    memset(to, 0, sizeof(*to));
    if (run.memory.count > 0) {
        to->list = malloc(run.memory.count * sizeof(*to->list));
        memcpy(to->list, run.memory.list, run.memory.count * sizeof(*to->list));
        to->count = to->room = run.memory.count;
    }
}

/* The answer of a reservation that survived, again; one that was lost is not
 * known. */
static int answers_hold(simledger_t *l)
{
    for (int i = 0; i < run.answer_count; i++) {
        const answer_t *a = &run.answers[i];
        seckill_reservation_t r = {0};
        int kept = a->made <= l->recovered, rc;

        if (a->kind != RESERVE || a->rc != SECKILL_OK) {
            continue;
        }
        rc = skl_stock_find(&l->stock, simledger_str(a->request), l->now, &r);
        if (kept ? rc != SECKILL_OK || strlen(a->id) != r.id_len ||
                       memcmp(a->id, r.id, r.id_len) != 0
                 : rc != SECKILL_EUNKNOWNREQUEST) {
            snprintf(l->text, sizeof(l->text), "%s: LSN %llu, %s", a->request,
                     (unsigned long long)a->made, seckill_errname(rc));
            return bad(l, kept ? "an answer is lost" : "a lost id is known");
        }
    }
    return 1;
}

/* Ids of lost reservations, after others were written in their place. */
static int lost_ids_stay_lost(simledger_t *l)
{
    for (int i = 0; i < run.answer_count; i++) {
        const answer_t *a = &run.answers[i];
        int rc;

        if (a->kind != RESERVE || a->rc != SECKILL_OK ||
            a->made <= l->recovered) {
            continue;
        }
        rc = skl_stock_confirm(&l->stock, simledger_str(a->id), l->now);
        if (rc != SECKILL_EUNKNOWNRESERVATION) {
            snprintf(l->text, sizeof(l->text), "%s of LSN %llu: %s", a->id,
                     (unsigned long long)a->made, seckill_errname(rc));
            return bad(l, "an id of a lost reservation is valid");
        }
    }
    return 1;
}

static int handed_hold(simledger_t *l)
{
    simledger_handed_t again[HANDED];
    uint64_t lsn = 0;
    uint32_t incarnation = 0;
    int n, rc = simledger_acked(l, CONSUMER, &lsn, &incarnation);

    if (rc != (run.acked > 0 ? SECKILL_OK : rc) ||
        (rc == SECKILL_OK && (lsn < run.acked || lsn > run.acking))) {
        return bad(l, "the cursor is lost");
    }
    if (run.handed_count > 0 &&
        run.handed[run.handed_count - 1].lsn > l->recovered) {
        return bad(l, "what was handed on is lost");
    }
    n = simledger_feed(l, lsn, again, HANDED);
    if (n < 0 || (uint64_t)n != l->recovered - lsn) {
        return bad(l, "the feed does not go on");
    }
    for (int i = 0, k = 0; i < n; i++) {
        while (k < run.handed_count && run.handed[k].lsn < again[i].lsn) {
            k++;
        }
        if (k < run.handed_count && run.handed[k].lsn == again[i].lsn &&
            (run.handed[k].incarnation != again[i].incarnation ||
             run.handed[k].crc != again[i].crc)) {
            return bad(l, "another record or key is handed on");
        }
    }
    return 1;
}

/* What was recovered is as good as durable. */
static int survives_again(simdisk_t *disk, uint64_t recovered, uint32_t percent)
{
    const simledger_config_t c = simledger_config();
    simdisk_t *image = simdisk_clone(disk, images);
    simledger_memory_t memory;
    simledger_t l;
    int good = 1;

    copy_memory(&memory);
    simdisk_power_loss(image, percent);
    if (simledger_open(&l, image, &c, &memory, run.l.now) != SECKILL_OK) {
        good = bad(&l, "a power loss after the recovery: it does not open");
    } else if (l.recovered < recovered || !simledger_agrees(&l)) {
        good = bad(&l, "a power loss after the recovery took something");
    }
    simledger_die(&l);
    simdisk_free(image);
    simledger_memory_free(&memory);
    return good;
}

/* Open the image, and hold it against the run. */
static int holds(simdisk_t *image)
{
    const simledger_config_t c = simledger_config();
    const uint64_t tail = run.memory.count;
    simledger_memory_t memory;
    simledger_t l;
    int good = 1;

    images++;
    copy_memory(&memory);
    if (simledger_open(&l, image, &c, &memory, run.l.now) != SECKILL_OK) {
        good = bad(&l, "it does not open");
    } else if (l.recovered < run.durable || l.recovered > tail) {
        snprintf(l.text, sizeof(l.text), "%llu recovered, %llu durable",
                 (unsigned long long)l.recovered,
                 (unsigned long long)run.durable);
        good = bad(&l, "what was durable is lost");
    } else if (!simledger_agrees(&l)) {
        good = bad(&l, "another state");
    }
    good = good && survives_again(image, l.recovered, 0) && handed_hold(&l) &&
           answers_hold(&l);
    if (good && !simledger_sells_out(&l, NULL)) {
        good = bad(&l, "it does not sell out");
    }
    good = good && lost_ids_stay_lost(&l);
    simledger_die(&l);
    simledger_memory_free(&memory);
    return good;
}

static int holds_after_power_loss(uint64_t seed, uint32_t percent)
{
    simdisk_t *image = simdisk_clone(run.disk, seed);
    int good;

    simdisk_power_loss(image, percent);
    good = holds(image);
    simdisk_free(image);
    return good;
}

static int holds_after_process_crash(uint64_t seed)
{
    simdisk_t *image = simdisk_clone(run.disk, seed);
    int good = holds(image);

    simdisk_free(image);
    return good;
}

/* ---- Tests --------------------------------------------------------------- */

/* Calls of the sale without a fault, and what they are. */
static uint64_t calls;
static unsigned char call_at[1 << 16];

static void count_calls(void)
{
    begin(1);
    sale();
    calls = simdisk_calls(run.disk);
    for (uint64_t i = 0; i < calls && i < sizeof(call_at); i++) {
        call_at[i] = (unsigned char)simdisk_call_at(run.disk, i);
    }
    end();
}

/* Syncs more often than others; under sanitizers, which cost ten times as
 * much, fewer of all. */
static int wanted(uint64_t i)
{
#ifdef __SANITIZE_ADDRESS__
    const uint64_t thin = 5;
#else
    const uint64_t thin = 1;
#endif
    const int is_sync = call_at[i] == SIM_SYNC || call_at[i] == SIM_SYNC_DIR;

    return tap_full() || i % (thin * (is_sync ? 1 : SHARE)) == 0;
}

TEST(the_sale_is_sound_without_faults)
{
    snprintf(what, sizeof(what), "no fault");
    count_calls();
    begin(1);
    sale();
    CHECK_INT(0, run.busy);
    CHECK(run.acked > 0);
    CHECK(run.late > 0);
    CHECK(run.memory.count > run.durable);
    CHECK(simdisk_used(run.disk) < 1 << 20);
    printf("# the sale makes %" PRIu64 " calls, %" PRIu64 " records\n", calls,
           run.memory.count);
    CHECK(simledger_agrees(&run.l));
    CHECK(holds_after_process_crash(1));
    CHECK(holds_after_power_loss(1, 50));
    CHECK(simledger_settle(&run.l));
    run.durable = simledger_durable(&run.l);
    CHECK(holds_after_power_loss(2, 0));
    end();
}

/* Death in a call: with and without the power. */
static int die_at(uint64_t i)
{
    static const uint32_t percents[] = {0, 50, 90, 100};
    int good = 1;

    snprintf(what, sizeof(what), "death in call %" PRIu64, i);
    begin(i);
    simdisk_fault(run.disk, i, SIM_FREEZE, 1);
    sale();
    CHECK(simdisk_is_frozen(run.disk));
    for (int k = 0; k < 4 && good; k++) {
        good = holds_after_power_loss(i * 4 + (uint64_t)k, percents[k]);
    }
    good = good && holds_after_process_crash(i);
    end();
    return good;
}

TEST(death_in_any_call)
{
    count_calls();
    for (uint64_t i = 0; i < calls; i++) {
        if (wanted(i) && !die_at(i)) {
            break;
        }
    }
}

/* A fault that passes: the sale goes on, and everything becomes durable. */
static int pass_fault(uint64_t i, int fault, uint64_t count)
{
    int good;

    snprintf(what, sizeof(what), "fault %d, %d times from call %" PRIu64, fault,
             (int)count, i);
    begin(i + 1000000);
    simdisk_fault(run.disk, i, fault, count);
    sale();
    good = holds_after_process_crash(i) && holds_after_power_loss(i, 50);
    if (good && !run.dead) {
        good = simledger_settle(&run.l) || bad(&run.l, "it does not recover");
        run.durable = simledger_durable(&run.l);
        good = good && holds_after_power_loss(i, 0);
    }
    end();
    return good;
}

/* A fault, and death soon after. */
static int die_after(uint64_t i, int fault, uint64_t later)
{
    int good;

    snprintf(what, sizeof(what),
             "fault %d in call %" PRIu64 ", death %d calls later", fault, i,
             (int)later);
    begin(i + 2000000);
    simdisk_fault(run.disk, i, fault, 1);
    simdisk_fault(run.disk, i + later, SIM_FREEZE, 1);
    sale();
    good = holds_after_process_crash(i) && holds_after_power_loss(i, 0) &&
           holds_after_power_loss(i, 50);
    end();
    return good;
}

static void all_faults(int fault)
{
    int good = 1;

    count_calls();
    for (uint64_t i = 0; i < calls && good; i++) {
        if (!wanted(i) || !simdisk_fits(call_at[i], fault)) {
            continue;
        }
        good = pass_fault(i, fault, 1) &&
               (fault == SIM_SHORT || pass_fault(i, fault, 12));
        for (uint64_t k = 1; k < (tap_full() ? 14 : 3) && good; k++) {
            good = die_after(i, fault, tap_full() ? k : (i + 5 * k) % 11 + 1);
        }
    }
}

TEST(an_error_in_any_call)
{
    all_faults(SIM_EIO);
}

TEST(no_space_in_any_call)
{
    all_faults(SIM_ENOSPC);
}

TEST(short_transfers_in_any_call)
{
    all_faults(SIM_SHORT);
    printf("# power: %" PRIu64 " sales, %" PRIu64 " images of the disk\n", runs,
           images);
}

TAP_MAIN()
