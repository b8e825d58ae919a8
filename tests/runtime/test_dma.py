COPY = """
static volatile uint8_t l2[6000];
static PI_L1 volatile uint8_t l1[6000];
__attribute__((unused))
static int wrong(int start, int bytes, int line, int stride, int l1_start) {
  int errors = 0;
  for (int i = 0; i < bytes; i++)
    errors += l1[l1_start + i] != l2[start + i / line * stride + i % line];
  return errors;
}
__attribute__((unused))
static void fill(volatile uint8_t *memory, uint32_t seed) {
  for (int i = 0; i < 6000; i++) memory[i] = (uint8_t)((seed + (uint32_t)i) * 2654435761u >> 13);
}
"""


def test_transfers_both_ways(run_worker):
    """Sizes and alignments of all kinds, one line or many; nothing beside the transfer may change."""
    _, result = run_worker(
        COPY
        + """
        static const int cases[][5] = { /* bytes, line, stride, start in L1, start in L2 */
          {4096, 4096, 4096, 0, 0}, {1, 1, 1, 3, 5}, {1003, 1003, 1003, 1, 2}, {0, 1, 1, 0, 0},
          {1024, 16, 64, 0, 0}, {1024, 4, 20, 8, 4}, {999, 9, 31, 1, 3}, {0, 4, 8, 0, 0}};
        static int differs(const int *c, int direction) {
          const int bytes = c[0], line = c[1], stride = c[2], in = c[3], out = c[4];
          fill(l1, 1), fill(l2, 77);
          const uint8_t after = l1[in + bytes], outside = l2[out + line];
          if (line == stride)
            dma_start_1d(3, l1 + in, l2 + out, (uint32_t)bytes, direction);
          else
            dma_start_2d(3, l1 + in, l2 + out, (uint32_t)bytes, (uint32_t)stride, (uint32_t)line, direction);
          dma_wait(3);
          const int beside = (l1[in + bytes] != after) + (l2[out + line] != outside);
          return wrong(out, bytes, line, stride, in) + beside;
        }
        static void worker(void *argument) {
          (void)argument;
          if (pi_core_id() != 0) return;
          for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
            printf("%d %d ", differs(cases[i], DMA_L1_TO_L2), differs(cases[i], DMA_L2_TO_L1));
        }"""
    )
    assert result.stdout.split() == ["0"] * 16


def test_more_slots_and_transfers_than_the_hardware_has_ids(run_worker):
    _, result = run_worker(
        COPY
        + """
        static void worker(void *argument) {
          (void)argument;
          if (pi_core_id() != 0) return;
          fill(l1, 1), fill(l2, 77);
          for (int i = 0; i < 100; i++) dma_start_1d(i % PULP_DMA_SLOTS, l1 + 40 * i, l2 + 40 * i, 40, 1);
          for (int i = 100; i < 140; i++) dma_start_1d(2, l1 + 40 * i, l2 + 40 * i, 40, 1);
          for (int slot = 0; slot < PULP_DMA_SLOTS; slot++) dma_wait(slot);
          for (int slot = 0; slot < PULP_DMA_SLOTS; slot++) dma_wait(slot);
          printf("%d %x %x", wrong(0, 5600, 5600, 5600, 0), pulp_dma.held, REGISTER(DMA_STATUS));
        }"""
    )
    assert result.stdout == "0 0 0"


