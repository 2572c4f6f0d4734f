//! Packets that get lost: some or all of those that come in at an interface, or that cross a bridge from one port to
//! another. By nftables, in a table of its own that goes with the value.

use std::process::Command;

use anyhow::{Context, Result};

use super::command::run_with_input;
use super::namespace::Namespace;

/// Every packet.
pub const ALL: u32 = 100;

/// Packets are lost for as long as the value lives.
#[derive(Debug)]
#[must_use = "nothing is lost when the value is dropped"]
pub struct Loss {
    machine: Namespace,
    /// Family and name.
    table: String,
}

impl Loss {
    /// Of what comes in at these interfaces `percent` of a hundred packets are lost, each by chance. What goes out is
    /// not touched.
    ///
    /// # Errors
    /// An interface is missing, or this was called for one of them before.
    pub fn of_arrivals(machine: &Namespace, interfaces: &[&str], percent: u32) -> Result<Self> {
        let table = format!("netdev lost-{}", interfaces.join("-"));
        let devices = interfaces.join(", ");
        let chance =
            if percent >= ALL { String::new() } else { format!("numgen random mod 100 < {percent} ") };
        Self::start(
            machine,
            table,
            &format!("type filter hook ingress devices = {{ {devices} }} priority 0; {chance}drop;"),
        )
    }

    /// All that goes from one port of a switch's bridge to another is lost, and what goes back.
    ///
    /// # Errors
    /// These two ports are parted already.
    pub fn between(switch: &Namespace, one: &str, other: &str) -> Result<Self> {
        let table = format!("bridge parted-{one}-{other}");
        let rules = format!(
            "type filter hook forward priority 0; iifname {one} oifname {other} drop; iifname {other} oifname {one} drop;"
        );
        Self::start(switch, table, &rules)
    }

    fn start(machine: &Namespace, table: String, rules: &str) -> Result<Self> {
        nft(machine, &format!("create table {table}\ntable {table} {{\n chain lost {{ {rules} }}\n}}\n"))?;
        Ok(Self { machine: machine.clone(), table })
    }

    /// From here on nothing is lost.
    pub fn heal(self) {}
}

impl Drop for Loss {
    fn drop(&mut self) {
        // With its namespace the table has gone too.
        if self.machine.path().exists()
            && let Err(error) = nft(&self.machine, &format!("delete table {}\n", self.table))
        {
            eprintln!("packets are lost still: {error:#}");
        }
    }
}

fn nft(machine: &Namespace, lines: &str) -> Result<()> {
    let mut command: Command = machine.command("nft");
    run_with_input(command.args(["-f", "-"]), lines).with_context(|| format!("nft: {lines}"))?;
    Ok(())
}
