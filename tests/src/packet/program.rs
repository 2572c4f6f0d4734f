//! BPF_PROG_TEST_RUN with a context: one frame in, one frame out.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What the program returned (`enum xdp_action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Aborted,
    Drop,
    Pass,
    Transmit,
    Redirect,
}

impl Verdict {
    fn from_action(action: u32) -> io::Result<Self> {
        Ok(match action {
            0 => Self::Aborted,
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Transmit,
            4 => Self::Redirect,
            other => return Err(io::Error::other(format!("the program returned {other}"))),
        })
    }
}

const PROG_TEST_RUN: libc::c_int = 10;
/// What the program may add in front: the headroom of XDP.
const HEADROOM: usize = 256;

/// `struct xdp_md`.
#[repr(C)]
#[derive(Default)]
struct Context {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// The part of `union bpf_attr` for this command.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    program: u32,
    return_value: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// Runs `program` once on `frame` as if it had come in by the interface with index `ingress` of the calling
/// thread's network namespace.
pub(super) fn run(program: BorrowedFd<'_>, ingress: u32, frame: &[u8]) -> io::Result<(Verdict, Vec<u8>)> {
    run_rounds(program, ingress, frame, 1)
}

/// Runs it `rounds` times in a row; a round finds the frame as the one before left it. What comes back is of
/// the last.
pub(crate) fn run_rounds(
    program: BorrowedFd<'_>,
    ingress: u32,
    frame: &[u8],
    rounds: u32,
) -> io::Result<(Verdict, Vec<u8>)> {
    let context = Context { data_end: frame.len() as u32, ingress_ifindex: ingress, ..Context::default() };
    let (action, output) = test_run(program, &context, frame, rounds)?;
    Ok((Verdict::from_action(action)?, output))
}

/// The beginning of `struct __sk_buff`, of which only the mark may be set.
#[repr(C)]
#[derive(Default)]
struct Buffer {
    length: u32,
    packet_type: u32,
    mark: u32,
}

/// Whether the classifier `program` lets `frame` leave that has this mark, and in which form.
pub(super) fn run_egress(program: BorrowedFd<'_>, mark: u32, frame: &[u8]) -> io::Result<(bool, Vec<u8>)> {
    /// TC_ACT_UNSPEC and TC_ACT_SHOT of linux/pkt_cls.h.
    const UNSPECIFIED: u32 = u32::MAX;
    const SHOT: u32 = 2;
    match test_run(program, &Buffer { mark, ..Buffer::default() }, frame, 1)? {
        (UNSPECIFIED, output) => Ok((true, output)),
        (SHOT, output) => Ok((false, output)),
        (other, _) => Err(io::Error::other(format!("the program returned {other}"))),
    }
}

/// What the program returned, and the frame as it left it.
fn test_run<C>(
    program: BorrowedFd<'_>,
    context: &C,
    frame: &[u8],
    rounds: u32,
) -> io::Result<(u32, Vec<u8>)> {
    let mut output = vec![0; frame.len() + HEADROOM];
    let mut attributes = Attributes {
        program: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_size_out: output.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: output.as_mut_ptr() as u64,
        repeat: rounds,
        context_size_in: size_of::<C>() as u32,
        context_in: std::ptr::from_ref(context) as u64,
        ..Attributes::default()
    };
    // SAFETY: all three buffers outlive the call and are as long as the attributes say.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_TEST_RUN, &raw mut attributes, size_of::<Attributes>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    output.truncate(attributes.data_size_out as usize);
    Ok((attributes.return_value, output))
}

const MAP_UPDATE_ELEM: libc::c_int = 2;

/// The part of `union bpf_attr` for this command.
#[repr(C)]
struct Element {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Makes `program` the first of a program array. (aya takes none that it has not loaded itself.)
pub(crate) fn set_target(array: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let (key, value) = (0_u32, program.as_raw_fd() as u32);
    let mut element = Element {
        map: array.as_raw_fd() as u32,
        reserved: 0,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    // SAFETY: key and value outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, MAP_UPDATE_ELEM, &raw mut element, size_of::<Element>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
