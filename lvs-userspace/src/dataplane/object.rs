//! The eBPF objects that this binary carries.

use thiserror::Error;

/// The binary was built before its eBPF objects were.
#[derive(Debug, Error)]
#[error("built without the eBPF programs: run `cargo xtask build-ebpf` and build again")]
pub struct MissingObject;

/// Bytes at an address an ELF reader accepts: the parser casts headers in place, which takes their alignment.
#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

static DIRECTOR: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/director")));
static REALSERVER: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/realserver")));

/// The director's ELF object.
pub fn director() -> Result<&'static [u8], MissingObject> {
    present(&DIRECTOR.0)
}

/// The real server's ELF object.
pub fn realserver() -> Result<&'static [u8], MissingObject> {
    present(&REALSERVER.0)
}

fn present(object: &'static [u8]) -> Result<&'static [u8], MissingObject> {
    if object.is_empty() { Err(MissingObject) } else { Ok(object) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_aligned_elf_files_or_missing() {
        for object in [director(), realserver()] {
            match object {
                Ok(bytes) => {
                    assert_eq!(&bytes[..4], b"\x7fELF");
                    assert_eq!(bytes.as_ptr().align_offset(8), 0);
                }
                Err(missing) => assert!(missing.to_string().contains("cargo xtask build-ebpf")),
            }
        }
    }
}
