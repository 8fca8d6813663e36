#!/usr/bin/env python3
"""Style that can be checked. Prints `file:line: what` and a fix; closes with a count of files.

Run from anywhere; --root says which tree. Zero files checked is a failure.
"""
import argparse
import pathlib
import re
import sys

LINE_MAX, FUNCTION_MAX, FILE_MAX = 100, 70, 700
SOURCES = (".hpp", ".cpp")
SUFFIXES = SOURCES + (".py", ".sh", ".md", ".yml")
FREE_FOLDERS = {"api", "crash", "threads", "support", "bench", "demo", "golden", "net", "power"}
# The word of another project for an idea that has a word here (the table in src/README.md).
BANNED = {
    "keydir": "index", "memtable": "index", "lsn": "sequence", "gsn": "sequence",
    "slave": "follower", "master": "leader", "vacuum": "compaction", "keyfile": "hint file",
    "disk_loc": "location", "datafile": "segment",
}
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|(?<![0-9a-fA-F])\'(?:[^\'\\\n]|\\.)+\'')

faults = []


def fault(name, line, what, fix):
    faults.append(f"{name}:{line}: {what}\n    fix: {fix}")


def blank(match):
    """Spaces instead of the text, newlines kept, so that line numbers hold."""
    return re.sub(r"[^\n]", " ", match[0])


def code_of(text):
    """The code alone: no comments, no literals."""
    text = re.sub(r'R"(\w*)\(.*?\)\1"', blank, text, flags=re.S)
    pattern = LITERAL.pattern + r"|//[^\n]*|/\*.*?\*/"
    return re.sub(pattern, blank, text, flags=re.S)


def check_text(name, text):
    """What holds for every text file."""
    lines = text.split("\n")
    if not text.endswith("\n"):
        fault(name, len(lines), "no newline at the end", "add one")
    elif text.endswith("\n\n"):
        fault(name, len(lines) - 1, "blank line at the end", "delete it")
    for at, line in enumerate(lines, 1):
        if len(line) > LINE_MAX and not name.endswith(".md") and "http" not in line:
            fault(name, at, f"{len(line)} columns", f"break it at {LINE_MAX}")
        if line != line.rstrip():
            fault(name, at, "trailing white space", "make format")
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            fault(name, at, "control character", "write an escape")
        elif "\t" in line:
            fault(name, at, "tab", "indent with spaces")
        if re.search(r"\b(TODO|FIXME|XXX)\b(?!\(\w+\):)", line) and not name.endswith("tidy.py"):
            fault(name, at, "TODO without a name", "write TODO(name): why later, or do it")


def check_functions(name, code):
    """Counts lines from a top-most block that follows `)` to its closing brace."""
    code = re.sub(r"^[ ]*#(?:[^\n]*\\\n)*[^\n]*", blank, code, flags=re.M)
    stack = []  # (line, is a function)
    at, start = 1, 0
    for i, char in enumerate(code):
        if char == "\n":
            at += 1
        elif char in ";{}":
            head = code[start:i].strip()
            start = i + 1
            if char == "{":
                inside = any(is_function for _, is_function in stack)
                plain = not re.match(r"(template\s*<[^{]*>\s*)?(namespace|class|struct|union|enum"
                                     r"|extern)\b", head)
                stack.append((at, not inside and plain and ")" in head))
            elif char == "}" and stack:
                begin, is_function = stack.pop()
                if is_function and at - begin + 1 > FUNCTION_MAX:
                    fault(name, begin, f"function of {at - begin + 1} lines",
                          f"split it: {FUNCTION_MAX} is the most")


def check_source(name, text, code):
    """What holds for .hpp and .cpp files."""
    lines = text.split("\n")
    if len(lines) - 1 > FILE_MAX:
        fault(name, FILE_MAX, f"{len(lines) - 1} lines", "give one of its jobs a file of its own")
    check_functions(name, code)
    for at, line in enumerate(code.split("\n"), 1):
        for word in re.findall(r"(?!SSL_)\b[A-Za-z_]\w*", line):  # OpenSSL's names are its own
            for part in re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word).lower().split("_"):
                if part in BANNED:
                    fault(name, at, f'"{word}" is another project\'s word',
                          f"say {BANNED[part]}")
        if re.search(r"(?<![\w.])assert\s*\(", line) and "static_assert" not in line:
            fault(name, at, "assert()", "use ARMDB_ASSERT")
        if re.search(r"\busing\s+namespace\b", line) and name.startswith("src/"):
            fault(name, at, "using namespace", "name the folder: format::decode_entry")


