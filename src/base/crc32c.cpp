// CRC-32C kernels: tables (portable), SSE4.2 with PCLMUL, ARMv8; all give the same result.
//
// Kernels work on the inverted register; crc32c() inverts before and after, which makes the
// value continuable. Polynomials are reflected: the highest power is the lowest bit.
#include "base/crc32c.hpp"

#include <array>
#include <atomic>
#include <cstddef>

#include "base/build.hpp"
#include "base/little.hpp"

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
#endif

namespace armdb::base {
namespace {

constexpr std::uint32_t kCrcPolynomial = 0x82f63b78u;

// The register after one more zero bit: a multiplication by x.
constexpr std::uint32_t crc_times_x(std::uint32_t crc) noexcept {
  return (crc >> 1) ^ ((crc & 1) != 0 ? kCrcPolynomial : 0);
}

// kCrcTables[k][b]: the crc of byte b followed by k zero bytes ("slicing by 4", after Kounavis
// and Berry, 2005; by 8 would take 4 KiB more, for machines without the instruction only).
constexpr std::size_t kCrcTableCount = 4;

constexpr std::array<std::array<std::uint32_t, 256>, kCrcTableCount> make_crc_tables() noexcept {
  std::array<std::array<std::uint32_t, 256>, kCrcTableCount> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc_times_x(crc);
    tables[0][byte] = crc;
  }
  for (std::size_t zeros = 1; zeros < kCrcTableCount; ++zeros) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t crc = tables[zeros - 1][byte];
      tables[zeros][byte] = tables[0][crc & 0xff] ^ (crc >> 8);
    }
  }
  return tables;
}

constexpr auto kCrcTables = make_crc_tables();

using CrcKernel = std::uint32_t (*)(std::uint32_t crc, const std::uint8_t* data,
                                    std::size_t size) noexcept;

// What the 16 values of half a byte add: the crc of a byte is the sum of those of its halves.
constexpr std::array<std::uint32_t, 16> make_crc_halves(unsigned shift) noexcept {
  std::array<std::uint32_t, 16> halves{};
  for (std::uint32_t half = 0; half < 16; ++half) halves[half] = kCrcTables[0][half << shift];
  return halves;
}

constexpr auto kCrcLowHalves = make_crc_halves(0);
constexpr auto kCrcHighHalves = make_crc_halves(4);
static_assert((kCrcLowHalves[0x7] ^ kCrcHighHalves[0x9]) == kCrcTables[0][0x97]);

std::uint32_t crc_by_tables(std::uint32_t crc, const std::uint8_t* data,
                            std::size_t size) noexcept {
  if constexpr (kSmallBuild) {
    // 128 bytes of tables, and two loads that do not wait for each other.
    for (; size != 0; --size, ++data) {
      crc ^= *data;
      crc = kCrcLowHalves[crc & 15] ^ kCrcHighHalves[(crc >> 4) & 15] ^ (crc >> 8);
    }
    return crc;
  }
  const auto& t = kCrcTables;
  for (; size >= 4; size -= 4, data += 4) {
    const std::uint32_t word = load_little<std::uint32_t>(data) ^ crc;
    crc =
        t[3][word & 0xff] ^ t[2][(word >> 8) & 0xff] ^ t[1][(word >> 16) & 0xff] ^ t[0][word >> 24];
  }
  for (; size != 0; --size, ++data) crc = t[0][(crc ^ *data) & 0xff] ^ (crc >> 8);
  return crc;
}

#if defined(__x86_64__)

// The instruction takes 3 cycles but a new one starts each cycle, so long inputs are cut into
// three lanes of equal length that run side by side. A lane's register is then moved over the
// bytes that follow it by one carry-less multiplication: kCrcShifts[n] is x^(64 n - 33), and the
// crc of a product p is p * x^33 (32 by the crc itself, 1 because the product of two reflected
// 32-bit polynomials has 63 bits).
constexpr std::size_t kLaneWordsMax = kSmallBuild ? 8 : 256;

constexpr std::array<std::uint32_t, 2 * kLaneWordsMax + 1> make_crc_shifts() noexcept {
  std::array<std::uint32_t, 2 * kLaneWordsMax + 1> shifts{};
  std::uint32_t power = 1;  // x^31, for one word
  for (std::size_t words = 1; words < shifts.size(); ++words) {
    shifts[words] = power;
    for (int bit = 0; bit < 64; ++bit) power = crc_times_x(power);
  }
  return shifts;
}

