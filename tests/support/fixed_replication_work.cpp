// What the leaders of a ReplicationSim on the Fixed store do.
#include <algorithm>

#include "support/fixed_replication_oracle.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::test {

namespace {

template <class T> T one_of(base::Random& random, std::initializer_list<T> values) {
  return values.begin()[random.below(values.size())];
}

}  // namespace

FixedReplicationOracle::FixedReplicationOracle(ReplicationSim& sim) : sim_(sim) {}

// With long keys few changes fit into the memory that is kept for them, and a copy is in pieces.
void FixedReplicationOracle::choose_options(FixedConfig& config, Shape& shape) {
  base::Random& random = sim_.random_;
  key_size_ = one_of<std::size_t>(random, {4, 1000, 1000});
  const std::size_t count = one_of<std::size_t>(random, {12, 20, 120});
  shape.fixed = true;
  shape.key_size = static_cast<std::uint32_t>(key_size_);
  shape.value_size = one_of<std::uint32_t>(random, {16, 40, 150, 300});
  config.single_copy = single_copy_ = key_size_ < 100 && random.one_in(4);
  config.grow_step = one_of<std::uint64_t>(random, {1, 16 << 10, 0});
  config.enable_fsync = random.one_in(6);
  config.sync_batch_size = static_cast<std::uint32_t>(1 + random.below(8));
  const bool mapped = random.one_in(2);
  for (const auto& node : sim_.nodes_) {
    node->disk.set_mappable(mapped);
    node->disk.set_whole_sectors(single_copy_);
  }
  fills_ = random.one_in(2);
  told_at_once_ = one_of<std::size_t>(random, {1 << 20, 1});
  for (std::size_t number = 0; number < count; ++number) {
    Key bytes(key_size_, 'k');
    bytes[key_size_ - 1] = static_cast<std::uint8_t>(number);
    bytes[random.below(key_size_ - 1)] = static_cast<std::uint8_t>(random.next());
    keys_.push_back(std::move(bytes));
  }
  histories_ = std::make_unique<SlotHistories>(count);
  by_number_.resize(1);
  for (Node& node : nodes_) {
    for (std::size_t key = 0; key < count; ++key) node.at.push_back(histories_->root(key));
    node.floor = node.promised = node.at;
    node.maybe.resize(count);
    node.taken.resize(count);
    node.copied_from.resize(sim_.shards_);
    node.greeting.resize(sim_.shards_);
  }
}

// ---- Reigns ----

void FixedReplicationOracle::begin_reign(Process& process) {
  learn_shards(process);
  Node& node = of(process);
  const bool first = sim_.number_ == 0;
  settle_promotion(process);
  const auto reign = std::make_shared<Reign>();
  reign->numbers = node.numbers;
  reign->tips = node.at;
  process.reign->slots = reign;
  if (!first || !fills_) return;
  const ReplicationSim::ProcessPtr self = sim_.processes_[process.node.number];
  for (std::size_t key = 0; key < keys_.size() && !process.dead; ++key) {
    write(self, key, false, false);
  }
}

// A promotion that a crash may have come behind: whatever it was, its numbers tell.
void FixedReplicationOracle::settle_promotion(Process& process) {
  Node& node = of(process);
  std::vector<store::Cursor> begin;
  for (std::uint32_t shard = 0; shard < sim_.shards_; ++shard) {
    begin.push_back(process.engine->cursor(shard));
  }
  bool same = node.numbers != nullptr;
  for (std::size_t shard = 0; same && shard < begin.size(); ++shard) {
    same = begin[shard].own_from == node.numbers->begin[shard].own_from;
  }
  if (same) return;
  for (std::size_t key = 0; key < keys_.size() && node.talked != nullptr; ++key) {
    SlotState*& at = node.at[key];
    if (at->number != 0) continue;
    SlotState* const end = tip(*node.talked, key);
    if (!SlotHistories::leads_to(at, end)) continue;
    SlotState* last = end;
    for (; last != at; last = last->parent) {
      const bool may_be = !SlotHistories::leads_to(node.talked->numbers->base[key], last) ||
                          last->version <= begin[shard_of(key)].reached;
      if (last->number == 0 && last->durable && may_be) break;
    }
    at = last;
  }
  for (SlotState* const state : node.at) state->durable = true;  // here, if nowhere else
  node.numbers = std::make_shared<Numbers>(Numbers{std::move(begin), node.at});
  node.talked = nullptr;
  settle_floor(node);
  for (std::size_t key = 0; key < keys_.size(); ++key) {
    if (SlotHistories::leads_to(node.promised[key], node.at[key])) continue;
    return sim_.fail("(4) node " + std::to_string(process.node.number) +
                     " leads without what it had confirmed: write " +
                     std::to_string(node.promised[key]->number) + describe(node, key));
  }
}

