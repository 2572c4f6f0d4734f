//! What is written is read; what nobody has written harms nobody.

use lvs_common::address::Address;
use lvs_common::service::ServiceKey;
use proptest::prelude::*;

use super::super::DestinationKey;
use super::super::wire::{Body, Cell, CellEntry, DATAGRAM, Header, NUMBERS, Told, WireError, decode, encode};

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![any::<[u8; 4]>().prop_map(Address::from_v4), any::<[u8; 16]>().prop_map(Address::from_v6),]
}

fn name() -> impl Strategy<Value = (u32, DestinationKey)> {
    let service = (address(), any::<u16>(), any::<u8>())
        .prop_map(|(address, port, protocol)| ServiceKey::new(address, port, protocol));
    (0..NUMBERS, service, address(), any::<u16>(), any::<u8>()).prop_map(
        |(number, service, address, port, forward)| {
            (number, DestinationKey { service, address, port, forward })
        },
    )
}

fn cell() -> impl Strategy<Value = Cell> {
    let entry =
        (1_u8..=10, any::<bool>(), address(), any::<u16>(), any::<Option<u16>>(), 0..NUMBERS, any::<u32>());
    let entry =
        entry.prop_map(|(state, is_embryonic, client, client_port, virtual_port, destination, age)| {
            Cell::Entry(CellEntry {
                state,
                is_embryonic,
                client,
                client_port,
                virtual_port,
                destination,
                age,
            })
        });
    prop_oneof![Just(Cell::Unsaid), Just(Cell::Empty), entry]
}

fn cells() -> impl Strategy<Value = Vec<Told>> {
    prop::collection::btree_map(0_u32..1 << 26, [cell(), cell(), cell(), cell()], 0..8)
        .prop_map(|cells| cells.into_iter().map(|(bucket, cells)| Told { bucket, cells }).collect())
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        any::<(u8, u8)>().prop_map(|(oldest, newest)| Body::Join { oldest, newest }),
        (0_u32..1 << 26).prop_map(|buckets| Body::Offer { buckets }),
        prop::collection::vec(name(), 0..20).prop_map(Body::Names),
        cells().prop_map(Body::Cells),
        any::<(u32, u32, u32)>().prop_map(|(total, left, waiting)| Body::Progress { total, left, waiting }),
        any::<(u64, u64)>().prop_map(|(highest, bits)| Body::Report { highest, bits }),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    any::<(u64, u64, u64)>().prop_map(|(session, receiver, sequence)| Header {
        version: 1,
        session,
        receiver,
        sequence,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(header in header(), body in body()) {
        let datagram = encode(&header, &body);
        prop_assert_eq!(decode(&datagram), Ok((header, body)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..DATAGRAM + 100)) {
        decode(&bytes).ok();
    }

    /// Behind a good header, where it gets interesting. What is understood can be said again.
    #[test]
    fn any_body_is_read_or_refused(kind in 0_u8..8, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let header = Header { version: 1, session: 1, receiver: 2, sequence: 3 };
        let mut datagram = encode(&header, &Body::Names(Vec::new()));
        datagram[5] = kind;
        datagram.extend(bytes);
        if let Ok((header, body)) = decode(&datagram) {
            prop_assert_eq!(decode(&encode(&header, &body)), Ok((header, body)));
        }
    }

    /// A datagram with a byte changed, missing or too much.
    #[test]
    fn nearly_good_datagrams_are_read_or_refused(
        header in header(), body in body(), at: prop::sample::Index, to: u8, end: prop::sample::Index,
    ) {
        let mut datagram = encode(&header, &body);
        let at = at.index(datagram.len());
        datagram[at] = to;
        decode(&datagram).ok();
        datagram.truncate(end.index(datagram.len() + 1));
        decode(&datagram).ok();
    }
}

#[test]
fn a_handshake_is_understood_in_every_version() {
    let header = Header { version: 200, session: 1, receiver: 2, sequence: 0 };
    let join = Body::Join { oldest: 1, newest: 200 };
    let mut datagram = encode(&header, &join);
    datagram.extend(b"what a later version adds");
    assert_eq!(decode(&datagram), Ok((header, join)));
    let datagram = encode(&header, &Body::Progress { total: 1, left: 1, waiting: 1 });
    assert_eq!(decode(&datagram), Err(WireError::Version(200)));
}

/// What was encoded once is understood for ever: the bytes of version 1.
#[test]
fn version_1_stays_as_it_is() {
    let header = Header { version: 1, session: 2, receiver: 3, sequence: 4 };
    let entry = CellEntry {
        state: 1,
        is_embryonic: false,
        client: Address::from_v4([192, 0, 2, 1]),
        client_port: 4000,
        virtual_port: None,
        destination: 5,
        age: 300,
    };
    let told = Told { bucket: 130, cells: [Cell::Unsaid, Cell::Empty, Cell::Entry(entry), Cell::Unsaid] };
    let datagram = encode(&header, &Body::Cells(vec![told]));
    let mut expected = b"LVSC\x01\x04\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04".to_vec();
    expected.extend(b"\x82\x01\x46\x01\x05\xc0\0\x02\x01\x0f\xa0\xac\x02");
    assert_eq!(datagram, expected);
    let key = DestinationKey {
        service: ServiceKey::new(Address::from_v4([10, 0, 0, 3]), 80, 6),
        address: Address::from_v4([10, 0, 0, 11]),
        port: 8080,
        forward: 2,
    };
    let datagram = encode(&header, &Body::Names(vec![(7, key)]));
    assert_eq!(datagram[32..], *b"\x07\0\x0a\0\0\x03\0\x50\x06\x0a\0\0\x0b\x1f\x90\x02");
}
