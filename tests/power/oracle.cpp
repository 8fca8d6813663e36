#include "power/oracle.hpp"

#include <algorithm>

namespace armdb::power {

void Oracle::begin(const Progress& progress) {
  Era era;
  era.base = base_;
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    era.begun[thread] = era.returned[thread] = progress.threads[thread].started.load();
  }
  eras_.push_back(era);
}

void Oracle::cut(const Progress& progress) noexcept {
  Era& era = eras_.back();
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    era.returned[thread] = std::max(era.begun[thread], progress.threads[thread].returned.load());
  }
}

// A sync covers what was recovered too: then nothing from before can come back.
void Oracle::end_era(const Progress& progress) {
  Era& era = eras_.back();
  bool synced = false;
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    const Progress::Thread& own = progress.threads[thread];
    synced = synced || own.durable.load() > era.begun[thread];
    era.durable[thread] = std::max(era.begun[thread], own.durable.load());
    era.started[thread] = own.started.load();
    for (std::uint64_t place = 0; place < kPlaces; ++place) {
      era.synced[thread][place] = own.synced[place].load();
    }
  }
  if (synced) eras_.erase(eras_.begin(), eras_.end() - 1);
}

// What a key holds when writes up to `n` are there, and none behind it.
std::uint64_t Oracle::after(const Era& era, unsigned thread, std::uint64_t place,
                            std::uint64_t n) const {
  const std::uint64_t period = place < kKeys ? kKeys * 16 : 16;
  for (std::uint64_t at = n; at > era.begun[thread] && n - at < period; --at) {
    const bool batch = is_batch(subject_, at);
    if (batch ? place >= kKeys : place == place_of(at)) return is_erase(subject_, at) ? 0 : at;
  }
  return era.base[thread][place];
}

// Some state from the last durable one on.
bool Oracle::fits(const Era& era, unsigned thread, std::uint64_t place, std::uint64_t there) const {
  const std::uint64_t first = std::max(era.durable[thread], era.synced[thread][place]);
  for (std::uint64_t n = first; n <= era.started[thread]; ++n) {
    if (after(era, thread, place, n) == there) return true;
  }
  return false;
}

bool Oracle::is_prefix(const Era& era, const Content& found, unsigned thread,
                       std::uint64_t first) const {
  for (std::uint64_t n = first; n <= era.started[thread]; ++n) {
    std::uint64_t place = 0;
    while (place < kPlaces && after(era, thread, place, n) == found[thread][place]) ++place;
    if (place == kPlaces) return true;
  }
  return false;
}

std::string Oracle::judge_key(const Content& found, unsigned thread, std::uint64_t place) const {
  const std::uint64_t there = found[thread][place];
  const Era& last = eras_.back();
  const bool synced = last.synced[thread][place] > last.begun[thread];
  for (const Era& era : eras_) {
    if ((!synced || &era == &last) && fits(era, thread, place, there)) return {};
  }
  const std::uint64_t durable = std::max(last.durable[thread], last.synced[thread][place]);
  return "key " + std::to_string(place) + " of thread " + std::to_string(thread) + " has write " +
         std::to_string(there) + "; writes up to " + std::to_string(durable) +
         " are durable, which gives it " + std::to_string(after(last, thread, place, durable)) +
         ", and up to " + std::to_string(last.started[thread]) + " began";
}

std::string Oracle::judge_all(const Content& found) const {
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    for (std::uint64_t place = 0; place < kPlaces; ++place) {
      std::string wrong = judge_key(found, thread, place);
      if (!wrong.empty()) return wrong;
      if (place > kKeys && found[thread][place] != found[thread][kKeys]) {
        return "a batch is there in part";
      }
    }
    // A log of one shard ends somewhere; nothing is there of what follows.
    if (!subject_.log() || subject_.shards != 1) continue;
    const bool whole = std::any_of(eras_.begin(), eras_.end(), [&](const Era& era) {
      return is_prefix(era, found, thread, era.durable[thread]);
    });
    if (!whole) {
      return "what thread " + std::to_string(thread) + " wrote is there with a hole";
    }
  }
  return {};
}

std::string Oracle::judge(const Content& found, const Progress& progress, bool closed) {
  end_era(progress);
  std::string wrong = judge_all(found);
  if (!wrong.empty()) return wrong;
  const Era& era = eras_.back();
  bool costly = false;
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    costly = costly || !is_prefix(era, found, thread, era.returned[thread]);
  }
  costly_ += costly ? 1 : 0;
  if (closed) eras_.clear();
  base_ = found;
  return {};
}

}  // namespace armdb::power
