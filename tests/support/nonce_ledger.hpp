// NonceLedger: notes each (key, nonce) that seals while it lives, and which of them came twice.
#pragma once

#include <cstddef>
#include <mutex>
#include <set>
#include <string>

#include "crypto/aead.hpp"

namespace armdb::test {

#if ARMDB_WITH_OPENSSL

// One at a time.
//
// Threads: any may seal while it lives.
class NonceLedger {
 public:
  NonceLedger() {
    const std::lock_guard lock(books().mutex);
    books().pairs.clear();
    books().seals = books().repeats = 0;
    crypto::seal_observer.store(&note);
  }
  ~NonceLedger() { crypto::seal_observer.store(nullptr); }
  NonceLedger(const NonceLedger&) = delete;
  NonceLedger& operator=(const NonceLedger&) = delete;

  [[nodiscard]] std::size_t seals() const { return count(books().seals); }
  [[nodiscard]] std::size_t repeats() const { return count(books().repeats); }

 private:
  struct Books {
    std::mutex mutex;
    std::set<std::string> pairs;
    std::size_t seals = 0;
    std::size_t repeats = 0;
  };
  static Books& books() {
    static Books all;
    return all;
  }
  static std::size_t count(const std::size_t& number) {
    const std::lock_guard lock(books().mutex);
    return number;
  }
  static void note(const crypto::Key& key, Bytes nonce) {
    std::string pair(key.bytes().text());
    pair += nonce.text();
    const std::lock_guard lock(books().mutex);
    books().seals += 1;
    books().repeats += books().pairs.insert(pair).second ? 0 : 1;
  }
};

#endif

}  // namespace armdb::test
