// Caretaker: a process that deletes a directory when this one is killed, as nobody else would.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>

namespace armdb::test {

// Linux. Made before this process has any threads. Ends with the object, and deletes nothing then.
class Caretaker {
 public:
  explicit Caretaker(const std::string& directory) {
    const pid_t parent = ::getpid();
    child_ = ::fork();
    if (child_ != 0) return;
    ::setsid();  // what ends the whole group by a signal spares it
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    int got = 0;
    if (::getppid() == parent) sigwait(&signals, &got);
    std::error_code error;
    for (int tries = 0; tries < 100; ++tries) {
      std::filesystem::remove_all(directory, error);  // again, while children write their last
      ::usleep(20000);
      if (!std::filesystem::exists(directory, error)) break;
    }
    ::_exit(0);
  }
  ~Caretaker() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  Caretaker(const Caretaker&) = delete;
  Caretaker& operator=(const Caretaker&) = delete;

 private:
  pid_t child_ = -1;
};

}  // namespace armdb::test
