// What every program's main() does around its work: arguments, errors, exit codes.
//   0 done   1 failed, with one line on stderr   2 wrong usage   128 + n ended by signal n
// Standard output holds only what was asked for.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <string_view>

#include "graph/error.h"

namespace l2a {

// The text with its control characters as \xNN: what a file says of itself may not move the cursor.
std::string printable(std::string_view text);

// Prints "program: text" on stderr as one line, printable.
void print_error(const char* program, std::string_view text);

// Prints on standard output, at once. Throws Error when it cannot be written, as on a full disk.
void print(std::string_view text);

// For options that name a file: an unset variable in a script is the usual reason for an empty one.
CLI::Validator not_empty();

// A usage error once every option is read: what `conflict` says is wrong with them together; empty when nothing is.
void refuse_conflicts(CLI::App& app, std::function<std::string()> conflict);

// On signals that end the program, removes unfinished output files and exits with 128 + the signal.
// Signals that are ignored stay so (nohup).
void clean_up_on_signals();

// What a program says of itself with --help.
struct ProgramText {
  const char* name;
  const char* description;
  const char* examples;
};

// All of a program: readies the process, has `add_options` say what the command line may hold, reads it, and runs `body`,
// whose value is the exit code. What any of it throws becomes one line and exit code 1.
int run_program(const ProgramText& program, int argc, const char* const* argv,
                const std::function<void(CLI::App&)>& add_options,
                const std::function<int()>& body);

}  // namespace l2a
