/* A HyperRAM as external memory (L3). As the SDK's bsp/ram/hyperram.h. */
#ifndef BSP_RAM_HYPERRAM_H
#define BSP_RAM_HYPERRAM_H

#include "bsp/ram.h"

struct pi_hyperram_conf {
  struct pi_ram_conf ram;
  int hyper_itf;         /* not used, like all below that do not say what they do */
  int hyper_cs;
  char skip_pads_config;
  int xip_en;
  int ram_start;
  int ram_size;          /* bytes that may be allocated; all of L3 if not changed */
  uint32_t baudrate;
  int reserve_addr_0;    /* 1 (default) = never allocate address 0 */
};

void pi_hyperram_conf_init(struct pi_hyperram_conf *conf);

#endif
