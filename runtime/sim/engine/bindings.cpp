// The Python module: a thin layer over Machine. Configuration comes in as a dict of numbers.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "checker.hpp"
#include "machine.hpp"
#include "profiler.hpp"
#include "tracer.hpp"

namespace py = pybind11;

namespace sim {

namespace {

CacheGeometry cache_from(const py::dict& fields, const char* name) {
    const py::dict cache = fields[name].cast<py::dict>();
    return {cache["sets"].cast<uint32_t>(), cache["ways"].cast<uint32_t>(), cache["refill_latency"].cast<uint32_t>()};
}

Configuration configuration_from(const py::dict& fields) {
    Configuration c;
#define FIELD(name) c.name = fields[#name].cast<decltype(c.name)>();
    FIELD(worker_cores) FIELD(has_cluster_controller) FIELD(shared_fpus) FIELD(fpu_latency) FIELD(fpu_interval)
    FIELD(shared_dividers) FIELD(float_divide_latency) FIELD(half_divide_latency) FIELD(bf16_dot_drops_accumulator)
    FIELD(merged_registers) FIELD(nan_boxed_halves) FIELD(l1_base) FIELD(l1_bytes) FIELD(l1_banks) FIELD(l1_bank_conflicts)
    FIELD(l1_alias_at_zero) FIELD(l2_private_base) FIELD(l2_private_bytes) FIELD(l2_base) FIELD(l2_bytes)
    FIELD(unwritten_byte) FIELD(l3_base) FIELD(l3_bytes) FIELD(l3_latency) FIELD(l3_bytes_per_second)
    FIELD(misaligned_traps)
    FIELD(cluster_interconnect_latency) FIELD(axi_latency) FIELD(apb_latency) FIELD(controller_fetch_latency)
    FIELD(branch_taken_stall) FIELD(jump_stall) FIELD(load_use_stall) FIELD(multiply_cycles)
    FIELD(multiply_high_cycles) FIELD(divide_base_cycles) FIELD(event_load_stall) FIELD(event_wakeup_latency)
    FIELD(event_request_latency) FIELD(l1_icache_banks) FIELD(dma_core_queue_depth) FIELD(dma_global_queue_depth)
    FIELD(dma_outstanding_reads) FIELD(dma_outstanding_writes) FIELD(dma_burst_bytes) FIELD(dma_ports_per_direction)
    FIELD(frequency_hz)
#undef FIELD
    c.l0 = cache_from(fields, "l0");
    c.l0_controller = cache_from(fields, "l0_controller");
    c.l1_icache = cache_from(fields, "l1_icache");
    return c;
}

std::vector<uint8_t> bytes_of(const py::buffer& data) {
    const py::buffer_info info = data.request();
    if (PyBuffer_IsContiguous(info.view(), 'C') == 0) {
        throw py::value_error("the data must be contiguous");
    }
    const auto* first = static_cast<const uint8_t*>(info.ptr);
    return {first, first + info.size * info.itemsize};
}

py::dict statistics(const Machine& machine) {
    py::list cores;
    uint64_t instructions = 0;
    for (const Core& core : machine.cores) {
        py::dict one;
        one["index"] = core.index;
        one["is_fabric_controller"] = core.is_fabric_controller;
        one["started"] = core.started;
        one["started_at"] = core.started ? core.started_at + 1 : 0;    // the cycle after the one that woke it
        one["instructions"] = core.instructions;
        one["pc"] = core.pc();
        one["asleep"] = core.asleep;
        instructions += core.instructions;
        cores.append(one);
    }
    py::dict result;
    result["exited"] = machine.exited;
    result["exit_code"] = machine.exit_code;
    result["cycles"] = machine.timing ? machine.end_cycle : 0;
    result["instructions"] = instructions;
    result["output"] = py::bytes(machine.output);
    result["cores"] = cores;
    return result;
}

py::dict access_dict(const AccessRecord& access) {
    py::dict result;
    result["transfer"] = access.thread < max_cores ? "" : access.thread < first_external_thread ? "DMA" : "L3";
    const uint32_t core = access.thread < max_cores ? access.thread : access.issuer;
    result["core"] = core == no_core ? py::object(py::none()) : py::object(py::int_(core));
    result["pc"] = access.pc;
    result["cycle"] = access.cycle;
    result["write"] = access.write;
    return result;
}

py::list reports(const Machine& machine) {
    py::list result;
    if (!machine.checker) {
        return result;
    }
    for (const Report& report : machine.checker->reports()) {
        py::dict one;
        one["kind"] = static_cast<int>(report.kind);
        one["address"] = report.address;
        one["size"] = report.size;
        one["count"] = report.count;
        one["name"] = report.name;
        one["beyond"] = report.beyond_name;
        one["access"] = access_dict(report.access);
        one["other"] = report.kind == ReportKind::Race ? py::object(access_dict(report.other)) : py::none();
        result.append(one);
    }
    return result;
}

py::object profile(const Machine& machine) {
    if (!machine.profiler) {
        return py::none();
    }
    py::list rows;
    const auto& entries = machine.profiler->entries();
    for (size_t core = 0; core < entries.size(); ++core) {
        for (size_t function = 0; function < entries[core].size(); ++function) {
            const Profiler::Entry& entry = entries[core][function];
            if (entry.instructions != 0) {
                rows.append(py::make_tuple(core, machine.profiler->functions()[function], entry.instructions, entry.cycles));
            }
        }
    }
    return rows;
}

Checker& checker_of(Machine& machine) {
    if (!machine.checker) {
        throw py::value_error("the machine runs without checks");
    }
    return *machine.checker;
}

py::list symbols(const Machine& machine) {
    py::list result;
    for (const Symbol& symbol : machine.elf.symbols) {
        result.append(py::make_tuple(symbol.name, symbol.address, symbol.size, symbol.is_function));
    }
    return result;
}

py::list encoding_table() {
    py::list result;
    for (const Encoding& encoding : encodings()) {
        result.append(py::make_tuple(encoding.name, encoding.mask, encoding.match));
    }
    return result;
}

bool poll_signals() {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) {
        PyErr_Clear();
        return true;
    }
    return false;
}

}  // namespace

}  // namespace sim

