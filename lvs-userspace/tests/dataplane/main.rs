//! The data plane against the real kernel. Needs root and the director's object (`cargo xtask build-ebpf`).
//! Each test has a thread, a network namespace and an instance name of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod adoption;
mod connections;
mod counters;
mod interfaces;
mod lab;
mod leases;
mod maps;
mod plan;
mod services;
