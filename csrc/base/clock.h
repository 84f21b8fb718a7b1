/*
 * The only reader of clocks. Engine modules take the time as an argument.
 * Values are int64 nanoseconds. Any thread; no system call (vdso).
 */
#ifndef SKL_BASE_CLOCK_H
#define SKL_BASE_CLOCK_H

#include <stdint.h>

#define SKL_NS_PER_SEC 1000000000LL
#define SKL_NS_PER_MS 1000000LL

int64_t skl_clock_mono_ns(void); /* CLOCK_MONOTONIC: the limiters */
int64_t skl_clock_boot_ns(void); /* CLOCK_BOOTTIME: counts suspend, too */
int64_t skl_clock_wall_ns(void); /* CLOCK_REALTIME: only to slew the ledger */

#endif
