"""External memory: pi_ram as the SDK has it, by the fabric controller and by the cluster."""

import pytest

from tvm_pulp.runtime.sim import BadAccess

L3 = {"l3_bytes": 1 << 20, "l3_latency": 100}

START = """
#include "pulp_runtime.h"
#include "bsp/ram/hyperram.h"
#define CHECK(condition) if (!(condition)) return __LINE__
enum { BYTES = 4096 };
__attribute__((unused)) static uint8_t out[BYTES], back[BYTES];
__attribute__((unused)) static PI_L1 uint8_t l1[BYTES];
static struct pi_device ram;
__attribute__((unused))
static void fill(uint32_t seed) {
  for (int i = 0; i < BYTES; i++) out[i] = (uint8_t)((seed + (uint32_t)i) * 2654435761u >> 13);
  memset(back, 0xee, BYTES);
}
static int open_ram(void) {
  static struct pi_hyperram_conf conf;
  pi_hyperram_conf_init(&conf);
  pi_open_from_conf(&ram, &conf);
  return pi_ram_open(&ram);
}
#line 1
"""

CLUSTER = """
static void entry(void *argument) { (void)argument; pi_cl_team_fork(PULP_CORES, worker, NULL); }
int main(void) {
  struct pi_device device;
  struct pi_cluster_conf configuration;
  struct pi_cluster_task task;
  CHECK(open_ram() == 0);
  fill(5);
  pi_cluster_conf_init(&configuration);
  pi_open_from_conf(&device, &configuration);
  CHECK(pi_cluster_open(&device) == 0);
  pi_cluster_send_task_to_cl(&device, pi_cluster_task(&task, entry, NULL));
  return errors;
}
"""


def test_there_and_back(run_c):
    _, result = run_c(
        START
        + """
        int main(void) {
          uint32_t chunk;
          CHECK(open_ram() == 0);
          CHECK(pi_ram_alloc(&ram, &chunk, BYTES) == 0);
          for (int size = 1; size <= BYTES; size = size * 3 + 1) {
            fill((uint32_t)size);
            pi_ram_write(&ram, chunk + 1, out, (uint32_t)size - 1 + !(size - 1));
            pi_ram_read(&ram, chunk + 1, back + 2, (uint32_t)size - 1 + !(size - 1));
            for (int i = 0; i < size - 1; i++) CHECK(back[i + 2] == out[i]);
            CHECK(back[1] == 0xee && (size < 4 || back[size + 1] == 0xee));
          }
          pi_ram_close(&ram);
          return 0;
        }""",
        **L3,
    )
    assert result.exit_code == 0
    assert not result.reports


def test_lines(run_c):
    """2D in both directions, the last line short; between the lines nothing changes."""
    _, result = run_c(
        START
        + """
        int main(void) {
          CHECK(open_ram() == 0);
          fill(3);
          pi_ram_write(&ram, 0, out, BYTES);
          pi_ram_read_2d(&ram, 7, back, 500, 64, 48);
          for (int i = 0; i < 500; i++) CHECK(back[i] == out[7 + i / 48 * 64 + i % 48]);
          CHECK(back[500] == 0xee);
          memset(back, 1, BYTES);
          pi_ram_write_2d(&ram, 100, back, 96, 40, 32);
          pi_ram_read(&ram, 0, back, BYTES);
          for (int i = 0; i < BYTES; i++) {
            const int line = (i - 100) / 40, column = (i - 100) % 40;
            const int written = i >= 100 && line < 3 && column < 32;
            CHECK(back[i] == (written ? 1 : out[i]));
          }
          return 0;
        }""",
        **L3,
    )
    assert result.exit_code == 0


def test_asynchronous_transfers_overlap(run_c):
    """The controller computes while both transfers run; the last wait ends when the second does."""
    _, result = run_c(
        START
        + """
        static uint8_t other[BYTES];
        int main(void) {
          pi_task_t first, second;
          CHECK(open_ram() == 0);
          fill(1);
          pi_ram_write(&ram, 0, out, BYTES);
          const uint32_t begin = pulp_cycles();
          pi_ram_read_async(&ram, 0, back, BYTES, pi_task_block(&first));
          pi_ram_read_async(&ram, 64, other, BYTES - 64, pi_task_block(&second));
          const uint32_t issued = pulp_cycles();
          CHECK(!first.done && !second.done);
          for (volatile int i = 0; i < 100; i++);
          const uint32_t computed = pulp_cycles();
          CHECK(back[0] == 0xee);
          pi_task_wait_on(&second);
          const uint32_t end = pulp_cycles();
          CHECK(first.done);
          pi_task_wait_on(&first);
          for (int i = 0; i < BYTES; i++) CHECK(back[i] == out[i]);
          for (int i = 0; i < BYTES - 64; i++) CHECK(other[i] == out[64 + i]);
          printf("%u %u %u", issued - begin, computed - begin, end - begin);
          return 0;
        }""",
        **L3,
    )
    assert result.exit_code == 0
    issued, computed, end = map(int, result.stdout.split())
    transfers = 2 * 100 + 4096 + 4032
    assert issued < 400
    assert issued + 500 < computed < transfers
    assert transfers <= end <= transfers + 300


