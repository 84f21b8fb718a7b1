/* See segment.h. Runs at open and destroy, in one thread at a time. */
#include "shm/segment.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "seckill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0x31306c6c6b636573ULL /* "seckll01", little-endian */
#define PAGE 4096ULL
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

skl_static_assert(sizeof(skl_header_t) <= PAGE, "the header is one page");

/* One opening: arguments and what is held until it is done. */
typedef struct {
    skl_segment_t *seg;
    const skl_config_t *want;
    const skl_layout_t *layout;
    char dir[SKL_PATH_MAX + 8];
    uid_t uid;
    gid_t gid;
    int lock_fd;
    int made_dir;
    char *err;
    size_t err_size;
} opening_t;

/* Not a code of the API: the directory went away meanwhile, begin again. */
enum { GONE = 1, TRIES = 16 };

/* ---- Small helpers ------------------------------------------------------- */

#define say(o, ...)                                                            \
    do {                                                                       \
        if ((o)->err_size > 0) {                                               \
            (void)snprintf((o)->err, (o)->err_size, __VA_ARGS__);              \
        }                                                                      \
    } while (0)

static int io_error(opening_t *o, const char *call, const char *path, int rc)
{
    say(o, "%s %s: %s", call, path, strerror(-rc));
    return SECKILL_EIO;
}

