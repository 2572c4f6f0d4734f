//! What the kernel makes of an eBPF object: programs as the verifier saw them, maps and their memory.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use crate::{
    command,
    packages::{self, BPFTOOL},
};

/// Loads the object and shows what it became. A mount namespace and a bpffs of its own: nothing meets the
/// pins of a running agent, and everything is gone when the shell ends.
///
/// The second load is for the verifier's statistics, which bpftool prints with its whole log only. That log
/// can grow beyond what the kernel takes, or take minutes: its failure costs two columns, no more.
const SCRIPT: &str = r#"
mount -t bpf bpf /sys/fs/bpf && mkdir /sys/fs/bpf/programs /sys/fs/bpf/again || exit 1
bpftool prog loadall "$1" /sys/fs/bpf/programs 2>&1 || exit 1
for program in /sys/fs/bpf/programs/*; do
    line=$(bpftool --json prog show pinned "$program") || exit 1
    echo "PROGRAM $line"
    for map in $(echo "$line" | sed -n 's/.*"map_ids":\[\([0-9,]*\)\].*/\1/p' | tr , ' '); do
        echo "MAP $(bpftool --json map show id "$map")" || exit 1
    done
done
timeout 30 bpftool --debug prog loadall "$1" /sys/fs/bpf/again 2>&1 | grep -a -e BEGIN -e '^stack depth' -e '^processed'
exit 0
"#;
const LOG_BEGIN: &str = "-- BEGIN PROG LOAD LOG --";
/// Lines of a refusal that reach the reader; the verifier says at the end what it did not like.
const LINES_OF_REFUSAL: usize = 40;

#[derive(Debug, Deserialize)]
struct Program {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    bytes_xlated: u64,
    #[serde(default)]
    bytes_jited: u64,
}

#[derive(Debug, Deserialize)]
struct Map {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    bytes_key: u64,
    bytes_value: u64,
    max_entries: u64,
    bytes_memlock: u64,
}

/// What the verifier says of a program, in its own words.
#[derive(Debug, Default, PartialEq)]
struct Verdict {
    processed: String,
    stack: String,
}

#[derive(Debug)]
struct Report {
    programs: Vec<Program>,
    maps: BTreeMap<String, Map>,
    verdicts: HashMap<String, Verdict>,
}

/// Prints the table of one object, or why there is none.
pub(crate) fn print(object: &Path) -> Result<()> {
    if !command::may_be_root() {
        println!("no table for {}: loading it into the kernel takes root", object.display());
        return Ok(());
    }
    packages::ensure_tools(&[BPFTOOL])?;
    let text = load(object)?;
    let report =
        parse(&text).with_context(|| format!("cannot read what bpftool says of {}", object.display()))?;
    println!("\n{}", object.display());
    print!("{}", render(&report));
    Ok(())
}

fn load(object: &Path) -> Result<String> {
    let output = command::as_root("unshare")
        .args(["--mount", "sh", "-c", SCRIPT, "sh"])
        .arg(object)
        .output()
        .context("cannot start unshare")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().chain(errors.lines()).collect();
    let tail = &lines[lines.len().saturating_sub(LINES_OF_REFUSAL)..];
    bail!("the kernel refuses {}:\n{}", object.display(), tail.join("\n"));
}

fn parse(text: &str) -> Result<Report> {
    let mut report = Report { programs: Vec::new(), maps: BTreeMap::new(), verdicts: HashMap::new() };
    let mut verdict = &mut Verdict::default();
    for line in text.lines() {
        if let Some(json) = line.strip_prefix("PROGRAM ") {
            report.programs.push(serde_json::from_str(json)?);
        } else if let Some(json) = line.strip_prefix("MAP ") {
            let map: Map = serde_json::from_str(json)?;
            report.maps.insert(map.name.clone(), map);
        } else if line.contains(LOG_BEGIN) {
            let name = line.split('\'').nth(1).ok_or_else(|| anyhow!("no program's name in `{line}`"))?;
            verdict = report.verdicts.entry(name.to_owned()).or_default();
        } else if let Some(stack) = line.strip_prefix("stack depth ") {
            let frames: Vec<&str> = stack.split('+').filter(|frame| *frame != "0").collect();
            verdict.stack = if frames.is_empty() { "0".to_owned() } else { frames.join("+") };
        } else if let Some(processed) = line.strip_prefix("processed ") {
            verdict.processed = processed.split(' ').next().unwrap_or_default().to_owned();
        }
    }
    Ok(report)
}

fn render(report: &Report) -> String {
    let missing = Verdict { processed: "?".into(), stack: "?".into() };
    let mut programs =
        vec![["program", "type", "instructions", "machine code", "stack", "verified"].map(str::to_owned)];
    for program in &report.programs {
        // The kernel keeps 15 characters of a name.
        let verdict = report
            .verdicts
            .iter()
            .find(|(name, _)| name.starts_with(&program.name))
            .map_or(&missing, |(_, it)| it);
        programs.push([
            program.name.clone(),
            program.kind.clone(),
            (program.bytes_xlated / 8).to_string(),
            format!("{} B", program.bytes_jited),
            verdict.stack.clone(),
            verdict.processed.clone(),
        ]);
    }
    if report.maps.is_empty() {
        return columns(&programs);
    }
    let mut maps = vec![["map", "type", "key", "value", "entries", "memory at rest"].map(str::to_owned)];
    for map in report.maps.values() {
        maps.push([
            map.name.clone(),
            map.kind.clone(),
            format!("{} B", map.bytes_key),
            format!("{} B", map.bytes_value),
            map.max_entries.to_string(),
            size(map.bytes_memlock),
        ]);
    }
    let total: u64 = report.maps.values().map(|map| map.bytes_memlock).sum();
    maps.push(["all maps", "", "", "", "", &size(total)].map(str::to_owned));
    format!("{}\n{}", columns(&programs), columns(&maps))
}

/// Names to the left, figures to the right.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cell = |(column, cell): (usize, &String)| {
            let width = widths[column];
            if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        };
        let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"libbpf: prog 'lvs_decapsulate_v2': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
verification time 173 usec
stack depth 16+0+8
processed 24 insns (limit 1000000) max_states_per_insn 0 total_states 2 peak_states 2 mark_read 0
-- END PROG LOAD LOG --
PROGRAM {"id":218,"type":"xdp","name":"lvs_decapsulate","bytes_xlated":248,"jited":true,"bytes_jited":143,"map_ids":[48]}
MAP {"id":48,"type":"array","name":"SETTINGS","flags":0,"bytes_key":4,"bytes_value":4,"max_entries":4,"bytes_memlock":344}
"#;

    #[test]
    fn a_report_shows_verifier_and_maps() {
        let table = render(&parse(TEXT).unwrap());
        let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["lvs_decapsulate", "xdp", "31", "143", "B", "16+8", "24"]);
        assert_eq!(words[4], ["SETTINGS", "array", "4", "B", "4", "B", "4", "344", "B"]);
        assert_eq!(words[5], ["all", "maps", "344", "B"]);
    }

    #[test]
    fn output_that_is_no_json_is_an_error() {
        assert!(parse("MAP nonsense").is_err());
    }
}
