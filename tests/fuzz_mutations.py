#!/usr/bin/env python3
"""Tests the fuzz harnesses: plants a fault for each of them in a copy of the sources, and asks that
its oracle notices, by the corpus alone or within some time of fuzzing.
Closes with `N passed, N failed`, one per fault.

  tests/fuzz_mutations.py [--build FOLDER] [--jobs N] [--seconds S] [--only WORD]

From the top of the repository. Where the text of a fault is no longer found, it counts as failed:
adapt it. Needs make, clang++ and OpenSSL.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

import mutate
from run_fuzz import LIMITS

FLAGS = ["-std=c++20", "-O1", "-g1", "-DARMDB_CHECKS=1", "-DARMDB_WITH_OPENSSL=1", "-pthread",
         "-fno-exceptions", "-fno-rtti", "-w", "-fsanitize=address,undefined,fuzzer-no-link",
         "-fno-sanitize=vptr", "-fno-sanitize-recover=all"]

# (harness, the fault, file, text, replacement)
FAULTS = [
    ("entry", "padding of entries may be anything", "format/entry.cpp",
     "if (padding != 0 && (last >> (64 - 8 * padding)) != 0) return EntryRead::corrupt;", ""),
    ("frame", "reserved bytes of frames may be anything", "format/frame.cpp",
     "if (reserved != 0 || !frame_possible(header)) {", "if (!frame_possible(header)) {"),
    ("hint", "reserved bytes of hints may be anything", "format/hint.cpp",
     'if (reserved != 0) return base::corrupt("reserved bytes of the hint header are not zero");',
     ""),
    ("keys", "reserved bytes of db.keys may be anything", "format/keys.cpp",
     "if (reserved != 0 || zeros != 0 ||", "if (zeros != 0 ||"),
    ("log_recovery", "numbers of files are given out again", "store/log_recovery.cpp",
     "id_max_ = std::max(id_max_, parsed.file_id);", ""),
    ("log_recovery", "expiries are not recovered", "store/log_recovery_scan.cpp",
     "recovered.expiry_ms = entry.expiry_ms;", ""),
    ("manifest", "reserved bytes of a MANIFEST may be anything", "format/manifest.cpp",
     "if (reserved != 0 || gap != 0 || header.file_id != 0) {",
     "if (gap != 0 || header.file_id != 0) {"),
    ("meta", "flags of db.meta may be any number", "format/meta.cpp",
     "store > static_cast<std::uint32_t>(StoreKind::fixed) || ordered > 1 ||",
     "store > static_cast<std::uint32_t>(StoreKind::fixed) ||"),
    ("ops", "a batch counts without its end", "store/log_recovery_scan.cpp",
     "if ((entry.flags & format::kBatchBegin) != 0 && state.batch_offset == 0) {",
     "if (false && state.batch_offset == 0) {"),
    ("sealed", "old frames may stand behind new ones", "store/sealed_tail.cpp",
     "(counter == 0 || frame.counter == counter + 1)", "true"),
    ("sealed_slot", "a slot whose tag does not match is believed", "store/slot_sealer.cpp",
     "keys_.note_forged(); return format::SlotRead::broken;",
     "return format::decode_slot_plain(room, header_.key_size, slot) ? format::SlotRead::whole"
     " : format::SlotRead::broken;"),
    ("sealed_store", "what a damaged hint does not tell is not looked for", "store/hint_file.cpp",
     ["if (!walk_items(reader, context.shape.key_size, nothing, status)) return false;",
      "return walk_items(reader, context.shape.key_size, visit, status); } }"],
     ["static_cast<void>(nothing);",
      "static_cast<void>(walk_items(reader, context.shape.key_size, visit, status));"
      " return true; } }"]),
    ("slot", "reserved bytes of slots may be anything", "format/slot.cpp",
     "!base::all_zeros(reserved) ||", ""),
    ("slot_recovery", "of a key in two slots both stay", "store/slot_recovery.cpp",
     "status = write_erased(losers_[at], slot.key);", ""),
    ("state", "flags of db.state may be any", "format/state.cpp",
     "if (reserved != 0 || (flags & ~(kStateJoint | kStateMigrating)) != 0 ||",
     "if (reserved != 0 ||"),
    ("follower", "a session ends without a sync", "replica/follower.cpp",
     "Status synced = engine_.sync();", "Status synced;"),
    ("leader", "what compaction took is passed over", "store/log_feed.cpp",
     "if (header.kind == format::SegmentKind::compacted) return FeedStep::overtaken;",
     "if (header.kind == format::SegmentKind::compacted) { position_ = segment->last_sequence; "
     "continue; }"),
    ("api", "a range is erased but for its last keys", "api/collection_more.cpp",
     "Result<std::uint64_t> gone = erase_many({pairs, count});",
     "Result<std::uint64_t> gone = erase_many({pairs, count - (count > 3 ? 1 : 0)});"),
]


def base_build(args):
    """The harnesses as they are; the folder of their object files."""
    command = ["make", "-s", "fuzz-programs", "FLAVOUR=fuzz", "CXX=clang++",
               f"BUILD={args.build}", f"-j{args.jobs}", "MAKELEVEL=1"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        sys.exit(f"{(done.stdout + done.stderr)[-3000:]}\nerror: the plain build fails\n"
                 "    fix: make fuzz-programs FLAVOUR=fuzz CXX=clang++")
    return args.build / "clang++-fuzz"


def build(fault, args, objects):
    """The program of the harness with the fault in it; (program, error)."""
    harness, _, name, text, replacement = fault
    source, error = mutate.replaced(name, text, replacement)
    if error:
        return None, error
    folder = args.build / f"fault_{FAULTS.index(fault):02}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree("src", folder / "src")
    (folder / "src" / name).write_text(source)
    program = folder / "program"
    for command in (
            ["clang++", *FLAGS, f"-I{folder}/src", "-c", folder / "src/armdb.cpp", "-o",
             folder / "armdb.o"],
            ["clang++", "-fsanitize=address,undefined,fuzzer", "-fno-sanitize=vptr", "-pthread",
             objects / f"fuzz/fuzz_{harness}.o", objects / "libsupport.a", folder / "armdb.o",
             "-lssl", "-lcrypto", "-o", program]):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            return None, done.stderr[-1500:]
    return program, None


def check(fault, args, objects):
    program, error = build(fault, args, objects)
    if error:
        return False, error
    corpus = pathlib.Path("fuzz/corpus", f"fuzz_{fault[0]}")
    if not corpus.is_dir() or not any(corpus.iterdir()):
        return False, f"there is nothing in {corpus}\n    fix: make fuzz, and commit what it finds"
    found = program.parent / "found"
    found.mkdir(exist_ok=True)
    command = [program.resolve(), *LIMITS, f"-max_total_time={args.seconds}",
               f"-artifact_prefix={found}/", "-seed=1", found, corpus]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace",
                          timeout=args.seconds * 3 + 300)
    if done.returncode == 0:
        return False, f"NOT noticed in {args.seconds} s"
    if not any(found.glob("crash-*")) and not any(found.glob("leak-*")):
        return False, f"ends for another reason: {done.stderr[-500:]}"
    if "INITED" not in done.stderr:
        return True, "noticed by the corpus"
    last = re.findall(r"^#(\d+)\s", done.stderr, re.M)
    return True, f"noticed after some {last[-1] if last else '?'} runs"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/fuzz-mutations"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--only", default="", help="harnesses whose name has this word")
    args = parser.parse_args()
    chosen = [fault for fault in FAULTS if args.only in fault[0]]
    missing = {path.stem[5:] for path in pathlib.Path("fuzz").glob("fuzz_*.cpp")}
    missing -= {fault[0] for fault in FAULTS}
    if missing:
        sys.exit(f"error: no fault for {', '.join(sorted(missing))}\n    fix: plant one in FAULTS")
    objects = base_build(args)
    return mutate.report(chosen, lambda fault: check(fault, args, objects), args.jobs,
                         lambda fault: f"{fault[0]}: {fault[1]}")


if __name__ == "__main__":
    sys.exit(main())
