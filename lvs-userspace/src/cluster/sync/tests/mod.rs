mod link;
mod model;
mod ordinary;
mod several;
mod wire;
