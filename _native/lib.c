/* lib.c: the plain calls of the library: descriptors, waiting.  */

#include "sys.h"
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>

#include "lib.h"

const char lib_helper_digest[] = HELPER_DIGEST; /* from build.py */

#define USUAL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* An older kernel refuses bits that it does not know; none of ours is worth failing for.  */
static int
create_memfd (const char *name, unsigned int flags)
{
  int fd = sys_result (syscall (SYS_memfd_create, name, flags | MFD_CLOEXEC | MFD_ALLOW_SEALING));

  if (fd == -EINVAL)
    fd = sys_result (syscall (SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  return fd;
}

static int
write_all (int fd, const unsigned char *data, size_t size)
{
  while (size > 0)
    {
      ssize_t n = sys_write (fd, data, size);

      if (n <= 0)
        return n < 0 ? (int) n : -EIO;
      data += n;
      size -= (size_t) n;
    }
  return 0;
}

static int
seal (int fd, unsigned int seals)
{
  int result = sys_fcntl (fd, F_ADD_SEALS, (long) (seals | USUAL_SEALS));

  return result == -EINVAL ? sys_fcntl (fd, F_ADD_SEALS, USUAL_SEALS) : result;
}

int
lib_sealed_memfd (const char *name, const void *data, size_t size, unsigned int flags, unsigned int seals)
{
  autoclose int fd = create_memfd (name, flags);
  int result = fd < 0 ? fd : write_all (fd, data, size);

  if (result == 0)
    result = seal (fd, seals);
  return result < 0 ? result : take_fd (&fd);
}

/* Waiting.  */

/* pidfd_info of <linux/pidfd.h>, Linux 6.13; PIDFD_INFO_EXIT came with 6.15.  */
struct pidfd_info
{
  uint64_t mask;
  uint64_t cgroup;
  uint32_t ids[11];
  int32_t exit_code; /* as of wait(2) */
};
#define PIDFD_GET_INFO _IOWR (0xFF, 11, struct pidfd_info)
#define PIDFD_INFO_EXIT (UINT64_C (1) << 3)

static int64_t
microseconds (struct timeval t)
{
  return (int64_t) t.tv_sec * 1000000 + t.tv_usec;
}

static void
take_usage (struct lib_exit *result, const struct rusage *usage)
{
  result->usage_known = 1;
  result->user_us = microseconds (usage->ru_utime);
  result->system_us = microseconds (usage->ru_stime);
  result->max_rss_kb = usage->ru_maxrss;
  result->minor_faults = usage->ru_minflt;
  result->major_faults = usage->ru_majflt;
  result->blocks_in = usage->ru_inblock;
  result->blocks_out = usage->ru_oublock;
  result->switches_voluntary = usage->ru_nvcsw;
  result->switches_forced = usage->ru_nivcsw;
}

static int
exit_from_pidfd (int pidfd, struct lib_exit *result)
{
  struct pidfd_info info = { .mask = PIDFD_INFO_EXIT };

  if (sys_ioctl (pidfd, PIDFD_GET_INFO, &info) < 0 || (info.mask & PIDFD_INFO_EXIT) == 0)
    return -ECHILD;
  if (WIFEXITED (info.exit_code))
    {
      result->code = CLD_EXITED;
      result->status = WEXITSTATUS (info.exit_code);
    }
  else
    {
      result->code = WCOREDUMP (info.exit_code) ? CLD_DUMPED : CLD_KILLED;
      result->status = WTERMSIG (info.exit_code);
    }
  return 0;
}

int
lib_wait (int pidfd, int reap, struct lib_exit *result)
{
  siginfo_t info = { 0 };
  struct rusage usage = { 0 };
  /* __WALL: before its execve(2) the child has no exit signal.  */
  int options = WEXITED | WNOHANG | __WALL | (reap ? 0 : WNOWAIT);
  int waited = sys_result (syscall (SYS_waitid, P_PIDFD, pidfd, &info, options, &usage));

  memset (result, 0, sizeof (*result));
  if (waited == -ECHILD)
    return exit_from_pidfd (pidfd, result);
  if (waited < 0 || info.si_pid == 0)
    return waited;
  result->code = info.si_code;
  result->status = info.si_status;
  take_usage (result, &usage);
  return 0;
}

int64_t
lib_filesystem_type (int fd)
{
  struct statfs fs;
  int result = sys_fstatfs (fd, &fs);

  return result < 0 ? result : (int64_t) fs.f_type;
}
