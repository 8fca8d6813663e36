// The hash table's readers beside its writer: all interleavings with few preemptions.
#include <cstdint>
#include <vector>

#include "index/hash_table_bucket.hpp"
#include "support/catch.hpp"
#include "support/index_program.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

namespace {

using armdb::index::hash_bucket_number;
using armdb::index::IndexConfig;
using armdb::index::kHashSlots;
using armdb::test::explore_all;
using armdb::test::IndexProgram;
using Work = IndexProgram::Work;
using Numbers = std::vector<std::uint64_t>;

IndexConfig table_config(std::uint32_t key_size) {
  IndexConfig config;
  config.key_size = key_size;
  config.value_size = 24;
  config.hash_seed = 5;
  config.step_bytes = 256;  // a few nodes: memory grows all the time
  return config;
}

// The first `count` keys from `first` on that a table of `buckets` buckets has in `bucket`; with
// `last_bit` those of them that the split of this bucket moves (1) or leaves (0).
Numbers keys_of(std::uint32_t buckets, std::uint32_t bucket, std::size_t count,
                std::uint64_t first = 0, int last_bit = -1) {
  const IndexProgram hasher(table_config(8), {}, {});
  Numbers numbers;
  for (std::uint64_t number = first; numbers.size() < count; ++number) {
    const std::uint64_t hash = hasher.hash_of(number);
    if (hash_bucket_number(hash, buckets) != bucket) continue;
    const bool moves = hash_bucket_number(hash, 2 * buckets) != bucket;
    if (last_bit < 0 || moves == (last_bit != 0)) numbers.push_back(number);
  }
  return numbers;
}

Numbers joined(std::vector<Numbers> parts) {
  Numbers all;
  for (const Numbers& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Work fill(Numbers numbers) {
  return [numbers = std::move(numbers)](IndexProgram& table) {
    for (const std::uint64_t number : numbers) table.put(number);
  };
}
Work find(Numbers numbers) {
  return [numbers = std::move(numbers)](IndexProgram& table) {
    for (const std::uint64_t number : numbers) table.find(number);
  };
}
Work find_many(Numbers numbers) {
  return [numbers = std::move(numbers)](IndexProgram& table) { table.find_many(numbers); };
}
void scan(IndexProgram& table) { table.scan(); }

void explore_table(unsigned preemptions, const Work& filled, const Work& writer,
                   const std::vector<Work>& readers, std::uint32_t key_size = 8) {
  for (const Work& reader : readers) {
    IndexProgram program(table_config(key_size), filled, {writer, reader});
    explore_all(program, 2, preemptions);
  }
}

// ---- What is explored, with how many preemptions ----

void update_in_place(unsigned preemptions) {
  const Work writer = [](IndexProgram& table) {
    table.put(2);
    table.relocate(2);
  };
  explore_table(preemptions, fill({1, 2, 3}), writer, {find({2, 2}), find_many({1, 2}), scan});
  explore_table(preemptions, fill({1, 2, 3}), writer, {find({2, 2})}, 21);  // kernel of any width
}

// The record of 2 becomes that of 5, in the same bucket.
void record_taken_again(unsigned preemptions) {
  const Work writer = [](IndexProgram& table) {
    table.erase(2);
    table.put(5);
  };
  explore_table(preemptions, fill({1, 2, 3}), writer,
                {find({2, 5}), find({3}), find_many({3, 2, 5}), scan});
  explore_table(preemptions, fill({1, 2, 3}), writer, {find({2, 5})}, 21);
}

// The record of a key in bucket 0 becomes that of one in bucket 1.
void record_moves_to_other_bucket(unsigned preemptions) {
  const Numbers zero = keys_of(2, 0, 5);
  const Numbers one = keys_of(2, 1, 6);
  const Work filled = fill(joined({zero, {one.begin(), one.begin() + 5}}));
  const Work writer = [zero, one](IndexProgram& table) {
    table.erase(zero[1]);
    table.put(one[5]);
  };
  explore_table(preemptions, filled, writer,
                {find({zero[1], one[5]}), find({zero[4]}), find_many({zero[1], one[5]}), scan});
}

// Bucket 0 of 3 has an overflow bucket with one entry. Erasing another moves that one, and frees
// its bucket, which bucket 1 then takes.
void overflow_taken_again(unsigned preemptions) {
  const Numbers zero = keys_of(4, 0, kHashSlots + 1);
  const Numbers one = keys_of(2, 1, kHashSlots + 1);
  const Work filled = fill(joined({zero, {one.begin(), one.begin() + kHashSlots}}));
  const Work writer = [zero, one](IndexProgram& table) {
    table.erase(zero[3]);
    table.put(one[kHashSlots]);
  };
  const std::uint64_t last = zero[kHashSlots];
  explore_table(
      preemptions, filled, writer,
      {find({last}), find({one[kHashSlots]}), find({zero[3]}), find_many({last, one[kHashSlots]})});
  explore_table(preemptions - 1, filled, writer, {scan});
}

// 16 entries in 2 buckets: one more splits bucket 0, which has an overflow bucket.
void split(unsigned preemptions) {
  const Numbers stay = keys_of(2, 0, 6, 0, 0);
  const Numbers move = keys_of(2, 0, 6, 0, 1);
  const Numbers other = keys_of(2, 1, 5);
  const Work filled = fill(joined({stay, move, {other.begin(), other.begin() + 4}}));
  const Work writer = [other](IndexProgram& table) { table.put(other[4]); };
  explore_table(preemptions, filled, writer,
                {find({move[0], stay[5]}), find({move[5]}), find_many({move[5], stay[0]})});
  // The key that is put is one of those that move: it is split off at once.
  const Numbers more = keys_of(2, 0, 7, 0, 1);
  const Work own = [more](IndexProgram& table) { table.put(more[6]); };
  explore_table(preemptions, filled, own, {find({more[6]})});
}

void scan_beside_split(unsigned preemptions) {
  const Numbers stay = keys_of(2, 0, 6, 0, 0);
  const Numbers move = keys_of(2, 0, 6, 0, 1);
  const Numbers other = keys_of(2, 1, 5);
  const Work filled = fill(joined({stay, move, {other.begin(), other.begin() + 4}}));
  explore_table(preemptions, filled, [other](IndexProgram& table) { table.put(other[4]); }, {scan});
}

// The split's moved key is erased, and its record taken by a key that stayed away.
void split_then_erase(unsigned preemptions) {
  const Numbers stay = keys_of(2, 0, 5, 0, 0);
  const Numbers move = keys_of(2, 0, 5, 0, 1);
  const Numbers other = keys_of(2, 1, 8);
  const Work filled = fill(joined({stay, move, {other.begin(), other.begin() + 6}}));
  const Work writer = [move, other](IndexProgram& table) {
    table.put(other[6]);
    table.erase(move[2]);
    table.put(other[7]);
  };
  explore_table(preemptions, filled, writer, {find({move[2]}), find({move[4]}), find({other[7]})});
}

void empty_table_grows(unsigned preemptions) {
  const Numbers numbers = keys_of(1, 0, 2);
  const Work writer = [numbers](IndexProgram& table) {
    table.expect(64);
    table.put(numbers[0]);
    table.put(numbers[1]);
  };
  explore_table(preemptions, fill({}), writer, {find(numbers), find_many(numbers), scan});
}

void two_readers(unsigned preemptions) {
  const Work writer = [](IndexProgram& table) {
    table.put(2);
    table.erase(2);
  };
  IndexProgram program(table_config(8), fill({1, 2, 3}), {writer, find({2}), find({2})});
  explore_all(program, 3, preemptions);
}

}  // namespace

TEST_CASE("hash_table interleaving: an entry that is updated in place is read whole") {
  update_in_place(2);
}
TEST_CASE("hash_table interleaving: a record that is erased and taken again") {
  record_taken_again(2);
}
TEST_CASE("hash_table interleaving: a record that goes to another bucket") {
  record_moves_to_other_bucket(2);
}
TEST_CASE("hash_table interleaving: an overflow bucket that goes to another chain") {
  overflow_taken_again(2);
}
TEST_CASE("hash_table interleaving: a bucket is split beside readers") { split(2); }
TEST_CASE("hash_table interleaving: a scan beside a split") { scan_beside_split(1); }
TEST_CASE("hash_table interleaving: a split, and then the moved record is taken again") {
  split_then_erase(2);
}
TEST_CASE("hash_table interleaving: an empty table makes itself large") { empty_table_grows(2); }
TEST_CASE("hash_table interleaving: two readers see the states of a key in one order") {
  two_readers(2);
}

TEST_CASE("hash_table interleaving: all of it, one preemption deeper", "[slow]") {
  update_in_place(3);
  record_taken_again(3);
  record_moves_to_other_bucket(3);
  overflow_taken_again(3);
  split(3);
  scan_beside_split(2);
  split_then_erase(3);
  empty_table_grows(3);
  two_readers(3);
}

#endif
