"""The README's programs and commands do what the README says, from the two files alone.

Its first cpp block is a whole program. Each later one becomes one: INCLUDES come before it, types
stay where they are, and what follows the last line that is "};" is the body of main(), which ends
with the question that OUTCOMES has for its section.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent
README = (TOP / "README.md").read_text()
CXX = os.environ.get("CXX", "c++")
ARMDB = pathlib.Path(os.environ.get("ARMDB_BIN", TOP / "build" / "armdb")).resolve()

OPENSSL = pathlib.Path("/usr/include/openssl/evp.h").exists()

INCLUDES = """#include "armdb.hpp"
#include <cstdio>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
using namespace armdb;
"""

# What must hold when the block of a section has run.
OUTCOMES = {
    "Changing what is there":
        "now.ok() && status.ok() && !scores.contains(2) && scores.get(3)->games == 1 && "
        "scores.get(1)->points == 8",
    "The collections": "status.ok() && timer.ok() && hits.get(1) == 2u && hits.get(2) == 1u",
    "Hooks": "status.ok() && emails.find(\"ann@example.org\") == 7u && !emails.find(\"bob\")",
    "Encryption": "status.ok() && (*letters->get(1))->size() == 29",
    "Replication": "status.ok() && there && copy.contains(1) && copy.contains(2) && "
                   "stats.term == 1",
    "Expiry": "status.ok() && ends.ok() && *ends > 0 && erased.ok() && *erased == 0 && "
              "*sessions.expires_at(2) == WriteOptions::kForever && sessions.size() == 3",
    "Migration": "status.ok() && lines.data_version() == 2 && "
                 "(*lines.get(1))->text() == \"v2 hello\"",
    "Values and codecs": "status.ok() && read->number == 5 && read->city == \"somewhere\"",
}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def sections_of_blocks(language):
    """The section of each block, by its heading."""
    found, heading = [], ""
    for line in README.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        if line == f"```{language}":
            found.append(heading)
    return found


def as_program(block, outcome):
    types, end, body = block.rpartition("\n};\n")
    return f"{INCLUDES}{types}{end}int main() {{\n{body}return {outcome} ? 0 : 1;\n}}\n"


class Readme(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def run_ok(self, command, cwd=None):
        done = subprocess.run(command, cwd=cwd or self.folder, capture_output=True, text=True,
                              shell=isinstance(command, str), timeout=300)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_the_program_compiles_from_two_files_and_prints_what_is_said(self):
        programs = blocks("cpp")
        for name in ("armdb.hpp", "armdb.cpp"):
            shutil.copy(TOP / name, self.folder)
        (self.folder / "app.cpp").write_text(programs[0])
        line = next(text for text in blocks("sh")[0].splitlines() if text.startswith("c++ "))
        self.run_ok(line.replace("c++ ", CXX + " ", 1).replace("app.cpp", "-o app app.cpp", 1))
        expected = "42: 42\n9: 9\n7: 7\n42 is there: 42\n"
        self.assertEqual(self.run_ok(["./app"]), expected)
        self.assertEqual(self.run_ok(["./app"]), expected, "the second run finds the data")

    def test_every_other_program_compiles_and_does_what_is_said(self):
        programs = dict(list(zip(sections_of_blocks("cpp"), blocks("cpp")))[1:])
        self.assertEqual(len(programs), len(blocks("cpp")) - 1, "one block a section")
        self.assertEqual(sorted(programs), sorted(OUTCOMES))
        compile_ = f"{CXX} -std=c++20 -Wall -Wextra -I{TOP} -pthread"
        with_openssl = "-DARMDB_WITH_OPENSSL=1" if OPENSSL else ""
        self.run_ok(f"{compile_} {with_openssl} -c {TOP}/armdb.cpp -o armdb.o")
        for section, program in programs.items():
            if section == "Encryption" and not OPENSSL:
                continue
            with self.subTest(section):
                (self.folder / "app.cpp").write_text(as_program(program, OUTCOMES[section]))
                libraries = "-lssl -lcrypto" if OPENSSL else ""
                self.run_ok(f"{compile_} app.cpp armdb.o {libraries} -o app && ./app")

    def test_the_commands_of_the_program_work_as_written(self):
        commands = next(text for text in blocks("sh") if "armdb create counts" in text)
        shutil.copy(ARMDB, self.folder / "armdb")
        out = self.run_ok("set -e\n" + commands.replace("build/armdb", "./armdb"))
        self.assertIn("00000001", out)
        self.assertTrue((self.folder / "copy" / "db.meta").exists())
        if "OPENSSL" not in self.run_ok(["./armdb", "--version"]):
            return
        commands = next(text for text in blocks("sh") if "armdb encrypt" in text)
        out = self.run_ok("set -e\n" + commands.replace("build/armdb", "./armdb"))
        self.assertIn("00000001", out)
        self.assertTrue((self.folder / "clear" / "db.meta").exists())

    def test_the_terminals_of_replication_work_as_written(self):
        shutil.copy(ARMDB, self.folder / "armdb")
        if "OMIT_" in self.run_ok(["./armdb", "--version"]):
            return
        first, second, then = (text.replace("build/armdb", "./armdb") for section, text in
                               zip(sections_of_blocks("sh"), blocks("sh"))
                               if section == "Replication")
        leader = self.start("leader", first)
        self.comes("leader", "serving news")
        follower = self.start("follower", second)
        self.comes("follower", "streaming")
        self.comes("leader", "1 follower has it all")
        for name, process in (("follower", follower), ("leader", leader)):
            os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
            process.wait(60)
            self.comes(name, "stopped")
        out = self.run_ok("set -e\n" + then)
        self.assertIn("apples\t12\npears\t7\nplums\t3\n", out)
        self.assertIn("\n3\n", out)

    def start(self, name, commands):
        """Runs the commands as a terminal would: their processes are one group."""
        with (self.folder / f"{name}.out").open("wb") as out:
            process = subprocess.Popen(["sh", "-ec", commands], cwd=self.folder, stdout=out,
                                       stderr=out, start_new_session=True)
        self.addCleanup(lambda: process.poll() is None and os.killpg(process.pid, signal.SIGKILL))
        return process

    def comes(self, name, text):
        end = time.monotonic() + 60
        while text not in (said := (self.folder / f"{name}.out").read_text()):
            self.assertLess(time.monotonic(), end, f"no {text!r} in {said}")
            time.sleep(0.01)

    def test_every_target_it_names_exists(self):
        makefile = (TOP / "Makefile").read_text()
        for target in sorted(set(re.findall(r"make ([a-z-]+)", "\n".join(blocks("sh"))))):
            self.assertRegex(makefile, rf"(?m)^{target}:", target)

    def test_every_file_it_names_exists(self):
        for name in sorted(set(re.findall(r"`((?:src|tests)/[\w./]+\.(?:md|cpp|py))`", README))):
            self.assertTrue((TOP / name).exists(), name)


if __name__ == "__main__":
    unittest.main()
