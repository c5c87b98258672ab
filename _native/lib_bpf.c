/* lib_bpf.c: the device filter of a cgroup v2 directory.  bpf(2), cgroup-v2.rst "Device controller".  */

#include "sys.h"
#include <linux/bpf.h>
#include <string.h>

#include "lib.h"

#define MOST_PROGRAMS 64 /* BPF_CGROUP_MAX_PROGS */
#define LOAD_TRIES 30    /* the verifier gives up with EAGAIN when a signal is pending */
#define INSTRUCTION_SIZE 8

static int
sys_bpf (int command, union bpf_attr *attr)
{
  return sys_result (syscall (SYS_bpf, command, attr, sizeof (*attr)));
}

int
lib_load_device_filter (const void *program, size_t size)
{
  static const char license[] = "GPL";
  int result = -EAGAIN;

  for (int i = 0; i < LOAD_TRIES && result == -EAGAIN; i++)
    {
      union bpf_attr attr;

      memset (&attr, 0, sizeof (attr));
      attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
      attr.insns = (uint64_t) (uintptr_t) program;
      attr.insn_cnt = (uint32_t) (size / INSTRUCTION_SIZE);
      attr.license = (uint64_t) (uintptr_t) license;
      result = sys_bpf (BPF_PROG_LOAD, &attr);
    }
  return result;
}

/* How many programs are attached to this very cgroup, and their ids.  */
static int
query (int cgroup, uint32_t *ids)
{
  union bpf_attr attr;
  int result;

  memset (&attr, 0, sizeof (attr));
  attr.query.target_fd = (uint32_t) cgroup;
  attr.query.attach_type = BPF_CGROUP_DEVICE;
  attr.query.prog_ids = (uint64_t) (uintptr_t) ids;
  attr.query.prog_cnt = MOST_PROGRAMS;
  result = sys_bpf (BPF_PROG_QUERY, &attr);
  return result < 0 ? result : (int) attr.query.prog_cnt;
}

static int
open_program (uint32_t id)
{
  union bpf_attr attr;

  memset (&attr, 0, sizeof (attr));
  attr.prog_id = id;
  return sys_bpf (BPF_PROG_GET_FD_BY_ID, &attr);
}

/* In place of `old`, or beside the others if that is -1.  */
static int
attach (int cgroup, int program, int old)
{
  union bpf_attr attr;

  memset (&attr, 0, sizeof (attr));
  attr.target_fd = (uint32_t) cgroup;
  attr.attach_bpf_fd = (uint32_t) program;
  attr.attach_type = BPF_CGROUP_DEVICE;
  attr.attach_flags = BPF_F_ALLOW_MULTI;
  if (old >= 0)
    {
      attr.attach_flags |= BPF_F_REPLACE;
      attr.replace_bpf_fd = (uint32_t) old;
    }
  return sys_bpf (BPF_PROG_ATTACH, &attr);
}

static int
detach (int cgroup, int program)
{
  union bpf_attr attr;

  memset (&attr, 0, sizeof (attr));
  attr.target_fd = (uint32_t) cgroup;
  attr.attach_bpf_fd = (uint32_t) program;
  attr.attach_type = BPF_CGROUP_DEVICE;
  return sys_bpf (BPF_PROG_DETACH, &attr);
}

/* All of the old ones must allow a device too, so none may stay; the new one is in force first.  */
static int
detach_all (int cgroup, const uint32_t *ids, int count)
{
  int result = 0;

  for (int i = 0; i < count && result == 0; i++)
    {
      autoclose int old = open_program (ids[i]);

      if (old >= 0) /* one that we may not open is not ours to take away */
        result = detach (cgroup, old);
    }
  return result;
}

int
lib_attach_device_filter (int cgroup, int program)
{
  uint32_t ids[MOST_PROGRAMS] = { 0 };
  int count = query (cgroup, ids);
  autoclose int old = count == 1 ? open_program (ids[0]) : -1;
  int result;

  if (count < 0)
    return count;
  result = attach (cgroup, program, old);
  return result < 0 || old >= 0 ? result : detach_all (cgroup, ids, count);
}
