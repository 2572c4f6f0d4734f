//! Real traffic through real namespaces. Needs root, and the programs of the workspace.

mod alerts;
mod bench;
mod cluster;
mod crossed;
mod distribution;
mod flood;
mod flows;
mod harness;
mod health;
mod leases;
mod lifecycle;
mod methods;
mod metrics;
mod mtu;
mod operator;
mod path;
mod probes;
mod refusal;
mod reload;
mod router;
mod setup;
mod voter;
mod vrrp;
