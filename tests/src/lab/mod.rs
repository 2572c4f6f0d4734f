//! The lab: a client, a director and real servers in network namespaces of their own, with real traffic.
//!
//! A [`network::Network`] is built from a [`network::Shape`]; everything it makes carries the id of one
//! [`identity::Identity`] in its name, so that one function removes all of it: when the value is dropped
//! (panics included), when Ctrl-C ends the program, or, after a `kill -9`, when the next lab starts.

pub mod address;
pub mod agent;
pub mod arp;
pub mod cable;
pub mod capture;
pub mod checksums;
pub mod client;
pub mod command;
pub mod configuration;
pub mod echo;
pub mod fault;
pub mod flows;
pub mod forge;
pub mod gap;
pub mod hang;
pub mod hog;
pub mod identity;
pub mod interrupt;
pub mod load;
pub mod loss;
pub mod namespace;
pub mod network;
pub mod newcomers;
pub mod pair;
pub mod process;
pub mod realserver;
pub mod scale;
pub mod servers;
pub mod stage;
pub mod trial;
pub mod wait;
pub mod xdp_pass;
