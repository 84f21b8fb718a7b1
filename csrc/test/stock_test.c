/*
 * The contract of the stock ledger, through the public API: each refusal and
 * their order, replays, holds to the nanosecond, windows, versions of items,
 * full tables, and an audit that finds what is wrong. Every test ends with an
 * audit and a comparison with the ledger rebuilt from the records
 * (support/ledger.h). One thread; the clock stands still.
 */
#include "test/support/ledger.h"

/* One unit of "x", held for 10 s. */
static int open_with_item(ledger_t *l, int64_t total)
{
    return ledger_open(l) && CHECK_RC(SECKILL_OK, ledger_put(l, "x", total));
}

static int change(ledger_t *l, seckill_item_t *i)
{
    i->version++;
    return seckill_put(l->sk, i);
}

/* Reserve, and keep the id of the reservation. */
static int order(ledger_t *l, const char *user, int64_t qty,
                 const char *request, char *id)
{
    int rc = ledger_reserve(l, "x", user, qty, request);

    id[0] = '\0';
    if (rc == SECKILL_OK) {
        (void)ledger_id(l, id);
    }
    return rc;
}

/* ---- Reserve ------------------------------------------------------------- */

TEST(reserve_answers_the_whole_order)
{
    ledger_t l;

    REQUIRE(open_with_item(&l, 5));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 2, "r1"));
    CHECK_INT(2, l.r.qty);
    CHECK_INT(3, l.r.remaining);
    CHECK_INT(LEDGER_T0 + 10 * SEC, l.r.expires_at);
    CHECK_INT(SECKILL_STATE_RESERVED, l.r.state);
    CHECK_INT(0, l.r.replayed);
    CHECK_INT((intmax_t)seckill_lsn(l.sk), (intmax_t)l.r.lsn);
    CHECK_INT(1, l.r.item_len);
    CHECK_MEM("x", l.r.item, 1);
    CHECK_INT(3, l.r.user_len);
    CHECK_MEM("ann", l.r.user, 3);
    CHECK_INT(2, l.r.request_len);
    CHECK_MEM("r1", l.r.request, 2);
    CHECK(l.r.id_len >= 5);
    CHECK_COUNTS(&l, "x", 3, 2, 0);
    ledger_close(&l);
}

TEST(ids_may_hold_any_byte)
{
    ledger_t l;
    char item[64], user[64], request[64];
    seckill_item_t i = ledger_item("x", 3);

    REQUIRE(ledger_open(&l));
    for (int k = 0; k < 64; k++) {
        item[k] = (char)k;
        user[k] = (char)(255 - k);
        request[k] = (char)(k * 37);
    }
    i.item_len = 64;
    memcpy(i.item, item, 64);
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_RC(SECKILL_OK,
             seckill_reserve(l.sk, item, 64, user, 64, 1, request, 64, &l.r));
    CHECK_INT(64, l.r.item_len);
    CHECK_MEM(item, l.r.item, 64);
    CHECK_MEM(user, l.r.user, 64);
    CHECK_MEM(request, l.r.request, 64);
    /* One byte less is another id, another user, another item. */
    CHECK_RC(SECKILL_EUNKNOWNREQUEST, seckill_find(l.sk, request, 63, &l.r));
    CHECK_RC(SECKILL_EUNKNOWNITEM,
             seckill_reserve(l.sk, item, 63, user, 64, 1, "q", 1, &l.r));
    CHECK_RC(SECKILL_ECONFLICT,
             seckill_reserve(l.sk, item, 64, user, 63, 1, request, 64, &l.r));
    ledger_close(&l);
}

TEST(hold_0_sells_at_once)
{
    ledger_t l;
    char id[65];
    seckill_item_t i = ledger_item("x", 2);

    REQUIRE(ledger_open(&l));
    i.hold_ns = 0;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r1", id));
    CHECK_INT(SECKILL_STATE_CONFIRMED, l.r.state);
    CHECK_INT(0, l.r.expires_at);
    CHECK_COUNTS(&l, "x", 1, 0, 1);
    ledger_pass(&l, 59 * SEC);
    CHECK_INT(0, ledger_sweep(&l));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_ECONFIRMED, ledger_cancel(&l, id));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "back"));
    CHECK_COUNTS(&l, "x", 2, 0, 0);
    ledger_close(&l);
}

/* ---- The order of the refusals ------------------------------------------- */

/* A UUIDv7 made at `ns`; n tells ids of one millisecond apart. */
static const char *uuid_at(int64_t ns, unsigned n)
{
    static char text[4][48];
    static unsigned turn;
    char *out = text[turn++ % 4];
    const uint64_t ms = (uint64_t)(ns / MS);

    snprintf(out, 48, "%08x-%04x-7000-8000-%012x", (uint32_t)(ms >> 16),
             (uint32_t)(ms & 0xffff), n);
    return out;
}

/* An item that refuses everybody for every reason at once. */
static seckill_item_t refusing_item(const ledger_t *l)
{
    seckill_item_t i = ledger_item("x", 1);

    i.version = 10;
    i.total = -1;
    i.max_qty = 1;
    i.per_user = 1;
    i.starts_at = l->now + SEC;
    i.ends_at = l->now + 2 * SEC;
    return i;
}

static int open_refusing(ledger_t *l, char *old_id)
{
    seckill_options_t o = ledger_options();
    seckill_item_t i = ledger_item("x", 1);

    o.request_ids = SECKILL_IDS_UUIDV7;
    o.reservations = 1;
    if (!ledger_open_with(l, o)) {
        return 0;
    }
    /* The one row of the table, sold to ann, by an id that will be old. */
    snprintf(old_id, 37, "%s", uuid_at(l->now, 1));
    i.hold_ns = 0;
    CHECK_RC(SECKILL_OK, seckill_put(l->sk, &i));
    CHECK_RC(SECKILL_OK, ledger_reserve(l, "x", "ann", 1, old_id));
    ledger_pass(l, LEDGER_WINDOW + SEC);
    i = refusing_item(l);
    CHECK_RC(SECKILL_OK, seckill_put(l->sk, &i));
    return CHECK_RC(SECKILL_OK, seckill_pause(l->sk, "x", 1));
}

static void check_bad_first(ledger_t *l, const char *old)
{
    CHECK_RC(SECKILL_EBADITEM, ledger_reserve(l, "", "", 0, ""));
    CHECK_RC(SECKILL_EBADUSER, ledger_reserve(l, "no", "", 0, ""));
    CHECK_RC(SECKILL_EBADQTY, ledger_reserve(l, "no", "ann", 0, ""));
    CHECK_RC(SECKILL_EBADREQUEST, ledger_reserve(l, "no", "ann", 9, "bad"));
    CHECK_RC(SECKILL_EBADREQUEST,
             ledger_reserve(l, "x", "ann", 1, uuid_at(l->now + 61 * SEC, 1)));
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(l, "no", "ann", 9, old));
    CHECK_RC(SECKILL_OK, ledger_reserve(l, "x", "ann", 1, old));
    CHECK_INT(1, l->r.replayed);
    CHECK_RC(SECKILL_ETOOOLD,
             ledger_reserve(l, "no", "ann", 9,
                            uuid_at(l->now - LEDGER_WINDOW - MS, 2)));
    CHECK_RC(SECKILL_EUNKNOWNITEM,
             ledger_reserve(l, "no", "ann", 9, uuid_at(l->now, 3)));
}

