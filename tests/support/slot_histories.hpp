// SlotHistories: all that any leader of a simulation ever wrote to a Fixed store, as a tree for
// each key.
//
// Keys do not depend on each other there, so each has its own. A write is a child of what its
// leader had of that key; two leaders that write at the same time, and one that lost writes in a
// power cut and goes on, make branches. A value tells in which write it was written; an erased key
// looks like any other one, so what is looked for is always on the way from one state to another.
//
// Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace armdb::test {

struct SlotState {
  SlotState* parent = nullptr;
  std::size_t depth = 0;
  std::size_t key = 0;
  std::uint64_t number = 0;  // of the write that the value is from; 0: it is not there
  std::uint64_t expiry_ms = 0;
  std::uint64_t version = 0;  // in the numbers of the leader that wrote it
  bool durable = false;       // its leader had it on disk, or a later one
};

class SlotHistories {
 public:
  explicit SlotHistories(std::size_t keys) {
    for (std::size_t key = 0; key < keys; ++key) {
      all_.push_back(std::make_unique<SlotState>());
      all_.back()->key = key;
      all_.back()->durable = true;
      roots_.push_back(all_.back().get());
    }
  }

  [[nodiscard]] SlotState* root(std::size_t key) const { return roots_[key]; }
  SlotState* add(SlotState* parent, std::uint64_t number, std::uint64_t expiry_ms) {
    all_.push_back(std::make_unique<SlotState>(
        SlotState{parent, parent->depth + 1, parent->key, number, expiry_ms}));
    return all_.back().get();
  }

  // `above` is below or at `state`: nothing of it was taken back.
  [[nodiscard]] static bool leads_to(const SlotState* above, const SlotState* state) {
    while (state->depth > above->depth) state = state->parent;
    return state == above;
  }
  // Where two states parted.
  [[nodiscard]] static SlotState* fork(SlotState* a, SlotState* b) {
    while (a->depth > b->depth) a = a->parent;
    while (b->depth > a->depth) b = b->parent;
    for (; a != b; a = a->parent) b = b->parent;
    return a;
  }
  // Of the states from `above` to `state` the first one that looks like that, a durable one if
  // there is one; null: there is none, or the one does not lead to the other.
  [[nodiscard]] static SlotState* first_like(const SlotState* above, SlotState* state,
                                             std::uint64_t number) {
    SlotState* found = nullptr;
    SlotState* durable = nullptr;
    const auto see = [&](SlotState* one) {
      if (one->number != number) return;
      found = one;
      if (one->durable) durable = one;
    };
    for (; state->depth > above->depth; state = state->parent) see(state);
    if (state != above) return nullptr;
    see(state);
    return durable != nullptr ? durable : found;
  }

 private:
  std::vector<std::unique_ptr<SlotState>> all_;
  std::vector<SlotState*> roots_;
};

}  // namespace armdb::test
