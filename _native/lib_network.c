/* lib_network.c: a netlink socket that reaches into another network namespace.

   A socket belongs for good to the namespace it was made in.  setns(2) would take the calling thread
   there; so a short-lived child goes, and leaves the socket in the table that we share.  */

#include "sys.h"
#include <linux/netlink.h>

#include "lib.h"
#include "lib_clone.h"

struct errand
{
  int network_namespace;
  int result; /* descriptor or -errno, written by the child */
};

static int
open_socket (void)
{
  return sys_socket (AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE);
}

static int
child (void *arg)
{
  struct errand *errand = arg;
  int result = sys_setns (errand->network_namespace, CLONE_NEWNET);

  errand->result = result < 0 ? result : open_socket ();
  return 0;
}

int
lib_netlink_socket (int network_namespace)
{
  struct errand errand = { .network_namespace = network_namespace, .result = -EIO };
  int pidfd = -1;
  int pid;

  if (network_namespace < 0)
    return open_socket ();
  pid = clone_sharing_memory (child, &errand, CLONE_FILES, &pidfd);
  if (pid < 0)
    return pid;
  reap (&pidfd);
  return errand.result;
}
