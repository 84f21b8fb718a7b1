/*
 * Orders of several lines, confirming in part, and confirming late: what they
 * answer, what they leave, and that it is all or nothing. Death within them is
 * in kill_test.c, random mixes in model_test.c.
 *
 * An order is written as "item:qty item:qty". Threads: one, but for the race
 * at the end, whose workers are processes.
 */
#include "stock/lines.h"
#include "test/support/ledger.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

typedef struct {
    seckill_line_t line[SECKILL_LINES_MAX + 2];
    size_t count;
} lines_t;

static seckill_order_t got; /* the last answer */
static uint32_t refused;    /* its line */

static void add_line(lines_t *ls, const char *item, size_t len, int64_t qty)
{
    seckill_line_t *line = &ls->line[ls->count++];

    line->qty = qty;
    line->item_len = (uint32_t)len;
    memcpy(line->item, item, len);
}

static lines_t lines_of(const char *text)
{
    lines_t ls;

    memset(&ls, 0, sizeof(ls));
    while (*text != '\0') {
        const char *colon = strchr(text, ':');
        char *end;
        int64_t qty = strtoll(colon + 1, &end, 10);

        add_line(&ls, text, (size_t)(colon - text), qty);
        text = *end == ' ' ? end + 1 : end;
    }
    return ls;
}

static int order(ledger_t *l, const char *user, const char *request,
                 const char *text)
{
    const lines_t ls = lines_of(text);

    memset(&got, 0, sizeof(got));
    refused = 99;
    return seckill_order(l->sk, user, strlen(user), request, strlen(request),
                         ls.line, ls.count, &got, &refused);
}

static int find(ledger_t *l, const char *request)
{
    memset(&got, 0, sizeof(got));
    return seckill_find_order(l->sk, request, strlen(request), &got);
}

static const char *id_of(char *buf)
{
    memcpy(buf, got.id, got.id_len);
    buf[got.id_len] = '\0';
    return buf;
}

static int confirm(ledger_t *l, const char *id, int64_t qty, int reacquire)
{
    return seckill_confirm_with(l->sk, id, strlen(id), qty,
                                reacquire ? SECKILL_CONFIRM_REACQUIRE : 0);
}

/* Items a, b, c with 10 units each and holds of 10, 5 and 0 s. */
static int open_three(ledger_t *l)
{
    static const char *const names[] = {"a", "b", "c"};
    static const int64_t holds[] = {10 * SEC, 5 * SEC, 0};

    if (!ledger_open(l)) {
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        seckill_item_t item = ledger_item(names[i], 10);

        item.hold_ns = holds[i];
        CHECK_RC(SECKILL_OK, seckill_put(l->sk, &item));
    }
    return 1;
}

#define ORDER_REFUSED(want, want_line, l, user, request, text)                 \
    do {                                                                       \
        CHECK_RC((want), order((l), (user), (request), (text)));               \
        CHECK_INT((want_line), refused);                                       \
    } while (0)

/* ---- Making an order ----------------------------------------------------- */

TEST(an_order_answers_all_lines)
{
    ledger_t l;
    char id[40];

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "b:2 a:3 c:1"));
    CHECK_INT(0, refused);
    CHECK_INT(3, got.line_count);
    CHECK_INT(SECKILL_STATE_RESERVED, got.state);
    CHECK_INT(LEDGER_T0 + 5 * SEC, got.expires_at);
    CHECK_INT(0, got.replayed);
    CHECK_INT(seckill_lsn(l.sk), got.lsn);
    CHECK_MEM("ann", got.user, got.user_len);
    CHECK_MEM("r1", got.request, got.request_len);
    CHECK_MEM("b", got.lines[0].item, got.lines[0].item_len);
    CHECK_MEM("a", got.lines[1].item, got.lines[1].item_len);
    CHECK_MEM("c", got.lines[2].item, got.lines[2].item_len);
    CHECK_INT(2, got.lines[0].qty);
    CHECK_INT(8, got.lines[0].remaining);
    CHECK_INT(7, got.lines[1].remaining);
    CHECK_INT(9, got.lines[2].remaining);
    /* also the item that sells at once is on hold with the others */
    CHECK_COUNTS(&l, "a", 7, 3, 0);
    CHECK_COUNTS(&l, "b", 8, 2, 0);
    CHECK_COUNTS(&l, "c", 9, 1, 0);
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id_of(id)));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    CHECK_COUNTS(&l, "a", 7, 0, 3);
    CHECK_COUNTS(&l, "b", 8, 0, 2);
    CHECK_COUNTS(&l, "c", 9, 0, 1);
    ledger_close(&l);
}

TEST(items_without_holds_are_sold_at_once)
{
    ledger_t l;
    seckill_item_t d = ledger_item("d", 4);

    if (!open_three(&l)) {
        return;
    }
    d.hold_ns = 0;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &d));
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "c:2 d:4"));
    CHECK_INT(SECKILL_STATE_CONFIRMED, got.state);
    CHECK_INT(0, got.expires_at);
    CHECK_COUNTS(&l, "c", 8, 0, 2);
    CHECK_COUNTS(&l, "d", 0, 0, 4);
    ledger_close(&l);
}

TEST(one_line_and_eight_lines)
{
    ledger_t l;
    seckill_options_t o = ledger_options();

    o.items = 16;
    if (!ledger_open_with(&l, o)) {
        return;
    }
    for (char c = 'a'; c <= 'i'; c++) {
        CHECK_RC(SECKILL_OK, ledger_put(&l, (char[]){c, '\0'}, 5));
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "c:5"));
    CHECK_INT(1, got.line_count);
    CHECK_RC(SECKILL_OK,
             order(&l, "ann", "r2", "h:1 a:1 b:1 i:1 d:1 e:1 f:1 g:1"));
    CHECK_INT(8, got.line_count);
    ORDER_REFUSED(SECKILL_EBADLINES, 0, &l, "ann", "r3",
                  "h:1 a:1 b:1 i:1 d:1 e:1 f:1 g:1 c:1");
    ORDER_REFUSED(SECKILL_ESOLDOUT, 8, &l, "ann", "r3",
                  "h:1 a:1 b:1 i:1 d:1 e:1 f:1 c:1");
    CHECK_COUNTS(&l, "h", 4, 1, 0);
    ledger_close(&l);
}

