//! The command line of `lvsd realserver`.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Prepare this machine as a real server of dr or ipip services, until it is told to stop.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Addresses clients dial; put on lo and never answered for
    #[arg(long, required = true, num_args = 1.., value_name = "ADDRESS")]
    pub vip: Vec<IpAddr>,
    /// Take the outer header off packets from the directors
    #[arg(long, requires = "director")]
    pub ipip: bool,
    /// Outer source addresses of the directors' packets
    #[arg(long, num_args = 1.., value_name = "ADDRESS")]
    pub director: Vec<IpAddr>,
    /// Where the directors' packets come in [default with --ipip: where the directors are routed]
    #[arg(long, value_name = "INTERFACE")]
    pub interface: Option<String>,
    /// Keeps several of them on one machine apart
    #[arg(long, default_value = "lvs", value_name = "NAME")]
    pub instance: String,
}

impl Options {
    /// Without duplicates.
    pub(super) fn vips(&self) -> BTreeSet<IpAddr> {
        self.vip.iter().copied().collect()
    }
}
