// The B+-tree's readers beside its writer: all interleavings with few preemptions.
#include <cstdint>
#include <vector>

#include "index/btree_node.hpp"
#include "support/catch.hpp"
#include "support/index_program.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

namespace {

using armdb::index::BtreeShape;
using armdb::index::IndexConfig;
using armdb::test::explore_all;
using armdb::test::IndexProgram;
using Work = IndexProgram::Work;

// Values are large, so that leaves are small: 18 entries.
constexpr std::uint32_t kValueBytes = 200;
// With keys this long an inner node has 15 separators, and a leaf 16 entries.
constexpr std::uint32_t kLongKeyBytes = 264;

IndexConfig tree_config(std::uint32_t key_size, std::uint32_t value_size) {
  IndexConfig config;
  config.key_size = key_size;
  config.value_size = value_size;
  config.ordered = true;
  config.step_bytes = 4096;  // two nodes: memory grows all the time
  return config;
}

// Keys 0, 10, 20, ...: sorted input fills the leaves.
Work fill(std::size_t count) {
  return [count](IndexProgram& tree) {
    for (std::size_t i = 0; i < count; ++i) tree.put(i * 10);
  };
}

// Entries per leaf, and the key that is the i-th of leaf `leaf` after fill().
const std::uint64_t kLeaf = BtreeShape::of(8, kValueBytes).leaf_capacity;
std::uint64_t key_in(std::uint64_t leaf, std::uint64_t i) { return (leaf * kLeaf + i) * 10; }

// Leaves 0 and 1, such that the next erase in one of them merges both; then `full` full ones.
Work fill_thin(std::size_t full) {
  return [full](IndexProgram& tree) {
    fill((2 + full) * kLeaf)(tree);
    for (std::uint64_t i = kLeaf * 3 / 8 + 1; i < kLeaf; ++i) tree.erase(key_in(0, i));
    for (std::uint64_t i = kLeaf * 3 / 8 + 1; i < kLeaf; ++i) tree.erase(key_in(1, kLeaf - 1 - i));
  };
}

void explore_tree(unsigned preemptions, const Work& filled, const Work& writer,
                  const Work& reader) {
  IndexProgram program(tree_config(8, kValueBytes), filled, {writer, reader});
  explore_all(program, 2, preemptions);
}

void explore_high_tree(unsigned preemptions, const Work& filled, const Work& writer,
                       const Work& reader) {
  IndexProgram program(tree_config(kLongKeyBytes, 0), filled, {writer, reader});
  explore_all(program, 2, preemptions);
}

Work find(std::vector<std::uint64_t> numbers) {
  return [numbers = std::move(numbers)](IndexProgram& tree) {
    for (const std::uint64_t number : numbers) tree.find(number);
  };
}
Work find_many(std::vector<std::uint64_t> numbers) {
  return [numbers = std::move(numbers)](IndexProgram& tree) { tree.find_many(numbers); };
}

// ---- What is explored, with how many preemptions ----

void update_in_place(unsigned preemptions) {
  const Work writer = [](IndexProgram& tree) {
    tree.put(20);
    tree.relocate(20);
  };
  explore_tree(preemptions, fill(5), writer, find({20, 20}));
  explore_tree(preemptions, fill(5), writer, find_many({10, 20}));
}

void slot_taken_again(unsigned preemptions) {
  const Work writer = [](IndexProgram& tree) {
    tree.erase(20);
    tree.put(21);
  };
  explore_tree(preemptions, fill(5), writer, find({20, 21}));
  explore_tree(preemptions, fill(5), writer, find({40}));
}

void split(unsigned preemptions) {
  const std::uint64_t fresh = key_in(0, kLeaf / 2) + 5;
  const Work writer = [fresh](IndexProgram& tree) { tree.put(fresh); };
  explore_tree(preemptions, fill(kLeaf), writer, find({key_in(0, kLeaf - 1), key_in(0, 1)}));
  explore_tree(preemptions, fill(kLeaf), writer, find({fresh}));
  explore_tree(preemptions, fill(kLeaf), writer, find_many({0, key_in(0, kLeaf - 1)}));
}

// Two full leaves, but for every other entry in the first half of one.
Work fill_with_room(std::uint64_t leaf) {
  return [leaf](IndexProgram& tree) {
    fill(2 * kLeaf)(tree);
    for (std::uint64_t i = 0; i < kLeaf / 2; ++i) tree.erase(key_in(leaf, 2 * i));
  };
}

void shift_right(unsigned preemptions) {
  const Work writer = [](IndexProgram& tree) { tree.put(5); };
  explore_tree(preemptions, fill_with_room(1), writer, find({key_in(0, kLeaf - 1), key_in(1, 1)}));
}
void shift_left(unsigned preemptions) {
  const Work writer = [](IndexProgram& tree) { tree.put(key_in(1, 3) + 5); };
  explore_tree(preemptions, fill_with_room(0), writer, find({key_in(1, 0), key_in(1, kLeaf - 1)}));
}

void merge(unsigned preemptions) {
  const Work writer = [](IndexProgram& tree) { tree.erase(key_in(0, 1)); };
  explore_tree(preemptions, fill_thin(0), writer, find({key_in(1, kLeaf - 1), key_in(0, 2)}));
  explore_tree(preemptions, fill_thin(0), writer, find_many({key_in(1, kLeaf - 1), key_in(0, 1)}));
}

// The merge frees leaf 1; the split takes it for the end of leaf 3.
const Work kReuse = [](IndexProgram& tree) {
  tree.erase(key_in(0, 1));
  tree.put(key_in(3, 9) + 5);
};

void leaf_taken_again(unsigned preemptions) {
  explore_tree(preemptions, fill_thin(2), kReuse, find({key_in(1, kLeaf - 1)}));
  explore_tree(preemptions, fill_thin(2), kReuse, find({key_in(3, kLeaf - 1)}));
}

void scans(unsigned preemptions) {
  for (const bool descending : {false, true}) {
    const Work reader = [descending](IndexProgram& tree) { tree.scan(descending); };
    for (const std::uint64_t leaf : {0u, 1u}) {
      const Work splits = [leaf](IndexProgram& tree) { tree.put(key_in(leaf, 9) + 5); };
      explore_tree(preemptions, fill(2 * kLeaf), splits, reader);
      const Work shifts = [leaf](IndexProgram& tree) { tree.put(key_in(1 - leaf, 5) + 5); };
      explore_tree(preemptions, fill_with_room(leaf), shifts, reader);
      const Work merges = [leaf](IndexProgram& tree) { tree.erase(key_in(leaf, leaf * 17)); };
      explore_tree(preemptions, fill_thin(1), merges, reader);
    }
    explore_tree(preemptions, fill_thin(2), kReuse, reader);
  }
}

void run_of_entries(unsigned preemptions) {
  const Work writer = [](IndexProgram& tree) { tree.put_run(key_in(0, 9) + 1, 4, 1); };
  explore_tree(preemptions, fill(kLeaf), writer, find({key_in(0, 9) + 1, key_in(0, 9) + 4}));
  explore_tree(preemptions, fill(kLeaf), writer, [](IndexProgram& tree) { tree.scan(); });
}

constexpr std::uint64_t kHighLeaf = 16;
constexpr std::uint64_t kFullRoot = 16 * kHighLeaf;  // what one root holds with full leaves
std::uint64_t high_key(std::uint64_t leaf, std::uint64_t i) { return (leaf * kHighLeaf + i) * 10; }

void push_and_pull(unsigned preemptions) {
  const Work up = [](IndexProgram& tree) { tree.put(kFullRoot * 10); };
  explore_high_tree(preemptions, fill(kFullRoot), up, find({kFullRoot * 10 - 10, 0}));
  explore_high_tree(preemptions, fill(kFullRoot), up, find({kFullRoot * 10}));
  const Work down = [](IndexProgram& tree) { tree.erase(kFullRoot * 10); };
  explore_high_tree(preemptions, fill(kFullRoot + 1), down, find({kFullRoot * 10 - 10, 0}));
  explore_high_tree(preemptions, fill(kFullRoot + 1), down, find({kFullRoot * 10}));
}

void inner_taken_again(unsigned preemptions) {
  const Work writer = [](IndexProgram& tree) {
    tree.erase(kFullRoot * 10);
    tree.put(kFullRoot * 10 + 5);
  };
  explore_high_tree(preemptions, fill(kFullRoot + 1), writer, find({kFullRoot * 10 - 10}));
  explore_high_tree(preemptions, fill(kFullRoot + 1), writer, find({kFullRoot * 10 + 5}));
}

// The root has an inner node with 15 children and another one with 2; the split of leaf 3 fills the
// first, and that of leaf 8 parts it in the middle.
void inner_split(unsigned preemptions) {
  const Work filled = [](IndexProgram& tree) {
    fill(kFullRoot + 1)(tree);
    tree.put(high_key(3, 8) + 5);
  };
  const Work writer = [](IndexProgram& tree) { tree.put(high_key(8, 8) + 5); };
  explore_high_tree(preemptions, filled, writer, find({high_key(12, 3), high_key(8, 15)}));
  explore_high_tree(preemptions, filled, writer, find({high_key(8, 8) + 5, high_key(2, 0)}));
}

// Three inner nodes; the last has two leaves. When its last leaf goes it is merged into the second,
// which has room since leaf 20 went; then its other leaf is split.
void inner_merge(unsigned preemptions) {
  constexpr std::uint64_t kLast = 31;  // leaf
  const Work filled = [](IndexProgram& tree) {
    fill(kLast * kHighLeaf + 1)(tree);
    for (std::uint64_t i = 0; i < kHighLeaf; ++i) tree.erase(high_key(20, i));
  };
  const Work writer = [](IndexProgram& tree) {
    tree.erase(high_key(kLast, 0));
    tree.put(high_key(kLast - 1, 8) + 5);
  };
  explore_high_tree(preemptions, filled, writer, find({high_key(kLast - 1, 15)}));
  explore_high_tree(preemptions, filled, writer, find({high_key(25, 0), high_key(kLast, 0)}));
}

void two_readers(unsigned preemptions) {
  IndexProgram updates(tree_config(8, 8), fill(3),
                       {[](IndexProgram& tree) { tree.put(20); }, find({20}), find({20})});
  explore_all(updates, 3, preemptions);
  const std::uint64_t fresh = key_in(0, kLeaf / 2) + 5;
  IndexProgram splits(
      tree_config(8, kValueBytes), fill(kLeaf),
      {[fresh](IndexProgram& tree) { tree.put(fresh); }, find({fresh}), find({fresh})});
  explore_all(splits, 3, preemptions - 1);
}

}  // namespace

