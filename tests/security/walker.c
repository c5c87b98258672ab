/* walker.c: which files below the arguments are there to be written and can be opened for it; nothing
   is ever written.  */

#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int
try_one (const char *path, const struct stat *st, int kind, struct FTW *place)
{
  int fd;

  (void) place;
  if (kind != FTW_F || !S_ISREG (st->st_mode) || (st->st_mode & 0222) == 0) /* root may open the others, too; but they take nothing */
    return 0;
  fd = open (path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  if (fd >= 0)
    {
      puts (path);
      (void) close (fd);
    }
  return 0;
}

int
main (int argc, char **argv)
{
  for (int i = 1; i < argc; i++)
    (void) nftw (argv[i], try_one, 16, FTW_PHYS);
  return 0;
}
