/* lib_spawn.c: starting the helper from a process that has threads.

   The child shares our memory until execveat(2) and we sleep meanwhile, as with vfork(2): nothing
   is copied, and nothing but raw system calls runs, so no lock of another thread can matter.  */

#include "sys.h"
#include <string.h>

#include "lib.h"
#include "lib_clone.h"

#define CONTROL_FD 3 /* helper.h */
#define STACK_SIZE 65536

struct start
{
  int image;
  int control;
  int error; /* written by the child: the memory is ours */
};

/* Put the control socket at CONTROL_FD, wherever the two are now; the caller may well run with
   some of 0 to 2 closed, so they can be anywhere.  */
static int
place_control (struct start *start)
{
  if (start->image == CONTROL_FD)
    start->image = sys_fcntl (CONTROL_FD, F_DUPFD_CLOEXEC, CONTROL_FD + 1);
  if (start->image < 0)
    return start->image;
  if (start->control == CONTROL_FD)
    return sys_fcntl (CONTROL_FD, F_SETFD, 0);
  return sys_dup3 (start->control, CONTROL_FD, 0);
}

static int
child (void *arg)
{
  static char *const argv[] = { "aiocontainer-helper", NULL };
  static char *const envp[] = { NULL };
  struct start *start = arg;
  int result = place_control (start);

  if (result >= 0)
    result = sys_execveat (start->image, "", argv, envp, AT_EMPTY_PATH);
  start->error = result;
  return 127;
}

void
block_signals (unsigned char *old)
{
  unsigned char all[KERNEL_SIGSET_SIZE];

  memset (all, 0xff, sizeof (all));
  (void) syscall (SYS_rt_sigprocmask, SIG_BLOCK, all, old, KERNEL_SIGSET_SIZE);
}

void
restore_signals (const unsigned char *old)
{
  (void) syscall (SYS_rt_sigprocmask, SIG_SETMASK, old, NULL, KERNEL_SIGSET_SIZE);
}

static int
clone_with_stack (int (*function) (void *), void *top, void *arg, int flags, int *pidfd)
{
  unsigned char old[KERNEL_SIGSET_SIZE];
  int pid;

  block_signals (old);
  pid = sys_result (clone (function, top, CLONE_VM | CLONE_PIDFD | flags, arg, pidfd));
  restore_signals (old);
  return pid;
}

int
clone_sharing_memory (int (*function) (void *), void *arg, int flags, int *pidfd)
{
  _Alignas(16) char stack[STACK_SIZE];

  return clone_with_stack (function, stack + sizeof (stack), arg, CLONE_VFORK | flags, pidfd);
}

int
clone_beside (int (*function) (void *), void *top, int flags, int *pidfd)
{
  return clone_with_stack (function, top, NULL, flags, pidfd);
}

void
reap (int *pidfd)
{
  (void) syscall (SYS_waitid, P_PIDFD, *pidfd, NULL, WEXITED | __WALL, NULL);
  (void) sys_close (*pidfd);
  *pidfd = -1;
}

int
lib_spawn_helper (int image, int control, int *pidfd)
{
  struct start start = { .image = image, .control = control };
  int pid = clone_sharing_memory (child, &start, 0, pidfd);

  if (pid < 0 || start.error == 0)
    return pid;
  reap (pidfd);
  return start.error;
}
