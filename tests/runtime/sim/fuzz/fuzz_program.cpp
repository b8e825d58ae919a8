// libFuzzer's entry points. Inputs are changed as ELF files: mostly the instructions of a segment, by
// encodings that the decoder knows, now and then any byte of the file.
#include <cstring>
#include <random>

#include "instruction.hpp"
#include "program.hpp"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using Random = std::minstd_rand;

uint32_t word_at(const uint8_t* data, size_t offset) {
    uint32_t word;
    std::memcpy(&word, data + offset, 4);
    return word;
}

// Where the file keeps the bytes of its first segment; false when it has none that can be changed.
bool first_segment(const uint8_t* data, size_t size, size_t& offset, size_t& length) {
    if (size < 52) {
        return false;
    }
    const size_t header = word_at(data, 28);
    if (header > size || size - header < 32) {
        return false;
    }
    offset = word_at(data, header + 4);
    length = word_at(data, header + 16);
    return offset < size && length >= 8 && length <= size - offset;
}

// An instruction: some encoding with random operands.
uint32_t random_instruction(Random& random) {
    const auto& table = sim::encodings();
    const sim::Encoding& encoding = table[random() % table.size()];
    const uint32_t operands = static_cast<uint32_t>(random()) ^ static_cast<uint32_t>(random()) << 16;
    return encoding.match | (operands & ~encoding.mask);
}

void change_code(uint8_t* code, size_t length, Random& random) {
    const size_t at = random() % (length / 2 - 1) * 2;      // of 4 bytes that may start at any halfword
    switch (random() % 5) {
        case 0: {
            const uint16_t half = static_cast<uint16_t>(random());
            std::memcpy(code + at, &half, 2);
            break;
        }
        case 1: {       // another operand or immediate
            const uint32_t word = word_at(code, at) ^ 1u << (7 + random() % 25);
            std::memcpy(code + at, &word, 4);
            break;
        }
        case 2: {       // an instruction between two others; the last one is lost
            std::memmove(code + at + 4, code + at, length - at - 4);
            [[fallthrough]];
        }
        default: {
            const uint32_t word = random_instruction(random);
            std::memcpy(code + at, &word, 4);
            break;
        }
    }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
    Random random(seed + 1);
    size_t offset = 0, length = 0;
    if (random() % 4 == 0 || !first_segment(data, size, offset, length)) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    if (random() % 8 == 0) {
        data[option_byte] = static_cast<uint8_t>(random());
    }
    for (uint32_t changes = 1 + random() % 4; changes != 0; --changes) {
        change_code(data + offset, length, random);
    }
    return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    run_program(data, size);
    return 0;
}
