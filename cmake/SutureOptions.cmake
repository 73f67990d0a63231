# The flags that every target of ours gets, as one interface target, and the one way to declare a library.
add_library(suture_options INTERFACE)
target_compile_options(suture_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual -Werror)
# Boost 1.81's coroutine headers and g++ 12 disagree about these two in optimised builds (false positives in headers).
# It also believes that std::string + char* writes out of bounds (GCC PR 105651), which -Wno-restrict alone hides only
# while <string> is not precompiled.
target_compile_options(suture_options INTERFACE
  -Wno-maybe-uninitialized -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow)
target_compile_definitions(suture_options INTERFACE
  BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION
  BOOST_ASIO_DISABLE_BOOST_COROUTINE NOMINMAX SUTURE_VERSION="${PROJECT_VERSION}")
if(SUTURE_SANITIZE)
  target_compile_options(suture_options INTERFACE
    -fsanitize=${SUTURE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(suture_options INTERFACE -fsanitize=${SUTURE_SANITIZE})
  if(SUTURE_SANITIZE STREQUAL "thread")
    # Asio uses atomic_thread_fence, which TSan does not model; g++ warns of it in Asio's own headers.
    target_compile_options(suture_options INTERFACE -Wno-tsan)
  endif()
endif()

# Precompiled: what half of the files include and what takes longest to read. Every file still includes what it uses
# (the tidy build, CMAKE_DISABLE_PRECOMPILE_HEADERS, has none of this).
# NOMINMAX above is what gRPC's pkg-config file defines: one set of definitions, or the precompiled headers do not fit.
target_compile_options(suture_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess> # for ccache
  $<$<COMPILE_LANGUAGE:CXX>:-Wno-error=invalid-pch>)
set(SUTURE_PRECOMPILED
  <algorithm> <array> <chrono> <cstdint> <functional> <map> <memory> <optional> <set> <span> <string> <string_view>
  <unordered_map> <utility> <variant> <vector>
  <boost/asio/io_context.hpp> <boost/asio/ip/tcp.hpp> <boost/asio/steady_timer.hpp>)

# suture_library(NAME SOURCES ... DEPENDS ...): one per folder. DEPENDS are DESIGN.md's arrows; there are no others.
# CONTROL: off the data path. What takes g++ a minute a file (Beast in coroutines, CLI11) is compiled without
# optimisation in sanitizer builds.
function(suture_library name)
  cmake_parse_arguments(ARG "CONTROL" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC suture_options ${ARG_DEPENDS})
  if(ARG_CONTROL AND SUTURE_SANITIZE)
    target_compile_options(${name} PRIVATE -O0)
  elseif(name STREQUAL "suture_common")
    target_precompile_headers(${name} PRIVATE ${SUTURE_PRECOMPILED})
  else()
    target_precompile_headers(${name} REUSE_FROM suture_common)
  endif()
endfunction()
