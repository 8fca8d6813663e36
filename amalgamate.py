#!/usr/bin/env python3
"""Writes armdb.hpp and armdb.cpp from src/; refuses a tree that breaks the house rules.

  amalgamate.py           write the pair
  amalgamate.py --check   change nothing; fail if the pair differs from what would be written
  amalgamate.py --line    write build/line/armdb.{hpp,cpp} with #line directives, for debuggers

The order of the parts is written in two spines, src/armdb.hpp and src/armdb.cpp, never
computed. The output is a function of the input bytes. Code is moved, never rewritten; only the
joints of files close up.
"""
import argparse
import hashlib
import pathlib
import re
import sys
import textwrap

# What a file of a folder may include besides its own folder, lowest folder first.
LAYERS = {
    "core": "", "base": "core", "os": "core base", "crypto": "core base os",
    "format": "core base", "index": "core base", "store": "core base os crypto format",
    "engine": "core base os index store", "replica": "core base os crypto format engine",
    "api": "core base engine replica", "db": "core base os format engine replica api",
}
PUBLIC_LAYERS = {"core": "", "api": "core", "db": "core api"}  # the same, for public headers
PUBLIC_STD = set("""array concepts cstddef cstdint cstring exception optional iterator span string
    string_view type_traits utility""".split())  # all that armdb.hpp may include
STD = PUBLIC_STD | set("""algorithm any atomic barrier bit bitset cassert ccomplex cctype cerrno
    cfenv cfloat charconv chrono cinttypes climits clocale cmath codecvt compare complex
    condition_variable coroutine csetjmp csignal cstdarg cstdio cstdlib ctime cuchar cwchar cwctype
    deque exception execution filesystem format forward_list fstream functional future
    initializer_list iomanip ios iosfwd iostream istream latch limits list locale map memory
    memory_resource mutex new numbers numeric ostream queue random ranges ratio regex
    scoped_allocator semaphore set shared_mutex source_location sstream stack stdexcept stop_token
    streambuf syncstream system_error thread tuple typeindex typeinfo unordered_map unordered_set
    valarray variant vector version""".split())
INTRINSICS = re.compile(r"(arm_\w+|[a-z]?mmintrin|immintrin|x86intrin|cpuid)\.h$")
INCLUDE = re.compile(r'\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")')
LICENSE = "Copyright (c) 2026 The armdb authors. MIT license. SPDX-License-Identifier: MIT"

errors = []


def error(where, what, fix):
    errors.append(f"error: {where}: {what}\n    fix: {fix}")


def closed_joints(text):
    """The joints of files, namespaces and access labels without blank lines; a namespace that one
    file ends and the next begins stays open."""
    text = re.sub(r"\n{3,}", "\n\n", text)
    text = re.sub(r"(?m)^((?:// ---- .* ----|namespace[\w: ]* \{)\n)\n", r"\1", text)
    text = re.sub(r"\n(\n\}  // namespace|\n *(?:public|private|protected):)", r"\1", text)
    joint = re.compile(r"\}  // namespace ([\w:]+)\n(\n// ---- .*\n(?://.*\n)*\n)"
                       r"namespace \1 \{\n")
    while joint.search(text):                             # outer namespaces uncover inner ones
        text = joint.sub(r"\2", text)
    return text


class File:
    """One source file: its lines, and each include with its line number and #if depth."""

    def __init__(self, root, name):
        self.name = name                                  # relative to src/
        self.folder = name.split("/")[0] if "/" in name else ""
        self.path = f"src/{name}"
        text = (root / "src" / name).read_bytes().decode("utf-8", "replace")
        if "\r" in text or "\ufffd" in text:
            error(self.path, "has carriage returns or is not UTF-8", "save it as UTF-8 with \\n")
        self.lines = text.split("\n")
        self.local, self.std, self.drop = [], [], set()   # (line, name), (line, name, depth)
        self.defines, self.undefines = {}, set()
        depth = 0
        for at, line in enumerate(self.lines, 1):
            word = re.match(r"\s*#\s*(\w+)\s*(\w*)", line)
            if not word:
                continue
            if word[1] in ("if", "ifdef", "ifndef"):
                depth += 1
            elif word[1] == "endif":
                depth -= 1
            elif word[1] == "define":
                self.defines.setdefault(word[2], at)
            elif word[1] == "undef":
                self.undefines.add(word[2])
            elif word[1] == "pragma" and word[2] == "once":
                self.drop.add(at)
            include = INCLUDE.match(line)
            if include and include[1]:
                self.std.append((at, include[1], depth))
                if depth == 0:
                    self.drop.add(at)
            elif include:
                self.local.append((at, include[2]))
                self.drop.add(at)
                if depth:
                    error(f"{self.path}:{at}", f'includes "{include[2]}" inside #if',
                          "include it unconditionally; put the #if inside that file")

    def needs(self):
        return [name for _, name in self.local]

    def is_header(self):
        return self.name.endswith(".hpp")

    def job(self):
        """The first line of the leading comment."""
        first = self.lines[0] if self.lines else ""
        return first[2:].strip() if first.startswith("//") else ""


