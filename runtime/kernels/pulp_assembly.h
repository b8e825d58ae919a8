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

/* The forms of one instruction stand together below, in this order:
 *   P_LW, P_SW        load a word and add `step` to the address register; store likewise
 *   P_SH, P_SB        store a half word, a byte, and add `step` to the address register
 *   P_LWR, P_SWR, P_SBR  load or store a word, store a byte, and add the register `step` to the address register
 *   LP_SETUP          hardware loop `level` over the next `instructions` instructions of 4 bytes, which end at
 *                     `label`'s
 *   PV_SDOTUSP_B, ... sum of four products of bytes (unsigned times signed; signed; unsigned), or of two of halves (_H),
 *                     added to `sum`; PV_DOT... without the addition
 *   P_ADDRN           (a + b + 2^(shift-1)) >> shift
 *   P_ADDN            (a + b) >> shift
 *   P_ADDRNR          to = (to + a + 2^(shift-1)) >> shift, by the register `shift`
 *   P_CLIPU           clamp to 0 .. 2^(bits-1) - 1
 *   P_CLIPUR          clamp to 0 .. a register
 *   P_CLIP            clamp to -2^(bits-1) .. 2^(bits-1) - 1
 *   P_MIN, P_MAX      of signed words
 *   P_LHU             load an unsigned half word and add `step` to the address register
 *   P_LBU, P_LBU_AT   load an unsigned byte and add `step` to the address register; from address + index
 *   P_EXTRACTU        `bits` bits from bit `at` on, unsigned
 *   P_INSERT          the low `bits` bits of `from` into bits `at` ... of `to`
 *   P_MAC, P_MSU      sum = sum + a * b, sum - a * b, 32 bits
 *   P_ADDU_SHIFT, P_SUBU_SHIFT  (a + b) >> shift, (a - b) >> shift, unsigned
 *   P_MULU_SHIFT      (low half of a * low half of b) >> shift, unsigned
 *   P_MULS_ROUND      (low half of a * low half of b + 2^(shift-1)) >> shift, signed
 *   P_MACHHS_ROUND    to = (to + high half of a * high half of b + 2^(shift-1)) >> shift, signed
 *   P_MACU_SHIFT      to = (to + low half of a * low half of b) >> shift, unsigned
 *   PV_SHUFFLE2_B     bytes of `from` and `to` by selectors; PV_PACKLO_B, PV_PACKHI_B: low bytes of two registers
 *                     into the low or the high half of `to`
 *   PV_SRA_SC_B       each byte shifted right by the register `shift`, signs extended; PV_SRL_SC_H: each half, with zeros
 *   PV_MIN_SC_H, PV_MAX_SC_H  of each half and the low one of `scalar`, signed
 *   PV_MAXU_B         the larger one of each byte, unsigned
 *   PV_MIN_MINUS_ONE_B  of each byte and -1, signed
 *   PV_PACK_H, PV_SHUFFLE2_H  low halves of two registers; halves of `from` and `to` by selectors
 *   VFDOTPEX_S_H      sum of two products of half-precision numbers, added to a single-precision `sum`
 *   VFMULR_H          products of both half-precision numbers of `a` with the low one of `b`
 *   VFCPKA_H_S        two single-precision numbers, rounded, into the halves of `to`
 *   FCVT_H_S, FCVT_S_H  between half and single precision */
