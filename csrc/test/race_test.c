/*
 * Many workers, one ledger: nothing is oversold, every id has one answer, no
 * user gets more than the limit, every reader sees a whole state; and at the
 * end the books and the log are right.
 *
 * Workers are processes (as in nginx); under TSan they are threads, which it
 * can watch. Each makes a bounded number of calls and reports by a number:
 * 0, or the line of the check that failed. The parent drains the sink
 * meanwhile. A worker that is stopped with locks held: the others are told
 * `busy`, and nothing happens.
 */
#include "stock/commit.h"
#include "test/support/ledger.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#if defined(__SANITIZE_THREAD__)
#define THREADS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREADS 1
#endif
#endif
#ifndef THREADS
#define THREADS 0
#endif

enum { WORKERS = 4, IDS = 3000, USERS = 40, ITEMS = 5, PER_USER = 6 };
/* Of one worker; TSan makes each some ten times slower. */
enum { CALLS = THREADS ? 5000 : 20000 };

/* What the workers share besides the ledger. */
typedef struct {
    _Atomic uint64_t answer[IDS]; /* LSN of the order of an id */
    _Atomic int done;             /* workers that came to their end */
    _Atomic uint64_t busy;
} board_t;

typedef int (*work_fn)(seckill_t *sk, board_t *board, int worker, int calls);

typedef struct {
    work_fn work;
    seckill_t *sk;
    board_t *board;
    int worker, calls;
    int failed; /* line, of a thread */
} job_t;

#define NEED(cond)                                                             \
    do {                                                                       \
        if (!(cond)) {                                                         \
            fprintf(stderr, "# worker %d, line %d: %s\n", worker, __LINE__,    \
                    #cond);                                                    \
            return __LINE__;                                                   \
        }                                                                      \
    } while (0)

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static int below(uint64_t *state, int n)
{
    return (int)(next_random(state) % (uint64_t)n);
}

/* ---- Starting and waiting ------------------------------------------------ */

static void *thread_main(void *arg)
{
    job_t *job = arg;

    job->failed = job->work(job->sk, job->board, job->worker, job->calls);
    atomic_fetch_add(&job->board->done, 1);
    return NULL;
}

static void drain(seckill_t *sk)
{
    CHECK(seckill_sink_drain(sk) >= 0);
    sched_yield();
}

static void run_threads(job_t *jobs, int workers)
{
    pthread_t threads[WORKERS];

    for (int i = 0; i < workers; i++) {
        CHECK_INT(0, pthread_create(&threads[i], NULL, thread_main, &jobs[i]));
    }
    while (atomic_load(&jobs[0].board->done) < workers) {
        drain(jobs[0].sk);
    }
    for (int i = 0; i < workers; i++) {
        CHECK_INT(0, pthread_join(threads[i], NULL));
        CHECK_INT(0, jobs[i].failed);
    }
}

static pid_t start_process(job_t *job)
{
    pid_t pid = fork();

    if (pid == 0) {
        job->failed = job->work(job->sk, job->board, job->worker, job->calls);
        _exit(job->failed != 0);
    }
    return pid;
}

static void run_processes(job_t *jobs, int workers)
{
    int left = workers;

    for (int i = 0; i < workers; i++) {
        CHECK(start_process(&jobs[i]) > 0);
    }
    while (left > 0) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);

        if (pid > 0) {
            left--;
            CHECK_INT(0, status);
        } else if (!CHECK_INT(0, pid)) {
            return;
        }
        drain(jobs[0].sk);
    }
}

static void run_workers(ledger_t *l, board_t *board, work_fn work, int calls)
{
    job_t jobs[WORKERS];

    for (int i = 0; i < WORKERS; i++) {
        jobs[i] = (job_t){work, l->sk, board, i, calls, 0};
    }
    fflush(stdout);
    (THREADS ? run_threads : run_processes)(jobs, WORKERS);
    printf("# %llu records, %llu times busy\n",
           (unsigned long long)seckill_lsn(l->sk),
           (unsigned long long)atomic_load(&board->busy));
}

static board_t *new_board(void)
{
    void *p = mmap(NULL, sizeof(board_t), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        abort();
    }
    return p;
}

/* ---- A sale: each id is one call, made by several workers ---------------- */

