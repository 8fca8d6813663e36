// Which crash states to try, and making them.
#include "support/crash_states.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace armdb::test {

namespace {

constexpr std::size_t kSubsetAtoms = 7;       // so many: all 2^n
constexpr std::size_t kSubsetOperations = 6;  // the same
constexpr std::size_t kMixes = 24;

bool of_tail(std::string_view path) { return path.ends_with("/tail.buf"); }
bool of_slots(std::string_view path) { return path.ends_with("/slots.dat"); }

AtomFate random_fate(base::Random& random) { return static_cast<AtomFate>(random.below(5)); }

// Adds all plans over one group of `atoms` atoms to `plans`.
void add_group(std::vector<CrashPlan>& plans, CrashPlan plan, std::size_t atoms,
               base::Random& random) {
  using Data = CrashPlan::Data;
  const auto add = [&](Data data, std::size_t at, AtomFate fate, std::uint64_t bits) {
    plan.data = data;
    plan.at = at;
    plan.fate = fate;
    plan.bits = bits;
    plans.push_back(plan);
  };
  add(Data::none, 0, AtomFate::absent, 0);
  add(Data::all, 0, AtomFate::present, 0);
  std::vector<std::size_t> places;
  for (std::size_t at = 0; at < atoms; ++at) {
    if (at < 3 || at + 8 >= atoms || random.one_in(1 + atoms / 8)) places.push_back(at);
  }
  for (const std::size_t at : places) {
    for (const AtomFate fate :
         {AtomFate::present, AtomFate::zero, AtomFate::garbage, AtomFate::half}) {
      add(Data::prefix, at, fate, 0);
    }
    for (const AtomFate fate :
         {AtomFate::absent, AtomFate::zero, AtomFate::garbage, AtomFate::half}) {
      add(Data::but_one, at, fate, 0);
    }
    for (const AtomFate fate : {AtomFate::present, AtomFate::half}) add(Data::alone, at, fate, 0);
  }
  if (atoms <= kSubsetAtoms) {
    for (std::uint64_t bits = 1; bits + 1 < std::uint64_t{1} << atoms; ++bits) {
      add(Data::subset, 0, AtomFate::present, bits);
    }
  }
  for (std::size_t n = 0; n < kMixes && atoms > 1; ++n) {
    add(Data::mix, 0, AtomFate::present, random.next());
  }
}

void choose_operations(CrashPlan& plan, std::size_t operations, bool strict, base::Random& random) {
  switch (random.below(4)) {
    case 0:
      plan.operations_prefix = operations;
      break;
    case 1:
      plan.operations_prefix = 0;
      break;
    default:
      plan.operations_prefix = random.below(operations + 1);
      plan.operations_subset = strict && random.one_in(2);
      plan.operations_bits = random.next();
  }
}

// With few operations every outcome for them goes with the plainest outcomes of the data.
void add_all_operations(std::vector<CrashPlan>& plans, std::size_t operations, bool strict) {
  for (const CrashPlan::Data data : {CrashPlan::Data::none, CrashPlan::Data::all}) {
    CrashPlan plan;
    plan.data = data;
    for (plan.operations_prefix = 0; plan.operations_prefix <= operations;
         ++plan.operations_prefix) {
      plans.push_back(plan);
    }
    if (!strict || operations > kSubsetOperations) continue;
    plan.operations_subset = true;
    for (plan.operations_bits = 0; plan.operations_bits < std::uint64_t{1} << operations;
         ++plan.operations_bits) {
      plans.push_back(plan);
    }
  }
}

}  // namespace

std::string CrashPlan::text() const {
  static constexpr const char* kData[] = {"none",  "all",    "prefix", "all but",
                                          "alone", "subset", "mix"};
  static constexpr const char* kFates[] = {"absent", "present", "zero", "garbage", "half"};
  std::string text = std::string("atoms: ") + kData[static_cast<std::size_t>(data)];
  if (data == Data::prefix || data == Data::but_one || data == Data::alone) {
    text += " " + std::to_string(at) + " " + kFates[static_cast<std::size_t>(fate)];
  }
  if (data == Data::subset || data == Data::mix) text += " " + std::to_string(bits);
  if (inode != 0) text += " of inode " + std::to_string(inode);
  if (without_tail) text += " without tail";
  if (inode != 0 || without_tail) {
    text += others == Others::absent ? ", others absent"
                                     : (others == Others::present ? ", others present" : ", mixed");
  }
  text += operations_subset ? "; operations: subset " + std::to_string(operations_bits)
                            : "; operations: first " + std::to_string(operations_prefix);
  return text;
}

