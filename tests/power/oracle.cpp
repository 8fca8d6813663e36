#include "power/oracle.hpp"

#include <algorithm>

namespace armdb::power {

void Oracle::begin(const Progress& progress) noexcept {
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    begun_[thread] = progress.threads[thread].started.load();
  }
}

// What a key holds when writes up to `n` are there, and none behind it.
std::uint64_t Oracle::after(unsigned thread, std::uint64_t place, std::uint64_t n) const {
  const std::uint64_t period = place < kKeys ? kKeys * 16 : 16;
  const std::uint64_t begun = begun_[thread];
  for (std::uint64_t at = n; at > begun && n - at < period; --at) {
    const bool batch = is_batch(subject_, at);
    if (batch ? place >= kKeys : place == place_of(at)) return is_erase(subject_, at) ? 0 : at;
  }
  return base_[thread][place];
}

// Some state from the last durable one on.
std::string Oracle::judge_key(const Content& found, unsigned thread, std::uint64_t place,
                              const Progress::Thread& progress) const {
  const std::uint64_t there = found[thread][place];
  const std::uint64_t started = progress.started.load();
  const std::uint64_t durable = std::max(progress.durable.load(), begun_[thread]);
  for (std::uint64_t n = durable; n <= started; ++n) {
    if (after(thread, place, n) == there) return {};
  }
  return "key " + std::to_string(place) + " of thread " + std::to_string(thread) + " has write " +
         std::to_string(there) + "; writes up to " + std::to_string(durable) +
         " are durable, which gives it " + std::to_string(after(thread, place, durable)) +
         ", and up to " + std::to_string(started) + " began";
}

bool Oracle::is_prefix(const Content& found, unsigned thread, std::uint64_t n) const {
  for (std::uint64_t place = 0; place < kPlaces; ++place) {
    if (after(thread, place, n) != found[thread][place]) return false;
  }
  return true;
}

std::string Oracle::judge(const Content& found, const Progress& progress) {
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    const Progress::Thread& own = progress.threads[thread];
    for (std::uint64_t place = 0; place < kPlaces; ++place) {
      std::string wrong = judge_key(found, thread, place, own);
      if (!wrong.empty()) return wrong;
      if (place > kKeys && found[thread][place] != found[thread][kKeys]) {
        return "a batch is there in part";
      }
    }
    const std::uint64_t returned = std::max(own.returned.load(), begun_[thread]);
    if (is_prefix(found, thread, returned)) continue;
    lost_ += 1;
    // A log of one shard ends somewhere; nothing is there of what follows.
    if (!subject_.log() || subject_.shards != 1) continue;
    std::uint64_t n = std::max(own.durable.load(), begun_[thread]);
    while (n <= own.started.load() && !is_prefix(found, thread, n)) ++n;
    if (n > own.started.load()) {
      return "what thread " + std::to_string(thread) + " wrote is there with a hole";
    }
  }
  base_ = found;
  return {};
}

}  // namespace armdb::power
