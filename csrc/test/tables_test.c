/*
 * The tables of the ledger: each step of apply() gives the same result when it
 * is made twice, and when it is made again after a death at any instruction.
 */
#include "stock/tables.h"
#include "test/support/scratch.h"
#include "test/support/stepper.h"
#include "test/support/tap.h"

/* variants: rel asan */

enum { ITEMS = 4, ROWS = 6, USERS = 5, REQUESTS = 7 };

static const skl_hash_key_t hash_key = {11, 22};

typedef struct {
    skl_tables_t t;
    size_t bytes;
    char *live;   /* shared with the child */
    char *before; /* private copies */
    char *want;
    char *redone;
} world_t;

static world_t w;

static void new_world(uint32_t items, uint32_t rows, uint32_t users,
                      uint32_t requests)
{
    free(w.before);
    free(w.want);
    free(w.redone);
    w.bytes = skl_tables_bytes(items, rows, users, requests);
    w.live = scratch_shared(w.bytes);
    w.before = aligned_alloc(64, w.bytes);
    w.want = aligned_alloc(64, w.bytes);
    w.redone = aligned_alloc(64, w.bytes);
    skl_tables_init(w.live, items, rows, users, requests);
    skl_tables_attach(&w.t, w.live, &hash_key);
}

static void fresh(void)
{
    new_world(ITEMS, ROWS, USERS, REQUESTS);
}

static skl_hash_t key_of(int n)
{
    char id[16];
    int len = snprintf(id, sizeof(id), "id-%d", n);

    return skl_key_of(&w.t, id, (uint32_t)len);
}

/* ---- A step, once, twice, and interrupted -------------------------------- */

typedef struct {
    void (*run)(skl_tables_t *t, uint32_t slot, int n);
    uint32_t slot;
    int n;
} step_t;

static void run_live(void *ctx)
{
    const step_t *s = ctx;

    s->run(&w.t, s->slot, s->n);
}

/* Make the step on a copy of the tables. */
static void run_on(char *copy, const step_t *s)
{
    skl_tables_t t;

    skl_tables_attach(&t, copy, &hash_key);
    s->run(&t, s->slot, s->n);
}

/* Number of instructions after which a repetition differs. */
static int interrupt_everywhere(step_t *s)
{
    const char *why = "";
    stepper_t st;
    int bad = 0;

    if (!CHECK(stepper_start(&st, run_live, s, &why))) {
        printf("# %s\n", why);
        return 1;
    }
    while (stepper_step(&st) == 1) {
        memcpy(w.redone, w.live, w.bytes);
        run_on(w.redone, s);
        bad += memcmp(w.redone, w.want, w.bytes) != 0;
    }
    stepper_kill(&st);
    return bad;
}

/* Leaves the step made. */
static void check_step(void (*run)(skl_tables_t *, uint32_t, int),
                       uint32_t slot, int n)
{
    step_t s = {run, slot, n};

    memcpy(w.before, w.live, w.bytes);
    memcpy(w.want, w.live, w.bytes);
    run_on(w.want, &s);
    CHECK(memcmp(w.before, w.want, w.bytes) != 0);
    memcpy(w.redone, w.want, w.bytes);
    run_on(w.redone, &s);
    CHECK_MEM(w.want, w.redone, w.bytes);
    CHECK_INT(0, interrupt_everywhere(&s));
    CHECK_MEM(w.want, w.live, w.bytes);
}

/* ---- Request ids --------------------------------------------------------- */

static void request_insert(skl_tables_t *t, uint32_t slot, int n)
{
    skl_request_insert(t, 0, slot, key_of(n));
}

static void request_remove(skl_tables_t *t, uint32_t slot, int n)
{
    (void)n;
    skl_request_remove(t, 0, slot);
}

static int free_requests(uint32_t shard)
{
    int n = 0;
    uint32_t slot = SKL_LD(w.t.shards[shard].request_free);

    for (; slot != SKL_NONE && n < 100000; n++) {
        slot = SKL_LD(w.t.requests[slot].next);
    }
    return n;
}

