// Errors by name.
#include "base/errors.hpp"

namespace armdb::base {

Status corrupt(const char* what) { return Status(Errc::corrupt, what); }

Status out_of_memory(const char* what) { return Status(Errc::out_of_memory, what); }

}  // namespace armdb::base
