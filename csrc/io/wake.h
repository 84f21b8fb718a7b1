/*
 * The wake socket: a listening unix socket of one process, on which its event
 * loop connects to be woken (io/cq.h writes the bytes).
 *
 * Path: <directory of the process's user>/<pid>.<sequence>.sock, mode 0600.
 * Sockets of processes that are gone are removed when one is made. One
 * connection counts: a new one takes the place of the one before.
 *
 * Threads: made and closed by the starting thread, otherwise the io thread.
 */
#ifndef SKL_IO_WAKE_H
#define SKL_IO_WAKE_H

#include <stddef.h>

enum { SKL_WAKE_PATH_MAX = 108 };

typedef struct {
    int fd; /* listening; -1 */
    char path[SKL_WAKE_PATH_MAX];
} skl_wake_t;

/* EIO; `err` names the path or call. */
int skl_wake_open(skl_wake_t *wake, const char *dir, char *err,
                  size_t err_size);
/* Those who wait to be accepted see the end of the stream. */
void skl_wake_close(skl_wake_t *wake);
/* A new connection, or -1. */
int skl_wake_accept(skl_wake_t *wake);
/* Read what the other side sent, which means nothing; 0 when it is gone. */
int skl_wake_drain(int fd);

#endif
