//! The program that every veth peer of a director's interface needs: it passes each packet.
//!
//! A veth takes frames that its peer sends by XDP_TX only while it runs an XDP program itself. Two
//! instructions do, so they are written out here instead of a whole object.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

use super::namespace::Namespace;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TYPE_XDP: u32 = 6;

/// Attaches the program to `interface` in driver mode. It stays until the interface goes.
pub fn attach(namespace: &Namespace, interface: &str) -> Result<()> {
    let program = load().context("cannot load the XDP program that passes everything")?;
    // bpftool takes a program by id, so that nothing needs to be pinned for the hand-over.
    let id = id_of(&program)?;
    namespace.run("bpftool", &["net", "attach", "xdpdrv", "id", &id, "dev", interface])?;
    Ok(())
}

/// The first fields of the kernel's `union bpf_attr` for BPF_PROG_LOAD; the rest counts as zero.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

fn load() -> Result<OwnedFd> {
    // r0 = 2 (XDP_PASS); exit
    let instructions: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
    let mut name = [0; 16];
    name[..8].copy_from_slice(b"lvs_pass");
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: 2,
        instructions: instructions.as_ptr() as u64,
        licence: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
        name,
    };
    // SAFETY: the attributes, and the instructions and licence they point to, live until the call returns;
    // the kernel only reads them, and no more than the size that is handed over.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<LoadAttributes>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the kernel has just returned this descriptor to us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(libc::c_int::try_from(result)?) })
}

fn id_of(program: &OwnedFd) -> Result<String> {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    let text = fs::read_to_string(&path)?;
    text.lines()
        .find_map(|line| line.strip_prefix("prog_id:"))
        .map(|id| id.trim().to_owned())
        .with_context(|| format!("{path} names no program"))
}
