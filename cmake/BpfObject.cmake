# bpf_object(NAME SOURCE file.bpf.c HEADERS ...): compiles a BPF program and makes the interface target NAME, whose
# include path has its libbpf skeleton, <stem>.skel.h (struct <stem>_bpf). Needs clang and bpftool, nothing of the build
# machine's kernel: field offsets are CO-RE relocations.
find_program(BPF_CLANG NAMES clang clang-14 clang-15 clang-16 REQUIRED)
find_program(BPFTOOL bpftool PATHS /usr/sbin /sbin REQUIRED)

function(bpf_object name)
  cmake_parse_arguments(ARG "" "SOURCE" "HEADERS" ${ARGN})
  get_filename_component(stem ${ARG_SOURCE} NAME_WE)
  set(dir ${CMAKE_CURRENT_BINARY_DIR}/${name})
  file(MAKE_DIRECTORY ${dir})
  set(object ${dir}/${stem}.bpf.o)
  set(skeleton ${dir}/${stem}.skel.h)
  add_custom_command(OUTPUT ${object}
    COMMAND ${BPF_CLANG} -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -target bpf -mcpu=v3 -fno-strict-aliasing
      -I${CMAKE_SOURCE_DIR}/include -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
      -c ${CMAKE_CURRENT_SOURCE_DIR}/${ARG_SOURCE} -o ${object}
    DEPENDS ${ARG_SOURCE} ${ARG_HEADERS}
    COMMENT "BPF ${ARG_SOURCE}" VERBATIM)
  add_custom_command(OUTPUT ${skeleton}
    COMMAND sh -c "\"$1\" gen skeleton \"$2\" name ${stem}_bpf > \"$3\"" sh ${BPFTOOL} ${object} ${skeleton}
    DEPENDS ${object} COMMENT "BPF skeleton ${stem}.skel.h" VERBATIM)
  add_custom_target(${name}_skeleton DEPENDS ${skeleton})
  add_library(${name} INTERFACE)
  add_dependencies(${name} ${name}_skeleton)
  target_include_directories(${name} SYSTEM INTERFACE ${dir}) # generated: not held to our warnings
endfunction()
