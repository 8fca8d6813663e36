// What fits together, and what does not.
#include "net/history.hpp"

#include <algorithm>

namespace armdb::net {

namespace {

std::string told(const std::string& what, std::uint64_t place, std::uint64_t n, std::uint64_t of) {
  return what + ": key " + std::to_string(place) + " shows write " + std::to_string(n) + ", the " +
         "other is " + std::to_string(of);
}

}  // namespace

std::uint64_t History::last_write(std::uint64_t place, std::uint64_t n) const {
  const std::uint64_t step = place < kSingles ? kSingles : kBatchEvery;
  const std::uint64_t rest = place < kSingles ? place : 0;
  if (n < rest) return 0;
  for (std::uint64_t at = n - (n - rest) % step; at != 0; at = at < step ? 0 : at - step) {
    if (touches(at, place) && lost[at].load() == 0) return at;
  }
  return 0;
}

std::uint64_t History::next_erasure(std::uint64_t place, std::uint64_t n) const {
  if (place >= kSingles) return 0;
  const std::uint64_t end = started.load();
  std::uint64_t at = place + (n > place ? (n - place + kSingles - 1) / kSingles * kSingles : 0);
  for (; at <= end; at += kSingles) {
    if (at != 0 && touches(at, place) && erases(at) && lost[at].load() == 0) return at;
  }
  return 0;
}

bool History::reaches(std::uint64_t place, std::uint64_t n, std::uint64_t low) const {
  return n >= low || (n == 0 && next_erasure(place, low) != 0);
}

std::string History::show(unsigned host, std::uint64_t place, std::uint64_t n) {
  const std::uint64_t before = shown[host][place].load();
  if (n == 0) {
    // By an erasure that was lost, perhaps: it says nothing of those that were written since.
    if (before == 0 || parted[host].load()) return {};
    const std::uint64_t erased = next_erasure(place, before);
    if (erased == 0) return told("a follower shows no value, and none erased it", place, 0, before);
    shown[host][place].store(erased);
    return {};
  }
  if (n > started.load()) return told("a follower is ahead", place, n, started.load());
  if (!touches(n, place) || erases(n)) return told("nobody wrote that there", place, n, 0);
  if (lost[n].load() != 0 && parted[host].load()) return {};
  if (lost[n].load() != 0) return told("a follower shows what its leader lost", place, n, 0);
  if (n < before) return told("a follower went back", place, n, before);
  shown[host][place].store(n);
  return {};
}

std::string History::settle_leader(const Content& content, bool keeps_completed) {
  const std::uint64_t end = started.load();
  for (std::uint64_t place = 0; place < kPlaces; ++place) {
    const std::uint64_t n = content[place];
    if (n > end || (n != 0 && (!touches(n, place) || erases(n)))) {
      return told("a leader has what nobody wrote", place, n, end);
    }
    for (unsigned host = 0; host < kHosts; ++host) {
      const std::uint64_t low = shown[host][place].load();
      if (!reaches(place, n, low)) return told("a follower showed more", place, n, low);
    }
    const std::uint64_t kept = keeps_completed ? last_write(place, completed.load()) : 0;
    if (!reaches(place, n, kept)) return told("a leader lost a write", place, n, kept);
    // Of a key that is not there the last erasure may have been the one.
    std::uint64_t first_lost = n;
    for (std::uint64_t at = n; n == 0;) {
      at = next_erasure(place, at + 1);
      if (at == 0) break;
      first_lost = at;
    }
    for (std::uint64_t at = end; at > first_lost;) {
      at = last_write(place, at);
      if (at <= first_lost) break;
      lost[at].store(1);
    }
  }
  for (std::uint64_t place = kSingles; place + 1 < kPlaces; ++place) {
    if (content[place] == content[place + 1]) continue;
    return told("a leader has a batch in part", place, content[place], content[place + 1]);
  }
  return {};
}

std::string History::take_over(unsigned host, const Content& content) {
  std::uint64_t ends[kGroups] = {};
  for (std::uint64_t group = 0; group < kGroups; ++group) {
    const std::string wrong = find_end(group, content, ends[group]);
    if (!wrong.empty()) return wrong;
  }
  for (std::uint64_t n = *std::min_element(ends, ends + kGroups) + 1; n <= started.load(); ++n) {
    const std::uint64_t place = is_batch(n) ? kSingles : n % kSingles;
    if (n > ends[group_of(place)]) lost[n].store(1);
  }
  for (unsigned other = 0; other < kHosts; ++other) {
    parted[other].store(other != host);
    for (std::uint64_t place = 0; place < kPlaces; ++place) {
      std::atomic<std::uint64_t>& low = shown[other][place];
      if (!reaches(place, content[place], low.load())) low.store(content[place]);
    }
  }
  for (auto& promise : promised) promise.store(0);
  return {};
}

std::string History::find_end(std::uint64_t group, const Content& content,
                              std::uint64_t& end) const {
  end = 0;
  for (std::uint64_t place = 0; place < kPlaces; ++place) {
    if (group_of(place) == group) end = std::max(end, content[place]);
  }
  // A key that is not there tells only that one of its erasures is below the end.
  for (bool raised = true; raised;) {
    raised = false;
    for (std::uint64_t place = 0; place < kPlaces; ++place) {
      if (group_of(place) != group) continue;
      const std::uint64_t last = last_write(place, end);
      if (content[place] == last || (content[place] == 0 && erases(last))) continue;
      if (content[place] != 0) return told("a shard has a hole", place, content[place], last);
      const std::uint64_t erased = next_erasure(place, last);
      if (erased == 0) return told("a shard has a hole", place, 0, last);
      end = erased;
      raised = true;
    }
  }
  return {};
}

std::string History::judge_standing(unsigned host, const Content& content) const {
  for (std::uint64_t place = kSingles; place + 1 < kPlaces && !uneven[host].load(); ++place) {
    if (content[place] == content[place + 1]) continue;
    return told("a batch is there in part", place, content[place], content[place + 1]);
  }
  if (parted[host].load()) return {};
  for (std::uint64_t place = 0; place < kPlaces; ++place) {
    const std::uint64_t low = shown[host][place].load();
    if (!reaches(place, content[place], low)) {
      return told("a follower came back with less", place, content[place], low);
    }
  }
  for (std::uint64_t group = 0; group < kGroups && prefixes; ++group) {
    std::uint64_t end = 0;
    const std::string wrong = find_end(group, content, end);
    if (!wrong.empty()) return wrong;
  }
  return {};
}

std::string History::judge_promises(unsigned leader, std::span<const Content> contents) const {
  for (unsigned count = 1; count < kHosts; ++count) {
    const std::uint64_t promise = promised[count].load();
    unsigned keep = 0;
    for (unsigned host = 0; host < kHosts; ++host) {
      bool all = host != leader;
      for (std::uint64_t place = 0; place < kPlaces && all; ++place) {
        all = reaches(place, contents[host][place], last_write(place, promise));
      }
      keep += all ? 1 : 0;
    }
    if (keep < count) {
      return "only " + std::to_string(keep) + " of " + std::to_string(count) +
             " followers have what was promised, up to write " + std::to_string(promise);
    }
  }
  return {};
}

}  // namespace armdb::net
