/* Random loop bodies on one, two or eight cores: three runs of each (cold, warm, after a skew of the cores),
 * a fourth with the event counters on. The registers and the private memories are hashed. */
#include "pulp_runtime.h"
#include "stress.h"

#define PRIVATE_WORDS 560
#define OUTSIDE_WORDS 640
#define REGISTER_WORDS 24

static PI_L1 uint32_t private_words[8][PRIVATE_WORDS] __attribute__((aligned(16)));
static PI_L1 uint32_t shared_words[64], results[8][REGISTER_WORDS];
static PI_L1 float constants[24];
static PI_L1 uint32_t cycles[4][8], counters[8][11];
static uint32_t outside_words[8][OUTSIDE_WORDS] __attribute__((aligned(64)));

static uint32_t clock_now(void) {
  uint32_t value;
  __asm__ volatile("csrr %0, 0xB00" : "=r"(value)::"memory");
  return value;
}

static uint32_t hash(const uint32_t *words, uint32_t count) {
  uint32_t value = 0;
  for (uint32_t i = 0; i < count; i++) value = (value << 5 | value >> 27) + words[i] * 2654435761u;
  return value;
}

static void fill(uint32_t id, uint32_t number) {
  for (uint32_t i = 0; i < PRIVATE_WORDS; i++) private_words[id][i] = i * 2654435761u ^ (id * 0x01010101u + number);
  for (uint32_t i = 0; i < OUTSIDE_WORDS; i++) outside_words[id][i] = i * 40503u + id;
  for (uint32_t i = 0; i < REGISTER_WORDS; i++) results[id][i] = 0;
  if (id == 0) {
    for (uint32_t i = 0; i < 64; i++) shared_words[i] = i * 69069u;
    for (uint32_t i = 0; i < 20; i++) constants[i] = 0.75f + (float)i * 0.03125f;
  }
}

#define COUNTER(n) __asm__ volatile("csrr %0, %1" : "=r"(counters[id][n]) : "i"(0x780 + (n)))

static void show(uint32_t number, uint32_t mask) {
  static const char *const runs[] = {"cold", "warm", "skewed"};
  const char *name = stress_cases[number].name;
  for (uint32_t run = 0; run < 3; run++) {
    printf("%2u %s mask %02x run %u %s", number, name, mask, run, runs[run]);
    for (uint32_t id = 0; id < 8; id++)
      if (mask >> id & 1) printf(" %u", cycles[run][id]);
    printf("\n");
  }
  for (uint32_t id = 0; id < 8; id += 5) {
    const uint32_t *c = counters[id];
    if (!(mask >> id & 1)) continue;
    printf("%2u %s mask %02x core %u cyc %u ldst %u imiss %u", number, name, mask, id, c[0], c[2], c[4]);
    printf(" instr %u ld %u st %u j %u br %u bt %u rvc %u\n", c[1], c[5], c[6], c[7], c[8], c[9], c[10]);
  }
  printf("%2u %s mask %02x hash %08x %08x %08x\n", number, name, mask, hash(results[0], 8 * REGISTER_WORDS),
         hash(private_words[0], 8 * PRIVATE_WORDS), hash(outside_words[0], 8 * OUTSIDE_WORDS));
}

static void measure(uint32_t id, uint32_t number, uint32_t mask) {
  for (volatile uint32_t run = 0; run < 4; run++) {
    fill(id, number);
    pi_cl_team_barrier();
    if (run == 2)
      for (volatile uint32_t wait = 0; wait < (id * 5 + number) % 8; wait++);
    if (run == 3) {
      __asm__ volatile("csrw 0xCC0, %0\ncsrw 0x79F, x0\ncsrw 0xCC1, %1" ::"r"(0x7fffffff), "r"(1));
    }
    const uint32_t start = clock_now();
    if (mask >> id & 1)
      stress_cases[number].body[id](private_words[id], outside_words[id], shared_words,
                                    stress_cases[number].iterations, results[id], constants);
    cycles[run][id] = clock_now() - start;
    if (run == 3) __asm__ volatile("csrw 0xCC1, x0");
    pi_cl_team_barrier();
  }
  COUNTER(0); COUNTER(1); COUNTER(2); COUNTER(3); COUNTER(4); COUNTER(5);
  COUNTER(6); COUNTER(7); COUNTER(8); COUNTER(9); COUNTER(10);
  pi_cl_team_barrier();
  if (id == 0) show(number, mask);
  pi_cl_team_barrier();
}

static void worker(void *argument) {
  (void)argument;
  const uint32_t id = pi_core_id();
  *(volatile uint32_t *)0x10204008 = 1u << 8 | 1u << 16 | 1u << 17 | 1u << 18; /* DMA, barrier, mutex, dispatch */
  pi_cl_team_barrier();
  for (uint32_t number = 0; number < sizeof stress_cases / sizeof *stress_cases; number++)
    for (uint32_t i = 0; i < 3; i++)
      if (stress_cases[number].masks[i] != 0) measure(id, number, stress_cases[number].masks[i]);
}

static void entry(void *argument) {
  (void)argument;
  pi_cl_team_fork(8, worker, NULL);
}

int main(void) {
  struct pi_device device;
  struct pi_cluster_conf configuration;
  struct pi_cluster_task task;
  pi_cluster_conf_init(&configuration);
  pi_open_from_conf(&device, &configuration);
  if (pi_cluster_open(&device)) return 1;
  pi_cluster_send_task_to_cl(&device, pi_cluster_task(&task, entry, NULL));
  pi_cluster_close(&device);
  return 0;
}
