//! The configuration file: YAML text in, a validated [`model::Config`] or every mistake at once out.
//!
//! text -> `yaml` (a tree with places) -> `record` and `raw` (typed values; shapes, ranges, words) ->
//! `validate` and `totals` (values against each other) -> [`model::Config`]. Each stage goes on after a
//! mistake with what it has, so that one run tells them all.

mod alerts;
mod cluster;
mod diagnostics;
mod health;
pub mod model;
mod nearest;
mod raw;
mod record;
mod scalar;
mod source;
mod totals;
mod validate;
mod vrrp;
mod words;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use diagnostics::{Diagnostics, Mistake};
pub use model::Config;
pub(crate) use scalar::UnicastAddress;
pub use source::{MAX_FILE_BYTES, Source};

use diagnostics::Finding;
use record::{Read, Reader};

/// The configuration in the file at `path`.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    parse_source(&Source::read(path)?)
}

/// The configuration in `text`; messages call it `source_name`.
pub fn parse(text: &str, source_name: &str) -> Result<Config, Diagnostics> {
    parse_source(&Source::new(source_name, text))
}

/// The configuration in `source`, which can be asked for places again when the configuration turns out
/// not to fit the machine ([`Source::mistake`]).
pub fn parse_source(source: &Source) -> Result<Config, Diagnostics> {
    let root = yaml::parse(source.text()).map_err(|error| {
        let finding = Finding {
            place: error.place,
            what: error.message,
            path: None,
            remedy: "expected one document of valid YAML".to_owned(),
        };
        source.diagnostics(vec![finding], 0)
    })?;
    let mut reader = Reader::default();
    let config = raw::File::read(&root, &mut reader).and_then(|file| validate::config(&file, &mut reader));
    match config {
        Some(config) if reader.findings.is_empty() => Ok(config),
        _ => Err(source.diagnostics(reader.findings, reader.omitted)),
    }
}

/// JSON Schema of the file, for editors and `lvsctl schema`.
pub fn schema() -> serde_json::Value {
    raw::schema()
}
