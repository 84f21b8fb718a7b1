/*
 * Who may use a data directory.
 *
 * Everybody who has an engine of it open holds a shared flock on `lock`; it
 * belongs to the open file, so children keep it. Who gets it exclusively knows
 * that nobody is alive, and may rebuild. Openers are serialised by an exclusive
 * flock on `open.lock`.
 *
 * Files belong to the owner of the directory, modes 0700 and 0600. Root makes
 * a new directory for the option `user`, else for itself.
 *
 * Threads: one, at open.
 */
#ifndef SKL_IO_WAL_DIR_H
#define SKL_IO_WAL_DIR_H

#include "io/fs.h"

typedef struct {
    skl_fs_t *fs;
    uid_t uid; /* owner of the directory */
    gid_t gid;
    int lock_fd;      /* -1: not entered */
    int open_lock_fd; /* -1: settled */
    int alone;        /* 1: no other process uses it */
} skl_wal_dir_t;

/* Make the directory if it is absent, durably, and take both locks; waits up to
 * a minute for another opener. SECKILL_OK; ENOTOWNER, EUNKNOWNUSER, EBUSY, EIO,
 * ENOMEM with a text that names the path. */
int skl_wal_dir_enter(skl_wal_dir_t *d, const char *path, const char *user,
                      char *err, size_t err_size);
/* The opening is over: share the directory, let other openers in. */
void skl_wal_dir_settle(skl_wal_dir_t *d);
/* Let go of it. */
void skl_wal_dir_leave(skl_wal_dir_t *d);

#endif
