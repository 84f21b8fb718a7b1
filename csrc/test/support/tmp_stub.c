#include "seckill.h"
__attribute__((weak)) int seckill_dir_stats(const char *dir, seckill_dir_stats_t *out, char *err, size_t err_size) { (void)dir;(void)out;(void)err;(void)err_size; return SECKILL_ENOTFOUND; }
