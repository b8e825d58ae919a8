/* Xpulp instructions as pieces of assembly text: `.insn` for stock assemblers, mnemonics for the PULP GCC.
 *
 * PULP_ASSEMBLY is 1 where generated assembly may be used: floats in integer registers, and Xpulp. */
#ifndef PULP_ASSEMBLY_H
#define PULP_ASSEMBLY_H

#if defined(__riscv) && (defined(__riscv_zfinx) || defined(PULP_MNEMONICS)) && !defined(PULP_PLAIN_C)
#define PULP_ASSEMBLY 1
#else
#define PULP_ASSEMBLY 0
#endif

/* Load a word and add `step` to the address register; store likewise. */
/* The larger, the smaller of two registers as signed integers. */
/* Hardware loop `level` over the next `instructions` instructions of 4 bytes, which end at `label`'s. */
#ifdef PULP_MNEMONICS
#define P_LW(to, step, address) "p.lw " #to ", " #step "(" #address "!)\n"
#define P_SW(from, step, address) "p.sw " #from ", " #step "(" #address "!)\n"
#define P_MAX(to, a, b) "p.max " #to ", " #a ", " #b "\n"
#define P_MIN(to, a, b) "p.min " #to ", " #a ", " #b "\n"
#define LP_SETUP(level, count, instructions, label) "lp.setup x" #level ", " #count ", " #label "f\n"
#else
#define P_LW(to, step, address) ".insn i 0x0b, 2, " #to ", " #step "(" #address ")\n"
#define P_SW(from, step, address) ".insn s 0x2b, 2, " #from ", " #step "(" #address ")\n"
#define P_MAX(to, a, b) ".insn r 0x33, 6, 0x02, " #to ", " #a ", " #b "\n"
#define P_MIN(to, a, b) ".insn r 0x33, 4, 0x02, " #to ", " #a ", " #b "\n"
#define LP_SETUP(level, count, instructions, label) \
  ".insn i 0x7b, 4, x" #level ", " #count ", 2*" #instructions "\n"
#endif

#endif
