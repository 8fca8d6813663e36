#!/usr/bin/env python3
"""Tests the crash simulators themselves: takes one durability measure after another out of the
sources and asks that they notice; the same with what keeps nonces apart, and their ledger.
Closes with `N passed, N failed`, one per measure.

  tests/crash/mutations.py [--build FOLDER] [--jobs N] [--seconds S] [--only WORD]

From the top of the repository. Each measure is a replacement in a copy of one source file; where
its text is no longer found, the measure counts as failed: adapt it. Needs make, g++ and Catch2.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import mutate  # noqa: E402

# (what is gone, file, text, replacement)
MUTATIONS = [
    ("sync() syncs nothing", "engine/shard_care.cpp",
     "return end_sync(ticket, store_->run_sync(ticket));", "return end_sync(ticket, Status());"),
    ("no directory sync after a segment was created", "store/log_store.cpp",
     "  if (!ticket.sync_directory) return {};\n", "  if (true) return {};\n"),
    ("a sync covers the active segment only", "store/log_store.cpp",
     "if (!segment->durable) ticket.segments", "if (segment == active_) ticket.segments"),
    ("the compacted copy is not synced", "store/log_compaction.cpp",
     "if (status.ok()) status = output_->file->sync().at(output_->path);", ""),
    ("no sync of the log before superseded entries are dropped", "engine/shard_care.cpp",
     "  if (status.ok()) status = sync();\n  if (!status.ok()) return status;\n"
     "  std::vector<std::uint8_t> manifest;\n  {\n    const base::MutexLock lock(mutex_);\n"
     "    status = job.publish",
     "  if (!status.ok()) return status;\n"
     "  std::vector<std::uint8_t> manifest;\n  {\n    const base::MutexLock lock(mutex_);\n"
     "    status = job.publish"),
    ("compaction deletes its sources without a new MANIFEST", "engine/shard_care.cpp",
     "status = store::LogStore::write_manifest(context_, manifest);"
     " if (!status.ok() && !status.is(Errc::failed)) {",
     "if (!status.ok() && !status.is(Errc::failed)) {"),
    ("a tombstone is dropped while older segments are left", "store/log_compaction.cpp",
     "(entry.tombstone() && oldest_)", "entry.tombstone()"),
    ("MANIFEST.tmp is not synced before it is renamed", "store/manifest_file.cpp",
     "    if (status.ok()) status = (*file)->sync();\n", ""),
    ("no directory sync after the MANIFEST was renamed", "store/manifest_file.cpp",
     "if (status.ok()) status = files.sync_directory(directory);", ""),
    ("a failed sync is forgotten, the next one succeeds", "store/log_store.cpp",
     "if (!outcome.ok()) return poison(outcome, ticket.segments);",
     "if (!outcome.ok()) return outcome;"),
    ("pages of a failed sync are not dropped", "store/log_store.cpp",
     ["for (const SegmentPtr& all : ticket.segments) static_cast<void>(all->file->drop_cache());",
      "for (const SegmentPtr& segment : segments) static_cast<void>(segment->file->drop_cache());\n"
      "  for (const SegmentPtr& segment : segments) {"],
     ["", "for (const SegmentPtr& segment : segments.first(0)) {"]),
    ("a hint is believed for what was not synced", "store/log_recovery_scan.cpp",
     "candidate.listed ? candidate.record.durable"
     " : known && candidate.record.last_sequence <= durable_", "known"),
    ("checksums of entries are not compared", "format/entry.cpp",
     "if (stored != computed) return", "if (stored != computed && size > total) return"),
    ("the tail buffer is not replayed", "store/log_recovery.cpp",
     "  if (owner == nullptr) return {};\n", "  if (owner == nullptr || true) return {};\n"),
    ("recovered segments count as durable", "store/log_recovery_scan.cpp",
     "segment.durable = candidate.listed && candidate.record.durable;", "segment.durable = true;"),
    ("recovered entries count as durable", "store/log_recovery.cpp",
     "store(std::min(durable_, last_), ", "store(last_, "),
    ("what follows a hole is served", "store/log_recovery_scan.cpp",
     "return header.kind == format::SegmentKind::log && header.predecessor_sequence > last_ &&",
     "return false && header.predecessor_sequence > last_ &&"),
    ("names that recovery found are not made durable", "store/log_recovery.cpp",
     "  } else if (status.ok()) {\n", "  } else if (status.ok() && false) {\n"),
    ("db.meta of a killed creation is not made durable", "engine/lifecycle.cpp",
     "status = store::settle_description(files(), engine_->path_);", "status = Status();"),
    ("a batch counts without its end", "store/log_recovery_scan.cpp",
     "if ((entry.flags & format::kBatchBegin) != 0 && state.batch_offset == 0) {",
     "if (false && state.batch_offset == 0) {"),
    ("in the tail buffer a batch counts without its end", "store/log_recovery.cpp",
     "if (!in_batch) {\n      committed = carried_.size();",
     "{\n      committed = carried_.size();"),
    ("a part of a joint batch counts without the others", "engine/lifecycle.cpp",
     "if (!base::any_of(joint.parts, lacks)) continue;", "continue;"),
    ("db.state does not tell of joint batches", "engine/engine.cpp",
     "    status = mark_joint();\n", ""),
    ("a sync covers one shard of a joint batch", "engine/shard_care.cpp",
     "alone = !bound();", "alone = true;"),
    ("after a recovery a sync covers one shard of a joint batch", "engine/lifecycle.cpp",
     "opening.joint_last = joint.last_sequence;", ""),
    ("what follows a dropped joint batch in the tail buffer counts", "store/log_recovery.cpp",
     "if (entry.sequence != next || next >= limit_) return false;",
     "if (entry.sequence != next) return false;"),
    ("expiries are not recovered", "store/log_recovery_scan.cpp",
     "recovered.expiry_ms = entry.expiry_ms;", ""),
]

# The same of the Fixed store: its own simulator must notice.
FIXED = [
    ("of two copies of a slot the older one counts", "store/slot_recovery.cpp",
     "slot.version > best.version;", "best.version == 0;"),
    ("a sync of slots syncs nothing", "store/slot_store.cpp",
     "if (!ticket.wanted) return {}; return file_->sync().at(path_);", "return {};"),
    ("the copy of a slot that the last sync has is overwritten", "store/slot_store.cpp",
     "if (layout_.copies() == 2 && is_durable(stamped)) copy ^= 1;", ""),
    ("the copies of a slot are overwritten in turn, synced or not", "store/slot_store.cpp",
     "if (layout_.copies() == 2 && is_durable(stamped)) copy ^= 1;",
     "if (layout_.copies() == 2) copy ^= 1;"),
    ("beside a sync slots are written in place", "store/slot_store.cpp",
     "if (syncing_ != 0 && is_syncing(stamp_of(number))) {",
     "if (syncing_ > kSlotGenerationMax && is_syncing(stamp_of(number))) {"),
    ("a sync begins before slots are written from the stage", "store/slot_store.cpp",
     "finish_all(); rewritten_ = false;", "rewritten_ = false;"),
    ("moved slots are erased before their new places are synced", "engine/shard_care.cpp",
     "if (!moved.empty()) status = slots_->sync();", ""),
    ("the stage is not cleared before slots are cut off", "store/slot_store.cpp",
     "Status status = clear_stage(); std::uint64_t number", "Status status; std::uint64_t number"),
    ("the largest version may go with slots that are cut off", "store/slot_store.cpp",
     "if (status.ok()) status = write_erased(number, Bytes(no_key));", ""),
    ("what recovery found is not synced before slots are written", "store/slot_recovery.cpp",
     "status = file_->sync(); // The file may", "// The file may"),
    ("the new end of the slots is not synced", "store/slot_store.cpp",
     "if (status.ok()) status = file_->sync();"
     " if (!status.ok()) return poison(std::move(status).at(path_)); free_count_",
     "if (!status.ok()) return poison(std::move(status).at(path_)); free_count_"),
    ("the clean mark stays while slots are written", "store/slot_recovery.cpp",
     "if (status.ok()) status = write_zeros(format::kCleanMarkAt, format::kCleanMarkBytes);", ""),
    ("of a key in two slots both stay", "store/slot_recovery.cpp",
     "status = write_erased(losers_[at], slot.key);", ""),
    ("what is newer in the stage does not go to its slot", "store/slot_recovery.cpp",
     "status = bring_home(format::staged_number(staged), staged.sub(8));", ""),
    ("what a crash tore stays for a later write to complete", "store/slot_recovery.cpp",
     "if (status.ok()) status = write_zeros(at, layout_.slot_bytes());", ""),
    ("staged copies of slots that the file lost stay", "store/slot_recovery.cpp",
     "torn_.push_back(layout_.stage_at(place) + 8);", ""),
    ("the name of slots.dat is not made durable after a kill", "store/slot_recovery.cpp",
     "if (status.ok()) status = context_.files.sync_directory(context_.directory);", ""),
    ("recovered slots are not synced at the end", "store/slot_recovery.cpp",
     "if (status.ok()) status = file_->sync(); if (!status.ok()) return status;"
     " for (std::uint64_t number", "if (!status.ok()) return status; for (std::uint64_t number"),
    ("a failed sync of slots is forgotten", "store/slot_store.cpp",
     "if (!outcome.ok() && !outcome.is(Errc::aborted)) return poison(outcome);",
     "if (!outcome.ok() && !outcome.is(Errc::aborted)) return outcome;"),
    ("expiries of slots are not recovered", "store/slot_recovery.cpp",
     ".expiry_ms = slot.expiry_ms,", ".expiry_ms = 0,"),
]

# The same of leaders and followers: the simulator of all three nodes must notice.
REPLICATION = [
    ("a follower acks before it syncs", "replica/follower.cpp",
     ["Status status = engine_.sync(); if (status.ok() && slots_ != nullptr) "
      "status = slots_->synced(quiet);",
      "format::Mark{shard.last_sequence(), shard.durable_sequence()}"],
     ["Status status; static_cast<void>(quiet);",
      "format::Mark{shard.last_sequence(), shard.last_sequence()}"]),
    ("a follower greets with what a power cut may take", "replica/follower.cpp",
     "Status status = engine_.sync(); if (status.ok() && slots_ != nullptr) "
     "status = slots_->prepare();", "Status status;"),
    ("a leader ships what is not durable", "replica/leader.cpp",
     ["lanes_[at].limit = shard.durable_sequence();",
      "status = source_->sync();"],
     ["lanes_[at].limit = shard.last_sequence();"
      " static_cast<void>(shard.flush_for_feed(lanes_[at].limit));", "status = Status();"]),
    ("terms are taken over, and not what has to be replaced", "replica/follower.cpp",
     ["state.replacing[at] = format::kAwaitsCopy;",
      "state.replacing[at] = format::kAwaitsCopyAside;"], ["", ""]),
    ("a shard counts as whole before its copy is there", "replica/follower.cpp",
     "status = mark(shard, format::kWhole, format::kUneven);",
     "status = mark(shard, engine_.replica_state().replacing[shard], format::kWhole);"),
    ("histories have one entry more in common than they have", "replica/history.cpp",
     "return std::min(end_of(a, at, shard), end_of(b, of, shard));",
     "return std::min(end_of(a, at, shard), end_of(b, of, shard)) + 1;"),
    ("a follower writes the parts of a joint batch one by one", "replica/follower.cpp",
     "return engine_.apply_joint(writes);",
     "for (auto& one : writes) {"
     " Status status = one.shard->apply(one.first, one.requests, true);"
     " if (!status.ok()) return status; } return {};"),
]

# What keeps nonces apart: the ledger of encryption_test.cpp must find one that comes twice.
NONCES = [
    ("the key of a file comes from no random salt", "store/frame_seal.cpp",
     "Status status = os::random_bytes(header.salt);", "Status status;"),
    ("counters of frames come round", "store/frame_seal.cpp",
     "frame.counter = ++counter_;", "frame.counter = counter_++ % 50 + 1;"),
    ("the session of slots is not random", "store/slot_sealer.cpp",
     "Status status = os::random_bytes(fresh->id);", "Status status;"),
    ("counters of slots come round", "store/slot_sealer.cpp",
     "sealed.counter = ++counter_;", "sealed.counter = counter_ = counter_ % 50 + 1;"),
]

# Second lines of defence: taken out alone, nothing is lost in 300 k states. Only with --all.
SECOND_LINES = [
    ("no gap of sequences after a torn tail", "store/log_recovery.cpp",
     "if (status.ok() && interrupted) status = leave_gap();", ""),
    ("a tail is joined to what stood before a lost segment", "store/log_recovery.cpp",
     "if (cut_ && torn_id_ != candidates_.back().segment->id()) return {};", ""),
    ("brought home from the stage, slots are not synced before others are erased",
     "store/slot_recovery.cpp",
     "if (status.ok() && !stage_wins_.empty() && !losers_.empty()) status = file_->sync();", ""),
]
KNOWN = MUTATIONS + FIXED + REPLICATION + NONCES + SECOND_LINES

TESTS = ["test_main", "crash/simulator_test", "crash/fixed_simulator_test", "crash/encryption_test",
         "crash/replication_simulator_test"]
FOUND = re.compile(r"after (\d+) works, (\d+) places, (\d+) states, (\d+) second\s+crashes,\s+"
                   r"(\d+)\s+kills")
FOUND_BY_SEED = re.compile(r"explicitly with message: (.*?) at \d+ us, .* after (\d+) seeds")


def simulate(program, args, tests="[simulator]~[slow]", scale="20"):
    """Runs the quick simulator, or other tests; (found, text)."""
    environment = dict(os.environ, ARMDB_CRASH_SECONDS=str(args.seconds), ARMDB_TEST_SCALE=scale)
    try:
        done = subprocess.run([program, tests, "--abort"], capture_output=True,
                              text=True, errors="replace", env=environment,
                              timeout=args.seconds * 12 + 60)
    except subprocess.TimeoutExpired:
        return True, "it hangs"
    if done.returncode == 0:
        return False, ""
    if re.search(r"ledger\.repeats\(\) == 0", done.stdout):
        return True, "a nonce came twice"
    seeds = FOUND_BY_SEED.search(re.sub(r"\s+", " ", done.stdout))
    if seeds:
        return True, f"{seeds[2]} seeds: {seeds[1][:120]}"
    counts = FOUND.search(re.sub(r"\s+", " ", done.stdout))
    if not counts:
        return True, f"it ends with code {done.returncode}"
    message = re.search(r"explicitly with message:\s*\n\s*(.*)", done.stdout)
    return True, f"{sum(map(int, counts.groups()[2:]))} states: {message[1] if message else ''}"


def check(change, args, objects):
    _, name, text, replacement = change
    source, error = mutate.replaced(name, text, replacement)
    if error:
        return False, error
    tests = [objects / "tests" / (test + ".o") for test in TESTS]
    folder = args.build / f"mutation_{KNOWN.index(change):02}"
    program, error = mutate.link(source, name, folder, objects, tests,
                                 ["-DARMDB_WITH_OPENSSL=1"], libraries=["-lssl", "-lcrypto"])
    if error:
        return False, error
    if change in NONCES:
        found, text = simulate(program, args, "[nonces]~[crash]", "1")
        return found and text == "a nonce came twice", text or "NOT found"
    kind = "[fixed]" if change in FIXED else "[simulator]~[fixed]"
    if change in REPLICATION:
        kind = "[simulated]~[encrypted]"
    found, text = simulate(program, args, kind + "~[slow]")
    return found, f"found after {text}" if found else "NOT found"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/mutations"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=int, default=30, help="for each kind of fault")
    parser.add_argument("--all", action="store_true", help="second lines of defence too")
    parser.add_argument("--only", default="", help="measures whose text has this word")
    args = parser.parse_args()
    objects = mutate.build(args.build, args.jobs, "OPENSSL=1", "TEST_DIRS=tests/crash")
    found, text = simulate(objects / "tests_all", args)
    if not found:
        found, text = simulate(objects / "tests_all", args, "[simulated]~[slow]")
    if found:
        sys.exit(f"error: the plain program fails after {text}\n    fix: see make test first")
    known = KNOWN if args.all else KNOWN[:-len(SECOND_LINES)]
    chosen = [change for change in known if args.only in change[0]]
    return mutate.report(chosen, lambda change: check(change, args, objects), args.jobs,
                         lambda change: change[0])


if __name__ == "__main__":
    sys.exit(main())
