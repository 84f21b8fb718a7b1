/*
 * The overlay's log and its batches: records cut at every byte and flipped at
 * every byte, writers killed at every call and every few instructions, a disk
 * that is full, memory that is lost, entries that a file makes superfluous.
 */
#include "acl/overlay_record.h"
#include "io/list_file.h"
#include "io/list_map.h"
#include "io/overlay_log.h"
#include "test/support/lists.h"
#include "test/support/stepper.h"

#include <sys/mman.h>

#define NS 1000000000LL
#define NOW (1700000000 * NS)

/* Children of this program start threads: the sanitizer has to allow it. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

/* ---- Lists in bare memory, with a directory ------------------------------ */

enum { LISTS = 3, CAPACITY = 64 };

static const skl_hash_key_t KEY = {11, 22};
static skl_counters_shm_t counters_memory;
static skl_counters_t counters;

typedef struct {
    void *base;
    skl_lists_t lists;
    struct seckill_list *list; /* "l", number 1: the log knows names */
    uint32_t capacity;
} memory_t;

static struct seckill_list *memory_list(memory_t *m, const char *name)
{
    const seckill_list_options_t o = {.struct_size = sizeof(o),
                                      .kind = SECKILL_LIST_ID};
    struct seckill_list *list = NULL;
    uint32_t number;

    CHECK_INT(0, skl_lists_slot(&m->lists, name, NULL, &o, &number));
    CHECK_INT(0, skl_lists_handle(&m->lists, number, &list));
    return list;
}

static void memory_begin(memory_t *m, uint32_t capacity, const char *first)
{
    memset(m, 0, sizeof(*m));
    m->capacity = capacity;
    m->base = scratch_shared(skl_lists_bytes(LISTS, capacity));
    skl_counters_init(&counters_memory);
    skl_counters_attach(&counters, &counters_memory);
    skl_lists_init(m->base, LISTS, capacity);
    skl_lists_attach(&m->lists, m->base, &KEY, &counters);
    (void)memory_list(m, first);
    m->list = memory_list(m, "l");
}

static void memory_end(memory_t *m)
{
    struct seckill_list *list = atomic_load(&m->lists.first);

    while (list != NULL) {
        struct seckill_list *next = list->next;

        free(list);
        list = next;
    }
    munmap(m->base, skl_lists_bytes(LISTS, m->capacity));
}

static skl_overlay_t *overlay(memory_t *m)
{
    return &m->lists.overlay;
}

/* SKL_OVERLAY_*, of an entry that is not over. */
static uint32_t kind_at(memory_t *m, const char *value, int64_t now)
{
    int64_t until = 0;
    const uint32_t kind = skl_overlay_find(overlay(m), m->list->number, value,
                                           strlen(value), &until);

    return kind != 0 && until > now ? kind : 0;
}

static uint32_t kind_of(memory_t *m, const char *value)
{
    return kind_at(m, value, NOW);
}

static int set(memory_t *m, const char *value, uint32_t kind, int64_t until)
{
    return skl_overlay_set(overlay(m), m->list->number, value, strlen(value),
                           kind, until, NOW);
}

static int deny(memory_t *m, const char *value)
{
    return set(m, value, SKL_OVERLAY_DENY, SKL_FOREVER);
}

static int forget(memory_t *m, const char *value)
{
    return set(m, value, SKL_OVERLAY_REMOVED, NOW);
}

/* "+a" and "-a" of a text like "+a -b +c". */
static void item_of(void *ctx, uint32_t i, skl_overlay_item_t *out)
{
    const char *at = ctx;

    for (; i > 0; i--) {
        at = strchr(at, ' ') + 1;
    }
    out->value = at + 1;
    out->len = strcspn(at + 1, " ");
    out->kind = *at == '+' ? SKL_OVERLAY_DENY : SKL_OVERLAY_REMOVED;
    out->until_ns = *at == '+' ? SKL_FOREVER : NOW;
}

static int apply(memory_t *m, const char *text, uint64_t revision)
{
    uint32_t n = 1;

    for (const char *c = text; *c != '\0'; c++) {
        n += *c == ' ';
    }
    return skl_overlay_apply(overlay(m), m->list->number, item_of,
                             (void *)(uintptr_t)text, n, revision, NOW);
}

static const char *log_dir(void)
{
    static char dir[128];

    snprintf(dir, sizeof(dir), "%s", scratch_path("overlay"));
    (void)mkdir(dir, 0700);
    return dir;
}

static const char *log_file(void)
{
    static char path[160];

    snprintf(path, sizeof(path), "%s/lists/l.overlay", log_dir());
    return path;
}

static void clear_log(void)
{
    char path[180];

    (void)unlink(log_file());
    snprintf(path, sizeof(path), "%s.lost", log_file());
    (void)unlink(path);
}

static int restore(memory_t *m)
{
    char err[200] = "";
    int rc = skl_overlay_log_restore(log_dir(), m->list, NOW, err, sizeof(err));

    if (rc != 0) {
        printf("# %s\n", err);
    }
    return rc;
}

static uint64_t unusable(memory_t *m)
{
    return atomic_load(&overlay(m)->lists[m->list->number].unusable);
}

static uint64_t revision(memory_t *m)
{
    return atomic_load(&overlay(m)->lists[m->list->number].revision);
}

/* What a loader writes from its first step to its last. */
static int save(memory_t *m)
{
    skl_overlay_log_t *log = skl_overlay_log_new(log_dir(), &m->lists);
    char err[200] = "";
    int rc = skl_overlay_log_step(log, 1, err, sizeof(err));

    skl_overlay_log_free(log);
    return rc;
}

