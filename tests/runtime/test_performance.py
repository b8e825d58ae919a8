def test_counters_count_what_they_say(run_worker):
    _, result = run_worker(
        """
        static PI_L1 volatile int words[16];
        static void worker(void *argument) {
          (void)argument;
          if (pi_core_id() != 0) return;
          uint32_t read[4];
          for (int run = 0; run < 3; run++) {
            pi_perf_conf(1 << PI_PERF_CYCLES | 1 << PI_PERF_INSTR | 1 << PI_PERF_LD | 1 << PI_PERF_ST);
            pi_perf_reset();
            pi_perf_start();
            for (int i = 0; i < 16; i++) words[i] = words[i] + 1;
            pi_perf_stop();
            read[0] = pi_perf_read(PI_PERF_CYCLES);
            read[1] = pi_perf_read(PI_PERF_INSTR);
            read[2] = pi_perf_read(PI_PERF_LD);
            read[3] = pi_perf_read(PI_PERF_ST);
          }
          const uint32_t after = pi_perf_read(PI_PERF_CYCLES) - read[0];
          printf("%u %u %u %u %u", read[0], read[1], read[2], read[3], after);
        }"""
    )
    cycles, instructions, loads, stores, after = map(int, result.stdout.split())
    assert 32 <= instructions <= cycles <= 400
    assert 16 <= loads <= 24 and 16 <= stores <= 24
    assert after == 0