TEST(names_may_be_of_any_length_and_bytes)
{
    ledger_t l;
    lines_t ls;
    char text[64];
    seckill_options_t o = ledger_options();

    o.items = 8;
    if (!ledger_open_with(&l, o)) {
        return;
    }
    memset(&ls, 0, sizeof(ls));
    for (int i = 0; i < 8; i++) {
        seckill_item_t item = ledger_item("", 3);

        memset(text, i, sizeof(text));
        item.item_len = 64;
        memcpy(item.item, text, 64);
        CHECK_RC(SECKILL_OK, seckill_put(l.sk, &item));
        add_line(&ls, text, 64, 1);
    }
    memset(text, 0xff, sizeof(text));
    CHECK_RC(SECKILL_OK, seckill_order(l.sk, text, 64, text, 64, ls.line, 8,
                                       &got, &refused));
    CHECK_INT(8, got.line_count);
    CHECK_RC(SECKILL_OK, seckill_order(l.sk, text, 64, text, 64, ls.line, 8,
                                       &got, &refused));
    CHECK_INT(1, got.replayed);
    ledger_close(&l);
}

/* ---- Refusals ------------------------------------------------------------ */

TEST(bad_input_is_refused_before_anything_else)
{
    ledger_t l;
    lines_t ls = lines_of("a:1 b:1");
    char big[66];

    memset(big, 'x', sizeof(big));
    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_EBADLINES, order(&l, "ann", "r1", ""));
    CHECK_RC(SECKILL_EBADLINES,
             seckill_order(l.sk, "ann", 3, "r1", 2, NULL, 1, &got, &refused));
    CHECK_RC(SECKILL_EBADLINES, seckill_order(l.sk, "ann", 3, "r1", 2, ls.line,
                                              SIZE_MAX, &got, &refused));
    ORDER_REFUSED(SECKILL_EBADLINES, 3, &l, "ann", "r1", "a:1 b:1 a:2");
    ORDER_REFUSED(SECKILL_EBADITEM, 2, &l, "", "", "a:0 :1");
    ORDER_REFUSED(SECKILL_EBADUSER, 0, &l, "", "", "a:0 b:1");
    ORDER_REFUSED(SECKILL_EBADQTY, 2, &l, "ann", "", "a:1 b:0");
    ORDER_REFUSED(SECKILL_EBADQTY, 1, &l, "ann", "", "a:-1 b:1");
    ORDER_REFUSED(SECKILL_EBADQTY, 1, &l, "ann", "", "a:9007199254740992");
    ORDER_REFUSED(SECKILL_EBADREQUEST, 0, &l, "ann", "", "a:1 b:1");
    big[65] = '\0';
    ORDER_REFUSED(SECKILL_EBADREQUEST, 0, &l, "ann", big, "a:1 b:1");
    ORDER_REFUSED(SECKILL_EBADUSER, 0, &l, big, "r1", "a:1 b:1");
    ls.line[1].item_len = 65;
    CHECK_RC(SECKILL_EBADITEM, seckill_order(l.sk, "ann", 3, "r1", 2, ls.line,
                                             2, &got, &refused));
    CHECK_INT(2, refused);
    CHECK_COUNTS(&l, "a", 10, 0, 0);
    CHECK_INT(3, seckill_lsn(l.sk));
    ledger_close(&l);
}

static void put_terms(ledger_t *l, const char *name, int64_t per_user,
                      int64_t max_qty, int64_t starts_at, int64_t ends_at)
{
    seckill_item_t i = ledger_item(name, 10);

    i.per_user = per_user;
    i.max_qty = max_qty;
    i.starts_at = starts_at;
    i.ends_at = ends_at;
    CHECK_RC(SECKILL_OK, seckill_put(l->sk, &i));
}

TEST(the_first_line_that_refuses_decides)
{
    ledger_t l;

    if (!ledger_open(&l)) {
        return;
    }
    put_terms(&l, "open", 0, 0, 0, 0);
    put_terms(&l, "later", 0, 0, LEDGER_T0 + SEC, 0);
    put_terms(&l, "over", 0, 0, 0, LEDGER_T0);
    put_terms(&l, "paused", 0, 0, 0, 0);
    put_terms(&l, "three", 3, 2, 0, 0);
    CHECK_RC(SECKILL_OK, seckill_pause(l.sk, "paused", 6));
    ORDER_REFUSED(SECKILL_EUNKNOWNITEM, 2, &l, "u", "r", "open:1 none:1");
    ORDER_REFUSED(SECKILL_ENOTSTARTED, 2, &l, "u", "r", "open:1 later:1 no:1");
    ORDER_REFUSED(SECKILL_EUNKNOWNITEM, 2, &l, "u", "r", "open:1 no:1 later:1");
    ORDER_REFUSED(SECKILL_EENDED, 1, &l, "u", "r", "over:1 paused:1");
    ORDER_REFUSED(SECKILL_EPAUSED, 1, &l, "u", "r", "paused:1 over:1");
    ORDER_REFUSED(SECKILL_EQTYLIMIT, 2, &l, "u", "r", "open:1 three:3");
    CHECK_RC(SECKILL_OK, order(&l, "u", "r1", "open:1 three:2"));
    ORDER_REFUSED(SECKILL_EUSERLIMIT, 2, &l, "u", "r", "open:1 three:2");
    CHECK_RC(SECKILL_OK, order(&l, "v", "r2", "three:2 open:1"));
    ORDER_REFUSED(SECKILL_ESOLDOUT, 2, &l, "w", "r", "three:1 open:9");
    CHECK_COUNTS(&l, "open", 8, 2, 0);
    CHECK_COUNTS(&l, "three", 6, 4, 0);
    ledger_close(&l);
}

TEST(a_refused_order_leaves_nothing)
{
    ledger_t l;
    skl_usage_t use;

    if (!open_three(&l)) {
        return;
    }
    ORDER_REFUSED(SECKILL_ESOLDOUT, 3, &l, "ann", "r1", "a:1 b:1 c:11");
    skl_stock_usage(&l.sk->stock, &use);
    CHECK_INT(0, use.requests);
    CHECK_INT(0, use.users);
    CHECK_INT(0, use.rows);
    CHECK_INT(3, seckill_lsn(l.sk));
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:1 b:1 c:10"));
    ledger_close(&l);
}

TEST(sixteen_ids_of_a_user_and_item_hold_for_lines_too)
{
    ledger_t l;
    char id[8];

    if (!ledger_open(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, ledger_put(&l, "a", 100));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "b", 100));
    for (int i = 0; i < 16; i++) {
        snprintf(id, sizeof(id), "r%d", i);
        CHECK_RC(SECKILL_OK, i % 2 == 0
                                 ? order(&l, "ann", id, "b:1 a:1")
                                 : ledger_reserve(&l, "a", "ann", 1, id));
    }
    ORDER_REFUSED(SECKILL_EUSERLIMIT, 2, &l, "ann", "r16", "b:1 a:1");
    ledger_pass(&l, LEDGER_WINDOW + SEC);
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r16", "b:1 a:1"));
    ledger_close(&l);
}