typedef struct {
    char item[8], user[8], request[16];
    int item_number, user_number;
    int64_t qty;
} call_t;

/* The parameters of an id are always the same. Most want item 0. */
static call_t call_of(int id)
{
    uint64_t state = (uint64_t)id;
    int item = below(&state, 10);
    call_t c = {.qty = 1 + below(&state, 2)};

    c.item_number = item < ITEMS ? item : 0;
    c.user_number = below(&state, USERS);
    snprintf(c.item, sizeof(c.item), "i%d", c.item_number);
    snprintf(c.user, sizeof(c.user), "u%d", c.user_number);
    snprintf(c.request, sizeof(c.request), "r%d", id);
    return c;
}

static int whole(const seckill_item_t *i)
{
    return i->available >= 0 && i->reserved >= 0 && i->sold >= 0 &&
           i->available + i->reserved + i->sold == i->total;
}

static int read_items(seckill_t *sk, board_t *board, int worker)
{
    for (int i = 0; i < ITEMS; i++) {
        char name[8];
        seckill_item_t got;
        int rc;

        snprintf(name, sizeof(name), "i%d", i);
        rc = seckill_get(sk, name, strlen(name), &got);
        NEED(rc == SECKILL_OK || rc == SECKILL_EBUSY ||
             rc == SECKILL_EUNKNOWNITEM);
        if (rc == SECKILL_OK) {
            NEED(whole(&got));
            NEED(got.item_len == strlen(name));
            NEED(memcmp(got.item, name, strlen(name)) == 0);
        }
        atomic_fetch_add(&board->busy, rc == SECKILL_EBUSY);
    }
    return 0;
}

/* Everybody who asks with this id hears of the same order. */
static int one_answer(board_t *board, int worker, int id,
                      const seckill_reservation_t *r)
{
    uint64_t before = 0;

    if (!atomic_compare_exchange_strong(&board->answer[id], &before, r->lsn)) {
        NEED(before == r->lsn);
    }
    return 0;
}

static int buy(seckill_t *sk, board_t *board, int worker, int id, int settle)
{
    const call_t c = call_of(id);
    seckill_reservation_t r;
    int line;
    int rc = seckill_reserve(sk, c.item, strlen(c.item), c.user, strlen(c.user),
                             c.qty, c.request, strlen(c.request), &r);

    NEED(rc == SECKILL_OK || rc == SECKILL_EBUSY || rc == SECKILL_ESOLDOUT ||
         rc == SECKILL_EUSERLIMIT);
    atomic_fetch_add(&board->busy, rc == SECKILL_EBUSY);
    if (rc != SECKILL_OK) {
        return 0;
    }
    NEED(r.qty == c.qty);
    line = one_answer(board, worker, id, &r);
    if (line != 0) {
        return line;
    }
    if (settle < 6) {
        rc = (settle == 0 ? seckill_confirm : seckill_cancel)(sk, r.id,
                                                              r.id_len);
        NEED(rc == SECKILL_OK || rc == SECKILL_EBUSY ||
             rc == SECKILL_ECONFIRMED || rc == SECKILL_ECANCELLED ||
             rc == SECKILL_EEXPIRED);
    }
    return 0;
}

static int sell(seckill_t *sk, board_t *board, int worker, int calls)
{
    uint64_t state = (uint64_t)worker + 1;

    for (int i = 0; i < calls; i++) {
        /* Neighbours in time use neighbouring ids: they collide. */
        int id = (int)((int64_t)i * (IDS - 8) / calls) + below(&state, 8);
        int line = buy(sk, board, worker, id, below(&state, 8));

        if (line == 0 && i % 16 == 0) {
            line = read_items(sk, board, worker);
        }
        if (line != 0) {
            return line;
        }
        if (worker == 0 && i % 64 == 0) {
            NEED(seckill_sweep(sk, 16) >= 0);
        }
        /* The sale lasts 6 s, whatever the number of calls. */
        seckill_set_test_clock(sk, LEDGER_T0 + 6 * SEC / calls * i);
    }
    return 0;
}

static int64_t units_of(const seckill_reservation_t *r)
{
    return r->state == SECKILL_STATE_RESERVED ||
                   r->state == SECKILL_STATE_CONFIRMED
               ? r->qty
               : 0;
}