#ifdef PULP_MNEMONICS
#define P_LW(to, step, address) "p.lw " #to ", " #step "(" #address "!)\n"
#define P_SW(from, step, address) "p.sw " #from ", " #step "(" #address "!)\n"
#define P_SH(from, step, address) "p.sh " #from ", " #step "(" #address "!)\n"
#define P_SB(from, step, address) "p.sb " #from ", " #step "(" #address "!)\n"
#define P_LWR(to, step, address) "p.lw " #to ", " #step "(" #address "!)\n"
#define P_SWR(from, step, address) "p.sw " #from ", " #step "(" #address "!)\n"
#define P_SBR(from, step, address) "p.sb " #from ", " #step "(" #address "!)\n"
#define P_LHU(to, step, address) "p.lhu " #to ", " #step "(" #address "!)\n"
#define P_LBU(to, step, address) "p.lbu " #to ", " #step "(" #address "!)\n"
#define P_LBU_AT(to, index, address) "p.lbu " #to ", " #index "(" #address ")\n"
#define P_EXTRACTU(to, from, bits, at) "p.extractu " #to ", " #from ", " #bits "-1, " #at "\n"
#define P_INSERT(to, from, bits, at) "p.insert " #to ", " #from ", " #bits "-1, " #at "\n"
#define P_MACU_SHIFT(to, a, b, shift) "p.macuN " #to ", " #a ", " #b ", " #shift "\n"
#define P_MAC(sum, a, b) "p.mac " #sum ", " #a ", " #b "\n"
#define P_MSU(sum, a, b) "p.msu " #sum ", " #a ", " #b "\n"
#define P_ADDU_SHIFT(to, a, b, shift) "p.adduN " #to ", " #a ", " #b ", " #shift "\n"
#define P_SUBU_SHIFT(to, a, b, shift) "p.subuN " #to ", " #a ", " #b ", " #shift "\n"
#define P_MULU_SHIFT(to, a, b, shift) "p.muluN " #to ", " #a ", " #b ", " #shift "\n"
#define P_MULS_ROUND(to, a, b, shift) "p.mulsRN " #to ", " #a ", " #b ", " #shift "\n"
#define P_MACHHS_ROUND(to, a, b, shift) "p.machhsRN " #to ", " #a ", " #b ", " #shift "\n"
#define PV_SHUFFLE2_H(to, from, selectors) "pv.shuffle2.h " #to ", " #from ", " #selectors "\n"
#define PV_PACK_H(to, high, low) "pv.pack.h " #to ", " #high ", " #low "\n"
#define PV_SHUFFLE2_B(to, from, selectors) "pv.shuffle2.b " #to ", " #from ", " #selectors "\n"
#define PV_PACKLO_B(to, second, first) "pv.packlo.b " #to ", " #second ", " #first "\n"
#define PV_PACKHI_B(to, fourth, third) "pv.packhi.b " #to ", " #fourth ", " #third "\n"
#define PV_SRL_SC_H(to, from, shift) "pv.srl.sc.h " #to ", " #from ", " #shift "\n"
#define PV_SRA_SC_B(to, from, shift) "pv.sra.sc.b " #to ", " #from ", " #shift "\n"
#define PV_MAXU_B(to, a, b) "pv.maxu.b " #to ", " #a ", " #b "\n"
#define PV_MIN_MINUS_ONE_B(to, from) "pv.min.sci.b " #to ", " #from ", -1\n"
#define PV_MIN_SC_H(to, from, scalar) "pv.min.sc.h " #to ", " #from ", " #scalar "\n"
#define PV_MAX_SC_H(to, from, scalar) "pv.max.sc.h " #to ", " #from ", " #scalar "\n"
#define VFDOTPEX_S_H(sum, a, b) "vfdotpex.s.h " #sum ", " #a ", " #b "\n"
#define VFMULR_H(to, a, b) "vfmul.r.h " #to ", " #a ", " #b "\n"
#define VFCPKA_H_S(to, low, high) "vfcpka.h.s " #to ", " #low ", " #high "\n"
#define FCVT_H_S(to, from) "fcvt.h.s " #to ", " #from "\n"
#define FCVT_S_H(to, from) "fcvt.s.h " #to ", " #from "\n"
#define LP_SETUP(level, count, instructions, label) "lp.setup x" #level ", " #count ", " #label "f\n"
#define PV_DOTUSP_B(to, a, b) "pv.dotusp.b " #to ", " #a ", " #b "\n"
#define PV_SDOTUSP_B(sum, a, b) "pv.sdotusp.b " #sum ", " #a ", " #b "\n"
#define PV_DOTSP_B(to, a, b) "pv.dotsp.b " #to ", " #a ", " #b "\n"
#define PV_DOTUP_B(to, a, b) "pv.dotup.b " #to ", " #a ", " #b "\n"
#define PV_SDOTUP_B(sum, a, b) "pv.sdotup.b " #sum ", " #a ", " #b "\n"
#define PV_DOTUP_H(to, a, b) "pv.dotup.h " #to ", " #a ", " #b "\n"
#define PV_DOTSP_H(to, a, b) "pv.dotsp.h " #to ", " #a ", " #b "\n"
#define PV_SDOTSP_H(sum, a, b) "pv.sdotsp.h " #sum ", " #a ", " #b "\n"
#define PV_SDOTSP_B(sum, a, b) "pv.sdotsp.b " #sum ", " #a ", " #b "\n"
#define P_ADDN(to, a, b, shift) "p.addN " #to ", " #a ", " #b ", " #shift "\n"
#define P_ADDRN(to, a, b, shift) "p.addRN " #to ", " #a ", " #b ", " #shift "\n"
#define P_ADDRNR(to, a, shift) "p.addRNr " #to ", " #a ", " #shift "\n"
#define P_CLIPU(to, from, bits) "p.clipu " #to ", " #from ", " #bits "\n"
#define P_CLIPUR(to, from, high) "p.clipur " #to ", " #from ", " #high "\n"
#define P_CLIP(to, from, bits) "p.clip " #to ", " #from ", " #bits "\n"
#define P_MIN(to, a, b) "p.min " #to ", " #a ", " #b "\n"
#define P_MAX(to, a, b) "p.max " #to ", " #a ", " #b "\n"
#else
#define P_LW(to, step, address) ".insn i 0x0b, 2, " #to ", " #step "(" #address ")\n"
#define P_SW(from, step, address) ".insn s 0x2b, 2, " #from ", " #step "(" #address ")\n"
#define P_SH(from, step, address) ".insn s 0x2b, 1, " #from ", " #step "(" #address ")\n"
#define P_SB(from, step, address) ".insn s 0x2b, 0, " #from ", " #step "(" #address ")\n"
#define P_LWR(to, step, address) ".insn r 0x0b, 7, 0x10, " #to ", " #address ", " #step "\n"
#define P_SWR(from, step, address) ".insn r 0x2b, 6, 0, " #step ", " #address ", " #from "\n"
#define P_SBR(from, step, address) ".insn r 0x2b, 4, 0, " #step ", " #address ", " #from "\n"
#define P_LHU(to, step, address) ".insn i 0x0b, 5, " #to ", " #step "(" #address ")\n"
#define P_LBU(to, step, address) ".insn i 0x0b, 4, " #to ", " #step "(" #address ")\n"
#define P_LBU_AT(to, index, address) ".insn r 0x03, 7, 0x20, " #to ", " #address ", " #index "\n"
#define P_EXTRACTU(to, from, bits, at) ".insn r 0x33, 1, 0x5f+" #bits ", " #to ", " #from ", x" #at "\n"
#define P_INSERT(to, from, bits, at) ".insn r 0x33, 2, 0x5f+" #bits ", " #to ", " #from ", x" #at "\n"
#define P_MACU_SHIFT(to, a, b, shift) ".insn r 0x5b, 1, " #shift ", " #to ", " #a ", " #b "\n"
#define P_MAC(sum, a, b) ".insn r 0x33, 0, 0x21, " #sum ", " #a ", " #b "\n"
#define P_MSU(sum, a, b) ".insn r 0x33, 1, 0x21, " #sum ", " #a ", " #b "\n"
#define P_ADDU_SHIFT(to, a, b, shift) ".insn r 0x5b, 2, 0x40+" #shift ", " #to ", " #a ", " #b "\n"
#define P_SUBU_SHIFT(to, a, b, shift) ".insn r 0x5b, 3, 0x40+" #shift ", " #to ", " #a ", " #b "\n"
#define P_MULU_SHIFT(to, a, b, shift) ".insn r 0x5b, 0, " #shift ", " #to ", " #a ", " #b "\n"
#define P_MULS_ROUND(to, a, b, shift) ".insn r 0x5b, 4, 0x40+" #shift ", " #to ", " #a ", " #b "\n"
#define P_MACHHS_ROUND(to, a, b, shift) ".insn r 0x5b, 5, 0x60+" #shift ", " #to ", " #a ", " #b "\n"
#define PV_SHUFFLE2_H(to, from, selectors) ".insn r 0x57, 0, 0x64, " #to ", " #from ", " #selectors "\n"
#define PV_PACK_H(to, high, low) ".insn r 0x57, 0, 0x68, " #to ", " #high ", " #low "\n"
#define PV_SHUFFLE2_B(to, from, selectors) ".insn r 0x57, 1, 0x64, " #to ", " #from ", " #selectors "\n"
#define PV_PACKLO_B(to, second, first) ".insn r 0x57, 1, 0x70, " #to ", " #second ", " #first "\n"
#define PV_PACKHI_B(to, fourth, third) ".insn r 0x57, 1, 0x6c, " #to ", " #fourth ", " #third "\n"
#define PV_SRL_SC_H(to, from, shift) ".insn r 0x57, 4, 0x20, " #to ", " #from ", " #shift "\n"
#define PV_SRA_SC_B(to, from, shift) ".insn r 0x57, 5, 0x24, " #to ", " #from ", " #shift "\n"
#define PV_MAXU_B(to, a, b) ".insn r 0x57, 1, 0x1c, " #to ", " #a ", " #b "\n"
#define PV_MIN_MINUS_ONE_B(to, from) ".insn r 0x57, 7, 0x11, " #to ", " #from ", x31\n"
#define PV_MIN_SC_H(to, from, scalar) ".insn r 0x57, 4, 0x10, " #to ", " #from ", " #scalar "\n"
#define PV_MAX_SC_H(to, from, scalar) ".insn r 0x57, 4, 0x18, " #to ", " #from ", " #scalar "\n"
#define VFDOTPEX_S_H(sum, a, b) ".insn r 0x33, 0, 0x4b, " #sum ", " #a ", " #b "\n"
#define VFMULR_H(to, a, b) ".insn r 0x33, 6, 0x43, " #to ", " #a ", " #b "\n"
#define VFCPKA_H_S(to, low, high) ".insn r 0x33, 2, 0x58, " #to ", " #low ", " #high "\n"
#define FCVT_H_S(to, from) ".insn r 0x53, 0, 0x22, " #to ", " #from ", x0\n"
#define FCVT_S_H(to, from) ".insn r 0x53, 0, 0x20, " #to ", " #from ", x2\n"
#define LP_SETUP(level, count, instructions, label) \
  ".insn i 0x7b, 4, x" #level ", " #count ", 2*" #instructions "\n"
