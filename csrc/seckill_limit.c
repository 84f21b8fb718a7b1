/*
 * The limiters of the public API: checks what comes from callers, reads the
 * clock, brings tickets and answers into their public shape. The work is in
 * limit/.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "limit/rule.h"
#include "seckill.h"
#include "seckill_internal.h"

#include <string.h>

_Static_assert(sizeof(seckill_ticket_part_t) == sizeof(skl_limit_ticket_t),
               "a part of a public ticket is an internal one");

/* seckill_limiter_t is the public name of skl_limiter_t. */
static inline skl_limiter_t *inner(seckill_limiter_t *lim)
{
    return (skl_limiter_t *)(void *)lim;
}

static inline seckill_limiter_t *outer(skl_limiter_t *lim)
{
    return (seckill_limiter_t *)(void *)lim;
}

static inline skl_limit_ticket_t *part_of(seckill_ticket_t *ticket, uint32_t i)
{
    return (skl_limit_ticket_t *)(void *)&ticket->parts[i];
}

static inline int64_t now_or(int64_t now_ns)
{
    return now_ns != 0 ? now_ns : skl_clock_mono_ns();
}

/* ---- Limiters ------------------------------------------------------------ */

/* Numbers may name a time of the ledger: what it is ahead by now. */
static int64_t note_now(skl_limits_t *limits)
{
    seckill_t *sk =
        (void *)((char *)(void *)limits - offsetof(seckill_t, limits));
    const int64_t now = skl_clock_mono_ns();

    atomic_store(&limits->offset_ns, seckill_now(sk) - now);
    return now;
}

int seckill_limiter_open(seckill_t *sk, const char *name,
                         const seckill_limit_t *limit, seckill_limiter_t **out)
{
    const int64_t now = note_now(&sk->limits);
    skl_limiter_t *lim = NULL;
    int rc = skl_limits_open(&sk->limits, name, limit, now, &lim);

    if (rc == SECKILL_OK) {
        *out = outer(lim);
    }
    return rc;
}

int seckill_limiter_set(seckill_limiter_t *lim, const seckill_limit_t *limit)
{
    return skl_limiter_set(inner(lim), limit, note_now(inner(lim)->limits));
}

void seckill_limiter_get(seckill_limiter_t *lim, seckill_limit_t *out)
{
    skl_limiter_get(inner(lim), out);
}

static int check_key(const char *key, size_t key_len, size_t max)
{
    return key == NULL || key_len == 0 || key_len > max ? SECKILL_EBADKEY
                                                        : SECKILL_OK;
}

/* Who brings a rule may have keys as a lua_shared_dict takes them. */
static size_t key_max(const seckill_rule_t *rule)
{
    return rule != NULL ? SKL_LIMIT_KEY_MAX : SECKILL_ID_MAX;
}

int seckill_limiter_override(seckill_limiter_t *lim, const char *key,
                             size_t key_len, const seckill_limit_t *limit)
{
    skl_limit_place_t place;
    int rc = check_key(key, key_len, SECKILL_ID_MAX);

    if (rc != SECKILL_OK) {
        return rc;
    }
    skl_limiter_locate(inner(lim), key, key_len, &place);
    return skl_limiter_override(inner(lim), &place, limit,
                                note_now(inner(lim)->limits));
}

int seckill_limit_prepare(const seckill_limit_t *limit, seckill_rule_t *out)
{
    skl_limit_rule_t r;
    int rc = SECKILL_EBADOPTION;

    /* a time of the ledger: of which segment? */
    if (limit->warm_up_at_ns == 0) {
        rc = skl_limit_rule_make(&r, limit, 0);
    }

    if (rc == SECKILL_OK) {
        memset(out, 0, sizeof(*out));
        memcpy(out, &r, sizeof(r));
    }
    return rc;
}

int seckill_limiter_at(seckill_t *sk, uint32_t i, seckill_limiter_t **out)
{
    skl_limiter_t *lim = skl_limits_at(&sk->limits, i);

    *out = outer(lim);
    return lim != NULL ? SECKILL_OK : SECKILL_ENOTFOUND;
}

const char *seckill_limiter_name(seckill_limiter_t *lim)
{
    return skl_limiter_name(inner(lim));
}

void seckill_limiter_counts(seckill_limiter_t *lim,
                            seckill_limiter_counts_t *out)
{
    out->allowed = skl_limiter_counted(inner(lim), SKL_LIMIT_ALLOWED);
    out->rejected = skl_limiter_counted(inner(lim), SKL_LIMIT_REJECTED);
    out->delayed = skl_limiter_counted(inner(lim), SKL_LIMIT_DELAYED);
    out->shadow = skl_limiter_counted(inner(lim), SKL_LIMIT_SHADOWED);
    out->overflow = skl_limiter_counted(inner(lim), SKL_LIMIT_OVERFLOW);
    out->refunded = skl_limiter_counted(inner(lim), SKL_LIMIT_REFUNDED);
}

/* ---- Take ---------------------------------------------------------------- */