typedef struct {
    size_t len;
    char bytes[1 << 20];
} image_t;

static image_t image; /* of the log's file */

static void read_image(void)
{
    FILE *f = fopen(log_file(), "rb");

    image.len = f != NULL ? fread(image.bytes, 1, sizeof(image.bytes), f) : 0;
    if (f != NULL) {
        fclose(f);
    }
}

static int64_t file_records(void)
{
    struct stat st;

    return stat(log_file(), &st) == 0 ? st.st_size / SKL_OVERLAY_RECORD : -1;
}

/* ---- What was written comes back ----------------------------------------- */

TEST(entries_revision_and_deadlines_come_back)
{
    memory_t m;

    clear_log();
    memory_begin(&m, CAPACITY, "first");
    CHECK_INT(0, restore(&m));
    CHECK_INT(0, deny(&m, "a"));
    CHECK_INT(0, set(&m, "b", SKL_OVERLAY_DENY, NOW + 10 * NS));
    CHECK_INT(0, set(&m, "c", SKL_OVERLAY_REMOVED, SKL_FOREVER));
    CHECK_INT(0, deny(&m, "gone"));
    CHECK_INT(0, forget(&m, "gone"));
    CHECK_INT(0, apply(&m, "+d +e -a", 77));
    CHECK_INT(0, save(&m));
    CHECK_INT(atomic_load(&overlay(&m)->shm->head),
              atomic_load(&overlay(&m)->shm->saved));
    memory_end(&m);

    /* Another life, and the lists come in another order. */
    memset(&m, 0, sizeof(m));
    memory_begin(&m, CAPACITY, "l");
    CHECK_INT(0, m.list->number);
    CHECK_INT(0, kind_of(&m, "d"));
    CHECK_INT(0, restore(&m));
    CHECK_INT(0, kind_of(&m, "a"));
    CHECK_INT(SKL_OVERLAY_DENY, kind_at(&m, "b", NOW + 9 * NS));
    CHECK_INT(0, kind_at(&m, "b", NOW + 11 * NS)); /* a deadline, no rest */
    CHECK_INT(SKL_OVERLAY_REMOVED, kind_of(&m, "c"));
    CHECK_INT(SKL_OVERLAY_DENY, kind_of(&m, "d"));
    CHECK_INT(SKL_OVERLAY_DENY, kind_of(&m, "e"));
    CHECK_INT(0, kind_of(&m, "gone"));
    CHECK_INT(77, revision(&m));
    CHECK_INT(0, unusable(&m));
    CHECK_INT(4, skl_overlay_live(overlay(&m), 0));
    CHECK_INT(SECKILL_ESTALE, apply(&m, "+x", 77));
    memory_end(&m);
}

TEST(steps_append_and_a_restore_of_them_is_the_table)
{
    skl_overlay_log_t *log;
    char err[200];
    memory_t m, again;

    clear_log();
    memory_begin(&m, CAPACITY, "first");
    CHECK_INT(0, restore(&m));
    log = skl_overlay_log_new(log_dir(), &m.lists);
    for (int i = 0; i < 250; i++) {
        char v[16];

        snprintf(v, sizeof(v), "v%d", i % 40);
        CHECK_INT(0, i % 3 == 0 ? forget(&m, v) : deny(&m, v));
        if (i % 7 == 0) {
            CHECK_INT(0, skl_overlay_log_step(log, i, err, sizeof(err)));
        }
    }
    CHECK_INT(0, skl_overlay_log_step(log, 1000, err, sizeof(err)));
    CHECK(file_records() >= 250 && file_records() < 260); /* not rewritten */
    memory_begin(&again, CAPACITY, "first");
    CHECK_INT(0, restore(&again));
    for (int i = 0; i < 40; i++) {
        char v[16];

        snprintf(v, sizeof(v), "v%d", i);
        CHECK_INT(kind_of(&m, v), kind_of(&again, v));
    }
    CHECK_INT(0, unusable(&again));
    memory_end(&again);
    skl_overlay_log_free(log);
    memory_end(&m);
}

TEST(a_log_of_the_past_is_written_anew)
{
    skl_overlay_log_t *log;
    int64_t most = 0;
    char err[200];
    memory_t m;

    clear_log();
    memory_begin(&m, CAPACITY, "first");
    CHECK_INT(0, restore(&m));
    log = skl_overlay_log_new(log_dir(), &m.lists);
    for (int i = 0; i < 20000; i++) {
        char v[16];

        snprintf(v, sizeof(v), "v%d", i % 50);
        CHECK_INT(0, deny(&m, v));
        if (i % 100 == 0) {
            CHECK_INT(0, skl_overlay_log_step(log, i, err, sizeof(err)));
            most = file_records() > most ? file_records() : most;
        }
    }
    CHECK(most <= 2 * 50 + 256 + 100);
    CHECK_INT(50, skl_overlay_live(overlay(&m), m.list->number));
    skl_overlay_log_free(log);
    memory_end(&m);
}

