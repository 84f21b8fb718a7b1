/*
 * The segment file: made once, whole or not at all, by whoever comes first;
 * refused when it is not what it should be. Every system call of an opening
 * fails once, and every opening dies once at each of them.
 */
#include "base/os.h"
#include "seckill.h"
#include "shm/segment.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>

enum { SECTION = 8192, OTHER_UID = 1234 };

static char err[512];
static skl_segment_t seg;
static const skl_config_t any;

static void sizes(const skl_config_t *config, uint64_t *out)
{
    for (int i = 0; i < SKL_SECTION_COUNT; i++) {
        out[i] = SECTION + (uint64_t)i * 100 + config->items;
    }
}

static void fill(skl_header_t *h)
{
    for (int i = 0; i < SKL_SECTION_COUNT; i++) {
        memset(skl_section(h, i), 'a' + i, h->size[i]);
    }
}

static const skl_layout_t layout = {
    .signature = 0x1234, .sizes = sizes, .init = fill};

static int open_as(const char *name, const skl_config_t *want, const char *user)
{
    err[0] = '\0';
    return skl_segment_open(&seg, name, scratch_dir(), user, want, &layout, err,
                            sizeof(err));
}

static int open_it(const char *name)
{
    return open_as(name, &any, NULL);
}

static void unmap(void)
{
    if (seg.header != NULL) {
        (void)munmap(seg.header, seg.header->bytes);
        seg.header = NULL;
    }
}

static const char *path_of(const char *name)
{
    char file[64];

    (void)snprintf(file, sizeof(file), "seckill.%s", name);
    return scratch_path(file);
}

static int says(const char *text)
{
    if (strstr(err, text) == NULL) {
        printf("# says: %s\n", err);
        return 0;
    }
    return 1;
}

/* The sections of the open segment are there and filled. */
static int is_whole(void)
{
    const skl_header_t *h = seg.header;
    int good = h != NULL && atomic_load(&h->ready) == 1;

    for (int i = 0; good && i < SKL_SECTION_COUNT; i++) {
        const char *p = skl_section(h, i);

        good = h->offset[i] % 4096 == 0 && p[0] == 'a' + i &&
               p[h->size[i] - 1] == 'a' + i;
    }
    return good;
}

static void destroy(const char *name)
{
    unmap();
    CHECK_INT(SECKILL_OK, skl_segment_destroy(name, scratch_dir()));
    CHECK_INT(0, scratch_entries(scratch_dir()));
}

/* ---- Names, options ------------------------------------------------------ */

TEST(names_have_1_to_32_of_some_characters)
{
    const char *const bad[] = {
        "",         "A",   "a b",
        "a/b",      "..",  "a.b",
        "\xc3\xa9", "a\n", "abcdefghijklmnopqrstuvwxyz0123456"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_INT(SECKILL_EBADNAME, open_it(bad[i]));
        CHECK(says("name: "));
        CHECK_INT(SECKILL_EBADNAME, skl_segment_destroy(bad[i], scratch_dir()));
    }
    CHECK_INT(0, scratch_entries(scratch_dir()));
    CHECK_INT(SECKILL_OK, open_it("abcdefghijklmnopqrstuvwxyz_-0123"));
    CHECK(is_whole());
    destroy("abcdefghijklmnopqrstuvwxyz_-0123");
}

TEST(a_directory_that_is_too_long_or_missing_is_named)
{
    char longer[400];

    memset(longer, 'x', sizeof(longer));
    longer[0] = '/';
    longer[sizeof(longer) - 1] = '\0';
    CHECK_INT(SECKILL_EBADOPTION,
              skl_segment_open(&seg, "a", longer, NULL, &any, &layout, err,
                               sizeof(err)));
    CHECK(says("shm_dir"));
    CHECK_INT(SECKILL_EBADOPTION, skl_segment_destroy("a", longer));
    CHECK_INT(SECKILL_EIO, skl_segment_open(&seg, "a", "/does-not-exist", NULL,
                                            &any, &layout, err, sizeof(err)));
    CHECK(says("/does-not-exist/seckill.a.d"));
    CHECK_INT(SECKILL_ENOTFOUND, skl_segment_destroy("a", "/does-not-exist"));
}