TEST(refusals_come_in_the_documented_order)
{
    ledger_t l;
    char old[37];
    seckill_item_t i;

    REQUIRE(open_refusing(&l, old));
    check_bad_first(&l, old);
    i = refusing_item(&l);
    CHECK_RC(SECKILL_ENOTSTARTED,
             ledger_reserve(&l, "x", "ann", 9, uuid_at(l.now, 3)));
    ledger_pass(&l, 2 * SEC);
    CHECK_RC(SECKILL_EENDED,
             ledger_reserve(&l, "x", "ann", 9, uuid_at(l.now, 3)));
    i.ends_at = 0;
    CHECK_RC(SECKILL_OK, change(&l, &i));
    CHECK_RC(SECKILL_EPAUSED,
             ledger_reserve(&l, "x", "ann", 9, uuid_at(l.now, 3)));
    CHECK_RC(SECKILL_OK, seckill_resume(l.sk, "x", 1));
    CHECK_RC(SECKILL_EQTYLIMIT,
             ledger_reserve(&l, "x", "ann", 9, uuid_at(l.now, 3)));
    CHECK_RC(SECKILL_EUSERLIMIT,
             ledger_reserve(&l, "x", "ann", 1, uuid_at(l.now, 3)));
    CHECK_RC(SECKILL_ESOLDOUT,
             ledger_reserve(&l, "x", "bob", 1, uuid_at(l.now, 3)));
    i.total = 2;
    CHECK_RC(SECKILL_OK, change(&l, &i));
    CHECK_RC(SECKILL_EFULL,
             ledger_reserve(&l, "x", "bob", 1, uuid_at(l.now, 3)));
    /* The row retires when no young id could be its retry any more. */
    ledger_pass(&l, 61 * SEC);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "bob", 1, uuid_at(l.now, 3)));
    ledger_close(&l);
}

TEST(a_refusal_is_not_recorded)
{
    ledger_t l;
    seckill_item_t i = ledger_item("x", 0);
    uint64_t lsn;

    REQUIRE(open_with_item(&l, 0));
    lsn = seckill_lsn(l.sk);
    CHECK_RC(SECKILL_ESOLDOUT, ledger_reserve(&l, "x", "ann", 1, "r1"));
    CHECK_INT((intmax_t)lsn, (intmax_t)seckill_lsn(l.sk));
    CHECK_RC(SECKILL_EUNKNOWNREQUEST, ledger_find(&l, "r1"));
    i.total = 1;
    CHECK_RC(SECKILL_OK, change(&l, &i));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r1"));
    CHECK_INT(0, l.r.replayed);
    ledger_close(&l);
}

/* ---- Replay -------------------------------------------------------------- */

TEST(a_retry_gets_the_recorded_answer)
{
    ledger_t l;
    char id[65];

    REQUIRE(open_with_item(&l, 5));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 2, "r1", id));
    for (int i = 0; i < 3; i++) {
        CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 2, "r1"));
        CHECK_INT(1, l.r.replayed);
        CHECK_INT((int)strlen(id), l.r.id_len);
        CHECK_MEM(id, l.r.id, l.r.id_len);
    }
    CHECK_COUNTS(&l, "x", 3, 2, 0);
    ledger_close(&l);
}

TEST(a_retry_is_answered_when_all_is_sold)
{
    ledger_t l;

    REQUIRE(open_with_item(&l, 1));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r1"));
    CHECK_RC(SECKILL_ESOLDOUT, ledger_reserve(&l, "x", "bob", 1, "r2"));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r1"));
    CHECK_INT(1, l.r.replayed);
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(&l, "x", "bob", 1, "r1"));
    ledger_close(&l);
}

TEST(the_same_id_with_other_parameters_is_a_conflict)
{
    ledger_t l;

    REQUIRE(open_with_item(&l, 5));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "y", 5));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 2, "r1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(&l, "y", "ann", 2, "r1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(&l, "no", "ann", 2, "r1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(&l, "x", "bob", 2, "r1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(&l, "x", "an", 2, "r1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(&l, "x", "ann", 1, "r1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_adjust(&l, "x", 2, "r1"));
    CHECK_COUNTS(&l, "x", 3, 2, 0);
    CHECK_COUNTS(&l, "y", 5, 0, 0);
    ledger_close(&l);
}

/* A retry tells how the order stands now; it never runs again. */
static void check_retry_of(ledger_t *l, const char *request, uint32_t state,
                           int64_t available)
{
    CHECK_RC(SECKILL_OK, ledger_reserve(l, "x", "ann", 1, request));
    CHECK_INT(1, l->r.replayed);
    CHECK_INT(state, l->r.state);
    CHECK_INT(0, l->r.expires_at);
    CHECK_INT(available, l->r.remaining);
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(l, "x", "ann", 2, request));
    CHECK_RC(SECKILL_OK, ledger_find(l, request));
    CHECK_INT(state, l->r.state);
}

TEST(an_ended_order_is_still_the_answer)
{
    ledger_t l;
    char id[65];

    REQUIRE(open_with_item(&l, 9));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "c", id));
    CHECK_RC(SECKILL_OK, ledger_cancel(&l, id));
    check_retry_of(&l, "c", SECKILL_STATE_CANCELLED, 9);
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "s", id));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    check_retry_of(&l, "s", SECKILL_STATE_CONFIRMED, 8);
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "back"));
    check_retry_of(&l, "s", SECKILL_STATE_REFUNDED, 9);
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "e", id));
    ledger_pass(&l, 10 * SEC);
    check_retry_of(&l, "e", SECKILL_STATE_EXPIRED, 9);
    CHECK_COUNTS(&l, "x", 9, 0, 0);
    ledger_close(&l);
}

/* ---- Confirm, cancel, refund --------------------------------------------- */

TEST(ends_are_final_and_may_be_repeated)
{
    static const struct {
        int first; /* 0 cancel, 1 confirm, 2 confirm and refund, 3 expire */
        int confirm, cancel, refund;
    } cases[] = {{0, SECKILL_ECANCELLED, SECKILL_OK, SECKILL_ECANCELLED},
                 {1, SECKILL_OK, SECKILL_ECONFIRMED, SECKILL_OK},
                 {2, SECKILL_EREFUNDED, SECKILL_EREFUNDED, SECKILL_OK},
                 {3, SECKILL_EEXPIRED, SECKILL_EEXPIRED, SECKILL_EEXPIRED}};
    ledger_t l;
    char id[65], request[8], back[8];

    REQUIRE(open_with_item(&l, 100));
    for (int i = 0; i < 4; i++) {
        snprintf(request, sizeof(request), "r%d", i);
        snprintf(back, sizeof(back), "b%d", i);
        CHECK_RC(SECKILL_OK, order(&l, "ann", 1, request, id));
        CHECK_RC(SECKILL_ERESERVED, ledger_refund(&l, id, back));
        if (cases[i].first == 0) {
            CHECK_RC(SECKILL_OK, ledger_cancel(&l, id));
        } else if (cases[i].first == 3) {
            ledger_pass(&l, 10 * SEC);
        } else {
            CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
        }
        if (cases[i].first == 2) {
            CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "first"));
        }
        for (int again = 0; again < 2; again++) {
            CHECK_RC(cases[i].confirm, ledger_confirm(&l, id));
            CHECK_RC(cases[i].cancel, ledger_cancel(&l, id));
        }
        CHECK_RC(cases[i].refund, ledger_refund(&l, id, back));
        CHECK_RC(cases[i].refund, ledger_refund(&l, id, back));
    }
    CHECK_COUNTS(&l, "x", 100, 0, 0);
    ledger_close(&l);
}

TEST(a_refund_runs_once_per_id)
{
    ledger_t l;
    char a[65], b[65];

    REQUIRE(open_with_item(&l, 10));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 2, "r1", a));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 3, "r2", b));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, a));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, b));
    CHECK_RC(SECKILL_EBADREQUEST, ledger_refund(&l, a, ""));
    CHECK_RC(SECKILL_ECONFLICT, ledger_refund(&l, a, "r1"));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, a, "f1"));
    CHECK_COUNTS(&l, "x", 7, 0, 3);
    CHECK_RC(SECKILL_OK, ledger_refund(&l, a, "f1"));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, a, "f2"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_refund(&l, b, "f1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_refund(&l, "none", "f1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(&l, "x", "ann", 2, "f1"));
    CHECK_RC(SECKILL_EUNKNOWNREQUEST, ledger_find(&l, "f1"));
    CHECK_COUNTS(&l, "x", 7, 0, 3);
    CHECK_RC(SECKILL_OK, ledger_refund(&l, b, "f2"));
    CHECK_COUNTS(&l, "x", 10, 0, 0);
    ledger_close(&l);
}

