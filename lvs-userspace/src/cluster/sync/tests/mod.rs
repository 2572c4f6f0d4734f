mod link;
mod model;
mod moves;
mod ordinary;
mod several;
mod wire;
