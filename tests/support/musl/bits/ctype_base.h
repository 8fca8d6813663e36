// As libstdc++ has it for a libc whose <ctype.h> has no masks.
namespace std _GLIBCXX_VISIBILITY(default) {
struct ctype_base {
  typedef const int* __to_type;
  typedef unsigned short mask;
  static const mask upper = 1, lower = 2, alpha = 4, digit = 8, xdigit = 16, space = 32,
                    print = 64, graph = 4 | 8 | 256, cntrl = 128, punct = 256, alnum = 4 | 8,
                    blank = 512;
};
}
