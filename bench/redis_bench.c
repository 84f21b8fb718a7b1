/*
 * The same reservation in Redis, for comparison: a script that knows the
 * request id, the user's history and the stock (bench/http/deduct.lua), called
 * over many connections of hiredis.
 *
 *   usage: redis_bench FIGURE PORT SHA CONNECTIONS PIPELINE COUNT TAG
 *
 * Each connection has PIPELINE calls outstanding. One thread, poll(); every
 * request id and every user is new, TAG makes them so. It counts what was
 * reserved, and fails when something was not.
 */
#include "bench.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>

enum { CONNECTIONS_MAX = 256 };

static redisContext *connections[CONNECTIONS_MAX];
static struct pollfd fds[CONNECTIONS_MAX];
static const char *sha, *tag;
static uint32_t sent, answered, total;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "redis_bench: %s: %s\n", what, why);
    exit(1);
}

/* Into the output buffer of a connection. */
static void ask(redisContext *c)
{
    const buyer_t b = bench_buyer(sent++);

    if (redisAppendCommand(c,
                           "EVALSHA %s 3 stock:%s history:%s request:%s%s "
                           "%s%s 1 1",
                           sha, tag, tag, tag, b.request, tag,
                           b.user) != REDIS_OK) {
        fail("append", c->errstr);
    }
}

static void flush(redisContext *c)
{
    int done = 0;

    while (!done) {
        if (redisBufferWrite(c, &done) != REDIS_OK) {
            fail("write", c->errstr);
        }
    }
}

/* Take what has come; as many new calls. */
static void serve(redisContext *c)
{
    void *reply = NULL;
    int more = 0;

    if (redisBufferRead(c) != REDIS_OK) {
        fail("read", c->errstr);
    }
    while (redisGetReplyFromReader(c, &reply) == REDIS_OK && reply != NULL) {
        const redisReply *r = reply;

        if (r->type != REDIS_REPLY_INTEGER || r->integer < 0) {
            fail("reserve",
                 r->type == REDIS_REPLY_ERROR ? r->str : "not reserved");
        }
        freeReplyObject(reply);
        answered++;
        if (sent < total) {
            ask(c);
            more = 1;
        }
    }
    if (more) {
        flush(c);
    }
}

static void open_all(int count, int port)
{
    for (int i = 0; i < count; i++) {
        redisContext *c = redisConnect("127.0.0.1", port);

        if (c == NULL || c->err != 0) {
            fail("connect", c != NULL ? c->errstr : "no memory");
        }
        connections[i] = c;
        fds[i].fd = c->fd;
        fds[i].events = POLLIN;
    }
}

static void put_stock(void)
{
    redisReply *r =
        redisCommand(connections[0], "SET stock:%s %d", tag, 2000000000);

    if (r == NULL || r->type != REDIS_REPLY_STATUS) {
        fail("SET", "refused");
    }
    freeReplyObject(r);
}

static double run(int count, int pipeline)
{
    const int64_t start = skl_clock_mono_ns();

    for (int i = 0; i < count; i++) {
        for (int k = 0; k < pipeline; k++) {
            ask(connections[i]);
        }
        flush(connections[i]);
    }
    while (answered < total) {
        if (poll(fds, (nfds_t)count, 10000) <= 0) {
            fail("poll", errno == 0 ? "no answer" : strerror(errno));
        }
        for (int i = 0; i < count; i++) {
            if (fds[i].revents != 0) {
                serve(connections[i]);
            }
        }
    }
    return 1e9 * total / (double)(skl_clock_mono_ns() - start);
}

int main(int argc, char **argv)
{
    int count, pipeline;

    if (argc != 8) {
        fprintf(stderr, "usage: redis_bench FIGURE PORT SHA CONNECTIONS "
                        "PIPELINE COUNT TAG\n");
        return 2;
    }
    sha = argv[3];
    tag = argv[7];
    count = (int)strtol(argv[4], NULL, 10);
    pipeline = (int)strtol(argv[5], NULL, 10);
    total = (uint32_t)strtoul(argv[6], NULL, 10);
    if (count < 1 || count > CONNECTIONS_MAX ||
        total < (uint32_t)(count * pipeline)) {
        fail("arguments", "out of range");
    }
    open_all(count, (int)strtol(argv[2], NULL, 10));
    put_stock();
    bench_emit(argv[1], run(count, pipeline), "1/s");
    for (int i = 0; i < count; i++) {
        redisFree(connections[i]);
    }
    return 0;
}
