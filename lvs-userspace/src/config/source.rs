//! Reading the file, and pointing into it again later.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use super::diagnostics::{Diagnostics, Finding};
use super::yaml::{self, Place};

/// Largest file that is read; a configuration that fills every table is smaller.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// The text of a configuration file.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Reads a file, or a pipe to its end; at most [`MAX_FILE_BYTES`].
    pub fn read(path: &Path) -> Result<Self, Diagnostics> {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            let what = match error.kind() {
                ErrorKind::NotFound => "there is no such file".to_owned(),
                ErrorKind::IsADirectory => "this is a directory".to_owned(),
                ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
                _ => format!("cannot be read: {error}"),
            };
            return Err(Diagnostics::of_file(&name, what, "expected a YAML file"));
        }
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let what = format!("larger than {} MiB", MAX_FILE_BYTES >> 20);
            return Err(Diagnostics::of_file(&name, what, "expected a configuration of lvsd"));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(Self::not_text(&name, error.as_bytes(), error.utf8_error().valid_up_to())),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// A mistake found later, outside the file, in the value at `path` (`interfaces[1]`,
    /// `services[0].vip`): located as the mistakes in the file are.
    pub fn mistake(&self, path: &str, what: impl Into<String>, remedy: impl Into<String>) -> Diagnostics {
        let place = yaml::parse(&self.text)
            .ok()
            .and_then(|root| Some(root.find(path)?.place))
            .unwrap_or(Place::START);
        let finding =
            Finding { place, what: what.into(), path: Some(path.to_owned()), remedy: remedy.into() };
        self.diagnostics(vec![finding], 0)
    }

    /// As [`Source::mistake`], for the interface called `name`: "there is no such interface".
    pub fn interface_mistake(
        &self,
        name: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Diagnostics {
        let index = yaml::parse(&self.text)
            .ok()
            .and_then(|root| root.find("interfaces")?.items().iter().position(|item| item.is_text(name)));
        let path = index.map_or("interfaces".to_owned(), |index| format!("interfaces[{index}]"));
        self.mistake(&path, what, remedy)
    }

    pub(super) fn diagnostics(&self, findings: Vec<Finding>, omitted: usize) -> Diagnostics {
        Diagnostics::in_text(&self.name, &self.text, findings, omitted)
    }

    fn not_text(name: &str, bytes: &[u8], valid: usize) -> Diagnostics {
        let (line, column) =
            bytes[..valid].utf8_chunks().map(|chunk| chunk.valid()).collect::<String>().chars().fold(
                (1, 1),
                |(line, column), character| {
                    if character == '\n' { (line + 1, 1) } else { (line, column + 1) }
                },
            );
        let place = Place { line, column, width: 0, used_at: None };
        let what = format!("byte {:#04x} is not UTF-8", bytes.get(valid).copied().unwrap_or_default());
        let finding = Finding { place, what, path: None, remedy: "expected a YAML text in UTF-8".to_owned() };
        Diagnostics::in_text(name, "", vec![finding], 0)
    }
}
