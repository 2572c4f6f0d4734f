//! Frames, and two directors over loopback.

use std::path::Path;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::wire::{Fault, LARGEST_FRAME, LARGEST_HELLO, Told, hello, open_hello, open_told, told};
use super::*;
use crate::cluster::keys::Kind;
use crate::cluster::refusal::Refusal;

const OWN: Nonce = [1; 16];
const THEIRS: Nonce = [2; 16];
const LIMIT: Duration = Duration::from_secs(20);

fn keyring(secret: &str) -> Keyring {
    Keyring::parse(&format!("key {secret}"), Path::new("cluster.key")).unwrap()
}

fn right() -> Keyring {
    keyring("a-secret-of-some-length")
}

fn wrong() -> Keyring {
    keyring("another-secret-of-some-length")
}

/// A frame without its length, which must be right.
fn sealed(frame: &[u8], most: usize) -> &[u8] {
    let (head, sealed) = frame.split_first_chunk::<4>().unwrap();
    assert_eq!(wire::length(*head, most), Ok(sealed.len()));
    sealed
}

#[test]
fn who_asks_has_read_what_it_was_sent() {
    let frame = hello(&right(), &THEIRS, &OWN);
    let sealed = sealed(&frame, LARGEST_HELLO);
    assert_eq!(open_hello(&right(), sealed, &THEIRS), Ok(OWN));
    // Recorded on another connection.
    assert_eq!(open_hello(&right(), sealed, &OWN), Err(Fault::Foreign));
    assert_eq!(open_hello(&wrong(), sealed, &THEIRS), Err(Fault::Refused(Refusal::Signature)));
    for length in 0..sealed.len() {
        assert!(open_hello(&right(), &sealed[..length], &THEIRS).is_err(), "cut after {length}");
    }
}

#[test]
fn an_answer_is_of_this_connection_and_in_order() {
    for said in [Told::Unchanged, Told::Nothing, Told::State(b"{}")] {
        let frame = told(&right(), &OWN, 7, said);
        let sealed = sealed(&frame, LARGEST_FRAME);
        assert_eq!(open_told(&right(), sealed, &OWN, 7), Ok(said));
        assert_eq!(open_told(&right(), sealed, &THEIRS, 7), Err(Fault::Foreign));
        assert_eq!(open_told(&right(), sealed, &OWN, 8), Err(Fault::Number { given: 7, expected: 8 }));
        assert_eq!(open_told(&wrong(), sealed, &OWN, 7), Err(Fault::Refused(Refusal::Signature)));
        for length in 0..sealed.len() {
            assert!(open_told(&right(), &sealed[..length], &OWN, 7).is_err(), "cut after {length}");
        }
    }
}

/// A frame is not taken for one of the other direction, nor a datagram of another use.
#[test]
fn what_was_sealed_for_another_use_is_refused() {
    let asks = hello(&right(), &THEIRS, &OWN);
    assert_eq!(open_told(&right(), &asks[4..], &THEIRS, 1), Err(Fault::Malformed));
    let tells = told(&right(), &OWN, 1, Told::State(&[0; 16]));
    assert_eq!(open_hello(&right(), &tells[4..], &OWN), Err(Fault::Malformed));
    let beat = right().seal(Kind::Beat, &asks);
    assert_eq!(open_hello(&right(), &beat, &OWN), Err(Fault::Refused(Refusal::Kind(1))));
}

#[test]
fn a_length_is_bounded() {
    assert_eq!(wire::length([0, 0, 0, 9], 9), Ok(9));
    assert_eq!(wire::length([0, 0, 0, 10], 9), Err(Fault::Long { given: 10, most: 9 }));
    assert!(wire::length([255; 4], LARGEST_FRAME).is_err());
}

proptest! {
    #[test]
    fn any_payload_that_is_sealed_is_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..80), kind in 0u8..4) {
        let payload = [&[kind], payload.as_slice()].concat();
        let sealed = right().seal(Kind::State, &payload);
        if open_hello(&right(), &sealed, &OWN).is_ok() {
            prop_assert_eq!(payload.len(), 33);
        }
        if let Ok(Told::State(json)) = open_told(&right(), &sealed, &OWN, 1) {
            prop_assert_eq!(json.len() + 26, payload.len());
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(open_hello(&right(), &bytes, &OWN).is_err());
        prop_assert!(open_told(&right(), &bytes, &OWN, 1).is_err());
    }
}

/// A director at its own loopback address, and the others at theirs.
fn director_among(host: u8, others: &[u8], port: u16, keys: Keyring) -> Exchange<String> {
    let socket = |host| SocketAddr::from(([127, 0, 9, host], port));
    let addresses = others.iter().map(|other| vec![socket(*other)]).collect();
    // What it was at the beginning is enough: the sender may go.
    let (_, addresses) = watch::channel(Arc::new(Addresses(addresses)));
    let settings = Settings {
        here: socket(host),
        peers: others.iter().map(ToString::to_string).collect(),
        addresses,
        keys: Arc::new(move || keys.clone()),
        patience: Duration::from_secs(2),
    };
    Exchange::start(&settings).unwrap()
}

