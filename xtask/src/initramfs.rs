//! A file system for a kernel to start from: an archive in cpio's "newc" format.
//!
//! The format is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::command;

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_600;

#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    inodes: u32,
    directories: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// An empty file system with a console: the first process has no output without one.
    pub(crate) fn new() -> Self {
        let mut archive = Self::default();
        archive.directory(Path::new("/dev"));
        archive.entry(Path::new("/dev/console"), CHARACTER_DEVICE, (5, 1), &[]);
        archive
    }

    /// A directory and those above it.
    pub(crate) fn directory(&mut self, path: &Path) {
        let above: Vec<&Path> = path.ancestors().filter(|path| *path != Path::new("/")).collect();
        for directory in above.into_iter().rev() {
            if self.directories.insert(directory.to_owned()) {
                self.entry(directory, DIRECTORY, (0, 0), &[]);
            }
        }
    }

    /// A file with the content and the permissions given.
    pub(crate) fn file(&mut self, path: &Path, mode: u32, content: &[u8]) {
        if let Some(directory) = path.parent() {
            self.directory(directory);
        }
        self.entry(path, REGULAR | mode, (0, 0), content);
    }

    /// A copy of a file of this machine.
    pub(crate) fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let context = || format!("cannot read {}", from.display());
        let content = fs::read(from).with_context(context)?;
        let mode = fs::metadata(from).with_context(context)?.permissions().mode() & 0o777;
        self.file(to, mode, &content);
        Ok(())
    }

    /// An executable of this machine with the shared libraries it loads.
    pub(crate) fn program(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.copy(from, to)?;
        // ldd fails for a static program, which needs nothing.
        let libraries = command::output(Command::new("ldd").arg(from)).unwrap_or_default();
        for library in library_paths(&libraries) {
            self.copy(&library, &library)?;
        }
        Ok(())
    }

    /// The archive, closed.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("TRAILER!!!"), 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &Path, mode: u32, device: (u32, u32), content: &[u8]) {
        self.inodes += 1;
        let name = path.strip_prefix("/").unwrap_or(path).as_os_str().as_encoded_bytes();
        // inode, mode, uid, gid, links, time, size, device (2), special device (2), name's length, checksum
        let fields = [
            self.inodes,
            mode,
            0,
            0,
            1,
            0,
            u32::try_from(content.len()).unwrap_or(u32::MAX),
            0,
            0,
            device.0,
            device.1,
            u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Files named in the output of ldd.
fn library_paths(text: &str) -> Vec<PathBuf> {
    text.lines()
        .flat_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_a_program() {
        let text =
            "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(library_paths(text), [PathBuf::from("/lib/libc.so.6"), PathBuf::from("/lib64/ld.so.2")]);
        assert!(library_paths("\tstatically linked\n").is_empty());
    }

    #[test]
    fn entries_are_aligned_and_directories_come_first() {
        let mut archive = Initramfs::default();
        archive.file(Path::new("/a/b"), 0o755, b"xyz");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let starts: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"070701")).collect();
        assert!(starts.iter().all(|at| at % 4 == 0));
        let names: Vec<&[u8]> = starts
            .iter()
            .map(|at| {
                let name = &bytes[at + 110..];
                &name[..name.iter().position(|byte| *byte == 0).unwrap()]
            })
            .collect();
        assert_eq!(names, [&b"a"[..], b"a/b", b"TRAILER!!!"]);
        assert_eq!(&bytes[starts[1] + 14..starts[1] + 22], b"000081ed", "mode of a regular file, 0755");
    }
}
