// What the leaders of a ReplicationSim do.
#include <algorithm>
#include <cstring>

#include "base/little.hpp"
#include "support/fixed_replication_oracle.hpp"
#include "support/replication_sim.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::test {

namespace {

using Key = ByteArray<4>;

Key key_of(std::size_t number) { return {'k', 'e', 'y', static_cast<std::uint8_t>(number)}; }

// Values say in which write they were written.
std::uint64_t number_in(Bytes value) { return base::load_little<std::uint64_t>(value.data()); }

}  // namespace

std::vector<std::uint8_t> ReplicationSim::value_of(std::uint64_t number) const {
  std::vector<std::uint8_t> value(shape_.value_size);
  for (std::size_t at = 0; at < value.size(); ++at) {
    value[at] = static_cast<std::uint8_t>(number * 31 + at);
  }
  base::store_little<std::uint64_t>(value.data(), number);
  return value;
}

std::size_t ReplicationSim::shard_of(const engine::Engine& engine, std::size_t key) const {
  const Key bytes = key_of(key);
  const std::uint64_t hash = engine.router().hash(bytes.data(), bytes.size());
  return engine.router().shard(bytes.data(), bytes.size(), hash);
}

// What its index has, expired or not. No call here lets anybody else go on.
SimContent ReplicationSim::content_of(Process& process, std::size_t shard) {
  SimContent content(kSimKeys);
  engine::Engine& engine = *process.engine;
  std::vector<std::uint8_t> value(shape_.value_size);
  const index::Index& index = engine.shard(static_cast<std::uint32_t>(shard)).index();
  for (std::size_t key = 0; key < kSimKeys; ++key) {
    const Key bytes = key_of(key);
    const std::uint64_t hash = engine.router().hash(bytes.data(), bytes.size());
    if (engine.router().shard(bytes.data(), bytes.size(), hash) != shard) continue;
    if (!index.find(bytes.data(), hash, nullptr, value.data())) continue;
    content[key] = number_in(Bytes(value));
    const bool looked_at = seen_++ % 16 == 0;
    if (looked_at && value != value_of(content[key])) fail("a value is not what was written");
  }
  return content;
}

void ReplicationSim::write_some(const ProcessPtr& process) {
  scheduler_.sleep_us(random_.below(2 * write_pause_us_));
  if (process->stopping) return;
  for (std::uint64_t left = 1 + random_.below(4); left != 0 && !process->stopping; --left) {
    write_once(process);
  }
  if (random_.one_in(8)) care_once(process);
  if (random_.one_in(10)) wait_for_followers(process);
}

void ReplicationSim::write_once(const ProcessPtr& process) {
  if (slots_ != nullptr) return slots_->write_key(process);
  switch (random_.below(6)) {
    case 0:
      return write_batch(process, false);
    case 1:
      return write_batch(process, true);
    default:
      return write_key(process);
  }
}

void ReplicationSim::write_key(const ProcessPtr& process) {
  engine::Engine& engine = *process->engine;
  const std::size_t key = random_.below(kSimKeys);
  const std::size_t shard = shard_of(engine, key);
  SimEntry* const tip = process->reign->tips[shard];
  const bool erase = tip->content[key] != 0 && random_.one_in(5);
  const std::uint64_t number = ++number_;
  std::vector<SimEntry*> after = process->reign->tips;
  after[shard] = model_.add(shard, tip, {{key, erase ? 0 : number}}, 0);
  const Key bytes = key_of(key);
  const std::vector<std::uint8_t> value = value_of(number);
  engine::WriteRequest request;
  request.key = Bytes(bytes);
  if (!erase) request.value = Bytes(value);
  request.erase = erase;
  // Far away: nothing ends while this runs.
  if (!erase && random_.one_in(6))
    request.expiry_ms = scheduler_.milliseconds_since_1970() + (1u << 30) + number;
  settle_write(process, after, engine.write(request, random_.one_in(8)));
}

void ReplicationSim::write_batch(const ProcessPtr& process, bool joint) {
  engine::Engine& engine = *process->engine;
  const std::uint64_t number = ++number_;
  const std::vector<std::uint8_t> value = value_of(number);
  std::vector<Key> keys;
  std::vector<engine::WriteRequest> requests;
  std::vector<std::vector<SimChange>> changes(shards_);
  const std::size_t home = shard_of(engine, random_.below(kSimKeys));
  for (std::size_t key = 0; key < kSimKeys; ++key) {
    const std::size_t shard = shard_of(engine, key);
    if ((!joint && shard != home) || !random_.one_in(4)) continue;
    const bool erase = process->reign->tips[shard]->content[key] != 0 && random_.one_in(6);
    keys.push_back(key_of(key));
    changes[shard].push_back({key, erase ? 0 : number});
    engine::WriteRequest& request = requests.emplace_back();
    if (!erase) request.value = Bytes(value);
    request.erase = erase;
  }
  for (std::size_t at = 0; at < keys.size(); ++at) requests[at].key = Bytes(keys[at]);
  std::vector<std::size_t> parts;
  for (std::size_t shard = 0; shard < shards_; ++shard) {
    if (!changes[shard].empty()) parts.push_back(shard);
  }
  if (parts.empty()) return;
  const std::uint64_t name = parts.size() > 1 ? number : 0;
  if (name != 0) model_.join(name, parts);
  std::vector<SimEntry*> after = process->reign->tips;
  for (const std::size_t shard : parts) {
    after[shard] = model_.add(shard, process->reign->tips[shard], changes[shard], name);
  }
  bool written = false;
  settle_write(process, after, engine.write_batch(requests, random_.one_in(8), written));
}