TEST(more_changes_than_the_ring_holds_are_read_from_the_table)
{
    skl_overlay_log_t *log;
    char err[200];
    memory_t m, again;

    clear_log();
    memory_begin(&m, CAPACITY, "first");
    CHECK_INT(0, restore(&m));
    CHECK_INT(0, deny(&m, "early"));
    log = skl_overlay_log_new(log_dir(), &m.lists);
    CHECK_INT(0, skl_overlay_log_step(log, 1, err, sizeof(err)));
    CHECK_INT(0, forget(&m, "early"));
    for (int i = 0; i < 3 * SKL_OVERLAY_RING; i++) {
        CHECK_INT(0, deny(&m, "same"));
    }
    CHECK_INT(0, deny(&m, "late"));
    CHECK_INT(0, skl_overlay_log_step(log, 2, err, sizeof(err)));
    CHECK_INT(3, file_records());
    skl_overlay_log_free(log);
    memory_begin(&again, CAPACITY, "first");
    CHECK_INT(0, restore(&again));
    CHECK_INT(0, kind_of(&again, "early"));
    CHECK_INT(SKL_OVERLAY_DENY, kind_of(&again, "same"));
    CHECK_INT(SKL_OVERLAY_DENY, kind_of(&again, "late"));
    memory_end(&again);
    memory_end(&m);
}

/* ---- Cut and flipped ----------------------------------------------------- */

/* Makes a log of these records: head, +a, a batch of 3 (-a +b +c), +d, -b. */
enum { RECORDS = 8 };

static void make_image(void)
{
    skl_overlay_log_t *log;
    char err[200];
    memory_t m;

    clear_log();
    memory_begin(&m, CAPACITY, "first");
    CHECK_INT(0, restore(&m));
    log = skl_overlay_log_new(log_dir(), &m.lists);
    CHECK_INT(0, deny(&m, "a"));
    CHECK_INT(0, skl_overlay_log_step(log, 1, err, sizeof(err)));
    CHECK_INT(0, apply(&m, "-a +b +c", 5));
    CHECK_INT(0, deny(&m, "d"));
    CHECK_INT(0, forget(&m, "b"));
    CHECK_INT(0, skl_overlay_log_step(log, 2, err, sizeof(err)));
    skl_overlay_log_free(log);
    memory_end(&m);
    read_image();
    CHECK_INT(RECORDS * SKL_OVERLAY_RECORD, image.len);
}

/* Which of the records 1 .. 7 count, as a text of what is denied. A batch (2 to
 * 5) counts as a whole. */
static void expect(const int counts[RECORDS], char out[8])
{
    const int batch = counts[2] && counts[3] && counts[4] && counts[5];
    const int a = counts[1] && !batch, b = batch && !counts[7];

    snprintf(out, 8, "%s%s%s%s%s", a ? "a" : "", b ? "b" : "", batch ? "c" : "",
             counts[6] ? "d" : "", batch ? "5" : "0");
}

static void found(memory_t *m, char out[8])
{
    snprintf(out, 8, "%s%s%s%s%" PRIu64, kind_of(m, "a") ? "a" : "",
             kind_of(m, "b") ? "b" : "", kind_of(m, "c") ? "c" : "",
             kind_of(m, "d") ? "d" : "", revision(m));
}

TEST(a_log_cut_at_every_byte_gives_what_is_whole)
{
    make_image();
    for (size_t n = 0; n <= image.len; n++) {
        int counts[RECORDS];
        char want[8], got[8];
        memory_t m;

        for (int i = 0; i < RECORDS; i++) {
            counts[i] = n >= (size_t)(i + 1) * SKL_OVERLAY_RECORD;
        }
        lists_write(log_file(), image.bytes, n);
        memory_begin(&m, CAPACITY, "first");
        CHECK_INT(0, restore(&m));
        expect(counts, want);
        found(&m, got);
        CHECK_STR(want, got);
        /* And it goes on from there. */
        CHECK_INT(0, deny(&m, "next"));
        CHECK_INT(0, save(&m));
        memory_end(&m);
        memory_begin(&m, CAPACITY, "first");
        CHECK_INT(0, restore(&m));
        found(&m, got);
        CHECK_STR(want, got);
        CHECK_INT(SKL_OVERLAY_DENY, kind_of(&m, "next"));
        CHECK_INT(0, unusable(&m));
        memory_end(&m);
    }
}

TEST(a_flipped_byte_costs_one_record_or_one_batch)
{
    make_image();
    for (size_t i = 0; i < image.len; i++) {
        int counts[RECORDS] = {1, 1, 1, 1, 1, 1, 1, 1};
        char want[8], got[8], lost[180];
        memory_t m;

        counts[i / SKL_OVERLAY_RECORD] = 0;
        image.bytes[i] = (char)(image.bytes[i] ^ 1 << (i % 8));
        lists_write(log_file(), image.bytes, image.len);
        image.bytes[i] = (char)(image.bytes[i] ^ 1 << (i % 8));
        memory_begin(&m, CAPACITY, "first");
        CHECK_INT(0, restore(&m));
        expect(counts, want);
        found(&m, got);
        if (i < SKL_OVERLAY_RECORD) { /* the head: of no known list */
            CHECK_STR("0", got);
            snprintf(lost, sizeof(lost), "%s.lost", log_file());
            CHECK_INT(0, unlink(lost));
            CHECK_INT(-1, file_records());
        } else if (!CHECK_STR(want, got)) {
            printf("# byte %zu\n", i);
        }
        CHECK(unusable(&m) >= 1 && unusable(&m) <= 4);
        memory_end(&m);
    }
}

TEST(a_log_of_another_ledger_is_put_aside)
{
    unsigned char head[SKL_OVERLAY_RECORD];
    memory_t m;

    make_image();
    skl_overlay_head(12345, head);
    memcpy(image.bytes, head, sizeof(head));
    lists_write(log_file(), image.bytes, image.len);
    memory_begin(&m, CAPACITY, "first");
    CHECK_INT(0, restore(&m));
    CHECK_INT(0, kind_of(&m, "d"));
    CHECK_INT(1, unusable(&m));
    CHECK_INT(-1, file_records());
    clear_log();
    memory_end(&m);
}

