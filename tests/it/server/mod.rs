//! The library's face: a server that a program builds, in every mode of its threads.

mod bounds;
mod buffer;
mod deadlines;
#[cfg(feature = "deflate")]
mod deflate;
mod descriptors;
mod events;
mod freeze;
mod freeze_alone;
mod gather;
mod handle;
mod latest;
mod light;
mod pauses;
mod publish;
mod renewal;
mod slow;
mod slow_http;
mod stop;
mod tasks;
mod turns;
