/* See stepper.h. */
#include "test/support/stepper.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child. raise() is called before, too, so that nothing of it is done
 * for the first time within the steps. */
_Noreturn static void child(void (*run)(void *), void *ctx)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        _exit(99);
    }
    (void)raise(SIGSTOP);
    run(ctx);
    (void)raise(SIGSTOP);
    _exit(0);
}

/* 1: stopped by this signal; else 0, or -1 when it is gone. */
static int stopped_by(pid_t pid, int *sig)
{
    int status;

    while (waitpid(pid, &status, 0) != pid) {
        if (errno != EINTR) {
            return -1;
        }
    }
    if (!WIFSTOPPED(status)) {
        return -1;
    }
    *sig = WSTOPSIG(status);
    return 0;
}

/* The two take turns: on one CPU a step costs a third of what it costs when
 * each has to wake another CPU. */
static void stay_here(void)
{
    const int cpu = sched_getcpu();
    cpu_set_t here;

    CPU_ZERO(&here);
    if (cpu >= 0) {
        CPU_SET((size_t)cpu, &here);
        (void)sched_setaffinity(0, sizeof(here), &here); /* a wish */
    }
}

int stepper_start(stepper_t *st, void (*run)(void *), void *ctx,
                  const char **why)
{
    int sig = 0;

    stay_here();
    st->steps = 0;
    st->pid = fork();
    if (st->pid == 0) {
        child(run, ctx);
    }
    if (st->pid < 0) {
        *why = "fork failed";
        return 0;
    }
    if (stopped_by(st->pid, &sig) != 0 || sig != SIGSTOP) {
        *why = "ptrace is not permitted: this test needs PTRACE_TRACEME "
               "(in a container: --cap-add=SYS_PTRACE, or a seccomp profile "
               "that allows ptrace)";
        return 0;
    }
    return 1;
}

int stepper_step(stepper_t *st)
{
    int sig = 0;

    if (ptrace(PTRACE_SINGLESTEP, st->pid, NULL, NULL) != 0 ||
        stopped_by(st->pid, &sig) != 0) {
        return -1;
    }
    if (sig == SIGSTOP) {
        return 0;
    }
    st->steps++;
    return sig == SIGTRAP ? 1 : -1;
}

int stepper_run(stepper_t *st, long n)
{
    int rc = 1;

    while (n-- > 0 && rc == 1) {
        rc = stepper_step(st);
    }
    return rc;
}

int stepper_finish(stepper_t *st)
{
    int sig = 0;

    if (ptrace(PTRACE_CONT, st->pid, NULL, NULL) != 0 ||
        stopped_by(st->pid, &sig) != 0) {
        return -1;
    }
    return sig == SIGSTOP ? 0 : -1;
}

void stepper_kill(stepper_t *st)
{
    int status;

    if (st->pid > 0) {
        (void)kill(st->pid, SIGKILL);
        while (waitpid(st->pid, &status, 0) == st->pid && WIFSTOPPED(status)) {
        }
        st->pid = 0;
    }
}
