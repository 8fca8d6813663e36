#!/usr/bin/env python3
"""Takes one guard after another out of the sources and asks that the tests named [pitfall-N]
notice: N is a line of the list of faults in systems like this one. Closes with `N passed,
N failed`, one per guard; a pitfall without a test or a guard here counts as failed.

  tests/crash/pitfalls.py [--build FOLDER] [--jobs N] [--only N,N...] [--list]

From the top of the repository. Each guard is a replacement in a copy of one source file; where its
text is no longer found, it counts as failed: adapt it. Needs make, g++, Catch2 and OpenSSL.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import mutate  # noqa: E402

# (pitfall, what is gone, file, text, replacement)
GUARDS = [
    (1, "checksums of entries are not compared", "format/entry.cpp",
     "if (stored != computed) return", "if (stored != computed && size > total) return"),
    (2, "a header of zeros is an entry", "format/entry.cpp",
     "if (!entry_fields_possible(fields)) return EntryRead::corrupt;",
     "if (!entry_fields_possible(fields) && fields.sequence != 0) return EntryRead::corrupt; "
     "if (fields.sequence == 0) { entry = Entry(); size = 24; return EntryRead::whole; }"),
    (3, "a failed sync is forgotten", "store/log_store.cpp",
     "if (!outcome.ok()) return poison(outcome, ticket.segments);",
     "if (!outcome.ok()) return outcome;"),
    (4, "a sync that finds no space has not failed", "store/log_store.cpp",
     "if (!outcome.ok()) return poison(outcome, ticket.segments);",
     "if (outcome.is(Errc::no_space)) return outcome; "
     "if (!outcome.ok()) return poison(outcome, ticket.segments);"),
    (5, "writes go on in a file whose sync failed", "store/log_store.cpp",
     "set_failed(cause); put_limit_ = 0;", "set_failed(cause); failed_ = Status();"),
    (6, "no directory sync after a segment was created", "store/log_store.cpp",
     "  if (!ticket.sync_directory) return {};\n", "  if (true) return {};\n"),
    (7, "db.meta is not synced before it has its name", "store/manifest_file.cpp",
     "    if (status.ok()) status = (*file)->sync();\n", ""),
    (8, "what follows a hole is served", "store/log_recovery_scan.cpp",
     "return header.kind == format::SegmentKind::log && header.predecessor_sequence > last_ &&",
     "return false && header.predecessor_sequence > last_ &&"),
    (9, "a hint may be of another state of its segment", "store/hint_file.cpp",
     "trailer.segment_length == length && trailer.last_sequence == last_sequence", "true"),
    (10, "a hint may be of another segment", "store/hint_file.cpp",
     "if (header.file.store_id != own.store_id || header.file.shard != own.shard || "
     "header.file.file_id != own.file_id || header.salt != segment.header.salt) {",
     "if (false) {"),
    (11, "a scan does not check what it finds", "format/entry.cpp",
     "if (stored != computed) return", "if (stored != computed && size > total) return"),
    (12, "the compacted copy is not synced", "store/log_compaction.cpp",
     "if (status.ok()) status = output_->file->sync().at(output_->path);", ""),
    (13, "a copy wins over what was written meanwhile", "engine/shard_care.cpp",
     "if (place.found && place.at == moves[at].from) {", "if (place.found) {"),
    (14, "a tombstone is dropped while older segments are left", "store/log_compaction.cpp",
     "(entry.tombstone() && oldest_)", "entry.tombstone()"),
    (15, "sequences go on where the log was torn", "store/log_recovery.cpp",
     "if (status.ok() && interrupted) status = leave_gap();", ""),
    (16, "numbers of files are given out again", "store/log_recovery.cpp",
     "id_max_ = std::max(id_max_, parsed.file_id);", ""),
    (17, "damage below the watermark is a torn tail", "store/log_recovery_scan.cpp",
     "state.torn = !synced; if (!synced) {", "state.torn = true; if (true) {"),
    (18, "a sealed segment may be shorter than it was", "store/log_recovery_scan.cpp",
     "if (candidate.record.durable || segment.last_sequence < synced) {", "if (false) {"),
    (19, "a value that is read is not checked", "store/log_read.cpp",
     "if (format::decode_entry(bytes, segment->seed, entry, size) != format::EntryRead::whole || "
     "entry.key != key || entry.tombstone()) {",
     "entry.value = bytes.sub(format::kEntryHeaderBytes + key.size(), "
     "base::load_little<std::uint32_t>(bytes.data() + 8)); if (false) {"),
    (20, "a segment may be of another store", "store/log_recovery.cpp",
     "if (header.file.store_id != context.store_id || header.file.shard != context.shard || "
     "header.file.file_id != id) {", "if (false) {"),
    (21, "names that recovery found are not made durable", "store/log_recovery.cpp",
     "  } else if (status.ok()) {\n", "  } else if (status.ok() && false) {\n"),
    (22, "a value may have any size", "format/entry.cpp",
     "if (fields.value_size > kValueBytesMax) return false;", ""),
    (23, "links are followed", "os/descriptor.cpp",
     "flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK", "flags | O_CLOEXEC | O_NONBLOCK"),
    (24, "the clock may go back", "engine/lifecycle.cpp",
     "engine.common_.clock.raise(engine.state_.clock_floor_ms);", ""),
    (25, "a short write is a whole one", "os/posix_file_system.cpp",
     "while (done < data.size()) {", "for (bool once = true; once; once = false) {"),
    (26, "a signal ends a write", "os/posix_file_system.cpp",
     "if (put < 0 && errno == EINTR) continue;", ""),
    (27, "a full disk fails the shard for good", "store/log_store.cpp",
     "full_ = status.is(Errc::no_space); "
     "return std::move(status).at(active_->path, active_->allocated);",
     "return poison_active(std::move(status));"),
    (28, "a limit on file sizes is no full disk", "core/status.cpp",
     "|| os_error == EFBIG) code", ") code"),
    (29, "blocks of a failed allocation are kept", "os/posix_file_system.cpp",
     "if (::ftruncate(file_.get(), before.st_size) != 0) errno = error;", ""),
    (30, "a failed write does not fail the shard", "store/log_store.cpp",
     "return status.ok() ? status : poison_active(std::move(status));", "return status;"),
    (31, "files get the numbers of stdin and stdout", "os/descriptor.cpp",
     "if (number < 0 || number > 2) return number;", "if (true) return number;"),
    (32, "files are mapped though nobody may", "store/log_store.cpp",
     "if (values_on_disk() && context_.config.mapped_reads) { // Room",
     "if (values_on_disk()) { // Room"),
    (33, "an arena does not notice that memory is out", "base/arena.cpp",
     "if (!reserve(1)) return kNone;", "reserve(1);"),
    (34, "the lock belongs to the process", "os/file_lock.cpp",
     "if (::fcntl(file, F_OFD_SETLK, &lock) == 0) return 0; if (errno == EACCES) return EAGAIN;",
     "if (::fcntl(file, F_SETLK, &lock) == 0) return 0; if (errno == EACCES) return EAGAIN;"),
    (35, "files stay open in programs that are executed", "os/descriptor.cpp",
     "flags | O_CLOEXEC | O_NOFOLLOW", "flags | O_NOFOLLOW"),
    (36, "padding is what stood in memory", "format/entry.cpp",
     "base::store_little<std::uint64_t>(out + total - 8, 0);", ""),
    (38, "a field is written in another order", "format/entry.cpp",
     "base::store_little<std::uint64_t>(out + kEntrySequenceAt, entry.sequence);",
     "base::store_little<std::uint64_t>(out + kEntrySequenceAt, "
     "__builtin_bswap64(entry.sequence));"),
    (39, "the copy that counts is overwritten", "store/slot_store.cpp",
     "if (layout_.copies() == 2 && is_durable(stamped)) copy ^= 1;", ""),
    (40, "a slot's checksum does not know its number", "format/slot.cpp",
     "base::store_little<std::uint64_t>(place, number);",
     "base::store_little<std::uint64_t>(place, number * 0);"),
    (41, "old copies come back where the file was cut", "store/slot_store.cpp",
     "if (status.ok()) status = file_->sync();\n  if (!status.ok()) return "
     "poison(std::move(status).at(path_));\n  free_count_ -=",
     "if (!status.ok()) return poison(std::move(status).at(path_));\n  free_count_ -="),
    (42, "the clean mark stays while slots are written", "store/slot_recovery.cpp",
     "if (status.ok()) status = write_zeros(format::kCleanMarkAt, format::kCleanMarkBytes);", ""),
    (43, "a failed sync of slots is forgotten", "store/slot_store.cpp",
     "if (!outcome.ok() && !outcome.is(Errc::aborted)) return poison(outcome);",
     "if (!outcome.ok() && !outcome.is(Errc::aborted)) return outcome;"),
    (44, "of two equal versions the last one found wins", "store/slot_recovery.cpp",
     "const bool newer = entry.sequence > slot.version;",
     "const bool newer = entry.sequence >= slot.version;"),
    (45, "the key of a file comes from no random salt", "store/frame_seal.cpp",
     "Status status = os::random_bytes(header.salt);", "Status status;"),
    (46, "the key of a file does not know its place", "store/keyring.cpp",
     "info.append(identity.text());", "static_cast<void>(identity);"),
    (47, "the key's commitment is not compared", "store/keyring.cpp",
     "if (!crypto::equal_in_constant_time(wrap.commitment.bytes(), header.commitment)) {",
     "if (false) {"),
    (48, "a key for a collection in the clear is ignored", "store/keyring.cpp",
     "if (!encrypted) { return Status(Errc::format_mismatch,",
     "if (!encrypted) return {}; if (false) { return Status(Errc::format_mismatch,"),
    (49, "old frames may stand behind new ones", "store/sealed_tail.cpp",
     "(counter == 0 || frame.counter == counter + 1)", "true"),
    (51, "hints are written in the clear", "store/sealed_file.cpp",
     "format::parse_file_name(name).role == format::FileRole::failed;",
     "format::parse_file_name(name).role == format::FileRole::failed || "
     "name.ends_with(\".hint\");"),
    (52, "a new data key seals before db.keys has it", "store/keyring.cpp",
     "if (status.ok()) status = write(key, keys); if (status.ok()) keys_ = std::move(keys); "
     "return status; } Status Keyring::end_renewal",
     "if (status.ok()) keys_ = std::move(keys); return status; } Status Keyring::end_renewal"),
    (53, "a frame's checksum is of the plain bytes", "store/frame_seal.cpp",
     "if (status.ok()) format::finish_frame(seed_, to, frame.size);",
     "if (status.ok()) to[0] = plain[0];"),
    (37, "a peer that is gone raises SIGPIPE", "os/socket.cpp",
     "constexpr int kSendFlags = MSG_NOSIGNAL;", "constexpr int kSendFlags = 0;"),
    (54, "anybody may connect from other machines", "replica/server.cpp",
     "options.secured || options.allow_insecure || os::is_local(*address)", "true"),
    (55, "a frame may claim any length", "format/frame.cpp",
     "header.length <= kWirePayloadMax &&", "true &&"),
    (56, "a frame in part loses its place", "replica/channel.cpp",
     "filled_ -= taken_;", "filled_ = 0;"),
    (57, "a piece for a follower is as long as the log", "store/log_feed.cpp",
     "if (whole >= bytes_max) break;", ""),
    (58, "what is not durable is shipped", "replica/leader.cpp",
     ["lanes_[at].limit = shard.durable_sequence();", "status = source_->sync();"],
     ["lanes_[at].limit = shard.last_sequence(); "
      "static_cast<void>(shard.flush_for_feed(lanes_[at].limit));", "status = Status();"]),
    (59, "a leader of an older term is followed, and not fenced", "replica/history.cpp",
     "theirs.back().number < own.back().number", "false"),
    (60, "entries are taken wherever they begin", "replica/applier.cpp",
     "if (part.before != last) {", "if (false) {"),
    (61, "a follower greets with what a power cut may take", "replica/follower.cpp",
     "Status status = engine_.sync(); if (status.ok() && slots_ != nullptr) "
     "status = slots_->prepare();", "Status status;"),
    (62, "what compaction took is passed over", "store/log_feed.cpp",
     "if (header.kind == format::SegmentKind::compacted) return FeedStep::overtaken;",
     "if (header.kind == format::SegmentKind::compacted) { position_ = segment->last_sequence; "
     "continue; }"),
    (63, "damage is passed over", "store/log_feed.cpp",
     "if (step == ScanStep::broken) return damaged(); if (step == ScanStep::end || !take(",
     "if (step == ScanStep::broken) break; if (step == ScanStep::end || !take("),
    (64, "a follower that comes back begins at the end", "replica/leader.cpp",
     "lane.feed = std::make_unique<store::LogFeed>(position);",
     "lane.feed = std::make_unique<store::LogFeed>(from.last_sequence());"),
    (65, "a follower of another collection is believed", "replica/leader.cpp",
     "if (hello.lineage != own.lineage) {", "if (false) {"),
]

# What has no guard in a source file, and why.
ELSEWHERE = {
    50: "an old copy of a whole directory cannot be told; its test shows that, the README says so",
    66: "nothing ships sealed bytes: entries are written anew; its test looks at both sides' files",
}
LAST = 66


def tests_of(number):
    """Test specification for Catch2: the mark stands in names, or in tags."""
    return rf"~[slow]*\[pitfall-{number}\]*,~[slow][pitfall-{number}]"


def run_tests(program, tests):
    """(failed, text)"""
    environment = dict(os.environ, ARMDB_TEST_SCALE="1")
    try:
        done = subprocess.run([program, tests, "--abort"], capture_output=True,
                              text=True, errors="replace", env=environment, timeout=600)
    except subprocess.TimeoutExpired:
        return True, "it hangs"
    if "No tests ran" in done.stdout or "No test cases matched" in done.stdout and \
            "assertion" not in done.stdout:
        return False, "NO TEST has this mark"
    if done.returncode == 0:
        return False, "NOT found"
    where = re.search(r"^(\S+:\d+): FAILED", done.stdout, re.M)
    return True, where[1] if where else f"it ends with code {done.returncode}"


def check(guard, args, objects):
    number, _, name, text, replacement = guard
    changed, error = mutate.replaced(name, text, replacement)
    if error:
        return False, error
    folder = objects / "tests"
    tests = [path for path in sorted(folder.rglob("*.o")) if path.parent.name != "support" and
             pathlib.Path("tests", path.relative_to(folder)).with_suffix(".cpp").exists()]
    program, error = mutate.link(changed, name, args.build / f"pitfall_{number:02}", objects, tests,
                                 ["-DARMDB_WITH_OPENSSL=1"], libraries=["-lssl", "-lcrypto"])
    if error:
        return False, error
    found, text = run_tests(program, tests_of(number))
    program.unlink()
    return found, text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/pitfalls"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="numbers, with commas between them")
    parser.add_argument("--list", action="store_true", help="print the guards, run nothing")
    args = parser.parse_args()
    only = {int(number) for number in args.only.split(",") if number}
    chosen = [guard for guard in GUARDS if not only or guard[0] in only]
    missing = set(range(1, LAST + 1)) - {guard[0] for guard in GUARDS} - set(ELSEWHERE)
    if args.list:
        for number, what, name, _, _ in chosen:
            print(f"{number:3}  {what} (src/{name})")
        for number, why in sorted(ELSEWHERE.items()):
            print(f"{number:3}  {why}")
        return 0
    objects = mutate.build(args.build, args.jobs, "OPENSSL=1")
    # What fails without a change would notice every change.
    failed, text = run_tests(objects / "tests_all", ",".join(tests_of(one[0]) for one in chosen))
    if failed:
        sys.exit(f"error: the plain program fails: {text}\n    fix: see make test first")
    for number in sorted(missing):
        print(f"FAILED pitfall {number}: nothing here takes its guard out")
    return mutate.report(chosen, lambda guard: check(guard, args, objects), args.jobs,
                         lambda guard: f"pitfall {guard[0]}: {guard[1]}", len(missing))


if __name__ == "__main__":
    sys.exit(main())
