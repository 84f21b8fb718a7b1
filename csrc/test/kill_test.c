/*
 * Death of a process at any instruction of any operation of the ledger.
 *
 * How it works. For each operation below a child makes the call one
 * instruction at a time (stepper.h) on a tiny ledger (crash.h). Between any
 * two instructions the parent does to the shared bytes what the kernel does
 * when the child dies there, takes over, checks, and puts the bytes back for
 * the next instruction. What is checked:
 *   - readers: get and find see a whole state, the one before the call or the
 *     one after it, and which of the two is decided by the commit point alone;
 *   - the same call again, with the same request id, gives the one answer;
 *   - the ledger then is, byte for byte, the one of an undisturbed call;
 *   - audit finds nothing, and the records alone rebuild the same tables.
 * At sampled instructions the child is really killed: the bytes must be those
 * that the emulated death gave, and the same checks follow. Then the process
 * that takes over dies, too, at each of its instructions, and a third one
 * finishes. kill_loop_test.c kills processes that sell at full speed.
 *
 * SECKILL_FULL=1 samples far more. A stepped sanitizer proves nothing more:
 * variants: rel
 */
/* runs: long */
#include "test/support/crash.h"
#include "test/support/stepper.h"

#include "test/support/tap.h"

enum {
    ANY = 1,        /* case.again: any count is a good answer */
    TWO_SHARDS = 1, /* the id and the user are in different shards */
    USER_FIRST = 2, /* ... the user's is locked first */
    LOOSE = 4,      /* a retry may leave another, equally good state */
    TWO_LINES = 8,  /* an order of two lines */
    GOODS = 2,
    CHANGES_MAX = 8192
};

typedef struct run run_t;

typedef struct {
    void (*prepare)(run_t *);
    int (*call)(run_t *, seckill_reservation_t *);
    int again; /* what the call answers when it was done already */
    int flags;
    int records; /* that the call writes */
} case_t;

static const char *const goods[GOODS] = {"shoes", "hats"};

/* What readers see. */
typedef struct {
    int get_rc[GOODS], find_rc;
    seckill_item_t item[GOODS];
    seckill_reservation_t found;
} sight_t;

struct run {
    const case_t *c;
    crash_world_t w;
    crash_image_t before, after, here, there;
    sight_t sees_before, sees_after;
    int want_rc;
    seckill_reservation_t want;
    uint64_t tail_before, tail_after;
    char user[16], request[16], id[SECKILL_ID_MAX];
    size_t id_len;
    long steps, first_lock, published, released;
    uint64_t random;
    long points, states, kills, repair_deaths;
    long changes[CHANGES_MAX]; /* instructions that changed shared bytes */
    size_t change_count;
    char why[256];
};

static uint64_t seed;

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ULL;
    return skl_mix64(*state);
}

/* ---- Steps of a preparation ---------------------------------------------- */

static void must(run_t *t, int want, int rc)
{
    if (rc != want && t->why[0] == '\0') {
        snprintf(t->why, sizeof(t->why), "prepare: %s instead of %s",
                 seckill_errname(rc), seckill_errname(want));
    }
    (void)crash_note(&t->w);
}

static seckill_item_t shoes(int64_t total, int64_t hold_s, int64_t version)
{
    seckill_item_t i = {.struct_size = sizeof(i),
                        .total = total,
                        .hold_ns = hold_s * CRASH_SEC,
                        .version = version,
                        .per_user = 4,
                        .item_len = 5,
                        .item = "shoes"};

    return i;
}

static int put(run_t *t, int64_t total, int64_t hold_s, int64_t version)
{
    seckill_item_t i = shoes(total, hold_s, version);

    return seckill_put(t->w.sk, &i);
}

static int reserve(run_t *t, const char *user, const char *request, int64_t qty,
                   seckill_reservation_t *out)
{
    return seckill_reserve(t->w.sk, "shoes", 5, user, strlen(user), qty,
                           request, strlen(request), out);
}

