// armdb: the command-line program. Finds the command, runs it, and tells what ended it.
#include <csignal>
#include <cstdio>
#include <new>

#include "cli/commands.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/text_format.hpp"

namespace armdb::cli {

namespace {

std::vector<Command> all_commands() {
  return {
    create_command(), stat_command(), get_command(), put_command(), erase_command(), scan_command(),
        load_command(), dump_command(), verify_command(), compact_command(), checkpoint_command(),
        repair_command(), encrypt_command(), decrypt_command(), rekey_command(), bench_command(),
#if !defined(ARMDB_OMIT_REPLICATION)
        serve_command(), follow_command(), promote_command(), lag_command(),
#endif
  };
}

const Command& find_command(const std::vector<Command>& commands, const std::string& name) {
  std::vector<std::string_view> names;
  for (const Command& command : commands) {
    if (command.name == name) return command;
    names.push_back(command.name);
  }
  names.push_back("help");
  wrong_use("unknown command \"" + name + "\"" + suggestion(name, names) +
            "; \"armdb --help\" lists all");
}

int run_help(const std::vector<Command>& commands, const std::vector<std::string>& words) {
  std::string wanted;
  for (const std::string& word : words) {
    if (word == "-h" || word == "--help") continue;
    if (!wanted.empty()) wrong_use("help takes one command, such as \"armdb help load\"");
    wanted = word;
  }
  print(wanted.empty() || wanted == "help" ? help_text(commands)
                                           : help_text(find_command(commands, wanted)));
  return kWell;
}

int run(const std::vector<std::string>& words, Console& console) {
  const std::vector<Command> commands = all_commands();
  if (words.empty()) wrong_use("no command; \"armdb --help\" lists all");
  const std::string& name = words[0];
  const std::vector<std::string> rest(words.begin() + 1, words.end());
  if (name == "--help" || name == "-h" || name == "help") return run_help(commands, rest);
  if (name == "--version" || name == "version") {
    print("armdb " + std::string(version()) + " (" + std::string(compile_options()) + ")\n");
    return kWell;
  }
  if (name.starts_with('-')) {
    wrong_use("unknown option \"" + name + "\"" + suggestion(name, {"--help", "--version"}) +
              "; a command comes first, and \"armdb "
              "--help\" lists all");
  }
  const Command& command = find_command(commands, name);
  const Arguments arguments = Arguments::parse(command, rest);
  if (arguments.has("help")) {
    print(help_text(command));
    return kWell;
  }
  console.set_verbose(arguments.has("verbose"));
  console.set_key(key_from(arguments, "key-env", "passphrase-env"));
  return command.run(arguments, console);
}

int run_and_tell(const std::vector<std::string>& words) {
  Console console;
  try {
    return run(words, console);
  } catch (const Stop& stop) {
    if (!stop.text.empty()) console.error(stop.text);
    return stop.exit_code;
  } catch (const std::bad_alloc&) {
    console.error("out of memory; all keys must fit into it");
  } catch (const std::exception& failure) {
    console.error(failure.what());
  }
  return kFailed;
}

}  // namespace

}  // namespace armdb::cli

int main(int count, char** words) {
#if defined(SIGPIPE)
  // A reader that goes away is a failed write, not the end in the middle of one.
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
#endif
  try {
    return armdb::cli::run_and_tell(
        std::vector<std::string>(words + (count > 0 ? 1 : 0), words + count));
  } catch (...) {
    static_cast<void>(std::fputs("armdb: error: out of memory\n", stderr));
    return armdb::cli::kFailed;
  }
}
