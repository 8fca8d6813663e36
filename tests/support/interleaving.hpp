// Tries the interleavings of a few threads one after the other, as CHESS does (M. Musuvathi and
// others, "Finding and Reproducing Heisenbugs in Concurrent Programs", OSDI 2008).
//
// The threads are real, but only the one with the baton runs. It may lose the baton at the step
// points of the library (base/step_point.hpp). Depth-first, all schedules are run that take the
// baton away from a thread which could go on at most `preemptions_max` times; changes at the end
// of a thread, and where one waits for another, are free.
//
// A step counts as a point of choice only where its eight bytes of memory are touched by another
// thread too, and written by one of them: to swap two other steps changes nothing. What is touched
// is learned on the way; when more was learned, the search begins again.
//
// Only sequentially consistent executions are seen: what a weaker machine may do beyond them is
// for ThreadSanitizer and for reasoning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/arena.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

namespace armdb::test {

// What is explored. Each execution begins with set_up(), then all threads run, then check().
// It must do the same each time that the schedule is the same.
class Interleaved {
 public:
  virtual ~Interleaved() = default;
  virtual void set_up() = 0;
  virtual void run(unsigned thread) = 0;
  // What is wrong; empty when nothing is.
  virtual std::string check() = 0;
};

struct ExploreOptions {
  unsigned threads = 2;
  unsigned preemptions_max = 2;
  std::size_t schedules_max = 1000000;
};

struct Explored {
  std::size_t schedules = 0;
  std::size_t points = 0;  // of choice, in the longest execution
  bool complete = false;   // all schedules within the bound were run
  std::string fault;       // of the first execution that went wrong; empty: none did
  std::string schedule;    // of that one: "1*20 0*7" is 20 steps of thread 1, then 7 of 0
};

// Threads: one exploration at a time in a process.
Explored explore(Interleaved& program, const ExploreOptions& options);
// Runs one schedule that explore() gave; what check() says.
std::string replay(Interleaved& program, unsigned threads, const std::string& schedule);

// For programs: a number that rises with each call, in the order in which things happen.
std::uint64_t interleaved_now();

// Memory for what the threads share: at the same place in each execution, so that steps of
// different executions can be compared. Takes back all that it gave when a program is set up;
// memory from elsewhere is told apart by `object` (see interleaved_object).
base::PageSource interleaved_pages();
// Names an object on the heap, of up to 4 KiB, whose members the threads share.
void interleaved_object(const void* object);

}  // namespace armdb::test

#endif