// What a write that succeeded says is there; of one that failed, all or nothing is.
void ReplicationSim::settle_write(const ProcessPtr& process, const std::vector<SimEntry*>& after,
                                  const Status& status) {
  if (process->dead || !failure_.empty()) return;
  std::size_t changed = 0;
  std::size_t done = 0;
  for (std::size_t shard = 0; shard < shards_; ++shard) {
    if (after[shard] == process->reign->tips[shard]) continue;
    changed += 1;
    const SimContent content = content_of(*process, shard);
    if (content == after[shard]->content) {
      done += 1;
    } else if (content != process->reign->tips[shard]->content) {
      return fail("a leader has what nobody wrote: " + describe(content));
    }
  }
  const bool whole = done == changed || (done == 0 && !status.ok());
  if (!whole) return fail("a write is there in part: " + status.message());
  if (done == 0) {
    // Its disk failed, or it is no leader any more.
    const bool excused = process->node.disk.fault_met() || process->engine->follower();
    if (!excused) fail("a leader refuses a write: " + status.message());
    return;
  }
  for (std::size_t shard = 0; shard < shards_; ++shard) {
    SimEntry* const entry = after[shard];
    if (entry == process->reign->tips[shard]) continue;
    entry->last = process->engine->shard(static_cast<std::uint32_t>(shard)).last_sequence();
    entry->counted = true;
    process->reign->tips[shard] = process->node.at[shard] = entry;
  }
}

void ReplicationSim::care_once(const ProcessPtr& process) {
  engine::Engine& engine = *process->engine;
  Status status;
  switch (random_.below(slots_ != nullptr ? 6 : 7)) {
    case 0:
      status = engine.sync();
      break;
    case 1:
      status = engine.tick();
      break;
    case 2:
      status = engine.compact();
      break;
    case 3:
      status = engine.checkpoint();
      break;
    case 4:
      status = engine.compact_step(20000).status();
      break;
    case 5:
      status = engine.flush();
      break;
    default:
      status = engine.shard(static_cast<std::uint32_t>(random_.below(shards_))).seal();
      break;
  }
  const bool excused =
      process->dead || process->node.disk.fault_met() || process->engine->follower();
  if (!status.ok() && !excused) fail("a leader fails: " + status.message());
  if (process->dead) return;
  if (slots_ != nullptr) return slots_->note_durable(*process);
  note_durable(*process);
}

bool ReplicationSim::confirm(Process& process) {
  counts_.confirmed += 1;
  const format::Term term = process.engine->replica_state().terms.back();
  for (const auto& [number, id] : confirmed_) {
    if (number != term.number || id == term.id) continue;
    fail("(6) two leaders of term " + std::to_string(number) + " have it confirmed");
    return false;
  }
  confirmed_.insert({term.number, term.id});
  return true;
}

void ReplicationSim::wait_for_followers(const ProcessPtr& process) {
  if (slots_ != nullptr) return slots_->wait_for_followers(process);
  const std::vector<SimEntry*> tips = process->reign->tips;
  const std::uint32_t count = 1 + static_cast<std::uint32_t>(random_.below(2));
  const Status status = process->source->wait_for(
      count, kNever, 100 + static_cast<std::uint32_t>(random_.below(200)));
  if (process->dead || !status.ok() || !failure_.empty()) return;
  if (!confirm(*process)) return;
  std::uint32_t have = 0;
  process->source->visit([&](const replica::Source::Follower& follower) {
    bool all = true;
    for (std::size_t shard = 0; shard < shards_; ++shard) {
      all = all && follower.acked[shard].second >= tips[shard]->last;
    }
    if (!all) return;
    have += 1;
    for (const auto& node : nodes_) {
      if (node->id != follower.id) continue;
      for (std::size_t shard = 0; shard < shards_; ++shard) {
        // Unless it follows somebody else by now.
        if (!HistoryModel::on_line(node->floor[shard], tips[shard])) continue;
        if (!HistoryModel::leads_to(tips[shard], node->floor[shard])) {
          return fail("(4) a leader counts what node " + std::to_string(node->number) +
                      " never acked in shard " + std::to_string(shard));
        }
        node->promised[shard] = tips[shard];
      }
    }
  });
  if (have < count) fail("(4) a leader counts followers that it does not have");
}

}  // namespace armdb::test

#endif
