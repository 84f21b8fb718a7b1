/*
 * Fuzzer of the reader of the overlay's log (libFuzzer).
 *
 * The first byte says whether checksums are put right, so that what stands
 * behind them is reached, too. Whatever the bytes are: only whole batches come
 * out, only states that a writer can have written, the table takes them, and
 * every record is either taken or counted as unusable.
 */
#include "acl/overlay_record.h"
#include "base/assert.h"
#include "base/crc32c.h"
#include "seckill.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LISTS = 2, CAPACITY = 8, RECORDS_MAX = 512 };

static const skl_hash_key_t KEY = {5, 6};
static skl_overlay_t overlay;
static uint64_t taken;

static int take(void *ctx, const skl_overlay_change_t *c, int n)
{
    (void)ctx;
    skl_assert(n >= 1 && n <= SKL_OVERLAY_BATCH + 1);
    for (int i = 0; i < n; i++) {
        const uint32_t kind = skl_overlay_kind(c[i].state);

        skl_assert(c[i].left == (uint32_t)(n - i - 1));
        skl_assert(c[i].state == 0 || kind == SKL_OVERLAY_DENY ||
                   kind == SKL_OVERLAY_REMOVED);
        skl_assert((c[i].type == SKL_CHANGE_BATCH) == (n > 1 && i == 0) ||
                   n == 1);
    }
    taken += (uint64_t)n;
    skl_assert(skl_overlay_restore(&overlay, 1, c, n, 1000) <= n);
    return 0;
}

static void read_all(skl_overlay_reader_t *r, uint8_t *bytes, size_t records,
                     int seal)
{
    skl_overlay_read_begin(r, 7, take, NULL);
    for (size_t i = 0; i < records; i++) {
        uint8_t *record = bytes + i * SKL_OVERLAY_RECORD;
        uint32_t crc = skl_crc32c(0, record + 4, SKL_OVERLAY_RECORD - 4);

        if (seal) {
            memcpy(record, &crc, sizeof(crc));
        }
        skl_assert(skl_overlay_read_record(r, record) == 0);
    }
    skl_overlay_read_end(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static skl_overlay_reader_t r;
    static uint8_t bytes[RECORDS_MAX * SKL_OVERLAY_RECORD];
    static void *base;
    const int seal = size > 0 && (data[0] & 1);
    size_t records = size > 0 ? (size - 1) / SKL_OVERLAY_RECORD : 0;

    if (base == NULL) {
        base = aligned_alloc(64, (skl_overlay_bytes(LISTS, CAPACITY) + 63) &
                                     ~(uint64_t)63);
        skl_assert(base != NULL);
    }
    memset(base, 0, skl_overlay_bytes(LISTS, CAPACITY));
    skl_overlay_init(base, LISTS, CAPACITY);
    skl_overlay_attach(&overlay, base, &KEY);
    records = records > RECORDS_MAX ? RECORDS_MAX : records;
    memcpy(bytes, size > 0 ? data + 1 : data, records * SKL_OVERLAY_RECORD);
    taken = 0;
    read_all(&r, bytes, records, seal);
    skl_assert(r.records == records);
    skl_assert(taken + r.unusable + (records > 0 && r.has_head) == records);
    skl_assert(skl_overlay_live(&overlay, 1) <= CAPACITY);
    skl_assert(skl_overlay_live(&overlay, 0) == 0);
    return 0;
}
