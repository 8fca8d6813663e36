// encrypt, decrypt and rekey: keys of collections.
#include "cli/commands.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/text_format.hpp"

namespace armdb::cli {

namespace {

Cipher cipher_from(const Arguments& arguments) {
  const std::string name = arguments.text("cipher").value_or("aes-256-gcm");
  if (name == "aes-256-gcm") return Cipher::aes_256_gcm;
  if (name == "chacha20-poly1305") return Cipher::chacha20_poly1305;
  wrong_use("--cipher takes aes-256-gcm or chacha20-poly1305, not \"" + name + "\"");
}

void copy(const Arguments& arguments, Console& console, const EncryptionKey& key, Cipher cipher) {
  const std::string& path = arguments.operands()[0];
  const std::string& to = arguments.operands()[1];
  Collection collection = open_collection(path, Access::write, console);
  const std::string entries = counted(collection.size(), "entry", "entries");
  check(collection.backup_to(to, key, cipher), "cannot write the copy");
  close_collection(collection);
  print("copied " + entries + " to " + one_line(to) +
        (key.empty() ? ", in the clear\n" : ", encrypted\n"));
}

int run_encrypt(const Arguments& arguments, Console& console) {
  const EncryptionKey key = key_from(arguments, "new-key-env", "new-passphrase-env");
  if (key.empty()) wrong_use("encrypt needs --new-key-env or --new-passphrase-env");
  copy(arguments, console, key, cipher_from(arguments));
  return kWell;
}

int run_decrypt(const Arguments& arguments, Console& console) {
  if (console.key().empty()) wrong_use("decrypt needs --key-env or --passphrase-env");
  copy(arguments, console, {}, Cipher::stored);
  return kWell;
}

int run_rekey(const Arguments& arguments, Console& console) {
  const std::string& path = arguments.operands()[0];
  EncryptionKey key = key_from(arguments, "new-key-env", "new-passphrase-env");
  if (console.key().empty()) wrong_use("rekey needs --key-env or --passphrase-env");
  if (key.empty() && !arguments.has("data")) {
    wrong_use("rekey needs --new-key-env or --new-passphrase-env, or --data");
  }
  Collection collection = open_collection(path, Access::write, console);
  if (!key.empty()) {
    check(collection.rotate_key(console.key(), key), "cannot change the key");
    print("the new key opens " + one_line(path) + "; the old one does not any more\n");
  } else {
    key = console.key();
  }
  if (arguments.has("data")) {
    check(collection.reencrypt(key), "cannot encrypt everything anew");
    print("everything in " + one_line(path) + " is encrypted by a new data key\n");
  }
  close_collection(collection);
  return kWell;
}

void add_new_key_options(Command& command) {
  command.options.push_back({0, "new-key-env", "NAME",
                             "the environment variable that holds the new key as 64\n"
                             "hexadecimal digits, such as of \"openssl rand -hex 32\""});
  command.options.push_back(
      {0, "new-passphrase-env", "NAME", "the one that holds a passphrase instead"});
}

}  // namespace

Command encrypt_command() {
  Command command;
  command.name = "encrypt";
  command.operands = "PATH COPY";
  command.summary = "make an encrypted copy";
  command.details =
      "COPY must not be there, or be empty. Sequences and times to live stay. What PATH\n"
      "held in the clear stays on its disk until that is overwritten: delete it with\n"
      "the means of that disk.";
  command.operands_min = command.operands_max = 2;
  add_new_key_options(command);
  command.options.push_back({0, "cipher", "NAME", "aes-256-gcm (default) or chacha20-poly1305"});
  add_common_options(command);
  command.run = run_encrypt;
  return command;
}

Command decrypt_command() {
  Command command;
  command.name = "decrypt";
  command.operands = "PATH COPY";
  command.summary = "make a copy in the clear";
  command.details = "COPY must not be there, or be empty. Sequences and times to live stay.";
  command.operands_min = command.operands_max = 2;
  add_common_options(command);
  command.run = run_decrypt;
  return command;
}

Command rekey_command() {
  Command command;
  command.name = "rekey";
  command.operands = "PATH";
  command.summary = "change the key of an encrypted collection";
  command.details =
      "The new key locks the data keys: that is done at once, whatever the size. Who has\n"
      "the old key and an old copy of db.keys can still read what is sealed by these data\n"
      "keys; --data makes new ones and rewrites everything.";
  command.operands_min = command.operands_max = 1;
  add_new_key_options(command);
  command.options.push_back({0, "data", "", "make a new data key, and rewrite everything by it"});
  add_common_options(command);
  command.run = run_rekey;
  return command;
}

}  // namespace armdb::cli
