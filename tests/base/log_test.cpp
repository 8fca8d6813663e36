// Tests of log delivery.
#include "base/log.hpp"

#include <cerrno>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace armdb;

TEST_CASE("log: a line reaches the callback with its level and context") {
  std::vector<std::string> lines;
  Log log;
  log.context = &lines;
  log.callback = [](void* context, LogLevel level, std::string_view text) {
    auto* to = static_cast<std::vector<std::string>*>(context);
    to->push_back(std::to_string(static_cast<int>(level)) + std::string(text));
  };
  base::log(log, LogLevel::warning, "torn tail");
  base::log(log, LogLevel::error, "shard 3", Status::from_os(EIO, "cannot sync").at("/x"));
  REQUIRE(lines.size() == 2);
  CHECK(lines[0] == "1torn tail");
  CHECK(lines[1].starts_with("2shard 3: io_error: cannot sync [/x]"));
}

TEST_CASE("log: without a callback nothing happens") {
  base::log(Log(), LogLevel::info, "text");
  base::log(Log(), LogLevel::info, "text", Status(Errc::closed));
}
