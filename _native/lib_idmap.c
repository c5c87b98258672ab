/* lib_idmap.c: id-mapped mounts.  A mount takes its map from a user namespace, so one is made for
   that alone: a short-lived child is born in it, its maps are written, and a descriptor keeps it.
   mount_setattr(2) MOUNT_ATTR_IDMAP, user_namespaces(7)  */

#include "sys.h"
#include <stdio.h>
#include <string.h>

#include "lib.h"
#include "lib_clone.h"

#define STACK_SIZE 4096

/* On our memory while we go on, so nothing but this: all signals are blocked, errno stays alone.  */
static int
wait_for_the_end (void *arg)
{
  static const uint64_t all = UINT64_MAX;

  (void) arg;
  (void) syscall (SYS_rt_sigsuspend, &all, sizeof (all));
  return 0;
}

static int
open_of (int pid, const char *name, int flags)
{
  char path[64];

  (void) snprintf (path, sizeof (path), "/proc/%d/%s", pid, name);
  return sys_openat (AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

/* In one write, as the kernel wants a map.  */
static int
write_map (int pid, const char *name, const char *map)
{
  autoclose int fd = open_of (pid, name, O_WRONLY);
  ssize_t n = fd < 0 ? fd : sys_write (fd, map, strlen (map));

  return n < 0 ? (int) n : (size_t) n == strlen (map) ? 0 : -EIO;
}

static int
map_and_open (int pid, const char *uid_map, const char *gid_map)
{
  int err = write_map (pid, "uid_map", uid_map);

  if (err == 0)
    err = write_map (pid, "gid_map", gid_map);
  return err < 0 ? err : open_of (pid, "ns/user", O_RDONLY);
}

int
lib_user_namespace (const char *uid_map, const char *gid_map)
{
  _Alignas(16) char stack[STACK_SIZE];
  int pidfd = -1;
  int pid = clone_beside (wait_for_the_end, stack + sizeof (stack), CLONE_NEWUSER, &pidfd);
  int result;

  if (pid < 0)
    return pid;
  result = map_and_open (pid, uid_map, gid_map);
  (void) sys_pidfd_send_signal (pidfd, SIGKILL);
  reap (&pidfd);
  return result;
}

/* Reading the maps of a namespace needs a process in it, which cannot share our memory: to enter
   makes it undumpable, and us with it.  */

static _Noreturn void
join_and_wait (int user_namespace, int told)
{
  int result = sys_setns (user_namespace, CLONE_NEWUSER);

  (void) sys_write (told, &result, sizeof (result));
  (void) wait_for_the_end (NULL);
  _exit (0); /* not reached */
}

/* A copy of ourselves in the namespace: its pid and *pidfd.  */
static int
copy_into (int user_namespace, int *pidfd)
{
  const struct sys_clone_args args = { .flags = CLONE_PIDFD, .pidfd = (uint64_t) (uintptr_t) pidfd };
  unsigned char mask[KERNEL_SIGSET_SIZE];
  int pipe_ends[2];
  int result = -EIO;
  int pid;

  if (pipe2 (pipe_ends, O_CLOEXEC) < 0)
    return -errno;
  block_signals (mask);
  pid = sys_clone3 (&args);
  if (pid == 0)
    join_and_wait (user_namespace, pipe_ends[1]);
  restore_signals (mask);
  (void) sys_close (pipe_ends[1]);
  if (pid > 0 && sys_read (pipe_ends[0], &result, sizeof (result)) == sizeof (result) && result == 0)
    result = pid;
  (void) sys_close (pipe_ends[0]);
  return pid < 0 ? pid : result;
}

static int
read_text (int pid, const char *name, char *text, size_t size)
{
  autoclose int fd = open_of (pid, name, O_RDONLY);
  size_t used = 0;
  ssize_t n = fd;

  while (n >= 0 && used < size && (n = sys_read (fd, text + used, size - used)) > 0)
    used += (size_t) n;
  if (n < 0)
    return (int) n;
  return used < size ? (text[used] = '\0', (int) used + 1) : -E2BIG;
}

int
lib_user_namespace_maps (int user_namespace, char *text, size_t size)
{
  static const char *const names[] = { "uid_map", "gid_map", "setgroups" };
  int pidfd = -1;
  int pid = copy_into (user_namespace, &pidfd);
  size_t used = 0;
  int n = pid;

  for (size_t i = 0; n > 0 && i < sizeof (names) / sizeof (*names); i++)
    {
      n = read_text (pid, names[i], text + used, size - used);
      used += n > 0 ? (size_t) n : 0;
    }
  if (pidfd >= 0)
    {
      (void) sys_pidfd_send_signal (pidfd, SIGKILL);
      reap (&pidfd);
    }
  return n < 0 ? n : (int) used;
}

int
lib_map_mount (int tree, int user_namespace, int recursive)
{
  const struct mount_attr attr
      = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t) (unsigned int) user_namespace };

  return sys_mount_setattr (tree, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0u), &attr);
}