/* A reservation; the call under test is about it. */
static void order(run_t *t, const char *user, const char *request, int64_t qty)
{
    seckill_reservation_t r;

    must(t, SECKILL_OK, reserve(t, user, request, qty, &r));
    memcpy(t->id, r.id, r.id_len);
    t->id_len = r.id_len;
}

static void pass(run_t *t, int64_t ns)
{
    crash_at(&t->w, t->w.now + ns);
}

/* With two shards: names that fall where the case wants them. */
static void choose_names(run_t *t)
{
    const skl_tables_t *tables = &t->w.sk->stock.tables;
    const uint64_t born = SKL_LD(tables->items[0].born);
    const uint32_t last = tables->shm->shards - 1;
    const uint32_t of_user = t->c->flags & USER_FIRST ? 0 : last;
    uint32_t n = 0;

    do {
        snprintf(t->user, sizeof(t->user), "user%u", n++);
    } while (
        skl_shard_of(tables, skl_user_key(skl_key_of(tables, t->user,
                                                     (uint32_t)strlen(t->user)),
                                          born)) != of_user);
    do {
        snprintf(t->request, sizeof(t->request), "request%u", n++);
    } while (skl_shard_of(tables, skl_key_of(tables, t->request,
                                             (uint32_t)strlen(t->request))) !=
             last - of_user);
}

/* An item with holds of 10 s, and some life in it. */
static void open_sale(run_t *t)
{
    must(t, SECKILL_OK, put(t, 10, 10, 1));
    choose_names(t);
    order(t, "early", "early-1", 1);
    must(t, SECKILL_OK, seckill_confirm(t->w.sk, t->id, t->id_len));
    order(t, "other", "other-1", 1);
}

static void open_sale_at_once(run_t *t)
{
    must(t, SECKILL_OK, put(t, 10, 0, 1));
    choose_names(t);
    order(t, "early", "early-1", 1);
}

static void known_user(run_t *t)
{
    open_sale(t);
    order(t, t->user, "first", 1);
}

static void reserved(run_t *t)
{
    open_sale(t);
    order(t, "later", "later-1", 1);
    order(t, t->user, t->request, 2);
}

/* ... in the middle of the hold list. */
static void reserved_between(run_t *t)
{
    char id[SECKILL_ID_MAX];

    reserved(t);
    memcpy(id, t->id, sizeof(id));
    order(t, "later", "later-2", 1);
    memcpy(t->id, id, sizeof(id));
}

static void confirmed(run_t *t)
{
    reserved(t);
    must(t, SECKILL_OK, seckill_confirm(t->w.sk, t->id, t->id_len));
}

static void cancelled(run_t *t)
{
    reserved(t);
    must(t, SECKILL_OK, seckill_cancel(t->w.sk, t->id, t->id_len));
}

/* Everything is on hold, and all holds are due. */
static void sold_out_and_due(run_t *t)
{
    must(t, SECKILL_OK, put(t, 3, 10, 1));
    choose_names(t);
    order(t, "early", "early-1", 1);
    pass(t, CRASH_SEC);
    order(t, "other", "other-1", 2);
    pass(t, 20 * CRASH_SEC);
}

static void holds_due(run_t *t)
{
    reserved_between(t);
    pass(t, 20 * CRASH_SEC);
    snprintf(t->request, sizeof(t->request), "early-1"); /* to find: not due */
}

/* One id is past its window, the user has another one. */
static void id_due(run_t *t)
{
    open_sale(t);
    pass(t, CRASH_WINDOW - CRASH_SEC);
    order(t, "early", "early-2", 1);
    pass(t, 3 * CRASH_SEC);
}

/* All ids are past their window; one user has nothing. */
static void all_due(run_t *t)
{
    cancelled(t);
    must(t, SECKILL_OK, seckill_adjust(t->w.sk, "shoes", 5, 2, "adj", 3));
    pass(t, CRASH_WINDOW + CRASH_SEC);
}

