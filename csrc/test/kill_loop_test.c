/*
 * kill -9 of processes that sell at full speed.
 *
 * How it works. In each round two processes make orders (and confirm, cancel
 * and refund them), a third one sweeps and reads, and each of them dies from a
 * timer of its own within some hundred microseconds, wherever it is and
 * whatever the others are doing. Before and after each call a seller writes
 * down, in memory that outlives it, what it does and what it was told. Then:
 *   - the ledger says of each order what its seller was told;
 *   - an order that was under way is made again and gets one answer;
 *   - no reader saw half a state;
 *   - audit finds nothing, and the records alone rebuild the same tables.
 *
 * SECKILL_FULL=1: 3000 rounds. TSan does not follow what is shared by
 * processes; variants: rel asan
 */
#include "test/support/ledger.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ULL;
    return skl_mix64(*state);
}

enum {
    SELLERS = 2,
    PROCESSES = 3, /* two sellers, one that sweeps and reads */
    ORDERS = 700,  /* of one seller in one round */
    ITEMS = 4,
    ROUNDS = 20, /* of one ledger */
    LIFE_US = 2000,
    PATIENCE_S = 20
};

enum { IDLE, RESERVING, RESERVED, SETTLING, SETTLED };

/* What a seller is about to do, and what came of it; written before and after
 * each call, in memory that outlives it. */
typedef struct {
    _Atomic int stage;
    uint32_t item, user;
    int64_t qty;
    int rc, settle_rc;
    uint8_t target; /* SECKILL_STATE_*; 0: leave it */
    seckill_reservation_t r;
} journal_t;

typedef struct {
    _Atomic int torn; /* a reader saw half a state */
    journal_t j[SELLERS][ORDERS];
} shared_t;

typedef struct {
    ledger_t l;
    shared_t *shared;
    int round;
    pid_t pids[PROCESSES];
    uint64_t random;
    int tries; /* of a call that is busy, while the log waits for its reader */
    long kills, in_flight, retried;
} market_t;

static int64_t total_of(uint32_t item)
{
    return item == 0 ? 40 : 100000; /* one of them sells out */
}

static int market_reserve(market_t *m, int seller, int n,
                          seckill_reservation_t *out)
{
    const journal_t *j = &m->shared->j[seller][n];
    char item[16], user[24], request[32];
    int tries = 0, rc;

    snprintf(item, sizeof(item), "item%u", j->item);
    snprintf(user, sizeof(user), "user%u", j->user);
    snprintf(request, sizeof(request), "r%d-%d-%d", m->round, seller, n);
    memset(out, 0, sizeof(*out));
    do {
        rc = seckill_reserve(m->l.sk, item, strlen(item), user, strlen(user),
                             j->qty, request, strlen(request), out);
    } while (rc == SECKILL_EBUSY && ++tries < m->tries);
    return rc;
}

static int market_settle(market_t *m, const journal_t *j)
{
    const char *id = j->r.id;
    int tries = 0, rc;

    do {
        rc = j->target == SECKILL_STATE_CANCELLED
                 ? seckill_cancel(m->l.sk, id, j->r.id_len)
                 : seckill_confirm(m->l.sk, id, j->r.id_len);
        if (rc == SECKILL_OK && j->target == SECKILL_STATE_REFUNDED) {
            rc = seckill_refund(m->l.sk, id, j->r.id_len, id, j->r.id_len);
        }
        if (rc == SECKILL_EREFUNDED && j->target == SECKILL_STATE_REFUNDED) {
            rc = SECKILL_OK; /* confirm of the second try */
        }
    } while (rc == SECKILL_EBUSY && ++tries < m->tries);
    return rc;
}

static void plan_order(journal_t *j, uint64_t r)
{
    static const uint8_t targets[] = {0, SECKILL_STATE_CONFIRMED,
                                      SECKILL_STATE_CANCELLED,
                                      SECKILL_STATE_REFUNDED};

    j->item = (uint32_t)(r % ITEMS);
    j->user = (uint32_t)(r >> 8) % 4096;
    j->qty = 1 + (int64_t)((r >> 24) % 3);
    j->target = targets[(r >> 32) % 4];
}

static void sell(market_t *m, int seller)
{
    uint64_t random = m->random + (uint64_t)seller;

    for (int n = 0; n < ORDERS; n++) {
        journal_t *j = &m->shared->j[seller][n];

        plan_order(j, next_random(&random));
        atomic_store(&j->stage, RESERVING);
        j->rc = market_reserve(m, seller, n, &j->r);
        atomic_store(&j->stage, RESERVED);
        if (j->rc == SECKILL_OK && j->target != 0) {
            atomic_store(&j->stage, SETTLING);
            j->settle_rc = market_settle(m, j);
            atomic_store(&j->stage, SETTLED);
        }
    }
}

/* Until death. */
_Noreturn static void sweep_and_read(market_t *m)
{
    for (;;) {
        seckill_item_t i;
        uint32_t cursor = 0;

        (void)seckill_sweep(m->l.sk, 16);
        while (seckill_next_item(m->l.sk, &cursor, &i) == SECKILL_OK) {
            if (i.available < 0 || i.reserved < 0 || i.sold < 0 ||
                i.available + i.reserved + i.sold != i.total) {
                atomic_store(&m->shared->torn, 1);
            }
        }
    }
}

/* SIGKILL from a timer of its own: at any instruction, whatever the others are
 * doing. */
static int arm_death(uint64_t r)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL,
                             .sigev_signo = SIGKILL};
    struct itimerspec life = {.it_value.tv_nsec =
                                  1000 * (20 + (long)(r % LIFE_US))};
    timer_t timer;

    return timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 &&
           timer_settime(timer, 0, &life, NULL) == 0;
}

