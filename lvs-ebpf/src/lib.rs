//! What both XDP programs share: access to packet bytes and the parsing of headers.
//!
//! The director itself is the module tree under `director/`, in the order a packet passes it:
//! `parse -> lookup -> steer -> forward -> stats`.
#![no_std]
#![feature(asm_experimental_arch)]

pub mod packet;
pub mod parse;