/* The refund's id outlives the order; when it retires, nothing else goes. */
TEST(the_id_of_a_refund_owns_no_order)
{
    ledger_t l;
    seckill_options_t o = ledger_options();
    char id[65];

    o.reservations = 1;
    REQUIRE(ledger_open_with(&l, o));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "x", 5));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r1", id));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    ledger_pass(&l, 30 * SEC);
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    ledger_pass(&l, 31 * SEC); /* the order's window has passed */
    CHECK_RC(SECKILL_OK, order(&l, "bob", 1, "r2", id));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    ledger_pass(&l, 30 * SEC); /* the refund's, too */
    CHECK_INT(1, ledger_sweep(&l));
    CHECK_RC(SECKILL_OK, ledger_find(&l, "r2"));
    CHECK_COUNTS(&l, "x", 4, 0, 1);
    CHECK_RC(SECKILL_EFULL, ledger_reserve(&l, "x", "cy", 1, "r3"));
    ledger_close(&l);
}

/* The right order, but of another life of the ledger, or in another slot. */
TEST(an_id_is_right_in_all_its_parts)
{
    ledger_t l;
    char id[65], other[80];
    unsigned incarnation, slot;
    unsigned long long lsn;

    REQUIRE(open_with_item(&l, 5));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r1", id));
    CHECK_INT(3, sscanf(id, "%x-%x-%llx", &incarnation, &slot, &lsn));
    for (int part = 0; part < 3; part++) {
        snprintf(other, sizeof(other), "%x-%x-%llx", incarnation ^ (part == 0),
                 slot + (part == 1), lsn + (part == 2));
        CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_confirm(&l, other));
        CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_cancel(&l, other));
        CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_refund(&l, other, "f"));
    }
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f"));
    /* Nor does a retry of the refund know a wrong one. */
    snprintf(other, sizeof(other), "%x-%x-%llx", incarnation, slot, lsn + 1);
    CHECK_RC(SECKILL_ECONFLICT, ledger_refund(&l, other, "f"));
    ledger_close(&l);
}

TEST(unknown_reservations)
{
    static const char *const ids[] = {"",
                                      "x",
                                      "1-0-1",
                                      "1-0-2",
                                      "1-0-0",
                                      "2-0-2",
                                      "1-40-2",
                                      "1-ffffffff-2",
                                      "ffffffff-ffffffff-ffffffffffffffff",
                                      "1-0-02"};
    ledger_t l;
    char id[65];

    REQUIRE(open_with_item(&l, 5));
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_confirm(&l, ids[i]));
        CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_cancel(&l, ids[i]));
        CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_refund(&l, ids[i], "f"));
    }
    CHECK_RC(SECKILL_EUNKNOWNRESERVATION, seckill_confirm(l.sk, NULL, 0));
    CHECK_RC(SECKILL_EUNKNOWNRESERVATION, seckill_cancel(l.sk, NULL, 9));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r1", id));
    CHECK_RC(SECKILL_EUNKNOWNRESERVATION,
             seckill_confirm(l.sk, id, strlen(id) + 1));
    CHECK_RC(SECKILL_EUNKNOWNRESERVATION,
             seckill_confirm(l.sk, id, strlen(id) - 1));
    CHECK_COUNTS(&l, "x", 4, 1, 0);
    ledger_close(&l);
}

/* ---- Holds --------------------------------------------------------------- */

TEST(a_hold_ends_at_its_deadline)
{
    ledger_t l;
    char a[65], b[65], c[65];

    REQUIRE(open_with_item(&l, 3));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r1", a));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r2", b));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r3", c));
    ledger_at(&l, LEDGER_T0 + 10 * SEC - 1);
    CHECK_RC(SECKILL_OK, ledger_find(&l, "r1"));
    CHECK_INT(SECKILL_STATE_RESERVED, l.r.state);
    CHECK_RC(SECKILL_ESOLDOUT, ledger_reserve(&l, "x", "bob", 1, "r4"));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, a));
    ledger_at(&l, LEDGER_T0 + 10 * SEC);
    CHECK_RC(SECKILL_EEXPIRED, ledger_confirm(&l, b));
    CHECK_COUNTS(&l, "x", 1, 1, 1);
    CHECK_RC(SECKILL_EEXPIRED, ledger_cancel(&l, c));
    CHECK_COUNTS(&l, "x", 2, 0, 1);
    ledger_close(&l);
}

TEST(a_due_hold_makes_room_for_the_next)
{
    ledger_t l;

    REQUIRE(open_with_item(&l, 1));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r1"));
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "bob", 1, "r2"));
    CHECK_RC(SECKILL_OK, ledger_find(&l, "r1"));
    CHECK_INT(SECKILL_STATE_EXPIRED, l.r.state);
    CHECK_INT(0, l.r.remaining);
    ledger_close(&l);
}

TEST(due_holds_do_not_count_for_the_user)
{
    ledger_t l;
    seckill_item_t i = ledger_item("x", 9);

    REQUIRE(ledger_open(&l));
    i.per_user = 2;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 2, "r1"));
    ledger_at(&l, LEDGER_T0 + 10 * SEC - 1);
    CHECK_RC(SECKILL_EUSERLIMIT, ledger_reserve(&l, "x", "ann", 1, "r2"));
    ledger_at(&l, LEDGER_T0 + 10 * SEC);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 2, "r2"));
    CHECK_RC(SECKILL_EUSERLIMIT, ledger_reserve(&l, "x", "ann", 1, "r3"));
    CHECK_COUNTS(&l, "x", 7, 2, 0);
    ledger_close(&l);
}

TEST(what_a_user_gives_back_counts_no_more)
{
    ledger_t l;
    char id[65];
    seckill_item_t i = ledger_item("x", 9);

    REQUIRE(ledger_open(&l));
    i.per_user = 2;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 2, "r1", id));
    CHECK_RC(SECKILL_EUSERLIMIT, ledger_reserve(&l, "x", "ann", 1, "r2"));
    CHECK_RC(SECKILL_OK, ledger_cancel(&l, id));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 2, "r2", id));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_EUSERLIMIT, ledger_reserve(&l, "x", "ann", 1, "r3"));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f"));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 2, "r3"));
    ledger_close(&l);
}

TEST(the_sweeper_ends_what_is_due_and_no_more)
{
    ledger_t l;
    char request[8];

    REQUIRE(open_with_item(&l, 50));
    for (int i = 0; i < 20; i++) {
        snprintf(request, sizeof(request), "r%d", i);
        CHECK_RC(SECKILL_OK,
                 ledger_reserve(&l, "x", i % 2 ? "ann" : "bob", 1, request));
        ledger_pass(&l, SEC / 10);
    }
    ledger_at(&l, LEDGER_T0 + 11 * SEC);
    CHECK_INT(4, seckill_sweep(l.sk, 4));
    CHECK_COUNTS(&l, "x", 34, 16, 0);
    CHECK_INT(7, ledger_sweep(&l)); /* those made until T0 + 1 s */
    CHECK_COUNTS(&l, "x", 41, 9, 0);
    CHECK_INT(0, ledger_sweep(&l));
    CHECK_RC(SECKILL_EBADOPTION, seckill_sweep(l.sk, 0));
    ledger_close(&l);
}