void FixedReplicationOracle::begin_serving(Process& process) {
  if (process.dead) return;
  settle_promotion(process);  // of a lost db.cursor
  process.reign->slots->numbers = of(process).numbers;
}

void FixedReplicationOracle::closed(std::size_t node) { settle_floor(nodes_[node]); }

// Nothing that was written after the position of the new follower may be there.
void FixedReplicationOracle::step_down(const ReplicationSim::ProcessPtr& process) {
  engine::Engine& engine = *process->engine;
  const std::size_t busy = process->threads;
  const auto over = [&] {
    return process->dead || engine.follower() || !sim_.failure_.empty() || process->idle;
  };
  sim_.spawn(process, "late writer ", [&] {
    for (int left = 100; left != 0 && !over(); --left) write_key(process);
  });
  sim_.spawn(process, "late syncer ", [&] {
    for (int left = 100; left != 0 && !over(); --left) {
      static_cast<void>(engine.sync());
      sim_.scheduler_.sleep_us(sim_.random_.below(20));
    }
  });
  sim_.scheduler_.sleep_us(sim_.random_.below(300));
  store::ReplicaState state = engine.replica_state();
  state.follower = true;
  static_cast<void>(engine.save_replica_state(std::move(state)));
  while (process->threads != busy) sim_.scheduler_.sleep_us(50);
}

// ---- Writes ----

void FixedReplicationOracle::write_key(const ReplicationSim::ProcessPtr& process) {
  base::Random& random = sim_.random_;
  // Some keys are written more often than others, and some hardly ever.
  std::size_t key = random.below(keys_.size());
  if (random.one_in(2)) key %= 5;
  const bool erase = process->reign->slots->tips[key]->number != 0 && random.one_in(4);
  write(process, key, erase, random.one_in(8));
}

void FixedReplicationOracle::write(const ReplicationSim::ProcessPtr& process, std::size_t key,
                                   bool erase, bool sync) {
  engine::Engine& engine = *process->engine;
  Node& node = of(*process);
  const ReignPtr reign = process->reign->slots;
  const std::uint64_t number = ++sim_.number_;
  std::uint64_t expiry_ms = 0;
  // Far away: nothing ends while this runs.
  if (!erase && sim_.random_.one_in(6)) {
    expiry_ms = sim_.scheduler_.milliseconds_since_1970() + (1u << 30) + number;
  }
  const std::uint64_t before =
      engine.shard(static_cast<std::uint32_t>(shard_of(key))).last_sequence();
  if (process->dead || process->engine->follower()) return;
  SlotState* const state = histories_->add(reign->tips[key], erase ? 0 : number, expiry_ms);
  by_number_.resize(static_cast<std::size_t>(number) + 1);
  by_number_[static_cast<std::size_t>(number)] = state;
  state->version = before + 1;
  reign->pending = state;
  node.maybe[key].push_back(state);
  const std::vector<std::uint8_t> value = sim_.value_of(number);
  engine::WriteRequest request;
  request.key = this->key(key);
  if (!erase) request.value = Bytes(value);
  request.erase = erase;
  request.expiry_ms = expiry_ms;
  settle(process, engine.write(request, sync));
}