static void spawn(market_t *m, int which)
{
    const uint64_t r = next_random(&m->random);
    const pid_t pid = fork();

    if (pid == 0) {
        m->tries = INT32_MAX; /* the child's copy */
        if (!arm_death(r)) {
            _exit(1);
        }
        if (which < SELLERS) {
            sell(m, which);
        }
        sweep_and_read(m);
    }
    m->pids[which] = pid;
}

/* Read their log until all of them have died. */
static int await_deaths(market_t *m)
{
    const int64_t deadline = seckill_mono_now() + PATIENCE_S * SEC;
    int alive = PROCESSES;

    while (alive > 0 && seckill_mono_now() < deadline) {
        if (seckill_sink_drain(m->l.sk) < 0) {
            return 0;
        }
        for (int i = 0; i < PROCESSES; i++) {
            int status = 0;

            if (m->pids[i] > 0 &&
                waitpid(m->pids[i], &status, WNOHANG) == m->pids[i]) {
                m->pids[i] = 0;
                m->kills += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
                alive--;
            }
        }
    }
    return alive == 0;
}

/* An order that was under way when its process died is made again. */
static void finish_order(market_t *m, int seller, int n)
{
    journal_t *j = &m->shared->j[seller][n];
    const int stage = atomic_load(&j->stage);

    (void)seckill_sink_drain(m->l.sk);
    if (stage == RESERVING) {
        j->rc = market_reserve(m, seller, n, &j->r);
        m->in_flight++;
        m->retried += j->rc == SECKILL_OK && j->r.replayed;
        atomic_store(&j->stage, RESERVED);
    } else if (stage == SETTLING) {
        j->settle_rc = market_settle(m, j);
        m->in_flight++;
        atomic_store(&j->stage, SETTLED);
    }
}

static int is_refusal(int rc)
{
    return rc == SECKILL_ESOLDOUT || rc == SECKILL_EUSERLIMIT;
}

/* The ledger says of an order what its seller was told. */
static int check_order(market_t *m, int seller, int n)
{
    const journal_t *j = &m->shared->j[seller][n];
    seckill_reservation_t r;
    char request[32];
    int rc;

    snprintf(request, sizeof(request), "r%d-%d-%d", m->round, seller, n);
    rc = seckill_find(m->l.sk, request, strlen(request), &r);
    if (j->rc != SECKILL_OK) {
        return CHECK(is_refusal(j->rc)) &&
               CHECK_INT(SECKILL_EUNKNOWNREQUEST, rc);
    }
    return CHECK_INT(SECKILL_OK, rc) && CHECK_INT(j->r.lsn, r.lsn) &&
           CHECK_INT(j->qty, r.qty) && CHECK_MEM(j->r.id, r.id, r.id_len) &&
           (atomic_load(&j->stage) != SETTLED ||
            (CHECK_INT(SECKILL_OK, j->settle_rc) &&
             CHECK_INT(j->target, r.state)));
}

static int check_orders(market_t *m)
{
    for (int seller = 0; seller < SELLERS; seller++) {
        for (int n = 0; n < ORDERS; n++) {
            if (atomic_load(&m->shared->j[seller][n].stage) == IDLE) {
                break;
            }
            finish_order(m, seller, n);
            if (!check_order(m, seller, n)) {
                return 0;
            }
        }
    }
    return CHECK_INT(0, atomic_load(&m->shared->torn));
}

static int round_of_deaths(market_t *m)
{
    memset(m->shared, 0, sizeof(*m->shared));
    for (int i = 0; i < PROCESSES; i++) {
        spawn(m, i);
    }
    return CHECK(await_deaths(m)) && check_orders(m) && ledger_sound(&m->l);
}

static int open_market(market_t *m)
{
    seckill_options_t o = ledger_options();

    o.window_ns = 3600 * SEC;
    o.reservations = o.users = 1U << 15;
    o.requests = 1U << 16;
    if (!ledger_open_with(&m->l, o)) {
        return 0;
    }
    for (uint32_t i = 0; i < ITEMS; i++) {
        seckill_item_t item = {.struct_size = sizeof(item),
                               .version = 1,
                               .total = total_of(i),
                               .hold_ns = 5 * SEC};

        item.item_len =
            (uint32_t)snprintf(item.item, sizeof(item.item), "item%u", i);
        if (!CHECK_INT(SECKILL_OK, seckill_put(m->l.sk, &item))) {
            return 0;
        }
    }
    return 1;
}

TEST(killed_while_selling)
{
    static market_t m;
    const int markets = tap_full() ? 150 : 5;
    int good = 1;

    m.random = tap_seed(1);
    m.tries = 20;
    m.shared = mmap(NULL, sizeof(*m.shared), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(m.shared != MAP_FAILED);
    for (int i = 0; i < markets && good; i++) {
        REQUIRE(open_market(&m));
        for (m.round = 0; m.round < ROUNDS && good; m.round++) {
            good = round_of_deaths(&m);
            ledger_pass(&m.l, SEC); /* holds end some rounds later */
        }
        ledger_close(&m.l);
    }
    printf("# %d rounds, %ld processes killed, %ld orders under way, of "
           "which %ld had been made\n",
           markets * ROUNDS, m.kills, m.in_flight, m.retried);
    CHECK_INT((intmax_t)markets * ROUNDS * PROCESSES, m.kills);
    CHECK_INT(0, munmap(m.shared, sizeof(*m.shared)));
}

TAP_MAIN()
