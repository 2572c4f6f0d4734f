//! What crosses processes. `lab` builds networks out of namespaces and runs real programs in them.

pub mod lab;
