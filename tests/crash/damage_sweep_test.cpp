// Every byte of small stores flipped, every file cut at every length, every file removed, and
// swapped with its sibling in another shard: on both stores, clear and encrypted, closed and
// killed. The default run takes some places at random.
//
// Oracle: no crash. The collection is refused with an error that says why, or what is read was once
// written under its key; and where something that was durable is missing or old, that is told:
// damaged_regions, segments set aside, an error when it is read, or by verify(); on a Fixed store
// that was killed also torn_bytes: where the newer copy of a slot is broken the older one counts.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "support/one_shard.hpp"
#include "support/random.hpp"
#include "support/scale.hpp"

namespace {

using namespace armdb;
using test::FaultFileSystem;

constexpr ByteArray<32> kKey{7, 7, 7};
constexpr Shape kSlots{4, 8, true, Payload::value, true};

// What became of the damages of one kind, for people.
struct Tally {
  std::size_t refused = 0;
  std::size_t told = 0;      // opened, and said so
  std::size_t harmless = 0;  // nothing is missing, and nothing was said
  std::size_t unsynced = 0;  // only what no sync covered is missing
};

class Damage {
 public:
  Damage(const Shape& shape, bool encrypted, bool killed)
      : shape_(shape), encrypted_(encrypted), killed_(killed), random_(1) {
    config_ = test::one_shard(files_);
    config_.shard_count = 2;
    if (encrypted) config_.encryption_key = kKey;
    config_.log = log_.log();
    make();
  }

  void flip_bytes(std::size_t most) {
    each_place(most, [&](const std::string& path, std::uint64_t at) {
      test::flip(files_, path, at, static_cast<int>(random_.below(8)));
      judge("flipped " + path + " at " + std::to_string(at), tally_[name_of(path) + " flipped"],
            encrypted_ && !shape_.fixed && is_active(path));
    });
  }
  void cut_files(std::size_t most) {
    each_place(most, [&](const std::string& path, std::uint64_t at) {
      test::cut(files_, path, at);
      judge("cut " + path + " at " + std::to_string(at), tally_[name_of(path) + " cut"],
            is_active(path));
    });
  }
  void remove_files() {
    for (const auto& [path, bytes] : disk_) {
      files_.restore(start_);
      REQUIRE(files_.remove(path).ok());
      judge("removed " + path, tally_[name_of(path) + " removed"], is_active(path));
    }
  }
  void swap_files() {
    for (const auto& [path, bytes] : disk_) {
      std::string sibling = path;
      const std::size_t at = sibling.find("shard_000");
      if (at == std::string::npos) continue;
      sibling.replace(at, 9, "shard_001");
      if (!disk_.contains(sibling)) continue;
      files_.restore(start_);
      test::replace(files_, path, disk_.at(sibling));
      judge("replaced " + path + " by its sibling", tally_[name_of(path) + " replaced"]);
      test::replace(files_, sibling, bytes);
      judge("swapped " + path + " with its sibling", tally_[name_of(path) + " swapped"]);
    }
  }

  [[nodiscard]] std::string text() const {
    std::string text = std::string(shape_.fixed ? "Fixed" : "Bitcask") +
                       (encrypted_ ? ", encrypted" : "") + (killed_ ? ", killed" : ", closed");
    for (const auto& [what, tally] : tally_) {
      text += "\n  " + what + ": " + std::to_string(tally.refused) + " refused, " +
              std::to_string(tally.told) + " told, " + std::to_string(tally.harmless) +
              " harmless, " + std::to_string(tally.unsynced) + " of unsynced entries";
    }
    return text;
  }
  std::size_t cases = 0;

 private:
  using Values = std::map<std::string, std::string>;

