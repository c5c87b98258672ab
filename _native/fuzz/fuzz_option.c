/* fuzz_option.c: options of file systems on their way to fsconfig(2), which is a stand-in here.

   Whatever an option is, it is one key, or one key and one value, or refused: no value can bring
   another key along, and nothing is cut off.  */

#include "../step.h"
#include "../sys.h"
#include <stdlib.h>
#include <string.h>

static int fuzz_fsconfig (int fd, unsigned int command, const char *key, const char *value, int aux);
#define sys_fsconfig fuzz_fsconfig
#include "../mounts.c"

static const char *expected;
static unsigned int calls;

static void
require (bool what)
{
  if (!what)
    abort ();
}

static int
fuzz_fsconfig (int fd, unsigned int command, const char *key, const char *value, int aux)
{
  size_t size = strcspn (expected, "=");

  calls++;
  require (fd == -1 && aux == 0 && strlen (key) == size && memcmp (key, expected, size) == 0);
  require (command == (expected[size] == '=' ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG));
  require (expected[size] == '=' ? strcmp (value, expected + size + 1) == 0 : value == NULL);
  return 0;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct context ctx = { 0 };
  char *option = malloc (size + 1);
  int result;

  require (option != NULL);
  memcpy (option, data, size);
  option[size] = '\0';
  expected = option;
  calls = 0;
  result = set_option (&ctx, -1, option);
  require (calls == (result == 0 ? 1 : 0));
  require (result == 0 || strcspn (option, "=") >= KEY_SIZE);
  free (option);
  return 0;
}
