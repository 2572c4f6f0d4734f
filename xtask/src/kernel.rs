//! Debian's kernels, fetched as packages and unpacked without being installed.
//!
//! apt works with sources, lists and a cache of its own below target/vm: the machine's stay as they are.

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{command, packages};

const MIRROR: &str = "http://deb.debian.org";
const KEYRING: packages::Tool =
    packages::tool("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring");
/// The small kernels for clouds have what the tests need, and virtio.
const FLAVOUR: &str = "-cloud-amd64";

/// A kernel on this disk.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    directory: PathBuf,
}

/// Distributions of Debian that carry a kernel series.
fn suites(version: &str) -> &'static [&'static str] {
    match version {
        "5.10" => &["debian bullseye", "debian-security bullseye-security"],
        "6.1" => &["debian bookworm", "debian-security bookworm-security"],
        "6.12" => &["debian trixie", "debian-security trixie-security"],
        // Whatever came between and after, up to the newest.
        _ => &["debian trixie-backports"],
    }
}

impl Kernel {
    /// The newest kernel of a series such as `6.1`, unpacked below `directory`.
    pub(crate) fn fetch(version: &str, directory: &Path) -> Result<Self> {
        let unpacked = directory.join("unpacked");
        if let Ok(kernel) = Self::find(&unpacked) {
            return Ok(kernel);
        }
        packages::ensure_tools(&[
            packages::tool("apt-get", "apt"),
            packages::tool("dpkg-deb", "dpkg"),
            KEYRING,
        ])?;
        println!("fetching Linux {version} from Debian");
        let apt = Apt::create(&directory.join("apt"), suites(version))?;
        apt.update()?;
        let names = kernel_packages(&apt.names()?, version);
        if names.is_empty() {
            bail!("no package with Linux {version} in {}", suites(version).join(", "));
        }
        let archives = directory.join("archives");
        recreate(&archives)?;
        apt.download(&names, &archives)?;

        // Put in place when complete, so that a broken download is not taken for a kernel.
        let partial = directory.join("partial");
        recreate(&partial)?;
        for archive in files(&archives)? {
            command::run(Command::new("dpkg-deb").arg("--extract").args([&archive, &partial]))?;
        }
        Self::find(&partial)?;
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked)?;
        }
        fs::rename(&partial, &unpacked).with_context(|| format!("cannot make {}", unpacked.display()))?;
        fs::remove_dir_all(&archives)?;
        Self::find(&unpacked)
    }

    fn find(directory: &Path) -> Result<Self> {
        // Modules are below /usr since Debian 13, and since 7.2 the image is with them.
        let image = find_file(directory, &|name| name.starts_with("vmlinuz"))?;
        Ok(Self {
            image: image.ok_or_else(|| anyhow!("no kernel in {}", directory.display()))?,
            directory: directory.to_owned(),
        })
    }

    /// A module by its name, as a `.ko` or `.ko.xz`; none when it is built in.
    pub(crate) fn module(&self, name: &str) -> Result<Option<PathBuf>> {
        find_file(&self.directory, &|file| {
            file.strip_prefix(name).is_some_and(|rest| rest.starts_with(".ko"))
        })
    }
}

/// A file below a directory whose name passes.
fn find_file(directory: &Path, passes: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for path in files(&directory)? {
            if path.is_dir() && !path.is_symlink() {
                directories.push(path);
            } else if path.file_name().is_some_and(|name| passes(&name.to_string_lossy())) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("cannot read {}", directory.display()))
}

fn recreate(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}

/// The packages of the newest kernel of a series. From 7.0 on it comes in parts.
fn kernel_packages(names: &[String], version: &str) -> Vec<String> {
    let release = |name: &str| -> Option<String> {
        let kernel = ["linux-image-", "linux-binary-", "linux-modules-"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix)?.strip_suffix(FLAVOUR))?;
        let rest = kernel.strip_prefix(version)?;
        // `6.1` is neither the name of a series' metapackage nor the beginning of 6.12.
        rest.starts_with('.').then(|| kernel.to_owned())
    };
    let newest = names.iter().filter_map(|name| release(name)).max_by(|a, b| compare(a, b));
    names.iter().filter(|name| newest.is_some() && release(name) == newest).cloned().collect()
}

/// Compares version numbers part by part.
fn compare(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> Vec<u64> {
        text.split(|character: char| !character.is_ascii_digit())
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    parts(a).cmp(&parts(b))
}

/// An apt of our own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn create(directory: &Path, suites: &[&str]) -> Result<Self> {
        for place in ["lists/partial", "cache/archives/partial", "parts"] {
            let place = directory.join(place);
            fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
        }
        let sources: String = suites
            .iter()
            .map(|suite| format!("deb [signed-by={}] {MIRROR}/{suite} main\n", KEYRING.place))
            .collect();
        let list = directory.join("sources.list");
        fs::write(&list, sources).with_context(|| format!("cannot write {}", list.display()))?;
        let place = |name: &str| directory.join(name).display().to_string();
        Ok(Self {
            options: vec![
                format!("Dir::Etc::SourceList={}", list.display()),
                format!("Dir::Etc::SourceParts={}", place("parts")),
                format!("Dir::State::Lists={}", place("lists")),
                format!("Dir::Cache={}", place("cache")),
                "APT::Architecture=amd64".to_owned(),
                "APT::Sandbox::User=".to_owned(),
                "Acquire::Languages=none".to_owned(),
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
                "Acquire::Retries=3".to_owned(),
            ],
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["--option", option]);
        }
        command
    }

    fn update(&self) -> Result<()> {
        command::run(self.command("apt-get").args(["--quiet", "update"]))
    }

    fn names(&self) -> Result<Vec<String>> {
        let text = command::output(self.command("apt-cache").args(["pkgnames", "linux-"]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn download(&self, names: &[String], directory: &Path) -> Result<()> {
        command::run(self.command("apt-get").current_dir(directory).args(["--quiet", "download"]).args(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_newest_kernel_of_a_series() {
        let all = names(&[
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.1.0-57-amd64",
            "linux-image-6.12.117+deb13-cloud-amd64",
        ]);
        assert_eq!(kernel_packages(&all, "6.1"), ["linux-image-6.1.0-56-cloud-amd64"]);
        assert!(kernel_packages(&all, "6.3").is_empty());
    }

    #[test]
    fn a_kernel_in_parts() {
        let all = names(&[
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
            "linux-modules-7.3.3+deb13-cloud-amd64",
        ]);
        assert_eq!(kernel_packages(&all, "7.3"), all[..3]);
    }
}