PYBIND11_MODULE(_sim, module) {
    using namespace sim;
    module.doc() = "Simulator of a PULP cluster";

    static PyObject* fault_type = PyErr_NewException("tvm_pulp.runtime.sim._sim.Fault", PyExc_RuntimeError, nullptr);
    module.attr("Fault") = py::handle(fault_type);
    py::register_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) {
                std::rethrow_exception(pointer);
            }
        } catch (const Fault& fault) {
            PyErr_SetObject(fault_type, py::make_tuple(static_cast<int>(fault.kind), std::string(fault.what())).ptr());
        }
    });

    py::class_<Machine>(module, "Machine")
        .def(py::init([](const py::dict& fields, bool timing) {
                 return std::make_unique<Machine>(configuration_from(fields), timing);
             }),
             py::arg("configuration"), py::arg("timing"))
        .def("enable_checks", &Machine::enable_checks)
        .def("enable_profile", &Machine::enable_profile)
        .def("enable_trace", &Machine::enable_trace)
        .def("profile", &profile)
        .def("reports", &reports)
        .def("declare_flag",
             [](Machine& machine, uint32_t address, uint32_t size) { checker_of(machine).declare_flag(address, size); })
        .def("name_buffer",
             [](Machine& machine, const std::string& name, uint32_t address, uint32_t size) {
                 machine.objects.name(name, address, size);
             })
        .def("name_kernel_buffer",
             [](Machine& machine, uint32_t kernel, const std::string& name, bool in_scratch, uint32_t offset, uint32_t size) {
                 machine.objects.name_of_kernel(kernel, name, in_scratch, offset, size);
             })
        .def("set_stack",
             [](Machine& machine, uint32_t core, uint32_t low, uint32_t high) {
                 if (core >= machine.cores.size()) {
                     throw py::value_error("there is no such core");
                 }
                 checker_of(machine).set_stack(core, low, high);
             })
        .def("load_elf", [](Machine& machine, const py::buffer& image) { machine.load_elf(bytes_of(image)); })
        .def("restart", &Machine::restart)
        .def("write",
             [](Machine& machine, uint32_t address, const py::buffer& data) {
                 const std::vector<uint8_t> bytes = bytes_of(data);
                 machine.write(address, bytes.data(), bytes.size());
             })
        .def("read",
             [](const Machine& machine, uint32_t address, size_t size) {
                 const std::vector<uint8_t> bytes = machine.read(address, size);
                 return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
             })
        .def("run",
             [](Machine& machine, int64_t max_cycles) {
                 const py::gil_scoped_release release;
                 machine.run(max_cycles, poll_signals);
             })
        .def("on_output",
             [](Machine& machine, const py::object& callback) {
                 if (callback.is_none()) {
                     machine.on_output = nullptr;
                     return;
                 }
                 machine.on_output = [callback](const std::string& text) {
                     const py::gil_scoped_acquire gil;
                     callback(py::bytes(text));
                 };
             })
        .def("statistics", &statistics)
        .def("symbols", &symbols)
        .def("where", [](const Machine& machine, uint32_t address) { return machine.where(address); });
    module.def("encodings", &encoding_table);
    module.attr("causes") = cause_names;
}
