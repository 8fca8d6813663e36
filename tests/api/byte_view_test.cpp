// ByteView: short values inside, long ones shared; and Bytes, what it converts from.
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace armdb;

TEST_CASE("byte_view: 24 bytes, 20 of them its own") {
  static_assert(sizeof(ByteView) == 24 && alignof(ByteView) == 8);
  for (std::size_t size = 0; size <= ByteView::kInlineBytes; ++size) {
    const std::string text(size, 'a');
    ByteView view = ByteView::inlined(text);
    CHECK(view.text() == text);
    CHECK(view.size() == size);
    CHECK(view.empty() == (size == 0));
    const ByteView copy = view;
    const ByteView moved = std::move(view);
    CHECK(copy == moved);
    CHECK(view.empty());  // NOLINT(bugprone-use-after-move)
    CHECK(std::string(copy.begin(), copy.end()) == text);
    CHECK(reinterpret_cast<const char*>(copy.data()) >= reinterpret_cast<const char*>(&copy));
  }
}

TEST_CASE("byte_view: long values are shared, and live as long as a view does") {
  test::TempDir directory;
  auto map = *VarMap<std::uint32_t>::open(directory / "c");
  for (const std::size_t size : {21u, 100u, 4096u, 100000u}) {
    const std::string text(size, 'z');
    REQUIRE(map.put(1, text).ok());
    if (size > 1000) REQUIRE(map.checkpoint().ok());
    std::vector<ByteView> views;
    {
      const ByteView first = **map.get(1);
      CHECK(first.text() == text);
      for (int count = 0; count < 10; ++count) views.push_back(first);
      CHECK(views.back().data() == first.data());
    }
    REQUIRE(map.put(1, "other").ok());
    for (const ByteView& view : views) CHECK(view.text() == text);
    views[3] = views[4];
    views[5] = std::move(views[6]);
    views[7] = ByteView::inlined("short");
    std::swap(views[7], views[8]);
    const ByteView& self = views[8];
    views[8] = self;
    CHECK(views[5].text() == text);
    CHECK(views[8].text() == "short");
  }
}

TEST_CASE("byte_view: Bytes takes every contiguous range of bytes or chars") {
  const std::string text = "text";
  const std::string_view view = "text";
  const std::vector<std::uint8_t> vector{'t', 'e', 'x', 't'};
  const std::vector<char> chars{'t', 'e', 'x', 't'};
  const std::array<std::byte, 2> bytes{std::byte{'t'}, std::byte{'e'}};
  const ByteArray<4> array{'t', 'e', 'x', 't'};
  const std::uint8_t plain[] = {'t', 'e', 'x', 't'};
  CHECK(Bytes(text) == Bytes("text"));
  CHECK(Bytes(view) == Bytes(vector));
  CHECK(Bytes(chars) == Bytes(array));
  CHECK(Bytes(plain) == Bytes("text"));
  CHECK(Bytes(bytes) == Bytes("te"));
  CHECK(Bytes(std::string("a\0b", 3)).size() == 3);
  CHECK(Bytes("a\0b").size() == 1);  // a literal ends at its NUL
  CHECK(Bytes().empty());
  CHECK(Bytes("text").sub(1, 2) == Bytes("ex"));
  CHECK(Bytes("text").sub(4).empty());
  CHECK(Bytes("text").sub(9).empty());
  CHECK(Bytes("text").sub(2, 99).text() == "xt");
  CHECK(compare_bytes("a", "b") < 0);
  CHECK(compare_bytes("ab", "a") > 0);
  CHECK(compare_bytes("a\xff", "a\x7f") > 0);
  CHECK(compare_bytes("", "") == 0);
}
