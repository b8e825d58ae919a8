#include "tracer.hpp"

#include <cerrno>
#include <cstring>

#include "machine.hpp"
#include "profiler.hpp"

namespace sim {

namespace {

constexpr uint32_t first_dma_track = 100, external_track = 200, first_barrier_track = 300;

std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            result += '\\';
            result += c;
        } else if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
            result += escape;
        } else {
            result += c;
        }
    }
    return result + "\"";
}

}  // namespace

Tracer::Tracer(Machine& machine, const std::string& path)
    : machine_(machine), path_(path), file_(std::fopen(path.c_str(), "wb")), tracks_(machine.cores.size()) {
    if (file_ == nullptr) {
        throw Fault(FaultKind::Trace, path + ": " + std::strerror(errno));
    }
    put("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
    first_arrivals_.fill(-1);
    for (const Core& core : machine.cores) {
        name_track(core.index, core.is_fabric_controller ? "fabric controller" : "core " + std::to_string(core.index));
    }
    for (uint32_t counter = 0; counter < dma_counters; ++counter) {
        name_track(first_dma_track + counter, "DMA " + std::to_string(counter));
    }
}

Tracer::~Tracer() {
    if (file_ != nullptr) {
        std::fclose(file_);
    }
}

void Tracer::put(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), file_) != text.size()) {
        throw Fault(FaultKind::Trace, path_ + ": " + std::strerror(errno));
    }
}

void Tracer::name_track(uint32_t track, const std::string& text) {
    if (named_.insert(track).second) {
        put(std::string(first_ ? "" : ",") + "\n{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":1,\"tid\":" +
            std::to_string(track) + ",\"args\":{\"name\":" + quoted(text) + "}}");
        first_ = false;
    }
}

double Tracer::microseconds(int64_t cycle) const {
    return static_cast<double>(cycle) * 1e6 / static_cast<double>(machine_.configuration.frequency_hz);
}

void Tracer::slice(uint32_t track, const std::string& name, const char* category, int64_t begin, int64_t end,
                   const std::string& arguments) {
    char times[96];
    std::snprintf(times, sizeof times, "\"ts\":%.4f,\"dur\":%.4f", microseconds(begin), microseconds(end - begin));
    put(std::string(first_ ? "" : ",") + "\n{\"ph\":\"X\",\"name\":" + quoted(name) + ",\"cat\":\"" + category +
        "\",\"pid\":1,\"tid\":" + std::to_string(track) + "," + times + ",\"args\":{\"cycle\":" + std::to_string(begin) +
        ",\"cycles\":" + std::to_string(end - begin) + arguments + "}}");
    first_ = false;
}

void Tracer::close(uint32_t core, int64_t end) {
    Track& track = tracks_[core];
    if (track.since >= 0 && end > track.since) {
        slice(core, track.name, track.waiting ? "wait" : "code", track.since, end, "");
    }
    track.since = -1;
}

void Tracer::executed(const Core& core, const Instruction& instruction, int64_t time) {
    Track& track = tracks_[core.index];
    const Symbol* symbol = machine_.elf.function_at(instruction.address);
    if (track.since < 0 || track.waiting || track.symbol != symbol) {
        close(core.index, time);
        track = {time, symbol, symbol == nullptr ? "?" : symbol->name, false};
    }
    if (core.asleep && !machine_.exited) {
        close(core.index, time + 1);
        track = {time + 1, nullptr, cause_names[core.sleep_cause], true};
    }
}

void Tracer::woke(const Core& core, int64_t now) {
    close(core.index, now);
    tracks_[core.index].symbol = nullptr;
}

void Tracer::transferred(const Mchan::Command& command, int64_t now) {
    char text[160];
    std::snprintf(text, sizeof text, ",\"bytes\":%u,\"local\":\"0x%08x\",\"issued by core\":%u", command.size,
                  machine_.configuration.l1_base + command.first_local, command.issuer);
    slice(first_dma_track + command.counter, command.to_l1 ? "L2 to L1" : "L1 to L2", "dma", command.issue_cycle, now, text);
}

void Tracer::transferred(const ExternalMemory::Transfer& transfer, int64_t now) {
    char text[160];
    std::snprintf(text, sizeof text, ",\"bytes\":%u,\"offset in L3\":\"0x%08x\",\"address\":\"0x%08x\",\"issued by core\":%u",
                  transfer.size, transfer.external, transfer.internal, transfer.issuer);
    name_track(external_track, "L3");
    slice(external_track, transfer.to_l3 ? "to L3" : "from L3", "l3", transfer.begin, now, text);
}

void Tracer::arrived(uint32_t barrier, bool complete, int64_t now) {
    int64_t& first = first_arrivals_[barrier];
    first = first < 0 ? now : first;
    if (complete) {
        name_track(first_barrier_track + barrier, "barrier " + std::to_string(barrier));
        slice(first_barrier_track + barrier, "barrier " + std::to_string(barrier), "barrier", first, now, "");
        first = -1;
    }
}

void Tracer::finish(int64_t end) {
    if (file_ == nullptr) {
        return;
    }
    for (uint32_t core = 0; core < tracks_.size(); ++core) {
        close(core, end);
    }
    put("\n]}\n");
    const bool failed = std::fclose(file_) != 0;
    file_ = nullptr;
    if (failed) {
        throw Fault(FaultKind::Trace, path_ + ": " + std::strerror(errno));
    }
}

}  // namespace sim
