/* Opening the engine: one handle for each name, shared by children, and what
 * the defaults cost. The files themselves: segment_test.c. */
#include "base/os.h"
#include "seckill.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

static char err[512];
/* Handles live as long as the process, also after destroy. */
static seckill_t *kept[64];
static int kept_count;

static seckill_options_t options_of(const char *name)
{
    seckill_options_t o = {.struct_size = sizeof(o),
                           .name = name,
                           .shm_dir = scratch_dir(),
                           .items = 4,
                           .reservations = 64,
                           .users = 64,
                           .requests = 64,
                           .limit_keys = 64,
                           .limiters = 4,
                           .lists = 2,
                           .list_overlay = 64,
                           .log_units = 256};

    return o;
}

static seckill_t *open_it(const char *name)
{
    seckill_options_t o = options_of(name);
    seckill_t *sk = NULL;

    CHECK_INT(SECKILL_OK, seckill_open(&o, &sk, err, sizeof(err)));
    CHECK_STR("", err);
    kept[kept_count++] = sk;
    return sk;
}

static void destroy(const char *name)
{
    CHECK_INT(SECKILL_OK, seckill_destroy(name, scratch_dir()));
    CHECK_INT(0, scratch_entries(scratch_dir()));
}

static int put(seckill_t *sk, const char *name, int64_t total)
{
    seckill_item_t i = {.struct_size = sizeof(i), .total = total, .version = 1};

    i.item_len = (uint32_t)strlen(name);
    memcpy(i.item, name, i.item_len);
    return seckill_put(sk, &i);
}

static int64_t available(seckill_t *sk, const char *name)
{
    seckill_item_t i = {.struct_size = sizeof(i)};
    int rc = seckill_get(sk, name, strlen(name), &i);

    return rc == SECKILL_OK ? i.available : rc;
}

static int reserve(seckill_t *sk, const char *request)
{
    seckill_reservation_t r;

    return seckill_reserve(sk, "shoe", 4, "user", 4, 1, request,
                           strlen(request), &r);
}

TEST(the_default_capacities_fit_in_40_mib)
{
    seckill_options_t o = {
        .struct_size = sizeof(o), .name = "defaults", .shm_dir = scratch_dir()};
    seckill_t *sk;

    REQUIRE(seckill_open(&o, &sk, err, sizeof(err)) == SECKILL_OK);
    kept[kept_count++] = sk;
    printf("# %llu bytes\n", (unsigned long long)seckill_segment_bytes(sk));
    CHECK(seckill_segment_bytes(sk) <= 40ULL << 20);
    seckill_get_options(sk, &o);
    CHECK_STR("defaults", o.name);
    CHECK_STR(scratch_dir(), o.shm_dir);
    CHECK_INT(256, o.items);
    CHECK_INT(1 << 15, o.reservations);
    CHECK_INT(1 << 16, o.users);
    CHECK_INT(1 << 16, o.requests);
    CHECK_INT(1 << 16, o.limit_keys);
    CHECK_INT(3600 * INT64_C(1000000000), o.window_ns);
    CHECK_INT(SECKILL_IDS_OPAQUE, o.request_ids);
    seckill_close(sk);
    destroy("defaults");
}

TEST(the_same_name_is_the_same_handle)
{
    seckill_t *a = open_it("same");
    seckill_t *b = open_it("same");
    seckill_t *c = open_it("other");
    seckill_options_t o = options_of("same");
    seckill_t *d, *none;

    CHECK(a != NULL && a == b);
    CHECK(a != c);
    o.items = 0; /* may be left out */
    CHECK_INT(SECKILL_OK, seckill_open(&o, &d, err, sizeof(err)));
    CHECK(d == a);
    o.items = 5;
    CHECK_INT(SECKILL_EMISMATCH, seckill_open(&o, &none, err, sizeof(err)));
    CHECK(none == NULL);
    CHECK(strncmp(err, "capacity.items:", 15) == 0);
    CHECK_INT(SECKILL_OK, put(a, "shoe", 10));
    CHECK_INT(10, available(b, "shoe"));
    CHECK_INT(SECKILL_EUNKNOWNITEM, available(c, "shoe"));
    seckill_close(a);
    CHECK_INT(10, available(b, "shoe"));
    seckill_close(b);
    seckill_close(d);
    CHECK(open_it("same") == a); /* the segment stays */
    CHECK_INT(10, available(a, "shoe"));
    seckill_close(a);
    seckill_close(c);
    CHECK_INT(SECKILL_OK, seckill_destroy("other", scratch_dir()));
    destroy("same");
}

TEST(struct_size_guards_the_options)
{
    seckill_options_t o = options_of("size");
    seckill_t *sk;

    o.struct_size = 8;
    CHECK_INT(SECKILL_EBADOPTION, seckill_open(&o, &sk, err, sizeof(err)));
    CHECK(strstr(err, "struct_size") != NULL);
    CHECK_INT(SECKILL_EBADOPTION, seckill_open(&o, &sk, NULL, 0));
    CHECK_INT(0, scratch_entries(scratch_dir()));
}

