/* lib_probe.c: does the kernel have a system call, or does a filter hide it?

   Each is called with arguments that it refuses before it does anything.  */

#include "sys.h"
#include <string.h>

#include "lib.h"

#define NONE (-1L)

struct probe
{
  const char *name;
  long number;
  long args[5];
};

/* Too short a struct, no descriptor, unknown flags, the last before the first.  */
static const struct probe probes[] = {
  { "clone3", SYS_clone3, { 0, 0 } },
  { "close_range", SYS_close_range, { 1, 0, 0 } },
  { "faccessat2", SYS_faccessat2, { NONE, 0, 0, NONE } },
  { "fsconfig", SYS_fsconfig, { NONE, NONE, 0, 0, 0 } },
  { "fsmount", SYS_fsmount, { NONE, NONE, 0 } },
  { "fsopen", SYS_fsopen, { 0, NONE } },
  { "fspick", SYS_fspick, { NONE, 0, NONE } },
  { "mount_setattr", SYS_mount_setattr, { NONE, 0, 0, 0, 0 } },
  { "move_mount", SYS_move_mount, { NONE, 0, NONE, 0, NONE } },
  { "open_tree", SYS_open_tree, { NONE, 0, NONE } },
  { "openat2", SYS_openat2, { NONE, 0, 0, 0 } },
  { "pidfd_open", SYS_pidfd_open, { NONE, 0 } },
  { "pidfd_send_signal", SYS_pidfd_send_signal, { NONE, 0, 0, 0 } },
};

int
lib_knows_call (const char *name)
{
  for (size_t i = 0; i < sizeof (probes) / sizeof (*probes); i++)
    {
      const long *a = probes[i].args;

      if (strcmp (probes[i].name, name) == 0)
        return sys_result (syscall (probes[i].number, a[0], a[1], a[2], a[3], a[4])) != -ENOSYS;
    }
  return -EINVAL;
}
