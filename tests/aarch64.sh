#!/usr/bin/env bash
# Tests of the kernels (core/src/model/local/kernel) for 64-bit ARM, on a machine that is none: compiled for it and run by
# an emulator, as a processor with dot products (NeonDot) and as one without (Neon).
#
#   apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross   # once, as root
#   tests/aarch64.sh [FILTER]                                               # which tests; `local::kernel` if none is given
#
# The standard library for ARM is that of `rustup target add aarch64-unknown-linux-gnu` where it is there. Where it is not,
# a compiler with its libraries comes from the mirror that apt uses (Debian 12 or 13: `rustc-web`, which follows Firefox),
# into target/aarch64-tools; nothing is installed. A first build takes some ten minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu

fetch() {
  mkdir -p "$tools/lists/partial"
  local options=(
    -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=
    -o Dir::State::Lists="$tools/lists" -o Dir::Cache="$tools" -o Debug::NoLocking=1
  )
  apt-get "${options[@]}" --quiet=2 update
  local library llvm
  library=$(apt-cache "${options[@]}" search --names-only '^libstd-rust-web-[0-9.]+$' | sort -V | tail -1 | cut -d' ' -f1)
  llvm=$(apt-cache "${options[@]}" depends "$library" | sed -n 's/.*Depends: \(libllvm.*\)/\1/p')
  (cd "$tools" && apt-get "${options[@]}" --quiet=2 download \
    rustc-web "$library" "$llvm" libstd-rust-web-dev:amd64 libstd-rust-web-dev:arm64)
  for package in "$tools"/*.deb; do dpkg -x "$package" "$tools" && rm "$package"; done
  rm -r "$tools/lists"
}

if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
  tools=$PWD/target/aarch64-tools
  [ -x "$tools/usr/bin/rustc" ] || fetch
  export RUSTC=$tools/usr/bin/rustc LD_LIBRARY_PATH=$tools/usr/lib/x86_64-linux-gnu
fi

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
# A folder of its own: another compiler would build everything in the usual one again.
export CARGO_TARGET_DIR=target/aarch64
for processor in max cortex-a72; do
  echo "== $processor"
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu $processor -L /usr/aarch64-linux-gnu" \
    cargo test --package triune --lib --no-default-features --features local --target $target -- "${1:-local::kernel}"
done