TEST_CASE("btree interleaving: an entry that is updated in place is read whole") {
  update_in_place(2);
}
TEST_CASE("btree interleaving: a slot that is erased and taken again") { slot_taken_again(2); }
TEST_CASE("btree interleaving: a leaf is split beside readers") { split(2); }
TEST_CASE("btree interleaving: entries move to a sibling beside readers") {
  shift_right(2);
  shift_left(1);
}
TEST_CASE("btree interleaving: two leaves merge beside readers") { merge(2); }
TEST_CASE("btree interleaving: a leaf is freed, and begins another life elsewhere") {
  leaf_taken_again(1);
}
TEST_CASE("btree interleaving: a scan beside a split, a shift, a merge and a leaf's new life") {
  scans(1);
}
TEST_CASE("btree interleaving: a run of entries is seen entry by entry, each whole") {
  run_of_entries(1);
}
TEST_CASE("btree interleaving: the root is pushed down and pulled up beside readers") {
  push_and_pull(1);
}
TEST_CASE("btree interleaving: inner nodes are freed and taken again") { inner_taken_again(1); }
TEST_CASE("btree interleaving: inner nodes split and merge beside readers") {
  inner_split(1);
  inner_merge(1);
}
TEST_CASE("btree interleaving: two readers see the states of a key in one order") {
  two_readers(2);
}

TEST_CASE("btree interleaving: all of it, one preemption deeper", "[slow]") {
  update_in_place(3);
  slot_taken_again(3);
  shift_left(2);
  leaf_taken_again(2);
  scans(2);
  run_of_entries(2);
  push_and_pull(2);
  inner_taken_again(2);
  inner_split(2);
  inner_merge(2);
  two_readers(3);
}

#endif
