#!/usr/bin/env python3
"""Runs or replays the fuzz harnesses; closes with `N passed, N failed`, one per harness.

  run_fuzz.py --run --seconds S --programs FOLDER --corpus fuzz/corpus
  run_fuzz.py --replay --programs FOLDER --corpus fuzz/corpus

The corpus of fuzz_entry is fuzz/corpus/entry/. It is only read: what a run finds, inputs and
crashes, goes beside the program. To keep a crash, copy it into the corpus.
"""
import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys

LIMITS = ["-max_len=4096", "-rss_limit_mb=2048", "-malloc_limit_mb=512", "-timeout=10",
          "-print_final_stats=1", "-use_value_profile=0"]


def corpus_of(corpus, name):
    folder = corpus / name
    files = [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []
    return folder, len(files)


def replay(args, name):
    folder, count = corpus_of(args.corpus, name)
    if not count:
        return False, f"nothing to replay\n    fix: put a seed into {folder}/"
    program = args.programs / f"replay_{name}"
    done = subprocess.run([program, folder], capture_output=True, text=True, errors="replace",
                          timeout=900)
    if done.returncode:
        return False, (done.stdout + done.stderr)[-6000:]
    return True, f"{count} inputs"


def fuzz(args, name):
    folder, _ = corpus_of(args.corpus, name)
    found = args.programs / "found" / name
    (found / "inputs").mkdir(parents=True, exist_ok=True)
    command = [args.programs / name, f"-max_total_time={args.seconds}", *LIMITS,
               f"-artifact_prefix={found}/", found / "inputs"]
    if folder.is_dir():
        command.append(folder)
    done = subprocess.run(command, capture_output=True, text=True, errors="replace",
                          timeout=args.seconds * 3 + 300)
    text = done.stdout + done.stderr
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
    if done.returncode or not runs or int(runs[1]) == 0:
        return False, text[-6000:] + f"\n    fix: the input is in {found}/; keep it in {folder}/"
    return True, f"{int(runs[1])} runs"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    args = parser.parse_args()
    names = sorted(p.stem for p in pathlib.Path("fuzz").glob("fuzz_*.cpp"))
    work = fuzz if args.run else replay

    def one(name):
        try:
            return work(args, name)
        except (OSError, subprocess.TimeoutExpired) as problem:
            return False, str(problem)

    passed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for name, (good, text) in zip(names, pool.map(one, names)):
            passed += good
            print(f"{'ok' if good else 'FAILED'} {name}: {text}")
    failed = len(names) - passed if names else 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
