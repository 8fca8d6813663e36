#!/usr/bin/env python3
"""Tests amalgamate.py on small trees: what it writes, and each thing it refuses."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "amalgamate.py"
VERSION = """// Version of the library.
#pragma once
#define ARMDB_VERSION_MAJOR 1
#define ARMDB_VERSION_MINOR 2
#define ARMDB_VERSION_PATCH 3
#define ARMDB_VERSION_SUFFIX "-dev"  // empty on a release
"""
GOOD = {
    "armdb.hpp": """// clang-format off

// Before the first put(): caveat one.
//   * caveat two

#pragma once

// the words
#include "core/version.hpp"
#include "core/bytes.hpp"
""",
    "armdb.cpp": """// clang-format off
#include "armdb.hpp"
#include "base/check.hpp"
#include "store/log_store.hpp"
#include "os/clock.cpp"
#include "store/log_store.cpp"
""",
    "core/version.hpp": VERSION,
    "core/bytes.hpp": """// Bytes: a read-only view.
#pragma once

#include <span>
#include <cstddef>

#include "core/version.hpp"

namespace armdb {
struct Bytes {};
}  // namespace armdb
""",
    "base/check.hpp": """// Assertions.
#pragma once
#include <vector>
#if defined(__SSE4_2__)
#include <immintrin.h>
#endif
#include "core/bytes.hpp"
""",
    "os/clock.cpp": """// The clock.
#include <unistd.h>
#include <vector>
#include "base/check.hpp"
int clock_line = __LINE__;
""",
    "store/log_store.hpp": "// The log.\n#pragma once\n#include \"base/check.hpp\"\n",
    "store/log_store.cpp": """// The log's source.
#include "store/log_store.hpp"

#include <algorithm>


