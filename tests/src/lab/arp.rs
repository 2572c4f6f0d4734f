//! Who claims an address on a wire: answers to ARP and neighbour solicitations, and announcements unasked for.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lvs_userspace::network::Mac;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::namespace::Namespace;

/// How long a watch may take to notice that it is over.
const TICK: Duration = Duration::from_millis(50);

/// An address is said to be at a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// After the start of the watch.
    pub time: Duration,
    pub address: IpAddr,
    /// What neighbours learn, which need not be the source of the frame.
    pub mac: Mac,
    /// Nobody has asked: an ARP packet about the address from the address (RFC 5227 3), or a neighbour
    /// advertisement that is not solicited (RFC 4861 4.4).
    pub gratuitous: bool,
}

/// Each change of who claims the address, in order: since when, and which MAC. One holder gives one entry,
/// however often it claims.
pub fn who_answers(claims: &[Claim], address: IpAddr) -> Vec<(Duration, Mac)> {
    let of_address = claims.iter().filter(|claim| claim.address == address);
    let mut holders: Vec<_> = of_address.map(|claim| (claim.time, claim.mac)).collect();
    holders.dedup_by_key(|(_, mac)| *mac);
    holders
}

/// MAC of a machine's interface.
pub fn mac(namespace: &Namespace, interface: &str) -> Result<Mac> {
    let links: serde_json::Value =
        serde_json::from_str(&namespace.run("ip", &["-j", "link", "show", interface])?)?;
    let text = links[0]["address"].as_str().context("the interface has no MAC")?;
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<Vec<_>, _>>()?;
    bytes.as_slice().try_into().with_context(|| format!("{text} is no MAC"))
}

/// A watch on an interface, for some addresses. Dropped without [`ArpWatch::stop`], it ends by itself.
#[derive(Debug)]
pub struct ArpWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    stop: AtomicBool,
    claims: Mutex<Vec<Claim>>,
}

impl ArpWatch {
    /// Begins to watch, and misses no claim after the return. The machine's own claims count as well.
    ///
    /// # Errors
    /// There is no such interface, or it cannot be listened to.
    pub fn start(namespace: &Namespace, interface: &str, addresses: &[IpAddr]) -> Result<Self> {
        // A socket stays in the namespace where it was opened, whoever uses it.
        let socket = namespace
            .enter(|| listen(interface))
            .with_context(|| format!("cannot watch {interface} of namespace {}", namespace.name()))?;
        let shared = Arc::new(Shared {
            start: Instant::now(),
            stop: AtomicBool::new(false),
            claims: Mutex::new(Vec::new()),
        });
        let thread = thread::spawn({
            let (shared, addresses) = (Arc::clone(&shared), addresses.to_vec());
            move || watch(socket, &addresses, &shared)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What the times of claims are counted from.
    pub fn begun(&self) -> Instant {
        self.shared.start
    }

    /// The claims so far, in order.
    pub fn claims(&self) -> Vec<Claim> {
        self.shared.claims().clone()
    }

    /// # Errors
    /// The interface went away, or the watch failed otherwise: claims may be missing.
    pub fn stop(mut self) -> Result<Vec<Claim>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(self.claims())
    }
}

impl Drop for ArpWatch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn claims(&self) -> MutexGuard<'_, Vec<Claim>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch(mut socket: Socket, addresses: &[IpAddr], shared: &Shared) -> Result<()> {
    let mut buffer = [0; 2048];
    loop {
        // What was there before the end is still taken.
        let last_round = shared.stop.load(Ordering::Relaxed);
        match socket.read(&mut buffer) {
            Ok(length) => {
                let time = shared.start.elapsed();
                if let Some((address, mac, gratuitous)) = claim(&buffer[..length])
                    && addresses.contains(&address)
                {
                    shared.claims().push(Claim { time, address, mac, gratuitous });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if last_round {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The interface was set down; it may come up again.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
            Err(error) => return Err(error).context("listening for claims"),
        }
    }
}

/// A socket that hears claims on one interface, in both directions.
fn listen(interface: &str) -> Result<Socket> {
    let index = if_nametoindex(interface)?;
    // As `socket(2)` wants it: in the byte order of the network.
    let everything = i32::from((libc::ETH_P_ALL as u16).to_be());
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(everything)))?;
    socket.attach_filter(&filter(index))?;
    // What came in before the filter was there may be of another interface.
    socket.set_nonblocking(true)?;
    let mut buffer = [0; 64];
    while (&socket).read(&mut buffer).is_ok() {}
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket)
}

/// EtherTypes, and where a frame has what this file reads (RFC 826; RFC 8200 3; RFC 4861 4.4 and 4.6.1).
const ETHER_TYPE: usize = 12;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const ARP_SENDER: usize = 22;
const ARP_SENDER_ADDRESS: usize = 28;
const ARP_TARGET_ADDRESS: usize = 38;
const NEXT_HEADER: usize = 20;
const ICMPV6: u8 = 58;
const ICMPV6_TYPE: usize = 54;
const ADVERTISEMENT: u8 = 136;
const FLAGS: usize = 58;
const SOLICITED: u8 = 0x40;
const ADVERTISED: usize = 62;
/// The option for the target's link-layer address, of one unit of eight bytes.
const OPTION: usize = 78;
const TARGET_LINK_ADDRESS: [u8; 2] = [2, 1];

/// Lets ARP and neighbour advertisements of one interface through, so that a busy wire cannot crowd them out.
fn filter(interface: u32) -> [SockFilter; 11] {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_ABS;
    let load = |size: u32, offset: u32| SockFilter::new((LOAD | size) as u16, 0, 0, offset);
    let equal = |value: u32, yes: u8, no: u8| {
        SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, yes, no, value)
    };
    let pass = |length: u32| SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, length);
    // Jumps are relative to the next instruction; the last but one refuses, the last accepts.
    [
        load(libc::BPF_W, (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX).cast_unsigned()),
        equal(interface, 0, 7),
        load(libc::BPF_H, ETHER_TYPE as u32),
        equal(ARP.into(), 6, 0),
        equal(IPV6.into(), 0, 4),
        load(libc::BPF_B, NEXT_HEADER as u32),
        equal(ICMPV6.into(), 0, 2),
        load(libc::BPF_B, ICMPV6_TYPE as u32),
        equal(ADVERTISEMENT.into(), 1, 0),
        pass(0),
        pass(u32::MAX),
    ]
}

