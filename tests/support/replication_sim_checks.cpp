// What must hold in a ReplicationSim.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/little.hpp"
#include "replica/client.hpp"
#include "support/fixed_replication_oracle.hpp"
#include "support/replication_sim.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::test {

void ReplicationSim::fail(const std::string& what) {
  if (!failure_.empty()) return;
  failure_ = what + "\n  at " + std::to_string(scheduler_.now_us()) + " us, step " +
             std::to_string(scheduler_.steps()) + "; " + std::to_string(shards_) + " shards, " +
             (ship_early_ ? "ships early" : "ships what is durable") + ", values of " +
             std::to_string(shape_.value_size) + " bytes; events:" + events_;
}

void ReplicationSim::tell(const std::string& what) {
  if (!settings_.loud) return;
  std::fprintf(stderr, "%llu us, step %zu: %s\n",
               static_cast<unsigned long long>(scheduler_.now_us()), scheduler_.steps(),
               what.c_str());
}

void ReplicationSim::remember(const std::string& what) {
  events_ += " " + what;
  tell(what);
}

std::string ReplicationSim::describe(const SimContent& content) {
  std::string text;
  for (const std::uint64_t number : content) {
    text += (text.empty() ? "" : " ") + (number == 0 ? std::string("-") : std::to_string(number));
  }
  return text;
}

// What of a leader's writes is on its disk now, that of one under way included.
void ReplicationSim::note_durable(Process& process) {
  if (slots_ != nullptr) return slots_->note_durable(process);
  if (process.engine == nullptr || process.reign == nullptr) return;
  for (std::size_t shard = 0; shard < shards_; ++shard) {
    const engine::Shard& there = process.engine->shard(static_cast<std::uint32_t>(shard));
    // First what takes a lock, and may let others go on.
    const std::uint64_t last = there.last_sequence();
    SimEntry* entry = process.reign->tips[shard];
    const SimContent content = content_of(process, shard);
    if (content != entry->content) {
      for (SimEntry* const other : model_.find(shard, content)) {
        if (other->parent != entry) continue;
        other->last = last;
        other->counted = true;
        entry = other;
        break;
      }
    }
    SimEntry* at = HistoryModel::up_to(entry, there.durable_sequence());
    SimEntry*& floor = process.node.floor[shard];
    if (HistoryModel::leads_to(floor, at)) floor = at;
    for (; !at->durable; at = const_cast<SimEntry*>(at->parent)) at->durable = true;
  }
}

// ---- After an opening, and before a promotion ----

namespace {

void count(SimEntry& entry, std::uint64_t last) {
  if (!entry.counted) entry.last = last;
  entry.counted = true;
}

}  // namespace

// The state that is there now; null when it is none that may be. Of two leaders that erased the
// same key under the same sequence, the one whose last write is `tip`.
SimEntry* ReplicationSim::locate(Process& process, std::size_t shard, bool lossy,
                                 const SimEntry* tip) {
  Node& node = process.node;
  const std::uint64_t last =
      process.engine->shard(static_cast<std::uint32_t>(shard)).last_sequence();
  const SimContent content = content_of(process, shard);
  // What it acked may be that of a copy already.
  const bool copied = !HistoryModel::on_line(node.at[shard], node.floor[shard]);
  SimEntry* const old = copied ? node.floor[shard] : node.at[shard];
  SimEntry* const least = lossy ? node.floor[shard] : old;
  std::vector<SimEntry*> found = model_.find(shard, content, last);
  if (tip != nullptr) {
    std::stable_partition(found.begin(), found.end(),
                          [&](const SimEntry* entry) { return HistoryModel::on_line(entry, tip); });
  }
  for (SimEntry* const entry : found) {
    if (HistoryModel::on_line(old, entry) && HistoryModel::leads_to(least, entry)) {
      count(*entry, last);
      return entry;
    }
  }
  // A copy may have come in between.
  const ReignPtr& reign = node.copied_from[shard];
  if (reign == nullptr) return nullptr;
  for (SimEntry* const entry : model_.find(shard, content, last)) {
    SimEntry* const copied_tip = reign->tips[shard];
    if (!HistoryModel::on_line(entry, copied_tip)) continue;
    if (HistoryModel::leads_to(least, copied_tip) && !HistoryModel::leads_to(least, entry)) {
      continue;
    }
    count(*entry, last);
    return entry;
  }
  return nullptr;
}

