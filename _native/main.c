/* main.c: the helper starts, and becomes the spawner.

   It trusts nothing that it inherits.  It refuses to be anything but a plain process running
   from a sealed memfd, so that no container can ever write to its image (CVE-2019-5736), and
   is not dumpable from the first line on, so that nobody attaches to it later (CVE-2016-9962).
   It takes no arguments: descriptor CONTROL_FD is its one input.  */

#include "helper.h"
#include "sys.h"
#include <sys/auxv.h>

#define REFUSED 125
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* Set-uid or with file capabilities: somebody else's privileges (CVE-2020-5291).  */
static bool
is_privileged_image (void)
{
#ifdef WEAK_T49 /* guard of T49 */
  return false;
#endif
  return getauxval (AT_SECURE) != 0 || getuid () != geteuid () || getgid () != getegid ();
}

/* The running image, if it is a sealed memfd: a read-only descriptor, or -errno.  */
static int
open_sealed_image (void)
{
  autoclose int image = sys_openat (AT_FDCWD, "/proc/self/exe", O_RDONLY | O_CLOEXEC, 0);
  int seals;

  if (image < 0)
    return image;
#ifdef WEAK_T20 /* guard of T20: nobody can write to what we run from */
  return take_fd (&image);
#endif
  seals = sys_fcntl (image, F_GET_SEALS, 0);
  return seals >= 0 && (seals & SEALS) == SEALS ? take_fd (&image) : -EPERM;
}

static bool
is_control_socket (int fd)
{
  int domain = 0, type = 0;
  socklen_t size = sizeof (int);

  return sys_getsockopt (fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX
         && sys_getsockopt (fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

/* Leave the control socket as the only descriptor that means anything: 0 to 2 become the
   read-only image, which refuses every write, should libc ever have something to say.  */
static int
settle_fds (int image)
{
  int result = 0;

  for (int fd = 0; fd < CONTROL_FD && result >= 0; fd++)
    if (fd != image)
      result = sys_dup3 (image, fd, O_CLOEXEC);
  return result < 0 ? result : sys_close_range (CONTROL_FD + 1, ~0U, 0);
}

/* No core of ours, ever, and room for many containers.  */
static int
settle_limits (struct caller_limits *limits)
{
  struct rlimit64 core, files;

  if (sys_prlimit (0, RLIMIT_CORE, NULL, &limits->core) < 0
      || sys_prlimit (0, RLIMIT_NOFILE, NULL, &limits->files) < 0)
    return -EPERM;
  core = limits->core;
  core.rlim_cur = core.rlim_max < HELPER_CORE_LIMIT ? core.rlim_max : HELPER_CORE_LIMIT;
  files = limits->files;
  files.rlim_cur = files.rlim_max;
  if (sys_prlimit (0, RLIMIT_CORE, &core, NULL) < 0 || sys_prlimit (0, RLIMIT_NOFILE, &files, NULL) < 0)
    return -EPERM;
  return 0;
}

int
main (void)
{
  struct caller_limits limits;
  int image;

#ifndef WEAK_T12 /* guard of T12: nobody looks into who is about to enter a container */
  if (sys_prctl (PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
    return REFUSED;
#endif
  if (is_privileged_image ())
    return REFUSED;
  image = open_sealed_image ();
  if (image < 0 || !is_control_socket (CONTROL_FD) || settle_fds (image) < 0 || settle_limits (&limits) < 0)
    return REFUSED;
  reset_signals ();
  (void) signal (SIGPIPE, SIG_IGN);
  (void) umask (0);
  (void) sys_setsid (); /* a terminal's Ctrl-C is the application's to handle */
  (void) sys_prctl (PR_SET_NAME, (unsigned long) "aiocontainer", 0, 0, 0);
  spawner_main (CONTROL_FD, &limits);
}