/* More holds are due than one lock is held for. */
TEST(hundreds_of_due_holds_give_way_to_one_order)
{
    ledger_t l;
    seckill_options_t o = ledger_options();
    char request[8], user[8];

    o.reservations = o.users = o.requests = 400;
    REQUIRE(ledger_open_with(&l, o));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "x", 300));
    for (int i = 0; i < 300; i++) {
        snprintf(request, sizeof(request), "r%d", i);
        snprintf(user, sizeof(user), "u%d", i);
        CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", user, 1, request));
    }
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 300, "all"));
    CHECK_COUNTS(&l, "x", 0, 300, 0);
    ledger_close(&l);
}

TEST(the_clock_of_an_item_does_not_go_back)
{
    ledger_t l;
    char a[65], b[65];

    REQUIRE(open_with_item(&l, 2));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r1", a));
    ledger_at(&l, LEDGER_T0 - 5 * SEC);
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r2", b));
    CHECK_INT(LEDGER_T0 + 10 * SEC, l.r.expires_at);
    ledger_at(&l, LEDGER_T0 + 10 * SEC);
    CHECK_RC(SECKILL_EEXPIRED, ledger_confirm(&l, a));
    ledger_at(&l, LEDGER_T0);
    CHECK_RC(SECKILL_EEXPIRED, ledger_confirm(&l, a));
    CHECK_RC(SECKILL_EEXPIRED, ledger_confirm(&l, b));
    ledger_close(&l);
}

/* ---- 16 ids, windows ----------------------------------------------------- */

TEST(a_user_has_16_ids_per_item_and_window)
{
    ledger_t l;
    char id[65], request[8];

    REQUIRE(open_with_item(&l, 50));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "y", 50));
    for (int i = 0; i < 16; i++) {
        snprintf(request, sizeof(request), "r%d", i);
        CHECK_RC(SECKILL_OK, order(&l, "ann", 1, request, id));
        CHECK_RC(SECKILL_OK, ledger_cancel(&l, id));
    }
    CHECK_RC(SECKILL_EUSERLIMIT, ledger_reserve(&l, "x", "ann", 1, "r16"));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r3"));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "y", "ann", 1, "r16"));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "bob", 1, "r17"));
    ledger_pass(&l, LEDGER_WINDOW);
    CHECK_RC(SECKILL_EUSERLIMIT, ledger_reserve(&l, "x", "ann", 1, "r18"));
    ledger_pass(&l, 1); /* nobody sweeps: reserve finds room itself */
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r18"));
    ledger_close(&l);
}

TEST(an_opaque_id_is_known_for_its_window)
{
    ledger_t l;
    char id[65];

    REQUIRE(open_with_item(&l, 5));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r1", id));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    ledger_pass(&l, LEDGER_WINDOW);
    CHECK_INT(0, ledger_sweep(&l));
    CHECK_RC(SECKILL_OK, ledger_find(&l, "r1"));
    ledger_pass(&l, 1);
    CHECK_INT(1, ledger_sweep(&l));
    CHECK_RC(SECKILL_EUNKNOWNREQUEST, ledger_find(&l, "r1"));
    CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_refund(&l, id, "f"));
    CHECK_COUNTS(&l, "x", 4, 0, 1);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r1"));
    CHECK_INT(0, l.r.replayed);
    ledger_close(&l);
}

TEST(what_was_sold_counts_for_the_user_after_the_window)
{
    ledger_t l;
    char id[65];
    seckill_item_t i = ledger_item("x", 9);

    REQUIRE(ledger_open(&l));
    i.per_user = 1;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r1", id));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    ledger_pass(&l, 2 * LEDGER_WINDOW);
    CHECK_INT(1, ledger_sweep(&l));
    CHECK_RC(SECKILL_EUSERLIMIT, ledger_reserve(&l, "x", "ann", 1, "r2"));
    ledger_close(&l);
}

/* A ULID made at `ns`. */
static const char *ulid_at(int64_t ns, unsigned n)
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    static char text[4][27];
    static unsigned turn;
    char *out = text[turn++ % 4];
    uint64_t ms = (uint64_t)(ns / MS);

    for (int i = 9; i >= 0; i--, ms >>= 5) {
        out[i] = digits[ms & 31];
    }
    snprintf(out + 10, 17, "%016u", n);
    return out;
}

/* P3: whatever the clock says, a timed id runs once at most. */
static void check_never_again(uint32_t format,
                              const char *(*id_at)(int64_t, unsigned),
                              int64_t made)
{
    seckill_options_t o = ledger_options();
    ledger_t l;
    char id[40];
    int64_t last = LEDGER_T0 + 4 * LEDGER_WINDOW;

    o.request_ids = format;
    REQUIRE(ledger_open_with(&l, o));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "x", 5));
    snprintf(id, sizeof(id), "%s", id_at(made, 1));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, id));
    for (int64_t now = l.now; now < last; now += SEC / 2) {
        int rc;

        ledger_at(&l, now);
        (void)ledger_sweep(&l);
        rc = ledger_reserve(&l, "x", "ann", 1, id);
        CHECK(rc == SECKILL_ETOOOLD || (rc == SECKILL_OK && l.r.replayed));
        CHECK(rc == SECKILL_OK || now > made + LEDGER_WINDOW);
    }
    CHECK_RC(SECKILL_ETOOOLD, ledger_reserve(&l, "x", "ann", 1, id));
    CHECK_RC(SECKILL_ETOOOLD, ledger_adjust(&l, "x", 1, id));
    CHECK_RC(SECKILL_ETOOOLD, ledger_refund(&l, "1-0-2", id));
    CHECK_COUNTS(&l, "x", 5, 0, 0);
    ledger_close(&l);
}

TEST(a_timed_id_never_runs_twice)
{
    check_never_again(SECKILL_IDS_UUIDV7, uuid_at, LEDGER_T0);
    check_never_again(SECKILL_IDS_UUIDV7, uuid_at, LEDGER_T0 + 60 * SEC);
    check_never_again(SECKILL_IDS_UUIDV7, uuid_at, LEDGER_T0 - 60 * SEC);
    check_never_again(SECKILL_IDS_ULID, ulid_at, LEDGER_T0);
    check_never_again(SECKILL_IDS_ULID, ulid_at, LEDGER_T0 + 60 * SEC);
}

TEST(timed_ids_are_taken_within_their_window)
{
    seckill_options_t o = ledger_options();
    ledger_t l;

    o.request_ids = SECKILL_IDS_ULID;
    REQUIRE(ledger_open_with(&l, o));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "x", 9));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1,
                                        ulid_at(l.now - LEDGER_WINDOW, 1)));
    CHECK_RC(SECKILL_ETOOOLD,
             ledger_reserve(&l, "x", "ann", 1,
                            ulid_at(l.now - LEDGER_WINDOW - MS, 2)));
    CHECK_RC(SECKILL_OK,
             ledger_reserve(&l, "x", "ann", 1, ulid_at(l.now + 60 * SEC, 3)));
    CHECK_RC(
        SECKILL_EBADREQUEST,
        ledger_reserve(&l, "x", "ann", 1, ulid_at(l.now + 60 * SEC + MS, 4)));
    CHECK_RC(SECKILL_EBADREQUEST, ledger_reserve(&l, "x", "ann", 1, "r1"));
    CHECK_RC(SECKILL_EBADREQUEST, ledger_adjust(&l, "x", 1, "r1"));
    CHECK_RC(SECKILL_EBADREQUEST, ledger_refund(&l, "1-0-2", "r1"));
    CHECK_RC(SECKILL_EBADREQUEST, ledger_find(&l, "r1"));
    ledger_close(&l);
}

/* ---- Items --------------------------------------------------------------- */

