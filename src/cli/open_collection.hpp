// Opening and closing collections for a command, and the texts of what fails.
#pragma once

#include <string>
#include <string_view>

#include "armdb.hpp"
#include "cli/arguments.hpp"
#include "cli/console.hpp"

namespace armdb::cli {

enum class Access {
  read,   // changes nothing on disk; refused while a writer has the collection
  write,  // needs the collection alone; recovers what a crash left
};

// The log goes to `console`. Ends with `failed` when it cannot be opened.
[[nodiscard]] Collection open_collection(const std::string& path, Access access, Console& console,
                                         Config config = {});
// Makes an empty collection at a path where nothing is, or an empty directory.
[[nodiscard]] Collection create_collection(const std::string& path, const Shape& shape,
                                           Console& console, FixedConfig config = {});
// Whether a collection is at the path; damaged ones count.
[[nodiscard]] bool has_collection(const std::string& path);
// Whether what is at the path has slots, not logs; damaged ones count.
[[nodiscard]] bool is_fixed(const std::string& path);

// Syncs and closes; ends with `failed` when that fails.
void close_collection(Collection& collection);

// Ends with `exit_code` and one line: what was done, what happened where, what to do about it.
[[noreturn]] void fail(const Status& status, std::string_view doing, int exit_code = kFailed);
void check(const Status& status, std::string_view doing);

// The options that each command has.
void add_common_options(Command& command);
// The key that `key_option` or `passphrase_option` name an environment variable for; empty when
// neither was given.
[[nodiscard]] EncryptionKey key_from(const Arguments& arguments, std::string_view key_option,
                                     std::string_view passphrase_option);

}  // namespace armdb::cli