/* Recount from the orders alone. */
static void check_orders(ledger_t *l, const board_t *board)
{
    int64_t user[ITEMS][USERS] = {{0}}, item[ITEMS] = {0};

    for (int id = 0; id < IDS; id++) {
        const call_t c = call_of(id);
        int rc = ledger_find(l, c.request);
        const int i = c.item_number, u = c.user_number;

        CHECK_RC(board->answer[id] != 0 ? SECKILL_OK : SECKILL_EUNKNOWNREQUEST,
                 rc);
        if (rc == SECKILL_OK) {
            CHECK(l->r.lsn == board->answer[id]);
            item[i] += units_of(&l->r);
            user[i][u] += units_of(&l->r);
        }
        CHECK(user[i][u] <= PER_USER);
    }
    for (int i = 0; i < ITEMS; i++) {
        char name[8];
        seckill_item_t got;

        snprintf(name, sizeof(name), "i%d", i);
        got = ledger_get(l, name);
        CHECK(whole(&got));
        CHECK_INT(item[i], got.reserved + got.sold);
    }
}

static void put_items(ledger_t *l, int64_t hold)
{
    for (int i = 0; i < ITEMS; i++) {
        char name[8];
        seckill_item_t item;

        snprintf(name, sizeof(name), "i%d", i);
        item = ledger_item(name, i == 0 ? 150 : 40);
        item.per_user = PER_USER;
        item.hold_ns = hold;
        CHECK_RC(SECKILL_OK, seckill_put(l->sk, &item));
    }
}

TEST(a_crowd_buys_what_there_is)
{
    seckill_options_t o = ledger_options();
    board_t *board = new_board();
    ledger_t l;

    o.reservations = o.requests = IDS;
    o.users = ITEMS * USERS;
    o.log_units = 1 << 16;
    REQUIRE(ledger_open_with(&l, o));
    put_items(&l, SEC);
    run_workers(&l, board, sell, tap_full() ? 200000 : CALLS);
    check_orders(&l, board);
    ledger_close(&l);
    CHECK_INT(0, munmap(board, sizeof(*board)));
}

/* ---- Orders of several lines, in any order of lines ---------------------- */

/* The lines of an id are always the same. */
static uint32_t lines_of(int id, seckill_line_t *lines)
{
    uint64_t state = (uint64_t)id + 77;
    const int first = below(&state, ITEMS), step = 1 + below(&state, ITEMS - 1);
    const uint32_t n = 1 + (uint32_t)below(&state, 4);

    memset(lines, 0, SECKILL_LINES_MAX * sizeof(*lines));
    for (uint32_t i = 0; i < n; i++) {
        lines[i].item_len =
            (uint32_t)snprintf(lines[i].item, sizeof(lines[i].item), "i%d",
                               (first + (int)i * step) % ITEMS);
        lines[i].qty = 1;
    }
    return n;
}

static int end_order(seckill_t *sk, int worker, const seckill_order_t *o,
                     int how, int id)
{
    char refund[16];
    int rc;

    snprintf(refund, sizeof(refund), "f%d", id);
    switch (how) {
    case 0:
        rc = seckill_confirm(sk, o->id, o->id_len);
        break;
    case 1:
        rc = seckill_cancel(sk, o->id, o->id_len);
        break;
    case 2:
        rc = seckill_confirm_with(sk, o->id, o->id_len, 0,
                                  SECKILL_CONFIRM_REACQUIRE);
        break;
    default:
        rc = seckill_refund(sk, o->id, o->id_len, refund, strlen(refund));
    }
    /* A conflict: the order was made anew since its id was refunded. */
    NEED(rc == SECKILL_OK || rc == SECKILL_EBUSY || rc == SECKILL_ECONFIRMED ||
         rc == SECKILL_ECANCELLED || rc == SECKILL_EEXPIRED ||
         rc == SECKILL_EREFUNDED || rc == SECKILL_ECONFLICT ||
         rc == SECKILL_ERESERVED || rc == SECKILL_ESOLDOUT ||
         rc == SECKILL_EUSERLIMIT || rc == SECKILL_EUNKNOWNRESERVATION ||
         rc == SECKILL_EFULL);
    return 0;
}

