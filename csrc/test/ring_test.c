/* The log ring: what is published is read again, whole, until it is
 * overwritten; what is still needed is not overwritten. */
#include "seckill.h"
#include "stock/ring.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <pthread.h>

enum { UNITS = 64 };

static skl_ring_t ring;
static skl_lock_t lock;
static skl_lock_t *locks[] = {&lock};

static void fresh(void)
{
    void *section = scratch_shared(skl_ring_bytes(UNITS));

    skl_lock_init(&lock);
    skl_ring_init(section, UNITS);
    skl_ring_attach(&ring, section);
}

/* A record whose content follows from `n`, with `len` bytes of strings. */
static void make(skl_record_t *r, uint64_t n, uint32_t len)
{
    char text[64];
    const uint32_t a = len < 64 ? len : 64;
    const uint32_t b = len - a < 64 ? len - a : 64;

    memset(r, 0, sizeof(*r));
    memset(text, 'a' + (int)(n % 26), sizeof(text));
    r->type = SKL_REC_RESERVE;
    r->parts = SKL_PART_ITEM | SKL_PART_REQUEST;
    r->time = (int64_t)n * 10;
    r->sold = (int64_t)n;
    skl_rec_strings(r, text, a, text, b, text, len - a - b);
}

static int publish(skl_record_t *r)
{
    skl_wait_t wait = {0};

    return skl_ring_publish(&ring, r, locks, 1, &wait);
}

static int publish_new(uint64_t n, uint32_t len)
{
    skl_record_t r;

    make(&r, n, len);
    return publish(&r);
}

static void publish_applied(uint64_t n, uint32_t len)
{
    CHECK_INT(SECKILL_OK, publish_new(n, len));
    skl_ring_applied(&ring, skl_ring_tail(&ring));
}

/* Record `lsn` is in the ring and is the one made from it. */
static void expect(uint64_t lsn, uint32_t len)
{
    skl_record_t r, want;

    memset(&r, 0, sizeof(r));
    REQUIRE(skl_ring_read(&ring, lsn, &r) == 1);
    make(&want, lsn, len);
    CHECK(skl_rec_valid(&r, SKL_RECORD_MAX));
    CHECK_INT(lsn, r.lsn);
    CHECK_INT(want.sold, r.sold);
    CHECK_INT(want.bytes, r.bytes);
    CHECK_MEM(want.strings, r.strings, len);
}

TEST(an_empty_ring_has_nothing_to_read)
{
    skl_record_t r;

    fresh();
    CHECK_INT(0, skl_ring_tail(&ring));
    CHECK_INT(1, skl_ring_head(&ring));
    for (uint64_t lsn = 0; lsn < 3; lsn++) {
        CHECK_INT(0, skl_ring_read(&ring, lsn, &r));
        CHECK_INT(0, skl_ring_pending(&ring, lsn));
    }
    CHECK_INT(0, skl_ring_read(&ring, UINT64_MAX, &r));
}

TEST(numbers_are_dense_and_noted_as_intent)
{
    skl_record_t r;

    fresh();
    for (uint64_t lsn = 1; lsn <= 20; lsn++) {
        make(&r, lsn, 10);
        CHECK_INT(SECKILL_OK, publish(&r));
        CHECK_INT(lsn, r.lsn);
        CHECK_INT(lsn, skl_ring_tail(&ring));
        CHECK_INT(lsn, atomic_load(&lock.intent));
    }
    for (uint64_t lsn = 1; lsn <= 20; lsn++) {
        expect(lsn, 10);
    }
}

TEST(time_never_goes_back)
{
    skl_record_t r;

    fresh();
    make(&r, 5, 0);
    r.time = 1000;
    CHECK_INT(SECKILL_OK, publish(&r));
    make(&r, 5, 0);
    r.time = 7;
    CHECK_INT(SECKILL_OK, publish(&r));
    CHECK_INT(1000, r.time);
    CHECK(skl_rec_valid(&r, SKL_RECORD_MAX));
}

