//! The command line of `lvsd realserver`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config::UnicastAddress;

/// Prepare this machine as a real server of dr or ipip services, until it is told to stop.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Addresses clients dial; put on lo and never answered for
    #[arg(long, required = true, num_args = 1.., value_name = "ADDRESS", value_parser = vip)]
    pub vip: Vec<IpAddr>,
    /// Take the outer header off packets from the directors
    #[arg(long, requires = "director")]
    pub ipip: bool,
    /// Outer source addresses of the directors' packets
    #[arg(long, num_args = 1.., value_name = "ADDRESS", requires = "ipip")]
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

/// An address that the machine can take in beside its own, and that a director can serve.
fn vip(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "expected an IPv4 or IPv6 address".to_owned())?;
    match UnicastAddress::objection(address) {
        Some(objection) => Err(format!("it {objection}; expected the address that clients dial")),
        None => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Options;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn told(arguments: &[&str]) -> String {
        let words = ["realserver"].iter().chain(arguments);
        Command::try_parse_from(words).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_vip_is_an_address_that_clients_can_dial() {
        assert_eq!(told(&["--vip", "192.0.2.10", "2001:db8::10"]), "");
        for (address, objection) in [
            ("192.0.2.10/32", "expected an IPv4 or IPv6 address"),
            ("127.0.0.1", "loopback"),
            ("0.0.0.0", "unspecified"),
            ("ff02::1", "multicast"),
            ("::ffff:192.0.2.10", "IPv6 form"),
        ] {
            let told = told(&["--vip", address]);
            assert!(told.contains(objection), "{address}: {told}");
        }
    }

    #[test]
    fn directors_and_ipip_come_together() {
        assert_eq!(told(&["--vip", "192.0.2.10", "--ipip", "--director", "10.0.0.1"]), "");
        assert!(told(&["--vip", "192.0.2.10", "--director", "10.0.0.1"]).contains("--ipip"));
        assert!(told(&["--vip", "192.0.2.10", "--ipip"]).contains("--director"));
    }
}
