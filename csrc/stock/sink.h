/*
 * The sink: where records go that must outlive the ring. A sink reads the
 * ring in LSN order and then allows those records to be overwritten. The log
 * file will be one; the memory sink below keeps a copy of everything and
 * rebuilds the tables from it, which proves that the records alone say all.
 *
 * Threads: one reader at a time in all processes (the holder of the flusher
 * role, or a test).
 */
#ifndef SKL_STOCK_SINK_H
#define SKL_STOCK_SINK_H

#include "stock/stock.h"

/* Takes one record; 0, or a negative code: the record stays in the ring. */
typedef int (*skl_sink_write_fn)(void *ctx, const skl_record_t *r);

/* From now on records wait in the ring until they are drained. */
void skl_sink_enable(skl_stock_t *s);
void skl_sink_disable(skl_stock_t *s);
/* Hand the new records over, at most `max`: how many, or a code. */
int skl_sink_read(skl_stock_t *s, skl_sink_write_fn take, void *ctx, int max);

/* ---- Memory sink --------------------------------------------------------- */

typedef struct skl_sink skl_sink_t;

skl_sink_t *skl_memory_sink_new(void);
void skl_memory_sink_free(skl_sink_t *sink);
int skl_memory_sink_write(void *sink, const skl_record_t *r);
/* Rebuild the tables in private memory and compare them with the live ones:
 * the number of differing bytes, or a code. `text` names the first one. */
int skl_memory_sink_compare(skl_sink_t *sink, skl_stock_t *s,
                            const uint32_t capacity[4], char *text,
                            size_t size);

#endif
