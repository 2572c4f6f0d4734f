//! Brings the program for what leaves to an interface's egress: a filter of the classifier `bpf`, in the qdisc
//! `clsact` that every kernel has. (Links, as the XDP program's, are there from Linux 6.6 on only.)
//!
//! The filter has a place of its own, so that putting it there again replaces the program between two packets
//! and never makes a second one. It outlives the agent, as the links do.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use lvs_common::names;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};

use super::error::EgressError;
use super::{netlink, syscall};

/// Among an interface's filters ours comes first: a filter behind one that redirects sees nothing.
const PRIORITY: u16 = 1;
/// "lvs". Other filters of the classifier `bpf` may share the priority.
const HANDLE: u32 = 0x6c_7673;

const CLSACT: &str = "clsact";
const EGRESS: TcHandle = TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_EGRESS };
const INGRESS: TcHandle = TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_INGRESS };

/// Puts the program on the interface, or in the place of an earlier agent's.
pub(super) fn attach(program: BorrowedFd<'_>, index: u32, directory: &Path) -> Result<(), EgressError> {
    match qdisc(index).map_err(EgressError::Query)? {
        Some(kind) if kind != CLSACT => return Err(EgressError::Qdisc(kind)),
        Some(_) => {}
        None => make_qdisc(index, directory)?,
    }
    let others = filters(index, EGRESS).map_err(EgressError::Query)?;
    if let Some(other) = others.into_iter().find(Filter::is_in_the_way) {
        return Err(EgressError::Occupied { kind: other.kind, name: other.name, priority: PRIORITY });
    }
    let mut message = place(index);
    let options = [
        TcFilterBpfOption::ProgFd(program.as_raw_fd() as u32),
        TcFilterBpfOption::ProgName(names::PROGRAM_EGRESS.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    message.attributes.push(TcAttribute::Options(options.map(TcOption::Bpf).to_vec()));
    netlink::change(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE).map_err(EgressError::Add)
}

/// Takes the program off the interface, and the qdisc with it if it was made for it and nobody else uses it.
pub(super) fn detach(index: u32, directory: &Path) -> Result<(), EgressError> {
    if is_attached(index).map_err(EgressError::Query)? {
        let message = place(index);
        gone_already(netlink::change(RouteNetlinkMessage::DelTrafficFilter(message), 0))
            .map_err(EgressError::Remove)?;
    }
    if mark(directory, index).exists() {
        let used = |parent| filters(index, parent).map(|filters| !filters.is_empty());
        if !(used(EGRESS).map_err(EgressError::Query)? || used(INGRESS).map_err(EgressError::Query)?) {
            let message = clsact(index);
            gone_already(netlink::change(RouteNetlinkMessage::DelQueueDiscipline(message), 0))
                .map_err(EgressError::Remove)?;
        }
    }
    forget(directory, index)
}

/// Whether the program is on the interface.
pub(super) fn is_attached(index: u32) -> io::Result<bool> {
    Ok(filters(index, EGRESS)?.iter().any(Filter::is_ours))
}

/// For an interface that is gone: its index may become another's.
pub(super) fn forget(directory: &Path, index: u32) -> Result<(), EgressError> {
    let path = mark(directory, index);
    match fs::remove_file(&path) {
        Err(reason) if reason.kind() != io::ErrorKind::NotFound => Err(EgressError::Mark { path, reason }),
        _ => Ok(()),
    }
}

/// Says that the interface's qdisc is ours to remove. The file system holds nothing but pins, so it is one more
/// pin of a map.
fn mark(directory: &Path, index: u32) -> PathBuf {
    directory.join(format!("clsact_{index}"))
}

/// Marked first: one that an agent leaves behind when it dies here is removed by the next.
fn make_qdisc(index: u32, directory: &Path) -> Result<(), EgressError> {
    let path = mark(directory, index);
    if !path.exists() {
        let pinned = syscall::open_pin(&directory.join(names::SETTINGS));
        pinned
            .and_then(|map| syscall::pin(map.as_fd(), &path))
            .map_err(|reason| EgressError::Mark { path, reason })?;
    }
    let message = clsact(index);
    netlink::change(RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_EXCL)
        .map_err(EgressError::Add)
}

fn message(index: u32, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index as i32;
    message.header.parent = parent;
    message
}

fn clsact(index: u32) -> TcMessage {
    let mut message = message(index, TcHandle::CLSACT);
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.attributes.push(TcAttribute::Kind(CLSACT.to_owned()));
    message
}

/// Where our filter stands.
fn place(index: u32) -> TcMessage {
    let mut message = message(index, EGRESS);
    message.header.handle = TcHandle::from(HANDLE);
    let all_protocols = (libc::ETH_P_ALL as u16).to_be();
    message.header.info = u32::from(PRIORITY) << 16 | u32::from(all_protocols);
    message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
    message
}

/// The kind of the qdisc in the place of `clsact`.
fn qdisc(index: u32) -> io::Result<Option<String>> {
    match netlink::get(RouteNetlinkMessage::GetQueueDiscipline(message(index, TcHandle::CLSACT))) {
        Ok(Some(RouteNetlinkMessage::NewQueueDiscipline(message))) => Ok(kind_of(&message)),
        Ok(_) => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Debug)]
struct Filter {
    priority: u16,
    handle: u32,
    kind: String,
    /// Only of the classifier `bpf`.
    name: String,
}

impl Filter {
    fn is_ours(&self) -> bool {
        (self.priority, self.handle, self.name.as_str()) == (PRIORITY, HANDLE, names::PROGRAM_EGRESS)
    }

    fn is_in_the_way(&self) -> bool {
        let same_place = self.kind == TcFilterBpf::KIND && self.handle != HANDLE;
        self.priority == PRIORITY && !same_place && !self.is_ours()
    }
}

/// The filters on one side of the interface.
fn filters(index: u32, parent: TcHandle) -> io::Result<Vec<Filter>> {
    let answers = netlink::dump(RouteNetlinkMessage::GetTrafficFilter(message(index, parent)))?;
    let filters = answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(message) => Some(filter(message)),
        _ => None,
    });
    // With the handle 0 the kernel tells of a priority, not of a filter.
    Ok(filters.filter(|filter| filter.handle != 0).collect())
}

fn filter(message: &TcMessage) -> Filter {
    let options = message.attributes.iter().flat_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.as_slice(),
        _ => &[],
    });
    let mut names = options.filter_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.clone()),
        _ => None,
    });
    Filter {
        priority: (message.header.info >> 16) as u16,
        handle: message.header.handle.into(),
        kind: kind_of(message).unwrap_or_default(),
        name: names.next().unwrap_or_default(),
    }
}

fn kind_of(message: &TcMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.clone()),
        _ => None,
    })
}

/// What is to be removed may have gone with its interface.
fn gone_already(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(()),
        other => other,
    }
}