def test_callbacks(run_c):
    """As the SDK's own test: the end of a write starts the read of the same buffer."""
    _, result = run_c(
        START
        + """
        static pi_task_t tasks[2];
        static int ends;
        static void read_(void *argument) { (void)argument; ends++; }
        static void written(void *argument) {
          const int i = (int)argument;
          printf("%d ", i);
          pi_ram_read_async(&ram, 2048u * (uint32_t)i, back + 2048 * i, 2048,
                            pi_task_callback(&tasks[i], read_, argument));
        }
        int main(void) {
          CHECK(open_ram() == 0);
          fill(9);
          for (int i = 0; i < 2; i++)
            pi_ram_write_async(&ram, 2048u * (uint32_t)i, out + 2048 * i, 2048,
                               pi_task_callback(&tasks[i], written, (void *)i));
          while (ends != 2) pi_yield();
          pi_yield();
          return memcmp(out, back, BYTES) != 0;
        }""",
        **L3,
    )
    assert (result.exit_code, result.stdout) == (0, "0 1 ")


def test_allocation(run_c):
    _, result = run_c(
        START
        + """
        int main(void) {
          uint32_t all, part[8], again;
          const uint32_t size = (1 << 20) - 4;
          CHECK(open_ram() == 0);
          CHECK(pi_ram_alloc(&ram, &all, size + 1) == -1);
          CHECK(pi_ram_alloc(&ram, &all, 0xffffffff) == -1);
          CHECK(pi_ram_alloc(&ram, &all, size) == 0 && all == 4);
          CHECK(pi_ram_alloc(&ram, &part[0], 1) == -1);
          CHECK(pi_ram_free(&ram, all, size) == 0);
          for (uint32_t i = 0; i < 8; i++) {
            CHECK(pi_ram_alloc(&ram, &part[i], 101 + i) == 0 && part[i] % 4 == 0);
            if (i) CHECK(part[i] >= part[i - 1] + 100 + i);
          }
          for (uint32_t i = 0; i < 8; i += 2) CHECK(pi_ram_free(&ram, part[i], 101 + i) == 0);
          CHECK(pi_ram_alloc(&ram, &again, 101) == 0 && again == part[0]);
          CHECK(pi_ram_free(&ram, again, 101) == 0);
          for (uint32_t i = 7; i < 8; i -= 2) CHECK(pi_ram_free(&ram, part[i], 101 + i) == 0);
          CHECK(pi_ram_alloc(&ram, &all, size) == 0 && all == 4);
          pi_ram_close(&ram);
          CHECK(open_ram() == 0);
          return 0;
        }""",
        **L3,
    )
    assert result.exit_code == 0


def test_every_core_of_the_cluster(run_c):
    """All cores ask at the same time, lines and plain, to and from L1; no finding of the checks."""
    _, result = run_c(
        START
        + """
        static volatile int errors;
        static PI_L1 uint8_t lines[BYTES];
        static void worker(void *argument) {
          (void)argument;
          const uint32_t core = pi_core_id(), size = BYTES / PULP_CORES;
          pi_cl_ram_alloc_req_t allocation;
          pi_cl_ram_free_req_t release;
          pi_cl_ram_req_t write, read, columns;
          uint32_t chunk;
          int wrong = 0;
          pi_cl_ram_alloc(&ram, size, &allocation);
          wrong += pi_cl_ram_alloc_wait(&allocation, &chunk) != 0;
          pi_cl_ram_write(&ram, chunk, out + core * size, size, &write);
          pi_cl_ram_read(&ram, chunk, l1 + core * size, size, &read);
          pi_cl_ram_read_2d(&ram, chunk, lines + core * size, 64, 32, 16, &columns);
          pi_cl_ram_write_wait(&write);
          pi_cl_ram_read_wait(&read);
          pi_cl_ram_copy_wait(&columns);
          for (uint32_t i = 0; i < size; i++) wrong += l1[core * size + i] != out[core * size + i];
          for (uint32_t i = 0; i < 64; i++)
            wrong += lines[core * size + i] != out[core * size + i / 16 * 32 + i % 16];
          pi_cl_ram_free(&ram, chunk, size, &release);
          wrong += pi_cl_ram_free_wait(&release) != 0;
          pi_cl_team_critical_enter();
          errors += wrong;
          pi_cl_team_critical_exit();
        }"""
        + CLUSTER,
        **L3,
    )
    assert result.exit_code == 0
    assert not result.reports


@pytest.mark.parametrize(("address", "size"), [("0x100000", 1), ("0xfffff", 2), ("0xfffffffc", 8), ("0", 0)])
def test_outside_l3(run_c, address, size):
    """The SDK's calls return nothing, so the run ends, with the code that `pulp-sim` has for it."""
    with pytest.raises(BadAccess, match=f"L3 transfer of {size} bytes outside memory") as error:
        run_c(
            START + f"int main(void) {{ open_ram(); pi_ram_read(&ram, {address}, l1, {size}); return 0; }}",
            **L3,
        )
    assert error.value.exit_code == 70


@pytest.mark.parametrize(("change", "size"), [("", 0), ("", 4), ("conf.ram_size = 1 << 21;", 1 << 20)])
def test_there_is_not_that_much_l3(run_c, change, size):
    """Without L3, without any that may be allocated, or with less than the program asks for."""
    _, result = run_c(
        START.replace("pi_open_from_conf(&ram", change + "pi_open_from_conf(&ram")
        + "int main(void) { return open_ram() == -1 ? 42 : 1; }",
        l3_bytes=size,
    )
    assert result.exit_code == 42