// A write that succeeded is there; of one that failed a recovery may find it.
void FixedReplicationOracle::settle(const ReplicationSim::ProcessPtr& process,
                                    const Status& status) {
  if (process->dead || !sim_.failure_.empty()) return;
  Node& node = of(*process);
  Reign& reign = *process->reign->slots;
  SlotState* const state = reign.pending;
  engine::Shard& shard = process->engine->shard(static_cast<std::uint32_t>(shard_of(state->key)));
  const std::uint64_t last = shard.last_sequence();
  const Look shown = look(*process);
  const std::uint64_t number = shown[state->key];
  for (std::size_t key = 0; key < keys_.size(); ++key) {
    if (key == state->key || shown[key] == reign.tips[key]->number) continue;
    return sim_.fail("a leader has what nobody wrote" + describe(node, key));
  }
  if (number == state->number) {
    state->version = std::max(state->version, last);
    reign.tips[state->key] = node.at[state->key] = state;
    reign.fresh.push_back(state);
    reign.pending = nullptr;
    node.maybe[state->key].clear();
    return;
  }
  if (number != reign.tips[state->key]->number) {
    return sim_.fail("a leader has what nobody wrote" + describe(node, state->key));
  }
  reign.pending = nullptr;
  // Its disk failed, or it is no leader any more.
  const bool excused = process->node.disk.fault_met() || process->engine->follower();
  if (status.ok() || !excused) sim_.fail("a leader does not write: " + status.message());
}

// What of a leader's writes is on its disk now, that of one under way included.
void FixedReplicationOracle::note_durable(Process& process) {
  Node& node = of(process);
  if (process.engine == nullptr || process.reign == nullptr) return;
  Reign& reign = *process.reign->slots;
  const auto durable = [&](SlotState* state) {
    const auto shard = static_cast<std::uint32_t>(shard_of(state->key));
    if (process.engine->shard(shard).durable_sequence() < state->version) return false;
    SlotState*& floor = node.floor[state->key];
    if (SlotHistories::leads_to(floor, state)) floor = state;
    state->durable = true;
    return true;
  };
  std::erase_if(reign.fresh, durable);
  if (reign.pending != nullptr) durable(reign.pending);
}

void FixedReplicationOracle::wait_for_followers(const ReplicationSim::ProcessPtr& process) {
  const ReignPtr reign = process->reign->slots;
  const std::vector<SlotState*> tips = reign->tips;
  std::vector<std::uint64_t> lasts;
  for (std::uint32_t shard = 0; shard < sim_.shards_; ++shard) {
    lasts.push_back(process->engine->shard(shard).last_sequence());
  }
  const std::uint32_t count = 1 + static_cast<std::uint32_t>(sim_.random_.below(2));
  const Status status = process->source->wait_for(
      count, kNever, 100 + static_cast<std::uint32_t>(sim_.random_.below(200)));
  if (process->dead || !status.ok() || !sim_.failure_.empty()) return;
  if (!sim_.confirm(*process)) return;
  std::uint32_t have = 0;
  process->source->visit([&](const replica::Source::Follower& follower) {
    for (std::size_t shard = 0; shard < sim_.shards_; ++shard) {
      if (follower.acked[shard].second < lasts[shard]) return;
    }
    have += 1;
    for (const auto& host : sim_.nodes_) {
      Node& node = nodes_[host->number];
      if (host->id != follower.id || node.talked != reign) continue;
      for (std::size_t key = 0; key < keys_.size(); ++key) {
        SlotState*& floor = node.floor[key];
        // What it greeted with looks like this, and may be it.
        const bool alike = floor->number == tips[key]->number;
        if (alike && SlotHistories::leads_to(floor, tips[key])) floor = tips[key];
        if (!SlotHistories::leads_to(tips[key], floor)) {
          return sim_.fail("(4) a leader counts what node " + std::to_string(host->number) +
                           " never acked: write " + std::to_string(tips[key]->number) +
                           describe(node, key));
        }
        node.promised[key] = tips[key];
      }
    }
  });
  if (have < count) sim_.fail("(4) a leader counts followers that it does not have");
}

}  // namespace armdb::test

#endif
