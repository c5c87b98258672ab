/* steps_hook.c: run a hook, somebody else's program, at its place in the plan.

   OCI config.md "POSIX-platform Hooks".  The hook is our child and gets nothing of ours: the state
   document on descriptor 0, a pipe on 1 and 2, a session of its own, and no other descriptor.  It
   may hang, write without end, not read its input, and leave children behind that keep the pipe
   open: none of that keeps us longer than its deadline.  Without one it is watched until it ends or
   until nobody waits for us any more.  */

#include "helper.h"
#include "sys.h"
#include <limits.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define KILL_MS 5000       /* what a killed hook may take to end; a set-uid one may be out of our reach */
#define DRAIN_MAX 1048576u /* read after its end: as much as a pipe can hold */

struct hook
{
  const char *path;
  const char *directory; /* "": where we are */
  char **argv, **envp;
  pid_t parent;
  int state, output; /* its descriptors 0, and 1 and 2 */
  uint32_t umask;
};

/* The state document.  */

static int
write_all (int fd, const char *bytes, size_t size)
{
  while (size > 0)
    {
      ssize_t n = sys_write (fd, bytes, size);

      if (n <= 0)
        return n < 0 ? (int) n : -EIO;
      bytes += n;
      size -= (size_t) n;
    }
  return 0;
}