def test_kernels_have_ids_of_their_own(run_worker):
    """While transfers between kernels are in flight; those go on with their slot after a kernel."""
    _, result = run_worker(
        COPY
        + """
        static __attribute__((noinline)) void kernel(int start) {
          PULP_DMA_STATE(3);
          for (int i = 0; i < 30; i++) dma_start_1d(i % 2, l1 + start + 20 * i, l2 + start + 20 * i, 20, 1);
          dma_open(2);
          for (int i = 30; i < 50; i++) dma_start_1d(2, l1 + start + 20 * i, l2 + start + 20 * i, 20, 1);
          for (int slot = 0; slot < 3; slot++) dma_wait(slot);
        }
        static void worker(void *argument) {
          (void)argument;
          if (pi_core_id() != 0) return;
          fill(l1, 1), fill(l2, 77);
          int errors = 0;
          for (int i = 0; i < 4; i++) {
            const int start = 1500 * i;
            dma_start_1d(8 + i % 2, l1 + start, l2 + start, 300, 1);
            dma_start_1d(8 + i % 2, l1 + start + 300, l2 + start + 300, 100, 1);
            kernel(start + 400);
            errors += wrong(start + 400, 1000, 1000, 1000, start + 400);
            pulp_dma_after_kernel();
            dma_start_1d(8 + i % 2, l1 + start + 1400, l2 + start + 1400, 100, 1);
          }
          for (int slot = 8; slot < 10; slot++) dma_wait(slot);
          errors += wrong(0, 6000, 6000, 6000, 0);
          printf("%d %x %x", errors, pulp_dma.held, REGISTER(DMA_STATUS));
        }"""
    )
    assert result.stdout == "0 0 0"


def test_slots_are_waited_for_separately(run_worker):
    """A ping-pong of two slots, in and out, as a tiled kernel drives it."""
    _, result = run_worker(
        COPY
        + """
        static volatile uint8_t out[4096];
        static void worker(void *argument) {
          (void)argument;
          const int core = (int)pi_core_id();
          if (core == 0) {
            fill(l2, 9);
            dma_start_1d(0, l1, l2, 256, 1);
          }
          for (int tile = 0; tile < 16; tile++) {
            volatile uint8_t *here = l1 + tile % 2 * 256, *there = l1 + 512 + tile % 2 * 256;
            if (core == 0) {
              dma_wait(tile % 2);
              const int next = tile + 1;
              if (next < 16) dma_start_1d(next % 2, l1 + next % 2 * 256, l2 + next * 256, 256, 1);
              dma_wait(2 + tile % 2);
            }
            cluster_barrier();
            for (int i = core * 32; i < core * 32 + 32; i++) there[i] = (uint8_t)(here[i] + 1);
            cluster_barrier();
            if (core == 0) dma_start_1d(2 + tile % 2, there, out + tile * 256, 256, 0);
          }
          if (core == 0) {
            dma_wait(2);
            dma_wait(3);
            int errors = 0;
            for (int i = 0; i < 4096; i++) errors += out[i] != (uint8_t)(l2[i] + 1);
            printf("%d", errors);
          }
        }"""
    )
    assert result.stdout == "0"


def test_long_transfers_go_in_pieces(run_worker):
    """On a chip with 256 KiB of L1, beyond the 17 bits of a command's size."""
    _, result = run_worker(
        """
        enum { BYTES = 200000 };
        static volatile uint8_t l2[BYTES * 2];
        static PI_L1 volatile uint8_t l1[BYTES];
        static int wrong(int line, int stride) {
          int errors = 0;
          for (int i = 0; i < BYTES; i += 7) errors += l1[i] != l2[i / line * stride + i % line];
          return errors;
        }
        static void worker(void *argument) {
          (void)argument;
          if (pi_core_id() != 0) return;
          for (int i = 0; i < BYTES * 2; i++) l2[i] = (uint8_t)(i * 40503u >> 7);
          dma_start_1d(0, l1, l2, BYTES, 1);
          dma_wait(0);
          printf("%d ", wrong(BYTES, BYTES));
          dma_start_2d(1, l1, l2, BYTES, 300, 200, 1);
          dma_wait(1);
          printf("%d ", wrong(200, 300));
          dma_start_2d(1, l1, l2, BYTES, 220000, 200000, 1);
          dma_wait(1);
          printf("%d", wrong(200000, 220000));
        }""",
        "siracusa",
    )
    assert result.stdout == "0 0 0"