int log_line = __LINE__;
""",
    "cli/main.cpp": "// The program.\n#include <cstdio>\n#include \"armdb.hpp\"\n"
                    "#include \"cli/options.hpp\"\n",
    "cli/options.hpp": "// Options.\n#pragma once\n",
}


class TreeTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        for name, text in GOOD.items():
            self.put(name, text)

    def tearDown(self):
        self.folder.cleanup()

    def put(self, name, text):
        path = self.root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())

    def edit(self, name, old, new):
        text = (self.root / "src" / name).read_text()
        self.assertIn(old, text)
        self.put(name, text.replace(old, new, 1))

    def list_below(self, spine, above, name):
        self.edit(spine, f'"{above}"\n', f'"{above}"\n#include "{name}"\n')

    def call(self, *options):
        return subprocess.run([sys.executable, SCRIPT, "--root", self.root, *options],
                              capture_output=True, text=True)

    def read(self, name):
        return (self.root / name).read_bytes().decode()

    def good(self, *options):
        done = self.call(*options)
        self.assertEqual(done.returncode, 0, done.stderr)

    def refused(self, error, fix, *options):
        """One error line holds `error`, the line after it is its fix and holds `fix`."""
        done = self.call(*options)
        self.assertEqual(done.returncode, 1, "was accepted")
        lines = done.stderr.strip().split("\n")[:-1]
        self.assertTrue(all(l.startswith("error: ") for l in lines[::2]), done.stderr)
        self.assertTrue(all(l.startswith("    fix: ") for l in lines[1::2]), done.stderr)
        pairs = list(zip(lines[::2], lines[1::2]))
        self.assertTrue(any(error in e and fix in f for e, f in pairs), done.stderr)
        if not options:
            self.assertFalse((self.root / "armdb.cpp").exists(), "wrote in spite of an error")


class Output(TreeTest):
    def test_header_is_a_document(self):
        self.good()
        text = self.read("armdb.hpp")
        self.assertTrue(text.startswith("// armdb 1.2.3-dev: "))
        self.assertIn("SPDX-License-Identifier: MIT", text)
        self.assertIn("// Before the first put(): caveat one.\n//   * caveat two\n", text)
        self.assertIn("// Contents: core/version.hpp, core/bytes.hpp\n", text)
        self.assertLess(text.index("// Contents"), text.index("#pragma once"))
        self.assertLess(text.index("---- core/version.hpp"), text.index("---- core/bytes.hpp"))
        self.assertEqual(text.count("#pragma once"), 1)
        self.assertNotIn("clang-format", text)

    def test_std_includes_are_hoisted_sorted_and_deduplicated(self):
        self.good()
        text = self.read("armdb.cpp")
        self.assertIn('#include "armdb.hpp"\n\n#include <algorithm>\n#include <unistd.h>\n'
                      "#include <vector>\n\n// ---- base/check.hpp ----\n", text)
        self.assertEqual(text.count("<vector>"), 1)

    def test_conditional_include_stays_put(self):
        self.good()
        self.assertIn("#if defined(__SSE4_2__)\n#include <immintrin.h>\n#endif\n",
                      self.read("armdb.cpp"))

    def test_local_includes_vanish_and_each_file_has_a_banner(self):
        self.good()
        text = self.read("armdb.cpp")
        self.assertEqual(text.count('#include "'), 1)
        banners = [l for l in text.split("\n") if l.startswith("// ---- ")]
        names = [b.split()[2] for b in banners]
        self.assertEqual(names, ["base/check.hpp", "store/log_store.hpp", "os/clock.cpp",
                                 "store/log_store.cpp"])
        self.assertNotIn("\n\n\n", text + self.read("armdb.hpp"))

    def test_a_namespace_goes_on_over_the_joint_of_two_files(self):
        part = "// File {0}.\n#pragma once\n\nnamespace armdb {{\n{2}namespace detail {{\n\n" \
               "int {0};\n\n}}  // namespace detail\n{1}}}  // namespace armdb\n"
        self.put("base/one.hpp", part.format("one", "", ""))
        self.put("base/two.hpp", part.format("two", "\nint behind;\n", ""))
        self.put("base/three.hpp", part.format("three", "", "int before;\n\n"))
        for above, name in (("base/check.hpp", "one"), ("base/one.hpp", "two"),
                            ("base/two.hpp", "three")):
            self.list_below("armdb.cpp", above, f"base/{name}.hpp")
        self.good()
        self.assertIn(
            "// ---- base/one.hpp ----\n// File one.\n\nnamespace armdb {\nnamespace detail {\n"
            "int one;\n\n// ---- base/two.hpp ----\n// File two.\n\nint two;\n"
            "}  // namespace detail\n\nint behind;\n\n// ---- base/three.hpp ----\n"
            "// File three.\n\nint before;\n\nnamespace detail {\nint three;\n"
            "}  // namespace detail\n}  // namespace armdb\n", self.read("armdb.cpp"))
        self.good("--line")
        self.assertEqual(self.read("build/line/armdb.cpp").count("namespace armdb {"), 3)

    def test_two_runs_are_equal(self):
        self.good()
        first = self.read("armdb.hpp") + self.read("armdb.cpp")
        self.good()
        self.assertEqual(first, self.read("armdb.hpp") + self.read("armdb.cpp"))
        self.assertNotIn("\r", first)
        self.assertNotIn(str(self.root), first)

    def test_hash_is_on_releases_only(self):
        self.good()
        self.assertNotIn("sha256", self.read("armdb.hpp"))
        self.edit("core/version.hpp", '"-dev"', '""')
        self.good()
        before = [l for l in self.read("armdb.hpp").split("\n") if "sha256" in l]
        self.assertEqual(len(before), 1)
        self.assertIn(before[0], self.read("armdb.cpp"))
        self.edit("store/log_store.cpp", "log_line", "other_line")
        self.good()
        self.assertNotIn(before[0], self.read("armdb.hpp"))

    def test_line_mode_keeps_numbers_and_leaves_the_pair_alone(self):
        self.good("--line")
        self.assertFalse((self.root / "armdb.cpp").exists())
        text = self.read("build/line/armdb.cpp")
        for name in ("os/clock.cpp", "store/log_store.cpp"):
            source = (self.root / "src" / name).read_text().split("\n")
            part = text.split(f'#line 1 "src/{name}"\n')[1].split("\n")
            at = next(i for i, line in enumerate(source) if "__LINE__" in line)
            self.assertEqual(part[at], source[at])
        self.good()
        self.assertNotIn("#line", self.read("armdb.cpp"))

    def test_check_accepts_a_fresh_pair(self):
        self.good()
        self.good("--check")


class Refused(TreeTest):
    def test_stale_pair(self):
        self.good()
        (self.root / "armdb.cpp").write_text("old\n")
        self.refused("armdb.cpp: is stale", "make amalgamate", "--check")
        self.assertEqual(self.read("armdb.cpp"), "old\n")

    def test_missing_pair(self):
        self.refused("armdb.hpp: is missing", "make amalgamate", "--check")

    def test_missing_spine(self):
        (self.root / "src/armdb.cpp").unlink()
        self.refused("src/armdb.cpp: is missing", "write this spine")

    def test_layer(self):
        self.edit("base/check.hpp", '"core/bytes.hpp"', '"store/log_store.hpp"')
        self.refused('src/base/check.hpp:7: may not include "store/log_store.hpp"',
                     "base/ sees only base, core; move the code down or invert the call")

    def test_engine_may_not_see_format(self):
        self.put("format/entry.hpp", "// Entry.\n#pragma once\n")
        self.put("engine/shard.hpp", '// Shard.\n#pragma once\n#include "format/entry.hpp"\n')
        self.refused('engine/shard.hpp:3: may not include "format/entry.hpp"', "engine/ sees only")

    def test_index_and_store_never_meet(self):
        self.put("index/btree.cpp", '// Tree.\n#include "store/log_store.hpp"\n')
        self.refused('index/btree.cpp:2: may not include "store/', "index/ sees only index, core")
        self.put("index/btree.hpp", "// Tree.\n#pragma once\n")
        self.edit("store/log_store.cpp", '"store/log_store.hpp"', '"index/btree.hpp"')
        self.refused('store/log_store.cpp:2: may not include "index/', "store/ sees only store")

    def test_public_header_below_core(self):
        self.put("api/map.hpp", '// Map.\n#pragma once\n#include "base/check.hpp"\n')
        self.refused('api/map.hpp:3: may not include "base/check.hpp"', "headers that are public")

    def test_public_std_header(self):
        self.edit("core/bytes.hpp", "<span>", "<vector>")
        self.refused("core/bytes.hpp:4: a public header may not include <vector>", "move its use")

    def test_openssl(self):
        self.edit("store/log_store.cpp", "<algorithm>", "<openssl/evp.h>")
        self.refused("may not include <openssl/evp.h>", "only crypto/ includes OpenSSL")

    def test_unconditional_openssl(self):
        self.put("crypto/aead.cpp", "// AEAD.\n#include <openssl/evp.h>\n")
        self.refused("includes <openssl/evp.h> unconditionally", "#if ARMDB_WITH_OPENSSL")

    def test_system_header(self):
        self.edit("store/log_store.cpp", "<algorithm>", "<sys/stat.h>")
        self.refused("may not include <sys/stat.h>", "only os/ includes system headers")

    def test_intrinsics(self):
        self.edit("store/log_store.cpp", "<algorithm>", "<arm_acle.h>")
        self.refused("may not include <arm_acle.h>", "base/ or index/")

    def test_unconditional_intrinsics(self):
        self.edit("base/check.hpp", "<vector>", "<immintrin.h>")
        self.refused("<immintrin.h> unconditionally", "portable twin")

    def test_order_names_the_line_to_move(self):
        self.edit("armdb.cpp", '#include "base/check.hpp"\n', "")
        self.edit("armdb.cpp", '#include "os/clock.cpp"\n',
                  '#include "os/clock.cpp"\n#include "base/check.hpp"\n')
        self.refused('src/armdb.cpp:3: lists "store/log_store.hpp" above "base/check.hpp"',
                     'move line 5 ("base/check.hpp") above line 3')

    def test_not_reached(self):
        self.put("base/random.cpp", '// Random.\n#include "base/check.hpp"\n')
        self.refused("src/base/random.cpp: is not reached",
                     '#include "base/random.cpp" to src/armdb.cpp below line 3')

    def test_listed_twice(self):
        self.edit("armdb.cpp", '#include "os/clock.cpp"\n', '#include "os/clock.cpp"\n' * 2)
        self.refused('src/armdb.cpp:6: lists "os/clock.cpp" a second time', "delete line 6")

    def test_listed_but_absent(self):
        self.edit("armdb.cpp", '"os/clock.cpp"', '"os/no_clock.cpp"')
        self.refused('lists "os/no_clock.cpp", which does not exist', "write src/os/no_clock.cpp")

    def test_source_in_the_header_spine(self):
        self.put("core/bytes.cpp", '// Bytes.\n#include "core/bytes.hpp"\n')
        self.list_below("armdb.hpp", "core/bytes.hpp", "core/bytes.cpp")
        self.refused('lists the source "core/bytes.cpp"', "only src/armdb.cpp lists .cpp files")

    def test_source_included_by_a_file(self):
        self.edit("store/log_store.cpp", '"store/log_store.hpp"', '"os/clock.cpp"')
        self.refused('includes the source "os/clock.cpp"', "include a header instead")

    def test_private_header_in_the_public_spine(self):
        self.edit("armdb.cpp", '#include "base/check.hpp"\n', "")
        self.list_below("armdb.hpp", "core/bytes.hpp", "base/check.hpp")
        self.refused('lists the private header "base/check.hpp"', "move the line to src/armdb.cpp")

    def test_public_header_in_the_private_spine(self):
        self.put("core/stats.hpp", "// Stats.\n#pragma once\n")
        self.list_below("armdb.cpp", "base/check.hpp", "core/stats.hpp")
        self.refused('lists the public header "core/stats.hpp"', "move the line to src/armdb.hpp")

    def test_public_header_includes_a_private_one_of_its_folder(self):
        self.put("db/catalog.hpp", "// Catalog.\n#pragma once\n")
        self.put("db/db.hpp", '// Db.\n#pragma once\n#include "db/catalog.hpp"\n')
        self.list_below("armdb.hpp", "core/bytes.hpp", "db/db.hpp")
        self.list_below("armdb.cpp", "base/check.hpp", "db/catalog.hpp")
        self.refused('a public header includes the private "db/catalog.hpp"', "forward declaration")

    def test_cycle(self):
        self.put("base/a.hpp", '// A.\n#pragma once\n#include "base/b.hpp"\n')
        self.put("base/b.hpp", '// B.\n#pragma once\n#include "base/a.hpp"\n')
        self.refused("include cycle: base/a.hpp -> base/b.hpp -> base/a.hpp", "forward-declare")

    def test_same_name(self):
        self.put("store/clock.cpp", "// Clock.\n")
        self.refused("src/store/clock.cpp: shares its name with src/os/clock.cpp", "rename")

    def test_unknown_room(self):
        self.put("cellar/a.cpp", "// A.\n")
        self.refused("there is no room cellar/", "layer table")

    def test_unknown_kind_of_file(self):
        self.put("base/a.h", "// A.\n")
        self.refused("src/base/a.h: only .hpp and .cpp", "rename")

    def test_include_not_relative_to_src(self):
        self.edit("store/log_store.cpp", '"store/log_store.hpp"', '"log_store.hpp"')
        self.refused('includes "log_store.hpp", which does not exist', "relative to src/")

    def test_include_of_the_whole(self):
        self.edit("store/log_store.cpp", '"store/log_store.hpp"', '"armdb.hpp"')
        self.refused('may not include "armdb.hpp"', "by folder")

    def test_local_include_in_if(self):
        self.put("os/clock.cpp", '// C.\n#if 1\n#include "base/check.hpp"\n#endif\n')
        self.refused('includes "base/check.hpp" inside #if', "unconditionally")

    def test_no_pragma_once(self):
        self.edit("base/check.hpp", "#pragma once\n", "")
        self.refused("src/base/check.hpp: has no #pragma once", "add it")

    def test_macro_left_by_a_source(self):
        self.edit("os/clock.cpp", "int clock_line", "#define ARMDB_TICK 1\nint clock_line")
        self.refused("leaves its macro ARMDB_TICK defined", "#undef ARMDB_TICK")

    def test_macro_without_prefix(self):
        self.edit("base/check.hpp", "#include <vector>", "#include <vector>\n#define tick 1")
        self.refused("defines the macro tick without ARMDB_", "ARMDB_TICK")

    def test_code_in_a_spine(self):
        self.edit("armdb.cpp", '#include "base/check.hpp"', 'int x;\n#include "base/check.hpp"')
        self.refused("src/armdb.cpp:3: a spine holds only", "move the line")

    def test_spine_without_the_header(self):
        self.edit("armdb.cpp", '#include "armdb.hpp"\n', "")
        self.refused('does not include "armdb.hpp" first', "its first include")

    def test_no_caveats(self):
        self.edit("armdb.hpp", "// Before the first put(): caveat one.\n//   * caveat two\n", "")
        self.refused("has no leading comment with the caveats", "before the first put()")

    def test_no_version(self):
        self.edit("core/version.hpp", "#define ARMDB_VERSION_PATCH 3\n", "")
        self.refused("does not define ARMDB_VERSION_PATCH", "MAJOR, MINOR and PATCH")

    def test_carriage_return(self):
        self.edit("os/clock.cpp", "\n", "\r\n")
        self.refused("src/os/clock.cpp: has carriage returns", "UTF-8")

    def test_cli_sees_the_public_header_only(self):
        self.edit("cli/main.cpp", '"cli/options.hpp"', '"core/bytes.hpp"')
        self.refused('src/cli/main.cpp:4: may not include "core/bytes.hpp"', "separate program")

    def test_cli_system_header(self):
        self.edit("cli/main.cpp", "<cstdio>", "<unistd.h>")
        self.refused("src/cli/main.cpp:2: may not include <unistd.h>", "standard library only")


def main():
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0).run(
        unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"]))
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun} tests of amalgamate.py")
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 1 if failed or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