static void refuse_option(const skl_config_t *want, const char *name)
{
    CHECK_INT(SECKILL_EBADOPTION, open_as("opt", want, NULL));
    CHECK(strncmp(err, name, strlen(name)) == 0 && err[strlen(name)] == ':');
    CHECK(seg.header == NULL);
}

TEST(options_out_of_range_are_named)
{
    refuse_option(&(skl_config_t){.window_ns = 999999999}, "window");
    refuse_option(&(skl_config_t){.window_ns = -1}, "window");
    refuse_option(&(skl_config_t){.window_ns = INT64_MAX}, "window");
    refuse_option(&(skl_config_t){.request_ids = 4}, "request_ids");
    refuse_option(&(skl_config_t){.log_units = 32}, "capacity.log_units");
    refuse_option(&(skl_config_t){.log_units = 100}, "capacity.log_units");
    refuse_option(&(skl_config_t){.log_units = 1U << 25}, "capacity.log_units");
#define MAX(field, max)                                                        \
    refuse_option(&(skl_config_t){.field = (max) + 1U}, "capacity." #field);   \
    refuse_option(&(skl_config_t){.field = UINT32_MAX}, "capacity." #field);
    MAX(items, 1U << 20)
    MAX(reservations, 1U << 26)
    MAX(users, 1U << 26)
    MAX(requests, 1U << 26)
    MAX(limit_keys, 1U << 26)
    MAX(limiters, 1024)
    MAX(lists, 256)
    MAX(list_overlay, 1U << 20)
    MAX(permits, 1U << 20)
    MAX(breakers, 1024)
    MAX(shedders, 64)
#undef MAX
    CHECK_INT(0, scratch_entries(scratch_dir()));
}

TEST(defaults_fill_only_what_is_absent)
{
    skl_config_t c = {.items = 5, .log_units = 64};

    skl_config_defaults(&c);
    CHECK_INT(5, c.items);
    CHECK_INT(64, c.log_units);
    CHECK_INT(32768, c.reservations);
    CHECK_INT(3600000000000, c.window_ns);
    CHECK_INT(SECKILL_IDS_OPAQUE, c.request_ids);
}

/* ---- Create, attach ------------------------------------------------------ */

TEST(the_first_creates_the_second_attaches)
{
    skl_header_t *first;
    uint8_t uuid[16];
    struct stat st;

    CHECK_INT(SECKILL_OK, open_it("two"));
    REQUIRE(is_whole());
    CHECK_INT(1, seg.created);
    first = seg.header;
    memcpy(uuid, first->uuid, sizeof(uuid));
    CHECK_INT(256, first->config.items);
    CHECK_INT(0, stat(path_of("two"), &st));
    CHECK_INT(0600, st.st_mode & 0777);
    CHECK_INT(first->bytes, st.st_size);
    CHECK(st.st_blocks * 512 >= st.st_size); /* allocated, not sparse */
    CHECK_INT(0, stat(path_of("two.d"), &st));
    CHECK_INT(0700, st.st_mode & 0777);
    CHECK_INT(-1, access(path_of("two.new"), F_OK));
    CHECK_INT(SECKILL_OK, open_it("two"));
    REQUIRE(is_whole());
    CHECK_INT(0, seg.created);
    CHECK(seg.header != first);
    CHECK_MEM(uuid, seg.header->uuid, 16);
    memcpy(skl_section(first, SKL_SECTION_RING), "seen by both", 13);
    CHECK_STR("seen by both", skl_section(seg.header, SKL_SECTION_RING));
    (void)munmap(first, first->bytes);
    destroy("two");
}

TEST(two_lives_of_a_segment_differ)
{
    skl_header_t old;

    CHECK_INT(SECKILL_OK, open_it("life"));
    REQUIRE(is_whole());
    memcpy(&old, seg.header, sizeof(old));
    destroy("life");
    CHECK_INT(SECKILL_OK, open_it("life"));
    REQUIRE(is_whole());
    CHECK(memcmp(old.uuid, seg.header->uuid, 16) != 0);
    CHECK(memcmp(old.uuid, seg.header->uuid, sizeof(old.uuid)) != 0);
    CHECK(old.key.k0 != seg.header->key.k0);
    CHECK(old.key.k1 != seg.header->key.k1);
    CHECK(seg.header->key.k0 != seg.header->key.k1);
    destroy("life");
}

static void mismatch(const skl_config_t *want, const char *name)
{
    CHECK_INT(SECKILL_EMISMATCH, open_as("mis", want, NULL));
    CHECK(strncmp(err, name, strlen(name)) == 0 && err[strlen(name)] == ':');
    CHECK(seg.header == NULL);
}

TEST(each_option_that_differs_is_named)
{
    skl_config_t same;

    CHECK_INT(SECKILL_OK, open_it("mis"));
    REQUIRE(is_whole());
    same = seg.header->config;
    unmap();
    mismatch(&(skl_config_t){.window_ns = 2000000000}, "window");
    mismatch(&(skl_config_t){.request_ids = 2}, "request_ids");
    mismatch(&(skl_config_t){.items = 1}, "capacity.items");
    mismatch(&(skl_config_t){.reservations = 1}, "capacity.reservations");
    mismatch(&(skl_config_t){.users = 1}, "capacity.users");
    mismatch(&(skl_config_t){.requests = 1}, "capacity.requests");
    mismatch(&(skl_config_t){.limit_keys = 1}, "capacity.limit_keys");
    mismatch(&(skl_config_t){.limiters = 1}, "capacity.limiters");
    mismatch(&(skl_config_t){.breakers = 1}, "capacity.breakers");
    mismatch(&(skl_config_t){.shedders = 1}, "capacity.shedders");
    mismatch(&(skl_config_t){.lists = 1}, "capacity.lists");
    mismatch(&(skl_config_t){.list_overlay = 1}, "capacity.list_overlay");
    mismatch(&(skl_config_t){.log_units = 64}, "capacity.log_units");
    mismatch(&(skl_config_t){.permits = 1}, "capacity.permits");
    CHECK_INT(SECKILL_OK, open_as("mis", &same, NULL));
    CHECK_INT(0, seg.created);
    destroy("mis");
}

/* ---- Refused segments ---------------------------------------------------- */

/* Change the header of the segment file `name`. */
static void edit(const char *name, void (*change)(skl_header_t *))
{
    int fd = open(path_of(name), O_RDWR);
    skl_header_t *h =
        mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    (void)close(fd);
    if (CHECK(h != MAP_FAILED)) {
        change(h);
        (void)munmap(h, sizeof(*h));
    }
}

static void flip_signature(skl_header_t *h)
{
    h->signature ^= 1;
}

static void flip_magic(skl_header_t *h)
{
    h->magic ^= 1;
}

static void unready(skl_header_t *h)
{
    atomic_store(&h->ready, 0);
}

static void wrong_bytes(skl_header_t *h)
{
    h->bytes += 4096;
}

static void move_section(skl_header_t *h)
{
    h->offset[SKL_SECTION_RING] += 4096;
}

static void resize_section(skl_header_t *h)
{
    h->size[SKL_SECTION_STOCK] = UINT64_MAX;
}

static void other_capacity(skl_header_t *h)
{
    h->config.items = 1U << 20;
}

static void refused(const char *name, int rc)
{
    int fds = scratch_fds();

    CHECK_INT(rc, open_it(name));
    CHECK(seg.header == NULL);
    CHECK(says(name));
    CHECK_INT(fds, scratch_fds());
    CHECK(access(path_of(name), F_OK) == 0); /* never repaired silently */
}

TEST(another_layout_is_refused)
{
    void (*const changes[])(skl_header_t *) = {
        flip_signature, flip_magic,     unready,       wrong_bytes,
        move_section,   resize_section, other_capacity};

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        CHECK_INT(SECKILL_OK, open_it("lay"));
        unmap();
        edit("lay", changes[i]);
        refused("lay", SECKILL_ELAYOUT);
        CHECK(says("destroy('lay')"));
        destroy("lay");
    }
}

TEST(any_truncated_or_longer_file_is_refused)
{
    uint64_t bytes;

    CHECK_INT(SECKILL_OK, open_it("cut"));
    bytes = seg.header->bytes;
    unmap();
    CHECK_INT(0, truncate(path_of("cut"), (off_t)bytes + 4096));
    refused("cut", SECKILL_ELAYOUT);
    for (uint64_t size = bytes - 1; size > 4096; size -= 4096) {
        CHECK_INT(0, truncate(path_of("cut"), (off_t)size));
        refused("cut", SECKILL_ELAYOUT);
    }
    for (int size = 4095; size >= 0; size -= 585) {
        CHECK_INT(0, truncate(path_of("cut"), size));
        refused("cut", SECKILL_ELAYOUT);
    }
    destroy("cut");
}

TEST(what_is_no_private_file_is_refused)
{
    CHECK_INT(SECKILL_OK, open_it("mode"));
    unmap();
    CHECK_INT(0, chmod(path_of("mode"), 0640));
    refused("mode", SECKILL_ENOTOWNER);
    CHECK_INT(0, chmod(path_of("mode"), 0602));
    refused("mode", SECKILL_ENOTOWNER);
    CHECK_INT(0, chmod(path_of("mode"), 0600));
    CHECK_INT(0, chmod(path_of("mode.d"), 0755));
    refused("mode", SECKILL_ENOTOWNER);
    CHECK_INT(0, chmod(path_of("mode.d"), 0700));
    CHECK_INT(SECKILL_OK, open_it("mode"));
    unmap();
    CHECK_INT(0, rename(path_of("mode"), path_of("x")));
    CHECK_INT(0, symlink(path_of("x"), path_of("mode")));
    refused("mode", SECKILL_ENOTOWNER);
    CHECK_INT(0, unlink(path_of("mode")));
    CHECK_INT(0, mkfifo(path_of("mode"), 0600));
    refused("mode", SECKILL_ENOTOWNER);
    CHECK_INT(0, unlink(path_of("x")));
    destroy("mode");
}

TEST(a_directory_that_is_a_link_is_refused_and_never_emptied)
{
    CHECK_INT(0, mkdir(scratch_path("victim"), 0700));
    CHECK_INT(0, close(creat(scratch_path("victim/file"), 0600)));
    CHECK_INT(0, symlink(scratch_path("victim"), path_of("link.d")));
    CHECK_INT(SECKILL_ENOTOWNER, open_it("link"));
    CHECK(says("link.d"));
    CHECK_INT(-1, access(scratch_path("victim/lock"), F_OK));
    (void)skl_segment_destroy("link", scratch_dir());
    CHECK_INT(0, access(scratch_path("victim/file"), F_OK));
    CHECK_INT(0, unlink(scratch_path("victim/file")));
    CHECK_INT(0, rmdir(scratch_path("victim")));
    (void)unlink(path_of("link.d"));
    CHECK_INT(0, scratch_entries(scratch_dir()));
}

static void other_boot(skl_header_t *h)
{
    h->boot_id[0] = 'x'; /* not a hexadecimal digit */
}

TEST(a_segment_of_an_earlier_boot_is_made_anew)
{
    uint8_t uuid[16];

    CHECK_INT(SECKILL_OK, open_it("boot"));
    memcpy(uuid, seg.header->uuid, 16);
    unmap();
    edit("boot", other_boot);
    CHECK_INT(SECKILL_OK, open_as("boot", &(skl_config_t){.items = 3}, NULL));
    REQUIRE(is_whole());
    CHECK_INT(1, seg.created);
    CHECK(memcmp(uuid, seg.header->uuid, 16) != 0);
    CHECK_INT(3, seg.header->config.items);
    destroy("boot");
}

/* ---- Users: as root ------------------------------------------------------ */

static int is_root(void)
{
    if (geteuid() != 0) {
        printf("# not root: other users are tested as root only\n");
    }
    return geteuid() == 0;
}

TEST(a_segment_of_somebody_else_is_refused)
{
    if (!is_root()) {
        return;
    }
    CHECK_INT(SECKILL_OK, open_it("own"));
    unmap();
    CHECK_INT(0, chown(path_of("own"), OTHER_UID, OTHER_UID));
    refused("own", SECKILL_ENOTOWNER);
    CHECK(says("uid 1234"));
    CHECK_INT(0, chown(path_of("own"), 0, 0));
    CHECK_INT(0, chown(path_of("own.d"), OTHER_UID, OTHER_UID));
    refused("own", SECKILL_ENOTOWNER);
    CHECK(says("own.d"));
    destroy("own");
}

static int become(uid_t uid, gid_t gid)
{
    return setgid(gid) == 0 && setuid(uid) == 0;
}

static int open_as_other(void *arg)
{
    const char *user = arg;

    if (!become(OTHER_UID, OTHER_UID)) {
        return 100;
    }
    switch (open_as("usr", &any, user)) {
    case SECKILL_OK:
        return seg.created ? 1 : 0;
    case SECKILL_ENOTOWNER:
        return says(user != NULL ? "only root" : "seckill.usr") ? 2 : 101;
    default:
        return 102;
    }
}

static int destroy_as_other(void *arg)
{
    (void)arg;
    return become(OTHER_UID, OTHER_UID) &&
                   skl_segment_destroy("usr", scratch_dir()) ==
                       SECKILL_ENOTOWNER
               ? 0
               : 1;
}

TEST(another_user_gets_neither_the_segment_nor_a_way_to_remove_it)
{
    char root[] = "root";

    if (!is_root()) {
        return;
    }
    CHECK_INT(SECKILL_OK, open_it("usr"));
    CHECK_INT(2, scratch_run(open_as_other, NULL));
    CHECK_INT(2, scratch_run(open_as_other, root));
    CHECK_INT(0, scratch_run(destroy_as_other, NULL));
    CHECK(access(path_of("usr"), F_OK) == 0);
    destroy("usr");
    CHECK_INT(1, scratch_run(open_as_other, NULL));
    CHECK_INT(SECKILL_ENOTOWNER, open_it("usr")); /* root says for whom */
    CHECK(says("option user"));
    destroy("usr");
}

static int attach_as_nobody(void *arg)
{
    const struct passwd *pw = arg;

    return become(pw->pw_uid, pw->pw_gid) && open_it("nob") == SECKILL_OK &&
                   !seg.created && is_whole()
               ? 0
               : 1;
}

TEST(the_option_user_makes_the_files_that_users)
{
    struct passwd *pw = getpwnam("nobody");
    struct stat st;

    CHECK_INT(SECKILL_EUNKNOWNUSER, open_as("nob", &any, "no-such-user-x"));
    CHECK(says("no-such-user-x"));
    if (!is_root()) {
        return;
    }
    REQUIRE(pw != NULL);
    CHECK_INT(SECKILL_OK, open_as("nob", &any, "nobody"));
    CHECK_INT(pw->pw_uid, seg.owner);
    unmap();
    CHECK_INT(0, stat(path_of("nob"), &st));
    CHECK_INT(pw->pw_uid, st.st_uid);
    CHECK_INT(pw->pw_gid, st.st_gid);
    CHECK_INT(0600, st.st_mode & 0777);
    CHECK_INT(0, stat(path_of("nob.d"), &st));
    CHECK_INT(pw->pw_uid, st.st_uid);
    CHECK_INT(0, stat(path_of("nob.d/lock"), &st));
    CHECK_INT(pw->pw_uid, st.st_uid);
    CHECK_INT(0, scratch_run(attach_as_nobody, pw));
    CHECK_INT(SECKILL_OK, open_as("nob", &any, "nobody"));
    CHECK_INT(0, seg.created);
    destroy("nob");
}

static int make_own_dir(void *arg)
{
    char dir[SKL_PATH_MAX], want[SKL_PATH_MAX];
    struct stat st;

    (void)arg;
    if (!become(OTHER_UID, OTHER_UID) ||
        skl_segment_dir(&seg, dir, sizeof(dir)) != SECKILL_OK) {
        return 1;
    }
    skl_segment_dir_of(&seg, OTHER_UID, want, sizeof(want));
    return strcmp(dir, want) == 0 && stat(dir, &st) == 0 &&
                   st.st_uid == OTHER_UID && (st.st_mode & 0777) == 0700
               ? close(creat(path_of("dirs.d.1234/socket"), 0600))
               : 2;
}

TEST(processes_of_other_users_have_a_directory_of_their_own)
{
    char dir[SKL_PATH_MAX];

    CHECK_INT(SECKILL_OK, open_it("dirs"));
    CHECK_INT(SECKILL_OK, skl_segment_dir(&seg, dir, sizeof(dir)));
    CHECK_STR(path_of("dirs.d"), dir);
    if (is_root()) {
        CHECK_INT(0, scratch_run(make_own_dir, NULL));
        CHECK_INT(0, access(path_of("dirs.d.1234/socket"), F_OK));
    }
    destroy("dirs"); /* and its file */
}

/* ---- Space --------------------------------------------------------------- */

static int fail_allocate(const char *call)
{
    return strcmp(call, "allocate") == 0 ? ENOSPC : 0;
}

TEST(no_space_names_needed_and_available_bytes)
{
    unsigned long long needed = 0, available = 0;
    const char *at;

    skl_os_fault = fail_allocate;
    CHECK_INT(SECKILL_ENOSPACE, open_it("full"));
    skl_os_fault = NULL;
    at = strstr(err, "needs ");
    REQUIRE(at != NULL);
    CHECK_INT(2, sscanf(at, "needs %llu bytes, available are %llu", &needed,
                        &available));
    CHECK(needed >= SKL_SECTION_COUNT * SECTION);
    CHECK(available > 0);
    CHECK(says(scratch_dir()));
    CHECK_INT(0, scratch_entries(scratch_dir()));
    CHECK_INT(SECKILL_OK, open_it("full"));
    CHECK_INT(needed, seg.header->bytes);
    destroy("full");
}

/* A real file system of 20 KiB, in a mount namespace of its own. */
static int open_on_small_tmpfs(void *arg)
{
    unsigned long long needed = 0, available = 0;
    const char *dir = scratch_dir();
    const char *at;

    (void)arg;
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", dir, "tmpfs", 0, "size=20k,mode=1777") != 0) {
        return 77;
    }
    if (open_it("small") != SECKILL_ENOSPACE) {
        return 1;
    }
    at = strstr(err, "needs ");
    if (at == NULL || sscanf(at, "needs %llu bytes, available are %llu",
                             &needed, &available) != 2) {
        return 2;
    }
    if (needed <= available || available > 20480) {
        return 3;
    }
    if (scratch_entries(dir) != 0) {
        return 4;
    }
    return umount(dir) == 0 ? 0 : 5;
}

