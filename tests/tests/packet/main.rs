//! Packet tables: what the program makes of whole frames. Each row has a name; a test reports every row
//! that failed. Needs root and the director's object (`cargo xtask build-ebpf`), and no other program.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod adopt;
mod answers;
mod checksums;
mod concurrency;
mod connections;
mod headers;
mod icmp_errors;
mod leases;
mod malformed;
mod methods;
mod probes;
mod replication;
mod resets;
mod schedulers;
mod steering;
mod ticks;
mod traffic;
