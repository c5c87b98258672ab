/* label.h: what a security module says about a label.  */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Whether `text`, read from a file of /proc/PID/attr, is `label` and nothing else.  AppArmor adds the
   mode, "docker-default (enforce)", but not to "unconfined"; SELinux ends with a NUL.  A name that
   merely begins alike is another one.  */
static inline bool
is_label (const char *text, size_t size, const char *label)
{
  size_t length = strlen (label);

  while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\0'))
    size--;
  if (size < length || memcmp (text, label, length) != 0)
    return false;
  if (size == length)
    return true;
  return length > 0 && size > length + 3 && memcmp (text + length, " (", 2) == 0 && text[size - 1] == ')'
         && memchr (text + length + 2, ' ', size - length - 2) == NULL;
}
