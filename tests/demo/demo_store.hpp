// The demo's three collections, and the batches that its writers merge into them.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "armdb.hpp"

namespace demo {

using Identifier = armdb::ByteArray<40>;
using Count = armdb::ByteArray<8>;

[[noreturn]] inline void fail(const std::string& what) {
  std::fflush(stdout);
  std::fprintf(stderr, "demo: %s\n", what.c_str());
  std::_Exit(1);  // another thread may still use the collections
}
inline void check(const armdb::Status& status, const char* doing) {
  if (!status.ok()) fail(std::string(doing) + ": " + status.message());
}
template <class T> T take(armdb::Result<T> result, const char* doing) {
  if (!result.ok()) fail(std::string(doing) + ": " + result.message());
  return std::move(*result);
}

class Timer {
 public:
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

inline Identifier identifier_of(std::string_view word) {
  Identifier identifier{};
  std::memcpy(identifier.data(), word.data(), std::min(word.size(), identifier.size()));
  return identifier;
}
inline std::string_view text_of(const Identifier& identifier) {
  const auto* text = reinterpret_cast<const char*>(identifier.data());
  return {text, ::strnlen(text, identifier.size())};
}
inline Count count_of(std::uint64_t number) {
  Count bytes;
  armdb::key_traits<std::uint64_t>::encode(number, bytes.data());
  return bytes;
}
inline std::uint64_t number_of(const Count& bytes) {
  return armdb::key_traits<std::uint64_t>::decode(bytes.data());
}

// ---- Places: runs of {file number, count of lines, first line, distance to the next line...},
// all of them varints (seven bits a byte, low first). Runs of one list come in any order.

struct Place {
  std::uint32_t file = 0;
  std::uint32_t line = 0;
};
using Encoded = std::vector<std::uint8_t>;

inline void append_varint(Encoded& out, std::uint32_t number) {
  for (; number >= 128; number >>= 7) out.push_back(static_cast<std::uint8_t>(number | 128));
  out.push_back(static_cast<std::uint8_t>(number));
}
inline void append_run(Encoded& out, std::uint32_t file, const std::vector<std::uint32_t>& lines) {
  append_varint(out, file);
  append_varint(out, static_cast<std::uint32_t>(lines.size()));
  std::uint32_t before = 0;
  for (const std::uint32_t line : lines) {
    append_varint(out, line - before);
    before = line;
  }
}
inline std::optional<std::uint32_t> take_varint(armdb::Bytes& in) {
  std::uint32_t number = 0;
  for (unsigned shift = 0; shift < 32 && !in.empty(); shift += 7) {
    const std::uint8_t byte = in[0];
    in = in.sub(1);
    number |= static_cast<std::uint32_t>(byte & 127) << shift;
    if (byte < 128) return number;
  }
  return std::nullopt;
}
// False when the bytes are no list of places.
inline bool decode_places(armdb::Bytes in, std::vector<Place>& out) {
  out.clear();
  while (!in.empty()) {
    const auto file = take_varint(in);
    const auto lines = take_varint(in);
    if (!file || !lines) return false;
    std::uint32_t line = 0;
    for (std::uint32_t left = *lines; left != 0; --left) {
      const auto step = take_varint(in);
      if (!step) return false;
      line += *step;
      out.push_back({*file, line});
    }
  }
  return true;
}

// ---- The collections ----

struct Collections {
  armdb::VarTree<Identifier> places;          // identifier -> where it stands
  armdb::ConstMap<Identifier, Count> counts;  // identifier -> at how many places
  armdb::VarMap<std::uint32_t> files;         // file number -> path

  static Collections open(const std::string& folder) {
    armdb::Config ascending;
    ascending.reversed = false;
    Collections all;
    all.places = take(armdb::VarTree<Identifier>::open(folder + "/places", ascending), "places");
    all.counts = take(armdb::ConstMap<Identifier, Count>::open(folder + "/counts"), "counts");
    all.files = take(armdb::VarMap<std::uint32_t>::open(folder + "/files"), "files");
    return all;
  }
  void close() {
    check(places.close(), "closing places");
    check(counts.close(), "closing counts");
    check(files.close(), "closing files");
  }
};

struct Hash {
  std::size_t operator()(const Identifier& identifier) const noexcept {
    return std::hash<std::string_view>()(text_of(identifier));
  }
};

// What one writer has found and not merged yet.
class Batch {
 public:
  struct Found {
    Encoded places;
    std::uint32_t count = 0;
  };
  static constexpr std::size_t kParts = 2;

  void add(const Identifier& identifier, std::uint32_t file,
           const std::vector<std::uint32_t>& lines) {
    auto [at, fresh] = parts_[Hash()(identifier) % kParts].try_emplace(identifier);
    const std::size_t before = at->second.places.capacity();
    append_run(at->second.places, file, lines);
    at->second.count += static_cast<std::uint32_t>(lines.size());
    bytes_ += at->second.places.capacity() - before + (fresh ? 128 : 0);
  }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  // Adds everything found to the collections. A part is one writer's at a time: what is read and
  // then put back cannot be changed by the other in between.
  void merge(Collections& into, std::array<std::mutex, kParts>& locks, std::size_t first_part) {
    for (std::size_t step = 0; step < kParts; ++step) {
      const std::size_t part = (first_part + step) % kParts;
      const std::lock_guard<std::mutex> lock(locks[part]);
      merge_places(into, parts_[part]);
      merge_counts(into, parts_[part]);
      parts_[part] = Part();
    }
    bytes_ = 0;
  }

 private:
  using Part = std::unordered_map<Identifier, Found, Hash>;

  static void merge_places(Collections& into, Part& part) {
    for (auto& [identifier, found] : part) {
      // Copied behind what is there already: one value, one put.
      Encoded whole;
      const bool there = take(into.places.read(identifier,
                                               [&](armdb::Bytes old) {
                                                 whole.reserve(old.size() + found.places.size());
                                                 whole.assign(old.begin(), old.end());
                                               }),
                              "reading places");
      if (there) {
        whole.insert(whole.end(), found.places.begin(), found.places.end());
        found.places.swap(whole);
      }
      check(into.places.put(identifier, found.places), "writing places");
    }
  }
  static void merge_counts(Collections& into, const Part& part) {
    constexpr std::size_t kRound = 256;
    std::vector<Identifier> keys;
    std::vector<std::uint64_t> more;
    std::vector<std::optional<Count>> old(kRound);
    std::vector<std::pair<Identifier, Count>> entries;
    const auto flush = [&] {
      into.counts.get_many(keys, old);
      entries.clear();
      for (std::size_t at = 0; at < keys.size(); ++at) {
        entries.emplace_back(keys[at], count_of(more[at] + (old[at] ? number_of(*old[at]) : 0)));
      }
      check(into.counts.put_many(std::span<const std::pair<Identifier, Count>>(entries)),
            "writing counts");
      keys.clear();
      more.clear();
    };
    for (const auto& [identifier, found] : part) {
      keys.push_back(identifier);
      more.push_back(found.count);
      if (keys.size() == kRound) flush();
    }
    if (!keys.empty()) flush();
  }

  Part parts_[kParts];
  std::size_t bytes_ = 0;
};

}  // namespace demo