/* ---- Replay -------------------------------------------------------------- */

TEST(a_retry_of_an_order_gets_its_answer)
{
    ledger_t l;
    seckill_order_t first;

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:2 b:3"));
    first = got;
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:2 b:3"));
    CHECK_INT(1, got.replayed);
    got.replayed = 0;
    CHECK_MEM(&first, &got, sizeof(got));
    CHECK_RC(SECKILL_OK, find(&l, "r1"));
    CHECK_INT(1, got.replayed);
    got.replayed = 0;
    CHECK_MEM(&first, &got, sizeof(got));
    CHECK_COUNTS(&l, "a", 8, 2, 0);
    /* also when everything is gone, and when the hold has ended */
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "bob", 8, "r2"));
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:2 b:3"));
    CHECK_INT(0, got.lines[0].remaining);
    ledger_pass(&l, 5 * SEC);
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:2 b:3"));
    CHECK_INT(SECKILL_STATE_EXPIRED, got.state);
    CHECK_INT(0, got.expires_at);
    CHECK_COUNTS(&l, "a", 2, 8, 0);
    CHECK_COUNTS(&l, "b", 10, 0, 0);
    ledger_close(&l);
}

TEST(the_same_id_with_another_order_is_a_conflict)
{
    ledger_t l;

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:2 b:3"));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 2, "r2"));
    ORDER_REFUSED(SECKILL_ECONFLICT, 0, &l, "ann", "r1", "b:3 a:2");
    ORDER_REFUSED(SECKILL_ECONFLICT, 0, &l, "ann", "r1", "a:3 b:2");
    ORDER_REFUSED(SECKILL_ECONFLICT, 0, &l, "ann", "r1", "a:2");
    ORDER_REFUSED(SECKILL_ECONFLICT, 0, &l, "ann", "r1", "a:2 b:3 c:1");
    ORDER_REFUSED(SECKILL_ECONFLICT, 0, &l, "ann", "r1", "a:2 c:3");
    ORDER_REFUSED(SECKILL_ECONFLICT, 0, &l, "ann", "r1", "a:2 none:3");
    ORDER_REFUSED(SECKILL_ECONFLICT, 0, &l, "bob", "r1", "a:2 b:3");
    ORDER_REFUSED(SECKILL_ECONFLICT, 0, &l, "ann", "r2", "a:2");
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(&l, "a", "ann", 2, "r1"));
    CHECK_RC(SECKILL_ECONFLICT, ledger_adjust(&l, "a", 2, "r1"));
    CHECK_RC(SECKILL_OK, ledger_adjust(&l, "a", 2, "r3"));
    ORDER_REFUSED(SECKILL_ECONFLICT, 0, &l, "ann", "r3", "a:2 b:3");
    ledger_close(&l);
}

TEST(a_timed_id_of_an_order_runs_once)
{
    ledger_t l;
    seckill_options_t o = ledger_options();
    /* 2026-01-01T00:00:00Z */
    static const char id[] = "019b76da-a800-7000-8000-000000000001";

    o.request_ids = SECKILL_IDS_UUIDV7;
    if (!ledger_open_with(&l, o)) {
        return;
    }
    CHECK_RC(SECKILL_OK, ledger_put(&l, "a", 9));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "b", 9));
    CHECK_RC(SECKILL_EBADREQUEST, order(&l, "ann", "r1", "a:1 b:1"));
    CHECK_RC(SECKILL_OK, order(&l, "ann", id, "a:1 b:1"));
    ledger_pass(&l, LEDGER_WINDOW + 63 * SEC);
    CHECK_INT(3, ledger_sweep(&l));
    ORDER_REFUSED(SECKILL_ETOOOLD, 0, &l, "ann", id, "a:1 b:1");
    ORDER_REFUSED(SECKILL_ETOOOLD, 0, &l, "ann", id, "a:1 none:1");
    ledger_close(&l);
}

TEST(find_answers_reservations_and_orders)
{
    ledger_t l;

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "b:2 a:3"));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 1, "r2"));
    CHECK_RC(SECKILL_OK, ledger_find(&l, "r1"));
    CHECK_INT(2, l.r.lines);
    CHECK_INT(2, l.r.qty);
    CHECK_MEM("b", l.r.item, l.r.item_len);
    CHECK_RC(SECKILL_OK, ledger_find(&l, "r2"));
    CHECK_INT(0, l.r.lines);
    CHECK_RC(SECKILL_OK, find(&l, "r2"));
    CHECK_INT(1, got.line_count);
    CHECK_INT(1, got.lines[0].qty);
    CHECK_RC(SECKILL_EUNKNOWNREQUEST, find(&l, "r3"));
    CHECK_RC(SECKILL_OK, ledger_adjust(&l, "a", 1, "r3"));
    CHECK_RC(SECKILL_EUNKNOWNREQUEST, find(&l, "r3"));
    CHECK_RC(SECKILL_EBADREQUEST, find(&l, ""));
    ledger_close(&l);
}

/* ---- Ends of an order ---------------------------------------------------- */

TEST(ends_are_of_all_lines_and_final)
{
    ledger_t l;
    char id[40];

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "b:2 a:3"));
    (void)id_of(id);
    CHECK_RC(SECKILL_ERESERVED, ledger_refund(&l, id, "f1"));
    CHECK_RC(SECKILL_OK, ledger_cancel(&l, id));
    CHECK_RC(SECKILL_OK, ledger_cancel(&l, id));
    CHECK_RC(SECKILL_ECANCELLED, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_ECANCELLED, ledger_refund(&l, id, "f1"));
    CHECK_COUNTS(&l, "a", 10, 0, 0);
    CHECK_COUNTS(&l, "b", 10, 0, 0);
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r2", "b:2 a:3"));
    (void)id_of(id);
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_ECONFIRMED, ledger_cancel(&l, id));
    CHECK_RC(SECKILL_ECONFLICT, ledger_refund(&l, id, "r1"));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f2"));
    CHECK_RC(SECKILL_EREFUNDED, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_EREFUNDED, ledger_cancel(&l, id));
    CHECK_COUNTS(&l, "a", 10, 0, 0);
    CHECK_COUNTS(&l, "b", 10, 0, 0);
    CHECK_RC(SECKILL_OK, find(&l, "r2"));
    CHECK_INT(SECKILL_STATE_REFUNDED, got.state);
    ledger_close(&l);
}

