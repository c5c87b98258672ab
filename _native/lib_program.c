/* lib_program.c: starting a hook, somebody else's program, from a process that has threads.

   As in lib_spawn.c nothing is copied, and nothing but raw system calls runs until execve(2).  The
   pidfd is there from birth: nobody can wait for the child before we know it.  */

#include "sys.h"
#include <limits.h>

#include "lib.h"
#include "lib_clone.h"

struct program
{
  const char *path;
  char **argv, **envp;
  const char *directory;
  int input, output, errors;
  int error; /* written by the child: the memory is ours */
};

/* Beyond 0 to 2, where the caller may have it if it runs with some of these closed.  */
static int
lift (int *fd)
{
  if (*fd <= STDERR_FILENO)
    *fd = sys_fcntl (*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  return *fd < 0 ? *fd : 0;
}

static int
place_streams (struct program *p)
{
  int result = lift (&p->input);

  if (result == 0)
    result = lift (&p->output);
  if (result == 0)
    result = lift (&p->errors);
  if (result == 0)
    result = sys_dup3 (p->input, STDIN_FILENO, 0);
  if (result >= 0)
    result = sys_dup3 (p->output, STDOUT_FILENO, 0);
  if (result >= 0)
    result = sys_dup3 (p->errors, STDERR_FILENO, 0);
  return result < 0 ? result : sys_close_range (STDERR_FILENO + 1, UINT_MAX, 0);
}

/* What Python ignores, and what clone_sharing_memory() has blocked.  struct kernel_sigaction: all
   zero is SIG_DFL.  */
void
default_signals (void)
{
  static const unsigned long by_default[8];
  static const unsigned char nothing[KERNEL_SIGSET_SIZE];

  (void) syscall (SYS_rt_sigaction, SIGPIPE, by_default, NULL, KERNEL_SIGSET_SIZE);
  (void) syscall (SYS_rt_sigaction, SIGXFSZ, by_default, NULL, KERNEL_SIGSET_SIZE);
  (void) syscall (SYS_rt_sigprocmask, SIG_SETMASK, nothing, NULL, KERNEL_SIGSET_SIZE);
}

static int
child (void *arg)
{
  struct program *p = arg;
  int result = sys_setsid ();

  if (result >= 0)
    result = place_streams (p);
  if (result == 0)
    result = sys_chdir (p->directory);
  if (result == 0)
    {
      default_signals ();
      result = sys_execve (p->path, p->argv, p->envp);
    }
  p->error = result;
  return 127;
}

int
lib_start_program (const char *path, char **argv, char **envp, const char *directory, int input, int output,
                   int errors, int *pidfd)
{
  struct program program = {
    .path = path,
    .argv = argv,
    .envp = envp,
    .directory = directory,
    .input = input,
    .output = output,
    .errors = errors,
  };
  int pid = clone_sharing_memory (child, &program, 0, pidfd);

  if (pid < 0 || program.error == 0)
    return pid;
  reap (pidfd);
  return program.error;
}
