//! Frames for people: what a parser makes of them, and the bytes.

use std::fmt::Write as _;

use etherparse::LaxSlicedPacket;

/// Both frames of a comparison that failed, decoded and in hexadecimal, and where they differ.
pub fn difference(expected: &[u8], found: &[u8]) -> String {
    let at = expected.iter().zip(found).position(|(left, right)| left != right);
    let place = match at {
        Some(at) => format!("first difference at byte {at} ({at:#06x})"),
        None => format!("same bytes, but {} expected and {} found", expected.len(), found.len()),
    };
    format!("{place}\n  expected {}\n  found    {}", frame(expected), frame(found))
}

/// One frame.
pub fn frame(bytes: &[u8]) -> String {
    format!("{} bytes: {}\n{}", bytes.len(), decoded(bytes), hexadecimal(bytes))
}

fn decoded(bytes: &[u8]) -> String {
    match LaxSlicedPacket::from_ethernet(bytes) {
        Err(error) => format!("cannot be decoded: {error}"),
        Ok(packet) => {
            let mut text = String::new();
            for part in [
                packet.link.map(|link| format!("{:?}", link.to_header())),
                packet.net.map(|net| format!("{net:?}")),
                packet.transport.map(|transport| format!("{transport:?}")),
            ]
            .into_iter()
            .flatten()
            {
                write!(text, "\n    {}", shortened(&part)).ok();
            }
            if let Some((error, layer)) = packet.stop_err {
                write!(text, "\n    {layer}: {error}").ok();
            }
            text
        }
    }
}

/// Debug output repeats the payload as numbers, which the dump below shows better.
fn shortened(text: &str) -> String {
    const LENGTH: usize = 700;
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    const LINES: usize = 24;
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate().take(LINES) {
        write!(text, "    {:04x} ", line * 16).ok();
        for byte in chunk {
            write!(text, " {byte:02x}").ok();
        }
        text.push('\n');
    }
    if bytes.len() > LINES * 16 {
        text.push_str("    ...\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_its_place() {
        let text = difference(&[0; 20], &[0, 0, 0, 1]);
        assert!(text.starts_with("first difference at byte 3 (0x0003)"), "{text}");
        assert!(text.contains("0010  00 00 00 00"), "{text}");
        assert!(difference(&[0; 2], &[0; 3]).starts_with("same bytes, but 2 expected and 3 found"));
    }
}
