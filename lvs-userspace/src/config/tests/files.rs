//! Files that are no configuration at all, and files made to hurt.

use std::fs;

use super::*;

/// What is said about a file with this content.
fn said_of_file(content: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lvs.yaml");
    fs::write(&path, content).unwrap();
    let text = load(&path).unwrap_err().to_string();
    text.replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn what_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let name = directory.path().display().to_string();
    let said = load(directory.path()).unwrap_err().to_string();
    assert_eq!(said, format!("{name}: this is a directory; expected a YAML file"));
    let said = load(&directory.path().join("x.yaml")).unwrap_err().to_string();
    assert_eq!(said, format!("{name}/x.yaml: there is no such file; expected a YAML file"));
}

#[test]
fn binary_garbage_is_refused_at_its_place() {
    assert_eq!(
        said_of_file(b"version: 1\nna\xc3\xafve: \xff\xfe"),
        "lvs.yaml:2:8: byte 0xff is not UTF-8; expected a YAML text in UTF-8"
    );
    assert_eq!(
        said_of_file(b"\x7fELF\x02\x01\x01\x00"),
        "lvs.yaml:1:1: unexpected character: `\\u{7f}'; expected one document of valid YAML\n  1 |  ELF\n    | ^"
    );
}

#[test]
fn a_huge_file_is_not_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lvs.yaml");
    // A hole of 1 TiB: takes no room, and reading all of it would take minutes.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let said = load(&path).unwrap_err().to_string();
    assert_eq!(said, format!("{}: larger than 16 MiB; expected a configuration of lvsd", path.display()));
}

#[test]
fn a_byte_order_mark_is_no_mistake() {
    let text = fs::read_to_string(repository("examples/www.yaml")).unwrap();
    parse(&format!("\u{feff}{text}"), "lvs.yaml").unwrap();
    parse(&text.replace('\n', "\r\n"), "lvs.yaml").unwrap();
}

#[test]
fn deep_nesting_and_alias_bombs_end_early() {
    let bomb = (1..12).fold("x0: &x0 [0]\n".to_owned(), |text, level| {
        let below = vec![format!("*x{}", level - 1); 10].join(", ");
        format!("{text}x{level}: &x{level} [{below}]\n")
    });
    let too_many = "more values than any configuration needs, with aliases unfolded";
    for (text, what) in [
        ("[".repeat(100_000), "recursion limit exceeded"),
        ("{a: ".repeat(100_000), "recursion limit exceeded"),
        ("- ".repeat(100_000), "nested deeper than 32 levels"),
        (bomb, too_many),
    ] {
        let diagnostics = parse(&text, "lvs.yaml").unwrap_err();
        assert_eq!(diagnostics.mistakes.len(), 1, "{diagnostics}");
        assert_eq!(diagnostics.mistakes[0].what, what);
    }
}

#[test]
fn a_mistake_a_million_times_is_told_a_thousand_times() {
    let diagnostics = parse(&"- 1\n".repeat(20_000).replace("- 1", "a: 1"), "lvs.yaml").unwrap_err();
    assert_eq!(diagnostics.mistakes.len(), 1_000);
    let said = diagnostics.to_string();
    assert!(said.ends_with("lvs.yaml: and 19003 more mistakes"), "{}", &said[said.len() - 100..]);
}

#[test]
fn what_the_machine_lacks_is_located_too() {
    let source = Source::read(&repository("examples/nat.yaml")).unwrap();
    let source = Source::new("nat.yaml", source.text());
    let said = source.interface_mistake("eth1", "there is no interface eth1", "expected one of eth0, eth2");
    assert_eq!(
        said.to_string(),
        "nat.yaml:4:20: there is no interface eth1, at interfaces[1]; expected one of eth0, eth2
  4 | interfaces: [eth0, eth1] # clients on eth0, real servers on eth1
    |                    ^^^^"
    );
    let said =
        source.mistake("services[1].real_servers[0].port", "port 5353 is closed", "expected an answer");
    assert_eq!(said.mistakes[0].position, Some((23, 39)));
}
