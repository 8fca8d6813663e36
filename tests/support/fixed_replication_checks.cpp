// What must hold in a ReplicationSim on the Fixed store.
#include <algorithm>
#include <string_view>

#include "base/little.hpp"
#include "support/fixed_replication_oracle.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::test {

void FixedReplicationOracle::learn_shards(Process& process) {
  if (!shard_of_.empty()) return;
  const engine::Router& router = process.engine->router();
  for (const Key& key : keys_) {
    const std::uint64_t hash = router.hash(key.data(), key.size());
    shard_of_.push_back(router.shard(key.data(), key.size(), hash));
  }
}

// What its index has, expired or not. No call here lets anybody else go on.
FixedReplicationOracle::Look FixedReplicationOracle::look(Process& process) {
  Look look(keys_.size());
  engine::Engine& engine = *process.engine;
  std::vector<std::uint8_t> value(sim_.shape_.value_size);
  for (std::size_t key = 0; key < keys_.size(); ++key) {
    const std::uint8_t* const bytes = keys_[key].data();
    const std::uint64_t hash = engine.router().hash(bytes, key_size_);
    const engine::Shard& shard = engine.shard(static_cast<std::uint32_t>(shard_of(key)));
    if (!shard.index().find(bytes, hash, nullptr, value.data())) continue;
    const std::uint64_t number = base::load_little<std::uint64_t>(value.data());
    look[key] = number;
    const SlotState* const written =
        number < by_number_.size() ? by_number_[static_cast<std::size_t>(number)] : nullptr;
    if (written == nullptr || written->key != key) {
      sim_.fail("a key has a value that nobody wrote there: " + std::to_string(number));
      return Look(keys_.size());
    }
    if (sim_.seen_++ % 16 != 0) continue;
    std::uint64_t expiry_ms = 0;
    shard.expires_at(bytes, hash, expiry_ms);
    const bool same = value == sim_.value_of(number) && expiry_ms == written->expiry_ms;
    if (!same) sim_.fail("a value, or its expiry, is not what was written");
  }
  return look;
}

SlotState* FixedReplicationOracle::tip(const Reign& reign, std::size_t key) {
  const bool more = reign.pending != nullptr && reign.pending->key == key;
  return more ? reign.pending : reign.tips[key];
}

// The one that is behind the other, or else the first.
SlotState* FixedReplicationOracle::later(SlotState* a, SlotState* b) {
  return SlotHistories::leads_to(a, b) ? b : a;
}

SlotState* FixedReplicationOracle::state_at(const Reign& reign, std::size_t key,
                                            std::uint64_t version) const {
  SlotState* const base = reign.numbers->base[key];
  const store::Cursor& begin = reign.numbers->begin[shard_of(key)];
  if (version < begin.own_from) return version == begin.joined ? base : nullptr;
  SlotState* state = tip(reign, key);
  while (state != base && state->version > version) state = state->parent;
  return state;
}

void FixedReplicationOracle::settle_floor(Node& node) {
  node.floor = node.at;
  for (auto& taken : node.taken) taken.clear();
}

// The state that a key shows; null when it may be none.
SlotState* FixedReplicationOracle::locate(const Node& node, std::size_t key, std::uint64_t number,
                                          bool lossy) const {
  SlotState* const at = node.at[key];
  SlotState* const floor = node.floor[key];
  SlotState* const least = lossy ? floor : later(at, floor);
  SlotState* found = SlotHistories::first_like(least, later(least, at), number);
  if (found != nullptr) return found;
  for (SlotState* const maybe : node.maybe[key]) {
    found = SlotHistories::first_like(least, maybe, number);
    if (found != nullptr) return found;
  }
  for (SlotState* const taken : node.taken[key]) {
    found = lossy ? SlotHistories::first_like(least, taken, number) : nullptr;
    if (found != nullptr) return found;
  }
  if (node.talked == nullptr) return nullptr;
  SlotState* const end = tip(*node.talked, key);
  // What it has seen of this leader's line counts, also amid a copy.
  for (SlotState* const from : {least, at}) {
    if (SlotHistories::leads_to(from, end)) return SlotHistories::first_like(from, end, number);
  }
  if (node.copied_from[shard_of(key)] != node.talked) return nullptr;
  return SlotHistories::first_like(SlotHistories::fork(at, end), end, number);
}

