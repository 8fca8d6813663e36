#!/usr/bin/env python3
"""Tests of the armdb program: every command, its exit codes, and what it does to the disk.

ARMDB_BIN names the program (default build/armdb). Standard library only.
"""
import hashlib
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = str(pathlib.Path(os.environ.get("ARMDB_BIN", ROOT / "build" / "armdb")).resolve())
COMMANDS = ("create stat get put erase scan load dump verify compact checkpoint repair "
            "encrypt decrypt rekey bench").split()
BUILD = subprocess.run([BIN, "--version"], capture_output=True, check=False).stdout
ENCRYPTION = b"OPENSSL" in BUILD
REPLICATION = b"OMIT_REPLICATION" not in BUILD and b"OMIT_THREADS" not in BUILD
if b"OMIT_REPLICATION" not in BUILD:
    COMMANDS += "serve follow promote lag".split()
WELL, NOT_FOUND, WRONG_USE, FAILED = 0, 1, 2, 3
SECONDS = 120


class Answer:
    """What a run of the program left: exit code and both outputs."""

    def __init__(self, code, out, err):
        self.code, self.raw = code, out
        self.out, self.err = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def run(*words, stdin=b"", cwd=None):
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([BIN, *map(str, words)], input=data, capture_output=True, cwd=cwd,
                          timeout=SECONDS, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


def escaped(data):
    """The escapes of a dump, written a second time from its description."""
    special = {0x5c: "\\\\", 0x09: "\\t", 0x0a: "\\n"}
    return "".join(special.get(byte) or (chr(byte) if 0x20 <= byte < 0x7f else f"\\x{byte:02x}")
                   for byte in data)


def crc32c(seed, data):
    """CRC-32C, bit by bit: that of b"123456789" with seed 0 is 0xe3069283."""
    crc = seed ^ 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def tree_state(path):
    """Names, contents and times of all files, to see that nothing changed."""
    state = {}
    for file in sorted(pathlib.Path(path).rglob("*")):
        info = file.stat()
        content = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        state[str(file)] = (info.st_mtime_ns, info.st_size, content)
    return state


class CliTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="armdb_cli_")
        self.addCleanup(holder.cleanup)
        self.dir = pathlib.Path(holder.name)
        self.db = self.dir / "db"

    def ok(self, *words, stdin=b"", code=WELL):
        """Runs and checks the exit code: an unwanted one shows what the program said."""
        answer = run(*words, stdin=stdin, cwd=self.dir)
        self.assertEqual(answer.code, code, f"armdb {words}: {answer.out}{answer.err}")
        if code in (WRONG_USE, FAILED):
            errors = [line for line in answer.err.splitlines() if "armdb: error:" in line]
            self.assertEqual(len(errors), 1, answer.err)
        return answer

    def create(self, path=None, kind="--tree", key=8, value="var", shards=2):
        self.ok("create", path or self.db, kind, "--key-size", key, "--value-size", value,
                "--shards", shards)

    def fill(self, count, value_bytes=40, **shape):
        """A collection with `count` entries; their values can be found in its files."""
        self.create(**shape)
        lines = "".join(f"{at:08d}\t{self.value(at, value_bytes)}\n" for at in range(count))
        self.ok("load", self.db, "--no-header", stdin=lines)

    @staticmethod
    def value(at, size=40):
        return f"<value {at:06d}>".ljust(size, "=")

    def damage_value(self, at):
        """Flips a byte in the middle of a stored value."""
        wanted = f"<value {at:06d}>".encode()
        for file in sorted(self.db.rglob("*.data")):
            data = bytearray(file.read_bytes())
            place = data.find(wanted)
            if place >= 0:
                data[place + 9] ^= 0x20
                file.write_bytes(data)
                return
        self.fail(f"value {at} is in no .data file")


class HelpTest(CliTest):
    def test_help_lists_all_commands(self):
        for words in (["--help"], ["-h"], ["help"], ["help", "--help"], ["help", "help"]):
            answer = self.ok(*words)
            for command in COMMANDS:
                self.assertRegex(answer.out, rf"(?m)^  {command} ")
            self.assertEqual(answer.err, "")

    def test_each_command_has_help(self):
        for command in COMMANDS:
            text = self.ok("help", command).out
            self.assertTrue(text.startswith(f"armdb {command} - "), text)
            self.assertIn("Exit codes:", text)
            self.assertIn("--help", text)
            for words in ([command, "--help"], [command, "-h"], [command, "x", "--help"]):
                self.assertEqual(self.ok(*words).out, text)

    def test_help_fits_a_terminal(self):
        for words in (["--help"], *(["help", command] for command in COMMANDS)):
            for line in self.ok(*words).out.splitlines():
                self.assertLessEqual(len(line), 92, line)

    def test_version(self):
        self.assertRegex(self.ok("--version").out, r"^armdb \d+\.\d+\.\d+")


@unittest.skipUnless(ENCRYPTION, "built without OpenSSL")
class KeysTest(CliTest):
    """encrypt, decrypt, rekey, and the key options of the other commands."""

    def setUp(self):
        super().setUp()
        for name, value in (("ARMDB_T_OLD", "0f" * 32), ("ARMDB_T_NEW", "Ab" * 32),
                            ("ARMDB_T_WORDS", "correct horse"), ("ARMDB_T_SHORT", "0f" * 31)):
            os.environ[name] = value
            self.addCleanup(os.environ.pop, name)
        self.old = ("--key-env", "ARMDB_T_OLD")
        self.words = ("--passphrase-env", "ARMDB_T_WORDS")

    def fill(self, *create):
        self.ok("create", self.db, "--tree", "--key-size", "8", "--value-size", "8", *create,
                *self.old)
        for number in range(5):
            self.ok("put", self.db, f"key{number:05}", f"mark{number:04}", *self.old)

    def plain_bytes(self, path):
        return b"".join(file.read_bytes() for file in pathlib.Path(path).rglob("*")
                        if file.is_file())

    def test_the_life_of_an_encrypted_collection(self):
        for kind in ([], ["--fixed"]):
            with self.subTest(kind=kind):
                shutil.rmtree(self.db, ignore_errors=True)
                self.fill(*kind)
                self.assertNotIn(b"mark", self.plain_bytes(self.db))
                self.assertNotIn(b"key0", self.plain_bytes(self.db))
                dump = self.ok("dump", self.db, *self.old).out
                self.ok("rekey", self.db, *self.old, "--new-passphrase-env", "ARMDB_T_WORDS",
                        "--data")
                self.assertIn("wrong_key", self.ok("dump", self.db, *self.old, code=FAILED).err)
                self.assertEqual(self.ok("dump", self.db, *self.words).out, dump)
                clear, again = self.db.parent / "clear", self.db.parent / "again"
                self.ok("decrypt", self.db, clear, *self.words)
                self.assertEqual(self.ok("dump", clear).out, dump)
                self.ok("encrypt", clear, again, "--new-key-env", "ARMDB_T_NEW",
                        "--cipher", "chacha20-poly1305")
                self.assertNotIn(b"mark", self.plain_bytes(again))
                self.assertEqual(self.ok("dump", again, "--key-env", "ARMDB_T_NEW").out, dump)
                self.ok("verify", again, "--key-env", "ARMDB_T_NEW")
                for path in (clear, again):
                    shutil.rmtree(path)

    def test_no_key_a_wrong_one_and_a_bad_one(self):
        self.fill()
        before = tree_state(self.db)
        for words, code, text in (
                ([], FAILED, "wrong_key"), (["--key-env", "ARMDB_T_NEW"], FAILED, "wrong_key"),
                (self.words, FAILED, "wrong_key"),
                (["--key-env", "ARMDB_T_SHORT"], WRONG_USE, "too short"),
                (["--key-env", "ARMDB_T_NONE"], WRONG_USE, "not set"),
                (["--passphrase-env", "ARMDB_T_NONE"], WRONG_USE, "not set")):
            with self.subTest(words=words):
                self.assertIn(text, self.ok("get", self.db, "key00001", *words, code=code).err)
        self.assertEqual(tree_state(self.db), before)

    def test_damage_is_told_from_tampering(self):
        self.fill("--shards", "1")
        segment = next(self.db.rglob("*.data"))
        whole = segment.read_bytes()
        # The second frame has entries; the first one is the header that ends at 96.
        at = 96 + 32 + (struct.unpack_from("<H", whole, 96 + 14)[0] + 7) // 8 * 8
        end = at + 32 + (struct.unpack_from("<H", whole, at + 14)[0] + 7) // 8 * 8
        data = bytearray(whole)
        data[at + 40] ^= 1
        segment.write_bytes(data)
        self.assertIn("damaged", self.ok("verify", self.db, *self.old, code=NOT_FOUND).err)
        struct.pack_into("<I", data, at, crc32c(struct.unpack_from("<I", whole, 92)[0],
                                                 data[at + 4:end]))
        segment.write_bytes(data)
        self.assertIn("tampered", self.ok("verify", self.db, *self.old, code=NOT_FOUND).err)
        segment.write_bytes(whole)
        self.ok("verify", self.db, *self.old)

    def test_wrong_uses(self):
        for words in (["encrypt", "a", "b"], ["decrypt", "a", "b"], ["rekey", "a", *self.old],
                      ["rekey", "a", "--new-key-env", "ARMDB_T_NEW"], ["encrypt", "a"],
                      ["encrypt", "a", "b", "--new-key-env", "ARMDB_T_NEW", "--cipher", "rot13"]):
            with self.subTest(words=words):
                self.ok(*words, code=WRONG_USE)


