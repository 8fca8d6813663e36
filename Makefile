# armdb: build, test and check. `make help` lists the targets.

# ---- What one may set, on the command line: make test CXX=clang++ JOBS=8 ----

ifeq ($(origin CXX),default)
CXX = g++
endif
PYTHON       = python3
JOBS         = $(shell nproc 2>/dev/null || echo 2)
BUILD        = build
OPT          = -O1 -g1                   # of the test builds; -O0 -g to debug
RELEASE      = -O2 -DNDEBUG              # of demo and bench
DEFINES      =                           # such as -DARMDB_OMIT_MMAP=1
TESTS        =                           # Catch2 test specs; all but [slow] when empty
TEST_DIRS    =                           # such as "tests/format tests/api"; all when empty
SCALE        =                           # sizes of long tests, 1 is full; set per sanitizer
FUZZ_SECONDS = 30                        # for each harness
CRASH_SCALE  = 1                         # of make crash
DEMO_DIR     = /usr/include              # what make demo stores
V            = 0                         # 1: show whole commands
BENCH_ARGS   =                           # of make bench, such as --quick --filter map.get
NET_ARGS     =                           # of make net, such as --cycles 300 --case TLS --seed 1
POWER_ARGS   =                           # of make power, such as --cycles 500 --case xfs --seed 1
OPENSSL      = 1                         # 0: build without encryption
PEERS        = 0                         # 1: bench LMDB, RocksDB, LevelDB, SQLite, tkrzw too
CROSS        = aarch64-linux-gnu arm-linux-gnueabihf s390x-linux-gnu riscv64-linux-gnu
CROSS_DIRS   = tests/base tests/format tests/index tests/store tests/engine tests/api tests/golden

# Formats, the files of old, and both stores on real files. Valgrind keeps descriptors of its own,
# which the tests that run out of them (pitfall 31) do not expect.
VALGRIND_NAMES = $(addsuffix :*,entry file_header hint keys manifest meta sealed sealed_slot slot state \
                   collection config const expiry fixed typed) \
                 posix_file_system:*~[pitfall-31] slot_store:*~*cut*
VALGRIND_TESTS = [golden]$(shell printf ',%s' $(foreach name,$(VALGRIND_NAMES),'$(name)'))

CLANG_MAJOR  = $(shell clang++ -dumpversion 2>/dev/null | cut -d. -f1)

# ---- Flavours: each compiler and each kind of build has its own folder ----

FLAVOUR      = test
COMPILER    := $(notdir $(lastword $(CXX)))
OUT         := $(strip $(BUILD))/$(COMPILER)-$(FLAVOUR)
IS_CLANG    := $(findstring clang,$(COMPILER))
# The compiler of the sanitizers and fuzzers: clang++ where it is, else what CXX says.
SAN_CXX      = $(shell command -v clang++ >/dev/null 2>&1 && echo clang++ || echo $(CXX))

STRICT       = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
CLANG_STRICT = $(if $(IS_CLANG),-Wthread-safety)
TEST_WARN    = -Wall -Wextra -Wpedantic -Wshadow -Werror \
               $(if $(IS_CLANG),-Wno-gnu-zero-variadic-macro-arguments)
SAN_COMMON   = -fno-omit-frame-pointer -fno-sanitize-recover=all

flags_test     =
flags_coverage = --coverage -fprofile-abs-path -O0
flags_asan     = -fsanitize=address,undefined -fno-sanitize=vptr $(SAN_COMMON)
flags_ubsan    = -fsanitize=undefined -fno-sanitize=vptr $(SAN_COMMON)
flags_tsan     = -fsanitize=thread -fno-omit-frame-pointer $(if $(IS_CLANG),,-Wno-tsan)
flags_fuzz     = -fsanitize=address,undefined -fno-sanitize=vptr $(SAN_COMMON) \
                 $(if $(IS_CLANG),-fsanitize=fuzzer-no-link)
