#!/usr/bin/env python3
"""Static analysis of src/: clang-tidy, cppcheck, clang's lock annotations, GCC's analyzer.

One check per tool and unit; each tool must also find a fault that is planted for it, so that a
tool which looks at nothing fails. Zero findings pass: mend them, or give the one line a
suppression with its reason. Closes with `N passed, N failed`.
"""
import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEFINES = ["-DARMDB_CHECKS=1", "-DARMDB_WITH_OPENSSL=1"]
LIBRARY = ["-std=c++20", "-pthread", "-fno-exceptions", "-fno-rtti", "-Isrc", *DEFINES]
FACES = ["-std=c++20", "-pthread", "-Isrc", "-Ifuzz", *DEFINES]
PROGRAM = ["-std=c++20", "-pthread", "-Isrc", *DEFINES]
# Reasons are in src/.clang-tidy.
EXCEPT = {"index": "-bugprone-implicit-widening-of-multiplication-result"}
# clang's analyzer gives up on a function after so many states: a quarter of its own limit, which
# finds the same here in half of the time.
STATES = ["-Xclang", "-analyzer-config", "-Xclang", "max-nodes=60000"]
DIAGNOSTIC = re.compile(r"^(\S+?):(\d+):(?:\d+:)? (?:warning|error): (.*\[[\w.,-]+\])$", re.M)
# Not passedByValue: it knows neither std::move() nor a parameter that is changed; clang-tidy's
# performance-unnecessary-value-param does. Not pointerSize: pointers are kept in bytes, and
# clang-tidy's bugprone-sizeof-expression looks at the same.
CPPCHECK = ["cppcheck", "--enable=warning,performance,portability", "--std=c++20", "-q",
            "--inline-suppr", "--suppress=passedByValue", "--suppress=pointerSize",
            "--suppress=constStatement:src/api/codec.hpp",
            "--template={file}:{line}:1: {severity}: {message} [{id}]"]
CPPCHECK_DIAGNOSTIC = re.compile(r"^(\S+?):(\d+):1: \w+: (.*\[\w+\])$", re.M)
PLANTED = """
#include "base/mutex.hpp"
int planted_null(int* at);
int planted_null(int* at) { if (at == nullptr) { *at = 1; } return *at; }
struct Planted {
  armdb::base::Mutex mutex;
  int guarded ARMDB_GUARDED_BY(mutex) = 0;
  int read() { return guarded; }
};
int planted_lock(Planted& of);
int planted_lock(Planted& of) { return of.read(); }
"""


def call(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          errors="replace", cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


class Unit:
    """The sources of one folder as one file. clang's analyzer walks only the functions of the
    main file, and sees through a call only where it has both sides."""

    def __init__(self, folder, build, pattern="*.cpp"):
        self.name = folder.name
        self.sources = sorted(folder.glob(pattern))
        self.path = build / f"{self.name}.cpp"
        self.starts, lines = [], []
        for source in self.sources:
            self.starts.append((len(lines), source.relative_to(ROOT)))
            lines += source.read_text().split("\n")
        self.lines = len(lines)
        self.path.write_text("\n".join(lines))

    def place(self, path, line):
        """file:line as one writes it."""
        if pathlib.Path(path).name != self.path.name or "/src/" in path:
            path = pathlib.Path(path)
            return f"{path.relative_to(ROOT) if path.is_absolute() else path}:{line}"
        first, source = [start for start in self.starts if start[0] < line][-1]
        return f"{source}:{line - first}"


def tidy(unit, flags):
    command = ["clang-tidy", "--quiet", "--config-file=src/.clang-tidy",
               f"--header-filter=src/{unit.name}/"]
    if unit.name in EXCEPT:
        command.append(f"--checks={EXCEPT[unit.name]}")
    code, out = call([*command, unit.path, "--", *flags, *STATES])
    found = {f"{unit.place(m[1], int(m[2]))}: {m[3]}" for m in DIAGNOSTIC.finditer(out)}
    if code and not found:
        found.add(out.strip()[-2000:])
    return sorted(found)


def cppcheck(paths):
    code, out = call([*CPPCHECK, "-Isrc", *DEFINES, *paths])
    found = {f"{m[1]}:{m[2]}: {m[3]}" for m in CPPCHECK_DIAGNOSTIC.finditer(out)}
    if code and not found:
        found.add(out.strip()[-2000:])
    return sorted(found)


def locks(path):
    code, out = call(["clang++", *LIBRARY, "-fsyntax-only", "-Wthread-safety", "-Werror", path])
    return [out.strip()[-2000:]] if code else []


def work_of(build):
    """[(name, how many files, call)], the longest first; empty when there is nothing."""
    folders = [f for f in sorted((ROOT / "src").iterdir()) if list(f.glob("*.cpp"))]
    units = sorted((Unit(folder, build) for folder in folders), key=lambda unit: -unit.lines)
    work = [("clang-tidy src/" + unit.name, len(unit.sources),
             lambda unit=unit: tidy(unit, PROGRAM if unit.name == "cli" else LIBRARY))
            for unit in units]
    # The public templates, where a program uses them all.
    faces = Unit(ROOT / "fuzz", build, "fuzz_api.cpp")
    faces.name = "(api|core)"
    work.append(("clang-tidy the ten types", len(faces.sources),
                 lambda: [f for f in tidy(faces, FACES) if not f.startswith("fuzz/")
                          or "clang-diagnostic-error" in f]))
    for folder in folders:
        work.append(("cppcheck src/" + folder.name, len(list(folder.glob("*.cpp"))),
                     lambda folder=folder: cppcheck([folder.relative_to(ROOT)])))
    work.append(("lock annotations", sum(len(unit.sources) for unit in units),
                 lambda: locks("src/armdb.cpp")))
    return work


def planted_of(build):
    """[(name, call)]: each must find something."""
    folder = build / "planted"
    folder.mkdir(exist_ok=True)
    (folder / "planted.cpp").write_text(PLANTED)
    unit = Unit(folder, build)
    return [("clang-tidy finds the planted fault",
             lambda: [f for f in tidy(unit, LIBRARY) if "NullDereference" in f]),
            ("cppcheck finds the planted fault",
             lambda: [f for f in cppcheck([unit.path]) if "nullPointer" in f]),
            ("lock annotations find the planted fault",
             lambda: [f for f in locks(unit.path) if "requires holding mutex" in f])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "lint")
    parser.add_argument("--only", default="", help="part of the names of the checks to run")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.build.mkdir(parents=True, exist_ok=True)
    sys.stdout.reconfigure(line_buffering=True)
    work = [(name, count, run, False) for name, count, run in work_of(args.build)]
    work += [(name, 1, run, True) for name, run in planted_of(args.build)]
    work = [item for item in work if args.only in item[0]]

    def one(item):
        started = time.monotonic()
        return item[2](), time.monotonic() - started

    passed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for (name, count, _, planted), (found, took) in zip(work, pool.map(one, work)):
            good = bool(found) == planted and count > 0
            passed += good
            print(f"{'ok' if good else 'FAILED'} {name}: {count} files, {took:.0f} s")
            for text in [] if planted else found:
                print(f"  {text}\n    fix: mend it, or suppress it in its line with a reason")
    failed = len(work) - passed
    if not any(name.startswith("clang-tidy src/") for name, *_ in work) and not args.only:
        print("FAILED nothing to check")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
