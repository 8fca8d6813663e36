// Rows of opening: after a clean close, with 100 k gets behind it, and after kill -9.
//
// The victim of kill -9 is this program again, not a fork: stores with threads of their own would
// not survive one.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "bench/store.hpp"

namespace bench {
namespace {

constexpr std::uint64_t kGets = 100'000;

double open_ms(Member& member) {
  return per_operation(1, [&] { member.open(false); }) / 1e6;
}
double get_ms(Member& member) {
  const auto numbers = uniform_numbers(member.setup.keys, kGets, 9);
  KeyBuffer key(member.setup.key_bytes);
  std::vector<std::uint8_t> out(member.setup.value_bytes);
  std::uint64_t found = 0;
  const double time = per_operation(1, [&] {
    for (const std::uint32_t number : numbers) {
      found += member.session->get(key.make(number), out.data()) ? 1 : 0;
    }
  });
  if (found != numbers.size()) fail("after reopening, keys are missing");
  return time / 1e6;
}

// Lets a child load the store, and kills it when it says that it is done.
void load_and_kill(const Member& member) {
  int pipe[2];
  if (::pipe(pipe) != 0) fail("no pipe");
  const std::string key_bytes = std::to_string(member.setup.key_bytes);
  const std::string keys = std::to_string(member.setup.keys);
  const ::pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe[1], 1);
    ::execl("/proc/self/exe", "bench", "--victim", member.factory.name.c_str(),
            member.setup.folder.c_str(), key_bytes.c_str(), keys.c_str(),
            static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(pipe[1]);
  char done = 0;
  const bool loaded = ::read(pipe[0], &done, 1) == 1;
  ::close(pipe[0]);
  if (child > 0) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  if (!loaded) fail("the child could not load");
}

void rows_clean(const Options& options, Report& report, const std::string& name, Setup setup) {
  const std::string opening = "reopen." + name;
  const std::string with_gets = "reopen." + name + "_100k_gets";
  if (!report.wanted(opening) && !report.wanted(with_gets)) return;
  Fleet fleet(options, report, "reopen", setup);
  if (!setup.hints) fleet.members().resize(1);  // another way of armdb's alone
  fleet.load();
  std::map<std::string, std::vector<double>> gets;
  fleet.row(
      opening, "ms",
      [&](Member& member, int) {
        member.close();
        const double opened = open_ms(member);
        gets[member.factory.name].push_back(opened + get_ms(member));
        return opened;
      },
      "after a clean close");
  for (auto& member : fleet.members()) {
    for (const double value : gets[member->factory.name]) {
      report.add(with_gets, member->factory.name, value);
    }
  }
  report.finish(with_gets, "ms");
}

}  // namespace

int run_victim(const std::string& name, const Setup& setup) {
  for (const Factory& factory : factories({})) {
    if (factory.name != name) continue;
    const std::unique_ptr<Store> store = factory.open(setup);
    const std::unique_ptr<Session> session = store->session();
    load_keys(*session, setup, 0, setup.keys);
    if (::write(1, "k", 1) != 1) return 1;
    for (;;) ::pause();
  }
  return 1;
}

void run_reopen(const Options& options, Report& report) {
  Setup setup;
  setup.key_bytes = options.key_bytes;
  setup.keys = options.keys;
  rows_clean(options, report, "map", setup);
  setup.ordered = true;
  rows_clean(options, report, "tree", setup);
  setup.ordered = false;
  setup.variable = true;
  rows_clean(options, report, "var_by_hint", setup);
  setup.hints = false;
  rows_clean(options, report, "var_by_scan", setup);
  setup.hints = true;
  setup.variable = false;
  if (!report.wanted("reopen.map_after_kill")) return;
  Fleet fleet(options, report, "killed", setup);
  fleet.row(
      "reopen.map_after_kill", "ms",
      [&](Member& member, int) {
        member.open(true);
        member.close();  // leaves an empty store and a folder
        load_and_kill(member);
        const double opened = open_ms(member);
        get_ms(member);
        member.close();
        return opened;
      },
      "a child loaded it and was killed; all keys were checked for");
}

}  // namespace bench
