// Names of files: one table of endings for both directions.
#include "format/file_name.hpp"

#include "base/check.hpp"
#include "base/location.hpp"

namespace armdb::format {
namespace {

constexpr std::size_t kIdDigits = 10;
constexpr std::string_view kTemporaryEnding = ".tmp";

struct NumberedRole {
  FileRole role;
  std::string_view ending;
};
constexpr NumberedRole kNumberedRoles[] = {
    {FileRole::segment, ".data"},
    {FileRole::hint, ".hint"},
    {FileRole::aside, ".aside"},
    {FileRole::failed, ".failed"},
};

// `number` in decimal, with leading zeros up to `digits`.
std::string zero_padded(std::uint32_t number, std::size_t digits) {
  std::string text(digits, '0');
  for (std::size_t at = digits; at != 0 && number != 0; number /= 10) {
    text[--at] = static_cast<char>('0' + number % 10);
  }
  ARMDB_ASSERT(number == 0);
  return text;
}

}  // namespace

FileName parse_file_name(std::string_view name) noexcept {
  if (name == kManifestName) return {FileRole::manifest, 0};
  if (name == kTailName) return {FileRole::tail, 0};
  if (name.size() > kTemporaryEnding.size() && name.ends_with(kTemporaryEnding)) {
    return {FileRole::temporary, 0};
  }
  if (name.size() <= kIdDigits) return {};
  std::uint64_t number = 0;  // ten digits pass 2^32
  for (const char digit : name.substr(0, kIdDigits)) {
    if (digit < '0' || digit > '9') return {};
    number = number * 10 + static_cast<std::uint64_t>(digit - '0');
  }
  if (number == 0 || number > base::Location::kFileIdMax) return {};
  for (const NumberedRole& numbered : kNumberedRoles) {
    if (name.substr(kIdDigits) == numbered.ending) {
      return {numbered.role, static_cast<std::uint32_t>(number)};
    }
  }
  return {};
}

std::string file_name(FileRole role, std::uint32_t file_id) {
  if (role == FileRole::manifest) return std::string(kManifestName);
  if (role == FileRole::tail) return std::string(kTailName);
  std::string_view ending;
  if (role == FileRole::temporary) ending = kTemporaryEnding;
  for (const NumberedRole& numbered : kNumberedRoles) {
    if (numbered.role == role) ending = numbered.ending;
  }
  ARMDB_ASSERT(!ending.empty());
  return zero_padded(file_id, kIdDigits).append(ending);
}

std::string shard_directory_name(std::uint32_t shard) {
  ARMDB_ASSERT(shard < 256);
  return zero_padded(shard, 3).insert(0, "shard_");
}

}  // namespace armdb::format
