"""What the scripts share that test the tests: take something out of a copy of one source file, link
that with all else, and see what a test program says.

A change is a text of the file and its replacement. However the formatter breaks lines, and whatever
comments stand between the words, the text is found; when it is there more or less than once, that
is an error: the change must be adapted.
"""
import concurrent.futures
import pathlib
import re
import subprocess
import sys

FLAGS = ["-std=c++20", "-O1", "-g1", "-DARMDB_CHECKS=1", "-pthread", "-fno-exceptions",
         "-fno-rtti", "-w"]


def build(folder, jobs, *settings):
    """Builds the test program as it is; the folder of its object files."""
    command = ["make", "-s", "test-program", f"BUILD={folder}", "CXX=g++", f"-j{jobs}",
               "MAKELEVEL=1", *settings]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        sys.exit(f"{(done.stdout + done.stderr)[-3000:]}\nerror: the plain build fails\n"
                 "    fix: make test-program")
    return folder / "g++-test"


def replaced(name, text, replacement):
    """The text of src/NAME after the change; or an error. What one measure does in several places
    is a list of texts, and one of replacements."""
    gap = r"(?:\s|//[^\n]*\n)+"
    source = pathlib.Path("src", name).read_text()
    pairs = [(text, replacement)] if isinstance(text, str) else zip(text, replacement)
    for before, after in pairs:
        pattern = re.compile(gap.join(map(re.escape, before.split())))
        count = len(pattern.findall(source))
        if count != 1:
            return None, f"src/{name} has its text {count} times\n    fix: adapt it here"
        source = pattern.sub(lambda _, after=after: after, source)
    return source, None


def link(source, name, folder, objects, tests, flags=(), users=(), libraries=()):
    """Compiles the changed src/NAME in its folder, or for a header its `users` (such as
    "index/btree"), and links that with all other objects of src/ and `tests`; (program, error).
    The linker takes the first of several copies of an inline function, so a header need be changed
    for those of its users alone that the tests look at."""
    changed, program = folder / name, folder / "program"
    changed.parent.mkdir(parents=True, exist_ok=True)
    changed.write_text(source)
    units = users if name.endswith(".hpp") else [name.removesuffix(".cpp")]
    compiled = []
    commands = []
    for unit in units:
        origin = changed if name == unit + ".cpp" else pathlib.Path("src", unit + ".cpp")
        compiled.append(folder / (unit.replace("/", "_") + ".o"))
        commands.append(["g++", *FLAGS, *flags, f"-I{folder}", "-Isrc", "-c", origin, "-o",
                         compiled[-1]])
    own = {objects / "src" / (unit + ".o") for unit in units}
    # A folder that was used before may have objects of sources that are gone.
    others = [path for path in sorted((objects / "src").rglob("*.o")) if path not in own and
              path.relative_to(objects).with_suffix(".cpp").exists()]
    commands.append(["g++", "-pthread", *compiled, *tests, *others, objects / "libsupport.a",
                     *libraries, "-o", program])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            return None, done.stderr[-1500:]
    return program, None


def report(changes, check, jobs, title=str, failed=0):
    """Runs check(change), which gives (good, text), for all; prints them and the closing line.
    `failed` counts what failed before. The exit code."""
    passed = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for change, (good, text) in zip(changes, pool.map(check, changes)):
            passed += good
            failed += not good
            print(f"{'ok' if good else 'FAILED'} {title(change)}: {text}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1
