/*
 * Ids: formats of request ids, and the reservation id.
 *
 * Timed request ids carry the millisecond they were made in: UUIDv7 (RFC 9562,
 * 5.7) in its text form of 36 characters, ULID (26 characters of Crockford's
 * base 32, any case). An id older than the window is refused instead of being
 * executed again; one more than a minute ahead of the ledger is no id at all.
 *
 * A reservation id is <incarnation>-<slot>-<lsn> in hex. The LSN never repeats
 * in one life of a ledger and the incarnation tells lives apart.
 */
#ifndef SKL_STOCK_IDS_H
#define SKL_STOCK_IDS_H

#include <stddef.h>
#include <stdint.h>

#define SKL_ID_AHEAD_NS 60000000000LL

/* SECKILL_OK and *time_ns (INT64_MAX for opaque ids), or EBADREQUEST. */
int skl_request_time(uint32_t format, const char *id, size_t len,
                     int64_t *time_ns);

/* Writes at most 34 characters; returns how many. */
uint8_t skl_row_id_format(char *out, uint32_t incarnation, uint32_t slot,
                          uint64_t lsn);
/* 1, or 0 for bytes that are no such id. */
int skl_row_id_parse(const char *id, size_t len, uint32_t *incarnation,
                     uint32_t *slot, uint64_t *lsn);

#endif
