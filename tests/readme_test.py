"""The README's program and commands do what the README says, from the two files alone."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent
README = (TOP / "README.md").read_text()
CXX = os.environ.get("CXX", "c++")
ARMDB = pathlib.Path(os.environ.get("ARMDB_BIN", TOP / "build" / "armdb")).resolve()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


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
        self.assertEqual(len(programs), 1)
        for name in ("armdb.hpp", "armdb.cpp"):
            shutil.copy(TOP / name, self.folder)
        (self.folder / "app.cpp").write_text(programs[0])
        line = next(text for text in blocks("sh")[0].splitlines() if text.startswith("c++ "))
        self.run_ok(line.replace("c++ ", CXX + " ", 1).replace("app.cpp", "-o app app.cpp", 1))
        expected = "42: 42\n9: 9\n7: 7\n42 is there: 42\n"
        self.assertEqual(self.run_ok(["./app"]), expected)
        self.assertEqual(self.run_ok(["./app"]), expected, "the second run finds the data")

    def test_the_commands_of_the_program_work_as_written(self):
        commands = next(text for text in blocks("sh") if "armdb create" in text)
        shutil.copy(ARMDB, self.folder / "armdb")
        out = self.run_ok("set -e\n" + commands.replace("build/armdb", "./armdb"))
        self.assertIn("00000001", out)
        self.assertTrue((self.folder / "copy" / "db.meta").exists())

    def test_every_target_it_names_exists(self):
        makefile = (TOP / "Makefile").read_text()
        for target in sorted(set(re.findall(r"make ([a-z-]+)", "\n".join(blocks("sh"))))):
            self.assertRegex(makefile, rf"(?m)^{target}:", target)

    def test_every_file_it_names_exists(self):
        for name in sorted(set(re.findall(r"`((?:src|tests)/[\w./]+\.(?:md|cpp|py))`", README))):
            self.assertTrue((TOP / name).exists(), name)


if __name__ == "__main__":
    unittest.main()