TEST(what_does_not_fit_any_more_is_counted)
{
    char v[16];
    memory_t m;

    clear_log();
    memory_begin(&m, CAPACITY, "first");
    CHECK_INT(0, restore(&m));
    for (int i = 0; i < 20; i++) {
        snprintf(v, sizeof(v), "v%d", i);
        CHECK_INT(0, deny(&m, v));
    }
    CHECK_INT(0, save(&m));
    memory_end(&m);
    memory_begin(&m, 15, "first");
    CHECK_INT(0, restore(&m));
    CHECK_INT(15, skl_overlay_live(overlay(&m), m.list->number));
    CHECK_INT(5, unusable(&m));
    memory_end(&m);
}

TEST(a_log_that_cannot_be_read_leaves_the_list_unrestored)
{
    memory_t m;

    make_image();
    memory_begin(&m, CAPACITY, "first");
    CHECK_INT(0, unlink(log_file()));
    CHECK_INT(0, mkdir(log_file(), 0700));
    CHECK_INT(SECKILL_EIO, restore(&m));
    CHECK_INT(0, rmdir(log_file()));
    lists_write(log_file(), image.bytes, image.len);
    CHECK_INT(0, restore(&m));
    CHECK_INT(SKL_OVERLAY_DENY, kind_of(&m, "d"));
    memory_end(&m);
}

/* ---- Disks and deaths ---------------------------------------------------- */

static const char *fault_call;
static int fault_after, fault_errno;

static int inject(const char *call)
{
    if (strcmp(call, fault_call) != 0 || fault_after-- > 0) {
        return 0;
    }
    if (fault_errno == 0) {
        kill(getpid(), SIGKILL);
    }
    return fault_errno;
}

TEST(a_full_disk_is_tried_again_and_loses_nothing)
{
    const char *calls[] = {"pwrite", "open", "rename", "fdatasync"};
    skl_overlay_log_t *log;
    char err[200] = "";
    int64_t now = 1;
    memory_t m, again;

    clear_log();
    memory_begin(&m, CAPACITY, "first");
    CHECK_INT(0, restore(&m));
    log = skl_overlay_log_new(log_dir(), &m.lists);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        char v[16];

        snprintf(v, sizeof(v), "v%zu", i);
        CHECK_INT(0, deny(&m, v));
        fault_call = calls[i];
        fault_after = 0;
        fault_errno = ENOSPC;
        skl_os_fault = inject;
        CHECK_INT(SECKILL_EIO,
                  skl_overlay_log_step(log, now, err, sizeof(err)));
        skl_os_fault = NULL;
        CHECK(strstr(err, "No space left") != NULL);
        CHECK(atomic_load(&overlay(&m)->shm->saved) <
              atomic_load(&overlay(&m)->shm->head));
        CHECK_INT(0, skl_overlay_log_step(log, now + 1, err, sizeof(err)));
        CHECK(atomic_load(&overlay(&m)->shm->saved) <
              atomic_load(&overlay(&m)->shm->head)); /* not yet */
        now += 2 * NS;
        CHECK_INT(0, skl_overlay_log_step(log, now, err, sizeof(err)));
        CHECK_INT(atomic_load(&overlay(&m)->shm->head),
                  atomic_load(&overlay(&m)->shm->saved));
        memory_begin(&again, CAPACITY, "first");
        CHECK_INT(0, restore(&again));
        CHECK_INT(i + 1, skl_overlay_live(overlay(&again), 1));
        memory_end(&again);
        skl_overlay_log_leave(log); /* the next one writes anew: all calls */
    }
    skl_overlay_log_free(log);
    memory_end(&m);
}

static memory_t dying;

static int write_and_die(void *arg)
{
    (void)arg;
    skl_os_fault = inject;
    return save(&dying);
}

TEST(kill_9_of_the_writer_at_every_call_loses_nothing)
{
    const char *calls[] = {"open",  "pwrite", "fdatasync", "rename",
                           "fsync", "unlink", "mkdir"};
    int kills = 0, number = 0;
    memory_t again;

    clear_log();
    memory_begin(&dying, CAPACITY, "first");
    CHECK_INT(0, restore(&dying));
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        for (int after = 0, died = 1; died; after++) {
            char v[16];
            int before = number;

            snprintf(v, sizeof(v), "v%d", number++);
            CHECK_INT(0, deny(&dying, v));
            fault_call = calls[i];
            fault_after = after;
            fault_errno = 0;
            died = scratch_run(write_and_die, NULL) == 1000 + SIGKILL;
            kills += died;
            /* Memory lost here: the table before this change, or with it. */
            memory_begin(&again, CAPACITY, "first");
            CHECK_INT(0, restore(&again));
            CHECK(skl_overlay_live(overlay(&again), 1) >= (uint32_t)before);
            CHECK_INT(0, unusable(&again));
            memory_end(&again);
            CHECK_INT(0, save(&dying)); /* the next loader */
            memory_begin(&again, CAPACITY, "first");
            CHECK_INT(0, restore(&again));
            CHECK_INT(number, skl_overlay_live(overlay(&again), 1));
            memory_end(&again);
        }
    }
    printf("# %d kills\n", kills);
    CHECK(kills >= 8);
    memory_end(&dying);
}

/* ---- Batches ------------------------------------------------------------- */

