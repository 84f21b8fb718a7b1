/*
 * tap.h - the test helper of the C tests; header only, no dependency.
 *
 * How it works. TEST(name) { ... } defines a test and registers it before
 * main(), in the order of the file: there is no list to forget a test in.
 * TAP_MAIN() at the end of the file defines main(), which runs all of them, or
 * only those whose name contains its first argument. One program per
 * csrc/test/<module>_test.c.
 *
 *     #include "test/support/tap.h"
 *
 *     TEST(adds)
 *     {
 *         CHECK(add(1, 1) > 0);
 *         CHECK_INT(2, add(1, 1));
 *     }
 *
 *     TAP_MAIN()
 *
 * Output is TAP: `# run <name>`, then `ok N - <name>` or `not ok N - <name>`,
 * and one last line `N passed, N failed`. A test that takes the program down
 * is reported as `not ok` by tools/run-c-tests, from the `# run` line.
 *
 * A failed CHECK is reported and the test goes on; REQUIRE leaves the test.
 * Expected values come first. SECKILL_FULL=1 asks for the full counts
 * (tap_full), SECKILL_SEED=n for a seed (tap_seed). A test that cannot run in
 * some build says which it runs in, in a comment of its own on one line:
 * variants: rel asan
 *
 * Threads: CHECK may be used from any thread of the test program; a forked
 * child must not use it, it reports by its exit status.
 */
#ifndef SKL_TEST_TAP_H
#define SKL_TEST_TAP_H

#include <inttypes.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAP_TESTS_MAX 256

typedef struct {
    const char *name;
    void (*run)(void);
} tap_test_t;

typedef struct {
    tap_test_t tests[TAP_TESTS_MAX];
    size_t count;
    _Atomic int bad; /* failed checks of the running test */
} tap_state_t;

static tap_state_t tap_state;

static inline void tap_register(const char *name, void (*run)(void))
{
    if (tap_state.count == TAP_TESTS_MAX) {
        fprintf(stderr, "tap.h: raise TAP_TESTS_MAX\n");
        abort();
    }
    tap_state.tests[tap_state.count].name = name;
    tap_state.tests[tap_state.count].run = run;
    tap_state.count++;
}

static inline int tap_check(int good, const char *file, int line,
                            const char *text)
{
    if (!good) {
        atomic_fetch_add(&tap_state.bad, 1);
        printf("# %s:%d: failed: %s\n", file, line, text);
    }
    return good;
}

static inline int tap_check_int(intmax_t want, intmax_t got, const char *file,
                                int line, const char *text)
{
    if (!tap_check(want == got, file, line, text)) {
        printf("#   expected %" PRIdMAX ", got %" PRIdMAX "\n", want, got);
    }
    return want == got;
}

static inline const char *tap_text(const char *s)
{
    return s == NULL ? "(null)" : s;
}

static inline int tap_check_str(const char *want, const char *got,
                                const char *file, int line, const char *text)
{
    int same =
        want == got || (want != NULL && got != NULL && strcmp(want, got) == 0);

    if (!tap_check(same, file, line, text)) {
        printf("#   expected \"%s\", got \"%s\"\n", tap_text(want),
               tap_text(got));
    }
    return same;
}

/** 1 when the full counts are asked for (make torture). */
static inline int tap_full(void)
{
    const char *value = getenv("SECKILL_FULL");

    return value != NULL && strcmp(value, "1") == 0;
}

/** The seed of a random test: SECKILL_SEED, or the one given; printed. */
static inline uint64_t tap_seed(uint64_t usual)
{
    const char *value = getenv("SECKILL_SEED");
    uint64_t seed = value != NULL ? strtoull(value, NULL, 0) : usual;

    printf("# SECKILL_SEED=%" PRIu64 "\n", seed);
    return seed;
}

static inline int tap_run_one(const tap_test_t *test, int number)
{
    int good;

    atomic_store(&tap_state.bad, 0);
    printf("# run %s\n", test->name);
    test->run();
    good = atomic_load(&tap_state.bad) == 0;
    printf("%sok %d - %s\n", good ? "" : "not ", number, test->name);
    return good;
}

static inline int tap_main(int argc, char **argv)
{
    int passed = 0;
    int failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < tap_state.count; i++) {
        const tap_test_t *test = &tap_state.tests[i];

        if (argc > 1 && strstr(test->name, argv[1]) == NULL) {
            continue;
        }
        if (tap_run_one(test, passed + failed + 1)) {
            passed++;
        } else {
            failed++;
        }
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}

#define TEST(name)                                                             \
    static void name(void);                                                    \
    __attribute__((constructor)) static void tap_register_##name(void)         \
    {                                                                          \
        tap_register(#name, name);                                             \
    }                                                                          \
    static void name(void)

#define TAP_MAIN()                                                             \
    int main(int argc, char **argv)                                            \
    {                                                                          \
        return tap_main(argc, argv);                                           \
    }

#define CHECK(cond) tap_check(!!(cond), __FILE__, __LINE__, #cond)
#define CHECK_INT(want, got)                                                   \
    tap_check_int((intmax_t)(want), (intmax_t)(got), __FILE__, __LINE__,       \
                  #want " == " #got)
#define CHECK_STR(want, got)                                                   \
    tap_check_str((want), (got), __FILE__, __LINE__, #want " == " #got)
#define CHECK_MEM(want, got, len)                                              \
    tap_check(memcmp((want), (got), (len)) == 0, __FILE__, __LINE__,           \
              #want " == " #got)
#define REQUIRE(cond)                                                          \
    do {                                                                       \
        if (!CHECK(cond)) {                                                    \
            return;                                                            \
        }                                                                      \
    } while (0)

#endif
