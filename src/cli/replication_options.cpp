// Options about the other side, signals, and texts of replication.
#include "cli/replication_options.hpp"

#include <csignal>
#include <cstring>
#include <fstream>

#include "cli/open_collection.hpp"
#include "cli/text_format.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::cli {

namespace {

volatile std::sig_atomic_t end_asked = 0;

extern "C" void ask_to_end(int /*signal*/) { end_asked = 1; }

// 64 hexadecimal digits; what stands there is never told.
EncryptionKey key_from_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string digits(256, 0);
  if (!file) wrong_use("--shared-key-file: cannot open \"" + path + "\"");
  file.read(digits.data(), static_cast<std::streamsize>(digits.size()));
  digits.resize(static_cast<std::size_t>(file.gcount()));
  while (!digits.empty() && std::strchr(" \t\r\n", digits.back()) != nullptr) digits.pop_back();
  std::string bytes, why;
  ByteArray<32> key{};
  if (!decode_hex(digits, bytes, why) || bytes.size() != key.size()) {
    wrong_use("--shared-key-file: \"" + path +
              "\" must hold 64 hexadecimal digits; \"openssl rand -hex 32\" makes them");
  }
  std::memcpy(key.data(), bytes.data(), key.size());
  return key;
}

std::string_view peer_advice(const Status& status) {
  if (status.os_error() != 0) return "; is \"armdb serve\" running there?";
  switch (status.code()) {
    case Errc::wrong_key:
      if (status.message().find("pre-shared key") == std::string::npos) return "";
      return "; both sides need the same --shared-key-file or --shared-key-env";
    case Errc::closed:
      return "; the server may want a key: --shared-key-file or --shared-key-env";
    case Errc::timed_out:
      return "; is it \"armdb serve\" that listens there, and not behind a key?";
    case Errc::invalid_argument:
      // The library speaks of its own settings.
      if (status.message().find("pre_shared_key") == std::string::npos) return "";
      return "; here: --shared-key-file, --cert, or --allow-insecure";
    case Errc::not_found:
      return "; --name says which collection of the server is meant";
    case Errc::fenced:
      return "; name the address of the newest leader";
    case Errc::read_only:
      return "; \"armdb promote\" does that";
    default:
      return "";
  }
}

}  // namespace

Peer::Peer(const Arguments& arguments)
    : name_(arguments.text("name").value_or("")),
      certificate_(arguments.text("cert").value_or("")),
      private_key_(arguments.text("private-key").value_or("")),
      ca_(arguments.text("ca").value_or("")),
      peer_name_(arguments.text("peer").value_or("")),
      allow_insecure_(arguments.has("allow-insecure")) {
  for (const std::string_view key : {"shared-key-file", "shared-key-env"}) {
    arguments.at_most_one_of({key, "cert", "allow-insecure"});
  }
  arguments.at_most_one_of({"shared-key-file", "shared-key-env"});
  const bool certificates = arguments.has("cert");
  for (const std::string_view other : {"private-key", "ca", "peer"}) {
    if (certificates == arguments.has(other)) continue;
    wrong_use("--cert, --private-key, --ca and --peer go together");
  }
  if (const auto path = arguments.text("shared-key-file")) key_ = key_from_file(*path);
  if (const auto variable = arguments.text("shared-key-env")) {
    const Result<ByteArray<32>> key = key_from_env(variable->c_str());
    if (!key.ok()) wrong_use(key.message());
    key_ = *key;
  }
}

ReplicationConfig Peer::config() const {
  ReplicationConfig config;
  config.name = name_;
  config.pre_shared_key = key_;
  config.certificate_file = certificate_;
  config.private_key_file = private_key_;
  config.ca_file = ca_;
  config.peer_name = peer_name_;
  config.allow_insecure = allow_insecure_;
  return config;
}

void add_peer_options(Command& command) {
  const Option options[] = {
      {0, "name", "NAME", "of the collection, where a server has several"},
      {0, "shared-key-file", "FILE",
       "the key that both sides have: 64 hexadecimal digits, such\n"
       "as \"openssl rand -hex 32\" gives"},
      {0, "shared-key-env", "NAME", "the same, in an environment variable"},
      {0, "cert", "FILE", "or a certificate (PEM) of this side"},
      {0, "private-key", "FILE", "its private key"},
      {0, "ca", "FILE", "who signed the other side's certificate"},
      {0, "peer", "NAME", "that the other side's certificate must carry"},
      {0, "allow-insecure", "",
       "without any of these: whoever reaches the address may read\n"
       "all, or pose as the leader"},
  };
  command.options.insert(command.options.end(), std::begin(options), std::end(options));
}

void end_on_signals() {
  static_cast<void>(std::signal(SIGINT, ask_to_end));
  static_cast<void>(std::signal(SIGTERM, ask_to_end));
}

bool asked_to_end() { return end_asked != 0; }

void fail_with_peer(const Status& status, std::string_view doing) {
  throw Stop{kFailed,
             std::string(doing) + ": " + status.message() + std::string(peer_advice(status))};
}

std::string state_text(const ReplicationStats& stats) {
  std::string text(replication_state_name(stats.state));
  const bool talks = stats.state == ReplicationState::copying ||
                     stats.state == ReplicationState::catching_up ||
                     stats.state == ReplicationState::streaming;
  if (talks) {
    text += ", term " + std::to_string(stats.term) + ", " +
            counted(stats.lag_entries, "entry", "entries") + " behind";
  }
  if (!talks && !stats.last_error.ok()) text += ": " + one_line(stats.last_error.message());
  if (stats.state == ReplicationState::refused) text += peer_advice(stats.last_error);
  return text;
}

std::string lag_text(const ReplicationStats& stats) {
  std::string text = counted(stats.lag_entries, "entry", "entries");
  if (stats.lag_bytes != 0) text += ", " + size_text(stats.lag_bytes);
  return stats.lag_ms == 0 ? text : text + ", for " + grouped(stats.lag_ms) + " ms";
}

}  // namespace armdb::cli

#endif  // !ARMDB_OMIT_REPLICATION