constexpr auto kCrcShifts = make_crc_shifts();

// p * q before reduction, for _mm_crc32_u64.
[[gnu::target("sse4.2,pclmul")]] inline std::uint64_t crc_product(std::uint32_t p,
                                                                  std::uint32_t q) noexcept {
  const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi32_si128(static_cast<int>(p)),
                                               _mm_cvtsi32_si128(static_cast<int>(q)), 0);
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(product));
}

[[gnu::target("sse4.2,pclmul")]] std::uint32_t crc_by_sse42(std::uint32_t crc,
                                                            const std::uint8_t* data,
                                                            std::size_t size) noexcept {
  while (size >= 72) {
    const std::size_t words = size / 24 < kLaneWordsMax ? size / 24 : kLaneWordsMax;
    const std::size_t lane = words * 8;
    std::uint64_t a = crc;
    std::uint64_t b = 0;
    std::uint64_t c = 0;
    const std::uint8_t* const end = data + lane;
    for (; data != end; data += 8) {
      a = _mm_crc32_u64(a, load_little<std::uint64_t>(data));
      b = _mm_crc32_u64(b, load_little<std::uint64_t>(data + lane));
      c = _mm_crc32_u64(c, load_little<std::uint64_t>(data + 2 * lane));
    }
    const std::uint64_t moved = crc_product(static_cast<std::uint32_t>(a), kCrcShifts[2 * words]) ^
                                crc_product(static_cast<std::uint32_t>(b), kCrcShifts[words]);
    crc = static_cast<std::uint32_t>(c ^ _mm_crc32_u64(0, moved));
    data += 2 * lane;
    size -= 3 * lane;
  }
  std::uint64_t wide = crc;
  for (; size >= 8; size -= 8, data += 8) {
    wide = _mm_crc32_u64(wide, load_little<std::uint64_t>(data));
  }
  crc = static_cast<std::uint32_t>(wide);
  if (size >= 4) {
    crc = _mm_crc32_u32(crc, load_little<std::uint32_t>(data));
    data += 4;
    size -= 4;
  }
  for (; size != 0; --size, ++data) crc = _mm_crc32_u8(crc, *data);
  return crc;
}

#elif defined(__aarch64__)

// Assembly and not <arm_acle.h>: clang before 16 hides the intrinsics unless the whole file is
// compiled for a processor that has them.
std::uint32_t crc_by_armv8(std::uint32_t crc, const std::uint8_t* data, std::size_t size) noexcept {
  for (; size >= 8; size -= 8, data += 8) {
    const auto word = load_little<std::uint64_t>(data);
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
  }
  for (; size != 0; --size, ++data) {
    const std::uint32_t byte = *data;
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(byte));
  }
  return crc;
}

#endif

std::uint32_t crc_choose_and_run(std::uint32_t crc, const std::uint8_t* data,
                                 std::size_t size) noexcept;

// Relaxed everywhere: the kernels are interchangeable, and code needs no publishing.
constinit std::atomic<CrcKernel> crc_kernel{crc_choose_and_run};

std::uint32_t crc_choose_and_run(std::uint32_t crc, const std::uint8_t* data,
                                 std::size_t size) noexcept {
  CrcKernel kernel = crc_by_tables;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) kernel = crc_by_sse42;
#elif defined(__aarch64__) && (defined(__ARM_FEATURE_CRC32) || defined(__APPLE__))
  kernel = crc_by_armv8;
#endif
  // Only from "not chosen": crc32c_use_arm_instructions may have been faster.
  CrcKernel expected = crc_choose_and_run;
  crc_kernel.compare_exchange_strong(expected, kernel, std::memory_order_relaxed);
  return kernel(crc, data, size);
}

}  // namespace

std::uint32_t crc32c(std::uint32_t seed, Bytes bytes) noexcept {
  return ~crc_kernel.load(std::memory_order_relaxed)(~seed, bytes.data(), bytes.size());
}

std::uint32_t crc32c_portable(std::uint32_t seed, Bytes bytes) noexcept {
  return ~crc_by_tables(~seed, bytes.data(), bytes.size());
}

void crc32c_use_arm_instructions() noexcept {
#if defined(__aarch64__)
  crc_kernel.store(crc_by_armv8, std::memory_order_relaxed);
#endif
}

}  // namespace armdb::base
