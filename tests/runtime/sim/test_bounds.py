"""Accesses that leave the object they began in are found, in C programs with the fault planted."""

from __future__ import annotations

import pytest

from tvm_pulp.runtime.sim import BadAccess, Report

START = """
#include "pulp_runtime.h"
#include "bsp/ram/hyperram.h"
#define KEEP __attribute__((noinline))
#define HIDE(value) __asm__ volatile("" : "+r"(value))
__attribute__((unused)) static PI_L1 int first[8], second[8];
__attribute__((unused)) PI_L2 int source[8], neighbour[8];
__attribute__((unused)) PI_L1 char odd[5], after[16] __attribute__((aligned(16)));
__attribute__((unused)) static PI_L1 volatile int sink;
__attribute__((unused)) KEEP static void fill(int *to, int count) {
  HIDE(count);
  for (int i = 0; i < count; i++) { to[i] = i; __asm__ volatile("" ::: "memory"); }
}
__attribute__((unused)) KEEP static void fill_down(int *to, int count) {
  HIDE(count);
  for (int i = count - 1; i >= 0; i--) { to[i - 1] = i; __asm__ volatile("" ::: "memory"); }
}
__attribute__((unused)) KEEP static int sum(const int *from, int count) {
  int total = 0;
  HIDE(count);
  HIDE(count);
  for (int i = 0; i < count; i++) { total += from[i]; __asm__ volatile("" ::: "memory"); }
  return total;
}
__attribute__((unused)) KEEP static void bytes(char *to, int count) {
  HIDE(count);
  for (int i = 0; i < count; i++) { to[i] = 1; __asm__ volatile("" ::: "memory"); }
}
__attribute__((unused))
KEEP static void transfer(int slot, void *local, void *external, int size, int direction) {
  dma_start_1d(slot, local, external, size, direction);
  dma_wait(slot);
}
__attribute__((unused)) KEEP static int *lower(int *one, int *other) { return one < other ? one : other; }
#line 1
"""
WORKER = "static void worker(void *argument) {{ (void)argument; if (pi_core_id() == {core}) {{ {body} }} }}"


def found(run_worker, body: str, core: int = 0) -> list[Report]:
    _, result = run_worker(START + WORKER.format(core=core, body=body))
    return [report for report in result.reports if report.kind == "out-of-bounds"]


def test_within_bounds_there_is_no_report(run_worker):
    body = """fill(first, 8); fill(second, 8); fill_down(first + 1, 8); bytes(odd, 5); sink = sum(first, 8);
      transfer(0, first, source, sizeof source, 1);"""
    assert found(run_worker, body, 3) == []


def test_write_runs_into_the_neighbour(run_worker):
    (report,) = found(run_worker, "fill(lower(first, second), 10);", 5)
    assert report.access.by == "core 5" and report.access.write and report.access.cycle > 0
    assert "(fill+0x" in report.access.where or "(fill)" in report.access.where
    assert {report.name.split("(")[1].rstrip(")"), report.beyond.split("(")[1].split("+")[0]} == {
        "first",
        "second",
    }
    assert report.size == 4 and report.count == 1
    assert str(report).endswith("+0x1f)") and ", beyond 0x" in str(report)


def test_write_runs_down_into_the_neighbour(run_worker):
    (report,) = found(
        run_worker, "int *low = lower(first, second); fill_down(low == first ? second : first, 8);"
    )
    assert report.access.write and report.count == 1


def test_read_of_the_neighbour_is_reported_when_used(run_worker):
    body = "fill(first, 8); fill(second, 8); sink = sum(lower(first, second), 9);"
    (report,) = found(run_worker, body, 2)
    assert not report.access.write and report.access.by == "core 2" and "(sum+0x" in report.access.where


def test_padding_belongs_to_nobody(run_worker):
    (report,) = found(run_worker, "bytes(odd, 6);")
    assert report.access.write and report.size == 1 and report.name.startswith("0x")