static void answer(const skl_limit_ask_t *ask, int rc, seckill_verdict_t *out)
{
    out->delay_ns = rc == SECKILL_OK ? ask->delay_ns : 0;
    out->retry_ns = rc == SECKILL_OK ? 0 : ask->retry_ns;
    out->reset_ns = ask->reset_ns;
    out->remaining = rc == SECKILL_OK ? (double)ask->remaining : 0;
    out->quota = (double)ask->quota;
    out->in_use = ask->in_use;
    out->mask = rc != SECKILL_OK;
    out->shadow = (uint32_t)ask->shadowed;
    out->rule = 0;
}

/* Mistakes of a caller are counted, too; the rest counts each limiter. */
static int refuse_call(skl_limiter_t *lim, int rc, int commit)
{
    if (commit) {
        skl_count_result(lim->limits->counters, SKL_OP_limiter, rc);
    }
    return rc;
}

/* Hot keys are those that are asked for, admitted or not. */
static inline void note(skl_limiter_t *lim, const skl_limit_place_t *place,
                        const char *key, size_t key_len, int64_t now_ns)
{
    /* of the long keys that drop-ins take the beginning is shown */
    skl_hot_note(lim->limits->hot, place->key, lim->index, key,
                 key_len < SECKILL_ID_MAX ? key_len : SECKILL_ID_MAX, now_ns);
}

static inline int take(seckill_limiter_t *lim, const seckill_rule_t *rule,
                       const char *key, size_t key_len, uint32_t cost,
                       int commit, int64_t now_ns, seckill_ticket_t *ticket,
                       seckill_verdict_t *out)
{
    skl_limit_ask_t ask = {.cost = cost, .commit = commit, .rule = rule};
    skl_limit_place_t place;
    int rc = check_key(key, key_len, key_max(rule));

    if (ticket != NULL) {
        ticket->count = 0;
        ask.ticket = part_of(ticket, 0);
    }
    rc = rc == SECKILL_OK && cost == 0 ? SECKILL_EBADQTY : rc;
    if (rc != SECKILL_OK) {
        return refuse_call(inner(lim), rc, commit);
    }
    /* Hash first, then the clock: it is read while the memory comes. */
    skl_limiter_locate(inner(lim), key, key_len, &place);
    ask.now_ns = now_or(now_ns);
    if (commit) {
        note(inner(lim), &place, key, key_len, ask.now_ns);
    }
    rc = skl_limiter_take(inner(lim), &place, &ask);
    if (rc != SECKILL_OK && rc != SECKILL_EREJECTED) {
        return refuse_call(inner(lim), rc, commit);
    }
    if (ticket != NULL && rc == SECKILL_OK && commit) {
        ticket->count = 1;
    }
    answer(&ask, rc, out);
    return rc;
}

int seckill_limiter_take(seckill_limiter_t *lim, const char *key,
                         size_t key_len, uint32_t cost, int commit,
                         int64_t now_ns, seckill_ticket_t *ticket,
                         seckill_verdict_t *out)
{
    return take(lim, NULL, key, key_len, cost, commit, now_ns, ticket, out);
}

int seckill_limiter_take_as(seckill_limiter_t *lim, const seckill_rule_t *rule,
                            const char *key, size_t key_len, uint32_t cost,
                            int commit, int64_t now_ns,
                            seckill_ticket_t *ticket, seckill_verdict_t *out)
{
    return take(lim, rule, key, key_len, cost, commit, now_ns, ticket, out);
}

/* ---- Combine ------------------------------------------------------------- */

