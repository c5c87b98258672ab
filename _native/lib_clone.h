/* lib_clone.h: run a function in a short-lived process that shares our memory.  */
#pragma once

/* vfork(2)-like: `child` runs on a stack of its own while the caller sleeps, with all signals
   blocked, until it returns or executes a program; only raw system calls are allowed in it.
   It has no exit signal.  Its pid, and *pidfd for waiting.  lib_spawn.c  */
int clone_sharing_memory (int (*child) (void *), void *arg, int flags, int *pidfd);

/* The same, but we go on meanwhile: it must touch nothing but its own stack, which ends at `top`, and
   be dead before that is gone.  */
int clone_beside (int (*child) (void *), void *top, int flags, int *pidfd);

/* Every signal, the two that libc keeps for itself too: a handler of ours must not run in a child.  */
#define KERNEL_SIGSET_SIZE 8
void block_signals (unsigned char *old);
void restore_signals (const unsigned char *old);

/* Wait for one that has ended, or soon will, and close *pidfd.  */
void reap (int *pidfd);

/* What Python ignores, and what clone_sharing_memory() has blocked, as a program expects it: in a child,
   right before execve(2).  lib_program.c  */
void default_signals (void);
