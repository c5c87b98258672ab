/* launcher.c: the command `aiocontainer`: starts the interpreter with nothing that the command does not need.

   A script cannot say `#!python -I -S`: installers write that line, and leave options out.  They write it
   into `aiocontainer-start`, beside this program, whose interpreter is the right one therefore: of this
   virtual environment, of this user, of this machine.  It is started on that script with

     -I  no $PYTHON variables, no files of the caller's: whoever runs this as root gets no other modules
     -S  no `site`, whose search for packages takes a third of the interpreter's start; the script knows
         where its package is, and asks `site` for whatever it does not find there

   Where that line is not a plain path the script is executed as it is, which is slower and no less right.

   Six system calls need no C library, whose start asks the processor about its caches, a hundred times: in a
   virtual machine each CPUID is the hypervisor's to answer, and all together take longer than the rest of
   this program, ten times.  On a machine that has no lines here it is there nevertheless.  */

#include <fcntl.h>
#include <linux/limits.h>
#include <stddef.h>
#include <sys/syscall.h>

#define SUFFIX "-start"

#if defined __x86_64__

/* The kernel leaves argc, the arguments and the environment at the stack pointer, and no return address.  */
__asm__ (".globl _start\n"
         "_start:\n"
         "  xorl %ebp, %ebp\n"
         "  movq %rsp, %rdi\n"
         "  andq $-16, %rsp\n"
         "  call begin\n"
         "  hlt\n");

static long
call (long number, long a, long b, long c, long d)
{
  register long r10 __asm__ ("r10") = d;
  long result;

  __asm__ volatile ("syscall"
                    : "=a"(result)
                    : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                    : "rcx", "r11", "memory");
  return result;
}

#elif defined __aarch64__

__asm__ (".globl _start\n"
         "_start:\n"
         "  mov x29, #0\n"
         "  mov x30, #0\n"
         "  mov x0, sp\n"
         "  and sp, x0, #-16\n"
         "  b begin\n");

static long
call (long number, long a, long b, long c, long d)
{
  register long x8 __asm__ ("x8") = number;
  register long x0 __asm__ ("x0") = a;
  register long x1 __asm__ ("x1") = b;
  register long x2 __asm__ ("x2") = c;
  register long x3 __asm__ ("x3") = d;

  __asm__ volatile ("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
  return x0;
}

#else

#include <errno.h>
#include <unistd.h>

static long
call (long number, long a, long b, long c, long d)
{
  long result = syscall (number, a, b, c, d);

  return result < 0 ? -errno : result;
}

#endif

static size_t
length_of (const char *text)
{
  size_t length = 0;

  while (text[length] != '\0')
    length++;
  return length;
}

static char *
find (char *text, const char *part)
{
  size_t length = length_of (part);

  for (; *text != '\0'; text++)
    {
      size_t same = 0;

      while (same < length && text[same] == part[same])
        same++;
      if (same == length)
        return text;
    }
  return NULL;
}

/* Make the interpreter's path of the first line of the script, in place; NULL if it is none.  */
static char *
interpreter (char *line)
{
  char *end = find (line, "\n");

  if (end == NULL || find (line, "#!/") != line)
    return NULL;
  *end = '\0';
  if (end[-1] == '\r')
    end[-1] = '\0';
  line += 2;
  /* A long path, or one with spaces, has become a shell script: #!/bin/sh.  */
  if (find (line, " ") != NULL || find (line, "\t") != NULL || find (line, "python") == NULL)
    return NULL;
  return line;
}

/* Read the first line of the script, and more; the empty string where there is none.  */
static void
read_start (const char *script, char *line, size_t size)
{
  long fd = call (SYS_openat, AT_FDCWD, (long) script, O_RDONLY | O_CLOEXEC, 0);
  long got = fd < 0 ? -1 : call (SYS_read, fd, (long) line, (long) size - 1, 0);

  if (fd >= 0)
    call (SYS_close, fd, 0, 0, 0);
  line[got < 0 ? 0 : got] = '\0';
}

static int
give_up (const char *problem)
{
  call (SYS_write, 2, (long) problem, (long) length_of (problem), 0);
  return 127;
}

/* Become the interpreter; returns the exit status if that fails.  */
static int
start (long argc, char **argv, char **environment)
{
  char script[PATH_MAX + sizeof SUFFIX];
  char line[PATH_MAX + 8];
  char *program;
  char **args = __builtin_alloca (((size_t) argc + 4) * sizeof *args); /* less than the arguments take there */
  size_t count = 0;
  long length = call (SYS_readlinkat, AT_FDCWD, (long) "/proc/self/exe", (long) script, PATH_MAX);

  if (length <= 0 || length == PATH_MAX)
    return give_up ("aiocontainer: /proc is not mounted\n");
  for (size_t i = 0; i < sizeof SUFFIX; i++)
    script[(size_t) length + i] = SUFFIX[i];
  read_start (script, line, sizeof line);
  program = interpreter (line);
  if (program != NULL)
    {
      args[count++] = program;
      args[count++] = "-I";
      args[count++] = "-S";
    }
  args[count++] = script;
  for (long i = 1; i < argc; i++)
    args[count++] = argv[i];
  args[count] = NULL;
  call (SYS_execve, (long) (program != NULL ? program : script), (long) args, (long) environment, 0);
  return give_up ("aiocontainer: its interpreter cannot be started; install it anew\n");
}

#if defined __x86_64__ || defined __aarch64__

__attribute__ ((noreturn, used)) void
begin (long *stack)
{
  long argc = stack[0];
  char **argv = (char **) (stack + 1);

  for (;;)
    call (SYS_exit_group, start (argc, argv, argv + argc + 1), 0, 0, 0);
}

#else

int
main (int argc, char **argv)
{
  return start (argc, argv, environ);
}

#endif
