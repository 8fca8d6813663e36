// Fleets: the stores of one comparison, opened, loaded and measured in turn.
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>

#include "bench/store.hpp"

namespace bench {

void Member::open(bool fresh) {
  close();
  if (fresh) {
    std::filesystem::remove_all(setup.folder);
    std::filesystem::create_directories(setup.folder);
  }
  store = factory.open(setup);
  session = store->session();
}
void Member::close() {
  session.reset();
  if (store) store->close();
  store.reset();
}
Member::~Member() {
  session.reset();
  store.reset();
  std::error_code ignored;
  std::filesystem::remove_all(setup.folder, ignored);
}

Fleet::Fleet(const Options& options, Report& report, const std::string& name, const Setup& setup)
    : options_(options), report_(report) {
  for (const Factory& factory : factories(options.peers)) {
    if (setup.ordered ? !factory.ordered : !factory.unordered) continue;
    auto member = std::make_unique<Member>();
    member->factory = factory;
    member->setup = setup;
    member->setup.folder = options.folder + "/" + name + "_" + factory.name;
    members_.push_back(std::move(member));
  }
}

void Fleet::row(const std::string& name, const std::string& unit, const Measure& measure,
                const std::string& note, int repeats) {
  if (!report_.wanted(name)) return;
  std::map<std::string, bool> broken;
  for (int repeat = 0; repeat < (repeats == 0 ? options_.repeats : repeats); ++repeat) {
    for (auto& member : members_) {
      const std::string& store = member->factory.name;
      if (broken[store]) continue;
      try {
        const double value = measure(*member, repeat);
        if (member->store) member->store->settle();
        report_.add(name, store, value);
      } catch (const std::exception& error) {
        report_.failed(name, store, error.what());
        broken[store] = true;
      }
    }
  }
  report_.finish(name, unit, note);
}

void Fleet::load() {
  for (auto& member : members_) {
    if (member->store) continue;
    member->open(true);
    load_keys(*member->session, member->setup, 0, member->setup.keys);
    member->store->settle();
  }
}

void load_keys(Session& session, const Setup& setup, std::uint64_t begin, std::uint64_t end,
               std::size_t batch) {
  std::vector<KeyBuffer> keys(batch, KeyBuffer(setup.key_bytes));
  std::vector<ValueBuffer> values(batch, ValueBuffer(setup.value_bytes));
  std::vector<Pair> pairs(batch);
  while (begin < end) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(batch, end - begin));
    for (std::size_t at = 0; at < count; ++at) {
      pairs[at] = {keys[at].make(begin + at), values[at].make(begin + at)};
    }
    session.put_batch({pairs.data(), count});
    begin += count;
  }
}

std::uint64_t disk_bytes(const std::string& folder) {
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    struct ::stat status;
    if (::stat(entry.path().c_str(), &status) == 0 && S_ISREG(status.st_mode)) {
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
  }
  return bytes;
}

}  // namespace bench
