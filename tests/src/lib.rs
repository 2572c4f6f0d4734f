//! What crosses processes. `lab` builds networks out of namespaces and runs real programs in them; `packet`
//! runs single frames through the program; `bench` measures; `sim` simulates a cluster.

pub mod bench;
pub mod cluster;
pub mod lab;
pub mod packet;
pub mod sim;
