/* See hot.h. */
#include "limit/hot.h"

#include "base/assert.h"
#include "base/hash.h"

#include <string.h>

enum {
    KEYS = SKL_HOT_KEYS,
    ROWS = SKL_HOT_ROWS,
    WORDS = SECKILL_ID_MAX / 8,
    SHIFT_MAX = 8,
    PACE = 64,             /* samples between two looks at shift */
    GAP_NS = 10000,        /* wanted between two samples, to 4 times that */
    LULL_NS = 32 * GAP_NS, /* this is no load at all */
    WIDTH_MIN = 64,
    KEYS_PER_CELL = 16, /* limit_keys, in a small segment */
    MERGED = 2 * KEYS * SKL_STRIPES
};

#define DECAY 1.08

/*
 * A count and the period it was written in share a word:
 *   list, total, floor:  period 34 | count 30
 *   cell of the sketch:  tag 20 | period 14 | count 30
 * 14 bits of a period wrap after 45 hours: a cell that rested for just that
 * long looks new once, and only to a key with the same tag.
 */
#define COUNT_BITS 30
#define COUNT_MAX ((UINT32_C(1) << COUNT_BITS) - 1)
#define CELL_PERIODS 0x3fffU
#define TAG_SHIFT 44

/* Who an entry is, below its checksum. */
typedef struct {
    _Atomic uint64_t check; /* 0: being written */
    _Atomic uint64_t name;  /* limiter << 32 | length of the key */
    _Atomic uint64_t key[WORDS];
} entry_t;

typedef struct {
    _Alignas(64) _Atomic uint64_t total; /* takes of all keys */
    _Atomic uint64_t floor;              /* no entry has less than this */
    /* Apart from the entries: these are searched. */
    _Alignas(64) _Atomic uint64_t fingerprint[KEYS]; /* 0: free */
    _Atomic uint64_t count[KEYS];
    entry_t entries[KEYS];
} stripe_t;

struct skl_hot_shm {
    _Alignas(64) uint32_t width; /* cells of a row, a power of two */
    _Atomic int64_t born;        /* time of the first sample */
    stripe_t stripes[SKL_STRIPES];
    _Atomic uint64_t cells[]; /* of stripe 0, row 0; row 1 ... */
};

_Static_assert(SECKILL_ID_MAX % 8 == 0, "a key is whole words");
_Static_assert(sizeof(stripe_t) % 64 == 0, "stripes share no line");
_Static_assert(ROWS * 10 <= TAG_SHIFT, "rows and tag use different bits");
_Static_assert(SKL_HOT_WIDTH <= 1 << 10, "a row takes 10 bits");
_Static_assert((MERGED & (MERGED - 1)) == 0, "% is a mask");

/* One sample on its way. */
typedef struct {
    skl_hot_t *h;
    stripe_t *stripe;
    uint64_t fingerprint;
    int64_t now_ns;
    uint64_t period; /* number of the current one */
    uint32_t shift;
    uint32_t weight;           /* takes that it stands for */
    uint64_t words[1 + WORDS]; /* name and key, as in the entry */
} sample_t;

/* ---- Section ------------------------------------------------------------- */

static uint32_t width_for(uint32_t limit_keys)
{
    uint32_t width = WIDTH_MIN;

    while (width < SKL_HOT_WIDTH && width < limit_keys / KEYS_PER_CELL) {
        width *= 2;
    }
    return width;
}

uint64_t skl_hot_bytes(uint32_t limit_keys)
{
    return sizeof(skl_hot_shm_t) + sizeof(uint64_t) * SKL_STRIPES * ROWS *
                                       (uint64_t)width_for(limit_keys);
}

uint64_t skl_hot_signature(void)
{
    const uint64_t parts[] = {sizeof(skl_hot_shm_t),
                              offsetof(skl_hot_shm_t, stripes),
                              offsetof(stripe_t, count),
                              offsetof(stripe_t, entries),
                              sizeof(entry_t),
                              KEYS,
                              ROWS,
                              SKL_HOT_WIDTH,
                              (uint64_t)SKL_HOT_PERIOD_NS,
                              COUNT_BITS};
    const uint64_t format = 1;

    return skl_mix_parts(format, parts, sizeof(parts) / sizeof(parts[0]));
}

