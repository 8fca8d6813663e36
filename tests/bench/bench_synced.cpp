// Rows of writes that survive a power cut: single puts from 1, 2 and 4 threads, and batches.
// The store "raw" is none: it shows what the disk gives in the same moments, pwrite and fdatasync
// into a file per thread that was written before, so that no metadata has to go out.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "bench/store.hpp"

namespace bench {
namespace {

// Runs `work(thread)` again and again in each thread for `ms`; rounds per second of all.
double rounds_per_second(std::uint64_t ms, unsigned threads,
                         const std::function<std::function<void()>(unsigned)>& make) {
  std::atomic<std::uint64_t> rounds{0};
  std::atomic<bool> failed{false};
  std::vector<std::function<void()>> works;  // made before the clock runs
  for (unsigned thread = 0; thread < threads; ++thread) works.push_back(make(thread));
  const std::uint64_t begin = now_ns();
  const std::uint64_t end = begin + ms * 1'000'000;
  std::vector<std::thread> others;
  const auto run = [&](unsigned thread) {
    try {
      while (now_ns() < end) {
        works[thread]();
        rounds.fetch_add(1, std::memory_order_relaxed);
      }
    } catch (const std::exception& error) {
      std::fprintf(stderr, "bench: %s\n", error.what());
      failed = true;
    }
  };
  for (unsigned thread = 1; thread < threads; ++thread) others.emplace_back(run, thread);
  run(0);
  for (std::thread& other : others) other.join();
  if (failed) fail("a thread failed");
  return static_cast<double>(rounds) * 1e9 / static_cast<double>(now_ns() - begin);
}

class RawSession : public Session {
 public:
  explicit RawSession(const std::string& path)
      : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600)), bytes_(kFileBytes) {
    if (::pwrite(file_, bytes_.data(), bytes_.size(), 0) < 0 || ::fsync(file_) != 0) {
      fail("cannot write " + path);
    }
  }
  ~RawSession() override { ::close(file_); }
  void put(Bytes key, Bytes value) override {
    const Pair pair{key, value};
    put_batch({&pair, 1});
  }
  void put_batch(std::span<const Pair> pairs) override {
    const std::size_t bytes = pairs.size() * 96;  // what armdb's log takes for 8+64
    offset_ = (offset_ + bytes) % (kFileBytes - bytes);
    if (::pwrite(file_, bytes_.data(), bytes, static_cast<off_t>(offset_)) < 0 ||
        ::fdatasync(file_) != 0) {
      fail("cannot write a raw file");
    }
  }
  bool erase(Bytes) override { return false; }
  bool get(Bytes, std::uint8_t*) override { return false; }

 private:
  static constexpr std::size_t kFileBytes = std::size_t{8} << 20;
  int file_;
  std::vector<char> bytes_;
  std::size_t offset_ = 0;
};

class RawStore : public Store {
 public:
  explicit RawStore(const Setup& setup) : folder_(setup.folder) {}
  std::unique_ptr<Session> session() override {
    return std::make_unique<RawSession>(folder_ + "/raw" + std::to_string(next_.fetch_add(1) % 8));
  }
  void close() override {}

 private:
  std::string folder_;
  std::atomic<unsigned> next_{0};
};

}  // namespace

void run_synced(const Options& options, Report& report) {
  Setup setup;
  setup.key_bytes = options.key_bytes;
  setup.keys = 100'000;
  setup.synced = true;
  setup.ordered = false;
  if (!report.wanted("map.synced_put") && !report.wanted("map.synced_batch_100") &&
      !report.wanted("map.synced_put_1_threads") && !report.wanted("map.synced_put_2_threads") &&
      !report.wanted("map.synced_put_4_threads")) {
    return;
  }
  Fleet fleet(options, report, "synced", setup);
  fleet.members().push_back(std::make_unique<Member>());
  Member& raw = *fleet.members().back();
  raw.setup = setup;
  raw.setup.folder = options.folder + "/synced_raw";
  raw.factory = {"raw", [](const Setup& own) -> std::unique_ptr<Store> {
                   return std::make_unique<RawStore>(own);
                 }};
  for (auto& member : fleet.members()) member->open(true);
  std::atomic<std::uint64_t> next{0};
  // Many short turns: the disk's pace changes from one second to the next.
  const int repeats = 3 * options.repeats;
  for (const unsigned threads : {1u, 2u, 4u}) {
    const std::string end = "_" + std::to_string(threads) + "_threads";
    fleet.row(
        "map.synced_put" + end, "op/s",
        [&](Member& member, int) {
          return rounds_per_second(options.sync_ms, threads, [&](unsigned) {
            std::shared_ptr<Session> session = member.store->session();
            auto key = std::make_shared<KeyBuffer>(setup.key_bytes);
            auto value = std::make_shared<ValueBuffer>(64);
            return [&next, session, key, value] {
              const std::uint64_t at = next.fetch_add(1);
              session->put(key->make(at), value->make(at));
            };
          });
        },
        "", repeats);
  }
  fleet.row(
      "map.synced_batch_100", "keys/s",
      [&](Member& member, int) {
        return 100 * rounds_per_second(options.sync_ms, 1, [&](unsigned) {
                 return [&] {
                   const std::uint64_t at = next.fetch_add(100);
                   load_keys(*member.session, member.setup, at, at + 100, 100);
                 };
               });
      },
      "", repeats);
}

}  // namespace bench
