// Delivery of log lines.
#include "base/log.hpp"

#include <string>

#include "base/text.hpp"

namespace armdb::base {

void log(const Log& to, LogLevel level, std::string_view text) {
  if (to.callback != nullptr) to.callback(to.context, level, text);
}

void log(const Log& to, LogLevel level, const char* text, const Status& status) {
  if (to.callback == nullptr) return;  // before the line is built
  to.callback(to.context, level, base::text("%: %", {text, status.message()}));
}

}  // namespace armdb::base