std::string FixedReplicationOracle::describe(const Node& node, std::size_t key) const {
  const auto told = [](const char* what, const SlotState* state) {
    return std::string(", ") + what + " " + std::to_string(state->number) + " (depth " +
           std::to_string(state->depth) + ", version " + std::to_string(state->version) +
           (state->durable ? ")" : ", not durable)");
  };
  std::string text = "; key " + std::to_string(key) + " of shard " + std::to_string(shard_of(key)) +
                     told("last seen at", node.at[key]) + told("durable", node.floor[key]);
  if (node.talked != nullptr) text += told("its leader has", tip(*node.talked, key));
  return text;
}

// ---- After an opening, and at rest ----

void FixedReplicationOracle::check_states(Process& process, bool lossy, const char* when,
                                          bool opened) {
  if (process.dead || !sim_.failure_.empty()) return;
  learn_shards(process);
  sim_.counts_.checks += 1;
  Node& node = of(process);
  const std::string who = "node " + std::to_string(process.node.number) + " " + when;
  const Look shown = look(process);
  for (std::size_t key = 0; key < keys_.size() && sim_.failure_.empty(); ++key) {
    SlotState* const now = locate(node, key, shown[key], lossy);
    if (now == nullptr) {
      return sim_.fail("(3) " + who + " has write " + std::to_string(shown[key]) +
                       describe(node, key));
    }
    SlotState* const old = lossy ? node.floor[key] : node.at[key];
    if (!SlotHistories::leads_to(old, now)) give_up(process, old, now, when);
    node.at[key] = now;
    if (!opened) continue;
    node.maybe[key].clear();
    if (!process.engine->follower()) now->durable = true;
  }
  // A recovery has synced what it found.
  if (opened && sim_.failure_.empty()) settle_floor(node);
  if (!process.node.disk.fault_met() && process.engine->stats().damaged_regions != 0) {
    sim_.fail(who + " reports damage");
  }
}

void FixedReplicationOracle::check_promoted(Process& process) {
  check_states(process, false, "after its promotion", false);
  if (sim_.failure_.empty()) settle_promotion(process);
}

void FixedReplicationOracle::check_equal(Process& leader, Process& follower) {
  check_states(follower, false, "in the end", false);
  const Look there = look(leader);
  const Look here = look(follower);
  for (std::size_t key = 0; key < keys_.size() && sim_.failure_.empty(); ++key) {
    const std::uint8_t* const bytes = keys_[key].data();
    const std::uint64_t hash = leader.engine->router().hash(bytes, key_size_);
    const auto shard = static_cast<std::uint32_t>(shard_of(key));
    std::uint64_t ends_here = 0;
    std::uint64_t ends_there = 0;
    leader.engine->shard(shard).expires_at(bytes, hash, ends_there);
    follower.engine->shard(shard).expires_at(bytes, hash, ends_here);
    if (here[key] == there[key] && ends_here == ends_there) continue;
    return sim_.fail("(5) node " + std::to_string(follower.node.number) + " has write " +
                     std::to_string(here[key]) + ", its leader " + std::to_string(there[key]) +
                     describe(of(follower), key));
  }
}

// ---- While it follows ----

// All that it has was synced just before.
void FixedReplicationOracle::greets(Talk& talk, const std::vector<std::uint64_t>& positions) {
  if (talk.follower->dead) return;
  check_states(*talk.follower, false, "as it greets", false);
  Node& node = of(*talk.follower);
  settle_floor(node);
  node.greeting = positions;
  node.greeting.resize(sim_.shards_);
}

