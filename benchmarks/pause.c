/* pause.c: the cheapest program that stays: static, no C library, until a signal ends it.  */

__attribute__ ((noreturn)) void
_start (void)
{
  for (;;)
    __asm__ volatile ("syscall" : : "a"(34L) : "rcx", "r11", "memory");
}
