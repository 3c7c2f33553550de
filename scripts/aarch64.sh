#!/usr/bin/env bash
# Provides a Rust cross toolchain for aarch64-unknown-linux-gnu from Debian's packages, and qemu to run what it builds.
# Everything of Rust is unpacked into .cache/aarch64, so the Rust of the system stays as it is; the C cross compiler and qemu
# are installed, which needs root. Prints the environment to use. Does nothing when all is there.
# Usage:  source <(scripts/aarch64.sh) && cargo build --target aarch64-unknown-linux-gnu
set -euo pipefail

dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.cache/aarch64

# The name of the first package that $1 depends on and that matches $2.
dependency() {
  apt-cache depends "$1" | awk -v pattern="^$2$" '$1 == "Depends:" && $2 ~ pattern { print $2; exit }'
}

install() {
  export DEBIAN_FRONTEND=noninteractive
  dpkg --add-architecture arm64
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
  # rustc-web is the newest Rust that a stable Debian carries; its library of the host is needed to run the compiler, that
  # of arm64 to link against.
  local std llvm unpacked=$dir/unpacked
  std=$(dependency libstd-rust-web-dev 'libstd-rust-web-[0-9.]+')
  llvm=$(dependency "$std" 'libllvm[0-9]+')
  rm -rf "$dir"
  mkdir -p "$unpacked" "$dir/packages"
  (cd "$dir/packages" && apt-get download -qq rustc-web "$std" "$llvm" libstd-rust-web-dev libstd-rust-web-dev:arm64)
  local package
  for package in "$dir"/packages/*.deb; do
    dpkg -x "$package" "$unpacked"
  done
  rm -r "$dir/packages"
  local tool
  # rustc comes last: an interrupted installation is made again.
  for tool in rustdoc rustc; do
    cat >"$dir/$tool.part" <<EOF
#!/bin/sh
LD_LIBRARY_PATH=$unpacked/usr/lib/x86_64-linux-gnu exec $unpacked/usr/bin/$tool "\$@"
EOF
    chmod +x "$dir/$tool.part"
    "$dir/$tool.part" --version
    mv "$dir/$tool.part" "$dir/$tool"
  done
}

if [ ! -x "$dir/rustc" ] || ! command -v qemu-aarch64-static >/dev/null || ! command -v aarch64-linux-gnu-gcc >/dev/null; then
  install >&2
fi
cat <<EOF
export RUSTC=$dir/rustc
export RUSTDOC=$dir/rustdoc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
EOF
