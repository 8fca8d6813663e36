// ScriptedPeer: the other side of a conversation, as a test or the input of a fuzzer says it. No
// thread, no time.
//
// What it says comes in pieces. A read gives the current piece; when that is told, 0 until the
// session waits, which brings the next one. Behind the last one the stream is closed. What the
// session says is kept.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "format/entry.hpp"
#include "format/frame.hpp"
#include "os/socket.hpp"
#include "replica/history.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::test {

inline void require(bool holds, const char* what, const Status& status = {}) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s (%s)\n", what, status.message().c_str());
  std::abort();
}

struct Script {
  std::vector<std::vector<std::uint8_t>> pieces{1};
  std::vector<std::uint8_t> heard;  // from the session

  void raw(Bytes bytes) { pieces.back().insert(pieces.back().end(), bytes.begin(), bytes.end()); }
  void pause() { pieces.emplace_back(); }
  void hello(const format::Hello& hello) {
    format::FrameHeader header;
    header.type = format::FrameType::hello;
    frame(header, format::encode_hello(hello));
  }
  // How many frames of this type the session said.
  [[nodiscard]] std::size_t heard_of(format::FrameType type) const {
    std::size_t count = 0;
    for (Bytes rest(heard); !rest.empty();) {
      format::FrameHeader header;
      require(format::decode_frame_header(rest, header).ok(), "a session says frames");
      count += header.type == type ? 1 : 0;
      rest = rest.sub(format::kWireHeaderBytes + header.length);
    }
    return count;
  }
  void frame(const format::FrameHeader& header, Bytes payload) {
    std::uint8_t front[format::kWireHeaderBytes];
    format::encode_frame_header(header, payload, front);
    raw(Bytes(front));
    raw(payload);
  }
};

class ScriptedPeer final : public os::Stream {
 public:
  // The script outlives the stream.
  explicit ScriptedPeer(Script& script) : script_(script) {}

  Result<std::size_t> read(MutableBytes out) override {
    if (at_ == script_.pieces.size()) return Status(Errc::closed, "the script is over");
    const std::vector<std::uint8_t>& piece = script_.pieces[at_];
    const std::size_t count = std::min(out.size(), piece.size() - told_);
    std::copy_n(piece.begin() + static_cast<std::ptrdiff_t>(told_), count, out.begin());
    told_ += count;
    return count;
  }
  Result<std::size_t> write(Bytes data) override {
    script_.heard.insert(script_.heard.end(), data.begin(), data.end());
    return data.size();
  }
  Result<bool> wait(bool to_write, std::uint32_t, os::Waker*) override {
    if (!to_write && at_ != script_.pieces.size() && told_ == script_.pieces[at_].size()) {
      ++at_;
      told_ = 0;
    }
    return true;
  }
  void shut() noexcept override { at_ = script_.pieces.size(); }
  [[nodiscard]] std::string peer() const override { return "a script"; }

 private:
  Script& script_;
  std::size_t at_ = 0;
  std::size_t told_ = 0;
};

// What another store of the collection in `engine` says first, one without a history that holds
// nothing.
inline format::Hello hello_to(const engine::Engine& engine) {
  format::Hello hello = replica::hello_of(engine, engine.replica_state());
  hello.name = "c";
  hello.lineage = engine.origin().lineage;
  hello.self[0] ^= 1;
  hello.terms.clear();
  hello.sequences.assign(engine.shard_count(), 0);
  hello.replace.assign(engine.shard_count(), format::kWhole);
  return hello;
}

// The fuzzer's bytes, taken from the front; zeros when they are over.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}
  [[nodiscard]] bool over() const noexcept { return rest_.empty(); }
  std::uint8_t byte() noexcept {
    if (rest_.empty()) return 0;
    const std::uint8_t first = rest_[0];
    rest_ = rest_.sub(1);
    return first;
  }
  Bytes bytes(std::size_t count) noexcept {
    const Bytes taken = rest_.sub(0, std::min(count, rest_.size()));
    rest_ = rest_.sub(taken.size());
    return taken;
  }
  std::uint64_t number() noexcept {
    std::uint8_t all[8] = {};
    const Bytes taken = bytes(8);
    if (!taken.empty()) std::memcpy(all, taken.data(), taken.size());
    return base::load_little<std::uint64_t>(all);
  }
  // Most often `usual`; else near it, or anything.
  std::uint64_t near(std::uint64_t usual) noexcept {
    const std::uint8_t how = byte();
    if (how < 208) return usual;
    if (how < 232) return usual + how - 207;
    if (how < 248) return usual - (how - 231);
    return how < 252 ? number() : number() >> 1;
  }

 private:
  Bytes rest_;
};

inline std::vector<std::uint8_t> wire_entry(const format::Entry& entry) {
  std::vector<std::uint8_t> out(static_cast<std::size_t>(format::entry_bytes(
      entry.key.size(), entry.value.size(), (entry.flags & format::kExpiry) != 0)));
  format::encode_entry(entry, format::kWireSeed, out.data());
  return out;
}

// Terms as the fuzzer wants them, but such as a peer can say.
inline std::vector<format::Term> terms_of(Choices& choices, std::size_t shards) {
  std::vector<format::Term> terms(choices.byte() % 4);
  std::uint64_t number = 0;
  for (format::Term& term : terms) {
    number += 1 + choices.byte() % 3;
    term.number = number;
    term.id = choices.byte() % 4;
    for (std::size_t at = 0; at < shards; ++at) term.starts.push_back(choices.byte() % 64);
  }
  return terms;
}

}  // namespace armdb::test

#endif  // !ARMDB_OMIT_REPLICATION
