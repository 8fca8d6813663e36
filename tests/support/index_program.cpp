#include "support/index_program.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/hash64.hpp"
#include "base/little.hpp"
#include "support/catch.hpp"
#include "support/scale.hpp"

namespace armdb::test {
namespace {

using base::Location;
using index::Block;
using index::Bound;
using index::Fresh;
using index::Lookup;
using index::Place;

constexpr std::size_t kValueBytesMax = 512;

}  // namespace

std::uint64_t IndexProgram::hash_of(std::uint64_t number) const {
  const Bytes key = key_of(number);
  return base::hash64(key.data(), key.size(), config_.hash_seed);
}

// The number comes first, so that keys order like it; what follows is filled from it.
IndexProgram::Bytes IndexProgram::key_of(std::uint64_t number) const {
  Bytes key(config_.key_size, static_cast<std::uint8_t>(number * 7 + 1));
  base::store_big<std::uint64_t>(key.data(), number);
  return key;
}

std::uint64_t IndexProgram::number_of(const std::uint8_t* key) {
  const auto number = base::load_big<std::uint64_t>(key);
  const Bytes whole = key_of(number);
  if (!std::equal(whole.begin(), whole.end(), key)) wrong("a scan copied a mixture of keys");
  return number;
}

void IndexProgram::make_value(std::uint64_t number, std::uint64_t state,
                              std::uint8_t* value) const {
  const std::uint64_t seed = number * 0x9e3779b97f4a7c15u + state * 0xd1b54a32d192ed03u;
  for (std::size_t at = 0; at < config_.value_size; ++at) {
    value[at] = static_cast<std::uint8_t>((seed >> (at % 8 * 8)) + at / 8);
  }
}

std::uint64_t IndexProgram::new_state() {
  bytes_of_.push_back(bytes_of_.size());
  return bytes_of_.size() - 1;
}

std::uint64_t IndexProgram::state_of(std::uint64_t number, Location at, const std::uint8_t* value) {
  const std::uint64_t state = at.packed();
  if (state == 0 || state >= bytes_of_.size()) {
    wrong("key " + std::to_string(number) + " has the location " + std::to_string(state));
    return 0;
  }
  std::uint8_t right[kValueBytesMax];
  make_value(number, bytes_of_[state], right);
  if (config_.value_size != 0 && std::memcmp(right, value, config_.value_size) != 0) {
    wrong("key " + std::to_string(number) + ": the value is not that of location " +
          std::to_string(state));
  }
  return state;
}

void IndexProgram::record(Act act, std::uint64_t number, std::uint64_t state, std::uint64_t begin,
                          std::uint64_t end) {
  Operation operation;
  operation.key = number;
  operation.act = act;
  operation.begin = begin;
  operation.end = end;
  (act == Act::get ? operation.saw : operation.wrote) = state;
  histories_[number].push_back(operation);
}

// ---- Writer ----

void IndexProgram::put(std::uint64_t number) {
  const Bytes key = key_of(number);
  std::uint8_t value[kValueBytesMax];
  const std::uint64_t state = new_state();
  make_value(number, state, value);
  const std::uint64_t begin = filling_ ? 0 : interleaved_now();
  Place place;
  index_->locate(key.data(), hash_of(number), place);
  if (!place.found && !index_->reserve()) std::abort();
  index_->publish(place, key.data(), config_.value_size != 0 ? value : nullptr, Location(state));
  if (filling_) {
    initial_[number] = state;
  } else {
    record(Act::put, number, state, begin, interleaved_now());
  }
}

// Ascending keys in one step, as a load has them; the first must not be there.
void IndexProgram::put_run(std::uint64_t first, std::size_t count, std::uint64_t stride) {
  std::vector<Bytes> keys;
  std::vector<Bytes> values;
  std::vector<Fresh> run;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t number = first + i * stride;
    keys.push_back(key_of(number));
    values.emplace_back(config_.value_size + 1);
    const std::uint64_t state = new_state();
    make_value(number, state, values.back().data());
    run.push_back({keys.back().data(), config_.value_size != 0 ? values.back().data() : nullptr,
                   Location(state)});
  }
  const std::uint64_t begin = interleaved_now();
  Place place;
  index_->locate(keys[0].data(), hash_of(first), place);
  if (place.found || !index_->reserve()) std::abort();
  const std::size_t length = index_->run_length(place, run);
  index_->publish_run(place, std::span(run).first(length));
  for (std::size_t i = 0; i < length; ++i) {
    record(Act::put, first + i * stride, run[i].at.packed(), begin, interleaved_now());
  }
}

void IndexProgram::erase(std::uint64_t number) {
  const Bytes key = key_of(number);
  const std::uint64_t begin = filling_ ? 0 : interleaved_now();
  Place place;
  index_->locate(key.data(), hash_of(number), place);
  if (!place.found) std::abort();  // the program is wrong
  index_->erase(place);
  if (filling_) {
    initial_.erase(number);
  } else {
    record(Act::erase, number, 0, begin, interleaved_now());
  }
}

void IndexProgram::relocate(std::uint64_t number) {
  const Bytes key = key_of(number);
  const std::uint64_t begin = interleaved_now();
  Place place;
  index_->locate(key.data(), hash_of(number), place);
  if (!place.found) std::abort();
  const std::uint64_t state = new_state();
  bytes_of_[state] = bytes_of_[place.at.packed()];
  index_->relocate(place, Location(state));
  record(Act::put, number, state, begin, interleaved_now());
}

