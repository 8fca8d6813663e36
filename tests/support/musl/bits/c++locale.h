// As libstdc++ has it for a libc whose locales it does not know.
#ifndef _GLIBCXX_CXX_LOCALE_H
#define _GLIBCXX_CXX_LOCALE_H 1
#include <clocale>
#define _GLIBCXX_NUM_CATEGORIES 0
namespace std _GLIBCXX_VISIBILITY(default) {
typedef int* __c_locale;
int __convert_from_v(const __c_locale&, char*, int, const char*, ...);  // nobody calls it
}
#endif
