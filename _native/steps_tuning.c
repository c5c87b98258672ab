/* steps_tuning.c: what the process gets of the machine's CPUs, disks and memory, and what machine
   it takes that to be.  The numbers are the kernel's own; Python has them from the specification.  */

#include "helper.h"
#include "sys.h"

#define IOPRIO_WHO_PROCESS 1
#define WORD_BITS 64

int
do_affinity (const struct step *s, struct context *ctx)
{
  return checked (ctx, CALL_SCHED_SETAFFINITY, sys_sched_setaffinity (0, s->data_size, s->data));
}

/* decode.c has compared the size inside the structure with that of the data.  */
int
do_scheduler (const struct step *s, struct context *ctx)
{
  return checked (ctx, CALL_SCHED_SETATTR, sys_sched_setattr (0, s->data));
}

int
do_io_priority (const struct step *s, struct context *ctx)
{
  return checked (ctx, CALL_IOPRIO_SET, sys_ioprio_set (IOPRIO_WHO_PROCESS, 0, (int) s->a));
}

/* The kernel takes one bit less than it is told: set_mempolicy(2), get_nodes() in mm/mempolicy.c.  */
int
do_memory_policy (const struct step *s, struct context *ctx)
{
  unsigned long bits = (unsigned long) s->data_size / sizeof (uint64_t) * WORD_BITS;

  return checked (ctx, CALL_SET_MEMPOLICY, sys_set_mempolicy ((int) s->a, s->data, bits == 0 ? 0 : bits + 1));
}

/* It returns the old one.  */
int
do_personality (const struct step *s, struct context *ctx)
{
  int result = checked (ctx, CALL_PERSONALITY, sys_personality (s->a));

  return result < 0 ? result : 0;
}
