/* prepared.c: a network namespace made before it is asked for.

   It is the dearest thing that a container needs of the kernel: a third of the whole.  The spawner
   makes the next one while nobody waits for it, and the container then only enters it.  Each is
   used once.  It is a copy of the host's settings at that moment, so it is thrown away when it is
   not used soon.  */

#include "helper.h"
#include "sys.h"

static int home = -1;     /* where the spawner belongs */
static int prepared = -1; /* the namespace that waits, with `lo` up */
static bool useless;      /* it could not be made once: we may not, or the kernel has none */

/* Leave what we are in, and make it whole while we are inside.  */
static int
make_namespace (void)
{
  autoclose int made = -1;
  uint32_t call;
  int result = sys_unshare (CLONE_NEWNET);

  if (result == 0)
    result = raise_loopback (&call);
  if (result == 0)
    result = made = sys_openat (AT_FDCWD, "/proc/self/ns/net", O_RDONLY | O_CLOEXEC, 0);
  return result < 0 ? result : take_fd (&made);
}

void
prepare_network (void)
{
  if (prepared >= 0 || useless)
    return;
  if (home < 0)
    home = sys_openat (AT_FDCWD, "/proc/self/ns/net", O_RDONLY | O_CLOEXEC, 0);
  prepared = home < 0 ? -1 : make_namespace ();
  useless = prepared < 0;
  if (home >= 0 && sys_setns (home, CLONE_NEWNET) < 0)
    _exit (1); /* containers that share the host's network would get another */
}

int
take_network (void)
{
  return take_fd (&prepared);
}

bool
has_network (void)
{
  return prepared >= 0;
}

void
forget_network (void)
{
  drop_fd (&prepared);
}
