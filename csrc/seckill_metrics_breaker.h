/* Breakers and shedders as Prometheus text, for seckill_metrics(). */
#ifndef SECKILL_METRICS_BREAKER_H
#define SECKILL_METRICS_BREAKER_H

#include "metrics/text.h"
#include "seckill.h"

void seckill_write_breakers(seckill_t *sk, skl_text_t *t);
void seckill_write_sheds(seckill_t *sk, skl_text_t *t);

#endif