TEST(bad_names_and_options_say_so)
{
    seckill_options_t o = options_of("Bad Name");
    seckill_t *sk;

    CHECK_INT(SECKILL_EBADNAME, seckill_open(&o, &sk, err, sizeof(err)));
    CHECK(strncmp(err, "name:", 5) == 0);
    CHECK_INT(SECKILL_EBADNAME, seckill_open(&o, &sk, NULL, 0));
    o = options_of("opt");
    o.window_ns = 5;
    CHECK_INT(SECKILL_EBADOPTION, seckill_open(&o, &sk, err, sizeof(err)));
    CHECK(strncmp(err, "window:", 7) == 0);
    o = options_of("opt");
    o.user = "no-such-user-x";
    CHECK_INT(SECKILL_EUNKNOWNUSER, seckill_open(&o, &sk, err, sizeof(err)));
    CHECK_INT(SECKILL_ENOTFOUND, seckill_destroy("opt", scratch_dir()));
    CHECK_INT(SECKILL_EBADNAME, seckill_destroy("", scratch_dir()));
    CHECK_INT(0, scratch_entries(scratch_dir()));
}

static int use_inherited(void *arg)
{
    seckill_t *sk = arg;
    seckill_options_t o = options_of("fork");
    seckill_t *again;

    if (seckill_open(&o, &again, err, sizeof(err)) != SECKILL_OK) {
        return 1;
    }
    if (again != sk || available(sk, "shoe") != 10) {
        return 2;
    }
    return reserve(sk, "by-child") == SECKILL_OK ? 0 : 3;
}

TEST(a_child_uses_the_handle_of_its_parent)
{
    seckill_t *sk = open_it("fork");

    CHECK_INT(SECKILL_OK, put(sk, "shoe", 10));
    CHECK_INT(0, scratch_run(use_inherited, sk));
    CHECK_INT(9, available(sk, "shoe"));
    seckill_close(sk);
    destroy("fork");
}

/* The files may be gone, or of another user: the mapping is enough. */
static int use_as_nobody(void *arg)
{
    return setgid(1234) == 0 && setuid(1234) == 0 ? use_inherited(arg) : 4;
}

TEST(an_unprivileged_child_uses_the_mapping_of_root)
{
    seckill_t *sk;

    if (geteuid() != 0) {
        printf("# not root: nothing to give up\n");
        return;
    }
    sk = open_it("fork");
    CHECK_INT(SECKILL_OK, put(sk, "shoe", 10));
    CHECK_INT(0, scratch_run(use_as_nobody, sk));
    CHECK_INT(9, available(sk, "shoe"));
    seckill_close(sk);
    destroy("fork");
}

static int attach_anew(void *arg)
{
    seckill_options_t o = options_of("proc");
    seckill_t *sk;

    (void)arg;
    if (seckill_open(&o, &sk, err, sizeof(err)) != SECKILL_OK ||
        put(sk, "shoe", 10) != SECKILL_OK) {
        return 1;
    }
    return reserve(sk, "by-other") == SECKILL_OK ? 0 : 2;
}

TEST(another_process_has_the_same_segment)
{
    seckill_t *sk;

    CHECK_INT(0, scratch_run(attach_anew, NULL));
    sk = open_it("proc");
    CHECK_INT(9, available(sk, "shoe"));
    CHECK_INT(SECKILL_OK, reserve(sk, "by-other")); /* a replay */
    CHECK_INT(9, available(sk, "shoe"));
    seckill_close(sk);
    destroy("proc");
}

TEST(after_destroy_the_next_open_begins_anew)
{
    seckill_t *old = open_it("anew");
    seckill_t *young;

    CHECK_INT(SECKILL_OK, put(old, "shoe", 10));
    destroy("anew");
    CHECK_INT(SECKILL_ENOTFOUND, seckill_destroy("anew", scratch_dir()));
    young = open_it("anew");
    CHECK(young != old);
    CHECK_INT(SECKILL_EUNKNOWNITEM, available(young, "shoe"));
    CHECK_INT(10, available(old, "shoe")); /* who is attached goes on */
    CHECK_INT(9,
              reserve(old, "late") == SECKILL_OK ? available(old, "shoe") : -1);
    CHECK_INT(SECKILL_EUNKNOWNITEM, available(young, "shoe"));
    seckill_close(old);
    seckill_close(young);
    destroy("anew");
}

static int fail_allocate(const char *call)
{
    return strcmp(call, "allocate") == 0 ? 28 : 0; /* ENOSPC */
}

TEST(no_space_leaves_no_handle)
{
    seckill_options_t o = options_of("space");
    seckill_t *sk;

    skl_os_fault = fail_allocate;
    CHECK_INT(SECKILL_ENOSPACE, seckill_open(&o, &sk, err, sizeof(err)));
    skl_os_fault = NULL;
    CHECK(strstr(err, "needs ") != NULL);
    CHECK(strstr(err, "available") != NULL);
    CHECK_INT(0, scratch_entries(scratch_dir()));
    sk = open_it("space");
    CHECK_INT(SECKILL_OK, put(sk, "shoe", 1));
    seckill_close(sk);
    destroy("space");
}

TEST(the_clock_is_near_the_wall_and_can_be_set_for_tests)
{
    seckill_t *sk = open_it("clock");
    int64_t a = seckill_now(sk);
    int64_t b = seckill_now(sk);

    CHECK(b >= a);
    CHECK(a > INT64_C(1577836800) * 1000000000); /* 2020 */
    seckill_set_test_clock(sk, 12345);
    CHECK_INT(12345, seckill_now(sk));
    seckill_set_test_clock(sk, 0);
    CHECK(seckill_now(sk) >= b);
    seckill_close(sk);
    destroy("clock");
}

TAP_MAIN()
