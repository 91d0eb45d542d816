#include "convert/temporary_file.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "graph/error.h"
#include "tests/temporary_folder.h"

namespace l2a {
namespace {

using test::contains;
using test::message_of;
using test::read_file;
using test::TemporaryFolder;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST_CASE("a file appears under its name only when it is committed, replacing what was there") {
  const TemporaryFolder folder;
  folder.write("out", "old");
  TemporaryFile file(folder / "out");
  file.write(bytes_of("new text"));
  file.overwrite(4, bytes_of("TEXT"));
  CHECK(read_file(folder / "out") == "old");
  file.commit();
  CHECK(read_file(folder / "out") == "new TEXT");
  CHECK(folder.entries() == 1);
}

TEST_CASE("a file that is not committed leaves nothing, and what was there stays") {
  const TemporaryFolder folder;
  folder.write("out", "old");
  {
    TemporaryFile file(folder / "out");
    file.write(bytes_of("new"));
    CHECK(folder.entries() == 2);
  }
  CHECK(read_file(folder / "out") == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("a target that cannot be written is named and nothing is created") {
  const TemporaryFolder folder;
  CHECK(contains(message_of<FileError>([&] { TemporaryFile(folder / "none/out"); }),
                 "none/out: cannot be created"));
  CHECK(
      contains(message_of<FileError>([&] { TemporaryFile(folder.path()); }), "not a regular file"));
  CHECK(contains(message_of<FileError>([] { TemporaryFile("/dev/null"); }),
                 "/dev/null: exists and is not"));
  CHECK(folder.entries() == 0);
}

TEST_CASE("a full disk is reported and nothing is left") {
  const TemporaryFolder folder;
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 1000;
  const auto previous = signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = message_of<FileError>([&] {
    TemporaryFile file(folder / "out");
    file.write(bytes_of(std::string(5000, 'x')));
  });
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, previous);
  CHECK(contains(message, "out: cannot be written"));
  CHECK(folder.entries() == 0);
}

TEST_CASE("a signal handler can remove the files that are being written") {
  const TemporaryFolder folder;
  folder.write("out", "old");
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGTERM, [](int) {
      remove_temporary_files();
      _exit(7);
    });
    TemporaryFile file(folder / "out");
    file.write(bytes_of("half"));
    raise(SIGTERM);
    _exit(1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 7);
  CHECK(folder.entries() == 1);
  CHECK(read_file(folder / "out") == "old");
}

}  // namespace
}  // namespace l2a
