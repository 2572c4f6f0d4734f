//! Sealing, and the file of keys.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;

const OLD: &str = "2025 an-old-secret-of-some-length";
const NEW: &str = "2026 c0ffeec0ffeec0ffeec0ffeec0ffee00";

fn keyring(lines: &[&str]) -> Keyring {
    Keyring::parse(&lines.join("\n"), Path::new("cluster.key")).unwrap()
}

fn mistake(text: &str) -> String {
    Keyring::parse(text, Path::new("cluster.key")).unwrap_err().to_string()
}

#[test]
fn the_signature_is_openssls() {
    // printf 'LVSC\1\1\0042026hello' | openssl dgst -sha256 -hmac c0ffeec0ffeec0ffeec0ffeec0ffee00
    let expected = "c0445006b0d527c573af5ec15a8fba6adf2ae499325179005836aff03d7a6a3d";
    let datagram = keyring(&[NEW]).seal(Kind::Beat, b"hello");
    let tag: String = datagram[datagram.len() - TAG..].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(tag, expected[..2 * TAG]);
}

/// Every step of a change of keys: spread the new one, use it, remove the old one.
#[test]
fn keys_change_without_a_moment_of_deafness() {
    let steps = [keyring(&[OLD]), keyring(&[OLD, NEW]), keyring(&[NEW, OLD]), keyring(&[NEW])];
    for (one, other) in steps.iter().zip(&steps[1..]) {
        for (sender, receiver) in [(one, other), (other, one)] {
            assert_eq!(receiver.open(Kind::Beat, &sender.seal(Kind::Beat, b"beat")), Ok(&b"beat"[..]));
        }
    }
    let old = steps[0].seal(Kind::Beat, b"beat");
    assert_eq!(steps[3].open(Kind::Beat, &old), Err(Refusal::UnknownKey));
}

#[test]
fn each_fault_is_refused_by_its_name() {
    let keyring = keyring(&[NEW, OLD]);
    let right = keyring.seal(Kind::Beat, b"beat");
    let with = |at: usize, byte: u8| {
        let mut wrong = right.clone();
        wrong[at] = byte;
        keyring.open(Kind::Beat, &wrong).unwrap_err()
    };
    assert_eq!(with(0, b'l'), Refusal::Foreign);
    assert_eq!(with(4, 2), Refusal::Version(2));
    assert_eq!(with(5, 7), Refusal::Kind(7));
    assert_eq!(with(6, 255), Refusal::Short);
    assert_eq!(with(6, 3), Refusal::UnknownKey);
    assert_eq!(with(10, b'7'), Refusal::UnknownKey);
    // The name of a key that there is.
    assert_eq!(with(10, b'5'), Refusal::Signature);
    assert_eq!(with(11, b'B'), Refusal::Signature);
    assert_eq!(with(right.len() - 1, right[right.len() - 1] ^ 1), Refusal::Signature);
    assert_eq!(keyring.open(Kind::Sync, &right), Err(Refusal::Kind(1)));
    assert_eq!(keyring.open(Kind::Beat, &right[..right.len() - 1]), Err(Refusal::Signature));
    assert_eq!(keyring.open(Kind::Beat, &right[..20]), Err(Refusal::Short));
    assert_eq!(keyring.open(Kind::Beat, &[]), Err(Refusal::Short));
}

