#!/usr/bin/env python3
"""Runs the test program and the Python tests, shows what failed, closes with one line
`N passed, N failed`.

  run_tests.py [--binary PROGRAM [--wrapper COMMAND] [--jobs N] [FILTER...]] [--script FILE]...

A Python test counts by its own `N passed, N failed` line, or else as one test. A Catch2
program counts by test case. A listed case that never ended, a sanitizer's report and an empty
run are failures.
"""
import argparse
import concurrent.futures
import html
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

COUNT = re.compile(r"^(\d+) passed, (\d+) failed$", re.M)
TAIL_LINES = 60
PARTS_PER_JOB = 8  # so that all jobs end at about the same time


def tail(text):
    """The last lines, or the first ones of a sanitizer's report."""
    report = re.search(r"^.*(==\d+==ERROR|WARNING: ThreadSanitizer|runtime error:)", text, re.M)
    if report:
        lines = text[report.start():].split("\n")[:TAIL_LINES]
        return "\n".join("  " + line for line in lines)
    lines = text.rstrip("\n").split("\n")
    cut = [f"  ... {len(lines) - TAIL_LINES} lines left out"] if len(lines) > TAIL_LINES else []
    return "\n".join(cut + ["  " + line for line in lines[-TAIL_LINES:]])


def run(command, seconds):
    """Returns (exit code, stdout, stderr); a run over its time gives code None."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
    return code, *texts


def run_script(path, seconds):
    code, out, err = run([sys.executable, path], seconds)
    counts = COUNT.findall(out)
    passed, failed = map(int, counts[-1]) if counts else (int(code == 0), int(code != 0))
    if code != 0 or failed or passed == 0:
        print(f"FAILED {path}\n{tail(out + err)}")
        failed = max(failed, 1)
    else:
        print(f"{path}: {(COUNT.sub('', out).strip() or 'ok').splitlines()[-1]}")
    return passed, failed


def list_cases(command, filters):
    """The names of the test cases the filters select."""
    _, out, _ = run([*command, "--list-test-names-only", *filters], 120)
    if "--list-test-names-only" in out or not out.strip():
        _, out, _ = run([*command, "--list-tests", "--verbosity", "quiet", *filters], 120)
    names = [line.strip().strip('"') for line in out.split("\n") if line.strip()]
    return [n for n in names if not re.match(r"(All available|Matching|\d+ )", n)]


def attribute(tag, name):
    found = re.search(rf'\b{name}="([^"]*)"', tag)
    return html.unescape(found[1]) if found else ""


def failures(case):
    """Readable lines for each failed assertion in the XML of one test case."""
    pattern = r"<(Expression|Failure|Exception|FatalErrorCondition)\b([^>]*)>(.*?)</\1>"
    for kind, tag, body in re.findall(pattern, case, re.S):
        if kind == "Expression" and attribute(tag, "success") == "true":
            continue
        yield f"  {attribute(tag, 'filename')}:{attribute(tag, 'line')}: {kind}"
        names = "Original|Expanded|Exception|FatalErrorCondition"
        parts = re.findall(rf"<({names})\b[^>]*>(.*?)</\1>", body, re.S) or [("", body)]
        for part, text in parts:
            text = html.unescape(re.sub(r"<[^>]*>", " ", text)).strip()
            if text:
                yield f"    {part + ': ' if part else ''}{text}"
    for text in re.findall(r"<Info>(.*?)</Info>", case, re.S):
        yield f"    with: {html.unescape(text).strip()}"


def run_part(command, names, deadline):
    """One run of the program with the cases of these names: (exit code, stdout, stderr, XML)."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        wanted = pathlib.Path(folder) / "names"
        lines = [re.sub(r"([\[\],\\])", r"\\\1", name) for name in names]  # as in a test spec
        wanted.write_text("\n".join(lines), "utf-8")
        options = ["-f", str(wanted), "-r", "xml", "-o", str(report), "-d", "yes"]
        code, out, err = run([*command, *options], max(1, deadline - time.monotonic()))
        return code, out, err, report.read_text("utf-8", "replace") if report.is_file() else ""


def run_catch(command, filters, seconds, jobs):
    """Runs the cases in parts, `jobs` of them at a time."""
    listed = list_cases(command, filters)
    if not listed:
        print(f"FAILED {command[-1]}: no test case matches {' '.join(filters)}")
        return 0, 1
    started = time.monotonic()
    count = min(len(listed), jobs * PARTS_PER_JOB if jobs > 1 else 1)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        parts = list(pool.map(lambda at: run_part(command, listed[at::count], started + seconds),
                              range(count)))
    elapsed = time.monotonic() - started
    passed, failed, seen, slow = 0, 0, set(), []
    for case in (case for part in parts for case in re.split(r"(?=<TestCase )", part[3])[1:]):
        name = attribute(case, "name")  # which may have a ">" in it
        seen.add(name)
        results = re.findall(r"<OverallResult\b[^>]*>", case)
        if results and attribute(results[-1], "success") == "true":
            passed += 1
            slow.append((float(attribute(results[-1], "durationInSeconds") or 0), name))
            continue
        failed += 1
        print(f"FAILED {name}" + ("" if results else " (did not end)"))
        print("\n".join(list(failures(case))[:TAIL_LINES]))
    lost = [name for name in listed if name not in seen]
    if lost:
        failed += len(lost)
        print(f"FAILED {len(lost)} test cases never ran, such as: " + "; ".join(lost[:3]))
    for code, out, err, _ in parts:
        if code is None:
            print(f"FAILED {command[-1]}: stopped after {seconds} s")
        if code != 0:
            if not failed:
                failed = 1
                print(f"FAILED {command[-1]}: all cases passed, but it ended with code {code}")
            print(tail(err or out))
    for duration, name in sorted(slow, reverse=True)[:3]:
        if duration > 5:
            print(f"  slow: {duration:.1f} s {name}")
    print(f"{command[-1]}: {passed} test cases passed in {elapsed:.0f} s")
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", help="a Catch2 program")
    parser.add_argument("--wrapper", default="", help="a command to run it under")
    parser.add_argument("--script", action="append", default=[], help="a Python test")
    parser.add_argument("--seconds", type=int, default=1200, help="limit for each run")
    parser.add_argument("--jobs", type=int, default=1, help="parts at a time")
    parser.add_argument("filters", nargs="*", help="Catch2 test specs")
    args = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    counts = [run_script(script, args.seconds) for script in args.script]
    if args.binary:
        binary = os.path.relpath(args.binary)
        binary = binary if "/" in binary else f"./{binary}"
        command = [*shlex.split(args.wrapper), binary]
        counts.append(run_catch(command, args.filters or ["~[slow]"], args.seconds,
                                args.jobs))
    passed, failed = sum(p for p, _ in counts), sum(f for _, f in counts)
    if passed + failed == 0:
        failed = 1
        print("FAILED no test ran")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
