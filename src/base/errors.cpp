// Errors by name.
#include "base/errors.hpp"

namespace armdb::base {

Status failure(Errc code, const char* pattern, std::initializer_list<TextPart> parts) {
  return Status(code, text(pattern, parts));
}

Status corrupt(const char* what) { return Status(Errc::corrupt, what); }

Status out_of_memory(const char* what) { return Status(Errc::out_of_memory, what); }

Status not_open() {
  return Status(Errc::closed, "the collection was closed, moved away or never opened");
}

}  // namespace armdb::base
