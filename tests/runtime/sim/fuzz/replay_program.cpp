// Runs the files named on the command line, for compilers that have sanitizers but no libFuzzer.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

#include "program.hpp"

int main(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        std::ifstream file(argv[i], std::ios::binary);
        if (!file) {
            std::fprintf(stderr, "%s: cannot be read\n", argv[i]);
            return 1;
        }
        const std::vector<char> content{std::istreambuf_iterator<char>(file), {}};
        run_program(reinterpret_cast<const uint8_t*>(content.data()), content.size());
    }
    std::printf("%d programs\n", argc - 1);
    return 0;
}