TEST(a_batch_is_applied_in_its_order)
{
    memory_t m;

    memory_begin(&m, CAPACITY, "first");
    CHECK_INT(0, apply(&m, "+a +b -a +c -c +c", 0));
    CHECK_INT(0, kind_of(&m, "a"));
    CHECK_INT(SKL_OVERLAY_DENY, kind_of(&m, "b"));
    CHECK_INT(SKL_OVERLAY_DENY, kind_of(&m, "c"));
    CHECK_INT(2, skl_overlay_live(overlay(&m), m.list->number));
    CHECK_INT(0, apply(&m, "-b +x +b -x", 0));
    CHECK_INT(2, skl_overlay_live(overlay(&m), m.list->number));
    CHECK_INT(SKL_OVERLAY_DENY, kind_of(&m, "b"));
    memory_end(&m);
}

TEST(an_entry_that_is_over_makes_place_for_its_own_value)
{
    char v[16];
    memory_t m;

    memory_begin(&m, 4096, "first");
    for (int i = 0; i < 4095; i++) {
        snprintf(v, sizeof(v), "v%d", i);
        CHECK_INT(0, deny(&m, v));
    }
    for (int i = 0; i < 8; i++) {
        CHECK_INT(0, set(&m, "timed", SKL_OVERLAY_DENY, NOW + i * NS + NS));
        CHECK_INT(SECKILL_EFULL, deny(&m, "one more"));
        CHECK_INT(0, skl_overlay_set(overlay(&m), m.list->number, "timed", 5,
                                     SKL_OVERLAY_DENY, NOW + 100 * NS,
                                     NOW + 50 * NS));
        CHECK_INT(4096, skl_overlay_live(overlay(&m), 1));
        CHECK_INT(4096, atomic_load(&overlay(&m)->shm->used));
        CHECK_INT(SKL_OVERLAY_DENY, kind_at(&m, "timed", NOW + 50 * NS));
        CHECK_INT(0, forget(&m, "timed"));
    }
    memory_end(&m);
}

TEST(revisions_only_grow)
{
    memory_t m;

    memory_begin(&m, CAPACITY, "first");
    CHECK_INT(0, apply(&m, "+a", 5));
    CHECK_INT(SECKILL_ESTALE, apply(&m, "+b", 5));
    CHECK_INT(SECKILL_ESTALE, apply(&m, "+b -a", 4));
    CHECK_INT(0, kind_of(&m, "b"));
    CHECK_INT(SKL_OVERLAY_DENY, kind_of(&m, "a"));
    CHECK_INT(5, revision(&m));
    CHECK_INT(0, apply(&m, "+b", 6));
    CHECK_INT(0, apply(&m, "+c", 0)); /* without one: always */
    CHECK_INT(6, revision(&m));
    CHECK_INT(0, revision(&m) == 0);
    memory_end(&m);
}

TEST(a_batch_that_does_not_fit_leaves_no_trace)
{
    char v[16];
    memory_t m;

    memory_begin(&m, 16, "first");
    for (int i = 0; i < 14; i++) {
        snprintf(v, sizeof(v), "v%d", i);
        CHECK_INT(0, deny(&m, v));
    }
    for (int i = 0; i < 100; i++) {
        CHECK_INT(SECKILL_EFULL, apply(&m, "+x +v1 -v2 +y +z", 9));
    }
    CHECK_INT(14, skl_overlay_live(overlay(&m), m.list->number));
    CHECK_INT(14, atomic_load(&overlay(&m)->shm->used));
    CHECK_INT(0, kind_of(&m, "x"));
    CHECK_INT(SKL_OVERLAY_DENY, kind_of(&m, "v2"));
    CHECK_INT(0, revision(&m));
    CHECK_INT(0, apply(&m, "+x +y", 9));
    CHECK_INT(0, apply(&m, "+v1 -v2 -x -y", 10));
    CHECK_INT(13, skl_overlay_live(overlay(&m), m.list->number));
    memory_end(&m);
}

#ifndef __SANITIZE_THREAD__ /* its steps are too many to be stepped through */
static void run_batch(void *ctx)
{
    (void)apply(ctx, "+a -b +c", 3);
}

TEST(a_batch_killed_at_any_instruction_is_whole_or_absent)
{
    const long stride = tap_full() ? 7 : 61;
    int whole = 0, absent = 0;
    const char *why;
    int more = 1;

    for (long at = 0; more > 0; at += stride) {
        const uint32_t list = 1;
        stepper_t st;
        memory_t m;
        int done;

        memory_begin(&m, CAPACITY, "first");
        CHECK_INT(0, deny(&m, "b"));
        if (!stepper_start(&st, run_batch, &m, &why)) {
            printf("# %s\n", why);
            CHECK(0);
            memory_end(&m);
            return;
        }
        more = stepper_run(&st, at);
        stepper_kill(&st);
        CHECK_INT(0, deny(&m, "other")); /* takes the lock over */
        done = revision(&m) == 3;
        CHECK_INT(done ? SKL_OVERLAY_DENY : 0, kind_of(&m, "a"));
        CHECK_INT(done ? 0 : SKL_OVERLAY_DENY, kind_of(&m, "b"));
        CHECK_INT(done ? SKL_OVERLAY_DENY : 0, kind_of(&m, "c"));
        CHECK_INT(done ? 3 : 2, skl_overlay_live(overlay(&m), list));
        CHECK_INT(done ? 3 : 2, atomic_load(&overlay(&m)->shm->used));
        CHECK_INT(atomic_load(&overlay(&m)->shm->head),
                  atomic_load(&overlay(&m)->shm->applied));
        whole += done;
        absent += !done;
        memory_end(&m);
    }
    printf("# %d absent, %d whole\n", absent, whole);
    CHECK(absent > 5 && whole > 5);
}

