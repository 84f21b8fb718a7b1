/*
 * The disk of the tests keeps its promises: what is synced stays, what is not
 * may go, faults hit the calls they are planned for. One thread.
 */
/* variants: rel asan */
#include "test/support/simdisk.h"
#include "test/support/tap.h"

#include <errno.h>

enum { BYTES = 4096 };

static simdisk_t *disk;
static skl_fs_t *fs;

static void begin(uint64_t seed)
{
    disk = simdisk_new(seed);
    fs = simdisk_fs(disk);
}

static void end(void)
{
    simdisk_free(disk);
    disk = NULL;
}

/* A file of one letter; the descriptor stays open. */
static int fill(const char *name, char letter)
{
    char bytes[BYTES];
    int fd = fs->open(fs, name, SKL_FS_CREATE);

    memset(bytes, letter, sizeof(bytes));
    CHECK(fd >= 0);
    CHECK_INT(0, skl_fs_write_all(fs, fd, bytes, sizeof(bytes), 0));
    return fd;
}

/* How many sectors of the file hold the letter; -1: there is no file. */
static int sectors(const char *name, char letter)
{
    char bytes[BYTES];
    ssize_t n = skl_fs_read_file(fs, name, bytes, sizeof(bytes));
    int count = 0;

    for (ssize_t i = 0; i + SIM_SECTOR <= n; i += SIM_SECTOR) {
        count += bytes[i] == letter && bytes[i + SIM_SECTOR - 1] == letter;
    }
    return n < 0 ? -1 : count;
}

TEST(synced_content_and_names_stay)
{
    begin(1);
    int fd = fill("a", 'x');

    CHECK_INT(0, fs->sync(fs, fd));
    CHECK_INT(0, fs->sync_dir(fs));
    CHECK_INT(0, (int)simdisk_pending(disk));
    simdisk_power_loss(disk, 0);
    CHECK_INT(BYTES / SIM_SECTOR, sectors("a", 'x'));
    end();
}

TEST(unsynced_content_and_names_may_go)
{
    begin(2);
    int fd = fill("a", 'x');

    (void)fill("b", 'x');
    CHECK_INT(0, fs->sync(fs, fd));
    simdisk_power_loss(disk, 0);
    CHECK_INT(-1, sectors("a", 'x'));
    CHECK_INT(-1, sectors("b", 'x'));
    (void)fill("c", 'x');
    CHECK_INT(0, fs->sync_dir(fs));
    simdisk_power_loss(disk, 0);
    CHECK_INT(0, sectors("c", 'x'));
    (void)fill("d", 'x');
    simdisk_power_loss(disk, 100);
    CHECK_INT(BYTES / SIM_SECTOR, sectors("d", 'x'));
    end();
}

TEST(a_write_tears_between_sectors)
{
    int torn = 0;

    for (uint64_t seed = 0; seed < 100; seed++) {
        int n;

        begin(seed);
        (void)fill("a", 'x');
        CHECK_INT(0, fs->sync_dir(fs));
        simdisk_power_loss(disk, 50);
        n = sectors("a", 'x');
        torn += n > 0 && n < BYTES / SIM_SECTOR;
        end();
    }
    CHECK(torn > 50);
}

TEST(a_renamed_file_is_old_or_new)
{
    int old_ones = 0, new_ones = 0;

    for (uint64_t seed = 0; seed < 100; seed++) {
        begin(seed);
        int fd = fill("a", 'x');

        CHECK_INT(0, fs->sync(fs, fd));
        CHECK_INT(0, fs->sync_dir(fs));
        fd = fill("b", 'y');
        CHECK_INT(0, fs->sync(fs, fd));
        CHECK_INT(0, fs->rename(fs, "b", "a"));
        simdisk_power_loss(disk, 50);
        old_ones += sectors("a", 'x') == BYTES / SIM_SECTOR;
        new_ones += sectors("a", 'y') == BYTES / SIM_SECTOR;
        end();
    }
    CHECK_INT(100, old_ones + new_ones);
    CHECK(old_ones > 10 && new_ones > 10);
}

TEST(a_process_crash_keeps_the_cache)
{
    begin(3);
    (void)fill("a", 'x');
    simdisk_process_crash(disk);
    CHECK_INT(BYTES / SIM_SECTOR, sectors("a", 'x'));
    CHECK_INT(2, (int)simdisk_pending(disk));
    simdisk_power_loss(disk, 0);
    CHECK_INT(-1, sectors("a", 'x'));
    end();
}