static int valid_name(const char *name)
{
    size_t len = strlen(name);

    return len >= 1 && len <= SECKILL_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

static uint64_t round_up(uint64_t n, uint64_t unit)
{
    skl_assert(unit > 0);
    return (n + unit - 1) / unit * unit;
}

void skl_config_defaults(skl_config_t *c)
{
#define DEFAULT(field, value)                                                  \
    if (c->field == 0) {                                                       \
        c->field = value;                                                      \
    }
    DEFAULT(window_ns, 3600 * SKL_NS_PER_SEC)
    DEFAULT(request_ids, SECKILL_IDS_OPAQUE)
    DEFAULT(items, 256)
    DEFAULT(reservations, 1U << 15)
    DEFAULT(users, 1U << 16)
    DEFAULT(requests, 1U << 16)
    DEFAULT(limit_keys, 1U << 16)
    DEFAULT(limiters, 64)
    DEFAULT(limit_overrides, 512)
    DEFAULT(lists, 16)
    DEFAULT(list_overlay, 4096)
    DEFAULT(breakers, 64)
    DEFAULT(shedders, 8)
    DEFAULT(log_units, 1U << 15)
    DEFAULT(permits, 1U << 14)
#undef DEFAULT
}

/* ---- Options ------------------------------------------------------------- */

static int range_error(opening_t *o, const char *name, const char *range)
{
    say(o, "%s: must be %s", name, range);
    return SECKILL_EBADOPTION;
}

static int check_count(opening_t *o, const char *name, uint32_t value,
                       uint32_t max)
{
    if (value <= max) {
        return SECKILL_OK;
    }
    say(o, "capacity.%s: must be 1 to %u", name, max);
    return SECKILL_EBADOPTION;
}

static int check_config(opening_t *o)
{
    const skl_config_t *c = o->want;
    const int64_t day = 86400 * SKL_NS_PER_SEC;
    int rc = SECKILL_OK;

    if (c->window_ns != 0 &&
        (c->window_ns < SKL_NS_PER_SEC || c->window_ns > 30 * day)) {
        return range_error(o, "window", "1 second to 30 days");
    }
    if (c->request_ids > SECKILL_IDS_ULID) {
        return range_error(o, "request_ids", "opaque, uuidv7 or ulid");
    }
    if (c->log_units != 0 && (c->log_units < 64 || c->log_units > (1U << 24) ||
                              (c->log_units & (c->log_units - 1)) != 0)) {
        return range_error(o, "capacity.log_units",
                           "a power of two, 64 to 2^24");
    }
#define COUNT(field, max)                                                      \
    if (rc == SECKILL_OK) {                                                    \
        rc = check_count(o, #field, c->field, max);                            \
    }
    COUNT(items, 1U << 20)
    COUNT(reservations, 1U << 26)
    COUNT(users, 1U << 26)
    COUNT(requests, 1U << 26)
    COUNT(limit_keys, 1U << 26)
    COUNT(limiters, 1024)
    COUNT(limit_overrides, 1U << 20)
    COUNT(lists, 256)
    COUNT(list_overlay, 1U << 20)
    COUNT(permits, 1U << 20)
    COUNT(breakers, 1024)
    COUNT(shedders, 64)
#undef COUNT
    return rc;
}

int skl_config_compare(const skl_config_t *want, const skl_config_t *have,
                       char *err, size_t err_size)
{
    if (want->window_ns != 0 && want->window_ns != have->window_ns) {
        (void)snprintf(err, err_size,
                       "window: the segment has %g s, asked for %g s",
                       (double)have->window_ns / (double)SKL_NS_PER_SEC,
                       (double)want->window_ns / (double)SKL_NS_PER_SEC);
        return SECKILL_EMISMATCH;
    }
#define SAME(field, name)                                                      \
    if (want->field != 0 && want->field != have->field) {                      \
        (void)snprintf(err, err_size,                                          \
                       "%s: the segment has %lld, asked for %lld", name,       \
                       (long long)have->field, (long long)want->field);        \
        return SECKILL_EMISMATCH;                                              \
    }
    SAME(request_ids, "request_ids")
    SAME(items, "capacity.items")
    SAME(reservations, "capacity.reservations")
    SAME(users, "capacity.users")
    SAME(requests, "capacity.requests")
    SAME(limit_keys, "capacity.limit_keys")
    SAME(limiters, "capacity.limiters")
    SAME(limit_overrides, "capacity.limit_overrides")
    SAME(lists, "capacity.lists")
    SAME(list_overlay, "capacity.list_overlay")
    SAME(breakers, "capacity.breakers")
    SAME(shedders, "capacity.shedders")
    SAME(log_units, "capacity.log_units")
    SAME(permits, "capacity.permits")
    SAME(durability, "durability")
    SAME(max_lag_ns, "max_lag")
    SAME(max_log_bytes, "max_log_bytes")
    SAME(log_segment_bytes, "log_segment_bytes")
#undef SAME
    return SECKILL_OK;
}

/* ---- Directory, owner, lock ---------------------------------------------- */

/* Who owns the files: the user named, when root opens; else the caller. */
static int find_owner(opening_t *o, const char *user)
{
    int rc;

    o->uid = geteuid();
    o->gid = getegid();
    if (o->layout->has_owner) {
        o->uid = o->layout->uid;
        o->gid = o->layout->gid;
        return SECKILL_OK;
    }
    if (user == NULL || user[0] == '\0') {
        return SECKILL_OK;
    }
    rc = skl_os_user(user, &o->uid, &o->gid);
    if (rc != 0) {
        say(o, "user: no such user: %s", user);
        return SECKILL_EUNKNOWNUSER;
    }
    if (geteuid() != 0 && o->uid != geteuid()) {
        say(o, "user: only root can open for another user (%s)", user);
        return SECKILL_ENOTOWNER;
    }
    return SECKILL_OK;
}

static int check_stat(opening_t *o, const char *path, const struct stat *st,
                      mode_t type)
{
    if ((st->st_mode & S_IFMT) != type) {
        say(o, "%s: not a %s", path,
            type == S_IFDIR ? "directory" : "regular file");
        return SECKILL_ENOTOWNER;
    }
    if (st->st_uid != o->uid || (st->st_mode & 077) != 0) {
        say(o,
            "%s: belongs to uid %u with mode %03o, expected uid %u and no "
            "access for others; as root give the option user",
            path, st->st_uid, st->st_mode & 0777U, o->uid);
        return SECKILL_ENOTOWNER;
    }
    return SECKILL_OK;
}

/* Make a private directory of uid, or check that it is one. */
static int ensure_dir(opening_t *o, const char *dir)
{
    struct stat st;
    int rc = skl_os_mkdir(dir, 0700);
    int fd;

    o->made_dir = rc == 0;
    if (rc != 0 && rc != -EEXIST) {
        return io_error(o, "mkdir", dir, rc);
    }
    fd = skl_os_open(dir, O_RDONLY | O_DIRECTORY, 0);
    if (fd == -ENOENT) {
        say(o, "%s: removed by another process", dir);
        return GONE;
    }
    if (fd == -ENOTDIR || fd == -ELOOP || fd == -EACCES) {
        say(o, "%s: belongs to somebody else or is not a directory", dir);
        return SECKILL_ENOTOWNER;
    }
    if (fd < 0) {
        return io_error(o, "open", dir, fd);
    }
    rc = o->made_dir ? skl_os_fchown(fd, o->uid, o->gid) : 0;
    rc = rc == 0 ? skl_os_fstat(fd, &st) : rc;
    rc = rc == 0 ? check_stat(o, dir, &st, S_IFDIR)
                 : io_error(o, "stat", dir, rc);
    (void)skl_os_close(fd);
    return rc;
}

/* Wait for the lock; the file must still be the one that others will find. */
/* Root must not give away a file that the owner of the directory linked there
 * from somewhere else. */
static int own_lock_file(opening_t *o)
{
    struct stat st;
    int rc = skl_os_fstat(o->lock_fd, &st);

    if (rc != 0) {
        return rc;
    }
    if (!S_ISREG(st.st_mode) || st.st_nlink > 1) {
        return -EPERM;
    }
    return st.st_uid == o->uid ? 0 : skl_os_fchown(o->lock_fd, o->uid, o->gid);
}

static int wait_lock(opening_t *o, const char *path)
{
    struct stat held, found;
    int rc = own_lock_file(o);

    rc = rc == 0 ? skl_os_lock_file(o->lock_fd) : rc;
    rc = rc == 0 ? skl_os_fstat(o->lock_fd, &held) : rc;
    if (rc == 0) {
        rc = skl_os_lstat(path, &found);
        if (rc == -ENOENT || (rc == 0 && held.st_ino != found.st_ino)) {
            say(o, "%s: removed by another process", path);
            return GONE;
        }
    }
    if (rc == -EWOULDBLOCK) {
        say(o, "%s: held by another process for 5 s", path);
        return SECKILL_EBUSY;
    }
    return rc == 0 ? SECKILL_OK : io_error(o, "lock", path, rc);
}

static int take_lock(opening_t *o)
{
    char path[sizeof(o->dir) + 8];
    int rc;

    (void)snprintf(path, sizeof(path), "%s/lock", o->dir);
    o->lock_fd = skl_os_open(path, O_RDWR | O_CREAT, 0600);
    if (o->lock_fd == -ENOENT) {
        say(o, "%s: removed by another process", path);
        return GONE;
    }
    if (o->lock_fd < 0) {
        return io_error(o, "open", path, o->lock_fd);
    }
    rc = wait_lock(o, path);
    if (rc != SECKILL_OK) {
        (void)skl_os_close(o->lock_fd);
        o->lock_fd = -1;
    }
    return rc;
}

/* ---- Attach -------------------------------------------------------------- */

static int bad_layout(opening_t *o, const char *why)
{
    say(o,
        "%s: %s; end its users, then run "
        "require('resty.seckill').destroy('%s')",
        o->seg->path, why, o->seg->name);
    return SECKILL_ELAYOUT;
}

static int check_sections(opening_t *o, const skl_header_t *h, uint64_t bytes)
{
    uint64_t sizes[SKL_SECTION_COUNT];
    uint64_t end = round_up(sizeof(*h), PAGE);

    o->layout->sizes(&h->config, sizes);
    for (int i = 0; i < SKL_SECTION_COUNT; i++) {
        if (h->offset[i] != end || h->size[i] != sizes[i]) {
            return bad_layout(o, "sections are not where they should be");
        }
        end = round_up(end + sizes[i], PAGE);
    }
    return end == bytes ? SECKILL_OK : bad_layout(o, "wrong size");
}

static int check_header(opening_t *o, const skl_header_t *h, uint64_t bytes)
{
    if (h->magic != MAGIC || h->signature != o->layout->signature) {
        return bad_layout(o, "made by another version of the library");
    }
    if (atomic_load(&h->ready) != 1 || h->bytes != bytes) {
        return bad_layout(o, "truncated or not finished");
    }
    return check_sections(o, h, bytes);
}

/* 1: the segment is of an earlier boot and only its name is left. */
static int other_boot(const skl_header_t *h)
{
    char boot_id[sizeof(h->boot_id)] = "";

    if (skl_os_read_small(BOOT_ID, boot_id, sizeof(boot_id)) <= 0) {
        return 0;
    }
    boot_id[strcspn(boot_id, "\n")] = '\0';
    return strncmp(boot_id, h->boot_id, sizeof(boot_id)) != 0;
}

static int map_existing(opening_t *o, int fd, uint64_t bytes, int *stale)
{
    void *base;
    skl_header_t *h;
    int rc = skl_os_map(fd, bytes, 1, &base);

    if (rc != 0) {
        return io_error(o, "mmap", o->seg->path, rc);
    }
    h = base;
    rc = check_header(o, h, bytes);
    *stale = rc == SECKILL_OK && other_boot(h);
    if (rc == SECKILL_OK && !*stale) {
        rc = skl_config_compare(o->want, &h->config, o->err, o->err_size);
    }
    if (rc != SECKILL_OK || *stale) {
        (void)skl_os_unmap(base, bytes); /* no lock of it was ever taken */
        return rc;
    }
    o->seg->header = h;
    return SECKILL_OK;
}

/* OK with seg->header set: attached; OK without: there is none. */
static int attach(opening_t *o)
{
    struct stat st;
    int stale = 0;
    int rc;
    int fd = skl_os_open(o->seg->path, O_RDWR, 0);

    if (fd == -ENOENT) {
        return SECKILL_OK;
    }
    if (fd == -ELOOP || fd == -EACCES) {
        say(o, "%s: belongs to somebody else or is a link", o->seg->path);
        return SECKILL_ENOTOWNER;
    }
    if (fd < 0) {
        return io_error(o, "open", o->seg->path, fd);
    }
    rc = skl_os_fstat(fd, &st);
    rc = rc == 0 ? check_stat(o, o->seg->path, &st, S_IFREG)
                 : io_error(o, "stat", o->seg->path, rc);
    if (rc == SECKILL_OK && (uint64_t)st.st_size < sizeof(skl_header_t)) {
        rc = bad_layout(o, "truncated");
    }
    if (rc == SECKILL_OK) {
        rc = map_existing(o, fd, (uint64_t)st.st_size, &stale);
    }
    (void)skl_os_close(fd);
    if (rc == SECKILL_OK && stale) {
        rc = skl_os_unlink(o->seg->path);
        rc = rc == 0 ? SECKILL_OK : io_error(o, "unlink", o->seg->path, rc);
    }
    return rc;
}

/* ---- Create -------------------------------------------------------------- */

static int fill_header(opening_t *o, skl_header_t *h,
                       const skl_config_t *config, uint64_t bytes,
                       const uint64_t *sizes)
{
    uint64_t at = round_up(sizeof(*h), PAGE);
    int rc = skl_os_random(h->uuid, sizeof(h->uuid));

    rc = rc == 0 ? skl_os_random(&h->key, sizeof(h->key)) : rc;
    if (rc != 0) {
        return io_error(o, "getrandom", "", rc);
    }
    rc = skl_os_read_small(BOOT_ID, h->boot_id, sizeof(h->boot_id));
    if (rc <= 0) {
        return io_error(o, "read", BOOT_ID, rc);
    }
    h->boot_id[strcspn(h->boot_id, "\n")] = '\0';
    h->magic = MAGIC;
    h->signature = o->layout->signature;
    h->bytes = bytes;
    h->config = *config;
    for (int i = 0; i < SKL_SECTION_COUNT; i++) {
        h->offset[i] = at;
        h->size[i] = sizes[i];
        at = round_up(at + sizes[i], PAGE);
    }
    skl_assert(at == bytes);
    return SECKILL_OK;
}

static void start_clock(skl_header_t *h)
{
    int64_t wall = skl_clock_wall_ns();

    atomic_store(&h->clock_offset, wall - skl_clock_boot_ns());
    atomic_store(&h->clock_slewed_at, skl_clock_boot_ns());
    atomic_store(&h->clock_skew, 0);
}

static int no_space(opening_t *o, int fd, uint64_t needed)
{
    uint64_t available = 0;

    (void)skl_os_free_bytes(fd, &available);
    say(o,
        "%s: needs %llu bytes, available are %llu; make it larger or lower "
        "the capacity",
        o->seg->shm_dir, (unsigned long long)needed,
        (unsigned long long)available);
    return SECKILL_ENOSPACE;
}

static int build(opening_t *o, int fd, const skl_config_t *config)
{
    uint64_t sizes[SKL_SECTION_COUNT];
    uint64_t bytes = round_up(sizeof(skl_header_t), PAGE);
    void *base;
    int rc;

    o->layout->sizes(config, sizes);
    for (int i = 0; i < SKL_SECTION_COUNT; i++) {
        bytes = round_up(bytes + sizes[i], PAGE);
    }
    rc = skl_os_allocate(fd, bytes);
    if (rc == -ENOSPC || rc == -EFBIG) {
        return no_space(o, fd, bytes);
    }
    rc = rc == 0 ? skl_os_fchown(fd, o->uid, o->gid) : rc;
    rc = rc == 0 ? skl_os_map(fd, bytes, 1, &base) : rc;
    if (rc != 0) {
        return io_error(o, "allocate", o->seg->path, rc);
    }
    rc = fill_header(o, base, config, bytes, sizes);
    if (rc != SECKILL_OK) {
        (void)skl_os_unmap(base, bytes);
        return rc;
    }
    o->seg->header = base;
    o->layout->init(base);
    start_clock(base);
    if (o->layout->fill != NULL) {
        rc = o->layout->fill(o->layout->ctx, base, o->err, o->err_size);
    }
    if (rc != SECKILL_OK) {
        o->seg->header = NULL;
        (void)skl_os_unmap(base, bytes);
        return rc;
    }
    atomic_store(&o->seg->header->ready, 1);
    return SECKILL_OK;
}

static int create(opening_t *o)
{
    char temp[SKL_PATH_MAX + 8];
    skl_config_t config = *o->want;
    int fd, rc;

    skl_assert(o->lock_fd >= 0 && o->seg->header == NULL);
    skl_config_defaults(&config);
    (void)snprintf(temp, sizeof(temp), "%s.new", o->seg->path);
    (void)skl_os_unlink(temp); /* of an opener that died; we hold the lock */
    fd = skl_os_open(temp, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        return io_error(o, "create", temp, fd);
    }
    rc = build(o, fd, &config);
    (void)skl_os_close(fd);
    if (rc == SECKILL_OK) {
        int renamed = skl_os_rename(temp, o->seg->path);

        rc = renamed == 0 ? rc : io_error(o, "rename", temp, renamed);
    }
    if (rc != SECKILL_OK) {
        o->seg->header = NULL;
        (void)skl_os_unlink(temp);
        return rc;
    }
    o->seg->created = 1;
    return SECKILL_OK;
}

/* ---- Entry points -------------------------------------------------------- */

/* Make the directory and take its lock. A destroy may come in between. */
static int enter(opening_t *o)
{
    int rc = GONE;

    for (int i = 0; rc == GONE && i < TRIES; i++) {
        rc = ensure_dir(o, o->dir);
        rc = rc == SECKILL_OK ? take_lock(o) : rc;
        if (rc != SECKILL_OK && o->made_dir) {
            (void)skl_os_rmdir(o->dir); /* unless there is a lock file */
        }
    }
    return rc == GONE ? SECKILL_EBUSY : rc;
}

/* An opening that failed leaves nothing behind that it made. */
static void undo(opening_t *o)
{
    char path[sizeof(o->dir) + 8];
    struct stat st;

    if (o->made_dir && skl_os_lstat(o->seg->path, &st) == -ENOENT) {
        (void)snprintf(path, sizeof(path), "%s/lock", o->dir);
        (void)skl_os_unlink(path);
        (void)skl_os_rmdir(o->dir);
    }
}

static int open_locked(opening_t *o)
{
    int rc = enter(o);

    if (rc != SECKILL_OK) {
        return rc;
    }
    skl_assert(o->lock_fd >= 0);
    rc = attach(o);
    if (rc == SECKILL_OK && o->seg->header == NULL) {
        rc = create(o);
    }
    if (rc != SECKILL_OK) {
        undo(o);
    }
    skl_assert((rc == SECKILL_OK) == (o->seg->header != NULL));
    (void)skl_os_close(o->lock_fd); /* releases the lock */
    return rc;
}

int skl_segment_is_current(const skl_segment_t *seg)
{
    skl_header_t found;
    const int fd = skl_os_open(seg->path, O_RDONLY, 0);
    int same;

    skl_assert(seg->header != NULL);
    if (fd == -ENOENT) {
        return 0;
    }
    if (fd < 0) {
        return 1; /* an unprivileged worker cannot tell: it has the mapping */
    }
    same = skl_os_read(fd, &found, sizeof(found)) == (int)sizeof(found) &&
           memcmp(found.uuid, seg->header->uuid, sizeof(found.uuid)) == 0;
    (void)skl_os_close(fd);
    return same;
}

static int set_paths(skl_segment_t *seg, const char *name, const char *shm_dir)
{
    /* The longest file below: seckill.<name>.d.<uid>/<file of 48> */
    if (strlen(shm_dir) + SECKILL_NAME_MAX + 80 > SKL_PATH_MAX) {
        return SECKILL_EBADOPTION;
    }
    (void)snprintf(seg->name, sizeof(seg->name), "%s", name);
    (void)snprintf(seg->shm_dir, sizeof(seg->shm_dir), "%s", shm_dir);
    (void)snprintf(seg->path, sizeof(seg->path), "%.150s/seckill.%s", shm_dir,
                   name);
    return SECKILL_OK;
}

int skl_segment_open(skl_segment_t *seg, const char *name, const char *shm_dir,
                     const char *user, const skl_config_t *want,
                     const skl_layout_t *layout, char *err, size_t err_size)
{
    opening_t o = {.seg = seg,
                   .want = want,
                   .layout = layout,
                   .lock_fd = -1,
                   .err = err,
                   .err_size = err_size};
    int rc;

    memset(seg, 0, sizeof(*seg));
    if (!valid_name(name)) {
        say(&o, "name: must be [a-z0-9_-]{1,32}");
        return SECKILL_EBADNAME;
    }
    if (set_paths(seg, name, shm_dir) != SECKILL_OK) {
        say(&o, "shm_dir: longer than 144 bytes");
        return SECKILL_EBADOPTION;
    }
    rc = check_config(&o);
    rc = rc == SECKILL_OK ? find_owner(&o, user) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    seg->owner = o.uid;
    (void)snprintf(o.dir, sizeof(o.dir), "%s.d", seg->path);
    return open_locked(&o);
}

void skl_segment_dir_of(const skl_segment_t *seg, uid_t uid, char *out,
                        size_t size)
{
    skl_assert(seg->path[0] != '\0');
    if (uid == seg->owner) {
        (void)snprintf(out, size, "%s.d", seg->path);
    } else {
        (void)snprintf(out, size, "%s.d.%u", seg->path, uid);
    }
}

int skl_segment_dir(const skl_segment_t *seg, char *out, size_t size)
{
    opening_t o = {.uid = geteuid(), .gid = getegid()};
    int rc;

    skl_segment_dir_of(seg, o.uid, out, size);
    rc = ensure_dir(&o, out);
    return rc == GONE ? SECKILL_EIO : rc;
}

/* Directories of processes of other users: seckill.<name>.d.<uid> */
static void remove_other_dir(void *ctx, const char *entry)
{
    const skl_segment_t *seg = ctx;
    const char *prefix = strrchr(seg->path, '/') + 1;
    size_t len = strlen(prefix);
    char dir[SKL_PATH_MAX + 16];

    if (strncmp(entry, prefix, len) == 0 &&
        strncmp(entry + len, ".d.", 3) == 0 &&
        strspn(entry + len + 3, "0123456789") == strlen(entry + len + 3)) {
        (void)snprintf(dir, sizeof(dir), "%.200s/%.60s", seg->shm_dir, entry);
        (void)skl_os_clear_dir(dir);
        (void)skl_os_rmdir(dir);
    }
}

/* With the lock held, so that nobody is creating: all files of the name. */
static int remove_files(skl_segment_t *seg, const char *dir)
{
    char temp[SKL_PATH_MAX + 8];
    int rc = skl_os_unlink(seg->path);

    if (rc != 0 && rc != -ENOENT) {
        return SECKILL_EIO;
    }
    (void)snprintf(temp, sizeof(temp), "%s.new", seg->path);
    (void)skl_os_unlink(temp); /* of an opener that died */
    (void)skl_os_list(seg->shm_dir, remove_other_dir, seg);
    (void)skl_os_clear_dir(dir);
    (void)skl_os_rmdir(dir);
    return SECKILL_OK;
}

static int destroy(skl_segment_t *seg)
{
    opening_t o = {.seg = seg, .lock_fd = -1};
    struct stat st;
    int rc;

    (void)snprintf(o.dir, sizeof(o.dir), "%s.d", seg->path);
    if (skl_os_lstat(seg->path, &st) != 0 && skl_os_lstat(o.dir, &st) != 0) {
        return SECKILL_ENOTFOUND;
    }
    if (geteuid() != 0 && st.st_uid != geteuid()) {
        return SECKILL_ENOTOWNER;
    }
    o.uid = st.st_uid;
    o.gid = st.st_gid;
    rc = enter(&o);
    if (rc != SECKILL_OK && rc != SECKILL_ENOTOWNER) {
        return rc;
    }
    /* A directory that is not theirs: nobody can be creating. */
    rc = remove_files(seg, o.dir);
    if (o.lock_fd >= 0) {
        (void)skl_os_close(o.lock_fd);
    }
    return rc;
}

int skl_segment_destroy(const char *name, const char *shm_dir)
{
    skl_segment_t seg = {0};

    if (!valid_name(name)) {
        return SECKILL_EBADNAME;
    }
    if (set_paths(&seg, name, shm_dir) != SECKILL_OK) {
        return SECKILL_EBADOPTION;
    }
    return destroy(&seg);
}
