mod link;
mod model;
mod moves;
mod ordinary;
mod room;
mod several;
mod wire;
