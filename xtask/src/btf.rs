//! Makes the type information of an eBPF object acceptable to the kernel.
//!
//! bpf-linker writes the variants of a Rust enum as a union whose members keep their offsets, and the kernel
//! takes no union with a member that does not start at 0 (`Invalid member bits_offset`). It then refuses the
//! type information as a whole, and with it every map that names its types. Only enums of the programs' own
//! are concerned: shared types have none. So the offset is dropped.
//!
//! Formats: ELF-64 Object File Format; the kernel's Documentation/bpf/btf.rst.

use anyhow::{Context, Result, bail};

const SECTION: &[u8] = b".BTF\0";
const MAGIC: u16 = 0xeb9f;
const TYPE_SIZE: usize = 12;
const MEMBER_SIZE: usize = 12;

/// Kinds of BTF types, as far as they are followed by something.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const ENUM64: u32 = 19;
    /// The newest kind this file knows the size of.
    pub(super) const LAST: u32 = ENUM64;
}

/// Lets every member of every union of a little-endian ELF object start at 0, in place. Gives their number.
pub(crate) fn align_unions(object: &mut [u8]) -> Result<usize> {
    let start = find_section(object).context("cannot read the sections of the object")?;
    let types = types(object, start).context("cannot read the header of .BTF")?;
    let mut moved = 0;
    let mut at = types.start;
    while at < types.end {
        let info = read_u32(object, at + 4).context("a type of .BTF is cut off")?;
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let members = at + TYPE_SIZE;
        let next = members
            + match kind {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => count * MEMBER_SIZE,
                kind::ENUM | kind::FUNC_PROTO => count * 8,
                0..=kind::LAST => 0,
                _ => bail!("unknown kind {kind} of type in .BTF"),
            };
        if next > types.end || next > object.len() {
            bail!("a type of .BTF is cut off");
        }
        if kind == kind::UNION {
            for member in object[members..next].chunks_exact_mut(MEMBER_SIZE) {
                let offset = &mut member[8..];
                if offset.iter().any(|byte| *byte != 0) {
                    offset.fill(0);
                    moved += 1;
                }
            }
        }
        at = next;
    }
    Ok(moved)
}

/// Where the section .BTF starts.
fn find_section(object: &[u8]) -> Option<usize> {
    let headers = usize::try_from(read_u64(object, 0x28)?).ok()?;
    let size = usize::from(read_u16(object, 0x3a)?);
    let count = usize::from(read_u16(object, 0x3c)?);
    let names = usize::from(read_u16(object, 0x3e)?);
    let offset = |index: usize| usize::try_from(read_u64(object, headers + index * size + 0x18)?).ok();
    let names = offset(names)?;
    let named = |index: &usize| -> Option<bool> {
        let name = names + read_u32(object, headers + index * size)? as usize;
        Some(object.get(name..)?.starts_with(SECTION))
    };
    offset((0..count).find(|index| named(index) == Some(true))?)
}

/// Where the types of the .BTF section at `start` are.
fn types(object: &[u8], start: usize) -> Option<std::ops::Range<usize>> {
    if read_u16(object, start)? != MAGIC {
        return None;
    }
    let field = |offset| Some(read_u32(object, start + offset)? as usize);
    let first = start + field(4)? + field(8)?;
    Some(first..first + field(12)?)
}

fn read<const N: usize>(object: &[u8], at: usize) -> Option<[u8; N]> {
    object.get(at..at + N)?.try_into().ok()
}

fn read_u16(object: &[u8], at: usize) -> Option<u16> {
    read(object, at).map(u16::from_le_bytes)
}

fn read_u32(object: &[u8], at: usize) -> Option<u32> {
    read(object, at).map(u32::from_le_bytes)
}

fn read_u64(object: &[u8], at: usize) -> Option<u64> {
    read(object, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF object whose sections are the names' and .BTF with the types given.
    fn object(types: &[u32]) -> Vec<u8> {
        let mut object = vec![0; 0x40];
        let names = object.len();
        object.extend_from_slice(b"\0.BTF.ext\0.BTF\0\0");
        let btf = object.len();
        let length = u32::try_from(types.len() * 4).unwrap();
        object.extend_from_slice(&[0x9f, 0xeb, 1, 0]);
        for word in [24, 0, length, length, 0].iter().chain(types) {
            object.extend_from_slice(&word.to_le_bytes());
        }
        let headers = object.len();
        for (name, offset) in [(1_u32, 0), (0, names), (10, btf)] {
            let mut header = [0; 0x40];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
            object.extend_from_slice(&header);
        }
        object[0x28..0x30].copy_from_slice(&(headers as u64).to_le_bytes());
        object[0x3a..0x40].copy_from_slice(&[0x40, 0, 3, 0, 1, 0]);
        object
    }

    #[test]
    fn members_of_unions_start_at_zero_and_those_of_structs_stay() {
        let int = [1, 1 << 24, 4, 32];
        let structure = [1, 4 << 24 | 2, 8, 1, 1, 0, 1, 1, 32];
        let union = |offset| [1, 5 << 24 | 2, 8, 1, 1, 0, 1, 1, offset];
        let all = |offset| [&int[..], &structure, &union(offset)].concat();
        let mut bytes = object(&all(192));
        assert_eq!(align_unions(&mut bytes).unwrap(), 1);
        assert_eq!(bytes, object(&all(0)));
        assert_eq!(align_unions(&mut bytes).unwrap(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        assert!(align_unions(&mut []).is_err());
        assert!(align_unions(&mut object(&[1, 5 << 24 | 2, 8])).is_err());
        assert!(align_unions(&mut object(&[1, 31 << 24, 8])).is_err());
    }
}