flags_fuzzcov  = -fprofile-instr-generate -fcoverage-mapping
flags_cross    = -static -Wno-psabi
FLAVOUR_FLAGS  = $(flags_$(firstword $(subst -, ,$(FLAVOUR))))

# All builds but one compile the sources as one unit, through the spine: a quarter of the time.
# The test build of g++ compiles each file alone, so that a missing include shows.
UNITY        = $(if $(filter %g++-test %-coverage,$(COMPILER)-$(FLAVOUR)),0,1)
# clang++ compiles tests without optimisation in a third of the time, most of all those of the
# sanitizers; the library and what the tests share, where they spend their time, have OPT.
TEST_OPT     = $(if $(IS_CLANG),-O0)

WITH_OPENSSL = $(filter 1,$(OPENSSL))
ALL_DEFINES  = -DARMDB_CHECKS=1 $(if $(WITH_OPENSSL),-DARMDB_WITH_OPENSSL=1) $(DEFINES)
LIBS         = $(if $(WITH_OPENSSL),-lssl -lcrypto)
CATCH_V3    := $(firstword $(wildcard /usr/include/catch2/catch_all.hpp \
                                      /usr/local/include/catch2/catch_all.hpp))
CATCH_LIBS   = $(if $(CATCH_V3),-lCatch2)
# Under a sanitizer its own report of a crash is the better one.
CATCH_FLAGS  = $(if $(filter asan ubsan tsan,$(FLAVOUR)),-DCATCH_CONFIG_NO_POSIX_SIGNALS) \
               $(CATCH_INCLUDE)

BASE_FLAGS   = -std=c++20 $(OPT) $(FLAVOUR_FLAGS) $(ALL_DEFINES) -pthread -MMD -MP
LIB_FLAGS    = $(BASE_FLAGS) $(STRICT) $(CLANG_STRICT) -fno-exceptions -fno-rtti -Isrc
# Tests may throw. They have no RTTI, because they derive from interfaces of the library.
TEST_FLAGS   = $(BASE_FLAGS) $(TEST_WARN) $(CATCH_FLAGS) -fno-rtti -Isrc -I. -Itests
FUZZ_FLAGS   = $(BASE_FLAGS) $(TEST_WARN) -fno-rtti -Isrc -I. -Itests

# ---- Files ----

