{
  "targets": [
    {
      "target_name": "tandem",
      "sources": ["<!@(sed 's#^#addon/#' addon/sources.txt)"],
      "include_dirs": ["addon/src", "bpf/include", "<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti"],
      "cflags_cc": ["-std=gnu++17", "-fexceptions", "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-Wno-stringop-overflow", "-Wno-maybe-uninitialized", "-Wno-cast-function-type", "-Wno-unused-parameter"],
      "libraries": ["-lbpf", "-lnghttp2", "-lre2", "-lpthread"]
    }
  ]
}
