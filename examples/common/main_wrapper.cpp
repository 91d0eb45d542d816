#include "examples/common/main_wrapper.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <iostream>
#include <new>
#include <optional>
#include <sstream>
#include <string>

#include "convert/output_folder.h"
#include "convert/temporary_file.h"

namespace l2a {
namespace {

void handle_signal(int signal) {
  remove_temporary_files();
  remove_output_folder();
  ::_exit(128 + signal);
}

// Closed standard streams do not become the numbers of files that are opened later, and a limit on the size of files is an
// error of the write, not a signal.
void prepare_process() {
  for (const int stream : std::array{STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) >= 0) continue;
    // The lowest free number, so this one. The wrong direction: its use fails, as of a closed one.
    ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
  ::signal(SIGXFSZ, SIG_IGN);
}

// An exit code when the program is to end now: --help and --version print to stdout (0), a wrong argument prints one line
// on stderr (2).
std::optional<int> parse_arguments(const char* program, CLI::App& app, int argc,
                                   const char* const* argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    const int code = app.exit(success);
    print("");
    return code;
  } catch (const CLI::ArgumentMismatch& error) {
    // CLI11 says how many values of which internal type it wanted; here every option takes one.
    const std::string text = error.what();
    print_error(program, concat(text.substr(0, text.find(": ")), ": one value was expected (see ",
                                program, " --help)"));
    return 2;
  } catch (const CLI::ParseError& error) {
    print_error(program, concat(error.what(), " (see ", program, " --help)"));
    return 2;
  }
  return std::nullopt;
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      line += c;
    } else {
      line += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return line;
}

void print_error(const char* program, std::string_view text) {
  std::cerr << concat(program, ": ", printable(text), "\n");
}

void print(std::string_view text) {
  if (!(std::cout << text << std::flush)) {
    throw Error(concat("standard output: cannot be written: ", std::strerror(errno)));
  }
}

CLI::Validator not_empty() {
  return {[](std::string& text) { return text.empty() ? "the name is empty" : std::string(); }, ""};
}

void refuse_conflicts(CLI::App& app, std::function<std::string()> conflict) {
  app.final_callback([conflict = std::move(conflict)] {
    if (const std::string text = conflict(); !text.empty()) throw CLI::ValidationError(text);
  });
}

void clean_up_on_signals() {
  struct sigaction action {};
  action.sa_handler = handle_signal;
  sigfillset(&action.sa_mask);
  for (const int signal : std::array{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
  }
}

int run_program(const ProgramText& program, int argc, const char* const* argv,
                const std::function<void(CLI::App&)>& add_options,
                const std::function<int()>& body) {
  try {
    prepare_process();
    CLI::App app(program.description, program.name);
    app.footer(program.examples);
    app.set_version_flag("--version", concat(program.name, " ", L2A_VERSION));
    add_options(app);
    if (const auto code = parse_arguments(program.name, app, argc, argv)) return *code;
    return body();
  } catch (const std::bad_alloc&) {
    print_error(program.name, "out of memory");
  } catch (const std::exception& error) {  // l2a::Error, filesystem errors
    print_error(program.name, error.what());
  }
  return 1;
}

}  // namespace l2a
