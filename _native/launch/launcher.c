/* launcher.c: the command `aiocontainer`: starts the interpreter with nothing that the command does not need.

   A script cannot say `#!python -I -S`: installers write that line, and leave options out.  They write it
   into `aiocontainer-start`, beside this program, whose interpreter is the right one therefore: of this
   virtual environment, of this user, of this machine.  It is started on that script with

     -I  no $PYTHON variables, no files of the caller's: whoever runs this as root gets no other modules
     -S  no `site`, whose search for packages takes a third of the interpreter's start; the script knows
         where its package is, and asks `site` for whatever it does not find there

   Where that line is not a plain path the script is executed as it is, which is slower and no less right.  */

#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX "-start"

/* Make the interpreter's path of the first line of the script, in place; NULL if it is none.  */
static char *
interpreter (char *line)
{
  char *end = strchr (line, '\n');

  if (end == NULL || strncmp (line, "#!/", 3) != 0)
    return NULL;
  *end = '\0';
  if (end[-1] == '\r')
    end[-1] = '\0';
  line += 2;
  /* A long path, or one with spaces, has become a shell script: #!/bin/sh.  */
  if (strpbrk (line, " \t") != NULL || strstr (line, "python") == NULL)
    return NULL;
  return line;
}

/* Read the first line of the script, and more; the empty string where there is none.  */
static void
read_start (const char *script, char *line, size_t size)
{
  int fd = open (script, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read (fd, line, size - 1);

  if (fd >= 0)
    close (fd);
  line[got < 0 ? 0 : got] = '\0';
}

static int
give_up (const char *problem)
{
  (void) !write (2, problem, strlen (problem));
  return 127;
}

int
main (int argc, char **argv)
{
  char script[PATH_MAX + sizeof SUFFIX];
  char line[PATH_MAX + 8];
  char *program;
  char **args = calloc ((size_t) argc + 4, sizeof *args);
  size_t count = 0;
  ssize_t length = readlink ("/proc/self/exe", script, PATH_MAX);

  if (length <= 0 || length == PATH_MAX || args == NULL)
    return give_up ("aiocontainer: /proc is not mounted\n");
  memcpy (script + length, SUFFIX, sizeof SUFFIX);
  read_start (script, line, sizeof line);
  program = interpreter (line);
  if (program != NULL)
    {
      args[count++] = program;
      args[count++] = "-I";
      args[count++] = "-S";
    }
  args[count++] = script;
  for (int i = 1; i < argc; i++)
    args[count++] = argv[i];
  args[count] = NULL;
  execv (program != NULL ? program : script, args);
  return give_up ("aiocontainer: its interpreter cannot be started; install it anew\n");
}