TEST(a_file_system_that_is_too_small_is_an_error_not_a_signal)
{
    int status = scratch_run(open_on_small_tmpfs, NULL);

    if (status == 77) {
        printf("# no mount namespace: only the injected error was tested\n");
        return;
    }
    CHECK_INT(0, status);
}

/* ---- Every call fails once, every opening dies once at each call --------- */

static struct {
    int at, seen, dies;
    char call[32];
} plan;

static int fail_at(const char *call)
{
    if (plan.seen++ != plan.at) {
        return 0;
    }
    if (plan.dies) {
        _exit(9);
    }
    (void)snprintf(plan.call, sizeof(plan.call), "%s", call);
    return EMFILE;
}

static int count_calls(int (*act)(const char *), const char *name)
{
    plan.at = -1;
    plan.seen = 0;
    skl_os_fault = fail_at;
    CHECK_INT(SECKILL_OK, act(name));
    skl_os_fault = NULL;
    return plan.seen;
}

/* Calls whose failure changes nothing, and is not reported therefore. */
static int is_optional(const char *call)
{
    return strcmp(call, "unlink") == 0;
}

static void fail_each(int exists)
{
    int fds = scratch_fds();
    int calls;

    if (exists) {
        CHECK_INT(SECKILL_OK, open_it("each"));
        unmap();
    }
    calls = count_calls(open_it, "each");
    CHECK(calls > 5);
    for (int i = 0; i < calls; i++) {
        int rc;

        unmap();
        if (!exists) {
            (void)skl_segment_destroy("each", scratch_dir());
        }
        plan.at = i;
        plan.seen = 0;
        skl_os_fault = fail_at;
        rc = open_it("each");
        skl_os_fault = NULL;
        if (rc == SECKILL_OK) {
            CHECK(is_optional(plan.call) || (exists && is_whole()));
        } else {
            CHECK(seg.header == NULL);
            CHECK(strlen(err) > 0);
            CHECK(access(path_of("each.new"), F_OK) != 0);
            CHECK_INT(exists, access(path_of("each"), F_OK) == 0);
            CHECK(scratch_entries(scratch_dir()) <= 1 + exists);
        }
        unmap();
        CHECK_INT(fds, scratch_fds());
        CHECK_INT(SECKILL_OK, open_it("each"));
        CHECK(is_whole());
    }
    printf("# %d calls failed\n", calls);
    destroy("each");
}

