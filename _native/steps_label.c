/* steps_label.c: labels of security modules: what the next execve(2) and new keys get.

   A label that was swallowed is worse than none at all: so it is written below our own procfs, where
   nothing can stand over the file (CVE-2019-16884, CVE-2025-52881), read back and compared.
   Invariants 12 and 13.  */

#include "helper.h"
#include "label.h"
#include "sys.h"
#include <string.h>

#define LABEL_SIZE 4096 /* the kernel takes no more than a page */

/* The files are the thread's own; the directory "apparmor" is there since Linux 5.8.  */
static const struct attribute
{
  const char *path;
  const char *command; /* what the kernel wants in front of the label */
} attributes[] = {
  [LABEL_APPARMOR_EXEC] = { "thread-self/attr/apparmor/exec", "exec " },
  [LABEL_SELINUX_EXEC] = { "thread-self/attr/exec", "" },
  [LABEL_SELINUX_KEYS] = { "thread-self/attr/keycreate", "" },
};

static int
write_label (struct context *ctx, const struct attribute *attribute, const char *label)
{
  static char text[LABEL_SIZE + 1];
  size_t command = strlen (attribute->command), size = strlen (label);
  autoclose int fd
      = checked (ctx, CALL_OPENAT2, open_proc (ctx->procfd, attribute->path, O_WRONLY, OWN_PROC));

  if (fd < 0)
    return fd;
  if (command + size > LABEL_SIZE)
    return checked (ctx, CALL_WRITE, -ENAMETOOLONG);
  memcpy (text, attribute->command, command);
  memcpy (text + command, label, size + 1);
  return checked (ctx, CALL_WRITE, write_value (fd, size == 0 ? "\n" : text)); /* a line of nothing clears */
}

static int
compare_label (struct context *ctx, const struct attribute *attribute, const char *label)
{
  static char text[LABEL_SIZE];
  autoclose int fd
      = checked (ctx, CALL_OPENAT2, open_proc (ctx->procfd, attribute->path, O_RDONLY, OWN_PROC));
  ssize_t size = fd < 0 ? fd : checked (ctx, CALL_READ, (int) sys_read (fd, text, sizeof (text)));

  if (size < 0)
    return (int) size;
  return is_label (text, (size_t) size, label) ? 0 : checked (ctx, CALL_VERIFY, -EXDEV);
}

int
do_label (const struct step *s, struct context *ctx)
{
  const struct attribute *attribute = &attributes[s->a];
  int result;

  if (ctx->procfd < 0)
    return checked (ctx, CALL_VERIFY, -EPROTO);
  result = write_label (ctx, attribute, s->first);
#ifdef WEAK_T64 /* guard of T64: what is in force is what was asked for */
  return result == -ENOENT || result == -EINVAL ? 0 : result;
#endif
  return result < 0 ? result : compare_label (ctx, attribute, s->first);
}
