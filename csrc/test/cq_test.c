/*
 * The completion queue by itself: order, limits, wake-ups, waiting, threads.
 */
#include "io/cq.h"
#include "test/support/tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static skl_counters_shm_t counters_shm;

typedef struct {
    skl_counters_t counters;
    skl_cq_t cq;
    int ends[2]; /* [0] is given to the queue */
} fixture_t;

static void setup(fixture_t *f)
{
    skl_counters_init(&counters_shm);
    skl_counters_attach(&f->counters, &counters_shm);
    skl_cq_init(&f->cq, &f->counters);
    skl_cq_open(&f->cq);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f->ends) != 0) {
        abort();
    }
}

static void teardown(fixture_t *f)
{
    skl_cq_free(&f->cq);
    close(f->ends[0]);
    close(f->ends[1]);
}

/* Bytes that came to the reader since the last call. */
static int woken(fixture_t *f)
{
    char buf[64];
    ssize_t n = read(f->ends[1], buf, sizeof(buf));

    return n < 0 ? 0 : (int)n;
}

static uint64_t dropped(fixture_t *f)
{
    return skl_counters_event(&f->counters, SKL_EV_events_dropped);
}

TEST(tickets_come_back_once_in_order)
{
    static fixture_t f;
    seckill_event_t e[8];
    uint64_t a, b;

    setup(&f);
    CHECK_INT(0, skl_cq_ticket(&f.cq, &a));
    CHECK_INT(0, skl_cq_ticket(&f.cq, &b));
    CHECK(a != b && a != 0);
    skl_cq_done(&f.cq, b, SECKILL_EBADFILE, "why");
    skl_cq_done(&f.cq, a, 0, "");
    skl_cq_done(&f.cq, a, 0, "");
    skl_cq_done(&f.cq, 999, 0, "");
    CHECK_INT(2, skl_cq_pop(&f.cq, e, 8));
    CHECK_INT(b, e[0].ticket);
    CHECK_INT(SECKILL_EVENT_DONE, e[0].type);
    CHECK_INT(SECKILL_EBADFILE, e[0].rc);
    CHECK_STR("why", e[0].text);
    CHECK_INT(a, e[1].ticket);
    CHECK_INT(0, skl_cq_pop(&f.cq, e, 8));
    teardown(&f);
}

TEST(notices_are_dropped_completions_never)
{
    static fixture_t f;
    static seckill_event_t e[SKL_CQ_EVENTS];
    uint64_t tickets[SKL_CQ_TICKETS], extra;
    int places = SKL_CQ_EVENTS - SKL_CQ_TICKETS;

    setup(&f);
    for (int i = 0; i < SKL_CQ_TICKETS; i++) {
        CHECK_INT(0, skl_cq_ticket(&f.cq, &tickets[i]));
    }
    CHECK_INT(SECKILL_EFULL, skl_cq_ticket(&f.cq, &extra));
    for (int i = 0; i < places + 10; i++) {
        skl_cq_notice(&f.cq, SECKILL_EVENT_LIST, 0, "n");
    }
    CHECK_INT(10, dropped(&f));
    for (int i = 0; i < SKL_CQ_TICKETS; i++) {
        skl_cq_done(&f.cq, tickets[i], 0, "");
    }
    /* Nobody takes events: no place is left to promise. */
    CHECK_INT(SECKILL_EFULL, skl_cq_ticket(&f.cq, &extra));
    CHECK_INT(SKL_CQ_EVENTS, skl_cq_pop(&f.cq, e, SKL_CQ_EVENTS));
    for (int i = 0; i < SKL_CQ_TICKETS; i++) {
        CHECK_INT(tickets[i], e[places + i].ticket);
    }
    CHECK_INT(0, skl_cq_ticket(&f.cq, &extra));
    teardown(&f);
}

TEST(close_answers_what_waits)
{
    static fixture_t f;
    seckill_event_t e[4];
    uint64_t a;

    setup(&f);
    CHECK_INT(0, skl_cq_ticket(&f.cq, &a));
    skl_cq_close(&f.cq);
    CHECK_INT(SECKILL_ENOTSTARTEDTHREADS, skl_cq_ticket(&f.cq, &a));
    CHECK_INT(2, skl_cq_pop(&f.cq, e, 4));
    CHECK_INT(SECKILL_ECLOSED, e[0].rc);
    CHECK_INT(SECKILL_EVENT_STOP, e[1].type);
    skl_cq_open(&f.cq);
    CHECK_INT(0, skl_cq_ticket(&f.cq, &a));
    teardown(&f);
}

