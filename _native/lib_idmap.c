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

int
lib_map_mount (int tree, int user_namespace, int recursive)
{
  const struct mount_attr attr
      = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t) (unsigned int) user_namespace };

  return sys_mount_setattr (tree, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0u), &attr);
}