void crash_as_planned(FaultFileSystem& lab, const FaultFileSystem::Snapshot& snapshot,
                      const CrashPlan& plan) {
  lab.restore(snapshot);
  base::Random random(plan.bits + 1);
  std::size_t rank = 0;
  const auto planned = [&](const PendingAtom& atom) {
    const bool grouped =
        (plan.inode == 0 || plan.inode == atom.inode) && !(plan.without_tail && of_tail(atom.path));
    if (!grouped) {
      if (plan.others == CrashPlan::Others::mix) return random_fate(random);
      return plan.others == CrashPlan::Others::present ? AtomFate::present : AtomFate::absent;
    }
    const std::size_t at = rank++;
    switch (plan.data) {
      case CrashPlan::Data::none:
        return AtomFate::absent;
      case CrashPlan::Data::all:
        return AtomFate::present;
      case CrashPlan::Data::prefix:
        if (at == plan.at) return plan.fate;
        return at < plan.at ? AtomFate::present : AtomFate::absent;
      case CrashPlan::Data::but_one:
        return at == plan.at ? plan.fate : AtomFate::present;
      case CrashPlan::Data::alone:
        return at == plan.at ? plan.fate : AtomFate::absent;
      case CrashPlan::Data::subset:
        return (plan.bits >> at & 1) != 0 ? AtomFate::present : AtomFate::absent;
      case CrashPlan::Data::mix:
        break;
    }
    return random.one_in(2) ? AtomFate::present : random_fate(random);
  };
  const auto fate = [&](const PendingAtom& atom) {
    const AtomFate wanted = planned(atom);
    if (wanted <= AtomFate::present || plan.tearing == Tearing::any || !of_slots(atom.path)) {
      return wanted;
    }
    return plan.tearing == Tearing::half ? AtomFate::half : AtomFate::present;
  };
  lab.power_cut(fate, [&](std::size_t operation) {
    return plan.operations_subset ? (plan.operations_bits >> (operation % 64) & 1) != 0
                                  : operation < plan.operations_prefix;
  });
}

std::vector<CrashPlan> crash_plans(FaultFileSystem& lab, const FaultFileSystem::Snapshot& snapshot,
                                   bool strict, base::Random& random, std::size_t budget,
                                   Tearing tearing) {
  lab.restore(snapshot);
  const std::size_t operations = lab.pending_directory_operations();
  std::map<std::uint64_t, std::size_t> of_inode;
  std::size_t all = 0;
  std::size_t tail = 0;
  lab.power_cut(
      [&](const PendingAtom& atom) {
        of_inode[atom.inode] += 1;
        all += 1;
        tail += of_tail(atom.path) ? 1 : 0;
        return AtomFate::absent;
      },
      [](std::size_t) { return true; });

  std::vector<CrashPlan> plans;
  add_group(plans, {}, all, random);
  for (const CrashPlan::Others others :
       {CrashPlan::Others::absent, CrashPlan::Others::present, CrashPlan::Others::mix}) {
    CrashPlan plan;
    plan.others = others;
    plan.without_tail = true;
    if (tail != 0) add_group(plans, plan, all - tail, random);
    plan.without_tail = false;
    for (const auto& [inode, atoms] : of_inode) {
      plan.inode = inode;
      if (of_inode.size() > 1) add_group(plans, plan, atoms, random);
    }
  }
  for (CrashPlan& plan : plans) choose_operations(plan, operations, strict, random);
  add_all_operations(plans, operations, strict);
  for (CrashPlan& plan : plans) plan.tearing = tearing;
  for (std::size_t at = plans.size(); at > 1; --at) {
    std::swap(plans[at - 1], plans[random.below(at)]);
  }
  if (plans.size() > budget) plans.resize(budget);
  return plans;
}

}  // namespace armdb::test
