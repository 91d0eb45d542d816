#include "tests/examples/program.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "convert/convert.h"
#include "tests/convert/checkpoint_folder.h"

extern char** environ;

namespace l2a::test {
namespace {

constexpr unsigned kMostSeconds = 60;

// In the child, between fork and exec: nothing that allocates.
void limit(int resource, const std::optional<std::size_t>& most) {
  if (!most) return;
  const rlimit value{*most, *most};
  setrlimit(static_cast<__rlimit_resource>(resource), &value);
}

void replace(int stream, int file) {
  dup2(file, stream);
  if (file > STDERR_FILENO) close(file);
}

std::vector<std::string> environment_of(const Setup& setup) {
  std::vector<std::string> variables = setup.environment;
  variables.emplace_back("TERM=xterm");
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view variable = *entry;
    if (!variable.starts_with("TERM=") && !variable.starts_with("NO_COLOR=")) {
      variables.emplace_back(variable);
    }
  }
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& string : strings) result.push_back(string.data());
  result.push_back(nullptr);
  return result;
}

int open_terminal() {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(terminal >= 0);
  REQUIRE(grantpt(terminal) == 0);
  REQUIRE(unlockpt(terminal) == 0);
  return terminal;
}

std::set<std::string> names_in(const std::filesystem::path& folder) {
  std::set<std::string> names;
  if (folder.empty()) return names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

}  // namespace

bool has_terminals() {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0) return false;
  ::close(terminal);
  return true;
}

std::string model(std::string_view checkpoint_name, Dtype type) {
  static const TemporaryFolder folder;
  static std::map<std::string, bool> converted;
  const std::string name =
      std::string(checkpoint_name) + "-" + std::string(dtype_name(type)) + ".gguf";
  const std::string path = (folder / name).string();
  if (!std::exchange(converted[name], true)) {
    ConvertOptions options;
    options.source = checkpoint(checkpoint_name);
    options.target = path;
    options.type = type;
    convert_checkpoint(options);
  }
  return path;
}

Program::Program(const std::string& name, std::vector<std::string> arguments, const Setup& setup) {
  arguments.insert(arguments.begin(), std::string(L2A_PROGRAMS) + "/" + name);
  const std::vector<char*> argv = pointers(arguments);
  std::vector<std::string> variables = environment_of(setup);
  const std::vector<char*> envp = pointers(variables);
  const std::string in = logs_.write("in", setup.text).string();
  const std::string out = setup.output == Output::full ? "/dev/full" : (logs_ / "out").string();
  const std::string err = (logs_ / "err").string();
  std::string terminal_name;
  if (setup.on_terminal) {
    terminal_ = open_terminal();
    terminal_name = ptsname(terminal_);
  }
  std::array<int, 2> unwritten{-1, -1};
  std::array<int, 2> unread{-1, -1};
  if (setup.input == Input::pipe) REQUIRE(pipe2(unwritten.data(), O_CLOEXEC) == 0);
  if (setup.output == Output::unread) {
    REQUIRE(pipe2(unread.data(), O_CLOEXEC) == 0);
    close(unread[0]);
  }
  constexpr int kCreate = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  child_ = fork();
  REQUIRE(child_ >= 0);
  if (child_ == 0) {
    alarm(kMostSeconds);
    if (setup.on_terminal) {
      setsid();  // so that the terminal opened next is this process's own, and sends it Ctrl-C
      const int terminal = open(terminal_name.c_str(), O_RDWR);
      for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(terminal, stream);
      if (terminal > STDERR_FILENO) close(terminal);
    } else {
      replace(STDIN_FILENO, setup.input == Input::pipe ? unwritten[0] : open(in.c_str(), O_RDONLY));
      replace(STDOUT_FILENO,
              setup.output == Output::unread ? unread[1] : open(out.c_str(), kCreate, 0644));
      replace(STDERR_FILENO, open(err.c_str(), kCreate, 0644));
      if (setup.input == Input::closed) close(STDIN_FILENO);
      if (setup.output == Output::closed) close(STDOUT_FILENO);
      if (setup.error_closed) close(STDERR_FILENO);
    }
    limit(RLIMIT_FSIZE, setup.largest_file);
    limit(RLIMIT_AS, setup.largest_memory);
    if (setup.ignored_signal) signal(*setup.ignored_signal, SIG_IGN);
    execve(argv[0], argv.data(), envp.data());
    _exit(126);
  }
  for (const int end : {unwritten[0], unread[1]}) {
    if (end >= 0) close(end);
  }
  held_pipe_ = unwritten[1];
}

Program::~Program() {
  if (is_running()) {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  for (const int file : {terminal_, held_pipe_}) {
    if (file >= 0) close(file);
  }
}

bool Program::is_running() {
  int status = 0;
  if (!status_ && wait4(child_, &status, WNOHANG, &used_) == child_) status_ = status;
  return !status_;
}

void Program::send(int signal) const { kill(child_, signal); }

void Program::read_terminal() {
  pollfd ready{terminal_, POLLIN, 0};
  std::array<char, 4096> piece;
  while (poll(&ready, 1, 0) > 0 && (ready.revents & POLLIN) != 0) {
    const ssize_t count = read(terminal_, piece.data(), piece.size());
    if (count <= 0) return;
    screen_.append(piece.data(), static_cast<std::size_t>(count));
  }
}

std::string Program::shown() {
  if (terminal_ < 0) return read_file(logs_ / "out");
  read_terminal();
  return screen_;
}

template <class Condition>
bool Program::wait_until(Condition holds) {
  while (true) {
    const bool running = is_running();  // before looking, so that its last words are not missed
    if (holds()) return true;
    if (!running) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

bool Program::shows(std::string_view text) {
  return wait_until([&] { return contains(shown(), text); });
}

bool Program::shows_more_than(std::size_t bytes) {
  return wait_until([&] { return shown().size() > bytes; });
}

void Program::type(std::string_view keys) const {
  CHECK(write(terminal_, keys.data(), keys.size()) == static_cast<ssize_t>(keys.size()));
}

Ended Program::wait() {
  while (is_running()) {
    if (terminal_ >= 0) read_terminal();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return {WIFEXITED(*status_) ? WEXITSTATUS(*status_) : -WTERMSIG(*status_), shown(),
          read_file(logs_ / "err"), static_cast<std::size_t>(used_.ru_maxrss) * 1024};
}

Ended run(const std::string& name, std::vector<std::string> arguments, const Setup& setup) {
  return Program(name, std::move(arguments), setup).wait();
}

void check_fails(const std::string& name, const std::vector<std::string>& arguments, int code,
                 std::initializer_list<std::string_view> says, const Setup& setup,
                 const std::filesystem::path& folder) {
  std::string command = name;
  for (const std::string& argument : arguments) command.append(1, ' ').append(argument, 0, 80);
  CAPTURE(command);
  const std::set<std::string> before = names_in(folder);
  const Ended ended = run(name, arguments, setup);
  CHECK(ended.code == code);
  CHECK(ended.out == "");
  CHECK(ended.err.starts_with(name + ": "));
  CAPTURE(ended.err);
  CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);
  CHECK(ended.err.ends_with('\n'));
  for (const std::string_view said : says) {
    CAPTURE(said);
    CHECK(contains(ended.err, said));
  }
  CHECK(names_in(folder) == before);
}

}  // namespace l2a::test
