// The programs as their users run them: command line, standard streams, exit code.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/dtype.h"
#include "tests/sanitizers.h"
#include "tests/temporary_folder.h"

namespace l2a::test {

// A checkpoint of tests/data as a GGUF file, converted once for all tests.
std::string model(std::string_view checkpoint, Dtype type = Dtype::f32);

enum class Input { text, pipe, closed };           // pipe: stays open, and says nothing
enum class Output { kept, full, closed, unread };  // full: the disk; unread: a pipe nobody reads

struct Setup {
  std::string text;  // on standard input
  Input input = Input::text;
  Output output = Output::kept;
  bool error_closed = false;
  bool on_terminal = false;                   // all three streams are one terminal
  std::optional<std::size_t> largest_file;    // in bytes
  std::optional<std::size_t> largest_memory;  // in bytes of addresses
  std::vector<std::string> environment;       // "NAME=value", beside a plain terminal's
  std::optional<int> ignored_signal;          // as nohup does
};

struct Ended {
  int code;  // -n: killed by signal n
  std::string out, err;
  std::size_t peak_memory = 0;  // bytes that were resident at once
};

// Whether pseudo-terminals can be had: a bare chroot has none, and tests that need one are skipped there.
bool has_terminals();

// A running program. It is killed after a minute, so that no test hangs.
class Program {
 public:
  Program(const std::string& name, std::vector<std::string> arguments, const Setup& setup = {});
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t id() const { return child_; }
  bool is_running();
  void send(int signal) const;

  // What standard output has so far; on a terminal, everything that was shown.
  std::string shown();
  // Waits until it holds `text`; false when the program ends before.
  bool shows(std::string_view text);
  bool shows_more_than(std::size_t bytes);  // likewise
  void type(std::string_view keys) const;   // on the terminal

  Ended wait();

 private:
  void read_terminal();
  template <class Condition>
  bool wait_until(Condition holds);

  TemporaryFolder logs_;
  pid_t child_ = -1;
  int terminal_ = -1;
  int held_pipe_ = -1;
  std::string screen_;
  std::optional<int> status_;
  rusage used_{};
};

Ended run(const std::string& name, std::vector<std::string> arguments, const Setup& setup = {});

// A failure as users should meet it: this exit code, one line on stderr that begins with the program's name and
// holds all of `says`, nothing on stdout, and, where a folder is given, no file in it that was not there before.
void check_fails(const std::string& name, const std::vector<std::string>& arguments, int code,
                 std::initializer_list<std::string_view> says, const Setup& setup = {},
                 const std::filesystem::path& folder = {});

}  // namespace l2a::test
