/*
 * stepper.h - a child process that runs one call an instruction at a time, so
 * that a test can look at, or kill it, between any two instructions.
 *
 * stepper_start() forks; the child asks to be traced and stops itself, then
 * makes the call, then stops itself again. The parent moves it on with
 * stepper_step(). The call ends when that second stop arrives. Addresses and
 * thus instructions are the same in every child of one parent, as nothing is
 * loaded in between (the tests are linked statically to the library).
 *
 * Linux. Threads: one; the parent must have no other children that end.
 */
#ifndef SKL_TEST_STEPPER_H
#define SKL_TEST_STEPPER_H

#include <sys/types.h>

typedef struct {
    pid_t pid;
    long steps; /* made so far */
} stepper_t;

/* 1, or 0 with a text: ptrace is not permitted here. */
int stepper_start(stepper_t *st, void (*run)(void *), void *ctx,
                  const char **why);
/* One instruction. 1; 0: the call has returned; -1: the child has died. */
int stepper_step(stepper_t *st);
/* n instructions, or fewer at the end of the call. As stepper_step. */
int stepper_run(stepper_t *st, long n);
/* The rest of the call at full speed. 0; -1: the child has died. */
int stepper_finish(stepper_t *st);
/* SIGKILL, and wait until it is gone. */
void stepper_kill(stepper_t *st);

#endif