void skl_hot_init(void *section, uint32_t limit_keys)
{
    skl_hot_shm_t *shm = section;

    skl_assert((uintptr_t)section % 64 == 0);
    skl_assert(limit_keys >= 1);
    shm->width = width_for(limit_keys);
    atomic_init(&shm->born, 0);
}

void skl_hot_attach(skl_hot_t *h, void *section, const skl_counters_t *counters)
{
    double chance = 4294967295.0;

    memset(h, 0, sizeof(*h));
    h->shm = section;
    h->counters = counters;
    skl_assert(h->shm->width >= WIDTH_MIN && h->shm->width <= SKL_HOT_WIDTH);
    skl_assert((h->shm->width & (h->shm->width - 1)) == 0);
    skl_assert((uintptr_t)h->shm->cells % 8 == 0);
    atomic_init(&h->random, 1);
    for (int i = 0; i < SKL_HOT_FADES; i++) {
        h->fades[i] = (uint32_t)chance;
        chance /= DECAY;
    }
}

/* ---- Counts -------------------------------------------------------------- */

static inline uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static inline void store(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/* What is left of a count after `age` periods. One period ahead: the writer
 * read its clock later than the reader. More is no time at all. */
static inline uint32_t faded(uint64_t word, int64_t age)
{
    uint32_t count = (uint32_t)word & COUNT_MAX;

#ifdef MUTANT_HOT_NO_DECAY
    return age < -1 || age > 30 ? 0 : count;
#else
    if (age < -1 || age >= COUNT_BITS) {
        return 0;
    }
    return age > 0 ? count >> age : count;
#endif
}

static inline uint32_t count_in(uint64_t word, uint64_t period)
{
    return faded(word, (int64_t)(period - (word >> COUNT_BITS)));
}

static inline int64_t age_of_cell(uint64_t word, uint64_t period)
{
    uint64_t age = (period - (word >> COUNT_BITS)) & CELL_PERIODS;

    return (int64_t)age - (age > CELL_PERIODS / 2 ? CELL_PERIODS + 1 : 0);
}

/* The period to write: not back, or who is ahead would halve again. */
static inline uint64_t newer(uint64_t word, uint64_t period)
{
    return word >> COUNT_BITS == period + 1 ? period + 1 : period;
}

static inline uint64_t pack(uint64_t period, uint32_t count)
{
    return period << COUNT_BITS | count;
}

static inline uint32_t plus(uint32_t count, uint32_t weight)
{
    return count > COUNT_MAX - weight ? COUNT_MAX : count + weight;
}

static uint64_t next_random(skl_hot_t *h)
{
    uint64_t x = load(&h->random) + UINT64_C(0x9e3779b97f4a7c15);

    store(&h->random, x);
    return skl_mix64(x);
}

/* ---- The sketch ---------------------------------------------------------- */

/* The key meets one of its cells: its count there, 0 when it is another's. */
static uint32_t strike(const sample_t *a, _Atomic uint64_t *cell, uint64_t tag,
                       uint32_t chance)
{
    uint64_t word = load(cell);
    uint64_t owner = word >> TAG_SHIFT;
    int64_t age = age_of_cell(word, a->period);
    uint32_t count = faded(word, age);
    uint64_t period = (a->period + (age == -1 ? 1 : 0)) & CELL_PERIODS;
    uint32_t unit = count >> a->shift;

    if (owner == tag || count == 0) {
        owner = tag;
        count = plus(count, a->weight);
    } else if (chance >
               a->h->fades[unit < SKL_HOT_FADES ? unit : SKL_HOT_FADES - 1]) {
        return 0;
    } else if (count > a->weight) {
        count -= a->weight;
    } else {
        owner = tag;
        count = a->weight;
    }
    skl_assert(count >= 1 && count <= COUNT_MAX);
    store(cell, owner << TAG_SHIFT | period << COUNT_BITS | count);
    return owner == tag ? count : 0;
}

/* Count the sample; what its key has by now. */
static uint32_t count_key(const sample_t *a)
{
    const skl_hot_shm_t *shm = a->h->shm;
    uint64_t bits = skl_mix64(a->fingerprint);
    uint64_t tag = bits >> TAG_SHIFT;
    uint64_t number = (uint64_t)(a->stripe - shm->stripes);
    _Atomic uint64_t *row = a->h->shm->cells + number * ROWS * shm->width;
    uint64_t random = next_random(a->h), more = next_random(a->h);
    uint32_t best = 0;

    for (uint32_t i = 0; i < ROWS; i++) {
        uint32_t chance = (uint32_t)((i < 2 ? random : more) >> (i % 2 * 32));
        uint32_t count = strike(a, &row[bits & (shm->width - 1)], tag, chance);

        best = count > best ? count : best;
        bits >>= 10; /* the next row's */
        row += shm->width;
    }
    return best;
}

/* ---- The list ------------------------------------------------------------ */

static uint64_t checksum(uint64_t fingerprint, const uint64_t *words)
{
    uint64_t sum = fingerprint;

    for (int i = 0; i < 1 + WORDS; i++) {
        sum = (sum ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
    }
    return sum == 0 ? 1 : sum;
}

static void read_words(const entry_t *e, uint64_t *words)
{
    words[0] = atomic_load_explicit(&e->name, memory_order_acquire);
    for (int i = 0; i < WORDS; i++) {
        words[1 + i] = atomic_load_explicit(&e->key[i], memory_order_acquire);
    }
}

/* Release: who sees a new word sees the cleared checksum, too. */
static void write_entry(const sample_t *a, uint32_t i, uint32_t count)
{
    stripe_t *s = a->stripe;
    entry_t *e = &s->entries[i];

    skl_assert(i < KEYS && count <= COUNT_MAX);
    store(&e->check, 0);
    atomic_store_explicit(&s->fingerprint[i], a->fingerprint,
                          memory_order_release);
    atomic_store_explicit(&s->count[i], pack(a->period, count),
                          memory_order_release);
    atomic_store_explicit(&e->name, a->words[0], memory_order_release);
    for (int k = 0; k < WORDS; k++) {
        atomic_store_explicit(&e->key[k], a->words[1 + k],
                              memory_order_release);
    }
    atomic_store_explicit(&e->check, checksum(a->fingerprint, a->words),
                          memory_order_release);
}

static uint32_t find(const stripe_t *s, uint64_t fingerprint)
{
    uint32_t i = 0;

    while (i < KEYS && load(&s->fingerprint[i]) != fingerprint) {
        i++;
    }
    return i;
}

/* Does the entry say what it should? Not after a death or a race in it. */
static int is_whole(const sample_t *a, const entry_t *e)
{
    uint64_t words[1 + WORDS];

#ifdef MUTANT_HOT_NEVER_MENDED
    return 1;
#endif
    read_words(e, words);
    return memcmp(words, a->words, sizeof(words)) == 0 &&
           load(&e->check) == checksum(a->fingerprint, words);
}

static void raise_entry(const sample_t *a, uint32_t i, uint32_t estimate)
{
    _Atomic uint64_t *at = &a->stripe->count[i];
    uint64_t word = load(at);
    uint32_t count = count_in(word, a->period);

    count = estimate > count ? estimate : count;
    if (is_whole(a, &a->stripe->entries[i])) {
        store(at, pack(newer(word, a->period), count));
    } else {
        write_entry(a, i, count);
    }
}

/* Put a key that is not listed into the place of the least one, if it has more
 * than that. The floor spares the search: within a period counts only rise. */
static void enter(const sample_t *a, uint32_t estimate)
{
    stripe_t *s = a->stripe;
    uint64_t floor = load(&s->floor);
    uint32_t least = UINT32_MAX, second = UINT32_MAX, at = 0;

    if (floor >> COUNT_BITS == a->period &&
        estimate <= ((uint32_t)floor & COUNT_MAX)) {
        return;
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        uint32_t count = count_in(load(&s->count[i]), a->period);

        if (count < least) {
            second = least;
            least = count;
            at = i;
        } else if (count < second) {
            second = count;
        }
    }
    if (estimate > least) {
        write_entry(a, at, estimate);
        least = estimate < second ? estimate : second;
    }
    store(&s->floor, pack(a->period, least));
}

/* ---- Samples ------------------------------------------------------------- */

static int64_t since(const _Atomic int64_t *then, int64_t now_ns)
{
    uint64_t at = (uint64_t)atomic_load_explicit(then, memory_order_relaxed);

    return (int64_t)((uint64_t)now_ns - at);
}

/* Keep the distance of samples. After a lull a few steps at once: otherwise
 * the few takes that come now would hardly be seen. */
static uint32_t pace(skl_hot_t *h, uint32_t shift, int64_t now_ns)
{
    int64_t gap = since(&h->sampled_at, now_ns);
    uint32_t n = atomic_load_explicit(&h->samples, memory_order_relaxed) + 1;

    atomic_store_explicit(&h->sampled_at, now_ns, memory_order_relaxed);

    if (gap > LULL_NS) {
        shift = shift > 4 ? shift - 4 : 0;
        n = PACE;
    } else if (n >= PACE) {
        gap = since(&h->paced_at, now_ns) / PACE;
        if (gap < GAP_NS && shift < SHIFT_MAX) {
            shift++;
        } else if (gap > 4 * GAP_NS && shift > 0) {
            shift--;
        }
    }
    if (n >= PACE) {
        n = 0;
        atomic_store_explicit(&h->paced_at, now_ns, memory_order_relaxed);
    }
    atomic_store_explicit(&h->samples, n, memory_order_relaxed);
    return shift;
}

/* 1 .. 2^(shift + 1) - 1 takes to the next sample, 2^shift in the mean. */
static void plan(skl_hot_t *h, uint32_t shift)
{
    uint32_t span = (UINT32_C(2) << shift) - 1;

    skl_assert(shift <= SHIFT_MAX);
    atomic_store_explicit(&h->shift, shift, memory_order_relaxed);
    atomic_store_explicit(&h->skip, 1 + skl_hash_range(next_random(h), span),
                          memory_order_relaxed);
}

static void count_total(const sample_t *a)
{
    _Atomic uint64_t *total = &a->stripe->total;
    uint64_t word = load(total);
    uint32_t count = plus(count_in(word, a->period), a->weight);
    int64_t born = 0;

    store(total, pack(newer(word, a->period), count));
    if (atomic_load_explicit(&a->h->shm->born, memory_order_relaxed) == 0) {
        (void)atomic_compare_exchange_strong(&a->h->shm->born, &born,
                                             a->now_ns);
    }
}

void skl_hot_sample(skl_hot_t *h, uint64_t fingerprint, uint32_t limiter,
                    const char *key, size_t key_len, int64_t now_ns)
{
    sample_t a = {.h = h, .fingerprint = fingerprint, .now_ns = now_ns};
    uint32_t estimate, at;

    skl_assert(key_len >= 1 && key_len <= SECKILL_ID_MAX);
    skl_assert(fingerprint != 0);
    a.stripe = &h->shm->stripes[skl_counters_stripe(h->counters)];
    a.period = (uint64_t)now_ns / SKL_HOT_PERIOD_NS;
    a.shift = atomic_load_explicit(&h->shift, memory_order_relaxed);
    skl_assert(a.shift <= SHIFT_MAX);
    a.weight = UINT32_C(1) << a.shift;
    a.words[0] = (uint64_t)limiter << 32 | key_len;
    memcpy(&a.words[1], key, key_len);
    count_total(&a);
    estimate = count_key(&a);
    at = find(a.stripe, fingerprint);
    if (at < KEYS) {
        raise_entry(&a, at, estimate);
    } else if (estimate > 0) {
        enter(&a, estimate);
    }
    plan(h, pace(h, a.shift, now_ns));
}

/* ---- Report -------------------------------------------------------------- */

/* A key of all stripes together. */
typedef struct {
    uint64_t fingerprint; /* 0: free */
    uint64_t sum;
    uint32_t stripe; /* the last one that listed it */
    uint32_t mine;   /* what that one said */
} merged_t;

/* The seconds of takes that a count stands for when it is read: those of this
 * period, half of those of the last one, and so on, since the first take. */
static double seconds(int64_t born_ns, int64_t now_ns)
{
    const double period = (double)SKL_HOT_PERIOD_NS;
    double from = (double)(now_ns - now_ns % SKL_HOT_PERIOD_NS);
    double left = (double)now_ns, born = (double)born_ns;
    double sum = 0, weight = 1e-9;

    for (int i = 0; i < COUNT_BITS && left > born; i++) {
        sum += weight * (left - (from > born ? from : born));
        left = from;
        from -= period;
        weight /= 2;
    }
    return sum > 1 ? sum : 1;
}

static void merge(merged_t *all, uint32_t stripe, uint64_t fingerprint,
                  uint32_t count)
{
    uint32_t i = (uint32_t)skl_mix64(fingerprint) % MERGED;

    skl_assert(fingerprint != 0 && count > 0);
    while (all[i].fingerprint != 0 && all[i].fingerprint != fingerprint) {
        i = (i + 1) % MERGED;
    }
    /* Twice in one list, after a race: once is what it has. */
    if (all[i].stripe != stripe + 1) {
        all[i].mine = 0;
    }
    if (count > all[i].mine) {
        all[i].sum += count - all[i].mine;
        all[i].mine = count;
    }
    all[i].fingerprint = fingerprint;
    all[i].stripe = stripe + 1;
}

/* The takes of all keys; fills `all`. */
static uint64_t gather(const skl_hot_t *h, uint64_t period, merged_t *all)
{
    uint64_t total = 0;

    for (uint32_t k = 0; k < SKL_STRIPES; k++) {
        const stripe_t *s = &h->shm->stripes[k];

        total += count_in(load(&s->total), period);
        for (uint32_t i = 0; i < KEYS; i++) {
            uint64_t fingerprint = load(&s->fingerprint[i]);
            uint64_t word =
                atomic_load_explicit(&s->count[i], memory_order_acquire);
            uint32_t count = count_in(word, period);

            if (count > 0 && fingerprint != 0 &&
                load(&s->fingerprint[i]) == fingerprint) {
                merge(all, k, fingerprint, count);
            }
        }
    }
    return total;
}

/* Copy the name of an entry, if it is whole: whatever its bytes are, they come
 * from another process. */
static int read_entry(const stripe_t *s, uint32_t i, uint64_t fingerprint,
                      skl_hot_key_t *out)
{
    const entry_t *e = &s->entries[i];
    uint64_t check = atomic_load_explicit(&e->check, memory_order_acquire);
    uint64_t words[1 + WORDS];
    uint32_t key_len;

    read_words(e, words);
    key_len = (uint32_t)words[0];
#ifndef MUTANT_HOT_UNCHECKED
    if (check != checksum(fingerprint, words) || check != load(&e->check)) {
        return 0;
    }
#else
    (void)check;
#endif
    if (key_len == 0 || key_len > SECKILL_ID_MAX) {
        return 0;
    }
    memset(out, 0, sizeof(*out));
    memcpy(out->key, &words[1], key_len);
    out->key_len = key_len;
    out->limiter = (uint32_t)(words[0] >> 32);
    return 1;
}

/* The name of a key, from any stripe that has it whole. */
static int read_name(const skl_hot_t *h, uint64_t fingerprint,
                     skl_hot_key_t *out)
{
    for (uint32_t k = 0; k < SKL_STRIPES; k++) {
        const stripe_t *s = &h->shm->stripes[k];
        uint32_t i = find(s, fingerprint);

        if (i < KEYS && read_entry(s, i, fingerprint, out)) {
            return 1;
        }
    }
    return 0;
}

static merged_t *hottest(merged_t *all)
{
    merged_t *best = &all[0];

    for (uint32_t i = 1; i < MERGED; i++) {
        best = all[i].sum > best->sum ? &all[i] : best;
    }
    return best;
}

int skl_hot_top(const skl_hot_t *h, int64_t now_ns, skl_hot_key_t *out, int max)
{
    merged_t all[MERGED];
    uint64_t period = (uint64_t)now_ns / SKL_HOT_PERIOD_NS;
    double window = seconds(atomic_load(&h->shm->born), now_ns);
    uint64_t total;
    int n = 0;

    memset(all, 0, sizeof(all));
    total = gather(h, period, all);
    skl_assert(window >= 1);
    max = max > KEYS ? KEYS : max;
    while (n < max) {
        merged_t *m = hottest(all);
        double sum = (double)m->sum;

        if (m->sum == 0) {
            break;
        }
        if (read_name(h, m->fingerprint, &out[n])) {
            out[n].rate = sum / window;
            out[n].share = m->sum < total ? sum / (double)total : 1;
            n++;
        }
        m->sum = 0;
    }
    return n;
}