static void removed(run_t *t)
{
    cancelled(t);
    order(t, "early", "early-3", 2);
    must(t, SECKILL_OK, seckill_confirm(t->w.sk, t->id, t->id_len));
    pass(t, 20 * CRASH_SEC);
    must(t, SECKILL_OK, seckill_remove(t->w.sk, "shoes", 5));
    pass(t, CRASH_WINDOW);
}

/* No free row is left until old ids are retired. */
static void full_of_old(run_t *t)
{
    must(t, SECKILL_OK, put(t, 100, 10, 1));
    choose_names(t);
    for (int i = 0; i < 10; i++) {
        char user[16];

        snprintf(user, sizeof(user), "old%d", i % 4);
        order(t, user, (char[]){'o', (char)('a' + i), '\0'}, 1);
        must(t, SECKILL_OK, seckill_cancel(t->w.sk, t->id, t->id_len));
    }
    pass(t, CRASH_WINDOW + CRASH_SEC);
}

/* The log has gone around: publishing drops old records. */
static void log_around(run_t *t)
{
    open_sale(t);
    for (int i = 0; i < 80; i++) {
        must(t, SECKILL_OK,
             i % 2 == 0 ? seckill_pause(t->w.sk, "shoes", 5)
                        : seckill_resume(t->w.sk, "shoes", 5));
    }
}

/* ---- Orders of two lines ------------------------------------------------- */

/* The rows of a user in two items lie in one chain for some user, if the two
 * numbers of birth are alike where chains are chosen by. */
static void wait_for_birth(run_t *t)
{
    const uint64_t first = SKL_LD(t->w.sk->stock.tables.items[0].born);

    while (((skl_mix64(first) ^ skl_mix64(seckill_lsn(t->w.sk) + 1)) >> 60) !=
           0) {
        must(t, SECKILL_OK,
             seckill_lsn(t->w.sk) % 2 == 1
                 ? seckill_pause(t->w.sk, "shoes", 5)
                 : seckill_resume(t->w.sk, "shoes", 5));
    }
}

static uint32_t chain_of(const run_t *t, int item)
{
    const skl_tables_t *tables = &t->w.sk->stock.tables;
    const skl_hash_t user =
        skl_key_of(tables, t->user, (uint32_t)strlen(t->user));

    return skl_hash_range(
        skl_user_key(user, SKL_LD(tables->items[item].born)).lo,
        tables->shm->users);
}

/* Items with holds of 10 and 20 s. In one shard the user's rows are in one
 * chain; in two, the shards of the id and of the rows differ. */
static void open_shelves(run_t *t)
{
    seckill_item_t hats = shoes(10, 20, 1);
    uint32_t n = 0;

    must(t, SECKILL_OK, put(t, 10, 10, 1));
    wait_for_birth(t);
    hats.item_len = 4;
    memcpy(hats.item, "hats", 4);
    must(t, SECKILL_OK, seckill_put(t->w.sk, &hats));
    must(t, SECKILL_OK, seckill_resume(t->w.sk, "shoes", 5));
    choose_names(t);
    while (t->w.sk->stock.tables.shm->shards == 1 &&
           chain_of(t, 0) != chain_of(t, 1)) {
        snprintf(t->user, sizeof(t->user), "user%u", n++);
    }
}

static int order_two(run_t *t, seckill_reservation_t *out)
{
    static const seckill_line_t lines[] = {
        {.qty = 2, .item_len = 4, .item = "hats"},
        {.qty = 1, .item_len = 5, .item = "shoes"}};
    seckill_order_t o;
    uint32_t line;
    int rc;

    memset(&o, 0, sizeof(o));
    rc = seckill_order(t->w.sk, t->user, strlen(t->user), t->request,
                       strlen(t->request), lines, 2, &o, &line);
    if (rc == SECKILL_OK) {
        out->qty = o.lines[0].qty;
        out->remaining = o.lines[0].remaining + 1000 * o.lines[1].remaining;
        out->expires_at = o.expires_at;
        out->lsn = o.lsn;
        out->state = o.state;
        out->replayed = o.replayed;
        out->lines = (uint8_t)o.line_count;
        out->id_len = o.id_len;
        memcpy(out->id, o.id, o.id_len);
    }
    return rc;
}