MODULES      = $(sort $(filter-out src/cli/%,$(wildcard src/*/*.cpp)))
LIB_SOURCES  = $(if $(filter 1,$(UNITY)),src/armdb.cpp,$(MODULES))
ALL_DIRS     = $(filter-out tests/support/ tests/bench/ tests/demo/ tests/net/ tests/power/,$(sort $(wildcard tests/*/)))
RUN_DIRS     = $(if $(strip $(TEST_DIRS)),$(TEST_DIRS:%/=%),$(ALL_DIRS:%/=%))
TEST_SOURCES = $(sort $(foreach dir,$(RUN_DIRS),$(wildcard $(dir)/*_test.cpp)))
NET_SOURCES  = $(sort $(wildcard tests/net/*.cpp))
POWER_SOURCES = $(sort $(wildcard tests/power/*.cpp))
SUPPORT      = $(sort $(wildcard tests/support/*.cpp))
CORPUS_DIR   = fuzz/corpus

LIB_OBJECTS  = $(LIB_SOURCES:%.cpp=$(OUT)/%.o)
TEST_OBJECTS = $(TEST_SOURCES:%.cpp=$(OUT)/%.o) $(OUT)/tests/test_main.o
NET_OBJECTS = $(NET_SOURCES:%.cpp=$(OUT)/%.o)
POWER_OBJECTS = $(POWER_SOURCES:%.cpp=$(OUT)/%.o)
SUPPORT_OBJECTS = $(SUPPORT:%.cpp=$(OUT)/%.o)
FUZZ_SOURCES = $(sort $(wildcard fuzz/fuzz_*.cpp))
FUZZ_PROGRAMS   = $(FUZZ_SOURCES:fuzz/%.cpp=$(OUT)/%)
REPLAY_PROGRAMS = $(FUZZ_SOURCES:fuzz/%.cpp=$(OUT)/replay_%)

SCRIPTS      = tests/amalgamate_test.py tests/tidy.py tests/readme_test.py tests/cli/cli_test.py
NEED         = tests/need.sh
NEED_BASE    = g++=g++ python3=python3 $(if $(WITH_OPENSSL),libssl-dev=/usr/include/openssl/evp.h openssl=openssl) \
               catch2=/usr/include/catch2/catch.hpp,/usr/include/catch2/catch_all.hpp,/usr/local/include/catch2/catch_all.hpp,/opt/homebrew/include/catch2/catch_all.hpp
# For a target of CROSS: the name of its qemu, and what 32-bit files need.
CROSS_CASE   = case $$target in \
                 arm-*) qemu=arm; more="-D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64" ;; \
                 *) qemu=$${target%%-*}; more="" ;; esac;
CROSS_MAKE   = $(MAKE) --no-print-directory -j$(JOBS) FLAVOUR=cross CXX=$$target-g++ OPENSSL=0 \
               DEFINES="$$more" OPT=-O1 CATCH_INCLUDE="-isystem $(BUILD)/cross-include"
NEED_CLANG   = clang=clang++
RUN          = $(PYTHON) tests/run_tests.py --jobs $(JOBS)
SAY          = $(if $(filter 1,$(V)),,@echo '  $(COMPILER) $@';)
AGAIN        = @$(MAKE) --no-print-directory -j$(JOBS)

.SUFFIXES:
.SECONDARY:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test test-encrypted test-program amalgamate check-amalgam asan ubsan tsan fuzz fuzz-programs \
        fuzz-coverage fuzz-mutations fuzz-replay replay-programs crash net power mutations pitfalls \
        bench size format tidy lint check coverage \
        cross carry musl valgrind clean need need-clang force

# The parallel part is the build; the targets themselves go one after the other.
ifneq ($(MAKELEVEL),0)
else
.NOTPARALLEL:
endif

help: ## print this list
	@echo "make TARGET [VARIABLE=value]...; the variables are at the top of the Makefile"
	@sed -n 's/^\([a-z][a-z -]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | \
	  while IFS="$$(printf '\t')" read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done

# ---- Targets for people ----

demo: need ## build the armdb program from the pair and run it on real input (DEMO_DIR)
	$(AGAIN) $(BUILD)/armdb $(BUILD)/demo
	$(BUILD)/demo $(DEMO_DIR)

test: need $(if $(IS_CLANG),need-clang) ## build each file alone, run all tests but the slow ones
	$(AGAIN) test-program $(BUILD)/armdb
	@ARMDB_TEST_SCALE="$(or $(strip $(SCALE)),1)" CXX="$(CXX)" $(RUN) \
	  $(foreach s,$(SCRIPTS),--script $(s)) \
	  --binary $(OUT)/tests_all -- $(TESTS)

test-encrypted: need ## the same program on encrypted collections, but for the [clear] tests
	$(AGAIN) test-program
	@ARMDB_TEST_ENCRYPTED=1 ARMDB_TEST_SCALE="$(or $(strip $(SCALE)),1)" $(RUN) \
	  --binary $(OUT)/tests_all -- $(or $(TESTS),"~[slow]~[clear]")

amalgamate: ## write armdb.hpp and armdb.cpp from src/
	@$(PYTHON) amalgamate.py

check-amalgam: need need-clang ## check the pair: fresh, strict, small, no leaks; API tests on it
	@$(PYTHON) tests/check_amalgam.py --jobs $(JOBS) --build $(BUILD)/amalgam

asan: need need-clang ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(AGAIN) test-program FLAVOUR=asan CXX=$(SAN_CXX)
	@ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 \
	  UBSAN_OPTIONS=print_stacktrace=1 \
	  ARMDB_TEST_SCALE="$(or $(strip $(SCALE)),0.5)" \
	  $(RUN) --binary $(BUILD)/$(SAN_CXX)-asan/tests_all -- $(TESTS)

ubsan: need need-clang ## the tests under UndefinedBehaviorSanitizer alone: twice as fast
	$(AGAIN) test-program FLAVOUR=ubsan CXX=$(SAN_CXX)
	@UBSAN_OPTIONS=print_stacktrace=1 ARMDB_TEST_SCALE="$(or $(strip $(SCALE)),0.5)" \
	  $(RUN) --binary $(BUILD)/$(SAN_CXX)-ubsan/tests_all -- $(TESTS)

tsan: need need-clang ## the tests under ThreadSanitizer, but for [serial]; no suppressions
	$(AGAIN) test-program FLAVOUR=tsan CXX=$(SAN_CXX)
	@TSAN_OPTIONS=halt_on_error=0:second_deadlock_stack=1 \
	  ARMDB_TEST_SCALE="$(or $(strip $(SCALE)),0.2)" \
	  $(RUN) --binary $(BUILD)/$(SAN_CXX)-tsan/tests_all -- $(or $(TESTS),"~[slow]~[serial]")

fuzz: need need-clang ## run each harness for FUZZ_SECONDS; new inputs go to build/ (clang)
	$(AGAIN) fuzz-programs FLAVOUR=fuzz CXX=clang++
	@$(PYTHON) tests/run_fuzz.py --run --seconds $(FUZZ_SECONDS) --jobs $(JOBS) \
	  --programs $(BUILD)/clang++-fuzz --corpus $(CORPUS_DIR)

fuzz-replay: need ## replay the corpus through each harness, with any compiler
	$(AGAIN) replay-programs FLAVOUR=fuzz CXX=$(SAN_CXX)
	@$(PYTHON) tests/run_fuzz.py --replay --jobs $(JOBS) \
	  --programs $(BUILD)/$(SAN_CXX)-fuzz --corpus $(CORPUS_DIR)

fuzz-coverage: need need-clang ## lines of parsers and recovery that the corpus reaches (clang)
	@sh $(NEED) llvm-$(CLANG_MAJOR)=llvm-cov-$(CLANG_MAJOR)
	$(AGAIN) replay-programs FLAVOUR=fuzzcov CXX=clang++
	@$(PYTHON) tests/fuzz_coverage.py --jobs $(JOBS) --tools $(CLANG_MAJOR) \
	  --programs $(BUILD)/clang++-fuzzcov --corpus $(CORPUS_DIR)

crash: need ## the slow crash tests: power cuts, kill -9 (CRASH_SCALE)
	$(AGAIN) test-program
	@ARMDB_TEST_SCALE="$(strip $(CRASH_SCALE))" $(RUN) --seconds 7200 \
	  --binary $(OUT)/tests_all -- "[slow]"

net: need ## replication over bad networks, in namespaces: loss, delay, partitions, kills (NET_ARGS)
	$(AGAIN) $(OUT)/net
	$(OUT)/net $(NET_ARGS)

power: need ## power cuts of ext4 and XFS on this kernel, as root (POWER_ARGS)
	@sh $(NEED) e2fsprogs=mkfs.ext4 xfsprogs=mkfs.xfs mount=mount
	$(AGAIN) $(OUT)/power
	$(OUT)/power $(POWER_ARGS)

mutations: need ## take one measure of durability or concurrency out at a time: tests must notice
	@$(PYTHON) tests/crash/mutations.py --build $(BUILD)/mutations --jobs $(JOBS)
	@$(PYTHON) tests/threads/mutations.py --build $(BUILD)/thread-mutations --jobs $(JOBS)

pitfalls: need ## take one guard out for each known pitfall: the tests with its number must notice
	@$(PYTHON) tests/crash/pitfalls.py --build $(BUILD)/pitfalls --jobs $(JOBS)

fuzz-mutations: need need-clang ## plant a fault for each fuzz harness: it must notice
	@$(PYTHON) tests/fuzz_mutations.py --build $(BUILD)/fuzz-mutations --jobs $(JOBS)

bench: need ## measure; PEERS=1 adds other stores from the system's packages to the same run
ifeq ($(strip $(PEERS)),1)
	@sh $(NEED) liblmdb-dev=/usr/include/lmdb.h librocksdb-dev=/usr/include/rocksdb/db.h \
	  libleveldb-dev=/usr/include/leveldb/db.h libsqlite3-dev=/usr/include/sqlite3.h \
	  libtkrzw-dev=/usr/include/tkrzw_dbm.h
endif
	$(AGAIN) $(BENCH)
	$(BENCH) $(BENCH_ARGS)

cross: need ## the tests under qemu: aarch64, 32-bit ARM, big-endian s390x, riscv64; carry
	@sh $(NEED) qemu-user-static=qemu-aarch64-static \
	  $(foreach c,$(CROSS),g++-$(c)=$(c)-g++)
	@mkdir -p $(BUILD)/cross-include
	@[ -n "$(CATCH_V3)" ] || ln -sfn /usr/include/catch2 $(BUILD)/cross-include/catch2
	@failed=0; for target in $(CROSS); do $(CROSS_CASE) echo "$$target"; \
	  $(CROSS_MAKE) test-program TEST_DIRS="$(CROSS_DIRS)" && \
	  ARMDB_TEST_SCALE="$(or $(strip $(SCALE)),0.1)" $(RUN) --wrapper qemu-$$qemu-static \
	    --seconds 7200 --binary $(BUILD)/$$target-g++-cross/tests_all -- $(TESTS) || failed=1; \
	done; $(MAKE) --no-print-directory carry || failed=1; exit $$failed

carry: need ## stores that each machine of CROSS and this one write open on all the others
	@sh $(NEED) qemu-user-static=qemu-aarch64-static \
	  $(foreach c,$(CROSS),g++-$(c)=$(c)-g++)
	$(AGAIN) $(BUILD)/g++-cross/carry FLAVOUR=cross CXX=g++ OPENSSL=0
	@machines="here=$(BUILD)/g++-cross/carry"; \
	for target in $(CROSS); do $(CROSS_CASE) \
	  $(CROSS_MAKE) $(BUILD)/$$target-g++-cross/carry || exit 1; \
	  machines="$$machines $$qemu=$(BUILD)/$$target-g++-cross/carry"; \
	done; $(PYTHON) tests/golden/carry.py --folder $(BUILD)/carry $$machines

musl: need ## the pair on musl's libc: what it writes opens on glibc, and the other way round
	@sh $(NEED) musl-tools=musl-gcc
	$(AGAIN) $(BUILD)/g++-cross/carry FLAVOUR=cross CXX=g++ OPENSSL=0
	$(AGAIN) $(MUSL_OUT)/carry
	@$(PYTHON) tests/golden/carry.py --folder $(BUILD)/carry_musl \
	  here=$(BUILD)/g++-cross/carry musl=$(MUSL_OUT)/carry

valgrind: need ## memory that nobody wrote and that reaches a file or a branch (2 minutes)
	@sh $(NEED) valgrind=valgrind
	$(AGAIN) test-program
	@ARMDB_TEST_SCALE="$(or $(strip $(SCALE)),0.05)" $(RUN) --seconds 3600 \
	  --wrapper "valgrind -q --error-exitcode=9 --track-origins=yes" \
	  --binary $(OUT)/tests_all -- "$(or $(strip $(TESTS)),$(VALGRIND_TESTS))"

size: need ## text size of the library at -Os, for each switch
	@$(PYTHON) tests/check_amalgam.py --size --build $(BUILD)/amalgam

coverage: need ## line coverage of src/ (g++)
	@sh $(NEED) gcovr=gcovr
	$(AGAIN) test-program FLAVOUR=coverage CXX=g++
	@find $(BUILD)/g++-coverage -name '*.gcda' -delete
	@$(RUN) --binary $(BUILD)/g++-coverage/tests_all -- $(TESTS)
	@gcovr -r . --filter src/ --exclude-throw-branches --exclude-unreachable-branches \
	  --print-summary --html-details $(BUILD)/coverage.html $(BUILD)/g++-coverage

format: ## clang-format all sources in place
	@sh $(NEED) clang-format=clang-format
	clang-format --style=file:src/.clang-format -i \
	  $(filter-out src/armdb.%,$(wildcard src/*.?pp src/*/*.?pp)) \
	  $(wildcard tests/*.?pp tests/*/*.?pp tests/*/*/*.?pp fuzz/*.?pp)

tidy: ## style that can be checked
	@$(PYTHON) tests/tidy.py

lint: need need-clang ## clang-tidy, cppcheck, lock annotations: no finding (about 2 minutes)
	@sh $(NEED) clang-tidy-14=clang-tidy-14,/usr/bin/clang-tidy cppcheck=cppcheck
	@$(PYTHON) tests/lint.py --jobs $(JOBS)

check: lint test check-amalgam asan ubsan tsan fuzz-replay crash ## all a change must pass

clean: ## delete build/
	rm -rf $(BUILD)

need:
	@sh $(NEED) $(NEED_BASE)

need-clang:
	@sh $(NEED) $(NEED_CLANG)
	@echo 'int main() {}' | clang++ -fsanitize=address -x c++ - -o /dev/null 2>/dev/null || \
	  sh $(NEED) libclang-rt-$$(clang++ -dumpversion | cut -d. -f1)-dev=no-such-command

# ---- The build ----

test-program: $(OUT)/tests_all
fuzz-programs: $(FUZZ_PROGRAMS)
	@[ -n "$(FUZZ_PROGRAMS)" ] || { echo "error: no fuzz/fuzz_*.cpp"; exit 1; }
replay-programs: $(REPLAY_PROGRAMS)
	@[ -n "$(REPLAY_PROGRAMS)" ] || { echo "error: no fuzz/fuzz_*.cpp"; exit 1; }

# Rewritten only when flags or the list of files change: then everything, or the link, is redone.
define remember
@mkdir -p $(@D)
@printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' > $@
endef

$(OUT)/flags: force
	$(call remember,$(CXX) $(LIB_FLAGS) $(TEST_FLAGS) $(TEST_OPT))

$(OUT)/files: force
	$(call remember,$(LIB_OBJECTS) $(TEST_OBJECTS) $(SUPPORT_OBJECTS))

ifdef IS_CLANG
PCH          = $(OUT)/catch.pch
USE_PCH      = -include-pch $(PCH)
else
PCH          = $(OUT)/catch.hpp.gch
USE_PCH      = -include $(OUT)/catch.hpp
endif

$(PCH): tests/support/catch.hpp $(OUT)/flags
	@echo '#include "tests/support/catch.hpp"' > $(OUT)/catch.hpp
	$(SAY)$(CXX) $(TEST_FLAGS) $(TEST_OPT) -x c++-header $(OUT)/catch.hpp -o $@

$(OUT)/src/%.o: src/%.cpp $(OUT)/flags
	@mkdir -p $(@D)
	$(SAY)$(CXX) $(LIB_FLAGS) -c $< -o $@

$(OUT)/tests/test_main.o: tests/test_main.cpp $(OUT)/flags
	@mkdir -p $(@D)
	$(SAY)$(CXX) $(TEST_FLAGS) -O0 -g0 -c $< -o $@

$(OUT)/tests/support/%.o: tests/support/%.cpp $(OUT)/flags
	@mkdir -p $(@D)
	$(SAY)$(CXX) $(TEST_FLAGS) -c $< -o $@

$(OUT)/tests/%.o: tests/%.cpp $(PCH) $(OUT)/flags
	@mkdir -p $(@D)
	$(SAY)$(CXX) $(TEST_FLAGS) $(TEST_OPT) $(USE_PCH) -c $< -o $@

$(OUT)/libsupport.a: $(SUPPORT_OBJECTS) $(OUT)/files
	@rm -f $@
	@ar rcs $@ $(SUPPORT_OBJECTS)

$(OUT)/tests_all: $(TEST_OBJECTS) $(LIB_OBJECTS) $(OUT)/libsupport.a $(OUT)/files
	$(SAY)$(CXX) $(OPT) $(FLAVOUR_FLAGS) -pthread $(TEST_OBJECTS) $(OUT)/libsupport.a $(LIB_OBJECTS) \
	  $(CATCH_LIBS) $(LIBS) -o $@

$(OUT)/net: $(NET_OBJECTS) $(LIB_OBJECTS) $(OUT)/files
	$(SAY)$(CXX) $(OPT) $(FLAVOUR_FLAGS) -pthread $(NET_OBJECTS) $(LIB_OBJECTS) $(LIBS) -o $@

$(OUT)/power: $(POWER_OBJECTS) $(LIB_OBJECTS) $(OUT)/files
	$(SAY)$(CXX) $(OPT) $(FLAVOUR_FLAGS) -pthread $(POWER_OBJECTS) $(LIB_OBJECTS) $(LIBS) -o $@

$(OUT)/carry: $(OUT)/carry.o $(LIB_OBJECTS)
	$(SAY)$(CXX) $(OPT) $(FLAVOUR_FLAGS) -pthread $^ $(LIBS) -o $@

$(OUT)/carry.o: tests/golden/carry.cpp $(OUT)/flags
	@mkdir -p $(@D)
	$(SAY)$(CXX) $(TEST_FLAGS) -c $< -o $@

$(OUT)/fuzz/%.o: fuzz/%.cpp $(OUT)/flags
	@mkdir -p $(@D)
	$(SAY)$(CXX) $(FUZZ_FLAGS) -c $< -o $@

$(OUT)/fuzz_%: $(OUT)/fuzz/fuzz_%.o $(LIB_OBJECTS) $(OUT)/libsupport.a
	$(SAY)$(CXX) $(OPT) $(FLAVOUR_FLAGS) -fsanitize=fuzzer -pthread $< $(OUT)/libsupport.a $(LIB_OBJECTS) \
	  $(LIBS) -o $@

$(OUT)/replay_fuzz_%: $(OUT)/fuzz/fuzz_%.o $(OUT)/fuzz/main.o $(LIB_OBJECTS) $(OUT)/libsupport.a
	$(SAY)$(CXX) $(OPT) $(FLAVOUR_FLAGS) -pthread $< $(OUT)/fuzz/main.o $(OUT)/libsupport.a \
	  $(LIB_OBJECTS) $(LIBS) -o $@

# ---- From the pair: what a user of the two files builds ----

PAIR_OUT     = $(strip $(BUILD))/$(COMPILER)-pair
PAIR_FLAGS   = -std=c++20 $(RELEASE) -pthread -Wall -Wextra -MMD -MP \
               $(filter-out -DARMDB_CHECKS=1,$(ALL_DEFINES))
PAIR_OBJECT  = $(PAIR_OUT)/armdb.o
CLI_SOURCES  = $(sort $(wildcard src/cli/*.cpp))
CLI_OBJECTS  = $(CLI_SOURCES:%.cpp=$(PAIR_OUT)/%.o)
PEER_FLAGS   = $(if $(filter 1,$(PEERS)),-DARMDB_BENCH_PEERS=1)
PEER_LIBS    = $(if $(filter 1,$(PEERS)),-llmdb -lrocksdb -lleveldb -lsqlite3 -ltkrzw)
BENCH        = $(strip $(BUILD))/bench$(if $(filter 1,$(PEERS)),_peers)
BENCH_SOURCES = $(sort $(wildcard tests/bench/*.cpp) \
                       $(if $(filter 1,$(PEERS)),$(wildcard tests/bench/peers/*.cpp)))
BENCH_OUT    = $(PAIR_OUT)/$(notdir $(BENCH))
BENCH_OBJECTS = $(BENCH_SOURCES:%.cpp=$(BENCH_OUT)/%.o)

$(PAIR_OUT)/flags: force
	$(call remember,$(CXX) $(PAIR_FLAGS))

$(PAIR_OBJECT): armdb.cpp armdb.hpp $(PAIR_OUT)/flags
	$(SAY)$(CXX) $(PAIR_FLAGS) -c armdb.cpp -o $@

# -I. comes first: "armdb.hpp" is the one of the pair; src/ serves "cli/..." only.
$(PAIR_OUT)/src/cli/%.o: src/cli/%.cpp $(PAIR_OUT)/flags
	@mkdir -p $(@D)
	$(SAY)$(CXX) $(PAIR_FLAGS) -I. -Isrc -c $< -o $@

$(strip $(BUILD))/armdb: $(CLI_OBJECTS) $(PAIR_OBJECT)
	@[ -n "$(CLI_OBJECTS)" ] || { echo "error: no src/cli/*.cpp"; exit 1; }
	$(SAY)$(CXX) -pthread $^ $(LIBS) -o $@

$(PAIR_OUT)/tests/demo/%.o: tests/demo/%.cpp $(PAIR_OUT)/flags
	@mkdir -p $(@D)
	$(SAY)$(CXX) $(PAIR_FLAGS) -I. -c $< -o $@

$(strip $(BUILD))/demo: $(PAIR_OUT)/tests/demo/demo.o $(PAIR_OBJECT)
	$(SAY)$(CXX) -pthread $^ $(LIBS) -o $@

$(BENCH_OUT)/%.o: %.cpp $(PAIR_OUT)/flags
	@mkdir -p $(@D)
	$(SAY)$(CXX) $(PAIR_FLAGS) $(PEER_FLAGS) -I. -Itests -c $< -o $@

$(BENCH): $(BENCH_OBJECTS) $(PAIR_OBJECT)
	@[ -n "$(BENCH_OBJECTS)" ] || { echo "error: no tests/bench/*.cpp"; exit 1; }
	$(SAY)$(CXX) -pthread $^ $(PEER_LIBS) $(LIBS) -o $@

# Debian has musl for C alone: libstdc++'s headers over it, and tests/support/musl for the rest.
MUSL_OUT     = $(strip $(BUILD))/musl
MUSL_CPP     = c++/$(shell g++ -dumpversion)
MUSL_FLAGS   = -std=c++20 -O2 -pthread -fno-exceptions -fno-rtti -Wall -Wextra -Werror -MMD -MP \
               -nostdinc -nostdinc++ -isystem tests/support/musl -isystem /usr/include/$(MUSL_CPP) \
               -isystem /usr/include/$(shell g++ -print-multiarch)/$(MUSL_CPP) \
               -isystem /usr/include/$(shell uname -m)-linux-musl \
               -isystem $(shell g++ -print-file-name=include)

$(MUSL_OUT)/%.o: %.cpp
	@mkdir -p $(@D)
	@echo '  g++ $@'; g++ $(MUSL_FLAGS) -I. -c $< -o $@

$(MUSL_OUT)/carry: $(MUSL_OUT)/armdb.o $(MUSL_OUT)/tests/golden/carry.o \
                   $(MUSL_OUT)/tests/support/musl/runtime.o
	@echo '  musl-gcc $@'; musl-gcc -static -pthread $^ -o $@

-include $(wildcard $(OUT)/*.d $(OUT)/src/*.d $(OUT)/src/*/*.d $(OUT)/tests/*.d \
                    $(OUT)/tests/*/*.d $(OUT)/fuzz/*.d $(PAIR_OUT)/*.d $(PAIR_OUT)/src/cli/*.d \
                    $(PAIR_OUT)/tests/demo/*.d $(BENCH_OUT)/tests/bench/*.d \
                    $(BENCH_OUT)/tests/bench/peers/*.d \
                    $(MUSL_OUT)/*.d $(MUSL_OUT)/tests/golden/*.d)