void FixedReplicationOracle::greeted(Talk& talk, const std::vector<std::uint8_t>& replace) {
  if (talk.follower->dead || !sim_.failure_.empty()) return;
  Node& node = of(*talk.follower);
  node.talked = talk.reign->slots;
  const Look shown = look(*talk.follower);
  for (std::size_t shard = 0; shard < sim_.shards_ && shard < replace.size(); ++shard) {
    if (replace[shard] != 0) continue;
    if (!check_position(talk, shard, node.greeting[shard], shown, "(3) as it greeted")) return;
    note_claim(talk, shard, node.greeting[shard]);
  }
  if (!sim_.ship_early_ && !talk.leader->dead && talk.leader->reign == talk.reign) {
    note_durable(*talk.leader);
  }
  for (std::size_t key = 0; key < keys_.size(); ++key) {
    if (!check_key(talk, key, shown[key])) return;
  }
}

bool FixedReplicationOracle::check_position(Talk& talk, std::size_t shard, std::uint64_t position,
                                            const Look& look, const char* when) {
  const Reign& reign = *talk.reign->slots;
  for (std::size_t key = 0; key < keys_.size(); ++key) {
    if (shard_of(key) != shard) continue;
    SlotState* const least = state_at(reign, key, position);
    const char* wrong = nullptr;
    if (least == nullptr) {
      wrong = " is not of its leader's numbers";
    } else if (SlotHistories::first_like(least, tip(reign, key), look[key]) == nullptr) {
      wrong = " does not tell the truth";
    }
    if (wrong == nullptr) continue;
    sim_.fail(
        std::string(when) + ": position " + std::to_string(position) + " of node " +
        std::to_string(talk.follower->node.number) + wrong + ": it shows write " +
        std::to_string(look[key]) +
        (least == nullptr ? std::string() : ", and there was " + std::to_string(least->number)) +
        describe(of(*talk.follower), key));
    return false;
  }
  return true;
}

void FixedReplicationOracle::acks(Talk& talk, const std::vector<format::Mark>& marks) {
  if (talk.follower->dead || !talk.greeted || !sim_.failure_.empty()) return;
  const Look shown = look(*talk.follower);
  for (std::size_t shard = 0; shard < sim_.shards_; ++shard) {
    if (marks[shard].first != 0 &&
        !check_position(talk, shard, marks[shard].first, shown, "(2) as it acked")) {
      return;
    }
    if (marks[shard].second != 0) note_claim(talk, shard, marks[shard].second);
  }
}

// What it has up to a position outlasts its power cuts.
void FixedReplicationOracle::note_claim(Talk& talk, std::size_t shard, std::uint64_t position) {
  const Reign& reign = *talk.reign->slots;
  for (std::size_t key = 0; key < keys_.size(); ++key) {
    if (shard_of(key) != shard) continue;
    SlotState* const durable = state_at(reign, key, position);
    if (durable == nullptr) return sim_.fail("(3) a follower acks what is in no numbers");
    of(*talk.follower).taken[key].clear();
    SlotState*& floor = of(*talk.follower).floor[key];
    const bool replaced = !SlotHistories::leads_to(floor, tip(reign, key));
    if (replaced || SlotHistories::leads_to(floor, durable)) floor = durable;
  }
}

void FixedReplicationOracle::begin_copy(Talk& talk, std::size_t shard) {
  if (talk.follower->dead) return;
  of(*talk.follower).copied_from[shard] = talk.reign->slots;
}

void FixedReplicationOracle::check_shown(Talk& talk) {
  const Look shown = look(*talk.follower);
  for (std::size_t key = 0; key < keys_.size() && sim_.failure_.empty(); ++key) {
    if (!check_key(talk, key, shown[key])) return;
  }
}