static void ordered(run_t *t)
{
    seckill_reservation_t r;

    open_shelves(t);
    must(t, SECKILL_OK, order_two(t, &r));
    memcpy(t->id, r.id, r.id_len);
    t->id_len = r.id_len;
}

static void order_sold(run_t *t)
{
    ordered(t);
    must(t, SECKILL_OK, seckill_confirm(t->w.sk, t->id, t->id_len));
}

static void order_expired(run_t *t)
{
    ordered(t);
    pass(t, 20 * CRASH_SEC);
    must(t, 2, seckill_sweep(t->w.sk, 64));
}

static void order_past(run_t *t)
{
    ordered(t);
    must(t, SECKILL_OK, seckill_cancel(t->w.sk, t->id, t->id_len));
    pass(t, CRASH_WINDOW + CRASH_SEC);
}

static void expired(run_t *t)
{
    reserved(t);
    pass(t, 20 * CRASH_SEC);
    must(t, 3, seckill_sweep(t->w.sk, 64));
}

static void nothing(run_t *t)
{
    choose_names(t);
}

static void removable(run_t *t)
{
    cancelled(t);
    pass(t, 20 * CRASH_SEC);
}

/* ---- The calls under test ------------------------------------------------ */

static int call_reserve(run_t *t, seckill_reservation_t *out)
{
    return reserve(t, t->user, t->request, 2, out);
}

static int call_confirm(run_t *t, seckill_reservation_t *out)
{
    (void)out;
    return seckill_confirm(t->w.sk, t->id, t->id_len);
}

static int call_confirm_part(run_t *t, seckill_reservation_t *out)
{
    (void)out;
    return seckill_confirm_with(t->w.sk, t->id, t->id_len, 1, 0);
}

static int call_reacquire(run_t *t, seckill_reservation_t *out)
{
    (void)out;
    return seckill_confirm_with(t->w.sk, t->id, t->id_len, 0,
                                SECKILL_CONFIRM_REACQUIRE);
}

static int call_cancel(run_t *t, seckill_reservation_t *out)
{
    (void)out;
    return seckill_cancel(t->w.sk, t->id, t->id_len);
}

static int call_refund(run_t *t, seckill_reservation_t *out)
{
    (void)out;
    return seckill_refund(t->w.sk, t->id, t->id_len, "refund-1", 8);
}

static int call_adjust(run_t *t, seckill_reservation_t *out)
{
    (void)out;
    return seckill_adjust(t->w.sk, "shoes", 5, 7, "adjust-1", 8);
}

static int call_put(run_t *t, seckill_reservation_t *out)
{
    (void)out;
    return put(t, 12, 20, 2);
}

static int call_remove(run_t *t, seckill_reservation_t *out)
{
    (void)out;
    return seckill_remove(t->w.sk, "shoes", 5);
}

static int call_pause(run_t *t, seckill_reservation_t *out)
{
    (void)out;
    return seckill_pause(t->w.sk, "shoes", 5);
}

/* Without the clock: the vdso reads it again when a tick has passed meanwhile,
 * which is always when it is stepped. */
static int call_sweep(run_t *t, seckill_reservation_t *out)
{
    int sum = 0, n;

    (void)out;
    do {
        n = skl_stock_sweep(&t->w.sk->stock, 64, t->w.now);
        sum += n;
    } while (n > 0);
    return n < 0 ? n : sum;
}

static int call_find(run_t *t, seckill_reservation_t *out)
{
    return seckill_find(t->w.sk, t->request, strlen(t->request), out);
}

/* ---- Checks -------------------------------------------------------------- */

static int no(run_t *t, const char *what)
{
    if (t->why[0] == '\0') {
        snprintf(t->why, sizeof(t->why), "%s", what);
    }
    return 0;
}