// ---- Readers ----

void IndexProgram::find(std::uint64_t number) {
  const Bytes key = key_of(number);
  std::uint8_t value[kValueBytesMax];
  Location at;
  const std::uint64_t begin = interleaved_now();
  const bool found =
      index_->find(key.data(), hash_of(number), &at, config_.value_size != 0 ? value : nullptr);
  record(Act::get, number, found ? state_of(number, at, value) : 0, begin, interleaved_now());
}

void IndexProgram::find_many(const std::vector<std::uint64_t>& numbers) {
  std::vector<Bytes> keys;
  std::vector<Bytes> values(numbers.size(), Bytes(config_.value_size + 1));
  std::vector<Lookup> lookups(numbers.size());
  keys.reserve(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    keys.push_back(key_of(numbers[i]));
    lookups[i].key = keys[i].data();
    lookups[i].hash = hash_of(numbers[i]);
    lookups[i].value = config_.value_size != 0 ? values[i].data() : nullptr;
  }
  const std::uint64_t begin = interleaved_now();
  index_->find_many(lookups);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::uint64_t state =
        lookups[i].found ? state_of(numbers[i], lookups[i].at, values[i].data()) : 0;
    record(Act::get, numbers[i], state, begin, interleaved_now());
  }
}

void IndexProgram::scan(bool descending) {
  Scan scan;
  scan.begin = interleaved_now();
  Block block = index_->make_block();
  std::uint64_t cursor = 0;
  for (bool first = true;; first = false) {
    const std::uint64_t begin = interleaved_now();
    if (!config_.ordered) {
      cursor = index_->scan(cursor, block);
    } else if (first) {
      index_->read_from(nullptr, Bound::none, descending, block);
    } else {
      index_->read_next(descending, block);
    }
    const std::uint64_t end = interleaved_now();
    for (std::size_t i = 0; i < block.count(); ++i) {
      const std::uint64_t number = number_of(block.key(i));
      const std::uint64_t state = state_of(number, block.location(i), block.value(i));
      if (config_.ordered && !scan.entries.empty() &&
          (scan.entries.back().number < number) == descending) {
        wrong("a scan meets key " + std::to_string(number) + " out of order");
      }
      scan.entries.push_back({number, state, begin, end});
    }
    if (config_.ordered ? block.count() == 0 : cursor == 0) break;
  }
  scan.end = interleaved_now();
  scans_.push_back(std::move(scan));
}

// ---- The execution ----

void IndexProgram::set_up() {
  index_.reset();
  index_ = index::make_index(config_);
  interleaved_object(index_.get());
  bytes_of_.assign(1, 0);
  initial_.clear();
  histories_.clear();
  scans_.clear();
  fault_.clear();
  filling_ = true;
  fill_(*this);
  filling_ = false;
}

void IndexProgram::run(unsigned thread) { works_[thread](*this); }

// What nobody wrote is met once, as it was; what was written is met as its history allows.
void IndexProgram::look_at(const Scan& scan) {
  std::map<std::uint64_t, unsigned> times;
  for (const Seen& seen : scan.entries) {
    times[seen.number] += 1;
    const auto history = histories_.find(seen.number);
    if (history != histories_.end()) {
      record(Act::get, seen.number, seen.state, seen.begin, seen.end);
      continue;
    }
    const auto initial = initial_.find(seen.number);
    if (initial == initial_.end() || initial->second != seen.state || times[seen.number] != 1) {
      wrong("a scan meets key " + std::to_string(seen.number) + " twice, or wrongly");
    }
  }
  for (const auto& [number, state] : initial_) {
    if (times[number] == 0 && histories_.count(number) == 0) {
      wrong("a scan misses key " + std::to_string(number));
    }
  }
  // Else it met the key, or there was a moment at which the key was not there.
  for (const auto& [number, history] : histories_) {
    if (times[number] == 0) record(Act::get, number, 0, scan.begin, scan.end);
  }
}

std::string IndexProgram::check() {
  for (const Scan& scan : scans_) look_at(scan);
  for (const auto& [number, history] : histories_) {
    if (!fault_.empty()) break;
    const auto initial = initial_.find(number);
    const std::string fault =
        check_register(history, initial == initial_.end() ? 0 : initial->second);
    if (!fault.empty()) wrong("key " + std::to_string(number) + ": " + fault);
  }
  return fault_;
}

void explore_all(Interleaved& program, unsigned threads, unsigned preemptions_max) {
  if (const char* const schedule = std::getenv("ARMDB_SCHEDULE"); schedule != nullptr) {
    const std::string fault = replay(program, threads, schedule);
    INFO(fault);
    REQUIRE(fault.empty());
    return;
  }
  // Under a sanitizer each schedule is slow, and shows nothing new: the baton orders all.
  const bool whole = scaled(1000) >= 1000;
  const std::size_t most = whole ? 3000000 : scaled(5000, 200);
  const Explored explored = explore(program, {threads, preemptions_max, most});
  INFO(explored.fault << "\nARMDB_SCHEDULE=\"" << explored.schedule << '"');
  REQUIRE(explored.fault.empty());
  if (std::getenv("ARMDB_SHOW_SCHEDULES") != nullptr) {
    WARN(explored.schedules << " schedules, " << explored.points << " points");
  }
  CHECK(explored.points != 0);
  CHECK((explored.complete || !whole));
}

}  // namespace armdb::test

#endif