/* Every size at every position, many times around. */
TEST(records_of_all_sizes_survive_the_wrap)
{
    static uint32_t lengths[4096];
    uint64_t lsn = 0;

    fresh();
    for (uint32_t i = 0; i < 4000; i++) {
        uint32_t len = i * 37 % 193;

        lsn++;
        lengths[lsn % 4096] = len;
        publish_applied(lsn, len);
        for (uint64_t k = skl_ring_head(&ring); k <= lsn; k++) {
            if (k + 3 > lsn || i % 64 == 0) {
                expect(k, lengths[k % 4096]);
            }
        }
        CHECK(skl_ring_head(&ring) + UNITS / 4 - 2 <= lsn || lsn < UNITS);
    }
}

TEST(a_record_never_wraps_around_the_end)
{
    fresh();
    for (uint64_t lsn = 1; lsn <= 400; lsn++) {
        uint64_t at;

        publish_applied(lsn, lsn % 3 == 0 ? 192 : lsn % 3 == 1 ? 129 : 0);
        at = atomic_load(&ring.start[lsn & ring.mask]) % UNITS;
        CHECK(at + (lsn % 3 == 2 ? 1 : 3) <= UNITS);
    }
}

TEST(a_record_that_is_not_applied_is_not_overwritten)
{
    skl_record_t r;
    uint64_t lsn = 1;

    fresh();
    CHECK_INT(SECKILL_OK, publish_new(1, 192));
    while (publish_new(lsn + 1, 192) == SECKILL_OK) {
        lsn++;
        skl_ring_applied(&ring, lsn);
        REQUIRE(lsn < UNITS);
    }
    CHECK(lsn >= UNITS / 3 - 1);
    CHECK_INT(lsn, skl_ring_tail(&ring));
    CHECK_INT(1, skl_ring_head(&ring));
    expect(1, 192);
    CHECK_INT(SECKILL_EBUSY, publish_new(lsn + 1, 0)); /* nothing happened */
    CHECK_INT(lsn, skl_ring_tail(&ring));
    CHECK_INT(lsn, atomic_load(&lock.intent));
    expect(lsn, 192);
    CHECK_INT(SKL_PART_ITEM | SKL_PART_REQUEST, skl_ring_pending(&ring, 1));
    skl_ring_part_applied(&ring, 1, SKL_PART_ITEM);
    CHECK_INT(SKL_PART_REQUEST, skl_ring_pending(&ring, 1));
    CHECK_INT(SECKILL_EBUSY, publish_new(lsn + 1, 192));
    skl_ring_part_applied(&ring, 1, SKL_PART_REQUEST);
    CHECK_INT(0, skl_ring_pending(&ring, 1));
    CHECK_INT(SECKILL_OK, publish_new(lsn + 1, 192));
    CHECK_INT(0, skl_ring_read(&ring, 1, &r));
    CHECK_INT(0, skl_ring_pending(&ring, 1));
    expect(lsn + 1, 192);
}

TEST(with_a_sink_unread_records_stay)
{
    uint64_t lsn = 0;

    fresh();
    atomic_store(&ring.shm->sink_attached, 1);
    while (publish_new(lsn + 1, 0) == SECKILL_OK) {
        lsn++;
        skl_ring_applied(&ring, lsn);
        REQUIRE(lsn <= UNITS);
    }
    CHECK(lsn >= UNITS - 1);
    for (uint64_t k = 1; k <= lsn; k++) {
        expect(k, 0);
    }
    atomic_store(&ring.shm->flushed, 3);
    for (int i = 0; i < 3; i++) {
        publish_applied(++lsn, 0);
    }
    CHECK_INT(SECKILL_EBUSY, publish_new(lsn + 1, 0));
    CHECK_INT(4, skl_ring_head(&ring));
    expect(4, 0);
    atomic_store(&ring.shm->sink_attached, 0);
    CHECK_INT(SECKILL_OK, publish_new(lsn + 1, 0));
}

