// Typed values: what a codec rejects, references that stay, and the meta of a type.
#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "armdb.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/temp_dir.hpp"

namespace {

using namespace armdb;

struct Person {
  std::string name;
  std::uint32_t age = 0;
  using armdb_codec = fields<&Person::name, &Person::age>;
  friend bool operator==(const Person&, const Person&) = default;
};

// Refuses to be older than a hundred: an encode() that fails.
struct ShortLifeCodec {
  static std::size_t size(const Person& person) { return DefaultCodec<Person>::size(person); }
  static Status encode(const Person& person, MutableBytes out) {
    if (person.age > 100) return Status(Errc::invalid_argument, "nobody is that old");
    return DefaultCodec<Person>::encode(person, out);
  }
  static Status decode(Bytes in, Person& out) { return DefaultCodec<Person>::decode(in, out); }
};

using Decoded = TypedTree<std::uint32_t, Person>;
using Lazy = VarTypedTree<std::uint32_t, Person>;
using Raw = VarTree<std::uint32_t>;

// What is merely converted to a value is gone before a bulk write copies its bytes: no such call.
template <class V, class From>
concept Encodes = requires(const From& from, detail::Encoded& out) {
  V::encode(from, out);
};
static_assert(Encodes<detail::InlineValues<std::uint64_t, false>, std::uint64_t>);
static_assert(!Encodes<detail::InlineValues<std::uint64_t, false>, int>);

template <class C> C open(const test::TempDir& directory, const char* name = "c") {
  Result<C> opened = C::open(directory.path() + "/" + name);
  INFO(opened.message());
  REQUIRE(opened.ok());
  return *std::move(opened);
}

void store_junk(const test::TempDir& directory, std::uint32_t key, const std::string& bytes) {
  Raw raw = open<Raw>(directory);
  REQUIRE(raw.put(key, bytes).ok());
  REQUIRE(raw.close().ok());
}

}  // namespace

TEST_CASE("typed: a stored value that the codec rejects fails the open, with key and file") {
  const test::TempDir directory;
  store_junk(directory, 0xab, "\x02junk");
  const Result<Decoded> opened = Decoded::open(directory.path() + "/c");
  REQUIRE(opened.is(Errc::corrupt));
  CHECK(opened.message().find("0x000000ab") != std::string::npos);
  CHECK(opened.message().find(".data") != std::string::npos);
  // The bytes are still there for those who read bytes, and once overwritten nobody minds them.
  Raw raw = open<Raw>(directory);
  CHECK(raw.contains(0xab));
  REQUIRE(raw.erase(0xab).ok());
  REQUIRE(raw.close().ok());
  CHECK(open<Decoded>(directory).empty());
}

TEST_CASE("typed: a value that is decoded when read is an error there, never missing") {
  const test::TempDir directory;
  store_junk(directory, 0xab, "\x02junk");
  Lazy lazy = open<Lazy>(directory);
  REQUIRE(lazy.put(1, {"ann", 5}).ok());
  CHECK(lazy.contains(0xab));
  const auto value = lazy.get(0xab);
  REQUIRE(value.status().is(Errc::corrupt));
  CHECK(value.message().find("0x000000ab") != std::string::npos);
  CHECK(value.message().find(".data") != std::string::npos);
  CHECK(lazy.get_or(0xab, Person{}).status().is(Errc::corrupt));
  CHECK(lazy.update(0xab, [](const Person& old) { return old; }).is(Errc::corrupt));
  CHECK(lazy.cas(0xab, {}, {}).is(Errc::corrupt));
  std::size_t good = 0;
  std::size_t bad = 0;
  for (const auto& [key, person] : lazy.iter()) ++(person.ok() ? good : bad);
  CHECK(good == 1);
  CHECK(bad == 1);
  const Status walked = lazy.for_each([](std::uint32_t, const Person&) {});
  CHECK(walked.is(Errc::corrupt));
  CHECK(walked.message().find("0x000000ab") != std::string::npos);
  CHECK(lazy.migrate([](std::uint32_t, const Person&) { return MigrateAction<Person>::keep(); })
            .is(Errc::corrupt));
  // Erasing and replacing need no decoding.
  REQUIRE(lazy.put(0xab, {"bob", 6}).ok());
  CHECK(lazy.get(0xab).value()->name == "bob");
}

