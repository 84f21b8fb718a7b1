/*
 * All file calls of the library in one place, so that tests can make any of
 * them fail. Each returns 0 or a value >= 0, or -errno. Calls are retried
 * after EINTR. Not for the request path.
 */
#ifndef SKL_BASE_OS_H
#define SKL_BASE_OS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Fault hook: asked with the call's name before each call; a positive errno
 * makes the call fail with it. Tests only; NULL otherwise. */
typedef int (*skl_os_fault_fn)(const char *call);
extern skl_os_fault_fn skl_os_fault;

int skl_os_open(const char *path, int flags, mode_t mode);
int skl_os_close(int fd);
int skl_os_mkdir(const char *path, mode_t mode);
int skl_os_unlink(const char *path);
int skl_os_rmdir(const char *path);
int skl_os_rename(const char *from, const char *to);
int skl_os_fstat(int fd, struct stat *st);
int skl_os_lstat(const char *path, struct stat *st);
int skl_os_fchown(int fd, uid_t uid, gid_t gid);
int skl_os_allocate(int fd, uint64_t bytes); /* posix_fallocate from 0 */
int skl_os_map(int fd, uint64_t bytes, int writable, void **out);
/* Make page tables and zeroed pages of a writable mapping now, not in a
 * request; only a wish (Linux 5.14). 0.2 s for each GB, in each process. */
void skl_os_populate(void *base, uint64_t bytes);
/* Zeroed private memory, in large pages where there are any: freed by
 * skl_os_unmap. -errno. */
int skl_os_map_private(uint64_t bytes, void **out);
/* Zeroed memory that children of this process share. -errno. */
int skl_os_map_shared(uint64_t bytes, void **out);
int skl_os_unmap(void *base, uint64_t bytes);
/* Take the file lock; -EWOULDBLOCK when somebody has it for 5 s. */
int skl_os_lock_file(int fd);
int skl_os_random(void *out, size_t len);
/* Read at most size - 1 bytes of a small file and terminate them. */
int skl_os_read_small(const char *path, char *out, size_t size);
/* Free bytes of the file system of an open file. */
int skl_os_free_bytes(int fd, uint64_t *out);
/* Show the names in a directory ("." and ".." left out). */
int skl_os_list(const char *dir, void (*see)(void *ctx, const char *name),
                void *ctx);
/* Unlink the files in a directory, which is not a link: how many. */
int skl_os_clear_dir(const char *dir);
/* uid and gid of a user name; -ENOENT. */
int skl_os_user(const char *name, uid_t *uid, gid_t *gid);

/* Open a file of somebody else for reading: follows links, never waits for a
 * writer of a FIFO. */
int skl_os_open_source(const char *path);
int skl_os_stat(const char *path, struct stat *st); /* follows links */
ssize_t skl_os_read(int fd, void *out, size_t size);
/* Set the file times to now: a sign for those who watch the directory. */
int skl_os_touch(const char *path);
/* Files of a directory, by its descriptor. */
int skl_os_openat(int dir, const char *name, int flags, mode_t mode);
int skl_os_renameat(int dir, const char *from, const char *to);
int skl_os_unlinkat(int dir, const char *name);
int skl_os_list_fd(int dir, void (*see)(void *ctx, const char *name),
                   void *ctx);
/* Both may do less than asked. */
ssize_t skl_os_pread(int fd, void *out, size_t n, uint64_t at);
ssize_t skl_os_pwrite(int fd, const void *from, size_t n, uint64_t at);
int skl_os_fdatasync(int fd);
int skl_os_fsync(int fd);
/* Begin to write what is in memory of a file to the disk; a wish. */
void skl_os_start_writeback(int fd);
int skl_os_truncate(int fd, uint64_t size);
int skl_os_allocate_range(int fd, uint64_t at, uint64_t n);
/* A file lock without waiting: shared or exclusive; -EWOULDBLOCK. */
int skl_os_try_lock(int fd, int exclusive);

/* Wait until *word is not `seen`, a wake-up, or timeout_ns; wake all who wait.
 * Between processes, in shared memory. */
void skl_os_futex_wait(_Atomic uint32_t *word, uint32_t seen,
                       int64_t timeout_ns);
void skl_os_futex_wake(_Atomic uint32_t *word);

/* Sleep, where no event can be waited for. */
void skl_os_pause(int64_t ns);

#endif
