/* steps_seccomp.c: the filter of system calls, and execve(2) under it.  seccomp(2)

   Without no_new_privs a filter takes CAP_SYS_ADMIN, so it is loaded early, and what the helper
   still has to call must pass it: the plan was checked for that.  With it the filter comes last,
   and nothing but execve(2) has to pass.  */

#include "helper.h"
#include "sys.h"
#include <stdatomic.h>
#include <time.h>

#define LATER 1
#define STACK_SIZE 16384
#define NOT_YET INT32_MAX
#define PATIENCE_NS 200000

static int
load (const struct step *s)
{
  const struct sock_fprog program = {
    .len = (unsigned short) (s->data_size / sizeof (struct sock_filter)),
    .filter = (struct sock_filter *) (uintptr_t) s->data,
  };

  return sys_seccomp_filter (s->a, &program);
}

static bool
has_listener (const struct step *s)
{
  return (s->a & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0;
}

int
do_seccomp (const struct step *s, struct context *ctx)
{
  int result;

  if (ctx->filter.op != 0)
    return checked (ctx, CALL_VERIFY, -EEXIST);
  ctx->filter = *s;
  if (s->b == LATER)
    return 0;
  result = checked (ctx, CALL_SECCOMP, load (s));
  if (result < 0 || !has_listener (s))
    return result;
  ctx->sendfd = result;
  return meet (s, ctx);
}

/* The listener must be in other hands before the first call that it is asked about, which can be
   any, even those that hand it over.  A filter is a thread's own: so another thread loads it and
   executes the program, and this one, which has none, hands over what it finds in the table of
   descriptors that both share.  Between the two calls that thread makes none.  */
struct filtered
{
  const struct step *filter;
  const char *program;
  char *const *argv;
  char *const *envp;
  atomic_int listener; /* or -errno of seccomp(2) */
  atomic_int go;
  atomic_int failure; /* -errno of execve(2) */
};

static int
run_filtered (void *arg)
{
  struct filtered *f = arg;
  int listener = load (f->filter);

  atomic_store (&f->listener, listener);
  if (listener < 0)
    return 0;
  while (atomic_load (&f->go) == 0)
    ; /* a call would be asked about */
  atomic_store (&f->failure, sys_execve (f->program, f->argv, f->envp));
  for (;;)
    ; /* until the other thread has told it: exit(2) might not be allowed */
}

/* Calls that succeed leave errno alone, which the threads share.  */
static int
wait_for (atomic_int *value)
{
  static const struct timespec patience = { .tv_nsec = PATIENCE_NS };

  while (atomic_load (value) == NOT_YET)
    (void) nanosleep (&patience, NULL);
  return atomic_load (value);
}

/* The kernel makes the thread that executes a program the process, with its pid, parent and
   times, and ends the others.  execve(2)  */
static int
execute_with_listener (struct context *ctx, struct filtered *f)
{
  static char stack[STACK_SIZE] __attribute__ ((aligned (16)));
  int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  int result = checked (ctx, CALL_CLONE, sys_result (clone (run_filtered, stack + sizeof (stack), flags, f)));

  if (result < 0)
    return result;
  result = checked (ctx, CALL_SECCOMP, wait_for (&f->listener));
  if (result < 0)
    return result;
  ctx->sendfd = result;
  result = meet (f->filter, ctx);
  if (result < 0)
    return result;
  atomic_store (&f->go, 1);
  return checked (ctx, CALL_EXECVE, wait_for (&f->failure));
}

int
execute (struct context *ctx, char *const argv[], char *const envp[])
{
  const struct step *filter = &ctx->filter;
  struct filtered f = {
    .filter = filter,
    .program = ctx->program,
    .argv = argv,
    .envp = envp,
    .listener = NOT_YET,
    .failure = NOT_YET,
  };
  int result = 0;

  if (filter->op != 0 && filter->b == LATER)
    {
      if (has_listener (filter))
        return execute_with_listener (ctx, &f);
      result = checked (ctx, CALL_SECCOMP, load (filter));
    }
  return result < 0 ? result : checked (ctx, CALL_EXECVE, sys_execve (ctx->program, argv, envp));
}