TEST(a_log_made_while_a_batch_goes_into_the_table_has_it_or_not)
{
    const long stride = tap_full() ? 7 : 61;
    int whole = 0, absent = 0;
    const char *why;
    int more = 1;

    for (long at = 0; more > 0; at += stride) {
        stepper_t st;
        memory_t m, again;
        int done;

        clear_log();
        memory_begin(&m, CAPACITY, "first");
        CHECK_INT(0, restore(&m));
        CHECK_INT(0, deny(&m, "b")); /* makes the log anew */
        if (!stepper_start(&st, run_batch, &m, &why)) {
            printf("# %s\n", why);
            CHECK(0);
            memory_end(&m);
            return;
        }
        more = stepper_run(&st, at);
        CHECK_INT(0, save(&m));
        stepper_kill(&st);
        /* The power goes: what is left is that file. */
        memory_begin(&again, CAPACITY, "first");
        CHECK_INT(0, restore(&again));
        done = revision(&again) == 3;
        CHECK_INT(done ? SKL_OVERLAY_DENY : 0, kind_of(&again, "a"));
        CHECK_INT(done ? 0 : SKL_OVERLAY_DENY, kind_of(&again, "b"));
        CHECK_INT(done ? SKL_OVERLAY_DENY : 0, kind_of(&again, "c"));
        whole += done;
        absent += !done;
        memory_end(&again);
        memory_end(&m);
    }
    printf("# %d absent, %d whole\n", absent, whole);
    CHECK(absent > 5 && whole > 5);
}
#endif

/* ---- Through an engine --------------------------------------------------- */

TEST(the_overlay_outlives_its_memory)
{
    seckill_list_change_t batch[2] = {
        {.value = "e", .value_len = 1, .op = SECKILL_LIST_ADD},
        {.value = "f", .value_len = 1, .op = SECKILL_LIST_ADD}};
    uint32_t position;
    lists_t p;

    lists_begin(&p, 1, 64);
    lists_text(&p, "a\nb\n");
    CHECK_INT(0, lists_open(&p));
    CHECK_INT(0, lists_start(&p));
    CHECK_INT(0, lists_add(&p, "c", 0));
    CHECK_INT(0, lists_add(&p, "d", 3600 * NS));
    CHECK_INT(0, lists_remove(&p, "a"));
    CHECK_INT(0, seckill_list_apply(p.list, batch, 2, 41, 0, &position));
    CHECK(lists_saved(&p));
    for (int i = 0; i < 3; i++) {
        seckill_stop(p.sk);
        lists_again(&p);
        CHECK_INT(0, lists_open(&p));
        CHECK_INT(0, lists_match(&p, "a"));
        CHECK_INT(1, lists_match(&p, "b"));
        CHECK_INT(1, lists_match(&p, "c"));
        CHECK_INT(1, lists_match(&p, "d"));
        CHECK_INT(1, lists_match(&p, "f"));
        CHECK_INT(5, lists_stats(&p).overlay);
        CHECK_INT(41, lists_stats(&p).revision);
        CHECK_INT(SECKILL_ESTALE,
                  seckill_list_apply(p.list, batch, 2, 41, 0, &position));
        CHECK_INT(0, lists_start(&p));
    }
    CHECK_INT(0, lists_remove(&p, "c"));
    seckill_stop(p.sk); /* writes what waits */
    lists_again(&p);
    CHECK_INT(0, lists_open(&p));
    CHECK_INT(0, lists_match(&p, "c"));
    lists_lose(&p);
}

TEST(a_list_whose_log_could_not_be_read_is_not_changed)
{
    seckill_list_change_t c = {
        .value = "d", .value_len = 1, .op = SECKILL_LIST_ADD};
    seckill_list_t *list = NULL;
    char path[300], aside[320];
    uint32_t position;
    lists_t p;

    lists_begin(&p, 1, 64);
    CHECK_INT(0, lists_open_bare(&p));
    CHECK_INT(0, lists_start(&p));
    CHECK_INT(0, lists_add(&p, "c", 0));
    CHECK(lists_saved(&p));
    seckill_stop(p.sk);
    lists_again(&p);
    snprintf(path, sizeof(path), "%s/lists/l.overlay", p.log);
    snprintf(aside, sizeof(aside), "%s.aside", path);
    CHECK_INT(0, rename(path, aside));
    CHECK_INT(0, mkdir(path, 0700)); /* no file: reading it fails */
    CHECK_INT(SECKILL_EIO, lists_open_bare(&p));
    /* The list exists, and may be found. */
    CHECK_INT(0, seckill_list_at(p.sk, 0, &list));
    CHECK_INT(SECKILL_EBUSY, seckill_list_add(list, "d", 1, 0, 0));
    CHECK_INT(SECKILL_EBUSY, seckill_list_remove(list, "c", 1, 0));
    CHECK_INT(SECKILL_EBUSY, seckill_list_apply(list, &c, 1, 0, 0, &position));
    CHECK_INT(0, rmdir(path));
    CHECK_INT(0, rename(aside, path));
    CHECK_INT(0, lists_open_bare(&p));
    CHECK_INT(1, lists_match(&p, "c"));
    CHECK_INT(0, lists_match(&p, "d"));
    CHECK_INT(0, seckill_list_add(list, "d", 1, 0, 0));
    lists_lose(&p);
}

static lists_t shared;

static int add_from_a_child(void *arg)
{
    (void)arg;
    return lists_add(&shared, "child", 0);
}