TEST(request_ids_are_found_until_removed)
{
    uint32_t slots[REQUESTS];

    fresh();
    CHECK_INT(1, w.t.shm->shards);
    CHECK_INT(REQUESTS, free_requests(0));
    for (int i = 0; i < REQUESTS; i++) {
        CHECK_INT(SKL_NONE, skl_find_request(&w.t, 0, key_of(i)));
        slots[i] = SKL_LD(w.t.shards[0].request_free);
        REQUIRE(slots[i] != SKL_NONE);
        check_step(request_insert, slots[i], i);
        CHECK_INT(REQUESTS - 1 - i, free_requests(0));
        for (int k = 0; k <= i; k++) {
            CHECK_INT(slots[k], skl_find_request(&w.t, 0, key_of(k)));
        }
    }
    CHECK_INT(SKL_NONE, SKL_LD(w.t.shards[0].request_free));
    for (int i = 0; i < REQUESTS; i++) {
        int gone = i * 3 % REQUESTS; /* in another order */

        check_step(request_remove, slots[gone], 0);
        CHECK_INT(i + 1, free_requests(0));
        CHECK_INT(SKL_NONE, skl_find_request(&w.t, 0, key_of(gone)));
    }
}

static void fifo_append(skl_tables_t *t, uint32_t slot, int n)
{
    skl_fifo_append(t, 0, (uint32_t)n, slot);
}

TEST(the_queue_wraps_and_tells_full_from_empty)
{
    uint32_t head = 0, tail = 0;

    fresh();
    for (uint32_t i = 0; i < 5 * REQUESTS; i++) {
        if (i >= REQUESTS) { /* full: take the oldest out first */
            CHECK_INT(i - REQUESTS, skl_fifo_at(&w.t, 0, head));
            head = (head + 1) % (2 * REQUESTS);
        }
        CHECK_INT(tail, SKL_LD(w.t.shards[0].fifo_tail));
        check_step(fifo_append, i, (int)tail);
        tail = (tail + 1) % (2 * REQUESTS);
        CHECK_INT(tail, SKL_LD(w.t.shards[0].fifo_tail));
        CHECK(tail != head);
    }
}

/* ---- Users --------------------------------------------------------------- */

static void user_insert(skl_tables_t *t, uint32_t slot, int n)
{
    skl_user_insert(t, 0, slot, key_of(n), 3);
}

static void user_remove(skl_tables_t *t, uint32_t slot, int n)
{
    (void)n;
    skl_user_remove(t, 0, slot);
}

TEST(users_are_found_until_removed)
{
    uint32_t slots[USERS];

    fresh();
    for (int i = 0; i < USERS; i++) {
        slots[i] = SKL_LD(w.t.shards[0].user_free);
        REQUIRE(slots[i] != SKL_NONE);
        CHECK_INT(SKL_NONE, SKL_LD(w.t.users[slots[i]].item));
        check_step(user_insert, slots[i], i);
        CHECK_INT(3, SKL_LD(w.t.users[slots[i]].item));
        CHECK_INT(slots[i], skl_find_user(&w.t, 0, key_of(i)));
    }
    CHECK_INT(SKL_NONE, SKL_LD(w.t.shards[0].user_free));
    for (int i = USERS - 1; i >= 0; i -= 2) {
        check_step(user_remove, slots[i], 0);
        CHECK_INT(SKL_NONE, SKL_LD(w.t.users[slots[i]].item));
        CHECK_INT(SKL_NONE, skl_find_user(&w.t, 0, key_of(i)));
        CHECK_INT(slots[i], SKL_LD(w.t.shards[0].user_free));
    }
    for (int i = USERS - 2; i >= 0; i -= 2) {
        CHECK_INT(slots[i], skl_find_user(&w.t, 0, key_of(i)));
    }
}

TEST(keys_of_one_user_differ_between_items_and_lives)
{
    skl_hash_t user = {1, 2};

    for (uint64_t a = 1; a < 50; a++) {
        for (uint64_t b = 1; b < a; b++) {
            skl_hash_t x = skl_user_key(user, a), y = skl_user_key(user, b);

            CHECK(x.lo != y.lo);
            CHECK(x.hi != y.hi);
        }
    }
}

/* ---- Reservation rows ---------------------------------------------------- */

static void row_take(skl_tables_t *t, uint32_t slot, int n)
{
    (void)n;
    skl_row_take(t, 0, slot);
}

static void row_give(skl_tables_t *t, uint32_t slot, int n)
{
    (void)n;
    skl_row_give(t, 0, slot);
}

TEST(rows_are_taken_and_given_back)
{
    uint32_t slots[ROWS];

    fresh();
    for (int i = 0; i < ROWS; i++) {
        slots[i] = SKL_LD(w.t.shards[0].row_free);
        REQUIRE(slots[i] != SKL_NONE);
        check_step(row_take, slots[i], 0);
    }
    CHECK_INT(SKL_NONE, SKL_LD(w.t.shards[0].row_free));
    for (int i = 0; i < ROWS; i++) {
        check_step(row_give, slots[i], 0);
        CHECK_INT(slots[i], SKL_LD(w.t.shards[0].row_free));
    }
}

