// log: gives a line of text to the program's log callback. The library itself never prints.
#pragma once

#include <string_view>

#include "core/config.hpp"
#include "core/status.hpp"

namespace armdb::base {

// Nothing when there is no callback. Threads: any; call it under no lock that a slow callback
// should not hold up.
void log(const Log& to, LogLevel level, std::string_view text);

// "<text>: <status as a line>".
void log(const Log& to, LogLevel level, const char* text, const Status& status);

}  // namespace armdb::base