// A crash makes the sequences go on behind a gap; when what was written there is lost too, and then
// it was closed, the last sequence is one in that gap.
void ReplicationSim::note_gap(Process& process, std::size_t shard) {
  constexpr std::uint64_t kGap = std::uint64_t{1} << 32;
  const std::uint64_t last =
      process.engine->shard(static_cast<std::uint32_t>(shard)).last_sequence();
  for (SimEntry* const entry : model_.find(shard, content_of(process, shard))) {
    const bool behind = entry->counted && last > entry->last && (last - entry->last) % kGap == 0;
    if (behind) entry->gaps.push_back(last);
  }
}

// It has less than it had of what a copy is to replace: a batch over several shards whose other
// parts are replaced already is dropped by a recovery. Its bytes are still to be set aside.
bool ReplicationSim::gives_up(Process& process, std::size_t shard) {
  const std::uint8_t replacing = process.engine->replica_state().replacing[shard];
  if (replacing != format::kAwaitsCopy && replacing != format::kAwaitsCopyAside) return false;
  for (SimEntry* const entry : model_.find(shard, content_of(process, shard))) {
    if (HistoryModel::leads_to(entry, process.node.at[shard])) return true;
  }
  return false;
}

void ReplicationSim::check_states(Process& process, bool lossy, const char* when, bool opened) {
  if (slots_ != nullptr) return slots_->check_states(process, lossy, when, opened);
  Node& node = process.node;
  counts_.checks += 1;
  for (std::size_t shard = 0; shard < shards_; ++shard) {
    if (opened) note_gap(process, shard);
    SimEntry* const entry = locate(process, shard, lossy);
    if (entry == nullptr && gives_up(process, shard)) {
      if (lossy) node.at[shard] = node.floor[shard];
      continue;
    }
    if (entry == nullptr) {
      return fail(
          "(3) node " + std::to_string(node.number) + " " + when + ": shard " +
          std::to_string(shard) + " has " + describe(content_of(process, shard)) + " at " +
          std::to_string(process.engine->shard(static_cast<std::uint32_t>(shard)).last_sequence()) +
          ", and had " + describe(node.at[shard]->content) + " at " +
          std::to_string(node.at[shard]->last) + ", durable " +
          describe(node.floor[shard]->content) + " at " + std::to_string(node.floor[shard]->last));
    }
    SimEntry* const old = lossy ? node.floor[shard] : node.at[shard];
    if (!HistoryModel::on_line(old, entry)) note_replaced(node, shard, old, entry);
    settle_floor(process, shard, entry);
    node.at[shard] = entry;
  }
  if (!node.disk.fault_met() && process.engine->stats().damaged_regions != 0) {
    return fail("node " + std::to_string(node.number) + " reports damage " + when);
  }
  check_torn(process, when);
}

// A copy may have come in, and its conversation have ended before anybody looked; the next one may
// bring another.
void ReplicationSim::note_copies(Process& process) {
  Node& node = process.node;
  for (std::size_t shard = 0; shard < shards_ && !process.dead; ++shard) {
    if (node.copied_from[shard] == nullptr) continue;
    SimEntry* const entry = locate(process, shard, false);
    if (entry == nullptr || process.dead) continue;
    if (!HistoryModel::leads_to(node.at[shard], entry)) {
      note_replaced(node, shard, node.at[shard], entry);
    }
    settle_floor(process, shard, entry);
    node.at[shard] = entry;
  }
}

