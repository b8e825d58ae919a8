// The interrupts of the fabric controller. Cluster cores have none: they wait for events.
#include "checker.hpp"
#include "machine.hpp"

namespace sim {

namespace {
constexpr uint32_t mstatus_interrupts = 8, mstatus_previous = 0x80;
}  // namespace

void Machine::raise_interrupt(uint32_t line) {
    interrupt_status_ |= 1u << line;
    interrupt_controller_changed();
}

void Machine::interrupt_controller_changed() {
    Core& controller = fabric_controller();
    if (controller.wfi && (interrupt_status_ & interrupt_mask_) != 0) {
        controller.wfi = false;
        if (checker) {
            checker->controller_woken(controller);
        }
        controller.stall = 0;
        if ((controller.mstatus & mstatus_interrupts) != 0) {
            const uint32_t line = 31 - static_cast<uint32_t>(__builtin_clz(interrupt_status_ & interrupt_mask_));
            interrupt_status_ &= ~(1u << line);
            controller.mepc = controller.next->address;
            controller.mcause = 0x80000000u | line;
            controller.mstatus = (controller.mstatus & ~mstatus_interrupts) | mstatus_previous;
            controller.next = lookup(controller, (controller.mtvec & ~0xffu) + 4 * line);
        }
        wake(controller);
    }
}

void Machine::wait_for_interrupt(Core& core) {
    if (!core.is_fabric_controller) {
        return;     // cluster cores wait with p.elw; their wfi is a no-operation
    }
    if ((interrupt_status_ & interrupt_mask_) != 0) {
        return;
    }
    core.wfi = true;
    core.sleep_cause = CauseSleep;
    sleep(core);
}

void Machine::return_from_interrupt(Core& core) {
    if ((core.mstatus & mstatus_previous) != 0) {
        core.mstatus |= mstatus_interrupts;
    }
    core.next = lookup(core, core.mepc);
}

}  // namespace sim