TEST(what_an_order_gives_back_counts_no_more_for_the_user)
{
    ledger_t l;
    char id[40];

    if (!ledger_open(&l)) {
        return;
    }
    put_terms(&l, "a", 3, 0, 0, 0);
    put_terms(&l, "b", 3, 0, 0, 0);
    for (int i = 0; i < 3; i++) {
        char r[8], f[8];

        snprintf(r, sizeof(r), "r%d", i);
        snprintf(f, sizeof(f), "f%d", i);
        CHECK_RC(SECKILL_OK, order(&l, "ann", r, "a:3 b:2"));
        ORDER_REFUSED(SECKILL_EUSERLIMIT, 2, &l, "ann", "x", "b:1 a:1");
        (void)id_of(id);
        CHECK_RC(SECKILL_OK, find(&l, r));
        (void)id_of(id);
        if (i == 0) {
            CHECK_RC(SECKILL_OK, ledger_cancel(&l, id));
        } else if (i == 1) {
            CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
            CHECK_RC(SECKILL_OK, ledger_refund(&l, id, f));
        } else {
            ledger_pass(&l, 10 * SEC);
        }
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r9", "a:3 b:3"));
    ledger_close(&l);
}

TEST(only_the_first_line_names_the_order)
{
    ledger_t l;
    char id[40], other[40];
    const skl_row_t *rows;
    uint32_t second;

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "b:2 a:3 c:1"));
    (void)id_of(id);
    rows = l.sk->stock.tables.rows;
    CHECK_INT(1, skl_line_number(SKL_LD(rows[0].line)));
    second = skl_line_next(SKL_LD(rows[0].line));
    snprintf(other, sizeof(other), "%.*s-%x-%llx", (int)(strchr(id, '-') - id),
             id, second, (unsigned long long)got.lsn);
    CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_confirm(&l, other));
    CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_cancel(&l, other));
    CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_refund(&l, other, "f1"));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    ledger_close(&l);
}

/* ---- Deadlines ----------------------------------------------------------- */

TEST(lines_end_one_by_one_and_for_everyone_at_once)
{
    ledger_t l;
    char id[40];

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:10 b:10"));
    (void)id_of(id);
    ledger_pass(&l, 5 * SEC - 1);
    CHECK_RC(SECKILL_ESOLDOUT, ledger_reserve(&l, "a", "bob", 1, "r2"));
    ledger_pass(&l, 1);
    /* line a gives way; b is still listed as pending */
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "bob", 1, "r2"));
    CHECK_COUNTS(&l, "a", 9, 1, 0);
    CHECK_COUNTS(&l, "b", 0, 10, 0);
    /* the clock is set back, but what has ended has ended */
    ledger_pass(&l, -3 * SEC);
    CHECK_RC(SECKILL_EEXPIRED, ledger_confirm(&l, id));
    CHECK_COUNTS(&l, "b", 10, 0, 0);
    CHECK_RC(SECKILL_OK, find(&l, "r1"));
    CHECK_INT(SECKILL_STATE_EXPIRED, got.state);
    ledger_close(&l);
}

TEST(the_sweeper_ends_all_lines)
{
    ledger_t l;

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:1 b:1 c:1"));
    ledger_pass(&l, 5 * SEC);
    CHECK_INT(3, ledger_sweep(&l));
    CHECK_INT(0, ledger_sweep(&l));
    CHECK_COUNTS(&l, "c", 10, 0, 0);
    ledger_close(&l);
}

TEST(an_order_decides_with_the_latest_clock_of_its_items)
{
    ledger_t l;

    if (!open_three(&l)) {
        return;
    }
    ledger_pass(&l, 20 * SEC);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "bob", 1, "r1"));
    ledger_pass(&l, -20 * SEC);
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r2", "b:1 a:1"));
    CHECK_INT(LEDGER_T0 + 25 * SEC, got.expires_at);
    ledger_close(&l);
}

TEST(due_holds_of_any_line_give_way)
{
    ledger_t l;

    if (!ledger_open(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, ledger_put(&l, "a", 2));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "b", 2));
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:2 b:2"));
    ORDER_REFUSED(SECKILL_ESOLDOUT, 1, &l, "bob", "r2", "b:1 a:1");
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_OK, order(&l, "bob", "r2", "b:1 a:1"));
    CHECK_COUNTS(&l, "a", 1, 1, 0);
    ledger_close(&l);
}

/* Each length of hold has a list of its own in each item; the item's own list
 * is kept for its own holds. */
TEST(lengths_of_holds_are_kept_apart)
{
    ledger_t l;
    char name[2] = "b", id[8];
    seckill_options_t o = ledger_options();

    o.items = 12;
    if (!ledger_open_with(&l, o)) {
        return;
    }
    CHECK_RC(SECKILL_OK, ledger_put(&l, "a", 100)); /* holds of 10 s */
    for (int i = 0; i < 8; i++, name[0]++) {
        seckill_item_t item = ledger_item(name, 100);
        char text[16];

        item.hold_ns = (i + 1) * SEC;
        CHECK_RC(SECKILL_OK, seckill_put(l.sk, &item));
        snprintf(text, sizeof(text), "%s:1 a:1", name);
        snprintf(id, sizeof(id), "r%d", i);
        ORDER_REFUSED(i < 7 ? SECKILL_OK : SECKILL_EBUSY, 0, &l, "ann", id,
                      text);
    }
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 1, "own"));
    CHECK_INT(LEDGER_T0 + 10 * SEC, l.r.expires_at);
    ledger_sound(&l);
    ledger_pass(&l, SEC);
    CHECK_INT(2, ledger_sweep(&l));
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r7", "i:1 a:1"));
    ledger_close(&l);
}

TEST(lists_keep_their_length_when_holds_are_switched_off)
{
    ledger_t l;
    seckill_item_t a = ledger_item("a", 100);

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 1, "r1"));
    a.hold_ns = 0;
    a.version = 2;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &a));
    for (int i = 2; i < 20; i++) { /* many lengths, none alive with another */
        char id[8];

        snprintf(id, sizeof(id), "o%d", i);
        CHECK_RC(SECKILL_OK, order(&l, "ann", id, "a:1 b:1") == SECKILL_OK
                                 ? SECKILL_OK
                                 : order(&l, id, id, "a:1"));
        ledger_pass(&l, 100 * MS);
    }
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "bob", 1, "r2"));
    CHECK_INT(SECKILL_STATE_CONFIRMED, l.r.state);
    ledger_close(&l);
}

/* ---- Retiring ------------------------------------------------------------ */