/// Address, MAC, and whether nobody had asked.
fn claim(frame: &[u8]) -> Option<(IpAddr, Mac, bool)> {
    match u16::from_be_bytes(array(frame, ETHER_TYPE)?) {
        ARP => {
            // Whatever it is for: neighbours learn from the sender of requests and answers alike (RFC 826).
            let sender = Ipv4Addr::from(array::<4>(frame, ARP_SENDER_ADDRESS)?);
            let target = Ipv4Addr::from(array::<4>(frame, ARP_TARGET_ADDRESS)?);
            Some((sender.into(), array(frame, ARP_SENDER)?, sender == target))
        }
        IPV6 if frame.get(NEXT_HEADER) == Some(&ICMPV6) && frame.get(ICMPV6_TYPE) == Some(&ADVERTISEMENT) => {
            let address = Ipv6Addr::from(array::<16>(frame, ADVERTISED)?);
            // An answer may leave the option out: then it is the source of the frame.
            let given = array(frame, OPTION) == Some(TARGET_LINK_ADDRESS);
            let mac = if given { array(frame, OPTION + 2)? } else { array(frame, 6)? };
            Some((address.into(), mac, frame.get(FLAGS)? & SOLICITED == 0))
        }
        _ => None,
    }
}

fn array<const LENGTH: usize>(frame: &[u8], offset: usize) -> Option<[u8; LENGTH]> {
    frame.get(offset..offset + LENGTH)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDER: Mac = [2, 0, 0, 0, 0, 1];
    const OTHER: Mac = [2, 0, 0, 0, 0, 2];

    fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let header = [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
        [&OTHER[..], &OTHER, &header, &HOLDER, &sender, &OTHER, &target].concat()
    }

    fn advertisement(flags: u8, option: &[u8]) -> Vec<u8> {
        let vip = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0x100).octets();
        let ip = [0x60, 0, 0, 0, 0, 24, ICMPV6, 255];
        let icmp = [ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
        [&OTHER[..], &OTHER, &[0x86, 0xdd], &ip, &vip, &vip, &icmp, &vip, option].concat()
    }

    #[test]
    fn arp_claims_its_senders_address() {
        let vip = IpAddr::from([10, 1, 0, 100]);
        assert_eq!(claim(&arp([10, 1, 0, 100], [10, 1, 0, 1])), Some((vip, HOLDER, false)));
        assert_eq!(claim(&arp([10, 1, 0, 100], [10, 1, 0, 100])), Some((vip, HOLDER, true)));
        // A question about the VIP claims nothing of it.
        assert_ne!(claim(&arp([0; 4], [10, 1, 0, 100])).map(|(address, ..)| address), Some(vip));
        assert_eq!(claim(&arp([10, 1, 0, 100], [10, 1, 0, 1])[..41]), None);
    }

    #[test]
    fn an_advertisement_claims_its_target() {
        let vip: IpAddr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0x100).into();
        let option = [&TARGET_LINK_ADDRESS[..], &HOLDER].concat();
        assert_eq!(claim(&advertisement(0x60, &option)), Some((vip, HOLDER, false)));
        assert_eq!(claim(&advertisement(0x20, &option)), Some((vip, HOLDER, true)));
        assert_eq!(claim(&advertisement(0x40, &[])), Some((vip, OTHER, false)));
    }

    #[test]
    fn holders_are_told_by_their_changes() {
        let vip = IpAddr::from([10, 1, 0, 100]);
        let claim = |seconds, mac, address| Claim {
            time: Duration::from_secs(seconds),
            address,
            mac,
            gratuitous: true,
        };
        let other = IpAddr::from([10, 1, 0, 101]);
        let claims =
            [claim(1, HOLDER, vip), claim(2, HOLDER, vip), claim(3, OTHER, other), claim(4, OTHER, vip)];
        let changes = [(Duration::from_secs(1), HOLDER), (Duration::from_secs(4), OTHER)];
        assert_eq!(who_answers(&claims, vip), changes);
    }
}