def check_src(name, text, code):
    """What holds below src/ only."""
    folder = name.split("/")[1]
    if not text.startswith("// "):
        fault(name, 1, "the first line is no comment", "say the file's one job there")
    depth = 0
    for at, line in enumerate(code.split("\n"), 1):
        directive = re.match(r"\s*#\s*(if|endif)", line)
        depth += {"if": 1, "endif": -1}[directive[1]] if directive else 0
        if folder == "cli":
            continue
        if re.search(r"\b(cout|cerr|clog|(v|f)?printf|f?puts|putchar|perror)\b", line):
            fault(name, at, "prints", "only cli/ prints: log through base/log, or return a Status")
        # Clocks jump [pitfall-24]: times are for people and intervals, and come from os/. A time to
        # live is asked for in time; one class knows how that stays safe.
        asks = r"\b(wall_(ms|text)|time\(|clock_gettime|\w+_clock)\b"
        knows = ("src/engine/expiry.hpp", "src/base/simulation.hpp")  # the latter gives times
        if folder != "os" and name not in knows and re.search(asks, line):
            fault(name, at, "asks a clock", "correctness has no time: use sequences, or os/clock")
        if re.search(r"\b(throw|try|catch)\b", line) and depth == 0 and \
                not name.startswith("src/core/status."):
            fault(name, at, "exception", "return a Status")
        if re.search(r"\b(abort|exit|_exit|quick_exit|sleep|usleep)\s*\(", line) and \
                depth == 0 and "check." not in name and not name.startswith("src/core/status."):
            fault(name, at, "ends or delays the process", "return a Status; waits are for os/")


def check_api_threads(name, code):
    """tests/api also runs on builds without threads, where two threads are a race."""
    guards = []
    for at, line in enumerate(code.split("\n"), 1):
        if re.match(r"\s*#\s*if", line):
            guards.append("!defined(ARMDB_OMIT_THREADS)" in line)
        elif re.match(r"\s*#\s*endif", line) and guards:
            guards.pop()
        elif re.search(r"\bstd::(j?thread|async)\b", line) and not any(guards):
            fault(name, at, "a thread in a build without threads",
                  "put the test between #if !defined(ARMDB_OMIT_THREADS) and #endif")


def check_place(root, name):
    """Names are snake_case, and tests/ mirrors src/."""
    path = pathlib.PurePosixPath(name)
    if path.suffix in SOURCES + (".py", ".sh") and not re.fullmatch(r"[a-z][a-z0-9_]*", path.stem):
        fault(name, 1, "the file name is not snake_case", "rename it")
    if len(path.parts) != 3 or path.parts[0] != "tests" or path.suffix not in SOURCES:
        return
    folder = path.parts[1]
    if folder in FREE_FOLDERS:
        return
    if path.suffix == ".cpp" and not path.stem.endswith("_test"):
        fault(name, 1, "not a _test.cpp file", "rename it, or move it to tests/support/")
    elif path.stem.endswith("_test"):
        base = f"src/{folder}/{path.stem.removesuffix('_test')}"
        if not any((root / (base + suffix)).exists() for suffix in SOURCES):
            fault(name, 1, f"mirrors no {base}.*", "name it after the file it tests")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    root = parser.parse_args().root
    count = 0
    found = [p for top in ("src", "tests", "fuzz") for p in (root / top).rglob("*")]
    for path in sorted([*found, root / "amalgamate.py", root / "README.md"]):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or path.suffix not in SUFFIXES or \
                name.startswith(("fuzz/corpus/", "tests/golden/")):
            continue
        count += 1
        text = path.read_bytes().decode("utf-8", "replace")
        check_text(name, text)
        check_place(root, name)
        if path.suffix in SOURCES and name not in ("src/armdb.hpp", "src/armdb.cpp"):
            code = code_of(text)
            check_source(name, text, code)
            if name.startswith("src/"):
                check_src(name, text, code)
            if name.startswith("tests/api/"):
                check_api_threads(name, code)
    print("\n".join(faults) + ("\n" if faults else "") + f"{count} files checked, "
          f"{len(faults)} faults")
    return 1 if faults or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
