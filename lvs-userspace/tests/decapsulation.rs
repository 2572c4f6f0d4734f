//! The real server's program over whole frames, by BPF_PROG_TEST_RUN: frame in, verdict and frame out.
//! Needs root and the objects of `cargo xtask build-ebpf`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where a step fails")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;

use aya::maps::{HashMap, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lvs_common::address::Address;
use lvs_common::checksum;
use lvs_common::decapsulation::{Listed, Outcome};
use lvs_common::names;
use lvs_userspace::dataplane::object;
use proptest::prelude::*;

const XDP_PASS: u32 = 2;
const IPIP: u8 = 4;
const TCP: u8 = 6;
const IPV6: u8 = 41;

const DIRECTORS: [&str; 2] = ["10.0.0.1", "2001:db8::1"];
const SERVERS: [&str; 2] = ["10.0.0.3", "2001:db8::3"];
const CLIENTS: [&str; 2] = ["198.51.100.7", "2001:db8:c::7"];
const VIPS: [&str; 2] = ["192.0.2.10", "2001:db8:f::10"];

struct Program(Ebpf);

impl Program {
    fn load() -> Self {
        let mut program = EbpfLoader::new().load(object::realserver().unwrap()).unwrap();
        for (name, addresses) in [(names::DIRECTORS, DIRECTORS), (names::VIPS, VIPS)] {
            let mut map: HashMap<_, Address, Listed> = program.map_mut(name).unwrap().try_into().unwrap();
            for address in addresses {
                map.insert(Address::from(ip(address)), Listed { reserved: 0 }, 0).unwrap();
            }
        }
        let xdp: &mut Xdp = program.program_mut(names::PROGRAM_DECAPSULATE).unwrap().try_into().unwrap();
        xdp.load().unwrap();
        Self(program)
    }

    fn run(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; frame.len() + 64];
        let xdp: &Xdp = self.0.program(names::PROGRAM_DECAPSULATE).unwrap().try_into().unwrap();
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..Default::default() };
        let result = xdp.test_run(options).unwrap();
        out.truncate(result.data_size_out as usize);
        (result.return_value, out)
    }

    fn unpacks(&self, what: &str, frame: &[u8], expected: &[u8]) {
        let before = self.counters();
        let (verdict, out) = self.run(frame);
        assert_eq!(verdict, XDP_PASS, "{what}");
        assert_eq!(hex(&out), hex(expected), "{what}");
        self.counted(what, before, Some(Outcome::Unpacked));
    }

    fn leaves(&self, what: &str, frame: &[u8], outcome: Option<Outcome>) {
        let before = self.counters();
        let (verdict, out) = self.run(frame);
        assert_eq!(verdict, XDP_PASS, "{what}");
        assert_eq!(hex(&out), hex(frame), "{what}");
        self.counted(what, before, outcome);
    }

    fn counted(&self, what: &str, before: [u64; 4], outcome: Option<Outcome>) {
        let mut expected = before;
        if let Some(outcome) = outcome {
            expected[outcome as usize] += 1;
        }
        assert_eq!(self.counters(), expected, "{what}");
    }

    fn counters(&self) -> [u64; 4] {
        let map: PerCpuArray<_, u64> = self.0.map(names::DECAPSULATION).unwrap().try_into().unwrap();
        Outcome::ALL.map(|outcome| map.get(&(outcome as u32), 0).unwrap().iter().sum())
    }
}

/// A tunnelled packet, taken apart so that each test can spoil one thing.
#[derive(Clone)]
struct Tunnelled {
    /// Tags, outermost first.
    tags: Vec<u16>,
    outer: Vec<u8>,
    inner: Vec<u8>,
}

impl Tunnelled {
    fn new(outer_family: usize, inner_family: usize) -> Self {
        let inner = packet(CLIENTS[inner_family], VIPS[inner_family], TCP, b"a segment of a connection");
        let carried = if inner_family == 0 { IPIP } else { IPV6 };
        let mut outer = packet(DIRECTORS[outer_family], SERVERS[outer_family], carried, &inner);
        outer.truncate(outer.len() - inner.len());
        Self { tags: Vec::new(), outer, inner }
    }

    fn frame(&self) -> Vec<u8> {
        let payload: Vec<_> = [self.outer.as_slice(), &self.inner].concat();
        ethernet(&self.tags, &payload)
    }