def test_issuing_a_transfer_is_cheap_when_warm(run_worker):
    _, result = run_worker(
        COPY
        + """
        static void worker(void *argument) {
          (void)argument;
          if (pi_core_id() != 0) return;
          uint32_t cycles[6];
          for (int run = 0; run < 3; run++) {
            cycles[0] = pulp_cycles();
            dma_start_1d(0, l1, l2, 64, 1);
            cycles[1] = pulp_cycles();
            dma_start_1d(0, l1 + 64, l2 + 64, 64, 1);
            cycles[2] = pulp_cycles();
            dma_wait(0);
            cycles[3] = pulp_cycles();
            dma_wait(0);
            cycles[4] = pulp_cycles();
          }
          for (int i = 0; i < 4; i++) printf("%u ", cycles[i + 1] - cycles[i]);
        }"""
    )
    first, next_, _, wait = map(int, result.stdout.split())
    assert next_ <= 12
    assert first <= 22
    assert wait <= 20


def test_a_kernel_finds_out_nothing_that_the_compiler_knows(run_worker):
    _, result = run_worker(
        COPY
        + """
        static volatile int runs = 3;
        static void worker(void *argument) {
          (void)argument;
          if (pi_core_id() != 0) return;
          PULP_DMA_STATE(1);
          uint32_t cycles[4];
          for (int run = 0; run < runs; run++) {
            cycles[0] = pulp_cycles();
            dma_start_1d(0, l1, l2, 64, 1);
            cycles[1] = pulp_cycles();
            dma_start_1d(0, l1 + 64, l2 + 64, 64, 1);
            cycles[2] = pulp_cycles();
            dma_wait(0);
            cycles[3] = pulp_cycles();
          }
          for (int i = 0; i < 2; i++) printf("%u ", cycles[i + 1] - cycles[i]);
        }"""
    )
    first, next_ = map(int, result.stdout.split())
    assert next_ <= 7
    assert first <= 12


def test_pi_cl_dma_as_the_sdk_has_it(run_worker):
    _, result = run_worker(
        COPY
        + """
        static void worker(void *argument) {
          (void)argument;
          if (pi_core_id() != 0) return;
          pi_cl_dma_cmd_t in, lines;
          fill(l1, 1), fill(l2, 77);
          pi_cl_dma_cmd((uint32_t)l2, (uint32_t)l1, 1000, PI_CL_DMA_DIR_EXT2LOC, &in);
          pi_cl_dma_cmd_2d((uint32_t)l2, (uint32_t)(l1 + 1000), 512, 64, 32, PI_CL_DMA_DIR_EXT2LOC, &lines);
          pi_cl_dma_cmd_wait(&lines);
          pi_cl_dma_cmd_wait(&in);
          printf("%d %d", wrong(0, 1000, 1000, 1000, 0), wrong(0, 512, 32, 64, 1000));
        }"""
    )
    assert result.stdout == "0 0"


def test_a_transfer_that_was_not_slept_for_does_not_end_a_barrier(run_worker):
    """The DMA's event is buffered; core 0 must still wait for the late workers."""
    _, result = run_worker(
        COPY
        + """
        static volatile int arrived[PULP_CORES];
        static void worker(void *argument) {
          (void)argument;
          const int core = (int)pi_core_id();
          int early = 0;
          for (int round = 1; round <= 3; round++) {
            if (core == 0) {
              dma_start_1d(0, l1, l2, 64, 1);
              for (volatile int i = 0; i < 100; i++);
              dma_wait(0);
            } else {
              for (volatile int i = 0; i < 500; i++);
            }
            arrived[core] = round;
            cluster_barrier();
            for (int i = 0; i < PULP_CORES; i++) early += arrived[i] != round;
            cluster_barrier();
          }
          if (core == 0) printf("%d", early);
        }"""
    )
    assert result.stdout == "0"
