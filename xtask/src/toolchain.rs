//! The compiler and the linker for bpfel-unknown-none.
//!
//! `core` is built from source, so the compiler must have its sources beside it; and the linker reads the
//! compiler's bitcode, so both must stand on the same LLVM ("Invalid record" is what a mismatch says).
//! rustup's toolchains come first, Debian's rustc-web with rust-web-src second.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    command,
    packages::{self, Tool},
};

const BPF_LINKER_VERSION: &str = "0.13.0";
/// Debian's compiler of the newest kind, and the sources of its libraries.
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
const DEBIAN_CLIPPY: Tool = packages::tool("/usr/bin/cargo-clippy", "rust-web-clippy");
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The workspace's rust-version, which the eBPF crates share.
const MINIMUM_RUST: (u32, u32) = (1, 95);

/// A compiler that has the sources of `core`.
#[derive(Debug)]
struct Compiler {
    name: String,
    rustc: PathBuf,
    cargo: PathBuf,
    llvm: u32,
}

/// What builds the eBPF objects.
#[derive(Debug)]
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
}

impl Toolchain {
    /// Finds a compiler with a linker that fits it, and installs what is missing where it can.
    pub(crate) fn prepare() -> Result<Self> {
        let mut compilers = installed_compilers();
        if let Some(toolchain) = first_complete(&mut compilers) {
            return Ok(toolchain);
        }
        if compilers.is_empty() {
            compilers.push(install_compiler()?);
        }
        if let Some(toolchain) = first_complete(&mut compilers) {
            return Ok(toolchain);
        }
        let mut errors = Vec::new();
        for compiler in compilers {
            match install_linker(compiler.llvm) {
                Ok(linker) => return Ok(Self { compiler, linker }),
                Err(error) => errors.push(format!("for {}: {error:#}", compiler.name)),
            }
        }
        bail!("no linker for eBPF:\n{}", errors.join("\n"));
    }

    /// One line for the reader: what will be used.
    pub(crate) fn description(&self) -> String {
        let Compiler { name, llvm, .. } = &self.compiler;
        format!("{name} (LLVM {llvm}), {}", self.linker.display())
    }

    /// The compiler alone, which is the same wherever it lies.
    pub(crate) fn compiler(&self) -> String {
        let Compiler { name, llvm, .. } = &self.compiler;
        format!("{name} (LLVM {llvm})")
    }

    /// `cargo build` for the eBPF target. Its files go to `directory`.
    pub(crate) fn build(&self, directory: &Path) -> Command {
        self.cargo(Command::new(&self.compiler.cargo), "build", directory)
    }

    /// `cargo clippy` for the eBPF target, with the clippy of this very compiler: another reads no library
    /// that this one built.
    pub(crate) fn clippy(&self, directory: &Path) -> Result<Command> {
        let clippy = self.compiler.rustc.with_file_name("cargo-clippy");
        if self.compiler.rustc == Path::new(DEBIAN_RUSTC) {
            packages::ensure_tools(&[DEBIAN_CLIPPY])?;
        } else if !clippy.is_file() {
            bail!("{} has no clippy: `rustup component add clippy` brings it", self.compiler.name);
        }
        let mut command = self.cargo(Command::new(clippy), "clippy", directory);
        command.env("CARGO", &self.compiler.cargo);
        Ok(command)
    }

    fn cargo(&self, mut cargo: Command, subcommand: &str, directory: &Path) -> Command {
        let flags = [
            format!("-Clinker={}", self.linker.display()),
            "-Clink-arg=--btf".to_owned(),
            "-Cdebuginfo=2".to_owned(),
            // 32-bit arithmetic and compare-and-exchange, which Linux has had since 5.12.
            "-Ctarget-cpu=v3".to_owned(),
            format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
            // Line information ends up in the object: keep this machine's paths out of it.
            format!("--remap-path-prefix={}/=", command::workspace().display()),
        ];
        cargo
            .current_dir(command::workspace())
            .arg(subcommand)
            .args(["--package", "lvs-ebpf", "--release"])
            .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
            .arg("--target-dir")
            .arg(directory)
            .env("RUSTC", &self.compiler.rustc)
            // `-Z build-std` on a stable compiler.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        // What the cargo that runs this program sets for its own compiler.
        for name in ["RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "LD_LIBRARY_PATH"] {
            cargo.env_remove(name);
        }
        cargo
    }
}

