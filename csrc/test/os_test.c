/* System calls in one place: results, refusals, and the fault hook. */
#include "base/os.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>

static char asked[256];

static int fail_all(const char *call)
{
    (void)snprintf(asked, sizeof(asked), "%s", call);
    return EDOM;
}

#define FAILS(name, call)                                                      \
    do {                                                                       \
        asked[0] = '\0';                                                       \
        CHECK_INT(-EDOM, call);                                                \
        CHECK_STR(name, asked);                                                \
    } while (0)

TEST(every_call_can_be_made_to_fail)
{
    struct stat st;
    uint64_t bytes;
    char text[8];
    void *base;

    skl_os_fault = fail_all;
    FAILS("open", skl_os_open("/", O_RDONLY, 0));
    FAILS("open_source", skl_os_open_source("/"));
    FAILS("mkdir", skl_os_mkdir("/", 0700));
    FAILS("unlink", skl_os_unlink("/"));
    FAILS("rmdir", skl_os_rmdir("/"));
    FAILS("rename", skl_os_rename("/", "/"));
    FAILS("fstat", skl_os_fstat(0, &st));
    FAILS("lstat", skl_os_lstat("/", &st));
    FAILS("stat", skl_os_stat("/", &st));
    FAILS("fchown", skl_os_fchown(0, 0, 0));
    FAILS("allocate", skl_os_allocate(0, 1));
    FAILS("map", skl_os_map(0, 1, 0, &base));
    FAILS("lock_file", skl_os_lock_file(0));
    FAILS("random", skl_os_random(text, sizeof(text)));
    FAILS("open", skl_os_read_small("/", text, sizeof(text)));
    FAILS("statvfs", skl_os_free_bytes(0, &bytes));
    FAILS("list", skl_os_list("/", NULL, NULL));
    FAILS("open", skl_os_clear_dir("/"));
    FAILS("read", skl_os_read(0, text, sizeof(text)));
    FAILS("touch", skl_os_touch("/"));
    skl_os_fault = NULL;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    if (CHECK(f != NULL)) {
        (void)fputs(text, f);
        (void)fclose(f);
    }
}

