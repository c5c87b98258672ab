/* lib_seccomp.c: filters made by libseccomp, which is opened when a profile asks for it.

   Its declarations are written again here: its ABI is stable, and building takes no headers.  */

#include "sys.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib.h"

#define SONAME "libseccomp.so.2"
#define ATTRIBUTE_OPTIMIZE 8 /* SCMP_FLTATR_CTL_OPTIMIZE, libseccomp 2.5 */
#define OPTIMIZE_TREE 2      /* a binary tree over the numbers */
#define MANY_RULES 32
#define UNKNOWN_CALL (-1) /* __NR_SCMP_ERROR */

struct scmp_version
{
  unsigned int major, minor, micro;
};

struct scmp_arg_cmp
{
  unsigned int arg;
  int op;
  uint64_t datum_a;
  uint64_t datum_b;
};

typedef void *filter_ctx;

static struct
{
  const struct scmp_version *(*version) (void);
  unsigned int (*api_get) (void);
  uint32_t (*arch_resolve_name) (const char *name);
  uint32_t (*arch_native) (void);
  int (*syscall_resolve_name) (const char *name);
  int (*syscall_resolve_name_arch) (uint32_t arch, const char *name);
  char *(*syscall_resolve_num_arch) (uint32_t arch, int number);
  filter_ctx (*init) (uint32_t action);
  void (*release) (filter_ctx ctx);
  int (*arch_add) (filter_ctx ctx, uint32_t arch);
  int (*attr_set) (filter_ctx ctx, int attribute, uint32_t value);
  int (*rule_add_array) (filter_ctx ctx, uint32_t action, int number, unsigned int count,
                         const struct scmp_arg_cmp *args);
  int (*export_bpf) (filter_ctx ctx, int fd);
} scmp;

static const struct
{
  const char *name;
  void *slot;
} symbols[] = {
  { "seccomp_version", &scmp.version },
  { "seccomp_api_get", &scmp.api_get },
  { "seccomp_arch_resolve_name", &scmp.arch_resolve_name },
  { "seccomp_arch_native", &scmp.arch_native },
  { "seccomp_syscall_resolve_name", &scmp.syscall_resolve_name },
  { "seccomp_syscall_resolve_name_arch", &scmp.syscall_resolve_name_arch },
  { "seccomp_syscall_resolve_num_arch", &scmp.syscall_resolve_num_arch },
  { "seccomp_init", &scmp.init },
  { "seccomp_release", &scmp.release },
  { "seccomp_arch_add", &scmp.arch_add },
  { "seccomp_attr_set", &scmp.attr_set },
  { "seccomp_rule_add_array", &scmp.rule_add_array },
  { "seccomp_export_bpf", &scmp.export_bpf },
};

static pthread_once_t opening = PTHREAD_ONCE_INIT;
static int opened; /* 0 or -errno */

static void
open_library (void)
{
  void *library = dlopen (SONAME, RTLD_NOW | RTLD_LOCAL);

  opened = library == NULL ? -ENOENT : 0;
  for (size_t i = 0; i < sizeof (symbols) / sizeof (symbols[0]) && opened == 0; i++)
    {
      void *symbol = dlsym (library, symbols[i].name);

      memcpy (symbols[i].slot, &symbol, sizeof (symbol));
      if (symbol == NULL)
        opened = -ENOSYS; /* older than 2.4 */
    }
}

int
lib_seccomp_open (struct lib_seccomp *found)
{
  const struct scmp_version *version;

  (void) pthread_once (&opening, open_library);
  if (opened < 0)
    return opened;
  version = scmp.version ();
  found->version = version->major << 16 | version->minor << 8 | version->micro;
  found->api = scmp.api_get ();
  found->native = scmp.arch_native ();
  return 0;
}

uint32_t
lib_seccomp_arch (const char *name)
{
  return scmp.arch_resolve_name (name);
}

int
lib_seccomp_number (uint32_t arch, const char *name)
{
  return arch == 0 ? scmp.syscall_resolve_name (name) : scmp.syscall_resolve_name_arch (arch, name);
}