static void look(run_t *t, sight_t *s)
{
    memset(s, 0, sizeof(*s));
    for (int i = 0; i < GOODS; i++) {
        s->get_rc[i] =
            seckill_get(t->w.sk, goods[i], strlen(goods[i]), &s->item[i]);
    }
    s->find_rc =
        seckill_find(t->w.sk, t->request, strlen(t->request), &s->found);
}

/* A state between the records of one call: as its last record says. */
static int is_record_state(run_t *t, const seckill_item_t *i)
{
    const skl_record_t *r;

    if (!crash_note(&t->w) || i->lsn < 1 || i->lsn > t->w.known) {
        return 0;
    }
    r = &t->w.records[i->lsn - 1];
    for (uint32_t k = 0; k < skl_rec_legs(r); k++) {
        const skl_leg_t *leg = &r->legs[k];

        if (i->available == leg->available && i->reserved == leg->reserved &&
            i->sold == leg->sold) {
            return 1;
        }
    }
    return i->available == r->available && i->reserved == r->reserved &&
           i->sold == r->sold;
}

static int check_get_of(run_t *t, uint64_t tail, int which)
{
    const sight_t *want =
        tail == t->tail_after ? &t->sees_after : &t->sees_before;
    seckill_item_t got;
    int rc;

    memset(&got, 0, sizeof(got));
    rc = seckill_get(t->w.sk, goods[which], strlen(goods[which]), &got);
    if (rc == SECKILL_OK &&
        got.available + got.reserved + got.sold != got.total) {
        return no(t, "get: available + reserved + sold is not total");
    }
    if (tail != t->tail_before && tail != t->tail_after) {
        return rc == SECKILL_OK ? is_record_state(t, &got) ||
                                      no(t, "get: no state of the records")
                                : 1;
    }
    if (t->c->flags & LOOSE) {
        return 1;
    }
    return (rc == want->get_rc[which] &&
            memcmp(&got, &want->item[which], sizeof(got)) == 0)
               ? 1
               : no(t, tail == t->tail_after
                           ? "get: not the state after the commit"
                           : "get: not the state before the commit");
}

static int check_get(run_t *t, uint64_t tail)
{
    for (int i = 0; i < GOODS; i++) {
        if (!check_get_of(t, tail, i)) {
            return 0;
        }
    }
    return 1;
}

static int check_find(run_t *t, uint64_t tail)
{
    const sight_t *want =
        tail == t->tail_after ? &t->sees_after : &t->sees_before;
    seckill_reservation_t got;
    int rc;

    memset(&got, 0, sizeof(got));
    rc = seckill_find(t->w.sk, t->request, strlen(t->request), &got);
    if (t->c->again == ANY || (t->c->flags & LOOSE) ||
        (tail != t->tail_before && tail != t->tail_after)) {
        return rc == SECKILL_OK || rc == SECKILL_EUNKNOWNREQUEST ||
               no(t, "find: fails");
    }
    return (rc == want->find_rc && memcmp(&got, &want->found, sizeof(got)) == 0)
               ? 1
               : no(t, "find: not what the commit point says");
}

static int check_retry(run_t *t, uint64_t tail)
{
    const int done = t->c->records > 0 && tail == t->tail_after;
    seckill_reservation_t got;
    int rc;

    memset(&got, 0, sizeof(got));
    rc = t->c->call(t, &got);
    if (t->c->again == ANY) {
        return rc >= 0 || no(t, "the call again: an error");
    }
    if (rc != (done ? t->c->again : t->want_rc)) {
        snprintf(t->why, sizeof(t->why), "the call again: %s",
                 seckill_errname(rc));
        return 0;
    }
    if (t->c->flags & LOOSE) {
        return 1;
    }
    if (got.replayed != (done && got.qty > 0 ? 1 : t->want.replayed)) {
        return no(t, "the call again: wrong `replayed`");
    }
    got.replayed = t->want.replayed;
    return memcmp(&got, &t->want, sizeof(got)) == 0 ||
           no(t, "the call again: another answer");
}

