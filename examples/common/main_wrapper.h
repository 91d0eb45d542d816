// What every program's main() does around its work: arguments, errors, exit codes.
//   0 done   1 failed, with one line on stderr   2 wrong usage   128 + n ended by signal n
// Standard output holds only what was asked for.
#pragma once

#include <CLI/CLI.hpp>
#include <exception>
#include <functional>
#include <new>
#include <optional>
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

// Parses the command line. An exit code when the program is to end now: --help and --version print
// to stdout (0), a wrong argument prints one line on stderr (2).
std::optional<int> parse_arguments(const char* program, CLI::App& app, int argc,
                                   const char* const* argv);

// On signals that end the program, removes unfinished output files and exits with 128 + the signal.
// Signals that are ignored stay so (nohup).
void clean_up_on_signals();

// Readies the process: closed standard streams do not become the numbers of files that are opened
// later, and a limit on the size of files is an error of the write, not a signal.
void prepare_process();

// Runs `body`, an `int()`; its value is the exit code. What it throws becomes one line and exit
// code 1.
template <class Body>
int run_program(const char* program, Body body) {
  try {
    prepare_process();
    return body();
  } catch (const std::bad_alloc&) {
    print_error(program, "out of memory");
  } catch (const std::exception& error) {  // l2a::Error, filesystem errors
    print_error(program, error.what());
  }
  return 1;
}

}  // namespace l2a