TEST(an_order_retires_with_all_its_rows)
{
    ledger_t l;
    char id[40];
    skl_usage_t use;

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "b:2 a:3 c:1"));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id_of(id)));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    CHECK_RC(SECKILL_OK, order(&l, "bob", "r2", "b:2 a:3 c:1"));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id_of(id)));
    skl_stock_usage(&l.sk->stock, &use);
    CHECK_INT(6, use.rows);
    CHECK_INT(3, use.requests);
    ledger_pass(&l, LEDGER_WINDOW + 1);
    CHECK_INT(3, ledger_sweep(&l));
    skl_stock_usage(&l.sk->stock, &use);
    CHECK_INT(0, use.rows);
    CHECK_INT(0, use.requests);
    CHECK_INT(3, use.users); /* bob bought something */
    CHECK_RC(SECKILL_EUNKNOWNRESERVATION, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_OK, order(&l, "bob", "r2", "b:2 a:3 c:1"));
    CHECK_INT(0, got.replayed);
    ledger_close(&l);
}

TEST(an_item_with_orders_goes_when_they_have_gone)
{
    ledger_t l;
    char id[40];
    skl_usage_t use;

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "b:2 a:3"));
    CHECK_RC(SECKILL_EINUSE, ledger_remove(&l, "a"));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id_of(id)));
    CHECK_RC(SECKILL_OK, ledger_remove(&l, "a"));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "a", 7));
    CHECK_RC(SECKILL_OK, find(&l, "r1"));
    CHECK_MEM("a", got.lines[1].item, 1);
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "b:2 a:3"));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    CHECK_COUNTS(&l, "b", 10, 0, 0);
    CHECK_COUNTS(&l, "a", 7, 0, 0);
    ledger_pass(&l, LEDGER_WINDOW + 1);
    (void)ledger_sweep(&l);
    skl_stock_usage(&l.sk->stock, &use);
    CHECK_INT(3, use.items);
    CHECK_INT(0, use.users);
    ledger_close(&l);
}

/* ---- Full tables --------------------------------------------------------- */

/* Tables so small that slots and chains of all lines meet. */
static int open_tiny(ledger_t *l, uint32_t rows, uint32_t users, uint32_t ids)
{
    seckill_options_t o = ledger_options();

    o.items = 8;
    o.reservations = rows;
    o.users = users;
    o.requests = ids;
    if (!ledger_open_with(l, o)) {
        return 0;
    }
    for (char c = 'a'; c <= 'h'; c++) {
        CHECK_RC(SECKILL_OK, ledger_put(l, (char[]){c, '\0'}, 50));
    }
    return 1;
}

TEST(no_room_for_all_lines_is_no_room)
{
    ledger_t l;

    if (!open_tiny(&l, 5, 64, 64)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:1 b:1 c:1"));
    ORDER_REFUSED(SECKILL_EFULL, 0, &l, "ann", "r2", "a:1 b:1 c:1");
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r2", "a:1 b:1"));
    ORDER_REFUSED(SECKILL_EFULL, 0, &l, "ann", "r3", "a:1");
    ledger_pass(&l, LEDGER_WINDOW + 1);
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r3", "a:1 b:1 c:1 d:1 e:1"));
    ledger_close(&l);
    if (!open_tiny(&l, 64, 4, 64)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:1 b:1 c:1"));
    ORDER_REFUSED(SECKILL_EFULL, 0, &l, "bob", "r2", "a:1 b:1");
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r2", "a:1 d:1 c:1 b:1"));
    ledger_close(&l);
    if (!open_tiny(&l, 64, 64, 1)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:1 b:1 c:1"));
    ORDER_REFUSED(SECKILL_EFULL, 0, &l, "ann", "r2", "a:1 b:1 c:1");
    ledger_close(&l);
}

TEST(a_refund_of_an_order_needs_an_id)
{
    ledger_t l;
    char id[40];

    if (!open_tiny(&l, 8, 8, 2)) {
        return;
    }
    CHECK_RC(SECKILL_OK, ledger_adjust(&l, "a", 1, "adj"));
    ledger_pass(&l, 2 * SEC);
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "a:1 b:1 c:1"));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id_of(id)));
    CHECK_RC(SECKILL_EFULL, ledger_refund(&l, id, "f1"));
    ledger_pass(&l, LEDGER_WINDOW - SEC);
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    CHECK_COUNTS(&l, "c", 50, 0, 0);
    ledger_close(&l);
}

TEST(tiny_tables_give_and_take_rows_for_long)
{
    ledger_t l;
    static const char *const texts[] = {"a:1 b:1 c:1 d:1 e:1 f:1 g:1 h:1",
                                        "h:1 g:1 f:1", "c:1",
                                        "d:1 a:1 h:1 b:1 c:1 e:1", "b:1 a:1"};

    if (!open_tiny(&l, 24, 24, 12)) {
        return;
    }
    for (int i = 0; i < 300; i++) {
        char id[40], request[8], user[8];
        int rc;

        snprintf(request, sizeof(request), "r%d", i);
        snprintf(user, sizeof(user), "u%d", i % 3);
        rc = order(&l, user, request, texts[i % 5]);
        CHECK(rc == SECKILL_OK || rc == SECKILL_EFULL);
        if (rc == SECKILL_OK && i % 2 == 0) {
            CHECK_RC(SECKILL_OK, ledger_cancel(&l, id_of(id)));
        }
        ledger_pass(&l, 5 * SEC);
        (void)seckill_sink_drain(l.sk);
        if (i % 10 == 0) {
            (void)ledger_sweep(&l);
            ledger_sound(&l);
        }
    }
    ledger_close(&l);
}

/* ---- Confirm in part ----------------------------------------------------- */

TEST(a_part_is_sold_and_the_rest_comes_back)
{
    ledger_t l;
    char id[40];

    if (!ledger_open(&l)) {
        return;
    }
    put_terms(&l, "a", 6, 0, 0, 0);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 5, "r1"));
    (void)ledger_id(&l, id);
    CHECK_RC(SECKILL_EBADQTY, confirm(&l, id, 6, 0));
    CHECK_RC(SECKILL_EBADQTY, confirm(&l, id, -1, 0));
    CHECK_RC(SECKILL_EBADQTY, confirm(&l, id, SECKILL_COUNT_MAX + 1, 0));
    CHECK_RC(SECKILL_EBADOPTION,
             seckill_confirm_with(l.sk, id, strlen(id), 0, 2));
    CHECK_RC(SECKILL_OK, confirm(&l, id, 2, 0));
    CHECK_COUNTS(&l, "a", 8, 0, 2);
    CHECK_RC(SECKILL_OK, confirm(&l, id, 2, 0));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_ECONFLICT, confirm(&l, id, 1, 0));
    CHECK_RC(SECKILL_ECONFLICT, confirm(&l, id, 5, 0));
    /* a retry of the reserve still finds what it asked for */
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 5, "r1"));
    CHECK_INT(2, l.r.qty);
    CHECK_INT(1, l.r.replayed);
    CHECK_RC(SECKILL_ECONFLICT, ledger_reserve(&l, "a", "ann", 2, "r1"));
    /* the user's limit has room again */
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 4, "r2"));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    CHECK_COUNTS(&l, "a", 6, 4, 0);
    ledger_close(&l);
}