class WrongUseTest(CliTest):
    def wrong(self, *words):
        answer = self.ok(*words, code=WRONG_USE)
        self.assertEqual(answer.out, "")
        self.assertEqual(answer.err.count("\n"), 1, answer.err)
        return answer.err

    def test_no_command(self):
        self.assertIn("--help", self.wrong())

    def test_unknown_words_get_a_suggestion(self):
        for mistyped, meant in (("gte", "get"), ("scna", "scan"), ("verfy", "verify"),
                                ("check", "checkpoint"), ("hlep", "help"), ("dumb", "dump")):
            self.assertIn(f'did you mean "{meant}"', self.wrong(mistyped))
        self.assertNotIn("did you mean", self.wrong("frobnicate"))
        self.assertIn('"--version"', self.wrong("--verson"))
        self.assertIn('did you mean "--limit"', self.wrong("scan", self.db, "--limt", "3"))
        self.assertIn('did you mean "--reverse"', self.wrong("scan", self.db, "--reversed"))
        self.assertIn("--", self.wrong("get", self.db, "-key"))
        self.assertIn("unknown command", self.wrong("help", "nothing"))

    def test_operands(self):
        for words in (["get"], ["get", "db"], ["get", "db", "k", "more"], ["put", "db", "k"],
                      ["put", "db", "k", "v", "w"], ["put", "db", "k", "v", "--file", "f"],
                      ["erase", "db"], ["stat"], ["stat", ""], ["scan"], ["load"], ["dump"],
                      ["verify"], ["compact"], ["checkpoint"], ["repair", "db"], ["repair"],
                      ["repair", "db", "to", "--in-place"], ["bench"], ["bench", ".", "--memory"],
                      ["dump", "db", "file"], ["help", "get", "put"]):
            with self.subTest(words=words):
                self.wrong(*words)

    def test_option_values(self):
        self.create()
        for words in (["scan", "db", "--limit"], ["scan", "db", "--limit", "many"],
                      ["scan", "db", "--limit=-1"], ["scan", "db", "--limit="],
                      ["scan", "db", "--limit", "99999999999999999999"],
                      ["scan", "db", "--keys=yes"], ["compact", "db", "--threshold", "2"],
                      ["compact", "db", "--threshold", "x"], ["stat", "db", "--l"],
                      ["load", "db", "--shards", "2"], ["bench", ".", "--entries", "0"],
                      ["bench", ".", "--tree", "--map"]):
            with self.subTest(words=words):
                self.wrong(*words)

    def test_options_that_exclude_each_other(self):
        self.create()
        for words in (["scan", "db", "--hex", "--text"], ["scan", "db", "--keys", "--count"],
                      ["scan", "db", "--prefix", "a", "--from", "b"],
                      ["scan", "db", "--prefix", "1", "--int"],
                      ["get", "db", "k", "--raw", "--hex"],
                      ["load", "db", "--create", "--no-header"]):
            with self.subTest(words=words):
                self.assertNotEqual(self.wrong(*words), "")

    def test_create_needs_a_shape(self):
        for words in (["--tree"], ["--map", "--key-size", "8"], ["--value-size", "8"],
                      ["--tree", "--map", "--key-size", "8", "--value-size", "8"],
                      ["--tree", "--key-size", "0", "--value-size", "8"],
                      ["--tree", "--key-size", "1025", "--value-size", "8"],
                      ["--tree", "--key-size", "8", "--value-size", "65537"],
                      ["--tree", "--key-size", "8", "--value-size", "8", "--shards", "257"]):
            with self.subTest(words=words):
                self.wrong("create", self.db, *words)
                self.assertFalse(self.db.exists())

    def test_create_of_a_fixed_store_needs_sizes_that_fit(self):
        for words in (["--value-size", "var", "--fixed"], ["--value-size", 8, "--single-copy"],
                      ["--value-size", 481, "--fixed", "--single-copy"]):
            with self.subTest(words=words):
                self.wrong("create", self.db, "--tree", "--key-size", 8, *words)
                self.assertFalse(self.db.exists())
        self.create()
        self.assertIn("--create", self.wrong("load", self.db, "--fixed"))
        self.wrong("bench", "--memory", "--fixed", "--var")

    def test_keys_and_values_that_do_not_fit(self):
        self.create(key=4, value=6)
        for words in (["get", "db", "12345"], ["get", "db", "--hex", "0102"],
                      ["get", "db", "--hex", "010"], ["get", "db", "--hex", "0102030x"],
                      ["get", "db", "--int", "4294967296"], ["get", "db", "--int", "-1"],
                      ["get", "db", "--int", "one"], ["get", "db", "--signed", "2147483648"],
                      ["get", "db", "--signed", "-2147483649"], ["get", "db", "--int", ""],
                      ["get", "db", "--escapes", "\\q"], ["put", "db", "k", "short"],
                      ["put", "db", "k", "too long"], ["put", "db", "k", "too long", "--pad"],
                      ["put", "db", "--hex", "01020304", "0102"]):
            with self.subTest(words=words):
                self.wrong(*words)
        self.assertEqual(self.ok("scan", "db").out, "")

    def test_integers_are_for_short_keys(self):
        self.create(key=9)
        self.assertIn("8 bytes", self.wrong("get", "db", "--int", "1"))
        self.assertIn("8 bytes", self.wrong("scan", "db", "--int"))