/* After everything: as if nobody had died. */
static int check_end(run_t *t)
{
    char text[200] = "";
    const char *differs;

    if (!crash_touch(&t->w)) {
        return no(t, "a lock is not free in the end");
    }
    if (crash_unfinished(&t->w) || crash_held(&t->w, 0) > 0) {
        return no(t, "a change is unfinished in the end");
    }
    if (!crash_sound(&t->w, text, sizeof(text))) {
        snprintf(t->why, sizeof(t->why), "not sound: %s", text);
        return 0;
    }
    differs = t->c->flags & LOOSE ? NULL : crash_differs(&t->w, &t->after, 0);
    return differs == NULL ||
           no(t, differs); /* from the ledger of an undisturbed call */
}

/* The three ways to come across what a dead process left. */
static int check_after_death(run_t *t, uint64_t tail, uint64_t way)
{
    switch (way % 3) {
    case 0:
        return check_get(t, tail) && check_find(t, tail) &&
               check_retry(t, tail) && check_end(t);
    case 1:
        return check_retry(t, tail) && check_find(t, t->tail_after) &&
               check_get(t, t->tail_after) && check_end(t);
    default:
        return (crash_touch(&t->w) || no(t, "a lock cannot be taken")) &&
               check_find(t, tail) && check_get(t, tail) &&
               check_retry(t, tail) && check_end(t);
    }
}

/* ---- Stepping ------------------------------------------------------------ */

static void run_call(void *ctx)
{
    run_t *t = ctx;
    seckill_reservation_t out;

    (void)t->c->call(t, &out);
}

static int start(run_t *t, stepper_t *st)
{
    const char *why = "";

    return stepper_start(st, run_call, t, &why) || no(t, why);
}

static uint64_t tail_of(run_t *t)
{
    return skl_ring_tail(&t->w.sk->stock.ring);
}

/* As if the stopped child died now: check, and put everything back. What is
 * left of the dead are the shared bytes alone, so an instruction that has not
 * changed them needs no other check than the one before it. `saved` is the
 * state of the last check, `first` that there was none. */
static int die_here(run_t *t, const stepper_t *st, crash_image_t *saved,
                    int first)
{
    int good = 1;
    uint64_t tail;

    t->points++;
    if (!first && memcmp(saved->bytes, t->w.base, t->w.bytes) == 0) {
        return 1;
    }
    t->states++;
    crash_save(&t->w, saved);
    for (uint64_t way = 0; way < 3 && good; way++) {
        crash_owner_died(&t->w, st->pid);
        tail = tail_of(t);
        good = check_after_death(t, tail, way);
        crash_restore(&t->w, saved);
    }
    return good;
}

static void where(run_t *t, long k, long j)
{
    const size_t used = strlen(t->why);

    snprintf(t->why + used, sizeof(t->why) - used,
             " (after instruction %ld, then %ld)", k, j);
}

/* Where in the call we are: where its locks are held, where it commits. */
static void note_place(run_t *t, const stepper_t *st)
{
    t->steps = st->steps;
    if (crash_held(&t->w, st->pid) > 0) {
        t->first_lock = t->first_lock < 0 ? st->steps : t->first_lock;
        t->released = st->steps;
    }
    if (t->published < 0 && tail_of(t) != t->tail_before) {
        t->published = st->steps;
    }
}

/* Die between any two instructions. */
static int die_everywhere(run_t *t)
{
    stepper_t st;
    int rc = 1;

    crash_restore(&t->w, &t->before);
    if (!start(t, &st)) {
        return 0;
    }
    while (rc == 1) {
        const long states = t->states;

        note_place(t, &st);
        if (!die_here(t, &st, &t->here, st.steps == 0)) {
            where(t, st.steps, 0);
            stepper_kill(&st);
            return 0;
        }
        if (t->states > states && t->change_count < CHANGES_MAX) {
            t->changes[t->change_count++] = st.steps;
        }
        rc = stepper_step(&st);
    }
    stepper_kill(&st);
    return rc == 0 || no(t, "the stepped call died by itself");
}