#define PV_DOTUSP_B(to, a, b) ".insn r 0x57, 1, 0x44, " #to ", " #a ", " #b "\n"
#define PV_SDOTUSP_B(sum, a, b) ".insn r 0x57, 1, 0x54, " #sum ", " #a ", " #b "\n"
#define PV_DOTSP_B(to, a, b) ".insn r 0x57, 1, 0x4c, " #to ", " #a ", " #b "\n"
#define PV_DOTUP_B(to, a, b) ".insn r 0x57, 1, 0x40, " #to ", " #a ", " #b "\n"
#define PV_SDOTUP_B(sum, a, b) ".insn r 0x57, 1, 0x50, " #sum ", " #a ", " #b "\n"
#define PV_DOTUP_H(to, a, b) ".insn r 0x57, 0, 0x40, " #to ", " #a ", " #b "\n"
#define PV_DOTSP_H(to, a, b) ".insn r 0x57, 0, 0x4c, " #to ", " #a ", " #b "\n"
#define PV_SDOTSP_H(sum, a, b) ".insn r 0x57, 0, 0x5c, " #sum ", " #a ", " #b "\n"
#define PV_SDOTSP_B(sum, a, b) ".insn r 0x57, 1, 0x5c, " #sum ", " #a ", " #b "\n"
#define P_ADDN(to, a, b, shift) ".insn r 0x5b, 2, " #shift ", " #to ", " #a ", " #b "\n"
#define P_ADDRN(to, a, b, shift) ".insn r 0x5b, 6, " #shift ", " #to ", " #a ", " #b "\n"
#define P_ADDRNR(to, a, shift) ".insn r 0x5b, 6, 0x20, " #to ", " #a ", " #shift "\n"
#define P_CLIPU(to, from, bits) ".insn r 0x33, 2, 0x0a, " #to ", " #from ", x" #bits "\n"
#define P_CLIPUR(to, from, high) ".insn r 0x33, 6, 0x0a, " #to ", " #from ", " #high "\n"
#define P_CLIP(to, from, bits) ".insn r 0x33, 1, 0x0a, " #to ", " #from ", x" #bits "\n"
#define P_MIN(to, a, b) ".insn r 0x33, 4, 0x02, " #to ", " #a ", " #b "\n"
#define P_MAX(to, a, b) ".insn r 0x33, 6, 0x02, " #to ", " #a ", " #b "\n"
#endif

#endif
