/* The batches of a program that runs on its own, see main.c. */
  .section .rodata.batches, "a", %progbits
  .balign 16
  .globl data_start
data_start:
  .incbin DATA
