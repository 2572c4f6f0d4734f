//! The recorded run and the documents that show it.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use anyhow::{Context, Result};
use lvs_tests::bench::report::Report;
use lvs_tests::bench::{markdown, plot};

const BASELINE: &str = "performance/baseline.json";
const PLOT: &str = "performance/program.svg";
const DOCUMENT: &str = "performance.md";

/// The run that was recorded last, if there is one.
pub(crate) fn baseline(documents: &Path) -> Result<Option<Report>> {
    let path = documents.join(BASELINE);
    if path.exists() { Report::read(&path).map(Some) } else { Ok(None) }
}

/// Sections that were not run keep what was recorded of them.
pub(crate) fn record(documents: &Path, mut report: Report) -> Result<()> {
    if let Some(recorded) = baseline(documents)? {
        let measured: Vec<String> = report.sections().into_iter().map(str::to_owned).collect();
        let kept = recorded.figures.into_iter().filter(|figure| !measured.contains(&figure.section));
        report.figures.extend(kept);
    }
    write(&documents.join(BASELINE), &report.to_json()?)?;
    if let Some(svg) = plot::program(&report) {
        write(&documents.join(PLOT), &svg)?;
    }
    let path = documents.join(DOCUMENT);
    let named = || format!("{}", path.display());
    let document = fs::read_to_string(&path).with_context(named)?;
    write(&path, &markdown::replace(&document, &report).with_context(named)?)
}

/// Writes a file that belongs to whom its directory belongs to: this program is root, its user need not be.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.exists() {
        fs::create_dir_all(directory).with_context(failed)?;
        let above = fs::metadata(directory.join(".."))?;
        chown(directory, Some(above.uid()), Some(above.gid())).with_context(failed)?;
    }
    fs::write(path, text).with_context(failed)?;
    let owner = fs::metadata(directory)?;
    chown(path, Some(owner.uid()), Some(owner.gid())).with_context(failed)?;
    println!("written: {}", path.display());
    Ok(())
}