TEST(each_call_of_a_creation_may_fail)
{
    fail_each(0);
}

TEST(each_call_of_an_attachment_may_fail)
{
    fail_each(1);
}

static int die_at(void *arg)
{
    plan.at = *(const int *)arg;
    plan.seen = 0;
    plan.dies = 1;
    skl_os_fault = fail_at;
    return open_it("dead") == SECKILL_OK ? 0 : 1;
}

TEST(an_opener_may_die_at_each_call)
{
    int calls = count_calls(open_it, "dead");

    for (int i = 0; i < calls; i++) {
        unmap();
        (void)skl_segment_destroy("dead", scratch_dir());
        CHECK_INT(9, scratch_run(die_at, &i));
        CHECK_INT(SECKILL_OK, open_it("dead"));
        CHECK(is_whole());
        CHECK_INT(2, scratch_entries(scratch_dir()));
    }
    destroy("dead");
}

TEST(what_a_dead_opener_left_can_be_destroyed)
{
    int calls = count_calls(open_it, "dead");

    destroy("dead");
    for (int i = 0; i < calls; i++) {
        int rc;

        CHECK_INT(9, scratch_run(die_at, &i));
        rc = skl_segment_destroy("dead", scratch_dir());
        CHECK(rc == SECKILL_OK || (rc == SECKILL_ENOTFOUND && i == 0));
        CHECK_INT(0, scratch_entries(scratch_dir()));
    }
    CHECK_INT(SECKILL_ENOTFOUND, skl_segment_destroy("dead", scratch_dir()));
}