fn first_complete(compilers: &mut Vec<Compiler>) -> Option<Toolchain> {
    let (position, linker) = compilers
        .iter()
        .enumerate()
        .find_map(|(position, compiler)| Some((position, find_linker(compiler.llvm)?)))?;
    Some(Toolchain { compiler: compilers.swap_remove(position), linker })
}

fn installed_compilers() -> Vec<Compiler> {
    let mut compilers: Vec<Compiler> = rustup_toolchains()
        .into_iter()
        .filter_map(|(name, sysroot)| {
            Compiler::probe(
                format!("rustup toolchain {name}"),
                sysroot.join("bin/rustc"),
                sysroot.join("bin/cargo"),
            )
        })
        .collect();
    compilers.extend(debian_compiler());
    compilers
}

fn debian_compiler() -> Option<Compiler> {
    // Debian's cargo is older than its compiler; the one that runs this program will do.
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    Compiler::probe(format!("Debian's {}", DEBIAN_PACKAGES.join(" and ")), DEBIAN_RUSTC.into(), cargo)
}

impl Compiler {
    /// The compiler at `rustc`, if there is one that is new enough and has the sources of `core`.
    fn probe(name: String, rustc: PathBuf, cargo: PathBuf) -> Option<Self> {
        let sysroot = command::output(Command::new(&rustc).args(["--print", "sysroot"])).ok()?;
        let core = "lib/rustlib/src/rust/library/core/src/lib.rs";
        if !Path::new(sysroot.trim()).join(core).is_file() {
            return None;
        }
        let version = command::output(Command::new(&rustc).arg("-vV")).ok()?;
        let (release, llvm) = parse_version(&version)?;
        (release >= MINIMUM_RUST).then_some(Self { name, rustc, cargo, llvm })
    }
}

/// Release (major, minor) and LLVM's major from `rustc -vV`.
fn parse_version(text: &str) -> Option<((u32, u32), u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let mut release = field("release: ")?.split('.').map(|part| part.parse().ok());
    let mut llvm = field("LLVM version: ")?.split('.').map(|part| part.parse().ok());
    Some(((release.next()??, release.next()??), llvm.next()??))
}

/// Name and sysroot of rustup's toolchains, the one in use first.
fn rustup_toolchains() -> Vec<(String, PathBuf)> {
    let Some(home) = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".rustup")))
    else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(home.join("toolchains")) else { return Vec::new() };
    let mut toolchains: Vec<(String, PathBuf)> = entries
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    let current = env::var("RUSTUP_TOOLCHAIN").unwrap_or_default();
    toolchains.sort_by_key(|(name, _)| (*name != current, name.clone()));
    toolchains
}

fn install_compiler() -> Result<Compiler> {
    let advice = || {
        anyhow!(
            "no Rust compiler from {}.{} on with the sources of its libraries. Where rustup is in use: `rustup \
             component add rust-src`. On Debian 12: `apt-get install {}`",
            MINIMUM_RUST.0,
            MINIMUM_RUST.1,
            DEBIAN_PACKAGES.join(" ")
        )
    };
    if !packages::has_apt() || packages::candidate(DEBIAN_PACKAGES[0])?.is_none() {
        return Err(advice());
    }
    packages::install(&DEBIAN_PACKAGES)?;
    debian_compiler().ok_or_else(advice)
}

