// The ready-made configurations.
#include "core/config.hpp"

namespace armdb {

Config Config::embedded() noexcept {
  Config config;
  config.shard_count = 1;
  config.max_file_size = std::uint64_t{1} << 20;
  config.write_buffer_size = std::uint32_t{64} << 10;
  config.cache_bytes = std::uint64_t{32} << 10;
  config.mapped_reads = false;
  config.index_step_bytes = 16u << 10;
  return config;
}

}  // namespace armdb