bool FixedReplicationOracle::check_key(Talk& talk, std::size_t key, std::uint64_t number) {
  Node& node = of(*talk.follower);
  const Reign& reign = *talk.reign->slots;
  const std::size_t shard = shard_of(key);
  SlotState* const old = node.at[key];
  SlotState* const end = tip(reign, key);
  const std::string who = "node " + std::to_string(talk.follower->node.number) + " shows write " +
                          std::to_string(number) + (talk.copying[shard] ? " amid a copy" : "");
  SlotState* now = locate(node, key, number, false);
  // An erased key may be so at the leader as well, and not be what was there before.
  if (now != nullptr && !talk.copying[shard] && !SlotHistories::leads_to(now, end)) {
    now = SlotHistories::first_like(SlotHistories::fork(now, end), end, number);
  }
  if (now == nullptr) {
    sim_.fail("(1, 2) " + who + ", which its leader never had, or had before" +
              describe(node, key));
    return false;
  }
  const bool of_leader = SlotHistories::leads_to(now, end);
  if (of_leader && !now->durable) {
    sim_.fail("(1) " + who + ", which was not durable at its leader" + describe(node, key));
    return false;
  }
  SlotState* const base = reign.numbers->base[key];
  // What an .aside file has is not counted any more.
  const bool aside = talk.copying[shard] && now == old;
  const bool counted = of_leader && !aside && now != base && SlotHistories::leads_to(base, now);
  const std::uint64_t reached =
      talk.follower->engine->cursor(static_cast<std::uint32_t>(shard)).reached;
  if (counted && now->version > reached) {
    sim_.fail("(1) " + who + ", and says that it has reached " + std::to_string(reached) +
              describe(node, key));
    return false;
  }
  if (!SlotHistories::leads_to(old, now)) give_up(*talk.follower, old, now, "as it follows");
  node.at[key] = now;
  return sim_.failure_.empty();
}

// ---- What a copy takes away ----

void FixedReplicationOracle::give_up(Process& process, SlotState* old, SlotState* now,
                                     const char* when) {
  Node& node = of(process);
  SlotState*& promised = node.promised[old->key];
  if (!SlotHistories::leads_to(promised, now)) promised = histories_->root(old->key);
  SlotState*& floor = node.floor[old->key];
  if (!SlotHistories::leads_to(floor, now)) {
    node.taken[old->key].push_back(floor);
    floor = SlotHistories::fork(floor, now);
  }
  sim_.counts_.set_aside += 1;
  if (old->number != 0) check_aside(process, old, when);
}

std::string FixedReplicationOracle::asides(Process& process, std::size_t shard,
                                           std::size_t& count) const {
  const std::string directory = "/db/shard_00" + std::to_string(shard);
  FaultFileSystem disk;  // the same without the faults that are to come
  disk.restore(process.node.disk.snapshot());
  std::vector<std::string> names;
  static_cast<void>(disk.list(directory, [&](std::string_view name, FileKind) {
    if (name.ends_with(".aside")) names.emplace_back(name);
  }));
  count = names.size();
  std::string bytes;
  for (const std::string& name : names) {
    Result<Owned<File>> file = disk.open(directory + "/" + name, OpenMode::read);
    if (!file.ok()) continue;
    const Result<std::uint64_t> size = (*file)->size();
    if (!size.ok()) continue;
    std::vector<std::uint8_t> all(static_cast<std::size_t>(*size));
    const Result<std::size_t> got = (*file)->read_at(0, all);
    if (got.ok()) bytes.append(Bytes(all).sub(0, *got).text());
  }
  return bytes;
}

// The value that no leader has any more.
void FixedReplicationOracle::check_aside(Process& process, const SlotState* old, const char* when) {
  if (process.node.disk.fault_met()) return;
  std::size_t count = 0;
  const std::string bytes = asides(process, shard_of(old->key), count);
  const std::vector<std::uint8_t> value = sim_.value_of(old->number);
  const bool there =
      sim_.settings_.encrypted ? count != 0 : bytes.find(Bytes(value).text()) != std::string::npos;
  if (there) return;
  sim_.fail("(7) node " + std::to_string(process.node.number) + " " + when +
            " has given up write " + std::to_string(old->number) + ", and it is in none of " +
            std::to_string(count) + " .aside files" + describe(of(process), old->key));
}

}  // namespace armdb::test

#endif
