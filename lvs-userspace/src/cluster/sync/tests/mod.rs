mod link;
mod model;
mod ordinary;
mod wire;
