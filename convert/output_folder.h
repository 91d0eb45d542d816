// An output folder that appears under its name only when all of its files are complete.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace l2a {

// Makes a folder of an unused name beside the target. commit() renames it to the target; without it the destructor
// removes it and what is in it. Every failure throws FileError naming the target.
class OutputFolder {
 public:
  // `names`: of all the files that will be written. Throws when the target exists and is not an empty folder, when
  // its parent is missing or not writable, and when another such folder is being written.
  OutputFolder(const std::filesystem::path& target, const std::vector<std::string>& names);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  std::filesystem::path file(const std::string& name) const { return path_ / name; }
  // The same as it will be called.
  std::filesystem::path shown(const std::string& name) const { return target_ / name; }

  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path path_;
  std::vector<std::string> files_;  // where a signal handler finds them
};

// Removes the folder that is being written, if there is one. Only calls what a signal handler may call; the program
// is to exit right after.
void remove_output_folder() noexcept;

}  // namespace l2a
