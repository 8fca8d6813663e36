#!/usr/bin/env python3
"""Has each machine write stores and every machine open all of them.

  carry.py --folder FOLDER NAME=PROGRAM...

NAME is "here", "musl", or that of a qemu. Closes with `N passed, N failed`, one for each pair.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys


def run(machine, how, folder):
    name, program = machine
    wrapper = [] if name in ("here", "musl") else [f"qemu-{name}-static"]
    done = subprocess.run([*wrapper, program, how, folder], capture_output=True, text=True,
                          errors="replace", timeout=1200)
    return done.returncode == 0, (done.stdout + done.stderr).strip()[-2000:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("machines", nargs="+", help="NAME=PROGRAM")
    args = parser.parse_args()
    machines = [tuple(machine.split("=", 1)) for machine in args.machines]
    shutil.rmtree(args.folder, ignore_errors=True)
    args.folder.mkdir(parents=True)
    passed = failed = 0
    for writer in machines:
        folder = args.folder / writer[0]
        folder.mkdir()
        good, text = run(writer, "write", folder)
        for reader in machines if good else []:
            copy = args.folder / f"{writer[0]}-{reader[0]}"
            shutil.copytree(folder, copy)
            opened, text = run(reader, "check", copy)
            passed, failed = passed + opened, failed + (not opened)
            print(f"{'ok' if opened else 'FAILED'} {writer[0]} to {reader[0]}: {text}")
        if not good:
            failed += 1
            print(f"FAILED {writer[0]} cannot write: {text}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
