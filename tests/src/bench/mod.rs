//! What `cargo xtask bench` measures.

pub mod program;