TEST(open_follows_no_link_and_closes_on_exec)
{
    int fd;

    write_file(scratch_path("file"), "x");
    CHECK_INT(0, symlink("file", scratch_path("link")));
    CHECK_INT(-ELOOP, skl_os_open(scratch_path("link"), O_RDONLY, 0));
    CHECK_INT(-ENOENT, skl_os_open(scratch_path("none"), O_RDONLY, 0));
    fd = skl_os_open(scratch_path("file"), O_RDONLY, 0);
    REQUIRE(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_INT(0, skl_os_close(fd));
    fd = skl_os_open_source(scratch_path("link"));
    REQUIRE(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_INT(0, skl_os_close(fd));
    CHECK_INT(0, skl_os_unlink(scratch_path("link")));
    CHECK_INT(0, skl_os_unlink(scratch_path("file")));
    CHECK_INT(-ENOENT, skl_os_unlink(scratch_path("file")));
}

TEST(a_fifo_as_source_does_not_wait_for_a_writer)
{
    char c;
    int fd;

    CHECK_INT(0, mkfifo(scratch_path("fifo"), 0600));
    fd = skl_os_open_source(scratch_path("fifo"));
    REQUIRE(fd >= 0);
    CHECK_INT(0, skl_os_read(fd, &c, 1));
    CHECK_INT(0, skl_os_close(fd));
    CHECK_INT(0, unlink(scratch_path("fifo")));
}

TEST(a_small_file_is_read_cut_and_terminated)
{
    char out[5];

    write_file(scratch_path("small"), "abcdefgh");
    CHECK_INT(4, skl_os_read_small(scratch_path("small"), out, sizeof(out)));
    CHECK_STR("abcd", out);
    write_file(scratch_path("small"), "");
    CHECK_INT(0, skl_os_read_small(scratch_path("small"), out, sizeof(out)));
    CHECK_STR("", out);
    CHECK_INT(-EISDIR, skl_os_read_small("/", out, sizeof(out)));
    CHECK_INT(-ENOENT,
              skl_os_read_small(scratch_path("none"), out, sizeof(out)));
    CHECK_INT(0, unlink(scratch_path("small")));
}

TEST(space_is_allocated_and_mapped_for_all)
{
    const char *path = scratch_path("space");
    int fd = skl_os_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    struct stat st;
    uint64_t bytes = 0;
    char *a, *b;

    REQUIRE(fd >= 0);
    CHECK_INT(-EEXIST, skl_os_open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
    CHECK_INT(0, skl_os_allocate(fd, 8192));
    CHECK_INT(0, skl_os_fstat(fd, &st));
    CHECK_INT(8192, st.st_size);
    CHECK(st.st_blocks * 512 >= 8192);
    CHECK_INT(0, skl_os_free_bytes(fd, &bytes));
    CHECK(bytes > 0);
    REQUIRE(skl_os_map(fd, 8192, 1, (void **)&a) == 0);
    REQUIRE(skl_os_map(fd, 8192, 0, (void **)&b) == 0);
    CHECK_INT(0, skl_os_close(fd));
    a[8191] = 'x';
    CHECK_INT('x', b[8191]);
    CHECK_INT(0, skl_os_unmap(a, 8192));
    CHECK_INT(0, skl_os_unmap(b, 8192));
    CHECK_INT(-EBADF, skl_os_map(fd, 8192, 0, (void **)&a));
    CHECK_INT(0, unlink(path));
}

TEST(random_bytes_are_not_the_same_twice)
{
    char a[32] = "", b[32] = "";

    CHECK_INT(0, skl_os_random(a, sizeof(a)));
    CHECK_INT(0, skl_os_random(b, sizeof(b)));
    CHECK(memcmp(a, b, sizeof(a)) != 0);
}

static void count(void *ctx, const char *name)
{
    int *n = ctx;

    CHECK(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
    (*n)++;
}

TEST(a_directory_is_listed_and_cleared_but_never_through_a_link)
{
    char path[320];
    int n = 0;

    CHECK_INT(0, skl_os_mkdir(scratch_path("dir"), 0700));
    CHECK_INT(-EEXIST, skl_os_mkdir(scratch_path("dir"), 0700));
    CHECK_INT(0, symlink("dir", scratch_path("alias")));
    for (int i = 0; i < 300; i++) {
        (void)snprintf(path, sizeof(path), "%s/%d", scratch_path("dir"), i);
        write_file(path, "");
    }
    CHECK_INT(0, skl_os_list(scratch_path("dir"), count, &n));
    CHECK_INT(300, n);
    CHECK(skl_os_clear_dir(scratch_path("alias")) < 0);
    CHECK_INT(-ENOTEMPTY, skl_os_rmdir(scratch_path("dir")));
    CHECK_INT(300, skl_os_clear_dir(scratch_path("dir")));
    CHECK_INT(0, skl_os_clear_dir(scratch_path("dir")));
    CHECK_INT(0, skl_os_rmdir(scratch_path("dir")));
    CHECK_INT(-ENOENT, skl_os_clear_dir(scratch_path("dir")));
    CHECK_INT(-ENOENT, skl_os_list(scratch_path("dir"), count, &n));
    CHECK_INT(0, unlink(scratch_path("alias")));
}

TEST(users_are_found_by_name)
{
    uid_t uid = 99;
    gid_t gid = 99;

    CHECK_INT(0, skl_os_user("root", &uid, &gid));
    CHECK_INT(0, uid);
    CHECK_INT(0, gid);
    CHECK_INT(-ENOENT, skl_os_user("no-such-user-x", &uid, &gid));
}

static int lock_and_die(void *arg)
{
    int fd = skl_os_open(arg, O_RDWR, 0);

    return fd >= 0 && skl_os_lock_file(fd) == 0 ? 0 : 1;
}

TEST(a_file_lock_ends_with_its_holder)
{
    char *path = strdup(scratch_path("lock"));
    int fd;

    write_file(path, "");
    CHECK_INT(0, scratch_run(lock_and_die, path));
    fd = skl_os_open(path, O_RDWR, 0);
    CHECK_INT(0, skl_os_lock_file(fd));
    CHECK_INT(0, skl_os_lock_file(fd));
    CHECK_INT(0, skl_os_close(fd));
    CHECK_INT(0, scratch_run(lock_and_die, path));
    CHECK_INT(-EBADF, skl_os_lock_file(fd));
    CHECK_INT(0, unlink(path));
    free(path);
}

TEST(touch_moves_the_times_of_a_link_not_of_its_target)
{
    struct stat before, after;

    write_file(scratch_path("target"), "");
    CHECK_INT(0, symlink("target", scratch_path("link")));
    CHECK_INT(0, skl_os_stat(scratch_path("link"), &before));
    CHECK(S_ISREG(before.st_mode));
    CHECK_INT(0, skl_os_touch(scratch_path("link")));
    CHECK_INT(0, skl_os_stat(scratch_path("link"), &after));
    CHECK_INT(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    CHECK_INT(0, skl_os_lstat(scratch_path("link"), &after));
    CHECK(S_ISLNK(after.st_mode));
    CHECK_INT(0, skl_os_rename(scratch_path("link"), scratch_path("new")));
    CHECK_INT(-ENOENT, skl_os_touch(scratch_path("link")));
    CHECK_INT(0, unlink(scratch_path("new")));
    CHECK_INT(0, unlink(scratch_path("target")));
}

TEST(a_pause_ends)
{
    skl_os_pause(0);
    skl_os_pause(1000);
}

TAP_MAIN()
