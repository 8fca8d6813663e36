// errors: those that most places have to tell, made in one short call each.
#pragma once

#include <initializer_list>

#include "base/text.hpp"
#include "core/status.hpp"

namespace armdb::base {

// An error whose text has parts; see base::text().
Status failure(Errc code, const char* pattern, std::initializer_list<TextPart> parts);
// Bytes are wrong and no crash explains them.
Status corrupt(const char* what);
Status out_of_memory(const char* what);
// `closed`, for calls on a handle without a collection.
Status not_open();

}  // namespace armdb::base
