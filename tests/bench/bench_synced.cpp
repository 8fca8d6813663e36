// Rows of writes that survive a power cut: single puts from 1, 2 and 4 threads, and batches. The
// raw rows say what the disk gives: append and fdatasync into a preallocated file per thread.
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
  const std::uint64_t begin = now_ns();
  const std::uint64_t end = begin + ms * 1'000'000;
  std::vector<std::thread> others;
  const auto run = [&](unsigned thread) {
    try {
      const auto work = make(thread);
      while (now_ns() < end) {
        work();
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

// One thread's own file, written once so that fdatasync commits no metadata.
class RawFile {
 public:
  explicit RawFile(const std::string& path)
      : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600)) {
    const std::vector<char> zeros(std::size_t{1} << 20);
    for (int at = 0; at < 8; ++at)
      keep(static_cast<std::uint64_t>(::write(file_, zeros.data(), zeros.size())));
    ::fsync(file_);
  }
  RawFile(RawFile&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  ~RawFile() {
    if (file_ >= 0) ::close(file_);
  }
  void append() {
    const char entry[96] = {};
    offset_ = (offset_ + 96) % ((8 << 20) - 96);
    if (::pwrite(file_, entry, sizeof entry, offset_) != 96 || ::fdatasync(file_) != 0) {
      fail("cannot write a raw file");
    }
  }

 private:
  int file_;
  off_t offset_ = 0;
};

void row_raw(const Options& options, Report& report, unsigned threads, const std::string& name) {
  if (!report.wanted(name)) return;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    report.add(name, "raw", rounds_per_second(options.sync_ms, threads, [&](unsigned thread) {
                 auto file =
                     std::make_shared<RawFile>(options.folder + "/raw" + std::to_string(thread));
                 return [file] { file->append(); };
               }));
  }
  report.finish(name, "op/s", "no store: pwrite and fdatasync, a file per thread");
}

}  // namespace

void run_synced(const Options& options, Report& report) {
  Setup setup;
  setup.key_bytes = options.key_bytes;
  setup.keys = 100'000;
  setup.synced = true;
  setup.ordered = false;
  if (!report.wanted("map.synced_put") && !report.wanted("map.synced_batch_100") &&
      !report.wanted("map.synced_put_4_threads")) {
    return;
  }
  Fleet fleet(options, report, "synced", setup);
  for (auto& member : fleet.members()) member->open(true);
  std::atomic<std::uint64_t> next{0};
  for (const unsigned threads : {1u, 2u, 4u}) {
    const std::string end = "_" + std::to_string(threads) + "_threads";
    row_raw(options, report, threads, "raw.fdatasync" + end);
    fleet.row("map.synced_put" + end, "op/s", [&](Member& member, int) {
      return rounds_per_second(options.sync_ms, threads, [&](unsigned) {
        std::shared_ptr<Session> session = member.store->session();
        auto key = std::make_shared<KeyBuffer>(setup.key_bytes);
        auto value = std::make_shared<ValueBuffer>(64);
        return [&next, session, key, value] {
          const std::uint64_t at = next.fetch_add(1);
          session->put(key->make(at), value->make(at));
        };
      });
    });
  }
  fleet.row("map.synced_batch_100", "keys/s", [&](Member& member, int) {
    return 100 * rounds_per_second(options.sync_ms, 1, [&](unsigned) {
             return [&] {
               const std::uint64_t at = next.fetch_add(100);
               load_keys(*member.session, member.setup, at, at + 100, 100);
             };
           });
  });
}

}  // namespace bench