TEST(put_then_get)
{
    ledger_t l;
    seckill_item_t i = ledger_item("x", 7), got;

    REQUIRE(ledger_open(&l));
    i.per_user = 3;
    i.max_qty = 2;
    i.starts_at = 5;
    i.ends_at = LEDGER_T0 + SEC;
    i.version = SECKILL_COUNT_MAX;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_RC(SECKILL_OK, seckill_get(l.sk, "x", 1, &got));
    CHECK_INT(1, got.item_len);
    CHECK_MEM("x", got.item, 1);
    CHECK_INT(7, got.total);
    CHECK_INT(7, got.available);
    CHECK_INT(0, got.reserved);
    CHECK_INT(0, got.sold);
    CHECK_INT(3, got.per_user);
    CHECK_INT(2, got.max_qty);
    CHECK_INT(10 * SEC, got.hold_ns);
    CHECK_INT(5, got.starts_at);
    CHECK_INT(LEDGER_T0 + SEC, got.ends_at);
    CHECK_INT(SECKILL_COUNT_MAX, got.version);
    CHECK_INT(SECKILL_ITEM_OPEN, got.state);
    CHECK_INT(1, (intmax_t)got.lsn);
    CHECK_RC(SECKILL_EUNKNOWNITEM, seckill_get(l.sk, "xx", 2, &got));
    ledger_close(&l);
}

/* Changes one field of an item. */
typedef struct {
    const char *what;
    void (*set)(seckill_item_t *i, int64_t to);
    int64_t bad[3];
    int code;
} field_t;

static void set_total(seckill_item_t *i, int64_t to)
{
    i->total = to;
}

static void set_per_user(seckill_item_t *i, int64_t to)
{
    i->per_user = to;
}

static void set_max_qty(seckill_item_t *i, int64_t to)
{
    i->max_qty = to;
}

static void set_hold(seckill_item_t *i, int64_t to)
{
    i->hold_ns = to;
}

static void set_starts(seckill_item_t *i, int64_t to)
{
    i->starts_at = to;
}

static void set_ends(seckill_item_t *i, int64_t to)
{
    i->starts_at = 100;
    i->ends_at = to;
}

static void set_version(seckill_item_t *i, int64_t to)
{
    i->version = to;
}

static void set_item_len(seckill_item_t *i, int64_t to)
{
    i->item_len = (uint32_t)to;
}

static const field_t fields[] = {
    {"item", set_item_len, {0, 65, UINT32_MAX}, SECKILL_EBADITEM},
    {"total",
     set_total,
     {-2, SECKILL_COUNT_MAX + 1, INT64_MIN},
     SECKILL_EBADTOTAL},
    {"per_user",
     set_per_user,
     {-1, SECKILL_COUNT_MAX + 1, INT64_MAX},
     SECKILL_EBADQTY},
    {"max_qty",
     set_max_qty,
     {-1, SECKILL_COUNT_MAX + 1, INT64_MIN},
     SECKILL_EBADQTY},
    {"hold",
     set_hold,
     {-1, LEDGER_WINDOW / 2 + 1, INT64_MAX},
     SECKILL_EBADHOLD},
    {"starts_at", set_starts, {-1, INT64_MIN, -SEC}, SECKILL_EBADTIME},
    {"ends_at", set_ends, {-1, 99, 100}, SECKILL_EBADTIME},
    {"version",
     set_version,
     {0, -1, SECKILL_COUNT_MAX + 1},
     SECKILL_EBADVERSION}};

TEST(put_refuses_what_is_out_of_range)
{
    ledger_t l;

    REQUIRE(ledger_open(&l));
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        for (int k = 0; k < 3; k++) {
            seckill_item_t item = ledger_item("x", 1);

            fields[i].set(&item, fields[i].bad[k]);
            if (!CHECK_RC(fields[i].code, seckill_put(l.sk, &item))) {
                printf("#   %s, case %d\n", fields[i].what, k);
            }
        }
    }
    CHECK_INT(0, (intmax_t)seckill_lsn(l.sk));
    ledger_close(&l);
}

TEST(put_takes_the_ends_of_the_ranges)
{
    ledger_t l;
    seckill_item_t i = ledger_item("x", SECKILL_COUNT_MAX);

    REQUIRE(ledger_open(&l));
    i.per_user = i.max_qty = SECKILL_COUNT_MAX;
    i.hold_ns = LEDGER_WINDOW / 2;
    i.ends_at = SECKILL_TIME_MAX;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_RC(SECKILL_OK,
             ledger_reserve(&l, "x", "ann", SECKILL_COUNT_MAX, "r1"));
    CHECK_COUNTS(&l, "x", 0, SECKILL_COUNT_MAX, 0);
    CHECK_RC(SECKILL_EUSERLIMIT,
             ledger_reserve(&l, "x", "ann", SECKILL_COUNT_MAX, "r2"));
    CHECK_RC(SECKILL_EBADQTY,
             ledger_reserve(&l, "x", "ann", SECKILL_COUNT_MAX + 1, "r2"));
    CHECK_RC(SECKILL_EBADQTY, ledger_adjust(&l, "x", 1, "a"));
    i = ledger_item("y", 1);
    i.struct_size--;
    CHECK_RC(SECKILL_EBADOPTION, seckill_put(l.sk, &i));
    ledger_close(&l);
}

TEST(put_follows_versions)
{
    ledger_t l;
    seckill_item_t i = ledger_item("x", 5);

    REQUIRE(ledger_open(&l));
    i.version = 5;
    i.total = -1;
    CHECK_RC(SECKILL_EBADTOTAL, seckill_put(l.sk, &i));
    i.total = 5;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_INT(1, (intmax_t)seckill_lsn(l.sk));
    for (size_t k = 1; k + 1 < sizeof(fields) / sizeof(fields[0]); k++) {
        seckill_item_t other = i;

        fields[k].set(&other, 7 + 200 * (k == 6));
        if (!CHECK_RC(SECKILL_ECONFLICT, seckill_put(l.sk, &other))) {
            printf("#   %s\n", fields[k].what);
        }
    }
    i.version = 4;
    CHECK_RC(SECKILL_ESTALE, seckill_put(l.sk, &i));
    i.version = 6;
    i.total = -1; /* as it is */
    i.max_qty = 2;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_INT(5, ledger_get(&l, "x").total);
    CHECK_INT(2, ledger_get(&l, "x").max_qty);
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    i.total = 5; /* the same number, but not the same call */
    CHECK_RC(SECKILL_ECONFLICT, seckill_put(l.sk, &i));
    CHECK_INT(2, (intmax_t)seckill_lsn(l.sk));
    ledger_close(&l);
}

TEST(a_total_is_absolute_and_covers_what_is_out)
{
    ledger_t l;
    char id[65];
    seckill_item_t i = ledger_item("x", 10);

    REQUIRE(open_with_item(&l, 10));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 3, "r1", id));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 2, "r2", id));
    i.total = 4;
    CHECK_RC(SECKILL_EBELOWSOLD, change(&l, &i));
    CHECK_COUNTS(&l, "x", 5, 2, 3);
    i.version--;
    i.total = 5;
    CHECK_RC(SECKILL_OK, change(&l, &i));
    CHECK_COUNTS(&l, "x", 0, 2, 3);
    ledger_pass(&l, 10 * SEC);
    i.total = 3; /* the hold of 2 is due: it is in nobody's way */
    CHECK_RC(SECKILL_OK, change(&l, &i));
    CHECK_COUNTS(&l, "x", 0, 0, 3);
    ledger_close(&l);
}

TEST(a_change_keeps_the_pause)
{
    ledger_t l;
    char id[65];
    seckill_item_t i = ledger_item("x", 5);

    REQUIRE(open_with_item(&l, 5));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r1", id));
    CHECK_RC(SECKILL_OK, seckill_pause(l.sk, "x", 1));
    CHECK_RC(SECKILL_OK, seckill_pause(l.sk, "x", 1));
    CHECK_RC(SECKILL_OK, change(&l, &i));
    CHECK_INT(SECKILL_ITEM_PAUSED, ledger_get(&l, "x").state);
    CHECK_RC(SECKILL_EPAUSED, ledger_reserve(&l, "x", "ann", 1, "r2"));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r1"));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id)); /* confirms go on */
    CHECK_RC(SECKILL_OK, seckill_resume(l.sk, "x", 1));
    CHECK_RC(SECKILL_OK, seckill_resume(l.sk, "x", 1));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r2"));
    CHECK_RC(SECKILL_EUNKNOWNITEM, seckill_pause(l.sk, "y", 1));
    CHECK_RC(SECKILL_EUNKNOWNITEM, seckill_resume(l.sk, "y", 1));
    ledger_close(&l);
}