static int64_t max_ns(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Is this what a client is to be told of? */
static int is_tighter(const skl_limit_ask_t *ask, int refuses,
                      const seckill_verdict_t *out)
{
    if (!refuses) {
        return (double)ask->remaining < out->remaining;
    }
#ifdef MUTANT_COMBINE_FIRST_REFUSAL
    return 0;
#endif
    return out->retry_ns >= 0 &&
           (ask->retry_ns < 0 || ask->retry_ns > out->retry_ns);
}

/* Put the answer of rule i to those before it. `told`: has there been one that
 * counts? */
static void merge(const skl_limit_ask_t *ask, uint32_t i, int rc,
                  seckill_verdict_t *out, int *told)
{
    const int refuses = (out->mask >> i & 1) != 0;

    out->delay_ns = rc == SECKILL_OK ? max_ns(out->delay_ns, ask->delay_ns) : 0;
    out->in_use = ask->in_use > out->in_use ? ask->in_use : out->in_use;
    out->shadow |= (uint32_t)ask->shadowed << i;
    if (refuses != (rc != SECKILL_OK) || ask->mode != SECKILL_LIMIT_ENFORCE) {
        return;
    }
    if (!*told || is_tighter(ask, refuses, out)) {
        out->rule = i;
        out->remaining = (double)ask->remaining;
        out->quota = (double)ask->quota;
        out->reset_ns = ask->reset_ns;
        out->retry_ns = refuses ? ask->retry_ns : 0;
    }
    *told = 1;
}

static int check_calls(uint32_t n, const char *const *keys, const size_t *lens,
                       uint32_t cost)
{
    if (n < 1 || n > SECKILL_COMBINE_MAX || cost == 0) {
        return SECKILL_EBADQTY;
    }
    for (uint32_t i = 0; i < n; i++) {
        int rc = check_key(keys[i], lens[i], SECKILL_ID_MAX);

        if (rc != SECKILL_OK) {
            return rc;
        }
    }
    return SECKILL_OK;
}

/* A permit without a ticket could not be released. */
static int check_no_ticket(uint32_t n, seckill_limiter_t *const *lims)
{
    for (uint32_t i = 0; i < n; i++) {
        if (skl_limiter_holds(inner(lims[i]))) {
            return SECKILL_EBADOPTION;
        }
    }
    return SECKILL_OK;
}

int seckill_combine(uint32_t n, seckill_limiter_t *const *lims,
                    const char *const *keys, const size_t *lens, uint32_t cost,
                    int commit, int64_t now_ns, seckill_ticket_t *ticket,
                    seckill_verdict_t *out)
{
    skl_limiter_t *in[SECKILL_COMBINE_MAX];
    skl_limit_place_t places[SECKILL_COMBINE_MAX];
    skl_limit_ask_t asks[SECKILL_COMBINE_MAX];
    seckill_ticket_t own;
    int told = 0;
    int rc = check_calls(n, keys, lens, cost);

    if (rc == SECKILL_OK && ticket == NULL && commit) {
        rc = check_no_ticket(n, lims);
    }
    ticket = ticket != NULL ? ticket : &own;
    ticket->count = 0;
    if (rc != SECKILL_OK) {
        return rc;
    }
    skl_assert(n >= 1 && n <= SECKILL_COMBINE_MAX);
    for (uint32_t i = 0; i < n; i++) {
        in[i] = inner(lims[i]);
        skl_limiter_locate(in[i], keys[i], lens[i], &places[i]);
    }
    now_ns = now_or(now_ns);
    for (uint32_t i = 0; i < n; i++) {
        asks[i] = (skl_limit_ask_t){.now_ns = now_ns,
                                    .cost = cost,
                                    .commit = commit,
                                    .ticket = part_of(ticket, i)};
        if (commit) {
            note(in[i], &places[i], keys[i], lens[i], now_ns);
        }
    }
    memset(out, 0, sizeof(*out));
    rc = skl_limiter_combine(n, in, places, asks, &out->mask);
    for (uint32_t i = 0; i < n; i++) {
        merge(&asks[i], i, rc, out, &told);
    }
    out->remaining = rc == SECKILL_OK ? out->remaining : 0;
    ticket->count = rc == SECKILL_OK && commit ? n : 0;
    return rc;
}

/* ---- Giving back --------------------------------------------------------- */

/* Undo (now_ns given) or leave (0) the parts of one limiter; NULL: of all. */
static int give_back(seckill_ticket_t *ticket, skl_limiter_t *lim,
                     int64_t now_ns)
{
    /* memory of the caller */
    const uint32_t count = ticket->count <= SECKILL_COMBINE_MAX
                               ? ticket->count
                               : SECKILL_COMBINE_MAX;
    int given = 0;

    skl_assert(now_ns >= 0);
    for (uint32_t i = 0; i < count; i++) {
        skl_limit_ticket_t *part = part_of(ticket, i);

        if (part->limiter == NULL || (lim != NULL && part->limiter != lim)) {
            continue;
        }
        given += now_ns != 0 ? skl_limiter_undo(part->limiter, part, now_ns)
                             : skl_limiter_leave(part->limiter, part);
    }
    return given;
}

int seckill_limiter_undo(seckill_limiter_t *lim, seckill_ticket_t *ticket,
                         int64_t now_ns)
{
    return give_back(ticket, inner(lim), now_or(now_ns)) > 0;
}

int seckill_limiter_leave(seckill_limiter_t *lim, seckill_ticket_t *ticket)
{
    return give_back(ticket, inner(lim), 0) > 0;
}

int seckill_ticket_undo(seckill_ticket_t *ticket, int64_t now_ns)
{
    int given = give_back(ticket, NULL, now_or(now_ns));

    ticket->count = 0;
    return given;
}

int seckill_ticket_leave(seckill_ticket_t *ticket)
{
    int given = give_back(ticket, NULL, 0);

    ticket->count = 0;
    return given;
}

int seckill_limiter_refund(seckill_limiter_t *lim, const seckill_rule_t *rule,
                           const char *key, size_t key_len, uint32_t cost,
                           int64_t now_ns)
{
    skl_limit_place_t place;
    int rc = check_key(key, key_len, key_max(rule));

    if (rc != SECKILL_OK) {
        return rc;
    }
    if (cost == 0) {
        return SECKILL_EBADQTY;
    }
    skl_limiter_locate(inner(lim), key, key_len, &place);
    return skl_limiter_refund(inner(lim), &place, rule, cost, now_or(now_ns));
}
