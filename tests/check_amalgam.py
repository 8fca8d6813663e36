#!/usr/bin/env python3
"""Checks the pair armdb.hpp + armdb.cpp the way its users meet it.

Fresh; compiled strictly by g++ and clang++, with and without exceptions; tests/api on it; two
translation units; no macro, symbol or constructor leaks; budgets. Closes with one line
`N passed, N failed`, where N counts checks and API test cases. --size prints text sizes only.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import amalgam_symbols  # noqa: E402
from run_tests import run_catch  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
STRICT = "-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror".split()
BASE = ["-std=c++20", "-pthread"]
BARE = ["-fno-exceptions", "-fno-rtti"]
# Of the lines of armdb.hpp 150 are for the public face of replication, which users read as well;
# of those of armdb.cpp 5,500 replicate both stores.
HPP_LINES_MAX, CPP_LINES_MAX, CORE_TEXT_MAX = 2650, 27750, 200 * 1024
NO_REPLICATION = "-DARMDB_OMIT_REPLICATION=1"
CORE = [NO_REPLICATION]
OPENSSL = "-DARMDB_WITH_OPENSSL=1"
SWITCHES = {
    "whole": [], "with OpenSSL": [OPENSSL], "without mmap": ["-DARMDB_OMIT_MMAP=1"],
    "without threads": ["-DARMDB_OMIT_THREADS=1"], "without replication": [NO_REPLICATION],
}
# How the API tests are built and run: name, compiler, defines for all, flags of armdb.cpp only.
VARIANTS = [
    ("gcc", "g++", [], [OPENSSL]),
    # As a firmware build compiles: the kernels that only builds for size have are tested here.
    ("gcc-bare", "g++", [], [*BARE, "-Os"]),
    # Together, as where there is neither; each alone compiles in check_strict.
    ("omit-mmap-threads", "g++", ["-DARMDB_OMIT_MMAP=1", "-DARMDB_OMIT_THREADS=1"], BARE),
    ("omit-replication", "clang++", [NO_REPLICATION], [OPENSSL]),
]


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, name, good, why="", fix=""):
        self.passed += bool(good)
        self.failed += not good
        print(f"{'ok' if good else 'FAILED'} {name}" + (f": {why}" if why else ""))
        if not good and fix:
            print(f"    fix: {fix}")
        return bool(good)


def call(command, **more):
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=ROOT,
                          **more)
    return done.returncode, done.stdout, done.stderr


def compile_all(jobs, work, checks, label):
    """Runs the commands [(name, command)] side by side; one check in all. True when all built."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(lambda item: (item[0], *call(item[1])), work))
    bad = [(name, err) for name, code, _, err in results if code]
    for name, err in bad[:3]:
        print(f"  {name}:\n" + "\n".join("    " + l for l in err.strip().split("\n")[:30]))
    return checks.add(label, work and not bad,
                      f"{len(work) - len(bad)} of {len(work)} compiled" if work else "none found")


def check_strict(args, checks):
    """The pair alone, both compilers, each way and each switch, no warning."""
    work = []
    for cxx in ("g++", "clang++"):
        for name, flags in (("bare", BARE), ("plain", [])):
            work.append((f"{cxx} {name}", [cxx, *BASE, "-O2", *flags, *STRICT, "-c", "armdb.cpp",
                                          "-o", args.build / f"{cxx}-{name}.o"]))
        header = args.build / "header_only.cpp"
        header.write_text('#include "armdb.hpp"\n')
        work.append((f"{cxx} armdb.hpp", [cxx, *BASE, *BARE, *STRICT, "-I.", "-fsyntax-only",
                                          header]))
    for name, defines in SWITCHES.items():
        if defines:
            work.append((name, ["g++", *BASE, *BARE, *STRICT, "-fsyntax-only", *defines,
                                "armdb.cpp"]))
    return compile_all(args.jobs, work, checks, "compiles without a warning")


def check_two_units(args, checks):
    """Two translation units that both include armdb.hpp, linked with armdb.cpp."""
    for name, body in (("one", "int two();\nint main() { return two(); }"),
                       ("two", "int two();\nint two() { return 0; }")):
        (args.build / f"{name}.cpp").write_text(f'#include "armdb.hpp"\n{body}\n')
    program = args.build / "two_units"
    code, _, err = call(["g++", *BASE, "-I.", args.build / "one.cpp", args.build / "two.cpp",
                         args.build / "g++-plain.o", "-o", program])
    code = code or call([program])[0]
    checks.add("two translation units link and run", code == 0, err.strip()[:2000],
               "a function in a public header is neither inline nor a template")