TEST(sales_begin_and_end_to_the_nanosecond)
{
    ledger_t l;
    seckill_item_t i = ledger_item("x", 5);

    REQUIRE(ledger_open(&l));
    i.starts_at = l.now + SEC;
    i.ends_at = l.now + 2 * SEC;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    ledger_at(&l, i.starts_at - 1);
    CHECK_RC(SECKILL_ENOTSTARTED, ledger_reserve(&l, "x", "ann", 1, "r1"));
    ledger_at(&l, i.starts_at);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r1"));
    ledger_at(&l, i.ends_at - 1);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r2"));
    ledger_at(&l, i.ends_at);
    CHECK_RC(SECKILL_EENDED, ledger_reserve(&l, "x", "ann", 1, "r3"));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r2"));
    ledger_close(&l);
}

TEST(holds_of_eight_lengths_at_once)
{
    ledger_t l;
    char request[8];
    seckill_item_t i = ledger_item("x", 50);

    REQUIRE(ledger_open(&l));
    i.hold_ns = 20 * SEC;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    for (int k = 0; k < 8; k++) {
        snprintf(request, sizeof(request), "r%d", k);
        CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, request));
        CHECK_INT(l.now + (20 - k) * SEC, l.r.expires_at);
        i.hold_ns -= SEC;
        CHECK_RC(k < 7 ? SECKILL_OK : SECKILL_EBUSY, change(&l, &i));
    }
    CHECK_INT(13 * SEC, ledger_get(&l, "x").hold_ns);
    i.hold_ns = 15 * SEC; /* one of the eight */
    CHECK_RC(SECKILL_OK, change(&l, &i));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "s"));
    /* They end by their deadlines, not in the order they were made. */
    for (int k = 0; k < 8; k++) {
        ledger_at(&l, LEDGER_T0 + (13 + k) * SEC);
        CHECK_INT(k == 2 ? 2 : 1, ledger_sweep(&l));
    }
    i.hold_ns = 7 * SEC; /* lists are free again */
    CHECK_RC(SECKILL_OK, change(&l, &i));
    CHECK_COUNTS(&l, "x", 50, 0, 0);
    ledger_close(&l);
}

TEST(adjust_runs_once_per_id)
{
    ledger_t l;
    char id[65];

    REQUIRE(open_with_item(&l, 10));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 4, "r1", id));
    CHECK_RC(SECKILL_OK, ledger_adjust(&l, "x", 5, "a1"));
    CHECK_RC(SECKILL_OK, ledger_adjust(&l, "x", 5, "a1"));
    CHECK_COUNTS(&l, "x", 11, 4, 0);
    CHECK_INT(15, ledger_get(&l, "x").total);
    CHECK_RC(SECKILL_ECONFLICT, ledger_adjust(&l, "x", 4, "a1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_adjust(&l, "y", 5, "a1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_adjust(&l, "x", 5, "r1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(&l, "x", "ann", 4, "a1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_refund(&l, id, "a1"));
    CHECK_RC(SECKILL_EUNKNOWNREQUEST, ledger_find(&l, "a1"));
    CHECK_RC(SECKILL_EBELOWSOLD, ledger_adjust(&l, "x", -12, "a2"));
    CHECK_RC(SECKILL_OK, ledger_adjust(&l, "x", -11, "a2"));
    CHECK_COUNTS(&l, "x", 0, 4, 0);
    CHECK_RC(SECKILL_EUNKNOWNITEM, ledger_adjust(&l, "y", 1, "a3"));
    CHECK_RC(SECKILL_EBADQTY, ledger_adjust(&l, "x", 0, "a3"));
    CHECK_RC(SECKILL_EBADQTY, ledger_adjust(&l, "x", INT64_MIN, "a3"));
    CHECK_RC(SECKILL_EBADQTY, ledger_adjust(&l, "x", INT64_MAX, "a3"));
    CHECK_RC(SECKILL_EBADREQUEST, ledger_adjust(&l, "x", 1, ""));
    CHECK_RC(SECKILL_EBADITEM, ledger_adjust(&l, "", 1, "a3"));
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_OK, ledger_adjust(&l, "x", -4, "a3")); /* hold is due */
    CHECK_COUNTS(&l, "x", 0, 0, 0);
    ledger_close(&l);
}

/* ---- Remove -------------------------------------------------------------- */

TEST(an_item_in_use_stays)
{
    ledger_t l;
    char id[65];

    REQUIRE(open_with_item(&l, 5));
    CHECK_RC(SECKILL_EBADITEM, ledger_remove(&l, ""));
    CHECK_RC(SECKILL_EUNKNOWNITEM, ledger_remove(&l, "y"));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r1", id));
    CHECK_RC(SECKILL_EINUSE, ledger_remove(&l, "x"));
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_OK, ledger_remove(&l, "x")); /* the hold is due */
    CHECK_RC(SECKILL_EUNKNOWNITEM, ledger_remove(&l, "x"));
    CHECK_RC(SECKILL_EUNKNOWNITEM, ledger_reserve(&l, "x", "ann", 1, "r2"));
    CHECK_RC(SECKILL_EEXPIRED, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_OK, ledger_find(&l, "r1"));
    CHECK_INT(SECKILL_STATE_EXPIRED, l.r.state);
    ledger_close(&l);
}

TEST(the_same_name_begins_afresh)
{
    ledger_t l;
    char id[65];
    seckill_item_t i = ledger_item("x", 3);

    REQUIRE(ledger_open(&l));
    i.per_user = 2;
    i.version = 9;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 2, "r1", id));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_OK, ledger_adjust(&l, "x", 4, "a1"));
    CHECK_RC(SECKILL_OK, ledger_remove(&l, "x"));
    i.version = 1;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &i));
    CHECK_COUNTS(&l, "x", 3, 0, 0);
    /* The old order is the answer to its id, of the old item. */
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 2, "r1"));
    CHECK_INT(1, l.r.replayed);
    CHECK_RC(SECKILL_OK, ledger_adjust(&l, "x", 4, "a1"));
    CHECK_COUNTS(&l, "x", 3, 0, 0);
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    CHECK_COUNTS(&l, "x", 3, 0, 0);
    /* What ann has of the old one does not count here. */
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 2, "r2"));
    CHECK_INT(0, l.r.replayed);
    CHECK_COUNTS(&l, "x", 1, 2, 0);
    ledger_close(&l);
}

TEST(a_removed_item_leaves_nothing_behind)
{
    ledger_t l;
    char id[65], request[8];
    skl_usage_t usage;

    REQUIRE(open_with_item(&l, 50));
    for (int i = 0; i < 9; i++) {
        snprintf(request, sizeof(request), "r%d", i);
        CHECK_RC(SECKILL_OK, order(&l, request, 1, request, id));
        CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    }
    CHECK_RC(SECKILL_OK, ledger_remove(&l, "x"));
    CHECK_INT(0, ledger_sweep(&l)); /* orders stay findable */
    ledger_pass(&l, LEDGER_WINDOW + 1);
    for (int i = 0; i < 4; i++) {
        (void)ledger_sweep(&l);
    }
    skl_stock_usage(&l.sk->stock, &usage);
    CHECK_INT(
        0, (intmax_t)(usage.items + usage.requests + usage.users + usage.rows));
    ledger_close(&l);
}