TEST(a_part_may_be_all_and_other_ends_stay)
{
    ledger_t l;
    char id[40];

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 5, "r1"));
    CHECK_RC(SECKILL_OK, confirm(&l, ledger_id(&l, id), 5, 0));
    CHECK_COUNTS(&l, "a", 5, 0, 5);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 5, "r2"));
    CHECK_RC(SECKILL_OK, ledger_cancel(&l, ledger_id(&l, id)));
    CHECK_RC(SECKILL_ECANCELLED, confirm(&l, id, 1, 0));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "c", "ann", 5, "r3"));
    CHECK_RC(SECKILL_ECONFLICT, confirm(&l, ledger_id(&l, id), 1, 0));
    ledger_close(&l);
}

TEST(an_order_of_several_lines_has_no_part)
{
    ledger_t l;
    char id[40];

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "b:2 a:2"));
    CHECK_RC(SECKILL_EBADQTY, confirm(&l, id_of(id), 2, 0));
    CHECK_RC(SECKILL_EBADQTY, confirm(&l, id, 1, 1));
    CHECK_COUNTS(&l, "a", 8, 2, 0);
    /* one of one line is as good as a reservation */
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r2", "a:5"));
    CHECK_RC(SECKILL_EBADQTY, confirm(&l, id_of(id), 6, 0));
    CHECK_RC(SECKILL_OK, confirm(&l, id, 2, 0));
    CHECK_RC(SECKILL_OK, confirm(&l, id, 2, 0));
    CHECK_RC(SECKILL_ECONFLICT, confirm(&l, id, 3, 0));
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r2", "a:5"));
    CHECK_INT(2, got.lines[0].qty);
    CHECK_COUNTS(&l, "a", 6, 2, 2);
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r3", "a:5"));
    (void)id_of(id);
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_EEXPIRED, confirm(&l, id, 6, 0));
    CHECK_RC(SECKILL_EBADQTY, confirm(&l, id, 6, 1));
    CHECK_RC(SECKILL_OK, confirm(&l, id, 4, 1));
    CHECK_COUNTS(&l, "a", 2, 2, 6);
    ledger_close(&l);
}

/* ---- Confirm late -------------------------------------------------------- */

TEST(a_late_confirm_takes_the_units_again)
{
    ledger_t l;
    char id[40];

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 4, "r1"));
    (void)ledger_id(&l, id);
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_EEXPIRED, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_EEXPIRED, ledger_cancel(&l, id));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "bob", 7, "r2"));
    CHECK_RC(SECKILL_ESOLDOUT, confirm(&l, id, 0, 1));
    CHECK_RC(SECKILL_EBADQTY, confirm(&l, id, 5, 1));
    CHECK_RC(SECKILL_OK, confirm(&l, id, 3, 1));
    CHECK_COUNTS(&l, "a", 0, 7, 3);
    CHECK_RC(SECKILL_OK, confirm(&l, id, 3, 1));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    CHECK_RC(SECKILL_ECONFLICT, confirm(&l, id, 4, 1));
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    CHECK_RC(SECKILL_EREFUNDED, confirm(&l, id, 0, 1));
    ledger_close(&l);
}

TEST(a_confirm_in_time_needs_no_second_take)
{
    ledger_t l;
    char id[40];

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 10, "r1"));
    CHECK_RC(SECKILL_OK, confirm(&l, ledger_id(&l, id), 0, 1));
    CHECK_COUNTS(&l, "a", 0, 0, 10);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "b", "ann", 1, "r2"));
    CHECK_RC(SECKILL_OK, ledger_cancel(&l, ledger_id(&l, id)));
    CHECK_RC(SECKILL_ECANCELLED, confirm(&l, id, 0, 1));
    ledger_close(&l);
}

TEST(a_late_confirm_keeps_to_the_users_limit)
{
    ledger_t l;
    char id[40];

    if (!ledger_open(&l)) {
        return;
    }
    put_terms(&l, "a", 3, 2, 0, LEDGER_T0 + 12 * SEC);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 2, "r1"));
    (void)ledger_id(&l, id);
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 2, "r2"));
    CHECK_RC(SECKILL_EUSERLIMIT, confirm(&l, id, 0, 1));
    CHECK_COUNTS(&l, "a", 8, 2, 0);
    /* when the other hold has ended, too, there is room; that the sale has
     * ended and is paused does not matter */
    CHECK_RC(SECKILL_OK, seckill_pause(l.sk, "a", 1));
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_OK, confirm(&l, id, 0, 1));
    CHECK_COUNTS(&l, "a", 8, 0, 2);
    ledger_close(&l);
}

TEST(a_removed_item_has_nothing_to_take_again)
{
    ledger_t l;
    char id[40];

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 2, "r1"));
    (void)ledger_id(&l, id);
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_OK, ledger_remove(&l, "a"));
    CHECK_RC(SECKILL_ESOLDOUT, confirm(&l, id, 0, 1));
    CHECK_RC(SECKILL_EEXPIRED, confirm(&l, id, 0, 0));
    ledger_close(&l);
}

TEST(an_order_is_taken_again_as_a_whole_or_not)
{
    ledger_t l;
    char id[40];

    if (!ledger_open(&l)) {
        return;
    }
    put_terms(&l, "a", 0, 0, 0, 0);
    put_terms(&l, "b", 4, 0, 0, 0);
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "b:3 a:3"));
    (void)id_of(id);
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "bob", 8, "r2"));
    CHECK_RC(SECKILL_ESOLDOUT, confirm(&l, id, 0, 1));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "b", "ann", 2, "r3"));
    CHECK_RC(SECKILL_EUSERLIMIT, confirm(&l, id, 0, 1));
    CHECK_COUNTS(&l, "a", 2, 8, 0);
    CHECK_COUNTS(&l, "b", 8, 2, 0);
    ledger_pass(&l, 10 * SEC);
    CHECK_RC(SECKILL_OK, confirm(&l, id, 0, 1));
    CHECK_RC(SECKILL_OK, confirm(&l, id, 0, 1));
    CHECK_COUNTS(&l, "a", 7, 0, 3);
    CHECK_COUNTS(&l, "b", 7, 0, 3);
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    CHECK_COUNTS(&l, "b", 10, 0, 0);
    ledger_close(&l);
}

