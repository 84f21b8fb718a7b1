/*
 * Sliding log: at most `limit` admissions in any interval of the window.
 *
 * A key has `limit` stamps, each a key of the table with a bucket of its own,
 * of one token in the window: a stamp that was used at an instant is free
 * again a window later. A take uses any free stamp. So each stamp admits at
 * most once in any interval of the window, and all of them `limit` times; and
 * while fewer than `limit` were admitted in the last window one of them is
 * free. One compare-and-swap for each stamp, no order among them to be kept.
 *
 * A key's stamps have fingerprints, groups and cells in a row (slots.h).
 *
 * When the limit is lowered, stamps behind the new limit may still be in use.
 * Then only the first m are used, with m + (in use from m on) <= limit: what is
 * in use from m on only gets less, so all together never exceed the limit.
 *
 * Any thread; see limits.h.
 */
#include "limit/take.h"

#include "base/assert.h"

typedef struct {
    uint32_t limit, count; /* stamps to be looked at: `count` */
    skl_limit_place_t place[SKL_LIMIT_LOG_MAX];
    uint64_t depth[SKL_LIMIT_LOG_MAX]; /* units until it is free */
    uint32_t used;                     /* stamps in use */
    uint32_t first;                    /* the first m may be used */
} stamps_t;

/* A limit that changed a window ago or less may have stamps behind it. */
static uint32_t stamps_of(const skl_limit_take_t *t)
{
#ifndef MUTANT_LIMIT_LOG_FORGETS
    if (t->ask->rule != NULL || t->rule.debt_until_ns > t->ask->now_ns) {
        return SKL_LIMIT_LOG_MAX;
    }
#endif
    return (uint32_t)t->rule.limit;
}

static void find_first(stamps_t *s)
{
    uint32_t behind = 0;

    for (uint32_t i = s->limit; i < s->count; i++) {
        behind += s->depth[i] > 0;
    }
    s->first = s->limit;
    while (s->first > 0 && s->first + behind > s->limit) {
        s->first--;
        behind += s->depth[s->first] > 0;
    }
}

static void look(const skl_limit_take_t *t, stamps_t *s)
{
    const skl_limits_t *l = t->lim->limits;

    s->limit = (uint32_t)t->rule.limit;
    s->count = stamps_of(t);
    s->used = 0;
    skl_assert(s->count <= SKL_LIMIT_LOG_MAX && s->limit <= s->count);
    for (uint32_t i = 0; i < s->count; i++) {
        skl_slot_place(l, t->place->key + i, &s->place[i]);
        __builtin_prefetch(s->place[i].group[0], 1);
        __builtin_prefetch(s->place[i].group[1], 1);
    }
    for (uint32_t i = 0; i < s->count; i++) {
        uint64_t tat = skl_take_look(l, t->lim->record, &s->place[i]);

        s->depth[i] = skl_limit_depth(tat, t->now);
        s->used += s->depth[i] > 0;
    }
    find_first(s);
}

/* Units until `ends` more stamps are free. */
static uint64_t until_free(const stamps_t *s, uint32_t ends)
{
    uint64_t best = 0;

    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t before = 0;

        for (uint32_t j = 0; j < s->count; j++) {
            before +=
                s->depth[j] > 0 && (s->depth[j] < s->depth[i] ||
                                    (s->depth[j] == s->depth[i] && j < i));
        }
        if (s->depth[i] > 0 && before + 1 == ends) {
            best = s->depth[i];
        }
    }
    return best;
}

static uint64_t until_all_free(const stamps_t *s)
{
    uint64_t longest = 0;

    for (uint32_t i = 0; i < s->count; i++) {
        longest = s->depth[i] > longest ? s->depth[i] : longest;
    }
    return longest;
}

static int refuse(skl_limit_take_t *t, const stamps_t *s)
{
    skl_limit_ask_t *ask = t->ask;

    ask->reset_ns = skl_limit_ns(until_all_free(s));
    ask->retry_ns = -1;
    if (ask->cost <= s->limit) {
        ask->retry_ns =
            skl_limit_ns(until_free(s, s->used + ask->cost - s->limit));
    }
    return SECKILL_EREJECTED;
}

