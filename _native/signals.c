/* signals.c: the one state of signals that the helper and its payload start from.  */

#include "helper.h"
#include <stdbool.h>
#include "sys.h"

#define KERNEL_SIGSET_SIZE 8

void
reset_signals (void)
{
  /* struct kernel_sigaction, whose layout differs between machines: all zero is SIG_DFL, no
     flags, empty mask on every one.  The raw call, because libc keeps 32 and 33 to itself.  */
  static const unsigned long by_default[8];
  static const unsigned char nothing[KERNEL_SIGSET_SIZE];
  static bool is_done; /* and inherited by every container: nothing of ours changes it again */

  if (is_done)
    return;
  is_done = true;
  for (int signal = 1; signal < NSIG; signal++)
    (void) syscall (SYS_rt_sigaction, signal, by_default, NULL, KERNEL_SIGSET_SIZE);
  (void) syscall (SYS_rt_sigprocmask, SIG_SETMASK, nothing, NULL, KERNEL_SIGSET_SIZE);
}