/* ---- Terms that change while the sale runs ------------------------------- */

TEST(a_higher_version_changes_window_and_limits_live)
{
    ledger_t l;
    seckill_item_t a = ledger_item("a", -1);

    if (!ledger_open(&l)) {
        return;
    }
    put_terms(&l, "a", 0, 0, 0, 0);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 3, "r1"));
    a.version = 2;
    a.max_qty = 1;
    a.per_user = 4;
    a.hold_ns = 2 * SEC;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &a));
    CHECK_RC(SECKILL_EQTYLIMIT, ledger_reserve(&l, "a", "ann", 2, "r2"));
    ORDER_REFUSED(SECKILL_EQTYLIMIT, 1, &l, "ann", "r2", "a:2");
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "ann", 1, "r2"));
    CHECK_INT(LEDGER_T0 + 2 * SEC, l.r.expires_at);
    CHECK_RC(SECKILL_EUSERLIMIT, ledger_reserve(&l, "a", "ann", 1, "r3"));
    a.version = 3;
    a.starts_at = LEDGER_T0 + SEC;
    a.ends_at = LEDGER_T0 + 3 * SEC;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &a));
    CHECK_RC(SECKILL_ENOTSTARTED, ledger_reserve(&l, "a", "bob", 1, "r4"));
    ledger_pass(&l, SEC);
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "bob", 1, "r4"));
    ledger_pass(&l, 2 * SEC);
    CHECK_RC(SECKILL_EENDED, ledger_reserve(&l, "a", "bob", 1, "r5"));
    a.version = 4;
    a.starts_at = a.ends_at = a.per_user = a.max_qty = a.hold_ns = 0;
    CHECK_RC(SECKILL_OK, seckill_put(l.sk, &a));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "a", "bob", 5, "r5"));
    CHECK_INT(SECKILL_STATE_CONFIRMED, l.r.state);
    a.version = 3;
    CHECK_RC(SECKILL_ESTALE, seckill_put(l.sk, &a));
    /* the first hold has kept its ten seconds */
    CHECK_RC(SECKILL_OK, ledger_find(&l, "r1"));
    CHECK_INT(LEDGER_T0 + 10 * SEC, l.r.expires_at);
    ledger_close(&l);
}

/* ---- A ledger that is not sound ------------------------------------------ */

TEST(the_audit_finds_broken_orders)
{
    ledger_t l;
    char text[512];
    skl_row_t *rows;
    uint32_t word;

    if (!open_three(&l)) {
        return;
    }
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "b:2 a:3 c:1"));
    rows = l.sk->stock.tables.rows;
    word = SKL_LD(rows[1].line);
    SKL_ST(rows[1].line, skl_line_word(3, skl_line_next(word)));
    CHECK(seckill_audit(l.sk, text, sizeof(text)) > 0);
    CHECK(strstr(text, "lines of an order are broken") != NULL);
    SKL_ST(rows[1].line, 0);
    CHECK(seckill_audit(l.sk, text, sizeof(text)) > 0);
    CHECK(strstr(text, "no lines of their orders") != NULL);
    SKL_ST(rows[1].line, skl_line_word(2, 0));
    CHECK(seckill_audit(l.sk, text, sizeof(text)) > 0);
    SKL_ST(rows[1].line, skl_line_word(2, 0xffffff));
    CHECK(seckill_audit(l.sk, text, sizeof(text)) > 0);
    SKL_ST(rows[1].line, word);
    ledger_close(&l);
}

/* ---- Records from outside ------------------------------------------------ */

typedef struct {
    ledger_t *l;
    unsigned char *before; /* tables, as they were when it was written */
    skl_record_t r;
} page_t;

static unsigned char *copy_tables(const ledger_t *l, const void *from)
{
    const uint64_t bytes = l->sk->stock.tables.shm->bytes;
    unsigned char *copy = aligned_alloc(64, (bytes + 63) / 64 * 64);

    if (copy == NULL) {
        abort();
    }
    memcpy(copy, from, bytes);
    return copy;
}

static void keep_before(page_t *p, ledger_t *l)
{
    p->l = l;
    p->before = copy_tables(l, l->sk->stock.tables.shm);
}

static void keep_record(page_t *p)
{
    skl_ring_t *ring = &p->l->sk->stock.ring;

    CHECK(skl_ring_read(ring, skl_ring_tail(ring), &p->r));
}

/* Apply a record to a fresh copy of its tables, if it is let through. */
static int apply_outside(const page_t *p, const skl_record_t *r)
{
    skl_tables_t t;
    unsigned char *tables;
    int fits = 0;

    if (skl_rec_valid(r, SKL_RECORD_MAX)) {
        tables = copy_tables(p->l, p->before);
        skl_tables_attach(&t, tables, &p->l->sk->stock.tables.key);
        fits = skl_apply_fits(&t, r);
        if (fits) {
            skl_apply(&t, r, r->parts, NULL);
        }
        free(tables);
    }
    return fits;
}

static void spoil_and_apply(const page_t *p, uint64_t *random)
{
    static const unsigned char likely[] = {0, 1, 0xff, 0x7f, 0x80};
    long through = 0;
    const int rounds = tap_full() ? 200000 : 8000;

    CHECK(apply_outside(p, &p->r));
    for (int i = 0; i < rounds; i++) {
        skl_record_t r = p->r;
        unsigned char *bytes = (unsigned char *)&r;
        uint64_t z = *random = skl_mix64(*random + 1);
        uint32_t at = 24 + (uint32_t)(z >> 8) % (r.bytes - 24U);

        bytes[at] = z & 1 ? likely[(z >> 1) % 5] : (unsigned char)(z >> 40);
        if (z & 2) {
            bytes[6 + (z >> 50) % 2] ^= (unsigned char)(1U << (z >> 60) % 8);
        }
        r.crc = skl_rec_crc(&r, skl_rec_crc_body(&r));
        through += apply_outside(p, &r);
    }
    printf("# %s: %ld of %d spoiled ones fit\n", skl_rec_type_name(p->r.type),
           through, rounds);
}

