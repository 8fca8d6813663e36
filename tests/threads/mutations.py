#!/usr/bin/env python3
"""Tests the tests of threads themselves: takes one rule after another out of the protocols by which
the indexes are read without a lock, and asks that some schedule shows it; then out of the engine,
where recorded histories must show it.
Closes with `N passed, N failed`, one per rule.

  tests/threads/mutations.py [--build FOLDER] [--jobs N] [--only WORD] [--all]

From the top of the repository. Each rule is a replacement in a copy of one source file; where its
text is no longer found, the rule counts as failed: adapt it. Needs make, g++ and Catch2.
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
    ("readers do not compare the version after reading", "base/shared_bytes.hpp",
     "return value_.load(std::memory_order_relaxed) == version;",
     "return value_.load(std::memory_order_relaxed) == version || true;"),
    ("the version rises only after the change", "base/shared_bytes.hpp",
     "value_.store(value_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);"
     " std::atomic_thread_fence(std::memory_order_release); } void end_write() noexcept {"
     " step_point(Step::write, this); value_.store(value_.load(std::memory_order_relaxed) + 1,",
     "} void end_write() noexcept {"
     " step_point(Step::write, this); value_.store(value_.load(std::memory_order_relaxed) + 2,"),
    ("the version rises only before the change, and is even then", "base/shared_bytes.hpp",
     "value_.store(value_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);"
     " std::atomic_thread_fence(std::memory_order_release); } void end_write() noexcept {"
     " step_point(Step::write, this); value_.store(value_.load(std::memory_order_relaxed) + 1,",
     "value_.store(value_.load(std::memory_order_relaxed) + 2, std::memory_order_relaxed);"
     " } void end_write() noexcept {"
     " step_point(Step::write, this); value_.store(value_.load(std::memory_order_relaxed) + 0,"),
    ("readers do not wait for the writer", "base/shared_bytes.hpp",
     "while ((version & 1) != 0) {", "while (false) {"),

    ("hash table: an erase frees the record and leaves the version", "index/hash_table_writer.cpp",
     "const unsigned last_slot = hash_slots_used(last) - 1; first->version.begin_write();",
     "const unsigned last_slot = hash_slots_used(last) - 1; base::Version unseen;"
     " unseen.begin_write();"),
    ("hash table: an overwrite leaves the version", "index/hash_table_writer.cpp",
     "version.begin_write(); hash_store64(to, at.packed());"
     " if (value_size_ != 0) base::copy_to_shared(to + value_at_, value, value_size_);"
     " version.end_write();",
     "static_cast<void>(version); hash_store64(to, at.packed());"
     " if (value_size_ != 0) base::copy_to_shared(to + value_at_, value, value_size_);"),
    ("hash table: a hit is not validated", "index/hash_table.cpp",
     "return first->version.still(version) ? HashAnswer::hit : HashAnswer::changed;",
     "return HashAnswer::hit;"),
    ("hash table: a miss does not ask for the count of buckets again", "index/hash_table.hpp",
     "return hash_bucket_number(hash, bucket_count_.load(std::memory_order_relaxed)) == number;",
     "return hash_bucket_number(hash, bucket_count_.load(std::memory_order_relaxed)) == number"
     " || true;"),
    ("hash table: an overflow bucket's id is followed without validation", "index/hash_table.cpp",
     "const std::uint32_t more = overflows ? base::load_relaxed(&bucket->overflow) : 0;"
     " if (!first->version.still(version)) return HashAnswer::changed;",
     "const std::uint32_t more = overflows ? base::load_relaxed(&bucket->overflow) : 0;"),
    ("hash table: the count of buckets rises after the split", "index/hash_table_writer.cpp",
     "set_bucket_count(count + 1); target->version.end_write();"
     " source->version.end_write();",
     "target->version.end_write(); source->version.end_write(); set_bucket_count(count + 1);"),
    ("hash table: the count of buckets rises before the split", "index/hash_table_writer.cpp",
     "target->version.begin_write(); copy_movers(source, target, bit);",
     "set_bucket_count(count + 1); target->version.begin_write();"
     " copy_movers(source, target, bit);"),
    ("hash table: a split leaves the version of its source", "index/hash_table_writer.cpp",
     "source->version.begin_write(); drop_movers(source, target);"
     " set_bucket_count(count + 1); target->version.end_write();"
     " source->version.end_write();",
     "drop_movers(source, target); set_bucket_count(count + 1); target->version.end_write();"),
    ("hash table: find_many believes a record without validation", "index/hash_table.cpp",
     "if (probe.first->version.still(probe.version)) { lookup.found = true;",
     "if (true) { lookup.found = true;"),
    ("hash table: a scan does not validate what it copied", "index/hash_table.cpp",
     "if (!first->version.still(version)) continue; if (named) return true;",
     "if (named) return true; if (!first->version.still(version)) continue;"),
    ("hash table: a scan does not ask for the count of buckets again", "index/hash_table.cpp",
     "if (named) return true; if (is_bucket_of(hash, number)) return false;",
     "return named;"),

    ("B+-tree: a find does not validate its leaf", "index/btree.cpp",
     "if (btree_still(leaf.node, leaf.version)) return spot.found;", "return spot.found;"),
    ("B+-tree: an overwrite leaves the version", "index/btree_writer.cpp",
     "if (place.found) { const BtreeWrite write(leaf);", "if (place.found) {"),
    ("B+-tree: the parent is not compared after the child's version is taken", "index/btree.cpp",
     "const std::uint32_t child_version = btree_begin_read(child);"
     " if (!btree_still(node, version)) break;",
     "const std::uint32_t child_version = btree_begin_read(child);"),
    ("B+-tree: find_many does not compare the parent of a leaf", "index/btree.cpp",
     "step.version = btree_begin_read(step.node);"
     " if (!btree_still(step.parent, step.parent_version)) {",
     "step.version = btree_begin_read(step.node); if (false) {"),
    ("B+-tree: a scan does not compare the leaf it comes from", "index/btree.cpp",
     "there.version = btree_begin_read(there.node);"
     " if (!btree_still(here.node, here.version)) return false;",
     "there.version = btree_begin_read(there.node);"),
    ("B+-tree: a scan does not validate what it copied", "index/btree.cpp",
     "if (!btree_still(leaf.node, leaf.version)) return false; block.set_count(count);",
     "block.set_count(count);"),
    ("B+-tree: a split leaves the parent's version", "index/btree_writer.cpp",
     "const BtreeWrite write_parent(parent); const BtreeWrite write_leaf(leaf);"
     " const BtreeWrite write_right(right); std::optional",
     "const BtreeWrite write_leaf(leaf); const BtreeWrite write_right(right); std::optional"),
    ("B+-tree: a split leaves the leaf's version", "index/btree_writer.cpp",
     "const BtreeWrite write_leaf(leaf); const BtreeWrite write_right(right); std::optional",
     "const BtreeWrite write_right(right); std::optional"),
    ("B+-tree: a split leaves the version of the leaf behind", "index/btree_writer.cpp",
     "if (after != nullptr) write_after.emplace(after); btree_reset_leaf(",
     "btree_reset_leaf("),
    ("B+-tree: a merge frees a leaf and leaves its version", "index/btree_writer.cpp",
     "const BtreeWrite write_left(left); const BtreeWrite write_right(right);"
     " std::optional<BtreeWrite> write_after;",
     "const BtreeWrite write_left(left); std::optional<BtreeWrite> write_after;"),
    ("B+-tree: a merge leaves the version of the leaf it fills", "index/btree_writer.cpp",
     "const BtreeWrite write_left(left); const BtreeWrite write_right(right);"
     " std::optional<BtreeWrite> write_after;",
     "const BtreeWrite write_right(right); std::optional<BtreeWrite> write_after;"),
    ("B+-tree: a shift leaves the version of the sibling", "index/btree_writer.cpp",
     "const BtreeWrite write_right(right); const std::uint32_t kept = capacity - moved;",
     "const std::uint32_t kept = capacity - moved;"),
    ("B+-tree: the root is pushed down under its readers", "index/btree_writer.cpp",
     "const BtreeWrite write_root(root_); const BtreeWrite write(node);"
     " btree_set_level(node, btree_level(root_));",
     "const BtreeWrite write(node); btree_set_level(node, btree_level(root_));"),
    ("B+-tree: the root is pulled up under its readers", "index/btree_writer.cpp",
     "const BtreeWrite write_root(root_); const BtreeWrite write(node);"
     " btree_copy_inner(shape_, node, 0,",
     "const BtreeWrite write(node); btree_copy_inner(shape_, node, 0,"),
    ("B+-tree: an inner node is split under its readers", "index/btree_writer.cpp",
     "const BtreeWrite write_node(node); const BtreeWrite write_right(right);"
     " btree_set_level(right,",
     "const BtreeWrite write_right(right); btree_set_level(right,"),
    ("B+-tree: inner nodes merge under their readers", "index/btree_writer.cpp",
     "const BtreeWrite write_parent(parent); const BtreeWrite write_left(left);"
     " const BtreeWrite write_right(right); btree_set_separator(",
     "btree_set_separator("),

    ("epochs: collect() does not look at the guards", "base/epoch.cpp",
     "if (epoch != 0 && epoch < oldest) oldest = epoch;", "static_cast<void>(epoch);"),
    ("epochs: guards that found no slot do not count", "base/epoch.cpp",
     "if (overflow_.load(std::memory_order_acquire) != 0) return 0;", ""),
    ("epochs: an object goes while a guard of its own epoch is there", "base/epoch.cpp",
     "if (retired->stamp < oldest) {", "if (retired->stamp <= oldest) {"),
    ("epochs: a stamp is one too low", "base/epoch.cpp",
     "retired->stamp = epoch_.fetch_add(1, std::memory_order_acq_rel);",
     "retired->stamp = epoch_.fetch_add(1, std::memory_order_acq_rel) - 1;"),

    ("tail buffer: what was read is not validated", "store/tail_buffer.cpp",
     "if (!version_.still(version)) return false; entry = Bytes(to,", "entry = Bytes(to,"),
    ("tail buffer: it begins anew under its readers", "store/tail_buffer.cpp",
     "version_.begin_write(); base::step_point(base::Step::write, &segment_);"
     " segment_.store(segment, std::memory_order_relaxed);"
     " base::step_point(base::Step::write, &base_);"
     " base_.store(base, std::memory_order_relaxed); used_ = 0; version_.end_write();",
     "segment_.store(segment, std::memory_order_relaxed);"
     " base_.store(base, std::memory_order_relaxed); used_ = 0;"),
]

# What recorded histories must show; no schedules are explored for these.
HISTORIES = [
    ("an update does not ask whether somebody wrote in between", "engine/shard.cpp",
     "== request.seen ? Status() : Status(Errc::value_mismatch);", "== request.seen ? Status()"
     " : Status();"),
    ("an insert overwrites", "engine/shard.cpp",
     "return there ? Status(Errc::key_exists) : Status();", "return Status();"),
    ("cas does not compare", "engine/shard.cpp",
     "if (request.when == When::equal &&", "if (false &&"),
    ("compaction brings back what was overwritten meanwhile", "engine/shard_care.cpp",
     "if (place.found && place.at == moves[at].from) {", "if (place.found) {"),
]

# Second lines of defence: taken out alone, no schedule shows it. Only with --all.
SECOND_LINES = [
    ("B+-tree: a new leaf is not marked", "index/btree_writer.cpp",
     "const BtreeWrite write_right(right); std::optional<BtreeWrite> write_after;"
     " if (after != nullptr) write_after.emplace(after); btree_reset_leaf(",
     "std::optional<BtreeWrite> write_after;"
     " if (after != nullptr) write_after.emplace(after); btree_reset_leaf("),
]
KNOWN = MUTATIONS + HISTORIES + SECOND_LINES

TESTS = ["tests/test_main", "tests/threads/interleaving_test",
         "tests/threads/btree_interleaving_test", "tests/threads/hash_table_interleaving_test",
         "tests/threads/epoch_interleaving_test", "tests/threads/histories_test",
         "tests/threads/tail_buffer_interleaving_test"]
# What of src/ the tests need: a header is changed for these alone.
CHANGED = ["index/btree", "index/btree_check", "index/btree_node", "index/btree_writer",
           "index/hash_table", "index/hash_table_writer", "index/index", "base/arena"]


def explore(program, args, tests="*interleaving*"):
    """Runs the tests; (found, text)."""
    try:
        done = subprocess.run([program, tests, *([] if args.slow else ["~[slow]"]),
                               "--abort"], capture_output=True, text=True, errors="replace",
                              timeout=600)
    except subprocess.TimeoutExpired:
        return True, "it goes on without end"
    if done.returncode == 0:
        return False, ""
    test = re.search(r"^-{10,}\n(.*?)\n-{10,}$", done.stdout, re.M | re.S)
    name = re.sub(r"\s+", " ", test[1]) if test else f"it ends with code {done.returncode}"
    schedule = re.search(r'ARMDB_SCHEDULE="(.*?)"|schedule: (.*)', done.stdout + done.stderr)
    return True, f"{name}: {schedule[1] or schedule[2]}" if schedule else name


def check(change, args, objects):
    _, name, text, replacement = change
    source, error = mutate.replaced(name, text, replacement)
    if error:
        return False, error
    tests = [objects / (test + ".o") for test in TESTS]
    folder = args.build / f"mutation_{KNOWN.index(change):02}"
    program, error = mutate.link(source, name, folder, objects, tests, users=CHANGED)
    if error:
        return False, error
    found, text = explore(program, args, "histories*" if change in HISTORIES else "*interleaving*")
    return found, f"found by {text}"[:170] if found else "NOT found"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path,
                        default=pathlib.Path("build/thread-mutations"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--all", action="store_true", help="second lines of defence too")
    parser.add_argument("--slow", action="store_true", help="the slow explorations too")
    parser.add_argument("--only", default="", help="rules whose text has this word")
    args = parser.parse_args()
    objects = mutate.build(args.build, args.jobs, "OPENSSL=0", "TEST_DIRS=tests/threads")
    found, text = explore(objects / "tests_all", args)
    if found:
        sys.exit(f"error: the plain program fails: {text}\n    fix: see make test first")
    known = KNOWN if args.all else MUTATIONS + HISTORIES
    chosen = [change for change in known if args.only in change[0]]
    return mutate.report(chosen, lambda change: check(change, args, objects), args.jobs,
                         lambda change: change[0])


if __name__ == "__main__":
    sys.exit(main())