void ReplicationSim::check_torn(Process& process, const char* when) {
  const std::vector<std::uint8_t> replacing = process.engine->replica_state().replacing;
  if (std::any_of(replacing.begin(), replacing.end(), [](std::uint8_t one) { return one != 0; })) {
    return;
  }
  const std::uint64_t torn = model_.torn(process.node.at);
  if (torn == 0) return;
  std::string text;
  for (const SimEntry* const entry : process.node.at) {
    text += "\n    " + describe(entry->content) + " at " + std::to_string(entry->last) + ", with";
    for (const std::uint64_t joint : entry->joints) {
      if (joint + 20 > torn) text += " " + std::to_string(joint);
    }
  }
  fail("(8) node " + std::to_string(process.node.number) + " " + when + " has batch " +
       std::to_string(torn) + " in part:" + text);
}

void ReplicationSim::check_promoted(Process& process) {
  if (slots_ != nullptr) return slots_->check_promoted(process);
  check_states(process, false, "after its promotion");
  Node& node = process.node;
  for (std::size_t shard = 0; shard < shards_ && failure_.empty(); ++shard) {
    if (HistoryModel::leads_to(node.promised[shard], node.at[shard])) continue;
    fail("(4) node " + std::to_string(node.number) +
         " leads without what it had confirmed: " + describe(node.promised[shard]->content) +
         ", and not " + describe(node.at[shard]->content));
  }
}

// ---- While it follows ----

void ReplicationSim::begin_copy(Talk& talk, std::size_t shard) {
  if (shard >= shards_) return;
  if (slots_ != nullptr) slots_->begin_copy(talk, shard);
  talk.copying[shard] = true;
  talk.ending[shard] = false;
  talk.follower->node.copied_from[shard] = talk.reign;
}

void ReplicationSim::note_claims(Talk& talk, const std::vector<std::uint64_t>& sequences) {
  if (talk.follower->dead) return;
  Node& node = talk.follower->node;
  for (std::size_t shard = 0; shard < shards_ && shard < sequences.size(); ++shard) {
    if (sequences[shard] == 0) continue;
    SimEntry* const entry = locate(*talk.follower, shard, false, talk.reign->tips[shard]);
    if (entry == nullptr) continue;  // check_shown() says so
    SimEntry* const durable = HistoryModel::up_to(entry, sequences[shard]);
    const bool replaced = !HistoryModel::on_line(node.floor[shard], durable);
    if (replaced || HistoryModel::leads_to(node.floor[shard], durable)) {
      node.floor[shard] = durable;
    }
  }
}

void ReplicationSim::check_shown(Talk& talk) {
  if (talk.follower->dead || !talk.greeted || !failure_.empty()) return;
  counts_.checks += 1;
  if (!ship_early_ && !talk.leader->dead && talk.leader->reign == talk.reign)
    note_durable(*talk.leader);
  for (std::size_t shard = 0; shard < shards_; ++shard) {
    if (talk.ending[shard]) {
      talk.copying[shard] = talk.ending[shard] = false;
      talk.replaced[shard] = true;
      counts_.copies += 1;
    }
    if (!talk.copying[shard] && slots_ == nullptr) check_shard(talk, shard);
  }
  if (slots_ != nullptr) return slots_->check_shown(talk);
  const bool copying =
      std::find(talk.copying.begin(), talk.copying.end(), true) != talk.copying.end();
  if (failure_.empty() && !copying) check_torn(*talk.follower, "as it follows");
}

void ReplicationSim::check_shard(Talk& talk, std::size_t shard) {
  Node& node = talk.follower->node;
  const std::uint64_t last =
      talk.follower->engine->shard(static_cast<std::uint32_t>(shard)).last_sequence();
  const SimContent content = content_of(*talk.follower, shard);
  SimEntry* const old = node.at[shard];
  SimEntry* const tip = talk.reign->tips[shard];
  const std::string who = "node " + std::to_string(node.number) + " shows in shard " +
                          std::to_string(shard) + " " + describe(content) + " at " +
                          std::to_string(last);
  SimEntry* now = nullptr;
  for (SimEntry* const entry : model_.find(shard, content, last)) {
    if (!HistoryModel::on_line(entry, tip)) continue;
    now = entry;
    break;
  }
  if (now == nullptr) {
    return fail("(1) " + who + ", which its leader never had; that has " + describe(tip->content) +
                " at " + std::to_string(tip->last));
  }
  if (!HistoryModel::leads_to(old, now)) {
    const bool back = HistoryModel::leads_to(old, tip);
    const bool copied = talk.replaced[shard] || node.copied_from[shard] != nullptr;
    if (back || !copied) {
      return fail("(2) " + who + ", and showed " + describe(old->content) + " at " +
                  std::to_string(old->last));
    }
    note_replaced(node, shard, old, now);
    settle_floor(*talk.follower, shard, now);
  }
  if (!ship_early_ && !now->durable) {
    return fail("(1) " + who + ", which was not durable at its leader");
  }
  count(*now, last);
  node.at[shard] = now;
  talk.replaced[shard] = false;
  node.copied_from[shard] = nullptr;
}

