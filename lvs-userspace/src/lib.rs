//! The agent of lvs-xdp as a library: what `lvsd` and `lvsctl` are made of.
//!
//! Data flows one way: file -> [`config`] -> [`control`] (pure: desired against installed) -> commands ->
//! [`dataplane`] (the only writer of kernel maps). [`network`] tells `control` where real servers are.
//! [`runtime`] puts them together in `lvsd`; [`api`] is what it answers, [`cli`] is `lvsctl`, which asks.
#![deny(unsafe_code)]

pub mod alert;
pub mod api;
mod apology;
pub mod changes;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod health;
pub mod log;
pub mod network;
mod program;
pub mod realserver;
pub mod runtime;
pub mod scheduler;
pub mod tls;
mod web;
