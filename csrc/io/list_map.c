/* Mapping of index files; see list_map.h. */
#include "io/list_map.h"

#include "base/assert.h"
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { RACES = 8 };

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

void skl_list_path(const skl_segment_t *seg, const skl_list_slot_t *slot,
                   uint64_t word, char *out, size_t size)
{
    char dir[SKL_PATH_MAX + 16];

    skl_assert(skl_list_generation(word) > 0);
    skl_segment_dir_of(seg, skl_list_uid(word), dir, sizeof(dir));
    (void)snprintf(out, size, "%.271s/list.%s.%" PRIu64, dir, slot->name,
                   skl_list_generation(word));
}

uint64_t skl_list_owner(const skl_lists_t *l, const skl_list_slot_t *slot)
{
    return skl_hash128(&l->key, slot->name, strlen(slot->name)).lo ^
           skl_mix64(slot->kind);
}

static void free_view(skl_list_view_t *view)
{
    int rc = skl_os_unmap(view->base, view->bytes);

    skl_assert(view->base != NULL);
    skl_assert(rc == 0);
    free(view);
}

/* The list's, and of this generation. */
static int belongs(const struct seckill_list *list, uint64_t word,
                   uint32_t kind, uint64_t owner, uint64_t generation)
{
    return kind == list->slot->kind &&
           owner == skl_list_owner(list->lists, list->slot) &&
           generation == skl_list_generation(word);
}

static int open_view(const struct seckill_list *list, skl_list_view_t *view)
{
    const char *why;
    int rc, ours;

    if (list->slot->kind == SECKILL_LIST_IP) {
        const skl_net_header_t *h = view->base;

        rc = skl_net_open(&view->nets, view->base, view->bytes, &why);
        ours = rc == SECKILL_OK &&
               belongs(list, view->word, h->kind, h->owner, h->generation);
    } else {
        const skl_index_header_t *h = view->base;

        rc = skl_index_open(&view->index, view->base, view->bytes, &why);
        ours = rc == SECKILL_OK &&
               belongs(list, view->word, h->kind, h->owner, h->generation);
    }
    return rc == SECKILL_OK && !ours ? SECKILL_ECORRUPT : rc;
}

static int map_fd(const struct seckill_list *list, int fd,
                  skl_list_view_t *view)
{
    struct stat st;
    int rc = skl_os_fstat(fd, &st);

    if (rc == 0 && st.st_size < SKL_INDEX_HEADER) {
        return SECKILL_ECORRUPT;
    }
    view->bytes = rc == 0 ? (uint64_t)st.st_size : 0;
    rc = rc == 0 ? skl_os_map(fd, view->bytes, 0, &view->base) : rc;
    if (rc != 0) {
        return SECKILL_EIO;
    }
    /* Page tables now, so that the reader meets no faults; only a wish. */
    (void)madvise(view->base, view->bytes, MADV_POPULATE_READ);
    rc = open_view(list, view);
    if (rc != SECKILL_OK) {
        (void)skl_os_unmap(view->base, view->bytes);
    }
    return rc;
}

/* ENOTFOUND: there is no such file, or not any more. */
static int map_word(const skl_segment_t *seg, struct seckill_list *list,
                    uint64_t word)
{
    char path[SKL_LIST_PATH_MAX];
    skl_list_view_t *view, *old;
    int fd, rc;

    skl_assert(word != 0);
    skl_list_path(seg, list->slot, word, path, sizeof(path));
    fd = skl_os_open(path, O_RDONLY, 0);
    if (fd < 0) {
        return fd == -ENOENT ? SECKILL_ENOTFOUND : SECKILL_EIO;
    }
    view = calloc(1, sizeof(*view));
    if (view != NULL) {
        view->word = word;
    }
    rc = view != NULL ? map_fd(list, fd, view) : SECKILL_ENOMEM;
    (void)skl_os_close(fd);
    if (rc != SECKILL_OK) {
        free(view);
        return rc;
    }
    old = skl_list_offer(list, view);
    if (old != NULL) {
        free_view(old);
    }
    return SECKILL_OK;
}

/* The file may be replaced between reading the word and opening it. */
static int map_current(const skl_segment_t *seg, struct seckill_list *list,
                       int again)
{
    uint64_t word = 0;
    int rc = SECKILL_OK;

    for (int i = 0; i < RACES; i++) {
        uint64_t before = word;

        word = atomic_load(&list->slot->current);
        if (word == 0 || word == atomic_load(&list->seen_word) ||
            (word == atomic_load(&list->failed_word) && !again)) {
            return 0;
        }
        if (rc != SECKILL_OK && word == before) {
            break;
        }
        rc = map_word(seg, list, word);
        if (rc == SECKILL_OK) {
            atomic_store(&list->failed_word, 0);
            return 1;
        }
    }
    atomic_store(&list->failed_word, word);
    return rc == SECKILL_ENOTFOUND ? SECKILL_EIO : rc;
}

int skl_list_map(const skl_segment_t *seg, struct seckill_list *list, int again)
{
    uint32_t epoch = skl_lists_epoch();
    uint32_t before = atomic_load(&list->mapping);
    int rc;

    /* A thread of the parent that mapped at fork() is not in this process. */
    if (before == epoch ||
        !atomic_compare_exchange_strong(&list->mapping, &before, epoch)) {
        return SECKILL_EBUSY;
    }
    rc = map_current(seg, list, again);
    atomic_store(&list->mapping, 0);
    return rc;
}

void skl_list_unmap_retired(struct seckill_list *list)
{
    skl_list_view_t *view = skl_list_retired(list);

    while (view != NULL) {
        skl_list_view_t *next = view->next;

        free_view(view);
        view = next;
    }
}

int skl_list_reachable(const skl_segment_t *seg, const skl_list_slot_t *slot)
{
    char path[SKL_LIST_PATH_MAX];
    uint64_t word = atomic_load(&slot->current);
    int fd;

    if (word == 0) {
        return 0;
    }
    skl_list_path(seg, slot, word, path, sizeof(path));
    fd = skl_os_open(path, O_RDONLY, 0);
    if (fd >= 0) {
        (void)skl_os_close(fd);
    }
    return fd >= 0;
}
