#include "examples/common/main_wrapper.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <sstream>
#include <string>

#include "convert/temporary_file.h"

namespace l2a {
namespace {

void handle_signal(int signal) {
  remove_temporary_files();
  ::_exit(128 + signal);
}

}  // namespace

void print_error(const char* program, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string line = concat(program, ": ");
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      line += c;
    } else {
      line += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  std::cerr << line + "\n";
}

std::optional<int> parse_arguments(const char* program, CLI::App& app, int argc,
                                   const char* const* argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    print_error(program, concat(error.what(), " (see ", program, " --help)"));
    return 2;
  }
  return std::nullopt;
}

void clean_up_on_signals() {
  struct sigaction action {};
  action.sa_handler = handle_signal;
  sigfillset(&action.sa_mask);
  for (const int signal : std::array{SIGINT, SIGTERM, SIGHUP}) {
    ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace l2a