static int order_lines(seckill_t *sk, board_t *board, int worker, int id,
                       int how)
{
    char user[8], request[16];
    seckill_line_t lines[SECKILL_LINES_MAX];
    const uint32_t n = lines_of(id, lines);
    seckill_order_t o;
    uint32_t at;
    int rc;

    snprintf(user, sizeof(user), "u%d", id % USERS);
    snprintf(request, sizeof(request), "o%d", id);
    rc = seckill_order(sk, user, strlen(user), request, strlen(request), lines,
                       n, &o, &at);
    NEED(rc == SECKILL_OK || rc == SECKILL_EBUSY || rc == SECKILL_ESOLDOUT ||
         rc == SECKILL_EUSERLIMIT || rc == SECKILL_EFULL);
    atomic_fetch_add(&board->busy, rc == SECKILL_EBUSY);
    if (rc != SECKILL_OK) {
        return 0;
    }
    NEED(o.line_count == n);
    for (uint32_t i = 0; i < n; i++) {
        NEED(o.lines[i].item_len == lines[i].item_len &&
             memcmp(o.lines[i].item, lines[i].item, lines[i].item_len) == 0);
    }
    return how < 4 ? end_order(sk, worker, &o, how, id) : 0;
}

static int order_all(seckill_t *sk, board_t *board, int worker, int calls)
{
    uint64_t state = (uint64_t)worker + 100;

    for (int i = 0; i < calls / 2; i++) {
        int id = (int)((int64_t)i * 2 * (IDS - 8) / calls) + below(&state, 8);
        int line = order_lines(sk, board, worker, id, below(&state, 6));

        if (line == 0 && i % 16 == 0) {
            line = read_items(sk, board, worker);
        }
        if (line != 0) {
            return line;
        }
        if (worker == 0 && i % 64 == 0) {
            NEED(seckill_sweep(sk, 16) >= 0);
        }
        /* More than a window: ids retire meanwhile. */
        seckill_set_test_clock(sk, LEDGER_T0 + 400 * SEC / calls * i);
    }
    return 0;
}

static void race_orders(uint32_t requests, uint32_t rows)
{
    ledger_t l;
    seckill_options_t o = ledger_options();
    board_t *board = new_board();

    o.requests = requests;
    o.reservations = rows;
    o.users = 1024;
    if (ledger_open_with(&l, o)) {
        put_items(&l, 2 * SEC);
        run_workers(&l, board, order_all, CALLS);
        ledger_at(&l, LEDGER_T0 + 400 * SEC);
        ledger_close(&l);
    }
    munmap(board, sizeof(*board));
}

TEST(orders_of_all_workers_stay_sound_in_one_shard)
{
    race_orders(512, 256);
}

TEST(orders_of_all_workers_stay_sound_in_several_shards)
{
    race_orders(1 << 15, 1 << 14);
}

/* ---- Readers against writers of one item --------------------------------- */

static int write_one(seckill_t *sk, board_t *board, int worker, int calls)
{
    for (int i = 0; i < calls; i++) {
        seckill_reservation_t r;
        char request[24];
        int n = snprintf(request, sizeof(request), "w%d.%d", worker, i);
        int rc = seckill_reserve(sk, "i0", 2, request, (size_t)n, 3, request,
                                 (size_t)n, &r);

        /* A second for each call, or the window keeps too many ids. */
        seckill_set_test_clock(sk, LEDGER_T0 + i * SEC);
        NEED(rc == SECKILL_OK || rc == SECKILL_EBUSY || rc == SECKILL_EFULL);
        atomic_fetch_add(&board->busy, rc == SECKILL_EBUSY);
        if (rc == SECKILL_OK) {
            rc = seckill_cancel(sk, r.id, r.id_len);
            NEED(rc == SECKILL_OK || rc == SECKILL_EBUSY ||
                 rc == SECKILL_EEXPIRED || rc == SECKILL_EUNKNOWNRESERVATION);
        }
    }
    return 0;
}

