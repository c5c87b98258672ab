/* message.c: sending on a control socket, and letting go of descriptors.  */

#include "helper.h"
#include "sys.h"
#include <limits.h>
#include <string.h>

union fd_control
{
  char space[CMSG_SPACE (sizeof (int))];
  struct cmsghdr align;
};

static void
attach_fd (struct msghdr *message, union fd_control *control, int fd)
{
  struct cmsghdr *header;

  message->msg_control = control->space;
  message->msg_controllen = sizeof (control->space);
  header = CMSG_FIRSTHDR (message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN (sizeof (fd));
  memcpy (CMSG_DATA (header), &fd, sizeof (fd));
}

static int
send_message (int socket, const struct wire_reply *reply, int fd, const char *text, size_t size)
{
  struct wire_reply copy = *reply;
  struct iovec parts[] = {
    { .iov_base = &copy, .iov_len = sizeof (copy) },
    { .iov_base = (char *) (uintptr_t) text, .iov_len = size },
  };
  struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
  union fd_control control = { { 0 } };
  ssize_t n;

  copy.magic = WIRE_MAGIC;
  copy.fds = fd >= 0;
  if (fd >= 0)
    attach_fd (&message, &control, fd);
  n = sys_sendmsg (socket, &message, MSG_NOSIGNAL);
  if (n < 0 && fd < 0) /* a payload's filter may know no sendmsg(2), but hardly any forbids write(2) */
    n = sys_write (socket, &copy, sizeof (copy));
  return n < 0 ? (int) n : 0;
}

int
send_reply (int socket, const struct wire_reply *reply, int fd)
{
  return send_message (socket, reply, fd, NULL, 0);
}

int
send_text (int socket, const struct wire_reply *reply, const char *text, size_t size)
{
  return send_message (socket, reply, -1, text, size);
}

static void
sort (int *numbers, size_t count)
{
  for (size_t i = 1; i < count; i++) /* nearly sorted already: the kernel hands out rising numbers */
    for (size_t j = i; j > 0 && numbers[j - 1] > numbers[j]; j--)
      {
        int swapped = numbers[j];

        numbers[j] = numbers[j - 1];
        numbers[j - 1] = swapped;
      }
}

int
close_all_but (int *keep, size_t count)
{
  int next = 0; /* lowest number not dealt with */
  int result = 0;

#ifdef WEAK_T26_CLOSE /* guard of T26: what is not kept is closed */
  return 0;
#endif
  sort (keep, count);
  for (size_t i = 0; i < count && result == 0; i++)
    {
      if (keep[i] < next)
        continue; /* -1, or twice the same */
      if (keep[i] > next)
        result = sys_close_range ((unsigned int) next, (unsigned int) keep[i] - 1, 0);
      next = keep[i] + 1;
    }
  return result < 0 ? result : sys_close_range ((unsigned int) next, UINT_MAX, 0);
}

void
drop_fd (int *fd)
{
  if (*fd >= 0)
    (void) sys_close (*fd);
  *fd = -1;
}
