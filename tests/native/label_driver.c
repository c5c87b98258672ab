/* label_driver.c: is_label() by itself: label_driver LABEL < what the kernel said; 0 if it is that.  */

#include "../../_native/label.h"
#include <unistd.h>

int
main (int argc, char **argv)
{
  static char text[8192];
  ssize_t size = read (STDIN_FILENO, text, sizeof (text));

  return argc != 2 || size < 0 || !is_label (text, (size_t) size, argv[1]);
}