@pytest.mark.parametrize("direction", [1, 0])
def test_dma_transfer_over_two_objects(run_worker, direction):
    body = f"""int *low = lower(source, neighbour);
      fill(first, 8); fill(second, 8); fill(source, 8); fill(neighbour, 8);
      transfer(1, lower(first, second), low, 40, {direction});"""
    reports = found(run_worker, body, 1)
    assert len(reports) == 2  # it leaves both the source and the target
    assert all(report.access.by == "a DMA transfer of core 1" and report.size == 8 for report in reports)
    assert {report.access.write for report in reports} == {True, False}


def test_l3_transfer_over_two_objects(run_c):
    _, result = run_c(
        START
        + """
        int main(void) {
          struct pi_device ram;
          struct pi_hyperram_conf conf;
          pi_hyperram_conf_init(&conf);
          pi_open_from_conf(&ram, &conf);
          if (pi_ram_open(&ram)) return 1;
          pi_ram_write(&ram, 0, lower(source, neighbour), 36);
          pi_ram_close(&ram);
          return 0;
        }"""
    )
    (report,) = [report for report in result.reports if report.kind == "out-of-bounds"]
    assert report.access.by == "an L3 transfer of the fabric controller" and not report.access.write
    assert report.size == 4 and {"source", "neighbour"} == {
        text.split("(")[1].split("+")[0].rstrip(")") for text in (report.name, report.beyond)
    }


HEAP = {
    "end of a block": ("char *a = TAKE(100); bytes(a, 101); GIVE(a, 100);", 1),
    "after it is freed": ("char *a = TAKE(64); bytes(a, 64); GIVE(a, 64); bytes(a, 1);", 1),
    "never allocated": ("char *a = TAKE(64); bytes(a + 4096, 1); GIVE(a, 64);", 1),
    "from block to block": ("char *a = TAKE(64), *b = TAKE(64); bytes(a < b ? a : b, 65); (void)b;", 1),
    "correct": (
        "char *a = TAKE(100), *b = TAKE(3); bytes(a, 100); bytes(b, 3); GIVE(a, 100); GIVE(b, 3);",
        0,
    ),
}


@pytest.mark.parametrize("heap", ["pi_l1", "pi_l2"])
@pytest.mark.parametrize("name", HEAP)
def test_heap(run_worker, name, heap):
    body, count = HEAP[name]
    if heap == "pi_l1":
        body = body.replace("TAKE(", "pi_cl_l1_malloc(NULL, ").replace("GIVE(", "pi_cl_l1_free(NULL, ")
    else:
        body = body.replace("TAKE(", "pi_l2_malloc(").replace("GIVE(", "pi_l2_free(")
    assert len(found(run_worker, body)) == count


@pytest.mark.parametrize("core", range(8))
def test_stack_overflow_of_each_worker(run_worker, core):
    source = """
      KEEP static int deep(int n) {
        volatile char room[200];
        room[n] = (char)n;
        return n ? deep(n - 1) + room[n] : 0;
      }
    """ + WORKER.format(core=core, body="sink = deep(5);")
    _, result = run_worker(START + source)
    overflows = [report for report in result.reports if report.kind == "stack-overflow"]
    assert overflows and {report.access.by for report in overflows} == {f"core {core}"}
    assert all("(deep" in report.access.where for report in overflows)


DEEP = """
KEEP static int deep(int n) {
  volatile char room[1000];
  room[0] = (char)n;
  __asm__ volatile("" : : "r"(room) : "memory");
  return n ? deep(n - 1) + room[0] : 0;
}
int main(void) { return deep(%d) * 0; }"""


def test_stack_overflow_of_the_controller(run_c):
    _, result = run_c(START + DEEP % 20)
    assert result.reports == ()
    with pytest.raises(
        BadAccess, match=r"relative to the stack pointer: a stack overflow\): the fabric .*\(deep"
    ):
        run_c(START + DEEP % 80)


def test_stack_overflow_of_the_controller_into_its_data(run_c):
    """A stack that is told, smaller than the memory it lies in."""
    machine, _ = run_c(START + DEEP % 20)
    top = machine.symbols["_fc_stack_top"].address
    machine.restart()
    machine.set_stack(len(machine.result().cores) - 1, top - 4096, top)
    overflows = machine.run(1_000_000).reports
    assert overflows and {(r.kind, r.access.by) for r in overflows} == {
        ("stack-overflow", "the fabric controller")
    }
