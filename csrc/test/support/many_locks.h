/*
 * many_locks.h - for tests in which one thread holds more than 64 locks, which
 * is as many as the deadlock detector of TSan can count; header only.
 */
#ifndef SKL_TEST_MANY_LOCKS_H
#define SKL_TEST_MANY_LOCKS_H

__attribute__((visibility("default"))) const char *__tsan_default_options(void);

const char *__tsan_default_options(void)
{
    return "detect_deadlocks=0";
}

#endif