    fn unpacked(&self) -> Vec<u8> {
        ethernet(&self.tags, &self.inner)
    }

    /// Changes the outer IPv4 header and sets its checksum right again.
    fn outer_v4(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.outer);
        set_checksum(&mut self.outer);
        self
    }
}

/// All mixes, with their names: 4in4, 6in4, 4in6, 6in6.
fn mixes() -> impl Iterator<Item = (String, Tunnelled)> {
    let family = |index| if index == 0 { 4 } else { 6 };
    [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().map(move |(outer, inner)| {
        (format!("{}in{}", family(inner), family(outer)), Tunnelled::new(outer, inner))
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn packet(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (ip(source), ip(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4(source, destination, protocol, payload),
        (IpAddr::V6(source), IpAddr::V6(destination)) => ipv6(source, destination, protocol, payload),
        _ => panic!("two families"),
    }
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = (20 + payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x45, 0, total[0], total[1], 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    set_checksum(&mut packet);
    packet.extend(payload);
    packet
}

fn set_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum::finish(checksum::add_bytes(0, header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next_header, 64];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// The ethertype follows from the packet's version.
fn ethernet(tags: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend(100_u16.to_be_bytes());
    }
    frame.extend(if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [0x08, 0x00] });
    frame.extend(packet);
    frame
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_mix_is_unpacked_tagged_or_not() {
    let program = Program::load();
    for (mix, tunnelled) in mixes() {
        for tags in [vec![], vec![0x8100], vec![0x88a8]] {
            let tunnelled = Tunnelled { tags, ..tunnelled.clone() };
            let what = format!("{mix}, tags {:x?}", tunnelled.tags);
            program.unpacks(&what, &tunnelled.frame(), &tunnelled.unpacked());
        }
    }
}

#[test]
fn padding_stays_behind_the_packet() {
    let program = Program::load();
    for (mix, tunnelled) in mixes() {
        let pad = |frame: Vec<u8>| [frame, vec![0xaa; 6]].concat();
        program.unpacks(&mix, &pad(tunnelled.frame()), &pad(tunnelled.unpacked()));
    }
}

#[test]
fn only_directors_are_listened_to_and_only_for_the_vips() {
    let program = Program::load();
    for (mix, tunnelled) in mixes() {
        let stranger = match tunnelled.outer[0] >> 4 {
            4 => tunnelled.clone().outer_v4(|outer| outer[15] = 2),
            _ => {
                let mut stranger = tunnelled.clone();
                stranger.outer[23] = 2;
                stranger
            }
        };
        program.leaves(&format!("{mix} from a stranger"), &stranger.frame(), Some(Outcome::NotFromDirector));
        let mut other = tunnelled;
        let last = if other.inner[0] >> 4 == 4 { 19 } else { 39 };
        other.inner[last] = 11;
        program.leaves(&format!("{mix} for another address"), &other.frame(), Some(Outcome::NotForVip));
    }
}

#[test]
fn a_frame_cut_anywhere_is_left_as_it_is() {
    let program = Program::load();
    for (mix, mut tunnelled) in mixes() {
        for tags in [vec![], vec![0x8100]] {
            tunnelled.tags = tags;
            let frame = tunnelled.frame();
            // The kernel takes no shorter frame than an Ethernet header.
            for length in 14..frame.len() {
                let (verdict, out) = program.run(&frame[..length]);
                assert_eq!(verdict, XDP_PASS, "{mix} cut to {length}");
                assert_eq!(hex(&out), hex(&frame[..length]), "{mix} cut to {length}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_left_to_the_kernel() {
    let program = Program::load();
    let unfit = Some(Outcome::Unfit);
    for inner in [0, 1] {
        let tunnelled = Tunnelled::new(0, inner);
        let options = tunnelled.clone().outer_v4(|outer| {
            outer[0] = 0x46;
            outer[3] += 4;
            outer.extend([1, 1, 1, 0]);
        });
        program.leaves("IPv4 options", &options.frame(), unfit);
        let first = tunnelled.clone().outer_v4(|outer| outer[6] = 0x20);
        program.leaves("the first fragment", &first.frame(), unfit);
        let last = tunnelled.clone().outer_v4(|outer| outer[6..8].copy_from_slice(&[0x00, 0x10]));
        program.leaves("a later fragment", &last.frame(), unfit);
        let short = tunnelled.clone().outer_v4(|outer| outer[2..4].copy_from_slice(&[0, 19]));
        program.leaves("a length below the header's", &short.frame(), unfit);
        let long = tunnelled.clone().outer_v4(|outer| outer[2] = 1);
        program.leaves("a length beyond the frame", &long.frame(), unfit);
        let mut broken = tunnelled;
        broken.outer[10] ^= 1;
        program.leaves("a wrong checksum", &broken.frame(), unfit);
    }
    for (mix, tunnelled) in mixes() {
        let mut other = tunnelled.clone();
        other.inner[0] = if other.inner[0] >> 4 == 4 { 0x65 } else { 0x40 };
        program.leaves(&format!("{mix}, another version inside"), &other.frame(), unfit);
        let mut long = tunnelled;
        let length = if long.inner[0] >> 4 == 4 { 2 } else { 4 };
        long.inner[length] = 1;
        program.leaves(&format!("{mix}, the inner packet longer than the outer"), &long.frame(), unfit);
    }
    let mut version = Tunnelled::new(1, 1);
    version.outer[0] = 0x50;
    let mut frame = version.frame();
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    program.leaves("an IPv6 frame of version 5", &frame, unfit);
}

#[test]
fn other_traffic_is_none_of_its_business() {
    let program = Program::load();
    for family in [0, 1] {
        let direct = packet(DIRECTORS[family], VIPS[family], TCP, b"from the director itself");
        program.leaves("TCP", &ethernet(&[], &direct), None);
    }
    let mut double = Tunnelled::new(0, 0);
    double.tags = vec![0x88a8, 0x8100];
    program.leaves("two tags", &double.frame(), None);
    let mut arp = Tunnelled::new(0, 0).frame();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    program.leaves("ARP", &arp, None);
    let inner = Tunnelled::new(1, 1).inner;
    let options = [&[IPV6, 0, 1, 4, 0, 0, 0, 0], inner.as_slice()].concat();
    let extended = packet(DIRECTORS[1], SERVERS[1], 60, &options);
    program.leaves("IPv6 extension headers", &ethernet(&[], &extended), None);
}

#[test]
fn a_congestion_mark_is_passed_on_to_who_understands_it() {
    let program = Program::load();
    let (capable, marked) = (0b10, 0b11);
    for (mix, tunnelled) in mixes() {
        let with = |packet: &mut [u8], mark: u8| match packet[0] >> 4 {
            4 => {
                packet[1] = mark;
                set_checksum(&mut packet[..20]);
            }
            _ => packet[1] = mark << 4,
        };
        let mut congested = tunnelled;
        with(&mut congested.outer, marked);
        program.leaves(&format!("{mix}, not understood"), &congested.frame(), Some(Outcome::Unfit));
        with(&mut congested.inner, capable);
        let frame = congested.frame();
        with(&mut congested.inner, marked);
        program.unpacks(&format!("{mix}, understood"), &frame, &congested.unpacked());
        with(&mut congested.outer, 0);
        program.unpacks(&format!("{mix}, marked before"), &congested.frame(), &congested.unpacked());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    /// Bytes turned over anywhere: the frame comes back as it was, or as much shorter as a header is, with
    /// its end as it was.
    #[test]
    fn no_frame_is_mutilated(
        mix in 0..4_usize,
        tagged in any::<bool>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        static PROGRAM: Mutex<Option<Program>> = Mutex::new(None);
        let mut program = PROGRAM.lock().unwrap();
        let program = program.get_or_insert_with(Program::load);
        let mut tunnelled = Tunnelled::new(mix / 2, mix % 2);
        if tagged {
            tunnelled.tags = vec![0x8100];
        }
        let mut frame = tunnelled.frame();
        for (index, value) in flips {
            let place = index.index(frame.len());
            frame[place] ^= value;
        }
        let (verdict, out) = program.run(&frame);
        prop_assert_eq!(verdict, XDP_PASS);
        let link = if tagged { 18 } else { 14 };
        match frame.len() - out.len() {
            0 => prop_assert_eq!(out, frame),
            header @ (20 | 40) => {
                prop_assert_eq!(&out[..12], &frame[..12]);
                // Two bytes of the inner header may get a mark, two its checksum.
                prop_assert_eq!(&out[link + 12..], &frame[link + header + 12..]);
            }
            other => prop_assert!(false, "{} bytes taken off", other),
        }
    }
}