def check_mismatch(args, checks):
    """A program with other switches than armdb.cpp had does not link, and the name says why."""
    for define in ("ARMDB_OMIT_MMAP", "ARMDB_OMIT_THREADS", "ARMDB_OMIT_REPLICATION"):
        code, _, err = call(["g++", *BASE, f"-D{define}=1", "-I.", args.build / "one.cpp",
                             args.build / "two.cpp", args.build / "g++-plain.o", "-o",
                             args.build / "mismatch"])
        checks.add(f"{define} on one side only does not link", code != 0 and "build_" in err,
                   err.strip()[-300:] or "it linked", "name the switch in ARMDB_BUILD_TAG")


def macros(args, name, text):
    path = args.build / f"{name}.cpp"
    path.write_text(text)
    code, out, err = call(["g++", *BASE, "-I.", "-dM", "-E", path])
    if code:
        print(err)
    return set(re.findall(r"^#define (\w+)", out, re.M))


def check_macros(args, checks):
    """armdb.hpp defines ARMDB_ macros, and none else beyond its std headers."""
    header = (ROOT / "armdb.hpp").read_text()
    includes = "".join(f"#include <{n}>\n" for n in re.findall(r"#\s*include\s*<(.*?)>", header))
    added = macros(args, "with", '#include "armdb.hpp"\n') - macros(args, "without", includes)
    leaked = sorted(name for name in added if not name.startswith("ARMDB_"))
    checks.add("armdb.hpp leaks no macro", added and not leaked,
               " ".join(leaked) or f"{len(added)} ARMDB_ macros", "#undef it, or name it ARMDB_")


def check_budgets(args, checks):
    for name, most in (("armdb.hpp", HPP_LINES_MAX), ("armdb.cpp", CPP_LINES_MAX)):
        lines = len((ROOT / name).read_text().split("\n")) - 1
        checks.add(f"{name} is small", 0 < lines <= most, f"{lines} of {most} lines",
                   "move code out of headers, or simplify")
    text = text_size(args, CORE)
    checks.add("core is small", 0 < text <= CORE_TEXT_MAX,
               f"{text} of {CORE_TEXT_MAX} bytes of text at -Os", "see make size")


def text_size(args, defines):
    target = args.build / "size.o"
    # As a firmware build compiles it: without exceptions nobody reads the unwind tables.
    code, _, err = call(["g++", *BASE, *BARE, "-Os", "-fno-asynchronous-unwind-tables",
                         "-DNDEBUG", *defines, "-c", "armdb.cpp", "-o", target])
    if code:
        print(err[:2000])
        return 0
    return int(call(["size", target])[1].split("\n")[1].split()[0])


def includes_of(path):
    return re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(), re.M)


def check_api_includes(checks):
    """API tests see "armdb.hpp" and tests/support, as users would."""
    tests = sorted((ROOT / "tests/api").glob("*_test.cpp"))
    bad = [f"{t.name} includes {i}" for t in tests for i in includes_of(t)
           if i != "armdb.hpp" and not re.match(r"(tests/|\.\./)?support/", i)]
    checks.add("API tests include only armdb.hpp", tests and not bad,
               "; ".join(bad) or f"{len(tests)} files", 'include "armdb.hpp", or move the test')
    return tests


def usable_support():
    """The sources of tests/support/ that see nothing private of armdb."""
    def private(path, seen):
        if path in seen or not path.is_file():
            return False
        seen.add(path)
        for name in includes_of(path):
            if name == "armdb.hpp":
                continue
            inner = ROOT / "tests/support" / name.split("/")[-1]
            if re.match(r"(tests/|\.\./)?support/", name) or inner.is_file():
                if private(inner, seen):
                    return True
            else:
                return True
        return False
    return [p for p in sorted((ROOT / "tests/support").glob("*.cpp")) if not private(p, set())]


