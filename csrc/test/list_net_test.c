/*
 * Where lists of networks meet the rest of the lists: networks added and
 * removed by hand in batches, in the log of the overlay, in memory that is
 * lost; and that a file which says the same takes none of them away.
 */
#include "acl/overlay_record.h"
#include "base/crc32c.h"
#include "io/list_file.h"
#include "test/support/lists.h"
#include "test/support/stepper.h"

#define NS 1000000000LL

static void begin(lists_t *p, int with_log)
{
    lists_begin(p, with_log, 64);
    p->kind = SECKILL_LIST_IP;
}

static seckill_list_change_t change(uint32_t op, const char *value)
{
    return (seckill_list_change_t){
        .value = value, .value_len = (uint32_t)strlen(value), .op = op};
}

/* ---- Batches ------------------------------------------------------------- */

TEST(a_bad_network_refuses_the_whole_batch)
{
    const char *const bad[] = {"10.0.0.1/8",        "10.0.0.0/33", "bot",
                               "10.0.0.1-10.0.0.2", "010.0.0.1",   "10.0.0.0/",
                               "10.0.0.0/8 ",       "1::2::3"};
    seckill_list_change_t c[3] = {change(SECKILL_LIST_ADD, "10.0.0.0/8"),
                                  change(SECKILL_LIST_ADD, ""),
                                  change(SECKILL_LIST_ADD, "192.0.2.1")};
    uint32_t at;
    lists_t p;

    begin(&p, 0);
    CHECK_INT(0, lists_open_bare(&p));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (uint32_t op = SECKILL_LIST_ADD; op <= SECKILL_LIST_REMOVE; op++) {
            c[1] = change(op, bad[i]);
            at = 9;
            CHECK_INT(SECKILL_EBADVALUE,
                      seckill_list_apply(p.list, c, 3, 7, 0, &at));
            CHECK_INT(1, at);
        }
        CHECK_INT(SECKILL_EBADVALUE, lists_add(&p, bad[i], 0));
        CHECK_INT(SECKILL_EBADVALUE, lists_remove(&p, bad[i]));
    }
    CHECK_INT(0, lists_stats(&p).overlay);
    CHECK_INT(0, lists_stats(&p).revision);
    CHECK_INT(0, lists_match(&p, "10.1.2.3"));
    CHECK_INT(0, lists_match(&p, "192.0.2.1"));
    c[1] = change(SECKILL_LIST_ADD, "[2001:db8::1]");
    CHECK_INT(0, seckill_list_apply(p.list, c, 3, 7, 0, &at));
    CHECK_INT(1, lists_match(&p, "10.1.2.3"));
    CHECK_INT(1, lists_match(&p, "2001:db8::1"));
    CHECK_INT(3, lists_stats(&p).overlay);
    lists_lose(&p);
}

/* Without a file a removal stays where a wider network was added, be it by the
 * same batch, and is nothing where there is none. */
TEST(a_removal_stays_inside_an_added_network)
{
    seckill_list_change_t c[2] = {change(SECKILL_LIST_ADD, "10.0.0.0/8"),
                                  change(SECKILL_LIST_REMOVE, "10.1.0.0/16")};
    uint32_t at;
    lists_t p;

    begin(&p, 0);
    CHECK_INT(0, lists_open_bare(&p));
    CHECK_INT(0, lists_remove(&p, "10.1.0.0/16"));
    CHECK_INT(0, lists_stats(&p).overlay);
    CHECK_INT(0, seckill_list_apply(p.list, c, 2, 0, 0, &at));
    CHECK_INT(2, lists_stats(&p).overlay);
    CHECK_INT(1, lists_match(&p, "10.2.0.1"));
    CHECK_INT(0, lists_match(&p, "10.1.0.1"));
    CHECK_INT(0, lists_match(&p, "::ffff:10.1.0.1"));
    CHECK_INT(0, lists_add(&p, "10.1.2.3", 0));
    CHECK_INT(1, lists_match(&p, "10.1.2.3"));
    CHECK_INT(SECKILL_EBADVALUE, lists_match(&p, "10.1.2"));
    lists_lose(&p);
}

/* ---- The log ------------------------------------------------------------- */

static void check_restored(lists_t *p)
{
    CHECK_INT(1, lists_match(p, "198.51.100.7"));
    CHECK_INT(0, lists_match(p, "198.51.100.70"));
    CHECK_INT(1, lists_match(p, "2001:db8:1::1"));
    CHECK_INT(1, lists_match(p, "203.0.113.9"));
    CHECK_INT(1, lists_match(p, "10.1.2.3"));
    CHECK_INT(2, lists_match(p, "10.9.0.1"));
    CHECK_INT(0, lists_match(p, "10.8.0.1"));
    CHECK_INT(6, lists_stats(p).overlay);
    CHECK_INT(0, lists_stats(p).overlay_unusable);
    CHECK_INT(41, lists_stats(p).revision);
}