#[test]
fn a_secret_is_never_shown() {
    assert_eq!(format!("{:?}", keyring(&[NEW, OLD])), r#"["2026", "2025"]"#);
    for text in ["2026 short-secret", "2026 short-secret-of-old and more", "2026 a0a0a0a0a0a0a0a0a0a0"] {
        let mistake = mistake(text);
        assert!(!mistake.contains("short-secret") && !mistake.contains("a0a0"), "{mistake}");
    }
}

#[test]
fn lines_of_the_file_are_read() {
    let text = "# Keys of the cluster\n\n  2026  c0ffeec0ffeec0ffeec0ffeec0ffee00  \r\n2025 an-old-secret-of-some-length";
    let read = Keyring::parse(text, Path::new("cluster.key")).unwrap();
    assert_eq!(read.names().collect::<Vec<_>>(), ["2026", "2025"]);
    assert!(read.open(Kind::Beat, &keyring(&[NEW]).seal(Kind::Beat, b"")).is_ok());
}

#[test]
fn mistakes_in_the_file_are_told_at_their_line() {
    let said = |text: &str| mistake(text).split_once("; expected").unwrap().0.to_owned();
    assert_eq!(said("# nothing\n"), "cluster.key has no key");
    assert_eq!(said("\n2026\n"), "cluster.key:2: the key 2026 has no secret");
    assert_eq!(
        said("2026 fifteen-bytes--"),
        "cluster.key:1: the secret of the key 2026 has 15 bytes, and needs 16"
    );
    assert_eq!(
        said("2026 0123456789abcdef0123456789abcde"),
        "cluster.key:1: the secret of the key 2026 has 31 hexadecimal digits, and needs 32"
    );
    assert_eq!(
        said(&format!("{OLD} # of last year")),
        "cluster.key:1: something follows the secret of the key 2025"
    );
    assert_eq!(said(&format!("{OLD}\n{OLD}")), "cluster.key:2: there is a key 2025 already");
    assert_eq!(
        said("käse an-old-secret-of-some-length"),
        "cluster.key:1: a key's name has up to 32 letters, digits, `.`, `_` and `-`"
    );
    let many: String = (0..17).map(|number| format!("k{number} an-old-secret-of-some-length\n")).collect();
    assert_eq!(said(&many), "cluster.key:17: there are 16 keys already");
}

#[test]
fn a_file_that_others_can_reach_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.key");
    fs::write(&path, NEW).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let mistake = Keyring::load(&path).unwrap_err().to_string();
        assert!(mistake.ends_with(&format!("chmod 600 {}", path.display())), "{mistake}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(Keyring::load(&path).unwrap().names().collect::<Vec<_>>(), ["2026"]);
    }
    let mistake = Keyring::load(&directory.path().join("none")).unwrap_err().to_string();
    assert!(mistake.contains("none") && mistake.contains("No such file"), "{mistake}");
    let mistake = Keyring::load(directory.path()).unwrap_err().to_string();
    assert!(mistake.contains("expected an ordinary one"), "{mistake}");
}

#[test]
fn only_the_user_and_root_may_own_the_file() {
    let facts = |owner| file::Facts { is_file: true, size: 40, owner, mode: 0o600 };
    let check = |owner| facts(owner).check(Path::new("cluster.key"), 1_000);
    assert!(check(0).is_ok() && check(1_000).is_ok());
    let mistake = check(1_001).unwrap_err().to_string();
    assert_eq!(
        mistake,
        "cluster.key belongs to user 1001, who could change the keys; do\n  chown 1000 cluster.key"
    );
    let too_large = file::Facts { size: 65_537, ..facts(0) };
    assert!(too_large.check(Path::new("cluster.key"), 0).is_err());
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened(payload in prop::collection::vec(any::<u8>(), 0..1_500)) {
        let keyring = keyring(&[NEW]);
        for kind in [Kind::Beat, Kind::Sync, Kind::State] {
            let datagram = keyring.seal(kind, &payload);
            prop_assert!(datagram.len() <= payload.len() + OVERHEAD);
            prop_assert_eq!(keyring.open(kind, &datagram), Ok(&payload[..]));
        }
    }

    #[test]
    fn no_bit_can_change(payload in prop::collection::vec(any::<u8>(), 0..40), flip in 1..=255u8) {
        let keyring = keyring(&[NEW, OLD]);
        let right = keyring.seal(Kind::Beat, &payload);
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] ^= flip;
            prop_assert!(keyring.open(Kind::Beat, &wrong).is_err(), "byte {}", at);
        }
    }

    #[test]
    fn no_bytes_are_taken_or_disturb(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        length in any::<u8>(),
        is_ours in any::<bool>(),
    ) {
        let mut datagram = if is_ours { [&MAGIC[..], &[VERSION, Kind::Beat as u8, length]].concat() } else { Vec::new() };
        datagram.extend(bytes);
        prop_assert!(keyring(&[NEW, OLD]).open(Kind::Beat, &datagram).is_err());
    }
}