TEST(a_failed_sync_is_never_heard_of_again)
{
    int lost = 0, seen = 0;

    for (uint64_t seed = 0; seed < 100; seed++) {
        begin(seed);
        int fd = fill("a", 'x');

        CHECK_INT(0, fs->sync_dir(fs));
        simdisk_fault(disk, simdisk_calls(disk), SIM_EIO, 1);
        CHECK_INT(-EIO, fs->sync(fs, fd));
        CHECK_INT(0, fs->sync(fs, fd));
        seen += sectors("a", 'x') == BYTES / SIM_SECTOR;
        simdisk_power_loss(disk, 0);
        lost += sectors("a", 'x') < BYTES / SIM_SECTOR;
        end();
    }
    CHECK(lost > 50);
    CHECK(seen > 30 && seen < 90);
}

TEST(faults_hit_the_planned_call)
{
    char bytes[BYTES];

    begin(4);
    int fd = fill("a", 'x');
    ssize_t n;

    CHECK_INT(SIM_OPEN, simdisk_call_at(disk, 0));
    CHECK_INT(SIM_WRITE, simdisk_call_at(disk, 1));
    simdisk_fault(disk, simdisk_calls(disk), SIM_SHORT, 2);
    n = fs->pwrite(fs, fd, "yyyyyyyy", 8, 0);
    CHECK(n >= 1 && n <= 8);
    n = fs->pread(fs, fd, bytes, sizeof(bytes), 0);
    CHECK(n >= 1 && n <= BYTES);
    CHECK_INT(8, fs->pwrite(fs, fd, "yyyyyyyy", 8, 0));
    simdisk_fault(disk, simdisk_calls(disk), SIM_ENOSPC, 3);
    CHECK_INT(-ENOSPC, fs->pwrite(fs, fd, bytes, 8, 0));
    CHECK_INT(-ENOSPC, fs->allocate(fs, fd, 0, 8));
    CHECK_INT(-ENOSPC, fs->open(fs, "b", SKL_FS_CREATE));
    CHECK_INT(0, fs->allocate(fs, fd, 0, 8));
    simdisk_fault(disk, simdisk_calls(disk), SIM_EIO, 4);
    CHECK_INT(-EIO, fs->pread(fs, fd, bytes, 8, 0));
    CHECK_INT(-EIO, fs->rename(fs, "a", "b"));
    CHECK_INT(-EIO, fs->sync_dir(fs));
    CHECK_INT(-EIO, fs->truncate(fs, fd, 0));
    CHECK_INT(0, fs->rename(fs, "a", "b"));
    end();
}

TEST(a_frozen_disk_answers_no_more)
{
    begin(5);
    int fd = fill("a", 'x');

    simdisk_fault(disk, simdisk_calls(disk), SIM_FREEZE, 1);
    CHECK_INT(-EIO, fs->sync(fs, fd));
    CHECK(simdisk_is_frozen(disk));
    CHECK_INT(-EIO, fs->pwrite(fs, fd, "yyyyyyyy", 8, 0));
    CHECK_INT(-EIO, fs->unlink(fs, "a"));
    simdisk_process_crash(disk);
    CHECK(!simdisk_is_frozen(disk));
    CHECK_INT(BYTES / SIM_SECTOR, sectors("a", 'x'));
    end();
}

TEST(a_full_disk_takes_what_fits)
{
    char bytes[BYTES] = {0};

    begin(6);
    simdisk_capacity(disk, BYTES + 100);
    int fd = fill("a", 'x');
    int other = fs->open(fs, "b", SKL_FS_CREATE);

    CHECK_INT(-ENOSPC, fs->allocate(fs, other, 0, 200));
    CHECK_INT(100, fs->pwrite(fs, other, bytes, 200, 0));
    CHECK_INT(-ENOSPC, fs->pwrite(fs, other, bytes, 200, 100));
    CHECK_INT(BYTES, fs->pwrite(fs, fd, bytes, BYTES, 0));
    CHECK_INT(0, fs->close(fs, other));
    CHECK_INT(0, fs->unlink(fs, "b"));
    CHECK_INT(100, fs->pwrite(fs, fd, bytes, 100, BYTES));
    end();
}

TEST(a_clone_lives_on_its_own)
{
    begin(7);
    (void)fill("a", 'x');
    simdisk_t *first = disk;
    simdisk_t *other = simdisk_clone(disk, 8);

    simdisk_power_loss(disk, 0);
    CHECK_INT(-1, sectors("a", 'x'));
    disk = other;
    fs = simdisk_fs(disk);
    CHECK_INT(BYTES / SIM_SECTOR, sectors("a", 'x'));
    CHECK_INT(2, (int)simdisk_pending(disk));
    simdisk_free(first);
    end();
}

TAP_MAIN()
