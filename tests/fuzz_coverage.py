#!/usr/bin/env python3
"""Replays the committed corpora through all harnesses and says which lines they reach.

  fuzz_coverage.py --programs FOLDER --corpus fuzz/corpus --tools 14

Counted are the parsers (src/format/) and what reads files that a crash or an enemy left: the
recovery of logs and slots, manifests, hints, sealed files. Fails below LINES_MIN of their lines
in all. --missed lists the lines. Closes with `N passed, N failed`: one for each harness, one for
each file that is reached, one for the total.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINES_MIN = 95.0
FILES = ["src/format/*.cpp", "src/format/*.hpp", "src/store/*recovery*.cpp",
         "src/store/manifest_file.cpp", "src/store/hint_file.cpp", "src/store/sealed_*.cpp"]


def replay(args, name):
    """The raw profile, or what went wrong."""
    raw = args.programs / f"{name}.profraw"
    raw.unlink(missing_ok=True)
    done = subprocess.run([args.programs / f"replay_{name}", args.corpus / name],
                          capture_output=True, text=True, errors="replace", timeout=900,
                          env={**os.environ, "LLVM_PROFILE_FILE": str(raw)})
    good = done.returncode == 0 and raw.is_file()
    return raw if good else None, (done.stdout + done.stderr)[-3000:]


def covered(args, profile, names):
    """{file: (lines, covered, [missed lines])} of all counted files."""
    objects = [word for name in names for word in ("-object", args.programs / f"replay_{name}")]
    paths = sorted(path for pattern in FILES for path in ROOT.glob(pattern))
    done = subprocess.run([f"llvm-cov-{args.tools}", "export", f"-instr-profile={profile}",
                           *objects[1:], *paths], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found = {}
    for item in json.loads(done.stdout)["data"][0]["files"]:
        lines = item["summary"]["lines"]
        missed = sorted({segment[0] for segment in item["segments"]
                         if segment[3] and segment[2] == 0 and not segment[5]})
        path = pathlib.Path(item["filename"])
        path = path.relative_to(ROOT) if path.is_absolute() else path
        if lines["count"]:
            found[str(path)] = (lines["count"], lines["covered"], missed)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--tools", default="14", help="the version of llvm-cov, clang's own")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--missed", action="store_true", help="list the lines where regions begin")
    args = parser.parse_args()
    args.programs = args.programs.resolve()
    names = sorted(p.stem for p in pathlib.Path("fuzz").glob("fuzz_*.cpp"))
    passed, failed, profiles = 0, 0, []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for name, (raw, text) in zip(names, pool.map(lambda n: replay(args, n), names)):
            passed, failed = passed + (raw is not None), failed + (raw is None)
            profiles += [raw] if raw else []
            if not raw:
                print(f"FAILED {name}: {text}")
    profile = args.programs / "all.profdata"
    subprocess.run([f"llvm-profdata-{args.tools}", "merge", "-sparse", "-o", profile, *profiles],
                   check=True)
    found = covered(args, profile, names)
    for path, (lines, reached, missed) in sorted(found.items()):
        passed, failed = passed + (reached > 0), failed + (reached == 0)
        print(f"{100 * reached / lines:6.1f} %  {reached:5} of {lines:5}  {path}")
        if args.missed and missed:
            print(f"         not reached: {', '.join(map(str, missed))}")
    lines, reached = (sum(item[at] for item in found.values()) for at in (0, 1))
    share = 100 * reached / lines if lines else 0
    good = share >= LINES_MIN
    passed, failed = passed + good, failed + (not good)
    print(f"{'ok' if good else 'FAILED'} {share:.1f} % of {lines} lines; at least {LINES_MIN} %")
    if not good:
        print("    fix: add inputs to fuzz/corpus/ (--missed lists the lines), or drop dead code")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