/* ---- Races --------------------------------------------------------------- */

enum { OPENERS = 8 };

typedef struct {
    _Atomic int ready, go;
    _Atomic int made;
    uint8_t uuid[OPENERS][16];
    _Atomic int next;
} race_t;

static int race_to_open(void *arg)
{
    race_t *r = arg;
    int n = atomic_fetch_add(&r->next, 1);

    atomic_fetch_add(&r->ready, 1);
    while (!atomic_load(&r->go)) {
        (void)sched_yield();
    }
    if (open_it("race") != SECKILL_OK || !is_whole()) {
        return 1;
    }
    atomic_fetch_add(&r->made, seg.created);
    memcpy(r->uuid[n], seg.header->uuid, 16);
    return 0;
}

static void start_race(race_t *r, int count, pid_t *pids, int (*fn)(void *))
{
    memset(r, 0, sizeof(*r));
    for (int i = 0; i < count; i++) {
        pids[i] = scratch_fork(fn, r);
    }
    while (atomic_load(&r->ready) < count) {
        (void)sched_yield();
    }
    atomic_store(&r->go, 1);
}

TEST(eight_openers_at_once_get_one_segment)
{
    race_t *r = scratch_shared(sizeof(*r));
    pid_t pids[OPENERS];

    for (int round = 0; round < (tap_full() ? 200 : 10); round++) {
        start_race(r, OPENERS, pids, race_to_open);
        for (int i = 0; i < OPENERS; i++) {
            CHECK_INT(0, scratch_wait(pids[i]));
        }
        CHECK_INT(1, atomic_load(&r->made));
        for (int i = 1; i < OPENERS; i++) {
            CHECK_MEM(r->uuid[0], r->uuid[i], 16);
        }
        destroy("race");
    }
}