/* A file and no pipe: whatever its size it is written before anybody reads, or does not.  */
static int
make_state_file (void)
{
  int fd = sys_memfd_create ("hook-state", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

  return fd == -EINVAL ? sys_memfd_create ("hook-state", MFD_CLOEXEC) : fd; /* before Linux 6.3 */
}

/* The document with our pid in its place: the one that the hook sees.  */
static int
write_state (const struct step *s)
{
  autoclose int fd = make_state_file ();
  const char *document = s->data;
  char pid[16];
  int digits = snprintf (pid, sizeof (pid), "%d", (int) getpid ());
  int result = fd;

  if (result >= 0)
    result = write_all (fd, document, (size_t) s->c);
  if (result == 0)
    result = write_all (fd, pid, (size_t) digits);
  if (result == 0)
    result = write_all (fd, document + s->c, s->data_size - (size_t) s->c);
  if (result == 0 && lseek (fd, 0, SEEK_SET) != 0)
    result = -errno;
  return result < 0 ? result : take_fd (&fd);
}

/* In the child.  */

/* A directory that only others may enter is none to fail for: the container's root need not be
   able to get to the bundle.  */
static int
enter_directory (const char *path)
{
  int result = path[0] == '\0' ? 0 : sys_chdir (path);

  return result == -EACCES || result == -EPERM ? sys_chdir ("/") : result;
}

/* The child of vfork(2) works in our memory: system calls only, and no way back.  */
static __attribute__ ((noinline)) int
become_hook (const struct hook *h)
{
  int result = sys_setsid ();

  if (result >= 0)
    result = sys_prctl (PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (result >= 0 && getppid () != h->parent)
    result = -ESRCH;
  if (result >= 0)
    result = sys_dup3 (h->state, STDIN_FILENO, 0);
  if (result >= 0)
    result = sys_dup3 (h->output, STDOUT_FILENO, 0);
  if (result >= 0)
    result = sys_dup3 (h->output, STDERR_FILENO, 0);
  if (result >= 0)
    result = sys_close_range (STDERR_FILENO + 1, UINT_MAX, 0);
  if (result >= 0)
    result = enter_directory (h->directory);
  if (result < 0)
    return result;
  (void) umask ((mode_t) h->umask);
  (void) signal (SIGPIPE, SIG_DFL);
  return sys_execve (h->path, h->argv, h->envp);
}

/* Its pid, or why it could not be executed.  */
static int
start_hook (const struct hook *h)
{
  volatile int problem = 0;
  siginfo_t info;
  pid_t pid = vfork ();

  if (pid == 0)
    {
      problem = become_hook (h);
      _exit (127);
    }
  if (pid < 0)
    return -errno;
  if (problem == 0)
    return pid;
  (void) sys_waitid (P_PID, (id_t) pid, &info);
  return problem;
}

/* Watching.  */

static int64_t
now_ms (void)
{
  struct timespec now;

  (void) clock_gettime (CLOCK_MONOTONIC, &now);
  return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* For poll(2): -1 is for ever.  */
static int
time_left (uint64_t timeout_ms, int64_t deadline)
{
  int64_t left = deadline - now_ms ();

  if (timeout_ms == 0)
    return -1;
  return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int) left;
}

/* Keep the end of the output.  False when nothing more is there.  */
static bool
take_output (struct context *ctx, int output)
{
  const uint32_t half = sizeof (ctx->text) / 2;
  ssize_t n;

  if (ctx->text_size > half)
    {
      memmove (ctx->text, ctx->text + ctx->text_size - half, half);
      ctx->text_size = half;
    }
  n = sys_read (output, ctx->text + ctx->text_size, sizeof (ctx->text) - ctx->text_size);
  if (n > 0)
    ctx->text_size += (uint32_t) n;
  return n > 0;
}

/* 0 once the hook has ended, -ETIMEDOUT, or -ECONNRESET when nobody waits for us any more.  */
static int
watch_hook (struct context *ctx, int pidfd, int output, uint64_t timeout_ms)
{
  struct pollfd fds[] = {
    { .fd = pidfd, .events = POLLIN },
    { .fd = output, .events = POLLIN },
    { .fd = ctx->control }, /* for its end alone */
  };
  int64_t deadline = now_ms () + (int64_t) timeout_ms;

  for (;;)
    {
      int left = time_left (timeout_ms, deadline);
      int ready = sys_poll (fds, sizeof (fds) / sizeof (fds[0]), left);

      if (ready < 0 || fds[0].revents != 0)
        return ready < 0 ? ready : 0;
      if (left == 0)
        return -ETIMEDOUT;
      if (fds[2].revents != 0)
        return -ECONNRESET;
      if (fds[1].revents != 0 && !take_output (ctx, output))
        fds[1].fd = -1; /* all writers have closed it */
    }
}

/* What it wrote before its end is in the pipe.  Its children may still write: they are not waited for.  */
static void
drain (struct context *ctx, int output)
{
  for (size_t n = 0; n < DRAIN_MAX && take_output (ctx, output); n += sizeof (ctx->text) / 2)
    continue;
}

/* Kill the hook and those of its session that stayed in its process group.  True once it has ended.  */
static bool
kill_hook (pid_t pid, int pidfd)
{
  struct pollfd end = { .fd = pidfd, .events = POLLIN };

  (void) kill (-pid, SIGKILL);
  (void) sys_pidfd_send_signal (pidfd, SIGKILL);
  return sys_poll (&end, 1, KILL_MS) > 0;
}

/* Reap it: 0, or -ECANCELED with ctx->value.  */
static int
judge_hook (struct context *ctx, pid_t pid)
{
  siginfo_t info = { 0 };
  int result = sys_waitid (P_PID, (id_t) pid, &info);

  if (result < 0)
    return result;
  ctx->value = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
  return ctx->value == 0 ? 0 : -ECANCELED;
}

/* From its start to its end.  */
static int
see_through (struct context *ctx, pid_t pid, int output, uint64_t timeout_ms)
{
  autoclose int pidfd = sys_pidfd_open (pid, 0);
  siginfo_t info;
  int result = pidfd < 0 ? pidfd : watch_hook (ctx, pidfd, output, timeout_ms);

  if (result == 0)
    {
      drain (ctx, output);
      return judge_hook (ctx, pid);
    }
  if (pidfd < 0)
    (void) kill (-pid, SIGKILL);
  else if (!kill_hook (pid, pidfd))
    return result;
  drain (ctx, output);
  (void) sys_waitid (P_PID, (id_t) pid, &info);
  return result;
}

/* After the pivot the file is the container's own, and no way to one of ours (CVE-2019-5736).  */
static int
check_file (const struct context *ctx, const char *path)
{
  return ctx->pivoted ? check_program (path) : 0;
}

int
do_hook (const struct step *s, struct context *ctx)
{
  struct hook hook = {
    .path = s->first,
    .directory = string_at (s, 1),
    .parent = getpid (),
    .umask = ctx->umask,
  };
  int ends[2];
  int result = checked (ctx, CALL_HOOK, check_file (ctx, hook.path));

  if (result == 0)
    result = checked (ctx, CALL_WRITE, hook.state = write_state (s));
  if (result >= 0)
    result = checked (ctx, CALL_HOOK, sys_pipe2 (ends, O_CLOEXEC));
  if (result < 0)
    return result;
  autoclose int state = hook.state, output = ends[0];

  hook.output = ends[1];
  hook.argv = fill_vectors (s, HOOK_STRINGS, (uint32_t) s->a, &hook.envp);
  ctx->text_size = 0;
  result = checked (ctx, CALL_FCNTL, sys_fcntl (output, F_SETFL, O_NONBLOCK));
  if (result == 0)
    result = checked (ctx, CALL_HOOK, start_hook (&hook));
  (void) sys_close (ends[1]);
  if (result > 0)
    result = checked (ctx, CALL_HOOK, see_through (ctx, (pid_t) result, output, s->b));
  if (result == 0)
    ctx->text_size = 0;
  return result;
}
