// errors: the two that most places have to tell, made in one short call each.
#pragma once

#include "core/status.hpp"

namespace armdb::base {

// Bytes are wrong and no crash explains them.
Status corrupt(const char* what);
Status out_of_memory(const char* what);
// `closed`, for calls on a handle without a collection.
Status not_open();

}  // namespace armdb::base
