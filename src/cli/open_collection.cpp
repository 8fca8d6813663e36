// What all commands share around a collection.
#include "cli/open_collection.hpp"

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <utility>

namespace armdb::cli {

namespace {

std::string_view advice(const Status& status) {
  switch (status.code()) {
    case Errc::not_found:
      return "; \"armdb create\" makes a collection";
    case Errc::no_space:
      return "; free some space and run it again";
    case Errc::wrong_key:
      return "; --key-env or --passphrase-env name the variable with the key";
    case Errc::corrupt:
      return "; see \"armdb help repair\"";
    case Errc::failed:
      return "; run it again when the disk is well";
    case Errc::out_of_memory:
      return "; all keys must fit into memory";
    case Errc::io_error:
      return "; check the path, its permissions and the disk";
    default:
      return "";
  }
}

}  // namespace

void fail(const Status& status, std::string_view doing, int exit_code) {
  throw Stop{exit_code, std::string(doing) + ": " + status.message() + std::string(advice(status))};
}

void check(const Status& status, std::string_view doing) {
  if (!status.ok()) fail(status, doing);
}

Collection open_collection(const std::string& path, Access access, Console& console,
                           Config config) {
  config.read_only = access == Access::read;
  config.create = false;
  console.settle(config);
  Result<Collection> collection = Collection::open_existing(path, config);
  if (!collection.ok()) fail(collection.status(), "cannot open the collection");
  return std::move(*collection);
}

Collection create_collection(const std::string& path, const Shape& shape, Console& console,
                             FixedConfig config) {
  if (has_collection(path)) {
    throw Stop{kFailed, "cannot create \"" + path +
                            "\": there is a collection already; choose another path"};
  }
  std::error_code error;
  if (std::filesystem::exists(path, error) && !std::filesystem::is_empty(path, error)) {
    throw Stop{kFailed,
               "cannot create \"" + path + "\": something else is there; choose another path"};
  }
  console.settle(config);
  Result<Collection> collection = Collection::open(path, shape, config);
  if (!collection.ok()) fail(collection.status(), "cannot create the collection");
  return std::move(*collection);
}

bool has_collection(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::path(path) / "db.meta", error);
}

bool is_fixed(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::path(path) / "shard_000" / "slots.dat", error);
}

void close_collection(Collection& collection) {
  check(collection.close(), "cannot close the collection");
}

EncryptionKey key_from(const Arguments& arguments, std::string_view key_option,
                       std::string_view passphrase_option) {
  arguments.at_most_one_of({key_option, passphrase_option});
  if (const std::optional<std::string> name = arguments.text(key_option)) {
    const Result<ByteArray<32>> key = key_from_env(name->c_str());
    if (!key.ok()) wrong_use(key.message());
    return *key;
  }
  const std::optional<std::string> name = arguments.text(passphrase_option);
  if (!name) return {};
  // NOLINTNEXTLINE(concurrency-mt-unsafe): no thread of this program changes it
  const char* const text = std::getenv(name->c_str());
  if (text == nullptr || *text == 0) {
    wrong_use("the environment variable \"" + *name + "\" is not set, or empty");
  }
  return EncryptionKey::passphrase(text);
}

void add_common_options(Command& command) {
  command.options.push_back({0, "key-env", "NAME",
                             "the key of an encrypted collection: the environment\n"
                             "variable that holds it as 64 hexadecimal digits"});
  command.options.push_back(
      {0, "passphrase-env", "NAME", "the same for one that is locked by a passphrase"});
  command.options.push_back({'v', "verbose", "", "also tell what the library notes"});
  command.options.push_back({'h', "help", "", "this text"});
}

}  // namespace armdb::cli
