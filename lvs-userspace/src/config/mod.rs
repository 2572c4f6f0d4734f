//! The configuration file: YAML text in, a validated [`model::Config`] or every mistake at once out.

pub mod model;
