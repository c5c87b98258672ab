/* racer.c: exchange two names for as long as standard input is open, as fast as it goes.

   What a container can do that shares a volume with one being made: renameat2(2)
   RENAME_EXCHANGE, so that both names are there at every moment.  */

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

enum
{
  BETWEEN_LOOKS = 1000,
};

int
main (int argc, char **argv)
{
  struct pollfd input = { .fd = 0, .events = POLLIN };

  prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (argc != 3)
    return 2;
  while (poll (&input, 1, 0) == 0)
    for (int i = 0; i < BETWEEN_LOOKS; i++)
      if (renameat2 (AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE) < 0)
        {
          perror (argv[1]);
          return 1;
        }
  return 0;
}