def catch_setup(cxx, folder):
    """Commands for Catch2's precompiled header and its main, and flags that use the header."""
    # Optimised, as users compile the header, in one variant; the others are built faster.
    flags = [*BASE, "-O1" if folder.name == "gcc" else "-O0", "-g1", "-I.", "-Itests"]
    shim = folder / "catch.hpp"
    shim.write_text('#include "tests/support/catch.hpp"\n')
    header = folder / ("catch.pch" if "clang" in cxx else "catch.hpp.gch")
    use = ["-include-pch", header] if "clang" in cxx else ["-include", shim]
    return flags, use, [cxx, *flags, "-x", "c++-header", shim, "-o", header]


def check_api(args, checks, tests):
    """Builds and runs tests/api against the pair, once per variant."""
    mains = {}
    for name, cxx, defines, only in VARIANTS:
        folder = args.build / name
        folder.mkdir(parents=True, exist_ok=True)
        flags, use, pch = catch_setup(cxx, folder)
        flags = flags + defines
        work = []
        if cxx not in mains:
            mains[cxx] = args.build / f"main-{cxx}.o"
            work.append(("main", [cxx, *flags, "-O0", "-g0", "-c", "tests/test_main.cpp", "-o",
                                  mains[cxx]]))
        pch[1:1] = defines
        shared = args.build / "gcc" if name == "gcc-bare" else folder  # the same test objects
        if shared == folder:
            call(pch)
        objects, sources = [mains[cxx]], [*tests, *usable_support()]
        armdb = folder / "armdb.o"
        work.insert(0, ("armdb.cpp", [cxx, *BASE, "-O1", "-g1", "-DARMDB_CHECKS=1", *defines,
                                      *only, "-c", "armdb.cpp", "-o", armdb]))
        for source in sources:
            target = shared / (source.stem + ".o")
            objects.append(target)
            if shared == folder:
                work.append((source.name, [cxx, *flags, *use, "-DARMDB_CHECKS=1", "-c", source,
                                           "-o", target]))
        if not compile_all(args.jobs, work, checks, f"API tests build ({name})"):
            continue
        libs = ["-lssl", "-lcrypto"] if OPENSSL in only else []
        catch = ["-lCatch2"] if os.path.exists("/usr/include/catch2/catch_all.hpp") else []
        program = folder / "api_tests"
        code, _, err = call([cxx, "-pthread", *objects, armdb, *catch, *libs, "-o", program])
        if not checks.add(f"API tests link ({name})", code == 0, err.strip()[:3000],
                          "a class that users derive from has an out-of-line virtual: an -fno-rtti "
                          "armdb.o then lacks its typeinfo" if only else ""):
            continue
        passed, failed = run_catch([str(program)], ["~[slow]"], 900, args.jobs)
        checks.passed += passed
        checks.failed += failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/amalgam"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--size", action="store_true", help="print text sizes and stop")
    args = parser.parse_args()
    os.chdir(ROOT)
    sys.stdout.reconfigure(line_buffering=True)
    os.environ.setdefault("ARMDB_TEST_SCALE", "0.5")
    args.build = ROOT / args.build
    args.build.mkdir(parents=True, exist_ok=True)
    if args.size:
        sizes = {name: text_size(args, defines) for name, defines in SWITCHES.items()}
        for name, size in sizes.items():
            print(f"{name:22} {size:>9} bytes of text at -Os")
        return 0 if all(sizes.values()) else 1
    checks = Checks()
    code, out, err = call([sys.executable, "amalgamate.py", "--check"])
    checks.add("the pair is fresh", code == 0, (out + err).strip())
    if not all((ROOT / name).is_file() for name in ("armdb.hpp", "armdb.cpp")):
        checks.add("the pair exists", False, fix="make amalgamate")
    else:
        tests = check_api_includes(checks)
        if check_strict(args, checks):
            check_two_units(args, checks)
            check_mismatch(args, checks)
            for name in ("g++-bare.o", "clang++-plain.o"):
                amalgam_symbols.check(args.build / name, checks)
        check_macros(args, checks)
        check_budgets(args, checks)
        check_api(args, checks, tests)
        without = args.build / "omit-replication" / "armdb.o"
        if without.is_file():
            amalgam_symbols.check_omitted(without, checks)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed or not checks.passed else 0


if __name__ == "__main__":
    sys.exit(main())
