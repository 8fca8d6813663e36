// Tests of the clocks.
#include "os/clock.hpp"

#include <chrono>
#include <thread>

#include "support/catch.hpp"

using namespace armdb;

TEST_CASE("clock: the monotonic clock never goes back and moves with time") {
  std::uint64_t before = os::monotonic_ns();
  const std::uint64_t start_ms = os::monotonic_ms();
  for (int i = 0; i < 10000; ++i) {
    const std::uint64_t now = os::monotonic_ns();
    REQUIRE(now >= before);
    before = now;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
  CHECK(os::monotonic_ns() >= before + 2'000'000);
  CHECK(os::monotonic_ms() >= start_ms + 2);
}

TEST_CASE("clock: the wall clock is in this century, and reads as UTC text") {
  CHECK(os::wall_ms() > 1'600'000'000'000u);
  CHECK(os::wall_ms() < 4'200'000'000'000u);
  const std::string text = os::wall_text();
  REQUIRE(text.size() == 20);
  CHECK(text.substr(0, 2) == "20");
  CHECK(text[10] == 'T');
  CHECK(text[19] == 'Z');
}