static int read_or_write(seckill_t *sk, board_t *board, int worker, int calls)
{
    if (worker < 2) {
        return write_one(sk, board, worker, calls);
    }
    for (int i = 0; i < 10 * calls; i++) {
        seckill_item_t got;
        int rc = seckill_get(sk, "i0", 2, &got);

        NEED(rc == SECKILL_OK || rc == SECKILL_EBUSY);
        NEED(rc != SECKILL_OK || whole(&got));
    }
    return 0;
}

TEST(readers_see_whole_states)
{
    seckill_options_t o = ledger_options();
    board_t *board = new_board();
    ledger_t l;

    o.log_units = 1 << 16;
    REQUIRE(ledger_open_with(&l, o));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "i0", 100));
    run_workers(&l, board, read_or_write, tap_full() ? 200000 : CALLS);
    ledger_close(&l);
    CHECK_INT(0, munmap(board, sizeof(*board)));
}

/* ---- Churn: tiny tables, short windows, items that come and go ----------- */

static int change_item(seckill_t *sk, uint64_t *state, const char *name)
{
    seckill_item_t i = ledger_item(name, 50 + below(state, 200));
    const size_t len = strlen(name);
    char request[24];

    i.version = 1 + below(state, 1000);
    i.hold_ns = below(state, 3) * SEC / 4;
    snprintf(request, sizeof(request), "a%d", below(state, 100));
    switch (below(state, 6)) {
    case 0:
        return seckill_remove(sk, name, len);
    case 1:
        return (below(state, 4) == 0 ? seckill_pause : seckill_resume)(sk, name,
                                                                       len);
    case 2:
        return seckill_adjust(sk, name, len, below(state, 3) ? 9 : -9, request,
                              strlen(request));
    default:
        return seckill_put(sk, &i);
    }
}

static int order_once(seckill_t *sk, uint64_t *state, const char *name)
{
    char user[8], request[16], back[16];
    seckill_reservation_t r;
    int rc;

    snprintf(user, sizeof(user), "u%d", below(state, 12));
    snprintf(request, sizeof(request), "r%d", below(state, 2000));
    snprintf(back, sizeof(back), "b%d", below(state, 2000));
    rc = seckill_reserve(sk, name, strlen(name), user, strlen(user),
                         1 + below(state, 3), request, strlen(request), &r);
    if (rc == SECKILL_OK && below(state, 3) == 0) {
        rc = seckill_cancel(sk, r.id, r.id_len);
    } else if (rc == SECKILL_OK) {
        rc = seckill_confirm(sk, r.id, r.id_len);
        if (below(state, 2) == 0) {
            rc = seckill_refund(sk, r.id, r.id_len, back, strlen(back));
        }
    } else if (rc == SECKILL_ECONFLICT) {
        rc = seckill_find(sk, request, strlen(request), &r);
    }
    return rc;
}

/* No answer can be predicted here, but none may be another than a refusal. */
static int churn(seckill_t *sk, board_t *board, int worker, int calls)
{
    uint64_t state = (uint64_t)worker + 77;

    for (int i = 0; i < calls; i++) {
        char name[8];
        int rc, line = 0;

        seckill_set_test_clock(sk, LEDGER_T0 + i * 10 * MS);
        snprintf(name, sizeof(name), "i%d", below(&state, ITEMS));
        rc = below(&state, 10) == 0 ? change_item(sk, &state, name)
                                    : order_once(sk, &state, name);
        NEED(rc == SECKILL_OK ||
             (rc <= SECKILL_ECONFLICT && rc >= SECKILL_EBUSY));
        atomic_fetch_add(&board->busy, rc == SECKILL_EBUSY);
        if (worker == 1 && i % 32 == 0) {
            NEED(seckill_sweep(sk, 32) >= 0);
        }
        if (i % 8 == 0) {
            line = read_items(sk, board, worker);
        }
        if (line != 0) {
            return line;
        }
    }
    return 0;
}

static void run_churn(uint32_t requests)
{
    seckill_options_t o = ledger_options();
    board_t *board = new_board();
    ledger_t l;

    o.window_ns = SEC;
    o.items = ITEMS + 1;
    o.requests = requests;
    o.reservations = requests * 3 / 4;
    o.users = requests / 2;
    o.log_units = 1 << 16;
    REQUIRE(ledger_open_with(&l, o));
    put_items(&l, SEC / 2);
    run_workers(&l, board, churn, tap_full() ? 200000 : CALLS);
    ledger_close(&l);
    CHECK_INT(0, munmap(board, sizeof(*board)));
}