/* ---- Items --------------------------------------------------------------- */

static void item_insert(skl_tables_t *t, uint32_t slot, int n)
{
    char id[16];
    int len = snprintf(id, sizeof(id), "id-%d", n);

    skl_item_insert(t, slot, skl_key_of(t, id, (uint32_t)len), id,
                    (uint32_t)len);
}

static void item_unlink(skl_tables_t *t, uint32_t slot, int n)
{
    (void)n;
    skl_item_unlink(t, slot);
}

static void item_free(skl_tables_t *t, uint32_t slot, int n)
{
    (void)n;
    skl_item_free(t, slot);
}

TEST(items_are_found_by_name_until_unlinked)
{
    fresh();
    for (int i = 0; i < ITEMS; i++) {
        uint32_t slot = SKL_LD(w.t.shm->free);
        char name[SECKILL_ID_MAX];
        uint32_t len;

        REQUIRE(slot != SKL_NONE);
        check_step(item_insert, slot, i);
        CHECK_INT(slot + 1, SKL_LD(w.t.shm->high_water));
        CHECK_INT(slot, skl_find_item(&w.t, key_of(i)));
        skl_item_name(&w.t.items[slot], name, &len);
        CHECK_INT(4, len);
        CHECK_MEM("id-", name, 3);
        CHECK(skl_item_is(&w.t.items[slot], name, 4));
        CHECK(!skl_item_is(&w.t.items[slot], name, 3));
        CHECK(!skl_item_is(&w.t.items[slot], "id-x", 4));
    }
    CHECK_INT(SKL_NONE, SKL_LD(w.t.shm->free));
    for (int i = 0; i < ITEMS; i++) {
        uint32_t slot = skl_find_item(&w.t, key_of(i));

        REQUIRE(slot != SKL_NONE);
        check_step(item_unlink, slot, 0);
        CHECK_INT(SKL_NONE, skl_find_item(&w.t, key_of(i)));
        check_step(item_free, slot, 0);
        CHECK_INT(slot, SKL_LD(w.t.shm->free));
    }
    CHECK_INT(ITEMS, SKL_LD(w.t.shm->high_water));
}

TEST(a_name_of_64_bytes_with_nul_is_kept_whole)
{
    char name[64] = "a\0b", got[64];
    uint32_t len;

    fresh();
    name[63] = 'z';
    skl_item_insert(&w.t, 0, skl_key_of(&w.t, name, 64), name, 64);
    skl_item_name(&w.t.items[0], got, &len);
    CHECK_INT(64, len);
    CHECK_MEM(name, got, 64);
    CHECK(skl_item_is(&w.t.items[0], name, 64));
}

/* ---- Hold lists ---------------------------------------------------------- */

static void hold_insert(skl_tables_t *t, uint32_t slot, int n)
{
    (void)n;
    skl_hold_insert(t, &t->items[0], slot);
}

static void hold_remove(skl_tables_t *t, uint32_t slot, int n)
{
    (void)n;
    skl_hold_remove(t, &t->items[0], slot);
}

static void empty_lists(void)
{
    for (int i = 0; i < SKL_HOLD_LISTS; i++) {
        SKL_ST(w.t.items[0].lists[i].head, SKL_NONE);
        SKL_ST(w.t.items[0].lists[i].tail, SKL_NONE);
    }
}

/* The list in both directions is `want`. */
static void check_list(int list, const uint32_t *want, int count)
{
    const skl_hold_list_t *l = &w.t.items[0].lists[list];
    uint32_t slot = SKL_LD(l->head), before = SKL_NONE;

    for (int i = 0; i < count; i++) {
        REQUIRE(slot == want[i]);
        CHECK_INT(before, w.t.rows[slot].prev);
        before = slot;
        slot = w.t.rows[slot].next;
    }
    CHECK_INT(SKL_NONE, slot);
    CHECK_INT(before, SKL_LD(l->tail));
}

/* Every subset leaves the list in every order of 4. */
static void drop_in_order(const int *order)
{
    uint32_t left[4] = {0, 1, 2, 3};
    int count = 4;

    fresh();
    empty_lists();
    for (uint32_t i = 0; i < 4; i++) {
        check_step(hold_insert, i, 0);
        check_list(0, left, (int)i + 1);
    }
    for (int i = 0; i < 4; i++) {
        int at = 0;

        while (left[at] != (uint32_t)order[i]) {
            at++;
        }
        for (count--; at < count; at++) {
            left[at] = left[at + 1];
        }
        memcpy(w.before, w.live, w.bytes);
        skl_hold_remove(&w.t, &w.t.items[0], (uint32_t)order[i]);
        check_list(0, left, count);
        memcpy(w.want, w.live, w.bytes);
        memcpy(w.live, w.before, w.bytes);
        CHECK_INT(0, interrupt_everywhere(
                         &(step_t){hold_remove, (uint32_t)order[i], 0}));
        check_list(0, left, count);
    }
}

