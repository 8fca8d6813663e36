// libstdc++'s own file asks for versions of glibc.
#ifndef _GLIBCXX_OS_DEFINES
#define _GLIBCXX_OS_DEFINES 1
// Threads are in libc.
#define _GLIBCXX_GTHREAD_USE_WEAK 0
#endif
