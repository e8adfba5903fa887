/* A plugin for QEMU's user-mode emulators: counts the instructions that the guest executes.
 *
 * Each getppid() of the guest prints the count so far on standard error. No library calls it, so
 * a program can put one before and one after what it wants to know.
 *
 * QEMU's header is not packaged everywhere; what is needed of it is declared here.
 */

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#define GETPPID 173 /* on aarch64 */

typedef uint64_t id_type;
struct qemu_plugin_tb;

void qemu_plugin_register_vcpu_tb_trans_cb(id_type,
                                           void (*)(id_type, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *),
                                          int flags, void *);
void qemu_plugin_register_vcpu_syscall_cb(id_type,
                                          void (*)(id_type, unsigned, int64_t, uint64_t, uint64_t,
                                                   uint64_t, uint64_t, uint64_t, uint64_t,
                                                   uint64_t, uint64_t));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

int qemu_plugin_version = API;

static uint64_t executed;

static void executes(unsigned cpu, void *instructions) {
  __atomic_fetch_add(&executed, (uintptr_t)instructions, __ATOMIC_RELAXED);
}

/* A block of instructions is translated once and executes whole. */
static void translated(id_type id, struct qemu_plugin_tb *block) {
  uintptr_t instructions = qemu_plugin_tb_n_insns(block);
  qemu_plugin_register_vcpu_tb_exec_cb(block, executes, 0, (void *)instructions);
}

static void called(id_type id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c,
                   uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  if (number == GETPPID) fprintf(stderr, "executed %" PRIu64 "\n", executed);
}

int qemu_plugin_install(id_type id, const void *info, int argc, char **argv) {
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