/* The CRC is over what is in the ring: a damaged byte shows to the reader. */
TEST(each_damaged_byte_of_the_ring_shows)
{
    skl_record_t r;
    uint32_t units;

    fresh();
    publish_applied(1, 100);
    units = (uint32_t)atomic_load(&ring.start[1 & ring.mask]);
    for (uint32_t i = 0; i < 228; i++) {
        unsigned char *p = ring.units + units * SKL_UNIT + i;

        *p ^= 0x40;
        memset(&r, 0, sizeof(r));
        CHECK(!skl_ring_read(&ring, 1, &r) ||
              !skl_rec_valid(&r, SKL_RECORD_MAX));
        *p ^= 0x40;
    }
    expect(1, 100);
}

static int die_with_the_ring_lock(void *arg)
{
    skl_wait_t wait = {0};

    (void)arg;
    if (skl_lock_acquire(&ring.shm->lock, &wait, NULL, NULL) == SECKILL_OK) {
        (void)kill(getpid(), SIGKILL);
    }
    return 0;
}

TEST(a_death_under_the_ring_lock_leaves_nothing_to_repair)
{
    fresh();
    publish_applied(1, 5);
    CHECK_INT(1000 + SIGKILL, scratch_run(die_with_the_ring_lock, NULL));
    publish_applied(2, 6);
    expect(1, 5);
    expect(2, 6);
    CHECK_INT(1, atomic_load(&ring.shm->lock.repairs));
}

static int stop_with_the_ring_lock(void *arg)
{
    skl_wait_t wait = {0};

    (void)arg;
    if (skl_lock_acquire(&ring.shm->lock, &wait, NULL, NULL) == SECKILL_OK) {
        (void)kill(getpid(), SIGSTOP);
    }
    return 0;
}

TEST(a_held_ring_lock_is_busy_and_nothing_happened)
{
    pid_t pid;
    int status;

    fresh();
    publish_applied(1, 5);
    pid = scratch_fork(stop_with_the_ring_lock, NULL);
    REQUIRE(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    CHECK_INT(SECKILL_EBUSY, publish_new(2, 0));
    CHECK_INT(1, skl_ring_tail(&ring));
    CHECK_INT(1, atomic_load(&lock.intent));
    (void)kill(pid, SIGKILL);
    CHECK_INT(1000 + SIGKILL, scratch_wait(pid));
    publish_applied(2, 7);
    expect(2, 7);
}

static _Atomic int done;

/* Whatever it can read while it is overwritten is whole. */
static void *read_all(void *arg)
{
    _Atomic uint64_t *bad = arg;

    while (!atomic_load(&done)) {
        uint64_t lsn = skl_ring_head(&ring);

        for (; lsn <= skl_ring_tail(&ring); lsn++) {
            skl_record_t r;

            memset(&r, 0, sizeof(r));
            if (skl_ring_read(&ring, lsn, &r) &&
                (!skl_rec_valid(&r, SKL_RECORD_MAX) ||
                 (uint64_t)r.sold != lsn)) {
                atomic_fetch_add(bad, 1);
            }
        }
    }
    return NULL;
}

TEST(readers_never_see_half_a_record)
{
    const uint64_t rounds = tap_full() ? 2000000 : 60000;
    _Atomic uint64_t bad = 0;
    pthread_t readers[2];

    fresh();
    atomic_store(&done, 0);
    for (int i = 0; i < 2; i++) {
        REQUIRE(pthread_create(&readers[i], NULL, read_all, &bad) == 0);
    }
    for (uint64_t lsn = 1; lsn <= rounds; lsn++) {
        publish_applied(lsn, (uint32_t)(lsn * 31 % 193));
    }
    atomic_store(&done, 1);
    for (int i = 0; i < 2; i++) {
        (void)pthread_join(readers[i], NULL);
    }
    CHECK_INT(0, bad);
}

TAP_MAIN()