TEST(networks_outlive_their_memory)
{
    seckill_list_change_t c[2] = {
        change(SECKILL_LIST_ADD, "203.0.113.0/28"),
        change(SECKILL_LIST_REMOVE, "198.51.100.64/26")};
    uint32_t at;
    lists_t p;

    begin(&p, 1);
    lists_text(&p, "10.0.0.0/8\n!10.9.0.0/16\n");
    CHECK_INT(0, lists_open(&p));
    CHECK_INT(0, lists_start(&p));
    CHECK_INT(0, lists_add(&p, "198.51.100.0/24", 0));
    CHECK_INT(0, lists_add(&p, "2001:db8::/32", 3600 * NS));
    CHECK_INT(0, lists_remove(&p, "10.0.0.0/8"));
    CHECK_INT(0, lists_add(&p, "10.1.2.0/23", 0));
    CHECK_INT(0, seckill_list_apply(p.list, c, 2, 41, 0, &at));
    check_restored(&p);
    CHECK(lists_saved(&p));
    for (int i = 0; i < 3; i++) { /* each time the log is written anew */
        seckill_stop(p.sk);
        lists_again(&p);
        CHECK_INT(0, lists_open(&p));
        check_restored(&p);
        CHECK_INT(0, lists_start(&p));
        CHECK_INT(0, lists_add(&p, "::/0", 0));
        CHECK_INT(0, lists_remove(&p, "::/0")); /* undoes the file's, if any */
        CHECK_INT(7, lists_stats(&p).overlay);
        CHECK_INT(1, lists_match(&p, "2001:db8:1::1"));
        CHECK_INT(0, lists_match(&p, "2001:db9::1"));
        CHECK_INT(0, lists_add(&p, "::/0", 1));
        while (lists_stats(&p).overlay != 6) { /* it is over, and swept */
            lists_pause();
        }
        CHECK(lists_saved(&p));
    }
    lists_lose(&p);
}

TEST(a_log_of_the_other_kind_is_put_aside)
{
    lists_t p;

    begin(&p, 1);
    CHECK_INT(0, lists_open_bare(&p));
    CHECK_INT(0, lists_start(&p));
    CHECK_INT(0, lists_add(&p, "10.0.0.0/8", 0));
    CHECK(lists_saved(&p));
    seckill_stop(p.sk);
    lists_again(&p);
    p.kind = SECKILL_LIST_ID;
    CHECK_INT(0, lists_open_bare(&p));
    CHECK_INT(0, lists_match(&p, "10.0.0.0/8"));
    CHECK_INT(0, lists_stats(&p).overlay);
    CHECK(lists_stats(&p).overlay_unusable > 0);
    lists_lose(&p);
}

static int take_length(void *ctx, const skl_overlay_change_t *c, int n)
{
    *(int *)ctx = n == 1 ? c->length : -1;
    return 0;
}

TEST(a_record_keeps_the_length_and_refuses_others)
{
    unsigned char head[SKL_OVERLAY_RECORD], bytes[SKL_OVERLAY_RECORD];
    static skl_overlay_reader_t r;
    uint32_t crc;
    int length;

    skl_overlay_head(7, head);
    for (uint16_t n = 0; n <= SKL_OVERLAY_LENGTHS; n++) {
        const skl_overlay_change_t c = {
            .fp = 1, .type = SKL_CHANGE_ENTRY, .length = n};

        length = -2;
        skl_overlay_encode(&c, bytes);
        skl_overlay_read_begin(&r, 7, take_length, &length);
        CHECK_INT(0, skl_overlay_read_record(&r, head));
        CHECK_INT(0, skl_overlay_read_record(&r, bytes));
        CHECK_INT(n, length);
        CHECK_INT(0, r.unusable);
    }
    /* One more, with the right checksum. */
    bytes[7]++; /* the upper byte of a word, on this machine */
    crc = skl_crc32c(0, bytes + 4, sizeof(bytes) - 4);
    memcpy(bytes, &crc, sizeof(crc));
    CHECK_INT(0, skl_overlay_read_record(&r, bytes));
    CHECK_INT(1, r.unusable);
}

/* ---- Killed -------------------------------------------------------------- */

#ifndef __SANITIZE_THREAD__ /* its steps are too many to be stepped through */
enum { LISTS = 2, CAPACITY = 16 };

static const skl_hash_key_t KEY = {3, 4};
static const char *const members[] = {"10.0.0.0/8", "2001:db8::/32",
                                      "192.0.2.1/32"};

static skl_prefix_t to_prefix(const char *entry)
{
    skl_prefix_t p = {0};
    skl_net_t net;

    CHECK(skl_net_parse_entry(entry, strlen(entry), &net) == NULL);
    CHECK(skl_net_single(&net, &p));
    return p;
}

/* Deny two; remove the third, which ends at once. */
static void item_of(void *ctx, uint32_t i, skl_overlay_item_t *out)
{
    skl_overlay_item_net(out, (const skl_prefix_t *)ctx + i);
    out->kind = i < 2 ? SKL_OVERLAY_DENY : SKL_OVERLAY_REMOVED;
    out->until_ns = i < 2 ? SKL_FOREVER : 1;
}

