//! Real traffic through real namespaces. Needs root, and the programs of the workspace.

mod harness;