/* Use one stamp; its bit in a ticket, 0: somebody else was faster. */
static uint64_t use(const skl_limit_take_t *t, const stamps_t *s, uint32_t i)
{
    skl_limit_ticket_t ticket = {0};
    skl_limit_ask_t ask = *t->ask;
    skl_limit_take_t one = *t;

    skl_assert(i < s->first && one.rule.interval > 0);
    ask.ticket = &ticket;
    ask.cost = 1;
    one.ask = &ask;
    one.place = &s->place[i];
    one.rule.algorithm = SECKILL_TOKEN_BUCKET;
    one.rule.limit = UINT64_C(1) << 62;
    one.rule.debt_until_ns = 0; /* a stamp is in use for a window, always */
    one.charge = one.window = one.rule.interval;
    if (skl_take_key(&one) != SECKILL_OK) {
        return 0;
    }
    return UINT64_C(1) << (ticket.key <= SKL_LIMIT_CELL_MAX
                               ? i + SKL_LIMIT_LOG_MAX
                               : i);
}

static void fill_ticket(const skl_limit_take_t *t, skl_limit_ticket_t *ticket,
                        uint64_t bits)
{
    ticket->limiter = t->lim;
    ticket->at = t->now;
    ticket->key = t->place->key;
    ticket->depth = t->rule.interval;
    ticket->charge = bits;
}

/* As many as it costs, or none: 1 or 0. */
static int use_all(skl_limit_take_t *t, const stamps_t *s)
{
    skl_limit_ticket_t ticket;
    uint64_t bits = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->first && n < t->ask->cost; i++) {
        uint64_t bit = s->depth[i] == 0 ? use(t, s, i) : 0;

        bits |= bit;
        n += bit != 0;
    }
    fill_ticket(t, &ticket, bits);
    if (n < t->ask->cost) {
        skl_log_undo(t->lim, &ticket);
        return 0;
    }
    if (t->ask->ticket != NULL) {
        *t->ask->ticket = ticket;
    }
    return 1;
}

int skl_take_log(skl_limit_take_t *t)
{
    stamps_t s;

    do {
        look(t, &s);
        if (s.used + (uint64_t)t->ask->cost > s.limit) {
            return refuse(t, &s);
        }
        t->ask->remaining = s.limit - s.used - t->ask->cost;
        t->ask->reset_ns = skl_limit_ns(t->rule.interval);
    } while (t->ask->commit && !use_all(t, &s));
    return SECKILL_OK;
}

/* ---- Giving back --------------------------------------------------------- */

static int free_cell(skl_limiter_t *lim, uint64_t key, uint64_t from,
                     uint64_t to)
{
    return atomic_compare_exchange_strong(
        &lim->record->cells[skl_slot_cell(key)], &from, to);
}

static int free_slot(skl_limiter_t *lim, uint64_t key, uint64_t from,
                     uint64_t to)
{
    skl_limit_place_t place;
    skl_limit_slot_t *slot;

    skl_slot_place(lim->limits, key, &place);
    slot = skl_slot_find(&place);
    return slot != NULL && skl_slot_swap(slot, key, from, key, to);
}

/* A stamp shows the instant of its use, which is never the same twice. It is
 * free again for those, too, whose clock is behind by less than the window. */
int skl_log_undo(skl_limiter_t *lim, const skl_limit_ticket_t *ticket)
{
    const uint64_t from = ticket->at + ticket->depth;
    const uint64_t to = ticket->at - ticket->depth;
    int given = 0;

    skl_assert(ticket->key % SKL_LIMIT_LOG_MAX == 0);
    for (uint32_t i = 0; i < SKL_LIMIT_LOG_MAX; i++) {
        uint64_t key = ticket->key + i;

        if ((ticket->charge >> i & 1) != 0) {
            given += free_slot(lim, key, from, to);
        } else if ((ticket->charge >> (i + SKL_LIMIT_LOG_MAX) & 1) != 0) {
            given += free_cell(lim, key, from, to);
        }
    }
    return given > 0;
}

/* The newest stamp in use; 0: none is. */
static int free_newest(skl_limiter_t *lim, uint64_t key, uint64_t now)
{
    uint64_t newest = 0;
    uint64_t tat = 0;
    uint32_t which = 0;

    for (uint32_t i = 0; i < SKL_LIMIT_LOG_MAX; i++) {
        skl_limit_place_t place;
        skl_limit_slot_t *slot;
        uint64_t found;

        skl_slot_place(lim->limits, key + i, &place);
        slot = skl_slot_find(&place);
        if (slot != NULL && skl_slot_read(slot, key + i, &found) &&
            skl_limit_depth(found, now) > newest) {
            newest = skl_limit_depth(found, now);
            tat = found;
            which = i;
        }
    }
    return newest > 0 && free_slot(lim, key + which, tat, now);
}

int skl_log_refund(skl_limiter_t *lim, uint64_t key, uint32_t cost,
                   uint64_t now)
{
    uint32_t n = 0;

    while (n < cost && n < SKL_LIMIT_LOG_MAX && free_newest(lim, key, now)) {
        n++;
    }
    return n > 0;
}
