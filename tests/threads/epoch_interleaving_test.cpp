// Guards beside a writer that retires and collects: all interleavings with few preemptions.
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/epoch.hpp"
#include "base/shared_bytes.hpp"
#include "support/catch.hpp"
#include "support/index_program.hpp"
#include "support/interleaving.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

namespace {

using armdb::base::EpochDomain;
using armdb::base::load_relaxed;
using armdb::base::store_relaxed;
using namespace armdb::test;

// What a guard protects: alive until it is reclaimed.
struct Object {
  std::uint64_t alive;
  static void reclaim(void* object) {
    store_relaxed(&static_cast<Object*>(object)->alive, std::uint64_t{0});
  }
};

// One writer replaces the current object again and again; readers look at it under guards.
class Replacing final : public Interleaved {
 public:
  // `held`: guards that the program itself holds, until the writer begins.
  Replacing(unsigned replacements, bool nested, std::size_t held)
      : replacements_(replacements), nested_(nested), held_(held) {}

  void set_up() override {
    guards_.clear();
    if (domain_ != nullptr) domain_->~EpochDomain();
    const auto pages = interleaved_pages();
    domain_ = new (pages.allocate(sizeof(EpochDomain), 0)) EpochDomain();
    objects_ = static_cast<Object*>(pages.allocate((replacements_ + 1) * sizeof(Object), 0));
    current_ = static_cast<std::uint64_t*>(pages.allocate(sizeof(std::uint64_t), 0));
    for (unsigned at = 0; at <= replacements_; ++at) objects_[at].alive = 1;
    for (std::size_t i = 0; i < held_; ++i) {
      guards_.push_back(std::make_unique<EpochDomain::Guard>(*domain_));
    }
    fault_.clear();
  }

  void run(unsigned thread) override {
    if (thread == 0) {
      write();
    } else {
      read();
    }
  }

  std::string check() override {
    domain_->collect();
    if (fault_.empty() && domain_->pending() != 0) fault_ = "an object is never reclaimed";
    return fault_;
  }

  ~Replacing() override {
    if (domain_ != nullptr) domain_->~EpochDomain();
  }

 private:
  void write() {
    guards_.clear();
    for (unsigned at = 1; at <= replacements_; ++at) {
      store_relaxed(current_, std::uint64_t{at});
      domain_->retire(&objects_[at - 1], Object::reclaim);
      domain_->collect();
    }
  }

  void look() {
    const std::uint64_t at = load_relaxed(current_);
    for (int i = 0; i < 2; ++i) {
      if (load_relaxed(&objects_[at].alive) == 0) fault_ = "reclaimed under a guard";
    }
  }

  void read() {
    {
      const EpochDomain::Guard guard(*domain_);
      look();
      if (nested_) {
        const EpochDomain::Guard inner(*domain_);
        look();
      }
      look();
    }
    const EpochDomain::Guard guard(*domain_);
    look();
  }

  const unsigned replacements_;
  const bool nested_;
  const std::size_t held_;
  EpochDomain* domain_ = nullptr;
  Object* objects_ = nullptr;
  std::uint64_t* current_ = nullptr;
  std::vector<std::unique_ptr<EpochDomain::Guard>> guards_;
  std::string fault_;
};

}  // namespace

TEST_CASE("epoch interleaving: nothing is reclaimed under a guard") {
  Replacing program(2, false, 0);
  explore_all(program, 2, 3);
}

TEST_CASE("epoch interleaving: nested guards, and two readers") {
  Replacing nested(1, true, 0);
  explore_all(nested, 2, 3);
  Replacing two(1, false, 0);
  explore_all(two, 3, 2);
}

// All slots are taken when the reader comes, or will be free in a moment.
TEST_CASE("epoch interleaving: guards that find no slot") {
  Replacing program(1, false, 64);
  explore_all(program, 2, 1);
}

TEST_CASE("epoch interleaving: all of it, one preemption deeper", "[slow]") {
  Replacing three(3, false, 0);
  explore_all(three, 2, 4);
  Replacing nested(2, true, 0);
  explore_all(nested, 3, 2);
  Replacing crowded(1, false, 64);
  explore_all(crowded, 2, 2);
}

#endif