fn install_linker(llvm: u32) -> Result<PathBuf> {
    let arguments = [
        "install",
        "bpf-linker",
        "--version",
        BPF_LINKER_VERSION,
        "--locked",
        "--no-default-features",
        "--features",
        &format!("llvm-{llvm}"),
    ];
    let prefix = match llvm_prefix(llvm) {
        Some(prefix) => prefix,
        None => {
            install_llvm(llvm).with_context(|| {
                format!(
                    "bpf-linker needs the development files of LLVM {llvm}; install them, then run \
                     `LLVM_PREFIX=<where LLVM {llvm} is> cargo {}`",
                    arguments.join(" ")
                )
            })?;
            llvm_prefix(llvm).ok_or_else(|| anyhow!("llvm-{llvm}-dev is installed, yet not in /usr/lib"))?
        }
    };
    println!("building bpf-linker {BPF_LINKER_VERSION} with LLVM {llvm}, which takes a minute or two");
    // In a place of its own: another bpf-linker that somebody installed stays as it is.
    let root = linker_root(llvm);
    let mut install = command::cargo();
    install.args(arguments).arg("--root").arg(&root).env("LLVM_PREFIX", prefix);
    command::run(&mut install)?;
    Ok(root.join("bin/bpf-linker"))
}

fn linker_root(llvm: u32) -> PathBuf {
    command::target_directory().join(format!("bpf-linker-llvm-{llvm}"))
}

fn install_llvm(llvm: u32) -> Result<()> {
    let package = format!("llvm-{llvm}-dev");
    if !packages::has_apt() {
        bail!("no apt-get here");
    }
    if packages::candidate(&package)?.is_none() {
        bail!("apt has no package {package}");
    }
    packages::install(&[&package, "g++"])
}

/// Where the development files of an LLVM release are, as Debian lays them out.
fn llvm_prefix(major: u32) -> Option<PathBuf> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    prefix.join("include/llvm-c").is_dir().then_some(prefix)
}

/// A bpf-linker that reads the bitcode of this LLVM, or at least does not say that it cannot.
fn find_linker(llvm: u32) -> Option<PathBuf> {
    let own = linker_root(llvm).join("bin/bpf-linker");
    if own.is_file() {
        return Some(own);
    }
    let linker = command::find("bpf-linker").or_else(|| {
        let installed = env::home_dir()?.join(".cargo/bin/bpf-linker");
        installed.is_file().then_some(installed)
    })?;
    linker_llvm(&linker).is_none_or(|major| major == llvm).then_some(linker)
}

/// LLVM's major from the shared library a bpf-linker loads; none for one linked statically.
fn linker_llvm(linker: &Path) -> Option<u32> {
    let libraries = command::output(Command::new("ldd").arg(linker)).ok()?;
    parse_libraries(&libraries)
}

fn parse_libraries(text: &str) -> Option<u32> {
    let name = text.lines().find_map(|line| line.trim().strip_prefix("libLLVM"))?;
    let digits = name.trim_start_matches(|character: char| !character.is_ascii_digit());
    digits.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_a_compiler() {
        let text = "rustc 1.96.0\nbinary: rustc\nrelease: 1.97.0-nightly\nLLVM version: 22.1.8\n";
        assert_eq!(parse_version(text), Some(((1, 97), 22)));
        assert_eq!(parse_version("rustc 1.96.0\n"), None);
    }

    #[test]
    fn llvm_of_a_linker() {
        let debian = "\tlinux-vdso.so.1 (0x0)\n\tlibLLVM.so.22.1 => /usr/lib/libLLVM.so.22.1 (0x0)\n";
        assert_eq!(parse_libraries(debian), Some(22));
        assert_eq!(parse_libraries("\tlibLLVM-19.so.1 => /usr/lib/libLLVM-19.so.1 (0x0)\n"), Some(19));
        assert_eq!(parse_libraries("\tstatically linked\n"), None);
    }
}