  void write(Collection& collection, int number, int version) {
    test::put(collection, number, version);
    now_[test::key_of(number)] = test::value_of(number, version);
    history_[test::key_of(number)].insert(test::value_of(number, version));
  }
  void make() {
    Collection collection = test::open_shard(config_, shape_);
    for (int number = 0; number < 50; ++number) write(collection, number, 1);
    REQUIRE(collection.checkpoint().ok());
    for (int number = 0; number < 50; number += 3) write(collection, number, 2);
    for (int number = 0; number < 50; number += 5) {
      REQUIRE(collection.erase(test::key_of(number)).ok());
      now_.erase(test::key_of(number));
    }
    REQUIRE(collection.close().ok());
    collection = test::open_shard(config_, shape_);
    for (int number = 50; number < 60; ++number) write(collection, number, 3);
    REQUIRE(collection.sync().ok());
    durable_ = now_;
    if (killed_) {
      for (int number = 55; number < 75; ++number) write(collection, number, 4);
      files_.kill_process();
    } else {
      REQUIRE(collection.close().ok());
    }
    collection = Collection();
    start_ = files_.snapshot();
    log_.lines.clear();
    read_disk("/c");
    Tally nothing;
    judge("nothing", nothing);
    REQUIRE(nothing.harmless == 1);
  }

  void read_disk(const std::string& folder) {
    for (const auto& [name, kind] : test::list_names(files_, folder)) {
      const std::string path = folder + "/" + name;
      if (kind == FileKind::directory) read_disk(path);
      if (kind == FileKind::regular && name != "LOCK") disk_[path] = test::read_path(files_, path);
    }
  }
  static std::string name_of(const std::string& path) {
    std::string name = path.substr(path.rfind('/') + 1);
    if (const std::size_t dot = name.find('.'); name.starts_with("0000")) name.erase(0, dot);
    return name;
  }

  // The segment that was being written when the process was killed. It has no footer yet, and its
  // own watermarks tell what was synced: cut between two entries, or gone, it tells nothing; nor
  // does a sealed one whose last frame is damaged, as a crash does it to one that was not synced.
  [[nodiscard]] bool is_active(const std::string& path) const {
    if (killed_ && path.ends_with("/slots.dat")) return true;  // its size was not noted either
    if (!killed_ || !path.ends_with(".data")) return false;
    const std::string folder = path.substr(0, path.rfind('/'));
    return std::none_of(disk_.begin(), disk_.end(), [&](const auto& item) {
      return item.first.starts_with(folder) && item.first.ends_with(".data") && item.first > path;
    });
  }

  // Of each file at most so many places, most of them where it has bytes.
  template <class Visit> void each_place(std::size_t most, Visit visit) {
    for (const auto& [path, bytes] : disk_) {
      const bool all = bytes.size() <= most;
      const std::size_t used = bytes.find_last_not_of('\0') + 1;
      for (std::size_t count = 0; count < std::min(bytes.size(), most); ++count) {
        std::size_t at = count;
        if (all && at > used + 64 && at % 97 != 0) continue;  // one zero is like the other
        if (!all) at = random_.below(random_.one_in(8) || used == 0 ? bytes.size() : used);
        files_.restore(start_);
        visit(path, at);
      }
    }
  }

  // Where the damaged entries differ from the right ones: in those that were durable, and at all.
  struct Difference {
    bool durable = false;
    bool any = false;
    bool error = false;
  };
  Difference compare(const Values& read) const {
    Difference difference;
    std::set<std::string> keys;
    for (const auto* all : {&read, &now_, &durable_}) {
      for (const auto& item : *all) keys.insert(item.first);
    }
    const auto in = [](const Values& all, const std::string& key) {
      const auto found = all.find(key);
      return found == all.end() ? std::string() : found->second;
    };
    for (const std::string& key : keys) {
      const std::string here = in(read, key);
      if (here.starts_with("error: ")) {
        difference.error = true;
        continue;
      }
      const auto written = history_.find(key);
      if (!here.empty() && (written == history_.end() || !written->second.contains(here))) {
        FAIL(key << " is " << here);
      }
      difference.any = difference.any || here != in(now_, key);
      difference.durable =
          difference.durable || (here != in(now_, key) && here != in(durable_, key));
    }
    return difference;
  }

