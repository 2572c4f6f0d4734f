//! Real traffic through real namespaces. Needs root, and the programs of the workspace.

mod distribution;
mod harness;
mod lifecycle;
mod methods;
mod mtu;
mod refusal;
mod reload;
mod router;
mod setup;