/* The same with a real death, which must leave the same bytes. */
static int die_really(run_t *t, long k)
{
    const char *differs;
    stepper_t st;

    crash_restore(&t->w, &t->before);
    if (!start(t, &st)) {
        return 0;
    }
    (void)stepper_run(&st, k);
    crash_save(&t->w, &t->here);
    crash_owner_died(&t->w, st.pid);
    crash_save(&t->w, &t->there);
    crash_restore(&t->w, &t->here);
    stepper_kill(&st);
    t->kills++;
    differs = crash_differs(&t->w, &t->there, 1);
    if (differs != NULL) {
        return no(t, "a real death and the emulated one differ");
    }
    return check_after_death(t, tail_of(t), next_random(&t->random));
}

/* The call dies after k instructions; the next process makes it again and
 * dies after any of its own; a third one finishes. */
static int die_twice(run_t *t, long k)
{
    const long points = t->points;
    stepper_t first, second;
    int rc = 1;

    crash_restore(&t->w, &t->before);
    if (!start(t, &first)) {
        return 0;
    }
    (void)stepper_run(&first, k);
    stepper_kill(&first);
    if (!start(t, &second)) {
        return 0;
    }
    while (rc == 1) {
        if (!die_here(t, &second, &t->there, second.steps == 0)) {
            where(t, k, second.steps);
            stepper_kill(&second);
            return 0;
        }
        rc = stepper_step(&second);
    }
    stepper_kill(&second);
    t->repair_deaths += t->points - points;
    return rc == 0 || no(t, "the stepped repair died by itself");
}

/* ---- One operation ------------------------------------------------------- */

/* Prepare the state before and after the undisturbed call. */
static int prepare(run_t *t)
{
    const uint32_t requests =
        t->c->flags & (TWO_SHARDS | USER_FIRST) ? 4097 : 16;

    if (!crash_open(&t->w, requests, seed, t->why, sizeof(t->why))) {
        return 0;
    }
    crash_image_new(&t->w, &t->before);
    crash_image_new(&t->w, &t->after);
    crash_image_new(&t->w, &t->here);
    crash_image_new(&t->w, &t->there);
    t->c->prepare(t);
    crash_save(&t->w, &t->before);
    look(t, &t->sees_before);
    crash_restore(&t->w, &t->before);
    t->tail_before = tail_of(t);
    memset(&t->want, 0, sizeof(t->want));
    t->want_rc = t->c->call(t, &t->want);
    t->tail_after = tail_of(t);
    crash_save(&t->w, &t->after);
    look(t, &t->sees_after);
    crash_restore(&t->w, &t->after);
    return t->why[0] == '\0' && check_end(t);
}

/* An instruction after which the shared bytes had changed. */
static long sample(run_t *t)
{
    return t->changes[next_random(&t->random) % t->change_count];
}

static int sample_kills(run_t *t, int count)
{
    for (int i = 0; i < count; i++) {
        const long k = sample(t);

        if (!die_really(t, k)) {
            where(t, k, -1);
            return 0;
        }
    }
    return 1;
}

/* A repair has something to do from the commit on. */
static int sample_repairs(run_t *t, int count)
{
    for (int i = 0; i < count && t->published >= 0; i++) {
        long k = sample(t);

        while (k < t->published || k > t->released) {
            k = sample(t);
        }
        if (!die_twice(t, k)) {
            return 0;
        }
    }
    return 1;
}

static int die_all_ways(run_t *t)
{
    const int repairs = t->c->flags & TWO_LINES ? 1 : 2; /* they are long */

    return die_everywhere(t) && sample_kills(t, tap_full() ? 200 : 4) &&
           sample_repairs(t, tap_full() ? 60 : repairs);
}

