//! The benchmark; `cargo xtask bench` builds what it needs and starts it.

mod record;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use lvs_tests::bench::baseline;
use lvs_tests::bench::figure::Figure;
use lvs_tests::bench::machine::Machine;
use lvs_tests::bench::report::{Form, Report};
use lvs_tests::bench::{Options, Section};
use lvs_tests::lab::interrupt::clean_up_on_interrupt;

/// Measures what packets, connections and changes of the configuration cost.
#[derive(Debug, Parser)]
#[command(name = "lvs-bench", version)]
struct Arguments {
    /// What to measure; everything when left out.
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// Fewer rounds and cases, in less than two minutes.
    #[arg(long)]
    quick: bool,
    /// Write the run to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Make this run the one that later runs are compared with, and write it into the documents.
    #[arg(long, requires = "documents")]
    record: bool,
    /// Where the recorded run and the documents are.
    #[arg(long, value_name = "DIRECTORY")]
    documents: Option<PathBuf>,
    /// The commit that is measured, for the report.
    #[arg(long)]
    revision: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match clean_up_on_interrupt(|| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lvs-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// On a thread of its own: a section binds its thread to a processor, or takes it into another network namespace.
fn measure(section: Section, options: &Options) -> Result<Vec<Figure>> {
    thread::scope(|scope| scope.spawn(|| section.measure(options)).join())
        .unwrap_or_else(|_| Err(anyhow!("its thread has panicked")))
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut sections = arguments.sections.clone();
    if sections.is_empty() {
        sections.extend(Section::ALL);
    }
    sections.sort();
    sections.dedup();

    let machine = Machine::describe();
    println!("{machine}\n");
    let mut report =
        Report { machine, quick: arguments.quick, revision: arguments.revision.clone(), figures: Vec::new() };
    let options = Options { quick: arguments.quick, smoke: false };
    for section in sections {
        println!("=== {section}");
        let figures = measure(section, &options).with_context(|| format!("section {section}"))?;
        report.figures.extend(figures);
        println!("\n{}", report.table(section.name(), Form::Terminal));
    }

    if let Some(file) = &arguments.json {
        record::write(file, &report.to_json()?)?;
    }
    if let Some(documents) = &arguments.documents {
        match record::baseline(documents)? {
            Some(recorded) => println!("{}", baseline::compare(&recorded, &report)),
            None => println!("no recorded run to compare with"),
        }
        if arguments.record {
            record::record(documents, report)?;
        }
    }
    Ok(())
}