TEST(items_are_walked)
{
    ledger_t l;
    seckill_item_t got;
    uint32_t cursor = 0;
    int seen = 0;

    REQUIRE(ledger_open(&l));
    CHECK_RC(SECKILL_ENOTFOUND, seckill_next_item(l.sk, &cursor, &got));
    for (int i = 0; i < 5; i++) {
        const char name[2] = {(char)('a' + i), '\0'};

        CHECK_RC(SECKILL_OK, ledger_put(&l, name, i));
    }
    CHECK_RC(SECKILL_OK, ledger_remove(&l, "c"));
    CHECK_RC(SECKILL_OK, seckill_pause(l.sk, "d", 1));
    for (cursor = 0; seckill_next_item(l.sk, &cursor, &got) == SECKILL_OK;) {
        CHECK_INT(1, got.item_len);
        CHECK_INT(got.item[0] - 'a', got.total);
        seen |= 1 << (got.item[0] - 'a');
    }
    CHECK_INT(1 | 2 | 8 | 16, seen);
    CHECK_RC(SECKILL_ENOTFOUND, seckill_next_item(l.sk, &cursor, &got));
    cursor = UINT32_MAX;
    CHECK_RC(SECKILL_ENOTFOUND, seckill_next_item(l.sk, &cursor, &got));
    ledger_close(&l);
}

/* ---- Full tables --------------------------------------------------------- */

static int open_tiny(ledger_t *l, uint32_t items, uint32_t rows, uint32_t users,
                     uint32_t requests)
{
    seckill_options_t o = ledger_options();

    o.items = items;
    o.reservations = rows;
    o.users = users;
    o.requests = requests;
    return ledger_open_with(l, o) &&
           CHECK_RC(SECKILL_OK, ledger_put(l, "x", 100));
}

TEST(no_room_for_an_item)
{
    ledger_t l;

    REQUIRE(open_tiny(&l, 1, 4, 4, 4));
    CHECK_RC(SECKILL_EFULL, ledger_put(&l, "y", 1));
    CHECK_RC(SECKILL_OK, ledger_remove(&l, "x"));
    CHECK_RC(SECKILL_EFULL, ledger_put(&l, "y", 1));
    CHECK_INT(1, ledger_sweep(&l));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "y", 1));
    CHECK_COUNTS(&l, "y", 1, 0, 0);
    ledger_close(&l);
}

static void check_full_until_the_window_ends(ledger_t *l, int fits)
{
    char request[8], user[8], id[65];

    for (int i = 0; i < fits; i++) {
        snprintf(request, sizeof(request), "r%d", i);
        snprintf(user, sizeof(user), "u%d", i);
        CHECK_RC(SECKILL_OK, order(l, user, 1, request, id));
        CHECK_RC(SECKILL_OK, ledger_cancel(l, id));
    }
    CHECK_RC(SECKILL_EFULL, ledger_reserve(l, "x", "new", 1, "next"));
    CHECK_RC(SECKILL_OK, ledger_reserve(l, "x", "u0", 1, "r0"));
    ledger_pass(l, LEDGER_WINDOW);
    CHECK_RC(SECKILL_EFULL, ledger_reserve(l, "x", "new", 1, "next"));
    ledger_pass(l, 1); /* nobody sweeps */
    CHECK_RC(SECKILL_OK, ledger_reserve(l, "x", "new", 1, "next"));
    CHECK_COUNTS(l, "x", 99, 1, 0);
    ledger_close(l);
}

TEST(no_room_for_a_reservation)
{
    ledger_t l;

    REQUIRE(open_tiny(&l, 2, 3, 20, 20));
    check_full_until_the_window_ends(&l, 3);
}

TEST(no_room_for_a_user)
{
    ledger_t l;

    REQUIRE(open_tiny(&l, 2, 20, 3, 20));
    check_full_until_the_window_ends(&l, 3);
}

TEST(no_room_for_a_request_id)
{
    ledger_t l;

    REQUIRE(open_tiny(&l, 2, 20, 20, 3));
    check_full_until_the_window_ends(&l, 3);
}

/* Tables of one, over and over. */
TEST(tables_of_one)
{
    ledger_t l;
    char request[8], id[65];

    REQUIRE(open_tiny(&l, 1, 1, 1, 1));
    for (int i = 0; i < 10; i++) {
        snprintf(request, sizeof(request), "r%d", i);
        CHECK_RC(SECKILL_OK, order(&l, i % 2 ? "ann" : "bob", 1, request, id));
        CHECK_RC(SECKILL_EFULL, ledger_reserve(&l, "x", "cy", 1, "other"));
        CHECK_RC(SECKILL_EFULL, ledger_adjust(&l, "x", 1, "other"));
        ledger_pass(&l, LEDGER_WINDOW + 1);
    }
    ledger_close(&l);
}

TEST(refund_and_adjust_need_an_id_too)
{
    ledger_t l;
    char id[65];

    REQUIRE(open_tiny(&l, 2, 4, 4, 2));
    CHECK_RC(SECKILL_OK, ledger_adjust(&l, "x", 1, "a1"));
    ledger_pass(&l, SEC);
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "r1", id));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_EFULL, ledger_refund(&l, id, "f1"));
    CHECK_RC(SECKILL_EFULL, ledger_adjust(&l, "x", 1, "a2"));
    ledger_at(&l, LEDGER_T0 + LEDGER_WINDOW + 1); /* a1 may go, r1 not */
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    CHECK_RC(SECKILL_EFULL, ledger_adjust(&l, "x", 1, "a2"));
    ledger_pass(&l, SEC);
    CHECK_RC(SECKILL_OK, ledger_adjust(&l, "x", 1, "a2"));
    CHECK_COUNTS(&l, "x", 102, 0, 0);
    ledger_close(&l);
}

TEST(busy_while_the_log_cannot_be_read)
{
    seckill_options_t o = ledger_options();
    ledger_t l;
    char id[65], request[8];
    int made = 0, rc = SECKILL_OK;
    uint64_t lsn;

    o.log_units = 64;
    REQUIRE(ledger_open_with(&l, o));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "x", 100));
    CHECK_RC(SECKILL_OK, order(&l, "ann", 1, "first", id));
    for (; made < 60 && rc == SECKILL_OK; made++) {
        snprintf(request, sizeof(request), "r%d", made);
        rc = ledger_reserve(&l, "x", request, 1, request);
    }
    CHECK_RC(SECKILL_EBUSY, rc);
    lsn = seckill_lsn(l.sk);
    CHECK_COUNTS(&l, "x", 100 - made, made, 0);
    CHECK_RC(SECKILL_EBUSY, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_EBUSY, ledger_cancel(&l, id));
    CHECK_RC(SECKILL_EBUSY, ledger_adjust(&l, "x", 1, "a1"));
    CHECK_RC(SECKILL_EBUSY, ledger_put(&l, "y", 1));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "first"));
    CHECK_RC(SECKILL_OK, ledger_find(&l, "first"));
    CHECK_RC(SECKILL_ESOLDOUT, ledger_reserve(&l, "x", "bob", 100, "r"));
    CHECK_INT((intmax_t)lsn, (intmax_t)seckill_lsn(l.sk));
    CHECK(seckill_sink_drain(l.sk) > 0);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", request, 1, request));
    CHECK_INT(0, l.r.replayed);
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    ledger_close(&l);
}

/* Records of every length go round the ring many times. */
TEST(the_ring_goes_round)
{
    seckill_options_t o = ledger_options();
    ledger_t l;
    char text[65], id[65];

    o.log_units = 64;
    REQUIRE(ledger_open_with(&l, o));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "x", 100));
    memset(text, 'a', sizeof(text));
    for (int i = 1; i <= 1000; i++) {
        int len = 4 + i % 61;

        snprintf(text, 5, "%04d", i);
        text[4] = 'a';
        text[len] = '\0';
        CHECK_RC(SECKILL_OK, order(&l, text, 1, text, id));
        CHECK_RC(SECKILL_OK, ledger_cancel(&l, id));
        CHECK(seckill_sink_drain(l.sk) > 0);
        text[len] = 'a';
        ledger_pass(&l, 2 * SEC);
    }
    ledger_close(&l);
}