static void kill_everywhere(const case_t *c)
{
    static run_t run;
    run_t *t = &run;

    memset(t, 0, sizeof(*t));
    t->c = c;
    t->first_lock = t->published = t->released = -1;
    seed = seed != 0 ? seed : tap_seed(1);
    t->random = seed;
    if (!CHECK(prepare(t) && die_all_ways(t))) {
        printf("# %s\n", t->why);
    }
    CHECK_INT(c->records, t->tail_after - t->tail_before);
    if (t->why[0] == '\0') {
        printf("# died at %ld instructions (%ld of them while it holds "
               "locks), then at %ld of a repair: %ld different states; "
               "%ld by kill -9\n",
               t->points - t->repair_deaths, t->released - t->first_lock + 1,
               t->repair_deaths, t->states, t->kills);
    }
    crash_image_free(&t->before);
    crash_image_free(&t->after);
    crash_image_free(&t->here);
    crash_image_free(&t->there);
    CHECK(crash_close(&t->w));
}

#define KILL(name, prepare, call, again, flags, records)                       \
    TEST(killed_in_##name)                                                     \
    {                                                                          \
        static const case_t c = {prepare, call, again, flags, records};        \
                                                                               \
        kill_everywhere(&c);                                                   \
    }

KILL(reserve_of_a_fresh_user, open_sale, call_reserve, 0, 0, 1)
KILL(reserve_of_a_known_user, known_user, call_reserve, 0, 0, 1)
KILL(reserve_sold_at_once, open_sale_at_once, call_reserve, 0, 0, 1)
KILL(reserve_in_two_shards, open_sale, call_reserve, 0, TWO_SHARDS, 1)
KILL(reserve_in_two_shards_user_first, open_sale, call_reserve, 0, USER_FIRST,
     1)
KILL(reserve_that_ends_holds, sold_out_and_due, call_reserve, 0, 0, 3)
KILL(reserve_that_retires_ids, full_of_old, call_reserve, 0, LOOSE, 11)
KILL(reserve_when_the_log_is_around, log_around, call_reserve, 0, 0, 1)
KILL(replay, reserved, call_reserve, 0, 0, 0)
KILL(find, reserved, call_find, 0, 0, 0)
KILL(confirm, reserved, call_confirm, 0, 0, 1)
KILL(cancel, reserved, call_cancel, 0, 0, 1)
KILL(cancel_between_holds, reserved_between, call_cancel, 0, 0, 1)
KILL(refund, confirmed, call_refund, 0, 0, 1)
KILL(sweep_of_holds, holds_due, call_sweep, ANY, 0, 4)
KILL(sweep_of_an_id, id_due, call_sweep, ANY, 0, 3)
KILL(sweep_of_all_ids, all_due, call_sweep, ANY, 0, 7)
KILL(sweep_of_all_ids_in_two_shards, all_due, call_sweep, ANY, TWO_SHARDS, 7)
KILL(sweep_of_a_removed_item, removed, call_sweep, ANY, 0, 7)
KILL(put_of_a_new_item, nothing, call_put, 0, 0, 1)
KILL(put_of_other_terms, reserved, call_put, 0, 0, 1)
KILL(adjust, reserved, call_adjust, 0, 0, 1)
KILL(remove, removable, call_remove, SECKILL_EUNKNOWNITEM, 0, 3)
KILL(pause, reserved, call_pause, 0, 0, 1)
KILL(confirm_in_part, reserved, call_confirm_part, 0, 0, 1)
KILL(confirm_that_takes_again, expired, call_reacquire, 0, 0, 1)
KILL(order_in_one_chain, open_shelves, order_two, 0, TWO_LINES, 1)
KILL(order_in_two_shards, open_shelves, order_two, 0, TWO_LINES | TWO_SHARDS, 1)
KILL(confirm_of_an_order, ordered, call_confirm, 0, TWO_LINES, 1)
KILL(cancel_of_an_order, ordered, call_cancel, 0, TWO_LINES, 1)
KILL(refund_of_an_order, order_sold, call_refund, 0, TWO_LINES, 1)
KILL(confirm_that_takes_an_order_again, order_expired, call_reacquire, 0,
     TWO_LINES, 1)
KILL(sweep_of_an_order, order_past, call_sweep, ANY, TWO_LINES, 1)
KILL(sweep_of_an_order_in_two_shards, order_past, call_sweep, ANY,
     TWO_LINES | TWO_SHARDS, 1)

TAP_MAIN()