TEST(holds_leave_from_anywhere)
{
    const int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 3, 2},
                             {2, 0, 3, 1}, {1, 2, 0, 3}, {0, 3, 1, 2}};

    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        drop_in_order(orders[i]);
    }
}

TEST(the_earliest_deadline_is_over_all_lists)
{
    fresh();
    empty_lists();
    CHECK_INT(SKL_NONE, skl_hold_first(&w.t, &w.t.items[0]));
    CHECK_INT(INT64_MAX, skl_hold_earliest(&w.t, &w.t.items[0]));
    for (uint32_t i = 0; i < 4; i++) {
        w.t.rows[i].hold_list = (uint8_t)(7 - 2 * i);
        w.t.rows[i].deadline = 100 - 10 * (int64_t)i;
        check_step(hold_insert, i, 0);
        CHECK_INT(i, skl_hold_first(&w.t, &w.t.items[0]));
        CHECK_INT(100 - 10 * (int64_t)i,
                  skl_hold_earliest(&w.t, &w.t.items[0]));
    }
    skl_hold_remove(&w.t, &w.t.items[0], 3);
    CHECK_INT(2, skl_hold_first(&w.t, &w.t.items[0]));
}

/* ---- Layout -------------------------------------------------------------- */

static void check_shares(uint32_t capacity)
{
    const uint32_t n = capacity;

    new_world(3, n, n, n);
    CHECK(w.t.shm->shards >= 1 && w.t.shm->shards <= SKL_SHARDS_MAX);
    CHECK((uint64_t)w.t.shm->requests * w.t.shm->shards >= n);
    CHECK((uint64_t)w.t.shm->users * w.t.shm->shards >= n);
    CHECK((uint64_t)w.t.shm->rows * w.t.shm->shards >= n);
    CHECK_INT(w.bytes, w.t.shm->bytes);
    for (uint32_t s = 0; s < w.t.shm->shards; s++) {
        uint32_t slot = SKL_LD(w.t.shards[s].request_free);

        CHECK_INT(w.t.shm->requests, free_requests(s));
        CHECK_INT(s, slot / w.t.shm->requests);
        CHECK_INT(s, SKL_LD(w.t.shards[s].user_free) / w.t.shm->users);
        CHECK_INT(s, SKL_LD(w.t.shards[s].row_free) / w.t.shm->rows);
    }
    (void)munmap(w.live, w.bytes);
}

TEST(every_shard_has_its_slots_and_they_suffice)
{
    const uint32_t sizes[] = {1, 2, 4096, 8191, 8192, 20000, 65536, 300000};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        check_shares(sizes[i]);
    }
}

TEST(random_ids_fill_the_whole_capacity_before_a_shard_is_full)
{
    enum { N = 65536 };
    static uint32_t count[SKL_SHARDS_MAX];

    new_world(1, N, N, N);
    memset(count, 0, sizeof(count));
    for (int i = 0; i < N; i++) {
        uint32_t s = skl_shard_of(&w.t, key_of(i));

        CHECK(s < w.t.shm->shards);
        count[s]++;
    }
    for (uint32_t s = 0; s < w.t.shm->shards; s++) {
        CHECK(count[s] <= w.t.shm->requests);
    }
}

/* ---- Sequences ----------------------------------------------------------- */

TEST(a_sequence_is_odd_within_a_change_also_after_a_death)
{
    _Atomic uint64_t seq = 0;
    uint64_t before = skl_seq_read(&seq);

    CHECK(skl_seq_same(&seq, before));
    skl_seq_begin(&seq);
    CHECK(!skl_seq_same(&seq, before));
    CHECK(!skl_seq_same(&seq, skl_seq_read(&seq)));
    skl_seq_begin(&seq); /* the repair begins again */
    CHECK(!skl_seq_same(&seq, skl_seq_read(&seq)));
    skl_seq_end(&seq);
    CHECK(!skl_seq_same(&seq, before));
    before = skl_seq_read(&seq);
    CHECK_INT(0, before % 2);
    CHECK(skl_seq_same(&seq, before));
    skl_seq_end(&seq); /* a change that was never begun: still another one */
    CHECK(!skl_seq_same(&seq, before));
    CHECK(skl_seq_same(&seq, skl_seq_read(&seq)));
}

TAP_MAIN()