/* ---- Bad inputs ---------------------------------------------------------- */

TEST(bad_bytes_and_numbers)
{
    static const int64_t bad_qty[] = {0, -1, SECKILL_COUNT_MAX + 1, INT64_MIN,
                                      INT64_MAX};
    char big[65];
    ledger_t l;
    seckill_reservation_t *r = &l.r;
    seckill_item_t got;

    REQUIRE(open_with_item(&l, 5));
    memset(big, 'b', sizeof(big));
    CHECK_RC(SECKILL_EBADITEM,
             seckill_reserve(l.sk, NULL, 1, "u", 1, 1, "r", 1, r));
    CHECK_RC(SECKILL_EBADITEM,
             seckill_reserve(l.sk, big, 65, "u", 1, 1, "r", 1, r));
    CHECK_RC(SECKILL_EBADUSER,
             seckill_reserve(l.sk, "x", 1, NULL, 1, 1, "r", 1, r));
    CHECK_RC(SECKILL_EBADUSER,
             seckill_reserve(l.sk, "x", 1, big, 65, 1, "r", 1, r));
    CHECK_RC(SECKILL_EBADREQUEST,
             seckill_reserve(l.sk, "x", 1, "u", 1, 1, NULL, 1, r));
    CHECK_RC(SECKILL_EBADREQUEST,
             seckill_reserve(l.sk, "x", 1, "u", 1, 1, big, 65, r));
    CHECK_RC(SECKILL_EBADREQUEST,
             seckill_reserve(l.sk, "x", 1, "u", 1, 1, big, SIZE_MAX, r));
    for (size_t i = 0; i < sizeof(bad_qty) / sizeof(bad_qty[0]); i++) {
        CHECK_RC(SECKILL_EBADQTY,
                 ledger_reserve(&l, "x", "u", bad_qty[i], "r"));
    }
    CHECK_RC(SECKILL_EBADITEM, seckill_get(l.sk, NULL, 1, &got));
    CHECK_RC(SECKILL_EBADITEM, seckill_get(l.sk, big, 65, &got));
    CHECK_RC(SECKILL_EBADITEM, seckill_remove(l.sk, NULL, 1));
    CHECK_RC(SECKILL_EBADITEM, seckill_pause(l.sk, big, 0));
    CHECK_RC(SECKILL_EBADITEM, seckill_resume(l.sk, big, 65));
    CHECK_RC(SECKILL_EBADITEM, seckill_adjust(l.sk, NULL, 1, 1, "r", 1));
    CHECK_RC(SECKILL_EBADREQUEST, seckill_adjust(l.sk, "x", 1, 1, NULL, 1));
    CHECK_RC(SECKILL_EBADREQUEST, seckill_find(l.sk, NULL, 1, r));
    CHECK_RC(SECKILL_EBADREQUEST, seckill_find(l.sk, big, 65, r));
    CHECK_INT(1, (intmax_t)seckill_lsn(l.sk));
    ledger_close(&l);
}

/* ---- Audit --------------------------------------------------------------- */

/* A ledger with a bit of everything. */
static int open_mixed(ledger_t *l, char *id)
{
    if (!open_with_item(l, 20)) {
        return 0;
    }
    CHECK_RC(SECKILL_OK, order(l, "ann", 2, "r1", id));
    CHECK_RC(SECKILL_OK, ledger_confirm(l, id));
    CHECK_RC(SECKILL_OK, order(l, "bob", 3, "r2", id));
    return CHECK_RC(SECKILL_OK, order(l, "ann", 1, "r3", id));
}

static uint32_t slot_of(const ledger_t *l, const char *request)
{
    const skl_tables_t *t = &l->sk->stock.tables;
    uint32_t i = 0;

    while (i < t->shm->rows &&
           (t->rows[i].request_len != strlen(request) ||
            memcmp(t->rows[i].request_id, request, strlen(request)) != 0)) {
        i++;
    }
    return i;
}

static void break_available(ledger_t *l)
{
    atomic_fetch_add(&l->sk->stock.tables.items[0].available, 1);
}

static void break_total(ledger_t *l)
{
    atomic_fetch_add(&l->sk->stock.tables.items[0].total, -1);
}

static void break_state(ledger_t *l)
{
    l->sk->stock.tables.rows[slot_of(l, "r2")].state = SECKILL_STATE_CANCELLED;
}

static void break_qty(ledger_t *l)
{
    l->sk->stock.tables.rows[slot_of(l, "r2")].qty = 4;
}

static void break_user(ledger_t *l)
{
    const skl_tables_t *t = &l->sk->stock.tables;

    atomic_fetch_add(&t->users[t->rows[slot_of(l, "r2")].user].count, 1);
}

static void break_user_ids(ledger_t *l)
{
    const skl_tables_t *t = &l->sk->stock.tables;

    atomic_fetch_add(&t->users[t->rows[slot_of(l, "r2")].user].ids, 1);
}

static void break_hold_list(ledger_t *l)
{
    l->sk->stock.tables.rows[slot_of(l, "r2")].next = SKL_NONE;
}

static void break_earliest(ledger_t *l)
{
    atomic_fetch_add(&l->sk->stock.tables.items[0].earliest, 1);
}

static void break_index(ledger_t *l)
{
    const skl_tables_t *t = &l->sk->stock.tables;

    atomic_fetch_xor(&t->requests[t->rows[slot_of(l, "r2")].request].lo,
                     1ULL << 63);
}

static void break_queue(ledger_t *l)
{
    atomic_fetch_add(&l->sk->stock.tables.shards[0].fifo_head, 1);
}

static void break_free_ids(ledger_t *l)
{
    atomic_store(&l->sk->stock.tables.shards[0].request_free, SKL_NONE);
}

static void break_free_users(ledger_t *l)
{
    atomic_store(&l->sk->stock.tables.shards[0].user_free, SKL_NONE);
}

static void break_free_rows(ledger_t *l)
{
    atomic_store(&l->sk->stock.tables.shards[0].row_free, SKL_NONE);
}

TEST(the_audit_finds_what_is_wrong)
{
    static void (*const breaks[])(ledger_t *) = {
        break_available, break_total,    break_state,     break_qty,
        break_user,      break_user_ids, break_hold_list, break_earliest,
        break_index,     break_queue,    break_free_ids,  break_free_users,
        break_free_rows};
    ledger_t l;
    char id[65], text[400];

    for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++) {
        REQUIRE(open_mixed(&l, id));
        ledger_sound(&l);
        breaks[i](&l);
        if (!CHECK(seckill_audit(l.sk, text, sizeof(text)) > 0)) {
            printf("#   not found: case %zu\n", i);
        }
        CHECK(strlen(text) > 0 && text[strlen(text) - 1] == '\n');
        CHECK(seckill_sink_compare(l.sk, text, sizeof(text)) > 0);
        ledger_drop(&l);
    }
}

TEST(the_report_fits_its_buffer)
{
    ledger_t l;
    char id[65], text[24];

    REQUIRE(open_mixed(&l, id));
    break_state(&l);
    break_available(&l);
    memset(text, 'z', sizeof(text));
    CHECK(seckill_audit(l.sk, text, 10) > 1);
    CHECK_INT('\0', text[strlen(text)]);
    CHECK(strlen(text) < 10);
    CHECK_INT('z', text[10]);
    CHECK(seckill_audit(l.sk, NULL, 0) > 1);
    ledger_drop(&l);
}

TEST(a_sink_begins_with_the_first_record)
{
    ledger_t l;

    REQUIRE(open_with_item(&l, 5));
    CHECK_RC(SECKILL_EINUSE, seckill_sink_attach(l.sk));
    CHECK_INT(1, seckill_sink_drain(l.sk));
    CHECK_INT(0, seckill_sink_drain(l.sk));
    ledger_close(&l);
}

TAP_MAIN()