// Behind a copy no crash takes what is durable of the new history.
void ReplicationSim::settle_floor(Process& process, std::size_t shard, SimEntry* now) {
  SimEntry*& floor = process.node.floor[shard];
  if (HistoryModel::leads_to(floor, now)) return;
  floor = HistoryModel::up_to(
      now, process.engine->shard(static_cast<std::uint32_t>(shard)).durable_sequence());
}

// A copy took what another leader had been told about.
void ReplicationSim::note_replaced(Node& node, std::size_t shard, const SimEntry* old,
                                   const SimEntry* now) {
  check_aside(node, shard, old, now);
  if (!HistoryModel::leads_to(node.promised[shard], now)) node.promised[shard] = model_.root(shard);
}

// Of the values that `old` had, those that no history has which leads to `now`.
void ReplicationSim::check_aside(Node& node, std::size_t shard, const SimEntry* old,
                                 const SimEntry* now) {
  counts_.set_aside += 1;
  if (settings_.encrypted || node.disk.fault_met()) return;
  const std::string directory = "/db/shard_00" + std::to_string(shard);
  std::vector<std::string> names;
  FaultFileSystem disk;  // the same without the faults that are to come
  disk.restore(node.disk.snapshot());
  static_cast<void>(disk.list(directory, [&](std::string_view name, FileKind) {
    if (name.ends_with(".aside")) names.emplace_back(name);
  }));
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
  for (std::size_t key = 0; key < kSimKeys; ++key) {
    if (old->content[key] == 0) continue;
    if (HistoryModel::leads_to(HistoryModel::writer(old, key), now)) continue;
    const std::vector<std::uint8_t> value = value_of(old->content[key]);
    if (bytes.find(Bytes(value).text()) != std::string::npos) continue;
    return fail("(7) node " + std::to_string(node.number) + " gave up write " +
                std::to_string(old->content[key]) + " of shard " + std::to_string(shard) +
                ", and it is in none of " + std::to_string(names.size()) + " .aside files");
  }
}

// ---- In the end ----

void ReplicationSim::check_equal(Process& leader, Process& follower) {
  if (slots_ != nullptr) return slots_->check_equal(leader, follower);
  check_states(follower, false, "in the end");
  for (std::uint32_t shard = 0; shard < shards_ && failure_.empty(); ++shard) {
    if (content_of(follower, shard) != content_of(leader, shard)) {
      return fail("(5) node " + std::to_string(follower.node.number) + " has in shard " +
                  std::to_string(shard) + " " + describe(content_of(follower, shard)) +
                  ", its leader " + describe(content_of(leader, shard)));
    }
    for (std::size_t key = 0; key < kSimKeys; ++key) {
      const ByteArray<4> bytes = {'k', 'e', 'y', static_cast<std::uint8_t>(key)};
      const std::uint64_t hash = leader.engine->router().hash(bytes.data(), bytes.size());
      std::uint64_t here = 0;
      std::uint64_t there = 0;
      const bool in_both = leader.engine->shard(shard).expires_at(bytes.data(), hash, here) ==
                           follower.engine->shard(shard).expires_at(bytes.data(), hash, there);
      if (!in_both || here != there) return fail("(5) an expiry differs");
    }
  }
}

}  // namespace armdb::test

#endif