static skl_prefix_t prefixes[3];

static void run_batch(void *ctx)
{
    (void)skl_overlay_apply(ctx, 0, item_of, prefixes, 3, 3, 1);
}

/* A list's lengths are those of its slots. */
static int lengths_exact(const skl_overlay_t *o)
{
    uint32_t count[SKL_OVERLAY_LENGTHS] = {0};
    int same = 1;

    for (uint64_t i = 0; i < o->shm->slots; i++) {
        if (skl_overlay_kind(atomic_load(&o->table[i].state)) != 0) {
            count[atomic_load(&o->table[i].length) - 1]++;
        }
    }
    for (uint32_t n = 0; n < SKL_OVERLAY_LENGTHS; n++) {
        const uint64_t bits = atomic_load(&o->lengths[0].used[n / 64]);

        same &= count[n] == atomic_load(&o->lengths[0].count[n]);
        same &= (bits >> n % 64 & 1) == (count[n] > 0);
    }
    return same;
}

static int denied(const skl_overlay_t *o, const char *value)
{
    skl_overlay_hit_t hit;
    skl_addr_t a;

    CHECK(skl_net_parse_address(value, strlen(value), &a) == NULL);
    skl_overlay_find_net(o, 0, &a, &hit);
    return hit.kind == SKL_OVERLAY_DENY;
}

TEST(a_batch_of_networks_killed_at_any_instruction_is_whole_or_absent)
{
    const long stride = tap_full() ? 7 : 199;
    const skl_prefix_t other = to_prefix("172.16.0.0/12");
    int whole = 0, absent = 0, more = 1;
    const char *why;

    for (int i = 0; i < 3; i++) {
        prefixes[i] = to_prefix(members[i]);
    }
    for (long at = 0; more > 0; at += stride) {
        void *base = scratch_shared(skl_overlay_bytes(LISTS, CAPACITY));
        skl_overlay_t o;
        stepper_t st;
        int done;

        skl_overlay_init(base, LISTS, CAPACITY);
        skl_overlay_attach(&o, base, &KEY);
        CHECK_INT(0, skl_overlay_set_net(&o, 0, &prefixes[2], SKL_OVERLAY_DENY,
                                         SKL_FOREVER, 1));
        REQUIRE(stepper_start(&st, run_batch, &o, &why));
        more = stepper_run(&st, at);
        stepper_kill(&st);
        CHECK_INT(0, skl_overlay_set_net(&o, 0, &other, SKL_OVERLAY_DENY,
                                         SKL_FOREVER, 1)); /* takes it over */
        done = atomic_load(&o.lists[0].revision) == 3;
        CHECK_INT(done, denied(&o, "10.1.2.3"));
        CHECK_INT(done, denied(&o, "2001:db8::1"));
        CHECK_INT(!done, denied(&o, "192.0.2.1"));
        CHECK_INT(1, denied(&o, "172.16.9.9"));
        CHECK(lengths_exact(&o));
        whole += done;
        absent += !done;
        munmap(base, skl_overlay_bytes(LISTS, CAPACITY));
    }
    printf("# %d absent, %d whole\n", absent, whole);
    CHECK(absent > 3 && whole > 1);
}
#endif

/* ---- Merging ------------------------------------------------------------- */

static int64_t engine_now(void *sk)
{
    return seckill_now(sk);
}

/* The file denies the very networks that were added: the notes of a merge know
 * hashes, and a network of a file may be decided by others around it. */
TEST(networks_are_not_merged)
{
    skl_list_env_t env = {.now = engine_now};
    skl_list_merge_t *merge;
    skl_list_made_t made;
    skl_load_t *load;
    uint64_t word;
    lists_t p;

    begin(&p, 0);
    lists_text(&p, "10.0.0.0/8\n192.0.2.1\n");
    CHECK_INT(0, lists_open(&p));
    CHECK_INT(0, lists_add(&p, "10.0.0.0/8", 0));
    CHECK_INT(0, lists_add(&p, "192.0.2.1", 0));
    CHECK_INT(0, lists_remove(&p, "198.51.100.1"));
    env.segment = &p.sk->segment;
    env.lists = &p.sk->lists;
    env.ctx = p.sk;
    CHECK_INT(0, skl_load_begin(&env, p.list, SKL_LOAD_MERGE, NS, &load, p.err,
                                sizeof(p.err)));
    skl_load_make(load, &made);
    merge = skl_load_take_merge(load, &word);
    CHECK(merge == NULL);
    CHECK_INT(0, skl_load_end(load, &made, p.err, sizeof(p.err)));
    CHECK_INT(3, lists_stats(&p).overlay);
    lists_text(&p, "203.0.113.1\n");
    CHECK_INT(0, lists_reload(&p));
    CHECK_INT(1, lists_match(&p, "10.1.2.3"));
    CHECK_INT(1, lists_match(&p, "192.0.2.1"));
    lists_lose(&p);
}

TAP_MAIN()
