/* The error table of seckill.h as functions. Any thread. */
#include "seckill.h"

typedef struct {
    int code;
    const char *name, *text;
} entry_t;

static const entry_t table[] = {{SECKILL_OK, "ok", "success"},
#define X(name, code, text, meaning) {code, text, meaning},
                                SECKILL_ERR_MAP(X)
#undef X
};

enum { ENTRIES = sizeof(table) / sizeof(table[0]) };

static const entry_t *find(int code)
{
    for (int i = 0; i < ENTRIES; i++) {
        if (table[i].code == code) {
            return &table[i];
        }
    }
    return 0;
}

const char *seckill_errname(int code)
{
    const entry_t *e = find(code);

    return e != 0 ? e->name : "unknown";
}

const char *seckill_errtext(int code)
{
    const entry_t *e = find(code);

    return e != 0 ? e->text : "not a code of this library";
}

int seckill_errcode_at(int i)
{
    return i >= 0 && i + 1 < ENTRIES ? table[i + 1].code : 0;
}