TEST_CASE("typed: ranges and atomic blocks name key and file of what they cannot decode") {
  const test::TempDir directory;
  store_junk(directory, 0xab, "\x02junk");
  Lazy lazy = open<Lazy>(directory);
  const auto names_it = [](const Status& status) {
    INFO(status.message());
    CHECK(status.is(Errc::corrupt));
    CHECK(status.message().find("0x000000ab") != std::string::npos);
    CHECK(status.message().find(".data") != std::string::npos);
  };
  int seen = 0;
  for (const auto& [key, value] : lazy.iter()) {
    names_it(value.status());
    ++seen;
  }
  CHECK(seen == 1);
  names_it(lazy.atomic(0xab, [&](Lazy::Handle& handle) { return handle.get(0xab).status(); }));
  names_it(lazy.atomic(0xab, [&](Lazy::Handle& handle) {
    return handle.update(0xab, [](const Person& person) { return person; });
  }));
}

TEST_CASE("typed: a value that cannot be encoded changes nothing") {
  const test::TempDir directory;
  using Short = TypedMap<std::uint32_t, Person, ShortLifeCodec>;
  Short people = open<Short>(directory);
  REQUIRE(people.put(1, {"ann", 5}).ok());
  CHECK(people.put(1, {"ann", 500}).is(Errc::invalid_argument));
  CHECK(people.put(2, {"old", 101}).is(Errc::invalid_argument));
  CHECK(people
            .update(1,
                    [](Person person) {
                      person.age = 200;
                      return person;
                    })
            .is(Errc::invalid_argument));
  WriteBatch batch(people);
  CHECK(batch.put(3, {"old", 101}).is(Errc::invalid_argument));
  CHECK(batch.empty());
  CHECK(people.atomic(1,
                      [](auto& handle) {
                        return handle.put(1, {"old", 300});
                      })
            .is(Errc::invalid_argument));
  CHECK(people.size() == 1);
  CHECK(people.get(1)->age == 5);
}

TEST_CASE("typed: a reference stays what it was, whatever is written, erased or closed") {
  const test::TempDir directory;
  TypedRef<Person> kept;
  {
    Decoded people = open<Decoded>(directory);
    REQUIRE(people.put(1, {"ann", 5}).ok());
    kept = people.get(1);
    const TypedRef<Person> copy = kept;
    for (std::uint32_t age = 0; age < 500; ++age) REQUIRE(people.put(1, {"ann", age}).ok());
    REQUIRE(people.erase(1).ok());
    CHECK(copy->age == 5);
    CHECK_FALSE(people.get(1));
    REQUIRE(people.close().ok());
  }
  CHECK(*kept == Person{"ann", 5});
}

#if !defined(ARMDB_OMIT_THREADS)

TEST_CASE("typed: readers hold whole values while writers replace them") {
  const test::TempDir directory;
  Decoded people = open<Decoded>(directory);
  const auto person = [](std::uint32_t age) {
    return Person{std::string(age % 50 + 1, static_cast<char>('a' + age % 26)), age};
  };
  for (std::uint32_t key = 0; key < 8; ++key) REQUIRE(people.put(key, person(0)).ok());
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  const auto check = [&](const Person& seen) {
    if (seen != person(seen.age)) ++wrong;
  };
  std::thread reader([&] {
    while (!stop) {
      for (std::uint32_t key = 0; key < 8; ++key) {
        if (const auto ref = people.get(key)) check(*ref);
      }
    }
  });
  std::thread walker([&] {
    while (!stop) {
      for (const auto& [key, ref] : people.iter()) check(*ref);
      std::vector<std::uint32_t> keys{0, 1, 2, 3};
      std::vector<TypedRef<Person>> refs(4);
      people.get_many(keys, refs);
      for (const auto& ref : refs) {
        if (ref) check(*ref);
      }
    }
  });
  for (std::uint32_t age = 1; age < 3000; ++age) {
    REQUIRE(people.put(age % 8, person(age)).ok());
    if (age % 16 == 0) REQUIRE(people.erase(age % 8).ok());
  }
  stop = true;
  reader.join();
  walker.join();
  CHECK(wrong == 0);
}

#endif

TEST_CASE("typed: bytes written through the untyped handle are decoded") {
  const test::TempDir directory;
  Decoded people = open<Decoded>(directory);
  REQUIRE(people.put(1, {"ann", 5}).ok());
  Collection& raw = people.collection();
  ByteArray<4> key{};
  key_traits<std::uint32_t>::encode(1, key.data());
  const auto bytes = raw.get(key);
  REQUIRE(bytes.ok());
  key_traits<std::uint32_t>::encode(2, key.data());
  REQUIRE(raw.put(key, **bytes).ok());
  CHECK(*people.get(2) == Person{"ann", 5});
  CHECK_FALSE(raw.put(key, "junk").ok());
  CHECK(*people.get(2) == Person{"ann", 5});
}
