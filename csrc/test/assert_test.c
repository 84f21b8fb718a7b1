/* Assertions: what holds costs nothing, what does not ends the process with
 * its text and place. */
#include "base/assert.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

TEST(a_true_condition_is_evaluated_once)
{
    int calls = 0;

    skl_assert(++calls == 1);
    CHECK_INT(1, calls);
}

static int break_it(void *arg)
{
    int *fds = arg;

    (void)dup2(fds[1], 2);
    skl_assert(fds[0] == -1);
    return 0;
}

TEST(a_false_condition_aborts_with_text_and_place)
{
    char text[256] = "";
    int fds[2];
    int status;
    ssize_t n;

    REQUIRE(pipe(fds) == 0);
    status = scratch_run(break_it, fds);
    (void)close(fds[1]);
    n = read(fds[0], text, sizeof(text) - 1);
    (void)close(fds[0]);
    CHECK_INT(1000 + SIGABRT, status);
    REQUIRE(n > 0);
    CHECK(strstr(text, "assertion failed: fds[0] == -1") != NULL);
    CHECK(strstr(text, "assert_test.c:") != NULL);
}

TAP_MAIN()