class Tree:
    def __init__(self, root):
        self.root = root
        self.files, self.cli = {}, {}
        for spine in ("armdb.hpp", "armdb.cpp"):
            if not (root / "src" / spine).is_file():
                error(f"src/{spine}", "is missing", "write this spine: it lists the parts in order")
        for path in sorted(p for p in (root / "src").rglob("*") if p.is_file()):
            name = path.relative_to(root / "src").as_posix()
            parts = name.split("/")
            if len(parts) == 1 or path.suffix == ".md" or parts[-1].startswith("."):
                continue
            if parts[0] not in LAYERS and parts[0] != "cli":
                error(f"src/{name}", f"there is no room {parts[0]}/",
                      "move it to a folder of the layer table, or add a row to LAYERS")
            elif len(parts) > 2 or path.suffix not in (".hpp", ".cpp"):
                error(f"src/{name}", "only .hpp and .cpp files directly in src/<folder>/ are built",
                      "move or rename it")
            else:
                (self.cli if parts[0] == "cli" else self.files)[name] = File(root, name)
        if errors:
            return
        self.spines = {name: File(root, name) for name in ("armdb.hpp", "armdb.cpp")}
        self.place = {}                                   # name -> (spine, line)
        for spine in self.spines.values():
            self.read_spine(spine)
        self.public = {n for n, (spine, _) in self.place.items() if spine == "armdb.hpp"}
        self.check_names()
        for file in self.files.values():
            self.check_includes(file)
            self.check_macros(file)
        self.check_cycles()
        for file in self.files.values():
            self.check_order(file)
        for file in self.cli.values():
            self.check_cli(file)

    def read_spine(self, spine):
        for at, line in enumerate(spine.lines, 1):
            if line.strip() and not line.startswith(("//", "#pragma once", '#include "')):
                error(f"{spine.path}:{at}", "a spine holds only comments and local includes",
                      "move the line to a file of its own folder")
        for at, name in spine.local:
            if name == "armdb.hpp" and spine.name == "armdb.cpp":
                continue
            if name in self.place:
                error(f"{spine.path}:{at}", f'lists "{name}" a second time', f"delete line {at}")
            elif name not in self.files:
                error(f"{spine.path}:{at}", f'lists "{name}", which does not exist',
                      f"write src/{name}, or delete line {at}")
            elif spine.name == "armdb.hpp" and name.endswith(".cpp"):
                error(f"{spine.path}:{at}", f'lists the source "{name}"',
                      "only src/armdb.cpp lists .cpp files: move the line there")
            else:
                self.place[name] = (spine.name, at)
        if spine.name == "armdb.cpp" and spine.needs()[:1] != ["armdb.hpp"]:
            error(spine.path, 'does not include "armdb.hpp" first',
                  'make `#include "armdb.hpp"` its first include')

    def check_names(self):
        seen = {"armdb.hpp": "src/armdb.hpp", "armdb.cpp": "src/armdb.cpp"}
        for file in [*self.files.values(), *self.cli.values()]:
            base = file.name.split("/")[1]
            if base in seen:
                error(file.path, f"shares its name with {seen[base]}", "rename one of the two")
            seen.setdefault(base, file.path)

    def check_includes(self, file):
        public = file.is_header() and (file.folder in ("core", "api") or file.name in self.public)
        row = (PUBLIC_LAYERS if public else LAYERS).get(file.folder, "").split()
        sees = ", ".join([file.folder, *row])
        if file.is_header() and "#pragma once" not in file.lines:
            error(file.path, "has no #pragma once", "add it under the leading comment")
        for at, name in file.local:
            where, folder = f"{file.path}:{at}", name.split("/")[0]
            if name == "armdb.hpp":
                error(where, 'may not include "armdb.hpp"', "include the parts it uses, by folder")
            elif name.endswith(".cpp"):
                error(where, f'includes the source "{name}"',
                      "only src/armdb.cpp lists .cpp files: include a header instead")
            elif name not in self.files:
                error(where, f'includes "{name}", which does not exist',
                      'includes are relative to src/: "<folder>/<file>.hpp"')
            elif folder != file.folder and folder not in row:
                error(where, f'may not include "{name}"', f"{file.folder}/"
                      f"{' headers that are public see' if public else ' sees'} only {sees}; "
                      "move the code down or invert the call")
            elif public and name in self.place and name not in self.public:
                error(where, f'a public header includes the private "{name}"',
                      "hide it behind a forward declaration, or make it public in src/armdb.hpp")
        for at, name, depth in file.std:
            where = f"{file.path}:{at}"
            if public and name not in PUBLIC_STD:
                error(where, f"a public header may not include <{name}>",
                      "move its use to a .cpp file; allowed: " + " ".join(sorted(PUBLIC_STD)))
            elif name in STD:
                continue
            elif name.startswith("openssl/"):
                if file.folder != "crypto":
                    error(where, f"may not include <{name}>",
                          "only crypto/ includes OpenSSL: call crypto/ instead")
                elif depth == 0:
                    error(where, f"includes <{name}> unconditionally",
                          "put it inside #if ARMDB_WITH_OPENSSL: OpenSSL is optional")
            elif INTRINSICS.match(name):
                if file.folder not in ("base", "index"):
                    error(where, f"may not include <{name}>",
                          "compiler intrinsics live in base/ or index/: call those")
                elif depth == 0:
                    error(where, f"includes <{name}> unconditionally",
                          "put it inside #if of its processor, beside a portable twin")
            elif file.folder != "os":
                error(where, f"may not include <{name}>", "only os/ includes system headers: "
                      "call os/, or use the C++ header (<cerrno> for <errno.h>)")

    def check_macros(self, file):
        for name, at in sorted(file.defines.items()):
            if file.is_header() and not name.startswith("ARMDB_"):
                if name not in file.undefines:
                    error(f"{file.path}:{at}", f"defines the macro {name} without ARMDB_",
                          f"name it ARMDB_{name.upper()}, or #undef it at the end of the file")
            elif not file.is_header() and name not in file.undefines:
                error(f"{file.path}:{at}", f"leaves its macro {name} defined",
                      f"end the file with #undef {name}: the pair is one translation unit")

    def check_cycles(self):
        done, reported = set(), set()

        def visit(name, chain):
            if name in chain:
                cycle = chain[chain.index(name):] + [name]
                if frozenset(cycle) not in reported:
                    reported.add(frozenset(cycle))
                    error(f"src/{name}", "include cycle: " + " -> ".join(cycle),
                          "forward-declare in one of them, or move the shared part to a new file")
            elif name in self.files and name not in done:
                for need in self.files[name].needs():
                    visit(need, chain + [name])
                done.add(name)

        for name in self.files:
            visit(name, [])

    def check_order(self, file):
        folder_public = file.is_header() and file.folder in ("core", "api")
        home = "armdb.hpp" if folder_public else "armdb.cpp"
        rank = {"armdb.hpp": 0, "armdb.cpp": 1}
        if file.name not in self.place:
            lines = [self.place[n][1] for n in file.needs() if self.place.get(n, "x")[0] == home]
            error(file.path, "is not reached from a spine", f'add #include "{file.name}" to '
                  f"src/{home}" + (f" below line {max(lines)}" if lines else ""))
            return
        spine, at = self.place[file.name]
        if folder_public and spine != "armdb.hpp":
            error(f"src/{spine}:{at}", f'lists the public header "{file.name}"',
                  "headers of core/ and api/ are public: move the line to src/armdb.hpp")
        if spine == "armdb.hpp" and file.folder not in PUBLIC_LAYERS:
            error(f"src/{spine}:{at}", f'lists the private header "{file.name}"',
                  "public headers live in core/, api/ or db/: move the line to src/armdb.cpp")
        for need in file.needs():
            if need not in self.place:
                continue
            need_spine, need_at = self.place[need]
            if need_spine == spine and need_at > at:
                error(f"src/{spine}:{at}", f'lists "{file.name}" above "{need}", which it needs',
                      f"move line {need_at} (\"{need}\") above line {at}")
            elif rank[need_spine] > rank[spine] and need.split("/")[0] in PUBLIC_LAYERS:
                error(f"src/{need_spine}:{need_at}", f'lists "{need}", which the public '
                      f'"{file.name}" needs', f"move line {need_at} to src/{spine} above line {at}")

    def check_cli(self, file):
        for at, name in file.local:
            if name != "armdb.hpp" and name not in self.cli:
                error(f"{file.path}:{at}", f'may not include "{name}"',
                      'cli/ is a separate program: it sees "armdb.hpp" and "cli/..." only')
        for at, name, _ in file.std:
            if name not in STD:
                error(f"{file.path}:{at}", f"may not include <{name}>",
                      "cli/ sees the C++ standard library only: ask armdb for the rest")

    def version(self):
        name = "core/version.hpp"
        text = "\n".join(self.files[name].lines) if name in self.files else ""
        found = []
        for part in ("MAJOR", "MINOR", "PATCH", "SUFFIX"):
            pattern = rf'^\s*#\s*define\s+ARMDB_VERSION_{part}\s+"?([-.\w]*)"?\s*(?://.*)?$'
            match = re.search(pattern, text, re.M)
            if not match:
                error(f"src/{name}", f"does not define ARMDB_VERSION_{part}",
                      "define MAJOR, MINOR and PATCH as numbers and SUFFIX as \"-dev\" or \"\"")
            found.append(match[1] if match else "")
        return ".".join(found[:3]), found[3]

    def caveats(self):
        """The first comment block of src/armdb.hpp, verbatim."""
        lines = [l for l in self.spines["armdb.hpp"].lines if l.strip() != "// clang-format off"]
        while lines and not lines[0].strip():
            lines.pop(0)
        end = next((i for i, l in enumerate(lines) if not l.startswith("//")), len(lines))
        if end < 2:
            error("src/armdb.hpp", "has no leading comment with the caveats",
                  "open it with what a user must know before the first put()")
        return lines[:end]

    def banner(self):
        version, suffix = self.version()
        head = [f"// armdb {version}{suffix}: an embedded key-value database in two files.",
                f"// {LICENSE}",
                "// Generated by amalgamate.py from src/; change that, then run `make amalgamate`."]
        if not suffix:
            total = hashlib.sha256()
            for file in [*self.spines.values(), *(f for _, f in sorted(self.files.items()))]:
                data = "\n".join(file.lines).encode()
                total.update(f"{file.name} {len(data)}\n".encode() + data)
            head.append(f"// Sources: sha256 {total.hexdigest()}")
        return head

    def write(self, spine, line_mode):
        names = [n for n in self.spines[spine].needs() if n != "armdb.hpp"]
        parts = [self.files[n] for n in names if n in self.files]
        std = sorted({n for f in parts for _, n, depth in f.std if depth == 0})
        out = self.banner()
        if spine == "armdb.hpp":
            # By name: each part begins with what it is for.
            names = textwrap.wrap("Contents: " + ", ".join(f.name for f in parts), 97,
                                  subsequent_indent="  ", break_on_hyphens=False)
            out += ["//", *self.caveats(), "//", *(f"// {line}" for line in names)]
            out += ["", "#pragma once", ""]
        else:
            out += ["", '#include "armdb.hpp"', ""]
        out += [f"#include <{name}>" for name in std]
        for file in parts:
            out += ["", f"// ---- {file.name} ----"]
            if line_mode:
                out.append(f'#line 1 "{file.path}"')
            else:
                out.append("")
            for at, line in enumerate(file.lines, 1):
                if at not in file.drop:
                    out.append(line)
                elif line_mode:
                    out.append("")
        text = "\n".join(out).rstrip("\n") + "\n"
        return text if line_mode else closed_joints(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail if the pair is stale")
    parser.add_argument("--line", action="store_true", help="write build/line/ with #line")
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parent,
                        type=pathlib.Path, help="the folder that holds src/")
    args = parser.parse_args()
    tree = Tree(args.root)
    pair = {} if errors else {n: tree.write(n, args.line) for n in ("armdb.hpp", "armdb.cpp")}
    folder = args.root / "build" / "line" if args.line else args.root
    for name, text in pair.items() if not errors else ():
        path = folder / name
        old = path.read_bytes() if path.is_file() else None
        if args.check and not args.line and old != text.encode():
            error(name, "is stale: src/ gives another text" if old else "is missing",
                  "run `make amalgamate`, and commit the pair with the change")
        elif not args.check and old != text.encode():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
    if errors:
        print("\n".join(errors), file=sys.stderr)
        print(f"{len(errors)} error(s); nothing was written", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