int
lib_seccomp_name (uint32_t arch, int number, char *buf, size_t size)
{
  char *name = scmp.syscall_resolve_num_arch (arch, number);
  int result = name == NULL ? -ENOENT : strlen (name) >= size ? -ERANGE : 0;

  if (result == 0)
    strcpy (buf, name);
  free (name);
  return result;
}

static int
add_rule (filter_ctx ctx, const struct lib_seccomp_rule *rule)
{
  struct scmp_arg_cmp args[LIB_SECCOMP_ARGS];

  for (uint32_t i = 0; i < rule->count; i++)
    args[i] = (struct scmp_arg_cmp){
      .arg = rule->args[i].index,
      .op = (int) rule->args[i].op,
      .datum_a = rule->args[i].value,
      .datum_b = rule->args[i].value_two,
    };
  return scmp.rule_add_array (ctx, rule->action, rule->number, rule->count, args);
}

static int
fill (filter_ctx ctx, const struct lib_seccomp_profile *profile, uint32_t *refused)
{
  for (uint32_t i = 0; i < profile->arch_count; i++)
    {
      int result = scmp.arch_add (ctx, profile->arches[i]);

      *refused = i;
      if (result < 0 && result != -EEXIST)
        return result;
    }
  if (profile->rule_count > MANY_RULES)
    (void) scmp.attr_set (ctx, ATTRIBUTE_OPTIMIZE, OPTIMIZE_TREE); /* unknown before 2.5 */
  for (uint32_t i = 0; i < profile->rule_count; i++)
    {
      int result = add_rule (ctx, &profile->rules[i]);

      *refused = profile->arch_count + i;
      if (result < 0)
        return result;
    }
  *refused = UINT32_MAX;
  return 0;
}

int
lib_seccomp_build (const struct lib_seccomp_profile *profile, uint32_t *refused)
{
  autoclose int fd = sys_result (syscall (SYS_memfd_create, "aiocontainer-bpf", MFD_CLOEXEC));
  filter_ctx ctx;
  int result;

  *refused = UINT32_MAX;
  if (fd < 0)
    return fd;
  ctx = scmp.init (profile->default_action);
  if (ctx == NULL)
    return -ENOMEM;
  result = fill (ctx, profile, refused);
  if (result == 0)
    result = scmp.export_bpf (ctx, fd);
  scmp.release (ctx);
  return result < 0 ? result : take_fd (&fd);
}

/* Classic BPF, as far as libseccomp writes it.  */
uint32_t
lib_seccomp_run (const void *program, size_t size, uint32_t number, uint32_t arch, const uint64_t *args)
{
  const struct sock_filter *code = program;
  size_t count = size / sizeof (*code);
  struct seccomp_data data = { .nr = (int) number, .arch = arch };
  uint32_t a = 0;

  memcpy (data.args, args, sizeof (data.args));
  for (size_t at = 0; at < count; at++)
    {
      const struct sock_filter *i = &code[at];

      switch (i->code)
        {
        case BPF_LD | BPF_W | BPF_ABS:
          if (i->k > sizeof (data) - sizeof (a))
            return UINT32_MAX;
          memcpy (&a, (const char *) &data + i->k, sizeof (a));
          break;
        case BPF_ALU | BPF_AND | BPF_K: a &= i->k; break;
        case BPF_JMP | BPF_JA: at += i->k; break;
        case BPF_JMP | BPF_JEQ | BPF_K: at += a == i->k ? i->jt : i->jf; break;
        case BPF_JMP | BPF_JGT | BPF_K: at += a > i->k ? i->jt : i->jf; break;
        case BPF_JMP | BPF_JGE | BPF_K: at += a >= i->k ? i->jt : i->jf; break;
        case BPF_RET | BPF_K: return i->k;
        default: return UINT32_MAX;
        }
    }
  return UINT32_MAX;
}

/* A filter that is no address: EFAULT when the flags are known, EINVAL when not.  */
int
lib_seccomp_knows (unsigned int flags)
{
  return sys_seccomp_filter (flags, NULL) == -EFAULT;
}
