/* steps_reset.c: attributes that a process inherits without being asked, put back to what a
   freshly booted machine would give.  What would need a privilege that we lack stays.  */

#include "helper.h"
#include "sys.h"
#include <string.h>
#include <sys/personality.h>

#define CPU_MASK_SIZE 1024 /* bytes: more CPUs than any kernel is built for */
#define IOPRIO_WHO_PROCESS 1
#define MPOL_DEFAULT 0

static int
reset_affinity (struct context *ctx)
{
  unsigned char all[CPU_MASK_SIZE];

  memset (all, 0xff, sizeof (all));
  return checked (ctx, CALL_SCHED_SETAFFINITY, sys_sched_setaffinity (0, sizeof (all), all));
}

static bool
is_refusal (int result)
{
  return result == -EPERM || result == -EACCES;
}

static int
reset_scheduler (struct context *ctx)
{
  const struct sched_param none = { 0 };
  int result = sys_sched_setscheduler (0, SCHED_OTHER, &none);

  if (result < 0 && !is_refusal (result))
    return checked (ctx, CALL_SCHED_SETSCHEDULER, result);
  result = sys_setpriority (PRIO_PROCESS, 0, 0);
  if (result < 0 && !is_refusal (result))
    return checked (ctx, CALL_SETPRIORITY, result);
  result = sys_ioprio_set (IOPRIO_WHO_PROCESS, 0, 0);
  if (result < 0 && !is_refusal (result) && result != -ENOSYS)
    return checked (ctx, CALL_IOPRIO_SET, result);
  return 0;
}

static int
reset_personality (struct context *ctx)
{
  int result = checked (ctx, CALL_PERSONALITY, sys_personality (PER_LINUX));

  return result < 0 ? result : 0; /* it returns the old one */
}

static int
reset_mempolicy (struct context *ctx)
{
  int result = sys_set_mempolicy (MPOL_DEFAULT, NULL, 0);

  return result == -ENOSYS ? 0 : checked (ctx, CALL_SET_MEMPOLICY, result);
}

int
do_reset (const struct step *s, struct context *ctx)
{
  int result = 0;

#ifdef WEAK_T81 /* guard of T81: nothing of the caller sticks to the payload */
  return 0;
#endif
  if ((s->a & RESET_SIGNALS) != 0)
    reset_signals ();
  if ((s->a & RESET_AFFINITY) != 0)
    result = reset_affinity (ctx);
  if (result == 0 && (s->a & RESET_SCHEDULER) != 0)
    result = reset_scheduler (ctx);
  if (result == 0 && (s->a & RESET_PERSONALITY) != 0)
    result = reset_personality (ctx);
  if (result == 0 && (s->a & RESET_MEMPOLICY) != 0)
    result = reset_mempolicy (ctx);
  return result;
}