TEST(tiny_tables_in_one_shard_stay_sound)
{
    run_churn(48);
}

TEST(tables_of_several_shards_stay_sound)
{
    run_churn(10000);
}

/* ---- A worker that stands still with locks held -------------------------- */

enum { HOLD_ITEM, HOLD_SHARD, HOLD_CATALOG, HOLD_RING, HOLD_KINDS };

/* Take a lock, stop, and give it back when continued. */
static int stand_still(seckill_t *sk, board_t *board, int worker, int which)
{
    skl_held_t h = {.s = &sk->stock};
    skl_lock_t *ring = &sk->stock.ring.shm->lock;
    int rc;

    (void)board;
    if (which == HOLD_RING) {
        rc = skl_lock_acquire(ring, &h.wait, NULL, NULL);
    } else {
        rc = which == HOLD_ITEM    ? skl_hold_item(&h, 0)
             : which == HOLD_SHARD ? skl_hold_shard(&h, 0)
                                   : skl_hold_catalog(&h);
    }
    NEED(rc == SECKILL_OK);
    raise(SIGSTOP);
    if (which == HOLD_RING) {
        skl_lock_release(ring);
    }
    skl_release(&h);
    return 0;
}

/* What answers busy while the lock of this kind is held. */
static void check_busy(ledger_t *l, int which, const char *id)
{
    const int reserve = which != HOLD_CATALOG;
    const int settle = which == HOLD_ITEM || which == HOLD_RING;
    const uint64_t lsn = seckill_lsn(l->sk);

    if (reserve) {
        CHECK_RC(SECKILL_EBUSY, ledger_reserve(l, "x", "bob", 1, "r2"));
        CHECK_RC(SECKILL_EBUSY, ledger_adjust(l, "x", 1, "a"));
    }
    if (settle) {
        CHECK_RC(SECKILL_EBUSY, ledger_confirm(l, id));
        CHECK_RC(SECKILL_EBUSY, ledger_cancel(l, id));
        CHECK_RC(SECKILL_EBUSY, seckill_pause(l->sk, "x", 1));
    }
    if (which == HOLD_CATALOG || which == HOLD_RING) {
        CHECK_RC(SECKILL_EBUSY, ledger_put(l, "y", 1));
        CHECK_RC(SECKILL_EBUSY, ledger_remove(l, "z"));
    }
    CHECK_INT(0, seckill_sweep(l->sk, 100)); /* gives way */
    /* Readers and refusals need no lock. */
    CHECK_COUNTS(l, "x", 4, 1, 0);
    CHECK_RC(SECKILL_ESOLDOUT, ledger_reserve(l, "x", "bob", 9, "r3"));
    CHECK_INT((intmax_t)lsn, (intmax_t)seckill_lsn(l->sk));
}

static void stop_one(int which)
{
    ledger_t l;
    char id[65];
    int status = 0;
    pid_t pid;

    REQUIRE(ledger_open(&l));
    /* x is in slot 0. */
    CHECK_RC(SECKILL_OK, ledger_put(&l, "x", 5));
    CHECK_RC(SECKILL_OK, ledger_put(&l, "z", 1));
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "ann", 1, "r1"));
    (void)ledger_id(&l, id);
    fflush(stdout);
    pid = start_process(&(job_t){stand_still, l.sk, NULL, 0, which, 0});
    REQUIRE(pid > 0);
    CHECK_INT(pid, waitpid(pid, &status, WUNTRACED));
    if (CHECK(WIFSTOPPED(status))) {
        check_busy(&l, which, id);
        CHECK_INT(0, kill(pid, SIGCONT));
        CHECK_INT(pid, waitpid(pid, &status, 0));
        CHECK_INT(0, status);
    }
    CHECK_RC(SECKILL_OK, ledger_reserve(&l, "x", "bob", 1, "r2"));
    CHECK_RC(SECKILL_OK, ledger_confirm(&l, id));
    ledger_close(&l);
}

TEST(busy_while_a_process_stands_still)
{
    for (int which = 0; which < HOLD_KINDS; which++) {
        stop_one(which);
    }
}

TAP_MAIN()
