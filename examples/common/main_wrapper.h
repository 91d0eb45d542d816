// What every program's main() does around its work: arguments, errors, exit codes.
//   0 done   1 failed, with one line on stderr   2 wrong usage   128 + n ended by signal n
#pragma once

#include <CLI/CLI.hpp>
#include <exception>
#include <new>
#include <optional>
#include <string_view>

#include "graph/error.h"

namespace l2a {

// Prints "program: text" on stderr as one line: control characters in the text become \xNN.
void print_error(const char* program, std::string_view text);

// Parses the command line. An exit code when the program is to end now: --help and --version print
// to stdout (0), a wrong argument prints one line on stderr (2).
std::optional<int> parse_arguments(const char* program, CLI::App& app, int argc,
                                   const char* const* argv);

// On SIGINT, SIGTERM and SIGHUP, removes unfinished output files and exits with 128 + the signal.
void clean_up_on_signals();

// Runs `body`, an `int()`; its value is the exit code. What it throws becomes one line and exit
// code 1.
template <class Body>
int run_program(const char* program, Body body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    print_error(program, "out of memory");
  } catch (const std::exception& error) {  // l2a::Error, filesystem errors
    print_error(program, error.what());
  }
  return 1;
}

}  // namespace l2a
