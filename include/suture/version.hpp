// What this program is. The version comes from the file VERSION; the revision from whoever builds a release or an image
// (cmake -DSUTURE_REVISION=...): a build in a working tree has none, because it could not say what it was made from.
#pragma once

#include <string>

namespace suture {

const char* revision();      // "" if none was given
std::string version_text();  // "0.1.0", or "0.1.0 (revision 0123456789ab)"

}  // namespace suture