class EntryTest(CliTest):
    def test_put_get_erase(self):
        for kind in ("--tree", "--map"):
            path = self.dir / kind
            self.create(path, kind)
            self.assertEqual(self.ok("put", path, "apple", "red").out, "")
            self.assertEqual(self.ok("get", path, "apple").out, "red\n")
            self.ok("put", path, "apple", "green")
            self.assertEqual(self.ok("get", path, "apple").out, "green\n")
            self.ok("erase", path, "apple")
            answer = self.ok("get", path, "apple", code=NOT_FOUND)
            self.assertEqual(answer.out, "")
            self.assertIn("not found", answer.err)
            self.assertIn("not found", self.ok("erase", path, "apple", code=NOT_FOUND).err)

    def test_create_refuses_what_is_there(self):
        self.create()
        words = ["--tree", "--key-size", 8, "--value-size", "var"]
        self.assertIn("already", self.ok("create", self.db, *words, code=FAILED).err)
        (self.dir / "file").write_text("mine")
        self.ok("create", self.dir / "file", *words, code=FAILED)
        self.assertEqual((self.dir / "file").read_text(), "mine")
        self.ok("create", self.dir, *words, code=FAILED)
        self.ok("create", self.dir / "no" / "parent", *words, code=FAILED)
        (self.dir / "empty").mkdir()
        self.ok("create", self.dir / "empty", *words)

    def test_no_collection(self):
        for words in (["stat"], ["get", "k"], ["put", "k", "v"], ["erase", "k"], ["scan"],
                      ["load"], ["dump"], ["verify"], ["compact"], ["checkpoint"],
                      ["repair", "to"], ["repair", "--in-place"]):
            with self.subTest(words=words):
                answer = self.ok(words[0], "nowhere", *words[1:], code=FAILED)
                self.assertIn("armdb create", answer.err)
                self.assertFalse((self.dir / "nowhere").exists())
                self.assertFalse((self.dir / "to").exists())

    def test_insert_only_when_absent(self):
        self.create()
        self.ok("put", self.db, "k", "1", "--insert")
        self.assertIn("already", self.ok("put", self.db, "k", "2", "--insert", code=NOT_FOUND).err)
        self.assertEqual(self.ok("get", self.db, "k").out, "1\n")

    def test_text_keys_are_padded_and_values_only_when_asked(self):
        self.create(value=6)
        self.ok("put", self.db, "k", "short!")
        self.ok("put", self.db, "p", "ab", "--pad")
        self.assertEqual(self.ok("get", self.db, "--hex", "6b00000000000000").out,
                         b"short!".hex() + "\n")
        self.assertEqual(self.ok("get", self.db, "p").out, "ab\\x00\\x00\\x00\\x00\n")
        self.assertEqual(self.ok("scan", self.db).out,
                         "k\tshort!\np\tab\\x00\\x00\\x00\\x00\n")

    def test_notations(self):
        self.create(key=4)
        self.ok("put", self.db, "--hex", "0000002a", "00ff7F")
        self.assertEqual(self.ok("get", self.db, "--int", "42").out, "\\x00\\xff\\x7f\n")
        self.assertEqual(self.ok("get", self.db, "--int", "42", "--hex").out, "00ff7f\n")
        self.assertEqual(self.ok("get", self.db, "--int", "42", "--raw").raw, b"\x00\xff\x7f")
        self.assertEqual(self.ok("get", self.db, "--escapes", r"\x00\x00\x00*").out,
                         "\\x00\\xff\\x7f\n")
        self.ok("put", self.db, "--escapes", r"a\tb", r"back\\slash\n\x01")
        self.assertEqual(self.ok("get", self.db, "a\tb", "--raw").raw, b"back\\slash\n\x01")
        self.ok("put", self.db, "--", "-x", "-y")
        self.assertEqual(self.ok("get", self.db, "--", "-x").out, "-y\n")

    def test_signed_integers_are_in_order(self):
        self.create(key=2)
        numbers = [-32768, -300, -1, 0, 1, 299, 32767]
        for number in numbers:
            self.ok("put", self.db, "--signed", number, f"v{number}")
        self.assertEqual(self.ok("scan", self.db, "--signed").out,
                         "".join(f"{number}\tv{number}\n" for number in numbers))
        some = self.ok("scan", self.db, "--signed", "--from", "-1", "--to", "2", "-k")
        self.assertEqual(some.out, "-1\n0\n1\n")
        self.assertEqual(self.ok("scan", self.db, "--int", "-k", "-n", "1").out, "0\n")

    def test_large_integers(self):
        self.create(key=8)
        for words in (["--int", 2**64 - 1], ["--signed", 2**63 - 1], ["--signed", -2**63]):
            self.ok("put", self.db, *words, "v")
            self.assertEqual(self.ok("get", self.db, *words).out, "v\n")
        self.assertEqual(self.ok("scan", self.db, "--int", "-k").out, f"0\n{2**64 - 1}\n")

    def test_value_from_a_file(self):
        self.create()
        data = bytes(range(256)) * 2000
        (self.dir / "blob").write_bytes(data)
        self.ok("put", self.db, "file", "--file", "blob")
        self.ok("put", self.db, "pipe", "--file", "-", stdin=data)
        for key in ("file", "pipe"):
            self.assertEqual(self.ok("get", self.db, key, "--raw").raw, data)
        self.ok("put", self.db, "k", "--file", "missing", code=FAILED)
        self.ok("put", self.db, "k", "--file", ".", code=FAILED)

    def test_empty_values(self):
        self.create()
        self.ok("put", self.db, "k", "")
        self.assertEqual(self.ok("get", self.db, "k").out, "\n")
        self.assertEqual(self.ok("scan", self.db).out, "k\t\n")
        self.create(self.dir / "set", value=0)
        self.ok("put", self.dir / "set", "k", "")
        self.assertEqual(self.ok("get", self.dir / "set", "k", "--raw").raw, b"")


