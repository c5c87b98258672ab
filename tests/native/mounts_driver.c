/* mounts_driver.c: run the mount steps of a plan in throw-away namespaces, and then its program.

   mounts_driver PLAN FLAGS [DESCRIPTOR]...

   FLAGS are CLONE_NEW* to unshare; the descriptors are the plan's.  A pause says "paused" on standard output
   and waits for a line on standard input.  A failure says "failed STEP ERRNO CALL"; a program of "" says
   "done NANOSECONDS".  After a console step, the program has the master as descriptor 3 and the
   terminal as 4.  */

#include "decode.h"
#include "sys.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static struct context context = { .rootfd = -1, .procfd = -1, .nullfd = -1, .masktreefd = -1, .sendfd = -1 };
static uint64_t started;

void
drop_fd (int *fd)
{
  sys_autoclose (fd);
  *fd = -1;
}

static uint64_t
now_ns (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

static void
check (bool ok, const char *what)
{
  if (ok)
    return;
  perror (what);
  exit (125);
}

static int
pause_here (const struct step *s, struct context *ctx)
{
  char line[8];

  (void) s;
  (void) ctx;
  puts ("paused");
  return fflush (stdout) == 0 && fgets (line, sizeof line, stdin) != NULL ? 0 : -EPIPE;
}

static int
run_program (const struct step *s, struct context *ctx)
{
  char *argv[16] = { NULL };

  for (uint32_t i = 0; i < s->a && i < 15; i++)
    argv[i] = (char *) string_at (s, i);
  if (argv[0][0] == '\0')
    return printf ("done %lu\n", (unsigned long) (now_ns () - started)) < 0;
  if (ctx->sendfd >= 0)
    check (dup2 (ctx->sendfd, 3) == 3 && dup2 (ctx->fd_numbers[0], 4) == 4, "dup2");
  execv (argv[0], argv);
  return -errno;
}

static int (*const executors[]) (const struct step *, struct context *) = {
  [STEP_PAUSE] = pause_here,     [STEP_PROPAGATION] = do_propagation,
  [STEP_PROCFS] = do_procfs,     [STEP_ROOTFS] = do_rootfs,
  [STEP_MOUNT] = do_mount,       [STEP_BIND] = do_bind,
  [STEP_SETATTR] = do_setattr,   [STEP_DEVICE] = do_device,
  [STEP_FILE_LABEL] = do_file_label,
  [STEP_SYMLINK] = do_symlink,   [STEP_MASK] = do_mask,
  [STEP_READONLY] = do_readonly, [STEP_PIVOT] = do_pivot,
  [STEP_CONSOLE] = do_console,   [STEP_VERIFY_MOUNTS] = do_verify_mounts,
  [STEP_EXEC] = run_program,
};

static const void *
map_plan (const char *path)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  const struct wire_plan *plan;
  uint32_t step;

  check (fd >= 0 && fstat (fd, &st) == 0, path);
  plan = mmap (NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  check (plan != MAP_FAILED, "mmap");
  errno = -plan_check (plan, (size_t) st.st_size, plan->fds, &step);
  check (errno == 0, "plan");
  return plan;
}

static void
run_steps (const void *plan, char **fds)
{
  const char *only = getenv ("MOUNTS_DRIVER_TIMES");
  struct plan_reader reader;
  struct step s;

  plan_open (&reader, plan);
  while (plan_next (&reader, &s))
    {
      uint64_t start = now_ns ();
      int result;

      if (s.fd >= 0)
        s.fd = atoi (fds[s.fd]);
      result = executors[s.op](&s, &context);
      if (only != NULL)
        fprintf (stderr, "%u %u %lu\n", s.index, s.op, (unsigned long) (now_ns () - start));
      if (result == 0)
        continue;
      printf ("failed %u %d %u\n", s.index, -result, context.call);
      exit (1);
    }
}

int
main (int argc, char **argv)
{
  const void *plan;
  pid_t child;
  int status;

  check (argc > 2, "usage");
  plan = map_plan (argv[1]);
  umask (0);
  check (unshare (atoi (argv[2])) == 0, "unshare");
  child = fork ();
  check (child >= 0, "fork");
  if (child != 0)
    return waitpid (child, &status, 0) == child && WIFEXITED (status) ? WEXITSTATUS (status) : 126;
  check (setsid () > 0, "setsid");
  started = now_ns ();
  run_steps (plan, argv + 3);
  return 0;
}