  void judge(const std::string& what, Tally& tally, bool may_lose_end = false) {
    ++cases;
    log_.lines.clear();
    Config config = config_;
    // With and without writing: both find the same.
    config.read_only = cases % 2 == 0;
    INFO((shape_.fixed ? "Fixed" : "Bitcask")
         << (encrypted_ ? ", encrypted" : "") << (killed_ ? ", killed" : ", closed"));
    INFO(what << (config.read_only ? ", read-only" : ""));
    Result<Collection> opened = Collection::open("/c", shape_, config);
    INFO("open: " << opened.message());
    if (!opened.ok()) {
      REQUIRE_FALSE(opened.is(Errc::io_error));
      REQUIRE_FALSE(opened.is(Errc::out_of_memory));
      REQUIRE(opened.message().size() > 20);
      ++tally.refused;
      return;
    }
    const Difference difference = compare(test::contents(*opened));
    const Stats stats = opened->stats();
    const Result<VerifyReport> report = opened->verify();
    const bool told = difference.error || stats.damaged_regions != 0 ||
                      stats.segments_set_aside != 0 || !report.ok() ||
                      report->damaged_regions != 0 || report->forged_pieces != 0 ||
                      (shape_.fixed && killed_ && stats.torn_bytes != 0);
    std::string lines;
    for (const std::string& line : log_.lines) lines += line + "\n";
    INFO("log: " << lines);
    if (difference.durable && !may_lose_end) REQUIRE(told);
    if (told) {
      ++tally.told;
    } else if (difference.any) {
      ++tally.unsynced;
      // A read-only open may be killed; a closed store has nothing that is not durable.
      REQUIRE(killed_);
    } else {
      ++tally.harmless;
    }
  }

  const Shape shape_;
  const bool encrypted_;
  const bool killed_;
  base::Random random_;
  FaultFileSystem files_;
  Config config_;
  test::LogLines log_;
  FaultFileSystem::Snapshot start_;
  std::map<std::string, std::string> disk_;  // paths and bytes
  Values now_;                               // what is there
  Values durable_;                           // and when it was last synced
  std::map<std::string, std::set<std::string>> history_;
  std::map<std::string, Tally> tally_;
};

void sweep(const Shape& shape, std::size_t flips, std::size_t cuts, bool tell) {
  for (const bool encrypted : {false, true}) {
#if !ARMDB_WITH_OPENSSL
    if (encrypted) continue;
#endif
    for (const bool killed : {false, true}) {
      Damage damage(shape, encrypted, killed);
      damage.flip_bytes(flips);
      damage.cut_files(cuts);
      damage.remove_files();
      damage.swap_files();
      CHECK(damage.cases > test::scaled(100, 20));
      if (tell) WARN(damage.text());
    }
  }
}

// Of each file: all, but for short runs.
std::size_t many() { return test::scaled(1000) < 1000 ? test::scaled(1000) : ~std::size_t{0}; }

}  // namespace

TEST_CASE("damage: whatever byte is wrong, no wrong value is read, and what is lost is told",
          "[serial][crash][clear][pitfall-17][pitfall-18][pitfall-19][pitfall-20][pitfall-49]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap, kSlots}) {
    sweep(shape, test::scaled(40, 10), test::scaled(15, 5), false);
  }
}

TEST_CASE("damage: each byte flipped, and each file cut at each length (long)",
          "[crash][slow][clear][pitfall-17][pitfall-18][pitfall-19][pitfall-20][pitfall-49]") {
  SECTION("VarTree") { sweep(test::kVarTree, many(), many(), true); }
  SECTION("ConstMap") { sweep(test::kConstMap, many(), many(), true); }
  SECTION("FixedTree") { sweep(kSlots, many(), many(), true); }
}