#[test]
fn a_state_of_a_form_that_is_not_known_is_not_understood() {
    let understood = |json: &str| ask::understood::<[u8; 1]>(json.as_bytes());
    let state = understood(r#"{"milliseconds": 1, "version": 3, "state": [1]}"#).unwrap();
    assert_eq!((state.version, state.state), (3, [1]));
    for json in [r#"{"milliseconds": 1, "version": 3, "state": "another"}"#, "{}", ""] {
        // It is asked for less and less.
        assert_eq!(understood(json).unwrap_err().kind(), io::ErrorKind::InvalidData, "{json}");
    }
}

/// One of two.
fn director(host: u8, other: u8, port: u16, keys: Keyring) -> Exchange<String> {
    director_among(host, &[other], port, keys)
}

/// One that is free at all addresses, most likely.
async fn free_port() -> u16 {
    TcpListener::bind(("127.0.9.9", 0)).await.unwrap().local_addr().unwrap().port()
}

fn dated(state: &str) -> Option<Arc<Dated<String>>> {
    Some(Arc::new(Dated { state: state.to_owned(), version: 7, at: Instant::now() }))
}

async fn wait_for_all(exchange: &mut Exchange<String>, expected: impl Fn(&[Heard<String>]) -> bool) {
    let seen = timeout(LIMIT, async {
        while !expected(&exchange.heard()) {
            exchange.changed().await;
        }
    });
    seen.await.unwrap();
}

async fn wait_for(exchange: &mut Exchange<String>, expected: impl Fn(&Heard<String>) -> bool) {
    wait_for_all(exchange, |heard| expected(&heard[0])).await;
}

fn says(state: &'static str) -> impl Fn(&Heard<String>) -> bool {
    move |heard| matches!(heard, Heard::State(dated) if dated.state == state)
}

#[tokio::test]
async fn the_standby_hears_each_state_of_the_active_one() {
    let port = free_port().await;
    let mut standby = director(1, 2, port, right());
    let mut active = director(2, 1, port, right());
    wait_for(&mut standby, |heard| *heard == Heard::Nothing).await;
    wait_for(&mut active, |heard| *heard == Heard::Nothing).await;
    let then = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    active.own().send_replace(Some(Arc::new(Dated { state: "first".to_owned(), version: 1, at: then })));
    wait_for(&mut standby, says("first")).await;
    let [Heard::State(heard)] = &standby.heard()[..] else { panic!("it was heard") };
    let age = heard.at.elapsed();
    assert!(age >= Duration::from_secs(59) && age < Duration::from_secs(60) + LIMIT, "{age:?}");
    active.own().send_replace(dated("second"));
    wait_for(&mut standby, says("second")).await;
    let mut written = active.written();
    timeout(LIMIT, written.wait_for(|written| *written == [Some(7)])).await.unwrap().unwrap();
    assert_eq!(*standby.written().borrow(), [Some(0)], "it has none");
    // Who is active listens as well: the other one may hold another group.
    standby.own().send_replace(dated("of the other one"));
    wait_for(&mut active, says("of the other one")).await;
    active.own().send_replace(None);
    wait_for(&mut standby, |heard| *heard == Heard::Nothing).await;
    assert!(says("of the other one")(&active.heard()[0]));
    drop(standby);
    wait_for(&mut active, |heard| *heard == Heard::Unknown).await;
    timeout(LIMIT, written.wait_for(|written| *written == [None])).await.unwrap().unwrap();
}

/// All standbys hear the active one, whichever that is, and one that is dead holds nobody up.
#[tokio::test]
async fn every_standby_hears_the_active_one_and_its_successor() {
    let port = free_port().await;
    let [first, mut second, mut third] = [(13, [14, 15, 16]), (14, [13, 15, 16]), (15, [13, 14, 16])]
        .map(|(own, others)| director_among(own, &others, port, right()));
    first.own().send_replace(dated("of the first"));
    let of_first = says("of the first");
    for standby in [&mut second, &mut third] {
        wait_for_all(standby, |heard| {
            of_first(&heard[0]) && heard[1] == Heard::Nothing && heard[2] == Heard::Unknown
        })
        .await;
    }
    drop(first);
    second.own().send_replace(dated("of the second"));
    let of_second = says("of the second");
    wait_for_all(&mut third, |heard| heard[0] == Heard::Unknown && of_second(&heard[1])).await;
    let Heard::State(told) = &third.heard()[1] else { panic!("it was heard") };
    assert_eq!(told.version, 7);
}

#[tokio::test]
async fn a_state_of_a_megabyte_comes_whole_and_a_silent_peer_is_forgotten() {
    let port = free_port().await;
    let mut standby = director(3, 4, port, right());
    let active = director(4, 3, port, right());
    let long: &'static str = "x".repeat(1 << 20).leak();
    active.own().send_replace(dated(long));
    wait_for(&mut standby, says(long)).await;
    drop(active);
    wait_for(&mut standby, |heard| *heard == Heard::Unknown).await;
}

/// Asks as somebody with these keys would, and answers with what the director tells, or `None` where it hangs up.
async fn ask_as(keys: &Keyring, from: u8, to: SocketAddr) -> (Option<Vec<u8>>, Vec<u8>) {
    let mut stream = connect(from, to).await;
    let mut theirs = Nonce::default();
    stream.read_exact(&mut theirs).await.unwrap();
    let asks = hello(keys, &theirs, &OWN);
    stream.write_all(&asks).await.unwrap();
    (answer(&mut stream).await, asks)
}

async fn answer(stream: &mut TcpStream) -> Option<Vec<u8>> {
    timeout(LIMIT, read(stream, LARGEST_FRAME)).await.unwrap().ok()
}

async fn connect(from: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 9, from], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn who_has_no_key_repeats_or_says_too_much_gets_no_answer() {
    let port = free_port().await;
    let told = director(5, 6, port, right());
    told.own().send_replace(dated("state"));
    let there = SocketAddr::from(([127, 0, 9, 5], port));
    let (answered, recorded) = ask_as(&right(), 6, there).await;
    let answered = answered.expect("it has the key");
    let Ok(Told::State(json)) = open_told(&right(), &answered, &OWN, 1) else { panic!("{answered:?}") };
    let aged: Aged<String> = serde_json::from_slice(json).unwrap();
    assert_eq!(aged.state, "state");
    assert_eq!(ask_as(&wrong(), 6, there).await.0, None);
    // Not one of the directors.
    let mut stranger = connect(7, there).await;
    assert_eq!(answer(&mut stranger).await, None);
    // What somebody else has said, a frame that is cut off, one that is too long, nothing at all.
    let long = [&(LARGEST_HELLO as u32 + 1).to_be_bytes()[..], &[0; 99]].concat();
    for said in [&recorded[..], &recorded[..recorded.len() - 1], &long, &[]] {
        let mut stream = connect(6, there).await;
        let mut theirs = Nonce::default();
        stream.read_exact(&mut theirs).await.unwrap();
        stream.write_all(said).await.unwrap();
        assert_eq!(answer(&mut stream).await, None, "{} bytes", said.len());
    }
}

/// The frame that is sent to one who has asked with this.
type Attempt<'a> = &'a dyn Fn(&Nonce) -> Vec<u8>;

/// What comes from the other director's address, but is not from it, is not believed.
#[tokio::test]
async fn a_forged_a_recorded_and_a_cut_state_are_not_believed() {
    let port = free_port().await;
    let listener = TcpListener::bind(("127.0.9.8", port)).await.unwrap();
    let mut standby = director(10, 8, port, right());
    let json = br#"{"milliseconds": 0, "state": "forged"}"#;
    let attempts: [Attempt<'_>; 5] = [
        &|own| told(&wrong(), own, 1, Told::State(json)),
        &|_| told(&right(), &THEIRS, 1, Told::State(json)),
        &|own| told(&right(), own, 2, Told::State(json)),
        &|own| told(&right(), own, 1, Told::State(b"{}")),
        &|own| {
            let mut frame = told(&right(), own, 1, Told::State(json));
            frame.truncate(frame.len() - 1);
            frame
        },
    ];
    for (number, attempt) in attempts.into_iter().enumerate() {
        let mut stream = greeted(&listener).await;
        let asks = read(&mut stream, LARGEST_HELLO).await.unwrap();
        let own = open_hello(&right(), &asks, &OWN).unwrap();
        stream.write_all(&attempt(&own)).await.unwrap();
        stream.shutdown().await.unwrap();
        // It hangs up; then it has looked at what came.
        assert_eq!(answer(&mut stream).await, None);
        assert_eq!(standby.heard(), [Heard::Unknown], "attempt {number}");
    }
    let mut stream = greeted(&listener).await;
    let asks = read(&mut stream, LARGEST_HELLO).await.unwrap();
    let own = open_hello(&right(), &asks, &OWN).unwrap();
    let json = br#"{"milliseconds": 0, "state": "right"}"#;
    stream.write_all(&told(&right(), &own, 1, Told::State(json))).await.unwrap();
    wait_for(&mut standby, says("right")).await;
}

async fn greeted(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    stream.write_all(&OWN).await.unwrap();
    stream
}

#[tokio::test]
async fn there_are_no_more_than_a_few_connections() {
    let port = free_port().await;
    let told = director(11, 12, port, right());
    told.own().send_replace(dated("state"));
    let there = SocketAddr::from(([127, 0, 9, 11], port));
    let mut open = Vec::new();
    for _ in 0..MOST {
        let mut stream = connect(12, there).await;
        let mut theirs = Nonce::default();
        stream.read_exact(&mut theirs).await.unwrap();
        open.push(stream);
    }
    let mut surplus = connect(12, there).await;
    assert_eq!(surplus.read(&mut [0; 16]).await.unwrap_or(0), 0);
}