/* No byte of a record may lead apply() out of the tables, or make it fail. */
TEST(records_from_outside_stay_within_the_tables)
{
    ledger_t l;
    char id[40];
    page_t pages[6];
    uint64_t random = tap_seed(5);

    memset(pages, 0, sizeof(pages));
    if (!open_three(&l)) {
        return;
    }
    keep_before(&pages[0], &l);
    CHECK_RC(SECKILL_OK, order(&l, "ann", "r1", "b:2 a:3 c:1"));
    keep_record(&pages[0]);
    keep_before(&pages[1], &l);
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id_of(id)));
    keep_record(&pages[1]);
    keep_before(&pages[2], &l);
    CHECK_RC(SECKILL_OK, ledger_refund(&l, id, "f1"));
    keep_record(&pages[2]);
    CHECK_RC(SECKILL_OK, order(&l, "bob", "r2", "b:2 a:3"));
    keep_before(&pages[3], &l);
    CHECK_RC(SECKILL_OK, ledger_cancel(&l, id_of(id)));
    keep_record(&pages[3]);
    CHECK_RC(SECKILL_OK, order(&l, "bob", "r3", "b:2 a:3"));
    ledger_pass(&l, 5 * SEC);
    CHECK_INT(2, ledger_sweep(&l));
    keep_before(&pages[4], &l);
    CHECK_RC(SECKILL_OK, confirm(&l, id_of(id), 0, 1));
    keep_record(&pages[4]);
    ledger_pass(&l, LEDGER_WINDOW - SEC);
    keep_before(&pages[5], &l);
    CHECK_INT(1, seckill_sweep(l.sk, 1));
    keep_record(&pages[5]);
    CHECK_INT(SKL_REC_ORDER_RETIRE, pages[5].r.type);
    for (int i = 0; i < 6; i++) {
        spoil_and_apply(&pages[i], &random);
        free(pages[i].before);
    }
    ledger_close(&l);
}

/* ---- Many processes ------------------------------------------------------ */

enum { RACERS = 2, RACES = 3000 };

/* Each worker orders the same items, in its own order of lines. */
static int race(seckill_t *sk, int worker, int round)
{
    static const char *const texts[RACERS] = {"a:1 b:1 c:1 d:1",
                                              "d:1 c:1 b:1 a:1"};
    const lines_t ls = lines_of(texts[worker]);
    int done = 0;

    for (int i = 0; i < RACES; i++) {
        char request[32], user[8];
        seckill_order_t o;
        uint32_t line;
        int rc;

        snprintf(request, sizeof(request), "%d-%d-%d", round, worker, i);
        snprintf(user, sizeof(user), "u%d", i % 500);
        rc = seckill_order(sk, user, strlen(user), request, strlen(request),
                           ls.line, ls.count, &o, &line);
        if (rc == SECKILL_OK) {
            rc = i % 3 == 0 ? seckill_confirm(sk, o.id, o.id_len)
                            : seckill_cancel(sk, o.id, o.id_len);
            done++;
        }
        if (rc == SECKILL_OK || rc == SECKILL_ECONFIRMED ||
            rc == SECKILL_ECANCELLED || rc == SECKILL_EBUSY ||
            rc == SECKILL_ECONFLICT || rc == SECKILL_ESOLDOUT ||
            rc == SECKILL_EUSERLIMIT || rc == SECKILL_EFULL) {
            continue;
        }
        fprintf(stderr, "# worker %d: %s\n", worker, seckill_errname(rc));
        return 1;
    }
    return done == 0;
}

/* Every order takes one of each item. */
static void check_equal(ledger_t *l)
{
    seckill_item_t first = ledger_get(l, "a");

    for (char c = 'b'; c <= 'd'; c++) {
        seckill_item_t other = ledger_get(l, (char[]){c, '\0'});

        CHECK_INT(first.sold, other.sold);
        CHECK_INT(first.reserved, other.reserved);
    }
}

static void put_four(ledger_t *l)
{
    for (char c = 'a'; c <= 'd'; c++) {
        CHECK_RC(SECKILL_OK, ledger_put(l, (char[]){c, '\0'}, 1 << 20));
    }
}

TEST(opposite_orders_of_lines_do_not_deadlock)
{
    ledger_t l;
    seckill_options_t o = ledger_options();
    int left = RACERS;

    o.requests = 1 << 14; /* four shards */
    o.users = 1 << 12;
    o.reservations = 1 << 15;
    o.log_units = 1 << 14;
    if (!ledger_open_with(&l, o)) {
        return;
    }
    put_four(&l);
    fflush(stdout);
    for (int w = 0; w < RACERS; w++) {
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
            _exit(race(l.sk, w, 0));
        }
    }
    while (left > 0) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);

        if (pid > 0) {
            left--;
            CHECK_INT(0, status);
        }
        CHECK(seckill_sink_drain(l.sk) >= 0);
    }
    check_equal(&l);
    printf("# %llu records\n", (unsigned long long)seckill_lsn(l.sk));
    ledger_close(&l);
}

/* A process that orders at full speed until its timer kills it. */
static pid_t start_mortal(ledger_t *l, int worker, int round, uint64_t random)
{
    pid_t pid = fork();

    if (pid == 0) {
        const struct itimerval life = {
            .it_value = {.tv_usec = 100 + (suseconds_t)(random % 1500)}};

        (void)signal(SIGALRM, SIG_DFL);
        (void)setitimer(ITIMER_REAL, &life, NULL);
        _exit(race(l->sk, worker, round));
    }
    return pid;
}

/* TSan does not follow what processes share; it is run all the same. */
TEST(death_at_full_speed_leaves_whole_orders)
{
    ledger_t l;
    seckill_options_t o = ledger_options();
    uint64_t random = tap_seed(31);
    const int rounds = tap_full() ? 3000 : 150;
    int killed = 0;

    o.requests = 1 << 14;
    o.users = 1 << 12;
    o.reservations = 1 << 15;
    o.log_units = 1 << 15;
    if (!ledger_open_with(&l, o)) {
        return;
    }
    put_four(&l);
    fflush(stdout);
    for (int r = 0; r < rounds; r++) {
        pid_t pids[RACERS];

        for (int w = 0; w < RACERS; w++) {
            random = skl_mix64(random + 1);
            pids[w] = start_mortal(&l, w, r, random);
        }
        for (int w = 0; w < RACERS; w++) {
            int status = 0;

            CHECK(waitpid(pids[w], &status, 0) == pids[w]);
            CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGALRM
                                      : WEXITSTATUS(status) == 0);
            killed += WIFSIGNALED(status);
        }
        ledger_pass(&l, 4 * SEC);
        for (int n = 1; n > 0;) {
            n = ledger_sweep(&l);
            CHECK(seckill_sink_drain(l.sk) >= 0);
        }
        check_equal(&l);
    }
    printf("# %d died, %llu records, %llu locks were taken over\n", killed,
           (unsigned long long)seckill_lsn(l.sk),
           (unsigned long long)skl_counters_event(&l.sk->counters,
                                                  SKL_EV_lock_repairs));
    ledger_close(&l);
}

TAP_MAIN()