class ScanTest(CliTest):
    KEYS = ["apple", "apricot", "banana", "cherry", "citrus"]

    def setUp(self):
        super().setUp()
        for kind in ("tree", "map"):
            self.create(self.dir / kind, f"--{kind}", value=4, shards=3)
            for at, key in enumerate(self.KEYS):
                self.ok("put", self.dir / kind, key, f"v{at:03d}")

    def keys(self, *words, kind="tree"):
        return self.ok("scan", self.dir / kind, "--keys", *words).out.split()

    def test_order_and_limit(self):
        self.assertEqual(self.keys(), self.KEYS)
        self.assertEqual(self.keys("--reverse"), self.KEYS[::-1])
        self.assertEqual(self.keys("--limit", 2), self.KEYS[:2])
        self.assertEqual(self.keys("-r", "-n", 1), self.KEYS[-1:])
        self.assertEqual(self.keys("--limit", 0), [])
        self.assertEqual(self.ok("scan", "tree", "-n", 1).out, "apple\tv000\n")

    def test_prefix_and_range(self):
        for kind in ("tree", "map"):
            def keys(*words):
                return sorted(self.keys(*words, kind=kind))
            self.assertEqual(keys(), self.KEYS)
            self.assertEqual(keys("--prefix", "ap"), ["apple", "apricot"])
            self.assertEqual(keys("--prefix", ""), self.KEYS)
            self.assertEqual(keys("--prefix", "x"), [])
            self.assertEqual(keys("--prefix", "6170", "--hex"), [b"apple\0\0\0".hex(),
                                                                 b"apricot\0".hex()])
            self.assertEqual(keys("--from", "b"), self.KEYS[2:])
            self.assertEqual(keys("--to", "cherry"), self.KEYS[:3])
            self.assertEqual(keys("--from", "apricot", "--to", "ci"), self.KEYS[1:4])
            self.assertEqual(keys("--from", "z", "--to", "a"), [])
            self.assertEqual(self.ok("scan", kind, "--count", "--from", "b").out, "3\n")
        self.assertEqual(self.keys("--prefix", "ap", "-r"), ["apricot", "apple"])
        self.assertEqual(self.keys("--from", "b", "--to", "d", "-r"), self.KEYS[:1:-1])

    def test_a_map_has_no_order(self):
        self.assertIn("map", self.ok("scan", "map", "--reverse", code=WRONG_USE).err)

    def test_a_reader_that_goes_away(self):
        self.create()
        lines = "".join(f"{at:08d}\t{'x' * 100}\n" for at in range(20000))
        self.ok("load", self.db, "--no-header", stdin=lines)
        for command in ("scan", "dump"):
            with subprocess.Popen([BIN, command, self.db], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as process:
                process.stdout.read(100)
                process.stdout.close()
                self.assertEqual(process.wait(SECONDS), FAILED)
                self.assertEqual(process.stderr.read(), b"")

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full here")
    def test_a_full_disk_is_told(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([BIN, "scan", self.dir / "tree"], stdout=full,
                                  stderr=subprocess.PIPE, timeout=SECONDS, check=False)
        self.assertEqual(done.returncode, FAILED)
        self.assertIn(b"standard output", done.stderr)


class DumpTest(CliTest):
    def entries(self):
        """Keys and values in which each byte stands at each end and in the middle."""
        for byte in range(256):
            yield bytes([byte, 255 - byte, byte]), bytes([byte]) * 2 + bytes(range(256))

    def fill_all_bytes(self, path, kind="--tree", value="var"):
        self.create(path, kind, key=3, value=value)
        lines = "".join(f"{escaped(key)}\t{escaped(data)}\n" for key, data in self.entries())
        self.ok("load", path, "--no-header", stdin=lines)

    def test_any_bytes_come_back(self):
        for kind in ("tree", "map"):
            for value in ("var", "258"):
                with self.subTest(kind=kind, value=value):
                    first, second = (self.dir / f"{kind}{value}{at}" for at in (1, 2))
                    self.fill_all_bytes(first, f"--{kind}", value)
                    dump = self.ok("dump", first).raw
                    header, *lines = dump.decode("ascii").split("\n")
                    self.assertEqual(header, f"# armdb dump 1 {kind} key=3 value={value}")
                    self.assertEqual(sorted(lines), sorted([""] + [
                        f"{escaped(key)}\t{escaped(data)}" for key, data in self.entries()]))
                    self.assertEqual(self.ok("load", second, "--create", stdin=dump).out,
                                     "loaded 256 entries\n")
                    again = self.ok("dump", second).raw
                    self.assertEqual(sorted(again.split(b"\n")), sorted(dump.split(b"\n")))
                    for key, data in list(self.entries())[::37]:
                        got = self.ok("get", second, "--hex", key.hex())
                        self.assertEqual(got.out, data.hex() + "\n")

    def test_through_a_pipe_and_files(self):
        self.fill_all_bytes(self.db)
        with subprocess.Popen([BIN, "dump", self.db], stdout=subprocess.PIPE) as dump:
            load = subprocess.run([BIN, "load", self.dir / "piped", "-", "--create"],
                                  stdin=dump.stdout, capture_output=True, timeout=SECONDS,
                                  check=False)
            dump.stdout.close()
            self.assertEqual(dump.wait(SECONDS), WELL)
        self.assertEqual((load.returncode, load.stdout), (WELL, b"loaded 256 entries\n"))
        wanted = self.ok("dump", self.db).raw
        self.assertEqual(self.ok("dump", self.dir / "piped").raw, wanted)
        self.assertEqual(self.ok("dump", self.db, "--output", "out.txt").out, "")
        self.assertEqual((self.dir / "out.txt").read_bytes(), wanted)
        load = self.ok("load", self.dir / "filed", "out.txt", "--create", "--shards", 3)
        self.assertEqual(load.out, "loaded 256 entries\n")
        self.assertEqual(json.loads(self.ok("stat", "filed", "--json").out)["shards"], 3)
        self.assertEqual(self.ok("dump", self.dir / "filed").raw, wanted)

    def test_output_appears_whole_or_not_at_all(self):
        self.fill_all_bytes(self.db)
        out = self.dir / "out.txt"
        out.write_text("old")
        self.ok("dump", self.db, "-o", out)
        self.assertTrue(out.read_text().startswith("# armdb dump 1 "))
        self.assertFalse((self.dir / "out.txt.tmp").exists())
        out.write_text("old")
        (self.dir / "out.txt.tmp").write_text("of another")
        self.assertIn("out.txt.tmp", self.ok("dump", self.db, "-o", out, code=FAILED).err)
        self.assertEqual((out.read_text(), (self.dir / "out.txt.tmp").read_text()),
                         ("old", "of another"))
        self.ok("dump", self.db, "-o", self.dir, code=FAILED)
        self.ok("dump", self.db, "-o", self.dir / "no" / "folder", code=FAILED)

    def test_output_to_a_named_pipe_and_a_link(self):
        self.fill_all_bytes(self.db)
        wanted = self.ok("dump", self.db).raw
        fifo = self.dir / "fifo"
        os.mkfifo(fifo)
        with subprocess.Popen([BIN, "dump", self.db, "-o", fifo]) as process:
            self.assertEqual(fifo.read_bytes(), wanted)
            self.assertEqual(process.wait(SECONDS), WELL)
        (self.dir / "target").write_text("old")
        (self.dir / "link").symlink_to("target")
        self.ok("dump", self.db, "-o", self.dir / "link")
        self.assertTrue((self.dir / "link").is_symlink())
        self.assertEqual((self.dir / "target").read_bytes(), wanted)

    def test_an_empty_collection(self):
        self.create()
        dump = self.ok("dump", self.db).out
        self.assertEqual(dump, "# armdb dump 1 tree key=8 value=var\n")
        self.assertEqual(self.ok("load", self.dir / "new", "--create", stdin=dump).out,
                         "loaded 0 entries\n")

    def test_load_adds_and_replaces(self):
        self.create(key=1)
        self.ok("put", self.db, "a", "old")
        self.ok("put", self.db, "b", "stays")
        lines = "# armdb dump 1 map key=1 value=3\na\tnew\nc\tone\nc\ttwo\n"
        self.ok("load", self.db, stdin=lines)
        self.ok("load", self.db, "--create", stdin=lines)
        self.assertEqual(self.ok("scan", self.db).out, "a\tnew\nb\tstays\nc\ttwo\n")

    def test_many_entries_and_large_values(self):
        self.create()
        big = "y" * (3 << 20)
        lines = "# armdb dump 1 tree key=8 value=var\n" + "".join(
            f"{at:08d}\t{big if at % 5000 == 17 else at}\n" for at in range(20000))
        self.assertEqual(self.ok("load", self.db, stdin=lines).out, "loaded 20,000 entries\n")
        self.assertEqual(self.ok("dump", self.db).out, lines)

    def test_progress_is_for_terminals_only(self):
        self.create()
        entries = 300000
        lines = "".join(f"{at:08d}\t{at}\n" for at in range(entries))
        self.assertEqual(self.ok("load", self.db, "--no-header", stdin=lines).err, "")
        (self.dir / "lines").write_text(lines)
        os.mkfifo(self.dir / "slow")
        leader, follower = pty.openpty()
        with subprocess.Popen([BIN, "load", self.db, "slow", "--no-header"], cwd=self.dir,
                              stdout=subprocess.PIPE, stderr=follower) as process:
            os.close(follower)
            with open(self.dir / "slow", "w", encoding="ascii") as slow:
                slow.write(lines[:len(lines) // 2])
                slow.flush()
                time.sleep(0.5)
                slow.write(lines[len(lines) // 2:])
            shown = self.read_terminal(leader)
            self.assertEqual(process.stdout.read(), b"loaded 300,000 entries\n")
            self.assertEqual(process.wait(SECONDS), WELL)
        self.assertRegex(shown, r"load: [\d,]+ entries, [\d,]+ per second")
        self.assertTrue(shown.endswith("\r\x1b[K"), repr(shown[-80:]))

    @staticmethod
    def read_terminal(leader):
        shown = b""
        try:
            while select.select([leader], [], [], SECONDS)[0]:
                got = os.read(leader, 65536)
                if not got:
                    break
                shown += got
        except OSError:  # how Linux tells that the other side is closed
            pass
        os.close(leader)
        return shown.decode()


class BadLineTest(CliTest):
    HEADER = "# armdb dump 1 tree key=2 value=3\n"
    BAD = {
        "no tab here": "TAB", "aa\tb\tc": "second TAB", "aa\tb\t5x": "second TAB",
        "aa\tbbb\t0": "second TAB", "a\tbbb": "key has 1 byte",
        "aaa\tbbb": "key has 3 bytes", "aa\tb": "value has 1 byte", "aa\tbbbb": "value has 4 bytes",
        "": "TAB", "a\\q\tbbb": "unknown escape", "aa\tbb\\": "unknown escape",
        "aa\tbb\\x0": "unknown escape", "aa\tb\\xzzb": "unknown escape",
        "aa\tbb\r": "carriage returns", "aa\tb\x00b": "control", "a" * 100000: "longer",
    }

    def test_each_bad_line_is_named(self):
        self.create(key=2, value=3)
        for line, reason in self.BAD.items():
            with self.subTest(line=line[:20]):
                data = f"{self.HEADER}xx\tyyy\n{line}\nzz\tyyy\n"
                answer = self.ok("load", self.db, stdin=data, code=FAILED)
                self.assertIn("standard input:3: ", answer.err)
                self.assertIn(reason, answer.err)
                self.assertIn("1 entry loaded", answer.err)
                self.assertEqual(self.ok("scan", self.db, "-k").out, "xx\n")
                self.ok("erase", self.db, "xx")

    def test_times_of_expiry_come_back(self):
        self.create(key=2, value=3)
        data = f"{self.HEADER}aa\tyyy\t99999999999999\nbb\tzzz\ncc\tppp\t1\n"
        self.ok("load", self.db, stdin=data)
        lines = "aa\tyyy\t99999999999999\nbb\tzzz\n"  # cc is past
        self.assertEqual(self.ok("dump", self.db).out, self.HEADER + lines)
        self.ok("repair", self.db, self.dir / "copy")
        self.assertEqual(self.ok("dump", self.dir / "copy").out, self.HEADER + lines)

    def test_skip_bad(self):
        self.create(key=2, value=3)
        bad = list(self.BAD)
        data = self.HEADER + "".join(f"{line}\ng{at:x}\tyyy\n" for at, line in enumerate(bad))
        (self.dir / "in.txt").write_bytes(data.encode())
        answer = self.ok("load", self.db, "in.txt", "--skip-bad", code=NOT_FOUND)
        self.assertEqual(answer.out, f"loaded {len(bad)} entries\n")
        numbers = [int(at) for at in re.findall(r"in\.txt:(\d+): ", answer.err)]
        self.assertEqual(numbers, [2 + 2 * at for at in range(len(bad))])
        self.assertIn(f"{len(bad)} bad lines were skipped", answer.err)
        self.assertEqual(self.ok("scan", self.db, "-c").out, f"{len(bad)}\n")

    def test_input_that_was_cut_off(self):
        self.create(key=2, value=3)
        answer = self.ok("load", self.db, stdin=self.HEADER + "aa\tbbb\ncc\tddd", code=FAILED)
        self.assertIn("cut off", answer.err)
        self.assertEqual(self.ok("scan", self.db).out, "aa\tbbb\n")

    def test_bytes_above_ascii_may_be_raw(self):
        self.create(key=2, value=3)
        self.ok("load", self.db, stdin=self.HEADER.encode() + "é\t€\n".encode())
        self.assertEqual(self.ok("get", self.db, "é", "--raw").raw, "€".encode())

    def test_headers(self):
        self.create(key=2, value=3)
        for header in ("", "\n", "aa\tbbb\n", "# armdb dump 2 tree key=2 value=3\n",
                       "# armdb dump 1 list key=2 value=3\n", "# armdb dump 1 tree key=2\n",
                       "# armdb dump 1 tree key=2 value=3 \n",
                       "# armdb dump 1 tree key=0 value=3\n",
                       "# armdb dump 1 tree key=2 value=x\n", "# armdb dump 1 tree key=2 value=3",
                       "# armdb dump 1 tree key=4 value=3\n", "# armdb dump 1 tree key=2 value=4\n",
                       "# armdb dump 1 tree key=99999999999 value=4\n", "x" * 100000 + "\n"):
            with self.subTest(header=header[:50]):
                self.ok("load", self.db, stdin=header, code=FAILED)
                answer = self.ok("load", self.dir / "new", "--create", stdin=header,
                                 code=WELL if "value=4\n" in header and "key=2" in header
                                 or "key=4" in header else FAILED)
                if answer.code == FAILED:
                    self.assertFalse((self.dir / "new").exists())
                else:
                    subprocess.run(["rm", "-r", self.dir / "new"], check=True)

    def test_files_that_cannot_be_read(self):
        self.create()
        for name in ("missing", "."):
            self.assertIn(name, self.ok("load", self.db, name, code=FAILED).err)


class CareTest(CliTest):
    def test_stat(self):
        self.fill(10, kind="--map", value=40, shards=3)
        text = self.ok("stat", self.db).out
        for line in (r"kind +map", r"key size +8 bytes", r"value size +40 bytes", r"entries +10",
                     r"shards +3", r"damaged regions +0"):
            self.assertRegex(text, rf"(?m)^  {line}")
        columns = {re.match(r"  \S.*?  +", line).end() for line in text.splitlines()
                   if line.startswith("  ")}
        self.assertEqual(len(columns), 1, text)
        facts = json.loads(self.ok("stat", self.db, "--json").out)
        self.assertEqual([facts[name] for name in ("kind", "key_size", "value_size", "entries")],
                         ["map", 8, 40, 10])
        # Every field of Stats is shown.
        header = (ROOT / "src" / "core" / "stats.hpp").read_text()
        fields = re.findall(r"^  (?:std::uint64_t|double|bool) (\w+) =",
                            header.split("struct Stats {")[1].split("};")[0], re.M)
        self.assertGreater(len(fields), 20)
        self.assertEqual(set(fields) - set(facts), set())

    def test_readers_change_nothing(self):
        self.fill(100)
        before = tree_state(self.db)
        for words in (["stat"], ["get", "00000001"], ["scan"], ["dump"], ["verify"],
                      ["repair", "copy"]):
            self.ok(words[0], self.db, *words[1:])
        self.assertEqual(tree_state(self.db), before)

    def test_compact_and_checkpoint(self):
        self.fill(2000, value_bytes=400)
        for _ in range(3):
            lines = "".join(f"{at:08d}\t{self.value(at, 400)}\n" for at in range(2000))
            self.ok("load", self.db, "--no-header", stdin=lines)
        before = json.loads(self.ok("stat", self.db, "--json").out)
        wanted = self.ok("dump", self.db).raw
        self.assertIn("after", self.ok("compact", self.db, "--threshold", "0.1").out)
        after = json.loads(self.ok("stat", self.db, "--json").out)
        self.assertLess(after["data_bytes"], before["data_bytes"] / 2)
        self.assertIn("checkpoint made", self.ok("checkpoint", self.db).out)
        self.assertEqual(json.loads(self.ok("stat", self.db, "--json").out)["opened_by_scan"], 0)
        self.assertEqual(self.ok("dump", self.db).raw, wanted)
        self.ok("verify", self.db)

    def test_bench_leaves_nothing(self):
        (self.dir / "mine").write_text("mine")
        for words in ([], ["--map", "--var"], ["--value-size", "0", "--key-size", "8"]):
            out = self.ok("bench", self.dir, "--entries", "2000", *words).out
            for name in ("put", "get", "scan", "put, synced"):
                self.assertRegex(out, rf"(?m)^{name} +[\d,]+ +[\d.,]+ +[\d,]+$")
            self.assertEqual("get_many" in out, "--var" not in words)
            self.assertEqual([file.name for file in self.dir.iterdir()], ["mine"])
        self.ok("bench", "--memory", "--entries", "2000")
        self.assertEqual([file.name for file in self.dir.iterdir()], ["mine"])
        self.ok("bench", "nowhere", code=FAILED)
        self.ok("bench", "mine", code=FAILED)

    def test_verbose(self):
        self.create()
        self.assertEqual(self.ok("dump", self.db).err, "")
        self.assertIn("armdb: info: dumped 0 entries", self.ok("dump", self.db, "-v").err)


class LockTest(CliTest):
    def test_a_writer_holds_the_collection(self):
        self.create(key=1)
        self.ok("put", self.db, "a", "1")
        with subprocess.Popen([BIN, "load", self.db, "-"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as holder:
            self.wait_for_lock(holder)
            for words in (["stat"], ["get", "a"], ["put", "a", "2"], ["erase", "a"], ["scan"],
                          ["dump"], ["verify"], ["compact"], ["checkpoint"], ["repair", "copy"],
                          ["repair", "--in-place"], ["load"]):
                with self.subTest(words=words):
                    answer = self.ok(words[0], self.db, *words[1:], code=FAILED)
                    self.assertIn("locked", answer.err)
                    self.assertIn(f"pid {holder.pid}", answer.err)
            out, _ = holder.communicate(b"# armdb dump 1 tree key=1 value=var\nb\t2\n", SECONDS)
            self.assertEqual((holder.returncode, out), (WELL, b"loaded 1 entry\n"))
        self.assertEqual(self.ok("scan", self.db).out, "a\t1\nb\t2\n")

    def wait_for_lock(self, holder):
        """Until its line stands in LOCK; opening to try would be in its way."""
        end = time.monotonic() + SECONDS
        while f"pid {holder.pid} " not in (self.db / "LOCK").read_text():
            self.assertLess(time.monotonic(), end, "the holder never took its lock")
            time.sleep(0.01)

    def test_a_killed_writer_leaves_a_whole_collection(self):
        self.fill(50)
        with subprocess.Popen([BIN, "load", self.db, "-"], stdin=subprocess.PIPE) as holder:
            self.wait_for_lock(holder)
            holder.kill()
            holder.wait(SECONDS)
        self.ok("verify", self.db)
        self.assertEqual(self.ok("scan", self.db, "-c").out, "50\n")


class DamageTest(CliTest):
    COUNT, BROKEN = 300, 123

    def key_hex(self):
        return f"{self.BROKEN:08d}".encode().hex()

    def wanted(self):
        """Dump lines of all entries but the broken one."""
        return sorted(f"{at:08d}\t{self.value(at)}" for at in range(self.COUNT)
                      if at != self.BROKEN)

    def dumped(self, path):
        return sorted(self.ok("dump", path).out.splitlines()[1:])

    def test_verify_finds_a_flipped_byte(self):
        for kind in ("--tree", "--map"):
            for value in ("var", 40):
                with self.subTest(kind=kind, value=value):
                    self.db = self.dir / f"{kind}{value}"
                    self.fill(self.COUNT, kind=kind, value=value)
                    self.assertIn("300 live keys", self.ok("verify", self.db).out)
                    self.damage_value(self.BROKEN)
                    answer = self.ok("verify", self.db, code=NOT_FOUND)
                    self.assertRegex(answer.err, r"armdb: warning: .*\.data at offset \d+")
                    self.assertIn("armdb: error: damaged: 1 region", answer.err)

    def test_reading_a_damaged_value(self):
        self.fill(self.COUNT)
        self.damage_value(self.BROKEN)
        key = f"{self.BROKEN:08d}"
        answer = self.ok("get", self.db, key, code=NOT_FOUND)
        self.assertIn("corrupt", answer.err)
        self.assertEqual(answer.out, "")
        self.assertIn(self.key_hex(), self.ok("scan", self.db, code=NOT_FOUND).err)
        self.assertEqual(self.ok("scan", self.db, "-c").out, f"{self.COUNT}\n")
        self.assertIn(self.key_hex(), self.ok("dump", self.db, code=NOT_FOUND).err)
        self.ok("dump", self.db, "-o", "out.txt", code=NOT_FOUND)
        self.assertEqual([file.name for file in self.dir.iterdir()], ["db"])
        answer = self.ok("dump", self.db, "-o", "out.txt", "--skip-damaged", code=NOT_FOUND)
        self.assertIn(self.key_hex(), answer.err)
        self.assertEqual(sorted((self.dir / "out.txt").read_text().splitlines()[1:]),
                         self.wanted())

    def test_repair_copies_what_is_whole(self):
        for kind in ("--tree", "--map"):
            for value in ("var", 40):
                with self.subTest(kind=kind, value=value):
                    self.db = self.dir / f"{kind}{value}"
                    copy = self.dir / f"copy{kind}{value}"
                    self.fill(self.COUNT, kind=kind, value=value)
                    self.damage_value(self.BROKEN)
                    before = tree_state(self.db)
                    answer = self.ok("repair", self.db, copy, code=NOT_FOUND)
                    self.assertEqual(tree_state(self.db), before)
                    self.assertRegex(answer.out, r"(?m)^damage: .*\.data at offset \d+")
                    if value == "var":
                        self.assertIn(f"lost: key (hex) {self.key_hex()}", answer.out)
                    self.assertIn("copied 299 entries", answer.out)
                    self.assertIn("not all of", answer.err)
                    self.ok("verify", copy)
                    self.assertEqual(self.dumped(copy), self.wanted())

    def test_repair_of_a_whole_collection(self):
        self.fill(self.COUNT, shards=3)
        self.assertIn("copied 300 entries", self.ok("repair", self.db, "copy").out)
        self.assertEqual(self.dumped("copy"), self.dumped(self.db))
        self.assertEqual(json.loads(self.ok("stat", "copy", "--json").out)["shards"], 3)
        self.assertIn("exists", self.ok("repair", self.db, "copy", code=FAILED).err)
        self.assertIn("inside", self.ok("repair", self.db, self.db / "copy", code=FAILED).err)
        self.assertFalse((self.db / "copy").exists())

    def test_a_missing_or_damaged_manifest_is_rebuilt(self):
        self.fill(self.COUNT)
        whole = self.dumped(self.db)
        for break_it in (pathlib.Path.unlink, lambda file: file.write_bytes(b"\x5a" * 64)):
            for words in (["copy"], ["--in-place"]):
                manifests = sorted(self.db.rglob("MANIFEST"))
                self.assertEqual(len(manifests), 2)
                for file in manifests:
                    break_it(file)
                self.ok("repair", self.db, *words)
                path = "copy" if words == ["copy"] else self.db
                self.assertEqual(self.dumped(path), whole)
                if words == ["copy"]:
                    subprocess.run(["rm", "-r", self.dir / "copy"], check=True)
                    self.ok("repair", self.db, "--in-place")
                self.ok("verify", self.db)
                self.assertEqual(self.ok("stat", self.db).err, "")

    def test_repair_in_place_tells_what_stays_damaged(self):
        self.fill(self.COUNT)
        self.damage_value(self.BROKEN)
        answer = self.ok("repair", self.db, "--in-place", code=NOT_FOUND)
        self.assertRegex(answer.out, r"(?m)^damage: ")

    def test_a_damaged_meta_file(self):
        self.fill(3)
        meta = self.db / "db.meta"
        data = bytearray(meta.read_bytes())
        data[len(data) // 2] ^= 1
        meta.write_bytes(data)
        self.ok("stat", self.db, code=FAILED)
        self.assertIn("corrupt", self.ok("verify", self.db, code=NOT_FOUND).err)


class FixedTest(CliTest):
    COUNT = 300

    def fill_fixed(self, path=None, *more):
        path = path or self.db
        self.ok("create", path, "--tree", "--key-size", 8, "--value-size", 40, "--shards", 2,
                "--fixed", *more)
        lines = "".join(f"{at:08d}\t{self.value(at)}\n" for at in range(self.COUNT))
        self.ok("load", path, "--no-header", stdin=lines)

    def damage_slot(self, at):
        """Flips a byte in each copy of a value, wherever it is."""
        wanted = f"<value {at:06d}>".encode()
        found = 0
        for file in sorted(self.db.rglob("slots.dat")):
            data = bytearray(file.read_bytes())
            place = data.find(wanted)
            while place >= 0:
                data[place + 9] ^= 0x20
                found += 1
                place = data.find(wanted, place + 1)
            file.write_bytes(data)
        self.assertGreater(found, 0)

    def test_entries(self):
        for more in ([], ["--single-copy"]):
            path = self.dir / f"db{len(more)}"
            self.fill_fixed(path, *more)
            self.assertEqual(self.ok("get", path, "00000007").out, self.value(7) + "\n")
            self.ok("put", path, "00000007", "new", "--pad")
            self.assertTrue(self.ok("get", path, "00000007").out.startswith("new\\x00"))
            self.ok("put", path, "00000007", "x", "--pad", "--insert", code=NOT_FOUND)
            self.ok("erase", path, "00000007")
            self.ok("erase", path, "00000007", code=NOT_FOUND)
            self.ok("get", path, "00000007", code=NOT_FOUND)
            self.assertEqual(self.ok("scan", path, "--count").out, f"{self.COUNT - 1}\n")
            some = self.ok("scan", path, "--from", "00000005", "--to", "00000009", "-k").out
            self.assertEqual(some, "00000005\n00000006\n00000008\n")

    def test_stat_tells_the_store(self):
        self.fill_fixed()
        self.assertRegex(self.ok("stat", self.db).out, r"store +Fixed")
        stats = json.loads(self.ok("stat", self.db, "--json").out)
        self.assertEqual((stats["store"], stats["entries"]), ("fixed", self.COUNT))
        self.assertEqual((stats["unsynced_shards"], stats["damaged_regions"]), (0, 0))
        self.create(self.dir / "log")
        self.assertRegex(self.ok("stat", "log").out, r"store +Bitcask")
        self.assertEqual(json.loads(self.ok("stat", "log", "--json").out)["store"], "bitcask")

    def test_a_dump_is_loaded_into_either_store(self):
        self.fill_fixed()
        self.ok("dump", self.db, "-o", "dump")
        self.ok("load", "log", "dump", "--create")
        self.ok("load", "slots", "dump", "--create", "--fixed", "--shards", 3)
        whole = (self.dir / "dump").read_bytes()
        for path, store in (("log", "bitcask"), ("slots", "fixed")):
            self.assertEqual(self.ok("dump", path).raw, whole)
            self.assertEqual(json.loads(self.ok("stat", path, "--json").out)["store"], store)
        self.create(self.dir / "var")
        answer = self.ok("load", "no", "--create", "--fixed", stdin=self.ok("dump", "var").raw,
                         code=FAILED)
        self.assertIn("without --fixed", answer.err)
        self.assertFalse((self.dir / "no").exists())

    def test_times_of_expiry_come_back(self):
        far = 4102444800000
        lines = f"00000001\t{self.value(1)}\t{far}\n00000002\t{self.value(2)}\n"
        text = "# armdb dump 1 map key=8 value=40\n" + lines
        self.ok("load", self.db, "--create", "--fixed", "--shards", 1, stdin=text)
        self.assertEqual(sorted(self.ok("dump", self.db).out.splitlines()[1:]),
                         sorted(lines.splitlines()))

    def test_readers_change_nothing(self):
        self.fill_fixed()
        before = tree_state(self.db)
        for words in (["stat"], ["get", "00000001"], ["scan"], ["dump"], ["verify"]):
            self.ok(words[0], self.db, *words[1:])
        self.assertEqual(tree_state(self.db), before)

    def test_compact_and_checkpoint(self):
        self.fill_fixed()
        for at in range(250):
            self.ok("erase", self.db, f"{at:08d}")
        self.assertIn("free", self.ok("checkpoint", self.db).out)
        before = json.loads(self.ok("stat", self.db, "--json").out)["file_bytes"]
        answer = self.ok("compact", self.db)
        self.assertRegex(answer.out, r"^compacted: before .* free; after .* free\n$")
        self.assertEqual(answer.err, "")
        self.assertLess(json.loads(self.ok("stat", self.db, "--json").out)["file_bytes"], before)
        self.assertIn("--threshold", self.ok("compact", self.db, "--threshold", "0.5").err)
        self.assertRegex(self.ok("verify", self.db).out, r"2 shards, 50 stored entries")
        self.assertEqual(self.ok("get", self.db, "00000270").out, self.value(270) + "\n")

    def test_damage_is_told_and_a_dump_has_what_is_whole(self):
        self.fill_fixed()
        self.damage_slot(123)
        before = tree_state(self.db)
        answer = self.ok("verify", self.db, code=NOT_FOUND)
        self.assertIn("slots.dat at offset", answer.err)
        self.assertIn("armdb dump", answer.err)
        self.ok("get", self.db, "00000123", code=NOT_FOUND)
        self.assertEqual(self.ok("get", self.db, "00000124").out, self.value(124) + "\n")
        dump = self.ok("dump", self.db, code=NOT_FOUND)
        self.assertEqual(dump.out.count("\n"), self.COUNT)
        self.assertEqual(tree_state(self.db), before)
        self.ok("load", "copy", "--create", "--fixed", stdin=dump.raw)
        self.assertIn(f"{self.COUNT - 1} stored entries", self.ok("verify", "copy").out)

    def test_repair_is_for_logs(self):
        self.fill_fixed()
        self.damage_slot(123)
        before = tree_state(self.db)
        for words in (["copy"], ["--in-place"]):
            answer = self.ok("repair", self.db, *words, code=FAILED)
            self.assertIn("armdb verify", answer.err)
            self.assertIn("armdb dump OLD | armdb load NEW --create --fixed", answer.err)
            self.assertEqual(tree_state(self.db), before)
            self.assertFalse((self.dir / "copy").exists())
        self.assertIn("armdb dump OLD", self.ok("help", "repair").out)

    def test_a_lost_file_is_told(self):
        self.fill_fixed()
        (self.db / "shard_001" / "slots.dat").unlink()
        before = tree_state(self.db)
        for words in (["stat"], ["dump"], ["repair", "copy"]):
            self.ok(words[0], self.db, *words[1:], code=FAILED)
        self.assertIn("slots.dat is missing", self.ok("verify", self.db, code=NOT_FOUND).err)
        self.assertEqual(tree_state(self.db), before)
        self.ok("put", self.db, "k", "v", "--pad", code=FAILED)
        self.assertFalse((self.db / "shard_001" / "slots.dat").exists())

    def test_bench(self):
        self.assertIn("Fixed", self.ok("bench", "--memory", "--fixed", "-n", 1000).out)


class Running:
    """A serve or follow in the background; what it prints goes to files."""

    def __init__(self, test, name, *words):
        self.test, self.out, self.err = test, test.dir / f"{name}.out", test.dir / f"{name}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen([BIN, *map(str, words)], stdin=subprocess.PIPE,
                                            stdout=out, stderr=err, cwd=test.dir)
        test.addCleanup(self.clean_up)

    def clean_up(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)
        self.process.stdin.close()

    def said(self):
        return self.out.read_text() + self.err.read_text()

    def comes(self, text, times=1):
        """Waits until it has printed the text; the limit is only for a test that fails."""
        end = time.monotonic() + SECONDS
        while self.said().count(text) < times:
            if time.monotonic() > end or self.process.poll() is not None:
                if self.said().count(text) >= times:
                    break
                self.test.fail(f"no {text!r} in: {self.said()}")
            time.sleep(0.01)
        return self

    def say(self, *lines):
        self.process.stdin.write("".join(line + "\n" for line in lines).encode())
        self.process.stdin.flush()
        return self

    def ends(self, by=None, code=WELL):
        if by is not None:
            self.process.send_signal(by)
        self.test.assertEqual(self.process.wait(SECONDS), code, self.said())
        return self

    def address(self):
        self.comes("serving ")
        return re.search(r" at (\S+)$", self.out.read_text(), re.M).group(1)


@unittest.skipUnless(REPLICATION, "built without replication")
class ReplicationTest(CliTest):
    """serve, follow, promote and lag."""

    def setUp(self):
        super().setUp()
        self.copy = self.dir / "copy"
        self.socket = f"unix:{self.dir}/socket"
        self.create()

    def serve(self, name="serve", path=None, *words, at=None):
        server = Running(self, name, "serve", path or self.db, at or self.socket, *words)
        return server.comes("serving ")

    def follow(self, name="follow", path=None, *words, at=None):
        return Running(self, name, "follow", path or self.copy, at or self.socket, *words)

    def content(self, path):
        return self.ok("dump", path).out

    def test_a_follower_is_made_and_gets_all(self):
        for address in (self.socket, "127.0.0.1:0"):
            with self.subTest(address=address):
                shutil.rmtree(self.copy, ignore_errors=True)
                server = self.serve(at=address)
                server.say("put before is there", "put gone x", "erase gone")
                follower = self.follow(at=server.address())
                follower.comes("created ").comes("streaming, term")
                server.say("put later a b  c", "sync", "wait 1").comes("synced")
                server.comes("1 follower has it all").comes(": streaming")
                follower.ends(signal.SIGTERM).comes("stopped")
                server.comes(": gone").ends(signal.SIGINT).comes("stopped")
                self.assertEqual(server.err.read_text() + follower.err.read_text(), "")
                self.assertEqual(self.content(self.copy), self.content(self.db))
                self.assertEqual(self.ok("get", self.copy, "later").out, "a b  c\n")

    def test_lines_are_in_the_notation_of_the_other_commands(self):
        server = self.serve("serve", None, "--int", "--escapes")
        server.say("put 258 a\\x20b", "put 5", "put big x", "erase 7", "frobnicate", "", "put 1 ",
                   "sync").comes("synced")
        server.ends(signal.SIGTERM)
        for number, text in ((2, "put KEY VALUE"), (3, "the key"), (4, "not_found"),
                             (5, "wait COUNT")):
            self.assertRegex(server.err.read_text(), rf"line {number}: .*{text}")
        self.assertEqual(len(server.err.read_text().splitlines()), 4)
        self.assertEqual(self.ok("scan", self.db, "--int").out, "1\t\n258\ta b\n")

    def test_serving_goes_on_at_the_end_of_its_input(self):
        server = self.serve()
        server.say("put last line").process.stdin.close()
        follower = self.follow().comes("streaming, term")
        follower.ends(signal.SIGTERM)
        server.ends(signal.SIGTERM)
        self.assertEqual(self.content(self.copy), self.content(self.db))

    def test_either_side_may_be_killed(self):
        server = self.serve()
        follower = self.follow().comes("streaming, term")
        for turn in range(3):
            server.say(*(f"put k{turn}-{at:03} {turn}" for at in range(200)), "sync", "wait 1")
            server.comes("1 follower has it all")
            follower.ends(signal.SIGKILL, -signal.SIGKILL)
            server.say(f"put more{turn} x", "sync").comes("synced", 2)
            follower = self.follow(f"follow{turn}").comes("following").comes("streaming, term")
            self.assertNotIn("created", follower.said())
            server.ends(signal.SIGKILL, -signal.SIGKILL)
            follower.comes("connecting: ")
            server = self.serve(f"serve{turn}")
            follower.comes("streaming, term", 2)
        server.say("put end x", "wait 1").comes("1 follower has it all")
        follower.ends(signal.SIGTERM)
        server.ends(signal.SIGTERM)
        self.assertEqual(self.content(self.copy).count("\n"), 1 + 3 * 201 + 1)
        self.assertEqual(self.content(self.copy), self.content(self.db))

    def test_a_follower_is_promoted_and_the_old_leader_gives_way(self):
        server = self.serve().say("put both x")
        self.follow().comes("streaming, term").ends(signal.SIGTERM)
        self.assertIn("read_only", self.ok("put", self.copy, "no", "x", code=FAILED).err)
        self.assertIn("armdb promote",
                      self.ok("serve", self.copy, self.socket + "2", code=FAILED).err)
        server.say("put lost x", "sync").comes("synced")
        self.assertIn("1 entry", self.ok("lag", self.copy, self.socket).out)
        self.assertIn("promoted", self.ok("promote", self.copy).out)
        self.assertIn("no follower", self.ok("promote", self.copy, code=FAILED).err)
        self.ok("put", self.copy, "new", "x")
        # Sent to its old leader by mistake: neither takes anything over, and that one ends.
        self.assertIn("fenced", self.ok("lag", self.copy, self.socket, code=FAILED).err)
        wrong = self.follow("wrong").comes("refused: fenced")
        server.ends(code=FAILED).comes("a newer leader has taken over")
        wrong.ends(signal.SIGTERM)
        self.assertIn("read_only", self.ok("put", self.db, "no", "x", code=FAILED).err)
        # That call made it a follower, too.
        self.ok("promote", self.copy)
        second = self.serve("second", self.copy)
        lag = self.ok("lag", self.db, self.socket).out
        self.assertRegex(lag, "1 entry;|2 entries;")
        self.assertIn("1 shard will be copied anew", lag)
        back = self.follow("back", self.db).comes("streaming, term")
        second.say("wait 1").comes("1 follower has it all")
        back.ends(signal.SIGTERM)
        second.ends(signal.SIGTERM)
        self.assertEqual(self.content(self.db), self.content(self.copy))
        self.assertNotIn("lost", self.content(self.db))
        self.assertTrue(list(self.db.rglob("*.aside")))

    def test_lag_is_told(self):
        server = self.serve("serve", None, "--every", "20").comes("no follower has come yet")
        follower = self.follow("follow", None, "--every", "20").comes("lag: 0 entries")
        server.comes("lag of ")
        self.assertIn("locked", self.ok("lag", self.copy, self.socket, code=FAILED).err)
        follower.ends(signal.SIGTERM)
        server.say("put one x", "put two x", "put three x", "sync").comes("synced")
        server.comes(", which is gone: 3 entries")
        before = tree_state(self.copy)
        self.assertIn("lag: 3 entries; the leader is in term",
                      self.ok("lag", self.copy, self.socket).out)
        self.assertEqual(tree_state(self.copy), before)

    def test_a_collection_of_its_own_is_not_overwritten(self):
        self.serve().say("put mine x", "sync").comes("synced")
        other = self.dir / "other"
        self.create(other)
        self.ok("put", other, "own", "x")
        err = self.ok("follow", other, self.socket, code=FAILED).err
        self.assertIn("entries of its own", err)
        self.assertIn("own", self.content(other))
        self.ok("put", other, "still", "x")

    def test_addresses_that_others_reach_need_a_key(self):
        err = self.ok("serve", self.db, "0.0.0.0:0", code=FAILED).err
        self.assertIn("reached from other machines", err)
        self.assertIn("--shared-key-file", err)
        server = self.serve("open", None, "--allow-insecure", at="0.0.0.0:0")
        server.ends(signal.SIGTERM)
        self.assertIn("one host and one port",
                      self.ok("serve", self.db, "nonsense", code=FAILED).err)

    def test_nobody_there_and_another_name(self):
        err = self.ok("follow", self.copy, self.socket, code=FAILED).err
        self.assertIn("is \"armdb serve\" running there?", err)
        self.serve("serve", None, "--name", "news")
        err = self.ok("follow", self.copy, self.socket, code=FAILED).err
        self.assertIn("--name", err)
        self.assertFalse(self.copy.exists())
        self.follow("follow", None, "--name", "news").comes("streaming, term")

    def test_fixed_collections_are_followed_and_promoted(self):
        fixed = self.dir / "fixed"
        self.ok("create", fixed, "--map", "--key-size", 8, "--value-size", 8, "--fixed")
        server = self.serve(path=fixed).say("put 00000001 abcdefgh", "put 00000002 abcdefgh")
        follower = self.follow().comes("created ").comes("streaming, term")
        server.say("put 00000002 ABCDEFGH", "erase 00000001", "put 00000003 ijklmnop", "sync",
                   "wait 1").comes("1 follower has it all")
        follower.ends(signal.SIGTERM)
        server.say("put 00000004 lostlost", "sync").comes("synced", 2)
        self.assertIn("1 entry", self.ok("lag", self.copy, self.socket).out)
        server.ends(signal.SIGTERM)
        self.assertEqual(self.ok("get", self.copy, "00000002").out, "ABCDEFGH\n")
        self.assertIn("promoted", self.ok("promote", self.copy).out)
        self.ok("put", self.copy, "00000005", "newleads")
        second = self.serve("second", self.copy)
        back = self.follow("back", fixed).comes("streaming, term")
        second.say("wait 1").comes("1 follower has it all")
        back.ends(signal.SIGTERM)
        second.ends(signal.SIGTERM)
        self.assertEqual(sorted(self.content(fixed).splitlines()),
                         sorted(self.content(self.copy).splitlines()))
        self.assertNotIn("lostlost", self.content(fixed))
        self.assertTrue(list(fixed.rglob("*.aside")))

    def test_wrong_uses(self):
        key = self.dir / "key"
        key.write_text("0f" * 31 + "\n")
        for words, text in (
                (["serve", self.db], "too few"), (["follow", self.copy], "too few"),
                (["promote"], "too few"), (["lag", self.copy], "too few"),
                (["--shared-key-file", key], "64 hexadecimal digits"),
                (["--shared-key-file", self.dir / "none"], "cannot open"),
                (["--shared-key-env", "ARMDB_T_NONE"], "not set"),
                (["--cert", "x"], "go together"), (["--peer", "x"], "go together"),
                (["--every", "0"], "--every"),
                (["--shared-key-file", key, "--allow-insecure"], "do not go together")):
            with self.subTest(words=words):
                if words[0] in ("serve", "follow", "promote", "lag"):
                    self.assertIn(text, self.ok(*words, code=WRONG_USE).err)
                    continue
                err = self.ok("serve", self.db, self.socket, *words, code=WRONG_USE).err
                self.assertIn(text, err)
                self.assertNotIn("0f0f", err)

    @unittest.skipUnless(ENCRYPTION, "built without OpenSSL")
    def test_certificates(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=node",
                        "-addext", "subjectAltName=DNS:node", "-keyout", self.dir / "own.key",
                        "-out", self.dir / "own.pem"], capture_output=True, check=True)
        words = ("--cert", "own.pem", "--private-key", "own.key", "--ca", "own.pem", "--peer")
        server = self.serve("serve", None, *words, "node", at="127.0.0.1:0")
        at = server.address()
        err = self.ok("follow", self.copy, at, *words, "another", code=FAILED).err
        self.assertIn("another", err)
        self.assertNotIn("--shared-key", err)
        self.assertFalse(self.copy.exists())
        self.follow("follow", None, *words, "node", at=at).comes("streaming, term")

    @unittest.skipUnless(ENCRYPTION, "built without OpenSSL")
    def test_only_the_same_key_is_let_in(self):
        key, other = self.dir / "key", self.dir / "other_key"
        key.write_text("0f" * 32 + "\n")
        other.write_text("0e" * 32)
        os.environ["ARMDB_T_SHARED"] = "0F" * 32
        self.addCleanup(os.environ.pop, "ARMDB_T_SHARED")
        server = self.serve("serve", None, "--shared-key-file", key, at="127.0.0.1:0")
        server.say("put secret x", "sync").comes("synced")
        at = server.address()
        err = self.ok("follow", self.copy, at, "--shared-key-file", other, code=FAILED).err
        self.assertIn("wrong_key", err)
        self.assertIn("both sides need the same --shared-key-file", err)
        server.comes("a connection ended: wrong_key")
        err = self.ok("follow", self.copy, at, code=FAILED).err
        self.assertIn("--shared-key-file", err)
        self.assertFalse(self.copy.exists())
        follower = self.follow("follow", None, "--shared-key-env", "ARMDB_T_SHARED", at=at)
        follower.comes("streaming, term").ends(signal.SIGTERM)
        self.assertIn("lag: 0 entries",
                      self.ok("lag", self.copy, at, "--shared-key-file", key).out)
        # The same for one that is there already: it is refused, and goes on asking.
        refused = self.follow("refused", None, "--shared-key-file", other, at=at)
        refused.comes("refused: wrong_key").ends(signal.SIGTERM)
        self.assertIn("secret", self.content(self.copy))


if __name__ == "__main__":
    unittest.main(verbosity=1)
