import pytest

from tvm_pulp.runtime.sim import Machine


def test_all_workers_run_and_meet_at_the_barrier(run_worker):
    _, result = run_worker(
        """
        static volatile int seen[PULP_CORES], sums[PULP_CORES];
        static void worker(void *argument) {
          (void)argument;
          const int core = (int)pi_core_id();
          for (volatile int i = 0; i < 40 * core; i++);
          seen[core] = core + 1;
          pi_cl_team_barrier();
          for (int i = 0; i < PULP_CORES; i++) sums[core] += seen[i];
          pi_cl_team_barrier();
          if (core == 0)
            for (int i = 0; i < PULP_CORES; i++)
              printf("%d %d cluster %u fc %u\\n", seen[i], sums[i], pi_cluster_id(), pi_is_fc());
        }"""
    )
    assert result.stdout.splitlines() == [f"{i + 1} 36 cluster 0 fc 0" for i in range(8)]


@pytest.mark.parametrize("cores", [1, 2, 4, 8])
def test_target_option_sets_the_team(run_worker, cores):
    _, result = run_worker(
        """
        static volatile int count;
        static void worker(void *argument) {
          (void)argument;
          pi_cl_team_critical_enter();
          const int now = count;
          for (volatile int i = 0; i < 20; i++);
          count = now + 1;
          pi_cl_team_critical_exit();
          pi_cl_team_barrier();
          if (pi_core_id() == 0) printf("%d of %d\\n", count, pi_cl_team_nb_cores());
        }""",
        f"pulp -cores={cores}",
    )
    assert result.stdout == f"{cores} of {cores}\n"


def test_forks_of_different_sizes_and_tasks_one_after_the_other(run_c):
    _, result = run_c(
        """
        #include "pmsis.h"
        static volatile int count[8];
        static void work(void *argument) { count[pi_core_id()] += *(int *)argument; }
        static void entry(void *argument) {
          pi_cl_team_fork(3, work, argument);
          pi_cl_team_fork(8, work, argument);
          pi_cl_team_fork(0, work, argument);
          pi_cl_team_fork(1, work, argument);
        }
        int main(void) {
          struct pi_device device;
          struct pi_cluster_conf conf;
          struct pi_cluster_task task;
          int one = 1, hundred = 100;
          pi_cluster_conf_init(&conf);
          pi_open_from_conf(&device, &conf);
          if (pi_cluster_open(&device)) return 1;
          pi_cluster_send_task_to_cl(&device, pi_cluster_task(&task, entry, &one));
          pi_cluster_close(&device);
          if (pi_cluster_open(&device)) return 1;
          pi_cluster_send_task(&device, pi_cluster_task(&task, entry, &hundred));
          for (int i = 0; i < 8; i++) printf("%d ", count[i]);
          return pi_is_fc() ? 42 : 1;
        }"""
    )
    assert result.stdout == "404 303 303 202 202 202 202 202 "
    assert result.exit_code == 42


def test_a_fork_and_join_is_cheap_when_warm(run_c):
    _, result = run_c(
        """
        #include "pulp_runtime.h"
        static void nothing(void *argument) { (void)argument; }
        static void entry(void *argument) {
          (void)argument;
          uint32_t cycles = 0;
          for (int i = 0; i < 5; i++) {
            const uint32_t start = pulp_cycles();
            pi_cl_team_fork(0, nothing, NULL);
            cycles = pulp_cycles() - start;
          }
          printf("%u", cycles);
        }
        int main(void) {
          struct pi_device device;
          struct pi_cluster_conf conf;
          struct pi_cluster_task task;
          pi_cluster_conf_init(&conf);
          pi_open_from_conf(&device, &conf);
          pi_cluster_open(&device);
          return pi_cluster_send_task_to_cl(&device, pi_cluster_task(&task, entry, NULL));
        }"""
    )
    assert int(result.stdout) <= 60  # the SDK takes 56


def test_a_cluster_that_does_not_exist_is_refused(run_c):
    _, result = run_c(
        """
        #include "pmsis.h"
        int main(void) {
          struct pi_device device;
          struct pi_cluster_conf conf;
          pi_cluster_conf_init(&conf);
          conf.id = 1;
          pi_open_from_conf(&device, &conf);
          return pi_cluster_open(&device) == -1 ? 7 : 0;
        }"""
    )
    assert result.exit_code == 7


def test_starting_again_keeps_what_must_persist(run_worker):
    machine: Machine
    machine, result = run_worker(
        """
        PI_L2 int loaded = 5;
        PULP_PERSISTENT int kept;
        static int cleared;
        static PI_L1 int scratch;
        static void worker(void *argument) {
          (void)argument;
          if (pi_core_id() == 0) {
            if (loaded == 5) kept = 0;
            printf("%d %d %d %d", ++loaded, ++kept, ++cleared, ++scratch);
          }
        }"""
    )
    assert result.stdout == "6 1 1 1"
    for run in range(2, 4):
        machine.restart()
        assert machine.run().stdout == f"{5 + run} {run} 1 1"


def test_a_variable_may_have_the_name_of_a_memory(run_worker):
    machine, _ = run_worker(
        """
        static volatile int l1, persistent, l2 = 3, tensors = 4;
        static void worker(void *argument) { (void)argument, l1++, persistent++, l2++, tensors++; }"""
    )
    for name in ("l1", "persistent", "l2", "tensors"):
        assert machine.symbols[name].address >= machine.configuration.l2_base