static int load_until_killed(void *arg)
{
    (void)arg;
    if (lists_start(&shared) != 0 || lists_add(&shared, "loader", 0) != 0 ||
        !lists_saved(&shared)) {
        return 1;
    }
    kill(getpid(), SIGKILL);
    return 2;
}

TEST(changes_of_every_process_are_kept_over_the_loaders_death)
{
    lists_begin(&shared, 1, 64);
    CHECK_INT(0, lists_open_bare(&shared));
    CHECK_INT(1000 + SIGKILL, scratch_run(load_until_killed, NULL));
    CHECK_INT(0, scratch_run(add_from_a_child, NULL));
    CHECK_INT(0, lists_start(&shared));
    CHECK(lists_saved(&shared));
    seckill_stop(shared.sk);
    lists_again(&shared);
    CHECK_INT(0, lists_open_bare(&shared));
    CHECK_INT(1, lists_match(&shared, "loader"));
    CHECK_INT(1, lists_match(&shared, "child"));
    lists_lose(&shared);
}

TEST(wrong_changes_refuse_the_whole_batch)
{
    seckill_list_change_t c[3] = {
        {.value = "a", .value_len = 1, .op = SECKILL_LIST_ADD},
        {.value = "b", .value_len = 1, .op = SECKILL_LIST_ADD},
        {.value = "c", .value_len = 1, .op = SECKILL_LIST_ADD}};
    static seckill_list_change_t many[SECKILL_LIST_APPLY_MAX + 1];
    uint32_t at = 9;
    lists_t p;

    lists_begin(&p, 0, 8);
    CHECK_INT(0, lists_open_bare(&p));
    c[1].value_len = 0;
    CHECK_INT(SECKILL_EBADVALUE, seckill_list_apply(p.list, c, 3, 1, 0, &at));
    CHECK_INT(1, at);
    c[1].value_len = 65;
    CHECK_INT(SECKILL_EBADVALUE, seckill_list_apply(p.list, c, 3, 1, 0, &at));
    c[1].value_len = 1;
    c[2].ttl_ns = -1;
    CHECK_INT(SECKILL_EBADTIME, seckill_list_apply(p.list, c, 3, 1, 0, &at));
    CHECK_INT(2, at);
    c[2].ttl_ns = NS;
    c[2].op = SECKILL_LIST_REMOVE;
    CHECK_INT(SECKILL_EBADTIME, seckill_list_apply(p.list, c, 3, 1, 0, &at));
    c[2].ttl_ns = 0;
    c[2].op = 3;
    CHECK_INT(SECKILL_EBADOPTION, seckill_list_apply(p.list, c, 3, 1, 0, &at));
    c[2].op = SECKILL_LIST_REMOVE;
    CHECK_INT(SECKILL_EBADVERSION,
              seckill_list_apply(p.list, c, 3, 1ULL << 53, 0, &at));
    CHECK_INT(SECKILL_ETOOLARGE,
              seckill_list_apply(p.list, many, SECKILL_LIST_APPLY_MAX + 1, 1, 0,
                                 &at));
    for (int i = 0; i < SECKILL_LIST_APPLY_MAX; i++) {
        many[i] = c[i % 2];
    }
    CHECK_INT(0, lists_stats(&p).revision);
    CHECK_INT(0, lists_match(&p, "a"));
    CHECK_INT(0, seckill_list_apply(p.list, c, 0, 1, 0, &at)); /* a mark */
    CHECK_INT(1, lists_stats(&p).revision);
    CHECK_INT(0, seckill_list_apply(p.list, c, 3, (1ULL << 53) - 1, 0, &at));
    CHECK_INT(1, lists_match(&p, "a"));
    CHECK_INT(
        0, seckill_list_apply(p.list, many, SECKILL_LIST_APPLY_MAX, 0, 0, &at));
    CHECK_INT(2, lists_stats(&p).overlay);
    lists_lose(&p);
}

/* ---- Merging ------------------------------------------------------------- */

static int64_t engine_now(void *sk)
{
    return seckill_now(sk);
}

/* Load as the io thread does, and let go of what the file says, too. */
static int load_and_merge(lists_t *p, int *gone)
{
    const skl_list_env_t env = {.segment = &p->sk->segment,
                                .lists = &p->sk->lists,
                                .ctx = p->sk,
                                .now = engine_now};
    skl_list_made_t made;
    skl_list_merge_t *merge;
    skl_load_t *load;
    uint64_t word;
    int rc = skl_load_begin(&env, p->list, SKL_LOAD_MERGE, NS, &load, p->err,
                            sizeof(p->err));

    if (rc != 0) {
        return rc;
    }
    skl_load_make(load, &made);
    merge = skl_load_take_merge(load, &word);
    rc = skl_load_end(load, &made, p->err, sizeof(p->err));
    *gone = merge != NULL
                ? skl_list_merge_apply(merge, word, seckill_now(p->sk))
                : 0;
    skl_list_merge_free(merge);
    return rc;
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return skl_mix64(*seed);
}

enum { VALUES = 40 };

static void answers(lists_t *p, int64_t at, int out[VALUES])
{
    for (int v = 0; v < VALUES; v++) {
        const char *reason;
        char text[16];
        size_t len;
        int n = snprintf(text, sizeof(text), "v%d", v);

        out[v] =
            seckill_list_match(p->list, text, (size_t)n, at, &reason, &len);
        out[v] |= reason != NULL ? 16 : 0;
    }
}

