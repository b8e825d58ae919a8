/* Start of every core. The loader has written the ELF's segments; no ROM runs before this.
 *
 * What must live on when the program is started again on the same memory (parameters, states, results) is in
 * .data, written by the loader only, or in .persistent, written by the program only: neither is touched here. */
#include "hardware.h"
#include "pulp_config.h"

  .section .text.start, "ax"
  .option norvc
  .option norelax
  .global _start
_start:
  csrr a0, 0xF14 /* cluster << 5 | core */
  srli a1, a0, 5
  li a2, FABRIC_CONTROLLER_CLUSTER
  bne a1, a2, cluster_core

  la sp, _fc_stack_top
  la t0, _bss_start
  la t1, _bss_end
1:
  bgeu t0, t1, 2f
  sw zero, 0(t0)
  addi t0, t0, 4
  j 1b
2:
  call main
  call exit

cluster_core:
  andi a0, a0, 0x1f
  la sp, _l1_end
  li t0, PULP_STACK_BYTES
  mul t0, t0, a0
  sub sp, sp, t0
  call cluster_core_main
