// Status and Result: what they say, what they cost, and how they are passed on.
#include <cerrno>
#include <string>

#include "armdb.hpp"
#include "support/catch.hpp"

using namespace armdb;

TEST_CASE("errors: a status tells code, text, file, offset and errno") {
  const Status ok;
  CHECK(ok.ok());
  CHECK(ok);
  CHECK(ok.is(Errc::ok));
  CHECK(ok.os_error() == 0);
  CHECK(ok.file().empty());
  CHECK(ok.offset() == Status::kNoOffset);
  const Status status = Status(Errc::corrupt, "wrong bytes").at("a/b.data", 512);
  CHECK_FALSE(status);
  CHECK(status.code() == Errc::corrupt);
  CHECK(status.file() == "a/b.data");
  CHECK(status.offset() == 512);
  for (const char* part : {"corrupt", "wrong bytes", "a/b.data", "512"}) {
    CHECK(status.message().find(part) != std::string::npos);
  }
  // The first place named stays.
  Status copy = status;
  CHECK(std::move(copy).at("other", 1).file() == "a/b.data");
  CHECK(Status(Errc::not_found).message() == "not_found");
}

TEST_CASE("errors: errno becomes a code [pitfall-28]") {
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) {
    CHECK(Status::from_os(error, "x").is(Errc::no_space));
  }
  CHECK(Status::from_os(ENOMEM, "x").is(Errc::out_of_memory));
  for (const int error : {EIO, EROFS, EMFILE, ENFILE, EACCES, EPERM}) {
    const Status status = Status::from_os(error, "x");
    CHECK(status.is(Errc::io_error));
    CHECK(status.os_error() == error);
  }
}

TEST_CASE("errors: every code has a name") {
  for (int code = 0; code <= static_cast<int>(Errc::fenced); ++code) {
    CHECK_FALSE(errc_name(static_cast<Errc>(code)).empty());
    CHECK(errc_name(static_cast<Errc>(code)) != "unknown");
  }
  CHECK(errc_name(Errc::not_found) == "not_found");
}

TEST_CASE("errors: statuses copy, move and assign") {
  Status status(Errc::io_error, "first");
  Status copy = status;
  Status moved = std::move(status);
  CHECK(copy.message() == moved.message());
  status = Status(Errc::no_space, "second");
  copy = status;
  CHECK(copy.is(Errc::no_space));
  const Status& self = copy;
  copy = self;
  CHECK(copy.message().find("second") != std::string::npos);
  copy = Status();
  CHECK(copy.ok());
}

TEST_CASE("errors: a result holds a value or the error in its place") {
  Result<std::string> good("text");
  CHECK(good.ok());
  CHECK(good);
  CHECK(*good == "text");
  CHECK(good->size() == 4);
  CHECK(good.value_or("other") == "text");
  CHECK(good.status().ok());
  const Result<std::string> bad(Status(Errc::corrupt, "no text"));
  CHECK_FALSE(bad.ok());
  CHECK(bad.is(Errc::corrupt));
  CHECK(bad.value_or("other") == "other");
  CHECK(bad.message().find("no text") != std::string::npos);
  CHECK_FALSE(Result<int>(Status()).ok());  // an ok status is no value
  CHECK(Result<int>(Errc::closed).is(Errc::closed));
  CHECK(Result<int>().is(Errc::not_found));
  const std::string taken = *std::move(good);
  CHECK(taken == "text");
}

TEST_CASE("errors: version() and compile_options() say what was built") {
  CHECK(version().starts_with(std::to_string(ARMDB_VERSION_MAJOR) + "."));
  CHECK(compile_options().size() < 1000);
}