TEST(wake_ups_are_coalesced)
{
    static fixture_t f;
    seckill_event_t e[16];

    setup(&f);
    CHECK_INT(-1, skl_cq_set_reader(&f.cq, f.ends[0]));
    skl_cq_notice(&f.cq, SECKILL_EVENT_LIST, 0, "not armed");
    CHECK_INT(0, woken(&f));
    skl_cq_rearm(&f.cq); /* some are queued: at once */
    CHECK_INT(1, woken(&f));
    skl_cq_notice(&f.cq, SECKILL_EVENT_LIST, 0, "not armed");
    CHECK_INT(0, woken(&f));
    CHECK_INT(2, skl_cq_pop(&f.cq, e, 16));
    skl_cq_rearm(&f.cq);
    CHECK_INT(0, woken(&f));
    for (int i = 0; i < 10; i++) {
        skl_cq_notice(&f.cq, SECKILL_EVENT_LIST, 0, "armed");
    }
    CHECK_INT(1, woken(&f));
    CHECK_INT(2, skl_counters_event(&f.counters, SKL_EV_wakeups));
    CHECK_INT(f.ends[0], skl_cq_set_reader(&f.cq, -1));
    teardown(&f);
}

TEST(a_reader_that_connects_late_is_woken)
{
    static fixture_t f;

    setup(&f);
    skl_cq_rearm(&f.cq);
    skl_cq_notice(&f.cq, SECKILL_EVENT_LIST, 0, "early");
    skl_cq_set_reader(&f.cq, f.ends[0]);
    CHECK_INT(1, woken(&f));
    teardown(&f);
}

TEST(a_reader_that_does_not_read_or_is_gone_does_no_harm)
{
    static fixture_t f;
    seckill_event_t e;

    setup(&f);
    skl_cq_set_reader(&f.cq, f.ends[0]);
    for (int i = 0; i < 5000; i++) {
        skl_cq_rearm(&f.cq);
        skl_cq_notice(&f.cq, SECKILL_EVENT_LIST, 0, "x");
        CHECK_INT(1, skl_cq_pop(&f.cq, &e, 1));
    }
    close(f.ends[1]);
    f.ends[1] = dup(f.ends[0]);
    skl_cq_rearm(&f.cq);
    skl_cq_notice(&f.cq, SECKILL_EVENT_LIST, 0, "x"); /* no SIGPIPE */
    CHECK_INT(1, skl_cq_pop(&f.cq, &e, 1));
    teardown(&f);
}

/* ---- Threads ------------------------------------------------------------- */

enum { EACH = 2000, MAKERS = 2 };

static void *make_events(void *arg)
{
    skl_cq_t *cq = arg;

    for (int made = 0; made < EACH;) {
        uint64_t ticket;

        if (skl_cq_ticket(cq, &ticket) == 0) {
            skl_cq_done(cq, ticket, 0, "done");
            made++;
        }
    }
    return NULL;
}

TEST(every_completion_arrives_while_threads_push)
{
    static fixture_t f;
    static uint8_t seen[EACH * MAKERS + 1];
    pthread_t makers[MAKERS];
    seckill_event_t e[32];
    int got = 0, twice = 0;

    setup(&f);
    for (int i = 0; i < MAKERS; i++) {
        REQUIRE(pthread_create(&makers[i], NULL, make_events, &f.cq) == 0);
    }
    while (got < EACH * MAKERS && skl_cq_wait(&f.cq, 10000)) {
        int n = skl_cq_pop(&f.cq, e, 32);

        for (int i = 0; i < n; i++) {
            twice += seen[e[i].ticket]++;
        }
        got += n;
    }
    for (int i = 0; i < MAKERS; i++) {
        pthread_join(makers[i], NULL);
    }
    CHECK_INT(EACH * MAKERS, got);
    CHECK_INT(0, twice);
    CHECK_INT(0, skl_cq_wait(&f.cq, 0));
    teardown(&f);
}

TAP_MAIN()
