// What every input of the fuzzer goes through: the loader, the decoder and a bounded run.
#pragma once

#include <cstddef>
#include <cstdint>

// An input is a whole ELF file. Byte 15 of its header, which loaders ignore, chooses the machine: one bit
// each for the options below.
enum MachineOption : uint8_t {
    NoTiming = 1,
    Checks = 2,
    Recording = 4,          // profile and trace
    BankConflicts = 8,
    SeparateRegisters = 16,
    ExternalMemory = 32,
    AliasAtZero = 64,
    OneFpu = 128,
};
constexpr size_t option_byte = 15;

// Loads and runs an input. A program that cannot go on is no failure: the simulator says so by a Fault.
void run_program(const uint8_t* data, size_t size);