/* A file of 60 random lines on the values. */
static void write_random(lists_t *p, uint64_t *seed)
{
    static const char *const forms[] = {"v%d\n", "v%d\t100\n", "!v%d\n",
                                        "!v%d\t100\n", "v%d\t\twhy\n"};
    char text[60 * 24];
    size_t used = 0;

    for (int n = 0; n < 60; n++) {
        const uint64_t r = next_random(seed);
        char line[24];
        const int len = snprintf(line, sizeof(line), forms[r % 5],
                                 (int)((r >> 8) % VALUES));

        memcpy(text + used, line, (size_t)len);
        used += (size_t)len;
    }
    lists_replace(p, text, used);
}

static void change_some(lists_t *p, uint64_t *seed)
{
    for (int n = 0; n < 30; n++) {
        const uint64_t r = next_random(seed);
        char v[16];

        snprintf(v, sizeof(v), "v%d", (int)((r >> 8) % VALUES));
        if (r % 3 == 0) {
            CHECK_INT(0, lists_remove(p, v));
        } else {
            CHECK_INT(0, lists_add(p, v, r % 3 == 1 ? 0 : 50 * NS));
        }
    }
}

/* The same file and the same changes, loaded without merging, then with: now,
 * when the added entries have ended, and when those of the file have. */
TEST(merging_changes_no_answer)
{
    const int64_t times[] = {0, 75 * NS, 150 * NS};
    const int rounds = tap_full() ? 2000 : 100;
    uint64_t seed = tap_seed(7);
    int total = 0;
    lists_t p;

    lists_begin(&p, 0, 200);
    lists_text(&p, "v0\n");
    CHECK_INT(0, lists_open(&p));
    for (int i = 0; i < rounds; i++) {
        const int64_t now = seckill_now(p.sk);
        int without[3][VALUES], with[3][VALUES], gone = 0;

        write_random(&p, &seed);
        change_some(&p, &seed);
        CHECK_INT(0, lists_reload(&p));
        for (int t = 0; t < 3; t++) {
            answers(&p, now + times[t], without[t]);
        }
        CHECK_INT(0, load_and_merge(&p, &gone));
        for (int t = 0; t < 3; t++) {
            answers(&p, now + times[t], with[t]);
        }
        CHECK_MEM(without, with, sizeof(with));
        total += gone;
    }
    printf("# %d entries went\n", total);
    CHECK(total > rounds);
    lists_lose(&p);
}

TEST(what_a_file_says_too_goes_and_the_rest_stays)
{
    int gone = 0;
    lists_t p;

    lists_begin(&p, 0, 64);
    lists_text(&p, "a\nb\t100\n!c\nboth\t5\nboth\nother\nother\t5\n");
    CHECK_INT(0, lists_open(&p));
    CHECK_INT(0, lists_add(&p, "a", 0));          /* goes */
    CHECK_INT(0, lists_add(&p, "b", 0));          /* the file's ends */
    CHECK_INT(0, lists_add(&p, "c", 0));          /* an allow is no deny */
    CHECK_INT(0, lists_add(&p, "both", 0));       /* goes: the later line */
    CHECK_INT(0, lists_add(&p, "other", 0));      /* the later line ends */
    CHECK_INT(0, lists_add(&p, "new", 0));        /* the file has not heard */
    CHECK_INT(0, lists_remove(&p, "unknown"));    /* goes */
    CHECK_INT(0, lists_add(&p, "a2", 3600 * NS)); /* stays */
    CHECK_INT(0, load_and_merge(&p, &gone));
    CHECK_INT(3, gone);
    CHECK_INT(5, lists_stats(&p).overlay);
    CHECK_INT(1, lists_match(&p, "a"));
    CHECK_INT(1, lists_match(&p, "new"));
    /* It is the file's from now on. */
    lists_text(&p, "x\n");
    CHECK_INT(0, load_and_merge(&p, &gone));
    CHECK_INT(0, lists_match(&p, "a"));
    CHECK_INT(1, lists_match(&p, "new"));
    lists_lose(&p);
}

static int load_in_a_child(void *arg)
{
    int gone = 0;

    (void)arg;
    return load_and_merge(&shared, &gone) == 0 ? gone : 100;
}

TEST(a_process_that_is_behind_maps_before_it_answers)
{
    lists_begin(&shared, 0, 64);
    lists_text(&shared, "listed\n");
    CHECK_INT(0, lists_open(&shared));
    CHECK_INT(0, lists_add(&shared, "bad", 0));
    CHECK_INT(0, lists_remove(&shared, "listed"));
    /* As if an io thread of ours had not run for seconds. */
    skl_lists_set_threaded(&shared.sk->lists, 1);
    lists_text(&shared, "bad\n");
    CHECK_INT(2, scratch_run(load_in_a_child, NULL));
    CHECK_INT(0, lists_stats(&shared).overlay);
    CHECK_INT(1, lists_match(&shared, "bad"));
    CHECK_INT(0, lists_match(&shared, "listed"));
    skl_lists_set_threaded(&shared.sk->lists, 0);
    lists_lose(&shared);
}

TEST(the_io_thread_merges_some_time_after_a_load)
{
    lists_t p;

    lists_begin(&p, 0, 64);
    lists_text(&p, "a\n");
    CHECK_INT(0, lists_open(&p));
    CHECK_INT(0, lists_add(&p, "b", 0));
    CHECK_INT(0, lists_start(&p));
    lists_text(&p, "a\nb\nc\n");
    CHECK(lists_await(&p, "c", 1));
    for (int i = 0; i < LISTS_DEADLINE_MS && lists_stats(&p).overlay > 0; i++) {
        lists_pause();
    }
    CHECK_INT(0, lists_stats(&p).overlay);
    CHECK_INT(1, lists_match(&p, "b"));
    lists_lose(&p);
}

TAP_MAIN()