static int open_and_destroy(void *arg)
{
    race_t *r = arg;

    atomic_fetch_add(&r->ready, 1);
    while (!atomic_load(&r->go)) {
        (void)sched_yield();
    }
    for (int i = 0; i < 100; i++) {
        int rc = open_it("race");

        if (rc != SECKILL_OK && rc != SECKILL_EBUSY) {
            (void)fprintf(stderr, "# %d %s\n", rc, err);
            return 1;
        }
        if (rc == SECKILL_OK && !is_whole()) {
            return 2;
        }
        unmap();
        rc = skl_segment_destroy("race", scratch_dir());
        if (rc != SECKILL_OK && rc != SECKILL_ENOTFOUND &&
            rc != SECKILL_EBUSY) { /* as open: on a busy machine */
            (void)fprintf(stderr, "# %d\n", rc);
            return 3;
        }
    }
    return 0;
}

TEST(opening_and_destroying_at_once_never_gives_half_a_segment)
{
    race_t *r = scratch_shared(sizeof(*r));
    pid_t pids[3];

    start_race(r, 3, pids, open_and_destroy);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(0, scratch_wait(pids[i]));
    }
    (void)skl_segment_destroy("race", scratch_dir());
    CHECK_INT(0, scratch_entries(scratch_dir()));
}

TAP_MAIN()
