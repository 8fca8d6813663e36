// The commands: each function describes one of them for the table in main.cpp.
#pragma once

#include "cli/arguments.hpp"
#include "cli/console.hpp"

namespace armdb::cli {

Command create_command();  // commands_entries.cpp
Command get_command();
Command put_command();
Command erase_command();
Command scan_command();    // command_scan.cpp
Command load_command();    // command_load.cpp
Command dump_command();    // command_dump.cpp
Command stat_command();    // command_stat.cpp
Command verify_command();  // commands_care.cpp
Command compact_command();
Command checkpoint_command();
Command repair_command();   // command_repair.cpp
Command encrypt_command();  // command_keys.cpp
Command decrypt_command();
Command rekey_command();
Command bench_command();  // command_bench.cpp
#if !defined(ARMDB_OMIT_REPLICATION)
Command serve_command();   // command_serve.cpp
Command follow_command();  // commands_replication.cpp
Command promote_command();
Command lag_command();
#endif

}  // namespace armdb::cli
